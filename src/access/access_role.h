/* Role access: the mailbox as an MUA sees it. POP3 and IMAP. Reads snapshots and segments that the store hands out;
 * speaks to the store of sessions only (DESIGN 4). */
#pragma once

int access_role_run(void);
