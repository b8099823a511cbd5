/*
 * gateway/inflate.c - see inflate.h; zlib does the work.
 *
 * "deflate" means zlib's format by the standard and raw deflate by the habit of some servers: the
 * first two bytes decide. gzip data may be several members in a row.
 */
#include "gateway/inflate.h"

#include <stdlib.h>
#include <zlib.h>

/* Deflate cannot exceed 1032:1. Text that a site sends stays below 50:1; the first 8 MiB are free.
 */
enum { OUTPUT_SIZE = 32 * 1024, FREE_OUTPUT = 8 * 1024 * 1024, RATIO_MAX = 200 };

struct inflater {
    z_stream z;
    enum inflate_coding coding;
    bool started, ended;
    bool full;              /* the last output filled the buffer, more may wait inside */
    bool rest;              /* behind the data: skipped, whatever it looks like */
    unsigned char first[2]; /* of a deflate body, until the format is known */
    size_t n_first;
    uint64_t in, out;
    const char *error;
    unsigned char output[OUTPUT_SIZE];
};

static const char MEMORY_IS_SHORT[] = "memory is short";

struct inflater *inflater_create(enum inflate_coding coding)
{
    struct inflater *f = calloc(1, sizeof *f);
    if (f)
        f->coding = coding;
    return f;
}

void inflater_destroy(struct inflater *f)
{
    if (!f)
        return;
    if (f->started)
        inflateEnd(&f->z);
    free(f);
}

bool inflater_is_complete(const struct inflater *f)
{
    return f->ended || (!f->started && f->n_first == 0);
}

const char *inflater_error(const struct inflater *f) { return f->error ? f->error : ""; }

bool inflater_is_short(const struct inflater *f) { return f->error == MEMORY_IS_SHORT; }

static enum inflate_result broken(struct inflater *f, const char *why)
{
    f->error = why;
    return INFLATE_BROKEN;
}

static bool start(struct inflater *f, int window_bits)
{
    if (inflateInit2(&f->z, window_bits) != Z_OK)
        return false;
    f->started = true;
    return true;
}

static bool looks_like_zlib(const unsigned char first[2])
{
    return (first[0] & 15) == Z_DEFLATED && first[0] >> 4 <= 7 &&
           (first[0] << 8 | first[1]) % 31 == 0;
}

/* One call of zlib; takes what it used from `from`. */
static int run(struct inflater *f, struct span *from)
{
    size_t n = from->n < UINT32_MAX ? from->n : UINT32_MAX;
    f->z.next_in = (unsigned char *)(uintptr_t)from->p;
    f->z.avail_in = (uInt)n;
    int result = inflate(&f->z, Z_SYNC_FLUSH);
    size_t used = n - f->z.avail_in;
    f->in += used;
    *from = span_from(*from, used);
    return result;
}

enum inflate_result inflater_next(struct inflater *f, struct span *input, struct span *piece)
{
    if (f->error)
        return INFLATE_BROKEN;
    if (!f->started) {
        if (f->coding == INFLATE_DEFLATE) {
            while (f->n_first < 2 && input->n) {
                f->first[f->n_first++] = (unsigned char)input->p[0];
                *input = span_from(*input, 1);
            }
            if (f->n_first < 2)
                return INFLATE_MORE;
        } else if (input->n == 0) {
            return INFLATE_MORE;
        }
        if (!start(f, f->coding == INFLATE_GZIP ? 15 + 16 : looks_like_zlib(f->first) ? 15 : -15))
            return broken(f, MEMORY_IS_SHORT);
    }
    f->z.next_out = f->output;
    f->z.avail_out = OUTPUT_SIZE;
    while (f->z.avail_out && (input->n || f->n_first || f->full)) {
        if (f->ended) {
            f->rest |=
                f->coding != INFLATE_GZIP || (input->n && (unsigned char)input->p[0] != 0x1f);
            if (f->rest || !input->n) {
                *input = span_from(*input, input->n);
                break;
            }
            inflateReset(&f->z);
            f->ended = false;
        }
        int result;
        if (f->n_first) {
            struct span first = span_of((const char *)f->first, f->n_first);
            result = run(f, &first);
            memmove(f->first, first.p, first.n);
            f->n_first = first.n;
        } else {
            result = run(f, input);
        }
        f->full = f->z.avail_out == 0;
        if (result == Z_STREAM_END) {
            f->ended = true;
            f->full = false;
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            return broken(f, result == Z_MEM_ERROR ? MEMORY_IS_SHORT
                                                   : "the compressed data are damaged");
        }
    }
    size_t n = OUTPUT_SIZE - f->z.avail_out;
    f->out += n;
    if (f->out > FREE_OUTPUT && f->out / RATIO_MAX > f->in)
        return broken(f, "the compressed data inflate out of all proportion");
    if (n == 0)
        return INFLATE_MORE;
    *piece = span_of((const char *)f->output, n);
    return INFLATE_PIECE;
}
