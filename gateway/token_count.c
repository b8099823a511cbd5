/*
 * gateway/token_count.c - see token_count.h.
 *
 * Where a piece ends depends on what follows: the rest of a text is kept until that is known, so
 * that any cutting of the text gives the same count.
 */
#include "gateway/token_count.h"

enum {
    /* So much text waits before it is counted. At first it is more: of a short answer whose site
     * tells its usage nobody asks for the count. */
    FIRST_PORTION = 2048,
    PORTION = 512,
    SAMPLE = 128,
    AT_ONCE_MAX = 1 << 20,
    REST_MAX = 1 << 25, /* more than the largest frame of a site and the portions */
    ESTIMATE_UNIT = 20, /* an estimate is kept in twentieths of a token */

    /* OpenAI's rules for chats: each message is wrapped, a name is put into it, and the answer is
     * begun. */
    MESSAGE_TOKENS = 4, /* with its role */
    NAME_TOKENS = 1,
    ANSWER_TOKENS = 3,
    CALL_TOKENS = 3,
    IMAGE_TOKENS = 765 /* 1024 x 1024 in high detail */
};

const char *count_origin_name(enum count_origin origin)
{
    static const char *const names[] = {"estimated", "counted", "upstream"};
    return names[origin];
}

static struct tokenizer *tokenizer_of(const struct token_source *source)
{
    return source && source->get ? source->get(source->owner) : NULL;
}

enum count_origin token_counter_origin(const struct token_source *source)
{
    return tokenizer_of(source) ? COUNT_COUNTED : COUNT_ESTIMATED;
}

/* ---- the estimate ---- */

/* By UTF-8's first byte: four ASCII letters, two and a half of the alphabets, one and a third of
 * the rest of the first plane are a token; an emoji is two. */
static unsigned weight(unsigned char c)
{
    if (c < 0x80)
        return 5;
    if (c < 0xC0)
        return 0;
    return c < 0xE0 ? 8 : c < 0xF0 ? 15 : 40;
}

static uint64_t estimate(struct span text)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    uint64_t sum = 0, word;
    while (text.n) {
        size_t n = text.n < sizeof word ? text.n : sizeof word;
        word = high;
        memcpy(&word, text.p, n);
        if (n == sizeof word && !(word & high)) { /* ASCII, as most is */
            sum += sizeof word * weight(0);
        } else {
            for (size_t i = 0; i < n; i++)
                sum += weight((unsigned char)text.p[i]);
        }
        text = span_from(text, n);
    }
    return sum;
}

static int64_t tokens_of(uint64_t sum)
{
    return (int64_t)((sum + ESTIMATE_UNIT - 1) / ESTIMATE_UNIT);
}

/* ---- whole texts ---- */

/* Tokens of all pieces but the last ones that may still change; *used is where those begin. */
static int64_t count_settled(struct tokenizer *t, struct span text, size_t *used)
{
    int64_t count = 0;
    bool open = false;
    size_t at = 0;
    while (at < text.n) {
        size_t n = tokenizer_piece(t, span_from(text, at), &open);
        if (open)
            break;
        count += tokenizer_count(t, span_of(text.p + at, n));
        at += n;
    }
    *used = at;
    return count;
}

static int64_t count_all(struct tokenizer *t, struct span text)
{
    int64_t count = 0;
    bool open;
    for (size_t n; text.n; text = span_from(text, n)) {
        n = tokenizer_piece(t, text, &open);
        count += tokenizer_count(t, span_first(text, n));
    }
    return count;
}

static int64_t count_text(const struct token_source *source, struct span text)
{
    struct tokenizer *t = text.n ? tokenizer_of(source) : NULL;
    return t ? count_all(t, text) : tokens_of(estimate(text));
}

/* ---- growing texts ---- */

void token_counter_init(struct token_counter *c, const struct token_source *source)
{
    *c = (struct token_counter){.source = source, .portion_end = FIRST_PORTION};
    buffer_init(&c->rest, REST_MAX);
}

void token_counter_sample(struct token_counter *c) { c->samples = true; }

void token_counter_free(struct token_counter *c) { buffer_free(&c->rest); }

/* The block of the first portion is larger than those behind it need. Once for a counter. */
static void give_back(struct token_counter *c)
{
    struct buffer smaller;
    c->is_small = true;
    if (c->rest.cap <= PORTION || c->rest.n > PORTION / 2)
        return;
    buffer_init(&smaller, REST_MAX);
    if (!buffer_reserve(&smaller, PORTION) || buffer_append(&smaller, buffer_span(&c->rest))) {
        buffer_free(&smaller); /* then it stays */
        return;
    }
    buffer_free(&c->rest);
    c->rest = smaller;
}

static void settle(struct token_counter *c)
{
    struct tokenizer *t = tokenizer_of(c->source);
    struct span rest = buffer_span(&c->rest);
    size_t used = rest.n;
    if (t)
        c->settled += count_settled(t, rest, &used);
    else
        c->estimate += estimate(rest);
    buffer_consume(&c->rest, used);
}

/* A piece that does not end is gone through once for each portion of it, not for each text. */
static void settle_portion(struct token_counter *c)
{
    settle(c);
    if (!c->is_small)
        give_back(c);
    c->portion_end = c->rest.n < PORTION / 2 ? PORTION : c->rest.n + PORTION;
}

/* Keeps the beginning. */
static int sample(struct token_counter *c, struct span text)
{
    struct span kept = span_first(text, SAMPLE - c->rest.n);
    if (!c->rest.p && !buffer_reserve_exactly(&c->rest, SAMPLE))
        return -1;
    c->skipped += text.n - kept.n;
    c->estimated = c->skipped > 0;
    return buffer_append(&c->rest, kept) ? -1 : 0;
}

/* The rest has as many tokens a byte as the beginning. */
static int64_t sampled_total(const struct token_counter *c)
{
    int64_t tokens = count_text(c->source, buffer_span(&c->rest));
    return c->rest.n ? tokens + (int64_t)(c->skipped * (uint64_t)tokens / c->rest.n) : 0;
}

int token_counter_add_slowly(struct token_counter *c, struct span text)
{
    if (c->samples)
        return sample(c, text);
    if (text.n > AT_ONCE_MAX) {
        c->estimate += estimate(text);
        c->estimated = true;
        return 0;
    }
    if (c->rest.n && c->rest.n + text.n > c->portion_end)
        settle_portion(c);
    return buffer_append(&c->rest, text) ? -1 : 0;
}

int64_t token_counter_total(struct token_counter *c)
{
    if (c->samples)
        return sampled_total(c);
    if (c->rest.n)
        settle(c);
    return c->settled + tokens_of(c->estimate) +
           (c->rest.n ? count_all(tokenizer_of(c->source), buffer_span(&c->rest)) : 0);
}

/* How much of a text, from its beginning, has `most` tokens. */
static size_t longest(struct tokenizer *t, struct span text, int64_t most)
{
    size_t at = 0;
    bool open;
    while (at < text.n && most > 0) {
        size_t n = tokenizer_piece(t, span_from(text, at), &open);
        struct span piece = span_of(text.p + at, n);
        int64_t count = tokenizer_count(t, piece);
        at += count <= most ? n : tokenizer_prefix(t, piece, most);
        most -= count;
    }
    return at;
}

/* The same by estimate, behind a text of `sum`. */
static size_t longest_estimated(uint64_t sum, struct span text, int64_t most)
{
    size_t at = 0;
    while (at < text.n && tokens_of(sum += weight((unsigned char)text.p[at])) <= most)
        at++;
    return at;
}

static size_t whole_characters(struct span text, size_t n)
{
    while (n && n < text.n && ((unsigned char)text.p[n] & 0xC0) == 0x80)
        n--;
    return n;
}

ptrdiff_t token_counter_take(struct token_counter *c, struct span text, int64_t most)
{
    struct tokenizer *t = tokenizer_of(c->source);
    if (c->rest.n)
        settle(c);
    size_t before = c->rest.n; /* never without a tokenizer */
    if (buffer_append(&c->rest, text))
        return -1;
    size_t end = t ? longest(t, buffer_span(&c->rest), most - c->settled)
                   : longest_estimated(c->estimate, text, most);
    size_t taken = whole_characters(text, end > before ? end - before : 0);
    c->rest.n = before + taken;
    return (ptrdiff_t)taken;
}

/* ---- prompts ---- */

/* A prompt being counted. */
struct prompt_count {
    const struct token_source *source;
    int64_t tokens;
    size_t left; /* bytes that are still counted; what is beyond is estimated */
    enum count_origin origin;
};

static void add_text(struct prompt_count *p, struct span text)
{
    bool counted = text.n <= p->left;
    if (!counted)
        p->origin = COUNT_ESTIMATED;
    p->left = counted ? p->left - text.n : 0;
    p->tokens += counted ? count_text(p->source, text) : tokens_of(estimate(text));
}

static void add_message(struct prompt_count *p, const struct message *m)
{
    p->tokens += MESSAGE_TOKENS + (m->name.n ? NAME_TOKENS : 0);
    add_text(p, m->name);
    for (size_t i = 0; i < m->n_parts; i++) {
        const struct part *part = &m->parts[i];
        add_text(p, part->text);
        if (part->kind == PART_IMAGE)
            p->tokens += IMAGE_TOKENS;
        if (part->kind != PART_TEXT && part->kind != PART_REFUSAL)
            p->origin = COUNT_ESTIMATED;
    }
    for (size_t i = 0; i < m->n_tool_calls; i++) {
        p->tokens += CALL_TOKENS;
        add_text(p, m->tool_calls[i].name);
        add_text(p, m->tool_calls[i].arguments);
    }
}

int64_t token_count_prompt(const struct token_source *source, const struct turn *turn, size_t *left,
                           enum count_origin *origin)
{
    struct prompt_count p = {source, ANSWER_TOKENS, *left, token_counter_origin(source)};
    for (size_t i = 0; i < turn->n_messages; i++)
        add_message(&p, &turn->messages[i]);
    if (turn->tools_wanted)
        add_text(&p, turn->tools_raw);
    *left = p.left;
    *origin = p.origin;
    return p.tokens;
}
