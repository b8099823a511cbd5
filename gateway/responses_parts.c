/*
 * gateway/responses_parts.c - the parts of a message or of a tool's output.
 */
#include "gateway/responses_reader.h"

#include "gateway/request_body.h"

static int split_data_url(struct responses_reader *r, struct part *part)
{
    char where[RESPONSES_WHERE_MAX];
    return request_part_split_data_url(part, responses_where(r, RESPONSES_HERE, where), r->fail);
}

static int read_image(struct responses_reader *r, struct span raw, struct part *part)
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
            r, RESPONSES_HERE,
            "pictures by file_id are not possible: send them as image_url, a data: "
            "URL for instance");
    if (!json_raw_is_text(url))
        return responses_invalid(r, RESPONSES_HERE, "a picture with a string \"image_url\"");
    if (responses_read_text(r, url, &part->url))
        return -1;
    return part->url.n
               ? split_data_url(r, part)
               : responses_invalid(r, RESPONSES_HERE, "given a URL: \"image_url\" is empty");
}

static int read_file(struct responses_reader *r, struct span raw, struct part *part)
{
    part->kind = PART_FILE;
    r->turn->has_files = true;
    if (request_part_room(r->arena, part, r->fail) ||
        responses_text_member(r, raw, "filename", RESPONSES_HERE, &part->filename) ||
        responses_text_member(r, raw, "file_id", RESPONSES_HERE, &part->file_id) ||
        responses_text_member(r, raw, "file_url", RESPONSES_HERE, &part->url) ||
        responses_text_member(r, raw, "file_data", RESPONSES_HERE, &part->url))
        return -1;
    if (!part->url.n && !part->file_id.n)
        return responses_invalid(r, RESPONSES_HERE,
                                 "given \"file_data\" (a data: URL), \"file_url\" or \"file_id\"");
    return split_data_url(r, part);
}

static int read_audio(struct responses_reader *r, struct span raw, struct part *part)
{
    struct span audio = json_raw_given(raw, "input_audio");
    part->kind = PART_AUDIO;
    r->turn->has_audio = true;
    if (request_part_room(r->arena, part, r->fail))
        return -1;
    if (!json_raw_is_object(audio) ||
        responses_text_member(r, audio, "data", RESPONSES_HERE, &part->base64) ||
        responses_text_member(r, audio, "format", RESPONSES_HERE, &part->mime) || !part->base64.n)
        return responses_invalid(r, RESPONSES_HERE,
                                 "given \"input_audio\": {\"data\", \"format\"}");
    return 0;
}

static int read_part(struct responses_reader *r, struct span raw, struct part *part)
{
    static const char *const texts[] = {"input_text", "output_text", "text", "summary_text",
                                        "reasoning_text"};
    struct span type = {NULL, 0};
    if (!json_raw_is_object(raw))
        return responses_invalid(r, RESPONSES_HERE, "an object with a \"type\"");
    if (responses_text_member(r, raw, "type", RESPONSES_HERE, &type))
        return -1;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!span_eq(type, span_str(texts[i])))
            continue;
        struct span text = json_raw_given(raw, "text");
        part->kind = PART_TEXT;
        return json_raw_is_text(text)
                   ? responses_read_text(r, text, &part->text)
                   : responses_invalid(r, RESPONSES_HERE, "a part with a string \"text\"");
    }
    if (span_eq(type, SPAN("refusal"))) {
        part->kind = PART_REFUSAL;
        return responses_text_member(r, raw, "refusal", RESPONSES_HERE, &part->text);
    }
    if (span_eq(type, SPAN("input_image")))
        return read_image(r, raw, part);
    if (span_eq(type, SPAN("input_file")))
        return read_file(r, raw, part);
    if (span_eq(type, SPAN("input_audio")))
        return read_audio(r, raw, part);
    char where[RESPONSES_WHERE_MAX];
    const char *param = responses_where(r, RESPONSES_HERE, where);
    return fail_param(r->fail, FAIL_INVALID_VALUE, param,
                      "%s has the unknown type \"%.*s\"; known are input_text, input_image, "
                      "input_file, input_audio, output_text, refusal",
                      param, SPAN_ARGS(span_first(type, 40)));
}

/* A text or a list of parts into a list; `key` names it in failures. */
int responses_read_parts(struct responses_reader *r, struct span raw, int index, const char *key,
                         struct part **parts, size_t *n)
{
    *n = 0;
    responses_be_at(r, index, key);
    if (!raw.p)
        return 0;
    if (!json_raw_is_text(raw) && !json_raw_is_array(raw))
        return responses_invalid(r, RESPONSES_HERE, "a string or an array of parts");
    size_t count = json_raw_is_text(raw) ? 1 : json_raw_count(raw);
    if (responses_count_parts(r, count))
        return -1;
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
        r->at.part = (*parts)[i].index = i;
        if (read_part(r, it.value, &(*parts)[i]))
            return -1;
    }
    *n = count;
    return 0;
}
