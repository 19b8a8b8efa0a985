/* Inside of FETCH: imap_fetch.c walks the messages and writes their items, imap_fetch_body.c sections of content. */
#pragma once
#include "access/message_reader.h"
#include "message/part_text.h"

struct field_names { /* of HEADER.FIELDS: a table with open addressing */
    str *slots; size_t mask;
    bool kept; /* the cards keep the lines of all of them, and none is a line that this host put before the content */
};
struct fetch_item {
    const struct imap_fetch_item *said;
    str label; /* "BODY[HEADER.FIELDS (To)]<0> " as the answer repeats it */
    struct field_names names;
};

enum fetch_literal { LITERAL_NONE, LITERAL_CONTENT, LITERAL_TEXT, LITERAL_DECODED };
enum { FETCH_TEXT = 1, FETCH_CARD = 2, FETCH_CONTENT = 4, FETCH_WHOLE = 8, FETCH_FIELDS = 16, FETCH_PARTS = 32 };
/* What items need. FIELDS: the content if the card has not all lines; PARTS: the card if it has no texts. */

struct fetch {
    struct imap_session *session;
    const struct imap_command *command;
    struct arena arena;             /* of the command */
    struct fetch_item *items; size_t n_items;
    unsigned needs; uint32_t columns; bool sets_seen; /* columns: of the cards' texts */
    struct box_range *ranges; size_t n_ranges;
    struct box_walk walk;
    struct message_reader *reader;
    uint64_t done, goal;            /* messages, for INPROGRESS */
    /* the message at hand */
    size_t index; uint32_t seq; bool at_hand, begun;
    size_t item;                    /* that is written next */
    struct card_text text; bool made;
    str card;
    struct arena parts; struct card parsed; bool has_parsed;
    bool damaged, quick;            /* quick: no file was read for it */
    /* the literal under way */
    enum fetch_literal literal;
    uint64_t from, to;              /* of prefix and content together */
    struct buf scratch; size_t scratch_at;
    struct part_decoder decoder; uint64_t skip, left;
    /* a part is read through its decoder to know its size; the item is put again when that goes on */
    bool measuring, measured_nul; uint64_t measured_at, measured;
    /* what the end will be told */
    struct buf seen;                /* pairs of UIDs, u32 each: not \Seen before */
    size_t seen_index, seen_at;
    struct buf vanished; size_t vanished_at; bool vanished_asked, vanished_all, vanished_told;
    bool some_gone, some_unread, some_damaged, unknown_encoding;
};

static inline const struct box_message *fetch_message(const struct fetch *f)
{
    return &f->session->view.box->messages[f->index];
}

/* imap_fetch_body.c */
/* Labels and tables of the command's items, and what they need. 0 or -ENOMEM. */
int fetch_prepare(struct fetch *f);
/* The parts of the message at hand: there is at least one. False: damaged, or no memory. */
bool fetch_parse(struct fetch *f);
/* Writes the item with its label, or begins its literal. f->measuring: it is not complete, call again. */
void fetch_put_section(struct fetch *f, const struct fetch_item *i);
/* Writes more of the literal under way. 1: it is complete; 0: the output is high; negative: it cannot be completed. */
int fetch_put_literal(struct fetch *f);
