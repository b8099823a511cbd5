/*
 * adapters/openai_shape.c - see openai_shape.h.
 */
#include "adapters/openai_shape.h"

#include "adapters/support.h"
#include "base/json_raw.h"

enum {
    HOLE_TEXT,
    HOLE_PROMPT,
    HOLE_COMPLETION,
    HOLE_TOTAL,
    HOLE_ID,
    HOLE_CREATED,
    HOLE_PAD,
    HOLES
};

/* The note of a shape. The finish reason and the members at the top stand behind it. */
struct note {
    bool usage, choice, reasoning;
    uint8_t first, last;    /* which of the counts stands first and last in the usage */
    int16_t number;         /* of the choice */
    uint16_t before, after; /* bytes of the usage before the first count, and behind the last */
    uint16_t finish, top;
    int64_t cached, thought; /* of the usage: tokens */
};

enum { NOTE_MAX = 1024 };

/* An event's type and a whole answer, which has none, mean different things. */
static struct span label_of(const struct openai_wire *w, const struct frame *frame)
{
    return w->whole ? SPAN("\n") : frame->type;
}

/* ---- finding ---- */

static struct delta_usage usage_of(const struct note *note, const struct json_seen *seen)
{
    const char *begin = seen->numbers[note->first].p - note->before;
    struct span last = seen->numbers[note->last];
    return (struct delta_usage){
        .prompt = json_seen_number(seen, HOLE_PROMPT),
        .completion = json_seen_number(seen, HOLE_COMPLETION),
        .total = json_seen_number(seen, HOLE_TOTAL),
        .cached = note->cached,
        .reasoning = note->thought,
        .raw = span_of(begin, (size_t)(last.p + last.n + note->after - begin)),
    };
}

bool openai_shape_find(struct turn_run *run, const struct openai_wire *w, const struct frame *frame,
                       struct openai_event *event)
{
    struct json_seen seen;
    if (!run->shapes)
        return false;
    if (!json_shapes_match(run->shapes, label_of(w, frame), frame->data, run->scratch, &seen))
        return false;
    const struct note *note = (const void *)seen.note.p;
    event->has_usage = note->usage;
    event->has_choice = note->choice;
    event->reasoning = note->reasoning;
    event->choice = note->number;
    if (note->usage)
        event->usage = usage_of(note, &seen);
    event->text = seen.text;
    event->finish = span_of((const char *)(note + 1), note->finish);
    event->top = span_of(event->finish.p + note->finish, note->top);
    return true;
}

/* ---- keeping ---- */

static struct span text_in(struct span text, const struct openai_plain *plain)
{
    struct json_raw_iter choices = json_raw_each(json_raw_get(text, "choices"));
    if (!plain->key || !json_raw_next(&choices))
        return span_of(NULL, 0);
    return json_raw_get(json_raw_get(choices.value, plain->part), plain->key);
}

/* False when the usage does not stand in the text as it is told, or not with its counts. */
static bool find_counts(struct span text, struct span told, struct json_hole *holes,
                        struct note *note)
{
    static const char *const names[] = {"prompt_tokens", "completion_tokens", "total_tokens"};
    struct span usage = json_raw_get(text, "usage");
    note->first = note->last = HOLE_PROMPT;
    for (int i = HOLE_PROMPT; i <= HOLE_TOTAL; i++) {
        struct span raw = json_raw_get(usage, names[i - HOLE_PROMPT]);
        if (!raw.n)
            return false;
        holes[i] = (struct json_hole){JSON_HOLE_NUMBER, raw};
        note->first = raw.p < holes[note->first].raw.p ? (uint8_t)i : note->first;
        note->last = raw.p > holes[note->last].raw.p ? (uint8_t)i : note->last;
    }
    struct span last = holes[note->last].raw;
    note->before = (uint16_t)(holes[note->first].raw.p - usage.p);
    note->after = (uint16_t)(usage.p + usage.n - (last.p + last.n));
    return span_eq(usage, told) && usage.n <= UINT16_MAX;
}

void openai_shape_keep(struct turn_run *run, const struct openai_wire *w, const struct frame *frame)
{
    const struct openai_plain *plain = &w->plain;
    struct json_hole holes[HOLES] = {[HOLE_TEXT].kind = JSON_HOLE_TEXT};
    char bytes[NOTE_MAX];
    if (!run->shapes || sizeof(struct note) + plain->finish.n + plain->top.n > NOTE_MAX)
        return;
    struct note note = {
        .usage = plain->usage,
        .choice = plain->choice,
        .reasoning = plain->reasoning,
        .number = (int16_t)plain->number,
        .finish = (uint16_t)plain->finish.n,
        .top = (uint16_t)plain->top.n,
        .cached = w->usage.cached,
        .thought = w->usage.reasoning,
    };
    struct buffer out = {.p = bytes, .cap = sizeof bytes, .limit = sizeof bytes};
    struct span text = frame->data;
    holes[HOLE_TEXT].raw = text_in(text, plain);
    if (plain->usage && !find_counts(text, w->usage.raw, holes, &note))
        return;
    holes[HOLE_ID] = (struct json_hole){JSON_HOLE_ANY, json_raw_get(text, "id")};
    holes[HOLE_CREATED] = (struct json_hole){JSON_HOLE_ANY, json_raw_get(text, "created")};
    holes[HOLE_PAD] = (struct json_hole){JSON_HOLE_ANY, json_raw_get(text, "obfuscation")};
    buffer_append(&out, span_of((const char *)&note, sizeof note));
    buffer_append(&out, plain->finish);
    buffer_append(&out, plain->top);
    json_shapes_learn(run->shapes, label_of(w, frame), text, holes, HOLES, buffer_span(&out));
}
