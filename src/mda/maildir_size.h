/* maildirsize of Maildir++: the quota of a Maildir and what lies in it, a small file that every program adds lines to.
 * The first line is the quota, "10000000S,1000C" (either, or neither); each other is "bytes messages", and their sum is
 * what there is. A file above 5120 bytes, or one that says "over quota" and may be wrong, is made anew by counting. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/str.h"

#define MAILDIR_SIZE_MAX 5120

struct maildir_size { uint64_t max_bytes, max_messages; /* 0: no limit */ int64_t bytes, messages; unsigned lines; };
/* Pure. False: the text is none. */
bool maildir_size_parse(str text, struct maildir_size *out);

/* Opens maildirsize of the Maildir `root`; its descriptor to add to and *out, counted anew where that is due; -1: there
 * is none, or it is unsafe or unreadable, and no limit is known. */
int maildir_size_open(int root, int64_t now_s, struct maildir_size *out);
