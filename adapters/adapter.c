/*
 * adapters/adapter.c - the few helpers that belong to the contract itself.
 */
#include "adapters/adapter.h"

#include <assert.h>

struct span site_head_get(const struct site_head *head, const char *name)
{
    for (size_t i = 0; i < head->n_headers; i++) {
        if (span_eq_nocase(head->headers[i].name, span_str(name)))
            return head->headers[i].value;
    }
    return span_of(NULL, 0);
}

bool site_head_is(const struct site_head *head, const char *mime)
{
    struct span essence = head->content_type;
    ptrdiff_t at = span_find_char(essence, ';');
    if (at >= 0)
        essence = span_first(essence, (size_t)at);
    return span_eq_nocase(span_trim(essence), span_str(mime));
}

void run_keep(struct turn_run *run, struct span key, struct span value)
{
    if (run->keep)
        run->keep(run->memory_owner, key, value);
}

struct span run_recall(struct turn_run *run, struct span key)
{
    return run->recall ? run->recall(run->memory_owner, key) : span_of(NULL, 0);
}

void run_conversation(struct turn_run *run, struct span state)
{
    run->conversation_end = arena_dup(run->arena, state);
}

void run_drift(struct turn_run *run, const char *kind)
{
    if (run->drift)
        run->drift(run->drift_owner, kind);
}

void site_request_header(struct site_request *req, struct span name, struct span value)
{
    assert(req->n_headers < SITE_HEADERS_MAX);
    req->headers[req->n_headers++] = (struct header){name, value};
}

/* ---- how the engine asks ---- */

static void begin(const struct turn_run *run)
{
    run->fail->kind = FAIL_NONE;
    if (run->json)
        json_parser_take_short(run->json);
    arena_take_short(run->arena);
    account_guard_take_short(run->account);
}

static bool was_short(const struct turn_run *run)
{
    bool no_json = run->json && json_parser_take_short(run->json);
    bool no_loan = account_guard_take_short(run->account);
    return arena_take_short(run->arena) || no_json || no_loan;
}

static enum adapter_verdict judged(struct turn_run *run, enum adapter_verdict verdict)
{
    return was_short(run) ? (enum adapter_verdict)fail_memory(run->fail) : verdict;
}

enum adapter_step adapter_next(const struct adapter *a, struct turn_run *run,
                               struct site_request *request)
{
    begin(run);
    enum adapter_step step = a->next(run, request);
    if (!was_short(run))
        return step;
    fail_memory(run->fail);
    return ADAPTER_FAILED;
}

enum adapter_verdict adapter_head(const struct adapter *a, struct turn_run *run,
                                  const struct site_head *head, enum framing *framing)
{
    begin(run);
    return judged(run, a->on_head(run, head, framing));
}

enum adapter_verdict adapter_frame(const struct adapter *a, struct turn_run *run,
                                   const struct frame *frame)
{
    begin(run);
    return judged(run, a->on_frame(run, frame));
}

enum adapter_verdict adapter_end(const struct adapter *a, struct turn_run *run, enum stream_end end)
{
    begin(run);
    return judged(run, a->on_end(run, end));
}
