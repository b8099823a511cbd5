/*
 * test_public_address.c - gateway/public_address.h: one row an address; what is not known to be
 * public is not.
 */
#include <arpa/inet.h>

#include "gateway/public_address.h"
#include "test/unit/support/cmocka_all.h"

static bool is_public(const char *text)
{
    struct ip_address ip;
    if (!ip_parse(span_str(text), &ip))
        fail_msg("%s is no address", text);
    return ip_is_public(&ip);
}

static const char *const inside[] = {
    /* this network, and unspecified */
    "0.0.0.0", "0.0.0.1", "0.255.255.255",
    /* private */
    "10.0.0.0", "10.0.0.1", "10.255.255.255", "172.16.0.0", "172.16.0.1", "172.31.255.255",
    "192.168.0.0", "192.168.1.1", "192.168.255.255",
    /* shared */
    "100.64.0.0", "100.100.100.200", "100.127.255.255",
    /* loopback */
    "127.0.0.0", "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.255",
    /* link-local and metadata */
    "169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255", "168.63.129.16",
    /* protocol assignments, documentation, AS112, AMT, 6to4 relays, benchmarking */
    "192.0.0.0", "192.0.0.8", "192.0.0.170", "192.0.0.192", "192.0.0.255", "192.0.2.0",
    "192.0.2.255", "192.31.196.1", "192.52.193.1", "192.88.99.0", "192.88.99.1", "192.88.99.255",
    "192.175.48.1", "198.18.0.0", "198.19.255.255", "198.51.100.0", "198.51.100.255", "203.0.113.0",
    "203.0.113.255",
    /* multicast, reserved, broadcast */
    "224.0.0.0", "224.0.0.1", "239.255.255.255", "240.0.0.0", "254.1.1.1", "255.255.255.254",
    "255.255.255.255",
    /* unspecified, loopback, compatible, mapped, translated */
    "::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::ffff:7f00:1", "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8",
    "::ffff:0.0.0.0", "::fffe:8.8.8.8",
    /* NAT64, in both of its prefixes */
    "64:ff9b::127.0.0.1", "64:ff9b::8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8",
    "64:ff9b:1:ffff::1",
    /* discard, dummy, segment routing */
    "100::", "100::1", "100:0:0:1::1", "5f00::1",
    /* Teredo, benchmarking, ORCHID, AMT and other assignments of 2001::/23 */
    "2001::", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:1::1", "2001:2::1",
    "2001:3::1", "2001:4:112::1", "2001:10::1", "2001:20::1", "2001:30::1",
    "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
    /* documentation */
    "2001:db8::", "2001:db8::1", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::1",
    "3fff:fff:ffff::1",
    /* 6to4 of anything */
    "2002::", "2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "2002:a9fe:a9fe::",
    /* AS112, 6bone */
    "2620:4f:8000::1", "3ffe::1",
    /* ISATAP in a public prefix */
    "2600::5efe:127.0.0.1", "2600::200:5efe:10.0.0.1",
    /* unique local, site-local, link-local, multicast */
    "fc00::", "fc00::1", "fd00::1", "fd00:ec2::254", "fdff:ffff::1", "fec0::1", "feff::1",
    "fe80::", "fe80::1", "fe80::a9fe:a9fe", "febf::1", "ff00::", "ff01::1", "ff02::1", "ff05::2",
    "ff0e::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    /* not given out to anybody */
    "1::1", "200::1", "400::1", "800::1", "1000::1", "1fff::1", "4000::1", "6000::1", "8000::1",
    "a000::1", "c000::1", "e000::1", "f000::1", "fe00::1"};

/* Neighbours of the ranges among them. */
static const char *const outside[] = {"1.0.0.0",
                                      "1.1.1.1",
                                      "8.8.8.8",
                                      "9.255.255.255",
                                      "11.0.0.0",
                                      "100.63.255.255",
                                      "100.128.0.0",
                                      "126.255.255.255",
                                      "128.0.0.0",
                                      "168.63.129.15",
                                      "168.63.129.17",
                                      "169.253.255.255",
                                      "169.255.0.0",
                                      "172.15.255.255",
                                      "172.32.0.0",
                                      "191.255.255.255",
                                      "192.0.1.0",
                                      "192.0.3.0",
                                      "192.31.195.255",
                                      "192.31.197.0",
                                      "192.88.98.255",
                                      "192.88.100.0",
                                      "192.167.255.255",
                                      "192.169.0.0",
                                      "192.175.47.255",
                                      "198.17.255.255",
                                      "198.20.0.0",
                                      "198.51.99.255",
                                      "198.51.101.0",
                                      "203.0.112.255",
                                      "203.0.114.0",
                                      "223.255.255.255",
                                      "::ffff:8.8.8.8",
                                      "::ffff:808:808",
                                      "2000::1",
                                      "2001:200::1",
                                      "2001:4860:4860::8888",
                                      "2001:db7::1",
                                      "2001:db9::1",
                                      "2003::1",
                                      "2400:cb00::1",
                                      "2600::1",
                                      "2606:4700:4700::1111",
                                      "2620:4f:7fff::1",
                                      "2620:4f:8001::1",
                                      "2a00:1450::1",
                                      "3ffd::1",
                                      "3fff:1000::1"};

static void what_is_special_is_not_public(void **state)
{
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        if (is_public(inside[i]))
            fail_msg("%s is said to be public", inside[i]);
    }
}

static void what_is_public_is(void **state)
{
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        if (!is_public(outside[i]))
            fail_msg("%s is said not to be public", outside[i]);
    }
}

static void an_unknown_address_is_not_public(void **state)
{
    assert_false(ip_is_public(&(struct ip_address){.known = false}));
}

static bool allows(const struct address_rule *rule, const char *text, int port)
{
    struct ip_address ip;
    assert_true(ip_parse(span_str(text), &ip));
    return address_rule_allows(rule, &ip, port);
}

static void only_the_ports_of_the_web_and_what_the_rule_adds(void **state)
{
    const struct address_rule none = {NULL, 0};
    struct cidr also[2];
    assert_true(cidr_parse(SPAN("127.0.0.2/32"), &also[0]));
    assert_true(cidr_parse(SPAN("fd00::/16"), &also[1]));
    const struct address_rule two = {also, 2};
    assert_true(allows(&none, "8.8.8.8", 80) && allows(&none, "8.8.8.8", 443));
    assert_true(allows(&none, "2600::1", 443));
    for (int port = 0; port < 65536; port++) {
        if (port != 80 && port != 443)
            assert_false(allows(&none, "8.8.8.8", port) || allows(&two, "8.8.8.8", port));
    }
    assert_false(allows(&none, "127.0.0.2", 80));
    assert_true(allows(&two, "127.0.0.2", 80) && allows(&two, "127.0.0.2", 8080));
    assert_true(allows(&two, "::ffff:127.0.0.2", 1));
    assert_true(allows(&two, "fd00::7", 6379));
    assert_false(allows(&two, "127.0.0.1", 80) || allows(&two, "fd01::7", 80));
}

static void what_the_resolver_gives_is_looked_at_as_it_is(void **state)
{
    const struct address_rule none = {NULL, 0};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(443)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    inet_pton(AF_INET, "8.8.8.8", &v4.sin_addr);
    assert_true(address_rule_allows_sockaddr(&none, (struct sockaddr *)&v4));
    v4.sin_port = htons(25);
    assert_false(address_rule_allows_sockaddr(&none, (struct sockaddr *)&v4));
    v4.sin_port = htons(80);
    inet_pton(AF_INET, "10.1.1.1", &v4.sin_addr);
    assert_false(address_rule_allows_sockaddr(&none, (struct sockaddr *)&v4));
    inet_pton(AF_INET6, "2606:4700::1", &v6.sin6_addr);
    assert_true(address_rule_allows_sockaddr(&none, (struct sockaddr *)&v6));
    inet_pton(AF_INET6, "::ffff:10.1.1.1", &v6.sin6_addr);
    assert_false(address_rule_allows_sockaddr(&none, (struct sockaddr *)&v6));
    v6.sin6_family = AF_UNIX;
    assert_false(address_rule_allows_sockaddr(&none, (struct sockaddr *)&v6));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_special_is_not_public),
        cmocka_unit_test(what_is_public_is),
        cmocka_unit_test(an_unknown_address_is_not_public),
        cmocka_unit_test(only_the_ports_of_the_web_and_what_the_rule_adds),
        cmocka_unit_test(what_the_resolver_gives_is_looked_at_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
