/* Delivery, the MDA's own work: one message, handed over by one mechanism (route/mechanism.h). Whoever calls is already
 * who the recipient is: nothing here changes its user. Used by role mda (mda_role.h) and by `posthouse deliver`.
 *
 * What is written has lines that end with LF; its first lines are Return-Path (unless the prefix has one) and the
 * prefix. The fields that mailbox programs keep in a header (X-UID, Status, X-Status, X-Keywords, X-IMAPbase, X-IMAP,
 * Content-Length, and any Return-Path that came with it) are left out, whatever their case. */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "route/mechanism.h"

struct mda_message { /* it and what it points to are the caller's */
    int fd;                  /* content: [offset, offset + length) of this file, read with pread; lines end with CRLF */
    uint64_t offset, length;
    str prefix;              /* header lines before the content, each with CRLF: Delivered-To with this host's mark … */
    str sender;              /* "" is <> */
    str recipient;           /* the account: final address */
    str original;            /* as the envelope had it; n == 0: recipient */
    str alias;               /* the alias that led here; n == 0: none */
    str session;             /* name of the trace, "S.n", for names of files and the log; n == 0: none */
    str envid;
    str client_address, client_name, client_helo, client_protocol; /* where known, else n == 0 */
    str sasl_user;
    uint64_t received_us;    /* of the From_ line; 0: now */
};

struct mda_user {            /* who we are */
    str name, home, shell;
    uint32_t uid, gid;
};

/* In order of harm. The numbers are those of JOB_RESULT. */
enum mda_outcome { MDA_DELIVERED = 0, MDA_DEFERRED = 2, MDA_FAILED = 3 };

struct mda_result {
    enum mda_outcome outcome;
    uint16_t code;           /* SMTP-like for the log: 250, 451, 550 … */
    char status[12];         /* "2.0.0" "4.2.2" "5.1.1" */
    char text[1000];         /* what happened, for people: UTF-8 without control bytes */
    uint64_t bytes;          /* written */
};

void mda_result_set(struct mda_result *r, enum mda_outcome outcome, uint16_t code, const char *status, const char *fmt,
                    ...) __attribute__((format(printf, 5, 6)));
