/*
 * gateway/mask.h - secrets become asterisks, as many as they had characters: lengths and places in
 * a text stay, so that a recorded answer can still be cut and read as it was.
 *
 * What is known to be a secret is found wherever it stands, as it is, and as JSON, URLs, base64 and
 * SHA-256 in hex write it. Besides, what looks like one: JSON Web Tokens, keys that begin with
 * "sk-", what follows "Bearer ", long values of JSON members that are named like a credential, and
 * the clients' own keys, of which only hashes are known. Pure.
 */
#ifndef DRAGOMAN_GATEWAY_MASK_H
#define DRAGOMAN_GATEWAY_MASK_H

#include "base/arena.h"
#include "gateway/config.h"

struct mask {
    struct arena *arena;
    struct mask_word *words;
    const struct config *config; /* for the clients' keys; NULL = none */
    bool incomplete;             /* memory was short: nothing may be shown */
};

struct mask mask_of(struct arena *, const struct config *);
/* A secret; of cookies ("a=1; b=2") each value as well. Shorter ones than six characters would mask
 * words of the text, and are not looked for. The text need not live on. */
void mask_add(struct mask *, struct span secret);
/* The credentials of every account that is configured, and the configuration's other secrets. */
void mask_add_configured(struct mask *);
/* `strict`: what passes while a credential is obtained, where every long word may be one. */
void mask_apply(const struct mask *, char *text, size_t n, bool strict);
/* Is a header of this name one whose whole value is a secret? */
bool mask_hides_header(struct span name);
void mask_fill(char *text, size_t n);

#endif
