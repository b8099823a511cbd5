/*
 * gateway/branch_tidy.c - what goes on behind the client's back: a run that is over may have
 * something to put away at the site, or a credential on its way. Nobody waits for it but the
 * exchange's last step, and that not for ever. See branch_internal.h.
 */
#include "gateway/branch_internal.h"

#include "gateway/clock.h"
#include "gateway/exchange_internal.h"
#include "gateway/site_cookies.h"

struct tidy {
    struct tidy *next, **at; /* of those of the exchange */
    struct exchange *exchange;
    const struct adapter *adapter;
    const struct site_config *site;
    struct account *account; /* pinned */
    bool leased;             /* as well, until the request under way is answered */
    struct turn_run run;
    struct site_request request;
    struct upstream_call *call;
    int steps;
};

static void tidy_next(struct tidy *);

static void tidy_end(struct tidy *t)
{
    struct exchange *e = t->exchange;
    if (t->adapter->destroy)
        t->adapter->destroy(&t->run);
    account_unpin(t->account);
    *t->at = t->next;
    if (t->next)
        t->next->at = t->at;
    e->tidies--;
    if (e->step == STEP_TIDY)
        exchange_go_on(e);
}

static void on_tidy_head(void *owner, const struct site_head *head)
{
    struct tidy *t = owner;
    t->run.now_ms = clock_wall_ms();
    site_cookies_take(t->adapter, &t->run, &t->request, head);
}

static void on_tidy_body(void *owner, struct span bytes) {}

static void on_tidy_read(void *owner) {}

/* The request is over; whoever waits for the account may begin inside. The pin and the exchange
 * last beyond it. */
static void tidy_answered(struct tidy *t)
{
    bool leased = t->leased;
    t->call = NULL;
    t->leased = false;
    if (leased)
        account_release(t->account, exchange_now_ms(t->exchange));
}

static void on_tidy_end(void *owner, enum stream_end end, const struct fail *fail)
{
    tidy_answered(owner);
    tidy_next(owner);
}

/* Is there anything to put away? Then that is the request. */
static bool ask_cleanup(const struct adapter *adapter, struct turn_run *run,
                        struct site_request *request)
{
    site_request_init(request);
    run->now_ms = clock_wall_ms();
    return adapter->cleanup(run, request) == ADAPTER_SEND &&
           !site_cookies_send(adapter, run, request);
}

static void tidy_send(struct tidy *t)
{
    struct upstream_handler handler = {on_tidy_head, on_tidy_body, on_tidy_read, on_tidy_end, t};
    struct fail fail;
    t->call = upstream_start(t->exchange->engine->upstream, t->site, t->account->view.name,
                             &t->request, &handler, &fail);
    if (!t->call)
        tidy_end(t);
}

static void tidy_next(struct tidy *t)
{
    if (t->steps++ < SITE_STEPS_MAX && !t->exchange->engine->stopping &&
        ask_cleanup(t->adapter, &t->run, &t->request))
        tidy_send(t);
    else
        tidy_end(t);
}

bool branch_tidy_up(struct branch *b, bool with_lease)
{
    const struct adapter *adapter = b->adapter;
    struct site_request request;
    bool wanted = adapter->cleanup && !branch_engine(b)->stopping &&
                  ask_cleanup(adapter, &b->work->run, &request); /* most have nothing */
    struct tidy *t = wanted ? arena_alloc(&b->exchange->arena, sizeof *t) : NULL;
    b->adapter = NULL;
    if (!t) {
        if (adapter->destroy)
            adapter->destroy(&b->work->run);
        return false;
    }
    *t = (struct tidy){.exchange = b->exchange,
                       .adapter = adapter,
                       .site = branch_site(b),
                       .account = b->account,
                       .run = b->work->run,
                       .request = request,
                       .steps = 1};
    account_pin(t->account);
    t->next = t->exchange->tidying;
    t->at = &t->exchange->tidying;
    if (t->next)
        t->next->at = &t->next;
    t->exchange->tidying = t;
    t->exchange->tidies++;
    tidy_send(t);
    t->leased = with_lease && t->call && t->request.holds_account;
    return t->leased;
}

/* ---- a credential on its way ---- */

bool branch_lands(const struct branch *b)
{
    return b->holds_credential_step && b->call && !branch_engine(b)->stopping;
}

void branch_begin_landing(struct branch *b)
{
    b->landing = true;
    b->exchange->tidies++;
    branch_resume(b);
}

void branch_end_landing(struct branch *b)
{
    struct exchange *e = b->exchange;
    branch_drop_call(b, false);
    b->landing = false;
    branch_release(b);
    e->tidies--;
    if (e->step == STEP_TIDY)
        exchange_go_on(e);
}

/* ---- no more of it ---- */

void branches_stop_tidying(struct exchange *e)
{
    for (size_t i = 0; i < e->n_branches; i++) {
        if (e->branches[i].landing)
            branch_end_landing(&e->branches[i]);
    }
    for (struct tidy *t; (t = e->tidying);) {
        upstream_cancel(t->call, false);
        tidy_answered(t);
        tidy_end(t);
    }
}
