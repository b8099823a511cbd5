/*
 * gateway/capture.c - see capture.h. Recording; what becomes of it is in capture_files.c.
 */
#include <stdlib.h>

#include "base/json_write.h"
#include "gateway/capture_internal.h"
#include "sse/text_guard.h"

static void copy(struct capture *c, struct span *to, struct span from)
{
    *to = arena_dup(&c->arena, from);
    c->short_of_memory |= !to->p;
}

static void note_secret(struct capture *c, struct span secret)
{
    for (const struct capture_text *s = c->secrets; s; s = s->next) {
        if (span_eq(s->text, secret))
            return;
    }
    struct capture_text *s = arena_alloc(&c->arena, sizeof *s);
    if (!s) {
        c->short_of_memory = true;
        return;
    }
    copy(c, &s->text, secret);
    s->next = c->secrets;
    c->secrets = s;
}

void capture_note_secrets(struct capture *c, const struct turn_run *run)
{
    const struct site_account *account = run->account;
    for (size_t i = 0; i < account->n_credentials; i++)
        note_secret(c, account->credentials[i].value);
    account_guard_enter(account);
    for (const struct held_credential *h = account->held; h; h = h->next) {
        struct span rest = span_str(h->value), secret;
        while (held_secret(&rest, &secret))
            note_secret(c, secret);
    }
    account_guard_leave(account);
}

static void write_option(struct json_writer *w, const struct adapter *adapter,
                         const struct option_value *value)
{
    json_key_span(w, value->name);
    switch (value->type) {
    case OPTION_TEXT: {
        for (const struct option_field *f = adapter->options; f && f->name; f++) {
            if (f->secret && span_eq(value->name, span_str(f->name))) {
                json_string(w, SPAN("******"));
                return;
            }
        }
        json_string(w, value->text);
        return;
    }
    case OPTION_INT: json_write_int(w, value->integer); return;
    case OPTION_NUMBER: json_write_double(w, value->number); return;
    case OPTION_BOOL: json_write_bool(w, value->integer != 0); return;
    }
}

static void write_account(struct json_writer *w, const struct site_account *account)
{
    json_key(w, "account");
    json_begin_object(w);
    json_member(w, "name", account->name);
    json_member_bool(w, "guest", account->guest);
    json_key(w, "credentials");
    json_begin_array(w);
    for (size_t i = 0; i < account->n_credentials; i++)
        json_string(w, account->credentials[i].name);
    json_end_array(w);
    json_key(w, "held");
    json_begin_object(w);
    account_guard_enter(account);
    for (const struct held_credential *h = account->held; h; h = h->next) {
        json_key_span(w, span_str(h->name));
        json_write_int(w, h->expires_ms);
    }
    account_guard_leave(account);
    json_end_object(w);
    json_end_object(w);
}

/* How the run begins: the first members of the setup, without the brace that ends it. */
static void write_beginning(struct capture *c, const struct turn_run *run,
                            const struct adapter *adapter)
{
    struct json_writer w = json_writer(&c->beginning);
    const struct site_settings *site = run->site;
    json_begin_object(&w);
    json_member(&w, "adapter", span_str(adapter->name));
    json_member(&w, "site", site->name);
    json_key(&w, "base_url");
    struct span url =
        arena_printf(&c->arena, "%.*s%.*s", SPAN_ARGS(site->origin), SPAN_ARGS(site->prefix));
    json_string(&w, url);
    json_member(&w, "path", site->path);
    json_key(&w, "options");
    json_begin_object(&w);
    for (size_t i = 0; i < site->n_options; i++)
        write_option(&w, adapter, &site->options[i]);
    json_end_object(&w);
    write_account(&w, run->account);
    json_member_repaired(&w, "model", run->model);
    json_member_repaired(&w, "model_note", run->model_note);
    json_member_int(&w, "now_ms", run->now_ms);
    json_member_bool(&w, "stream", run->turn->stream);
    if (run->turn->tools_raw.p)
        json_member_raw(&w, "tools", run->turn->tools_raw);
}

struct capture *capture_begin(struct config *config, const struct turn_run *run,
                              const struct adapter *adapter, struct span secret)
{
    struct capture *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    arena_init(&c->arena);
    buffer_init(&c->beginning, 1 << 20);
    c->config = config_ref(config);
    copy(c, &c->site, run->site->name);
    note_secret(c, secret);
    capture_note_secrets(c, run);
    write_beginning(c, run, adapter);
    return c;
}

void capture_emulated_tools(struct capture *c, struct span tools_raw)
{
    struct json_writer w = {c ? &c->beginning : NULL, true};
    if (c && tools_raw.p)
        json_member_raw(&w, "emulated_tools", tools_raw);
}

void capture_drop(struct capture *c)
{
    if (!c)
        return;
    for (struct capture_step *s = c->first; s; s = s->next)
        buffer_free(&s->body);
    buffer_free(&c->beginning);
    config_unref(c->config);
    arena_free(&c->arena);
    free(c);
}

/* Of a header that is a secret: its value, and what stands behind the scheme or in each cookie. */
static void note_header(struct capture *c, const struct header *h)
{
    ptrdiff_t blank = span_find_char(h->value, ' ');
    if (!mask_hides_header(h->name))
        return;
    if (span_eq_nocase(h->name, SPAN("Set-Cookie"))) {
        struct span rest = h->value, pair;
        if (span_split(&rest, ';', &pair)) /* its attributes are none */
            note_secret(c, pair);
    } else {
        note_secret(c, h->value);
        if (blank >= 0 && span_mentions(h->name, "auth"))
            note_secret(c, span_from(h->value, (size_t)blank + 1));
    }
}

static struct header *copy_headers(struct capture *c, const struct header *from, size_t n)
{
    struct header *to = arena_alloc(&c->arena, (n ? n : 1) * sizeof *to);
    c->short_of_memory |= !to;
    for (size_t i = 0; to && i < n; i++) {
        note_header(c, &from[i]);
        copy(c, &to[i].name, from[i].name);
        copy(c, &to[i].value, from[i].value);
    }
    return to;
}

void capture_request(struct capture *c, const struct turn_run *run, const struct site_request *req)
{
    if (!c)
        return;
    struct capture_step *s = arena_alloc(&c->arena, sizeof *s);
    if (!s) {
        c->short_of_memory = true;
        return;
    }
    *s = (struct capture_step){.method = req->method,
                               .framing = req->framing,
                               .credential_step = req->credential_step,
                               .secret_target = req->secret_target};
    buffer_init(&s->body, CAPTURE_BYTES);
    copy(c, &s->origin, req->origin);
    copy(c, &s->target, req->target);
    s->headers = copy_headers(c, req->headers, req->n_headers);
    s->n_headers = s->headers ? req->n_headers : 0;
    copy(c, &s->sent, span_first(req->body, CAPTURE_REQUEST_BYTES));
    s->sent_n = req->body.n;
    capture_note_secrets(c, run);
    *(c->last ? &c->last->next : &c->first) = s;
    c->last = s;
}

void capture_head(struct capture *c, const struct site_head *head)
{
    struct capture_step *s = c ? c->last : NULL;
    if (!s)
        return;
    s->status = head->status;
    s->retry_after_s = head->retry_after_s;
    copy(c, &s->reason, head->reason);
    copy(c, &s->content_type, head->content_type);
    s->answer_headers = copy_headers(c, head->headers, head->n_headers);
    s->n_answer_headers = s->answer_headers ? head->n_headers : 0;
}

void capture_body(struct capture *c, struct span bytes)
{
    struct capture_step *s = c ? c->last : NULL;
    if (!s || !s->status)
        return;
    struct span fits = span_first(bytes, CAPTURE_BYTES - c->bytes);
    s->left_out += bytes.n - fits.n;
    if (!fits.n)
        return;
    c->bytes += fits.n;
    if (buffer_append(&s->body, fits)) {
        c->short_of_memory = true;
        return;
    }
    if (!s->splits)
        s->splits = arena_alloc(&c->arena, CAPTURE_SPLITS * sizeof *s->splits);
    if (s->splits && s->n_splits < CAPTURE_SPLITS)
        s->splits[s->n_splits++] = (uint32_t)s->body.n;
}

void capture_end(struct capture *c, const struct turn_run *run, enum stream_end end,
                 const struct fail *fail)
{
    struct capture_step *s = c ? c->last : NULL;
    if (!s)
        return;
    s->end = end == END_CLEAN ? CAPTURE_CLEAN : CAPTURE_CUT;
    if (end == END_CUT)
        s->fail = *fail;
    capture_note_secrets(c, run);
}

void capture_drift(struct capture *c, const char *kind)
{
    if (!c || c->n_drift == CAPTURE_DRIFT)
        return;
    for (size_t i = 0; i < c->n_drift; i++) {
        if (strcmp(c->drift[i], kind) == 0)
            return;
    }
    c->drift[c->n_drift++] = kind;
}

bool capture_has_drift(const struct capture *c) { return c && c->n_drift; }

struct capture_step *capture_played(const struct capture *c)
{
    struct capture_step *played = NULL;
    for (struct capture_step *s = c ? c->first : NULL; s; s = s->next) {
        if (s->status)
            played = s;
    }
    return played;
}

bool capture_has_answer(const struct capture *c) { return capture_played(c) != NULL; }
