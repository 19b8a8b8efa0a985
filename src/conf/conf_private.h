/* What the files of this room share and nobody else sees: the lexer, logical lines, the parsed configuration with
 * the place of every setting. */
#pragma once
#include "conf/conf.h"

#define CONF_STATEMENT_WORDS_MAX 65536

enum conf_statement_kind {
    CONF_STATEMENT_PLAIN, /* words, ended by a newline, `;`, or the `}` that closes the block (which comes next) */
    CONF_STATEMENT_OPEN,  /* words, then `{` */
    CONF_STATEMENT_CLOSE, /* `}`; no words */
    CONF_STATEMENT_END,   /* the end of the text; no words */
};

struct conf_statement {
    enum conf_statement_kind kind;
    const struct conf_word *words; /* in the arena; texts point into the input, or the arena if they had escapes */
    size_t n;
    uint32_t line;                 /* of the first word, or of what ended the statement */
};

struct conf_lexer {
    str file, text; /* text: what is left */
    uint32_t line;
};

struct conf_lexer conf_lexer_init(str file, str text);
/* Reads the next statement. 0, -EINVAL with *out_error, -ENOMEM. */
int conf_lexer_next(struct conf_lexer *l, struct arena *a, struct conf_statement *out, struct conf_error *out_error);

/* Words as they would be written: quoted where needed, with the commas they had. */
void conf_words_print(struct buf *out, const struct conf_word *words, size_t n);

/* True if the word after this one names a table ("check_client_access"); the table's path if it is `file:PATH`. */
bool conf_word_takes_table(str word);
bool conf_word_table_path(str word, str *out_path);

/* Lines as Postfix's tables have them: empty lines and lines whose first non-blank is `#` count for nothing, a line
 * that starts with a blank continues the one before. */
struct conf_lines {
    str file, text;
    uint32_t line;  /* number of the next physical line */
    bool continues; /* a line that starts with a blank continues; else every line stands for itself */
    uint32_t at;    /* number of the line last returned */
};

struct conf_lines conf_lines_init(str file, str text, bool continues);
/* 1: a line, trimmed, in the text or (joined) in the arena; 0: the end; -EINVAL: a control byte or broken UTF-8;
 * -ENOMEM. */
int conf_lines_next(struct conf_lines *l, struct arena *a, str *out_line, struct conf_error *out_error);

/* The next target of an alias: up to the comma (quotes respected), trimmed; n == 0 and an empty *rest at the end. */
str conf_target_next(str *rest);
/* A target or value without the quotes around it and the backslashes in them, in the arena; one without is itself.
 * p NULL: no memory. */
str conf_unquote(struct arena *a, str text);
/* The next of an account's options, with "…" around blanks respected: up to the blank; n == 0 at the end. */
str conf_option_next(str *rest);
/* The file of ":include:FILE". */
bool conf_target_include(str target, str *out_path);
/* Splits "alias: targets" at the colon outside quotes. False: there is none. */
bool conf_alias_split(str line, str *out_alias, str *out_targets);

enum conf_type {
    CONF_TYPE_BOOL, CONF_TYPE_NUMBER, CONF_TYPE_SIZE, CONF_TYPE_DURATION, CONF_TYPE_STRING, CONF_TYPE_PATH,
    CONF_TYPE_WORDS, CONF_TYPE_NETWORKS
};

/* Reads one value: yes|no; digits; digits with K, M, G; digits with s, m, h, d, w (into ms). False: not such a
 * thing; *out_want says what was expected. */
bool conf_value_number(enum conf_type type, str text, uint64_t *out, const char **out_want);
bool conf_network_valid(str text, const char **out_want);
/* "127.0.0.1:25", "[::1]:25", "*:25", "unix:PATH". The address comes in the one form inet_ntop gives. NULL, or what is
 * wrong. */
const char *conf_endpoint_parse(struct arena *a, str text, str *out_address, uint16_t *out_port);

struct conf_setting {
    const char *name;
    enum conf_type type;
    size_t offset; /* of the field in struct conf */
    const char *deflt, *doc;
};

#define SETTING(name, type, deflt, doc) CONF_ROW_##name,
enum conf_row {
#include "conf/settings.def"
    CONF_ROWS
};
#undef SETTING

extern const struct conf_setting conf_settings[CONF_ROWS];
extern const char *const conf_list_name[CONF_LISTS]; /* smtpd_client_restrictions … */

/* The row of a name, or -1. */
int conf_setting_find(str name);
/* The name of n that is nearest to s, "" if none is near. */
str conf_nearest_of(const char *const *names, size_t n, str s);

struct conf_place { /* where a setting was written; no file: nowhere */
    str file;
    uint32_t line;
    const struct conf_word *words;
    size_t n;
};

struct conf_domain {
    struct conf_word name; /* lower case, A-label form */
    struct conf_words catch_all, postmaster, deliver, user;
};

struct conf_table {
    str path;
    const struct conf_table_row { str key, value; uint32_t line; } *rows; /* sorted by key */
    size_t n;
    bool has_ok;
    struct conf_table *next;
};

struct conf_full {
    struct conf c;
    struct conf_place place[CONF_ROWS];
    const struct conf_domain *domains; /* as c.domains */
    struct conf_table *tables;
};

/* Reads a table. 0, -EINVAL with *out_error, -ENOMEM. */
int conf_table_parse(struct arena *a, str path, str text, struct conf_table **out, struct conf_error *out_error);

/* Fills in an error and returns -EINVAL (-ENOMEM when the arena is full). */
int conf_fail(struct arena *a, struct conf_error *out, str file, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
