/*
 * gateway/answer_hold.c - see answer_hold.h. One buffer: a head of fixed size before each text.
 */
#include "gateway/answer_hold.h"

enum { HOLD_LIMIT = 128 * 1024 * 1024 };

struct head {
    int choice, kind;
    size_t n;
};

void answer_hold_begin(struct answer_hold *h, bool on)
{
    if (h->log.p)
        buffer_clear(&h->log);
    else
        buffer_init(&h->log, HOLD_LIMIT);
    h->on = on;
}

void answer_hold_free(struct answer_hold *h)
{
    buffer_free(&h->log);
    h->on = false;
}

int answer_hold_add(struct answer_hold *h, const struct held_piece *piece)
{
    struct head head = {.choice = piece->choice, .kind = piece->kind, .n = piece->text.n};
    char *to = buffer_reserve(&h->log, sizeof head + piece->text.n);
    if (!to)
        return h->log.error;
    memcpy(to, &head, sizeof head);
    if (piece->text.n)
        memcpy(to + sizeof head, piece->text.p, piece->text.n);
    h->log.n += sizeof head + piece->text.n;
    return 0;
}

bool answer_hold_next(const struct answer_hold *h, size_t *at, struct held_piece *piece)
{
    struct head head;
    if (*at >= h->log.n)
        return false;
    memcpy(&head, h->log.p + *at, sizeof head);
    *piece = (struct held_piece){head.choice, (enum held_kind)head.kind,
                                 span_of(h->log.p + *at + sizeof head, head.n)};
    *at += sizeof head + head.n;
    return true;
}

int answer_hold_replace(struct answer_hold *h, int choice, struct span text)
{
    struct answer_hold kept = {.on = h->on};
    struct held_piece piece;
    size_t at = 0;
    answer_hold_begin(&kept, h->on);
    while (answer_hold_next(h, &at, &piece)) {
        if (piece.choice != choice || piece.kind != HELD_TEXT)
            answer_hold_add(&kept, &piece);
    }
    answer_hold_add(&kept, &(struct held_piece){choice, HELD_TEXT, text});
    answer_hold_free(h);
    *h = kept;
    return h->log.error;
}
