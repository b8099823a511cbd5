/*
 * test/unit/test_adapter_support.c - what several adapters share: encodings against published
 * values, prompts, multipart bodies.
 */
#include "adapters/support.h"
#include "test/unit/support/cmocka_all.h"
#include "test/unit/support/fixture.h"
#include "test/unit/support/transcript.h"

/* ---- codecs ---- */

static void all_ones(void *owner, void *bytes, size_t n) { memset(bytes, 0xFF, n); }

static void a_uuid_is_of_version_4(void **state)
{
    unsigned char next = 0;
    struct turn_run run = {
        .fail = &(struct fail){0}, .arena = &test_arena, .random = count_up, .random_owner = &next};
    assert_span_equal(make_uuid(&run), SPAN("00010203-0405-4607-8809-0a0b0c0d0e0f"));
    assert_span_equal(make_uuid(&run), SPAN("10111213-1415-4617-9819-1a1b1c1d1e1f"));
    run.random = all_ones;
    assert_span_equal(make_uuid(&run), SPAN("ffffffff-ffff-4fff-bfff-ffffffffffff"));
}

/* RFC 4231, cases 1, 2 and 6 (a key longer than a block); an empty key and text. */
static void hmac(void **state)
{
    char key[131];
    memset(key, 0x0b, 20);
    assert_span_equal(hmac_sha256_hex(&test_arena, span_of(key, 20), SPAN("Hi There")),
                      SPAN("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
    assert_span_equal(
        hmac_sha256_hex(&test_arena, SPAN("Jefe"), SPAN("what do ya want for nothing?")),
        SPAN("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    memset(key, 0xaa, sizeof key);
    assert_span_equal(hmac_sha256_hex(&test_arena, span_of(key, sizeof key),
                                      SPAN("Test Using Larger Than Block-Size Key - "
                                           "Hash Key First")),
                      SPAN("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
    assert_span_equal(hmac_sha256_hex(&test_arena, span_of(NULL, 0), span_of(NULL, 0)),
                      SPAN("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"));
}

/* RFC 4648, section 10, and the ways in which it is written in the wild. */
static void base64(void **state)
{
    static const struct {
        struct span bytes, text;
    } rows[] = {
        {SPAN_INIT(""), SPAN_INIT("")},
        {SPAN_INIT("f"), SPAN_INIT("Zg==")},
        {SPAN_INIT("fo"), SPAN_INIT("Zm8=")},
        {SPAN_INIT("foo"), SPAN_INIT("Zm9v")},
        {SPAN_INIT("foob"), SPAN_INIT("Zm9vYg==")},
        {SPAN_INIT("fooba"), SPAN_INIT("Zm9vYmE=")},
        {SPAN_INIT("foobar"), SPAN_INIT("Zm9vYmFy")},
        {SPAN_INIT("\0\xff\xfe\x80"), SPAN_INIT("AP/+gA==")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct span bare = rows[i].text;
        assert_span_equal(base64_encode(&test_arena, rows[i].bytes), rows[i].text);
        assert_span_equal(base64_decode(&test_arena, rows[i].text), rows[i].bytes);
        assert_non_null(base64_decode(&test_arena, rows[i].text).p); /* nothing is no failure */
        while (span_ends(bare, SPAN("=")))
            bare.n--;
        assert_span_equal(base64_decode(&test_arena, bare), rows[i].bytes);
    }
    assert_span_equal(base64_decode(&test_arena, SPAN("AP_-gA")), SPAN("\0\xff\xfe\x80"));
    assert_span_equal(base64_decode(&test_arena, SPAN(" Zm\r\n9v\tYg = =\n")), SPAN("foob"));
    static const char *const bad[] = {"Z", "Zm9vY", "Zm9v!", "Zg==Zg==", "=Zg", "Zg===", "Zm\xC3"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(base64_decode(&test_arena, span_str(bad[i])).p);
}

static void payload_of_a_jwt(void **state)
{
    assert_span_equal(jwt_payload(&test_arena, SPAN("eyJhIjoxfQ.eyJpZCI6InUtMSJ9.c2ln")),
                      SPAN("{\"id\":\"u-1\"}"));
    assert_span_equal(jwt_payload(&test_arena, SPAN("eyJhIjoxfQ.eyJpZCI6InUtMSJ9.")),
                      SPAN("{\"id\":\"u-1\"}"));
    static const char *const bad[] = {"",        "opaque", "a.b",      "a..c",
                                      "a.b.c.d", "a.!!.c", "a.Zm9v.c", "."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(jwt_payload(&test_arena, span_str(bad[i])).p);
}

static void percent(void **state)
{
    struct buffer out;
    buffer_init(&out, 64);
    assert_int_equal(percent_encode(&out, SPAN("aZ09-._~ /?&=%+\xe4\xbd\xa0")), 0);
    assert_span_equal(buffer_span(&out), SPAN("aZ09-._~%20%2F%3F%26%3D%25%2B%E4%BD%A0"));
    for (int i = 0; i < 64; i++)
        percent_encode(&out, SPAN("/"));
    assert_int_equal(percent_encode(&out, SPAN("/")), BUFFER_FULL);
    buffer_free(&out);
}

static void dates(void **state)
{
    assert_span_equal(format_utc(&test_arena, INT64_C(1760000000999), "%Y-%m-%d %H:%M:%S"),
                      SPAN("2025-10-09 08:53:20"));
    assert_span_equal(format_utc(&test_arena, 0, "%A"), SPAN("Thursday"));
}

/* ---- prompts ---- */

static struct span flattened(const char *messages)
{
    struct span body = arena_printf(&test_arena, "{\"model\":\"m\",\"messages\":[%s]}", messages);
    const struct turn *turn = transcript_turn(&test_arena, body.p);
    return flatten_messages(&test_arena, turn->messages, turn->n_messages);
}

#define USER(text)      "{\"role\":\"user\",\"content\":\"" text "\"}"
#define ASSISTANT(text) "{\"role\":\"assistant\",\"content\":\"" text "\"}"

static void a_single_user_turn_is_its_text(void **state)
{
    assert_span_equal(flattened(USER("  as\\nit is ")), SPAN("  as\nit is "));
    assert_span_equal(flattened("{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
                                "\"one\"},{\"type\":\"text\",\"text\":\"two\"}]}"),
                      SPAN("one\ntwo"));
}

static void turns_stand_in_their_places(void **state)
{
    assert_span_equal(
        flattened("{\"role\":\"system\",\"content\":\"S\"}," USER("a\\nb") "," ASSISTANT(
            "c") ","
                 "{\"role\":\"developer\",\"content\":\"D\"}," USER("")),
        SPAN("system: S\nuser: a\nb\nassistant: c\nsystem: D\nuser: "));
    /* a prefill ends the text: nothing behind it */
    assert_span_equal(flattened(USER("Count") "," ASSISTANT("One, ")),
                      SPAN("user: Count\nassistant: One, "));
    assert_span_equal(flattened("{\"role\":\"system\",\"content\":\"only\"}"),
                      SPAN("system: only"));
}

static void names_are_kept(void **state)
{
    assert_span_equal(flattened("{\"role\":\"user\",\"name\":\"Ann\",\"content\":\"hi\"},"
                                "{\"role\":\"assistant\",\"name\":\"Bot\",\"content\":\"yes\"}"),
                      SPAN("user (Ann): hi\nassistant (Bot): yes"));
    assert_span_equal(flattened("{\"role\":\"user\",\"name\":\"Ann\",\"content\":\"hi\"}"),
                      SPAN("user (Ann): hi"));
}

static void calls_and_results_are_written(void **state)
{
    assert_span_equal(
        flattened(USER(
            "weather?") ",{\"role\":\"assistant\",\"content\":\"I look.\","
                        "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":"
                        "{\"name\":\"get\",\"arguments\":\"{\\\"q\\\":\\\"x\\\\ny\\\"}\"}},"
                        "{\"id\":\"c2\",\"type\":\"function\",\"function\":{\"name\":\"put\","
                        "\"arguments\":\"\"}}]},"
                        "{\"role\":\"tool\",\"tool_call_id\":\"c2\",\"content\":\"done\"},"
                        "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"name\":\"own\",\"content\":"
                        "\"\"},"
                        "{\"role\":\"tool\",\"tool_call_id\":\"a\\\"b<&>\",\"content\":\"odd\"}"),
        SPAN("user: weather?\n"
             "assistant: I look.\n"
             "<tool_call>{\"name\": \"get\", \"arguments\": {\"q\":\"x\\ny\"}, \"id\": "
             "\"c1\"}</tool_call>\n"
             "<tool_call>{\"name\": \"put\", \"arguments\": {}, \"id\": \"c2\"}</tool_call>\n"
             "tool: <tool_result id=\"c2\" name=\"put\">done</tool_result>\n"
             "tool: <tool_result id=\"c1\" name=\"own\"></tool_result>\n"
             "tool: <tool_result id=\"a&quot;b&lt;&amp;&gt;\">odd</tool_result>"));
    /* a call without text has no empty line before it */
    assert_span_equal(flattened("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":"
                                "\"c\",\"type\":\"function\",\"function\":{\"name\":\"f\","
                                "\"arguments\":\"{}\"}}]}"),
                      SPAN("assistant: <tool_call>{\"name\": \"f\", \"arguments\": {}, "
                           "\"id\": \"c\"}</tool_call>"));
}

static void a_single_text_is_not_copied(void **state)
{
    struct part part = {.kind = PART_TEXT, .text = SPAN("text")};
    struct message m = {.role = ROLE_USER, .parts = &part, .n_parts = 1};
    assert_ptr_equal(message_text(&test_arena, &m).p, part.text.p);
    m.n_parts = 0;
    assert_non_null(message_text(&test_arena, &m).p);
    assert_int_equal(message_text(&test_arena, &m).n, 0);
}

/* ---- multipart ---- */

static void a_multipart_body(void **state)
{
    struct buffer out;
    struct multipart form = {&out, SPAN("B-1")};
    buffer_init(&out, 4096);
    assert_int_equal(multipart_file(&form, SPAN("file"), SPAN("a\"b\r\nc.png"), SPAN("image/png"),
                                    SPAN("\0bytes\xff")),
                     0);
    assert_int_equal(multipart_end(&form), 0);
    assert_span_equal(buffer_span(&out),
                      SPAN("--B-1\r\nContent-Disposition: form-data; name=\"file\"; "
                           "filename=\"a%22b%0D%0Ac.png\"\r\nContent-Type: image/png\r\n\r\n"
                           "\0bytes\xff\r\n--B-1--\r\n"));
    assert_span_equal(multipart_type(&test_arena, &form),
                      SPAN("multipart/form-data; boundary=B-1"));
    buffer_free(&out);
    buffer_init(&out, 16);
    assert_int_equal(multipart_file(&form, SPAN("f"), SPAN("n"), SPAN("t"), SPAN("b")),
                     BUFFER_FULL);
    buffer_free(&out);
}

/* ---- tokens that end ---- */

#define NOW INT64_C(1700000000000)

struct token_bench {
    struct site_account account;
    struct turn_run run;
    struct fail fail;
};

static struct token_bench *token_begin(void)
{
    struct token_bench *b = calloc(1, sizeof *b);
    assert_non_null(b);
    static const struct site_settings site = {.name = SPAN_INIT("s")};
    b->run = (struct turn_run){.fail = &b->fail,
                               .site = &site,
                               .account = &b->account,
                               .arena = &test_arena,
                               .json = json_parser_create(1 << 16),
                               .now_ms = NOW};
    assert_non_null(b->run.json);
    return b;
}

static void token_end(struct token_bench *b)
{
    account_clear(&b->account);
    json_parser_destroy(b->run.json);
    free(b);
}

static struct span jwt(const char *payload)
{
    struct span middle = base64_encode(&test_arena, span_str(payload));
    return arena_printf(&test_arena, "e30.%.*s.c2ln", SPAN_ARGS(middle));
}

static void the_end_of_a_jwt(void **state)
{
    static const struct {
        const char *payload;
        int64_t end;
    } rows[] = {
        {"{\"exp\":1700000100}", INT64_C(1700000100000)},
        {"{\"iat\":1,\"exp\":1}", 1000},
        {"{\"exp\":\"1700000100\"}", 0},
        {"{\"exp\":0}", 0},
        {"{\"exp\":-5}", 0},
        {"{\"exp\":9223372036854775807}", 0},
        {"{\"iat\":1}", 0},
        {"{\"exp\":1700000100", 0},
        {"[1]", 0},
    };
    struct token_bench *b = token_begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(jwt_expires_ms(&b->run, jwt(rows[i].payload)), rows[i].end);
    assert_int_equal(jwt_expires_ms(&b->run, SPAN("no jwt")), 0);
    token_end(b);
}

static void a_token_is_renewed_a_minute_before_its_end(void **state)
{
    struct token_bench *b = token_begin();
    struct token_use use = {0};
    account_hold(&b->account, "t", SPAN("one"), NOW + REFRESH_MARGIN_MS + 1);
    assert_int_equal(token_use_next(&b->run, &use, "t"), 0);
    assert_span_equal(use.value, SPAN("one"));
    b->run.now_ms++; /* the same try goes on with it */
    assert_int_equal(token_use_next(&b->run, &use, "t"), 0);
    use = (struct token_use){0}; /* the next one does not begin with it */
    assert_int_equal(token_use_next(&b->run, &use, "t"), 1);
    assert_int_equal(token_use_obtained(&b->run, &use, "t", jwt("{\"exp\":1700000030}"), 0), 0);
    assert_int_equal(b->account.held->expires_ms, INT64_C(1700000030000));
    assert_int_equal(token_use_next(&b->run, &use, "t"), 0);
    assert_span_equal(use.value, span_str(b->account.held->value));
    token_end(b);
}

static void a_refused_token_is_renewed_once(void **state)
{
    struct token_bench *b = token_begin();
    struct token_use use = {0};
    account_hold(&b->account, "t", SPAN("one"), 0);
    assert_int_equal(token_use_next(&b->run, &use, "t"), 0);
    assert_true(token_use_refused(&b->run, &use, "t"));
    assert_null(b->account.held); /* nobody sends it again */
    assert_int_equal(token_use_next(&b->run, &use, "t"), 1);
    assert_int_equal(token_use_obtained(&b->run, &use, "t", SPAN("two"), 0), 0);
    assert_int_equal(b->account.held->expires_ms, 0);
    assert_int_equal(token_use_next(&b->run, &use, "t"), 0);
    assert_false(token_use_refused(&b->run, &use, "t"));
    assert_null(b->account.held);
    token_end(b);
}

static void what_a_try_has_just_obtained_is_not_renewed_when_it_is_refused(void **state)
{
    struct token_bench *b = token_begin();
    struct token_use use = {0};
    assert_int_equal(token_use_next(&b->run, &use, "t"), 1);
    assert_int_equal(token_use_obtained(&b->run, &use, "t", SPAN("one"), 0), 0);
    assert_false(token_use_refused(&b->run, &use, "t"));
    token_end(b);
}

static void a_token_that_no_header_can_carry_is_not_held(void **state)
{
    struct token_bench *b = token_begin();
    struct token_use use = {0};
    static char long_one[8193];
    memset(long_one, 'a', sizeof long_one);
    b->run.site = &(const struct site_settings){.name = SPAN("s")};
    const struct span bad[] = {SPAN(""),
                               SPAN("a\r\nX: b"),
                               SPAN("a b"),
                               SPAN("a\0b"),
                               SPAN("a\x7F"),
                               SPAN("ü"),
                               span_of(long_one, sizeof long_one)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(token_use_obtained(&b->run, &use, "t", bad[i], 0), -1);
        assert_int_equal(b->run.fail->kind, FAIL_PROTOCOL);
        assert_null(b->account.held);
    }
    assert_true(token_can_be_sent(span_of(long_one, sizeof long_one - 1)));
    token_end(b);
}

static void what_another_try_obtained_meanwhile_is_used(void **state)
{
    struct token_bench *b = token_begin();
    struct token_use use = {0};
    account_hold(&b->account, "t", SPAN("one"), 0);
    assert_int_equal(token_use_next(&b->run, &use, "t"), 0);
    account_hold(&b->account, "t", SPAN("two"), 0);
    assert_true(token_use_refused(&b->run, &use, "t"));
    assert_int_equal(token_use_next(&b->run, &use, "t"), 0);
    assert_span_equal(use.value, SPAN("two"));
    assert_false(token_use_refused(&b->run, &use, "t"));
    token_end(b);
}

static void a_rotated_credential_comes_before_the_configured_one(void **state)
{
    const struct credential configured = {SPAN("refresh_token"), SPAN("r1")};
    struct site_account account = {.credentials = &configured, .n_credentials = 1};
    assert_span_equal(account_newest(&account, "refresh_token"), SPAN("r1"));
    account_hold(&account, "refresh_token", SPAN("r2"), 1);
    assert_span_equal(account_newest(&account, "refresh_token"), SPAN("r2"));
    assert_null(account_newest(&account, "other").p);
    account_clear(&account);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, arena_begin, arena_end)
        TEST(a_uuid_is_of_version_4),
        TEST(hmac),
        TEST(base64),
        TEST(payload_of_a_jwt),
        TEST(percent),
        TEST(dates),
        TEST(a_single_user_turn_is_its_text),
        TEST(turns_stand_in_their_places),
        TEST(names_are_kept),
        TEST(calls_and_results_are_written),
        TEST(a_single_text_is_not_copied),
        TEST(a_multipart_body),
        TEST(the_end_of_a_jwt),
        TEST(a_token_is_renewed_a_minute_before_its_end),
        TEST(a_refused_token_is_renewed_once),
        TEST(a_token_that_no_header_can_carry_is_not_held),
        TEST(what_a_try_has_just_obtained_is_not_renewed_when_it_is_refused),
        TEST(what_another_try_obtained_meanwhile_is_used),
        TEST(a_rotated_credential_comes_before_the_configured_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
