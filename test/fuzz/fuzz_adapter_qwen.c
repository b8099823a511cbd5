/*
 * test/fuzz/fuzz_adapter_qwen.c - chat.qwen.ai's answers, or the older site's: any bytes through
 * decoder and adapter, the text that comes out through the emitter.
 *
 * First byte: status, type, size of the pieces, which site, and whether the bytes answer the chat
 * or the first step of an upload. What must hold: no finding; a failure has a kind and a sentence;
 * every event that the emitter writes is one line of JSON.
 */
#include "test/fuzz/adapter_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void play(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 200, 200, 403};
    static const struct credential tokens[] = {{SPAN_INIT("token"), SPAN_INIT("t")},
                                               {SPAN_INIT("ticket"), SPAN_INIT("t")}};
    static const struct option_value tongyi = {
        .name = SPAN_INIT("api"), .type = OPTION_TEXT, .text = SPAN_INIT("tongyi")};
    struct fuzz_run r;
    if (size < 1)
        return;
    bool upload = data[0] & 128, older = data[0] & 64;
    fuzz_run_begin(&r, &adapter_qwen,
                   upload ? SPAN("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{"
                                 "\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/"
                                 "png;base64,AAAA\"}}]}]}")
                          : SPAN(FUZZ_HI),
                   SPAN("qwen3.6-plus"), tokens, 2);
    r.site.options = &tongyi;
    r.site.n_options = older ? 1 : 0;
    fuzz_run_ask(&r);
    if (!older && !upload) /* a chat is made first */
        fuzz_run_step(&r, 200, SPAN("{\"success\":true,\"data\":{\"id\":\"c\"}}"));
    enum adapter_verdict verdict = fuzz_run_answer(&r, data[0], statuses, SPAN("text/event-stream"),
                                                   span_of((const char *)data + 1, size - 1));
    if (verdict == ADAPTER_COMPLETE && upload)
        adapter_qwen.next(&r.run, &(struct site_request){0});
    fuzz_run_end(&r, verdict == ADAPTER_COMPLETE && !upload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_both_ways(play, data, size);
}
