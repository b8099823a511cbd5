/*
 * gateway/capture_files.c - captures as text, masked, and the folder they are kept in. Masking and
 * writing are a job of the thread pool: it has the capture for itself. The config's reference goes
 * back on the loop.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "adapters/support.h"
#include "base/json.h"
#include "base/json_write.h"
#include "gateway/capture_internal.h"
#include "gateway/clock.h"
#include "gateway/log.h"
#include "sse/text_guard.h"

enum { SETUP_MAX = 64 << 20, PATH_SIZE = 4096 };

/* ---- as text ---- */

/* A masked copy in the arena; "" when memory is short. */
static struct span masked(struct capture *c, const struct mask *m, struct span text, bool strict)
{
    struct span copy = arena_dup(&c->arena, text);
    if (!copy.p) {
        c->short_of_memory = true;
        return span_of("", 0);
    }
    mask_apply(m, (char *)(uintptr_t)copy.p, copy.n, strict);
    return copy;
}

static void write_headers(struct capture *c, struct json_writer *w, const struct mask *m,
                          const struct header *headers, size_t n)
{
    json_key(w, "headers");
    json_begin_array(w);
    for (size_t i = 0; i < n; i++) {
        struct span value = masked(c, m, headers[i].value, false);
        struct span name = masked(c, m, headers[i].name, false);
        if (mask_hides_header(headers[i].name))
            mask_fill((char *)(uintptr_t)value.p, value.n);
        json_begin_array(w);
        json_string(w, json_valid_utf8(name) ? name : SPAN("?"));
        json_string(w, json_valid_utf8(value) ? value : SPAN("?"));
        json_end_array(w);
    }
    json_end_array(w);
}

/* "body", or "body_base64" for what is no text. */
static void write_body(struct capture *c, struct json_writer *w, struct span body)
{
    if (json_valid_utf8(body)) {
        json_member(w, "body", body);
        return;
    }
    struct span encoded = base64_encode(&c->arena, body);
    c->short_of_memory |= !encoded.p;
    json_member(w, "body_base64", encoded);
}

static void write_request(struct capture *c, struct json_writer *w, const struct mask *m,
                          const struct capture_step *s)
{
    struct span target = masked(c, m, s->target, false);
    ptrdiff_t query = span_find_char(target, '?');
    if (s->secret_target && query >= 0)
        mask_fill((char *)(uintptr_t)target.p + query + 1, target.n - (size_t)query - 1);
    json_key(w, "request");
    json_begin_object(w);
    json_member(w, "method", span_str(s->method));
    if (s->origin.n)
        json_member(w, "origin", masked(c, m, s->origin, false));
    json_member_repaired(w, "target", target);
    write_headers(c, w, m, s->headers, s->n_headers);
    write_body(c, w, masked(c, m, s->sent, s->credential_step));
    if (s->sent_n > s->sent.n)
        json_member_int(w, "left_out", (int64_t)(s->sent_n - s->sent.n));
    json_end_object(w);
}

static void write_fail(struct json_writer *w, const char *key, const struct fail *fail)
{
    json_key(w, key);
    json_begin_object(w);
    json_member(w, "kind", span_str(fail_kind_name(fail->kind)));
    json_member_repaired(w, "message", span_str(fail->message));
    json_end_object(w);
}

static void write_answer(struct capture *c, struct json_writer *w, const struct mask *m,
                         const struct capture_step *s, bool played, struct buffer *body)
{
    static const char *const ends[] = {"left", "clean", "cut"};
    if (s->body.n)
        mask_apply(m, s->body.p, s->body.n, s->credential_step);
    json_key(w, "answer");
    json_begin_object(w);
    json_member_int(w, "status", s->status);
    json_member_repaired(w, "reason", masked(c, m, s->reason, false));
    json_member_repaired(w, "content_type", masked(c, m, s->content_type, false));
    json_member_int(w, "retry_after", s->retry_after_s);
    write_headers(c, w, m, s->answer_headers, s->n_answer_headers);
    if (played)
        c->short_of_memory |= buffer_append(body, buffer_span(&s->body)) != 0;
    else
        write_body(c, w, buffer_span(&s->body));
    json_key(w, "splits");
    json_begin_array(w);
    for (size_t i = 0; i < s->n_splits; i++)
        json_write_int(w, s->splits[i]);
    json_end_array(w);
    json_member(w, "end", span_str(ends[s->end]));
    if (s->left_out)
        json_member_int(w, "left_out", (int64_t)s->left_out);
    if (s->end == CAPTURE_CUT)
        write_fail(w, "transport", &s->fail);
    json_end_object(w);
}

/* The two files' contents, masked. `fail` may be of kind FAIL_NONE. 0, or -1 when memory is short.
 */
static int render(struct capture *c, const struct fail *fail, struct buffer *body,
                  struct buffer *setup)
{
    struct mask m = mask_of(&c->arena, c->config);
    struct buffer beginning = c->beginning;
    struct capture_step *played = capture_played(c);
    for (const struct capture_text *s = c->secrets; s; s = s->next)
        mask_add(&m, s->text);
    mask_add_configured(&m);
    mask_apply(&m, beginning.p, beginning.n, false);
    buffer_append(setup, buffer_span(&beginning));
    struct json_writer w = {setup, true};
    json_key(&w, "steps");
    json_begin_array(&w);
    for (struct capture_step *s = c->first; s; s = s->next) {
        json_begin_object(&w);
        write_request(c, &w, &m, s);
        if (s->status)
            write_answer(c, &w, &m, s, s == played, body);
        else if (s->end == CAPTURE_CUT)
            write_fail(&w, "transport", &s->fail);
        json_end_object(&w);
        if (s == played) /* what came to nothing after it is told by the failure */
            break;
    }
    json_end_array(&w);
    size_t at = setup->n;
    if (fail->kind != FAIL_NONE)
        write_fail(&w, "failure", fail);
    json_key(&w, "drift");
    json_begin_array(&w);
    for (size_t i = 0; i < c->n_drift; i++)
        json_string(&w, span_str(c->drift[i]));
    json_end_array(&w);
    json_end_object(&w);
    buffer_char(setup, '\n');
    if (!setup->error)
        mask_apply(&m, setup->p + at, setup->n - at, false);
    return c->short_of_memory || m.incomplete || setup->error || body->error ? -1 : 0;
}

static const char *ending_of(const struct capture *c)
{
    static const struct {
        const char *part, *ending;
    } rows[] = {{"event-stream", "sse"}, {"json", "json"}, {"html", "html"}, {"text/", "txt"}};
    const struct capture_step *s = capture_played(c);
    if (s && s->framing == FRAMING_LENGTH && span_mentions(s->content_type, "connect+json"))
        return "bin";
    for (size_t i = 0; s && i < sizeof rows / sizeof *rows; i++) {
        if (span_mentions(s->content_type, rows[i].part))
            return rows[i].ending;
    }
    return "bin";
}

/* ---- the folder ---- */

struct capture_folder {
    uv_loop_t *loop;
    unsigned jobs;
    bool destroyed;
};

struct job {
    uv_work_t work;
    struct capture_folder *folder;
    struct capture *capture;
    struct fail fail;
    char directory[PATH_SIZE / 2], name[160]; /* without the ending */
    char problem[160];                        /* "" = it is written */
};

struct capture_folder *capture_folder_create(uv_loop_t *loop)
{
    struct capture_folder *folder = calloc(1, sizeof *folder);
    if (folder)
        folder->loop = loop;
    return folder;
}

void capture_folder_destroy(struct capture_folder *folder)
{
    if (!folder)
        return;
    folder->destroyed = true;
    if (!folder->jobs)
        free(folder);
}

static void note_problem(struct job *job, const char *what)
{
    if (!job->problem[0])
        snprintf(job->problem, sizeof job->problem, "%s: %s", what, strerror(errno));
}

/* 0, or -1 with job->problem; what is half written is taken away. */
static int write_file(struct job *job, int directory, const char *ending, struct span text)
{
    char name[256];
    snprintf(name, sizeof name, "%s.%s", job->name, ending);
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        note_problem(job, "cannot make the file");
        return -1;
    }
    while (text.n) {
        ssize_t n = write(fd, text.p, text.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        text = span_from(text, (size_t)n);
    }
    if (text.n)
        note_problem(job, "cannot write the file");
    if (close(fd) && !text.n)
        note_problem(job, "cannot write the file");
    if (job->problem[0])
        unlinkat(directory, name, 0);
    return job->problem[0] ? -1 : 0;
}

#define PREFIX     "capture-"
#define SETUP_TAIL ".setup.json"

static int is_setup(const struct dirent *entry)
{
    struct span name = span_str(entry->d_name);
    return span_starts(name, SPAN(PREFIX)) && span_ends(name, SPAN(SETUP_TAIL));
}

/* Both files of a capture. */
static void remove_capture(int directory, const char *setup)
{
    static const char *const endings[] = {"sse", "json", "html", "txt", "bin", NULL};
    char name[300];
    size_t stem = strlen(setup) - strlen(SETUP_TAIL);
    for (const char *const *ending = endings; *ending; ending++) {
        if (snprintf(name, sizeof name, "%.*s.%s", (int)stem, setup, *ending) < (int)sizeof name)
            unlinkat(directory, name, 0);
    }
    unlinkat(directory, setup, 0);
}

/* The oldest go: names begin with the time. */
static void make_room(const struct job *job, int directory)
{
    struct dirent **list = NULL;
    int n = scandir(job->directory, &list, is_setup, alphasort);
    for (int i = 0; i < n; i++) {
        if (i + CAPTURE_FILES <= n)
            remove_capture(directory, list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

static void on_work(uv_work_t *work)
{
    struct job *job = work->data;
    struct buffer body, setup;
    buffer_init(&body, CAPTURE_BYTES);
    buffer_init(&setup, SETUP_MAX);
    int directory = -1;
    if (render(job->capture, &job->fail, &body, &setup)) {
        snprintf(job->problem, sizeof job->problem, "out of memory");
    } else if ((mkdir(job->directory, 0700) && errno != EEXIST) ||
               (directory = open(job->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) {
        note_problem(job, "cannot use the folder");
    } else {
        make_room(job, directory);
        const char *ending = ending_of(job->capture);
        if (write_file(job, directory, ending, buffer_span(&body)) == 0 &&
            write_file(job, directory, "setup.json", buffer_span(&setup))) {
            char name[300];
            snprintf(name, sizeof name, "%s.%s", job->name, ending);
            unlinkat(directory, name, 0);
        }
    }
    if (directory >= 0)
        close(directory);
    buffer_free(&body);
    buffer_free(&setup);
}

static void after_work(uv_work_t *work, int status)
{
    struct job *job = work->data;
    struct capture_folder *folder = job->folder;
    if (job->problem[0] || status)
        log_warn("a capture is not kept in %s: %s", job->directory,
                 job->problem[0] ? job->problem : "cancelled");
    else
        log_info("captured as %s/%s.%s (secrets are masked; what was asked and answered is in it: "
                 "look at it before you give it away)",
                 job->directory, job->name, ending_of(job->capture));
    capture_drop(job->capture);
    free(job);
    folder->jobs--;
    if (folder->destroyed && !folder->jobs)
        free(folder);
}

/* Of a name that others chose: what is harmless in a file's. */
static void add_plain(char *name, size_t room, struct span text)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < text.n && i < 40 && n + 1 < room; i++) {
        char c = text.p[i];
        bool plain = ascii_is_alnum(c) || c == '_' || c == '-';
        name[n++] = plain ? c : '_';
    }
    name[n] = '\0';
}

static void make_name(struct job *job, const char *request_id)
{
    char serial[9];
    int64_t now_ms = clock_wall_ms();
    time_t now = (time_t)(now_ms / 1000);
    struct tm tm;
    gmtime_r(&now, &tm);
    size_t n = strftime(job->name, sizeof job->name, PREFIX "%Y%m%dT%H%M%S", &tm);
    snprintf(job->name + n, sizeof job->name - n, "%03d-", (int)(now_ms % 1000));
    add_plain(job->name, sizeof job->name - 64, job->capture->site);
    add_plain(job->name, sizeof job->name - 63, SPAN("-"));
    add_plain(job->name, sizeof job->name - 16, span_str(request_id));
    clock_random_id(serial, 4); /* a request may have several tries */
    n = strlen(job->name);
    snprintf(job->name + n, sizeof job->name - n, "-%s", serial);
}

void capture_keep(struct capture_folder *folder, struct capture *c, const struct turn_run *run,
                  const struct fail *fail, const char *request_id)
{
    struct job *job = c && folder->jobs < CAPTURE_JOBS ? calloc(1, sizeof *job) : NULL;
    struct span directory = c ? c->config->capture_dir : span_of(NULL, 0);
    if (!job || directory.n >= sizeof job->directory) {
        if (c)
            log_info("a capture is not kept: %s", job ? "the name of its folder is too long"
                                                  : folder->jobs < CAPTURE_JOBS
                                                      ? "out of memory"
                                                      : "others are still being written");
        free(job);
        capture_drop(c);
        return;
    }
    capture_note_secrets(c, run);
    job->folder = folder;
    job->capture = c;
    job->work.data = job;
    if (fail)
        job->fail = *fail;
    memcpy(job->directory, directory.p, directory.n);
    make_name(job, request_id);
    folder->jobs++;
    if (uv_queue_work(folder->loop, &job->work, on_work, after_work)) {
        job->work.data = job;
        after_work(&job->work, UV_ECANCELED);
    }
}
