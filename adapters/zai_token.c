/*
 * adapters/zai_token.c - whose token a turn goes with: a person's own, or the one that the site
 * gives every visitor (sites/zai.md §2).
 */
#include "adapters/zai.h"

enum adapter_step zai_ask_guest_token(struct turn_run *run, struct zai *z, struct site_request *req)
{
    req->method = "GET";
    req->target = SPAN("/api/v1/auths/");
    req->framing = FRAMING_WHOLE;
    req->credential_step = true;
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    zai_add_headers(run, z, req);
    return request_ready(run, req);
}

static void read_user_id(struct turn_run *run, struct zai *z)
{
    struct span id = json_get_text(jwt_claims(run, z->token), "id");
    z->user_id = id.n ? arena_dup(run->arena, id) : SPAN("");
}

/* What may stand in a header and in a URL as it is: no blank, no line break, nothing but ASCII. */
bool zai_is_plain(struct span text) { return text.n > 0 && span_is_visible(text); }

static int find_guest_token(struct turn_run *run, struct zai *z)
{
    int missing = token_use_next(run, &z->session, ZAI_GUEST_TOKEN);
    z->token = z->session.value;
    return missing;
}

static int find_own_token(struct turn_run *run, struct zai *z)
{
    struct span token = account_credential(run->account, "token");
    if (!token.n)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "the account \"%.*s\" has no token: copy `token` from "
                        "chat.z.ai's Local Storage",
                        SPAN_ARGS(run->account->name));
    if (!zai_is_plain(token))
        return fail_unfit_token(run, "token");
    z->token = arena_text(run->arena, token);
    return z->token.p ? 0 : fail_memory(run->fail);
}

/* 0: the token is there; 1: it must be asked for; -1 with run->fail. */
int zai_find_token(struct turn_run *run, struct zai *z)
{
    int missing = z->guest ? find_guest_token(run, z) : find_own_token(run, z);
    if (missing == 0 && z->v2) /* the first form does not ask for it */
        read_user_id(run, z);
    return missing;
}

enum adapter_verdict zai_take_token(struct turn_run *run, struct zai *z, struct json root)
{
    struct span token = json_get_text(root, "token");
    if (!token_can_be_sent(token))
        return fail_set(
            run->fail, FAIL_UNAVAILABLE,
            "chat.z.ai gave no guest token; a token of your own account works without one");
    if (token_use_obtained(run, &z->session, ZAI_GUEST_TOKEN, token, 0))
        return ADAPTER_FAIL;
    return ADAPTER_COMPLETE; /* still ZAI_TOKEN: now it is held */
}
