/*
 * gateway/http_path.c - see http_path.h. People type base URLs with and without a slash at the end,
 * and clients add theirs:
 * "/v1//chat/completions" and "/v1/models/" are everyday requests (clients.md H3).
 */
#include "gateway/http_path.h"

static struct span cut_at(struct span s, char c)
{
    ptrdiff_t at = span_find_char(s, c);
    return at < 0 ? s : span_first(s, (size_t)at);
}

/* "http://host:80/x" → "/x"; "http://host" → "". */
static struct span without_authority(struct span target)
{
    static const struct span schemes[] = {SPAN_INIT("http://"), SPAN_INIT("https://")};
    for (size_t i = 0; i < 2; i++) {
        if (span_eq_nocase(span_first(target, schemes[i].n), schemes[i])) {
            struct span rest = span_from(target, schemes[i].n);
            ptrdiff_t slash = span_find_char(rest, '/');
            return slash < 0 ? span_from(rest, rest.n) : span_from(rest, (size_t)slash);
        }
    }
    return target;
}

struct span http_path_normalise(struct span target, char *to)
{
    /* The query goes first: it may hold slashes, and "://" too. */
    struct span path = without_authority(cut_at(cut_at(target, '#'), '?'));
    size_t n = 0;
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] != '/' || n == 0 || to[n - 1] != '/')
            to[n++] = path.p[i];
    }
    if (n > 1 && to[n - 1] == '/')
        n--;
    if (n == 0)
        to[n++] = '/';
    return span_of(to, n);
}
