/*
 * gateway/branch_stream.c - what comes of a request to the site: its answer's head, bytes and end
 * go through the decoder to the adapter, whose verdict is the branch's next step. See
 * branch_internal.h.
 */
#include "gateway/branch_internal.h"

#include "gateway/exchange_internal.h"
#include "gateway/site_cookies.h"

/* Nobody asks for it any more: what is left of the answer may take minutes. */
void branch_drop_request(struct branch *b)
{
    struct site_request *request = b->work ? b->work->request : NULL;
    if (!request)
        return;
    b->work->request = NULL;
    arena_give_back(&b->exchange->arena, request->body.p);
    spare_give(&branch_engine(b)->spare_requests, request);
}

int branch_begin_request(struct branch *b)
{
    branch_drop_request(b);
    b->work->request = spare_take(&branch_engine(b)->spare_requests);
    if (!b->work->request)
        return -1;
    site_request_init(b->work->request);
    return 0;
}

void branch_drop_call(struct branch *b, bool finished)
{
    if (b->call)
        upstream_cancel(b->call, finished);
    b->call = NULL;
    b->paused = false;
    if (b->decoding)
        frame_decoder_free(&b->work->decoder);
    b->decoding = false;
}

/* An adapter's verdict that ends the current request to the site. */
static void take_verdict(struct branch *b, enum adapter_verdict verdict)
{
    struct exchange *e = b->exchange;
    if (verdict == ADAPTER_GO_ON)
        return;
    if (verdict == ADAPTER_FAIL && !b->landing) /* at once: others may be asked meanwhile */
        *branch_fail(b) = *b->work->run.fail;
    branch_drop_call(b, verdict == ADAPTER_COMPLETE);
    if (b->landing) {
        branch_end_landing(b);
        return;
    }
    if (verdict == ADAPTER_COMPLETE) {
        b->step = BRANCH_ASK;
    } else {
        if (branch_engine(b)->out.error || e->answer->full || branch_fail_kind(b) == FAIL_NONE)
            exchange_fail_writing(e, branch_fail(b));
        b->step = BRANCH_RETRY;
    }
    branch_advance(b);
    if (e->step < STEP_FINISH) { /* what came so far goes out now */
        exchange_flush(e);
        if (e->step >= STEP_FINISH)
            exchange_go_on(e);
    }
}

static enum adapter_verdict frame_in(struct branch *b, const struct frame *frame)
{
    enum adapter_verdict verdict = adapter_frame(b->adapter, &b->work->run, frame);
    answer_frame_done(b->work->feed.answer);
    return verdict;
}

/* No frame came of it. */
static enum adapter_verdict judge_decoder(struct branch *b, enum frame_result r)
{
    if (r == FRAME_TOO_LARGE)
        return fail_set(b->work->run.fail, FAIL_PROTOCOL,
                        "%.*s sent a single event of more than 16 MiB",
                        SPAN_ARGS(branch_site(b)->settings.name));
    if (r == FRAME_NOMEM)
        return fail_memory(b->work->run.fail);
    return ADAPTER_GO_ON;
}

static enum adapter_verdict whole_frames_in(struct branch *b, struct span bytes)
{
    struct frame frame;
    enum frame_result r = FRAME_MORE;
    if (upstream_is_told(b->call) && frame_decoder_lend(&b->work->decoder, bytes))
        return ADAPTER_GO_ON; /* the end comes at once, and the frame with it */
    while (bytes.n && (r = frame_decoder_next(&b->work->decoder, &bytes, &frame)) == FRAME_READY) {
        enum adapter_verdict verdict = frame_in(b, &frame);
        if (verdict != ADAPTER_GO_ON)
            return verdict;
    }
    return judge_decoder(b, r);
}

/* What is known of the site's frames is lent to the run as long as it reads some. */
static void lend_shapes(struct branch *b)
{
    b->work->run.shapes = shape_book_of(&branch_engine(b)->shapes, branch_site(b));
}

static enum adapter_verdict frames_in(struct branch *b, struct span bytes)
{
    if (!b->work->timely) /* a read's pieces are handed out at once: one look at the clock */
        b->work->run.now_ms = engine_wall_ms(b->exchange->engine);
    b->work->timely = true;
    lend_shapes(b);
    enum adapter_verdict verdict = whole_frames_in(b, bytes);
    b->work->run.shapes = NULL;
    return verdict;
}

/* Between two pieces of a stream thousands of others have their turn, and the caches. */
static void prefetch_stream(const struct branch *b)
{
    const struct exchange *e = b->exchange;
    struct prefetch list = {0};
    if (!e->stream || !e->http)
        return;
    arena_prefetch(&e->arena, &list);
    prefetch_add(&list, e, sizeof *e);
    http_answer_prefetch(e->http, &list);
    upstream_prefetch(b->call, &list);
}

static void on_site_head(void *owner, const struct site_head *head)
{
    struct branch *b = owner;
    enum framing framing = b->work->request->framing;
    b->work->run.now_ms = engine_wall_ms(b->exchange->engine);
    b->work->timely = false;
    b->site_status = (uint16_t)head->status;
    capture_head(b->work->capture, head);
    site_cookies_take(b->adapter, &b->work->run, b->work->request, head);
    json_template_forget(&b->work->shape);
    enum adapter_verdict verdict = adapter_head(b->adapter, &b->work->run, head, &framing);
    frame_decoder_init(&b->work->decoder, framing, FRAME_LIMIT);
    b->decoding = true;
    if (upstream_has_sent(b->call))
        branch_drop_request(b);
    prefetch_stream(b);
    take_verdict(b, verdict);
}

/* We ended the answer (stop, token limit): the site need not say the rest. */
static void end_early(struct branch *b)
{
    branch_drop_call(b, false);
    b->step = (int8_t)branch_completed(b);
    branch_advance(b);
}

static void on_site_body(void *owner, struct span bytes)
{
    struct branch *b = owner;
    exchange_note_body(b->exchange, b, "from site", bytes);
    capture_body(b->work->capture, bytes);
    enum adapter_verdict verdict = frames_in(b, bytes);
    exchange_note_first_delta(b->exchange);
    if (verdict == ADAPTER_GO_ON && b->continuing && answer_feed_started_over(&b->work->feed))
        verdict = fail_set(b->work->run.fail, FAIL_CUT, "%.*s told its answer again",
                           SPAN_ARGS(branch_site_name(b)));
    if (verdict == ADAPTER_GO_ON && answer_feed_is_cut(&b->work->feed))
        end_early(b);
    else
        take_verdict(b, verdict);
}

static void on_site_read(void *owner)
{
    struct branch *b = owner;
    struct exchange *e = b->exchange;
    b->work->timely = false;
    if (b->decoding) /* should the end not have come after all: its bytes go now */
        (void)frame_decoder_keep(&b->work->decoder);
    exchange_flush(e);
    if (e->step >= STEP_FINISH)
        exchange_go_on(e);
}

/* The body's end: a last frame that needs no mark, then the adapter's own reading of the end. */
static enum adapter_verdict end_of_body(struct branch *b, enum stream_end end)
{
    struct frame frame;
    enum adapter_verdict verdict = ADAPTER_GO_ON;
    b->work->run.now_ms = engine_wall_ms(b->exchange->engine);
    enum frame_result last =
        end == END_CLEAN ? frame_decoder_end(&b->work->decoder, &frame) : FRAME_MORE;
    if (last == FRAME_READY) {
        lend_shapes(b);
        verdict = frame_in(b, &frame);
        b->work->run.shapes = NULL;
    } else {
        verdict = judge_decoder(b, last);
    }
    if (last == FRAME_TORN) /* HTTP ended well, but inside a frame */
        end = END_CUT;
    if (verdict == ADAPTER_GO_ON)
        verdict = adapter_end(b->adapter, &b->work->run, end);
    return verdict;
}

/* Why bytes stopped coming: the adapter has seen only that they did. */
static bool transport_knows_better(const struct fail *transport, const struct fail *adapter)
{
    return adapter->kind == FAIL_NONE || transport->kind == FAIL_TIMEOUT ||
           (transport->kind == FAIL_PROTOCOL &&
            (adapter->kind == FAIL_CUT || adapter->kind == FAIL_EMPTY));
}

static void on_site_end(void *owner, enum stream_end end, const struct fail *fail)
{
    struct branch *b = owner;
    enum adapter_verdict verdict = ADAPTER_FAIL;
    b->call = NULL; /* it is gone already */
    fail_clear(b->work->run.fail);
    capture_end(b->work->capture, &b->work->run, end, fail);
    b->paused = false;
    if (b->decoding)
        verdict = end_of_body(b, end);
    else if (end == END_CUT)
        *b->work->run.fail = *fail;
    if (verdict == ADAPTER_FAIL && end == END_CUT &&
        transport_knows_better(fail, b->work->run.fail))
        *b->work->run.fail = *fail;
    exchange_note_first_delta(b->exchange);
    take_verdict(b, verdict == ADAPTER_GO_ON ? ADAPTER_COMPLETE : verdict);
}

static const struct upstream_handler site_handler = {on_site_head, on_site_body, on_site_read,
                                                     on_site_end, NULL};

enum branch_step branch_send(struct branch *b)
{
    struct upstream_handler handler = site_handler;
    struct fail fail;
    handler.owner = b;
    capture_request(b->work->capture, &b->work->run, b->work->request);
    exchange_note_body(b->exchange, b, "to site", b->work->request->body);
    b->call = upstream_start(branch_engine(b)->upstream, branch_site(b), b->account->view.name,
                             b->work->request, &handler, &fail);
    if (!b->call)
        *branch_fail(b) = fail;
    if (b->call && !b->exchange->drained_out)
        branch_pause(b);
    return b->call ? BRANCH_STREAM : BRANCH_RETRY;
}
