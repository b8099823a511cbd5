/*
 * adapters/openai_wire.c - the reading half of openai_wire.h: chat.completion objects and streams
 * of chunks become deltas.
 *
 * Per event: one parse and one pass over its members, or neither where it is like the one before
 * but for its text; memory is taken from the arena only until the
 * scratch buffers have the size of the site's events. The hard part is the variety: content in
 * parts, finish reasons of every house, errors in the middle, ends without [DONE]. Tool calls are
 * openai_calls.c.
 */
#include "adapters/openai_wire.h"

#include "adapters/openai_shape.h"
#include "adapters/support.h"
#include "base/json_write.h"

static bool key_in(struct span key, const struct span *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (span_eq(key, list[i]))
            return true;
    }
    return false;
}

/* ---- memory for members that travel unchanged ---- */

/* The first time what is needed, then twice that: a whole answer comes once, chunks go on. */
static bool room(struct turn_run *run, struct buffer *b, size_t n)
{
    if (b->cap < n) {
        size_t cap = b->cap ? 2 * n : n;
        char *p = arena_room(run->arena, cap);
        if (!p)
            return false;
        *b = (struct buffer){.p = p, .cap = cap, .limit = cap};
    }
    buffer_clear(b);
    return true;
}

/* Work space for what is read of one frame: the engine's, which all runs share; else our own. */
static bool scratch_room(struct turn_run *run, struct openai_wire *w, size_t n)
{
    if (run->scratch) {
        w->scratch = run->scratch;
        buffer_clear(w->scratch);
        return buffer_reserve(w->scratch, n) != NULL;
    }
    if (!w->scratch)
        w->scratch = arena_alloc(run->arena, sizeof *w->scratch);
    return w->scratch && room(run, w->scratch, n);
}

/* Whatever there is in the event that is read fits in. */
int openai_wire_scratch(struct turn_run *run, struct openai_wire *w)
{
    return scratch_room(run, w, w->part_size) ? 0 : fail_memory(run->fail);
}

/* Most of what travels unchanged is small: it is written here first. Large is the logprobs of a
 * long answer, some million values; what a hostile site puts into one event would take seconds. */
enum { SMALL_PART = 512, EXTENT_MAX = 2000000 };

/* The members of `object` that are neither null nor in `known`, as raw JSON. The buffer is full
 * when they are too large. */
static void other_members(struct buffer *out, struct json object, const struct span *known,
                          size_t n_known)
{
    struct json_writer writer = json_writer(out);
    struct json_iter it = json_each(object);
    size_t extent = 0;
    while (!out->error && json_next(&it)) {
        if (json_is(it.value, JSON_NULL) || key_in(it.key, known, n_known))
            continue;
        extent += json_extent(it.value);
        if (extent > EXTENT_MAX) {
            out->error = BUFFER_FULL;
            break;
        }
        json_key_span(&writer, it.key);
        json_dump(out, it.value);
        writer.comma = true;
    }
    mend_lone_surrogates(out->p, out->n);
}

/* Most services repeat them in every chunk. */
static int put_top(struct turn_run *run, struct openai_wire *w, struct span members)
{
    if (members.n == 0 || span_eq(members, buffer_span(&w->top)))
        return 0;
    if (!room(run, &w->top, members.n))
        return fail_memory(run->fail);
    buffer_append(&w->top, members);
    return delta_extra(run->out, PLACE_TOP, 0, members);
}

static int put_others(struct turn_run *run, struct openai_wire *w, enum delta_place place,
                      int choice, struct json object, const struct span *known, size_t n_known)
{
    char some[SMALL_PART];
    struct buffer small = {.p = some, .cap = sizeof some, .limit = sizeof some}, *out = &small;
    other_members(out, object, known, n_known);
    if (out->error) {
        if (openai_wire_scratch(run, w))
            return -1;
        out = w->scratch;
        other_members(out, object, known, n_known);
    }
    if (out->error) {
        run_drift(run, "members too large to pass on");
        w->plain.odd = true;
        buffer_clear(out);
    }
    struct span members = buffer_span(out);
    if (place == PLACE_TOP) {
        int bad = put_top(run, w, members);
        w->plain.top = members.n ? buffer_span(&w->top) : members;
        return bad;
    }
    w->plain.odd = true;
    return members.n ? delta_extra(run->out, place, choice, members) : 0;
}

/* ---- text ---- */

static int put_text(struct turn_run *run, struct openai_wire *w, int choice, struct span text)
{
    if (text.n)
        w->something = true, openai_mark(&w->texts, choice);
    return delta_text(run->out, choice, text);
}

static int put_reasoning(struct turn_run *run, struct openai_wire *w, int choice, struct span text)
{
    if (text.n)
        w->something = true;
    return delta_reasoning(run->out, choice, text);
}

/* Nobody has so many choices, nor so many parts in one message: a hostile site's event has room for
 * millions. */
enum { LIST_MAX = 50000 };

static int refuse_list(struct turn_run *run)
{
    return fail_set(run->fail, FAIL_PROTOCOL,
                    "%.*s sent more than %d choices or parts in one event",
                    SPAN_ARGS(run->site->name), (int)LIST_MAX);
}

/* One part of a content array: a text, {"type":"text","text"}, or
 * {"type":"thinking","thinking":[parts]}. */
static int put_part(struct turn_run *run, struct openai_wire *w, int choice, struct json part)
{
    if (json_is(part, JSON_STRING))
        return put_text(run, w, choice, json_text(part));
    struct json thinking = json_get(part, "thinking");
    if (json_is(thinking, JSON_STRING))
        return put_reasoning(run, w, choice, json_text(thinking));
    if (json_is(thinking, JSON_ARRAY)) {
        struct json_iter it = json_each(thinking);
        while (json_next(&it)) {
            if (put_reasoning(run, w, choice, json_get_text(it.value, "text")))
                return -1;
        }
        return 0;
    }
    struct json text = json_get(part, "text");
    if (!json_is(text, JSON_STRING))
        run_drift(run, "content part without text");
    return put_text(run, w, choice, json_text(text));
}

static int put_content(struct turn_run *run, struct openai_wire *w, int choice, struct json content)
{
    switch (json_type(content)) {
    case JSON_STRING: return put_text(run, w, choice, json_text(content));
    case JSON_OBJECT: return put_part(run, w, choice, content);
    case JSON_ARRAY: {
        struct json_iter it = json_each(content);
        for (int i = 0; json_next(&it); i++) {
            if (i == LIST_MAX)
                return refuse_list(run);
            if (put_part(run, w, choice, it.value))
                return -1;
        }
        return 0;
    }
    case JSON_NULL:
    case JSON_MISSING: return 0;
    default: run_drift(run, "content that is no text"); return 0;
    }
}

static int put_citation(struct turn_run *run, int choice, struct json source)
{
    struct delta d = {
        .kind = DELTA_CITATION,
        .choice = choice,
        .url = json_get_text(source, "url"),
        .title = json_get_text(source, "title"),
    };
    if (!json_int(json_get(source, "start_index"), &d.start) ||
        !json_int(json_get(source, "end_index"), &d.end))
        d.start = d.end = 0;
    return d.url.n ? run->out->put(run->out->owner, &d) : 0;
}

static int put_annotations(struct turn_run *run, int choice, struct json annotations)
{
    struct json_iter it = json_each(annotations);
    while (json_next(&it)) {
        struct json inner = json_get(it.value, "url_citation");
        if (!span_eq(json_get_text(it.value, "type"), SPAN("url_citation"))) {
            run_drift(run, "annotation that is no url_citation");
            continue;
        }
        if (put_citation(run, choice, json_is(inner, JSON_OBJECT) ? inner : it.value))
            return -1;
    }
    return 0;
}

/* ---- the end of a choice ---- */

/* Finish reasons of the houses; what means that the answer is broken has a kind instead. */
static const struct finish_row {
    struct span said, reason;
    enum fail_kind kind;
} finish_rows[] = {
    {SPAN_INIT("stop"), SPAN_INIT("stop"), FAIL_NONE},
    {SPAN_INIT("length"), SPAN_INIT("length"), FAIL_NONE},
    {SPAN_INIT("tool_calls"), SPAN_INIT("tool_calls"), FAIL_NONE},
    {SPAN_INIT("function_call"), SPAN_INIT("function_call"), FAIL_NONE},
    {SPAN_INIT("content_filter"), SPAN_INIT("content_filter"), FAIL_NONE},
    {SPAN_INIT("eos"), SPAN_INIT("stop"), FAIL_NONE},
    {SPAN_INIT("eos_token"), SPAN_INIT("stop"), FAIL_NONE},
    {SPAN_INIT("end_turn"), SPAN_INIT("stop"), FAIL_NONE},
    {SPAN_INIT("stop_sequence"), SPAN_INIT("stop"), FAIL_NONE},
    {SPAN_INIT("max_tokens"), SPAN_INIT("length"), FAIL_NONE},
    {SPAN_INIT("model_length"), SPAN_INIT("length"), FAIL_NONE},
    {SPAN_INIT("tool_use"), SPAN_INIT("tool_calls"), FAIL_NONE},
    {SPAN_INIT("sensitive"), SPAN_INIT("content_filter"), FAIL_NONE},
    {SPAN_INIT("safety"), SPAN_INIT("content_filter"), FAIL_NONE},
    {SPAN_INIT("insufficient_system_resource"), SPAN_INIT(""), FAIL_OVERLOADED},
    {SPAN_INIT("network_error"), SPAN_INIT(""), FAIL_UNAVAILABLE},
    {SPAN_INIT("error"), SPAN_INIT(""), FAIL_UNAVAILABLE},
    {SPAN_INIT("abort"), SPAN_INIT(""), FAIL_CUT},
};

static int put_finish(struct turn_run *run, struct openai_wire *w, int choice, struct span said)
{
    struct span reason = SPAN("stop");
    size_t i = 0, n = sizeof finish_rows / sizeof *finish_rows;
    if (said.n == 0 || openai_marked(&w->finished, choice))
        return 0;
    while (i < n && !span_eq_nocase(said, finish_rows[i].said))
        i++;
    if (i == n)
        run_drift(run, "unknown finish_reason");
    else if (finish_rows[i].kind != FAIL_NONE)
        return fail_set(run->fail, finish_rows[i].kind, "%.*s gave up its answer (%.*s); try again",
                        SPAN_ARGS(run->site->name), SPAN_ARGS(finish_rows[i].said));
    else
        reason = finish_rows[i].reason;
    /* Agents go on only when the reason says so; several services say "stop" after calls. */
    if (w->calls && w->calls->of_choice[choice] &&
        (span_eq(reason, SPAN("stop")) || span_eq(reason, SPAN("function_call"))))
        reason = SPAN("tool_calls");
    if (!span_eq(reason, SPAN("stop")))
        w->lengthy = true;
    openai_mark(&w->finished, choice);
    return delta_finish(run->out, choice, reason);
}

/* ---- usage ---- */

/* `n` gets what the site counts there, -1 for nonsense; false: it is no number. */
static bool count_of(struct json value, int64_t *n)
{
    if (!json_int(value, n))
        return false;
    if (*n < 0)
        *n = -1;
    return true;
}

static int64_t detail_of(struct json details, const char *key)
{
    int64_t n = -1;
    count_of(json_get(details, key), &n);
    return n;
}

/* Its members, found in one walk. */
struct usage_members {
    struct json prompt, completion, total, input, output, prompt_details, completion_details;
    struct json cache_hit, cached;
};

static struct usage_members usage_members(struct json usage)
{
    struct usage_members m = {.prompt = {0}};
    struct json_iter it = json_each(usage);
    while (json_next(&it)) {
        if (span_eq(it.key, SPAN("prompt_tokens")))
            m.prompt = it.value;
        else if (span_eq(it.key, SPAN("completion_tokens")))
            m.completion = it.value;
        else if (span_eq(it.key, SPAN("total_tokens")))
            m.total = it.value;
        else if (span_eq(it.key, SPAN("prompt_tokens_details")))
            m.prompt_details = it.value;
        else if (span_eq(it.key, SPAN("completion_tokens_details")))
            m.completion_details = it.value;
        else if (span_eq(it.key, SPAN("input_tokens")))
            m.input = it.value;
        else if (span_eq(it.key, SPAN("output_tokens")))
            m.output = it.value;
        else if (span_eq(it.key, SPAN("prompt_cache_hit_tokens")))
            m.cache_hit = it.value;
        else if (span_eq(it.key, SPAN("cached_tokens")))
            m.cached = it.value;
    }
    return m;
}

/* Kept until the end: some services tell it in every chunk, and the last one counts. */
static int keep_usage(struct turn_run *run, struct openai_wire *w, struct json usage)
{
    struct delta_usage *u = &w->usage;
    const struct usage_members m = usage_members(usage);
    w->has_usage = true;
    *u = (struct delta_usage){.prompt = -1, .completion = -1, .total = -1};
    bool prompt = count_of(m.prompt, &u->prompt),
         completion = count_of(m.completion, &u->completion);
    if (!prompt)
        count_of(m.input, &u->prompt);
    if (!completion)
        count_of(m.output, &u->completion);
    count_of(m.total, &u->total);
    u->cached = detail_of(m.prompt_details, "cached_tokens");
    if (u->cached < 0 && !count_of(m.cache_hit, &u->cached))
        count_of(m.cached, &u->cached);
    u->reasoning = detail_of(m.completion_details, "reasoning_tokens");
    w->plain.usage = prompt && completion && u->total >= 0;
    w->plain.odd |= !w->plain.usage;
    if (!w->plain.usage || json_extent(usage) > EXTENT_MAX)
        return 0;
    char some[SMALL_PART];
    struct buffer small = {.p = some, .cap = sizeof some, .limit = sizeof some};
    bool fits = json_dump(&small, usage) == 0;
    if (!room(run, &w->usage_raw, fits ? small.n : w->part_size))
        return fail_memory(run->fail);
    if ((fits ? buffer_append(&w->usage_raw, buffer_span(&small))
              : json_dump(&w->usage_raw, usage)) == 0) {
        mend_lone_surrogates(w->usage_raw.p, w->usage_raw.n);
        u->raw = buffer_span(&w->usage_raw);
    }
    return 0;
}

static int take_usage(struct turn_run *run, struct openai_wire *w, const struct delta_usage *usage)
{
    w->has_usage = true;
    w->usage = *usage;
    if (!room(run, &w->usage_raw, usage->raw.n))
        return fail_memory(run->fail);
    buffer_append(&w->usage_raw, usage->raw);
    w->usage.raw = buffer_span(&w->usage_raw);
    return 0;
}

/* ---- one chunk, or one whole answer ---- */

static const struct span known_top[] = {
    SPAN_INIT("id"),     SPAN_INIT("object"),      SPAN_INIT("created"), SPAN_INIT("model"),
    SPAN_INIT("error"),  SPAN_INIT("usage"),       SPAN_INIT("choices"), SPAN_INIT("message"),
    SPAN_INIT("detail"), SPAN_INIT("obfuscation"),
};
static const struct span known_choice[] = {
    SPAN_INIT("index"),
    SPAN_INIT("delta"),
    SPAN_INIT("message"),
    SPAN_INIT("finish_reason"),
    SPAN_INIT("text"),
    SPAN_INIT("usage"),
    SPAN_INIT("refs") /* last: only where it is spoken */,
};
static const struct span known_delta[] = {
    SPAN_INIT("role"),        SPAN_INIT("content"),    SPAN_INIT("reasoning_content"),
    SPAN_INIT("refusal"),     SPAN_INIT("tool_calls"), SPAN_INIT("function_call"),
    SPAN_INIT("annotations"), SPAN_INIT("reasoning"),  SPAN_INIT("refs"),
};
enum {
    KNOWN_TOP = sizeof known_top / sizeof *known_top,
    KNOWN_CHOICE = sizeof known_choice / sizeof *known_choice,
    KNOWN_DELTA = sizeof known_delta / sizeof *known_delta
};

static int put_refs(struct turn_run *run, const struct openai_wire *w, int choice, struct json refs)
{
    struct json_iter it = json_each(refs);
    while (w->dialect->refs && json_next(&it)) {
        if (put_citation(run, choice, it.value))
            return -1;
    }
    return 0;
}

static bool is_nothing(struct json v)
{
    return json_type(v) <= JSON_NULL || (json_is(v, JSON_ARRAY) && json_size(v) == 0);
}

/* Which of the two has text, if only one of them does. */
static void note_text(struct openai_plain *plain, const char *reasoning_key, struct json reasoning,
                      struct json content)
{
    bool thinks = json_text(reasoning).n > 0, says = json_text(content).n > 0;
    plain->odd |=
        (thinks && says) || (json_type(content) > JSON_NULL && !json_is(content, JSON_STRING));
    plain->reasoning = thinks;
    plain->key = says ? "content" : thinks ? reasoning_key : NULL;
}

/* What a delta or a message holds: one pass to find, then everything in the order in which people
 * read it. */
static int read_message(struct turn_run *run, struct openai_wire *w, int choice,
                        struct json message)
{
    struct json content = {0}, reasoning = {0}, other_reasoning = {0}, refusal = {0}, calls = {0};
    struct json legacy = {0}, annotations = {0}, refs = {0};
    bool others = false;
    struct json_iter it = json_each(message);
    while (json_next(&it)) {
        if (span_eq(it.key, SPAN("content")))
            content = it.value;
        else if (span_eq(it.key, SPAN("reasoning_content")))
            reasoning = it.value;
        else if (span_eq(it.key, SPAN("tool_calls")))
            calls = it.value;
        else if (span_eq(it.key, SPAN("reasoning")))
            other_reasoning = it.value;
        else if (span_eq(it.key, SPAN("refusal")))
            refusal = it.value;
        else if (span_eq(it.key, SPAN("function_call")))
            legacy = it.value;
        else if (span_eq(it.key, SPAN("annotations")))
            annotations = it.value;
        else if (span_eq(it.key, SPAN("refs")) && w->dialect->refs)
            refs = it.value;
        else if (!span_eq(it.key, SPAN("role")) && !json_is(it.value, JSON_NULL))
            others = true;
    }
    if (others) {
        size_t known = w->dialect->refs ? KNOWN_DELTA : KNOWN_DELTA - 1;
        if (put_others(run, w, PLACE_DELTA, choice, message, known_delta, known))
            return -1;
        w->something = true; /* sound, pictures: an answer of its own kind */
    }
    const char *reasoning_key = "reasoning_content";
    if (!json_is(reasoning, JSON_STRING)) {
        reasoning = other_reasoning;
        reasoning_key = "reasoning";
    }
    if (put_reasoning(run, w, choice, json_text(reasoning)) || put_content(run, w, choice, content))
        return -1;
    struct span no = json_text(refusal);
    if (no.n)
        w->something = true;
    w->plain.odd |= no.n || !is_nothing(annotations) || !is_nothing(refs) || !is_nothing(calls) ||
                    json_is(legacy, JSON_OBJECT);
    note_text(&w->plain, reasoning_key, reasoning, content);
    if (delta_refusal(run->out, choice, no) || put_annotations(run, choice, annotations) ||
        put_refs(run, w, choice, refs) || openai_put_calls(run, w, choice, calls))
        return -1;
    return json_is(legacy, JSON_OBJECT) ? openai_put_legacy_call(run, w, choice, legacy) : 0;
}

static int read_choice(struct turn_run *run, struct openai_wire *w, struct json value)
{
    struct json delta = {0}, message = {0}, finish = {0}, refs = {0}, text = {0}, usage = {0};
    bool others = false;
    int64_t index = 0;
    if (!json_is(value, JSON_OBJECT)) {
        run_drift(run, "choice that is no object");
        w->plain.odd = true;
        return 0;
    }
    struct json_iter it = json_each(value);
    while (json_next(&it)) {
        if (span_eq(it.key, SPAN("index")))
            json_int(it.value, &index);
        else if (span_eq(it.key, SPAN("delta")))
            delta = it.value;
        else if (span_eq(it.key, SPAN("finish_reason")))
            finish = it.value;
        else if (span_eq(it.key, SPAN("message")))
            message = it.value;
        else if (span_eq(it.key, SPAN("text")))
            text = it.value;
        else if (span_eq(it.key, SPAN("usage")))
            usage = it.value;
        else if (span_eq(it.key, SPAN("refs")) && w->dialect->refs)
            refs = it.value;
        else if (!json_is(it.value, JSON_NULL))
            others = true;
    }
    if (index < 0 || index >= OPENAI_CHOICES_MAX) {
        run_drift(run, "choice index out of range");
        w->plain.odd = true;
        return 0;
    }
    int choice = (int)index;
    openai_mark(&w->used, choice);
    size_t known = w->dialect->refs ? KNOWN_CHOICE : KNOWN_CHOICE - 1;
    if (others && put_others(run, w, PLACE_CHOICE, choice, value, known_choice, known))
        return -1;
    /* Some services repeat the whole message beside or instead of the last delta. */
    bool whole = json_is(message, JSON_OBJECT) && !json_is(delta, JSON_OBJECT) &&
                 (w->whole || !openai_marked(&w->texts, choice));
    w->plain.odd |= w->plain.choice || !is_nothing(refs) || json_is(usage, JSON_OBJECT) ||
                    (!json_is(delta, JSON_OBJECT) && !(whole && w->whole));
    w->plain.choice = true;
    w->plain.number = choice;
    w->plain.part = whole ? "message" : "delta";
    w->plain.finish = json_text(finish);
    if (read_message(run, w, choice, whole ? message : delta))
        return -1;
    if (!whole && !json_is(delta, JSON_OBJECT) && put_text(run, w, choice, json_text(text)))
        return -1;
    if (json_is(usage, JSON_OBJECT) && keep_usage(run, w, usage))
        return -1;
    return put_refs(run, w, choice, refs) || put_finish(run, w, choice, json_text(finish)) ? -1 : 0;
}

/* {"error": null}, false, "", {} are no errors. */
static bool is_truthy(struct json v)
{
    double n;
    switch (json_type(v)) {
    case JSON_MISSING:
    case JSON_NULL: return false;
    case JSON_BOOL: return json_bool(v, false);
    case JSON_STRING: return json_text(v).n > 0;
    case JSON_OBJECT:
    case JSON_ARRAY: return json_size(v) > 0;
    default: return json_number(v, &n) && n != 0;
    }
}

static enum adapter_verdict read_odd(struct turn_run *run, struct openai_wire *w, struct json root,
                                     struct span text)
{
    bool known = false;
    if (w->dialect->odd) {
        enum adapter_verdict verdict = w->dialect->odd(run, root, &known);
        if (known)
            return verdict;
    }
    if (w->whole)
        return classify_http(run, w->status, w->content_type, w->retry_after_s, text);
    if (span_eq(json_get_text(root, "object"), SPAN("error")) ||
        span_eq(json_get_text(root, "type"), SPAN("error")))
        return classify_error_object(run, root);
    run_drift(run, "chunk without choices");
    return ADAPTER_GO_ON;
}

static enum adapter_verdict read_answer(struct turn_run *run, struct openai_wire *w,
                                        struct json root, struct span text)
{
    struct json choices = {0}, error = {0}, usage = {0};
    bool others = false;
    struct json_iter it = json_each(root);
    w->part_size = text.n * 4 + 256;
    w->plain = (struct openai_plain){.odd = false};
    while (json_next(&it)) {
        if (span_eq(it.key, SPAN("choices")))
            choices = it.value;
        else if (span_eq(it.key, SPAN("usage")))
            usage = it.value;
        else if (span_eq(it.key, SPAN("error")))
            error = it.value;
        else if (!others && !json_is(it.value, JSON_NULL))
            others = !key_in(it.key, known_top, KNOWN_TOP);
    }
    if (is_truthy(error))
        return classify_error_object(run, error);
    if (json_is(usage, JSON_OBJECT) && keep_usage(run, w, usage))
        return ADAPTER_FAIL;
    w->plain.odd |= !json_is(choices, JSON_ARRAY);
    if (!json_is(choices, JSON_ARRAY))
        return w->has_usage && !w->whole ? ADAPTER_GO_ON : read_odd(run, w, root, text);
    if (others && put_others(run, w, PLACE_TOP, 0, root, known_top, KNOWN_TOP))
        return ADAPTER_FAIL;
    it = json_each(choices);
    for (int i = 0; json_next(&it); i++) {
        if (i == LIST_MAX)
            refuse_list(run);
        if (i == LIST_MAX || read_choice(run, w, it.value))
            return ADAPTER_FAIL;
    }
    return ADAPTER_GO_ON;
}

/* ---- head, frames, end ---- */

static enum adapter_verdict failure(struct turn_run *run, struct openai_wire *w, struct span body)
{
    if (w->dialect->failure)
        return w->dialect->failure(run, w->status, w->content_type, w->retry_after_s, body);
    return classify_http(run, w->status, w->content_type, w->retry_after_s, body);
}

enum adapter_verdict openai_wire_head(struct turn_run *run, struct openai_wire *w,
                                      const struct openai_dialect *dialect,
                                      const struct site_head *head, enum framing *framing)
{
    *w = (struct openai_wire){.dialect = dialect,
                              .status = head->status,
                              .retry_after_s = head->retry_after_s,
                              .content_type = arena_text(run->arena, head->content_type)};
    if (!w->content_type.p)
        return fail_memory(run->fail);
    if (head->status == 429 && w->retry_after_s <= 0)
        w->retry_after_s = openai_reset_s(head, run->now_ms);
    bool events = site_head_is(head, "text/event-stream");
    w->good =
        head->status >= 200 && head->status < 300 && !looks_like_html(head->content_type, SPAN(""));
    w->whole =
        !events && (!run->turn->stream || span_find_nocase(head->content_type, SPAN("json")) >= 0);
    *framing = w->good && !w->whole ? FRAMING_SSE : FRAMING_WHOLE;
    return ADAPTER_GO_ON;
}

/* `done`: the site said that this is all. */
static enum adapter_verdict finish_answer(struct turn_run *run, struct openai_wire *w, bool done)
{
    bool any = false, open = false;
    for (size_t i = 0; i < sizeof w->used.bits / sizeof *w->used.bits; i++) {
        any |= w->finished.bits[i] != 0;
        open |= (w->used.bits[i] & ~w->finished.bits[i]) != 0;
    }
    /* A stop text at the very beginning leaves an empty answer that is whole. */
    if (!w->something && !w->lengthy && !(any && run->turn->n_stop))
        return fail_said_nothing(run);
    if (!done && (open || !any))
        return fail_broke_off(run);
    for (size_t i = 0; w->calls && i < w->calls->n; i++) {
        if (!w->calls->list[i].begun)
            run_drift(run, "tool call without a name");
    }
    for (int c = 0; c < OPENAI_CHOICES_MAX && open; c++) {
        if (openai_marked(&w->used, c) && put_finish(run, w, c, SPAN("stop")))
            return ADAPTER_FAIL;
    }
    if (w->has_usage && delta_usage(run->out, &w->usage))
        return ADAPTER_FAIL;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict whole_frame(struct turn_run *run, struct openai_wire *w,
                                        const struct frame *frame, struct span text)
{
    struct json root;
    if (json_parse_lenient(run->json, text, &root) != JSON_OK || !json_is(root, JSON_OBJECT)) {
        if (looks_like_html(w->content_type, text))
            return failure(run, w, text);
        if (text.n == 0)
            return finish_answer(run, w, false);
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s answered something that is no JSON object",
                        SPAN_ARGS(run->site->name));
    }
    enum adapter_verdict verdict = read_answer(run, w, root, text);
    if (verdict == ADAPTER_GO_ON && !w->plain.odd)
        openai_shape_keep(run, w, frame);
    return verdict == ADAPTER_GO_ON ? finish_answer(run, w, true) : verdict;
}

/* What was known without parsing: the same as read_answer does, in its order. */
static enum adapter_verdict take_event(struct turn_run *run, struct openai_wire *w,
                                       const struct openai_event *event)
{
    if (event->has_usage && take_usage(run, w, &event->usage))
        return ADAPTER_FAIL;
    if (event->top.n && !span_eq(event->top, buffer_span(&w->top)) && put_top(run, w, event->top))
        return ADAPTER_FAIL;
    if (event->has_choice) {
        int choice = event->choice;
        openai_mark(&w->used, choice);
        int bad = event->reasoning ? put_reasoning(run, w, choice, event->text)
                                   : put_text(run, w, choice, event->text);
        if (bad || (event->finish.n && put_finish(run, w, choice, event->finish)))
            return ADAPTER_FAIL;
    }
    return w->whole ? finish_answer(run, w, true) : ADAPTER_GO_ON;
}

enum adapter_verdict openai_wire_frame(struct turn_run *run, struct openai_wire *w,
                                       const struct frame *frame)
{
    struct openai_event event;
    struct json root;
    if (w->good && openai_shape_find(run, w, frame, &event))
        return take_event(run, w, &event);
    struct span text = span_trim(frame->data);
    if (!w->good)
        return failure(run, w, text);
    if (w->whole)
        return whole_frame(run, w, frame, text);
    if (text.n == 0)
        return ADAPTER_GO_ON;
    if (span_eq(text, SPAN("[DONE]")))
        return finish_answer(run, w, true);
    if (json_parse_lenient(run->json, text, &root) != JSON_OK)
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s sent an event that is no JSON",
                        SPAN_ARGS(run->site->name));
    if (!json_is(root, JSON_OBJECT)) {
        run_drift(run, "event that is no object");
        return ADAPTER_GO_ON;
    }
    if (span_eq(frame->type, SPAN("error")) && !is_truthy(json_get(root, "error")))
        return classify_error_object(run, root);
    enum adapter_verdict verdict = read_answer(run, w, root, text);
    if (verdict == ADAPTER_GO_ON && !w->plain.odd)
        openai_shape_keep(run, w, frame);
    return verdict;
}

enum adapter_verdict openai_wire_end(struct turn_run *run, struct openai_wire *w,
                                     enum stream_end end)
{
    if (!w->good)
        return failure(run, w, SPAN(""));
    if (w->whole || end == END_CLEAN)
        return end == END_CLEAN ? finish_answer(run, w, false) : fail_broke_off(run);
    /* A reset after the last finish_reason took nothing from the answer. */
    enum adapter_verdict verdict = finish_answer(run, w, false);
    if (verdict == ADAPTER_FAIL && run->fail->kind == FAIL_EMPTY)
        fail_broke_off(run);
    return verdict;
}
