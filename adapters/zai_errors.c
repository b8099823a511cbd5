/*
 * adapters/zai_errors.c - what chat.z.ai's failures mean (sites/zai.md §9): first the kind, then a
 * sentence that helps.
 */
#include "adapters/zai.h"

#include <stdio.h>

enum { OVERLOADED_S = 30, RATE_LIMITED_S = 60, DETAIL_MAX = 121 };

#define WAYS                                                                                       \
    "use an API key of Z.ai's open platform: adapter \"openai\", "                                 \
    "base_url \"https://api.z.ai/api/paas/v4\" (" BRIDGE_LATER ", observe mode)"

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

/* {"detail":"…"}, {"detail":{"message"}}, the framework's {"detail":[{"msg"}]}, {"message"},
 * {"msg"}. */
static struct span detail_text(struct json e)
{
    static const char *const names[] = {"detail", "message", "msg"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct json value = json_get(e, names[i]);
        if (json_is(value, JSON_ARRAY))
            value = json_at(value, 0);
        if (json_is(value, JSON_OBJECT))
            value = json_get(value, json_get_text(value, "msg").n ? "msg" : "message");
        if (json_text(value).n)
            return json_text(value);
    }
    return SPAN("");
}

bool zai_error_is_internal(struct json e) { return span_eq(code_text(e), SPAN("INTERNAL_ERROR")); }

static int captcha(struct turn_run *run)
{
    return fail_set(run->fail, FAIL_CHALLENGE,
                    "chat.z.ai wants its own page for this (a captcha per message): " WAYS);
}

static int refused_token(struct turn_run *run, struct span reason)
{
    if (run->account->guest)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "chat.z.ai does not take its own guest token (%.*s); try again later, or "
                        "configure an account with a token",
                        SPAN_ARGS(reason));
    return fail_set(run->fail, FAIL_CREDENTIAL,
                    "chat.z.ai refused the token (%.*s): sign in at chat.z.ai and copy `token` "
                    "from Local Storage again",
                    SPAN_ARGS(reason));
}

static int resting(struct turn_run *run, enum fail_kind kind, const char *what, struct span reason,
                   int retry_after_s)
{
    fail_set(run->fail, kind, "chat.z.ai %s: %.*s", what, SPAN_ARGS(reason));
    run->fail->retry_after_s = retry_after_s;
    return -1;
}

/* What a failure says about itself: `code` is a name or "", `number` an HTTP status or a numeric
 * code. First hit wins. */
struct report {
    struct span code, detail;
    int number, retry_after_s;
    bool captcha;
};

static int classify(struct turn_run *run, const struct report *r)
{
    struct fail *f = run->fail;
    char clean[DETAIL_MAX];
    clean_message(run, clean, sizeof clean, r->detail);
    struct span reason = clean[0] ? span_str(clean) : SPAN("no reason given");

    if (r->captcha || span_starts(r->code, SPAN("FRONTEND_CAPTCHA")) ||
        span_starts(r->code, SPAN("CAPTCHA_")))
        return captcha(run);
    if (r->number == 426 ||
        (span_mentions(r->detail, "client version") && span_mentions(r->detail, "outdated")) ||
        span_find(r->detail, SPAN("客户端校验失败")) >= 0)
        return fail_set(f, FAIL_CHALLENGE,
                        "chat.z.ai takes only its own page's version: set the options fe_version "
                        "and signing_key of its current page (" BRIDGE_LATER ")");
    if (span_mentions(r->detail, "signature validation") ||
        span_mentions(r->detail, "signature header"))
        return fail_set(f, FAIL_CHALLENGE,
                        "chat.z.ai wants its page's signature: set the option signing_key (it "
                        "changes with the page; " BRIDGE_LATER ")");
    if (r->number == 401)
        return refused_token(run, reason);
    if (span_eq(r->code, SPAN("MODEL_CONCURRENCY_LIMIT")) || r->number == 503)
        return resting(run, FAIL_OVERLOADED, "is crowded", reason,
                       r->retry_after_s ? r->retry_after_s : OVERLOADED_S);
    if (r->number == 429 || span_mentions(r->detail, "concurrency") ||
        span_mentions(r->detail, "too many requests"))
        return resting(run, FAIL_RATE_LIMITED, "limits this account", reason,
                       r->retry_after_s ? r->retry_after_s : RATE_LIMITED_S);
    if (span_mentions(r->detail, "model not available for current user level"))
        return fail_set(f, FAIL_BAD_REQUEST,
                        "chat.z.ai: %.*s; the account's plan does not have this model",
                        SPAN_ARGS(reason));
    if (r->number >= 400 && r->number < 500)
        return fail_set(f, FAIL_BAD_REQUEST, "chat.z.ai found the request wrong (%d): %.*s",
                        r->number, SPAN_ARGS(reason));
    char code[40];
    clean_message(run, code, sizeof code, r->code);
    if (!code[0] && r->number)
        snprintf(code, sizeof code, "%d", r->number);
    return fail_set(f, FAIL_UNAVAILABLE, "chat.z.ai failed%s%s: %.*s", code[0] ? " with " : "",
                    code, SPAN_ARGS(reason));
}

static struct report read_error(struct json e)
{
    return (struct report){.code = code_text(e),
                           .number = code_number(e),
                           .detail = detail_text(e),
                           .captcha = json_is(json_get(e, "captcha_error_type"), JSON_STRING)};
}

int zai_fail_event(struct turn_run *run, struct json e)
{
    struct report r = read_error(e);
    return classify(run, &r);
}

static int classify_http_answer(struct turn_run *run, int status, struct span content_type,
                                int retry_after_s, struct span body)
{
    struct json root = {NULL, 0};
    if (looks_like_html(content_type, body))
        return fail_set(run->fail, FAIL_CHALLENGE,
                        "chat.z.ai answered with a web page (a bot check): " WAYS);
    bool json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (status == 405 || (status == 403 && !json))
        return fail_set(run->fail, FAIL_CHALLENGE,
                        "chat.z.ai's firewall refused the request (%d): " WAYS, status);
    struct json e = zai_event_error(root);
    if (!json_is(e, JSON_OBJECT))
        e = json_is(json_get(root, "detail"), JSON_OBJECT) ? json_get(root, "detail") : root;
    struct report r = read_error(e);
    if (status >= 400)
        r.number = status;
    r.retry_after_s = retry_after_s;
    return classify(run, &r);
}

int zai_fail_http(struct turn_run *run, int status, struct span content_type, int retry_after_s,
                  struct span body)
{
    classify_http_answer(run, status, content_type, retry_after_s, body);
    run->fail->upstream_status = status;
    return -1;
}
