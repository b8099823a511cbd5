/*
 * gateway/log.c - see log.h. Lines are built in memory and leave with one write(2), so that lines
 * of several loops never mix. A loop's records wait for each other until its turn is over; anything
 * else that its thread says takes them along, so that the order is kept. A handler of the signals
 * that mean a crash writes what waits.
 *
 * This is the one place with global state: a log belongs to the process. How lines look changes
 * with a reload, while no other loop runs. The hard part is that a line may carry bytes from
 * anywhere (a client's path, a site's error): control characters, DEL, C1 controls and broken UTF-8
 * are escaped, so that a line stays one line and a terminal stays itself.
 */
#include "gateway/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/word.h"

enum {
    LINE_MAX_BYTES = 1 << 20,   /* one line, everything included */
    LINE_USUAL = 480,           /* most lines are no longer */
    LINE_KEPT = 4096,           /* room for a line that a collecting thread keeps */
    LINE_TAIL = 16,             /* kept free for what closes a line */
    BATCH = 32 << 10,           /* lines that wait; more of them leave at once */
    VALUE_MAX_BYTES = 128 << 10 /* one value before escaping */
};

static struct {
    int fd;
    enum log_level level;
    bool json;
    /* rotation of log_file */
    char path[CONFIG_PATH_MAX];
    size_t size, max_size; /* bytes; max_size 0 = never */
    int keep;
    bool torn; /* the last line was cut short */
} sink = {.fd = STDERR_FILENO, .level = LOG_INFO};

/* Of the file: only one line at a time leaves, or begins a new one. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* What a collecting thread has: whole lines, which never move, and room to build one in. */
struct batch {
    size_t n;
    struct buffer line;
    char lines[BATCH];
};
static _Thread_local struct batch *batch;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
}

static void close_file(void)
{
    if (sink.fd != STDERR_FILENO)
        close(sink.fd);
    sink.fd = STDERR_FILENO;
}

static void use_file(int fd)
{
    struct stat st;
    sink.fd = fd;
    sink.size = fd != STDERR_FILENO && fstat(fd, &st) == 0 ? (size_t)st.st_size : 0;
    if (fd != STDERR_FILENO && !sink.size)
        sink.torn = false;
}

/* FILE becomes FILE.1, FILE.1 becomes FILE.2 …; the last one goes. When the new one cannot be
 * opened the old one goes on. */
static void rotate(void)
{
    char from[CONFIG_PATH_MAX + 16], to[CONFIG_PATH_MAX + 16];
    for (int i = sink.keep; i > 0; i--) {
        snprintf(to, sizeof to, "%s.%d", sink.path, i);
        if (i > 1)
            snprintf(from, sizeof from, "%s.%d", sink.path, i - 1);
        else
            snprintf(from, sizeof from, "%s", sink.path);
        (void)rename(from, to); /* there need not be so many yet */
    }
    if (sink.keep == 0)
        (void)unlink(sink.path);
    int fd = open_file(sink.path);
    if (fd < 0) {
        sink.max_size = 0;
        return;
    }
    close_file();
    use_file(fd);
}

int log_setup(const struct config *config, struct fail *fail)
{
    int fd = STDERR_FILENO;
    if (config->log_file.n) {
        fd = open_file(config->log_file.p);
        if (fd < 0)
            return fail_set(fail, FAIL_INTERNAL, "cannot open the log file %s: %s",
                            config->log_file.p, strerror(errno));
    }
    log_flush();
    pthread_mutex_lock(&lock);
    close_file();
    snprintf(sink.path, sizeof sink.path, "%.*s", SPAN_ARGS(config->log_file));
    sink.max_size = config->log_max_size;
    sink.keep = config->log_keep;
    use_file(fd);
    sink.level = config->log_level;
    sink.json = config->log_json;
    pthread_mutex_unlock(&lock);
    return 0;
}

void log_close(void)
{
    log_flush();
    pthread_mutex_lock(&lock);
    close_file();
    pthread_mutex_unlock(&lock);
}

bool log_enabled(enum log_level level) { return level <= sink.level; }

/* ---- escaping ---- */

/* The length of the UTF-8 character at the start of `s` and its code point; 0 when it is none. */
static size_t decode_utf8(struct span s, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char lead = (unsigned char)s.p[0];
    size_t n = lead < 0x80   ? 1
               : lead < 0xC2 ? 0
               : lead < 0xE0 ? 2
               : lead < 0xF0 ? 3
               : lead < 0xF5 ? 4
                             : 0;
    if (n == 0 || n > s.n)
        return 0;
    *code = n == 1 ? lead : lead & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c & 0xC0) != 0x80)
            return 0;
        *code = *code << 6 | (c & 0x3F);
    }
    return *code < least[n] || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000) ? 0 : n;
}

static void append_escape(struct buffer *out, uint32_t code)
{
    const char *brief = code == '\n' ? "\\n" : code == '\r' ? "\\r" : code == '\t' ? "\\t" : NULL;
    if (brief)
        buffer_append(out, span_str(brief));
    else if (sink.json)
        buffer_printf(out, "\\u%04x", code);
    else
        buffer_printf(out, "\\x%02x", code);
}

/* Appends `text` so that it stands inside one line; with `quoted`, also inside double quotes. */
static void append_escaped(struct buffer *out, struct span text, bool quoted)
{
    size_t from = 0, at = 0;
    if (!text.p)
        return;
    while (at < text.n) {
        unsigned char c = (unsigned char)text.p[at];
        if (c >= ' ' && c < 0x7F && c != '"' && c != '\\') { /* nearly all of them */
            at++;
            continue;
        }
        uint32_t code = 0;
        size_t n = decode_utf8(span_from(text, at), &code);
        bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
        bool mark = quoted && (code == '"' || code == '\\');
        if (n && !control && !mark) {
            at += n;
            continue;
        }
        buffer_append(out, span_of(text.p + from, at - from));
        if (n == 0 && sink.json)
            buffer_append(out, SPAN("\xEF\xBF\xBD")); /* JSON has no way to hold a byte */
        else if (n == 0)
            append_escape(out, (unsigned char)text.p[at]);
        else if (control)
            append_escape(out, code);
        else
            buffer_printf(out, "\\%c", (char)code);
        at += n ? n : 1;
        from = at;
    }
    buffer_append(out, span_of(text.p + from, text.n - from));
}

/* Nothing in it has to be escaped, and it needs no quotes, in either form: as it is with nearly all
 * values. */
static bool is_plain(struct span text)
{
    size_t i = 0;
    for (; text.n - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t w = word_load(text.p + i);
        if (word_below(w, ' ' + 1) | word_equal(w, 0x7F) | word_equal(w, '"') |
            word_equal(w, '\\') | word_equal(w, '=') | (w & WORD_TOPS))
            return false;
    }
    for (; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c <= ' ' || c >= 0x7F || c == '"' || c == '\\' || c == '=')
            return false;
    }
    return true;
}

static bool needs_quotes(struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        if ((unsigned char)text.p[i] <= ' ' || text.p[i] == '"' || text.p[i] == '=' ||
            text.p[i] == '\\')
            return true;
    }
    return text.n == 0;
}

/* ---- lines ---- */

/* The time up to its second; put into words once for each. */
static struct span second_text(time_t second)
{
    static _Thread_local struct {
        time_t second;
        bool json;
        size_t n; /* 0: there is none yet */
        char text[32];
    } last;
    struct tm tm;
    if (last.n && last.second == second && last.json == sink.json)
        return span_of(last.text, last.n);
    last.second = second;
    last.json = sink.json;
    last.n = 0;
    if (last.json && gmtime_r(&second, &tm))
        last.n = strftime(last.text, sizeof last.text, "%Y-%m-%dT%H:%M:%S", &tm);
    else if (!last.json && localtime_r(&second, &tm))
        last.n = strftime(last.text, sizeof last.text, "%Y-%m-%d %H:%M:%S", &tm);
    return span_of(last.text, last.n);
}

/* The time, ".123" and all. */
static void append_time(struct buffer *line)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int ms = (int)(now.tv_nsec / 1000000);
    buffer_append(line, second_text(now.tv_sec));
    buffer_append(line, span_of((const char[]){'.', (char)('0' + ms / 100),
                                               (char)('0' + ms / 10 % 10), (char)('0' + ms % 10)},
                                4));
}

static void begin_line(struct buffer *line, enum log_level level)
{
    static const char blanks[] = "     ";
    const struct span name = span_str(level_names[level]);
    buffer_init(line, LINE_MAX_BYTES - LINE_TAIL);
    if (batch && batch->line.p) {
        line->p = batch->line.p;
        line->cap = batch->line.cap;
        batch->line.p = NULL;
    }
    buffer_reserve(line, LINE_USUAL);
    if (sink.json) {
        buffer_append(line, SPAN("{\"time\":\""));
        append_time(line);
        buffer_append(line, SPAN("Z\",\"level\":\""));
        buffer_append(line, name);
        buffer_append(line, SPAN("\",\"message\":\""));
    } else {
        append_time(line);
        buffer_char(line, ' ');
        buffer_append(line, name);
        buffer_append(line, span_of(blanks, name.n < 5 ? 6 - name.n : 1)); /* five columns */
    }
}

/* A log that cannot be written is no reason to stop serving: what does not fit is dropped. From a
 * line that fitted in part the next one that fits is kept apart. */
static void write_all(const char *p, size_t n)
{
    const char *begin = p;
    if (sink.torn && write(sink.fd, "\n", 1) != 1)
        return;
    sink.torn = false;
    while (n) {
        ssize_t taken = write(sink.fd, p, n);
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken <= 0)
            break;
        p += taken;
        n -= (size_t)taken;
    }
    sink.torn = n && p > begin && p[-1] != '\n';
}

static void put_lines(const char *p, size_t n)
{
    pthread_mutex_lock(&lock);
    if (sink.fd != STDERR_FILENO && sink.max_size && sink.size && sink.size + n > sink.max_size)
        rotate();
    sink.size += n;
    write_all(p, n);
    pthread_mutex_unlock(&lock);
}

void log_flush(void)
{
    if (!batch || !batch->n)
        return;
    size_t n = batch->n;
    batch->n = 0;
    put_lines(batch->lines, n);
}

/* The room goes to the thread's next line, if it is not large. */
static void free_line(struct buffer *line)
{
    if (batch && !batch->line.p && line->p && line->cap <= LINE_KEPT)
        batch->line = *line;
    else
        free(line->p);
}

/* `waits`: it may leave with others. */
static void end_line(struct buffer *line, bool waits)
{
    line->limit = LINE_MAX_BYTES;
    line->error = BUFFER_OK;
    buffer_append(line, sink.json ? SPAN("}\n") : SPAN("\n"));
    if (!batch || !waits || line->n > BATCH - batch->n)
        log_flush();
    if (batch && waits && line->n <= BATCH) {
        memcpy(batch->lines + batch->n, line->p, line->n);
        batch->n += line->n;
    } else {
        put_lines(line->p, line->n);
    }
    free_line(line);
}

/* ---- collecting ---- */

static const int crashes[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV};
enum { CRASHES = sizeof crashes / sizeof *crashes };
static struct sigaction former[CRASHES];

/* The thread's last lines, as they may tell what it was at; then the signal has its way. No lock:
 * whoever holds it may never give it back. */
static void on_crash(int number, siginfo_t *info, void *context)
{
    if (batch)
        write_all(batch->lines, batch->n);
    for (size_t i = 0; i < CRASHES; i++)
        sigaction(crashes[i], &former[i], NULL);
    if (info->si_code <= 0) /* sent; else what went wrong does so again */
        raise(number);
}

static void expect_crashes(void)
{
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < CRASHES; i++)
        sigaction(crashes[i], &action, &former[i]);
}

void log_collect(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (batch)
        return;
    batch = malloc(sizeof *batch);
    if (!batch)
        return;
    batch->n = 0;
    buffer_init(&batch->line, LINE_MAX_BYTES);
    pthread_once(&once, expect_crashes);
}

void log_collect_end(void)
{
    if (!batch)
        return;
    log_flush();
    buffer_free(&batch->line);
    free(batch);
    batch = NULL;
}

void log_line(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level))
        return;
    int saved = errno;
    struct buffer line, text;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    buffer_init(&text, VALUE_MAX_BYTES);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    size_t room = need < 0                         ? 0
                  : (size_t)need < VALUE_MAX_BYTES ? (size_t)need + 1
                                                   : VALUE_MAX_BYTES;
    char *at = room ? buffer_reserve(&text, room) : NULL;
    if (at) {
        vsnprintf(at, room, format, again);
        text.n = room - 1;
    }
    va_end(again);

    begin_line(&line, level);
    append_escaped(&line, at ? buffer_span(&text) : span_str(format), sink.json);
    if (sink.json)
        buffer_char(&line, '"');
    end_line(&line, false);
    buffer_free(&text);
    errno = saved;
}

/* ---- records ---- */

void log_record_begin(struct log_record *record, enum log_level level, const char *event)
{
    record->level = level;
    buffer_init(&record->text, 0); /* not enabled: every append is refused */
    if (!log_enabled(level))
        return;
    begin_line(&record->text, level);
    append_escaped(&record->text, span_str(event), sink.json);
    if (sink.json)
        buffer_char(&record->text, '"');
}

static void begin_field(struct buffer *line, const char *name)
{
    const size_t n = strlen(name);
    char *to = buffer_reserve(line, n + sizeof ",\"\":" - 1);
    if (!to)
        return;
    *to++ = sink.json ? ',' : ' ';
    if (sink.json)
        *to++ = '"';
    memcpy(to, name, n);
    to += n;
    if (sink.json)
        *to++ = '"';
    *to++ = sink.json ? ':' : '=';
    line->n = (size_t)(to - line->p);
}

/* A field that does not fit is left out whole, so that the line stays readable. */
static void end_field(struct buffer *line, size_t before)
{
    if (line->error && line->limit) {
        line->n = before;
        line->error = BUFFER_OK;
    }
}

void log_record_text(struct log_record *record, const char *name, struct span value)
{
    struct buffer *line = &record->text;
    size_t before = line->n;
    struct span shown = span_first(value, VALUE_MAX_BYTES);
    if (value.n == 0)
        return;
    begin_field(line, name);
    if (!sink.json && shown.n == value.n && is_plain(value)) {
        buffer_append(line, value);
        end_field(line, before);
        return;
    }
    bool quoted = sink.json || needs_quotes(shown) || shown.n < value.n;
    if (quoted)
        buffer_char(line, '"');
    append_escaped(line, shown, quoted);
    if (shown.n < value.n)
        buffer_printf(line, "... (%zu bytes)", value.n);
    if (quoted)
        buffer_char(line, '"');
    end_field(line, before);
}

void log_record_int(struct log_record *record, const char *name, int64_t value)
{
    size_t before = record->text.n;
    begin_field(&record->text, name);
    buffer_int(&record->text, value);
    end_field(&record->text, before);
}

void log_record_end(struct log_record *record)
{
    if (record->text.limit)
        end_line(&record->text, record->level >= LOG_INFO);
    else
        buffer_free(&record->text);
}
