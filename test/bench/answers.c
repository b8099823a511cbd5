/*
 * test/bench/answers.c - see answers.h. OpenAI's chunks are as long as the real ones; z.ai's are as
 * its dossier has them (test/sites/zai.mjs).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/bench/answers.h"

enum { ANSWERS_MAX = 64 };

#define STREAM_HEAD                                                                                \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"                        \
    "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
#define CHUNK_HEAD                                                                                 \
    "data: {\"id\":\"chatcmpl-B3nch0123456789abcdefghijklmn\","                                    \
    "\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-bench\","         \
    "\"system_fingerprint\":\"fp_0123456789\",\"choices\":"
#define CHOICE_HEAD  CHUNK_HEAD "[{\"index\":0,\"delta\":{"
#define USAGE_NUMBER "{\"prompt_tokens\":9,\"completion_tokens\":9,\"total_tokens\":18}"
#define ZAI_HEAD     "data: {\"type\":\"chat:completion\",\"data\":{"

struct text {
    char *p;
    size_t n, cap;
};

static void add(struct text *t, const char *p, size_t n)
{
    if (t->n + n > t->cap) {
        t->cap = (t->cap + n) * 2;
        t->p = realloc(t->p, t->cap);
        if (!t->p)
            abort();
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
}

static void print(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print(struct text *t, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof line)
        abort();
    add(t, line, (size_t)n);
}

static void record(struct text *t, unsigned number, unsigned size)
{
    print(t, "%08u%016x", number, 0u);
    for (unsigned i = RECORD_MIN; i < size; i++)
        add(t, "x", 1);
    add(t, " ", 1);
}

/* One event in an HTTP chunk of its own, as most servers send them. */
static void event(struct text *t, const struct text *data)
{
    print(t, "%zx\r\n", data->n);
    add(t, data->p, data->n);
    add(t, "\r\n", 2);
}

static void event_of(struct text *t, const char *data)
{
    struct text copy = {(char *)(uintptr_t)data, strlen(data), 0};
    event(t, &copy);
}

static void frame(struct text *t, enum answer_shape shape, unsigned number, unsigned size)
{
    struct text data = {0};
    print(&data, "%s",
          shape == SHAPE_ZAI ? ZAI_HEAD "\"delta_content\":\"" : CHOICE_HEAD "\"content\":\"");
    record(&data, number, size);
    print(&data, "%s",
          shape == SHAPE_ZAI ? "\",\"phase\":\"answer\"}}\n\n"
                             : "\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    event(t, &data);
    free(data.p);
}

static void tail(struct text *t, const struct answer *a)
{
    if (a->shape == SHAPE_ZAI) {
        event_of(t, ZAI_HEAD "\"phase\":\"other\",\"delta_content\":\"\",\"usage\":" USAGE_NUMBER
                             "}}\n\n");
        event_of(t, ZAI_HEAD "\"phase\":\"done\",\"done\":true}}\n\n");
    } else {
        event_of(t, CHOICE_HEAD "},\"logprobs\":null,\"finish_reason\":\"stop\"}]}\n\n");
        if (a->usage)
            event_of(t, CHUNK_HEAD "[],\"usage\":" USAGE_NUMBER "}\n\n");
        event_of(t, "data: [DONE]\n\n");
    }
    add(t, "0\r\n\r\n", 5);
}

static void render_stream(struct answer *a, struct text *t)
{
    print(t, "%s", STREAM_HEAD);
    if (a->shape == SHAPE_OPENAI)
        event_of(t, CHOICE_HEAD "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
                                "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    a->first = t->n;
    a->n_frames = a->wish.chunks;
    for (unsigned i = 0; i < a->n_frames; i++)
        frame(t, a->shape, i, a->wish.size);
    a->frame = (t->n - a->first) / a->n_frames;
    const char *number = memmem(t->p + a->first, a->frame, "00000000", RECORD_NUMBER);
    a->stamp_at = (size_t)(number - (t->p + a->first)) + RECORD_NUMBER;
    tail(t, a);
}

static void render_whole(struct answer *a, struct text *t)
{
    struct text body = {0};
    print(&body,
          "{\"id\":\"chatcmpl-B3nch0123456789abcdefghijklmn\",\"object\":\"chat.completion\","
          "\"created\":1760000000,\"model\":\"gpt-bench\",\"choices\":[{\"index\":0,\"message\":{"
          "\"role\":\"assistant\",\"content\":\"");
    for (unsigned i = 0; i < a->wish.chunks; i++)
        record(&body, i, a->wish.size);
    print(&body,
          "\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":%s,"
          "\"system_fingerprint\":\"fp_0123456789\"}",
          USAGE_NUMBER);
    print(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
          body.n);
    add(t, body.p, body.n);
    free(body.p);
    a->first = t->n;
}

static bool same(const struct answer *a, const struct answer *b)
{
    return a->shape == b->shape && a->stream == b->stream && a->usage == b->usage &&
           a->wish.chunks == b->wish.chunks && a->wish.gap_us == b->wish.gap_us &&
           a->wish.size == b->wish.size;
}

const struct answer *answer_find(enum answer_shape shape, bool stream, bool usage,
                                 const struct bench_wish *wish)
{
    static struct answer all[ANSWERS_MAX];
    static size_t n, last;
    struct answer a = {.shape = shape, .stream = stream, .usage = usage, .wish = *wish};
    if (n && same(&all[last], &a))
        return &all[last];
    for (last = 0; last < n; last++) {
        if (same(&all[last], &a))
            return &all[last];
    }
    if (n == ANSWERS_MAX)
        bench_die("more than %d different wishes", ANSWERS_MAX);
    struct text t = {0};
    if (stream)
        render_stream(&a, &t);
    else
        render_whole(&a, &t);
    a.bytes = t.p;
    a.n = t.n;
    all[last] = a;
    n++;
    return &all[last];
}

size_t answer_end_of(const struct answer *a, unsigned i)
{
    return i + 1 >= a->n_frames ? a->n : a->first + (i + 1) * a->frame;
}

void answer_render(const struct answer *a, size_t from, size_t n, const char *stamp,
                   const char *stamp_before, char *out)
{
    memcpy(out, a->bytes + from, n);
    if (!a->n_frames)
        return;
    for (size_t i = from <= a->first ? 0 : (from - a->first) / a->frame; i < a->n_frames; i++) {
        size_t begin = a->first + i * a->frame, at = begin + a->stamp_at;
        if (begin >= from + n)
            break;
        const char *digits = begin < from ? stamp_before : stamp;
        if (at >= from && at + RECORD_STAMP <= from + n) {
            memcpy(out + (at - from), digits, RECORD_STAMP);
            continue;
        }
        for (size_t k = 0; k < RECORD_STAMP; k++) {
            if (at + k >= from && at + k < from + n)
                out[at + k - from] = digits[k];
        }
    }
}
