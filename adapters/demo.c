/*
 * adapters/demo.c - the built-in site: answers by itself, so that anybody can try dragoman, and client developers have a target.
 *
 * echo says the last user text again, reasoner thinks aloud first, tools calls the tools it is given, slow takes its time. A text that begins with `!` plays a failure.
 * One piece is put out per call of demo_local; the whole story of an answer is its plan (what to say) and a position in it.
 */
#include <stdlib.h>

#include "adapters/support.h"
#include "base/json_write.h"

enum demo_model { DEMO_ECHO, DEMO_REASONER, DEMO_TOOLS, DEMO_SLOW };
enum demo_at { DEMO_PLAN, DEMO_THINK, DEMO_SAY, DEMO_CALL, DEMO_END };

enum { SLOW_MS = 300, SLOW_MAX_MS = 60000, CALLS_MAX = 2, REPLY_LIMIT = 16 * 1024 * 1024 };

struct demo {
    enum demo_at at;
    enum demo_model model;
    struct span thought, text; /* what is still to be said of the current choice */
    struct span whole_thought, whole_text;
    struct span call_name, call_arguments, call_rest;
    int calls, call; /* tool calls wanted, and the one being told */
    bool call_begun;
    int choice;
    int delay_ms;
    int64_t words, words_max, prompt_words; /* words_max -1: no limit */
    struct span reason;
    int cut_after; /* words until a played cut, -1 = none */
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

/* ---- words ----------------------------------------------------------------------------------------------- */

static bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* The next word with the white space before it. */
static struct span take_word(struct span *rest)
{
    size_t n = 0;
    while (n < rest->n && is_blank(rest->p[n]))
        n++;
    while (n < rest->n && !is_blank(rest->p[n]))
        n++;
    struct span word = span_first(*rest, n);
    *rest = span_from(*rest, n);
    return word;
}

static int64_t count_words(struct span text)
{
    int64_t n = 0;
    while (text.n) {
        if (span_trim(take_word(&text)).n)
            n++;
    }
    return n;
}

/* ---- the plan ---------------------------------------------------------------------------------------------- */

static const struct message *last_message(const struct turn *turn, enum role role)
{
    for (size_t i = turn->n_messages; i-- > 0;) {
        if (turn->messages[i].role == role)
            return &turn->messages[i];
    }
    return NULL;
}

/* A prefill (last message of the assistant) is continued; otherwise the last user text is the subject. */
static struct span subject(struct turn_run *run)
{
    const struct message *m = last_message(run->turn, ROLE_USER);
    if (!m)
        m = &run->turn->messages[run->turn->n_messages - 1];
    return message_text(run->arena, m);
}

static struct span describe_parts(struct turn_run *run, struct span text)
{
    const struct message *m = last_message(run->turn, ROLE_USER);
    struct buffer out;
    buffer_init(&out, REPLY_LIMIT);
    buffer_append(&out, text);
    for (size_t i = 0; m && i < m->n_parts; i++) {
        const struct part *p = &m->parts[i];
        static const char *const kinds[] = {"text", "picture", "recording",
                                            "file", "video",   "refusal"};
        if (p->kind == PART_TEXT || p->kind == PART_REFUSAL)
            continue;
        buffer_printf(&out, "%s(I see a %s", out.n ? " " : "", kinds[p->kind]);
        if (p->mime.n)
            buffer_printf(&out, " of type %.*s", SPAN_ARGS(span_first(p->mime, 60)));
        if (p->base64.p)
            buffer_printf(&out, ", %zu bytes", base64_decode(run->arena, p->base64).n);
        buffer_char(&out, ')');
    }
    struct span all = arena_dup(run->arena, buffer_span(&out));
    buffer_free(&out);
    return all;
}

/* `!error KIND [SECONDS]` and `!cut N`: failures for client developers (docs/sites/demo.md). True when the text is one. */
static bool play_failure(struct turn_run *run, struct demo *d, struct span text)
{
    struct span rest = span_trim(text), word = span_trim(take_word(&rest));
    uint64_t number = 0;
    if (span_eq(word, SPAN("!cut"))) {
        d->cut_after = span_to_u64(span_trim(take_word(&rest)), 10000, &number) ? (int)number : 3;
        d->whole_text = SPAN("These words arrive, and then the site breaks off in the middle of "
                             "its answer, as sites sometimes do.");
        return false;
    }
    if (!span_eq(word, SPAN("!error")))
        return false;
    word = span_trim(take_word(&rest));
    enum fail_kind kind = FAIL_UNAVAILABLE;
    for (int k = FAIL_BAD_REQUEST; k <= FAIL_TIMEOUT; k++) {
        if (span_eq(word, span_str(fail_kind_name((enum fail_kind)k))))
            kind = (enum fail_kind)k;
    }
    fail_set(&run->fail, kind, "the demo site was asked to play a failure: %s",
             fail_kind_name(kind));
    if (span_to_u64(span_trim(take_word(&rest)), 86400, &number))
        run->fail.retry_after_s = (int)number;
    return true;
}

static void write_example(struct json_writer *w, struct span schema)
{
    struct span type = json_raw_get(schema, "type");
    struct span values = json_raw_get(schema, "enum");
    if (values.p) {
        struct json_raw_iter it = json_raw_each(values);
        json_raw_value(w, json_raw_next(&it) ? it.value : SPAN("null"));
    } else if (span_eq(type, SPAN("\"number\"")) || span_eq(type, SPAN("\"integer\""))) {
        json_write_int(w, 1);
    } else if (span_eq(type, SPAN("\"boolean\""))) {
        json_write_bool(w, true);
    } else if (span_eq(type, SPAN("\"array\""))) {
        json_begin_array(w);
        json_end_array(w);
    } else if (span_eq(type, SPAN("\"object\""))) {
        json_begin_object(w);
        json_end_object(w);
    } else {
        json_string(w, SPAN("example"));
    }
}

/* Arguments that fit the tool's schema: an example for each required property. */
static struct span example_arguments(struct turn_run *run, struct span function)
{
    struct buffer out;
    struct span parameters = json_raw_get(function, "parameters");
    struct json_raw_iter it = json_raw_each(json_raw_get(parameters, "required"));
    buffer_init(&out, 256 * 1024);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    while (json_raw_next(&it)) {
        if (it.value.n < 2 || it.value.p[0] != '"')
            continue;
        struct span name = span_of(it.value.p + 1, it.value.n - 2); /* raw: escapes stay escapes */
        struct span found = {NULL, 0};
        struct json_raw_iter all = json_raw_each(json_raw_get(parameters, "properties"));
        while (json_raw_next(&all)) {
            if (span_eq(all.key, name))
                found = all.value;
        }
        buffer_printf(&out, "%s\"%.*s\":", w.comma ? "," : "", SPAN_ARGS(name));
        w.comma = false;
        write_example(&w, found);
    }
    json_end_object(&w);
    struct span arguments = out.error ? SPAN("{}") : arena_dup(run->arena, buffer_span(&out));
    buffer_free(&out);
    return arguments;
}

/* The first tool, or the one that the text or tool_choice names. */
static struct span choose_tool(struct turn_run *run, struct span text)
{
    struct span first = {NULL, 0}, wanted = {NULL, 0};
    struct span choice = json_raw_get(json_raw_get(run->turn->tool_choice_raw, "function"), "name");
    struct json_raw_iter it = json_raw_each(run->turn->tools_raw);
    while (json_raw_next(&it)) {
        struct span function = json_raw_get(it.value, "function");
        struct span name = json_raw_get(function, "name");
        if (name.n < 2)
            continue;
        if (!first.p)
            first = function;
        if (choice.p ? span_eq(choice, name)
                     : span_find(text, span_of(name.p + 1, name.n - 2)) >= 0)
            wanted = wanted.p ? wanted : function;
    }
    return wanted.p ? wanted : first;
}

static void plan_tools(struct turn_run *run, struct demo *d, struct span text)
{
    const struct turn *turn = run->turn;
    const struct message *last = &turn->messages[turn->n_messages - 1];
    if (last->role == ROLE_TOOL) {
        d->whole_text = arena_printf(run->arena, "The tool answered: %.*s",
                                     SPAN_ARGS(message_text(run->arena, last)));
        return;
    }
    struct span function = turn->tools_wanted ? choose_tool(run, text) : span_of(NULL, 0);
    struct span name = json_raw_get(function, "name");
    if (name.n < 2) {
        d->whole_text = SPAN("This model calls the tools that it is given; none were given.");
        return;
    }
    d->call_name = span_of(name.p + 1, name.n - 2);
    d->call_arguments = example_arguments(run, function);
    d->calls = span_find(text, SPAN("twice")) >= 0 ? CALLS_MAX : 1;
}

static void cut_at_stop(const struct turn *turn, struct span *text)
{
    for (size_t i = 0; i < turn->n_stop; i++) {
        ptrdiff_t at = span_find(*text, turn->stop[i]);
        if (at >= 0)
            *text = span_first(*text, (size_t)at);
    }
}

static int plan(struct turn_run *run, struct demo *d)
{
    const struct turn *turn = run->turn;
    if (!demo_model_of(run->model, &d->model))
        return fail_param(&run->fail, FAIL_MODEL_NOT_FOUND, "model",
                          "the demo site has echo, reasoner, tools and slow");
    struct span text = subject(run);
    if (!text.p)
        return fail_memory(&run->fail);
    d->cut_after = -1;
    d->words_max = turn->has_max_tokens ? turn->max_tokens : -1;
    d->delay_ms = d->model == DEMO_SLOW ? SLOW_MS : 0;
    d->prompt_words = 0;
    for (size_t i = 0; i < turn->n_messages; i++)
        d->prompt_words += count_words(message_text(run->arena, &turn->messages[i]));
    if (play_failure(run, d, text))
        return -1;
    if (d->model == DEMO_REASONER)
        d->whole_thought =
            arena_printf(run->arena, "The person said %lld words. I shall say them again.",
                         (long long)count_words(text));
    uint64_t number;
    struct span rest = text;
    if (d->model == DEMO_SLOW && span_to_u64(span_trim(take_word(&rest)), SLOW_MAX_MS, &number))
        d->delay_ms = (int)number;
    if (d->model == DEMO_TOOLS)
        plan_tools(run, d, text);
    else if (turn->response_format_raw.p)
        d->whole_text = SPAN("{\"echo\": true, \"from\": \"demo\"}");
    else if (!d->whole_text.p)
        d->whole_text = describe_parts(run, text);
    if (!d->whole_text.n && !d->calls)
        d->whole_text = SPAN("(You sent no text; this model says the last user message again.)");
    cut_at_stop(turn, &d->whole_text);
    return d->whole_text.p || d->calls ? 0 : fail_memory(&run->fail);
}

/* ---- telling it --------------------------------------------------------------------------------------------------- */

static void begin_choice(struct demo *d)
{
    d->thought = d->whole_thought;
    d->text = d->whole_text;
    d->reason = d->calls ? SPAN("tool_calls") : SPAN("stop");
    d->call = 0;
    d->call_begun = false;
    d->at = d->thought.n ? DEMO_THINK : d->calls ? DEMO_CALL : DEMO_SAY;
}

static int tell_call(struct turn_run *run, struct demo *d)
{
    if (!d->call_begun) {
        d->call_begun = true;
        d->call_rest = d->call_arguments;
        return delta_tool_begin(run->out, d->choice, d->call, span_of(NULL, 0), d->call_name);
    }
    struct span piece = span_first(d->call_rest, 7);
    d->call_rest = span_from(d->call_rest, piece.n);
    if (d->call_rest.n == 0) {
        d->call_begun = false;
        if (++d->call == d->calls)
            d->at = DEMO_END;
        return delta_tool_arguments(run->out, d->choice, d->call - 1, piece);
    }
    return delta_tool_arguments(run->out, d->choice, d->call, piece);
}

static int tell_word(struct turn_run *run, struct demo *d)
{
    if (d->cut_after >= 0 && d->words >= d->cut_after)
        return fail_set(&run->fail, FAIL_CUT,
                        "the demo site broke off in the middle of its answer, as it was asked to");
    if (d->words_max >= 0 && d->words >= d->words_max && d->text.n) {
        d->reason = SPAN("length");
        d->at = DEMO_END;
        return 0;
    }
    struct span word = take_word(&d->text);
    d->words++;
    if (!d->text.n)
        d->at = DEMO_END;
    return delta_text(run->out, d->choice, word);
}

static enum adapter_step end_choice(struct turn_run *run, struct demo *d)
{
    struct delta_usage usage = {.prompt = d->prompt_words, .cached = -1, .reasoning = -1};
    if (delta_finish(run->out, d->choice, d->reason))
        return ADAPTER_FAILED;
    if (++d->choice < run->turn->n) {
        d->cut_after = -1;
        begin_choice(d);
        return ADAPTER_SEND;
    }
    usage.completion = d->words + d->calls;
    usage.total = usage.prompt + usage.completion;
    return delta_usage(run->out, &usage) ? ADAPTER_FAILED : ADAPTER_DONE;
}

static enum adapter_step demo_local(struct turn_run *run, int *delay_ms)
{
    struct demo *d = run->state;
    int bad = 0;
    *delay_ms = d->delay_ms;
    switch (d->at) {
    case DEMO_PLAN:
        *delay_ms = 0;
        bad = plan(run, d);
        if (!bad)
            begin_choice(d);
        break;
    case DEMO_THINK: {
        struct span word = take_word(&d->thought);
        d->words++;
        if (!d->thought.n)
            d->at = DEMO_SAY;
        bad = delta_reasoning(run->out, d->choice, word);
        break;
    }
    case DEMO_SAY: bad = tell_word(run, d); break;
    case DEMO_CALL: bad = tell_call(run, d); break;
    case DEMO_END: *delay_ms = 0; return end_choice(run, d);
    }
    return bad ? ADAPTER_FAILED : ADAPTER_SEND;
}

const struct adapter adapter_demo = {
    .name = "demo",
    .title = "the built-in demo site",
    .origin = "",
    .capabilities = CAP_LOCAL | CAP_SYSTEM | CAP_IMAGE | CAP_AUDIO | CAP_FILE | CAP_VIDEO |
                    CAP_TOOLS | CAP_REASONING | CAP_RESPONSE_FORMAT | CAP_N | CAP_USAGE,
    .state_size = sizeof(struct demo),
    .base_model = demo_base_model,
    .models = demo_models,
    .local = demo_local,
};
