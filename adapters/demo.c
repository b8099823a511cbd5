/*
 * adapters/demo.c - the built-in site: answers by itself, so that anybody can try dragoman without
 * an account, and client developers have a target (docs/sites/demo.md).
 *
 * echo says the last user text again, reasoner thinks aloud first, tools calls the tools it is
 * given, slow takes its time. A text that begins with `!` plays a failure. The whole story of an
 * answer is its plan (what to say, made once) and a position in it; each call of demo_local tells
 * some words and says when it wants to be asked again.
 */
#include "adapters/support.h"
#include "base/json_write.h"

enum demo_model { DEMO_ECHO, DEMO_REASONER, DEMO_TOOLS, DEMO_SLOW };
enum demo_at { DEMO_PLAN, DEMO_THINK, DEMO_SAY, DEMO_CALL, DEMO_END };

enum {
    SLOW_MS = 300, /* slow, unless its text begins with a number */
    SLOW_MAX_MS = 60000,
    PIECES_PER_CALL = 16, /* of the fast models: several pieces leave in one write */
    ARGUMENTS_PIECE =
        7,         /* bytes of a fragment: tears names, numbers and characters apart on purpose */
    CALLS_MAX = 2, /* "twice" */
    CUT_AFTER_DEFAULT = 3, /* words */
    REPLY_LIMIT = 64 * 1024 * 1024
};

struct demo {
    enum demo_at at;
    enum demo_model model;

    /* the plan, the same for every choice */
    struct span thought, text;
    struct span met; /* the stop text that ends `text`; "" = none */
    struct span call_name, call_arguments;
    int calls;
    int64_t words_max; /* of one choice, -1 = no limit */
    int delay_ms;
    struct fail failure;   /* to be played; kind NONE = no */
    int64_t failure_after; /* words */

    /* the position */
    int choice, call;
    bool call_begun;
    struct span rest;   /* of the thought, text or arguments that is being told */
    int64_t words;      /* told in this choice */
    struct span reason; /* its finish reason */
    int64_t prompt_words, all_words, thought_words;
};

static const struct model_entry demo_models[] = {
    {SPAN_INIT("demo/echo"), {NULL, 0}},
    {SPAN_INIT("demo/reasoner"), {NULL, 0}},
    {SPAN_INIT("demo/tools"), {NULL, 0}},
    {SPAN_INIT("demo/slow"), {NULL, 0}},
    {{NULL, 0}, {NULL, 0}},
};

/* "echo" behind a site's name means "demo/echo". */
static bool demo_model_of(struct span id, enum demo_model *model)
{
    static const struct span names[] = {SPAN_INIT("echo"), SPAN_INIT("reasoner"),
                                        SPAN_INIT("tools"), SPAN_INIT("slow")};
    id = base_model_id(id);
    if (span_starts(id, SPAN("demo/")))
        id = span_from(id, 5);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (span_eq(id, names[i])) {
            *model = (enum demo_model)i;
            return true;
        }
    }
    return false;
}

static struct span demo_base_model(struct span id)
{
    enum demo_model model;
    return demo_model_of(id, &model) ? demo_models[model].id : id;
}

/* ---- words ---- */

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* The next word with the white space before it; the last word takes what white space is left. */
static struct span take_word(struct span *rest)
{
    size_t n = 0, end;
    while (n < rest->n && is_blank(rest->p[n]))
        n++;
    while (n < rest->n && !is_blank(rest->p[n]))
        n++;
    for (end = n; end < rest->n && is_blank(rest->p[end]);)
        end++;
    if (end == rest->n)
        n = end;
    struct span word = span_first(*rest, n);
    *rest = span_from(*rest, n);
    return word;
}

/* The next word without white space, "" at the end. */
static struct span take_bare_word(struct span *rest) { return span_trim(take_word(rest)); }

static int64_t count_words(struct span text)
{
    int64_t n = 0;
    while (text.n) {
        if (take_bare_word(&text).n)
            n++;
    }
    return n;
}

/* ---- what was said ---- */

static const struct message *last_message(const struct turn *turn)
{
    return &turn->messages[turn->n_messages - 1];
}

/* Whom we answer: the last user message, or the last one of all where no user speaks. */
static const struct message *subject(const struct turn *turn)
{
    for (size_t i = turn->n_messages; i-- > 0;) {
        if (turn->messages[i].role == ROLE_USER)
            return &turn->messages[i];
    }
    return last_message(turn);
}

/* The text parts alone, joined by LF. */
static void append_text(struct buffer *out, const struct message *m)
{
    bool first = true;
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != PART_TEXT && m->parts[i].kind != PART_REFUSAL)
            continue;
        if (!first)
            buffer_char(out, '\n');
        buffer_append(out, m->parts[i].text);
        first = false;
    }
}

/* What the buffer holds, in the arena; {NULL,0} when memory was short. Frees the buffer. */
static struct span keep(struct arena *arena, struct buffer *b)
{
    struct span kept = b->error ? span_of(NULL, 0) : arena_dup(arena, buffer_span(b));
    buffer_free(b);
    return kept;
}

static struct span text_of(struct turn_run *run, const struct message *m)
{
    struct buffer out;
    buffer_init(&out, REPLY_LIMIT);
    append_text(&out, m);
    return keep(run->arena, &out);
}

/* "I see 1 picture of type image/png, 68 bytes." for everything in the message that is no text. */
static void describe_parts(struct turn_run *run, struct buffer *out, const struct message *m)
{
    static const char *const nouns[] = {[PART_IMAGE] = "picture",
                                        [PART_AUDIO] = "recording",
                                        [PART_FILE] = "file",
                                        [PART_VIDEO] = "video"};
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct part *p = &m->parts[i];
        if (p->kind >= sizeof nouns / sizeof *nouns || !nouns[p->kind])
            continue;
        buffer_printf(out, "%sI see 1 %s", out->n ? " " : "", nouns[p->kind]);
        if (p->mime.n)
            buffer_printf(out, " of type %.*s", SPAN_ARGS(span_first(p->mime, 80)));
        if (p->base64.p)
            buffer_printf(out, ", %zu bytes", part_bytes(run, p).n);
        else if (p->url.n)
            buffer_printf(out, " at %.*s", SPAN_ARGS(span_first(p->url, 200)));
        buffer_char(out, '.');
    }
}

/* ---- failures to order ---- */

/* The number behind the word "after", as in `!cut after 5 words`; `otherwise` when there is none.
 */
static int64_t words_before(struct span rest, int64_t otherwise)
{
    uint64_t n = 0;
    while (rest.n) {
        if (span_eq(take_bare_word(&rest), SPAN("after")))
            return span_to_u64(take_bare_word(&rest), 1000000, &n) ? (int64_t)n : otherwise;
    }
    return otherwise;
}

/* Kinds that a site can fail with; the others are found in front of it. */
static bool failure_kind(struct span name, enum fail_kind *kind)
{
    for (int k = FAIL_BAD_REQUEST; k <= FAIL_BRIDGE; k++) {
        if (span_eq(name, span_str(fail_kind_name((enum fail_kind)k)))) {
            *kind = (enum fail_kind)k;
            return true;
        }
    }
    return false;
}

/* `!error KIND [SECONDS] [after N words]` and `!cut [after N words]`. Anything else that begins
 * with `!` is plain text. */
static bool order_failure(struct demo *d, struct span text)
{
    struct span rest = span_trim(text);
    struct span word = take_bare_word(&rest);
    enum fail_kind kind = FAIL_CUT;
    uint64_t seconds = 0;
    if (span_eq(word, SPAN("!cut"))) {
        d->failure_after = words_before(rest, CUT_AFTER_DEFAULT);
    } else if (span_eq(word, SPAN("!error")) && failure_kind(take_bare_word(&rest), &kind)) {
        d->failure_after = words_before(rest, 0);
        span_to_u64(take_bare_word(&rest), 86400, &seconds);
    } else {
        return false;
    }
    fail_set(&d->failure, kind, "the demo site fails as it was asked to: %s", fail_kind_name(kind));
    d->failure.retry_after_s = (int)seconds;
    d->text = SPAN("Here are some words, one after another, and somewhere among them this answer "
                   "breaks off, because it was asked to.");
    return true;
}

/* ---- tools and JSON ---- */

enum { SCHEMA_DEPTH = 16 }; /* schemas come from clients: deeper objects stay empty */

static bool schema_is(struct json schema, const char *type)
{
    struct json is = json_get(schema, "type");
    if (json_is(is, JSON_ARRAY)) /* ["string", "null"] */
        is = json_at(is, 0);
    return span_eq(json_text(is), span_str(type));
}

static void write_example(struct json_writer *w, struct json schema, int depth);

/* An example for each required property, in the schema's order. */
static void write_example_object(struct json_writer *w, struct json schema, int depth)
{
    struct json properties = json_get(schema, "properties");
    struct json_iter it = json_each(json_get(schema, "required"));
    json_begin_object(w);
    while (depth < SCHEMA_DEPTH && json_next(&it)) {
        struct span name = json_text(it.value);
        if (!name.p)
            continue;
        json_key_span(w, name);
        write_example(w, json_get_n(properties, name), depth + 1);
    }
    json_end_object(w);
}

static void write_example(struct json_writer *w, struct json schema, int depth)
{
    struct json fixed = json_get(schema, "const");
    if (json_is(fixed, JSON_MISSING))
        fixed = json_at(json_get(schema, "enum"), 0);
    if (!json_is(fixed, JSON_MISSING)) {
        if (w->comma)
            buffer_char(w->out, ',');
        json_dump(w->out, fixed);
        w->comma = true;
    } else if (schema_is(schema, "number") || schema_is(schema, "integer")) {
        json_write_int(w, 1);
    } else if (schema_is(schema, "boolean")) {
        json_write_bool(w, true);
    } else if (schema_is(schema, "null")) {
        json_null(w);
    } else if (schema_is(schema, "array")) {
        json_begin_array(w);
        json_end_array(w);
    } else if (schema_is(schema, "object")) {
        write_example_object(w, schema, depth);
    } else {
        json_string(w, SPAN("example"));
    }
}

/* Rounds of calls since the user's last words. */
static size_t count_rounds(const struct turn *turn)
{
    size_t rounds = 0;
    for (size_t i = turn->n_messages; i-- > 0 && turn->messages[i].role != ROLE_USER;)
        rounds += turn->messages[i].n_tool_calls > 0;
    return rounds;
}

/* How many of the functions stand in the text? */
static size_t count_named(struct turn_run *run, struct span text)
{
    struct json tools;
    size_t named = 0;
    if (json_parse(run->json, run->turn->tools_raw, &tools))
        return 0;
    struct json_iter it = json_each(tools);
    while (json_next(&it)) {
        struct span name = json_get_text(json_get(it.value, "function"), "name");
        named += name.n && span_find(text, name) >= 0;
    }
    return named;
}

/* The function that tool_choice names, else the next whose name stands in the text, else the
 * first. */
static struct json choose_function(struct turn_run *run, struct json tools, struct span text)
{
    size_t called = count_rounds(run->turn);
    struct json first = {0}, named = {0};
    struct span raw = json_raw_get(json_raw_get(run->turn->tool_choice_raw, "function"), "name");
    struct span wanted = raw.n > 2 ? span_of(raw.p + 1, raw.n - 2) : span_of(NULL, 0);
    struct json_iter it = json_each(tools);
    while (json_next(&it)) {
        struct json function = json_get(it.value, "function");
        struct span name = json_get_text(function, "name");
        if (!name.n)
            continue;
        if (wanted.p && span_eq(name, wanted))
            return function;
        if (json_is(named, JSON_MISSING) && span_find(text, name) >= 0 && !called--)
            named = function;
        if (json_is(first, JSON_MISSING))
            first = function;
    }
    return json_is(named, JSON_MISSING) ? first : named;
}

static int plan_call(struct turn_run *run, struct demo *d, struct span text)
{
    struct json tools;
    struct buffer out;
    if (json_parse(run->json, run->turn->tools_raw, &tools))
        return fail_param(run->fail, FAIL_INVALID_VALUE, "tools", "tools is no JSON array");
    struct json function = choose_function(run, tools, text);
    if (json_is(function, JSON_MISSING))
        return fail_param(run->fail, FAIL_INVALID_VALUE, "tools",
                          "none of the tools is a function with a name");
    buffer_init(&out, REPLY_LIMIT);
    struct json_writer w = json_writer(&out);
    write_example_object(&w, json_get(function, "parameters"), 0);
    d->call_name = arena_dup(run->arena, json_get_text(function, "name"));
    d->call_arguments = keep(run->arena, &out);
    d->calls = span_find(text, SPAN("twice")) >= 0 ? CALLS_MAX : 1;
    return d->call_name.p && d->call_arguments.p ? 0 : fail_memory(run->fail);
}

/* response_format: an object that fits the schema, or one that says the text again. */
static struct span json_reply(struct turn_run *run, struct span text)
{
    struct buffer out;
    struct json format, schema = {0};
    buffer_init(&out, REPLY_LIMIT);
    struct json_writer w = json_writer(&out);
    if (!json_parse(run->json, run->turn->response_format_raw, &format))
        schema = json_path(format, "json_schema", "schema");
    if (json_is(schema, JSON_MISSING)) {
        json_begin_object(&w);
        json_member(&w, "echo", text);
        json_end_object(&w);
    } else {
        write_example_object(&w, schema, 0);
    }
    return keep(run->arena, &out);
}

/* ---- the plan ---- */

static void cut_at_stop(const struct turn *turn, struct demo *d)
{
    for (size_t i = 0; i < turn->n_stop; i++) {
        ptrdiff_t at = turn->stop[i].n ? span_find(d->text, turn->stop[i]) : -1;
        if (at >= 0) {
            d->text = span_first(d->text, (size_t)at);
            d->met = turn->stop[i];
        }
    }
}

static struct span echo_reply(struct turn_run *run, const struct message *m)
{
    struct buffer out;
    buffer_init(&out, REPLY_LIMIT);
    append_text(&out, m);
    describe_parts(run, &out, m);
    if (!out.n)
        buffer_append(&out, SPAN("You sent no text; I say again what I am told."));
    return keep(run->arena, &out);
}

static struct span quote_result(struct turn_run *run, const struct message *tool)
{
    struct buffer out;
    buffer_init(&out, REPLY_LIMIT);
    buffer_append(&out, SPAN("The tool says: "));
    append_text(&out, tool);
    return keep(run->arena, &out);
}

/* slow: 300 ms a word, or what the text begins with. */
static int delay_of(const struct demo *d, struct span text)
{
    uint64_t ms = SLOW_MS;
    if (d->model != DEMO_SLOW)
        return 0;
    span_to_u64(take_bare_word(&text), SLOW_MAX_MS, &ms);
    return (int)ms;
}

static int plan_reply(struct turn_run *run, struct demo *d, const struct message *m,
                      struct span text)
{
    const struct turn *turn = run->turn;
    const struct message *last = last_message(turn);
    bool more = turn->tools_wanted && count_rounds(turn) < count_named(run, text);
    if (d->model == DEMO_TOOLS && last->role == ROLE_TOOL && !more)
        d->text = quote_result(run, last);
    else if (d->model == DEMO_TOOLS && turn->tools_wanted)
        return plan_call(run, d, text);
    else if (turn->response_format_raw.p)
        d->text = json_reply(run, text);
    else
        d->text = echo_reply(run, m);
    bool thinks = d->model == DEMO_REASONER && read_model_wish(run).reasoning != REASONING_OFF;
    if (thinks) {
        long long words = (long long)count_words(text);
        d->thought = arena_printf(run->arena, "The person says %lld word%s. I shall say %s again.",
                                  words, words == 1 ? "" : "s", words == 1 ? "it" : "them");
    }
    return d->text.p && (d->thought.p || !thinks) ? 0 : fail_memory(run->fail);
}

static int plan(struct turn_run *run, struct demo *d)
{
    const struct turn *turn = run->turn;
    const struct message *m = subject(turn);
    struct buffer scratch;
    if (!demo_model_of(run->model, &d->model))
        return fail_param(run->fail, FAIL_MODEL_NOT_FOUND, "model",
                          "the demo site has demo/echo, demo/reasoner, demo/tools and demo/slow");
    buffer_init(&scratch, REPLY_LIMIT);
    for (size_t i = 0; i < turn->n_messages; i++) {
        buffer_clear(&scratch);
        append_text(&scratch, &turn->messages[i]);
        d->prompt_words += count_words(buffer_span(&scratch));
    }
    buffer_free(&scratch);
    struct span text = text_of(run, m);
    if (!text.p)
        return fail_memory(run->fail);
    if (!order_failure(d, text) && plan_reply(run, d, m, text))
        return -1;
    d->delay_ms = delay_of(d, text);
    d->words_max = turn->has_max_tokens ? turn->max_tokens : -1;
    cut_at_stop(turn, d);
    return 0;
}

/* ---- telling it ---- */

static void begin_choice(struct demo *d)
{
    d->at = d->thought.n ? DEMO_THINK : d->calls ? DEMO_CALL : DEMO_SAY;
    d->rest = d->thought.n ? d->thought : d->text;
    d->reason = d->calls ? SPAN("tool_calls") : SPAN("stop");
    d->words = 0;
    d->call = 0;
    d->call_begun = false;
}

/* One word of the thought or the text. */
static int tell_word(struct turn_run *run, struct demo *d)
{
    if (d->failure.kind != FAIL_NONE && d->words >= d->failure_after) {
        *run->fail = d->failure;
        return -1;
    }
    bool thinking = d->at == DEMO_THINK;
    if (!d->rest.n) {
        d->at = thinking ? DEMO_SAY : DEMO_END;
        d->rest = thinking ? d->text : span_of(NULL, 0);
        return 0;
    }
    if (d->words_max >= 0 && d->words >= d->words_max) {
        d->reason = SPAN("length");
        d->at = DEMO_END;
        return 0;
    }
    struct span word = take_word(&d->rest);
    d->words++;
    d->all_words++;
    d->thought_words += thinking;
    return thinking ? delta_reasoning(run->out, d->choice, word)
                    : delta_text(run->out, d->choice, word);
}

/* A call's name, then its arguments in fragments. */
static int tell_call(struct turn_run *run, struct demo *d)
{
    if (!d->call_begun) {
        d->call_begun = true;
        d->rest = d->call_arguments;
        d->all_words++;
        return delta_tool_begin(run->out, d->choice, d->call, span_of(NULL, 0), d->call_name);
    }
    struct span piece = span_first(d->rest, ARGUMENTS_PIECE);
    int index = d->call;
    d->rest = span_from(d->rest, piece.n);
    if (!d->rest.n) {
        d->call_begun = false;
        d->call++;
        d->at = d->call == d->calls ? DEMO_END : DEMO_CALL;
    }
    return delta_tool_arguments(run->out, d->choice, index, piece);
}

static enum adapter_step end_choice(struct turn_run *run, struct demo *d)
{
    bool met = d->met.n && span_eq(d->reason, SPAN("stop"));
    if (delta_finish_as(run->out, d->choice, d->reason, SPAN(""), met ? d->met : SPAN("")))
        return ADAPTER_FAILED;
    if (++d->choice < run->turn->n) {
        begin_choice(d);
        return ADAPTER_SEND;
    }
    struct delta_usage usage = {.prompt = d->prompt_words,
                                .completion = d->all_words,
                                .total = d->prompt_words + d->all_words,
                                .cached = -1,
                                .reasoning = d->thought.n ? d->thought_words : -1};
    return delta_usage(run->out, &usage) ? ADAPTER_FAILED : ADAPTER_DONE;
}

static int tell(struct turn_run *run, struct demo *d)
{
    int bad = 0;
    switch (d->at) {
    case DEMO_PLAN:
        bad = plan(run, d);
        if (!bad)
            begin_choice(d);
        break;
    case DEMO_THINK:
    case DEMO_SAY: bad = tell_word(run, d); break;
    case DEMO_CALL: bad = tell_call(run, d); break;
    case DEMO_END: break;
    }
    if (bad && run->fail->kind == FAIL_NONE) /* the receiver's room is full */
        fail_memory(run->fail);
    return bad;
}

static enum adapter_step demo_local(struct turn_run *run, int *delay_ms)
{
    struct demo *d = run->state;
    *delay_ms = 0;
    for (int i = 0; i < PIECES_PER_CALL && d->at != DEMO_END; i++) {
        bool planned = d->at != DEMO_PLAN;
        if (tell(run, d))
            return ADAPTER_FAILED;
        if (planned && d->delay_ms) { /* slow: a word at a time */
            *delay_ms = d->at == DEMO_END ? 0 : d->delay_ms;
            break;
        }
    }
    return d->at == DEMO_END ? end_choice(run, d) : ADAPTER_SEND;
}

static const struct capability_note notes[] = {
    {CAP_IMAGE, "described"},
    {0},
};

const struct adapter adapter_demo = {
    .name = "demo",
    .title = "the built-in demo site",
    .origin = "",
    .capabilities = CAP_LOCAL | CAP_SYSTEM | CAP_IMAGE | CAP_AUDIO | CAP_FILE | CAP_VIDEO |
                    CAP_TOOLS | CAP_REASONING | CAP_RESPONSE_FORMAT | CAP_N | CAP_USAGE | CAP_STOP |
                    CAP_MAX_TOKENS,
    .notes = notes,
    .state_size = sizeof(struct demo),
    .base_model = demo_base_model,
    .models = demo_models,
    .local = demo_local,
};
