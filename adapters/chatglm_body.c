/*
 * adapters/chatglm_body.c - what we send to chatglm.cn: pictures and documents first, then one
 * message that holds the whole conversation (sites/chatglm.md §5).
 */
#include "adapters/chatglm.h"

#include "base/json_write.h"

/* ---- pictures and documents (§5.2) ---- */

enum adapter_step chatglm_upload(struct turn_run *run, struct chatglm *c, struct site_request *req)
{
    const struct picture *picture = &c->pictures.list[c->pictures.uploaded];
    struct buffer body;
    struct multipart form = {&body, make_uuid(run)};
    buffer_init(&body, CHATGLM_BODY_LIMIT);
    multipart_file(&form, SPAN("file"), picture->filename, picture->mime, picture->bytes);
    if (!c->older_upload) {
        multipart_field(&form, SPAN("from"), SPAN("chat"));
        multipart_field(&form, SPAN("assistant_id"), c->assistant);
    }
    if (!multipart_post(run, req, &form))
        return step_out_of_memory(run);
    req->target = c->older_upload ? SPAN("/chatglm/backend-api/assistant/file_upload")
                                  : SPAN("/chatglm/productivity-api/file/chat_upload");
    return chatglm_send(run, c, req, c->token.value);
}

/* The entry that the chat has to show for a picture. */
static void write_picture_entry(struct json_writer *w, const struct picture *picture,
                                struct json result)
{
    struct span name = json_get_text(result, "file_name");
    int64_t size;
    if (!json_int(json_get(result, "file_size"), &size))
        size = (int64_t)picture->bytes.n;
    json_begin_object(w);
    json_member(w, "file_name", name.n ? name : picture->filename);
    json_member(w, "file_id", json_get_text(result, "file_id"));
    json_member(w, "image_url", json_get_text(result, "file_url"));
    json_member_int(w, "file_size", size);
    json_member_int(w, "order", 0);
    json_member_int(w, "width", 0);
    json_member_int(w, "height", 0);
    json_end_object(w);
}

/* The answer becomes a part of our own body, so it is read strictly and written anew. */
enum adapter_verdict chatglm_take_upload(struct turn_run *run, struct chatglm *c, struct span body)
{
    struct picture *picture = &c->pictures.list[c->pictures.uploaded];
    struct json root, result;
    struct buffer entry;
    if (json_parse(run->json, body, &root) != JSON_OK)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "chatglm.cn answered the upload of a file with broken JSON");
    result = json_get(root, "result");
    if (json_is(result, JSON_ARRAY))
        result = json_at(result, 0);
    if (!json_get_text(result, "file_id").n || !json_get_text(result, "file_url").n)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "chatglm.cn answered the upload of a file without its id");
    buffer_init(&entry, CHATGLM_BODY_LIMIT);
    struct json_writer w = json_writer(&entry);
    if (picture->part->kind == PART_IMAGE)
        write_picture_entry(&w, picture, result);
    else
        json_dump(&entry, result);
    picture->answer = entry.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&entry));
    buffer_free(&entry);
    if (!picture->answer.p)
        return fail_memory(run->fail);
    upload_keep(run, &c->pictures, picture, "file", UPLOAD_KEEP_MS); /* of no conversation */
    c->pictures.uploaded++;
    return ADAPTER_COMPLETE;
}

/* ---- the message (§5.1, §5.3) ---- */

static const struct prompt_marks marks = {
    .head = {SPAN_INIT("<|system|>"), SPAN_INIT("<|user|>"), SPAN_INIT("<|assistant|>"),
             SPAN_INIT("<|user|>")},
    .tail = SPAN_INIT("\n"),
    .between = SPAN_INIT("\n"),
    .answer = SPAN_INIT("\n<|assistant|>\n"),
};

/* {"type":"image","image":[…]}, {"type":"file","file":[…]}; nothing without any. */
static void write_uploads(const struct chatglm *c, struct json_writer *w, enum part_kind kind,
                          const char *type)
{
    bool any = false;
    for (size_t i = 0; i < c->pictures.n; i++) {
        const struct picture *picture = &c->pictures.list[i];
        if (picture->part->kind != kind)
            continue;
        if (!any) {
            json_begin_object(w);
            json_member(w, "type", span_str(type));
            json_key(w, type);
            json_begin_array(w);
        }
        any = true;
        json_raw_value(w, picture->answer);
    }
    if (any) {
        json_end_array(w);
        json_end_object(w);
    }
}

static void write_message(const struct chatglm *c, struct json_writer *w, struct span prompt)
{
    json_begin_object(w);
    json_member(w, "role", SPAN("user"));
    json_key(w, "content");
    json_begin_array(w);
    json_begin_object(w);
    json_member(w, "type", SPAN("text"));
    json_member(w, "text", prompt);
    json_end_object(w);
    write_uploads(c, w, PART_IMAGE, "image");
    write_uploads(c, w, PART_FILE, "file");
    json_end_array(w);
    json_end_object(w);
}

static void write_meta_data(const struct chatglm *c, struct json_writer *w)
{
    json_begin_object(w);
    json_member_raw(w, "cogview", SPAN("{\"rm_label_watermark\":false}"));
    json_member_bool(w, "is_test", false);
    json_member(w, "input_question_type", SPAN("xxxx"));
    json_member(w, "channel", SPAN(""));
    json_member(w, "draft_id", SPAN(""));
    if (c->chat_mode.n)
        json_member(w, "chat_mode", c->chat_mode);
    if (c->older) {
        json_member_bool(w, "if_plus_model", true);
    } else {
        json_member(w, "reasoning_effort", c->effort);
        json_member(w, "selected_model", c->model);
    }
    json_member_bool(w, "is_networking", c->search);
    json_member(w, "quote_log_id", SPAN(""));
    json_member(w, "platform", SPAN("pc"));
    json_end_object(w);
}

enum adapter_step chatglm_send_chat(struct turn_run *run, struct chatglm *c,
                                    struct site_request *req)
{
    struct buffer body;
    struct span prompt =
        flatten_with(run->arena, &marks, run->turn->messages, run->turn->n_messages);
    if (!prompt.p)
        return step_out_of_memory(run);
    buffer_init(&body, CHATGLM_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "assistant_id", c->assistant);
    /* without one the site makes it; an invented one is refused */
    json_member(&w, "conversation_id", run->conversation);
    json_member(&w, "project_id", SPAN(""));
    json_member(&w, "chat_type", SPAN("user_chat"));
    json_key(&w, "meta_data");
    write_meta_data(c, &w);
    json_key(&w, "messages");
    json_begin_array(&w);
    write_message(c, &w, prompt);
    json_end_array(&w);
    json_end_object(&w);
    req->target = SPAN("/chatglm/backend-api/assistant/stream");
    req->framing = FRAMING_SSE;
    return chatglm_post_json(run, c, req, &body, c->token.value);
}
