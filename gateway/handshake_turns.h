/*
 * gateway/handshake_turns.h - who of many connections to one origin begins the TLS handshake.
 *
 * A full handshake costs both sides milliseconds, one that takes up an earlier one's session next
 * to nothing. So when nothing fresh is known of an origin, the first connection goes ahead and the
 * others, already connected, hold back their first word until its session is there:
 *
 * - it went well: all go on, and resume;
 * - it failed, or was given up: the next one goes ahead in its place;
 * - it takes more than HANDSHAKE_WAIT_MS: a second one goes ahead, half of that later two
 *   more, then four. One slow answer costs little, and neither a busy origin nor a busy machine
 *   gets all full handshakes at once. (Nobody goes while it is being computed here: he would only
 *   have to wait for the same thread.);
 * - the origin gives no sessions, or does not take them up twice in a row: nobody waits there
 *   again until it resumes one.
 *
 * "Origin" is a key of the caller's: connections with the same key share sessions. One per loop.
 */
#ifndef DRAGOMAN_GATEWAY_HANDSHAKE_TURNS_H
#define DRAGOMAN_GATEWAY_HANDSHAKE_TURNS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

/* Two round trips to the other side of the world, and a handshake on a busy machine. In two halves:
 * what came in while the loop stood still is read between them. */
enum { HANDSHAKE_WAIT_MS = 500 };
/* After a handshake, for so long its session is taken to be good: what servers keep at least. */
enum { HANDSHAKE_FRESH_MS = 300 * 1000 };

struct handshake_turns;
struct handshake_origin;

enum handshake_end {
    HANDSHAKE_RESUMED,
    HANDSHAKE_FULL,        /* no session was offered; now there is one */
    HANDSHAKE_DECLINED,    /* full although one was offered; now there is another */
    HANDSHAKE_SESSIONLESS, /* full, and no session came of it */
    HANDSHAKE_FAILED,
    HANDSHAKE_GIVEN_UP /* by us: says nothing about the origin */
};

/* One handshake; zeroed but for `go`. Belongs to the caller, from enter to leave. */
struct handshake_place {
    void (*go)(struct handshake_place *); /* it may begin; called from the loop */
    struct handshake_origin *origin;
    TAILQ_ENTRY(handshake_place) link;
    uint64_t until; /* it looks again */
    bool looked;    /* once in vain */
    bool computing; /* the caller's to set: on handshake_thread.h, or waiting for it */
    enum { HANDSHAKE_AT_WORK, HANDSHAKE_WAITING, HANDSHAKE_CALLED } state;
};

/* NULL when memory is short. */
struct handshake_turns *handshake_turns_create(uv_loop_t *);
/* When everybody has left. `closed` on a later turn of the loop. */
void handshake_turns_close(struct handshake_turns *, void (*closed)(void *), void *arg);

/* true: begin now. false: `go` is called later, unless the place leaves before. */
bool handshake_turns_enter(struct handshake_turns *, struct handshake_place *, const char *key);
/* At the handshake's end, whatever it was. Calls nobody back. */
void handshake_turns_leave(struct handshake_turns *, struct handshake_place *, enum handshake_end);

#endif
