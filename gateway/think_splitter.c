/*
 * gateway/think_splitter.c - see think_splitter.h.
 */
#include "gateway/think_splitter.h"

static const struct span opening = SPAN_INIT("<think>"), closing = SPAN_INIT("</think>");

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static struct span skip_blanks(struct span text)
{
    while (text.n && is_blank(text.p[0]))
        text = span_from(text, 1);
    return text;
}

static int give(think_put *put, void *owner, bool reasoning, struct span text)
{
    return text.n ? put(owner, reasoning, text) : 0;
}

static int give_held(struct think_splitter *s, think_put *put, void *owner, bool reasoning)
{
    struct span held = span_of(s->held, s->n_held);
    s->n_held = 0;
    return give(put, owner, reasoning, held);
}

/* White space, then the opening tag: held until it is one, or is not. */
static int begin(struct think_splitter *s, struct span *piece, think_put *put, void *owner)
{
    while (piece->n) {
        struct span tag = skip_blanks(span_of(s->held, s->n_held));
        char c = piece->p[0];
        bool fits = (!tag.n && is_blank(c)) || c == opening.p[tag.n];
        if (!fits || s->n_held == sizeof s->held) {
            s->state = THINK_OVER;
            return give_held(s, put, owner, false);
        }
        s->held[s->n_held++] = c;
        *piece = span_from(*piece, 1);
        if (tag.n + 1 == opening.n && c == '>') {
            s->n_held = 0;
            s->state = THINK_OPENED;
            return 0;
        }
    }
    return 0;
}

/* Up to the closing tag. '<' stands only at its beginning: a mismatch starts over there. */
static int inside(struct think_splitter *s, struct span *piece, think_put *put, void *owner)
{
    while (piece->n) {
        if (!s->n_held) {
            ptrdiff_t at = span_find_char(*piece, closing.p[0]);
            struct span before = at < 0 ? *piece : span_first(*piece, (size_t)at);
            *piece = span_from(*piece, before.n);
            if (give(put, owner, true, before))
                return -1;
            if (!piece->n)
                return 0;
        }
        if (piece->p[0] != closing.p[s->n_held]) {
            if (give_held(s, put, owner, true))
                return -1;
            continue;
        }
        s->held[s->n_held++] = piece->p[0];
        *piece = span_from(*piece, 1);
        if (s->n_held == closing.n) {
            s->n_held = 0;
            s->state = THINK_CLOSED;
            return 0;
        }
    }
    return 0;
}

int think_splitter_pass(struct think_splitter *s, struct span piece, think_put *put, void *owner)
{
    int result = 0;
    while (piece.n && result == 0) {
        switch (s->state) {
        case THINK_BEGIN: result = begin(s, &piece, put, owner); break;
        case THINK_OPENED:
        case THINK_CLOSED: /* the tags stand on lines of their own */
            piece = skip_blanks(piece);
            if (piece.n)
                s->state = s->state == THINK_OPENED ? THINK_INSIDE : THINK_OVER;
            break;
        case THINK_INSIDE: result = inside(s, &piece, put, owner); break;
        case THINK_OVER: return put(owner, false, piece);
        }
    }
    return result;
}

int think_splitter_end(struct think_splitter *s, think_put *put, void *owner)
{
    return give_held(s, put, owner, s->state == THINK_INSIDE);
}
