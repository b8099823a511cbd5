/*
 * gateway/branch_run.c - one run of an adapter: what it is handed, and what of its work is kept.
 * See branch_internal.h.
 */
#include "gateway/branch_internal.h"

#include "gateway/branch_again.h"
#include "gateway/branch_continue.h"
#include "gateway/branch_reuse.h"
#include "gateway/branch_structure.h"
#include "gateway/branch_tools.h"
#include "gateway/branch_uploads.h"
#include "gateway/clock.h"
#include "gateway/exchange_internal.h"
#include "gateway/log.h"

static void count_drift(void *owner, const char *kind)
{
    struct branch *b = owner;
    b->drifts++;
    engine_note_drift(branch_engine(b), branch_site(b), kind);
    capture_drift(b->work->capture, kind);
    log_debug("%s: %s answered something unknown: %s", b->exchange->request_id, b->adapter->name,
              kind);
}

static uint64_t memory_scope(const struct branch *b)
{
    const struct access_grant *grant = &b->exchange->grant;
    return turn_memory_scope(grant->key ? grant->key->name : SPAN(""), grant->visitor_key,
                             branch_site(b)->settings.name);
}

static void keep_in_memory(void *owner, struct span key, struct span value)
{
    struct branch *b = owner;
    shared_enter(branch_engine(b)->shared);
    turn_memory_keep(branch_engine(b)->memory, memory_scope(b), key, value, branch_now_ms(b));
    shared_leave(branch_engine(b)->shared);
}

static struct span recall_from_memory(void *owner, struct span key)
{
    struct branch *b = owner;
    struct shared *shared = branch_engine(b)->shared;
    shared_enter(shared);
    struct span value =
        turn_memory_recall(branch_engine(b)->memory, memory_scope(b), key, branch_now_ms(b));
    value = shared_lend(shared, value);
    shared_leave(shared);
    return value;
}

/* Will the site's own count do? Not where we may have to end the answer, go on with it, or charge
 * it to a key, even if the site for once does not tell. */
static bool expects_usage(const struct branch *b, const struct answer_rules *rules)
{
    const struct key_config *key = b->exchange->grant.key;
    account_enter(b->account);
    bool told = b->account->usage == USAGE_TOLD;
    account_leave(b->account);
    return told && !rules->max_tokens && !rules->n_stops && !rules->tools && !rules->may_continue &&
           !(key && key->tokens_per_day);
}

/* What we do for it. */
static struct answer_rules rules_for(const struct branch *b)
{
    const struct site_config *site = branch_site(b);
    const struct key_config *key = b->exchange->grant.key;
    const struct turn *t = b->turn;
    unsigned has = site->adapter->capabilities;
    struct answer_rules rules = {
        .reasoning = t->reasoning_hidden          ? REASONING_DROP
                     : key && key->reasoning >= 0 ? (enum reasoning_style)key->reasoning
                                                  : site->reasoning,
        .stops = t->stop,
        .n_stops = has & CAP_STOP ? 0 : t->n_stop,
        .max_tokens = t->has_max_tokens && !(has & CAP_MAX_TOKENS) ? t->max_tokens : 0,
        .max_includes_reasoning = t->max_includes_reasoning,
        .may_continue = branch_may_continue(b),
        .hold = branch_holds_answer(b),
        .told = branch_told(b),
    };
    branch_tool_rules(b, &rules);
    branch_structure_rules(b, &rules);
    rules.usage_expected = expects_usage(b, &rules);
    return rules;
}

/* What a run takes of the arena besides, about: ids, names, the writer, what goes to the site. */
enum { RUN_SMALL = 1184 };

/* With the first lease: a branch that waits for it costs little. */
static int prepare_work(struct branch *b)
{
    struct exchange *e = b->exchange;
    if (b->work)
        return 0;
    if (arena_reserve_spare(&e->arena,
                            sizeof *b->work + sizeof(struct answer) +
                                branch_site(b)->adapter->state_size + RUN_SMALL,
                            &e->engine->spare_arenas[SPARE_RUN]))
        return fail_memory(branch_fail(b));
    if (exchange_begin_answer(e))
        return fail_memory(branch_fail(b));
    b->work = arena_alloc(&e->arena, sizeof *b->work);
    if (!b->work)
        return fail_memory(branch_fail(b));
    answer_feed_add(e->answer, &b->work->feed, b->asked, b->first_choice, b->n_choices);
    return 0;
}

/* What the run's text comes behind: nothing, or what is there of an answer that was truncated. */
static void begin_feed(struct branch *b)
{
    if (b->continuing) {
        branch_begin_continuation(b);
        return;
    }
    struct answer_rules rules = rules_for(b);
    b->tries++;
    answer_feed_begin(&b->work->feed, &rules);
}

int branch_begin_run(struct branch *b)
{
    struct exchange *e = b->exchange;
    const struct site_config *site = branch_site(b);
    size_t state_size = site->adapter->state_size;
    struct span note = catalogue_note(e->engine->catalogue, site, e->targets[b->target].model);
    if (prepare_work(b))
        return -1;
    b->work->account_name = arena_text(&e->arena, b->account->view.name);
    b->site_steps = 0;
    b->work->request_waits = false;
    begin_feed(b);
    struct turn_run *run = &b->work->run;
    memset(run, 0, sizeof *run); /* in place: it is large */
    run->turn = branch_again_turn(b) ? branch_again_turn(b) : branch_site_turn(b);
    run->site = &site->settings;
    run->account = &b->account->view;
    run->model = e->targets[b->target].model;
    run->model_note = note.n ? arena_dup(&e->arena, note) : note;
    run->state = arena_alloc(&e->arena, state_size ? state_size : 1);
    run->arena = &e->arena;
    run->json = e->engine->json;
    run->scratch = &e->engine->scratch;
    run->out = &b->work->feed.sink;
    run->shape = &b->work->shape;
    run->fail = &e->engine->run_fail;
    run->now_ms = engine_wall_ms(b->exchange->engine);
    run->random = clock_random;
    run->drift = count_drift;
    run->drift_owner = b;
    run->keep = keep_in_memory;
    run->recall = recall_from_memory;
    run->memory_owner = b;
    branch_offer_uploads(b);
    if (!run->state || !run->model_note.p)
        return fail_memory(branch_fail(b));
    b->adapter = site->adapter;
    if (branch_take_conversation(b))
        return fail_memory(branch_fail(b));
    if (e->config->capture_dir.n)
        b->work->capture =
            capture_begin(e->config, &b->work->run, site->adapter, e->grant.visitor_key);
    if (b->work->feed.rules.tools)
        capture_emulated_tools(b->work->capture, b->turn->tools_raw);
    return 0;
}

bool branch_is_done_with_turn(const struct branch *b)
{
    const struct branch_work *work = b->work;
    return work && work->feed.rules.usage_expected && !work->feed.rules.hold &&
           !work->feed.rules.structure.wish && !work->capture && !b->again && !b->structure &&
           !b->continuing && !b->reuse && b->adapter && b->adapter->is_done_with_turn;
}

void branch_forget_turn(struct branch *b)
{
    answer_feed_forget_turn(&b->work->feed);
    b->work->run.turn = NULL;
}

void branch_end_capture(struct branch *b, const struct fail *fail)
{
    struct capture *capture = b->work ? b->work->capture : NULL;
    if (!capture)
        return;
    b->work->capture = NULL;
    if (capture_has_answer(capture) && (fail || capture_has_drift(capture)))
        capture_keep(branch_engine(b)->captures, capture, &b->work->run, fail,
                     b->exchange->request_id);
    else
        capture_drop(capture);
}
