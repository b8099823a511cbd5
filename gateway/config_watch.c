/*
 * gateway/config_watch.c - see config_watch.h.
 *
 * The folder is watched, not the file: editors write another file and rename it. Any event there
 * (also of a log that grows beside it, or of a link that leads elsewhere) only means: look. What
 * counts is which file it is, its size and its times; two looks with the same result, one pause
 * apart, say that whoever writes it has finished.
 *
 * The kernel tells nothing of what happens elsewhere: behind a link, in the place of a folder that
 * was renamed, on another machine of a network file system. So there is a look now and then without
 * any event, and the folder is watched anew when another one stands at its path.
 */
#include "gateway/config_watch.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PAUSE_MS = 300, ANYWAY_MS = 2000 };

/* What one look at a file or folder found; all zero: it is not there. */
struct look {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec written, changed;
};

struct config_watch {
    uv_fs_event_t events;
    uv_timer_t pause, anyway;
    struct look known, latest;
    struct look folder; /* the one that is watched; zero = none */
    void (*changed)(void *owner);
    void *owner;
    int open_handles;
    char *folder_path; /* behind the path */
    char path[];
};

static struct look look_at(const char *path)
{
    struct stat st;
    if (stat(path, &st))
        return (struct look){0};
    return (struct look){st.st_dev, st.st_ino, st.st_size, st.st_mtim, st.st_ctim};
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct look *a, const struct look *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           same_time(a->written, b->written) && same_time(a->changed, b->changed);
}

static void on_pause(uv_timer_t *timer)
{
    struct config_watch *w = timer->data;
    struct look now = look_at(w->path);
    bool settled = same(&now, &w->latest);
    w->latest = now;
    if (!settled) { /* somebody is at it */
        uv_timer_start(timer, on_pause, PAUSE_MS, 0);
    } else if (now.inode && !same(&now, &w->known)) {
        w->known = now;
        w->changed(w->owner); /* which may destroy us */
    }
}

static void look_now(struct config_watch *w)
{
    if (uv_is_active((uv_handle_t *)&w->pause))
        return;
    w->latest = look_at(w->path);
    if (!same(&w->latest, &w->known))
        uv_timer_start(&w->pause, on_pause, PAUSE_MS, 0);
}

static void on_event(uv_fs_event_t *events, const char *name, int what, int status)
{
    look_now(events->data);
}

/* Watches the folder that stands at the path now. 0, or an error of libuv's: `anyway` tries again.
 */
static int watch_folder(struct config_watch *w)
{
    struct look now = look_at(w->folder_path);
    if (now.inode && now.device == w->folder.device && now.inode == w->folder.inode)
        return 0;
    uv_fs_event_stop(&w->events);
    int rc = uv_fs_event_start(&w->events, on_event, w->folder_path, 0);
    w->folder = now;
    if (rc)
        w->folder.inode = 0;
    return rc;
}

static void on_anyway(uv_timer_t *timer)
{
    struct config_watch *w = timer->data;
    watch_folder(w);
    look_now(w);
}

static void on_closed(uv_handle_t *handle)
{
    struct config_watch *w = handle->data;
    if (--w->open_handles == 0)
        free(w);
}

struct config_watch *config_watch_create(uv_loop_t *loop, const char *path,
                                         void (*changed)(void *owner), void *owner,
                                         struct fail *fail)
{
    size_t n = strlen(path) + 1;
    struct config_watch *w = calloc(1, sizeof *w + 2 * n + 2); /* dirname may make it "." */
    if (!w) {
        fail_memory(fail);
        return NULL;
    }
    memcpy(w->path, path, n);
    memcpy(w->path + n, path, n);
    w->folder_path = dirname(w->path + n);
    w->changed = changed;
    w->owner = owner;
    w->open_handles = 3;
    w->known = look_at(path);
    uv_timer_init(loop, &w->pause);
    uv_timer_init(loop, &w->anyway);
    uv_fs_event_init(loop, &w->events);
    w->pause.data = w->anyway.data = w->events.data = w;
    int rc = watch_folder(w);
    if (rc) {
        fail_set(fail, FAIL_INTERNAL, "the folder of %s cannot be watched: %s", path,
                 uv_strerror(rc));
        config_watch_destroy(w);
        return NULL;
    }
    uv_timer_start(&w->anyway, on_anyway, ANYWAY_MS, ANYWAY_MS);
    uv_unref((uv_handle_t *)&w->events);
    uv_unref((uv_handle_t *)&w->pause);
    uv_unref((uv_handle_t *)&w->anyway);
    return w;
}

void config_watch_seen(struct config_watch *w)
{
    if (w)
        w->known = look_at(w->path);
}

void config_watch_destroy(struct config_watch *w)
{
    if (!w)
        return;
    uv_close((uv_handle_t *)&w->events, on_closed);
    uv_close((uv_handle_t *)&w->pause, on_closed);
    uv_close((uv_handle_t *)&w->anyway, on_closed);
}
