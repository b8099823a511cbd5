/*
 * adapters/support_pictures.c - the pictures and documents of a turn, checked and decoded before
 * any request goes out (adapters/support.h).
 */
#include "adapters/support.h"

#include <stdio.h>

int refuse_picture(struct turn_run *run, const struct picture *picture, const char *why)
{
    char param[PART_PLACE_SIZE];
    part_place(run->turn, picture->message, picture->part, param);
    return fail_param(run->fail, FAIL_UNSUPPORTED, param, "%s", why);
}

static int take_picture(struct turn_run *run, const char *host, struct picture *picture, size_t nth)
{
    const struct part *part = picture->part;
    if (!part_has_data(part)) {
        char why[200];
        snprintf(why, sizeof why,
                 "only pictures as data: URLs can be sent to %s, not links "
                 "(server.fetch_images = true makes dragoman fetch those)",
                 host);
        return refuse_picture(run, picture, why);
    }
    picture->mime = part_picture_type(run, part);
    if (!picture->mime.n)
        return refuse_picture(run, picture,
                              "the data: URL names no picture type such as image/png");
    picture->bytes = part_bytes(run, part);
    if (!picture->bytes.n)
        return refuse_picture(run, picture, "the picture's data is not base64");
    picture->filename =
        arena_printf(run->arena, "image-%zu.%.*s", nth, SPAN_ARGS(span_from(picture->mime, 6)));
    return picture->filename.p ? 0 : fail_memory(run->fail);
}

static int take_document(struct turn_run *run, const char *host, struct picture *document,
                         size_t nth)
{
    const struct part *part = document->part;
    bool text = !part->base64.p && part->text.p;
    if (!text && !part->base64.p) {
        char why[160];
        snprintf(why, sizeof why, "only documents with their data can be sent to %s, no links",
                 host);
        return refuse_picture(run, document, why);
    }
    document->bytes = text ? part->text : part_bytes(run, part);
    document->mime = text ? SPAN("text/plain") : part_document_type(run, part);
    if (!document->bytes.n)
        return refuse_picture(run, document, "the document has no data, or it is not base64");
    document->filename = part->filename.n
                             ? part->filename
                             : arena_printf(run->arena, "document-%zu%s", nth, text ? ".txt" : "");
    return document->filename.p ? 0 : fail_memory(run->fail);
}

/* Which uploads are wanted: those of messages before `since` are left out if they are pictures. */
struct wish {
    bool documents;
    size_t since;
};

static bool is_wanted(const struct wish *wish, size_t message, const struct part *part)
{
    return part->kind == PART_IMAGE ? message >= wish->since
                                    : wish->documents && part->kind == PART_FILE;
}

static size_t count_wanted(const struct turn *turn, const struct wish *wish)
{
    size_t n = 0;
    for (size_t i = 0; i < turn->n_messages; i++) {
        for (size_t k = 0; k < turn->messages[i].n_parts; k++)
            n += is_wanted(wish, i, &turn->messages[i].parts[k]);
    }
    return n;
}

static int collect(struct turn_run *run, const char *host, const struct wish *wish,
                   struct pictures *out)
{
    const struct turn *turn = run->turn;
    size_t n = count_wanted(turn, wish);
    *out = (struct pictures){NULL, 0, 0};
    if (!n)
        return 0;
    out->list = arena_alloc(run->arena, n * sizeof *out->list);
    if (!out->list)
        return fail_memory(run->fail);
    for (size_t i = 0; i < turn->n_messages; i++) {
        for (size_t k = 0; k < turn->messages[i].n_parts; k++) {
            const struct part *part = &turn->messages[i].parts[k];
            struct picture *one = &out->list[out->n];
            if (!is_wanted(wish, i, part))
                continue;
            *one = (struct picture){.message = &turn->messages[i], .part = part};
            out->n++;
            if (part->kind == PART_IMAGE ? take_picture(run, host, one, out->n)
                                         : take_document(run, host, one, out->n))
                return -1;
        }
    }
    return 0;
}

int collect_pictures(struct turn_run *run, const char *host, struct pictures *pictures)
{
    return collect(run, host, &(struct wish){.documents = false}, pictures);
}

int collect_uploads(struct turn_run *run, const char *host, struct pictures *uploads)
{
    return collect_uploads_since(run, host, 0, uploads);
}

int collect_uploads_since(struct turn_run *run, const char *host, size_t since,
                          struct pictures *uploads)
{
    return collect(run, host, &(struct wish){.documents = true, .since = since}, uploads);
}
