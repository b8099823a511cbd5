/*
 * test/unit/test_anthropic_adapter.c - Anthropic's Messages API: requests of OpenAI's and of its
 * own clients, every generation of models, answers, thinking that is put back, every row of the
 * error table.
 */
#include <stdlib.h>
#include <time.h>

#include "base/json_raw.h"
#include "gateway/messages_request.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

#define ERROR(type, message)                                                                       \
    "{\"type\":\"error\",\"error\":{\"type\":\"" type "\",\"message\":\"" message                  \
    "\"},\"request_id\":\"req_1\"}"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static const struct credential key[] = {{SPAN_INIT("api_key"), SPAN_INIT("sk-ant-1")}};

/* ---- a memory for run_keep and run_recall ---- */

enum { KEPT_MAX = 16 };
static struct kept {
    char key[200], value[2000];
} kept[KEPT_MAX];
static size_t n_kept;

static void keep(void *owner, struct span k, struct span value)
{
    size_t i = 0;
    while (i < n_kept && !span_eq(span_str(kept[i].key), k))
        i++;
    assert_true(i < KEPT_MAX && k.n < sizeof kept->key && value.n < sizeof kept->value);
    snprintf(kept[i].key, sizeof kept->key, "%.*s", SPAN_ARGS(k));
    snprintf(kept[i].value, sizeof kept->value, "%.*s", SPAN_ARGS(value));
    if (i == n_kept)
        n_kept++;
}

static struct span recall(void *owner, struct span k)
{
    for (size_t i = 0; i < n_kept; i++) {
        if (span_eq(span_str(kept[i].key), k))
            return span_str(kept[i].value);
    }
    return span_of(NULL, 0);
}

static struct transcript_setup person(const char *model, const char *body)
{
    return (struct transcript_setup){.adapter = &adapter_anthropic,
                                     .body = body,
                                     .model = model,
                                     .credentials = key,
                                     .n_credentials = 1};
}

static struct transcript_player *open_player(const struct transcript_setup *setup)
{
    struct transcript_player *p = transcript_open(setup);
    transcript_run(p)->keep = keep;
    transcript_run(p)->recall = recall;
    return p;
}

/* What goes out for a chat request with these fields besides the messages. */
static void expect_request(const char *model, const char *body, const char *wanted, bool exact)
{
    struct transcript_setup setup = person(model, body);
    struct site_request req;
    struct transcript_player *p = open_player(&setup);
    if (transcript_next(p, &req) != ADAPTER_SEND)
        fail_msg("%s: %s", body, transcript_run(p)->fail->message);
    (exact ? transcript_expect_same : transcript_expect)(body, wanted, req.body);
    transcript_close(p);
}

static void expect_refused(const char *body, enum fail_kind kind, const char *param)
{
    struct transcript_setup setup = person("claude-sonnet-4-5", body);
    struct site_request req;
    struct transcript_player *p = open_player(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_FAILED);
    assert_int_equal(transcript_run(p)->fail->kind, kind);
    assert_string_equal(transcript_run(p)->fail->param, param);
    transcript_close(p);
}

/* ---- answers ---- */

static void every_transcript_at_every_split(void **state)
{
    static const char *const files[] = {"crlf.sse",
                                        "cut.sse",
                                        "empty.sse",
                                        "error-after-text.sse",
                                        "error-at-once.sse",
                                        "escapes.sse",
                                        "interleaved.sse",
                                        "limit-in-thinking.sse",
                                        "names-only.sse",
                                        "no-message-stop.sse",
                                        "null-stop.sse",
                                        "pause.sse",
                                        "plain.sse",
                                        "refusal-after-text.sse",
                                        "refusal-at-once.sse",
                                        "search.sse",
                                        "stop-sequence-at-once.sse",
                                        "stop-sequence.sse",
                                        "thinking-omitted.sse",
                                        "thinking-tools.sse",
                                        "tool-first-input-at-once.sse",
                                        "unknown-stop.sse",
                                        "whole-error.json",
                                        "whole-nonsense.json",
                                        "whole.json",
                                        "window-exceeded.sse"};
    struct transcript_setup setup = person("claude-sonnet-4-5", NULL);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        transcript_check(&setup, NULL, "anthropic", files[i]);
}

/* ---- requests ---- */

static void the_dossiers_conversation(void **state)
{
    expect_request(
        "claude-sonnet-4-5",
        "{\"model\":\"x\",\"max_tokens\":1024,\"user\":\"me\",\"seed\":1,\"logit_bias\":{},"
        "\"messages\":[{\"role\":\"developer\",\"content\":\"Answer briefly.\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
        "\"data:image/png;base64,iVBORw0K\"}},{\"type\":\"text\",\"text\":\"Weather here?\"}]},"
        "{\"role\":\"assistant\",\"content\":\"I will look.\",\"reasoning_content\":\"hm\","
        "\"tool_calls\":[{\"id\":\"toolu_1\",\"type\":\"function\",\"function\":{\"name\":\"get_"
        "weather\",\"arguments\":\"{\\\"city\\\":\\\"Oslo\\\"}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"toolu_1\",\"content\":\"4 degrees\"},"
        "{\"role\":\"user\",\"content\":\"And tomorrow?\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":"
        "\"Temperature of a city\",\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{"
        "\"type\":\"string\"}},\"required\":[\"city\"]}}}],\"tool_choice\":\"auto\"}",
        "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":1024,\"stream\":true,\"system\":[{"
        "\"type\":\"text\",\"text\":\"Answer briefly.\"}],"
        "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":"
        "\"base64\",\"media_type\":\"image/png\",\"data\":\"iVBORw0K\"}},{\"type\":\"text\","
        "\"text\":\"Weather here?\"}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"I will look.\"},{"
        "\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"get_weather\",\"input\":{\"city\":"
        "\"Oslo\"}}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\","
        "\"content\":\"4 degrees\"},{\"type\":\"text\",\"text\":\"And tomorrow?\"}]}],"
        "\"tools\":[{\"name\":\"get_weather\",\"description\":\"Temperature of a city\",\"input_"
        "schema\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}},"
        "\"required\":[\"city\"]}}],\"tool_choice\":{\"type\":\"auto\"}}",
        true);
}

static void turns_alternate(void **state)
{
    static const struct {
        const char *model, *messages, *wanted;
    } rows[] = {
        /* neighbours become one; a later word of the system is a text at its place; empty texts
         * vanish, and so do messages of nothing else */
        {"claude-opus-4-5",
         "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\" \\n\"},"
         "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\"},{\"type\":\"text\","
         "\"text\":\"b\"}]},{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"name\":"
         "\"Ann\",\"content\":\"c\"}",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\","
         "\"text\":\"b\"},{\"type\":\"text\",\"text\":\"s\"},{\"type\":\"text\",\"text\":\"user "
         "(Ann): c\"}]}]"},
        /* the assistant does not begin */
        {"claude-opus-4-5",
         "{\"role\":\"assistant\",\"content\":\"hello\"},{\"role\":\"user\",\"content\":\"a\"}",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\".\"}]},{\"role\":"
         "\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"hello\"}]},{\"role\":\"user\","
         "\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}]"},
        /* … nor does nobody */
        {"claude-opus-4-5", "{\"role\":\"system\",\"content\":\"s\"}",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\".\"}]}]"},
        /* a prefill is gone on with by the older ones, without white space at its end */
        {"claude-opus-4-5",
         "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"Once \\n\"}",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":"
         "\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Once\"}]}]"},
        {"claude-sonnet-4-6",
         "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"Once \"}",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":"
         "\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Once\"}]},{\"role\":\"user\","
         "\"content\":[{\"type\":\"text\",\"text\":\"Continue exactly where your last message "
         "stops. Do not repeat any of it.\"}]}]"},
        /* results of one round in one message, before all texts; ids that the API refuses are the
         * same on both sides; no arguments are {} */
        {"claude-opus-4-5",
         "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":null,\"tool_"
         "calls\":[{\"id\":\"call:1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
         "\"arguments\":\"\"}},{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"f\","
         "\"arguments\":\"{\\\"n\\\":12345678901234567890}\"}}]},"
         "{\"role\":\"system\",\"content\":\"s\"},"
         "{\"role\":\"tool\",\"tool_call_id\":\"call:1\",\"content\":\"\"},"
         "{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":[{\"type\":\"text\",\"text\":"
         "\"x\"},{\"type\":\"text\",\"text\":\"y\"}]}",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":"
         "\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"call_95b5b0995da20468\","
         "\"name\":\"f\",\"input\":{}},{\"type\":\"tool_use\",\"id\":\"c2\",\"name\":\"f\","
         "\"input\":{\"n\":12345678901234567890}}]},{\"role\":\"user\",\"content\":[{\"type\":"
         "\"tool_result\",\"tool_use_id\":\"call_95b5b0995da20468\"},{\"type\":\"tool_"
         "result\",\"tool_use_id\":\"c2\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},{"
         "\"type\":\"text\",\"text\":\"y\"}]},{\"type\":\"text\",\"text\":\"s\"}]}]"},
        /* old clients' calls have no ids */
        {"claude-opus-4-5",
         "{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":null,"
         "\"function_call\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"role\":\"function\",\"name\":"
         "\"f\",\"content\":\"r\"}",
         "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":"
         "\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"call_1_0\",\"name\":\"f\","
         "\"input\":{}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_"
         "id\":\"call_1_0\",\"content\":\"r\"}]}]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[2000], wanted[2000];
        snprintf(body, sizeof body, "{\"model\":\"x\",\"messages\":[%s]}", rows[i].messages);
        snprintf(wanted, sizeof wanted, "{\"messages\":%s}", rows[i].wanted);
        expect_request(rows[i].model, body, wanted, false);
    }
}

static void files_and_pictures(void **state)
{
#define PART(part) "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":[" part "]}]}"
#define SENT(part) "{\"messages\":[{\"role\":\"user\",\"content\":[" part "]}]}"
    static const struct {
        const char *body, *wanted;
    } rows[] = {
        {PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x.example/a.png\"}}"),
         SENT("{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x.example/"
              "a.png\"}}")},
        {PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/jpg;base64,aaaa\"}}"),
         SENT("{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/jpeg\","
              "\"data\":\"aaaa\"}}")},
        {PART("{\"type\":\"file\",\"file\":{\"filename\":\"a.pdf\",\"file_data\":\"data:"
              "application/pdf;base64,JVBERi0=\"}}"),
         SENT("{\"type\":\"document\",\"title\":\"a.pdf\",\"source\":{\"type\":\"base64\",\"media_"
              "type\":\"application/pdf\",\"data\":\"JVBERi0=\"}}")},
        {PART("{\"type\":\"file\",\"file\":{\"filename\":\"a.txt\",\"file_data\":\"data:text/"
              "plain;base64,5L2g\"}}"),
         SENT("{\"type\":\"document\",\"title\":\"a.txt\",\"source\":{\"type\":\"text\",\"media_"
              "type\":\"text/plain\",\"data\":\"你\"}}")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_request("claude-sonnet-4-5", rows[i].body, rows[i].wanted, false);
    expect_refused(
        PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/bmp;base64,aaaa\"}}"),
        FAIL_UNSUPPORTED, "messages[0].content[0]");
    expect_refused(PART("{\"type\":\"image_url\",\"image_url\":{\"url\":\"ftp://x/a.png\"}}"),
                   FAIL_UNSUPPORTED, "messages[0].content[0]");
    expect_refused(PART("{\"type\":\"file\",\"file\":{\"file_id\":\"file-1\"}}"), FAIL_UNSUPPORTED,
                   "messages[0].content[0]");
    expect_refused(PART("{\"type\":\"file\",\"file\":{\"filename\":\"a.zip\",\"file_data\":\"data:"
                        "application/zip;base64,aaaa\"}}"),
                   FAIL_UNSUPPORTED, "messages[0].content[0]");
    expect_refused("{\"model\":\"x\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":"
                   "\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"[1]\"}"
                   "}]}]}",
                   FAIL_INVALID_VALUE, "messages[0].tool_calls[0].function.arguments");
}

/* ---- tools ---- */

#define TOOL "{\"type\":\"function\",\"function\":{\"name\":\"f\"}}"
#define F    "{\"name\":\"f\",\"input_schema\":{\"type\":\"object\",\"properties\":{}}}"

static void tools(void **state)
{
    static const struct {
        const char *model, *fields, *wanted;
    } rows[] = {
        {"claude-sonnet-4-5", "\"tools\":[" TOOL "]", "{\"tools\":[" F "],\"tool_choice\":null}"},
        {"claude-sonnet-4-5", "\"tools\":[" TOOL "],\"tool_choice\":\"required\"",
         "{\"tool_choice\":{\"type\":\"any\"}}"},
        {"claude-sonnet-4-5", "\"tools\":[" TOOL "],\"tool_choice\":\"none\"",
         "{\"tools\":[" F "],\"tool_choice\":{\"type\":\"none\"}}"},
        {"claude-sonnet-4-5",
         "\"tools\":[" TOOL "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":"
         "\"f\"}},\"parallel_tool_calls\":false",
         "{\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\",\"disable_parallel_tool_use\":true}}"},
        {"claude-sonnet-4-5", "\"tools\":[" TOOL "],\"parallel_tool_calls\":false",
         "{\"tool_choice\":{\"type\":\"auto\",\"disable_parallel_tool_use\":true}}"},
        {"claude-sonnet-4-5",
         "\"tools\":[" TOOL "],\"tool_choice\":\"none\",\"parallel_tool_calls\":false",
         "{\"tool_choice\":{\"type\":\"none\",\"disable_parallel_tool_use\":null}}"},
        {"claude-sonnet-4-5", "\"tool_choice\":\"auto\"", "{\"tools\":null,\"tool_choice\":null}"},
        /* schemas without a type; strict where it is known */
        {"claude-sonnet-4-5",
         "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true,"
         "\"parameters\":{\"properties\":{\"a\":{}}}}}]",
         "{\"tools\":[{\"name\":\"f\",\"strict\":true,\"input_schema\":{\"type\":\"object\","
         "\"properties\":{\"a\":{}}}}]}"},
        {"claude-3-5-sonnet-20241022",
         "\"tools\":[{\"type\":\"function\",\"cache_control\":{\"type\":\"ephemeral\"},"
         "\"function\":{\"name\":\"f\",\"strict\":true,\"parameters\":{}}}]",
         "{\"tools\":[{\"name\":\"f\",\"strict\":null,\"cache_control\":null,\"input_schema\":{"
         "\"type\":\"object\",\"properties\":{}}}]}"},
        /* a name that the API would refuse */
        {"claude-sonnet-4-5",
         "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"my.tool\"}}],\"tool_choice\":{"
         "\"type\":\"function\",\"function\":{\"name\":\"my.tool\"}}",
         "{\"tools\":[{\"name\":\"my_tool_efdaa471\"}],\"tool_choice\":{\"name\":\"my_tool_"
         "efdaa471\"}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[1000];
        snprintf(body, sizeof body, "{\"model\":\"x\"," HI ",%s}", rows[i].fields);
        expect_request(rows[i].model, body, rows[i].wanted, false);
    }
    expect_refused("{\"model\":\"x\"," HI ",\"tools\":[{\"type\":\"web_search\"}]}",
                   FAIL_UNSUPPORTED, "tools[0]");
    expect_refused("{\"model\":\"x\"," HI ",\"tools\":[{\"type\":\"function\"}]}",
                   FAIL_INVALID_VALUE, "tools");
}

/* Calls in the history are declared even where no tools are given. */
static void tools_of_the_history(void **state)
{
    expect_request(
        "claude-sonnet-4-5",
        "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
        "\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":"
        "\"f\",\"arguments\":\"{}\"}},{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":"
        "\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"a\",\"content\":"
        "\"1\"},{\"role\":\"tool\",\"tool_call_id\":\"b\",\"content\":\"2\"}]}",
        "{\"tools\":[" F "],\"tool_choice\":{\"type\":\"none\"}}", false);
    /* in the order in which they were called, each once */
    expect_request(
        "claude-sonnet-4-5",
        "{\"model\":\"x\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":"
        "\"assistant\",\"tool_calls\":[{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":"
        "\"z\",\"arguments\":\"{}\"}},{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":"
        "\"f\",\"arguments\":\"{}\"}},{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":"
        "\"z\",\"arguments\":\"{}\"}}]}]}",
        "{\"tools\":[{\"name\":\"z\",\"input_schema\":{\"type\":\"object\",\"properties\":{}}}," F
        "]}",
        false);
}

/* The answer's names are the client's. */
/* The time of a request grows with its length, not with its square: it is all the loop's. */
static void large_histories_take_no_time(void **state)
{
    enum { N = 60000, SECONDS = 10 };
    struct buffer body;
    struct site_request req;
    buffer_init(&body, 1 << 28);
    buffer_printf(&body, "{\"model\":\"x\"," HI ",");
    body.n -= 2; /* the list goes on */
    buffer_printf(&body, ",{\"role\":\"assistant\",\"tool_calls\":[");
    for (int i = 0; i < N; i++)
        buffer_printf(&body,
                      "%s{\"id\":\"c%d\",\"type\":\"function\",\"function\":{\"name\":\"f%d\","
                      "\"arguments\":\"{}\"}}",
                      i ? "," : "", i, i);
    buffer_printf(&body, "]}");
    for (int i = 0; i < N; i++)
        buffer_printf(&body, ",{\"role\":\"function\",\"name\":\"f\",\"content\":\"r\"}");
    buffer_printf(&body, "]}");
    buffer_char(&body, '\0');
    struct transcript_setup setup = person("claude-opus-4-5", body.p);
    struct transcript_player *p = open_player(&setup);
    clock_t before = clock();
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_true(clock() - before < (clock_t)SECONDS * CLOCKS_PER_SEC);
    assert_true(span_find(req.body, SPAN("\"tool_use_id\":\"call_1_59999\"")) > 0);
    assert_true(span_find(req.body, SPAN("{\"name\":\"f59999\",\"input_schema\"")) > 0);
    transcript_close(p);
    buffer_free(&body);
}

static void names_come_back(void **state)
{
    struct transcript_setup setup =
        person("claude-sonnet-4-5", "{\"model\":\"x\"," HI ",\"tools\":[{\"type\":\"function\","
                                    "\"function\":{\"name\":\"my.tool\"}}]}");
    struct played out;
    transcript_play(
        &setup, NULL,
        SPAN("data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":"
             "\"tool_use\",\"id\":\"t\",\"name\":\"my_tool_efdaa471\",\"input\":{}}}\n\n"
             "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\n"
             "data: {\"type\":\"message_stop\"}\n\n"),
        NULL, 0, END_CLEAN, &out);
    transcript_expect("names",
                      "{\"tool_calls\":[{\"id\":\"t\",\"name\":\"my.tool\",\"arguments\":\"{}\"}]}",
                      buffer_span(&out.json));
    played_free(&out);
}

/* ---- parameters, model by model ---- */

static void generations(void **state)
{
#define NEW "claude-opus-4-7"
    static const struct {
        const char *model, *fields, *wanted;
    } rows[] = {
        /* max_tokens: a default of the model's, never above what it takes */
        {"claude-3-opus-20240229", "\"n\":1", "{\"max_tokens\":4096}"},
        {"claude-sonnet-4-5", "\"n\":1", "{\"max_tokens\":8192}"},
        {"claude-opus-4-1-20250805", "\"max_tokens\":99999", "{\"max_tokens\":32000}"},
        {"claude-opus-4-20250514", "\"max_tokens\":99999", "{\"max_tokens\":32000}"},
        {"claude-opus-5", "\"max_completion_tokens\":99999", "{\"max_tokens\":99999}"},
        {"MiniMax-M2", "\"max_tokens\":999999", "{\"max_tokens\":999999}"},
        /* sampling */
        {"claude-3-5-sonnet-20241022", "\"temperature\":1.7,\"top_p\":0.5,\"top_k\":3",
         "{\"temperature\":1,\"top_p\":0.5,\"top_k\":3}"},
        {"claude-opus-4-20250514", "\"temperature\":0.2,\"top_p\":0.5",
         "{\"temperature\":0.2,\"top_p\":0.5}"},
        {"claude-sonnet-4-5", "\"temperature\":0.2,\"top_p\":0.5",
         "{\"temperature\":0.2,\"top_p\":null}"},
        {"claude-sonnet-4-6", "\"top_p\":0.5", "{\"temperature\":null,\"top_p\":0.5}"},
        {NEW, "\"temperature\":0.2,\"top_p\":0.5,\"top_k\":3",
         "{\"temperature\":null,\"top_p\":null,\"top_k\":null}"},
        {"claude-sonnet-5", "\"temperature\":0.2", "{\"temperature\":null}"},
        {"claude-mythos-preview", "\"temperature\":0.2", "{\"temperature\":null}"},
        {"anthropic.claude-fable-5-v1:0", "\"temperature\":0.2", "{\"temperature\":null}"},
        {"kimi-k2", "\"temperature\":0.2,\"top_p\":0.5", "{\"temperature\":0.2,\"top_p\":0.5}"},
        /* stops */
        {NEW, "\"stop\":[\"END\",\"\\n\"]", "{\"stop_sequences\":[\"END\"]}"},
        {NEW, "\"stop\":\"\\n\"", "{\"stop_sequences\":null}"},
        /* thinking with a budget */
        {"claude-3-5-sonnet-20241022", "\"reasoning_effort\":\"high\"", "{\"thinking\":null}"},
        {"claude-3-7-sonnet-20250219", "\"reasoning_effort\":\"minimal\"",
         "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024},\"max_tokens\":9216}"},
        {"claude-sonnet-4-5", "\"reasoning_effort\":\"low\",\"max_tokens\":100",
         "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2048},\"max_tokens\":2148}"},
        {"claude-sonnet-4-5", "\"reasoning_effort\":\"medium\"",
         "{\"thinking\":{\"budget_tokens\":8192},\"max_tokens\":16384,\"output_config\":null}"},
        {"claude-opus-4-5", "\"reasoning_effort\":\"xhigh\"",
         "{\"thinking\":{\"budget_tokens\":16384},\"output_config\":{\"effort\":\"high\"}}"},
        {"claude-opus-4-1", "\"reasoning_effort\":\"high\",\"max_tokens\":20000",
         "{\"thinking\":{\"budget_tokens\":16384},\"max_tokens\":32000}"},
        {"claude-sonnet-4-5", "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":3000}",
         "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":3000}}"},
        {"claude-sonnet-4-5", "\"reasoning_effort\":\"none\"", "{\"thinking\":null}"},
        {"claude-sonnet-4-5",
         "\"reasoning_effort\":\"low\",\"temperature\":0.2,\"top_p\":0.96,\"top_k\":3",
         "{\"temperature\":null,\"top_p\":0.96,\"top_k\":null}"},
        {"claude-sonnet-4-5", "\"reasoning_effort\":\"low\",\"top_p\":0.9", "{\"top_p\":null}"},
        {"claude-sonnet-4-5",
         "\"reasoning_effort\":\"low\",\"tools\":[" TOOL "],\"tool_choice\":\"required\"",
         "{\"thinking\":null,\"max_tokens\":8192}"},
        {"claude-sonnet-4-5",
         "\"reasoning_effort\":\"low\",\"tools\":[" TOOL
         "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}",
         "{\"thinking\":null}"},
        {"claude-sonnet-4-5",
         "\"reasoning_effort\":\"low\",\"tools\":[" TOOL "],\"tool_choice\":\"none\"",
         "{\"thinking\":{\"type\":\"enabled\"}}"},
        /* adaptive thinking */
        {"claude-sonnet-4-6", "\"reasoning_effort\":\"xhigh\",\"temperature\":0.5",
         "{\"thinking\":{\"type\":\"adaptive\",\"display\":\"summarized\"},\"output_config\":{"
         "\"effort\":\"high\"},\"temperature\":null,\"max_tokens\":8192}"},
        {NEW, "\"reasoning_effort\":\"xhigh\"", "{\"output_config\":{\"effort\":\"xhigh\"}}"},
        {NEW, "\"reasoning_effort\":\"minimal\"",
         "{\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":\"low\"}}"},
        {NEW, "\"reasoning_effort\":\"medium\"", "{\"output_config\":{\"effort\":\"medium\"}}"},
        {NEW, "\"reasoning_effort\":\"none\"",
         "{\"thinking\":null,\"output_config\":{\"effort\":\"low\"}}"},
        {NEW, "\"n\":1", "{\"thinking\":null,\"output_config\":null}"},
        /* the form of the answer */
        {"claude-sonnet-4-5",
         "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"schema\":"
         "{\"type\":\"object\",\"properties\":{\"type\":{\"type\":\"string\"},\"b\":{\"type\":"
         "\"array\",\"items\":{\"properties\":{}}}}}}}",
         "{\"system\":null,\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{"
         "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"type\":{\"type\":"
         "\"string\",\"additionalProperties\":null},\"b\":{\"type\":\"array\",\"items\":{"
         "\"properties\":{},\"additionalProperties\":false}}}}}}}"},
        {"claude-sonnet-4-20250514",
         "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"schema\":"
         "{\"type\":\"object\"}}}",
         "{\"output_config\":null,\"system\":[{\"type\":\"text\",\"text\":\"Reply with one JSON "
         "object only. It must match this JSON schema: {\\\"type\\\":\\\"object\\\"}\"}]}"},
        {NEW, "\"response_format\":{\"type\":\"json_object\"}",
         "{\"output_config\":null,\"system\":[{\"type\":\"text\",\"text\":\"Reply with one JSON "
         "object only.\"}]}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[1000];
        snprintf(body, sizeof body, "{\"model\":\"x\"," HI ",%s}", rows[i].fields);
        expect_request(rows[i].model, body, rows[i].wanted, false);
    }
}

/* With thinking on, a prefill is not gone on with either; and where the budget does not fit, less
 * of it, or none. */
static void budgets_that_do_not_fit(void **state)
{
    struct transcript_setup setup =
        person("some-model", "{\"model\":\"x\",\"reasoning_effort\":\"high\",\"max_tokens\":3000,"
                             "\"messages\":[{\"role\":\"assistant\",\"content\":\"Once\"}]}");
    static const struct {
        const char *note, *wanted;
    } rows[] = {
        {"{\"max_tokens\":8000}", "{\"max_tokens\":8000,\"thinking\":{\"budget_tokens\":5000},"
                                  "\"messages\":[{},{},{\"role\":\"user\"}]}"},
        {"{\"max_tokens\":4000}", "{\"max_tokens\":3000,\"thinking\":null,\"messages\":[{},{}]}"},
        {"{\"max_tokens\":64000,\"adaptive\":true,\"budget\":false,\"effort\":true}",
         "{\"max_tokens\":3000,\"thinking\":{\"type\":\"adaptive\"},\"output_config\":{\"effort\":"
         "\"high\"}}"},
        {"{\"adaptive\":false,\"budget\":false}", "{\"thinking\":null}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct site_request req;
        struct transcript_player *p = open_player(&setup);
        transcript_run(p)->model_note = span_str(rows[i].note);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_expect(rows[i].note, rows[i].wanted, req.body);
        transcript_close(p);
    }
}

/* ---- headers ---- */

static void headers(void **state)
{
    static const struct option_value options[] = {
        {.name = SPAN_INIT("auth"), .type = OPTION_TEXT, .text = SPAN_INIT("bearer")},
        {.name = SPAN_INIT("betas"), .type = OPTION_TEXT, .text = SPAN_INIT("one, two")},
    };
    struct transcript_setup setup = person("claude-sonnet-4-5", NULL);
    struct site_request req;
    struct transcript_player *p = open_player(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "POST");
    assert_span_equal(req.target, SPAN("/v1/messages"));
    assert_span_equal(transcript_header(&req, "x-api-key"), SPAN("sk-ant-1"));
    assert_span_equal(transcript_header(&req, "anthropic-version"), SPAN("2023-06-01"));
    assert_span_equal(transcript_header(&req, "Accept"), SPAN("text/event-stream"));
    assert_null(transcript_header(&req, "anthropic-beta").p);
    assert_null(transcript_header(&req, "Authorization").p);
    transcript_close(p);

    setup.options = options;
    setup.n_options = 2;
    setup.base_url = "https://x.example/anthropic/v1";
    p = open_player(&setup);
    struct turn turn = *transcript_run(p)->turn;
    turn.betas = SPAN("two,three");
    transcript_run(p)->turn = &turn;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/messages"));
    assert_span_equal(transcript_header(&req, "Authorization"), SPAN("Bearer sk-ant-1"));
    assert_null(transcript_header(&req, "x-api-key").p);
    /* betas of a client of another dialect are none */
    assert_span_equal(transcript_header(&req, "anthropic-beta"), SPAN("one,two"));
    transcript_close(p);

    p = open_player(&setup);
    turn = *transcript_run(p)->turn;
    turn.betas = SPAN("two,three");
    turn.dialect = DIALECT_ANTHROPIC;
    turn.has_max_tokens = true;
    transcript_run(p)->turn = &turn;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_span_equal(transcript_header(&req, "anthropic-beta"), SPAN("one,two,three"));
    transcript_close(p);
}

/* ---- thinking that clients lose ---- */

#define LOOP                                                                                       \
    "{\"model\":\"x\",\"reasoning_effort\":\"low\",\"messages\":[{\"role\":\"user\",\"content\":"  \
    "\"a\"},{\"role\":\"assistant\",\"content\":\"I look.\",\"tool_calls\":[{\"id\":\"toolu_1\","  \
    "\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"arguments\":\"{}\"}},{\"id\":" \
    "\"toolu_2\",\"type\":\"function\",\"function\":{\"name\":\"get_time\",\"arguments\":\"{}\"}}" \
    "]},{\"role\":\"tool\",\"tool_call_id\":\"toolu_1\",\"content\":\"1\"},{\"role\":\"tool\","    \
    "\"tool_call_id\":\"toolu_2\",\"content\":\"2\"}],\"tools\":[" TOOL "]}"

static void answer_with_thinking(const char *model)
{
    struct transcript_setup setup =
        person(model, "{\"model\":\"x\",\"reasoning_effort\":\"low\"," HI ",\"tools\":[" TOOL "]}");
    struct site_request req;
    struct transcript_player *p = open_player(&setup);
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    transcript_answer(
        p, 200, "text/event-stream",
        SPAN("data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":"
             "\"thinking\",\"thinking\":\"\"}}\n\n"
             "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_"
             "delta\",\"thinking\":\"先 \\\"think\\\"\"}}\n\n"
             "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_"
             "delta\",\"signature\":\"c2ln\"}}\n\n"
             "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
             "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":"
             "\"redacted_thinking\",\"data\":\"ZGF0\"}}\n\n"
             "data: {\"type\":\"content_block_stop\",\"index\":1}\n\n"
             "data: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":"
             "\"tool_use\",\"id\":\"toolu_1\",\"name\":\"get_weather\",\"input\":{}}}\n\n"
             "data: {\"type\":\"content_block_stop\",\"index\":2}\n\n"
             "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"}}\n\n"
             "data: {\"type\":\"message_stop\"}\n\n"),
        NULL, 0, END_CLEAN);
    transcript_close(p);
}

static void thinking_is_put_back(void **state)
{
#define BLOCKS                                                                                     \
    "{\"type\":\"thinking\",\"thinking\":\"先 \\\"think\\\"\",\"signature\":\"c2ln\"},{\"type\":" \
    "\"redacted_thinking\",\"data\":\"ZGF0\"},"
#define SAID "{\"type\":\"text\",\"text\":\"I look.\"},{\"id\":\"toolu_1\"},{\"id\":\"toolu_2\"}"
    n_kept = 0;
    /* nothing is known: an enabled kind goes without thinking, an adaptive one with it */
    expect_request("claude-sonnet-4-5", LOOP,
                   "{\"thinking\":null,\"messages\":[{},{\"content\":[" SAID "]},{}]}", false);
    expect_request("claude-sonnet-4-6", LOOP,
                   "{\"thinking\":{\"type\":\"adaptive\"},\"messages\":[{},{\"content\":[" SAID
                   "]},{}]}",
                   false);
    answer_with_thinking("claude-sonnet-4-5");
    assert_int_equal(n_kept, 1);
    expect_request(
        "claude-sonnet-4-5", LOOP,
        "{\"thinking\":{\"type\":\"enabled\"},\"messages\":[{},{\"content\":[" BLOCKS SAID
        "]},{}]}",
        false);
    /* not another model's */
    expect_request("claude-sonnet-4-6", LOOP, "{\"messages\":[{},{\"content\":[" SAID "]},{}]}",
                   false);
    answer_with_thinking("claude-sonnet-4-6");
    expect_request("claude-sonnet-4-6", LOOP,
                   "{\"messages\":[{},{\"content\":[" BLOCKS SAID "]},{}]}", false);
}

/* A client of OpenAI's Responses API keeps it itself: nothing is needed of the memory. */
static void thinking_that_the_client_brings(void **state)
{
    static const struct part text = {.kind = PART_TEXT, .text = SPAN_INIT("I look.")};
    struct transcript_setup setup = person("claude-sonnet-4-5", LOOP);
    const struct part proven[] = {
        {.kind = PART_THINKING, .text = SPAN("先 \"think\""), .signature = SPAN("c2ln")},
        {.kind = PART_REDACTED, .signature = SPAN("ZGF0")},
        text};
    const struct part unproven[] = {{.kind = PART_THINKING, .text = SPAN("hm")}, text};
    for (int with = 0; with < 2; with++) {
        struct site_request req;
        n_kept = 0;
        struct transcript_player *p = open_player(&setup);
        struct turn turn = *transcript_run(p)->turn;
        struct message messages[4];
        assert_int_equal(turn.n_messages, 4);
        memcpy(messages, turn.messages, sizeof messages);
        messages[1].parts = with ? proven : unproven;
        messages[1].n_parts = with ? 3 : 2;
        struct tool_call calls[2] = {messages[1].tool_calls[0], messages[1].tool_calls[1]};
        calls[0].after = calls[1].after = messages[1].n_parts;
        messages[1].tool_calls = calls;
        turn.messages = messages;
        transcript_run(p)->turn = &turn;
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_expect(LOOP,
                          with ? "{\"thinking\":{\"type\":\"enabled\"},\"messages\":[{},{"
                                 "\"content\":[" BLOCKS SAID "]},{}]}"
                               : "{\"thinking\":null,\"messages\":[{},{\"content\":[" SAID
                                 "]},{}]}",
                          req.body);
        transcript_close(p);
    }
}

/* ---- fields that a model refuses ---- */

static void a_refused_field_is_left_out_once_and_remembered(void **state)
{
    static const struct {
        const char *fields, *message, *wanted;
        const char *later; /* the first body of the next turn; NULL = nothing is remembered */
    } rows[] = {
        {"\"temperature\":0.5,\"top_k\":1", "`temperature` is deprecated for this model.",
         "{\"temperature\":null,\"top_k\":1}", "{\"temperature\":null,\"top_k\":1}"},
        {"\"temperature\":0.5,\"top_p\":0.5",
         "`temperature` and `top_p` cannot both be specified for this model.",
         "{\"temperature\":0.5,\"top_p\":null}", "{\"temperature\":0.5,\"top_p\":null}"},
        {"\"reasoning_effort\":\"low\"", "this model does not support Thinking",
         "{\"thinking\":null,\"max_tokens\":8192}", "{\"thinking\":null}"},
        {"\"reasoning_effort\":\"low\",\"top_p\":0.99",
         "top_p: may only be set when thinking is off", "{\"top_p\":null,\"thinking\":{}}",
         "{\"top_p\":null,\"thinking\":{}}"},
        {"\"reasoning_effort\":\"low\"",
         "messages.1.content.0.type: Expected `thinking`, but found `text`", "{\"thinking\":null}",
         "{\"thinking\":{}}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[300], error[300];
        struct site_request req;
        struct played out;
        n_kept = 0;
        snprintf(body, sizeof body, "{\"model\":\"x\"," HI ",%s}", rows[i].fields);
        int n = snprintf(error, sizeof error,
                         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\","
                         "\"message\":\"%s\"}}",
                         rows[i].message);
        struct transcript_setup setup = person("some-model", body);
        struct transcript_player *p = open_player(&setup);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        assert_int_equal(transcript_answer(p, 400, "application/json", span_of(error, (size_t)n),
                                           NULL, 0, END_CLEAN),
                         ADAPTER_COMPLETE);
        assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
        transcript_expect(rows[i].message, rows[i].wanted, req.body);
        /* the same again, or anything else, is the end */
        struct span second =
            i % 2 ? SPAN(ERROR("invalid_request_error", "no")) : span_of(error, (size_t)n);
        assert_int_equal(transcript_answer(p, 400, "application/json", second, NULL, 0, END_CLEAN),
                         ADAPTER_FAIL);
        transcript_result(p, &out);
        assert_int_equal(out.fail.kind, FAIL_BAD_REQUEST);
        played_free(&out);
        transcript_close(p);
        expect_request("some-model", body, rows[i].later, false);
    }
    n_kept = 0;
}

/* ---- the error table ---- */

static void every_row_of_the_error_table(void **state)
{
    static const struct header cf[] = {{SPAN_INIT("cf-mitigated"), SPAN_INIT("challenge")}};
    static const struct header soon[] = {{SPAN_INIT("retry-after-ms"), SPAN_INIT("2500")}};
    static const struct header never[] = {{SPAN_INIT("x-should-retry"), SPAN_INIT("false")}};
    static const struct {
        int status;
        const char *type, *body;
        enum fail_kind kind;
        int wait, retry_after;
        const char *says;
        const struct header *header;
    } rows[] = {
        {400, "application/json",
         ERROR("invalid_request_error", "foo: Extra inputs are not permitted"), FAIL_BAD_REQUEST, 0,
         0, "Extra inputs are not permitted", NULL},
        {400, "application/json",
         ERROR("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
         FAIL_CONTEXT_LENGTH, 0, 0, "210000", NULL},
        {400, "application/json",
         ERROR("invalid_request_error",
               "input length and `max_tokens` exceed context limit: 199 + 9 > 200"),
         FAIL_CONTEXT_LENGTH, 0, 0, "", NULL},
        {400, "application/json",
         ERROR("invalid_request_error",
               "Your credit balance is too low to access the Anthropic API."),
         FAIL_RATE_LIMITED, 0, 3600, "money", NULL},
        {400, "application/json",
         ERROR("invalid_request_error",
               "You have reached your specified API usage limits. You will regain access on …"),
         FAIL_RATE_LIMITED, 0, 3600, "money", NULL},
        {402, "application/json", ERROR("billing_error", "Pay"), FAIL_RATE_LIMITED, 5, 3600,
         "money", NULL},
        {401, "application/json", ERROR("authentication_error", "invalid x-api-key sk-ant-1"),
         FAIL_CREDENTIAL, 0, 0, "invalid x-api-key ***", NULL},
        {403, "application/json", ERROR("permission_error", "No"), FAIL_CREDENTIAL, 0, 0, "", NULL},
        {404, "application/json", ERROR("not_found_error", "model: claude-9"), FAIL_MODEL_NOT_FOUND,
         0, 0, "claude-9", NULL},
        {413, "application/json", ERROR("request_too_large", "Request exceeds the maximum size"),
         FAIL_BAD_REQUEST, 0, 0, "maximum size", NULL},
        {413, "text/html", "<html><h1>413</h1></html>", FAIL_BAD_REQUEST, 0, 0, "", NULL},
        {429, "application/json", ERROR("rate_limit_error", "Slow"), FAIL_RATE_LIMITED, 17, 17, "",
         NULL},
        {429, "application/json", ERROR("rate_limit_error", "Slow"), FAIL_RATE_LIMITED, 0, 60, "",
         NULL},
        {429, "application/json", ERROR("rate_limit_error", "Slow"), FAIL_RATE_LIMITED, 0, 3, "",
         soon},
        {429, "text/plain", "slow", FAIL_RATE_LIMITED, 0, 60, "", NULL},
        {500, "application/json", ERROR("api_error", "Internal server error"), FAIL_UNAVAILABLE, 0,
         0, "", NULL},
        {500, "application/json", ERROR("api_error", "No use"), FAIL_UNAVAILABLE, 0, 0, "", never},
        {502, "text/html", "<html>Bad gateway</html>", FAIL_UNAVAILABLE, 0, 0, "", NULL},
        {504, "application/json", ERROR("timeout_error", "Late"), FAIL_TIMEOUT, 0, 0, "", NULL},
        {529, "application/json", ERROR("overloaded_error", "Overloaded"), FAIL_OVERLOADED, 0, 10,
         "", NULL},
        {529, "text/plain", "", FAIL_OVERLOADED, 0, 10, "", NULL},
        {403, "text/html", "<!DOCTYPE html><title>Just a moment...</title>", FAIL_CHALLENGE, 0,
         1200, "human", NULL},
        {429, "text/html", "<html>Attention Required! | Cloudflare</html>", FAIL_CHALLENGE, 0, 1200,
         "human", NULL},
        {503, "text/html", "<html><title>Just a moment...</title></html>", FAIL_CHALLENGE, 0, 1200,
         "human", NULL},
        {503, "text/html", "<html>503 Service Temporarily Unavailable</html>", FAIL_OVERLOADED, 0,
         0, "", NULL},
        {403, "application/json", ERROR("permission_error", "x"), FAIL_CHALLENGE, 0, 1200, "human",
         cf},
        {200, "text/html", "<html>Welcome</html>", FAIL_CHALLENGE, 0, 0, "", NULL},
        {302, "text/html", "", FAIL_UNAVAILABLE, 0, 0, "redirect", NULL},
        {418, "application/json", ERROR("teapot_error", "Tea"), FAIL_BAD_REQUEST, 0, 0, "Tea",
         NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person("claude-sonnet-4-5", NULL);
        struct played out;
        setup.status = rows[i].status;
        setup.content_type = rows[i].type;
        setup.retry_after_s = rows[i].wait;
        setup.headers = rows[i].header;
        setup.n_headers = rows[i].header ? 1 : 0;
        transcript_play(&setup, NULL, span_str(rows[i].body), NULL, 0, END_CLEAN, &out);
        if (out.fail.kind != rows[i].kind || out.fail.retry_after_s != rows[i].retry_after ||
            !strstr(out.fail.message, rows[i].says) || strstr(out.fail.message, "<") ||
            out.fail.final != (rows[i].header == never))
            fail_msg("row %zu: %s after %d s: %s", i, fail_kind_name(out.fail.kind),
                     out.fail.retry_after_s, out.fail.message);
        assert_int_equal(out.fail.upstream_status, rows[i].status);
        played_free(&out);
    }
}

static void counts_that_cannot_be_are_none(void **state)
{
    struct transcript_setup setup = person("claude-sonnet-4-5", NULL);
    struct played out;
    transcript_play(
        &setup, NULL,
        SPAN(
            "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,"
            "\"cache_read_input_tokens\":9223372036854775807,\"cache_creation_input_tokens\":"
            "9223372036854775807,\"output_tokens\":1}}}\n\n"
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":"
            "\"text\",\"text\":\"ok\"}}\n\n"
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{"
            "\"output_tokens\":9223372036854775807}}\n\n"
            "data: {\"type\":\"message_stop\"}\n\n"),
        NULL, 0, END_CLEAN, &out);
    transcript_expect("counts", "{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}",
                      buffer_span(&out.json));
    played_free(&out);
}

static void errors_in_the_stream(void **state)
{
    static const struct {
        const char *type;
        enum fail_kind kind;
    } rows[] = {
        {"invalid_request_error", FAIL_BAD_REQUEST},
        {"authentication_error", FAIL_CREDENTIAL},
        {"billing_error", FAIL_RATE_LIMITED},
        {"permission_error", FAIL_CREDENTIAL},
        {"not_found_error", FAIL_MODEL_NOT_FOUND},
        {"request_too_large", FAIL_BAD_REQUEST},
        {"rate_limit_error", FAIL_RATE_LIMITED},
        {"api_error", FAIL_UNAVAILABLE},
        {"timeout_error", FAIL_TIMEOUT},
        {"overloaded_error", FAIL_OVERLOADED},
        {"odd_error", FAIL_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript_setup setup = person("claude-sonnet-4-5", NULL);
        struct played out;
        char event[200];
        int n = snprintf(event, sizeof event,
                         "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"%s\","
                         "\"message\":\"m\"}}\n\n",
                         rows[i].type);
        transcript_play(&setup, NULL, span_of(event, (size_t)n), NULL, 0, END_CLEAN, &out);
        assert_int_equal(out.fail.kind, rows[i].kind);
        played_free(&out);
    }
}

/* ---- models ---- */

struct listed {
    struct turn_run *run;
    char text[1000];
};

static int list_model(void *owner, const struct model_entry *entry)
{
    struct listed *l = owner;
    size_t n = strlen(l->text);
    snprintf(l->text + n, sizeof l->text - n, "%.*s %.*s\n", SPAN_ARGS(entry->id),
             SPAN_ARGS(l->run->model_note));
    return 0;
}

static void models_come_in_pages(void **state)
{
    struct transcript_setup setup = person("m", NULL);
    struct site_request req = {0};
    struct transcript_player *p = open_player(&setup);
    struct turn_run *run = transcript_run(p);
    struct listed listed = {.run = run};
    struct model_sink sink = {list_model, &listed};
    const struct turn *turn = run->turn;
    run->turn = NULL;
    assert_int_equal(adapter_anthropic.models_request(run, &req), ADAPTER_SEND);
    assert_string_equal(req.method, "GET");
    assert_span_equal(req.target, SPAN("/v1/models?limit=1000"));
    assert_span_equal(transcript_header(&req, "x-api-key"), SPAN("sk-ant-1"));
    assert_int_equal(
        adapter_anthropic.models_answer(
            run,
            SPAN("{\"data\":[{\"type\":\"model\",\"id\":\"claude-a\",\"max_tokens\":64000,"
                 "\"capabilities\":{\"structured_outputs\":{\"supported\":true},\"effort\":{"
                 "\"supported\":true,\"xhigh\":{\"supported\":false},\"max\":{\"supported\":true}},"
                 "\"thinking\":{\"supported\":true,\"types\":{\"adaptive\":{\"supported\":true},"
                 "\"enabled\":{\"supported\":false}}}}},{\"id\":\"claude-b\",\"max_tokens\":null,"
                 "\"capabilities\":null}],\"has_more\":true,\"last_id\":\"claude b\"}"),
            &sink),
        MODELS_MORE);
    req = (struct site_request){0};
    assert_int_equal(adapter_anthropic.models_request(run, &req), ADAPTER_SEND);
    assert_span_equal(req.target, SPAN("/v1/models?limit=1000&after_id=claude%20b"));
    assert_int_equal(
        adapter_anthropic.models_answer(
            run,
            SPAN("{\"data\":[{\"id\":\"claude-c\",\"capabilities\":{\"thinking\":{\"supported\":"
                 "false}}}],\"has_more\":false,\"last_id\":\"claude-c\"}"),
            &sink),
        0);
    assert_string_equal(
        listed.text,
        "claude-a {\"max_tokens\":64000,\"formats\":true,\"effort\":true,\"max\":true,\"xhigh\":"
        "false,\"adaptive\":true,\"budget\":false}\n"
        "claude-b {}\n"
        "claude-c {\"adaptive\":false,\"budget\":false}\n");
    assert_int_equal(adapter_anthropic.models_answer(run, SPAN("{\"data\":1}"), &sink), -1);
    assert_int_equal(run->fail->kind, FAIL_PROTOCOL);
    run->turn = turn;
    transcript_close(p);
}

/* ---- clients that speak Anthropic's own protocol ---- */

/* The client's body comes out as it was said, but for `stream`. */
static void expect_lossless(const char *body, const char *wanted)
{
    struct transcript_setup setup = person("claude-opus-4-7", NULL);
    struct site_request req;
    struct transcript_player *p = open_player(&setup);
    struct turn_run *run = transcript_run(p);
    struct span copy = arena_dup(run->arena, span_str(body));
    struct turn turn;
    struct messages_wish wish = {.betas = SPAN("")};
    if (messages_request_parse(run->json, run->arena, (char *)copy.p, copy.n, &wish, &turn,
                               run->fail))
        fail_msg("%s", run->fail->message);
    run->turn = &turn;
    if (transcript_next(p, &req) != ADAPTER_SEND)
        fail_msg("%s", run->fail->message);
    transcript_expect_same(body, wanted ? wanted : body, req.body);
    transcript_close(p);
}

static void messages_clients_say_what_they_said(void **state)
{
    /* every block kind, in its order, with everything beside it */
    expect_lossless(
        "{\"model\":\"claude-opus-4-7\",\"max_tokens\":3000,\"stream\":true,"
        "\"system\":[{\"type\":\"text\",\"text\":\"S\",\"cache_control\":{\"type\":\"ephemeral\"}},"
        "{\"type\":\"text\",\"text\":\"T\"}],"
        "\"metadata\":{\"user_id\":\"u\"},\"service_tier\":\"auto\",\"container\":\"c1\","
        "\"context_management\":{\"edits\":[{\"type\":\"clear_tool_uses_20250919\"}]},"
        "\"temperature\":0.5,\"top_p\":0.5,\"top_k\":7,\"stop_sequences\":[\"END\",\" \"],"
        "\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":2000},"
        "\"output_config\":{\"effort\":\"max\",\"format\":{\"type\":\"json_schema\",\"schema\":{"
        "\"type\":\"object\"}},\"task_budget\":{\"total\":5}},"
        "\"tool_choice\":{\"type\":\"any\",\"disable_parallel_tool_use\":true},"
        "\"tools\":[{\"name\":\"f.g\",\"description\":\"d\",\"input_schema\":{\"properties\":{}},"
        "\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"},\"strict\":false,\"input_"
        "examples\":[{}]},{\"type\":\"web_search_20250305\",\"name\":\"web_search\",\"max_uses\":3}"
        "],\"messages\":["
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\",\"cache_control\":{"
        "\"type\":\"ephemeral\"}},"
        "{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\",\"data\":"
        "\"iVBORw0K\"},\"cache_control\":{\"type\":\"ephemeral\"}},"
        "{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x.example/a.png\"}},"
        "{\"type\":\"image\",\"source\":{\"type\":\"file\",\"file_id\":\"f1\"}},"
        "{\"type\":\"document\",\"source\":{\"type\":\"base64\",\"media_type\":\"application/pdf\","
        "\"data\":\"JVBERi0=\"},\"title\":\"t\",\"context\":\"c\",\"citations\":{\"enabled\":true}}"
        ",{\"type\":\"document\",\"source\":{\"type\":\"text\",\"media_type\":\"text/plain\","
        "\"data\":\"plain\"}},"
        "{\"type\":\"document\",\"source\":{\"type\":\"url\",\"url\":\"https://x.example/a.pdf\"}},"
        "{\"type\":\"document\",\"source\":{\"type\":\"file\",\"file_id\":\"f2\"}},"
        "{\"type\":\"document\",\"source\":{\"type\":\"content\",\"content\":[{\"type\":\"text\","
        "\"text\":\"x\"}]},\"title\":\"u\"},"
        "{\"type\":\"search_result\",\"source\":\"s\",\"title\":\"t\",\"content\":[]}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"先\","
        "\"signature\":\"c2ln\"},{\"type\":\"redacted_thinking\",\"data\":\"ZGF0\"},"
        "{\"type\":\"text\",\"text\":\"I look. \",\"citations\":[{\"type\":\"char_location\"}]},"
        "{\"type\":\"tool_use\",\"id\":\"toolu:1\",\"name\":\"f.g\",\"input\":{\"n\":"
        "12345678901234567890},\"cache_control\":{\"type\":\"ephemeral\"}},"
        "{\"type\":\"server_tool_use\",\"id\":\"s1\",\"name\":\"web_search\",\"input\":{}},"
        "{\"type\":\"web_search_tool_result\",\"tool_use_id\":\"s1\",\"content\":[]},"
        "{\"type\":\"text\",\"text\":\"between\"},"
        "{\"type\":\"tool_use\",\"id\":\"t2\",\"name\":\"f.g\",\"input\":{}}]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"toolu:1\","
        "\"is_error\":true,\"content\":[{\"type\":\"text\",\"text\":\"r\",\"cache_control\":{"
        "\"type\":\"ephemeral\"}},{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_"
        "type\":\"image/gif\",\"data\":\"aaaa\"}},{\"type\":\"document\",\"source\":{\"type\":"
        "\"text\",\"media_type\":\"text/plain\",\"data\":\"q\"}}],\"cache_control\":{\"type\":"
        "\"ephemeral\"}},{\"type\":\"tool_result\",\"tool_use_id\":\"t2\"},"
        "{\"type\":\"text\",\"text\":\"go on\"}]},"
        "{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"now brief\"}]},"
        "{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"Sure: \"}]}]}",
        NULL);
    /* strings are blocks; nothing is added to what the service would refuse */
    expect_lossless(
        "{\"model\":\"m\",\"max_tokens\":1,\"system\":\"S\",\"output_format\":{\"type\":\"json_"
        "schema\",\"schema\":{}},\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"},\"tools\":[{"
        "\"type\":\"custom\",\"name\":\"f\",\"input_schema\":{}}],\"thinking\":{\"type\":"
        "\"disabled\"},\"messages\":[{\"role\":\"system\",\"content\":\"first\"},{\"role\":"
        "\"assistant\",\"content\":\"a \"}]}",
        "{\"model\":\"claude-opus-4-7\",\"max_tokens\":1,\"stream\":true,\"system\":[{\"type\":"
        "\"text\",\"text\":\"S\"}],\"output_format\":{\"type\":\"json_schema\",\"schema\":{}},"
        "\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"},\"tools\":[{\"name\":\"f\",\"input_"
        "schema\":{}}],\"thinking\":{\"type\":\"disabled\"},\"messages\":[{\"role\":\"system\","
        "\"content\":[{\"type\":\"text\",\"text\":\"first\"}]},{\"role\":\"assistant\",\"content\":"
        "[{\"type\":\"text\",\"text\":\"a \"}]}]}");
}

/* A refusal of a field is the client's to know. */
static void messages_clients_get_the_sites_own_refusal(void **state)
{
    struct transcript_setup setup =
        person("some-model", "{\"model\":\"x\",\"temperature\":0.5," HI "}");
    struct site_request req;
    struct transcript_player *p = open_player(&setup);
    struct turn turn = *transcript_run(p)->turn;
    turn.dialect = DIALECT_ANTHROPIC;
    turn.has_max_tokens = true;
    transcript_run(p)->turn = &turn;
    assert_int_equal(transcript_next(p, &req), ADAPTER_SEND);
    assert_int_equal(transcript_answer(p, 400, "application/json",
                                       SPAN(ERROR("invalid_request_error", "temperature: no")),
                                       NULL, 0, END_CLEAN),
                     ADAPTER_FAIL);
    assert_int_equal(transcript_run(p)->fail->kind, FAIL_BAD_REQUEST);
    transcript_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_transcript_at_every_split),
        cmocka_unit_test(the_dossiers_conversation),
        cmocka_unit_test(turns_alternate),
        cmocka_unit_test(files_and_pictures),
        cmocka_unit_test(tools),
        cmocka_unit_test(tools_of_the_history),
        cmocka_unit_test(large_histories_take_no_time),
        cmocka_unit_test(names_come_back),
        cmocka_unit_test(generations),
        cmocka_unit_test(budgets_that_do_not_fit),
        cmocka_unit_test(headers),
        cmocka_unit_test(thinking_is_put_back),
        cmocka_unit_test(thinking_that_the_client_brings),
        cmocka_unit_test(a_refused_field_is_left_out_once_and_remembered),
        cmocka_unit_test(every_row_of_the_error_table),
        cmocka_unit_test(counts_that_cannot_be_are_none),
        cmocka_unit_test(errors_in_the_stream),
        cmocka_unit_test(models_come_in_pages),
        cmocka_unit_test(messages_clients_say_what_they_said),
        cmocka_unit_test(messages_clients_get_the_sites_own_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
