/* The control socket: DATA/control, for the user of the instance and root. One packed question, one packed answer. */
#pragma once
#include "base/buf.h"
#include "io/ipc.h"

enum control_command { CONTROL_STATUS = 1, CONTROL_RELOAD = 2, CONTROL_COMPACT = 3, CONTROL_COMPACT_NOW = 4,
                       CONTROL_ROLE = 5 };
#define CONTROL_ANSWER_MAX 60000
#define CONTROL_QUESTION_MAX 32768

/* Client: asks the server whose data folder is open as data_fd and waits at most timeout_s. 0 with *out_ok and the
 * text; -ECONNREFUSED or -ENOENT: no server runs there; other negative errno. */
int control_ask(int data_fd, enum control_command command, unsigned timeout_s, bool *out_ok, struct buf *out_text);
/* The same, of one role: the question goes to it as ASK and its ANSWER comes back. Text longer than an answer comes in
 * pages: the question says from where. *out_ok false and no text: the role is not there now. */
int control_ask_role(int data_fd, enum role_id role, str question, unsigned timeout_s, bool *out_ok,
                     struct buf *out_text);
/* Server: the listening socket, made anew in data_fd (mode 0600, owner uid if not (uid_t)-1). */
int control_listen(int data_fd, unsigned uid, int *out_fd);
