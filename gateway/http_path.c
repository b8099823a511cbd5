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

/* "http://host:80/x" → "/x", and "host:80" into `authority`; "http://host" → "". What is not in the
 * absolute form stays as it is and has no authority (its p is NULL). */
static struct span split_authority(struct span target, struct span *authority)
{
    static const struct span schemes[] = {SPAN_INIT("http://"), SPAN_INIT("https://")};
    /* The query goes first: it may hold slashes, and "://" too. */
    target = cut_at(cut_at(target, '#'), '?');
    *authority = span_of(NULL, 0);
    for (size_t i = 0; i < 2 && !span_starts(target, SPAN("/")); i++) {
        if (span_eq_nocase(span_first(target, schemes[i].n), schemes[i])) {
            struct span rest = span_from(target, schemes[i].n);
            *authority = cut_at(rest, '/');
            return span_from(rest, authority->n);
        }
    }
    return target;
}

struct span http_path_authority(struct span target)
{
    struct span authority = span_of(NULL, 0);
    if (!span_starts(target, SPAN("/")))
        split_authority(target, &authority);
    return authority;
}

struct span http_path_normalise(struct span target, char *to)
{
    struct span authority;
    struct span path = split_authority(target, &authority);
    size_t n = 0;
    while (n < path.n && !(n && path.p[n] == '/' && path.p[n - 1] == '/'))
        n++;
    if (n) /* most paths as a whole */
        memcpy(to, path.p, n);
    for (size_t i = n; i < path.n; i++) {
        if (path.p[i] != '/' || n == 0 || to[n - 1] != '/')
            to[n++] = path.p[i];
    }
    if (n > 1 && to[n - 1] == '/')
        n--;
    if (n == 0)
        to[n++] = '/';
    return span_of(to, n);
}
