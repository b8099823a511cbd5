/*
 * test/bench/upstream_wire.h - a connection's bytes, plain or through TLS.
 *
 * Both calls return bytes, 0 at the end of the connection, -1 when nothing goes now, -2 when it
 * broke.
 */
#ifndef BENCH_UPSTREAM_WIRE_H
#define BENCH_UPSTREAM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { WIRE_END = 0, WIRE_WAIT = -1, WIRE_BROKEN = -2 };

struct tls_wire; /* one connection's TLS */

struct tls_counts {
    unsigned long full, resumed;
};

/* A fresh key and a certificate for localhost, which goes to ca_file as well. TLS 1.2 only, which
 * is what every target can speak. */
bool tls_wire_setup(const char *ca_file);
struct tls_wire *tls_wire_accept(int fd);
void tls_wire_free(struct tls_wire *t);
ssize_t tls_wire_read(struct tls_wire *t, char *p, size_t n);
/* After WIRE_WAIT the same bytes must be offered again. */
ssize_t tls_wire_write(struct tls_wire *t, const char *p, size_t n);
struct tls_counts tls_wire_counts(void);

#endif
