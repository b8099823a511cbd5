/*
 * adapters/anthropic_errors.c - what Anthropic's failures mean (sites/anthropic.md §6), and which
 * field a model does not take (§4.4).
 */
#include <stdio.h>

#include "adapters/anthropic.h"
#include "adapters/support.h"

enum {
    REST_RATE_S = 60,
    REST_MONEY_S = 60 * 60,
    REST_OVERLOADED_S = 10,
    REST_CHALLENGE_S = 20 * 60
};

/* ---- fields that a model refuses ---- */

static const struct {
    unsigned field;
    const char *name;
} fields[] = {
    {FIELD_TEMPERATURE, "temperature"}, {FIELD_TOP_P, "top_p"},   {FIELD_TOP_K, "top_k"},
    {FIELD_THINKING, "thinking"},       {FIELD_EFFORT, "effort"},
};

static bool says(struct span text, const char *word)
{
    return span_find_nocase(text, span_str(word)) >= 0;
}

/* Which of the fields that were sent the message blames. Sampling goes before thinking
 * ("temperature may only be set to 1 when thinking is enabled"); of temperature and top_p, top_p.
 */
static unsigned blamed(const struct anthropic *a, struct span message)
{
    unsigned named = 0, sampling = FIELD_TEMPERATURE | FIELD_TOP_P | FIELD_TOP_K;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if ((a->sent & fields[i].field) && says(message, fields[i].name))
            named |= fields[i].field;
    }
    if ((named & FIELD_TEMPERATURE) && (named & FIELD_TOP_P))
        return FIELD_TOP_P;
    return named & sampling ? named & sampling : named;
}

/* About this conversation, not about the model. */
static bool is_of_the_messages(struct span message)
{
    return says(message, "messages.") || says(message, "tool_choice") || says(message, "signature");
}

static struct span refusals_key(struct turn_run *run)
{
    return arena_printf(run->arena, "refused %.*s",
                        SPAN_ARGS(family_model_id(run->model, ANTHROPIC_FAMILY)));
}

unsigned anthropic_known_refusals(struct turn_run *run)
{
    uint64_t n = 0;
    struct span known = run_recall(run, refusals_key(run));
    return span_to_u64(known, UINT32_MAX, &n) ? (unsigned)n : 0;
}

static bool ask_without(struct turn_run *run, struct anthropic *a, struct span message)
{
    unsigned names = run->turn->dialect == DIALECT_ANTHROPIC ? 0 : blamed(a, message);
    if (!names)
        return false;
    if (!is_of_the_messages(message)) {
        char text[16];
        snprintf(text, sizeof text, "%u", anthropic_known_refusals(run) | names);
        run_keep(run, refusals_key(run), span_str(text));
    }
    a->left_out |= names;
    a->again = true;
    return true;
}

/* ---- the table ---- */

/* X(error.type, the status it comes with, kind, rest in seconds) */
static const struct row {
    const char *type;
    int status;
    enum fail_kind kind;
    int rest_s;
} rows[] = {
    {"invalid_request_error", 400, FAIL_BAD_REQUEST, 0},
    {"authentication_error", 401, FAIL_CREDENTIAL, 0},
    {"billing_error", 402, FAIL_RATE_LIMITED, REST_MONEY_S},
    {"permission_error", 403, FAIL_CREDENTIAL, 0},
    {"not_found_error", 404, FAIL_MODEL_NOT_FOUND, 0},
    {"request_too_large", 413, FAIL_BAD_REQUEST, 0},
    {"rate_limit_error", 429, FAIL_RATE_LIMITED, REST_RATE_S},
    {"api_error", 500, FAIL_UNAVAILABLE, 0},
    {"timeout_error", 504, FAIL_TIMEOUT, 0},
    {"overloaded_error", 529, FAIL_OVERLOADED, REST_OVERLOADED_S},
};

/* The type decides where we know it; else the status. */
static struct row row_of(int status, struct span type)
{
    size_t n = sizeof rows / sizeof *rows;
    for (size_t i = 0; i < n; i++) {
        if (span_eq(type, span_str(rows[i].type)))
            return rows[i];
    }
    for (size_t i = 0; i < n; i++) {
        if (status == rows[i].status)
            return rows[i];
    }
    if (status == 503)
        return (struct row){"", 503, FAIL_OVERLOADED, 0};
    return (struct row){"", status,
                        status >= 400 && status < 500 ? FAIL_BAD_REQUEST : FAIL_UNAVAILABLE, 0};
}

static bool is_money(struct span message)
{
    return says(message, "credit balance is too low") || says(message, "spend limit") ||
           says(message, "spending limit") || says(message, "usage limits");
}

static const char *sentence(enum fail_kind kind, bool money)
{
    if (money)
        return "has no money left for this account, or its spend limit is reached; add credit";
    switch (kind) {
    case FAIL_CREDENTIAL: return "refuses the account's credential; renew it";
    case FAIL_RATE_LIMITED: return "limits the account's rate; wait, or add an account";
    case FAIL_CONTEXT_LENGTH: return "finds the prompt too long";
    case FAIL_MODEL_NOT_FOUND: return "does not know this model";
    case FAIL_BAD_REQUEST: return "found the request wrong";
    case FAIL_OVERLOADED: return "is overloaded; try again in a moment";
    case FAIL_TIMEOUT: return "did not answer in time";
    default: return "failed; try again";
    }
}

static enum adapter_verdict report(struct turn_run *run, int status, struct span type,
                                   struct span message, int retry_after_s)
{
    struct row row = row_of(status, type);
    bool money =
        row.rest_s == REST_MONEY_S ||
        ((row.kind == FAIL_BAD_REQUEST || row.kind == FAIL_RATE_LIMITED) && is_money(message));
    if (money)
        row = (struct row){"", status, FAIL_RATE_LIMITED, REST_MONEY_S};
    else if (row.kind == FAIL_BAD_REQUEST &&
             (says(message, "prompt is too long") || says(message, "exceed context limit")))
        row.kind = FAIL_CONTEXT_LENGTH;
    char clean[200], http[16] = "";
    clean_message(run, clean, sizeof clean, message);
    if (status)
        snprintf(http, sizeof http, " (HTTP %d)", status);
    fail_param(run->fail, row.kind, row.kind == FAIL_MODEL_NOT_FOUND ? "model" : "",
               "%.*s %s%s%s%s", SPAN_ARGS(run->site->name), sentence(row.kind, money), http,
               clean[0] ? ": " : "", clean);
    run->fail->retry_after_s = money ? REST_MONEY_S : retry_after_s ? retry_after_s : row.rest_s;
    run->fail->upstream_status = status;
    return ADAPTER_FAIL;
}

enum adapter_verdict anthropic_error(struct turn_run *run, struct json error)
{
    return report(run, 0, json_get_text(error, "type"), json_get_text(error, "message"), 0);
}

/* ---- what is no JSON ---- */

static enum adapter_verdict challenged(struct turn_run *run, int status)
{
    fail_set(run->fail, FAIL_CHALLENGE,
             "%.*s wants to see a human (HTTP %d): its protection does not let this machine "
             "through; wait, or use another way to it",
             SPAN_ARGS(run->site->name), status);
    run->fail->retry_after_s = REST_CHALLENGE_S;
    run->fail->upstream_status = status;
    return ADAPTER_FAIL;
}

static bool is_challenge(const struct anthropic *a, struct span body)
{
    if (a->challenge)
        return true;
    if (a->status != 403 && a->status != 429 && a->status != 503)
        return false;
    return looks_like_html(a->content_type, body) &&
           (a->status != 503 || says(body, "just a moment") || says(body, "attention required"));
}

enum adapter_verdict anthropic_refused(struct turn_run *run, struct anthropic *a, struct span body)
{
    struct json root;
    if (is_challenge(a, body))
        return challenged(run, a->status);
    if (looks_like_html(a->content_type, body) && a->status >= 400 && a->status != 413)
        return classify_http(run, a->status, a->content_type, a->retry_after_s, body);
    if (a->status < 400 || looks_like_html(a->content_type, body) ||
        json_parse_lenient(run->json, body, &root) != JSON_OK ||
        !json_is(json_get(root, "error"), JSON_OBJECT)) {
        if (a->status == 413)
            return report(run, a->status, SPAN("request_too_large"), SPAN(""), 0);
        if (a->status == 529 || a->status == 429 || a->status == 404)
            return report(run, a->status, SPAN(""), SPAN(""), a->retry_after_s);
        return classify_http(run, a->status, a->content_type, a->retry_after_s, body);
    }
    struct json error = json_get(root, "error");
    struct span message = json_get_text(error, "message");
    if (a->status == 400 && ask_without(run, a, message))
        return ADAPTER_COMPLETE;
    enum adapter_verdict verdict =
        report(run, a->status, json_get_text(error, "type"), message, a->retry_after_s);
    run->fail->final = a->no_retry && run->fail->kind == FAIL_UNAVAILABLE;
    return verdict;
}
