/*
 * gateway/structured_filter.c - see structured_filter.h.
 *
 * The hard part is to know a bracket that begins the answer from one of a sentence: it is the first
 * of the text or of what a fence encloses, or it begins a line or follows a colon and has behind it
 * what JSON has there.
 */
#include "gateway/structured_filter.h"

enum { FENCE_LINE_MAX = 24 };

static const struct span byte_order_mark = SPAN_INIT("\xEF\xBB\xBF");
static const struct span wide_colon = SPAN_INIT("\xEF\xBC\x9A");

static bool is_white(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* ---- the end ---- */

size_t json_extent_pass(struct json_extent *x, struct span piece)
{
    for (size_t i = 0; i < piece.n; i++) {
        char c = piece.p[i];
        if (x->escaped) {
            x->escaped = false;
        } else if (x->in_string) {
            x->escaped = c == '\\';
            x->in_string = c != '"';
        } else if (c == '"') {
            x->in_string = true;
        } else if (c == '{' || c == '[') {
            x->depth++;
        } else if ((c == '}' || c == ']') && --x->depth <= 0) {
            return i + 1;
        }
    }
    return piece.n + 1;
}

/* ---- the beginning ---- */

enum before { BEFORE_SENTENCE, BEFORE_PERHAPS, BEFORE_SURELY };

static bool opens_fence(struct span line)
{
    if (!span_starts(line, SPAN("```")) && !span_starts(line, SPAN("~~~")))
        return false;
    for (size_t i = 3; i < line.n; i++) {
        char c = line.p[i];
        bool word = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                    strchr("_-+.", c) != NULL;
        if (!word)
            return false;
    }
    return true;
}

/* What stands before the place says about a bracket there. */
static enum before look_before(struct span text, size_t at)
{
    size_t end = at, from;
    bool new_line = false;
    while (end && is_white(text.p[end - 1]))
        new_line |= text.p[--end] == '\n';
    struct span before = span_first(text, end);
    if (!end || span_eq(before, byte_order_mark))
        return BEFORE_SURELY;
    for (from = end; from && end - from < FENCE_LINE_MAX && text.p[from - 1] != '\n';)
        from--;
    bool whole_line = !from || text.p[from - 1] == '\n';
    if (whole_line && opens_fence(span_trim(span_from(before, from))))
        return BEFORE_SURELY;
    bool colon = before.p[end - 1] == ':' || span_ends(before, wide_colon);
    return new_line || colon ? BEFORE_PERHAPS : BEFORE_SENTENCE;
}

/* Does what follows the bracket look like JSON? Not as long as nothing follows it. */
static bool looks_like_json(struct span text, size_t at)
{
    const char *object = "\"}", *array = "{[\"]-0123456789tfn";
    size_t next = at + 1;
    while (next < text.n && is_white(text.p[next]))
        next++;
    return next < text.n && text.p[next] &&
           strchr(text.p[at] == '{' ? object : array, text.p[next]);
}

size_t json_begins_at(struct span text, size_t from, bool may_be_array)
{
    for (size_t at = from; at < text.n; at++) {
        if (text.p[at] != '{' && !(may_be_array && text.p[at] == '['))
            continue;
        enum before before = look_before(text, at);
        if (before == BEFORE_SURELY || (before == BEFORE_PERHAPS && looks_like_json(text, at)))
            return at;
    }
    return text.n;
}

struct span structured_bare(struct span text)
{
    struct span bare = span_trim(text);
    if (span_starts(bare, byte_order_mark))
        bare = span_trim(span_from(bare, byte_order_mark.n));
    ptrdiff_t line = span_find_char(bare, '\n');
    if (line < 0 || !opens_fence(span_trim(span_first(bare, (size_t)line))))
        return bare;
    struct span mark = span_first(bare, 3), inside = span_from(bare, (size_t)line);
    if (span_ends(inside, mark))
        inside = span_first(inside, inside.n - mark.n);
    return span_trim(inside);
}

/* ---- a stream ---- */

static int put_some(structured_put *put, void *owner, struct span text)
{
    return text.n ? put(owner, text) : 0;
}

static int put_json(struct structured_filter *f, struct span piece, structured_put *put,
                    void *owner)
{
    size_t end = json_extent_pass(&f->extent, piece);
    if (end <= piece.n)
        f->state = STRUCTURED_OVER;
    return put_some(put, owner, span_first(piece, end));
}

/* Takes the beginning of the piece into what waits, as far as there is room, and looks at it. */
static int pass_lead(struct structured_filter *f, struct span *piece, structured_put *put,
                     void *owner)
{
    struct span taken = span_first(*piece, sizeof f->lead - f->n_lead);
    memcpy(f->lead + f->n_lead, taken.p, taken.n);
    f->n_lead += taken.n;
    *piece = span_from(*piece, taken.n);
    struct span lead = span_of(f->lead, f->n_lead);
    size_t at = json_begins_at(lead, 0, f->may_be_array);
    if (at < lead.n) {
        f->state = STRUCTURED_JSON;
        return put_json(f, span_from(lead, at), put, owner);
    }
    if (f->n_lead < sizeof f->lead)
        return 0;
    f->state = STRUCTURED_WORDS;
    return put_some(put, owner, lead);
}

int structured_filter_pass(struct structured_filter *f, struct span piece, structured_put *put,
                           void *owner)
{
    if (f->state == STRUCTURED_LEAD && piece.n) {
        int error = pass_lead(f, &piece, put, owner);
        if (error)
            return error;
    }
    if (f->state == STRUCTURED_JSON)
        return put_json(f, piece, put, owner);
    return f->state == STRUCTURED_WORDS ? put_some(put, owner, piece) : 0;
}

int structured_filter_end(struct structured_filter *f, structured_put *put, void *owner)
{
    if (f->state != STRUCTURED_LEAD)
        return 0;
    f->state = STRUCTURED_OVER;
    return put_some(put, owner, structured_bare(span_of(f->lead, f->n_lead)));
}
