/* `posthouse mailbox check`: is every message of a mailbox, or of all of an account, readable? */
#include <stdio.h>
#include "admin/mailbox.h"
#include "base/event.h"
#include "message/card.h"
#include "store/message_record.h"

enum { QUESTION_MAX = 16384, LINE_MAX_BYTES = 65536 };
#define META_MAX ((size_t)1 << 26)

struct check {
    struct mailbox_command *command;
    const char *account, *name;
    struct buf meta, names;  /* names: of mailboxes, each with a NUL behind it */
    struct arena arena;
    uint64_t messages, findings;
};

static const char *wrong_with_meta(struct check *c, const struct mailbox_message *m)
{
    struct message_record record;
    struct card card;
    buf_clear(&c->meta);
    arena_clear(&c->arena);
    char *p = buf_space(&c->meta, m->header.meta_len);
    uint64_t at = m->header.offset + RECORD_HEADER_SIZE + m->header.content_len;
    if (!p || segment_pread(m->fd, p, m->header.meta_len, at) != (ssize_t)m->header.meta_len)
        return "its envelope cannot be read";
    if (message_record_decode(&c->arena, str_of(p, m->header.meta_len), &record) < 0)
        return "its envelope cannot be decoded";
    if (record.card.n && card_decode(&c->arena, record.card, &card) < 0)
        return "its card cannot be decoded";
    if (record.card.n && card.size != m->content_len)
        return "its card speaks of another size";
    return NULL;
}

static int check_message(void *arg, const struct mailbox_message *m)
{
    struct check *c = arg;
    const char *wrong = m->trouble;
    if (m->fd >= 0) {
        int r = segment_record_intact(m->fd, &m->header);
        wrong = r == 1 ? wrong_with_meta(c, m) : r == 0 ? "its content is not what was written" : "it cannot be read";
    }
    c->messages++;
    if (!wrong)
        return 0;
    c->findings++;
    struct buf line = BUF(LINE_MAX_BYTES);
    print_safe(&line, str_z(c->name));
    buf_addf(&line, " UID %u: %s (log %s segment %llu offset %llu)\n", m->uid, wrong, m->log,
             (unsigned long long)m->segment, (unsigned long long)m->offset);
    fwrite(line.p, 1, line.n, stdout);
    buf_done(&line);
    return 0;
}

static int keep_name(void *arg, const json_t *line)
{
    struct check *c = arg;
    if (mailbox_number(line, "id")) {
        buf_add(&c->names, str_z(mailbox_text(line, "name")));
        buf_addc(&c->names, '\0');
    }
    return 0;
}

static int run(struct check *c)
{
    _cleanup_buf_ struct buf question = BUF(QUESTION_MAX);
    if (c->name)
        return mailbox_walk(c->command, c->account, c->name, check_message, c);
    mailbox_question(&question, "list", c->account, NULL);
    int e = mailbox_ask(c->command, buf_str(&question), keep_name, c);
    str names = buf_str(&c->names);
    while (e == 0 && names.n) {
        c->name = str_cut(&names, '\0').p;
        e = mailbox_walk(c->command, c->account, c->name, check_message, c);
    }
    return e;
}

int mailbox_check(struct mailbox_command *command, int argc, char **argv)
{
    struct check c = { .command = command, .meta = BUF(META_MAX), .names = BUF(META_MAX), .arena = ARENA(META_MAX) };
    if (argc < 1 || argc > 2) {
        admin_complain("mailbox check takes an account and, if it is not for all of them, a mailbox");
        return EXIT_USAGE;
    }
    c.account = argv[0];
    c.name = argc == 2 ? argv[1] : NULL;
    int e = run(&c);
    if (e == 0)
        printf("%llu messages, %llu findings.\n", (unsigned long long)c.messages, (unsigned long long)c.findings);
    buf_done(&c.meta);
    buf_done(&c.names);
    arena_done(&c.arena);
    return e ? e : c.findings > 0;
}
