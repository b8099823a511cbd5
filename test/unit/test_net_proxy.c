/*
 * test_net_proxy.c - gateway/net_proxy.c beside what the end-to-end tests show: a proxy that says
 * everything before it is asked, and one that leaves meanwhile. Below is a connection that refuses
 * two writes at once, as the real one does.
 */
#include "base/buffer.h"
#include "gateway/net_streams.h"
#include "test/unit/support/cmocka_all.h"

struct dialogue {
    struct byte_stream wire; /* to the proxy */
    struct byte_stream *tunnel;
    bool writing, reading;
    int questions, opened, failed, closed;
    struct buffer got;
    char sentence[sizeof((struct fail *)0)->message];
};

static void wire_open(struct byte_stream *s) {}

static void wire_write(struct byte_stream *s, const struct span *pieces, size_t n)
{
    struct dialogue *d = (struct dialogue *)s;
    assert_false(d->writing);
    d->writing = true;
    d->questions++;
}

static void wire_read_start(struct byte_stream *s) { ((struct dialogue *)s)->reading = true; }
static void wire_read_stop(struct byte_stream *s) { ((struct dialogue *)s)->reading = false; }
static size_t wire_unsent(const struct byte_stream *s) { return 0; }
static void wire_last_words(struct byte_stream *s, struct span words) {}
static void wire_close(struct byte_stream *s) {}

static void on_open(void *up) { ((struct dialogue *)up)->opened++; }
static void on_read(void *up, struct span bytes)
{
    buffer_append(&((struct dialogue *)up)->got, bytes);
}
static void on_nothing(void *up) {}
static void on_closed(void *up) { ((struct dialogue *)up)->closed++; }

static void on_fail(void *up, const struct fail *fail)
{
    struct dialogue *d = up;
    d->failed++;
    memcpy(d->sentence, fail->message, sizeof d->sentence);
}

static void begin(struct dialogue *d, int kind, struct span user)
{
    static const struct byte_stream_ops ops = {wire_open,      wire_write,  wire_read_start,
                                               wire_read_stop, wire_unsent, wire_last_words,
                                               wire_close,     NULL,        NULL};
    static const struct byte_stream_events events = {on_open,    on_read, on_nothing, on_nothing,
                                                     on_nothing, on_fail, on_closed};
    static struct net net;
    struct proxy_config config = {.host = SPAN("proxy.example"), .port = 1080, .user = user};
    config.kind = kind;
    *d = (struct dialogue){.wire = {.ops = &ops}};
    buffer_init(&d->got, 1 << 16);
    d->tunnel = net_proxy_create(&net, &d->wire, &config, "site.example", 443);
    assert_non_null(d->tunnel);
    byte_stream_listen(d->tunnel, &events, d);
    byte_stream_open(d->tunnel);
    d->wire.events->on_open(d->wire.up);
}

static void says(struct dialogue *d, struct span bytes)
{
    d->wire.events->on_read(d->wire.up, bytes);
}

/* The question has left. */
static void written(struct dialogue *d)
{
    assert_true(d->writing);
    d->writing = false;
    d->wire.events->on_written(d->wire.up);
}

static void end(struct dialogue *d)
{
    byte_stream_close(d->tunnel);
    d->wire.events->on_closed(d->wire.up);
    assert_int_equal(d->closed, 1);
    buffer_free(&d->got);
}

static void replies_before_their_questions_wait(void **state)
{
    struct dialogue d;
    begin(&d, PROXY_SOCKS5H, SPAN("u"));
    says(&d, SPAN("\x05\x02\x01\x00\x05\x00\x00\x01\x0a\x00\x00\x01\x00\x50hello"));
    for (int n = 1; n <= 3; n++) {
        assert_int_equal(d.questions, n);
        assert_int_equal(d.opened, 0);
        written(&d);
    }
    assert_int_equal(d.opened, 1);
    byte_stream_read_start(d.tunnel);
    assert_span_equal(buffer_span(&d.got), SPAN("hello"));
    end(&d);
}

static void who_leaves_is_not_asked_again(void **state)
{
    static const struct span said[] = {SPAN_INIT("\x05\x00"), SPAN_INIT("\x05\x02"),
                                       SPAN_INIT("\x05\x02\x01\x00")};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        struct dialogue d;
        begin(&d, PROXY_SOCKS5H, SPAN("u"));
        says(&d, said[i]);
        d.wire.events->on_eof(d.wire.up);
        assert_int_equal(d.questions, 1);
        assert_int_equal(d.failed, 1);
        assert_non_null(strstr(d.sentence, "closed the connection"));
        end(&d);
    }
}

static void a_tunnel_whose_other_end_has_left_is_none(void **state)
{
    struct dialogue d;
    begin(&d, PROXY_HTTP, SPAN(""));
    says(&d, SPAN("HTTP/1.1 200 OK\r\n\r\n"));
    d.wire.events->on_eof(d.wire.up);
    assert_int_equal(d.opened, 0);
    assert_int_equal(d.failed, 1);
    end(&d);
}

static void a_refusal_counts_although_the_question_is_still_leaving(void **state)
{
    struct dialogue d;
    begin(&d, PROXY_HTTP, SPAN(""));
    says(&d, SPAN("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"));
    d.wire.events->on_eof(d.wire.up);
    assert_int_equal(d.failed, 1);
    assert_non_null(strstr(d.sentence, "407"));
    end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_before_their_questions_wait),
        cmocka_unit_test(who_leaves_is_not_asked_again),
        cmocka_unit_test(a_tunnel_whose_other_end_has_left_is_none),
        cmocka_unit_test(a_refusal_counts_although_the_question_is_still_leaving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
