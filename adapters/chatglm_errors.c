/*
 * adapters/chatglm_errors.c - what chatglm.cn's failures mean (sites/chatglm.md §7): first the
 * kind, then a sentence that helps.
 */
#include "adapters/chatglm.h"

enum { BUSY_S = 5, RATE_LIMITED_S = 60, VISITOR_S = 600, DETAIL_MAX = 121 };

#define WAY "open chatglm.cn in your browser once, then wait (" BRIDGE_LATER ")"

/* What a failure says about itself: `code` is the site's own or 0, `status` HTTP's or 0. */
struct report {
    int64_t code;
    int status, retry_after_s;
    struct span detail;
};

static const char *const code_names[] = {"error_code", "status", "code"};

static bool read_code(struct json e, int64_t *code)
{
    for (size_t i = 0; i < sizeof code_names / sizeof *code_names; i++) {
        struct json value = json_get(e, code_names[i]);
        uint64_t u;
        if (json_int(value, code))
            return true;
        if (json_is(value, JSON_STRING) && span_to_u64(json_text(value), 99999999, &u)) {
            *code = (int64_t)u;
            return true;
        }
    }
    return false;
}

bool chatglm_is_error(struct json e)
{
    int64_t code;
    return json_is(e, JSON_OBJECT) && read_code(e, &code) && code != 0;
}

static struct report read_error(struct json e)
{
    static const char *const names[] = {"err_msg", "message", "msg"};
    struct report r = {.detail = SPAN("")};
    read_code(e, &r.code);
    for (size_t i = 0; i < sizeof names / sizeof *names && !r.detail.n; i++) {
        if (json_get_text(e, names[i]).n)
            r.detail = json_get_text(e, names[i]);
    }
    return r;
}

/* "sign error", "X-Sign", "signature", 签名; but not "design", "please sign in", "signed out". */
static bool speaks_of_the_signature(struct span text)
{
    if (span_mentions(text, "签名") || span_mentions(text, "signature"))
        return true;
    for (ptrdiff_t at; (at = span_find_nocase(text, SPAN("sign"))) >= 0;) {
        struct span rest = span_from(text, (size_t)at + 4);
        bool word = (at == 0 || !ascii_is_letter(text.p[at - 1])) &&
                    !(rest.n && ascii_is_letter(rest.p[0]));
        if (word && !span_eq_nocase(span_first(rest, 3), SPAN(" in")) &&
            !span_eq_nocase(span_first(rest, 3), SPAN("-in")) &&
            !span_eq_nocase(span_first(rest, 4), SPAN(" out")) &&
            !span_eq_nocase(span_first(rest, 3), SPAN(" up")))
            return true;
        text = rest;
    }
    return false;
}

static bool is(const struct report *r, int64_t number)
{
    return r->code == number || r->status == number;
}

static int resting(struct turn_run *run, enum fail_kind kind, int retry_after_s, const char *what,
                   struct span reason)
{
    fail_set(run->fail, kind, "chatglm.cn %s: %.*s", what, SPAN_ARGS(reason));
    run->fail->retry_after_s = retry_after_s;
    return -1;
}

static int refused_token(struct turn_run *run, struct span reason)
{
    if (run->account->guest)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "chatglm.cn does not take its own visitor's session (%.*s); configure an "
                        "account with a refresh_token",
                        SPAN_ARGS(reason));
    return fail_set(run->fail, FAIL_CREDENTIAL,
                    "chatglm.cn refused the credential (%.*s): sign in at chatglm.cn and copy the "
                    "cookie chatglm_refresh_token again",
                    SPAN_ARGS(reason));
}

/* The table's rows in order; the first hit wins. */
static int classify(struct turn_run *run, const struct report *r)
{
    struct fail *f = run->fail;
    char clean[DETAIL_MAX];
    clean_message(run, clean, sizeof clean, r->detail);
    struct span reason = clean[0] ? span_str(clean) : SPAN("no reason given");
    int wait_s = r->retry_after_s ? r->retry_after_s : RATE_LIMITED_S;

    if (r->code == 40011 || r->code == 40014 || speaks_of_the_signature(r->detail))
        return fail_set(f, FAIL_CHALLENGE,
                        "chatglm.cn wants its page's signature: set the option sign_secret to the "
                        "current page's (it changes with the page; " BRIDGE_LATER ")");
    if (is(r, 10061) || is(r, 429)) {
        if (span_mentions(r->detail, "其他对话"))
            return resting(run, FAIL_RATE_LIMITED, BUSY_S,
                           "is still at another answer of this account", reason);
        return resting(run, FAIL_RATE_LIMITED, wait_s, "limits this account", reason);
    }
    if (span_mentions(r->detail, "频繁") || span_mentions(r->detail, "请求过多") ||
        span_mentions(r->detail, "too many"))
        return resting(run, FAIL_RATE_LIMITED, wait_s, "limits this account", reason);
    if (is(r, 401) || r->code == 40102 || r->code == 40103 || span_mentions(r->detail, "40102"))
        return refused_token(run, reason);
    if (r->code == 40012 && run->account->guest)
        return resting(run, FAIL_RATE_LIMITED, VISITOR_S, "has no more for this visitor", reason);
    if (r->code == 10040)
        return fail_set(f, FAIL_CONTEXT_LENGTH, "the conversation is too long for chatglm.cn: %.*s",
                        SPAN_ARGS(reason));
    if (r->code == 10062 || is(r, 503))
        return resting(run, FAIL_OVERLOADED, r->retry_after_s, "is crowded", reason);
    if ((r->code >= 40000 && r->code <= 40099) || span_mentions(r->detail, "权限不足") ||
        is(r, 400) || is(r, 404) || is(r, 422))
        return fail_set(f, FAIL_BAD_REQUEST, "chatglm.cn found the request wrong (%lld): %.*s",
                        (long long)(r->code ? r->code : r->status), SPAN_ARGS(reason));
    return fail_set(f, FAIL_UNAVAILABLE, "chatglm.cn failed (%lld): %.*s",
                    (long long)(r->code ? r->code : r->status), SPAN_ARGS(reason));
}

int chatglm_fail_event(struct turn_run *run, struct json e)
{
    struct report r = read_error(e);
    return classify(run, &r);
}

static int classify_answer(struct turn_run *run, int status, struct span content_type,
                           int retry_after_s, struct span body)
{
    struct json root = {NULL, 0};
    if (looks_like_html(content_type, body))
        return fail_set(run->fail, FAIL_CHALLENGE,
                        "chatglm.cn answered with a web page (a bot check): " WAY);
    bool json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (status == 405 || (status == 403 && !json))
        return fail_set(run->fail, FAIL_CHALLENGE,
                        "chatglm.cn's firewall refused the request (%d): " WAY, status);
    struct report r =
        read_error(chatglm_is_error(json_get(root, "error")) ? json_get(root, "error") : root);
    r.status = status;
    r.retry_after_s = retry_after_s;
    return classify(run, &r);
}

int chatglm_fail_http(struct turn_run *run, int status, struct span content_type, int retry_after_s,
                      struct span body)
{
    classify_answer(run, status, content_type, retry_after_s, body);
    run->fail->upstream_status = status;
    return -1;
}
