/*
 * adapters/qwen_token.c - where a request's credential comes from (sites/qwen.md §2).
 *
 * A token is configured, or bought with a password, and may be renewed while it is still good. The
 * hard part: nobody knows how long one lives (days or minutes), so its own word counts; near its
 * end it is renewed once, and what is left after a refusal is the password, or nothing.
 */
#include "adapters/qwen.h"

#define TOKEN "token"

enum { RENEW_MS = 120 * 1000 };

/* The value of a cookie in a browser's line "a=1; b=2". */
static struct span cookie_value(struct span line, struct span name)
{
    struct span piece;
    while (span_split(&line, ';', &piece)) {
        piece = span_trim(piece);
        if (span_starts(piece, name) && piece.n > name.n && piece.p[name.n] == '=')
            return span_from(piece, name.n + 1);
    }
    return span_of(NULL, 0);
}

static struct span newest_token(struct turn_run *run)
{
    struct span token = account_newest(run->account, TOKEN);
    return token.n ? token : cookie_value(account_credential(run->account, "cookie"), SPAN(TOKEN));
}

static bool has_password(struct turn_run *run)
{
    return account_credential(run->account, "email").n > 0 &&
           account_credential(run->account, "password").n > 0;
}

static int no_token(struct turn_run *run, const struct qwen *c, struct span token)
{
    struct span name = run->account->name;
    if (c->refused.p || c->refreshed || c->signed_in)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "chat.qwen.ai takes no credential of account \"%.*s\" any more: sign in "
                        "there and copy the local storage item token again",
                        SPAN_ARGS(name));
    if (!token.n)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "the account \"%.*s\" has no credential: copy the local storage item token "
                        "of chat.qwen.ai, or give email and password",
                        SPAN_ARGS(name));
    if (!token_can_be_sent(token))
        return fail_unfit_token(run, "token");
    return fail_set(run->fail, FAIL_CREDENTIAL,
                    "the token of account \"%.*s\" has ended: sign in at chat.qwen.ai and copy the "
                    "local storage item token again",
                    SPAN_ARGS(name));
}

/* How much of its life a token has left: 0 = ended, or it cannot be used. */
static int64_t left_ms(struct turn_run *run, const struct qwen *c, struct span token)
{
    if (!token_can_be_sent(token) || (c->refused.p && span_eq(token, c->refused)))
        return 0;
    int64_t end = jwt_expires_ms(run, token);
    if (!end)
        return INT64_MAX; /* it does not say */
    return end > run->now_ms ? end - run->now_ms : 0;
}

int qwen_find_token(struct turn_run *run, struct qwen *c)
{
    c->ask = ASK_NOTHING;
    if (c->token.value.n || run->account->guest)
        return 0;
    struct span token = newest_token(run);
    int64_t left = left_ms(run, c, token);
    if (left >= RENEW_MS) {
        c->token.value = arena_dup(run->arena, token);
        return c->token.value.p ? 0 : fail_memory(run->fail);
    }
    if (left > 0 && !c->refreshed)
        c->ask = ASK_REFRESH;
    else if (has_password(run) && !c->signed_in)
        c->ask = ASK_SIGN_IN;
    return c->ask == ASK_NOTHING ? no_token(run, c, token) : 1;
}

struct span qwen_present_token(struct turn_run *run)
{
    const struct qwen fresh = {0};
    struct span token = newest_token(run);
    return left_ms(run, &fresh, token) > 0 ? arena_dup(run->arena, token) : SPAN("");
}

static enum adapter_step sign_in(struct turn_run *run, struct qwen *c, struct site_request *req)
{
    struct buffer body;
    struct span hash = sha256_hex(run->arena, account_credential(run->account, "password"));
    if (!hash.p)
        return step_out_of_memory(run);
    buffer_init(&body, QWEN_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "email", account_credential(run->account, "email"));
    json_member(&w, "password", hash);
    json_end_object(&w);
    req->target = SPAN("/api/v1/auths/signin");
    return qwen_post_json(run, c, req, &body, SPAN("/auth"));
}

/* With the present token as the bearer: it is good for a little while. */
static enum adapter_step refresh(struct turn_run *run, const struct qwen *c,
                                 struct site_request *req)
{
    struct qwen with_token = *c;
    struct buffer body;
    with_token.token.value = arena_dup(run->arena, newest_token(run));
    if (!with_token.token.value.p)
        return step_out_of_memory(run);
    buffer_init(&body, QWEN_BODY_LIMIT);
    buffer_append(&body, SPAN("{}"));
    req->target = SPAN("/api/v2/auths/refresh");
    return qwen_post_json(run, &with_token, req, &body, SPAN("/"));
}

enum adapter_step qwen_ask_token(struct turn_run *run, struct qwen *c, struct site_request *req)
{
    req->credential_step = true;
    req->framing = FRAMING_WHOLE;
    return c->ask == ASK_REFRESH ? refresh(run, c, req) : sign_in(run, c, req);
}

enum adapter_verdict qwen_take_token(struct turn_run *run, struct qwen *c, struct json root)
{
    struct span token = json_get_text(root, TOKEN);
    if (!token.n)
        token = json_get_text(json_get(root, "data"), TOKEN);
    if (!token.n) {
        fail_set(run->fail, FAIL_CREDENTIAL, "chat.qwen.ai gave no token");
        return qwen_token_refused(run, c);
    }
    return token_use_obtained(run, &c->token, TOKEN, token, 0) ? ADAPTER_FAIL : ADAPTER_COMPLETE;
}

/* A refused refresh leaves the password; a refused sign-in leaves nothing. */
enum adapter_verdict qwen_token_refused(struct turn_run *run, struct qwen *c)
{
    enum fail_kind kind = run->fail->kind;
    bool refused = kind == FAIL_CREDENTIAL || kind == FAIL_BAD_REQUEST;
    if (refused && c->ask == ASK_REFRESH) {
        fail_clear(run->fail);
        return ADAPTER_COMPLETE;
    }
    if (refused)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "chat.qwen.ai did not sign account \"%.*s\" in: check its email and "
                        "password, or copy the local storage item token instead",
                        SPAN_ARGS(run->account->name));
    return ADAPTER_FAIL;
}
