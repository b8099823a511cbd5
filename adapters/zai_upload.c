/*
 * adapters/zai_upload.c - pictures: which are refused, and how the others go to the site before the
 * chat (sites/zai.md §7).
 */
#include "adapters/zai.h"

enum { ANSWER_BYTES = 64 * 1024 * 1024 };

/* Every reason against a picture is told before any request. */
int zai_check_pictures(struct turn_run *run, struct zai *z)
{
    if (collect_pictures(run, "chat.z.ai", &z->pictures))
        return -1;
    if (z->pictures.n && z->guest)
        return refuse_picture(
            run, &z->pictures.list[0],
            "guests of chat.z.ai cannot send pictures; configure an account with a token");
    if (z->pictures.n && z->known_vision && !z->vision)
        return refuse_picture(run, &z->pictures.list[0],
                              "this model of chat.z.ai takes no pictures; those with a v in their "
                              "number do (glm-4.6v, "
                              "glm-5v-turbo)");
    return 0;
}

enum adapter_step zai_upload_picture(struct turn_run *run, struct zai *z, struct site_request *req)
{
    const struct picture *picture = &z->pictures.list[z->pictures.uploaded];
    struct buffer body;
    struct multipart form = {&body, make_uuid(run)};
    buffer_init(&body, ZAI_BODY_LIMIT);
    multipart_file(&form, SPAN("file"), picture->filename, picture->mime, picture->bytes);
    if (!multipart_post(run, req, &form))
        return step_out_of_memory(run);
    req->target = SPAN("/api/v1/files/");
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    zai_add_headers(run, z, req);
    return request_ready(run, req);
}

/* The answer becomes a part of our own body, so it is read strictly and written anew. */
enum adapter_verdict zai_take_upload(struct turn_run *run, struct zai *z, struct span body)
{
    struct picture *picture = &z->pictures.list[z->pictures.uploaded];
    struct buffer answer;
    struct json root;
    if (json_parse(run->json, body, &root) != JSON_OK)
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "chat.z.ai answered the upload of a picture with broken JSON");
    struct span name = json_get_text(root, "filename");
    picture->id = arena_dup(run->arena, json_get_text(root, "id"));
    if (name.n)
        picture->filename = arena_dup(run->arena, name);
    buffer_init(&answer, ANSWER_BYTES);
    json_dump(&answer, root);
    picture->answer = answer.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&answer));
    buffer_free(&answer);
    if (!picture->id.p || !picture->answer.p || !picture->filename.p)
        return fail_memory(run->fail);
    if (!zai_is_plain(picture->id))
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "chat.z.ai answered the upload of a picture without an id");
    upload_keep(run, &z->pictures, picture, "file", UPLOAD_KEEP_MS); /* files are the account's */
    z->pictures.uploaded++;
    return ADAPTER_COMPLETE;
}
