/*
 * adapters/gemini_errors.c - what the Gemini API's failures mean (sites/gemini.md §6).
 *
 * {"error":{"code","message","status","details"}}, sometimes in an array. The hard parts: a wrong
 * key is a 400 like any other, told apart by a reason in the details or by its wording; and a day's
 * quota ends at midnight of the US Pacific coast, which has summer time.
 */
#include "adapters/gemini.h"

#include <ctype.h>
#include <stdio.h>

#include "base/date.h"

enum {
    RATE_LIMITED_S = 60,
    OVERLOADED_S = 10,
    DAY_S = 86400,
    PACIFIC_WINTER_S = -8 * 3600,
    PACIFIC_SUMMER_S = -7 * 3600
};

/* ---- the Pacific's day ---- */

/* The n-th Sunday of a month. Day 0 was a Thursday. */
static int64_t sunday(int64_t year, int month, int n)
{
    int64_t first = days_since_1970(year, month, 1);
    int64_t weekday = (first + 4) % 7; /* 0 = Sunday */
    return first + (7 - weekday) % 7 + (int64_t)(n - 1) * 7;
}

/* Summer time from the second Sunday of March to the first of November, at 2 o'clock there. */
static int64_t pacific_offset_s(int64_t utc_s)
{
    int64_t year = 1970 + utc_s / 31556952;
    int64_t begins = sunday(year, 3, 2) * DAY_S + 2 * 3600 - PACIFIC_WINTER_S;
    int64_t ends = sunday(year, 11, 1) * DAY_S + 2 * 3600 - PACIFIC_SUMMER_S;
    return utc_s >= begins && utc_s < ends ? PACIFIC_SUMMER_S : PACIFIC_WINTER_S;
}

int gemini_seconds_to_pacific_midnight(int64_t now_ms)
{
    int64_t now = now_ms / 1000;
    int64_t local = now + pacific_offset_s(now);
    int64_t midnight = (local / DAY_S + 1) * DAY_S;
    /* The night between may change the clocks, at 2 and so never at midnight itself. */
    int64_t utc = midnight - pacific_offset_s(midnight - PACIFIC_WINTER_S);
    return (int)(utc - now);
}

/* ---- reading an error ---- */

struct report {
    int status;         /* HTTP's, or the error's own code; 0 = not told */
    struct span word;   /* "RESOURCE_EXHAUSTED" */
    struct span text;   /* the message, as it came */
    struct span reason; /* of google.rpc.ErrorInfo */
    struct span delay;  /* of google.rpc.RetryInfo: "34s" */
    bool day_is_over;   /* of google.rpc.QuotaFailure: the day's quota */
    char message[181];  /* clean */
};

static void read_details(struct report *r, struct json details)
{
    struct json_iter it = json_each(details);
    while (json_next(&it)) {
        struct span type = json_get_text(it.value, "@type");
        if (span_mentions(type, "google.rpc.ErrorInfo"))
            r->reason = json_get_text(it.value, "reason");
        else if (span_mentions(type, "google.rpc.RetryInfo"))
            r->delay = json_get_text(it.value, "retryDelay");
        struct json_iter quotas = json_each(json_get(it.value, "violations"));
        while (span_mentions(type, "google.rpc.QuotaFailure") && json_next(&quotas))
            r->day_is_over |= span_mentions(json_get_text(quotas.value, "quotaId"), "PerDay");
    }
}

static void read_error(struct turn_run *run, struct report *r, struct json error, int status)
{
    int64_t code = 0;
    json_int(json_get(error, "code"), &code);
    *r = (struct report){.status = status};
    if (!status && code >= 400 && code < 600)
        r->status = (int)code;
    r->word = json_get_text(error, "status");
    r->text = json_get_text(error, "message");
    clean_message(run, r->message, sizeof r->message, r->text);
    read_details(r, json_get(error, "details"));
}

/* "34s", "0.5s": whole seconds, rounded up; 0 = not told. */
static int seconds_of(struct span delay)
{
    uint64_t whole;
    struct span rest = delay, fraction;
    if (!span_ends(delay, SPAN("s")))
        return 0;
    rest.n--;
    struct span before = rest;
    bool cut = span_split(&rest, '.', &before) && rest.n > 0;
    fraction = rest;
    if (!span_to_u64(before, 7 * DAY_S, &whole))
        return 0;
    for (size_t i = 0; cut && i < fraction.n; i++) {
        if (fraction.p[i] != '0')
            return (int)whole + 1;
    }
    return (int)whole;
}

static int rest_of(const struct turn_run *run, const struct report *r, int retry_after_s)
{
    if (r->day_is_over)
        return gemini_seconds_to_pacific_midnight(run->now_ms);
    int told = seconds_of(r->delay);
    if (!told)
        told = retry_after_s;
    return told ? told : RATE_LIMITED_S;
}

/* ---- what it means ---- */

static enum fail_kind kind_of_400(const struct report *r)
{
    if (span_eq(r->reason, SPAN("API_KEY_INVALID")) ||
        span_mentions(r->text, "API key not valid") || span_mentions(r->text, "API key expired") ||
        span_eq(r->word, SPAN("FAILED_PRECONDITION")))
        return FAIL_CREDENTIAL;
    return span_mentions(r->text, "exceeds the maximum number of tokens") ? FAIL_CONTEXT_LENGTH
                                                                          : FAIL_BAD_REQUEST;
}

/* An error in a stream may tell its word alone. */
static int status_of_word(struct span word)
{
    static const struct {
        struct span word;
        int status;
    } rows[] = {
        {SPAN_INIT("INVALID_ARGUMENT"), 400}, {SPAN_INIT("FAILED_PRECONDITION"), 400},
        {SPAN_INIT("UNAUTHENTICATED"), 401},  {SPAN_INIT("PERMISSION_DENIED"), 403},
        {SPAN_INIT("NOT_FOUND"), 404},        {SPAN_INIT("RESOURCE_EXHAUSTED"), 429},
        {SPAN_INIT("UNAVAILABLE"), 503},      {SPAN_INIT("DEADLINE_EXCEEDED"), 504},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (span_eq(word, rows[i].word))
            return rows[i].status;
    }
    return 500;
}

static enum fail_kind kind_of(const struct report *r)
{
    switch (r->status) {
    case 400: return kind_of_400(r);
    case 401:
    case 402:
    case 403: return FAIL_CREDENTIAL;
    case 404: return FAIL_MODEL_NOT_FOUND;
    case 408:
    case 499: return FAIL_UNAVAILABLE;
    case 429: return FAIL_RATE_LIMITED;
    case 503: return FAIL_OVERLOADED;
    case 504: return FAIL_TIMEOUT;
    default: return r->status < 500 ? FAIL_BAD_REQUEST : FAIL_UNAVAILABLE;
    }
}

static void explain(const struct turn_run *run, enum fail_kind kind, const struct report *r,
                    char *text, size_t size)
{
    struct span site = run->site->name, account = run->account ? run->account->name : SPAN("");
    switch (kind) {
    case FAIL_CREDENTIAL:
        if (span_eq(r->word, SPAN("FAILED_PRECONDITION")))
            snprintf(text, size,
                     "%.*s does not serve account \"%.*s\": its region or its billing is in the "
                     "way",
                     SPAN_ARGS(site), SPAN_ARGS(account));
        else
            snprintf(text, size,
                     "%.*s refuses the key of account \"%.*s\"; make another at "
                     "aistudio.google.com/apikey",
                     SPAN_ARGS(site), SPAN_ARGS(account));
        break;
    case FAIL_RATE_LIMITED:
        snprintf(text, size, "%.*s: the %s of account \"%.*s\" is used up; wait, or add an account",
                 SPAN_ARGS(site), r->day_is_over ? "day's quota" : "quota", SPAN_ARGS(account));
        break;
    case FAIL_MODEL_NOT_FOUND:
        snprintf(text, size, "%.*s has no model %.*s", SPAN_ARGS(site),
                 SPAN_ARGS(span_first(run->model, 60)));
        break;
    case FAIL_CONTEXT_LENGTH:
        snprintf(text, size, "the prompt is too long for %.*s at %.*s",
                 SPAN_ARGS(span_first(run->model, 60)), SPAN_ARGS(site));
        break;
    case FAIL_OVERLOADED:
        snprintf(text, size, "%.*s is overloaded; try again in a moment", SPAN_ARGS(site));
        break;
    case FAIL_TIMEOUT:
        snprintf(text, size, "%.*s did not finish in its own time; try again", SPAN_ARGS(site));
        break;
    case FAIL_BAD_REQUEST:
        snprintf(text, size, "%.*s found the request wrong", SPAN_ARGS(site));
        break;
    default: snprintf(text, size, "%.*s failed; try again", SPAN_ARGS(site));
    }
}

static int report_failure(struct turn_run *run, const struct report *r, int retry_after_s)
{
    enum fail_kind kind = kind_of(r);
    char ours[160];
    explain(run, kind, r, ours, sizeof ours);
    fail_param(run->fail, kind, kind == FAIL_MODEL_NOT_FOUND ? "model" : "", "%s (HTTP %d)%s%s",
               ours, r->status, r->message[0] ? ": " : "", r->message);
    run->fail->upstream_status = r->status;
    if (kind == FAIL_RATE_LIMITED)
        run->fail->retry_after_s = rest_of(run, r, retry_after_s);
    else if (kind == FAIL_OVERLOADED)
        run->fail->retry_after_s = retry_after_s ? retry_after_s : OVERLOADED_S;
    else
        run->fail->retry_after_s = retry_after_s;
    return -1;
}

int gemini_fail_error(struct turn_run *run, struct json error, int retry_after_s)
{
    struct report r;
    read_error(run, &r, error, 0);
    if (!r.status)
        r.status = status_of_word(r.word);
    return report_failure(run, &r, retry_after_s);
}

/* The error of a body, which may be the only element of an array. */
static struct json error_of(struct turn_run *run, struct span body)
{
    struct json root;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        return (struct json){0};
    if (json_is(root, JSON_ARRAY))
        root = json_at(root, 0);
    return json_get(root, "error");
}

int gemini_fail_http(struct turn_run *run, int status, struct span content_type, int retry_after_s,
                     struct span body)
{
    struct report r;
    if (status < 400 || looks_like_html(content_type, body))
        return classify_http(run, status, content_type, retry_after_s, body);
    read_error(run, &r, error_of(run, body), status);
    if (!r.word.n && !r.text.n) { /* not Google's shape: a proxy's */
        classify_http(run, status, content_type, retry_after_s, body);
        if (run->fail->kind == FAIL_RATE_LIMITED && !run->fail->retry_after_s)
            run->fail->retry_after_s = RATE_LIMITED_S;
        return -1;
    }
    return report_failure(run, &r, retry_after_s);
}

/* ---- fields that a model does not have ---- */

/* "presencePenalty", "presence_penalty", "Presence penalty": letters alone are compared. */
static bool names(struct span text, const char *field)
{
    size_t n = strlen(field);
    for (size_t start = 0; start < text.n; start++) {
        size_t at = start, k = 0;
        while (k < n && at < text.n) {
            char c = text.p[at];
            if (tolower((unsigned char)c) == field[k])
                k++;
            else if (k == 0 || (c != '_' && c != ' '))
                break;
            at++;
        }
        if (k == n)
            return true;
    }
    return false;
}

unsigned gemini_refused_fields(struct turn_run *run, unsigned sent, struct span body)
{
    static const struct {
        const char *word;
        unsigned fields;
    } rows[] = {
        {"presencepenalty", REFUSED_PRESENCE},
        {"frequencypenalty", REFUSED_FREQUENCY},
        {"penalty", REFUSED_PRESENCE | REFUSED_FREQUENCY},
        {"seed", REFUSED_SEED},
        {"topk", REFUSED_TOP_K},
        {"thinkinglevelmedium", REFUSED_MEDIUM},
        {"thinkinglevel", REFUSED_LEVEL},
        {"budget", REFUSED_BUDGET},
        {"thinking", REFUSED_THINKING},
    };
    struct report r;
    read_error(run, &r, error_of(run, body), 400);
    if (kind_of_400(&r) != FAIL_BAD_REQUEST)
        return 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].fields & sent && names(r.text, rows[i].word))
            return rows[i].fields & sent;
    }
    return 0;
}
