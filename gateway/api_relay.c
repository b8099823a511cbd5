/*
 * gateway/api_relay.c - /v1/embeddings, /v1/images/…, /v1/audio/…: requests that OpenAI-like sites
 * take as they are, and answers of any type that go back as they come.
 *
 * Only the model's name is looked at, in a JSON body or in a form (multipart/form-data, RFC 7578):
 * it says where the request goes, and the site calls the model by another name.
 */
#include "base/json_raw.h"
#include "gateway/api.h"
#include "gateway/request_body.h"

/* ---- the request ---- */

static int relay_json(struct json_parser *json, struct arena *arena, char *body, size_t n,
                      struct turn *turn, struct fail *fail)
{
    if (request_body_open(json, body, n, &turn->raw, fail) ||
        request_body_model(json, arena, json_raw_given(turn->raw, "model"), &turn->model, fail))
        return -1;
    struct span value = {NULL, 0};
    struct json_raw_iter it = json_raw_each(turn->raw);
    while (json_raw_next(&it)) {
        if (!json_raw_key_is(it.key, SPAN("model")))
            continue;
        if (value.p) /* the site could take the other one */
            return fail_param(fail, FAIL_INVALID_VALUE, "model", "the body has \"model\" twice");
        value = it.value;
    }
    turn->relay.quoted = true;
    turn->relay.before = span_of(turn->raw.p, (size_t)(value.p - turn->raw.p));
    turn->relay.after = span_from(turn->raw, turn->relay.before.n + value.n);
    return 0;
}

/* Where the next semicolon stands that is not inside quotes; the end when there is none. */
static size_t parameter_end(struct span header)
{
    bool quoted = false;
    size_t at = 0;
    for (; at < header.n && (quoted || header.p[at] != ';'); at++) {
        if (header.p[at] == '"')
            quoted = !quoted;
        else if (quoted && header.p[at] == '\\')
            at++;
    }
    return at < header.n ? at : header.n;
}

/* A parameter of a header's value: `…; name=value` or `…; name="value"`. */
static struct span header_parameter(struct span header, struct span name)
{
    while (header.n) {
        size_t end = parameter_end(header);
        struct span part = span_trim(span_first(header, end));
        ptrdiff_t equals = span_find_char(part, '=');
        if (equals > 0 && span_eq_nocase(span_first(part, (size_t)equals), name)) {
            struct span value = span_from(part, (size_t)equals + 1);
            bool quoted = value.n > 1 && value.p[0] == '"' && value.p[value.n - 1] == '"';
            return quoted ? span_of(value.p + 1, value.n - 2) : value;
        }
        header = end < header.n ? span_from(header, end + 1) : SPAN("");
    }
    return SPAN("");
}

/* Is this the head of the form's field `model`? */
static bool is_model_field(struct span head)
{
    while (head.n) {
        ptrdiff_t end = span_find(head, SPAN("\r\n"));
        struct span line = end < 0 ? head : span_first(head, (size_t)end);
        ptrdiff_t colon = span_find_char(line, ':');
        if (colon > 0 &&
            span_eq_nocase(span_first(line, (size_t)colon), SPAN("content-disposition")))
            return span_eq(header_parameter(span_from(line, (size_t)colon + 1), SPAN("name")),
                           SPAN("model"));
        head = end < 0 ? SPAN("") : span_from(head, (size_t)end + 2);
    }
    return false;
}

/* The values of the fields `model`: how many there are, and the last one. */
static size_t form_models(struct span body, struct span delimiter, struct span *value)
{
    size_t n = 0;
    ptrdiff_t at = span_find(body, delimiter);
    while (at >= 0) {
        body = span_from(body, (size_t)at + delimiter.n);
        at = span_find(body, delimiter);
        struct span part = span_first(body, at < 0 ? 0 : (size_t)at);
        ptrdiff_t blank = span_find(part, SPAN("\r\n\r\n"));
        if (blank < 0 || !is_model_field(span_first(part, (size_t)blank)))
            continue;
        part = span_from(part, (size_t)blank + 4);
        *value = span_ends(part, SPAN("\r\n")) ? span_first(part, part.n - 2) : part;
        n++;
    }
    return n;
}

static int relay_form(struct arena *arena, struct span body, struct turn *turn, struct fail *fail)
{
    struct span boundary = header_parameter(turn->relay.type, SPAN("boundary"));
    struct span delimiter = arena_printf(arena, "--%.*s", SPAN_ARGS(boundary));
    if (!delimiter.p)
        return fail_memory(fail);
    struct span model = {NULL, 0};
    size_t n = boundary.n ? form_models(body, delimiter, &model) : 0;
    if (n > 1) /* the site could take the other one */
        return fail_param(fail, FAIL_INVALID_VALUE, "model", "the form has \"model\" %zu times", n);
    if (!model.n)
        return fail_param(fail, FAIL_INVALID_VALUE, "model",
                          "the form needs a field \"model\": the id of a model (GET /v1/models "
                          "lists them)");
    turn->model = model;
    turn->relay.before = span_of(body.p, (size_t)(model.p - body.p));
    turn->relay.after = span_from(body, turn->relay.before.n + model.n);
    return 0;
}

static int parse(const struct api_request *request, struct json_parser *json, struct arena *arena,
                 struct prompts *prompts, struct fail *fail)
{
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    if (!turn)
        return fail_memory(fail);
    *prompts = (struct prompts){.turns = turn, .n = 1};
    turn->n = 1;
    turn->relay.path = request->path;
    turn->relay.type = arena_dup(arena, request->type.n ? request->type : SPAN("application/json"));
    if (!turn->relay.type.p)
        return fail_memory(fail);
    if (span_find_nocase(turn->relay.type, SPAN("multipart/form-data")) == 0)
        return relay_form(arena, span_of(request->body, request->n), turn, fail);
    return relay_json(json, arena, request->body, request->n, turn, fail);
}

/* ---- the answer ---- */

/* Nothing but bytes comes from a relay. */
struct relay_writer {
    struct answer_writer writer; /* first */
    struct buffer *out;
};

static int put_bytes(struct answer_writer *w, struct span bytes)
{
    return buffer_append(((struct relay_writer *)w)->out, bytes);
}

static void destroy_nothing(struct answer_writer *w) {}

static int end_nothing(struct answer_writer *w, const struct usage_counts *usage,
                       struct buffer *body)
{
    return 0;
}

static int finish_nothing(struct answer_writer *w, int choice, const struct finish_note *note)
{
    return 0;
}

static const struct answer_writer_ops ops = {
    .bytes = put_bytes,
    .finish = finish_nothing,
    .end = end_nothing,
    .destroy = destroy_nothing,
};

static struct answer_writer *create(struct arena *arena, const struct answer_meta *meta,
                                    const struct prompts *prompts, struct buffer *out)
{
    struct relay_writer *w = arena_alloc(arena, sizeof *w);
    if (!w)
        return NULL;
    *w = (struct relay_writer){{&ops}, out};
    return &w->writer;
}

const struct api api_relay = {
    .name = "relay",
    .id_prefix = "relay-",
    .relays = true,
    .dialect = DIALECT_OPENAI,
    .parse = parse,
    .stream_writer = create,
};
