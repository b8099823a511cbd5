/*
 * gateway/tokenizer.h - counts tokens as OpenAI's o200k encoding does (byte-pair encoding).
 *
 * Sans-IO: reads the table that scripts/ranks/make.mjs wrote, wherever it lies in memory. A text is
 * cut into pieces by the encoding's pattern; a piece is a token by itself or is merged out of its
 * bytes, always the pair of the lowest rank first.
 */
#ifndef DRAGOMAN_GATEWAY_TOKENIZER_H
#define DRAGOMAN_GATEWAY_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

struct tokenizer;

/* Over the table's bytes, which are not copied and must outlive it. NULL when they are no such
 * table, or memory is short. */
struct tokenizer *tokenizer_create(struct span table);
void tokenizer_destroy(struct tokenizer *);

/* Longer pieces (a run of letters without any gap) are cut here and may count a token more. */
enum { TOKENIZER_PIECE_MAX = 4 * 1024 };

/* Length of the first piece of a text that is not empty. `*open`: more text behind it might change
 * where it ends. Any bytes are taken; what is no UTF-8 counts as signs. */
size_t tokenizer_piece(const struct tokenizer *, struct span text, bool *open);
/* Tokens in one piece. */
int64_t tokenizer_count(struct tokenizer *, struct span piece);
/* Length of the piece's first `most` tokens. */
size_t tokenizer_prefix(struct tokenizer *, struct span piece, int64_t most);

#endif
