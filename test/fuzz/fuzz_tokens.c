/*
 * test/fuzz/fuzz_tokens.c - tokens that say something to those who read them: JWTs that sites give,
 * and our own text around signatures, which comes back from clients.
 *
 * What must hold: no finding; what decodes is what encodes to the same bytes; an end of a token
 * lies in the time there is; a sealed reasoning that is read is written and read as the same.
 */
#include <assert.h>
#include <stdlib.h>

#include "adapters/support.h"
#include "gateway/sealed_reasoning.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_base64(struct arena *arena, struct span text)
{
    struct span bytes = base64_decode(arena, text);
    if (!bytes.p)
        return;
    assert(bytes.n <= text.n / 4 * 3 + 3);
    struct span again = base64_decode(arena, base64_encode(arena, bytes));
    assert(span_eq(again, bytes));
}

static void check_jwt(struct turn_run *run, struct span text)
{
    struct span payload = jwt_payload(run->arena, text);
    assert(!payload.p || (payload.n && *payload.p == '{'));
    struct json claims = jwt_claims(run, text);
    int64_t end = jwt_expires_ms(run, text);
    assert(end >= 0 && end % 1000 == 0);
    assert(!end || json_is(claims, JSON_OBJECT));
    assert(!token_can_be_sent(text) || (text.n && !memchr(text.p, '\n', text.n)));
}

static void check_sealed(struct turn_run *run, struct span text)
{
    struct sealed_reasoning one, again;
    if (!sealed_reasoning_read(run->json, run->arena, text, &one))
        return;
    assert(sealed_reasoning_read(run->json, run->arena, sealed_reasoning_write(run->arena, &one),
                                 &again));
    assert(one.text_hash == again.text_hash && span_eq(one.signature, again.signature) &&
           span_eq(one.redacted, again.redacted));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct json_parser *json = json_parser_create(1 << 24);
    char *copy = malloc(size ? size : 1); /* of this size, so that reading beyond it is seen */
    assert(json && copy);
    if (size)
        memcpy(copy, data, size);
    struct span text = span_of(copy, size);
    arena_init(&arena);
    struct turn_run run = {.fail = &(struct fail){0}, .arena = &arena, .json = json};
    check_base64(&arena, text);
    check_jwt(&run, text);
    check_sealed(&run, text);
    arena_free(&arena);
    json_parser_destroy(json);
    free(copy);
    return 0;
}
