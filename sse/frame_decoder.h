/*
 * sse/frame_decoder.h - cut a byte stream into frames, whatever the framing.
 *
 * Pure and pull-style: bytes are handed over as a span, frames are taken out one by one, so the
 * caller may stop between two frames (back-pressure, cancellation) and go on later with the rest of
 * the span. A frame that lies whole inside the input is not copied (an SSE event with one data
 * line, a line, a length-framed message); others are gathered in a buffer that never passes the
 * cap.
 *
 *     struct span rest = bytes;
 *     while ((r = frame_decoder_next(&d, &rest, &frame)) == FRAME_READY) use(&frame);
 *     if (r < 0) …                                   // FRAME_TOO_LARGE, FRAME_NOMEM: the decoder
 * stays in that state
 *     // r == FRAME_MORE: `rest` is used up
 */
#ifndef DRAGOMAN_SSE_FRAME_DECODER_H
#define DRAGOMAN_SSE_FRAME_DECODER_H

#include "base/buffer.h"
#include "sse/frame.h"

enum { FRAME_LIMIT = 16 * 1024 * 1024 }; /* no line limit but this cap */

enum frame_result {
    FRAME_READY = 1,
    FRAME_MORE = 0,
    FRAME_TOO_LARGE = -1, /* a single frame passes the cap */
    FRAME_NOMEM = -2,
    FRAME_TORN = -3 /* only from frame_decoder_end: the stream ended inside a frame */
};

/* SSE: an event's `event` and `id`; many sites have neither. */
struct frame_names {
    struct buffer type, id;
};

/* There is one for each stream. */
struct frame_decoder {
    enum framing framing;
    enum frame_result broken;
    size_t limit;
    struct buffer gather;      /* a begun frame that the input does not hold whole */
    struct buffer line;        /* a begun line */
    struct frame_names *names; /* NULL: there was none */
    struct span direct;        /* SSE: the event's only data line so far, inside the input; WHOLE: a
                                  body that was lent */
    uint8_t state, flags;
    bool line_done;  /* `line` holds a line that was handed out: cleared by the next */
    bool handed_out; /* `gather` likewise */
};

void frame_decoder_init(struct frame_decoder *, enum framing, size_t limit);
void frame_decoder_free(struct frame_decoder *);
enum frame_result frame_decoder_next(struct frame_decoder *, struct span *rest, struct frame *);
/* A body that is told as one frame, when all of it lies in one piece that stays where it is: until
 * frame_decoder_end, or frame_decoder_keep, which copies it. False: it goes through
 * frame_decoder_next. */
bool frame_decoder_lend(struct frame_decoder *, struct span body);
enum frame_result frame_decoder_keep(struct frame_decoder *);
/* After the last byte: FRAME_READY with the final frame for framings that end without a mark
 * (WHOLE; a last line without line end for LINES and PREFIX), FRAME_MORE when nothing is left,
 * FRAME_TORN when bytes of an unfinished frame were left (LENGTH; an SSE event without its blank
 * line: it is *not* dispatched, as WHATWG says, but a site that forgets the last blank line is
 * common, so FRAME_READY is given for it when its data field is complete: i.e. the last line ended
 * or the body ended cleanly after it). */
enum frame_result frame_decoder_end(struct frame_decoder *, struct frame *);

#endif
