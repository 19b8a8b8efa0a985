/* Any text either is refused or reads as a moment that, written down again, reads the same. */
#include "base/date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void mail_date(str in)
{
    int64_t at, again;
    int offset, offset_again;
    if (date_parse_5322(in, &at, &offset) < 0)
        return;
    _cleanup_buf_ struct buf text = BUF(64);
    if (date_format_5322(&text, at, offset) < 0) {
        check(at > 253401900000); /* within four days of the end of year 9999 */
        return;
    }
    check(date_parse_5322(buf_str(&text), &again, &offset_again) == 0);
    check(again == at && offset_again == offset);
}

static void log_date(str in)
{
    uint64_t at, again;
    if (date_parse_3339(in, &at) < 0)
        return;
    _cleanup_buf_ struct buf text = BUF(64);
    check(date_format_3339(&text, at) == 0 && date_parse_3339(buf_str(&text), &again) == 0);
    check(again == at || at >= 253402300800000000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mail_date(str_of(data, size));
    log_date(str_of(data, size));
    if (size >= 12) { /* the same from the other end: any moment and zone that can be written can be read */
        int64_t at;
        int offset;
        memcpy(&at, data, 8);
        memcpy(&offset, data + 8, 4);
        at %= 260000000000;
        _cleanup_buf_ struct buf text = BUF(64);
        int64_t again;
        int offset_again;
        if (date_format_5322(&text, at, offset % 6000) == 0 && at > -2208000000 + 6000 * 60)
            check(date_parse_5322(buf_str(&text), &again, &offset_again) == 0 && again == at);
    }
    return 0;
}
