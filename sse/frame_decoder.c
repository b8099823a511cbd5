/*
 * sse/frame_decoder.c - see frame_decoder.h.
 *
 * Every framing but LENGTH, WHOLE and RAW is made of lines, so one line cutter serves three of
 * them. A line that lies whole in the input is a span of it; only a line that a read cut in two is
 * gathered. The hard parts: a CR at the end of a read may be half of a CRLF, and a growing line
 * must not be scanned twice.
 */
#include "sse/frame_decoder.h"

#include <assert.h>
#include <stdlib.h>

enum { LINE_FRESH, LINE_AFTER_CR }; /* state: the bytes before may have ended with half a CRLF */
enum { HAS_DATA = 1, SEEN_START = 2, DATA_IN_INPUT = 4 }; /* flags */

void frame_decoder_init(struct frame_decoder *d, enum framing framing, size_t limit)
{
    *d = (struct frame_decoder){.framing = framing, .limit = limit};
    buffer_init(&d->gather, limit);
    buffer_init(&d->line, limit);
}

void frame_decoder_free(struct frame_decoder *d)
{
    buffer_free(&d->gather);
    buffer_free(&d->line);
    if (d->names) {
        buffer_free(&d->names->type);
        buffer_free(&d->names->id);
        free(d->names);
        d->names = NULL;
    }
}

static bool is_sse(const struct frame_decoder *d)
{
    return d->framing == FRAMING_SSE || d->framing == FRAMING_SSE_LOOSE;
}

static enum frame_result broken(struct frame_decoder *d, int buffer_error)
{
    d->broken = buffer_error == BUFFER_NOMEM ? FRAME_NOMEM : FRAME_TOO_LARGE;
    return d->broken;
}

/* ---- lines ---- */

/* Where the line ends: the first LF, or for SSE also CR. */
static size_t line_length(const struct frame_decoder *d, struct span s)
{
    const char *lf = memchr(s.p, '\n', s.n);
    size_t n = lf ? (size_t)(lf - s.p) : s.n;
    if (is_sse(d)) {
        const char *cr = memchr(s.p, '\r', n);
        if (cr)
            n = (size_t)(cr - s.p);
    }
    return n;
}

/* Takes one line off *rest. READY with *line (of the input or of d->line), MORE when the input
 * ended inside it. */
static enum frame_result next_line(struct frame_decoder *d, struct span *rest, struct span *line)
{
    if (d->line_done) {
        buffer_clear(&d->line);
        d->line_done = false;
    }
    if (rest->n && d->state == LINE_AFTER_CR) {
        if (rest->p[0] == '\n')
            *rest = span_from(*rest, 1);
        d->state = LINE_FRESH;
    }
    if (!rest->n)
        return FRAME_MORE;
    size_t n = line_length(d, *rest);
    struct span part = span_first(*rest, n);
    bool ended = n < rest->n;
    bool carriage = ended && rest->p[n] == '\r';
    *rest = span_from(*rest, ended ? n + 1 : n);
    if (carriage)
        d->state = LINE_AFTER_CR;
    if (ended && d->line.n == 0) {
        if (part.n > d->limit)
            return broken(d, BUFFER_FULL);
        *line = part;
        return FRAME_READY;
    }
    if (buffer_append(&d->line, part))
        return broken(d, d->line.error);
    if (!ended)
        return FRAME_MORE;
    *line = buffer_span(&d->line);
    d->line_done = true;
    return FRAME_READY;
}

static struct span without_cr(struct span line)
{
    return line.n && line.p[line.n - 1] == '\r' ? span_first(line, line.n - 1) : line;
}

/* ---- server-sent events (WHATWG HTML 9.2.6) ---- */

/* The only data line of an event stays a span of the input while it can; another line, or the
 * input's end, moves it to the gather buffer. */
static int keep_direct(struct frame_decoder *d)
{
    if (!(d->flags & DATA_IN_INPUT))
        return 0;
    d->flags &= (uint8_t)~DATA_IN_INPUT;
    return buffer_append(&d->gather, d->direct);
}

static struct span type_of(const struct frame_decoder *d)
{
    return d->names ? buffer_span(&d->names->type) : span_of(NULL, 0);
}

static struct span id_of(const struct frame_decoder *d)
{
    return d->names ? buffer_span(&d->names->id) : span_of(NULL, 0);
}

static void forget_type(struct frame_decoder *d)
{
    if (d->names)
        buffer_clear(&d->names->type);
}

static struct frame_names *names_of(struct frame_decoder *d)
{
    if (d->names)
        return d->names;
    d->names = malloc(sizeof *d->names);
    if (d->names) {
        buffer_init(&d->names->type, d->limit);
        buffer_init(&d->names->id, d->limit);
    }
    return d->names;
}

static int keep_name(struct buffer *name, struct span value)
{
    buffer_clear(name);
    return buffer_append(name, value);
}

static int sse_data(struct frame_decoder *d, struct span value)
{
    bool first = !(d->flags & HAS_DATA);
    d->flags |= HAS_DATA;
    if (first && !d->line_done) { /* a line that a read cut in two lies in the line buffer, which
                                     the next line needs */
        d->flags |= DATA_IN_INPUT;
        d->direct = value;
        return 0;
    }
    if (keep_direct(d) || (!first && buffer_char(&d->gather, '\n')))
        return d->gather.error;
    return buffer_append(&d->gather, value);
}

static int sse_field(struct frame_decoder *d, struct span line)
{
    ptrdiff_t colon = span_find_char(line, ':');
    struct span name = colon < 0 ? line : span_first(line, (size_t)colon);
    struct span value = colon < 0 ? span_of("", 0) : span_from(line, (size_t)colon + 1);
    if (value.n && value.p[0] == ' ')
        value = span_from(value, 1);
    if (span_eq(name, SPAN("data")))
        return sse_data(d, value);
    if (span_eq(name, SPAN("event")))
        return names_of(d) ? keep_name(&d->names->type, value) : BUFFER_NOMEM;
    if (span_eq(name, SPAN("id")) && span_find_char(value, '\0') < 0)
        return names_of(d) ? keep_name(&d->names->id, value) : BUFFER_NOMEM;
    if (d->framing == FRAMING_SSE_LOOSE && name.n && !span_eq(name, SPAN("retry")) &&
        !span_eq(name, SPAN("id")))
        return sse_data(d, line);
    return 0; /* comments (no name), retry and unknown fields */
}

static void sse_begin_event(struct frame_decoder *d)
{
    buffer_clear(&d->gather);
    d->flags &= (uint8_t) ~(HAS_DATA | DATA_IN_INPUT);
    if (d->gather.cap > 64 * 1024)
        buffer_free(&d->gather);
}

/* A blank line: true when there is an event to hand out. */
static bool sse_dispatch(struct frame_decoder *d, struct frame *frame)
{
    if (!(d->flags & HAS_DATA)) {
        forget_type(d);
        return false;
    }
    frame->data = d->flags & DATA_IN_INPUT ? d->direct : buffer_span(&d->gather);
    frame->type = type_of(d);
    frame->id = id_of(d);
    d->handed_out = true;
    return true;
}

static void skip_byte_order_mark(struct frame_decoder *d, struct span *line)
{
    if (!(d->flags & SEEN_START) && span_starts(*line, SPAN("\xEF\xBB\xBF")))
        *line = span_from(*line, 3);
    d->flags |= SEEN_START;
}

/* What nearly every event is: one line of data and a blank line, both whole in the input and ended
 * by LF, nothing begun before them. Takes it with two looks at its bytes. */
static bool sse_plain(const struct frame_decoder *d, struct span *rest, struct frame *frame)
{
    const struct span name = SPAN("data:");
    if (d->state != LINE_FRESH || d->flags != SEEN_START || d->line.n || type_of(d).n ||
        !span_starts(*rest, name))
        return false;
    const char *lf = memchr(rest->p, '\n', rest->n);
    size_t n = lf ? (size_t)(lf - rest->p) : 0;
    if (!lf || n + 1 == rest->n || lf[1] != '\n' || n > d->limit || memchr(rest->p, '\r', n))
        return false;
    size_t from = name.n + (rest->p[name.n] == ' ');
    frame->data = span_of(rest->p + from, n - from);
    frame->id = id_of(d);
    *rest = span_from(*rest, n + 2);
    return true;
}

static enum frame_result sse_next(struct frame_decoder *d, struct span *rest, struct frame *frame)
{
    struct span line;
    enum frame_result r;
    if (d->handed_out) { /* the caller is done with the former event */
        sse_begin_event(d);
        forget_type(d);
        d->handed_out = false;
    }
    if (d->line_done) {
        buffer_clear(&d->line);
        d->line_done = false;
    }
    if (sse_plain(d, rest, frame))
        return FRAME_READY;
    while (true) {
        r = next_line(d, rest, &line);
        if (r != FRAME_READY)
            break;
        skip_byte_order_mark(d, &line);
        if (line.n == 0) {
            if (sse_dispatch(d, frame))
                return FRAME_READY;
            continue;
        }
        int error = sse_field(d, line);
        if (error)
            return broken(d, error);
    }
    /* The input is used up: what pointed into it must be kept. */
    if (r == FRAME_MORE && keep_direct(d))
        return broken(d, d->gather.error);
    return r;
}

/* ---- lines as frames ---- */

static bool frame_from_line(struct frame_decoder *d, struct span line, struct frame *frame)
{
    line = without_cr(line);
    skip_byte_order_mark(d, &line);
    if (span_trim(line).n == 0)
        return false;
    frame->data = line;
    if (d->framing == FRAMING_PREFIX) {
        ptrdiff_t colon = span_find_char(line, ':');
        frame->type = colon < 0 ? span_of("", 0) : span_first(line, (size_t)colon);
        frame->data = colon < 0 ? line : span_from(line, (size_t)colon + 1);
    }
    return true;
}

static enum frame_result lines_next(struct frame_decoder *d, struct span *rest, struct frame *frame)
{
    struct span line;
    enum frame_result r;
    while ((r = next_line(d, rest, &line)) == FRAME_READY) {
        if (frame_from_line(d, line, frame))
            return FRAME_READY;
    }
    return r;
}

/* ---- length-framed messages (Connect) ---- */

enum { LENGTH_HEAD = 5 };

static size_t message_size(const unsigned char *head)
{
    return (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
}

static enum frame_result length_next(struct frame_decoder *d, struct span *rest,
                                     struct frame *frame)
{
    if (d->handed_out) {
        buffer_shrink(&d->gather, 64 * 1024);
        d->handed_out = false;
    }
    if (d->gather.n == 0 && rest->n >= LENGTH_HEAD) { /* whole in the input? */
        const unsigned char *head = (const unsigned char *)rest->p;
        size_t size = message_size(head);
        if (size > d->limit - LENGTH_HEAD)
            return broken(d, BUFFER_FULL);
        if (rest->n - LENGTH_HEAD >= size) {
            frame->flags = head[0];
            frame->data = span_of(rest->p + LENGTH_HEAD, size);
            *rest = span_from(*rest, LENGTH_HEAD + size);
            return FRAME_READY;
        }
    }
    while (rest->n) {
        size_t want = LENGTH_HEAD;
        if (d->gather.n >= LENGTH_HEAD) {
            size_t size = message_size((unsigned char *)d->gather.p);
            if (size > d->limit - LENGTH_HEAD)
                return broken(d, BUFFER_FULL);
            want += size;
        }
        size_t take = want - d->gather.n < rest->n ? want - d->gather.n : rest->n;
        if (buffer_append(&d->gather, span_first(*rest, take)))
            return broken(d, d->gather.error);
        *rest = span_from(*rest, take);
        if (d->gather.n >= LENGTH_HEAD &&
            d->gather.n == LENGTH_HEAD + message_size((unsigned char *)d->gather.p)) {
            frame->flags = (unsigned char)d->gather.p[0];
            frame->data = span_from(buffer_span(&d->gather), LENGTH_HEAD);
            d->handed_out = true;
            return FRAME_READY;
        }
    }
    return FRAME_MORE;
}

/* ---- all ---- */

enum frame_result frame_decoder_next(struct frame_decoder *d, struct span *rest,
                                     struct frame *frame)
{
    if (d->broken)
        return d->broken;
    *frame = (struct frame){.type = {"", 0}, .data = {"", 0}, .id = {"", 0}};
    switch (d->framing) {
    case FRAMING_NONE: *rest = span_from(*rest, rest->n); return FRAME_MORE;
    case FRAMING_RAW:
        if (!rest->n)
            return FRAME_MORE;
        frame->data = *rest;
        *rest = span_from(*rest, rest->n);
        return FRAME_READY;
    case FRAMING_WHOLE:
        if (buffer_append(&d->gather, *rest))
            return broken(d, d->gather.error);
        *rest = span_from(*rest, rest->n);
        return FRAME_MORE;
    case FRAMING_SSE:
    case FRAMING_SSE_LOOSE: return sse_next(d, rest, frame);
    case FRAMING_LENGTH: return length_next(d, rest, frame);
    case FRAMING_LINES:
    case FRAMING_PREFIX: return lines_next(d, rest, frame);
    }
    return FRAME_MORE;
}

/* A last line without its end counts as ended. */
static enum frame_result end_of_lines(struct frame_decoder *d, struct frame *frame)
{
    struct span line = d->line_done ? span_of("", 0) : buffer_span(&d->line);
    if (!is_sse(d)) {
        bool some = line.n && frame_from_line(d, line, frame);
        d->line_done = true;
        return some ? FRAME_READY : FRAME_MORE;
    }
    if (d->handed_out) {
        sse_begin_event(d);
        d->handed_out = false;
    }
    if (line.n) {
        skip_byte_order_mark(d, &line);
        int error = sse_field(d, line);
        if (error)
            return broken(d, error);
    }
    d->line_done = true;
    return sse_dispatch(d, frame) ? FRAME_READY : FRAME_MORE;
}

enum frame_result frame_decoder_end(struct frame_decoder *d, struct frame *frame)
{
    if (d->broken)
        return d->broken;
    *frame = (struct frame){.type = {"", 0}, .data = {"", 0}, .id = {"", 0}};
    switch (d->framing) {
    case FRAMING_WHOLE:
        if (d->handed_out)
            return FRAME_MORE;
        d->handed_out = true;
        if (d->flags & DATA_IN_INPUT)
            frame->data = d->direct;
        else if (d->gather.p)
            frame->data = buffer_span(&d->gather);
        return FRAME_READY;
    case FRAMING_LENGTH: return !d->handed_out && d->gather.n ? FRAME_TORN : FRAME_MORE;
    case FRAMING_SSE:
    case FRAMING_SSE_LOOSE:
    case FRAMING_LINES:
    case FRAMING_PREFIX: return end_of_lines(d, frame);
    case FRAMING_NONE:
    case FRAMING_RAW: break;
    }
    return FRAME_MORE;
}

bool frame_decoder_lend(struct frame_decoder *d, struct span body)
{
    if (d->framing != FRAMING_WHOLE || d->broken || d->gather.n || body.n > d->limit)
        return false;
    d->direct = body;
    d->flags |= DATA_IN_INPUT;
    return true;
}

enum frame_result frame_decoder_keep(struct frame_decoder *d)
{
    if (d->framing != FRAMING_WHOLE || !keep_direct(d))
        return FRAME_MORE;
    return broken(d, d->gather.error);
}
