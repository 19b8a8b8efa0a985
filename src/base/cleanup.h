/* Automatic clean-up: `_cleanup_(fn)` runs fn(&variable) when the variable leaves its scope; TAKE(p) hands a pointer on
 * and leaves NULL behind. Destructors accept NULL and half-built objects, so there is no goto in this tree. */
#pragma once
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define TAKE(p) ({ __typeof__(p) take_p_ = (p); (p) = NULL; take_p_; })
#define TAKE_FD(fd) ({ int take_fd_ = (fd); (fd) = -1; take_fd_; })

static inline void cleanup_free(void *p) { free(*(void **)p); }
static inline void cleanup_close(int *fd) { if (*fd >= 0) close(*fd); }

#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define UNIQUE_(name, line) name##line
#define UNIQUE(name, line) UNIQUE_(name, line)
#define PICK_(a, b, op, x, y) ({ __typeof__(a) x = (a); __typeof__(b) y = (b); x op y ? x : y; })
#define PICK(a, b, op, n) PICK_(a, b, op, UNIQUE(pick_a_, n), UNIQUE(pick_b_, n))
#define MIN(a, b) PICK(a, b, <, __COUNTER__)
#define MAX(a, b) PICK(a, b, >, __COUNTER__)
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
