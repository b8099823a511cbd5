/*
 * gateway/responses_input.c - everything that becomes messages: what earlier responses hold,
 * instructions, and the list of items, in which some only name others.
 */
#include "gateway/responses_reader.h"

#include <stdlib.h>

#include "gateway/request_body.h"

/* One item may be referred to again and again: all that references stand for, in MiB. */
enum { REFERRED_MAX = 32 };

struct span responses_id_of_item(struct arena *arena, struct span id)
{
    ptrdiff_t at = span_find_char(id, '_');
    if (at <= 0)
        return span_of(NULL, 0);
    struct span rest = span_from(id, (size_t)at + 1);
    at = span_find_char(rest, '_');
    if (at <= 0)
        return span_of(NULL, 0);
    return arena_printf(arena, "resp_%.*s", (int)at, rest.p);
}

/* The raw items of a stored body: what was asked, or what was answered. */
static struct span stored_items(struct span body, bool answered)
{
    return answered ? json_raw_given(json_raw_given(body, "response"), "output")
                    : json_raw_given(body, "input");
}

/* Each body is walked as text: a parser has to have accepted it. */
static int check_stored(struct responses_reader *r)
{
    for (size_t i = 0; i < r->n_found; i++) {
        struct json root;
        int error = json_parse(r->json, r->found[i].body, &root);
        if (error == JSON_NOMEM)
            return fail_memory(r->fail);
        if (error || !json_is(root, JSON_OBJECT))
            return fail_set(r->fail, FAIL_INTERNAL, "the stored response \"%.*s\" cannot be read",
                            SPAN_ARGS(span_first(r->found[i].id, 60)));
    }
    return 0;
}

static int read_stored(struct responses_reader *r, struct span items)
{
    struct json_raw_iter it = json_raw_each(items);
    while (json_raw_is_array(items) && json_raw_next(&it)) {
        if (responses_read_item(r, it.value, RESPONSES_STORED))
            return -1;
    }
    return 0;
}

/* What was said before, oldest first. */
static int read_chain(struct responses_reader *r)
{
    bool found = false;
    if (!r->request->previous.n)
        return 0;
    for (size_t i = 0; i < r->n_found; i++) {
        const struct response_found *f = &r->found[i];
        if (!f->in_chain)
            continue;
        found |= span_eq(f->id, r->request->previous);
        if (read_stored(r, stored_items(f->body, false)) ||
            read_stored(r, stored_items(f->body, true)))
            return -1;
    }
    return found ? 0
                 : fail_param(
                       r->fail, FAIL_PREVIOUS_RESPONSE, "previous_response_id",
                       "Previous response with id '%.*s' not found. It was not stored here, has "
                       "ended, or is another key's; send the whole conversation instead.",
                       SPAN_ARGS(span_first(r->request->previous, 80)));
}

/* Raw ids in their order, then in the order of what was found. */
static int by_id(const void *a, const void *b)
{
    const struct known_item *x = a, *y = b;
    int order = span_compare(x->id, y->id);
    return order ? order : (x->place > y->place) - (x->place < y->place);
}

static size_t list_known(struct span items, struct known_item *list, size_t n)
{
    struct json_raw_iter it = json_raw_each(items);
    while (json_raw_is_array(items) && json_raw_next(&it)) {
        struct span id = json_raw_is_object(it.value) ? json_raw_given(it.value, "id") : SPAN("");
        if (!json_raw_is_text(id))
            continue;
        if (list)
            list[n] = (struct known_item){id, it.value, n};
        n++;
    }
    return n;
}

static size_t list_all_known(struct responses_reader *r, struct known_item *list)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_found; i++) {
        n = list_known(stored_items(r->found[i].body, true), list, n);
        n = list_known(stored_items(r->found[i].body, false), list, n);
    }
    return n;
}

/* Before the first reference is resolved: a request may hold thousands. */
static int know_items(struct responses_reader *r)
{
    if (r->known)
        return 0;
    r->n_known = list_all_known(r, NULL);
    r->known = arena_alloc(r->arena, (r->n_known + 1) * sizeof *r->known);
    if (!r->known)
        return fail_memory(r->fail);
    list_all_known(r, r->known);
    qsort(r->known, r->n_known, sizeof *r->known, by_id);
    return 0;
}

/* The first item of that raw id, {NULL,0} = there is none. */
static struct span known_item(const struct responses_reader *r, struct span id)
{
    size_t low = 0, high = r->n_known;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (span_compare(r->known[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->n_known && span_eq(r->known[low].id, id) ? r->known[low].item
                                                             : span_of(NULL, 0);
}

bool responses_is_reference(struct span item)
{
    return json_raw_is_object(item) &&
           span_eq(json_raw_given(item, "type"), SPAN("\"item_reference\""));
}

/* The item that a reference names; ids of ours have no escapes, so raw ones are compared. */
static int resolve(struct responses_reader *r, int index, struct span *item)
{
    char where[RESPONSES_WHERE_MAX];
    struct span id = json_raw_given(*item, "id");
    responses_be_at(r, index, NULL);
    if (!json_raw_is_text(id))
        return responses_invalid(r, RESPONSES_HERE, "a reference with a string \"id\"");
    if (know_items(r))
        return -1;
    struct span known = known_item(r, id);
    r->referred += known.n;
    if (known.p && r->referred >> 20 < REFERRED_MAX) {
        *item = known;
        return 0;
    }
    const char *param = responses_where(r, RESPONSES_HERE, where);
    if (r->referred >> 20 >= REFERRED_MAX)
        return fail_param(r->fail, FAIL_INVALID_VALUE, param,
                          "%s is one reference too many: what input refers to is more than %d MiB",
                          param, REFERRED_MAX);
    return fail_param(r->fail, FAIL_INVALID_VALUE, param,
                      "Item with id '%.*s' not found. Items are kept with `store`; send the item "
                      "itself instead.",
                      SPAN_ARGS(span_first(span_of(id.p + 1, id.n - 2), 80)));
}

/* A text as input is one message of the user. */
static struct span message_of_text(struct responses_reader *r, struct span raw)
{
    return arena_printf(r->arena,
                        "{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":"
                        "\"input_text\",\"text\":%.*s}]}",
                        SPAN_ARGS(raw));
}

static int read_input(struct responses_reader *r)
{
    struct span raw = json_members_given(r->top, "input");
    bool alone = json_raw_is_text(raw);
    if (!raw.p && r->request->previous.n) /* going on without saying more */
        return 0;
    if (!alone && !json_raw_is_array(raw))
        return responses_invalid(r, "input", "a string or an array of items");
    size_t n = alone ? 1 : json_raw_count(raw);
    if (n > REQUEST_MESSAGES_MAX)
        return request_body_too_many_messages(r->fail, "input");
    struct span *items = arena_alloc(r->arena, (n ? n : 1) * sizeof *items);
    if (!items)
        return fail_memory(r->fail);
    if (n == 0 && !r->request->previous.n)
        return responses_invalid(r, "input", "an array of at least one item");
    r->request->items = items;
    r->request->n_items = n;
    if (alone) {
        items[0] = message_of_text(r, raw);
        return items[0].p ? responses_read_item(r, items[0], 0) : fail_memory(r->fail);
    }
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        items[i] = it.value;
        if ((responses_is_reference(it.value) && resolve(r, i, &items[i])) ||
            responses_read_item(r, items[i], i))
            return -1;
    }
    return 0;
}

static int read_instructions(struct responses_reader *r)
{
    struct span text = {NULL, 0};
    if (request_body_text_given(r->json, r->arena, json_members_given(r->top, "instructions"),
                                "instructions", &text, r->fail))
        return -1;
    if (!text.n)
        return 0;
    struct message *m = responses_add_message(r, ROLE_SYSTEM, RESPONSES_STORED);
    struct part *part = arena_alloc(r->arena, sizeof *part);
    if (!m || !part)
        return fail_memory(r->fail);
    part->text = text;
    m->parts = part;
    m->n_parts = 1;
    return 0;
}

int responses_read_messages(struct responses_reader *r)
{
    if (check_stored(r) || read_instructions(r) || read_chain(r) || read_input(r) ||
        responses_close_answer(r))
        return -1;
    if (r->n_messages == 0)
        return responses_invalid(r, "input", "given a message to answer");
    r->turn->messages = r->messages;
    r->turn->n_messages = r->n_messages;
    r->turn->list = "input";
    return 0;
}
