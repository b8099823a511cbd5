/*
 * gateway/response_store.c - see response_store.h.
 *
 * A call is a query of the store, or a save, with copies of all that the thread pool needs. It
 * belongs to its caller until response_call_free; freed before it is done, it frees itself then.
 */
#include "gateway/response_store.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/store_file.h"

enum {
    CHAIN_MAX = 10000,
    FOUND_BYTES_MAX = 96 << 20, /* what one request may bring back */
    A_DAY_MS = 24 * 60 * 60 * 1000
};

/* One that was found. */
struct row {
    struct row *next;
    char *id;
    struct stored_response stored;
    bool in_chain;
};

struct response_call {
    struct store_query query; /* first */
    void (*done)(void *);
    void *arg;
    bool over, abandoned, worked, deleted;

    /* a find's */
    char *owner, *previous;
    char **references;
    size_t n_references;
    bool forget, alone;
    int64_t now_ms, ttl_ms;
    struct row *rows; /* the latest found first: of a chain the oldest */
    size_t bytes;
};

static void rows_free(struct row *row)
{
    while (row) {
        struct row *next = row->next;
        free(row->id);
        free(row->stored.previous);
        free(row->stored.body);
        free(row);
        row = next;
    }
}

static void call_destroy(struct response_call *c)
{
    rows_free(c->rows);
    for (size_t i = 0; i < c->n_references; i++)
        free(c->references[i]);
    free(c->references);
    free(c->owner);
    free(c->previous);
    free(c);
}

static void call_over(struct response_call *c)
{
    c->over = true;
    if (c->abandoned)
        call_destroy(c);
    else
        c->done(c->arg);
}

void response_call_free(struct response_call *c)
{
    if (!c)
        return;
    if (c->over)
        call_destroy(c);
    else
        c->abandoned = true;
}

/* ---- finding, on the thread pool ---- */

/* 1, 0 or -1, as store_file_find_response. */
static int find_one(struct response_call *c, struct store_file *file, const char *id, bool in_chain)
{
    struct row *row = calloc(1, sizeof *row);
    if (row)
        row->id = strdup(id);
    int found =
        row && row->id ? store_file_find_response(file, id, c->owner, c->now_ms, &row->stored) : -1;
    if (found <= 0) {
        if (row)
            free(row->id);
        free(row);
        return found;
    }
    row->in_chain = in_chain;
    row->next = c->rows;
    c->rows = row;
    c->bytes += row->stored.n_body;
    return c->bytes <= FOUND_BYTES_MAX ? 1 : -1;
}

/* Going on from a response keeps those before it alive. Once a day is enough, or when half of a
 * shorter time is over. */
static int renew(const struct response_call *c, struct store_file *file, const struct row *row)
{
    int64_t used_ms = c->ttl_ms / 2 < A_DAY_MS ? c->ttl_ms / 2 : A_DAY_MS;
    if (c->alone || row->stored.expires_ms > c->now_ms + c->ttl_ms - used_ms)
        return 0;
    return store_file_renew_response(file, row->id, c->now_ms + c->ttl_ms);
}

/* A chain with a hole is none. */
static int find_chain(struct response_call *c, struct store_file *file)
{
    const char *id = c->previous;
    for (int i = 0; *id && i < CHAIN_MAX; i++) {
        int found = find_one(c, file, id, true);
        if (found <= 0) {
            rows_free(c->rows);
            c->rows = NULL;
            return found;
        }
        if (renew(c, file, c->rows) < 0)
            return -1;
        id = c->alone ? "" : c->rows->stored.previous;
    }
    return 0;
}

static void work(struct store_query *q, struct store_file *file)
{
    struct response_call *c = (struct response_call *)q;
    int result = 0;
    if (c->forget) {
        result = store_file_forget_response(file, c->previous, c->owner);
        c->deleted = result > 0;
    } else {
        result = find_chain(c, file);
        for (size_t i = 0; i < c->n_references && result >= 0; i++)
            result = find_one(c, file, c->references[i], false);
    }
    c->worked = result >= 0;
}

static void after_query(struct store_query *q) { call_over((struct response_call *)q); }

/* A copy; "" for ids that cannot be ours (a NUL). NULL when memory is short. */
static char *copy_id(struct span id)
{
    bool plain = id.n && !memchr(id.p, '\0', id.n);
    return strndup(plain ? id.p : "", plain ? id.n : 0);
}

static struct response_call *call_create(struct span owner, struct span previous,
                                         void (*done)(void *), void *arg)
{
    struct response_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->done = done;
    c->arg = arg;
    c->owner = copy_id(owner);
    c->previous = copy_id(previous);
    if (c->owner && c->previous)
        return c;
    call_destroy(c);
    return NULL;
}

struct response_call *response_store_find(struct store *store, const struct response_wish *wish,
                                          struct span owner, const struct response_limits *limits,
                                          int64_t now_ms, void (*done)(void *), void *arg)
{
    struct response_call *c = call_create(owner, wish->previous, done, arg);
    if (!c)
        return NULL;
    c->forget = wish->forget;
    c->alone = wish->alone;
    c->now_ms = now_ms;
    c->ttl_ms = limits->ttl_ms;
    c->references = calloc(wish->n_references + 1, sizeof *c->references);
    for (size_t i = 0; c->references && i < wish->n_references; i++) {
        c->references[i] = copy_id(wish->references[i]);
        if (!c->references[i])
            break;
        c->n_references++;
    }
    if (c->n_references < wish->n_references || !c->references) {
        call_destroy(c);
        return NULL;
    }
    c->query = (struct store_query){.work = work, .done = after_query};
    store_ask(store, &c->query);
    return c;
}

bool response_call_is_over(const struct response_call *c) { return c->over; }
bool response_call_worked(const struct response_call *c) { return c->worked; }
bool response_call_deleted(const struct response_call *c) { return c->deleted; }

int response_call_take(const struct response_call *c, struct arena *arena,
                       struct response_found **list, size_t *n)
{
    *n = 0;
    for (const struct row *row = c->rows; row; row = row->next)
        ++*n;
    *list = arena_alloc(arena, (*n ? *n : 1) * sizeof **list);
    if (!*list)
        return -1;
    struct response_found *f = *list;
    for (const struct row *row = c->rows; row; row = row->next, f++) {
        *f = (struct response_found){
            arena_dup(arena, span_str(row->id)), arena_dup(arena, span_str(row->stored.previous)),
            arena_dup(arena, span_of(row->stored.body, row->stored.n_body)), row->in_chain};
        if (!f->id.p || !f->previous.p || !f->body.p)
            return -1;
    }
    return 0;
}

/* ---- saving ---- */

static void after_save(void *arg, bool durable)
{
    struct response_call *c = arg;
    c->worked = durable;
    call_over(c);
}

struct response_call *response_store_save(struct store *store, struct span id, struct span owner,
                                          struct span previous, struct span body,
                                          const struct response_limits *limits, int64_t now_ms,
                                          void (*done)(void *), void *arg)
{
    struct response_call *c = call_create(owner, previous, done, arg);
    char *own = copy_id(id), *text = strndup(body.p, body.n);
    if (c && own && text) {
        const struct store_response row = {.id = own,
                                           .owner = c->owner,
                                           .previous = c->previous,
                                           .body = text,
                                           .created_ms = now_ms,
                                           .expires_ms = now_ms + limits->ttl_ms,
                                           .max_bytes = limits->max_bytes};
        store_save_response_then(store, &row, after_save, c);
    } else if (c) {
        call_destroy(c);
        c = NULL;
    }
    free(own);
    free(text);
    return c;
}
