/* What the statements of the main file share while it is parsed: the parser's state, complaints, lists and blocks. */
#pragma once
#include "conf/conf_private.h"

#define CONF_INCLUDE_DEPTH_MAX 16

struct conf_route_draft;
struct conf_parser {
    struct arena *a;
    str bundle;
    struct conf_error *error;
    struct conf_full *conf;
    struct conf_listener *listeners;
    struct conf_domain *domains;
    struct conf_route_draft *routes;
    struct conf_dkim *dkim;
    size_t n_listeners, cap_listeners, n_domains, cap_domains, n_routes, cap_routes;
    size_t n_dkim, cap_dkim;
    str including[CONF_INCLUDE_DEPTH_MAX + 1]; /* files being read, outermost first */
    size_t depth;
};

#define FAIL(p, w, ...) conf_fail((p)->a, (p)->error, (w)->file, (w)->line, __VA_ARGS__)
#define SHOW(s) STR_ARG(str_first((s), 200))

/* Complains of a word that is none, with the nearest that is. -EINVAL, -ENOMEM. */
int conf_unknown(struct conf_parser *p, const struct conf_word *w, const char *what, str nearest);
/* Grows an array in the arena by doubling. */
void *conf_grow(struct arena *a, void *old, size_t n, size_t *cap, size_t size);
/* The words after the first as a list; one empty quoted word is the empty list. */
int conf_list_value(struct conf_parser *p, const struct conf_statement *s, struct conf_words *out);

/* One statement inside a block. */
typedef int (*conf_inner_fn)(struct conf_parser *p, const struct conf_statement *s, void *arg);
int conf_read_block(struct conf_parser *p, struct conf_lexer *l, const struct conf_word *opener, conf_inner_fn inner,
                    void *arg);

/* `route NAME { … }` */
int conf_route(struct conf_parser *p, struct conf_lexer *l, const struct conf_statement *s);
/* When all has been read: the table of routes with the settings they fall back to. */
int conf_route_finish(struct conf_parser *p);
/* `dkim DOMAIN SELECTOR FILE` */
int conf_dkim_statement(struct conf_parser *p, const struct conf_statement *s);
/* When all has been read: sorted, checked. */
int conf_dkim_finish(struct conf_parser *p);
/* What is expected of a text setting about routes, if it is not met; else NULL. */
const char *conf_route_text_wanted(enum conf_row row, str text);
