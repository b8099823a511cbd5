/*
 * test/unit/test_zai_edges.c - chat.z.ai where it is odd or hostile: stretches of reasoning, edits,
 * ends, ids that are no ids, answers cut short.
 *
 * The plain road is test_zai_adapter.c. Every answer here is played whole and byte by byte.
 */
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/zai.h"

static struct transcript_setup person(const char *body) { return zai_setup("glm-4.6v", body); }

static struct transcript_setup person_v2(const char *body)
{
    struct transcript_setup setup = person(body);
    zai_use_v2(&setup, false);
    return setup;
}

static struct transcript_setup guest(void)
{
    return (struct transcript_setup){.adapter = &adapter_zai, .model = "glm-4.7", .guest = true};
}

/* ---- the stream ---- */

static void expect_body(struct span body, enum stream_end end, const char *wanted)
{
    struct transcript_setup setup = person(NULL);
    size_t *cuts = calloc(body.n, sizeof *cuts);
    assert_non_null(cuts);
    for (size_t i = 0; i + 1 < body.n; i++)
        cuts[i] = i + 1;
    for (int whole = 0; whole < 2; whole++) {
        struct played out;
        transcript_play(&setup, NULL, body, cuts, whole ? 0 : body.n - 1, end, &out);
        transcript_expect(body.p, wanted, buffer_span(&out.json));
        played_free(&out);
    }
    free(cuts);
}

/* Each event is the inside of `data`. */
static void expect_events(const char *const *events, const char *wanted)
{
    struct buffer body;
    buffer_init(&body, 1 << 22);
    zai_stream(&body, events);
    buffer_char(&body, '\0');
    body.n--;
    expect_body(buffer_span(&body), END_CLEAN, wanted);
    buffer_free(&body);
}

#define THINK(text)  "{\"phase\":\"thinking\",\"delta_content\":\"" text "\"}"
#define ANSWER(text) "{\"phase\":\"answer\",\"delta_content\":\"" text "\"}"
#define EDIT(text)   "{\"phase\":\"answer\",\"edit_index\":0,\"edit_content\":\"" text "\"}"
#define TOOL         "{\"phase\":\"tool_call\",\"delta_name\":\"search\"}"
#define OPEN         "<details type=\\\"reasoning\\\">\\n<summary>x</summary>\\n"
#define SOURCE(id, url)                                                                            \
    "{\"phase\":\"tool_response\",\"delta_content\":\"[ref_id=" id "†T†" url "]\"}"

static void a_stretch_without_text_is_not_set_off(void **state)
{
    expect_events(
        EVENTS(THINK("one"), TOOL, THINK(OPEN), THINK("</details>"), ANSWER("a"), ZAI_DONE),
        "{\"reasoning_content\":\"one\",\"content\":\"a\"}");
    expect_events(EVENTS(THINK("one"), ANSWER("a"), THINK(OPEN "> two"), ANSWER("b"), ZAI_DONE),
                  "{\"reasoning_content\":\"one\\n\\ntwo\",\"content\":\"ab\"}");
    /* an edit is an answer event as well, even one that brings no text */
    expect_events(EVENTS(THINK(OPEN "> one"), EDIT(OPEN "> one\\n</details>\\n"), THINK("two"),
                         ANSWER("a"), ZAI_DONE),
                  "{\"reasoning_content\":\"one\\n\\ntwo\",\"content\":\"a\"}");
}

static void a_hand_over_brings_what_was_missing(void **state)
{
    expect_events(
        EVENTS(EDIT(OPEN "> never\\n> streamed\\n</details>\\nAn"), ANSWER("swer"), ZAI_DONE),
        "{\"reasoning_content\":\"never\\nstreamed\",\"content\":\"Answer\"}");
    expect_events(
        EVENTS(THINK(OPEN "> One"), EDIT(OPEN "> Other words\\n</details>\\nA"), ZAI_DONE),
        "{\"reasoning_content\":\"One\",\"content\":\"A\"}");
    expect_events(EVENTS(THINK(OPEN "> a </details> b\\n"), EDIT("</details>\\nA"), ZAI_DONE),
                  "{\"content\":\"A\"}");
    /* together with a tool's block */
    expect_events(EVENTS(THINK(OPEN "> On"),
                         EDIT(OPEN "> One\\n</details>\\nI look.<glm_block>{}</glm_block>"),
                         ANSWER(" Found."), ZAI_DONE),
                  "{\"reasoning_content\":\"One\",\"content\":\"I look. Found.\"}");
}

static void a_head_without_an_end_is_no_reasoning(void **state)
{
    expect_events(
        EVENTS(THINK("<details type=\\\"rea"), THINK("soning\\\"><summ"), ANSWER("a"), ZAI_DONE),
        "{\"reasoning_content\":\"\",\"content\":\"a\"}");
    expect_events(EVENTS(THINK("<deta"), ZAI_DONE),
                  "{\"reasoning_content\":\"<deta\",\"finish_reason\":\"stop\"}");
}

static void marks_alone_are_no_answer(void **state)
{
    expect_events(EVENTS(ANSWER("【turn1search1】"), ZAI_DONE),
                  "{\"content\":\"\",\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS(ANSWER("【turn1search"), ZAI_DONE),
                  "{\"content\":\"【turn1search\",\"error\":null}");
    expect_events(EVENTS(ANSWER("【【turn1s1】】【turn】【turn1】【turnx1】"), ZAI_DONE),
                  "{\"content\":\"【】【turn】【turn1】【turnx1】\"}");
}

static void links_hold_nothing_that_ends_them(void **state)
{
    expect_events(EVENTS(SOURCE("turn0search0", "https://e.org/a\\tb)"),
                         ANSWER("x【turn0search0】"), ZAI_DONE),
                  "{\"content\":\"x [1](https://e.org/a%09b%29)\"}");
    expect_events(EVENTS("{\"phase\":\"tool_call\",\"edit_content\":\"\\\"search_result\\\":"
                         "[{\\\"ref_id\\\":\\\"turn0s0\\\",\\\"url\\\":\\\"https://e.org/\\\\ud83d"
                         "\\\"}]\"}",
                         ANSWER("x【turn0s0】"), ZAI_DONE),
                  "{\"citations\":[\"https://e.org/\uFFFD\"]}");
    /* numbers follow the order of use, not of arrival; the first of a doubled id counts */
    expect_events(
        EVENTS(SOURCE("turn0s0", "https://e.org/0"), SOURCE("turn0s1", "https://e.org/1"),
               SOURCE("turn0s1", "https://e.org/2"), ANSWER("a【turn0s1】"),
               ANSWER("b【turn0s0】c【turn0s1】"), ZAI_DONE),
        "{\"content\":\"a [1](https://e.org/1)b [2](https://e.org/0)c "
        "[1](https://e.org/1)\",\"citations\":[\"https://e.org/1\",\"https://e.org/0\"]}");
}

static void edits_are_whole_answers(void **state)
{
    expect_events(
        EVENTS(EDIT("\\\"Say \\\\\\\"x\\\\\\\"\\\""), EDIT("Say \\\"x\\\" now"), ZAI_DONE),
        "{\"content\":\"Say \\\"x\\\" now\",\"drift\":[]}");
    expect_events(EVENTS(EDIT("\\\"open"), ZAI_DONE), "{\"content\":\"\\\"open\"}");
    expect_events(EVENTS("{\"phase\":\"other\",\"edit_content\":\"" OPEN
                         "> r\\n</details>\\nAll.\"}",
                         ZAI_DONE),
                  "{\"content\":\"All.\",\"reasoning_content\":\"\"}");
}

static void the_late_internal_error(void **state)
{
#define INTERNAL(more)                                                                             \
    "{\"phase\":\"done\",\"done\":true," more                                                      \
    "\"error\":{\"code\":\"INTERNAL_ERROR\",\"detail\":\"Oops\"}}"
#define USAGE "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}"
    expect_events(EVENTS(ANSWER("a"), INTERNAL(USAGE ",")),
                  "{\"content\":\"a\",\"finish_reason\":\"stop\",\"usage\":{\"total_tokens\":3},"
                  "\"error\":null}");
    expect_events(EVENTS(THINK("a"), INTERNAL(USAGE ",")),
                  "{\"content\":\"\",\"error\":{\"kind\":\"unavailable\"}}");
    expect_events(EVENTS(ANSWER("a"), "{" USAGE "}",
                         "{\"error\":{\"code\":\"INTERNAL_ERROR\",\"detail\":\"Oops\"}}"),
                  "{\"content\":\"a\",\"error\":{\"kind\":\"unavailable\"}}");
}

/* Hostile sizes: what is quadratic takes minutes here, under the sanitizers. */
static void long_heads_and_open_arrays_are_read_once(void **state)
{
    struct buffer body;
    buffer_init(&body, 1 << 26);
    buffer_append(&body, SPAN("data: {\"data\":" THINK("<details ") "}\n\n"));
    for (int i = 0; i < 20000; i++)
        buffer_append(&body,
                      SPAN("data: {\"data\":" THINK("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                                                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") "}"
                                                                                        "\n\n"));
    buffer_append(&body, SPAN("data: {\"data\":{\"phase\":\"tool_call\",\"edit_content\":\""));
    for (int i = 0; i < 100000; i++)
        buffer_append(&body, SPAN("\\\"search_result\\\":["));
    buffer_append(&body, SPAN("\"}}\n\ndata: {\"data\":{\"phase\":\"tool_response\","
                              "\"delta_content\":\""));
    for (int i = 0; i < 100000; i++)
        buffer_append(&body, SPAN("[ref_id=a"));
    buffer_append(&body, SPAN("\"}}\n\ndata: {\"data\":" ANSWER("a") "}\n\ndata: [DONE]\n\n"));
    struct transcript_setup setup = person(NULL);
    struct played out;
    transcript_play(&setup, NULL, buffer_span(&body), NULL, 0, END_CLEAN, &out);
    transcript_expect("long", "{\"content\":\"a\",\"reasoning_content\":\"\"}",
                      buffer_span(&out.json));
    played_free(&out);
    buffer_free(&body);
}

/* Memory does not grow with the number of edits: the arena is for what lasts. */
static void edits_leave_nothing_behind(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    const struct turn_run *run = transcript_run(p);
    struct site_head head = {.status = 200, .content_type = SPAN("text/event-stream")};
    enum framing framing = FRAMING_SSE;
    struct frame frames[] = {
        {.data = SPAN("{\"data\":" EDIT(OPEN "> one\\n</details>\\nAn answer") "}")},
        {.data = SPAN("{\"data\":" EDIT("\\\"An answer\\\"") "}")},
        {.data = SPAN("{\"data\":" THINK("more ") "}")},
        {.data = SPAN("{\"data\":" ANSWER("【turn0s0】, ") "}")}};
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(adapter_zai.on_head(transcript_run(p), &head, &framing), ADAPTER_GO_ON);
    size_t before = 0;
    for (int i = 0; i < 400; i++) {
        if (i == 40) /* by then the room of frame_learn is as large as it will be */
            before = arena_used(run->arena);
        assert_int_equal(adapter_zai.on_frame(transcript_run(p), &frames[i % 4]), ADAPTER_GO_ON);
    }
    assert_int_equal(arena_used(run->arena), before);
    transcript_close(p);
}

/* ---- what the site and the configuration may not make us send ---- */

static void only_ids_become_paths(void **state)
{
    static const char *const answers[] = {
        "{}",
        "{\"id\":\"\"}",
        "{\"id\":\".\"}",
        "{\"id\":\"../models\"}",
        "{\"id\":\"a/b\"}",
        "{\"id\":\"a?b\"}",
        "{\"id\":\"a b\"}",
        "{\"id\":\"a\\r\\nHost: x\"}",
        "{\"id\":\"a\\u0000\"}",
        "{\"id\":7}",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct transcript_setup setup = person_v2(NULL);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(transcript_answer_json(p, 200, answers[i]), ADAPTER_FAIL);
        transcript_expect_fail(p, FAIL_PROTOCOL, "id");
        memset(&req, 0, sizeof req);
        assert_int_equal(adapter_zai.cleanup(transcript_run(p), &req), ADAPTER_DONE);
        transcript_close(p);
    }
}

static void tokens_that_are_none(void **state)
{
    static const char *const guests[] = {"{\"token\":\"\"}", "{\"token\":\"a\\r\\nb\"}",
                                         "{\"token\":null}", "{\"token\":\"a b\"}"};
    struct site_request req;
    struct transcript_player *p;
    for (size_t i = 0; i < sizeof guests / sizeof *guests; i++) {
        struct transcript_setup setup = guest();
        p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(transcript_answer_json(p, 200, guests[i]), ADAPTER_FAIL);
        transcript_expect_fail(p, FAIL_UNAVAILABLE, "guest token");
        assert_null(transcript_run(p)->account->held);
        transcript_close(p);
    }
    static const struct credential pasted[] = {{SPAN_INIT("token"), SPAN_INIT("Bearer eyJ")}};
    struct transcript_setup setup = person(NULL);
    setup.credentials = pasted;
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    transcript_expect_fail(p, FAIL_CREDENTIAL, "copy it again");
    transcript_close(p);

    static const struct credential opaque[] = {{SPAN_INIT("token"), SPAN_INIT("opaque")}};
    setup = person_v2(NULL);
    setup.credentials = opaque; /* no JWT: the user's id is empty */
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer_json(p, 200, ZAI_NEW_CHAT), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(span_find(req.target, SPAN("&user_id=&version=")) > 0);
    transcript_close(p);
}

#define PICTURES(url)                                                                              \
    "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","      \
    "\"image_url\":{\"url\":\"data:image/png;base64,AAAA\"}},{\"type\":\"image_url\","             \
    "\"image_url\":{\"url\":\"" url "\"}}]}]}"

static void every_picture_is_looked_at_first(void **state)
{
    static const char *const bodies[] = {
        PICTURES("data:image/png;base64,*"), PICTURES("data:image/png;base64,"),
        PICTURES("data:image/a b;base64,AAAA"), PICTURES("data:text/html;base64,AAAA"),
        PICTURES("http://127.0.0.1/x.png")};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct transcript_setup setup = person(bodies[i]);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
        transcript_expect_fail(p, FAIL_UNSUPPORTED, "");
        assert_string_equal(transcript_run(p)->fail->param, "messages[0].content[1]");
        transcript_close(p);
    }
}

static void an_upload_is_read_strictly(void **state)
{
    static const char *const answers[] = {"{\"id\":\"f\xff\"}", "{\"id\":\"\\ud83d\"}", "{}",
                                          "{\"id\":\"\"}", "[]"};
    struct site_request req;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct transcript_setup setup = person(PICTURES("data:image/png;base64,BBBB"));
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(transcript_answer_json(p, 200, answers[i]), ADAPTER_FAIL);
        transcript_expect_fail(p, FAIL_PROTOCOL, "chat.z.ai");
        transcript_close(p);
    }
    /* both pictures, one after the other */
    struct transcript_setup setup = person_v2(PICTURES("data:image/png;base64,BBBB"));
    struct transcript_player *p = transcript_open(&setup);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_span_equal(req.target, SPAN("/api/v1/files/"));
        assert_int_equal(
            transcript_answer_json(p, 200, i ? " {\"id\":\"f2\"} " : "{\"id\":\"f1\"}"),
            ADAPTER_COMPLETE);
    }
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer_json(p, 200, ZAI_NEW_CHAT), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("both",
                      "{\"messages\":[{\"content\":[{\"type\":\"text\"},{\"image_url\":{\"url\":"
                      "\"f1\"}},{\"image_url\":{\"url\":\"f2\"}}]}],\"files\":[{\"file\":{\"id\":"
                      "\"f1\"}},{\"file\":{\"id\":\"f2\"},\"size\":3}]}",
                      req.body);
    transcript_close(p);
}

static int keep_model(void *owner, const struct model_entry *entry)
{
    buffer_append(owner, entry->id);
    buffer_char(owner, '=');
    buffer_append(owner, entry->site_id);
    return buffer_char(owner, ';');
}

static void the_live_list(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req = {0};
    struct buffer ids;
    struct model_sink sink = {keep_model, &ids};
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    buffer_init(&ids, 4096);
    assert_int_equal(adapter_zai.models_request(run, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "GET");
    assert_span_equal(req.target, SPAN("/api/models"));
    assert_span_equal(transcript_header(&req, "Authorization"), SPAN("Bearer " ZAI_JWT));
    assert_int_equal(
        adapter_zai.models_answer(
            run,
            SPAN("{\"data\":[{\"id\":\"0727-360B-API\",\"name\":\"GLM-4.5\"},"
                 "{\"id\":\"New-1\",\"name\":\"GLM 6 Big\",\"info\":{\"is_active\":true}},"
                 "{\"id\":\"Off\",\"name\":\"Off\",\"info\":{\"is_active\":false}},"
                 "{\"id\":\"Bare\"},{\"id\":\"Inner\",\"info\":{\"name\":\"I\\nN\"}},"
                 "{\"id\":\"bad id\"},{\"id\":7},{}]}"),
            &sink),
        0);
    assert_span_equal(buffer_span(&ids), SPAN("glm-6-big=New-1;bare=Bare;i-n=Inner;"));
    assert_int_equal(adapter_zai.models_answer(run, SPAN("<html>"), &sink), -1);
    assert_int_equal(adapter_zai.models_answer(run, SPAN("{\"detail\":\"no\"}"), &sink), -1);
    buffer_free(&ids);
    transcript_close(p);
    setup = guest(); /* one that holds no token yet */
    p = transcript_open(&setup);
    assert_int_equal(adapter_zai.models_request(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
}

/* ---- requests ---- */

static void the_text_is_sent_as_it_is_and_signed_trimmed(void **state)
{
    struct transcript_setup setup =
        person_v2("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"  a\\n \"}]}");
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer_json(p, 200, ZAI_NEW_CHAT), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("as it is",
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"  a\\n \"}],"
                      "\"signature_prompt\":\"a\"}",
                      req.body);
    transcript_close(p);
}

static void native_roles_tell_results_as_the_user(void **state)
{
    struct transcript_setup setup = person_v2(
        "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":"
        "\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\","
        "\"tool_call_id\":\"c\",\"content\":\"found\"}]}");
    struct site_request req;
    zai_use_v2(&setup, true);
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer_json(p, 200, ZAI_NEW_CHAT), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("native",
                      "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":"
                      "\"assistant\"},{\"role\":\"user\"}]}",
                      req.body);
    assert_true(span_find(req.body, SPAN("\"signature_prompt\":\"<tool_result id=")) > 0);
    transcript_close(p);
}

/* ---- guests ---- */

#define LOGIN(text) "{\"token\":\"" text "\"}"
#define REFUSED     "{\"detail\":\"401 Unauthorized\"}"

static void a_token_that_another_exchange_renewed_stays(void **state)
{
    struct transcript_setup setup = guest();
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    struct site_account *account = transcript_run(p)->account;
    assert_int_equal(account_hold(account, "guest_token", SPAN("old"), 0), 0);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(account_hold(account, "guest_token", SPAN("new"), 0), 0);
    assert_int_equal(transcript_answer_json(p, 401, REFUSED), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(transcript_header(&req, "Authorization"), SPAN("Bearer new"));
    /* refused again: nothing is left that a later turn would try first */
    assert_int_equal(transcript_answer_json(p, 401, REFUSED), ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_CREDENTIAL, "guest token");
    assert_null(account_held(account, "guest_token", 0, 0).p);
    transcript_close(p);
}

static void a_login_that_is_refused_is_not_repeated(void **state)
{
    struct transcript_setup setup = guest();
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer_json(p, 401, REFUSED), ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_CREDENTIAL, "guest token");
    transcript_close(p);
}

static void limited_and_challenged_guests_are_reported(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum fail_kind kind;
        int retry_after_s;
    } rows[] = {
        {429, "{\"detail\":\"slow\"}", FAIL_RATE_LIMITED, 60},
        {405, "{}", FAIL_CHALLENGE, 0},
        {426, "{}", FAIL_CHALLENGE, 0},
        {503, "{}", FAIL_OVERLOADED, 30},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = guest();
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        struct turn_run *run = transcript_run(p);
        assert_int_equal(account_hold(run->account, "guest_token", SPAN("g"), 0), 0);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(transcript_answer_json(p, rows[i].status, rows[i].body), ADAPTER_FAIL);
        transcript_expect_fail(p, rows[i].kind, "");
        assert_int_equal(run->fail->retry_after_s, rows[i].retry_after_s);
        assert_int_equal(run->fail->upstream_status, rows[i].status);
        assert_span_equal(account_held(run->account, "guest_token", 0, 0), SPAN("g"));
        transcript_close(p);
    }
}

/* A guest whose token is refused inside the v2 stream starts over with a new chat. */
static void a_refusal_inside_the_stream(void **state)
{
    struct transcript_setup setup = guest();
    struct site_request req;
    zai_use_v2(&setup, false);
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer_json(p, 200, LOGIN("g1")), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer_json(p, 200, ZAI_NEW_CHAT), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(
        transcript_answer(p, 200, "text/event-stream",
                          SPAN("data: {\"error\":{\"code\":401,\"detail\":\"x\"}}\n\n"), NULL, 0,
                          END_CLEAN),
        ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(req.credential_step);
    assert_int_equal(transcript_answer_json(p, 200, LOGIN("g2")), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/api/v1/chats/new"));
    assert_span_equal(transcript_header(&req, "Authorization"), SPAN("Bearer g2"));
    transcript_close(p);
}

/* ---- failures ---- */

static void a_sites_words_are_cleaned(void **state)
{
    static const struct {
        const char *body, *wanted, *unwanted;
    } rows[] = {
        {"{\"detail\":\"line\\r\\nbreak\"}", "line  break", "\n"},
        {"{\"detail\":\"<html><body>page</body>\"}", "no reason given", "<"},
        {"{\"detail\":\"bad token " ZAI_JWT "\"}", "bad token ***", "eyJ"},
        {"{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"field required\"}]}", "field required", "["},
        {"{\"detail\":{\"code\":9,\"message\":\"inside\"}}", "inside", "{"},
        {"{\"detail\":\"\\ud83d\"}", "\xEF\xBF\xBD", "\xED"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(transcript_answer_json(p, 422, rows[i].body), ADAPTER_FAIL);
        transcript_expect_fail(p, FAIL_BAD_REQUEST, rows[i].wanted);
        assert_null(strstr(transcript_run(p)->fail->message, rows[i].unwanted));
        transcript_close(p);
    }
}

static void a_status_counts_even_when_the_body_breaks_off(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(
        transcript_answer(p, 429, "application/json", SPAN("{\"det"), NULL, 0, END_CUT),
        ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_RATE_LIMITED, "limits this account");
    transcript_close(p);
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(
        transcript_answer(p, 200, "application/json", SPAN("{\"det"), NULL, 0, END_CUT),
        ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_CUT, "");
    transcript_close(p);
}

/* The helpful sentences fit: nothing of the two ways is cut off. */
static void the_two_ways_are_told_whole(void **state)
{
    static const struct {
        int status;
        const char *type, *body;
    } rows[] = {
        {200, "text/html", "<html>"},
        {405, "text/plain", "no"},
        {200, "application/json", "{\"error\":{\"code\":\"CAPTCHA_VERIFICATION_FAILED\"}}"},
        {400, "application/json", "{\"detail\":\"x\",\"captcha_error_type\":\"missing_param\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        struct played out;
        setup.status = rows[i].status;
        setup.content_type = rows[i].type;
        transcript_play(&setup, NULL, span_str(rows[i].body), NULL, 0, END_CLEAN, &out);
        assert_int_equal(out.fail.kind, FAIL_CHALLENGE);
        assert_non_null(strstr(out.fail.message, "in a later version: transport = \"bridge\""));
        assert_non_null(strstr(out.fail.message, "\"https://api.z.ai/api/paas/v4\""));
        played_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stretch_without_text_is_not_set_off),
        cmocka_unit_test(a_hand_over_brings_what_was_missing),
        cmocka_unit_test(a_head_without_an_end_is_no_reasoning),
        cmocka_unit_test(marks_alone_are_no_answer),
        cmocka_unit_test(links_hold_nothing_that_ends_them),
        cmocka_unit_test(edits_are_whole_answers),
        cmocka_unit_test(the_late_internal_error),
        cmocka_unit_test(long_heads_and_open_arrays_are_read_once),
        cmocka_unit_test(edits_leave_nothing_behind),
        cmocka_unit_test(only_ids_become_paths),
        cmocka_unit_test(tokens_that_are_none),
        cmocka_unit_test(every_picture_is_looked_at_first),
        cmocka_unit_test(an_upload_is_read_strictly),
        cmocka_unit_test(the_live_list),
        cmocka_unit_test(the_text_is_sent_as_it_is_and_signed_trimmed),
        cmocka_unit_test(native_roles_tell_results_as_the_user),
        cmocka_unit_test(a_token_that_another_exchange_renewed_stays),
        cmocka_unit_test(a_login_that_is_refused_is_not_repeated),
        cmocka_unit_test(limited_and_challenged_guests_are_reported),
        cmocka_unit_test(a_refusal_inside_the_stream),
        cmocka_unit_test(a_sites_words_are_cleaned),
        cmocka_unit_test(a_status_counts_even_when_the_body_breaks_off),
        cmocka_unit_test(the_two_ways_are_told_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
