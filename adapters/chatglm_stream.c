/*
 * adapters/chatglm_stream.c - what the events of chatglm.cn's answer mean (sites/chatglm.md §6).
 *
 * An event carries parts, a part carries items: text, reasoning, drawings, and the traces of the
 * site's own tools. The hard part, what is new in an item's text, is chatglm_text.c's; here it is
 * decided where it goes, and parts are set off from one another.
 */
#include "adapters/chatglm.h"

void chatglm_stream_init(struct chatglm_stream *s)
{
    *s = (struct chatglm_stream){0};
    mark_filter_init(&s->answer.marks, CHATGLM_TEXT_LIMIT);
    mark_filter_init(&s->reasoning.marks, CHATGLM_TEXT_LIMIT);
    buffer_init(&s->raw, CHATGLM_TEXT_LIMIT);
    buffer_init(&s->piece, CHATGLM_TEXT_LIMIT);
}

void chatglm_stream_free(struct chatglm_stream *s)
{
    for (struct chatglm_item *item = s->items; item; item = item->next)
        chatglm_text_free(&item->text);
    s->items = NULL;
    mark_filter_free(&s->answer.marks);
    mark_filter_free(&s->reasoning.marks);
    buffer_free(&s->raw);
    buffer_free(&s->piece);
}

bool chatglm_stream_has_output(const struct chatglm_stream *s)
{
    return s->answer.any || s->reasoning.any;
}

/* ---- sending ---- */

static bool is_answer(const struct chatglm_stream *s, const struct chatglm_channel *c)
{
    return c == &s->answer;
}

/* What stands in s->piece goes out. */
static int send_piece(struct turn_run *run, struct chatglm_stream *s, struct chatglm_channel *c)
{
    struct span piece = buffer_span(&s->piece);
    if (s->piece.error)
        return fail_too_long(run, s->piece.error);
    if (piece.n)
        c->last = piece.p[piece.n - 1];
    c->any |= piece.n > 0;
    return is_answer(s, c) ? delta_text(run->out, 0, piece) : delta_reasoning(run->out, 0, piece);
}

static int send_text(struct turn_run *run, struct chatglm_stream *s, struct chatglm_channel *c,
                     struct span text)
{
    buffer_clear(&s->piece);
    mark_filter_feed(&c->marks, is_answer(s, c) ? &s->sources : NULL, text, &s->piece);
    return send_piece(run, s, c);
}

/* No mark goes on in what follows: what is held is text. */
static int flush_marks(struct turn_run *run, struct chatglm_stream *s, struct chatglm_channel *c)
{
    buffer_clear(&s->piece);
    mark_filter_flush(&c->marks, &s->piece);
    return send_piece(run, s, c);
}

/* §6.2 rule 1: what follows stands on a line of its own. */
static int set_off(struct turn_run *run, struct chatglm_stream *s, struct chatglm_channel *c)
{
    if (flush_marks(run, s, c))
        return -1;
    return c->any && c->last != '\n' ? send_text(run, s, c, SPAN("\n")) : 0;
}

static bool is_type(const struct chatglm_item *item, const char *type)
{
    return span_eq(item->type, span_str(type));
}

static struct chatglm_channel *channel_of(struct chatglm_stream *s, const struct chatglm_item *item)
{
    return is_type(item, "think") ? &s->reasoning : &s->answer;
}

/* What was decided of an item's text, in s->raw. */
static int send_raw(struct turn_run *run, struct chatglm_stream *s, struct chatglm_item *item)
{
    enum buffer_error error = chatglm_text_error(&item->text);
    struct chatglm_channel *c = channel_of(s, item);
    if (error || s->raw.error)
        return fail_too_long(run, error ? error : s->raw.error);
    if (!s->raw.n)
        return 0;
    if (flush_marks(run, s, is_answer(s, c) ? &s->reasoning : &s->answer))
        return -1;
    if (!item->begun && set_off(run, s, c))
        return -1;
    item->begun = true;
    return send_text(run, s, c, buffer_span(&s->raw));
}

static int settle(struct turn_run *run, struct chatglm_stream *s)
{
    struct chatglm_item *item = s->waiting;
    if (!item)
        return 0;
    s->waiting = NULL;
    buffer_clear(&s->raw);
    chatglm_text_settle(&item->text, &s->raw);
    return send_raw(run, s, item);
}

/* Whatever is still held is text. */
static int flush_all(struct turn_run *run, struct chatglm_stream *s)
{
    return settle(run, s) || flush_marks(run, s, &s->reasoning) || flush_marks(run, s, &s->answer)
               ? -1
               : 0;
}

/* ---- items ---- */

static struct chatglm_item *find_item(struct turn_run *run, struct chatglm_stream *s,
                                      struct span part, struct span type, size_t nth)
{
    for (struct chatglm_item *item = s->items; item; item = item->next) {
        if (item->nth == nth && span_eq(item->part, part) && span_eq(item->type, type))
            return item;
    }
    struct chatglm_item *item = arena_alloc(run->arena, sizeof *item);
    if (!item) {
        fail_memory(run->fail);
        return NULL;
    }
    item->part = arena_dup(run->arena, part);
    item->type = type;
    if (!item->part.p) {
        fail_memory(run->fail);
        return NULL;
    }
    if (++s->n_items > CHATGLM_ITEMS_MAX) {
        fail_set(run->fail, FAIL_PROTOCOL, "chatglm.cn sent an answer of more than %d parts",
                 CHATGLM_ITEMS_MAX);
        return NULL;
    }
    item->nth = nth;
    chatglm_text_init(&item->text);
    item->next = s->items;
    s->items = item;
    return item;
}

/* Everything that is known of the item that is read. */
struct reading {
    struct span part, type;
    size_t nth;
    bool whole; /* the part is finished */
    struct json item;
};

/* Text, reasoning: §6.3. */
static int take_text(struct turn_run *run, struct chatglm_stream *s, const struct reading *r)
{
    struct json value = json_get_n(r->item, r->type);
    if (!json_is(value, JSON_STRING)) {
        run_drift(run, "text that is no string");
        return 0;
    }
    struct chatglm_item *item = find_item(run, s, r->part, r->type, r->nth);
    if (!item || (s->waiting && s->waiting != item && settle(run, s)))
        return -1;
    buffer_clear(&s->raw);
    if (chatglm_text_take(&item->text, &s->form, r->whole, json_text(value), &s->raw) == FITS_NOT)
        run_drift(run, "text that does not continue");
    s->waiting = item->text.waiting.n ? item : NULL;
    return send_raw(run, s, item);
}

static int show_picture(struct turn_run *run, struct chatglm_stream *s, struct span url)
{
    if (!sources_add(run->arena, &s->pictures, SPAN(""), SPAN(""), url))
        return 0;
    if (settle(run, s) || set_off(run, s, &s->answer))
        return -1;
    buffer_clear(&s->piece);
    markdown_picture(&s->piece, url);
    return send_piece(run, s, &s->answer);
}

/* Settling parses nothing, so the event's document stays while pictures are shown. */
static int take_pictures(struct turn_run *run, struct chatglm_stream *s, const struct reading *r)
{
    struct json list = json_get(r->item, "image");
    if (!json_is(list, JSON_ARRAY)) {
        run_drift(run, "image that is no list");
        return 0;
    }
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        struct span url = json_get_text(it.value, "image_url");
        if (url.n && show_picture(run, s, url))
            return -1;
    }
    return 0;
}

/* The site ran code (option show_tools): the code as a block, what came of it as text; each once,
 * when it is whole. */
static int take_run(struct turn_run *run, struct chatglm_stream *s, const struct reading *r)
{
    bool code = span_eq(r->type, SPAN("code"));
    struct span text = json_get_text(r->item, code ? "code" : "content");
    if (!r->whole || !text.n || !site_option_bool(run->site, "show_tools", false))
        return 0;
    struct chatglm_item *item = find_item(run, s, r->part, r->type, r->nth);
    if (!item || settle(run, s))
        return -1;
    if (item->shown)
        return 0;
    item->shown = true;
    if (set_off(run, s, &s->answer))
        return -1;
    buffer_clear(&s->piece);
    buffer_append(&s->piece, code ? SPAN("```python\n") : SPAN(""));
    buffer_append(&s->piece, text);
    if (code)
        buffer_append(&s->piece, span_ends(text, SPAN("\n")) ? SPAN("```\n") : SPAN("\n```\n"));
    return send_piece(run, s, &s->answer);
}

/* The site's own tools at work: their sources stand on the part. */
static int take_nothing(struct turn_run *run, struct chatglm_stream *s, const struct reading *r)
{
    return 0;
}

static const struct chatglm_kind {
    struct span type;
    int (*take)(struct turn_run *, struct chatglm_stream *, const struct reading *);
} kinds[] = {
    {SPAN_INIT("text"), take_text},
    {SPAN_INIT("think"), take_text},
    {SPAN_INIT("image"), take_pictures},
    {SPAN_INIT("code"), take_run},
    {SPAN_INIT("execution_output"), take_run},
    {SPAN_INIT("tool_calls"), take_nothing},
    {SPAN_INIT("tool_result"), take_nothing},
    {SPAN_INIT("quote_result"), take_nothing},
    {SPAN_INIT("one_to_more_finish"), take_nothing},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* Index in `kinds`, or KINDS. */
static size_t kind_of(struct span type)
{
    size_t i = 0;
    while (i < KINDS && !span_eq(type, kinds[i].type))
        i++;
    return i;
}

/* ---- parts ---- */

static void add_sources(struct turn_run *run, struct chatglm_stream *s, struct json list,
                        const char *key)
{
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        struct span name = key ? json_get_text(it.value, key) : SPAN("");
        if (!key || name.n)
            sources_add(run->arena, &s->sources, name, json_get_text(it.value, "title"),
                        json_get_text(it.value, "url"));
    }
}

static int take_part(struct turn_run *run, struct chatglm_stream *s, struct json part,
                     bool answer_finished)
{
    struct span id = json_get_text(part, "logic_id"), status = json_get_text(part, "status");
    struct json meta = json_get(part, "meta_data"), content = json_get(part, "content");
    if (!id.n)
        id = json_get_text(part, "id");
    bool finished = span_eq(status, SPAN("finish"));
    add_sources(run, s, json_path(meta, "tool_result_extra", "search_results"), "match_key");
    if (finished || answer_finished)
        add_sources(run, s, json_get(meta, "metadata_list"), NULL);
    if (!json_is(content, JSON_ARRAY)) {
        if (json_type(content) > JSON_NULL)
            run_drift(run, "content that is no list");
        return 0;
    }
    size_t seen[KINDS] = {0};
    struct json_iter it = json_each(content);
    while (json_next(&it)) {
        size_t kind = kind_of(json_get_text(it.value, "type"));
        bool own = span_eq(json_get_text(it.value, "status"), SPAN("finish"));
        if (kind == KINDS) {
            run_drift(run, "unknown content type");
            continue;
        }
        struct reading r = {.part = id,
                            .type = kinds[kind].type,
                            .nth = seen[kind]++,
                            .whole = finished || answer_finished || (!status.n && own),
                            .item = it.value};
        if (kinds[kind].take(run, s, &r))
            return -1;
    }
    return 0;
}

/* The failure that an event tells, or missing. */
static struct json failure_of(struct json root)
{
    struct json error = json_get(root, "error"), last = json_get(root, "last_error"), in_part;
    bool failed = span_eq(json_get_text(root, "status"), SPAN("error"));
    in_part = (struct json){NULL, 0};
    struct json_iter it = json_each(json_get(root, "parts"));
    while (json_next(&it)) {
        struct json own = json_get(it.value, "error");
        failed |= span_eq(json_get_text(it.value, "status"), SPAN("error"));
        if (chatglm_is_error(own))
            in_part = own;
    }
    if (chatglm_is_error(root)) /* a refusal where the stream should be */
        return root;
    if (failed && chatglm_is_error(error))
        return error;
    if (failed && chatglm_is_error(last))
        return last;
    if (json_is(in_part, JSON_OBJECT))
        return in_part;
    return failed ? root : (struct json){NULL, 0};
}

/* ---- events ---- */

static enum adapter_verdict finish(struct turn_run *run, struct chatglm *c, struct span reason)
{
    struct chatglm_stream *s = &c->stream;
    if (flush_all(run, s))
        return ADAPTER_FAIL;
    if (!chatglm_stream_has_output(s))
        return fail_set(run->fail, FAIL_EMPTY, "chatglm.cn ended its answer without any text");
    if (sources_cite(&s->sources, run->out) || delta_finish(run->out, 0, reason))
        return ADAPTER_FAIL;
    if (span_eq(reason, SPAN("stop")) && c->n_conversations)
        run_conversation(run, c->conversations[c->n_conversations - 1]);
    c->at = CHATGLM_OVER;
    return ADAPTER_COMPLETE;
}

/* Moderation: what was sent stands; the site's sentence is no part of the answer. */
static enum adapter_verdict intervene(struct turn_run *run, struct chatglm *c, struct json root)
{
    char sentence[160];
    struct span text = json_get_text(json_get(root, "last_error"), "intervene_text");
    if (!text.n)
        text = json_get_text(json_get(root, "error"), "intervene_text");
    clean_message(run, sentence, sizeof sentence, text);
    if (flush_all(run, &c->stream))
        return ADAPTER_FAIL;
    if (c->stream.answer.any)
        return finish(run, c, SPAN("content_filter"));
    return fail_set(run->fail, FAIL_CONTENT_FILTER, "chatglm.cn refuses this content%s%s",
                    sentence[0] ? ": " : "", sentence);
}

static enum adapter_verdict fail_with(struct turn_run *run, struct chatglm *c, struct json error)
{
    chatglm_fail_event(run, error);
    struct fail fail = *run->fail;
    if (flush_all(run, &c->stream) == 0)
        *run->fail = fail;
    return ADAPTER_FAIL;
}

/* What the site calls this answer and its conversation. */
static int take_ids(struct turn_run *run, struct chatglm *c, struct json root)
{
    struct span id = json_get_text(root, "id"), of = json_get_text(root, "conversation_id");
    if (is_path_id(id) && !c->stream.message_id.n)
        c->stream.message_id = arena_dup(run->arena, id);
    bool known = c->n_conversations && span_eq(c->conversations[c->n_conversations - 1], of);
    if (is_path_id(of) && !known && c->n_conversations < CHATGLM_TRIES) {
        struct span copy = arena_dup(run->arena, of);
        if (!copy.p)
            return fail_memory(run->fail);
        c->conversations[c->n_conversations++] = copy;
    }
    if (!chatglm_stream_has_output(&c->stream))
        return check_conversation(run, "chatglm.cn", run->conversation, of);
    return 0;
}

static bool goes_on(struct span status)
{
    return span_eq(status, SPAN("init")) || span_eq(status, SPAN("processing"));
}

enum adapter_verdict chatglm_stream_event(struct turn_run *run, struct chatglm *c, struct span text)
{
    struct chatglm_stream *s = &c->stream;
    struct json root;
    if (json_parse_lenient(run->json, text, &root) != JSON_OK || !json_is(root, JSON_OBJECT)) {
        run_drift(run, "event that is no JSON object");
        return ADAPTER_GO_ON;
    }
    struct span status = json_get_text(root, "status");
    bool finished = span_eq(status, SPAN("finish")), stopped = span_eq(status, SPAN("intervene"));
    struct json failure = failure_of(root), parts = json_get(root, "parts");
    s->any_event = true;
    if (take_ids(run, c, root))
        return ADAPTER_FAIL;
    if (!goes_on(status) && !finished && !stopped && !json_is(failure, JSON_OBJECT))
        run_drift(run, "unknown status");
    if (json_type(parts) > JSON_NULL && !json_is(parts, JSON_ARRAY))
        run_drift(run, "parts that are no list");
    struct json_iter it = json_each(json_is(parts, JSON_ARRAY) ? parts : (struct json){NULL, 0});
    while (json_next(&it)) {
        if (take_part(run, s, it.value, finished))
            return ADAPTER_FAIL;
    }
    s->ended = finished || stopped || json_is(failure, JSON_OBJECT);
    if (json_is(failure, JSON_OBJECT))
        return fail_with(run, c, failure);
    if (stopped)
        return intervene(run, c, root);
    return finished ? finish(run, c, SPAN("stop")) : ADAPTER_GO_ON;
}

enum adapter_verdict chatglm_stream_end(struct turn_run *run, struct chatglm *c,
                                        enum stream_end end)
{
    struct chatglm_stream *s = &c->stream;
    s->ended = end == END_CLEAN;
    if (flush_all(run, s))
        return ADAPTER_FAIL;
    if (!s->any_event && end == END_CLEAN)
        return fail_set(run->fail, FAIL_EMPTY, "chatglm.cn answered with nothing at all");
    return fail_set(run->fail, FAIL_CUT,
                    "chatglm.cn broke off in the middle of its answer; ask again");
}
