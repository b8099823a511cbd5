/*
 * adapters/support_classify.c - what an API-like site's failure means, from its status and the few
 * shapes of error bodies.
 *
 * One table for statuses, one for codes and types, a list of wordings for the two kinds that sites
 * tell only in prose. The hard part is the message: it is foreign text on its way to a person's
 * screen, so it is repaired, cut, stripped of the account's own secrets, and left out when it is
 * HTML.
 */
#include <ctype.h>
#include <stdio.h>

#include "adapters/support.h"
#include "base/json_write.h"

enum { MESSAGE_MAX = 180 }; /* leaves room for our own half of the sentence */

/* What a failure says about itself. */
struct report {
    int status;             /* 0 = not told */
    struct span code, type; /* texts; "" = not told */
    char message[MESSAGE_MAX + 1];
    char param[64];
};

/* ---- HTML ---- */

static struct span skip_bom_and_space(struct span body)
{
    if (span_starts(body, SPAN("\xEF\xBB\xBF")))
        body = span_from(body, 3);
    return span_trim(body);
}

static bool starts_nocase(struct span text, struct span prefix)
{
    return text.n >= prefix.n && span_eq_nocase(span_first(text, prefix.n), prefix);
}

bool looks_like_html(struct span content_type, struct span body)
{
    ptrdiff_t semicolon = span_find_char(content_type, ';');
    if (semicolon >= 0)
        content_type = span_first(content_type, (size_t)semicolon);
    content_type = span_trim(content_type);
    if (span_eq_nocase(content_type, SPAN("text/html")) ||
        span_eq_nocase(content_type, SPAN("application/xhtml+xml")))
        return true;
    body = skip_bom_and_space(body);
    return starts_nocase(body, SPAN("<!doctype")) || starts_nocase(body, SPAN("<html"));
}

/* Markup anywhere in a message: a page's piece inside JSON is still the site's HTML. */
static bool holds_markup(struct span text)
{
    for (size_t i = 0; i + 1 < text.n; i++) {
        char next = text.p[i + 1];
        if (text.p[i] == '<' && (next == '/' || next == '!' || next == '?'))
            return true;
    }
    static const struct span tags[] = {SPAN_INIT("<html"), SPAN_INIT("<head"),
                                       SPAN_INIT("<body"), SPAN_INIT("<script"),
                                       SPAN_INIT("<div"),  SPAN_INIT("<meta")};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (span_find_nocase(text, tags[i]) >= 0)
            return true;
    }
    return false;
}

/* ---- the message ---- */

void mend_lone_surrogates(char *text, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++) {
        unsigned char *at = (unsigned char *)text + i;
        if (at[0] == 0xED && at[1] >= 0xA0) {
            at[0] = 0xEF;
            at[1] = 0xBF;
            at[2] = 0xBD;
        }
    }
}

/* Copies what fits, to the end of a whole character, with control characters as blanks. */
static void copy_clean(char *to, size_t capacity, struct span text)
{
    size_t n = text.n < capacity - 1 ? text.n : capacity - 1;
    if (n < text.n) {
        while (n && ((unsigned char)text.p[n] & 0xC0) == 0x80)
            n--;
    }
    for (size_t i = 0; i < n; i++) {
        bool control = (unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7F;
        to[i] = text.p[i];
        if (control)
            to[i] = ' ';
    }
    to[n] = '\0';
    mend_lone_surrogates(to, n);
}

static void mask(char *text, struct span secret)
{
    if (secret.n < 6)
        return;
    for (;;) {
        struct span whole = span_str(text);
        ptrdiff_t at = span_find(whole, secret);
        if (at < 0)
            return;
        memmove(text + at + 3, text + at + secret.n, whole.n - (size_t)at - secret.n + 1);
        memset(text + at, '*', 3);
    }
}

/* The text was cut: does it end in the beginning of the secret? */
static void mask_cut(char *text, struct span secret)
{
    struct span whole = span_str(text);
    for (size_t at = 0; at + 6 <= whole.n; at++) {
        if (span_starts(secret, span_from(whole, at))) {
            memcpy(text + at, "***", 4);
            return;
        }
    }
}

static void hide(char *text, bool cut, struct span secret)
{
    mask(text, secret);
    if (cut)
        mask_cut(text, secret);
}

/* Some sites repeat the credential that they refuse. Masked before the cut, or half of it would
 * stay. */
void clean_message(const struct turn_run *run, char *out, size_t capacity, struct span message)
{
    char text[2048];
    out[0] = '\0';
    message = span_trim(message);
    if (message.n == 0 || holds_markup(message))
        return;
    copy_clean(text, sizeof text, message);
    bool cut = message.n >= sizeof text;
    const struct site_account *account = run->account;
    for (size_t i = 0; account && i < account->n_credentials; i++)
        hide(text, cut, account->credentials[i].value);
    if (account)
        account_guard_enter(account);
    for (const struct held_credential *h = account ? account->held : NULL; h; h = h->next) {
        struct span rest = span_str(h->value), secret;
        while (held_secret(&rest, &secret))
            hide(text, cut, secret);
    }
    if (account)
        account_guard_leave(account);
    copy_clean(out, capacity, span_trim(span_str(text)));
}

static void take_message(struct turn_run *run, struct report *r, struct span message)
{
    char text[sizeof r->message];
    clean_message(run, text, sizeof text, message);
    if (text[0])
        memcpy(r->message, text, sizeof text);
}

/* ---- error objects ---- */

static int status_of(struct json code)
{
    int64_t n;
    uint64_t u;
    if (json_int(code, &n))
        return n >= 100 && n <= 599 ? (int)n : 0;
    return span_to_u64(json_text(code), 599, &u) && u >= 100 ? (int)u : 0;
}

static struct span first_text(struct json object, const char *a, const char *b, const char *c)
{
    struct span text = json_get_text(object, a);
    if (text.n == 0)
        text = json_get_text(object, b);
    if (text.n == 0)
        text = json_get_text(object, c);
    return text;
}

/* `error`: {"message","code","type","param"}, or a bare text. */
static void read_error(struct turn_run *run, struct report *r, struct json error)
{
    if (json_is(error, JSON_STRING)) {
        take_message(run, r, json_text(error));
        return;
    }
    struct json code = json_get(error, "code");
    int status = status_of(code);
    if (!status)
        status = status_of(json_get(error, "status"));
    if (!r->status)
        r->status = status;
    r->code = json_text(code);
    r->type = json_get_text(error, "type");
    if (r->type.n == 0)
        r->type = json_get_text(error, "status"); /* Google's: "RESOURCE_EXHAUSTED" */
    copy_clean(r->param, sizeof r->param, json_get_text(error, "param"));
    take_message(run, r, first_text(error, "message", "msg", "detail"));
}

/* The shapes of whole error bodies: {"error":{…}}, {"error":"…"}, {"detail":"…"},
 * {"detail":[{"msg"}]}, {"message"}, [{"error"}]. */
static void read_body(struct turn_run *run, struct report *r, struct json root)
{
    if (json_is(root, JSON_ARRAY))
        root = json_at(root, 0);
    struct json error = json_get(root, "error");
    if (json_is(error, JSON_OBJECT)) {
        read_error(run, r, error);
        return;
    }
    read_error(run, r, root);
    struct json detail = json_get(root, "detail");
    if (json_is(detail, JSON_ARRAY))
        take_message(run, r, json_get_text(json_at(detail, 0), "msg"));
    else if (json_is(detail, JSON_OBJECT))
        read_error(run, r, detail);
    if (json_is(error, JSON_STRING) && !r->message[0])
        take_message(run, r, json_text(error));
}

/* A body that is no JSON: its text, with invalid UTF-8 repaired by the parser's lenient reading of
 * it as a string. */
static void read_plain(struct turn_run *run, struct report *r, struct span body)
{
    struct buffer quoted;
    struct json text;
    buffer_init(&quoted, 16384);
    buffer_char(&quoted, '"');
    json_escape(&quoted, span_first(skip_bom_and_space(body), 2048));
    buffer_char(&quoted, '"');
    if (!quoted.error && json_parse_lenient(run->json, buffer_span(&quoted), &text) == JSON_OK)
        take_message(run, r, json_text(text));
    buffer_free(&quoted);
}

/* ---- what it means ---- */

static bool says(struct span text, const char *const *words)
{
    for (; *words; words++) {
        if (span_mentions(text, *words))
            return true;
    }
    return false;
}

static bool is_context_length(const struct report *r)
{
    static const char *const codes[] = {"context_length", "context_window", "prompt_too_long",
                                        NULL};
    static const char *const wordings[] = {"context length",
                                           "context window",
                                           "context size",
                                           "maximum context",
                                           "prompt is too long",
                                           "input is too long",
                                           "too many input tokens",
                                           "reduce the length of the messages",
                                           "range of input length",
                                           "上下文长度",
                                           "上下文过长",
                                           "超出上下文",
                                           "输入过长",
                                           NULL};
    return says(r->code, codes) || says(r->type, codes) || says(span_str(r->message), wordings);
}

static bool is_content_filter(const struct report *r)
{
    static const char *const codes[] = {"content_filter",         "content_policy_violation",
                                        "data_inspection_failed", "DataInspectionFailed",
                                        "moderation_blocked",     NULL};
    static const char *const wordings[] = {"content management policy", "content policy",
                                           "flagged by moderation", "input was flagged", NULL};
    return says(r->code, codes) || says(r->type, codes) || says(span_str(r->message), wordings);
}

static enum fail_kind kind_of_status(int status)
{
    switch (status) {
    case 401:
    case 402:
    case 403: return FAIL_CREDENTIAL;
    case 429: return FAIL_RATE_LIMITED;
    case 503:
    case 529: return FAIL_OVERLOADED;
    case 407:
    case 408:
    case 425: return FAIL_UNAVAILABLE;
    default: return status >= 400 && status < 500 ? FAIL_BAD_REQUEST : FAIL_UNAVAILABLE;
    }
}

/* The names that OpenAI-like services give in `type` or `code`; the rest is "unavailable". */
static enum fail_kind kind_of_name(struct span name)
{
    static const struct {
        const char *part;
        enum fail_kind kind;
    } names[] = {
        {"rate_limit", FAIL_RATE_LIMITED},
        {"too_many_requests", FAIL_RATE_LIMITED},
        {"resource_exhausted", FAIL_RATE_LIMITED},
        {"insufficient_quota", FAIL_RATE_LIMITED},
        {"authentication", FAIL_CREDENTIAL},
        {"invalid_api_key", FAIL_CREDENTIAL},
        {"unauthorized", FAIL_CREDENTIAL},
        {"unauthenticated", FAIL_CREDENTIAL},
        {"permission", FAIL_CREDENTIAL},
        {"insufficient_balance", FAIL_CREDENTIAL},
        {"billing", FAIL_CREDENTIAL},
        {"overloaded", FAIL_OVERLOADED},
        {"invalid_request", FAIL_BAD_REQUEST},
        {"invalid_argument", FAIL_BAD_REQUEST},
        {"bad_request", FAIL_BAD_REQUEST},
        {"not_found", FAIL_BAD_REQUEST},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (span_mentions(name, names[i].part))
            return names[i].kind;
    }
    return FAIL_NONE;
}

static enum fail_kind kind_of(const struct report *r)
{
    bool may_be_ours = r->status < 500 && r->status != 401 && r->status != 429;
    if (may_be_ours && is_content_filter(r))
        return FAIL_CONTENT_FILTER;
    if (may_be_ours && r->status != 403 && is_context_length(r))
        return FAIL_CONTEXT_LENGTH;
    if (r->status >= 400)
        return kind_of_status(r->status);
    enum fail_kind kind = kind_of_name(r->code);
    if (kind == FAIL_NONE)
        kind = kind_of_name(r->type);
    return kind == FAIL_NONE ? FAIL_UNAVAILABLE : kind;
}

/* Our half of the sentence: what happened and what to do. */
static void explain(struct turn_run *run, enum fail_kind kind, int status, char *text, size_t size)
{
    struct span site = run->site->name, account = run->account ? run->account->name : SPAN("");
    switch (kind) {
    case FAIL_CREDENTIAL:
        if (status == 402)
            snprintf(text, size, "%.*s says that account \"%.*s\" has no credit left",
                     SPAN_ARGS(site), SPAN_ARGS(account));
        else
            snprintf(text, size, "%.*s refuses the credential of account \"%.*s\"; renew it",
                     SPAN_ARGS(site), SPAN_ARGS(account));
        break;
    case FAIL_RATE_LIMITED:
        snprintf(text, size, "%.*s limits the rate of account \"%.*s\"; wait, or add an account",
                 SPAN_ARGS(site), SPAN_ARGS(account));
        break;
    case FAIL_CONTEXT_LENGTH:
        snprintf(text, size, "the prompt is too long for %.*s at %.*s", SPAN_ARGS(run->model),
                 SPAN_ARGS(site));
        break;
    case FAIL_CONTENT_FILTER:
        snprintf(text, size, "%.*s refused the content", SPAN_ARGS(site));
        break;
    case FAIL_OVERLOADED:
        snprintf(text, size, "%.*s is overloaded; try again in a moment", SPAN_ARGS(site));
        break;
    case FAIL_BAD_REQUEST:
        snprintf(text, size, "%.*s found the request wrong", SPAN_ARGS(site));
        break;
    default: snprintf(text, size, "%.*s failed; try again", SPAN_ARGS(site));
    }
}

static int report_failure(struct turn_run *run, enum fail_kind kind, const struct report *r,
                          int retry_after_s)
{
    char ours[160], http[16] = "";
    explain(run, kind, r->status, ours, sizeof ours);
    if (r->status)
        snprintf(http, sizeof http, " (HTTP %d)", r->status);
    fail_param(run->fail, kind, r->param, "%s%s%s%s", ours, http, r->message[0] ? ": " : "",
               r->message);
    run->fail->retry_after_s = retry_after_s;
    run->fail->upstream_status = r->status;
    return -1;
}

static int web_page(struct turn_run *run, int status, int retry_after_s)
{
    struct span site = run->site->name;
    if (status >= 500)
        fail_set(run->fail, status == 503 || status == 529 ? FAIL_OVERLOADED : FAIL_UNAVAILABLE,
                 "%.*s failed with a web page instead of an answer (HTTP %d); try again",
                 SPAN_ARGS(site), status);
    else
        fail_set(run->fail, FAIL_CHALLENGE,
                 "%.*s answered with a web page (HTTP %d): it wants to see a human, or base_url is "
                 "not its API; open it in a browser once, or check base_url",
                 SPAN_ARGS(site), status);
    run->fail->retry_after_s = retry_after_s;
    run->fail->upstream_status = status;
    return -1;
}

int classify_http(struct turn_run *run, int status, struct span content_type, int retry_after_s,
                  struct span body)
{
    struct report r = {.status = status >= 400 ? status : 0};
    struct json root;
    if (status >= 300 && status < 400) {
        fail_set(run->fail, FAIL_UNAVAILABLE,
                 "%.*s answered with a redirect (HTTP %d), which is never followed with a "
                 "credential; check base_url",
                 SPAN_ARGS(run->site->name), status);
        run->fail->upstream_status = status;
        return -1;
    }
    if (looks_like_html(content_type, body))
        return web_page(run, status, retry_after_s);
    if (json_parse_lenient(run->json, body, &root) == JSON_OK)
        read_body(run, &r, root);
    else
        read_plain(run, &r, body);
    if (status >= 400)
        r.status = status;
    else if (r.status < 400) /* a good status around an error: only the error's own number counts */
        r.status = 0;
    if (!r.status && !r.message[0] && !r.code.n && !r.type.n) {
        fail_set(run->fail, FAIL_PROTOCOL, "%.*s answered something that is no chat completion",
                 SPAN_ARGS(run->site->name));
        run->fail->upstream_status = status;
        return -1;
    }
    return report_failure(run, kind_of(&r), &r, retry_after_s);
}

int classify_error_object(struct turn_run *run, struct json error)
{
    struct report r = {0};
    read_error(run, &r, error);
    if (r.status < 400) /* 200, or a number of the site's own */
        r.status = 0;
    return report_failure(run, kind_of(&r), &r, 0);
}

int fail_broke_off(struct turn_run *run)
{
    return fail_set(run->fail, FAIL_CUT, "%.*s broke off in the middle of its answer; ask again",
                    SPAN_ARGS(run->site->name));
}

int fail_too_long(struct turn_run *run, enum buffer_error error)
{
    if (error == BUFFER_NOMEM)
        return fail_memory(run->fail);
    return fail_set(run->fail, FAIL_PROTOCOL, "%.*s sent a longer answer than can be held",
                    SPAN_ARGS(run->site->name));
}

int fail_said_nothing(struct turn_run *run)
{
    return fail_set(run->fail, FAIL_EMPTY, "%.*s ended its answer without any text; try again",
                    SPAN_ARGS(run->site->name));
}
