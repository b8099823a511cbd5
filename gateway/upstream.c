/*
 * gateway/upstream.c - calls to sites and the connections that carry them.
 *
 * A pool is a key (scheme, host, port, proxy, account, TLS settings), its connections and the calls
 * that wait for one. A connection is a stack of byte streams and an answer being read; it is
 * connecting, busy with a call, draining what a call left behind, idle or closing. A call is bound
 * to at most one connection.
 *
 * Lifetimes make this file: a handler may cancel inside any callback, and a connection may die at
 * any moment. A call is gone once it ended or was cancelled; a connection goes when its stream is
 * closed, on a later turn of the loop. So after each callback only the connection is looked at
 * (conn->call, conn->state), never the call that was called back.
 *
 * A compressed answer may be a thousand times what comes in. When a turn of the loop has inflated
 * INFLATE_TURN of them, each connection that inflates a further piece rests behind it, which is a
 * pause of our own, until the next turn.
 *
 * Clocks: all calls share one timer (deadlines.h). A read only stores a new deadline; the call's
 * place in the heap stays, and is moved when it turns out to be too early. Idle and draining
 * connections share another one.
 *
 * At rest, between two chunks of an answer, a call holds itself, its connection and its socket, and
 * no more: the request's head goes with the answer's first byte, the answer's head when it was
 * told.
 */
#include "gateway/upstream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <time.h>

#include "base/spare.h"
#include "gateway/deadlines.h"
#include "gateway/http_client.h"
#include "gateway/net_streams.h"
#include "gateway/other_origin.h"

enum {
    UPSTREAM_MAGIC = 0x75707374,
    CALL_MAGIC = 0x63616c6c,
    CONNECTION_MAGIC = 0x636f6e6e,
    REQUEST_HEAD_MAX = 256 * 1024,
    HEAD_USUAL = 1024, /* with this much room one of the spare ones does */
    DRAIN_BYTES = 64 * 1024,
    DRAIN_MS = 1000,
    INFLATE_TURN = 256 * 1024,           /* of all answers, in one turn of the loop */
    BODY_KEEP = 4 * UPSTREAM_HIGH_WATER, /* memory that a streamed body's queues keep */
    BODY_QUEUE_MAX = 1 << 30,            /* a caller that does not heed the high-water mark */
    LABEL_MAX = 300
};

enum connection_state {
    CONNECTION_OPENING,
    CONNECTION_BUSY,
    CONNECTION_DRAINING,
    CONNECTION_IDLE,
    CONNECTION_CLOSING
};

struct connection {
    unsigned magic;
    struct pool *pool;
    TAILQ_ENTRY(connection) link;   /* in pool->connections until it closes */
    TAILQ_ENTRY(connection) parked; /* in upstream->parked while idle or draining */
    struct byte_stream *stream;
    enum connection_state state;
    struct upstream_call *call; /* OPENING and BUSY */
    struct http_answer answer;
    /* received while the call was paused or rested; handed out before anything else is read */
    struct buffer held;
    uint64_t deadline; /* IDLE, DRAINING */
    uint32_t drained;
    unsigned served; /* calls before this one */
    bool got_bytes;  /* of the running call's answer */
    bool written;    /* its request left whole */
    bool writing;    /* a write is under way */
    bool delivered;  /* something in this read that on_read_done is owed for */
    bool wake;       /* DRAINING: what was held back has to be read on */
    bool prefetches; /* its stream has a list of what is needed */
    bool rests;      /* until the call's alarm, in the next turn of the loop */
};
TAILQ_HEAD(connection_list, connection);
TAILQ_HEAD(call_list, upstream_call);
SLIST_HEAD(pool_list, pool);

struct pool {
    struct upstream *upstream;
    SLIST_ENTRY(pool) link;
    struct arena arena; /* everything below that is text */
    struct span account;
    const char *host, *label, *ca_file;
    const char *session_key; /* of TLS sessions */
    struct proxy_config proxy;
    const char *proxy_label; /* in the arena; NULL: there was no connection through it so far */
    bool tls;
    int port;
    int max, max_idle;
    int64_t idle_timeout_ms;
    bool reuse;
    struct tls_trust **trust;
    const struct address_rule *only;    /* NULL = any address; else the pool is its call's alone */
    struct connection_list connections; /* idle ones: the freshest first */
    struct call_list waiting;
    int open, idle;
    size_t users; /* connections and calls that are not freed yet */
    struct http_known_head head;
};

/* A loaded trust store; kept as long as the upstream, because loading one takes its time. */
struct trust_slot {
    struct trust_slot *next;
    struct tls_trust *trust;
    char ca_file[];
};

struct upstream {
    unsigned magic;
    struct net net; /* its address is the streams' */
    struct pool_list pools;
    struct connection_list parked;
    uv_timer_t sweep;
    uint64_t sweep_at;          /* 0 = not armed */
    struct deadlines deadlines; /* of the calls */
    uv_timer_t clock;
    struct spare heads, started;      /* memory for requests' heads, and for calls */
    struct http_head_room *head_room; /* for the next answer's head; NULL: somebody has it */
    char *joined;                     /* NULL so far, or where pieces of a body are joined */
    struct tls_sessions *sessions;
    struct trust_slot *trusts;
    struct upstream_counters counters;
    size_t inflated; /* bytes, in the turn of the loop at `turn` */
    uint64_t turn;   /* the loop's time */
    size_t calls;
    bool closing;
    void (*closed)(void *);
    void *closed_arg;
};

enum call_phase { CALL_WAITING, CALL_OPENING, CALL_SENT, CALL_ANSWERING, CALL_OVER };

/* Of a body that comes piece by piece. */
struct streamed_body {
    struct upstream_body_handler handler;
    struct buffer sending; /* in the stream's hands */
    struct buffer queue;   /* waits behind it */
    bool chunked;
    bool ended; /* upstream_send said `last` */
    bool above; /* the high-water mark was passed: on_drain is owed */
};

struct upstream_call {
    unsigned magic;
    enum call_phase phase;
    struct pool *pool;
    TAILQ_ENTRY(upstream_call) waiting;
    struct connection *conn;
    struct upstream_handler handler;
    struct buffer head;             /* empty once an answer comes */
    struct span body;               /* with the head; streamed calls have none */
    struct streamed_body *streamed; /* NULL: `body` is all */
    struct deadline alarm;          /* never later than `deadline` */
    bool is_head_method, paused, retried;
    bool brief;        /* the first-byte clock is for all of its answer: others wait for it */
    bool wake;         /* resumed, or rested: read on as soon as the alarm comes */
    bool doomed;       /* memory was short: to be told as soon as the alarm comes */
    uint64_t sent;     /* bytes of finished writes: progress, for the first-byte clock */
    uint64_t progress; /* when the first-byte clock last looked */
    uint64_t deadline; /* 0 = none */
    int64_t connect_ms, first_byte_ms, idle_ms;
};

static void connection_close(struct connection *);
static void pool_advance(struct pool *);
static void call_open(struct upstream_call *);

static uint64_t now_of(const struct upstream *u) { return uv_now(u->net.loop); }

/* ---- clocks ---- */

static void on_clock(uv_timer_t *timer);

static void wind_clock(struct upstream *u)
{
    uint64_t at = deadlines_next(&u->deadlines), now = now_of(u), wait = at > now ? at - now : 0;
    if (at == DEADLINE_NEVER || u->closing)
        return;
    if (!uv_is_active((uv_handle_t *)&u->clock) || uv_timer_get_due_in(&u->clock) > wait)
        uv_timer_start(&u->clock, on_clock, wait, 0);
}

static void call_arm(struct upstream_call *call, uint64_t at)
{
    struct upstream *u = call->pool->upstream;
    deadlines_set(&u->deadlines, &call->alarm, at);
    wind_clock(u);
}

/* The call must have got on within `ms` from now (0 or less: no limit). Costs nothing while the
 * alarm would come earlier anyway. */
static void call_clock(struct upstream_call *call, int64_t ms)
{
    struct upstream *u = call->pool->upstream;
    call->deadline = ms > 0 ? now_of(u) + (uint64_t)ms : 0;
    if (call->deadline && call->deadline < deadline_at(&u->deadlines, &call->alarm))
        call_arm(call, call->deadline);
}

/* Some of the answer came, or will be read on. */
static void call_clock_idle(struct upstream_call *call)
{
    if (!call->brief)
        call_clock(call, call->idle_ms);
}

/* The alarm comes in the next turn of the loop, whatever the deadline. */
static void call_poke(struct upstream_call *call) { call_arm(call, 0); }

static void duration(char *to, size_t room, int64_t ms)
{
    if (ms % 1000 == 0)
        snprintf(to, room, "%lld s", (long long)(ms / 1000));
    else
        snprintf(to, room, "%lld ms", (long long)ms);
}

/* ---- calls ---- */

static void pool_release(struct pool *pool);

/* Its memory is another one's, unless it grew. */
static void free_head(struct upstream *u, struct buffer *head)
{
    if (head->p)
        explicit_bzero(head->p, head->n); /* it carries credentials */
    if (head->cap != HEAD_USUAL) {
        buffer_free(head);
        return;
    }
    spare_give(&u->heads, head->p);
    buffer_init(head, REQUEST_HEAD_MAX);
}

static struct buffer take_head(struct upstream *u)
{
    struct buffer head;
    buffer_init(&head, REQUEST_HEAD_MAX);
    head.p = spare_take(&u->heads);
    head.cap = head.p ? HEAD_USUAL : 0; /* none: writing into it says so */
    return head;
}

static void streamed_free(struct streamed_body *s)
{
    if (!s)
        return;
    buffer_free(&s->sending);
    buffer_free(&s->queue);
    free(s);
}

/* Takes the call out of everything and frees it; the handler hears nothing from here on. Its use of
 * the pool is the caller's to release. */
static void call_detach(struct upstream_call *call)
{
    assert(call->magic == CALL_MAGIC && call->phase != CALL_OVER);
    if (call->phase == CALL_WAITING)
        TAILQ_REMOVE(&call->pool->waiting, call, waiting);
    if (call->conn) {
        call->conn->call = NULL;
        call->conn = NULL;
    }
    struct upstream *u = call->pool->upstream;
    free_head(u, &call->head);
    streamed_free(call->streamed);
    deadlines_leave(&u->deadlines, &call->alarm);
    u->calls--;
    call->phase = CALL_OVER;
    call->magic = 0;
    spare_give(&u->started, call);
}

/* Whoever needs the pool afterwards counts among its users. */
static void call_retire(struct upstream_call *call)
{
    struct pool *pool = call->pool;
    call_detach(call);
    pool_release(pool);
}

static void call_end(struct upstream_call *call, enum stream_end end, const struct fail *fail)
{
    static const struct fail none = {0};
    struct upstream_handler handler = call->handler;
    call_retire(call);
    handler.on_end(handler.owner, end, fail ? fail : &none);
}

/* Memory is short: ends the call from the loop's next turn, because its starter has not returned
 * yet. */
static void call_doom(struct upstream_call *call)
{
    call->doomed = true;
    call_poke(call);
}

static void call_timed_out(struct upstream_call *call)
{
    struct fail fail;
    char after[32];
    struct connection *conn = call->conn;
    struct pool *pool = call->pool;
    switch (call->phase) {
    case CALL_WAITING:
        duration(after, sizeof after, call->first_byte_ms);
        fail_set(&fail, FAIL_TIMEOUT,
                 "no connection to %s became free within %s: all %d are in use", pool->label, after,
                 pool->max);
        break;
    case CALL_OPENING: {
        duration(after, sizeof after, call->connect_ms);
        const char *phase = byte_stream_phase(conn->stream);
        fail_set(&fail, FAIL_TIMEOUT, "%s did not answer within %s%s%s (connect_timeout)",
                 pool->label, after, *phase ? ", still " : "", phase);
        break;
    }
    case CALL_SENT:
        duration(after, sizeof after, call->first_byte_ms);
        fail_set(&fail, FAIL_TIMEOUT,
                 "%s accepted the request but sent no answer within %s (first_byte_timeout)",
                 pool->label, after);
        break;
    default:
        duration(after, sizeof after, call->brief ? call->first_byte_ms : call->idle_ms);
        if (call->brief) {
            fail_set(&fail, FAIL_TIMEOUT,
                     "%s did not end its answer within %s (first_byte_timeout)", pool->label,
                     after);
            break;
        }
        fail_set(&fail, FAIL_TIMEOUT,
                 "%s fell silent for %s in the middle of its answer (idle_timeout)", pool->label,
                 after);
    }
    if (conn)
        connection_close(conn);
    pool->users++;
    call_end(call, END_CUT, &fail);
    pool_advance(pool);
    pool_release(pool);
}

static void call_read_on(struct upstream_call *call);

/* A large body is still leaving, or a streamed one still coming: the site has nothing to answer
 * yet.
 */
static bool is_getting_on(struct upstream_call *call)
{
    const struct connection *conn = call->conn;
    if (call->phase != CALL_SENT || conn->written)
        return false;
    if (call->streamed && !call->streamed->ended && !conn->writing)
        return true;
    uint64_t progress = call->sent - byte_stream_unsent(conn->stream);
    bool moved = progress != call->progress;
    call->progress = progress;
    return moved;
}

static void on_alarm(struct upstream_call *call)
{
    if (call->doomed) {
        struct pool *pool = call->pool;
        struct fail fail;
        fail_memory(&fail);
        if (call->conn) /* half a request went out on it, or none */
            connection_close(call->conn);
        pool->users++;
        call_end(call, END_CUT, &fail);
        pool_advance(pool);
        pool_release(pool);
        return;
    }
    uint64_t now = now_of(call->pool->upstream);
    if (call->deadline && !(call->paused && call->phase >= CALL_SENT)) {
        if (now >= call->deadline && is_getting_on(call))
            call->deadline = now + (uint64_t)call->first_byte_ms;
        if (now >= call->deadline) {
            call_timed_out(call);
            return;
        }
        call_arm(call, call->deadline);
    }
    if (call->wake) {
        call->wake = false;
        call_read_on(call);
    }
}

static void on_clock(uv_timer_t *timer)
{
    struct upstream *u = timer->data;
    uint64_t now = now_of(u);
    struct deadline *alarm;
    while ((alarm = deadlines_take(&u->deadlines, now)))
        on_alarm((struct upstream_call *)((char *)alarm - offsetof(struct upstream_call, alarm)));
    wind_clock(u);
}

/* ---- idle and draining connections ---- */

static void on_sweep(uv_timer_t *timer);

static void sweep_by(struct upstream *u, uint64_t at)
{
    if (u->closing || (u->sweep_at && u->sweep_at <= at))
        return;
    uint64_t now = now_of(u);
    u->sweep_at = at ? at : 1;
    uv_timer_start(&u->sweep, on_sweep, at > now ? at - now : 0, 0);
}

static void park(struct connection *conn, enum connection_state state, int64_t ms)
{
    struct upstream *u = conn->pool->upstream;
    conn->state = state;
    conn->deadline = ms > 0 ? now_of(u) + (uint64_t)ms : 0;
    TAILQ_INSERT_TAIL(&u->parked, conn, parked);
    if (conn->deadline)
        sweep_by(u, conn->deadline);
}

static void unpark(struct connection *conn)
{
    TAILQ_REMOVE(&conn->pool->upstream->parked, conn, parked);
}

/* Takes a connection out of the idle ones of its pool. */
static void leave_idle(struct connection *conn)
{
    assert(conn->state == CONNECTION_IDLE);
    unpark(conn);
    conn->pool->idle--;
    conn->pool->upstream->counters.idle--;
}

static void connection_make_idle(struct connection *conn)
{
    struct pool *pool = conn->pool;
    if (conn->prefetches)
        byte_stream_prefetch(conn->stream, &(struct prefetch){0});
    conn->prefetches = false;
    http_answer_reset(&conn->answer, false);
    buffer_shrink(&conn->held, 0);
    TAILQ_REMOVE(&pool->connections, conn, link);
    TAILQ_INSERT_HEAD(&pool->connections, conn, link);
    conn->served++;
    pool->idle++;
    pool->upstream->counters.idle++;
    park(conn, CONNECTION_IDLE, pool->idle_timeout_ms);
    if (pool->max_idle > 0 && pool->idle > pool->max_idle) {
        struct connection *oldest = TAILQ_LAST(&pool->connections, connection_list);
        while (oldest->state != CONNECTION_IDLE)
            oldest = TAILQ_PREV(oldest, connection_list, link);
        connection_close(oldest);
    }
}

static void connection_read_on(struct connection *conn);

static void on_sweep(uv_timer_t *timer)
{
    struct upstream *u = timer->data;
    uint64_t now = now_of(u), next = 0;
    u->sweep_at = 0;
    struct connection *conn = TAILQ_FIRST(&u->parked);
    while (conn) {
        if (conn->deadline && now >= conn->deadline) {
            struct pool *pool = conn->pool;
            connection_close(conn);
            pool_advance(pool);
            conn = TAILQ_FIRST(&u->parked); /* closing may have changed the list */
            continue;
        }
        if (conn->deadline && (!next || conn->deadline < next))
            next = conn->deadline;
        conn = TAILQ_NEXT(conn, parked);
    }
    if (next)
        sweep_by(u, next);
    /* Reading on may change the list: begin anew after each. */
    TAILQ_FOREACH(conn, &u->parked, parked)
    {
        if (conn->wake) {
            conn->wake = false;
            connection_read_on(conn);
            sweep_by(u, 0);
            return;
        }
    }
}

/* ---- connections ---- */

static void on_stream_closed(void *up)
{
    struct connection *conn = up;
    struct pool *pool = conn->pool;
    struct net *net = &pool->upstream->net;
    assert(conn->state == CONNECTION_CLOSING);
    pool->upstream->counters.open--;
    http_answer_free(&conn->answer);
    buffer_free(&conn->held);
    conn->magic = 0;
    free(conn);
    pool_release(pool);
    net_release(net);
}

/* The call, if there is one, keeps its other ties; whoever closes goes on with it, and lets the
 * pool advance. */
static void connection_close(struct connection *conn)
{
    if (conn->state == CONNECTION_CLOSING)
        return;
    if (conn->state == CONNECTION_IDLE)
        leave_idle(conn);
    else if (conn->state == CONNECTION_DRAINING)
        unpark(conn);
    conn->state = CONNECTION_CLOSING;
    if (conn->call) {
        conn->call->conn = NULL;
        conn->call = NULL;
    }
    TAILQ_REMOVE(&conn->pool->connections, conn, link);
    conn->pool->open--;
    byte_stream_close(conn->stream);
}

/* A streamed body begins anew: what was sent of it goes into the queue again. */
static bool rewind_body(struct upstream_call *call)
{
    struct span sent = {NULL, 0};
    struct streamed_body *s = call->streamed;
    if (!s)
        return true;
    if (!s->handler.on_again || !s->handler.on_again(call->handler.owner, &sent))
        return false;
    buffer_clear(&s->sending);
    buffer_clear(&s->queue);
    if (s->chunked)
        http_chunk_write(&s->queue, sent, s->ended);
    else
        buffer_append(&s->queue, sent);
    return s->queue.error == BUFFER_OK;
}

/* The connection is of no use any more. Its call is tried again on a fresh one where that is safe,
 * else it ends. */
static void connection_failed(struct connection *conn, const struct fail *fail)
{
    struct pool *pool = conn->pool;
    struct upstream_call *call = conn->call;
    bool again = call && conn->served > 0 && !conn->got_bytes && !call->retried &&
                 conn->state == CONNECTION_BUSY;
    pool->users++;
    connection_close(conn);
    if (again && rewind_body(call)) {
        call->retried = true;
        call_open(call);
    } else if (call) {
        struct fail told = *fail;
        if (told.kind == FAIL_CUT && call->phase != CALL_ANSWERING)
            told.kind = FAIL_UNREACHABLE;
        else if (told.kind == FAIL_UNREACHABLE && call->phase == CALL_ANSWERING)
            told.kind = FAIL_CUT;
        call_end(call, END_CUT, &told);
    }
    pool_advance(pool);
    pool_release(pool);
}

static void connection_broken(struct connection *conn)
{
    struct fail fail;
    if (conn->answer.fail)
        fail = *conn->answer.fail;
    else
        fail_memory(&fail);
    connection_failed(conn, &fail);
}

/* The answer is whole. The connection is given back before the handler hears of it, so that its
 * next request may use it. */
static void connection_answered(struct connection *conn, bool more_came)
{
    struct pool *pool = conn->pool;
    struct upstream_call *call = conn->call;
    pool->users++;
    conn->call = NULL;
    if (call)
        call->conn = NULL;
    if (conn->state == CONNECTION_DRAINING)
        unpark(conn);
    conn->state = CONNECTION_BUSY;
    if (conn->answer.keep_alive && !more_came && conn->written && pool->reuse &&
        !pool->upstream->closing)
        connection_make_idle(conn);
    else
        connection_close(conn);
    pool_advance(pool);
    if (call)
        call_end(call, END_CLEAN, NULL);
    pool_release(pool);
}

static void call_on_head(struct upstream_call *call, struct connection *conn)
{
    struct site_head head = conn->answer.head;
    call->phase = CALL_ANSWERING;
    struct span retry_after = site_head_get(&head, "retry-after");
    if (retry_after.n)
        head.retry_after_s = http_retry_after(retry_after, (int64_t)time(NULL));
    call_clock_idle(call);
    call->handler.on_head(call->handler.owner, &head);
}

/* What the read holds of the body is handed out at once. */
static void join_pieces(struct connection *conn, struct span *bytes, struct span *piece)
{
    struct upstream *u = conn->pool->upstream;
    if (!u->joined)
        u->joined = malloc(NET_BUFFER_SIZE);
    if (u->joined)
        http_answer_join(&conn->answer, bytes, piece, u->joined, NET_BUFFER_SIZE);
}

/* A piece was inflated: others have their turn when it was enough. Its handler may have cancelled.
 */
static void count_inflated(struct connection *conn, size_t n)
{
    struct upstream *u = conn->pool->upstream;
    struct upstream_call *call = conn->call;
    uint64_t now = now_of(u);
    if (u->turn != now)
        u->inflated = 0;
    u->turn = now;
    u->inflated += n;
    if (u->inflated < INFLATE_TURN || !call || conn->state != CONNECTION_BUSY)
        return;
    conn->rests = true;
    byte_stream_read_stop(conn->stream);
    call->wake = true;
    call_clock_idle(call);
    call_arm(call, now + 1); /* not now: the clock would take it in this turn */
}

/* Hands out what `bytes` hold. Returns how much of it is left: the call was paused, or rests. 0
 * also when everything is over. */
static size_t connection_digest(struct connection *conn, struct span bytes)
{
    for (;;) {
        struct upstream_call *call = conn->call;
        if (conn->state == CONNECTION_CLOSING || conn->state == CONNECTION_IDLE ||
            (call && (call->paused || conn->rests)))
            return conn->state == CONNECTION_BUSY ? bytes.n : 0;
        struct span piece = {NULL, 0};
        size_t before = bytes.n;
        enum answer_event event = http_answer_next(&conn->answer, &bytes, &piece);
        size_t passed = piece.n > before - bytes.n ? piece.n : before - bytes.n;
        if (!call && (conn->drained += (uint32_t)passed) > DRAIN_BYTES) {
            struct fail fail = {0};
            connection_failed(conn, &fail);
            return 0;
        }
        switch (event) {
        case ANSWER_MORE: return 0;
        case ANSWER_HEAD:
            conn->delivered = true;
            if (call)
                call_on_head(call, conn);
            http_answer_drop_head(&conn->answer);
            break;
        case ANSWER_BODY:
            conn->delivered = true;
            if (call && bytes.n)
                join_pieces(conn, &bytes, &piece);
            if (call)
                call->handler.on_body(call->handler.owner, piece);
            if (http_answer_inflates(&conn->answer))
                count_inflated(conn, piece.n);
            break;
        case ANSWER_END: connection_answered(conn, bytes.n > 0); return 0;
        case ANSWER_BROKEN: connection_broken(conn); return 0;
        }
    }
}

static void connection_read_done(struct connection *conn)
{
    bool owed = conn->delivered;
    conn->delivered = false;
    if (owed && conn->state == CONNECTION_BUSY && conn->call)
        conn->call->handler.on_read_done(conn->call->handler.owner);
}

/* Hands out what was held back, then reads on. Only ever from a timer: reading on may deliver at
 * once. */
static void connection_read_on(struct connection *conn)
{
    if (conn->state == CONNECTION_CLOSING || (conn->call && conn->call->paused))
        return;
    conn->rests = false;
    size_t left = connection_digest(conn, buffer_span(&conn->held));
    if (conn->state == CONNECTION_CLOSING || conn->state == CONNECTION_IDLE)
        goto read;
    buffer_consume(&conn->held, conn->held.n - left);
    connection_read_done(conn);
read:
    if (conn->state != CONNECTION_CLOSING && !conn->rests && !(conn->call && conn->call->paused))
        byte_stream_read_start(conn->stream);
}

static void call_read_on(struct upstream_call *call)
{
    if (call->conn && call->phase >= CALL_SENT)
        connection_read_on(call->conn);
}

static void on_stream_read(void *up, struct span bytes)
{
    struct connection *conn = up;
    assert(conn->magic == CONNECTION_MAGIC);
    if (conn->state == CONNECTION_IDLE) { /* nobody asked for anything */
        struct pool *pool = conn->pool;
        connection_close(conn);
        pool_advance(pool);
        return;
    }
    struct upstream_call *call = conn->call;
    if (call && call->phase == CALL_ANSWERING)
        call_clock_idle(call);
    else if (call && conn->written && !conn->got_bytes)
        free_head(conn->pool->upstream, &call->head); /* it never has to go out again */
    conn->got_bytes = true;
    size_t left = conn->held.n ? bytes.n : connection_digest(conn, bytes);
    if (left && buffer_append(&conn->held, span_from(bytes, bytes.n - left)) != 0) {
        struct fail fail;
        fail_memory(&fail);
        connection_failed(conn, &fail);
    }
}

static void on_stream_read_done(void *up) { connection_read_done(up); }

static void on_stream_eof(void *up)
{
    struct connection *conn = up;
    if (conn->state == CONNECTION_BUSY && conn->got_bytes) {
        if (http_answer_eof(&conn->answer) == ANSWER_END)
            connection_answered(conn, true);
        else
            connection_broken(conn);
        return;
    }
    struct fail fail;
    fail_set(&fail, FAIL_UNREACHABLE, "%s closed the connection without an answer",
             conn->pool->label);
    connection_failed(conn, &fail);
}

static void on_stream_fail(void *up, const struct fail *fail) { connection_failed(up, fail); }

static void connection_written(struct connection *conn);

/* An owed on_drain comes from on_written. */
static void connection_write(struct connection *conn, const struct span *pieces, size_t n)
{
    const struct streamed_body *s = conn->call->streamed;
    conn->writing = true;
    if (s && s->above)
        byte_stream_write(conn->stream, pieces, n);
    else if (byte_stream_write_now(conn->stream, pieces, n))
        connection_written(conn);
}

/* What waits of a streamed body goes out: the queue, whole, becomes what is being sent. */
static struct span take_queue(struct streamed_body *s)
{
    struct buffer empty = s->sending;
    assert(empty.n == 0);
    s->sending = s->queue;
    s->queue = empty;
    return buffer_span(&s->sending);
}

static void send_queue(struct connection *conn, struct upstream_call *call)
{
    struct span piece = take_queue(call->streamed);
    call->sent += piece.n;
    connection_write(conn, &piece, 1);
}

/* Nothing is on its way any more. Calls nobody back: it may be the starter of the write whom this
 * is about. */
static void connection_written(struct connection *conn)
{
    struct upstream_call *call = conn->call;
    struct streamed_body *s = call ? call->streamed : NULL;
    conn->writing = false;
    if (s) {
        buffer_shrink(&s->sending, BODY_KEEP);
        conn->written = s->ended && !s->queue.n;
    } else {
        conn->written = true;
    }
    if (call && call->phase == CALL_SENT)
        call_clock(call, call->first_byte_ms);
}

static void on_stream_written(void *up)
{
    struct connection *conn = up;
    struct upstream_call *call = conn->call;
    struct streamed_body *s = call ? call->streamed : NULL;
    connection_written(conn);
    if (s && s->queue.n) {
        send_queue(conn, call);
        if (conn->writing)
            return;
    }
    if (s && s->above) { /* last: it may send, or cancel */
        s->above = false;
        s->handler.on_drain(call->handler.owner);
    }
}

/* ---- sending a call's request ---- */

static void connection_send(struct connection *conn, struct upstream_call *call)
{
    conn->state = CONNECTION_BUSY;
    conn->call = call;
    conn->got_bytes = conn->written = conn->writing = conn->delivered = conn->wake = false;
    conn->rests = false;
    conn->drained = 0;
    call->conn = conn;
    call->phase = CALL_SENT;
    call->progress = UINT64_MAX;
    http_answer_reset(&conn->answer, call->is_head_method);
    conn->answer.as_it_is = call->streamed != NULL;
    call_clock(call, call->first_byte_ms);
    if (call->streamed) /* what came of the body meanwhile goes with the head */
        call->body = take_queue(call->streamed);
    struct span pieces[2] = {buffer_span(&call->head), call->body};
    call->sent = pieces[0].n + pieces[1].n;
    connection_write(conn, pieces, call->body.n ? 2 : 1);
    if (call->paused)
        byte_stream_read_stop(conn->stream);
}

static void on_stream_open(void *up)
{
    struct connection *conn = up;
    struct upstream *u = conn->pool->upstream;
    struct upstream_call *call = conn->call;
    assert(conn->state == CONNECTION_OPENING && call);
    u->counters.connections++;
    if (conn->pool->tls && net_tls_was_resumed(conn->stream))
        u->counters.tls_resumed++;
    else if (conn->pool->tls)
        u->counters.tls_full++;
    connection_send(conn, call);
    if (!call->paused)
        byte_stream_read_start(conn->stream);
}

static const struct byte_stream_events stream_events = {
    on_stream_open,    on_stream_read, on_stream_read_done, on_stream_eof,
    on_stream_written, on_stream_fail, on_stream_closed};

/* What its sockets are called in sentences. False when memory is short. */
static bool name_proxy(struct pool *pool)
{
    char at[LABEL_MAX];
    net_label(at, sizeof at, pool->proxy.host.p, pool->proxy.port);
    if (!pool->proxy_label)
        pool->proxy_label = arena_printf(&pool->arena, "the proxy %s", at).p;
    return pool->proxy_label != NULL;
}

/* Socket, then what the site's settings put above it. NULL when memory is short. */
static struct byte_stream *stack_streams(struct pool *pool)
{
    struct net *net = &pool->upstream->net;
    struct byte_stream *below, *above;
    if (pool->proxy.kind != PROXY_NONE) {
        if (!name_proxy(pool))
            return NULL;
        below = net_socket_create(net, pool->proxy.host.p, pool->proxy.port, pool->proxy_label);
        above = below ? net_proxy_create(net, below, &pool->proxy, pool->host, pool->port) : NULL;
        if (below && !above)
            byte_stream_discard(below);
        below = above;
    } else {
        below = net_socket_create(net, pool->host, pool->port, pool->label);
        if (below && pool->only)
            net_socket_only(below, pool->only);
    }
    if (!below || !pool->tls)
        return below;
    struct net_tls_settings settings = {.host = pool->host,
                                        .label = pool->label,
                                        .session_key = pool->session_key,
                                        .ca_file = pool->ca_file,
                                        .sessions = pool->upstream->sessions,
                                        .trust = pool->trust};
    above = net_tls_create(net, below, &settings);
    if (!above)
        byte_stream_discard(below);
    return above;
}

/* A fresh connection for this call. */
static void call_open(struct upstream_call *call)
{
    struct pool *pool = call->pool;
    struct connection *conn = calloc(1, sizeof *conn);
    struct byte_stream *stream = conn ? stack_streams(pool) : NULL;
    call->phase = CALL_OPENING;
    if (!stream) {
        free(conn);
        call_doom(call);
        return;
    }
    conn->magic = CONNECTION_MAGIC;
    conn->pool = pool;
    conn->stream = stream;
    conn->state = CONNECTION_OPENING;
    conn->call = call;
    call->conn = conn;
    http_answer_init(&conn->answer, pool->label);
    conn->answer.spare = &pool->upstream->head_room;
    buffer_init(&conn->held, 2 * NET_BUFFER_SIZE);
    TAILQ_INSERT_TAIL(&pool->connections, conn, link);
    pool->open++;
    pool->users++;
    pool->upstream->counters.open++;
    net_hold(&pool->upstream->net);
    byte_stream_listen(stream, &stream_events, conn);
    call_clock(call, call->connect_ms);
    byte_stream_open(stream);
}

/* ---- pools ---- */

static void pool_release(struct pool *pool)
{
    if (--pool->users > 0)
        return;
    SLIST_REMOVE(&pool->upstream->pools, pool, pool, link);
    arena_free(&pool->arena);
    explicit_bzero(&pool->head, sizeof pool->head);
    free(pool);
}

/* Gives idle connections and free places to those who wait, first come first served. */
static void pool_advance(struct pool *pool)
{
    struct upstream_call *call;
    while (!pool->upstream->closing && (call = TAILQ_FIRST(&pool->waiting))) {
        struct connection *conn = NULL;
        if (pool->idle > 0) {
            TAILQ_FOREACH(conn, &pool->connections, link)
            {
                if (conn->state == CONNECTION_IDLE)
                    break;
            }
        }
        if (!conn && pool->max > 0 && pool->open >= pool->max)
            return;
        TAILQ_REMOVE(&pool->waiting, call, waiting);
        if (conn) {
            leave_idle(conn);
            pool->upstream->counters.reused++;
            connection_send(conn, call);
        } else {
            call_open(call);
        }
    }
}

static const char *keep(struct arena *arena, struct span s, bool *ok)
{
    struct span copy = arena_dup(arena, s);
    *ok = *ok && copy.p;
    return copy.p;
}

static struct tls_trust **trust_for(struct upstream *u, struct span ca_file)
{
    struct trust_slot *slot = u->trusts;
    while (slot && !span_eq(span_str(slot->ca_file), ca_file))
        slot = slot->next;
    if (!slot && (slot = calloc(1, sizeof *slot + ca_file.n + 1))) {
        if (ca_file.n)
            memcpy(slot->ca_file, ca_file.p, ca_file.n);
        slot->next = u->trusts;
        u->trusts = slot;
    }
    return slot ? &slot->trust : NULL;
}

/*
 * Who resumes a TLS session tells the server that he is who had the one before. So accounts, and
 * ways of one account through different proxies, keep their sessions apart as they keep their
 * connections apart. (Not so pictures: their pools are made for one call, and nobody's.)
 */
static const char *session_key(struct pool *pool, struct span account)
{
    if (pool->only)
        return arena_printf(&pool->arena, "%s for pictures", pool->label).p;
    if (pool->proxy.kind == PROXY_NONE)
        return arena_printf(&pool->arena, "%s as %.*s", pool->label, SPAN_ARGS(account)).p;
    return arena_printf(&pool->arena, "%s as %.*s through %d %.*s:%d %.*s", pool->label,
                        SPAN_ARGS(account), (int)pool->proxy.kind, SPAN_ARGS(pool->proxy.host),
                        pool->proxy.port, SPAN_ARGS(pool->proxy.user))
        .p;
}

static struct pool *pool_create(struct upstream *u, const struct site_config *site,
                                struct span account)
{
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    bool ok = true;
    char label[LABEL_MAX];
    arena_init(&pool->arena);
    pool->upstream = u;
    pool->account = span_of(keep(&pool->arena, account, &ok), account.n);
    pool->host = keep(&pool->arena, site->host, &ok);
    pool->ca_file = keep(&pool->arena, site->ca_file, &ok);
    pool->tls = site->tls;
    pool->port = site->port;
    pool->proxy = site->proxy;
    pool->only = site->only;
    pool->proxy.host.p = keep(&pool->arena, site->proxy.host, &ok);
    pool->proxy.user.p = keep(&pool->arena, site->proxy.user, &ok);
    pool->proxy.password.p = keep(&pool->arena, site->proxy.password, &ok);
    if (ok)
        net_label(label, sizeof label, pool->host, pool->port);
    pool->label = ok ? keep(&pool->arena, span_str(label), &ok) : NULL;
    pool->session_key = ok ? session_key(pool, account) : NULL;
    pool->trust = trust_for(u, site->ca_file);
    if (!ok || !pool->session_key || !pool->trust) {
        arena_free(&pool->arena);
        free(pool);
        return NULL;
    }
    TAILQ_INIT(&pool->connections);
    TAILQ_INIT(&pool->waiting);
    SLIST_INSERT_HEAD(&u->pools, pool, link);
    return pool;
}

static bool same_proxy(const struct proxy_config *a, const struct proxy_config *b)
{
    if (a->kind != b->kind || a->port != b->port)
        return false;
    return a->kind == PROXY_NONE || (span_eq(a->host, b->host) && span_eq(a->user, b->user) &&
                                     span_eq(a->password, b->password));
}

/* What keeps connections apart. */
static bool pool_is_for(const struct pool *pool, const struct site_config *site,
                        struct span account)
{
    return pool->port == site->port && pool->tls == site->tls && span_eq(pool->account, account) &&
           span_eq(span_str(pool->host), site->host) && same_proxy(&pool->proxy, &site->proxy) &&
           span_eq(span_str(pool->ca_file), site->ca_file);
}

/* Found or made; counted as used by the caller. NULL when memory is short. */
static struct pool *pool_for(struct upstream *u, const struct site_config *site,
                             struct span account)
{
    struct pool *pool;
    SLIST_FOREACH(pool, &u->pools, link)
    {
        if (pool_is_for(pool, site, account))
            break;
    }
    if (!pool)
        pool = pool_create(u, site, account);
    if (!pool)
        return NULL;
    pool->users++;
    pool->max = site->pool.max;
    pool->max_idle = site->pool.max_idle;
    pool->idle_timeout_ms = site->pool.idle_timeout_ms;
    pool->reuse = site->pool.reuse;
    return pool;
}

/* ---- what upstream.h promises ---- */

/* A call that has its pool, counted as used, and no head yet. NULL with fail. */
static struct upstream_call *call_create(struct upstream *u, const struct site_config *site,
                                         struct span account_name,
                                         const struct upstream_handler *handler, struct fail *fail)
{
    struct upstream_call *call = spare_take(&u->started);
    struct pool *pool = call ? pool_for(u, site, account_name) : NULL;
    if (!pool) {
        spare_give(&u->started, call);
        fail_memory(fail);
        return NULL;
    }
    *call = (struct upstream_call){.magic = CALL_MAGIC,
                                   .pool = pool,
                                   .handler = *handler,
                                   .head = take_head(u),
                                   .connect_ms = site->connect_timeout_ms,
                                   .first_byte_ms = site->first_byte_timeout_ms,
                                   .idle_ms = site->idle_timeout_ms};
    return call;
}

/* It was not started. NULL. */
static struct upstream_call *call_discard(struct upstream_call *call)
{
    struct pool *pool = call->pool;
    struct upstream *u = pool->upstream;
    free_head(u, &call->head);
    streamed_free(call->streamed);
    spare_give(&u->started, call);
    pool_release(pool);
    return NULL;
}

/* NULL with fail: it was discarded. */
static struct upstream_call *call_start(struct upstream_call *call, struct fail *fail)
{
    struct pool *pool = call->pool;
    struct upstream *u = pool->upstream;
    if (deadlines_join(&u->deadlines)) {
        fail_memory(fail);
        return call_discard(call);
    }
    u->calls++;
    u->counters.requests++;
    TAILQ_INSERT_TAIL(&pool->waiting, call, waiting);
    pool_advance(pool);
    if (call->phase == CALL_WAITING)
        call_clock(call, call->first_byte_ms);
    return call;
}

struct upstream_call *upstream_start(struct upstream *u, const struct site_config *site,
                                     struct span account_name, const struct site_request *request,
                                     const struct upstream_handler *handler, struct fail *fail)
{
    assert(u->magic == UPSTREAM_MAGIC && !u->closing);
    struct site_config other;
    if (request->origin.n) {
        if (other_origin(site, request->origin, &other, fail))
            return NULL;
        site = &other;
    }
    struct upstream_call *call = call_create(u, site, account_name, handler, fail);
    if (!call)
        return NULL;
    call->body = request->body;
    call->brief = request->credential_step;
    call->is_head_method = strcmp(request->method, "HEAD") == 0;
    if (http_request_write(&call->head, request, site->host_header, site->settings.prefix,
                           &call->pool->head, fail))
        return call_discard(call);
    return call_start(call, fail);
}

struct upstream_call *upstream_open(struct upstream *u, const struct site_config *site,
                                    struct span account_name, const struct http_outgoing *request,
                                    const struct upstream_handler *handler,
                                    const struct upstream_body_handler *body_handler,
                                    struct fail *fail)
{
    assert(u->magic == UPSTREAM_MAGIC && !u->closing && body_handler->on_drain);
    struct upstream_call *call = call_create(u, site, account_name, handler, fail);
    if (!call)
        return NULL;
    call->is_head_method = span_eq(request->method, SPAN("HEAD"));
    if (http_head_write(&call->head, request, site->host_header, site->settings.prefix,
                        &call->pool->head, fail))
        return call_discard(call);
    call->streamed = calloc(1, sizeof *call->streamed);
    if (!call->streamed) {
        fail_memory(fail);
        return call_discard(call);
    }
    call->streamed->handler = *body_handler;
    call->streamed->chunked = request->length == HTTP_CHUNKED_BODY;
    call->streamed->ended = request->length == HTTP_NO_BODY || request->length == 0;
    buffer_init(&call->streamed->sending, BODY_QUEUE_MAX);
    buffer_init(&call->streamed->queue, BODY_QUEUE_MAX);
    return call_start(call, fail);
}

size_t upstream_send(struct upstream_call *call, struct span piece, bool last)
{
    struct streamed_body *s = call->streamed;
    struct connection *conn = call->conn;
    assert(call->magic == CALL_MAGIC && s && !s->ended);
    s->ended = last;
    if (s->chunked)
        http_chunk_write(&s->queue, piece, last);
    else
        buffer_append(&s->queue, piece);
    if (s->queue.error) { /* half a body must not look like a whole one */
        call_doom(call);
        return 0;
    }
    if (conn && call->phase >= CALL_SENT && !conn->writing) {
        if (s->queue.n) {
            call_clock(call, call->phase == CALL_SENT ? call->first_byte_ms : call->idle_ms);
            send_queue(conn, call);
        } else if (last) {
            conn->written = true;
        }
    }
    size_t waiting = s->queue.n + (conn && conn->writing ? byte_stream_unsent(conn->stream) : 0);
    if (waiting > UPSTREAM_HIGH_WATER)
        s->above = true;
    return waiting;
}

bool upstream_is_told(const struct upstream_call *call)
{
    const struct connection *conn = call->conn;
    bool stays = !conn->held.n; /* what was held back goes before on_end */
    return stays && http_answer_is_told(&conn->answer);
}

void upstream_prefetch(struct upstream_call *call, const struct prefetch *list)
{
    struct connection *conn = call->conn;
    struct prefetch all = {0};
    if (!conn)
        return;
    prefetch_add(&all, conn, sizeof *conn);
    prefetch_add(&all, call, sizeof *call);
    prefetch_add_all(&all, list);
    byte_stream_prefetch(conn->stream, &all);
    conn->prefetches = true;
}

bool upstream_has_sent(const struct upstream_call *call)
{
    const struct connection *conn = call->conn;
    return conn && conn->got_bytes && conn->written;
}

void upstream_pause(struct upstream_call *call)
{
    assert(call->magic == CALL_MAGIC);
    if (call->paused)
        return;
    call->paused = true;
    if (call->conn && call->phase >= CALL_SENT)
        byte_stream_read_stop(call->conn->stream);
}

void upstream_resume(struct upstream_call *call)
{
    assert(call->magic == CALL_MAGIC);
    if (!call->paused)
        return;
    call->paused = false;
    if (call->phase < CALL_SENT)
        return;
    if (call->phase == CALL_SENT)
        call_clock(call, call->first_byte_ms);
    else
        call_clock_idle(call);
    call->wake = true; /* not here: the caller may be inside another call's callback */
    call_poke(call);
}

void upstream_cancel(struct upstream_call *call, bool finished)
{
    assert(call->magic == CALL_MAGIC);
    struct pool *pool = call->pool;
    struct connection *conn = call->conn;
    bool was_paused = call->paused || call->wake;
    bool drain = finished && conn && call->phase == CALL_ANSWERING && conn->written &&
                 pool->reuse && !pool->upstream->closing;
    if (conn && !drain)
        connection_close(conn);
    call_detach(call);
    if (drain) {
        park(conn, CONNECTION_DRAINING, DRAIN_MS);
        conn->wake = was_paused;
        if (conn->wake)
            sweep_by(pool->upstream, 0);
    }
    pool_advance(pool);
    pool_release(pool);
}

void upstream_forget_idle(struct upstream *u)
{
    struct connection *conn = TAILQ_FIRST(&u->parked), *after;
    for (; conn; conn = after) {
        after = TAILQ_NEXT(conn, parked);
        if (conn->state == CONNECTION_IDLE)
            connection_close(conn);
    }
}

void upstream_rest(struct upstream *u)
{
    spare_empty(&u->heads);
    spare_empty(&u->started);
}

uv_loop_t *upstream_loop(const struct upstream *u) { return u->net.loop; }

struct upstream_counters upstream_counters(const struct upstream *u) { return u->counters; }

static void on_drained(struct net *net)
{
    struct upstream *u = (struct upstream *)((char *)net - offsetof(struct upstream, net));
    assert(u->closing && SLIST_EMPTY(&u->pools));
    void (*closed)(void *) = u->closed;
    void *arg = u->closed_arg;
    for (struct trust_slot *slot = u->trusts, *next; slot; slot = next) {
        next = slot->next;
        if (slot->trust)
            tls_trust_release(slot->trust);
        free(slot);
    }
    tls_sessions_destroy(u->sessions);
    http_head_room_free(u->head_room);
    upstream_rest(u);
    free(u->joined);
    free(u->net.read_buffer);
    free(u->net.plain_buffer);
    u->magic = 0;
    free(u);
    if (closed)
        closed(arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct upstream *u = handle->data;
    net_release(&u->net);
}

static void on_turns_closed(void *arg)
{
    struct upstream *u = arg;
    net_release(&u->net);
}

/* Who was at a handshake that ran on the thread has left his place now. */
static void on_thread_closed(void *arg)
{
    struct upstream *u = arg;
    handshake_turns_close(u->net.turns, on_turns_closed, u);
}

static void on_unused_thread_closed(void *arg) {}

/* Both or none. */
static bool create_handshakes(struct net *net)
{
    net->thread = handshake_thread_create(net->loop);
    if (!net->thread)
        return false;
    net->turns = handshake_turns_create(net->loop);
    if (!net->turns)
        handshake_thread_close(net->thread, on_unused_thread_closed, NULL);
    return net->turns != NULL;
}

struct upstream *upstream_create(uv_loop_t *loop)
{
    struct upstream *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    u->magic = UPSTREAM_MAGIC;
    u->net = (struct net){.loop = loop, .drained = on_drained};
    u->net.read_buffer = malloc(NET_BUFFER_SIZE);
    u->net.plain_buffer = malloc(NET_BUFFER_SIZE);
    u->sessions = tls_sessions_create();
    if (!u->net.read_buffer || !u->net.plain_buffer || !u->sessions ||
        !create_handshakes(&u->net)) {
        if (u->sessions)
            tls_sessions_destroy(u->sessions);
        free(u->net.read_buffer);
        free(u->net.plain_buffer);
        free(u);
        return NULL;
    }
    u->heads = (struct spare){.size = HEAD_USUAL + JSON_PADDING};
    u->started = (struct spare){.size = sizeof(struct upstream_call)};
    TAILQ_INIT(&u->parked);
    uv_timer_init(loop, &u->sweep);
    uv_timer_init(loop, &u->clock);
    u->sweep.data = u->clock.data = u;
    net_hold(&u->net); /* the sweep */
    net_hold(&u->net); /* the clock */
    net_hold(&u->net); /* the handshakes */
    return u;
}

void upstream_destroy(struct upstream *u, void (*closed)(void *), void *arg)
{
    assert(u->magic == UPSTREAM_MAGIC && !u->closing && u->calls == 0);
    u->closing = true;
    u->closed = closed;
    u->closed_arg = arg;
    struct connection *conn;
    while ((conn = TAILQ_FIRST(&u->parked)))
        connection_close(conn);
    uv_close((uv_handle_t *)&u->sweep, on_timer_closed);
    uv_close((uv_handle_t *)&u->clock, on_timer_closed);
    handshake_thread_close(u->net.thread, on_thread_closed, u);
}
