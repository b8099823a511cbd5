/*
 * test/fuzz/fuzz_adapter_gemini.c - the Gemini API, both ways: any answer through decoder and
 * adapter, the text that comes out through the emitter; any client's request through the front into
 * a body.
 *
 * First byte: which way; of answers status, type and size of the pieces. What must hold: no
 * finding; a failure has a kind and a sentence; every event that the emitter writes is one line of
 * JSON; every body is JSON with contents that begin and end as Google wants them.
 */
#include "test/fuzz/adapter_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct credential key[] = {{SPAN_INIT("api_key"), SPAN_INIT("AIza-1")}};
static const struct site_settings site = {.name = SPAN_INIT("g"),
                                          .origin = SPAN_INIT("https://g.example")};

static void check_contents(struct json contents)
{
    size_t n = json_size(contents);
    struct span before = {"", 0};
    assert(n > 0);
    for (size_t i = 0; i < n && i < 100; i++) {
        struct span role = json_get_text(json_at(contents, i), "role");
        assert(span_eq(role, SPAN("user")) || span_eq(role, SPAN("model")));
        assert(!span_eq(role, before));
        assert(json_size(json_get(json_at(contents, i), "parts")) > 0);
        before = role;
    }
    assert(span_eq(json_get_text(json_at(contents, n - 1), "role"), SPAN("user")));
}

static void fuzz_request(struct span body)
{
    struct json_parser *json = json_parser_create(1 << 24);
    struct arena arena;
    struct turn turn;
    struct fail fail;
    struct json root;
    arena_init(&arena);
    body = arena_dup(&arena, body);
    if (chat_request_parse(json, &arena, (char *)(uintptr_t)body.p, body.n, &turn, &fail) == 0) {
        struct site_account account = {
            .name = SPAN("main"), .credentials = key, .n_credentials = 1};
        struct turn_run run = {.fail = &(struct fail){0},
                               .turn = &turn,
                               .site = &site,
                               .account = &account,
                               .model = turn.model,
                               .arena = &arena,
                               .json = json,
                               .random = fuzz_random};
        struct site_request req = {0};
        run.state = arena_alloc(&arena, adapter_gemini.state_size);
        if (adapter_gemini.next(&run, &req) == ADAPTER_SEND) {
            assert(json_parse(json, req.body, &root) == JSON_OK);
            check_contents(json_get(root, "contents"));
        } else {
            assert(run.fail->kind != FAIL_NONE && run.fail->message[0]);
        }
    }
    arena_free(&arena);
    json_parser_destroy(json);
}

static void play(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 200, 429, 400};
    if (size < 1)
        return;
    unsigned how = data[0];
    if (how & 128) {
        fuzz_request(span_of((const char *)data + 1, size - 1));
        return;
    }
    struct fuzz_run r;
    fuzz_run_begin(&r, &adapter_gemini,
                   SPAN("{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                        "\"content\":\"hi\"}],\"seed\":1,\"tools\":[{\"type\":\"function\","
                        "\"function\":{\"name\":\"odd name\"}}]}"),
                   SPAN("gemini-2.5-flash"), key, 1);
    fuzz_run_ask(&r);
    /* COMPLETE and asking again: a field was refused. */
    enum adapter_verdict verdict = fuzz_run_answer(&r, how, statuses, SPAN("text/event-stream"),
                                                   span_of((const char *)data + 1, size - 1));
    fuzz_run_end(&r, verdict == ADAPTER_COMPLETE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_both_ways(play, data, size);
}
