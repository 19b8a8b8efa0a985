/* Any text as a configuration with its tables, accounts and aliases: the input is cut at NUL bytes into the main
 * file, "accounts", "aliases" and "t". What parses must print each setting so that it parses again to the same, and
 * what compiles must open. */
#include "conf/conf_test.h"
#include "conf/directory.h"

enum { PARTS = 4 };
static const char *const part_name[PARTS] = { "main", "accounts", "aliases", "t" };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool truth)
{
    if (!truth)
        __builtin_trap();
}

/* Writes all settings of c, reads them, and compares the two prints. */
static void round_trip(struct arena *a, const struct conf *c, const str parts[PARTS])
{
    struct buf text = BUF(1u << 20), again = BUF(1u << 20);
    struct conf_setting_info info;
    str file;
    uint32_t line;
    for (size_t i = 0; conf_setting_info(i, &info); i++) {
        size_t before = text.n;
        buf_addf(&text, "%s ", info.name);
        check(conf_setting_value(c, str_z(info.name), &text, &file, &line));
        if (line == 0)
            text.n = before;
        else
            buf_addc(&text, '\n');
    }
    struct buf bundle = BUF(2u << 20);
    conf_bundle_begin(&bundle, S("again"));
    conf_bundle_add(&bundle, S("again"), buf_str(&text));
    for (size_t i = 0; i < PARTS; i++) /* any of them may be named as a table */
        conf_bundle_add(&bundle, str_z(part_name[i]), parts[i]);
    const struct conf *d = NULL;
    struct conf_error e;
    check(conf_parse(a, buf_str(&bundle), &d, &e) == 0);
    for (size_t i = 0; conf_setting_info(i, &info); i++) {
        size_t before = again.n;
        buf_addf(&again, "%s ", info.name);
        check(conf_setting_value(d, str_z(info.name), &again, &file, &line));
        if (line == 0)
            again.n = before;
        else
            buf_addc(&again, '\n');
    }
    check(str_eq(buf_str(&text), buf_str(&again)));
    buf_done(&text);
    buf_done(&again);
    buf_done(&bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena a = ARENA(64u << 20);
    _cleanup_buf_ struct buf bundle = BUF(8u << 20), blob = BUF(8u << 20);
    str rest = str_of(data, size), parts[PARTS];
    conf_bundle_begin(&bundle, S("main"));
    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = i + 1 < PARTS ? str_cut(&rest, '\0') : rest;
        conf_bundle_add(&bundle, str_z(part_name[i]), parts[i]);
    }
    const struct conf *c = NULL;
    struct conf_error e = { 0 };
    if (conf_parse(&a, buf_str(&bundle), &c, &e) < 0) {
        check(e.text.n > 0);
        return 0;
    }
    round_trip(&a, c, parts);
    struct directory d;
    if (directory_compile(&a, buf_str(&bundle), c, 1, &blob, &e) == 0) {
        check(directory_open(buf_str(&blob), &d) == 0);
        str address;
        for (size_t i = 0; directory_account(&d, i, &address); i++)
            check(directory_has_account(&d, address) && directory_class(&d, address) != DIRECTORY_FOREIGN);
    } else {
        check(e.text.n > 0);
    }
    return 0;
}
