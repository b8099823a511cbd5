/*
 * gateway/text_code.c - see text_code.h.
 */
#include "gateway/text_code.h"

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The run is over; `c` is behind it. */
static void end_run(struct text_code *t, char c)
{
    size_t run = t->run;
    bool fence = t->run_begins && run >= 3;
    t->run = 0;
    if (t->fence_char) {
        if (fence && t->run_char == t->fence_char && run >= t->fence && (c == '\n' || is_blank(c)))
            t->fence_char = 0;
        return;
    }
    if (fence) {
        t->fence_char = t->run_char;
        t->fence = run;
        t->info = true;
    } else if (t->run_char == '`') {
        t->quote = t->quote == run ? 0 : t->quote ? t->quote : run;
    }
}

static void pass_byte(struct text_code *t, char c)
{
    if (t->run && c == t->run_char) {
        t->run++;
        return;
    }
    if (t->run)
        end_run(t, c);
    if (c == '`' || (c == '~' && !t->inside_line)) {
        if (t->info) { /* code within a line that begins with a long run */
            t->info = false;
            t->quote = t->fence;
            t->fence_char = 0;
        }
        t->run_char = c;
        t->run = 1;
        t->run_begins = !t->inside_line;
        t->inside_line = true;
    } else if (c == '\n') {
        t->inside_line = t->info = false;
        t->quote = 0;
    } else if (!is_blank(c)) {
        t->inside_line = true;
    }
}

size_t text_code_plain(const struct text_code *t, struct span text)
{
    size_t i = 0;
    if (!t->inside_line || t->run)
        return 0;
    while (i < text.n && text.p[i] != '`' && text.p[i] != '\n')
        i++;
    return i;
}

void text_code_pass(struct text_code *t, struct span text)
{
    while (text.n) {
        size_t plain = text_code_plain(t, text);
        text = span_from(text, plain);
        if (text.n)
            pass_byte(t, text.p[0]);
        text = span_from(text, 1);
    }
}

bool text_code_inside(const struct text_code *t)
{
    struct text_code behind = *t;
    if (behind.run)
        end_run(&behind, 'x');
    return behind.fence_char || behind.quote;
}

bool text_code_line_begins(const struct text_code *t) { return !t->inside_line; }
