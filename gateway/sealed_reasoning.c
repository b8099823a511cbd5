/*
 * gateway/sealed_reasoning.c - see sealed_reasoning.h: base64 of a small JSON object.
 */
#include "gateway/sealed_reasoning.h"

#include <inttypes.h>
#include <stdio.h>

#include "adapters/support.h"
#include "base/json_write.h"

enum { SEALED_LIMIT = 1 << 30 };

struct span sealed_reasoning_write(struct arena *arena, const struct sealed_reasoning *s)
{
    struct buffer json;
    char hash[17];
    buffer_init(&json, SEALED_LIMIT);
    snprintf(hash, sizeof hash, "%016" PRIx64, s->text_hash);
    struct json_writer w = json_writer(&json);
    json_begin_object(&w);
    json_member_int(&w, "v", 1);
    json_member(&w, "h", span_str(hash));
    if (s->signature.n)
        json_member(&w, "s", s->signature);
    if (s->redacted.n)
        json_member(&w, "r", s->redacted);
    json_end_object(&w);
    struct span text = json.error ? span_of(NULL, 0) : base64_encode(arena, buffer_span(&json));
    buffer_free(&json);
    return text;
}

static bool read_hash(struct span text, uint64_t *hash)
{
    *hash = 0;
    for (size_t i = 0; i < text.n; i++) {
        int digit = hex_digit(text.p[i]);
        if (digit < 0)
            return false;
        *hash = *hash << 4 | (uint64_t)digit;
    }
    return text.n == 16;
}

bool sealed_reasoning_read(struct json_parser *json, struct arena *arena, struct span text,
                           struct sealed_reasoning *s)
{
    struct json root;
    int64_t version = 0;
    struct span inside = base64_decode(arena, text);
    *s = (struct sealed_reasoning){0};
    if (!inside.p || json_parse(json, inside, &root) || !json_int(json_get(root, "v"), &version) ||
        version != 1 || !read_hash(json_get_text(root, "h"), &s->text_hash))
        return false;
    s->signature = arena_dup(arena, json_get_text(root, "s"));
    s->redacted = arena_dup(arena, json_get_text(root, "r"));
    return s->signature.p && s->redacted.p;
}
