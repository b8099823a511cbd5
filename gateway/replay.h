/*
 * gateway/replay.h - `dragoman replay FILE`: a recorded answer through its adapter, without
 * network.
 *
 * FILE holds the bytes of an answer's body, as in test/transcripts and as capture.h writes them.
 * What else belongs to it stands in STEM.setup.json beside it, or in setup.json of its folder (for
 * all files there); without both, harmless values are taken, and the folder's name is the
 * adapter's. The members of a setup are those that a capture has; each may be missing:
 *
 *     adapter, base_url, path, options, model, model_note, now_ms, stream, tools, emulated_tools,
 *     account {name, guest, credentials [name], held {name: expires_ms}},
 *     steps [{request {method, target}, answer {status, content_type, retry_after, headers, body or
 *             body_base64, splits, end: clean cut left, transport {kind, message}}}]
 *
 * `emulated_tools` are those that the site was told of by words: calls are looked for in the text.
 *
 * The last step is FILE's, and has no body; those before it are what the adapter asks for first.
 */
#ifndef DRAGOMAN_GATEWAY_REPLAY_H
#define DRAGOMAN_GATEWAY_REPLAY_H

#include <stdio.h>

#include "base/fail.h"

enum replay_result {
    REPLAY_PLAYED, /* to the end, whatever came of it */
    REPLAY_FAILED, /* it could not be played; or with every_split, something depends on the cuts */
    REPLAY_USAGE   /* no such adapter, or none is named */
};

/* `adapter` NULL: as the setup or the folder says. To `out` a JSON object a line: each delta, and
 * at last {"end", "failure", "drift"}. Anything but PLAYED with a sentence in fail. `every_split`:
 * once more for each place where the body can be cut in two. */
enum replay_result replay(const char *file, const char *adapter, bool every_split, FILE *out,
                          struct fail *);

#endif
