/*
 * adapters/kimi_errors.c - what Kimi's failures mean (sites/kimi.md §8): first the kind, then a
 * sentence that helps.
 *
 * The same words come as an HTTP body, as an event, as an exception block or in the end envelope;
 * all become one report, and one table judges it. Hard to read at first: a message may hide in
 * `details`, as a protobuf message in base64.
 */
#include "adapters/kimi.h"

#include <stdio.h>

enum { REST_S = 60, PUSHING_S = 5, DETAIL_MAX = 161, HOST_MAX = 64 };

struct report {
    int status;           /* 0 = inside a stream */
    struct span code;     /* "resource_exhausted", "auth.token.invalid", "MODEL_RATE_LIMIT" */
    struct span reason;   /* "REASON_COMPLETION_OVERLOADED" */
    struct span message;  /* for a person */
    bool json;            /* it had a body that could be read */
    bool refresh;         /* of the request for a token */
    bool unauthenticated; /* out: a new access token may help */
    int retry_after_s;
};

/* ---- reading ---- */

bool kimi_is_error(struct json error)
{
    return (json_is(error, JSON_OBJECT) && json_size(error)) || json_text(error).n;
}

/* One field of a protobuf message: its number, and its bytes where it has a length. False at the
 * end, or where it is none. */
static bool read_varint(struct span *s, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; s->n && shift < 64; shift += 7) {
        unsigned char c = (unsigned char)s->p[0];
        *s = span_from(*s, 1);
        *value |= (uint64_t)(c & 0x7F) << shift;
        if (!(c & 0x80))
            return true;
    }
    return false;
}

static bool read_field(struct span *s, uint64_t *number, struct span *bytes)
{
    uint64_t key, value;
    *bytes = SPAN("");
    if (!read_varint(s, &key))
        return false;
    *number = key >> 3;
    switch (key & 7) {
    case 0: return read_varint(s, &value);
    case 1: *s = span_from(*s, 8); return true;
    case 2:
        if (!read_varint(s, &value) || value > s->n)
            return false;
        *bytes = span_first(*s, (size_t)value);
        *s = span_from(*s, (size_t)value);
        return true;
    case 5: *s = span_from(*s, 4); return true;
    default: return false;
    }
}

static struct span second_field(struct span message)
{
    uint64_t number;
    struct span bytes;
    while (read_field(&message, &number, &bytes)) {
        if (number == 2 && bytes.n)
            return bytes;
    }
    return SPAN("");
}

/* {"details":[{"value":"<base64 of {1: reason, 2: {1: locale, 2: text}}>"}]} */
static struct span text_in_details(struct turn_run *run, struct json details)
{
    struct json_iter it = json_each(details);
    while (json_next(&it)) {
        struct span value = json_get_text(it.value, "value");
        struct span bytes = value.n ? base64_decode(run->arena, value) : value;
        struct span text = second_field(second_field(bytes));
        if (text.n)
            return text;
    }
    return SPAN("");
}

static struct span localized(struct json e)
{
    struct json message = json_get(e, "localizedMessage");
    if (json_is(message, JSON_MISSING))
        message = json_get(e, "localized_message");
    return json_get_text(message, "message");
}

static void read_error(struct turn_run *run, struct report *r, struct json e)
{
    struct json inner = json_get(e, "error");
    struct span outer_reason = json_get_text(e, "reason");
    if (kimi_is_error(inner) && !json_get_text(e, "code").n)
        e = inner;
    if (json_text(e).n)
        r->message = json_text(e);
    r->code = json_get_text(e, "code");
    if (!r->code.n)
        r->code = json_get_text(e, "error_type");
    r->reason = json_get_text(e, "reason");
    if (!r->reason.n)
        r->reason = outer_reason;
    if (localized(e).n)
        r->message = localized(e);
    else if (json_get_text(e, "message").n)
        r->message = json_get_text(e, "message");
    if (!r->message.n)
        r->message = text_in_details(run, json_get(e, "details"));
}

/* ---- judging ---- */

static bool is(struct span text, const char *word) { return span_eq(text, span_str(word)); }

/* `word` as a word of its own: RATE is in MODEL_RATE_LIMIT, not in GENERATE; REVIEW not in PREVIEW.
 */
static bool has_word(struct span text, const char *word)
{
    size_t n = strlen(word);
    for (size_t at = 0; at + n <= text.n; at++) {
        if (span_eq_nocase(span_of(text.p + at, n), span_of(word, n)) &&
            (at == 0 || !ascii_is_letter(text.p[at - 1])) &&
            (at + n == text.n || !ascii_is_letter(text.p[at + n])))
            return true;
    }
    return false;
}

static bool is_one_of(struct span code, const char *const *words)
{
    for (; *words; words++) {
        if (is(code, *words))
            return true;
    }
    return false;
}

static bool any_in(struct span text, const char *const *words,
                   bool (*in)(struct span, const char *))
{
    for (; *words; words++) {
        if (in(text, *words))
            return true;
    }
    return false;
}

static bool is_abnormal(const struct report *r)
{
    return is(r->code, "auth.account_abnormal") ||
           span_mentions(r->message, "auth.account_abnormal");
}

static bool is_unauthenticated(const struct report *r)
{
    return r->status == 401 || is(r->code, "unauthenticated") ||
           is(r->code, "auth.token.invalid") || span_mentions(r->message, "auth.token.invalid");
}

static bool is_limit(const struct report *r)
{
    static const char *const words[] = {"LIMIT", "QUOTA", NULL};
    return is(r->code, "resource_exhausted") || any_in(r->reason, words, span_mentions) ||
           any_in(r->code, words, span_mentions) || has_word(r->reason, "RATE") ||
           has_word(r->code, "RATE");
}

/* Before the limits: TOKEN_LIMIT is none of theirs. */
static bool is_too_long(const struct report *r)
{
    static const char *const texts[] = {"too long", "context length", "过长", "太长", "超长", NULL};
    static const char *const names[] = {"CONTEXT", "TOKEN_LIMIT", NULL};
    return any_in(r->reason, names, span_mentions) || any_in(r->code, names, span_mentions) ||
           any_in(r->message, texts, span_mentions);
}

static bool is_filter(const struct report *r)
{
    static const char *const words[] = {"SENSITIVE", "SECURITY", "MODERATION", NULL};
    return any_in(r->reason, words, span_mentions) || any_in(r->code, words, span_mentions) ||
           has_word(r->reason, "REVIEW") || has_word(r->code, "REVIEW");
}

static bool is_bad_request(const struct report *r)
{
    static const char *const codes[] = {"invalid_argument", "failed_precondition", "not_found",
                                        "out_of_range",     "unimplemented",       NULL};
    return is_one_of(r->code, codes) || (r->status >= 400 && r->status < 500);
}

static int resting(struct turn_run *run, const struct report *r, const char *reason, int seconds)
{
    fail_set(run->fail, FAIL_RATE_LIMITED, KIMI_HOST " limits this account: %s", reason);
    run->fail->retry_after_s = r->retry_after_s ? r->retry_after_s : seconds;
    return -1;
}

static int refused_account(struct turn_run *run, const struct report *r, const char *reason)
{
    if (is_abnormal(r))
        return fail_set(run->fail, FAIL_CREDENTIAL,
                        KIMI_HOST " has flagged the account \"%.*s\" and wants a new sign-in in "
                                  "the browser; then copy `refresh_token` from its Local Storage",
                        SPAN_ARGS(run->account->name));
    return fail_set(run->fail, FAIL_CREDENTIAL,
                    KIMI_HOST " refuses account \"%.*s\" (%s): sign in there and copy "
                              "`refresh_token` from its Local Storage again",
                    SPAN_ARGS(run->account->name), reason);
}

/* The table of §8, from top to bottom; web pages and redirects were looked for before. */
static int judge(struct turn_run *run, struct report *r)
{
    struct fail *f = run->fail;
    char reason[DETAIL_MAX], name[DETAIL_MAX];
    clean_message(run, reason, sizeof reason, r->message);
    clean_message(run, name, sizeof name, r->reason.n ? r->reason : r->code);
    if (!reason[0])
        snprintf(reason, sizeof reason, "%s", name[0] ? name : "no reason given");

    r->unauthenticated = is_unauthenticated(r) && !is_abnormal(r) && !r->refresh;
    if (is_unauthenticated(r) || is_abnormal(r) || is(r->code, "permission_denied") ||
        r->status == 403 || (r->refresh && r->status == 400))
        return refused_account(run, r, reason);
    if (is(r->code, "chat.user_stream_pushing"))
        return resting(run, r, "another answer of this account is still running", PUSHING_S);
    if (r->status != 429 && is_too_long(r))
        return fail_set(f, FAIL_CONTEXT_LENGTH, "the prompt is too long for " KIMI_HOST ": %s",
                        reason);
    if (r->status == 429 || is_limit(r))
        return resting(run, r, reason, REST_S);
    if (span_mentions(r->reason, "OVERLOADED") || span_mentions(r->code, "OVERLOADED") ||
        is(r->code, "unavailable") || r->status == 503) {
        fail_set(f, FAIL_OVERLOADED, KIMI_HOST " is crowded: %s", reason);
        f->retry_after_s = r->retry_after_s;
        return -1;
    }
    if (is_filter(r))
        return fail_set(f, FAIL_CONTENT_FILTER, KIMI_HOST " refused the content: %s", reason);
    if (is_bad_request(r))
        return fail_set(f, FAIL_BAD_REQUEST, KIMI_HOST " found the request wrong: %s", reason);
    return fail_set(f, FAIL_UNAVAILABLE, KIMI_HOST " failed%s%s: %s", name[0] ? " with " : "", name,
                    reason);
}

/* ---- answers of HTTP ---- */

/* "https://www.kimi.com" of an address; "" for anything else. */
static struct span origin_of(struct span url)
{
    const struct span https = SPAN("https://");
    if (!span_starts(url, https))
        return SPAN("");
    size_t n = https.n;
    while (n < url.n &&
           (ascii_is_alnum(url.p[n]) || url.p[n] == '.' || url.p[n] == '-' || url.p[n] == ':'))
        n++;
    return n > https.n && n < https.n + HOST_MAX ? span_first(url, n) : SPAN("");
}

static int redirected(struct turn_run *run, struct span location)
{
    char clean[HOST_MAX + sizeof "https://"];
    struct span to = origin_of(location);
    if (span_eq(to, run->site->origin)) /* another path of the same site */
        to = SPAN("");
    clean_message(run, clean, sizeof clean, to);
    if (!span_eq(to, span_str(clean))) /* it repeats what it knows of the account */
        to = SPAN("");
    if (!to.n && span_find(run->site->origin, SPAN("kimi.moonshot.cn")) >= 0)
        to = SPAN("https://" KIMI_HOST);
    if (!to.n)
        return fail_set(run->fail, FAIL_UNAVAILABLE,
                        "%.*s answers with a redirect, where it should answer: check base_url",
                        SPAN_ARGS(run->site->origin));
    return fail_set(run->fail, FAIL_UNAVAILABLE,
                    "%.*s sends everybody to %.*s: set base_url = \"%.*s\" and leave out the "
                    "option api",
                    SPAN_ARGS(run->site->origin), SPAN_ARGS(to), SPAN_ARGS(to));
}

/* A failure that came in an envelope after all. */
static struct span without_envelope(struct span body)
{
    const unsigned char *head = (const unsigned char *)body.p;
    if (body.n < 5 || head[0] > 2 ||
        ((size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4]) !=
            body.n - 5)
        return body;
    return span_from(body, 5);
}

static int judge_http(struct turn_run *run, struct report *r, struct span content_type,
                      struct span location, struct span body)
{
    struct json root = {NULL, 0};
    body = without_envelope(body);
    r->json = json_parse_lenient(run->json, body, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (r->status == 301 || r->status == 302 || r->status == 303 || r->status == 307 ||
        r->status == 308)
        return redirected(run, location);
    if (looks_like_html(content_type, body) || (r->status == 403 && !r->json))
        return fail_set(run->fail, FAIL_CHALLENGE,
                        KIMI_HOST " answered with a bot check: open the site in a browser with "
                                  "this account (" BRIDGE_LATER ")");
    if (r->status < 400 &&
        (!r->json || (!kimi_is_error(json_get(root, "error")) && !json_get_text(root, "code").n &&
                      !json_get_text(root, "error_type").n)))
        return fail_set(run->fail, FAIL_PROTOCOL,
                        KIMI_HOST " answered in a form that is not known here (%d, %.*s)",
                        r->status, SPAN_ARGS(span_first(content_type, 40)));
    if (r->json)
        read_error(run, r, root);
    return judge(run, r);
}

int kimi_fail_answer(struct turn_run *run, struct kimi *k, struct span body)
{
    struct report r = {
        .status = k->status, .retry_after_s = k->retry_after_s, .refresh = k->ask == KIMI_REFRESH};
    judge_http(run, &r, k->content_type, k->location, body);
    run->fail->upstream_status = k->status;
    k->unauthenticated = r.unauthenticated;
    return -1;
}

int kimi_fail_http(struct turn_run *run, int status, struct span content_type, int retry_after_s,
                   struct span body)
{
    struct report r = {.status = status, .retry_after_s = retry_after_s};
    judge_http(run, &r, content_type, SPAN(""), body);
    run->fail->upstream_status = status;
    return -1;
}

int kimi_fail_event(struct turn_run *run, struct kimi *k, struct json error)
{
    struct report r = {.json = true};
    read_error(run, &r, error);
    judge(run, &r);
    k->unauthenticated = r.unauthenticated;
    return -1;
}
