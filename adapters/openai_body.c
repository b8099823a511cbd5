/*
 * adapters/openai_body.c - the writing half of openai_wire.h: a client's body with single top-level
 * fields edited.
 *
 * Works on raw text, so that what we do not know travels byte for byte: 64-bit integers, 30-digit
 * numbers, NULs, vendor fields. One allocation of the final size, one copy.
 */
#include <assert.h>

#include "adapters/openai_wire.h"
#include "base/json_raw.h"
#include "base/json_write.h"

enum {
    FIELDS_MAX = 1024, /* clients send a few dozen; doubled keys are looked for pairwise */
    FIELDS_USUAL = 32, /* these need no memory */
    EDITS_MAX = 32,
    ALIASED_LIMIT = 256 * 1024 * 1024
};

struct field {
    struct span raw_key, key; /* as it stands; decoded */
    struct span value;
};

/* A buffer over arena memory: it cannot grow, BUFFER_FULL says that the bound was wrong. */
static bool arena_buffer(struct turn_run *run, struct buffer *b, size_t bound)
{
    char *p = arena_alloc(run->arena, bound);
    *b = (struct buffer){.p = p, .cap = bound, .limit = bound};
    return p != NULL;
}

static struct span finished(const struct buffer *b)
{
    return b->error ? span_of(NULL, 0) : buffer_span(b);
}

struct span openai_raw_string(struct turn_run *run, struct span text)
{
    struct buffer b;
    if (json_is_plain(text)) {
        const struct span quoted[] = {SPAN("\""), text, SPAN("\"")};
        return arena_join(run->arena, quoted, 3);
    }
    if (!arena_buffer(run, &b, text.n * 6 + 2))
        return span_of(NULL, 0);
    struct json_writer w = json_writer(&b);
    json_string(&w, text);
    return finished(&b);
}

static struct span raw_number(struct turn_run *run, const struct option_value *v)
{
    struct buffer b;
    if (!arena_buffer(run, &b, 400))
        return span_of(NULL, 0);
    struct json_writer w = json_writer(&b);
    if (v->type == OPTION_INT)
        json_write_int(&w, v->integer);
    else
        json_write_double(&w, v->number);
    return finished(&b);
}

/* As json_raw_get of the turn's body. */
static struct span member_of(const struct turn *turn, const char *key)
{
    size_t n;
    const struct json_member *members = turn_members(turn, &n);
    if (!members)
        return json_raw_get(turn->raw, key);
    while (n-- > 0) {
        if (json_raw_key_is(members[n].key, span_str(key)))
            return members[n].value;
    }
    return span_of(NULL, 0);
}

struct span openai_usage_asked(struct turn_run *run)
{
    struct span given = member_of(run->turn, "stream_options");
    struct buffer b;
    if (given.n == 0 || given.p[0] != '{')
        return SPAN("{\"include_usage\":true}");
    if (!arena_buffer(run, &b, given.n + 32))
        return span_of(NULL, 0);
    struct json_writer w = json_writer(&b);
    struct json_raw_iter it = json_raw_each(given);
    json_begin_object(&w);
    while (json_raw_next(&it)) {
        if (json_raw_key_is(it.key, SPAN("include_usage")))
            continue;
        /* json_key would escape the raw key a second time: quotes and key as they stand. */
        if (w.comma)
            buffer_char(&b, ',');
        buffer_append(&b, span_of(it.key.p - 1, it.key.n + 2));
        buffer_char(&b, ':');
        buffer_append(&b, it.value);
        w.comma = true;
    }
    json_member_bool(&w, "include_usage", true);
    json_end_object(&w);
    return finished(&b);
}

int openai_defaults(struct turn_run *run, struct body_edit *edits)
{
    static const struct {
        const char *option, *key;
    } defaults[OPENAI_DEFAULTS_MAX] = {
        {"default_temperature", "temperature"},
        {"default_top_p", "top_p"},
        {"default_max_tokens", "max_tokens"},
    };
    int n = 0;
    if (!run->site->n_options)
        return 0;
    for (int i = 0; i < OPENAI_DEFAULTS_MAX; i++) {
        const struct option_value *v = site_option(run->site, defaults[i].option);
        if (!v || (strcmp(defaults[i].key, "max_tokens") == 0 &&
                   member_of(run->turn, "max_completion_tokens").p))
            continue;
        struct span value = raw_number(run, v);
        if (!value.p)
            return fail_memory(run->fail);
        edits[n++] =
            (struct body_edit){.key = defaults[i].key, .value = value, .only_if_absent = true};
    }
    return n;
}

/* ---- editing ---- */

/* A key's decoded form: itself, unless it has escapes. */
static int decode_key(struct turn_run *run, struct field *f)
{
    struct json text;
    f->key = f->raw_key;
    if (span_find_char(f->raw_key, '\\') < 0)
        return 0;
    if (json_parse(run->json, span_of(f->raw_key.p - 1, f->raw_key.n + 2), &text) != JSON_OK)
        return 0; /* then it equals only itself */
    f->key = arena_dup(run->arena, json_text(text));
    return f->key.p ? 0 : fail_memory(run->fail);
}

/* The body's fields, in order: few are in `some`, more in the arena. */
struct fields {
    struct field some[FIELDS_USUAL], *list;
    size_t n;
};

static int make_room(struct turn_run *run, struct fields *f)
{
    size_t cap = f->n;
    if (f->n < FIELDS_USUAL || (f->n & (f->n - 1))) /* full at each power of two from there on */
        return 0;
    if (f->n == FIELDS_MAX)
        return fail_set(run->fail, FAIL_INVALID_VALUE,
                        "the request has more than %d fields at its top", (int)FIELDS_MAX);
    struct field *list = arena_alloc(run->arena, 2 * cap * sizeof *list);
    if (!list)
        return fail_memory(run->fail);
    memcpy(list, f->list, f->n * sizeof *list);
    f->list = list;
    return 0;
}

static int add_field(struct turn_run *run, struct fields *f, struct span key, struct span value)
{
    if (make_room(run, f))
        return -1;
    struct field *one = &f->list[f->n++];
    one->raw_key = key;
    one->value = value;
    return decode_key(run, one);
}

static int read_fields(struct turn_run *run, struct fields *f)
{
    size_t n;
    const struct json_member *members = turn_members(run->turn, &n);
    f->list = f->some;
    f->n = 0;
    if (members) {
        for (size_t i = 0; i < n; i++) {
            if (add_field(run, f, members[i].key, members[i].value))
                return -1;
        }
        return 0;
    }
    struct json_raw_iter it = json_raw_each(run->turn->raw);
    while (json_raw_next(&it)) {
        if (add_field(run, f, it.key, it.value))
            return -1;
    }
    return 0;
}

static bool comes_again(const struct fields *f, size_t i)
{
    for (size_t k = i + 1; k < f->n; k++) {
        if (span_eq(f->list[k].key, f->list[i].key))
            return true;
    }
    return false;
}

static void write_pair(struct json_writer *w, struct span quoted_key, struct span value)
{
    size_t n = quoted_key.n + value.n + 2;
    char *at = buffer_reserve(w->out, n);
    if (!at)
        return;
    w->out->n += n - !w->comma;
    if (w->comma)
        *at++ = ',';
    memcpy(at, quoted_key.p, quoted_key.n);
    at += quoted_key.n;
    *at++ = ':';
    memcpy(at, value.p, value.n);
    w->comma = true;
}

static void write_edit(struct json_writer *w, const struct body_edit *e)
{
    json_key(w, e->as ? e->as : e->key);
    json_raw_value(w, e->value);
}

static int rename_fields(struct turn_run *run, struct span *body)
{
    struct buffer renamed;
    buffer_init(&renamed, ALIASED_LIMIT);
    int error = json_raw_rename(&renamed, *body, run->site->aliases, run->site->n_aliases);
    char *p = error ? NULL : arena_alloc_apart(run->arena, renamed.n);
    if (p && renamed.n)
        memcpy(p, renamed.p, renamed.n);
    arena_give_back(run->arena, body->p);
    *body = span_of(p, p ? renamed.n : 0);
    buffer_free(&renamed);
    return p ? 0 : fail_memory(run->fail);
}

/* Which edit is the field's; n_edits = none. */
static size_t edit_of(const struct field *f, const struct span *keys, size_t n_edits)
{
    size_t e = 0;
    while (e < n_edits && !span_eq(f->key, keys[e]))
        e++;
    return e;
}

int openai_edit_body(struct turn_run *run, const struct body_edit *edits, size_t n_edits,
                     struct span *out)
{
    struct fields fields;
    struct span keys[EDITS_MAX];
    bool done[EDITS_MAX] = {false};
    size_t bound = run->turn->raw.n + 2;

    assert(n_edits <= EDITS_MAX);
    if (read_fields(run, &fields))
        return -1;
    for (size_t e = 0; e < n_edits; e++) {
        keys[e] = span_str(edits[e].key);
        bound += edits[e].value.n + (edits[e].as ? strlen(edits[e].as) : keys[e].n) + 4;
    }
    char *p = arena_alloc_apart(run->arena, bound);
    if (!p)
        return fail_memory(run->fail);
    struct buffer b = {.p = p, .cap = bound, .limit = bound};
    struct json_writer w = json_writer(&b);
    json_begin_object(&w);
    for (size_t i = 0; i < fields.n; i++) {
        const struct field *f = &fields.list[i];
        if (comes_again(&fields, i))
            continue;
        size_t e = edit_of(f, keys, n_edits);
        if (e < n_edits)
            done[e] = true;
        if (e == n_edits || edits[e].only_if_absent)
            write_pair(&w, span_of(f->raw_key.p - 1, f->raw_key.n + 2), f->value);
        else if (edits[e].value.p)
            write_edit(&w, &edits[e]);
    }
    for (size_t e = 0; e < n_edits; e++) {
        if (!done[e] && edits[e].value.p)
            write_edit(&w, &edits[e]);
    }
    json_end_object(&w);
    if (b.error)
        return fail_set(run->fail, FAIL_INTERNAL, "the request's size was misjudged");
    memset(b.p + b.n, 0, JSON_PADDING < bound - b.n ? JSON_PADDING : bound - b.n);
    *out = buffer_span(&b);
    return run->site->n_aliases ? rename_fields(run, out) : 0;
}
