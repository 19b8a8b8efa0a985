/* The MTA as a row of the SMTP road: a message from another host keeps its header byte for byte (RFC 5321 3.6.3, 4.4).
 */
#include "mta/mta.h"

const struct smtp_agent mta_agent = { .name = "mta" };
