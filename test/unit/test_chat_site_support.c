/*
 * test/unit/test_chat_site_support.c - what chat sites share: prompts with a site's own marks,
 * texts that come whole again and again, sources and their marks, wishes in model ids, pictures.
 */
#include "adapters/support.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/fixture.h"
#include "test/unit/support/transcript.h"

/* ---- digests ---- */

/* RFC 1321, A.5, and FIPS 180-2; nothing is something too. */
static void digests(void **state)
{
    assert_span_equal(md5_hex(&test_arena, span_of(NULL, 0)),
                      SPAN("d41d8cd98f00b204e9800998ecf8427e"));
    assert_span_equal(md5_hex(&test_arena, SPAN("message digest")),
                      SPAN("f96b697d7cb7938d525a2f31aaf161d0"));
    assert_span_equal(sha256_hex(&test_arena, SPAN("abc")),
                      SPAN("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    struct span raw = hmac_sha256(&test_arena, SPAN("Jefe"), SPAN("what do ya want for nothing?"));
    assert_int_equal(raw.n, 32);
    assert_span_equal(hex_encode(&test_arena, raw),
                      SPAN("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
}

static void ids(void **state)
{
    unsigned char next = 0xF8;
    struct turn_run run = {
        .fail = &(struct fail){0}, .arena = &test_arena, .random = count_up, .random_owner = &next};
    assert_span_equal(make_hex_id(&run), SPAN("f8f9fafbfcfdfeff0001020304050607"));
    static char long_id[129];
    memset(long_id, 'a', sizeof long_id);
    const struct span bad[] = {SPAN(""),    SPAN("."),   SPAN(".."), SPAN("a/b"),
                               SPAN("a?b"), SPAN("a b"), SPAN("ä"),  span_of(long_id, 129)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(is_path_id(bad[i]));
    assert_true(is_path_id(span_of(long_id, 128)));
    assert_true(is_path_id(SPAN("Az09-_")));
}

/* By which a conversation is gone on with; what is no id never gets into a path. */
static void ids_of_a_conversation(void **state)
{
    struct turn_run run = {.fail = &(struct fail){0}, .arena = &test_arena};
    struct span got[3];
    char full[PATH_ID_MAX];
    memset(full, 'a', sizeof full);
    assert_int_equal(read_conversation(&run, "a.example", got, 3), 0); /* a new one */
    const struct span told[] = {span_of(full, sizeof full), SPAN("b-2"), SPAN("c")};
    tell_conversation(&run, told, 3);
    run.conversation = run.conversation_end;
    assert_int_equal(read_conversation(&run, "a.example", got, 3), 1);
    for (size_t i = 0; i < 3; i++)
        assert_span_equal(got[i], told[i]);
    assert_int_equal(read_conversation(&run, "a.example", got, 2), -1);
    assert_int_equal(run.fail->kind, FAIL_PROTOCOL);
    assert_non_null(strstr(run.fail->message, "a.example"));

    static const char *const wrong[] = {"a/b", "a/b/c/", "a/b/c/d", "a//c", "/b/c", "a/b/..", "/"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        run.conversation = span_str(wrong[i]);
        assert_int_equal(read_conversation(&run, "a.example", got, 3), -1);
    }
    run.conversation_end = span_of(NULL, 0);
    tell_conversation(&run, (struct span[]){SPAN("a"), SPAN("")}, 2);
    tell_conversation(&run, (struct span[]){SPAN("a/b"), SPAN("c")}, 2);
    tell_conversation(&run, (struct span[]){SPAN("a"), span_of(NULL, 0)}, 2);
    assert_int_equal(run.conversation_end.n, 0);
}

static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
static bool is_lower_or_dot(char c) { return is_lower(c) || c == '.'; }

static void names_that_a_site_takes(void **state)
{
    const struct span long_name = SPAN("....5....1....5....2....5....3....5....4....5....5....5...."
                                       "6....5....7....5....8....5....9....5....0....5....1....5");
    assert_span_equal(make_legal_name(&test_arena, SPAN("my.tool"), is_lower, NULL),
                      SPAN("my_tool_efdaa471"));
    /* one for each character, and what the first may not be */
    struct span odd = make_legal_name(&test_arena, SPAN(".\xC3\xBC!"), is_lower_or_dot, is_lower);
    assert_true(span_starts(odd, SPAN("_.___")));
    assert_int_equal(odd.n, 5 + 8);
    struct span nothing = make_legal_name(&test_arena, SPAN(""), is_lower, is_lower);
    assert_true(span_starts(nothing, SPAN("__")));
    assert_int_equal(nothing.n, 2 + 8);
    struct span cut = make_legal_name(&test_arena, long_name, is_lower_or_dot, is_lower);
    assert_int_equal(cut.n, 100 + 1 + 8);
    /* what differs behind the cut, or in refused characters alone, stays different */
    struct span other =
        make_legal_name(&test_arena, span_first(long_name, 110), is_lower_or_dot, is_lower);
    assert_true(span_eq(span_first(cut, 101), span_first(other, 101)));
    assert_false(span_eq(cut, other));
    assert_false(span_eq(make_legal_name(&test_arena, SPAN("a!"), is_lower, NULL),
                         make_legal_name(&test_arena, SPAN("a?"), is_lower, NULL)));
}

static void note_drift(void *owner, const char *kind)
{
    struct span *last = owner;
    *last = span_str(kind);
}

static void reasons_to_stop(void **state)
{
    static const struct stop_row rows[] = {{SPAN_INIT("full"), SPAN_INIT("length")},
                                           {SPAN_INIT("failed"), SPAN_INIT("")}};
    struct span drift = SPAN("");
    struct turn_run run = {.fail = &(struct fail){0}, .drift = note_drift, .drift_owner = &drift};
    assert_span_equal(stop_reason_of(&run, rows, 2, SPAN("full")), SPAN("length"));
    assert_span_equal(stop_reason_of(&run, rows, 2, SPAN("failed")), SPAN(""));
    assert_span_equal(stop_reason_of(&run, rows, 2, SPAN("")), SPAN("stop"));
    assert_span_equal(drift, SPAN(""));
    assert_span_equal(stop_reason_of(&run, rows, 2, SPAN("ful")), SPAN("stop"));
    assert_span_equal(drift, SPAN("unknown stop_reason"));
}

static void a_posted_form(void **state)
{
    unsigned char next = 0;
    struct turn_run run = {
        .fail = &(struct fail){0}, .arena = &test_arena, .random = count_up, .random_owner = &next};
    struct site_request req = {0};
    struct buffer body;
    struct multipart form = {&body, SPAN("b")};
    buffer_init(&body, 1 << 10);
    multipart_field(&form, SPAN("k"), SPAN("v"));
    assert_true(multipart_post(&run, &req, &form));
    assert_string_equal(req.method, "POST");
    assert_int_equal(req.framing, FRAMING_WHOLE);
    assert_span_equal(transcript_header(&req, "Content-Type"),
                      SPAN("multipart/form-data; boundary=b"));
    assert_span_equal(req.body, SPAN("--b\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n"
                                     "v\r\n--b--\r\n"));
    buffer_init(&body, 8); /* nothing half goes out */
    multipart_field(&form, SPAN("k"), SPAN("v"));
    assert_false(multipart_post(&run, &req, &form));
    buffer_init(&body, 1 << 10);
    form.boundary = span_of(NULL, 0);
    assert_false(multipart_post(&run, &req, &form));
}

/* ---- prompts ---- */

#define USER(text)      "{\"role\":\"user\",\"content\":\"" text "\"}"
#define ASSISTANT(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"
#define SYSTEM(text)    "{\"role\":\"system\",\"content\":\"" text "\"}"
#define CALL                                                                                       \
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":"            \
    "\"function\",\"function\":{\"name\":\"get\",\"arguments\":\"{}\"}}]},"                        \
    "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"42\"}"
#define CALL_TEXT   "<tool_call>{\"name\": \"get\", \"arguments\": {}, \"id\": \"c1\"}</tool_call>"
#define RESULT_TEXT "<tool_result id=\"c1\" name=\"get\">42</tool_result>"
#define PICTURE     "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}}"

/* The four ways of issue 5's sites, as their adapters give them. */
static const struct prompt_marks lines = {
    .head = {SPAN_INIT("system"), SPAN_INIT("user"), SPAN_INIT("assistant"), SPAN_INIT("tool")},
    .tail = SPAN_INIT(":"),
    .between = SPAN_INIT("\n"),
};
static const struct prompt_marks tokens = {
    .head = {SPAN_INIT("<|system|>"), SPAN_INIT("<|user|>"), SPAN_INIT("<|assistant|>"),
             SPAN_INIT("<|user|>")},
    .tail = SPAN_INIT("\n"),
    .between = SPAN_INIT("\n"),
    .answer = SPAN_INIT("\n<|assistant|>\n"),
};
static const struct prompt_marks blocks = {
    .head = {SPAN_INIT("System"), SPAN_INIT("User"), SPAN_INIT("Assistant"), SPAN_INIT("Tool")},
    .tail = SPAN_INIT(": "),
    .between = SPAN_INIT("\n\n"),
    .answer = SPAN_INIT("\n\nAssistant:"),
    .number_pictures = true,
};
static const struct prompt_marks human = {
    .head = {SPAN_INIT("System"), SPAN_INIT("Human"), SPAN_INIT("Assistant"), SPAN_INIT("Human")},
    .tail = SPAN_INIT(": "),
    .between = SPAN_INIT("\n\n"),
    .joined = SPAN_INIT("\n"),
    .answer = SPAN_INIT("\n\nAssistant:"),
    .bare_opening = true,
};

static struct span flat(const struct prompt_marks *marks, const char *messages)
{
    struct span body = arena_printf(&test_arena, "{\"model\":\"m\",\"messages\":[%s]}", messages);
    const struct turn *turn = transcript_turn(&test_arena, body.p);
    return flatten_with(&test_arena, marks, turn->messages, turn->n_messages);
}

static void each_site_marks_turns_its_own_way(void **state)
{
#define TALK SYSTEM("S") "," USER("a\\nb") "," ASSISTANT("c") "," SYSTEM("late") "," USER("d")
    assert_span_equal(flat(&lines, TALK),
                      SPAN("system:S\nuser:a\nb\nassistant:c\nsystem:late\nuser:d"));
    assert_span_equal(flat(&tokens, TALK),
                      SPAN("<|system|>\nS\n<|user|>\na\nb\n<|assistant|>\nc\n<|system|>\nlate\n"
                           "<|user|>\nd\n<|assistant|>\n"));
    assert_span_equal(flat(&blocks, TALK), SPAN("System: S\n\nUser: a\nb\n\nAssistant: c\n\n"
                                                "System: late\n\nUser: d\n\nAssistant:"));
    assert_span_equal(flat(&human, TALK), SPAN("S\n\nHuman: a\nb\n\nAssistant: c\n\nSystem: late"
                                               "\n\nHuman: d\n\nAssistant:"));
}

static void a_single_user_turn_has_no_marks(void **state)
{
    const struct prompt_marks *all[] = {&lines, &tokens, &blocks, &human};
    for (size_t i = 0; i < 4; i++) {
        assert_span_equal(flat(all[i], USER(" as it\\nis ")), SPAN(" as it\nis "));
        assert_span_equal(flat(all[i], USER("")), SPAN(""));
        assert_non_null(flat(all[i], USER("")).p);
    }
}

static void a_prefill_stands_open(void **state)
{
#define PREFILL USER("Count") "," ASSISTANT("One, ")
    assert_span_equal(flat(&lines, PREFILL), SPAN("user:Count\nassistant:One, "));
    assert_span_equal(flat(&tokens, PREFILL), SPAN("<|user|>\nCount\n<|assistant|>\nOne, "));
    assert_span_equal(flat(&blocks, PREFILL), SPAN("User: Count\n\nAssistant: One, "));
    assert_span_equal(flat(&human, PREFILL), SPAN("Human: Count\n\nAssistant: One, "));
}

static void calls_and_results_have_their_common_form(void **state)
{
    assert_span_equal(flat(&tokens, USER("w") "," CALL),
                      SPAN("<|user|>\nw\n<|assistant|>\n" CALL_TEXT "\n<|user|>\n" RESULT_TEXT
                           "\n<|assistant|>\n"));
    assert_span_equal(
        flat(&blocks, USER("w") "," CALL),
        SPAN("User: w\n\nAssistant: " CALL_TEXT "\n\nTool: " RESULT_TEXT "\n\nAssistant:"));
    /* joined with what the person says next: both are the human's */
    assert_span_equal(
        flat(&human, USER("w") "," CALL "," USER("and?")),
        SPAN("Human: w\n\nAssistant: " CALL_TEXT "\n\nHuman: " RESULT_TEXT "\nand?\n\nAssistant:"));
}

static void neighbours_are_joined_only_where_the_site_wants_it(void **state)
{
    assert_span_equal(flat(&human, SYSTEM("S") "," SYSTEM("T") "," USER("a") "," USER("b")),
                      SPAN("S\nT\n\nHuman: a\nb\n\nAssistant:"));
    assert_span_equal(flat(&lines, USER("a") "," USER("b")), SPAN("user:a\nuser:b"));
    /* whoever has a name is nobody else */
    assert_span_equal(flat(&human, "{\"role\":\"user\",\"name\":\"Ann\",\"content\":\"a\"},"
                                   "{\"role\":\"user\",\"name\":\"Bob\",\"content\":\"b\"}"),
                      SPAN("Human (Ann): a\n\nHuman (Bob): b\n\nAssistant:"));
    assert_span_equal(flat(&tokens, "{\"role\":\"user\",\"name\":\"Ann\",\"content\":\"a\"}"),
                      SPAN("<|user|> (Ann)\na\n<|assistant|>\n"));
    assert_span_equal(
        flat(&human, "{\"role\":\"system\",\"name\":\"Law\",\"content\":\"S\"}," USER("a")),
        SPAN("System (Law): S\n\nHuman: a\n\nAssistant:"));
    assert_span_equal(flat(&human, SYSTEM("only")), SPAN("only\n\nAssistant:"));
}

static void pictures_are_numbered_where_they_stood(void **state)
{
    assert_span_equal(
        flat(&blocks, "{\"role\":\"user\",\"content\":[" PICTURE
                      ",{\"type\":\"text\",\"text\":\"this\"}," PICTURE
                      "]}," ASSISTANT("x") ",{\"role\":\"user\",\"content\":[" PICTURE "]}"),
        SPAN("User: [image 1]\nthis\n[image 2]\n\nAssistant: x\n\nUser: [image 3]\n\nAssistant:"));
    assert_span_equal(flat(&blocks, "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                                    "\"see\"}," PICTURE "]}"),
                      SPAN("see\n[image 1]"));
    assert_span_equal(flat(&tokens, "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                                    "\"see\"}," PICTURE "]}"),
                      SPAN("see"));
}

/* ---- texts that come whole ---- */

static void only_what_is_new_is_sent(void **state)
{
    static const struct {
        const char *whole;
        enum growth growth;
        const char *fresh;
    } rows[] = {
        {"", GROWTH_SAME, ""},
        {"Hel", GROWTH_MORE, "Hel"},
        {"Hel", GROWTH_SAME, ""},
        {"Hello", GROWTH_MORE, "lo"},
        {"He", GROWTH_SHRUNK, ""},
        {"", GROWTH_SHRUNK, ""},
        {"Hella", GROWTH_EDITED, ""},
        {"Jello, you", GROWTH_EDITED, ""},
        {"Jel", GROWTH_EDITED, ""},
        {"Hello, you", GROWTH_MORE, ", you"}, /* what was odd in between changed nothing */
    };
    struct growing g;
    struct span fresh;
    growing_init(&g, 64);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(growing_whole(&g, span_str(rows[i].whole), &fresh), rows[i].growth);
        assert_span_equal(fresh, span_str(rows[i].fresh));
    }
    growing_append(&g, SPAN("!"));
    assert_int_equal(growing_whole(&g, SPAN("Hello, you!?"), &fresh), GROWTH_MORE);
    assert_span_equal(fresh, SPAN("?"));
    growing_restart(&g, SPAN("anew"));
    assert_int_equal(growing_whole(&g, SPAN("anew."), &fresh), GROWTH_MORE);
    assert_span_equal(fresh, SPAN("."));
    growing_free(&g);
}

/* Halves of one character come in two pieces, and the whole text with it joined. */
static void surrogates_that_meet_are_one_character(void **state)
{
    struct growing g;
    struct span fresh;
    growing_init(&g, 64);
    growing_append(&g, SPAN("x\xED\xA0\xBC"));
    growing_append(&g, SPAN("\xED\xBE\x90y"));
    assert_span_equal(buffer_span(&g.sent), SPAN("x🎐y"));
    growing_append(&g, SPAN("\xED\xA0\xBC"));
    growing_append(&g, SPAN("海")); /* it stays alone */
    assert_int_equal(growing_whole(&g, SPAN("x🎐y\xED\xA0\xBC海."), &fresh), GROWTH_MORE);
    assert_span_equal(fresh, SPAN("."));
    growing_free(&g);
}

static void a_text_above_the_limit_says_so(void **state)
{
    struct growing g;
    struct span fresh;
    growing_init(&g, 4);
    growing_whole(&g, SPAN("12345"), &fresh);
    assert_int_equal(g.sent.error, BUFFER_FULL);
    growing_free(&g);
}

static void lengths_in_characters(void **state)
{
    assert_int_equal(utf8_characters(SPAN("")), 0);
    assert_int_equal(utf8_characters(SPAN("aä海🎐")), 4);
    assert_span_equal(before_torn(SPAN("海\xEF\xBF\xBD内\xEF\xBF\xBD")), SPAN("海"));
    assert_span_equal(before_torn(SPAN("海内")), SPAN("海内"));
    assert_span_equal(before_torn(SPAN("")), SPAN(""));
}

/* ---- sources and marks ---- */

static int collect(void *owner, const struct delta *d)
{
    assert_int_equal(d->kind, DELTA_CITATION);
    return buffer_printf(owner, "%.*s=%.*s;", SPAN_ARGS(d->title), SPAN_ARGS(d->url));
}

static struct buffer cited;

static struct span citations(const struct sources *s)
{
    struct delta_sink sink = {.put = collect, .owner = &cited};
    buffer_init(&cited, 1 << 16);
    assert_int_equal(sources_cite(s, &sink), 0);
    struct span text = arena_dup(&test_arena, buffer_span(&cited));
    buffer_free(&cited);
    return text;
}

static struct sources three(void)
{
    struct sources s = {0};
    sources_add(&test_arena, &s, SPAN("turn0search0"), SPAN("A"), SPAN("https://a.example/"));
    sources_add(&test_arena, &s, SPAN("turn0search1"), SPAN("B"), SPAN("https://b.example/(x) y"));
    sources_add(&test_arena, &s, SPAN(""), SPAN("C"), SPAN("https://c.example/"));
    return s;
}

/* `text` through the filter in pieces of `step` bytes. */
static struct span filtered(struct sources *s, struct span text, size_t step)
{
    struct mark_filter f;
    struct buffer out;
    buffer_init(&out, 1 << 16);
    mark_filter_init(&f, 1 << 16);
    for (size_t at = 0; at < text.n; at += step)
        mark_filter_feed(&f, s, span_first(span_from(text, at), step), &out);
    mark_filter_feed(&f, s, SPAN(""), &out);
    mark_filter_flush(&f, &out);
    assert_int_equal(out.error, 0);
    struct span result = arena_dup(&test_arena, buffer_span(&out));
    buffer_free(&out);
    mark_filter_free(&f);
    return result;
}

static void marks_become_links_at_every_split(void **state)
{
    static const struct {
        const char *text, *wanted, *plain, *cited;
    } rows[] = {
        {"x【turn0search1】 y【turn0search0】【turn0search1】",
         "x [1](https://b.example/(x%29%20y) y [2](https://a.example/) "
         "[1](https://b.example/(x%29%20y)",
         "x y", "B=https://b.example/(x) y;A=https://a.example/;C=https://c.example/;"},
        {"none", "none", "none", "C=https://c.example/;"},
        {"gone【turn9x9】.", "gone.", "gone.", "C=https://c.example/;"},
        {"【3†source】【】【turn】【turn0】【turn0search】【turnsearch0】【turn0search0 】",
         "【3†source】【】【turn】【turn0】【turn0search】【turnsearch0】【turn0search0 】",
         "【3†source】【】【turn】【turn0】【turn0search】【turnsearch0】【turn0search0 】",
         "C=https://c.example/;"},
        {"【【turn0search0】】", "【 [1](https://a.example/)】", "【】",
         "A=https://a.example/;C=https://c.example/;"},
        {"open【turn0search0", "open【turn0search0", "open【turn0search0", "C=https://c.example/;"},
        {"half\xE3\x80", "half\xE3\x80", "half\xE3\x80", "C=https://c.example/;"},
        {"、。", "、。", "、。", "C=https://c.example/;"},
        {"【turn0123456789012345678901234search0】", "【turn0123456789012345678901234search0】",
         "【turn0123456789012345678901234search0】", "C=https://c.example/;"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span text = span_str(rows[i].text);
        for (size_t step = 1; step <= text.n; step++) {
            struct sources s = three();
            assert_span_equal(filtered(&s, text, step), span_str(rows[i].wanted));
            assert_span_equal(citations(&s), span_str(rows[i].cited));
            assert_span_equal(filtered(NULL, text, step), span_str(rows[i].plain));
        }
    }
}

static void sources_are_taken_once(void **state)
{
    struct sources s = three();
    sources_add(&test_arena, &s, SPAN("turn0search0"), SPAN("other"),
                SPAN("https://other.example/"));
    sources_add(&test_arena, &s, SPAN(""), SPAN("C again"), SPAN("https://c.example/"));
    sources_add(&test_arena, &s, SPAN("k"), SPAN("no url"), SPAN(""));
    assert_int_equal(s.n, 3);
    /* the same page by key and without: one annotation */
    sources_add(&test_arena, &s, SPAN(""), SPAN("A too"), SPAN("https://a.example/"));
    assert_int_equal(s.n, 4);
    filtered(&s, SPAN("【turn0search0】"), 99);
    assert_span_equal(citations(&s), SPAN("A=https://a.example/;C=https://c.example/;"));
    struct sources none = {0};
    assert_span_equal(citations(&none), SPAN(""));
}

static void sources_are_bounded(void **state)
{
    struct sources s = {0};
    static char huge[SOURCE_BYTES_MAX + 1];
    memset(huge, 'a', sizeof huge);
    sources_add(&test_arena, &s, SPAN(""), SPAN("t"), span_of(huge, sizeof huge));
    sources_add(&test_arena, &s, span_of(huge, sizeof huge), SPAN("t"), SPAN("u"));
    assert_int_equal(s.n, 0);
    sources_add(&test_arena, &s, SPAN(""), span_of(huge, sizeof huge), SPAN("u"));
    assert_int_equal(s.list[0].title.n, 0);
    for (int i = 0; i < SOURCES_MAX + 10; i++)
        sources_add(&test_arena, &s, SPAN(""), SPAN("t"), arena_printf(&test_arena, "u%d", i));
    assert_int_equal(s.n, SOURCES_MAX);
    /* a title cut inside a pair of surrogates */
    struct sources torn = {0};
    sources_add(&test_arena, &torn, SPAN(""), SPAN("t\xED\xA0\xBD"), SPAN("u"));
    assert_span_equal(torn.list[0].title, SPAN("t\xEF\xBF\xBD"));
}

static void a_filter_that_is_full_says_so(void **state)
{
    struct mark_filter f;
    struct buffer out;
    buffer_init(&out, 1 << 10);
    mark_filter_init(&f, 4);
    mark_filter_feed(&f, NULL, SPAN("【turn0"), &out);
    assert_int_equal(out.error, BUFFER_FULL);
    buffer_free(&out);
    mark_filter_free(&f);
}

/* ---- wishes ---- */

static void wishes_behind_an_id(void **state)
{
    static const struct {
        const char *id, *base;
        enum reasoning_wish asked, wanted;
        bool search;
    } rows[] = {
        {"m", "m", REASONING_UNSET, REASONING_UNSET, false},
        {"m", "m", REASONING_ON, REASONING_ON, false},
        {"m-thinking", "m", REASONING_OFF, REASONING_ON, false},
        {"m-nothinking", "m", REASONING_ON, REASONING_OFF, false},
        {"m-search", "m", REASONING_OFF, REASONING_OFF, true},
        {"m-search-thinking", "m", REASONING_UNSET, REASONING_ON, true},
        {"m-thinking-search", "m", REASONING_UNSET, REASONING_ON, true},
        {"m-thinking-nothinking", "m", REASONING_UNSET, REASONING_OFF, false},
        {"-thinking", "-thinking", REASONING_UNSET, REASONING_UNSET, false},
        {"m-thinking-x", "m-thinking-x", REASONING_UNSET, REASONING_UNSET, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct turn turn = {.reasoning = rows[i].asked};
        struct turn_run run = {
            .fail = &(struct fail){0}, .turn = &turn, .model = span_str(rows[i].id)};
        struct model_wish wish = read_model_wish(&run);
        assert_span_equal(wish.id, span_str(rows[i].base));
        assert_int_equal(wish.reasoning, rows[i].wanted);
        assert_int_equal(wish.search, rows[i].search);
        assert_span_equal(base_model_id(span_str(rows[i].id)), span_str(rows[i].base));
    }
}

/* ---- pictures ---- */

static int collected(struct pictures *pictures, struct turn_run *run, const char *content)
{
    struct span body = arena_printf(
        &test_arena, "{\"model\":\"m\",\"messages\":[%s,{\"role\":\"user\",\"content\":[%s]}]}",
        USER("a"), content);
    static struct fail fail;
    *run = (struct turn_run){
        .fail = &fail, .arena = &test_arena, .turn = transcript_turn(&test_arena, body.p)};
    return collect_pictures(run, "site.example", pictures);
}

#define URL(text) "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" text "\"}}"

static void pictures_are_collected_in_order(void **state)
{
    struct pictures pictures;
    struct turn_run run;
    assert_int_equal(collected(&pictures, &run, "{\"type\":\"text\",\"text\":\"t\"}"), 0);
    assert_int_equal(pictures.n, 0);
    assert_int_equal(
        collected(&pictures, &run,
                  URL("data:image/png;base64,AAEC") "," URL("data:image/svg+xml;base64,AA==")),
        0);
    assert_int_equal(pictures.n, 2);
    assert_span_equal(pictures.list[0].bytes, SPAN("\0\1\2"));
    assert_span_equal(pictures.list[0].mime, SPAN("image/png"));
    assert_span_equal(pictures.list[0].filename, SPAN("image-1.png"));
    assert_span_equal(pictures.list[1].filename, SPAN("image-2.svg+xml"));
    assert_int_equal(refuse_picture(&run, &pictures.list[1], "why"), -1);
    assert_int_equal(run.fail->kind, FAIL_UNSUPPORTED);
    assert_string_equal(run.fail->param, "messages[1].content[1]");
    assert_string_equal(run.fail->message, "why");
}

static void what_is_no_picture_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *url, *why;
    } rows[] = {
        {URL("https://x.example/a.png"),
         "only pictures as data: URLs can be sent to site.example, not links"},
        {URL("data:text/html;base64,AAAA"), "names no picture type"},
        {URL("data:image/a\\u000d\\u000ab;base64,AAAA"), "names no picture type"},
        {URL("data:image/png;base64,"), "is not base64"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pictures pictures;
        struct turn_run run;
        struct span content =
            arena_printf(&test_arena, "{\"type\":\"text\",\"text\":\"t\"},%s", rows[i].url);
        assert_int_equal(collected(&pictures, &run, content.p), -1);
        assert_string_equal(run.fail->param, "messages[1].content[1]");
        assert_non_null(strstr(run.fail->message, rows[i].why));
    }
}

static void documents_are_collected_with_the_pictures(void **state)
{
    struct turn_run run;
    struct pictures uploads;
#define DOCUMENT(name, data) "{\"type\":\"file\",\"file\":{" name "\"file_data\":\"" data "\"}}"
    assert_int_equal(
        collected(&uploads, &run,
                  DOCUMENT("\"filename\":\"a.pdf\",", "data:application/pdf;base64,UERG") "," URL(
                      "data:image/png;base64,AAEC") "," DOCUMENT("", "data:a;base64,UERG")),
        0);
    assert_int_equal(uploads.n, 1); /* pictures alone */
    assert_int_equal(collect_uploads(&run, "site.example", &uploads), 0);
    assert_int_equal(uploads.n, 3);
    assert_span_equal(uploads.list[0].filename, SPAN("a.pdf"));
    assert_span_equal(uploads.list[0].mime, SPAN("application/pdf"));
    assert_span_equal(uploads.list[0].bytes, SPAN("PDF"));
    assert_span_equal(uploads.list[1].filename, SPAN("image-2.png"));
    assert_span_equal(uploads.list[2].filename, SPAN("document-3"));
    assert_span_equal(uploads.list[2].mime, SPAN("application/octet-stream"));

    /* a document that came as text; one that is only an id */
    struct part parts[] = {{.kind = PART_FILE, .text = SPAN("plain")},
                           {.kind = PART_FILE, .file_id = SPAN("f")}};
    struct message m = {.role = ROLE_USER, .parts = parts, .n_parts = 1};
    struct turn turn = {.messages = &m, .n_messages = 1};
    run.turn = &turn;
    assert_int_equal(collect_uploads(&run, "site.example", &uploads), 0);
    assert_span_equal(uploads.list[0].bytes, SPAN("plain"));
    assert_span_equal(uploads.list[0].mime, SPAN("text/plain"));
    assert_span_equal(uploads.list[0].filename, SPAN("document-1.txt"));
    m.n_parts = 2;
    assert_int_equal(collect_uploads(&run, "site.example", &uploads), -1);
    assert_non_null(strstr(run.fail->message, "no links"));
}

/* ---- tokens ---- */

static void a_margin_of_the_sites_own(void **state)
{
    struct site_account account = {0};
    struct turn_run run = {
        .fail = &(struct fail){0}, .account = &account, .arena = &test_arena, .now_ms = 1000000};
    struct token_use use = {.margin_ms = 120000};
    account_hold(&account, "t", SPAN("one"), 1000000 + 120000);
    assert_int_equal(token_use_next(&run, &use, "t"), 1);
    account_hold(&account, "t", SPAN("one"), 1000000 + 120001);
    assert_int_equal(token_use_next(&run, &use, "t"), 0);
    account_clear(&account);
}

/* ---- multipart ---- */

static void a_plain_field(void **state)
{
    struct buffer out;
    struct multipart form = {&out, SPAN("B")};
    buffer_init(&out, 4096);
    assert_int_equal(multipart_field(&form, SPAN("from"), SPAN("chat")), 0);
    assert_int_equal(multipart_end(&form), 0);
    assert_span_equal(buffer_span(&out), SPAN("--B\r\nContent-Disposition: form-data; name="
                                              "\"from\"\r\n\r\nchat\r\n--B--\r\n"));
    buffer_free(&out);
}

/* ---- addresses ---- */

static void addresses_of_sites_are_cut(void **state)
{
    static const struct {
        const char *url, *origin, *host, *port, *path, *query;
    } rows[] = {
        {"https://a.example", "https://a.example", "a.example", "", "/", ""},
        {"https://a.example/x/y?z=1&u=/b#f", "https://a.example", "a.example", "", "/x/y",
         "z=1&u=/b"},
        {"https://a-1.example:8443/x", "https://a-1.example:8443", "a-1.example", "8443", "/x", ""},
        {"https://a.example?x=/y", "https://a.example", "a.example", "", "/", "x=/y"},
        {"https://a.example#@evil.example/x", "https://a.example", "a.example", "", "/", ""},
    };
    static const char *const none[] = {"",
                                       "http://a.example/x",
                                       "HTTPS://a.example/",
                                       "https://",
                                       "https:///x",
                                       "https://u@a.example/x",
                                       "https://u:p@a.example/x",
                                       "https://a.example:/x",
                                       "https://[::1]/x",
                                       "https://a.example:0/x",
                                       "https://a.example:65536/",
                                       "https://a.example:x/",
                                       "https://a_b.example/",
                                       "https://a.example/a b",
                                       "https://a.example/\r\nX: y",
                                       "//a.example/x",
                                       "https://a.example\\@b.example/",
                                       "https://\xC3\xA4.example/"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct https_url url;
        assert_true(read_https_url(span_str(rows[i].url), &url));
        assert_span_equal(url.origin, span_str(rows[i].origin));
        assert_span_equal(url.host, span_str(rows[i].host));
        assert_span_equal(url.port, span_str(rows[i].port));
        assert_span_equal(url.path, span_str(rows[i].path));
        assert_span_equal(url.query, span_str(rows[i].query));
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        struct https_url url;
        if (read_https_url(span_str(none[i]), &url))
            fail_msg("taken: %s", none[i]);
    }
    struct https_url url;
    assert_false(read_https_url(SPAN("https://a\0.example/"), &url));
}

static void a_picture_is_a_line_of_markdown(void **state)
{
    struct buffer out;
    buffer_init(&out, 100);
    markdown_picture(&out, SPAN("https://a.example/b (c)"));
    assert_span_equal(buffer_span(&out), SPAN("![](https://a.example/b%20(c%29)\n"));
    buffer_free(&out);
}

/* ---- answers told in blocks ---- */

static bool read_event(struct json_parser *json, struct message_event *e, const char *name,
                       const char *data)
{
    struct turn_run run = {.fail = &(struct fail){0}, .json = json};
    struct frame frame = {.type = span_str(name), .data = span_str(data)};
    return message_event_read(&run, &frame, e);
}

static void events_of_messages_are_told_apart(void **state)
{
    struct json_parser *json = json_parser_create(1 << 20);
    assert_non_null(json);
    struct message_event e;
    assert_non_null(json);
    assert_true(
        read_event(json, &e, "", "{\"type\":\"content_block_delta\",\"index\":3,\"delta\":{}}"));
    assert_int_equal(e.kind, EVENT_BLOCK_DELTA);
    assert_int_equal(e.index, 3);
    assert_true(json_is(e.inner, JSON_OBJECT));
    assert_true(read_event(json, &e, "message_stop", "{\"index\":\"x\"}")); /* the frame's name */
    assert_int_equal(e.kind, EVENT_MESSAGE_STOP);
    assert_int_equal(e.index, 0);
    assert_true(
        read_event(json, &e, "ping", "{\"type\":\"brand_new\"}")); /* the data's comes first */
    assert_int_equal(e.kind, EVENT_OTHER);
    assert_span_equal(e.name, SPAN("brand_new"));
    assert_false(read_event(json, &e, "ping", " "));
    assert_false(read_event(json, &e, "ping", "[1]"));
    assert_false(read_event(json, &e, "ping", "nonsense"));
    json_parser_destroy(json);
}

static void open_blocks_are_found_by_their_index(void **state)
{
    struct turn_run run = {.fail = &(struct fail){0}};
    struct blocks b = {0};
    assert_null(block_find(&b, 0));
    for (int64_t i = 0; i < BLOCKS_OPEN_MAX; i++)
        assert_non_null(block_open(&run, &b, 100 + i, i ? SPAN("text") : SPAN("tool_result")));
    assert_null(block_open(&run, &b, 5, SPAN("text")));
    assert_int_equal(block_find(&b, 100)->kind, BLOCK_RESULT);
    assert_int_equal(block_find(&b, 101)->kind, BLOCK_TEXT);
    block_find(&b, 100)->kind = BLOCK_NONE;
    assert_null(block_find(&b, 100));
    assert_int_equal(block_open(&run, &b, 5, SPAN("thinking"))->kind, BLOCK_THINKING);
    assert_int_equal(block_find(&b, 5)->kind, BLOCK_THINKING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, arena_begin, arena_end)
        TEST(digests),
        TEST(ids),
        TEST(ids_of_a_conversation),
        TEST(names_that_a_site_takes),
        TEST(reasons_to_stop),
        TEST(a_posted_form),
        TEST(each_site_marks_turns_its_own_way),
        TEST(a_single_user_turn_has_no_marks),
        TEST(a_prefill_stands_open),
        TEST(calls_and_results_have_their_common_form),
        TEST(neighbours_are_joined_only_where_the_site_wants_it),
        TEST(pictures_are_numbered_where_they_stood),
        TEST(only_what_is_new_is_sent),
        TEST(surrogates_that_meet_are_one_character),
        TEST(a_text_above_the_limit_says_so),
        TEST(lengths_in_characters),
        TEST(marks_become_links_at_every_split),
        TEST(sources_are_taken_once),
        TEST(sources_are_bounded),
        TEST(a_filter_that_is_full_says_so),
        TEST(wishes_behind_an_id),
        TEST(pictures_are_collected_in_order),
        TEST(what_is_no_picture_is_refused_with_its_place),
        TEST(documents_are_collected_with_the_pictures),
        TEST(a_margin_of_the_sites_own),
        TEST(addresses_of_sites_are_cut),
        TEST(a_picture_is_a_line_of_markdown),
        TEST(a_plain_field),
        TEST(events_of_messages_are_told_apart),
        TEST(open_blocks_are_found_by_their_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
