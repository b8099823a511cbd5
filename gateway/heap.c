/*
 * gateway/heap.c - see heap.h.
 *
 * glibc gives the end of the heap back to the kernel whenever 128 KiB of it are free, and asks for
 * it anew a moment later: two calls and a few page faults a request, when some are under way at
 * once. So a few MiB may stay. What is large (bodies with pictures) goes back at once, wherever it
 * lies. What lies between, where long-lived blocks stand everywhere in a heap that thousands of
 * streams have used, is given back when somebody says so.
 */
#include "gateway/heap.h"

#include <stdlib.h>

#ifdef __GLIBC__
#include <malloc.h>

enum { STAYS = 4 << 20, LARGE = 1 << 20 };

void heap_settle(void)
{
    mallopt(M_TRIM_THRESHOLD, STAYS);
    mallopt(M_MMAP_THRESHOLD, LARGE);
}

void heap_give_back(void) { malloc_trim(0); }

void heap_give_back_spare(void)
{
    struct mallinfo2 heap = mallinfo2();
    if (heap.fordblks > STAYS && heap.fordblks > heap.uordblks / 2)
        malloc_trim(0);
}

#else

void heap_settle(void) {}

void heap_give_back(void) {}

void heap_give_back_spare(void) {}

#endif
