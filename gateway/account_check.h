/*
 * gateway/account_check.h - does the site take the account? One cheap authenticated request each
 * (the site's model list), over the same proxy, TLS and credentials as every request.
 *
 * At most ACCOUNT_CHECKS_AT_ONCE at a time, ACCOUNT_CHECK_MS each. What is found out is what a
 * request would have found out: the account becomes ready, expired, challenged, or rests. One that
 * rests is not asked.
 */
#ifndef DRAGOMAN_GATEWAY_ACCOUNT_CHECK_H
#define DRAGOMAN_GATEWAY_ACCOUNT_CHECK_H

#include "gateway/account_pool.h"
#include "gateway/upstream.h"

enum { ACCOUNT_CHECKS_AT_ONCE = 4, ACCOUNT_CHECK_MS = 20000 };

struct account_check;

struct account_check_wish {
    uv_loop_t *loop;
    struct upstream *upstream;
    struct account_pool *pool;
    struct config *config;
    struct span only; /* "site/account", "site"; "" = all */
    bool running;     /* in a gateway that serves: said in the report */
    /* Once, never before account_check_start returns: {"running":true,"accounts":[{"site",
     * "account","result","message"}]} in the configuration's order. Results: "fine", "failed",
     * "unknown" (nothing cheap to ask tells it). The check is gone afterwards. */
    void (*done)(void *owner, struct span json);
    void *owner;
};

/* NULL with fail when `only` names nobody, or memory is short. */
struct account_check *account_check_start(const struct account_check_wish *, struct fail *);
/* Ends it at once; `done` is not called. */
void account_check_cancel(struct account_check *);

/* The same without a gateway, on a loop of its own, for the command line: with the credentials and
 * rests that are stored, as long as nobody else works on them. The report is appended to `report`;
 * what is worth a remark is written to `remarks`. 0, or -1 with fail. */
int account_check_alone(struct config *, struct span only, struct buffer *report,
                        struct buffer *remarks, struct fail *);

/* How long all of them may take with this configuration, in seconds. */
int account_check_patience_s(const struct config *);
/* The report as lines for people. 0: all are fine (or unknown); 1: some are not; -1 when it is no
 * such JSON. */
int account_check_print(struct buffer *out, struct span json);

#endif
