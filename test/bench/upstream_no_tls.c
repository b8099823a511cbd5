/*
 * test/bench/upstream_no_tls.c - where libssl-dev is not installed: the stand-in speaks plain HTTP.
 */
#include "test/bench/upstream_wire.h"

bool tls_wire_setup(const char *ca_file) { return false; }
struct tls_wire *tls_wire_accept(int fd) { return NULL; }
void tls_wire_free(struct tls_wire *t) {}
ssize_t tls_wire_read(struct tls_wire *t, char *p, size_t n) { return WIRE_BROKEN; }
ssize_t tls_wire_write(struct tls_wire *t, const char *p, size_t n) { return WIRE_BROKEN; }
struct tls_counts tls_wire_counts(void) { return (struct tls_counts){0}; }
