/*
 * test/fuzz/fuzz_adapter_zai.c - chat.z.ai's answers: any bytes through decoder and adapter, the
 * text that comes out through the emitter.
 *
 * First byte: status, type, form and size of the pieces. What must hold: no finding; a failure has
 * a kind and a sentence; every event that the emitter writes is one line of JSON.
 */
#include "test/fuzz/adapter_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void play(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 200, 200, 403};
    static const struct credential token[] = {{SPAN_INIT("token"), SPAN_INIT("t")}};
    struct fuzz_run r;
    if (size < 1)
        return;
    fuzz_run_begin(&r, &adapter_zai, SPAN(FUZZ_HI), SPAN("glm-4.7"), token, 1);
    fuzz_run_ask(&r);
    enum adapter_verdict verdict = fuzz_run_answer(&r, data[0], statuses, SPAN("text/event-stream"),
                                                   span_of((const char *)data + 1, size - 1));
    fuzz_run_end(&r, verdict == ADAPTER_COMPLETE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_both_ways(play, data, size);
}
