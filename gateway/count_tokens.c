/*
 * gateway/count_tokens.c - see count_tokens.h.
 */
#include "gateway/count_tokens.h"

#include "base/json_write.h"
#include "gateway/messages_request.h"

enum {
    LARGE_BODY = 256 * 1024
}; /* larger ones get a parser of their own: the shared one stays small */

int count_tokens_of(const struct token_source *source, struct json_parser *json,
                    struct arena *arena, struct span body, struct count_of_tokens *count,
                    struct fail *fail)
{
    static const struct messages_wish wish = {.only_counting = true};
    size_t left = PROMPTS_COUNTED_MAX;
    enum count_origin origin;
    struct turn turn;
    struct json_parser *own =
        body.n > LARGE_BODY ? json_parser_create(body.n + JSON_PADDING) : NULL;
    int bad =
        messages_request_parse(own ? own : json, arena, (char *)body.p, body.n, &wish, &turn, fail);
    json_parser_destroy(own);
    if (bad)
        return -1;
    count->model = turn.model;
    count->tokens = token_count_prompt(source, &turn, &left, &origin);
    return 0;
}

void count_tokens_write(struct buffer *out, const struct count_of_tokens *count)
{
    struct json_writer w = json_writer(out);
    json_begin_object(&w);
    json_member_int(&w, "input_tokens", count->tokens);
    json_end_object(&w);
}
