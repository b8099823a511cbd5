/*
 * adapters/qwen_stream.c - what the events of chat.qwen.ai's answer mean (sites/qwen.md §6).
 *
 * Text is incremental and belongs to a phase: the answer, reasoning in one of two forms, or a tool
 * of the site at work. The hard parts: summaries of thoughts are lists that come whole each time
 * and start anew after a tool; and the page may compare two answers, interleaved, of which one is
 * ours.
 */
#include "adapters/qwen.h"

void qwen_stream_init(struct qwen_stream *s)
{
    *s = (struct qwen_stream){0};
    growing_init(&s->summary, QWEN_TEXT_LIMIT);
    buffer_init(&s->piece, QWEN_TEXT_LIMIT);
}

void qwen_stream_free(struct qwen_stream *s)
{
    growing_free(&s->summary);
    buffer_free(&s->piece);
}

/* ---- what goes out ---- */

static int send_text(struct turn_run *run, struct qwen_stream *s, struct span text)
{
    s->any_answer |= text.n > 0;
    return delta_text(run->out, 0, text);
}

static int send_reasoning(struct turn_run *run, struct qwen_stream *s, struct span text)
{
    s->any_reasoning |= text.n > 0;
    return delta_reasoning(run->out, 0, text);
}

static int show_picture(struct turn_run *run, struct qwen_stream *s, struct span url)
{
    if (!sources_add(run->arena, &s->pictures, SPAN(""), SPAN(""), url))
        return 0;
    buffer_clear(&s->piece);
    markdown_picture(&s->piece, url);
    return s->piece.error ? fail_too_long(run, s->piece.error)
                          : send_text(run, s, buffer_span(&s->piece));
}

/* ---- thinking_summary ---- */

/* The thoughts joined by empty lines, in s->piece; false without any. */
static bool join_thoughts(struct qwen_stream *s, struct json thoughts)
{
    buffer_clear(&s->piece);
    struct json_iter it =
        json_each(json_is(thoughts, JSON_ARRAY) ? thoughts : (struct json){NULL, 0});
    for (bool first = true; json_next(&it); first = false) {
        if (!first)
            buffer_append(&s->piece, SPAN("\n\n"));
        buffer_append(&s->piece, json_text(it.value));
    }
    return s->piece.n > 0;
}

static int take_summary(struct turn_run *run, struct qwen_stream *s, struct json extra)
{
    struct span fresh;
    struct json thought = json_get(extra, "summary_thought");
    if (!join_thoughts(s, json_get(thought, "content")))
        return 0;
    struct span whole = buffer_span(&s->piece);
    enum growth growth = growing_whole(&s->summary, whole, &fresh);
    if (growth == GROWTH_SHRUNK || growth == GROWTH_EDITED) { /* the list has started anew */
        if (!s->tool_since)
            run_drift(run, "summary that does not continue");
        growing_restart(&s->summary, whole);
        if (send_reasoning(run, s, SPAN("\n\n")))
            return -1;
        fresh = whole;
    }
    s->tool_since = false;
    if (s->piece.error || s->summary.sent.error)
        return fail_too_long(run, s->piece.error ? s->piece.error : s->summary.sent.error);
    return send_reasoning(run, s, fresh);
}

/* ---- phases ---- */

enum phase { PHASE_NONE, PHASE_ANSWER, PHASE_THINK, PHASE_SUMMARY, PHASE_PICTURE, PHASE_TOOL };

static enum phase phase_of(struct turn_run *run, struct json delta)
{
    static const struct {
        struct span name;
        enum phase phase;
    } phases[] = {
        {SPAN_INIT("answer"), PHASE_ANSWER},
        {SPAN_INIT("think"), PHASE_THINK},
        {SPAN_INIT("thinking_summary"), PHASE_SUMMARY},
        {SPAN_INIT("image_gen"), PHASE_PICTURE},
        {SPAN_INIT("web_search"), PHASE_TOOL},
        {SPAN_INIT("image_search"), PHASE_TOOL},
        {SPAN_INIT("web_extractor"), PHASE_TOOL},
        {SPAN_INIT("code_interpreter"), PHASE_TOOL},
        {SPAN_INIT("image_gen_tool"), PHASE_TOOL},
        {SPAN_INIT("bio"), PHASE_TOOL},
    };
    struct span phase = json_get_text(delta, "phase");
    for (size_t i = 0; phase.n && i < sizeof phases / sizeof *phases; i++) {
        if (span_eq(phase, phases[i].name))
            return phases[i].phase;
    }
    if (phase.n) {
        run_drift(run, "unknown phase");
        return PHASE_TOOL;
    }
    /* older: the search tells itself by a name alone */
    bool tool =
        json_get_text(delta, "name").n || span_eq(json_get_text(delta, "role"), SPAN("function"));
    return tool ? PHASE_TOOL : PHASE_NONE;
}

static void add_sources(struct turn_run *run, struct qwen_stream *s, struct json list)
{
    struct json_iter it = json_each(json_is(list, JSON_ARRAY) ? list : (struct json){NULL, 0});
    while (json_next(&it))
        sources_add(run->arena, &s->sources, SPAN(""), json_get_text(it.value, "title"),
                    json_get_text(it.value, "url"));
}

static int take_extra(struct turn_run *run, struct qwen_stream *s, struct json extra)
{
    struct json images = json_get(extra, "image_list");
    add_sources(run, s, json_get(extra, "web_search_info"));
    add_sources(run, s, json_get(extra, "search_result"));
    struct json_iter it = json_each(json_is(images, JSON_ARRAY) ? images : (struct json){NULL, 0});
    while (json_next(&it)) {
        struct span url = json_get_text(it.value, "image");
        if (url.n && show_picture(run, s, url))
            return -1;
    }
    return 0;
}

static bool is_url(struct span text)
{
    return span_starts(text, SPAN("https://")) || span_starts(text, SPAN("http://"));
}

static int take_content(struct turn_run *run, struct qwen_stream *s, enum phase phase,
                        struct json delta)
{
    struct json value = json_get(delta, "content"), extra = json_get(delta, "extra");
    struct span content = json_text(value);
    if (json_type(value) > JSON_NULL && !json_is(value, JSON_STRING))
        run_drift(run, "text that is no string");
    if (phase != PHASE_TOOL && !content.n) {
        struct span reasoning = json_get_text(delta, "reasoning_content");
        if (!reasoning.n)
            reasoning = json_get_text(extra, "reasoning_content");
        if (reasoning.n)
            return send_reasoning(run, s, reasoning);
    }
    switch (phase) {
    case PHASE_NONE:
    case PHASE_ANSWER: return send_text(run, s, content);
    case PHASE_THINK: return send_reasoning(run, s, content);
    case PHASE_SUMMARY: return take_summary(run, s, extra);
    case PHASE_PICTURE:
        return is_url(span_trim(content)) ? show_picture(run, s, span_trim(content)) : 0;
    case PHASE_TOOL: s->tool_since = true; break;
    }
    return 0;
}

/* ---- the end ---- */

/* The chat goes on behind this answer (§6). Guests' chats are nobody's, and of two answers the page
 * has its person choose one. */
static void tell_chat(struct turn_run *run, const struct qwen *c)
{
    if (!run->account->guest && !c->stream.two_answers)
        tell_conversation(run, (struct span[]){c->chat_id, c->stream.response_id}, 2);
}

static int64_t count_of(struct json usage, const char *name, const char *older)
{
    int64_t n;
    if (json_int(json_get(usage, name), &n) || json_int(json_get(usage, older), &n))
        return n < 0 ? -1 : n;
    return -1;
}

static void take_usage(struct qwen_stream *s, struct json usage)
{
    if (!json_is(usage, JSON_OBJECT))
        return;
    s->has_usage = true;
    s->usage = (struct delta_usage){
        .prompt = count_of(usage, "input_tokens", "prompt_tokens"),
        .completion = count_of(usage, "output_tokens", "completion_tokens"),
        .total = count_of(usage, "total_tokens", ""),
        .cached = -1,
        .reasoning = count_of(json_get(usage, "output_tokens_details"), "reasoning_tokens", ""),
    };
    if (s->usage.reasoning < 0)
        s->usage.reasoning =
            count_of(json_get(usage, "completion_tokens_details"), "reasoning_tokens", "");
}

static int send_usage(struct turn_run *run, const struct qwen_stream *s)
{
    return s->has_usage ? delta_usage(run->out, &s->usage) : 0;
}

static enum adapter_verdict finish(struct turn_run *run, struct qwen *c, struct span reason)
{
    struct qwen_stream *s = &c->stream;
    if (send_usage(run, s))
        return ADAPTER_FAIL;
    if (!s->any_answer)
        return fail_set(run->fail, FAIL_EMPTY,
                        "chat.qwen.ai ended its answer without any text; the account may be at its "
                        "limit");
    if (span_eq(reason, SPAN("stop")))
        tell_chat(run, c);
    if (sources_cite(&s->sources, run->out) || delta_finish(run->out, 0, reason))
        return ADAPTER_FAIL;
    c->at = QWEN_OVER;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict fail_event(struct turn_run *run, struct qwen *c, struct json root)
{
    qwen_fail_object(run, root);
    if (run->fail->kind == FAIL_CONTENT_FILTER && c->stream.any_answer) {
        fail_clear(run->fail);
        return finish(run, c, SPAN("content_filter"));
    }
    struct fail fail = *run->fail;
    if (send_usage(run, &c->stream) == 0)
        *run->fail = fail;
    return ADAPTER_FAIL;
}

/* ---- events ---- */

static int take_created(struct turn_run *run, struct qwen *c, struct json created)
{
    struct qwen_stream *s = &c->stream;
    struct span id = json_get_text(created, "response_id");
    if (c->parent.n && !s->any_answer && !s->any_reasoning &&
        check_conversation(run, "chat.qwen.ai", c->chat_id, json_get_text(created, "chat_id")))
        return -1;
    if (!id.n)
        return 0;
    if (s->response_id.n) {
        s->two_answers |= !span_eq(id, s->response_id);
        return 0;
    }
    s->response_id = arena_dup(run->arena, id);
    return s->response_id.p ? 0 : fail_memory(run->fail);
}

/* An event of the answer that is not ours. */
static bool is_of_the_other(const struct qwen_stream *s, struct json root)
{
    struct span id = json_get_text(root, "response_id");
    int64_t index;
    if (s->two_answers && id.n)
        return !span_eq(id, s->response_id);
    return json_int(json_get(root, "response_index"), &index) && index != 0 &&
           (!id.n || !span_eq(id, s->response_id));
}

static enum adapter_verdict take_delta(struct turn_run *run, struct qwen *c, struct json delta)
{
    struct qwen_stream *s = &c->stream;
    enum phase phase = phase_of(run, delta);
    bool finished = span_eq(json_get_text(delta, "status"), SPAN("finished"));
    if (take_extra(run, s, json_get(delta, "extra")) || take_content(run, s, phase, delta))
        return ADAPTER_FAIL;
    return finished && (phase == PHASE_ANSWER || phase == PHASE_PICTURE)
               ? finish(run, c, SPAN("stop"))
               : ADAPTER_GO_ON;
}

enum adapter_verdict qwen_stream_event(struct turn_run *run, struct qwen *c, struct span text)
{
    struct qwen_stream *s = &c->stream;
    struct json root;
    if (span_eq(span_trim(text),
                SPAN("[DONE]"))) /* of older models, in place of a finishing event */
        return finish(run, c, SPAN("stop"));
    if (json_parse_lenient(run->json, text, &root) != JSON_OK || !json_is(root, JSON_OBJECT)) {
        run_drift(run, "event that is no JSON object");
        return ADAPTER_GO_ON;
    }
    if (is_of_the_other(s, root))
        return ADAPTER_GO_ON;
    if (qwen_is_failure(root))
        return fail_event(run, c, root);
    take_usage(s, json_get(root, "usage"));
    struct json choices = json_get(root, "choices"), created = json_get(root, "response.created");
    if (json_is(created, JSON_OBJECT))
        return take_created(run, c, created) ? ADAPTER_FAIL : ADAPTER_GO_ON;
    if (json_is(choices, JSON_ARRAY)) {
        struct json delta = json_get(json_at(choices, 0), "delta");
        if (json_is(delta, JSON_OBJECT))
            return take_delta(run, c, delta);
        if (json_size(choices))
            run_drift(run, "choice without a delta");
        return ADAPTER_GO_ON;
    }
    if (!json_is(json_get(root, "response.info"), JSON_OBJECT) &&
        !json_is(json_get(root, "usage"), JSON_OBJECT))
        run_drift(run, "unknown event");
    return ADAPTER_GO_ON;
}

enum adapter_verdict qwen_stream_end(struct turn_run *run, struct qwen *c, enum stream_end end)
{
    struct qwen_stream *s = &c->stream;
    if (send_usage(run, s))
        return ADAPTER_FAIL;
    if (end == END_CLEAN && !s->any_answer && !s->any_reasoning)
        return fail_set(run->fail, FAIL_EMPTY,
                        "chat.qwen.ai answered with nothing at all; the account may be at its "
                        "limit");
    return fail_set(run->fail, FAIL_CUT,
                    "chat.qwen.ai broke off in the middle of its answer; ask again");
}
