/*
 * test/unit/test_qwen_adapter.c - chat.qwen.ai: requests, where the credential comes from, pictures
 * and their signature, clean-up, the model list.
 */
#include "adapters/qwen.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

/* Their `exp`, seen from TRANSCRIPT_NOW: a month ahead, 90 s ahead, a second ago, 40 days ahead. */
#define HEAD    "eyJhbGciOiJIUzI1NiJ9."
#define LASTING HEAD "eyJpZCI6InUiLCJleHAiOjE3NjI1OTIwMDB9.c2ln"
#define ENDING  HEAD "eyJpZCI6InUiLCJleHAiOjE3NjAwMDAwOTB9.c2ln"
#define ENDED   HEAD "eyJpZCI6InUiLCJleHAiOjE3NTk5OTk5OTl9.c2ln"
#define NEWER   HEAD "eyJpZCI6InUiLCJleHAiOjE3NjM0NTYwMDB9.c2ln"

#define PASSWORD                                                                                   \
    {SPAN_INIT("email"), SPAN_INIT("me@example.org")},                                             \
    {                                                                                              \
        SPAN_INIT("password"), SPAN_INIT("hunter2secret")                                          \
    }
#define HASH     "5ccefdc7743291dfc5bb3825925c70d480198650b125db3ef9e7ccdf38a2e016"
#define NEW_CHAT "{\"success\":true,\"data\":{\"id\":\"chat-1\"}}"
#define TOLD(t)  "{\"id\":\"u\",\"token\":\"" t "\"}"

static const struct credential lasting[] = {{SPAN_INIT("token"), SPAN_INIT(LASTING)}};
static const struct credential ending[] = {{SPAN_INIT("token"), SPAN_INIT(ENDING)}};
static const struct credential ended[] = {{SPAN_INIT("token"), SPAN_INIT(ENDED)}};
static const struct credential ending_and_password[] = {{SPAN_INIT("token"), SPAN_INIT(ENDING)},
                                                        PASSWORD};
static const struct credential ended_and_password[] = {{SPAN_INIT("token"), SPAN_INIT(ENDED)},
                                                       PASSWORD};
static const struct credential lasting_and_password[] = {{SPAN_INIT("token"), SPAN_INIT(LASTING)},
                                                         PASSWORD};
static const struct credential only_password[] = {PASSWORD};
static const struct credential only_cookie[] = {
    {SPAN_INIT("cookie"), SPAN_INIT("xtoken=no; token=" LASTING "; acw_tc=1")}};
static const struct credential with_a_blank[] = {{SPAN_INIT("token"), SPAN_INIT("a b")}};

#define WITH(list) .credentials = (list), .n_credentials = sizeof(list) / sizeof *(list)

static struct transcript_setup person(const char *body)
{
    return (struct transcript_setup){
        .adapter = &adapter_qwen, .body = body, .model = "qwen3.6-plus", WITH(lasting)};
}

static enum adapter_verdict answer(struct transcript_player *p, int status, const char *body)
{
    return transcript_answer(p, status, "application/json", span_str(body), NULL, 0, END_CLEAN);
}

static void expect_step(struct transcript_player *p, struct site_request *req, const char *method,
                        const char *target)
{
    enum adapter_step step = transcript_next(p, req);
    if (step != ADAPTER_SEND)
        fail_msg("no request for %s: %s", target, transcript_run(p)->fail->message);
    assert_string_equal(req->method, method);
    assert_span_equal(req->target, span_str(target));
}

static void expect_failed(struct transcript_player *p, enum fail_kind kind, const char *part)
{
    struct site_request req;
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    struct fail *f = transcript_run(p)->fail;
    if (f->kind != kind || !strstr(f->message, part))
        fail_msg("%s: %s", fail_kind_name(f->kind), f->message);
}

static void expect_bearer(const struct site_request *req, const char *token)
{
    char text[400];
    snprintf(text, sizeof text, "Bearer %s", token);
    assert_span_equal(transcript_header(req, "Authorization"), span_str(text));
}

#define NEW_STEP    "POST", "/api/v2/chats/new"
#define CHAT_STEP   "POST", "/api/v2/chat/completions?chat_id=chat-1"
#define SIGN_STEP   "POST", "/api/v1/auths/signin"
#define RENEW_STEP  "POST", "/api/v2/auths/refresh"
#define TICKET_STEP "POST", "/api/v2/files/getstsToken"

/* ---- requests ---- */

static void the_two_requests(void **state)
{
    struct transcript_setup setup = person("{\"model\":\"x\",\"messages\":[{\"role\":\"user\","
                                           "\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"
                                           "\"type\":\"text\",\"text\":\"你好\"}]}]}");
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_step(p, &req, NEW_STEP);
    expect_bearer(&req, LASTING);
    assert_span_equal(transcript_header(&req, "Accept"), SPAN("application/json"));
    assert_span_equal(transcript_header(&req, "Content-Type"), SPAN("application/json"));
    assert_span_equal(transcript_header(&req, "Origin"), SPAN("https://chat.qwen.ai"));
    assert_span_equal(transcript_header(&req, "Referer"), SPAN("https://chat.qwen.ai/c/new-chat"));
    assert_span_equal(transcript_header(&req, "source"), SPAN("web"));
    assert_span_equal(transcript_header(&req, "version"), SPAN("0.2.68"));
    assert_span_equal(transcript_header(&req, "timezone"),
                      SPAN("Thu Oct 09 2025 08:53:20 GMT+0000"));
    struct span id = arena_dup(transcript_run(p)->arena, transcript_header(&req, "x-request-id"));
    assert_int_equal(id.n, 36);
    assert_null(transcript_header(&req, "Cookie").p);
    assert_null(transcript_header(&req, "bx-v").p);
    transcript_expect_same("new chat",
                           "{\"title\":\"New Chat\",\"models\":[\"qwen3.6-plus\"],\"chat_mode\":"
                           "\"normal\",\"chat_type\":\"t2t\",\"timestamp\":1760000000000,"
                           "\"project_id\":\"\"}",
                           req.body);
    assert_int_equal(answer(p, 200, NEW_CHAT), ADAPTER_COMPLETE);

    expect_step(p, &req, CHAT_STEP);
    expect_bearer(&req, LASTING);
    assert_int_equal(req.framing, FRAMING_SSE);
    assert_span_equal(transcript_header(&req, "Accept"), SPAN("text/event-stream"));
    assert_span_equal(transcript_header(&req, "X-Accel-Buffering"), SPAN("no"));
    assert_span_equal(transcript_header(&req, "Referer"), SPAN("https://chat.qwen.ai/c/chat-1"));
    assert_false(span_eq(transcript_header(&req, "x-request-id"), id));
    transcript_expect(
        "chat",
        "{\"stream\":true,\"version\":\"2.1\",\"incremental_output\":true,\"chat_id\":\"chat-1\","
        "\"chat_mode\":\"normal\",\"model\":\"qwen3.6-plus\",\"parent_id\":null,\"timestamp\":"
        "1760000000,\"messages\":[{\"parentId\":null,\"parent_id\":null,\"role\":\"user\","
        "\"content\":\"a\\n你好\",\"user_action\":\"chat\",\"files\":[],\"timestamp\":1760000000,"
        "\"models\":[\"qwen3.6-plus\"],\"chat_type\":\"t2t\",\"sub_chat_type\":\"t2t\",\"extra\":{"
        "\"meta\":{\"subChatType\":\"t2t\"}},\"feature_config\":{\"thinking_enabled\":false,"
        "\"auto_thinking\":false,\"thinking_mode\":\"Fast\",\"thinking_format\":null,\"output_"
        "schema\":\"phase\",\"research_mode\":\"normal\",\"auto_search\":false,\"code_"
        "interpreter\":false,\"plugins_enabled\":false,\"function_calling\":false,\"enable_"
        "tools\":false,\"enable_function_call\":false,\"tool_choice\":\"none\"}}]}",
        req.body);
    transcript_close(p);
}

/* The second request, after `earlier` steps were answered. */
static void expect_chat(struct transcript_setup *setup, const char *wanted)
{
    struct site_request req;
    struct transcript_player *p = transcript_open(setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(answer(p, 200, NEW_CHAT), ADAPTER_COMPLETE);
    expect_step(p, &req, CHAT_STEP);
    transcript_expect(setup->model, wanted, req.body);
    transcript_close(p);
}

#define FEATURES(inside) "{\"messages\":[{\"feature_config\":{" inside "}}]}"
#define THINKS                                                                                     \
    "\"thinking_enabled\":true,\"auto_thinking\":true,\"thinking_mode\":\"Thinking\",\"thinking_"  \
    "format\":\"detail\""

static void reasoning_search_and_suffixes(void **state)
{
    static const struct {
        const char *model, *fields, *wanted;
    } rows[] = {
        {"qwen3.6-plus", "\"reasoning_effort\":\"high\",",
         FEATURES(THINKS ",\"thinking_budget\":null,\"auto_search\":false")},
        {"qwen3.6-plus", "\"reasoning_effort\":\"none\",", FEATURES("\"thinking_enabled\":false")},
        {"qwen3.6-plus", "\"enable_thinking\":true,\"thinking_budget\":1234,",
         FEATURES(THINKS ",\"thinking_budget\":1234")},
        {"qwen3.6-plus", "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":77},",
         FEATURES(THINKS ",\"thinking_budget\":77")},
        {"qwen3.6-plus-thinking", "", FEATURES(THINKS)},
        {"qwen3.6-plus-nothinking", "\"reasoning_effort\":\"high\",\"thinking_budget\":5,",
         FEATURES("\"thinking_enabled\":false,\"thinking_budget\":null")},
        {"qwen3.6-plus-search", "",
         "{\"model\":\"qwen3.6-plus\",\"messages\":[{\"models\":[\"qwen3.6-plus\"],\"chat_type\":"
         "\"search\",\"sub_chat_type\":\"search\",\"extra\":{\"meta\":{\"subChatType\":\"search\"}}"
         ",\"feature_config\":{\"auto_search\":true}}]}"},
        {"Qwen3.7-Plus-search-thinking", "",
         "{\"model\":\"qwen3.7-plus\",\"messages\":[{\"chat_type\":\"search\"}]}"},
        {"Brand-New", "", "{\"model\":\"Brand-New\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[300];
        snprintf(body, sizeof body,
                 "{\"model\":\"x\",%s\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
                 rows[i].fields);
        struct transcript_setup setup = person(body);
        setup.model = rows[i].model;
        expect_chat(&setup, rows[i].wanted);
    }
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    setup.model = "qwen3.6-plus-search";
    struct transcript_player *p = transcript_open(&setup);
    expect_step(p, &req, NEW_STEP);
    transcript_expect("new chat", "{\"chat_type\":\"search\",\"models\":[\"qwen3.6-plus\"]}",
                      req.body);
    transcript_close(p);
}

#define HISTORY                                                                                    \
    "{\"model\":\"x\",\"messages\":[{\"role\":\"developer\",\"content\":\"S\"},{\"role\":"         \
    "\"user\",\"content\":\"U\"},{\"role\":\"assistant\",\"content\":\"A\"},{\"role\":\"user\","   \
    "\"content\":\"V\"}]}"

static void the_history_is_one_text(void **state)
{
    static const struct {
        const char *marks, *body, *wanted;
    } rows[] = {
        {NULL, HISTORY, "System: S\\n\\nUser: U\\n\\nAssistant: A\\n\\nUser: V\\n\\nAssistant:"},
        {"labels", HISTORY,
         "System: S\\n\\nUser: U\\n\\nAssistant: A\\n\\nUser: V\\n\\nAssistant:"},
        {"human", HISTORY, "S\\n\\nHuman: U\\n\\nAssistant: A\\n\\nHuman: V\\n\\nAssistant:"},
        {"lines", HISTORY, "system: S\\nuser: U\\nassistant: A\\nuser: V"},
        {NULL,
         "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"U\"},{\"role\":"
         "\"assistant\",\"content\":\"And so\"}]}",
         "User: U\\n\\nAssistant: And so"},
        {NULL,
         "{\"model\":\"x\",\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{"
         "\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
         "{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"9\"}]}",
         "Assistant: <tool_call>{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": {}, "
         "\\\"id\\\": \\\"c\\\"}</tool_call>\\n\\nTool: <tool_result id=\\\"c\\\" "
         "name=\\\"f\\\">9</tool_result>\\n\\nAssistant:"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char wanted[600];
        const struct option_value option = {.name = SPAN_INIT("flatten_marks"),
                                            .type = OPTION_TEXT,
                                            .text = span_str(rows[i].marks)};
        struct transcript_setup setup = person(rows[i].body);
        setup.options = &option;
        setup.n_options = rows[i].marks ? 1 : 0;
        snprintf(wanted, sizeof wanted, "{\"messages\":[{\"content\":\"%s\"}]}", rows[i].wanted);
        expect_chat(&setup, wanted);
    }
}

static void options_and_a_cookie_are_sent(void **state)
{
    const struct option_value options[] = {
        {.name = SPAN_INIT("web_version"), .type = OPTION_TEXT, .text = SPAN_INIT("9.9.9")}};
    struct transcript_setup setup = {.adapter = &adapter_qwen,
                                     .model = "m",
                                     .options = options,
                                     .n_options = 1,
                                     WITH(only_cookie)};
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_step(p, &req, NEW_STEP);
    assert_span_equal(transcript_header(&req, "version"), SPAN("9.9.9"));
    assert_span_equal(transcript_header(&req, "Cookie"), only_cookie[0].value);
    expect_bearer(&req, LASTING); /* the cookie of that name holds it */
    transcript_close(p);
}

static void guests(void **state)
{
    struct transcript_setup setup = {.adapter = &adapter_qwen, .model = "m", .guest = true};
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_step(p, &req, NEW_STEP);
    assert_null(transcript_header(&req, "Authorization").p);
    assert_span_equal(transcript_header(&req, "Referer"), SPAN("https://chat.qwen.ai/c/guest"));
    transcript_expect("new chat", "{\"chat_mode\":\"guest\"}", req.body);
    assert_int_equal(answer(p, 200, NEW_CHAT), ADAPTER_COMPLETE);
    expect_step(p, &req, CHAT_STEP);
    assert_null(transcript_header(&req, "Authorization").p);
    transcript_expect("chat", "{\"chat_mode\":\"guest\"}", req.body);
    assert_int_equal(answer(p, 401, "{}"), ADAPTER_FAIL);
    assert_non_null(strstr(transcript_run(p)->fail->message, "does not serve guests"));
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_qwen.cleanup(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
}

/* ---- the credential (§2) ---- */

static struct transcript_player *with(const struct credential *list, size_t n)
{
    struct transcript_setup setup = {
        .adapter = &adapter_qwen, .model = "m", .credentials = list, .n_credentials = n};
    return transcript_open(&setup);
}
#define OPEN(list) with((list), sizeof(list) / sizeof *(list))

static void an_ended_token_asks_nobody(void **state)
{
    struct transcript_player *p = OPEN(ended);
    expect_failed(p, FAIL_CREDENTIAL, "has ended");
    transcript_close(p);
    p = OPEN(with_a_blank);
    expect_failed(p, FAIL_CREDENTIAL, "holds blanks");
    transcript_close(p);
    p = with(NULL, 0);
    expect_failed(p, FAIL_CREDENTIAL, "has no credential");
    transcript_close(p);
}

static void a_token_near_its_end_is_renewed_once(void **state)
{
    struct site_request req;
    struct transcript_player *p = OPEN(ending);
    expect_step(p, &req, RENEW_STEP);
    assert_true(req.credential_step);
    expect_bearer(&req, ENDING);
    transcript_expect_same("refresh", "{}", req.body);
    assert_int_equal(answer(p, 200, TOLD(NEWER)), ADAPTER_COMPLETE);
    struct turn_run *run = transcript_run(p);
    assert_span_equal(account_held(run->account, "token", run->now_ms, 0), SPAN(NEWER));
    assert_int_equal(run->account->held->expires_ms, INT64_C(1763456000000));
    expect_step(p, &req, NEW_STEP);
    expect_bearer(&req, NEWER);
    transcript_close(p);
}

static void a_newer_token_of_another_exchange_serves(void **state)
{
    struct site_request req;
    struct transcript_player *p = OPEN(ending);
    expect_step(p, &req, RENEW_STEP); /* and then another exchange was at it */
    account_hold(transcript_run(p)->account, "token", SPAN(NEWER), 0);
    expect_step(p, &req, NEW_STEP);
    expect_bearer(&req, NEWER);
    transcript_close(p);
}

static void a_refused_refresh_leaves_the_password(void **state)
{
    static const struct {
        int status;
        const char *body;
    } refusals[] = {{401, "{\"detail\":\"no\"}"},
                    {404, "{\"detail\":\"Not Found\"}"},
                    {200, "{\"success\":true,\"data\":{}}"}};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct site_request req;
        struct transcript_player *p = OPEN(ending_and_password);
        expect_step(p, &req, RENEW_STEP);
        assert_int_equal(answer(p, refusals[i].status, refusals[i].body), ADAPTER_COMPLETE);
        expect_step(p, &req, SIGN_STEP);
        assert_null(transcript_header(&req, "Authorization").p);
        assert_int_equal(answer(p, 200, TOLD(NEWER)), ADAPTER_COMPLETE);
        expect_step(p, &req, NEW_STEP);
        expect_bearer(&req, NEWER);
        transcript_close(p);

        p = OPEN(ending);
        expect_step(p, &req, RENEW_STEP);
        assert_int_equal(answer(p, refusals[i].status, refusals[i].body), ADAPTER_COMPLETE);
        expect_failed(p, FAIL_CREDENTIAL, "any more");
        transcript_close(p);
    }
    struct site_request req;
    struct transcript_player *p = OPEN(ending_and_password);
    expect_step(p, &req, RENEW_STEP); /* trouble is no refusal */
    assert_int_equal(answer(p, 502, "{}"), ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_UNAVAILABLE);
    transcript_close(p);
}

static void a_password_buys_a_token(void **state)
{
    struct site_request req;
    for (int i = 0; i < 2; i++) {
        struct transcript_player *p = i ? OPEN(ended_and_password) : OPEN(only_password);
        expect_step(p, &req, SIGN_STEP);
        assert_true(req.credential_step);
        transcript_expect_same(
            "sign-in", "{\"email\":\"me@example.org\",\"password\":\"" HASH "\"}", req.body);
        assert_int_equal(answer(p, 200, "{\"data\":{\"token\":\"" NEWER "\"}}"), ADAPTER_COMPLETE);
        expect_step(p, &req, NEW_STEP);
        expect_bearer(&req, NEWER);
        transcript_close(p);
    }
}

static void a_refused_sign_in_ends_it(void **state)
{
    static const int statuses[] = {400, 401, 403, 200};
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        struct site_request req;
        struct transcript_player *p = OPEN(only_password);
        expect_step(p, &req, SIGN_STEP);
        assert_int_equal(answer(p, statuses[i], "{\"detail\":\"wrong\"}"), ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->kind, FAIL_CREDENTIAL);
        assert_null(strstr(transcript_run(p)->fail->message, "hunter2"));
        transcript_close(p);
    }
}

/* At any step: the password gives another token, and that step is done again. */
static void a_refused_token_is_replaced_once(void **state)
{
    struct site_request req;
    struct transcript_player *p = OPEN(lasting_and_password);
    expect_step(p, &req, NEW_STEP);
    assert_int_equal(answer(p, 401, "{\"detail\":\"no\"}"), ADAPTER_COMPLETE);
    expect_step(p, &req, SIGN_STEP);
    assert_int_equal(answer(p, 200, TOLD(NEWER)), ADAPTER_COMPLETE);
    expect_step(p, &req, NEW_STEP);
    expect_bearer(&req, NEWER);
    assert_int_equal(answer(p, 200, NEW_CHAT), ADAPTER_COMPLETE);
    expect_step(p, &req, CHAT_STEP);
    assert_int_equal(answer(p, 401, "{\"detail\":\"no\"}"), ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_CREDENTIAL);
    transcript_close(p);

    p = OPEN(lasting_and_password); /* inside the stream; the chat is made already */
    expect_step(p, &req, NEW_STEP);
    answer(p, 200, NEW_CHAT);
    expect_step(p, &req, CHAT_STEP);
    assert_int_equal(transcript_answer(p, 200, "text/event-stream",
                                       SPAN("data: {\"error\":{\"code\":\"unauthorized\"}}\n\n"),
                                       NULL, 0, END_CLEAN),
                     ADAPTER_COMPLETE);
    expect_step(p, &req, SIGN_STEP);
    answer(p, 200, TOLD(NEWER));
    expect_step(p, &req, CHAT_STEP);
    expect_bearer(&req, NEWER);
    transcript_close(p);

    p = OPEN(lasting); /* nothing else is left: what the site said */
    expect_step(p, &req, NEW_STEP);
    assert_int_equal(answer(p, 401, "{\"detail\":\"gone\"}"), ADAPTER_FAIL);
    assert_non_null(strstr(transcript_run(p)->fail->message, "gone"));
    transcript_close(p);
}

/* A renewed token that the site refuses: the configured one may still be good. */
static void a_refused_held_token_gives_way_to_the_configured_one(void **state)
{
    struct site_request req;
    struct transcript_player *p = OPEN(lasting);
    account_hold(transcript_run(p)->account, "token", SPAN(NEWER), 0);
    expect_step(p, &req, NEW_STEP);
    expect_bearer(&req, NEWER);
    assert_int_equal(answer(p, 401, "{}"), ADAPTER_COMPLETE);
    expect_step(p, &req, NEW_STEP);
    expect_bearer(&req, LASTING);
    transcript_close(p);
}

static void a_token_that_cannot_be_sent_is_not_taken(void **state)
{
    struct site_request req;
    struct transcript_player *p = OPEN(only_password);
    expect_step(p, &req, SIGN_STEP);
    assert_int_equal(answer(p, 200, TOLD("a\\r\\nX: y")), ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_PROTOCOL);
    assert_null(transcript_run(p)->account->held);
    transcript_close(p);
}

/* ---- pictures (§5.3) ---- */

#define PNG          "iVBORw0KGgo="
#define PICTURE(url) "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" url "\"}}"
#define SHOW(parts)                                                                                \
    "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"  \
    "\"look\"}," parts "]}]}"
#define TICKET(host, more)                                                                         \
    "{\"success\":true,\"data\":{\"access_key_id\":\"STS.KEY\",\"access_key_secret\":\"SECRET\","  \
    "\"security_token\":\"STS-TOKEN\",\"file_url\":\"" host                                        \
    "/u1/f_a.png?x-oss-expires=300\",\"file_path\":\"u1/"                                          \
    "f_a.png\",\"file_id\":\"f\",\"bucketname\":\"bkt\",\"region\":\"oss-ap-southeast-1\"" more    \
    "}}"
#define OSS "https://bkt.oss-accelerate.aliyuncs.com"

/* Computed apart from this code, after the storage's public description. */
static void signature_of_the_storage(void **state)
{
    const struct qwen_ticket ticket = {.key_id = SPAN("STS.KEY"),
                                       .key_secret = SPAN("SECRET"),
                                       .security_token = SPAN("STS-TOKEN"),
                                       .bucket = SPAN("bkt"),
                                       .region = SPAN("oss-ap-southeast-1"),
                                       .path = SPAN("u 1/f_画.png")};
    struct arena a;
    arena_init(&a);
    assert_span_equal(
        qwen_oss_authorization(&a, &ticket, SPAN("image/png"), TRANSCRIPT_NOW),
        SPAN("OSS4-HMAC-SHA256 "
             "Credential=STS.KEY/20251009/ap-southeast-1/oss/aliyun_v4_request,Signature="
             "38007206c03999c0d062eca4f7c76365841d287641a2b55d6e90f0c3b7936a50"));
    arena_free(&a);
}

static void pictures_are_uploaded_first(void **state)
{
    struct transcript_setup setup = person(SHOW(PICTURE("data:image/png;base64," PNG) "," PICTURE(
        "data:image/svg+xml;base64,PHN2ZyAvPgo=")));
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    for (int i = 0; i < 2; i++) {
        expect_step(p, &req, TICKET_STEP);
        expect_bearer(&req, LASTING);
        transcript_expect("ticket", "{\"filesize\":8,\"filetype\":\"image\"}", req.body);
        assert_true(span_find(req.body, i ? SPAN(".svg\"") : SPAN(".png\"")) > 0);
        assert_int_equal(answer(p, 200, TICKET(OSS, "")), ADAPTER_COMPLETE);
        expect_step(p, &req, "PUT", "/u1/f_a.png");
        assert_span_equal(req.origin, SPAN(OSS));
        assert_span_equal(req.body, i ? SPAN("<svg />\n") : SPAN("\x89PNG\r\n\x1a\n"));
        assert_span_equal(transcript_header(&req, "Content-Type"),
                          i ? SPAN("image/svg+xml") : SPAN("image/png"));
        assert_span_equal(transcript_header(&req, "x-oss-content-sha256"),
                          SPAN("UNSIGNED-PAYLOAD"));
        assert_span_equal(transcript_header(&req, "x-oss-date"), SPAN("20251009T085320Z"));
        assert_span_equal(transcript_header(&req, "x-oss-security-token"), SPAN("STS-TOKEN"));
        assert_true(span_starts(transcript_header(&req, "Authorization"),
                                SPAN("OSS4-HMAC-SHA256 Credential=STS.KEY/20251009/")));
        assert_null(transcript_header(&req, "Origin").p); /* nothing of ours goes there */
        assert_int_equal(transcript_answer(p, 200, "", SPAN(""), NULL, 0, END_CLEAN),
                         ADAPTER_COMPLETE);
    }
    expect_step(p, &req, NEW_STEP);
    answer(p, 200, NEW_CHAT);
    expect_step(p, &req, CHAT_STEP);
    transcript_expect(
        "chat",
        "{\"messages\":[{\"content\":\"look\\n[image 1]\\n[image 2]\",\"files\":[{\"type\":"
        "\"image\",\"file\":{\"created_at\":1760000000000,\"data\":{},\"hash\":null,\"id\":\"f\","
        "\"meta\":{\"size\":8,\"content_type\":\"image/png\"},\"update_at\":1760000000000},\"id\":"
        "\"f\",\"url\":\"" OSS
        "/u1/f_a.png?x-oss-expires=300\",\"collection_name\":\"\",\"progress\":0,\"status\":"
        "\"uploaded\",\"greenNet\":\"success\",\"size\":8,\"error\":\"\",\"file_type\":\"image/"
        "png\",\"showType\":\"image\",\"file_class\":\"vision\"},{\"file_type\":\"image/"
        "svg+xml\"}]}]}",
        req.body);
    transcript_close(p);
}

static struct transcript_player *at_the_ticket(void)
{
    static struct transcript_setup setup;
    struct site_request req;
    setup = person(SHOW(PICTURE("data:image/png;base64," PNG)));
    struct transcript_player *p = transcript_open(&setup);
    expect_step(p, &req, TICKET_STEP);
    return p;
}

static void tickets_of_other_places_are_not_used(void **state)
{
    static const char *const tickets[] = {
        TICKET("http://bkt.oss-accelerate.aliyuncs.com", ""),
        TICKET("https://bkt.aliyuncs.com.evil.example", ""),
        TICKET("https://evil.example", ""),
        TICKET("https://evilaliyuncs.com", ""),
        TICKET("https://evil.example#.aliyuncs.com", ""),
        TICKET("https://x.aliyuncs.com@evil.example", ""),
        TICKET("https://x.aliyuncs.com:8443", ""),
        TICKET("https://.aliyuncs.com", ""),
        TICKET("https://169.254.169.254", ""),
        TICKET("https://x\\u0000.aliyuncs.com", ""),
        TICKET(OSS, ",\"security_token\":\"a\\r\\nb: c\""),
        TICKET(OSS, ",\"region\":\"\""),
        TICKET(OSS, ",\"file_id\":7"),
        "{\"success\":true,\"data\":{}}",
        "{\"success\":true}",
    };
    for (size_t i = 0; i < sizeof tickets / sizeof *tickets; i++) {
        struct transcript_player *p = at_the_ticket();
        if (answer(p, 200, tickets[i]) != ADAPTER_FAIL ||
            transcript_run(p)->fail->kind != FAIL_PROTOCOL)
            fail_msg("taken: %s", tickets[i]);
        transcript_close(p);
    }
}

static void tickets_without_an_envelope_or_for_the_site_itself(void **state)
{
    struct site_request req;
    struct transcript_player *p = at_the_ticket();
    assert_int_equal(answer(p, 200, TICKET("https://chat.qwen.ai", "")), ADAPTER_COMPLETE);
    expect_step(p, &req, "PUT", "/u1/f_a.png");
    assert_span_equal(req.origin, SPAN("https://chat.qwen.ai"));
    assert_false(span_starts(transcript_header(&req, "Authorization"), SPAN("Bearer")));
    transcript_close(p);
    p = at_the_ticket();
    struct span bare = span_from(SPAN(TICKET(OSS, "")), strlen("{\"success\":true,\"data\":"));
    assert_int_equal(transcript_answer(p, 200, "application/json", span_first(bare, bare.n - 1),
                                       NULL, 0, END_CLEAN),
                     ADAPTER_COMPLETE);
    expect_step(p, &req, "PUT", "/u1/f_a.png");
    transcript_close(p);
}

static void uploads_that_are_refused(void **state)
{
    static const struct {
        int status;
        enum fail_kind kind;
    } rows[] = {
        {403, FAIL_PROTOCOL}, {404, FAIL_PROTOCOL}, {204, FAIL_PROTOCOL}, {503, FAIL_UNAVAILABLE}};
    struct site_request req;
    struct transcript_player *p = at_the_ticket();
    assert_int_equal(answer(p, 200,
                            "{\"success\":false,\"data\":{\"code\":\"RateLimited\",\"num\":"
                            "3}}"),
                     ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->retry_after_s, 3 * 3600);
    transcript_close(p);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        p = at_the_ticket();
        answer(p, 200, TICKET(OSS, ""));
        expect_step(p, &req, "PUT", "/u1/f_a.png");
        assert_int_equal(
            transcript_answer(p, rows[i].status, "application/xml",
                              SPAN("<Error><Code>SignatureDoesNotMatch</Code></Error>"), NULL, 0,
                              END_CLEAN),
            ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->kind, rows[i].kind);
        assert_null(strstr(transcript_run(p)->fail->message, "<"));
        transcript_close(p);
    }
}

static void pictures_that_cannot_be_sent(void **state)
{
    static const struct {
        const char *body, *model;
        bool guest;
        enum fail_kind kind;
        const char *part;
    } rows[] = {
        {SHOW(PICTURE("https://x.example/a.png")), "qwen3.6-plus", false, FAIL_UNSUPPORTED,
         "links"},
        {SHOW(PICTURE("data:image/png;base64," PNG)), "qwen3.7-max", false, FAIL_UNSUPPORTED,
         "cannot see"},
        {SHOW(PICTURE("data:image/png;base64," PNG)), "qwen3.6-max-preview-thinking", false,
         FAIL_UNSUPPORTED, "cannot see"},
        {SHOW(PICTURE("data:image/png;base64," PNG)), "qwen3.6-plus", true, FAIL_UNSUPPORTED,
         "signed in"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(rows[i].body);
        setup.model = rows[i].model;
        setup.guest = rows[i].guest;
        struct transcript_player *p = transcript_open(&setup);
        expect_failed(p, rows[i].kind, rows[i].part);
        assert_string_equal(transcript_run(p)->fail->param, "messages[0].content[1]");
        transcript_close(p);
    }
    /* the live list knows better than we do */
    struct transcript_setup setup = person(SHOW(PICTURE("data:image/png;base64," PNG)));
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    transcript_run(p)->model_note = SPAN("no pictures");
    expect_failed(p, FAIL_UNSUPPORTED, "cannot see");
    transcript_close(p);
    setup.model = "qwen3.7-max";
    p = transcript_open(&setup);
    transcript_run(p)->model_note = SPAN("pictures");
    expect_step(p, &req, TICKET_STEP);
    transcript_close(p);
}

static void too_many_pictures(void **state)
{
    struct buffer body;
    buffer_init(&body, 1 << 20);
    buffer_append(&body, SPAN("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":["));
    for (int i = 0; i <= QWEN_PICTURES_MAX; i++)
        buffer_printf(&body, "%s%s", i ? "," : "", PICTURE("data:image/png;base64," PNG));
    buffer_append(&body, SPAN("]}]}"));
    buffer_char(&body, '\0');
    struct transcript_setup setup = person(body.p);
    struct transcript_player *p = transcript_open(&setup);
    expect_failed(p, FAIL_UNSUPPORTED, "too many pictures");
    assert_string_equal(transcript_run(p)->fail->param, "messages[0].content[24]");
    transcript_close(p);
    buffer_free(&body);
}

/* ---- clean-up, models ---- */

static void chats_are_deleted(void **state)
{
    const struct option_value keep = {.name = SPAN_INIT("delete_chat"), .type = OPTION_BOOL};
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_step(p, &req, NEW_STEP);
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_qwen.cleanup(transcript_run(p), &req), ADAPTER_DONE);
    answer(p, 200, NEW_CHAT);
    assert_int_equal(adapter_qwen.cleanup(transcript_run(p), &req), ADAPTER_SEND);
    assert_string_equal(req.method, "DELETE");
    assert_span_equal(req.target, SPAN("/api/v2/chats/chat-1"));
    expect_bearer(&req, LASTING);
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_qwen.cleanup(transcript_run(p), &req), ADAPTER_DONE); /* once */
    transcript_close(p);

    setup.options = &keep;
    setup.n_options = 1;
    p = transcript_open(&setup);
    expect_step(p, &req, NEW_STEP);
    answer(p, 200, NEW_CHAT);
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_qwen.cleanup(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
}

/* ---- a chat that goes on ---- */

static struct transcript_player *open_held(const struct transcript_setup *setup, const char *held)
{
    struct transcript_player *p = transcript_open(setup);
    transcript_run(p)->conversation = span_str(held);
    return p;
}

static enum adapter_verdict stream(struct transcript_player *p, const char *events)
{
    return transcript_answer(p, 200, "text/event-stream", span_str(events), NULL, 0, END_CLEAN);
}

static enum adapter_step tidy(struct transcript_player *p, struct site_request *req)
{
    memset(req, 0, sizeof *req);
    return adapter_qwen.cleanup(transcript_run(p), req);
}

#define CREATED(id)                                                                                \
    "data: {\"response.created\":{\"chat_id\":\"chat-1\",\"response_id\":" id "}}\n\n"
#define SAID "data: {\"choices\":[{\"delta\":{\"content\":\"a\",\"phase\":\"answer\"}}]}\n\n"
#define FINISHED                                                                                   \
    "data: {\"choices\":[{\"delta\":{\"content\":\"\",\"phase\":\"answer\",\"status\":"            \
    "\"finished\"}}]}\n\n"
#define FILTERED "data: {\"error\":{\"code\":\"data_inspection_failed\",\"details\":\"no\"}}\n\n"

static void a_chat_is_gone_on_with(void **state)
{
    struct transcript_setup setup =
        person("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"two\"}]}");
    struct site_request req;
    struct transcript_player *p = open_held(&setup, "chat-1/r-1");
    expect_step(p, &req, CHAT_STEP); /* none is made */
    assert_span_equal(transcript_header(&req, "Referer"), SPAN("https://chat.qwen.ai/c/chat-1"));
    transcript_expect("chat",
                      "{\"chat_id\":\"chat-1\",\"parent_id\":\"r-1\",\"messages\":[{\"parentId\":"
                      "\"r-1\",\"parent_id\":\"r-1\",\"content\":\"two\",\"files\":[]}]}",
                      req.body);
    assert_int_equal(stream(p, CREATED("\"r-2\"") SAID FINISHED), ADAPTER_COMPLETE);
    assert_span_equal(transcript_run(p)->conversation_end, SPAN("chat-1/r-2"));
    transcript_run(p)->conversation_kept = true;
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_run(p)->conversation_kept = false; /* nobody wants it: it goes */
    assert_int_equal(tidy(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/api/v2/chats/chat-1"));
    assert_int_equal(tidy(p, &req), ADAPTER_DONE);
    transcript_close(p);

    /* the token is refused: the chat goes on with the next */
    setup.credentials = lasting_and_password;
    setup.n_credentials = sizeof lasting_and_password / sizeof *lasting_and_password;
    p = open_held(&setup, "chat-1/r-1");
    expect_step(p, &req, CHAT_STEP);
    assert_int_equal(answer(p, 401, "{\"data\":{\"code\":\"Unauthorized\"}}"), ADAPTER_COMPLETE);
    expect_step(p, &req, SIGN_STEP);
    assert_int_equal(answer(p, 200, TOLD(NEWER)), ADAPTER_COMPLETE);
    expect_step(p, &req, CHAT_STEP);
    transcript_expect("chat", "{\"parent_id\":\"r-1\"}", req.body);
    transcript_close(p);
}

static void which_chats_can_go_on(void **state)
{
    static const struct {
        const char *events, *told;
        bool guest;
    } rows[] = {
        {CREATED("\"r-1\"") SAID FINISHED, "chat-1/r-1", false},
        {CREATED("\"r-1\"") SAID FINISHED, "", true},
        {SAID FINISHED, "", false},
        {CREATED("7") SAID FINISHED, "", false},
        {CREATED("\"../r\"") SAID FINISHED, "", false},
        {CREATED("\"r-1\"") CREATED("\"r-2\"") SAID FINISHED, "", false}, /* two answers */
        {CREATED("\"r-1\"") SAID FILTERED, "", false},
        {CREATED("\"r-1\"") SAID, "", false}, /* broken off */
        {CREATED("\"r-1\"") FINISHED, "", false},
    };
    struct site_request req;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        setup.guest = rows[i].guest;
        setup.n_credentials = rows[i].guest ? 0 : setup.n_credentials;
        struct transcript_player *p = transcript_open(&setup);
        expect_step(p, &req, NEW_STEP);
        answer(p, 200, NEW_CHAT);
        expect_step(p, &req, CHAT_STEP);
        stream(p, rows[i].events);
        assert_span_equal(transcript_run(p)->conversation_end, span_str(rows[i].told));
        transcript_close(p);
    }
}

/* Whatever a site may say of a chat that it forgot: the engine sends everything (branch_reuse.c),
 * and the chat is removed, if it is there. */
static void a_forgotten_chat(void **state)
{
    static const struct {
        const char *type, *body;
        enum fail_kind kind;
    } rows[] = {
        {"application/json",
         "{\"success\":false,\"data\":{\"code\":\"Not_Found\",\"details\":\"chat not found\"}}",
         FAIL_BAD_REQUEST},
        {"application/json",
         "{\"success\":false,\"data\":{\"code\":\"Bad_Request\",\"details\":\"parent\"}}",
         FAIL_BAD_REQUEST},
        {"application/json",
         "{\"success\":false,\"data\":{\"code\":\"Bad_Request\",\"details\":\"Internal error\"}}",
         FAIL_UNAVAILABLE},
        {"application/json", "{\"success\":false,\"data\":{\"details\":\"chat is in progress\"}}",
         FAIL_UNAVAILABLE},
        {"application/json", "{\"success\":true}", FAIL_PROTOCOL},
        {"text/event-stream", "data: {\"error\":{\"code\":\"Not_Found\"}}\n\n", FAIL_BAD_REQUEST},
        {"text/event-stream", "data: {\"error\":\"internal_error\"}\n\n", FAIL_UNAVAILABLE},
        {"text/event-stream", "data: {\"response.created\":{\"chat_id\":\"chat-2\"}}\n\n",
         FAIL_PROTOCOL},
        {"text/event-stream", "", FAIL_EMPTY},
        {"text/event-stream", CREATED("\"r-2\"") FINISHED, FAIL_EMPTY},
    };
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_player *p = open_held(&setup, "chat-1/r-1");
        expect_step(p, &req, CHAT_STEP);
        assert_int_equal(
            transcript_answer(p, 200, rows[i].type, span_str(rows[i].body), NULL, 0, END_CLEAN),
            ADAPTER_FAIL);
        assert_int_equal(transcript_run(p)->fail->kind, rows[i].kind);
        assert_int_equal(transcript_run(p)->conversation_end.n, 0);
        assert_int_equal(tidy(p, &req), ADAPTER_SEND);
        transcript_close(p);
    }
}

static void pictures_of_a_chat_that_goes_on(void **state)
{
    struct transcript_setup setup =
        person("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
               "\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,aGk=\"}}]}]}");
    struct site_request req;
    struct transcript_player *p = open_held(&setup, "chat-1/r-1");
    expect_step(p, &req, TICKET_STEP);
    transcript_close(p);
}

/* What another version, or the older site, wrote down. */
static void chats_of_another_form(void **state)
{
    static const struct option_value tongyi[] = {
        {.name = SPAN_INIT("api"), .type = OPTION_TEXT, .text = SPAN_INIT("tongyi")}};
    struct transcript_setup setup = person(NULL);
    struct transcript_player *p = open_held(&setup, "chat-1");
    expect_failed(p, FAIL_PROTOCOL, "another form");
    transcript_close(p);
    setup.options = tongyi;
    setup.n_options = 1;
    p = open_held(&setup, "chat-1/r-1");
    expect_failed(p, FAIL_PROTOCOL, "older site");
    transcript_close(p);
}

struct listed {
    struct turn_run *run;
    struct buffer text;
};

static int list_model(void *owner, const struct model_entry *entry)
{
    struct listed *l = owner;
    buffer_printf(&l->text, "%.*s[%.*s] ", SPAN_ARGS(entry->id), SPAN_ARGS(l->run->model_note));
    return 0;
}

static void the_model_list(void **state)
{
    static const char *const forms[] = {"{\"data\":[%s]}",
                                        "{\"success\":true,\"data\":{\"n\":1,\"data\":[%s]}}"};
    static const char models[] =
        "{\"id\":\"a\",\"info\":{\"meta\":{\"chat_type\":[\"t2t\",\"search\"],\"capabilities\":{"
        "\"vision\":true}}}},{\"id\":\"b\",\"info\":{\"meta\":{\"capabilities\":{\"vision\":false}}"
        "}},{\"id\":\"c\"},{\"id\":\"film\",\"info\":{\"meta\":{\"chat_type\":[\"t2v\"]}}},{\"id\":"
        "\"\"},7";
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct transcript_player *p = transcript_open(&setup);
        struct listed l = {transcript_run(p), {0}};
        struct span body = arena_printf(l.run->arena, forms[i], models);
        buffer_init(&l.text, 4096);
        memset(&req, 0, sizeof req);
        assert_int_equal(adapter_qwen.models_request(l.run, &req), ADAPTER_SEND);
        assert_span_equal(req.target, SPAN("/api/models"));
        expect_bearer(&req, LASTING);
        assert_int_equal(
            adapter_qwen.models_answer(l.run, body, &(struct model_sink){list_model, &l}), 0);
        assert_span_equal(buffer_span(&l.text), SPAN("a[pictures] b[no pictures] c[] "));
        buffer_free(&l.text);
        transcript_close(p);
    }
    struct transcript_player *p = OPEN(ended);
    struct listed l = {transcript_run(p), {0}};
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_qwen.models_request(l.run, &req), ADAPTER_DONE);
    assert_int_equal(adapter_qwen.models_answer(l.run, SPAN("{\"data\":{}}"),
                                                &(struct model_sink){list_model, &l}),
                     -1);
    assert_int_equal(adapter_qwen.models_answer(l.run, SPAN("{\"success\":false,\"data\":[]}"),
                                                &(struct model_sink){list_model, &l}),
                     -1);
    transcript_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_two_requests),
        cmocka_unit_test(reasoning_search_and_suffixes),
        cmocka_unit_test(the_history_is_one_text),
        cmocka_unit_test(options_and_a_cookie_are_sent),
        cmocka_unit_test(guests),
        cmocka_unit_test(an_ended_token_asks_nobody),
        cmocka_unit_test(a_token_near_its_end_is_renewed_once),
        cmocka_unit_test(a_newer_token_of_another_exchange_serves),
        cmocka_unit_test(a_refused_refresh_leaves_the_password),
        cmocka_unit_test(a_password_buys_a_token),
        cmocka_unit_test(a_refused_sign_in_ends_it),
        cmocka_unit_test(a_refused_token_is_replaced_once),
        cmocka_unit_test(a_refused_held_token_gives_way_to_the_configured_one),
        cmocka_unit_test(a_token_that_cannot_be_sent_is_not_taken),
        cmocka_unit_test(signature_of_the_storage),
        cmocka_unit_test(pictures_are_uploaded_first),
        cmocka_unit_test(tickets_of_other_places_are_not_used),
        cmocka_unit_test(tickets_without_an_envelope_or_for_the_site_itself),
        cmocka_unit_test(uploads_that_are_refused),
        cmocka_unit_test(pictures_that_cannot_be_sent),
        cmocka_unit_test(too_many_pictures),
        cmocka_unit_test(chats_are_deleted),
        cmocka_unit_test(a_chat_is_gone_on_with),
        cmocka_unit_test(which_chats_can_go_on),
        cmocka_unit_test(a_forgotten_chat),
        cmocka_unit_test(pictures_of_a_chat_that_goes_on),
        cmocka_unit_test(chats_of_another_form),
        cmocka_unit_test(the_model_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
