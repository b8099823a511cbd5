/*
 * test/unit/test_cookie_jar.c - RFC 6265 as far as a gateway needs it: what is taken, for how long,
 * where it is sent, and that it survives being written down.
 */
#include "adapters/cookie_jar.h"
#include "test/unit/support/cmocka_all.h"

#define NOW        INT64_C(1700000000000)
#define S(seconds) ((seconds)*INT64_C(1000))

static struct cookie_jar jar;

static int begin(void **state)
{
    jar = (struct cookie_jar){0};
    return 0;
}

static int end(void **state)
{
    cookie_jar_free(&jar);
    return 0;
}

static struct cookie_place at(const char *host, const char *path)
{
    return (struct cookie_place){span_str(host), span_str(path), true};
}

static bool take(const char *set_cookie)
{
    struct cookie_place place = at("chat.site.example", "/api/v1/login?x=/y");
    return cookie_jar_take(&jar, &place, span_str(set_cookie), NOW);
}

static void sent_at(struct cookie_place place, int64_t now_ms, const char *expected)
{
    struct buffer out;
    buffer_init(&out, COOKIE_HEADER_MAX);
    cookie_jar_header(&jar, &place, now_ms, &out);
    assert_int_equal(out.error, 0);
    assert_span_equal(buffer_span(&out), span_str(expected));
    buffer_free(&out);
}

static void sent(const char *expected)
{
    sent_at(at("chat.site.example", "/api/v1/chat"), NOW, expected);
}

static void a_cookie_comes_back(void **state)
{
    assert_true(take("sid=31d4d96e407aad42"));
    sent("sid=31d4d96e407aad42");
    assert_true(take("  lang = en-US ; Path=/; HttpOnly; SameSite=Lax; Priority=High"));
    assert_true(take("quoted=\"a b\"; path=/"));
    assert_true(take("empty=; path=/"));
    sent("sid=31d4d96e407aad42; lang=en-US; quoted=\"a b\"; empty=");
}

static void a_new_value_takes_the_old_ones_place(void **state)
{
    take("a=1; path=/");
    take("b=2; path=/");
    assert_true(take("a=3; path=/"));
    sent("a=3; b=2");
    assert_false(take("a=3; path=/")); /* nothing new */
    assert_true(take("a=3; path=/; secure"));
    assert_int_equal(jar.n, 2);
}

static void what_is_no_cookie_is_not_taken(void **state)
{
    static const char *const odd[] = {"",
                                      ";",
                                      "novalue",
                                      "=v",
                                      " =v",
                                      "a=b\x01",
                                      "a\x7f=b",
                                      "a=b\tc",
                                      "a=b; path=/\x02",
                                      "novalue; path=/",
                                      "; a=b"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        assert_false(take(odd[i]));
    assert_int_equal(jar.n, 0);
}

static void the_domain_must_be_the_sites(void **state)
{
    assert_true(take("a=1; path=/; domain=.Site.Example"));
    assert_true(take("b=2; path=/; domain=chat.site.example"));
    assert_true(take("c=3; path=/; domain="));
    assert_true(take("d=4; path=/; domain=.")); /* no domain is left: as if it were not there */
    assert_false(take("d=4; path=/; domain=other.example"));
    assert_false(take("e=5; path=/; domain=ite.example"));
    assert_false(take("f=6; path=/; domain=a.chat.site.example"));
    sent("a=1; b=2; c=3; d=4");
    sent_at(at("api.site.example", "/"), NOW, "a=1");
    sent_at(at("SITE.example", "/"), NOW, "a=1");
    sent_at(at("x.chat.site.example", "/"), NOW, "a=1; b=2");
    sent_at(at("evilsite.example", "/"), NOW, "");
}

static void an_address_has_no_subdomains(void **state)
{
    struct cookie_place v4 = at("127.0.0.1", "/"), v6 = at("[::1]", "/");
    assert_false(cookie_jar_take(&jar, &v4, SPAN("a=1; domain=0.0.1"), NOW));
    assert_true(cookie_jar_take(&jar, &v4, SPAN("a=1; domain=127.0.0.1"), NOW));
    assert_true(cookie_jar_take(&jar, &v6, SPAN("b=2"), NOW));
    sent_at(v4, NOW, "a=1");
    sent_at(at("1.127.0.0.1", "/"), NOW, "");
    sent_at(at("::1", "/"), NOW, "b=2");
}

static void paths_match_by_whole_segments(void **state)
{
    take("default=1");            /* /api/v1 */
    take("odd=1; path=relative"); /* likewise */
    take("api=1; path=/api");
    take("slash=1; path=/api/");
    take("root=1; path=/");
    sent_at(at("chat.site.example", "/api/v1/x?q"), NOW,
            "default=1; odd=1; slash=1; api=1; root=1");
    sent_at(at("chat.site.example", "/api/v1"), NOW, "default=1; odd=1; slash=1; api=1; root=1");
    sent_at(at("chat.site.example", "/api"), NOW, "api=1; root=1");
    sent_at(at("chat.site.example", "/api/v11"), NOW, "slash=1; api=1; root=1");
    sent_at(at("chat.site.example", "/apis"), NOW, "root=1");
    sent_at(at("chat.site.example", ""), NOW, "root=1");
}

static void the_same_name_may_stand_at_two_paths(void **state)
{
    take("a=outer; path=/");
    take("a=inner; path=/api");
    sent("a=inner; a=outer");
}

static void secure_ones_go_over_https_only(void **state)
{
    struct cookie_place plain = at("chat.site.example", "/");
    plain.secure = false;
    take("a=1; path=/; Secure");
    take("b=2; path=/; secure=anything");
    take("c=3; path=/");
    sent_at(plain, NOW, "c=3");
    sent("a=1; b=2; c=3");
}

static void lives_end_by_the_wall_clock(void **state)
{
    take("age=1; path=/; max-age=10; expires=Wed, 01 Jan 2025 00:00:00 GMT");
    take("date=1; path=/; expires=Tue, 14 Nov 2023 22:13:30 GMT"); /* NOW + 10 s */
    take("session=1; path=/");
    take("broken=1; path=/; expires=some day; max-age=soon");
    take("last=1; path=/; max-age=5; max-age=20");
    sent_at(at("chat.site.example", "/"), NOW + S(10) - 1,
            "age=1; date=1; session=1; broken=1; last=1");
    sent_at(at("chat.site.example", "/"), NOW + S(10), "session=1; broken=1; last=1");
    sent_at(at("chat.site.example", "/"), NOW + S(20), "session=1; broken=1");
}

static void a_past_date_removes(void **state)
{
    static const char *const gone[] = {
        "a=; path=/; max-age=0",
        "a=; path=/; max-age=-1",
        "a=; path=/; expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "a=; path=/; expires=Thu, 01-Jan-1601 00:00:00 GMT",
    };
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        assert_true(take("a=1; path=/"));
        assert_true(take(gone[i]));
        assert_int_equal(jar.n, 0);
        assert_false(take(gone[i]));
    }
}

static void nobody_lives_for_ever(void **state)
{
    int64_t most = NOW + S(COOKIE_LIFE_DAYS_MAX * INT64_C(86400));
    take("a=1; path=/; max-age=99999999999999999999999");
    take("b=1; path=/; expires=Fri, 31 Dec 9999 23:59:59 GMT");
    assert_int_equal(jar.cookies[0].expires_ms, most);
    assert_int_equal(jar.cookies[1].expires_ms, most);
}

static void dates_as_sites_write_them(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds; /* -1: none */
    } rows[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", 784111777},
        {"Sunday, 06-Nov-94 08:49:37 GMT", 784111777},
        {"Sun Nov  6 08:49:37 1994", 784111777},
        {"1994 8:49:37 6 november", 784111777},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
        {"Fri, 01-Jan-38 00:00:01 GMT", 2145916801},
        {"Thu, 30 Feb 2024 00:00:00 GMT", -1},
        {"Wed, 29 Feb 2023 00:00:00 GMT", -1},
        {"06 Nov 1994 24:00:00", -1},
        {"06 Nov 1994 08:60:00", -1},
        {"06 Nov 1994 08:49", -1},
        {"06 Nov 1600 08:49:37", -1},
        {"006 Nov 1994 08:49:37", -1},
        {"Nov 1994 08:49:37", -1},
        {"06 1994 08:49:37", -1},
        {"", -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t seconds = -1;
        assert_int_equal(cookie_date(span_str(rows[i].text), &seconds), rows[i].seconds >= 0);
        assert_int_equal(seconds, rows[i].seconds);
    }
}

static void it_survives_being_written_down(void **state)
{
    struct buffer first, second;
    struct cookie_jar again = {0};
    buffer_init(&first, COOKIE_JAR_TEXT_MAX);
    buffer_init(&second, COOKIE_JAR_TEXT_MAX);
    take("a=1=2; domain=site.example; path=/; secure; max-age=100");
    take("b=");
    take("gone=1; max-age=1");
    cookie_jar_write(&jar, NOW + S(1), &first);
    assert_span_equal(buffer_span(&first),
                      SPAN("site.example\tTRUE\t/\tTRUE\t1700000100\ta\t1=2\n"
                           "chat.site.example\tFALSE\t/api/v1\tFALSE\t0\tb\t\n"));
    cookie_jar_read(&again, buffer_span(&first), NOW);
    cookie_jar_write(&again, NOW, &second);
    assert_span_equal(buffer_span(&second), buffer_span(&first));
    buffer_free(&first);
    buffer_free(&second);
    cookie_jar_free(&again);
}

static void odd_lines_are_skipped(void **state)
{
    cookie_jar_read(&jar,
                    SPAN("# a remark\n\nh\tTRUE\t/\tFALSE\tsoon\tn\tv\nh\tTRUE\t/\tFALSE\t0\tn\n"
                         "h\tTRUE\t/\tFALSE\t0\tn\tv\tx\nh\tTRUE\t/\tFALSE\t0\tn\tv\t\n"
                         "h\tTRUE\tpath\tFALSE\t0\tn\tv\nh\tTRUE\t/\tFALSE\t0\ta;b\tv\n"
                         "h\tTRUE\t/\tFALSE\t1\tn\told\ngood.example\tFALSE\t/\tFALSE\t0\tn\tv"),
                    NOW);
    assert_int_equal(jar.n, 1);
    sent_at(at("good.example", "/"), NOW, "n=v");
}

static void it_is_bounded(void **state)
{
    char text[COOKIE_BYTES_MAX + 64];
    for (int i = 0; i < COOKIES_MAX + 5; i++) {
        snprintf(text, sizeof text, "c%d=%d; path=/%s", i, i, i == 30 ? "; max-age=5" : "");
        assert_true(take(text));
    }
    assert_int_equal(jar.n, COOKIES_MAX);
    assert_span_equal(jar.cookies[0].name, SPAN("c5"));
    /* an expired one goes first */
    struct cookie_place place = at("chat.site.example", "/");
    assert_true(cookie_jar_take(&jar, &place, SPAN("late=1"), NOW + S(6)));
    assert_span_equal(jar.cookies[0].name, SPAN("c5"));
    assert_int_equal(jar.n, COOKIES_MAX);

    memset(text, 'x', sizeof text);
    memcpy(text, "big=", 4);
    text[COOKIE_BYTES_MAX + 4] = '\0';
    assert_false(take(text));
    /* name, value, "chat.site.example" and "/api/v1" */
    text[COOKIE_BYTES_MAX - 17 - 7 + 1] = '\0';
    assert_true(take(text));
}

static void a_header_is_bounded(void **state)
{
    char text[4000];
    struct buffer out;
    struct cookie_place place = at("chat.site.example", "/api/v1/x");
    for (int i = 0; i < 6; i++) {
        memset(text, 'x', sizeof text);
        text[0] = (char)('a' + i);
        text[1] = '=';
        text[i == 5 ? 3 : 3900] = '\0';
        assert_true(take(text));
    }
    buffer_init(&out, COOKIE_HEADER_MAX);
    cookie_jar_header(&jar, &place, NOW, &out);
    assert_int_equal(out.error, 0);
    assert_true(out.n > 4 * 3900 && out.n <= COOKIE_HEADER_MAX);
    assert_true(span_ends(buffer_span(&out), SPAN("; f=x"))); /* what is small still fits */
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(a_cookie_comes_back),
        TEST(a_new_value_takes_the_old_ones_place),
        TEST(what_is_no_cookie_is_not_taken),
        TEST(the_domain_must_be_the_sites),
        TEST(an_address_has_no_subdomains),
        TEST(paths_match_by_whole_segments),
        TEST(the_same_name_may_stand_at_two_paths),
        TEST(secure_ones_go_over_https_only),
        TEST(lives_end_by_the_wall_clock),
        TEST(a_past_date_removes),
        TEST(nobody_lives_for_ever),
        TEST(dates_as_sites_write_them),
        TEST(it_survives_being_written_down),
        TEST(odd_lines_are_skipped),
        TEST(it_is_bounded),
        TEST(a_header_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
