/*
 * test/unit/test_tool_corpus.c - gateway/tool_parser.h against the model outputs of test/tools, and
 * against random text around random calls.
 */
#include "base/json_write.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/tool_corpus.h"
#include "test/unit/support/tool_dialects.h"
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { TEXT_MAX = 4 * 1024 * 1024, RANDOM_CUTS = 6, MIXES = 400, PROSES = 60, SHOWN_MAX = 400 };

static const char *only;   /* cases whose "file: name" holds it; NULL = all */
static size_t mutants = 4; /* of each case */

/* ---- a parser that does not come back ---- */

enum { PATIENCE_S = 60 };

static char running[256];

static void tell_and_die(int number)
{
    ssize_t told = write(STDERR_FILENO, running, strlen(running));
    (void)told;
    abort();
}

/* What runs from now on has so much time. */
static void watch(const char *what, struct span name)
{
    snprintf(running, sizeof running, "does not come back: %s: %.*s\n", what, SPAN_ARGS(name));
    alarm(PATIENCE_S);
}

/* ---- the corpus ---- */

static bool cut_agrees(const struct tool_played *whole, const struct tool_played *cut,
                       const char *how, size_t at, struct buffer *why)
{
    if (cut->wrong[0])
        buffer_printf(why, "  %s %zu: %s\n", how, at, cut->wrong);
    else if (whole->result != cut->result)
        buffer_printf(why, "  %s %zu: the result is %d, whole %d\n", how, at, cut->result,
                      whole->result);
    else if (!span_eq(buffer_span(&whole->log), buffer_span(&cut->log)))
        buffer_printf(why, "  %s %zu it gives\n    %.*s\n  whole it gave\n    %.*s\n", how, at,
                      SPAN_ARGS(buffer_span(&cut->log)), SPAN_ARGS(buffer_span(&whole->log)));
    else
        return true;
    return false;
}

static bool random_cuts_agree(const struct tool_list *tools, struct span in,
                              const struct tool_played *whole, struct tool_played *cut,
                              struct tool_random *random, struct buffer *why)
{
    size_t cuts[64], n = 0, at = 0;
    size_t step = 1 + tool_random_below(random, 1 + in.n / 4);
    while (n < 64 && (at += tool_random_below(random, step + 1)) < in.n)
        cuts[n++] = at;
    tool_play(tools, in, cuts, n, cut);
    return cut_agrees(whole, cut, "at random, pieces of about", step / 2, why);
}

static bool every_cut_agrees(const struct tool_case *c, const struct tool_played *whole,
                             struct buffer *why)
{
    struct tool_played cut;
    struct tool_random random = {span_hash(SPAN_HASH, c->name) | 1};
    tool_played_init(&cut, &c->tools);
    tool_play_bytes(&c->tools, c->in, &cut);
    bool agrees = cut_agrees(whole, &cut, "byte by byte,", c->in.n, why);
    for (size_t at = 0; agrees && at <= c->in.n; at++) {
        tool_play(&c->tools, c->in, &at, 1, &cut);
        agrees = cut_agrees(whole, &cut, "cut at", at, why);
    }
    for (int i = 0; agrees && i < RANDOM_CUTS; i++)
        agrees = random_cuts_agree(&c->tools, c->in, whole, &cut, &random, why);
    tool_played_free(&cut);
    return agrees;
}

static bool is_wanted(const char *file, struct span name)
{
    char full[256];
    snprintf(full, sizeof full, "%s: %.*s", file, SPAN_ARGS(name));
    return !only || strstr(full, only);
}

/* Prints what is wrong with a case. */
static bool case_passes(const char *file, const struct tool_case *c)
{
    struct tool_played whole;
    struct buffer why;
    watch(file, c->name);
    buffer_init(&why, TEXT_MAX);
    tool_played_init(&whole, &c->tools);
    tool_play(&c->tools, c->in, NULL, 0, &whole);
    bool passes = tool_case_holds(c, &whole, &why);
    passes = every_cut_agrees(c, &whole, &why) && passes;
    if (!passes)
        fprintf(stderr, "%s: %.*s\n%.*s", file, SPAN_ARGS(c->name), SPAN_ARGS(buffer_span(&why)));
    tool_played_free(&whole);
    buffer_free(&why);
    return passes;
}

static void every_case_whole_and_cut_at_every_byte(void **state)
{
    size_t n_files, failed = 0, n = 0;
    struct tool_corpus *files = tool_corpus_read(&n_files);
    for (size_t i = 0; i < n_files; i++) {
        for (size_t k = 0; k < files[i].n; k++) {
            if (!is_wanted(files[i].file, files[i].cases[k].name))
                continue;
            n++;
            failed += !case_passes(files[i].file, &files[i].cases[k]);
        }
    }
    tool_corpus_free(files, n_files);
    if (failed)
        fail_msg("%zu of %zu cases fail", failed, n);
}

/* Nobody knows what is to be made of it, but it must not hang on the cuts. */
static bool mutant_holds(const struct tool_case *c, uint64_t seed, struct buffer *in,
                         struct buffer *why)
{
    struct tool_random random = {span_hash(seed, c->in) | 1};
    struct tool_played whole, cut;
    size_t times = 1 + tool_random_below(&random, 2);
    buffer_clear(in);
    tool_spoil(&random, c->in, in);
    for (size_t i = 1; i < times; i++) {
        struct buffer again = *in;
        buffer_init(in, TEXT_MAX);
        tool_spoil(&random, buffer_span(&again), in);
        buffer_free(&again);
    }
    tool_played_init(&whole, &c->tools);
    tool_played_init(&cut, &c->tools);
    tool_play(&c->tools, buffer_span(in), NULL, 0, &whole);
    bool holds = !whole.wrong[0];
    if (!holds)
        buffer_printf(why, "  %s\n", whole.wrong);
    tool_play_bytes(&c->tools, buffer_span(in), &cut);
    holds = cut_agrees(&whole, &cut, "byte by byte,", in->n, why) && holds;
    for (int i = 0; holds && i < RANDOM_CUTS; i++)
        holds = random_cuts_agree(&c->tools, buffer_span(in), &whole, &cut, &random, why);
    tool_played_free(&whole);
    tool_played_free(&cut);
    return holds;
}

static void spoilt_cases_do_not_hang_on_the_cuts_either(void **state)
{
    size_t n_files, failed = 0;
    struct buffer in, why;
    struct tool_corpus *files = tool_corpus_read(&n_files);
    buffer_init(&in, TEXT_MAX);
    buffer_init(&why, TEXT_MAX);
    for (size_t i = 0; i < n_files; i++) {
        for (size_t k = 0; k < files[i].n * mutants; k++) {
            const struct tool_case *c = &files[i].cases[k / mutants];
            if (!is_wanted(files[i].file, c->name))
                continue;
            watch("a spoilt case", c->name);
            buffer_clear(&why);
            if (mutant_holds(c, k, &in, &why))
                continue;
            if (failed++ < 20)
                fprintf(stderr, "%s: %.*s, spoilt %zu:\n  in\n    [%.*s]\n%.*s", files[i].file,
                        SPAN_ARGS(c->name), k, SPAN_ARGS(buffer_span(&in)),
                        SPAN_ARGS(buffer_span(&why)));
        }
    }
    buffer_free(&in);
    buffer_free(&why);
    tool_corpus_free(files, n_files);
    assert_int_equal(failed, 0);
}

static void the_corpus_is_large_and_no_case_is_there_twice(void **state)
{
    size_t n_files, n = 0, open = 0;
    struct tool_corpus *files = tool_corpus_read(&n_files);
    static uint64_t seen[4096];
    for (size_t i = 0; i < n_files; i++) {
        for (size_t k = 0; k < files[i].n; k++) {
            const struct tool_case *c = &files[i].cases[k];
            uint64_t hash = span_hash(SPAN_HASH, c->in);
            for (size_t j = 0; j < n; j++) {
                if (seen[j] == hash)
                    fail_msg("%s: \"%.*s\" is there twice", files[i].file, SPAN_ARGS(c->name));
            }
            assert_true(n < sizeof seen / sizeof *seen);
            seen[n++] = hash;
            open += c->open;
        }
    }
    tool_corpus_free(files, n_files);
    assert_true(n - open >= 300);
}

/* ---- random text around random calls ---- */

struct mix {
    struct buffer in;
    struct buffer texts; /* what `expected` points into, by offset */
    struct {
        enum tool_item_kind kind;
        struct span name;
        size_t at, n;
    } expected[32];
    size_t n;
};

static void expect(struct mix *m, enum tool_item_kind kind, struct span name, struct span text)
{
    if (!text.n)
        return;
    bool goes_on = kind == ITEM_TEXT && m->n && m->expected[m->n - 1].kind == ITEM_TEXT;
    if (!goes_on) {
        assert_true(m->n < sizeof m->expected / sizeof *m->expected);
        m->expected[m->n].kind = kind;
        m->expected[m->n].name = name;
        m->expected[m->n].at = m->texts.n;
        m->expected[m->n++].n = 0;
    }
    buffer_append(&m->texts, text);
    m->expected[m->n - 1].n += text.n;
}

static void add_text(struct mix *m, struct tool_random *random, bool at_the_beginning)
{
    size_t start = m->in.n;
    if (!at_the_beginning)
        buffer_append(&m->in, SPAN("\n"));
    tool_random_text(random, &m->in);
    buffer_append(&m->in, SPAN("\n"));
    expect(m, ITEM_TEXT, span_of(NULL, 0), span_from(buffer_span(&m->in), start));
}

static void add_call(struct mix *m, struct tool_random *random)
{
    struct buffer arguments;
    buffer_init(&arguments, TEXT_MAX);
    struct span name = tool_random_call(random, &m->in, &arguments);
    expect(m, ITEM_CALL, name, buffer_span(&arguments));
    buffer_free(&arguments);
}

static void make_mix(struct mix *m, struct tool_random *random)
{
    size_t calls = tool_random_below(random, 4);
    m->n = 0;
    buffer_clear(&m->in);
    buffer_clear(&m->texts);
    add_text(m, random, true);
    for (size_t i = 0; i < calls; i++) {
        add_call(m, random);
        if (tool_random_below(random, 3))
            add_text(m, random, false);
        else
            buffer_append(&m->in, SPAN(" \n\n")); /* nobody's, before a call or the end */
    }
}

static bool mix_holds(const struct mix *m, const struct tool_played *p, struct buffer *why)
{
    struct tool_item items[32];
    struct tool_case c = {.items = items, .n_items = m->n};
    for (size_t i = 0; i < m->n; i++)
        items[i] = (struct tool_item){m->expected[i].kind, m->expected[i].name,
                                      span_of(m->texts.p + m->expected[i].at, m->expected[i].n)};
    return tool_case_holds(&c, p, why);
}

static void all_text_and_all_calls_of_random_mixes(void **state)
{
    struct mix m = {0};
    struct tool_played whole, cut;
    struct arena arena;
    struct tool_list tools;
    struct buffer why;
    size_t failed = 0;
    arena_init(&arena);
    tool_corpus_tools(&arena, &tools);
    tool_played_init(&whole, &tools);
    tool_played_init(&cut, &tools);
    buffer_init(&m.in, TEXT_MAX);
    buffer_init(&m.texts, TEXT_MAX);
    buffer_init(&why, TEXT_MAX);
    for (uint64_t seed = 1; seed <= MIXES && !only; seed++) {
        struct tool_random random = {seed * UINT64_C(0x9E3779B97F4A7C15)};
        buffer_clear(&why);
        watch("a random mix", span_of(NULL, 0));
        make_mix(&m, &random);
        struct span in = buffer_span(&m.in);
        tool_play(&tools, in, NULL, 0, &whole);
        bool holds = mix_holds(&m, &whole, &why);
        tool_play_bytes(&tools, in, &cut);
        holds = cut_agrees(&whole, &cut, "byte by byte,", in.n, &why) && holds;
        for (int i = 0; holds && i < RANDOM_CUTS; i++)
            holds = random_cuts_agree(&tools, in, &whole, &cut, &random, &why);
        if (!holds && failed++ < 20)
            fprintf(stderr, "seed %llu:\n  in\n    [%.*s]\n%.*s", (unsigned long long)seed,
                    SPAN_ARGS(in), SPAN_ARGS(buffer_span(&why)));
    }
    buffer_free(&m.in);
    buffer_free(&m.texts);
    buffer_free(&why);
    tool_played_free(&whole);
    tool_played_free(&cut);
    arena_free(&arena);
    if (failed)
        fail_msg("%zu of %d mixes fail; the first seeds are above", failed, MIXES);
}

/* ---- nothing waits that need not ---- */

/* Feeds byte by byte and looks at what is held after each: it must be what may begin a mark. */
static bool passes_at_once(const struct tool_list *tools, struct span in)
{
    struct tool_played p;
    tool_played_init(&p, tools);
    struct tool_event_sink sink = tool_played_sink(&p);
    struct tool_parser *parser = tool_parser_create(tools);
    bool passes = true;
    assert_non_null(parser);
    for (size_t i = 1; passes && i <= in.n; i++) {
        assert_int_equal(tool_parser_feed(parser, span_of(in.p + i - 1, 1), &sink), 0);
        passes = p.text.n <= i && tool_may_be_held(span_first(in, i), i - p.text.n);
        if (!passes)
            fprintf(stderr, "held: [%.*s] of [%.*s]\n", (int)(i - p.text.n), in.p + p.text.n,
                    (int)(i < SHOWN_MAX ? i : SHOWN_MAX),
                    in.p + (i < SHOWN_MAX ? 0 : i - SHOWN_MAX));
    }
    tool_parser_destroy(parser);
    tool_played_free(&p);
    return passes;
}

static void text_without_marks_is_never_held(void **state)
{
    struct arena arena;
    struct tool_list tools;
    struct buffer text;
    size_t failed = 0;
    arena_init(&arena);
    tool_corpus_tools(&arena, &tools);
    buffer_init(&text, TEXT_MAX);
    for (uint64_t seed = 1; seed <= PROSES && !only; seed++) {
        struct tool_random random = {seed * UINT64_C(0xD1B54A32D192ED03)};
        buffer_clear(&text);
        watch("random prose", span_of(NULL, 0));
        tool_random_prose(&random, &text);
        failed += !passes_at_once(&tools, buffer_span(&text));
        buffer_clear(&text);
        tool_random_lookalikes(&random, &text);
        failed += !passes_at_once(&tools, buffer_span(&text));
    }
    buffer_free(&text);
    arena_free(&arena);
    assert_int_equal(failed, 0);
}

/* ---- sizes ---- */

/* `open` n times, `middle`, `close` n times, between a head and a tail. */
static void nest(struct buffer *out, struct span head, struct span open, size_t n,
                 struct span middle, struct span close, struct span tail)
{
    buffer_clear(out);
    buffer_append(out, head);
    for (size_t i = 0; i < n; i++)
        buffer_append(out, open);
    buffer_append(out, middle);
    for (size_t i = 0; i < n; i++)
        buffer_append(out, close);
    buffer_append(out, tail);
}

static void play_pieces(const struct tool_list *tools, struct span in, size_t piece,
                        struct tool_played *out)
{
    size_t n = in.n / piece;
    size_t *cuts = calloc(n + 1, sizeof *cuts);
    assert_non_null(cuts);
    for (size_t i = 0; i < n; i++)
        cuts[i] = (i + 1) * piece;
    tool_play(tools, in, cuts, n, out);
    free(cuts);
    if (out->wrong[0])
        fail_msg("%s", out->wrong);
}

static void deep_and_large_calls(void **state)
{
    struct arena arena;
    struct tool_list tools;
    struct buffer in;
    struct tool_played p;
    arena_init(&arena);
    tool_corpus_tools(&arena, &tools);
    tool_played_init(&p, &tools);
    buffer_init(&in, TEXT_MAX);
    watch("deep and large calls", span_of(NULL, 0));

    /* nested as deep as no schema is */
    nest(&in, SPAN("<tool_call>{\"name\": \"remember\", \"arguments\": {\"a\": "),
         SPAN("[{\"b\": "), 100, SPAN("1"), SPAN("}]"), SPAN("}}</tool_call>"));
    play_pieces(&tools, buffer_span(&in), 7, &p);
    assert_int_equal(p.n_items, 1);
    assert_int_equal(p.items[0].kind, ITEM_CALL);

    /* half a megabyte of content in one argument, and more behind it */
    nest(&in,
         SPAN("<tool_call>{\"name\": \"write_file\", \"arguments\": {\"path\": \"a\", "
              "\"content\": \""),
         SPAN("all work and no play\\n"), 25000, SPAN("\"}}</tool_call> so"), SPAN(""), SPAN(""));
    play_pieces(&tools, buffer_span(&in), 4000, &p);
    assert_int_equal(p.n_items, 2);
    assert_int_equal(p.items[0].kind, ITEM_CALL);
    assert_true(p.items[0].n > 25000 * 22);
    assert_span_equal(tool_played_text(&p, 1), SPAN(" so"));

    /* arguments before the name are held, up to a limit; what is more is text */
    nest(&in, SPAN("<tool_call>{\"arguments\": {\"city\": \""), SPAN("x"), TOOL_HELD_MAX / 2,
         SPAN("\"}, \"name\": \"get_weather\"}</tool_call>"), SPAN(""), SPAN(""));
    play_pieces(&tools, buffer_span(&in), 4000, &p);
    assert_int_equal(p.n_items, 1);
    assert_int_equal(p.items[0].kind, ITEM_CALL);
    nest(&in, SPAN("<tool_call>{\"arguments\": {\"city\": \""), SPAN("x"), TOOL_HELD_MAX + 1,
         SPAN("\"}, \"name\": \"get_weather\"}</tool_call>"), SPAN(""), SPAN(""));
    play_pieces(&tools, buffer_span(&in), 4000, &p);
    assert_int_equal(p.n_items, 1);
    assert_span_equal(tool_played_text(&p, 0), buffer_span(&in));

    /* white space behind a call is its text's, however much it is */
    nest(&in, SPAN("<tool_call>{\"name\": \"get_time\"}</tool_call>"), SPAN(" \n"), 100000,
         SPAN("so"), SPAN(""), SPAN(""));
    play_pieces(&tools, buffer_span(&in), 4000, &p);
    assert_int_equal(p.n_items, 2);
    assert_int_equal(p.items[1].n, 200002);

    tool_played_free(&p);
    buffer_free(&in);
    arena_free(&arena);
}

/* ---- hostile input ---- */

struct count {
    size_t text, arguments;
};

static int count_bytes(void *owner, const struct tool_event *e)
{
    struct count *c = owner;
    if (e->kind == TOOL_TEXT)
        c->text += e->text.n;
    if (e->kind == TOOL_ARGUMENTS)
        c->arguments += e->text.n;
    return 0;
}

static int64_t used_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* SIZE bytes of one beginning, over and over: what is no call leaves, in time that grows with the
 * length only. The bound is generous; a quadratic parser misses it a hundredfold. */
static void play_beginnings(const struct tool_list *tools, struct span beginning, size_t size)
{
    enum { PIECE = 1500, LIMIT_MS = 4000 };
    struct buffer in;
    struct count count = {0};
    struct tool_event_sink sink = {count_bytes, &count};
    struct tool_parser *parser = tool_parser_create(tools);
    watch("half a megabyte", beginning);
    assert_non_null(parser);
    buffer_init(&in, TEXT_MAX);
    while (in.n < size)
        assert_int_equal(buffer_append(&in, beginning), 0);
    int64_t start = used_ms();
    for (size_t at = 0; at < in.n; at += PIECE)
        assert_int_equal(
            tool_parser_feed(parser, span_first(span_from(buffer_span(&in), at), PIECE), &sink), 0);
    int end = tool_parser_end(parser, &sink);
    assert_true(end == TOOL_PARSER_OK || end == TOOL_PARSER_HALF);
    if (used_ms() - start > LIMIT_MS)
        fail_msg("%zu bytes of %.*s took too long", in.n, SPAN_ARGS(beginning));
    if (!tool_parser_calls(parser) && count.text != in.n)
        fail_msg("of %zu bytes of %.*s only %zu left", in.n, SPAN_ARGS(beginning), count.text);
    tool_parser_destroy(parser);
    buffer_free(&in);
}

static void half_a_megabyte_of_beginnings_takes_no_time(void **state)
{
    static const struct span beginnings[] = {
        SPAN_INIT("<tool_"),
        SPAN_INIT("{"),
        SPAN_INIT("["),
        SPAN_INIT("`"),
        SPAN_INIT("<"),
        SPAN_INIT("<tool_call>"),
        SPAN_INIT("<tool_call>{"),
        SPAN_INIT("<tool_call>{\"name\": "),
        SPAN_INIT("<tool_call>{\"name\": \"nobody\", "),
        SPAN_INIT("<tool_call>{\"arguments\": {\"a\": "),
        SPAN_INIT("<function="),
        SPAN_INIT("<function=get_time"),
        SPAN_INIT("<|"),
        SPAN_INIT("<｜"),
        SPAN_INIT("[TOOL_CALLS]"),
        SPAN_INIT("[TOOL_CALLS] ["),
        SPAN_INIT("\"\\\""),
        SPAN_INIT("```\n<tool_call>"),
        SPAN_INIT("Action: "),
        SPAN_INIT("Action: get_time\n"),
        SPAN_INIT("{\"tool_calls\": ["),
        SPAN_INIT("{\"name\": \"get_time\", "),
        SPAN_INIT(" "),
        SPAN_INIT("<read_file>"),
        SPAN_INIT("<read_file><path>"),
        SPAN_INIT("functools["),
        SPAN_INIT("<|channel|>"),
        SPAN_INIT("[get_time("),
        SPAN_INIT("```tool_code\n"),
        SPAN_INIT("<tool_call>get_time<arg_key>"),
    };
    struct arena arena;
    struct tool_list tools;
    arena_init(&arena);
    tool_corpus_tools(&arena, &tools);
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings && !only; i++)
        play_beginnings(&tools, beginnings[i], 512 * 1024);
    arena_free(&arena);
}

/* At each '<' it is asked whether one of them begins there. */
static void as_many_tools_as_there_may_be_take_no_time(void **state)
{
    static const struct span beginnings[] = {
        SPAN_INIT("<"),          SPAN_INIT("</"),
        SPAN_INIT("<t"),         SPAN_INIT("<tool_1"),
        SPAN_INIT("<tool_9999"), SPAN_INIT("<tool_call>{\"name\": \"tool_\"}"),
    };
    static struct tool list[TOOLS_MAX];
    static char names[TOOLS_MAX][24];
    const struct tool_list tools = {list, TOOLS_MAX};
    for (int i = 0; i < TOOLS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "tool_%d", i);
        list[i] = (struct tool){.name = span_str(names[i]), .takes_others = true};
    }
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings && !only; i++)
        play_beginnings(&tools, beginnings[i], 2 * 512 * 1024);
}

/* ---- a sink that has enough ---- */

struct refusal {
    int left;
    int asked_after;
};

static int refuse(void *owner, const struct tool_event *e)
{
    struct refusal *r = owner;
    if (r->left < 0)
        r->asked_after++;
    return r->left-- > 0 ? 0 : 77;
}

static void a_refusal_stops_it_and_is_handed_back(void **state)
{
    static const struct span in =
        SPAN_INIT("One. <tool_call>{\"name\": \"get_weather\", \"arguments\": {\"city\": "
                  "\"Paris\"}}</tool_call> Two. <tool_call>{\"name\": \"get_time\"}</tool_call>.");
    struct arena arena;
    struct tool_list tools;
    watch("a refusal", span_of(NULL, 0));
    arena_init(&arena);
    tool_corpus_tools(&arena, &tools);
    for (int events = 0; events < 6; events++) {
        struct refusal r = {events, 0};
        struct tool_event_sink sink = {refuse, &r};
        struct tool_parser *parser = tool_parser_create(&tools);
        assert_non_null(parser);
        int result = 0;
        for (size_t i = 0; i < in.n && !result; i++)
            result = tool_parser_feed(parser, span_of(in.p + i, 1), &sink);
        assert_int_equal(result, 77);
        assert_int_equal(r.asked_after, 0);
        tool_parser_destroy(parser);
    }
    arena_free(&arena);
}

int main(int argc, char **argv)
{
    only = argc > 1 && argv[1][0] ? argv[1] : NULL;
    mutants = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : mutants;
    signal(SIGALRM, tell_and_die);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_corpus_is_large_and_no_case_is_there_twice),
        cmocka_unit_test(every_case_whole_and_cut_at_every_byte),
        cmocka_unit_test(spoilt_cases_do_not_hang_on_the_cuts_either),
        cmocka_unit_test(all_text_and_all_calls_of_random_mixes),
        cmocka_unit_test(text_without_marks_is_never_held),
        cmocka_unit_test(deep_and_large_calls),
        cmocka_unit_test(half_a_megabyte_of_beginnings_takes_no_time),
        cmocka_unit_test(as_many_tools_as_there_may_be_take_no_time),
        cmocka_unit_test(a_refusal_stops_it_and_is_handed_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
