/*
 * test_cidr.c - every promise of gateway/cidr.h.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/cidr.h"

static struct ip_address ip(const char *text)
{
    struct ip_address address;
    assert_true(ip_parse(span_str(text), &address));
    assert_true(address.known);
    return address;
}

static bool parses(const char *text)
{
    struct cidr range;
    return cidr_parse(span_str(text), &range);
}

static bool has(const char *range_text, const char *address_text)
{
    struct cidr range;
    struct ip_address address = ip(address_text);
    assert_true(cidr_parse(span_str(range_text), &range));
    return cidr_has(&range, &address);
}

static void addresses_are_read_in_both_families(void **state)
{
    static const char *const good[] = {
        "0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1", "2001:db8::1", "::ffff:1.2.3.4"};
    static const char *const bad[] = {
        "",           "1.2.3", "1.2.3.4.5", "256.1.1.1",        "01.2.3.4",
        "1.2.3.4 ",   "[::1]", "::1%eth0",  "12345::1",         "localhost",
        "1.2.3.4:80", ":",     "0x7f.1",    "1:2:3:4:5:6:7:8:9"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ip(good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct ip_address address;
        if (ip_parse(span_str(bad[i]), &address))
            fail_msg("'%s' was taken for an address", bad[i]);
        assert_false(address.known);
    }
    struct ip_address address;
    assert_false(ip_parse(span_of("1.2.3.4\0x", 9), &address)); /* NUL inside */
    assert_true(ip_parse(span_of("1.2.3.45", 7), &address));    /* not NUL-terminated */
    char text[46];
    assert_string_equal(ip_format(&address, text), "1.2.3.4");
}

static void mapped_addresses_equal_their_v4_form(void **state)
{
    struct ip_address a = ip("10.1.2.3"), b = ip("::ffff:10.1.2.3"), c = ip("::ffff:0a01:0203");
    assert_memory_equal(a.bytes, b.bytes, 16);
    assert_memory_equal(a.bytes, c.bytes, 16);
    assert_true(has("10.0.0.0/8", "::ffff:10.9.9.9"));
    assert_true(has("::ffff:10.0.0.0/104", "10.9.9.9"));
    assert_false(has("::ffff:10.0.0.0/104", "11.0.0.0"));
}

static void ranges_hold_what_their_prefix_says(void **state)
{
    assert_true(has("192.168.1.0/24", "192.168.1.0"));
    assert_true(has("192.168.1.0/24", "192.168.1.255"));
    assert_false(has("192.168.1.0/24", "192.168.2.0"));
    assert_true(has("192.168.1.128/25", "192.168.1.200"));
    assert_false(has("192.168.1.128/25", "192.168.1.127"));
    assert_true(has("1.2.3.4", "1.2.3.4"));
    assert_false(has("1.2.3.4", "1.2.3.5"));
    assert_true(has("1.2.3.4/32", "1.2.3.4"));
    assert_true(has("0.0.0.0/0", "8.8.8.8"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::/0", "2001:db8::1"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("::1", "::1"));
    assert_false(has("::1/128", "::2"));
}

static void host_bits_must_be_zero(void **state)
{
    assert_false(parses("10.0.0.1/8"));
    assert_false(parses("2001:db8::1/64"));
    assert_false(parses("0.0.0.1/0"));
    assert_true(parses("10.0.0.0/8"));
}

static void malformed_ranges_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "/",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "::/129",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8/8",
                                      "10.0.0.0/ 8",
                                      "10.0.0.0/08x",
                                      "example.org/8",
                                      "10.0.0.0/4294967304",
                                      "10.0.0.0/0008"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parses(bad[i]))
            fail_msg("'%s' was taken for a range", bad[i]);
    }
}

static void lists_match_if_any_range_does(void **state)
{
    struct cidr list[2];
    assert_true(cidr_parse(SPAN("10.0.0.0/8"), &list[0]));
    assert_true(cidr_parse(SPAN("::1"), &list[1]));
    struct ip_address in = ip("::1"), out = ip("11.0.0.1");
    assert_true(cidr_any(list, 2, &in));
    assert_false(cidr_any(list, 2, &out));
    assert_false(cidr_any(NULL, 0, &in));
}

static void an_unknown_address_is_in_no_range(void **state)
{
    struct cidr all;
    struct ip_address unknown = {.known = false};
    assert_true(cidr_parse(SPAN("::/0"), &all));
    assert_false(cidr_has(&all, &unknown));
    assert_false(ip_is_loopback(&unknown));
    char text[46];
    assert_string_equal(ip_format(&unknown, text), "unix");
}

static void loopback_is_127_and_v6_one(void **state)
{
    static const char *const yes[] = {"127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1"};
    static const char *const no[] = {"128.0.0.1", "126.255.255.255", "::2",     "0.0.0.0",
                                     "::",        "::127.0.0.1",     "10.0.0.1"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        struct ip_address a = ip(yes[i]);
        assert_true(ip_is_loopback(&a));
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        struct ip_address a = ip(no[i]);
        assert_false(ip_is_loopback(&a));
    }
}

static void addresses_are_shown_in_their_short_form(void **state)
{
    static const char *const pairs[][2] = {
        {"::ffff:1.2.3.4", "1.2.3.4"},
        {"2001:0DB8:0:0::1", "2001:db8::1"},
        {"::1", "::1"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char text[46];
        struct ip_address a = ip(pairs[i][0]);
        assert_string_equal(ip_format(&a, text), pairs[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_in_both_families),
        cmocka_unit_test(mapped_addresses_equal_their_v4_form),
        cmocka_unit_test(ranges_hold_what_their_prefix_says),
        cmocka_unit_test(host_bits_must_be_zero),
        cmocka_unit_test(malformed_ranges_are_refused),
        cmocka_unit_test(lists_match_if_any_range_does),
        cmocka_unit_test(an_unknown_address_is_in_no_range),
        cmocka_unit_test(loopback_is_127_and_v6_one),
        cmocka_unit_test(addresses_are_shown_in_their_short_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
