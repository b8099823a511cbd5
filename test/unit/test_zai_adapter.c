/*
 * test/unit/test_zai_adapter.c - chat.z.ai: requests of both forms, the guest's token, pictures,
 * answers, every row of the error table.
 */
#include "adapters/support.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/zai.h"

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define GUEST_TOKEN                                                                                \
    "{\"id\":\"g\",\"email\":\"Guest-1@guest.com\",\"role\":\"guest\",\"token\":\"%s\",\"token_"   \
    "type\":\"Bearer\"}"

static const struct option_value signed_options[] = {
    {.name = SPAN_INIT("signing_key"), .type = OPTION_TEXT, .text = SPAN_INIT("k1")},
};
static const char *const new_chat[] = {ZAI_NEW_CHAT, NULL};

static struct transcript_setup person(const char *body) { return zai_setup("glm-4.7", body); }

static struct transcript_setup person_v2(const char *body)
{
    struct transcript_setup s = person(body);
    zai_use_v2(&s, false);
    return s;
}

/* ---- answers ---- */

static void every_fixture_at_every_split(void **state)
{
    static const char *const files[] = {"captcha-required.sse",
                                        "client-outdated.sse",
                                        "error-after-text.sse",
                                        "error-in-band.sse",
                                        "error-in-done-after-usage.sse",
                                        "error-in-done-without-usage.sse",
                                        "plain.sse",
                                        "reasoning.sse",
                                        "search.sse",
                                        "v2-tools.sse",
                                        "wrapped-cut-anywhere.sse"};
    struct transcript_setup v1 = person(NULL), v2 = person_v2(NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        transcript_check(&v1, NULL, "zai", files[i]);
        transcript_check(&v2, new_chat, "zai", files[i]);
    }
}

/* One answer made of the given events (each the inside of data), and what must come of it. */
static void expect_events(const char *const *events, enum stream_end end, const char *wanted)
{
    struct transcript_setup setup = person(NULL);
    struct buffer body;
    struct played out;
    buffer_init(&body, 1 << 20);
    zai_stream(&body, events);
    transcript_play(&setup, NULL, buffer_span(&body), NULL, 0, end, &out);
    transcript_expect(events[0], wanted, buffer_span(&out.json));
    played_free(&out);
    buffer_free(&body);
}

#define USAGE                                                                                      \
    "{\"phase\":\"other\",\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_"         \
    "tokens\":3}}"

static void ends(void **state)
{
    expect_events(EVENTS("{\"phase\":\"answer\",\"delta_content\":\"a\"}", USAGE), END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":\"stop\",\"error\":null}");
    expect_events(EVENTS("{\"phase\":\"answer\",\"delta_content\":\"a\"}"), END_CLEAN,
                  "{\"content\":\"a\",\"finish_reason\":null,\"error\":{\"kind\":\"cut\"}}");
    expect_events(EVENTS("{\"phase\":\"answer\",\"delta_content\":\"a\"}", USAGE), END_CUT,
                  "{\"content\":\"a\",\"finish_reason\":null,\"error\":{\"kind\":\"cut\"}}");
    expect_events(EVENTS(ZAI_DONE), END_CLEAN, "{\"content\":\"\",\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS(USAGE), END_CLEAN, "{\"error\":{\"kind\":\"empty\"}}");
    expect_events(EVENTS("{\"phase\":\"thinking\",\"delta_content\":\"hm\"}", ZAI_DONE), END_CLEAN,
                  "{\"reasoning_content\":\"hm\",\"finish_reason\":\"stop\",\"error\":null}");
    expect_events(EVENTS("{\"delta_content\":\"no phase\"}", ZAI_DONE), END_CLEAN,
                  "{\"content\":\"no phase\"}");
}

/* Rule 6: the whole answer so far. */
static void edits_continue_the_answer(void **state)
{
    expect_events(
        EVENTS("{\"phase\":\"answer\",\"delta_content\":\"The s\"}",
               "{\"phase\":\"answer\",\"edit_content\":\"The sum is\"}",
               "{\"phase\":\"other\",\"edit_content\":\"The sum is 4.\",\"edit_index\":0}",
               ZAI_DONE),
        END_CLEAN, "{\"content\":\"The sum is 4.\",\"drift\":[]}");
    expect_events(
        EVENTS("{\"phase\":\"answer\",\"delta_content\":\"The sum\"}",
               "{\"phase\":\"answer\",\"edit_content\":\"A product\"}", ZAI_DONE),
        END_CLEAN,
        "{\"content\":\"The sum\",\"drift\":[\"edit that does not continue the answer\"]}");
    expect_events(EVENTS("{\"phase\":\"answer\",\"delta_content\":\"ab\"}",
                         "{\"phase\":\"answer\",\"edit_index\":1,\"edit_content\":\"bc\"}",
                         ZAI_DONE),
                  END_CLEAN, "{\"content\":\"ab\",\"drift\":[\"edit at an index\"]}");
    expect_events(
        EVENTS("{\"phase\":\"answer\",\"delta_content\":\"x\",\"edit_content\":\"whole other\"}",
               ZAI_DONE),
        END_CLEAN, "{\"content\":\"x\",\"drift\":[]}");
}

static void text_before_a_tool_block_is_answer(void **state)
{
    expect_events(EVENTS("{\"phase\":\"answer\",\"edit_content\":\"I look.\\n<glm_block "
                         "view=\\\"\\\">{\\\"type\\\":\\\"mcp\\\"}</glm_block>\"}",
                         "{\"phase\":\"answer\",\"delta_content\":\"Found.\"}", ZAI_DONE),
                  END_CLEAN, "{\"content\":\"I look.\\nFound.\"}");
}

static void marks(void **state)
{
#define SOURCE                                                                                     \
    "{\"phase\":\"tool_response\",\"delta_content\":\"[ref_id=turn0search0†A (b) "               \
    "†https://x.example/a (b)]\\nText\"}"
    expect_events(EVENTS(SOURCE,
                         "{\"phase\":\"answer\",\"delta_content\":\"see【turn0search0】, 【not a "
                         "mark】 and 【turn7x1】.\"}",
                         ZAI_DONE),
                  END_CLEAN,
                  "{\"content\":\"see [1](https://x.example/a%20(b%29), 【not a mark】 and .\","
                  "\"citations\":[\"https://x.example/a (b)\"]}");
    /* held back, then flushed at the end: it was no mark */
    expect_events(
        EVENTS(SOURCE, "{\"phase\":\"answer\",\"delta_content\":\"open 【turn0sear\"}", ZAI_DONE),
        END_CLEAN, "{\"content\":\"open 【turn0sear\",\"citations\":[]}");
    /* in reasoning they vanish */
    expect_events(EVENTS("{\"phase\":\"thinking\",\"delta_content\":\"as 【turn0sea\"}",
                         "{\"phase\":\"thinking\",\"delta_content\":\"rch0】 says\"}", ZAI_DONE),
                  END_CLEAN, "{\"reasoning_content\":\"as  says\"}");
}

static void drift_is_counted(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct played out;
    transcript_play(&setup, NULL,
                    SPAN("data: nonsense\n\ndata: {\"type\":\"chat:completion\"}\n\n"
                         "data: "
                         "{\"type\":\"chat:completion\",\"data\":{\"phase\":\"dreaming\",\"delta_"
                         "content\":\"z\"}}\n\n"
                         "data: {\"type\":\"chat:title\",\"data\":\"T\"}\n\n"
                         "data: "
                         "{\"type\":\"chat:completion\",\"data\":{\"phase\":\"answer\",\"delta_"
                         "content\":\"a\"}}\n\ndata: [DONE]\n\n"),
                    NULL, 0, END_CLEAN, &out);
    transcript_expect("drift",
                      "{\"content\":\"a\",\"finish_reason\":\"stop\",\"drift\":[\"event that is no "
                      "JSON object\",\"event without data\",\"unknown phase\"]}",
                      buffer_span(&out.json));
    played_free(&out);
}

/* ---- requests ---- */

#define UUID_SIZE 36

static void form_v1(void **state)
{
    struct transcript_setup setup = person(
        "{\"model\":\"x\",\"temperature\":0.5,\"max_tokens\":9,\"stop\":\"END\",\"messages\":[{"
        "\"role\":\"developer\",\"content\":\"Be brief.\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
        "\"text\":\"b\"}]},"
        "{\"role\":\"assistant\",\"content\":null},{\"role\":\"user\",\"content\":\"你好\"}]}");
    struct site_request req;
    setup.model = "glm-4.5-thinking-search";
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_span_equal(req.target, SPAN("/api/chat/completions"));
    assert_span_equal(transcript_header(&req, "Authorization"), SPAN("Bearer " ZAI_JWT));
    assert_span_equal(transcript_header(&req, "Origin"), SPAN("https://chat.z.ai"));
    assert_span_equal(transcript_header(&req, "X-FE-Version"), SPAN("prod-fe-1.1.95"));
    assert_span_equal(transcript_header(&req, "Accept"),
                      SPAN("application/json, text/event-stream"));
    assert_true(span_starts(transcript_header(&req, "Referer"), SPAN("https://chat.z.ai/c/")));
    transcript_expect(
        "v1",
        "{\"stream\":true,\"model\":\"0727-360B-API\",\"messages\":[{\"role\":\"system\","
        "\"content\":\"Be brief.\"},"
        "{\"role\":\"user\",\"content\":\"a\\nb\"},{\"role\":\"assistant\",\"content\":\"\"},{"
        "\"role\":\"user\",\"content\":\"你好\"}],"
        "\"params\":{\"temperature\":0.5,\"max_tokens\":9,\"stop\":[\"END\"]},"
        "\"features\":{\"enable_thinking\":true,\"web_search\":true,\"auto_web_search\":true},"
        "\"background_tasks\":{\"title_generation\":false,\"tags_generation\":false},\"mcp_"
        "servers\":[],\"tool_servers\":[],"
        "\"model_item\":{\"id\":\"0727-360B-API\",\"name\":\"glm-4.5\",\"owned_by\":\"openai\"},"
        "\"variables\":{\"{{USER_NAME}}\":\"User\",\"{{USER_LOCATION}}\":\"Unknown\",\"{{CURRENT_"
        "DATETIME}}\":\"2025-10-09 08:53:20\"}}",
        req.body);
    transcript_close(p);
}

static void form_v2(void **state)
{
    struct transcript_setup setup =
        person_v2("{\"model\":\"x\",\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{"
                  "\"role\":\"user\",\"content\":\"U\"},"
                  "{\"role\":\"assistant\",\"content\":\"A\"}]}");
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/api/v1/chats/new"));
    transcript_expect(
        "new chat",
        "{\"chat\":{\"id\":\"\",\"title\":\"New "
        "Chat\",\"models\":[\"glm-4.7\"],\"params\":{},\"message_version\":1,"
        "\"enable_thinking\":false,\"auto_web_search\":false,\"timestamp\":1760000000000}}",
        req.body);
    assert_true(
        span_find(
            req.body,
            SPAN("\"content\":\"system: S\\nuser: U\\nassistant: A\",\"timestamp\":1760000000,")) >
        0);
    assert_int_equal(transcript_answer(p, 201, "application/json", SPAN("{\"id\":\"chat-7\"}"),
                                       NULL, 0, END_CLEAN),
                     ADAPTER_COMPLETE);

    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(span_starts(req.target,
                            SPAN("/api/v2/chat/completions?timestamp=1760000000000&requestId=")));
    assert_true(
        span_find(req.target, SPAN("&user_id=u-1&version=0.0.1&platform=web&token=" ZAI_JWT
                                   "&current_url=https%3A%2F%2Fchat.z.ai%2Fc%2Fchat-7&pathname=%"
                                   "2Fc%2Fchat-7&signature_timestamp=1760000000000")) > 0);
    assert_true(req.secret_target);
    assert_null(transcript_header(&req, "X-Signature").p);
    assert_span_equal(transcript_header(&req, "Referer"), SPAN("https://chat.z.ai/c/chat-7"));
    transcript_expect(
        "v2",
        "{\"stream\":true,\"model\":\"glm-4.7\",\"messages\":[{\"role\":\"user\",\"content\":"
        "\"system: S\\nuser: U\\nassistant: A\"}],"
        "\"signature_prompt\":\"system: S\\nuser: U\\nassistant: A\",\"params\":{},\"extra\":{},"
        "\"features\":{\"image_generation\":false,\"web_search\":false,\"auto_web_search\":false,"
        "\"preview_mode\":true,\"flags\":[],\"enable_thinking\":false},"
        "\"variables\":{\"{{CURRENT_WEEKDAY}}\":\"Thursday\",\"{{CURRENT_DATE}}\":\"2025-10-09\"},"
        "\"chat_id\":\"chat-7\","
        "\"current_user_message_parent_id\":null}",
        req.body);
    transcript_close(p);
}

/* The check value of sites/zai.md §6.2. */
static void signature_of_the_dossier(void **state)
{
    struct arena a;
    arena_init(&a);
    struct span k = hmac_sha256_hex(&a, SPAN("k1"), SPAN("5866666"));
    struct span data = arena_printf(&a,
                                    "requestId,11111111-2222-4333-8444-555555555555,timestamp,"
                                    "1760000000123,user_id,u-1|%.*s|1760000000123",
                                    SPAN_ARGS(base64_encode(&a, SPAN("你好"))));
    assert_span_equal(hmac_sha256_hex(&a, k, data),
                      SPAN("47b7df4e6b63b8be508a1f03c038f94b2c2f527d0fb6faf6b782b76e8f00fc05"));
    arena_free(&a);
}

/* With a key the form is v2 and the header is made of the very values that the URL carries. */
static void signed_request(void **state)
{
    struct transcript_setup setup =
        person("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"  你好 \"}]}");
    struct site_request req;
    struct arena a;
    setup.options = signed_options;
    setup.n_options = 1;
    setup.now_ms = INT64_C(1760000000123);
    arena_init(&a);
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(
        transcript_answer(p, 200, "application/json", SPAN("{\"id\":\"c\"}"), NULL, 0, END_CLEAN),
        ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    ptrdiff_t at = span_find(req.target, SPAN("requestId="));
    assert_true(at > 0);
    struct span id = span_first(span_from(req.target, (size_t)at + 10), UUID_SIZE);
    struct span data =
        arena_printf(&a, "requestId,%.*s,timestamp,1760000000123,user_id,u-1|%.*s|1760000000123",
                     SPAN_ARGS(id), SPAN_ARGS(base64_encode(&a, SPAN("你好"))));
    assert_span_equal(transcript_header(&req, "X-Signature"),
                      hmac_sha256_hex(&a, hmac_sha256_hex(&a, SPAN("k1"), SPAN("5866666")), data));
    transcript_close(p);
    arena_free(&a);
}

static void reasoning_and_suffixes(void **state)
{
    static const struct {
        const char *model, *fields, *wanted;
    } rows[] = {
        {"glm-4.7", "", "{\"model\":\"glm-4.7\",\"features\":{\"enable_thinking\":false}}"},
        {"glm-4.7", "\"reasoning_effort\":\"high\",", "{\"features\":{\"enable_thinking\":true}}"},
        {"glm-4.7", "\"reasoning_effort\":\"none\",", "{\"features\":{\"enable_thinking\":false}}"},
        {"glm-4.7", "\"thinking\":{\"type\":\"enabled\"},",
         "{\"features\":{\"enable_thinking\":true}}"},
        {"glm-4.7-nothinking", "\"reasoning_effort\":\"high\",",
         "{\"features\":{\"enable_thinking\":false}}"},
        {"glm-4.6-search-thinking", "",
         "{\"model\":\"GLM-4-6-API-V1\",\"features\":{\"enable_thinking\":true,\"web_search\":true}"
         "}"},
        {"GLM-4-6-API-V1-thinking", "",
         "{\"model\":\"GLM-4-6-API-V1\",\"features\":{\"enable_thinking\":true}}"},
        {"glm-4.5v-search", "", "{\"model\":\"glm-4.5v\",\"features\":{\"web_search\":null}}"},
        {"some-new-Model", "", "{\"model\":\"some-new-Model\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[200];
        struct site_request req;
        snprintf(body, sizeof body, "{\"model\":\"x\",%s" HI "}", rows[i].fields);
        struct transcript_setup setup = person(body);
        setup.model = rows[i].model;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_expect(rows[i].model, rows[i].wanted, req.body);
        transcript_close(p);
    }
}

/* ---- guests ---- */

static struct span guest_answer(char *text, size_t size, const char *jwt)
{
    int n = snprintf(text, size, GUEST_TOKEN, jwt);
    return span_of(text, (size_t)n);
}

static void guest_token_is_fetched_once_and_kept(void **state)
{
    struct transcript_setup setup = {.adapter = &adapter_zai, .model = "glm-4.7", .guest = true};
    struct site_request req;
    char text[300];
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "GET");
    assert_span_equal(req.target, SPAN("/api/v1/auths/"));
    assert_true(req.credential_step);
    assert_null(transcript_header(&req, "Authorization").p);
    /* another exchange got it meanwhile: asked again, the adapter looks again */
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(req.credential_step);
    assert_int_equal(transcript_answer(p, 200, "application/json",
                                       guest_answer(text, sizeof text, "g1"), NULL, 0, END_CLEAN),
                     ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_false(req.credential_step);
    assert_span_equal(transcript_header(&req, "Authorization"), SPAN("Bearer g1"));
    assert_span_equal(account_held(transcript_run(p)->account, "guest_token", 0, 0), SPAN("g1"));
    transcript_close(p);
}

static void refused_guest_gets_one_new_token(void **state)
{
    struct transcript_setup setup = {.adapter = &adapter_zai, .model = "glm-4.7", .guest = true};
    struct site_request req;
    struct played out;
    char text[300];
    struct transcript_player *p = transcript_open(&setup);
    for (int round = 0; round < 2; round++) {
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_true(req.credential_step);
        transcript_answer(p, 200, "application/json",
                          guest_answer(text, sizeof text, round ? "g2" : "g1"), NULL, 0, END_CLEAN);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_span_equal(transcript_header(&req, "Authorization"),
                          round ? SPAN("Bearer g2") : SPAN("Bearer g1"));
        enum adapter_verdict v =
            transcript_answer(p, 401, "application/json", SPAN("{\"detail\":\"401 Unauthorized\"}"),
                              NULL, 0, END_CLEAN);
        assert_int_equal(v, round ? ADAPTER_FAIL : ADAPTER_COMPLETE);
    }
    transcript_result(p, &out);
    assert_int_equal(out.fail.kind, FAIL_CREDENTIAL);
    played_free(&out);
    transcript_close(p);
}

/* A guest's token that tells its end is asked for anew a minute before it; the turn that obtained
 * it goes on with it. */
static void a_guests_token_is_renewed_before_its_end(void **state)
{
    struct transcript_setup setup = {.adapter = &adapter_zai, .model = "glm-4.7", .guest = true};
    struct site_request req;
    char text[300];
    /* {"id":"u","exp":1700000000} */
    static const char guest[] = "e30.eyJpZCI6InUiLCJleHAiOjE3MDAwMDAwMDB9.c2ln";
    static const int64_t end = INT64_C(1700000000000);
    static const struct {
        int64_t now;
        bool asked;
    } rows[] = {{end - REFRESH_MARGIN_MS - 1000, false}, {end - REFRESH_MARGIN_MS + 1000, true}};
    for (size_t i = 0; i < 2; i++) {
        struct transcript_player *p = transcript_open(&setup);
        struct turn_run *run = transcript_run(p);
        run->now_ms = end - 1000; /* near its end, and good for this turn */
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_answer(p, 200, "application/json", guest_answer(text, sizeof text, guest), NULL,
                          0, END_CLEAN);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_false(req.credential_step);
        assert_int_equal(run->account->held->expires_ms, end);

        adapter_zai.destroy(run); /* another turn */
        memset(run->state, 0, adapter_zai.state_size);
        run->now_ms = rows[i].now;
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(req.credential_step, rows[i].asked);
        transcript_close(p);
    }
}

/* ---- pictures ---- */

#define PICTURE(url)                                                                               \
    "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"  \
    "\"see\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"" url "\"}}]}]}"

static void pictures_are_uploaded_first(void **state)
{
    struct transcript_setup setup = person_v2(PICTURE("data:image/jpeg;base64,aGVsbG8="));
    struct site_request req;
    setup.model = "glm-4.6v";
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/api/v1/files/"));
    assert_true(span_starts(transcript_header(&req, "Content-Type"),
                            SPAN("multipart/form-data; boundary=")));
    assert_true(
        span_find(req.body, SPAN("name=\"file\"; filename=\"image-1.jpeg\"\r\nContent-Type: "
                                 "image/jpeg\r\n\r\nhello\r\n--")) > 0);
    transcript_answer(p, 200, "application/json",
                      SPAN("{\"id\":\"f-1\",\"filename\":\"image-1.jpeg\",\"meta\":{\"size\":5}}"),
                      NULL, 0, END_CLEAN);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND); /* the chat */
    transcript_answer(p, 200, "application/json", SPAN("{\"id\":\"c\"}"), NULL, 0, END_CLEAN);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect(
        "picture",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"see\"},{"
        "\"type\":\"image_url\",\"image_url\":{\"url\":\"f-1\"}}]}],"
        "\"files\":[{\"type\":\"image\",\"id\":\"f-1\",\"name\":\"image-1.jpeg\",\"size\":5,"
        "\"status\":\"uploaded\",\"url\":\"/api/v1/files/f-1/content\","
        "\"file\":{\"id\":\"f-1\",\"filename\":\"image-1.jpeg\",\"meta\":{\"size\":5}}}],"
        "\"mcp_servers\":[\"vlm-image-search\",\"vlm-image-recognition\",\"vlm-image-processing\"]"
        "}",
        req.body);
    transcript_close(p);
}

static void pictures_that_cannot_be_sent(void **state)
{
    static const struct {
        const char *model, *body;
        bool guest;
    } rows[] = {{"glm-4.6v", PICTURE("https://x.example/a.png"), false},
                {"glm-4.7", PICTURE("data:image/png;base64,AAAA"), false},
                {"glm-4.6v", PICTURE("data:image/png;base64,AAAA"), true},
                {"glm-4.6v", PICTURE("data:image/png;base64,*"), false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(rows[i].body);
        struct site_request req;
        setup.model = rows[i].model;
        setup.guest = rows[i].guest;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
        assert_int_equal(transcript_run(p)->fail->kind, FAIL_UNSUPPORTED);
        assert_string_equal(transcript_run(p)->fail->param, "messages[0].content[1]");
        transcript_close(p);
    }
}

/* ---- failures (§9) ---- */

static void failures_by_http(void **state)
{
    static const struct {
        int status;
        const char *type, *body, *wanted;
    } rows[] = {
        {200, "text/html", "<!doctype html><title>check</title>", "challenge"},
        {503, "text/html; charset=utf-8", "<html>", "challenge"},
        {403, "text/plain", "no", "challenge"},
        {405, "application/json", "{}", "challenge"},
        {426, "application/json", "{\"detail\":\"Upgrade\"}", "challenge"},
        {400, "application/json", "{\"detail\":\"403: Signature validation failed: x\"}",
         "challenge"},
        {403, "application/json", "{\"detail\":\"missing signature header\"}", "challenge"},
        {401, "application/json", "{\"detail\":\"401 Unauthorized\"}", "credential"},
        {429, "application/json", "{\"detail\":\"slow down\"}", "rate_limited"},
        {400, "application/json", "{\"detail\":\"concurrency exceeded\"}", "rate_limited"},
        {503, "application/json", "{\"detail\":\"x\"}", "overloaded"},
        {403, "application/json", "{\"detail\":\"Model not available for current user level\"}",
         "bad_request"},
        {404, "application/json", "{\"detail\":\"no\"}", "bad_request"},
        {422, "application/json", "{\"detail\":\"no\"}", "bad_request"},
        {500, "application/json", "{\"detail\":\"no\"}", "unavailable"},
        {502, "text/plain", "bad gateway", "unavailable"},
        {200, "application/json", "{\"error\":{\"code\":\"FRONTEND_CAPTCHA_REQUIRED\"}}",
         "challenge"},
        {200, "application/json", "{\"detail\":\"what\"}", "unavailable"},
        {200, "application/json", "not json", "protocol"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        struct played out;
        setup.status = rows[i].status;
        setup.content_type = rows[i].type;
        transcript_play(&setup, NULL, span_str(rows[i].body), NULL, 0, END_CLEAN, &out);
        if (strcmp(fail_kind_name(out.fail.kind), rows[i].wanted) != 0)
            fail_msg("%d %s: %s (%s)", rows[i].status, rows[i].body, fail_kind_name(out.fail.kind),
                     out.fail.message);
        assert_null(strstr(out.fail.message, "<html"));
        played_free(&out);
    }
}

static void failures_by_event(void **state)
{
    static const struct {
        const char *event, *wanted;
    } rows[] = {
        {"{\"type\":\"error\",\"code\":403,\"message\":\"x\"}", "bad_request"},
        {"{\"error\":{\"code\":\"CAPTCHA_UNAVAILABLE\",\"detail\":\"x\"}}", "challenge"},
        {"{\"data\":{\"error\":{\"code\":\"429\",\"detail\":\"x\"}}}", "rate_limited"},
        {"{\"data\":{\"data\":{\"error\":{\"error_code\":\"MODEL_CONCURRENCY_LIMIT\",\"detail\":"
         "\"当前模型使用人数较多\"}}}}",
         "overloaded"},
        {"{\"error\":{\"code\":401,\"detail\":\"x\"}}", "credential"},
        {"{\"error\":{\"code\":\"X\",\"detail\":\"客户端校验失败\"}}", "challenge"},
        {"{\"error\":{\"code\":\"INTERNAL_ERROR\",\"detail\":\"Oops\"}}", "unavailable"},
        {"{\"error\":{\"code\":418,\"detail\":\"tea\"}}", "bad_request"},
        {"{\"error\":{\"code\":1234567,\"detail\":\"odd\"}}", "unavailable"},
        {"{\"error\":{}}", "unavailable"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        struct played out;
        char bytes[400];
        int n = snprintf(bytes, sizeof bytes, "data: %s\n\n", rows[i].event);
        transcript_play(&setup, NULL, span_of(bytes, (size_t)n), NULL, 0, END_CLEAN, &out);
        if (strcmp(fail_kind_name(out.fail.kind), rows[i].wanted) != 0)
            fail_msg("%s: %s (%s)", rows[i].event, fail_kind_name(out.fail.kind), out.fail.message);
        played_free(&out);
    }
}

static void captcha_names_the_ways(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct played out;
    transcript_play(&setup, NULL,
                    SPAN("data: {\"error\":{\"code\":\"FRONTEND_CAPTCHA_REQUIRED\"}}\n\n"), NULL, 0,
                    END_CLEAN, &out);
    assert_non_null(strstr(out.fail.message, "in a later version: transport = \"bridge\""));
    assert_non_null(strstr(out.fail.message, "https://api.z.ai/api/paas/v4"));
    played_free(&out);
}

static void retry_after_is_kept(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct played out;
    setup.status = 429;
    setup.content_type = "application/json";
    setup.retry_after_s = 17;
    transcript_play(&setup, NULL, SPAN("{\"detail\":\"slow\"}"), NULL, 0, END_CLEAN, &out);
    assert_int_equal(out.fail.retry_after_s, 17);
    played_free(&out);
}

/* ---- clean-up ---- */

static void chats_are_deleted(void **state)
{
    struct transcript_setup setup = person_v2(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    transcript_next(p, &req);
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_zai.cleanup(transcript_run(p), &req),
                     ADAPTER_DONE); /* nothing was created yet */
    transcript_answer(p, 200, "application/json", SPAN("{\"id\":\"chat-9\"}"), NULL, 0, END_CLEAN);
    assert_int_equal(adapter_zai.cleanup(transcript_run(p), &req), ADAPTER_SEND);
    assert_string_equal(req.method, "DELETE");
    assert_span_equal(req.target, SPAN("/api/v1/chats/chat-9"));
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_zai.cleanup(transcript_run(p), &req), ADAPTER_DONE); /* once */
    transcript_close(p);

    setup = person(NULL); /* v1 stores nothing */
    p = transcript_open(&setup);
    transcript_next(p, &req);
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_zai.cleanup(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fixture_at_every_split),
        cmocka_unit_test(ends),
        cmocka_unit_test(edits_continue_the_answer),
        cmocka_unit_test(text_before_a_tool_block_is_answer),
        cmocka_unit_test(marks),
        cmocka_unit_test(drift_is_counted),
        cmocka_unit_test(form_v1),
        cmocka_unit_test(form_v2),
        cmocka_unit_test(signature_of_the_dossier),
        cmocka_unit_test(signed_request),
        cmocka_unit_test(reasoning_and_suffixes),
        cmocka_unit_test(guest_token_is_fetched_once_and_kept),
        cmocka_unit_test(refused_guest_gets_one_new_token),
        cmocka_unit_test(a_guests_token_is_renewed_before_its_end),
        cmocka_unit_test(pictures_are_uploaded_first),
        cmocka_unit_test(pictures_that_cannot_be_sent),
        cmocka_unit_test(failures_by_http),
        cmocka_unit_test(failures_by_event),
        cmocka_unit_test(captcha_names_the_ways),
        cmocka_unit_test(retry_after_is_kept),
        cmocka_unit_test(chats_are_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
