/*
 * gateway/responses_reader.c - what all parts of reading a Responses request need
 * (responses_reader.h).
 */
#include "gateway/responses_reader.h"

#include <stdio.h>

#include "gateway/request_body.h"

/* ---- members ---- */

int responses_invalid(struct responses_reader *r, const char *param, const char *wanted)
{
    char where[RESPONSES_WHERE_MAX];
    return request_body_invalid(r->fail, responses_where(r, param, where), wanted);
}

int responses_unsupported(struct responses_reader *r, const char *param, const char *why)
{
    char where[RESPONSES_WHERE_MAX];
    return fail_param(r->fail, FAIL_UNSUPPORTED, responses_where(r, param, where), "%s", why);
}

int responses_read_text(struct responses_reader *r, struct span raw, struct span *text)
{
    return request_body_text(r->json, r->arena, raw, text, r->fail);
}

int responses_text_member(struct responses_reader *r, struct span object, const char *key,
                          const char *param, struct span *text)
{
    struct span raw = json_raw_given(object, key);
    if (!raw.p)
        return 0;
    return json_raw_is_text(raw) ? responses_read_text(r, raw, text)
                                 : responses_invalid(r, param, "a string");
}

int responses_bool_member(struct responses_reader *r, const char *key, bool *value)
{
    return request_body_bool_given(json_members_given(r->top, key), key, value, r->fail);
}

int responses_number_member(struct responses_reader *r, const char *key, bool *has, double *value)
{
    return request_body_number_given(json_members_given(r->top, key), key, has, value, r->fail);
}

void responses_copy_members(struct json_writer *w, struct span object, const char *const *names)
{
    for (; *names; names++) {
        struct span value = json_raw_given(object, *names);
        if (value.p)
            json_member_raw(w, *names, value);
    }
}

void *responses_room_for_one(struct arena *arena, void *list, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return list;
    size_t more = *cap ? *cap * 2 : 8;
    void *grown = arena_alloc(arena, more * size);
    if (!grown)
        return NULL;
    if (n)
        memcpy(grown, list, n * size);
    *cap = more;
    return grown;
}

const char *responses_where(const struct responses_reader *r, const char *param,
                            char where[RESPONSES_WHERE_MAX])
{
    const struct responses_place *at = &r->at;
    if (param != RESPONSES_HERE)
        return param;
    if (at->index == RESPONSES_STORED)
        return "previous_response_id";
    if (!at->member)
        snprintf(where, RESPONSES_WHERE_MAX, "input[%d]", at->index);
    else if (at->part < 0)
        snprintf(where, RESPONSES_WHERE_MAX, "input[%d].%s", at->index, at->member);
    else
        snprintf(where, RESPONSES_WHERE_MAX, "input[%d].%s[%d]", at->index, at->member, at->part);
    return where;
}

int responses_count_parts(struct responses_reader *r, size_t n)
{
    return request_body_count_parts(&r->n_parts, n, "input", r->fail);
}

/* ---- messages ---- */

struct message *responses_add_message(struct responses_reader *r, enum role role, int index)
{
    struct message *list = responses_room_for_one(r->arena, r->messages, r->n_messages,
                                                  &r->cap_messages, sizeof *list);
    if (!list) {
        fail_memory(r->fail);
        return NULL;
    }
    r->messages = list;
    struct message *m = &list[r->n_messages++];
    *m = (struct message){.role = role, .index = index};
    return m;
}

static int join_thinking(struct responses_reader *r, struct message *m)
{
    struct span only = {NULL, 0};
    struct buffer text;
    size_t n = 0;
    buffer_init(&text, RESPONSES_TEXT_LIMIT);
    for (size_t i = 0; i < m->n_parts; i++) {
        if (m->parts[i].kind != PART_THINKING)
            continue;
        only = m->parts[i].text;
        buffer_append(&text, only);
        n++;
    }
    if (n == 1)
        m->reasoning = only;
    else if (n)
        m->reasoning = text.error ? span_of(NULL, 0) : arena_dup(r->arena, buffer_span(&text));
    buffer_free(&text);
    return n && !m->reasoning.p ? fail_memory(r->fail) : 0;
}

int responses_close_answer(struct responses_reader *r)
{
    struct message *m = r->open;
    if (!m)
        return 0;
    m->parts = r->parts;
    m->tool_calls = r->calls;
    r->open = NULL;
    r->parts = NULL;
    r->calls = NULL;
    r->cap_parts = r->cap_calls = 0;
    return join_thinking(r, m);
}

struct message *responses_open_answer(struct responses_reader *r, int index, bool is_message)
{
    if (r->open && is_message && r->ends_in_message && responses_close_answer(r))
        return NULL;
    if (!r->open)
        r->open = responses_add_message(r, ROLE_ASSISTANT, index);
    r->ends_in_message = is_message;
    return r->open;
}

struct part *responses_add_answer_part(struct responses_reader *r)
{
    struct part *list =
        responses_room_for_one(r->arena, r->parts, r->open->n_parts, &r->cap_parts, sizeof *list);
    if (!list) {
        fail_memory(r->fail);
        return NULL;
    }
    r->parts = list;
    return &list[r->open->n_parts++];
}
