/*
 * adapters/claude_web_errors.c - what claude.ai's failures mean (sites/claude_web.md §7), and for
 * how long a limit lasts.
 */
#include "adapters/claude_web.h"

enum {
    REST_LIMIT_S = 60 * 60,
    REST_CONCURRENTS_S = 15,
    REST_OVERLOADED_S = 10,
    REST_MAX_S = 400 * 24 * 60 * 60,
    DETAIL_MAX = 121
};

#define WAY "open claude.ai in your browser first (" BRIDGE_LATER ")"

/* ---- how long a limit lasts ---- */

/* Seconds until then; 0 when that is past, or not told. */
static int rest_until(const struct turn_run *run, int64_t reset_s)
{
    int64_t now_s = run->now_ms / 1000;
    if (reset_s > INT64_C(100000000000)) /* these are milliseconds */
        reset_s /= 1000;
    if (reset_s <= now_s)
        return 0;
    return reset_s - now_s < REST_MAX_S ? (int)(reset_s - now_s) : REST_MAX_S;
}

static int rest_member(const struct turn_run *run, struct json object, const char *key)
{
    int64_t at;
    return json_int(json_get(object, key), &at) ? rest_until(run, at) : 0;
}

/* Of all windows that are used up, the one that opens last. */
static int rest_windows(const struct turn_run *run, struct json windows)
{
    int rest = 0;
    struct json_iter it = json_each(windows);
    while (json_next(&it)) {
        int own = rest_member(run, it.value, "resets_at");
        if (span_eq(json_get_text(it.value, "status"), SPAN("exceeded_limit")) && own > rest)
            rest = own;
    }
    return rest;
}

static bool is_concurrents(struct json limit)
{
    return span_eq(json_get_text(limit, "representativeClaim"), SPAN("concurrents"));
}

int claude_web_rest_of(struct turn_run *run, struct json limit)
{
    int rest = is_concurrents(limit) ? REST_CONCURRENTS_S : rest_member(run, limit, "resetsAt");
    if (!rest)
        rest = rest_windows(run, json_get(limit, "windows"));
    return rest ? rest : REST_LIMIT_S;
}

/* ---- what a failure says about itself ---- */

struct report {
    int status; /* HTTP's; 0 = told inside a good answer */
    struct span type, code;
    struct span message; /* in the arena; of a limit it may be JSON */
    bool concurrents;
    int rest_s; /* 0 = not told */
};

/* The first that exists (§7): the limit's own time, the error's, those of its windows. */
static void read_limit(struct turn_run *run, struct report *r, struct json limit, int error_rest_s)
{
    struct span claim = json_get_text(limit, "representativeClaim");
    r->concurrents = is_concurrents(limit);
    r->rest_s = rest_member(run, limit, "resetsAt");
    if (!r->rest_s)
        r->rest_s = error_rest_s;
    if (!r->rest_s)
        r->rest_s = rest_windows(run, json_get(limit, "windows"));
    if (json_is(limit, JSON_OBJECT))
        r->message = claim.n ? arena_dup(run->arena, claim) : SPAN("");
}

static struct report read_error(struct turn_run *run, struct json error)
{
    struct json message = json_get(error, "message"), limit = message;
    struct span code = json_get_text(json_get(error, "details"), "error_code");
    int error_rest_s = rest_member(run, error, "resets_at");
    struct span text = json_is(error, JSON_STRING) ? json_text(error) : json_text(message);
    struct report r = {
        .type = arena_dup(run->arena, json_get_text(error, "type")),
        .code = arena_dup(run->arena, code),
        .message = arena_dup(run->arena, text),
    };
    if (!r.type.p || !r.code.p || !r.message.p) {
        r.type = r.code = r.message = SPAN("");
        return r;
    }
    if (span_starts(r.message, SPAN("{")) &&
        json_parse_lenient(run->json, r.message, &limit) != JSON_OK)
        limit = (struct json){NULL, 0};
    read_limit(run, &r, limit, error_rest_s);
    return r;
}

/* ---- the table ---- */

static enum adapter_verdict resting(struct turn_run *run, enum fail_kind kind, int rest_s,
                                    const char *what, const char *reason)
{
    fail_set(run->fail, kind, "claude.ai %s%s%s", what, reason[0] ? ": " : "", reason);
    run->fail->retry_after_s = rest_s;
    return ADAPTER_FAIL;
}

enum adapter_verdict claude_web_limited(struct turn_run *run, int rest_s)
{
    return resting(run, FAIL_RATE_LIMITED, rest_s,
                   "says that this account has used up its limit; it waits until the limit is "
                   "reset, another account may answer",
                   "");
}

static enum adapter_verdict limited(struct turn_run *run, const struct report *r,
                                    const char *reason)
{
    if (r->concurrents)
        return resting(run, FAIL_RATE_LIMITED, REST_CONCURRENTS_S,
                       "has too many chats of this account going at once", "");
    return resting(run, FAIL_RATE_LIMITED, r->rest_s ? r->rest_s : REST_LIMIT_S,
                   "limits this account", reason);
}

static enum adapter_verdict signed_out(struct turn_run *run, const char *reason)
{
    account_drop(run->account, "organization");
    return fail_set(run->fail, FAIL_CREDENTIAL,
                    "claude.ai refuses the credential of account \"%.*s\"%s%s%s: sign in at "
                    "claude.ai and copy the cookie sessionKey again",
                    SPAN_ARGS(run->account->name), reason[0] ? " (" : "", reason,
                    reason[0] ? ")" : "");
}

static bool is_session_error(const struct report *r)
{
    return span_eq(r->code, SPAN("account_session_invalid")) ||
           span_mentions(r->message, "Invalid authorization");
}

static bool is_too_long(const struct report *r)
{
    if (r->type.n && !span_eq(r->type, SPAN("invalid_request_error")))
        return false;
    return span_mentions(r->message, "too long") ||
           (span_mentions(r->message, "exceed") &&
            (span_mentions(r->message, "limit") || span_mentions(r->message, "length") ||
             span_mentions(r->message, "context")));
}

static bool is_unknown_model(const struct report *r)
{
    bool model_error = span_eq(r->code, SPAN("model_not_available")) ||
                       span_eq(r->type, SPAN("model_not_available"));
    bool not_found = r->status == 404 || span_eq(r->type, SPAN("not_found_error"));
    return model_error || (not_found && span_mentions(r->message, "model"));
}

static enum adapter_verdict bad_request(struct turn_run *run, const struct report *r,
                                        const char *reason)
{
    if (is_too_long(r))
        return fail_set(run->fail, FAIL_CONTEXT_LENGTH,
                        "the conversation is too long for claude.ai%s%s", reason[0] ? ": " : "",
                        reason);
    return fail_set(run->fail, FAIL_BAD_REQUEST, "claude.ai found the request wrong%s%s",
                    reason[0] ? ": " : "", reason);
}

/* By what the error calls itself, told inside an answer. */
static int status_of(struct span type)
{
    static const struct {
        struct span type;
        int status;
    } rows[] = {
        {SPAN_INIT("invalid_request_error"), 400}, {SPAN_INIT("authentication_error"), 401},
        {SPAN_INIT("permission_error"), 401},      {SPAN_INIT("not_found_error"), 404},
        {SPAN_INIT("rate_limit_error"), 429},      {SPAN_INIT("overloaded_error"), 529},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (span_eq(type, rows[i].type))
            return rows[i].status;
    }
    return 500;
}

static enum adapter_verdict classify(struct turn_run *run, const struct report *r)
{
    char reason[DETAIL_MAX];
    int status = r->status ? r->status : status_of(r->type);
    clean_message(run, reason, sizeof reason, r->message);
    if (status == 401 || is_session_error(r))
        return signed_out(run, reason);
    if (status == 429 || span_eq(r->type, SPAN("rate_limit_error")))
        return limited(run, r, reason);
    if (status == 529 || status == 503 || span_eq(r->type, SPAN("overloaded_error")))
        return resting(run, FAIL_OVERLOADED, REST_OVERLOADED_S,
                       "is overloaded; try again in a moment", reason);
    if (is_unknown_model(r))
        return fail_param(run->fail, FAIL_MODEL_NOT_FOUND, "model",
                          "claude.ai does not know the model %.*s%s%s",
                          SPAN_ARGS(span_first(run->model, 80)), reason[0] ? ": " : "", reason);
    if (status == 400 && span_mentions(r->message, "organization has been disabled"))
        return signed_out(run, reason);
    if (status == 409)
        return resting(run, FAIL_UNAVAILABLE, 0,
                       "is still at another answer in the same conversation", reason);
    if (status == 413)
        return fail_set(run->fail, FAIL_CONTEXT_LENGTH, "what was sent is too large for claude.ai");
    if (status >= 400 && status < 500)
        return bad_request(run, r, reason);
    return resting(run, FAIL_UNAVAILABLE, 0, "failed; try again", reason);
}

enum adapter_verdict claude_web_error(struct turn_run *run, struct json error)
{
    struct report r = read_error(run, error);
    return classify(run, &r);
}

/* ---- what is no JSON ---- */

static enum adapter_verdict challenged(struct turn_run *run, int status)
{
    return fail_set(run->fail, FAIL_CHALLENGE,
                    "claude.ai wants to see a human (HTTP %d): its bot check does not let this "
                    "machine through; " WAY,
                    status);
}

/* Failures of the site's own come as web pages, too. */
static bool is_challenge(const struct claude_web *c, struct span body)
{
    if (c->challenge)
        return true;
    if (!looks_like_html(c->content_type, body) || c->status == 413)
        return false;
    return c->status < 500 ||
           (c->status == 503 && (span_mentions(body, "just a moment") ||
                                 span_mentions(body, "/cdn-cgi/challenge-platform/")));
}

enum adapter_verdict claude_web_redirected(struct turn_run *run, int status, struct span location)
{
    char path[100];
    ptrdiff_t host = span_find(location, SPAN("://"));
    if (host >= 0) {
        ptrdiff_t slash = span_find_char(span_from(location, (size_t)host + 3), '/');
        location = slash < 0 ? SPAN("/") : span_from(location, (size_t)(host + 3 + slash));
    }
    for (size_t i = 0; i < location.n; i++) {
        if (location.p[i] == '?' || location.p[i] == '#')
            location = span_first(location, i);
    }
    clean_message(run, path, sizeof path, location);
    if (span_mentions(location, "login") || span_mentions(location, "logout"))
        signed_out(run, "it leads to its login page");
    else
        fail_set(run->fail, FAIL_CHALLENGE,
                 "claude.ai leads elsewhere instead of an answer, to %s: open it in your browser "
                 "to see why",
                 path[0] ? path : "a page without a name");
    run->fail->upstream_status = status;
    return ADAPTER_FAIL;
}

enum adapter_verdict claude_web_refused(struct turn_run *run, struct claude_web *c,
                                        struct span body)
{
    struct json root = {NULL, 0};
    struct report r = {.type = SPAN(""), .code = SPAN(""), .message = SPAN("")};
    if (is_challenge(c, body)) {
        challenged(run, c->status);
    } else {
        if (!looks_like_html(c->content_type, body) &&
            json_parse_lenient(run->json, body, &root) == JSON_OK)
            r = read_error(run, json_get(root, "error"));
        r.status = c->status;
        if (!r.rest_s)
            r.rest_s = rest_until(run, c->reset_s);
        if (!r.rest_s)
            r.rest_s = c->retry_after_s;
        classify(run, &r);
    }
    run->fail->upstream_status = c->status;
    return ADAPTER_FAIL;
}

enum adapter_verdict claude_web_no_organization(struct turn_run *run)
{
    return signed_out(run, "it tells of no organization that may chat");
}
