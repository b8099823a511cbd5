/*
 * adapters/qwen_errors.c - what chat.qwen.ai's failures mean (sites/qwen.md §8): first the kind,
 * then a sentence that helps.
 *
 * The same objects come as bodies with any status and inside the stream. The table's order matters:
 * the first row that fits wins.
 */
#include "adapters/qwen.h"

enum {
    QUOTA_S = 60,
    BUSY_S = 3,
    HOUR_S = 3600,
    HOURS_MAX = 24 * 366,
    DETAIL_MAX = 121,
    DEPTH_MAX = 16,
    TEXTS_MAX = 6
};

#define CHALLENGE                                                                                  \
    "chat.qwen.ai asks for a human: open chat.qwen.ai in your browser and complete the check "     \
    "(" BRIDGE_LATER ")"

/* What a failure says about itself; `status` is HTTP's, 0 = inside a stream. */
struct report {
    int status, retry_after_s;
    struct span code;
    struct span texts[TEXTS_MAX];
    size_t n_texts;
    int64_t hours; /* 0 = not told */
    bool json;
};

/* ---- reading ---- */

static const char *const challenge_marks[] = {"FAIL_SYS_USER_VALIDATE", "RGV587",
                                              "/_____tmd_____/punish", "x5sec"};

static bool is_challenge_text(struct span text)
{
    for (size_t i = 0; i < sizeof challenge_marks / sizeof *challenge_marks; i++) {
        if (span_find(text, span_str(challenge_marks[i])) >= 0)
            return true;
    }
    return false;
}

/* In any string of a value, however deep. */
static bool is_challenge(struct json v, int depth)
{
    if (json_is(v, JSON_STRING))
        return is_challenge_text(json_text(v));
    struct json_iter it = json_each(v);
    while (depth < DEPTH_MAX && json_next(&it)) {
        if (is_challenge(it.value, depth + 1))
            return true;
    }
    return false;
}

bool qwen_is_failure(struct json root)
{
    struct json error = json_get(root, "error");
    if (json_is(json_get(root, "ret"), JSON_ARRAY) || !json_bool(json_get(root, "success"), true))
        return true;
    if (json_is(error, JSON_STRING))
        return json_text(error).n > 0;
    if (json_is(error, JSON_OBJECT))
        return json_size(error) > 0;
    /* a check's address instead of an answer */
    return !json_is(json_get(root, "choices"), JSON_ARRAY) && is_challenge(root, 0);
}

static void add_text(struct report *r, struct span text)
{
    if (text.n && r->n_texts < TEXTS_MAX)
        r->texts[r->n_texts++] = text;
}

/* `num` is the hours to wait: as a number, or as one written out. */
static int64_t read_hours(struct json value)
{
    double hours = 0;
    uint64_t whole = 0;
    if (span_to_u64(json_text(value), HOURS_MAX, &whole))
        return (int64_t)whole;
    return json_number(value, &hours) && hours > 0 && hours <= HOURS_MAX ? (int64_t)(hours + 0.999)
                                                                         : 0;
}

static void read_object(struct report *r, struct json e)
{
    static const char *const names[] = {"details", "message", "detail", "msg", "template"};
    if (!r->code.n)
        r->code = json_get_text(e, "code");
    if (!r->hours)
        r->hours = read_hours(json_get(e, "num"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add_text(r, json_get_text(e, names[i]));
}

static struct report read_report(struct json root)
{
    struct report r = {.json = json_is(root, JSON_OBJECT)};
    struct json error = json_get(root, "error"), data = json_get(root, "data");
    read_object(&r, error);
    add_text(&r, json_text(error));
    read_object(&r, data);
    add_text(&r, json_text(data));
    read_object(&r, root);
    return r;
}

/* ---- what a report says ---- */

static bool is_code(const struct report *r, const char *code)
{
    return span_eq_nocase(r->code, span_str(code));
}

static bool says(const struct report *r, const char *words)
{
    for (size_t i = 0; i < r->n_texts; i++) {
        if (span_mentions(r->texts[i], words))
            return true;
    }
    return false;
}

/* The code, or a text: names stand in either. */
static bool tells(const struct report *r, const char *name)
{
    return says(r, name) || span_mentions(r->code, name);
}

/* "token" as a word: not the "tokens" that a prompt has too many of. */
static bool names_a_token(struct span text)
{
    for (ptrdiff_t at; (at = span_find_nocase(text, SPAN("token"))) >= 0;) {
        text = span_from(text, (size_t)at + 5);
        if (!text.n || !ascii_is_letter(text.p[0]))
            return true;
    }
    return false;
}

static bool refuses_a_token(const struct report *r)
{
    for (size_t i = 0; i < r->n_texts; i++) {
        if (names_a_token(r->texts[i]) &&
            (span_mentions(r->texts[i], "invalid") || span_mentions(r->texts[i], "expired")))
            return true;
    }
    return false;
}

static bool is_quota(const struct report *r)
{
    static const char *const names[] = {"quota_limit", "quota exceeded", "token-limit",
                                        "throttling", "upper limit"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (tells(r, names[i]))
            return true;
    }
    return false;
}

static bool is_credential(const struct report *r)
{
    return r->status == 401 || is_code(r, "Unauthorized") || is_code(r, "Forbidden") ||
           (r->status == 403 && r->json) || refuses_a_token(r);
}

static bool is_content_filter(const struct report *r)
{
    return tells(r, "data_inspection_failed") || tells(r, "DataInspectionFailed") ||
           says(r, "inappropriate content");
}

static bool is_unknown_model(const struct report *r)
{
    return is_code(r, "Not_Found") ||
           (says(r, "model") && (says(r, "not found") || says(r, "not exist")));
}

static bool is_too_long(const struct report *r)
{
    return is_code(r, "ContextLengthExceeded") || says(r, "maximum context") ||
           says(r, "input is too long") || says(r, "range of input length");
}

/* ---- what it means ---- */

static int failed(struct turn_run *run, enum fail_kind kind, int retry_after_s, const char *what,
                  struct span reason)
{
    fail_set(run->fail, kind, "chat.qwen.ai %s: %.*s", what, SPAN_ARGS(reason));
    run->fail->retry_after_s = retry_after_s;
    return -1;
}

static int refused_token(struct turn_run *run, struct span reason)
{
    if (run->account->guest)
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        "chat.qwen.ai does not serve guests (%.*s); configure an account with a "
                        "token",
                        SPAN_ARGS(reason));
    return fail_set(run->fail, FAIL_CREDENTIAL,
                    "chat.qwen.ai refused the credential of account \"%.*s\" (%.*s): sign in there "
                    "and copy the local storage item token again",
                    SPAN_ARGS(run->account->name), SPAN_ARGS(reason));
}

/* The table's rows in order, behind those of the bot check. */
static int classify(struct turn_run *run, const struct report *r)
{
    char clean[DETAIL_MAX] = "";
    for (size_t i = 0; i < r->n_texts && !clean[0]; i++)
        clean_message(run, clean, sizeof clean, r->texts[i]);
    if (!clean[0])
        clean_message(run, clean, sizeof clean, r->code);
    struct span reason = clean[0] ? span_str(clean) : SPAN("no reason given");
    bool bad_request = is_code(r, "Bad_Request");

    if (is_code(r, "RateLimited"))
        return failed(run, FAIL_RATE_LIMITED, r->hours ? (int)r->hours * HOUR_S : r->retry_after_s,
                      "has no more for this account today", reason);
    if (r->status == 429 || is_code(r, "Too_Many_Requests"))
        return failed(run, FAIL_RATE_LIMITED, r->retry_after_s, "limits this account", reason);
    if (is_quota(r))
        return failed(run, FAIL_RATE_LIMITED, r->retry_after_s ? r->retry_after_s : QUOTA_S,
                      "limits this account", reason);
    if (is_credential(r))
        return refused_token(run, reason);
    if (r->status == 503 || r->status == 529)
        return failed(run, FAIL_OVERLOADED, r->retry_after_s, "is overloaded", reason);
    if (r->status >= 500 || is_code(r, "internal_error") ||
        (bad_request && says(r, "internal error")))
        return failed(run, FAIL_UNAVAILABLE, r->retry_after_s, "failed", reason);
    if (says(r, "chat is in progress"))
        return failed(run, FAIL_UNAVAILABLE, BUSY_S, "is still at another answer", reason);
    if (tells(r, "overload") || says(r, "temporarily unavailable"))
        return failed(run, FAIL_OVERLOADED, r->retry_after_s, "is overloaded", reason);
    if (is_content_filter(r))
        return failed(run, FAIL_CONTENT_FILTER, 0, "refuses this content", reason);
    if (is_unknown_model(r))
        return failed(run, FAIL_BAD_REQUEST, 0, "does not know the model or the chat", reason);
    if (is_too_long(r))
        return failed(run, FAIL_CONTEXT_LENGTH, 0, "finds the conversation too long", reason);
    if (bad_request || (r->status >= 400 && r->status < 500))
        return failed(run, FAIL_BAD_REQUEST, 0, "found the request wrong", reason);
    return failed(run, FAIL_UNAVAILABLE, r->retry_after_s, "failed", reason);
}

static int challenged(struct turn_run *run)
{
    return fail_set(run->fail, FAIL_CHALLENGE, CHALLENGE);
}

int qwen_fail_object(struct turn_run *run, struct json root)
{
    struct report r = read_report(root);
    return is_challenge(root, 0) || json_is(json_get(root, "ret"), JSON_ARRAY) ? challenged(run)
                                                                               : classify(run, &r);
}

/* ---- answers that are no stream ---- */

/* The marks of the firewall's page; "<!doctypehtml>" is how it writes its first line. */
static bool is_firewall_page(struct span body)
{
    return is_challenge_text(body) || span_mentions(body, "aliyun_waf") ||
           span_mentions(body, "<!doctypehtml>") || span_mentions(body, "punish");
}

static int classify_answer(struct turn_run *run, int status, struct span content_type,
                           int retry_after_s, struct span body)
{
    struct json root = {NULL, 0};
    bool html = looks_like_html(content_type, body);
    if (status == 405 || (html && (status < 500 || is_firewall_page(body))))
        return challenged(run);
    if (!html && json_parse_lenient(run->json, body, &root) == JSON_OK &&
        json_is(root, JSON_OBJECT) &&
        (is_challenge(root, 0) || json_is(json_get(root, "ret"), JSON_ARRAY)))
        return challenged(run);
    if (!json_is(root, JSON_OBJECT) && (status == 403 || is_challenge_text(body)))
        return challenged(run); /* the firewall; what the site itself refuses, it says in JSON */
    struct report r = read_report(root);
    r.status = status;
    r.retry_after_s = retry_after_s;
    return classify(run, &r);
}

int qwen_fail_http(struct turn_run *run, int status, struct span content_type, int retry_after_s,
                   struct span body)
{
    classify_answer(run, status, content_type, retry_after_s, body);
    run->fail->upstream_status = status;
    return -1;
}
