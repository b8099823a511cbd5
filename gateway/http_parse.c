/*
 * gateway/http_parse.c - see http_parse.h.
 *
 * Three readers in a row, each of which may only refuse: `lex` looks at every byte of the head as
 * it arrives, llhttp reads the gathered head in one go, `settle_framing` decides what the headers
 * mean for the body. The hard part is what a loose reader would let pass: the packaged llhttp takes
 * "CR anything" for a line's end in places, versions like HTTP/2.0, and any last coding in
 * Transfer-Encoding.
 *
 * Nearly all heads come whole and are plain: GET or POST, a target without odd characters, headers
 * with values, at most one plain length and no coding. Those are checked and split in one walk
 * (`plain_head`), with the same outcome, as a test sees to.
 */
#include "gateway/http_parse.h"

#include <assert.h>
#include <llhttp.h>

#include "base/word.h"
#include "gateway/http_path.h"
#include "gateway/http_token.h"

enum {
    START, /* before the request line; empty lines are skipped (RFC 9112, 2.2) */
    START_LF,
    METHOD,
    TARGET,
    VERSION,
    VERSION_LF,
    LINE, /* the first byte of a header line, or the empty line */
    NAME,
    VALUE,
    VALUE_LF,
    END_LF,
    HEAD, /* whole; waits for begin_body */
    BODY_LENGTH,
    BODY_CHUNKED,
    DONE,
    FAILED
};

static const char version_text[] = "HTTP/1."; /* and one digit */

enum { HEAD_KEEP = 2048 }; /* memory for a head that a parser keeps between requests */
enum { PLAIN_LINES = 48 }; /* headers of a plain head; heads with more are read by llhttp */
enum { HUGE_DIGITS = 18 }; /* more digits of Content-Length are huge, whatever they say */

/* ---- life ---- */

void http_parser_init(struct http_parser *p)
{
    *p = (struct http_parser){.request.content_length = -1};
    buffer_init(&p->head, HTTP_HEAD_MAX);
    arena_init(&p->arena);
}

void http_parser_reset(struct http_parser *p)
{
    buffer_free(&p->head);
    buffer_free(&p->body);
    arena_free(&p->arena);
    http_parser_init(p);
}

void http_parser_recycle(struct http_parser *p)
{
    struct buffer head = p->head;
    struct arena arena = p->arena;
    buffer_free(&p->body);
    buffer_shrink(&head, HEAD_KEEP);
    arena_clear(&arena);
    http_parser_init(p);
    p->head = head;
    p->arena = arena;
}

char *http_parser_take_body(struct http_parser *p, size_t *n)
{
    char *body = p->body.p;
    assert(p->at == DONE);
    *n = p->body.n;
    buffer_init(&p->body, p->body.limit);
    return body;
}

bool http_parser_is_idle(const struct http_parser *p) { return p->at <= START_LF; }

static int refuse(struct http_problem *problem, int status, const char *text)
{
    enum fail_kind kind = status == 413   ? FAIL_TOO_LARGE
                          : status >= 500 ? FAIL_INTERNAL
                                          : FAIL_INVALID_VALUE;
    problem->status = status;
    return fail_set(&problem->fail, kind, "%s", text);
}

static int refuse_memory(struct http_problem *problem)
{
    problem->status = 503;
    return fail_memory(&problem->fail);
}

/* ---- the head, byte by byte ---- */

static int refuse_start(struct http_problem *problem, unsigned char c)
{
    if (c == 0x16)
        return refuse(problem, 400,
                      "this looks like TLS, but this port speaks plain HTTP: use http:// in the "
                      "base URL");
    return refuse(problem, 400, "the request does not begin with a method: this is no HTTP/1.1");
}

/* One byte. 0: go on, -1 with problem. `at` is the byte's offset in the head. */
static int lex_byte(struct http_parser *p, unsigned char c, size_t at, struct http_problem *problem)
{
    switch (p->at) {
    case START:
        if (c == '\r') {
            p->at = START_LF;
            return 0;
        }
        if (!http_is_token_char(c))
            return refuse_start(problem, c);
        p->at = METHOD;
        return 0;
    case START_LF: p->at = START; return c == '\n' ? 0 : refuse_start(problem, c);
    case METHOD:
        if (c == ' ') {
            p->at = TARGET;
            p->target_at = at + 1;
            return 0;
        }
        return http_is_token_char(c) && at < HTTP_METHOD_MAX ? 0 : refuse_start(problem, c);
    case TARGET:
        if (c == ' ' && at > p->target_at) {
            p->at = VERSION;
            p->left = 0;
            return 0;
        }
        if (at - p->target_at >= HTTP_TARGET_MAX)
            return refuse(problem, 414, "the request's URL is longer than 8 KiB");
        if (c > ' ' && c != 0x7F)
            return 0;
        return refuse(problem, 400, "the request line is not \"METHOD target HTTP/1.1\"");
    case VERSION: /* `left` counts its bytes */
        if (p->left < sizeof version_text - 1    ? c == (unsigned char)version_text[p->left]
            : p->left == sizeof version_text - 1 ? c == '0' || c == '1'
                                                 : c == '\r') {
            p->request.http10 |= p->left == sizeof version_text - 1 && c == '0';
            if (++p->left == sizeof version_text + 1)
                p->at = VERSION_LF;
            return 0;
        }
        return refuse(problem, 400,
                      "the request is not HTTP/1.1 (HTTP/2 is not spoken here, and neither are "
                      "older or other protocols)");
    case VERSION_LF:
    case VALUE_LF:
        p->at = LINE;
        return c == '\n' ? 0
                         : refuse(problem, 400, "a line of the request's head ends in a bare CR");
    case LINE:
        if (c == '\r') {
            p->at = END_LF;
            return 0;
        }
        if (++p->lines > HTTP_HEADER_LINES_MAX)
            return refuse(problem, 431, "the request has more than 512 headers");
        p->at = NAME;
        if (c == ' ' || c == '\t')
            return refuse(problem, 400, "a header of the request is folded over several lines");
        return http_is_token_char(c) ? 0
                                     : refuse(problem, 400, "a header of the request has no name");
    case NAME:
        if (c == ':')
            p->at = VALUE;
        else if (c == ' ' || c == '\t')
            return refuse(problem, 400, "a header of the request has a blank before its colon");
        else if (!http_is_token_char(c))
            return refuse(problem, 400, "a header's name holds a character that it must not");
        return 0;
    case VALUE:
        if (c == '\r')
            p->at = VALUE_LF;
        else if ((c < ' ' && c != '\t') || c == 0x7F)
            return refuse(problem, 400, "a header's value holds a control character or a bare LF");
        return 0;
    default: /* END_LF */
        p->at = HEAD;
        return c == '\n' ? 0
                         : refuse(problem, 400, "a line of the request's head ends in a bare CR");
    }
}

/* Bytes before the first one below `least` (at most a blank's successor) or DEL; eight at a time,
 * as values are long. */
static size_t text_run(struct span in, unsigned char least)
{
    size_t n = 0;
    for (; in.n - n >= sizeof(uint64_t); n += sizeof(uint64_t)) {
        uint64_t w = word_load(in.p + n), found = word_below(w, least) | word_equal(w, 0x7F);
        if (found)
            return n + word_first(found);
    }
    while (n < in.n && (unsigned char)in.p[n] >= least && in.p[n] != 0x7F)
        n++;
    return n;
}

/* Most of a head: how many bytes from in[0] on would lex_byte let pass one by one without going on
 * to another state? `at` as there. */
static size_t plain_run(const struct http_parser *p, struct span in, size_t at)
{
    in = span_first(in, HTTP_HEAD_MAX - at);
    switch (p->at) {
    case TARGET: return text_run(span_first(in, p->target_at + HTTP_TARGET_MAX - at), ' ' + 1);
    case VALUE: return text_run(in, ' ');
    case NAME: return http_token_run(in);
    default: return 0;
    }
}

/* Takes bytes up to the end of the head out of `in` into `head`. */
static int lex(struct http_parser *p, struct span *in, struct http_problem *problem)
{
    size_t n = 0, skipped = 0;
    int result = 0;
    while (n < in->n && p->at < HEAD && result == 0) {
        size_t run = plain_run(p, span_from(*in, n), p->head.n + n - skipped);
        n += run;
        if (run)
            continue;
        if (p->head.n + n - skipped >= HTTP_HEAD_MAX)
            result = refuse(problem, 431, "the head of the request is larger than 64 KiB");
        else
            result = lex_byte(p, (unsigned char)in->p[n], p->head.n + n - skipped, problem);
        n++;
        if (p->at <= START_LF)
            skipped = n;
    }
    struct span taken = span_from(span_first(*in, result ? n - 1 : n), skipped);
    *in = span_from(*in, n);
    if (buffer_append(&p->head, taken) && result == 0)
        return refuse_memory(problem);
    if (result && p->at > METHOD && p->head.p) /* an answer to HEAD has no body, not even now */
        p->request.method = span_of(p->head.p, p->target_at - 1);
    return result;
}

/* ---- the head as a whole ---- */

static struct http_request *request_of(llhttp_t *llhttp)
{
    return &((struct http_parser *)llhttp->data)->request;
}

/* llhttp hands out text in pieces; as the head lies in one buffer, the pieces of one text touch
 * each other. */
static void extend(struct span *text, const char *at, size_t n)
{
    if (!text->p)
        *text = span_of(at, n);
    else
        text->n = (size_t)(at + n - text->p);
}

static int on_url(llhttp_t *llhttp, const char *at, size_t n)
{
    extend(&request_of(llhttp)->target, at, n);
    return 0;
}

static int on_header_field(llhttp_t *llhttp, const char *at, size_t n)
{
    struct http_request *r = request_of(llhttp);
    assert(r->n_headers < ((struct http_parser *)llhttp->data)->lines);
    extend(&r->headers[r->n_headers].name, at, n);
    return 0;
}

static int on_header_value(llhttp_t *llhttp, const char *at, size_t n)
{
    struct http_request *r = request_of(llhttp);
    extend(&r->headers[r->n_headers].value, at, n);
    return 0;
}

static int on_header_value_complete(llhttp_t *llhttp)
{
    request_of(llhttp)->n_headers++;
    return 0;
}

static int on_headers_complete(llhttp_t *llhttp) { return HPE_PAUSED; }

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_header_field,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
};

static bool is_digits(struct span s)
{
    size_t i = 0;
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return s.n && i == s.n;
}

/* llhttp stopped inside a Content-Length: is it a number that is too large for it, or none at all?
 */
static bool is_huge_length(const struct http_parser *p)
{
    struct span name = p->request.headers[p->request.n_headers].name;
    if (!name.p)
        return false;
    struct span line = span_from(buffer_span(&p->head), (size_t)(name.p - p->head.p) + name.n + 1);
    ptrdiff_t end = span_find_char(line, '\r');
    struct span value = span_trim(span_first(line, end < 0 ? 0 : (size_t)end));
    return value.n > HUGE_DIGITS && is_digits(value);
}

static int refuse_llhttp(const struct http_parser *p, const llhttp_t *llhttp,
                         struct http_problem *problem)
{
    switch (llhttp_get_errno(llhttp)) {
    case HPE_INVALID_METHOD: return refuse(problem, 400, "the request's method is not known");
    case HPE_INVALID_CONTENT_LENGTH:
        if (is_huge_length(p))
            return refuse(problem, 413, "the announced request body is larger than can be counted");
        return refuse(problem, 400, "Content-Length is not one plain number");
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return refuse(problem, 400,
                      "the request gives its length twice, or a length and a transfer coding");
    case HPE_INVALID_TRANSFER_ENCODING:
        return refuse(problem, 400, "the request has a transfer coding other than chunked");
    default: return refuse(problem, 400, "the head of the request is no valid HTTP/1.1");
    }
}

/* The list of a comma-separated header value holds the token. */
static bool has_token(struct span list, struct span token)
{
    struct span item;
    while (span_split(&list, ',', &item)) {
        if (span_eq_nocase(span_trim(item), token))
            return true;
    }
    return false;
}

static int settle_length(struct http_request *r, struct span value, struct http_problem *problem)
{
    uint64_t length;
    if (r->content_length >= 0)
        return refuse(problem, 400, "the request gives its length twice");
    if (value.n > HUGE_DIGITS && is_digits(value))
        return refuse(problem, 413, "the announced request body is larger than can be counted");
    if (!span_to_u64(value, INT64_MAX, &length))
        return refuse(problem, 400, "Content-Length is not one plain number");
    r->content_length = (int64_t)length;
    return 0;
}

enum framing_header {
    OTHER_HEADER,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE
};

/* The headers that say how the request ends and what comes behind it; of the others, most are not
 * even as long as one of these. */
static enum framing_header framing_header(struct span name)
{
    switch (name.n) {
    case 4: return span_same_nocase(name, SPAN("host")) ? HOST : OTHER_HEADER;
    case 6: return span_same_nocase(name, SPAN("expect")) ? EXPECT : OTHER_HEADER;
    case 7: return span_same_nocase(name, SPAN("upgrade")) ? UPGRADE : OTHER_HEADER;
    case 10: return span_same_nocase(name, SPAN("connection")) ? CONNECTION : OTHER_HEADER;
    case 14: return span_same_nocase(name, SPAN("content-length")) ? CONTENT_LENGTH : OTHER_HEADER;
    case 17:
        return span_same_nocase(name, SPAN("transfer-encoding")) ? TRANSFER_ENCODING : OTHER_HEADER;
    default: return OTHER_HEADER;
    }
}

/* What the headers say together. */
struct http_framing {
    bool host, close, keep;
};

static int settle_header(struct http_request *r, enum framing_header kind, struct span value,
                         struct http_framing *f, struct http_problem *problem)
{
    switch (kind) {
    case CONTENT_LENGTH: return settle_length(r, value, problem);
    case TRANSFER_ENCODING:
        if (r->chunked || r->http10 || !span_eq_nocase(value, SPAN("chunked")))
            return refuse(problem, 400, "the request has a transfer coding other than chunked");
        r->chunked = true;
        return 0;
    case CONNECTION:
        f->close |= has_token(value, SPAN("close"));
        f->keep |= has_token(value, SPAN("keep-alive"));
        return 0;
    case EXPECT:
        r->expect_continue |= !r->http10 && has_token(value, SPAN("100-continue"));
        return 0;
    case HOST:
        if (f->host)
            return refuse(problem, 400, "the request has two Host headers");
        f->host = true;
        return 0;
    case UPGRADE:
    case OTHER_HEADER: return 0;
    }
    return 0;
}

/* `kinds`: of each header; NULL = to be found out. */
static int settle_framing(struct http_request *r, const uint8_t *kinds,
                          struct http_problem *problem)
{
    struct http_framing framing = {0};
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct header *h = &r->headers[i];
        enum framing_header kind = kinds ? (enum framing_header)kinds[i] : framing_header(h->name);
        r->seen |= http_header_bit(h->name);
        if (kind != OTHER_HEADER && settle_header(r, kind, h->value, &framing, problem))
            return -1;
    }
    if (r->chunked && r->content_length >= 0)
        return refuse(problem, 400, "the request has both Content-Length and Transfer-Encoding");
    r->keep_alive = !framing.close && (!r->http10 || framing.keep);
    return 0;
}

static int read_by_llhttp(struct http_parser *p, struct http_problem *problem)
{
    llhttp_t llhttp;
    llhttp_init(&llhttp, HTTP_REQUEST, &settings);
    llhttp.data = p;
    llhttp_execute(&llhttp, p->head.p, p->head.n);
    if (llhttp_get_errno(&llhttp) != HPE_PAUSED || p->request.n_headers != p->lines)
        return refuse_llhttp(p, &llhttp, problem);
    return 0;
}

static int read_path(struct http_parser *p, struct http_problem *problem)
{
    struct http_request *r = &p->request;
    char *path = arena_alloc(&p->arena, r->target.n + 1);
    if (!path)
        return refuse_memory(problem);
    r->path = http_path_normalise(r->target, path);
    return 0;
}

/* The gathered head, of which every byte was looked at. */
static int read_head(struct http_parser *p, struct http_problem *problem)
{
    struct http_request *r = &p->request;
    r->headers = arena_alloc(&p->arena, (p->lines + 1) * sizeof *r->headers);
    if (!r->headers)
        return refuse_memory(problem);
    r->method = span_of(p->head.p, p->target_at - 1);
    if (read_by_llhttp(p, problem))
        return -1;
    for (size_t i = 0; i < r->n_headers; i++)
        r->headers[i].value = span_trim(r->headers[i].value);
    return read_path(p, problem) || settle_framing(r, NULL, problem) ? -1 : 0;
}

/* ---- a plain head ---- */

/* What `plain_head` found in the input. */
struct plain {
    struct span method, target;
    struct header lines[PLAIN_LINES];
    uint8_t kinds[PLAIN_LINES]; /* enum framing_header */
    size_t n;
};

/* "/v1/chat/completions?x=1": of such a target every reader finds the same end. */
static struct span plain_target(struct span in)
{
    size_t n = 0;
    while (n < in.n && n < HTTP_TARGET_MAX &&
           (ascii_is_alnum(in.p[n]) || in.p[n] == '/' || in.p[n] == '-' || in.p[n] == '_' ||
            in.p[n] == '.' || in.p[n] == '?' || in.p[n] == '=' || in.p[n] == '&'))
        n++;
    return span_first(in, n);
}

/* What the body's framing hangs on is for llhttp to see as well, but for one plain length. */
static bool is_plain_header(const struct header *h, enum framing_header kind, bool *has_length)
{
    if (!h->value.n || kind == TRANSFER_ENCODING || kind == UPGRADE)
        return false;
    if (kind != CONTENT_LENGTH)
        return true;
    bool again = *has_length;
    *has_length = true;
    return !again && h->value.n <= HUGE_DIGITS && is_digits(h->value);
}

/* One header line, and cuts it off. False: it is not plain, or not all there. */
static bool plain_line(struct span *in, struct header *h)
{
    size_t name = http_token_run(*in);
    if (!name || name == in->n || in->p[name] != ':')
        return false;
    h->name = span_first(*in, name);
    struct span rest = span_from(*in, name + 1);
    if (rest.n && rest.p[0] == ' ') /* as nearly all have it */
        rest = span_from(rest, 1);
    h->value = span_first(rest, text_run(rest, ' '));
    rest = span_from(rest, h->value.n);
    if (!span_starts(rest, SPAN("\r\n")))
        return false;
    h->value = span_trim(h->value);
    *in = span_from(rest, 2);
    return true;
}

/* A head that lies in `in` whole and is as plain as nearly all are, in one walk: its length. 0: let
 * lex_byte look at it, which says what there is to be said. */
static size_t plain_head(struct span in, struct plain *found)
{
    static const struct span version = SPAN_INIT(" HTTP/1.1\r\n");
    struct span rest = span_first(in, HTTP_HEAD_MAX);
    bool has_length = false;
    found->method = span_starts(rest, SPAN("POST ")) ? span_first(rest, 4) : span_first(rest, 3);
    if (found->method.n == 3 && !span_starts(rest, SPAN("GET ")))
        return 0;
    found->target = plain_target(span_from(rest, found->method.n + 1));
    rest = span_from(rest, found->method.n + 1 + found->target.n);
    if (!span_starts(found->target, SPAN("/")) || !span_starts(rest, version))
        return 0;
    rest = span_from(rest, version.n);
    for (found->n = 0; found->n < PLAIN_LINES; found->n++) {
        if (span_starts(rest, SPAN("\r\n")))
            return (size_t)(rest.p + 2 - in.p);
        struct header *h = &found->lines[found->n];
        if (!plain_line(&rest, h))
            return 0;
        enum framing_header kind = framing_header(h->name);
        if (!is_plain_header(h, kind, &has_length))
            return 0;
        found->kinds[found->n] = (uint8_t)kind;
    }
    return 0;
}

static int take_plain_head(struct http_parser *p, struct span in, const struct plain *found,
                           struct http_problem *problem)
{
    struct http_request *r = &p->request;
    struct header *headers = arena_alloc(&p->arena, (found->n + 1) * sizeof *headers);
    if (!headers || buffer_append(&p->head, in))
        return refuse_memory(problem);
    for (size_t i = 0; i < found->n; i++) {
        headers[i].name = span_moved(found->lines[i].name, in.p, p->head.p);
        headers[i].value = span_moved(found->lines[i].value, in.p, p->head.p);
    }
    r->headers = headers;
    r->n_headers = found->n;
    r->method = span_moved(found->method, in.p, p->head.p);
    r->target = span_moved(found->target, in.p, p->head.p);
    p->at = HEAD;
    return read_path(p, problem) || settle_framing(r, found->kinds, problem) ? -1 : 0;
}

static int next_of_head(struct http_parser *p, struct span *in, struct http_problem *problem)
{
    struct plain found;
    size_t n = p->at == START ? plain_head(*in, &found) : 0;
    if (n) {
        struct span head = span_first(*in, n);
        *in = span_from(*in, n);
        return take_plain_head(p, head, &found, problem);
    }
    return lex(p, in, problem) || (p->at == HEAD && read_head(p, problem)) ? -1 : 0;
}

/* ---- the body ---- */

static enum http_parse_event refuse_body(struct http_parser *p, struct http_problem *problem)
{
    p->at = FAILED;
    problem->status = 413;
    if (p->stream || p->discard) {
        refuse(problem, 413, "a chunk of the request body is larger than can be counted");
        return HTTP_PARSE_FAILED;
    }
    fail_set(&problem->fail, FAIL_TOO_LARGE,
             "the request body is larger than this gateway takes (max_body is %zu bytes)",
             p->body.limit);
    return HTTP_PARSE_FAILED;
}

static enum http_parse_event begin_body(struct http_parser *p)
{
    const struct http_request *r = &p->request;
    assert(p->at == HEAD);
    p->left = r->content_length > 0 ? (uint64_t)r->content_length : 0;
    p->at = r->chunked ? BODY_CHUNKED : p->left ? BODY_LENGTH : DONE;
    return p->at == DONE ? HTTP_PARSE_DONE : HTTP_PARSE_MORE;
}

enum http_parse_event http_parser_begin_body(struct http_parser *p, size_t max_body,
                                             struct http_problem *problem)
{
    buffer_init(&p->body, max_body);
    enum http_parse_event event = begin_body(p);
    return p->left > max_body ? refuse_body(p, problem) : event;
}

enum http_parse_event http_parser_stream_body(struct http_parser *p)
{
    p->stream = true;
    p->piece = span_of(NULL, 0);
    return begin_body(p);
}

enum http_parse_event http_parser_discard_body(struct http_parser *p)
{
    p->discard = true;
    if (p->at == HEAD)
        return begin_body(p);
    assert(p->stream && (p->at == BODY_LENGTH || p->at == BODY_CHUNKED));
    p->stream = false;
    return HTTP_PARSE_MORE;
}

uint64_t http_parser_body_left(const struct http_parser *p)
{
    switch (p->at) {
    case HEAD:
        if (p->request.chunked)
            return UINT64_MAX;
        return p->request.content_length > 0 ? (uint64_t)p->request.content_length : 0;
    case BODY_LENGTH: return p->left;
    case BODY_CHUNKED: return UINT64_MAX;
    default: return 0;
    }
}

static enum http_parse_event fail_event(struct http_parser *p)
{
    p->at = FAILED;
    return HTTP_PARSE_FAILED;
}

static enum http_parse_event next_of_length(struct http_parser *p, struct span *in,
                                            struct http_problem *problem)
{
    struct span piece = span_first(*in, p->left < in->n ? (size_t)p->left : in->n);
    const bool gathered = !p->discard && !p->stream;
    if (gathered && piece.n == p->left && !p->body.n) /* all of it is here */
        buffer_reserve_exactly(&p->body, piece.n);
    if (gathered && buffer_append(&p->body, piece)) {
        refuse_memory(problem); /* the limit was checked at the beginning */
        return fail_event(p);
    }
    *in = span_from(*in, piece.n);
    p->left -= piece.n;
    p->piece = piece;
    if (p->left)
        return p->stream && piece.n ? HTTP_PARSE_PIECE : HTTP_PARSE_MORE;
    buffer_fit(&p->body);
    p->at = DONE;
    return HTTP_PARSE_DONE;
}

static enum http_parse_event next_of_chunked(struct http_parser *p, struct span *in,
                                             struct http_problem *problem)
{
    p->piece = span_of(NULL, 0);
    switch (p->stream ? http_chunked_next(&p->chunked, in, &p->piece)
                      : http_chunked_decode(&p->chunked, in, p->discard ? NULL : &p->body)) {
    case CHUNKED_MORE: return HTTP_PARSE_MORE;
    case CHUNKED_DATA: return HTTP_PARSE_PIECE;
    case CHUNKED_DONE:
        buffer_fit(&p->body);
        p->at = DONE;
        return HTTP_PARSE_DONE;
    case CHUNKED_TOO_BIG: return refuse_body(p, problem);
    case CHUNKED_EXTRA:
        refuse(problem, 431,
               "the request body has more than 16 KiB of chunk extensions and trailers");
        return fail_event(p);
    case CHUNKED_NO_MEMORY: refuse_memory(problem); return fail_event(p);
    case CHUNKED_BAD: break;
    }
    refuse(problem, 400, "the request body is not in the chunked coding that its head announces");
    return fail_event(p);
}

enum http_parse_event http_parser_next(struct http_parser *p, struct span *in,
                                       struct http_problem *problem)
{
    assert(p->at != HEAD && p->at != DONE); /* begin_body or reset comes first */
    if (p->at < HEAD) {
        if (next_of_head(p, in, problem))
            return fail_event(p);
        return p->at == HEAD ? HTTP_PARSE_HEAD : HTTP_PARSE_MORE;
    }
    switch (p->at) {
    case BODY_LENGTH: return next_of_length(p, in, problem);
    case BODY_CHUNKED: return next_of_chunked(p, in, problem);
    default:
        refuse(problem, 400, "the connection carries no readable request any more");
        return HTTP_PARSE_FAILED;
    }
}
