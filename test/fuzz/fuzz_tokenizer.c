/*
 * test/fuzz/fuzz_tokenizer.c - any bytes as the tokenizer's table, and any text through the real
 * one.
 *
 * What must hold: no finding; pieces are never empty and never longer than the text; a text cut in
 * two has as many tokens as the whole.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/token_count.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tokenizer *real;

/* build/o200k.ranks, from the project's folder. */
static void open_real(void)
{
    static struct buffer file;
    char piece[65536];
    size_t n;
    FILE *f = fopen("build/o200k.ranks", "rb");
    buffer_init(&file, 1 << 24);
    while (f && (n = fread(piece, 1, sizeof piece, f)) > 0)
        buffer_append(&file, span_of(piece, n));
    if (f)
        fclose(f);
    real = tokenizer_create(buffer_span(&file));
    if (!real)
        abort(); /* run it from the project's folder, after make ranks */
}

static struct tokenizer *get(void *owner) { return real; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct token_source source = {get, NULL};
    if (!real)
        open_real();
    struct span text = span_of((const char *)data, size);
    char *table = malloc(size + 1); /* aligned as a mapped file is */
    if (table && size)
        memcpy(table, data, size);
    struct tokenizer *t = tokenizer_create(span_of(table, size));
    if (t) {
        bool open;
        assert(tokenizer_piece(t, SPAN("some text"), &open) > 0);
        tokenizer_destroy(t);
    }
    free(table);

    struct token_counter whole, cut;
    token_counter_init(&whole, &source);
    token_counter_init(&cut, &source);
    token_counter_add(&whole, text);
    token_counter_add(&cut, span_first(text, size / 3));
    token_counter_total(&cut);
    token_counter_add(&cut, span_from(text, size / 3));
    assert(token_counter_total(&whole) == token_counter_total(&cut));
    token_counter_free(&whole);
    token_counter_free(&cut);
    return 0;
}
