/*
 * base/json_template.c - see json_template.h. The hot part is json_template_match: comparisons of
 * memory, and a look at the string.
 */
#include "base/json_template.h"

#include "base/json.h"
#include "base/json_inside.h"
#include "base/json_raw.h"

enum { PATIENCE_MAX = 63 };

static const char *pass_hole(const struct json_template *t, unsigned i, const char *p,
                             const char *end, struct json_like *like)
{
    struct buffer room = {.p = like->room, .cap = sizeof like->room, .limit = sizeof like->room};
    if (i == t->wanted)
        return json_inside_read(p, end, &room, &like->string);
    return t->numbers >> i & 1 ? json_natural_pass(p, end) : json_inside_pass(p, end);
}

/* ---- matching ---- */

static bool fits(const struct json_template *t, struct span label, struct span text,
                 struct json_like *like)
{
    if (!t->holes || !text.n || !span_eq(label, span_of(t->bytes, t->label)))
        return false;
    const char *p = text.p, *end = p + text.n, *bytes = t->bytes + t->label;
    for (unsigned i = 0;; i++) {
        size_t n = t->pieces[i];
        if ((size_t)(end - p) < n || memcmp(p, bytes, n) != 0)
            return false;
        p += n;
        bytes += n;
        if (i == t->holes)
            return p == end;
        p = pass_hole(t, i, p, end, like);
        if (!p)
            return false;
    }
}

bool json_template_match(struct json_template *t, struct span label, struct span text,
                         struct json_like *like)
{
    if (!fits(t, label, text, like)) {
        t->holes = 0;
        return false;
    }
    t->matched = true;
    like->meaning = t->meaning;
    return true;
}

void json_template_forget(struct json_template *t)
{
    t->holes = t->patience = t->skips = 0;
    t->matched = false;
}

/* ---- learning ---- */

static struct span find(struct span text, const char *const *path)
{
    for (; *path; path++) {
        if (**path) {
            if (!json_raw_is_object(text))
                return span_of(NULL, 0);
            text = json_raw_get(text, *path);
            continue;
        }
        struct json_raw_iter it = json_raw_each(text);
        if (!json_raw_is_array(text) || json_raw_count(text) != 1 || !json_raw_next(&it))
            return span_of(NULL, 0);
        text = it.value;
    }
    return text;
}

static bool is_text(struct span raw) { return raw.n >= 2 && json_raw_is_text(raw); }

/* Strings without their quotes: those are part of what stands around. */
static struct span inside(struct span raw)
{
    return is_text(raw) ? span_of(raw.p + 1, raw.n - 2) : raw;
}

struct holes {
    struct span at[JSON_TEMPLATE_HOLES]; /* in the order of the text */
    unsigned n;
};

static void add_hole(struct holes *h, struct span hole)
{
    unsigned i = h->n++;
    for (; i && h->at[i - 1].p > hole.p; i--)
        h->at[i] = h->at[i - 1];
    h->at[i] = hole;
}

static void find_holes(struct holes *h, struct span text, struct span wanted,
                       const char *const *ignored)
{
    add_hole(h, inside(wanted));
    for (; ignored && *ignored && h->n < JSON_TEMPLATE_HOLES; ignored++) {
        struct span raw = json_raw_get(text, *ignored);
        bool number = raw.n && ascii_is_digit(raw.p[0]);
        if (raw.p != wanted.p && (is_text(raw) || number))
            add_hole(h, inside(raw));
    }
}

static bool make_room(struct json_template *t, struct arena *arena, size_t n)
{
    if (n <= t->room)
        return true;
    size_t room = 2 * (size_t)t->room > n ? 2 * (size_t)t->room : n;
    char *bytes = arena_alloc(arena, room);
    if (!bytes)
        return false;
    t->bytes = bytes;
    t->room = (uint16_t)room;
    return true;
}

/* The label and the pieces go into the room, which is there. False when a piece holds an escape. */
static bool take_pieces(struct json_template *t, struct span label, struct span text,
                        const struct holes *h, struct span wanted)
{
    char *to = t->bytes;
    const char *from = text.p;
    t->label = (uint16_t)label.n;
    t->numbers = 0;
    if (label.n)
        memcpy(to, label.p, label.n);
    to += label.n;
    for (unsigned i = 0; i <= h->n; i++) {
        const char *stop = i < h->n ? h->at[i].p : text.p + text.n;
        struct span piece = span_of(from, (size_t)(stop - from));
        if (span_find_char(piece, '\\') >= 0)
            return false;
        t->pieces[i] = (uint16_t)piece.n;
        memcpy(to, piece.p, piece.n);
        to += piece.n;
        if (i == h->n)
            break;
        from = stop + h->at[i].n;
        if (stop == wanted.p + 1)
            t->wanted = (uint8_t)i;
        else if (stop[-1] != '"')
            t->numbers |= (uint8_t)(1U << i);
    }
    return true;
}

/* Learning costs more than a match saves: where none ever comes of it, it is tried at longer and
 * longer intervals. */
static bool is_worth_it(struct json_template *t)
{
    if (t->matched)
        t->patience = t->skips = 0;
    if (t->skips) {
        t->skips--;
        return false;
    }
    t->matched = false;
    t->skips = t->patience;
    t->patience = t->patience < PATIENCE_MAX ? (uint8_t)(2 * t->patience + 1) : PATIENCE_MAX;
    return true;
}

void json_template_learn(struct json_template *t, struct arena *arena, struct span label,
                         struct span text, const char *const *path, const char *const *ignored,
                         int meaning)
{
    struct holes holes = {.n = 0};
    struct json_like like;
    t->holes = 0;
    if (!is_worth_it(t) || !json_valid_utf8(text))
        return;
    struct span wanted = find(text, path);
    if (!is_text(wanted))
        return;
    /* Holes cost a look each: only where all of what stands around was not the same. */
    find_holes(&holes, text, wanted, t->skips ? ignored : NULL);
    size_t n = label.n + text.n;
    for (unsigned i = 0; i < holes.n; i++)
        n -= holes.at[i].n;
    if (n > JSON_TEMPLATE_BYTES || !make_room(t, arena, n) ||
        !take_pieces(t, label, text, &holes, wanted))
        return;
    t->meaning = (int16_t)meaning;
    t->holes = (uint8_t)holes.n;
    if (!fits(t, label, text, &like)) /* a negative number, say: it would never match */
        t->holes = 0;
}
