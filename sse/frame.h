/*
 * sse/frame.h - one whole unit of a site's stream, and the ways in which sites frame their streams.
 */
#ifndef DRAGOMAN_SSE_FRAME_H
#define DRAGOMAN_SSE_FRAME_H

#include "base/span.h"

enum framing {
    FRAMING_NONE,  /* the body does not matter: read and forgotten */
    FRAMING_WHOLE, /* the whole body is one frame, delivered at its end (JSON answers, errors) */
    FRAMING_SSE,   /* server-sent events (WHATWG HTML 9.2.6) */
    FRAMING_SSE_LOOSE, /* the same, but lines that are no field of it count as data: a bare
                          {"error":…} of several lines is an event (sites/gemini.md §5) */
    FRAMING_LINES, /* a JSON value a line; blank lines are skipped; CR LF or LF; the last line needs
                      no end */
    FRAMING_PREFIX, /* lines `<prefix>:<data>` (sites/lmarena.md): frame.type = prefix, frame.data =
                       the rest */
    FRAMING_LENGTH, /* Connect: 1 byte of flags, 4 bytes big-endian length, payload (sites/kimi.md
                       §6.1) */
    FRAMING_RAW     /* bytes as they come; each read is a frame */
};

/* Spans are valid until the decoder is fed or asked again. */
struct frame {
    struct span type;    /* SSE: the event's name, "" = none; PREFIX: the prefix */
    struct span data;    /* SSE: data lines joined by LF */
    struct span id;      /* SSE: last event id */
    unsigned char flags; /* LENGTH: the flags byte */
};

#endif
