/*
 * test/unit/test_reasoning_controls.c - the same wish for reasoning, told in every client's words,
 * at every adapter: what is in the body that asks the site for its answer (docs/reasoning.md).
 */
#include <stdio.h>

#include "adapters/adapter.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/transcript.h"

/* ---- the sites ---- */

static const struct credential api_key[] = {{SPAN_INIT("api_key"), SPAN_INIT("sk-1")}};
static const struct credential member[] = {
    {SPAN_INIT("session_key"), SPAN_INIT("sk-ant-sid01-x")},
    {SPAN_INIT("organization"), SPAN_INIT("0a0a0a0a-0000-4000-8000-000000000000")}};
static const struct credential access_token[] = {{SPAN_INIT("token"), SPAN_INIT("e30.e30.c2ln")}};
static const struct option_value v2[] = {
    {.name = SPAN_INIT("api"), .type = OPTION_TEXT, .text = SPAN_INIT("v2")}};

enum site {
    ZAI,
    ZAI_V2,
    CHATGLM,
    CHATGLM_OLDER,
    KIMI,
    QWEN,
    CLAUDE_WEB,
    ANTHROPIC_BUDGET,
    ANTHROPIC_ADAPTIVE,
    GEMINI_25,
    GEMINI_3,
    WITH_WISHES, /* those before it make a form of their own out of the wish */
    SOPHNET = WITH_WISHES,
    OPENAI,
    SITES
};

static const struct {
    const char *name;
    const struct adapter *adapter;
    const char *model;
    const struct credential *credential;
    const struct option_value *option;
    const char *earlier; /* what the request before the chat's gets, NULL = there is none */
} sites[SITES] = {
    [ZAI] = {"zai", &adapter_zai, "glm-4.7", access_token, NULL, NULL},
    [ZAI_V2] = {"zai v2", &adapter_zai, "glm-5.3", access_token, v2, "{\"id\":\"chat-1\"}"},
    [CHATGLM] = {"chatglm", &adapter_chatglm, "glm-5.3", access_token, NULL, NULL},
    [CHATGLM_OLDER] = {"chatglm, older", &adapter_chatglm, "glm-4", access_token, NULL, NULL},
    [KIMI] = {"kimi", &adapter_kimi, "SCENARIO_CHAT:k2d6-chat", access_token, NULL, NULL},
    [QWEN] = {"qwen", &adapter_qwen, "qwen3.6-plus", access_token, NULL,
              "{\"success\":true,\"data\":{\"id\":\"chat-1\"}}"},
    [CLAUDE_WEB] = {"claude_web", &adapter_claude_web, "claude-sonnet-5", member, NULL,
                    "{\"uuid\":\"c0ffee00-0000-4000-8000-000000000000\",\"is_temporary\":true}"},
    [SOPHNET] = {"sophnet", &adapter_sophnet, "GLM-4.7", api_key, NULL, NULL},
    [OPENAI] = {"openai", &adapter_openai, "m", api_key, NULL, NULL},
    [ANTHROPIC_BUDGET] = {"anthropic 4.5", &adapter_anthropic, "claude-sonnet-4-5", api_key, NULL,
                          NULL},
    [ANTHROPIC_ADAPTIVE] = {"anthropic 4.7", &adapter_anthropic, "claude-opus-4-7", api_key, NULL,
                            NULL},
    [GEMINI_25] = {"gemini 2.5", &adapter_gemini, "gemini-2.5-flash", api_key, NULL, NULL},
    [GEMINI_3] = {"gemini 3", &adapter_gemini, "gemini-3-flash", api_key, NULL, NULL},
};

/* The body that asks for the answer must have all of `wanted`. */
static void expect_at(enum site at, const char *suffix, const char *fields, const char *wanted)
{
    char body[500], model[80], what[700];
    struct site_request req;
    snprintf(body, sizeof body,
             "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s%s}",
             fields[0] ? "," : "", fields);
    snprintf(model, sizeof model, "%s%s", sites[at].model, suffix);
    snprintf(what, sizeof what, "%s%s, %s", sites[at].name, suffix, fields);
    const struct transcript_setup setup = {.adapter = sites[at].adapter,
                                           .body = body,
                                           .model = model,
                                           .credentials = sites[at].credential,
                                           .n_credentials = sites[at].credential == member ? 2 : 1,
                                           .options = sites[at].option,
                                           .n_options = sites[at].option ? 1 : 0};
    struct transcript_player *p = transcript_open(&setup);
    if (transcript_next(p, &req) != ADAPTER_SEND)
        fail_msg("%s: %s", what, transcript_run(p)->fail->message);
    if (sites[at].earlier) {
        transcript_answer(p, 200, "application/json", span_str(sites[at].earlier), NULL, 0,
                          END_CLEAN);
        if (transcript_next(p, &req) != ADAPTER_SEND)
            fail_msg("%s: %s", what, transcript_run(p)->fail->message);
    }
    transcript_expect(what, wanted, at == KIMI ? span_from(req.body, 5) : req.body);
    transcript_close(p);
}

/* ---- wishes, and what becomes of them ---- */

enum wish { UNSET, OFF, MINIMAL, ON, LOW, MEDIUM, HIGH, XHIGH, MAX, TOKENS_6000, WISHES };

/* clang-format off */
#define FEATURES(inner) "{\"features\":{" inner "}}"
#define THINK(yes)      FEATURES("\"enable_thinking\":" yes)
#define V2(yes, effort) FEATURES("\"enable_thinking\":" yes ",\"reasoning_effort\":" effort)
#define META(mode, e)   "{\"meta_data\":{\"chat_mode\":" mode ",\"reasoning_effort\":" e "}}"
#define KIMI_(yes, e)   "{\"options\":{\"thinking\":" yes ",\"reasoning_effort\":\"REASONING_EFFORT_" e "\"}}"
#define QWEN_(yes, n)   "{\"messages\":[{\"feature_config\":{\"thinking_enabled\":" yes ",\"thinking_budget\":" n "}}]}"
#define CLAUDE(mode, e) "{\"thinking_mode\":\"" mode "\",\"effort\":" e "}"
#define BUDGET(n)       "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":" n "},\"output_config\":null}"
#define PLAIN           "{\"thinking\":null,\"output_config\":null}"
#define ADAPTIVE(e)     "{\"thinking\":{\"type\":\"adaptive\"},\"output_config\":" e "}"
#define E(word)         "{\"effort\":\"" word "\"}"
#define G(inner)        "{\"generationConfig\":{\"thinkingConfig\":{" inner "}}}"
#define TOKENS(see, n)  G("\"includeThoughts\":" see ",\"thinkingBudget\":" n ",\"thinkingLevel\":null")
#define LEVEL(see, w)   G("\"includeThoughts\":" see ",\"thinkingLevel\":" w ",\"thinkingBudget\":null")

static const char *const becomes[WITH_WISHES][WISHES] = {
    [ZAI] = {THINK("false"), THINK("false"), THINK("false"), THINK("true"), THINK("true"),
             THINK("true"), THINK("true"), THINK("true"), THINK("true"), THINK("true")},
    [ZAI_V2] = {V2("false", "null"), V2("false", "null"), V2("false", "null"), V2("true", "null"),
                V2("true", "null"), V2("true", "null"), V2("true", "\"high\""),
                V2("true", "\"max\""), V2("true", "\"max\""), V2("true", "null")},
    [CHATGLM] = {META("\"normal\"", "\"low\""), META("\"normal\"", "\"low\""),
                 META("\"normal\"", "\"low\""), META("\"thinking\"", "\"high\""),
                 META("\"thinking\"", "\"high\""), META("\"thinking\"", "\"high\""),
                 META("\"thinking\"", "\"high\""), META("\"deep_thinking\"", "\"max\""),
                 META("\"deep_thinking\"", "\"max\""), META("\"thinking\"", "\"high\"")},
    [CHATGLM_OLDER] = {META("null", "null"), META("null", "null"), META("null", "null"),
                       META("\"zero\"", "null"), META("\"zero\"", "null"),
                       META("\"zero\"", "null"), META("\"zero\"", "null"),
                       META("\"zero\"", "null"), META("\"zero\"", "null"),
                       META("\"zero\"", "null")},
    [KIMI] = {KIMI_("false", "NONE"), KIMI_("false", "NONE"), KIMI_("false", "NONE"),
              KIMI_("true", "MEDIUM"), KIMI_("true", "LOW"), KIMI_("true", "MEDIUM"),
              KIMI_("true", "HIGH"), KIMI_("true", "HIGH"), KIMI_("true", "HIGH"),
              KIMI_("true", "MEDIUM")},
    [QWEN] = {QWEN_("false", "null"), QWEN_("false", "null"), QWEN_("false", "null"),
              QWEN_("true", "null"), QWEN_("true", "null"), QWEN_("true", "null"),
              QWEN_("true", "null"), QWEN_("true", "null"), QWEN_("true", "null"),
              QWEN_("true", "6000")},
    [CLAUDE_WEB] = {CLAUDE("off", "null"), CLAUDE("off", "null"), CLAUDE("off", "null"),
                    CLAUDE("auto", "\"high\""), CLAUDE("auto", "\"low\""),
                    CLAUDE("auto", "\"medium\""), CLAUDE("auto", "\"high\""),
                    CLAUDE("auto", "\"max\""), CLAUDE("auto", "\"max\""),
                    CLAUDE("auto", "\"medium\"")},
    [ANTHROPIC_BUDGET] = {PLAIN, PLAIN, BUDGET("1024"), BUDGET("8192"), BUDGET("2048"),
                          BUDGET("8192"), BUDGET("16384"), BUDGET("16384"), BUDGET("16384"),
                          BUDGET("6000")},
    [ANTHROPIC_ADAPTIVE] = {PLAIN, "{\"thinking\":null,\"output_config\":" E("low") "}",
                            ADAPTIVE(E("low")), ADAPTIVE("null"), ADAPTIVE(E("low")),
                            ADAPTIVE(E("medium")), ADAPTIVE(E("high")), ADAPTIVE(E("xhigh")),
                            ADAPTIVE(E("max")), ADAPTIVE(E("medium"))},
    [GEMINI_25] = {TOKENS("true", "null"), TOKENS("false", "0"), TOKENS("true", "512"),
                   TOKENS("true", "null"), TOKENS("true", "1024"), TOKENS("true", "8192"),
                   TOKENS("true", "24576"), TOKENS("true", "24576"), TOKENS("true", "24576"),
                   TOKENS("true", "6000")},
    [GEMINI_3] = {LEVEL("true", "null"), LEVEL("false", "\"minimal\""),
                  LEVEL("true", "\"minimal\""), LEVEL("true", "null"), LEVEL("true", "\"low\""),
                  LEVEL("true", "\"medium\""), LEVEL("true", "\"high\""),
                  LEVEL("true", "\"high\""), LEVEL("true", "\"high\""),
                  LEVEL("true", "\"medium\"")},
};

/* ---- the clients' words ---- */

#define Q(key, word)      "\"" key "\":\"" word "\""
#define IN(object, inner) "\"" object "\":{" inner "}"
#define KWARGS            "chat_template_kwargs"

static const struct {
    const char *fields;
    enum wish wish;
} said[] = {
    {"", UNSET},
    {"\"reasoning_effort\":null,\"thinking\":null,\"reasoning\":null,\"enable_thinking\":null,"
     "\"chat_template_kwargs\":null,\"thinking_budget\":null,\"include_reasoning\":null,"
     "\"disable_reasoning\":null", UNSET},
    {IN("reasoning", "\"effort\":null,\"enabled\":null,\"max_tokens\":null,\"exclude\":null"), UNSET},
    {Q("reasoning_effort", "auto"), UNSET},
    {Q("reasoning_effort", "default"), UNSET},
    {Q("reasoning_effort", ""), UNSET},
    {IN("thinking", Q("type", "auto")), UNSET},
    {IN("reasoning", ""), UNSET},
    {IN("reasoning", Q("summary", "auto")), UNSET},
    {"\"include_reasoning\":true", UNSET},
    {"\"include_reasoning\":false", UNSET},
    {"\"disable_reasoning\":false", UNSET},
    {"\"thinking_budget\":-1", UNSET},
    {Q("enable_thinking", "yes"), UNSET}, /* foreign shapes */
    {Q("thinking", "odd"), UNSET},
    {Q("reasoning", "odd"), UNSET},
    {"\"chat_template_kwargs\":[1]", UNSET},
    {Q("thinking_budget", "many"), UNSET},
    {Q("reasoning_effort", "none"), OFF},
    {Q("reasoning_effort", "NONE"), OFF},
    {IN("reasoning", Q("effort", "none")), OFF},
    {IN("reasoning", "\"enabled\":false"), OFF},
    {IN("thinking", Q("type", "disabled")), OFF},
    {"\"thinking\":false", OFF},
    {"\"enable_thinking\":false", OFF},
    {"\"disable_reasoning\":true", OFF},
    {IN(KWARGS, "\"enable_thinking\":false"), OFF},
    {IN(KWARGS, "\"thinking\":false"), OFF},
    {"\"thinking_budget\":0", OFF},
    /* a no wins */
    {Q("reasoning_effort", "high") "," IN("thinking", Q("type", "disabled")), OFF},
    {Q("reasoning_effort", "high") ",\"enable_thinking\":false", OFF},
    {Q("reasoning_effort", "minimal") ",\"enable_thinking\":false", OFF},
    {Q("reasoning_effort", "none") ",\"enable_thinking\":true", OFF},
    {"\"thinking_budget\":6000,\"enable_thinking\":false", OFF},
    {Q("reasoning_effort", "minimal"), MINIMAL},
    {IN("reasoning", Q("effort", "minimal")), MINIMAL},
    {"\"enable_thinking\":true", ON},
    {"\"enable_thinking\":true,\"thinking_budget\":0", ON},
    {"\"thinking\":true", ON},
    {IN("thinking", Q("type", "enabled")), ON},
    {IN("thinking", Q("type", "adaptive")), ON},
    {IN("reasoning", "\"enabled\":true"), ON},
    {IN("reasoning", "\"enabled\":true,\"exclude\":true"), ON},
    {IN(KWARGS, "\"enable_thinking\":true"), ON},
    {IN(KWARGS, "\"thinking\":true"), ON},
    {Q("reasoning_effort", "extreme"), ON}, /* a word that nobody knows */
    {Q("reasoning_effort", "low"), LOW},
    {Q("reasoning_effort", "Low"), LOW},
    {IN("reasoning", Q("effort", "low")), LOW},
    {Q("reasoning_effort", "low") "," IN("reasoning", Q("effort", "high")), LOW}, /* the first */
    {Q("reasoning_effort", "auto") "," IN("reasoning", Q("effort", "low")), LOW},
    {IN(KWARGS, Q("reasoning_effort", "low")), LOW},
    {Q("reasoning_effort", "medium"), MEDIUM},
    {Q("reasoning_effort", "medium") "," IN("thinking", Q("type", "enabled")), MEDIUM},
    {Q("reasoning_effort", "high"), HIGH},
    {IN("output_config", Q("effort", "high")), HIGH},
    {Q("reasoning_effort", "xhigh"), XHIGH},
    {Q("reasoning_effort", "max"), MAX},
    {"\"thinking_budget\":6000", TOKENS_6000},
    {"\"enable_thinking\":true,\"thinking_budget\":6000", TOKENS_6000},
    {IN("thinking", Q("type", "enabled") ",\"budget_tokens\":6000"), TOKENS_6000},
    {IN("thinking", "\"budget_tokens\":6000"), TOKENS_6000},
    {IN("reasoning", "\"max_tokens\":6000"), TOKENS_6000},
    {IN(KWARGS, "\"thinking_budget\":6000"), TOKENS_6000},
};
/* clang-format on */

static void every_clients_words_at_every_site(void **state)
{
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        for (int at = 0; at < WITH_WISHES; at++)
            expect_at((enum site)at, "", said[i].fields, becomes[at][said[i].wish]);
    }
}

static void suffixes_overrule_the_client(void **state)
{
    static const struct {
        const char *suffix, *fields;
        enum wish wish;
    } rows[] = {
        {"-thinking", "", ON},
        {"-thinking", "\"enable_thinking\":false", ON},
        {"-thinking", Q("reasoning_effort", "none"), ON},
        {"-thinking", Q("reasoning_effort", "low"), LOW},
        {"-thinking", "\"thinking_budget\":6000", TOKENS_6000},
        {"-nothinking", "", OFF},
        {"-nothinking", Q("reasoning_effort", "max"), OFF},
        {"-nothinking", "\"thinking_budget\":6000", OFF},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int at = 0; at < WITH_WISHES; at++)
            expect_at((enum site)at, rows[i].suffix, rows[i].fields, becomes[at][rows[i].wish]);
    }
    /* and they are not part of the model's name */
    expect_at(ANTHROPIC_BUDGET, "-thinking", "", "{\"model\":\"claude-sonnet-4-5\"}");
    expect_at(QWEN, "-nothinking", "", "{\"model\":\"qwen3.6-plus\"}");
}

/* Services have models of their own whose ids end so. */
static void ids_of_services_are_their_own(void **state)
{
    expect_at(OPENAI, "-thinking", "", "{\"model\":\"m-thinking\",\"enable_thinking\":null}");
    expect_at(SOPHNET, "-thinking", "",
              "{\"model\":\"GLM-4.7-thinking\",\"enable_thinking\":null}");
    assert_span_equal(adapter_anthropic.base_model(SPAN("kimi-k2-thinking")),
                      SPAN("kimi-k2-thinking"));
    assert_span_equal(adapter_anthropic.base_model(SPAN("claude-opus-5-nothinking")),
                      SPAN("claude-opus-5"));
    assert_span_equal(adapter_anthropic.base_model(SPAN("claude-opus-5-search")),
                      SPAN("claude-opus-5-search"));
    assert_span_equal(adapter_gemini.base_model(SPAN("learnlm-thinking")),
                      SPAN("learnlm-thinking"));
    assert_span_equal(adapter_gemini.base_model(SPAN("gemini-3-flash-thinking")),
                      SPAN("gemini-3-flash"));
    assert_span_equal(adapter_gemini.base_model(SPAN("gemini-3-flash-thinking-exp")),
                      SPAN("gemini-3-flash-thinking-exp"));
}

/* A compatible service gets every field as it is. */
static void services_get_the_clients_own_words(void **state)
{
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        char wanted[400];
        snprintf(wanted, sizeof wanted, "{%s}", said[i].fields);
        expect_at(OPENAI, "", said[i].fields, wanted);
    }
}

/* What the official API does not know is said in its words as well. */
static void sophnet_gets_its_own_words(void **state)
{
    static const struct {
        const char *fields, *wanted;
    } rows[] = {
        {"", "{\"enable_thinking\":null,\"reasoning_effort\":null,\"thinking\":null}"},
        {Q("reasoning_effort", "low"),
         "{\"enable_thinking\":null,\"reasoning_effort\":\"low\",\"thinking\":null}"},
        {Q("reasoning_effort", "xhigh"),
         "{\"enable_thinking\":true,\"reasoning_effort\":\"high\"}"},
        {Q("reasoning_effort", "none"), "{\"enable_thinking\":false,\"reasoning_effort\":null}"},
        {Q("reasoning_effort", "minimal"), "{\"enable_thinking\":false,\"reasoning_effort\":null}"},
        {IN("reasoning", Q("effort", "medium")),
         "{\"enable_thinking\":true,\"reasoning_effort\":\"medium\"}"},
        {IN("reasoning", "\"enabled\":false"),
         "{\"reasoning\":{\"enabled\":false},\"enable_thinking\":false}"},
        {IN("thinking", Q("type", "disabled")), "{\"enable_thinking\":false}"},
        {IN(KWARGS, "\"thinking\":true"), "{\"enable_thinking\":true}"},
        {"\"thinking_budget\":6000",
         "{\"enable_thinking\":true,\"thinking\":{\"budget_tokens\":6000}}"},
        {IN("thinking", "\"budget_tokens\":6000"),
         "{\"thinking\":{\"budget_tokens\":6000},\"enable_thinking\":null}"},
        {Q("reasoning_effort", "none") ",\"enable_thinking\":true",
         "{\"enable_thinking\":false,\"reasoning_effort\":null}"},
        {Q("reasoning_effort", "high") ",\"enable_thinking\":false",
         "{\"enable_thinking\":false,\"reasoning_effort\":null}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_at(SOPHNET, "", rows[i].fields, rows[i].wanted);
}

/* ---- what is read ---- */

static void what_is_not_to_be_seen(void **state)
{
    static const struct {
        const char *fields;
        bool hidden;
    } rows[] = {
        {"\"include_reasoning\":false", true},
        {"\"include_reasoning\":true", false},
        {"\"include_reasoning\":null", false},
        {IN("reasoning", "\"exclude\":true"), true},
        {IN("reasoning", "\"exclude\":true,\"effort\":\"high\""), true},
        {IN("reasoning", "\"exclude\":false"), false},
        {IN("reasoning", "\"exclude\":\"yes\""), false},
        {"\"exclude\":true", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[300];
        struct arena arena;
        arena_init(&arena);
        snprintf(body, sizeof body,
                 "{\"model\":\"m\",%s,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}",
                 rows[i].fields);
        const struct turn *t = transcript_turn(&arena, body);
        if (t->reasoning_hidden != rows[i].hidden)
            fail_msg("%s", rows[i].fields);
        arena_free(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_clients_words_at_every_site),
        cmocka_unit_test(suffixes_overrule_the_client),
        cmocka_unit_test(ids_of_services_are_their_own),
        cmocka_unit_test(services_get_the_clients_own_words),
        cmocka_unit_test(sophnet_gets_its_own_words),
        cmocka_unit_test(what_is_not_to_be_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
