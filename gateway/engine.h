/*
 * gateway/engine.h - what all exchanges of one event loop share.
 *
 * Created by serve(); owns everything but the listener. A reload swaps the config; exchanges keep
 * the one they began with.
 *
 * With several workers each loop has an engine. The first one owns what is common to all: accounts,
 * limits, books, figures, the store, the lists of models; the others' pointers lead there. Who
 * touches it does so inside the lock (shared.h): accounts, limits, catalogue and store see to that
 * themselves, around the rest whoever calls does.
 */
#ifndef DRAGOMAN_GATEWAY_ENGINE_H
#define DRAGOMAN_GATEWAY_ENGINE_H

#include <uv.h>

#include "base/spare.h"
#include "gateway/account_pool.h"
#include "gateway/capture.h"
#include "gateway/catalogue.h"
#include "gateway/conversation_reuse.h"
#include "gateway/deadlines.h"
#include "gateway/drift.h"
#include "gateway/http_server.h"
#include "gateway/key_limits.h"
#include "gateway/log_turns.h"
#include "gateway/loop_busy.h"
#include "gateway/metrics.h"
#include "gateway/shape_book.h"
#include "gateway/shared.h"
#include "gateway/store.h"
#include "gateway/token_file.h"
#include "gateway/turn_memory.h"
#include "gateway/upload_book.h"
#include "gateway/upstream.h"

struct exchange;
struct image_fetcher;
struct passage;

/* First blocks of arenas that go from one exchange to the next. */
enum engine_spare {
    SPARE_CHAT, /* an exchange's */
    SPARE_RUN,  /* what a run adds */
    SPARE_TURN, /* what the body becomes */
    SPARE_ARENAS
};

struct engine {
    uv_loop_t *loop;
    struct shared *shared; /* NULL: one loop */
    struct engine *first;  /* whose the common things are; itself, or another */
    struct config *config; /* current; reference */
    struct upstream *upstream;
    struct account_pool *accounts;
    struct key_limits *limits;
    struct deadlines deadlines;   /* of exchanges */
    uint64_t wall_at;             /* uv_now when `wall_ms` was asked for */
    int64_t wall_ms;              /* 0: never */
    uv_timer_t clock;             /* rings for the earliest of them, and when exchanges are over */
    uv_timer_t accounts_timer;    /* somebody waits for an account's pace */
    uv_timer_t heap_timer;        /* requests ended lately: what they left may go back */
    unsigned heap_looks;          /* how often it still looks */
    struct spare spare_exchanges; /* these go back then, too */
    struct spare spare_arenas[SPARE_ARENAS];
    uv_timer_t day_timer; /* what is old in the store goes */
    struct catalogue *catalogue;
    struct store *store;                     /* NULL for the built-in demo */
    struct turn_memory *memory;              /* of adapters, from turn to turn */
    struct conversation_book *conversations; /* that sites hold for us */
    struct upload_book *uploads;             /* files that sites have of us */
    struct image_fetcher *images;            /* that clients give by their URL */
    struct drift *drift;                     /* what adapters did not understand */
    struct metrics *metrics;                 /* of GET /metrics */
    struct log_turns *log_turns;             /* NULL: there was no memory */
    struct loop_busy *busy;                  /* NULL: libuv cannot tell */
    struct capture_folder *captures;
    struct token_file token_file;
    struct token_source tokens;  /* over it */
    struct json_parser *json;    /* small bodies and site frames; never kept across a call */
    struct shape_book shapes;    /* frames of sites that need not be parsed again */
    struct buffer scratch;       /* of an adapter within one call (turn_run.scratch) */
    struct spare spare_requests; /* of branches, as the exchanges' */
    struct buffer out;           /* what one event wants to tell the client; empty between events */
    struct exchange *exchanges;
    struct exchange *over;    /* freed when nothing of them can be on its way back */
    struct passage *passages; /* requests that are passed through */
    size_t n_exchanges;       /* unfinished ones of this loop, passages too */
    int64_t started_ms;       /* wall clock */
    struct fail run_fail;     /* of the adapter that was asked last (turn_run.fail) */
    struct fail no_room;      /* of all that fail when there is no memory to say why */
    struct engine_closing {   /* of engine_destroy: what is on its way out */
        struct engine *engine;
        void (*closed)(void *);
        void *arg;
    } closing;
    bool stopping;
};

/* Both clocks, for limits. */
struct key_time engine_key_time(struct engine *);
/* The wall's time at the present turn of this engine's own loop (clock_wall_ms): a turn asks the
 * clock once, however many requests it moves. */
int64_t engine_wall_ms(struct engine *);
/* The engine of the loop that runs on this thread: `one` of them, when there is only one. */
struct engine *engine_here(struct engine *one);
/* A request began (1), or is over (-1). */
void engine_count_active(struct engine *, int);
/* Somebody is gone: what he left may go back to the system when nothing is going on. */
void engine_watch_heap(struct engine *);
/* Those that are not over, of all loops. */
size_t engine_active(const struct engine *);
/* For GET /metrics. */
void engine_count_request(struct engine *, const struct metrics_request *);
void engine_count_failure(struct engine *, struct span site, enum fail_kind);
void engine_count_refusal(struct engine *, enum fail_kind);
/* After a deadline was set, or an exchange is over: the clock rings in time. */
void engine_wind_clock(struct engine *);
/* A site answered something that its adapter does not know: counted, and said once an hour. */
void engine_note_drift(struct engine *, const struct site_config *, const char *kind);
/* NULL with fail. Takes a reference of the config. `rebuild`: what was stored is moved aside first.
 */
struct engine *engine_create(uv_loop_t *, struct config *, bool rebuild, struct fail *);
/* One for another loop, with what `first` has in common with all; before any of the loops runs.
 * NULL when memory is short. */
struct engine *engine_create_beside(struct engine *first, uv_loop_t *);
/* Several loops use what `first` has in common with them from now on. */
void engine_share(struct engine *first, struct shared *);
/* A new config for what comes next: the first engine, then the others, all while no other loop
 * runs. 0, or -1 when memory is short. */
int engine_reload(struct engine *, struct config *);
/* Cancels every exchange at once (the end of a graceful stop). */
void engine_cancel_all(struct engine *);
/* After all exchanges are over, the first engine's after all others'; `closed` when every handle is
 * closed and the engine is freed. */
void engine_destroy(struct engine *, void (*closed)(void *), void *arg);

#endif
