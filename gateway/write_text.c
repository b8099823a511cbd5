/*
 * gateway/write_text.c - text_completion objects, streamed or whole: the writers of
 * /v1/completions.
 *
 * Only text exists here: thinking, citations and calls have no place in this API and are left out.
 */
#include "base/json_write.h"
#include "gateway/answer_writer.h"
#include "gateway/api.h"
#include "gateway/error_response.h"
#include "sse/text_guard.h"

/* One choice: a stream guards its text, a whole answer gathers it. */
struct text_choice {
    bool begun;
    struct text_guard guard;
    struct buffer text;
    const char *reason;
};

struct text_writer {
    struct answer_writer writer; /* first */
    struct arena *arena;
    struct span head; /* what every object begins with, up to its choices */
    bool include_usage;
    struct prompts prompts;
    struct buffer *out;    /* streams */
    struct buffer scratch; /* of the guards */
    size_t gathered;       /* whole answers: bytes of all choices */
    struct text_choice *choices[EMITTER_CHOICES];
};

static struct text_choice *choice_of(struct text_writer *t, int choice)
{
    struct text_choice **c = &t->choices[choice];
    if (!*c) {
        *c = arena_alloc(t->arena, sizeof **c);
        if (*c)
            buffer_init(&(*c)->text, ANSWER_LIMIT);
    }
    return *c;
}

/* This API has no calls: its clients would not know the word. */
static const char *finish_reason(struct span reason)
{
    if (span_eq(reason, SPAN("length")))
        return "length";
    return span_eq(reason, SPAN("content_filter")) ? "content_filter" : "stop";
}

/* With `echo`, what the choice's answer begins with. */
static struct span echo_of(const struct text_writer *t, int choice)
{
    int n = t->prompts.turns->n;
    return t->prompts.echo ? t->prompts.echo[choice / n] : span_of("", 0);
}

/* {"id":…,"object":"text_completion","created":…,"model":…,"choices":[ */
static struct span make_head(struct arena *arena, const struct answer_meta *meta)
{
    struct buffer out;
    buffer_init(&out, ANSWER_LIMIT);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    json_member(&w, "id", meta->id);
    json_member(&w, "object", SPAN("text_completion"));
    json_member_int(&w, "created", meta->created);
    json_member(&w, "model", meta->model);
    json_key(&w, "choices");
    json_begin_array(&w);
    struct span head = out.error ? span_of(NULL, 0) : arena_dup(arena, buffer_span(&out));
    buffer_free(&out);
    return head;
}

/* The writer stands in the choices. */
static struct json_writer open_object(const struct text_writer *t, struct buffer *out)
{
    buffer_append(out, t->head);
    return json_writer(out);
}

static void write_choice(struct json_writer *w, int index, struct span text, const char *reason)
{
    json_begin_object(w);
    json_member(w, "text", text);
    json_member_int(w, "index", index);
    json_member_raw(w, "logprobs", SPAN("null"));
    json_key(w, "finish_reason");
    if (reason)
        json_cstring(w, reason);
    else
        json_null(w);
    json_end_object(w);
}

static void write_usage(struct json_writer *w, const struct usage_counts *usage)
{
    json_key(w, "usage");
    usage_write(w->out, usage);
    w->comma = true;
}

/* ---- a stream ---- */

static void write_event(struct text_writer *t, int choice, struct span text, const char *reason)
{
    buffer_append(t->out, SPAN("data: "));
    struct json_writer w = open_object(t, t->out);
    write_choice(&w, choice, text, reason);
    json_end_array(&w);
    if (t->include_usage)
        json_member_raw(&w, "usage", SPAN("null"));
    json_end_object(&w);
    buffer_append(t->out, SPAN("\n\n"));
}

static void begin_choice(struct text_writer *t, int choice, struct text_choice *c)
{
    struct span echo = echo_of(t, choice);
    if (!c->begun && echo.n)
        write_event(t, choice, echo, NULL);
    c->begun = true;
}

static int stream_text(struct answer_writer *w, int choice, struct span text)
{
    struct text_writer *t = (struct text_writer *)w;
    struct text_choice *c = choice_of(t, choice);
    struct span out;
    if (!c || text_guard_pass(&c->guard, text, &t->scratch, &out))
        return -1;
    begin_choice(t, choice, c);
    if (out.n)
        write_event(t, choice, out, NULL);
    return t->out->error;
}

static int stream_finish(struct answer_writer *w, int choice, const struct finish_note *note)
{
    struct text_writer *t = (struct text_writer *)w;
    struct text_choice *c = choice_of(t, choice);
    struct span rest;
    if (!c || text_guard_end(&c->guard, &t->scratch, &rest))
        return -1;
    begin_choice(t, choice, c);
    write_event(t, choice, rest,
                finish_reason(note->reason)); /* what is left goes with the reason */
    return t->out->error;
}

static int stream_end(struct answer_writer *w, const struct usage_counts *usage,
                      struct buffer *body)
{
    struct text_writer *t = (struct text_writer *)w;
    if (t->include_usage) {
        buffer_append(t->out, SPAN("data: "));
        struct json_writer j = open_object(t, t->out);
        json_end_array(&j);
        write_usage(&j, usage);
        json_end_object(&j);
        buffer_append(t->out, SPAN("\n\n"));
    }
    return buffer_append(t->out, SPAN("data: [DONE]\n\n"));
}

static void stream_error(struct answer_writer *w, const struct fail *fail)
{
    struct text_writer *t = (struct text_writer *)w;
    buffer_append(t->out, SPAN("data: {\"error\":"));
    error_object(t->out, fail);
    buffer_append(t->out, SPAN("}\n\n"));
}

/* The head goes out early with a comment: this API has no event without text. */
static void stream_role(struct answer_writer *w)
{
    chunk_emitter_keep_alive(((struct text_writer *)w)->out);
}

/* ---- whole ---- */

static int whole_text(struct answer_writer *w, int choice, struct span text)
{
    struct text_writer *t = (struct text_writer *)w;
    struct text_choice *c = choice_of(t, choice);
    t->gathered += text.n;
    if (!c)
        return BUFFER_NOMEM;
    return t->gathered <= ANSWER_LIMIT ? buffer_append(&c->text, text) : BUFFER_FULL;
}

static int whole_finish(struct answer_writer *w, int choice, const struct finish_note *note)
{
    struct text_choice *c = choice_of((struct text_writer *)w, choice);
    if (!c)
        return BUFFER_NOMEM;
    c->reason = finish_reason(note->reason);
    return 0;
}

static int write_whole_choice(struct text_writer *t, struct json_writer *w, int i)
{
    struct buffer text, scratch;
    buffer_init(&text, 2ull * ANSWER_LIMIT);
    buffer_init(&scratch, 3ull * ANSWER_LIMIT);
    buffer_append(&text, echo_of(t, i));
    buffer_append(&text, buffer_span(&t->choices[i]->text));
    write_choice(w, i, utf8_repair(buffer_span(&text), &scratch),
                 t->choices[i]->reason); /* NULL: broken off */
    int error = text.error ? text.error : scratch.error;
    buffer_free(&text);
    buffer_free(&scratch);
    return error;
}

static int whole_end(struct answer_writer *w, const struct usage_counts *usage, struct buffer *body)
{
    struct text_writer *t = (struct text_writer *)w;
    struct json_writer j = open_object(t, body);
    for (int i = 0; i < EMITTER_CHOICES; i++) {
        int error = t->choices[i] ? write_whole_choice(t, &j, i) : 0;
        if (error)
            return error;
    }
    json_end_array(&j);
    write_usage(&j, usage);
    json_end_object(&j);
    return body->error;
}

/* ---- both ---- */

static int no_text(struct answer_writer *w, int choice, struct span text) { return 0; }

static int no_call(struct answer_writer *w, int choice, const struct tool_start *tool) { return 0; }

static int no_arguments(struct answer_writer *w, int choice, int index, struct span piece)
{
    return 0;
}

static int no_citations(struct answer_writer *w, int choice, const struct citation *list, size_t n)
{
    return 0;
}

static int no_extra(struct answer_writer *w, enum extra_place place, int choice,
                    struct span members)
{
    return 0;
}

static void destroy(struct answer_writer *w)
{
    struct text_writer *t = (struct text_writer *)w;
    buffer_free(&t->scratch);
    for (int i = 0; i < EMITTER_CHOICES; i++) {
        if (t->choices[i])
            buffer_free(&t->choices[i]->text);
    }
}

#define COMMON                                                                                     \
    .reasoning = no_text, .tool_begin = no_call, .tool_arguments = no_arguments,                   \
    .citations = no_citations, .extra = no_extra, .destroy = destroy

static const struct answer_writer_ops stream_ops = {
    COMMON,
    .text = stream_text,
    .refusal = stream_text,
    .finish = stream_finish,
    .end = stream_end,
    .role = stream_role,
    .error = stream_error,
};

static const struct answer_writer_ops whole_ops = {
    COMMON, .text = whole_text, .refusal = whole_text, .finish = whole_finish, .end = whole_end,
};

static struct answer_writer *create(struct arena *arena, const struct answer_writer_ops *ops,
                                    const struct answer_meta *meta, const struct prompts *prompts,
                                    struct buffer *out)
{
    struct text_writer *t = arena_alloc(arena, sizeof *t);
    struct span head = make_head(arena, meta);
    if (!t || !head.p)
        return NULL;
    *t = (struct text_writer){.writer = {ops},
                              .arena = arena,
                              .head = head,
                              .include_usage = meta->include_usage,
                              .prompts = *prompts,
                              .out = out};
    buffer_init(&t->scratch, 2ull * ANSWER_LIMIT);
    return &t->writer;
}

struct answer_writer *text_stream_writer(struct arena *arena, const struct answer_meta *meta,
                                         const struct prompts *prompts, struct buffer *out)
{
    return create(arena, &stream_ops, meta, prompts, out);
}

struct answer_writer *text_whole_writer(struct arena *arena, const struct answer_meta *meta,
                                        const struct prompts *prompts)
{
    return create(arena, &whole_ops, meta, prompts, NULL);
}
