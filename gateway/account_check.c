/*
 * gateway/account_check.c - see account_check.h.
 *
 * A probe is one account's adapter run without an exchange, as the catalogue's fetches are. The
 * hard part: some services show their models to everybody, and then a good answer says nothing
 * about the credential. Where the adapter does not know, a good answer is followed by the same
 * request without the credential: only if that is refused, the credential is fine.
 */
#include "gateway/account_check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/support.h"
#include "base/json_write.h"
#include "gateway/account_events.h"
#include "gateway/clock.h"
#include "gateway/site_cookies.h"
#include "sse/text_guard.h"

enum { ANSWER_MAX = 4 * 1024 * 1024, REPORT_MAX = 16 * 1024 * 1024, SITE_NAME_MAX = 256 };

enum probe_result { PROBE_WAITS, PROBE_RUNS, PROBE_FINE, PROBE_FAILED, PROBE_UNKNOWN };

struct probe {
    struct account_check *check;
    const struct site_config *site;
    struct account *account; /* pinned from the start: a reload may take it away meanwhile */
    enum probe_result result;
    char message[sizeof(((struct fail *)0)->message)];
    /* While it runs: */
    struct arena arena;
    struct turn_run run;
    struct fail fail; /* the run's */
    struct site_request request;
    struct site_request bare; /* the same without the credential */
    bool asked_bare;          /* that one is under way: is the list open to everybody? */
    struct upstream_call *call;
    struct buffer body;
    int status, retry_after_s;
    struct span content_type; /* in the arena */
    uint64_t began_ms;
    size_t models;
};

struct account_check {
    struct account_check_wish wish;
    struct config *config; /* reference */
    struct json_parser *json;
    uv_timer_t timer; /* the first start, then the probes' time-outs */
    size_t n, next, n_running;
    struct probe probes[];
};

/* ---- one probe ---- */

static uint64_t now_ms(const struct probe *p) { return uv_now(p->check->wish.loop); }

/* Ends its request, if there is one, and frees what it needed. */
static void put_away(struct probe *p)
{
    if (p->call)
        upstream_cancel(p->call, false);
    p->call = NULL;
    if (p->run.state && p->site->adapter->destroy)
        p->site->adapter->destroy(&p->run);
    buffer_free(&p->body);
    arena_free(&p->arena);
    p->check->n_running--;
}

static void conclude(struct probe *p, enum probe_result result, const char *message)
{
    p->result = result;
    snprintf(p->message, sizeof p->message, "%s", message);
    put_away(p);
}

/* A list that is refused for want of a right (403) says little about chats: the account's state
 * stays as it is. A limit of one model's is none of the account's. */
static bool concerns_the_account(const struct probe *p)
{
    switch (p->run.fail->kind) {
    case FAIL_CREDENTIAL: return p->status != 403;
    case FAIL_CHALLENGE: return true;
    case FAIL_RATE_LIMITED: return !p->site->limits_per_model;
    default: return false;
    }
}

static void refused(struct probe *p)
{
    const struct fail *fail = p->run.fail;
    if (p->account->view.guest && fail->kind == FAIL_CREDENTIAL) {
        conclude(p, PROBE_UNKNOWN, "its guest session is over; the next message begins another");
        return;
    }
    if (concerns_the_account(p)) {
        account_met_failure(p->account, SPAN(""), fail, now_ms(p));
    }
    conclude(p, PROBE_FAILED, fail->message);
}

static int count_model(void *owner, const struct model_entry *entry)
{
    ((struct probe *)owner)->models++;
    return 0;
}

static void fine(struct probe *p)
{
    char message[100];
    account_met_success(p->account, SPAN(""));
    snprintf(message, sizeof message, "fine (%zu model%s%s)", p->models, p->models == 1 ? "" : "s",
             p->bare.n_headers == p->request.n_headers ? "; it goes without a credential" : "");
    conclude(p, PROBE_FINE, message);
}

static void ask_site(struct probe *p, const struct site_request *);

/* The list is there: thanks to the credential? */
static void listed(struct probe *p)
{
    if (p->site->adapter->models_need_credential || p->bare.n_headers == p->request.n_headers) {
        fine(p);
        return;
    }
    p->asked_bare = true;
    buffer_clear(&p->body);
    ask_site(p, &p->bare);
}

/* The answer to who comes without a credential; no status: none came. Refusals have many statuses,
 * also those of a way to a login page. */
static void answered_bare(struct probe *p)
{
    bool is_refused = p->status >= 300 && p->status < 500 && p->status != 408 && p->status != 429;
    if (p->status == 200)
        conclude(p, PROBE_UNKNOWN,
                 "answers, but shows its models to everybody, so nothing cheap tells whether the "
                 "credential is good; send a message");
    else if (is_refused)
        fine(p);
    else
        conclude(p, PROBE_UNKNOWN,
                 "answers, but did not say whether it shows its models to everybody; check again, "
                 "or send a message");
}

/* What the site said with a status other than 200, or instead of a list. */
static void classify(struct probe *p)
{
    const struct adapter *adapter = p->site->adapter;
    struct span body = buffer_span(&p->body);
    struct fail unreadable = *p->run.fail; /* what models_answer thought of a 200 */
    (adapter->models_refused ? adapter->models_refused : classify_http)(
        &p->run, p->status, p->content_type, p->retry_after_s, body);
    if (p->run.fail->kind != FAIL_PROTOCOL)
        return;
    if (unreadable.kind == FAIL_NONE)
        fail_set(&unreadable, FAIL_PROTOCOL, "%s answered no model list; check base_url",
                 p->account->site);
    *p->run.fail = unreadable;
}

static void answered(struct probe *p)
{
    struct model_sink sink = {count_model, p};
    bool has_none = (p->status == 404 || p->status == 405 || p->status == 501) &&
                    !looks_like_html(p->content_type, buffer_span(&p->body));
    if (has_none) {
        conclude(p, PROBE_UNKNOWN, "answers, but has no model list to ask for; send a message");
    } else if (p->status == 200 &&
               p->site->adapter->models_answer(&p->run, buffer_span(&p->body), &sink) >= 0) {
        listed(p); /* its first page is enough */
    } else {
        classify(p);
        refused(p);
    }
}

static void start_probes(struct account_check *);

static void on_head(void *owner, const struct site_head *head)
{
    struct probe *p = owner;
    p->status = head->status;
    if (p->asked_bare) /* its status is all we want to know */
        return;
    p->run.now_ms = clock_wall_ms();
    site_cookies_take(p->site->adapter, &p->run, &p->request, head);
    p->retry_after_s = head->retry_after_s;
    p->content_type = arena_dup(&p->arena, head->content_type);
}

static void on_body(void *owner, struct span bytes)
{
    buffer_append(&((struct probe *)owner)->body, bytes);
}

static void on_read_done(void *owner) {}

static void on_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct probe *p = owner;
    p->call = NULL;
    if (p->asked_bare)
        answered_bare(p);
    else if (end == END_CUT)
        conclude(p, PROBE_FAILED, fail->message);
    else if (p->body.error)
        conclude(p, PROBE_FAILED, "the answer is too large for a model list; check base_url");
    else
        answered(p);
    start_probes(p->check);
}

static void ask_site(struct probe *p, const struct site_request *request)
{
    const struct upstream_handler handler = {on_head, on_body, on_read_done, on_end, p};
    struct fail fail;
    p->status = 0;
    p->call = upstream_start(p->check->wish.upstream, p->site, p->account->view.name, request,
                             &handler, &fail);
    if (!p->call)
        conclude(p, PROBE_FAILED, fail.message);
}

static bool holds(struct span text, struct span secret)
{
    return secret.n && span_find(text, secret) >= 0;
}

static bool is_secret(const struct site_account *account, struct span text)
{
    for (size_t i = 0; i < account->n_credentials; i++) {
        if (holds(text, account->credentials[i].value))
            return true;
    }
    bool is_held = false;
    account_guard_enter(account);
    for (const struct held_credential *h = account->held; h && !is_held; h = h->next)
        is_held = holds(text, span_str(h->value));
    account_guard_leave(account);
    return is_held;
}

static void strip_credentials(struct probe *p)
{
    p->bare = p->request;
    p->bare.n_headers = 0;
    for (size_t i = 0; i < p->request.n_headers; i++) {
        const struct header *h = &p->request.headers[i];
        if (!is_secret(&p->account->view, h->value) && !span_eq_nocase(h->name, SPAN("Cookie")))
            p->bare.headers[p->bare.n_headers++] = *h;
    }
}

static enum adapter_step ask_adapter(struct probe *p)
{
    static const struct delta_sink nowhere;
    const struct adapter *adapter = p->site->adapter;
    p->fail = (struct fail){0};
    p->run = (struct turn_run){
        .fail = &p->fail,
        .site = &p->site->settings,
        .account = &p->account->view,
        .state = arena_alloc(&p->arena, adapter->state_size ? adapter->state_size : 1),
        .arena = &p->arena,
        .json = p->check->json,
        .out = &nowhere,
        .now_ms = clock_wall_ms(),
        .random = clock_random,
    };
    if (!p->run.state) {
        fail_memory(p->run.fail);
        return ADAPTER_FAILED;
    }
    enum adapter_step step = adapter->models_request(&p->run, &p->request);
    if (step == ADAPTER_SEND && site_cookies_send(adapter, &p->run, &p->request)) {
        fail_memory(p->run.fail);
        return ADAPTER_FAILED;
    }
    return step;
}

/* The reason why the account is not asked at all, or NULL. */
static const char *excuse(const struct probe *p)
{
    if (p->site->adapter->capabilities & CAP_LOCAL)
        return "answers by itself, nothing to check";
    if (!p->site->adapter->models_request || p->site->bridge)
        return "nothing cheap to ask; send a message";
    if (p->site->adapter->keeps_cookies && !p->check->wish.running)
        return "not asked without a running gateway: it keeps the cookies that the site renews";
    return NULL;
}

static void begin_probe(struct probe *p)
{
    char message[200];
    account_enter(p->account);
    uint64_t rests_until = account_cool_until(p->account, 0);
    account_leave(p->account);
    arena_init(&p->arena);
    buffer_init(&p->body, ANSWER_MAX);
    p->check->n_running++;
    p->result = PROBE_RUNS;
    p->began_ms = now_ms(p);
    if (excuse(p)) {
        conclude(p, PROBE_UNKNOWN, excuse(p));
        return;
    }
    if (rests_until > now_ms(p)) {
        snprintf(message, sizeof message,
                 "rests for %d s more, as its site wished, and is not asked before; wait, or clear "
                 "it (dragoman accounts clear)",
                 clock_seconds_until(rests_until, now_ms(p)));
        conclude(p, PROBE_FAILED, message);
        return;
    }
    switch (ask_adapter(p)) {
    case ADAPTER_WAIT:
    case ADAPTER_DONE: conclude(p, PROBE_UNKNOWN, "nothing cheap to ask; send a message"); return;
    case ADAPTER_FAILED: conclude(p, PROBE_FAILED, p->run.fail->message); return;
    case ADAPTER_SEND: break;
    }
    strip_credentials(p);
    ask_site(p, &p->request);
}

/* ---- all of them ---- */

static void on_closed(uv_handle_t *handle) { free(handle->data); }

static void destroy(struct account_check *check)
{
    for (size_t i = 0; i < check->n; i++) {
        if (check->probes[i].result == PROBE_RUNS)
            put_away(&check->probes[i]);
        account_unpin(check->probes[i].account);
    }
    json_parser_destroy(check->json);
    config_unref(check->config);
    uv_close((uv_handle_t *)&check->timer, on_closed);
}

static const char *result_name(enum probe_result result)
{
    return result == PROBE_FINE ? "fine" : result == PROBE_FAILED ? "failed" : "unknown";
}

static void report(struct account_check *check)
{
    struct buffer text;
    struct json_writer w = json_writer(&text);
    buffer_init(&text, REPORT_MAX);
    json_begin_object(&w);
    json_member_bool(&w, "running", check->wish.running);
    json_key(&w, "accounts");
    json_begin_array(&w);
    for (size_t i = 0; i < check->n; i++) {
        const struct probe *p = &check->probes[i];
        json_begin_object(&w);
        json_member(&w, "site", span_str(p->account->site));
        json_member(&w, "account", span_str(p->account->name));
        json_member(&w, "result", span_str(result_name(p->result)));
        json_member_repaired(&w, "message", span_str(p->message));
        json_end_object(&w);
    }
    json_end_array(&w);
    json_end_object(&w);
    struct account_check_wish wish = check->wish;
    destroy(check);
    wish.done(wish.owner, buffer_span(&text));
    buffer_free(&text);
}

static void on_timer(uv_timer_t *timer);

/* Begins as many as may run; tells the end. The timer stands for the next one whose time is up. */
static void start_probes(struct account_check *check)
{
    uint64_t first = UINT64_MAX, now = uv_now(check->wish.loop);
    while (check->next < check->n && check->n_running < ACCOUNT_CHECKS_AT_ONCE)
        begin_probe(&check->probes[check->next++]);
    if (check->n_running == 0) {
        report(check);
        return;
    }
    for (size_t i = 0; i < check->next; i++) {
        const struct probe *p = &check->probes[i];
        if (p->result == PROBE_RUNS && p->began_ms + ACCOUNT_CHECK_MS < first)
            first = p->began_ms + ACCOUNT_CHECK_MS;
    }
    uv_timer_start(&check->timer, on_timer, first > now ? first - now : 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct account_check *check = timer->data;
    for (size_t i = 0; i < check->next; i++) {
        struct probe *p = &check->probes[i];
        if (p->result == PROBE_RUNS && now_ms(p) - p->began_ms >= ACCOUNT_CHECK_MS)
            conclude(p, PROBE_FAILED, "no answer within 20 s; is the site, or the proxy, slow?");
    }
    start_probes(check);
}

static bool is_wanted(struct span only, struct span site, struct span account)
{
    if (!only.n || span_eq(only, site))
        return true;
    return only.n == site.n + 1 + account.n && span_starts(only, site) && only.p[site.n] == '/' &&
           span_ends(only, account);
}

/* Puts the wanted ones into `probes`, NULL = only counts them. */
static size_t collect(const struct account_check_wish *wish, struct account_check *check)
{
    size_t n = 0;
    for (size_t i = 0; i < wish->config->n_sites; i++) {
        const struct site_config *site = &wish->config->sites[i];
        for (size_t k = 0; k < site->n_accounts; k++) {
            struct span name = site->accounts[k].name;
            struct account *a = account_pool_find(wish->pool, site->settings.name, name);
            if (!a || !is_wanted(wish->only, site->settings.name, name))
                continue;
            if (check) {
                check->probes[n] = (struct probe){.check = check, .site = site, .account = a};
                account_pin(a);
            }
            n++;
        }
    }
    return n;
}

struct account_check *account_check_start(const struct account_check_wish *wish, struct fail *fail)
{
    size_t n = collect(wish, NULL);
    if (!n) {
        if (wish->only.n)
            fail_set(fail, FAIL_BAD_REQUEST, "there is no account %.*s",
                     SPAN_ARGS(span_first(wish->only, SITE_NAME_MAX)));
        else
            fail_set(fail, FAIL_BAD_REQUEST, "there are no accounts");
        return NULL;
    }
    struct account_check *check = calloc(1, sizeof *check + n * sizeof check->probes[0]);
    if (check)
        check->json = json_parser_create(ANSWER_MAX);
    if (!check || !check->json) {
        free(check);
        fail_memory(fail);
        return NULL;
    }
    check->wish = *wish;
    check->wish.only = span_of(NULL, 0); /* the caller's */
    check->config = config_ref(wish->config);
    check->n = collect(wish, check);
    uv_timer_init(wish->loop, &check->timer);
    check->timer.data = check;
    uv_timer_start(&check->timer, on_timer, 0, 0);
    return check;
}

void account_check_cancel(struct account_check *check) { destroy(check); }
