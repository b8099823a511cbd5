/*
 * gateway/continuation.h - whole answers from truncated ones (docs/continue.md): which ends are not
 * the end, and what is asked of the site then.
 *
 * Pure. What happens to the text is gateway/answer.c's and gateway/text_joiner.c's business, when
 * it happens gateway/branch_continue.c's.
 */
#ifndef DRAGOMAN_GATEWAY_CONTINUATION_H
#define DRAGOMAN_GATEWAY_CONTINUATION_H

#include "gateway/answer.h"
#include "gateway/config.h"

enum {
    CONTINUE_TIMES_MAX = 10,  /* what continue_max may be */
    CONTINUE_TOKENS_MIN = 16, /* less of the client's limit is not worth a request */
};

/* What has been done for one answer so far. */
struct continuation_log {
    int times;
    enum continue_cause causes[CONTINUE_TIMES_MAX];
};

/* How a run ended. */
struct run_end {
    enum fail_kind failed; /* FAIL_NONE: as the site wanted */
    struct answer_run_state state;
    int64_t since_ms; /* the request's beginning */
};

/* May an answer to the turn be continued at all? Never with tools, response_format, several
 * choices, stop texts, log probabilities, pictures or sound as the answer, and relays. */
bool continuation_fits(const struct turn *);
/* Why this end is not the end, or CONTINUE_NOT. `asked` is what was asked at first, at this target;
 * `heeds_limit`: the site ends its answer at the client's max_tokens by itself. */
enum continue_cause continuation_cause(const struct continue_config *,
                                       const struct continuation_log *, const struct turn *asked,
                                       bool heeds_limit, const struct run_end *);
/* What is asked: the same with the text so far and the wish to go on, and with what is left of the
 * client's max_tokens. Without text, the same again. In the arena; NULL when memory is short. */
const struct turn *continuation_turn(struct arena *, const struct turn *asked,
                                     const struct answer_run_state *);
/* Milliseconds before the next one. */
int continuation_delay_ms(const struct continuation_log *);
/* `"dragoman_continued":{…}`, for the answer's top. {NULL,0} when memory is short. */
struct span continuation_remark(struct arena *, const struct continuation_log *);

#endif
