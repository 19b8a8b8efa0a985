/* A small file that is wanted whole, such as one that the master has passed. */
#pragma once
#include "base/buf.h"

/* Its content from the start, in place of what `out` holds; where the descriptor stands does not matter. 0, -ENOBUFS
 * (more than the buffer's ceiling), or negative errno; on failure `out` holds a part of it. */
int whole_file_read(int fd, struct buf *out);
