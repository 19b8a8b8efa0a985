/* The sandbox of a role (DESIGN 1.6, 8.8): from here on the process can do what the rows of sandbox_rules.def allow its
 * role, and nothing else, whatever bytes it reads.
 *
 *  - seccomp: a list of system calls per role. A call that is not listed fails with ENOSYS, as on a kernel without it:
 * a library that only tries a new call falls back, so an update of the C library does not stop the mail. A call of the
 *    second list (execve, socket, ptrace, mount…) ends the process: no honest path leads there, the master sees
 *    SIGSYS (31) and starts the role anew, and the kernel's log has the call. Calls of a foreign architecture end it
 *    too.
 *  - Landlock: files only below the role's folders and only with the rights it needs; no TCP connect or bind (from
 *    ABI 4 on); no abstract sockets and no signals to processes outside (from ABI 6 on). What the kernel does not know
 *    is left out: ABI 2 of Debian 12's kernel has the files.
 *  - no_new_privs, no core dump, not dumpable (the memory holds keys and passwords).
 *
 * Landlock binds a thread and those that it starts, so the sandbox closes before a role starts its threads. */
#pragma once
#include "io/ipc.h"

struct sandbox_want {
    enum role_id role;
    int data_dir, trace_dir, drop_dir; /* folders of the role, -1 none */
    bool best_effort;        /* go on without seccomp */
};

struct sandbox {
    bool closed, seccomp;
    int landlock;    /* ABI that is in force, 0 none */
    const char *why; /* what failed, or what is missing in spite of 0; NULL nothing */
};

/* Closes the sandbox around the whole process. 0, or a negative errno with out->why: then the process must end, as part
 * of the sandbox may be in force. */
int sandbox_enter(const struct sandbox_want *want, struct sandbox *out);
