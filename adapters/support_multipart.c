/*
 * adapters/support_multipart.c - multipart/form-data bodies (RFC 7578), as browsers write them.
 */
#include "adapters/support.h"

static void quoted(struct buffer *out, struct span name)
{
    buffer_char(out, '"');
    for (size_t i = 0; i < name.n; i++) {
        switch (name.p[i]) {
        case '"': buffer_append(out, SPAN("%22")); break;
        case '\r': buffer_append(out, SPAN("%0D")); break;
        case '\n': buffer_append(out, SPAN("%0A")); break;
        default: buffer_char(out, name.p[i]);
        }
    }
    buffer_char(out, '"');
}

int multipart_file(struct multipart *m, struct span field, struct span filename, struct span mime,
                   struct span bytes)
{
    buffer_printf(m->out,
                  "--%.*s\r\nContent-Disposition: form-data; name=", SPAN_ARGS(m->boundary));
    quoted(m->out, field);
    buffer_append(m->out, SPAN("; filename="));
    quoted(m->out, filename);
    buffer_printf(m->out, "\r\nContent-Type: %.*s\r\n\r\n", SPAN_ARGS(mime));
    buffer_append(m->out, bytes);
    return buffer_append(m->out, SPAN("\r\n"));
}

int multipart_field(struct multipart *m, struct span field, struct span value)
{
    buffer_printf(m->out,
                  "--%.*s\r\nContent-Disposition: form-data; name=", SPAN_ARGS(m->boundary));
    quoted(m->out, field);
    buffer_append(m->out, SPAN("\r\n\r\n"));
    buffer_append(m->out, value);
    return buffer_append(m->out, SPAN("\r\n"));
}

int multipart_end(struct multipart *m)
{
    return buffer_printf(m->out, "--%.*s--\r\n", SPAN_ARGS(m->boundary));
}

struct span multipart_type(struct arena *arena, const struct multipart *m)
{
    return arena_printf(arena, "multipart/form-data; boundary=%.*s", SPAN_ARGS(m->boundary));
}

bool multipart_post(struct turn_run *run, struct site_request *req, struct multipart *form)
{
    multipart_end(form);
    if (!request_body(run, req, form->out) || !form->boundary.p)
        return false;
    req->method = "POST";
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Content-Type"), multipart_type(run->arena, form));
    return true;
}
