/*
 * test/unit/test_tool_parser.c - calls in every dialect, whole and cut at every byte; text that is
 * none, byte for byte. What is held back, and linear time, are test_tool_corpus.c's.
 */
#include "gateway/tool_parser.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/tool_run.h"

static const char tools[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":"
    "\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"days\":{\"type\":\"integer\"},"
    "\"tags\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"live\":{\"type\":\"boolean\"},"
    "\"near\":{\"type\":\"object\"}},\"required\":[\"city\"]}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"write_file\",\"parameters\":{\"type\":"
    "\"object\",\"properties\":{\"path\":{\"type\":\"string\"},\"content\":{\"type\":\"string\"}},"
    "\"required\":[\"path\",\"content\"]}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"get_time\",\"parameters\":{\"type\":"
    "\"object\",\"properties\":{}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"search\",\"parameters\":{\"type\":"
    "\"object\",\"properties\":{\"query\":{\"type\":\"string\"}},\"required\":[\"query\"]}}}]";

#define NS                                                                                         \
    "ant"                                                                                          \
    "ml:"

struct sample {
    const char *text, *wanted;
};

#define PARIS      "«get_weather {\"city\":\"Paris\"}»"
#define PARIS_JSON "{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Paris\"}}"

static const struct sample dialects[] = {
    /* the form that is asked for */
    {"<tool_call>" PARIS_JSON "</tool_call>", PARIS},
    {"Let me see.\n\n<tool_call>\n" PARIS_JSON "\n</tool_call>\n", "Let me see.\n\n" PARIS},
    {"<tool_call>" PARIS_JSON "</tool_call>\n<tool_call>{\"name\": \"get_time\", \"arguments\": "
     "{}}</tool_call>",
     PARIS "«get_time {}»"},
    {"a<tool_call>" PARIS_JSON "</tool_call> b", "a" PARIS " b"},
    /* Hermes and what becomes of it */
    {"<tool_call>[" PARIS_JSON ", " PARIS_JSON "]</tool_call>", PARIS PARIS},
    {"<tool_call>\n```json\n" PARIS_JSON "\n```\n</tool_call>", PARIS},
    {"<tool_call>" PARIS_JSON "\n" PARIS_JSON "</tool_call>", PARIS PARIS},
    {"<tool_call>" PARIS_JSON, PARIS},
    {"<tool_call>" PARIS_JSON "\nThat is all.", PARIS "\nThat is all."},
    {"<tool_call>{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Paris\"}</tool_call>", PARIS},
    {"<tool_call>{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Paris\"}}}</tool_call>",
     PARIS},
    {"<tool_call>{{\"name\":\"get_weather\",\"arguments\":{{\"city\":\"Paris\"}}}}</tool_call>",
     PARIS},
    {"<tool_call>{\"name\":\"get_weather\",\"parameters\":{\"city\":\"Paris\"}}</tool_call>",
     PARIS},
    {"<tool_call>{\"tool\":\"get_weather\",\"input\":{\"city\":\"Paris\"}}</tool_call>", PARIS},
    {"<tool_call>{\"function\":{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Paris\"}}}"
     "</tool_call>",
     PARIS},
    {"<tool_call>{\"name\":\"get_weather\",\"city\":\"Paris\"}</tool_call>", PARIS},
    {"<tool_call>{\"id\":\"1\",\"city\":\"Paris\",\"name\":\"get_weather\"}</tool_call>", PARIS},
    {"<tool_call>{\"arguments\":{\"city\":\"Paris\"},\"name\":\"get_weather\"}</tool_call>", PARIS},
    {"<tool_call>{\"name\":\"get_weather\",\"arguments\":\"{\\\"city\\\": \\\"Paris\\\"}\"}"
     "</tool_call>",
     PARIS},
    {"<tool_call>{\"get_weather\":{\"city\":\"Paris\"}}</tool_call>", PARIS},
    {"<tool_call>{'name': 'functions.get_weather', 'arguments': {'city': 'Paris',}}</tool_call>",
     PARIS},
    {"<tool_call>{\"name\":\"Get-Weather\",\"arguments\":{\"city\":\"Paris\"}}</tool_call>", PARIS},
    {"<tool_call>{\"name\":\"get_time\"}</tool_call>", "«get_time {}»"},
    {"<tool_call id=\"1\" name=\"get_weather\">{\"city\":\"Paris\"}</tool_call>", PARIS},
    {"<tool_call>get_weather{\"city\":\"Paris\"}</tool_call>", PARIS},
    {"<tool_call>get_weather\n{\"city\":\"Paris\"}\n</tool_call>", PARIS},
    {"<tool_call>get_weather(city=\"Paris\")</tool_call>", PARIS},
    /* types that the schema wants */
    {"<tool_call>{\"name\":\"get_weather\",\"arguments\":{\"city\":75,\"days\":\"3\",\"tags\":"
     "\"a\",\"live\":\"True\",\"near\":\"{\\\"x\\\":1}\"}}</tool_call>",
     "«get_weather "
     "{\"city\":\"75\",\"days\":3,\"tags\":[\"a\"],\"live\":true,\"near\":{\"x\":1}}»"},
    /* Qwen3-Coder */
    {"<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>"
     "\n3\n</parameter>\n</function>\n</tool_call>",
     "«get_weather {\"city\":\"Paris\",\"days\":3}»"},
    {"<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n", PARIS},
    {"<tool_call><function=write_file><parameter=path>a.html</parameter><parameter=content><b>1 "
     "</parameter></function></tool_call>",
     "«write_file {\"path\":\"a.html\",\"content\":\"<b>1 \"}»"},
    {"<tool_call>\n<function=get_time>\n</function>\n</tool_call>", "«get_time {}»"},
    /* Llama */
    {"<function=get_weather>{\"city\":\"Paris\"}</function>", PARIS},
    {"<|python_tag|>{\"name\":\"get_weather\",\"parameters\":{\"city\":\"Paris\"}}<|eom_id|>",
     PARIS},
    {"<|python_tag|>get_weather.call(city=\"Paris\")", PARIS},
    /* GLM */
    {"<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>"
     "days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>",
     "«get_weather {\"city\":\"Paris\",\"days\":3}»"},
    {"<tool_call>get_time\n</tool_call>", "«get_time {}»"},
    /* Anthropic, MiniMax, Seed, DSML */
    {"<function_calls>\n<invoke name=\"get_weather\">\n<parameter name=\"city\">Paris</parameter>\n"
     "</invoke>\n</function_calls>",
     PARIS},
    {"<" NS "function_calls>\n<" NS "invoke name=\"get_weather\">\n<" NS
     "parameter name=\"city\">Paris</" NS "parameter>\n</" NS "invoke>\n</" NS "function_calls>",
     PARIS},
    {"<minimax:tool_call>\n<invoke name=\"get_weather\">\n<parameter "
     "name=\"city\">Paris</parameter>"
     "\n</invoke>\n</minimax:tool_call>",
     PARIS},
    {"<seed:tool_call>\n<function=get_weather>\n<parameter=city>Paris</parameter>\n</function>\n"
     "</seed:tool_call>",
     PARIS},
    {"<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"get_weather\">\n<｜DSML｜parameter "
     "name=\"city\" string=\"true\">Paris</｜DSML｜parameter>\n</｜DSML｜invoke>\n"
     "</｜DSML｜function_calls>",
     PARIS},
    /* DeepSeek */
    {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
     "{\"city\":\"Paris\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
     PARIS},
    {"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\":\"Paris\"}"
     "<｜tool▁call▁end｜><｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
     "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>",
     PARIS "«get_time {}»"},
    {"<|tool_calls_begin|><|tool_call_begin|>get_weather<|tool_sep|>{\"city\":\"Paris\"}"
     "<|tool_call_end|><|tool_calls_end|>",
     PARIS},
    /* Kimi */
    {"<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0"
     "<|tool_call_argument_begin|>{\"city\":\"Paris\"}<|tool_call_end|><|tool_calls_section_end|>",
     PARIS},
    /* Mistral */
    {"[TOOL_CALLS][" PARIS_JSON "]", PARIS},
    {"[TOOL_CALLS]get_weather{\"city\":\"Paris\"}", PARIS},
    {"[TOOL_CALLS]get_weather[ARGS]{\"city\":\"Paris\"}[TOOL_CALLS]get_time[ARGS]{}",
     PARIS "«get_time {}»"},
    {"[TOOL_CALLS]get_weather[CALL_ID]a1b2c3[ARGS]{\"city\":\"Paris\"}", PARIS},
    /* gpt-oss */
    {"<|channel|>commentary to=functions.get_weather "
     "<|constrain|>json<|message|>{\"city\":\"Paris\"}"
     "<|call|>",
     PARIS},
    {"<|start|>assistant<|channel|>commentary to=functions.get_weather<|message|>{\"city\":"
     "\"Paris\"}<|call|>",
     PARIS},
    /* Granite, Phi, LFM, Nemotron, Jamba, InternLM, Cohere */
    {"<|tool_call|>[" PARIS_JSON "]", PARIS},
    {"functools[" PARIS_JSON "]", PARIS},
    {"<|tool_call_start|>[get_weather(city=\"Paris\"), get_time()]<|tool_call_end|>",
     PARIS "«get_time {}»"},
    {"<TOOLCALL>[" PARIS_JSON "]</TOOLCALL>", PARIS},
    {"<tool_calls>[" PARIS_JSON "]</tool_calls>", PARIS},
    {"<|action_start|><|plugin|>\n" PARIS_JSON "<|action_end|>", PARIS},
    {"<|START_ACTION|>[{\"tool_call_id\":\"0\",\"tool_name\":\"get_weather\",\"parameters\":{"
     "\"city\":\"Paris\"}}]<|END_ACTION|>",
     PARIS},
    /* without any mark, and in fences */
    {PARIS_JSON, PARIS},
    {"\n[" PARIS_JSON ",\n" PARIS_JSON "]\n", "\n" PARIS PARIS},
    {"{\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
     "\"arguments\":\"{\\\"city\\\":\\\"Paris\\\"}\"}}]}",
     PARIS},
    {"[get_weather(city='Paris'), get_time()]", PARIS "«get_time {}»"},
    {"```json\n" PARIS_JSON "\n```", PARIS},
    {"I look it up.\n```tool_call\n" PARIS_JSON "\n```\nDone.", "I look it up.\n" PARIS "\nDone."},
    {"```tool_code\nprint(default_api.get_weather(city=\"Paris\"))\n```", PARIS},
    {"```python\nget_weather(\"Paris\")\n```\n", PARIS},
    {"```xml\n<tool_call>" PARIS_JSON "</tool_call>\n```", PARIS},
    /* ReAct, Cline */
    {"Thought: I must look.\nAction: get_weather\nAction Input: {\"city\": \"Paris\"}\n"
     "Observation: 20 degrees\nFinal Answer: warm",
     "Thought: I must look.\n" PARIS},
    {"Action: search\nAction Input: cats and dogs\n", "«search {\"query\":\"cats and dogs\"}»"},
    {"<write_file>\n<path>a.c</path>\n<content>\nint a;\nint b;\n</content>\n</write_file>\n",
     "«write_file {\"path\":\"a.c\",\"content\":\"int a;\\nint b;\"}»"},
    /* results that the model invented */
    {"<tool_call>" PARIS_JSON "</tool_call>\n<tool_response>20</tool_response> It is warm.", PARIS},
};

static const struct sample texts[] = {
    {"Hello <b>you</b>, a < b and [1] or `x`.", NULL},
    {"Use `<tool_call>" PARIS_JSON "</tool_call>` for it.", NULL},
    {"Like this:\n```\n<tool_call>" PARIS_JSON "</tool_call>\n```\nfor example.", NULL},
    {"An example:\n```json\n" PARIS_JSON "\n```\n", NULL},
    {"~~~\n<tool_call>" PARIS_JSON "</tool_call>\n~~~\n", NULL},
    {"<tool_call>{\"name\":\"nobody\",\"arguments\":{}}</tool_call>", NULL},
    {"<tool_call>{\"arguments\":{\"a\":[1]},\"name\":\"nobody\"}</tool_call>", NULL},
    {"The tag <tool_call> begins a call and </tool_call> ends it.", NULL},
    {"<function=nobody><parameter=a>1</parameter></function>", NULL},
    {"<tool_call>", NULL},
    {"<tool_ca", NULL},
    {"text <tool_call>{\"name\": \"get_w", NULL},
    {"{\"name\": \"Anna\", \"age\": 5}", NULL},
    {"{\"a\": [1, 2", NULL},
    {"[1] is a reference.", NULL},
    {"[link](http://a.b/c)", NULL},
    {"```python\nprint(\"x\")\n```\n", NULL},
    {"```json\n{\"a\": 1}\n```\n", NULL},
    {"Action: none\n", NULL},
    {"<tool_result>5</tool_result>", NULL},
    {"<|channel|>final<|message|>Hello", NULL},
    {"functools[", NULL},
    {"", NULL},
};

static struct tool_list list;
static struct arena arena;

static void run(struct span text, size_t first, size_t piece, struct buffer *out)
{
    buffer_clear(out);
    tool_run(&list, text, first, piece, TOOL_END_WHOLE, out);
}

/* All that is wrong is told, not only the first. */
static int check(const struct sample *s)
{
    struct span text = span_str(s->text), wanted = span_str(s->wanted ? s->wanted : s->text);
    struct buffer out;
    buffer_init(&out, 1 << 20);
    int wrong = 0;
    for (size_t cut = 0; cut <= text.n && !wrong; cut++) {
        size_t first = cut ? cut : 1, piece = cut ? text.n : 1; /* 0: byte by byte */
        run(text, first, piece, &out);
        wrong = !span_eq(buffer_span(&out), wanted);
        if (wrong)
            print_error("%s\ncut at %zu gives\n%.*s\nnot\n%.*s\n\n", s->text, cut,
                        SPAN_ARGS(buffer_span(&out)), SPAN_ARGS(wanted));
    }
    buffer_free(&out);
    return wrong;
}

static void every_dialect_at_every_cut(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++)
        wrong += check(&dialects[i]);
    assert_int_equal(wrong, 0);
}

static void what_is_no_call_is_text(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        wrong += check(&texts[i]);
    assert_int_equal(wrong, 0);
}

static int setup(void **state)
{
    arena_init(&arena);
    tool_run_list(&arena, tools, &list);
    return 0;
}

static int teardown(void **state)
{
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dialect_at_every_cut),
        cmocka_unit_test(what_is_no_call_is_text),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
