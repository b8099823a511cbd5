/*
 * gateway/api_messages.c - POST /v1/messages, Anthropic's API on top of any site: one request is
 * one turn.
 */
#include "gateway/api.h"
#include "gateway/messages_request.h"

static int parse(const struct api_request *request, struct json_parser *json, struct arena *arena,
                 struct prompts *prompts, struct fail *fail)
{
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    struct messages_wish wish = {0};
    if (request->header)
        wish.betas = request->header(request->header_owner, "anthropic-beta");
    if (!turn)
        return fail_memory(fail);
    *prompts = (struct prompts){.turns = turn, .n = 1};
    return messages_request_parse(json, arena, request->body, request->n, &wish, turn, fail);
}

const struct api api_messages = {
    .name = "messages",
    .id_prefix = "msg_",
    .dialect = DIALECT_ANTHROPIC,
    .parses_again = true,
    .parse = parse,
    .stream_writer = messages_stream_writer,
    .whole_writer = messages_whole_writer,
};
