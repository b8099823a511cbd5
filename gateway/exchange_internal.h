/*
 * gateway/exchange_internal.h - what exchange.c and branch.c share.
 */
#ifndef DRAGOMAN_GATEWAY_EXCHANGE_INTERNAL_H
#define DRAGOMAN_GATEWAY_EXCHANGE_INTERNAL_H

#include "gateway/api.h"
#include "gateway/branch.h"
#include "gateway/client_work.h"
#include "gateway/exchange.h"
#include "gateway/reply.h"

enum exchange_step {
    STEP_LIMIT,
    STEP_RECALL,
    STEP_ADMIT,
    STEP_RESOLVE,
    STEP_RUN,
    STEP_KEEP,
    STEP_FINISH,
    STEP_TIDY,
    STEP_OVER,
    STEP_WAIT = -1
};

/* How it ended; the access log names it. */
enum end_state {
    END_STATE_OPEN,
    END_COMPLETE,
    END_BROKEN, /* "cut": it failed when a part of the answer was there */
    END_CANCELLED,
    END_REFUSED,
    END_FAILED
};

/* A turn with a target's options in it, for all branches that ask the same. */
struct target_turn {
    const struct turn *asked;
    size_t target;
    const struct turn *turn;
    struct target_turn *next;
};

/* Its place among those who wait for model lists. */
struct list_wait {
    struct waiter waiter;
    struct exchange *exchange;
};

/* Of an API with a state (exchange_state.c); in the arena. */
struct exchange_state {
    struct response_call *call; /* under way, or over and not looked at yet */
    struct response_found *found;
    size_t n_found;
    bool deleted;
    bool saved;         /* or tried */
    struct span answer; /* the whole answer, when it was stored; {NULL,0} else */
};

/* Thousands may wait: what is small lies together, and what most need not is made when somebody
 * does. */
struct exchange {
    struct client_work work; /* first */
    unsigned magic;
    struct deadline deadline; /* the earliest thing that waits for time, lazily set */
    struct engine *engine;
    struct exchange *prev, *next;
    const struct api *api;
    const char *path;            /* below the API's base; static, or in the arena */
    struct http_exchange *http;  /* NULL: the client is gone or answered */
    struct config *config;       /* reference */
    struct limited_key *limited; /* reference; NULL = not one of ours */
    struct access_grant grant;   /* its visitor_key is in the arena */
    struct arena arena;
    struct arena parsed;                  /* the turns and what was made of them, while needed */
    struct prompts *prompts;              /* in `parsed`; NULL while the exchange is parked */
    struct target_turn *target_turns;     /* made so far, in `parsed` */
    struct emulated_turn *emulated_turns; /* likewise (branch_tools.h) */
    struct structured_made *structured_turns; /* likewise (branch_structure.h) */
    struct span model;
    uint64_t conversation; /* names it for the choice of accounts; 0 = not known */

    const struct target *targets;
    struct branch *branches;            /* in the arena */
    struct tidy *tidying;               /* clean-ups of theirs that are under way */
    struct list_wait *list_wait;        /* in the arena; NULL: it never waited for model lists */
    struct exchange_state *state;       /* NULL: the API has none, or it was not asked for yet */
    struct exchange_pictures *pictures; /* in the arena; NULL: none had to be fetched */
    struct answer *answer;              /* in the arena; NULL before the first run */
    struct fail *fail;                  /* in the arena, when something went wrong; else NULL */

    uint64_t started_ms, first_delta_ms, last_write_ms;
    uint64_t bytes_out;

    char request_id[REQUEST_ID_SIZE];
    struct ip_address client;
    int8_t step;          /* enum exchange_step */
    uint8_t end;          /* enum end_state */
    bool holds_place : 1; /* it counts among the key's unfinished requests */
    bool parked : 1;      /* see exchange_park */
    bool stream : 1;
    bool head_sent : 1;   /* stream: status 200 is out */
    bool drained_out : 1; /* the client takes more */
    bool advancing : 1;
    uint16_t status;
    uint16_t tidies; /* of branches, under way: clean-ups, credentials that are still to come */
    uint16_t n_branches;
    uint16_t n_targets; /* more of them than this holds are never reached */
};

/* The steps of APIs with a state, and their answer out of the store (exchange_state.c). */
enum exchange_step exchange_recall(struct exchange *);
enum exchange_step exchange_answer_stored(struct exchange *);
enum exchange_step exchange_keep(struct exchange *);
/* The request as the API's functions get it. */
struct api_request exchange_request(struct exchange *);
/* Where the failure's words go; never NULL. */
struct fail *exchange_fail(struct exchange *);

/* For branches. */
uint64_t exchange_now_ms(const struct exchange *);
/* Room for what went wrong, kept at *fail: most requests need none. */
struct fail *exchange_room_for_fail(struct exchange *, struct fail **fail);
/* With whom it takes turns in queues: all of the same key. */
uint64_t exchange_group(const struct exchange *);
/* Does the client's key open this target? */
bool exchange_opens(const struct exchange *, size_t target);
/* Hands what one event produced to the client, in one write. The client may turn out to be gone:
 * then step is STEP_FINISH afterwards, and exchange_go_on is due as soon as nothing of a branch is
 * in use any more. */
void exchange_flush(struct exchange *);
void exchange_go_on(struct exchange *);
/* One that waits for its first account needs no turns: they go, and come out of the body again when
 * it has one. Only where that is cheap; nothing otherwise. */
void exchange_park(struct exchange *);
/* Nothing for one that is not parked. 0, or -1 when memory is short. */
int exchange_unpark(struct exchange *);
/* Before the first run: answer and writer come into being. 0, or -1 when memory is short. */
int exchange_begin_answer(struct exchange *);
/* Something that branches wait for in their first step has come, or will not come. */
void exchange_wake_branches(struct exchange *);
/* With log_bodies. */
void exchange_log_body(const struct exchange *, const struct branch *, const char *direction,
                       struct span text);
static inline void exchange_note_body(const struct exchange *e, const struct branch *b,
                                      const char *direction, struct span text)
{
    if (e->config->log_bodies && text.n)
        exchange_log_body(e, b, direction, text);
}
/* The answer could not be written: it is too large, or memory is short. */
int exchange_fail_writing(const struct exchange *, struct fail *);
void exchange_note_first_delta(struct exchange *);
void exchange_arm_timer(struct exchange *);

#endif
