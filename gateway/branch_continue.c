/*
 * gateway/branch_continue.c - see branch_continue.h.
 *
 * The commit boundary stays crossed all the while: from the first continuation on, nothing is tried
 * again any more. Either a run goes on with the text, or the answer ends as it would have ended
 * without it.
 */
#include "gateway/branch_continue.h"

#include <assert.h>

#include "gateway/exchange_internal.h"

static const struct continue_config *config_of(const struct branch *b)
{
    const struct target *t = &b->exchange->targets[b->target];
    return t->configured ? &t->configured->continuing : &t->site->continuing;
}

bool branch_may_continue(const struct branch *b)
{
    const struct adapter *adapter = branch_site(b)->adapter;
    return config_of(b)->on && b->exchange->prompts->turns->n == 1 && b->n_choices == 1 &&
           !(adapter->capabilities & CAP_LOCAL) && continuation_fits(b->turn);
}

static struct run_end end_of(const struct branch *b, enum fail_kind failed)
{
    return (struct run_end){
        .failed = answer_feed_is_finished(&b->work->feed) ? FAIL_NONE : failed,
        .since_ms = (int64_t)(exchange_now_ms(b->exchange) - b->exchange->started_ms),
    };
}

/* Before the first continuation; NULL when memory is short. */
static struct branch_continuing *begin(struct branch *b)
{
    if (b->continuing)
        return b->continuing;
    struct branch_continuing *c = arena_alloc(&b->exchange->arena, sizeof *c);
    if (c)
        *c = (struct branch_continuing){.asked = b->turn};
    return c;
}

bool branch_continues(struct branch *b, enum fail_kind failed)
{
    static const struct continuation_log none = {0};
    struct answer_feed *feed = &b->work->feed;
    struct run_end end = end_of(b, failed);
    if (!feed->rules.may_continue || answer_feed_run_over(feed, &end.state))
        return false;
    bool heeds_limit = branch_site(b)->adapter->capabilities & CAP_MAX_TOKENS;
    enum continue_cause cause =
        continuation_cause(config_of(b), b->continuing ? &b->continuing->log : &none,
                           b->continuing ? b->continuing->asked : b->turn, heeds_limit, &end);
    struct branch_continuing *c = cause == CONTINUE_NOT ? NULL : begin(b);
    const struct turn *turn =
        c ? continuation_turn(&b->exchange->arena, c->asked, &end.state) : NULL;
    if (!turn)
        return false;
    answer_feed_set_aside(feed);
    if (end.failed != FAIL_NONE && b->fail)
        c->fail = *b->fail;
    c->turn = turn;
    b->local_at_ms = exchange_now_ms(b->exchange) + (uint64_t)continuation_delay_ms(&c->log);
    c->log.causes[c->log.times++] = cause;
    b->continuing = c;
    b->tried = 0;
    log_debug("%s: the answer is truncated (%s) and will be gone on with", b->exchange->request_id,
              continue_cause_name(cause));
    return true;
}

void branch_begin_continuation(struct branch *b)
{
    struct answer_feed *feed = &b->work->feed;
    answer_feed_continue(feed, b->continuing->turn);
    struct span remark = continuation_remark(&b->exchange->arena, &b->continuing->log);
    feed->remark = remark.p ? remark : span_of("", 0);
}

bool branch_continuation_is_good(struct branch *b)
{
    struct answer_run_state state;
    if (answer_feed_run_over(&b->work->feed, &state))
        return false;
    return state.is_new || state.other || state.cut ||
           span_eq(state.finish, SPAN("content_filter"));
}

void branch_give_up_continuing(struct branch *b)
{
    struct branch_continuing *c = b->continuing;
    log_debug("%s: going on with the truncated answer came to nothing%s%s", b->exchange->request_id,
              b->fail && b->fail->kind != FAIL_NONE ? ": " : "", b->fail ? b->fail->message : "");
    b->complete = answer_feed_give_up(&b->work->feed);
    struct fail *fail = exchange_room_for_fail(b->exchange, &b->fail);
    if (c->fail.kind != FAIL_NONE)
        *fail = c->fail;
    else if (fail->kind == FAIL_NONE)
        fail_set(fail, FAIL_CUT, "%.*s broke off in the middle of its answer; ask again",
                 SPAN_ARGS(branch_site_name(b)));
}

int branch_times_continued(const struct branch *list, size_t n)
{
    int times = 0;
    for (size_t i = 0; i < n; i++)
        times += list[i].continuing ? list[i].continuing->log.times : 0;
    return times;
}

void branch_log_continued(struct log_record *r, const struct branch *list, size_t n)
{
    struct buffer causes;
    int times = branch_times_continued(list, n);
    buffer_init(&causes, 4096);
    for (size_t i = 0; i < n; i++) {
        const struct branch_continuing *c = list[i].continuing;
        for (int k = 0; c && k < c->log.times; k++)
            buffer_printf(&causes, "%s%s", causes.n ? "," : "",
                          continue_cause_name(c->log.causes[k]));
    }
    if (times) {
        log_record_int(r, "continued", times);
        log_record_text(r, "continue_causes", buffer_span(&causes));
    }
    buffer_free(&causes);
}
