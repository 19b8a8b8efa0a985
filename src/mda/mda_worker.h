/* What a child of role mda does: a worker writes into files inside a sandbox, a batch for each turn of its loop; a
 * runner does one job that may run programs, without a sandbox. Declared in mda_job.h; here is what both share. */
#pragma once
#include "mda/mda_job.h"

/* mda_forward.c: one message by `via` ("forward", a newline and what counts instead between mechanisms, or a command),
 * as the user we are. cancel: when it is readable programs are ended. */
void mda_run_order(const struct mda_child_config *c, const struct mda_message *m, str via, int cancel,
                   struct mda_result *out);
