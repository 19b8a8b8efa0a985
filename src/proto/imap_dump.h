/* For tests only: a parsed command as one line of text, so that a test says what it expects of the whole tree. */
#pragma once
#include "proto/imap_write.h"

static inline void dump_set(struct buf *b, const struct imap_set *set)
{
    buf_add(b, set->saved ? S("$") : STR_NONE);
    for (size_t i = 0; i < set->n; i++) {
        buf_addf(b, i ? ",%u" : "%u", set->ranges[i].first);
        if (set->ranges[i].last != set->ranges[i].first)
            buf_addf(b, ":%u", set->ranges[i].last);
    }
}

static inline void dump_strs(struct buf *b, const str *strs, size_t n)
{
    buf_addc(b, '(');
    for (size_t i = 0; i < n; i++)
        buf_addf(b, strs[i].p ? "%s\"%.*s\"" : "%sNIL%.*s", i ? " " : "", STR_ARG(strs[i]));
    buf_addc(b, ')');
}

static inline void dump_key(struct buf *b, const struct imap_search_key *k)
{
    static const char *const names[] = {
        [IMAP_SEARCH_AND] = "and", [IMAP_SEARCH_OR] = "or", [IMAP_SEARCH_NOT] = "not",
        [IMAP_SEARCH_EVERYTHING] = "all", [IMAP_SEARCH_SET] = "set", [IMAP_SEARCH_UID] = "uid",
        [IMAP_SEARCH_FLAGS] = "flags", [IMAP_SEARCH_KEYWORD] = "keyword", [IMAP_SEARCH_LARGER] = "larger",
        [IMAP_SEARCH_SMALLER] = "smaller", [IMAP_SEARCH_BEFORE] = "before", [IMAP_SEARCH_ON] = "on",
        [IMAP_SEARCH_SINCE] = "since", [IMAP_SEARCH_SENTBEFORE] = "sentbefore", [IMAP_SEARCH_SENTON] = "senton",
        [IMAP_SEARCH_SENTSINCE] = "sentsince", [IMAP_SEARCH_OLDER] = "older", [IMAP_SEARCH_YOUNGER] = "younger",
        [IMAP_SEARCH_SUBJECT] = "subject", [IMAP_SEARCH_FROM] = "from", [IMAP_SEARCH_TO] = "to",
        [IMAP_SEARCH_CC] = "cc", [IMAP_SEARCH_BCC] = "bcc", [IMAP_SEARCH_HEADER] = "header",
        [IMAP_SEARCH_BODY] = "body", [IMAP_SEARCH_TEXT] = "text", [IMAP_SEARCH_MODSEQ] = "modseq",
        [IMAP_SEARCH_EMAILID] = "emailid", [IMAP_SEARCH_THREADID] = "threadid",
    };
    buf_addf(b, "(%s", names[k->kind]);
    if (k->flags)
        buf_addf(b, " %u", k->flags);
    if (k->set.n || k->set.saved) {
        buf_addc(b, ' ');
        dump_set(b, &k->set);
    }
    if (k->field.p)
        buf_addf(b, " %.*s:", STR_ARG(k->field));
    if (k->text.p)
        buf_addf(b, " \"%.*s\"", STR_ARG(k->text));
    if (k->number || k->kind == IMAP_SEARCH_MODSEQ)
        buf_addf(b, " %llu", (unsigned long long)k->number);
    if (k->day)
        buf_addf(b, " day %lld", (long long)k->day);
    for (const struct imap_search_key *c = k->children; c; c = c->next)
        dump_key(b, c);
    buf_addc(b, ')');
}

static inline void dump_fetch_item(struct buf *b, const struct imap_fetch_item *item)
{
    static const char *const names[] = { "UID", "FLAGS", "INTERNALDATE", "SIZE", "ENVELOPE", "STRUCTURE",
                                         "STRUCTURE_OLD", "SECTION", "BINARY", "BINARY_SIZE", "RFC822",
                                         "RFC822_HEADER", "RFC822_TEXT", "MODSEQ", "EMAILID", "THREADID" };
    static const char *const sections[] = { "", "HEADER", "FIELDS", "FIELDS_NOT", "TEXT", "MIME" };
    buf_addf(b, " %s%s", names[item->kind], item->peek ? "?" : "");
    if (item->kind == IMAP_FETCH_SECTION || item->n_part) {
        buf_addc(b, '[');
        for (size_t i = 0; i < item->n_part; i++)
            buf_addf(b, "%u.", item->part[i]);
        buf_addf(b, "%s", sections[item->section]);
        if (item->n_fields)
            dump_strs(b, item->fields, item->n_fields);
        buf_addc(b, ']');
    }
    if (item->partial)
        buf_addf(b, "<%llu.%llu>", (unsigned long long)item->offset, (unsigned long long)item->length);
}

static inline void dump_fetch(struct buf *b, const struct imap_fetch *f)
{
    buf_addc(b, ' ');
    dump_set(b, &f->set);
    for (size_t i = 0; i < f->n_items; i++)
        dump_fetch_item(b, &f->items[i]);
    if (f->has_changedsince)
        buf_addf(b, " since %llu", (unsigned long long)f->changedsince);
    buf_add(b, f->vanished ? S(" vanished") : STR_NONE);
}

static inline void dump_append(struct buf *b, const struct imap_append *a)
{
    buf_addf(b, " \"%.*s\" ", STR_ARG(a->mailbox));
    imap_put_flags(b, a->flags.system, a->flags.keywords, a->flags.n_keywords);
    if (a->has_date)
        buf_addf(b, " %lld%+d", (long long)a->date_s, a->date_zone_min);
    buf_addf(b, " %s%s%llu", a->literal8 ? "~" : "", a->utf8 ? "utf8 " : "", (unsigned long long)a->size);
}

static inline void dump_search(struct buf *b, const struct imap_search *s)
{
    buf_addc(b, ' ');
    if (s->has_return)
        buf_addf(b, "return %u ", s->returns);
    for (size_t i = 0; i < s->n_sort; i++)
        buf_addf(b, "sort %s%d ", s->sort[i].reverse ? "-" : "", (int)s->sort[i].kind);
    if (s->has_modseq)
        buf_add(b, S("modseq "));
    dump_key(b, s->key);
}

static inline void dump_select(struct buf *b, const struct imap_select *s)
{
    buf_addf(b, " \"%.*s\"%s", STR_ARG(s->mailbox), s->condstore ? " condstore" : "");
    if (s->qresync)
        buf_addf(b, " qresync %u %llu", s->uidvalidity, (unsigned long long)s->modseq);
    if (s->has_known) {
        buf_add(b, S(" known "));
        dump_set(b, &s->known);
    }
    if (s->has_match) {
        buf_add(b, S(" match "));
        dump_set(b, &s->match_seq);
        buf_addc(b, ' ');
        dump_set(b, &s->match_uid);
    }
}

static inline void dump_list(struct buf *b, const struct imap_list *l)
{
    buf_addf(b, " \"%.*s\" ", STR_ARG(l->reference));
    dump_strs(b, l->patterns, l->n_patterns);
    if (l->extended)
        buf_addf(b, " select %u return %u status %u", l->select, l->returns, l->status);
}

static inline void dump_store(struct buf *b, const struct imap_store *s)
{
    static const char *const ops[] = { "=", "+", "-" };
    buf_addc(b, ' ');
    dump_set(b, &s->set);
    buf_addf(b, " %s%s", ops[s->op], s->silent ? "silent" : "");
    imap_put_flags(b, s->flags.system, s->flags.keywords, s->flags.n_keywords);
    if (s->has_unchangedsince)
        buf_addf(b, " unchangedsince %llu", (unsigned long long)s->unchangedsince);
}

static inline void dump_mailboxes(struct buf *b, const struct imap_command *c)
{
    switch (c->verb) {
    case IMAP_DELETE:
    case IMAP_SUBSCRIBE:
    case IMAP_UNSUBSCRIBE:
    case IMAP_GETQUOTAROOT:
        buf_addf(b, " \"%.*s\"", STR_ARG(c->mailbox));
        break;
    case IMAP_RENAME:
        buf_addf(b, " \"%.*s\" \"%.*s\"", STR_ARG(c->rename.from), STR_ARG(c->rename.to));
        break;
    case IMAP_CREATE:
        buf_addf(b, " \"%.*s\"", STR_ARG(c->create.mailbox));
        if (c->create.has_use)
            buf_addf(b, " use %d", (int)c->create.use);
        break;
    case IMAP_STATUS:
        buf_addf(b, " \"%.*s\" %u", STR_ARG(c->status.mailbox), c->status.items);
        break;
    default:
        break;
    }
}

static inline void dump_others(struct buf *b, const struct imap_command *c)
{
    switch (c->verb) {
    case IMAP_LOGIN:
        buf_addf(b, " \"%.*s\" \"%.*s\"", STR_ARG(c->login.user), STR_ARG(c->login.password));
        break;
    case IMAP_AUTHENTICATE:
        buf_addf(b, " %.*s %d %.*s", STR_ARG(c->authenticate.mechanism), c->authenticate.has_response,
                 STR_ARG(c->authenticate.response));
        break;
    case IMAP_ENABLE:
        buf_addf(b, " %u", c->enable);
        break;
    case IMAP_ID:
        buf_addc(b, ' ');
        dump_strs(b, c->id.pairs, c->id.n);
        break;
    case IMAP_GETQUOTA:
    case IMAP_SETQUOTA:
        buf_addf(b, " \"%.*s\"", STR_ARG(c->quota.root));
        break;
    case IMAP_COPY:
    case IMAP_MOVE:
        buf_addc(b, ' ');
        dump_set(b, &c->copy.set);
        buf_addf(b, " \"%.*s\"", STR_ARG(c->copy.mailbox));
        break;
    case IMAP_EXPUNGE:
        if (c->expunge.has_set)
            buf_addc(b, ' ');
        dump_set(b, &c->expunge.set);
        break;
    default:
        break;
    }
}

static inline void dump_command(struct buf *b, const struct imap_command *c)
{
    buf_addf(b, "%s%.*s", c->uid ? "UID " : "", STR_ARG(imap_verb_name(c->verb)));
    switch (c->verb) {
    case IMAP_SELECT:
    case IMAP_EXAMINE:
        return dump_select(b, &c->select);
    case IMAP_LIST:
    case IMAP_LSUB:
    case IMAP_XLIST:
        return dump_list(b, &c->list);
    case IMAP_FETCH:
        return dump_fetch(b, &c->fetch);
    case IMAP_STORE:
        return dump_store(b, &c->store);
    case IMAP_APPEND:
        return dump_append(b, &c->append);
    case IMAP_SEARCH:
    case IMAP_SORT:
    case IMAP_THREAD:
        if (c->verb == IMAP_THREAD)
            buf_add(b, c->search.thread == IMAP_THREAD_REFERENCES ? S(" references") : S(" orderedsubject"));
        return dump_search(b, &c->search);
    default:
        dump_mailboxes(b, c);
        return dump_others(b, c);
    }
}
