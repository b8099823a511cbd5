/*
 * test/unit/test_kimi_adapter.c - www.kimi.com: requests, tokens, pictures, the model list, and the
 * recorded answers at every split. Edges and failures are in test_kimi_edges.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "adapters/support.h"
#include "test/unit/support/kimi.h"

static bool is(struct span a, const char *b) { return span_eq(a, span_str(b)); }

static struct transcript_setup with(const struct credential *list, size_t n)
{
    struct transcript_setup setup = kimi_setup();
    setup.credentials = list;
    setup.n_credentials = n;
    return setup;
}

/* ---- recorded answers ---- */

static void recorded_answers(void **state)
{
    static const char *const files[] = {
        "plain.bin",      "thinking.bin",         "search.bin",           "cut.bin",
        "overloaded.bin", "error-after-text.bin", "limit-before-text.bin"};
    struct transcript_setup setup = kimi_setup();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        transcript_check(&setup, NULL, "kimi", files[i]);
}

static void a_recorded_answer_of_the_older_form(void **state)
{
    static const char *const earlier[] = {"{\"id\":\"u1\"}", "{\"id\":\"c1\"}", NULL};
    struct transcript_setup setup = kimi_rest_setup();
    transcript_check(&setup, earlier, "kimi", "older-form.sse");
}

/* ---- the chat's request ---- */

/* The JSON inside of the one envelope. */
static struct span payload(struct span body)
{
    const unsigned char *head = (const unsigned char *)body.p;
    assert_true(body.n > 5 && head[0] == 0);
    assert_int_equal((size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4],
                     body.n - 5);
    return span_from(body, 5);
}

static void expect_chat(const struct transcript_setup *setup, const char *what, const char *wanted)
{
    struct site_request req;
    struct transcript_player *p = transcript_open(setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect_same(what, wanted, payload(req.body));
    transcript_close(p);
}

static void a_plain_chat(void **state)
{
    struct transcript_setup setup = kimi_setup();
    struct site_request req;
    setup.body = "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"你好\"}]}";
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_true(is(req.target, "/apiv2/kimi.gateway.chat.v1.ChatService/Chat"));
    assert_int_equal(req.framing, FRAMING_LENGTH);
    assert_int_equal(req.origin.n, 0);
    assert_false(req.credential_step);
    assert_true(is(transcript_header(&req, "Authorization"), "Bearer t"));
    assert_true(is(transcript_header(&req, "Content-Type"), "application/connect+json"));
    assert_true(is(transcript_header(&req, "Connect-Protocol-Version"), "1"));
    assert_true(is(transcript_header(&req, "Accept"), "*/*"));
    assert_true(is(transcript_header(&req, "Origin"), "https://www.kimi.com"));
    assert_true(is(transcript_header(&req, "Referer"), "https://www.kimi.com/"));
    assert_true(is(transcript_header(&req, "X-Msh-Platform"), "web"));
    struct span device = transcript_header(&req, "X-Msh-Device-Id"),
                session = transcript_header(&req, "X-Msh-Session-Id");
    assert_true(device.n == 19 && device.p[0] == '7');
    assert_true(session.n == 19 && span_starts(session, SPAN("17")));
    static const char *const never[] = {"X-Traffic-Id", "Cookie", "X-Msh-Shield-Data",
                                        "Connect-Accept-Encoding", "Connect-Content-Encoding"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        assert_null(transcript_header(&req, never[i]).p);
    transcript_expect_same(
        "chat",
        "{\"scenario\":\"SCENARIO_K2D5\",\"tools\":[],\"message\":{\"role\":\"user\",\"blocks\":[{"
        "\"message_id\":\"\",\"text\":{\"content\":\"你好\"}}],\"scenario\":\"SCENARIO_K2D5\"},"
        "\"options\":{\"thinking\":false}}",
        payload(req.body));
    struct span held = account_held(transcript_run(p)->account, "device_id", 0, 0);
    assert_true(span_eq(held, device)); /* kept */
    transcript_close(p);
}

/* Until the chat's request; what the run says of the chat's end afterwards. */
static struct span chat_of(struct transcript_player *p, const char *conversation,
                           const char *wanted)
{
    static const char events[] = "\0\0\0\0\x17"
                                 "{\"chat\":{\"id\":\"chat1\"}}"
                                 "\0\0\0\0\x2a"
                                 "{\"message\":{\"id\":\"m2\",\"role\":\"assistant\"}}"
                                 "\0\0\0\0\x30"
                                 "{\"op\":\"append\",\"block\":{\"text\":{\"content\":\"a\"}}}"
                                 "\0\0\0\0\x0b"
                                 "{\"done\":{}}";
    struct site_request req;
    transcript_run(p)->conversation = span_str(conversation);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect_same("chat", wanted, payload(req.body));
    assert_int_equal(transcript_answer(p, 200, "application/connect+json",
                                       span_of(events, sizeof events - 1), NULL, 0, END_CLEAN),
                     ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_DONE);
    return transcript_run(p)->conversation_end;
}

static void a_chat_is_gone_on_with(void **state)
{
    struct transcript_setup setup = kimi_setup();
    struct site_request req;
    setup.body = "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"two\"}]}";
    struct transcript_player *p = transcript_open(&setup);
    struct span told =
        chat_of(p, "chat1/m1",
                "{\"chat_id\":\"chat1\",\"scenario\":\"SCENARIO_K2D5\",\"tools\":[],\"message\":{"
                "\"parent_id\":\"m1\",\"role\":\"user\",\"blocks\":[{\"message_id\":\"\",\"text\":{"
                "\"content\":\"two\"}}],\"scenario\":\"SCENARIO_K2D5\"},\"options\":{\"thinking\":"
                "false}}");
    assert_true(is(told, "chat1/m2"));
    transcript_run(p)->conversation_kept = true;
    req = (struct site_request){0};
    assert_int_equal(adapter_kimi.cleanup(transcript_run(p), &req), ADAPTER_DONE);
    transcript_run(p)->conversation_kept = false; /* nobody wants it: it goes */
    assert_int_equal(adapter_kimi.cleanup(transcript_run(p), &req), ADAPTER_SEND);
    transcript_expect_same("removal", "{\"chat_id\":\"chat1\"}", req.body);
    transcript_close(p);
}

/* What another version wrote down: the whole history is asked for by a failure. */
static void a_chat_of_another_form_is_not_gone_on_with(void **state)
{
    static const char *const wrong[] = {"chat1", "/m1", "chat1/", "chat1/m1/m2", "a b/m1"};
    struct site_request req;
    for (size_t i = 0; i <= sizeof wrong / sizeof *wrong; i++) {
        bool rest = i == sizeof wrong / sizeof *wrong;
        struct transcript_setup setup = rest ? kimi_rest_setup() : kimi_setup();
        struct transcript_player *p = transcript_open(&setup);
        transcript_run(p)->conversation = span_str(rest ? "chat1/m1" : wrong[i]);
        assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
        assert_int_equal(transcript_run(p)->fail->kind, FAIL_PROTOCOL);
        transcript_close(p);
    }
}

static void an_answer_in_another_chat_is_none(void **state)
{
    static const char event[] = "\0\0\0\0\x17"
                                "{\"chat\":{\"id\":\"chat2\"}}";
    struct transcript_setup setup = kimi_setup();
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    transcript_run(p)->conversation = SPAN("chat1/m1");
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer(p, 200, "application/connect+json",
                                       span_of(event, sizeof event - 1), NULL, 0, END_CLEAN),
                     ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_PROTOCOL);
    transcript_close(p);
}

static void a_cookie_of_the_person_is_sent_as_it_is(void **state)
{
    static const struct credential both[] = {{SPAN_INIT("token"), SPAN_INIT("t")},
                                             {SPAN_INIT("cookie"), SPAN_INIT("a=1; b=2")}};
    struct transcript_setup setup = with(both, 2);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(is(transcript_header(&req, "Cookie"), "a=1; b=2"));
    transcript_close(p);

    /* Not to the server that renews tokens. */
    static const struct credential renewed[] = {{SPAN_INIT("refresh_token"), SPAN_INIT("r")},
                                                {SPAN_INIT("cookie"), SPAN_INIT("a=1; b=2")}};
    static const struct option_value newer[] = {
        {.name = SPAN_INIT("refresh"), .type = OPTION_TEXT, .text = SPAN_INIT("v2")}};
    setup = with(renewed, 2);
    setup.options = newer;
    setup.n_options = 1;
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(req.origin.n > 0);
    assert_null(transcript_header(&req, "Cookie").p);
    transcript_close(p);
}

static void a_conversation_is_one_message(void **state)
{
    struct transcript_setup setup = kimi_setup();
    setup.body =
        "{\"model\":\"x\",\"messages\":[{\"role\":\"developer\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
        "\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c\","
        "\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"7\"},"
        "{\"role\":\"assistant\",\"content\":\"It is\"}]}";
    expect_chat(&setup, "conversation",
                "{\"scenario\":\"SCENARIO_K2D5\",\"tools\":[],\"message\":{\"role\":\"user\","
                "\"blocks\":[{\"message_id\":\"\",\"text\":{\"content\":\"system:be "
                "brief\\nuser:a\\nb\\nassistant:<tool_call>{\\\"name\\\": \\\"f\\\", "
                "\\\"arguments\\\": {}, \\\"id\\\": \\\"c\\\"}</tool_call>\\ntool:<tool_result "
                "id=\\\"c\\\" "
                "name=\\\"f\\\">7</tool_result>\\nassistant:It is\"}}],\"scenario\":"
                "\"SCENARIO_K2D5\"},\"options\":{\"thinking\":false}}");
}

#define CHAT(top, scenario, tools, message, options)                                               \
    "{" top "\"scenario\":\"" scenario "\",\"tools\":" tools                                       \
    ",\"message\":{\"role\":\"user\",\"blocks\":[{\"message_id\":\"\",\"text\":{\"content\":"      \
    "\"hi\"}}],\"scenario\":\"" scenario "\"" message "},\"options\":{" options "}}"
#define SEARCH "[{\"type\":\"TOOL_TYPE_SEARCH\",\"search\":{}}]"
#define NEWER(thinking, effort, model)                                                             \
    "\"thinking\":" thinking                                                                       \
    ",\"enable_plugin\":false,\"reasoning_effort\":\"REASONING_EFFORT_" effort                     \
    "\",\"model\":\"" model "\""
#define OFF             "\"thinking\":false"
#define ON              "\"thinking\":true"
#define AGENT(id, mode) "\"kimiplusId\":\"" id "\",\"agentMode\":\"" mode "\","

static void models_and_wishes(void **state)
{
    static const struct {
        const char *model, *wish, *wanted;
    } rows[] = {
        {"kimi-k2.6", "", CHAT("", "SCENARIO_K2D5", "[]", "", OFF)},
        {"", "", CHAT("", "SCENARIO_K2D5", "[]", "", OFF)},
        {"kimi-k2.6-thinking", "", CHAT("", "SCENARIO_K2D5", "[]", "", ON)},
        {"kimi-k2.6-nothinking", ",\"reasoning_effort\":\"high\"",
         CHAT("", "SCENARIO_K2D5", "[]", "", OFF)},
        {"kimi-k2.6", ",\"reasoning_effort\":\"high\"", CHAT("", "SCENARIO_K2D5", "[]", "", ON)},
        {"kimi-k2.6", ",\"reasoning_effort\":\"none\"", CHAT("", "SCENARIO_K2D5", "[]", "", OFF)},
        {"kimi-k2.6", ",\"reasoning_effort\":\"minimal\"",
         CHAT("", "SCENARIO_K2D5", "[]", "", OFF)},
        {"kimi-k2.6", ",\"thinking\":{\"type\":\"enabled\"}",
         CHAT("", "SCENARIO_K2D5", "[]", "", ON)},
        {"kimi-k2.6-search", "", CHAT("", "SCENARIO_K2D5", SEARCH, "", OFF)},
        {"kimi-k2.6-search-thinking", "", CHAT("", "SCENARIO_K2D5", SEARCH, "", ON)},
        {"kimi-k2.6-thinking-search", "", CHAT("", "SCENARIO_K2D5", SEARCH, "", ON)},
        {"kimi-k2", "", CHAT("", "SCENARIO_K2", "[]", "", OFF)},
        {"kimi-k2.6-agent", "",
         CHAT(AGENT("ok-computer", "TYPE_NORMAL"), "SCENARIO_OK_COMPUTER", "[]", "", OFF)},
        {"kimi-k3", "",
         CHAT("\"project_id\":\"\",", "SCENARIO_CHAT", "[]", ",\"is_goal\":false",
              NEWER("true", "MEDIUM", "k3"))},
        {"kimi-k3", ",\"reasoning_effort\":\"none\"",
         CHAT("\"project_id\":\"\",", "SCENARIO_CHAT", "[]", ",\"is_goal\":false",
              NEWER("false", "NONE", "k3"))},
        {"kimi-k3-nothinking", "",
         CHAT("\"project_id\":\"\",", "SCENARIO_CHAT", "[]", ",\"is_goal\":false",
              NEWER("false", "NONE", "k3"))},
        {"kimi-k3", ",\"reasoning_effort\":\"low\"",
         CHAT("\"project_id\":\"\",", "SCENARIO_CHAT", "[]", ",\"is_goal\":false",
              NEWER("true", "LOW", "k3"))},
        {"kimi-k3", ",\"reasoning_effort\":\"xhigh\"",
         CHAT("\"project_id\":\"\",", "SCENARIO_CHAT", "[]", ",\"is_goal\":false",
              NEWER("true", "HIGH", "k3"))},
        {"SCENARIO_CHAT:k2d6-chat-search", ",\"reasoning_effort\":\"medium\"",
         CHAT("\"project_id\":\"\",", "SCENARIO_CHAT", SEARCH, ",\"is_goal\":false",
              NEWER("true", "MEDIUM", "k2d6-chat"))},
        {"SCENARIO_NEW", "", CHAT("", "SCENARIO_NEW", "[]", "", OFF)},
        {"SCENARIO_NEW-thinking", "", CHAT("", "SCENARIO_NEW", "[]", "", ON)},
        {"SCENARIO_OK_COMPUTER@swarm@TYPE_ULTRA-search", "",
         CHAT(AGENT("swarm", "TYPE_ULTRA"), "SCENARIO_OK_COMPUTER", SEARCH, "", OFF)},
    };
    char body[300];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = kimi_setup();
        snprintf(body, sizeof body,
                 "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s}",
                 rows[i].wish);
        setup.body = body;
        setup.model = rows[i].model;
        expect_chat(&setup, rows[i].model, rows[i].wanted);
    }
}

static void a_model_that_nobody_knows(void **state)
{
    static const char *const ids[] = {"kimi-k9", "gpt-4o", "SCENARIO_X:"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct transcript_setup setup = kimi_setup();
        struct site_request req;
        setup.model = ids[i];
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
        assert_int_equal(transcript_run(p)->fail->kind, FAIL_BAD_REQUEST);
        assert_string_equal(transcript_run(p)->fail->param, "model");
        transcript_close(p);
    }
}

static void options_of_the_site(void **state)
{
    static const struct option_value options[] = {
        {.name = SPAN_INIT("search"), .type = OPTION_BOOL, .integer = 1},
        {.name = SPAN_INIT("chat_path"),
         .type = OPTION_TEXT,
         .text = SPAN_INIT("/apiv2/kimi.chat.v1.ChatService/Chat")}};
    struct transcript_setup setup = kimi_setup();
    struct site_request req;
    setup.options = options;
    setup.n_options = 2;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(is(req.target, "/apiv2/kimi.chat.v1.ChatService/Chat"));
    transcript_expect("search", "{\"tools\":" SEARCH "}", payload(req.body));
    transcript_close(p);
}

static void options_that_cannot_be(void **state)
{
    static const struct {
        const char *name, *value;
        bool good;
    } rows[] = {{"chat_path", "apiv2/x", false},      {"chat_path", "/apiv2/x", true},
                {"auth_url", "auth.kimi.com", false}, {"auth_url", "https://auth.kimi.com/", false},
                {"auth_url", "https://", false},      {"auth_url", "https://auth.kimi.com", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct option_value option = {
            .name = span_str(rows[i].name), .type = OPTION_TEXT, .text = span_str(rows[i].value)};
        struct site_settings site = {.options = &option, .n_options = 1};
        struct fail fail = {0};
        if ((adapter_kimi.check(&site, &fail) == 0) != rows[i].good)
            fail_msg("%s = %s", rows[i].name, rows[i].value);
    }
}

/* ---- tokens ---- */

#define ACCESS(exp)                                                                                \
    "{\"app_id\":\"kimi\",\"typ\":\"access\",\"sub\":\"user-1\",\"ssid\":\"1799\",\"device_id\":"  \
    "\"7555\",\"exp\":" exp "}"
#define NOW_S    "1760000000"
#define IN_100_S "1760000100"
#define IN_130_S "1760000130"
#define IN_900_S "1760000900"

/* "e30.<payload>.c2ln" */
static struct span jwt(struct arena *arena, const char *text)
{
    struct span middle = base64_encode(arena, span_str(text));
    while (middle.n && middle.p[middle.n - 1] == '=')
        middle.n--;
    return arena_printf(arena, "e30.%.*s.c2ln", SPAN_ARGS(middle));
}

static void expect_refresh(struct transcript_player *p, const char *bearer)
{
    struct site_request req;
    char wanted[300];
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "GET");
    assert_true(is(req.target, "/api/auth/token/refresh"));
    assert_true(req.credential_step);
    assert_null(req.body.p);
    assert_int_equal(req.framing, FRAMING_WHOLE);
    snprintf(wanted, sizeof wanted, "Bearer %s", bearer);
    assert_true(is(transcript_header(&req, "Authorization"), wanted));
    assert_true(is(transcript_header(&req, "X-Msh-Platform"), "web"));
    assert_true(transcript_header(&req, "X-Msh-Device-Id").n > 0);
}

static void expect_bearer(struct transcript_player *p, struct span token)
{
    struct site_request req;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(span_find(req.target, SPAN(".ChatService/Chat")) >= 0);
    assert_false(req.credential_step);
    struct span got = transcript_header(&req, "Authorization");
    assert_true(span_starts(got, SPAN("Bearer ")));
    if (!span_eq(span_from(got, 7), token))
        fail_msg("wanted %.*s, got %.*s", SPAN_ARGS(token), SPAN_ARGS(got));
}

static const struct credential refresh[] = {{SPAN_INIT("refresh_token"), SPAN_INIT("cpmt_r0")}};

static void a_refresh_token_buys_an_access_token(void **state)
{
    struct transcript_setup setup = with(refresh, 1);
    struct site_request req;
    struct arena arena;
    arena_init(&arena);
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    struct span token = jwt(&arena, ACCESS(IN_900_S));
    expect_refresh(p, "cpmt_r0");
    expect_refresh(p, "cpmt_r0"); /* another exchange was first, in vain */
    struct span body = arena_printf(
        &arena, "{\"access_token\":\"%.*s\",\"refresh_token\":\"cpmt_r1\"}", SPAN_ARGS(token));
    assert_int_equal(transcript_answer_json(p, 200, body.p), ADAPTER_COMPLETE);
    assert_true(is(account_newest(run->account, "refresh_token"), "cpmt_r1"));
    assert_true(span_eq(account_held(run->account, "access_token", run->now_ms, 0), token));
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(is(transcript_header(&req, "X-Traffic-Id"), "user-1"));
    assert_true(is(transcript_header(&req, "X-Msh-Device-Id"), "7555"));
    assert_true(is(transcript_header(&req, "X-Msh-Session-Id"), "1799"));
    /* A later turn uses it until two minutes before its end, then the new refresh token. */
    run->now_ms += 779 * 1000;
    memset(run->state, 0, adapter_kimi.state_size);
    expect_bearer(p, token);
    run->now_ms += 2 * 1000;
    memset(run->state, 0, adapter_kimi.state_size);
    expect_refresh(p, "cpmt_r1");
    assert_true(is(account_held(run->account, "device_id", 0, 0), "7555")); /* as it was told */
    transcript_close(p);
    arena_free(&arena);
}

/* A token without an end that it tells, under another name, and no new refresh token. */
static void a_source_that_keeps_the_old_one(void **state)
{
    struct transcript_setup setup = with(refresh, 1);
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    expect_refresh(p, "cpmt_r0");
    assert_int_equal(transcript_answer_json(p, 200, "{\"token\":\"opaque\"}"), ADAPTER_COMPLETE);
    assert_true(is(account_newest(run->account, "refresh_token"), "cpmt_r0"));
    expect_bearer(p, SPAN("opaque"));
    assert_true(account_held(run->account, "access_token", run->now_ms + 899000, 0).n > 0);
    assert_int_equal(account_held(run->account, "access_token", run->now_ms + 901000, 0).n, 0);
    transcript_close(p);
}

static void tokens_of_one_kind_and_of_both(void **state)
{
    struct arena arena;
    arena_init(&arena);
    struct span fresh = jwt(&arena, ACCESS(IN_130_S)), late = jwt(&arena, ACCESS(IN_100_S)),
                ended = jwt(&arena, ACCESS(NOW_S)),
                r = jwt(&arena, "{\"app_id\":\"kimi\",\"typ\":\"refresh\",\"exp\":1770000000}");
    struct site_request req;
    const struct {
        struct span token, refresh;
        const char *wanted; /* "chat", "refresh", or a failure */
    } rows[] = {
        {late, SPAN(""), "chat"},     /* alone, it serves to its end */
        {ended, SPAN(""), NULL},      /* and no longer */
        {SPAN(""), fresh, "chat"},    /* in the wrong field */
        {SPAN(""), ended, NULL},      /* likewise */
        {fresh, r, "chat"},           /* both: it serves … */
        {late, r, "refresh"},         /* … until two minutes before its end */
        {SPAN(""), r, "refresh"},     /* a refresh token may be a JWT */
        {SPAN(""), SPAN(""), NULL},   /* nothing */
        {SPAN(""), SPAN("a b"), NULL} /* what no header can carry */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct credential list[] = {{SPAN("token"), rows[i].token},
                                    {SPAN("refresh_token"), rows[i].refresh}};
        struct transcript_setup setup = with(list, 2);
        struct transcript_player *p = transcript_open(&setup);
        enum adapter_step step = transcript_next(p, &req);
        if (!rows[i].wanted) {
            assert_int_equal(step, ADAPTER_FAILED);
            assert_int_equal(transcript_run(p)->fail->kind, FAIL_CREDENTIAL);
        } else if (step != ADAPTER_SEND || req.credential_step != (rows[i].wanted[0] == 'r')) {
            fail_msg("row %zu: wanted %s", i, rows[i].wanted);
        }
        transcript_close(p);
    }
    arena_free(&arena);
}

static const char *const refusals[] = {"{\"code\":\"unauthenticated\",\"message\":\"x\"}",
                                       "{\"error_type\":\"auth.token.invalid\",\"message\":\"x\"}"};

static void a_refused_access_token_is_replaced_once(void **state)
{
    for (size_t i = 0; i < 4; i++) {
        struct transcript_setup setup = with(refresh, 1);
        struct transcript_player *p = transcript_open(&setup);
        struct turn_run *run = transcript_run(p);
        account_hold(run->account, "access_token", SPAN("old"), 0);
        expect_bearer(p, SPAN("old"));
        assert_int_equal(i < 3 ? transcript_answer_json(p, i == 1 ? 200 : 401, refusals[i % 2])
                               : kimi_end(p, refusals[0]),
                         ADAPTER_COMPLETE);
        expect_refresh(p, "cpmt_r0");
        assert_int_equal(account_held(run->account, "access_token", 0, 0).n, 0);
        assert_int_equal(transcript_answer_json(p, 200, "{\"access_token\":\"new\"}"),
                         ADAPTER_COMPLETE);
        expect_bearer(p, SPAN("new"));
        assert_int_equal(transcript_answer_json(p, 401, refusals[0]),
                         ADAPTER_FAIL); /* no third time */
        assert_int_equal(run->fail->kind, FAIL_CREDENTIAL);
        transcript_close(p);
    }
}

static void a_refused_token_of_the_person(void **state)
{
    static const struct credential both[] = {{SPAN_INIT("token"), SPAN_INIT("mine")},
                                             {SPAN_INIT("refresh_token"), SPAN_INIT("cpmt_r0")}};
    struct transcript_setup setup = with(both, 2);
    struct transcript_player *p = transcript_open(&setup);
    expect_bearer(p, SPAN("mine"));
    assert_int_equal(transcript_answer_json(p, 401, refusals[0]), ADAPTER_COMPLETE);
    expect_refresh(p, "cpmt_r0");
    transcript_close(p);
    setup = with(both, 1); /* with nothing to renew it */
    p = transcript_open(&setup);
    expect_bearer(p, SPAN("mine"));
    assert_int_equal(transcript_answer_json(p, 401, refusals[0]), ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_CREDENTIAL);
    transcript_close(p);
}

static void expect_newer_refresh(struct transcript_player *p, const char *origin, const char *token)
{
    struct site_request req;
    char wanted[200];
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_true(is(req.target, "/api/account.gateway.v1.AuthService/RefreshToken"));
    assert_true(is(req.origin, origin));
    assert_true(req.credential_step);
    assert_null(transcript_header(&req, "Authorization").p);
    assert_true(is(transcript_header(&req, "Content-Type"), "application/json"));
    snprintf(wanted, sizeof wanted, "{\"refreshToken\":\"%s\"}", token);
    transcript_expect_same("refresh", wanted, req.body);
}

static void the_newer_refresh(void **state)
{
    static const struct option_value options[] = {
        {.name = SPAN_INIT("refresh"), .type = OPTION_TEXT, .text = SPAN_INIT("v2")},
        {.name = SPAN_INIT("auth_url"), .type = OPTION_TEXT, .text = SPAN_INIT("https://a.b")}};
    static const char *const answers[] = {
        "{\"accessToken\":\"new\",\"refreshToken\":\"cpmt_r1\"}",
        "{\"data\":{\"accessToken\":\"new\",\"refreshToken\":\"cpmt_r1\"}}"};
    static const struct {
        const char *base_url, *origin;
        size_t options;
    } places[] = {{NULL, "https://auth.kimi.com", 1},
                  {"https://www.kimi.ai", "https://auth.kimi.ai", 1},
                  {"https://kimi.ai", "https://auth.kimi.ai", 1},
                  {NULL, "https://a.b", 2}};
    for (size_t i = 0; i < 4; i++) {
        struct transcript_setup setup = with(refresh, 1);
        setup.options = options;
        setup.n_options = places[i].options;
        setup.base_url = places[i].base_url;
        struct transcript_player *p = transcript_open(&setup);
        expect_newer_refresh(p, places[i].origin, "cpmt_r0");
        assert_int_equal(transcript_answer_json(p, 200, answers[i % 2]), ADAPTER_COMPLETE);
        assert_true(is(account_newest(transcript_run(p)->account, "refresh_token"), "cpmt_r1"));
        expect_bearer(p, SPAN("new"));
        transcript_close(p);
    }
}

static void the_newer_refresh_by_itself(void **state)
{
    static const int gone[] = {404, 405, 301, 307};
    for (size_t i = 0; i < 4; i++) {
        struct transcript_setup setup = with(refresh, 1);
        struct transcript_player *p = transcript_open(&setup);
        expect_refresh(p, "cpmt_r0");
        assert_int_equal(
            transcript_answer(p, gone[i], "text/html", SPAN("<html>gone"), NULL, 0, END_CLEAN),
            ADAPTER_COMPLETE);
        expect_newer_refresh(p, "https://auth.kimi.com", "cpmt_r0");
        assert_int_equal(transcript_answer_json(p, 404, "{}"), ADAPTER_FAIL); /* once */
        transcript_close(p);
    }
}

/* Never: to a stranger's site, where its person chose v1, in the older form. */
static void the_newer_refresh_not_by_itself(void **state)
{
    static const struct option_value v1[] = {
        {.name = SPAN_INIT("refresh"), .type = OPTION_TEXT, .text = SPAN_INIT("v1")}};
    for (size_t i = 0; i < 3; i++) {
        struct transcript_setup setup = i == 2 ? kimi_rest_setup() : with(refresh, 1);
        setup.credentials = refresh;
        if (i == 0)
            setup.base_url = "https://notkimi.com";
        if (i == 1)
            setup.options = v1, setup.n_options = 1;
        struct transcript_player *p = transcript_open(&setup);
        expect_refresh(p, "cpmt_r0");
        assert_int_equal(transcript_answer_json(p, 404, "{\"code\":\"not_found\"}"), ADAPTER_FAIL);
        transcript_close(p);
    }
}

static void refreshes_that_fail(void **state)
{
    static const struct {
        int status;
        const char *type, *body;
        enum fail_kind kind;
        const char *says;
    } rows[] = {
        {400, "application/json", "{\"message\":\"bad\"}", FAIL_CREDENTIAL, "bad"},
        {401, "application/json", "{\"error_type\":\"auth.token.invalid\"}", FAIL_CREDENTIAL,
         "sign in"},
        {403, "application/json", "{}", FAIL_CREDENTIAL, "sign in"},
        {200, "application/json", "{\"error_type\":\"auth.token.invalid\",\"message\":\"m\"}",
         FAIL_CREDENTIAL, "m"},
        {400, "application/json", "{\"error_type\":\"auth.account_abnormal\",\"message\":\"m\"}",
         FAIL_CREDENTIAL, "flagged"},
        {401, "application/json", "{\"error_type\":\"auth.account_abnormal\"}", FAIL_CREDENTIAL,
         "flagged"},
        {403, "text/plain", "no", FAIL_CHALLENGE, "later version: transport"},
        {200, "text/html", "<html>", FAIL_CHALLENGE, "bot check"},
        {403, "text/html; charset=utf-8", "", FAIL_CHALLENGE, "bot check"},
        {429, "application/json", "{}", FAIL_RATE_LIMITED, "limits"},
        {500, "application/json", "{}", FAIL_UNAVAILABLE, "failed"},
        {503, "application/json", "{}", FAIL_OVERLOADED, "crowded"},
        {200, "application/json", "{}", FAIL_PROTOCOL, "form"},
        {200, "application/json", "", FAIL_PROTOCOL, "form"},
        {204, "", "", FAIL_PROTOCOL, "form"},
        {200, "application/json", "[1]", FAIL_PROTOCOL, "form"},
        {200, "application/json", "{\"access_token\":\"a b\"}", FAIL_PROTOCOL, "cannot be sent"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = with(refresh, 1);
        struct transcript_player *p = transcript_open(&setup);
        const struct fail *fail = transcript_run(p)->fail;
        expect_refresh(p, "cpmt_r0");
        assert_int_equal(transcript_answer(p, rows[i].status, rows[i].type, span_str(rows[i].body),
                                           NULL, 0, END_CLEAN),
                         ADAPTER_FAIL);
        if (fail->kind != rows[i].kind || !strstr(fail->message, rows[i].says))
            fail_msg("row %zu: %s: %s", i, fail_kind_name(fail->kind), fail->message);
        assert_false(strstr(fail->message, "<html"));
        transcript_close(p);
    }
}

/* ---- pictures ---- */

#define PICTURE "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBO\"}}"

static struct transcript_setup two_pictures(void)
{
    struct transcript_setup setup = kimi_setup();
    setup.body = "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[" PICTURE
                 ",{\"type\":\"text\",\"text\":\"what?\"}," PICTURE "]}]}";
    return setup;
}

static void expect_target(struct transcript_player *p, struct site_request *req, const char *target)
{
    assert_int_equal(transcript_next(p, req), ADAPTER_SEND);
    if (!is(req->target, target))
        fail_msg("wanted %s, got %.*s", target, SPAN_ARGS(req->target));
}

static void expect_wait(struct transcript_player *p)
{
    struct site_request req;
    assert_int_equal(transcript_next(p, &req), ADAPTER_WAIT);
    assert_int_equal(req.delay_ms, 500);
}

#define UPLOAD   "/apiv2-files/file/upload"
#define PROGRESS "/apiv2-files/kimi.gateway.file.v1.FileService/GetFileParseProgress"
#define CHAT_TO  "/apiv2/kimi.gateway.chat.v1.ChatService/Chat"

static void pictures_are_uploaded_and_read(void **state)
{
    struct transcript_setup setup = two_pictures();
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    expect_target(p, &req, UPLOAD);
    assert_true(span_starts(transcript_header(&req, "Content-Type"),
                            SPAN("multipart/form-data; boundary=")));
    assert_null(transcript_header(&req, "Connect-Protocol-Version").p);
    assert_true(is(transcript_header(&req, "Authorization"), "Bearer t"));
    assert_true(span_find(req.body, SPAN("name=\"file\"; filename=\"image-1.png\"\r\n"
                                         "Content-Type: image/png\r\n\r\n\x89PN")) > 0);
    assert_int_equal(
        transcript_answer_json(p, 200,
                               "{\"file\":{\"id\":\"f1\",\"parseResult\":{\"thumbnail\":{"
                               "\"previewUrl\":\"https://x/y\"}}}}"),
        ADAPTER_COMPLETE);
    expect_target(p, &req, UPLOAD);
    assert_int_equal(transcript_answer_json(p, 200, "{\"file\":{\"id\":\"f2\"}}"),
                     ADAPTER_COMPLETE);
    for (int i = 0; i < 3; i++) { /* only the second has to be waited for */
        expect_wait(p);
        expect_target(p, &req, PROGRESS);
        transcript_expect_same("progress", "{\"file_ids\":[\"f2\"]}", req.body);
        assert_int_equal(transcript_answer_json(
                             p, 200,
                             i == 2   ? "{\"progresses\":[{\"status\":\"PROCESS_STATUS_SUCCESS\"}]}"
                             : i == 1 ? "{\"progresses\":[{\"status\":\"PROCESS_STATUS_RUNNING\"}]}"
                                      : "{}"),
                         ADAPTER_COMPLETE);
    }
    expect_target(p, &req, CHAT_TO);
    transcript_expect("chat",
                      "{\"message\":{\"blocks\":[{\"text\":{\"content\":\"what?\"}},"
                      "{\"file\":{\"id\":\"f1\",\"status\":\"PROCESS_STATUS_SUCCESS\"}},"
                      "{\"file\":{\"id\":\"f2\",\"status\":\"PROCESS_STATUS_SUCCESS\"}}]}}",
                      payload(req.body));
    transcript_close(p);
}

static void a_picture_that_is_never_read_is_used_all_the_same(void **state)
{
    struct transcript_setup setup = two_pictures();
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    for (int i = 0; i < 2; i++) {
        expect_target(p, &req, UPLOAD);
        assert_int_equal(transcript_answer_json(p, 200, "{\"file\":{\"id\":\"f\"}}"),
                         ADAPTER_COMPLETE);
    }
    int polls = 0;
    while (transcript_next(p, &req) == ADAPTER_WAIT) {
        expect_target(p, &req, PROGRESS);
        assert_int_equal(transcript_answer_json(p, 200, "{\"progresses\":[]}"), ADAPTER_COMPLETE);
        polls++;
    }
    assert_int_equal(polls, 36); /* 20 of the first */
    assert_true(is(req.target, CHAT_TO));
    transcript_close(p);
}

static void a_picture_that_cannot_be_read(void **state)
{
    struct transcript_setup setup = two_pictures();
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    for (int i = 0; i < 2; i++) {
        expect_target(p, &req, UPLOAD);
        assert_int_equal(transcript_answer_json(p, 200,
                                                i ? "{\"file\":{\"id\":\"f2\"}}"
                                                  : "{\"file\":{\"id\":\"f1\",\"parseResult\":{"
                                                    "\"thumbnail\":{\"thumbnailUrl\":\"u\"}}}}"),
                         ADAPTER_COMPLETE);
    }
    expect_wait(p);
    expect_target(p, &req, PROGRESS);
    assert_int_equal(
        transcript_answer_json(p, 200, "{\"progresses\":[{\"status\":\"PROCESS_STATUS_FAILED\"}]}"),
        ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_BAD_REQUEST);
    assert_string_equal(transcript_run(p)->fail->param, "messages[0].content[2]");
    transcript_close(p);
}

static void uploads_that_fail(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum fail_kind kind;
    } rows[] = {
        {200, "{}", FAIL_PROTOCOL},
        {200, "{\"file\":{\"id\":7}}", FAIL_PROTOCOL},
        {200, "{\"file\":{\"id\":\"a/b\"}}", FAIL_PROTOCOL},
        {200, "not JSON", FAIL_PROTOCOL},
        {200, "{\"code\":\"resource_exhausted\"}", FAIL_RATE_LIMITED},
        {413, "{\"message\":\"large\"}", FAIL_BAD_REQUEST},
        {500, "", FAIL_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = two_pictures();
        struct site_request req;
        struct transcript_player *p = transcript_open(&setup);
        expect_target(p, &req, UPLOAD);
        assert_int_equal(transcript_answer_json(p, rows[i].status, rows[i].body), ADAPTER_FAIL);
        if (transcript_run(p)->fail->kind != rows[i].kind)
            fail_msg("row %zu: %s", i, transcript_run(p)->fail->message);
        transcript_close(p);
    }
}

/* What was uploaded is not uploaded again. */
static void a_token_refused_between_uploads(void **state)
{
    struct transcript_setup setup = two_pictures();
    struct site_request req;
    setup.credentials = refresh;
    struct transcript_player *p = transcript_open(&setup);
    account_hold(transcript_run(p)->account, "access_token", SPAN("old"), 0);
    expect_target(p, &req, UPLOAD);
    assert_int_equal(transcript_answer_json(p, 200, "{\"file\":{\"id\":\"f1\"}}"),
                     ADAPTER_COMPLETE);
    expect_target(p, &req, UPLOAD);
    assert_int_equal(transcript_answer_json(p, 401, refusals[0]), ADAPTER_COMPLETE);
    expect_refresh(p, "cpmt_r0");
    assert_int_equal(transcript_answer_json(p, 200, "{\"access_token\":\"new\"}"),
                     ADAPTER_COMPLETE);
    expect_target(p, &req, UPLOAD);
    assert_true(span_find(req.body, SPAN("image-2.png")) > 0);
    transcript_close(p);
}

/* ---- the model list ---- */

static int note_model(void *owner, const struct model_entry *e)
{
    return buffer_printf(owner, "%.*s=%.*s\n", SPAN_ARGS(e->id), SPAN_ARGS(e->site_id));
}

static void the_model_list(void **state)
{
    static const struct {
        const char *answer, *wanted;
    } rows[] = {
        {"{\"availableModels\":[{\"scenario\":\"SCENARIO_K2D5\",\"displayName\":\"K2.6 Thinking\","
         "\"description\":\"…\",\"thinking\":true},{\"scenario\":\"SCENARIO_OK_COMPUTER\","
         "\"displayName\":\"K2.6 Agent\",\"kimiPlusId\":\"ok-computer\",\"agentMode\":"
         "\"TYPE_NORMAL\"}],\"defaultScenario\":{\"scenario\":\"SCENARIO_K2D5\"}}",
         "kimi-k2.6-thinking=SCENARIO_K2D5-thinking\n"
         "kimi-k2.6-agent=SCENARIO_OK_COMPUTER@ok-computer@TYPE_NORMAL\n"},
        {"{\"available_models\":[{\"scenario\":\"SCENARIO_OK_COMPUTER\",\"display_name\":\"Kimi "
         "K2.7 Swarm\",\"kimi_plus_id\":\"s\",\"agent_mode\":\"TYPE_ULTRA\"}]}",
         "kimi-k2.7-agent-swarm=SCENARIO_OK_COMPUTER@s@TYPE_ULTRA\n"},
        {"{\"availableModels\":[{\"scenario\":\"SCENARIO_K2\"},{\"scenario\":\"SCENARIO_K2D5\"},"
         "{\"scenario\":\"SCENARIO_BIG_NEW\",\"displayName\":\"Kimi\"},"
         "{\"scenario\":\"SCENARIO_OK_COMPUTER\"},{\"scenario\":\"SCENARIO_Y\",\"displayName\":"
         "\"K3.\"}]}",
         "kimi-k2=SCENARIO_K2\nkimi-k2.6=SCENARIO_K2D5\nkimi-big-new=SCENARIO_BIG_NEW\n"
         "kimi-ok-computer-agent=SCENARIO_OK_COMPUTER\nkimi-k3=SCENARIO_Y\n"},
        {"{\"availableModels\":[{},{\"scenario\":7},{\"scenario\":\"a b\"},\"x\",null,"
         "{\"scenario\":\"SCENARIO_K2\",\"kimiPlusId\":\"a@b\"}]}",
         ""},
        {"{\"availableModels\":{}}", NULL},
        {"{}", NULL},
        {"[]", NULL},
        {"nope", NULL},
    };
    struct transcript_setup setup = kimi_setup();
    struct transcript_player *p = transcript_open(&setup);
    struct site_request req = {0};
    assert_int_equal(adapter_kimi.models_request(transcript_run(p), &req), ADAPTER_SEND);
    assert_true(is(req.target, "/apiv2/kimi.gateway.config.v1.ConfigService/GetAvailableModels"));
    assert_true(is(req.body, "{}"));
    assert_true(is(transcript_header(&req, "Content-Type"), "application/json"));
    assert_true(is(transcript_header(&req, "Connect-Protocol-Version"), "1"));
    assert_true(is(transcript_header(&req, "Authorization"), "Bearer t"));
    assert_int_equal(transcript_header(&req, "X-Msh-Device-Id").n, 19);
    assert_int_equal(transcript_header(&req, "X-Msh-Session-Id").n, 19);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer out;
        buffer_init(&out, 4096);
        struct model_sink sink = {note_model, &out};
        int bad = adapter_kimi.models_answer(transcript_run(p), span_str(rows[i].answer), &sink);
        assert_int_equal(bad, rows[i].wanted ? 0 : -1);
        if (rows[i].wanted && !is(buffer_span(&out), rows[i].wanted))
            fail_msg("row %zu: %.*s", i, SPAN_ARGS(buffer_span(&out)));
        buffer_free(&out);
    }
    transcript_close(p);
}

/* Nothing is refreshed for a list. */
static void no_model_list_without_an_access_token(void **state)
{
    struct transcript_setup setup = with(refresh, 1);
    struct site_request req = {0};
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(adapter_kimi.models_request(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
    setup = kimi_rest_setup();
    p = transcript_open(&setup);
    assert_int_equal(adapter_kimi.models_request(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_answers),
        cmocka_unit_test(a_recorded_answer_of_the_older_form),
        cmocka_unit_test(a_plain_chat),
        cmocka_unit_test(a_chat_is_gone_on_with),
        cmocka_unit_test(a_chat_of_another_form_is_not_gone_on_with),
        cmocka_unit_test(an_answer_in_another_chat_is_none),
        cmocka_unit_test(a_cookie_of_the_person_is_sent_as_it_is),
        cmocka_unit_test(a_conversation_is_one_message),
        cmocka_unit_test(models_and_wishes),
        cmocka_unit_test(a_model_that_nobody_knows),
        cmocka_unit_test(options_of_the_site),
        cmocka_unit_test(options_that_cannot_be),
        cmocka_unit_test(a_refresh_token_buys_an_access_token),
        cmocka_unit_test(a_source_that_keeps_the_old_one),
        cmocka_unit_test(tokens_of_one_kind_and_of_both),
        cmocka_unit_test(a_refused_access_token_is_replaced_once),
        cmocka_unit_test(a_refused_token_of_the_person),
        cmocka_unit_test(the_newer_refresh),
        cmocka_unit_test(the_newer_refresh_by_itself),
        cmocka_unit_test(the_newer_refresh_not_by_itself),
        cmocka_unit_test(refreshes_that_fail),
        cmocka_unit_test(pictures_are_uploaded_and_read),
        cmocka_unit_test(a_picture_that_is_never_read_is_used_all_the_same),
        cmocka_unit_test(a_picture_that_cannot_be_read),
        cmocka_unit_test(uploads_that_fail),
        cmocka_unit_test(a_token_refused_between_uploads),
        cmocka_unit_test(the_model_list),
        cmocka_unit_test(no_model_list_without_an_access_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
