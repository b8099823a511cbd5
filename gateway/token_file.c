/*
 * gateway/token_file.c - see token_file.h.
 */
#include "gateway/token_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "gateway/log.h"

bool token_file_place(size_t i, char path[TOKEN_FILE_PATH])
{
    static const char *const places[] = {"", "../", "../share/dragoman/"};
    char folder[TOKEN_FILE_PATH - 64];
    size_t n = sizeof folder;
    if (i >= sizeof places / sizeof *places || uv_exepath(folder, &n))
        return false;
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[1] = '\0';
    snprintf(path, TOKEN_FILE_PATH, "%s%so200k.ranks", folder, places[i]);
    return true;
}

/* Opens the first one there is; -1 = none. */
static int open_table(char path[TOKEN_FILE_PATH])
{
    for (size_t i = 0; token_file_place(i, path); i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            return fd;
    }
    return -1;
}

bool token_file_exists(void)
{
    char path[TOKEN_FILE_PATH];
    int fd = open_table(path);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void map_table(struct token_file *file)
{
    char path[TOKEN_FILE_PATH];
    struct stat st;
    int fd = open_table(path);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        file->n = (size_t)st.st_size;
        file->mapped = mmap(NULL, file->n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (file->mapped == MAP_FAILED)
            file->mapped = NULL;
    }
    close(fd);
    if (file->mapped)
        file->tokenizer = tokenizer_create(span_of(file->mapped, file->n));
    if (!file->tokenizer)
        log_warn("%s cannot be used; tokens are estimated (make ranks writes it anew)", path);
}

static struct tokenizer *get(void *owner)
{
    struct token_file *file = owner;
    if (!file->tried) {
        file->tried = true;
        map_table(file);
    }
    return file->tokenizer;
}

struct token_source token_file_source(struct token_file *file)
{
    return (struct token_source){get, file};
}

void token_file_close(struct token_file *file)
{
    if (file->tokenizer)
        tokenizer_destroy(file->tokenizer);
    if (file->mapped)
        munmap(file->mapped, file->n);
    *file = (struct token_file){0};
}
