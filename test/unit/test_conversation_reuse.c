/*
 * test_conversation_reuse.c - gateway/conversation_reuse.h: a history is known again when it is
 * exactly the one that was answered, and by nobody else; what is kept ends, and is bounded.
 */
#include <stdio.h>

#include "gateway/conversation_reuse.h"
#include "test/unit/support/cmocka_all.h"

static const struct conversation_scope scope = {SPAN_INIT("anna"), SPAN_INIT("kimi"),
                                                SPAN_INIT("https://www.kimi.com"), SPAN_INIT("k2")};

/* A message of one text. */
struct line {
    enum role role;
    const char *text;
};

enum { LINES_MAX = 8 };

struct history {
    struct turn turn;
    struct message messages[LINES_MAX];
    struct part parts[LINES_MAX];
};

static void make(struct history *h, const struct line *lines)
{
    *h = (struct history){.turn = {.messages = h->messages}};
    for (size_t i = 0; lines[i].text; i++) {
        h->parts[i] = (struct part){.kind = PART_TEXT, .text = span_str(lines[i].text)};
        h->messages[i] =
            (struct message){.role = lines[i].role, .parts = &h->parts[i], .n_parts = 1};
        h->turn.n_messages = i + 1;
    }
}

#define HISTORY(h, ...) make(h, (const struct line[]){__VA_ARGS__, {ROLE_USER, NULL}})
#define U(text)                                                                                    \
    {                                                                                              \
        ROLE_USER, text                                                                            \
    }
#define A(text)                                                                                    \
    {                                                                                              \
        ROLE_ASSISTANT, text                                                                       \
    }
#define S(text)                                                                                    \
    {                                                                                              \
        ROLE_SYSTEM, text                                                                          \
    }

static struct conversation_turn read_turn(const struct history *h)
{
    struct conversation_turn c;
    conversation_turn_read(&c, &scope, &h->turn);
    return c;
}

static bool same(const struct conversation_hash *a, const struct conversation_hash *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* The hash after the history was answered with these pieces. */
static struct conversation_hash answered(const struct history *h, const char *const *pieces)
{
    struct arena arena;
    struct conversation_turn c = read_turn(h);
    arena_init(&arena);
    struct conversation_told *told = conversation_told_create(&arena);
    assert_non_null(told);
    for (; *pieces; pieces++)
        conversation_told_add(told, span_str(*pieces));
    struct conversation_hash hash = conversation_answered(&c.whole, told);
    arena_free(&arena);
    return hash;
}

/* Is the second history the first one's, gone on with? */
static bool goes_on(const struct history *first, const char *answer, const struct history *second)
{
    struct conversation_hash end = answered(first, (const char *const[]){answer, NULL});
    struct conversation_turn c = read_turn(second);
    return c.held && same(&end, &c.before);
}

static void a_history_that_goes_on_is_known(void **state)
{
    struct history one, two;
    HISTORY(&one, S("Be brief."), U("a"));
    HISTORY(&two, S("Be brief."), U("a"), A("b"), U("c"));
    assert_true(goes_on(&one, "b", &two));
    assert_int_equal(read_turn(&two).held, 3);
    assert_true(read_turn(&two).can_keep);
    assert_int_equal(read_turn(&one).held, 0);
    /* several messages behind the answer, and a longer history */
    HISTORY(&one, U("a"), A("b"), U("c"));
    HISTORY(&two, U("a"), A("b"), U("c"), A("d"), {ROLE_TOOL, "r"}, U("e"));
    assert_true(goes_on(&one, "d", &two));
    assert_int_equal(read_turn(&two).held, 4);
}

static void every_edit_is_another_history(void **state)
{
    struct history one, two;
    HISTORY(&one, S("Be brief."), U("a"));
    HISTORY(&two, S("Be brief!"), U("a"), A("b"), U("c"));
    assert_false(goes_on(&one, "b", &two));
    HISTORY(&two, S("Be brief."), U("A"), A("b"), U("c"));
    assert_false(goes_on(&one, "b", &two));
    HISTORY(&two, S("Be brief."), U("a"), A("b2"), U("c"));
    assert_false(goes_on(&one, "b", &two));
    HISTORY(&two, U("Be brief."), U("a"), A("b"), U("c"));
    assert_false(goes_on(&one, "b", &two));
    HISTORY(&two, S("Be brief.a"), U(""), A("b"), U("c"));
    assert_false(goes_on(&one, "b", &two));
    HISTORY(&two, U("a"), A("b"), U("c"));
    assert_false(goes_on(&one, "b", &two));
    /* parts, names, pictures, tool calls */
    HISTORY(&two, S("Be brief."), U("a"), A("b"), U("c"));
    two.messages[1].name = SPAN("anna");
    assert_false(goes_on(&one, "b", &two));
    two.messages[1].name = SPAN("");
    two.parts[1] = (struct part){.kind = PART_IMAGE, .url = SPAN("a")};
    assert_false(goes_on(&one, "b", &two));
    HISTORY(&two, S("Be brief."), U("a"), A("b"), U("c"));
    const struct tool_call call = {.id = SPAN("1"), .name = SPAN("f"), .arguments = SPAN("{}")};
    two.messages[2].tool_calls = &call;
    two.messages[2].n_tool_calls = 1;
    assert_false(goes_on(&one, "b", &two));
}

static void pictures_are_told_by_what_is_in_them(void **state)
{
    struct history one, two;
    HISTORY(&one, U("a"));
    HISTORY(&two, U("a"), A("b"), U("c"));
    one.parts[0] = (struct part){.kind = PART_IMAGE,
                                 .url = SPAN("data:image/png;base64,AAAA"),
                                 .mime = SPAN("image/png"),
                                 .base64 = SPAN("AAAA")};
    two.parts[0] = one.parts[0];
    two.parts[0].url = SPAN("");
    assert_true(goes_on(&one, "b", &two));
    two.parts[0].base64 = SPAN("AAAB");
    assert_false(goes_on(&one, "b", &two));
}

/* Asking again what was asked last, a prefill, instructions behind the answer. */
static void what_cannot_be_sent_alone_begins_anew(void **state)
{
    struct history h;
    HISTORY(&h, U("a"), A("b"), U("c"), S("Now in French."));
    assert_int_equal(read_turn(&h).held, 0);
    assert_true(read_turn(&h).can_keep);
    HISTORY(&h, U("a"), A("b"), S("Now in French."), U("c"), A("d"), U("e"));
    assert_int_equal(read_turn(&h).held, 5);
    HISTORY(&h, U("a"), A("b"), U("c"), A("It begins"));
    assert_int_equal(read_turn(&h).held, 0);
    assert_false(read_turn(&h).can_keep);
    h.turn.n_messages = 0;
    assert_int_equal(read_turn(&h).held, 0);
    assert_false(read_turn(&h).can_keep);
}

static void clients_may_trim_and_take_thinking_out(void **state)
{
    struct history one, two;
    HISTORY(&one, U("a"));
    HISTORY(&two, U("a"), A("b\n\nb"), U("c"));
    assert_true(goes_on(&one, "\n b\n\nb \t\r\n", &two));
    assert_false(goes_on(&one, "b\nb", &two));
    HISTORY(&two, U("a"), A("<think>\nhm\n</think>\n\nb"), U("c"));
    assert_true(goes_on(&one, "b", &two));
    HISTORY(&two, U("a"), A("b <think>hm</think>"), U("c"));
    assert_false(goes_on(&one, "b", &two));
    HISTORY(&two, U("a"), A("b"), U("c"));
    two.messages[1].reasoning = SPAN("hm");
    assert_true(goes_on(&one, "b", &two));
    HISTORY(&two, U("a"), A(" "), U("c"));
    assert_true(goes_on(&one, "", &two));
}

static void an_answer_may_come_in_any_pieces(void **state)
{
    struct history h;
    char text[1200], rest[1200];
    HISTORY(&h, U("a"));
    int n = snprintf(text, sizeof text, " \na%*s\nb%300s", 600, "", "");
    struct conversation_hash whole = answered(&h, (const char *const[]){text, NULL});
    for (int cut = 0; cut <= n; cut++) {
        snprintf(rest, sizeof rest, "%s", text + cut);
        char before = text[cut];
        text[cut] = '\0';
        struct conversation_hash other = answered(&h, (const char *const[]){text, "", rest, NULL});
        text[cut] = before;
        /* what is left of the blanks at the end depends on their number alone */
        assert_true(same(&whole, &other));
    }
}

/* Calls count, but not how a client writes their arguments down. */
static void rounds_of_calls_go_on(void **state)
{
    static const struct {
        const char *told, *back;
        bool same;
    } cases[] = {
        {"{\"q\": \"a b\", \"n\":[1, 2]}", "{ \"q\":\"a b\",\n\"n\":[1,2] }", true},
        {"{\"q\":\"\\u00e9\\/\\u4f60\\ud83c\\udf0d\"}", "{\"q\":\"é/你🌍\"}", true},
        {"{\"q\":\"\\u000a \\\" \\\\\"}", "{\"q\":\"\\n \\\" \\\\\"}", true},
        {"{\"q\":\"a b\"}", "{\"q\":\"ab\"}", false},
        {"{\"q\":\"\\\" \"}", "{\"q\":\"\\\"\"}", false},
        {"{}", "{\"q\":1}", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t size = 1; size < 8; size++) {
            struct arena arena;
            struct history one, two;
            struct span rest = span_str(cases[i].told);
            const struct tool_call calls[] = {
                {.id = SPAN("c1"), .name = SPAN("f"), .arguments = span_str(cases[i].back)},
                {.id = SPAN("c2"), .name = SPAN("g"), .arguments = SPAN("{}")}};
            HISTORY(&one, U("a"));
            HISTORY(&two, U("a"), A("I look."), {ROLE_TOOL, "r"});
            two.messages[1].tool_calls = calls;
            two.messages[1].n_tool_calls = 2;
            struct conversation_turn before = read_turn(&one), after = read_turn(&two);
            arena_init(&arena);
            struct conversation_told *told = conversation_told_create(&arena);
            assert_non_null(told);
            conversation_told_add(told, SPAN("I look.\n"));
            conversation_told_call(told, SPAN("c1"), SPAN("f"));
            for (; rest.n; rest = span_from(rest, size))
                conversation_told_arguments(told, span_first(rest, size));
            conversation_told_call(told, SPAN("c2"), SPAN("g"));
            conversation_told_arguments(told, SPAN("{}"));
            struct conversation_hash end = conversation_answered(&before.whole, told);
            assert_int_equal(after.held, 2);
            assert_int_equal(same(&end, &after.before), cases[i].same);
            arena_free(&arena);
        }
    }
}

static void everybody_and_every_model_for_itself(void **state)
{
    const struct conversation_scope others[] = {
        {SPAN("bert"), scope.site, scope.origin, scope.model},
        {SPAN(""), scope.site, scope.origin, scope.model},
        {scope.key, SPAN("kimi2"), scope.origin, scope.model},
        {scope.key, scope.site, SPAN("https://www.kimi.ai"), scope.model},
        {scope.key, scope.site, scope.origin, SPAN("k3")},
        {SPAN("annak"), SPAN("imi"), scope.origin, scope.model},
    };
    struct history h;
    struct conversation_turn other;
    HISTORY(&h, U("a"), A("b"), U("c"));
    struct conversation_turn ours = read_turn(&h);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        conversation_turn_read(&other, &others[i], &h.turn);
        assert_false(same(&ours.before, &other.before));
        assert_false(same(&ours.whole, &other.whole));
    }
    struct turn plain = h.turn;
    for (int i = 0; i < 7; i++) {
        h.turn = plain;
        switch (i) {
        case 0: h.turn.reasoning = REASONING_ON; break;
        case 1: h.turn.reasoning_effort = SPAN("high"); break;
        case 2: h.turn.tools_raw = SPAN("[]"); break;
        case 3: h.turn.tool_choice_raw = SPAN("\"none\""); break;
        case 4: h.turn.response_format_raw = SPAN("{}"); break;
        case 5: h.turn.reasoning_budget = 2000; break;
        default: h.turn.thinking_raw = SPAN("{}"); break;
        }
        other = read_turn(&h);
        assert_false(same(&ours.before, &other.before));
    }
}

/* ---- the book ---- */

struct changes {
    int kept, forgotten;
};

static void on_change(void *owner, const struct conversation *c, bool kept)
{
    struct changes *n = owner;
    assert_true(c->account.n > 0);
    if (kept)
        n->kept++;
    else
        n->forgotten++;
}

static struct conversation numbered(int i)
{
    struct conversation c = {.site = SPAN("kimi"),
                             .account = SPAN("me"),
                             .credentials = 7,
                             .state = SPAN("chat/message"),
                             .expires_ms = 1000};
    memcpy(c.hash.bytes, &i, sizeof i);
    return c;
}

static void kept_found_and_forgotten(void **state)
{
    struct changes n = {0};
    struct conversation_book *b = conversation_book_create(on_change, &n);
    assert_non_null(b);
    struct conversation c = numbered(1), other = numbered(2);
    char text[] = "chat";
    c.state = span_str(text);
    assert_true(conversation_book_keep(b, &c));
    text[0] = 'x';
    const struct conversation *found = conversation_book_find(b, &c.hash, 999);
    assert_span_equal(found->state, SPAN("chat"));
    assert_span_equal(found->account, SPAN("me"));
    assert_int_equal(found->credentials, 7);
    assert_null(conversation_book_find(b, &other.hash, 0));
    c.state = SPAN("newer");
    assert_true(conversation_book_keep(b, &c));
    assert_span_equal(conversation_book_find(b, &c.hash, 0)->state, SPAN("newer"));
    conversation_book_forget(b, &c.hash);
    conversation_book_forget(b, &c.hash);
    assert_null(conversation_book_find(b, &c.hash, 0));
    assert_int_equal(n.kept, 2);
    assert_int_equal(n.forgotten, 1);
    conversation_book_destroy(b);
    conversation_book_destroy(NULL);
}

static void it_ends(void **state)
{
    struct changes n = {0};
    struct conversation_book *b = conversation_book_create(on_change, &n);
    assert_non_null(b);
    struct conversation c = numbered(1), later = numbered(2);
    later.expires_ms = 2000;
    conversation_book_restore(b, &c);
    conversation_book_keep(b, &later);
    assert_int_equal(n.kept, 1); /* what was written down is not written again */
    assert_non_null(conversation_book_find(b, &c.hash, 999));
    assert_null(conversation_book_find(b, &c.hash, 1000));
    conversation_book_prune(b, 1000);
    assert_int_equal(n.forgotten, 1);
    assert_null(conversation_book_find(b, &c.hash, 0));
    assert_non_null(conversation_book_find(b, &later.hash, 1000));
    conversation_book_destroy(b);
}

static void it_is_bounded(void **state)
{
    static const char longest[CONVERSATION_STATE_MAX + 1];
    struct changes n = {0};
    struct conversation_book *b = conversation_book_create(on_change, &n);
    assert_non_null(b);
    struct conversation c = numbered(0);
    c.state = span_of(longest, sizeof longest);
    assert_false(conversation_book_keep(b, &c));
    c.state = span_of(longest, sizeof longest - 1);
    assert_true(conversation_book_keep(b, &c));
    for (int i = 1; i <= CONVERSATIONS_MAX; i++) {
        c = numbered(i);
        assert_true(conversation_book_keep(b, &c));
    }
    c = numbered(0);
    assert_null(conversation_book_find(b, &c.hash, 0));
    assert_int_equal(n.forgotten, 1);
    for (int i = 1; i <= CONVERSATIONS_MAX; i++) {
        c = numbered(i);
        assert_non_null(conversation_book_find(b, &c.hash, 0));
    }
    conversation_book_destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_history_that_goes_on_is_known),
        cmocka_unit_test(every_edit_is_another_history),
        cmocka_unit_test(pictures_are_told_by_what_is_in_them),
        cmocka_unit_test(what_cannot_be_sent_alone_begins_anew),
        cmocka_unit_test(clients_may_trim_and_take_thinking_out),
        cmocka_unit_test(an_answer_may_come_in_any_pieces),
        cmocka_unit_test(rounds_of_calls_go_on),
        cmocka_unit_test(everybody_and_every_model_for_itself),
        cmocka_unit_test(kept_found_and_forgotten),
        cmocka_unit_test(it_ends),
        cmocka_unit_test(it_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
