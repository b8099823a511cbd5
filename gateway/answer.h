/*
 * gateway/answer.h - one client's answer: deltas of one or several runs at sites become the pieces
 * that a protocol's writer puts into form.
 *
 * A run puts its deltas into a feed, which fills some of the answer's choices: with a site that
 * gives several choices, all of them; otherwise each choice (or prompt) has a run and a feed of its
 * own. Here is what a site cannot do and we can: `stop`, token limits, leaked <think>, token
 * counts. Knows the commit boundary: the first delta with content (design §5), for each feed. A
 * feed's text may come from several runs, of which each goes on where the former one stopped
 * (gateway/continuation.h).
 */
#ifndef DRAGOMAN_GATEWAY_ANSWER_H
#define DRAGOMAN_GATEWAY_ANSWER_H

#include "adapters/delta.h"
#include "adapters/turn.h"
#include "gateway/answer_hold.h"
#include "gateway/answer_structure.h"
#include "gateway/answer_writer.h"
#include "gateway/config.h"
#include "gateway/token_count.h"

struct answer_choice;
struct conversation_told;
struct tool_list;

struct answer {
    struct answer_writer *writer;
    struct arena *arena;
    const struct token_source *tokens;
    struct span id;
    struct span content_type; /* relays: what the site said */
    struct answer_feed *feeds;
    struct answer_choice **choices; /* n_choices, in the arena; NULL before the first delta */
    int n_choices;
    bool committed; /* content of any feed went (or will go) to the client */
    bool full;      /* a writer met its limit */
    bool settled, settled_badly;
    uint64_t deltas;
    struct usage_counts usage; /* this and the next two: set by answer_end */
    enum count_origin prompt_origin, completion_origin;
};

/* What the gateway does for one run. */
struct answer_rules {
    enum reasoning_style reasoning;
    bool max_includes_reasoning;
    bool may_continue;        /* keeps what a continuation needs; only feeds of one choice */
    bool usage_expected;      /* the site will tell its usage: our own count is only kept
                                 roughly, for when it does not; see token_counter_sample */
    bool one_call;            /* with `tools`: the answer ends behind the first */
    bool hold;                /* text and reasoning wait until answer_feed_release, or until a
                                 call, which is an answer that nobody asks for again */
    const struct span *stops; /* for sites that do not heed `stop`: the text ends before the first
                                 of these; must outlive the answer */
    size_t n_stops;           /* 0 = the site heeds them, or there are none */
    int64_t max_tokens;       /* likewise, of each choice; 0 = no limit */
    const struct tool_list *tools; /* whose calls stand in the text (gateway/answer_tools.h); NULL =
                                      the site has tools, or none are wanted; outlives the answer */
    struct structured_rules structure; /* the text is to be JSON; no wish = it is not */
    struct conversation_told *told; /* hears the text that the client gets; NULL = nobody does; only
                                       feeds of one choice */
};

/* What a run that is over has left, for who decides whether it is continued. */
struct answer_run_state {
    struct span text;   /* of all runs so far, valid UTF-8; valid until the next delta */
    struct span finish; /* "" = it has none */
    bool whole;         /* `text` is all of the text */
    bool is_new;        /* the run brought text that was not there before */
    bool thoughts;      /* there was reasoning */
    bool other;         /* there was what is no text: calls, a refusal, pictures */
    bool cut;           /* by us: a stop text, or the limit */
    bool started_over;  /* it told again what was told before */
    int64_t tokens;     /* of all answers so far */
    bool tokens_told;   /* by the site, for this run */
};

/* Members that we do not know, of a run that may still fail and be tried again. */
struct held_extra {
    struct held_extra *next;
    int place, choice; /* enum extra_place; within the answer */
    struct span members;
};

/* What the site told of its usage. */
struct answer_told {
    struct delta_usage usage; /* raw is in `text` */
    char *text;               /* room, in the arena */
    size_t room;
};

/* The usage of runs before the present one. */
struct answer_past {
    struct usage_counts usage;
    enum count_origin prompt_origin, completion_origin;
};

/* One for each run that streams: what only some need is made when they do, in the arena. */
struct answer_feed {
    struct delta_sink sink; /* for the adapter */
    struct answer *answer;
    struct answer_feed *next;
    const struct turn *turn;  /* NULL: it is gone */
    int64_t prompt_estimated; /* of one that is gone */
    int first, n;             /* choices [first, first + n) of the answer */
    struct answer_rules rules;
    bool committed, has_text;
    bool torn;        /* a call of the text has no whole arguments: the answer is cut there */
    bool continued;   /* the present run goes on where another one stopped */
    bool other;       /* see struct answer_run_state */
    bool extra_waits; /* members of a delta without anything beside them */
    bool has_usage;   /* the present run has: `told` is there */
    struct answer_hold hold;
    struct span remark; /* members for the answer's top, at its end; "" = none */
    struct held_extra *extras, **last_extra; /* until the run is committed */
    struct answer_told *told;
    struct answer_past *past;   /* NULL: no former run counts in the usage */
    struct citation *citations; /* of the first choice, until its finish */
    size_t n_citations, cap_citations;
    int64_t counted_text, counted_reasoning; /* what we had counted when the present run began */
};

/* In place. The writer belongs to the answer from now on; arena, `tokens` and id outlive it. */
void answer_init(struct answer *, struct answer_writer *, struct arena *,
                 const struct token_source *tokens, struct span id);
void answer_free(struct answer *);
/* A feed for a turn's choices, [first, first + n) of at most EMITTER_CHOICES; it lives as long as
 * the answer. Feeds end in the order of their choices, whenever they came. */
void answer_feed_add(struct answer *, struct answer_feed *, const struct turn *, int first, int n);
/* Before each try of its run: forgets what a failed one left behind before the commit boundary. */
void answer_feed_begin(struct answer_feed *, const struct answer_rules *);
/* With rules.may_continue, when a run is over: what the filters held back goes out. 0, or -1. */
int answer_feed_run_over(struct answer_feed *, struct answer_run_state *);
/* It will be continued: its finish reason is not the answer's. */
void answer_feed_set_aside(struct answer_feed *);
/* Then, before the run that goes on with the text: `turn` is what it asks. The filters go on as
 * well; its thoughts are not told. */
void answer_feed_continue(struct answer_feed *, const struct turn *);
/* The continuation is given up: the finish reason from before it stands. False: there was none, or
 * it would not be true any more. */
bool answer_feed_give_up(struct answer_feed *);
/* The site's run ended well: what the filters hold back goes on, and choices without a finish
 * reason get theirs, if there is anything in them. `torn` is known then. 0, or -1 (limit, memory).
 */
int answer_feed_run_ended(struct answer_feed *);
/* rules.hold: is the whole answer still held back, and did the site mean it to end? */
bool answer_feed_is_held(const struct answer_feed *);
/* Its text so far (of the first choice), behind what `out` has. */
void answer_feed_held_text(const struct answer_feed *, struct buffer *out);
/* What a choice of the feed is worth as the JSON that was asked for; NULL = it was not judged. */
const struct structured_verdict *answer_feed_verdict(const struct answer_feed *, int choice);
/* Held back: this text instead of the first choice's, and what it is worth. */
void answer_feed_replace(struct answer_feed *, struct span text, const struct structured_verdict *);
/* The run is to be forgotten, or gone on with, but its tokens count. */
void answer_feed_count_run(struct answer_feed *);
/* It goes out. 0, or -1. */
int answer_feed_release(struct answer_feed *);
/* Does the continuation tell again what was told before? It is swallowed. */
bool answer_feed_started_over(const struct answer_feed *);
/* Did the choice get anything? */
bool answer_has_choice(const struct answer *, int choice);
/* A stop text was met or the limit reached in each of its choices: nothing more is wanted of the
 * site. */
bool answer_feed_is_cut(const struct answer_feed *);
/* The feed's turn goes. Should the prompt have to be counted after all, it is what an estimate made
 * now says. */
void answer_feed_forget_turn(struct answer_feed *);
/* Has the site told the tokens of its answer? */
bool answer_feed_told_usage(const struct answer_feed *);
/* All choices that got something have their finish_reason, and there is one. */
bool answer_feed_is_finished(const struct answer_feed *);

/* It ended as if it were whole, but all of it was thoughts that are not to be shown: nothing is
 * left for the client. */
bool answer_feed_is_blank(const struct answer_feed *);

/* Ends one site frame: extras that found no chunk go out. */
void answer_frame_done(struct answer *);
/* What must be before the end: missing finish reasons become "stop", and are written; `usage` is
 * there. answer_end sees to it as well. 0 or -1 (limit, memory). */
int answer_settle(struct answer *);
/* The good end: missing finish reasons become "stop"; streams write their end, whole answers go
 * into `body`. 0 or -1 (limit, memory). */
int answer_end(struct answer *, struct buffer *body);
/* Tokens of prompts and answers: after answer_end what it told, before it what it would tell now,
 * for an answer that ends otherwise. 0 for relays, whose bytes nobody reads. */
int64_t answer_tokens(struct answer *);
/* Streams: the first event early (15 s of silence); the error event after the head. */
void answer_role(struct answer *);
void answer_error(struct answer *, const struct fail *);
/* Whole answers: what was gathered so far, for a cut answer; nothing when there is none. */
void answer_partial(struct answer *, struct buffer *out);

#endif
