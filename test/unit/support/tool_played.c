/*
 * test/unit/support/tool_played.c - a run of a tool parser, and what it must look like
 * (test/unit/support/tool_corpus.h).
 */
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/tool_corpus.h"

enum { LOG_MAX = 64 * 1024 * 1024, HELD_OF_HALF = 16 };

static int wrong(struct tool_played *p, const char *what)
{
    if (!p->wrong[0])
        snprintf(p->wrong, sizeof p->wrong, "%s", what);
    return 0;
}

static void begin_item(struct tool_played *p, enum tool_item_kind kind, struct span name)
{
    if (p->n_items == TOOL_ITEMS_MAX) {
        wrong(p, "too many items");
        p->n_items--;
    }
    buffer_char(&p->log, kind == ITEM_TEXT ? '\1' : '\2');
    p->items[p->n_items].kind = kind;
    p->items[p->n_items].name_at = p->log.n;
    p->items[p->n_items].name_n = name.n;
    buffer_append(&p->log, name);
    buffer_char(&p->log, '\3');
    p->items[p->n_items].at = p->log.n;
    p->items[p->n_items++].n = 0;
}

static void add_to_item(struct tool_played *p, struct span text)
{
    buffer_append(&p->log, text);
    p->items[p->n_items - 1].n += text.n;
}

static int hear_text(struct tool_played *p, const struct tool_event *e)
{
    if (p->inside)
        return wrong(p, "text inside a call");
    if (!e->text.n)
        return wrong(p, "an empty text");
    if (!p->n_items || p->items[p->n_items - 1].kind != ITEM_TEXT)
        begin_item(p, ITEM_TEXT, span_of(NULL, 0));
    add_to_item(p, e->text);
    return buffer_append(&p->text, e->text);
}

static int hear_begin(struct tool_played *p, const struct tool_event *e)
{
    if (p->inside)
        return wrong(p, "a call inside a call");
    if (e->call != p->calls++)
        return wrong(p, "calls are not counted from 0");
    if (!tool_list_find(p->tools, e->name))
        return wrong(p, "a name that is no tool's");
    p->inside = true;
    begin_item(p, ITEM_HALF, e->name);
    return 0;
}

static int hear(void *owner, const struct tool_event *e)
{
    struct tool_played *p = owner;
    switch (e->kind) {
    case TOOL_TEXT: return hear_text(p, e);
    case TOOL_BEGIN: return hear_begin(p, e);
    case TOOL_ARGUMENTS:
        if (!p->inside || e->call != p->calls - 1)
            return wrong(p, "arguments outside of their call");
        if (!e->text.n)
            return wrong(p, "an empty piece of arguments");
        add_to_item(p, e->text);
        return 0;
    case TOOL_END:
        if (!p->inside || e->call != p->calls - 1)
            return wrong(p, "the end of another call");
        p->inside = false;
        p->items[p->n_items - 1].kind = ITEM_CALL;
        return buffer_char(&p->log, '\4');
    }
    return wrong(p, "an unknown event");
}

void tool_played_init(struct tool_played *p, const struct tool_list *tools)
{
    memset(p, 0, sizeof *p);
    buffer_init(&p->log, LOG_MAX);
    buffer_init(&p->text, LOG_MAX);
    p->tools = tools;
}

void tool_played_clear(struct tool_played *p)
{
    buffer_clear(&p->log);
    buffer_clear(&p->text);
    p->n_items = 0;
    p->result = 0;
    p->wrong[0] = 0;
    p->inside = false;
    p->calls = 0;
}

void tool_played_free(struct tool_played *p)
{
    buffer_free(&p->log);
    buffer_free(&p->text);
}

struct tool_event_sink tool_played_sink(struct tool_played *p)
{
    return (struct tool_event_sink){hear, p};
}

struct span tool_played_text(const struct tool_played *p, size_t item)
{
    return span_of(p->log.p + p->items[item].at, p->items[item].n);
}

struct span tool_played_name(const struct tool_played *p, size_t item)
{
    return span_of(p->log.p + p->items[item].name_at, p->items[item].name_n);
}

/* Is `part` what is left of `whole` when some of it is taken out? */
static bool is_left_of(struct span part, struct span whole)
{
    size_t i = 0;
    for (size_t k = 0; i < part.n && k < whole.n; k++)
        i += part.p[i] == whole.p[k];
    return i == part.n;
}

/* What must be true of every run, whatever was in it. */
static void check_end(struct tool_played *p, const struct tool_parser *parser, struct span in)
{
    if (!is_left_of(buffer_span(&p->text), in))
        wrong(p, "text that was not there");
    if (!p->calls && !p->result && !span_eq(buffer_span(&p->text), in))
        wrong(p, "no call, and not all of the text");
    if (p->log.error || p->text.error)
        wrong(p, "more came out than can be");
    if (p->inside != (p->result == TOOL_PARSER_HALF))
        wrong(p, p->inside ? "a call without an end, and it is not half"
                           : "half, but no call is open");
    if (p->result != TOOL_PARSER_OK && p->result != TOOL_PARSER_HALF)
        wrong(p, "it failed");
    if (tool_parser_calls(parser) != p->calls)
        wrong(p, "tool_parser_calls counts otherwise");
    for (size_t i = 0; i < p->n_items; i++) {
        if (p->items[i].kind == ITEM_CALL && !tool_is_object(tool_played_text(p, i)))
            wrong(p, "arguments that are no JSON object");
    }
}

/* Copies each piece to memory of just its size, so that reading beyond it is seen. */
static int feed(struct tool_parser *parser, struct span piece, const struct tool_event_sink *sink)
{
    if (!piece.n)
        return tool_parser_feed(parser, piece, sink);
    char *copy = malloc(piece.n);
    assert_non_null(copy);
    memcpy(copy, piece.p, piece.n);
    int result = tool_parser_feed(parser, span_of(copy, piece.n), sink);
    free(copy);
    return result;
}

void tool_play(const struct tool_list *tools, struct span in, const size_t *cuts, size_t n_cuts,
               enum tool_end end, struct tool_played *out)
{
    struct tool_event_sink sink = tool_played_sink(out);
    struct tool_parser *parser = tool_parser_create(tools);
    assert_non_null(parser);
    tool_played_clear(out);
    size_t at = 0;
    for (size_t i = 0; i <= n_cuts && !out->result; i++) {
        size_t to = i < n_cuts ? cuts[i] : in.n;
        out->result = feed(parser, span_of(in.p + at, to - at), &sink);
        at = to;
    }
    if (!out->result)
        out->result = tool_parser_end(parser, end, &sink);
    out->invented = tool_parser_invented(parser);
    check_end(out, parser, in);
    tool_parser_destroy(parser);
}

void tool_play_bytes(const struct tool_list *tools, struct span in, enum tool_end end,
                     struct tool_played *out)
{
    size_t *cuts = calloc(in.n + 1, sizeof *cuts);
    assert_non_null(cuts);
    for (size_t i = 0; i < in.n; i++)
        cuts[i] = i;
    tool_play(tools, in, cuts, in.n, end, out);
    free(cuts);
}

/* ---- comparing ---- */

static bool same(struct json a, struct json b);

static bool same_members(struct json a, struct json b)
{
    struct json_iter it = json_each(a);
    size_t i = 0;
    if (json_size(a) != json_size(b))
        return false;
    while (json_next(&it)) {
        struct json other = it.key.p ? json_get_n(b, it.key) : json_at(b, i);
        if (!same(it.value, other))
            return false;
        i++;
    }
    return true;
}

static bool same(struct json a, struct json b)
{
    double x, y;
    int64_t i, k;
    if (json_int(a, &i) && json_int(b, &k))
        return i == k;
    if (json_number(a, &x) && json_number(b, &y))
        return x == y;
    if (json_type(a) != json_type(b))
        return false;
    switch (json_type(a)) {
    case JSON_STRING: return span_eq(json_text(a), json_text(b));
    case JSON_BOOL: return json_bool(a, false) == json_bool(b, false);
    case JSON_ARRAY:
    case JSON_OBJECT: return same_members(a, b);
    default: return true;
    }
}

static struct json_parser *parser_of(int which)
{
    static struct json_parser *parsers[2];
    if (!parsers[which])
        parsers[which] = json_parser_create(LOG_MAX);
    assert_non_null(parsers[which]);
    return parsers[which];
}

bool tool_is_object(struct span text)
{
    struct json root;
    return json_parse(parser_of(0), text, &root) == JSON_OK && json_is(root, JSON_OBJECT);
}

bool tool_same_json(struct span a, struct span b)
{
    struct json x, y;
    return json_parse(parser_of(0), a, &x) == JSON_OK &&
           json_parse(parser_of(1), b, &y) == JSON_OK && same(x, y);
}

/* JSON, also half, without the white space between its values. */
static void compact(struct buffer *out, struct span json)
{
    bool in_string = false;
    for (size_t i = 0; i < json.n; i++) {
        char c = json.p[i];
        if (in_string && c == '\\' && i + 1 < json.n) {
            buffer_char(out, c);
            c = json.p[++i];
        } else if (c == '"') {
            in_string = !in_string;
        } else if (!in_string && strchr(" \t\r\n", c)) {
            continue;
        }
        buffer_char(out, c);
    }
}

/* The arguments of a half call are what came, up to a few bytes whose meaning hung on what did not.
 */
static bool same_half(struct span want, struct span got)
{
    struct buffer a, b;
    buffer_init(&a, LOG_MAX);
    buffer_init(&b, LOG_MAX);
    compact(&a, want);
    compact(&b, got);
    bool equal = span_starts(buffer_span(&a), buffer_span(&b)) && a.n - b.n <= HELD_OF_HALF;
    buffer_free(&a);
    buffer_free(&b);
    return equal;
}

static bool same_item(const struct tool_item *want, const struct tool_played *p, size_t i)
{
    struct span got = tool_played_text(p, i);
    if (want->kind != p->items[i].kind || !span_eq(want->name, tool_played_name(p, i)))
        return false;
    switch (want->kind) {
    case ITEM_TEXT: return span_eq(want->text, got);
    case ITEM_CALL: return tool_same_json(want->text, got);
    case ITEM_HALF: return same_half(want->text, got);
    }
    return false;
}

static void tell_item(struct buffer *why, enum tool_item_kind kind, struct span name,
                      struct span text)
{
    static const char *const words[] = {"text", "call", "half"};
    buffer_printf(why, "    %s %.*s[%.*s]\n", words[kind], SPAN_ARGS(name), SPAN_ARGS(text));
}

bool tool_case_holds(const struct tool_case *c, const struct tool_played *p, struct buffer *why)
{
    bool holds = !p->wrong[0];
    if (!holds)
        buffer_printf(why, "  %s (result %d)\n", p->wrong, p->result);
    if (c->open && holds)
        return true;
    if (!c->open) {
        bool equal = c->n_items == p->n_items && c->invented == p->invented;
        for (size_t i = 0; equal && i < c->n_items; i++)
            equal = same_item(&c->items[i], p, i);
        if (equal)
            return holds;
        buffer_printf(why, "  expected%s\n", c->invented ? " (and an invented result)" : "");
        for (size_t i = 0; i < c->n_items; i++)
            tell_item(why, c->items[i].kind, c->items[i].name, c->items[i].text);
    }
    buffer_printf(why, "  came%s\n", p->invented ? " (and an invented result)" : "");
    for (size_t i = 0; i < p->n_items; i++)
        tell_item(why, p->items[i].kind, tool_played_name(p, i), tool_played_text(p, i));
    return false;
}
