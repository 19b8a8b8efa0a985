/* The text of one message for a file, made piece by piece out of its content (output.h): what all files share. */
#pragma once
#include "mda/mda.h"

struct text { struct buf in, out; }; /* kept from message to message: 512 KiB in all */
void text_init(struct text *t);
void text_done(struct text *t);

struct text_sink {
    int (*write)(struct text_sink *s, str bytes); /* 0 or negative errno */
    uint64_t bytes;              /* all that write took */
    bool failed;                 /* it was write that failed */
};

struct text_file { struct text_sink sink; int fd; }; /* a file as a sink: set write to text_file_write */
int text_file_write(struct text_sink *s, str bytes);

enum text_form {
    TEXT_PLAIN,    /* a Maildir's file */
    TEXT_FROM,     /* behind a From_ line, for a command */
    TEXT_MBOX,     /* behind a From_ line, quoted, with an empty line at the end */
};
/* before: goes first as it is (an mbox that must be mended). The From_ line has the message's own time, else now. A
 * message of up to 256 KiB is written in one piece. 0, or negative errno: of the sink, else of reading (-ENODATA: the
 * content is shorter than it was said to be). */
int text_write(struct text *t, const struct mda_message *m, enum text_form form, str before, struct text_sink *s);
/* The same seconds for the From_ line. */
int64_t text_time(const struct mda_message *m);
