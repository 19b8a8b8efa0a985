/* Puts messages into threads for THREAD (RFC 5256 3): ORDEREDSUBJECT and REFERENCES. Pure, without recursion, and
 * n log n in the messages and the ids that they name. */
#pragma once
#include "message/card_text.h"
#include "proto/imap_command.h"

struct thread_maker;
/* key: unpredictable, since message ids come from outside. NULL without memory. */
struct thread_maker *thread_maker_new(enum imap_thread_kind kind, const uint8_t key[16]);
void thread_maker_free(struct thread_maker *t);
/* Messages in the order of the mailbox. number: what the client is told; date_s: of the Date field, or else of its
 * arrival. text NULL: nothing is known of the message. Copies what it keeps. 0, or -ENOMEM (also: more than
 * THREADER_MAX bytes). */
#define THREADER_MAX ((size_t)512 * 1024 * 1024)
int thread_maker_add(struct thread_maker *t, uint32_t number, int64_t date_s, const struct card_text *text);
/* Adds the threads, "(2)(3 6 (4 23)(44 7 96))". Once. 0, -ENOMEM, or the buf's error. */
int thread_maker_end(struct thread_maker *t, struct buf *out);
