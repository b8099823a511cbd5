/*
 * adapters/zai_stream.c - what the events of chat.z.ai's answer mean (sites/zai.md §8, rules 1-8).
 *
 * Two text channels run side by side: reasoning, which may come wrapped in <details> with a quote
 * mark on each line, and the answer, which may be edited as a whole. In both, marks like
 * 【turn0search3】 stand for sources. The hard part is that wrapping, marks and line starts are cut
 * anywhere: whatever is undecided is held.
 */
#include "adapters/zai.h"

#include "base/json_raw.h"

#define DAGGER "\xE2\x80\xA0" /* † */

enum { SOURCE_LINE_BYTES = 3 * SOURCE_BYTES_MAX };

enum phase {
    PHASE_ANSWER,
    PHASE_THINKING,
    PHASE_TOOL_CALL,
    PHASE_TOOL_RESPONSE,
    PHASE_OTHER,
    PHASE_DONE,
    PHASE_UNKNOWN
};

enum { BUFFERS = 12, FIRST_OF_MORE = 2 };

/* How many there are. */
static size_t list_buffers(struct zai_stream *s, struct buffer *all[BUFFERS])
{
    struct zai_more *m = s->more;
    all[0] = &s->answer_marks.held;
    all[1] = &s->answer_marks.joined;
    if (!m)
        return FIRST_OF_MORE;
    struct buffer *const more[] = {&m->unwrap.held,
                                   &m->unwrap.rest,
                                   &m->again.held,
                                   &m->again.rest,
                                   &m->reasoning,
                                   &m->reasoning_marks.held,
                                   &m->reasoning_marks.joined,
                                   &m->clean,
                                   &m->whole,
                                   &m->piece};
    memcpy(all + FIRST_OF_MORE, more, sizeof more);
    return BUFFERS;
}

void zai_stream_init(struct zai_stream *s)
{
    struct buffer *all[BUFFERS];
    *s = (struct zai_stream){0};
    size_t n = list_buffers(s, all);
    for (size_t i = 0; i < n; i++)
        buffer_init(all[i], ZAI_TEXT_LIMIT);
}

void zai_stream_free(struct zai_stream *s)
{
    struct buffer *all[BUFFERS];
    size_t n = list_buffers(s, all);
    for (size_t i = 0; i < n; i++)
        buffer_free(all[i]);
}

/* NULL with run->fail. */
static struct zai_more *more_of(struct turn_run *run, struct zai_stream *s)
{
    struct buffer *all[BUFFERS];
    if (s->more)
        return s->more;
    s->more = arena_alloc(run->arena, sizeof *s->more);
    if (!s->more) {
        fail_memory(run->fail);
        return NULL;
    }
    size_t n = list_buffers(s, all);
    for (size_t i = FIRST_OF_MORE; i < n; i++)
        buffer_init(all[i], ZAI_TEXT_LIMIT);
    return s->more;
}

bool zai_stream_has_output(const struct zai_stream *s) { return s->had_answer || s->had_reasoning; }

/* ---- sending ---- */

static int tell_room(struct turn_run *run, struct zai_stream *s)
{
    struct buffer *all[BUFFERS];
    size_t n = list_buffers(s, all);
    for (size_t i = 0; i < n; i++) {
        if (all[i]->error)
            return fail_too_long(run, all[i]->error);
    }
    return 0;
}

/* With every event: one look for what never happens. */
static int out_of_room(struct turn_run *run, struct zai_stream *s)
{
    const struct zai_more *m = s->more;
    int any = s->answer_marks.held.error | s->answer_marks.joined.error;
    if (m)
        any |= m->unwrap.held.error | m->unwrap.rest.error | m->again.held.error |
               m->again.rest.error | m->reasoning.error | m->reasoning_marks.held.error |
               m->reasoning_marks.joined.error | m->clean.error | m->whole.error | m->piece.error;
    return any ? tell_room(run, s) : 0;
}

/* Cleaned reasoning of the current stretch; s->more is there. */
static int send_reasoning(struct turn_run *run, struct zai_stream *s, struct span clean)
{
    struct zai_more *m = s->more;
    if (m->clean.error == BUFFER_NOMEM)
        return fail_memory(run->fail);
    if (!clean.n)
        return 0;
    if (s->set_off && delta_reasoning(run->out, 0, SPAN("\n\n")))
        return -1;
    s->set_off = false;
    buffer_append(&m->reasoning, clean);
    if (mark_filter_passes(&m->reasoning_marks, clean)) {
        s->had_reasoning = true;
        return delta_reasoning(run->out, 0, clean);
    }
    buffer_clear(&m->piece);
    mark_filter_feed(&m->reasoning_marks, NULL, clean, &m->piece); /* rule 5 */
    if (m->piece.error == BUFFER_NOMEM)
        return fail_memory(run->fail);
    s->had_reasoning |= m->piece.n > 0;
    return delta_reasoning(run->out, 0, buffer_span(&m->piece));
}

/* A new stretch is set off from the former by an empty line, as soon as it has text. s->more is
 * there. */
static void begin_thinking(struct zai_stream *s)
{
    if (s->thinking)
        return;
    s->thinking = true;
    s->set_off = s->had_reasoning;
    zai_unwrap_reset(&s->more->unwrap);
    buffer_clear(&s->more->reasoning);
}

static int flush_reasoning_hold(struct turn_run *run, struct zai_stream *s)
{
    struct buffer *held = s->more ? &s->more->reasoning_marks.held : NULL;
    if (!held || !held->n)
        return 0;
    s->had_reasoning = true;
    int bad = delta_reasoning(run->out, 0, buffer_span(held));
    buffer_clear(held);
    return bad;
}

static int end_thinking(struct turn_run *run, struct zai_stream *s)
{
    if (!s->thinking)
        return flush_reasoning_hold(run, s); /* an edit may have brought some */
    s->thinking = false;
    buffer_clear(&s->more->clean);
    zai_unwrap_flush(&s->more->unwrap, &s->more->clean);
    return send_reasoning(run, s, buffer_span(&s->more->clean)) || flush_reasoning_hold(run, s) ? -1
                                                                                                : 0;
}

static int thinking_text(struct turn_run *run, struct zai_stream *s, struct span text)
{
    struct zai_more *m = text.n ? more_of(run, s) : NULL;
    if (!m)
        return text.n ? -1 : 0;
    begin_thinking(s);
    buffer_clear(&m->clean);
    zai_unwrap_feed(&m->unwrap, text, &m->clean);
    return send_reasoning(run, s, buffer_span(&m->clean));
}

static int answer_text(struct turn_run *run, struct zai_stream *s, struct span text)
{
    if (!text.n)
        return 0;
    if (s->more && end_thinking(run, s)) /* there was no thought without it */
        return -1;
    if (text.n > ZAI_TEXT_LIMIT - s->said.n)
        return fail_too_long(run, BUFFER_FULL);
    prefix_add(&s->said, text);
    if (mark_filter_passes(&s->answer_marks, text)) {
        s->had_answer = true;
        return delta_text(run->out, 0, text);
    }
    struct zai_more *m = more_of(run, s);
    if (!m)
        return -1;
    buffer_clear(&m->piece);
    mark_filter_feed(&s->answer_marks, &s->sources, text, &m->piece);
    if (m->piece.error == BUFFER_NOMEM)
        return fail_memory(run->fail);
    s->had_answer |= m->piece.n > 0;
    return delta_text(run->out, 0, buffer_span(&m->piece));
}

/* ---- sources (rule 4) ---- */

static void add_source(struct turn_run *run, struct zai_stream *s, struct span ref_id,
                       struct span title, struct span url)
{
    if (ref_id.n)
        sources_add(run->arena, &s->sources, ref_id, title, url);
}

/* "[ref_id=<id>†<title>†<url>]", any number of them. */
static void sources_from_text(struct turn_run *run, struct zai_stream *s, struct span text)
{
    const struct span opening = SPAN("[ref_id="), dagger = SPAN(DAGGER);
    ptrdiff_t at;
    while ((at = span_find(text, opening)) >= 0) {
        text = span_from(text, (size_t)at + opening.n);
        struct span line = span_first(text, SOURCE_LINE_BYTES);
        ptrdiff_t end = span_find_char(line, '\n');
        if (end >= 0)
            line = span_first(line, (size_t)end);
        ptrdiff_t first = span_find(line, dagger);
        if (first < 0)
            continue;
        struct span rest = span_from(line, (size_t)first + dagger.n);
        ptrdiff_t second = span_find(rest, dagger);
        ptrdiff_t close =
            second < 0 ? -1 : span_find_char(span_from(rest, (size_t)second + dagger.n), ']');
        if (close < 0)
            continue;
        struct span url = span_first(span_from(rest, (size_t)second + dagger.n), (size_t)close);
        add_source(run, s, span_trim(span_first(line, (size_t)first)),
                   span_trim(span_first(rest, (size_t)second)), span_trim(url));
    }
}

/* The end of the array that begins at text.p[0], or 0. Strings are respected; nothing else is
 * checked: the parser does that. */
static size_t array_length(struct span text)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if ((c == ']' || c == '}') && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* `"search_result":[{title,url,index,ref_id}]` inside a tool's block. Uses run->json: the event's
 * own document is done with. */
static void sources_from_block(struct turn_run *run, struct zai_stream *s, struct span block)
{
    const struct span key = SPAN("\"search_result\":");
    ptrdiff_t at;
    while ((at = span_find(block, key)) >= 0) {
        block = span_from(block, (size_t)at + key.n);
        struct span array = block;
        while (array.n && array.p[0] == ' ')
            array = span_from(array, 1);
        size_t n = array.n && array.p[0] == '[' ? array_length(array) : 0;
        struct json root;
        if (!n && array.n && array.p[0] == '[')
            return; /* it has no end: looking for more inside would be quadratic */
        if (!n)
            continue;
        block = span_from(array, n);
        if (json_parse_lenient(run->json, span_first(array, n), &root) != JSON_OK)
            continue;
        struct json_iter it = json_each(root);
        while (json_next(&it))
            add_source(run, s, span_trim(json_get_text(it.value, "ref_id")),
                       span_trim(json_get_text(it.value, "title")),
                       span_trim(json_get_text(it.value, "url")));
    }
}

/* ---- edits (rules 3, 4, 6) ---- */

/* `whole` is all of the answer so far: what goes beyond what was sent is new; anything else is not
 * understood. */
static int answer_so_far(struct turn_run *run, struct zai_stream *s, struct span whole)
{
    if (prefix_begins(&s->said, whole))
        return answer_text(run, s, span_from(whole, s->said.n));
    run_drift(run, "edit that does not continue the answer");
    return 0;
}

/* Reasoning inside an edit: its clean text may go beyond what was sent. */
static int reasoning_so_far(struct turn_run *run, struct zai_stream *s, struct span wrapped)
{
    struct zai_more *m = s->more; /* of the edit */
    ptrdiff_t start = span_find(wrapped, SPAN("<details"));
    zai_unwrap_reset(&m->again);
    buffer_clear(&m->clean);
    zai_unwrap_feed(&m->again, span_from(wrapped, start < 0 ? 0 : (size_t)start), &m->clean);
    zai_unwrap_flush(&m->again, &m->clean);
    struct span clean = buffer_span(&m->clean);
    if (!s->had_reasoning)
        begin_thinking(s);
    if (!m->clean.error && span_starts(clean, buffer_span(&m->reasoning))) {
        buffer_clear(&m->unwrap.held); /* what was held back is inside what comes now */
        if (send_reasoning(run, s, span_from(clean, m->reasoning.n)))
            return -1;
    }
    /* An error of the work space must outlive the work space's next use. */
    if (m->clean.error)
        m->reasoning.error = m->clean.error;
    return end_thinking(run, s);
}

static struct span behind_details(struct span edit, size_t *at)
{
    const struct span closing = SPAN("</details>");
    ptrdiff_t last = span_find_last(edit, closing);
    if (last < 0) {
        *at = 0;
        return edit;
    }
    *at = (size_t)last + closing.n;
    struct span rest = span_from(edit, *at);
    return rest.n && rest.p[0] == '\n' ? span_from(rest, 1) : rest;
}

static bool is_tool_block(struct span edit)
{
    return span_find(edit, SPAN("<glm_block")) >= 0 || span_find(edit, SPAN("\"mcp\"")) >= 0 ||
           span_find(edit, SPAN("\"search_result\"")) >= 0;
}

static int tool_block(struct turn_run *run, struct zai_stream *s, enum phase phase, bool at_start,
                      struct span edit)
{
    ptrdiff_t block = span_find(edit, SPAN("<glm_block"));
    int bad = 0;
    if (phase == PHASE_ANSWER && block > 0) {
        struct span before = span_first(edit, (size_t)block);
        size_t details;
        struct span rest = behind_details(before, &details);
        if (details)
            bad = reasoning_so_far(run, s, span_first(before, details));
        before = rest;
        if (bad)
            return -1;
        if (at_start || prefix_begins(&s->said, before))
            bad = answer_so_far(run, s, before);
        else
            bad = answer_text(run, s, before);
    }
    if (bad || end_thinking(run, s))
        return -1;
    sources_from_block(run, s, edit);
    return 0;
}

static int edit_event(struct turn_run *run, struct zai_stream *s, enum phase phase, bool at_start,
                      struct span edit)
{
    size_t details;
    if (phase == PHASE_TOOL_CALL || phase == PHASE_TOOL_RESPONSE || is_tool_block(edit))
        return tool_block(run, s, phase, at_start, edit);
    if (phase != PHASE_ANSWER && phase != PHASE_OTHER) {
        run_drift(run, "edit in an unknown phase");
        return 0;
    }
    struct span rest = behind_details(edit, &details);
    if (phase == PHASE_ANSWER && details) {
        if (reasoning_so_far(run, s, span_first(edit, details)))
            return -1;
        return answer_so_far(run, s, rest);
    }
    if (!at_start) {
        run_drift(run, "edit at an index");
        return 0;
    }
    return answer_so_far(run, s, rest);
}

/* ---- events ---- */

static enum phase phase_of(struct json data)
{
    static const struct {
        struct span name;
        enum phase phase;
    } phases[] = {
        {SPAN_INIT("answer"), PHASE_ANSWER},
        {SPAN_INIT("thinking"), PHASE_THINKING},
        {SPAN_INIT("tool_call"), PHASE_TOOL_CALL},
        {SPAN_INIT("tool_response"), PHASE_TOOL_RESPONSE},
        {SPAN_INIT("other"), PHASE_OTHER},
        {SPAN_INIT("done"), PHASE_DONE},
    };
    struct json phase = json_get(data, "phase");
    if (!json_is(phase, JSON_STRING))
        return PHASE_ANSWER;
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        if (span_eq(json_text(phase), phases[i].name))
            return phases[i].phase;
    }
    return PHASE_UNKNOWN;
}

static struct delta_usage usage_of(struct json usage)
{
    struct delta_usage u = {
        .prompt = -1, .completion = -1, .total = -1, .cached = -1, .reasoning = -1};
    json_int(json_get(usage, "prompt_tokens"), &u.prompt);
    json_int(json_get(usage, "completion_tokens"), &u.completion);
    json_int(json_get(usage, "total_tokens"), &u.total);
    json_int(json_path(usage, "prompt_tokens_details", "cached_tokens"), &u.cached);
    return u;
}

static int put_usage(struct turn_run *run, struct zai_stream *s, const struct delta_usage *usage)
{
    s->had_usage = true;
    return delta_usage(run->out, usage);
}

static int read_usage(struct turn_run *run, struct zai_stream *s, struct json usage)
{
    if (!json_is(usage, JSON_OBJECT))
        return 0;
    struct delta_usage u = usage_of(usage);
    return put_usage(run, s, &u);
}

/* Whatever is still held is text. */
static int flush_all(struct turn_run *run, struct zai_stream *s)
{
    if (end_thinking(run, s))
        return -1;
    s->had_answer |= s->answer_marks.held.n > 0;
    int bad = delta_text(run->out, 0, buffer_span(&s->answer_marks.held));
    buffer_clear(&s->answer_marks.held);
    return bad;
}

static enum adapter_verdict finish(struct turn_run *run, struct zai *z)
{
    struct zai_stream *s = &z->stream;
    if (flush_all(run, s) || out_of_room(run, s))
        return ADAPTER_FAIL;
    if (!zai_stream_has_output(s))
        return fail_set(run->fail, FAIL_EMPTY, "chat.z.ai ended its answer without any text");
    if (sources_cite(&s->sources, run->out))
        return ADAPTER_FAIL;
    z->at = ZAI_OVER;
    run->over = true;
    return delta_finish(run->out, 0, SPAN("stop")) ? ADAPTER_FAIL : ADAPTER_COMPLETE;
}

static enum adapter_verdict error_event(struct turn_run *run, struct zai *z, struct json error,
                                        bool done)
{
    struct zai_stream *s = &z->stream;
    if (zai_error_is_internal(error) && done && s->had_answer && s->had_usage)
        return finish(run, z); /* §6.1: the answer is whole, only its chat was not kept */
    struct fail fail;
    zai_fail_event(run, error);
    fail = *run->fail;
    if (flush_all(run, s) == 0)
        *run->fail = fail;
    return ADAPTER_FAIL;
}

/* The text of an edit, decoded once more when it is a JSON string within the string; kept in
 * `whole`, for the document goes. */
static struct span edit_text(struct turn_run *run, struct zai_more *m, struct span edit)
{
    struct json inner;
    buffer_clear(&m->whole);
    buffer_append(&m->whole, edit);
    if (!m->whole.error && edit.p[0] == '"' &&
        json_parse_lenient(run->json, buffer_span(&m->whole), &inner) == JSON_OK &&
        json_is(inner, JSON_STRING)) {
        buffer_clear(&m->whole);
        buffer_append(&m->whole, json_text(inner));
    }
    return buffer_span(&m->whole);
}

/* ---- plain events: those that were seen before are not parsed (base/json_shapes.h) ---- */

enum { HOLE_TEXT, HOLE_PROMPT, HOLE_COMPLETION, HOLE_TOTAL, HOLES };

/* All that a plain event says beside its text; the note of its shape. */
struct plain {
    enum phase phase; /* thinking, answer, other or done */
    bool has_usage, done;
    struct delta_usage usage;
};

static enum adapter_verdict take_plain(struct turn_run *run, struct zai *z,
                                       const struct plain *plain, struct span text)
{
    struct zai_stream *s = &z->stream;
    if (plain->has_usage && put_usage(run, s, &plain->usage))
        return ADAPTER_FAIL;
    int bad =
        plain->phase == PHASE_THINKING ? thinking_text(run, s, text) : answer_text(run, s, text);
    if (bad || out_of_room(run, s))
        return ADAPTER_FAIL;
    return plain->done || plain->phase == PHASE_DONE ? finish(run, z) : ADAPTER_GO_ON;
}

static bool find_plain(struct turn_run *run, const struct frame *frame, struct plain *plain,
                       struct span *text)
{
    struct json_seen seen;
    if (!run->shapes)
        return false;
    if (!json_shapes_match(run->shapes, frame->type, frame->data, run->scratch, &seen))
        return false;
    memcpy(plain, seen.note.p, sizeof *plain);
    *text = seen.text;
    if (plain->usage.prompt >= 0)
        plain->usage.prompt = json_seen_number(&seen, HOLE_PROMPT);
    if (plain->usage.completion >= 0)
        plain->usage.completion = json_seen_number(&seen, HOLE_COMPLETION);
    if (plain->usage.total >= 0)
        plain->usage.total = json_seen_number(&seen, HOLE_TOTAL);
    return true;
}

static void keep_plain(struct turn_run *run, const struct frame *frame, const struct plain *plain)
{
    if (!run->shapes)
        return;
    struct span data = json_raw_get(frame->data, "data"), usage = json_raw_get(data, "usage");
    const struct json_hole holes[HOLES] = {
        [HOLE_TEXT] = {JSON_HOLE_TEXT, json_raw_get(data, "delta_content")},
        [HOLE_PROMPT] = {JSON_HOLE_NUMBER, json_raw_get(usage, "prompt_tokens")},
        [HOLE_COMPLETION] = {JSON_HOLE_NUMBER, json_raw_get(usage, "completion_tokens")},
        [HOLE_TOTAL] = {JSON_HOLE_NUMBER, json_raw_get(usage, "total_tokens")},
    };
    json_shapes_learn(run->shapes, frame->type, frame->data, holes, HOLES,
                      span_of((const char *)plain, sizeof *plain));
}

/* ---- all events ---- */

/* Of tools, or with an edit, or nothing that we know. */
static int odd_event(struct turn_run *run, struct zai_stream *s, enum phase phase, struct json data)
{
    struct span delta = json_get_text(data, "delta_content"),
                edit = json_get_text(data, "edit_content");
    int64_t index = 0;
    bool at_start = !json_int(json_get(data, "edit_index"), &index) || index == 0;
    int bad = read_usage(run, s, json_get(data, "usage"));
    if (phase == PHASE_UNKNOWN)
        run_drift(run, "unknown phase");
    else if (!bad && phase == PHASE_THINKING && delta.n)
        bad = thinking_text(run, s, delta);
    else if (!bad && (phase == PHASE_ANSWER || phase == PHASE_OTHER || phase == PHASE_DONE) &&
             delta.n)
        bad = answer_text(run, s, delta);
    else if (!bad && (phase == PHASE_TOOL_CALL || phase == PHASE_TOOL_RESPONSE))
        bad = end_thinking(run, s);
    if (!bad && phase == PHASE_TOOL_RESPONSE && delta.n)
        sources_from_text(run, s, delta);
    if (!bad && edit.n && !delta.n && phase != PHASE_UNKNOWN) {
        struct zai_more *m = more_of(run, s);
        if (!m)
            return ADAPTER_FAIL;
        edit = edit_text(run, m, edit); /* from here on the event's document is gone */
        bad = edit_event(run, s, phase, at_start, edit);
    }
    return bad;
}

static bool is_plain(enum phase phase, struct json data)
{
    bool spoken = phase == PHASE_THINKING || phase == PHASE_ANSWER || phase == PHASE_OTHER ||
                  phase == PHASE_DONE;
    enum json_type delta = json_type(json_get(data, "delta_content"));
    return spoken && !json_get_text(data, "edit_content").n &&
           (delta == JSON_STRING || delta <= JSON_NULL);
}

static enum adapter_verdict read_event(struct turn_run *run, struct zai *z,
                                       const struct frame *frame, struct json root)
{
    struct zai_stream *s = &z->stream;
    struct json data = json_get(root, "data"), error = zai_event_error(root);
    bool done = json_bool(json_get(data, "done"), false) ||
                json_bool(json_path(data, "data", "done"), false);
    if (json_is(error, JSON_OBJECT) && read_usage(run, s, json_get(data, "usage")))
        return ADAPTER_FAIL;
    if (json_is(error, JSON_OBJECT))
        return error_event(run, z, error, done || phase_of(data) == PHASE_DONE);
    struct span type = json_get_text(root, "type");
    if (type.n && !span_eq(type, SPAN("chat:completion")))
        return ADAPTER_GO_ON; /* chat:title and the like */
    if (!json_is(data, JSON_OBJECT)) {
        run_drift(run, "event without data");
        return ADAPTER_GO_ON;
    }
    enum phase phase = phase_of(data);
    if (!is_plain(phase, data)) {
        if (odd_event(run, s, phase, data) || out_of_room(run, s))
            return ADAPTER_FAIL;
        return done || phase == PHASE_DONE ? finish(run, z) : ADAPTER_GO_ON;
    }
    struct json usage = json_get(data, "usage");
    struct plain plain;
    memset(&plain, 0, sizeof plain); /* a note is bytes, those between its members, too */
    plain.phase = phase;
    plain.done = done;
    plain.has_usage = json_is(usage, JSON_OBJECT);
    plain.usage = usage_of(usage);
    keep_plain(run, frame, &plain);
    return take_plain(run, z, &plain, json_get_text(data, "delta_content"));
}

enum adapter_verdict zai_stream_event(struct turn_run *run, struct zai *z,
                                      const struct frame *frame)
{
    struct plain plain;
    struct span text;
    struct json root;
    if (find_plain(run, frame, &plain, &text))
        return take_plain(run, z, &plain, text);
    if (span_eq(span_trim(frame->data), SPAN("[DONE]")))
        return finish(run, z);
    if (json_parse_lenient(run->json, frame->data, &root) != JSON_OK ||
        !json_is(root, JSON_OBJECT)) {
        run_drift(run, "event that is no JSON object");
        return ADAPTER_GO_ON;
    }
    return read_event(run, z, frame, root);
}

enum adapter_verdict zai_stream_end(struct turn_run *run, struct zai *z, enum stream_end end)
{
    struct zai_stream *s = &z->stream;
    if (end == END_CLEAN && s->had_usage && zai_stream_has_output(s))
        return finish(run, z);
    if (flush_all(run, s))
        return ADAPTER_FAIL;
    if (!zai_stream_has_output(s) && end == END_CLEAN)
        return fail_set(run->fail, FAIL_EMPTY, "chat.z.ai ended its answer without any text");
    return fail_set(run->fail, FAIL_CUT,
                    "chat.z.ai broke off in the middle of its answer; ask again");
}
