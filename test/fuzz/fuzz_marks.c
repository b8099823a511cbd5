/*
 * test/fuzz/fuzz_marks.c - marks in an answer's text that stand for sources, and addresses that
 * become Markdown.
 *
 * Lines with a TAB before the first empty line are sources (key TAB url), the rest is text. First
 * byte: size of the pieces. Oracles: whole and in pieces the same; text without 【 is what it was;
 * where the filter says that it would pass a text, it does; an address does not end its link.
 */
#include <assert.h>
#include <stdlib.h>

#include "adapters/support.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void filter(struct buffer *out, const struct sources *known, struct arena *arena,
                   struct span text, size_t step)
{
    struct sources sources = *known;
    struct mark_filter f;
    /* numbers are given as marks come */
    sources.list = arena_alloc(arena, (known->n + 1) * sizeof *sources.list);
    if (known->n)
        memcpy(sources.list, known->list, known->n * sizeof *sources.list);
    mark_filter_init(&f, 1 << 24);
    for (size_t at = 0; at < text.n; at += step) {
        struct span piece = span_first(span_from(text, at), step);
        char *copy = malloc(piece.n);
        size_t before = out->n;
        assert(copy);
        memcpy(copy, piece.p, piece.n);
        piece.p = copy;
        bool passes = mark_filter_passes(&f, piece);
        mark_filter_feed(&f, known->n ? &sources : NULL, piece, out);
        assert(!passes || span_eq(span_from(buffer_span(out), before), piece));
        free(copy);
    }
    mark_filter_flush(&f, out);
    mark_filter_free(&f);
}

static void check_address(struct span url)
{
    struct buffer out;
    buffer_init(&out, 1 << 24);
    markdown_url(&out, url);
    for (size_t i = 0; i < out.n; i++)
        assert(out.p[i] != ' ' && out.p[i] != ')' && out.p[i] != '\n');
    buffer_free(&out);
}

static void read_sources(struct arena *arena, struct sources *sources, struct span *rest)
{
    struct span line, before = *rest;
    while (span_split(rest, '\n', &line)) {
        ptrdiff_t tab = span_find_char(line, '\t');
        if (tab < 0) {
            *rest = line.n ? before : *rest;
            return;
        }
        struct span url = span_from(line, (size_t)tab + 1);
        sources_add(arena, sources, span_first(line, (size_t)tab), SPAN("title"), url);
        check_address(url);
        before = *rest;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct sources sources = {0};
    struct buffer whole, pieces;
    if (size < 2)
        return 0;
    struct span rest = span_of((const char *)data + 1, size - 1);
    arena_init(&arena);
    buffer_init(&whole, 1 << 28);
    buffer_init(&pieces, 1 << 28);
    read_sources(&arena, &sources, &rest);
    filter(&whole, &sources, &arena, rest, rest.n + 1);
    filter(&pieces, &sources, &arena, rest, data[0] % 16 + 1u);
    assert(span_eq(buffer_span(&whole), buffer_span(&pieces)));
    if (span_find(rest, SPAN("\xE3\x80\x90")) < 0)
        assert(span_eq(buffer_span(&whole), rest));
    buffer_free(&whole);
    buffer_free(&pieces);
    arena_free(&arena);
    return 0;
}
