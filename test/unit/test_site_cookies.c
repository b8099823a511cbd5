/*
 * test/unit/test_site_cookies.c - a site's cookies between requests: taken, sent, written down, and
 * only for adapters that ask for it.
 */
#include "adapters/support.h"
#include "gateway/site_cookies.h"
#include "test/unit/support/cmocka_all.h"

#define NOW INT64_C(1700000000000)

static const struct adapter keeps = {.name = "keeps", .keeps_cookies = true};
static const struct adapter forgets = {.name = "forgets"};

struct bench {
    struct arena arena;
    struct site_settings site;
    struct site_account account;
    struct turn_run run;
    struct fail fail;
    int changes;
};

static void on_changed(struct site_account *account, const char *name)
{
    assert_string_equal(name, HELD_COOKIES);
    ((struct bench *)account->owner)->changes++;
}

static int begin(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    arena_init(&b->arena);
    b->site = (struct site_settings){.name = SPAN("s"),
                                     .origin = SPAN("https://chat.site.example:8443"),
                                     .prefix = SPAN("/base")};
    b->account = (struct site_account){.changed = on_changed, .owner = b};
    b->run = (struct turn_run){.fail = &b->fail,
                               .site = &b->site,
                               .account = &b->account,
                               .arena = &b->arena,
                               .now_ms = NOW};
    *state = b;
    return 0;
}

static int end(void **state)
{
    struct bench *b = *state;
    account_clear(&b->account);
    arena_free(&b->arena);
    free(b);
    return 0;
}

static void answers(struct bench *b, const struct adapter *adapter, const char *a, const char *c)
{
    const struct header headers[] = {{SPAN("Date"), SPAN("x=1")},
                                     {SPAN("set-cookie"), span_str(a)},
                                     {SPAN("Set-Cookie"), span_str(c)}};
    const struct site_head head = {.status = 200, .headers = headers, .n_headers = c ? 3 : 2};
    const struct site_request req = {.method = "GET", .target = SPAN("/api/login?q=/x")};
    site_cookies_take(adapter, &b->run, &req, &head);
}

/* The Cookie header of a request that has `own` already. */
static struct span sends(struct bench *b, const struct adapter *adapter, const char *own)
{
    struct site_request req = {.method = "POST", .target = SPAN("/api/chat")};
    struct span found = span_of(NULL, 0);
    int n = 0;
    if (own)
        site_request_header(&req, SPAN("cookie"), span_str(own));
    assert_int_equal(site_cookies_send(adapter, &b->run, &req), 0);
    for (size_t i = 0; i < req.n_headers; i++, n++) {
        assert_true(span_eq_nocase(req.headers[i].name, SPAN("Cookie")));
        found = req.headers[i].value;
    }
    assert_true(n <= 1);
    return found;
}

static void what_came_is_sent_again(void **state)
{
    struct bench *b = *state;
    assert_null(sends(b, &keeps, NULL).p);
    answers(b, &keeps, "sid=1; Secure", "lang=en; Path=/");
    assert_int_equal(b->changes, 1); /* one write for one answer */
    assert_span_equal(sends(b, &keeps, NULL), SPAN("sid=1; lang=en"));
    answers(b, &keeps, "sid=1; Secure", "lang=en; Path=/");
    assert_int_equal(b->changes, 1); /* nothing new */
    answers(b, &keeps, "sid=2; Secure", NULL);
    assert_int_equal(b->changes, 2);
    assert_span_equal(sends(b, &keeps, NULL), SPAN("sid=2; lang=en"));
}

static void who_keeps_none_is_left_alone(void **state)
{
    struct bench *b = *state;
    answers(b, &forgets, "sid=1", NULL);
    assert_int_equal(b->changes, 0);
    answers(b, &keeps, "sid=1", NULL);
    assert_null(sends(b, &forgets, NULL).p);
    assert_span_equal(sends(b, &forgets, "own=1"), SPAN("own=1"));
}

/* Another host of a site's is not the site: it neither sees its cookies nor sets any. */
static void another_host_gets_none(void **state)
{
    struct bench *b = *state;
    const struct header cookie = {SPAN("Set-Cookie"), SPAN("sid=2")};
    const struct site_head head = {.status = 200, .headers = &cookie, .n_headers = 1};
    struct site_request req = {
        .method = "PUT", .origin = SPAN("https://storage.example"), .target = SPAN("/api/chat")};
    answers(b, &keeps, "sid=1", NULL);
    assert_int_equal(site_cookies_send(&keeps, &b->run, &req), 0);
    assert_int_equal(req.n_headers, 0);
    site_cookies_take(&keeps, &b->run, &req, &head);
    assert_int_equal(b->changes, 1);
    assert_span_equal(sends(b, &keeps, NULL), SPAN("sid=1"));
}

static void a_configured_cookie_stays_until_the_site_renews_it(void **state)
{
    struct bench *b = *state;
    assert_span_equal(sends(b, &keeps, "sid=mine; other=o"), SPAN("sid=mine; other=o"));
    answers(b, &keeps, "sid=new", NULL);
    assert_span_equal(sends(b, &keeps, "sid=mine;other=o; "), SPAN("other=o; sid=new"));
    assert_span_equal(sends(b, &keeps, "sid=mine"), SPAN("sid=new"));
}

static void the_site_is_told_by_its_origin_and_prefix(void **state)
{
    struct bench *b = *state;
    answers(b, &keeps, "a=1; domain=site.example", "b=1; domain=other.example");
    assert_span_equal(account_held(&b->account, HELD_COOKIES, NOW, 0),
                      SPAN("site.example\tTRUE\t/base/api\tFALSE\t0\ta\t1\n"));
    b->site.origin = SPAN("http://api.site.example");
    assert_span_equal(sends(b, &keeps, NULL), SPAN("a=1"));
    b->site.prefix = SPAN("");
    assert_null(sends(b, &keeps, NULL).p);
    b->site.origin = SPAN("http://[::1]:80");
    answers(b, &keeps, "six=1", NULL);
    assert_span_equal(sends(b, &keeps, NULL), SPAN("six=1"));
    b->site.origin = SPAN("https://[::1]");
    assert_span_equal(sends(b, &keeps, NULL), SPAN("six=1"));
}

static void the_last_cookies_end_drops_the_jar(void **state)
{
    struct bench *b = *state;
    answers(b, &keeps, "sid=1; max-age=10", NULL);
    b->run.now_ms = NOW + 10000;
    assert_null(sends(b, &keeps, NULL).p);
    b->run.now_ms = NOW;
    answers(b, &keeps, "sid=; max-age=0", NULL);
    assert_null(b->account.held);
    assert_int_equal(b->changes, 2);
}

static void their_values_are_masked(void **state)
{
    struct bench *b = *state;
    char text[64];
    answers(b, &keeps, "sid=s3cr3t-value", "other=f00-value");
    clean_message(&b->run, text, sizeof text, SPAN("bad s3cr3t-value, bad f00-value"));
    assert_string_equal(text, "bad ***, bad ***");
    struct span rest = SPAN("one-token"), secret;
    assert_true(held_secret(&rest, &secret));
    assert_span_equal(secret, SPAN("one-token"));
    assert_false(held_secret(&rest, &secret));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(what_came_is_sent_again),
        TEST(who_keeps_none_is_left_alone),
        TEST(another_host_gets_none),
        TEST(a_configured_cookie_stays_until_the_site_renews_it),
        TEST(the_site_is_told_by_its_origin_and_prefix),
        TEST(the_last_cookies_end_drops_the_jar),
        TEST(their_values_are_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
