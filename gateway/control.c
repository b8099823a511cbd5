/*
 * gateway/control.c - see control.h. A caller costs one allocation. There is room for a few; who
 * dawdles, and has been there longest, makes room for the next.
 */
#include "gateway/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024, REPLY_MAX = 16 << 20, CALLERS_MAX = 16 };

struct control_caller {
    uv_pipe_t pipe;
    uv_write_t write;
    struct control *control;
    struct control_caller *prev, *next;
    char line[LINE_MAX_BYTES];
    size_t n;
    bool asked;    /* the handler has the line */
    bool answered; /* the answer is on its way */
    struct buffer reply;
    void (*gone)(void *arg); /* NULL: nobody wants to know, or the answer is on its way */
    void *gone_arg;
};

struct control {
    uv_pipe_t listener;
    uv_pipe_t refused; /* takes a caller for whom there is no memory, to be closed */
    bool refusing;     /* refused is being closed */
    bool refuse_next;  /* and somebody came meanwhile */
    unsigned handles;  /* not closed yet; the last one frees */
    control_handler *handler;
    void *owner;
    struct control_caller *callers; /* the latest first */
    size_t n_callers;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* 0, or -1 when the path is too long for a socket. */
static int socket_path(char *path, size_t room, struct span data_dir, struct fail *fail)
{
    int n = snprintf(path, room, "%.*s/control.sock", SPAN_ARGS(data_dir));
    if (n > 0 && (size_t)n < room)
        return 0;
    return fail_set(fail, FAIL_INTERNAL,
                    "data_dir is too long a path for a control socket (%zu bytes at most)",
                    room - sizeof "/control.sock");
}

/* ---- the gateway's end ---- */

static void on_caller_closed(uv_handle_t *handle)
{
    struct control_caller *c = handle->data;
    buffer_free(&c->reply);
    free(c);
}

static void hang_up(struct control_caller *c)
{
    if (uv_is_closing((uv_handle_t *)&c->pipe))
        return;
    if (c->prev)
        c->prev->next = c->next;
    else
        c->control->callers = c->next;
    if (c->next)
        c->next->prev = c->prev;
    c->control->n_callers--;
    uv_close((uv_handle_t *)&c->pipe, on_caller_closed);
    if (c->gone)
        c->gone(c->gone_arg);
    c->gone = NULL;
}

static void on_written(uv_write_t *req, int status) { hang_up(req->data); }

struct buffer *control_reply(struct control_caller *c) { return &c->reply; }

void control_on_gone(struct control_caller *c, void (*gone)(void *arg), void *arg)
{
    c->gone = gone;
    c->gone_arg = arg;
}

void control_answer(struct control_caller *c)
{
    c->gone = NULL;
    c->answered = true;
    buffer_char(&c->reply, '\n');
    uv_buf_t buf = uv_buf_init(c->reply.p, (unsigned)c->reply.n);
    c->write.data = c;
    if (c->reply.error || uv_write(&c->write, (uv_stream_t *)&c->pipe, &buf, 1, on_written))
        hang_up(c);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct control_caller *c = handle->data;
    if (c->asked) /* what still comes is not looked at */
        c->n = 0;
    *buf = uv_buf_init(c->line + c->n, (unsigned)(sizeof c->line - c->n));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct control_caller *c = stream->data;
    if (n < 0) {
        hang_up(c);
        return;
    }
    if (c->asked) /* reading goes on to see when the caller leaves */
        return;
    c->n += (size_t)n;
    ptrdiff_t end = span_find_char(span_of(c->line, c->n), '\n');
    c->asked = end >= 0;
    if (c->asked)
        c->control->handler(c->control->owner, span_trim(span_of(c->line, (size_t)end)), c);
    else if (c->n == sizeof c->line)
        hang_up(c);
}

/* Gives up the one who has been saying nothing, or not taking the answer, for the longest time. */
static void make_room(struct control *control)
{
    struct control_caller *longest = NULL;
    for (struct control_caller *c = control->callers; c; c = c->next) { /* the latest is first */
        if (!c->asked || c->answered)
            longest = c;
    }
    if (longest)
        hang_up(longest);
}

static void on_connection(uv_stream_t *listener, int status);

static void handle_closed(struct control *control)
{
    if (--control->handles == 0)
        free(control);
}

static void on_refused_closed(uv_handle_t *handle)
{
    struct control *control = handle->data;
    bool next = control->refuse_next && !uv_is_closing((uv_handle_t *)&control->listener);
    control->refusing = control->refuse_next = false;
    if (next)
        on_connection((uv_stream_t *)&control->listener, 0);
    handle_closed(control);
}

/* Memory is short. Whoever comes has to be taken all the same: libuv listens no more until then. */
static void refuse(struct control *control)
{
    control->refuse_next = control->refusing;
    if (control->refusing)
        return;
    uv_pipe_init(control->listener.loop, &control->refused, 0);
    control->refused.data = control;
    control->refusing = true;
    control->handles++;
    uv_accept((uv_stream_t *)&control->listener, (uv_stream_t *)&control->refused);
    uv_close((uv_handle_t *)&control->refused, on_refused_closed);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct control *control = listener->data;
    if (status != 0)
        return;
    struct control_caller *c = calloc(1, sizeof *c);
    if (!c) {
        refuse(control);
        return;
    }
    uv_pipe_init(listener->loop, &c->pipe, 0);
    c->pipe.data = c;
    c->control = control;
    buffer_init(&c->reply, REPLY_MAX);
    c->next = control->callers;
    if (c->next)
        c->next->prev = c;
    control->callers = c;
    control->n_callers++;
    if (uv_accept(listener, (uv_stream_t *)&c->pipe) ||
        uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read))
        hang_up(c);
    if (control->n_callers > CALLERS_MAX)
        make_room(control); /* the latest itself goes, if all others wait for their answer */
}

static void on_listener_closed(uv_handle_t *handle) { handle_closed(handle->data); }

struct control *control_create(uv_loop_t *loop, struct span data_dir, control_handler *handler,
                               void *owner, struct fail *fail)
{
    struct control *control = calloc(1, sizeof *control);
    if (!control) {
        fail_memory(fail);
        return NULL;
    }
    if (socket_path(control->path, sizeof control->path, data_dir, fail)) {
        free(control);
        return NULL;
    }
    control->handler = handler;
    control->owner = owner;
    uv_pipe_init(loop, &control->listener, 0);
    control->listener.data = control;
    control->handles = 1;
    unlink(control->path); /* whoever had it is gone: data_dir is ours alone */
    mode_t mask = umask(0177);
    int rc = uv_pipe_bind(&control->listener, control->path);
    umask(mask);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&control->listener, 16, on_connection);
    if (rc) {
        fail_set(fail, FAIL_INTERNAL, "cannot listen on %s: %s", control->path, uv_strerror(rc));
        uv_close((uv_handle_t *)&control->listener, on_listener_closed);
        return NULL;
    }
    uv_unref((uv_handle_t *)&control->listener);
    return control;
}

void control_destroy(struct control *control)
{
    if (!control)
        return;
    while (control->callers)
        hang_up(control->callers);
    unlink(control->path);
    uv_close((uv_handle_t *)&control->listener, on_listener_closed);
}

/* ---- the command line's end ---- */

static int exchange_lines(int fd, struct span line, struct buffer *reply)
{
    char piece[65536];
    ssize_t n;
    struct buffer out;
    buffer_init(&out, LINE_MAX_BYTES);
    buffer_append(&out, line);
    buffer_char(&out, '\n');
    bool sent = !out.error && send(fd, out.p, out.n, MSG_NOSIGNAL) == (ssize_t)out.n;
    buffer_free(&out);
    if (!sent)
        return -1;
    while ((n = read(fd, piece, sizeof piece)) > 0) {
        if (buffer_append(reply, span_of(piece, (size_t)n)))
            return -1;
    }
    return n == 0 && reply->n ? 0 : -1;
}

int control_ask(struct span data_dir, struct span line, int patience_s, struct buffer *reply,
                struct fail *fail)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = patience_s};
    if (socket_path(address.sun_path, sizeof address.sun_path, data_dir, fail))
        return 1; /* then none listens either */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_set(fail, FAIL_INTERNAL, "no socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* connect, too */
    int result = 0;
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        bool nobody = errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR;
        result =
            nobody ? 1 : fail_set(fail, FAIL_INTERNAL, "%s: %s", address.sun_path, strerror(errno));
    } else if (exchange_lines(fd, line, reply)) {
        result = fail_set(fail, FAIL_INTERNAL, "the gateway behind %s does not answer",
                          address.sun_path);
    }
    close(fd);
    return result;
}
