/* Which messages a mailbox has already, by size and CRC-32C of their content: so an import that was interrupted can be
 * run again. Each message that is there stands for one of the import. CRCs are read when a size is met again. */
#pragma once
#include "admin/mailbox.h"

struct known_message { uint64_t size; uint32_t uid, crc; bool has_crc, taken; };
struct mailbox_known {
    struct mailbox_command *command;
    const char *account, *name;
    struct known_message *list; size_t n, room;
};

/* 0 or an exit code after a complaint. */
int mailbox_known_read(struct mailbox_known *k, struct mailbox_command *c, const char *account, const char *name);
void mailbox_known_done(struct mailbox_known *k);
/* Takes one like it: *out_is. 0 or an exit code. */
int mailbox_known_take(struct mailbox_known *k, str content, bool *out_is);
