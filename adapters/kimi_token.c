/*
 * adapters/kimi_token.c - how an access token is come by, and what every request to Kimi carries
 * (sites/kimi.md §2, §4).
 *
 * An access token lives for a quarter of an hour; a refresh token buys one, in one of two ways, and
 * is replaced when it does. The hard part is what an account may hold: either of them, both, or an
 * access token in the refresh token's place.
 */
#include "adapters/kimi.h"

#include <stdio.h>

#define ACCESS_TOKEN  "access_token" /* what the account holds */
#define REFRESH_TOKEN "refresh_token"
#define DEVICE_ID     "device_id"

enum {
    MARGIN_MS = 120 * 1000,
    OPAQUE_LIFE_MS = 900 * 1000, /* of an access token that does not say when it ends */
    OLDER_LIFE_MS = 300 * 1000   /* of any at the older form */
};

/* ---- what the account has ---- */

/* Is it an access token, whatever field it stands in? */
static bool is_access_token(struct turn_run *run, struct span token)
{
    struct json claims = jwt_claims(run, token);
    return span_eq(json_get_text(claims, "app_id"), SPAN("kimi")) &&
           span_eq(json_get_text(claims, "typ"), SPAN("access"));
}

/* {"",0}: it has none. */
static struct span refresh_token(struct turn_run *run)
{
    struct span token = account_newest(run->account, REFRESH_TOKEN);
    return is_access_token(run, token) ? SPAN("") : token;
}

static struct span configured_access_token(struct turn_run *run)
{
    struct span token = account_credential(run->account, "token");
    struct span other = account_credential(run->account, REFRESH_TOKEN);
    return token.n || !is_access_token(run, other) ? token : other;
}

static bool has_ended(struct turn_run *run, struct span token, int64_t margin_ms)
{
    int64_t end = jwt_expires_ms(run, token);
    return end && end <= run->now_ms + margin_ms;
}

static int no_token(struct turn_run *run, const char *what)
{
    return fail_set(run->fail, FAIL_CREDENTIAL,
                    "the account \"%.*s\" %s: sign in at " KIMI_HOST
                    " and copy `refresh_token` from its Local Storage",
                    SPAN_ARGS(run->account->name), what);
}

/* The person's own access token, while it lasts. */
static int use_configured(struct turn_run *run, struct kimi *k, bool renewable)
{
    struct span own = configured_access_token(run);
    if (!own.n || k->session.refused || !token_can_be_sent(own) ||
        has_ended(run, own, renewable ? MARGIN_MS : 0))
        return 1;
    k->session.value = arena_dup(run->arena, own);
    return k->session.value.p ? 0 : fail_memory(run->fail);
}

static int find(struct turn_run *run, struct kimi *k)
{
    bool renewable = refresh_token(run).n > 0;
    k->session.margin_ms = MARGIN_MS;
    int missing = token_use_next(run, &k->session, ACCESS_TOKEN);
    if (missing > 0)
        missing = use_configured(run, k, renewable);
    if (missing <= 0)
        return missing;
    if (renewable)
        return token_can_be_sent(refresh_token(run))
                   ? 1
                   : no_token(run, "has a refresh_token with characters that no token has");
    if (k->session.refused)
        return no_token(run, "has only an access token, and " KIMI_HOST " refuses it");
    return no_token(run, configured_access_token(run).n
                             ? "has only an access token, which is no good any more after 15 "
                               "minutes"
                             : "has no token");
}

bool kimi_renew(struct turn_run *run, struct kimi *k)
{
    return token_use_refused(run, &k->session, ACCESS_TOKEN) && refresh_token(run).n;
}

/* ---- who is asking (§4) ---- */

/* `n` digits after `head`, made by chance. */
static struct span make_digits(struct turn_run *run, const char *head, size_t n)
{
    char text[32];
    unsigned char chance[32];
    size_t at = (size_t)snprintf(text, sizeof text, "%s", head);
    run->random(run->random_owner, chance, sizeof chance);
    for (; at < n; at++)
        text[at] = (char)('0' + chance[at] % 10);
    return arena_dup(run->arena, span_of(text, n));
}

/* `said` is what a token tells; what was told or made once stays. {NULL,0} without memory. */
static struct span keep_device(struct turn_run *run, struct span said)
{
    struct span held = account_held(run->account, DEVICE_ID, run->now_ms, 0);
    if (!said.n && held.n)
        return arena_dup(run->arena, held);
    struct span device = said.n ? said : make_digits(run, "7", 19);
    if (!device.p || account_hold(run->account, DEVICE_ID, device, 0))
        return span_of(NULL, 0);
    return device;
}

/* One for all who use the account at the same time. */
static struct span kept_device(struct turn_run *run, struct span said)
{
    account_guard_enter(run->account);
    struct span device = keep_device(run, said);
    account_guard_leave(run->account);
    return device;
}

/* One a process: remembered, never written down. */
static struct span kept_session(struct turn_run *run)
{
    struct span key = arena_printf(run->arena, "kimi session %.*s", SPAN_ARGS(run->account->name));
    struct span known = key.p ? run_recall(run, key) : key;
    if (known.n)
        return known;
    struct span made = make_digits(run, "17", 19);
    if (key.p && made.p)
        run_keep(run, key, made);
    return made;
}

/* What a token says of its person, device and session; what it does not say is made, once. */
static int read_identity(struct turn_run *run, struct kimi *k)
{
    static const char *const names[] = {"sub", "device_id", "ssid"};
    struct span *const fields[] = {&k->user_id, &k->device_id, &k->session_id};
    struct span token = k->session.value.n ? k->session.value : refresh_token(run);
    struct json claims = jwt_claims(run, token);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct span said = json_get_text(claims, names[i]);
        *fields[i] = is_path_id(said) ? arena_dup(run->arena, said) : SPAN("");
    }
    k->device_id = kept_device(run, k->device_id);
    if (!k->session_id.n)
        k->session_id = kept_session(run);
    return k->user_id.p && k->device_id.p && k->session_id.p ? 0 : fail_memory(run->fail);
}

int kimi_find_token(struct turn_run *run, struct kimi *k)
{
    int missing = find(run, k);
    return missing < 0 || read_identity(run, k) ? -1 : missing;
}

bool kimi_token_at_hand(struct turn_run *run, struct kimi *k)
{
    struct span token = account_held(run->account, ACCESS_TOKEN, run->now_ms, 0);
    if (!token.n)
        token = configured_access_token(run);
    if (!token_can_be_sent(token) || has_ended(run, token, 0))
        return false;
    k->session.value = arena_dup(run->arena, token);
    return k->session.value.p && read_identity(run, k) == 0;
}

void kimi_add_headers(struct turn_run *run, struct kimi *k, struct site_request *req,
                      struct span bearer, struct span referer)
{
    struct span cookie = account_credential(run->account, "cookie");
    if (bearer.n)
        request_bearer(run, req, bearer);
    site_request_header(req, SPAN("Accept"), SPAN("*/*"));
    site_request_header(req, SPAN("Origin"), run->site->origin);
    site_request_header(
        req, SPAN("Referer"),
        referer.n ? referer : arena_printf(run->arena, "%.*s/", SPAN_ARGS(run->site->origin)));
    site_request_header(req, SPAN("X-Msh-Platform"), SPAN("web"));
    if (k->device_id.n)
        site_request_header(req, SPAN("X-Msh-Device-Id"), k->device_id);
    if (k->session_id.n)
        site_request_header(req, SPAN("X-Msh-Session-Id"), k->session_id);
    if (k->user_id.n)
        site_request_header(req, SPAN("X-Traffic-Id"), k->user_id);
    if (cookie.n && !req->origin.n) /* it was given for this host */
        site_request_header(req, SPAN("Cookie"), cookie);
}

enum adapter_step kimi_send_json(struct turn_run *run, struct kimi *k, struct site_request *req,
                                 struct buffer *body, bool connect)
{
    if (!request_body(run, req, body))
        return step_out_of_memory(run);
    req->method = "POST";
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    if (connect)
        site_request_header(req, SPAN("Connect-Protocol-Version"), SPAN("1"));
    kimi_add_headers(run, k, req, k->session.value, SPAN(""));
    return request_ready(run, req);
}

/* ---- the refresh (§2) ---- */

static bool is_international(struct span origin)
{
    return span_ends(origin, SPAN("://kimi.ai")) || span_ends(origin, SPAN(".kimi.ai"));
}

/* {"",0}: we know none for this site. */
static struct span auth_origin(const struct turn_run *run)
{
    struct span origin = run->site->origin;
    struct span configured = site_option_text(run->site, "auth_url", SPAN(""));
    if (configured.n)
        return configured;
    if (is_international(origin))
        return SPAN("https://auth.kimi.ai");
    return SPAN("https://auth.kimi.com");
}

/* A stranger's address is sent the refresh token only when its person says so. */
static bool may_fall_back(const struct turn_run *run, const struct kimi *k)
{
    struct span origin = run->site->origin;
    bool own = is_international(origin) || span_ends(origin, SPAN(".kimi.com")) ||
               site_option(run->site, "auth_url");
    return own && !k->rest && !k->newer_refresh && !site_option(run->site, "refresh");
}

static enum adapter_step ask_newer(struct turn_run *run, struct kimi *k, struct site_request *req,
                                   struct span token)
{
    struct buffer body;
    buffer_init(&body, KIMI_BODY_LIMIT);
    struct json_writer w = json_writer(&body);
    json_begin_object(&w);
    json_member(&w, "refreshToken", token);
    json_end_object(&w);
    if (!request_body(run, req, &body))
        return step_out_of_memory(run);
    req->method = "POST";
    req->origin = auth_origin(run);
    req->target = SPAN("/api/account.gateway.v1.AuthService/RefreshToken");
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    kimi_add_headers(run, k, req, SPAN(""), SPAN(""));
    return request_ready(run, req);
}

enum adapter_step kimi_ask_refresh(struct turn_run *run, struct kimi *k, struct site_request *req)
{
    struct span token = arena_dup(run->arena, refresh_token(run));
    if (!token.p)
        return step_out_of_memory(run);
    if (span_eq(site_option_text(run->site, "refresh", SPAN("")), SPAN("v2")))
        k->newer_refresh = true;
    k->ask = KIMI_REFRESH;
    req->framing = FRAMING_WHOLE;
    req->credential_step = true;
    if (k->newer_refresh)
        return ask_newer(run, k, req, token);
    req->method = "GET";
    req->target = SPAN("/api/auth/token/refresh");
    kimi_add_headers(run, k, req, token, SPAN(""));
    return request_ready(run, req);
}

/* Is the first form gone from the site? */
static bool is_gone(const struct kimi *k)
{
    return k->status == 404 || k->status == 405 || (k->status >= 300 && k->status < 400);
}

/* The first of these that is there. */
static struct span one_of(struct json root, const char *const *names)
{
    struct json inner = json_get(root, "data");
    for (; *names; names++) {
        struct span text = json_get_text(root, *names);
        if (!text.n)
            text = json_get_text(inner, *names);
        if (text.n)
            return text;
    }
    return SPAN("");
}

enum adapter_verdict kimi_take_refresh(struct turn_run *run, struct kimi *k, struct span body)
{
    static const char *const access_names[] = {"access_token", "accessToken", "token", NULL};
    static const char *const refresh_names[] = {"refresh_token", "refreshToken", NULL};
    struct json root;
    if (k->status != 200 && is_gone(k) && may_fall_back(run, k)) {
        k->newer_refresh = true;
        return ADAPTER_COMPLETE; /* next comes again */
    }
    if (k->status != 200 || looks_like_html(k->content_type, body) ||
        json_parse_lenient(run->json, body, &root) != JSON_OK || !json_is(root, JSON_OBJECT))
        return kimi_fail_answer(run, k, body);
    struct span access = one_of(root, access_names), rotated = one_of(root, refresh_names);
    if (!access.n)
        return kimi_fail_answer(run, k, body);
    access = arena_dup(run->arena, access);
    rotated = arena_dup(run->arena, rotated);
    if (!access.p || !rotated.p)
        return fail_memory(run->fail);
    /* The former one may be worth nothing now: first of all the new one is kept. */
    if (rotated.n && token_can_be_sent(rotated) &&
        account_hold(run->account, REFRESH_TOKEN, rotated, 0))
        return fail_memory(run->fail);
    int64_t end = k->rest ? 0 : jwt_expires_ms(run, access);
    if (!end)
        end = run->now_ms + (k->rest ? OLDER_LIFE_MS + MARGIN_MS : OPAQUE_LIFE_MS);
    return token_use_obtained(run, &k->session, ACCESS_TOKEN, access, end) ? ADAPTER_FAIL
                                                                           : ADAPTER_COMPLETE;
}
