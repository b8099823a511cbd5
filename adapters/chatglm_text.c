/*
 * adapters/chatglm_text.c - what is new in a text that chatglm.cn sends (sites/chatglm.md §6.3).
 *
 * The site has two ways to tell a text, and does not say which: fragments and then the whole text
 * once more, or the whole text so far again and again. Where the second piece begins with the first
 * it could be either: "哈", "哈" may be a repeated event or a person laughing. Then texts wait, and
 * only what follows can tell.
 */
#include "adapters/chatglm.h"

void chatglm_text_init(struct chatglm_text *t)
{
    growing_init(&t->sent, CHATGLM_TEXT_LIMIT);
    buffer_init(&t->waiting, CHATGLM_TEXT_LIMIT);
}

void chatglm_text_free(struct chatglm_text *t)
{
    growing_free(&t->sent);
    buffer_free(&t->waiting);
}

enum buffer_error chatglm_text_error(const struct chatglm_text *t)
{
    return t->sent.sent.error ? t->sent.sent.error : t->waiting.error;
}

static void forget_waiting(struct chatglm_text *t)
{
    if (!t->waiting.error) /* an error stays to be seen */
        buffer_clear(&t->waiting);
    t->last = t->longest_at = t->longest_n = 0;
    t->longer = 0;
}

static void send_piece(struct chatglm_text *t, struct span piece, struct buffer *out)
{
    growing_append(&t->sent, piece);
    buffer_append(out, piece);
}

static enum chatglm_fit send_beyond(struct chatglm_text *t, struct span text, struct buffer *out)
{
    struct span fresh;
    enum growth growth = growing_whole(&t->sent, text, &fresh);
    buffer_append(out, fresh);
    return growth == GROWTH_EDITED || growth == GROWTH_SHRUNK ? FITS_NOT : FITS;
}

static struct span longest_of(const struct chatglm_text *t)
{
    return t->longest_n ? span_of(t->waiting.p + t->longest_at, t->longest_n)
                        : buffer_span(&t->sent.sent);
}

/* Puts a text behind those that wait, and looks whether it tells the form. */
static enum chatglm_form look_at(struct chatglm_text *t, struct span text)
{
    struct span longest = longest_of(t);
    bool continues = span_starts(text, longest), longer = continues && text.n > longest.n;
    t->last = t->waiting.n;
    buffer_append(&t->waiting, text);
    if (!continues)
        return FORM_FRAGMENTS;
    if (longer) {
        t->longest_at = t->last;
        t->longest_n = text.n;
    }
    return longer && ++t->longer == 2 ? FORM_GROWING : FORM_UNKNOWN;
}

enum chatglm_fit chatglm_text_take(struct chatglm_text *t, enum chatglm_form *form, bool whole,
                                   struct span text, struct buffer *out)
{
    enum chatglm_fit fit = FITS;
    if (whole) {
        forget_waiting(t);
        return send_beyond(t, text, out);
    }
    if (*form == FORM_GROWING)
        return send_beyond(t, text, out);
    if (*form == FORM_FRAGMENTS || t->sent.sent.n == 0) {
        send_piece(t, text, out);
        return FITS;
    }
    /* Nothing said would look like a fragment. With an error the turn is about to end. */
    if (!text.n || t->waiting.error)
        return FITS;
    *form = look_at(t, text);
    if (t->waiting.error || *form == FORM_UNKNOWN)
        return FITS;
    struct span all = buffer_span(&t->waiting);
    if (*form == FORM_FRAGMENTS)
        send_piece(t, all, out);
    else
        fit = send_beyond(t, span_from(all, t->last), out);
    forget_waiting(t);
    return fit;
}

void chatglm_text_settle(struct chatglm_text *t, struct buffer *out)
{
    if (t->waiting.n && !t->waiting.error)
        send_beyond(t, span_from(buffer_span(&t->waiting), t->last), out);
    forget_waiting(t);
}
