/*
 * gateway/http_client.c - see http_client.h.
 */
#include "gateway/http_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- requests ------------------------------------------------------------------------------------------- */

static bool has_break(struct span s)
{
    return span_find_char(s, '\r') >= 0 || span_find_char(s, '\n') >= 0 ||
           span_find_char(s, '\0') >= 0;
}

int http_client_head(struct buffer *out, const struct site_config *site,
                     const struct site_request *req, struct fail *fail)
{
    if (has_break(req->target) || span_find_char(req->target, ' ') >= 0)
        return fail_set(fail, FAIL_BAD_REQUEST,
                        "the request's address for %.*s holds a line break or blank",
                        SPAN_ARGS(site->settings.name));
    buffer_printf(out, "%s %.*s%.*s HTTP/1.1\r\nHost: %.*s\r\n", req->method,
                  SPAN_ARGS(site->settings.prefix), SPAN_ARGS(req->target),
                  SPAN_ARGS(site->host_header));
    buffer_append(out, SPAN("User-Agent: dragoman/" DRAGOMAN_VERSION
                            "\r\nAccept-Encoding: identity\r\nConnection: keep-alive\r\n"));
    for (size_t i = 0; i < req->n_headers; i++) {
        const struct header *h = &req->headers[i];
        if (has_break(h->name) || has_break(h->value))
            return fail_set(fail, FAIL_CREDENTIAL,
                            "a value for the header %.*s of %.*s holds a line break; is the "
                            "account's credential pasted whole?",
                            SPAN_ARGS(span_first(h->name, 40)), SPAN_ARGS(site->settings.name));
        buffer_append(out, h->name);
        buffer_append(out, SPAN(": "));
        buffer_append(out, h->value);
        buffer_append(out, SPAN("\r\n"));
    }
    bool takes_body = strcmp(req->method, "POST") == 0 || strcmp(req->method, "PUT") == 0 ||
                      strcmp(req->method, "PATCH") == 0;
    if (req->body.p || takes_body)
        buffer_printf(out, "Content-Length: %zu\r\n", req->body.n);
    buffer_append(out, SPAN("\r\n"));
    return out->error ? fail_memory(fail) : 0;
}

int http_retry_after(struct span value, int64_t now_s)
{
    uint64_t seconds;
    char text[64];
    struct tm tm = {0};
    value = span_trim(value);
    if (span_to_u64(value, 86400 * 365, &seconds))
        return (int)seconds;
    if (value.n == 0 || value.n >= sizeof text)
        return 0;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    if (!strptime(text, "%a, %d %b %Y %H:%M:%S", &tm))
        return 0;
    int64_t at = timegm(&tm);
    return at > now_s && at - now_s < (int64_t)86400 * 365 ? (int)(at - now_s) : 0;
}

/* ---- answers --------------------------------------------------------------------------------------------- */

static struct http_reader *of(llhttp_t *parser) { return parser->data; }

/* Names and values arrive in pieces of any size. */
static int add_text(struct http_reader *r, const char *at, size_t n)
{
    if (buffer_append(&r->text, span_of(at, n))) {
        r->error = r->text.error == BUFFER_NOMEM ? FAIL_INTERNAL : FAIL_PROTOCOL;
        return -1;
    }
    return 0;
}

static int on_begin(llhttp_t *parser)
{
    struct http_reader *r = of(parser);
    buffer_clear(&r->text);
    r->n_places = 0;
    r->in_value = true;
    return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t n)
{
    struct http_reader *r = of(parser);
    if (r->head_done) /* trailers */
        return 0;
    if (r->in_value) {
        if (r->n_places == ANSWER_HEADERS_MAX) {
            r->error = FAIL_PROTOCOL;
            return -1;
        }
        r->places[r->n_places++] =
            (struct header_place){.name = (unsigned)r->text.n, .value = (unsigned)r->text.n};
        r->in_value = false;
    }
    r->places[r->n_places - 1].name_n += (unsigned)n;
    r->places[r->n_places - 1].value = (unsigned)(r->text.n + n);
    return add_text(r, at, n);
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    struct http_reader *r = of(parser);
    if (r->head_done || !r->n_places)
        return 0;
    if (!r->in_value)
        r->places[r->n_places - 1].value = (unsigned)r->text.n;
    r->in_value = true;
    r->places[r->n_places - 1].value_n += (unsigned)n;
    return add_text(r, at, n);
}

/* A header without a value reports no value piece: the next name must start a new one. */
static int on_value_complete(llhttp_t *parser)
{
    of(parser)->in_value = true;
    return 0;
}

static int choose_coding(struct http_reader *r, struct span coding)
{
    coding = span_trim(coding);
    bool gzip = span_eq_nocase(coding, SPAN("gzip")) || span_eq_nocase(coding, SPAN("x-gzip"));
    bool deflate = span_eq_nocase(coding, SPAN("deflate"));
    if (coding.n == 0 || span_eq_nocase(coding, SPAN("identity")))
        return 0;
    r->inflate = gzip || deflate ? inflate_create(deflate) : NULL;
    if (r->inflate)
        return 0;
    r->error =
        gzip || deflate ? FAIL_INTERNAL : FAIL_PROTOCOL; /* br, zstd: we asked for identity */
    return -1;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct http_reader *r = of(parser);
    struct header list[ANSWER_HEADERS_MAX];
    parser->upgrade = 0;
    r->interim = parser->status_code / 100 == 1;
    if (r->interim)
        return 0;
    struct site_head head = {.status = parser->status_code,
                             .headers = list,
                             .n_headers = r->n_places,
                             .content_type = {"", 0}};
    const char *text = r->text.p ? r->text.p : ""; /* a head can be all empty names */
    for (size_t i = 0; i < r->n_places; i++) {
        const struct header_place *p = &r->places[i];
        list[i] = (struct header){span_of(text + p->name, p->name_n),
                                  span_trim(span_of(text + p->value, p->value_n))};
    }
    struct span type = site_head_get(&head, "content-type");
    if (type.p)
        head.content_type = type;
    struct span after = site_head_get(&head, "retry-after");
    head.retry_after_s = after.p ? http_retry_after(after, r->now_s) : 0;
    struct span coding = site_head_get(&head, "content-encoding");
    if (coding.p && choose_coding(r, coding))
        return -1;
    r->head_done = true;
    if (!r->stopped)
        r->handler.on_head(r->handler.owner, &head);
    buffer_free(&r->text);
    free(r->places);
    r->places = NULL;
    return 0;
}

static void put_body(void *owner, struct span bytes)
{
    struct http_reader *r = owner;
    if (!r->stopped)
        r->handler.on_body(r->handler.owner, bytes);
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct http_reader *r = of(parser);
    r->body_seen = true;
    if (!r->inflate) {
        put_body(r, span_of(at, n));
        return 0;
    }
    if (inflate_feed(r->inflate, span_of(at, n), put_body, r)) {
        r->error = FAIL_PROTOCOL;
        return -1;
    }
    return 0;
}

static int on_complete(llhttp_t *parser)
{
    struct http_reader *r = of(parser);
    if (r->interim)
        return 0;
    r->complete = true;
    return HPE_PAUSED;
}

void http_reader_init(struct http_reader *r, const struct http_reader_handler *handler)
{
    static llhttp_settings_t settings;
    if (!settings.on_message_begin) { /* the same for all; written once with the same values */
        llhttp_settings_init(&settings);
        settings.on_header_field = on_field;
        settings.on_header_value = on_value;
        settings.on_header_value_complete = on_value_complete;
        settings.on_headers_complete = on_headers_complete;
        settings.on_body = on_body;
        settings.on_message_complete = on_complete;
        settings.on_message_begin = on_begin;
    }
    *r = (struct http_reader){.handler = *handler, .now_s = time(NULL)};
    buffer_init(&r->text, ANSWER_HEAD_MAX);
    r->places = calloc(ANSWER_HEADERS_MAX, sizeof *r->places);
    llhttp_init(&r->parser, HTTP_RESPONSE, &settings);
    r->parser.data = r;
}

void http_reader_free(struct http_reader *r)
{
    buffer_free(&r->text);
    free(r->places);
    r->places = NULL;
    inflate_destroy(r->inflate);
    r->inflate = NULL;
}

static enum http_reader_state broken(struct http_reader *r, struct fail *fail, const char *what)
{
    if (r->error == FAIL_INTERNAL)
        fail_memory(fail);
    else
        fail_set(fail, r->head_done ? FAIL_CUT : FAIL_PROTOCOL, "%s", what);
    return READER_BROKEN;
}

enum http_reader_state http_reader_feed(struct http_reader *r, struct span bytes, struct fail *fail)
{
    if (r->complete) {
        r->trailing |= bytes.n > 0;
        return READER_COMPLETE;
    }
    if (!r->places && !r->head_done) {
        r->error = FAIL_INTERNAL;
        return broken(r, fail, "");
    }
    llhttp_errno_t error = llhttp_execute(&r->parser, bytes.p, bytes.n);
    if (r->complete) {
        const char *at = llhttp_get_error_pos(&r->parser);
        r->trailing = error == HPE_PAUSED && at && at < bytes.p + bytes.n;
        return READER_COMPLETE;
    }
    if (error == HPE_OK)
        return READER_MORE;
    if (r->error == FAIL_PROTOCOL)
        return broken(r, fail,
                      r->head_done
                          ? "the site's compressed answer is damaged"
                          : "the site's answer has a head or an encoding that cannot be read");
    return broken(r, fail,
                  r->head_done ? "the site's answer broke in its transfer coding"
                               : "the site's answer is not HTTP");
}

enum http_reader_state http_reader_eof(struct http_reader *r, struct fail *fail)
{
    if (r->complete)
        return READER_COMPLETE;
    if (r->head_done && llhttp_message_needs_eof(&r->parser) &&
        llhttp_finish(&r->parser) == HPE_OK && (r->complete = true))
        return READER_COMPLETE;
    fail_set(fail, FAIL_CUT, "the site closed the connection in the middle of its answer");
    return READER_BROKEN;
}

void http_reader_mute(struct http_reader *r) { r->stopped = true; }

bool http_reader_keep_alive(const struct http_reader *r)
{
    return r->complete && !r->trailing && llhttp_should_keep_alive(&r->parser);
}
