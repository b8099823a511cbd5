/*
 * adapters/support_uploads.c - what sites have of earlier uploads (adapters/support.h).
 *
 * Chats repeat their pictures with every turn; a site that has a file already is told its name
 * again. The key is the content's digest, and how often the same came before it in the turn: no
 * site sees one file twice in one message.
 */
#include "adapters/support.h"

enum { VALUE_MAX = 4096 };

static struct span digest_of(struct turn_run *run, const struct picture *picture)
{
    return part_digest(run, picture->part, picture->bytes);
}

/* {NULL,0} without memory. */
static struct span key_of(struct turn_run *run, const struct pictures *pictures,
                          const struct picture *picture, const char *way)
{
    struct span digest = digest_of(run, picture);
    size_t before = 0;
    for (const struct picture *p = pictures->list; digest.p && p < picture; p++)
        before += p->bytes.n == picture->bytes.n && span_eq(digest_of(run, p), digest);
    struct span hex = digest.p ? hex_encode(run->arena, digest) : digest;
    bool document = picture->part->kind == PART_FILE;
    return hex.p ? arena_printf(run->arena, "%s %.*s %.*s %zu %.*s", way, SPAN_ARGS(hex),
                                SPAN_ARGS(picture->mime), before,
                                SPAN_ARGS(document ? picture->part->filename : SPAN("")))
                 : hex;
}

/* A text behind its length. */
static bool take(struct span *rest, struct span *text)
{
    uint64_t n;
    ptrdiff_t colon = span_find_char(*rest, ':');
    if (colon < 0 || !span_to_u64(span_first(*rest, (size_t)colon), VALUE_MAX, &n) ||
        n > rest->n - (size_t)colon - 1)
        return false;
    *text = span_of(rest->p + colon + 1, n);
    *rest = span_from(*rest, (size_t)colon + 1 + n);
    return true;
}

bool upload_recall(struct turn_run *run, const struct pictures *pictures, struct picture *picture,
                   const char *way)
{
    struct span id, answer, filename;
    if (!run->recall_upload)
        return false;
    struct span key = key_of(run, pictures, picture, way);
    struct span value = key.p ? run->recall_upload(run->uploads_owner, key) : key;
    if (!value.p || !take(&value, &id) || !take(&value, &answer) || !take(&value, &filename))
        return false;
    id = arena_dup(run->arena, id);
    answer = arena_dup(run->arena, answer);
    filename = arena_dup(run->arena, filename);
    if (!id.p || !answer.p || !filename.p)
        return false;
    picture->id = id;
    picture->answer = answer;
    picture->filename = filename;
    return true;
}

void upload_keep(struct turn_run *run, const struct pictures *pictures,
                 const struct picture *picture, const char *way, int64_t keep_ms)
{
    struct span key, value;
    if (!run->keep_upload ||
        picture->id.n + picture->answer.n + picture->filename.n > VALUE_MAX - 32)
        return;
    key = key_of(run, pictures, picture, way);
    value = arena_printf(run->arena, "%zu:%.*s%zu:%.*s%zu:%.*s", picture->id.n,
                         SPAN_ARGS(picture->id), picture->answer.n, SPAN_ARGS(picture->answer),
                         picture->filename.n, SPAN_ARGS(picture->filename));
    if (key.p && value.p)
        run->keep_upload(run->uploads_owner, key, value, run->now_ms + keep_ms);
}

struct picture *next_upload(struct turn_run *run, struct pictures *pictures, const char *way)
{
    while (pictures->uploaded < pictures->n) {
        struct picture *picture = &pictures->list[pictures->uploaded];
        if (!upload_recall(run, pictures, picture, way))
            return picture;
        pictures->uploaded++;
    }
    return NULL;
}
