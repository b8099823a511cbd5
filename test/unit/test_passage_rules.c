/*
 * test_passage_rules.c - what a route lets through, cuts out and covers: every promise of
 * gateway/passage_rules.h and every row of the dossier's lists (sites/passthrough.md §2).
 */
#include "gateway/passage_rules.h"
#include "support/cmocka_all.h"

static void expect_span(struct span got, const char *want)
{
    if (!span_eq(got, span_str(want)))
        fail_msg("got \"%.*s\" instead of \"%s\"", SPAN_ARGS(got), want);
}

/* ---- targets ---- */

static void prefixes_match_whole_segments(void **state)
{
    static const struct {
        const char *target;
        enum passage_match match;
    } rows[] = {
        {"/gemini", PASSAGE_MATCH},           {"/gemini/", PASSAGE_MATCH},
        {"/gemini?x", PASSAGE_MATCH},         {"/gemini/v1beta/models?key=1", PASSAGE_MATCH},
        {"/geminix", PASSAGE_NO_MATCH},       {"/gemin", PASSAGE_NO_MATCH},
        {"/GEMINI/x", PASSAGE_NO_MATCH},      {"/x?/gemini/", PASSAGE_NO_MATCH},
        {"//gemini/x", PASSAGE_NO_MATCH},     {"http://h/gemini/x", PASSAGE_NO_MATCH},
        {"/gemini@evil/", PASSAGE_AMBIGUOUS}, {"/gemini:80/", PASSAGE_AMBIGUOUS},
        {"/gemini\\evil", PASSAGE_AMBIGUOUS}, {"/gemini%2fevil", PASSAGE_AMBIGUOUS},
        {"/gemini;x/", PASSAGE_AMBIGUOUS},    {"/gemini#x", PASSAGE_AMBIGUOUS},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (passage_match(span_str(rows[i].target), SPAN("/gemini")) != rows[i].match)
            fail_msg("%s", rows[i].target);
    }
}

static void plain_targets_pass(void **state)
{
    static const char *const good[] = {"/r",
                                       "/r/",
                                       "/r/v1/models",
                                       "/r/v1/models/",
                                       "/r/a%20b/%C3%A9",
                                       "/r/a..b/.hidden/...",
                                       "/r/v1beta/models/m:generateContent?alt=sse&x=%2F..//@\\",
                                       "/r/models/claude@20250514:rawPredict",
                                       "/r/x;y=1",
                                       "/r/~u/a,b!$&'()*+=",
                                       "/r?x",
                                       "/r/x?"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const char *wrong = passage_check_target(span_str(good[i]), SPAN("/r"));
        if (wrong)
            fail_msg("%s: %s", good[i], wrong);
    }
    assert_null(passage_check_target(SPAN("/"), SPAN("")));
    assert_null(passage_check_target(SPAN("/v1/x@y"), SPAN("")));
}

static void everything_ambiguous_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "r",
                                      "*",
                                      "http://h/r/x",
                                      "https://h/r",
                                      "h:443",
                                      "//evil/r",
                                      "/r//evil",
                                      "/r//",
                                      "/r/x//",
                                      "/r/./x",
                                      "/r/../x",
                                      "/r/..",
                                      "/r/.",
                                      "/../r",
                                      "/r/..;/x",
                                      "/r/.;a/x",
                                      "/r/%2e",
                                      "/r/%2E%2e/x",
                                      "/r/a%2eb",
                                      "/r/%2fevil",
                                      "/r/a%2Fb",
                                      "/r/%5cevil",
                                      "/r/%5C",
                                      "/r/\\evil",
                                      "/r\\x",
                                      "/r/%00",
                                      "/r/%0d%0aX",
                                      "/r/%7f",
                                      "/r/%1F",
                                      "/r/%",
                                      "/r/%a",
                                      "/r/%zz",
                                      "/r/%%2e",
                                      "/r/x#y",
                                      "/r?x#y",
                                      "/r/@evil",
                                      "/r/user:pw@evil/x",
                                      "/r/@"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (!passage_check_target(span_str(bad[i]), SPAN("/r")))
            fail_msg("%s passes", bad[i]);
    }
    assert_non_null(passage_check_target(SPAN("/@evil/x"), SPAN("")));
}

static void prefixes_go_and_versions_are_said_once(void **state)
{
    static const struct {
        const char *path, *strip, *base, *want;
    } rows[] = {
        {"/openai/v1/models", "/openai", "", "/v1/models"},
        {"/openai/v1/models", "", "", "/openai/v1/models"},
        {"/openai", "/openai", "", "/"},
        {"/openai/", "/openai", "", "/"},
        {"/r/v1/chat", "/r", "/v1", "/chat"},
        {"/r/chat", "/r", "/v1", "/chat"},
        {"/r/v1", "/r", "/api/v1", "/"},
        {"/r/v1beta/x", "/r", "/v1", "/v1beta/x"},
        {"/r/v1/x", "/r", "/v1beta", "/v1/x"},
        {"/r/v1beta/x", "/r", "/p/v1beta", "/x"},
        {"/r/api/x", "/r", "/api", "/api/x"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        expect_span(
            passage_rest(span_str(rows[i].path), span_str(rows[i].strip), span_str(rows[i].base)),
            rows[i].want);
}

/* ---- queries ---- */

static void pairs_are_found_and_decoded(void **state)
{
    struct arena arena;
    arena_init(&arena);
    struct span query = SPAN("a=1&k%65y=x%2B+y&key=second&none&=odd");
    expect_span(passage_query_get(&arena, query, SPAN("key")), "x+ y");
    expect_span(passage_query_get(&arena, query, SPAN("a")), "1");
    expect_span(passage_query_get(&arena, query, SPAN("none")), "");
    assert_null(passage_query_get(&arena, query, SPAN("ke")).p);
    assert_null(passage_query_get(&arena, query, SPAN("keyy")).p);
    assert_null(passage_query_get(&arena, span_of(NULL, 0), SPAN("key")).p);
    expect_span(passage_query_get(&arena, SPAN("key=%4"), SPAN("key")), "%4");
    arena_free(&arena);
}

static void expect_without(const char *query, const char *want)
{
    struct buffer out;
    buffer_init(&out, 1024);
    passage_query_without(&out, span_str(query), SPAN("key"));
    expect_span(buffer_span(&out), want);
    buffer_free(&out);
}

static void pairs_are_cut_out_and_nothing_else_moves(void **state)
{
    expect_without("alt=sse&key=K", "alt=sse");
    expect_without("key=K&alt=sse", "alt=sse");
    expect_without("a=1&key=K&b=2", "a=1&b=2");
    expect_without("key=K", "");
    expect_without("key", "");
    expect_without("key=1&key=2&KEY=3", "KEY=3");
    expect_without("k%65y=K&x=%2F%7e&&y=+", "x=%2F%7e&&y=+");
    expect_without("x=key=K&monkey=1", "x=key=K&monkey=1");
    expect_without("a&", "a&");
}

static void added_pairs_are_encoded(void **state)
{
    struct buffer out;
    buffer_init(&out, 1024);
    passage_query_add(&out, true, SPAN("key"), SPAN("a b&c=\xC3\xA9#~"));
    passage_query_add(&out, false, SPAN("x"), SPAN(""));
    expect_span(buffer_span(&out), "key=a%20b%26c%3D%C3%A9%23~&x=");
    buffer_free(&out);
}

/* ---- headers ---- */

static void requests_keep_what_the_service_reads(void **state)
{
    static const char *const up[] = {"Content-Type",
                                     "Accept",
                                     "User-Agent",
                                     "anthropic-version",
                                     "anthropic-beta",
                                     "OpenAI-Beta",
                                     "OpenAI-Organization",
                                     "OpenAI-Project",
                                     "x-goog-api-client",
                                     "x-goog-upload-command",
                                     "x-goog-upload-header-content-length",
                                     "Idempotency-Key",
                                     "x-stainless-retry-count",
                                     "Range",
                                     "Content-Encoding",
                                     "X-Title"};
    static const char *const here[] = {"Host",
                                       "Connection",
                                       "Keep-Alive",
                                       "Proxy-Authorization",
                                       "proxy-connection",
                                       "TE",
                                       "Trailer",
                                       "Transfer-Encoding",
                                       "Upgrade",
                                       "Cookie",
                                       "Origin",
                                       "Referer",
                                       "Sec-Fetch-Mode",
                                       "sec-ch-ua",
                                       "X-Forwarded-For",
                                       "x-forwarded-proto",
                                       "Forwarded",
                                       "CF-Connecting-IP",
                                       "cf-ray",
                                       "X-Real-IP",
                                       "Authorization",
                                       "x-api-key",
                                       "api-key",
                                       "X-Goog-Api-Key",
                                       "Expect",
                                       "Accept-Encoding",
                                       "Content-Length",
                                       "Via",
                                       "HTTP2-Settings",
                                       "True-Client-IP",
                                       "X-Client-IP",
                                       "Access-Control-Request-Method"};
    for (size_t i = 0; i < sizeof up / sizeof *up; i++)
        assert_true(passage_goes_up(span_str(up[i])));
    for (size_t i = 0; i < sizeof here / sizeof *here; i++) {
        if (passage_goes_up(span_str(here[i])))
            fail_msg("%s goes up", here[i]);
    }
}

static void answers_keep_what_the_client_reads(void **state)
{
    static const char *const down[] = {"content-type",
                                       "request-id",
                                       "x-request-id",
                                       "retry-after",
                                       "retry-after-ms",
                                       "x-should-retry",
                                       "anthropic-ratelimit-tokens-limit",
                                       "openai-processing-ms",
                                       "x-ratelimit-limit-requests",
                                       "x-goog-upload-url",
                                       "Location",
                                       "Content-Encoding",
                                       "Vary"};
    static const char *const here[] = {"Connection",
                                       "Keep-Alive",
                                       "Proxy-Authenticate",
                                       "TE",
                                       "Trailer",
                                       "Transfer-Encoding",
                                       "Upgrade",
                                       "Set-Cookie",
                                       "set-cookie2",
                                       "Access-Control-Allow-Origin",
                                       "access-control-expose-headers",
                                       "Alt-Svc",
                                       "Strict-Transport-Security",
                                       "Content-Length",
                                       "Date"};
    for (size_t i = 0; i < sizeof down / sizeof *down; i++)
        assert_true(passage_goes_down(span_str(down[i])));
    for (size_t i = 0; i < sizeof here / sizeof *here; i++) {
        if (passage_goes_down(span_str(here[i])))
            fail_msg("%s goes down", here[i]);
    }
}

static void passwords_are_not_asked_for_in_our_name(void **state)
{
    const struct span name = SPAN("WWW-Authenticate");
    assert_true(passage_asks_person(name, SPAN("Basic realm=\"x\"")));
    assert_true(passage_asks_person(name, SPAN("Bearer, bASIC realm=\"x\"")));
    assert_true(passage_asks_person(name, SPAN("Negotiate")));
    assert_true(passage_asks_person(name, SPAN("NTLM")));
    assert_true(passage_asks_person(name, SPAN("digest nonce=\"x\"")));
    assert_false(passage_asks_person(name, SPAN("Bearer realm=\"x\"")));
    assert_false(passage_asks_person(SPAN("X-Note"), SPAN("Basic")));
}

static void what_connection_names_is_known(void **state)
{
    const struct header list[] = {{SPAN_INIT("connection"), SPAN_INIT("close, X-One")},
                                  {SPAN_INIT("X-Two"), SPAN_INIT("x-three")},
                                  {SPAN_INIT("CONNECTION"), SPAN_INIT(" x-four ,,")}};
    assert_true(passage_is_named(list, 3, SPAN("x-one")));
    assert_true(passage_is_named(list, 3, SPAN("X-Four")));
    assert_false(passage_is_named(list, 3, SPAN("x-two")));
    assert_false(passage_is_named(list, 3, SPAN("x-three")));
}

/* ---- the key on its way back ---- */

/* Fed in pieces of n bytes; what left. */
static void mask_in_pieces(struct buffer *out, const char *text, const char *secret, size_t n)
{
    static struct passage_mask mask;
    struct buffer room;
    struct span rest = span_str(text);
    buffer_init(&room, 1 << 20);
    passage_mask_init(&mask, span_str(secret));
    while (rest.n) {
        buffer_append(out, passage_mask_feed(&mask, span_first(rest, n), &room));
        rest = span_from(rest, span_first(rest, n).n);
    }
    buffer_append(out, passage_mask_end(&mask));
    buffer_free(&room);
}

static void expect_masked(const char *text, const char *secret, const char *want)
{
    for (size_t n = 1; n <= strlen(text) + 1; n++) {
        struct buffer out;
        buffer_init(&out, 1 << 20);
        mask_in_pieces(&out, text, secret, n);
        expect_span(buffer_span(&out), want);
        buffer_free(&out);
    }
}

static void a_secret_is_covered_at_every_split(void **state)
{
    expect_masked("a secret-1 b", "secret-1", "a ******** b");
    expect_masked("secret-1secret-1", "secret-1", "****************");
    expect_masked("secret-secret-1", "secret-1", "secret-********");
    expect_masked("aaaaaaaab", "aaaaaaaa", "********b");
    expect_masked("aaaaaaaaaaaa", "aaaaaaaa", "********aaaa");
    expect_masked("abababababab-abababab", "abababab", "********abab-********");
    expect_masked("secret-", "secret-1", "secret-");
    expect_masked("Secret-1 secret_1", "secret-1", "Secret-1 secret_1");
    expect_masked("short", "or", "short"); /* too short to be looked for */
    expect_masked("nothing", "", "nothing");
}

static void pieces_without_it_are_not_copied(void **state)
{
    static struct passage_mask mask;
    struct buffer room;
    buffer_init(&room, 1024);
    passage_mask_init(&mask, SPAN("secret-1"));
    struct span piece = SPAN("data: {}\n\n"), out = passage_mask_feed(&mask, piece, &room);
    assert_ptr_equal(out.p, piece.p);
    assert_int_equal(out.n, piece.n);
    piece = SPAN("data: sec"); /* its tail waits, the rest does not */
    out = passage_mask_feed(&mask, piece, &room);
    assert_ptr_equal(out.p, piece.p);
    expect_span(out, "data: ");
    assert_null(room.p);
    expect_span(passage_mask_end(&mask), "sec");
    buffer_free(&room);
}

static void texts_are_masked_whole(void **state)
{
    struct arena arena;
    arena_init(&arena);
    struct span text = SPAN("https://x/?key=secret-1&a=secret-1");
    expect_span(passage_mask_text(&arena, text, SPAN("secret-1")), "https://x/?key=***&a=***");
    assert_ptr_equal(passage_mask_text(&arena, text, SPAN("other-one")).p, text.p);
    assert_ptr_equal(passage_mask_text(&arena, text, SPAN("x")).p, text.p);
    assert_ptr_equal(passage_mask_text(&arena, text, SPAN("")).p, text.p);
    arena_free(&arena);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(prefixes_match_whole_segments),
        TEST(plain_targets_pass),
        TEST(everything_ambiguous_is_refused),
        TEST(prefixes_go_and_versions_are_said_once),
        TEST(pairs_are_found_and_decoded),
        TEST(pairs_are_cut_out_and_nothing_else_moves),
        TEST(added_pairs_are_encoded),
        TEST(requests_keep_what_the_service_reads),
        TEST(answers_keep_what_the_client_reads),
        TEST(passwords_are_not_asked_for_in_our_name),
        TEST(what_connection_names_is_known),
        TEST(a_secret_is_covered_at_every_split),
        TEST(pieces_without_it_are_not_copied),
        TEST(texts_are_masked_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
