/*
 * adapters/kimi_stream.c - what the events of Kimi's answer mean (sites/kimi.md §6, §10).
 *
 * An answer is made of blocks; events set or append to parts of them. The hard part: a block that
 * is set again comes whole, and our own prompt comes back as a message with blocks of its own.
 */
#include "adapters/kimi.h"

enum { BLOCKS_MAX = 4096 };
enum { FLAG_COMPRESSED = 0x01, FLAG_END = 0x02, FLAG_TRAILER = 0x80 };

void kimi_stream_free(struct kimi_stream *s)
{
    for (struct kimi_block *b = s->blocks; b; b = b->next)
        growing_free(&b->text);
    s->blocks = NULL;
}

bool kimi_stream_has_output(const struct kimi_stream *s)
{
    return s->answer.last || s->reasoning.last;
}

/* ---- the end ---- */

static enum adapter_verdict finish(struct turn_run *run, struct kimi *k, struct span reason)
{
    if (!kimi_stream_has_output(&k->stream))
        return fail_set(run->fail, FAIL_EMPTY, KIMI_HOST " ended its answer without any text");
    k->over = true;
    if (span_eq(reason, SPAN("stop")) && !k->rest) /* the older form's are not gone on with */
        tell_conversation(run, (struct span[]){k->chat_id, k->stream.message_id}, 2);
    if (sources_cite(&k->stream.sources, run->out) || delta_finish(run->out, 0, reason))
        return ADAPTER_FAIL;
    return ADAPTER_COMPLETE;
}

static enum adapter_verdict failed(struct turn_run *run, struct kimi *k, struct json error)
{
    kimi_fail_event(run, k, error);
    if (run->fail->kind != FAIL_CONTENT_FILTER || !kimi_stream_has_output(&k->stream))
        return ADAPTER_FAIL;
    fail_clear(run->fail); /* what was said stands: the answer ends there */
    return finish(run, k, SPAN("content_filter"));
}

enum adapter_verdict kimi_stream_end(struct turn_run *run, struct kimi *k, enum stream_end end)
{
    if (end == END_CLEAN && k->stream.completed)
        return finish(run, k, SPAN("stop"));
    if (end == END_CLEAN && !k->stream.any)
        return fail_set(run->fail, FAIL_EMPTY, KIMI_HOST " ended its answer without any text");
    return fail_set(run->fail, FAIL_CUT, KIMI_HOST " broke off in the middle of the answer");
}

/* ---- text ---- */

static int too_much(struct turn_run *run)
{
    return fail_set(run->fail, FAIL_PROTOCOL,
                    KIMI_HOST " sent an answer of more than 64 MiB, or of too many parts");
}

/* Found or made; NULL with run->fail. */
static struct kimi_block *block_of(struct turn_run *run, struct kimi_stream *s, struct span id,
                                   bool think)
{
    struct kimi_block *b = s->blocks;
    id = span_first(id, PATH_ID_MAX); /* kept for each block */
    while (b && (b->think != think || !span_eq(b->id, id)))
        b = b->next;
    if (b)
        return b;
    if (s->n_blocks >= BLOCKS_MAX) {
        too_much(run);
        return NULL;
    }
    b = arena_alloc(run->arena, sizeof *b);
    struct span copy = arena_dup(run->arena, id);
    if (!b || !copy.p) {
        fail_memory(run->fail);
        return NULL;
    }
    *b = (struct kimi_block){.id = copy, .think = think, .next = s->blocks};
    growing_init(&b->text, KIMI_TEXT_LIMIT);
    s->blocks = b;
    s->n_blocks++;
    return b;
}

/* Text of one block behind that of another is set off by an empty line (rule 2). */
static int send(struct turn_run *run, struct kimi_stream *s, struct kimi_block *b,
                struct span piece)
{
    bool reasoning = b->think || b->flagged;
    struct kimi_channel *channel = reasoning ? &s->reasoning : &s->answer;
    int (*put)(const struct delta_sink *, int, struct span) =
        reasoning ? delta_reasoning : delta_text;
    if (!piece.n)
        return 0;
    s->bytes += piece.n;
    if (b->text.sent.error || s->bytes > KIMI_TEXT_LIMIT)
        return b->text.sent.error == BUFFER_NOMEM ? fail_memory(run->fail) : too_much(run);
    if (channel->last && channel->last != b && put(run->out, 0, SPAN("\n\n")))
        return -1;
    channel->last = b;
    return put(run->out, 0, piece);
}

static int set_text(struct turn_run *run, struct kimi_stream *s, struct kimi_block *b,
                    struct span whole)
{
    struct span fresh;
    if (growing_whole(&b->text, whole, &fresh) == GROWTH_EDITED)
        run_drift(run, "text that does not continue");
    return send(run, s, b, fresh);
}

static int append_text(struct turn_run *run, struct kimi_stream *s, struct kimi_block *b,
                       struct span piece)
{
    growing_append(&b->text, piece);
    return send(run, s, b, piece);
}

/* Does the mask name this part of a block, or its content? No mask names everything. */
static bool is_masked(struct span mask, struct span part)
{
    struct span one;
    if (!mask.n)
        return true;
    while (span_split(&mask, ',', &one)) {
        one = span_trim(one);
        if (span_eq(one, SPAN("block")) || span_eq(one, part) ||
            (span_starts(one, part) && span_eq(span_from(one, part.n), SPAN(".content"))))
            return true;
    }
    return false;
}

static void take_flags(struct turn_run *run, struct kimi_block *b, struct json part)
{
    struct span flags = json_get_text(part, "flags");
    if (span_eq(flags, SPAN("thinking")))
        b->flagged = true;
    else if (span_eq(flags, SPAN("answer")))
        b->flagged = false;
    else if (flags.n)
        run_drift(run, "unknown flags");
}

/* `part` is block.text or block.think. */
static int take_text(struct turn_run *run, struct kimi_stream *s, struct json root,
                     struct json part, bool think)
{
    struct span op = json_get_text(root, "op");
    struct json content = json_get(part, "content");
    struct span text = json_text(content);
    if (!json_is(part, JSON_OBJECT))
        return 0;
    struct kimi_block *b = block_of(run, s, json_get_text(json_get(root, "block"), "id"), think);
    if (!b)
        return -1;
    take_flags(run, b, part);
    if (!is_masked(json_get_text(root, "mask"), think ? SPAN("block.think") : SPAN("block.text")))
        return 0;
    if (!text.p && !json_is(content, JSON_MISSING) && !json_is(content, JSON_NULL))
        run_drift(run, "text that is no string");
    if (!text.n)
        return 0;
    if (span_eq(op, SPAN("set")))
        return set_text(run, s, b, text);
    if (op.n && !span_eq(op, SPAN("append")))
        run_drift(run, "unknown op");
    return op.n && !span_eq(op, SPAN("append")) ? 0 : append_text(run, s, b, text);
}

/* ---- citations ---- */

static void take_page(struct turn_run *run, struct kimi_stream *s, struct json page)
{
    if (json_is(json_get(page, "base"), JSON_OBJECT))
        page = json_get(page, "base");
    sources_add(run->arena, &s->sources, SPAN(""), json_get_text(page, "title"),
                json_get_text(page, "url"));
}

static void take_pages(struct turn_run *run, struct kimi_stream *s, struct json list,
                       const char *inner)
{
    struct json_iter it = json_each(list);
    while (json_next(&it))
        take_page(run, s, inner ? json_get(it.value, inner) : it.value);
}

/* ---- the parts of an event ---- */

/* Of the assistant's message: what it is called, where it stands, what it refers to. */
static enum adapter_verdict take_message(struct turn_run *run, struct kimi *k, struct json message)
{
    struct kimi_stream *s = &k->stream;
    struct span role = json_get_text(message, "role"), id = json_get_text(message, "id");
    bool ours = role.n && !span_eq(role, SPAN("assistant"));
    bool another = !role.n && id.n && !span_eq(id, s->message_id);
    if (ours || another) /* an echo of the prompt */
        return ADAPTER_GO_ON;
    if (id.n && id.n <= PATH_ID_MAX && !span_eq(id, s->message_id)) {
        s->message_id = arena_dup(run->arena, id);
        if (!s->message_id.p)
            return fail_memory(run->fail);
    }
    if (span_eq(json_get_text(message, "status"), SPAN("MESSAGE_STATUS_COMPLETED")))
        s->completed = true;
    take_pages(run, s, json_path(message, "refs", "searchChunks"), NULL);
    struct json_iter it = json_each(json_get(message, "references"));
    while (json_next(&it))
        take_pages(run, s, json_get(it.value, "items"), "search");
    if (kimi_is_error(json_get(message, "error")))
        return failed(run, k, json_get(message, "error"));
    return ADAPTER_GO_ON;
}

static bool is_known_block(struct json block)
{
    static const char *const kinds[] = {"text",   "think", "multiStage", "stage",
                                        "search", "tool",  "exception",  NULL};
    for (const char *const *kind = kinds; *kind; kind++) {
        if (!json_is(json_get(block, *kind), JSON_MISSING))
            return true;
    }
    return false;
}

static enum adapter_verdict take_block(struct turn_run *run, struct kimi *k, struct json root,
                                       struct json block)
{
    struct kimi_stream *s = &k->stream;
    struct json exception = json_get(block, "exception");
    if (!is_known_block(block))
        run_drift(run, "unknown block");
    if (take_text(run, s, root, json_get(block, "think"), true) ||
        take_text(run, s, root, json_get(block, "text"), false))
        return ADAPTER_FAIL;
    take_pages(run, s, json_path(block, "search", "webPages"), NULL);
    take_pages(run, s, json_path(block, "tool", "contents"), "searchResult");
    if (kimi_is_error(exception) &&
        (kimi_is_error(json_get(exception, "error")) || json_get_text(exception, "reason").n))
        return failed(run, k, exception);
    return ADAPTER_GO_ON;
}

/* For the clean-up. What is not plain could not be told back to the site. */
static int take_chat(struct turn_run *run, struct kimi *k, struct json chat)
{
    struct span id = json_get_text(chat, "id");
    if (k->parent.n && !kimi_stream_has_output(&k->stream))
        return check_conversation(run, KIMI_HOST, k->chat_id, id);
    if (k->chat_id.n || !is_path_id(id))
        return 0;
    k->chat_id = arena_dup(run->arena, id);
    return k->chat_id.p ? 0 : fail_memory(run->fail);
}

static bool is_done(struct json done)
{
    return json_is(done, JSON_OBJECT) || json_bool(done, false);
}

static bool is_known_event(struct json root)
{
    static const char *const kinds[] = {"heartbeat", "chat", "message", "block",
                                        "error",     "done", NULL};
    for (const char *const *kind = kinds; *kind; kind++) {
        if (!json_is(json_get(root, *kind), JSON_MISSING))
            return true;
    }
    return false;
}

static enum adapter_verdict take_event(struct turn_run *run, struct kimi *k, struct json root)
{
    struct json message = json_get(root, "message"), block = json_get(root, "block");
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    if (!is_known_event(root))
        run_drift(run, "unknown event");
    if (take_chat(run, k, json_get(root, "chat")))
        return ADAPTER_FAIL;
    if (json_is(message, JSON_OBJECT))
        verdict = take_message(run, k, message);
    if (verdict == ADAPTER_GO_ON && json_is(block, JSON_OBJECT))
        verdict = take_block(run, k, root, block);
    if (verdict == ADAPTER_GO_ON && kimi_is_error(json_get(root, "error")))
        verdict = failed(run, k, json_get(root, "error"));
    if (verdict == ADAPTER_GO_ON && is_done(json_get(root, "done")))
        verdict = finish(run, k, SPAN("stop"));
    return verdict;
}

/* ---- pieces of a block like the one before ---- */

/* Has the object no other members than these (up to NULL)? */
static bool has_only(struct json object, const char *const *keys)
{
    struct json_iter it = json_each(object);
    while (json_next(&it)) {
        const char *const *key = keys;
        while (*key && !span_eq(it.key, span_str(*key)))
            key++;
        if (!*key)
            return false;
    }
    return true;
}

/* The event appended to a block, and did nothing else: its channel ends with that block. */
static void learn(struct turn_run *run, struct kimi_stream *s, const struct frame *frame,
                  struct json root)
{
    static const char *const of_root[] = {"op", "mask", "eventOffset", "block", NULL};
    static const char *const of_block[] = {"id", "parentId", "text", "think", NULL};
    static const char *const of_part[] = {"content", NULL};
    static const char *const ignored[] = {"eventOffset", NULL};
    struct json block = json_get(root, "block"), text = json_get(block, "text");
    bool think = json_is(text, JSON_MISSING);
    struct json part = think ? json_get(block, "think") : text;
    bool appends =
        span_eq(json_get_text(root, "op"), SPAN("append")) &&
        is_masked(json_get_text(root, "mask"), think ? SPAN("block.think") : SPAN("block.text")) &&
        json_get_text(part, "content").n;
    bool both = !think && !json_is(json_get(block, "think"), JSON_MISSING);
    if (appends && !both && has_only(root, of_root) && has_only(block, of_block) &&
        has_only(part, of_part)) {
        const char *const path[] = {"block", think ? "think" : "text", "content", NULL};
        const struct kimi_block *b = block_of(run, s, json_get_text(block, "id"), think);
        if (b)
            frame_learn(run, frame, path, ignored, b->think || b->flagged);
    }
}

static int put_again(struct turn_run *run, struct kimi_stream *s, const struct json_like *like)
{
    struct kimi_channel *channel = like->meaning ? &s->reasoning : &s->answer;
    return like->string.n ? append_text(run, s, channel->last, like->string) : 0;
}

/* ---- envelopes (§6.1) ---- */

static enum adapter_verdict end_envelope(struct turn_run *run, struct kimi *k, bool json,
                                         struct json root)
{
    if (json && kimi_is_error(json_get(root, "error")))
        return failed(run, k, json_get(root, "error"));
    return finish(run, k, SPAN("stop"));
}

enum adapter_verdict kimi_stream_envelope(struct turn_run *run, struct kimi *k,
                                          const struct frame *frame)
{
    struct json root = {NULL, 0};
    struct json_like like;
    k->stream.any = true;
    if (frame->data.n > KIMI_ENVELOPE_LIMIT)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        KIMI_HOST " sent a single event of more than 8 MiB");
    if (frame->flags & FLAG_TRAILER)
        return ADAPTER_GO_ON;
    if (frame->flags & FLAG_COMPRESSED)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        KIMI_HOST " compressed its answer, which it was not asked to");
    bool end = frame->flags & FLAG_END;
    if (!end && frame_repeats(run, frame, &like))
        return put_again(run, &k->stream, &like) ? ADAPTER_FAIL : ADAPTER_GO_ON;
    bool json = frame->data.n && json_parse_lenient(run->json, frame->data, &root) == JSON_OK &&
                json_is(root, JSON_OBJECT);
    if (frame->data.n && !json)
        run_drift(run, "event that is no JSON object");
    if (end)
        return end_envelope(run, k, json, root);
    enum adapter_verdict verdict = json ? take_event(run, k, root) : ADAPTER_GO_ON;
    if (json && verdict == ADAPTER_GO_ON)
        learn(run, &k->stream, frame, root);
    return verdict;
}

/* ---- the older form (§10) ---- */

enum adapter_verdict kimi_stream_older_event(struct turn_run *run, struct kimi *k, struct span text)
{
    struct kimi_stream *s = &k->stream;
    struct json root;
    s->any = true;
    if (json_parse_lenient(run->json, text, &root) != JSON_OK || !json_is(root, JSON_OBJECT)) {
        run_drift(run, "event that is no JSON object");
        return ADAPTER_GO_ON;
    }
    struct span event = json_get_text(root, "event");
    struct json message = json_get(root, "msg");
    if (span_eq(event, SPAN("cmpl"))) {
        struct kimi_block *b = block_of(run, s, SPAN(""), false);
        return !b || send(run, s, b, json_get_text(root, "text")) ? ADAPTER_FAIL : ADAPTER_GO_ON;
    }
    if (span_eq(event, SPAN("search_plus")) &&
        span_eq(json_get_text(message, "type"), SPAN("get_res")))
        take_page(run, s, message);
    else if (span_eq(event, SPAN("length")))
        s->length = true;
    else if (span_eq(event, SPAN("all_done")))
        return finish(run, k, s->length ? SPAN("length") : SPAN("stop"));
    else if (span_eq(event, SPAN("error"))) {
        if (kimi_stream_has_output(s))
            return finish(run, k, SPAN("content_filter"));
        return fail_set(run->fail, FAIL_CONTENT_FILTER,
                        KIMI_HOST " stopped its answer: it refused the content");
    } else if (!event.n) {
        if (kimi_is_error(json_get(root, "error")) || json_get_text(root, "error_type").n)
            return failed(run, k, root);
        run_drift(run, "unknown event");
    }
    return ADAPTER_GO_ON;
}
