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

#include "base/json_raw.h"
#include "base/span.h"

enum role {
    ROLE_SYSTEM /* also developer */,
    ROLE_USER,
    ROLE_ASSISTANT,
    ROLE_TOOL /* also function */
};

/* Whose words something is in. Sites of their own private kind speak none of them. */
enum dialect { DIALECT_NONE, DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_GOOGLE };

enum part_kind {
    PART_TEXT,
    PART_IMAGE,
    PART_AUDIO,
    PART_FILE,
    PART_VIDEO,
    PART_REFUSAL,
    PART_THINKING, /* a former answer's reasoning, with what proves it; only in assistant messages
                    */
    PART_REDACTED, /* reasoning that only the site can read: handed back as it is */
    PART_FOREIGN   /* known to sites that speak the turn's dialect alone: its raw JSON in `text` */
};

/* What is in a part: found out when somebody first asks (part_bytes in adapters/support.h), or
 * fetched from where its URL points; once in an exchange, whatever runs and targets it takes. Lives
 * as long as the exchange. */
struct part_data {
    bool decoded; /* `bytes` is what the base64 says: {NULL,0} = it is none */
    bool fetched; /* `bytes` is what stood at the URL */
    struct span bytes;
    struct span base64; /* of what was fetched; {NULL,0} = nobody asked yet */
    struct span digest; /* SHA-256 of `bytes`, 32 bytes; {NULL,0} likewise */
};

struct part {
    enum part_kind kind;
    struct span text; /* TEXT, REFUSAL, THINKING, FOREIGN; FILE whose content came as plain text */
    struct span signature; /* THINKING, "" = none; REDACTED: its data */
    struct span url;  /* IMAGE, VIDEO: as the client gave it; for data: URLs the next two are filled
                         as well */
    struct span mime; /* of a data: URL ("image/png"), or of the input_audio format */
    struct span base64; /* payload of a data: URL or of input_audio, not decoded; {NULL,0} = remote
                           URL or file_id */
    struct span filename;   /* FILE */
    struct span file_id;    /* FILE */
    struct span extra;      /* see struct turn */
    struct part_data *data; /* IMAGE, AUDIO, FILE: room for what is in it; NULL = nothing is kept */
    int index;              /* position in the client's content array, for error messages:
                               messages[i].content[index] */
};

struct tool_call {
    struct span id, name, arguments; /* arguments: text that holds JSON */
    struct span extra_content; /* the JSON object of that name, as an answer of ours gave it out
                                  (struct delta); {NULL,0} = none */
    struct span extra;         /* see struct turn */
    size_t after;              /* how many of the message's parts stand before it; never less
                                  than of the call before */
};

struct message {
    enum role role;
    struct span name; /* "" = none */
    const struct part *parts;
    size_t n_parts; /* 0 for null, absent and empty content */
    const struct tool_call *tool_calls;
    size_t n_tool_calls;
    struct span tool_call_id; /* ROLE_TOOL */
    bool is_error;            /* ROLE_TOOL: the tool failed; the parts say how */
    struct span reasoning;    /* reasoning_content of a former assistant turn; the text of its
                                 THINKING parts, where there are such */
    struct span extra;        /* see struct turn */
    int index;                /* position in the client's list, for error messages; -1 = in none */
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

/*
 * Anthropic's Messages in these words (DIALECT_ANTHROPIC): what the front and the adapter agree on,
 * so that a request goes through both and says the same.
 *   system                 ROLE_SYSTEM messages before all others, index -1; a part is a block
 *   tool_result            one ROLE_TOOL message each, in its place; the block's further members
 *                          (cache_control) are the message's extra. The rest of the user's blocks
 *                          are ROLE_USER messages; neighbours are one message at the site
 *   role "system" later    ROLE_SYSTEM at its place
 *   image, document        base64: mime and base64 (url may be ""); url; document of plain text:
 *                          text (p != NULL); file id: file_id; title: filename; else PART_FOREIGN
 *   text, image … members  (citations, cache_control, context) the part's extra
 *   tool_use               a tool call; further members are its extra
 *   max_tokens, temperature, top_p, top_k, stop_sequences, thinking, tools, tool_choice with
 *   disable_parallel_tool_use: the fields below. All others (metadata, output_config …): extra
 */

struct turn {
    struct span raw; /* the request in OpenAI's words: of the chat API the client's body (escaped
                        lone surrogates mended), of other APIs the same wish without what those
                        words lack (gateway/chat_body.h). One valid JSON object; has JSON_PADDING */
    /* Its members, where the front found them on its way, for who would walk it again; of another
     * `raw` than began there they say nothing: see turn_members. */
    struct turn_members {
        const struct json_member *list; /* NULL = not known */
        size_t n;
        const char *of;
    } members;
    /* The client's dialect, and what it said in it that has no place here: raw JSON members
     * (`"a":1,"b":2`, no braces, "" = none). Parts, messages and tool calls have such extras as
     * well. Sites that speak the dialect send them on, others leave them out. Empty for OpenAI's
     * chat: `raw` has everything. Where an extra has a member that the adapter would write from the
     * neutral fields, the extra's wins: so a front keeps there whole what the neutral fields say in
     * part ("output_config" with an effort and a format). */
    enum dialect dialect;
    struct span extra;
    struct span betas; /* the header anthropic-beta, "" = none */
    struct span model; /* the id the client asked for */
    const struct message *messages;
    size_t n_messages;
    const char *list; /* what the client calls its list of messages; NULL = "messages" */

    bool stream;
    bool include_usage;
    int n; /* choices wanted, >= 1 */

    /* Parameters: has_x says whether the client gave it (null counts as not given). */
    bool has_temperature, has_top_p, has_max_tokens, has_presence_penalty, has_frequency_penalty;
    bool has_top_k, has_seed;
    double temperature, top_p, presence_penalty, frequency_penalty;
    int64_t top_k, seed;
    int64_t max_tokens;          /* max_completion_tokens wins over max_tokens */
    bool max_includes_reasoning; /* it was max_completion_tokens */
    const struct span *stop;     /* decoded texts */
    size_t n_stop;

    struct span tools_raw; /* raw JSON array, {NULL,0} when absent, null or empty (also made from
                              old `functions`). Entries of the type "function"; others and members
                              beside "function" are words of the turn's dialect */
    bool tools_foreign;    /* tools_raw has entries that only sites of the turn's dialect know */
    struct span tool_choice_raw;     /* raw JSON value, {NULL,0} when absent or null */
    bool tools_wanted;               /* tools given and tool_choice is not "none" */
    bool no_parallel_tool_calls;     /* at most one call at a time is wanted */
    struct span response_format_raw; /* {NULL,0} when absent, null or {"type":"text"} */
    bool logprobs;

    /* The wish for reasoning, out of all the fields that clients have for it
     * (gateway/reasoning_wish.h, docs/reasoning.md). Suffixes of model ids are read by adapters
     * (read_model_wish in support.h), which see the turn's wish there as well. */
    enum reasoning_wish reasoning; /* "minimal" is OFF: sites with levels look at the effort */
    struct span reasoning_effort; /* the client's word ("low" …), "" = none, or not to be heard */
    int64_t reasoning_budget;     /* in tokens; 0 = not given. Only with ON */
    bool reasoning_hidden;        /* it may think, but the answer leaves without it */
    struct span thinking_raw; /* the object of Anthropic's API ({"type", "budget_tokens" …}), which
                                 chat clients send as well: for sites of that dialect, to be sent
                                 on as it is; {NULL,0} = not given */

    struct relay relay;

    bool has_images, has_audio, has_files, has_video, has_foreign; /* any message */
};

/* The members of `raw`, in order; NULL when nobody found them so far. */
static inline const struct json_member *turn_members(const struct turn *turn, size_t *n)
{
    *n = turn->members.n;
    return turn->members.of == turn->raw.p ? turn->members.list : NULL;
}

#endif
