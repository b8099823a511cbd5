/*
 * adapters/zai_errors.c - what chat.z.ai's failures mean (sites/zai.md §9): first the kind, then a sentence that helps.
 */
#include "adapters/zai.h"

enum { OVERLOADED_S = 30 };

#define TWO_WAYS                                                                                   \
    "use transport = \"bridge\" (observe mode), or an API key of Z.ai's open platform: adapter "   \
    "\"openai\", "                                                                                 \
    "base_url \"https://api.z.ai/api/paas/v4\""

struct json zai_event_error(struct json root)
{
    struct json data = json_get(root, "data"), inner = json_get(data, "data"),
                e = json_get(root, "error");
    if (!json_is(e, JSON_OBJECT))
        e = json_get(data, "error");
    if (!json_is(e, JSON_OBJECT))
        e = json_get(inner, "error");
    if (!json_is(e, JSON_OBJECT) && span_eq(json_get_text(root, "type"), SPAN("error")))
        e = root;
    return json_is(e, JSON_OBJECT) ? e : (struct json){NULL, 0};
}

static struct span code_text(struct json e)
{
    struct span code = json_get_text(e, "code");
    return code.n ? code : json_get_text(e, "error_code");
}

static int code_number(struct json e)
{
    int64_t n = 0;
    uint64_t u = 0;
    if (json_int(json_get(e, "code"), &n) || json_int(json_get(e, "error_code"), &n))
        return n > 0 && n < 1000 ? (int)n : 0;
    return span_to_u64(code_text(e), 999, &u) ? (int)u : 0;
}

static struct span detail_text(struct json e)
{
    static const char *const names[] = {"detail", "message", "msg"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct span text = json_get_text(e, names[i]);
        if (text.n)
            return span_first(text, 120);
    }
    return SPAN("no reason given");
}

bool zai_error_is_internal(struct json e) { return span_eq(code_text(e), SPAN("INTERNAL_ERROR")); }

static bool has(struct span text, const char *needle)
{
    return span_find_nocase(text, span_str(needle)) >= 0;
}

static int captcha(struct turn_run *run)
{
    return fail_set(&run->fail, FAIL_CHALLENGE,
                    "chat.z.ai wants its own page for this (a captcha per message): " TWO_WAYS);
}

/* `code` is a name or "", `number` an HTTP status or a numeric code. First hit wins. */
static int classify(struct turn_run *run, struct span code, int number, struct span detail,
                    int retry_after_s)
{
    struct fail *f = &run->fail;
    if (span_starts(code, SPAN("FRONTEND_CAPTCHA")) || span_starts(code, SPAN("CAPTCHA_")))
        return captcha(run);
    if (number == 426 || (has(detail, "client version") && has(detail, "outdated")) ||
        span_find(detail, SPAN("客户端校验失败")) >= 0)
        return fail_set(f, FAIL_CHALLENGE,
                        "chat.z.ai takes only its own page's version: set the options fe_version "
                        "and signing_key of its current page, or transport = \"bridge\"");
    if (has(detail, "signature validation") || has(detail, "signature header"))
        return fail_set(f, FAIL_CHALLENGE,
                        "chat.z.ai wants its page's signature: set the option signing_key (it "
                        "changes with the page), or transport = \"bridge\"");
    if (number == 401)
        return fail_set(f, FAIL_CREDENTIAL,
                        "chat.z.ai refused the token (%.*s): sign in at chat.z.ai and copy `token` "
                        "from Local Storage again",
                        SPAN_ARGS(detail));
    if (span_eq(code, SPAN("MODEL_CONCURRENCY_LIMIT")) || number == 503) {
        fail_set(f, FAIL_OVERLOADED, "chat.z.ai is crowded: %.*s", SPAN_ARGS(detail));
        f->retry_after_s = retry_after_s ? retry_after_s : OVERLOADED_S;
        return -1;
    }
    if (number == 429 || has(detail, "concurrency") || has(detail, "too many requests")) {
        fail_set(f, FAIL_RATE_LIMITED, "chat.z.ai limits this account: %.*s", SPAN_ARGS(detail));
        f->retry_after_s = retry_after_s;
        return -1;
    }
    if (has(detail, "model not available for current user level"))
        return fail_set(f, FAIL_BAD_REQUEST,
                        "chat.z.ai: %.*s; the account's plan does not have this model",
                        SPAN_ARGS(detail));
    if (number >= 400 && number < 500)
        return fail_set(f, FAIL_BAD_REQUEST, "chat.z.ai found the request wrong (%d): %.*s", number,
                        SPAN_ARGS(detail));
    return fail_set(f, FAIL_UNAVAILABLE, "chat.z.ai failed (%.*s%s%d): %.*s",
                    SPAN_ARGS(span_first(code, 40)), code.n ? ", " : "", number, SPAN_ARGS(detail));
}

int zai_fail_event(struct turn_run *run, struct json e)
{
    return classify(run, code_text(e), code_number(e), detail_text(e), 0);
}

int zai_fail_http(struct turn_run *run, int status, struct span content_type, int retry_after_s,
                  struct span body)
{
    struct json root = {NULL, 0};
    if (looks_like_html(content_type, body))
        return fail_set(&run->fail, FAIL_CHALLENGE,
                        "chat.z.ai answered with a web page (a bot check): " TWO_WAYS);
    bool json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (status == 405 || (status == 403 && !json))
        return fail_set(&run->fail, FAIL_CHALLENGE,
                        "chat.z.ai's firewall refused the request (%d): " TWO_WAYS, status);
    struct json e = zai_event_error(root);
    if (!json_is(e, JSON_OBJECT))
        e = root;
    int number = status >= 400 ? status : code_number(e);
    return classify(run, code_text(e), number, detail_text(e), retry_after_s);
}
