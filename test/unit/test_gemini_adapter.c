/*
 * test/unit/test_gemini_adapter.c - the Gemini API: bodies, answers, proofs of thinking, fields
 * that models refuse, every row of the error table, the model list.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "adapters/gemini.h"
#include "base/json_raw.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

#define HI         "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define HI_CONTENT "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"hi\"}]}]"
#define THINKS     "\"thinkingConfig\":{\"includeThoughts\":true}"
#define ANSWER                                                                                     \
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"ok\"}]},\"finishReason\":"        \
    "\"STOP\"}]}\r\n\r\n"

static const struct credential key[] = {{SPAN_INIT("api_key"), SPAN_INIT("AIza-secret")}};

static struct transcript_setup person(const char *body)
{
    return (struct transcript_setup){.adapter = &adapter_gemini,
                                     .body = body,
                                     .model = "gemini-2.5-flash",
                                     .credentials = key,
                                     .n_credentials = 1};
}

/* ---- a memory as the gateway has one ---- */

struct memory {
    struct arena arena;
    struct span keys[16], values[16];
    size_t n;
};

static void keep(void *owner, struct span k, struct span v)
{
    struct memory *m = owner;
    size_t i = 0;
    while (i < m->n && !span_eq(m->keys[i], k))
        i++;
    assert_true(i < 16);
    m->keys[i] = arena_dup(&m->arena, k);
    m->values[i] = arena_dup(&m->arena, v);
    m->n += i == m->n;
}

static struct span recall(void *owner, struct span k)
{
    struct memory *m = owner;
    for (size_t i = 0; i < m->n; i++) {
        if (span_eq(m->keys[i], k))
            return m->values[i];
    }
    return span_of(NULL, 0);
}

static struct transcript_player *open_with(const struct transcript_setup *setup, struct memory *m)
{
    struct transcript_player *p = transcript_open(setup);
    struct turn_run *run = transcript_run(p);
    run->keep = keep;
    run->recall = recall;
    run->memory_owner = m;
    return p;
}

/* ---- answers ---- */

static void every_transcript_at_every_split(void **state)
{
    static const char *const files[] = {
        "alternating.sse",
        "array-error.json",
        "array.json",
        "bare-error.sse",
        "blocked.sse",
        "blocks.sse",
        "carriage-returns.sse",
        "cut.sse",
        "empty.sse",
        "error-in-stream.sse",
        "filtered-after-block.sse",
        "grounded-late.sse",
        "grounded.sse",
        "limit-in-thoughts.sse",
        "limit.sse",
        "lines.sse",
        "logprobs.sse",
        "malformed-call.sse",
        "not-json.sse",
        "only-thoughts.sse",
        "page.html",
        "plain.sse",
        "refused-at-once.sse",
        "safety.sse",
        "thinking-tools.sse",
    };
    struct transcript_setup setup = person(NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        transcript_check(&setup, NULL, "gemini", files[i]);
}

static void expect_answer(const char *event, const char *body, enum stream_end end,
                          const char *wanted)
{
    struct transcript_setup setup = person(body);
    struct buffer sse;
    struct played out;
    buffer_init(&sse, 1 << 20);
    buffer_printf(&sse, "data: %s\r\n\r\n", event);
    transcript_play(&setup, NULL, buffer_span(&sse), NULL, 0, end, &out);
    transcript_expect(event, wanted, buffer_span(&out.json));
    played_free(&out);
    buffer_free(&sse);
}

static int swallow(void *owner, const struct delta *d)
{
    *(int *)owner += d->kind == DELTA_TOOL_BEGIN;
    return 0;
}

static void calls_are_bounded(void **state)
{
    int calls = 0;
    const struct delta_sink sink = {.put = swallow, .owner = &calls};
    struct transcript_setup setup = person(NULL);
    struct transcript_player *p = transcript_open(&setup);
    struct site_request req;
    struct buffer event;
    buffer_init(&event, 1 << 20);
    buffer_printf(&event, "data: {\"candidates\":[{\"content\":{\"parts\":[");
    for (int i = 0; i < 129; i++)
        buffer_printf(&event, "%s{\"functionCall\":{\"name\":\"f\"}}", i ? "," : "");
    buffer_printf(&event, "]},\"finishReason\":\"STOP\"}]}\n\n");
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_run(p)->out = &sink;
    assert_int_equal(
        transcript_answer(p, 200, "text/event-stream", buffer_span(&event), NULL, 0, END_CLEAN),
        ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_PROTOCOL);
    assert_int_equal(calls, 128);
    transcript_close(p);
    buffer_free(&event);
}

static void every_finish_reason(void **state)
{
    static const struct {
        const char *reason, *with_text, *without; /* finish, or the failure's kind */
        bool fails_with, fails_without;
    } rows[] = {
        {"STOP", "stop", "empty", false, true},
        {"MAX_TOKENS", "length", "length", false, false},
        {"SAFETY", "content_filter", "content_filter", false, true},
        {"RECITATION", "content_filter", "content_filter", false, true},
        {"LANGUAGE", "content_filter", "content_filter", false, true},
        {"BLOCKLIST", "content_filter", "content_filter", false, true},
        {"PROHIBITED_CONTENT", "content_filter", "content_filter", false, true},
        {"SPII", "content_filter", "content_filter", false, true},
        {"IMAGE_SAFETY", "content_filter", "content_filter", false, true},
        {"IMAGE_PROHIBITED_CONTENT", "content_filter", "content_filter", false, true},
        {"IMAGE_RECITATION", "content_filter", "content_filter", false, true},
        {"MALFORMED_FUNCTION_CALL", "protocol", "protocol", true, true},
        {"UNEXPECTED_TOOL_CALL", "protocol", "protocol", true, true},
        {"TOO_MANY_TOOL_CALLS", "protocol", "protocol", true, true},
        {"OTHER", "stop", "unavailable", false, true},
        {"NO_IMAGE", "stop", "unavailable", false, true},
        {"IMAGE_OTHER", "stop", "unavailable", false, true},
        {"SOMETHING_NEW", "stop", "unavailable", false, true},
        {"FINISH_REASON_UNSPECIFIED", "cut", "cut", true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int text = 0; text < 2; text++) {
            char event[200], wanted[100];
            const char *said = text ? rows[i].with_text : rows[i].without;
            snprintf(event, sizeof event,
                     "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"%s\"}]},"
                     "\"finishReason\":\"%s\"}]}",
                     text ? "a" : "", rows[i].reason);
            snprintf(wanted, sizeof wanted,
                     (text ? rows[i].fails_with : rows[i].fails_without)
                         ? "{\"finish_reason\":null,\"error\":{\"kind\":\"%s\"}}"
                         : "{\"finish_reason\":\"%s\",\"error\":null}",
                     said);
            expect_answer(event, NULL, END_CLEAN, wanted);
        }
    }
}

static void every_block_reason(void **state)
{
    static const char *const reasons[] = {"SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT",
                                          "IMAGE_SAFETY"};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        char event[100], wanted[200];
        snprintf(event, sizeof event, "{\"promptFeedback\":{\"blockReason\":\"%s\"}}", reasons[i]);
        snprintf(wanted, sizeof wanted,
                 "{\"error\":{\"kind\":\"content_filter\",\"message\":\"gemini refused the prompt "
                 "(%s)\"}}",
                 reasons[i]);
        expect_answer(event, NULL, END_CLEAN, wanted);
    }
}

static void ends_and_oddities(void **state)
{
#define OK                                                                                         \
    "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"ok\"}]},\"finishReason\":\"STOP\"}]}"
    /* a reset behind the finish takes nothing from the answer */
    expect_answer(OK, NULL, END_CUT,
                  "{\"content\":\"ok\",\"finish_reason\":\"stop\",\"error\":null}");
    /* a stop text at the very beginning leaves an empty answer that is whole */
    expect_answer("{\"candidates\":[{\"finishReason\":\"STOP\"}]}",
                  "{\"model\":\"x\",\"stop\":\"a\"," HI "}", END_CLEAN,
                  "{\"content\":\"\",\"finish_reason\":\"stop\",\"error\":null}");
    expect_answer(
        "{\"candidates\":[{\"index\":1,\"content\":{\"parts\":[{\"text\":\"second\"}]}},"
        "{\"content\":{\"parts\":[{\"text\":\"ok\"},{\"strange\":1},{\"functionCall\":{}},"
        "{\"inlineData\":{\"mimeType\":\"audio/wav\",\"data\":\"aa\"}}]},\"finishReason\":"
        "\"STOP\"}]}",
        NULL, END_CLEAN,
        "{\"content\":\"ok\",\"drift\":[\"second candidate\",\"part of an unknown "
        "kind\",\"function call without a name\",\"inline data that is no picture\"]}");
    /* counts that cannot be are none */
    expect_answer("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"ok\"}]},\"finishReason\":"
                  "\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":9223372036854775807,"
                  "\"toolUsePromptTokenCount\":7,\"candidatesTokenCount\":9223372036854775807,"
                  "\"thoughtsTokenCount\":2}}",
                  NULL, END_CLEAN, "{\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}");
    expect_answer("[1," OK "]", NULL, END_CLEAN,
                  "{\"content\":\"ok\",\"drift\":[\"event that is no object\"]}");
    expect_answer("{\"error\":{\"status\":\"RESOURCE_EXHAUSTED\",\"message\":\"Slow.\"}}", NULL,
                  END_CLEAN, "{\"error\":{\"kind\":\"rate_limited\",\"retry_after\":60}}");
}

/* One event can be megabytes: a picture. */
static void a_large_picture(void **state)
{
    enum { BYTES = 3 << 20 };
    struct transcript_setup setup = person(NULL);
    struct buffer sse;
    struct played out;
    buffer_init(&sse, BYTES + 4096);
    buffer_append(&sse, SPAN("data: {\"candidates\":[{\"content\":{\"parts\":[{\"inlineData\":{"
                             "\"mimeType\":\"image/png\",\"data\":\""));
    char *at = buffer_reserve(&sse, BYTES);
    assert_non_null(at);
    memset(at, 'A', BYTES);
    sse.n += BYTES;
    buffer_append(&sse, SPAN("\"}}]},\"finishReason\":\"STOP\"}]}\r\n\r\n"));
    assert_int_equal(sse.error, BUFFER_OK);
    transcript_play(&setup, NULL, buffer_span(&sse), (size_t[]){7, 100, 1 << 20}, 3, END_CLEAN,
                    &out);
    transcript_expect("picture", "{\"finish_reason\":\"stop\",\"error\":null}",
                      buffer_span(&out.json));
    assert_true(out.json.n > BYTES);
    played_free(&out);
    buffer_free(&sse);
}

/* ---- requests ---- */

static void check_body(const struct transcript_setup *setup, const char *what, const char *wanted)
{
    struct site_request req;
    struct transcript_player *p = transcript_open(setup);
    if (transcript_next(p, &req) != ADAPTER_SEND)
        fail_msg("%s: %s", what, transcript_run(p)->fail->message);
    transcript_expect_same(what, wanted, req.body);
    transcript_close(p);
}

static void expect_body(const char *fields, const char *wanted)
{
    char *body = NULL;
    assert_true(asprintf(&body, "{\"model\":\"x\",%s}", fields) > 0);
    struct transcript_setup setup = person(body);
    check_body(&setup, fields, wanted);
    free(body);
}

/* The same with "hi" as the only message, looking at parts of the body. */
static void expect_config(const char *model, const char *fields, const char *wanted)
{
    char *body = NULL;
    struct site_request req;
    assert_true(asprintf(&body, "{\"model\":\"x\",%s%s" HI "}", fields, *fields ? "," : "") > 0);
    struct transcript_setup setup = person(body);
    setup.model = model;
    struct transcript_player *p = transcript_open(&setup);
    if (transcript_next(p, &req) != ADAPTER_SEND)
        fail_msg("%s: %s", fields, transcript_run(p)->fail->message);
    transcript_expect(fields, wanted, req.body);
    transcript_close(p);
    free(body);
}

static void expect_refusal(const char *fields, enum fail_kind kind, const char *param)
{
    char *body = NULL;
    struct site_request req;
    assert_true(asprintf(&body, "{\"model\":\"x\",%s}", fields) > 0);
    struct transcript_setup setup = person(body);
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, kind);
    assert_string_equal(transcript_run(p)->fail->param, param);
    transcript_close(p);
    free(body);
}

static void the_dossiers_example(void **state)
{
    struct site_request req;
    struct transcript_setup setup = person(
        "{\"model\":\"x\",\"temperature\":0.7,\"max_tokens\":1024,\"stop\":\"END\","
        "\"reasoning_effort\":\"low\",\"tool_choice\":\"auto\",\"parallel_tool_calls\":false,"
        "\"user\":\"u\",\"metadata\":{},\"store\":true,\"logit_bias\":{},\"service_tier\":\"auto\","
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":"
        "\"Temperature of a city\",\"strict\":true,\"parameters\":{\"$schema\":\"s\","
        "\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":"
        "[\"city\"],\"additionalProperties\":false}}}],"
        "\"messages\":[{\"role\":\"system\",\"content\":\"Answer briefly.\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Weather in Oslo?\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0K\"}}]},"
        "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\",\"tool_calls\":[{"
        "\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"arguments\":"
        "\"{\\\"city\\\":\\\"Oslo\\\"}\"},\"extra_content\":{\"google\":{\"thought_signature\":"
        "\"c2lnbmF0dXJl\"}}}]},{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":"
        "\"{\\\"celsius\\\":4}\"}]}");
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_span_equal(req.target,
                      SPAN("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"));
    assert_span_equal(transcript_header(&req, "x-goog-api-key"), SPAN("AIza-secret"));
    assert_span_equal(transcript_header(&req, "Content-Type"), SPAN("application/json"));
    assert_null(transcript_header(&req, "Authorization").p);
    transcript_expect_same(
        "the dossier's example",
        "{\"systemInstruction\":{\"parts\":[{\"text\":\"Answer briefly.\"}]},\"contents\":["
        "{\"role\":\"user\",\"parts\":[{\"text\":\"Weather in Oslo?\"},{\"inlineData\":{"
        "\"mimeType\":\"image/png\",\"data\":\"iVBORw0K\"}}]},{\"role\":\"model\",\"parts\":[{"
        "\"functionCall\":{\"name\":\"get_weather\",\"args\":{\"city\":\"Oslo\"}},"
        "\"thoughtSignature\":\"c2lnbmF0dXJl\"}]},{\"role\":\"user\",\"parts\":[{"
        "\"functionResponse\":{\"name\":\"get_weather\",\"response\":{\"celsius\":4}}}]}],"
        "\"tools\":[{\"functionDeclarations\":[{\"name\":\"get_weather\",\"description\":"
        "\"Temperature of a city\",\"parametersJsonSchema\":{\"$schema\":\"s\",\"type\":\"object\","
        "\"properties\":{\"city\":{\"type\":\"string\"}},\"required\":[\"city\"],"
        "\"additionalProperties\":false}}]}],\"toolConfig\":{\"functionCallingConfig\":{\"mode\":"
        "\"AUTO\"}},\"generationConfig\":{\"temperature\":0.7,\"maxOutputTokens\":1024,"
        "\"stopSequences\":[\"END\"],\"thinkingConfig\":{\"includeThoughts\":true,"
        "\"thinkingBudget\":1024}}}",
        req.body);
    transcript_close(p);
}

static void addresses(void **state)
{
    static const struct {
        const char *model, *base, *target;
    } rows[] = {
        {"models/gemini-2.5-pro", NULL,
         "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"},
        {"tunedModels/mine", NULL, "/v1beta/tunedModels/mine:streamGenerateContent?alt=sse"},
        {"a/../b?c", NULL, "/v1beta/models/a%2F..%2Fb%3Fc:streamGenerateContent?alt=sse"},
        {"m", "https://proxy.example/gemini", "/v1beta/models/m:streamGenerateContent?alt=sse"},
        {"m", "https://proxy.example/gemini/v1beta/", "/models/m:streamGenerateContent?alt=sse"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        struct site_request req;
        setup.model = rows[i].model;
        setup.base_url = rows[i].base;
        struct transcript_player *p = transcript_open(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_span_equal(req.target, span_str(rows[i].target));
        transcript_close(p);
    }
    struct transcript_setup keyless = person(NULL);
    struct site_request req;
    keyless.n_credentials = 0;
    struct transcript_player *p = transcript_open(&keyless);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_CREDENTIAL);
    transcript_close(p);
}

#define CONFIG "\"generationConfig\":{" THINKS "}"

static void messages_become_contents(void **state)
{
    expect_body(
        "\"messages\":[{\"role\":\"system\",\"content\":\"A\"},{\"role\":\"user\","
        "\"content\":\"1\"},{\"role\":\"developer\",\"content\":\"B\"},{\"role\":\"user\","
        "\"content\":[{\"type\":\"text\",\"text\":\"2\"},{\"type\":\"text\",\"text\":\"\"}]"
        "},{\"role\":\"assistant\",\"content\":null},{\"role\":\"user\",\"name\":\"Ann\","
        "\"content\":\"3\"},{\"role\":\"assistant\",\"content\":\"4\"},{\"role\":"
        "\"assistant\",\"content\":[{\"type\":\"refusal\",\"refusal\":\"5\"}]},{\"role\":"
        "\"user\",\"content\":\"6\"}]",
        "{\"systemInstruction\":{\"parts\":[{\"text\":\"A\"},{\"text\":\"B\"}]},"
        "\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"1\"},{\"text\":\"2\"},"
        "{\"text\":\"user (Ann): \"},{\"text\":\"3\"}]},{\"role\":\"model\",\"parts\":["
        "{\"text\":\"4\"},{\"text\":\"5\"}]},{\"role\":\"user\",\"parts\":[{\"text\":\"6\"}]"
        "}]," CONFIG "}");
    /* nothing but system messages */
    expect_body(
        "\"messages\":[{\"role\":\"system\",\"content\":\"A\"},{\"role\":\"developer\","
        "\"content\":\"B\"}]",
        "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"A\"},{\"text\":\"B\"}]}]," CONFIG
        "}");
    /* a prefill */
    expect_body("\"messages\":[{\"role\":\"user\",\"content\":\"Count\"},{\"role\":\"assistant\","
                "\"content\":\"1, 2,\"}]",
                "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"Count\"}]},{\"role\":"
                "\"model\",\"parts\":[{\"text\":\"1, 2,\"}]},{\"role\":\"user\",\"parts\":[{"
                "\"text\":\"Continue your last message exactly where it ends. Do not repeat any of "
                "it and do not comment.\"}]}]," CONFIG "}");
    expect_refusal("\"messages\":[{\"role\":\"user\",\"content\":\"\"}]", FAIL_INVALID_VALUE,
                   "messages");
}

#define PART(json)    "\"messages\":[{\"role\":\"user\",\"content\":[" json "]}]"
#define URL_PART(url) PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"" url "\"}}")
#define INLINE(mime)                                                                               \
    "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"inlineData\":{\"mimeType\":\"" mime           \
    "\",\"data\":\"QUJD\"}}]}]," CONFIG "}"

static void pictures_sound_and_files(void **state)
{
    expect_body(URL_PART("data:image/jpg;base64,QUJD"), INLINE("image/jpeg"));
    expect_body(URL_PART("data:image/webp;base64,QUJD"), INLINE("image/webp"));
    expect_body(PART("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"QUJD\",\"format\":"
                     "\"wav\"}}"),
                INLINE("audio/wav"));
    expect_body(PART("{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"QUJD\",\"format\":"
                     "\"mp3\"}}"),
                INLINE("audio/mp3"));
    expect_body(PART("{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":"
                     "\"data:application/pdf;base64,QUJD\"}}"),
                INLINE("application/pdf"));
    expect_refusal(URL_PART("https://pictures.example/a.png"), FAIL_UNSUPPORTED,
                   "messages[0].content[0]");
    expect_refusal(URL_PART("data:image/gif;base64,QUJD"), FAIL_UNSUPPORTED,
                   "messages[0].content[0]");
    expect_refusal(PART("{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}"), FAIL_UNSUPPORTED,
                   "messages[0].content[0]");
    expect_refusal(PART("{\"type\":\"video_url\",\"video_url\":{\"url\":\"data:video/mp4;base64,"
                        "QUJD\"}}"),
                   FAIL_UNSUPPORTED, "messages[0].content[0]");
}

#define CALL(id, name, arguments)                                                                  \
    "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" name                      \
    "\",\"arguments\":\"" arguments "\"}}"
#define CALLS(calls)                                                                               \
    "\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":"     \
    "null,\"tool_calls\":[" calls "]},"
#define RESULT(id, content)                                                                        \
    "{\"role\":\"tool\",\"tool_call_id\":\"" id "\",\"content\":" content "}"
#define U "{\"role\":\"user\",\"parts\":[{\"text\":\"u\"}]},"
#define RESPONSE(name, response)                                                                   \
    "{\"functionResponse\":{\"name\":\"" name "\",\"response\":" response "}}"

static void results_follow_the_order_of_their_calls(void **state)
{
    expect_body(
        CALLS(CALL("a", "f", "") "," CALL("b", "g", "{}") "," CALL("c", "h", " {} "))
            RESULT("c", "\"3\"") "," RESULT("a", "\"{\\\"x\\\":1}\"") "," RESULT(
                "b", "[{\"type\":\"text\",\"text\":\"two\"},{\"type\":\"text\","
                     "\"text\":\"lines\"},{\"type\":\"image_url\",\"image_url\":{"
                     "\"url\":\"data:image/png;base64,QUJD\"}}]") ","
                                                                  "{\"role\":\"user\",\"content\":"
                                                                  "\"so?\"}]",
        "{\"contents\":[" U "{\"role\":\"model\",\"parts\":["
        "{\"functionCall\":{\"name\":\"f\",\"args\":{}}},{\"functionCall\":{\"name\":\"g\","
        "\"args\":{}}},{\"functionCall\":{\"name\":\"h\",\"args\":{}}}]},{\"role\":\"user\","
        "\"parts\":[" RESPONSE("f", "{\"x\":1}") "," RESPONSE(
            "g",
            "{\"output\":\"two\\nlines\"}") "," RESPONSE("h",
                                                         "{\"output\":3}") ",{\"inlineData\":{"
                                                                           "\"mimeType\":\"image/"
                                                                           "png\",\"data\":"
                                                                           "\"QUJD\"}},{\"text\":"
                                                                           "\"so?\"}]}]," CONFIG
                                                                           "}");
    /* an id that is used again means the call before; text and array are no object */
    expect_body(CALLS(CALL("a", "f", "{}")) RESULT(
                    "a", "\"4 °C\"") ",{\"role\":\"assistant\",\"content\":\"t\",\"tool_calls\":"
                                     "[" CALL("a", "g", "{}") "]}," RESULT("a", "\"[1]\"") "]",
                "{\"contents\":[" U "{\"role\":\"model\",\"parts\":[{\"functionCall\":{\"name\":"
                "\"f\",\"args\":{}}}]},{\"role\":\"user\",\"parts\":[" RESPONSE(
                    "f", "{\"output\":\"4 °C\"}") "]},{\"role\":\"model\",\"parts\":[{"
                                                  "\"text\":\"t\"},{\"functionCall\":{\"name\":"
                                                  "\"g\",\"args\":{}}}]},{\"role\":"
                                                  "\"user\",\"parts\":[" RESPONSE(
                                                      "g", "{\"output\":[1]}") "]}]," CONFIG "}");
    /* the old form has names only */
    expect_body("\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"function\","
                "\"name\":\"old\",\"content\":\"\"}]",
                "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"u\"}," RESPONSE(
                    "old", "{\"output\":\"\"}") "]}]," CONFIG "}");
    expect_refusal(CALLS(CALL("a", "f", "{}")) RESULT("b", "\"x\"") "]", FAIL_INVALID_VALUE,
                   "messages[2].tool_call_id");
    expect_refusal(
        "\"messages\":[{\"role\":\"user\",\"content\":\"u\"}," RESULT(
            "a", "\"x\"") ","
                          "{\"role\":\"assistant\",\"tool_calls\":[" CALL("a", "f", "{}") "]}]",
        FAIL_INVALID_VALUE, "messages[1].tool_call_id");
    expect_refusal(CALLS(CALL("a", "f", "{}") "," CALL("b", "f", "[1]")) RESULT("a", "\"x\"") "]",
                   FAIL_INVALID_VALUE, "messages[1].tool_calls[1].function.arguments");
    expect_refusal(CALLS(CALL("a", "f", "{")) RESULT("a", "\"x\"") "]", FAIL_INVALID_VALUE,
                   "messages[1].tool_calls[0].function.arguments");
}

/* What only other fronts can say: thinking in the history, failed tools, calls between texts. */
static void messages_of_other_fronts(void **state)
{
    static const struct part said[] = {
        {.kind = PART_THINKING, .text = SPAN_INIT("hm"), .signature = SPAN_INIT("s")},
        {.kind = PART_TEXT, .text = SPAN_INIT("one")},
        {.kind = PART_REDACTED, .signature = SPAN_INIT("r")},
        {.kind = PART_TEXT, .text = SPAN_INIT("two")},
    };
    static const struct part object[] = {{.kind = PART_TEXT, .text = SPAN_INIT("{\"code\":7}")}};
    static const struct part text[] = {{.kind = PART_TEXT, .text = SPAN_INIT("no such city")}};
    static const struct part asks[] = {
        {.kind = PART_FILE, .text = SPAN_INIT("plain"), .filename = SPAN_INIT("a.txt")}};
    static const struct tool_call calls[] = {
        {.id = SPAN_INIT("a"), .name = SPAN_INIT("f"), .arguments = SPAN_INIT("{}"), .after = 2},
        {.id = SPAN_INIT("b"), .name = SPAN_INIT("g"), .arguments = SPAN_INIT("{}"), .after = 4},
    };
    static const struct message messages[] = {
        {.role = ROLE_USER, .parts = asks, .n_parts = 1},
        {.role = ROLE_ASSISTANT,
         .parts = said,
         .n_parts = 4,
         .tool_calls = calls,
         .n_tool_calls = 2},
        {.role = ROLE_TOOL,
         .tool_call_id = SPAN_INIT("a"),
         .parts = object,
         .n_parts = 1,
         .is_error = true},
        {.role = ROLE_TOOL,
         .tool_call_id = SPAN_INIT("b"),
         .parts = text,
         .n_parts = 1,
         .is_error = true},
    };
    struct transcript_setup setup = person(NULL);
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    struct turn turn = *transcript_run(p)->turn;
    turn.messages = messages;
    turn.n_messages = 4;
    turn.reasoning = REASONING_ON;
    turn.reasoning_budget = 2000;
    transcript_run(p)->turn = &turn;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect_same(
        "messages of other fronts",
        "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"plain\"}]},{\"role\":\"model\","
        "\"parts\":[{\"text\":\"one\"},{\"functionCall\":{\"name\":\"f\",\"args\":{}}},{\"text\":"
        "\"two\"},{\"functionCall\":{\"name\":\"g\",\"args\":{}}}]},{\"role\":\"user\",\"parts\":"
        "[" RESPONSE("f", "{\"error\":{\"code\":7}}") "," RESPONSE(
            "g", "{\"error\":\"no such city\"}") "]}],\"generationConfig\":{"
                                                 "\"thinkingConfig\":{\"includeThoughts\":true,"
                                                 "\"thinkingBudget\":2000}}}",
        req.body);
    transcript_close(p);
}

static void parameters(void **state)
{
    static const struct {
        const char *fields, *wanted;
    } rows[] = {
        {"\"temperature\":0,\"top_p\":0.5,\"top_k\":40,\"max_completion_tokens\":7,"
         "\"max_tokens\":9,\"presence_penalty\":1,\"frequency_penalty\":-0.5,\"seed\":7",
         "{\"temperature\":0,\"topP\":0.5,\"topK\":40,\"maxOutputTokens\":7,\"presencePenalty\":1,"
         "\"frequencyPenalty\":-0.5,\"seed\":7}"},
        {"\"seed\":4294967297", "{\"seed\":1}"},
        {"\"stop\":[\"a\",\"\",\"b\"]", "{\"stopSequences\":[\"a\",\"b\"]}"},
        {"\"stop\":[\"\"]", "{\"stopSequences\":null}"},
        {"\"logprobs\":true,\"top_logprobs\":3", "{\"responseLogprobs\":true,\"logprobs\":3}"},
        {"\"logprobs\":true", "{\"responseLogprobs\":true,\"logprobs\":null}"},
        {"\"response_format\":{\"type\":\"text\"}", "{\"responseMimeType\":null}"},
        {"\"response_format\":{\"type\":\"json_object\"}",
         "{\"responseMimeType\":\"application/json\",\"responseJsonSchema\":null}"},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\","
         "\"strict\":true,\"schema\":{\"type\":\"object\",\"additionalProperties\":false}}}",
         "{\"responseMimeType\":\"application/json\",\"responseJsonSchema\":{\"type\":\"object\","
         "\"additionalProperties\":false}}"},
        {"\"modalities\":[\"text\",\"image\"]", "{\"responseModalities\":[\"TEXT\",\"IMAGE\"]}"},
        {"\"modalities\":[\"text\"]", "{\"responseModalities\":null}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char wanted[400];
        snprintf(wanted, sizeof wanted, "{\"generationConfig\":%s}", rows[i].wanted);
        expect_config("gemini-2.5-flash", rows[i].fields, wanted);
    }
    expect_body(HI ",\"stop\":[\"a\",\"b\",\"c\",\"d\"]",
                "{" HI_CONTENT
                ",\"generationConfig\":{\"stopSequences\":[\"a\",\"b\",\"c\",\"d\"]," THINKS "}}");
}

#define TOOL(name, more) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"" more "}}"

static void tools_and_tool_choice(void **state)
{
    static const struct {
        const char *choice, *wanted;
    } rows[] = {
        {"", "null"},
        {",\"tool_choice\":\"auto\"", "{\"mode\":\"AUTO\"}"},
        {",\"tool_choice\":\"none\"", "{\"mode\":\"NONE\"}"},
        {",\"tool_choice\":\"required\"", "{\"mode\":\"ANY\"}"},
        {",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}",
         "{\"mode\":\"ANY\",\"allowedFunctionNames\":[\"g\"]}"},
        {",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\","
         "\"tools\":[" TOOL("f", "") "," TOOL("g", "") "]}}",
         "{\"mode\":\"VALIDATED\",\"allowedFunctionNames\":[\"f\",\"g\"]}"},
        {",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"required\","
         "\"tools\":[" TOOL("f", "") "]}}",
         "{\"mode\":\"ANY\",\"allowedFunctionNames\":[\"f\"]}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char fields[500], wanted[300];
        snprintf(fields, sizeof fields,
                 "\"tools\":[" TOOL("f", ",\"parameters\":{}") "," TOOL("g", "") "]%s",
                 rows[i].choice);
        snprintf(wanted, sizeof wanted,
                 "{\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\"},{\"name\":\"g\"}]}],"
                 "\"toolConfig\":{\"functionCallingConfig\":%s}}",
                 rows[i].wanted);
        if (!*rows[i].choice)
            snprintf(wanted, sizeof wanted, "{\"toolConfig\":null}");
        expect_config("gemini-2.5-flash", fields, wanted);
    }
}

/* Names that Google does not take go out in another form, the same in tools, choice and history,
 * and come back as they were. */
/* The time of a request grows with its length, not with its square: it is all the loop's. */
static void many_names_take_no_time(void **state)
{
    enum { N = 60000, SECONDS = 10 };
    struct buffer body;
    struct site_request req;
    buffer_init(&body, 1 << 28);
    buffer_printf(&body, "{\"model\":\"x\"," HI ",\"tools\":[");
    for (int i = 0; i < N; i++)
        buffer_printf(&body, "%s{\"type\":\"function\",\"function\":{\"name\":\"a name %d\"}}",
                      i ? "," : "", i);
    buffer_printf(&body, "]}");
    buffer_char(&body, '\0');
    struct transcript_setup setup = person(body.p);
    struct transcript_player *p = transcript_open(&setup);
    clock_t before = clock();
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(clock() - before < (clock_t)SECONDS * CLOCKS_PER_SEC);
    transcript_close(p);
    buffer_free(&body);
}

static void names_go_there_and_back(void **state)
{
    struct site_request req;
    struct json root;
    struct played out;
    struct transcript_setup setup = person(
        "{\"model\":\"x\",\"tools\":[" TOOL("find it!", "") "," TOOL("fine.name:x-1", "") "," TOOL(
            "天气", "") "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":"
                        "\"天气\"}}," CALLS(CALL("a", "find it!", "{}")) RESULT("a", "\"x\"") "]}");
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    struct json_parser *json = json_parser_create(1 << 20);
    assert_non_null(json);
    assert_int_equal(json_parse(json, req.body, &root), JSON_OK);
    struct json functions = json_get(json_at(json_get(root, "tools"), 0), "functionDeclarations");
    struct span first = json_get_text(json_at(functions, 0), "name");
    struct span third = json_get_text(json_at(functions, 2), "name");
    assert_true(span_starts(first, SPAN("find_it__")));
    assert_true(span_starts(third, SPAN("___")));
    assert_span_equal(json_get_text(json_at(functions, 1), "name"), SPAN("fine.name:x-1"));
    struct json contents = json_get(root, "contents");
    assert_span_equal(json_text(json_path(json_at(json_get(json_at(contents, 1), "parts"), 0),
                                          "functionCall", "name")),
                      first);
    assert_span_equal(json_text(json_path(json_at(json_get(json_at(contents, 2), "parts"), 0),
                                          "functionResponse", "name")),
                      first);
    assert_span_equal(
        json_text(json_at(
            json_path(root, "toolConfig", "functionCallingConfig", "allowedFunctionNames"), 0)),
        third);
    char answer[300];
    snprintf(answer, sizeof answer,
             "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"%.*s\"}"
             "}]},\"finishReason\":\"STOP\"}]}\n\n",
             SPAN_ARGS(third));
    assert_int_equal(
        transcript_answer(p, 200, "text/event-stream", span_str(answer), NULL, 0, END_CLEAN),
        ADAPTER_COMPLETE);
    transcript_result(p, &out);
    transcript_expect("back", "{\"tool_calls\":[{\"name\":\"天气\"}]}", buffer_span(&out.json));
    played_free(&out);
    json_parser_destroy(json);
    transcript_close(p);
}

static void thinking(void **state)
{
#define EFFORT(word) "\"reasoning_effort\":\"" word "\""
#define T(inner)     "{\"generationConfig\":{\"thinkingConfig\":" inner "}}"
#define BUDGET(n)    T("{\"includeThoughts\":true,\"thinkingBudget\":" n ",\"thinkingLevel\":null}")
#define LEVEL(word)                                                                                \
    T("{\"includeThoughts\":true,\"thinkingLevel\":\"" word "\",\"thinkingBudget\":null}")
    static const struct {
        const char *model, *fields, *wanted;
    } rows[] = {
        {"gemini-2.5-flash", "", T("{\"includeThoughts\":true,\"thinkingBudget\":null}")},
        {"gemini-2.5-flash", EFFORT("none"), T("{\"includeThoughts\":false,\"thinkingBudget\":0}")},
        {"gemini-2.5-pro", EFFORT("none"), T("{\"includeThoughts\":false,\"thinkingBudget\":128}")},
        {"gemini-2.5-flash", EFFORT("minimal"), BUDGET("512")},
        {"gemini-2.5-flash", EFFORT("low"), BUDGET("1024")},
        {"gemini-2.5-flash", EFFORT("medium"), BUDGET("8192")},
        {"gemini-2.5-flash", EFFORT("high"), BUDGET("24576")},
        {"gemini-2.5-flash", EFFORT("xhigh"), BUDGET("24576")},
        {"gemini-2.5-flash", "\"enable_thinking\":true", BUDGET("null")},
        {"gemini-2.5-flash", "\"enable_thinking\":false",
         T("{\"includeThoughts\":false,\"thinkingBudget\":0}")},
        {"gemini-2.5-flash", "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":32000}",
         BUDGET("24576")},
        {"gemini-2.5-pro", "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":32000}",
         BUDGET("32000")},
        {"gemini-2.5-flash", "\"thinking\":{\"type\":\"disabled\"}",
         T("{\"includeThoughts\":false,\"thinkingBudget\":0}")},
        {"gemini-3-pro-preview", "", T("{\"includeThoughts\":true,\"thinkingLevel\":null}")},
        {"gemini-3-flash", EFFORT("none"),
         T("{\"includeThoughts\":false,\"thinkingLevel\":\"minimal\"}")},
        {"gemini-3-pro-preview", EFFORT("none"),
         T("{\"includeThoughts\":false,\"thinkingLevel\":\"low\"}")},
        {"gemini-3-flash", EFFORT("minimal"), LEVEL("minimal")},
        {"gemini-3-pro-preview", EFFORT("minimal"), LEVEL("low")},
        {"gemini-3.8-pro", EFFORT("low"), LEVEL("low")},
        {"gemini-3-pro-preview", EFFORT("medium"), LEVEL("medium")},
        {"gemini-10-pro", EFFORT("high"), LEVEL("high")},
        {"gemini-3-pro", "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000}",
         LEVEL("low")},
        {"gemini-2.0-flash", EFFORT("high"), T("null")},
        {"gemini-1.5-pro", EFFORT("high"), T("null")},
        {"gemini-2.5-flash-image", EFFORT("high"), T("null")},
        {"gemini-2.5-flash-preview-tts", EFFORT("high"), T("null")},
        {"gemini-2.5-flash-live", EFFORT("high"), T("null")},
        {"gemini-embedding-001", EFFORT("high"), T("null")},
        {"gemma-3-27b-it", EFFORT("high"), T("null")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_config(rows[i].model, rows[i].fields, rows[i].wanted);
    /* the list knows better than names */
    assert_int_equal(gemini_generation(SPAN("gemma-9"), GEMINI_NOTE_THINKS), GEMINI_BUDGETS);
    assert_int_equal(gemini_generation(SPAN("gemini-2.5-flash"), GEMINI_NOTE_PLAIN), GEMINI_PLAIN);
    assert_int_equal(gemini_generation(SPAN("gemini-flash-latest"), GEMINI_NOTE_THINKS),
                     GEMINI_BUDGETS);
    assert_int_equal(gemini_generation(SPAN("gemini-3-flash"), GEMINI_NOTE_THINKS), GEMINI_LEVELS);
}

static void options_of_the_site(void **state)
{
    static const struct option_value own[] = {
        {.name = SPAN_INIT("google_search"), .type = OPTION_BOOL, .integer = 1},
        {.name = SPAN_INIT("url_context"), .type = OPTION_BOOL, .integer = 1},
        {.name = SPAN_INIT("code_execution"), .type = OPTION_BOOL, .integer = 1},
        {.name = SPAN_INIT("safety"), .type = OPTION_TEXT, .text = SPAN_INIT("BLOCK_NONE")},
        {.name = SPAN_INIT("safety_harassment"),
         .type = OPTION_TEXT,
         .text = SPAN_INIT("BLOCK_ONLY_HIGH")},
    };
#define SAFETY                                                                                     \
    "\"safetySettings\":[{\"category\":\"HARM_CATEGORY_HARASSMENT\",\"threshold\":"                \
    "\"BLOCK_ONLY_HIGH\"},{\"category\":\"HARM_CATEGORY_HATE_SPEECH\",\"threshold\":"              \
    "\"BLOCK_NONE\"},{\"category\":\"HARM_CATEGORY_SEXUALLY_EXPLICIT\",\"threshold\":"             \
    "\"BLOCK_NONE\"},{\"category\":\"HARM_CATEGORY_DANGEROUS_CONTENT\",\"threshold\":"             \
    "\"BLOCK_NONE\"}]"
    struct transcript_setup setup = person("{\"model\":\"x\"," HI "}");
    setup.options = own;
    setup.n_options = 5;
    check_body(&setup, "options",
               "{" HI_CONTENT ",\"tools\":[{\"googleSearch\":{}},{\"urlContext\":{}},{"
               "\"codeExecution\":{}}]," CONFIG "," SAFETY "}");
    /* a client may ask for it as OpenAI's do */
    expect_config("gemini-2.5-flash", "\"web_search_options\":{}",
                  "{\"tools\":[{\"googleSearch\":{}}]}");
    /* beside functions Google refuses its own tools */
    setup.body = "{\"model\":\"x\",\"tools\":[" TOOL("f", "") "]," HI "}";
    check_body(&setup, "options and functions",
               "{" HI_CONTENT ",\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\"}]}]," CONFIG
               "," SAFETY "}");
}

/* ---- proofs of thinking (§4.2) ---- */

#define CALLED                                                                                     \
    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"id\":\"fc-1\",\"name\":" \
    "\"f\"},\"thoughtSignature\":\"cHJvb2Y=\"},{\"functionCall\":{\"name\":\"g\",\"args\":{}}}]}," \
    "\"finishReason\":\"STOP\"}]}\n\n"

static void remembered_proofs(void **state)
{
    struct memory memory = {0};
    struct site_request req;
    arena_init(&memory.arena);
    struct transcript_setup first = person(NULL);
    struct transcript_player *p = open_with(&first, &memory);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(
        transcript_answer(p, 200, "text/event-stream", SPAN(CALLED), NULL, 0, END_CLEAN),
        ADAPTER_COMPLETE);
    struct played out;
    transcript_result(p, &out);
    transcript_expect("calls",
                      "{\"tool_calls\":[{\"id\":\"fc-1\",\"extra_content\":{\"google\":{"
                      "\"thought_signature\":\"cHJvb2Y=\"}}},{\"name\":\"g\",\"extra_content\":"
                      "null}]}",
                      buffer_span(&out.json));
    played_free(&out);
    transcript_close(p);
    assert_int_equal(memory.n, 1);

    /* the client dropped extra_content */
    struct transcript_setup second =
        person("{\"model\":\"x\"," CALLS(CALL("fc-1", "f", "{}") "," CALL("x", "g", "{}"))
                   RESULT("fc-1", "\"1\"") "," RESULT("x", "\"2\"") "]}");
    second.model = "gemini-3-pro";
    p = open_with(&second, &memory);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_expect("remembered",
                      "{\"contents\":[{},{\"parts\":[{\"functionCall\":{\"id\":\"fc-1\",\"name\":"
                      "\"f\"},\"thoughtSignature\":\"cHJvb2Y=\"},{\"functionCall\":{\"id\":null,"
                      "\"name\":\"g\"},\"thoughtSignature\":null}]},{\"parts\":[{"
                      "\"functionResponse\":{\"id\":\"fc-1\"}},{\"functionResponse\":{\"id\":null}"
                      "}]}]}",
                      req.body);
    transcript_close(p);

    /* nobody knows anything: Gemini 3 gets the word that Google documents, older ones nothing */
    static const struct {
        const char *model, *proof;
    } rows[] = {{"gemini-3-pro", "\"skip_thought_signature_validator\""},
                {"gemini-12.1-flash", "\"skip_thought_signature_validator\""},
                {"gemini-2.5-pro", "null"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char wanted[300];
        second.model = rows[i].model;
        p = transcript_open(&second);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        snprintf(wanted, sizeof wanted,
                 "{\"contents\":[{},{\"parts\":[{\"functionCall\":{\"id\":null},"
                 "\"thoughtSignature\":%s},{\"thoughtSignature\":null}]},{}]}",
                 rows[i].proof);
        transcript_expect(rows[i].model, wanted, req.body);
        transcript_close(p);
    }
    arena_free(&memory.arena);
}

/* Each step of a chain of calls needs its own; neighbours of one model turn only the first. */
static void every_step_has_its_proof(void **state)
{
    struct transcript_setup setup = person(
        "{\"model\":\"x\"," CALLS(CALL("a", "f", "{}"))
            RESULT("a", "\"1\"") ",{\"role\":\"assistant\",\"tool_calls\":[" CALL("b", "f", "{}") "]},{\"role\":\"assistant\",\"tool_calls\":[" CALL(
                "c", "f", "{}") "]}," RESULT("b", "\"2\"") "," RESULT("c", "\"3\"") "]}");
    struct site_request req;
    setup.model = "gemini-3-flash";
    struct transcript_player *p = transcript_open(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
#define SKIP "\"thoughtSignature\":\"skip_thought_signature_validator\""
    transcript_expect("steps",
                      "{\"contents\":[{},{\"parts\":[{" SKIP "}]},{},{\"parts\":[{" SKIP "},{"
                      "\"thoughtSignature\":null}]},{}]}",
                      req.body);
    transcript_close(p);
}

/* ---- fields that a model refuses ---- */

#define ERROR(code, status, message)                                                               \
    "{\"error\":{\"code\":" code ",\"message\":\"" message "\",\"status\":\"" status "\"}}"

static void a_refused_field_is_left_out(void **state)
{
    static const struct {
        const char *model, *fields, *message, *before, *after;
    } rows[] = {
        {"gemini-2.5-pro", "\"presence_penalty\":1,\"frequency_penalty\":1",
         "Penalty is not enabled for models/gemini-2.5-pro", "{\"presencePenalty\":1}",
         "{\"presencePenalty\":null,\"frequencyPenalty\":null}"},
        {"gemini-2.5-pro", "\"presence_penalty\":1,\"frequency_penalty\":1",
         "Invalid value at 'generation_config.frequency_penalty'", "{\"frequencyPenalty\":1}",
         "{\"presencePenalty\":1,\"frequencyPenalty\":null}"},
        {"gemini-2.5-pro", "\"seed\":3", "seed is not supported", "{\"seed\":3}",
         "{\"seed\":null}"},
        {"gemini-2.5-pro", "\"top_k\":3", "Unknown name \\\"topK\\\"", "{\"topK\":3}",
         "{\"topK\":null}"},
        {"gemini-3-pro", EFFORT("medium"), "Thinking level MEDIUM is not supported for this model.",
         "{\"thinkingConfig\":{\"thinkingLevel\":\"medium\"}}",
         "{\"thinkingConfig\":{\"thinkingLevel\":\"high\"}}"},
        {"gemini-3-flash", EFFORT("minimal"),
         "Thinking level MINIMAL is not supported for this model.",
         "{\"thinkingConfig\":{\"thinkingLevel\":\"minimal\"}}",
         "{\"thinkingConfig\":{\"includeThoughts\":true,\"thinkingLevel\":null}}"},
        {"gemini-2.5-flash-lite", EFFORT("none"),
         "Budget 0 is invalid. This model only works in thinking mode.",
         "{\"thinkingConfig\":{\"thinkingBudget\":0}}",
         "{\"thinkingConfig\":{\"thinkingBudget\":null}}"},
        {"gemini-2.5-new", "", "Thinking is not enabled for models/gemini-2.5-new",
         "{\"thinkingConfig\":{}}", "{\"thinkingConfig\":null}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct memory memory = {0};
        struct site_request req;
        char body[300], refusal[300], wanted[300];
        arena_init(&memory.arena);
        snprintf(body, sizeof body, "{\"model\":\"x\",%s%s" HI "}", rows[i].fields,
                 *rows[i].fields ? "," : "");
        snprintf(refusal, sizeof refusal, ERROR("400", "INVALID_ARGUMENT", "%s"), rows[i].message);
        struct transcript_setup setup = person(body);
        setup.model = rows[i].model;
        struct transcript_player *p = open_with(&setup, &memory);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        snprintf(wanted, sizeof wanted, "{\"generationConfig\":%s}", rows[i].before);
        transcript_expect(rows[i].message, wanted, req.body);
        assert_int_equal(
            transcript_answer(p, 400, "application/json", span_str(refusal), NULL, 0, END_CLEAN),
            ADAPTER_COMPLETE);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        snprintf(wanted, sizeof wanted, "{\"generationConfig\":%s}", rows[i].after);
        transcript_expect(rows[i].message, wanted, req.body);
        assert_int_equal(
            transcript_answer(p, 200, "text/event-stream", SPAN(ANSWER), NULL, 0, END_CLEAN),
            ADAPTER_COMPLETE);
        assert_int_equal(transcript_next(p, &req), ADAPTER_DONE);
        transcript_close(p);
        /* the next turn knows it already */
        p = open_with(&setup, &memory);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_expect(rows[i].message, wanted, req.body);
        transcript_close(p);
        /* another model does not */
        setup.model = "gemini-2.5-another";
        if (strncmp(rows[i].model, "gemini-3", 8) != 0) {
            p = open_with(&setup, &memory);
            assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
            snprintf(wanted, sizeof wanted, "{\"generationConfig\":%s}", rows[i].before);
            transcript_expect(rows[i].message, wanted, req.body);
            transcript_close(p);
        }
        arena_free(&memory.arena);
    }
}

/* A service that always names some field is asked a bounded number of times. */
static void asking_again_ends(void **state)
{
    struct transcript_setup setup =
        person("{\"model\":\"x\",\"presence_penalty\":1,\"frequency_penalty\":1,\"seed\":1,"
               "\"top_k\":1," EFFORT("high") "," HI "}");
    struct site_request req;
    struct transcript_player *p = transcript_open(&setup);
    enum adapter_verdict verdict = ADAPTER_COMPLETE;
    int asked = 0;
    while (verdict == ADAPTER_COMPLETE && asked < 100) {
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        asked++;
        verdict = transcript_answer(
            p, 400, "application/json",
            SPAN(ERROR("400", "INVALID_ARGUMENT", "seed, top_k, penalty, thinking, budget")), NULL,
            0, END_CLEAN);
    }
    assert_int_equal(verdict, ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_BAD_REQUEST);
    assert_int_equal(asked, 6);
    transcript_close(p);
}

/* ---- failures ---- */

#define DETAILS(code, status, message, details)                                                    \
    "{\"error\":{\"code\":" code ",\"message\":\"" message "\",\"status\":\"" status               \
    "\",\"details\":[" details "]}}"
#define TYPE(name) "{\"@type\":\"type.googleapis.com/google.rpc." name "\","
#define PER_DAY                                                                                    \
    TYPE("QuotaFailure")                                                                           \
    "\"violations\":[{\"quotaId\":"                                                                \
    "\"GenerateRequestsPerDayPerProjectPerModel-FreeTier\"}]}"
#define PER_MINUTE                                                                                 \
    TYPE("QuotaFailure")                                                                           \
    "\"violations\":[{\"quotaId\":"                                                                \
    "\"GenerateRequestsPerMinutePerProjectPerModel\"}]}"
#define RETRY(delay) TYPE("RetryInfo") "\"retryDelay\":\"" delay "\"}"

static void every_row_of_the_error_table(void **state)
{
    static const struct {
        int status;
        const char *type, *body, *kind;
        int retry_after_header, retry_after;
    } rows[] = {
        {400, "application/json",
         DETAILS("400", "INVALID_ARGUMENT", "Bad key.",
                 TYPE("ErrorInfo") "\"reason\":\"API_KEY_INVALID\"}"),
         "credential", 0, 0},
        {400, "application/json",
         ERROR("400", "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
         "credential", 0, 0},
        {400, "application/json",
         ERROR("400", "INVALID_ARGUMENT", "API key expired. Please renew the API key."),
         "credential", 0, 0},
        {400, "application/json",
         ERROR("400", "FAILED_PRECONDITION", "User location is not supported for the API use."),
         "credential", 0, 0},
        {400, "application/json",
         ERROR("400", "INVALID_ARGUMENT",
               "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
         "context_length", 0, 0},
        {400, "application/json",
         ERROR("400", "INVALID_ARGUMENT", "Function call is missing a thought_signature"),
         "bad_request", 0, 0},
        {400, "application/json", "[" ERROR("400", "INVALID_ARGUMENT", "API key not valid.") "]",
         "credential", 0, 0},
        {401, "application/json", ERROR("401", "UNAUTHENTICATED", "No."), "credential", 0, 0},
        {403, "application/json", ERROR("403", "PERMISSION_DENIED", "API off."), "credential", 0,
         0},
        {404, "application/json", ERROR("404", "NOT_FOUND", "models/x is not found"),
         "model_not_found", 0, 0},
        {413, "application/json", ERROR("413", "INVALID_ARGUMENT", "Too large."), "bad_request", 0,
         0},
        {429, "application/json",
         DETAILS("429", "RESOURCE_EXHAUSTED", "Quota.", PER_MINUTE "," RETRY("34s")),
         "rate_limited", 7, 34},
        {429, "application/json",
         DETAILS("429", "RESOURCE_EXHAUSTED", "Quota.", RETRY("34.074824224s")), "rate_limited", 0,
         35},
        {429, "application/json", DETAILS("429", "RESOURCE_EXHAUSTED", "Quota.", RETRY("2.0s")),
         "rate_limited", 0, 2},
        {429, "application/json", ERROR("429", "RESOURCE_EXHAUSTED", "Quota."), "rate_limited", 7,
         7},
        {429, "application/json", ERROR("429", "RESOURCE_EXHAUSTED", "Quota."), "rate_limited", 0,
         60},
        /* 2025-10-09 08:53:20 UTC is 01:53:20 there */
        {429, "application/json",
         DETAILS("429", "RESOURCE_EXHAUSTED", "Quota.", RETRY("34s") "," PER_DAY), "rate_limited",
         0, 79600},
        {500, "application/json", ERROR("500", "INTERNAL", "Oops."), "unavailable", 0, 0},
        {500, "application/json", ERROR("500", "UNKNOWN", "Oops."), "unavailable", 0, 0},
        {503, "application/json", ERROR("503", "UNAVAILABLE", "The model is overloaded."),
         "overloaded", 0, 10},
        {504, "application/json", ERROR("504", "DEADLINE_EXCEEDED", "Late."), "timeout", 0, 0},
        {429, "text/html", "<html><head><title>Sorry...</title>", "challenge", 0, 0},
        {403, "text/html", "<html>unusual traffic", "challenge", 0, 0},
        {200, "text/html", "<html>log in to this network", "challenge", 0, 0},
        {502, "text/html", "<html>bad gateway", "unavailable", 0, 0},
        {429, "application/json", "{\"detail\":\"slow down\"}", "rate_limited", 0, 60},
        {307, "text/plain", "", "unavailable", 0, 0},
        {200, "text/event-stream", "data: " ERROR("429", "RESOURCE_EXHAUSTED", "Quota.") "\n\n",
         "rate_limited", 0, 60},
        {200, "text/event-stream", "data: " ERROR("400", "INVALID_ARGUMENT", "No.") "\n\n",
         "bad_request", 0, 0},
        {200, "text/event-stream", "", "cut", 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person(NULL);
        struct played out;
        char wanted[100];
        setup.status = rows[i].status;
        setup.content_type = rows[i].type;
        setup.retry_after_s = rows[i].retry_after_header;
        snprintf(wanted, sizeof wanted, "{\"error\":{\"kind\":\"%s\",\"retry_after\":%d}}",
                 rows[i].kind, rows[i].retry_after);
        transcript_play(&setup, NULL, span_str(rows[i].body), NULL, 0, END_CLEAN, &out);
        transcript_expect(rows[i].body, wanted, buffer_span(&out.json));
        assert_null(strstr(out.fail.message, "<"));
        played_free(&out);
    }
}

static void the_key_is_never_repeated(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct played out;
    setup.status = 400;
    setup.content_type = "application/json";
    transcript_play(&setup, NULL, SPAN(ERROR("400", "INVALID_ARGUMENT", "no AIza-secret here")),
                    NULL, 0, END_CLEAN, &out);
    assert_null(strstr(out.fail.message, "AIza-secret"));
    assert_non_null(strstr(out.fail.message, "no *** here"));
    played_free(&out);
}

static void midnights_of_the_pacific(void **state)
{
    static const struct {
        int64_t now_s;
        int wanted;
    } rows[] = {
        {1760000000, 79600},                      /* 2025-10-09 01:53:20 PDT */
        {1768464000, 86400},                      /* 2026-01-15 00:00:00 PST: the day begins */
        {1768463999, 1},                          /* a second before */
        {1772956800, 82800},                      /* 2026-03-08 00:00 PST: a day of 23 hours */
        {1772956799, 1},     {1793516400, 90000}, /* 2026-11-01 00:00 PDT: a day of 25 hours */
        {1793516399, 1},     {1767254400, 86400}, /* 2026-01-01 00:00 PST */
        {1767225600, 28800},                      /* 2026-01-01 00:00 UTC */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(gemini_seconds_to_pacific_midnight(rows[i].now_s * 1000), rows[i].wanted);
}

/* ---- the model list ---- */

struct listed {
    struct turn_run *run;
    struct buffer text;
};

static int list_model(void *owner, const struct model_entry *entry)
{
    struct listed *l = owner;
    return buffer_printf(&l->text, "%.*s=%.*s ", SPAN_ARGS(entry->id),
                         SPAN_ARGS(l->run->model_note));
}

static void the_model_list_has_pages(void **state)
{
    struct transcript_setup setup = person(NULL);
    struct site_request req = {0};
    struct transcript_player *p = transcript_open(&setup);
    struct turn_run *run = transcript_run(p);
    struct listed l = {.run = run};
    struct model_sink sink = {list_model, &l};
    buffer_init(&l.text, 4096);
    assert_int_equal(adapter_gemini.models_request(run, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "GET");
    assert_span_equal(req.target, SPAN("/v1beta/models?pageSize=1000"));
    assert_span_equal(transcript_header(&req, "x-goog-api-key"), SPAN("AIza-secret"));
    assert_int_equal(
        adapter_gemini.models_answer(
            run,
            SPAN(
                "{\"models\":[{\"name\":\"models/gemini-2.5-flash\",\"supportedGenerationMethods\":"
                "[\"generateContent\",\"countTokens\"],\"thinking\":true},{\"name\":"
                "\"models/embedding-001\",\"supportedGenerationMethods\":[\"embedContent\"]},{"
                "\"name\":\"models/gemini-2.0-flash\",\"supportedGenerationMethods\":["
                "\"generateContent\"]}],\"nextPageToken\":\"p/2\"}"),
            &sink),
        MODELS_MORE);
    req = (struct site_request){0};
    assert_int_equal(adapter_gemini.models_request(run, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/v1beta/models?pageSize=1000&pageToken=p%2F2"));
    assert_int_equal(adapter_gemini.models_answer(
                         run,
                         SPAN("{\"models\":[{\"name\":\"models/gemini-3-pro\",\"thinking\":true,"
                              "\"supportedGenerationMethods\":[\"generateContent\"]}],"
                              "\"nextPageToken\":\"\"}"),
                         &sink),
                     0);
    assert_span_equal(buffer_span(&l.text),
                      SPAN("gemini-2.5-flash=thinks gemini-2.0-flash=plain gemini-3-pro=thinks "));
    assert_int_equal(adapter_gemini.models_answer(run, SPAN("<html>"), &sink), -1);
    assert_int_equal(adapter_gemini.models_answer(run, SPAN("{\"models\":1}"), &sink), -1);
    buffer_free(&l.text);
    transcript_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transcript_at_every_split),
        cmocka_unit_test(calls_are_bounded),
        cmocka_unit_test(every_finish_reason),
        cmocka_unit_test(every_block_reason),
        cmocka_unit_test(ends_and_oddities),
        cmocka_unit_test(a_large_picture),
        cmocka_unit_test(the_dossiers_example),
        cmocka_unit_test(addresses),
        cmocka_unit_test(messages_become_contents),
        cmocka_unit_test(pictures_sound_and_files),
        cmocka_unit_test(results_follow_the_order_of_their_calls),
        cmocka_unit_test(messages_of_other_fronts),
        cmocka_unit_test(parameters),
        cmocka_unit_test(tools_and_tool_choice),
        cmocka_unit_test(many_names_take_no_time),
        cmocka_unit_test(names_go_there_and_back),
        cmocka_unit_test(thinking),
        cmocka_unit_test(options_of_the_site),
        cmocka_unit_test(remembered_proofs),
        cmocka_unit_test(every_step_has_its_proof),
        cmocka_unit_test(a_refused_field_is_left_out),
        cmocka_unit_test(asking_again_ends),
        cmocka_unit_test(every_row_of_the_error_table),
        cmocka_unit_test(the_key_is_never_repeated),
        cmocka_unit_test(midnights_of_the_pacific),
        cmocka_unit_test(the_model_list_has_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
