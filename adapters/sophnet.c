/*
 * adapters/sophnet.c - sophnet.com: who we are and what happens when (docs/sites/sophnet.md).
 *
 * Two doors: the official API with a person's key, and the playground page with an anonymous token
 * that the site gives to every visitor. Bodies and answers are OpenAI's but for a few names, so
 * these files hold only what differs: the guest's token (sophnet_guest.c: kept until it ends or is
 * refused, renewed once in a turn), the playground's body (sophnet_body.c), the list of models
 * (sophnet_models.c), and the site's own errors (sophnet_errors.c).
 */
#include "adapters/sophnet.h"

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

/* ---- the doors ---- */

enum sophnet_door sophnet_door_of(const struct turn_run *run)
{
    return account_credential(run->account, "api_key").n ? SOPHNET_OFFICIAL : SOPHNET_PLAYGROUND;
}

bool sophnet_is_anonymous(struct span token) { return span_starts(token, SPAN("anon-")); }

/* The credential this turn goes with, in order: api_key, token, a guest token that is held. Empty:
 * ask for one. */
struct span sophnet_find_token(const struct turn_run *run, bool *guest)
{
    struct span token = account_credential(run->account, "api_key");
    *guest = false;
    if (token.n == 0)
        token = account_credential(run->account, "token");
    if (token.n == 0 && run->account->guest) {
        *guest = true;
        token = account_held(run->account, SOPHNET_HELD_TOKEN, run->now_ms, REFRESH_MARGIN_MS);
    }
    return token;
}

int sophnet_add_bearer(struct turn_run *run, struct site_request *req, struct span token)
{
    struct span value = arena_printf(run->arena, "Bearer %.*s", SPAN_ARGS(token));
    if (!value.p)
        return fail_memory(run->fail);
    site_request_header(req, SPAN("Authorization"), value);
    return 0;
}

/* ---- the steps ---- */

static enum adapter_step ask_chat(struct turn_run *run, struct sophnet *s, struct site_request *req)
{
    enum sophnet_door door = sophnet_door_of(run);
    req->method = "POST";
    req->target = sophnet_chat_target(run, door);
    req->framing = run->turn->stream ? FRAMING_SSE : FRAMING_WHOLE;
    if (!req->target.p) {
        fail_memory(run->fail);
        return ADAPTER_FAILED;
    }
    if (sophnet_write_body(run, door, &req->body) || sophnet_add_bearer(run, req, s->token))
        return ADAPTER_FAILED;
    site_request_header(req, SPAN("Content-Type"), SPAN("application/json"));
    site_request_header(req, SPAN("Accept"),
                        run->turn->stream ? SPAN("text/event-stream") : SPAN("application/json"));
    s->at = SOPHNET_CHAT;
    return ADAPTER_SEND;
}

static enum adapter_step next(struct turn_run *run, struct site_request *req)
{
    struct sophnet *s = run->state;
    if (s->at == SOPHNET_OVER)
        return ADAPTER_DONE;
    /* A token that this turn logged in for is used even if its end is near. While another exchange
     * logs in, `next` is asked again. */
    if (!s->token.n || s->refused) {
        struct span token = sophnet_find_token(run, &s->guest);
        s->refused = false;
        s->token = token.n ? arena_dup(run->arena, token) : token;
        if (token.n && !s->token.p) {
            fail_memory(run->fail);
            return ADAPTER_FAILED;
        }
    }
    if (s->token.n)
        return ask_chat(run, s, req);
    if (s->guest)
        return sophnet_ask_login(s, req);
    fail_set(run->fail, FAIL_CREDENTIAL,
             "account \"%.*s\" of %.*s has neither an api_key nor a token, and guest is not true",
             SPAN_ARGS(run->account->name), SPAN_ARGS(run->site->name));
    return ADAPTER_FAILED;
}

/* ---- answers ---- */

static enum adapter_verdict on_head(struct turn_run *run, const struct site_head *head,
                                    enum framing *framing)
{
    struct sophnet *s = run->state;
    if (s->at == SOPHNET_CHAT)
        return openai_wire_head(run, &s->wire, &sophnet_dialect, head, framing);
    s->login_status = head->status;
    s->login_retry_after_s = head->retry_after_s;
    s->login_type = arena_dup(run->arena, head->content_type);
    return s->login_type.p ? ADAPTER_GO_ON : fail_memory(run->fail);
}

/* A refused guest token also ends the step as complete, with another step to come. */
static enum adapter_verdict note_end(struct sophnet *s, enum adapter_verdict verdict)
{
    if (verdict == ADAPTER_COMPLETE && s->at == SOPHNET_CHAT)
        s->at = SOPHNET_OVER;
    return verdict;
}

static enum adapter_verdict on_frame(struct turn_run *run, const struct frame *frame)
{
    struct sophnet *s = run->state;
    if (s->at == SOPHNET_CHAT)
        return note_end(s, openai_wire_frame(run, &s->wire, frame));
    return sophnet_read_login(run, frame->data);
}

static enum adapter_verdict on_end(struct turn_run *run, enum stream_end end)
{
    struct sophnet *s = run->state;
    if (s->at == SOPHNET_CHAT)
        return note_end(s, openai_wire_end(run, &s->wire, end));
    if (end == END_CUT)
        return fail_set(run->fail, FAIL_CUT, "%.*s broke off in the middle of the guest's login",
                        SPAN_ARGS(run->site->name));
    return sophnet_read_login(run, SPAN(""));
}

static const struct capability_note notes[] = {
    {CAP_SEARCH, "`-Search`"},
    {0},
};

const struct adapter adapter_sophnet = {
    .name = "sophnet",
    .title = "SophNet (sophnet.com)",
    .origin = "https://www.sophnet.com",
    .credentials = credentials,
    .options = options,
    .capabilities = CAP_SYSTEM | CAP_IMAGE | CAP_IMAGE_URL | CAP_TOOLS | CAP_REASONING |
                    CAP_RESPONSE_FORMAT | CAP_LOGPROBS | CAP_N | CAP_SEARCH | CAP_USAGE | CAP_STOP |
                    CAP_MAX_TOKENS,
    .notes = notes,
    .offers_guest = true,
    .needs_account = true,
    .is_done_with_turn = true,
    .state_size = sizeof(struct sophnet),
    .base_model = sophnet_without_search,
    .models = sophnet_models,
    .models_request = sophnet_models_request,
    .models_answer = sophnet_models_answer,
    .models_refused = sophnet_models_refused,
    .models_need_credential = true,
    .next = next,
    .on_head = on_head,
    .on_frame = on_frame,
    .on_end = on_end,
};
