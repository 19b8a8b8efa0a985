/* What `posthouse trace` and `posthouse explain` have in common: the question, how an id is found, and what is said
 * when nothing is. */
#pragma once
#include "admin/data_dir.h"
#include "admin/trace_read.h"

struct trace_query {
    const char *command;          /* "trace", "explain": opens complaints */
    const struct trace *trace;
    const struct admin_data *data; /* configuration: lines of it, how long traces are kept */
    str what;                     /* ID or ADDRESS */
    size_t last;                  /* 0: the command's own default */
    bool json;
};
/* Answers into `out` (for standard output); what is wrong into `complaint` (one sentence, for admin_complain). An exit
 * code. */
typedef int trace_answer(const struct trace_query *q, struct buf *out, struct buf *complaint);
trace_answer trace_print, explain_print;

/* Reads `[-c FILE] [--json] [--last N] ID|ADDRESS`, opens the traces, answers and prints. last_allowed: the command has
 * --last. */
int trace_command(const char *command, bool last_allowed, trace_answer *answer, int argc, char **argv);

bool trace_is_address(str what);
/* The lines of the one session or message that q->what names. Exit code: 0; EXIT_USAGE (no id), 1 (nothing found; or
 * several begin so: they are listed in out), EXIT_IO, with a complaint. *out_lines are freed by the caller on success
 * only. */
int trace_query_lines(const struct trace_query *q, struct trace_lines *out_lines, struct buf *out,
                      struct buf *complaint);
/* "the traces …": how much was searched, from when to when, and how long traces are kept. */
void trace_put_searched(const struct trace_query *q, struct buf *out);
