/*
 * gateway/metrics_gather.c - see metrics_gather.h.
 */
#include "gateway/metrics_gather.h"

#include <stddef.h>
#include <stdlib.h>

#include "gateway/client_work.h"

/* To one loop, and back. */
struct question {
    struct mail mail;
    struct gather *gather;
    struct metrics_loop loop;
};

struct gather {
    struct client_work work; /* first */
    struct engine *engine;
    struct mailbox *home;
    struct http_exchange *http; /* NULL: the client left */
    void (*answer)(struct engine *, struct http_exchange *, const struct metrics_loop *);
    struct metrics_loop all;
    size_t missing;
    struct question questions[]; /* one for each loop */
};

static struct question *question_of(struct mail *mail)
{
    return (struct question *)((char *)mail - offsetof(struct question, mail));
}

static void on_gone(struct client_work *work) { ((struct gather *)work)->http = NULL; }

static void on_drained(struct client_work *work) {}

static void settle(struct gather *g)
{
    if (--g->missing)
        return;
    if (g->http) {
        http_exchange_set_user(g->http, NULL);
        g->answer(g->engine, g->http, &g->all);
    }
    free(g);
}

/* At home again. */
static void on_answered(struct mail *mail)
{
    struct question *q = question_of(mail);
    mailbox_received(q->gather->home);
    metrics_loop_add(&q->gather->all, &q->loop);
    settle(q->gather);
}

/* On the loop that is asked. */
static void on_asked(struct mail *mail)
{
    struct question *q = question_of(mail);
    metrics_loop_read(&q->loop, mailbox_owner(mailbox_here()));
    mail->open = on_answered;
    mailbox_post(q->gather->home, mail); /* it expects it, and is not closed before */
}

static void ask(struct gather *g, struct mailbox *loop, struct question *q)
{
    if (loop == g->home)
        return;
    q->gather = g;
    q->mail.open = on_asked;
    mailbox_expect(g->home);
    if (mailbox_post(loop, &q->mail))
        g->missing++;
    else /* it has ended */
        mailbox_received(g->home);
}

void metrics_gather(struct engine *engine, struct http_exchange *http,
                    void (*answer)(struct engine *, struct http_exchange *,
                                   const struct metrics_loop *))
{
    static const struct client_work_ops ops = {.gone = on_gone, .drained = on_drained};
    struct shared *shared = engine->shared;
    struct gather *g =
        shared ? calloc(1, sizeof *g + shared->n_mailboxes * sizeof g->questions[0]) : NULL;
    if (!g) {
        struct metrics_loop loop;
        metrics_loop_read(&loop, engine);
        answer(engine, http, &loop);
        return;
    }
    g->work.ops = &ops;
    g->engine = engine;
    g->home = mailbox_here();
    g->http = http;
    g->answer = answer;
    g->missing = 1; /* until all are asked */
    metrics_loop_read(&g->all, engine);
    http_exchange_set_user(http, &g->work);
    for (size_t i = 0; i < shared->n_mailboxes; i++)
        ask(g, shared->mailboxes[i], &g->questions[i]);
    settle(g);
}
