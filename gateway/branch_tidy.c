/*
 * gateway/branch_tidy.c - a run that is over for the client may have something to put away at the
 * site: nobody waits for it but the exchange's last step. See branch_internal.h.
 */
#include "gateway/branch_internal.h"

#include "gateway/clock.h"
#include "gateway/exchange_internal.h"
#include "gateway/site_cookies.h"

struct tidy {
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

static void on_tidy_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct tidy *t = owner;
    bool leased = t->leased;
    t->call = NULL;
    t->leased = false;
    if (leased) /* whoever waits may begin inside; the pin and the exchange last beyond it */
        account_release(t->account, exchange_now_ms(t->exchange));
    tidy_next(t);
}

static void tidy_next(struct tidy *t)
{
    struct upstream_handler handler = {on_tidy_head, on_tidy_body, on_tidy_read, on_tidy_end, t};
    struct fail fail;
    t->request = (struct site_request){0};
    t->run.now_ms = clock_wall_ms();
    if (!t->adapter->cleanup || t->steps++ >= SITE_STEPS_MAX || t->exchange->engine->stopping ||
        t->adapter->cleanup(&t->run, &t->request) != ADAPTER_SEND ||
        site_cookies_send(t->adapter, &t->run, &t->request)) {
        tidy_end(t);
        return;
    }
    t->call = upstream_start(t->exchange->engine->upstream, t->site, t->account->view.name,
                             &t->request, &handler, &fail);
    if (!t->call)
        tidy_end(t);
}

bool branch_tidy_up(struct branch *b, bool with_lease)
{
    struct tidy *t = arena_alloc(&b->exchange->arena, sizeof *t);
    const struct adapter *adapter = b->adapter;
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
                       .run = b->work->run};
    account_pin(t->account);
    b->exchange->tidies++;
    tidy_next(t);
    t->leased = with_lease && t->call && t->request.holds_account;
    return t->leased;
}
