/*
 * gateway/target_turns.c - see target_turns.h.
 */
#include "gateway/target_turns.h"

#include <stdlib.h>

struct place {
    int weight;   /* as configured */
    int64_t turn; /* of all places together always 0 */
};

struct model_turns {
    struct model_turns *next;
    struct span id; /* behind the places */
    size_t n;
    struct place places[];
};

struct target_turns {
    struct model_turns *models;
};

struct target_turns *target_turns_create(void) { return calloc(1, sizeof(struct target_turns)); }

static void free_models(struct model_turns *m)
{
    while (m) {
        struct model_turns *next = m->next;
        free(m);
        m = next;
    }
}

void target_turns_destroy(struct target_turns *t)
{
    if (!t)
        return;
    free_models(t->models);
    free(t);
}

static struct model_turns *find(struct model_turns *m, struct span id)
{
    while (m && !span_eq(m->id, id))
        m = m->next;
    return m;
}

static struct model_turns *make(const struct model_config *model)
{
    size_t size = model->n_targets * sizeof(struct place);
    struct model_turns *m = calloc(1, sizeof *m + size + model->id.n);
    if (!m)
        return NULL;
    m->id = span_of((char *)m->places + size, model->id.n);
    memcpy((char *)m->places + size, model->id.p, model->id.n);
    m->n = model->n_targets;
    for (size_t i = 0; i < m->n; i++)
        m->places[i].weight = model->targets[i].weight;
    return m;
}

/* Goes on where the former one was, if it had the same weights. */
static void take_over(struct model_turns *m, const struct model_turns *former)
{
    if (!former || former->n != m->n)
        return;
    for (size_t i = 0; i < m->n; i++) {
        if (m->places[i].weight != former->places[i].weight)
            return;
    }
    memcpy(m->places, former->places, m->n * sizeof *m->places);
}

int target_turns_configure(struct target_turns *t, const struct config *config)
{
    struct model_turns *former = t->models;
    int result = 0;
    t->models = NULL;
    for (size_t i = 0; i < config->n_models; i++) {
        if (!config->models[i].weighted)
            continue;
        struct model_turns *m = make(&config->models[i]);
        if (!m) {
            result = -1;
            continue;
        }
        take_over(m, find(former, m->id));
        m->next = t->models;
        t->models = m;
    }
    free_models(former);
    return result;
}

size_t target_turns_next(struct target_turns *t, struct span model, const int *weights, size_t n)
{
    struct model_turns *m = find(t->models, model);
    size_t best = n;
    int64_t sum = 0;
    bool known = m && m->n == n;
    for (size_t i = 0; i < n; i++) {
        if (weights[i] == 0)
            continue;
        sum += weights[i];
        if (known)
            m->places[i].turn += weights[i];
        if (best == n || (known && m->places[i].turn > m->places[best].turn))
            best = i;
    }
    if (best == n)
        return 0;
    if (known)
        m->places[best].turn -= sum;
    return best;
}
