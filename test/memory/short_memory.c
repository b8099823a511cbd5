/*
 * test/memory/short_memory.c - see short_memory.h.
 *
 * malloc and its kin are defined here under their own names: a program's definition (or that of a
 * preloaded library) comes before the sanitizer's in the loader's search, and hands on to it under
 * its other name. Compiled without sanitizers: it runs before they are ready. operator new throws
 * through it, so exceptions are on.
 */
#include "test/memory/short_memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <uv.h>

/* The linker's and the compilers' names.
 * NOLINTBEGIN(bugprone-reserved-identifier,readability-inconsistent-declaration-parameter-name) */
#define VISIBLE __attribute__((visibility("default")))
#define CALLER  __builtin_return_address(0)

#pragma weak __interceptor_malloc
#pragma weak __interceptor_calloc
#pragma weak __interceptor_realloc
#pragma weak __interceptor_free
#pragma weak __sanitizer_print_stack_trace
void *__interceptor_malloc(size_t n);
void *__interceptor_calloc(size_t n, size_t size);
void *__interceptor_realloc(void *p, size_t n);
void __interceptor_free(void *p);
void __sanitizer_print_stack_trace(void);
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void __libc_free(void *p);

enum { RANGES = 8, HIGH_FILE = 500 };

struct range {
    uintptr_t from, to;
};

static struct memory_plan own_plan, *plan = &own_plan;
static struct range program[RANGES], unseen[RANGES];
static size_t n_program, n_unseen;
static bool ready, trace;
static _Atomic int64_t live;
static _Thread_local int paused;
/* Not yet while the sanitizer prepares a thread: it ends the program when there is no memory. */
static _Thread_local bool begun;

static uint64_t add(uint64_t *to) { return __atomic_add_fetch(to, 1, __ATOMIC_RELAXED); }
static uint64_t get(const uint64_t *from) { return __atomic_load_n(from, __ATOMIC_RELAXED); }

/* ---- who asks ---- */

static bool within(const struct range *r, size_t n, uintptr_t at)
{
    for (size_t i = 0; i < n; i++) {
        if (at >= r[i].from && at < r[i].to)
            return true;
    }
    return false;
}

static int note_object(struct dl_phdr_info *info, size_t size, void *first)
{
    const char *name = info->dlpi_name ? info->dlpi_name : "";
    bool main_program = *(bool *)first;
    bool not_seen = strstr(name, "libcmocka") || strstr(name, "libasan") ||
                    strstr(name, "libubsan") || strstr(name, "short_memory");
    *(bool *)first = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *h = &info->dlpi_phdr[i];
        const struct range r = {info->dlpi_addr + h->p_vaddr,
                                info->dlpi_addr + h->p_vaddr + h->p_memsz};
        if (h->p_type != PT_LOAD || !(h->p_flags & PF_X))
            continue;
        if (main_program && n_program < RANGES)
            program[n_program++] = r;
        else if (not_seen && n_unseen < RANGES)
            unseen[n_unseen++] = r;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    bool first = true;
    const char *file = getenv("SHORT_MEMORY_PLAN"), *wants_trace = getenv("SHORT_MEMORY_TRACE");
    int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *p = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (p != MAP_FAILED)
            plan = p;
    }
    dl_iterate_phdr(note_object, &first);
    trace = wants_trace && *wants_trace == '1';
    ready = begun = true;
}

static bool refuse(void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    if (!ready || !get(&plan->armed) || !begun || paused || within(unseen, n_unseen, at))
        return false;
    bool ours = within(program, n_program, at);
    add(ours ? &plan->ours : &plan->libraries);
    if (!(get(&plan->who) & (ours ? MEMORY_OURS : MEMORY_LIBRARIES)))
        return false;
    uint64_t n = add(&plan->counted), from = get(&plan->fail_at);
    if (!from || n < from || n - from >= get(&plan->fail_n))
        return false;
    add(&plan->refused);
    errno = ENOMEM;
    if (trace && __sanitizer_print_stack_trace) {
        paused++;
        dprintf(2, "refused allocation %llu\n", (unsigned long long)n);
        __sanitizer_print_stack_trace();
        paused--;
        errno = ENOMEM;
    }
    return true;
}

/* ---- what is asked for ---- */

static void *counted(void *p)
{
    if (p)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return p;
}

static void *get_bytes(size_t n, void *caller)
{
    if (refuse(caller))
        return NULL;
    return counted(__interceptor_malloc ? __interceptor_malloc(n) : __libc_malloc(n));
}

VISIBLE void *malloc(size_t n) { return get_bytes(n, CALLER); }

VISIBLE void *calloc(size_t n, size_t size)
{
    if (refuse(CALLER))
        return NULL;
    return counted(__interceptor_calloc ? __interceptor_calloc(n, size) : __libc_calloc(n, size));
}

VISIBLE void *realloc(void *p, size_t n)
{
    if (n && refuse(CALLER)) /* with nothing to keep it frees, and never fails */
        return NULL;
    void *moved = __interceptor_realloc ? __interceptor_realloc(p, n) : __libc_realloc(p, n);
    if (!p)
        counted(moved);
    else if (!n && !moved)
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    return moved;
}

VISIBLE void free(void *p)
{
    if (p)
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    if (__interceptor_free)
        __interceptor_free(p);
    else
        __libc_free(p);
}

static char *copy(const char *s, size_t n, void *caller)
{
    char *p = get_bytes(n + 1, caller);
    if (p) {
        memcpy(p, s, n);
        p[n] = '\0';
    }
    return p;
}

VISIBLE char *strdup(const char *s) { return copy(s, strlen(s), CALLER); }
VISIBLE char *strndup(const char *s, size_t n) { return copy(s, strnlen(s, n), CALLER); }

VISIBLE int asprintf(char **out, const char *format, ...)
{
    va_list args;
    if (refuse(CALLER)) {
        *out = NULL; /* glibc promises nothing */
        return -1;
    }
    paused++; /* counted once, whatever printf asks for on its way */
    va_start(args, format);
    int n = vasprintf(out, format, args);
    va_end(args);
    paused--;
    return n;
}

static void *next_symbol(const char *name)
{
    paused++;
    void *symbol = dlsym(RTLD_NEXT, name);
    paused--;
    if (!symbol)
        abort();
    return symbol;
}

/* ---- threads: they count from their own function on ---- */

struct start {
    void *(*routine)(void *);
    void *arg;
};

typedef int create_function(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

static void *start_thread(void *arg)
{
    const struct start start = *(struct start *)arg;
    free(arg);
    begun = true;
    void *result = start.routine(start.arg);
    begun = false;
    return result;
}

VISIBLE int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                           void *(*routine)(void *), void *arg)
{
    create_function *next = (create_function *)(uintptr_t)next_symbol("pthread_create");
    paused++;
    struct start *start = malloc(sizeof *start);
    paused--;
    if (!start)
        return EAGAIN;
    *start = (struct start){routine, arg};
    int error = next(thread, attributes, start_thread, start);
    if (error)
        free(start);
    return error;
}

/* ---- libuv: it calls abort() when the table of a loop's files cannot grow ---- */

/* Polls one with a high number: the table is as long as that from then on. */
static void grow_table(uv_loop_t *loop)
{
    int (*init)(uv_loop_t *, uv_poll_t *, int) = next_symbol("uv_poll_init");
    int (*start)(uv_poll_t *, int, uv_poll_cb) = next_symbol("uv_poll_start");
    void (*end)(uv_handle_t *, uv_close_cb) = next_symbol("uv_close");
    int (*run)(uv_loop_t *, uv_run_mode) = next_symbol("uv_run");
    uv_poll_t poll;
    int event = eventfd(0, EFD_CLOEXEC), high = fcntl(event, F_DUPFD_CLOEXEC, HIGH_FILE);
    if (high >= 0 && init(loop, &poll, high) == 0) {
        start(&poll, UV_READABLE, NULL);
        end((uv_handle_t *)&poll, NULL);
        run(loop, UV_RUN_NOWAIT);
    }
    close(high);
    close(event);
}

VISIBLE int uv_loop_init(uv_loop_t *loop)
{
    int (*next)(uv_loop_t *) = next_symbol("uv_loop_init");
    int error = next(loop);
    paused++;
    if (!error)
        grow_table(loop);
    paused--;
    return error;
}

/* ---- C++: what new gives only delete takes, so the sanitizer's own are asked ---- */

/* std::__throw_bad_alloc() and std::get_new_handler(), where there is C++ at all. */
typedef void new_handler(void);
_Noreturn void _ZSt17__throw_bad_allocv(void);
new_handler *_ZSt15get_new_handlerv(void);
#pragma weak _ZSt17__throw_bad_allocv
#pragma weak _ZSt15get_new_handlerv
void *_Znwm(size_t n);
void *_Znam(size_t n);
void *_ZnwmRKSt9nothrow_t(size_t n, const void *tag);
void *_ZnamRKSt9nothrow_t(size_t n, const void *tag);

typedef void *new_function(size_t n);
typedef void *new_nothrow_function(size_t n, const void *tag);

/* As new does it: a handler may find memory, and then new tries again. */
static void refuse_or_throw(void *caller)
{
    while (refuse(caller)) {
        new_handler *handler = _ZSt15get_new_handlerv();
        if (!handler)
            _ZSt17__throw_bad_allocv();
        handler();
    }
}

VISIBLE void *_Znwm(size_t n)
{
    static new_function *next;
    refuse_or_throw(CALLER);
    if (!next)
        next = (new_function *)(uintptr_t)next_symbol("_Znwm");
    return next(n);
}

VISIBLE void *_Znam(size_t n)
{
    static new_function *next;
    refuse_or_throw(CALLER);
    if (!next)
        next = (new_function *)(uintptr_t)next_symbol("_Znam");
    return next(n);
}

VISIBLE void *_ZnwmRKSt9nothrow_t(size_t n, const void *tag)
{
    static new_nothrow_function *next;
    if (refuse(CALLER))
        return NULL;
    if (!next)
        next = (new_nothrow_function *)(uintptr_t)next_symbol("_ZnwmRKSt9nothrow_t");
    return next(n, tag);
}

VISIBLE void *_ZnamRKSt9nothrow_t(size_t n, const void *tag)
{
    static new_nothrow_function *next;
    if (refuse(CALLER))
        return NULL;
    if (!next)
        next = (new_nothrow_function *)(uintptr_t)next_symbol("_ZnamRKSt9nothrow_t");
    return next(n, tag);
}

/* NOLINTEND(bugprone-reserved-identifier,readability-inconsistent-declaration-parameter-name) */

/* ---- for tests ---- */

void memory_arm(unsigned who, uint64_t at, uint64_t n)
{
    *plan = (struct memory_plan){.fail_at = at, .fail_n = n, .who = who};
    __atomic_store_n(&plan->armed, 1, __ATOMIC_SEQ_CST);
}

void memory_trace(bool on) { trace = on; }
void memory_disarm(void) { __atomic_store_n(&plan->armed, 0, __ATOMIC_SEQ_CST); }
void memory_pause(void) { paused++; }
void memory_resume(void) { paused--; }
const struct memory_plan *memory_plan(void) { return plan; }
struct memory_plan *memory_plan_share(void)
{
    void *p = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return plan = p;
}

int64_t memory_live(void) { return atomic_load_explicit(&live, memory_order_relaxed); }
