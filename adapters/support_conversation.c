/*
 * adapters/support_conversation.c - the ids by which a site's conversation is gone on with, as one
 * text (adapters/support.h; turn_run.conversation).
 */
#include "adapters/support.h"

void tell_conversation(struct turn_run *run, const struct span *ids, size_t n)
{
    struct buffer text;
    bool good = true;
    buffer_init(&text, n * (PATH_ID_MAX + 1));
    for (size_t i = 0; i < n && good; i++) {
        good = is_path_id(ids[i]);
        if (i)
            buffer_char(&text, '/');
        buffer_append(&text, ids[i]);
    }
    if (good && !text.error)
        run_conversation(run, buffer_span(&text));
    buffer_free(&text);
}

int read_conversation(struct turn_run *run, const char *host, struct span *ids, size_t n)
{
    struct span rest = run->conversation;
    bool good = true;
    if (!rest.n)
        return 0;
    for (size_t i = 0; i < n && good; i++)
        good = span_split(&rest, '/', &ids[i]) && is_path_id(ids[i]);
    if (good && !rest.p)
        return 1;
    return fail_set(run->fail, FAIL_PROTOCOL, "the conversation at %s is of another form", host);
}

int check_conversation(struct turn_run *run, const char *host, struct span held, struct span told)
{
    if (!held.n || !is_path_id(told) || span_eq(held, told))
        return 0;
    return fail_set(run->fail, FAIL_PROTOCOL, "%s answers in another conversation", host);
}
