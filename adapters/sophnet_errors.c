/*
 * adapters/sophnet_errors.c - what sophnet.com's own failures mean (docs/sites/sophnet.md).
 */
#include "adapters/sophnet.h"

enum { STATUS_TOKEN_USED_UP = 40310, STATUS_NOT_LOGGED_IN = 10025 };

int sophnet_challenged(struct turn_run *run)
{
    return fail_set(run->fail, FAIL_CHALLENGE,
                    "%.*s asks its visitors for a captcha, which the gateway never solves; use an "
                    "official api_key for this site",
                    SPAN_ARGS(run->site->name));
}

bool sophnet_speaks_of_captcha(struct span message)
{
    return span_mentions(message, "captcha") || span_find(message, SPAN("验证码")) >= 0 ||
           span_find(message, SPAN("人机")) >= 0;
}

/* The token was not taken. A guest gets one fresh token and one more try, as long as nothing of an
 * answer came. */
static enum adapter_verdict token_refused(struct turn_run *run, int http_status)
{
    struct sophnet *s = run->state;
    if (s->guest) {
        struct span held = account_held(run->account, SOPHNET_HELD_TOKEN, 0, 0);
        if (span_eq(held, s->token)) /* another exchange may have renewed it already */
            account_drop(run->account, SOPHNET_HELD_TOKEN);
        if (!s->renewed && !s->wire.something) {
            s->renewed = s->refused = true;
            s->at = SOPHNET_ASK;
            return ADAPTER_COMPLETE;
        }
        fail_set(run->fail, s->wire.something ? FAIL_UNAVAILABLE : FAIL_CREDENTIAL,
                 "%.*s does not take its own guest token any more; try again later, or use an "
                 "official api_key",
                 SPAN_ARGS(run->site->name));
    } else {
        fail_set(run->fail, FAIL_CREDENTIAL,
                 "%.*s refuses the credential of account \"%.*s\" or holds it for used up; put a "
                 "new one into the configuration",
                 SPAN_ARGS(run->site->name), SPAN_ARGS(run->account->name));
    }
    run->fail->upstream_status = http_status;
    return ADAPTER_FAIL;
}

/* The rows of the site's table that its own shape {"status","message"} decides; `*known` is false
 * when none does. */
static enum adapter_verdict own_error(struct turn_run *run, int http_status, struct json root,
                                      bool *known)
{
    struct sophnet *s = run->state;
    struct span message = json_get_text(root, "message");
    int64_t status = 0;
    json_int(json_get(root, "status"), &status);
    *known = true;
    if (sophnet_speaks_of_captcha(message))
        return sophnet_challenged(run);
    if (status == STATUS_TOKEN_USED_UP || status == STATUS_NOT_LOGGED_IN || http_status == 401)
        return token_refused(run, http_status);
    if ((http_status == 403 || http_status == 422) && (s->guest || sophnet_is_anonymous(s->token)))
        return token_refused(run, http_status);
    *known = http_status < 300 && status != 0;
    return *known ? classify_error_object(run, root) : ADAPTER_GO_ON;
}

enum adapter_verdict sophnet_failure(struct turn_run *run, int status, struct span content_type,
                                     int retry_after_s, struct span body)
{
    struct json root = {0};
    bool known = false;
    if (looks_like_html(content_type, body) && status < 500)
        return status >= 300 && status < 400
                   ? classify_http(run, status, content_type, retry_after_s, body)
                   : sophnet_challenged(run);
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        root = (struct json){0};
    enum adapter_verdict verdict = own_error(run, status, root, &known);
    return known ? verdict : classify_http(run, status, content_type, retry_after_s, body);
}

static enum adapter_verdict odd_event(struct turn_run *run, struct json root, bool *known)
{
    return own_error(run, 200, root, known);
}

const struct openai_dialect sophnet_dialect = {
    .refs = true, .failure = sophnet_failure, .odd = odd_event};
