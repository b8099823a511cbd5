/*
 * gateway/account.h - one of the people's accounts at run time: may it be asked now, and if not,
 * when?
 *
 * Sans-IO: times are monotonic milliseconds (uv_now), handed in. What an account knows of limits:
 * it cools as a whole or for one model (a site's Retry-After, else the adapter's time, else longer
 * each time); it keeps its pace (min_gap, per_hour) and its number of requests at once.
 */
#ifndef DRAGOMAN_GATEWAY_ACCOUNT_H
#define DRAGOMAN_GATEWAY_ACCOUNT_H

#include "gateway/config.h"
#include "gateway/wait_queue.h"

enum account_state { ACCOUNT_READY, ACCOUNT_COOLING, ACCOUNT_EXPIRED, ACCOUNT_CHALLENGED };
const char *account_state_name(enum account_state);

struct account_pool;

/* How often it was leased on one day. */
struct account_day {
    int64_t day; /* since 1970-01-01, UTC */
    int64_t requests;
};

/* Does the site tell the tokens of its answers? NOT_TOLD once means never: who pays by our count
 * wants it right. */
enum usage_habit { USAGE_UNKNOWN, USAGE_TOLD, USAGE_NOT_TOLD };

enum { COOL_DOWNS_MAX = 16 };

struct cool_down {
    uint64_t model;    /* account_model_hash; 0 = the whole account */
    uint64_t until_ms; /* 0 = none now; `strikes` may still count */
    unsigned strikes;  /* limits without a success in between */
    char name[96];     /* the model; "" = the whole account */
};

struct account {
    unsigned magic;
    struct config *config; /* whose texts view.credentials shows; reference, NULL: a visitor's */

    /* What a choice among many accounts looks at, close together. */
    enum account_state state;      /* READY, EXPIRED or CHALLENGED; cooling is in cool_downs */
    int in_flight, max_concurrent; /* 0 = unlimited */
    int weight;                    /* >= 1 */
    bool started;
    size_t n_cool_downs;
    int64_t turn;           /* of the smooth weighted round robin */
    int64_t min_gap_ms;     /* between the beginnings of two requests */
    size_t per_hour;        /* 0 = unlimited */
    uint64_t id;            /* never used again */
    uint64_t last_start_ms; /* when `started` */

    uint64_t *starts; /* the last per_hour beginnings, a ring */
    size_t n_starts, oldest;
    struct cool_down cool_downs[COOL_DOWNS_MAX];

    struct site_account view; /* what the adapter sees; view.owner = this account */
    char *site, *name;
    struct account_pool *pool;

    uint64_t requests, failures; /* since the start of the program */
    struct account_day today;    /* the last day on which it was leased; see account_count_day */
    enum usage_habit usage;
    enum fail_kind last_failure; /* FAIL_NONE: the last request went well, or there was none */
    char last_error[sizeof(((struct fail *)0)->message)]; /* what it said, without secrets */

    int pins;       /* tidying runs that still need the account's credentials, without a lease */
    bool retired;   /* gone from the config, but remembered */
    bool forgotten; /* retired, and freed with its last lease */
    struct account *next_former;
    bool credential_step;               /* one exchange obtains a credential */
    struct wait_queue credential_queue; /* the others wait here */
    unsigned credential_steps;          /* begun so far */
    unsigned credential_changes;        /* rises with each beginning and each end of one */
    unsigned failed_step;               /* the last one that came to nothing, 0 = none … */
    struct fail credential_fail;        /* … and why */
    int unsaved;                        /* writes of what a credential step obtained, under way */
    struct wait_queue unsaved_queue;    /* requests that wait for their end */
    uint64_t credentials_hash;          /* of the configured values, to see a change */
    uint64_t stored_hash;               /* the same as it is written down; 0 = it is not */
    struct credential visitor;          /* the only credential of a visitor's account; owned */
};

/* Names a model among cool-downs; never 0. */
uint64_t account_model_hash(struct span model);

/* When it may be asked for the model as far as cool-downs go: `now_ms` or earlier = now. */
uint64_t account_cool_until(const struct account *, uint64_t model);
/* When its pace and its number of requests at once allow another: `now_ms` or earlier = now,
 * UINT64_MAX = when one ends. */
uint64_t account_free_at(const struct account *);
/* READY, COOLING (as a whole), EXPIRED, CHALLENGED. */
enum account_state account_state_at(const struct account *, uint64_t now_ms);

/* Counts one more on that day; an earlier day's number is forgotten. */
void account_count_day(struct account *, int64_t day);
/* How many were counted on that day. */
int64_t account_requests_on(const struct account *, int64_t day);

/* How a site limits. */
struct account_limits {
    bool per_model;  /* only the model that was asked rests */
    int cool_down_s; /* when the site does not say how long; 0 = longer each time */
};

/* Notes the beginning of a request. */
void account_begin(struct account *, uint64_t now_ms);
/* What a success means for it: it is ready, and the strikes are over; a rest goes on. True when
 * that changed anything. */
bool account_note_success(struct account *, uint64_t model);
/* A whole answer has ended. */
void account_note_usage(struct account *, bool told);
/* What a failure of `kind` means for it. `retry_after_s`: what the site said, 0 = nothing. `jitter`
 * is a number from 0 to 255. */
void account_note_failure(struct account *, enum fail_kind, uint64_t model, int retry_after_s,
                          const struct account_limits *, unsigned jitter, uint64_t now_ms);
/* The words that go with a failure, and with a model's cool-down, for people. */
void account_remember(struct account *, struct span model, const char *message);
/* Takes up what was known before a restart: a rest (until_ms 0 = none, or over) and the strikes of
 * the model, "" = of the whole account, or a state. */
void account_resume(struct account *, struct span model, enum account_state, uint64_t until_ms,
                    unsigned strikes, const char *error);
/* Ends every cool-down and makes it ready. The entries stay, so that its owner still finds the
 * names of what it may have written down. */
void account_forgive(struct account *);
/* Takes the pace of its site's configuration. 0, or -1 when memory is short: the old pace stays. */
int account_set_pace(struct account *, const struct site_config *, int weight);

#endif
