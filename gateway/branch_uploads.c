/*
 * gateway/branch_uploads.c - see branch_uploads.h.
 */
#include "gateway/branch_uploads.h"

#include "gateway/clock.h"
#include "gateway/exchange_internal.h"
#include "gateway/upload_book.h"

/* A file that the current run was told of. In the arena. */
struct branch_upload {
    struct upload_hash hash;
    struct branch_upload *next;
};

static struct upload_book *book_of(const struct branch *b) { return b->exchange->engine->uploads; }

static struct upload_hash hash_of(const struct branch *b, struct span key)
{
    const struct site_settings *site = &branch_site(b)->settings;
    const struct upload_scope scope = {site->name, site->origin, b->account->view.name,
                                       b->account->credentials_hash};
    return upload_hash_make(&scope, key);
}

static void keep(void *owner, struct span key, struct span value, int64_t expires_ms)
{
    struct branch *b = owner;
    const struct upload u = {.hash = hash_of(b, key),
                             .site = branch_site(b)->settings.name,
                             .account = b->account->view.name,
                             .value = value,
                             .expires_ms = expires_ms};
    shared_enter(b->exchange->engine->shared);
    upload_book_keep(book_of(b), &u);
    shared_leave(b->exchange->engine->shared);
}

/* {NULL,0} = it is not known. */
static struct span find_value(const struct branch *b, const struct upload_hash *hash)
{
    struct shared *shared = b->exchange->engine->shared;
    shared_enter(shared);
    const struct upload *u = upload_book_find(book_of(b), hash, clock_wall_ms());
    struct span value = u ? shared_lend(shared, u->value) : span_of(NULL, 0);
    shared_leave(shared);
    return value;
}

static struct span recall(void *owner, struct span key)
{
    struct branch *b = owner;
    struct upload_hash hash = hash_of(b, key);
    struct span value = b->uploads_anew ? span_of(NULL, 0) : find_value(b, &hash);
    struct branch_upload *told = value.p ? arena_alloc(&b->exchange->arena, sizeof *told) : NULL;
    if (!told)
        return span_of(NULL, 0);
    *told = (struct branch_upload){hash, b->work->uploads};
    b->work->uploads = told;
    return value;
}

void branch_offer_uploads(struct branch *b)
{
    struct turn_run *run = &b->work->run;
    b->work->uploads = NULL;
    run->keep_upload = keep;
    run->recall_upload = recall;
    run->uploads_owner = b;
}

/* A file of one of these kinds of failures may be the reason; of the others it cannot. */
static bool may_mean_gone(enum fail_kind kind)
{
    return kind == FAIL_BAD_REQUEST || kind == FAIL_EMPTY || kind == FAIL_PROTOCOL ||
           kind == FAIL_UNAVAILABLE;
}

bool branch_uploads_are_gone(struct branch *b, enum fail_kind kind)
{
    if (!b->work || !b->work->uploads || !b->adapter || b->work->feed.committed || b->continuing ||
        b->holds_credential_step || !may_mean_gone(kind))
        return false;
    shared_enter(b->exchange->engine->shared);
    for (const struct branch_upload *told = b->work->uploads; told; told = told->next)
        upload_book_forget(book_of(b), &told->hash);
    shared_leave(b->exchange->engine->shared);
    b->work->uploads = NULL;
    b->uploads_anew = true;
    return true;
}
