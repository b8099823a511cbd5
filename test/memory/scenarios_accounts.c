/*
 * test/memory/scenarios_accounts.c - accounts, keys' limits, turns of models, what is remembered,
 * figures: the gateway's state between requests.
 */
#include "gateway/account_pool.h"
#include "gateway/catalogue.h"
#include "gateway/config.h"
#include "gateway/conversation_reuse.h"
#include "gateway/deadlines.h"
#include "gateway/drift.h"
#include "gateway/fair_queue.h"
#include "gateway/key_limits.h"
#include "gateway/metrics.h"
#include "gateway/peer_count.h"
#include "gateway/prometheus.h"
#include "gateway/target_turns.h"
#include "gateway/token_count.h"
#include "gateway/turn_memory.h"
#include "gateway/upload_book.h"
#include "test/memory/scenario.h"

static const char text[] =
    "[[keys]]\nname = \"k\"\nkey = \"sk-local-1234567890\"\nrpm = 5\n"
    "requests_per_day = 10\ntokens_per_day = 1000\nmax_concurrent = 1\n"
    "[[keys]]\nname = \"l\"\nkey = \"sk-local-1234567891\"\nrpm = 5\n"
    "[[sites]]\nname = \"s\"\nadapter = \"openai\"\n"
    "base_url = \"https://s.example/v1\"\nmodels = [\"a\", \"b\"]\n"
    "[[sites.accounts]]\nname = \"one\"\napi_key = \"k1\"\n"
    "[[sites.accounts]]\nname = \"two\"\napi_key = \"k2\"\n"
    "[[sites]]\nname = \"live\"\nadapter = \"openai\"\nbase_url = \"https://l.example/v1\"\n"
    "[[sites.accounts]]\nname = \"one\"\napi_key = \"k3\"\n"
    "[[models]]\nid = \"m\"\ntargets = [{target = \"s/a\", weight = 2}, {target "
    "= \"s/b\", weight = 1}]\n";

/* Read once, with all the memory it wants. */
static struct config *config(void)
{
    static struct config *c;
    if (!c) {
        struct buffer errors;
        memory_pause();
        buffer_init(&errors, 1 << 16);
        c = config_parse(span_str(text), "t.toml", &errors);
        if (!c)
            scenario_wrong(__FILE__, __LINE__, errors.p);
        buffer_free(&errors);
        memory_resume();
    }
    return c;
}

static void saved(void *owner, struct account *a, const char *name, const char *value,
                  int64_t expires_ms)
{
    scenario_sayf("%s=%s;", name, value ? value : "-");
}

static void woken(struct waiter *w) { scenario_sayf("woken;"); }

static enum scenario_end use_pool(struct account_pool *pool, struct config *c)
{
    struct account *one = NULL, *two = NULL, *visitor;
    struct waiter waiter = {.wake = woken};
    size_t index;
    uint64_t at;
    const struct lease_wish wish = {.site = &c->sites[0], .model = SPAN("a"), .conversation = 77};
    if (account_pool_configure(pool, c, 0))
        return SCENARIO_SHORT;
    account_pool_restore(pool, "s", "one", "token", "t", 9000000000000);
    account_pool_restore(pool, "s", "gone", "token", "t", 9000000000000);
    bool all = account_pool_recall(pool, SPAN("s"), SPAN("gone")) != NULL;
    SCENARIO_CHECK(account_pool_lease(pool, &wish, 0, &one, &index, &at) == LEASE_OK);
    SCENARIO_CHECK(account_pool_lease(pool, &wish, 0, &two, &index, &at) == LEASE_OK);
    scenario_sayf("%s %s;", one->name, two->name);
    bool held = account_hold(&one->view, "cookie", SPAN("a=b"), 9000000000000) == 0;
    bool waits = account_pool_wait(pool, &c->sites[0], &waiter, 1, false, 0);
    all = all && held && waits;
    account_failed(one, FAIL_RATE_LIMITED, SPAN("a"), 5, 1000);
    account_succeeded(two, SPAN("a"));
    account_release(one, 1000);
    account_release(two, 1000);
    account_pool_tick(pool, 100000);
    waiter_leave(&waiter);
    visitor = account_pool_visitor(pool, &c->sites[0], SPAN("sk-their-own"));
    if (visitor) {
        account_hold(&visitor->view, "token", SPAN("x"), 9000000000000);
        account_release(visitor, 1000);
    }
    if (account_pool_configure(pool, c, 2000)) /* as a reload does */
        return SCENARIO_SHORT;
    return all && visitor ? SCENARIO_GOOD : SCENARIO_LESS;
}

static enum scenario_end pool(const void *what)
{
    struct config *c = config();
    struct account_pool *p = account_pool_create(&(struct account_pool_hooks){.saved = saved}, 1);
    if (!p)
        return SCENARIO_SHORT;
    enum scenario_end end = use_pool(p, c);
    account_pool_destroy(p);
    return end == SCENARIO_GOOD && memory_plan()->refused ? SCENARIO_LESS : end;
}

static enum scenario_end limits(const void *what)
{
    const struct key_time now = {1000, 1700000000000};
    struct fail fail = {0};
    enum scenario_end end = SCENARIO_GOOD;
    struct limited_key *key = NULL, *second = NULL;
    struct key_limits *l = key_limits_create(NULL, NULL);
    if (!l)
        return SCENARIO_SHORT;
    if (key_limits_configure(l, config(), now)) {
        end = SCENARIO_SHORT;
    } else {
        SCENARIO_CHECK(key_limits_begin(l, SPAN("k"), now, &key, &fail) == 0);
        SCENARIO_CHECK(key_limits_begin(l, SPAN("k"), now, &second, &fail) == -1);
        SCENARIO_CHECK(fail.kind == FAIL_KEY_LIMIT);
        limited_key_count_tokens(key, 7, now.wall_ms);
        scenario_sayf("%d", (int)limited_key_tokens(key, now.wall_ms).remaining);
        limited_key_end(key);
        limited_key_unref(key);
        limited_key_unref(second);
        if (key_limits_configure(l, config(), now))
            end = SCENARIO_SHORT;
    }
    key_limits_destroy(l);
    return end;
}

static enum scenario_end weights(const void *what)
{
    static const int w[] = {2, 1};
    enum scenario_end end = SCENARIO_SHORT;
    struct target_turns *t = target_turns_create();
    if (!t)
        return SCENARIO_SHORT;
    if (target_turns_configure(t, config()) == 0) {
        for (int i = 0; i < 6; i++)
            scenario_sayf("%zu", target_turns_next(t, SPAN("m"), w, 2));
        end = SCENARIO_GOOD;
    }
    target_turns_destroy(t);
    return end;
}

/* ---- what may be forgotten ---- */

static enum scenario_end less_or_good(void)
{
    return memory_plan()->refused ? SCENARIO_LESS : SCENARIO_GOOD;
}

static enum scenario_end remembered(const void *what)
{
    struct turn_memory *m = turn_memory_create();
    if (!m)
        return SCENARIO_SHORT;
    turn_memory_keep(m, 1, SPAN("key"), SPAN("value"), 0);
    turn_memory_keep(m, 1, SPAN("key"), SPAN("another"), 0);
    turn_memory_keep(m, 1, SPAN("second"), SPAN("value"), 0);
    scenario_say(turn_memory_recall(m, 1, SPAN("key"), 1));
    turn_memory_destroy(m);
    return less_or_good();
}

static enum scenario_end conversations(const void *what)
{
    struct conversation c = {
        .site = SPAN("s"), .account = SPAN("a"), .state = SPAN("{\"id\":1}"), .expires_ms = 5000};
    struct conversation_book *b = conversation_book_create(NULL, NULL);
    if (!b)
        return SCENARIO_SHORT;
    for (unsigned char i = 0; i < 20; i++) {
        c.hash.bytes[0] = i;
        bool kept = conversation_book_keep(b, &c);
        SCENARIO_CHECK(kept == (conversation_book_find(b, &c.hash, 10) != NULL));
    }
    conversation_book_forget(b, &c.hash);
    conversation_book_restore(b, &c);
    conversation_book_prune(b, 6000);
    conversation_book_destroy(b);
    return less_or_good();
}

static enum scenario_end uploads(const void *what)
{
    struct upload u = {
        .site = SPAN("s"), .account = SPAN("a"), .value = SPAN("file-1"), .expires_ms = 5000};
    struct upload_book *b = upload_book_create(NULL, NULL);
    if (!b)
        return SCENARIO_SHORT;
    for (unsigned char i = 0; i < 20; i++) {
        u.hash.bytes[0] = i;
        upload_book_keep(b, &u);
        upload_book_find(b, &u.hash, 10);
    }
    upload_book_forget(b, &u.hash);
    upload_book_restore(b, &u);
    upload_book_prune(b, 6000);
    upload_book_destroy(b);
    return less_or_good();
}

static enum scenario_end figures(const void *what)
{
    static const struct metrics_request request = {.site = SPAN_INIT("s"),
                                                   .model = SPAN_INIT("m"),
                                                   .key = SPAN_INIT("k"),
                                                   .api = "chat",
                                                   .end = "complete",
                                                   .ms = 5,
                                                   .first_ms = 2};
    struct metrics_row row;
    const struct metrics_site *site;
    size_t at = 0;
    struct buffer out;
    struct metrics *m = metrics_create();
    if (!m)
        return SCENARIO_SHORT;
    buffer_init(&out, 1 << 16);
    metrics_count_request(m, &request);
    metrics_count_request(m, &request);
    metrics_count_failure(m, SPAN("s"), FAIL_TIMEOUT);
    metrics_count_failure(m, SPAN("other"), FAIL_TIMEOUT);
    metrics_count_refusal(m, FAIL_WRONG_KEY);
    prometheus_family(&out, "x_total", PROMETHEUS_COUNTER, "things");
    while (metrics_next_row(m, &at, &row))
        prometheus_count(&out, "x_total",
                         PROMETHEUS_LABELS({"site", row.site}, {"model", row.model}), row.n);
    at = 0;
    while ((site = metrics_next_site(m, &at)))
        prometheus_histogram(&out, "y", NULL, &site->total);
    scenario_say(buffer_span(&out));
    SCENARIO_CHECK(!out.error || out.error == BUFFER_NOMEM);
    buffer_free(&out);
    metrics_destroy(m);
    return less_or_good();
}

static enum scenario_end drifts(const void *what)
{
    struct drift *d = drift_create();
    if (!d)
        return SCENARIO_SHORT;
    SCENARIO_CHECK(drift_count(d, SPAN("s"), SPAN("kind"), 1));
    SCENARIO_CHECK(!drift_count(d, SPAN("s"), SPAN("kind"), 2));
    drift_destroy(d);
    return SCENARIO_GOOD;
}

/* ---- queues, clocks, counts ---- */

static enum scenario_end queue(const void *what)
{
    enum { N = 5 };
    struct fair_queue q = {0};
    struct waiter waiters[N];
    bool all = true;
    for (int i = 0; i < N; i++) {
        waiters[i] = (struct waiter){.wake = woken};
        all = fair_queue_add(&q, (uint64_t)i % 3, &waiters[i], i == 4) && all;
    }
    while (q.n)
        fair_queue_wake_next(&q);
    return all ? SCENARIO_GOOD : SCENARIO_SHORT;
}

static enum scenario_end clocks(const void *what)
{
    enum { N = 20 };
    struct deadlines d = {0};
    struct deadline of[N] = {0};
    bool joined[N];
    bool all = true;
    for (int i = 0; i < N; i++) {
        joined[i] = deadlines_join(&d) == 0;
        all = all && joined[i];
        if (joined[i])
            deadlines_set(&d, &of[i], (uint64_t)(100 - i));
    }
    for (struct deadline *next; (next = deadlines_take(&d, 95));)
        scenario_sayf("%d ", (int)(next - of));
    for (int i = 0; i < N; i++) {
        if (joined[i])
            deadlines_leave(&d, &of[i]);
    }
    return all ? SCENARIO_GOOD : SCENARIO_SHORT;
}

static enum scenario_end peers(const void *what)
{
    enum { N = 40 };
    struct peer_count p = {0};
    bool added[N];
    bool all = true;
    for (int i = 0; i < N; i++) {
        struct ip_address a = {0};
        a.bytes[3] = (unsigned char)i;
        added[i] = peer_count_add(&p, &a) == 0;
        all = all && added[i];
    }
    for (int i = 0; i < N; i++) {
        struct ip_address a = {0};
        a.bytes[3] = (unsigned char)i;
        SCENARIO_CHECK(peer_count_of(&p, &a) == (added[i] ? 1 : 0));
        if (added[i])
            peer_count_remove(&p, &a);
    }
    peer_count_free(&p);
    return all ? SCENARIO_GOOD : SCENARIO_SHORT;
}

static enum scenario_end tokens(const void *what)
{
    static const struct token_source estimated = {NULL, NULL};
    struct token_counter c;
    bool good = true;
    token_counter_init(&c, &estimated);
    for (int i = 0; i < 50 && good; i++)
        good = token_counter_add(&c, SPAN("some words of an answer, again and again ")) == 0;
    if (good)
        scenario_sayf("%d", (int)token_counter_total(&c));
    token_counter_free(&c);
    return good ? SCENARIO_GOOD : SCENARIO_SHORT;
}

/* An id of a list, which the site knows by another one: never the one for the other. */
static enum scenario_end models(const void *what)
{
    struct config *c = config();
    struct arena arena;
    struct fail fail = {.kind = FAIL_NONE};
    const struct resolve_wish wish = {.id = SPAN("shown")};
    const struct target *targets;
    size_t n;
    struct catalogue *catalogue = catalogue_create(NULL, NULL, NULL, NULL, NULL);
    if (!catalogue)
        return SCENARIO_SHORT;
    catalogue_configure(catalogue, c);
    catalogue_restore(
        catalogue, SPAN("live"),
        SPAN("{\"adapter\":\"openai\",\"origin\":\"https://l.example\",\"prefix\":\"/v1\","
             "\"models\":[[\"shown\",\"the-site's-own\"]]}"));
    arena_init(&arena);
    enum scenario_end end = SCENARIO_LESS; /* without the list there is no such model */
    if (catalogue_resolve(catalogue, c, &wish, &arena, &targets, &n, &fail) == RESOLVED) {
        scenario_sayf("%.*s;", SPAN_ARGS(targets[0].model));
        end = SCENARIO_GOOD;
    } else if (fail.kind != FAIL_MODEL_NOT_FOUND) {
        end = scenario_short(&fail);
    }
    arena_free(&arena);
    catalogue_destroy(catalogue);
    return end;
}

static enum adapter_step next_with_token(struct turn_run *run, struct site_request *request)
{
    struct span token = account_held(run->account, "token", 0, 1);
    scenario_say(token);
    if (token.n)
        return ADAPTER_DONE;
    fail_set(run->fail, FAIL_CREDENTIAL, "there is no token");
    return ADAPTER_FAILED;
}

static enum scenario_end ask_for_token(struct account_pool *pool)
{
    const struct adapter adapter = {.next = next_with_token};
    struct account *a = account_pool_find(pool, SPAN("s"), SPAN("one"));
    struct arena arena;
    struct site_request request = {0};
    arena_init(&arena);
    struct fail fail = {.kind = FAIL_NONE};
    struct turn_run run = {.account = &a->view, .arena = &arena, .fail = &fail};
    enum adapter_step step = adapter_next(&adapter, &run, &request);
    arena_free(&arena);
    return step == ADAPTER_DONE ? SCENARIO_GOOD : scenario_short(&fail);
}

static enum scenario_end with_mailbox(struct shared *shared, uv_loop_t *loop)
{
    const struct account_pool_hooks none = {.saved = NULL};
    memory_pause(); /* as below */
    struct mailbox *box = mailbox_create(shared, loop, NULL);
    memory_resume();
    struct account_pool *pool = box ? account_pool_create(&none, 1) : NULL;
    enum scenario_end end = SCENARIO_SHORT;
    if (pool && account_pool_configure(pool, config(), 0) == 0) {
        mailbox_move_in(box);
        account_pool_share(pool, shared);
        struct account *a = account_pool_find(pool, SPAN("s"), SPAN("one"));
        if (account_hold(&a->view, "token", SPAN("t"), 0) == 0)
            end = ask_for_token(pool);
        mailbox_move_in(NULL);
    }
    account_pool_destroy(pool);
    if (box)
        mailbox_close(box);
    return end;
}

/* What is lent to a loop is a copy: without memory for it the account is not one without a token.
 */
static enum scenario_end lent(const void *what)
{
    uv_loop_t loop;
    struct shared *shared = shared_create();
    enum scenario_end end = SCENARIO_SHORT;
    if (!shared)
        return SCENARIO_SHORT;
    memory_pause(); /* libuv ends the program where it has no memory for its handles */
    SCENARIO_CHECK(uv_loop_init(&loop) == 0);
    memory_resume();
    end = with_mailbox(shared, &loop);
    uv_run(&loop, UV_RUN_DEFAULT);
    SCENARIO_CHECK(uv_loop_close(&loop) == 0);
    shared_destroy(shared);
    return end;
}

const struct scenario scenarios_accounts[] = {
    {"accounts", pool, NULL},
    {"a token on one of several loops", lent, NULL},
    {"limits of keys", limits, NULL},
    {"models with weights", weights, NULL},
    {"what turns are to remember", remembered, NULL},
    {"conversations", conversations, NULL},
    {"uploads", uploads, NULL},
    {"figures", figures, NULL},
    {"drift", drifts, NULL},
    {"queue", queue, NULL},
    {"deadlines", clocks, NULL},
    {"connections of an address", peers, NULL},
    {"tokens", tokens, NULL},
    {"models of a list", models, NULL},
    {NULL, NULL, NULL},
};
