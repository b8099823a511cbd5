/*
 * test/unit/test_catalogue.c - where a model id leads (design §4, last line), and what the list
 * shows. Live lists come from a site on the test's own loop.
 */
#include <poll.h>
#include <signal.h>

#include "gateway/access.h"
#include "gateway/catalogue.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/fake_server.h"
#include "test/unit/support/patience.h"

static const char text[] =
    "[[sites]]\nname = \"one\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
    "models = [\"m-1\", \"shared\", \"org/m-2\"]\n"
    "[[sites]]\nname = \"two\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
    "models = [\"shared\", \"only-two\"]\n"
    "[[sites]]\nname = \"own\"\nadapter = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n"
    "models = [\"own/m-3\", \"m-4\", \"own/m-4\"]\n"
    "[[models]]\nid = \"best\"\ntargets = [\"two/only-two\", \"one/org/m-2\"]\n"
    "[[models]]\nid = \"own-best\"\ntargets = [\"own/m-3\", \"own/m-4\"]\n"
    "[[models]]\nid = \"m-1\"\ntargets = [\"two/shared\"]\n"
    "[[models]]\nid = \"gpt-4*\"\ntargets = [\"one/*\", \"two/four\"]\n"
    "[[models]]\nid = \"gpt-*\"\ntargets = [\"two/*\"]\n"
    "[[models]]\nid = \"gpt-4o\"\ntargets = [\"own/*\"]\n"
    "[[models]]\nid = \"only-s??\"\ntargets = [\"one/m-1\"]\n"
    "[[models]]\nid = \"heavy\"\ntargets = [\"one/a\", {target = \"two/b\", weight = 2}, "
    "\"own/c\"]\n"
    "[[keys]]\nkey = \"sk-000000000001\"\nmodels = [\"one/*\", \"best\"]\n"
    "[[keys]]\nkey = \"sk-000000000002\"\n";

struct bench {
    uv_loop_t loop;
    struct upstream *upstream;
    struct account_pool *accounts;
    struct catalogue *catalogue;
    struct config *config;
    struct arena arena;
};

static void on_saved(void *owner, struct account *a, const char *name, const char *value,
                     int64_t expires_ms)
{
}

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    struct buffer errors;
    assert_int_equal(uv_loop_init(&b->loop), 0);
    buffer_init(&errors, 1 << 16);
    b->config = config_parse(span_str(text), "t.toml", &errors);
    if (!b->config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    buffer_free(&errors);
    b->upstream = upstream_create(&b->loop);
    assert_non_null(b->upstream);
    b->accounts = account_pool_create(&(struct account_pool_hooks){.saved = on_saved}, 1);
    assert_non_null(b->accounts);
    account_pool_configure(b->accounts, b->config, 0);
    b->catalogue = catalogue_create(&b->loop, b->upstream, b->accounts, NULL, NULL);
    assert_non_null(b->catalogue);
    catalogue_configure(b->catalogue, b->config);
    arena_init(&b->arena);
    *state = b;
    return 0;
}

static void on_upstream_closed(void *arg) {}

static int tear_down(void **state)
{
    struct bench *b = *state;
    catalogue_destroy(b->catalogue);
    account_pool_destroy(b->accounts);
    upstream_destroy(b->upstream, on_upstream_closed, NULL);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    config_unref(b->config);
    arena_free(&b->arena);
    free(b);
    return 0;
}

/* "site:model …", or the failure's message. */
static void expect(struct bench *b, const char *id, const char *wanted)
{
    const struct target *targets;
    size_t n = 0;
    struct fail fail = {0};
    struct buffer got;
    buffer_init(&got, 1000);
    const struct resolve_wish wish = {.id = span_str(id), .may_wait = true};
    enum resolve_result r =
        catalogue_resolve(b->catalogue, b->config, &wish, &b->arena, &targets, &n, &fail);
    if (r == RESOLVED) {
        for (size_t i = 0; i < n; i++)
            buffer_printf(&got, "%s%.*s:%.*s", i ? " " : "",
                          SPAN_ARGS(targets[i].site->settings.name), SPAN_ARGS(targets[i].model));
        assert_span_equal(buffer_span(&got), span_str(wanted));
    } else {
        assert_int_equal(r, RESOLVE_UNKNOWN);
        assert_int_equal(fail.kind, FAIL_MODEL_NOT_FOUND);
        if (!strstr(fail.message, wanted))
            fail_msg("%s: \"%s\" does not say \"%s\"", id, fail.message, wanted);
    }
    buffer_free(&got);
}

static void ids_lead_to_targets(void **state)
{
    struct bench *b = *state;
    expect(b, "best", "two:only-two one:org/m-2");
    expect(b, "m-1", "two:shared"); /* a configured name wins */
    expect(b, "one/m-1", "one:m-1");
    expect(b, "shared", "one:shared"); /* the first configured site */
    expect(b, "only-two", "two:only-two");
    expect(b, "org/m-2", "one:org/m-2");
    expect(b, "one/org/m-2", "one:org/m-2");
    expect(b, "own/m-3", "own:own/m-3"); /* the site's own ids begin with its name */
    expect(b, "own/own/m-3", "own:own/m-3");
    expect(b, "own/m-4", "own:m-4");
    expect(b, "own/m-5", "own:m-5");
    expect(b, "own-best", "own:own/m-3 own:m-4");
    expect(b, "two/not-listed", "two:not-listed"); /* lists are not complete: the site decides */
}

static void patterns_come_last(void **state)
{
    struct bench *b = *state;
    expect(b, "gpt-4o", "own:gpt-4o"); /* the exact id */
    expect(b, "gpt-4.1", "one:gpt-4.1 two:four");
    expect(b, "gpt-5", "two:gpt-5");
    expect(b, "gpt-4*", "one:gpt-4* two:four"); /* its own text is but one that it matches */
    expect(b, "one/gpt-4.1", "one:gpt-4.1");    /* site/model */
    expect(b, "only-two", "two:only-two");      /* a site has it */
    expect(b, "only-six", "one:m-1");
    expect(b, "only-seven", "there is no model");
}

/* The weights' order is for requests that begin; who only looks sees the file's. */
static void weights_choose_the_first_target(void **state)
{
    static const char *const turns[] = {"two one own", "one two own", "own one two", "two one own",
                                        "two one own"};
    struct bench *b = *state;
    const struct access_grant anybody = {0};
    for (int i = 0; i < 5; i++) {
        const struct resolve_wish wish = {.id = SPAN("heavy"), .turn_for = &anybody};
        const struct target *t;
        size_t n = 0;
        struct fail fail = {0};
        char got[64];
        expect(b, "heavy", "one:a two:b own:c");
        assert_int_equal(
            catalogue_resolve(b->catalogue, b->config, &wish, &b->arena, &t, &n, &fail), RESOLVED);
        assert_int_equal(n, 3);
        snprintf(got, sizeof got, "%.*s %.*s %.*s", SPAN_ARGS(t[0].site->settings.name),
                 SPAN_ARGS(t[1].site->settings.name), SPAN_ARGS(t[2].site->settings.name));
        assert_string_equal(got, turns[i]);
        if (i == 2)
            catalogue_configure(b->catalogue, b->config); /* a reload */
        for (size_t k = 0; k < n; k++)
            assert_ptr_equal(&b->config->sites[t[k].configured->site], t[k].site);
    }
}

static void near_ids_are_named(void **state)
{
    struct bench *b = *state;
    expect(b, "only-too", "only-two");
    expect(b, "bset", "best");
    expect(b, "three/m", "three/m");
    expect(b, "", "");
}

/* Ids of any length are answered; only short ones are compared. */
static void long_ids_are_unknown_too(void **state)
{
    struct bench *b = *state;
    char id[301] = {0};
    for (size_t n = 60; n <= 300; n++) {
        memset(id, 'x', n);
        expect(b, id, "there is no model \"xxxxx");
    }
}

static void collect(void *owner, struct span id, struct span owned_by)
{
    buffer_printf(owner, "%.*s(%.*s) ", SPAN_ARGS(id), SPAN_ARGS(owned_by));
}

static void the_list_is_in_order(void **state)
{
    struct bench *b = *state;
    struct buffer got;
    buffer_init(&got, 1000);
    catalogue_each(b->catalogue, b->config, collect, &got);
    assert_true(span_starts(buffer_span(&got), SPAN("best(")));
    static const char *const ids[] = {"best(two) ",     "m-1(two) ",      "one/m-1(one) ",
                                      " shared(one) ",  " org/m-2(one) ", "two/shared(two) ",
                                      " only-two(two) "};
    ptrdiff_t before = -1;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        ptrdiff_t at = span_find(buffer_span(&got), span_str(ids[i]));
        if (at <= before)
            fail_msg("%s is not in its place: %.*s", ids[i], SPAN_ARGS(buffer_span(&got)));
        before = at;
    }
    assert_true(span_find_char(buffer_span(&got), '*') < 0);
    assert_true(span_find_char(buffer_span(&got), '?') < 0);
    buffer_free(&got);
}

static void keys_choose_models(void **state)
{
    struct bench *b = *state;
    const struct key_config *some = &b->config->keys[0], *all = &b->config->keys[1];
    assert_true(key_allows_model(some, SPAN("one/m-1")) && key_allows_model(some, SPAN("best")));
    assert_false(key_allows_model(some, SPAN("two/shared")) ||
                 key_allows_model(some, SPAN("best2")));
    assert_true(key_allows_model(all, SPAN("two/shared")) && key_allows_model(NULL, SPAN("x")));
}

/* ---- live lists ---- */

#define HEAD_200 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define LIVE(more, account)                                                                        \
    "[[sites]]\nname = \"live\"\nadapter = \"openai\"\nbase_url = "                                \
    "\"http://127.0.0.1:%d/v1\"\n" more "\n[[sites.accounts]]\nname = \"" account                  \
    "\"\napi_key = \"k\"\n"

enum { SITES = 2 };

struct live {
    struct bench b;
    struct fake_server site[SITES];
    const struct fake_step *scripts[SITES][2];
    size_t n_sites;
    struct waiter waiter;
    int woken;
    struct buffer kept; /* the last list that was written down */
    const char *reload; /* when the site has the request: the config then */
    bool noted;
};

static bool find_named(const struct config *config, struct span site)
{
    bool found = false;
    for (size_t i = 0; i < config->n_sites; i++)
        found |= span_eq(config->sites[i].settings.name, site);
    return found;
}

static void on_kept(void *owner, struct span site, int64_t fetched_ms, struct span json)
{
    struct live *l = owner;
    assert_true(find_named(l->b.config, site));
    assert_true(fetched_ms > INT64_C(1600000000000));
    buffer_clear(&l->kept);
    buffer_append(&l->kept, json);
}

static void on_woken(struct waiter *w)
{
    struct live *l = (struct live *)((char *)w - offsetof(struct live, waiter));
    l->woken++;
}

static void live_configure(struct live *l, const char *format)
{
    struct bench *b = &l->b;
    struct buffer toml, errors;
    struct config *old = b->config;
    buffer_init(&toml, 1 << 16);
    buffer_init(&errors, 1 << 16);
    buffer_printf(&toml, format, l->site[0].port, l->site[1].port);
    b->config = config_parse(buffer_span(&toml), "t.toml", &errors);
    if (!b->config)
        fail_msg("%.*s", SPAN_ARGS(buffer_span(&errors)));
    buffer_free(&toml);
    buffer_free(&errors);
    assert_int_equal(account_pool_configure(b->accounts, b->config, 0), 0);
    catalogue_configure(b->catalogue, b->config);
    if (old)
        config_unref(old);
}

static void on_note(void *arg, struct fake_connection *connection)
{
    struct live *l = arg;
    l->noted = true;
    if (l->reload)
        live_configure(l, l->reload);
}

static struct live *live_start(const char *format, const struct fake_step *first,
                               const struct fake_step *second)
{
    struct live *l = calloc(1, sizeof *l);
    assert_non_null(l);
    struct bench *b = &l->b;
    const struct fake_step *const steps[SITES] = {first, second};
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(uv_loop_init(&b->loop), 0);
    for (; l->n_sites < SITES && steps[l->n_sites]; l->n_sites++) {
        size_t i = l->n_sites;
        l->scripts[i][0] = steps[i];
        l->site[i].note = on_note;
        l->site[i].note_arg = l;
        assert_true(fake_server_start(&l->site[i], &b->loop, "127.0.0.1", 0, l->scripts[i]));
    }
    l->waiter.wake = on_woken;
    buffer_init(&l->kept, 1 << 20);
    b->upstream = upstream_create(&b->loop);
    assert_non_null(b->upstream);
    b->accounts = account_pool_create(&(struct account_pool_hooks){.saved = on_saved}, 1);
    assert_non_null(b->accounts);
    b->catalogue = catalogue_create(&b->loop, b->upstream, b->accounts, on_kept, l);
    assert_non_null(b->catalogue);
    arena_init(&b->arena);
    live_configure(l, format);
    return l;
}

static void live_stop(struct live *l)
{
    struct bench *b = &l->b;
    waiter_leave(&l->waiter);
    catalogue_destroy(b->catalogue);
    account_pool_destroy(b->accounts);
    upstream_destroy(b->upstream, on_upstream_closed, NULL);
    for (size_t i = 0; i < l->n_sites; i++)
        fake_server_stop(&l->site[i]);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < l->n_sites; i++)
        fake_server_free(&l->site[i]);
    assert_int_equal(uv_loop_close(&b->loop), 0);
    config_unref(b->config);
    arena_free(&b->arena);
    buffer_free(&l->kept);
    free(l);
}

static void live_turn(struct live *l, uint64_t since_ns, const char *what)
{
    struct pollfd ready = {.fd = uv_backend_fd(&l->b.loop), .events = POLLIN};
    if (uv_hrtime() - since_ns > patience_ns())
        fail_msg("it never came to this: %s", what);
    poll(&ready, 1, 1);
    uv_run(&l->b.loop, UV_RUN_NOWAIT);
}

#define until(l, condition)                                                                        \
    do {                                                                                           \
        uint64_t since_ns = uv_hrtime();                                                           \
        while (!(condition))                                                                       \
            live_turn((l), since_ns, #condition);                                                  \
    } while (0)

static enum resolve_result resolve(struct live *l, const char *id, bool may_wait)
{
    const struct target *targets;
    size_t n;
    struct fail fail = {0};
    const struct resolve_wish wish = {.id = span_str(id), .may_wait = may_wait};
    return catalogue_resolve(l->b.catalogue, l->b.config, &wish, &l->b.arena, &targets, &n, &fail);
}

static void wait_for_lists(struct live *l)
{
    int before = l->woken;
    catalogue_wait(l->b.catalogue, &l->waiter);
    until(l, l->woken > before);
}

static const struct fake_step answers_two[] = {
    {FAKE_REQUEST, {0}, 0, 0},
    FAKE_SAY(HEAD_200
             "Content-Length: 45\r\n\r\n{\"data\":[{\"id\":\"m-live\"},{\"id\":\"org/other\"}]}"),
    {FAKE_END, {0}, 0, 0}};

static void a_live_list_is_waited_for(void **state)
{
    struct live *l = live_start(LIVE("", "a"), answers_two, NULL);
    assert_int_equal(resolve(l, "live/anything", true), RESOLVED); /* needs no list */
    assert_int_equal(l->site[0].accepted, 0);
    assert_int_equal(resolve(l, "m-live", false), RESOLVE_UNKNOWN);
    assert_int_equal(resolve(l, "m-live", true), RESOLVE_WAIT);
    assert_int_equal(resolve(l, "m-live", true), RESOLVE_WAIT); /* one fetch a site */
    catalogue_refresh(l->b.catalogue);
    wait_for_lists(l);
    expect(&l->b, "m-live", "live:m-live");
    expect(&l->b, "org/other", "live:org/other");
    expect(&l->b, "live/org/other", "live:org/other");
    expect(&l->b, "m-life", "m-live"); /* read: who asks for something else does not wait */
    struct buffer got;
    buffer_init(&got, 1000);
    catalogue_each(l->b.catalogue, l->b.config, collect, &got);
    assert_span_equal(buffer_span(&got), SPAN("m-live(live) org/other(live) "));
    buffer_free(&got);
    catalogue_refresh(l->b.catalogue); /* it is young */
    for (int i = 0; i < 10; i++)
        live_turn(l, uv_hrtime(), "some turns");
    assert_int_equal(l->site[0].accepted, 1);
    assert_span_equal(span_first(buffer_span(&l->site[0].connections[0]->received), 14),
                      SPAN("GET /v1/models"));
    assert_int_equal(l->woken, 1);
    live_stop(l);
}

/* Whatever a site answers instead of a list: nobody waits for ever, and it is left in peace. */
static void failures_are_not_repeated(void **state)
{
    static const struct fake_step scripts[][5] = {
        {{FAKE_REQUEST, {0}, 0, 0},
         FAKE_SAY("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]"),
         {FAKE_END, {0}, 0, 0}},
        {{FAKE_REQUEST, {0}, 0, 0},
         FAKE_SAY(HEAD_200 "Content-Length: 6\r\n\r\n<html>"),
         {FAKE_END, {0}, 0, 0}},
        {{FAKE_REQUEST, {0}, 0, 0},
         FAKE_SAY(HEAD_200 "Content-Length: 2\r\n\r\n{}"),
         {FAKE_END, {0}, 0, 0}},
        {{FAKE_REQUEST, {0}, 0, 0},
         FAKE_SAY(HEAD_200 "Content-Length: 99\r\n\r\n[\"m-live\"]"),
         {FAKE_CLOSE, {0}, 0, 0}},
        {{FAKE_REQUEST, {0}, 0, 0},
         FAKE_SAY(HEAD_200 "Content-Length: 4200000\r\n\r\n[\"m-live\"]"),
         {FAKE_PATTERN, {0}, 4200000 - 10, 0},
         {FAKE_END, {0}, 0, 0}},
        {{FAKE_RESET, {0}, 0, 0}},
    };
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct live *l = live_start(LIVE("", "a"), scripts[i], NULL);
        assert_int_equal(resolve(l, "m-live", true), RESOLVE_WAIT);
        wait_for_lists(l);
        if (resolve(l, "m-live", true) != RESOLVE_UNKNOWN)
            fail_msg("script %zu", i);
        size_t accepted = l->site[0].accepted;
        catalogue_refresh(l->b.catalogue);
        for (int k = 0; k < 10; k++)
            live_turn(l, uv_hrtime(), "some turns");
        assert_int_equal(l->site[0].accepted, accepted);
        live_stop(l);
    }
}

static void a_failure_keeps_the_former_list(void **state)
{
    static const struct fake_step script[] = {
        {FAKE_REQUEST, {0}, 0, 0}, FAKE_SAY(HEAD_200 "Content-Length: 10\r\n\r\n[\"m-live\"]"),
        {FAKE_REQUEST, {0}, 0, 0}, FAKE_SAY(HEAD_200 "Content-Length: 12\r\n\r\n{\"data\":null"),
        {FAKE_REQUEST, {0}, 0, 0}, FAKE_SAY(HEAD_200 "Content-Length: 9\r\n\r\n[\"m-new\"]"),
        {FAKE_END, {0}, 0, 0}};
    struct live *l = live_start(LIVE("models_cache_ttl = \"0s\"", "a"), script, NULL);
    catalogue_refresh(l->b.catalogue);
    wait_for_lists(l);
    expect(&l->b, "m-live", "live:m-live");
    catalogue_refresh(l->b.catalogue);      /* old at once */
    expect(&l->b, "m-live", "live:m-live"); /* and used meanwhile */
    wait_for_lists(l);
    expect(&l->b, "m-live", "live:m-live");
    catalogue_refresh(l->b.catalogue);
    wait_for_lists(l);
    expect(&l->b, "m-new", "live:m-new");
    expect(&l->b, "m-live", "there is no model");
    live_stop(l);
}

/* Two sites: who waits is woken once, when both have ended. */
static void all_lists_are_waited_for(void **state)
{
    static const struct fake_step refuses[] = {{FAKE_REQUEST, {0}, 0, 0}, {FAKE_CLOSE, {0}, 0, 0}};
    struct live *l = live_start(LIVE("", "a") "[[sites]]\nname = \"two\"\nadapter = \"openai\"\n"
                                              "base_url = \"http://127.0.0.1:%d/v1\"\n"
                                              "[[sites.accounts]]\nname = \"a\"\napi_key = \"k\"\n",
                                refuses, answers_two);
    assert_int_equal(resolve(l, "m-live", true), RESOLVE_WAIT);
    wait_for_lists(l);
    expect(&l->b, "m-live", "two:m-live");
    for (int i = 0; i < 10; i++)
        live_turn(l, uv_hrtime(), "some turns");
    assert_int_equal(l->woken, 1);
    live_stop(l);
}

static void a_fetch_may_be_given_up(void **state)
{
    static const struct fake_step says_nothing[] = {
        {FAKE_REQUEST, {0}, 0, 0}, {FAKE_NOTE, {0}, 0, 0}, {FAKE_END, {0}, 0, 0}};
    struct live *l = live_start(LIVE("", "a"), says_nothing, NULL);
    catalogue_refresh(l->b.catalogue);
    until(l, l->noted);
    live_stop(l); /* the sanitizer sees what is left */
    l = live_start(LIVE("", "a"), says_nothing, NULL);
    catalogue_refresh(l->b.catalogue); /* before it is connected */
    live_stop(l);
}

/* As adapters may: the run's account is read when the answer comes. */
static int names_its_account(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    return sink->put(sink->owner, &(struct model_entry){.id = run->account->name});
}

/* The account that asks leaves the config while the site thinks: it is there until the end. */
static void a_reload_does_not_disturb_a_fetch(void **state)
{
    static const struct fake_step script[] = {
        {FAKE_REQUEST, {0}, 0, 0},
        {FAKE_NOTE, {0}, 0, 0},
        FAKE_SAY(HEAD_200 "Content-Length: 10\r\n\r\n[\"m-live\"]"),
        {FAKE_END, {0}, 0, 0}};
    struct live *l = live_start(LIVE("", "leaving"), script, NULL);
    struct adapter adapter = *l->b.config->sites[0].adapter;
    adapter.models_answer = names_its_account;
    ((struct site_config *)(uintptr_t)&l->b.config->sites[0])->adapter = &adapter;
    l->reload = LIVE("", "b");
    catalogue_refresh(l->b.catalogue);
    wait_for_lists(l);
    assert_true(l->noted);
    expect(&l->b, "leaving", "live:leaving");
    live_stop(l);
}

/* Another service under the same name: neither its list nor one on its way is the new one's. */
static void a_list_is_its_services_own(void **state)
{
    static const struct fake_step both[] = {
        {FAKE_REQUEST, {0}, 0, 0},
        FAKE_SAY(HEAD_200 "Content-Length: 10\r\n\r\n[\"m-live\"]"),
        {FAKE_REQUEST, {0}, 0, 0},
        FAKE_SAY(HEAD_200 "Content-Length: 11\r\n\r\n[\"m-moved\"]"),
        {FAKE_END, {0}, 0, 0}};
    static const struct fake_step silent[] = {{FAKE_REQUEST, {0}, 0, 0},
                                              {FAKE_NOTE, {0}, 0, 0},
                                              {FAKE_REQUEST, {0}, 0, 0},
                                              {FAKE_END, {0}, 0, 0}};
    static const char moved[] = "[[sites]]\nname = \"live\"\nadapter = \"openai\"\n"
                                "base_url = \"http://127.0.0.1:%d/v2\"\n[[sites.accounts]]\n"
                                "name = \"a\"\napi_key = \"k\"\n";
    struct live *l = live_start(LIVE("", "a"), both, NULL);
    catalogue_refresh(l->b.catalogue);
    wait_for_lists(l);
    live_configure(l, LIVE("", "b"));
    expect(&l->b, "m-live", "live:m-live");
    live_configure(l, moved);
    assert_int_equal(resolve(l, "m-live", false), RESOLVE_UNKNOWN);
    assert_int_equal(resolve(l, "m-live", true), RESOLVE_WAIT); /* the new one is asked at once */
    wait_for_lists(l);
    expect(&l->b, "m-moved", "live:m-moved");
    expect(&l->b, "m-live", "there is no model");
    live_stop(l);

    l = live_start(LIVE("", "a"), silent, NULL);
    catalogue_refresh(l->b.catalogue);
    catalogue_wait(l->b.catalogue, &l->waiter);
    until(l, l->noted);
    live_configure(l, moved); /* nobody waits for the old one */
    assert_int_equal(l->woken, 1);
    live_stop(l);
}

static void a_list_outlives_a_restart(void **state)
{
    static const struct fake_step refuses[] = {
        {FAKE_REQUEST, {0}, 0, 0},
        FAKE_SAY("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]"),
        {FAKE_END, {0}, 0, 0}};
    struct live *l = live_start(LIVE("", "a"), answers_two, NULL);
    catalogue_refresh(l->b.catalogue);
    wait_for_lists(l);
    expect(&l->b, "m-live", "live:m-live");
    struct buffer kept;
    buffer_init(&kept, 1 << 20);
    buffer_append(&kept, buffer_span(&l->kept));
    assert_true(span_find(buffer_span(&kept), SPAN("\"models\":[[\"m-live\"],[\"org/other\"]]")) >
                0);
    int port = l->site[0].port;
    live_stop(l);

    l = live_start(LIVE("", "a"), refuses, NULL);
    catalogue_restore(l->b.catalogue, SPAN("live"), buffer_span(&kept));
    assert_int_equal(resolve(l, "m-live", false), RESOLVE_UNKNOWN); /* it is of another address */
    char from[32], to[32];
    snprintf(from, sizeof from, ":%d", port);
    snprintf(to, sizeof to, ":%d", l->site[0].port);
    ptrdiff_t at = span_find(buffer_span(&kept), span_str(from));
    assert_true(at > 0);
    struct buffer here;
    buffer_init(&here, 1 << 20);
    buffer_printf(&here, "%.*s%s%.*s", SPAN_ARGS(span_first(buffer_span(&kept), (size_t)at)), to,
                  SPAN_ARGS(span_from(buffer_span(&kept), (size_t)at + strlen(from))));
    catalogue_restore(l->b.catalogue, SPAN("gone"), buffer_span(&here));
    catalogue_restore(l->b.catalogue, SPAN("live"), SPAN("{\"models\":"));
    assert_int_equal(resolve(l, "m-live", false), RESOLVE_UNKNOWN);
    catalogue_restore(l->b.catalogue, SPAN("live"), buffer_span(&here));
    expect(&l->b, "m-live", "live:m-live"); /* at once */
    expect(&l->b, "live/org/other", "live:org/other");
    assert_int_equal(l->site[0].accepted, 0);
    assert_int_equal(resolve(l, "new", true), RESOLVE_WAIT); /* the site may have it by now */
    wait_for_lists(l);
    assert_int_equal(l->site[0].accepted, 1);
    expect(&l->b, "m-live", "live:m-live"); /* a failure keeps it */
    expect(&l->b, "new", "there is no model");
    buffer_free(&here);
    buffer_free(&kept);
    live_stop(l);
}

/* An id that only a pattern knows waits for lists that were never asked for, and never twice. */
static void a_pattern_waits_once(void **state)
{
    static const struct fake_step refuses[] = {{FAKE_REQUEST, {0}, 0, 0}, {FAKE_CLOSE, {0}, 0, 0}};
    struct live *l = live_start(LIVE("models_cache_ttl = \"0s\"",
                                     "a") "[[models]]\nid = \"m-*\"\ntargets = [\"live/other\"]\n",
                                answers_two, NULL);
    assert_int_equal(resolve(l, "m-live", true), RESOLVE_WAIT);
    assert_int_equal(resolve(l, "m-live", false), RESOLVED);
    wait_for_lists(l);
    expect(&l->b, "m-live", "live:m-live"); /* the site's own goes before */
    expect(&l->b, "m-1", "live:other");
    live_stop(l);
    l = live_start(LIVE("", "a") "[[models]]\nid = \"m-*\"\ntargets = [\"live/other\"]\n", refuses,
                   NULL);
    assert_int_equal(resolve(l, "m-live", true), RESOLVE_WAIT);
    wait_for_lists(l);
    expect(&l->b, "m-live", "live:other");
    live_stop(l);
}

static void without_sites_there_is_no_model_and_that_is_said(void **state)
{
    struct bench *b = *state;
    const struct resolve_wish wish = {.id = SPAN("demo/echo"), .may_wait = true};
    const struct target *targets;
    struct fail fail = {0};
    struct buffer errors;
    size_t n;
    buffer_init(&errors, 1 << 16);
    struct config *none = config_parse(SPAN(""), "t.toml", &errors);
    assert_non_null(none);
    catalogue_configure(b->catalogue, none);
    assert_int_equal(catalogue_resolve(b->catalogue, none, &wish, &b->arena, &targets, &n, &fail),
                     RESOLVE_UNKNOWN);
    assert_int_equal(fail.kind, FAIL_MODEL_NOT_FOUND);
    assert_non_null(strstr(fail.message, "no [[sites]] are configured"));
    catalogue_configure(b->catalogue, b->config);
    config_unref(none);
    buffer_free(&errors);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ids_lead_to_targets),
        TEST(without_sites_there_is_no_model_and_that_is_said),
        TEST(patterns_come_last),
        TEST(weights_choose_the_first_target),
        TEST(near_ids_are_named),
        TEST(the_list_is_in_order),
        TEST(keys_choose_models),
        TEST(long_ids_are_unknown_too),
        cmocka_unit_test(a_live_list_is_waited_for),
        cmocka_unit_test(failures_are_not_repeated),
        cmocka_unit_test(a_failure_keeps_the_former_list),
        cmocka_unit_test(all_lists_are_waited_for),
        cmocka_unit_test(a_fetch_may_be_given_up),
        cmocka_unit_test(a_reload_does_not_disturb_a_fetch),
        cmocka_unit_test(a_list_is_its_services_own),
        cmocka_unit_test(a_list_outlives_a_restart),
        cmocka_unit_test(a_pattern_waits_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
