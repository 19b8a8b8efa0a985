/* The options of the sendmail command, as thirty years of scripts give them: several letters in one word, values in the
 * same word or the next, and many that mean nothing any more. Pure. */
#pragma once
#include "base/str.h"

enum sendmail_mode {
    SENDMAIL_SEND,      /* -bm: a message on standard input */
    SENDMAIL_SMTP,      /* -bs */
    SENDMAIL_VERIFY,    /* -bv: where do the addresses lead? */
    SENDMAIL_LIST,      /* -bp, mailq */
    SENDMAIL_RETRY,     /* -q */
    SENDMAIL_ALIASES    /* -bi, -I, newaliases */
};

struct sendmail_args {
    enum sendmail_mode mode;
    const char *config;      /* -C, NULL: not given */
    const char *sender;      /* -f, -r; NULL: not given */
    const char *full_name;   /* -F; NULL: not given */
    bool from_header;        /* -t */
    bool keep_dots;          /* -i, -oi: a dot alone is no end */
    bool verbose;            /* -v */
    bool has_notify;
    uint8_t notify;          /* -N, bits of store/message_record.h */
    uint8_t ret;             /* -R */
    const char *envid;       /* -V; NULL: not given */
    bool body_8bit;          /* -B8BITMIME */
    char retry_by;           /* -qI ID, -qR RECIPIENT, -qS SENDER: that letter; 0: all */
    const char *retry_what;
    char **recipients; int n_recipients; /* the rest of argv */
    char why[240];           /* what is wrong, a sentence; empty: nothing */
};

/* argv[0] counts: mailq and newaliases are commands of their own. Points into argv. 0, or -EINVAL with `why`. */
int sendmail_args_parse(int argc, char **argv, struct sendmail_args *out);
