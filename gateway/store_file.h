/*
 * gateway/store_file.h - the store's SQLite file: opening it without doing harm, its versions, its
 * rows. Private to gateway/store*.c.
 *
 * Used by one thread at a time and blocking: store.c sees to both. Rows travel in one shape for all
 * tables: texts first, then numbers, in the order of the table's columns; store.c knows what
 * they mean.
 */
#ifndef DRAGOMAN_GATEWAY_STORE_FILE_H
#define DRAGOMAN_GATEWAY_STORE_FILE_H

#include "gateway/store.h"

enum store_table {
    TABLE_CREDENTIAL,
    TABLE_ACCOUNT,
    TABLE_COUNTER,
    TABLE_MODELS,
    TABLE_META,
    TABLE_RESPONSE,
    TABLE_CONVERSATION,
    TABLE_UPLOAD,
    TABLE_COUNT
};

enum { ROW_TEXTS = 5, ROW_NUMBERS = 4 };

struct store_row {
    struct store_row *next;  /* in the transaction to come, or in the one that is written */
    struct store_row **back; /* store.c: what points at it in that list */
    struct store_row *chain; /* store.c: its look-up */
    enum store_table table;
    bool forget; /* only the key counts */
    const char *text[ROW_TEXTS];
    int64_t number[ROW_NUMBERS];
    size_t size;
    char bytes[]; /* the texts */
};

struct store_shape {
    int texts, numbers;
    int key_texts, key_numbers; /* the first so many make the key */
};
extern const struct store_shape store_shapes[TABLE_COUNT];

struct store_file;

struct store_file *store_file_create(struct span data_dir, struct span secret);
void store_file_destroy(struct store_file *); /* closes; NULL is fine */
const char *store_file_path(const struct store_file *);

/* Nothing to do when it is open. After anything but STORE_OPEN it is closed. */
enum store_opened store_file_open(struct store_file *, struct fail *);
bool store_file_is_open(const struct store_file *);
/* Gives file and lock back. */
void store_file_close(struct store_file *);
/* store_rebuild; `aside` becomes the new name, "" when there was no file. */
int store_file_move_aside(struct store_file *, char *aside, size_t size, struct fail *);

/* Every row of every table; `found` gets rows without `bytes`, valid during the call. */
enum store_opened store_file_read(struct store_file *,
                                  void (*found)(void *owner, const struct store_row *), void *owner,
                                  struct fail *);
/* All of the list in one transaction, or none. Opens the file first. 0, or -1 with fail. */
int store_file_write(struct store_file *, const struct store_row *first, struct fail *);
/* What is older than that goes (store_prune). */
struct store_age {
    int64_t day, changed_ms;
};
int store_file_prune(struct store_file *, const struct store_age *, struct fail *);

/* ---- responses ---- */

struct stored_response {
    char *previous, *body; /* malloc'd */
    size_t n_body;
    int64_t expires_ms;
};
/* Each returns 1, 0 when the owner has none of that id (or it ended before `now_ms`), or -1 when
 * the file cannot be read. */
int store_file_find_response(struct store_file *, const char *id, const char *owner, int64_t now_ms,
                             struct stored_response *);
int store_file_forget_response(struct store_file *, const char *id, const char *owner);
int store_file_renew_response(struct store_file *, const char *id, int64_t expires_ms);

#endif
