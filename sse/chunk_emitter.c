/*
 * sse/chunk_emitter.c - see chunk_emitter.h.
 *
 * A chunk of text is OPENING TEXT CLOSING. The opening runs to the text's quote and stays as it is
 * for as long as the pieces are of one choice and one kind: it is rendered once, behind the head
 * that all chunks share. The closing, from the other quote on, is one of a few constants. So a
 * piece costs three copies, and a look for what has to be escaped. Per-choice state is made when a
 * choice is first used, so that the common answer with one choice costs one. Extras come with every
 * chunk from some sites: their room is kept, so that the second one costs no allocation.
 */
#include "sse/chunk_emitter.h"

#include <assert.h>

#include "base/json_raw.h"
#include "base/json_write.h"

enum channel { CHANNEL_TEXT, CHANNEL_REASONING, CHANNEL_REFUSAL, CHANNEL_ARGUMENTS, CHANNELS };

enum { HEAD_ROOM = 144 }; /* behind the model: a short extra, and what opens a piece */

/* Text in the arena that is written again and again: its room is kept and doubles when short. */
struct room {
    char *p;
    size_t n, cap;
};

struct choice_state {
    bool role_sent, finished;
    struct text_guard guards[CHANNELS];
    int arguments_index;                   /* the tool call that the arguments' guard belongs to */
    struct room choice_extra, delta_extra; /* members that wait for a chunk */
};

struct chunk_emitter {
    struct arena *arena;
    struct room head; /* `data: {"id":…,"choices":[`: id … model, top-level extras, the rest */
    size_t fixed_n;   /* of head, up to the model: stays as it is */
    size_t top_n;     /* the extras' length in head */
    size_t opening_n; /* head, and behind it what opens a piece; 0 = it is not there */
    struct span closing;              /* of such a piece, when nothing stands beside it */
    int opening_choice, opening_call; /* whose pieces they are */
    enum channel opening_channel;
    bool include_usage;
    bool extras_wait;              /* with one of the choices, for a chunk */
    struct choice_state **choices; /* of n_choices; NULL: not used so far */
    int n_choices;
};

/* ---- making ---- */

/* Room for `n` more bytes; 0, or -1 when memory is short: then the text is as it was. */
static int room_for(struct arena *arena, struct room *r, size_t n)
{
    size_t cap = r->cap ? r->cap : 64;
    if (r->cap - r->n >= n)
        return 0;
    while (cap - r->n < n)
        cap *= 2;
    char *p = arena_alloc(arena, cap);
    if (!p)
        return -1;
    if (r->n)
        memcpy(p, r->p, r->n);
    r->p = p;
    r->cap = cap;
    return 0;
}

/* There is room. */
static void room_put(struct room *r, struct span text)
{
    if (text.n)
        memcpy(r->p + r->n, text.p, text.n);
    r->n += text.n;
}

static struct span room_span(const struct room *r) { return span_of(r->p, r->n); }

/* Where the top-level extras stand in head, without the comma. */
static struct span top_of(const struct chunk_emitter *e)
{
    return e->top_n ? span_of(e->head.p + e->fixed_n + 1, e->top_n) : span_of("", 0);
}

/* Extras are out only when memory is short: the answer goes on without them. */
static int render_head(struct chunk_emitter *e, struct span top)
{
    const struct span choices = SPAN(",\"choices\":[");
    size_t need = e->fixed_n + 1 + top.n + choices.n;
    if (need > e->head.n && room_for(e->arena, &e->head, need - e->head.n))
        return -1;
    e->head.n = e->fixed_n;
    e->opening_n = 0;
    if (top.n) {
        room_put(&e->head, SPAN(","));
        room_put(&e->head, top);
    }
    room_put(&e->head, choices);
    e->top_n = top.n;
    return 0;
}

/* Bytes of a text as a JSON string without its quotes, at most. */
static size_t escaped_most(struct span text) { return json_is_plain(text) ? text.n : 6 * text.n; }

/* One block for what head and opening usually need: it is kept as long as the answer lasts. */
static int begin_head(struct chunk_emitter *e, struct span id, int64_t created, struct span model)
{
    static const struct span before_id = SPAN_INIT("data: {\"id\":"),
                             before_created =
                                 SPAN_INIT(",\"object\":\"chat.completion.chunk\",\"created\":"),
                             before_model = SPAN_INIT(",\"model\":");
    enum { QUOTES = 4 };
    struct room *r = &e->head;
    r->cap = before_id.n + escaped_most(id) + before_created.n + BUFFER_INT_MAX + before_model.n +
             escaped_most(model) + QUOTES + HEAD_ROOM;
    r->p = arena_alloc(e->arena, r->cap);
    if (!r->p)
        return -1;
    struct buffer text = {.p = r->p, .cap = r->cap, .limit = r->cap};
    struct json_writer w = json_writer(&text);
    buffer_append(&text, before_id);
    json_string(&w, id);
    buffer_append(&text, before_created);
    buffer_int(&text, created);
    w.comma = false;
    buffer_append(&text, before_model);
    json_string(&w, model);
    assert(!text.error);
    r->n = e->fixed_n = text.n;
    return render_head(e, span_of("", 0));
}

struct chunk_emitter *chunk_emitter_create(struct arena *arena, struct span id, int64_t created,
                                           struct span model, bool include_usage)
{
    struct chunk_emitter *e = arena_alloc(arena, sizeof *e);
    if (!e)
        return NULL;
    e->arena = arena;
    e->include_usage = include_usage;
    return begin_head(e, id, created, model) ? NULL : e;
}

/* For the choice and those before it. Most answers have one. 0, or -1 when memory is short. */
static int make_room(struct chunk_emitter *e, int choice)
{
    int n = e->n_choices ? e->n_choices : 1;
    while (n <= choice)
        n *= 2;
    struct choice_state **grown = arena_alloc(e->arena, (size_t)n * sizeof(struct choice_state *));
    if (!grown)
        return -1;
    if (e->n_choices)
        memcpy(grown, e->choices, (size_t)e->n_choices * sizeof(struct choice_state *));
    e->choices = grown;
    e->n_choices = n;
    return 0;
}

static struct choice_state *choice_of(struct chunk_emitter *e, struct buffer *out, int choice)
{
    if (choice < 0 || choice >= EMITTER_CHOICES)
        return NULL;
    if (choice < e->n_choices && e->choices[choice])
        return e->choices[choice];
    struct choice_state *c = choice < e->n_choices || make_room(e, choice) == 0
                                 ? arena_alloc(e->arena, sizeof *c)
                                 : NULL;
    if (c)
        e->choices[choice] = c;
    else if (out)
        out->error = BUFFER_NOMEM;
    return c;
}

/* ---- chunks ---- */

#define REST_MEMBERS ",\"logprobs\":null,\"finish_reason\":null}"
#define USAGE_MEMBER "],\"usage\":null"
#define EVENT_END    "}\n\n"

/* The same in every chunk: behind `choices`. */
static struct span tail_of(const struct chunk_emitter *e)
{
    return e->include_usage ? SPAN(USAGE_MEMBER EVENT_END) : SPAN("]" EVENT_END);
}

/* Of a chunk with nothing beside its piece: from the text's quote on. */
static struct span closing_of(const struct chunk_emitter *e, enum channel channel)
{
    if (channel == CHANNEL_ARGUMENTS)
        return e->include_usage ? SPAN("\"}}]}" REST_MEMBERS USAGE_MEMBER EVENT_END)
                                : SPAN("\"}}]}" REST_MEMBERS "]" EVENT_END);
    return e->include_usage ? SPAN("\"}" REST_MEMBERS USAGE_MEMBER EVENT_END)
                            : SPAN("\"}" REST_MEMBERS "]" EVENT_END);
}

static struct span digits_of(char room[12], int index)
{
    size_t n = 12;
    do
        room[--n] = (char)('0' + index % 10);
    while ((index /= 10) > 0);
    return span_of(room + n, 12 - n);
}

static void put_index(struct buffer *out, int index)
{
    char digits[12];
    buffer_append(out, digits_of(digits, index));
}

/* Up to and including `"delta":{`. */
static void open_chunk(struct chunk_emitter *e, struct buffer *out, int choice)
{
    buffer_append(out, room_span(&e->head));
    buffer_append(out, SPAN("{\"index\":"));
    put_index(out, choice);
    buffer_append(out, SPAN(",\"delta\":{"));
}

static void close_chunk(struct chunk_emitter *e, struct buffer *out, struct choice_state *c,
                        struct span reason, bool empty)
{
    if (c->delta_extra.n) {
        if (!empty)
            buffer_char(out, ',');
        buffer_append(out, room_span(&c->delta_extra));
        c->delta_extra.n = 0;
    }
    buffer_char(out, '}');
    if (c->choice_extra.n) {
        bool logprobs = json_raw_has(room_span(&c->choice_extra), SPAN("logprobs"));
        buffer_char(out, ',');
        buffer_append(out, room_span(&c->choice_extra));
        if (!logprobs)
            buffer_append(out, SPAN(",\"logprobs\":null"));
        c->choice_extra.n = 0;
    } else {
        buffer_append(out, SPAN(",\"logprobs\":null"));
    }
    if (reason.n) {
        buffer_append(out, SPAN(",\"finish_reason\":\""));
        json_escape(out, reason);
        buffer_append(out, SPAN("\"}"));
    } else {
        buffer_append(out, SPAN(",\"finish_reason\":null}"));
    }
    buffer_append(out, tail_of(e));
}

/* The choice, with its role chunk out; NULL when nothing more may follow. */
static struct choice_state *ready(struct chunk_emitter *e, struct buffer *out, int choice)
{
    struct choice_state *c = choice_of(e, out, choice);
    if (!c || c->finished)
        return NULL;
    if (!c->role_sent) {
        c->role_sent = true;
        open_chunk(e, out, choice);
        buffer_append(out, SPAN("\"role\":\"assistant\",\"content\":\"\"}"));
        buffer_append(out, SPAN(REST_MEMBERS));
        buffer_append(out, tail_of(e));
    }
    return c;
}

void chunk_emitter_role(struct chunk_emitter *e, struct buffer *out, int choice)
{
    ready(e, out, choice);
}

/* ---- pieces ---- */

static bool is_opening_of(const struct chunk_emitter *e, int choice, enum channel channel, int call)
{
    return e->opening_n && e->opening_choice == choice && e->opening_channel == channel &&
           e->opening_call == call;
}

/* 0, or -1 when memory is short. */
static int render_opening(struct chunk_emitter *e, int choice, enum channel channel, int call)
{
    static const struct span keys[] = {
        SPAN_INIT("\"content\":\""), SPAN_INIT("\"reasoning_content\":\""),
        SPAN_INIT("\"refusal\":\""), SPAN_INIT("\"tool_calls\":[{\"index\":")};
    const struct span index = SPAN("{\"index\":"), delta = SPAN(",\"delta\":{"),
                      arguments = SPAN(",\"function\":{\"arguments\":\"");
    char digits[12];
    struct room *r = &e->head;
    size_t head_n = r->n;
    e->opening_n = 0;
    size_t need = index.n + delta.n + keys[channel].n + sizeof digits;
    if (channel == CHANNEL_ARGUMENTS)
        need += arguments.n + sizeof digits;
    if (room_for(e->arena, r, need))
        return -1;
    room_put(r, index);
    room_put(r, digits_of(digits, choice));
    room_put(r, delta);
    room_put(r, keys[channel]);
    if (channel == CHANNEL_ARGUMENTS) {
        room_put(r, digits_of(digits, call));
        room_put(r, arguments);
    }
    e->opening_n = r->n;
    e->closing = closing_of(e, channel);
    e->opening_choice = choice;
    e->opening_channel = channel;
    e->opening_call = call;
    r->n = head_n;
    return 0;
}

static void put_piece(struct chunk_emitter *e, struct buffer *out, int choice,
                      struct choice_state *c, enum channel channel, struct span text)
{
    int call = channel == CHANNEL_ARGUMENTS ? c->arguments_index : 0;
    if (text.n == 0)
        return;
    if (!is_opening_of(e, choice, channel, call) && render_opening(e, choice, channel, call)) {
        out->error = BUFFER_NOMEM;
        return;
    }
    buffer_append(out, span_of(e->head.p, e->opening_n));
    json_escape(out, text);
    if (!c->delta_extra.n && !c->choice_extra.n) {
        buffer_append(out, e->closing);
        return;
    }
    buffer_append(out, channel == CHANNEL_ARGUMENTS ? SPAN("\"}}]") : SPAN("\""));
    close_chunk(e, out, c, span_of(NULL, 0), false);
}

/* The usual piece: of the same choice and kind as the last one, nothing held back, nothing beside
 * it, nothing to escape. False: it is none of these, or the room is short; nothing is done then. */
static bool put_plain(const struct chunk_emitter *e, struct buffer *out, int choice,
                      enum channel channel, struct span text)
{
    if (!is_opening_of(e, choice, channel, 0) || e->extras_wait || out->error)
        return false;
    const struct choice_state *c = e->choices[choice];
    size_t room = out->cap - out->n, around = e->opening_n + e->closing.n;
    if (c->finished || c->guards[channel].n_held || !text.n || room < around ||
        room - around < text.n || !json_is_plain(text))
        return false;
    char *at = out->p + out->n;
    memcpy(at, e->head.p, e->opening_n);
    memcpy(at + e->opening_n, text.p, text.n);
    memcpy(at + e->opening_n + text.n, e->closing.p, e->closing.n);
    out->n += around + text.n;
    return true;
}

/* Whole characters only. The scratch buffer is used only for pieces that need repair and is given
 * back at once: such pieces are rare. */
static void guarded(struct chunk_emitter *e, struct buffer *out, int choice, enum channel channel,
                    struct span text)
{
    struct choice_state *c = ready(e, out, choice);
    struct buffer scratch;
    struct span whole;
    if (!c)
        return;
    buffer_init(&scratch, text.n * 3 + 64);
    if (text_guard_pass(&c->guards[channel], text, &scratch, &whole))
        out->error = BUFFER_NOMEM;
    else
        put_piece(e, out, choice, c, channel, whole);
    buffer_free(&scratch);
}

void chunk_emitter_text(struct chunk_emitter *e, struct buffer *out, int choice, struct span text)
{
    if (!put_plain(e, out, choice, CHANNEL_TEXT, text))
        guarded(e, out, choice, CHANNEL_TEXT, text);
}

void chunk_emitter_reasoning(struct chunk_emitter *e, struct buffer *out, int choice,
                             struct span text)
{
    if (!put_plain(e, out, choice, CHANNEL_REASONING, text))
        guarded(e, out, choice, CHANNEL_REASONING, text);
}

void chunk_emitter_refusal(struct chunk_emitter *e, struct buffer *out, int choice,
                           struct span text)
{
    guarded(e, out, choice, CHANNEL_REFUSAL, text);
}

/* What a guard still holds can become nothing any more. */
static void flush_channel(struct chunk_emitter *e, struct buffer *out, int choice,
                          struct choice_state *c, enum channel channel)
{
    struct span rest;
    text_guard_end(&c->guards[channel], NULL, &rest);
    put_piece(e, out, choice, c, channel, rest);
}

/* Names and ids come from sites as well: repaired whole. */
static void put_repaired(struct buffer *out, struct span text)
{
    struct buffer scratch;
    buffer_init(&scratch, text.n * 3 + 64);
    json_escape(out, utf8_repair(text, &scratch));
    if (scratch.error)
        out->error = scratch.error;
    buffer_free(&scratch);
}

void chunk_emitter_tool_begin(struct chunk_emitter *e, struct buffer *out, int choice, int index,
                              struct span id, struct span name, struct span extra_content)
{
    struct choice_state *c = ready(e, out, choice);
    if (!c)
        return;
    flush_channel(e, out, choice, c, CHANNEL_ARGUMENTS);
    c->arguments_index = index;
    open_chunk(e, out, choice);
    buffer_append(out, SPAN("\"tool_calls\":[{\"index\":"));
    put_index(out, index);
    buffer_append(out, SPAN(",\"id\":\""));
    put_repaired(out, id);
    buffer_append(out, SPAN("\",\"type\":\"function\",\"function\":{\"name\":\""));
    put_repaired(out, name);
    buffer_append(out, SPAN("\",\"arguments\":\"\"}"));
    if (extra_content.n) {
        buffer_append(out, SPAN(",\"extra_content\":"));
        buffer_append(out, extra_content);
    }
    buffer_append(out, SPAN("}]"));
    close_chunk(e, out, c, span_of(NULL, 0), false);
}

void chunk_emitter_tool_arguments(struct chunk_emitter *e, struct buffer *out, int choice,
                                  int index, struct span piece)
{
    struct choice_state *c = ready(e, out, choice);
    if (!c)
        return;
    if (c->arguments_index != index) {
        flush_channel(e, out, choice, c, CHANNEL_ARGUMENTS);
        c->arguments_index = index;
    }
    guarded(e, out, choice, CHANNEL_ARGUMENTS, piece);
}

static void put_number(struct buffer *out, struct span before, int64_t number)
{
    buffer_append(out, before);
    buffer_int(out, number);
}

void citations_write(struct buffer *out, const struct citation *list, size_t n)
{
    buffer_append(out, SPAN("\"annotations\":["));
    for (size_t i = 0; i < n; i++) {
        if (i)
            buffer_char(out, ',');
        put_number(out, SPAN("{\"type\":\"url_citation\",\"url_citation\":{\"start_index\":"),
                   list[i].start);
        put_number(out, SPAN(",\"end_index\":"), list[i].end);
        buffer_append(out, SPAN(",\"url\":\""));
        put_repaired(out, list[i].url);
        buffer_append(out, SPAN("\",\"title\":\""));
        put_repaired(out, list[i].title);
        buffer_append(out, SPAN("\"}}"));
    }
    buffer_char(out, ']');
}

void chunk_emitter_citations(struct chunk_emitter *e, struct buffer *out, int choice,
                             const struct citation *list, size_t n)
{
    struct choice_state *c = n ? ready(e, out, choice) : NULL;
    if (!c)
        return;
    open_chunk(e, out, choice);
    citations_write(out, list, n);
    close_chunk(e, out, c, span_of(NULL, 0), false);
}

/* ---- extras ---- */

static void add_members(struct chunk_emitter *e, struct room *to, struct span members)
{
    if (!members.n)
        to->n = 0;
    if (!members.n || room_for(e->arena, to, members.n + 1))
        return;
    if (to->n)
        room_put(to, SPAN(","));
    room_put(to, members);
}

void chunk_emitter_extra(struct chunk_emitter *e, enum extra_place place, int choice,
                         struct span members)
{
    if (place == EXTRA_TOP) {
        if (!span_eq(top_of(e), members)) /* the usual case: the same in every chunk */
            render_head(e, members);
        return;
    }
    struct choice_state *c = choice_of(e, NULL, choice);
    e->extras_wait = true;
    if (c)
        add_members(e, place == EXTRA_CHOICE ? &c->choice_extra : &c->delta_extra, members);
}

void chunk_emitter_flush_extras(struct chunk_emitter *e, struct buffer *out)
{
    if (!e->extras_wait)
        return;
    e->extras_wait = false;
    for (int choice = 0; choice < e->n_choices; choice++) {
        struct choice_state *c = e->choices[choice];
        if (!c || (!c->choice_extra.n && !c->delta_extra.n))
            continue;
        if (c->finished) {
            c->choice_extra.n = c->delta_extra.n = 0;
        } else if (ready(e, out, choice)) {
            open_chunk(e, out, choice);
            close_chunk(e, out, c, span_of(NULL, 0), true);
        }
    }
}

/* ---- ends ---- */

static void flush_held(struct chunk_emitter *e, struct buffer *out, int choice,
                       struct choice_state *c)
{
    for (int channel = 0; channel < CHANNELS; channel++)
        flush_channel(e, out, choice, c, (enum channel)channel);
}

void chunk_emitter_finish(struct chunk_emitter *e, struct buffer *out, int choice,
                          struct span reason)
{
    struct choice_state *c = ready(e, out, choice);
    if (!c)
        return;
    flush_held(e, out, choice, c);
    open_chunk(e, out, choice);
    close_chunk(e, out, c, reason, true);
    c->finished = true;
}

/* Is there a member of that name? Nearly never: it is looked for as text first. */
static bool has_member(struct span object, struct span name)
{
    if (!object.n)
        return false;
    const char *end = object.p + object.n;
    bool may = span_find_char(object, '\\') >= 0; /* what is escaped may be any name */
    for (const char *p = object.p; !may && p && (size_t)(end - p) > name.n;) {
        p = memchr(p, name.p[0], (size_t)(end - p) - name.n);
        may = p && memcmp(p, name.p, name.n) == 0;
        p = p ? p + 1 : NULL;
    }
    return may && json_raw_get(object, name.p).p;
}

void usage_write(struct buffer *out, const struct usage_counts *u)
{
    if (u->raw.n) {
        buffer_append(out, span_first(u->raw, u->raw.n - 1)); /* the brace comes below */
    } else {
        put_number(out, SPAN("{\"prompt_tokens\":"), u->prompt);
        put_number(out, SPAN(",\"completion_tokens\":"), u->completion);
        put_number(out, SPAN(",\"total_tokens\":"), u->prompt + u->completion);
        if (u->cached >= 0) {
            put_number(out, SPAN(",\"prompt_tokens_details\":{\"cached_tokens\":"), u->cached);
            buffer_char(out, '}');
        }
        if (u->reasoning >= 0) {
            put_number(out, SPAN(",\"completion_tokens_details\":{\"reasoning_tokens\":"),
                       u->reasoning);
            buffer_char(out, '}');
        }
    }
    if (u->source &&
        !has_member(u->raw, SPAN("dragoman_source"))) { /* a dragoman behind us knows more */
        buffer_append(out, SPAN(",\"dragoman_source\":\""));
        buffer_append(out, span_str(u->source));
        buffer_char(out, '"');
    }
    buffer_char(out, '}');
}

void chunk_emitter_done(struct chunk_emitter *e, struct buffer *out,
                        const struct usage_counts *usage)
{
    if (e->include_usage && usage) {
        buffer_append(out, room_span(&e->head));
        buffer_append(out, SPAN("],\"usage\":"));
        usage_write(out, usage);
        buffer_append(out, SPAN("}\n\n"));
    }
    buffer_append(out, SPAN("data: [DONE]\n\n"));
}

void chunk_emitter_error(struct chunk_emitter *e, struct buffer *out, struct span error_object)
{
    for (int choice = 0; choice < e->n_choices; choice++) {
        struct choice_state *c = e->choices[choice];
        if (c && c->role_sent && !c->finished)
            flush_held(e, out, choice, c);
    }
    buffer_append(out, SPAN("data: {\"error\":"));
    buffer_append(out, error_object);
    buffer_append(out, SPAN("}\n\n"));
}

void chunk_emitter_keep_alive(struct buffer *out) { buffer_append(out, SPAN(": keep-alive\n\n")); }
