/*
 * gateway/continuation.c - see continuation.h.
 */
#include "gateway/continuation.h"

#include "base/json_raw.h"
#include "base/json_write.h"

static const struct span wish = SPAN_INIT(
    "Your answer was cut off. Continue it from the exact character where it stops: repeat "
    "nothing of it, write nothing before it, and do not mention that it was cut off.");

/* ---- whether ---- */

static bool wants_more_than_text(const struct turn *turn)
{
    struct span modalities = json_raw_given(turn->raw, "modalities");
    if (!modalities.n || modalities.p[0] != '[')
        return false;
    struct json_raw_iter it = json_raw_each(modalities);
    while (json_raw_next(&it)) {
        if (!span_eq(it.value, SPAN("\"text\"")))
            return true;
    }
    return false;
}

bool continuation_fits(const struct turn *turn)
{
    return !turn->tools_wanted && !turn->response_format_raw.p && turn->n == 1 && !turn->n_stop &&
           !turn->logprobs && !turn->relay.path.n && turn->n_messages &&
           !wants_more_than_text(turn);
}

/* Sites put pictures into the text as Markdown with all of the picture in it. */
static bool holds_picture(struct span text) { return span_find(text, SPAN("](data:image/")) >= 0; }

static bool happened(const struct continuation_log *log, enum continue_cause cause)
{
    for (int i = 0; i < log->times; i++) {
        if (log->causes[i] == cause)
            return true;
    }
    return false;
}

/* The kind of the end, whatever the configuration wants of it. */
static enum continue_cause cause_of(const struct run_end *end)
{
    const struct answer_run_state *s = &end->state;
    bool no_text = !s->text.n && s->thoughts;
    switch (end->failed) {
    case FAIL_NONE: break;
    case FAIL_CUT:
    case FAIL_TIMEOUT: return s->text.n ? CONTINUE_CUT : CONTINUE_NOT;
    case FAIL_PROTOCOL: return s->text.n ? CONTINUE_MALFORMED : CONTINUE_NOT;
    case FAIL_EMPTY: return no_text ? CONTINUE_EMPTY : CONTINUE_NOT;
    default: return CONTINUE_NOT;
    }
    if (s->text.n && span_eq(s->finish, SPAN("length")))
        return CONTINUE_LENGTH;
    return no_text && span_eq(s->finish, SPAN("stop")) ? CONTINUE_EMPTY : CONTINUE_NOT;
}

/* Is the client's own limit reached, or so near that it may be the one that was met? */
static bool is_at_limit(const struct turn *asked, bool heeds_limit, enum continue_cause cause,
                        const struct answer_run_state *s)
{
    if (!asked->has_max_tokens)
        return false;
    if (cause == CONTINUE_LENGTH && heeds_limit && !s->tokens_told)
        return true;
    return asked->max_tokens - s->tokens < CONTINUE_TOKENS_MIN;
}

enum continue_cause continuation_cause(const struct continue_config *config,
                                       const struct continuation_log *log, const struct turn *asked,
                                       bool heeds_limit, const struct run_end *end)
{
    const struct answer_run_state *s = &end->state;
    enum continue_cause cause = cause_of(end);
    if (!config->on || cause == CONTINUE_NOT || !(config->causes & 1u << cause))
        return CONTINUE_NOT;
    if (s->other || s->cut || s->started_over || !s->whole || holds_picture(s->text))
        return CONTINUE_NOT;
    if (log->times >= config->max || log->times >= CONTINUE_TIMES_MAX ||
        end->since_ms >= config->total_ms)
        return CONTINUE_NOT;
    if (cause == CONTINUE_EMPTY && happened(log, cause))
        return CONTINUE_NOT;
    if (log->times && cause != CONTINUE_EMPTY && !s->is_new) /* it would go round in circles */
        return CONTINUE_NOT;
    return is_at_limit(asked, heeds_limit, cause, s) ? CONTINUE_NOT : cause;
}

int continuation_delay_ms(const struct continuation_log *log) { return log->times ? 3000 : 1000; }

/* ---- what is asked ---- */

static void write_message(struct buffer *out, const char *role, struct span text)
{
    struct json_writer w = json_writer(out);
    json_begin_object(&w);
    json_member(&w, "role", span_str(role));
    json_member(&w, "content", text);
    json_end_object(&w);
}

/* The list of messages with two more. */
static void write_messages(struct buffer *out, struct span list, struct span text)
{
    struct json_raw_iter it = json_raw_each(list);
    buffer_append(out, span_first(list, list.n - 1)); /* without its bracket */
    if (text.n) {
        if (json_raw_next(&it))
            buffer_char(out, ',');
        write_message(out, "assistant", text);
        buffer_char(out, ',');
        write_message(out, "user", wish);
    }
    buffer_char(out, ']');
}

static bool is_limit(struct span key)
{
    return json_raw_key_is(key, SPAN("max_tokens")) ||
           json_raw_key_is(key, SPAN("max_completion_tokens"));
}

/* The turn's body for the new turn; {NULL,0} when memory is short. */
static struct span write_body(struct arena *arena, const struct turn *asked,
                              const struct turn *turn, struct span text)
{
    struct buffer out, value;
    struct span body = {NULL, 0};
    buffer_init(&out, SIZE_MAX / 4);
    buffer_init(&value, SIZE_MAX / 4);
    buffer_char(&out, '{');
    struct json_raw_iter it = json_raw_each(asked->raw);
    while (json_raw_next(&it)) {
        struct span to = it.value;
        buffer_clear(&value);
        if (json_raw_key_is(it.key, SPAN("messages")) && json_raw_is_array(to)) {
            write_messages(&value, to, text);
            to = buffer_span(&value);
        } else if (turn->has_max_tokens && is_limit(it.key) && !span_eq(to, SPAN("null"))) {
            buffer_printf(&value, "%lld", (long long)turn->max_tokens);
            to = buffer_span(&value);
        }
        json_raw_append_member(&out, it.key, to);
    }
    buffer_char(&out, '}');
    char *kept = out.error || value.error ? NULL : arena_alloc(arena, out.n + JSON_PADDING);
    if (kept) {
        memcpy(kept, out.p, out.n);
        body = span_of(kept, out.n);
    }
    buffer_free(&out);
    buffer_free(&value);
    return body;
}

static const struct message *more_messages(struct arena *arena, const struct turn *asked,
                                           struct span text)
{
    size_t n = asked->n_messages;
    struct message *list = arena_alloc(arena, (n + 2) * sizeof *list);
    struct part *parts = arena_alloc(arena, 2 * sizeof *parts);
    if (!list || !parts)
        return NULL;
    memcpy(list, asked->messages, n * sizeof *list);
    parts[0] = (struct part){.kind = PART_TEXT, .text = text};
    parts[1] = (struct part){.kind = PART_TEXT, .text = wish};
    list[n] =
        (struct message){.role = ROLE_ASSISTANT, .parts = &parts[0], .n_parts = 1, .index = (int)n};
    list[n + 1] =
        (struct message){.role = ROLE_USER, .parts = &parts[1], .n_parts = 1, .index = (int)n + 1};
    return list;
}

const struct turn *continuation_turn(struct arena *arena, const struct turn *asked,
                                     const struct answer_run_state *state)
{
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    struct span text = arena_dup(arena, state->text);
    if (!turn || !text.p)
        return NULL;
    *turn = *asked;
    if (asked->has_max_tokens)
        turn->max_tokens = asked->max_tokens - state->tokens;
    if (text.n) {
        turn->messages = more_messages(arena, asked, text);
        turn->n_messages = asked->n_messages + 2;
    }
    turn->raw = write_body(arena, asked, turn, text);
    return turn->messages && turn->raw.p ? turn : NULL;
}

struct span continuation_remark(struct arena *arena, const struct continuation_log *log)
{
    struct buffer out;
    buffer_init(&out, 4096);
    buffer_printf(&out, "\"dragoman_continued\":{\"times\":%d,\"causes\":[", log->times);
    for (int i = 0; i < log->times; i++)
        buffer_printf(&out, "%s\"%s\"", i ? "," : "", continue_cause_name(log->causes[i]));
    buffer_append(&out, SPAN("]}"));
    struct span remark = out.error ? span_of(NULL, 0) : arena_dup(arena, buffer_span(&out));
    buffer_free(&out);
    return remark;
}
