/*
 * adapters/support_token.c - tokens that end, and when to ask for new ones.
 *
 * The hard part is that several tries share an account: while one was on its way, another may have
 * obtained a newer token, which is then used instead of asking once more.
 */
#include "adapters/support.h"

enum { TOKEN_MAX = 8192 };

struct json jwt_claims(struct turn_run *run, struct span token)
{
    struct span payload = token.n ? jwt_payload(run->arena, token) : token;
    struct json claims = {NULL, 0};
    if (!payload.n || json_parse_lenient(run->json, payload, &claims) != JSON_OK)
        return (struct json){NULL, 0};
    return claims;
}

int64_t jwt_expires_ms(struct turn_run *run, struct span token)
{
    int64_t exp;
    bool told = json_int(json_get(jwt_claims(run, token), "exp"), &exp) && exp > 0 &&
                exp < INT64_MAX / 1000;
    return told ? exp * 1000 : 0;
}

bool token_can_be_sent(struct span token)
{
    for (size_t i = 0; i < token.n; i++) {
        if ((unsigned char)token.p[i] <= ' ' || (unsigned char)token.p[i] >= 0x7F)
            return false;
    }
    return token.n > 0 && token.n <= TOKEN_MAX;
}

int fail_unfit_token(struct turn_run *run, const char *name)
{
    return fail_set(run->fail, FAIL_CREDENTIAL,
                    "the %s of account \"%.*s\" holds blanks or other characters that no token "
                    "has: copy it again",
                    name, SPAN_ARGS(run->account->name));
}

static int keep(struct turn_run *run, struct token_use *use, struct span value)
{
    use->value = arena_dup(run->arena, value);
    return use->value.p ? 0 : fail_memory(run->fail);
}

int token_use_next(struct turn_run *run, struct token_use *use, const char *held)
{
    if (use->value.n) /* what this try obtained itself serves, however near its end is */
        return 0;
    struct span value = account_held(run->account, held, run->now_ms,
                                     use->margin_ms ? use->margin_ms : REFRESH_MARGIN_MS);
    return value.n ? keep(run, use, value) : 1;
}

int token_use_obtained(struct turn_run *run, struct token_use *use, const char *held,
                       struct span value, int64_t expires_ms)
{
    if (!token_can_be_sent(value))
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s gave a token that cannot be sent",
                        SPAN_ARGS(run->site->name));
    if (keep(run, use, value)) /* first: `value` may be of the parser's document */
        return -1;
    if (!expires_ms)
        expires_ms = jwt_expires_ms(run, use->value);
    use->renewed = true;
    return account_hold(run->account, held, use->value, expires_ms) ? fail_memory(run->fail) : 0;
}

bool token_use_refused(struct turn_run *run, struct token_use *use, const char *held)
{
    bool first = !use->refused && !use->renewed;
    account_guard_enter(run->account);
    if (span_eq(account_held(run->account, held, 0, 0), use->value))
        account_drop(run->account, held); /* unless another try has renewed it already */
    account_guard_leave(run->account);
    use->value = span_of(NULL, 0);
    use->refused = true;
    return first;
}
