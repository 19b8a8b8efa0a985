/* Delivery to an open file: each message in mbox form, whole. Two processes that print to the same file or pipe take
 * turns by an fcntl lock of it. A reader that takes nothing for 30 s is given up (the message is torn then, deferred,
 * and comes again). Not synced. */
#pragma once
#include "mda/text.h"

void stdout_deliver(int fd, struct text *text, const struct mda_message *m, struct mda_result *r);
