/* Role auth: the only one that reads password hashes and SCRAM keys. Answers typed questions of the network roles,
 * slows down guessing, and tells the store which session is which account before the network role learns that a log-in
 * succeeded. */
#pragma once

int auth_role_run(void);
