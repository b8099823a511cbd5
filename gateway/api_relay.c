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
        request_body_model(json, arena, turn->raw, &turn->model, fail))
        return -1;
    struct span value = json_raw_get(turn->raw, "model");
    turn->relay.quoted = true;
    turn->relay.before = span_of(turn->raw.p, (size_t)(value.p - turn->raw.p));
    turn->relay.after = span_from(turn->raw, turn->relay.before.n + value.n);
    return 0;
}

/* A parameter of a header's value: `…; name=value` or `…; name="value"`. */
static struct span header_parameter(struct span header, struct span name)
{
    while (header.n) {
        ptrdiff_t semicolon = span_find_char(header, ';');
        struct span part =
            span_trim(semicolon < 0 ? header : span_first(header, (size_t)semicolon));
        ptrdiff_t equals = span_find_char(part, '=');
        if (equals > 0 && span_eq_nocase(span_first(part, (size_t)equals), name)) {
            struct span value = span_from(part, (size_t)equals + 1);
            bool quoted = value.n > 1 && value.p[0] == '"' && value.p[value.n - 1] == '"';
            return quoted ? span_of(value.p + 1, value.n - 2) : value;
        }
        header = semicolon < 0 ? SPAN("") : span_from(header, (size_t)semicolon + 1);
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

/* The value of the field `model`, {NULL,0} when there is none. */
static struct span form_model(struct span body, struct span delimiter)
{
    ptrdiff_t at = span_find(body, delimiter);
    while (at >= 0) {
        struct span part = span_from(body, (size_t)at + delimiter.n);
        ptrdiff_t next = span_find(part, delimiter);
        ptrdiff_t blank = span_find(part, SPAN("\r\n\r\n"));
        if (next < 0 || blank < 0)
            return span_of(NULL, 0); /* the end, or no form */
        if (blank < next && is_model_field(span_first(part, (size_t)blank))) {
            struct span value = span_of(part.p + blank + 4, (size_t)(next - blank - 4));
            return span_ends(value, SPAN("\r\n")) ? span_first(value, value.n - 2) : value;
        }
        body = part;
        at = next;
    }
    return span_of(NULL, 0);
}

static int relay_form(struct arena *arena, struct span body, struct turn *turn, struct fail *fail)
{
    struct span boundary = header_parameter(turn->relay.type, SPAN("boundary"));
    struct span delimiter = arena_printf(arena, "--%.*s", SPAN_ARGS(boundary));
    if (!delimiter.p)
        return fail_memory(fail);
    struct span model = boundary.n ? form_model(body, delimiter) : span_of(NULL, 0);
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

static void forget_nothing(struct answer_writer *w, int choice) {}
static void destroy_nothing(struct answer_writer *w) {}

static int end_nothing(struct answer_writer *w, const struct usage_counts *usage,
                       struct buffer *body)
{
    return 0;
}

static int finish_nothing(struct answer_writer *w, int choice, struct span reason) { return 0; }

static const struct answer_writer_ops ops = {
    .bytes = put_bytes,
    .finish = finish_nothing,
    .forget = forget_nothing,
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
    .parse = parse,
    .stream_writer = create,
};
