/* What a delivery comes to: see mda.h. */
#include "mda/mda.h"
#include <stdarg.h>
#include "message/utf8.h"

/* Control bytes and what is no UTF-8 become '?': paths and output of programs may hold anything. */
static void make_safe(char *text)
{
    size_t n = str_z(text).n;
    for (size_t i = 0; i < n;) {
        uint32_t code;
        int len = utf8_read((const uint8_t *)text + i, n - i, &code);
        bool fine = len > 0 && code >= ' ' && code != 0x7f && !(code >= 0x80 && code < 0xa0);
        for (int k = 0; !fine && k < MAX(len, 1); k++)
            text[i + (size_t)k] = '?';
        i += (size_t)MAX(len, 1);
    }
}

void mda_result_set(struct mda_result *r, enum mda_outcome outcome, uint16_t code, const char *status, const char *fmt,
                    ...)
{
    va_list ap;
    r->outcome = outcome;
    r->code = code;
    snprintf(r->status, sizeof(r->status), "%s", status);
    va_start(ap, fmt);
    vsnprintf(r->text, sizeof(r->text), fmt, ap);
    va_end(ap);
    make_safe(r->text);
}
