/*
 * adapters/openai_calls.c - tool calls in answers of OpenAI's kind (openai_wire.h): which call a
 * piece belongs to.
 *
 * The hard part is the variety: calls without index or id, one index for all, a name that comes
 * later, arguments as objects.
 */
#include "adapters/openai_wire.h"

enum { LEGACY_CALL = -1, UNNUMBERED_CALL = -2 }; /* values of site_index */
enum { CALLS_USUAL = 4 };                        /* room for these at first */

/* Ids are only compared with one another. Never 0 for a given id. */
static uint64_t hash_id(struct span id) { return id.n ? span_hash(SPAN_HASH, id) | 1 : 0; }

struct call_piece {
    bool numbered;
    int index;
    struct span id, name;
    struct json arguments;
};

/*
 * Which call a piece belongs to; NULL = a new one. An index decides, but some services give index 0
 * to every one of several calls, each with its own id and name; others make up a new id for every
 * piece, without the name. Without an index the id decides, then the name.
 */
static struct openai_call *call_of(struct openai_wire *w, int choice,
                                   const struct call_piece *piece)
{
    uint64_t hash = hash_id(piece->id);
    for (size_t i = w->calls ? w->calls->n : 0; i-- > 0;) {
        struct openai_call *call = &w->calls->list[i];
        if (call->choice != choice)
            continue;
        if (piece->numbered) {
            if (call->site_index != piece->index)
                continue;
            bool other = hash && call->id_hash && hash != call->id_hash && piece->name.n;
            return other ? NULL : call;
        }
        if (hash ? call->id_hash == hash : piece->name.n == 0)
            return call;
    }
    return NULL;
}

/* Room for one more. 0, or -1 when memory is short. */
static int make_room(struct turn_run *run, struct openai_wire *w)
{
    struct openai_calls *calls = w->calls;
    if (!calls)
        calls = w->calls = arena_alloc(run->arena, sizeof *calls);
    if (!calls || calls->n < calls->cap)
        return calls ? 0 : -1;
    size_t cap = calls->cap ? 2 * calls->cap : CALLS_USUAL;
    struct openai_call *list = arena_alloc(run->arena, cap * sizeof *list);
    if (!list)
        return -1;
    if (calls->n)
        memcpy(list, calls->list, calls->n * sizeof *list);
    calls->list = list;
    calls->cap = cap;
    return 0;
}

static struct openai_call *new_call(struct turn_run *run, struct openai_wire *w, int choice,
                                    const struct call_piece *piece)
{
    if (w->calls && w->calls->n == OPENAI_CALLS_MAX) {
        fail_set(run->fail, FAIL_PROTOCOL, "%.*s made more than %d tool calls in one answer",
                 SPAN_ARGS(run->site->name), (int)OPENAI_CALLS_MAX);
        return NULL;
    }
    if (make_room(run, w)) {
        fail_memory(run->fail);
        return NULL;
    }
    struct openai_call *call = &w->calls->list[w->calls->n++];
    *call = (struct openai_call){
        .id_hash = hash_id(piece->id),
        .choice = choice,
        .site_index = piece->numbered ? piece->index : UNNUMBERED_CALL,
        .index = w->calls->of_choice[choice]++,
    };
    return call;
}

static int begin_call(struct turn_run *run, struct openai_wire *w, struct openai_call *call,
                      const struct call_piece *piece, struct span arguments)
{
    if (piece->name.n == 0 && arguments.n == 0) { /* the name is still to come */
        if (piece->id.n) {
            call->id = arena_dup(run->arena, piece->id);
            call->id_hash = hash_id(piece->id);
        }
        return piece->id.n && !call->id.p ? fail_memory(run->fail) : 0;
    }
    call->begun = w->something = true;
    if (piece->name.n == 0)
        run_drift(run, "tool call without a name");
    return delta_tool_begin(run->out, call->choice, call->index, piece->id.n ? piece->id : call->id,
                            piece->name);
}

static int put_call(struct turn_run *run, struct openai_wire *w, int choice,
                    const struct call_piece *piece)
{
    struct span arguments = json_text(piece->arguments);
    struct openai_call *call = call_of(w, choice, piece);
    if (!call && !piece->numbered && !piece->id.n && !piece->name.n) {
        run_drift(run, "piece of an unknown tool call");
        return 0;
    }
    if (!call)
        call = new_call(run, w, choice, piece);
    if (!call)
        return -1;
    if (json_is(piece->arguments, JSON_OBJECT) || json_is(piece->arguments, JSON_ARRAY)) {
        if (openai_wire_scratch(run, w))
            return -1;
        if (json_dump(w->scratch, piece->arguments))
            return fail_set(run->fail, FAIL_PROTOCOL, "the arguments of a tool call are too large");
        arguments = buffer_span(w->scratch);
    }
    if (!call->begun && begin_call(run, w, call, piece, arguments))
        return -1;
    return delta_tool_arguments(run->out, choice, call->index, arguments);
}

int openai_put_calls(struct turn_run *run, struct openai_wire *w, int choice, struct json calls)
{
    struct json_iter it = json_each(calls);
    while (json_next(&it)) {
        struct json function = json_get(it.value, "function");
        struct call_piece piece = {.id = json_get_text(it.value, "id")};
        int64_t index;
        if (!json_is(it.value, JSON_OBJECT)) {
            run_drift(run, "tool call that is no object");
            continue;
        }
        if (!json_is(function, JSON_OBJECT))
            function = json_get(it.value, "custom");
        if (!json_is(function, JSON_OBJECT))
            function = it.value;
        piece.numbered =
            json_int(json_get(it.value, "index"), &index) && index >= 0 && index < INT32_MAX;
        piece.index = piece.numbered ? (int)index : 0;
        piece.name = json_get_text(function, "name");
        piece.arguments = json_get(function, "arguments");
        if (json_is(piece.arguments, JSON_MISSING))
            piece.arguments = json_get(function, "input");
        if (put_call(run, w, choice, &piece))
            return -1;
    }
    return 0;
}

int openai_put_legacy_call(struct turn_run *run, struct openai_wire *w, int choice,
                           struct json function)
{
    struct call_piece piece = {
        .numbered = true,
        .index = LEGACY_CALL,
        .name = json_get_text(function, "name"),
        .arguments = json_get(function, "arguments"),
    };
    return put_call(run, w, choice, &piece);
}
