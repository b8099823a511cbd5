/*
 * gateway/heap.h - what the process asks of its allocator. For glibc's; nothing with others.
 */
#ifndef DRAGOMAN_GATEWAY_HEAP_H
#define DRAGOMAN_GATEWAY_HEAP_H

/* Before anything else is done. */
void heap_settle(void);
/* Pages that nothing lies in go back to the kernel. It goes through all of the heap, and takes some
 * 10 ms for every 100 MB: only while nobody waits. */
void heap_give_back(void);
/* The same, if there are many. To find that out takes a third of the time. */
void heap_give_back_spare(void);

#endif
