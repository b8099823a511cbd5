/*
 * gateway/request_body.c - see request_body.h.
 */
#include "gateway/request_body.h"

#include <stdlib.h>

static int refuse_json(struct fail *fail, int error)
{
    switch (error) {
    case JSON_NOMEM: return fail_memory(fail);
    case JSON_UTF8: return fail_set(fail, FAIL_INVALID_JSON, "the request body is not valid UTF-8");
    case JSON_DEPTH:
        return fail_set(fail, FAIL_INVALID_JSON, "the request body is nested too deeply");
    default:
        return fail_set(fail, FAIL_INVALID_JSON, "the request body is not valid JSON (%s)",
                        json_error_text(error));
    }
}

/* What is not plain is the parser's business; mended in place. */
static int parse(struct json_parser *json, char *body, size_t n, struct fail *fail)
{
    struct json root;
    json_mend_surrogates(body, n);
    int error = json_parse(json, span_of(body, n), &root);
    if (error)
        return refuse_json(fail, error);
    if (!json_is(root, JSON_OBJECT))
        return fail_set(fail, FAIL_INVALID_JSON, "the request body must be a JSON object");
    return 0;
}

/* Without a byte order mark. */
static int unpack(char **body, size_t *n, struct span *object, struct fail *fail)
{
    static const char mark[] = {'\xEF', '\xBB', '\xBF'};
    if (*n >= sizeof mark && memcmp(*body, mark, sizeof mark) == 0) {
        *body += sizeof mark;
        *n -= sizeof mark;
    }
    *object = span_trim(span_of(*body, *n));
    if (object->n)
        return 0;
    return fail_set(fail, FAIL_INVALID_JSON,
                    "the request body is empty; send a JSON object with \"model\" and what to "
                    "answer");
}

int request_body_open(struct json_parser *json, char *body, size_t n, struct span *object,
                      struct fail *fail)
{
    if (unpack(&body, &n, object, fail))
        return -1;
    return json_is_plain_object(span_of(body, n)) ? 0 : parse(json, body, n, fail);
}

int request_body_outline(struct json_parser *json, char *body, size_t n, struct span array,
                         struct json_outline *outline, struct span *object, struct fail *fail)
{
    if (unpack(&body, &n, object, fail))
        return -1;
    if (json_outline_read(outline, span_of(body, n), array))
        return 0;
    outline->whole = false;
    return parse(json, body, n, fail);
}

int request_body_members(struct json_members *members, struct span object, struct fail *fail)
{
    json_members_read(members, object);
    if (!json_members_exceed(members, REQUEST_FIELDS_MAX))
        return 0;
    return fail_set(fail, FAIL_INVALID_VALUE, "the request has more than %d fields at its top",
                    (int)REQUEST_FIELDS_MAX);
}

int request_body_model(struct json_parser *json, struct arena *arena, struct span raw,
                       struct span *model, struct fail *fail)
{
    if (raw.n <= 2 || !json_raw_is_text(raw))
        return fail_param(fail, FAIL_INVALID_VALUE, "model",
                          "model must be a string: the id of a model (GET /v1/models lists them)");
    return request_body_text(json, arena, raw, model, fail);
}

int request_body_text(struct json_parser *json, struct arena *arena, struct span raw,
                      struct span *text, struct fail *fail)
{
    struct span inside = span_of(raw.p + 1, raw.n - 2);
    struct json root;
    if (span_find_char(inside, '\\') < 0) {
        *text = inside;
        return 0;
    }
    if (json_parse(json, raw, &root) != JSON_OK)
        return fail_memory(fail); /* the whole body parsed: only memory can fail */
    *text = arena_dup(arena, json_text(root));
    return text->p ? 0 : fail_memory(fail);
}

int request_body_invalid(struct fail *fail, const char *param, const char *wanted)
{
    return fail_param(fail, FAIL_INVALID_VALUE, param, "%s must be %s", param, wanted);
}

int request_body_too_many_messages(struct fail *fail, const char *param)
{
    return fail_param(fail, FAIL_INVALID_VALUE, param,
                      "%s must be at most %d, with at most %d parts and calls in all", param,
                      REQUEST_MESSAGES_MAX, REQUEST_PARTS_MAX);
}

int request_body_count_parts(size_t *n_parts, size_t more, const char *param, struct fail *fail)
{
    *n_parts += more;
    return *n_parts > REQUEST_PARTS_MAX ? request_body_too_many_messages(fail, param) : 0;
}

int request_body_too_many_tools(struct fail *fail, const char *param)
{
    return fail_param(fail, FAIL_INVALID_VALUE, param, "%s must be at most %d", param,
                      REQUEST_TOOLS_MAX);
}

int request_body_text_given(struct json_parser *json, struct arena *arena, struct span raw,
                            const char *param, struct span *value, struct fail *fail)
{
    if (!raw.p)
        return 0;
    return json_raw_is_text(raw) ? request_body_text(json, arena, raw, value, fail)
                                 : request_body_invalid(fail, param, "a string");
}

int request_body_bool_given(struct span raw, const char *param, bool *value, struct fail *fail)
{
    if (!raw.p)
        return 0;
    if (!json_raw_is_bool(raw))
        return request_body_invalid(fail, param, "true or false");
    *value = raw.p[0] == 't';
    return 0;
}

int request_body_number_given(struct span raw, const char *param, bool *has, double *value,
                              struct fail *fail)
{
    if (!raw.p)
        return 0;
    if (!json_raw_is_number(raw))
        return request_body_invalid(fail, param, "a number");
    *value = strtod(raw.p, NULL); /* ends at the value's end: a delimiter follows */
    *has = true;
    return 0;
}

int request_part_room(struct arena *arena, struct part *part, struct fail *fail)
{
    part->data = arena_alloc(arena, sizeof *part->data);
    return part->data ? 0 : fail_memory(fail);
}

int request_part_split_data_url(struct part *part, const char *param, struct fail *fail)
{
    struct span url = part->url;
    if (!span_eq_nocase(span_first(url, 5), SPAN("data:")))
        return 0;
    ptrdiff_t comma = span_find_char(url, ',');
    struct span head = comma < 0 ? SPAN("") : span_of(url.p + 5, (size_t)comma - 5);
    if (head.n < 7 || !span_eq_nocase(span_from(head, head.n - 7), SPAN(";base64")))
        return request_body_invalid(fail, param,
                                    "a data: URL of the form data:<type>;base64,<data>");
    part->mime = span_first(head, (size_t)span_find_char(head, ';'));
    part->base64 = span_from(url, (size_t)comma + 1);
    return 0;
}
