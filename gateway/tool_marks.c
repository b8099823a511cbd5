/*
 * gateway/tool_marks.c - see tool_marks.h. The forms are those of the models' chat templates.
 */
#include "gateway/tool_marks.h"

enum { NORMAL_MAX = 48 }; /* longer than any row */

#define TAG(what, form)                                                                            \
    {                                                                                              \
        .text = SPAN_INIT(form), .role = what, .tag = true                                         \
    }
/* A common word: only with attributes. */
#define NAMED(what, form)                                                                          \
    {                                                                                              \
        .text = SPAN_INIT(form), .role = what, .tag = true, .named = true                          \
    }
#define MARK(what, form)                                                                           \
    {                                                                                              \
        .text = SPAN_INIT(form), .role = what                                                      \
    }
#define LINE(what, form)                                                                           \
    {                                                                                              \
        .text = SPAN_INIT(form), .role = what, .line = true                                        \
    }

static const struct mark marks[] = {
    /* ours, Hermes, Qwen, Granite, GLM, MiniMax, Seed: <tool_call>…</tool_call> */
    TAG(MARK_OPEN, "<tool_call"),
    MARK(MARK_END, "</tool_call>"),
    TAG(MARK_OPEN, "<tool-call"),
    MARK(MARK_END, "</tool-call>"),
    /* Nemotron */
    TAG(MARK_OPEN, "<toolcall"),
    MARK(MARK_END, "</toolcall>"),
    /* Jamba, Hunyuan */
    TAG(MARK_OPEN, "<tool_calls"),
    MARK(MARK_END, "</tool_calls>"),
    /* Glaive, Functionary and imitations */
    TAG(MARK_OPEN, "<functioncall"),
    MARK(MARK_END, "</functioncall>"),
    TAG(MARK_OPEN, "<function_call"),
    MARK(MARK_END, "</function_call>"),
    TAG(MARK_OPEN, "<tool_use"),
    MARK(MARK_END, "</tool_use>"),
    TAG(MARK_OPEN, "<tool_code"),
    MARK(MARK_END, "</tool_code>"),
    NAMED(MARK_OPEN, "<tool"),
    MARK(MARK_END, "</tool>"),
    /* Qwen3-Coder, Llama: <function=NAME> */
    NAMED(MARK_OPEN, "<function"),
    MARK(MARK_END, "</function>"),
    /* Anthropic, DeepSeek's DSML */
    TAG(MARK_OPEN, "<function_calls"),
    MARK(MARK_END, "</function_calls>"),
    TAG(MARK_OPEN, "<invoke"),
    MARK(MARK_END, "</invoke>"),
    TAG(MARK_PARAMETER, "<parameter"),
    MARK(MARK_PARAMETER_END, "</parameter>"),
    TAG(MARK_PARAMETER, "<param"),
    MARK(MARK_PARAMETER_END, "</param>"),
    MARK(MARK_INNER, "<name>"),
    MARK(MARK_INNER, "</name>"),
    MARK(MARK_INNER, "<tool_name>"),
    MARK(MARK_INNER, "</tool_name>"),
    MARK(MARK_INNER, "<function_name>"),
    MARK(MARK_INNER, "</function_name>"),
    MARK(MARK_INNER, "<arguments>"),
    MARK(MARK_INNER, "</arguments>"),
    MARK(MARK_INNER, "<parameters>"),
    MARK(MARK_INNER, "</parameters>"),
    MARK(MARK_INNER, "<args>"),
    MARK(MARK_INNER, "</args>"),
    MARK(MARK_INNER, "<input>"),
    MARK(MARK_INNER, "</input>"),
    MARK(MARK_INNER, "<tool_input>"),
    MARK(MARK_INNER, "</tool_input>"),
    /* GLM */
    MARK(MARK_KEY, "<arg_key>"),
    MARK(MARK_INNER, "</arg_key>"),
    MARK(MARK_VALUE, "<arg_value>"),
    MARK(MARK_PARAMETER_END, "</arg_value>"),
    /* Hunyuan */
    MARK(MARK_SEPARATOR, "<tool_sep>"),
    /* DeepSeek V3, R1, V3.1 */
    MARK(MARK_OPEN, "<|tool_calls_begin|>"),
    MARK(MARK_OPEN, "<|tool_call_begin|>"),
    MARK(MARK_SEPARATOR, "<|tool_sep|>"),
    MARK(MARK_END, "<|tool_call_end|>"),
    MARK(MARK_END, "<|tool_calls_end|>"),
    MARK(MARK_END, "<|end_of_sentence|>"),
    /* Kimi K2 */
    MARK(MARK_OPEN, "<|tool_calls_section_begin|>"),
    MARK(MARK_SEPARATOR, "<|tool_call_argument_begin|>"),
    MARK(MARK_END, "<|tool_calls_section_end|>"),
    MARK(MARK_OPEN, "<|tool_call_section_begin|>"),
    MARK(MARK_END, "<|tool_call_section_end|>"),
    /* Mistral */
    MARK(MARK_OPEN, "[tool_calls]"),
    MARK(MARK_OPEN, "[tool_call]"),
    MARK(MARK_SEPARATOR, "[args]"),
    MARK(MARK_ID, "[call_id]"),
    MARK(MARK_END, "[/tool_calls]"),
    MARK(MARK_END, "[/tool_call]"),
    /* Llama 3 */
    MARK(MARK_OPEN, "<|python_tag|>"),
    MARK(MARK_END, "<|eom_id|>"),
    MARK(MARK_END, "<|eot_id|>"),
    MARK(MARK_END, "<|im_end|>"),
    /* gpt-oss: harmony */
    MARK(MARK_CHANNEL, "<|channel|>"),
    MARK(MARK_CHANNEL, "<|start|>"),
    MARK(MARK_END, "<|call|>"),
    MARK(MARK_END, "<|end|>"),
    MARK(MARK_END, "<|return|>"),
    /* Granite, Phi, LFM */
    MARK(MARK_OPEN, "<|tool_call|>"),
    MARK(MARK_END, "<|/tool_call|>"),
    {.text = SPAN_INIT("functools["), .role = MARK_OPEN, .line = true, .keeps = true},
    MARK(MARK_OPEN, "<|tool_call_start|>"),
    /* FunctionGemma */
    MARK(MARK_OPEN, "<start_function_call>"),
    MARK(MARK_END, "<end_function_call>"),
    /* InternLM */
    MARK(MARK_OPEN, "<|action_start|>"),
    MARK(MARK_OPEN, "<|plugin|>"),
    MARK(MARK_END, "<|action_end|>"),
    /* Cohere */
    MARK(MARK_OPEN, "<|start_action|>"),
    MARK(MARK_END, "<|end_action|>"),
    /* ReAct */
    LINE(MARK_OPEN, "action:"),
    LINE(MARK_OPEN, "**action:**"),
    LINE(MARK_SEPARATOR, "action input:"),
    LINE(MARK_SEPARATOR, "action_input:"),
    LINE(MARK_SEPARATOR, "**action input:**"),
    LINE(MARK_RESULT, "observation:"),
    /* results that the model invented */
    TAG(MARK_RESULT, "<tool_result"),
    TAG(MARK_RESULT, "<tool_results"),
    TAG(MARK_RESULT, "<tool_response"),
    TAG(MARK_RESULT, "<tool_output"),
    TAG(MARK_RESULT, "<function_result"),
    TAG(MARK_RESULT, "<function_results"),
    TAG(MARK_RESULT, "<function_response"),
    MARK(MARK_RESULT, "<|tool_response|>"),
    MARK(MARK_RESULT, "<|tool_outputs_begin|>"),
    MARK(MARK_RESULT, "<|tool_output_begin|>"),
    MARK(MARK_RESULT, "<|observation|>"),
    MARK(MARK_RESULT, "[tool_results]"),
};

/* ---- the normal form of a text's beginning ---- */

struct normal {
    char text[NORMAL_MAX];
    unsigned char taken[NORMAL_MAX]; /* bytes of the text up to and with this one */
    size_t n;
    bool ended; /* the text ended, it may go on */
};

static const struct span namespaces[] = {
    SPAN_INIT("antml:"), SPAN_INIT("minimax:"),   SPAN_INIT("seed:"),
    SPAN_INIT("|dsml|"), SPAN_INIT("anthropic:"), SPAN_INIT("glm:"),
};

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

/* The next character of the normal form: how many bytes it takes, 0 = the text ends in it. */
static size_t next_character(struct span in, char *c)
{
    static const struct {
        struct span from;
        char to;
    } wide[] = {{SPAN_INIT("\xef\xbd\x9c"), '|'}, {SPAN_INIT("\xe2\x96\x81"), '_'}};
    *c = lower(in.p[0]);
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) {
        if (span_starts(in, wide[i].from)) {
            *c = wide[i].to;
            return wide[i].from.n;
        }
        if (span_starts(wide[i].from, in))
            return 0;
    }
    return 1;
}

static bool dsml(const struct normal *n)
{
    return span_starts(span_of(n->text, n->n), SPAN("<|dsml"));
}

static void normalise(struct normal *n, struct span text)
{
    size_t at = 0;
    n->n = 0;
    n->ended = true;
    while (at < text.n) {
        char c;
        size_t used = next_character(span_from(text, at), &c);
        if (!used)
            return;
        if (n->n == NORMAL_MAX || (n->n && (c == '<' || (c == '[' && n->text[0] == '[')))) {
            n->ended = false;
            return;
        }
        if (c == ' ' && n->n > 1 && n->text[1] == '|' && !dsml(n))
            c = '_'; /* "<|tool calls begin|>" */
        at += used;
        if (c == ' ' && n->n > 2 && n->text[1] == '/')
            continue; /* "</tool_call >" */
        n->text[n->n] = c;
        n->taken[n->n++] = (unsigned char)at;
        if (c == '>' || c == ']' || c == '\n') {
            n->ended = false;
            return;
        }
    }
}

/* Takes the namespace out. True: the text may end in one. */
static bool take_namespace(struct normal *n)
{
    size_t at = n->n > 1 && n->text[1] == '/' ? 2 : 1;
    struct span behind = span_of(n->text + at, n->n > at ? n->n - at : 0);
    if (!n->n || n->text[0] != '<')
        return false;
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++) {
        size_t length = namespaces[i].n;
        if (span_starts(behind, namespaces[i])) {
            memmove(n->text + at, n->text + at + length, n->n - at - length);
            memmove(n->taken + at, n->taken + at + length, n->n - at - length);
            n->n -= length;
            return false;
        }
        if (n->ended && span_starts(namespaces[i], behind))
            return true;
    }
    return false;
}

/* ---- matching ---- */

static bool ends_tag_name(char c)
{
    return c == '>' || c == '=' || c == '/' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static enum mark_match match(const struct mark *m, const struct normal *n)
{
    size_t length = m->text.n;
    size_t both = n->n < length ? n->n : length;
    if (memcmp(n->text, m->text.p, both) != 0)
        return MARK_NO;
    if (n->n < length + m->tag)
        return n->ended ? MARK_MORE : MARK_NO;
    if (m->tag && !ends_tag_name(n->text[length]))
        return MARK_NO;
    return m->named && n->text[length] == '>' ? MARK_NO : MARK_YES;
}

/* A quick look at the second character: most places are no mark's beginning. */
static bool may_be_mark(const struct normal *n)
{
    return n->n > 1 && (n->text[0] != '<' || strchr("acefgimnopst|/", n->text[1]));
}

enum mark_match tool_marks_match(struct span text, unsigned roles, bool line_begins,
                                 const struct mark **mark, size_t *n)
{
    struct normal normal = {.n = 0};
    normalise(&normal, text);
    bool small = text.n && text.p[0] >= 'a' && text.p[0] != 'f'; /* "action:" is no mark */
    if (!normal.ended && !may_be_mark(&normal))
        return MARK_NO;
    enum mark_match best = take_namespace(&normal) ? MARK_MORE : MARK_NO;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        const struct mark *m = &marks[i];
        if (!(m->role & roles) || (m->line && (!line_begins || small)) ||
            (normal.n && m->text.p[0] != normal.text[0]) ||
            (normal.n > 1 && m->text.p[1] != normal.text[1]))
            continue;
        enum mark_match found = match(m, &normal);
        if (found == MARK_YES) {
            *mark = m;
            *n = normal.taken[m->text.n - 1] - m->keeps;
            return MARK_YES;
        }
        if (found == MARK_MORE)
            best = MARK_MORE;
    }
    return best;
}

bool tool_mark_closes(const struct mark *end, const struct mark *open)
{
    struct span name = span_from(open->text, 1);
    name.n -= !open->tag; /* '>' */
    return open->text.p[0] == '<' && span_starts(span_from(end->text, 2), name) &&
           end->text.n == name.n + 3;
}
