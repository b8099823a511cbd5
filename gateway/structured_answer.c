/*
 * gateway/structured_answer.c - see structured_answer.h.
 */
#include "gateway/structured_answer.h"

#include "base/json_write.h"
#include "gateway/json_mender.h"
#include "gateway/structured_filter.h"

enum { PIECES_MAX = 4 /* of JSON that one answer is searched for */ };

/* Two documents at a time: the schema, and what is held against it. */
struct judge {
    struct json_parser *schemas, *values;
    struct json schema;
};

static void say(struct structured_verdict *v, enum structured_kind kind, const char *what)
{
    *v = (struct structured_verdict){.kind = kind};
    v->error.errors = 1;
    v->error.n = strlen(what);
    memcpy(v->error.text, what, v->error.n + 1);
}

static void judge_free(struct judge *j)
{
    json_parser_destroy(j->schemas);
    json_parser_destroy(j->values);
}

/* 0, or -1 with a verdict. */
static int judge_init(struct judge *j, const struct structured_wish *wish,
                      struct structured_verdict *v)
{
    struct span schema = wish->schema.p ? wish->schema : SPAN("{\"type\":\"object\"}");
    *j = (struct judge){json_parser_create(SIZE_MAX), json_parser_create(SIZE_MAX), {0}};
    if (j->schemas && j->values && json_parse(j->schemas, schema, &j->schema) == 0)
        return 0;
    judge_free(j);
    say(v, STRUCTURED_UNCHECKED, "there was no memory to check it");
    return -1;
}

static void judge_text(const struct judge *j, struct span text, struct structured_verdict *v)
{
    struct json value;
    *v = (struct structured_verdict){.kind = STRUCTURED_VALID};
    if (text.n > STRUCTURED_CHECKED_MAX) {
        say(v, STRUCTURED_UNCHECKED, "it is too long to be checked");
        return;
    }
    switch (json_parse_lenient(j->values, text, &value)) {
    case JSON_OK: break;
    case JSON_DEPTH: say(v, STRUCTURED_UNCHECKED, "it is nested too deeply to be checked"); return;
    case JSON_NUMBER:
        say(v, STRUCTURED_UNCHECKED, "it has a number that is malformed or out of range");
        return;
    case JSON_NOMEM: say(v, STRUCTURED_UNCHECKED, "there was no memory to check it"); return;
    default: say(v, STRUCTURED_INVALID, text.n ? "it is no JSON" : "it is empty"); return;
    }
    switch (json_schema_validate(j->schema, value, &v->error)) {
    case SCHEMA_FITS: return;
    case SCHEMA_DIFFERS: v->kind = STRUCTURED_INVALID; return;
    case SCHEMA_UNDECIDED: v->kind = STRUCTURED_UNCHECKED; return;
    }
}

void structured_judge(const struct structured_wish *wish, struct span text,
                      struct structured_verdict *v)
{
    struct judge j;
    if (judge_init(&j, wish, v))
        return;
    judge_text(&j, text, v);
    judge_free(&j);
}

/* ---- whole answers ---- */

/* Where the JSON that begins at the text's beginning ends; text.n when it does not. */
static size_t extent_of(struct span text)
{
    struct json_extent extent = {0};
    size_t end = json_extent_pass(&extent, text);
    return end < text.n ? end : text.n;
}

/* What is wrong with JSON has a place in it. */
static bool is_json(const struct structured_verdict *v) { return v->error.text[0] == '$'; }

bool structured_is_better(const struct structured_verdict *a, const struct structured_verdict *b)
{
    if (a->kind != b->kind)
        return a->kind == STRUCTURED_VALID || b->kind == STRUCTURED_INVALID;
    if (is_json(a) != is_json(b))
        return is_json(a);
    return a->error.errors < b->error.errors;
}

/* The best of the pieces of JSON; `*first` is where the first of them begins. */
static struct span best_piece(const struct judge *j, const struct structured_wish *wish,
                              struct span text, struct structured_verdict *v, size_t *first)
{
    struct structured_verdict verdict;
    struct span best = structured_bare(text);
    judge_text(j, best, v);
    *first = json_begins_at(text, 0, wish->may_be_array);
    size_t at = *first;
    for (int i = 0; i < PIECES_MAX && at < text.n && v->kind == STRUCTURED_INVALID; i++) {
        struct span piece = span_from(text, at);
        size_t end = extent_of(piece);
        piece = span_first(piece, end);
        judge_text(j, piece, &verdict);
        if (structured_is_better(&verdict, v)) {
            *v = verdict;
            best = piece;
        }
        at = json_begins_at(text, at + (end < text.n - at ? end : 1), wish->may_be_array);
    }
    return best;
}

static int write_token(void *owner, enum mend_token token, struct span text)
{
    struct json_writer *w = owner;
    mend_write(w, token, text);
    return w->out->error;
}

/* Into `room`. True: something whole came of it. The end of a fence is the end, whatever is open.
 */
static bool mend(struct span text, bool cut, struct buffer *room)
{
    ptrdiff_t fence = span_find(text, SPAN("\n```"));
    if (fence >= 0)
        text = span_first(text, (size_t)fence);
    struct json_mender m;
    struct json_writer w = json_writer(room);
    const struct mend_sink sink = {.put = write_token, .owner = &w};
    json_mender_init(&m, MEND_FORM_VALUE);
    int error = json_mender_read(&m, &text, true, &sink);
    bool whole = !error && (m.done || !cut);
    if (whole && !m.done)
        whole = json_mender_close(&m, &sink) == 0;
    if (json_mender_is_short(&m))
        room->error = BUFFER_NOMEM;
    json_mender_free(&m);
    return whole && room->n;
}

struct span structured_pick(const struct structured_wish *wish, struct span text, bool cut,
                            struct buffer *room, struct structured_verdict *v)
{
    struct judge j;
    struct structured_verdict mended;
    size_t first;
    if (judge_init(&j, wish, v))
        return text;
    struct span best = best_piece(&j, wish, text, v, &first);
    bool tries = v->kind == STRUCTURED_INVALID && first < text.n;
    if (tries && text.n <= STRUCTURED_CHECKED_MAX && mend(span_from(text, first), cut, room)) {
        judge_text(&j, buffer_span(room), &mended);
        if (mended.kind == STRUCTURED_VALID) {
            *v = mended;
            v->mended = true;
            best = buffer_span(room);
        } else if (json_parser_take_short(j.values)) {
            *v = mended;
        }
    } else if (tries && room->error == BUFFER_NOMEM) {
        say(v, STRUCTURED_UNCHECKED, "there was no memory to mend it");
    }
    judge_free(&j);
    return best;
}
