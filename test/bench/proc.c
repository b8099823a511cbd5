/*
 * test/bench/proc.c - see proc.h. schedstat counts in nanoseconds, /proc/PID/stat only in ticks.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "test/bench/proc.h"

uint64_t proc_cpu_ns(int pid)
{
    char path[300];
    uint64_t sum = 0;
    struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = pid > 0 ? opendir(path) : NULL;
    while (tasks && (entry = readdir(tasks))) {
        unsigned long long ns = 0;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, entry->d_name);
        FILE *f = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (f && fscanf(f, "%llu", &ns) == 1)
            sum += ns;
        if (f)
            fclose(f);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

unsigned long proc_rss_kib(int pid)
{
    char line[200];
    unsigned long kib = 0;
    snprintf(line, sizeof line, "/proc/%d/status", pid);
    FILE *f = pid > 0 ? fopen(line, "r") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        if (!strncmp(line, "VmRSS:", 6))
            sscanf(line + 6, "%lu", &kib);
    }
    if (f)
        fclose(f);
    return kib;
}
