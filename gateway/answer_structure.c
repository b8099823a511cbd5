/*
 * gateway/answer_structure.c - see answer_structure.h.
 */
#include "gateway/answer_structure.h"

#include <stdio.h>

#include "base/json_write.h"

enum { TEXT_LIMIT = 128 * 1024 * 1024 };

const char *structured_kind_name(enum structured_kind kind)
{
    static const char *const names[] = {"valid", "invalid", "unchecked"};
    return names[kind];
}

void answer_structure_init(struct answer_structure *s, const struct structured_rules *rules,
                           structured_put *put, void *owner)
{
    *s = (struct answer_structure){.rules = rules, .put = put, .owner = owner};
    s->filter.may_be_array = rules->wish->may_be_array;
    buffer_init(&s->text, rules->whole ? TEXT_LIMIT : STRUCTURED_CHECKED_MAX + 1);
}

void answer_structure_free(struct answer_structure *s) { buffer_free(&s->text); }

/* A stream's JSON leaves; what is too long to be judged need not be kept. */
static int put_streamed(void *owner, struct span text)
{
    struct answer_structure *s = owner;
    if (s->text.n <= STRUCTURED_CHECKED_MAX)
        buffer_append(&s->text, span_first(text, STRUCTURED_CHECKED_MAX + 1 - s->text.n));
    return s->text.error ? -1 : s->put(s->owner, text);
}

int answer_structure_pass(struct answer_structure *s, struct span text)
{
    if (!text.n)
        return 0;
    if (s->over)
        return s->put(s->owner, text);
    if (s->rules->whole)
        return buffer_append(&s->text, text);
    return structured_filter_pass(&s->filter, text, put_streamed, s);
}

/* One that is not what was wanted because it is not all there. */
static void note_cut(struct structured_verdict *v)
{
    if (v->kind != STRUCTURED_INVALID)
        return;
    *v = (struct structured_verdict){.kind = STRUCTURED_INVALID};
    v->error.errors = 1;
    v->error.n = (size_t)snprintf(v->error.text, sizeof v->error.text,
                                  "it was cut off before its end (finish_reason is \"length\")");
}

static int end_whole(struct answer_structure *s, bool cut)
{
    struct buffer room;
    buffer_init(&room, TEXT_LIMIT);
    struct span json =
        structured_pick(s->rules->wish, buffer_span(&s->text), cut, &room, &s->verdict);
    int error = json.n ? s->put(s->owner, json) : 0;
    buffer_free(&room);
    return error;
}

static int end_stream(struct answer_structure *s)
{
    int error = structured_filter_end(&s->filter, put_streamed, s);
    if (!error)
        structured_judge(s->rules->wish, buffer_span(&s->text), &s->verdict);
    return error;
}

int answer_structure_end(struct answer_structure *s, struct span reason)
{
    if (s->over)
        return 0;
    s->over = s->judged = true;
    bool cut = span_eq(reason, SPAN("length"));
    int error = s->rules->whole ? end_whole(s, cut) : end_stream(s);
    if (cut)
        note_cut(&s->verdict);
    return error;
}

int answer_structure_leave(struct answer_structure *s)
{
    if (s->over)
        return 0;
    s->over = true;
    if (!s->rules->whole)
        return structured_filter_end(&s->filter, put_streamed, s);
    return s->text.n ? s->put(s->owner, buffer_span(&s->text)) : 0;
}

bool answer_structure_waits(const struct answer_structure *s)
{
    return !s->over && (s->rules->whole ? s->text.n != 0 : s->filter.n_lead != 0);
}

void answer_structure_tell(const struct answer_structure *s, struct buffer *out)
{
    struct json_writer w = {out, false};
    if (!s->judged)
        return;
    json_key(&w, "dragoman_structured");
    json_begin_object(&w);
    if (s->verdict.kind == STRUCTURED_UNCHECKED)
        json_member_raw(&w, "valid", SPAN("null"));
    else
        json_member_bool(&w, "valid", s->verdict.kind == STRUCTURED_VALID);
    if (s->verdict.kind != STRUCTURED_VALID)
        json_member(&w, "error", span_of(s->verdict.error.text, s->verdict.error.n));
    if (s->verdict.mended)
        json_member_bool(&w, "mended", true);
    if (s->rules->repaired)
        json_member_bool(&w, "repaired", true);
    json_end_object(&w);
}
