/*
 * gateway/sandbox.c - see sandbox.h: which places stay within reach, and closing both locks.
 *
 * Reading is allowed in the folders of the files that the configuration names, not only of those
 * files: a reload has to find one that was replaced meanwhile, which is another file to the kernel.
 */
#include "gateway/sandbox.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/folder.h"
#include "gateway/log.h"
#include "gateway/sandbox_locks.h"
#include "gateway/token_file.h"

enum { PATHS_MAX = 512 };

/* What libc reads when it looks a name up or tells the time, and mbedTLS its roots. */
static const char *const system_places[] = {
    "/etc",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/nscd",
    "/run/NetworkManager",
    "/var/run/nscd",
    "/proc",
    "/sys/devices/system/cpu",
    "/dev/null",
    "/dev/urandom",
    "/dev/random",
};

struct list {
    struct sandbox_path *paths; /* PATHS_MAX */
    size_t n;
    struct arena *arena;
    bool failed;
};

static void add(struct list *l, struct span path, bool writable)
{
    for (size_t i = 0; i < l->n; i++) {
        if (span_eq(l->paths[i].path, path)) {
            l->paths[i].writable |= writable;
            return;
        }
    }
    if (l->n == PATHS_MAX) {
        l->failed = true;
        return;
    }
    struct span copy = arena_dup(l->arena, path); /* ends with a NUL */
    l->failed |= !copy.p;
    l->paths[l->n++] = (struct sandbox_path){copy, writable};
}

static void add_parent(struct list *l, const char *file, bool writable)
{
    const char *slash = strrchr(file, '/');
    add(l,
        slash > file ? span_of(file, (size_t)(slash - file))
        : slash      ? SPAN("/")
                     : SPAN("."),
        writable);
}

/* Where it is, and where it leads to. */
static void add_folder_of(struct list *l, struct span file, bool writable)
{
    char real[PATH_MAX];
    if (!file.n)
        return;
    add_parent(l, file.p, writable);
    if (realpath(file.p, real))
        add_parent(l, real, writable);
}

/* A watched file is followed into another folder that takes the place of its own. */
static void add_what_is_around(struct list *l, struct span file)
{
    char real[PATH_MAX];
    if (!realpath(file.p, real))
        return;
    char *slash = strrchr(real, '/');
    if (slash == real)
        return;
    *slash = '\0';
    add_parent(l, real, false);
}

/* A folder that the gateway writes into; it could not be made later. One that cannot be made leaves
 * what there is of its path, so that who tries next hears the true reason. */
static void add_own(struct list *l, struct span folder)
{
    char part[PATH_MAX];
    if (!folder.n)
        return;
    if (folder_make(folder.p) == 0 || folder.n >= sizeof part) {
        add(l, folder, true);
        return;
    }
    memcpy(part, folder.p, folder.n + 1);
    for (char *slash = strrchr(part, '/'); slash && slash > part && access(part, F_OK);
         slash = strrchr(part, '/'))
        *slash = '\0';
    add(l, span_str(part), true);
}

static void add_config(struct list *l, const struct config *config)
{
    if (config->file.n) { /* the built-in demo keeps nothing */
        add_folder_of(l, config->file, false);
        if (config->watch)
            add_what_is_around(l, config->file);
        add_own(l, config->data_dir);
    }
    add_own(l, config->capture_dir);
    add_folder_of(l, config->log_file, true); /* it is rotated */
    add_folder_of(l, config->tls_cert, false);
    add_folder_of(l, config->tls_key, false);
    for (size_t i = 0; i < config->n_listen; i++) {
        if (config->listen[i].is_unix) /* made anew, and removed at the end */
            add_folder_of(l, config->listen[i].host, true);
    }
    for (size_t i = 0; i < config->n_sites; i++)
        add_folder_of(l, config->sites[i].ca_file, false);
    for (size_t i = 0; i < config->n_routes; i++)
        add_folder_of(l, config->routes[i].own.ca_file, false);
    for (const struct secret_file *f = config->secret_files; f; f = f->next)
        add_folder_of(l, f->path, false);
}

size_t sandbox_paths(const struct config *config, struct arena *arena,
                     const struct sandbox_path **paths)
{
    struct list l = {.paths = arena_alloc(arena, PATHS_MAX * sizeof *l.paths), .arena = arena};
    const char *roots = getenv("SSL_CERT_FILE");
    char table[TOKEN_FILE_PATH];
    if (!l.paths)
        return 0;
    for (size_t i = 0; i < sizeof system_places / sizeof *system_places; i++)
        add(&l, span_str(system_places[i]), false);
    add_folder_of(&l, span_str(roots), false);
    for (size_t i = 0; token_file_place(i, table); i++)
        add(&l, span_str(table), false);
    add_config(&l, config);
    *paths = l.paths;
    return l.failed ? 0 : l.n;
}

static int lock_files(const struct config *config)
{
    const struct sandbox_path *paths;
    struct arena arena;
    arena_init(&arena);
    size_t n = sandbox_paths(config, &arena, &paths);
    int error = n ? sandbox_lock_files(paths, n) : ENOMEM;
    arena_free(&arena);
    return error;
}

/* Says what could not be locked; -1 with fail where it must be. */
static int complain(const struct config *config, const char *what, int error, struct fail *fail)
{
    if (config->sandbox == SANDBOX_ON)
        return fail_set(fail, FAIL_INTERNAL,
                        "server.sandbox = \"on\", but this kernel has no %s (%s); \"auto\" goes on "
                        "without it",
                        what, strerror(error));
    log_info("no %s here (%s): the gateway runs without that lock", what, strerror(error));
    return 0;
}

int sandbox_enter(const struct config *config, struct fail *fail)
{
    int closed = 0;
    if (config->sandbox == SANDBOX_OFF)
        return 0;
    int error = lock_files(config);
    if (error && complain(config, "Landlock", error, fail))
        return -1;
    closed |= error ? 0 : SANDBOX_FILES;
    error = sandbox_lock_calls();
    if (error && complain(config, "seccomp filter", error, fail))
        return -1;
    return closed | (error ? 0 : SANDBOX_CALLS);
}
