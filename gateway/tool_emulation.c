/*
 * gateway/tool_emulation.c - see tool_emulation.h.
 *
 * One pass over the messages. The hard part is to stay linear with a hostile history: the name that
 * belongs to a result's id is found in a table of the calls so far, not by looking back.
 */
#include "gateway/tool_emulation.h"

#include "adapters/support.h"
#include "gateway/chat_body.h"

enum { TEXT_LIMIT = 1 << 30 };

static const struct span answer_in_words =
    SPAN_INIT("Functions cannot be called now: answer in words, without any <tool_call>.");

/* ---- calls by their ids ---- */

/* Open addressing; the latest call of an id counts, as clients use ids again. */
struct call_names {
    const struct tool_call **slots;
    size_t n; /* a power of two, or 0 */
};

static int make_names(struct arena *arena, const struct turn *turn, struct call_names *names)
{
    size_t calls = 0;
    for (size_t i = 0; i < turn->n_messages; i++)
        calls += turn->messages[i].n_tool_calls;
    *names = (struct call_names){.n = calls ? 2 : 0};
    while (calls && names->n < 2 * calls)
        names->n *= 2;
    names->slots = arena_alloc(arena, (names->n + 1) * sizeof *names->slots);
    return names->slots ? 0 : -1;
}

static const struct tool_call **slot_of(const struct call_names *names, struct span id)
{
    size_t at = (size_t)span_hash(SPAN_HASH, id) & (names->n - 1);
    while (names->slots[at] && !span_eq(names->slots[at]->id, id))
        at = (at + 1) & (names->n - 1);
    return &names->slots[at];
}

static struct span name_of_result(const struct call_names *names, const struct message *m)
{
    const struct tool_call *call = names->n && !m->name.n ? *slot_of(names, m->tool_call_id) : NULL;
    return call ? call->name : m->name;
}

/* ---- messages ---- */

struct rewriter {
    struct arena *arena;
    const struct turn *turn;
    struct call_names names;
    struct message *list; /* of the new turn */
    size_t n;
    struct part *parts; /* of the message at work */
    size_t n_parts, room;
    struct buffer text; /* what will be the next part */
    int index;          /* of the part that the text began with */
    bool failed;
};

static struct part *add_part(struct rewriter *r, const struct part *part)
{
    if (r->n_parts == r->room) {
        size_t room = r->room ? 2 * r->room : 4;
        struct part *grown = arena_alloc(r->arena, room * sizeof *grown);
        r->failed |= !grown;
        if (!grown)
            return NULL;
        if (r->n_parts)
            memcpy(grown, r->parts, r->n_parts * sizeof *grown);
        r->parts = grown;
        r->room = room;
    }
    r->parts[r->n_parts] = *part;
    return &r->parts[r->n_parts++];
}

/* The text so far becomes a part. */
static void end_text(struct rewriter *r)
{
    if (!r->text.n && !r->text.error)
        return;
    struct span text =
        r->text.error ? span_of(NULL, 0) : arena_text(r->arena, buffer_span(&r->text));
    r->failed |= !text.p;
    buffer_clear(&r->text);
    add_part(r, &(struct part){.kind = PART_TEXT, .text = text, .index = r->index});
}

static void begin_parts(struct rewriter *r)
{
    r->parts = NULL;
    r->n_parts = r->room = 0;
    r->index = 0;
}

static struct message *add_message(struct rewriter *r, const struct message *m)
{
    end_text(r);
    struct message *to = &r->list[r->n++];
    *to = *m;
    to->parts = r->parts;
    to->n_parts = r->n_parts;
    begin_parts(r);
    return to;
}

static void line(struct rewriter *r)
{
    if (r->text.n)
        buffer_char(&r->text, '\n');
}

/* Calls where they stood among the parts. */
static void rewrite_calls(struct rewriter *r, const struct message *m)
{
    size_t call = 0;
    for (size_t i = 0; i <= m->n_parts; i++) {
        for (; call < m->n_tool_calls && (m->tool_calls[call].after <= i || i == m->n_parts);
             call++) {
            if (r->text.n || r->n_parts) /* texts of an assistant follow each other directly */
                buffer_char(&r->text, '\n');
            tool_text_call(&r->text, &m->tool_calls[call]);
            if (r->names.n)
                *slot_of(&r->names, m->tool_calls[call].id) = &m->tool_calls[call];
        }
        if (i == m->n_parts)
            break;
        end_text(r);
        add_part(r, &m->parts[i]);
    }
    struct message *to = add_message(r, m);
    to->tool_calls = NULL;
    to->n_tool_calls = 0;
    to->extra = span_of("", 0);
}

static void write_result(struct rewriter *r, const struct message *m)
{
    line(r);
    tool_text_begin_result(&r->text, m->tool_call_id, name_of_result(&r->names, m), m->is_error);
    bool any = false;
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct part *p = &m->parts[i];
        if (p->kind != PART_TEXT) {
            end_text(r);
            add_part(r, p);
            r->index = p->index;
            continue;
        }
        if (any)
            line(r);
        tool_text_inner(&r->text, p->text);
        any = true;
    }
    tool_text_end_result(&r->text);
}

/* A round of results, from `at` on, and the words of the user behind it. How many messages that
 * were. */
static size_t rewrite_results(struct rewriter *r, size_t at)
{
    const struct turn *t = r->turn;
    struct message user = {.role = ROLE_USER, .index = t->messages[at].index};
    size_t n = 0;
    for (; at + n < t->n_messages && t->messages[at + n].role == ROLE_TOOL; n++)
        write_result(r, &t->messages[at + n]);
    const struct message *next = at + n < t->n_messages ? &t->messages[at + n] : NULL;
    if (next && next->role == ROLE_USER && !next->name.n) {
        end_text(r);
        for (size_t i = 0; i < next->n_parts; i++)
            add_part(r, &next->parts[i]);
        user.extra = next->extra;
        n++;
    }
    add_message(r, &user);
    return n;
}

/* ---- the instruction ---- */

static bool is_about_tools(const struct message *m)
{
    return m->role == ROLE_TOOL || m->n_tool_calls > 0;
}

static bool has_history(const struct turn *t)
{
    for (size_t i = 0; i < t->n_messages; i++) {
        if (is_about_tools(&t->messages[i]))
            return true;
    }
    return false;
}

static void write_instruction(struct buffer *out, const struct rewriter *r,
                              const struct tool_wish *wish)
{
    if (wish->choice != TOOL_CHOICE_NONE)
        tool_prompt_write(out, wish);
    else if (has_history(r->turn))
        buffer_append(out, answer_in_words);
}

/* How many messages of the system's stand before all others? */
static size_t count_leading(const struct turn *t)
{
    size_t n = 0;
    while (n < t->n_messages && t->messages[n].role == ROLE_SYSTEM)
        n++;
    return n;
}

/* The system's messages that lead, and the instruction. How many of the turn's those were. */
static size_t rewrite_beginning(struct rewriter *r, const struct tool_wish *wish)
{
    size_t leading = count_leading(r->turn);
    struct buffer text;
    buffer_init(&text, TEXT_LIMIT);
    write_instruction(&text, r, wish);
    const struct message *list = r->turn->messages;
    bool merges = leading && !list[leading - 1].name.n;
    if (text.n && !merges) {
        buffer_append(&r->text, buffer_span(&text));
        add_message(r, &(struct message){.role = ROLE_SYSTEM, .index = -1});
    }
    for (size_t i = 0; i < leading; i++)
        r->list[r->n++] = list[i];
    if (text.n && merges) {
        const struct message *last = &list[leading - 1];
        struct message *to = &r->list[r->n - 1];
        for (size_t i = 0; i < last->n_parts; i++)
            add_part(r, &last->parts[i]);
        buffer_append(&r->text, last->n_parts ? SPAN("\n") : SPAN("")); /* an empty line between */
        buffer_append(&r->text, buffer_span(&text));
        end_text(r);
        to->parts = r->parts;
        to->n_parts = r->n_parts;
        begin_parts(r);
    }
    r->failed |= text.error != BUFFER_OK;
    buffer_free(&text);
    return leading;
}

/* ---- the turn ---- */

bool tool_emulation_fits(const struct turn *t)
{
    return !t->relay.path.n && (t->tools_wanted || t->tools_raw.p || has_history(t));
}

static void note_calls(struct rewriter *r, const struct message *m)
{
    for (size_t k = 0; k < m->n_tool_calls; k++)
        *slot_of(&r->names, m->tool_calls[k].id) = &m->tool_calls[k];
}

static void rewrite(struct rewriter *r, const struct tool_wish *wish, size_t held)
{
    const struct turn *t = r->turn;
    size_t i = held ? held : rewrite_beginning(r, wish);
    for (size_t k = 0; k < held; k++)
        note_calls(r, &t->messages[k]);
    while (i < t->n_messages && !r->failed) {
        const struct message *m = &t->messages[i];
        if (m->role == ROLE_TOOL) {
            i += rewrite_results(r, i);
        } else if (m->n_tool_calls) {
            rewrite_calls(r, m);
            i++;
        } else {
            r->list[r->n++] = *m;
            i++;
        }
    }
}

const struct turn *tool_emulation_turn(struct arena *arena, const struct turn *asked,
                                       const struct tool_wish *wish, size_t held, struct fail *fail)
{
    struct rewriter r = {.arena = arena, .turn = asked};
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    r.list = arena_alloc(arena, (asked->n_messages + 1) * sizeof *r.list);
    if (!turn || !r.list || make_names(arena, asked, &r.names)) {
        fail_memory(fail);
        return NULL;
    }
    buffer_init(&r.text, TEXT_LIMIT);
    rewrite(&r, wish, held);
    buffer_free(&r.text);
    *turn = *asked;
    turn->messages = r.list;
    turn->n_messages = r.n;
    turn->tools_raw = turn->tool_choice_raw = span_of(NULL, 0);
    turn->tools_wanted = turn->tools_foreign = turn->no_parallel_tool_calls = false;
    if (r.failed) {
        fail_memory(fail);
        return NULL;
    }
    return asked->raw.p && chat_body_without_tools(arena, turn, &turn->raw, fail) ? NULL : turn;
}
