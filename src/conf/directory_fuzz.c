/* Damaged blobs and any address: the first bytes say what to change in a good blob, the rest is the address. Nothing
 * may be read outside, every answer comes in bounded time, and on the undamaged blob the quick class is that of the
 * full resolution. */
#include "conf/conf_test.h"
#include "conf/directory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static str good_blob(void)
{
    static struct buf blob;
    if (blob.n)
        return buf_str(&blob);
    static const char *const files[] = { "accounts",
                                         "a@x.example senders=q@far,@y.example\nb@x.example\nm\xc3\xbc@y.example\n",
                                         "aliases",
                                         "info: a, b\nlist@x.example: a, info@y.example, z@far\n@y.example: "
                                         "b@x.example\nno@x.example: none@x.example\n",
                                         NULL };
    _cleanup_arena_ struct arena a = ARENA(1u << 20);
    const struct conf *c;
    struct conf_error e;
    str bundle = test_bundle(
        &a, "aliases aliases; domain x.example { postmaster a }; domain y.example { postmaster a@x.example }", files);
    blob = BUF(1u << 20);
    if (conf_parse(&a, bundle, &c, &e) < 0 || directory_compile(&a, bundle, c, 1, &blob, &e) < 0)
        __builtin_trap();
    return buf_str(&blob);
}

static void ask(const struct directory *d, str address, bool whole)
{
    _cleanup_arena_ struct arena a = ARENA(4u << 20);
    struct directory_result r;
    int error = directory_resolve(d, &a, address, &r);
    enum directory_class class = directory_class(d, address);
    if (whole && (error < 0 || class != r.class))
        __builtin_trap();
    directory_may_send(d, &a, S("a@x.example"), address);
    directory_may_send(d, &a, address, S("info@x.example"));
    directory_allowed_senders(d, &a, address);
    directory_is_local_domain(d, address);
    directory_has_account(d, address);
    str s;
    for (size_t i = 0; i < 8; i++)
        directory_account(d, i, &s);
}

/* changes: triples of place (two bytes) and value, exclusive-or. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str good = good_blob();
    if (size < 1 || size < 1 + 3u * (data[0] % 16))
        return 0;
    size_t changes = data[0] % 16;
    char *copy = malloc(good.n);
    if (!copy)
        return 0;
    memcpy(copy, good.p, good.n);
    bool whole = true;
    for (size_t i = 0; i < changes; i++) {
        const uint8_t *c = data + 1 + 3 * i;
        copy[(c[0] | c[1] << 8) % good.n] ^= (char)c[2];
    }
    whole = memcmp(copy, good.p, good.n) == 0;
    struct directory d;
    if (directory_open(str_of(copy, good.n), &d) == 0)
        ask(&d, str_of(data + 1 + 3 * changes, size - 1 - 3 * changes), whole);
    free(copy);
    return 0;
}
