/*
 * adapters/delta.c - the small constructors of delta.h.
 */
#include "adapters/delta.h"

static int put(const struct delta_sink *sink, const struct delta *d)
{
    return sink->put(sink->owner, d);
}

static int put_text(const struct delta_sink *sink, enum delta_kind kind, int choice,
                    struct span text)
{
    if (text.n == 0)
        return 0;
    if (sink->put_text)
        return sink->put_text(sink->owner, kind, choice, text);
    return put(sink, &(struct delta){.kind = kind, .choice = choice, .text = text});
}

int delta_text(const struct delta_sink *sink, int choice, struct span text)
{
    return put_text(sink, DELTA_TEXT, choice, text);
}

int delta_reasoning(const struct delta_sink *sink, int choice, struct span text)
{
    return put_text(sink, DELTA_REASONING, choice, text);
}

int delta_refusal(const struct delta_sink *sink, int choice, struct span text)
{
    return put_text(sink, DELTA_REFUSAL, choice, text);
}

int delta_signature(const struct delta_sink *sink, int choice, struct span signature)
{
    return put_text(sink, DELTA_SIGNATURE, choice, signature);
}

int delta_redacted(const struct delta_sink *sink, int choice, struct span data)
{
    return put_text(sink, DELTA_REDACTED, choice, data);
}

int delta_tool_begin(const struct delta_sink *sink, int choice, int index, struct span id,
                     struct span name)
{
    return delta_tool_begin_with(sink, choice, index, id, name, span_of("", 0));
}

int delta_tool_begin_with(const struct delta_sink *sink, int choice, int index, struct span id,
                          struct span name, struct span extra_content)
{
    return put(sink, &(struct delta){.kind = DELTA_TOOL_BEGIN,
                                     .choice = choice,
                                     .index = index,
                                     .id = id,
                                     .name = name,
                                     .extra_content = extra_content});
}

int delta_tool_arguments(const struct delta_sink *sink, int choice, int index, struct span piece)
{
    if (piece.n == 0)
        return 0;
    return put(sink,
               &(struct delta){
                   .kind = DELTA_TOOL_ARGUMENTS, .choice = choice, .index = index, .text = piece});
}

int delta_citation(const struct delta_sink *sink, int choice, struct span url, struct span title)
{
    return delta_citation_at(sink, choice, url, title, 0, 0);
}

int delta_citation_at(const struct delta_sink *sink, int choice, struct span url, struct span title,
                      int64_t start, int64_t end)
{
    return put(sink, &(struct delta){.kind = DELTA_CITATION,
                                     .choice = choice,
                                     .url = url,
                                     .title = title,
                                     .start = start,
                                     .end = end});
}

int delta_usage(const struct delta_sink *sink, const struct delta_usage *usage)
{
    return put(sink, &(struct delta){.kind = DELTA_USAGE, .usage = *usage});
}

int delta_finish(const struct delta_sink *sink, int choice, struct span reason)
{
    return delta_finish_as(sink, choice, reason, span_of("", 0), span_of("", 0));
}

int delta_finish_as(const struct delta_sink *sink, int choice, struct span reason,
                    struct span native, struct span stop)
{
    return put(sink, &(struct delta){.kind = DELTA_FINISH,
                                     .choice = choice,
                                     .text = reason,
                                     .native = native,
                                     .stop = stop});
}

int delta_extra(const struct delta_sink *sink, enum delta_place place, int choice,
                struct span members)
{
    return put(sink, &(struct delta){
                         .kind = DELTA_EXTRA, .choice = choice, .text = members, .place = place});
}

int delta_head(const struct delta_sink *sink, struct span content_type)
{
    return put(sink, &(struct delta){.kind = DELTA_HEAD, .text = content_type});
}

int delta_bytes(const struct delta_sink *sink, struct span bytes)
{
    return put_text(sink, DELTA_BYTES, 0, bytes);
}
