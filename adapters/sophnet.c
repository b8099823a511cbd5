/*
 * adapters/sophnet.c - sophnet.com (docs/sites/sophnet.md).
 *
 * Two doors: the official API with a person's key, and the playground page with an anonymous token
 * that the site gives to every visitor. Bodies and answers are OpenAI's but for a few names, so
 * this file holds only what differs: the guest's token (kept until it ends or is refused, renewed
 * once in a turn), the playground's body, citations, and the site's own errors.
 */
#include <stdio.h>
#include <stdlib.h>

#include "adapters/openai_wire.h"
#include "adapters/sophnet.h"
#include "adapters/support.h"
#include "base/json_write.h"

#define HELD_TOKEN "anonymous_token"
#define PUBLIC_PROJECT                                                                             \
    "Ar79PWUQUAhjJOja2orHs" /* the playground page's own, the same for everybody */

enum {
    TOKEN_LIFE_MS = 3600 * 1000, /* when the site does not tell */
    STATUS_TOKEN_USED_UP = 40310,
    STATUS_NOT_LOGGED_IN = 10025
};

enum door { DOOR_OFFICIAL, DOOR_PLAYGROUND };
enum sophnet_step { ASK_CHAT, LOGGING_IN, CHATTING, ANSWERED };

struct sophnet {
    enum sophnet_step at;
    struct span token; /* what this turn sends: a key, or with "anon-" */
    bool guest;        /* the token is one that we asked for */
    bool renewed;      /* a fresh one was asked for in this turn after a refusal */
    bool refused;      /* the last answer refused the token; a fresh one is worth a try */
    struct openai_wire wire;
    int login_status, login_retry_after_s;
    struct span login_type;
};

static const struct credential_field credentials[] = {
    {"api_key", false, "official door: a key made at https://www.sophnet.com/#/project/key"},
    {"token", false, "playground door: a bearer as it is, with its anon- prefix"},
    {0},
};

static const struct option_field options[] = {
    {"project", OPTION_TEXT, false, NULL,
     "the playground's project id (default: the public page's)"},
    {"fold_history", OPTION_INT, false, NULL,
     "playground: with more than this many messages, older ones become one (default 0 = off)"},
    {"ask_usage", OPTION_BOOL, false, NULL, "ask for token counts in every stream (default false)"},
    {"default_model", OPTION_TEXT, false, NULL, "the model when a target names none"},
    {"default_temperature", OPTION_NUMBER, false, NULL, "temperature when the client gives none"},
    {"default_top_p", OPTION_NUMBER, false, NULL, "top_p when the client gives none"},
    {"default_max_tokens", OPTION_INT, false, NULL, "max_tokens when the client gives no limit"},
    {0},
};

static const struct model_entry models[] = {
#define MODEL(id)                                                                                  \
    {                                                                                              \
        SPAN_INIT(id), SPAN_INIT("")                                                               \
    }
    MODEL("DeepSeek-V4-Pro"),
    MODEL("DeepSeek-V4-Flash"),
    MODEL("DeepSeek-V3.2"),
    MODEL("DeepSeek-V3.1"),
    MODEL("DeepSeek-R1-0528"),
    MODEL("GLM-5.1"),
    MODEL("GLM-4.7"),
    MODEL("Kimi-K2.6"),
    MODEL("MiniMax-M3"),
    MODEL("qwen3.7-max"),
    MODEL("qwen3.6-plus"),
    MODEL("qwen3.6-flash"),
    MODEL("Qwen3-Coder"),
    MODEL("Qwen3-235B-A22B-Instruct-2507"),
    MODEL("Qwen3-235B-A22B-Thinking-2507"),
    MODEL("Qwen2.5-VL-72B-Instruct"),
    MODEL("GLM-4.5v"),
    MODEL("DeepSeek-V3-Fast"),
    MODEL("DeepSeek-v3"),
    MODEL("DeepSeek-R1"),
    MODEL("Qwen3-235B-A22B"),
    MODEL("QwQ-32B"),
    MODEL("GLM-4.5"),
    MODEL("GLM-4.5V"),
    MODEL("Kimi-K2"),
#undef MODEL
    {{NULL, 0}, {NULL, 0}},
};

/* ---- the doors ---- */

static enum door door_of(const struct turn_run *run)
{
    return account_credential(run->account, "api_key").n ? DOOR_OFFICIAL : DOOR_PLAYGROUND;
}

static bool is_anonymous(struct span token) { return span_starts(token, SPAN("anon-")); }

/* The credential this turn goes with, in order: api_key, token, a guest token that is held. Empty:
 * ask for one. */
static struct span find_token(const struct turn_run *run, bool *guest)
{
    struct span token = account_credential(run->account, "api_key");
    *guest = false;
    if (token.n == 0)
        token = account_credential(run->account, "token");
    if (token.n == 0 && run->account->guest) {
        *guest = true;
        token = account_held(run->account, HELD_TOKEN, run->now_ms, REFRESH_MARGIN_MS);
    }
    return token;
}

static int add_bearer(struct turn_run *run, struct site_request *req, struct span token)
{
    struct span value = arena_printf(run->arena, "Bearer %.*s", SPAN_ARGS(token));
    if (!value.p)
        return fail_memory(&run->fail);
    site_request_header(req, SPAN("Authorization"), value);
    return 0;
}

static struct span project_of(const struct turn_run *run)
{
    return site_option_text(run->site, "project", SPAN(PUBLIC_PROJECT));
}

static struct span without_search(struct span id)
{
    if (id.n > 7 && (span_ends(id, SPAN("-Search")) || span_ends(id, SPAN("-search"))))
        id.n -= 7;
    return id;
}

static struct span model_of(const struct turn_run *run)
{
    return run->model.n ? run->model : site_option_text(run->site, "default_model", SPAN(""));
}

/* ---- the chat request ---- */

/* A stop text becomes a list of one: {NULL,0} = it is a list already, or absent. */
static int list_of_stops(struct turn_run *run, struct span *out)
{
    struct span given = json_raw_get(run->turn->raw, "stop");
    *out = span_of(NULL, 0);
    if (given.n == 0 || given.p[0] != '"')
        return 0;
    *out = arena_printf(run->arena, "[%.*s]", SPAN_ARGS(given));
    return out->p ? 0 : fail_memory(&run->fail);
}

static bool raw_text_is(struct span raw, struct span text)
{
    return raw.n >= 2 && raw.p[0] == '"' && json_raw_key_is(span_of(raw.p + 1, raw.n - 2), text);
}

static void add_element(struct buffer *out, struct span raw)
{
    if (out->n && out->p[out->n - 1] != '[')
        buffer_char(out, ',');
    buffer_append(out, raw);
}

/* One message as the client wrote it, but for the role that the site does not know. */
static void add_message(struct buffer *out, struct span raw)
{
    struct span role = json_raw_get(raw, "role");
    if (!raw_text_is(role, SPAN("developer"))) {
        add_element(out, raw);
        return;
    }
    add_element(out, span_of(raw.p, (size_t)(role.p - raw.p)));
    buffer_append(out, SPAN("\"system\""));
    buffer_append(out, span_of(role.p + role.n, (size_t)(raw.p + raw.n - role.p - role.n)));
}

/* How many messages at the start of the conversation are folded into one; 0 = none. */
static size_t folded_count(const struct turn_run *run, enum door door)
{
    const struct turn *turn = run->turn;
    int64_t keep = site_option_int(run->site, "fold_history", 0);
    size_t talk = 0, folded = 0;
    if (door != DOOR_PLAYGROUND || keep <= 0)
        return 0;
    for (size_t i = 0; i < turn->n_messages; i++)
        talk += turn->messages[i].role != ROLE_SYSTEM;
    if (talk <= (uint64_t)keep)
        return 0;
    for (size_t left = talk; folded < turn->n_messages && left >= (uint64_t)keep; folded++)
        left -= turn->messages[folded].role != ROLE_SYSTEM;
    while (folded < turn->n_messages && turn->messages[folded].role == ROLE_TOOL)
        folded++; /* a result must not lose its call */
    return folded;
}

static bool is_text(const struct part *p)
{
    return p->kind == PART_TEXT || p->kind == PART_REFUSAL;
}

/* Pictures and other parts that are no text, as the client wrote them. */
static void add_other_parts(struct buffer *out, const struct message *m, struct span raw)
{
    struct span content = json_raw_get(raw, "content");
    size_t part = 0;
    if (content.n == 0 || content.p[0] != '[')
        return;
    struct json_raw_iter it = json_raw_each(content);
    for (int index = 0; part < m->n_parts && json_raw_next(&it); index++) {
        if (m->parts[part].index != index)
            continue;
        if (!is_text(&m->parts[part]))
            add_element(out, it.value);
        part++;
    }
}

/* The first `n` messages without the system ones, as one user message. */
static int add_folded(struct turn_run *run, struct buffer *out, struct span raw, size_t n)
{
    struct message *older = arena_alloc(run->arena, n * sizeof *older);
    size_t count = 0;
    bool only_text = true;
    if (!older)
        return fail_memory(&run->fail);
    for (size_t i = 0; i < n; i++) {
        const struct message *m = &run->turn->messages[i];
        if (m->role == ROLE_SYSTEM)
            continue;
        for (size_t k = 0; k < m->n_parts; k++)
            only_text &= is_text(&m->parts[k]);
        older[count++] = *m;
    }
    struct span text = flatten_messages(run->arena, older, count);
    if (!text.p)
        return fail_memory(&run->fail);
    add_element(out, SPAN("{\"role\":\"user\",\"content\":"));
    if (!only_text)
        buffer_append(out, SPAN("[{\"type\":\"text\",\"text\":"));
    struct json_writer w = json_writer(out);
    json_string(&w, text);
    if (!only_text) {
        buffer_char(out, '}');
        struct json_raw_iter it = json_raw_each(raw);
        for (size_t i = 0; i < n && json_raw_next(&it); i++) {
            if (run->turn->messages[i].role != ROLE_SYSTEM)
                add_other_parts(out, &run->turn->messages[i], it.value);
        }
        buffer_char(out, ']');
    }
    buffer_char(out, '}');
    return 0;
}

static bool has_developer(struct span raw)
{
    struct json_raw_iter it = json_raw_each(raw);
    while (json_raw_next(&it)) {
        if (raw_text_is(json_raw_get(it.value, "role"), SPAN("developer")))
            return true;
    }
    return false;
}

/* The messages, when they must be changed: {NULL,0} = as the client sent them. */
static int write_messages(struct turn_run *run, enum door door, struct span *out)
{
    struct span raw = json_raw_get(run->turn->raw, "messages");
    size_t folded = folded_count(run, door);
    struct buffer b;
    *out = span_of(NULL, 0);
    if (!folded && !has_developer(raw))
        return 0;
    buffer_init(&b, raw.n * 7 + 4096); /* folded text may be escaped anew */
    buffer_char(&b, '[');
    struct json_raw_iter it = json_raw_each(raw);
    int error = 0;
    for (size_t i = 0; json_raw_next(&it); i++) {
        if (i < folded && run->turn->messages[i].role != ROLE_SYSTEM)
            continue;
        if (i == folded && folded)
            error |= add_folded(run, &b, raw, folded);
        add_message(&b, it.value);
    }
    if (folded == run->turn->n_messages)
        error |= add_folded(run, &b, raw, folded);
    buffer_char(&b, ']');
    if (!error && !b.error)
        *out = arena_dup(run->arena, buffer_span(&b));
    buffer_free(&b);
    return out->p ? 0 : fail_memory(&run->fail);
}

static int write_body(struct turn_run *run, enum door door, struct span *body)
{
    struct body_edit edits[8 + SOPHNET_REASONING_EDITS + OPENAI_DEFAULTS_MAX];
    struct span model = model_of(run), messages, stop;
    bool search = door == DOOR_PLAYGROUND && without_search(model).n != model.n;
    size_t n = 0;

    if (write_messages(run, door, &messages) || list_of_stops(run, &stop))
        return -1;
    if (search)
        model = without_search(model);
    struct span name = openai_raw_string(run, model);
    if (!name.p)
        return fail_memory(&run->fail);
    edits[n++] = (struct body_edit){
        .key = "model", .as = door == DOOR_PLAYGROUND ? "model_id" : NULL, .value = name};
    if (messages.p)
        edits[n++] = (struct body_edit){.key = "messages", .value = messages};
    if (stop.p)
        edits[n++] = (struct body_edit){.key = "stop", .value = stop};
    if (run->turn->stream && site_option_bool(run->site, "ask_usage", false)) {
        struct span asked = openai_usage_asked(run);
        if (!asked.p)
            return fail_memory(&run->fail);
        edits[n++] = (struct body_edit){.key = "stream_options", .value = asked};
    }
    if (door == DOOR_PLAYGROUND) {
        edits[n++] = (struct body_edit){.key = "stream",
                                        .value = run->turn->stream ? SPAN("true") : SPAN("false")};
        edits[n++] = (struct body_edit){.key = "model_id"}; /* ours is the one above */
        edits[n++] =
            (struct body_edit){.key = "headers"}; /* the page's server takes orders from it */
        if (search)
            edits[n++] = (struct body_edit){.key = "webSearchEnable", .value = SPAN("true")};
    }
    int reasoning = door == DOOR_OFFICIAL ? sophnet_tell_reasoning(run, edits + n) : 0;
    if (reasoning < 0)
        return -1;
    n += (size_t)reasoning;
    int defaults = openai_defaults(run, edits + n);
    return defaults < 0 ? -1 : openai_edit_body(run, edits, n + (size_t)defaults, body);
}

static struct span chat_target(struct turn_run *run, enum door door)
{
    if (run->site->path.n)
        return run->site->path;
    if (door == DOOR_OFFICIAL)
        return SPAN("/api/open-apis/v1/chat/completions");
    struct buffer path;
    buffer_init(&path, 4096);
    buffer_append(&path, SPAN("/api/open-apis/projects/"));
    percent_encode(&path, project_of(run));
    buffer_append(&path, SPAN("/chat/completions"));
    struct span target = path.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&path));
    buffer_free(&path);
    return target;
}

static enum adapter_step ask_login(struct sophnet *s, struct site_request *req)
{
    req->method = "GET";
    req->target = SPAN("/api/sys/login/anonymous");
    req->framing = FRAMING_WHOLE;
    req->credential_step = true;
    site_request_header(req, SPAN("Accept"), SPAN("application/json"));
    s->at = LOGGING_IN;
    return ADAPTER_SEND;
}

static enum adapter_step ask_chat(struct turn_run *run, struct sophnet *s, struct site_request *req)
{
    enum door door = door_of(run);
    req->method = "POST";
    req->target = chat_target(run, door);
    req->framing = run->turn->stream ? FRAMING_SSE : FRAMING_WHOLE;
    if (!req->target.p) {
        fail_memory(&run->fail);
        return ADAPTER_FAILED;
    }
    if (write_body(run, door, &req->body) || add_bearer(run, req, s->token))
        return ADAPTER_FAILED;
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    site_request_header(req, SPAN("Accept"),
                        run->turn->stream ? SPAN("text/event-stream") : SPAN("application/json"));
    s->at = CHATTING;
    return ADAPTER_SEND;
}

static enum adapter_step next(struct turn_run *run, struct site_request *req)
{
    struct sophnet *s = run->state;
    if (s->at == ANSWERED)
        return ADAPTER_DONE;
    /* A token that this turn logged in for is used even if its end is near. While another exchange
     * logs in, `next` is asked again. */
    if (!s->token.n || s->refused) {
        struct span token = find_token(run, &s->guest);
        s->refused = false;
        s->token = token.n ? arena_dup(run->arena, token) : token;
        if (token.n && !s->token.p) {
            fail_memory(&run->fail);
            return ADAPTER_FAILED;
        }
    }
    if (s->token.n)
        return ask_chat(run, s, req);
    if (s->guest)
        return ask_login(s, req);
    fail_set(&run->fail, FAIL_CREDENTIAL,
             "account \"%.*s\" of %.*s has neither an api_key nor a token, and guest is not true",
             SPAN_ARGS(run->account->name), SPAN_ARGS(run->site->name));
    return ADAPTER_FAILED;
}

/* ---- errors (docs/sites/sophnet.md) ---- */

static int challenged(struct turn_run *run)
{
    return fail_set(&run->fail, FAIL_CHALLENGE,
                    "%.*s asks its visitors for a captcha, which the gateway never solves; use an "
                    "official api_key for this site",
                    SPAN_ARGS(run->site->name));
}

static bool speaks_of_captcha(struct span message)
{
    return span_find_nocase(message, SPAN("captcha")) >= 0 ||
           span_find(message, SPAN("验证码")) >= 0 || span_find(message, SPAN("人机")) >= 0;
}

/* The token was not taken. A guest gets one fresh token and one more try, as long as nothing of an
 * answer came. */
static enum adapter_verdict token_refused(struct turn_run *run, int http_status)
{
    struct sophnet *s = run->state;
    if (s->guest) {
        struct span held = account_held(run->account, HELD_TOKEN, 0, 0);
        if (span_eq(held, s->token)) /* another exchange may have renewed it already */
            account_drop(run->account, HELD_TOKEN);
        if (!s->renewed && !s->wire.something) {
            s->renewed = s->refused = true;
            s->at = ASK_CHAT;
            return ADAPTER_COMPLETE;
        }
        fail_set(&run->fail, s->wire.something ? FAIL_UNAVAILABLE : FAIL_CREDENTIAL,
                 "%.*s does not take its own guest token any more; try again later, or use an "
                 "official api_key",
                 SPAN_ARGS(run->site->name));
    } else {
        fail_set(&run->fail, FAIL_CREDENTIAL,
                 "%.*s refuses the credential of account \"%.*s\" or holds it for used up; put a "
                 "new one into the configuration",
                 SPAN_ARGS(run->site->name), SPAN_ARGS(run->account->name));
    }
    run->fail.upstream_status = http_status;
    return ADAPTER_FAIL;
}

/* The rows of the site's table that its own shape {"status","message"} decides; `*known` is false
 * when none does. */
static enum adapter_verdict own_error(struct turn_run *run, int http_status, struct json root,
                                      bool *known)
{
    struct sophnet *s = run->state;
    struct span message = json_get_text(root, "message");
    int64_t status = 0;
    json_int(json_get(root, "status"), &status);
    *known = true;
    if (speaks_of_captcha(message))
        return challenged(run);
    if (status == STATUS_TOKEN_USED_UP || status == STATUS_NOT_LOGGED_IN || http_status == 401)
        return token_refused(run, http_status);
    if ((http_status == 403 || http_status == 422) && (s->guest || is_anonymous(s->token)))
        return token_refused(run, http_status);
    *known = http_status < 300 && status != 0;
    return *known ? classify_error_object(run, root) : ADAPTER_GO_ON;
}

static enum adapter_verdict chat_failure(struct turn_run *run, int status, struct span content_type,
                                         int retry_after_s, struct span body)
{
    struct json root = {0};
    bool known = false;
    if (looks_like_html(content_type, body) && status < 500)
        return status >= 300 && status < 400
                   ? classify_http(run, status, content_type, retry_after_s, body)
                   : challenged(run);
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        root = (struct json){0};
    enum adapter_verdict verdict = own_error(run, status, root, &known);
    return known ? verdict : classify_http(run, status, content_type, retry_after_s, body);
}

static enum adapter_verdict odd_event(struct turn_run *run, struct json root, bool *known)
{
    return own_error(run, 200, root, known);
}

static const struct openai_dialect dialect = {
    .refs = true, .failure = chat_failure, .odd = odd_event};

/* ---- the guest's token ---- */

static int64_t days_before(int64_t year, int64_t month, int64_t day)
{
    /* Days since 1970-01-01 of a Gregorian date; years begin in March, so that a leap day is the
     * last one. */
    year -= month <= 2;
    int64_t era = year / 400, in_era = year - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

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
    int64_t seconds = days_before(year, month, day) * 86400 + (int64_t)hour * 3600 +
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

static enum adapter_verdict login_failure(struct turn_run *run, struct span body, struct json root)
{
    struct sophnet *s = run->state;
    struct span message = json_get_text(root, "message");
    if (s->login_status < 500 &&
        (looks_like_html(s->login_type, body) || speaks_of_captcha(message)))
        return challenged(run);
    if (s->login_status == 429 || s->login_status >= 500)
        return classify_http(run, s->login_status, s->login_type, s->login_retry_after_s, body);
    /* The classifier's sentence carries the site's message, cleaned; the kind is ours. */
    classify_error_object(run, root);
    run->fail.kind = FAIL_UNAVAILABLE;
    run->fail.upstream_status = s->login_status;
    return ADAPTER_FAIL;
}

static enum adapter_verdict read_login(struct turn_run *run, struct span body)
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
        return fail_set(&run->fail, FAIL_UNAVAILABLE,
                        "%.*s gave a guest token that cannot be sent; try again later, or use an "
                        "official api_key",
                        SPAN_ARGS(run->site->name));

    struct span expires = arena_dup(run->arena, json_text(json_path(root, "result", "expires")));
    token =
        arena_printf(run->arena, "%s%.*s", is_anonymous(token) ? "" : "anon-", SPAN_ARGS(token));
    if (!token.p || !expires.p)
        return fail_memory(&run->fail);
    int64_t end = token_end(run, span_from(token, 5), expires);
    if (account_hold(run->account, HELD_TOKEN, token, end))
        return fail_memory(&run->fail);
    s->token = token;
    s->at = ASK_CHAT;
    return ADAPTER_COMPLETE;
}

/* ---- answers ---- */

static enum adapter_verdict on_head(struct turn_run *run, const struct site_head *head,
                                    enum framing *framing)
{
    struct sophnet *s = run->state;
    if (s->at == CHATTING)
        return openai_wire_head(run, &s->wire, &dialect, head, framing);
    s->login_status = head->status;
    s->login_retry_after_s = head->retry_after_s;
    s->login_type = arena_dup(run->arena, head->content_type);
    return s->login_type.p ? ADAPTER_GO_ON : fail_memory(&run->fail);
}

/* A refused guest token also ends the step as complete, with another step to come. */
static enum adapter_verdict note_end(struct sophnet *s, enum adapter_verdict verdict)
{
    if (verdict == ADAPTER_COMPLETE && s->at == CHATTING)
        s->at = ANSWERED;
    return verdict;
}

static enum adapter_verdict on_frame(struct turn_run *run, const struct frame *frame)
{
    struct sophnet *s = run->state;
    if (s->at == CHATTING)
        return note_end(s, openai_wire_frame(run, &s->wire, frame));
    return read_login(run, frame->data);
}

static enum adapter_verdict on_end(struct turn_run *run, enum stream_end end)
{
    struct sophnet *s = run->state;
    if (s->at == CHATTING)
        return note_end(s, openai_wire_end(run, &s->wire, end));
    if (end == END_CUT)
        return fail_set(&run->fail, FAIL_CUT, "%.*s broke off in the middle of the guest's login",
                        SPAN_ARGS(run->site->name));
    return read_login(run, SPAN(""));
}

/* ---- models ---- */

/* Only the playground has a list, and only for who has a token already. */
static enum adapter_step models_request(struct turn_run *run, struct site_request *req)
{
    bool guest;
    struct span token = find_token(run, &guest);
    struct buffer path;
    if (token.n == 0 || door_of(run) == DOOR_OFFICIAL)
        return ADAPTER_DONE;
    buffer_init(&path, 4096);
    buffer_append(&path, SPAN("/api/public/playground/models?projectUuid="));
    percent_encode(&path, project_of(run));
    req->target = path.error ? span_of(NULL, 0) : arena_dup(run->arena, buffer_span(&path));
    buffer_free(&path);
    if (!req->target.p) {
        fail_memory(&run->fail);
        return ADAPTER_FAILED;
    }
    if (add_bearer(run, req, token))
        return ADAPTER_FAILED;
    req->method = "GET";
    req->framing = FRAMING_WHOLE;
    site_request_header(req, SPAN("Accept"), SPAN("application/json"));
    return ADAPTER_SEND;
}

static int models_answer(struct turn_run *run, struct span body, const struct model_sink *sink)
{
    struct json root;
    int64_t status = 0;
    if (json_parse_lenient(run->json, body, &root) != JSON_OK)
        root = (struct json){0};
    struct json list = json_get(root, "result");
    json_int(json_get(root, "status"), &status);
    if (status != 0 || !json_is(list, JSON_ARRAY))
        return fail_set(&run->fail, FAIL_PROTOCOL, "%.*s answered no model list",
                        SPAN_ARGS(run->site->name));
    struct json_iter it = json_each(list);
    while (json_next(&it)) {
        struct model_entry entry = {.id = json_get_text(it.value, "modelFamily")};
        if (entry.id.n == 0)
            entry.id = json_get_text(it.value, "displayName");
        if (entry.id.n == 0 || !json_bool(json_get(it.value, "available"), true))
            continue;
        if (sink->put(sink->owner, &entry))
            return fail_memory(&run->fail);
    }
    return 0;
}

static int models_refused(struct turn_run *run, int status, struct span content_type,
                          int retry_after_s, struct span body)
{
    struct sophnet *s = run->state;
    s->token = find_token(run, &s->guest);
    s->renewed = true; /* nothing is tried again here */
    return chat_failure(run, status, content_type, retry_after_s, body);
}

const struct adapter adapter_sophnet = {
    .name = "sophnet",
    .title = "SophNet (sophnet.com)",
    .origin = "https://www.sophnet.com",
    .credentials = credentials,
    .options = options,
    .capabilities = CAP_SYSTEM | CAP_IMAGE | CAP_TOOLS | CAP_REASONING | CAP_RESPONSE_FORMAT |
                    CAP_LOGPROBS | CAP_N | CAP_SEARCH | CAP_USAGE | CAP_STOP | CAP_MAX_TOKENS,
    .offers_guest = true,
    .needs_account = true,
    .state_size = sizeof(struct sophnet),
    .base_model = without_search,
    .models = models,
    .models_request = models_request,
    .models_answer = models_answer,
    .models_refused = models_refused,
    .models_need_credential = true,
    .next = next,
    .on_head = on_head,
    .on_frame = on_frame,
    .on_end = on_end,
};
