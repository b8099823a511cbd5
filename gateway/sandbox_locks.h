/*
 * gateway/sandbox_locks.h - the two locks of sandbox.h, as the kernel has them. Both act on the
 * calling thread and the threads that it makes from then on, for good. 0, or an errno.
 */
#ifndef DRAGOMAN_GATEWAY_SANDBOX_LOCKS_H
#define DRAGOMAN_GATEWAY_SANDBOX_LOCKS_H

#include "gateway/sandbox.h"

/* Nothing but these paths can be opened; those that do not exist are left out. ENOSYS or EOPNOTSUPP
 * where the kernel has no Landlock. */
int sandbox_lock_files(const struct sandbox_path *, size_t n);
/* Calls that a gateway never makes fail with EPERM. */
int sandbox_lock_calls(void);

#endif
