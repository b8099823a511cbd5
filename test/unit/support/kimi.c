/*
 * test/unit/support/kimi.c - see kimi.h.
 */
#include "test/unit/support/kimi.h"

static const struct credential access_token[] = {{SPAN_INIT("token"), SPAN_INIT("t")}};

struct transcript_setup kimi_setup(void)
{
    return (struct transcript_setup){.adapter = &adapter_kimi,
                                     .model = "kimi-k2.6",
                                     .credentials = access_token,
                                     .n_credentials = 1,
                                     .content_type = "application/connect+json"};
}

struct transcript_setup kimi_rest_setup(void)
{
    static const struct option_value rest[] = {
        {.name = SPAN_INIT("api"), .type = OPTION_TEXT, .text = SPAN_INIT("rest")}};
    struct transcript_setup setup = kimi_setup();
    setup.model = "kimi";
    setup.options = rest;
    setup.n_options = 1;
    setup.content_type = NULL;
    return setup;
}

void kimi_envelope(struct buffer *out, unsigned char flags, struct span payload)
{
    const char head[5] = {(char)flags, (char)(payload.n >> 24 & 0xFF),
                          (char)(payload.n >> 16 & 0xFF), (char)(payload.n >> 8 & 0xFF),
                          (char)(payload.n & 0xFF)};
    buffer_append(out, span_of(head, sizeof head));
    buffer_append(out, payload);
}

enum adapter_verdict kimi_end(struct transcript_player *p, const char *error)
{
    struct buffer payload, bytes;
    buffer_init(&payload, 1 << 20);
    buffer_init(&bytes, 1 << 20);
    buffer_printf(&payload, "{\"error\":%s}", error);
    kimi_envelope(&bytes, 2, buffer_span(&payload));
    enum adapter_verdict verdict = transcript_answer(p, 200, "application/connect+json",
                                                     buffer_span(&bytes), NULL, 0, END_CLEAN);
    buffer_free(&payload);
    buffer_free(&bytes);
    return verdict;
}
