/*
 * gateway/branch_structure.c - see branch_structure.h.
 */
#include "gateway/branch_structure.h"

#include "gateway/branch_again.h"
#include "gateway/exchange_internal.h"

/* The answer that was complained about; in the arena. */
struct branch_structure {
    struct span text;
    struct structured_verdict verdict;
};

static bool emulates(const struct branch *b)
{
    return branch_site(b)->structured_output == FEATURE_EMULATE;
}

static const struct structured_made *find(const struct branch *b)
{
    const struct structured_made *made = emulates(b) ? b->exchange->structured_turns : NULL;
    while (made && made->asked != b->turn)
        made = made->next;
    return made;
}

int branch_settle_structure(struct branch *b, struct fail *fail)
{
    struct exchange *e = b->exchange;
    if (!emulates(b) || !b->turn->response_format_raw.p || find(b))
        return 0;
    struct structured_made *made = arena_alloc(&e->parsed, sizeof *made);
    if (!made)
        return fail_memory(fail);
    *made = (struct structured_made){.asked = b->turn, .next = e->structured_turns};
    if (structured_wish_read(&e->parsed, e->engine->json, b->turn, &made->wish, fail))
        return -1;
    made->turn = structured_turn(&e->parsed, b->turn, &made->wish, fail);
    if (!made->turn)
        return -1;
    e->structured_turns = made;
    return 0;
}

const struct turn *branch_structured_turn(const struct branch *b)
{
    const struct structured_made *made = find(b);
    return made ? made->turn : b->turn;
}

void branch_structure_rules(const struct branch *b, struct answer_rules *rules)
{
    const struct structured_made *made = find(b);
    if (!made)
        return;
    rules->structure = (struct structured_rules){
        .wish = &made->wish,
        .whole = !b->turn->stream,
        .several = b->exchange->n_branches > 1 || b->n_choices > 1,
        .repaired = b->structure != NULL,
    };
}

bool branch_may_repair(const struct branch *b)
{
    return find(b) && !b->turn->stream && b->n_choices == 1;
}

/* ---- the second try ---- */

static struct branch_structure *keep(struct branch *b, struct span answer,
                                     const struct structured_verdict *verdict)
{
    struct arena *arena = &b->exchange->arena;
    struct branch_structure *kept = arena_alloc(arena, sizeof *kept);
    struct span text = arena_dup(arena, answer);
    if (!kept || !text.p)
        return NULL;
    *kept = (struct branch_structure){text, *verdict};
    return kept;
}

struct span branch_misses_structure(struct branch *b, struct span answer, const char **why)
{
    struct arena *arena = &b->exchange->arena;
    const struct structured_made *made = find(b);
    const struct structured_verdict *verdict = answer_feed_verdict(&b->work->feed, 0);
    *why = "structured_output";
    if (!made || !verdict || verdict->kind != STRUCTURED_INVALID)
        return span_of(NULL, 0);
    if (b->structure) {
        if (structured_is_better(&b->structure->verdict, verdict))
            answer_feed_replace(&b->work->feed, b->structure->text, &b->structure->verdict);
        return span_of(NULL, 0);
    }
    b->structure = keep(b, answer, verdict);
    const struct json_schema_report *error = &verdict->error;
    return b->structure ? structured_complaint(arena, &made->wish, span_of(error->text, error->n))
                        : span_of(NULL, 0);
}

bool branch_takes_first_answer(struct branch *b)
{
    if (!b->structure || !b->work || b->work->feed.committed || !branch_again_turn(b))
        return false;
    struct answer_feed *feed = &b->work->feed;
    struct answer_rules rules = feed->rules;
    answer_feed_begin(feed, &rules);
    if (delta_text(&feed->sink, 0, b->structure->text) ||
        delta_finish(&feed->sink, 0, SPAN("stop")) || answer_feed_release(feed))
        return false;
    log_debug("%s: the second try failed (%s): the first answer goes out", b->exchange->request_id,
              b->fail ? b->fail->message : "");
    return true;
}

/* ---- the log ---- */

void branch_log_structure(struct log_record *r, const struct branch *list, size_t n)
{
    const struct structured_verdict *worst = NULL;
    for (size_t i = 0; i < n; i++) {
        for (int k = 0; list[i].work && k < list[i].n_choices; k++) {
            const struct structured_verdict *v = answer_feed_verdict(&list[i].work->feed, k);
            if (v && (!worst || structured_is_better(worst, v)))
                worst = v;
        }
    }
    if (!worst)
        return;
    log_record_text(r, "structured", span_str(structured_kind_name(worst->kind)));
    if (worst->kind != STRUCTURED_VALID)
        log_record_text(r, "structured_error", span_of(worst->error.text, worst->error.n));
}
