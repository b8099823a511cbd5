/*
 * gateway/conversation_reuse.c - see conversation_reuse.h.
 *
 * A history's hash is a chain: that of what came before, and the digest of the next message. Every
 * text is hashed behind its length, so that no two histories are the same run of bytes.
 */
#include "gateway/conversation_reuse.h"

#include <stdlib.h>

#include "gateway/digest_ring.h"
#include "gateway/sha256.h"

/* ---- digests ---- */

static void begin(mbedtls_sha256_context *c)
{
    mbedtls_sha256_init(c);
    mbedtls_sha256_starts(c, 0);
}

static void add_bytes(mbedtls_sha256_context *c, const void *p, size_t n)
{
    if (n)
        mbedtls_sha256_update(c, p, n);
}

static void add_number(mbedtls_sha256_context *c, uint64_t n)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(n >> (8 * i));
    add_bytes(c, bytes, sizeof bytes);
}

static void add_text(mbedtls_sha256_context *c, struct span text)
{
    add_number(c, text.n);
    add_bytes(c, text.p, text.n);
}

static void add_hash(mbedtls_sha256_context *c, const struct conversation_hash *h)
{
    add_bytes(c, h->bytes, sizeof h->bytes);
}

static struct conversation_hash end(mbedtls_sha256_context *c)
{
    struct conversation_hash h;
    mbedtls_sha256_finish(c, h.bytes);
    mbedtls_sha256_free(c);
    return h;
}

/* ---- the text of an answer ---- */

enum { PENDING_MAX = 256 };

/* White space at the end so far waits for what follows; a run of more counts from its beginning, in
 * whatever pieces it comes. */
struct conversation_told {
    mbedtls_sha256_context digest;
    bool begun;
    size_t n_pending;
    char pending[PENDING_MAX];
    mbedtls_sha256_context calls; /* with n_calls */
    size_t n_calls;
    bool in_string, escaped; /* of the last call's arguments, as are these */
    int hex_digits;          /* of an escape, that are still to come */
    uint32_t unit, high;
};

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

void conversation_told_begin(struct conversation_told *t)
{
    begin(&t->digest);
    t->begun = false;
    t->n_pending = t->n_calls = 0;
}

struct conversation_told *conversation_told_create(struct arena *arena)
{
    struct conversation_told *t = arena_alloc(arena, sizeof *t);
    if (t)
        conversation_told_begin(t);
    return t;
}

static void flush_pending(struct conversation_told *t)
{
    add_bytes(&t->digest, t->pending, t->n_pending);
    t->n_pending = 0;
}

static void add_blanks(struct conversation_told *t, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (t->n_pending == PENDING_MAX)
            flush_pending(t);
        t->pending[t->n_pending++] = p[i];
    }
}

void conversation_told_add(struct conversation_told *t, struct span text)
{
    size_t first = 0, last = text.n;
    while (last && is_blank(text.p[last - 1]))
        last--;
    while (first < last && is_blank(text.p[first]))
        first++;
    if (t->begun)
        add_blanks(t, text.p, first);
    if (first == last) { /* nothing but blanks */
        if (t->begun)
            add_blanks(t, text.p + first, text.n - first);
        return;
    }
    flush_pending(t);
    t->begun = true;
    add_bytes(&t->digest, text.p + first, last - first);
    add_blanks(t, text.p + last, text.n - last);
}

enum { CALL_END = 0xFF /* in no text */ };

void conversation_told_call(struct conversation_told *t, struct span id, struct span name)
{
    if (!t->n_calls++)
        begin(&t->calls);
    add_bytes(&t->calls, &(unsigned char){CALL_END}, 1);
    add_text(&t->calls, id);
    add_text(&t->calls, name);
    t->in_string = t->escaped = false;
    t->hex_digits = 0;
    t->unit = t->high = 0;
}

/* A code unit of an escape, as UTF-8. */
static void put_unit(struct conversation_told *t, uint32_t unit)
{
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    unsigned char bytes[4];
    size_t n = 0;
    if (unit >= 0xD800 && unit < 0xDC00) { /* its other half is to come */
        t->high = unit;
        return;
    }
    if (unit >= 0xDC00 && unit < 0xE000 && t->high)
        unit = 0x10000 + ((t->high - 0xD800) << 10) + (unit - 0xDC00);
    t->high = 0;
    unsigned more = unit < 0x80 ? 0 : unit < 0x800 ? 1 : unit < 0x10000 ? 2 : 3;
    bytes[n++] = (unsigned char)(lead[more] | unit >> (6 * more));
    while (more-- > 0)
        bytes[n++] = (unsigned char)(0x80 | (unit >> (6 * more) & 0x3F));
    add_bytes(&t->calls, bytes, n);
}

/* Behind a backslash. What must stay escaped does. */
static void put_escape(struct conversation_told *t, char c)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *at = strchr(from, c);
    t->escaped = false;
    if (c == 'u') {
        t->unit = 0;
        t->hex_digits = 4;
    } else if (c == '"' || c == '\\') {
        add_bytes(&t->calls, (const char[]){'\\', c}, 2);
    } else {
        add_bytes(&t->calls, at && c ? &to[at - from] : &c, 1);
    }
}

/* A character that counts otherwise than as it is, or not at all; of others, only what they mean
 * for the next. */
static void look_at(struct conversation_told *t, char c)
{
    if (t->hex_digits) {
        int digit = hex_digit(c);
        t->unit = t->unit << 4 | (uint32_t)(digit < 0 ? 0 : digit);
        if (!--t->hex_digits)
            put_unit(t, t->unit);
    } else if (t->escaped) {
        put_escape(t, c);
    } else {
        t->in_string ^= c == '"';
        t->escaped = t->in_string && c == '\\';
    }
}

void conversation_told_arguments(struct conversation_told *t, struct span piece)
{
    size_t from = 0;
    for (size_t i = 0; i < piece.n; i++) {
        size_t before = i - from;
        bool special = t->hex_digits || t->escaped || (t->in_string && piece.p[i] == '\\') ||
                       (!t->in_string && is_blank(piece.p[i]));
        if (special) { /* what stands before it goes first */
            add_bytes(&t->calls, piece.p + from, before);
            from = i + 1;
        }
        look_at(t, piece.p[i]);
    }
    add_bytes(&t->calls, piece.p + from, piece.n - from);
}

static void add_calls(mbedtls_sha256_context *c, struct conversation_told *t)
{
    add_number(c, t->n_calls);
    if (!t->n_calls)
        return;
    struct conversation_hash calls = end(&t->calls);
    add_hash(c, &calls);
}

static struct conversation_hash told_end(struct conversation_told *t) { return end(&t->digest); }

/* ---- messages ---- */

static void add_part(mbedtls_sha256_context *c, const struct part *p)
{
    add_number(c, (uint64_t)p->kind);
    add_text(c, p->text);
    add_text(c, p->base64.p ? p->mime : p->url); /* a data: URL is told by what is in it */
    add_text(c, p->base64);
    add_text(c, p->filename);
    add_text(c, p->file_id);
}

/* Behind our own <think>…</think> (reasoning = "think"), which some clients take out. */
static struct span without_thinking(struct span text)
{
    struct span rest = text;
    while (rest.n && is_blank(rest.p[0]))
        rest = span_from(rest, 1);
    ptrdiff_t close = span_find(rest, SPAN("</think>"));
    if (!span_starts(rest, SPAN("<think>")) || close < 0)
        return text;
    return span_from(rest, (size_t)close + sizeof "</think>" - 1);
}

static bool is_told(const struct part *p) { return p->kind == PART_TEXT; }
static bool is_thinking(const struct part *p)
{
    return p->kind == PART_THINKING || p->kind == PART_REDACTED;
}

/* An answer of text and calls has the digest that conversation_answered makes of it. */
static void add_answer(mbedtls_sha256_context *c, const struct message *m)
{
    struct conversation_told told;
    size_t others = 0, texts = 0;
    conversation_told_begin(&told);
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct part *p = &m->parts[i];
        if (is_told(p))
            conversation_told_add(&told, texts++ ? p->text : without_thinking(p->text));
        else
            others += !is_thinking(p);
    }
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        conversation_told_call(&told, m->tool_calls[i].id, m->tool_calls[i].name);
        conversation_told_arguments(&told, m->tool_calls[i].arguments);
    }
    struct conversation_hash text = told_end(&told);
    add_hash(c, &text);
    add_number(c, others);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (!is_told(&m->parts[i]) && !is_thinking(&m->parts[i]))
            add_part(c, &m->parts[i]);
    }
    add_calls(c, &told);
}

static struct conversation_hash after(const struct conversation_hash *before,
                                      const struct message *m)
{
    mbedtls_sha256_context c;
    begin(&c);
    add_hash(&c, before);
    add_number(&c, (uint64_t)m->role);
    if (m->role == ROLE_ASSISTANT) {
        add_answer(&c, m);
        return end(&c);
    }
    add_text(&c, m->name);
    add_text(&c, m->tool_call_id);
    add_number(&c, m->is_error);
    add_number(&c, m->n_parts);
    for (size_t i = 0; i < m->n_parts; i++)
        add_part(&c, &m->parts[i]);
    return end(&c);
}

struct conversation_hash conversation_answered(const struct conversation_hash *whole,
                                               struct conversation_told *told)
{
    mbedtls_sha256_context c;
    struct conversation_hash text = told_end(told);
    begin(&c);
    add_hash(&c, whole);
    add_number(&c, ROLE_ASSISTANT);
    add_hash(&c, &text);
    add_number(&c, 0); /* other parts */
    add_calls(&c, told);
    return end(&c);
}

/* ---- turns ---- */

/* The version goes up when the same history is hashed otherwise. */
static struct conversation_hash beginning(const struct conversation_scope *s, const struct turn *t)
{
    mbedtls_sha256_context c;
    begin(&c);
    add_text(&c, SPAN("dragoman conversation 2"));
    add_text(&c, s->key);
    add_text(&c, s->site);
    add_text(&c, s->origin);
    add_text(&c, s->model);
    add_number(&c, (uint64_t)t->reasoning);
    add_text(&c, t->reasoning_effort);
    add_number(&c, (uint64_t)t->reasoning_budget);
    add_text(&c, t->thinking_raw);
    add_text(&c, t->tools_raw);
    add_text(&c, t->tool_choice_raw);
    add_text(&c, t->response_format_raw);
    if (t->no_parallel_tool_calls) /* what the site was told of tools */
        add_text(&c, SPAN("one call"));
    return end(&c);
}

void conversation_turn_read(struct conversation_turn *c, const struct conversation_scope *scope,
                            const struct turn *turn)
{
    *c = (struct conversation_turn){.whole = beginning(scope, turn)};
    for (size_t i = 0; i < turn->n_messages; i++) {
        const struct message *m = &turn->messages[i];
        c->whole = after(&c->whole, m);
        c->can_keep = m->role != ROLE_ASSISTANT;
        if (m->role == ROLE_ASSISTANT) {
            c->before = c->whole;
            c->held = i + 1;
        } else if (m->role == ROLE_SYSTEM) {
            c->held = 0;
        }
    }
    if (c->held == turn->n_messages)
        c->held = 0;
}

/* ---- the book ---- */

struct entry {
    struct digest_entry in; /* first */
    struct conversation c;
    char texts[]; /* its */
};

struct conversation_book {
    void (*changed)(void *owner, const struct conversation *, bool kept);
    void *owner;
    struct digest_ring *ring;
};

struct conversation_book *
conversation_book_create(void (*changed)(void *, const struct conversation *, bool), void *owner)
{
    struct conversation_book *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->changed = changed;
    b->owner = owner;
    b->ring = digest_ring_create(CONVERSATIONS_MAX);
    if (!b->ring) {
        free(b);
        return NULL;
    }
    return b;
}

void conversation_book_destroy(struct conversation_book *b)
{
    if (b)
        digest_ring_destroy(b->ring);
    free(b);
}

static struct entry *find(const struct conversation_book *b, const struct conversation_hash *h)
{
    return (struct entry *)digest_ring_find(b->ring, h->bytes);
}

/* It is out of the ring. */
static void let_go(struct conversation_book *b, struct entry *e, bool tell)
{
    if (e && tell && b->changed)
        b->changed(b->owner, &e->c, false);
    free(e);
}

static void drop(struct conversation_book *b, struct entry *e, bool tell)
{
    if (e)
        digest_ring_take(b->ring, &e->in);
    let_go(b, e, tell);
}

static struct entry *entry_of(const struct conversation *c)
{
    struct entry *e = malloc(sizeof *e + c->site.n + c->account.n + c->state.n);
    if (!e)
        return NULL;
    char *at = e->texts;
    e->c = *c;
    e->in.digest = e->c.hash.bytes;
    e->c.site = span_put(&at, c->site);
    e->c.account = span_put(&at, c->account);
    e->c.state = span_put(&at, c->state);
    return e;
}

static struct entry *insert(struct conversation_book *b, const struct conversation *c, bool tell)
{
    struct entry *e = c->state.n <= CONVERSATION_STATE_MAX ? entry_of(c) : NULL;
    if (!e)
        return NULL;
    drop(b, find(b, &c->hash), false);
    if (digest_ring_is_full(b->ring))
        let_go(b, (struct entry *)digest_ring_take_oldest(b->ring), tell);
    digest_ring_put(b->ring, &e->in);
    return e;
}

bool conversation_book_keep(struct conversation_book *b, const struct conversation *c)
{
    struct entry *e = insert(b, c, true);
    if (e && b->changed)
        b->changed(b->owner, &e->c, true);
    return e != NULL;
}

void conversation_book_restore(struct conversation_book *b, const struct conversation *c)
{
    insert(b, c, false);
}

const struct conversation *conversation_book_find(const struct conversation_book *b,
                                                  const struct conversation_hash *h, int64_t now_ms)
{
    const struct entry *e = find(b, h);
    return e && e->c.expires_ms > now_ms ? &e->c : NULL;
}

void conversation_book_forget(struct conversation_book *b, const struct conversation_hash *h)
{
    drop(b, find(b, h), true);
}

void conversation_book_prune(struct conversation_book *b, int64_t now_ms)
{
    struct entry *e;
    for (size_t at = 0; (e = (struct entry *)digest_ring_next(b->ring, &at));) {
        if (e->c.expires_ms <= now_ms)
            drop(b, e, true);
    }
}
