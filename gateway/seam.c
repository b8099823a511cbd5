/*
 * gateway/seam.c - see seam.h.
 *
 * The hard part is telling a repetition from text that happens to begin like the end of what was
 * sent. A repetition counts when it is long, or begins where a person would begin again: at a line,
 * or at the text of JSON that was cut. White space and signs alone prove nothing: code is full of
 * equal closing lines.
 */
#include "gateway/seam.h"

enum {
    WEIGHT_ENOUGH = 12, /* of a repetition within a line */
    FENCE_MIN = 3,
    FENCE_INDENT_MAX = 3
};

/* One character, or a run of white space. */
struct unit {
    uint32_t code; /* ' ' for any white space */
    bool line;     /* a line begins with it, or within it */
    size_t at;     /* its first byte */
};

struct units {
    struct unit list[SEAM_CHARACTERS + 1];
    size_t n;
};

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static size_t character_length(struct span s, size_t at)
{
    size_t n = 1;
    while (at + n < s.n && ((unsigned char)s.p[at + n] & 0xC0) == 0x80)
        n++;
    return n;
}

static uint32_t character_code(struct span s, size_t at, size_t n)
{
    uint32_t code = (unsigned char)s.p[at];
    if (n > 1)
        code &= 0x7Fu >> n;
    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)s.p[at + i] & 0x3F);
    return code;
}

/* The unit at `at`; `*next` is where the one behind it begins. */
static struct unit unit_at(struct span s, size_t at, size_t *next)
{
    struct unit u = {.at = at, .line = at == 0 || s.p[at - 1] == '\n'};
    if (!is_space(s.p[at])) {
        size_t n = character_length(s, at);
        u.code = character_code(s, at, n);
        *next = at + n;
        return u;
    }
    u.code = ' ';
    for (*next = at; *next < s.n && is_space(s.p[*next]); ++*next)
        u.line |= s.p[*next] == '\n';
    return u;
}

/* The first units of a text. */
static void read_first(struct units *u, struct span s)
{
    size_t next = 0;
    for (u->n = 0; u->n < SEAM_CHARACTERS && next < s.n; u->n++)
        u->list[u->n] = unit_at(s, next, &next);
    u->list[u->n].at = next;
}

static bool within_character(struct span s, size_t at)
{
    return at < s.n && ((unsigned char)s.p[at] & 0xC0) == 0x80;
}

/* The last units of a text. */
static void read_last(struct units *u, struct span s)
{
    size_t starts[SEAM_CHARACTERS], n = 0, at = s.n;
    while (n < SEAM_CHARACTERS && at > 0) {
        at--;
        if (is_space(s.p[at])) {
            while (at > 0 && is_space(s.p[at - 1]))
                at--;
        } else {
            while (at > 0 && within_character(s, at))
                at--;
        }
        starts[n++] = at;
    }
    for (u->n = 0; u->n < n; u->n++)
        u->list[u->n] = unit_at(s, starts[n - 1 - u->n], &at);
    u->list[u->n].at = s.n;
}

bool seam_is_decidable(struct span continuation)
{
    size_t n = 0;
    for (size_t i = 0; i < continuation.n && n <= SEAM_CHARACTERS; i++)
        n += !within_character(continuation, i);
    return n > SEAM_CHARACTERS;
}

/* ---- does a repetition count? ---- */

static bool is_wide(uint32_t c)
{
    return (c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) ||
           (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xF900 && c <= 0xFAFF) ||
           (c >= 0xFE30 && c <= 0xFE4F) || (c >= 0xFF00 && c <= 0xFF60) ||
           (c >= 0xFFE0 && c <= 0xFFE6) || (c >= 0x20000 && c <= 0x3FFFD);
}

static bool is_word(uint32_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* Where the text of JSON that was cut begins (its quote); SIZE_MAX when `json` is cut elsewhere. */
static size_t open_json_text(struct span json)
{
    size_t open = SIZE_MAX;
    for (size_t i = 0; i < json.n; i++) {
        if (open != SIZE_MAX && json.p[i] == '\\')
            i++;
        else if (json.p[i] == '"')
            open = open == SIZE_MAX ? i : SIZE_MAX;
    }
    return open;
}

struct fence {
    bool open;
    char sign;
    size_t length; /* of the opening line's signs */
    size_t body;   /* where its first line begins */
};

/* The signs of a line that may be a fence, 0 = it is none (CommonMark, 4.5). */
static size_t fence_signs(struct span line, char *sign, struct span *info)
{
    size_t at = 0, n = 0;
    while (at < line.n && at <= FENCE_INDENT_MAX && line.p[at] == ' ')
        at++;
    if (at > FENCE_INDENT_MAX || at == line.n || (line.p[at] != '`' && line.p[at] != '~'))
        return 0;
    *sign = line.p[at];
    while (at + n < line.n && line.p[at + n] == *sign)
        n++;
    *info = span_trim(span_from(line, at + n));
    return n >= FENCE_MIN && (*sign == '~' || span_find_char(*info, '`') < 0) ? n : 0;
}

/* Which fence is open at the text's end? */
static struct fence open_fence(struct span text)
{
    struct fence f = {0};
    struct span rest = text, line, info;
    char sign;
    while (span_split(&rest, '\n', &line)) {
        size_t n = fence_signs(line, &sign, &info);
        if (!n)
            continue;
        if (!f.open)
            f = (struct fence){true, sign, n, (size_t)(line.p + line.n - text.p) + 1};
        else if (sign == f.sign && n >= f.length && !info.n)
            f.open = false;
    }
    return f;
}

/* Where in `sent` the text of JSON begins that is cut at its end; SIZE_MAX = none is. */
static size_t cut_json_text(struct span sent, const struct fence *fence)
{
    size_t from = fence->open && fence->body < sent.n ? fence->body : 0;
    while (from < sent.n && is_space(sent.p[from]))
        from++;
    if (from == sent.n || (sent.p[from] != '{' && sent.p[from] != '['))
        return SIZE_MAX;
    size_t open = open_json_text(span_from(sent, from));
    return open == SIZE_MAX ? SIZE_MAX : from + open;
}

/* Do the last `k` units of what was sent, which the continuation repeats, prove anything? */
static bool counts(const struct units *sent, size_t k, size_t cut_text)
{
    const struct unit *first = &sent->list[sent->n - k];
    unsigned weight = 0;
    bool word = false;
    for (size_t i = 0; i < k; i++) {
        weight += is_wide(first[i].code) ? 2 : 1;
        word |= is_word(first[i].code);
    }
    if (first->at == cut_text)
        return true;
    return word && (first->line || weight >= WEIGHT_ENOUGH);
}

/* The end of the repetition's last unit. Of white space that goes on only what was sent is one. */
static size_t end_of_repetition(struct span sent, struct span continuation,
                                const struct units *last, const struct unit *unit)
{
    struct span space = span_from(sent, last->list[last->n - 1].at);
    if (unit->code == ' ' && span_starts(span_from(continuation, unit->at), space))
        return unit->at + space.n;
    size_t next;
    unit_at(continuation, unit->at, &next);
    return next;
}

/* Bytes of the continuation that repeat the end of what was sent. */
static size_t find_repeated(struct span sent, struct span continuation, size_t cut_text)
{
    struct units last, first;
    read_last(&last, sent);
    read_first(&first, continuation);
    for (size_t k = last.n < first.n ? last.n : first.n; k > 0; k--) {
        size_t same = 0;
        while (same < k && last.list[last.n - k + same].code == first.list[same].code)
            same++;
        if (same == k && counts(&last, k, cut_text))
            return end_of_repetition(sent, continuation, &last, &first.list[k - 1]);
    }
    return 0;
}

/* ---- the whole ---- */

/* The opening line of a fence that the continuation repeats though it is open already; 0 = none. */
static size_t reopened_fence(struct span continuation, const struct fence *fence, bool *named)
{
    struct span info;
    char sign;
    ptrdiff_t end = span_find_char(continuation, '\n');
    if (!fence->open || end < 0 ||
        !fence_signs(span_first(continuation, (size_t)end), &sign, &info) || sign != fence->sign)
        return 0;
    *named = info.n > 0;
    return (size_t)end + 1;
}

/* Does more than half of the continuation's beginning stand in what was sent already? */
static bool starts_over(struct span sent, struct span continuation)
{
    struct units u;
    read_first(&u, continuation);
    size_t half = u.n / 2 + 1;
    for (size_t i = 0; i + half <= u.n && half > WEIGHT_ENOUGH; i++) {
        struct span stretch =
            span_of(continuation.p + u.list[i].at, u.list[i + half].at - u.list[i].at);
        if (span_find(sent, stretch) >= 0)
            return true;
    }
    return false;
}

/* The last line of what was sent, unless it is whole or too short to prove anything. */
static struct span unfinished_line(struct span sent)
{
    ptrdiff_t end = span_find_last(sent, SPAN("\n"));
    struct span line = span_from(sent, (size_t)(end + 1));
    return line.n >= 2 ? line : span_of("", 0);
}

enum seam seam_find(struct span sent, struct span continuation, size_t *repeated)
{
    struct fence fence = open_fence(sent);
    size_t cut_text = cut_json_text(sent, &fence);
    bool named = false;
    size_t opening = reopened_fence(continuation, &fence, &named);
    struct span rest = span_from(continuation, opening);
    size_t n = find_repeated(sent, rest, cut_text);
    if (n == 0) {
        struct span line = unfinished_line(sent);
        n = line.n && span_starts(rest, line) ? line.n : 0;
    }
    if (opening && !n && !named) { /* it closes the fence */
        opening = 0;
        n = find_repeated(sent, continuation, cut_text);
    }
    *repeated = opening + n;
    if (*repeated == 0 && starts_over(sent, continuation))
        return SEAM_STARTED_OVER;
    return SEAM_JOINED;
}
