/*
 * gateway/text_joiner.c - see text_joiner.h.
 */
#include "gateway/text_joiner.h"

#include "gateway/seam.h"

/* 300 characters of continuation, each of four bytes, and the piece that brought the last. */
enum { HELD_MAX = 64 * 1024 * 1024 };

void text_joiner_init(struct text_joiner *j)
{
    *j = (struct text_joiner){0};
    buffer_init(&j->text, JOINER_TEXT_MAX);
    buffer_init(&j->held, HELD_MAX);
    buffer_init(&j->scratch, HELD_MAX);
    buffer_init(&j->all, HELD_MAX);
}

void text_joiner_free(struct text_joiner *j)
{
    buffer_free(&j->text);
    buffer_free(&j->held);
    buffer_free(&j->scratch);
    buffer_free(&j->all);
}

/* Text that cannot be kept whole passes all the same: it is only not gone on with any more. */
static int keep(struct text_joiner *j, struct span text)
{
    return buffer_append(&j->text, text) == BUFFER_NOMEM ? -1 : 0;
}

/* Where does what was held back join? */
static int join(struct text_joiner *j, struct span *out)
{
    size_t repeated = 0;
    struct span held = buffer_span(&j->held);
    j->holding = false;
    *out = span_of("", 0);
    if (seam_find(buffer_span(&j->text), held, &repeated) == SEAM_STARTED_OVER) {
        j->started_over = true;
        return 0;
    }
    *out = span_from(held, repeated);
    return keep(j, *out);
}

/* `text` is valid UTF-8. */
static int pass_whole(struct text_joiner *j, struct span text, struct span *out)
{
    *out = j->started_over ? span_of("", 0) : text;
    if (j->started_over)
        return 0;
    if (!j->holding)
        return keep(j, text);
    *out = span_of("", 0);
    if (buffer_append(&j->held, text))
        return -1;
    return seam_is_decidable(buffer_span(&j->held)) ? join(j, out) : 0;
}

int text_joiner_pass(struct text_joiner *j, struct span piece, struct span *out)
{
    struct span text;
    if (text_guard_pass(&j->guard, piece, &j->scratch, &text))
        return -1;
    return pass_whole(j, text, out);
}

int text_joiner_run_over(struct text_joiner *j, struct span *out)
{
    *out = span_of("", 0);
    return j->holding && j->held.n ? join(j, out) : 0;
}

int text_joiner_end(struct text_joiner *j, struct span *out)
{
    struct span torn, text, rest;
    buffer_clear(&j->all);
    if (text_guard_end(&j->guard, &j->scratch, &torn) || pass_whole(j, torn, &text) ||
        buffer_append(&j->all, text) || text_joiner_run_over(j, &rest) ||
        buffer_append(&j->all, rest))
        return -1;
    *out = buffer_span(&j->all);
    return 0;
}

void text_joiner_continue(struct text_joiner *j)
{
    j->guard = (struct text_guard){0};
    buffer_clear(&j->held);
    j->begun_at = j->text.n;
    j->holding = j->text.n > 0;
    j->started_over = false;
}

bool text_joiner_has_new(const struct text_joiner *j) { return j->text.n > j->begun_at; }
