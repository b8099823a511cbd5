/*
 * gateway/clock.c - see clock.h.
 */
#include "gateway/clock.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

int64_t clock_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_day(int64_t wall_ms)
{
    const int64_t day_ms = 86400000;
    return wall_ms >= 0 ? wall_ms / day_ms : -((-wall_ms + day_ms - 1) / day_ms);
}

static void kernel_random(char *p, size_t n)
{
    while (n) {
        ssize_t got = getrandom(p, n < 256 ? n : 256, 0);
        if (got < 0)
            abort(); /* no kernel that we run on lacks it */
        p += got;
        n -= (size_t)got;
    }
}

/* Ids want a few bytes several times a request: the kernel is asked for more at once, each thread
 * for itself. No byte is given out twice, nor kept once it was; nothing here forks. */
void clock_random(void *owner, void *bytes, size_t n)
{
    static _Thread_local char pool[256]; /* as much as the kernel gives in one piece */
    static _Thread_local size_t left;
    if (n > sizeof pool / 2) {
        kernel_random(bytes, n);
        return;
    }
    if (n > left) {
        kernel_random(pool, sizeof pool);
        left = sizeof pool;
    }
    left -= n;
    memcpy(bytes, pool + left, n);
    explicit_bzero(pool + left, n);
}

void clock_random_id(char *text, size_t n)
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    unsigned char bytes[64];
    for (size_t i = 0; i < n; i++) {
        if (i % sizeof bytes == 0)
            clock_random(NULL, bytes, n - i < sizeof bytes ? n - i : sizeof bytes);
        text[i] = letters[bytes[i % sizeof bytes] % 36];
    }
    text[n] = '\0';
}

int clock_seconds_until(uint64_t at_ms, uint64_t now_ms)
{
    const uint64_t most = UINT64_C(365) * 86400;
    uint64_t s = at_ms > now_ms ? (at_ms - now_ms + 999) / 1000 : 1;
    return (int)(s > most ? most : s);
}
