/*
 * adapters/gemini_stream.c - what the events of a Gemini answer mean (sites/gemini.md §5).
 *
 * Each event is a GenerateContentResponse with whole parts. The finish is held back until the
 * body's end: events after a finishReason may still bring usage and sources. The hard part is what
 * OpenAI's answers have no place for: pictures and programs become Markdown on lines of its own,
 * the proof of the thinking behind a call travels in the call and is remembered.
 */
#include "adapters/gemini.h"

#include <stdio.h>

#include "base/json_write.h"

enum { PIECE_LIMIT = 64 * 1024 * 1024, TOKENS_MAX = INT32_MAX, CALLS_MAX = 128 };

static enum adapter_verdict fail_no_memory(struct turn_run *run) { return fail_memory(run->fail); }

/* ---- text ---- */

static int put_text(struct turn_run *run, struct gemini *g, struct span text)
{
    if (text.n == 0)
        return 0;
    if (g->break_due && delta_text(run->out, 0, SPAN("\n\n")))
        return -1;
    g->break_due = false;
    g->text = true;
    g->line_open = text.p[text.n - 1] != '\n';
    return delta_text(run->out, 0, text);
}

/* A block stands on lines of its own; the text behind it begins anew. */
static int begin_block(struct turn_run *run, struct gemini *g)
{
    g->break_due |= g->line_open;
    return put_text(run, g, SPAN(""));
}

static void end_block(struct gemini *g)
{
    g->line_open = false;
    g->break_due = true;
}

static int put_picture(struct turn_run *run, struct gemini *g, struct json data)
{
    struct span mime = json_get_text(data, "mimeType"), base64 = json_get_text(data, "data");
    if (!span_starts(mime, SPAN("image/")) || base64.n == 0) {
        run_drift(run, "inline data that is no picture");
        return 0;
    }
    if (begin_block(run, g) || put_text(run, g, SPAN("![image](data:")) || put_text(run, g, mime) ||
        put_text(run, g, SPAN(";base64,")) || put_text(run, g, base64) ||
        put_text(run, g, SPAN(")")))
        return -1;
    end_block(g);
    return 0;
}

/* A fence longer than any inside, or the block would end early. */
static size_t fence_length(struct span code)
{
    size_t longest = 2, run = 0;
    for (size_t i = 0; i < code.n; i++) {
        run = code.p[i] == '`' ? run + 1 : 0;
        if (run > longest)
            longest = run;
    }
    return longest + 1;
}

static int put_fence(struct turn_run *run, struct gemini *g, size_t n)
{
    for (; n; n--) {
        if (put_text(run, g, SPAN("`")))
            return -1;
    }
    return 0;
}

static int put_code(struct turn_run *run, struct gemini *g, const char *language, struct span code)
{
    size_t fence = fence_length(code);
    if (fence > 64)
        fence = 64;
    if (begin_block(run, g) || put_fence(run, g, fence) || put_text(run, g, span_str(language)) ||
        put_text(run, g, SPAN("\n")) || put_text(run, g, code))
        return -1;
    if (g->line_open && put_text(run, g, SPAN("\n")))
        return -1;
    if (put_fence(run, g, fence))
        return -1;
    end_block(g);
    return 0;
}

/* ---- calls ---- */

static struct span fresh_id(struct turn_run *run)
{
    unsigned char bytes[12];
    char hex[2 * sizeof bytes + 1];
    run->random(run->random_owner, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    return arena_printf(run->arena, "call_%s", hex);
}

/* Written compactly; lone surrogates of the site's are mended. */
static struct span written(struct turn_run *run, struct buffer *out)
{
    if (out->n)
        mend_lone_surrogates(out->p, out->n);
    struct span text = out->error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(out));
    buffer_free(out);
    return text;
}

static struct span arguments_of(struct turn_run *run, struct json args)
{
    struct buffer out;
    if (!json_is(args, JSON_OBJECT))
        return SPAN("{}");
    buffer_init(&out, PIECE_LIMIT);
    json_dump(&out, args);
    return written(run, &out);
}

/* The form in which Google's own OpenAI-compatible endpoint hands a proof out (§4.2). */
static struct span extra_content_of(struct turn_run *run, struct span signature)
{
    struct buffer out;
    struct json_writer w = json_writer(&out);
    if (!signature.n)
        return SPAN("");
    buffer_init(&out, PIECE_LIMIT);
    json_begin_object(&w);
    json_key(&w, "google");
    json_begin_object(&w);
    json_member(&w, "thought_signature", signature);
    json_end_object(&w);
    json_end_object(&w);
    return written(run, &out);
}

/* What gemini_body.c needs when the call comes back without its extra_content. */
static void keep_call(struct turn_run *run, struct span id, struct span signature,
                      struct span function_id)
{
    struct buffer out;
    struct json_writer w = json_writer(&out);
    if (!signature.n && !function_id.n)
        return;
    buffer_init(&out, PIECE_LIMIT);
    json_begin_object(&w);
    json_member(&w, "signature", signature);
    json_member(&w, "id", function_id);
    json_end_object(&w);
    struct span key = gemini_call_key(run, id);
    if (!out.error && key.p)
        run_keep(run, key, buffer_span(&out));
    buffer_free(&out);
}

static int put_call(struct turn_run *run, struct gemini *g, struct json call, struct span signature)
{
    struct span given_id = json_get_text(call, "id");
    struct span id = given_id.n ? given_id : fresh_id(run);
    struct span name = gemini_given_name(g, json_get_text(call, "name"));
    struct span arguments = arguments_of(run, json_get(call, "args"));
    struct span extra = extra_content_of(run, signature);
    if (!id.p || !arguments.p || !extra.p)
        return fail_memory(run->fail);
    if (name.n == 0) {
        run_drift(run, "function call without a name");
        return 0;
    }
    if (g->calls == CALLS_MAX)
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s made more than %d tool calls",
                        SPAN_ARGS(run->site->name), (int)CALLS_MAX);
    keep_call(run, id, signature, given_id);
    int index = g->calls++;
    if (delta_tool_begin_with(run->out, 0, index, id, name, extra))
        return -1;
    return delta_tool_arguments(run->out, 0, index, arguments);
}

/* ---- parts ---- */

static int read_part(struct turn_run *run, struct gemini *g, struct json part)
{
    struct json text = {0}, call = {0}, data = {0}, code = {0}, result = {0};
    struct span signature = SPAN("");
    bool thought = false, known = false;
    struct json_iter it = json_each(part);
    while (json_next(&it)) {
        if (span_eq(it.key, SPAN("text")))
            text = it.value;
        else if (span_eq(it.key, SPAN("thought")))
            thought = json_bool(it.value, false);
        else if (span_eq(it.key, SPAN("thoughtSignature")))
            signature = json_text(it.value);
        else if (span_eq(it.key, SPAN("functionCall")))
            call = it.value;
        else if (span_eq(it.key, SPAN("inlineData")))
            data = it.value;
        else if (span_eq(it.key, SPAN("executableCode")))
            code = it.value;
        else if (span_eq(it.key, SPAN("codeExecutionResult")))
            result = it.value;
        else
            continue;
        known = true;
    }
    if (!known)
        run_drift(run, "part of an unknown kind");
    if (json_is(call, JSON_OBJECT))
        return put_call(run, g, call, signature);
    if (json_is(data, JSON_OBJECT) && !thought) /* thoughts' sketches are not the answer */
        return put_picture(run, g, data);
    if (json_is(code, JSON_OBJECT)) {
        bool python = span_eq(json_get_text(code, "language"), SPAN("PYTHON"));
        return put_code(run, g, python ? "python" : "", json_get_text(code, "code"));
    }
    if (json_is(result, JSON_OBJECT))
        return put_code(run, g, "", json_get_text(result, "output"));
    if (!thought)
        return put_text(run, g, json_text(text));
    return delta_reasoning(run->out, 0, json_text(text));
}

/* ---- the probabilities of tokens ---- */

static void write_token(struct json_writer *w, struct json token)
{
    struct span text = json_get_text(token, "token");
    double value = 0;
    json_number(json_get(token, "logProbability"), &value);
    json_member(w, "token", text);
    json_key(w, "logprob");
    json_write_double(w, value);
    json_key(w, "bytes");
    json_begin_array(w);
    for (size_t i = 0; i < text.n; i++)
        json_write_int(w, (unsigned char)text.p[i]);
    json_end_array(w);
}

static void write_logprobs(struct json_writer *w, struct json result)
{
    struct json_iter chosen = json_each(json_get(result, "chosenCandidates"));
    struct json_iter tops = json_each(json_get(result, "topCandidates"));
    json_key(w, "logprobs");
    json_begin_object(w);
    json_key(w, "content");
    json_begin_array(w);
    while (json_next(&chosen)) {
        json_begin_object(w);
        write_token(w, chosen.value);
        json_key(w, "top_logprobs");
        json_begin_array(w);
        if (json_next(&tops)) {
            struct json_iter top = json_each(json_get(tops.value, "candidates"));
            while (json_next(&top)) {
                json_begin_object(w);
                write_token(w, top.value);
                json_end_object(w);
            }
        }
        json_end_array(w);
        json_end_object(w);
    }
    json_end_array(w);
    json_member_raw(w, "refusal", SPAN("null"));
    json_end_object(w);
}

static int put_logprobs(struct turn_run *run, struct json result)
{
    struct buffer out;
    struct json_writer w = json_writer(&out);
    if (!json_size(json_get(result, "chosenCandidates")))
        return 0;
    buffer_init(&out, PIECE_LIMIT);
    write_logprobs(&w, result);
    struct span members = written(run, &out);
    if (!members.p)
        return fail_memory(run->fail);
    return delta_extra(run->out, PLACE_CHOICE, 0, members);
}

/* ---- one event ---- */

static int put_sources(struct turn_run *run, struct json grounding)
{
    struct json_iter it = json_each(json_get(grounding, "groundingChunks"));
    while (json_next(&it)) {
        struct json web = json_get(it.value, "web");
        struct span url = json_get_text(web, "uri");
        if (url.n && delta_citation(run->out, 0, url, json_get_text(web, "title")))
            return -1;
    }
    return 0;
}

/* Counts that cannot be are none: sums of them must stay numbers. */
static int64_t count(struct json usage, const char *key)
{
    int64_t n = 0;
    return json_int(json_get(usage, key), &n) && n > 0 && n <= TOKENS_MAX ? n : 0;
}

/* Cumulative: the last one counts. */
static void keep_usage(struct gemini *g, struct json usage)
{
    struct delta_usage *u = &g->usage;
    if (!json_is(usage, JSON_OBJECT))
        return;
    g->has_usage = true;
    u->reasoning = count(usage, "thoughtsTokenCount");
    u->cached = count(usage, "cachedContentTokenCount");
    u->prompt = count(usage, "promptTokenCount") + count(usage, "toolUsePromptTokenCount");
    u->completion = count(usage, "candidatesTokenCount") + u->reasoning;
    u->total = u->prompt + u->completion;
}

enum ending { ENDS_WELL, ENDS_AT_LIMIT, ENDS_FILTERED, ENDS_BROKEN };

static enum ending ending_of(struct span reason)
{
    static const struct {
        struct span reason;
        enum ending ending;
    } rows[] = {
        {SPAN_INIT("STOP"), ENDS_WELL},
        {SPAN_INIT("MAX_TOKENS"), ENDS_AT_LIMIT},
        {SPAN_INIT("SAFETY"), ENDS_FILTERED},
        {SPAN_INIT("RECITATION"), ENDS_FILTERED},
        {SPAN_INIT("LANGUAGE"), ENDS_FILTERED},
        {SPAN_INIT("BLOCKLIST"), ENDS_FILTERED},
        {SPAN_INIT("PROHIBITED_CONTENT"), ENDS_FILTERED},
        {SPAN_INIT("SPII"), ENDS_FILTERED},
        {SPAN_INIT("IMAGE_SAFETY"), ENDS_FILTERED},
        {SPAN_INIT("IMAGE_PROHIBITED_CONTENT"), ENDS_FILTERED},
        {SPAN_INIT("IMAGE_RECITATION"), ENDS_FILTERED},
        {SPAN_INIT("MALFORMED_FUNCTION_CALL"), ENDS_BROKEN},
        {SPAN_INIT("UNEXPECTED_TOOL_CALL"), ENDS_BROKEN},
        {SPAN_INIT("TOO_MANY_TOOL_CALLS"), ENDS_BROKEN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (span_eq(reason, rows[i].reason))
            return rows[i].ending;
    }
    return ENDS_WELL; /* OTHER, NO_IMAGE, IMAGE_OTHER, new ones: what was said stands */
}

static int fail_because(struct turn_run *run, enum fail_kind kind, const char *what,
                        struct span reason, struct span message)
{
    char said[140];
    clean_message(run, said, sizeof said, message);
    return fail_set(run->fail, kind, "%.*s %s (%.*s)%s%s", SPAN_ARGS(run->site->name), what,
                    SPAN_ARGS(span_first(reason, 40)), said[0] ? ": " : "", said);
}

static int read_finish(struct turn_run *run, struct gemini *g, struct json candidate)
{
    struct span reason = json_get_text(candidate, "finishReason");
    struct span message = json_get_text(candidate, "finishMessage");
    bool said = g->text || g->calls;
    if (reason.n == 0 || span_eq(reason, SPAN("FINISH_REASON_UNSPECIFIED")))
        return 0;
    switch (ending_of(reason)) {
    case ENDS_BROKEN:
        return fail_because(run, FAIL_PROTOCOL, "could not write its tool call; ask again", reason,
                            message);
    case ENDS_FILTERED:
        if (!said)
            return fail_because(run, FAIL_CONTENT_FILTER, "refused the content", reason, message);
        g->finish = SPAN("content_filter");
        break;
    case ENDS_AT_LIMIT: g->finish = SPAN("length"); break;
    case ENDS_WELL:
        if (!said && !span_eq(reason, SPAN("STOP")))
            return fail_because(run, FAIL_UNAVAILABLE, "ended without an answer; try again", reason,
                                message);
        g->finish = g->calls ? SPAN("tool_calls") : SPAN("stop");
    }
    g->native = arena_dup(run->arena, reason);
    return g->native.p ? 0 : fail_memory(run->fail);
}

static int read_candidate(struct turn_run *run, struct gemini *g, struct json candidate)
{
    int64_t index = 0;
    json_int(json_get(candidate, "index"), &index);
    if (index != 0) { /* one was asked for */
        run_drift(run, "second candidate");
        return 0;
    }
    struct json_iter it = json_each(json_path(candidate, "content", "parts"));
    while (json_next(&it)) {
        if (read_part(run, g, it.value))
            return -1;
    }
    if (put_logprobs(run, json_get(candidate, "logprobsResult")) ||
        put_sources(run, json_get(candidate, "groundingMetadata")))
        return -1;
    return read_finish(run, g, candidate);
}

static int read_response(struct turn_run *run, struct gemini *g, struct json root)
{
    struct json error = json_get(root, "error"), candidates = json_get(root, "candidates");
    if (!json_is(root, JSON_OBJECT)) {
        run_drift(run, "event that is no object");
        return 0;
    }
    if (json_is(error, JSON_OBJECT))
        return gemini_fail_error(run, error, 0);
    keep_usage(g, json_get(root, "usageMetadata"));
    struct json feedback = json_get(root, "promptFeedback");
    struct span blocked = json_get_text(feedback, "blockReason");
    if (blocked.n && !json_size(candidates))
        return fail_because(run, FAIL_CONTENT_FILTER, "refused the prompt", blocked,
                            json_get_text(feedback, "blockReasonMessage"));
    struct json_iter it = json_each(candidates);
    while (json_next(&it)) {
        if (read_candidate(run, g, it.value))
            return -1;
    }
    return 0;
}

enum adapter_verdict gemini_event(struct turn_run *run, struct gemini *g, struct span text)
{
    struct json root;
    int error = json_parse_lenient(run->json, text, &root);
    if (error == JSON_NOMEM)
        return fail_no_memory(run);
    if (error != JSON_OK)
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s sent an event that is no JSON",
                        SPAN_ARGS(run->site->name));
    if (!json_is(root, JSON_ARRAY))
        return read_response(run, g, root) ? ADAPTER_FAIL : ADAPTER_GO_ON;
    struct json_iter it = json_each(root);
    while (json_next(&it)) {
        if (read_response(run, g, it.value))
            return ADAPTER_FAIL;
    }
    return ADAPTER_GO_ON;
}

/* A stop text at the very beginning leaves an answer that is empty and whole, and so does a limit
 * that the thoughts have used up: `length` says it. */
static bool may_be_empty(const struct turn_run *run, const struct gemini *g)
{
    return span_eq(g->finish, SPAN("length")) || run->turn->n_stop > 0;
}

enum adapter_verdict gemini_end(struct turn_run *run, struct gemini *g, enum stream_end end)
{
    if (!g->finish.n)
        return fail_broke_off(run);
    /* With the finish told, a reset takes nothing from the answer. */
    if (!g->text && !g->calls && !may_be_empty(run, g))
        return fail_said_nothing(run);
    if (delta_finish_as(run->out, 0, g->finish, g->native, SPAN("")))
        return ADAPTER_FAIL;
    if (g->has_usage && delta_usage(run->out, &g->usage))
        return ADAPTER_FAIL;
    return ADAPTER_COMPLETE;
}
