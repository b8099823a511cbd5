/*
 * adapters/support_citations.c - the sources of an answer, and the marks in its text that stand for
 * them (adapters/support.h).
 *
 * The hard part is that a mark may be cut anywhere, also inside a character: a suffix that could
 * begin one is held back until what follows tells.
 */
#include "adapters/support.h"

#define MARK_OPEN  "\xE3\x80\x90" /* 【 */
#define MARK_CLOSE "\xE3\x80\x91" /* 】 */

enum { MARK_FIELD_MAX = 24 };

/* ---- sources ---- */

/* Citations do not pass the text guard: lone surrogates are mended here. */
static struct span valid_copy(struct arena *arena, struct span text)
{
    struct span copy = arena_dup(arena, text);
    if (copy.p)
        mend_lone_surrogates((char *)(uintptr_t)copy.p, copy.n);
    return copy;
}

static bool is_known(const struct sources *s, struct span key, struct span url)
{
    for (size_t i = 0; i < s->n; i++) {
        if (key.n ? span_eq(s->list[i].key, key)
                  : span_eq(s->list[i].url, url) && !s->list[i].key.n)
            return true;
    }
    return false;
}

static bool make_room(struct arena *arena, struct sources *s)
{
    if (s->n < s->capacity)
        return true;
    size_t capacity = s->capacity ? s->capacity * 2 : 8;
    struct source *grown = arena_alloc(arena, capacity * sizeof *grown);
    if (!grown)
        return false;
    if (s->n)
        memcpy(grown, s->list, s->n * sizeof *grown);
    s->list = grown;
    s->capacity = capacity;
    return true;
}

bool sources_add(struct arena *arena, struct sources *s, struct span key, struct span title,
                 struct span url)
{
    if (!url.n || key.n > SOURCE_BYTES_MAX || url.n > SOURCE_BYTES_MAX || s->n >= SOURCES_MAX ||
        is_known(s, key, url) || !make_room(arena, s))
        return false;
    if (title.n > SOURCE_BYTES_MAX)
        title = SPAN("");
    struct source source = {arena_dup(arena, key), valid_copy(arena, title), valid_copy(arena, url),
                            0};
    if (!source.key.p || !source.title.p || !source.url.p)
        return false;
    s->list[s->n++] = source;
    return true;
}

/* Was the url of source `at` cited before it? Those with numbers come first. */
static bool was_cited(const struct sources *s, size_t at)
{
    const struct source *source = &s->list[at];
    for (size_t i = 0; i < s->n; i++) {
        const struct source *other = &s->list[i];
        bool before = source->number ? other->number && other->number < source->number
                                     : other->number || (i < at && !other->key.n);
        if (before && span_eq(other->url, source->url))
            return true;
    }
    return false;
}

static int cite(const struct sources *s, size_t at, const struct delta_sink *out)
{
    if (was_cited(s, at))
        return 0;
    return delta_citation(out, 0, s->list[at].url, s->list[at].title);
}

int sources_cite(const struct sources *s, const struct delta_sink *out)
{
    int bad = 0;
    for (int number = 1; !bad && number <= s->used; number++) {
        for (size_t i = 0; !bad && i < s->n; i++) {
            if (s->list[i].number == number)
                bad = cite(s, i, out);
        }
    }
    for (size_t i = 0; !bad && i < s->n; i++) {
        if (!s->list[i].key.n)
            bad = cite(s, i, out);
    }
    return bad;
}

/* ---- marks ---- */

enum mark { MARK_NONE, MARK_WHOLE, MARK_BEGUN };

static size_t run_of(struct span s, size_t at, bool digits)
{
    size_t n = 0;
    while (at + n < s.n) {
        if (!(digits ? ascii_is_digit : ascii_is_letter)(s.p[at + n]))
            break;
        n++;
    }
    return n;
}

/* s begins with the first byte of MARK_OPEN: is it 【turn<digits><letters><digits>】, or its
 * beginning? */
static enum mark read_mark(struct span s, struct span *key, size_t *length)
{
    const struct span opening = SPAN(MARK_OPEN "turn"), closing = SPAN(MARK_CLOSE);
    if (s.n < opening.n)
        return span_starts(opening, s) ? MARK_BEGUN : MARK_NONE;
    if (!span_starts(s, opening))
        return MARK_NONE;
    size_t at = opening.n;
    for (int field = 0; field < 3; field++) {
        size_t n = run_of(s, at, field != 1);
        if (n > MARK_FIELD_MAX)
            return MARK_NONE;
        at += n;
        if (at == s.n)
            return MARK_BEGUN;
        if (n == 0)
            return MARK_NONE;
    }
    struct span rest = span_from(s, at);
    if (!span_starts(rest, closing))
        return span_starts(closing, rest) ? MARK_BEGUN : MARK_NONE;
    *key = span_of(s.p + 3, at - 3);
    *length = at + closing.n;
    return MARK_WHOLE;
}

void markdown_url(struct buffer *out, struct span url)
{
    for (size_t i = 0; i < url.n; i++) {
        struct span byte = span_of(url.p + i, 1);
        if (byte.p[0] == ')')
            buffer_append(out, SPAN("%29"));
        else if ((unsigned char)byte.p[0] <= ' ')
            percent_encode(out, byte);
        else
            buffer_append(out, byte);
    }
}

void markdown_picture(struct buffer *out, struct span url)
{
    buffer_append(out, SPAN("![]("));
    markdown_url(out, url);
    buffer_append(out, SPAN(")\n"));
}

static void write_link(struct sources *s, struct span key, struct buffer *out)
{
    for (size_t i = 0; i < s->n; i++) {
        struct source *source = &s->list[i];
        if (!span_eq(source->key, key))
            continue;
        if (!source->number)
            source->number = ++s->used;
        buffer_printf(out, " [%d](", source->number);
        markdown_url(out, source->url);
        buffer_char(out, ')');
        return;
    }
}

void mark_filter_init(struct mark_filter *f, size_t limit)
{
    buffer_init(&f->held, limit);
    buffer_init(&f->joined, limit);
}

void mark_filter_free(struct mark_filter *f)
{
    buffer_free(&f->held);
    buffer_free(&f->joined);
}

bool mark_filter_passes(const struct mark_filter *f, struct span text)
{
    return !f->held.n && (!text.n || !memchr(text.p, (unsigned char)MARK_OPEN[0], text.n));
}

void mark_filter_feed(struct mark_filter *f, struct sources *sources, struct span text,
                      struct buffer *out)
{
    if (f->held.n && text.n) {
        buffer_clear(&f->joined);
        buffer_append(&f->joined, buffer_span(&f->held));
        buffer_append(&f->joined, text);
        buffer_clear(&f->held);
        text = buffer_span(&f->joined);
    }
    while (text.n) {
        const char *at = memchr(text.p, (unsigned char)MARK_OPEN[0], text.n);
        size_t before = at ? (size_t)(at - text.p) : text.n, length = 1;
        struct span key;
        buffer_append(out, span_first(text, before));
        text = span_from(text, before);
        if (!text.n)
            break;
        enum mark mark = read_mark(text, &key, &length);
        if (mark == MARK_BEGUN) {
            buffer_append(&f->held, text);
            break;
        }
        if (mark == MARK_NONE)
            buffer_append(out, span_first(text, 1));
        else if (sources)
            write_link(sources, key, out);
        text = span_from(text, length);
    }
    if (!out->error) /* who looks at `out` sees it all */
        out->error = f->held.error ? f->held.error : f->joined.error;
}

void mark_filter_flush(struct mark_filter *f, struct buffer *out)
{
    buffer_append(out, buffer_span(&f->held));
    buffer_clear(&f->held);
}
