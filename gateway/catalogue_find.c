/*
 * gateway/catalogue_find.c - the look-up half of catalogue.h: what models there are in public, and
 * which targets an id means. All of it inside the loops' lock.
 */
#include "gateway/catalogue_internal.h"

#include <stdlib.h>

#include "gateway/access.h"
#include "gateway/target_turns.h"

enum { NEAR_IDS = 3 };

/* ---- every public id ---- */

/* Calls `put` for each of the site's own model ids until it returns true. */
static bool site_each(struct catalogue *c, const struct site_config *site,
                      bool (*put)(void *, const struct site_config *, struct span id,
                                  struct span site_id),
                      void *owner)
{
    for (size_t i = 0; i < site->n_models; i++) {
        if (put(owner, site, site->models[i], span_of(NULL, 0)))
            return true;
    }
    if (site->n_models)
        return false;
    const struct model_entry *fixed = site->adapter->models;
    for (size_t i = 0; fixed && fixed[i].id.p; i++) {
        if (put(owner, site, fixed[i].id, span_of(NULL, 0)))
            return true;
    }
    struct live_list *l = catalogue_list_of(c, site->settings.name);
    for (size_t i = 0; l && i < l->n; i++) {
        if (put(owner, site, l->models[i].id, l->models[i].site_id))
            return true;
    }
    return false;
}

static struct span find_note(struct catalogue *c, const struct site_config *site, struct span model)
{
    struct live_list *l = catalogue_list_of(c, site->settings.name);
    struct span base = site->adapter->base_model ? site->adapter->base_model(model) : model;
    for (size_t i = 0; l && i < l->n; i++) {
        const struct live_model *m = &l->models[i];
        struct span id = m->site_id.n ? m->site_id : m->id;
        if (m->note.n && (span_eq(id, model) || span_eq(id, base)))
            return m->note;
    }
    return SPAN("");
}

struct span catalogue_note(struct catalogue *c, const struct site_config *site, struct span model)
{
    shared_enter(c->shared);
    struct span note = shared_lend(c->shared, find_note(c, site, model));
    shared_leave(c->shared);
    return note;
}

/* A set of ids already listed: linear is fine for hundreds, hashed buckets would be for thousands.
 */
struct listing {
    void (*put)(void *, struct span, struct span);
    void *owner;
    struct span *seen;
    size_t n, cap;
    struct buffer full_id;
    bool is_short; /* of memory: something is left out */
};

static bool listing_add(struct listing *l, struct span id, struct span owned_by)
{
    for (size_t i = 0; i < l->n; i++) {
        if (span_eq(l->seen[i], id))
            return false;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 128;
        struct span *grown = realloc(l->seen, cap * sizeof *grown);
        if (!grown) {
            l->is_short = true;
            return false;
        }
        l->seen = grown;
        l->cap = cap;
    }
    l->seen[l->n++] = id;
    l->put(l->owner, id, owned_by);
    return true;
}

static bool list_site_model(void *owner, const struct site_config *site, struct span id,
                            struct span site_id)
{
    struct listing *l = owner;
    if (!listing_add(
            l, id,
            site->settings.name)) { /* taken by an alias or an earlier site: by its long name */
        buffer_clear(&l->full_id);
        buffer_printf(&l->full_id, "%.*s/%.*s", SPAN_ARGS(site->settings.name), SPAN_ARGS(id));
        if (!l->full_id.error)
            l->put(l->owner, buffer_span(&l->full_id), site->settings.name);
        l->is_short |= l->full_id.error == BUFFER_NOMEM;
    }
    return false;
}

int catalogue_each(struct catalogue *c, const struct config *config,
                   void (*put)(void *, struct span, struct span), void *owner)
{
    struct listing l = {.put = put, .owner = owner};
    buffer_init(&l.full_id, 4096);
    shared_enter(c->shared);
    for (size_t i = 0; i < config->n_models; i++) {
        const struct model_config *m = &config->models[i];
        if (m->glob)
            continue;
        listing_add(&l, m->id, config->sites[m->targets[0].site].settings.name);
    }
    for (size_t i = 0; i < config->n_sites; i++)
        site_each(c, &config->sites[i], list_site_model, &l);
    shared_leave(c->shared);
    free(l.seen);
    buffer_free(&l.full_id);
    return l.is_short ? -1 : 0;
}

bool key_allows_model(const struct key_config *key, struct span id)
{
    if (!key)
        return true;
    for (size_t i = 0; i < key->n_models; i++) {
        if (span_glob(key->models[i], id))
            return true;
    }
    return false;
}

/* ---- look-up ---- */

struct lookup {
    struct span id;   /* as asked */
    struct span base; /* without the suffixes that the adapter reads */
    struct span site_id;
};

static bool match_model(void *owner, const struct site_config *site, struct span id,
                        struct span site_id)
{
    struct lookup *l = owner;
    if (!span_eq(id, l->id) && !span_eq(id, l->base) &&
        !(site_id.n && (span_eq(site_id, l->id) || span_eq(site_id, l->base))))
        return false;
    l->site_id = site_id;
    return true;
}

/* Does the site list this id? Fills what the adapter is to be given: the site's own id where only
 * the live list knows it, with the suffixes kept. */
static bool site_has(struct catalogue *c, const struct site_config *site, struct span id,
                     struct arena *arena, struct span *model)
{
    struct lookup l = {.id = id, .base = id};
    if (site->adapter->base_model)
        l.base = site->adapter->base_model(id);
    *model = id;
    if (!site_each(c, site, match_model, &l))
        return false;
    if (l.site_id.n && !span_eq(l.site_id, id)) {
        struct span suffix = span_starts(id, l.base) ? span_from(id, l.base.n) : span_of(NULL, 0);
        struct span full = arena_printf(arena, "%.*s%.*s", SPAN_ARGS(l.site_id), SPAN_ARGS(suffix));
        if (full.p)
            *model = full;
    }
    return true;
}

/* The model behind "site/": as the site lists it, or, where its own ids begin with the very name of
 * the site, the whole id. Else what stands behind the slash, and false. */
static bool site_has_behind(struct catalogue *c, const struct site_config *site, struct span id,
                            struct arena *arena, struct span *model)
{
    struct span whole;
    if (site_has(c, site, span_from(id, site->settings.name.n + 1), arena, model))
        return true;
    if (!site_has(c, site, id, arena, &whole))
        return false;
    *model = whole;
    return true;
}

static enum resolve_result one_target(const struct site_config *site, struct span model,
                                      struct arena *arena, const struct target **targets, size_t *n,
                                      struct fail *fail)
{
    struct target *t = arena_alloc(arena, sizeof *t);
    if (!t) {
        fail_memory(fail);
        return RESOLVE_UNKNOWN;
    }
    *t = (struct target){site, model, NULL};
    *targets = t;
    *n = 1;
    return RESOLVED;
}

/* "site/model" of a target, with the asked id in the place of a `*`. */
static struct span target_name(const struct target_config *t, const struct site_config *site,
                               struct span id, struct arena *arena)
{
    if (!span_eq(t->model, SPAN("*")))
        return t->name;
    return arena_printf(arena, "%.*s/%.*s", SPAN_ARGS(site->settings.name), SPAN_ARGS(id));
}

/* Where targets have weights: the one whose turn it is goes first, the others follow in the file's
 * order. */
static int take_turn(struct catalogue *c, const struct model_config *m,
                     const struct access_grant *grant, struct arena *arena, struct target *list)
{
    int *weights = arena_alloc(arena, m->n_targets * sizeof *weights);
    if (!weights)
        return -1;
    for (size_t i = 0; i < m->n_targets; i++)
        weights[i] = access_opens_site(grant, list[i].site) ? m->targets[i].weight : 0;
    size_t at = target_turns_next(c->turns, m->id, weights, m->n_targets);
    struct target first = list[at];
    memmove(list + 1, list, at * sizeof *list);
    list[0] = first;
    return 0;
}

static enum resolve_result alias_targets(struct catalogue *c, const struct config *config,
                                         const struct model_config *m,
                                         const struct resolve_wish *wish, struct arena *arena,
                                         const struct target **targets, size_t *n,
                                         struct fail *fail)
{
    struct target *list = arena_alloc(arena, m->n_targets * sizeof *list);
    bool good = list != NULL;
    for (size_t i = 0; good && i < m->n_targets; i++) {
        const struct target_config *t = &m->targets[i];
        const struct site_config *site = &config->sites[t->site];
        struct span name = target_name(t, site, wish->id, arena);
        good = name.p != NULL;
        list[i] = (struct target){.site = site, .configured = t};
        if (good)
            site_has_behind(c, site, name, arena, &list[i].model);
    }
    if (good && m->weighted && wish->turn_for)
        good = take_turn(c, m, wish->turn_for, arena, list) == 0;
    if (!good) {
        fail_memory(fail);
        return RESOLVE_UNKNOWN;
    }
    *targets = list;
    *n = m->n_targets;
    return RESOLVED;
}

/* ---- near ids, for the 404 ---- */

struct near {
    struct span id;
    const struct access_grant *grant;
    const struct config *config;
    size_t distance[NEAR_IDS];
    char names[NEAR_IDS][80];
    size_t n;
};

/* Levenshtein distance over bytes, for ids up to 79 bytes; SIZE_MAX beyond. */
static size_t edit_distance(struct span a, struct span b)
{
    size_t row[80];
    if (a.n >= 80 || b.n >= 80)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t change = diagonal + (a.p[i - 1] != b.p[j - 1]);
            size_t least = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            diagonal = row[j];
            row[j] = change < least ? change : least;
        }
    }
    return row[b.n];
}

static void near_put(void *owner, struct span id, struct span owned_by)
{
    struct near *near = owner;
    if (near->grant && !access_allows_model(near->grant, near->config, id, owned_by))
        return;
    size_t d = edit_distance(near->id, id);
    size_t at = near->n;
    while (at > 0 && near->distance[at - 1] > d)
        at--;
    if (d == SIZE_MAX || at == NEAR_IDS)
        return;
    size_t last = near->n < NEAR_IDS ? near->n++ : NEAR_IDS - 1;
    for (size_t i = last; i > at; i--) {
        near->distance[i] = near->distance[i - 1];
        memcpy(near->names[i], near->names[i - 1], sizeof near->names[i]);
    }
    near->distance[at] = d;
    memcpy(near->names[at], id.p, id.n);
    near->names[at][id.n] = '\0';
}

static enum resolve_result unknown_model(struct catalogue *c, const struct config *config,
                                         const struct resolve_wish *wish, struct fail *fail)
{
    struct span id = wish->id;
    if (config->n_sites == 0) {
        fail_param(fail, FAIL_MODEL_NOT_FOUND, "model",
                   "there is no model \"%.*s\": no [[sites]] are configured (gateway.toml.example "
                   "shows how; `dragoman demo` needs none)",
                   SPAN_ARGS(span_first(id, 80)));
        return RESOLVE_UNKNOWN;
    }
    struct near near = {.id = id, .grant = wish->grant, .config = config};
    char list[NEAR_IDS * 84] = "";
    catalogue_each(c, config, near_put, &near);
    for (size_t i = 0; i < near.n; i++) {
        strcat(list, i ? ", " : "");
        strcat(list, near.names[i]);
    }
    fail_param(fail, FAIL_MODEL_NOT_FOUND, "model",
               "there is no model \"%.*s\"%s%s; GET /v1/models lists all",
               SPAN_ARGS(span_first(id, 80)), near.n ? "; near are: " : "", list);
    return RESOLVE_UNKNOWN;
}

/* Is a list on its way that was never here? `first`: and whose site was never asked before. */
static bool some_list_is_missing(struct catalogue *c, const struct config *config, bool first)
{
    catalogue_refresh(c);
    for (size_t i = 0; i < config->n_sites; i++) {
        struct live_list *l = catalogue_list_of(c, config->sites[i].settings.name);
        if (l && (l->fetch || l->wanted) && !l->read && !(first && (l->failed || l->n)))
            return true;
    }
    return false;
}

/* [[models]]: the id itself, or the first pattern that it matches. */
static const struct model_config *find_alias(const struct config *config, struct span id, bool glob)
{
    for (size_t i = 0; i < config->n_models; i++) {
        const struct model_config *m = &config->models[i];
        if (m->glob == glob && (glob ? span_glob(m->id, id) : span_eq(m->id, id)))
            return m;
    }
    return NULL;
}

static enum resolve_result resolve(struct catalogue *c, const struct config *config,
                                   const struct resolve_wish *wish, struct arena *arena,
                                   const struct target **targets, size_t *n, struct fail *fail)
{
    struct span id = wish->id, model;
    const struct model_config *m = find_alias(config, id, false);
    if (m)
        return alias_targets(c, config, m, wish, arena, targets, n, fail);
    for (size_t i = 0; i < config->n_sites; i++) {
        const struct site_config *site = &config->sites[i];
        struct span name = site->settings.name;
        if (id.n <= name.n + 1 || !span_starts(id, name) || id.p[name.n] != '/')
            continue;
        bool listed = site_has_behind(c, site, id, arena, &model);
        if (listed || !(site->adapter->capabilities &
                        CAP_LOCAL)) /* a site may know more than its list says */
            return one_target(site, model, arena, targets, n, fail);
    }
    for (size_t i = 0; i < config->n_sites; i++) {
        if (site_has(c, &config->sites[i], id, arena, &model))
            return one_target(&config->sites[i], model, arena, targets, n, fail);
    }
    /* A list that is on its way may know the id. A pattern knows it, too: for that one a site that
     * does not answer is waited for once, not again and again. */
    m = find_alias(config, id, true);
    if (wish->may_wait && some_list_is_missing(c, config, m != NULL))
        return RESOLVE_WAIT;
    if (m)
        return alias_targets(c, config, m, wish, arena, targets, n, fail);
    return unknown_model(c, config, wish, fail);
}

enum resolve_result catalogue_resolve(struct catalogue *c, const struct config *config,
                                      const struct resolve_wish *wish, struct arena *arena,
                                      const struct target **targets, size_t *n, struct fail *fail)
{
    arena_take_short(arena);
    shared_enter(c->shared);
    enum resolve_result result = resolve(c, config, wish, arena, targets, n, fail);
    shared_leave(c->shared);
    if (result != RESOLVED || !arena_take_short(arena))
        return result;
    fail_memory(fail); /* a name was to be put together: half of it is another model */
    return RESOLVE_UNKNOWN;
}
