/* The control socket: DATA/control, for the user of the instance and root. One packed question, one packed answer. */
#pragma once
#include "base/buf.h"

enum control_command { CONTROL_STATUS = 1, CONTROL_RELOAD = 2, CONTROL_COMPACT = 3, CONTROL_COMPACT_NOW = 4 };
#define CONTROL_ANSWER_MAX 60000

/* Client: asks the server whose data folder is open as data_fd and waits at most timeout_s. 0 with *out_ok and the
 * text; -ECONNREFUSED or -ENOENT: no server runs there; other negative errno. */
int control_ask(int data_fd, enum control_command command, unsigned timeout_s, bool *out_ok, struct buf *out_text);
/* Server: the listening socket, made anew in data_fd (mode 0600, owner uid if not (uid_t)-1). */
int control_listen(int data_fd, unsigned uid, int *out_fd);
