/*
 * gateway/api_responses.c - OpenAI's Responses API: POST /v1/responses, and what can be done with a
 * stored response: GET and DELETE /v1/responses/ID, GET /v1/responses/ID/input_items.
 */
#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/api.h"
#include "gateway/responses_writer.h"

enum { PAGE_DEFAULT = 20, PAGE_MAX = 100 };

/* ---- a new one ---- */

static int parse(const struct api_request *request, struct json_parser *json, struct arena *arena,
                 struct prompts *prompts, struct fail *fail)
{
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    struct responses_request *own = arena_alloc(arena, sizeof *own);
    if (!turn || !own)
        return fail_memory(fail);
    *prompts = (struct prompts){.turns = turn, .n = 1, .own = own};
    return responses_request_parse(json, arena, request->body, request->n, request->found,
                                   request->n_found, turn, own, fail);
}

static struct answer_writer *stream_writer(struct arena *arena, const struct answer_meta *meta,
                                           const struct prompts *prompts, struct buffer *out)
{
    return responses_writer(arena, meta, prompts->own, out);
}

static struct answer_writer *whole_writer(struct arena *arena, const struct answer_meta *meta,
                                          const struct prompts *prompts)
{
    return responses_writer(arena, meta, prompts->own, NULL);
}

static int needs(const struct api_request *request, struct json_parser *json, struct arena *arena,
                 struct response_wish *wish, struct fail *fail)
{
    return responses_request_needs(json, arena, request->body, request->n, wish, fail);
}

static int record(const struct prompts *prompts, struct answer_writer *writer,
                  const struct usage_counts *usage, struct span *previous, struct buffer *body)
{
    const struct responses_request *own = prompts->own;
    if (!own->store)
        return 0;
    *previous = own->previous;
    return responses_writer_record(writer, usage, body) ? -1 : 1;
}

static const struct api_state state = {
    .needs = needs,
    .record = record,
    .not_stored = responses_writer_not_stored,
};

const struct api api_responses = {
    .name = "responses",
    .id_prefix = "resp_",
    .dialect = DIALECT_OPENAI,
    .parse = parse,
    .stream_writer = stream_writer,
    .whole_writer = whole_writer,
    .state = &state,
};

/* ---- stored ones ---- */

/* Of "/responses/ID" and "/responses/ID/input_items". */
static struct span id_of(const struct api_request *request)
{
    struct span id = span_from(request->path, sizeof "/responses/" - 1);
    ptrdiff_t slash = span_find_char(id, '/');
    return slash < 0 ? id : span_first(id, (size_t)slash);
}

static int needs_all(const struct api_request *request, struct json_parser *json,
                     struct arena *arena, struct response_wish *wish, struct fail *fail)
{
    *wish = (struct response_wish){.previous = id_of(request)};
    return 0;
}

static int needs_one(const struct api_request *request, struct json_parser *json,
                     struct arena *arena, struct response_wish *wish, struct fail *fail)
{
    *wish = (struct response_wish){.previous = id_of(request), .alone = true};
    return 0;
}

static int needs_forgetting(const struct api_request *request, struct json_parser *json,
                            struct arena *arena, struct response_wish *wish, struct fail *fail)
{
    *wish = (struct response_wish){.previous = id_of(request), .forget = true};
    return 0;
}

static int not_found(const struct api_request *request, struct fail *fail)
{
    return fail_set(fail, FAIL_RESPONSE_NOT_FOUND, "Response with id '%.*s' not found.",
                    SPAN_ARGS(span_first(id_of(request), 80)));
}

static int unreadable(struct fail *fail)
{
    return fail_set(fail, FAIL_INTERNAL, "the stored response cannot be read");
}

/* The last that was found is the one that was asked for. -1 with fail. */
static int check_found(const struct api_request *request, struct json_parser *json,
                       struct fail *fail)
{
    struct json root;
    if (!request->n_found)
        return not_found(request, fail);
    for (size_t i = 0; i < request->n_found; i++) {
        if (json_parse(json, request->found[i].body, &root))
            return unreadable(fail);
    }
    return 0;
}

/* The value of a parameter of the query, {NULL,0} when it is not there. */
static struct span query_get(struct span query, struct span name)
{
    struct span pair;
    while (query.n && span_split(&query, '&', &pair)) {
        if (span_starts(pair, name) && pair.n > name.n && pair.p[name.n] == '=')
            return span_from(pair, name.n + 1);
    }
    return span_of(NULL, 0);
}

static int answer_read(const struct api_request *request, struct json_parser *json,
                       struct arena *arena, struct buffer *body, struct fail *fail)
{
    if (span_eq(query_get(request->query, SPAN("stream")), SPAN("true")))
        return fail_param(fail, FAIL_UNSUPPORTED, "stream",
                          "a stored response is not told as a stream again; leave out stream=true");
    if (check_found(request, json, fail))
        return -1;
    struct span response = json_raw_given(request->found[request->n_found - 1].body, "response");
    if (!response.p)
        return unreadable(fail);
    return buffer_append(body, response) ? fail_memory(fail) : 0;
}

static int answer_delete(const struct api_request *request, struct json_parser *json,
                         struct arena *arena, struct buffer *body, struct fail *fail)
{
    if (!request->deleted)
        return not_found(request, fail);
    struct json_writer w = json_writer(body);
    json_begin_object(&w);
    json_member(&w, "id", id_of(request));
    json_member(&w, "object", SPAN("response"));
    json_member_bool(&w, "deleted", true);
    json_end_object(&w);
    return body->error ? fail_memory(fail) : 0;
}

/* ---- what it was asked ---- */

struct item_list {
    struct span *items;
    size_t n;
};

static void add_items(struct item_list *list, struct span items, bool counting)
{
    struct json_raw_iter it = json_raw_each(items);
    while (json_raw_is_array(items) && json_raw_next(&it)) {
        if (!counting)
            list->items[list->n] = it.value;
        list->n++;
    }
}

/* Everything that stood before the response, oldest first. */
static void gather(const struct api_request *request, struct item_list *list, bool counting)
{
    list->n = 0;
    for (size_t i = 0; i < request->n_found; i++) {
        struct span body = request->found[i].body;
        add_items(list, json_raw_given(body, "input"), counting);
        if (i + 1 < request->n_found)
            add_items(list, json_raw_given(json_raw_given(body, "response"), "output"), counting);
    }
}

static void turn_around(struct item_list *list)
{
    for (size_t i = 0; i < list->n / 2; i++) {
        struct span item = list->items[i];
        list->items[i] = list->items[list->n - 1 - i];
        list->items[list->n - 1 - i] = item;
    }
}

/* The raw id, with its quotes. */
static struct span item_id(struct span item)
{
    struct span id = json_raw_given(item, "id");
    return json_raw_is_text(id) ? id : SPAN("null");
}

static bool has_id(struct span item, struct span id)
{
    struct span raw = item_id(item);
    return raw.n > 2 && span_eq(span_of(raw.p + 1, raw.n - 2), id);
}

/* limit, order and after; `*first` and `*n` are the page. */
static int find_page(const struct api_request *request, struct item_list *list, size_t *first,
                     size_t *n, struct fail *fail)
{
    struct span limit = query_get(request->query, SPAN("limit"));
    struct span order = query_get(request->query, SPAN("order"));
    struct span after = query_get(request->query, SPAN("after"));
    uint64_t most = PAGE_DEFAULT;
    if (limit.n && (!span_to_u64(limit, PAGE_MAX, &most) || most == 0))
        return fail_param(fail, FAIL_INVALID_VALUE, "limit", "limit must be from 1 to %d",
                          PAGE_MAX);
    if (order.n && !span_eq(order, SPAN("asc")) && !span_eq(order, SPAN("desc")))
        return fail_param(fail, FAIL_INVALID_VALUE, "order", "order must be asc or desc");
    if (!span_eq(order, SPAN("asc")))
        turn_around(list);
    *first = 0;
    if (after.n) {
        while (*first < list->n && !has_id(list->items[*first], after))
            ++*first;
        if (*first == list->n)
            return fail_param(fail, FAIL_INVALID_VALUE, "after",
                              "there is no item \"%.*s\" in this list",
                              SPAN_ARGS(span_first(after, 80)));
        ++*first;
    }
    *n = list->n - *first < most ? list->n - *first : (size_t)most;
    return 0;
}

static int answer_items(const struct api_request *request, struct json_parser *json,
                        struct arena *arena, struct buffer *body, struct fail *fail)
{
    struct item_list list = {0};
    size_t first = 0, n = 0;
    if (check_found(request, json, fail))
        return -1;
    gather(request, &list, true);
    list.items = arena_alloc(arena, (list.n ? list.n : 1) * sizeof *list.items);
    if (!list.items)
        return fail_memory(fail);
    gather(request, &list, false);
    if (find_page(request, &list, &first, &n, fail))
        return -1;
    struct json_writer w = json_writer(body);
    json_begin_object(&w);
    json_member(&w, "object", SPAN("list"));
    json_key(&w, "data");
    json_begin_array(&w);
    for (size_t i = first; i < first + n; i++)
        json_raw_value(&w, list.items[i]);
    json_end_array(&w);
    json_member_raw(&w, "first_id", n ? item_id(list.items[first]) : SPAN("null"));
    json_member_raw(&w, "last_id", n ? item_id(list.items[first + n - 1]) : SPAN("null"));
    json_member_bool(&w, "has_more", first + n < list.n);
    json_end_object(&w);
    return body->error ? fail_memory(fail) : 0;
}

static const struct api_state reading = {.needs = needs_one, .answer = answer_read};
static const struct api_state listing = {.needs = needs_all, .answer = answer_items};
static const struct api_state deleting = {.needs = needs_forgetting, .answer = answer_delete};

const struct api api_response_read = {
    .name = "response", .dialect = DIALECT_OPENAI, .state = &reading};
const struct api api_response_items = {
    .name = "response items", .dialect = DIALECT_OPENAI, .state = &listing};
const struct api api_response_delete = {
    .name = "response deletion", .dialect = DIALECT_OPENAI, .state = &deleting};
