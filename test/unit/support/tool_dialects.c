/*
 * test/unit/support/tool_dialects.c - see tool_dialects.h.
 *
 * A random call is a tool's name and members; each dialect writes them down in its own way.
 */
#include "test/unit/support/tool_dialects.h"

#include "base/json_write.h"
#include <stdio.h>

enum { MEMBERS_MAX = 4, VALUE_MAX = 64 * 1024 };

size_t tool_random_below(struct tool_random *r, size_t n)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return (size_t)(r->state >> 11) % n;
}

#define PICK(random, list) (list)[tool_random_below((random), sizeof(list) / sizeof *(list))]

/* ---- text ---- */

static const struct span words[] = {
    SPAN_INIT("weather"), SPAN_INIT("tool"),    SPAN_INIT("call"),    SPAN_INIT("function"),
    SPAN_INIT("the"),     SPAN_INIT("Action"),  SPAN_INIT("a"),       SPAN_INIT("x1"),
    SPAN_INIT("naïve"),   SPAN_INIT("Straße"),  SPAN_INIT("天气"),    SPAN_INIT("調べる"),
    SPAN_INIT("날씨"),    SPAN_INIT("погода"),  SPAN_INIT("🙂"),    SPAN_INIT("👩🏽‍💻"),
    SPAN_INIT("42"),      SPAN_INIT("3.14"),    SPAN_INIT("name"),    SPAN_INIT("arguments"),
    SPAN_INIT("it's"),    SPAN_INIT("\"so\""),  SPAN_INIT("func"),    SPAN_INIT("print"),
    SPAN_INIT("dysfunc"), SPAN_INIT("get_it"),  SPAN_INIT("json"),    SPAN_INIT("tool_call"),
    SPAN_INIT("C++"),     SPAN_INIT("snake_c"), SPAN_INIT("http://"), SPAN_INIT("functools"),
};

static const struct span punctuation[] = {
    SPAN_INIT(". "), SPAN_INIT(", "),   SPAN_INIT(": "),   SPAN_INIT("; "),   SPAN_INIT(" - "),
    SPAN_INIT("! "), SPAN_INIT("? "),   SPAN_INIT(" ("),   SPAN_INIT(") "),   SPAN_INIT("\n"),
    SPAN_INIT("。"), SPAN_INIT("，"),   SPAN_INIT(" … "),  SPAN_INIT("\r\n"), SPAN_INIT("\n\n"),
    SPAN_INIT("\t"), SPAN_INIT("\n- "), SPAN_INIT("\n# "), SPAN_INIT(" ** "), SPAN_INIT(" = "),
};

static const struct span lookalikes[] = {
    SPAN_INIT("<tool_box>"),   SPAN_INIT("a < b"),      SPAN_INIT("List<funct>"),
    SPAN_INIT("<b>bold</b>"),  SPAN_INIT("[1]"),        SPAN_INIT("[link](u)"),
    SPAN_INIT("{x}"),          SPAN_INIT("{\"a\": 1}"), SPAN_INIT("<3"),
    SPAN_INIT("<tool_"),       SPAN_INIT("[TOOL_"),     SPAN_INIT("<|im_start|>"),
    SPAN_INIT("<tools>"),      SPAN_INIT("x <- y"),     SPAN_INIT("<="),
    SPAN_INIT("</p>"),         SPAN_INIT("<fun"),       SPAN_INIT("<｜a｜>"),
    SPAN_INIT("<inv>"),        SPAN_INIT("[TOOLS]"),    SPAN_INIT("<a href=\"#\">"),
    SPAN_INIT("<function=f>"), SPAN_INIT("std::<int>"), SPAN_INIT("<<<"),
    SPAN_INIT("[ ]"),          SPAN_INIT("{{name}}"),   SPAN_INIT("<tool_call_id>"),
};

/* Where a mark is an example. Each begins and ends so that nothing behind it is in the code. */
static const struct span examples[] = {
    SPAN_INIT("`<tool_call>`"),
    SPAN_INIT("`[TOOL_CALLS]`"),
    SPAN_INIT("`x`"),
    SPAN_INIT("`<tool_call>{\"name\": \"get_time\", \"arguments\": {}}</tool_call>`"),
    SPAN_INIT("so\n```\n<tool_call>{\"name\": \"get_time\", \"arguments\": "
              "{}}</tool_call>\n```\n"),
    SPAN_INIT("so\n```xml\n<function=get_time>\n</function>\n```\n"),
    SPAN_INIT("so\n\n```c\nif (a < b) { c[0] = \"`\"; }\n```\n\n"),
    SPAN_INIT("so\n~~~\n[TOOL_CALLS] [{\"name\": \"get_time\", \"arguments\": {}}]\n~~~\n"),
};

static void write_words(struct tool_random *r, struct buffer *out, const struct span *others,
                        size_t n_others, const struct span *more, size_t n_more)
{
    size_t n = 1 + tool_random_below(r, 25);
    buffer_append(out, SPAN("Well"));
    for (size_t i = 0; i < n; i++) {
        buffer_append(out, tool_random_below(r, 3) ? SPAN(" ") : PICK(r, punctuation));
        if (n_others && !tool_random_below(r, 4)) {
            buffer_append(out, others[tool_random_below(r, n_others)]);
            buffer_append(out, SPAN(" "));
        }
        if (n_more && !tool_random_below(r, 8)) {
            buffer_append(out, more[tool_random_below(r, n_more)]);
            buffer_append(out, SPAN(" "));
        }
        buffer_append(out, PICK(r, words));
    }
    buffer_append(out, SPAN(" so"));
}

enum { N_LOOKALIKES = sizeof lookalikes / sizeof *lookalikes };

void tool_random_text(struct tool_random *r, struct buffer *out)
{
    write_words(r, out, lookalikes, N_LOOKALIKES, examples, sizeof examples / sizeof *examples);
}

void tool_random_prose(struct tool_random *r, struct buffer *out)
{
    write_words(r, out, NULL, 0, NULL, 0);
}

void tool_random_lookalikes(struct tool_random *r, struct buffer *out)
{
    write_words(r, out, lookalikes, N_LOOKALIKES, NULL, 0);
}

/* ---- values ---- */

struct member {
    const char *key;
    bool raw; /* a string's own text, else JSON */
    struct buffer value;
};

struct call {
    struct span name;
    struct member members[MEMBERS_MAX];
    size_t n;
};

/* What may stand in a string of JSON, and what in the raw text of XML-like marks, too. */
static const struct span json_pieces[] = {
    SPAN_INIT("\""),
    SPAN_INIT("\\"),
    SPAN_INIT("\n"),
    SPAN_INIT("\t"),
    SPAN_INIT("</tool_call>"),
    SPAN_INIT("<tool_call>"),
    SPAN_INIT("[TOOL_CALLS]"),
    SPAN_INIT("```\n"),
    SPAN_INIT("}}"),
    SPAN_INIT("\", \"x\": "),
    SPAN_INIT("<|call|>"),
    SPAN_INIT("</function>"),
    SPAN_INIT("<｜tool▁call▁end｜>"),
    SPAN_INIT("\x01"),
    SPAN_INIT("]"),
    SPAN_INIT("//"),
    SPAN_INIT("'"),
    SPAN_INIT("“"),
};
static const struct span raw_pieces[] = {
    SPAN_INIT("\""),   SPAN_INIT("\\"),    SPAN_INIT("\n"), SPAN_INIT("\t"), SPAN_INIT("<div>"),
    SPAN_INIT("</p>"), SPAN_INIT("a < b"), SPAN_INIT("}}"), SPAN_INIT("{"),  SPAN_INIT("```\n"),
    SPAN_INIT("&lt;"), SPAN_INIT("]]>"),   SPAN_INIT("'"),  SPAN_INIT("<"),  SPAN_INIT("</"),
    SPAN_INIT("<pa"),  SPAN_INIT("<tool"), SPAN_INIT("//"), SPAN_INIT("%s"), SPAN_INIT("</fun"),
};

/* Begins and ends with a letter, so that no layout is in doubt. */
static void random_string(struct tool_random *r, bool for_json, struct buffer *out)
{
    size_t n = tool_random_below(r, 12);
    buffer_append(out, SPAN("v"));
    for (size_t i = 0; i < n; i++) {
        bool word = tool_random_below(r, 2);
        if (word)
            buffer_append(out, PICK(r, words));
        else
            buffer_append(out, for_json ? PICK(r, json_pieces) : PICK(r, raw_pieces));
        if (tool_random_below(r, 2))
            buffer_append(out, SPAN(" "));
    }
    buffer_append(out, SPAN("z"));
}

static void write_string(struct buffer *out, struct span text)
{
    struct json_writer w = json_writer(out);
    json_string(&w, text);
}

static void random_value(struct tool_random *r, int depth, struct buffer *out)
{
    static const struct span plain[] = {
        SPAN_INIT("0"),    SPAN_INIT("-17"),  SPAN_INIT("2.5"),   SPAN_INIT("1e3"),
        SPAN_INIT("true"), SPAN_INIT("null"), SPAN_INIT("false"), SPAN_INIT("\"\""),
        SPAN_INIT("[]"),   SPAN_INIT("{}"),
    };
    size_t kind = tool_random_below(r, depth < 3 ? 4 : 2);
    if (kind == 0) {
        buffer_append(out, PICK(r, plain));
    } else if (kind == 1) {
        struct buffer text;
        buffer_init(&text, VALUE_MAX);
        random_string(r, true, &text);
        write_string(out, buffer_span(&text));
        buffer_free(&text);
    } else {
        size_t n = 1 + tool_random_below(r, 3);
        buffer_append(out, kind == 2 ? SPAN("[") : SPAN("{"));
        for (size_t i = 0; i < n; i++) {
            buffer_append(out, i ? SPAN(", ") : SPAN(""));
            if (kind == 3)
                buffer_printf(out, "\"k%zu\": ", i);
            random_value(r, depth + 1, out);
        }
        buffer_append(out, kind == 2 ? SPAN("]") : SPAN("}"));
    }
}

static struct buffer *add_member(struct call *c, const char *key, bool raw)
{
    struct member *m = &c->members[c->n++];
    m->key = key;
    m->raw = raw;
    buffer_init(&m->value, VALUE_MAX);
    return &m->value;
}

static void free_call(struct call *c)
{
    for (size_t i = 0; i < c->n; i++)
        buffer_free(&c->members[i].value);
}

static void write_object(struct buffer *out, const struct call *c)
{
    buffer_append(out, SPAN("{"));
    for (size_t i = 0; i < c->n; i++) {
        const struct member *m = &c->members[i];
        buffer_printf(out, "%s\"%s\": ", i ? ", " : "", m->key);
        if (m->raw)
            write_string(out, buffer_span(&m->value));
        else
            buffer_append(out, buffer_span(&m->value));
    }
    buffer_append(out, SPAN("}"));
}

/* ---- calls in JSON ---- */

/* Before the tool's name, between it and the arguments, and behind them. */
struct json_dialect {
    struct span open, middle, close;
};

static const struct json_dialect json_dialects[] = {
    {SPAN_INIT("<tool_call>\n{\"name\": \""), SPAN_INIT("\", \"arguments\": "),
     SPAN_INIT("}\n</tool_call>")},
    {SPAN_INIT("<tool_call>{\"id\": \"call_1\", \"name\": \""), SPAN_INIT("\", \"arguments\": "),
     SPAN_INIT("}</tool_call>")},
    {SPAN_INIT("<tool_call>[{\"name\": \""), SPAN_INIT("\", \"arguments\": "),
     SPAN_INIT("}]</tool_call>")},
    {SPAN_INIT("<tool_call>{'name': '"), SPAN_INIT("', 'parameters': "),
     SPAN_INIT(",}</tool_call>")},
    {SPAN_INIT("<tool_calls>[{\"name\": \""), SPAN_INIT("\", \"arguments\": "),
     SPAN_INIT("}]</tool_calls>")},
    {SPAN_INIT("<TOOLCALL>[{\"name\": \""), SPAN_INIT("\", \"arguments\": "),
     SPAN_INIT("}]</TOOLCALL>")},
    {SPAN_INIT("<|tool_call|>[{\"name\": \""), SPAN_INIT("\", \"arguments\": "),
     SPAN_INIT("}]<|/tool_call|>")},
    {SPAN_INIT("functools[{\"name\": \""), SPAN_INIT("\", \"arguments\": "), SPAN_INIT("}]")},
    {SPAN_INIT("[TOOL_CALLS] [{\"name\": \""), SPAN_INIT("\", \"arguments\": "), SPAN_INIT("}]")},
    {SPAN_INIT("[TOOL_CALLS]"), SPAN_INIT(""), SPAN_INIT("")},
    {SPAN_INIT("[TOOL_CALLS]"), SPAN_INIT("[CALL_ID]aB3dE6gH9[ARGS]"), SPAN_INIT("")},
    {SPAN_INIT("<|python_tag|>{\"name\": \""), SPAN_INIT("\", \"parameters\": "), SPAN_INIT("}")},
    {SPAN_INIT("<function="), SPAN_INIT(">"), SPAN_INIT("</function>")},
    {SPAN_INIT("<|channel|>commentary to=functions."), SPAN_INIT(" <|constrain|>json<|message|>"),
     SPAN_INIT("<|call|>")},
    {SPAN_INIT("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>"),
     SPAN_INIT("\n```json\n"), SPAN_INIT("\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>")},
    {SPAN_INIT("<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>"), SPAN_INIT("<｜tool▁sep｜>"),
     SPAN_INIT("<｜tool▁call▁end｜><｜tool▁calls▁end｜>")},
    {SPAN_INIT("<|tool_calls_begin|><|tool_call_begin|>"), SPAN_INIT("<|tool_sep|>"),
     SPAN_INIT("<|tool_call_end|><|tool_calls_end|>")},
    {SPAN_INIT("<|tool_calls_section_begin|><|tool_call_begin|>functions."),
     SPAN_INIT(":0<|tool_call_argument_begin|>"),
     SPAN_INIT("<|tool_call_end|><|tool_calls_section_end|>")},
    {SPAN_INIT("<|action_start|><|plugin|>\n{\"name\": \""), SPAN_INIT("\", \"parameters\": "),
     SPAN_INIT("}<|action_end|>")},
    {SPAN_INIT("<|START_ACTION|>[{\"tool_call_id\": \"0\", \"tool_name\": \""),
     SPAN_INIT("\", \"parameters\": "), SPAN_INIT("}]<|END_ACTION|>")},
    {SPAN_INIT("```tool_call\n{\"name\": \""), SPAN_INIT("\", \"arguments\": "),
     SPAN_INIT("}\n```")},
};

static void write_json_call(struct tool_random *r, struct buffer *out, const struct call *c)
{
    const struct json_dialect *d = &PICK(r, json_dialects);
    buffer_append(out, d->open);
    buffer_append(out, c->name);
    buffer_append(out, d->middle);
    write_object(out, c);
    buffer_append(out, d->close);
}

/* ---- calls in XML-like marks ---- */

/* printf formats: %s is the tool's name, or the argument's. */
struct xml_dialect {
    const char *open, *key, *behind_key, *close;
};

static const struct xml_dialect xml_dialects[] = {
    {"<tool_call>\n<function=%s>\n", "<parameter=%s>\n", "\n</parameter>\n",
     "</function>\n</tool_call>"},
    {"<function=%s>\n", "<parameter=%s>\n", "\n</parameter>\n", "</function>"},
    {"<seed:tool_call>\n<function=%s>\n", "<parameter=%s>", "</parameter>\n",
     "</function>\n</seed:tool_call>"},
    {"<tool_call>%s\n", "<arg_key>%s</arg_key>\n<arg_value>", "</arg_value>\n", "</tool_call>"},
    {"<tool_call>%s", "<arg_key>%s</arg_key><arg_value>", "</arg_value>", "</tool_call>"},
    {"<function_calls>\n<invoke name=\"%s\">\n", "<parameter name=\"%s\">", "</parameter>\n",
     "</invoke>\n</function_calls>"},
    {"<antml:function_calls>\n<antml:invoke name=\"%s\">\n", "<antml:parameter name=\"%s\">",
     "</antml:parameter>\n", "</antml:invoke>\n</antml:function_calls>"},
    {"<minimax:tool_call>\n<invoke name=\"%s\">\n", "<parameter name=\"%s\">", "</parameter>\n",
     "</invoke>\n</minimax:tool_call>"},
    {"<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"%s\">\n", "<｜DSML｜parameter name=\"%s\">",
     "</｜DSML｜parameter>\n", "</｜DSML｜invoke>\n</｜DSML｜function_calls>"},
};

static void write_xml_call(struct tool_random *r, struct buffer *out, const struct call *c)
{
    const struct xml_dialect *d = &PICK(r, xml_dialects);
    char name[64];
    snprintf(name, sizeof name, "%.*s", SPAN_ARGS(c->name));
    buffer_printf(out, d->open, name);
    for (size_t i = 0; i < c->n; i++) {
        buffer_printf(out, d->key, c->members[i].key);
        buffer_append(out, buffer_span(&c->members[i].value));
        buffer_append(out, span_str(d->behind_key));
    }
    buffer_append(out, span_str(d->close));
}

/* Values of the types that the tools want. */
static void random_members(struct tool_random *r, struct call *c, bool for_json)
{
    switch (tool_random_below(r, 4)) {
    case 0: c->name = SPAN("get_time"); break;
    case 1:
        c->name = SPAN("write_file");
        random_string(r, for_json, add_member(c, "path", true));
        random_string(r, for_json, add_member(c, "content", true));
        buffer_append(add_member(c, "append", false), SPAN("true"));
        break;
    case 2:
        c->name = SPAN("search_web");
        random_string(r, for_json, add_member(c, "query", true));
        buffer_append(add_member(c, "max_results", false), SPAN("12"));
        buffer_append(add_member(c, "tags", false), SPAN("[\"a b\", \"c\"]"));
        break;
    default:
        c->name = SPAN("run_command");
        random_string(r, for_json, add_member(c, "command", true));
        buffer_append(add_member(c, "timeout", false), SPAN("-2.5"));
    }
}

struct span tool_random_call(struct tool_random *r, struct buffer *out, struct buffer *arguments)
{
    struct call c = {0};
    bool json = tool_random_below(r, 2);
    if (json && !tool_random_below(r, 2)) {
        c.name = SPAN("remember");
        random_value(r, 0, add_member(&c, "a", false));
        random_value(r, 0, add_member(&c, "b", false));
    } else {
        random_members(r, &c, json);
    }
    if (json)
        write_json_call(r, out, &c);
    else
        write_xml_call(r, out, &c);
    write_object(arguments, &c);
    struct span name = c.name;
    free_call(&c);
    return name;
}

/* ---- spoiling ---- */

void tool_spoil(struct tool_random *random, struct span in, struct buffer *out)
{
    static const struct span pieces[] = {
        SPAN_INIT("<"),           SPAN_INIT(">"),
        SPAN_INIT("{"),           SPAN_INIT("}"),
        SPAN_INIT("\""),          SPAN_INIT("\\"),
        SPAN_INIT("\n"),          SPAN_INIT("'"),
        SPAN_INIT("`"),           SPAN_INIT("["),
        SPAN_INIT("]"),           SPAN_INIT(","),
        SPAN_INIT("<tool_call>"), SPAN_INIT("</tool_call>"),
        SPAN_INIT("```\n"),       SPAN_INIT("\xE5"),
        SPAN_INIT("/*"),          SPAN_INIT("#"),
        SPAN_INIT("\\u"),         SPAN_INIT(" "),
        SPAN_INIT("</function>"), SPAN_INIT("Action: get_time\n"),
        SPAN_INIT("\r"),          SPAN_INIT("("),
    };
    size_t at = tool_random_below(random, in.n + 1);
    size_t n = tool_random_below(random, 12);
    buffer_append(out, span_first(in, at));
    switch (tool_random_below(random, 4)) {
    case 0: buffer_append(out, span_from(in, at + n)); return;              /* n are gone */
    case 1: buffer_append(out, span_from(in, at > n ? at - n : 0)); return; /* n are there twice */
    case 2: return;                                                         /* the rest is gone */
    default:
        buffer_append(out, pieces[tool_random_below(random, sizeof pieces / sizeof *pieces)]);
        buffer_append(out, span_from(in, at));
    }
}

/* ---- what may wait ---- */

/* Words that begin a call without a bracket in front, each at the beginning of a line. */
static const struct span word_marks[] = {SPAN_INIT("functools["), SPAN_INIT("Action:")};

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* Nothing but a bracket and letters: some dialect's mark may begin so. */
static bool is_bracket_and_letters(struct span held)
{
    static const char others[] = "_-:=|/";
    if ((held.p[0] != '<' && held.p[0] != '[') || held.n > 48)
        return false;
    for (size_t i = 1; i < held.n; i++) {
        if (!is_word(held.p[i]) && !strchr(others, held.p[i]))
            return false;
    }
    return true;
}

bool tool_may_be_held(struct span text, size_t held)
{
    struct span rest = span_from(text, text.n - held);
    bool in_a_word = held < text.n && is_word(rest.p[-1]);
    if (!held || is_bracket_and_letters(rest))
        return true;
    if (span_eq_nocase(span_first(rest, 7), SPAN("action:")) && held <= 16 && !in_a_word)
        return true; /* the tool's name may follow */
    for (size_t i = 0; i < sizeof word_marks / sizeof *word_marks; i++) {
        if (span_eq_nocase(span_first(word_marks[i], held), rest) && !in_a_word)
            return true;
    }
    return false;
}
