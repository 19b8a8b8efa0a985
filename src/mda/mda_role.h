/* Role mda: delivers what leaves the house through a file or a program (DESIGN 4, 8.8).
 *
 * The dispatcher (mda_role.c) takes jobs from the store, looks users up and starts children; it reads no content. It
 * alone of all roles has no sandbox: seccomp filters, Landlock and no_new_privs are inherited, and a user's command
 * must run as it would from the user's own shell. Instead it holds three capabilities and nothing else: CAP_SETUID,
 * CAP_SETGID, CAP_KILL, and these only where the master could give them; without them it delivers as its own user
 * alone. */
#pragma once

/* Runs the role on the master's link until it is told to stop. Exit status. */
int mda_role_run(void);
