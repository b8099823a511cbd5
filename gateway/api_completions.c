/*
 * gateway/api_completions.c - POST /v1/completions, OpenAI's older API: each prompt becomes a chat
 * turn with one user message.
 *
 * The turn's body is the client's with `messages` in place of `prompt`, so that parameters which
 * only a site knows reach it all the same. What has no counterpart in a chat (token ids as prompts,
 * suffix, log probabilities of the prompt) is refused by name.
 */
#include "base/json_raw.h"
#include "gateway/api.h"
#include "gateway/chat_request.h"
#include "gateway/request_body.h"

enum {
    PROMPTS_MAX = EMITTER_CHOICES,
    COMMON_MAX = 16 << 20 /* the other fields, which each prompt's request repeats: bytes of all */
};

static int refuse(struct fail *fail, const char *param, const char *why)
{
    return fail_param(fail, FAIL_UNSUPPORTED, param, "%s", why);
}

/* What a chat cannot do. */
static int check_fields(struct span object, struct fail *fail)
{
    struct span suffix = json_raw_given(object, "suffix"),
                best_of = json_raw_given(object, "best_of");
    struct span logprobs = json_raw_given(object, "logprobs"), n = json_raw_given(object, "n");
    if (suffix.n > 2)
        return refuse(fail, "suffix",
                      "suffix is not possible: sites answer a prompt, they do not fill gaps");
    if (best_of.p && !span_eq(best_of, n) && !span_eq(best_of, SPAN("1")))
        return refuse(fail, "best_of", "best_of is not possible: ask for n answers instead");
    if (logprobs.p && !span_eq(logprobs, SPAN("0")) && !span_eq(logprobs, SPAN("false")))
        return refuse(fail, "logprobs",
                      "logprobs are not possible here; /v1/chat/completions has them for some "
                      "sites");
    return 0;
}

static int refuse_prompt(struct fail *fail)
{
    return fail_param(fail, FAIL_INVALID_VALUE, "prompt",
                      "prompt must be a string or an array of strings");
}

/* The prompts as raw JSON strings: 1 to PROMPTS_MAX. 0, or -1 with fail. */
static int list_prompts(struct span object, struct span found[PROMPTS_MAX], size_t *n,
                        struct fail *fail)
{
    struct span prompt = json_raw_given(object, "prompt");
    *n = 0;
    if (json_raw_is_text(prompt)) {
        found[(*n)++] = prompt;
        return 0;
    }
    if (!prompt.n || prompt.p[0] != '[')
        return refuse_prompt(fail);
    struct json_raw_iter it = json_raw_each(prompt);
    while (json_raw_next(&it)) {
        char c = it.value.p[0];
        if (c == '[' || (c >= '0' && c <= '9'))
            return refuse(fail, "prompt", "prompts of token ids are not possible: send text");
        if (c != '"')
            return refuse_prompt(fail);
        if (*n == PROMPTS_MAX)
            return fail_param(fail, FAIL_INVALID_VALUE, "prompt", "prompt has more than %d texts",
                              PROMPTS_MAX);
        found[(*n)++] = it.value;
    }
    return *n ? 0
              : fail_param(fail, FAIL_INVALID_VALUE, "prompt",
                           "prompt must hold at least one text");
}

static bool is_own_field(struct span key)
{
    static const char *const names[] = {"prompt",  "suffix",   "echo",
                                        "best_of", "logprobs", "messages"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (json_raw_key_is(key, span_str(names[i])))
            return true;
    }
    return false;
}

/* What all the chat requests have beside their messages: `,"key":value…}`. */
static void common_fields(struct buffer *out, struct span object)
{
    struct json_raw_iter it = json_raw_each(object);
    buffer_init(out, object.n + 16);
    buffer_append(out, SPAN("]"));
    while (json_raw_next(&it)) {
        if (!is_own_field(it.key))
            json_raw_append_member(out, it.key, it.value);
    }
    buffer_append(out, SPAN("}"));
}

/* The chat request for one prompt, in the arena. */
static char *chat_body(struct arena *arena, struct span prompt, struct span common, size_t *n)
{
    const struct span begin = SPAN("{\"messages\":[{\"role\":\"user\",\"content\":");
    struct buffer out;
    *n = begin.n + prompt.n + 1 + common.n;
    char *text = arena_alloc(arena, *n + JSON_PADDING);
    if (!text)
        return NULL;
    out = (struct buffer){.p = text, .cap = *n, .limit = *n};
    buffer_append(&out, begin);
    buffer_append(&out, prompt);
    buffer_append(&out, SPAN("}"));
    buffer_append(&out, common);
    return out.error ? NULL : text;
}

static int read_turn(struct json_parser *json, struct arena *arena, struct span prompt,
                     struct span common, struct turn *turn, struct fail *fail)
{
    size_t length;
    char *body = chat_body(arena, prompt, common, &length);
    return body ? chat_request_parse(json, arena, body, length, turn, fail) : fail_memory(fail);
}

static int read_turns(struct json_parser *json, struct arena *arena, struct span object,
                      const struct span *list, size_t n, struct prompts *prompts, struct fail *fail)
{
    struct turn *turns = arena_alloc(arena, n * sizeof *turns);
    struct span *echo = arena_alloc(arena, n * sizeof *echo);
    struct buffer common;
    int bad = 0;
    if (!turns || !echo)
        return fail_memory(fail);
    common_fields(&common, object);
    if (common.error)
        bad = fail_memory(fail);
    else if (n > 1 && common.n > COMMON_MAX / n)
        bad = fail_param(fail, FAIL_TOO_LARGE, "prompt",
                         "%zu prompts, each with %zu bytes of other fields, are too much for one "
                         "request; send fewer prompts at a time",
                         n, common.n);
    prompts->turns = turns;
    for (size_t i = 0; i < n && !bad; i++) {
        bad = read_turn(json, arena, list[i], buffer_span(&common), &turns[i], fail);
        prompts->n = n;
        if (!bad)
            echo[i] = turns[i].messages->n_parts ? turns[i].messages->parts->text : SPAN("");
    }
    buffer_free(&common);
    if (bad)
        return -1;
    if (n * (size_t)turns->n > EMITTER_CHOICES)
        return fail_param(fail, FAIL_INVALID_VALUE, "n", "prompts times n must be at most %d",
                          EMITTER_CHOICES);
    if (span_eq(json_raw_given(object, "echo"), SPAN("true")))
        prompts->echo = echo;
    return 0;
}

static int parse(const struct api_request *request, struct json_parser *json, struct arena *arena,
                 struct prompts *prompts, struct fail *fail)
{
    struct span object = {NULL, 0};
    struct span *list = arena_alloc(arena, PROMPTS_MAX * sizeof *list);
    struct json_members top;
    size_t n_list = 0;
    *prompts = (struct prompts){0};
    if (!list)
        return fail_memory(fail);
    if (request_body_open(json, request->body, request->n, &object, fail) ||
        request_body_members(&top, object, fail) || list_prompts(object, list, &n_list, fail) ||
        check_fields(object, fail))
        return -1;
    return read_turns(json, arena, object, list, n_list, prompts, fail);
}

const struct api api_completions = {
    .name = "completion",
    .id_prefix = "cmpl-",
    .dialect = DIALECT_OPENAI,
    .parses_again = true,
    .writes_with_turns = true,
    .parse = parse,
    .stream_writer = text_stream_writer,
    .whole_writer = text_whole_writer,
};
