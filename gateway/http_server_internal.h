/*
 * gateway/http_server_internal.h - what the files of the HTTP server share: http_listen.c opens
 * sockets, http_server.c owns listeners and the list of connections, http_connection.c is one
 * client connection, http_tls.c its TLS, http_exchange.c one answer.
 *
 * An idle connection costs one struct http_connection (less than 400 bytes) and the kernel's
 * socket; the parser, heads, bodies, answers and queues are allocated while there are some and
 * given back after each request: the server keeps one parser and one answer's head, which go from
 * request to request, as hardly ever two are read or begin to be answered at once. Bytes are read
 * into one 64 KiB buffer that all connections of the loop share. (With TLS: mbedTLS's buffers in
 * addition, some 35 KiB.)
 */
#ifndef DRAGOMAN_GATEWAY_HTTP_SERVER_INTERNAL_H
#define DRAGOMAN_GATEWAY_HTTP_SERVER_INTERNAL_H

#include "base/spare.h"
#include "gateway/deadlines.h"
#include "gateway/handshake_thread.h"
#include "gateway/http_parse.h"
#include "gateway/http_server.h"
#include "gateway/peer_count.h"
#include "tls/tls_stream.h"

#define HTTP_SERVER_MAGIC     0x68747376u
#define HTTP_CONNECTION_MAGIC 0x6874636eu
#define HTTP_EXCHANGE_MAGIC   0x68746578u

enum {
    HTTP_READ_SIZE = 64 * 1024,         /* the loop's read buffer */
    HTTP_AHEAD_MAX = 64 * 1024,         /* pipelined bytes kept; then reading pauses */
    HTTP_QUEUE_MAX = 512 * 1024 * 1024, /* unsent answer bytes; more ends the connection */
    HTTP_DISCARD_MAX =
        1024 * 1024, /* a refused body up to this size is read for keep-alive's sake */
    HTTP_LINGER_MAX =
        256 * 1024 * 1024,  /* bytes thrown away while a refused client reads its answer */
    HTTP_REFUSED_MAX = 256, /* connections over a limit that get their 503 at a time */

    HTTP_ACCEPT_PAUSE_MS = 100 /* after EMFILE and the like */
};

/* How long things may take. Fields of the server, so that tests can make them short. */
struct http_clocks {
    unsigned handshake_ms; /* TLS */
    unsigned head_ms;      /* a head, from its first byte */
    unsigned body_ms;      /* silence within a body */
    unsigned idle_ms;      /* keep-alive without a request */
    unsigned linger_ms;    /* between our FIN and the client's */
    unsigned refused_ms;   /* a connection over the limit that sends nothing gets its 503 unasked */
    unsigned stall_ms;     /* queued bytes of which the client takes none */
};
#define HTTP_CLOCKS_DEFAULT                                                                        \
    ((struct http_clocks){.handshake_ms = 10000,                                                   \
                          .head_ms = 10000,                                                        \
                          .body_ms = 30000,                                                        \
                          .idle_ms = 75000,                                                        \
                          .linger_ms = 2000,                                                       \
                          .refused_ms = 1000,                                                      \
                          .stall_ms = 300000})

/* ---- listeners (http_listen.c: system calls only, no loop) ---- */

struct http_socket {
    int fd;
    bool is_unix;
    char text[300]; /* listen_address.text: what a reload compares */
    char host[256]; /* TCP: host as configured, without brackets; unix: the path */
    int port;       /* the real one */
    char url[300];
    uint64_t device, inode; /* unix: the file is removed at the end, if it is still ours */
};

/* Binds and listens. 0, or -1 with fail. A stale unix socket is replaced. `shared`: others of the
 * program will listen on the same port. */
int http_socket_open(struct http_socket *, const struct listen_address *, bool shared,
                     struct fail *);
/* One more for the same address, from whose connections the kernel gives each its part; of a unix
 * socket both take from one queue. */
int http_socket_open_beside(struct http_socket *, const struct http_socket *first, struct fail *);
/* Fills `url`. */
void http_socket_describe(struct http_socket *, bool tls);
/* Closes and removes the socket's file. */
void http_socket_close(struct http_socket *);

/* Is there room for a connection, in all, and of its address? */
enum http_welcome { HTTP_WELCOME, HTTP_FULL, HTTP_FULL_FOR_ADDRESS };

/* The connections of all servers of the program, for its limits. */
struct http_crowd {
    struct shared *shared; /* NULL: there is one server */
    size_t n, n_refused;
    struct peer_count peers; /* of those with max_connections_per_ip */
};

struct http_listener {
    struct http_server *server;
    struct http_listener *next;
    struct http_socket socket;
    uv_poll_t poll;
};

/* ---- the server ---- */

struct http_server {
    unsigned magic;
    uv_loop_t *loop;
    struct config *config;
    struct http_handler handler;
    struct http_clocks clocks;
    struct http_listener *listeners;
    struct tls_identity *identity;       /* NULL: plain HTTP */
    struct handshake_thread *handshakes; /* of TLS clients; NULL: none was costly so far */
    uv_timer_t accept_timer;             /* accepting pauses */
    uv_idle_t again;                     /* runs while `ready` has somebody */
    uv_timer_t clock;                    /* rings for the earliest deadline */
    struct deadlines deadlines;          /* of connections */
    struct http_connection *connections; /* all, doubly linked */
    struct http_connection *ready;       /* to be looked at in the next turn, singly linked */
    struct http_crowd *crowd;            /* the first server's */
    struct http_crowd own_crowd;
    struct http_server *first; /* whose listeners ours are beside; itself, or another */
    bool shares_ports;
    size_t open_handles; /* closed when this is zero after destroy */
    bool stopping, destroying;
    uint64_t complained_ms; /* the last time that accepting failed aloud */
    void (*closed)(void *);
    void *closed_arg;
    /* What the last request needed to be read and answered, for the next one; NULL: none. */
    struct http_intake *spare_intake;
    struct buffer *spare_head;
    struct spare spare_exchanges;
    int64_t date_s; /* the second that `date` is for */
    char date[40];  /* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */
    char read_buffer[HTTP_READ_SIZE];
};

/* The connection is one of the crowd, and is none any more. */
void http_server_count_in(struct http_connection *);
void http_server_count_out(const struct http_connection *);
/* Puts the connection on the list that the next loop turn looks at. */
void http_server_again(struct http_connection *);
/* After a deadline was set: the clock rings in time. */
void http_server_wind_clock(struct http_server *);
/* A handle of the server is closed; the last one frees it. */
void http_server_handle_closed(struct http_server *);
/* What computes its TLS clients' handshakes, made when it is first needed. NULL when memory is
 * short. Not once the server is being destroyed. */
struct handshake_thread *http_server_handshakes(struct http_server *);
/* The Date header line; formatted once a second. */
struct span http_server_date(struct http_server *);

/* ---- one client connection (http_connection.c) ---- */

enum connection_state {
    CONNECTION_HANDSHAKE, /* TLS */
    CONNECTION_IDLE,      /* waits for the first byte of a head */
    CONNECTION_HEAD,      /* a head is arriving */
    CONNECTION_BODY,      /* a body is arriving */
    CONNECTION_STREAM,    /* a body is arriving and handed out; its answer may be in work */
    CONNECTION_DISCARD,   /* answered already; the rest of the body is thrown away */
    CONNECTION_ANSWER,    /* the request is whole, the answer is in work */
    CONNECTION_FLUSH,     /* the last answer is in the queue; then we end */
    CONNECTION_LINGER,    /* our FIN is sent; what comes is thrown away until the client's FIN */
    CONNECTION_CLOSED     /* uv_close was called */
};

/* What a client does not take at once; made when that first happens. */
struct http_outbox {
    uv_write_t write;
    uv_shutdown_t shutdown;
    struct buffer sending; /* in uv_write's hands */
    struct buffer queue;   /* waits behind it */
    uint64_t moved_ms;     /* the client last took queued bytes */
    size_t unsent;         /* what uv_write had left then */
};

/* What is being read of a request, or was read ahead of it. */
struct http_intake {
    struct http_parser parser;
    struct buffer ahead; /* received, not yet parsed */
};

/* Ten thousand of them may wait: the fields lie without gaps, and a TCP socket takes no more of the
 * union than its size. */
struct http_connection {
    unsigned magic;
    struct deadline deadline;
    struct http_server *server;
    struct http_connection *next, *prev;
    struct http_connection *next_ready;
    struct http_outbox *out;        /* NULL: the client took everything so far */
    struct http_tls *tls;           /* NULL: plain */
    struct http_intake *intake;     /* NULL: nothing is being read */
    struct http_exchange *exchange; /* the request in work, from its head to its answer's end */
    uint64_t since_ms;              /* of the state, or of the last byte of a body */
    uint32_t lingered;              /* bytes thrown away since FLUSH */
    struct ip_address peer;
    uint8_t state; /* enum connection_state */
    bool is_unix : 1;
    unsigned refused : 2; /* enum http_welcome */
    bool counted : 1;     /* among the server's peers */
    bool keep_alive : 1;  /* after the request in work */
    bool reading : 1;     /* uv_read_start is in force */
    bool processing : 1;  /* within process(): do not enter it again */
    bool in_ready : 1;
    bool write_busy : 1;    /* uv_write is under way */
    bool wants_drain : 1;   /* was above the high-water mark */
    bool client_ended : 1;  /* FIN came */
    bool broken : 1;        /* a write failed: nothing arrives any more */
    bool socket_closed : 1; /* uv_close has done its work */
    bool notified : 1; /* TLS: close_notify is sent, or must not be as the answer is cut on purpose
                        */
    union {
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } socket; /* last: see http_connection_create */
};

/* Takes over the connected socket. `refused`: it gets a 503 only. */
void http_connection_create(struct http_server *, int fd, bool is_unix,
                            const struct ip_address *peer, enum http_welcome);
/* At once; calls on_gone when an answer is in work. */
void http_connection_close(struct http_connection *);
/* The server stops: idle ones close, the others end after their answer. */
void http_connection_stop(struct http_connection *);
/* Its deadline has come. */
void http_connection_ring(struct deadline *);
/* What the server's idle handle found in `ready`. */
void http_connection_again(struct http_connection *);
/* An answer is owed or not all of it has left. */
bool http_connection_is_unfinished(const struct http_connection *);

/* ---- a connection's TLS (http_tls.c) ---- */

/* NULL when memory is short; that is logged. */
struct http_tls *http_tls_create(struct http_connection *);
/* NULL is fine. Not while it works. */
void http_tls_free(struct http_tls *);
/* It is being computed on a thread: neither bytes nor its memory may be touched. The connection is
 * looked at again when that is over. */
bool http_tls_is_working(const struct http_tls *);
/* The connection is closed: what the thread has not begun is not done. */
void http_tls_give_up(struct http_tls *);
/* Cipher text from the client; may end the connection. Not while it works. */
void http_tls_receive(struct http_tls *, struct span cipher);
void http_tls_send(struct http_tls *, const struct span *pieces, size_t n);
/* Sends close_notify. */
void http_tls_end(struct http_tls *);

/* ---- for http_tls.c ---- */

void http_connection_enter(struct http_connection *, enum connection_state);
/* Bytes as they are; what the kernel does not take is queued. */
void http_connection_send_raw(struct http_connection *, const struct span *pieces, size_t n);
/* Nothing that we say arrives any more. */
void http_connection_fail_write(struct http_connection *);
/* Plain bytes from the client, and its end (FIN or close_notify). */
void http_connection_receive(struct http_connection *, struct span bytes);
void http_connection_client_ended(struct http_connection *);
/* 400 with this sentence; afterwards the connection ends. */
void http_connection_refuse(struct http_connection *, const char *text);
/* After anything that happened outside a callback of its own: whether to read, and until when. */
void http_connection_go_on(struct http_connection *);

/* ---- for http_exchange.c ---- */
enum { HTTP_PIECES_MAX = 5 };
/* One write of all pieces. Returns the bytes that are queued now. Never calls the handler. */
size_t http_connection_send(struct http_connection *, const struct span *pieces, size_t n);
size_t http_connection_queued(const struct http_connection *);
/* Last call before the head of the answer leaves: whether the connection can go on after it
 * (keep_alive). */
void http_connection_settle(struct http_connection *);
/* The exchange in work has ended and may be forgotten. */
void http_connection_answered(struct http_connection *);
/* The same, but the client must see that something is missing. `reset`: RST, as a FIN would look
 * like the end. */
void http_connection_cut(struct http_connection *, bool reset);

/* ---- one request and its answer (http_exchange.c) ---- */

struct http_exchange {
    unsigned magic;
    bool announced : 1; /* on_request was called */
    bool started : 1;   /* http_answer_start was called */
    bool head_sent : 1;
    bool bodiless : 1; /* HEAD, 204, 304 */
    bool chunked : 1;
    bool http10 : 1;      /* the request is */
    bool dropped : 1;     /* http_exchange_drop_head was called: the connection's parser is gone */
    bool packed : 1;      /* the body has no padding */
    bool streamed : 1;    /* its body is handed out as it comes */
    bool body_paused : 1; /* but not now */
    struct http_connection *connection;
    struct config *config;
    void *user;
    uint64_t started_ms;
    uint64_t bytes_out;
    struct buffer *head; /* the answer's, until it leaves; NULL before and after */
    union {
        const char *reason; /* before the start: of the status line; NULL = the status's own */
        int64_t left;       /* then: of the announced length; -1: chunked or until close */
    };
    struct http_kept *kept; /* headers of a dropped head; NULL = none */
    char *body;             /* of a request whose head was dropped; NULL = none */
    size_t body_n;
};

/* Headers that outlive their head; one block with their texts. */
struct http_kept {
    size_t n;
    struct header list[];
};

/* Of no connection (any more). NULL is fine. */
void http_intake_free(struct http_intake *);
/* The request that is being read; an empty one when there is none. */
const struct http_request *http_connection_request(const struct http_connection *);
/* The request in work is understood: what was needed to read it is given back. */
void http_connection_drop_intake(struct http_connection *);

struct http_exchange *http_exchange_create(struct http_connection *, uint64_t started_ms);
void http_exchange_free(struct http_exchange *);

#endif
