/* The older of the two locks of an mbox: a file MBOX.lock beside it, made by link(2) so that it is there with its
 * content or not at all. Taken only by who holds the fcntl lock of the same mbox, and given back before that.
 *
 * Its first line is "PID:HOST", as others read it. Behind it is our own note of the append under way: the mbox's size
 * before, and the From_ line that comes there. A lock with such a note, of our user and of this host, whose mbox nobody
 * has locked by fcntl was left by a delivery that was killed; it is taken over at once, and its note says what to
 * undo.
 * Others are broken when they are old: 10 minutes, if their process is one of this host and is gone; 30 minutes, if
 * they name none. */
#pragma once
#include <limits.h>
#include "base/buf.h"

#define DOTLOCK_DEAD_S 600
#define DOTLOCK_UNNAMED_S 1800
#define DOTLOCK_NOTE_MAX 1024

struct dotlock {
    int dir, fd;                 /* the folder (the caller's), the lock file; fd -1: not held */
    char name[NAME_MAX + 1];
};
#define DOTLOCK_FREE ((struct dotlock){ .dir = -1, .fd = -1 })

struct dotlock_note { bool is; uint64_t size; char from[DOTLOCK_NOTE_MAX]; }; /* from: with its LF */

enum dotlock_answer { DOTLOCK_HELD, DOTLOCK_BUSY, DOTLOCK_NONE /* no file can be made there */ };

/* Once, without waiting. out_left: what a killed delivery has left, if its lock was taken over. out_who (size
 * bytes): who holds it, for people, with DOTLOCK_BUSY. */
enum dotlock_answer dotlock_take(struct dotlock *l, int dir, const char *mbox, struct dotlock_note *out_left,
                                 char *out_who, size_t size);
/* Puts the note into the lock: the append that is about to begin. */
void dotlock_write_note(struct dotlock *l, uint64_t size, str from);
void dotlock_release(struct dotlock *l);
