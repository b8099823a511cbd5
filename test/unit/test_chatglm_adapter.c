/*
 * test/unit/test_chatglm_adapter.c - chatglm.cn: credentials and their rotation, what is sent,
 * uploads, every row of the error table, the clean-up, the model list.
 */
#include "adapters/support.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/fixture.h"
#include "test/unit/support/transcript.h"

#include <stdlib.h>

#define HI          "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define REFRESH     "/chatglm/user-api/user/refresh"
#define VISIT       "/chatglm/user-api/guest/access"
#define STREAM      "/chatglm/backend-api/assistant/stream"
#define UPLOAD      "/chatglm/productivity-api/file/chat_upload"
#define DEVICE      "0123456789abcdef0123456789abcdef"
#define NEEDS_LOGIN "{\"status\":40103,\"message\":\"user needs login\"}"
#define TOKENS(access, refresh)                                                                    \
    "{\"status\":0,\"message\":\"success\",\"result\":{\"user_id\":\"u\",\"access_token\":"        \
    "\"" access "\",\"refresh_token\":\"" refresh "\",\"is_guest\":false},\"rid\":\"r\"}"

static const struct credential refresh[] = {{SPAN_INIT("refresh_token"), SPAN_INIT("r0")}};
static const struct credential access_only[] = {{SPAN_INIT("token"), SPAN_INIT("a0")}};
static const struct option_value secret[] = {
    {.name = SPAN_INIT("sign_secret"), .type = OPTION_TEXT, .text = SPAN_INIT("s3")},
};

static const char *jwt(const char *payload)
{
    struct span middle = base64_encode(&test_arena, span_str(payload));
    return arena_printf(&test_arena, "e30.%.*s.c2ln", SPAN_ARGS(middle)).p;
}

static struct transcript_setup person(const char *body)
{
    return (struct transcript_setup){.adapter = &adapter_chatglm,
                                     .body = body,
                                     .model = "glm-5.3",
                                     .credentials = refresh,
                                     .n_credentials = 1};
}

static struct transcript_setup with_access(const char *body)
{
    struct transcript_setup setup = person(body);
    setup.credentials = access_only;
    return setup;
}

static struct transcript_setup guest(void)
{
    return (struct transcript_setup){
        .adapter = &adapter_chatglm, .model = "glm-5.3-flash", .guest = true};
}

static enum adapter_verdict stream(struct transcript_player *p, const char *events)
{
    return transcript_answer(p, 200, "text/event-stream", span_str(events), NULL, 0, END_CLEAN);
}

/* The next request goes there, with that bearer (NULL = none). */
static void expect_request(struct transcript_player *p, struct site_request *req,
                           const char *target, const char *bearer)
{
    assert_int_equal(transcript_next(p, req), ADAPTER_SEND);
    assert_span_equal(req->target, span_str(target));
    struct span wanted = bearer ? arena_printf(&test_arena, "Bearer %s", bearer) : span_of(NULL, 0);
    assert_span_equal(transcript_header(req, "Authorization"), wanted);
}

static struct span held(struct transcript_player *p, const char *name)
{
    return account_held(transcript_run(p)->account, name, 0, 0);
}

static void another_turn(struct transcript_player *p)
{
    struct turn_run *run = transcript_run(p);
    adapter_chatglm.destroy(run);
    memset(run->state, 0, adapter_chatglm.state_size);
    fail_clear(run->fail);
}

#define ANSWER                                                                                     \
    "data:{\"id\":\"m1\",\"conversation_id\":\"c1\",\"status\":\"init\",\"parts\":[{\"logic_id\":" \
    "\"a\",\"status\":\"init\",\"content\":[{\"type\":\"text\",\"text\":\"x\"}]}]}\n\n"
#define FINISH "data:{\"status\":\"finish\",\"parts\":[]}\n\n"

/* ---- credentials (§2) ---- */

static void a_refresh_token_buys_an_access_token_and_rotates(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_request(p, &req, REFRESH, "r0");
    assert_string_equal(req.method, "POST");
    assert_span_equal(req.body, SPAN("{}"));
    assert_true(req.credential_step);
    assert_int_equal(transcript_answer_json(p, 200, TOKENS("a1", "r1")), ADAPTER_COMPLETE);
    assert_span_equal(held(p, "refresh_token"), SPAN("r1"));
    assert_span_equal(held(p, "access_token"), SPAN("a1"));
    expect_request(p, &req, STREAM, "a1");
    assert_false(req.credential_step);
    /* an opaque token counts as good for an hour; it is renewed two minutes before that */
    struct turn_run *run = transcript_run(p);
    another_turn(p);
    run->now_ms = TRANSCRIPT_NOW + INT64_C(3600000) - 120001;
    expect_request(p, &req, STREAM, "a1");
    another_turn(p);
    run->now_ms += 2;
    expect_request(p, &req, REFRESH, "r1"); /* the rotated one */
    assert_int_equal(
        transcript_answer_json(p, 200, "{\"status\":0,\"result\":{\"access_token\":\"a2\"}}"),
        ADAPTER_COMPLETE);
    expect_request(p, &req, STREAM, "a2");
    assert_span_equal(held(p, "refresh_token"), SPAN("r1")); /* it did not rotate */
    transcript_close(p);
}

static void the_end_of_an_access_token_is_its_exp(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    const char *a1 = jwt("{\"exp\":1760000300,\"type\":\"access\",\"device_id\":\"" DEVICE "\"}");
    transcript_next(p, &req);
    struct span body = arena_printf(
        &test_arena, "{\"status\":0,\"result\":{\"access_token\":\"%s\",\"refresh_token\":\"r1\"}}",
        a1);
    assert_int_equal(transcript_answer_json(p, 200, body.p), ADAPTER_COMPLETE);
    expect_request(p, &req, STREAM, a1);
    assert_span_equal(transcript_header(&req, "X-Device-Id"), SPAN(DEVICE));
    another_turn(p);
    transcript_run(p)->now_ms = INT64_C(1760000180001);
    expect_request(p, &req, REFRESH, "r1");
    assert_span_equal(transcript_header(&req, "X-Device-Id"), SPAN(DEVICE)); /* kept */
    transcript_close(p);
}

static void a_refused_access_token_is_renewed_once(void **state)
{
    static const struct {
        int status;
        const char *body;
    } rows[] = {{401, NEEDS_LOGIN},
                {401, ""},
                {200, "{\"status\":40102,\"message\":\"x\"}"},
                {200, "{\"status\":401,\"message\":\"x\"}"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        account_hold(transcript_run(p)->account, "access_token", SPAN("old"), 0);
        expect_request(p, &req, STREAM, "old");
        assert_int_equal(transcript_answer_json(p, rows[i].status, rows[i].body), ADAPTER_COMPLETE);
        expect_request(p, &req, REFRESH, "r0");
        assert_int_equal(transcript_answer_json(p, 200, TOKENS("a1", "r1")), ADAPTER_COMPLETE);
        expect_request(p, &req, STREAM, "a1");
        assert_int_equal(transcript_answer_json(p, rows[i].status, rows[i].body), ADAPTER_FAIL);
        transcript_expect_fail(p, FAIL_CREDENTIAL, "chatglm_refresh_token");
        transcript_close(p);
    }
    /* in the stream, before any text; after it the answer stands as it is */
    for (int text = 0; text < 2; text++) {
        struct transcript_setup setup = person(NULL);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        account_hold(transcript_run(p)->account, "access_token", SPAN("old"), 0);
        expect_request(p, &req, STREAM, "old");
        assert_int_equal(
            stream(p, text ? ANSWER "data:{\"status\":\"error\",\"error\":{\"error_code\":40103}}"
                                    "\n\n"
                           : "data:{\"conversation_id\":\"c0\",\"status\":\"error\",\"error\":{"
                             "\"error_code\":40103}}\n\n"),
            text ? ADAPTER_FAIL : ADAPTER_COMPLETE);
        if (!text)
            expect_request(p, &req, REFRESH, "r0");
        transcript_close(p);
    }
}

static void a_refused_refresh_token_is_the_persons_affair(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum fail_kind kind;
        const char *words;
    } rows[] = {
        {401, NEEDS_LOGIN, FAIL_CREDENTIAL, "user needs login"},
        {200, "{\"status\":40102,\"message\":\"x\"}", FAIL_CREDENTIAL, "sign in at chatglm.cn"},
        {200, "{\"status\":1,\"message\":\"error 40102\"}", FAIL_CREDENTIAL, "sign in"},
        {200, "{\"status\":40011,\"message\":\"x\"}", FAIL_CHALLENGE, "sign_secret"},
        {200, "{\"status\":40014,\"message\":\"x\"}", FAIL_CHALLENGE, "sign_secret"},
        {200, "{\"status\":0,\"result\":{}}", FAIL_PROTOCOL, "token"},
        {200, "{\"status\":0,\"result\":{\"access_token\":\"a\\r\\nX: y\"}}", FAIL_PROTOCOL, ""},
        {200, "{\"status\":0}", FAIL_PROTOCOL, ""},
        {200, "", FAIL_PROTOCOL, ""},
        {200, "<html>", FAIL_CHALLENGE, "web page"},
        {500, "{}", FAIL_UNAVAILABLE, "500"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        expect_request(p, &req, REFRESH, "r0");
        assert_int_equal(transcript_answer_json(p, rows[i].status, rows[i].body), ADAPTER_FAIL);
        transcript_expect_fail(p, rows[i].kind, rows[i].words);
        assert_null(strstr(transcript_run(p)->fail->message, "r0"));
        transcript_close(p);
    }
}

/* The old refresh token may be dead: the new one is kept even when the rest makes no sense. */
static void a_rotated_token_is_kept_before_anything_else(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    transcript_next(p, &req);
    assert_int_equal(
        transcript_answer_json(p, 200, "{\"status\":0,\"result\":{\"refresh_token\":\"r1\"}}"),
        ADAPTER_FAIL);
    assert_span_equal(held(p, "refresh_token"), SPAN("r1"));
    transcript_close(p);
}

static void an_access_token_alone_works_until_its_end(void **state)
{
    struct site_request req;
    const char *alive = jwt("{\"exp\":1760000001,\"type\":\"access\"}"),
               *dead = jwt("{\"exp\":1760000000,\"type\":\"access\"}");
    const struct {
        const char *field, *value;
        bool works;
        const char *words;
    } rows[] = {{"token", alive, true, ""},
                {"token", "opaque", true, ""},
                {"token", dead, false, "has ended"},
                {"token", "a b", false, "copy it again"},
                {"refresh_token", alive, true, ""}, /* a slip */
                {"refresh_token", dead, false, "has ended"},
                {"other", "x", false, "has no credential"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct credential own = {span_str(rows[i].field), span_str(rows[i].value)};
        struct transcript_setup setup = person(NULL);
        setup.credentials = &own;
        struct transcript_player *p = transcript_open(&setup);
        if (rows[i].works) {
            expect_request(p, &req, STREAM, rows[i].value);
            assert_int_equal(transcript_answer_json(p, 401, NEEDS_LOGIN),
                             ADAPTER_FAIL); /* nothing renews it */
            transcript_expect_fail(p, FAIL_CREDENTIAL, "");
        } else {
            assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
            transcript_expect_fail(p, FAIL_CREDENTIAL, rows[i].words);
        }
        transcript_close(p);
    }
}

static void a_refresh_token_that_cannot_be_sent(void **state)
{
    struct credential own = {SPAN("refresh_token"), SPAN("a b")};
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    setup.credentials = &own;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    transcript_expect_fail(p, FAIL_CREDENTIAL, "copy it again");
    transcript_close(p);
}

static void a_visitor_is_made_once_and_kept(void **state)
{
    struct transcript_setup setup = guest();
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_request(p, &req, VISIT, NULL);
    assert_string_equal(req.method, "POST");
    assert_int_equal(req.body.n, 0);
    assert_true(req.credential_step);
    struct span device = arena_dup(&test_arena, transcript_header(&req, "X-Device-Id"));
    assert_int_equal(device.n, 32);
    assert_int_equal(transcript_answer_json(p, 200, TOKENS("g1", "gr1")), ADAPTER_COMPLETE);
    expect_request(p, &req, STREAM, "g1");
    assert_span_equal(transcript_header(&req, "X-Device-Id"), device);
    /* a limit is reported; no new visitor */
    assert_int_equal(transcript_answer_json(p, 200, "{\"status\":40012,\"message\":\"x\"}"),
                     ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_RATE_LIMITED, "visitor");
    assert_int_equal(transcript_run(p)->fail->retry_after_s, 600);
    /* refreshed like an account */
    another_turn(p);
    transcript_run(p)->now_ms += INT64_C(3600000);
    expect_request(p, &req, REFRESH, "gr1");
    /* a session that is over is begun anew, once in a turn */
    assert_int_equal(transcript_answer_json(p, 401, NEEDS_LOGIN), ADAPTER_COMPLETE);
    expect_request(p, &req, VISIT, NULL);
    assert_int_equal(transcript_answer_json(p, 401, NEEDS_LOGIN), ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_CREDENTIAL, "configure an account");
    transcript_close(p);
}

/* ---- headers (§4) ---- */

static void every_request_carries_the_pages_headers(void **state)
{
    static const struct {
        const char *name, *value;
    } fixed[] = {
        {"Content-Type", "application/json;charset=UTF-8"},
        {"Accept", "text/event-stream"},
        {"App-Name", "chatglm"},
        {"X-App-Platform", "pc"},
        {"X-App-Version", "0.0.1"},
        {"X-Lang", "zh"},
        {"X-App-fr", "default"},
        {"Origin", "https://chatglm.cn"},
        {"Referer", "https://chatglm.cn/main/alltoolsdetail"},
    };
    struct transcript_setup setup = with_access(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_request(p, &req, STREAM, "a0");
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        assert_span_equal(transcript_header(&req, fixed[i].name), span_str(fixed[i].value));
    assert_int_equal(transcript_header(&req, "X-Request-Id").n, 32);
    assert_span_equal(transcript_header(&req, "X-Device-Id"), held(p, "device_id"));
    assert_null(transcript_header(&req, "X-Sign").p); /* no secret is shipped */
    assert_null(transcript_header(&req, "X-Nonce").p);
    assert_null(transcript_header(&req, "X-Timestamp").p);
    transcript_close(p);
    setup.model = "65a232c082ff90a2ad2f15e2";
    p = transcript_open(&setup);
    expect_request(p, &req, STREAM, "a0");
    assert_span_equal(transcript_header(&req, "Referer"),
                      SPAN("https://chatglm.cn/main/gdetail/65a232c082ff90a2ad2f15e2"));
    transcript_close(p);
}

/* The check value of sites/chatglm.md §4, and that a request is signed so. */
static void the_signature_of_the_dossier(void **state)
{
    struct transcript_setup setup = with_access(NULL);
    struct site_request req;
    assert_span_equal(
        md5_hex(&test_arena, SPAN("1760000000183-00112233445566778899aabbccddeeff-s3")),
        SPAN("ce3d25b9e9866c1b700826c4c33d768f"));
    setup.options = secret;
    setup.n_options = 1;
    setup.now_ms = INT64_C(1760000000123);
    struct transcript_player *p = transcript_open(&setup);
    expect_request(p, &req, STREAM, "a0");
    assert_span_equal(transcript_header(&req, "X-Timestamp"), SPAN("1760000000183"));
    struct span nonce = transcript_header(&req, "X-Nonce");
    assert_int_equal(nonce.n, 32);
    assert_span_equal(
        transcript_header(&req, "X-Sign"),
        md5_hex(&test_arena, arena_printf(&test_arena, "1760000000183-%.*s-s3", SPAN_ARGS(nonce))));
    transcript_close(p);
}

/* ---- what is sent (§3, §5) ---- */

static void the_body_of_the_dossier(void **state)
{
    struct transcript_setup setup =
        with_access("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"你好\"}]}");
    struct site_request req;
    setup.model = "glm-5.3-flash";
    struct transcript_player *p = transcript_open(&setup);
    expect_request(p, &req, STREAM, "a0");
    transcript_expect_same(
        "body",
        "{\"assistant_id\":\"65940acff94777010aa6b796\",\"conversation_id\":\"\",\"project_id\":"
        "\"\",\"chat_type\":\"user_chat\",\"meta_data\":{\"cogview\":{\"rm_label_watermark\":false}"
        ",\"is_test\":false,\"input_question_type\":\"xxxx\",\"channel\":\"\",\"draft_id\":\"\","
        "\"chat_mode\":\"normal\",\"reasoning_effort\":\"low\",\"selected_model\":"
        "\"glm-5.3-flash\",\"is_networking\":false,\"quote_log_id\":\"\",\"platform\":\"pc\"},"
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"你好\"}]}]}",
        req.body);
    transcript_close(p);
}

static void models_and_their_modes(void **state)
{
#define NEWER(model, mode, effort)                                                                 \
    "{\"assistant_id\":\"65940acff94777010aa6b796\",\"meta_data\":{\"selected_model\":\"" model    \
    "\",\"chat_mode\":\"" mode "\",\"reasoning_effort\":\"" effort                                 \
    "\",\"if_plus_model\":null,\"is_networking\":false}}"
#define OLDER(assistant, mode)                                                                     \
    "{\"assistant_id\":\"" assistant                                                               \
    "\",\"meta_data\":{\"selected_model\":null,\"chat_mode\":" mode                                \
    ",\"reasoning_effort\":null,\"if_plus_model\":true,\"is_networking\":false}}"
#define MAIN "65940acff94777010aa6b796"
    static const struct {
        const char *model, *fields, *wanted;
    } rows[] = {
        {"", "", NEWER("glm-5.3-flash", "normal", "low")},
        {"glm-5.3", "", NEWER("glm-5.3", "normal", "low")},
        {"glm-5.3", "\"reasoning_effort\":\"none\",", NEWER("glm-5.3", "normal", "low")},
        {"glm-5.3", "\"reasoning_effort\":\"low\",", NEWER("glm-5.3", "thinking", "high")},
        {"glm-5.3", "\"reasoning_effort\":\"xhigh\",", NEWER("glm-5.3", "deep_thinking", "max")},
        {"glm-5.3", "\"reasoning_effort\":\"max\",", NEWER("glm-5.3", "deep_thinking", "max")},
        {"glm-5.3", "\"thinking\":{\"type\":\"enabled\"},", NEWER("glm-5.3", "thinking", "high")},
        {"glm-5.3-nothinking", "\"reasoning_effort\":\"max\",", NEWER("glm-5.3", "normal", "low")},
        {"glm-5.3-thinking", "", NEWER("glm-5.3", "thinking", "high")},
        {"glm-9-new", "", NEWER("glm-9-new", "normal", "low")},
        {"glm-5.3-search", "", "{\"meta_data\":{\"is_networking\":true}}"},
        {"glm-5.3-thinking-search", "",
         "{\"meta_data\":{\"is_networking\":true,\"chat_mode\":\"thinking\"}}"},
        {"glm-4", "", OLDER(MAIN, "null")},
        {"glm-4-plus", "", OLDER(MAIN, "null")},
        {"glm-4-plus-thinking", "", OLDER(MAIN, "\"zero\"")},
        {"glm-4", "\"reasoning_effort\":\"max\",", OLDER(MAIN, "\"zero\"")},
        {"glm-4-zero", "", OLDER(MAIN, "\"zero\"")},
        {"glm-4-think", "", OLDER(MAIN, "\"zero\"")},
        {"glm-4-deepresearch", "\"reasoning_effort\":\"high\",", OLDER(MAIN, "\"deep_research\"")},
        {"65a232c082ff90a2ad2f15e2", "", OLDER("65a232c082ff90a2ad2f15e2", "null")},
        {"65a232c082ff90a2ad2f15e2-thinking", "", OLDER("65a232c082ff90a2ad2f15e2", "\"zero\"")},
        {"65a232c082ff90a2ad2f15e", "", NEWER("65a232c082ff90a2ad2f15e", "normal", "low")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span body = arena_printf(&test_arena, "{\"model\":\"x\",%s" HI "}", rows[i].fields);
        struct transcript_setup setup = with_access(body.p);
        struct site_request req;
        setup.model = rows[i].model;
        struct transcript_player *p = transcript_open(&setup);
        expect_request(p, &req, STREAM, "a0");
        transcript_expect(rows[i].model, rows[i].wanted, req.body);
        transcript_close(p);
    }
    static const struct option_value search[] = {
        {.name = SPAN_INIT("search"), .type = OPTION_BOOL, .integer = 1}};
    struct transcript_setup setup = with_access(NULL);
    struct site_request req;
    setup.options = search;
    setup.n_options = 1;
    struct transcript_player *p = transcript_open(&setup);
    expect_request(p, &req, STREAM, "a0");
    transcript_expect("search", "{\"meta_data\":{\"is_networking\":true}}", req.body);
    transcript_close(p);
}

static void the_history_is_written_into_one_message(void **state)
{
    struct transcript_setup setup = with_access(
        "{\"model\":\"x\",\"temperature\":1,\"stop\":\"x\",\"messages\":[{\"role\":\"developer\","
        "\"content\":\"S\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"
        "\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":\"c\"},{\"role\":"
        "\"user\",\"content\":\"d\"}]}");
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_request(p, &req, STREAM, "a0");
    transcript_expect("history",
                      "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                      "\"<|system|>\\nS\\n<|user|>\\na\\nb\\n<|assistant|>\\nc\\n<|user|>\\nd\\n"
                      "<|assistant|>\\n\"}]}]}",
                      req.body);
    transcript_close(p);
    setup.body = "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"Count\"},{"
                 "\"role\":\"assistant\",\"content\":\"One, \"}]}";
    p = transcript_open(&setup);
    expect_request(p, &req, STREAM, "a0");
    transcript_expect("prefill",
                      "{\"messages\":[{\"content\":[{\"text\":\"<|user|>\\nCount\\n<|assistant|>\\n"
                      "One, \"}]}]}",
                      req.body);
    transcript_close(p);
}

/* ---- uploads (§5.2) ---- */

#define SEE                                                                                        \
    "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"  \
    "\"see\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/jpeg;base64,aGVsbG8=\"}" \
    "},{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:application/pdf;"  \
    "base64,UERG\"}},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,"      \
    "AAAA\"}}]}]}"
#define UPLOADED(id)                                                                               \
    "{\"status\":0,\"result\":[{\"file_id\":\"" id "\",\"file_url\":\"https://f.example/" id       \
    "\",\"file_name\":\"n-" id "\",\"file_size\":5,\"extra\":1}]}"

static void pictures_and_documents_are_uploaded_first(void **state)
{
    struct transcript_setup setup = with_access(SEE);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_request(p, &req, UPLOAD, "a0");
    assert_true(span_starts(transcript_header(&req, "Content-Type"),
                            SPAN("multipart/form-data; boundary=")));
    assert_true(span_find(req.body, SPAN("name=\"file\"; filename=\"image-1.jpeg\"\r\nContent-Type:"
                                         " image/jpeg\r\n\r\nhello\r\n--")) > 0);
    assert_true(span_find(req.body, SPAN("name=\"from\"\r\n\r\nchat\r\n--")) > 0);
    assert_true(span_find(req.body, SPAN("name=\"assistant_id\"\r\n\r\n" MAIN "\r\n--")) > 0);
    assert_int_equal(transcript_answer_json(p, 200, UPLOADED("f1")), ADAPTER_COMPLETE);
    expect_request(p, &req, UPLOAD, "a0");
    assert_true(span_find(req.body, SPAN("filename=\"a.pdf\"\r\nContent-Type: application/pdf\r\n"
                                         "\r\nPDF\r\n")) > 0);
    assert_int_equal(transcript_answer_json(p, 200, UPLOADED("f2")), ADAPTER_COMPLETE);
    /* the newer upload is gone: the older one, from here on */
    expect_request(p, &req, UPLOAD, "a0");
    assert_int_equal(transcript_answer_json(p, 404, "{\"status\":404}"), ADAPTER_COMPLETE);
    expect_request(p, &req, "/chatglm/backend-api/assistant/file_upload", "a0");
    assert_true(span_find(req.body, SPAN("name=\"from\"")) < 0);
    assert_int_equal(
        transcript_answer_json(
            p, 200, "{\"status\":0,\"result\":{\"file_id\":\"f3\",\"file_url\":\"u3\"}}"),
        ADAPTER_COMPLETE);
    expect_request(p, &req, STREAM, "a0");
    transcript_expect_same(
        "files",
        "[{\"type\":\"text\",\"text\":\"see\"},{\"type\":\"image\",\"image\":[{\"file_name\":"
        "\"n-f1\",\"file_id\":\"f1\",\"image_url\":\"https://f.example/f1\",\"file_size\":5,"
        "\"order\":0,\"width\":0,\"height\":0},{\"file_name\":\"image-3.png\",\"file_id\":\"f3\","
        "\"image_url\":\"u3\",\"file_size\":3,\"order\":0,\"width\":0,\"height\":0}]},{\"type\":"
        "\"file\",\"file\":[{\"file_id\":\"f2\",\"file_url\":\"https://f.example/f2\","
        "\"file_name\":\"n-f2\",\"file_size\":5,\"extra\":1}]}]",
        span_first(span_from(req.body, (size_t)span_find(req.body, SPAN("[{\"type\":\"text\""))),
                   req.body.n - (size_t)span_find(req.body, SPAN("[{\"type\":\"text\"")) - 3));
    transcript_close(p);
}

static void uploads_that_fail(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum fail_kind kind;
    } rows[] = {
        {200, "{\"status\":0,\"result\":[]}", FAIL_PROTOCOL},
        {200, "{\"status\":0,\"result\":[{\"file_id\":7,\"file_url\":\"u\"}]}", FAIL_PROTOCOL},
        {200, "{\"status\":0,\"result\":[{\"file_id\":\"f\"}]}", FAIL_PROTOCOL},
        {200, "not json", FAIL_PROTOCOL},
        {200, "", FAIL_PROTOCOL},
        {200, "{\"status\":40001,\"message\":\"bad file\"}", FAIL_BAD_REQUEST},
        {429, "{}", FAIL_RATE_LIMITED},
        {404, "<html>", FAIL_CHALLENGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = with_access(SEE);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        expect_request(p, &req, UPLOAD, "a0");
        assert_int_equal(transcript_answer_json(p, rows[i].status, rows[i].body), ADAPTER_FAIL);
        transcript_expect_fail(p, rows[i].kind, "chatglm.cn");
        transcript_close(p);
    }
    /* a refused token: the same picture once more with another */
    struct transcript_setup setup = person(SEE);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    account_hold(transcript_run(p)->account, "access_token", SPAN("old"), 0);
    expect_request(p, &req, UPLOAD, "old");
    transcript_answer_json(p, 200, UPLOADED("f1"));
    expect_request(p, &req, UPLOAD, "old");
    assert_int_equal(transcript_answer_json(p, 401, NEEDS_LOGIN), ADAPTER_COMPLETE);
    expect_request(p, &req, REFRESH, "r0");
    transcript_answer_json(p, 200, TOKENS("a1", "r1"));
    expect_request(p, &req, UPLOAD, "a1");
    assert_true(span_find(req.body, SPAN("a.pdf")) > 0);
    /* both uploads are gone */
    assert_int_equal(transcript_answer_json(p, 404, ""), ADAPTER_COMPLETE);
    expect_request(p, &req, "/chatglm/backend-api/assistant/file_upload", "a1");
    assert_int_equal(transcript_answer_json(p, 404, ""), ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_BAD_REQUEST, "404");
    transcript_close(p);
}

static void what_cannot_be_uploaded_is_refused_before_any_request(void **state)
{
    static const char *const parts[] = {
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x.example/a.png\"}}",
        "{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}",
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        struct span body = arena_printf(
            &test_arena, "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[%s]}]}",
            parts[i]);
        struct transcript_setup setup = person(body.p);
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
        transcript_expect_fail(p, FAIL_UNSUPPORTED, "chatglm.cn");
        assert_string_equal(transcript_run(p)->fail->param, "messages[0].content[0]");
        transcript_close(p);
    }
}

/* ---- failures (§7) ---- */

static void every_row_of_the_error_table(void **state)
{
    static const struct {
        int status, header_s;
        const char *type, *body, *kind;
        int wait_s;
        const char *words;
    } rows[] = {
        {200, 0, "text/html", "<!doctype html><title>x</title>", "challenge", 0, "web page"},
        {503, 0, "text/html; charset=utf-8", "<html>", "challenge", 0, "later version: transport"},
        {405, 0, "application/json", "{}", "challenge", 0, "405"},
        {403, 0, "text/plain", "no", "challenge", 0, "later version: transport"},
        {403, 0, "application/json", "", "challenge", 0, ""},
        {200, 0, "application/json", "{\"status\":40011,\"message\":\"x\"}", "challenge", 0,
         "sign_secret"},
        {400, 0, "application/json", "{\"code\":40014,\"message\":\"x\"}", "challenge", 0,
         "sign_secret"},
        {400, 0, "application/json", "{\"status\":1,\"message\":\"Sign check failed\"}",
         "challenge", 0, "sign_secret"},
        {400, 0, "application/json", "{\"status\":1,\"message\":\"签名错误\"}", "challenge", 0, ""},
        {401, 0, "application/json", "{\"status\":1,\"message\":\"please sign in\"}", "credential",
         0, "please sign in"},
        {400, 0, "application/json", "{\"status\":1,\"message\":\"bad design\"}", "bad_request", 0,
         "bad design"},
        {200, 0, "application/json", "{\"status\":10061,\"message\":\"请等待其他对话生成完毕\"}",
         "rate_limited", 5, "another answer"},
        {429, 0, "application/json", "{\"message\":\"请等待其他对话生成完毕\"}", "rate_limited", 5,
         ""},
        {200, 0, "application/json", "{\"status\":10061,\"message\":\"x\"}", "rate_limited", 60,
         ""},
        {200, 17, "application/json", "{\"status\":10061,\"message\":\"x\"}", "rate_limited", 17,
         ""},
        {429, 9, "text/plain", "slow", "rate_limited", 9, ""},
        {429, 0, "", "", "rate_limited", 60, ""},
        {200, 0, "application/json", "{\"status\":1,\"message\":\"操作频繁\"}", "rate_limited", 60,
         "操作频繁"},
        {500, 0, "application/json", "{\"status\":1,\"message\":\"请求过多\"}", "rate_limited", 60,
         ""},
        {500, 0, "application/json", "{\"status\":1,\"message\":\"Too Many\"}", "rate_limited", 60,
         ""},
        {401, 0, "application/json", NEEDS_LOGIN, "credential", 0, "user needs login"},
        {401, 0, "", "", "credential", 0, ""},
        {200, 0, "application/json", "{\"status\":401}", "credential", 0, ""},
        {200, 0, "application/json", "{\"status\":40102}", "credential", 0, ""},
        {200, 0, "application/json", "{\"status\":40012,\"message\":\"x\"}", "bad_request", 0, ""},
        {200, 0, "application/json", "{\"status\":10040,\"message\":\"context exceeded\"}",
         "context_length", 0, "context exceeded"},
        {200, 0, "application/json", "{\"status\":10062,\"message\":\"upstream busy\"}",
         "overloaded", 0, "upstream busy"},
        {503, 30, "application/json", "{}", "overloaded", 30, ""},
        {200, 0, "application/json", "{\"status\":40001}", "bad_request", 0, "40001"},
        {200, 0, "application/json", "{\"status\":40002,\"message\":\"header\"}", "bad_request", 0,
         ""},
        {200, 0, "application/json", "{\"status\":40004}", "bad_request", 0, ""},
        {200, 0, "application/json", "{\"status\":40099}", "bad_request", 0, ""},
        {200, 0, "application/json", "{\"status\":5,\"message\":\"权限不足\"}", "bad_request", 0,
         "权限不足"},
        {400, 0, "application/json", "{}", "bad_request", 0, ""},
        {404, 0, "application/json", "{}", "bad_request", 0, ""},
        {422, 0, "application/json", "{}", "bad_request", 0, ""},
        {200, 0, "application/json", "{\"status\":10024,\"message\":\"generator exit\"}",
         "unavailable", 0, "10024"},
        {200, 0, "application/json", "{\"status\":10025,\"message\":\"stream request error\"}",
         "unavailable", 0, ""},
        {200, 0, "application/json", "{\"status\":\"10025\"}", "unavailable", 0, "10025"},
        {200, 0, "application/json",
         "{\"error\":{\"error_code\":10040,\"err_msg\":\"x\"},"
         "\"status\":1}",
         "context_length", 0, ""},
        {403, 0, "application/json", "{\"status\":77}", "unavailable", 0, "77"},
        {500, 0, "", "", "unavailable", 0, "500"},
        {502, 0, "text/plain", "bad gateway", "unavailable", 0, "502"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = with_access(NULL);
        struct played out;
        setup.status = rows[i].status;
        setup.content_type = rows[i].type;
        setup.retry_after_s = rows[i].header_s;
        transcript_play(&setup, NULL, span_str(rows[i].body), NULL, 0, END_CLEAN, &out);
        if (strcmp(fail_kind_name(out.fail.kind), rows[i].kind) != 0 ||
            out.fail.retry_after_s != rows[i].wait_s || !strstr(out.fail.message, rows[i].words))
            fail_msg("%d %s: %s %d (%s)", rows[i].status, rows[i].body,
                     fail_kind_name(out.fail.kind), out.fail.retry_after_s, out.fail.message);
        assert_null(strchr(out.fail.message, '<'));
        assert_null(strstr(out.fail.message, "a0"));
        played_free(&out);
    }
}

/* ---- clean-up (§8) ---- */

static enum adapter_step tidy(struct transcript_player *p, struct site_request *req)
{
    memset(req, 0, sizeof *req);
    return adapter_chatglm.cleanup(transcript_run(p), req);
}

#define DELETE "/chatglm/mainchat-api/conversation/bulk_delete"
#define STOP   "/chatglm/mainchat-api/stream/stop_stream"

static void what_we_made_is_deleted_and_nothing_else(void **state)
{
    struct transcript_setup setup = with_access(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    transcript_next(p, &req);
    assert_int_equal(tidy(p, &req), ADAPTER_DONE); /* nothing was made yet */
    assert_int_equal(stream(p, ANSWER FINISH), ADAPTER_COMPLETE);
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_span_equal(req.target, SPAN(DELETE));
    assert_span_equal(transcript_header(&req, "Authorization"), SPAN("Bearer a0"));
    transcript_expect_same(
        "delete", "{\"conversation_ids\":[\"c1\"],\"assistant_id\":\"" MAIN "\"}", req.body);
    assert_int_equal(tidy(p, &req), ADAPTER_DONE); /* once */
    transcript_close(p);

    static const struct option_value keep[] = {
        {.name = SPAN_INIT("delete_chat"), .type = OPTION_BOOL, .integer = 0}};
    setup.options = keep;
    setup.n_options = 1;
    p = transcript_open(&setup);
    transcript_next(p, &req);
    stream(p, ANSWER FINISH);
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_close(p);

    /* ids that are no ids */
    setup.n_options = 0;
    p = transcript_open(&setup);
    transcript_next(p, &req);
    stream(p, "data:{\"conversation_id\":\"../x\",\"id\":7,\"status\":\"init\"}\n\n");
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_close(p);
}

static void a_conversation_is_gone_on_with(void **state)
{
    struct transcript_setup setup = with_access(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    run->conversation = SPAN("c1");
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(span_find(req.body, SPAN("\"conversation_id\":\"c1\"")) > 0);
    assert_int_equal(stream(p, ANSWER FINISH), ADAPTER_COMPLETE);
    assert_span_equal(run->conversation_end, SPAN("c1"));
    run->conversation_kept = true;
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    run->conversation_kept = false; /* nobody wants it: it goes */
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    transcript_expect_same(
        "delete", "{\"conversation_ids\":[\"c1\"],\"assistant_id\":\"" MAIN "\"}", req.body);
    transcript_close(p);

    /* the site answers in another one, which knows nothing: both go */
    p = transcript_open(&setup);
    run = transcript_run(p);
    run->conversation = SPAN("c0");
    transcript_next(p, &req);
    assert_int_equal(stream(p, ANSWER), ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_PROTOCOL, "another conversation");
    while (tidy(p, &req) == ADAPTER_SEND && !span_eq(req.target, SPAN(DELETE)))
        ;
    transcript_expect_same(
        "delete", "{\"conversation_ids\":[\"c0\",\"c1\"],\"assistant_id\":\"" MAIN "\"}", req.body);
    transcript_close(p);

    /* the site answered nothing: it is ours all the same, and not gone on with */
    p = transcript_open(&setup);
    transcript_run(p)->conversation = SPAN("c1");
    transcript_next(p, &req);
    assert_int_equal(stream(p, ""), ADAPTER_FAIL);
    transcript_expect_fail(p, FAIL_EMPTY, "");
    assert_int_equal(transcript_run(p)->conversation_end.n, 0);
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN(DELETE));
    transcript_close(p);
}

static void an_answer_that_nobody_waits_for_is_stopped_first(void **state)
{
    struct transcript_setup setup = with_access(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    transcript_next(p, &req);
    transcript_answer(p, 200, "text/event-stream", SPAN(ANSWER), NULL, 0, END_CUT);
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN(STOP));
    transcript_expect_same("stop", "{\"history_id\":\"m1\"}", req.body);
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN(DELETE));
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_close(p);
    /* after a failure that the site told there is nothing to stop */
    p = transcript_open(&setup);
    transcript_next(p, &req);
    stream(p, ANSWER "data:{\"status\":\"error\",\"error\":{\"error_code\":10025}}\n\n");
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN(DELETE));
    transcript_close(p);
}

static void the_conversation_of_a_refused_try_goes_too(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    account_hold(transcript_run(p)->account, "access_token", SPAN("old"), 0);
    transcript_next(p, &req);
    stream(p, "data:{\"id\":\"m0\",\"conversation_id\":\"c0\",\"status\":\"error\",\"error\":{"
              "\"error_code\":40103}}\n\n");
    expect_request(p, &req, REFRESH, "r0");
    assert_int_equal(tidy(p, &req), ADAPTER_DONE); /* no token to do it with */
    transcript_answer_json(p, 200, TOKENS("a1", "r1"));
    transcript_next(p, &req);
    stream(p, ANSWER FINISH);
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    transcript_expect("delete", "{\"conversation_ids\":[\"c0\",\"c1\"]}", req.body);
    transcript_close(p);
}

/* ---- the model list ---- */

static int put(void *owner, const struct model_entry *entry)
{
    return buffer_printf(owner, "%.*s;", SPAN_ARGS(entry->id));
}

static void the_sites_own_list(void **state)
{
    struct transcript_setup setup = with_access(NULL);
    struct site_request req = {0};
    struct buffer names;
    struct model_sink sink = {put, &names};
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    buffer_init(&names, 1 << 16);
    assert_int_equal(adapter_chatglm.models_request(run, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "GET");
    assert_span_equal(req.target, SPAN("/chatglm/agent-api/operation/detail?tag=available_models"));
    assert_span_equal(transcript_header(&req, "Authorization"), SPAN("Bearer a0"));
    assert_int_equal(
        adapter_chatglm.models_answer(
            run,
            SPAN("{\"status\":0,\"result\":{\"default\":{\"vip\":\"x\"},\"models\":[{\"display_"
                 "name\":\"GLM-5.3\",\"selected_model\":\"glm-5.3\",\"chat_switch\":true},{"
                 "\"selected_model\":\"video\",\"chat_switch\":false},{\"selected_model\":\"glm-6\""
                 ",\"chat_switch\":true},{\"chat_switch\":true},7]}}"),
            &sink),
        0);
    assert_span_equal(buffer_span(&names), SPAN("glm-5.3;glm-6;"));
    static const char *const bad[] = {"", "[]", "{}", "{\"status\":0,\"result\":{}}",
                                      "{\"status\":40103,\"result\":{\"models\":[]}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(adapter_chatglm.models_answer(run, span_str(bad[i]), &sink), -1);
    buffer_free(&names);
    transcript_close(p);

    setup = person(NULL); /* nothing was bought yet: the built-in list serves */
    p = transcript_open(&setup);
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_chatglm.models_request(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, arena_begin, arena_end)
        TEST(a_refresh_token_buys_an_access_token_and_rotates),
        TEST(the_end_of_an_access_token_is_its_exp),
        TEST(a_refused_access_token_is_renewed_once),
        TEST(a_refused_refresh_token_is_the_persons_affair),
        TEST(a_rotated_token_is_kept_before_anything_else),
        TEST(an_access_token_alone_works_until_its_end),
        TEST(a_refresh_token_that_cannot_be_sent),
        TEST(a_visitor_is_made_once_and_kept),
        TEST(every_request_carries_the_pages_headers),
        TEST(the_signature_of_the_dossier),
        TEST(the_body_of_the_dossier),
        TEST(models_and_their_modes),
        TEST(the_history_is_written_into_one_message),
        TEST(pictures_and_documents_are_uploaded_first),
        TEST(uploads_that_fail),
        TEST(what_cannot_be_uploaded_is_refused_before_any_request),
        TEST(every_row_of_the_error_table),
        TEST(what_we_made_is_deleted_and_nothing_else),
        TEST(a_conversation_is_gone_on_with),
        TEST(an_answer_that_nobody_waits_for_is_stopped_first),
        TEST(the_conversation_of_a_refused_try_goes_too),
        TEST(the_sites_own_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
