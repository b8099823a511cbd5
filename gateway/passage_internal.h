/*
 * gateway/passage_internal.h - what the files of a passage share: passage.c is its life and the
 * accounts, passage_up.c what goes to the upstream, passage_down.c what comes from it.
 * (passage_way.c is about requests that are none yet.)
 */
#ifndef DRAGOMAN_GATEWAY_PASSAGE_INTERNAL_H
#define DRAGOMAN_GATEWAY_PASSAGE_INTERNAL_H

#include "gateway/client_work.h"
#include "gateway/passage.h"
#include "gateway/passage_rules.h"
#include "gateway/reply.h"

enum passage_step {
    STEP_LIMIT,
    STEP_LEASE,
    STEP_SEND,
    STEP_STREAM,
    STEP_FINISH,
    STEP_OVER,
    STEP_WAIT = -1
};

enum { PASSAGE_MAGIC = 0x50415353 };

/* How it ended; the access log names it. */
enum end_state { END_OPEN, END_COMPLETE, END_BROKEN, END_CANCELLED, END_REFUSED, END_FAILED };

/* What is put in, and where. */
struct injection {
    enum route_inject where;
    struct span name, value;
};

struct passage {
    struct client_work work; /* first */
    unsigned magic;
    enum passage_step step;
    struct engine *engine;
    struct passage *prev, *next;
    struct http_exchange *http; /* NULL: the client is gone or answered */
    struct config *config;      /* reference */
    const struct route_config *route;
    bool bare;                   /* the path is the service's own already */
    struct limited_key *limited; /* reference; NULL = not one of ours */
    bool holds_place;            /* it counts among the key's unfinished requests */
    struct access_grant grant;
    struct arena arena;
    char request_id[REQUEST_ID_SIZE];
    struct ip_address client;
    const char *method; /* static */
    struct span path;   /* for the log; in the arena, without the query */

    /* who asks the upstream */
    struct injection visitor; /* the client's own key */
    bool visits;
    struct account *account;
    size_t account_index;
    uint64_t tried;
    int tries;
    struct span account_name; /* in the arena, for the log */
    struct waiter waiter;
    uint64_t queue_until_ms; /* 0 = not waiting */

    /* up */
    struct upstream_call *call;
    uint64_t body_length; /* UINT64_MAX: chunked */
    struct buffer kept;   /* of the body: all so far while `keeps`, and all before the first call */
    size_t keep_max;
    bool keeps;
    bool body_ended;
    bool body_paused;
    uint64_t bytes_in;

    /* down */
    struct site_head *held; /* in the arena: it goes down when `held_body` was looked at; or NULL */
    struct buffer held_body;
    struct passage_mask mask;
    struct buffer room; /* for pieces that the key was found in */
    bool head_sent, head_waits, paused;
    int status, site_status;
    struct span site_request_id;
    struct fail fail;
    enum end_state end;
    uint64_t bytes_out;

    uv_timer_t timer;
    uint64_t started_ms, first_ms;
    bool advancing;
};

static inline uint64_t passage_now_ms(const struct passage *p) { return uv_now(p->engine->loop); }
static inline const struct site_config *passage_site(const struct passage *p)
{
    return p->route->site;
}

/* What is left out of a path before it goes up. */
struct span passage_stripped(const struct route_config *, bool bare);

/* ---- the life (passage.c) ---- */

void passage_go_on(struct passage *);
/* With fail set. The passage may be over and freed afterwards, from the loop's next turn. */
void passage_fail_now(struct passage *);
/* The answer is a failure of the account's: is another one free at once, and can the request go out
 * again? Then the other one has it, as soon as passage_go_on is called. */
bool passage_change_account(struct passage *);

/* ---- up (passage_up.c) ---- */

/* Memory for what goes up and for what comes down. */
void passage_init_up(struct passage *);
void passage_init_down(struct passage *);
/* Sets p->visitor; without a value where the client's own key is not found. */
void passage_find_visitor(struct passage *);
/* The request goes out with the account's key, and with what came of its body. 0, or -1 with fail.
 */
int passage_send(struct passage *);
/* A piece of the client's body (struct client_work). */
void passage_take_body(struct client_work *, struct span piece, bool last);
/* The request will not go out again. */
void passage_forget_kept(struct passage *);

/* ---- down (passage_down.c) ---- */

/* Without its owner. */
extern const struct upstream_handler passage_handler;
/* The client took what was queued. */
void passage_drained(struct client_work *);

#endif
