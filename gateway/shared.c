/*
 * gateway/shared.c - see shared.h.
 *
 * Two things lie in a mailbox: mails, and waiters that were woken. The latter stay in a queue until
 * their turn comes, so whoever gives up meanwhile leaves that queue as he would leave any other.
 */
#include "gateway/shared.h"

#include <assert.h>
#include <stdlib.h>

#include "gateway/wait_queue.h"

struct loan {
    struct loan *next;
    size_t n;
    char text[];
};

struct mailbox {
    struct shared *shared;
    uv_async_t bell;
    uv_check_t turn; /* runs while something is lent */
    void *owner;
    struct mail *first, **end;
    struct wait_queue woken;
    size_t expected;
    bool closed;
    struct loan *loans; /* of the loop's thread alone, as the next */
    bool is_short;      /* shared_take_short */
};

static _Thread_local struct mailbox *here;

struct shared *shared_create(void)
{
    struct shared *s = calloc(1, sizeof *s);
    if (s && uv_mutex_init_recursive(&s->lock)) {
        free(s);
        return NULL;
    }
    return s;
}

/* It may have been a token. */
static void end_loans(struct mailbox *m)
{
    while (m->loans) {
        struct loan *loan = m->loans;
        m->loans = loan->next;
        explicit_bzero(loan->text, loan->n);
        free(loan);
    }
}

void shared_destroy(struct shared *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_mailboxes; i++) {
        end_loans(s->mailboxes[i]);
        free(s->mailboxes[i]);
    }
    uv_mutex_destroy(&s->lock);
    free(s);
}

/* ---- loans ---- */

static void on_turn(uv_check_t *turn)
{
    end_loans(turn->data);
    uv_check_stop(turn);
}

struct span shared_lend(struct shared *s, struct span text)
{
    struct mailbox *m = here;
    if (!s || !m || !text.n)
        return text;
    struct loan *loan = malloc(sizeof *loan + text.n);
    if (!loan) {
        m->is_short = true;
        return span_of(NULL, 0);
    }
    memcpy(loan->text, text.p, text.n);
    loan->n = text.n;
    loan->next = m->loans;
    m->loans = loan;
    if (!uv_is_closing((uv_handle_t *)&m->turn))
        uv_check_start(&m->turn, on_turn);
    return span_of(loan->text, loan->n);
}

bool shared_take_short(void)
{
    bool is_short = here && here->is_short;
    if (here)
        here->is_short = false;
    return is_short;
}

/* ---- mailboxes ---- */

/* False: there was nothing. */
static bool open_next(struct mailbox *m)
{
    shared_enter(m->shared);
    struct mail *mail = m->first;
    struct waiter *waiter = m->woken.first;
    if (mail) {
        m->first = mail->next;
        if (!m->first)
            m->end = &m->first;
    } else if (waiter) {
        waiter_leave(waiter);
    }
    shared_leave(m->shared);
    if (mail)
        mail->open(mail);
    else if (waiter)
        waiter->wake(waiter);
    return mail || waiter;
}

static void on_bell(uv_async_t *bell)
{
    while (open_next(bell->data))
        ;
}

struct mailbox *mailbox_create(struct shared *s, uv_loop_t *loop, void *owner)
{
    struct mailbox *m = s->n_mailboxes < SHARED_LOOPS_MAX ? calloc(1, sizeof *m) : NULL;
    if (!m || uv_async_init(loop, &m->bell, on_bell)) {
        free(m);
        return NULL;
    }
    uv_check_init(loop, &m->turn);
    m->bell.data = m->turn.data = m;
    m->shared = s;
    m->owner = owner;
    m->end = &m->first;
    s->mailboxes[s->n_mailboxes++] = m;
    return m;
}

void mailbox_move_in(struct mailbox *m) { here = m; }

struct mailbox *mailbox_here(void) { return here; }

void *mailbox_owner(const struct mailbox *m) { return m->owner; }

bool mailbox_post(struct mailbox *m, struct mail *mail)
{
    shared_enter(m->shared);
    bool open = !m->closed;
    if (open) {
        mail->next = NULL;
        *m->end = mail;
        m->end = &mail->next;
        uv_async_send(&m->bell);
    }
    shared_leave(m->shared);
    return open;
}

void mailbox_wake(struct mailbox *m, struct waiter *w)
{
    assert(!m->closed); /* a loop ends when nobody of it waits */
    wait_queue_append(&m->woken, w);
    uv_async_send(&m->bell);
}

bool mailbox_holds(const struct waiter *w) { return w->home && w->queue == &w->home->woken; }

void mailbox_expect(struct mailbox *m)
{
    shared_enter(m->shared);
    m->expected++;
    shared_leave(m->shared);
}

void mailbox_received(struct mailbox *m)
{
    shared_enter(m->shared);
    assert(m->expected > 0);
    m->expected--;
    shared_leave(m->shared);
}

bool mailbox_expects(const struct mailbox *m)
{
    shared_enter(m->shared);
    bool expects = m->expected > 0;
    shared_leave(m->shared);
    return expects;
}

void mailbox_close(struct mailbox *m)
{
    bool empty = false;
    assert(!m->expected);
    while (!empty) {
        while (open_next(m))
            ;
        shared_enter(m->shared);
        empty = !m->first && !m->woken.first;
        m->closed = empty;
        shared_leave(m->shared);
    }
    uv_close((uv_handle_t *)&m->bell, NULL);
    uv_close((uv_handle_t *)&m->turn, NULL);
}
