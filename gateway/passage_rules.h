/*
 * gateway/passage_rules.h - what a request and its answer look like on the other side of a route:
 * targets, headers, secrets. Pure (docs/routes.md; sites/passthrough.md §2).
 *
 * Two promises are kept here. A route never reaches another host than its upstream: a path that
 * somebody between us and it could read in a second way is refused, never mended. And no key
 * crosses: the client's stays here, the account's never comes back.
 */
#ifndef DRAGOMAN_GATEWAY_PASSAGE_RULES_H
#define DRAGOMAN_GATEWAY_PASSAGE_RULES_H

#include "adapters/adapter.h" /* struct header */
#include "base/arena.h"
#include "base/buffer.h"

/* ---- targets ---- */

enum passage_match {
    PASSAGE_NO_MATCH,
    PASSAGE_MATCH,    /* the path is the prefix, or begins with it and a slash */
    PASSAGE_AMBIGUOUS /* "/gemini@host", "/gemini\…": it should match, and could be read otherwise
                       */
};
enum passage_match passage_match(struct span target, struct span prefix);
/* What is wrong with a raw target (absolute form, dot segments, `//`, encoded slashes, dots and
 * control characters, backslashes, fragments; `@` in the segment behind the prefix), or NULL. */
const char *passage_check_target(struct span target, struct span prefix);
/* The path and the query of a raw target, the latter without its question mark; {NULL,0} = none. */
struct span passage_path(struct span target);
struct span passage_query(struct span target);
/* The path as the upstream gets it: without `strip`; and where `base` (the upstream's own prefix)
 * ends in a version like /v1 that the rest begins with, that is said once. "/" when nothing is
 * left.
 */
struct span passage_rest(struct span path, struct span strip, struct span base);

/* ---- queries: pairs `name=value` between ampersands, byte for byte ---- */

/* The decoded value of the first pair of that (decoded) name; {NULL,0} = there is none, or memory
 * is short. */
struct span passage_query_get(struct arena *, struct span query, struct span name);
/* Appends the query without the pairs of that name; the others stay as they are. */
void passage_query_without(struct buffer *out, struct span query, struct span name);
/* Appends `name=value`, with an ampersand before it if there is something already. */
void passage_query_add(struct buffer *out, bool first, struct span name, struct span value);

/* ---- headers ---- */

/* Is it named in a Connection header of the list? */
bool passage_is_named(const struct header *headers, size_t n, struct span name);
/* Does a request's header go up, an answer's down? Those named in Connection do not, in addition.
 */
bool passage_goes_up(struct span name);
bool passage_goes_down(struct span name);
/* A WWW-Authenticate on which browsers open their own box for a password: it would be asked for in
 * our name (clients.md, H9). It does not go down either. */
bool passage_asks_person(struct span name, struct span value);

/* ---- the account's key on its way back ---- */

enum { PASSAGE_SECRET_MIN = 8, PASSAGE_SECRET_MAX = 4096 };

/* Replaces a secret by as many asterisks, wherever it stands, also across pieces. Secrets shorter
 * than PASSAGE_SECRET_MIN are let be: they would be found in anything. */
struct passage_mask {
    struct span secret; /* not owned */
    char held[PASSAGE_SECRET_MAX];
    size_t n_held; /* the last bytes so far, which may be the secret's first */
};

void passage_mask_init(struct passage_mask *, struct span secret);
/* What may leave now: `piece` itself where nothing had to be changed, else in `room`, whose content
 * is replaced. p NULL: memory is short. */
struct span passage_mask_feed(struct passage_mask *, struct span piece, struct buffer *room);
/* At the end of the body: what was held back. */
struct span passage_mask_end(struct passage_mask *);
/* A text with each `secret` in it as "***": itself where there is none, else in the arena; "" when
 * memory is short. */
struct span passage_mask_text(struct arena *, struct span text, struct span secret);

#endif
