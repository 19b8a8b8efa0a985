/* Words of the grammar of IMAP (RFC 3501 9, RFC 9051 9), read from the front of a command. Every reader returns true
 * and moves on, or returns false with the first trouble kept in the lexer; then nothing more is read. Inside
 * src/proto. */
#pragma once
#include "proto/imap_command.h"

struct imap_lex {
    struct arena *arena;
    const char *p, *end;
    bool utf8; /* mailbox names are not in modified UTF-7 */
    int trouble; /* 0; -EBADMSG; -EAGAIN: the bytes of a literal are still to come; -ENOMEM */
    struct imap_parse_error error;
};

struct imap_lex imap_lex_of(struct arena *arena, str in, bool utf8);

/* Notes what is wrong unless something was before; false. */
bool imap_lex_fail(struct imap_lex *l, str text);
/* The same with NO and a response code. */
bool imap_lex_refuse(struct imap_lex *l, const char *code, str text);
bool imap_lex_no_memory(struct imap_lex *l);

/* The next byte, 0 at the end. */
static inline char imap_lex_peek(const struct imap_lex *l) { return l->p < l->end ? *l->p : '\0'; }
/* Moves over c if it is next. */
static inline bool imap_lex_eat(struct imap_lex *l, char c)
{
    bool next = l->p < l->end && *l->p == c;
    l->p += next;
    return next;
}
/* Expects c; text says that it is missing. */
bool imap_lex_expect(struct imap_lex *l, char c, str text);
/* One space; more are let pass. */
bool imap_lex_space(struct imap_lex *l);
/* The end of the command; spaces before it are let pass. */
bool imap_lex_end(struct imap_lex *l);
/* True if a space and something other than the end follow: moves over the spaces. */
bool imap_lex_more(struct imap_lex *l);
/* In a parenthesised list, between its items: true for a next one, false at its ")" or when neither follows. */
bool imap_lex_list_more(struct imap_lex *l);

/* A run of letters, digits and . - + = _ : names of commands and items. Empty if there is none. */
str imap_lex_word(struct imap_lex *l);
/* Moves over that word (ASCII case ignored) if it comes next. */
bool imap_lex_eat_word(struct imap_lex *l, str word);
str imap_lex_tag(struct imap_lex *l);
bool imap_lex_atom(struct imap_lex *l, str *out);
bool imap_lex_string(struct imap_lex *l, str *out);
bool imap_lex_astring(struct imap_lex *l, str *out);
bool imap_lex_nstring(struct imap_lex *l, str *out); /* NIL: no bytes at NULL */
bool imap_lex_number(struct imap_lex *l, uint64_t max, uint64_t *out);
bool imap_lex_set(struct imap_lex *l, struct imap_set *out);
/* "{5}", "{5+}", "~{5}" without its bytes. */
bool imap_lex_literal_size(struct imap_lex *l, uint64_t *out);
/* A mailbox name as imap_command.h has it; a name or pattern of LIST, which is only decoded. */
bool imap_lex_mailbox(struct imap_lex *l, str *out);
bool imap_lex_reference(struct imap_lex *l, str *out);
bool imap_lex_pattern(struct imap_lex *l, str *out);
/* "(\Seen $x)"; with `bare` also without parentheses, to the end of the command. */
bool imap_lex_flags(struct imap_lex *l, bool bare, struct imap_flags *out);
/* date (RFC 9051 9), as days since 1970; date-time. */
bool imap_lex_date(struct imap_lex *l, int64_t *out_day);
bool imap_lex_date_time(struct imap_lex *l, int64_t *out_unix_s, int *out_zone_min);

/* A word of a table and what it stands for. */
struct imap_word { str word; uint32_t value; };
const struct imap_word *imap_word_find(const struct imap_word *words, size_t n, str word);
/* The next word, which must be of the table; text says that it is not. NULL on failure. */
const struct imap_word *imap_lex_word_of(struct imap_lex *l, const struct imap_word *words, size_t n, str text);

/* True if all of s is ATOM-CHAR, and there is some. */
bool imap_is_atom(str s);

/* A growing array in the arena: room for one more item of `size` bytes behind the n that are there, moving them if need
 * be. NULL without memory. Begin with *items NULL, n 0. */
void *imap_lex_grow(struct imap_lex *l, void *items, size_t n, size_t size);
