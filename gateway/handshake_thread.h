/*
 * gateway/handshake_thread.h - one thread beside a loop, for what TLS computes for milliseconds.
 *
 * A full handshake costs 4 to 10 ms of CPU. On libuv's pool four of them at once would share the
 * loop's core with it at its priority, and names and the data file would wait for them. Here they
 * are computed one after the other, by a thread that gives way to the loop whenever it wakes.
 *
 * Works of one group run in their order; groups take turns, so that who comes a thousand times
 * holds up himself. A group is known by its hash: two share a turn once in HANDSHAKE_TURNS.
 */
#ifndef DRAGOMAN_GATEWAY_HANDSHAKE_THREAD_H
#define DRAGOMAN_GATEWAY_HANDSHAKE_THREAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

struct handshake_thread;

enum { HANDSHAKE_TURNS = 64 };

/* Must stay until `done`, or until it was taken back. */
struct handshake_work {
    void (*run)(struct handshake_work *);  /* on the thread */
    void (*done)(struct handshake_work *); /* on the loop */
    uint64_t group;                        /* a hash */
    /* private */
    TAILQ_ENTRY(handshake_work) link;
    bool waits;
};

/* The thread itself is made with the first work. NULL when memory is short. */
struct handshake_thread *handshake_thread_create(uv_loop_t *);
/* No further work; `closed` when what is under way is done. */
void handshake_thread_close(struct handshake_thread *, void (*closed)(void *), void *arg);
/* 0, or -1 when no thread can be made: nothing will be called. */
int handshake_thread_begin(struct handshake_thread *, struct handshake_work *);
/* true: it had not begun, and nothing will be called. */
bool handshake_thread_take_back(struct handshake_thread *, struct handshake_work *);

#endif
