/*
 * test/memory/scenario.h - pieces of the product at work, to be repeated with memory short.
 *
 * A scenario uses one part of the product as its callers do and looks at every return value as they
 * have to. It ends in one of two ways: SCENARIO_GOOD, and what it said (scenario_say) is what it
 * says with all the memory it wants; or SCENARIO_SHORT, having checked that the failure is the
 * documented one. Either way everything is freed. A third, SCENARIO_LESS, is for what may be left
 * out by its contract (caches, figures): it is not compared.
 *
 * The runner (test/unit/test_short_memory.c) repeats each with every allocation refused, once alone
 * and once with all behind it.
 */
#ifndef DRAGOMAN_TEST_SCENARIO_H
#define DRAGOMAN_TEST_SCENARIO_H

#include "base/buffer.h"
#include "base/fail.h"
#include "test/memory/short_memory.h"

enum scenario_end { SCENARIO_GOOD, SCENARIO_LESS, SCENARIO_SHORT };

struct scenario {
    const char *name;
    enum scenario_end (*run)(const void *what);
    const void *what; /* what the function is to take, where several scenarios share one */
};

/* What came of it: text that must be the same each time. Needs no memory. */
void scenario_say(struct span text);
void scenario_sayf(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* SCENARIO_SHORT, if the failure says that memory is short; else the scenario ends as wrong. */
enum scenario_end scenario_short(const struct fail *);
_Noreturn void scenario_wrong(const char *file, int line, const char *text);
/* Bytes of a file below test/, read once and for all; outside of what is counted. */
struct span scenario_file(const char *path);

#define SCENARIO_CHECK(condition)                                                                  \
    do {                                                                                           \
        if (!(condition))                                                                          \
            scenario_wrong(__FILE__, __LINE__, #condition);                                        \
    } while (0)

/* Each list ends with name == NULL. */
extern const struct scenario scenarios_base[], scenarios_requests[], scenarios_answers[],
    scenarios_tools[], scenarios_wire[], scenarios_accounts[], scenarios_store[];
/* One for each recorded answer in test/transcripts: those are found when the program starts. */
const struct scenario *scenarios_replay(void);

#endif
