/*
 * test/memory/scenarios_base.c - JSON, frames, arenas and buffers, the configuration.
 */
#include <stdlib.h>

#include "base/json.h"
#include "base/json_write.h"
#include "gateway/config.h"
#include "gateway/json_mender.h"
#include "sse/frame_decoder.h"
#include "sse/text_guard.h"
#include "test/memory/scenario.h"

static enum scenario_end json(const void *what)
{
    static const char text[] =
        "{\"a\":[1,2.5,-3,true,null,\"\\u00e9\\n\"],\"b\":{\"c\":\"d\",\"e\":[[],{}]}}";
    enum scenario_end end = SCENARIO_SHORT;
    struct buffer out;
    struct json root;
    SCENARIO_CHECK(json_valid_utf8(SPAN("\xC3\xA4")) && !json_valid_utf8(SPAN("\xC3")));
    struct json_parser *parser = json_parser_create(1 << 20);
    if (!parser)
        return SCENARIO_SHORT;
    buffer_init(&out, 1 << 16);
    int error = json_parse(parser, span_str(text), &root);
    SCENARIO_CHECK(error == JSON_OK || error == JSON_NOMEM);
    if (!error && json_dump(&out, root) == 0) {
        error = json_parse_lenient(parser, SPAN("{\"x\": \"\xFF\\ud800\"}"), &root);
        SCENARIO_CHECK(error == JSON_OK || error == JSON_NOMEM);
        if (!error && json_dump(&out, root) == 0) {
            scenario_say(buffer_span(&out));
            end = SCENARIO_GOOD;
        }
    }
    SCENARIO_CHECK(end == SCENARIO_GOOD || error == JSON_NOMEM || out.error == BUFFER_NOMEM);
    buffer_free(&out);
    json_parser_destroy(parser);
    return end;
}

static enum scenario_end writing(const void *what)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    struct json_writer w = json_writer(&out);
    json_begin_object(&w);
    for (int i = 0; i < 200; i++) {
        json_member(&w, "key", SPAN("a text that takes some room\n"));
        json_member_repaired(&w, "repaired", SPAN("\xFF\xFE"));
        json_member_int(&w, "n", i);
    }
    json_end_object(&w);
    enum scenario_end end = out.error ? SCENARIO_SHORT : SCENARIO_GOOD;
    SCENARIO_CHECK(!out.error || out.error == BUFFER_NOMEM);
    scenario_say(buffer_span(&out));
    buffer_free(&out);
    return end;
}

static enum scenario_end arenas(const void *what)
{
    struct arena a;
    arena_init(&a);
    bool good = arena_reserve(&a, 100) == 0;
    for (size_t n = 1; n < 1 << 16 && good; n *= 3) {
        struct span copy = arena_dup(&a, span_of("0123456789", n < 10 ? n : 10));
        struct span printed = arena_printf(&a, "%zu", n);
        good = copy.p && printed.p && arena_alloc(&a, n) && arena_text(&a, printed).p;
        if (good)
            scenario_say(printed);
    }
    arena_free(&a);
    return good ? SCENARIO_GOOD : SCENARIO_SHORT;
}

/* ---- frames ---- */

struct framed {
    enum framing framing;
    struct span bytes;
};

static const struct framed framed[] = {
    {FRAMING_WHOLE, SPAN_INIT("{\"a\":1}")},
    {FRAMING_SSE, SPAN_INIT("event: a\ndata: one\ndata: two\nid: 7\n\ndata: three\n\n: x\n\n")},
    {FRAMING_SSE_LOOSE, SPAN_INIT("{\"error\":1}\n\ndata: x\n\n")},
    {FRAMING_LINES, SPAN_INIT("{\"a\":1}\r\n\n{\"b\":2}\n{\"c\":3}")},
    {FRAMING_PREFIX, SPAN_INIT("a0:\"hello\"\nad:{}\n")},
    {FRAMING_LENGTH, SPAN_INIT("\0\0\0\0\2{}\2\0\0\0\3{ }")},
    {FRAMING_RAW, SPAN_INIT("some bytes")},
};

static enum scenario_end frames(const void *what)
{
    const struct framed *f = what;
    struct frame_decoder d;
    struct text_guard guard = {0};
    struct frame frame;
    enum frame_result r = FRAME_MORE;
    frame_decoder_init(&d, f->framing, 4096);
    for (size_t at = 0; at < f->bytes.n && r == FRAME_MORE; at += 3) {
        struct span rest = span_first(span_from(f->bytes, at), 3);
        while ((r = frame_decoder_next(&d, &rest, &frame)) == FRAME_READY)
            scenario_say(frame.data);
    }
    if (r == FRAME_MORE && (r = frame_decoder_end(&d, &frame)) == FRAME_READY)
        scenario_say(frame.data);
    SCENARIO_CHECK(r == FRAME_READY || r == FRAME_MORE || r == FRAME_NOMEM);
    if (r == FRAME_NOMEM) { /* it stays so */
        struct span rest = f->bytes;
        SCENARIO_CHECK(frame_decoder_next(&d, &rest, &frame) == FRAME_NOMEM);
    }
    (void)guard;
    frame_decoder_free(&d);
    return r == FRAME_NOMEM ? SCENARIO_SHORT : SCENARIO_GOOD;
}

/* ---- the configuration ---- */

static enum scenario_end config(const void *what)
{
    struct span text = scenario_file(what);
    struct buffer errors, out;
    enum scenario_end end = SCENARIO_SHORT;
    buffer_init(&errors, 1 << 20);
    buffer_init(&out, 1 << 20);
    struct config *config = config_parse(text, "gateway.toml", &errors);
    if (config) {
        SCENARIO_CHECK(!errors.n);
        config_print(config, &out);
        SCENARIO_CHECK(!out.error || out.error == BUFFER_NOMEM);
        if (!out.error) {
            scenario_say(buffer_span(&out));
            end = SCENARIO_GOOD;
        }
        config_unref(config);
    } else {
        SCENARIO_CHECK(errors.n || errors.error == BUFFER_NOMEM);
        if (errors.n && span_find(buffer_span(&errors), SPAN("memory")) < 0) {
            memory_disarm();
            scenario_wrong(__FILE__, __LINE__, errors.p);
        }
    }
    buffer_free(&errors);
    buffer_free(&out);
    return end;
}

const struct scenario scenarios_base[] = {
    {"json", json, NULL},
    {"json that is written", writing, NULL},
    {"arenas", arenas, NULL},
    {"frames: whole", frames, &framed[0]},
    {"frames: events", frames, &framed[1]},
    {"frames: loose events", frames, &framed[2]},
    {"frames: lines", frames, &framed[3]},
    {"frames: prefixed lines", frames, &framed[4]},
    {"frames: length before each", frames, &framed[5]},
    {"frames: bytes", frames, &framed[6]},
    {"configuration: sites", config, "fuzz/corpus/config/sites.toml"},
    {"configuration: example", config, "fuzz/corpus/config/example.toml"},
    {NULL, NULL, NULL},
};
