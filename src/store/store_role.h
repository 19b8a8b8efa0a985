/* Role store: the loop around the store. Knows which session of which peer is which account (told by auth), hands out
 * snapshots and segments to access, and holds the POP3 leases. */
#pragma once

int store_role_run(void);
