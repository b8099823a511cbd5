/*
 * gateway/http_client.c - see http_client.h. llhttp reads the framing; every event pauses it, so
 * that it returns to us before anything is told.
 *
 * A stream is some ten thousand chunks of one event each. Between two of them llhttp is where it
 * will be again behind the next: a chunk that lies whole in the input, as plain as can be, is taken
 * from under it. Everything else about chunks is llhttp's.
 *
 * The hard part is compressed bodies: one span of input may inflate to many pieces, and the owner
 * may stop between them. llhttp cannot go back, so the bytes that it has passed and that are not
 * inflated yet stay in the owner's hands, and `ahead` counts them.
 */
#include "gateway/http_client.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/http_plain_head.h"
#include "gateway/http_token.h"

enum {
    HTTP_HEADERS_USUAL = 16, /* room for these at first */
    ROOM_KEEP = 16 * 1024    /* of text, for the next head */
};

/* ---- writing ---- */

/* A field value may hold blanks, tabs and any byte above 0x7F, but nothing that could end the line.
 */
static bool is_field_value(struct span s)
{
    bool bad = false;
    if (!span_has_control(s)) /* nearly all of them */
        return true;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bad |= (c < 0x20) & (c != '\t');
        bad |= c == 0x7F;
    }
    return !bad;
}

static bool is_target(struct span s)
{
    return s.n > 0 && s.p[0] == '/' && !span_has_control(s) && span_find_char(s, ' ') < 0;
}

/* Headers that describe the connection or the body's length: ours alone. */
static bool is_ours(struct span name)
{
    switch (name.n) {
    case 2: return span_eq_nocase(name, SPAN("TE"));
    case 4: return span_eq_nocase(name, SPAN("Host"));
    case 6: return span_eq_nocase(name, SPAN("Expect"));
    case 7: return span_eq_nocase(name, SPAN("Upgrade")) || span_eq_nocase(name, SPAN("Trailer"));
    case 10: return span_eq_nocase(name, SPAN("Connection"));
    case 14: return span_eq_nocase(name, SPAN("Content-Length"));
    case 17: return span_eq_nocase(name, SPAN("Transfer-Encoding"));
    default: return false;
    }
}

int http_request_write(struct buffer *out, const struct site_request *r, struct span host,
                       struct span prefix, struct http_known_head *known, struct fail *fail)
{
    struct span method = span_str(r->method);
    bool posts = span_eq(method, SPAN("POST")) || span_eq(method, SPAN("PUT")) ||
                 span_eq(method, SPAN("PATCH"));
    const struct http_outgoing head = {
        .method = method,
        .target = r->target,
        .headers = r->headers,
        .n_headers = r->n_headers,
        .length = r->body.n || posts ? (int64_t)r->body.n : HTTP_NO_BODY,
    };
    return http_head_write(out, &head, host, prefix, known, fail);
}

int http_chunk_write(struct buffer *out, struct span piece, bool last)
{
    if (piece.n) {
        buffer_printf(out, "%zx\r\n", piece.n);
        buffer_append(out, piece);
        buffer_append(out, SPAN("\r\n"));
    }
    if (last)
        buffer_append(out, SPAN("0\r\n\r\n"));
    return out->error;
}

/* Which of the headers that we add the request has already. */
struct own_headers {
    bool user_agent, accept_encoding;
};

static int check_header(const struct header *h, struct fail *fail)
{
    if (!http_is_token(h->name) || is_ours(h->name))
        return fail_set(fail, FAIL_INTERNAL,
                        "the request to the site holds a header that is not valid: %.*s",
                        SPAN_ARGS(span_first(h->name, 60)));
    if (!is_field_value(h->value)) /* what a person pasted with a line break at its end */
        return fail_set(fail, FAIL_CREDENTIAL,
                        "the value of the header %.*s holds a line break or another control "
                        "character: check the account's credentials and the site's options",
                        SPAN_ARGS(span_first(h->name, 60)));
    return 0;
}

static int check_line(const struct http_outgoing *r, struct span prefix, struct fail *fail)
{
    if (!http_is_token(r->method))
        return fail_set(fail, FAIL_INTERNAL, "the request to the site has no valid method");
    if (!is_target(prefix.n ? prefix : r->target) ||
        (prefix.n && r->target.n && !is_target(r->target)))
        return fail_set(
            fail, FAIL_BAD_REQUEST,
            "the request's target holds a blank, a line break or another control character");
    return 0;
}

static inline char *put(char *at, struct span s)
{
    if (s.n)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static char *put_field(char *at, struct span name, struct span value)
{
    at = put(put(at, name), SPAN(": "));
    return put(put(at, value), SPAN("\r\n"));
}

/* The lines that say how long the body is and that the connection stays. */
static void write_ending(struct buffer *out, int64_t length)
{
    if (length >= 0) {
        buffer_append(out, SPAN("Content-Length: "));
        buffer_int(out, length);
        buffer_append(out, SPAN("\r\n"));
    } else if (length == HTTP_CHUNKED_BODY) {
        buffer_append(out, SPAN("Transfer-Encoding: chunked\r\n"));
    }
    buffer_append(out, SPAN("Connection: keep-alive\r\n\r\n"));
}

/* How much room the head takes, at most. */
static size_t head_size(const struct http_outgoing *r, struct span host, struct span prefix)
{
    enum { FIXED = sizeof "  HTTP/1.1\r\nHost: \r\n", ENDING = 96 };
    size_t n = r->method.n + prefix.n + r->target.n + host.n + FIXED + ENDING;
    for (size_t i = 0; i < r->n_headers; i++)
        n += r->headers[i].name.n + r->headers[i].value.n + 4;
    return n;
}

/* A head as it is written, and how it compares with the known one. */
struct head_pen {
    char *head, *at;
    struct span known;
    bool same; /* all lines so far */
};

/* The line that began at `line` is written. With a line's end inside it would be several. */
static bool is_known(struct head_pen *pen, const char *line)
{
    size_t before = (size_t)(line - pen->head), n = (size_t)(pen->at - line);
    pen->same = pen->same && before + n <= pen->known.n &&
                memcmp(pen->known.p + before, line, n) == 0 && !memchr(line, '\n', n - 1);
    return pen->same;
}

/* From the request's line to the last header of it. -1: fail says what is not valid. */
static int put_lines(struct head_pen *pen, const struct http_outgoing *r, struct span host,
                     struct span prefix, struct own_headers *has, struct fail *fail)
{
    pen->at = put(put(put(pen->at, r->method), SPAN(" ")), prefix);
    pen->at = put(put(pen->at, r->target), SPAN(" HTTP/1.1\r\n"));
    if (!is_known(pen, pen->head) && check_line(r, prefix, fail))
        return -1;
    const char *line = pen->at;
    pen->at = put_field(pen->at, SPAN("Host"), host);
    is_known(pen, line);
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct header *h = &r->headers[i];
        line = pen->at;
        pen->at = put_field(pen->at, h->name, h->value);
        if (!is_known(pen, line) && check_header(h, fail))
            return -1;
        has->user_agent |= span_eq_nocase(h->name, SPAN("User-Agent"));
        has->accept_encoding |= span_eq_nocase(h->name, SPAN("Accept-Encoding"));
    }
    return 0;
}

/* Its lines, without ours behind them: what is compared with them may be anybody's. */
static void keep_head(struct http_known_head *known, const struct head_pen *pen)
{
    size_t n = (size_t)(pen->at - pen->head);
    if (!known || (pen->same && n == known->n))
        return;
    known->n = n <= sizeof known->text ? n : 0;
    memcpy(known->text, pen->head, known->n);
}

int http_head_write(struct buffer *out, const struct http_outgoing *r, struct span host,
                    struct span prefix, struct http_known_head *known, struct fail *fail)
{
    static const struct span user_agent =
        SPAN_INIT("User-Agent: dragoman/" DRAGOMAN_VERSION "\r\n");
    static const struct span identity = SPAN_INIT("Accept-Encoding: identity\r\n");
    struct own_headers has = {0};
    char *at = buffer_reserve(out, head_size(r, host, prefix) + user_agent.n + identity.n);
    if (out->error == BUFFER_NOMEM)
        return fail_memory(fail);
    if (out->error)
        return fail_set(fail, FAIL_BAD_REQUEST,
                        "the headers of the request to the site are too large");
    struct head_pen pen = {.head = at,
                           .at = at,
                           .same = true,
                           .known = {known ? known->text : "", known ? known->n : 0}};
    if (put_lines(&pen, r, host, prefix, &has, fail)) {
        explicit_bzero(at, (size_t)(pen.at - at)); /* nobody counts it, so nobody would wipe it */
        return -1;
    }
    keep_head(known, &pen);
    at = has.user_agent ? pen.at : put(pen.at, user_agent);
    at = has.accept_encoding ? at : put(at, identity);
    out->n = (size_t)(at - out->p);
    write_ending(out, r->length);
    return 0;
}

/* ---- dates ---- */

static bool month_of(struct span s, int *month)
{
    static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    for (int i = 0; i < 12; i++) {
        if (span_eq_nocase(s, span_of(names + (size_t)i * 3, 3))) {
            *month = i;
            return true;
        }
    }
    return false;
}

static bool clock_of(struct span s, struct tm *tm)
{
    uint64_t h, m, sec;
    if (s.n != 8 || s.p[2] != ':' || s.p[5] != ':' || !span_to_u64(span_of(s.p, 2), 23, &h) ||
        !span_to_u64(span_of(s.p + 3, 2), 59, &m) || !span_to_u64(span_of(s.p + 6, 2), 60, &sec))
        return false;
    tm->tm_hour = (int)h;
    tm->tm_min = (int)m;
    tm->tm_sec = (int)sec;
    return true;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994":
 * the words tell themselves apart. */
int64_t http_date_parse(struct span value)
{
    struct tm tm = {.tm_mday = 0, .tm_year = -1};
    bool month = false, clock = false;
    for (size_t i = 0, start = 0; i <= value.n; i++) {
        if (i < value.n && value.p[i] != ' ' && value.p[i] != ',' && value.p[i] != '-')
            continue;
        struct span word = span_of(value.p + start, i - start);
        start = i + 1;
        uint64_t number;
        if (!month && month_of(word, &tm.tm_mon)) {
            month = true;
        } else if (!clock && clock_of(word, &tm)) {
            clock = true;
        } else if (span_to_u64(word, 9999, &number)) {
            if (!tm.tm_mday && word.n <= 2 && number >= 1 && number <= 31)
                tm.tm_mday = (int)number;
            else if (tm.tm_year == -1 && word.n == 4 && number >= 1970)
                tm.tm_year = (int)number - 1900;
            else if (tm.tm_year == -1 && word.n == 2)
                tm.tm_year = (int)number + (number < 70 ? 100 : 0);
            else
                return -1;
        }
    }
    if (!month || !clock || !tm.tm_mday || tm.tm_year == -1)
        return -1;
    struct tm day = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday};
    timegm(&day); /* would make 3 March of 31 February; apart, as 23:59:60 is the next day */
    return day.tm_mday == tm.tm_mday ? (int64_t)timegm(&tm) : -1;
}

enum { RETRY_LONGEST_S = 365 * 86400 };

/* Digits, and perhaps a fraction as some sites send it: rounded up. Not understood: 0. */
static int seconds_of(struct span value)
{
    uint64_t seconds = 0;
    bool up = false;
    ptrdiff_t dot = span_find_char(value, '.');
    struct span fraction = dot < 0 ? SPAN("0") : span_from(value, (size_t)dot + 1);
    value = dot < 0 ? value : span_first(value, (size_t)dot);
    for (size_t i = 0; i < fraction.n; i++) {
        if (fraction.p[i] < '0' || fraction.p[i] > '9')
            return 0;
        up |= fraction.p[i] != '0';
    }
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return 0;
        if (seconds < RETRY_LONGEST_S)
            seconds = 10 * seconds + (uint64_t)(value.p[i] - '0');
    }
    if (!fraction.n)
        return 0;
    seconds += up;
    return seconds < RETRY_LONGEST_S ? (int)seconds : RETRY_LONGEST_S;
}

int http_retry_after(struct span value, int64_t now_s)
{
    value = span_trim(value);
    if (value.n == 0)
        return 0;
    if (value.p[0] >= '0' && value.p[0] <= '9')
        return seconds_of(value);
    int64_t date = http_date_parse(value);
    if (date < 0 || date <= now_s)
        return 0;
    return date - now_s > RETRY_LONGEST_S ? RETRY_LONGEST_S : (int)(date - now_s);
}

/* ---- reading: where a head is gathered ---- */

/* A name and its value, as places in the room's text: that may still move. */
struct http_field {
    uint32_t name, name_n, value, value_n; /* value == UINT32_MAX: none so far */
};

struct http_head_room {
    struct buffer text; /* the reason phrase, then names and values, one after the other */
    size_t reason_n;
    struct http_field *fields;
    struct header *headers;
    size_t n_fields, cap;
};

void http_head_room_free(struct http_head_room *room)
{
    if (!room)
        return;
    buffer_free(&room->text);
    free(room->fields);
    free(room->headers);
    free(room);
}

/* Empty. NULL when memory is short. */
static struct http_head_room *take_room(struct http_answer *a)
{
    struct http_head_room *room = a->room;
    if (!room && a->spare && *a->spare) {
        room = *a->spare;
        *a->spare = NULL;
    }
    if (!room) {
        room = calloc(1, sizeof *room);
        if (room)
            buffer_init(&room->text, HTTP_HEAD_MAX);
    }
    if (room) {
        buffer_clear(&room->text);
        room->n_fields = room->reason_n = 0;
    }
    a->room = room;
    return room;
}

void http_answer_drop_head(struct http_answer *a)
{
    struct http_head_room *room = a->room;
    a->room = NULL;
    a->head = (struct site_head){.status = a->head.status};
    if (room && a->spare && !*a->spare && room->text.cap <= ROOM_KEEP)
        *a->spare = room;
    else
        http_head_room_free(room);
}

static bool more_fields(struct http_head_room *room)
{
    size_t cap = room->cap ? 2 * room->cap : HTTP_HEADERS_USUAL;
    struct http_field *fields = realloc(room->fields, cap * sizeof *fields);
    if (fields)
        room->fields = fields;
    struct header *headers = realloc(room->headers, cap * sizeof *headers);
    if (headers)
        room->headers = headers;
    if (!fields || !headers)
        return false;
    room->cap = cap;
    return true;
}

/* ---- reading: what llhttp tells ---- */

static struct http_answer *answer_of(llhttp_t *parser) { return parser->data; }

/* Counts bytes that are not body; false when there are too many. */
static bool count(struct http_answer *a, size_t n)
{
    a->meta += n;
    if (a->meta <= HTTP_HEAD_MAX)
        return true;
    a->refused = "its headers are larger than 256 KiB";
    return false;
}

static int on_meta(llhttp_t *parser, const char *at, size_t n)
{
    return count(answer_of(parser), n) ? 0 : HPE_USER;
}

static int refuse(llhttp_t *parser, const char *why)
{
    answer_of(parser)->refused = why;
    return HPE_USER;
}

static int refuse_for_memory(llhttp_t *parser)
{
    answer_of(parser)->is_short = true;
    return HPE_USER;
}

static int gather(llhttp_t *parser, const char *at, size_t n)
{
    struct http_head_room *room = answer_of(parser)->room;
    return buffer_append(&room->text, span_of(at, n)) == 0 ? 0 : refuse_for_memory(parser);
}

static int on_message_begin(llhttp_t *parser)
{
    struct http_answer *a = answer_of(parser);
    a->in_head = true;
    return take_room(a) ? 0 : refuse_for_memory(parser);
}

/* The reason phrase stands before the names. */
static int on_status(llhttp_t *parser, const char *at, size_t n)
{
    struct http_answer *a = answer_of(parser);
    if (!count(a, n))
        return HPE_USER;
    a->room->reason_n += n;
    return gather(parser, at, n);
}

static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
    struct http_answer *a = answer_of(parser);
    struct http_head_room *room = a->room;
    if (!count(a, n))
        return HPE_USER;
    if (!a->in_head)
        return 0;                                                                  /* a trailer */
    if (!room->n_fields || room->fields[room->n_fields - 1].value != UINT32_MAX) { /* it begins */
        if (room->n_fields == HTTP_HEADERS_MAX)
            return refuse(parser, "it has more than 256 headers");
        if (room->n_fields == room->cap && !more_fields(room))
            return refuse_for_memory(parser);
        room->fields[room->n_fields++] =
            (struct http_field){.name = (uint32_t)room->text.n, .value = UINT32_MAX};
    }
    room->fields[room->n_fields - 1].name_n += (uint32_t)n;
    return gather(parser, at, n);
}

static int on_header_value(llhttp_t *parser, const char *at, size_t n)
{
    struct http_answer *a = answer_of(parser);
    struct http_head_room *room = a->room;
    if (!count(a, n))
        return HPE_USER;
    if (!a->in_head)
        return 0;
    assert(room->n_fields);
    struct http_field *f = &room->fields[room->n_fields - 1];
    if (f->value == UINT32_MAX)
        f->value = (uint32_t)room->text.n;
    f->value_n += (uint32_t)n;
    return gather(parser, at, n);
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http_answer *a = answer_of(parser);
    a->in_head = false;
    int status = parser->status_code;
    if (status == 101)
        return refuse(parser, "it switched to another protocol");
    bool empty = status / 100 == 1 || status == 204 || status == 304;
    if (a->no_body || empty)
        parser->flags |=
            F_SKIPBODY; /* what on_headers_complete's answer 1 means, but we pause as well */
    if (status / 100 == 1)
        return 0; /* interim: the real one follows */
    a->needs_eof = llhttp_message_needs_eof(parser) != 0;
    a->have_head = true;
    return HPE_PAUSED;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    if (n == 0)
        return 0; /* a paused span at the end of the input is told again, empty */
    answer_of(parser)->raw = span_of(at, n);
    return HPE_PAUSED;
}

static int on_chunk_header(llhttp_t *parser)
{
    struct http_answer *a = answer_of(parser);
    a->meta = 0;
    return 0;
}

/* From here to the next size line whole chunks need no llhttp: see take_chunk. */
static int on_chunk_complete(llhttp_t *parser)
{
    struct http_answer *a = answer_of(parser);
    if (parser->flags & F_TRAILING) /* that was the last one, and its trailers */
        return 0;
    a->between_chunks = true;
    return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *parser)
{
    struct http_answer *a = answer_of(parser);
    if (!a->have_head)
        return 0; /* an interim answer */
    a->complete = true;
    a->keep_alive = llhttp_should_keep_alive(parser) != 0;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_status = on_status,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
    .on_chunk_extension_name = on_meta,
    .on_chunk_extension_value = on_meta,
    .on_chunk_header = on_chunk_header,
    .on_chunk_complete = on_chunk_complete,
};

/* ---- reading: plain heads (http_plain_head.h) ---- */

/* True: the head is read, and out of the input. */
static bool take_plain_head(struct http_answer *a, struct span *input)
{
    struct http_plain_head h;
    struct http_head_room *room = a->no_body ? NULL : take_room(a);
    if (!room)
        return false;
    if ((!room->cap && !more_fields(room)) ||
        !http_plain_head_read(*input, room->headers, room->cap, &h) ||
        buffer_append(&room->text, h.text)) {
        http_answer_drop_head(a);
        return false;
    }
    const char *from = input->p, *to = room->text.p;
    room->n_fields = h.n_headers;
    for (size_t i = 0; i < room->n_fields; i++) {
        struct header *field = &room->headers[i];
        *field =
            (struct header){span_moved(field->name, from, to), span_moved(field->value, from, to)};
    }
    a->head = (struct site_head){
        .status = h.status,
        .reason = span_moved(h.reason, from, to),
        .headers = room->headers,
        .n_headers = room->n_fields,
        .content_type = span_moved(h.content_type, from, to),
    };
    a->have_head = a->head_told = a->keep_alive = true;
    a->way = h.chunked ? BODY_CHUNKS : BODY_LENGTH;
    a->left = h.length;
    *input = span_from(*input, h.text.n);
    return true;
}

/* Most answers do without. */
static void need_parser(struct http_answer *a)
{
    if (a->parser.data)
        return;
    llhttp_init(&a->parser, HTTP_RESPONSE, &settings);
    a->parser.data = a;
}

/* What comes now of a chunked body is not plain any more: llhttp goes on, as if it had read the
 * head. */
static void hand_over(struct http_answer *a)
{
    static const struct span head =
        SPAN_INIT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    struct http_head_room *room = a->room;
    struct site_head told = a->head;
    a->room = NULL;
    need_parser(a);
    llhttp_execute(&a->parser, head.p, head.n);
    http_answer_drop_head(a);
    a->room = room;
    a->head = told;
    a->meta = 0;
    a->way = BODY_LLHTTP;
}

/* ---- reading: what we tell ---- */

void http_answer_init(struct http_answer *a, const char *label)
{
    *a = (struct http_answer){.label = label};
    http_answer_reset(a, false);
}

void http_answer_free(struct http_answer *a)
{
    http_answer_reset(a, false);
    *a = (struct http_answer){0};
}

void http_answer_reset(struct http_answer *a, bool no_body)
{
    inflater_destroy(a->inflater);
    http_answer_drop_head(a);
    free(a->fail);
    *a = (struct http_answer){.spare = a->spare, .label = a->label, .no_body = no_body};
}

static enum answer_event broken(struct http_answer *a, enum fail_kind kind, const char *what,
                                const char *why)
{
    if (!a->broken)
        a->fail = malloc(sizeof *a->fail);
    if (!a->broken && a->fail)
        fail_set(a->fail, kind, "%s %s: %s", a->label, what, why);
    a->broken = a->ended = true;
    return ANSWER_BROKEN;
}

static enum answer_event short_of_memory(struct http_answer *a)
{
    a->broken = a->ended = true; /* without words of its own */
    return ANSWER_BROKEN;
}

static enum answer_event parser_broken(struct http_answer *a)
{
    if (a->is_short)
        return short_of_memory(a);
    const char *why = a->refused ? a->refused : llhttp_get_error_reason(&a->parser);
    if (a->have_head)
        return broken(a, FAIL_PROTOCOL, "sent an answer that makes no sense",
                      why ? why : "its framing is damaged");
    return broken(a, FAIL_PROTOCOL, "does not answer as HTTP/1.1 does", why ? why : "not HTTP");
}

static struct span text_at(const struct http_head_room *room, uint32_t at, uint32_t n)
{
    return n ? span_of(room->text.p + at, n) : span_of("", 0);
}

/* The headers that say how the body is to be read; "" = absent. Of several the first counts. */
struct body_headers {
    struct span content_type, coding, transfer;
};

static void note_first(struct span *known, const struct header *h, struct span name)
{
    if (!known->p && span_eq_nocase(h->name, name))
        *known = h->value;
}

static struct body_headers body_headers(const struct header *headers, size_t n)
{
    struct body_headers b = {0};
    for (size_t i = 0; i < n; i++) {
        switch (headers[i].name.n) {
        case 12: note_first(&b.content_type, &headers[i], SPAN("Content-Type")); break;
        case 16: note_first(&b.coding, &headers[i], SPAN("Content-Encoding")); break;
        case 17: note_first(&b.transfer, &headers[i], SPAN("Transfer-Encoding")); break;
        default: break;
        }
    }
    return b;
}

/* How the body is coded; false when it is something that nobody asked for. `*is_short`: there is no
 * memory to decode it. */
static bool choose_coding(struct http_answer *a, struct span coding, struct span transfer,
                          bool *is_short)
{
    if (transfer.n && !span_eq_nocase(transfer, SPAN("chunked")) &&
        !span_eq_nocase(transfer, SPAN("identity")))
        return false;
    if (a->as_it_is || coding.n == 0 || span_eq_nocase(coding, SPAN("identity")))
        return true;
    bool gzip = span_eq_nocase(coding, SPAN("gzip")) || span_eq_nocase(coding, SPAN("x-gzip"));
    if (!gzip && !span_eq_nocase(coding, SPAN("deflate")))
        return false;
    a->inflater = inflater_create(gzip ? INFLATE_GZIP : INFLATE_DEFLATE);
    *is_short = !a->inflater;
    return true;
}

static enum answer_event tell_head(struct http_answer *a)
{
    struct http_head_room *room = a->room;
    assert(room); /* since the head began */
    a->head_told = true;
    for (size_t i = 0; i < room->n_fields; i++) {
        const struct http_field *f = &room->fields[i];
        struct span value =
            f->value == UINT32_MAX ? span_of("", 0) : text_at(room, f->value, f->value_n);
        room->headers[i] = (struct header){text_at(room, f->name, f->name_n), span_trim(value)};
    }
    struct body_headers said = body_headers(room->headers, room->n_fields);
    a->head = (struct site_head){
        .status = a->parser.status_code,
        .reason = text_at(room, 0, (uint32_t)room->reason_n),
        .headers = room->headers,
        .n_headers = room->n_fields,
        .content_type = said.content_type.p ? said.content_type : span_of("", 0),
    };
    a->meta = 0;
    bool is_short = false;
    if (!choose_coding(a, said.coding, said.transfer, &is_short))
        return broken(a, FAIL_PROTOCOL, "sent its answer in a coding that was not asked for",
                      "only gzip and deflate are understood");
    return is_short ? short_of_memory(a) : ANSWER_HEAD;
}

static enum answer_event inflate_some(struct http_answer *a, struct span *input, struct span *piece)
{
    assert(a->ahead <= input->n);
    struct span coded = span_first(*input, a->ahead);
    enum inflate_result result = inflater_next(a->inflater, &coded, piece);
    *input = span_from(*input, a->ahead - coded.n);
    a->ahead = coded.n;
    if (result == INFLATE_PIECE)
        return ANSWER_BODY;
    if (result == INFLATE_BROKEN && inflater_is_short(a->inflater))
        return short_of_memory(a);
    if (result == INFLATE_BROKEN)
        return broken(a, FAIL_PROTOCOL, "sent an answer that makes no sense",
                      inflater_error(a->inflater));
    a->inflating = false;
    return ANSWER_MORE;
}

bool http_answer_inflates(const struct http_answer *a) { return a->inflater != NULL; }

static enum answer_event tell_end(struct http_answer *a)
{
    if (a->inflater && !inflater_is_complete(a->inflater))
        return broken(a, FAIL_CUT, "broke off its answer", "the compressed data are incomplete");
    a->ended = true;
    return ANSWER_END;
}

enum { CHUNK_DIGITS_MAX = 7 };

/* "<hex>\r\n<data>\r\n" at the front of the input, not empty: takes it. */
static bool take_chunk(struct span *input, struct span *piece)
{
    size_t size = 0, at = 0;
    for (; at < input->n && at <= CHUNK_DIGITS_MAX; at++) {
        int digit = hex_digit(input->p[at]);
        if (digit < 0)
            break;
        size = size << 4 | (unsigned)digit;
    }
    if (size == 0 || at > CHUNK_DIGITS_MAX || input->n < at + 2 + size + 2)
        return false;
    const char *data = input->p + at + 2;
    if (memcmp(data - 2, "\r\n", 2) != 0 || memcmp(data + size, "\r\n", 2) != 0)
        return false;
    *piece = span_of(data, size);
    *input = span_from(*input, at + 2 + size + 2);
    return true;
}

bool http_answer_is_told(const struct http_answer *a) { return a->way == BODY_LENGTH && !a->left; }

void http_answer_join(struct http_answer *a, struct span *input, struct span *piece, char *room,
                      size_t cap)
{
    struct span next, rest = *input;
    size_t n = 0;
    while (a->way == BODY_CHUNKS && rest.n && take_chunk(&rest, &next)) {
        size_t before = n ? n : piece->n;
        if (before + next.n > cap)
            break;
        if (!n)
            memcpy(room, piece->p, before);
        memcpy(room + before, next.p, next.n);
        n = before + next.n;
        *input = rest;
    }
    if (n)
        *piece = span_of(room, n);
}

/* A body whose framing needs no llhttp. ANSWER_MORE with input left: now it does. */
static enum answer_event read_plainly(struct http_answer *a, struct span *input, struct span *piece)
{
    const struct span last = SPAN("0\r\n\r\n");
    if (a->way == BODY_LENGTH && a->left) {
        size_t n = a->left < input->n ? (size_t)a->left : input->n;
        *piece = span_first(*input, n);
        *input = span_from(*input, n);
        a->left -= n;
        return n ? ANSWER_BODY : ANSWER_MORE;
    }
    if (a->way == BODY_CHUNKS) {
        if (input->n && take_chunk(input, piece))
            return ANSWER_BODY;
        if (!span_starts(*input, last))
            return ANSWER_MORE;
        *input = span_from(*input, last.n);
    }
    a->complete = true;
    return tell_end(a);
}

enum answer_event http_answer_next(struct http_answer *a, struct span *input, struct span *piece)
{
    if (!a->begun && input->n) {
        a->begun = true;
        if (take_plain_head(a, input))
            return ANSWER_HEAD;
    }
    if (a->way != BODY_LLHTTP && !a->broken && !a->complete) {
        enum answer_event event = read_plainly(a, input, piece);
        if (event != ANSWER_MORE || !input->n)
            return event;
        hand_over(a);
    }
    need_parser(a);
    for (;;) {
        if (a->broken)
            return ANSWER_BROKEN;
        if (a->inflating) {
            enum answer_event event = inflate_some(a, input, piece);
            if (event != ANSWER_MORE)
                return event;
        }
        if (a->have_head && !a->head_told)
            return tell_head(a);
        if (a->complete)
            return a->ended ? ANSWER_END : tell_end(a);
        if (a->between_chunks && input->n == 0)
            return ANSWER_MORE;
        if (a->between_chunks && !a->inflater && take_chunk(input, piece))
            return ANSWER_BODY;

        bool paused = llhttp_get_errno(&a->parser) == HPE_PAUSED;
        if (!paused && input->n == 0)
            return ANSWER_MORE;
        llhttp_resume(&a->parser);
        a->between_chunks = false;
        const char *from = input->n ? input->p : "";
        a->raw = span_of(NULL, 0);
        llhttp_errno_t error = llhttp_execute(&a->parser, from, input->n);
        if (error == HPE_OK) {
            *input = span_from(*input, input->n);
            continue;
        }
        if (error != HPE_PAUSED)
            return parser_broken(a);
        size_t passed = (size_t)(llhttp_get_error_pos(&a->parser) - from);
        if (!a->raw.n) {
            *input = span_from(*input, passed);
            continue;
        }
        if (!a->inflater) {
            *piece = a->raw;
            *input = span_from(*input, passed);
            return ANSWER_BODY;
        }
        *input = span_from(*input, (size_t)(a->raw.p - from));
        a->ahead = a->raw.n;
        a->inflating = true;
        assert(a->raw.p + a->raw.n == from + passed);
    }
}

enum answer_event http_answer_eof(struct http_answer *a)
{
    if (a->broken)
        return ANSWER_BROKEN;
    if (a->complete)
        return tell_end(a);
    if (a->have_head && a->needs_eof) {
        a->complete = true;
        a->keep_alive = false;
        return tell_end(a);
    }
    if (a->have_head)
        return broken(a, FAIL_CUT, "broke off its answer",
                      "the connection was closed before its end");
    return broken(a, FAIL_UNREACHABLE, "closed the connection",
                  "the answer's head was not complete");
}
