/* Role keys: the DKIM private keys, and nothing else. It has no folder and no way to the network; role smtp-out sends
 * digests and gets signatures (io/messages.def: SIGN, SIGNED). The key files come from the master with each generation;
 * its keys are in force together with it. */
#pragma once

/* Runs it until the master tells it to stop. Exit status. */
int keys_role_run(void);
