/* Inside of SEARCH, SORT and THREAD: imap_search.c walks the messages and answers, imap_search_match.c decides on one
 * of them, imap_search_text.c looks into content; imap_sort.c and imap_thread.c take the hits of SORT and THREAD. */
#pragma once
#include "access/message_reader.h"
#include "message/part_text.h"

enum found { FOUND_NO, FOUND_YES, FOUND_WAIT, FOUND_MORE }; /* WAIT: for the store; MORE: others should have a turn */

struct search_node { /* a key made ready; children from cheap to dear */
    const struct imap_search_key *key;
    struct search_node *children, *next;
    unsigned cost;
    struct box_range *ranges; size_t n_ranges; /* of sets; those of "$" are the search's */
    str needle;            /* folded */
    str field; bool kept;  /* HEADER: lower case; its lines are in the cards */
    int keyword;
    int64_t moment;        /* OLDER, YOUNGER */
    size_t index; enum found known; /* what is known of the message at hand, unless memory tells it */
    /* BODY, TEXT: where the search in it stands */
    struct text_search *text; bool begun, feeding;
    size_t part; uint64_t at;
};

struct search_hit { uint32_t index, seq; };
struct sorter;
struct sort_ranks;
struct thread_maker;

struct search {
    struct imap_session *session;
    const struct imap_command *command;
    struct arena arena;
    struct search_node *root;
    struct box_range *own, *ranges; size_t n_ranges; /* that are walked; own: to be freed */
    struct box_walk walk;
    struct box_range *saved; size_t n_saved; /* "$", resolved once */
    size_t n_contents;     /* BODY and TEXT among the keys */
    struct message_reader *reader;
    uint64_t done, goal;
    unsigned work;         /* keys tried since the clock was looked at */
    bool tried;            /* something was read or compared in this slice */
    /* the message at hand */
    size_t index; uint32_t seq; bool at_hand;
    struct card_text text; bool has_text, made; uint32_t text_columns; /* which of them are there */
    struct arena parts; struct card parsed; bool has_parsed, no_content;
    struct buf header; bool has_header; /* its header, with the lines that this host put before it */
    struct buf folded;
    /* what was found */
    struct buf hits;                    /* struct search_hit each */
    struct sorter *sorter; struct sort_ranks *ranks; /* SORT: one of them */
    bool unread;                        /* some were sorted without their texts */
    struct thread_maker *threads;       /* THREAD */
    struct buf answer; size_t answer_at;
    bool answered;
};

static inline const struct box_message *search_message(const struct search *q)
{
    return &q->session->view.box->messages[q->index];
}
static inline size_t search_hits(const struct search *q) { return q->hits.n / sizeof(struct search_hit); }
static inline struct search_hit search_hit(const struct search *q, size_t i)
{
    return ((const struct search_hit *)(const void *)q->hits.p)[i];
}
/* The number that the client is told of a hit. */
static inline uint32_t search_number(const struct search *q, struct search_hit h)
{
    return q->command->uid ? q->session->view.box->messages[h.index].uid : h.seq;
}
/* Asked before each key that takes time: others should have a turn first. Never before the first one of a slice. */
bool search_pauses(struct search *q);

/* imap_search_match.c */
/* Makes the tree ready. 0; -ENOMEM; -EALREADY: a set was wrong, the command has been answered. */
int search_prepare(struct search *q);
void search_nodes_done(struct search *q);
enum found search_match(struct search *q, struct search_node *n);
/* The card's texts of the message at hand are in q->text: FOUND_YES, FOUND_NO (it cannot be read), FOUND_WAIT. All of
 * them, or at least the columns that are named (access/card_columns.h). */
enum found search_need_text(struct search *q);
enum found search_need_columns(struct search *q, uint32_t columns);

/* imap_search_text.c */
/* A field anywhere in the header contains the node's needle. */
enum found search_header(struct search *q, struct search_node *n, str field);
/* BODY and TEXT. */
enum found search_content(struct search *q, struct search_node *n);

/* imap_sort.c, imap_thread.c: the message at hand matches. As search_need_text(); FOUND_NO leaves it out. Negative
 * errors when the answer is made: -ENOMEM, -ENOBUFS (too much). */
int search_sort_begin(struct search *q);
enum found search_sort_take(struct search *q);
int search_sort_end(struct search *q); /* the hits in their order */
void search_sort_free(struct search *q);
int search_thread_begin(struct search *q);
enum found search_thread_take(struct search *q);
int search_thread_end(struct search *q); /* the answer's text behind "* THREAD" */
void search_thread_free(struct search *q);
