/*
 * gateway/token_count.h - how many tokens a text has, for sites that do not tell (docs/tokens.md).
 *
 * Counted with the o200k encoding where its table is installed, else estimated by the kinds of
 * characters. Sans-IO: the table comes from a token_source.
 */
#ifndef DRAGOMAN_GATEWAY_TOKEN_COUNT_H
#define DRAGOMAN_GATEWAY_TOKEN_COUNT_H

#include "adapters/turn.h"
#include "base/buffer.h"
#include "gateway/tokenizer.h"

/* Where a figure comes from; from the least to the most certain. */
enum count_origin { COUNT_ESTIMATED, COUNT_COUNTED, COUNT_UPSTREAM };
const char *count_origin_name(enum count_origin);

/* Gives the tokenizer when the first text is counted, and not before: NULL = estimate. */
struct token_source {
    struct tokenizer *(*get)(void *owner);
    void *owner;
};

/* Of what is counted with this source. */
enum count_origin token_counter_origin(const struct token_source *);

/* The text of one voice of one answer as it grows. */
struct token_counter {
    const struct token_source *source; /* must outlive the counter */
    int64_t settled;                   /* tokens of what is no longer in `rest` */
    uint64_t estimate;                 /* of what was not counted, in parts of a token */
    bool estimated;                    /* although there is a tokenizer: it was too much at once */
    bool is_small;                     /* `rest` has its lasting size */
    bool samples;                      /* the site will tell: `rest` is the beginning … */
    uint64_t skipped;                  /* … and so many bytes behind it are not looked at */
    size_t portion_end;                /* the size of `rest` at which it is counted */
    struct buffer rest;                /* text whose tokens may change with what follows */
};

void token_counter_init(struct token_counter *, const struct token_source *);
void token_counter_free(struct token_counter *);
/* Before any text: the figure will probably not be needed. Counts nothing as it goes and keeps only
 * the first 128 bytes. Of a longer text the total is what the beginning lets expect, and
 * `estimated`.
 */
void token_counter_sample(struct token_counter *);
int token_counter_add_slowly(struct token_counter *, struct span text);
/* 0, or -1 when memory is short. Costs a copy; the counting is done in larger portions. More than
 * 1 MiB at once is estimated: counting it would hold up the others on the loop. */
static inline int token_counter_add(struct token_counter *c, struct span text)
{
    if (!c->skipped)
        return token_counter_add_slowly(c, text);
    c->skipped += text.n;
    return 0;
}
/* Adds the longest beginning of `text` with which the whole has at most `most` tokens, and returns
 * its length (a whole number of characters). -1 when memory is short. */
ptrdiff_t token_counter_take(struct token_counter *, struct span text, int64_t most);
/* Of everything so far; more may follow. */
int64_t token_counter_total(struct token_counter *);

/* Bytes of the prompts of one request: more would hold up the others on the loop. */
enum { PROMPTS_COUNTED_MAX = 1 << 20 };

/* The whole prompt as OpenAI counts it: texts, tools and a few tokens per message; a picture is
 * taken as 765 tokens, other attachments as none, and the origin is then `estimated`; so it is when
 * the texts are larger than `*left` bytes: what is beyond is not counted. Takes from `*left` what
 * was. */
int64_t token_count_prompt(const struct token_source *, const struct turn *, size_t *left,
                           enum count_origin *);

#endif
