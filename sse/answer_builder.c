/*
 * sse/answer_builder.c - see answer_builder.h. What grows is gathered in buffers, the rest lies in
 * the arena; it is rendered once.
 */
#include "sse/answer_builder.h"

#include <stdlib.h>

#include "base/json_raw.h"
#include "base/json_write.h"

enum { CALLS_MAX = 128 };

struct built_call {
    int index;
    struct buffer id, name, arguments, extra_content;
};

struct built_choice {
    bool used;
    struct buffer text, reasoning, refusal, annotations, choice_extra, message_extra;
    struct built_call *calls;
    size_t n_calls, cap_calls;
    struct span reason;
};

struct answer_builder {
    struct arena *arena;
    size_t limit, used;
    int error;
    int n_choices; /* highest used + 1 */
    struct buffer top_extra;
    struct built_choice first;    /* which most answers have alone */
    struct built_choice **others; /* by their number; NULL while there are none */
};

static void choice_init(struct built_choice *c)
{
    const size_t limit = SIZE_MAX / 4; /* the builder's own is over all of them */
    buffer_init(&c->text, limit);
    buffer_init(&c->reasoning, limit);
    buffer_init(&c->refusal, limit);
    buffer_init(&c->annotations, limit);
    buffer_init(&c->choice_extra, limit);
    buffer_init(&c->message_extra, limit);
}

struct answer_builder *answer_builder_create(struct arena *arena, size_t limit)
{
    struct answer_builder *b = arena_alloc(arena, sizeof *b);
    if (!b)
        return NULL;
    b->arena = arena;
    b->limit = limit;
    buffer_init(&b->top_extra, limit);
    choice_init(&b->first);
    return b;
}

static void choice_free(struct built_choice *c)
{
    buffer_free(&c->text);
    buffer_free(&c->reasoning);
    buffer_free(&c->refusal);
    buffer_free(&c->annotations);
    buffer_free(&c->choice_extra);
    buffer_free(&c->message_extra);
    for (size_t i = 0; i < c->n_calls; i++) {
        buffer_free(&c->calls[i].id);
        buffer_free(&c->calls[i].name);
        buffer_free(&c->calls[i].arguments);
        buffer_free(&c->calls[i].extra_content);
    }
    free(c->calls);
}

/* NULL: nothing was told of it. */
static struct built_choice *known_choice(struct answer_builder *b, int choice)
{
    if (choice == 0)
        return b->first.used ? &b->first : NULL;
    return b->others ? b->others[choice] : NULL;
}

void answer_builder_destroy(struct answer_builder *b)
{
    if (!b)
        return;
    for (int i = 0; i < b->n_choices; i++) {
        if (known_choice(b, i))
            choice_free(known_choice(b, i));
    }
    buffer_free(&b->top_extra);
}

/* One that is not the first; NULL when memory is short. */
static struct built_choice *other_choice(struct answer_builder *b, int choice)
{
    if (!b->others)
        b->others = arena_alloc(b->arena, EMITTER_CHOICES * sizeof(struct built_choice *));
    if (!b->others)
        return NULL;
    struct built_choice *c = b->others[choice];
    if (!c) {
        c = arena_alloc(b->arena, sizeof *c);
        if (c)
            choice_init(c);
        b->others[choice] = c;
    }
    return c;
}

static struct built_choice *choice_of(struct answer_builder *b, int choice)
{
    if (b->error || choice < 0 || choice >= EMITTER_CHOICES)
        return NULL;
    struct built_choice *c = choice ? other_choice(b, choice) : &b->first;
    if (!c) {
        b->error = BUFFER_NOMEM;
        return NULL;
    }
    c->used = true;
    if (choice >= b->n_choices)
        b->n_choices = choice + 1;
    return c;
}

/* Everything that grows goes through here: the limit is over all of it. */
static int add(struct answer_builder *b, struct buffer *to, struct span text)
{
    if (b->error)
        return b->error;
    if (text.n > b->limit - b->used)
        return b->error = BUFFER_FULL;
    b->used += text.n;
    if (buffer_append(to, text))
        b->error = to->error;
    return b->error;
}

/* A text took the place of one of `before` bytes. */
static int replaced(struct answer_builder *b, const struct buffer *now, size_t before)
{
    b->used = b->used - before + now->n;
    if (!b->error)
        b->error = now->error ? now->error : b->used > b->limit ? BUFFER_FULL : 0;
    return b->error;
}

int answer_builder_text(struct answer_builder *b, int choice, struct span text)
{
    struct built_choice *c = choice_of(b, choice);
    return c ? add(b, &c->text, text) : b->error;
}

int answer_builder_reasoning(struct answer_builder *b, int choice, struct span text)
{
    struct built_choice *c = choice_of(b, choice);
    return c ? add(b, &c->reasoning, text) : b->error;
}

int answer_builder_refusal(struct answer_builder *b, int choice, struct span text)
{
    struct built_choice *c = choice_of(b, choice);
    return c ? add(b, &c->refusal, text) : b->error;
}

static struct built_call *call_of(struct answer_builder *b, struct built_choice *c, int index)
{
    for (size_t i = 0; i < c->n_calls; i++) {
        if (c->calls[i].index == index)
            return &c->calls[i];
    }
    if (c->n_calls >= CALLS_MAX) {
        b->error = BUFFER_FULL;
        return NULL;
    }
    if (c->n_calls == c->cap_calls) {
        size_t cap = c->cap_calls ? c->cap_calls * 2 : 4;
        struct built_call *grown = realloc(c->calls, cap * sizeof *grown);
        if (!grown) {
            b->error = BUFFER_NOMEM;
            return NULL;
        }
        c->calls = grown;
        c->cap_calls = cap;
    }
    struct built_call *call = &c->calls[c->n_calls++];
    *call = (struct built_call){.index = index};
    buffer_init(&call->id, SIZE_MAX / 4);
    buffer_init(&call->name, SIZE_MAX / 4);
    buffer_init(&call->arguments, SIZE_MAX / 4);
    buffer_init(&call->extra_content, SIZE_MAX / 4);
    return call;
}

int answer_builder_tool_begin(struct answer_builder *b, int choice, int index, struct span id,
                              struct span name, struct span extra_content)
{
    struct built_choice *c = choice_of(b, choice);
    struct built_call *call = c ? call_of(b, c, index) : NULL;
    if (!call)
        return b->error;
    return add(b, &call->id, id) || add(b, &call->name, name) ||
                   add(b, &call->extra_content, extra_content)
               ? b->error
               : 0;
}

int answer_builder_tool_arguments(struct answer_builder *b, int choice, int index,
                                  struct span piece)
{
    struct built_choice *c = choice_of(b, choice);
    struct built_call *call = c ? call_of(b, c, index) : NULL;
    return call ? add(b, &call->arguments, piece) : b->error;
}

int answer_builder_citations(struct answer_builder *b, int choice, const struct citation *list,
                             size_t n)
{
    struct built_choice *c = n ? choice_of(b, choice) : NULL;
    if (!c)
        return b->error;
    size_t before = c->annotations.n;
    buffer_clear(&c->annotations);
    citations_write(&c->annotations, list, n);
    return replaced(b, &c->annotations, before);
}

/* Members that come again replace the former of their name. */
static int merge_members(struct answer_builder *b, struct buffer *into, struct span members)
{
    struct buffer kept;
    size_t before = into->n;
    if (!members.n)
        return 0;
    if (!before) {
        buffer_append(into, members);
        return replaced(b, into, 0);
    }
    buffer_init(&kept, SIZE_MAX / 4);
    struct json_raw_iter it = json_raw_members(buffer_span(into));
    while (json_raw_next(&it)) {
        if (!json_raw_has(members, it.key))
            json_raw_append_member(&kept, it.key, it.value);
    }
    if (kept.n)
        buffer_char(&kept, ',');
    buffer_append(&kept, members);
    buffer_free(into);
    *into = kept;
    return replaced(b, into, before);
}

int answer_builder_extra(struct answer_builder *b, enum extra_place place, int choice,
                         struct span members)
{
    if (place == EXTRA_TOP)
        return merge_members(b, &b->top_extra, members);
    struct built_choice *c = choice_of(b, choice);
    if (!c)
        return b->error;
    return merge_members(b, place == EXTRA_CHOICE ? &c->choice_extra : &c->message_extra, members);
}

int answer_builder_finish(struct answer_builder *b, int choice, struct span reason)
{
    struct built_choice *c = choice_of(b, choice);
    if (!c || c->reason.n)
        return b->error;
    if (reason.n > b->limit - b->used)
        return b->error = BUFFER_FULL;
    c->reason = arena_text(b->arena, reason);
    if (!c->reason.p)
        return b->error = BUFFER_NOMEM;
    b->used += reason.n;
    return 0;
}

/* ---- rendering ---- */

/* Gathered text is whole: what is torn now stays torn, and becomes U+FFFD. */
static void text_value(struct json_writer *w, const struct buffer *text)
{
    struct buffer scratch;
    buffer_init(&scratch, text->n * 3 + 64);
    json_string(w, utf8_repair(buffer_span(text), &scratch));
    if (scratch.error)
        w->out->error = scratch.error;
    buffer_free(&scratch);
}

static void write_calls(struct json_writer *w, const struct built_choice *c)
{
    json_key(w, "tool_calls");
    json_begin_array(w);
    for (size_t i = 0; i < c->n_calls; i++) {
        const struct built_call *call = &c->calls[i];
        json_begin_object(w);
        json_key(w, "id");
        text_value(w, &call->id);
        json_member(w, "type", SPAN("function"));
        json_key(w, "function");
        json_begin_object(w);
        json_key(w, "name");
        text_value(w, &call->name);
        json_key(w, "arguments");
        text_value(w, &call->arguments);
        json_end_object(w);
        if (call->extra_content.n)
            json_member_raw(w, "extra_content", buffer_span(&call->extra_content));
        json_end_object(w);
    }
    json_end_array(w);
}

static void raw_members(struct json_writer *w, const struct buffer *members)
{
    if (members->n)
        json_raw_value(w, buffer_span(members));
}

/* What never changes is copied, not composed; the writer goes on behind a value. */
static void put_raw(struct json_writer *w, struct span text, bool comma)
{
    buffer_append(w->out, text);
    w->comma = comma;
}

static void write_message(struct json_writer *w, const struct built_choice *c)
{
    put_raw(w, SPAN("{\"role\":\"assistant\",\"content\":"), false);
    if (c->text.n || (!c->n_calls && !c->refusal.n)) /* W2: null only with calls or a refusal */
        text_value(w, &c->text);
    else
        json_null(w);
    if (c->reasoning.n) {
        json_key(w, "reasoning_content");
        text_value(w, &c->reasoning);
    }
    if (c->refusal.n) {
        json_key(w, "refusal");
        text_value(w, &c->refusal);
    } else {
        put_raw(w, SPAN(",\"refusal\":null"), true);
    }
    if (c->n_calls)
        write_calls(w, c);
    raw_members(w, &c->annotations);
    raw_members(w, &c->message_extra);
    json_end_object(w);
}

static void write_choice(struct json_writer *w, int index, const struct built_choice *c)
{
    json_begin_object(w);
    put_raw(w, SPAN("\"index\":"), false);
    buffer_int(w->out, index);
    put_raw(w, SPAN(",\"message\":"), false);
    write_message(w, c);
    if (!c->choice_extra.n || !json_raw_has(buffer_span(&c->choice_extra), SPAN("logprobs")))
        put_raw(w, SPAN(",\"logprobs\":null"), true);
    raw_members(w, &c->choice_extra);
    put_raw(w, SPAN(",\"finish_reason\":"), false);
    if (c->reason.n)
        json_string(w, c->reason);
    else
        json_null(w); /* broken off */
    json_end_object(w);
}

int answer_builder_render(struct answer_builder *b, struct buffer *out, struct span id,
                          int64_t created, struct span model, const struct usage_counts *usage)
{
    struct json_writer w = json_writer(out);
    if (!b->n_choices)
        choice_of(b, 0); /* choices is never empty */
    if (b->error)
        return b->error;
    put_raw(&w, SPAN("{\"id\":"), false);
    json_string(&w, id);
    put_raw(&w, SPAN(",\"object\":\"chat.completion\",\"created\":"), false);
    buffer_int(out, created);
    put_raw(&w, SPAN(",\"model\":"), false);
    json_string(&w, model);
    put_raw(&w, SPAN(",\"choices\":["), false);
    for (int i = 0; i < b->n_choices; i++) {
        const struct built_choice *c = known_choice(b, i);
        if (c)
            write_choice(&w, i, c);
    }
    put_raw(&w, SPAN("],\"usage\":"), true); /* usage_write writes the value itself */
    usage_write(out, usage);
    raw_members(&w, &b->top_extra);
    json_end_object(&w);
    return out->error;
}
