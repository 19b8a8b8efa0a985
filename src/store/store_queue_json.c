/* Lines of JSON (RFC 8259) for answers about the queue. Bytes that are no UTF-8 become U+FFFD, control bytes
 * escapes. */
#include "base/date.h"
#include "base/event.h"
#include "store/store_queue_query.h"

static void add_text(struct buf *b, str s)
{
    bool plain = utf8_valid(s);
    buf_addc(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_addf(b, "\\%c", c);
        else if (c == '\n')
            buf_add(b, S("\\n"));
        else if (c < ' ' || c == 0x7f)
            buf_addf(b, "\\u%04x", c);
        else if (c >= 0x80 && !plain)
            buf_add(b, S("\xef\xbf\xbd"));
        else
            buf_addc(b, (char)c);
    }
    buf_addc(b, '"');
}

static void add_key(struct buf *b, const char *key)
{
    if (b->n && b->p[b->n - 1] != '{')
        buf_addc(b, ',');
    buf_addf(b, "\"%s\":", key);
}

void json_begin(struct buf *b)
{
    buf_addc(b, '{');
}

void json_open(struct buf *b, const char *key)
{
    add_key(b, key);
    buf_addc(b, '{');
}

void json_close(struct buf *b)
{
    buf_addc(b, '}');
}

void json_str(struct buf *b, const char *key, str value)
{
    add_key(b, key);
    add_text(b, value);
}

void json_u64(struct buf *b, const char *key, uint64_t value)
{
    add_key(b, key);
    buf_addu(b, value);
}

void json_time(struct buf *b, const char *key, uint64_t us)
{
    char text[DATE_3339_LEN];
    date_put_3339(text, us);
    json_str(b, key, str_of(text, sizeof(text)));
}

void json_end(struct buf *b)
{
    buf_add(b, S("}\n"));
}
