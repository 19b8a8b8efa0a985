/* Where a message has its card from: its record, or, if the role that took it made none, the index, once role cards has
 * made one (card_maker.c). */
#include <errno.h>
#include <unistd.h>
#include "base/hash.h"
#include "store/store_internal.h"

#define META_MAX ((uint32_t)1 << 26)
#define RECORD_MEMORY ((size_t)1 << 28)

int store_cardless(struct store *s, struct store_cardless *out)
{
    struct index_cardless row;
    int r = index_card_wanted(s->index, &row);
    if (r == -EBADMSG && store_reindex(s) == 0)
        r = index_card_wanted(s->index, &row);
    if (r != 1)
        return r == -EBADMSG ? -EIO : r;
    *out = (struct store_cardless){ .position = row.at, .content_len = row.content_len, .number = row.number };
    memcpy(out->session, row.session, sizeof(out->session));
    if (!log_name_valid(row.log))
        return -EIO;
    memcpy(out->log, row.log.p, row.log.n);
    return 1;
}

static int set(struct store *s, str log, struct log_position at, str card)
{
    int r = index_begin(s->index);
    if (r == 0)
        r = index_card_set(s->index, log, at, card);
    int e = r < 0 ? r : index_commit(s->index);
    if (e < 0)
        index_rollback(s->index);
    return e < 0 ? e : r;
}

int store_card_set(struct store *s, str log, struct log_position at, str card)
{
    int r = s->failed ? s->failed : set(s, log, at, card);
    if (r == -EBADMSG && store_reindex(s) == 0)
        r = set(s, log, at, card);
    return r == -EBADMSG ? -EIO : r;
}

/* The card in the record at that place. */
static int card_of_record(int fd, struct log_position at, struct buf *out)
{
    _cleanup_arena_ struct arena a = ARENA(RECORD_MEMORY);
    _cleanup_buf_ struct buf meta = BUF(META_MAX);
    struct segment_reader reader;
    struct record_header h;
    struct message_record m;
    bool damage;
    int r = segment_reader_open(fd, &reader);
    if (r < 0)
        return r == -ENODATA ? -EBADMSG : r;
    reader.at = at.offset;
    r = segment_reader_next(&reader, false, &h, &damage);
    if (r < 0)
        return r;
    if (r == 0 || h.offset != at.offset || h.type != RECORD_MESSAGE || h.meta_len > META_MAX)
        return -EBADMSG;
    char *p = buf_space(&meta, h.meta_len);
    if (!p)
        return -ENOMEM;
    ssize_t n = segment_pread(fd, p, h.meta_len, h.offset + RECORD_HEADER_SIZE + h.content_len);
    if (n < 0)
        return (int)n;
    bool good = (size_t)n == h.meta_len && crc32c(0, buf_str(&meta)) == h.meta_crc;
    r = good ? message_record_decode(&a, buf_str(&meta), &m) : -EBADMSG;
    if (r < 0)
        return r;
    r = buf_add(out, m.card);
    return r < 0 ? r : m.card.n > 0;
}

int store_card(struct store *s, str log, struct log_position at, struct buf *out)
{
    bool wanted;
    int r = index_card_get(s->index, log, at, &wanted, out);
    if (r != 0 || wanted)
        return r;
    _cleanup_close_ int fd = -1;
    r = store_segment_open(s, log, at.segment, &fd);
    return r < 0 ? r : card_of_record(fd, at, out);
}
