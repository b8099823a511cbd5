/*
 * base/fail.c - see fail.h. Messages are cleaned here once: control characters become blanks, and a
 * message that is too long ends at a whole character.
 */
#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const kind_names[] = {
#define X(name, text) [FAIL_##name] = text,
    FAIL_KINDS(X)
#undef X
};

static void clean(char *text, size_t capacity, int wanted)
{
    size_t n = strlen(text);
    if (wanted >= 0 && (size_t)wanted >= capacity) { /* cut: drop a character's torn tail */
        while (n && ((unsigned char)text[n - 1] & 0xC0) == 0x80)
            n--;
        if (n && (unsigned char)text[n - 1] >= 0xC0)
            n--;
        text[n] = '\0';
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            text[i] = ' ';
    }
}

__attribute__((format(printf, 4, 0))) static void
set(struct fail *f, enum fail_kind kind, const char *param, const char *format, va_list args)
{
    fail_clear(f);
    f->kind = kind;
    if (param)
        clean(f->param, sizeof f->param, snprintf(f->param, sizeof f->param, "%s", param));
    clean(f->message, sizeof f->message, vsnprintf(f->message, sizeof f->message, format, args));
}

int fail_set(struct fail *f, enum fail_kind kind, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(f, kind, NULL, format, args);
    va_end(args);
    return -1;
}

int fail_param(struct fail *f, enum fail_kind kind, const char *param, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    set(f, kind, param, format, args);
    va_end(args);
    return -1;
}

void fail_add(struct fail *f, const char *format, ...)
{
    char more[120] = "";
    size_t n = strlen(f->message);
    va_list args;
    va_start(args, format);
    clean(more, sizeof more, vsnprintf(more, sizeof more, format, args));
    va_end(args);
    size_t room = sizeof f->message - 1 - strlen(more);
    if (n > room) {
        n = room;
        while (n && ((unsigned char)f->message[n] & 0xC0) == 0x80)
            n--;
    }
    snprintf(f->message + n, sizeof f->message - n, "%s", more);
}

int fail_memory(struct fail *f)
{
    return fail_set(f, FAIL_MEMORY, "dragoman is out of memory; try again in a moment");
}

void fail_clear(struct fail *f) { memset(f, 0, sizeof *f); }

const char *fail_kind_name(enum fail_kind kind)
{
    return kind < FAIL_KIND_COUNT ? kind_names[kind] : "?";
}
