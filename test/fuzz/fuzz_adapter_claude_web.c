/*
 * test/fuzz/fuzz_adapter_claude_web.c - claude.ai's answers: any bytes through decoder and adapter,
 * the text that comes out through the emitter.
 *
 * First byte: status, type, size of the pieces, the end and which step is answered. What must hold:
 * no finding; a failure has a kind and a sentence; every event that the emitter writes is one line
 * of JSON.
 */
#include "test/fuzz/adapter_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void play(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 200, 200, 403};
    static const struct credential keys[] = {{SPAN_INIT("session_key"), SPAN_INIT("k")},
                                             {SPAN_INIT("organization"), SPAN_INIT("o")}};
    struct fuzz_run r;
    if (size < 1)
        return;
    unsigned step = data[0] >> 6; /* 0, 1: the stream; 2: the creation; 3: the organization */
    fuzz_run_begin(&r, &adapter_claude_web, SPAN(FUZZ_HI), SPAN("claude-sonnet-5-thinking"), keys,
                   step == 3 ? 1 : 2);
    fuzz_run_ask(&r);
    if (step < 2)
        fuzz_run_step(&r, 201, SPAN("{\"is_temporary\":false}"));
    enum adapter_verdict verdict = fuzz_run_answer(&r, data[0], statuses, SPAN("text/event-stream"),
                                                   span_of((const char *)data + 1, size - 1));
    fuzz_run_end(&r, verdict == ADAPTER_COMPLETE && step < 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_both_ways(play, data, size);
}
