/*
 * gateway/token_file.h - the tokenizer's table on disk: mapped into memory when the first text is
 * counted.
 *
 * Looked for as o200k.ranks in the program's folder, one above it (a build folder), and in
 * ../share/dragoman (an installation). A mapped table costs 4 MB of shared, file-backed memory.
 */
#ifndef DRAGOMAN_GATEWAY_TOKEN_FILE_H
#define DRAGOMAN_GATEWAY_TOKEN_FILE_H

#include "gateway/token_count.h"

struct token_file {
    bool tried; /* missing or bad: not looked for again */
    void *mapped;
    size_t n;
    struct tokenizer *tokenizer;
};

/* The i-th place where it is looked for; false behind the last. */
enum { TOKEN_FILE_PATH = 4096 };
bool token_file_place(size_t i, char path[TOKEN_FILE_PATH]);
/* Is there such a file, without reading it? For the start's log line. */
bool token_file_exists(void);
/* `file` is zeroed, owned by the caller and outlives the source. */
struct token_source token_file_source(struct token_file *file);
void token_file_close(struct token_file *);

#endif
