/*
 * test/unit/test_qwen_tongyi.c - the older site behind api = "tongyi": its transcript at every
 * split, requests, uploads, ends and failures.
 */
#include "adapters/qwen.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

#define BASE "https://qianwen.biz.aliyun.com"

static const struct option_value options[] = {
    {.name = SPAN_INIT("api"), .type = OPTION_TEXT, .text = SPAN_INIT("tongyi")}};
static const struct credential ticket[] = {{SPAN_INIT("ticket"), SPAN_INIT("short-ticket")}};

static struct transcript_setup person(const char *body)
{
    return (struct transcript_setup){.adapter = &adapter_qwen,
                                     .base_url = BASE,
                                     .body = body,
                                     .model = "qwen",
                                     .options = options,
                                     .n_options = 1,
                                     .credentials = ticket,
                                     .n_credentials = 1};
}

static void fixture_at_every_split(void **state)
{
    struct transcript_setup setup = person(NULL);
    transcript_check(&setup, NULL, "qwen", "older-form.sse");
}

static void play(int status, const char *type, const char *body, enum stream_end end,
                 const char *wanted)
{
    struct transcript_setup setup = person(NULL);
    struct played out;
    setup.status = status;
    setup.content_type = type;
    transcript_play(&setup, NULL, span_str(body), NULL, 0, end, &out);
    transcript_expect(body, wanted, buffer_span(&out.json));
    played_free(&out);
}

#define EVENT(status, contents, more)                                                              \
    "data: {\"msgStatus\":\"" status "\",\"contents\":[" contents "]" more "}\n\n"
#define TEXT(text) "{\"content\":\"" text "\",\"contentType\":\"text\",\"role\":\"assistant\"}"
#define PICTURE(text)                                                                              \
    "{\"content\":\"" text "\",\"contentType\":\"text2image\",\"role\":\"assistant\"}"
#define ERROR(kind) "{\"error\":{\"kind\":\"" kind "\"}}"

static void events(void **state)
{
    play(0, NULL,
         EVENT("generating", TEXT("a"), "")
             EVENT("generating", "{\"content\":\"no\",\"contentType\":\"text\",\"role\":\"user\"}",
                   "") EVENT("finished", TEXT("a") "," TEXT("b"), ",\"canShare\":true"),
         END_CLEAN, "{\"content\":\"ab\",\"finish_reason\":\"stop\",\"drift\":[]}");
    play(0, NULL,
         EVENT("generating", PICTURE("What? ![](https://p.example/1?sig=2"), "")
             EVENT("finished", PICTURE("What? ![](https://p.example/1?sig=2) ok?"), ""),
         END_CLEAN, "{\"content\":\"What? ![](https://p.example/1) ok?\"}");
    play(0, NULL,
         EVENT("generating", TEXT("abc"), "") EVENT("generating", TEXT("ab"), "")
             EVENT("finished", TEXT("abcd"), ""),
         END_CLEAN, "{\"content\":\"abcd\",\"drift\":[\"text that does not continue\"]}");
    play(0, NULL,
         "data: nonsense\n\n" EVENT(
             "finished", "{\"contentType\":\"film\",\"role\":\"assistant\"}," TEXT("a"), ""),
         END_CLEAN,
         "{\"content\":\"a\",\"drift\":[\"event that is no JSON object\",\"unknown content "
         "type\"]}");
}

static void ends_and_failures(void **state)
{
    play(0, NULL, EVENT("generating", TEXT("a"), ""), END_CLEAN, ERROR("cut"));
    play(0, NULL, EVENT("generating", TEXT("a"), "") "data: [DONE]\n\n", END_CLEAN, ERROR("cut"));
    play(0, NULL, "data: [DONE]\n\n", END_CLEAN, ERROR("empty"));
    play(0, NULL, "", END_CUT, ERROR("cut"));
    play(0, NULL, EVENT("finished", "", ""), END_CLEAN, ERROR("empty"));
    play(0, NULL, EVENT("finished", "", ",\"canShare\":false"), END_CLEAN, ERROR("content_filter"));
    play(0, NULL, EVENT("finished", TEXT("a"), ",\"canShare\":false"), END_CLEAN,
         "{\"content\":\"a\",\"finish_reason\":\"content_filter\",\"error\":null}");
    play(0, NULL, EVENT("finished", TEXT("a"), ",\"errorCode\":\"E1\""), END_CLEAN,
         ERROR("unavailable"));
    play(0, NULL, EVENT("finished", TEXT("a"), ",\"errorCode\":0"), END_CLEAN, "{\"error\":null}");
    play(200, "application/json", "{\"success\":false,\"errorCode\":\"NOT_LOGIN\"}", END_CLEAN,
         ERROR("credential"));
    play(200, "application/json", "{\"success\":false,\"errorCode\":\"X\",\"errorMsg\":\"busy\"}",
         END_CLEAN, ERROR("unavailable"));
    play(200, "application/json", "{\"hello\":1}", END_CLEAN, ERROR("protocol"));
    play(200, "application/json", "", END_CLEAN, ERROR("empty"));
    play(200, "text/html", "<html>x</html>", END_CLEAN, ERROR("challenge"));
    play(401, "application/json", "{}", END_CLEAN, ERROR("credential"));
    play(429, "application/json", "{}", END_CLEAN, ERROR("rate_limited"));
    play(500, "text/plain", "", END_CUT, ERROR("unavailable"));
}

static void the_request_and_its_clean_up(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    setup.model = "qwen-search";
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/dialog/conversation"));
    struct span cookie = transcript_header(&req, "Cookie");
    assert_true(span_starts(cookie, SPAN("tongyi_sso_ticket=short-ticket; aliyun_choice=intl; "
                                         "_samesite_flag_=true; t=")));
    assert_span_equal(transcript_header(&req, "Origin"), SPAN("https://tongyi.aliyun.com"));
    assert_span_equal(transcript_header(&req, "Referer"), SPAN("https://tongyi.aliyun.com"));
    assert_span_equal(transcript_header(&req, "X-Platform"), SPAN("pc_tongyi"));
    assert_span_equal(transcript_header(&req, "Accept"), SPAN("text/event-stream"));
    assert_null(transcript_header(&req, "Authorization").p);
    transcript_expect("chat",
                      "{\"mode\":\"chat\",\"model\":\"\",\"action\":\"next\",\"userAction\":"
                      "\"chat\",\"sessionId\":\"\",\"sessionType\":\"text_chat\",\"parentMsgId\":"
                      "\"\",\"params\":{\"searchType\":\"depth\"},\"contents\":[{\"content\":"
                      "\"hi\",\"contentType\":\"text\",\"role\":\"user\"}]}",
                      req.body);
    transcript_answer(p, 200, "text/event-stream",
                      SPAN(EVENT("finished", TEXT("a"), ",\"sessionId\":\"s1\"")), NULL, 0,
                      END_CLEAN);
    assert_int_equal(transcript_next(p, &req), ADAPTER_DONE);
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_qwen.cleanup(transcript_run(p), &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/dialog/session/delete"));
    transcript_expect_same("delete", "{\"sessionId\":\"s1\"}", req.body);
    memset(&req, 0, sizeof req);
    assert_int_equal(adapter_qwen.cleanup(transcript_run(p), &req), ADAPTER_DONE);
    transcript_close(p);
}

static void the_longer_ticket_has_another_name(void **state)
{
    char text[150];
    memset(text, 'x', sizeof text);
    const struct credential longer[] = {{SPAN_INIT("ticket"), {text, sizeof text}}};
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    setup.credentials = longer;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(span_starts(transcript_header(&req, "Cookie"), SPAN("login_aliyunid_ticket=xxx")));
    transcript_close(p);
    setup.n_credentials = 0;
    p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_CREDENTIAL);
    transcript_close(p);
}

static void pictures_go_by_form_and_link(void **state)
{
    struct transcript_setup setup =
        person("{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_"
               "url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0KGgo=\"}}]}]}");
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/dialog/uploadToken"));
    transcript_answer(p, 200, "application/json",
                      SPAN("{\"data\":{\"accessId\":\"A\",\"policy\":\"P\",\"signature\":\"S\","
                           "\"dir\":\"d/\"}}"),
                      NULL, 0, END_CLEAN);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.origin,
                      SPAN("https://broadscope-dialogue-new.oss-cn-beijing.aliyuncs.com"));
    assert_span_equal(req.target, SPAN("/"));
    assert_null(transcript_header(&req, "Cookie").p);
    static const char *const fields[] = {"\"OSSAccessKeyId\"\r\n\r\nA\r\n",
                                         "\"policy\"\r\n\r\nP\r\n",
                                         "\"signature\"\r\n\r\nS\r\n",
                                         "\"key\"\r\n\r\nd/",
                                         "\"dir\"\r\n\r\nd/\r\n",
                                         "\"success_action_status\"\r\n\r\n200\r\n",
                                         "name=\"file\""};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (span_find(req.body, span_str(fields[i])) < 0)
            fail_msg("the form lacks %s", fields[i]);
    }
    assert_int_equal(transcript_answer(p, 200, "", SPAN(""), NULL, 0, END_CLEAN), ADAPTER_COMPLETE);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/dialog/downloadLink"));
    transcript_expect("link", "{\"fileType\":\"image\",\"dir\":\"d/\"}", req.body);
    transcript_answer(p, 200, "application/json",
                      SPAN("{\"data\":{\"url\":\"https://l.example/1\"}}"), NULL, 0, END_CLEAN);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("chat",
                      "{\"contents\":[{\"content\":\"[image 1]\"},{\"role\":\"user\","
                      "\"contentType\":\"image\",\"content\":\"https://l.example/1\"}]}",
                      req.body);
    transcript_close(p);

    p = transcript_open(&setup);
    transcript_next(p, &req);
    assert_int_equal(
        transcript_answer(p, 200, "application/json", SPAN("{\"data\":{}}"), NULL, 0, END_CLEAN),
        ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_PROTOCOL);
    transcript_close(p);
}

static int count_model(void *owner, const struct model_entry *entry)
{
    ++*(int *)owner;
    return 0;
}

static void a_list_of_sessions_says_that_the_ticket_is_good(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req = {0};
    int n = 0;
    const struct model_sink sink = {count_model, &n};
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(adapter_qwen.models_request(transcript_run(p), &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/dialog/session/list"));
    assert_int_equal(adapter_qwen.models_answer(transcript_run(p),
                                                SPAN("{\"success\":true,\"data\":[]}"), &sink),
                     0);
    assert_int_equal(n, 1);
    struct span no = SPAN("{\"success\":false,\"errorCode\":\"NOT_LOGIN\"}");
    assert_int_equal(adapter_qwen.models_answer(transcript_run(p), no, &sink), -1);
    adapter_qwen.models_refused(transcript_run(p), 200, SPAN("application/json"), 0, no);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_CREDENTIAL);
    transcript_close(p);
}

static void the_base_url_must_be_its_own(void **state)
{
    struct site_settings site = {
        .origin = SPAN("https://chat.qwen.ai"), .options = options, .n_options = 1};
    struct fail fail = {0};
    assert_int_equal(adapter_qwen.check(&site, &fail), -1);
    assert_non_null(strstr(fail.message, BASE));
    site.origin = SPAN(BASE);
    assert_int_equal(adapter_qwen.check(&site, &fail), 0);
    site.n_options = 0;
    site.origin = SPAN("https://chat.qwen.ai");
    assert_int_equal(adapter_qwen.check(&site, &fail), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixture_at_every_split),
        cmocka_unit_test(events),
        cmocka_unit_test(ends_and_failures),
        cmocka_unit_test(the_request_and_its_clean_up),
        cmocka_unit_test(the_longer_ticket_has_another_name),
        cmocka_unit_test(pictures_go_by_form_and_link),
        cmocka_unit_test(a_list_of_sessions_says_that_the_ticket_is_good),
        cmocka_unit_test(the_base_url_must_be_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
