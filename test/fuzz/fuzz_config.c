/*
 * fuzz_config.c - any bytes as gateway.toml: never a crash, never a leak; what is accepted can be
 * printed, what is refused says why.
 */
#include <stdlib.h>

#include "gateway/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer errors, out;
    buffer_init(&errors, 1 << 20);
    buffer_init(&out, 64 << 20);
    struct config *config = config_parse(span_of((const char *)data, size), "fuzz.toml", &errors);
    if (config) {
        config_print(config, &out);
        config_host_is_ours(config, span_of((const char *)data, size));
        if (errors.n || out.error)
            abort();
        config_unref(config);
    } else if (errors.n == 0) {
        abort();
    }
    buffer_free(&errors);
    buffer_free(&out);
    return 0;
}
