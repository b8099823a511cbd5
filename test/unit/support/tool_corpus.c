/*
 * test/unit/support/tool_corpus.c - reads the files of test/tools.
 *
 * A file is prose up to the first line that begins with a keyword's mark ("@case"), then sections.
 * A section's content is what stands between two such lines, without the line break before the
 * second one; an empty line before "@case" belongs to nobody.
 */
#include "test/unit/support/tool_corpus.h"

#include "test/unit/support/cmocka_all.h"
#include <dirent.h>

static const struct span keywords[] = {
    SPAN_INIT("@tools"), SPAN_INIT("@case"),     SPAN_INIT("@in"),   SPAN_INIT("@end"),
    SPAN_INIT("@text"),  SPAN_INIT("@call"),     SPAN_INIT("@half"), SPAN_INIT("@asis"),
    SPAN_INIT("@open"),  SPAN_INIT("@invented"),
};

enum { FILES_MAX = 64, CASES_MAX = 256, CASE_ITEMS_MAX = 32, FILE_MAX = 256 * 1024 };

struct section {
    struct span keyword, argument, body;
    size_t line;
};

struct reader {
    const char *file;
    struct span rest;
    size_t line;
};

static struct span first_line(struct span s)
{
    ptrdiff_t end = span_find_char(s, '\n');
    return end < 0 ? s : span_first(s, (size_t)end);
}

/* The keyword that a line begins with, {NULL,0} when there is none. */
static struct span keyword_of(struct span line)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        struct span k = keywords[i];
        if (span_starts(line, k) && (line.n == k.n || line.p[k.n] == ' '))
            return k;
    }
    return span_of(NULL, 0);
}

/* Cuts a line off the rest. */
static struct span take_line(struct reader *r)
{
    struct span line = first_line(r->rest);
    r->rest = span_from(r->rest, line.n + 1);
    r->line++;
    return line;
}

static bool next_section(struct reader *r, struct section *s)
{
    if (!r->rest.n)
        return false;
    struct span head = take_line(r);
    *s = (struct section){.keyword = keyword_of(head), .line = r->line};
    s->argument = span_trim(span_from(head, s->keyword.n));
    s->body = span_of(r->rest.p, 0);
    while (r->rest.n && !keyword_of(first_line(r->rest)).n) {
        struct span line = take_line(r);
        s->body.n = (size_t)(line.p + line.n - s->body.p);
    }
    bool before_case = !r->rest.n || span_eq(keyword_of(first_line(r->rest)), SPAN("@case"));
    if (before_case && span_ends(s->body, SPAN("\n")))
        s->body.n--;
    return true;
}

static char unescaped(struct span *s)
{
    char c = s->p[0];
    *s = span_from(*s, 1);
    if (c != '\\' || !s->n)
        return c;
    c = s->p[0];
    *s = span_from(*s, 1);
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'x': {
        assert_true(s->n >= 2);
        char byte = (char)(hex_digit(s->p[0]) * 16 + hex_digit(s->p[1]));
        *s = span_from(*s, 2);
        return byte;
    }
    default: return c;
    }
}

/* `escaped` behind a keyword: \n \r \t \xNN and \\ are read, line breaks are left out. */
static struct span content(struct arena *arena, const struct section *s)
{
    if (!span_eq(s->argument, SPAN("escaped")))
        return s->body;
    struct span text = arena_dup(arena, s->body), rest = s->body;
    char *out = (char *)text.p;
    text.n = 0;
    while (rest.n) {
        bool raw_break = rest.p[0] == '\n';
        char c = unescaped(&rest);
        if (!raw_break)
            out[text.n++] = c;
    }
    return text;
}

static struct span read_whole(struct arena *arena, const char *file)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tools/%s", TEST_SOURCE_DIR, file);
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing", path);
    char *p = arena_alloc(arena, FILE_MAX); /* as large as a file may be */
    assert_non_null(p);
    size_t n = fread(p, 1, FILE_MAX - 1, f);
    fclose(f);
    return span_of(p, n);
}

static void read_tools(struct arena *arena, struct span json, struct tool_list *tools)
{
    struct fail fail = {0};
    struct json root;
    struct json_parser *parser = json_parser_create(FILE_MAX);
    assert_non_null(parser);
    struct span kept = arena_dup(arena, span_trim(json));
    assert_int_equal(json_parse(parser, kept, &root), JSON_OK);
    if (tool_list_read(arena, parser, kept, tools, &fail))
        fail_msg("the tool list: %s", fail.message);
    json_parser_destroy(parser);
}

void tool_corpus_tools(struct arena *arena, struct tool_list *tools)
{
    read_tools(arena, read_whole(arena, "tools.json"), tools);
}

static enum tool_end end_named(const struct reader *r, const struct section *s)
{
    if (span_eq(s->argument, SPAN("limit")))
        return TOOL_END_LIMIT;
    if (span_eq(s->argument, SPAN("cut")))
        return TOOL_END_CUT;
    if (!span_eq(s->argument, SPAN("whole")))
        fail_msg("%s:%zu: an unknown end", r->file, s->line);
    return TOOL_END_WHOLE;
}

static void add_item(struct tool_case *c, struct tool_item item)
{
    assert_true(c->n_items < CASE_ITEMS_MAX);
    ((struct tool_item *)c->items)[c->n_items++] = item;
}

/* A section inside a case. False for one that does not belong there. */
static bool read_part(struct arena *arena, const struct reader *r, struct tool_case *c,
                      const struct section *s)
{
    if (span_eq(s->keyword, SPAN("@in")))
        c->in = content(arena, s);
    else if (span_eq(s->keyword, SPAN("@end")))
        c->end = end_named(r, s);
    else if (span_eq(s->keyword, SPAN("@text")))
        add_item(c, (struct tool_item){ITEM_TEXT, {0}, content(arena, s)});
    else if (span_eq(s->keyword, SPAN("@asis")))
        add_item(c, (struct tool_item){ITEM_TEXT, {0}, c->in});
    else if (span_eq(s->keyword, SPAN("@call")))
        add_item(c, (struct tool_item){ITEM_CALL, s->argument, span_trim(s->body)});
    else if (span_eq(s->keyword, SPAN("@half")))
        add_item(c, (struct tool_item){ITEM_HALF, s->argument, s->body});
    else if (span_eq(s->keyword, SPAN("@tools")))
        read_tools(arena, s->body, &c->tools);
    else if (span_eq(s->keyword, SPAN("@invented")))
        c->invented = true;
    else if (span_eq(s->keyword, SPAN("@open")))
        c->open = true;
    else
        return false;
    return true;
}

/* A case that expects nothing, or calls with arguments that are no JSON, tests nothing. */
static void check_case(const char *file, const struct tool_case *c)
{
    if (!c->in.n || (!c->n_items && !c->open) || (c->n_items && c->open))
        fail_msg("%s: \"%.*s\" has no input, or no expectation", file, SPAN_ARGS(c->name));
    for (size_t i = 0; i < c->n_items; i++) {
        if (c->items[i].kind == ITEM_CALL && !tool_is_object(c->items[i].text))
            fail_msg("%s: \"%.*s\" expects arguments that are no object", file, SPAN_ARGS(c->name));
    }
}

static void read_file(struct tool_corpus *corpus)
{
    struct arena *arena = &corpus->arena;
    arena_init(arena);
    struct reader r = {corpus->file, read_whole(arena, corpus->file), 0};
    struct section s;
    struct tool_case *c = NULL;
    struct tool_list tools;
    tool_corpus_tools(arena, &tools);
    corpus->cases = arena_alloc(arena, CASES_MAX * sizeof *corpus->cases);
    assert_non_null(corpus->cases);
    while (r.rest.n && !keyword_of(first_line(r.rest)).n)
        take_line(&r);
    assert_true(r.line > 0); /* what it is, and who produces it */
    while (next_section(&r, &s)) {
        if (span_eq(s.keyword, SPAN("@case"))) {
            assert_true(corpus->n < CASES_MAX);
            c = &corpus->cases[corpus->n++];
            c->name = s.argument;
            c->tools = tools;
            c->items = arena_alloc(arena, CASE_ITEMS_MAX * sizeof *c->items);
        } else if (!c || !read_part(arena, &r, c, &s)) {
            fail_msg("%s:%zu: a section outside of a case", r.file, s.line);
        }
    }
    assert_true(corpus->n > 0);
    for (size_t i = 0; i < corpus->n; i++)
        check_case(corpus->file, &corpus->cases[i]);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tool_corpus *)a)->file, ((const struct tool_corpus *)b)->file);
}

struct tool_corpus *tool_corpus_read(size_t *n_files)
{
    struct tool_corpus *files = calloc(FILES_MAX, sizeof *files);
    DIR *folder = opendir(TEST_SOURCE_DIR "/tools");
    assert_non_null(files);
    assert_non_null(folder);
    *n_files = 0;
    for (struct dirent *e; (e = readdir(folder));) {
        if (!span_ends(span_str(e->d_name), SPAN(".txt")))
            continue;
        assert_true(*n_files < FILES_MAX);
        snprintf(files[(*n_files)++].file, sizeof files->file, "%.90s", e->d_name);
    }
    closedir(folder);
    qsort(files, *n_files, sizeof *files, by_name);
    for (size_t i = 0; i < *n_files; i++)
        read_file(&files[i]);
    return files;
}

void tool_corpus_free(struct tool_corpus *files, size_t n_files)
{
    for (size_t i = 0; i < n_files; i++)
        arena_free(&files[i].arena);
    free(files);
}
