/*
 * adapters/anthropic_model.c - what a model of Anthropic's understands: by the generation that its
 * name tells, and by what the site's own list says (sites/anthropic.md §3, §4.4).
 */
#include "adapters/anthropic.h"

enum { NEWEST = 9999, GENERATION_4_5 = 405, GENERATION_4_6 = 406 };

/* "claude-3-5-sonnet-20241022", "claude-opus-4-20250514", "anthropic.claude-sonnet-4.5-v1:0": the
 * first number is the major one, a short number right behind it the minor one. */
static int generation_of(struct span name)
{
    for (size_t i = 0; i < name.n; i++) {
        size_t digits = 0;
        int major = 0, minor = 0;
        while (i + digits < name.n && name.p[i + digits] >= '0' && name.p[i + digits] <= '9')
            digits++;
        if (digits == 0)
            continue;
        uint64_t n;
        if (digits > 2 || !span_to_u64(span_of(name.p + i, digits), 99, &n))
            break;
        major = (int)n;
        struct span rest = span_from(name, i + digits);
        size_t more = 1;
        while (more < rest.n && rest.p[more] >= '0' && rest.p[more] <= '9')
            more++;
        if ((span_starts(rest, SPAN("-")) || span_starts(rest, SPAN("."))) && more > 1 &&
            more <= 3 && span_to_u64(span_of(rest.p + 1, more - 1), 99, &n))
            minor = (int)n;
        return major * 100 + minor;
    }
    return NEWEST; /* "claude-mythos-preview": names without a number came last */
}

static int64_t most_tokens(int generation, bool opus)
{
    if (generation < 305)
        return 4096;
    if (generation < 307)
        return 8192;
    if (generation < GENERATION_4_6)
        return opus && generation < GENERATION_4_5 ? 32000 : 64000;
    return generation > GENERATION_4_6 || opus ? 128000 : 64000;
}

struct anthropic_model anthropic_model_named(struct span id)
{
    ptrdiff_t at = span_find_nocase(id, SPAN("claude"));
    if (at < 0)
        return (struct anthropic_model){.sampling = true, .budget = true, .prefill = true};
    struct span name = span_from(id, (size_t)at + 6);
    bool opus = span_find_nocase(name, SPAN("opus")) >= 0;
    int g = generation_of(name);
    if (span_find_nocase(name, SPAN("mythos")) >= 0 || span_find_nocase(name, SPAN("fable")) >= 0)
        g = NEWEST;
    return (struct anthropic_model){
        .max_tokens = most_tokens(g, opus),
        .sampling = g <= GENERATION_4_6,
        .one_sampling = g >= 401,
        .budget = g >= 307 && g <= GENERATION_4_5,
        .adaptive = g >= GENERATION_4_6,
        .effort = g >= GENERATION_4_6 || (opus && g == GENERATION_4_5),
        .xhigh = g > GENERATION_4_6,
        .max = g > GENERATION_4_6 || (opus && g == GENERATION_4_6),
        .formats = g >= GENERATION_4_5 || (opus && g == 401),
        .prefill = g <= GENERATION_4_5,
    };
}

/* ---- the site's own list ---- */

static void note_support(struct json_writer *w, const char *key, struct json capability)
{
    struct json supported = json_get(capability, "supported");
    if (json_is(supported, JSON_BOOL))
        json_member_bool(w, key, json_bool(supported, false));
}

/* What a turn wants to know of the model, as a small JSON object. */
static void write_note(struct buffer *out, struct json entry)
{
    struct json caps = json_get(entry, "capabilities");
    struct json effort = json_get(caps, "effort"), thinking = json_get(caps, "thinking");
    struct json types = json_get(thinking, "types");
    struct json_writer w = json_writer(out);
    int64_t most;
    buffer_clear(out);
    json_begin_object(&w);
    if (json_int(json_get(entry, "max_tokens"), &most) && most > 0)
        json_member_int(&w, "max_tokens", most);
    note_support(&w, "formats", json_get(caps, "structured_outputs"));
    note_support(&w, "effort", effort);
    note_support(&w, "max", json_get(effort, "max"));
    note_support(&w, "xhigh", json_get(effort, "xhigh"));
    if (json_is(json_get(thinking, "supported"), JSON_BOOL) &&
        !json_bool(json_get(thinking, "supported"), true)) {
        json_member_bool(&w, "adaptive", false);
        json_member_bool(&w, "budget", false);
    } else {
        note_support(&w, "adaptive", json_get(types, "adaptive"));
        note_support(&w, "budget", json_get(types, "enabled"));
    }
    json_end_object(&w);
}

void anthropic_model_noted(struct turn_run *run, struct anthropic_model *m)
{
    struct json note;
    if (!run->model_note.n || json_parse(run->json, run->model_note, &note) != JSON_OK)
        return;
    int64_t most;
    if (json_int(json_get(note, "max_tokens"), &most) && most > 0)
        m->max_tokens = most;
    m->formats = json_bool(json_get(note, "formats"), m->formats);
    m->effort = json_bool(json_get(note, "effort"), m->effort);
    m->max = json_bool(json_get(note, "max"), m->max);
    m->xhigh = json_bool(json_get(note, "xhigh"), m->xhigh);
    m->adaptive = json_bool(json_get(note, "adaptive"), m->adaptive);
    m->budget = json_bool(json_get(note, "budget"), m->budget);
}

int anthropic_models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct anthropic *a = run->state;
    struct json root;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK ||
        !json_is(json_get(root, "data"), JSON_ARRAY))
        return fail_set(run->fail, FAIL_PROTOCOL, "%.*s answered no model list",
                        SPAN_ARGS(run->site->name));
    struct buffer note;
    buffer_init(&note, 4096);
    int error = 0;
    struct json_iter it = json_each(json_get(root, "data"));
    while (!error && json_next(&it)) {
        struct model_entry entry = {.id = json_get_text(it.value, "id")};
        write_note(&note, it.value);
        run->model_note = note.error ? span_of("", 0) : buffer_span(&note);
        if (entry.id.n && sink->put(sink->owner, &entry))
            error = fail_memory(run->fail);
    }
    run->model_note = span_of("", 0);
    buffer_free(&note);
    struct span last = json_get_text(root, "last_id");
    if (error || !a || !json_bool(json_get(root, "has_more"), false) || !last.n ||
        span_eq(last, a->after))
        return error;
    a->after = arena_dup(run->arena, last);
    return a->after.p ? MODELS_MORE : fail_memory(run->fail);
}
