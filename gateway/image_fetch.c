/*
 * gateway/image_fetch.c - see image_fetch.h.
 *
 * A fetch is a chain of calls, one for each redirect. Each goes to a "site" made for it, whose pool
 * is its own (a name that nobody has twice): no connection, no rule is shared with anything else.
 */
#include "gateway/image_fetch.h"

#include <stdio.h>
#include <stdlib.h>

#include "adapters/support.h"
#include "base/buffer.h"
#include "gateway/log.h"
#include "gateway/picture_url.h"
#include "gateway/public_address.h"

enum { ENOUGH_TO_KNOW = 64, NAME_SIZE = 32 };

#define INSTEAD "; send the picture itself as a data: URL"

struct fetched_image {
    unsigned refs;
    struct image_fetcher *fetcher;
    struct buffer bytes;
};

struct kept_image {
    struct fetched_image *image; /* NULL = free */
    char *url;
    size_t n_url;
    uint64_t until_ms, used;
};

struct image_fetcher {
    struct upstream *upstream;
    struct kept_image kept[IMAGE_CACHE_ENTRIES];
    size_t kept_bytes;
    size_t held; /* bytes of all pictures, and of those that are coming */
    uint64_t uses, calls;
};

struct image_fetch {
    struct image_fetcher *fetcher;
    const struct config *config;
    image_fetch_done *done;
    void *owner;
    struct arena arena;
    struct span asked; /* the URL as the client gave it */
    struct picture_url url;
    struct address_rule rule;
    struct site_config site; /* of the current call */
    struct site_request request;
    char name[NAME_SIZE];
    struct upstream_call *call;
    struct buffer bytes;
    int redirects;
    bool may_keep;
};

/* ---- pictures ---- */

struct span fetched_image_bytes(const struct fetched_image *image)
{
    return buffer_span(&image->bytes);
}

void fetched_image_unref(struct fetched_image *image)
{
    if (--image->refs)
        return;
    image->fetcher->held -= image->bytes.n;
    buffer_free(&image->bytes);
    free(image);
}

static void drop(struct image_fetcher *f, struct kept_image *k)
{
    if (!k->image)
        return;
    f->kept_bytes -= k->image->bytes.n;
    fetched_image_unref(k->image);
    free(k->url);
    *k = (struct kept_image){.image = NULL};
}

struct fetched_image *image_fetcher_recall(struct image_fetcher *f, struct span url,
                                           uint64_t now_ms)
{
    for (size_t i = 0; i < IMAGE_CACHE_ENTRIES; i++) {
        struct kept_image *k = &f->kept[i];
        if (k->image && k->until_ms <= now_ms)
            drop(f, k);
        if (!k->image || !span_eq(span_of(k->url, k->n_url), url))
            continue;
        k->used = ++f->uses;
        k->image->refs++;
        return k->image;
    }
    return NULL;
}

static struct kept_image *least_used(struct image_fetcher *f)
{
    struct kept_image *least = NULL;
    for (size_t i = 0; i < IMAGE_CACHE_ENTRIES; i++) {
        struct kept_image *k = &f->kept[i];
        if (k->image && (!least || k->used < least->used))
            least = k;
    }
    return least;
}

static struct kept_image *free_place(struct image_fetcher *f)
{
    for (size_t i = 0; i < IMAGE_CACHE_ENTRIES; i++) {
        if (!f->kept[i].image)
            return &f->kept[i];
    }
    return NULL;
}

static void keep(struct image_fetcher *f, struct span url, struct fetched_image *image,
                 uint64_t now_ms)
{
    if (image->bytes.n > IMAGE_CACHE_LARGEST)
        return;
    for (size_t i = 0; i < IMAGE_CACHE_ENTRIES; i++) { /* two requests may have asked at once */
        if (f->kept[i].image && span_eq(span_of(f->kept[i].url, f->kept[i].n_url), url))
            drop(f, &f->kept[i]);
    }
    char *copy = malloc(url.n);
    if (!copy)
        return;
    memcpy(copy, url.p, url.n);
    while (f->kept_bytes + image->bytes.n > IMAGE_CACHE_BYTES || !free_place(f))
        drop(f, least_used(f));
    image->refs++;
    f->kept_bytes += image->bytes.n;
    *free_place(f) = (struct kept_image){image, copy, url.n, now_ms + IMAGE_CACHE_MS, ++f->uses};
}

struct image_fetcher *image_fetcher_create(struct upstream *upstream)
{
    struct image_fetcher *f = calloc(1, sizeof *f);
    if (f)
        f->upstream = upstream;
    return f;
}

void image_fetcher_destroy(struct image_fetcher *f)
{
    for (size_t i = 0; f && i < IMAGE_CACHE_ENTRIES; i++)
        drop(f, &f->kept[i]);
    free(f);
}

/* ---- the end of a fetch ---- */

static void release(struct image_fetch *f)
{
    if (f->call)
        upstream_cancel(f->call, false);
    f->fetcher->held -= f->bytes.n;
    buffer_free(&f->bytes);
    arena_free(&f->arena);
    free(f);
}

void image_fetch_cancel(struct image_fetch *f) { release(f); }

static void end_with(struct image_fetch *f, const struct fail *fail)
{
    image_fetch_done *done = f->done;
    void *owner = f->owner;
    release(f);
    done(owner, NULL, fail);
}

static void end_badly(struct image_fetch *f, enum fail_kind kind, const char *what)
{
    struct fail fail;
    fail_set(&fail, kind, "%s" INSTEAD, what);
    end_with(f, &fail);
}

static void end_too_large(struct image_fetch *f)
{
    struct fail fail;
    fail_set(&fail, FAIL_INVALID_VALUE,
             "the picture at this URL is larger than %zu KiB (server.fetch_images_max)" INSTEAD,
             f->config->fetch.max / 1024);
    end_with(f, &fail);
}

void image_fetch_fail_late(struct fail *fail, const struct config *config)
{
    fail_set(fail, FAIL_INVALID_VALUE,
             "the picture at this URL did not come within %lld ms "
             "(server.fetch_images_timeout)" INSTEAD,
             (long long)config->fetch.total_ms);
}

static const char no_picture[] =
    "what stands at this URL is no picture of a kind that can be sent on (PNG, JPEG, GIF, WebP, "
    "BMP, AVIF, HEIC)";
static const char not_public[] =
    "this URL does not lead to a public server, at port 80 or 443, and others are not asked";

/* What the transport says is for the log: it names addresses. */
static void end_unreached(struct image_fetch *f, const struct fail *fail)
{
    log_debug("a picture was not fetched: %s", fail->message);
    if (fail->kind == FAIL_UNSUPPORTED)
        end_badly(f, FAIL_UNSUPPORTED, not_public);
    else
        end_badly(f, FAIL_INVALID_VALUE, "the server of this URL gave no picture");
}

static void end_well(struct image_fetch *f, uint64_t now_ms)
{
    struct fetched_image *image = malloc(sizeof *image);
    image_fetch_done *done = f->done;
    void *owner = f->owner;
    if (!image) {
        struct fail fail;
        fail_memory(&fail);
        end_with(f, &fail);
        return;
    }
    buffer_fit(&f->bytes);
    *image = (struct fetched_image){.refs = 1, .fetcher = f->fetcher, .bytes = f->bytes};
    buffer_init(&f->bytes, 0); /* its bytes stay counted: they are the picture's now */
    if (f->may_keep)
        keep(f->fetcher, f->asked, image, now_ms);
    release(f);
    done(owner, image, NULL);
}

/* ---- calls ---- */

static int begin_call(struct image_fetch *f, struct fail *fail);

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void follow(struct image_fetch *f, struct span location)
{
    struct picture_url to;
    struct fail fail;
    if (++f->redirects > IMAGE_REDIRECTS_MAX) {
        end_badly(f, FAIL_INVALID_VALUE, "this URL is redirected too often");
        return;
    }
    const char *wrong = picture_url_follow(&f->arena, &f->url, location, &to);
    if (!wrong && f->url.tls && !to.tls)
        wrong = "gives up TLS";
    upstream_cancel(f->call, false);
    f->call = NULL;
    if (wrong) {
        log_debug("a picture was not fetched: its redirect %s", wrong);
        end_badly(f, FAIL_UNSUPPORTED, "this URL is redirected to one that cannot be used");
        return;
    }
    f->url = to;
    if (begin_call(f, &fail))
        end_with(f, &fail);
}

static void on_head(void *owner, const struct site_head *head)
{
    struct image_fetch *f = owner;
    uint64_t length;
    struct span caching = site_head_get(head, "cache-control");
    if (is_redirect(head->status)) {
        follow(f, site_head_get(head, "location"));
        return;
    }
    if (head->status != 200) {
        log_debug("a picture was not fetched: its server answered %d", head->status);
        end_badly(f, FAIL_INVALID_VALUE, "the server of this URL gave no picture");
        return;
    }
    if (span_to_u64(span_trim(site_head_get(head, "content-length")), UINT64_MAX, &length) &&
        length > f->config->fetch.max) {
        end_too_large(f);
        return;
    }
    f->may_keep = span_find_nocase(caching, SPAN("no-store")) < 0 &&
                  span_find_nocase(caching, SPAN("private")) < 0;
}

static void on_body(void *owner, struct span bytes)
{
    struct image_fetch *f = owner;
    struct fail fail;
    if (bytes.n > f->config->fetch.max - f->bytes.n) {
        end_too_large(f);
        return;
    }
    if (f->fetcher->held + bytes.n > IMAGE_HELD_MAX) {
        fail_set(&fail, FAIL_SERVER_BUSY, "too many pictures are in work; try again later");
        fail.retry_after_s = 10;
        end_with(f, &fail);
        return;
    }
    if (buffer_append(&f->bytes, bytes)) {
        fail_memory(&fail);
        end_with(f, &fail);
        return;
    }
    f->fetcher->held += bytes.n;
    if (f->bytes.n >= ENOUGH_TO_KNOW && !picture_type_of(buffer_span(&f->bytes)).n)
        end_badly(f, FAIL_INVALID_VALUE, no_picture);
}

static void on_read_done(void *owner) {}

static void on_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct image_fetch *f = owner;
    f->call = NULL;
    if (end == END_CUT)
        end_unreached(f, fail);
    else if (!picture_type_of(buffer_span(&f->bytes)).n)
        end_badly(f, FAIL_INVALID_VALUE, no_picture);
    else
        end_well(f, uv_now(upstream_loop(f->fetcher->upstream)));
}

static int begin_call(struct image_fetch *f, struct fail *fail)
{
    const struct upstream_handler handler = {on_head, on_body, on_read_done, on_end, f};
    f->rule = (struct address_rule){f->config->fetch.from, f->config->fetch.n_from};
    f->site = (struct site_config){
        .settings = {.name = SPAN("pictures"), .prefix = SPAN("")},
        .tls = f->url.tls,
        .host = f->url.host,
        .port = f->url.port,
        .host_header = f->url.host_header,
        .only = &f->rule,
        .ca_file = SPAN(""),
        .connect_timeout_ms = 0, /* no clocks but its owner's, which is for all of it */
        .first_byte_timeout_ms = 0,
        .idle_timeout_ms = 0,
        .pool = {.max = 1},
    };
    f->request = (struct site_request){.method = "GET", .target = f->url.target};
    site_request_header(&f->request, SPAN("Accept"),
                        SPAN("image/png,image/jpeg,image/webp,image/gif,image/*;q=0.5"));
    snprintf(f->name, sizeof f->name, "picture %llu", (unsigned long long)++f->fetcher->calls);
    f->call = upstream_start(f->fetcher->upstream, &f->site, span_str(f->name), &f->request,
                             &handler, fail);
    return f->call ? 0 : -1;
}

struct image_fetch *image_fetch_start(struct image_fetcher *fetcher, const struct config *config,
                                      struct span url, image_fetch_done *done, void *owner,
                                      struct fail *fail)
{
    struct image_fetch *f = calloc(1, sizeof *f);
    if (!f) {
        fail_memory(fail);
        return NULL;
    }
    f->fetcher = fetcher;
    f->config = config;
    f->done = done;
    f->owner = owner;
    arena_init(&f->arena);
    buffer_init(&f->bytes, config->fetch.max);
    f->asked = arena_text(&f->arena, url);
    const char *wrong = picture_url_read(&f->arena, url, &f->url);
    if (!f->asked.p)
        fail_memory(fail);
    else if (wrong)
        fail_set(fail, FAIL_INVALID_VALUE, "the picture's URL %s" INSTEAD, wrong);
    if (!f->asked.p || wrong || begin_call(f, fail)) {
        release(f);
        return NULL;
    }
    return f;
}
