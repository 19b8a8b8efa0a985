/* Role smtp-out: takes jobs from the store, finds the next hop, sends, reports (DESIGN 2, 4). */
#pragma once

/* Runs the role on the master's link until it is told to stop. Exit status. */
int push_role_run(void);
