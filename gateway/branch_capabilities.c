/*
 * gateway/branch_capabilities.c - what a turn wants that a target cannot give, named before
 * anything is asked of the site. See branch_internal.h.
 */
#include "gateway/branch_internal.h"

#include "adapters/support.h"
#include "gateway/branch_tools.h"
#include "gateway/chat_request.h"
#include "gateway/exchange_internal.h"

/* The part that a site cannot take, as a failure that names it (Q8, Q13). */
static int refuse_part(struct branch *b, enum part_kind kind, const char *what)
{
    for (size_t i = 0; i < b->turn->n_messages; i++) {
        const struct message *m = &b->turn->messages[i];
        for (size_t k = 0; k < m->n_parts; k++) {
            if (m->parts[k].kind != kind)
                continue;
            char param[PART_PLACE_SIZE];
            part_place(b->turn, m, &m->parts[k], param);
            return fail_param(branch_fail(b), FAIL_UNSUPPORTED, param,
                              "%.*s cannot take %s; leave that part out or use another model",
                              SPAN_ARGS(branch_site_name(b)), what);
        }
    }
    return 0;
}

int branch_check_capabilities(struct branch *b)
{
    const struct turn *t = b->turn;
    const struct adapter *a = branch_site(b)->adapter;
    struct span name = branch_site_name(b);
    unsigned has = a->capabilities;
    if (t->relay.path.n && !(has & CAP_RELAY))
        return fail_set(branch_fail(b), FAIL_UNKNOWN_URL,
                        "%.*s has no %.*s; use a model of an OpenAI-compatible site",
                        SPAN_ARGS(name), SPAN_ARGS(t->relay.path));
    if (t->tools_wanted && branch_site(b)->tools == FEATURE_REFUSE)
        return fail_param(branch_fail(b), FAIL_UNSUPPORTED, "tools",
                          "%.*s has no tools; leave out \"tools\" or use another model",
                          SPAN_ARGS(name));
    if (t->response_format_raw.p && branch_site(b)->structured_output == FEATURE_REFUSE)
        return fail_param(branch_fail(b), FAIL_UNSUPPORTED, "response_format",
                          "%.*s has no response_format; leave it out or use another model",
                          SPAN_ARGS(name));
    if (t->logprobs && !(has & CAP_LOGPROBS))
        return fail_param(branch_fail(b), FAIL_UNSUPPORTED, "logprobs",
                          "%.*s has no logprobs; leave them out or use another model",
                          SPAN_ARGS(name));
    if (t->has_images && !(has & CAP_IMAGE))
        return refuse_part(b, PART_IMAGE, "pictures");
    if (t->has_audio && !(has & CAP_AUDIO))
        return refuse_part(b, PART_AUDIO, "audio");
    if (t->has_files && !(has & CAP_FILE))
        return refuse_part(b, PART_FILE, "files");
    if (t->has_foreign && (a->dialect == DIALECT_NONE || a->dialect != t->dialect))
        return refuse_part(b, PART_FOREIGN, "this kind of content");
    if (t->tools_foreign &&
        (branch_emulates(b) || a->dialect == DIALECT_NONE || a->dialect != t->dialect))
        return fail_param(
            branch_fail(b), FAIL_UNSUPPORTED, "tools",
            "%.*s does not know the built-in tools of another service; leave them out, "
            "or use a model of that service",
            SPAN_ARGS(name));
    if (t->has_video && !(has & CAP_VIDEO))
        return refuse_part(b, PART_VIDEO, "videos");
    return 0;
}
