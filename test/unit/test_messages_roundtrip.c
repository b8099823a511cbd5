/*
 * test/unit/test_messages_roundtrip.c - Anthropic's Messages through the front and the adapter of
 * the same dialect lose nothing: random conversations leave as they came, random answers come out
 * as they were.
 *
 * Compared is what is said, not how: members in any order, a string for one text block, neighbours
 * of one role as one message, nulls as nothing. Seeds are fixed; a failure names its seed.
 */
#include "base/json_write.h"
#include "gateway/answer.h"
#include "gateway/api.h"
#include "gateway/messages_request.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

enum { SEEDS = 400, TEXT_LIMIT = 1 << 22, MEMBERS_MAX = 64 };

/* ---- chance ---- */

struct dice {
    uint64_t state;
};

static unsigned roll(struct dice *d, unsigned sides)
{
    d->state = d->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(d->state >> 33) % sides;
}

static bool one_in(struct dice *d, unsigned n) { return roll(d, n) == 0; }

#define PICK(d, list) ((list)[roll(d, sizeof(list) / sizeof *(list))])

static const char *any_text(struct dice *d)
{
    static const char *const texts[] = {
        "a",
        "Hello there",
        "\n\nTwo lines\n",
        " leading and trailing ",
        "quote \" and \\ and \t",
        "Gr\303\266\303\237e \344\275\240\345\245\275 \360\237\214\215",
        "<tool_call>{}</tool_call>",
        "</script>\x01\x1F",
        "{\"not\": \"parsed\"}"};
    return PICK(d, texts);
}

/* Raw JSON objects as tools take them. */
static const char *any_input(struct dice *d)
{
    static const char *const inputs[] = {
        "{}", "{\"a\":1}", "{\"city\":\"Oslo \\ud83c\\udf0d\",\"n\":18446744073709551615}",
        "{\"deep\":{\"list\":[1,2.5,[],{\"x\":\"}\\\"]\"}],\"t\":true}}",
        "{\"content\":\"plain\"}"};
    return PICK(d, inputs);
}

/* ---- a random request ---- */

static void maybe_cached(struct dice *d, struct json_writer *w)
{
    if (one_in(d, 4))
        json_member_raw(w, "cache_control",
                        one_in(d, 2) ? SPAN("{\"type\":\"ephemeral\"}")
                                     : SPAN("{\"type\":\"ephemeral\",\"ttl\":\"1h\"}"));
}

static struct json_writer *begin_typed(struct json_writer *w, const char *type)
{
    json_begin_object(w);
    json_member(w, "type", span_str(type));
    return w;
}

static void text_block(struct dice *d, struct json_writer *w)
{
    begin_typed(w, "text");
    json_member(w, "text", span_str(any_text(d)));
    if (one_in(d, 8))
        json_member_raw(w, "citations",
                        SPAN("[{\"type\":\"char_location\",\"cited_text\":\"x\",\"document_index\":"
                             "0,\"start_char_index\":0,\"end_char_index\":1}]"));
    maybe_cached(d, w);
    json_end_object(w);
}

static void image_block(struct dice *d, struct json_writer *w)
{
    static const char *const sources[] = {
        "{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":\"iVBORw0K\"}",
        "{\"type\":\"base64\",\"media_type\":\"image/webp\",\"data\":\"AAAA\"}",
        "{\"type\":\"url\",\"url\":\"https://example.com/a.png?x=1\"}",
        "{\"type\":\"file\",\"file_id\":\"file_1\"}", "{\"type\":\"later\",\"what\":[1]}"};
    begin_typed(w, "image");
    json_member_raw(w, "source", span_str(PICK(d, sources)));
    maybe_cached(d, w);
    json_end_object(w);
}

static void document_block(struct dice *d, struct json_writer *w)
{
    static const char *const sources[] = {
        "{\"type\":\"base64\",\"media_type\":\"application/pdf\",\"data\":\"JVBERi0=\"}",
        "{\"type\":\"text\",\"media_type\":\"text/plain\",\"data\":\"some\\nwords\"}",
        "{\"type\":\"url\",\"url\":\"https://example.com/a.pdf\"}",
        "{\"type\":\"content\",\"content\":\"one\"}",
        "{\"type\":\"content\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
        "\"text\":\"b\",\"cache_control\":{}}]}",
        "{\"type\":\"content\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"url\","
        "\"url\":\"https://e/p\"}}]}",
        "{\"type\":\"file\",\"file_id\":\"file_2\"}"};
    begin_typed(w, "document");
    json_member_raw(w, "source", span_str(PICK(d, sources)));
    if (one_in(d, 2))
        json_member(w, "title", span_str(any_text(d)));
    if (one_in(d, 3))
        json_member(w, "context", SPAN("from the archive"));
    if (one_in(d, 3))
        json_member_raw(w, "citations", SPAN("{\"enabled\":true}"));
    maybe_cached(d, w);
    json_end_object(w);
}

static void foreign_block(struct dice *d, struct json_writer *w)
{
    static const char *const blocks[] = {
        "{\"type\":\"search_result\",\"source\":\"s\",\"title\":\"t\",\"content\":[{\"type\":"
        "\"text\",\"text\":\"x\"}]}",
        "{\"type\":\"container_upload\",\"file_id\":\"f\"}",
        "{\"type\":\"never_seen\",\"a\":[{}]}"};
    json_raw_value(w, span_str(PICK(d, blocks)));
}

static void user_block(struct dice *d, struct json_writer *w)
{
    switch (roll(d, 8)) {
    case 0: image_block(d, w); break;
    case 1: document_block(d, w); break;
    case 2: foreign_block(d, w); break;
    default: text_block(d, w); break;
    }
}

static void result_block(struct dice *d, struct json_writer *w, int id)
{
    char name[32];
    snprintf(name, sizeof name, "toolu_%d", id);
    begin_typed(w, "tool_result");
    json_member(w, "tool_use_id", span_str(name));
    switch (roll(d, 4)) {
    case 0: break;
    case 1: json_member(w, "content", span_str(any_text(d))); break;
    default:
        json_key(w, "content");
        json_begin_array(w);
        for (unsigned n = 1 + roll(d, 3); n; n--)
            user_block(d, w);
        json_end_array(w);
    }
    if (one_in(d, 3))
        json_member_bool(w, "is_error", one_in(d, 2));
    maybe_cached(d, w);
    json_end_object(w);
}

static void begin_said(struct json_writer *w, const char *role)
{
    json_begin_object(w);
    json_member(w, "role", span_str(role));
    json_key(w, "content");
}

/* Results of the calls [first, end), then words. */
static void user_message(struct dice *d, struct json_writer *w, int first, int end)
{
    begin_said(w, "user");
    if (first == end && one_in(d, 3)) {
        json_string(w, span_str(any_text(d)));
    } else {
        json_begin_array(w);
        for (int id = first; id < end; id++)
            result_block(d, w, id);
        for (unsigned n = first == end ? 1 + roll(d, 3) : roll(d, 3); n; n--)
            user_block(d, w);
        json_end_array(w);
    }
    json_end_object(w);
}

static void call_block(struct dice *d, struct json_writer *w, int id)
{
    char name[32];
    snprintf(name, sizeof name, "toolu_%d", id);
    begin_typed(w, "tool_use");
    json_member(w, "id", span_str(name));
    json_member(w, "name", one_in(d, 2) ? SPAN("get_weather") : SPAN("bash"));
    json_member_raw(w, "input", span_str(any_input(d)));
    if (one_in(d, 6))
        json_member_raw(w, "caller", SPAN("{\"type\":\"direct\"}"));
    maybe_cached(d, w);
    json_end_object(w);
}

static void assistant_block(struct dice *d, struct json_writer *w, int *calls)
{
    switch (roll(d, 7)) {
    case 0:
        begin_typed(w, "thinking");
        json_member(w, "thinking", span_str(any_text(d)));
        json_member(w, "signature", SPAN("EqQBCgIYAhIM"));
        json_end_object(w);
        break;
    case 1:
        begin_typed(w, "redacted_thinking");
        json_member(w, "data", SPAN("EmwKAhgBEgy3va3p"));
        json_end_object(w);
        break;
    case 2:
        json_raw_value(w, SPAN("{\"type\":\"server_tool_use\",\"id\":\"srvtoolu_1\",\"name\":"
                               "\"web_search\",\"input\":{\"query\":\"q\"}}"));
        json_raw_value(w, SPAN("{\"type\":\"web_search_tool_result\",\"tool_use_id\":"
                               "\"srvtoolu_1\",\"content\":[]}"));
        break;
    case 3:
    case 4: call_block(d, w, (*calls)++); break;
    default: text_block(d, w); break;
    }
}

static void assistant_message(struct dice *d, struct json_writer *w, int *calls)
{
    begin_said(w, "assistant");
    if (one_in(d, 4)) {
        json_string(w, span_str(any_text(d)));
    } else {
        json_begin_array(w);
        for (unsigned n = 1 + roll(d, 5); n; n--)
            assistant_block(d, w, calls);
        json_end_array(w);
    }
    json_end_object(w);
}

static void messages(struct dice *d, struct json_writer *w)
{
    int answered = 0, calls = 0;
    json_key(w, "messages");
    json_begin_array(w);
    for (unsigned n = 1 + roll(d, 6); n; n--) {
        user_message(d, w, answered, calls);
        answered = calls;
        if (one_in(d, 12))
            user_message(d, w, 0, 0);
        if (one_in(d, 8)) {
            begin_said(w, "system");
            json_string(w, span_str(any_text(d)));
            json_end_object(w);
        }
        if (one_in(d, 3))
            break;
        assistant_message(d, w, &calls);
    }
    if (answered != calls)
        user_message(d, w, answered, calls);
    json_end_array(w);
}

static void tools(struct dice *d, struct json_writer *w)
{
    static const char *const list[] = {
        "{\"name\":\"get_weather\",\"description\":\"Te\\u006dperature\",\"input_schema\":{"
        "\"type\":"
        "\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"]}}",
        "{\"type\":\"custom\",\"name\":\"f\",\"input_schema\":{\"type\":\"object\"},\"strict\":"
        "true,"
        "\"cache_control\":{\"type\":\"ephemeral\"}}",
        "{\"name\":\"g\",\"input_schema\":{\"properties\":{}},\"strict\":false,\"defer_loading\":"
        "true,\"input_examples\":[{}]}",
        "{\"type\":\"bash_20250124\",\"name\":\"bash\"}",
        "{\"type\":\"web_search_20250305\",\"name\":\"web_search\",\"max_uses\":5}"};
    static const char *const choices[] = {
        "{\"type\":\"auto\"}",
        "{\"type\":\"any\",\"disable_parallel_tool_use\":true}",
        "{\"type\":\"tool\",\"name\":\"get_weather\"}",
        "{\"type\":\"none\"}",
        "{\"type\":\"auto\",\"disable_parallel_tool_use\":true}",
        "{\"type\":\"tool\",\"name\":\"f\",\"disable_parallel_tool_use\":true}"};
    json_key(w, "tools");
    json_begin_array(w);
    for (unsigned n = 1 + roll(d, 4); n; n--)
        json_raw_value(w, span_str(PICK(d, list)));
    json_end_array(w);
    if (one_in(d, 2))
        json_member_raw(w, "tool_choice", span_str(PICK(d, choices)));
}

static void parameters(struct dice *d, struct json_writer *w)
{
    static const struct {
        const char *key, *value;
    } rows[] = {
        {"temperature", "0.25"},
        {"temperature", "1"},
        {"top_p", "0.95"},
        {"top_k", "40"},
        {"stop_sequences", "[\"END\",\"\\n\\nHuman:\",\" \"]"},
        {"metadata", "{\"user_id\":\"u_1\"}"},
        {"service_tier", "\"auto\""},
        {"thinking", "{\"type\":\"enabled\",\"budget_tokens\":2048}"},
        {"thinking", "{\"type\":\"adaptive\",\"display\":\"omitted\"}"},
        {"thinking", "{\"type\":\"disabled\"}"},
        {"output_config", "{\"effort\":\"max\"}"},
        {"output_config",
         "{\"effort\":\"low\",\"format\":{\"type\":\"json_schema\",\"schema\":"
         "{\"type\":\"object\",\"properties\":{}}},\"task_budget\":{\"total\":5}}"},
        {"output_format", "{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}}"},
        {"context_management", "{\"edits\":[{\"type\":\"clear_thinking_20251015\"}]}"},
        {"container", "{\"id\":\"c\",\"skills\":[]}"},
        {"mcp_servers", "[{\"type\":\"url\",\"url\":\"https://m\",\"name\":\"m\"}]"},
        {"cache_control", "{\"type\":\"ephemeral\"}"},
        {"not_yet_known", "[18446744073709551615,1e-9]"},
        {"metadata", "null"},
    };
    bool taken[sizeof rows / sizeof *rows] = {false};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool doubled = false;
        for (size_t k = 0; k < i; k++)
            doubled |= taken[k] && strcmp(rows[k].key, rows[i].key) == 0;
        taken[i] = !doubled && one_in(d, 5);
        if (taken[i])
            json_member_raw(w, rows[i].key, span_str(rows[i].value));
    }
}

static void request(struct dice *d, struct buffer *out)
{
    struct json_writer w = json_writer(out);
    json_begin_object(&w);
    json_member(&w, "model", SPAN("site/claude-sonnet-4-5"));
    json_member_int(&w, "max_tokens", 1 + roll(d, 64000));
    json_member_bool(&w, "stream", one_in(d, 2));
    if (one_in(d, 3)) {
        json_member(&w, "system", span_str(any_text(d)));
    } else if (one_in(d, 2)) {
        json_key(&w, "system");
        json_begin_array(&w);
        for (unsigned n = 1 + roll(d, 3); n; n--)
            text_block(d, &w);
        json_end_array(&w);
    }
    parameters(d, &w);
    if (one_in(d, 2))
        tools(d, &w);
    messages(d, &w);
    json_end_object(&w);
}

/* ---- what a request says ---- */

struct member {
    struct span key;
    struct json value;
};

static void canon(struct json_writer *w, struct json value, struct span key, bool in_tools);

static int compare(struct span a, struct span b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static size_t sorted_members(struct json object, struct member list[MEMBERS_MAX])
{
    size_t n = 0;
    struct json_iter it = json_each(object);
    while (json_next(&it)) {
        assert_true(n < MEMBERS_MAX);
        size_t at = n++;
        for (; at && compare(it.key, list[at - 1].key) < 0; at--)
            list[at] = list[at - 1];
        list[at] = (struct member){it.key, it.value};
    }
    return n;
}

static bool says_nothing(struct span key, struct json value, bool of_tool)
{
    bool is_false = json_is(value, JSON_BOOL) && !json_bool(value, true);
    if (json_is(value, JSON_NULL))
        return true;
    if (span_eq(key, SPAN("is_error")) || span_eq(key, SPAN("disable_parallel_tool_use")))
        return is_false;
    return of_tool && span_eq(key, SPAN("type")) && span_eq(json_text(value), SPAN("custom"));
}

/* What content holds, without the brackets. */
static void canon_blocks(struct json_writer *w, struct json content)
{
    if (json_is(content, JSON_STRING)) {
        if (!json_text(content).n)
            return;
        json_begin_object(w);
        json_member(w, "text", json_text(content));
        json_member(w, "type", SPAN("text"));
        json_end_object(w);
        return;
    }
    struct json_iter it = json_each(content);
    while (json_next(&it))
        canon(w, it.value, span_of(NULL, 0), false);
}

static void canon_messages(struct json_writer *w, struct json list)
{
    struct span role = {NULL, 0};
    struct json_iter it = json_each(list);
    json_begin_array(w);
    while (json_next(&it)) {
        struct span now = json_get_text(it.value, "role");
        if (!span_eq(now, role)) {
            if (role.p)
                json_end_array(w);
            json_begin_array(w);
            json_string(w, now);
        }
        role = now;
        canon_blocks(w, json_get(it.value, "content"));
    }
    json_end_array(w);
    json_end_array(w);
}

static void canon_object(struct json_writer *w, struct json value, bool of_tool)
{
    struct member list[MEMBERS_MAX];
    size_t n = sorted_members(value, list);
    json_begin_object(w);
    if (span_eq(json_get_text(value, "type"), SPAN("tool_result")) &&
        json_is(json_get(value, "content"), JSON_MISSING)) {
        json_member_raw(w, "content", SPAN("[]"));
    }
    for (size_t i = 0; i < n; i++) {
        if (says_nothing(list[i].key, list[i].value, of_tool))
            continue;
        json_key_span(w, list[i].key);
        canon(w, list[i].value, list[i].key, false);
    }
    json_end_object(w);
}

static void canon(struct json_writer *w, struct json value, struct span key, bool in_tools)
{
    if (span_eq(key, SPAN("messages"))) {
        canon_messages(w, value);
    } else if (span_eq(key, SPAN("system")) || span_eq(key, SPAN("content"))) {
        json_begin_array(w);
        canon_blocks(w, value);
        json_end_array(w);
    } else if (json_is(value, JSON_OBJECT)) {
        canon_object(w, value, in_tools);
    } else if (json_is(value, JSON_ARRAY)) {
        struct json_iter it = json_each(value);
        json_begin_array(w);
        while (json_next(&it))
            canon(w, it.value, span_of(NULL, 0), span_eq(key, SPAN("tools")));
        json_end_array(w);
    } else {
        if (w->comma)
            buffer_char(w->out, ',');
        json_dump(w->out, value);
        w->comma = true;
    }
}

/* All but the model, whose name is the site's, and `stream`, which is the gateway's own affair. */
static void canon_request(struct json_parser *json, struct span body, struct buffer *out)
{
    struct json root;
    struct member list[MEMBERS_MAX];
    struct json_writer w = json_writer(out);
    assert_int_equal(json_parse(json, body, &root), JSON_OK);
    size_t n = sorted_members(root, list);
    json_begin_object(&w);
    for (size_t i = 0; i < n; i++) {
        if (span_eq(list[i].key, SPAN("model")) || span_eq(list[i].key, SPAN("stream")) ||
            says_nothing(list[i].key, list[i].value, false))
            continue;
        json_key_span(&w, list[i].key);
        canon(&w, list[i].value, list[i].key, false);
    }
    json_end_object(&w);
}

/* ---- requests ---- */

static const struct credential key[] = {{SPAN_INIT("api_key"), SPAN_INIT("sk-ant-1")}};
static const struct transcript_setup setup = {.adapter = &adapter_anthropic,
                                              .model = "claude-sonnet-4-5",
                                              .credentials = key,
                                              .n_credentials = 1};

static void check_request(struct json_parser *json, struct span body, unsigned seed)
{
    static const struct messages_wish wish = {.betas = SPAN_INIT("one-2025-01-01,two-2026-02-02")};
    struct arena arena;
    struct turn turn;
    struct fail fail;
    struct buffer came, left;
    struct site_request sent = {0};
    arena_init(&arena);
    buffer_init(&came, TEXT_LIMIT);
    buffer_init(&left, TEXT_LIMIT);
    canon_request(json, body, &came);
    struct span copy = arena_dup(&arena, body);
    if (messages_request_parse(json, &arena, (char *)(uintptr_t)copy.p, copy.n, &wish, &turn,
                               &fail))
        fail_msg("seed %u: refused: %s\n%.*s", seed, fail.message, SPAN_ARGS(body));
    struct transcript_player *player = transcript_open(&setup);
    transcript_run(player)->turn = &turn;
    if (transcript_next(player, &sent) != ADAPTER_SEND)
        fail_msg("seed %u: not sent: %s\n%.*s", seed, transcript_run(player)->fail->message,
                 SPAN_ARGS(body));
    canon_request(json, sent.body, &left);
    if (!span_eq(buffer_span(&came), buffer_span(&left)))
        fail_msg("seed %u: came\n%.*s\nleft\n%.*s", seed, SPAN_ARGS(buffer_span(&came)),
                 SPAN_ARGS(buffer_span(&left)));
    assert_span_equal(transcript_header(&sent, "anthropic-beta"), wish.betas);
    transcript_close(player);
    buffer_free(&came);
    buffer_free(&left);
    arena_free(&arena);
}

static void requests_leave_as_they_came(void **state)
{
    struct json_parser *json = json_parser_create(TEXT_LIMIT);
    assert_non_null(json);
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        struct dice d = {seed * 7919u};
        struct buffer body;
        buffer_init(&body, TEXT_LIMIT);
        request(&d, &body);
        check_request(json, buffer_span(&body), seed);
        buffer_free(&body);
    }
    json_parser_destroy(json);
}

/* ---- a random answer ---- */

/* One block as a line: neighbours of text are one block, since clients cannot tell them apart. */
struct said {
    struct buffer lines;
    bool in_text;
};

static void said_line(struct said *s, const char *kind, struct span a, struct span b)
{
    s->in_text = false;
    buffer_printf(&s->lines, "\n%s ", kind);
    json_escape(&s->lines, a);
    buffer_append(&s->lines, SPAN(" | "));
    json_escape(&s->lines, b);
}

static void said_text(struct said *s, struct span text)
{
    if (!s->in_text)
        buffer_append(&s->lines, SPAN("\ntext "));
    s->in_text = true;
    json_escape(&s->lines, text);
}

static void said_call(struct said *s, struct json_parser *json, struct span id, struct span name,
                      struct span input)
{
    struct json root;
    struct json_writer w = json_writer(&s->lines);
    said_line(s, "call", id, name);
    assert_int_equal(json_parse(json, input, &root), JSON_OK);
    buffer_append(&s->lines, SPAN(" "));
    canon(&w, root, span_of(NULL, 0), false);
}

static void said_end(struct said *s, struct span reason, struct span sequence, const int64_t n[4])
{
    said_line(s, "end", reason, sequence);
    buffer_printf(&s->lines, " %lld %lld %lld %lld", (long long)n[0], (long long)n[1],
                  (long long)n[2], (long long)n[3]);
}

/* An event that is being written. */
static struct json_writer begin_event(struct buffer *sse, const char *type, int index)
{
    buffer_printf(sse, "event: %s\ndata: ", type);
    struct json_writer w = json_writer(sse);
    json_begin_object(&w);
    json_member(&w, "type", span_str(type));
    if (index >= 0)
        json_member_int(&w, "index", index);
    return w;
}

static void end_event(struct json_writer *w)
{
    json_end_object(w);
    buffer_append(w->out, SPAN("\n\n"));
}

/* A block's beginning without its text; `more` are raw members. */
static void open_event(struct buffer *sse, int index, const char *more)
{
    struct json_writer w = begin_event(sse, "content_block_start", index);
    json_member_raw(&w, "content_block", span_str(more));
    end_event(&w);
}

static void close_event(struct buffer *sse, int index)
{
    struct json_writer w = begin_event(sse, "content_block_stop", index);
    end_event(&w);
}

static void delta_event(struct buffer *sse, int index, const char *type, const char *name,
                        struct span text)
{
    struct json_writer w = begin_event(sse, "content_block_delta", index);
    json_key(&w, "delta");
    json_begin_object(&w);
    json_member(&w, "type", span_str(type));
    json_member(&w, name, text);
    json_end_object(&w);
    end_event(&w);
}

/* The text in pieces of whole characters. */
static void pieces(struct dice *d, struct buffer *sse, int index, const char *type,
                   const char *name, struct span text)
{
    while (text.n) {
        size_t n = 1 + roll(d, 6);
        while (n < text.n && ((unsigned char)text.p[n] & 0xC0) == 0x80)
            n++;
        struct span piece = span_first(text, n);
        delta_event(sse, index, type, name, piece);
        text = span_from(text, piece.n);
    }
}

static void answer_block(struct dice *d, struct json_parser *json, struct buffer *sse,
                         struct said *s, int index)
{
    struct span text = span_str(any_text(d));
    char id[32], begin[200];
    switch (roll(d, 5)) {
    case 0:
        open_event(sse, index, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
        if (one_in(d, 4))
            text = SPAN(""); /* thinking that is not shown */
        pieces(d, sse, index, "thinking_delta", "thinking", text);
        delta_event(sse, index, "signature_delta", "signature", SPAN("EqQB+/=="));
        said_line(s, "thinking", text, SPAN("EqQB+/=="));
        break;
    case 1:
        open_event(sse, index, "{\"type\":\"redacted_thinking\",\"data\":\"Emw+\"}");
        said_line(s, "redacted", SPAN("Emw+"), SPAN(""));
        break;
    case 2:
        snprintf(id, sizeof id, "toolu_%d", index);
        snprintf(begin, sizeof begin,
                 "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":\"bash\",\"input\":{}}", id);
        text = span_str(any_input(d));
        open_event(sse, index, begin);
        if (text.n > 2 || one_in(d, 2))
            pieces(d, sse, index, "input_json_delta", "partial_json", text);
        said_call(s, json, span_str(id), SPAN("bash"), text);
        break;
    default:
        open_event(sse, index, "{\"type\":\"text\",\"text\":\"\"}");
        pieces(d, sse, index, "text_delta", "text", text);
        said_text(s, text);
    }
    close_event(sse, index);
}

static void answer_end_events(struct dice *d, struct buffer *sse, struct said *s, bool called)
{
    static const char *const reasons[] = {"end_turn",      "max_tokens",
                                          "stop_sequence", "pause_turn",
                                          "refusal",       "model_context_window_exceeded"};
    const char *reason = called ? "tool_use" : PICK(d, reasons);
    struct span sequence =
        strcmp(reason, "stop_sequence") == 0 ? SPAN("\n\nHuman:") : span_of("", 0);
    int64_t n[4] = {roll(d, 1000), roll(d, 3) * 10, roll(d, 3) * 7, 1 + roll(d, 500)};
    struct json_writer w = begin_event(sse, "message_delta", -1);
    json_key(&w, "delta");
    json_begin_object(&w);
    json_member(&w, "stop_reason", span_str(reason));
    if (sequence.n)
        json_member(&w, "stop_sequence", sequence);
    json_end_object(&w);
    json_key(&w, "usage");
    json_begin_object(&w);
    json_member_int(&w, "input_tokens", n[0]);
    json_member_int(&w, "cache_creation_input_tokens", n[1]);
    json_member_int(&w, "cache_read_input_tokens", n[2]);
    json_member_int(&w, "output_tokens", n[3]);
    json_end_object(&w);
    end_event(&w);
    w = begin_event(sse, "message_stop", -1);
    end_event(&w);
    said_end(s, span_str(reason), sequence, n);
}

static void random_answer(struct dice *d, struct json_parser *json, struct buffer *sse,
                          struct said *s)
{
    buffer_append(sse, SPAN("event: message_start\ndata: {\"type\":\"message_start\",\"message\":"
                            "{\"id\":\"msg_up\",\"type\":\"message\",\"role\":\"assistant\","
                            "\"model\":\"c\",\"content\":[],\"stop_reason\":null,\"usage\":"
                            "{\"input_tokens\":1,\"output_tokens\":1}}}\n\n"));
    int n = 1 + (int)roll(d, 6);
    for (int i = 0; i < n; i++)
        answer_block(d, json, sse, s, i);
    /* so that it is an answer at all: thinking alone is none */
    open_event(sse, n, "{\"type\":\"text\",\"text\":\"\"}");
    pieces(d, sse, n, "text_delta", "text", SPAN("So."));
    said_text(s, SPAN("So."));
    close_event(sse, n);
    bool called = span_find(buffer_span(&s->lines), SPAN("\ncall ")) >= 0;
    answer_end_events(d, sse, s, called);
}

/* ---- what came out ---- */

static void said_usage(struct said *s, struct json message, struct json usage)
{
    static const char *const keys[] = {"input_tokens", "cache_creation_input_tokens",
                                       "cache_read_input_tokens", "output_tokens"};
    int64_t n[4] = {-1, -1, -1, -1};
    for (int i = 0; i < 4; i++)
        assert_true(json_int(json_get(usage, keys[i]), &n[i]));
    struct span sequence = json_get_text(message, "stop_sequence");
    said_end(s, json_get_text(message, "stop_reason"), sequence.p ? sequence : SPAN(""), n);
}

static void said_block(struct said *s, struct json_parser *second, struct json block)
{
    struct span type = json_get_text(block, "type");
    struct buffer input;
    if (span_eq(type, SPAN("text"))) {
        said_text(s, json_get_text(block, "text"));
    } else if (span_eq(type, SPAN("thinking"))) {
        said_line(s, "thinking", json_get_text(block, "thinking"),
                  json_get_text(block, "signature"));
    } else if (span_eq(type, SPAN("redacted_thinking"))) {
        said_line(s, "redacted", json_get_text(block, "data"), SPAN(""));
    } else {
        buffer_init(&input, TEXT_LIMIT);
        json_dump(&input, json_get(block, "input"));
        said_call(s, second, json_get_text(block, "id"), json_get_text(block, "name"),
                  buffer_span(&input));
        buffer_free(&input);
    }
}

static void said_whole(struct said *s, struct json_parser *json, struct json_parser *second,
                       struct span body)
{
    struct json root;
    assert_int_equal(json_parse(json, body, &root), JSON_OK);
    struct json_iter it = json_each(json_get(root, "content"));
    while (json_next(&it))
        said_block(s, second, it.value);
    said_usage(s, root, json_get(root, "usage"));
}

/* The open block of a stream, put together again. */
struct open_block {
    char type[32], id[32], name[32];
    struct buffer text, signature;
};

static void keep_name(char out[32], struct span text)
{
    snprintf(out, 32, "%.*s", SPAN_ARGS(text));
}

static void said_open(struct said *s, struct json_parser *second, struct open_block *o)
{
    if (strcmp(o->type, "text") == 0)
        said_text(s, buffer_span(&o->text));
    else if (strcmp(o->type, "thinking") == 0)
        said_line(s, "thinking", buffer_span(&o->text), buffer_span(&o->signature));
    else if (strcmp(o->type, "redacted_thinking") == 0)
        said_line(s, "redacted", buffer_span(&o->text), SPAN(""));
    else
        said_call(s, second, span_str(o->id), span_str(o->name),
                  o->text.n ? buffer_span(&o->text) : SPAN("{}"));
}

static void said_event(struct said *s, struct json_parser *second, struct open_block *o,
                       struct json event)
{
    struct span type = json_get_text(event, "type");
    struct json block = json_get(event, "content_block"), delta = json_get(event, "delta");
    if (span_eq(type, SPAN("content_block_start"))) {
        keep_name(o->type, json_get_text(block, "type"));
        keep_name(o->id, json_get_text(block, "id"));
        keep_name(o->name, json_get_text(block, "name"));
        buffer_clear(&o->text);
        buffer_clear(&o->signature);
        buffer_append(&o->text, json_get_text(block, "data"));
    } else if (span_eq(type, SPAN("content_block_delta"))) {
        buffer_append(&o->text, json_get_text(delta, "text"));
        buffer_append(&o->text, json_get_text(delta, "thinking"));
        buffer_append(&o->text, json_get_text(delta, "partial_json"));
        buffer_append(&o->signature, json_get_text(delta, "signature"));
    } else if (span_eq(type, SPAN("content_block_stop"))) {
        said_open(s, second, o);
    } else if (span_eq(type, SPAN("message_delta"))) {
        said_usage(s, delta, json_get(event, "usage"));
    }
}

static void said_stream(struct said *s, struct json_parser *json, struct json_parser *second,
                        struct span events)
{
    struct open_block o = {0};
    struct json root;
    buffer_init(&o.text, TEXT_LIMIT);
    buffer_init(&o.signature, TEXT_LIMIT);
    ptrdiff_t end;
    while ((end = span_find(events, SPAN("\n\n"))) >= 0) {
        struct span event = span_first(events, (size_t)end);
        ptrdiff_t data = span_find(event, SPAN("\ndata: "));
        assert_true(data > 0);
        assert_int_equal(json_parse(json, span_from(event, (size_t)data + 7), &root), JSON_OK);
        said_event(s, second, &o, root);
        events = span_from(events, (size_t)end + 2);
    }
    assert_int_equal(events.n, 0);
    buffer_free(&o.text);
    buffer_free(&o.signature);
}

/* ---- answers ---- */

/* Through the adapter and a writer; the bytes that a client would get. */
static void play(struct span sse, bool streams, struct dice *d, struct buffer *out)
{
    static const struct token_source estimated = {NULL, NULL};
    static const struct answer_meta meta = {.id = SPAN_INIT("msg_0123456789"),
                                            .model = SPAN_INIT("m")};
    struct transcript_player *player = transcript_open(&setup);
    struct site_request sent = {0};
    struct turn turn = *transcript_run(player)->turn;
    struct arena arena;
    struct answer answer;
    struct answer_feed feed;
    turn.dialect = DIALECT_ANTHROPIC;
    arena_init(&arena);
    answer_init(&answer,
                streams ? messages_stream_writer(&arena, &meta, NULL, out)
                        : messages_whole_writer(&arena, &meta, NULL),
                &arena, &estimated, meta.id);
    assert_non_null(answer.writer);
    answer_feed_add(&answer, &feed, &turn, 0, 1);
    answer_feed_begin(&feed, &(struct answer_rules){0});
    transcript_run(player)->turn = &turn;
    transcript_run(player)->out = &feed.sink;
    assert_int_equal(transcript_next(player, &sent), ADAPTER_SEND);
    const size_t cuts[] = {roll(d, (unsigned)sse.n), sse.n};
    if (transcript_answer(player, 200, "text/event-stream", sse, cuts, 1, END_CLEAN) ==
        ADAPTER_FAIL)
        fail_msg("%s", transcript_run(player)->fail->message);
    assert_int_equal(answer_end(&answer, out), 0);
    answer_free(&answer);
    arena_free(&arena);
    transcript_close(player);
}

static void expect_said(const struct said *wanted, struct said *got, unsigned seed,
                        const char *what)
{
    if (!span_eq(buffer_span(&wanted->lines), buffer_span(&got->lines)))
        fail_msg("seed %u, %s: the site said%.*s\nthe client heard%.*s", seed, what,
                 SPAN_ARGS(buffer_span(&wanted->lines)), SPAN_ARGS(buffer_span(&got->lines)));
    buffer_free(&got->lines);
}

static void answers_come_out_as_they_were(void **state)
{
    struct json_parser *json = json_parser_create(TEXT_LIMIT);
    assert_non_null(json);
    struct json_parser *second = json_parser_create(TEXT_LIMIT);
    assert_non_null(second);
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        struct dice d = {seed * 104729u};
        struct said wanted = {.in_text = false}, got;
        struct buffer sse, out;
        buffer_init(&wanted.lines, TEXT_LIMIT);
        buffer_init(&sse, TEXT_LIMIT);
        buffer_init(&out, TEXT_LIMIT);
        random_answer(&d, json, &sse, &wanted);
        for (int streams = 0; streams < 2; streams++) {
            got = (struct said){.in_text = false};
            buffer_init(&got.lines, TEXT_LIMIT);
            buffer_clear(&out);
            play(buffer_span(&sse), streams, &d, &out);
            if (streams)
                said_stream(&got, json, second, buffer_span(&out));
            else
                said_whole(&got, json, second, buffer_span(&out));
            expect_said(&wanted, &got, seed, streams ? "streamed" : "whole");
        }
        buffer_free(&wanted.lines);
        buffer_free(&sse);
        buffer_free(&out);
    }
    json_parser_destroy(json);
    json_parser_destroy(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_leave_as_they_came),
        cmocka_unit_test(answers_come_out_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
