/* What the files of `posthouse queue` share: questions to role store
 * (store/queue_query.h) and their answers, line by line.
 *   queue.c        the words of the command
 *   queue_print.c  what a person sees */
#pragma once
#include <jansson.h>
#include "admin/admin.h"
#include "admin/data_dir.h"

struct queue_command {
    struct admin_data data;
    const char *config, *sender, *recipient, *domain, *destination, *state, *older, *younger, *to, *text;
    bool json, watch;
    struct buf fields;       /* the question: its filters */
    size_t printed;          /* lines so far */
    json_int_t changed, skipped; /* over all pages */
    json_t *sums;            /* the same of do=summary */
};

/* Asks as often as there are pages and calls `each` for every line but the last of a page. 0 or an exit code after a
 * complaint. */
int queue_ask(struct queue_command *q, str question, void (*each)(struct queue_command *q, json_t *line));

/* Text of a line's field, "" if it has none. */
const char *queue_text(const json_t *line, const char *key);

void queue_print_recipient(struct queue_command *q, json_t *line);
void queue_print_destination(struct queue_command *q, json_t *line);
void queue_print_shown(struct queue_command *q, json_t *line);
void queue_print_json(struct queue_command *q, json_t *line);
/* A table that is drawn anew every two seconds until it is interrupted. */
int queue_watch(struct queue_command *q);
