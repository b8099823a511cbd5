/*
 * test/memory/scenarios_replay.c - every recorded answer of test/transcripts through its adapter,
 * from the first request to the last delta (gateway/replay.h).
 */
#include <glob.h>
#include <string.h>

#include "gateway/replay.h"
#include "test/memory/scenario.h"

enum { TRANSCRIPTS_MAX = 600, TEXT_MAX = 1 << 20 };

static char text[TEXT_MAX];

static enum scenario_end play(const void *what)
{
    struct fail fail = {0};
    memory_pause();
    FILE *out = fmemopen(text, sizeof text, "w");
    SCENARIO_CHECK(out);
    setvbuf(out, NULL, _IONBF, 0);
    memory_resume();
    enum replay_result result = replay(what, NULL, false, out, &fail);
    memory_pause();
    long n = ftell(out);
    fclose(out);
    memory_resume();
    if (result != REPLAY_PLAYED) {
        SCENARIO_CHECK(fail.kind != FAIL_NONE && fail.message[0]);
        if (fail.kind == FAIL_MEMORY || strstr(fail.message, "memory"))
            return SCENARIO_SHORT;
        return scenario_short(&fail);
    }
    /* Its last line says how it ended. */
    if (strstr(text, "\"kind\":\"memory\"") || strstr(text, "out of memory") ||
        strstr(text, "{\"end\":\"failed\",\"failure\":null")) /* nobody took the delta */
        return SCENARIO_SHORT;
    scenario_say(span_of(text, (size_t)n));
    return SCENARIO_GOOD;
}

const struct scenario *scenarios_replay(void)
{
    static struct scenario list[TRANSCRIPTS_MAX + 1];
    static glob_t found;
    size_t n = 0;
    if (glob(TEST_SOURCE_DIR "/transcripts/*/*", 0, NULL, &found))
        return list;
    for (size_t i = 0; i < found.gl_pathc && n < TRANSCRIPTS_MAX; i++) {
        const char *path = found.gl_pathv[i];
        if (strstr(path, ".expected.json") || strstr(path, "setup.json"))
            continue;
        const char *name = strstr(path, "/transcripts/") + strlen("/transcripts/");
        list[n++] = (struct scenario){name, play, path};
    }
    return list;
}
