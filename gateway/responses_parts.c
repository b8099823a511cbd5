/*
 * gateway/responses_parts.c - the parts of a message or of a tool's output.
 */
#include "gateway/responses_reader.h"

#include <stdio.h>

#include "gateway/request_body.h"

/* data:[<mime>][;param…];base64,<payload> (RFC 2397). Other URLs stay as they are. */
static int split_data_url(struct responses_reader *r, const char *where, struct part *part)
{
    struct span url = part->url;
    if (url.n < 5 || !span_eq_nocase(span_first(url, 5), SPAN("data:")))
        return 0;
    ptrdiff_t comma = span_find_char(url, ',');
    struct span head = comma < 0 ? SPAN("") : span_of(url.p + 5, (size_t)comma - 5);
    if (head.n < 7 || !span_eq_nocase(span_from(head, head.n - 7), SPAN(";base64")))
        return responses_invalid(r, where, "a data: URL of the form data:<type>;base64,<data>");
    part->mime = span_first(head, (size_t)span_find_char(head, ';'));
    part->base64 = span_from(url, (size_t)comma + 1);
    return 0;
}

static int read_image(struct responses_reader *r, struct span raw, const char *where,
                      struct part *part)
{
    struct span url = json_raw_given(raw, "image_url");
    part->kind = PART_IMAGE;
    r->turn->has_images = true;
    if (request_part_room(r->arena, part, r->fail))
        return -1;
    if (json_raw_is_object(url)) /* as in chats */
        url = json_raw_given(url, "url");
    if (!url.p && json_raw_given(raw, "file_id").p)
        return responses_unsupported(
            r, where,
            "pictures by file_id are not possible: send them as image_url, a data: "
            "URL for instance");
    if (!json_raw_is_text(url))
        return responses_invalid(r, where, "a picture with a string \"image_url\"");
    if (responses_read_text(r, url, &part->url))
        return -1;
    return part->url.n ? split_data_url(r, where, part)
                       : responses_invalid(r, where, "given a URL: \"image_url\" is empty");
}

static int read_file(struct responses_reader *r, struct span raw, const char *where,
                     struct part *part)
{
    part->kind = PART_FILE;
    r->turn->has_files = true;
    if (request_part_room(r->arena, part, r->fail) ||
        responses_text_member(r, raw, "filename", where, &part->filename) ||
        responses_text_member(r, raw, "file_id", where, &part->file_id) ||
        responses_text_member(r, raw, "file_url", where, &part->url) ||
        responses_text_member(r, raw, "file_data", where, &part->url))
        return -1;
    if (!part->url.n && !part->file_id.n)
        return responses_invalid(r, where,
                                 "given \"file_data\" (a data: URL), \"file_url\" or \"file_id\"");
    return split_data_url(r, where, part);
}

static int read_audio(struct responses_reader *r, struct span raw, const char *where,
                      struct part *part)
{
    struct span audio = json_raw_given(raw, "input_audio");
    part->kind = PART_AUDIO;
    r->turn->has_audio = true;
    if (request_part_room(r->arena, part, r->fail))
        return -1;
    if (!json_raw_is_object(audio) ||
        responses_text_member(r, audio, "data", where, &part->base64) ||
        responses_text_member(r, audio, "format", where, &part->mime) || !part->base64.n)
        return responses_invalid(r, where, "given \"input_audio\": {\"data\", \"format\"}");
    return 0;
}

static int read_part(struct responses_reader *r, struct span raw, const char *where,
                     struct part *part)
{
    static const char *const texts[] = {"input_text", "output_text", "text", "summary_text",
                                        "reasoning_text"};
    struct span type = {NULL, 0};
    if (!json_raw_is_object(raw))
        return responses_invalid(r, where, "an object with a \"type\"");
    if (responses_text_member(r, raw, "type", where, &type))
        return -1;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!span_eq(type, span_str(texts[i])))
            continue;
        struct span text = json_raw_given(raw, "text");
        part->kind = PART_TEXT;
        return json_raw_is_text(text)
                   ? responses_read_text(r, text, &part->text)
                   : responses_invalid(r, where, "a part with a string \"text\"");
    }
    if (span_eq(type, SPAN("refusal"))) {
        part->kind = PART_REFUSAL;
        return responses_text_member(r, raw, "refusal", where, &part->text);
    }
    if (span_eq(type, SPAN("input_image")))
        return read_image(r, raw, where, part);
    if (span_eq(type, SPAN("input_file")))
        return read_file(r, raw, where, part);
    if (span_eq(type, SPAN("input_audio")))
        return read_audio(r, raw, where, part);
    return fail_param(r->fail, FAIL_INVALID_VALUE, where,
                      "%s has the unknown type \"%.*s\"; known are input_text, input_image, "
                      "input_file, input_audio, output_text, refusal",
                      where, SPAN_ARGS(span_first(type, 40)));
}

/* A text or a list of parts into a list; `key` names it in failures. */
int responses_read_parts(struct responses_reader *r, struct span raw, int index, const char *key,
                         struct part **parts, size_t *n)
{
    char where[RESPONSES_WHERE_MAX], item[40];
    bool stored = index == RESPONSES_STORED;
    *n = 0;
    snprintf(item, sizeof item, "input[%d]", index);
    snprintf(where, sizeof where, "%s.%s", item, key);
    if (stored)
        responses_place_of(where, index);
    if (!raw.p)
        return 0;
    if (!json_raw_is_text(raw) && !json_raw_is_array(raw))
        return responses_invalid(r, where, "a string or an array of parts");
    size_t count = json_raw_is_text(raw) ? 1 : json_raw_count(raw);
    *parts = arena_alloc(r->arena, (count ? count : 1) * sizeof **parts);
    if (!*parts)
        return fail_memory(r->fail);
    if (json_raw_is_text(raw)) {
        if (responses_read_text(r, raw, &(*parts)->text))
            return -1;
        *n = (*parts)->text.n ? 1 : 0;
        return 0;
    }
    struct json_raw_iter it = json_raw_each(raw);
    for (int i = 0; json_raw_next(&it); i++) {
        if (!stored)
            snprintf(where, sizeof where, "%s.%s[%d]", item, key, i);
        (*parts)[i].index = i;
        if (read_part(r, it.value, where, &(*parts)[i]))
            return -1;
    }
    *n = count;
    return 0;
}
