/*
 * gateway/branch_lease.c - before a run: the target's own form of the turn, its pictures, and an
 * account, which the branch may have to wait for. See branch_internal.h.
 *
 * The hard part: a branch that waits may be parked, and then has no turn.
 */
#include "gateway/branch_internal.h"

#include <stddef.h>

#include "gateway/branch_again.h"
#include "gateway/branch_continue.h"
#include "gateway/branch_reuse.h"
#include "gateway/branch_structure.h"
#include "gateway/branch_tools.h"
#include "gateway/chat_request.h"
#include "gateway/exchange_internal.h"
#include "gateway/exchange_pictures.h"

enum branch_step branch_next_target(struct branch *b)
{
    if (b->continuing) {
        branch_give_up_continuing(b);
        return BRANCH_OVER;
    }
    do {
        if (b->target + 1 >= b->exchange->n_targets)
            return BRANCH_OVER;
        b->target++;
    } while (!exchange_opens(b->exchange, b->target));
    branch_forget_again(b);
    b->tried = 0;
    b->queue_until_ms = 0; /* another queue, with a patience of its own */
    if (b->work)
        b->work->account_name = span_of(NULL, 0);
    if (exchange_unpark(b->exchange)) { /* this target has not seen the turn yet */
        fail_memory(branch_fail(b));
        return BRANCH_OVER;
    }
    return BRANCH_LEASE;
}

static struct lease_wish wish_of(const struct branch *b)
{
    return (struct lease_wish){
        .site = branch_site(b),
        .key = b->exchange->grant.key,
        .model = b->exchange->targets[b->target].model,
        .tried = b->tried,
        .conversation = b->exchange->conversation,
        .holder = branch_holder(b),
    };
}

bool branch_take_account(struct waiter *w, uint64_t now_ms)
{
    const struct branch *b = (struct branch *)((char *)w - offsetof(struct branch, waiter));
    const struct lease_wish wish = wish_of(b);
    return account_pool_take(branch_engine(b)->accounts, w, &wish, now_ms);
}

/* The client's own key where the site takes it, else one of the configured accounts. */
static enum lease_result lease_account(struct branch *b, size_t *index, uint64_t *retry_at)
{
    const struct site_config *site = branch_site(b);
    const struct access_grant *grant = &b->exchange->grant;
    struct account_pool *pool = branch_engine(b)->accounts;
    const struct lease_wish wish = wish_of(b);
    b->account = account_pool_given(pool, &b->waiter, index);
    if (b->account)
        return LEASE_OK;
    if (!site->keys_passthrough || !grant->visitor_key.n)
        return account_pool_lease(pool, &wish, branch_now_ms(b), &b->account, index, retry_at);
    if (b->tried) /* it was refused: there is no other */
        return LEASE_NONE;
    *index = 0;
    b->account = account_pool_visitor(pool, site, grant->visitor_key);
    if (!b->account)
        fail_memory(branch_fail(b));
    return b->account ? LEASE_OK : LEASE_NONE;
}

/* Is it one of our own runs that keeps an account of the site busy? */
static bool waits_for_ours(const struct branch *b)
{
    const struct exchange *e = b->exchange;
    for (size_t i = 0; i < e->n_branches; i++) {
        if (e->branches[i].account && branch_site(&e->branches[i]) == branch_site(b))
            return true;
    }
    return false;
}

void branch_wait_anew(struct branch *b)
{
    if (b->queue_until_ms)
        b->queue_until_ms = branch_now_ms(b) + (uint64_t)branch_site(b)->queue_timeout_ms;
}

static enum branch_step wait_for_account(struct branch *b, uint64_t retry_at)
{
    const struct site_config *site = branch_site(b);
    bool again = b->queue_until_ms != 0;
    if (again && branch_now_ms(b) >= b->queue_until_ms && waits_for_ours(b))
        branch_wait_anew(b);
    if (again && branch_now_ms(b) >= b->queue_until_ms) {
        fail_set(
            branch_fail(b), FAIL_SERVER_BUSY,
            "every account of %.*s has been busy for %lld s; try again later, add an account, or "
            "raise queue_timeout",
            SPAN_ARGS(site->settings.name), (long long)site->queue_timeout_ms / 1000);
        branch_fail(b)->retry_after_s = 10;
        return branch_next_target(b);
    }
    if (!account_pool_wait(branch_engine(b)->accounts, site, &b->waiter,
                           exchange_group(b->exchange), again, retry_at)) {
        fail_set(branch_fail(b), FAIL_SERVER_BUSY,
                 "%d requests wait for an account of %.*s already (queue_max)", site->queue_max,
                 SPAN_ARGS(site->settings.name));
        branch_fail(b)->retry_after_s = 10;
        return branch_next_target(b);
    }
    if (!again)
        b->queue_until_ms = branch_now_ms(b) + (uint64_t)site->queue_timeout_ms;
    exchange_arm_timer(b->exchange);
    exchange_park(b->exchange);
    account_pool_offer(branch_engine(b)->accounts, site, branch_now_ms(b));
    return BRANCH_WAIT;
}

size_t branch_ahead(const struct branch *b)
{
    return account_pool_ahead(branch_engine(b)->accounts, branch_site(b), &b->waiter);
}

/* What the target's options make of the turn; made once for all branches that have the same. A
 * request that is passed through stays as it is. -1 with fail. */
static int settle_target_turn(struct branch *b)
{
    struct exchange *e = b->exchange;
    const struct target_config *t = e->targets[b->target].configured;
    b->turn = b->continuing ? b->continuing->turn : b->asked;
    if (b->continuing)
        return 0;
    if (!t || !t->n_options || b->asked->relay.path.n)
        return 0;
    for (const struct target_turn *made = e->target_turns; made; made = made->next) {
        if (made->asked == b->asked && made->target == b->target) {
            b->turn = made->turn;
            return 0;
        }
    }
    struct target_turn *made = arena_alloc(&e->parsed, sizeof *made);
    if (!made)
        return fail_memory(branch_fail(b));
    const struct turn *turn = turn_with_options(e->engine->json, &e->parsed, b->asked, t->options,
                                                t->n_options, branch_fail(b));
    if (!turn)
        return -1;
    *made = (struct target_turn){b->asked, b->target, turn, e->target_turns};
    e->target_turns = made;
    b->turn = turn;
    return 0;
}

/* What is asked at the target, by the client's account and by the site's. -1 with fail. */
static int settle_turn(struct branch *b)
{
    struct fail fail;
    if (settle_target_turn(b))
        return -1;
    if (!branch_settle_structure(b, &fail) && !branch_settle_tools(b, &fail))
        return 0;
    *branch_fail(b) = fail;
    return -1;
}

static enum branch_step refuse_memory(struct branch *b)
{
    fail_memory(branch_fail(b));
    return BRANCH_RETRY;
}

/* Sites that take pictures by their URL get the URL, unless the configuration says otherwise. */
static bool wants_bytes(const struct branch *b)
{
    return !(branch_site(b)->adapter->capabilities & (CAP_IMAGE_URL | CAP_LOCAL));
}

static enum pictures_state fetch_pictures(struct branch *b)
{
    struct fail fail;
    enum pictures_state pictures = exchange_fetch_pictures(b->exchange, b->turn, &fail);
    b->awaits_pictures = pictures == PICTURES_COMING;
    if (pictures == PICTURES_FAILED)
        *branch_fail(b) = fail;
    return pictures;
}

enum branch_step branch_step_lease(struct branch *b)
{
    const struct site_config *site = branch_site(b);
    uint64_t retry_at = 0;
    size_t index = 0;
    bool parked = b->exchange->parked; /* it waited here: target and turn go together */
    if (site->bridge) {
        fail_set(branch_fail(b), FAIL_BRIDGE,
                 "no browser tab of %.*s is connected (transport = \"bridge\" comes with a later "
                 "version)",
                 SPAN_ARGS(branch_site_name(b)));
        return branch_next_target(b);
    }
    if (!parked && settle_turn(b))
        return BRANCH_RETRY;
    if (!parked && branch_check_capabilities(b))
        return branch_next_target(b);
    if (!parked && wants_bytes(b)) {
        enum pictures_state pictures = fetch_pictures(b);
        if (pictures != PICTURES_HERE)
            return pictures == PICTURES_COMING ? BRANCH_WAIT : branch_next_target(b);
    }
    if (!parked && branch_read_conversation(b))
        return refuse_memory(b);
    switch (lease_account(b, &index, &retry_at)) {
    case LEASE_BUSY: return wait_for_account(b, retry_at);
    case LEASE_COOLING:
        if (branch_fail_kind(b) != FAIL_RATE_LIMITED)
            fail_set(branch_fail(b), FAIL_RATE_LIMITED,
                     "every account of %.*s rests after the site's rate limit",
                     SPAN_ARGS(site->settings.name));
        return branch_next_target(b);
    case LEASE_NONE:
        if (branch_fail_kind(b) == FAIL_NONE)
            fail_set(branch_fail(b), FAIL_CREDENTIAL, "no account of %.*s is configured",
                     SPAN_ARGS(site->settings.name));
        return branch_next_target(b);
    case LEASE_OK: break;
    }
    b->queue_until_ms = 0;
    b->tried |= 1ull << (index % 64);
    if (b->fail)
        fail_clear(b->fail);
    if (parked && (exchange_unpark(b->exchange) || settle_turn(b)))
        return refuse_memory(b);
    if (branch_begin_run(b))
        return BRANCH_RETRY;
    return site->adapter->capabilities & CAP_LOCAL ? BRANCH_LOCAL : BRANCH_ASK;
}
