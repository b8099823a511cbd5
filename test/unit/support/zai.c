/*
 * test/unit/support/zai.c - see zai.h.
 */
#include "test/unit/support/zai.h"

struct transcript_setup zai_setup(const char *model, const char *body)
{
    static const struct credential token[] = {{SPAN_INIT("token"), SPAN_INIT(ZAI_JWT)}};
    return (struct transcript_setup){.adapter = &adapter_zai,
                                     .body = body,
                                     .model = model,
                                     .credentials = token,
                                     .n_credentials = 1};
}

void zai_use_v2(struct transcript_setup *setup, bool native)
{
    static const struct option_value v2[] = {
        {.name = SPAN_INIT("api"), .type = OPTION_TEXT, .text = SPAN_INIT("v2")},
        {.name = SPAN_INIT("roles"), .type = OPTION_TEXT, .text = SPAN_INIT("native")},
    };
    setup->options = v2;
    setup->n_options = native ? 2 : 1;
}

void zai_stream(struct buffer *out, const char *const *events)
{
    for (; *events; events++)
        buffer_printf(out, "data: {\"type\":\"chat:completion\",\"data\":%s}\n\n", *events);
}
