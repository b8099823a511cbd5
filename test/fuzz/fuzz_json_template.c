/*
 * test/fuzz/fuzz_json_template.c - texts that need not be parsed, against the parser.
 *
 * Up to the first LF: a text that is learned; each line behind it, one that may be like it. Oracle:
 * what matches is JSON, its string is what the template says, and with the first text's string and
 * ignored members put into it the document is the one that was learned.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_template.h"
#include "base/json_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const path[] = {"a", "", "b", NULL};
static const char *const ignored[] = {"i", "n", NULL};

static struct json wanted(struct json root)
{
    return json_get(json_at(json_get(root, "a"), 0), "b");
}

/* The document without what may differ, of which the place alone is told. */
static void write(struct json_writer *w, struct json v, struct json string, int depth)
{
    struct json_iter it = json_each(v);
    bool object = json_is(v, JSON_OBJECT);
    if (v.at == string.at) {
        json_string(w, SPAN("the string"));
        return;
    }
    if (!object && !json_is(v, JSON_ARRAY)) {
        json_dump(w->out, v);
        w->comma = true;
        return;
    }
    object ? json_begin_object(w) : json_begin_array(w);
    while (json_next(&it)) {
        bool skipped = depth == 0 && (span_eq(it.key, SPAN("i")) || span_eq(it.key, SPAN("n")));
        if (object)
            json_key_span(w, it.key);
        if (skipped)
            json_write_int(w, json_type(it.value));
        else
            write(w, it.value, string, depth + 1);
    }
    object ? json_end_object(w) : json_end_array(w);
}

static void render(struct buffer *out, struct json root)
{
    struct json_writer w = json_writer(out);
    buffer_clear(out);
    write(&w, root, wanted(root), 0);
    assert(!out->error);
}

/* In a block of its size. */
static bool try(struct json_template *t, struct span text, struct json_like *like, char **copy)
{
    *copy = malloc(text.n ? text.n : 1);
    assert(*copy);
    memcpy(*copy, text.p, text.n);
    return json_template_match(t, SPAN(""), span_of(*copy, text.n), like);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_parser *json = json_parser_create(1 << 20);
    struct span rest = span_of((const char *)data, size), text, first;
    struct arena arena;
    struct json root;
    struct buffer learned, like_it;
    arena_init(&arena);
    buffer_init(&learned, 1 << 24);
    buffer_init(&like_it, 1 << 24);
    bool any = span_split(&rest, '\n', &first);
    bool object =
        any && json_parse_lenient(json, first, &root) == JSON_OK && json_is(root, JSON_OBJECT);
    if (object)
        render(&learned, root);
    while (object && span_split(&rest, '\n', &text)) {
        struct json_template t = {.skips = 0, .patience = data[size - 1] % 2}; /* holes or none */
        struct json_like like;
        char *copy;
        json_template_learn(&t, &arena, SPAN(""), first, path, ignored, 1);
        if (t.skips || !t.holes) /* once more: an attempt was left out */
            json_template_learn(&t, &arena, SPAN(""), first, path, ignored, 1);
        if (try(&t, text, &like, &copy)) {
            assert(json_parse(json, text, &root) == JSON_OK);
            assert(json_is(wanted(root), JSON_STRING));
            assert(span_eq(json_text(wanted(root)), like.string));
            render(&like_it, root);
            assert(span_eq(buffer_span(&learned), buffer_span(&like_it)));
        }
        free(copy);
    }
    buffer_free(&learned);
    buffer_free(&like_it);
    arena_free(&arena);
    json_parser_destroy(json);
    return 0;
}
