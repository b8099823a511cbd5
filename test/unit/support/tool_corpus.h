/*
 * test/unit/support/tool_corpus.h - the corpus of model outputs below test/tools, and a player that
 * puts one through a tool parser.
 *
 * test/tools/README.md tells the form of the files. The player watches what every run must keep:
 * the order of events, calls counted from 0, names of the tool list, no empty piece, nothing behind
 * a half call.
 */
#ifndef DRAGOMAN_TEST_TOOL_CORPUS_H
#define DRAGOMAN_TEST_TOOL_CORPUS_H

#include "base/arena.h"
#include "base/buffer.h"
#include "gateway/tool_parser.h"

enum tool_item_kind { ITEM_TEXT, ITEM_CALL, ITEM_HALF };

/* A stretch of text, or a call. */
struct tool_item {
    enum tool_item_kind kind;
    struct span name; /* of a call */
    struct span text; /* the text, or the call's arguments */
};

struct tool_case {
    struct span name, in;
    enum tool_end end;
    bool invented; /* a result, which is dropped */
    bool open;     /* what is made of it is not said */
    struct tool_list tools;
    const struct tool_item *items;
    size_t n_items;
};

struct tool_corpus {
    char file[96];
    struct arena arena;
    struct tool_case *cases;
    size_t n;
};

/* Reads every test/tools/(name).txt, ordered by name. Fails the cmocka test with file and line
 * where one is not in the form. */
struct tool_corpus *tool_corpus_read(size_t *n_files);
void tool_corpus_free(struct tool_corpus *, size_t n_files);
/* The tools of test/tools/tools.json. */
void tool_corpus_tools(struct arena *, struct tool_list *);

enum { TOOL_ITEMS_MAX = 128 };

/* What came out of a run. Two runs that gave the same have the same `log`. */
struct tool_played {
    struct buffer log;  /* kinds, names, texts, one behind the other */
    struct buffer text; /* all text */
    struct {
        enum tool_item_kind kind;
        size_t at, n, name_at, name_n; /* in `log` */
    } items[TOOL_ITEMS_MAX];
    size_t n_items;
    int result;      /* of the end, or of the feed that failed */
    char wrong[160]; /* what broke a rule of the header; "" = nothing */
    bool invented;
    bool inside; /* of a call */
    int calls;   /* that have begun */
    const struct tool_list *tools;
};

void tool_played_init(struct tool_played *, const struct tool_list *);
void tool_played_clear(struct tool_played *);
void tool_played_free(struct tool_played *);
struct tool_event_sink tool_played_sink(struct tool_played *);
/* Feeds `in` cut at the ascending `cuts`, and ends it. Clears `out` first. */
void tool_play(const struct tool_list *, struct span in, const size_t *cuts, size_t n_cuts,
               enum tool_end, struct tool_played *out);
/* In single bytes. */
void tool_play_bytes(const struct tool_list *, struct span in, enum tool_end,
                     struct tool_played *out);
struct span tool_played_text(const struct tool_played *, size_t item);
struct span tool_played_name(const struct tool_played *, size_t item);

/* Compares a whole run with what a case expects; `why` says what differs. */
bool tool_case_holds(const struct tool_case *, const struct tool_played *, struct buffer *why);
/* Is it one JSON object? */
bool tool_is_object(struct span text);
/* Are both the same JSON value (order of members aside, 3 = 3.0)? */
bool tool_same_json(struct span a, struct span b);

#endif
