/*
 * gateway/store.c - see store.h: what waits to be written, and when it is.
 *
 * Rows wait in a list that is looked up by key, so that one row waits once. A job takes all of them
 * to the thread pool, where they become one transaction; jobs never overlap, so the file needs no
 * lock of ours. Another loop that has saved something, or asks, leaves it with the rest and knocks
 * at the door of the loop that starts jobs. The hard part is the end: everything that waits is
 * written, the file is closed on the thread pool too, then the timer, then the memory.
 */
#include "gateway/store.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "gateway/log.h"
#include "gateway/store_file.h"

enum { BUCKETS = 256, STORE_MAGIC = 0x53544F52, RETRY_MS = 10000 };

/* Who wants to know when what waits is on disk. */
struct listener {
    struct listener *next;
    void (*done)(void *arg, bool durable);
    void *arg;
    struct mailbox *home; /* whose loop it is told on; NULL: there is only one */
    struct mail mail;
    bool durable;
};

struct store {
    unsigned magic;
    uv_loop_t *loop;
    struct shared *shared; /* NULL: one loop. What waits is touched inside its lock */
    struct mail knock;     /* to the loop that starts jobs */
    bool knocked;
    struct store_file *file;
    struct store_row *waiting, *buckets[BUCKETS];
    struct listener *listeners;  /* of what waits; the latest first */
    struct store_query *queries; /* the latest first */
    bool urgent;                 /* more than counters waits, and was not tried yet */
    bool prune_waits;
    struct store_age prune_to;
    uv_timer_t lazy; /* while only counters wait, or a write failed */

    /* The job: the worker's while `writing`. */
    bool writing, last;
    uv_work_t work;
    struct store_row *rows;
    bool prune;
    struct store_age age;
    struct listener *told; /* after it */
    struct store_query *asked;
    int result;
    struct fail problem;

    bool warned, closing;
    void (*closed)(void *);
    void *closed_arg;
};

static void check(const struct store *s) { assert(s && s->magic == STORE_MAGIC); }

struct store *store_create(uv_loop_t *loop, struct span data_dir, struct span secret)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->file = store_file_create(data_dir, secret);
    if (!s->file) {
        free(s);
        return NULL;
    }
    s->magic = STORE_MAGIC;
    s->loop = loop;
    s->work.data = s;
    uv_timer_init(loop, &s->lazy);
    s->lazy.data = s;
    uv_unref((uv_handle_t *)&s->lazy); /* what it waits for is written at the end anyway */
    return s;
}

const char *store_path(const struct store *s) { return store_file_path(s->file); }

int store_rebuild(struct store *s, struct fail *fail)
{
    char aside[4200];
    check(s);
    if (store_file_move_aside(s->file, aside, sizeof aside, fail))
        return -1;
    if (aside[0])
        log_warn("%s is now %s; a new one begins", store_path(s), aside);
    return 0;
}

/* ---- reading ---- */

static void hand_over(void *arg, const struct store_row *row)
{
    const struct store_reader *reader = arg;
    const char *const *text = row->text;
    const int64_t *number = row->number;
    switch (row->table) {
    case TABLE_CREDENTIAL:
        if (reader->credential)
            reader->credential(reader->owner, &(struct store_credential){text[0], text[1], text[2],
                                                                         text[3], number[0]});
        break;
    case TABLE_ACCOUNT:
        if (reader->account)
            reader->account(reader->owner, &(struct store_account){.site = text[0],
                                                                   .account = text[1],
                                                                   .model = text[2],
                                                                   .state = text[3],
                                                                   .error = text[4],
                                                                   .until_ms = number[0],
                                                                   .strikes = number[1],
                                                                   .changed_ms = number[2]});
        break;
    case TABLE_COUNTER:
        if (reader->counter)
            reader->counter(reader->owner,
                            &(struct store_counter){text[0], text[1], number[0], number[1],
                                                    number[2], number[3]});
        break;
    case TABLE_MODELS:
        if (reader->models)
            reader->models(reader->owner, &(struct store_models){text[0], number[0], text[1]});
        break;
    case TABLE_META:
        if (reader->meta)
            reader->meta(reader->owner, text[0], text[1]);
        break;
    case TABLE_CONVERSATION:
        if (reader->conversation)
            reader->conversation(reader->owner,
                                 &(struct store_conversation){text[0], text[1], text[2], text[3],
                                                              number[0], number[1]});
        break;
    case TABLE_UPLOAD:
        if (reader->upload)
            reader->upload(reader->owner,
                           &(struct store_upload){text[0], text[1], text[2], text[3], number[0]});
        break;
    case TABLE_RESPONSE: /* read when somebody asks */
    case TABLE_COUNT: break;
    }
}

enum store_opened store_open(struct store *s, const struct store_reader *reader, struct fail *fail)
{
    struct stat st;
    check(s);
    assert(!s->writing);
    if (stat(store_path(s), &st) == 0 && (st.st_mode & 077))
        log_warn("%s is readable by others: chmod 600 it, it holds credentials", store_path(s));
    enum store_opened result = store_file_open(s->file, fail);
    if (result == STORE_OPEN)
        result = store_file_read(s->file, hand_over, (void *)(uintptr_t)reader, fail);
    if (result != STORE_OPEN)
        store_file_close(s->file);
    return result;
}

/* ---- what waits ---- */

static void row_free(struct store_row *row)
{
    explicit_bzero(row, sizeof *row + row->size); /* it may hold a token */
    free(row);
}

/* Keys are never NULL, nor is another text of a row that is not to be forgotten. */
static const char *text_of(const struct store_row *row, int i)
{
    assert(row->text[i]);
    return row->text[i];
}

static bool same_key(const struct store_row *a, const struct store_row *b)
{
    const struct store_shape *shape = &store_shapes[a->table];
    if (a->table != b->table)
        return false;
    for (int i = 0; i < shape->key_texts; i++) {
        if (strcmp(text_of(a, i), text_of(b, i)) != 0)
            return false;
    }
    for (int i = 0; i < shape->key_numbers; i++) {
        if (a->number[i] != b->number[i])
            return false;
    }
    return true;
}

/* The place in its bucket of the row that waits with this key, or of the bucket's end. */
static struct store_row **find_place(struct store *s, const struct store_row *row)
{
    const struct store_shape *shape = &store_shapes[row->table];
    uint32_t h = 2166136261u ^ (uint32_t)row->table; /* FNV-1a */
    for (int i = 0; i < shape->key_texts; i++) {
        for (const char *p = text_of(row, i); *p; p++)
            h = (h ^ (unsigned char)*p) * 16777619u;
        h = (h ^ 0xFF) * 16777619u;
    }
    for (int i = 0; i < shape->key_numbers; i++)
        h = (h ^ (uint32_t)row->number[i]) * 16777619u;
    struct store_row **place = &s->buckets[(h ^ (h >> 16)) % BUCKETS];
    while (*place && !same_key(*place, row))
        place = &(*place)->chain;
    return place;
}

/* A copy in one piece; NULL when memory is short. */
static struct store_row *row_copy(const struct store_row *from)
{
    const struct store_shape *shape = &store_shapes[from->table];
    int texts = from->forget ? shape->key_texts : shape->texts;
    size_t size = 0;
    for (int i = 0; i < texts; i++)
        size += strlen(text_of(from, i)) + 1;
    struct store_row *row = malloc(sizeof *row + size);
    if (!row)
        return NULL;
    *row = *from;
    row->size = size;
    char *at = row->bytes;
    for (int i = 0; i < texts; i++) {
        size_t n = strlen(text_of(from, i)) + 1;
        memcpy(at, text_of(from, i), n);
        row->text[i] = at;
        at += n;
    }
    return row;
}

/* Takes the row. `newer`: than the one that waits with the same key, if there is one. */
static void let_wait(struct store *s, struct store_row *row, bool newer)
{
    struct store_row **place = find_place(s, row), *other = *place;
    if (other && !newer) {
        row_free(row);
        return;
    }
    if (other) {
        *place = other->chain;
        *other->back = other->next;
        if (other->next)
            other->next->back = other->back;
        row_free(other);
    }
    row->chain = *place;
    *place = row;
    row->next = s->waiting;
    row->back = &s->waiting;
    if (row->next)
        row->next->back = &row->next;
    s->waiting = row;
}

/* ---- writing ---- */

static void start(struct store *s);

static void on_lazy(uv_timer_t *timer)
{
    struct store *s = timer->data;
    shared_enter(s->shared);
    if (!s->writing && s->waiting)
        start(s);
    shared_leave(s->shared);
}

/* Something waits: starts a job, now or soon. */
static void consider(struct store *s)
{
    bool home = !s->shared || mailbox_here() == s->shared->mailboxes[0];
    if (s->writing) /* its end looks at what waits */
        return;
    if (!home) {
        if (!s->knocked)
            s->knocked = mailbox_post(s->shared->mailboxes[0], &s->knock);
    } else if (s->urgent || s->closing) {
        start(s);
    } else if (!uv_is_active((uv_handle_t *)&s->lazy)) {
        uv_timer_start(&s->lazy, on_lazy, STORE_LAZY_MS, 0);
    }
}

static void on_knock(struct mail *mail)
{
    struct store *s = (struct store *)((char *)mail - offsetof(struct store, knock));
    shared_enter(s->shared);
    s->knocked = false;
    consider(s);
    shared_leave(s->shared);
}

void store_share(struct store *s, struct shared *shared)
{
    s->shared = shared;
    s->knock.open = on_knock;
}

static void on_work(uv_work_t *work)
{
    struct store *s = work->data;
    s->result = s->rows ? store_file_write(s->file, s->rows, &s->problem) : 0;
    if (s->prune && s->result == 0) { /* nobody relies on it: the next day tries again */
        struct fail fail;
        store_file_prune(s->file, &s->age, &fail);
    }
    for (struct store_query *q = s->asked; q; q = q->next)
        q->work(q, s->file);
    if (s->last)
        store_file_close(s->file);
}

static void tell_one(struct listener *l)
{
    l->done(l->arg, l->durable);
    free(l);
}

static void on_told(struct mail *mail)
{
    struct listener *l = (struct listener *)((char *)mail - offsetof(struct listener, mail));
    mailbox_received(l->home);
    tell_one(l);
}

static void tell(struct listener *listeners, bool durable)
{
    struct listener *in_order = NULL;
    while (listeners) { /* first come, first told */
        struct listener *l = listeners;
        listeners = l->next;
        l->next = in_order;
        in_order = l;
    }
    while (in_order) {
        struct listener *l = in_order;
        in_order = l->next;
        l->durable = durable;
        l->mail.open = on_told;
        if (!l->home || !mailbox_post(l->home, &l->mail))
            tell_one(l);
    }
}

static void on_answered(struct mail *mail)
{
    struct store_query *q =
        (struct store_query *)((char *)mail - offsetof(struct store_query, mail));
    mailbox_received(q->home);
    q->done(q);
}

static void answer_queries(struct store_query *queries)
{
    while (queries) {
        struct store_query *q = queries;
        queries = q->next;
        q->mail.open = on_answered;
        if (!q->home || !mailbox_post(q->home, &q->mail))
            q->done(q);
    }
}

/* The mailbox of this loop, which has to wait for an answer; NULL for the one that starts jobs. */
static struct mailbox *expecting_home(const struct store *s)
{
    struct mailbox *here = s->shared ? mailbox_here() : NULL;
    if (!here || here == s->shared->mailboxes[0])
        return NULL;
    mailbox_expect(here);
    return here;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct store *s = handle->data;
    void (*closed)(void *) = s->closed;
    void *arg = s->closed_arg;
    for (struct store_row *row = s->waiting, *next; row; row = next) {
        next = row->next;
        row_free(row);
    }
    tell(s->listeners, false);
    store_file_destroy(s->file);
    s->magic = 0;
    free(s);
    if (closed)
        closed(arg);
}

static void after_work(uv_work_t *work, int status)
{
    struct store *s = work->data;
    shared_enter(s->shared);
    bool last = s->last, durable = s->result == 0;
    if (!durable && !s->warned)
        log_warn("%s; what is to be stored is kept in memory until it can be written",
                 s->problem.message);
    s->warned = !durable;
    for (struct store_row *row = s->rows, *next; row; row = next) {
        next = row->next;
        if (durable || row->table == TABLE_RESPONSE)
            row_free(row);
        else
            let_wait(s, row, false);
    }
    struct listener *told = s->told;
    struct store_query *asked = s->asked;
    s->rows = NULL;
    s->told = NULL;
    s->asked = NULL;
    s->writing = false;
    shared_leave(s->shared);
    tell(told, durable);
    answer_queries(asked);
    shared_enter(s->shared);
    if (s->writing) /* somebody who was told saved more */
        ;
    else if (last && !s->queries && (!s->waiting || !durable))
        uv_close((uv_handle_t *)&s->lazy, on_timer_closed);
    else if (s->closing || s->urgent)
        start(s);
    else if (s->waiting)
        uv_timer_start(&s->lazy, on_lazy, durable ? STORE_LAZY_MS : RETRY_MS, 0);
    shared_leave(s->shared);
}

/* Everything that waits, as one job. */
static void start(struct store *s)
{
    uv_timer_stop(&s->lazy);
    s->rows = s->waiting;
    s->told = s->listeners;
    s->asked = s->queries;
    s->queries = NULL;
    s->prune = s->prune_waits;
    s->age = s->prune_to;
    s->prune_waits = false;
    s->waiting = NULL;
    s->listeners = NULL;
    memset(s->buckets, 0, sizeof s->buckets);
    s->writing = true;
    s->urgent = false;
    s->last = s->closing;
    int rc = uv_queue_work(s->loop, &s->work, on_work, after_work);
    assert(rc == 0); /* it only refuses a missing function */
}

/* A counter that waits already, as most do: all its texts are its key, only the numbers change. */
static bool counted_in_place(struct store *s, const struct store_row *from)
{
    struct store_row *other = NULL;
    if (from->table != TABLE_COUNTER)
        return false;
    shared_enter(s->shared);
    if (!uv_is_closing((uv_handle_t *)&s->lazy))
        other = *find_place(s, from);
    if (other) {
        memcpy(other->number, from->number, sizeof other->number);
        consider(s);
    }
    shared_leave(s->shared);
    return other != NULL;
}

static void save(struct store *s, const struct store_row *from, void (*done)(void *, bool),
                 void *arg)
{
    check(s);
    if (!done && counted_in_place(s, from))
        return;
    struct listener *listener = done ? malloc(sizeof *listener) : NULL;
    struct store_row *row = row_copy(from);
    shared_enter(s->shared);
    bool over = uv_is_closing((uv_handle_t *)&s->lazy);
    if (over || !row || (done && !listener)) {
        shared_leave(s->shared);
        if (row)
            row_free(row);
        free(listener);
        log_error("%s: something is not stored", over ? "the end was reached" : "out of memory");
        if (done)
            done(arg, false);
        return;
    }
    if (listener) {
        *listener = (struct listener){
            .next = s->listeners, .done = done, .arg = arg, .home = expecting_home(s)};
        s->listeners = listener;
    }
    let_wait(s, row, true);
    s->urgent |= from->table != TABLE_COUNTER;
    consider(s);
    shared_leave(s->shared);
}

void store_destroy(struct store *s, void (*closed)(void *), void *arg)
{
    check(s);
    assert(!s->closing);
    shared_enter(s->shared);
    s->closing = true;
    s->closed = closed;
    s->closed_arg = arg;
    if (!s->writing)
        start(s);
    shared_leave(s->shared);
}

/* ---- what may be saved ---- */

void store_save_credential_then(struct store *s, const struct store_credential *c,
                                void (*done)(void *, bool), void *arg)
{
    save(s,
         &(struct store_row){.table = TABLE_CREDENTIAL,
                             .forget = !c->value,
                             .text = {c->site, c->account, c->name, c->value},
                             .number = {c->expires_ms}},
         done, arg);
}

void store_save_credential(struct store *s, const struct store_credential *c)
{
    store_save_credential_then(s, c, NULL, NULL);
}

void store_save_account(struct store *s, const struct store_account *a)
{
    save(s,
         &(struct store_row){.table = TABLE_ACCOUNT,
                             .forget = !a->state,
                             .text = {a->site, a->account, a->model ? a->model : "", a->state,
                                      a->error ? a->error : ""},
                             .number = {a->until_ms, a->strikes, a->changed_ms}},
         NULL, NULL);
}

void store_save_counter(struct store *s, const struct store_counter *c)
{
    save(s,
         &(struct store_row){.table = TABLE_COUNTER,
                             .text = {c->kind, c->name},
                             .number = {c->day, c->requests, c->tokens_in, c->tokens_out}},
         NULL, NULL);
}

void store_save_models(struct store *s, const struct store_models *m)
{
    save(s,
         &(struct store_row){.table = TABLE_MODELS,
                             .forget = !m->json,
                             .text = {m->site, m->json},
                             .number = {m->fetched_ms}},
         NULL, NULL);
}

void store_prune(struct store *s, int64_t day, int64_t changed_ms)
{
    check(s);
    shared_enter(s->shared);
    s->prune_waits = s->urgent = true;
    s->prune_to = (struct store_age){day, changed_ms};
    consider(s);
    shared_leave(s->shared);
}

void store_save_meta(struct store *s, const char *name, const char *value)
{
    save(s, &(struct store_row){.table = TABLE_META, .forget = !value, .text = {name, value}}, NULL,
         NULL);
}

void store_save_conversation(struct store *s, const struct store_conversation *c)
{
    save(s,
         &(struct store_row){.table = TABLE_CONVERSATION,
                             .forget = !c->state,
                             .text = {c->hash, c->site, c->account, c->state},
                             .number = {c->expires_ms, c->credentials}},
         NULL, NULL);
}

void store_save_upload(struct store *s, const struct store_upload *u)
{
    save(s,
         &(struct store_row){.table = TABLE_UPLOAD,
                             .forget = !u->value,
                             .text = {u->hash, u->site, u->account, u->value},
                             .number = {u->expires_ms}},
         NULL, NULL);
}

void store_save_response_then(struct store *s, const struct store_response *r,
                              void (*done)(void *, bool), void *arg)
{
    save(s,
         &(struct store_row){.table = TABLE_RESPONSE,
                             .text = {r->id, r->owner, r->previous, r->body},
                             .number = {r->created_ms, r->expires_ms, r->max_bytes}},
         done, arg);
}

/* ---- asking ---- */

void store_ask(struct store *s, struct store_query *q)
{
    check(s);
    assert(!s->closing);
    shared_enter(s->shared);
    q->home = expecting_home(s);
    q->next = s->queries;
    s->queries = q;
    s->urgent = true;
    consider(s);
    shared_leave(s->shared);
}
