/*
 * base/json_shapes.c - see json_shapes.h. The hot part is fits: between two values that are told
 * nearly always the same bytes as last time, ignored values and all, which is one comparison of
 * memory. Where an ignored value is another one, it goes from hole to hole.
 */
#include "base/json_shapes.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/json_inside.h"

enum { PATIENCE_MAX = 63, END = JSON_HOLE_ANY + 1 };

/* ---- recognising ---- */

/* Where a text and what is kept of it are compared. */
struct place {
    const char *p, *end;
    char *bytes;
};

/* From a hole to the next value that is told, through ignored ones. NULL, or its hole. Those of the
 * same length are remembered, whether the text fits or not; the others stand in the way again next
 * time. */
static const struct json_shape_hole *pass_ignored(const struct json_shape_hole *hole,
                                                  struct place *at)
{
    for (;; hole++) {
        if ((size_t)(at->end - at->p) < hole->before || memcmp(at->p, at->bytes, hole->before) != 0)
            return NULL;
        at->p += hole->before;
        at->bytes += hole->before;
        if (hole->kind != JSON_HOLE_ANY)
            return hole;
        const char *behind =
            hole->number ? json_natural_pass(at->p, at->end) : json_inside_pass(at->p, at->end);
        if (!behind)
            return NULL;
        if (behind - at->p == hole->value)
            memcpy(at->bytes, at->p, hole->value);
        at->bytes += hole->value;
        at->p = behind;
    }
}

static const char *read_value(const struct json_shape_hole *hole, const char *p, const char *end,
                              struct buffer *room, struct json_seen *seen)
{
    if (!hole->number)
        return json_inside_read(p, end, room, &seen->text);
    const char *behind = json_natural_pass(p, end);
    seen->numbers[hole->given] = span_of(p, behind ? (size_t)(behind - p) : 0);
    return behind;
}

static bool fits(const struct json_shape *s, struct span label, struct span text,
                 struct buffer *room, struct json_seen *seen)
{
    if (!s->bytes || !text.n || !span_eq(label, span_of(s->bytes + s->note, s->label)))
        return false;
    const struct json_shape_hole *hole = s->holes;
    const char *p = text.p, *end = p + text.n;
    char *bytes = s->bytes + s->note + s->label;
    seen->text = span_of("", 0);
    for (;; hole++) {
        size_t run = hole->run;
        if ((size_t)(end - p) >= run && memcmp(p, bytes, run) == 0) {
            p += run;
            bytes += run;
            hole = &s->holes[hole->next];
        } else {
            struct place at = {p, end, bytes};
            hole = hole->next == hole - s->holes ? NULL : pass_ignored(hole, &at);
            if (!hole)
                return false;
            p = at.p;
            bytes = at.bytes;
        }
        if (hole->kind == END)
            break;
        p = read_value(hole, p, end, room, seen);
        if (!p)
            return false;
    }
    return p == end;
}

/* The kinds come one after the other as they did before. */
static struct json_shape *find_other(struct json_shapes *shapes, struct span label,
                                     struct span text, struct buffer *room, struct json_seen *seen)
{
    struct json_shape *last = &shapes->list[shapes->last], *next = &shapes->list[last->after];
    if (next != last && fits(next, label, text, room, seen))
        return next;
    for (struct json_shape *s = shapes->list; s < shapes->list + JSON_SHAPES; s++) {
        if (s != last && s != next && fits(s, label, text, room, seen))
            return s;
    }
    return NULL;
}

bool json_shapes_match(struct json_shapes *shapes, struct span label, struct span text,
                       struct buffer *room, struct json_seen *seen)
{
    struct json_shape *s = &shapes->list[shapes->last];
    if (!fits(s, label, text, room, seen)) { /* texts of one kind come in a row */
        struct json_shape *other = find_other(shapes, label, text, room, seen);
        if (!other)
            return false;
        s->after = shapes->last = (uint8_t)(other - shapes->list);
        s = other;
    }
    if (!s->matched)
        shapes->patience = shapes->skips = 0;
    s->matched = true;
    s->used = ++shapes->clock;
    seen->note = span_of(s->bytes, s->note);
    return true;
}

/* ---- learning ---- */

/* The text's holes while it is learned: in the order of the text, strings without their quotes. */
struct holes {
    struct {
        struct span at;
        uint8_t given, kind;
        bool number;
    } list[JSON_SHAPE_HOLES];
    unsigned n;
};

/* Does the value stand alone between what is around it, as a string or a natural number? */
static bool is_hole(const struct json_hole *hole, struct span text)
{
    const char *p = hole->raw.p, *end = text.p + text.n;
    if (!hole->raw.n)
        return false;
    if (*p == '"')
        return hole->kind == JSON_HOLE_TEXT ||
               (hole->kind == JSON_HOLE_ANY && json_inside_pass(p + 1, end) == p + hole->raw.n - 1);
    return hole->kind != JSON_HOLE_TEXT && json_natural_pass(p, end) == p + hole->raw.n;
}

static void add_hole(struct holes *h, const struct json_hole *hole, size_t given)
{
    bool number = *hole->raw.p != '"';
    unsigned i = h->n++;
    for (; i && h->list[i - 1].at.p > hole->raw.p; i--)
        h->list[i] = h->list[i - 1];
    h->list[i].at = number ? hole->raw : span_of(hole->raw.p + 1, hole->raw.n - 2);
    h->list[i].given = (uint8_t)given;
    h->list[i].kind = (uint8_t)hole->kind;
    h->list[i].number = number;
}

/* False when a value that is told is not of its kind. */
static bool find_holes(struct holes *h, struct span text, const struct json_hole *given, size_t n)
{
    h->n = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_hole(&given[i], text))
            add_hole(h, &given[i], i);
        else if (given[i].raw.n && given[i].kind != JSON_HOLE_ANY)
            return false;
    }
    return true;
}

/* How many bytes are kept of the text. */
static size_t bytes_of(const struct holes *h, struct span text)
{
    size_t n = text.n;
    for (unsigned i = 0; i < h->n; i++)
        n -= h->list[i].kind == JSON_HOLE_ANY ? 0 : h->list[i].at.n;
    return n;
}

/* The pieces around the holes go where there is room for them. False when one holds an escape. */
static bool take_pieces(struct json_shape *s, struct span text, const struct holes *h, char *to)
{
    const char *from = text.p;
    for (unsigned i = 0; i <= h->n; i++) {
        struct json_shape_hole *hole = &s->holes[i];
        struct span value = i < h->n ? h->list[i].at : span_of(text.p + text.n, 0);
        struct span piece = span_of(from, (size_t)(value.p - from));
        *hole = (struct json_shape_hole){.before = (uint16_t)piece.n, .kind = END};
        if (span_find_char(piece, '\\') >= 0)
            return false;
        memcpy(to, piece.p, piece.n);
        to += piece.n;
        from = value.p + value.n;
        if (i == h->n)
            break;
        hole->kind = h->list[i].kind;
        hole->given = h->list[i].given;
        hole->number = h->list[i].number;
        if (hole->kind != JSON_HOLE_ANY)
            continue;
        hole->value = (uint16_t)value.n;
        memcpy(to, value.p, value.n);
        to += value.n;
    }
    s->n_holes = (uint8_t)h->n;
    return true;
}

/* What may be compared at once from each hole on. */
static void find_runs(struct json_shape *s)
{
    for (unsigned i = s->n_holes + 1U; i-- > 0;) {
        struct json_shape_hole *hole = &s->holes[i], *behind = hole + 1;
        bool told = hole->kind != JSON_HOLE_ANY;
        hole->next = told ? (uint8_t)i : behind->next;
        hole->run = told ? hole->before : (uint16_t)(hole->before + hole->value + behind->run);
    }
}

static void forget(struct json_shape *s)
{
    free(s->bytes);
    *s = (struct json_shape){.bytes = NULL};
}

/* An empty one, or the one that was not met for longest. */
static struct json_shape *choose_place(struct json_shapes *shapes)
{
    struct json_shape *oldest = &shapes->list[0];
    for (unsigned i = 0; i < JSON_SHAPES; i++) {
        struct json_shape *s = &shapes->list[i];
        if (!s->bytes)
            return s;
        if (s->used < oldest->used)
            oldest = s;
    }
    return oldest;
}

/* Learning costs more than it saves where nothing is ever met again: then it is tried at longer and
 * longer intervals. */
static struct json_shape *place_for(struct json_shapes *shapes)
{
    if (shapes->skips) {
        shapes->skips--;
        return NULL;
    }
    struct json_shape *s = choose_place(shapes);
    if (s->bytes && !s->matched) {
        shapes->patience =
            shapes->patience < PATIENCE_MAX ? (uint8_t)(2 * shapes->patience + 1) : PATIENCE_MAX;
        shapes->skips = shapes->patience;
    }
    forget(s);
    return s;
}

void json_shapes_learn(struct json_shapes *shapes, struct span label, struct span text,
                       const struct json_hole *holes, size_t n, struct span note)
{
    struct holes found;
    if (n > JSON_SHAPE_HOLES || text.n > 64 * (size_t)JSON_SHAPE_BYTES || !json_valid_utf8(text) ||
        !find_holes(&found, text, holes, n))
        return;
    size_t bytes = note.n + label.n + bytes_of(&found, text);
    struct json_shape *s = bytes <= JSON_SHAPE_BYTES ? place_for(shapes) : NULL;
    if (!s || !(s->bytes = malloc(bytes ? bytes : 1)))
        return;
    s->note = (uint16_t)note.n;
    s->label = (uint16_t)label.n;
    s->used = ++shapes->clock;
    memcpy(s->bytes, note.p, note.n);
    if (label.n)
        memcpy(s->bytes + note.n, label.p, label.n);
    if (!take_pieces(s, text, &found, s->bytes + note.n + label.n)) {
        forget(s);
        return;
    }
    find_runs(s);
    shapes->last = (uint8_t)(s - shapes->list);
}

void json_shapes_free(struct json_shapes *shapes)
{
    for (unsigned i = 0; i < JSON_SHAPES; i++)
        forget(&shapes->list[i]);
    *shapes = (struct json_shapes){.clock = 0};
}
