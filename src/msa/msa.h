/* The MSA (587 and 465): repairs what RFC 6409 section 8 allows and checks that the author may use the addresses in
 * From, Sender, Resent-From and Resent-Sender. */
#pragma once
#include "session/smtp_serve.h"

extern const struct smtp_agent msa_agent;
