/*
 * gateway/branch_again.c - see branch_again.h.
 *
 * Whoever has a reason to ask again adds it to the list of reasons: a function that looks at the
 * answer that is held back, and has a reminder or nothing.
 */
#include "gateway/branch_again.h"

#include "base/json_raw.h"
#include "base/json_write.h"
#include "gateway/branch_structure.h"
#include "gateway/branch_tools.h"
#include "gateway/exchange_internal.h"

/* ---- the turn ---- */

static void write_message(struct json_writer *w, const char *role, struct span text)
{
    json_begin_object(w);
    json_member(w, "role", span_str(role));
    json_member(w, "content", text);
    json_end_object(w);
}

/* An answer without a word is none that could be repeated. */
static void write_messages(struct buffer *out, struct span list, struct span answer,
                           struct span reminder)
{
    struct json_writer w = json_writer(out);
    struct json_raw_iter it = json_raw_each(list);
    json_begin_array(&w);
    while (json_raw_next(&it))
        json_raw_value(&w, it.value);
    if (answer.n)
        write_message(&w, "assistant", answer);
    write_message(&w, "user", reminder);
    json_end_array(&w);
}

/* {NULL,0} when memory is short. */
static struct span body_with_reminder(struct arena *arena, struct span raw, struct span answer,
                                      struct span reminder)
{
    struct buffer out, list;
    buffer_init(&out, SIZE_MAX / 4);
    buffer_init(&list, SIZE_MAX / 4);
    buffer_char(&out, '{');
    struct json_raw_iter it = json_raw_each(raw);
    while (json_raw_next(&it)) {
        bool messages = json_raw_key_is(it.key, SPAN("messages"));
        if (messages)
            write_messages(&list, it.value, answer, reminder);
        json_raw_append_member(&out, it.key, messages ? buffer_span(&list) : it.value);
    }
    buffer_char(&out, '}');
    struct span body =
        out.error || list.error ? span_of(NULL, 0) : arena_dup(arena, buffer_span(&out));
    buffer_free(&out);
    buffer_free(&list);
    return body;
}

static bool add_message(struct arena *arena, struct turn *turn, struct message *list,
                        enum role role, struct span text)
{
    struct part *part = arena_alloc(arena, sizeof *part);
    if (!part)
        return false;
    *part = (struct part){.kind = PART_TEXT, .text = text};
    list[turn->n_messages++] =
        (struct message){.role = role, .parts = part, .n_parts = 1, .index = -1};
    return true;
}

const struct turn *turn_with_reminder(struct arena *arena, const struct turn *asked,
                                      struct span answer, struct span reminder)
{
    size_t n = asked->n_messages;
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    struct message *list = arena_alloc(arena, (n + 2) * sizeof *list);
    if (!turn || !list)
        return NULL;
    *turn = *asked;
    memcpy(list, asked->messages, n * sizeof *list);
    turn->messages = list;
    turn->raw = body_with_reminder(arena, asked->raw, answer, reminder);
    bool whole = (!answer.n || add_message(arena, turn, list, ROLE_ASSISTANT, answer)) &&
                 add_message(arena, turn, list, ROLE_USER, reminder);
    return whole && turn->raw.p ? turn : NULL;
}

/* ---- the reasons ---- */

/* The words of a reminder, and in *why what the log calls it; {NULL,0} = the answer is fine. */
typedef struct span reason_to_ask_again(struct branch *, struct span answer, const char **why);
static reason_to_ask_again *const reasons[] = {branch_misses_call, branch_misses_structure};

static struct span find_reason(struct branch *b, struct span answer, const char **why)
{
    struct span reminder = {NULL, 0};
    for (size_t i = 0; !reminder.p && i < sizeof reasons / sizeof *reasons; i++)
        reminder = reasons[i](b, answer, why);
    return reminder;
}

/* ---- the branch ---- */

const struct turn *branch_again_turn(const struct branch *b)
{
    return b->again ? b->again->turn : NULL;
}

bool branch_holds_answer(const struct branch *b)
{
    return !b->continuing && (branch_wants_call(b) || branch_may_repair(b));
}

void branch_forget_again(struct branch *b)
{
    b->structure = NULL;
    if (b->again)
        b->again->turn = NULL;
}

/* The first answer is of use only together with the second question. */
static bool ask(struct branch *b, struct span answer, struct span reminder, const char *why)
{
    struct arena *arena = &b->exchange->arena;
    struct branch_again *again = b->again ? b->again : arena_alloc(arena, sizeof *again);
    struct span kept = arena_dup(arena, answer);
    if (!again || !kept.p)
        return false;
    again->turn = turn_with_reminder(arena, branch_site_turn(b), kept, reminder);
    again->why = why;
    b->again = again;
    return again->turn != NULL;
}

bool branch_asks_again(struct branch *b)
{
    const struct answer_feed *feed = &b->work->feed;
    struct buffer answer;
    const char *why = NULL;
    bool asks = false;
    if (!answer_feed_is_held(feed))
        return false;
    buffer_init(&answer, SIZE_MAX / 4);
    answer_feed_held_text(feed, &answer);
    struct span reminder =
        answer.error ? span_of(NULL, 0) : find_reason(b, buffer_span(&answer), &why);
    if (reminder.p && !branch_again_turn(b))
        asks = ask(b, buffer_span(&answer), reminder, why);
    else if (reminder.p)
        log_info("%s: %.*s was asked again (%s) in vain: its answer goes out as it is",
                 b->exchange->request_id, SPAN_ARGS(branch_site(b)->settings.name), why);
    if (asks)
        log_debug("%s: %.*s is asked once more: %s", b->exchange->request_id,
                  SPAN_ARGS(branch_site(b)->settings.name), why);
    buffer_free(&answer);
    return asks;
}

void branch_log_again(struct log_record *r, const struct branch *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].again) {
            log_record_text(r, "asked_again", span_str(list[i].again->why));
            return;
        }
    }
}
