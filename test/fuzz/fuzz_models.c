/*
 * test/fuzz/fuzz_models.c - lists of models, as each site tells them, and what it says instead.
 *
 * First byte: which adapter; second: a list, or a refusal with some status. What must hold: no
 * finding; every entry has an id; a refusal has a kind and a sentence.
 */
#include <assert.h>
#include <string.h>

#include "adapters/adapter.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int put(void *owner, const struct model_entry *model)
{
    assert(model->id.n > 0 && model->id.p);
    return 0;
}

static void make_random(void *owner, void *bytes, size_t n) { memset(bytes, 7, n); }

static void read_list(const struct adapter *a, struct turn_run *run, unsigned how, struct span body)
{
    static const int statuses[] = {200, 401, 403, 429, 500, 503, 200, 404};
    static const struct span types[] = {SPAN_INIT("application/json"), SPAN_INIT("text/html")};
    const struct model_sink sink = {.put = put};
    struct site_request request = {0};
    enum adapter_step step = a->models_request(run, &request);
    assert(step != ADAPTER_FAILED || (run->fail->kind != FAIL_NONE && run->fail->message[0]));
    if (step != ADAPTER_SEND)
        return;
    if (how & 8 && a->models_refused) {
        int rc = a->models_refused(run, statuses[how & 7], types[how >> 4 & 1], 0, body);
        assert(rc < 0 && run->fail->kind != FAIL_NONE && run->fail->message[0]);
        return;
    }
    if (a->models_answer(run, body, &sink) == MODELS_MORE) {
        request = (struct site_request){0};
        a->models_request(run, &request);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct credential credentials[] = {{SPAN_INIT("token"), SPAN_INIT("t")},
                                                    {SPAN_INIT("api_key"), SPAN_INIT("k")},
                                                    {SPAN_INIT("session_key"), SPAN_INIT("s")},
                                                    {SPAN_INIT("organization"), SPAN_INIT("o")}};
    const struct adapter *with_list[32];
    size_t n = 0;
    if (size < 2)
        return 0;
    for (size_t i = 0; adapters[i]; i++) {
        if (adapters[i]->models_request)
            with_list[n++] = adapters[i];
    }
    const struct adapter *a = with_list[data[0] % n];
    struct site_settings site = {.name = SPAN("site"), .origin = SPAN("https://site.example")};
    struct site_account account = {
        .name = SPAN("main"), .credentials = credentials, .n_credentials = 4};
    struct arena arena;
    arena_init(&arena);
    struct turn_run run = {.fail = &(struct fail){0},
                           .site = &site,
                           .account = &account,
                           .state = arena_alloc(&arena, a->state_size ? a->state_size : 1),
                           .arena = &arena,
                           .json = json_parser_create(1 << 24),
                           .now_ms = 1760000000000,
                           .random = make_random};
    /* The engine hands in a body with the parser's padding behind it. */
    struct span body = arena_dup(&arena, span_of((const char *)data + 2, size - 2));
    read_list(a, &run, data[1], body);
    if (a->destroy)
        a->destroy(&run);
    account_clear(&account);
    json_parser_destroy(run.json);
    arena_free(&arena);
    return 0;
}
