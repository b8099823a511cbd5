/*
 * adapters/qwen_upload.c - how a picture gets to chat.qwen.ai (sites/qwen.md §5.3): the site gives
 * a ticket, the bytes go to Alibaba's object storage, and the chat names the file.
 *
 * The storage is another host: it gets a signature made with the ticket, never our bearer, and only
 * where its name is one of the storage's.
 */
#include "adapters/qwen.h"

#define PAYLOAD "UNSIGNED-PAYLOAD"
#define SCOPE   "aliyun_v4_request"

/* The address that the chat is told is good for 300 s (§5.3): a file is used again for the next try
 * or a quick next turn, with time to spare. */
enum { ADDRESS_KEEP_MS = 180 * 1000 };

/* ---- the ticket ---- */

static struct span file_ending(struct span mime)
{
    ptrdiff_t slash = span_find_char(mime, '/');
    struct span subtype = span_from(mime, (size_t)(slash + 1));
    ptrdiff_t plus = span_find_char(subtype, '+'); /* svg+xml */
    return plus > 0 ? span_first(subtype, (size_t)plus) : subtype;
}

enum adapter_step qwen_ask_ticket(struct turn_run *run, struct qwen *c, struct site_request *req)
{
    struct picture *picture = &c->pictures.list[c->pictures.uploaded];
    struct buffer body;
    struct span id = make_uuid(run);
    picture->filename =
        arena_printf(run->arena, "%.*s.%.*s", SPAN_ARGS(id), SPAN_ARGS(file_ending(picture->mime)));
    if (!id.p || !picture->filename.p)
        return step_out_of_memory(run);
    buffer_init(&body, QWEN_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "filename", picture->filename);
    json_member_int(&w, "filesize", (int64_t)picture->bytes.n);
    json_member(&w, "filetype", SPAN("image"));
    json_end_object(&w);
    req->target = SPAN("/api/v2/files/getstsToken");
    req->framing = FRAMING_WHOLE;
    return qwen_post_json(run, c, req, &body, SPAN("/c/new-chat"));
}

/* A text of the ticket that will stand in a header or a path; all of them are visible ASCII. */
static bool take(struct turn_run *run, struct json data, const char *key, struct span *to)
{
    *to = arena_dup(run->arena, json_get_text(data, key));
    return to->p && token_can_be_sent(*to);
}

/* Whom a ticket may send us to: the storage, or the site itself. */
static bool is_storage(const struct turn_run *run, const struct https_url *url)
{
    return span_eq_nocase(url->origin, run->site->origin) ||
           (!url->port.n && url->host.n > 13 &&
            span_eq_nocase(span_from(url->host, url->host.n - 13), SPAN(".aliyuncs.com")));
}

enum adapter_verdict qwen_take_ticket(struct turn_run *run, struct qwen *c, struct json root)
{
    struct qwen_ticket *t = &c->ticket;
    struct json data = json_get(root, "data");
    struct https_url url;
    if (!json_is(data, JSON_OBJECT)) /* v1 has no envelope */
        data = root;
    if (!take(run, data, "access_key_id", &t->key_id) ||
        !take(run, data, "access_key_secret", &t->key_secret) ||
        !take(run, data, "security_token", &t->security_token) ||
        !take(run, data, "bucketname", &t->bucket) || !take(run, data, "region", &t->region) ||
        !take(run, data, "file_path", &t->path) || !take(run, data, "file_id", &t->file_id) ||
        !take(run, data, "file_url", &t->url))
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "chat.qwen.ai answered the upload of a picture without a whole ticket");
    if (!read_https_url(t->url, &url) || !is_storage(run, &url))
        return fail_set(run->fail, FAIL_PROTOCOL,
                        "chat.qwen.ai wants a picture sent to a place that is not its storage");
    t->origin = url.origin;
    t->target = url.path;
    c->at = QWEN_PUT;
    return ADAPTER_COMPLETE;
}

/* ---- the bytes ---- */

/* Every piece of a path encoded, its slashes as they are. */
static void write_path(struct buffer *out, struct span path)
{
    struct span piece;
    for (bool first = true; span_split(&path, '/', &piece); first = false) {
        if (!first)
            buffer_char(out, '/');
        percent_encode(out, piece);
    }
}

static struct span bare_region(const struct qwen_ticket *t)
{
    return span_starts(t->region, SPAN("oss-")) ? span_from(t->region, 4) : t->region;
}

static struct span oss_date(struct arena *arena, int64_t now_ms)
{
    return format_utc(arena, now_ms, "%Y%m%dT%H%M%SZ");
}

/* hex(sha256) of what is signed of the request. */
static struct span canonical_hash(struct arena *arena, const struct qwen_ticket *t,
                                  struct span mime, struct span date)
{
    struct buffer text;
    buffer_init(&text, QWEN_BODY_LIMIT);
    buffer_append(&text, SPAN("PUT\n/"));
    buffer_append(&text, t->bucket);
    buffer_char(&text, '/');
    write_path(&text, t->path);
    buffer_append(&text, SPAN("\n\ncontent-type:"));
    buffer_append(&text, mime);
    buffer_append(&text, SPAN("\nx-oss-content-sha256:" PAYLOAD "\nx-oss-date:"));
    buffer_append(&text, date);
    buffer_append(&text, SPAN("\nx-oss-security-token:"));
    buffer_append(&text, t->security_token);
    buffer_append(&text, SPAN("\n\n\n" PAYLOAD));
    struct span hash = text.error ? span_of(NULL, 0) : sha256_hex(arena, buffer_span(&text));
    buffer_free(&text);
    return hash;
}

struct span qwen_oss_authorization(struct arena *arena, const struct qwen_ticket *t,
                                   struct span mime, int64_t now_ms)
{
    struct span date = oss_date(arena, now_ms), day = span_first(date, 8), region = bare_region(t);
    struct span hash = canonical_hash(arena, t, mime, date);
    struct span scope =
        arena_printf(arena, "%.*s/%.*s/oss/" SCOPE, SPAN_ARGS(day), SPAN_ARGS(region));
    struct span key = arena_printf(arena, "aliyun_v4%.*s", SPAN_ARGS(t->key_secret));
    const struct span steps[] = {day, region, SPAN("oss"), SPAN(SCOPE)};
    for (size_t i = 0; key.p && i < sizeof steps / sizeof *steps; i++)
        key = hmac_sha256(arena, key, steps[i]);
    struct span text = arena_printf(arena, "OSS4-HMAC-SHA256\n%.*s\n%.*s\n%.*s", SPAN_ARGS(date),
                                    SPAN_ARGS(scope), SPAN_ARGS(hash));
    if (!date.p || !hash.p || !scope.p || !key.p || !text.p)
        return span_of(NULL, 0);
    struct span signature = hmac_sha256_hex(arena, key, text);
    if (!signature.p)
        return span_of(NULL, 0);
    return arena_printf(arena, "OSS4-HMAC-SHA256 Credential=%.*s/%.*s,Signature=%.*s",
                        SPAN_ARGS(t->key_id), SPAN_ARGS(scope), SPAN_ARGS(signature));
}

enum adapter_step qwen_put_picture(struct turn_run *run, struct qwen *c, struct site_request *req)
{
    const struct picture *picture = &c->pictures.list[c->pictures.uploaded];
    const struct qwen_ticket *t = &c->ticket;
    req->method = "PUT";
    req->origin = t->origin;
    req->target = t->target;
    req->body = picture->bytes;
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Content-Type"), picture->mime);
    site_request_header(req, SPAN("x-oss-content-sha256"), SPAN(PAYLOAD));
    site_request_header(req, SPAN("x-oss-date"), oss_date(run->arena, run->now_ms));
    site_request_header(req, SPAN("x-oss-security-token"), t->security_token);
    site_request_header(req, SPAN("Authorization"),
                        qwen_oss_authorization(run->arena, t, picture->mime, run->now_ms));
    return request_ready(run, req);
}

/* ---- the entry of `files` ---- */

struct span qwen_file_entry(struct turn_run *run, const struct picture *picture)
{
    struct buffer entry;
    buffer_init(&entry, QWEN_BODY_LIMIT);
    struct json_writer w = json_writer(&entry);
    json_begin_object(&w);
    json_member(&w, "type", SPAN("image"));
    json_key(&w, "file");
    json_begin_object(&w);
    json_member_int(&w, "created_at", run->now_ms);
    json_member_raw(&w, "data", SPAN("{}"));
    json_member(&w, "filename", picture->filename);
    json_member_raw(&w, "hash", SPAN("null"));
    json_member(&w, "id", picture->id);
    json_key(&w, "meta");
    json_begin_object(&w);
    json_member(&w, "name", picture->filename);
    json_member_int(&w, "size", (int64_t)picture->bytes.n);
    json_member(&w, "content_type", picture->mime);
    json_end_object(&w);
    json_member_int(&w, "update_at", run->now_ms);
    json_end_object(&w);
    json_member(&w, "id", picture->id);
    json_member(&w, "url", picture->answer);
    json_member(&w, "name", picture->filename);
    json_member(&w, "collection_name", SPAN(""));
    json_member_int(&w, "progress", 0);
    json_member(&w, "status", SPAN("uploaded"));
    json_member(&w, "greenNet", SPAN("success"));
    json_member_int(&w, "size", (int64_t)picture->bytes.n);
    json_member(&w, "error", SPAN(""));
    json_member(&w, "itemId", make_uuid(run));
    json_member(&w, "file_type", picture->mime);
    json_member(&w, "showType", SPAN("image"));
    json_member(&w, "file_class", SPAN("vision"));
    json_member(&w, "uploadTaskId", make_uuid(run));
    json_end_object(&w);
    struct span text = entry.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&entry));
    buffer_free(&entry);
    return text;
}

/* What the storage says in a failure is XML for its own people. */
enum adapter_verdict qwen_picture_put(struct turn_run *run, struct qwen *c, int status)
{
    struct picture *picture = &c->pictures.list[c->pictures.uploaded];
    if (status != 200) {
        fail_set(run->fail, status >= 500 ? FAIL_UNAVAILABLE : FAIL_PROTOCOL,
                 "the storage of chat.qwen.ai did not take a picture (%d)%s", status,
                 status == 403 ? ": is this machine's clock right?" : "");
        run->fail->upstream_status = status;
        return ADAPTER_FAIL;
    }
    picture->id = c->ticket.file_id;
    picture->answer = c->ticket.url;
    upload_keep(run, &c->pictures, picture, "oss", ADDRESS_KEEP_MS);
    c->pictures.uploaded++;
    c->at = QWEN_TICKET;
    return ADAPTER_COMPLETE;
}
