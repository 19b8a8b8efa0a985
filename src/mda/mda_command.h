/* Delivery by a command (`|command`), in the manner of Postfix's local(8): the message on its standard input, its exit
 * status (sysexits.h) is the verdict, what it prints is the reason.
 *
 * No shell: the words are those of mechanism_words(). The first is an absolute path, one below ~/, or a name that is
 * looked for in MDA_COMMAND_PATH. The process is a session of its own in the user's home, with umask 077, no open
 * descriptor but 0, 1 and 2, and an environment made anew: PATH HOME SHELL USER LOGNAME LANG TZ, and of the message
 * SENDER RECIPIENT ORIGINAL_RECIPIENT LOCAL DOMAIN EXTENSION ENVID CLIENT_ADDRESS CLIENT_HOSTNAME CLIENT_HELO
 * CLIENT_PROTOCOL SASL_USERNAME. In what came from outside every byte that means something to a shell is '_'. */
#pragma once
#include "mda/mda.h"

#define MDA_COMMAND_PATH "/usr/local/bin:/usr/bin:/bin"
#define MDA_COMMAND_OUTPUT 1000   /* bytes of what it prints that are kept, if nothing else is said */

struct mda_command_config {
    const struct mda_user *user;  /* who we are already */
    uint64_t timeout_ms;          /* 0: 1000 s. Then the whole process group gets SIGTERM, and after 2 s SIGKILL */
    size_t output_max;            /* 0: MDA_COMMAND_OUTPUT. The rest is read and thrown away */
    str delimiter;                /* of user+extension; n == 0: none */
    int cancel_fd;                /* when it becomes readable or is hung up the command is ended, deferred; -1: none */
};

/* Runs it and waits. Standard input is the message with LF: a From_ line, Return-Path, the prefix, the content. A
 * command that does not read all of it is fine. Blocks; one at a time in a process. */
void mda_command_run(const struct mda_command_config *config, const struct mda_message *m, str command,
                     struct mda_result *out);

/* What a wait status and the first bytes printed mean; pure. Exit 0 is delivered, and so is 99 (qmail's "and no
 * further"). Temporary: 71 73 74 75 78 111 126 127, and every signal. All else is for good, with the code of Postfix's
 * table. Output that begins with an enhanced status code overrides: of class 4 or 5 after a failure, of class 2 after
 * success. */
void mda_command_verdict(struct mda_result *out, int wait_status, str output);
