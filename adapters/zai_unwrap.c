/*
 * adapters/zai_unwrap.c - takes the wrapping off reasoning, piece by piece (sites/zai.md §8, rule
 * 1): `<details …><summary>…</summary>`, a `> ` on each line, `</details>`.
 *
 * The hard part is that all of it is cut anywhere: whatever is undecided is held.
 */
#include "adapters/zai.h"

void zai_unwrap_reset(struct zai_unwrap *u)
{
    u->at = UNWRAP_PROBE;
    u->line_start = true;
    buffer_clear(&u->held);
}

/* Where the decision about held bytes stands. */
enum held { HELD_OPEN, HELD_DROP, HELD_SEND };

/* Held bytes of the body begin with `>` at a line's start, or with a line break or `<` that may
 * lead to </details>. */
static enum held body_decide(const struct zai_unwrap *u, size_t *drop)
{
    struct span h = buffer_span(&u->held);
    const struct span closing = SPAN("</details>"), closing_line = SPAN("\n</details>");
    *drop = 0;
    if (h.p[0] == '>') {
        if (h.n == 1)
            return HELD_OPEN;
        *drop = h.p[1] == ' ' ? 2 : h.p[1] == '\n' ? 1 : 0;
        return *drop ? HELD_DROP : HELD_SEND;
    }
    struct span wanted = h.p[0] == '\n' ? closing_line : closing;
    if (span_eq(h, wanted)) {
        *drop = h.n;
        return HELD_DROP;
    }
    return span_starts(wanted, h) ? HELD_OPEN : HELD_SEND;
}

/* Takes decided bytes off the held ones. After a decision the rest is looked at again. */
static void body_settle(struct zai_unwrap *u, struct buffer *out)
{
    while (u->held.n) {
        char c = u->held.p[0];
        size_t drop = 0;
        bool mark = c == '>' && u->line_start;
        if (mark || c == '\n' || c == '<') {
            enum held decision = body_decide(u, &drop);
            if (decision == HELD_OPEN)
                return;
            if (decision == HELD_DROP) {
                buffer_consume(&u->held, drop);
                u->line_start = false; /* a line has one mark */
                continue;
            }
        }
        buffer_char(out, c);
        u->line_start = c == '\n';
        buffer_consume(&u->held, 1);
    }
}

/* Runs without anything to decide are the common case: they do not pass through the held bytes. */
static struct span plain_run(const struct zai_unwrap *u, struct span text)
{
    size_t n = 0;
    if (u->held.n || (u->line_start && text.n && text.p[0] == '>'))
        return span_first(text, 0);
    while (n < text.n && text.p[n] != '\n' && text.p[n] != '<')
        n++;
    return span_first(text, n);
}

static void unwrap_body(struct zai_unwrap *u, struct span text, struct buffer *out)
{
    while (text.n) {
        struct span run = plain_run(u, text);
        if (run.n) {
            buffer_append(out, run);
            u->line_start = false;
            text = span_from(text, run.n);
            continue;
        }
        if (buffer_char(&u->held, text.p[0]))
            out->error = u->held.error;
        text = span_from(text, 1);
        body_settle(u, out);
    }
}

void zai_unwrap_feed(struct zai_unwrap *u, struct span text, struct buffer *out)
{
    const struct span opening = SPAN("<details"), summary = SPAN("</summary>");
    size_t before = u->held.n;
    if (u->at == UNWRAP_PROBE || u->at == UNWRAP_HEAD) {
        if (buffer_append(&u->held, text))
            out->error = u->held.error;
        text = span_of("", 0);
    }
    if (u->at == UNWRAP_PROBE) {
        struct span h = buffer_span(&u->held);
        if (h.n < opening.n && span_starts(opening, h))
            return;
        u->at = span_starts(h, opening) ? UNWRAP_HEAD : UNWRAP_BARE;
        if (u->at == UNWRAP_BARE) {
            buffer_append(out, h);
            buffer_clear(&u->held);
            return;
        }
    }
    if (u->at == UNWRAP_BARE) {
        buffer_append(out, text);
        return;
    }
    if (u->at == UNWRAP_HEAD) { /* only what is new can complete the summary's end */
        size_t from = before < summary.n ? 0 : before - summary.n;
        ptrdiff_t at = span_find(span_from(buffer_span(&u->held), from), summary);
        if (at < 0)
            return;
        buffer_clear(&u->rest);
        if (buffer_append(&u->rest,
                          span_from(buffer_span(&u->held), from + (size_t)at + summary.n)))
            out->error = u->rest.error;
        buffer_clear(&u->held);
        u->at = UNWRAP_BREAK;
        text = buffer_span(&u->rest);
    }
    if (u->at == UNWRAP_BREAK && text.n) {
        if (text.p[0] == '\n')
            text = span_from(text, 1);
        u->at = UNWRAP_BODY;
        u->line_start = true;
    }
    if (u->at == UNWRAP_BODY)
        unwrap_body(u, text, out);
}

/* What is held at the end of a stretch is text after all (but a head without its end is wrapping).
 */
void zai_unwrap_flush(struct zai_unwrap *u, struct buffer *out)
{
    if (u->at != UNWRAP_HEAD)
        buffer_append(out, buffer_span(&u->held));
    buffer_clear(&u->held);
}
