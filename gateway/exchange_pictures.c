/*
 * gateway/exchange_pictures.c - see exchange_pictures.h.
 */
#include "gateway/exchange_pictures.h"

#include "adapters/support.h"
#include "gateway/image_fetch.h"
#include "gateway/picture_url.h"

/* One URL. Exactly one of `fetch`, `image` and `fail` is set once it was begun. */
struct wanted_picture {
    struct exchange *exchange;
    struct span url;
    struct image_fetch *fetch;
    struct fetched_image *image;
    struct fail *fail; /* in the arena */
};

struct exchange_pictures {
    struct wanted_picture list[PICTURES_MAX];
    size_t n, on_their_way;
    size_t bytes;
    uint64_t deadline;
};

static void start_more(struct exchange *e);

/* ---- which ---- */

static bool is_link(const struct part *part)
{
    return part->kind == PART_IMAGE && part->url.n && part->data && !part_has_data(part);
}

static struct wanted_picture *find(const struct exchange *e, struct span url)
{
    struct exchange_pictures *p = e->pictures;
    for (size_t i = 0; i < p->n; i++) {
        if (span_eq(p->list[i].url, url))
            return &p->list[i];
    }
    return NULL;
}

static int refuse(const struct turn *turn, const struct message *m, const struct part *part,
                  enum fail_kind kind, struct fail *fail, const char *why)
{
    char param[PART_PLACE_SIZE];
    part_place(turn, m, part, param);
    return fail_param(fail, kind, param, "%s", why);
}

static int want(struct exchange *e, const struct turn *turn, const struct message *m,
                const struct part *part, struct fail *fail)
{
    struct exchange_pictures *p = e->pictures;
    if (!is_web_url(part->url))
        return refuse(turn, m, part, FAIL_UNSUPPORTED, fail,
                      "only http:, https: and data: URLs of pictures can be used");
    if (find(e, part->url))
        return 0;
    if (p->n == PICTURES_MAX)
        return refuse(turn, m, part, FAIL_UNSUPPORTED, fail,
                      "more than 32 pictures of one request cannot be fetched from their URLs; "
                      "send some of them as data: URLs");
    /* The turn may go and come again; the URL stays. */
    struct span url = arena_text(&e->arena, part->url);
    if (!url.p)
        return fail_memory(fail);
    p->list[p->n++] = (struct wanted_picture){.exchange = e, .url = url};
    return 0;
}

/* Puts what is here into its part, and counts what is not. -1 with fail. */
static int look_at(struct exchange *e, const struct turn *turn, const struct message *m,
                   const struct part *part, size_t *missing, struct fail *fail)
{
    const struct wanted_picture *w = find(e, part->url);
    if (w->fail) {
        char param[PART_PLACE_SIZE];
        part_place(turn, m, part, param);
        *fail = *w->fail;
        if (fail->kind != FAIL_MEMORY)
            memcpy(fail->param, param, sizeof fail->param);
        return -1;
    }
    if (w->image) {
        part->data->bytes = fetched_image_bytes(w->image);
        part->data->fetched = true;
    } else {
        ++*missing;
    }
    return 0;
}

/* ---- their coming ---- */

static struct fail *room_for_fail(struct exchange *e, struct wanted_picture *w)
{
    return exchange_room_for_fail(e, &w->fail);
}

static void take(struct wanted_picture *w, struct fetched_image *image)
{
    struct exchange_pictures *p = w->exchange->pictures;
    p->bytes += fetched_image_bytes(image).n;
    w->image = image;
    if (p->bytes <= PICTURES_TOTAL)
        return;
    fetched_image_unref(image);
    w->image = NULL;
    fail_set(room_for_fail(w->exchange, w), FAIL_UNSUPPORTED,
             "the pictures of this request are larger than %d MiB together",
             PICTURES_TOTAL / 1024 / 1024);
}

static void on_done(void *owner, struct fetched_image *image, const struct fail *fail)
{
    struct wanted_picture *w = owner;
    struct exchange *e = w->exchange;
    w->fetch = NULL;
    e->pictures->on_their_way--;
    if (image)
        take(w, image);
    else
        *room_for_fail(e, w) = *fail;
    start_more(e);
    exchange_wake_branches(e);
}

static void start_more(struct exchange *e)
{
    struct exchange_pictures *p = e->pictures;
    for (size_t i = 0; i < p->n && p->on_their_way < PICTURES_AT_ONCE; i++) {
        struct wanted_picture *w = &p->list[i];
        struct fail fail;
        if (w->fetch || w->image || w->fail)
            continue;
        w->image = image_fetcher_recall(e->engine->images, w->url, exchange_now_ms(e));
        if (w->image) {
            take(w, w->image);
            continue;
        }
        w->fetch = image_fetch_start(e->engine->images, e->config, w->url, on_done, w, &fail);
        if (w->fetch)
            p->on_their_way++;
        else
            *room_for_fail(e, w) = fail;
    }
}

static bool has_links(const struct turn *turn)
{
    for (size_t i = 0; turn->has_images && i < turn->n_messages; i++) {
        for (size_t k = 0; k < turn->messages[i].n_parts; k++) {
            if (is_link(&turn->messages[i].parts[k]))
                return true;
        }
    }
    return false;
}

/* Each link of the turn, in order, until one fails. */
static int each_link(struct exchange *e, const struct turn *turn, size_t *missing,
                     struct fail *fail)
{
    for (size_t i = 0; i < turn->n_messages; i++) {
        const struct message *m = &turn->messages[i];
        for (size_t k = 0; k < m->n_parts; k++) {
            const struct part *part = &m->parts[k];
            if (!is_link(part))
                continue;
            if (missing ? look_at(e, turn, m, part, missing, fail) : want(e, turn, m, part, fail))
                return -1;
        }
    }
    return 0;
}

enum pictures_state exchange_fetch_pictures(struct exchange *e, const struct turn *turn,
                                            struct fail *fail)
{
    size_t missing = 0;
    if (!e->config->fetch.on || !has_links(turn))
        return PICTURES_HERE;
    if (!e->pictures) {
        e->pictures = arena_alloc(&e->arena, sizeof *e->pictures);
        if (!e->pictures) {
            fail_memory(fail);
            return PICTURES_FAILED;
        }
        e->pictures->deadline = exchange_now_ms(e) + (uint64_t)e->config->fetch.total_ms;
    }
    if (each_link(e, turn, NULL, fail))
        return PICTURES_FAILED;
    start_more(e);
    if (each_link(e, turn, &missing, fail))
        return PICTURES_FAILED;
    if (missing)
        exchange_arm_timer(e);
    return missing ? PICTURES_COMING : PICTURES_HERE;
}

/* ---- clocks and ends ---- */

uint64_t exchange_pictures_deadline(const struct exchange *e)
{
    return e->pictures && e->pictures->on_their_way ? e->pictures->deadline : UINT64_MAX;
}

void exchange_pictures_clock(struct exchange *e, uint64_t now_ms)
{
    if (now_ms < exchange_pictures_deadline(e))
        return;
    exchange_cancel_pictures(e);
    for (size_t i = 0; i < e->pictures->n; i++) {
        struct wanted_picture *w = &e->pictures->list[i];
        if (!w->image && !w->fail)
            image_fetch_fail_late(room_for_fail(e, w), e->config);
    }
    exchange_wake_branches(e);
}

void exchange_cancel_pictures(struct exchange *e)
{
    for (size_t i = 0; e->pictures && i < e->pictures->n; i++) {
        struct wanted_picture *w = &e->pictures->list[i];
        if (w->fetch) {
            image_fetch_cancel(w->fetch);
            w->fetch = NULL;
            e->pictures->on_their_way--;
        }
    }
}

void exchange_free_pictures(struct exchange *e)
{
    for (size_t i = 0; e->pictures && i < e->pictures->n; i++) {
        if (e->pictures->list[i].image)
            fetched_image_unref(e->pictures->list[i].image);
    }
    e->pictures = NULL;
}
