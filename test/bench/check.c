/*
 * test/bench/check.c - see check.h. What arrives whole is looked at in place; only what is cut by
 * the end of a read is copied.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "test/bench/check.h"

enum { TOLD_MAX = 5 };

static void tell(const char *what, const char *p, size_t n)
{
    static int told;
    if (told++ < TOLD_MAX)
        fprintf(stderr, "bench_load: %s: %.*s\n", what, (int)(n < 300 ? n : 300), p);
}

static void append(struct bytes *b, const char *p, size_t n)
{
    if (b->n + n + 1 > b->cap) {
        b->cap = (b->n + n + 1) * 2;
        b->p = realloc(b->p, b->cap);
        if (!b->p)
            abort();
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void check_begin(struct checker *c)
{
    c->at = AT_HEAD;
    c->carry.n = 0;
    c->next = c->got = 0;
    c->done_mark = c->in_extension = false;
    if (!c->seen)
        c->seen = malloc(c->wish->chunks / 8 + 1);
    if (!c->seen)
        abort();
    memset(c->seen, 0, c->wish->chunks / 8 + 1);
}

void check_free(struct checker *c)
{
    free(c->seen);
    free(c->carry.p);
    c->seen = NULL;
    c->carry = (struct bytes){0};
}

/* ---- records ---- */

static void take_record(struct checker *c, const char *p)
{
    unsigned number = 0;
    for (int i = 0; i < RECORD_NUMBER; i++)
        number = number * 10 + (unsigned)(unsigned char)(p[i] - '0');
    if (number >= c->wish->chunks || p[c->wish->size - 1] != ' ') {
        c->faults->garbled++;
        tell("no record of ours", p, c->wish->size);
        return;
    }
    unsigned char bit = (unsigned char)(1u << (number & 7));
    if (c->seen[number / 8] & bit) {
        c->faults->repeated++;
        return;
    }
    c->seen[number / 8] |= bit;
    c->got++;
    if (number < c->next) {
        c->faults->reordered++;
        return;
    }
    c->next = number + 1;
    c->on_chunk(c->user, bench_read_stamp(p + RECORD_NUMBER));
}

/* One event's text, or a whole answer's. A target may join chunks, but not cut them. */
static void take_text(struct checker *c, const char *p, size_t n)
{
    size_t size = c->wish->size;
    if (n % size) {
        c->faults->garbled++;
        tell("text of another length", p, n);
        return;
    }
    for (; n; p += size, n -= size)
        take_record(c, p);
}

/* ---- events ---- */

static const char content_key[] = "\"content\":\"";
enum { CONTENT_KEY = sizeof content_key - 1 };

static void take_event(struct checker *c, const char *p, size_t n)
{
    const char *key = p + c->hint;
    if (c->hint + CONTENT_KEY > n || memcmp(key, content_key, CONTENT_KEY) != 0) {
        key = memmem(p, n, content_key, CONTENT_KEY);
        if (key)
            c->hint = (size_t)(key - p);
    }
    if (!key) {
        if (memmem(p, n, "\"error\"", 7))
            tell("an error in the stream", p, n);
        return;
    }
    key += CONTENT_KEY;
    const char *end = memchr(key, '"', (size_t)(p + n - key));
    take_text(c, key, end ? (size_t)(end - key) : 1);
}

static void take_line(struct checker *c, const char *p, size_t n)
{
    if (n && p[n - 1] == '\r')
        n--;
    if (n < 6 || memcmp(p, "data:", 5) != 0)
        return;
    p += 5;
    n -= 5;
    while (n && *p == ' ')
        p++, n--;
    if (n == 6 && !memcmp(p, "[DONE]", 6))
        c->done_mark = true;
    else
        take_event(c, p, n);
}

static void take_body(struct checker *c, const char *p, size_t n)
{
    if (!c->wish->stream) {
        append(&c->carry, p, n);
        return;
    }
    while (n) {
        const char *end = memchr(p, '\n', n);
        if (!end) {
            append(&c->carry, p, n);
            return;
        }
        size_t line = (size_t)(end - p);
        if (c->carry.n) {
            append(&c->carry, p, line);
            take_line(c, c->carry.p, c->carry.n);
            c->carry.n = 0;
        } else {
            take_line(c, p, line);
        }
        p += line + 1;
        n -= line + 1;
    }
}

/* ---- the end ---- */

static enum check_state finish(struct checker *c)
{
    if (!c->wish->stream) {
        take_event(c, c->carry.p, c->carry.n);
        c->done_mark = true;
    }
    c->faults->missing += c->wish->chunks - c->got;
    c->faults->cut += !c->done_mark;
    return c->done_mark && c->got == c->wish->chunks ? CHECK_OVER : CHECK_FAILED;
}

void check_cut(struct checker *c)
{
    c->faults->missing += c->wish->chunks - c->got;
    c->faults->cut++;
}

/* ---- HTTP ---- */

static bool read_head(struct checker *c, const char *p, size_t n)
{
    const char *end = p + n;
    c->at = AT_COUNTED;
    c->left = UINT64_MAX;
    if (n < 12 || memcmp(p + 8, " 200", 4) != 0) {
        tell("refused", p, strcspn(p, "\r"));
        c->faults->refused++;
        return false;
    }
    while (p < end) {
        const char *line_end = memchr(p, '\n', (size_t)(end - p));
        if ((*p | 32) == 'c' && !strncasecmp(p, "content-length:", 15))
            c->left = strtoull(p + 15, NULL, 10);
        else if ((*p | 32) == 't' && !strncasecmp(p, "transfer-encoding:", 18))
            c->at = AT_SIZE;
        if (!line_end)
            break;
        p = line_end + 1;
    }
    if (c->at == AT_SIZE)
        c->left = 0;
    return true;
}

/* Returns how many bytes of p belong to the head, SIZE_MAX when it is refused. */
static size_t feed_head(struct checker *c, const char *p, size_t n)
{
    size_t before = c->carry.n;
    append(&c->carry, p, n);
    const char *end = memmem(c->carry.p, c->carry.n, "\r\n\r\n", 4);
    if (!end)
        return n;
    size_t head = (size_t)(end - c->carry.p) + 4;
    c->carry.n = 0;
    return read_head(c, c->carry.p, head) ? head - before : SIZE_MAX;
}

static int digit_of(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 32;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* A chunk's size line, byte by byte. */
static void feed_size(struct checker *c, char ch)
{
    int digit = digit_of(ch);
    if (ch == '\n') {
        c->at = c->left ? AT_DATA : AT_TRAILER;
        c->in_extension = false;
        c->carry.n = c->left || !c->wish->stream ? c->carry.n : 0;
    } else if (digit >= 0 && !c->in_extension) {
        c->left = c->left << 4 | (unsigned)digit;
    } else {
        c->in_extension = true;
    }
}

enum check_state check_feed(struct checker *c, const char *p, size_t n)
{
    size_t take;
    while (n) {
        switch (c->at) {
        case AT_HEAD:
            take = feed_head(c, p, n);
            if (take == SIZE_MAX)
                return CHECK_FAILED;
            break;
        case AT_COUNTED:
        case AT_DATA:
            take = n < c->left ? n : (size_t)c->left;
            take_body(c, p, take);
            c->left -= take;
            if (c->left == 0 && c->at == AT_COUNTED)
                return finish(c);
            if (c->left == 0)
                c->at = AT_DATA_END;
            break;
        case AT_SIZE:
            take = 1;
            feed_size(c, *p);
            break;
        case AT_DATA_END:
            take = 1;
            if (*p == '\n')
                c->at = AT_SIZE;
            break;
        case AT_TRAILER:
        default:
            take = 1;
            if (*p == '\n')
                return finish(c);
            break;
        }
        p += take;
        n -= take;
    }
    return CHECK_GOING;
}
