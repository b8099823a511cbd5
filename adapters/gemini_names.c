/*
 * adapters/gemini_names.c - what names say: of a model, what it can do; of a function, whether
 * Google takes it (sites/gemini.md §4.3).
 *
 * A function's name that Google does not take goes out in another form and comes back as it was.
 * The form depends on the name alone, so that calls of former turns fit without anything
 * remembered.
 */
#include "adapters/gemini.h"

enum { NAME_MAX_BYTES = 128 };

/* ---- models ---- */

int gemini_version(struct span model)
{
    struct span rest = span_from(model, 7);
    int major = 0, minor = 0;
    size_t i = 0;
    if (!span_starts(model, SPAN("gemini-")))
        return 0;
    for (; i < rest.n && i < 3 && rest.p[i] >= '0' && rest.p[i] <= '9'; i++)
        major = major * 10 + (rest.p[i] - '0');
    if (i == 0)
        return 0;
    if (i + 1 < rest.n && rest.p[i] == '.' && rest.p[i + 1] >= '0' && rest.p[i + 1] <= '9')
        minor = rest.p[i + 1] - '0';
    return major * 10 + minor;
}

static bool has(struct span text, const char *word) { return span_find(text, span_str(word)) >= 0; }

enum gemini_generation gemini_generation(struct span model, struct span note)
{
    int version = gemini_version(model);
    bool odd = has(model, "-image") || has(model, "-tts") || has(model, "-live") ||
               has(model, "embedding");
    bool thinks = note.n ? span_eq(note, GEMINI_NOTE_THINKS) : version >= 25 && !odd;
    if (!thinks)
        return GEMINI_PLAIN;
    return version >= 30 ? GEMINI_LEVELS : GEMINI_BUDGETS;
}

/* ---- functions ---- */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == ':' || c == '-';
}

static bool is_legal(struct span name)
{
    if (name.n == 0 || name.n > NAME_MAX_BYTES || !is_letter(name.p[0]))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (!is_name_char(name.p[i]))
            return false;
    }
    return true;
}

struct span gemini_legal_name(struct turn_run *run, struct gemini *g, struct span given)
{
    if (is_legal(given))
        return given;
    if (g->names && span_eq(g->names->given, given)) /* else it is made, and listed, once more */
        return g->names->legal;
    struct gemini_name *name = arena_alloc(run->arena, sizeof *name);
    if (!name)
        return span_of(NULL, 0);
    *name = (struct gemini_name){given, make_legal_name(run->arena, given, is_name_char, is_letter),
                                 g->names};
    g->names = name;
    return name->legal;
}

struct span gemini_given_name(const struct gemini *g, struct span legal)
{
    for (const struct gemini_name *known = g->names; known; known = known->next) {
        if (span_eq(known->legal, legal))
            return known->given;
    }
    return legal;
}
