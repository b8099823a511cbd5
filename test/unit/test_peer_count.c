/*
 * test/unit/test_peer_count.c - gateway/peer_count.h: what each address has, whatever comes and
 * goes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/peer_count.h"
#include "test/unit/support/cmocka_all.h"

static struct ip_address ip(const char *text)
{
    struct ip_address a;
    assert_true(ip_parse(span_str(text), &a));
    return a;
}

static void each_address_for_itself(void **state)
{
    struct peer_count c = {0};
    struct ip_address a = ip("10.0.0.1"), b = ip("10.0.0.2");
    assert_int_equal(peer_count_of(&c, &a), 0);
    peer_count_add(&c, &a);
    peer_count_add(&c, &a);
    peer_count_add(&c, &b);
    assert_int_equal(peer_count_of(&c, &a), 2);
    assert_int_equal(peer_count_of(&c, &b), 1);
    peer_count_remove(&c, &a);
    peer_count_remove(&c, &a);
    assert_int_equal(peer_count_of(&c, &a), 0);
    assert_int_equal(c.n, 1);
    peer_count_remove(&c, &b);
    assert_int_equal(c.n, 0);
    peer_count_free(&c);
}

static void a_network_of_64_bits_is_one_client(void **state)
{
    struct peer_count c = {0};
    struct ip_address a = ip("2001:db8:1:2::1"), b = ip("2001:db8:1:2:ffff::9");
    struct ip_address other = ip("2001:db8:1:3::1");
    peer_count_add(&c, &a);
    assert_int_equal(peer_count_of(&c, &b), 1);
    assert_int_equal(peer_count_of(&c, &other), 0);
    peer_count_remove(&c, &b);
    assert_int_equal(peer_count_of(&c, &a), 0);
    peer_count_free(&c);
}

/* Against plain numbers: addresses come and go at random, and none is mistaken for another. */
static void comes_and_goes(void **state)
{
    enum { ADDRESSES = 300, STEPS = 20000 };
    struct peer_count c = {0};
    size_t has[ADDRESSES] = {0};
    char text[32];
    srand(7);
    for (int step = 0; step < STEPS; step++) {
        int i = rand() % ADDRESSES;
        snprintf(text, sizeof text, "10.1.%d.%d", i / 16, i % 16);
        struct ip_address a = ip(text);
        if (rand() % 2 && has[i]) {
            peer_count_remove(&c, &a);
            has[i]--;
        } else {
            assert_int_equal(peer_count_add(&c, &a), 0);
            has[i]++;
        }
        assert_int_equal(peer_count_of(&c, &a), has[i]);
    }
    for (int i = 0; i < ADDRESSES; i++) {
        snprintf(text, sizeof text, "10.1.%d.%d", i / 16, i % 16);
        struct ip_address a = ip(text);
        assert_int_equal(peer_count_of(&c, &a), has[i]);
    }
    assert_true(c.n_slots <= 1024);
    peer_count_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_address_for_itself),
        cmocka_unit_test(a_network_of_64_bits_is_one_client),
        cmocka_unit_test(comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
