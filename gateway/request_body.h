/*
 * gateway/request_body.h - what the JSON bodies of all APIs have in common: one valid object, its
 * "model", its texts.
 *
 * Pure. Each returns 0, or -1 with fail.
 */
#ifndef DRAGOMAN_GATEWAY_REQUEST_BODY_H
#define DRAGOMAN_GATEWAY_REQUEST_BODY_H

#include "adapters/turn.h"
#include "base/arena.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/json_outline.h"
#include "base/json_raw.h"

/* The first look: the body is mended in place (lone surrogates) and is one valid object
 * (INVALID_JSON else), in which members can be found with json_raw_given. It has JSON_PADDING
 * behind it; `*object` lies in it. */
int request_body_open(struct json_parser *, char *body, size_t n, struct span *object,
                      struct fail *);
/* The same, and where its members lie: `outline` is whole only if the body is plain. */
int request_body_outline(struct json_parser *, char *body, size_t n, struct span array,
                         struct json_outline *, struct span *object, struct fail *);
/* The object's members. Each look-up of one walks over all that the index does not hold: clients
 * send a few dozen, more than so many are refused (INVALID_VALUE). */
enum { REQUEST_FIELDS_MAX = 10000 };
int request_body_members(struct json_members *, struct span object, struct fail *);
/* The id that stands as "model" in the object (INVALID_VALUE when it is missing, empty or no
 * string). */
int request_body_model(struct json_parser *, struct arena *, struct span raw, struct span *model,
                       struct fail *);
/* The text of a raw JSON string: a span into it when nothing is escaped, else decoded into the
 * arena. */
int request_body_text(struct json_parser *, struct arena *, struct span raw, struct span *text,
                      struct fail *);

/* A body of the largest size has room for millions of messages of a few bytes, and each becomes
 * many times its bytes here. 100,000 messages are what Anthropic's API takes
 * (sites/anthropic.md §1). Parts are those of all messages, with their calls. */
enum { REQUEST_MESSAGES_MAX = 100000, REQUEST_PARTS_MAX = 200000, REQUEST_TOOLS_MAX = 100000 };
/* So many more parts of a request that had *n_parts. -1: they are too many. */
int request_body_count_parts(size_t *n_parts, size_t more, const char *param, struct fail *);
/* "<param> must be at most …": INVALID_VALUE. -1. */
int request_body_too_many_messages(struct fail *, const char *param);
int request_body_too_many_tools(struct fail *, const char *param);

/* "<param> must be <wanted>": INVALID_VALUE. -1. */
int request_body_invalid(struct fail *, const char *param, const char *wanted);
/* Optional members of the type, as json_raw_given and json_members_given find them: absent or null
 * ({NULL,0}) leaves *value alone; another type is INVALID_VALUE. */
int request_body_text_given(struct json_parser *, struct arena *, struct span raw,
                            const char *param, struct span *value, struct fail *);
int request_body_bool_given(struct span raw, const char *param, bool *value, struct fail *);
/* `*has` becomes true where there is one. */
int request_body_number_given(struct span raw, const char *param, bool *has, double *value,
                              struct fail *);

/* Room for what is in a picture, a recording or a file, when somebody asks (adapters/turn.h). */
int request_part_room(struct arena *, struct part *, struct fail *);
/* A part whose URL is data:[<mime>][;param…];base64,<payload> (RFC 2397) gets mime and base64,
 * spans of it; another data: URL is INVALID_VALUE. Other URLs stay as they are. */
int request_part_split_data_url(struct part *, const char *param, struct fail *);

#endif
