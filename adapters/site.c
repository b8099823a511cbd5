/*
 * adapters/site.c - look-ups in a site's settings and an account's credentials. Lists are short:
 * linear search.
 */
#include "adapters/site.h"

#include <stdlib.h>

const struct option_value *site_option(const struct site_settings *site, const char *name)
{
    for (size_t i = 0; i < site->n_options; i++) {
        if (span_eq(site->options[i].name, span_str(name)))
            return &site->options[i];
    }
    return NULL;
}

struct span site_option_text(const struct site_settings *site, const char *name,
                             struct span otherwise)
{
    const struct option_value *v = site_option(site, name);
    return v ? v->text : otherwise;
}

int64_t site_option_int(const struct site_settings *site, const char *name, int64_t otherwise)
{
    const struct option_value *v = site_option(site, name);
    return v ? v->integer : otherwise;
}

bool site_option_bool(const struct site_settings *site, const char *name, bool otherwise)
{
    return site_option_int(site, name, otherwise) != 0;
}

void account_guard_enter(const struct site_account *account)
{
    if (account->guard)
        account->guard->enter(account);
}

void account_guard_leave(const struct site_account *account)
{
    if (account->guard)
        account->guard->leave(account);
}

bool account_guard_take_short(const struct site_account *account)
{
    return account->guard && account->guard->take_short(account);
}

struct span account_credential(const struct site_account *account, const char *name)
{
    for (size_t i = 0; i < account->n_credentials; i++) {
        if (span_eq(account->credentials[i].name, span_str(name)))
            return account->credentials[i].value;
    }
    return span_of(NULL, 0);
}

static struct held_credential **find_held(struct site_account *account, const char *name)
{
    struct held_credential **at = &account->held;
    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

struct span account_held(const struct site_account *account, const char *name, int64_t now_ms,
                         int64_t margin_ms)
{
    struct span value = span_of(NULL, 0);
    account_guard_enter(account);
    for (const struct held_credential *h = account->held; h; h = h->next) {
        if (strcmp(h->name, name) == 0 &&
            (h->expires_ms == 0 || h->expires_ms - margin_ms > now_ms)) {
            value = span_str(h->value);
            break;
        }
    }
    if (value.n && account->guard)
        value = account->guard->lend(account, value);
    account_guard_leave(account);
    return value;
}

struct span account_newest(const struct site_account *account, const char *name)
{
    struct span held = account_held(account, name, 0, 0);
    return held.n ? held : account_credential(account, name);
}

static void free_secret(char *value)
{
    if (value)
        explicit_bzero(value, strlen(value));
    free(value);
}

static void free_held(struct held_credential *h)
{
    free(h->name);
    free_secret(h->value);
    free(h);
}

static int hold(struct site_account *account, const char *name, struct span value,
                int64_t expires_ms)
{
    struct held_credential **at = find_held(account, name);
    if (*at && span_eq(span_str((*at)->value), value) && (*at)->expires_ms == expires_ms)
        return 0;
    char *copy = malloc(value.n + 1);
    if (!copy)
        return -1;
    if (value.n)
        memcpy(copy, value.p, value.n);
    copy[value.n] = '\0';
    if (!*at) {
        struct held_credential *h = calloc(1, sizeof *h);
        char *key = strdup(name);
        if (!h || !key) {
            free(h);
            free(key);
            free(copy);
            return -1;
        }
        h->name = key;
        *at = h;
    }
    free_secret((*at)->value);
    (*at)->value = copy;
    (*at)->expires_ms = expires_ms;
    if (account->changed)
        account->changed(account, name);
    return 0;
}

int account_hold(struct site_account *account, const char *name, struct span value,
                 int64_t expires_ms)
{
    account_guard_enter(account);
    int result = hold(account, name, value, expires_ms);
    account_guard_leave(account);
    return result;
}

void account_drop(struct site_account *account, const char *name)
{
    account_guard_enter(account);
    struct held_credential **at = find_held(account, name);
    struct held_credential *h = *at;
    if (h) {
        *at = h->next;
        if (account->changed)
            account->changed(account, name);
        free_held(h); /* last: `name` may be its own */
    }
    account_guard_leave(account);
}

bool held_secret(struct span *rest, struct span *secret)
{
    struct span line;
    if (!span_split(rest, '\n', &line))
        return false;
    ptrdiff_t tab = span_find_last(line, SPAN("\t"));
    *secret = span_from(line, (size_t)(tab + 1));
    return true;
}

void account_clear(struct site_account *account)
{
    while (account->held) {
        struct held_credential *h = account->held;
        account->held = h->next;
        free_held(h);
    }
}
