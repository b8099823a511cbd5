/*
 * test_http_path.c - request targets as clients really send them, and the path that is looked up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/http_path.h"

static void check(const char *target, const char *wanted)
{
    char to[256];
    struct span path = http_path_normalise(span_str(target), to);
    if (!span_eq(path, span_str(wanted)))
        fail_msg("%s: %.*s, not %s", target, SPAN_ARGS(path), wanted);
}

static void slashes_are_one_and_none_at_the_end(void **state)
{
    check("/", "/");
    check("//", "/");
    check("", "/");
    check("/v1/models", "/v1/models");
    check("/v1/models/", "/v1/models");
    check("/v1//chat/completions", "/v1/chat/completions");
    check("///v1///models///", "/v1/models");
}

static void query_and_fragment_are_cut(void **state)
{
    check("/v1/models?limit=1", "/v1/models");
    check("/v1/models/?a=/b//c/", "/v1/models");
    check("/v1/models#x?y", "/v1/models");
    check("/v1/models?x#y", "/v1/models");
    check("?x", "/");
}

static void absolute_form_loses_scheme_and_authority(void **state)
{
    check("http://127.0.0.1:8080/v1/models", "/v1/models");
    check("HTTPS://Host/v1//models/?x=http://y/z", "/v1/models");
    check("http://host", "/");
    check("http://host?x=/y", "/");
    check("http://[::1]:80//", "/");
    check("/http://host/x", "/http:/host/x");
}

static void check_authority(const char *target, const char *wanted)
{
    struct span authority = http_path_authority(span_str(target));
    assert_int_equal(!authority.p, !wanted);
    assert_true(!wanted || span_eq(authority, span_str(wanted)));
}

static void absolute_form_names_an_authority(void **state)
{
    check_authority("http://127.0.0.1:8080/v1/models", "127.0.0.1:8080");
    check_authority("HTTPS://Host", "Host");
    check_authority("http://host?x=/y", "host");
    check_authority("http://host#x/y", "host");
    check_authority("http://a@[::1]:80//", "a@[::1]:80");
    check_authority("http:///x", "");
    check_authority("/http://host/x", NULL);
    check_authority("/x?http://host/", NULL);
    check_authority("ftp://host/x", NULL);
    check_authority("host:443", NULL);
    check_authority("*", NULL);
    check_authority("", NULL);
}

static void nothing_is_decoded_or_resolved(void **state)
{
    check("/v1/models/zai%2Fglm", "/v1/models/zai%2Fglm");
    check("/a/%zz/%00", "/a/%zz/%00");
    check("/a/../b/./c", "/a/../b/./c");
    check("*", "*");
    check("host:443", "host:443");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slashes_are_one_and_none_at_the_end),
        cmocka_unit_test(query_and_fragment_are_cut),
        cmocka_unit_test(absolute_form_loses_scheme_and_authority),
        cmocka_unit_test(absolute_form_names_an_authority),
        cmocka_unit_test(nothing_is_decoded_or_resolved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
