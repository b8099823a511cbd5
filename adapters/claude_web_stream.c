/*
 * adapters/claude_web_stream.c - the answer's events (sites/claude_web.md §5) become deltas.
 *
 * Anthropic's message events with things of the site's own between them, and an older form that is
 * told apart event by event. Only message_stop (in the older form a stop_reason) proves that the
 * answer is whole. Citations have places in the text, so its characters are counted.
 */
#include "adapters/claude_web.h"

enum {
    SUMMARIES_MAX = 16 * 1024,
    CITATIONS_MAX = 1000, /* more are left out: all that are open are looked through for an end */
    STOP_REASON_MAX = 128
};

/* ---- texts ---- */

/* Pieces of a pair of surrogates are one character once they have met. */
static void count_characters(struct claude_web_stream *s, struct span text)
{
    const unsigned char *b = (const unsigned char *)text.p;
    size_t n = text.n;
    bool second = n >= 3 && b[0] == 0xED && b[1] >= 0xB0;
    s->characters += utf8_characters(text);
    if (s->half && second)
        s->characters--;
    s->half = n >= 3 && b[n - 3] == 0xED && b[n - 2] >= 0xA0 && b[n - 2] < 0xB0;
}

static int put_text(struct turn_run *run, struct claude_web_stream *s, struct span text)
{
    if (!text.n)
        return 0;
    s->text = true;
    count_characters(s, text);
    return delta_text(run->out, 0, text);
}

/* Blocks stand apart by a blank line, the first one of a channel aside. */
static bool begins(struct block *block, bool channel)
{
    bool first = block && !block->pieces;
    if (block)
        block->pieces = true;
    return first && channel;
}

static int put_block_text(struct turn_run *run, struct claude_web_stream *s, struct block *block,
                          struct span text)
{
    if (text.n && begins(block, s->text) && put_text(run, s, SPAN("\n\n")))
        return -1;
    return put_text(run, s, text);
}

static int put_thinking(struct turn_run *run, struct claude_web_stream *s, struct block *block,
                        struct span text)
{
    if (!text.n)
        return 0;
    if (begins(block, s->thought) && delta_reasoning(run->out, 0, SPAN("\n\n")))
        return -1;
    s->thought = true;
    return delta_reasoning(run->out, 0, text);
}

/* ---- citations ---- */

/* They do not pass the text guard: lone surrogates are mended here. */
static struct span valid_copy(struct turn_run *run, struct span text)
{
    struct span copy = arena_dup(run->arena, text.n <= SOURCE_BYTES_MAX ? text : SPAN(""));
    if (copy.p)
        mend_lone_surrogates((char *)(uintptr_t)copy.p, copy.n);
    return copy;
}

static int begin_citation(struct turn_run *run, struct claude_web_stream *s, struct json citation)
{
    struct span uuid = json_get_text(citation, "uuid");
    if (s->citations >= CITATIONS_MAX || uuid.n > SOURCE_BYTES_MAX)
        return 0;
    struct claude_web_citation *c = arena_alloc(run->arena, sizeof *c);
    struct json of = citation;
    if (!json_get_text(of, "url").n)
        of = json_at(json_get(citation, "sources"), 0);
    if (!c)
        return fail_memory(run->fail);
    s->citations++;
    *c = (struct claude_web_citation){
        .next = s->open,
        .uuid = arena_dup(run->arena, uuid),
        .url = valid_copy(run, json_get_text(of, "url")),
        .title = valid_copy(run, json_get_text(of, "title")),
        .start = s->characters,
    };
    if (!c->uuid.p || !c->url.p || !c->title.p)
        return fail_memory(run->fail);
    s->open = c;
    return 0;
}

static int put_citation(struct turn_run *run, const struct claude_web_stream *s,
                        const struct claude_web_citation *c)
{
    return c->url.n ? delta_citation_at(run->out, 0, c->url, c->title, c->start, s->characters) : 0;
}

static int end_citation(struct turn_run *run, struct claude_web_stream *s, struct span uuid)
{
    for (struct claude_web_citation **at = &s->open; *at; at = &(*at)->next) {
        const struct claude_web_citation *c = *at;
        if (!span_eq(c->uuid, uuid))
            continue;
        *at = c->next;
        return put_citation(run, s, c);
    }
    run_drift(run, "end of an unknown citation");
    return 0;
}

/* ---- blocks ---- */

/* As a line of its own. Room doubles: thousands of short lines must not cost their square. */
static int append_beside(struct turn_run *run, struct block *block, struct span line)
{
    struct span held = block->beside;
    size_t n = held.n + (held.n > 0) + line.n;
    if (n > block->beside_room) {
        char *grown = arena_alloc(run->arena, 2 * n);
        if (!grown)
            return fail_memory(run->fail);
        if (held.n)
            memcpy(grown, held.p, held.n);
        block->beside.p = grown;
        block->beside_room = 2 * n;
    }
    char *text = (char *)(uintptr_t)block->beside.p;
    if (held.n)
        text[held.n] = '\n';
    memcpy(text + n - line.n, line.p, line.n);
    block->beside.n = n;
    return 0;
}

/* A short line on what is being thought of, beside the whole of it: sent only where that does not
 * come. */
static int keep_summary(struct turn_run *run, struct block *block, struct json summary)
{
    struct span line =
        json_is(summary, JSON_STRING) ? json_text(summary) : json_get_text(summary, "summary");
    if (!block || block->kind != BLOCK_THINKING || !line.n ||
        block->beside.n + line.n > SUMMARIES_MAX)
        return 0;
    return append_beside(run, block, line);
}

static int end_block(struct turn_run *run, struct claude_web_stream *s, struct block *block)
{
    int error = 0;
    if (block->kind == BLOCK_THINKING && !block->pieces)
        error = put_thinking(run, s, block, block->beside);
    block->kind = BLOCK_NONE;
    return error;
}

static int end_blocks(struct turn_run *run, struct claude_web_stream *s)
{
    for (size_t i = 0; i < BLOCKS_OPEN_MAX; i++) {
        if (s->blocks.open[i].kind != BLOCK_NONE && end_block(run, s, &s->blocks.open[i]))
            return -1;
    }
    return 0;
}

static int end_block_at(struct turn_run *run, struct claude_web_stream *s, int64_t index)
{
    struct block *block = block_find(&s->blocks, index);
    return block ? end_block(run, s, block) : 0;
}

static int begin_block(struct turn_run *run, struct claude_web_stream *s,
                       const struct message_event *e)
{
    struct json_iter it = json_each(json_get(e->inner, "summaries"));
    if (end_block_at(run, s, e->index))
        return -1;
    struct block *block = block_open(run, &s->blocks, e->index, json_get_text(e->inner, "type"));
    if (!block)
        return 0;
    while (json_next(&it)) {
        if (keep_summary(run, block, it.value))
            return -1;
    }
    if (block->kind == BLOCK_TEXT)
        return put_block_text(run, s, block, json_get_text(e->inner, "text"));
    if (block->kind == BLOCK_THINKING)
        return put_thinking(run, s, block, json_get_text(e->inner, "thinking"));
    return 0;
}

/* ---- pieces of blocks (§5.2) ---- */

enum piece {
    PIECE_TEXT,
    PIECE_THINKING,
    PIECE_SUMMARY,
    PIECE_CITATION_START,
    PIECE_CITATION_END,
    PIECE_SKIPPED
};

static const struct {
    struct span type;
    enum piece piece;
} pieces[] = {
    {SPAN_INIT("text_delta"), PIECE_TEXT},
    {SPAN_INIT("thinking_delta"), PIECE_THINKING},
    {SPAN_INIT("thinking_summary_delta"), PIECE_SUMMARY},
    {SPAN_INIT("citation_start_delta"), PIECE_CITATION_START},
    {SPAN_INIT("citation_end_delta"), PIECE_CITATION_END},
    {SPAN_INIT("thinking_cut_off_delta"), PIECE_SKIPPED},
    {SPAN_INIT("signature_delta"), PIECE_SKIPPED},
    {SPAN_INIT("flag_delta"), PIECE_SKIPPED},
    {SPAN_INIT("input_json_delta"), PIECE_SKIPPED}, /* the site's own tools at work */
    {SPAN_INIT("tool_use_block_update_delta"), PIECE_SKIPPED},
    {SPAN_INIT("tool_result_block_update_delta"), PIECE_SKIPPED},
};

static struct span text_of(struct turn_run *run, struct json delta, const char *key)
{
    struct json value = json_get(delta, key);
    if (!json_is(value, JSON_STRING))
        run_drift(run, "text that is no string");
    return json_text(value);
}

static int put_piece(struct turn_run *run, struct claude_web_stream *s,
                     const struct message_event *e)
{
    struct block *block = block_find(&s->blocks, e->index);
    struct span type = json_get_text(e->inner, "type");
    bool of_tool = block && (block->kind == BLOCK_TOOL || block->kind == BLOCK_RESULT);
    size_t i = 0, n = sizeof pieces / sizeof *pieces;
    while (i < n && !span_eq(type, pieces[i].type))
        i++;
    if (i == n) {
        run_drift(run, "unknown delta");
        return 0;
    }
    if (of_tool)
        return 0;
    switch (pieces[i].piece) {
    case PIECE_TEXT: return put_block_text(run, s, block, text_of(run, e->inner, "text"));
    case PIECE_THINKING: return put_thinking(run, s, block, text_of(run, e->inner, "thinking"));
    case PIECE_SUMMARY: return keep_summary(run, block, json_get(e->inner, "summary"));
    case PIECE_CITATION_START: return begin_citation(run, s, json_get(e->inner, "citation"));
    case PIECE_CITATION_END: return end_citation(run, s, json_get_text(e->inner, "citation_uuid"));
    case PIECE_SKIPPED: break;
    }
    return 0;
}

/* Pieces with text, of a block that has had some: nothing but the text is told. */
static int put_again(struct turn_run *run, struct claude_web_stream *s,
                     const struct json_like *like)
{
    return like->meaning == PIECE_THINKING ? delta_reasoning(run->out, 0, like->string)
                                           : put_text(run, s, like->string);
}

static void learn(struct turn_run *run, struct claude_web_stream *s, const struct frame *frame,
                  const struct message_event *e)
{
    static const char *const text[] = {"delta", "text", NULL};
    static const char *const thinking[] = {"delta", "thinking", NULL};
    const struct block *block = block_find(&s->blocks, e->index);
    struct span type = json_get_text(e->inner, "type");
    if (block && (block->kind == BLOCK_TOOL || block->kind == BLOCK_RESULT))
        return;
    if (span_eq(type, SPAN("text_delta")) && json_get_text(e->inner, "text").n)
        frame_learn(run, frame, text, NULL, PIECE_TEXT);
    else if (span_eq(type, SPAN("thinking_delta")) && json_get_text(e->inner, "thinking").n)
        frame_learn(run, frame, thinking, NULL, PIECE_THINKING);
}

/* ---- the end ---- */

static int read_stop(struct turn_run *run, struct claude_web_stream *s, struct span reason)
{
    if (!reason.n)
        return 0;
    s->stop_reason = arena_dup(run->arena, span_first(reason, STOP_REASON_MAX));
    return s->stop_reason.p ? 0 : fail_memory(run->fail);
}

/* "" = the answer failed. */
static const struct stop_row stop_rows[] = {
    {SPAN_INIT("end_turn"), SPAN_INIT("stop")},
    {SPAN_INIT("stop_sequence"), SPAN_INIT("stop")},
    {SPAN_INIT("tool_use"), SPAN_INIT("stop")},
    {SPAN_INIT("user_canceled"), SPAN_INIT("stop")},
    {SPAN_INIT("max_tokens"), SPAN_INIT("length")},
    {SPAN_INIT("max_tool_use"), SPAN_INIT("length")},
    {SPAN_INIT("tool_use_limit"), SPAN_INIT("length")},
    {SPAN_INIT("max_conversation_length"), SPAN_INIT("length")},
    {SPAN_INIT("refusal"), SPAN_INIT("content_filter")},
    {SPAN_INIT("cyber_refusal"), SPAN_INIT("content_filter")},
    {SPAN_INIT("prompt_injection_risk"), SPAN_INIT("content_filter")},
    {SPAN_INIT("error"), SPAN_INIT("")},
};

static enum adapter_verdict
ended_without_text(struct turn_run *run, const struct claude_web_stream *s, struct span reason)
{
    if (s->exceeded)
        return claude_web_limited(run, s->rest_s);
    if (span_eq(reason, SPAN("content_filter")))
        return fail_set(run->fail, FAIL_CONTENT_FILTER, "claude.ai refused to answer (%.*s)",
                        SPAN_ARGS(span_first(s->stop_reason, 64)));
    return fail_set(run->fail, FAIL_EMPTY,
                    "claude.ai ended its answer without any text; try again");
}

static enum adapter_verdict finish(struct turn_run *run, struct claude_web *c)
{
    struct claude_web_stream *s = &c->stream;
    struct span reason =
        stop_reason_of(run, stop_rows, sizeof stop_rows / sizeof *stop_rows, s->stop_reason);
    s->ended = true;
    if (end_blocks(run, s))
        return ADAPTER_FAIL;
    if (!reason.n)
        return fail_set(run->fail, FAIL_UNAVAILABLE,
                        "claude.ai failed while it answered; try again");
    bool thought_only = s->thought && span_eq(reason, SPAN("length"));
    if (!s->text && !thought_only)
        return ended_without_text(run, s, reason);
    for (; s->open; s->open = s->open->next) {
        if (put_citation(run, s, s->open))
            return ADAPTER_FAIL;
    }
    if (s->exceeded)
        run->rest_s = s->rest_s;
    if (span_eq(reason, SPAN("stop")))
        claude_web_tell_conversation(run, c);
    if (delta_finish_as(run->out, 0, reason, s->stop_reason, SPAN("")))
        return ADAPTER_FAIL;
    c->at = CLAUDE_WEB_OVER;
    return ADAPTER_COMPLETE;
}

/* With every answer: how much of its limits the account has used. */
static void read_limit(struct turn_run *run, struct claude_web_stream *s, struct json limit)
{
    struct span type = json_get_text(limit, "type");
    if (span_eq(type, SPAN("exceeded_limit"))) {
        s->exceeded = true;
        s->rest_s = claude_web_rest_of(run, limit);
    } else if (!span_eq(type, SPAN("within_limit")) && !span_eq(type, SPAN("approaching_limit"))) {
        run_drift(run, "unknown message_limit");
    }
}

/* ---- events ---- */

/* What the site calls its answer, and whether it stands where we wanted it: an answer that knows
 * nothing of what came before is none. */
static int begin_message(struct turn_run *run, struct claude_web *c, const struct message_event *e)
{
    struct claude_web_stream *s = &c->stream;
    s->blocks = (struct blocks){0};
    bool first = !s->text && !s->thought;
    if (first && c->parent.n && json_get_text(e->root, "discarded_parent_message_uuid").n)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "claude.ai does not go on behind the answer that it was told");
    struct span answer = json_get_text(e->inner, "uuid");
    s->answer = arena_dup(run->arena, is_path_id(answer) ? answer : SPAN(""));
    return s->answer.p ? 0 : fail_memory(run->fail);
}

/* The older form (§5.3). */
static enum adapter_verdict read_completion(struct turn_run *run, struct claude_web *c,
                                            struct json root)
{
    struct json limit = json_get(root, "messageLimit");
    if (json_is(limit, JSON_OBJECT))
        read_limit(run, &c->stream, limit);
    if (put_text(run, &c->stream, text_of(run, root, "completion")) ||
        read_stop(run, &c->stream, json_get_text(root, "stop_reason")))
        return ADAPTER_FAIL;
    return c->stream.stop_reason.n ? finish(run, c) : ADAPTER_GO_ON;
}

static enum adapter_verdict read_other(struct turn_run *run, struct claude_web *c,
                                       const struct message_event *e)
{
    static const struct span skipped[] = {
        SPAN_INIT("conversation_ready"),
        SPAN_INIT("compaction_status"),
        SPAN_INIT("cache_performance"),
        SPAN_INIT("title"),
        SPAN_INIT("tool_approval"),
        SPAN_INIT("mcp_auth_required"),
        SPAN_INIT("unknown"),
    };
    if (span_eq(e->name, SPAN("message_limit"))) {
        read_limit(run, &c->stream, json_get(e->root, "message_limit"));
        return ADAPTER_GO_ON;
    }
    if (span_eq(e->name, SPAN("completion")) ||
        (!e->name.n && json_is(json_get(e->root, "completion"), JSON_STRING)))
        return read_completion(run, c, e->root);
    for (size_t i = 0; i < sizeof skipped / sizeof *skipped; i++) {
        if (span_eq(e->name, skipped[i]))
            return ADAPTER_GO_ON;
    }
    run_drift(run, "unknown event");
    return ADAPTER_GO_ON;
}

enum adapter_verdict claude_web_read_frame(struct turn_run *run, struct claude_web *c,
                                           const struct frame *frame)
{
    struct claude_web_stream *s = &c->stream;
    struct message_event e;
    struct json_like like;
    int error = 0;
    if (frame_repeats(run, frame, &like))
        return put_again(run, s, &like) ? ADAPTER_FAIL : ADAPTER_GO_ON;
    if (!message_event_read(run, frame, &e))
        return ADAPTER_GO_ON;
    s->any_event = true;
    switch (e.kind) {
    case EVENT_BLOCK_DELTA:
        error = put_piece(run, s, &e);
        if (!error)
            learn(run, s, frame, &e);
        break;
    case EVENT_BLOCK_START: error = begin_block(run, s, &e); break;
    case EVENT_BLOCK_STOP: error = end_block_at(run, s, e.index); break;
    case EVENT_MESSAGE_START: error = begin_message(run, c, &e); break;
    case EVENT_MESSAGE_DELTA:
        error = read_stop(run, s, json_get_text(e.inner, "stop_reason"));
        break;
    case EVENT_MESSAGE_STOP: return finish(run, c);
    case EVENT_ERROR: s->ended = true; return claude_web_error(run, e.inner);
    case EVENT_PING: break;
    case EVENT_OTHER: return read_other(run, c, &e);
    }
    return error ? ADAPTER_FAIL : ADAPTER_GO_ON;
}

enum adapter_verdict claude_web_stream_end(struct turn_run *run, struct claude_web *c,
                                           enum stream_end end)
{
    struct claude_web_stream *s = &c->stream;
    s->ended = end == END_CLEAN;
    if (s->exceeded && !s->text)
        return claude_web_limited(run, s->rest_s);
    if (!s->any_event && end == END_CLEAN)
        return fail_set(run->fail, FAIL_EMPTY, "claude.ai answered with nothing at all");
    return fail_set(run->fail, FAIL_CUT,
                    "claude.ai broke off in the middle of its answer; ask again");
}
