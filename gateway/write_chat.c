/*
 * gateway/write_chat.c - chat.completion.chunk events, or one chat.completion: the writers of
 * OpenAI's chat API over sse/chunk_emitter.h and sse/answer_builder.h.
 */
#include "gateway/answer_writer.h"

#include "gateway/error_response.h"

/* ---- a stream ---- */

struct chat_stream {
    struct answer_writer writer; /* first */
    struct chunk_emitter *emitter;
    struct buffer *out;
};

#define STREAM_OF(w) ((struct chat_stream *)(w))

static int stream_text(struct answer_writer *w, int choice, struct span text)
{
    chunk_emitter_text(STREAM_OF(w)->emitter, STREAM_OF(w)->out, choice, text);
    return STREAM_OF(w)->out->error;
}

static int stream_reasoning(struct answer_writer *w, int choice, struct span text)
{
    chunk_emitter_reasoning(STREAM_OF(w)->emitter, STREAM_OF(w)->out, choice, text);
    return STREAM_OF(w)->out->error;
}

static int stream_refusal(struct answer_writer *w, int choice, struct span text)
{
    chunk_emitter_refusal(STREAM_OF(w)->emitter, STREAM_OF(w)->out, choice, text);
    return STREAM_OF(w)->out->error;
}

static int stream_tool_begin(struct answer_writer *w, int choice, const struct tool_start *tool)
{
    chunk_emitter_tool_begin(STREAM_OF(w)->emitter, STREAM_OF(w)->out, choice, tool->index,
                             tool->id, tool->name, tool->extra_content);
    return STREAM_OF(w)->out->error;
}

static int stream_tool_arguments(struct answer_writer *w, int choice, int index, struct span piece)
{
    chunk_emitter_tool_arguments(STREAM_OF(w)->emitter, STREAM_OF(w)->out, choice, index, piece);
    return STREAM_OF(w)->out->error;
}

static int stream_citations(struct answer_writer *w, int choice, const struct citation *list,
                            size_t n)
{
    chunk_emitter_citations(STREAM_OF(w)->emitter, STREAM_OF(w)->out, choice, list, n);
    return STREAM_OF(w)->out->error;
}

static int stream_extra(struct answer_writer *w, enum extra_place place, int choice,
                        struct span members)
{
    chunk_emitter_extra(STREAM_OF(w)->emitter, place, choice, members);
    return 0;
}

static int stream_finish(struct answer_writer *w, int choice, const struct finish_note *note)
{
    chunk_emitter_finish(STREAM_OF(w)->emitter, STREAM_OF(w)->out, choice, note->reason);
    return STREAM_OF(w)->out->error;
}

static int stream_end(struct answer_writer *w, const struct usage_counts *usage,
                      struct buffer *body)
{
    chunk_emitter_done(STREAM_OF(w)->emitter, STREAM_OF(w)->out, usage);
    return STREAM_OF(w)->out->error;
}

static void stream_flush_extras(struct answer_writer *w)
{
    chunk_emitter_flush_extras(STREAM_OF(w)->emitter, STREAM_OF(w)->out);
}

static void stream_role(struct answer_writer *w)
{
    chunk_emitter_role(STREAM_OF(w)->emitter, STREAM_OF(w)->out, 0);
}

static void stream_error(struct answer_writer *w, const struct fail *fail)
{
    struct buffer object;
    buffer_init(&object, ERROR_OBJECT_MAX);
    error_object(&object, fail);
    if (object.error) /* nothing is better than half of it */
        STREAM_OF(w)->out->error = object.error;
    chunk_emitter_error(STREAM_OF(w)->emitter, STREAM_OF(w)->out, buffer_span(&object));
    buffer_free(&object);
}

static void nothing_to_destroy(struct answer_writer *w) {}

static const struct answer_writer_ops stream_ops = {
    .text = stream_text,
    .reasoning = stream_reasoning,
    .refusal = stream_refusal,
    .tool_begin = stream_tool_begin,
    .tool_arguments = stream_tool_arguments,
    .citations = stream_citations,
    .extra = stream_extra,
    .finish = stream_finish,
    .end = stream_end,
    .flush_extras = stream_flush_extras,
    .role = stream_role,
    .error = stream_error,
    .destroy = nothing_to_destroy,
};

struct answer_writer *chat_stream_writer(struct arena *arena, const struct answer_meta *meta,
                                         const struct prompts *prompts, struct buffer *out)
{
    struct chat_stream *s = arena_alloc(arena, sizeof *s);
    if (!s)
        return NULL;
    s->writer.ops = &stream_ops;
    s->out = out;
    s->emitter =
        chunk_emitter_create(arena, meta->id, meta->created, meta->model, meta->include_usage);
    return s->emitter ? &s->writer : NULL;
}

/* ---- whole ---- */

struct chat_whole {
    struct answer_writer writer; /* first */
    struct answer_builder *builder;
    struct answer_meta meta;
};

#define BUILDER_OF(w) (((struct chat_whole *)(w))->builder)

static int whole_text(struct answer_writer *w, int choice, struct span text)
{
    return answer_builder_text(BUILDER_OF(w), choice, text);
}

static int whole_reasoning(struct answer_writer *w, int choice, struct span text)
{
    return answer_builder_reasoning(BUILDER_OF(w), choice, text);
}

static int whole_refusal(struct answer_writer *w, int choice, struct span text)
{
    return answer_builder_refusal(BUILDER_OF(w), choice, text);
}

static int whole_tool_begin(struct answer_writer *w, int choice, const struct tool_start *tool)
{
    return answer_builder_tool_begin(BUILDER_OF(w), choice, tool->index, tool->id, tool->name,
                                     tool->extra_content);
}

static int whole_tool_arguments(struct answer_writer *w, int choice, int index, struct span piece)
{
    return answer_builder_tool_arguments(BUILDER_OF(w), choice, index, piece);
}

static int whole_citations(struct answer_writer *w, int choice, const struct citation *list,
                           size_t n)
{
    return answer_builder_citations(BUILDER_OF(w), choice, list, n);
}

static int whole_extra(struct answer_writer *w, enum extra_place place, int choice,
                       struct span members)
{
    return answer_builder_extra(BUILDER_OF(w), place, choice, members);
}

static int whole_finish(struct answer_writer *w, int choice, const struct finish_note *note)
{
    return answer_builder_finish(BUILDER_OF(w), choice, note->reason);
}

static int whole_end(struct answer_writer *w, const struct usage_counts *usage, struct buffer *body)
{
    const struct answer_meta *meta = &((struct chat_whole *)w)->meta;
    return answer_builder_render(BUILDER_OF(w), body, meta->id, meta->created, meta->model, usage);
}

static void whole_destroy(struct answer_writer *w) { answer_builder_destroy(BUILDER_OF(w)); }

static const struct answer_writer_ops whole_ops = {
    .text = whole_text,
    .reasoning = whole_reasoning,
    .refusal = whole_refusal,
    .tool_begin = whole_tool_begin,
    .tool_arguments = whole_tool_arguments,
    .citations = whole_citations,
    .extra = whole_extra,
    .finish = whole_finish,
    .end = whole_end,
    .destroy = whole_destroy,
};

struct answer_writer *chat_whole_writer(struct arena *arena, const struct answer_meta *meta,
                                        const struct prompts *prompts)
{
    struct chat_whole *s = arena_alloc(arena, sizeof *s);
    if (!s)
        return NULL;
    s->writer.ops = &whole_ops;
    s->meta = *meta;
    s->builder = answer_builder_create(arena, ANSWER_LIMIT);
    return s->builder ? &s->writer : NULL;
}
