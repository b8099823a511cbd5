/*
 * adapters/sophnet_guest.c - the token that sophnet.com gives to every visitor: the login that
 * obtains it, and when it ends.
 */
#include "adapters/sophnet.h"

#include <stdio.h>

#include "base/date.h"

enum { TOKEN_LIFE_MS = 3600 * 1000 /* when the site does not tell */ };

enum adapter_step sophnet_ask_login(struct sophnet *s, struct site_request *req)
{
    req->method = "GET";
    req->target = SPAN("/api/sys/login/anonymous");
    req->framing = FRAMING_WHOLE;
    req->credential_step = true;
    site_request_header(req, SPAN("Accept"), SPAN("application/json"));
    s->at = SOPHNET_LOGIN;
    return ADAPTER_SEND;
}

/* ---- when it ends ---- */

/* "2026-01-01T00:00:00Z", with a blank for the T, with a fraction, with an offset; 0 = no such
 * date. */
static int64_t read_date(struct span text)
{
    char copy[48];
    int year, month, day, hour = 0, minute = 0, second = 0, used = 0;
    if (text.n == 0 || text.n >= sizeof copy)
        return 0;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (sscanf(copy, "%4d-%2d-%2d%*1[T ]%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute,
               &second, &used) < 6 ||
        year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
        second > 60)
        return 0;
    const char *zone = copy + used;
    if (*zone == '.')
        zone += 1 + strspn(zone + 1, "0123456789");
    int east = 0, zone_hours = 0, zone_minutes = 0;
    if ((*zone == '+' || *zone == '-') &&
        sscanf(zone + 1, "%2d:%2d", &zone_hours, &zone_minutes) >= 1)
        east = (zone_hours * 60 + zone_minutes) * (*zone == '-' ? -60 : 60);
    int64_t seconds = days_since_1970(year, month, day) * 86400 + (int64_t)hour * 3600 +
                      (int64_t)minute * 60 + second;
    return (seconds - east) * 1000;
}

/* When the token ends: its own word, else the login's, else an hour. Both texts are copies: reading
 * the JWT replaces the parser's document. */
static int64_t token_end(struct turn_run *run, struct span jwt, struct span expires)
{
    int64_t end = jwt_expires_ms(run, jwt);
    if (!end)
        end = read_date(expires);
    return end ? end : run->now_ms + TOKEN_LIFE_MS;
}

/* ---- the answer ---- */

static enum adapter_verdict login_failure(struct turn_run *run, struct span body, struct json root)
{
    struct sophnet *s = run->state;
    struct span message = json_get_text(root, "message");
    if (s->login_status < 500 &&
        (looks_like_html(s->login_type, body) || sophnet_speaks_of_captcha(message)))
        return sophnet_challenged(run);
    if (s->login_status == 429 || s->login_status >= 500)
        return classify_http(run, s->login_status, s->login_type, s->login_retry_after_s, body);
    /* The classifier's sentence carries the site's message, cleaned; the kind is ours. */
    classify_error_object(run, root);
    run->fail->kind = FAIL_UNAVAILABLE;
    run->fail->upstream_status = s->login_status;
    return ADAPTER_FAIL;
}

enum adapter_verdict sophnet_read_login(struct turn_run *run, struct span body)
{
    struct sophnet *s = run->state;
    struct json root = {0};
    int64_t status = 0;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        root = (struct json){0};
    json_int(json_get(root, "status"), &status);
    struct span token = json_text(json_path(root, "result", "anonymousToken"));
    if (s->login_status != 200 || status != 0 || token.n == 0)
        return login_failure(run, body, root);
    if (!token_can_be_sent(token))
        return fail_set(run->fail, FAIL_UNAVAILABLE,
                        "%.*s gave a guest token that cannot be sent; try again later, or use an "
                        "official api_key",
                        SPAN_ARGS(run->site->name));

    struct span expires = arena_dup(run->arena, json_text(json_path(root, "result", "expires")));
    token = arena_printf(run->arena, "%s%.*s", sophnet_is_anonymous(token) ? "" : "anon-",
                         SPAN_ARGS(token));
    if (!token.p || !expires.p)
        return fail_memory(run->fail);
    int64_t end = token_end(run, span_from(token, 5), expires);
    if (account_hold(run->account, SOPHNET_HELD_TOKEN, token, end))
        return fail_memory(run->fail);
    s->token = token;
    s->at = SOPHNET_ASK;
    return ADAPTER_COMPLETE;
}
