/*
 * gateway/api_chat.c - POST /v1/chat/completions: one turn, chat.completion and its chunks.
 */
#include "gateway/api.h"
#include "gateway/chat_request.h"

static int parse(const struct api_request *request, struct json_parser *json, struct arena *arena,
                 struct prompts *prompts, struct fail *fail)
{
    struct turn *turn = arena_alloc(arena, sizeof *turn);
    if (!turn)
        return fail_memory(fail);
    *prompts = (struct prompts){.turns = turn, .n = 1};
    return chat_request_parse(json, arena, request->body, request->n, turn, fail);
}

const struct api api_chat = {
    .name = "chat",
    .id_prefix = "chatcmpl-",
    .dialect = DIALECT_OPENAI,
    .parses_again = true,
    .parse = parse,
    .stream_writer = chat_stream_writer,
    .whole_writer = chat_whole_writer,
};
