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

enum { HTTP_HEADERS_USUAL = 16 }; /* room for these at first */

/* ---- writing ---- */

static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_token_char(s.p[i]))
            return false;
    }
    return s.n > 0;
}

/* A field value may hold blanks, tabs and any byte above 0x7F, but nothing that could end the line.
 */
static bool is_field_value(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7F)
            return false;
    }
    return true;
}

static bool is_target(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c <= 0x20 || c == 0x7F)
            return false;
    }
    return s.n > 0 && s.p[0] == '/';
}

/* Headers that describe the connection or the body's length: ours alone. */
static bool is_ours(struct span name)
{
    static const struct span ours[] = {SPAN_INIT("Host"),
                                       SPAN_INIT("Connection"),
                                       SPAN_INIT("Content-Length"),
                                       SPAN_INIT("Upgrade"),
                                       SPAN_INIT("Transfer-Encoding"),
                                       SPAN_INIT("Expect"),
                                       SPAN_INIT("TE"),
                                       SPAN_INIT("Trailer")};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (span_eq_nocase(name, ours[i]))
            return true;
    }
    return false;
}

static bool has_header(const struct http_outgoing *r, struct span name)
{
    for (size_t i = 0; i < r->n_headers; i++) {
        if (span_eq_nocase(r->headers[i].name, name))
            return true;
    }
    return false;
}

static void field(struct buffer *out, struct span name, struct span value)
{
    buffer_append(out, name);
    buffer_append(out, SPAN(": "));
    buffer_append(out, value);
    buffer_append(out, SPAN("\r\n"));
}

static void length_field(struct buffer *out, int64_t length)
{
    buffer_append(out, SPAN("Content-Length: "));
    buffer_int(out, length);
    buffer_append(out, SPAN("\r\n"));
}

int http_request_write(struct buffer *out, const struct site_request *r, struct span host,
                       struct span prefix, struct fail *fail)
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
    return http_head_write(out, &head, host, prefix, fail);
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

int http_head_write(struct buffer *out, const struct http_outgoing *r, struct span host,
                    struct span prefix, struct fail *fail)
{
    if (!is_token(r->method))
        return fail_set(fail, FAIL_INTERNAL, "the request to the site has no valid method");
    if (!is_target(prefix.n ? prefix : r->target) ||
        (prefix.n && r->target.n && !is_target(r->target)))
        return fail_set(
            fail, FAIL_BAD_REQUEST,
            "the request's target holds a blank, a line break or another control character");
    buffer_append(out, r->method);
    buffer_char(out, ' ');
    buffer_append(out, prefix);
    buffer_append(out, r->target);
    buffer_append(out, SPAN(" HTTP/1.1\r\n"));
    field(out, SPAN("Host"), host);
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct header *h = &r->headers[i];
        if (!is_token(h->name) || is_ours(h->name))
            return fail_set(fail, FAIL_INTERNAL,
                            "the request to the site holds a header that is not valid: %.*s",
                            SPAN_ARGS(span_first(h->name, 60)));
        if (!is_field_value(h->value)) /* what a person pasted with a line break at its end */
            return fail_set(fail, FAIL_CREDENTIAL,
                            "the value of the header %.*s holds a line break or another control "
                            "character: check the account's credentials and the site's options",
                            SPAN_ARGS(span_first(h->name, 60)));
        field(out, h->name, h->value);
    }
    if (!has_header(r, SPAN("User-Agent")))
        field(out, SPAN("User-Agent"), SPAN("dragoman/" DRAGOMAN_VERSION));
    if (!has_header(r, SPAN("Accept-Encoding")))
        field(out, SPAN("Accept-Encoding"), SPAN("identity"));
    if (r->length >= 0)
        length_field(out, r->length);
    else if (r->length == HTTP_CHUNKED_BODY)
        buffer_append(out, SPAN("Transfer-Encoding: chunked\r\n"));
    buffer_append(out, SPAN("Connection: keep-alive\r\n\r\n"));
    if (out->error == BUFFER_NOMEM)
        return fail_memory(fail);
    if (out->error)
        return fail_set(fail, FAIL_BAD_REQUEST,
                        "the headers of the request to the site are too large");
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

/* The reason phrase stands before the names in `text`. */
static int on_status(llhttp_t *parser, const char *at, size_t n)
{
    struct http_answer *a = answer_of(parser);
    if (!count(a, n))
        return HPE_USER;
    a->reason_n += n;
    return buffer_append(&a->text, span_of(at, n)) == 0 ? 0 : HPE_USER;
}

static int refuse(llhttp_t *parser, const char *why)
{
    answer_of(parser)->refused = why;
    return HPE_USER;
}

static int on_message_begin(llhttp_t *parser)
{
    struct http_answer *a = answer_of(parser);
    buffer_clear(&a->text);
    a->n_fields = 0;
    a->reason_n = 0;
    a->in_head = true;
    return 0;
}

static bool more_fields(struct http_answer *a)
{
    size_t cap = a->fields_cap ? 2 * a->fields_cap : HTTP_HEADERS_USUAL;
    struct http_field *fields = realloc(a->fields, cap * sizeof *fields);
    if (fields)
        a->fields = fields;
    struct header *headers = realloc(a->headers, cap * sizeof *headers);
    if (headers)
        a->headers = headers;
    if (!fields || !headers)
        return false;
    a->fields_cap = cap;
    return true;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t n)
{
    struct http_answer *a = answer_of(parser);
    if (!count(a, n))
        return HPE_USER;
    if (!a->in_head)
        return 0;                                                         /* a trailer */
    if (!a->n_fields || a->fields[a->n_fields - 1].value != UINT32_MAX) { /* the name begins */
        if (a->n_fields == HTTP_HEADERS_MAX)
            return refuse(parser, "it has more than 256 headers");
        if (a->n_fields == a->fields_cap && !more_fields(a))
            return refuse(parser, "memory is short");
        a->fields[a->n_fields++] =
            (struct http_field){.name = (uint32_t)a->text.n, .value = UINT32_MAX};
    }
    a->fields[a->n_fields - 1].name_n += (uint32_t)n;
    return buffer_append(&a->text, span_of(at, n)) == 0 ? 0 : refuse(parser, "memory is short");
}

static int on_header_value(llhttp_t *parser, const char *at, size_t n)
{
    struct http_answer *a = answer_of(parser);
    if (!count(a, n))
        return HPE_USER;
    if (!a->in_head)
        return 0;
    assert(a->n_fields);
    struct http_field *f = &a->fields[a->n_fields - 1];
    if (f->value == UINT32_MAX)
        f->value = (uint32_t)a->text.n;
    f->value_n += (uint32_t)n;
    return buffer_append(&a->text, span_of(at, n)) == 0 ? 0 : refuse(parser, "memory is short");
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

/* ---- reading: what we tell ---- */

void http_answer_init(struct http_answer *a, const char *label)
{
    *a = (struct http_answer){.label = label};
    buffer_init(&a->text, HTTP_HEAD_MAX);
    http_answer_reset(a, false);
}

void http_answer_free(struct http_answer *a)
{
    buffer_free(&a->text);
    free(a->fields);
    free(a->headers);
    inflater_destroy(a->inflater);
    *a = (struct http_answer){0};
}

void http_answer_reset(struct http_answer *a, bool no_body)
{
    struct http_answer kept = *a;
    inflater_destroy(a->inflater);
    *a = (struct http_answer){.text = kept.text,
                              .fields = kept.fields,
                              .headers = kept.headers,
                              .fields_cap = kept.fields_cap,
                              .label = kept.label,
                              .no_body = no_body};
    buffer_shrink(&a->text, 16 * 1024);
    llhttp_init(&a->parser, HTTP_RESPONSE, &settings);
    a->parser.data = a;
}

static enum answer_event broken(struct http_answer *a, enum fail_kind kind, const char *what,
                                const char *why)
{
    if (!a->fail.kind)
        fail_set(&a->fail, kind, "%s %s: %s", a->label, what, why);
    a->ended = true;
    return ANSWER_BROKEN;
}

static enum answer_event parser_broken(struct http_answer *a)
{
    const char *why = a->refused ? a->refused : llhttp_get_error_reason(&a->parser);
    if (a->have_head)
        return broken(a, FAIL_CUT, "broke off its answer", why ? why : "its framing is damaged");
    return broken(a, FAIL_PROTOCOL, "does not answer as HTTP/1.1 does", why ? why : "not HTTP");
}

static struct span text_at(const struct http_answer *a, uint32_t at, uint32_t n)
{
    return n ? span_of(a->text.p + at, n) : span_of("", 0);
}

static struct span head_value(const struct http_answer *a, struct span name)
{
    for (size_t i = 0; i < a->n_fields; i++) {
        if (span_eq_nocase(a->headers[i].name, name))
            return a->headers[i].value;
    }
    return span_of("", 0);
}

/* How the body is coded; false when it is something that nobody asked for. */
static bool choose_coding(struct http_answer *a)
{
    struct span coding = span_trim(head_value(a, SPAN("Content-Encoding")));
    struct span transfer = span_trim(head_value(a, SPAN("Transfer-Encoding")));
    if (transfer.n && !span_eq_nocase(transfer, SPAN("chunked")) &&
        !span_eq_nocase(transfer, SPAN("identity")))
        return false;
    if (a->as_it_is || coding.n == 0 || span_eq_nocase(coding, SPAN("identity")))
        return true;
    bool gzip = span_eq_nocase(coding, SPAN("gzip")) || span_eq_nocase(coding, SPAN("x-gzip"));
    if (!gzip && !span_eq_nocase(coding, SPAN("deflate")))
        return false;
    a->inflater = inflater_create(gzip ? INFLATE_GZIP : INFLATE_DEFLATE);
    return a->inflater != NULL;
}

static enum answer_event tell_head(struct http_answer *a)
{
    a->head_told = true;
    for (size_t i = 0; i < a->n_fields; i++) {
        const struct http_field *f = &a->fields[i];
        struct span value =
            f->value == UINT32_MAX ? span_of("", 0) : text_at(a, f->value, f->value_n);
        a->headers[i] = (struct header){text_at(a, f->name, f->name_n), span_trim(value)};
    }
    a->head = (struct site_head){
        .status = a->parser.status_code, .headers = a->headers, .n_headers = a->n_fields};
    a->head.reason = text_at(a, 0, (uint32_t)a->reason_n);
    a->head.content_type = head_value(a, SPAN("Content-Type"));
    a->meta = 0;
    if (!choose_coding(a))
        return broken(a, FAIL_PROTOCOL, "sent its answer in a coding that was not asked for",
                      "only gzip and deflate are understood");
    return ANSWER_HEAD;
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
    if (result == INFLATE_BROKEN)
        return broken(a, FAIL_CUT, "broke off its answer", inflater_error(a->inflater));
    a->inflating = false;
    return ANSWER_MORE;
}

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

enum answer_event http_answer_next(struct http_answer *a, struct span *input, struct span *piece)
{
    for (;;) {
        if (a->fail.kind)
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
    if (a->fail.kind)
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
