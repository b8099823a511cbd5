/*
 * test/fuzz/fuzz_replay.c - capture files that somebody else sent: setup and recorded answer
 * through `dragoman replay`.
 *
 * Up to the first NUL: the setup (JSON); behind it the answer. What must hold: no finding; played
 * or refused with a sentence; what is printed is lines of JSON.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "gateway/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz-replay-XXXXXX";
static char body_path[64], setup_path[64];

static void remove_files(void)
{
    unlink(body_path);
    unlink(setup_path);
    rmdir(folder);
}

static void make_folder(void)
{
    if (body_path[0])
        return;
    if (!mkdtemp(folder))
        abort();
    snprintf(body_path, sizeof body_path, "%s/a.sse", folder);
    snprintf(setup_path, sizeof setup_path, "%s/a.setup.json", folder);
    atexit(remove_files);
}

static void write_file(const char *path, struct span text)
{
    FILE *f = fopen(path, "wbe");
    if (!f)
        abort();
    fwrite(text.p, 1, text.n, f);
    fclose(f);
}

static void check_lines(struct span out)
{
    struct json_parser *json = json_parser_create(1 << 24);
    struct span line;
    assert(!out.n || out.p[out.n - 1] == '\n');
    while (span_split(&out, '\n', &line)) {
        struct buffer copy; /* the parser wants room behind its text */
        struct json root;
        buffer_init(&copy, 1 << 24);
        buffer_append(&copy, line);
        assert(!line.n || json_parse(json, buffer_span(&copy), &root) == JSON_OK);
        buffer_free(&copy);
    }
    json_parser_destroy(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct span text = span_of((const char *)data, size);
    ptrdiff_t end = span_find_char(text, '\0');
    char *out = NULL;
    size_t n = 0;
    struct fail fail = {0};
    make_folder();
    write_file(setup_path, end < 0 ? text : span_first(text, (size_t)end));
    write_file(body_path, end < 0 ? SPAN("") : span_from(text, (size_t)end + 1));
    FILE *f = open_memstream(&out, &n);
    assert(f);
    enum replay_result result = replay(body_path, NULL, size < 128, f, &fail);
    fclose(f);
    if (result == REPLAY_PLAYED)
        check_lines(span_of(out, n));
    else
        assert(fail.kind != FAIL_NONE && fail.message[0]);
    free(out);
    return 0;
}
