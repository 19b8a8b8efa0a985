/* Identifiers of messages and threads: see object_id.h. */
#include "access/object_id.h"
#include "base/codec.h"
#include "base/hash.h"

void email_id_put(struct buf *out, const struct box_message *m)
{
    char id[B32_ID_LEN];
    b32_id_encode(m->session, id);
    buf_addc(out, 'E');
    buf_add(out, str_of(id, sizeof(id)));
    buf_addc(out, '-');
    buf_addu(out, m->number);
}

bool thread_id_put(struct buf *out, const struct card_text *t)
{
    static const uint8_t key[16] = "posthouse thread";
    static const char digits[] = "0123456789abcdef";
    str rest = t->references, root = rest.n ? str_cut(&rest, '\n') : t->message_id;
    if (!root.n)
        return false;
    uint64_t h = siphash24(key, root);
    buf_addc(out, 'T');
    for (int i = 0; i < 16; i++, h <<= 4)
        buf_addc(out, digits[h >> 60]);
    return true;
}
