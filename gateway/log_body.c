/*
 * gateway/log_body.c - see log_body.h.
 */
#include "gateway/log_body.h"

#include "gateway/log.h"

/* Shorter values would mask words of the text; no site's credential is that short. */
enum { SECRET_MIN = 6, TEXT_MAX = 128 * 1024 };

/* Every place of `secret` in the text becomes ***. */
static void mask(struct buffer *text, struct span secret, size_t *longest)
{
    struct buffer masked;
    struct span rest = buffer_span(text);
    ptrdiff_t at;
    if (secret.n > *longest)
        *longest = secret.n;
    if (secret.n < SECRET_MIN || span_find(rest, secret) < 0)
        return;
    buffer_init(&masked, text->limit);
    while ((at = span_find(rest, secret)) >= 0) {
        buffer_append(&masked, span_first(rest, (size_t)at));
        buffer_append(&masked, SPAN("***"));
        rest = span_from(rest, (size_t)at + secret.n);
    }
    buffer_append(&masked, rest);
    if (masked.error) /* rather nothing than a secret */
        buffer_clear(&masked);
    buffer_free(text);
    *text = masked;
}

static void write_line(const char *request_id, const char *direction, size_t n, struct span text)
{
    struct log_record r;
    log_record_begin(&r, LOG_INFO, "body");
    log_record_text(&r, "id", span_str(request_id));
    log_record_text(&r, "direction", span_str(direction));
    log_record_int(&r, "bytes", (int64_t)n);
    log_record_text(&r, "text", text);
    log_record_end(&r);
}

void log_body(const char *request_id, const char *direction, struct span text,
              const struct site_account *account)
{
    struct buffer copy;
    size_t longest = 0;
    buffer_init(&copy, 4 * (size_t)TEXT_MAX);
    buffer_append(&copy, span_first(text, 2 * (size_t)TEXT_MAX));
    for (size_t i = 0; account && i < account->n_credentials; i++)
        mask(&copy, account->credentials[i].value, &longest);
    if (account)
        account_guard_enter(account);
    for (const struct held_credential *h = account ? account->held : NULL; h; h = h->next) {
        struct span rest = span_str(h->value), secret;
        while (held_secret(&rest, &secret))
            mask(&copy, secret, &longest);
    }
    if (account)
        account_guard_leave(account);
    if (text.n > 2 * (size_t)TEXT_MAX) /* half a secret may stand at the cut */
        copy.n -= copy.n < longest ? copy.n : longest;
    write_line(request_id, direction, text.n, span_first(buffer_span(&copy), TEXT_MAX));
    buffer_free(&copy);
}

void log_body_hidden(const char *request_id, const char *direction, size_t n)
{
    write_line(request_id, direction, n, SPAN("(not shown: it obtains a credential)"));
}
