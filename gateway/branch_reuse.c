/*
 * gateway/branch_reuse.c - see branch_reuse.h.
 *
 * A conversation leaves the book when a run takes it up: two runs never go on in the same one, and
 * when the run fails half-way nobody relies on what the site made of it. A good answer brings it
 * back, under the hash of the longer history.
 */
#include "gateway/branch_reuse.h"

#include "gateway/branch_again.h"
#include "gateway/branch_tools.h"
#include "gateway/clock.h"
#include "gateway/conversation_reuse.h"
#include "gateway/exchange_internal.h"

struct branch_reuse {
    bool on; /* for the target at hand */
    bool in_use;
    struct conversation_turn turn;
    struct conversation_told *told;
};

static struct conversation_book *book_of(const struct branch *b)
{
    return b->exchange->engine->conversations;
}

static bool may_reuse(const struct branch *b)
{
    const struct exchange *e = b->exchange;
    const struct site_config *site = branch_site(b);
    bool visits = site->keys_passthrough && e->grant.visitor_key.n;
    return site->reuse_conversations && (site->adapter->capabilities & CAP_CONVERSATION) &&
           e->n_branches == 1 && b->n_choices == 1 && !b->continuing && !branch_again_turn(b) &&
           !visits;
}

int branch_read_conversation(struct branch *b)
{
    struct exchange *e = b->exchange;
    const struct site_config *site = branch_site(b);
    if (b->reuse)
        b->reuse->on = b->reuse->in_use = false;
    if (!may_reuse(b))
        return 0;
    if (!b->reuse) {
        b->reuse = arena_alloc(&e->arena, sizeof *b->reuse);
        if (!b->reuse)
            return -1;
        *b->reuse = (struct branch_reuse){.told = conversation_told_create(&e->arena)};
    }
    const struct conversation_scope scope = {
        .key = e->grant.key ? e->grant.key->name : SPAN(""),
        .site = site->settings.name,
        .origin = site->settings.origin,
        .model = e->targets[b->target].model,
    };
    conversation_turn_read(&b->reuse->turn, &scope, b->turn);
    b->reuse->on = b->reuse->told != NULL;
    return b->reuse->on ? 0 : -1;
}

static const struct conversation *held(const struct branch *b)
{
    if (!b->reuse || !b->reuse->on || !b->reuse->turn.held)
        return NULL;
    return conversation_book_find(book_of(b), &b->reuse->turn.before, clock_wall_ms());
}

struct span branch_holder(const struct branch *b)
{
    struct shared *shared = b->exchange->engine->shared;
    shared_enter(shared);
    const struct conversation *c = held(b);
    struct span account = c ? shared_lend(shared, c->account) : SPAN("");
    shared_leave(shared);
    return account;
}

struct conversation_told *branch_told(const struct branch *b)
{
    if (!b->reuse || !b->reuse->on)
        return NULL;
    conversation_told_begin(b->reuse->told);
    return b->reuse->told;
}

/* Inside the lock: nobody else takes it up. */
static int take_conversation(struct branch *b)
{
    struct turn_run *run = &b->work->run;
    const struct conversation *c = held(b);
    if (b->reuse)
        b->reuse->in_use = false;
    if (!c || branch_again_turn(b) || !span_eq(c->account, b->account->view.name) ||
        c->credentials != b->account->credentials_hash)
        return 0;
    const struct turn *turn = branch_rest_turn(b, b->reuse->turn.held);
    struct span state = arena_dup(&b->exchange->arena, c->state);
    if (!turn || !state.p)
        return -1;
    run->turn = turn;
    run->conversation = state;
    b->reuse->in_use = true;
    conversation_book_forget(book_of(b), &b->reuse->turn.before);
    return 0;
}

int branch_take_conversation(struct branch *b)
{
    struct shared *shared = b->exchange->engine->shared;
    shared_enter(shared);
    int result = take_conversation(b);
    shared_leave(shared);
    return result;
}

bool branch_conversation_is_gone(const struct branch *b, enum fail_kind kind)
{
    if (!b->reuse || !b->reuse->in_use || !b->adapter || b->work->feed.committed || b->continuing ||
        b->holds_credential_step)
        return false;
    switch (kind) {
    case FAIL_BAD_REQUEST:
    case FAIL_CONTEXT_LENGTH:
    case FAIL_EMPTY:
    case FAIL_PROTOCOL:
    case FAIL_UNAVAILABLE: return true;
    default: return false;
    }
}

void branch_keep_conversation(struct branch *b)
{
    struct turn_run *run = &b->work->run;
    const struct answer_feed *feed = &b->work->feed;
    if (!b->reuse || !b->reuse->on || !b->reuse->turn.can_keep || b->continuing ||
        branch_again_turn(b) || !run->conversation_end.n || feed->other || answer_feed_is_cut(feed))
        return;
    const struct conversation c = {
        .hash = conversation_answered(&b->reuse->turn.whole, b->reuse->told),
        .site = branch_site(b)->settings.name,
        .account = b->account->view.name,
        .credentials = b->account->credentials_hash,
        .state = run->conversation_end,
        .expires_ms = clock_wall_ms() + CONVERSATION_KEEP_MS,
    };
    struct shared *shared = b->exchange->engine->shared;
    shared_enter(shared);
    run->conversation_kept = conversation_book_keep(book_of(b), &c);
    shared_leave(shared);
}
