/*
 * gateway/error_response.c - the error table (design §6), row by row.
 */
#include "gateway/error_response.h"

#include <assert.h>
#include <stdio.h>

#include "base/json_write.h"
#include "sse/text_guard.h"

enum { FIELD_MAX = sizeof((struct fail *)0)->param };

static const struct error_row rows[FAIL_KIND_COUNT] = {
    [FAIL_NONE] = {500, "server_error", "internal_error", false, NULL},
    [FAIL_INTERNAL] = {500, "server_error", "internal_error", false, NULL},
    [FAIL_MEMORY] = {503, "server_error", "out_of_memory", false,
                     "Service Unavailable: dragoman is out of memory"},
    /* the site */
    [FAIL_BAD_REQUEST] = {400, "invalid_request_error", "upstream_bad_request", true, NULL},
    [FAIL_UNSUPPORTED] = {400, "invalid_request_error", "unsupported_value", false, NULL},
    [FAIL_CREDENTIAL] = {403, "upstream_error", "upstream_credential", true,
                         "Forbidden: the site refused the account"},
    [FAIL_RATE_LIMITED] = {429, "rate_limit_error", "upstream_rate_limited", false, NULL},
    [FAIL_CHALLENGE] = {403, "upstream_error", "upstream_challenge", true,
                        "Forbidden: the site asks for a human"},
    [FAIL_UNAVAILABLE] = {502, "upstream_error", "upstream_failed", false,
                          "Bad Gateway: the site failed"},
    [FAIL_OVERLOADED] = {503, "upstream_error", "upstream_overloaded", false,
                         "Service Unavailable: the site is overloaded"},
    [FAIL_CONTENT_FILTER] = {400, "invalid_request_error", "content_filter", true,
                             "Bad Request: the site refused the content"},
    [FAIL_CONTEXT_LENGTH] = {400, "invalid_request_error", "context_length_exceeded", false,
                             "Bad Request: the prompt is too long"},
    [FAIL_PROTOCOL] = {502, "upstream_error", "upstream_protocol", false,
                       "Bad Gateway: the site's answer made no sense"},
    [FAIL_EMPTY] = {502, "upstream_error", "upstream_empty", false,
                    "Bad Gateway: the site's answer was empty"},
    [FAIL_CUT] = {502, "upstream_error", "upstream_cut", false,
                  "Bad Gateway: the site's answer broke off"},
    /* the way to it */
    [FAIL_UNREACHABLE] = {502, "upstream_error", "upstream_unreachable", false,
                          "Bad Gateway: the site cannot be reached"},
    [FAIL_TIMEOUT] = {504, "upstream_error", "upstream_timeout", false,
                      "Gateway Timeout: the site did not answer in time"},
    [FAIL_BRIDGE] = {503, "upstream_error", "bridge_not_connected", true,
                     "Service Unavailable: no browser tab of the site is connected"},
    /* the client's request */
    [FAIL_INVALID_JSON] = {400, "invalid_request_error", "invalid_json", false, NULL},
    [FAIL_INVALID_VALUE] = {400, "invalid_request_error", "invalid_value", false, NULL},
    [FAIL_TOO_LARGE] = {413, "invalid_request_error", "request_too_large", false, NULL},
    [FAIL_MISSING_KEY] = {401, "authentication_error", "missing_api_key", false, NULL},
    [FAIL_WRONG_KEY] = {401, "authentication_error", "invalid_api_key", false, NULL},
    [FAIL_ACCESS_DENIED] = {403, "permission_error", "access_denied", false, NULL},
    [FAIL_MODEL_DENIED] = {403, "permission_error", "model_not_allowed", false, NULL},
    [FAIL_MODEL_NOT_FOUND] = {404, "invalid_request_error", "model_not_found", false, NULL},
    [FAIL_PREVIOUS_RESPONSE] = {400, "invalid_request_error", "previous_response_not_found", false,
                                NULL},
    [FAIL_RESPONSE_NOT_FOUND] = {404, "invalid_request_error", "response_not_found", false, NULL},
    [FAIL_UNKNOWN_URL] = {404, "invalid_request_error", "unknown_url", false, NULL},
    [FAIL_METHOD] = {405, "invalid_request_error", "method_not_allowed", false, NULL},
    [FAIL_KEY_LIMIT] = {429, "rate_limit_error", "rate_limit_exceeded", false, NULL},
    [FAIL_SERVER_BUSY] = {503, "server_error", "overloaded", false, NULL},
};

const struct error_row *error_row(enum fail_kind kind)
{
    assert(kind < FAIL_KIND_COUNT && rows[kind].status != 0);
    return &rows[kind];
}

static void write_openai(struct json_writer *w, const struct fail *f)
{
    const struct error_row *row = error_row(f->kind);
    json_begin_object(w);
    /* Messages and fields' names quote what clients and sites sent, whatever bytes that was. */
    json_member_repaired(w, "message", span_str(f->message));
    json_member(w, "type", span_str(row->type));
    if (f->param[0] && f->kind != FAIL_METHOD)
        json_member_repaired(w, "param", span_str(f->param));
    else
        json_member_raw(w, "param", SPAN("null"));
    json_member(w, "code", span_str(row->code));
    json_end_object(w);
}

void error_object(struct buffer *out, const struct fail *f)
{
    struct json_writer w = json_writer(out);
    write_openai(&w, f);
}

/* ---- in other dialects ---- */

static const char *anthropic_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 529: return "overloaded_error";
    default: return status < 500 ? "invalid_request_error" : "api_error";
    }
}

/* The request's field in Anthropic's words and way of writing: "messages[0].content[1]" is
 * "messages.0.content.1". Their errors have no place for it but the message. */
static struct span anthropic_field(const char *param, char field[FIELD_MAX])
{
    static const char *const names[][2] = {
        {"response_format", "output_config.format"},
        {"response_format.json_schema.schema", "output_config.format.schema"},
        {"stop", "stop_sequences"},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(param, names[i][0]) == 0)
            param = names[i][1];
    }
    for (; *param && n < FIELD_MAX; param++) {
        if (*param != ']')
            field[n++] = (char)(*param == '[' ? '.' : *param);
    }
    return span_of(field, n);
}

static void write_anthropic(struct json_writer *w, const struct fail *f)
{
    int status = error_status(DIALECT_ANTHROPIC, f->kind);
    char field[FIELD_MAX], message[FIELD_MAX + sizeof f->message + 3];
    struct span place = anthropic_field(f->kind == FAIL_METHOD ? "" : f->param, field);
    bool named = !place.n || span_starts(span_str(f->message), place);
    snprintf(message, sizeof message, "%.*s%s%s", SPAN_ARGS(named ? SPAN("") : place),
             named ? "" : ": ", f->message);
    json_begin_object(w);
    json_member(w, "type", span_str(anthropic_type(status)));
    json_member_repaired(w, "message", span_str(message));
    if (f->kind == FAIL_UNSUPPORTED && span_eq(place, SPAN("thread"))) /* the SDK understands it */
        json_member_raw(w, "details",
                        SPAN("{\"error_code\":\"thread_unsupported_request\","
                             "\"unsupported\":[\"thread\"]}"));
    json_end_object(w);
}

static const char *google_status(int status)
{
    switch (status) {
    case 401: return "UNAUTHENTICATED";
    case 403: return "PERMISSION_DENIED";
    case 404: return "NOT_FOUND";
    case 429: return "RESOURCE_EXHAUSTED";
    case 500: return "INTERNAL";
    case 504: return "DEADLINE_EXCEEDED";
    default: return status < 500 ? "INVALID_ARGUMENT" : "UNAVAILABLE";
    }
}

static void write_google(struct json_writer *w, const struct fail *f)
{
    int status = error_row(f->kind)->status;
    json_begin_object(w);
    json_member_int(w, "code", status);
    json_member_repaired(w, "message", span_str(f->message));
    json_member(w, "status", span_str(google_status(status)));
    json_end_object(w);
}

int error_status(enum dialect dialect, enum fail_kind kind)
{
    int status = error_row(kind)->status;
    return dialect == DIALECT_ANTHROPIC && status == 503 ? 529 : status;
}

void error_body(struct buffer *out, enum dialect dialect, const struct fail *f,
                const struct error_context *context)
{
    struct json_writer w = json_writer(out);
    json_begin_object(&w);
    if (dialect == DIALECT_ANTHROPIC)
        json_member(&w, "type", SPAN("error"));
    json_key(&w, "error");
    switch (dialect) {
    case DIALECT_ANTHROPIC: write_anthropic(&w, f); break;
    case DIALECT_GOOGLE: write_google(&w, f); break;
    default: write_openai(&w, f); break;
    }
    if (dialect == DIALECT_ANTHROPIC && context->request_id.n)
        json_member(&w, "request_id", context->request_id);
    if (context->partial.n)
        json_member_raw(&w, "dragoman_partial", context->partial);
    json_end_object(&w);
}

/* As Anthropic's clients and OpenAI's read it. */
static const struct span last_words = SPAN_INIT(
    "{\"type\":\"error\",\"error\":{\"message\":\"dragoman is out of memory; try again "
    "in a moment\",\"type\":\"server_error\",\"param\":null,\"code\":\"out_of_memory\"}}");

struct span error_last_words(const struct buffer *body, int *status)
{
    if (body && !body->error)
        return buffer_span(body);
    *status = error_row(FAIL_MEMORY)->status;
    return last_words;
}

const char *http_reason(int status)
{
    switch (status) {
    case 100: return "Continue";
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 529: return "Overloaded";
    default: return status < 400 ? "OK" : "Error";
    }
}
