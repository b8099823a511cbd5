/*
 * test_cli_sites.c - the table of sites: README's is what the adapters declare, and the
 * declarations agree with one another.
 */
#include "support/cmocka_all.h"

#include "adapters/adapter.h"
#include "base/span.h"
#include "gateway/cli_sites.h"

#define OPENING "<!-- sites: "
#define CLOSING "<!-- end of sites -->"

static struct buffer printed;

static struct span print(void (*writer)(struct buffer *))
{
    buffer_free(&printed);
    buffer_init(&printed, 1 << 20);
    writer(&printed);
    assert_int_equal(printed.error, 0);
    return buffer_span(&printed);
}

static int forget(void **state)
{
    buffer_free(&printed);
    return 0;
}

static void readme_shows_what_the_adapters_declare(void **state)
{
    static char readme[1 << 20];
    FILE *f = fopen(PROJECT_SOURCE_DIR "/README.md", "r");
    assert_non_null(f);
    size_t n = fread(readme, 1, sizeof readme - 1, f);
    fclose(f);
    readme[n] = '\0';
    char *opening = strstr(readme, OPENING);
    assert_non_null(opening);
    char *from = strchr(opening, '\n'), *to = strstr(opening, CLOSING);
    assert_non_null(from);
    assert_non_null(to);
    *to = '\0';
    struct span table = print(cli_print_sites_markdown);
    if (!span_eq(span_str(from + 1), table))
        fail_msg("README.md's table of sites is not what the adapters declare: make sites");
}

static void every_row_has_every_column(void **state)
{
    struct span rest = print(cli_print_sites_markdown), line;
    size_t lines = 0, rows = 0;
    while (span_split(&rest, '\n', &line)) {
        size_t bars = 0;
        for (size_t i = 0; i < line.n; i++)
            bars += line.p[i] == '|';
        assert_int_equal(bars, line.n ? 12 : 0);
        lines += line.n > 0;
    }
    while (adapters[rows])
        rows++;
    assert_int_equal(lines, 2 + rows);
}

static bool stands_in(struct span text, const char *what)
{
    return span_find(text, span_str(what)) >= 0;
}

static void cells_follow_from_the_declarations(void **state)
{
    struct span table = print(cli_print_sites_markdown);
    assert_true(stands_in(table, "| `zai` | Z.ai (chat.z.ai) | yes | yes | with a token | no | "));
    assert_true(stands_in(table, "| `-search` | no | `token` or `guest = true` | [zai](docs/"));
    assert_true(
        stands_in(table, "| `token`, `email` and `password`, `cookie` or `guest = true` |"));
    assert_true(stands_in(table, "| documents, sound, video | native | as the service |"));
    assert_true(stands_in(table, "| `api_key` or none |")); /* openai: needs no account */
    assert_true(stands_in(table, "| `session_key` or `cookie` |"));
    assert_true(stands_in(table, "| none | [demo](docs/sites/demo.md) |"));
}

static void people_read_it_without_marks(void **state)
{
    struct span text = print(cli_print_sites);
    assert_true(stands_in(text, "kimi: Kimi (www.kimi.com)\n  streaming, reasoning, pictures, "));
    assert_true(stands_in(text, "search (-search), conversation reuse\n"
                                "  credential: refresh_token or token\n\n"));
    assert_false(stands_in(text, "`"));
    assert_false(stands_in(text, "docs/")); /* they need not have the sources */
}

static void notes_are_about_capabilities_that_are_there(void **state)
{
    for (size_t i = 0; adapters[i]; i++) {
        unsigned seen = 0;
        for (const struct capability_note *n = adapters[i]->notes; n && n->capability; n++) {
            assert_int_equal(adapters[i]->capabilities & n->capability, n->capability);
            assert_int_equal(n->capability & (n->capability - 1), 0);
            assert_int_equal(seen & n->capability, 0);
            seen |= n->capability;
        }
    }
}

static bool is_credential(const struct adapter *a, struct span name)
{
    for (const struct credential_field *f = a->credentials; f && f->name; f++) {
        if (span_eq(name, span_str(f->name)))
            return true;
    }
    return false;
}

static void ways_to_sign_in_are_made_of_credentials(void **state)
{
    for (size_t i = 0; adapters[i]; i++) {
        for (const char *const *way = adapters[i]->sign_in; way && *way; way++) {
            struct span rest = span_str(*way), name;
            while (span_split(&rest, '+', &name))
                assert_true(is_credential(adapters[i], name));
        }
    }
}

/* The text of an adapter's page. */
static struct span page_of(const struct adapter *a)
{
    static char text[1 << 18];
    char path[512];
    snprintf(path, sizeof path, PROJECT_SOURCE_DIR "/docs/sites/%s.md", a->name);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("there is no %s", path);
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    assert_true(n < sizeof text);
    return span_of(text, n);
}

static bool names(struct span page, struct span word)
{
    char quoted[2][80];
    snprintf(quoted[0], sizeof quoted[0], "`%.*s`", SPAN_ARGS(word));
    snprintf(quoted[1], sizeof quoted[1], "\"%.*s\"", SPAN_ARGS(word));
    return stands_in(page, quoted[0]) || stands_in(page, quoted[1]);
}

static bool is_option(const struct adapter *a, struct span name)
{
    for (const struct option_field *f = a->options; f && f->name; f++) {
        if (span_eq(span_str(f->name), name))
            return true;
    }
    return false;
}

static void pages_name_every_field_and_option(void **state)
{
    for (size_t i = 0; adapters[i]; i++) {
        const struct adapter *a = adapters[i];
        struct span page = page_of(a), word;
        for (const struct credential_field *f = a->credentials; f && f->name; f++) {
            if (!names(page, span_str(f->name)))
                fail_msg("docs/sites/%s.md lacks the account's %s", a->name, f->name);
        }
        for (const struct option_field *f = a->options; f && f->name; f++) {
            struct span values = span_str(f->values);
            if (!names(page, span_str(f->name)))
                fail_msg("docs/sites/%s.md lacks the option %s", a->name, f->name);
            while (span_split(&values, ' ', &word)) {
                if (word.n && !names(page, word))
                    fail_msg("docs/sites/%s.md lacks %.*s of the option %s", a->name,
                             SPAN_ARGS(word), f->name);
            }
        }
        assert_int_equal(stands_in(page, "`guest = true`"), a->offers_guest);
    }
}

/* What a table says of options that are gone is worse than nothing. */
static void pages_name_no_other_options(void **state)
{
    for (size_t i = 0; adapters[i]; i++) {
        const struct adapter *a = adapters[i];
        struct span page = page_of(a), line, piece;
        ptrdiff_t from = span_find(page, SPAN("\n## Options\n"));
        assert_int_equal(from >= 0, a->options != NULL);
        if (from < 0)
            continue;
        struct span rest = span_from(page, (size_t)from + sizeof "\n## Options\n" - 1);
        while (span_split(&rest, '\n', &line) && !span_starts(line, SPAN("## "))) {
            struct span cell = span_starts(line, SPAN("| `")) ? span_from(line, 2) : SPAN("");
            ptrdiff_t bar = span_find_char(cell, '|');
            cell = span_first(cell, bar < 0 ? 0 : (size_t)bar);
            for (bool quoted = false; span_split(&cell, '`', &piece); quoted = !quoted) {
                if (quoted && !is_option(a, piece))
                    fail_msg("docs/sites/%s.md: there is no option %.*s", a->name,
                             SPAN_ARGS(piece));
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readme_shows_what_the_adapters_declare),
        cmocka_unit_test(every_row_has_every_column),
        cmocka_unit_test(cells_follow_from_the_declarations),
        cmocka_unit_test(people_read_it_without_marks),
        cmocka_unit_test(notes_are_about_capabilities_that_are_there),
        cmocka_unit_test(ways_to_sign_in_are_made_of_credentials),
        cmocka_unit_test(pages_name_every_field_and_option),
        cmocka_unit_test(pages_name_no_other_options),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
