/*
 * gateway/cli_sites.c - see cli_sites.h.
 *
 * One table of columns serves both forms: each column writes its cell, in Markdown, from one
 * adapter's declarations. People at a terminal get the cells that say something, without marks.
 */
#include "gateway/cli_sites.h"

#include "adapters/adapter.h"

enum { CELL_MAX = 4096 };

/* ---- cells ---- */

static void write_name(const struct adapter *a, struct buffer *out)
{
    buffer_printf(out, "`%s`", a->name);
}

static void write_title(const struct adapter *a, struct buffer *out)
{
    buffer_append(out, span_str(a->title));
}

/* What is said of a capability that the adapter has. */
static const char *note_of(const struct adapter *a, unsigned capability, const char *otherwise)
{
    for (const struct capability_note *n = a->notes; n && n->capability; n++) {
        if (n->capability == capability)
            return n->text;
    }
    return otherwise;
}

static void write_capability(const struct adapter *a, unsigned capability, struct buffer *out)
{
    bool has = (a->capabilities & capability) != 0;
    buffer_append(out, span_str(has ? note_of(a, capability, "yes") : "no"));
}

static void write_streaming(const struct adapter *a, struct buffer *out)
{
    buffer_append(out, a->on_frame || a->local ? SPAN("yes") : SPAN("no"));
}

static void write_reasoning(const struct adapter *a, struct buffer *out)
{
    write_capability(a, CAP_REASONING, out);
}

static void write_pictures(const struct adapter *a, struct buffer *out)
{
    write_capability(a, CAP_IMAGE, out);
}

static void write_files(const struct adapter *a, struct buffer *out)
{
    static const struct {
        unsigned capability;
        const char *kind;
    } rows[] = {{CAP_FILE, "documents"}, {CAP_AUDIO, "sound"}, {CAP_VIDEO, "video"}};
    bool any = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!(a->capabilities & rows[i].capability))
            continue;
        buffer_append(out, any ? SPAN(", ") : SPAN(""));
        buffer_append(out, span_str(note_of(a, rows[i].capability, rows[i].kind)));
        any = true;
    }
    if (!any)
        buffer_append(out, SPAN("no"));
}

/* Where a site has none of its own, the gateway teaches them to the model in words. */
static void write_tools(const struct adapter *a, struct buffer *out)
{
    buffer_append(out, a->capabilities & CAP_TOOLS ? SPAN("native") : SPAN("emulated"));
}

static void write_search(const struct adapter *a, struct buffer *out)
{
    write_capability(a, CAP_SEARCH, out);
}

static void write_reuse(const struct adapter *a, struct buffer *out)
{
    write_capability(a, CAP_CONVERSATION, out);
}

/* "email+password" as "`email` and `password`". */
static void write_way(struct buffer *out, struct span way)
{
    struct span name;
    for (bool first = true; span_split(&way, '+', &name); first = false)
        buffer_printf(out, "%s`%.*s`", first ? "" : " and ", SPAN_ARGS(name));
}

static size_t count_ways(const struct adapter *a)
{
    size_t n = 0;
    while (a->sign_in ? a->sign_in[n] != NULL : a->credentials && a->credentials[n].name)
        n++;
    return n;
}

static void write_credential(const struct adapter *a, struct buffer *out)
{
    size_t n = count_ways(a);
    bool nothing = n > 0 && !a->needs_account;
    for (size_t i = 0; i < n; i++) {
        bool last = i == n - 1 && !a->offers_guest && !nothing;
        buffer_append(out, i == 0 ? SPAN("") : last ? SPAN(" or ") : SPAN(", "));
        write_way(out, span_str(a->sign_in ? a->sign_in[i] : a->credentials[i].name));
    }
    if (a->offers_guest)
        buffer_append(out, n ? SPAN(" or `guest = true`") : SPAN("`guest = true`"));
    if (nothing)
        buffer_append(out, SPAN(" or none"));
    if (!n && !a->offers_guest)
        buffer_append(out, SPAN("none"));
}

static void write_page(const struct adapter *a, struct buffer *out)
{
    buffer_printf(out, "[%s](docs/sites/%s.md)", a->name, a->name);
}

static const struct column {
    const char *name;
    void (*write)(const struct adapter *, struct buffer *);
} columns[] = {
    {"adapter", write_name},
    {"site", write_title},
    {"streaming", write_streaming},
    {"reasoning", write_reasoning},
    {"pictures", write_pictures},
    {"files", write_files},
    {"tools", write_tools},
    {"search", write_search},
    {"conversation reuse", write_reuse},
    {"credential", write_credential},
    {"page", write_page},
};

enum { COLUMNS = sizeof columns / sizeof *columns };

/* ---- Markdown ---- */

void cli_print_sites_markdown(struct buffer *out)
{
    for (size_t c = 0; c < COLUMNS; c++)
        buffer_printf(out, "| %s ", columns[c].name);
    buffer_append(out, SPAN("|\n"));
    for (size_t c = 0; c < COLUMNS; c++)
        buffer_append(out, SPAN("|---"));
    buffer_append(out, SPAN("|\n"));
    for (size_t i = 0; adapters[i]; i++) {
        for (size_t c = 0; c < COLUMNS; c++) {
            buffer_append(out, SPAN("| "));
            columns[c].write(adapters[i], out);
            buffer_char(out, ' ');
        }
        buffer_append(out, SPAN("|\n"));
    }
}

/* ---- for people ---- */

static bool is_capability(const struct column *c)
{
    return c->write != write_name && c->write != write_title && c->write != write_credential &&
           c->write != write_page;
}

static void append_unmarked(struct buffer *out, struct span markdown)
{
    for (size_t i = 0; i < markdown.n; i++) {
        if (markdown.p[i] != '`')
            buffer_char(out, markdown.p[i]);
    }
}

/* "streaming, reasoning, pictures (with a token), …": what the site has. */
static void print_capabilities(const struct adapter *a, struct buffer *out)
{
    bool any = false;
    for (size_t c = 0; c < COLUMNS; c++) {
        struct buffer cell;
        if (!is_capability(&columns[c]))
            continue;
        buffer_init(&cell, CELL_MAX);
        columns[c].write(a, &cell);
        if (!span_eq(buffer_span(&cell), SPAN("no"))) {
            buffer_printf(out, "%s%s", any ? ", " : "", columns[c].name);
            any = true;
            if (!span_eq(buffer_span(&cell), SPAN("yes"))) {
                buffer_append(out, SPAN(" ("));
                append_unmarked(out, buffer_span(&cell));
                buffer_char(out, ')');
            }
        }
        buffer_free(&cell);
    }
}

void cli_print_sites(struct buffer *out)
{
    for (size_t i = 0; adapters[i]; i++) {
        struct buffer cell;
        buffer_printf(out, "%s%s: %s\n  ", i ? "\n" : "", adapters[i]->name, adapters[i]->title);
        print_capabilities(adapters[i], out);
        buffer_init(&cell, CELL_MAX);
        write_credential(adapters[i], &cell);
        buffer_append(out, SPAN("\n  credential: "));
        append_unmarked(out, buffer_span(&cell));
        buffer_char(out, '\n');
        buffer_free(&cell);
    }
}
