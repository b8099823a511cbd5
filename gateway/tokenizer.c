/*
 * gateway/tokenizer.c - see tokenizer.h.
 *
 * Most pieces are one token: a hash of their bytes finds it. The others are merged with a heap of
 * pairs, so that a piece of n bytes costs n log n. Two short cuts take most of a text: where ASCII
 * alone decides, a piece's end is found without the classes of all characters, and the counts of
 * short pieces that were met lately are remembered.
 */
#include "gateway/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum {
    UPPER = 1, /* may stand in a word's first, upper-case part */
    LOWER = 2,
    LETTER = 4,
    NUMBER = 8,
    SPACE = 16,

    BLOCKS = 0x1100,
    NONE = 0xFFFFFF,  /* no token */
    END = UINT16_MAX, /* no part */

    GLANCE_MAX = 64,
    KNOWN_BITS = 12,
    KNOWN_PIECE_MAX = 15
};

/* What a byte is when ASCII alone decides. */
enum glance_kind { FAR, UPPER_CASE, LOWER_CASE, DIGIT, BLANK, SIGN };

/* A token-to-be of the piece being merged: bytes [its index, + n). */
struct bpe_part {
    uint16_t n, prev, next;
};

/* A pair that may be merged: the parts at `at` and behind it, `n` bytes together when it was seen.
 */
struct bpe_pair {
    uint32_t rank;
    uint16_t at, n;
};

/* The count of a short piece: its first bytes and its last (those overlap, so that any length
 * fits), and in the last ones' lowest byte its length and the count, four bits each. Empty: zero.
 */
struct bpe_known {
    uint64_t head, tail;
};

struct tokenizer {
    const uint32_t *starts, *slots, *blocks;
    const unsigned char *classes;
    const char *bytes;
    uint32_t n_tokens, n_slots, n_blocks, n_bytes;

    struct bpe_part parts[TOKENIZER_PIECE_MAX];
    struct bpe_pair heap[3 * TOKENIZER_PIECE_MAX];
    size_t n_heap;

    unsigned char kinds[256]; /* enum glance_kind */
    struct bpe_known known[1 << KNOWN_BITS];
};

/* ---- the table ---- */

static bool is_little_endian(void)
{
    const uint16_t one = 1;
    return *(const char *)&one == 1;
}

/* Everything that a look-up trusts later. */
static bool is_sound(const struct tokenizer *t)
{
    if (!t->n_slots || (t->n_slots & (t->n_slots - 1)) || t->n_tokens >= t->n_slots ||
        t->starts[t->n_tokens] != t->n_bytes)
        return false;
    for (size_t i = 0; i < t->n_tokens; i++) {
        if (t->starts[i] > t->starts[i + 1])
            return false;
    }
    bool free_slot = false; /* where a search ends */
    for (size_t i = 0; i < t->n_slots; i++) {
        if (t->slots[i] > t->n_tokens)
            return false;
        free_slot |= !t->slots[i];
    }
    if (!free_slot)
        return false;
    for (size_t i = 0; i < BLOCKS; i++) {
        if (t->blocks[i] >= t->n_blocks)
            return false;
    }
    return true;
}

/* A byte of another class than those that ASCII has is FAR, as all beyond ASCII are. */
static enum glance_kind kind_of(unsigned bits)
{
    switch (bits) {
    case 0: return SIGN;
    case UPPER | LETTER: return UPPER_CASE;
    case LOWER | LETTER: return LOWER_CASE;
    case NUMBER: return DIGIT;
    case SPACE: return BLANK;
    default: return FAR;
    }
}

struct tokenizer *tokenizer_create(struct span table)
{
    static const char magic[] = "DGRANKS1";
    uint32_t head[4];
    size_t at = sizeof magic - 1 + sizeof head;
    if (!is_little_endian() || table.n < at || memcmp(table.p, magic, sizeof magic - 1) != 0 ||
        (uintptr_t)table.p % sizeof(uint32_t))
        return NULL;
    memcpy(head, table.p + sizeof magic - 1, sizeof head);
    uint64_t words = (uint64_t)head[0] + 1 + head[1] + BLOCKS;
    if (at + words * 4 + (uint64_t)head[2] * 256 + head[3] != table.n)
        return NULL;

    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->n_tokens = head[0];
    t->n_slots = head[1];
    t->n_blocks = head[2];
    t->n_bytes = head[3];
    t->starts = (const uint32_t *)(const void *)(table.p + at);
    t->slots = t->starts + t->n_tokens + 1;
    t->blocks = t->slots + t->n_slots;
    t->classes = (const unsigned char *)(t->blocks + BLOCKS);
    t->bytes = (const char *)t->classes + (size_t)t->n_blocks * 256;
    if (!is_sound(t)) {
        free(t);
        return NULL;
    }
    for (size_t c = 0; c < 0x80; c++)
        t->kinds[c] = (unsigned char)kind_of(t->classes[t->blocks[0] * 256 + c]);
    return t;
}

void tokenizer_destroy(struct tokenizer *t) { free(t); }

/* The rank of a token, NONE when these bytes are none. */
static uint32_t rank_of(const struct tokenizer *t, const char *p, size_t n)
{
    uint32_t hash = 0x811C9DC5;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (unsigned char)p[i]) * 0x01000193;
    /* Ends: there is a free slot. */
    for (uint32_t at = hash & (t->n_slots - 1); t->slots[at]; at = (at + 1) & (t->n_slots - 1)) {
        uint32_t rank = t->slots[at] - 1;
        if (t->starts[rank + 1] - t->starts[rank] == n &&
            memcmp(t->bytes + t->starts[rank], p, n) == 0)
            return rank;
    }
    return NONE;
}

/* ---- the pattern ---- */

/* A text being matched; `open` is set when a look went beyond its end. */
struct scan {
    const struct tokenizer *t;
    struct span text;
    bool open;
};

/* Class bits of the character at `at`, and its length; at the end 0 and length 0. */
static unsigned class_at(struct scan *s, size_t at, size_t *n)
{
    *n = 0;
    if (at >= s->text.n) {
        s->open = true;
        return 0;
    }
    const unsigned char *p = (const unsigned char *)s->text.p + at;
    size_t left = s->text.n - at;
    size_t need = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    uint32_t code = p[0];
    *n = 1;
    if (need < 2 || p[0] > 0xF4)
        return code < 0x80 ? s->t->classes[s->t->blocks[0] * 256 + code] : 0;
    code &= 0x7Fu >> need;
    for (size_t i = 1; i < need; i++) {
        if (i >= left) { /* torn */
            s->open = true;
            return 0;
        }
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3F);
    }
    if (code > 0x10FFFF)
        return 0;
    *n = need;
    return s->t->classes[s->t->blocks[code >> 8] * 256 + (code & 0xFF)];
}

/* The byte there in lower case, '\0' at the end. */
static char letter_at(struct scan *s, size_t at)
{
    if (at >= s->text.n) {
        s->open = true;
        return '\0';
    }
    char c = s->text.p[at];
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Behind a run of characters that have one of the bits. */
static size_t run_of(struct scan *s, size_t at, unsigned bits)
{
    size_t n;
    while (at < TOKENIZER_PIECE_MAX && (class_at(s, at, &n) & bits) && n)
        at += n;
    return at;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)? */
static size_t contraction(struct scan *s, size_t at)
{
    if (letter_at(s, at) != '\'')
        return at;
    char a = letter_at(s, at + 1);
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return at + 2;
    if (a != 'r' && a != 'v' && a != 'l')
        return at;
    char b = letter_at(s, at + 2);
    return (a == 'l' && b == 'l') || (a != 'l' && b == 'e') ? at + 3 : at;
}

/* Upper* Lower+: 0 when there is no such word. The upper run is given back until a lower character
 * follows. */
static size_t word_with_lower(struct scan *s, size_t at)
{
    size_t lower_end = 0, n;
    size_t i = at;
    unsigned bits;
    while (i < TOKENIZER_PIECE_MAX && ((bits = class_at(s, i, &n)) & UPPER) && n) {
        i += n;
        if (bits & LOWER)
            lower_end = i;
    }
    size_t end = run_of(s, i, LOWER);
    return end > i ? end : lower_end;
}

/* Upper+ (no lower character follows: that would have been the word above). */
static size_t word_of_upper(struct scan *s, size_t at)
{
    size_t end = run_of(s, at, UPPER);
    return end > at ? end : 0;
}

/* Both kinds of words, each with and without a sign before it. */
static size_t word(struct scan *s)
{
    size_t n, end = 0;
    unsigned first = class_at(s, 0, &n);
    char c = s->text.p[0];
    bool sign = !(first & (LETTER | NUMBER)) && c != '\r' && c != '\n';
    if (!sign && !(first & LETTER))
        return 0;
    if (sign)
        end = word_with_lower(s, n);
    if (!end && (first & (UPPER | LOWER)))
        end = word_with_lower(s, 0);
    if (!end && sign)
        end = word_of_upper(s, n);
    if (!end && (first & UPPER))
        end = word_of_upper(s, 0);
    return end ? contraction(s, end) : 0;
}

/* \p{N}{1,3} */
static size_t number(struct scan *s)
{
    size_t at = 0, n;
    for (int i = 0; i < 3 && (class_at(s, at, &n) & NUMBER); i++)
        at += n;
    return at;
}

/*  ?[^\s\p{L}\p{N}]+[\r\n/]* */
static size_t signs(struct scan *s)
{
    size_t begin = s->text.p[0] == ' ' ? 1 : 0, at = begin, n;
    while (at < TOKENIZER_PIECE_MAX && !(class_at(s, at, &n) & (SPACE | LETTER | NUMBER)) && n)
        at += n;
    if (at == begin)
        return 0;
    char c;
    while (at < TOKENIZER_PIECE_MAX && ((c = letter_at(s, at)) == '\r' || c == '\n' || c == '/'))
        at++;
    return at;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t white_space(struct scan *s)
{
    size_t at = 0, last = 0, lines = 0, n;
    while (at < TOKENIZER_PIECE_MAX && (class_at(s, at, &n) & SPACE) && n) {
        last = at;
        at += n;
        if (s->text.p[last] == '\r' || s->text.p[last] == '\n')
            lines = at;
    }
    if (lines)
        return lines;
    return at == s->text.n || last == 0 ? at : last; /* the last one belongs to what follows */
}

/* ---- the same pattern where ASCII alone decides ----
 *
 * `n` bytes are looked at. A length, or 0: look closely, since the decision lies beyond ASCII or
 * behind those bytes. */

static size_t glance_run(const struct tokenizer *t, const char *p, size_t n, size_t at,
                         enum glance_kind kind)
{
    while (at < n && t->kinds[(unsigned char)p[at]] == kind)
        at++;
    return at;
}

/* A word, from `begin` on, behind its sign if it has one; `begin` where there is none. */
static size_t glance_word(const struct tokenizer *t, const char *p, size_t n, size_t begin)
{
    size_t at = glance_run(t, p, n, begin, UPPER_CASE);
    at = glance_run(t, p, n, at, LOWER_CASE);
    if (at == n || t->kinds[(unsigned char)p[at]] == FAR)
        return 0;
    return at > begin && p[at] == '\'' ? 0 : at; /* perhaps a contraction */
}

static size_t glance_number(const struct tokenizer *t, const char *p, size_t n)
{
    size_t at = glance_run(t, p, n < 3 ? n : 3, 0, DIGIT);
    return at < 3 && (at == n || t->kinds[(unsigned char)p[at]] == FAR) ? 0 : at;
}

/* `begin` where there are no signs. */
static size_t glance_signs(const struct tokenizer *t, const char *p, size_t n, size_t begin)
{
    size_t at = glance_run(t, p, n, begin, SIGN);
    if (at == n || t->kinds[(unsigned char)p[at]] == FAR)
        return 0;
    if (at > begin) {
        while (at < n && (p[at] == '\r' || p[at] == '\n' || p[at] == '/'))
            at++;
    }
    return at < n ? at : 0;
}

static size_t glance_white_space(const struct tokenizer *t, const char *p, size_t n)
{
    size_t at = glance_run(t, p, n, 0, BLANK), lines = at;
    if (at == n || t->kinds[(unsigned char)p[at]] == FAR)
        return 0;
    while (lines && p[lines - 1] != '\r' && p[lines - 1] != '\n')
        lines--;
    return lines ? lines : at > 1 ? at - 1 : at;
}

static size_t glance(const struct tokenizer *t, struct span text)
{
    const char *p = text.p;
    size_t n = text.n < GLANCE_MAX ? text.n : GLANCE_MAX;
    enum glance_kind first = t->kinds[(unsigned char)p[0]];
    if (first == FAR)
        return 0;
    if (first == DIGIT)
        return glance_number(t, p, n);
    bool line = p[0] == '\r' || p[0] == '\n';
    if (!line) {
        size_t begin = first == SIGN || first == BLANK;
        size_t end = glance_word(t, p, n, begin);
        if (end != begin)
            return end;
    }
    size_t begin = p[0] == ' ';
    if (first == SIGN || begin) {
        size_t end = glance_signs(t, p, n, begin);
        if (end != begin)
            return end;
    }
    return first == BLANK ? glance_white_space(t, p, n) : 0;
}

size_t tokenizer_piece(const struct tokenizer *t, struct span text, bool *open)
{
    struct scan s = {t, text, false};
    size_t n;
    size_t end = glance(t, text);
    if (end) {
        *open = false;
        return end;
    }
    end = word(&s);
    if (!end)
        end = number(&s);
    if (!end)
        end = signs(&s);
    if (!end)
        end = white_space(&s);
    if (!end) /* what is no character */
        end = 1;
    /* Cut at a character's border. */
    if (end > TOKENIZER_PIECE_MAX) {
        for (end = 0; class_at(&s, end, &n), end + n <= TOKENIZER_PIECE_MAX;)
            end += n;
    }
    *open = s.open;
    return end;
}

/* ---- merging ---- */

static bool before(const struct bpe_pair *a, const struct bpe_pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(struct tokenizer *t, struct bpe_pair pair)
{
    size_t i = t->n_heap++;
    while (i && before(&pair, &t->heap[(i - 1) / 2])) {
        t->heap[i] = t->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    t->heap[i] = pair;
}

static struct bpe_pair heap_pop(struct tokenizer *t)
{
    struct bpe_pair top = t->heap[0], moved = t->heap[--t->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->n_heap)
            break;
        if (child + 1 < t->n_heap && before(&t->heap[child + 1], &t->heap[child]))
            child++;
        if (!before(&t->heap[child], &moved))
            break;
        t->heap[i] = t->heap[child];
        i = child;
    }
    t->heap[i] = moved;
    return top;
}

static void offer_pair(struct tokenizer *t, struct span piece, uint16_t at)
{
    const struct bpe_part *a = &t->parts[at];
    if (a->next == END)
        return;
    uint16_t n = (uint16_t)(a->n + t->parts[a->next].n);
    uint32_t rank = rank_of(t, piece.p + at, n);
    if (rank != NONE)
        heap_push(t, (struct bpe_pair){rank, at, n});
}

/* Leaves the tokens as the chain of parts from 0 on. */
static void merge(struct tokenizer *t, struct span piece)
{
    t->n_heap = 0;
    for (size_t i = 0; i < piece.n; i++)
        t->parts[i] = (struct bpe_part){1, i ? (uint16_t)(i - 1) : END,
                                        i + 1 < piece.n ? (uint16_t)(i + 1) : END};
    for (size_t i = 0; i + 1 < piece.n; i++)
        offer_pair(t, piece, (uint16_t)i);
    /* Each merge takes a part away and offers two pairs: the heap's room is enough. */
    while (t->n_heap) {
        struct bpe_pair pair = heap_pop(t);
        struct bpe_part *a = &t->parts[pair.at];
        if (!a->n || a->next == END || a->n + t->parts[a->next].n != pair.n)
            continue; /* one of the two has been merged otherwise */
        struct bpe_part *b = &t->parts[a->next];
        a->n = pair.n;
        b->n = 0;
        a->next = b->next;
        if (a->next != END)
            t->parts[a->next].prev = pair.at;
        offer_pair(t, piece, pair.at);
        if (a->prev != END)
            offer_pair(t, piece, a->prev);
    }
}

static int64_t count_anew(struct tokenizer *t, struct span piece)
{
    int64_t count = 0;
    if (rank_of(t, piece.p, piece.n) != NONE)
        return 1;
    merge(t, span_first(piece, TOKENIZER_PIECE_MAX));
    for (uint16_t at = 0; at != END; at = t->parts[at].next)
        count++;
    return count;
}

/* The piece as its entry would hold it, without the count; it has 2 to KNOWN_PIECE_MAX bytes. Of
 * eight and more the byte that gives way to the length is in the head as well. */
static struct bpe_known known_as(struct span piece)
{
    const unsigned char *p = (const unsigned char *)piece.p;
    struct bpe_known known = {0, 0};
    if (piece.n >= 8) {
        memcpy(&known.head, p, 8);
        memcpy(&known.tail, p + piece.n - 8, 8);
    } else if (piece.n >= 4) {
        uint32_t head, tail;
        memcpy(&head, p, 4);
        memcpy(&tail, p + piece.n - 4, 4);
        known.head = head | (uint64_t)tail << 32;
    } else {
        known.head = p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[piece.n - 1] << 16;
    }
    known.tail = (known.tail & ~UINT64_C(0xFF)) | piece.n;
    return known;
}

int64_t tokenizer_count(struct tokenizer *t, struct span piece)
{
    if (piece.n < 2)
        return piece.n ? 1 : 0;
    if (piece.n > KNOWN_PIECE_MAX)
        return count_anew(t, piece);
    struct bpe_known known = known_as(piece);
    uint64_t hash = known.head * UINT64_C(0x9E3779B97F4A7C15) + known.tail;
    hash = (hash ^ hash >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    struct bpe_known *entry = &t->known[hash >> (64 - KNOWN_BITS)];
    if (entry->head != known.head || (entry->tail & ~UINT64_C(0xF0)) != known.tail) {
        known.tail |= (uint64_t)count_anew(t, piece) << 4;
        *entry = known;
    }
    return (int64_t)(entry->tail >> 4 & 0xF);
}

size_t tokenizer_prefix(struct tokenizer *t, struct span piece, int64_t most)
{
    size_t n = 0;
    if (most <= 0)
        return 0;
    if (piece.n < 2 || rank_of(t, piece.p, piece.n) != NONE)
        return piece.n;
    merge(t, span_first(piece, TOKENIZER_PIECE_MAX));
    for (uint16_t at = 0; at != END && most-- > 0; at = t->parts[at].next)
        n += t->parts[at].n;
    return n;
}
