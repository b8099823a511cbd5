/*
 * gateway/log.h - one line an event, for people by default, JSON for machines (`log_format =
 * "json"`).
 *
 * Written to stderr or `log_file` with one write each; what one turn of a loop says of its requests
 * leaves together. Values are escaped; no caller hands a secret
 * in: tokens, keys, cookies and URLs with secrets are never arguments of a log call.
 */
#ifndef DRAGOMAN_GATEWAY_LOG_H
#define DRAGOMAN_GATEWAY_LOG_H

#include "gateway/config.h"

/* From the config; opens log_file (append, 0600). Callable again after a reload; SIGHUP reopens. 0
 * or -1 with fail. */
int log_setup(const struct config *, struct fail *);
void log_close(void);
bool log_enabled(enum log_level);

/* From now on the calling thread's records of level info or debug wait until log_flush, or until it
 * says anything else, or crashes. To be followed by log_collect_end in the same thread. */
void log_collect(void);
void log_collect_end(void);
/* Writes what waits of the calling thread. */
void log_flush(void);

/* printf; a sentence without final newline. */
void log_line(enum log_level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_line(LOG_DEBUG, __VA_ARGS__) : (void)0)

/* A line of name=value fields (the access log): log_fields_begin; log_field_*…; log_fields_end. One
 * at a time. */
struct log_record {
    struct buffer text;
    enum log_level level;
};
void log_record_begin(struct log_record *, enum log_level, const char *event);
void log_record_text(struct log_record *, const char *name,
                     struct span value); /* left out when empty */
void log_record_int(struct log_record *, const char *name, int64_t value);
void log_record_end(struct log_record *);

#endif
