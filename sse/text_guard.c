/*
 * sse/text_guard.c - see text_guard.h.
 *
 * One decoder walks UTF-8 and, beside it, the three-byte surrogates of WTF-8 (ED A0..BF xx). Clean
 * pieces are recognised by the same walk and passed on as they are.
 */
#include "sse/text_guard.h"

enum sequence { SEQUENCE_GOOD, SEQUENCE_BAD, SEQUENCE_TORN, SEQUENCE_HIGH, SEQUENCE_LOW };

/* Looks at the sequence at p; *length = its bytes (BAD: of the maximal ill-formed subpart; TORN:
 * what there is). */
static enum sequence classify(const unsigned char *p, size_t n, size_t *length)
{
    unsigned char c = p[0], low = 0x80, high = 0xBF;
    size_t need;
    *length = 1;
    if (c < 0x80)
        return SEQUENCE_GOOD;
    if (c >= 0xC2 && c <= 0xDF) {
        need = 2;
    } else if (c >= 0xE0 && c <= 0xEF) {
        need = 3;
        low = c == 0xE0 ? 0xA0 : 0x80; /* ED A0..BF: a surrogate, looked at below */
    } else if (c >= 0xF0 && c <= 0xF4) {
        need = 4;
        low = c == 0xF0 ? 0x90 : 0x80;
        high = c == 0xF4 ? 0x8F : 0xBF;
    } else {
        return SEQUENCE_BAD;
    }
    for (size_t i = 1; i < need; i++) {
        *length = i;
        if (i >= n)
            return SEQUENCE_TORN;
        if (p[i] < low || p[i] > high)
            return SEQUENCE_BAD;
        low = 0x80;
        high = 0xBF;
    }
    *length = need;
    if (c == 0xED && p[1] >= 0xB0)
        return SEQUENCE_LOW;
    if (c == 0xED && p[1] >= 0xA0)
        return SEQUENCE_HIGH;
    return SEQUENCE_GOOD;
}

/* Clean ASCII runs, eight bytes at a time. */
static size_t ascii_run(const unsigned char *p, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        if (word & 0x8080808080808080ull)
            break;
    }
    while (i < n && p[i] < 0x80)
        i++;
    return i;
}

/* Bytes from the start that are whole good characters. */
static size_t good_run(struct span s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0, length;
    while (i < s.n) {
        i += ascii_run(p + i, s.n - i);
        if (i == s.n || classify(p + i, s.n - i, &length) != SEQUENCE_GOOD)
            break;
        i += length;
    }
    return i;
}

bool utf8_valid(struct span s) { return good_run(s) == s.n; }

static unsigned surrogate(const unsigned char *p)
{
    return 0xD000u | (unsigned)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
}

static void write_pair(struct buffer *out, const unsigned char *high, const unsigned char *low)
{
    unsigned c = 0x10000 + ((surrogate(high) - 0xD800) << 10) + (surrogate(low) - 0xDC00);
    char text[4] = {(char)(0xF0 | c >> 18), (char)(0x80 | (c >> 12 & 63)),
                    (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))};
    buffer_append(out, span_of(text, 4));
}

/* Everything of `s` goes to `out` repaired; a tail that the next piece may complete goes to the
 * guard. */
static void repair(struct text_guard *g, struct span s, struct buffer *out)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0, length, second;
    while (i < s.n) {
        size_t run = good_run(span_from(s, i));
        buffer_append(out, span_of(s.p + i, run));
        i += run;
        if (i == s.n)
            return;
        switch (classify(p + i, s.n - i, &length)) {
        case SEQUENCE_HIGH: {
            size_t left = s.n - i - 3;
            enum sequence next = left ? classify(p + i + 3, left, &second) : SEQUENCE_TORN;
            if (next == SEQUENCE_LOW) {
                write_pair(out, p + i, p + i + 3);
                i += 6;
                continue;
            }
            /* Alone so far: a low half may follow in the next piece, whole or torn after ED or ED
             * Bx. */
            if (left == 0) {
                memcpy(g->held, p + i, 3);
                g->n_held = 3;
                return;
            }
            if (next == SEQUENCE_TORN && p[i + 3] == 0xED && left < 3) {
                memcpy(g->held, p + i, 3 + left);
                g->n_held = (unsigned char)(3 + left);
                return;
            }
            break;
        }
        case SEQUENCE_TORN:
            memcpy(g->held, p + i, length);
            g->n_held = (unsigned char)length;
            return;
        default: break;
        }
        buffer_append(out, SPAN("\xEF\xBF\xBD"));
        i += length;
    }
}

int text_guard_pass(struct text_guard *g, struct span piece, struct buffer *scratch,
                    struct span *out)
{
    if (g->n_held == 0 && good_run(piece) == piece.n) {
        *out = piece;
        return 0;
    }
    *out = span_of(NULL, 0);
    if (piece.n == 0)
        return 0;
    buffer_clear(scratch);
    if (g->n_held) { /* rare: join first, so that repair sees what belongs together */
        struct buffer joined;
        buffer_init(&joined, piece.n + sizeof g->held);
        buffer_append(&joined, span_of((const char *)g->held, g->n_held));
        buffer_append(&joined, piece);
        g->n_held = 0;
        if (!joined.error)
            repair(g, buffer_span(&joined), scratch);
        else
            scratch->error = joined.error;
        buffer_free(&joined);
    } else {
        repair(g, piece, scratch);
    }
    *out = buffer_span(scratch);
    return scratch->error;
}

int text_guard_end(struct text_guard *g, struct buffer *scratch, struct span *out)
{
    /* Half a pair, or a torn character, or the one behind the other. */
    *out = g->n_held == 0  ? span_of(NULL, 0)
           : g->n_held > 3 ? SPAN("\xEF\xBF\xBD\xEF\xBF\xBD")
                           : SPAN("\xEF\xBF\xBD");
    g->n_held = 0;
    return 0;
}

struct span utf8_repair(struct span text, struct buffer *scratch)
{
    struct text_guard g = {0};
    struct span whole, rest;
    if (text_guard_pass(&g, text, scratch, &whole) || !g.n_held)
        return whole;
    /* A torn tail: then `whole` is the scratch's content. */
    text_guard_end(&g, NULL, &rest);
    buffer_append(scratch, rest);
    return buffer_span(scratch);
}

void json_member_repaired(struct json_writer *w, const char *key, struct span text)
{
    struct buffer scratch;
    buffer_init(&scratch, 3 * text.n + 3);
    json_member(w, key, utf8_repair(text, &scratch));
    if (scratch.error && !w->out->error)
        w->out->error = scratch.error;
    buffer_free(&scratch);
}
