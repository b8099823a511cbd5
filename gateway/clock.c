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

enum { ID_WORDS = 5, WORD_LETTERS = 5 }; /* together at least as many as a request's id takes */

/* Of a word of random bits, a fraction of one: its first digits to the base 36. */
static void letters_of(uint32_t word, char text[WORD_LETTERS])
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (int i = 0; i < WORD_LETTERS; i++) {
        uint64_t product = (uint64_t)word * (sizeof letters - 1);
        text[i] = letters[product >> 32];
        word = (uint32_t)product;
    }
}

void clock_random_id(char *text, size_t n)
{
    while (n) {
        uint32_t words[ID_WORDS];
        char letters[ID_WORDS * WORD_LETTERS];
        size_t some = n < sizeof letters ? n : sizeof letters;
        clock_random(NULL, words, sizeof words);
        for (int i = 0; i < ID_WORDS; i++)
            letters_of(words[i], letters + i * WORD_LETTERS);
        memcpy(text, letters, some);
        text += some;
        n -= some;
    }
    *text = '\0';
}

int clock_seconds_until(uint64_t at_ms, uint64_t now_ms)
{
    const uint64_t most = UINT64_C(365) * 86400;
    uint64_t s = at_ms > now_ms ? (at_ms - now_ms + 999) / 1000 : 1;
    return (int)(s > most ? most : s);
}
