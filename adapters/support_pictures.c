/*
 * adapters/support_pictures.c - the pictures of a turn, checked and decoded before any request goes
 * out (adapters/support.h).
 */
#include "adapters/support.h"

#include <stdio.h>

int refuse_picture(struct turn_run *run, const struct picture *picture, const char *why)
{
    char param[PART_PLACE_SIZE];
    part_place(run->turn, picture->message, picture->part, param);
    return fail_param(&run->fail, FAIL_UNSUPPORTED, param, "%s", why);
}

/* The type becomes a header of the upload and the ending of the file's name. */
static bool is_picture_type(struct span mime)
{
    if (!span_eq_nocase(span_first(mime, 6), SPAN("image/")))
        return false;
    struct span subtype = span_from(mime, 6);
    for (size_t i = 0; i < subtype.n; i++) {
        char c = subtype.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '-' || c == '+' || c == '.'))
            return false;
    }
    return subtype.n > 0 && subtype.n <= 32;
}

static int take_picture(struct turn_run *run, const char *host, struct picture *picture, size_t nth)
{
    const struct part *part = picture->part;
    if (!part->base64.p) {
        char why[160];
        snprintf(why, sizeof why, "only pictures as data: URLs can be sent to %s, not links", host);
        return refuse_picture(run, picture, why);
    }
    if (!is_picture_type(part->mime))
        return refuse_picture(run, picture,
                              "the data: URL names no picture type such as image/png");
    picture->mime = part->mime;
    picture->bytes = base64_decode(run->arena, part->base64);
    if (!picture->bytes.n)
        return refuse_picture(run, picture, "the picture's data is not base64");
    picture->filename =
        arena_printf(run->arena, "image-%zu.%.*s", nth, SPAN_ARGS(span_from(part->mime, 6)));
    return picture->filename.p ? 0 : fail_memory(&run->fail);
}

static size_t count_pictures(const struct turn *turn)
{
    size_t n = 0;
    for (size_t i = 0; i < turn->n_messages; i++) {
        for (size_t k = 0; k < turn->messages[i].n_parts; k++)
            n += turn->messages[i].parts[k].kind == PART_IMAGE;
    }
    return n;
}

int collect_pictures(struct turn_run *run, const char *host, struct pictures *pictures)
{
    const struct turn *turn = run->turn;
    size_t n = count_pictures(turn);
    *pictures = (struct pictures){NULL, 0, 0};
    if (!n)
        return 0;
    pictures->list = arena_alloc(run->arena, n * sizeof *pictures->list);
    if (!pictures->list)
        return fail_memory(&run->fail);
    for (size_t i = 0; i < turn->n_messages; i++) {
        for (size_t k = 0; k < turn->messages[i].n_parts; k++) {
            const struct part *part = &turn->messages[i].parts[k];
            struct picture *picture = &pictures->list[pictures->n];
            if (part->kind != PART_IMAGE)
                continue;
            *picture = (struct picture){.message = &turn->messages[i], .part = part};
            if (take_picture(run, host, picture, ++pictures->n))
                return -1;
        }
    }
    return 0;
}
