/*
 * adapters/gemini_body.c - a turn in Google's words (sites/gemini.md §4.3): tools, thinking, every
 * parameter; its messages are gemini_history.c's.
 *
 * What a model refused before is left out, and what goes out of such fields is noted.
 */
#include "adapters/gemini.h"

#include "base/json_raw.h"
#include "base/json_write.h"

enum { BODY_LIMIT = 512 * 1024 * 1024, STOPS_MAX = 5 };

struct body {
    struct turn_run *run;
    struct gemini *gemini;
    const struct turn *turn;
    struct json_writer w;
};

static int no_memory(struct body *b) { return fail_memory(b->run->fail); }

/* The text of a raw JSON string; {NULL,0} when it is none or memory is short. */
static struct span text_of(struct body *b, struct span raw)
{
    struct json root;
    if (raw.n < 2 || raw.p[0] != '"' || json_parse(b->run->json, raw, &root) != JSON_OK)
        return span_of(NULL, 0);
    return arena_dup(b->run->arena, json_text(root));
}

/* ---- tools ---- */

static bool is_empty_object(struct span raw)
{
    struct json_raw_iter it = json_raw_each(raw);
    return !json_raw_next(&it);
}

static int write_function(struct body *b, struct span function)
{
    struct span name = text_of(b, json_raw_given(function, "name"));
    struct span description = json_raw_given(function, "description");
    struct span schema = json_raw_given(function, "parameters");
    if (!name.p)
        return fail_param(b->run->fail, FAIL_INVALID_VALUE, "tools",
                          "a function among tools has no name");
    json_begin_object(&b->w);
    struct span legal = gemini_legal_name(b->run, b->gemini, name);
    if (!legal.p)
        return no_memory(b);
    json_member(&b->w, "name", legal);
    if (description.n && description.p[0] == '"')
        json_member_raw(&b->w, "description", description);
    if (schema.n && schema.p[0] == '{' && !is_empty_object(schema))
        json_member_raw(&b->w, "parametersJsonSchema", schema);
    json_end_object(&b->w);
    return 0;
}

static int write_functions(struct body *b)
{
    struct json_raw_iter it = json_raw_each(b->turn->tools_raw);
    json_begin_object(&b->w);
    json_key(&b->w, "functionDeclarations");
    json_begin_array(&b->w);
    while (json_raw_next(&it)) {
        struct span function = json_raw_given(it.value, "function");
        if (function.n && function.p[0] == '{' && write_function(b, function))
            return -1;
    }
    json_end_array(&b->w);
    json_end_object(&b->w);
    return 0;
}

static void write_built_in(struct body *b, const char *name)
{
    json_begin_object(&b->w);
    json_key(&b->w, name);
    json_begin_object(&b->w);
    json_end_object(&b->w);
    json_end_object(&b->w);
}

static bool wants(struct body *b, const char *option)
{
    return site_option_bool(b->run->site, option, false);
}

/* Google refuses its own tools beside functions: the client's come first. */
static int write_tools(struct body *b)
{
    bool functions = b->turn->tools_raw.n > 0;
    bool search = wants(b, "google_search") || json_raw_given(b->turn->raw, "web_search_options").n;
    bool reading = wants(b, "url_context"), code = wants(b, "code_execution");
    if (!functions && !search && !reading && !code)
        return 0;
    json_key(&b->w, "tools");
    json_begin_array(&b->w);
    if (functions && write_functions(b))
        return -1;
    if (!functions && search)
        write_built_in(b, "googleSearch");
    if (!functions && reading)
        write_built_in(b, "urlContext");
    if (!functions && code)
        write_built_in(b, "codeExecution");
    json_end_array(&b->w);
    return 0;
}

/* One function's name, or those of OpenAI's {"type":"allowed_tools"}. */
static int write_allowed(struct body *b, struct span one, struct span several)
{
    struct json_raw_iter it = json_raw_each(several);
    json_key(&b->w, "allowedFunctionNames");
    json_begin_array(&b->w);
    while (one.n || (several.n && json_raw_next(&it))) {
        struct span function = json_raw_given(it.value, "function");
        struct span given = one.n ? one : text_of(b, json_raw_given(function, "name"));
        struct span legal = given.n ? gemini_legal_name(b->run, b->gemini, given) : SPAN("");
        if (!legal.p)
            return no_memory(b);
        if (legal.n)
            json_string(&b->w, legal);
        if (one.n)
            break;
    }
    json_end_array(&b->w);
    return 0;
}

static bool is_word(struct span raw, const char *word)
{
    return raw.n >= 2 && raw.p[0] == '"' &&
           json_raw_key_is(span_of(raw.p + 1, raw.n - 2), span_str(word));
}

static int write_tool_choice(struct body *b)
{
    struct span choice = b->turn->tool_choice_raw;
    const char *mode = NULL;
    struct span one = {NULL, 0}, several = {NULL, 0};
    if (!b->turn->tools_raw.n || !choice.n)
        return 0;
    if (is_word(choice, "auto"))
        mode = "AUTO";
    else if (is_word(choice, "none"))
        mode = "NONE";
    else if (is_word(choice, "required"))
        mode = "ANY";
    if (choice.p[0] == '{') {
        struct span allowed = json_raw_given(choice, "allowed_tools");
        struct span source = allowed.n && allowed.p[0] == '{' ? allowed : choice;
        several = json_raw_given(source, "tools");
        one = several.n ? one
                        : text_of(b, json_raw_given(json_raw_given(choice, "function"), "name"));
        if (one.n || is_word(json_raw_given(source, "mode"), "required"))
            mode = "ANY";
        else if (several.n)
            mode = "VALIDATED"; /* text or one of these; AUTO takes no names */
    }
    if (!mode)
        return 0;
    json_key(&b->w, "toolConfig");
    json_begin_object(&b->w);
    json_key(&b->w, "functionCallingConfig");
    json_begin_object(&b->w);
    json_member(&b->w, "mode", span_str(mode));
    if ((one.n || several.n) && write_allowed(b, one, several))
        return -1;
    json_end_object(&b->w);
    json_end_object(&b->w);
    return 0;
}

/* ---- thinking ---- */

static bool is_pro(const struct body *b) { return span_find(b->gemini->model, SPAN("-pro")) >= 0; }

/* The client's own number counts first. */
static void write_budget(struct body *b, const struct model_wish *wish)
{
    static const int64_t budgets[] = {
        [EFFORT_MINIMAL] = 512, [EFFORT_LOW] = 1024,    [EFFORT_MEDIUM] = 8192,
        [EFFORT_HIGH] = 24576,  [EFFORT_XHIGH] = 24576, [EFFORT_MAX] = 24576};
    int64_t least = is_pro(b) ? 128 : 0, most = is_pro(b) ? 32768 : 24576;
    if (wish->effort == EFFORT_OPEN)
        return;
    int64_t budget = wish->budget ? wish->budget : budgets[wish->effort];
    if (budget < least)
        budget = least;
    if (budget > most)
        budget = most;
    json_member_int(&b->w, "thinkingBudget", budget);
    b->gemini->sent |= REFUSED_BUDGET;
}

static void write_level(struct body *b, enum effort effort)
{
    struct gemini *g = b->gemini;
    const char *level = NULL;
    switch (effort) {
    case EFFORT_OPEN: return;
    case EFFORT_NONE:
    case EFFORT_MINIMAL: level = is_pro(b) ? "low" : "minimal"; break;
    case EFFORT_LOW: level = "low"; break;
    case EFFORT_MEDIUM: level = g->refused & REFUSED_MEDIUM ? "high" : "medium"; break;
    case EFFORT_HIGH:
    case EFFORT_XHIGH:
    case EFFORT_MAX: level = "high"; break;
    }
    json_member(&b->w, "thinkingLevel", span_str(level));
    g->sent |= REFUSED_LEVEL | (strcmp(level, "medium") == 0 ? REFUSED_MEDIUM : 0);
}

static void write_thinking(struct body *b)
{
    struct gemini *g = b->gemini;
    enum gemini_generation generation = gemini_generation(g->model, b->run->model_note);
    if (generation == GEMINI_PLAIN || g->refused & REFUSED_THINKING)
        return;
    g->sent |= REFUSED_THINKING;
    json_key(&b->w, "thinkingConfig");
    json_begin_object(&b->w);
    json_member_bool(&b->w, "includeThoughts", g->wish.effort != EFFORT_NONE);
    if (generation == GEMINI_LEVELS && !(g->refused & REFUSED_LEVEL))
        write_level(b, g->wish.effort);
    if (generation == GEMINI_BUDGETS && !(g->refused & REFUSED_BUDGET))
        write_budget(b, &g->wish);
    json_end_object(&b->w);
}

/* ---- generationConfig ---- */

static bool may_send(struct body *b, bool given, unsigned field)
{
    if (!given || b->gemini->refused & field)
        return false;
    b->gemini->sent |= field;
    return true;
}

static void write_number(struct body *b, const char *key, double value)
{
    json_key(&b->w, key);
    json_write_double(&b->w, value);
}

static void write_sampling(struct body *b)
{
    const struct turn *t = b->turn;
    if (t->has_temperature)
        write_number(b, "temperature", t->temperature);
    if (t->has_top_p)
        write_number(b, "topP", t->top_p);
    if (may_send(b, t->has_top_k, REFUSED_TOP_K))
        json_member_int(&b->w, "topK", t->top_k);
    if (t->has_max_tokens)
        json_member_int(&b->w, "maxOutputTokens", t->max_tokens);
    if (may_send(b, t->has_seed, REFUSED_SEED)) { /* 32 bits there: the same seed stays the same */
        bool fits = t->seed >= INT32_MIN && t->seed <= INT32_MAX;
        json_member_int(&b->w, "seed", fits ? t->seed : t->seed & INT32_MAX);
    }
    if (may_send(b, t->has_presence_penalty, REFUSED_PRESENCE))
        write_number(b, "presencePenalty", t->presence_penalty);
    if (may_send(b, t->has_frequency_penalty, REFUSED_FREQUENCY))
        write_number(b, "frequencyPenalty", t->frequency_penalty);
}

static int write_stops(struct body *b)
{
    const struct turn *t = b->turn;
    size_t n = 0;
    for (size_t i = 0; i < t->n_stop; i++)
        n += t->stop[i].n > 0;
    if (n > STOPS_MAX)
        return fail_param(b->run->fail, FAIL_UNSUPPORTED, "stop",
                          "Gemini takes at most %d stop texts; %zu were given", STOPS_MAX, n);
    if (n == 0)
        return 0;
    json_key(&b->w, "stopSequences");
    json_begin_array(&b->w);
    for (size_t i = 0; i < t->n_stop; i++) {
        if (t->stop[i].n)
            json_string(&b->w, t->stop[i]);
    }
    json_end_array(&b->w);
    return 0;
}

static void write_format(struct body *b)
{
    struct span format = b->turn->response_format_raw;
    if (!format.n)
        return;
    json_member(&b->w, "responseMimeType", SPAN("application/json"));
    struct span schema = json_raw_given(json_raw_given(format, "json_schema"), "schema");
    if (schema.n)
        json_member_raw(&b->w, "responseJsonSchema", schema);
}

static void write_logprobs(struct body *b)
{
    struct span top = json_raw_given(b->turn->raw, "top_logprobs");
    if (!b->turn->logprobs)
        return;
    json_member_bool(&b->w, "responseLogprobs", true);
    if (top.n && top.p[0] >= '1' && top.p[0] <= '9')
        json_member_raw(&b->w, "logprobs", top);
}

static void write_modalities(struct body *b)
{
    struct span wanted = json_raw_given(b->turn->raw, "modalities");
    struct json_raw_iter it = json_raw_each(wanted);
    while (wanted.n && json_raw_next(&it)) {
        if (is_word(it.value, "image")) {
            json_member_raw(&b->w, "responseModalities", SPAN("[\"TEXT\",\"IMAGE\"]"));
            return;
        }
    }
}

static int write_config(struct body *b)
{
    json_key(&b->w, "generationConfig");
    json_begin_object(&b->w);
    write_sampling(b);
    if (write_stops(b))
        return -1;
    write_format(b);
    write_logprobs(b);
    write_modalities(b);
    write_thinking(b);
    json_end_object(&b->w);
    return 0;
}

static void write_safety(struct body *b)
{
    static const struct {
        const char *option, *category;
    } rows[] = {
        {"safety_harassment", "HARM_CATEGORY_HARASSMENT"},
        {"safety_hate_speech", "HARM_CATEGORY_HATE_SPEECH"},
        {"safety_sexually_explicit", "HARM_CATEGORY_SEXUALLY_EXPLICIT"},
        {"safety_dangerous_content", "HARM_CATEGORY_DANGEROUS_CONTENT"},
    };
    struct span all = site_option_text(b->run->site, "safety", SPAN(""));
    bool any = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span threshold = site_option_text(b->run->site, rows[i].option, all);
        if (!threshold.n)
            continue;
        if (!any) {
            json_key(&b->w, "safetySettings");
            json_begin_array(&b->w);
        }
        any = true;
        json_begin_object(&b->w);
        json_member(&b->w, "category", span_str(rows[i].category));
        json_member(&b->w, "threshold", threshold);
        json_end_object(&b->w);
    }
    if (any)
        json_end_array(&b->w);
}

static int write_body(struct body *b)
{
    json_begin_object(&b->w);
    if (gemini_contents(b->run, b->gemini, &b->w) || write_tools(b) || write_tool_choice(b) ||
        write_config(b))
        return -1;
    write_safety(b);
    json_end_object(&b->w);
    return 0;
}

int gemini_body(struct turn_run *run, struct gemini *g, struct span *body)
{
    struct buffer out;
    struct body b = {.run = run, .gemini = g, .turn = run->turn, .w = json_writer(&out)};
    buffer_init(&out, BODY_LIMIT);
    g->sent = 0;
    g->names = NULL;
    int error = write_body(&b);
    *body = span_of(NULL, 0);
    if (!error && !out.error)
        *body = arena_dup(run->arena, buffer_span(&out));
    buffer_free(&out);
    if (error)
        return -1;
    return body->p ? 0 : no_memory(&b);
}
