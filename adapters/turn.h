/*
 * adapters/turn.h - the neutral form of one request: what every front produces and every adapter
 * translates.
 *
 * Built by a front (gateway/chat_request.c) in the exchange's arena; immutable afterwards; lives as
 * long as the exchange. Everything is checked before it gets here: roles and part kinds are known,
 * types are right, text is valid UTF-8.
 */
#ifndef DRAGOMAN_ADAPTERS_TURN_H
#define DRAGOMAN_ADAPTERS_TURN_H

#include "base/span.h"

enum role {
    ROLE_SYSTEM /* also developer */,
    ROLE_USER,
    ROLE_ASSISTANT,
    ROLE_TOOL /* also function */
};

enum part_kind { PART_TEXT, PART_IMAGE, PART_AUDIO, PART_FILE, PART_VIDEO, PART_REFUSAL };

struct part {
    enum part_kind kind;
    struct span text; /* TEXT, REFUSAL */
    struct span url;  /* IMAGE, VIDEO: as the client gave it; for data: URLs the next two are filled
                         as well */
    struct span mime; /* of a data: URL ("image/png"), or of the input_audio format */
    struct span base64; /* payload of a data: URL or of input_audio, not decoded; {NULL,0} = remote
                           URL or file_id */
    struct span filename; /* FILE */
    struct span file_id;  /* FILE */
    int index;            /* position in the client's content array, for error messages:
                             messages[i].content[index] */
};

struct tool_call {
    struct span id, name, arguments; /* arguments: text that holds JSON */
};

struct message {
    enum role role;
    struct span name; /* "" = none */
    const struct part *parts;
    size_t n_parts; /* 0 for null, absent and empty content */
    const struct tool_call *tool_calls;
    size_t n_tool_calls;
    struct span tool_call_id; /* ROLE_TOOL */
    struct span reasoning;    /* reasoning_content of a former assistant turn */
    int index;                /* position in the client's list, for error messages */
};

enum reasoning_wish { REASONING_UNSET, REASONING_ON, REASONING_OFF };

/* A request that goes to the site as it is, but for the model's name: embeddings, pictures, speech.
 */
struct relay {
    struct span path;          /* below the API's base: "/embeddings"; "" = the turn is a chat */
    struct span type;          /* the client's Content-Type */
    struct span before, after; /* the body around the model's name */
    bool quoted;               /* the name stands there as a JSON string */
};

struct turn {
    struct span raw;   /* the client's body: one valid JSON object, escaped lone surrogates already
                          mended; has JSON_PADDING */
    struct span model; /* the id the client asked for */
    const struct message *messages;
    size_t n_messages;

    bool stream;
    bool include_usage;
    int n; /* choices wanted, >= 1 */

    /* Parameters: has_x says whether the client gave it (null counts as not given). */
    bool has_temperature, has_top_p, has_max_tokens, has_presence_penalty, has_frequency_penalty;
    double temperature, top_p, presence_penalty, frequency_penalty;
    int64_t max_tokens;          /* max_completion_tokens wins over max_tokens */
    bool max_includes_reasoning; /* it was max_completion_tokens */
    const struct span *stop;     /* decoded texts */
    size_t n_stop;

    struct span tools_raw; /* raw JSON array, {NULL,0} when absent, null or empty (also made from
                              old `functions`) */
    struct span tool_choice_raw;     /* raw JSON value, {NULL,0} when absent or null */
    bool tools_wanted;               /* tools given and tool_choice is not "none" */
    struct span response_format_raw; /* {NULL,0} when absent, null or {"type":"text"} */
    bool logprobs;

    enum reasoning_wish reasoning; /* from reasoning_effort, reasoning, thinking, enable_thinking,
                                      chat_template_kwargs */
    struct span reasoning_effort;  /* as given ("low" …), "" = not given */

    struct relay relay;

    bool has_images, has_audio, has_files, has_video; /* any message */
};

#endif
