/* Words that begin a conversation in another protocol. A browser or an SSH client that was led to a mail port must not
 * find a server that reads on until something looks like a command (cross-protocol attacks, ALPACA): the session ends
 * at the first such line. */
#pragma once
#include "base/str.h"

/* A method of HTTP (RFC 9110 9, 5789, and PRI of RFC 9113 3.4) in any case, or the start of an SSH version (RFC 4253
 * 4.2). word is the first of a line and no command of the protocol at hand. */
bool foreign_word(str word);
