/*
 * test/unit/test_write_responses.c - Response objects and their events: order, numbers, and the
 * same answer however its text is cut.
 */
#include "gateway/responses_writer.h"
#include "gateway/sealed_reasoning.h"

#include "gateway/answer.h"
#include "test/unit/support/cmocka_all.h"

static const struct token_source estimated = {NULL, NULL};

struct bench {
    struct arena arena;
    struct buffer out, body;
    struct answer answer;
    struct answer_feed feed;
    struct turn turn;
    struct responses_request request;
    struct json_parser *json;
};

static void start(struct bench *b, bool stream)
{
    static const struct span custom[] = {SPAN_INIT("patch")};
    const struct answer_meta meta = {.id = SPAN("resp_x"), .model = SPAN("m"), .created = 7};
    const struct answer_rules rules = {.reasoning = REASONING_FIELD};
    *b = (struct bench){.turn = {.n = 1},
                        .request = {.echo = SPAN("\"tools\":[]"),
                                    .store = true,
                                    .encrypted = true,
                                    .custom = custom,
                                    .n_custom = 1}};
    arena_init(&b->arena);
    buffer_init(&b->out, 1 << 24);
    buffer_init(&b->body, 1 << 24);
    b->json = json_parser_create(1 << 24);
    assert_non_null(b->json);
    struct answer_writer *w =
        responses_writer(&b->arena, &meta, &b->request, stream ? &b->out : NULL);
    assert_non_null(w);
    answer_init(&b->answer, w, &b->arena, &estimated, meta.id);
    answer_feed_add(&b->answer, &b->feed, &b->turn, 0, 1);
    answer_feed_begin(&b->feed, &rules);
}

static void stop(struct bench *b)
{
    answer_free(&b->answer);
    buffer_free(&b->out);
    buffer_free(&b->body);
    json_parser_destroy(b->json);
    arena_free(&b->arena);
}

static void end(struct bench *b) { assert_int_equal(answer_end(&b->answer, &b->body), 0); }

/* The data of the i-th event, checked in its form; {NULL,0} behind the last. */
static struct span event_at(struct span out, int i)
{
    for (int at = 0; out.n; at++) {
        ptrdiff_t length = span_find(out, SPAN("\n\n"));
        assert_true(length > 0);
        struct span event = span_first(out, (size_t)length);
        out = span_from(out, (size_t)length + 2);
        ptrdiff_t line = span_find(event, SPAN("\ndata: "));
        assert_true(span_starts(event, SPAN("event: ")) && line > 0);
        if (at == i)
            return span_from(event, (size_t)line + 7);
    }
    return span_of(NULL, 0);
}

/* All types in order, runs of one type as one; the numbers count from 0. */
static void expect_types(struct bench *b, const char *wanted)
{
    struct buffer types;
    struct span last = SPAN("");
    buffer_init(&types, 1 << 16);
    for (int i = 0;; i++) {
        struct json root;
        int64_t number;
        struct span data = event_at(buffer_span(&b->out), i);
        if (!data.p)
            break;
        assert_int_equal(json_parse(b->json, data, &root), 0);
        assert_true(json_int(json_get(root, "sequence_number"), &number) && number == i);
        struct span type = json_get_text(root, "type");
        assert_true(span_starts(type, SPAN("response.")));
        type = arena_dup(&b->arena, span_from(type, 9));
        if (!span_eq(type, last))
            buffer_printf(&types, "%.*s ", SPAN_ARGS(type));
        last = type;
    }
    buffer_char(&types, '\0');
    assert_string_equal(types.p, wanted);
    buffer_free(&types);
}

static void expect(struct span text, const char *wanted)
{
    if (span_find(text, span_str(wanted)) < 0)
        fail_msg("no %s in %.*s", wanted, SPAN_ARGS(text));
}

static struct span last_event(const struct bench *b)
{
    struct span data = {NULL, 0}, next;
    for (int i = 0; (next = event_at(buffer_span(&b->out), i)).p; i++)
        data = next;
    return data;
}

/* Reasoning with its proof, a text, two parallel calls whose arguments come mixed. */
static void tell(struct bench *b)
{
    struct delta_sink *sink = &b->feed.sink;
    delta_reasoning(sink, 0, SPAN("Hm, "));
    delta_reasoning(sink, 0, SPAN("yes."));
    delta_signature(sink, 0, SPAN("sig"));
    delta_text(sink, 0, SPAN("Right: "));
    delta_text(sink, 0, SPAN("so."));
    delta_tool_begin(sink, 0, 0, SPAN("c0"), SPAN("add"));
    delta_tool_begin_with(sink, 0, 1, SPAN("c1"), SPAN("patch"), SPAN("{\"g\":1}"));
    delta_tool_arguments(sink, 0, 0, SPAN("{\"a\""));
    delta_tool_arguments(sink, 0, 1, SPAN("{\"input\":\"l1"));
    delta_tool_arguments(sink, 0, 0, SPAN(":1}"));
    delta_tool_arguments(sink, 0, 1, SPAN("\\nl2\"}"));
}

static const char output[] =
    "\"output\":[{\"id\":\"rs_x_0\",\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\","
    "\"text\":\"Hm, yes.\"}],\"encrypted_content\":\"";
static const char rest[] =
    "{\"id\":\"msg_x_1\",\"type\":\"message\",\"status\":\"completed\",\"role\":\"assistant\","
    "\"content\":[{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],"
    "\"text\":\"Right: so.\"}]},"
    "{\"id\":\"fc_x_2\",\"type\":\"function_call\",\"status\":\"completed\",\"call_id\":\"c0\","
    "\"name\":\"add\",\"arguments\":\"{\\\"a\\\":1}\"},"
    "{\"id\":\"ctc_x_3\",\"type\":\"custom_tool_call\",\"status\":\"completed\",\"call_id\":\"c1\","
    "\"name\":\"patch\",\"input\":\"l1\\nl2\",\"extra_content\":{\"g\":1}}]";

static void every_event_in_its_place(void **state)
{
    struct bench b;
    start(&b, true);
    tell(&b);
    end(&b);
    expect_types(
        &b, "created in_progress "
            "output_item.added reasoning_summary_part.added reasoning_summary_text.delta "
            "reasoning_summary_text.done reasoning_summary_part.done output_item.done "
            "output_item.added content_part.added output_text.delta "
            "output_item.added function_call_arguments.delta "
            "output_text.done content_part.done output_item.done "
            "function_call_arguments.done output_item.done "
            "custom_tool_call_input.delta custom_tool_call_input.done output_item.done completed ");
    expect(last_event(&b), output);
    expect(last_event(&b), rest);
    expect(last_event(&b), "\"status\":\"completed\",\"background\":false,\"error\":null,"
                           "\"incomplete_details\":null,\"model\":\"m\"");
    stop(&b);
}

static void whole_is_what_the_last_event_says(void **state)
{
    struct bench b;
    start(&b, false);
    tell(&b);
    end(&b);
    expect(buffer_span(&b.body), output);
    expect(buffer_span(&b.body), rest);
    assert_int_equal(b.out.n, 0);
    stop(&b);
}

/* The proof comes back with its text, and without it when the text was changed. */
static void a_proof_comes_back(void **state)
{
    struct bench b;
    struct json root;
    struct sealed_reasoning sealed;
    start(&b, false);
    tell(&b);
    end(&b);
    assert_int_equal(json_parse(b.json, buffer_span(&b.body), &root), 0);
    struct span text = arena_dup(
        &b.arena, json_get_text(json_at(json_get(root, "output"), 0), "encrypted_content"));
    assert_true(sealed_reasoning_read(b.json, &b.arena, text, &sealed));
    assert_true(span_eq(sealed.signature, SPAN("sig")) && !sealed.redacted.n);
    assert_true(sealed.text_hash == span_hash(SPAN_HASH, SPAN("Hm, yes.")));
    assert_false(sealed_reasoning_read(b.json, &b.arena, SPAN("gAAAAABsomething"), &sealed));
    assert_false(sealed_reasoning_read(b.json, &b.arena, SPAN("eyJ2IjoyfQ=="), &sealed));
    stop(&b);
}

static void what_cannot_be_read_has_an_item_of_its_own(void **state)
{
    struct bench b;
    start(&b, true);
    b.request.encrypted = false;
    delta_reasoning(&b.feed.sink, 0, SPAN("Hm"));
    delta_redacted(&b.feed.sink, 0, SPAN("secret"));
    delta_text(&b.feed.sink, 0, SPAN("So"));
    end(&b);
    expect(last_event(&b),
           "\"text\":\"Hm\"}]},{\"id\":\"rs_x_1\",\"type\":\"reasoning\",\"summary\":"
           "[],\"encrypted_content\":\"");
    stop(&b);
}

/* A text of characters of all lengths, cut in two at every byte, and byte by byte. */
static void the_same_at_every_cut(void **state)
{
    const struct span text = SPAN("Gr\xC3\xB6\xC3\x9F"
                                  "e \xE4\xBD\xA0 \"\xF0\x9F\x8C\x8D\"\n");
    for (int kind = 0; kind < 4; kind++) {
        for (size_t cut = 0; cut <= text.n + 1; cut++) {
            struct bench b;
            start(&b, true);
            if (kind == 3)
                delta_tool_begin(&b.feed.sink, 0, 0, SPAN("c"), SPAN("f"));
            for (size_t at = 0, step; at < text.n; at += step) {
                step = cut > text.n ? 1 : at < cut ? cut - at : text.n - at;
                struct span piece = span_first(span_from(text, at), step);
                if (kind == 0)
                    delta_text(&b.feed.sink, 0, piece);
                else if (kind == 1)
                    delta_reasoning(&b.feed.sink, 0, piece);
                else if (kind == 2)
                    delta_refusal(&b.feed.sink, 0, piece);
                else
                    delta_tool_arguments(&b.feed.sink, 0, 0, piece);
            }
            end(&b);
            for (int i = 0; event_at(buffer_span(&b.out), i).p; i++) {
                struct json root;
                assert_int_equal(json_parse(b.json, event_at(buffer_span(&b.out), i), &root), 0);
            }
            expect(last_event(&b), "Gr\xC3\xB6\xC3\x9F"
                                   "e \xE4\xBD\xA0 \\\"\xF0\x9F\x8C\x8D\\\"\\n\"");
            stop(&b);
        }
    }
}

static void a_torn_end_is_replaced(void **state)
{
    struct bench b;
    start(&b, true);
    delta_text(&b.feed.sink, 0, SPAN("a\xF0\x9F"));
    end(&b);
    expect(last_event(&b), "\"text\":\"a\xEF\xBF\xBD\"");
    stop(&b);
}

static void limits_and_filters_leave_it_incomplete(void **state)
{
    static const struct {
        const char *finish, *wanted;
    } rows[] = {{"length", "\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"},
                {"content_filter", "\"incomplete_details\":{\"reason\":\"content_filter\"}"}};
    for (size_t i = 0; i < 2; i++) {
        struct bench b;
        start(&b, true);
        delta_text(&b.feed.sink, 0, SPAN("a"));
        delta_finish(&b.feed.sink, 0, span_str(rows[i].finish));
        end(&b);
        expect(last_event(&b), "\"type\":\"response.incomplete\"");
        expect(last_event(&b), "\"status\":\"incomplete\"");
        expect(last_event(&b), rows[i].wanted);
        stop(&b);
    }
}

static void a_failure_is_the_last_event(void **state)
{
    struct bench b;
    struct fail fail = {0};
    fail_set(&fail, FAIL_RATE_LIMITED, "too much \"of it\"");
    fail.retry_after_s = 11;
    start(&b, true);
    answer_error(&b.answer, &fail); /* before anything else: a head that was sent after silence */
    expect_types(&b, "created in_progress failed ");
    expect(last_event(&b), "\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"too much "
                           "\\\"of it\\\" Please try again in 11s.\"}");
    expect(last_event(&b), "\"store\":false");
    stop(&b);
}

static void citations_belong_to_the_last_text(void **state)
{
    struct bench b;
    start(&b, true);
    delta_text(&b.feed.sink, 0, SPAN("So"));
    delta_citation(&b.feed.sink, 0, SPAN("https://a/"), SPAN("A"));
    delta_tool_begin(&b.feed.sink, 0, 0, SPAN("c"), SPAN("f"));
    end(&b);
    expect(buffer_span(&b.out),
           "\"content_index\":0,\"annotation_index\":0,\"annotation\":{\"type\":\"url_citation\"");
    expect(last_event(&b), "\"annotations\":[{\"type\":\"url_citation\",\"start_index\":0,"
                           "\"end_index\":0,\"url\":\"https://a/\",\"title\":\"A\"}]");
    expect(last_event(&b), "\"arguments\":\"{}\""); /* a call without any says so */
    stop(&b);
}

static void what_was_not_stored_says_so(void **state)
{
    struct bench b;
    struct buffer record;
    struct json root;
    start(&b, true);
    delta_text(&b.feed.sink, 0, SPAN("So"));
    assert_int_equal(answer_settle(&b.answer), 0);
    buffer_init(&record, 1 << 16);
    assert_int_equal(responses_writer_record(b.answer.writer, &b.answer.usage, &record), 0);
    assert_int_equal(json_parse(b.json, buffer_span(&record), &root), 0);
    assert_true(span_eq(json_get_text(json_get(root, "response"), "id"), SPAN("resp_x")));
    assert_true(json_bool(json_path(root, "response", "store"), false));
    responses_writer_not_stored(b.answer.writer);
    end(&b);
    expect(last_event(&b), "\"store\":false");
    buffer_free(&record);
    stop(&b);
}

/* Items cost room of their own, however little text they have. */
static void tiny_items_come_to_an_end(void **state)
{
    enum { ENOUGH = 600000 };
    struct bench b;
    int n = 0;
    start(&b, false);
    b.request.encrypted = false;
    while (n < ENOUGH && delta_signature(&b.feed.sink, 0, SPAN("s")) == 0)
        n++;
    assert_in_range(n, 1000, ENOUGH - 1);
    assert_true(b.answer.full);
    stop(&b);
}

static void what_we_did_stands_in_the_response(void **state)
{
    struct bench b;
    start(&b, true);
    delta_text(&b.feed.sink, 0, SPAN("So"));
    delta_extra(&b.feed.sink, PLACE_TOP, 0, SPAN("\"system_fingerprint\":\"fp\""));
    delta_extra(&b.feed.sink, PLACE_TOP, 0,
                SPAN("\"x\":[1],\"dragoman_continued\":{\"times\":1},\"dragoman_b\":2"));
    end(&b);
    expect(last_event(&b), ",\"dragoman_continued\":{\"times\":1},\"dragoman_b\":2}");
    assert_true(span_find(buffer_span(&b.out), SPAN("fingerprint")) < 0);
    stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_in_its_place),
        cmocka_unit_test(whole_is_what_the_last_event_says),
        cmocka_unit_test(a_proof_comes_back),
        cmocka_unit_test(what_cannot_be_read_has_an_item_of_its_own),
        cmocka_unit_test(the_same_at_every_cut),
        cmocka_unit_test(a_torn_end_is_replaced),
        cmocka_unit_test(limits_and_filters_leave_it_incomplete),
        cmocka_unit_test(a_failure_is_the_last_event),
        cmocka_unit_test(citations_belong_to_the_last_text),
        cmocka_unit_test(what_was_not_stored_says_so),
        cmocka_unit_test(tiny_items_come_to_an_end),
        cmocka_unit_test(what_we_did_stands_in_the_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
