/*
 * gateway/inflate.c - see inflate.h.
 */
#include "gateway/inflate.h"

#include <stdlib.h>
#include <zlib.h>

enum { PIECE = 16 * 1024, AUTO_DETECT = 15 + 32, RAW = -15 };

struct inflate {
    z_stream z;
    bool raw_allowed, started, ended;
};

struct inflate *inflate_create(bool raw_allowed)
{
    struct inflate *i = calloc(1, sizeof *i);
    if (i && inflateInit2(&i->z, AUTO_DETECT) != Z_OK) {
        free(i);
        return NULL;
    }
    if (i)
        i->raw_allowed = raw_allowed;
    return i;
}

void inflate_destroy(struct inflate *i)
{
    if (!i)
        return;
    inflateEnd(&i->z);
    free(i);
}

bool inflate_is_complete(const struct inflate *i) { return i->ended; }

int inflate_feed(struct inflate *i, struct span bytes, void (*put)(void *, struct span),
                 void *owner)
{
    unsigned char out[PIECE];
    i->z.next_in = (unsigned char *)(uintptr_t)bytes.p;
    i->z.avail_in = (unsigned)bytes.n;
    while (i->z.avail_in && !i->ended) {
        i->z.next_out = out;
        i->z.avail_out = sizeof out;
        int r = inflate(&i->z, Z_SYNC_FLUSH);
        if (r == Z_DATA_ERROR && i->raw_allowed && !i->started && i->z.total_out == 0) {
            i->started = true; /* no zlib head: once more as raw deflate */
            if (inflateReset2(&i->z, RAW) != Z_OK)
                return -1;
            i->z.next_in = (unsigned char *)(uintptr_t)bytes.p;
            i->z.avail_in = (unsigned)bytes.n;
            continue;
        }
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
            return -1;
        size_t n = sizeof out - i->z.avail_out;
        i->started |= n > 0;
        i->ended = r == Z_STREAM_END;
        if (n)
            put(owner, span_of((char *)out, n));
        if (r == Z_BUF_ERROR)
            break;
    }
    return 0;
}
