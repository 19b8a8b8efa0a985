/* Role keys: signs with the keys of its generation and no others, never says a key, and a bad frame costs the link. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "auth/dkim_key.h"
#include "auth/keys_role.h"
#include "io/role_play.h"

struct pair { struct buf rsa, ed25519; };

static void make(enum dkim_algorithm a, struct buf *pem)
{
    struct dkim_key *k = NULL;
    *pem = BUF(DKIM_KEY_FILE_MAX);
    assert_int_equal(dkim_key_make(a, &k), 0);
    assert_int_equal(dkim_key_write(k, pem), 0);
    dkim_key_free(k);
}

static void begin(struct role_play *p, struct pair *keys)
{
    make(DKIM_RSA_SHA256, &keys->rsa);
    make(DKIM_ED25519_SHA256, &keys->ed25519);
    play_init(p);
    buf_add(&p->settings, S("dkim example.org r r.pem\ndkim example.org e e.pem\ndkim example.org bad bad.pem\n"));
    play_fork(p, keys_role_run);
    play_file(p, "dkim_key example.org r", buf_str(&keys->rsa));
    play_file(p, "dkim_key example.org e", buf_str(&keys->ed25519));
    play_file(p, "dkim_key example.org bad", S("no key"));
    play_configure(p);
    play_peer(p, ROLE_SMTP_OUT);
    play_start(p);
}

static void end(struct role_play *p, struct pair *keys)
{
    play_stop(p);
    buf_done(&keys->rsa);
    buf_done(&keys->ed25519);
}

static const uint8_t digests[3][DKIM_DIGEST] = { [DKIM_RSA_SHA256] = { 1 }, [DKIM_ED25519_SHA256] = { 2 } };

static void ask(struct role_play *p, uint64_t request, const char *domain, const char *const *selectors, uint32_t n)
{
    struct buf b = BUF(4096);
    pack_u64(&b, request);
    pack_str(&b, str_z(domain));
    pack_u32(&b, n);
    for (uint32_t i = 0; i < n; i++) {
        pack_str(&b, str_z(selectors[i]));
        pack_str(&b, str_of(digests[DKIM_RSA_SHA256], DKIM_DIGEST));
        pack_str(&b, str_of(digests[DKIM_ED25519_SHA256], DKIM_DIGEST));
    }
    play_send(p->peer[ROLE_SMTP_OUT], IPC_SIGN, &b, -1);
}

/* n is 0 for a refusal. */
static void expect(struct role_play *p, uint64_t request, uint32_t n)
{
    play_expect(p, p->peer[ROLE_SMTP_OUT], IPC_SIGNED);
    assert_int_equal(unpack_u64(&p->in), request);
    assert_int_equal(unpack_str(&p->in).n == 0, n > 0);
    assert_int_equal(unpack_u32(&p->in), n);
}

static void expect_signature(struct role_play *p, enum dkim_algorithm a, str pem)
{
    struct dkim_key *k = NULL;
    const char *why;
    struct buf want = BUF(DKIM_SIGNATURE_MAX);
    assert_int_equal(unpack_u8(&p->in), a);
    assert_int_equal(dkim_key_read(pem, &why, &k), 0);
    assert_int_equal(dkim_key_sign(k, digests[a], &want), 0);
    assert_true(str_eq(unpack_str(&p->in), buf_str(&want)));
    dkim_key_free(k);
    buf_done(&want);
}

static void signs(void **state)
{
    static const char *const both[] = { "e", "r" };
    _cleanup_play_ struct role_play p;
    struct pair keys;
    (void)state;
    begin(&p, &keys);
    ask(&p, 1, "example.org", both, 2);
    expect(&p, 1, 2);
    expect_signature(&p, DKIM_ED25519_SHA256, buf_str(&keys.ed25519));
    expect_signature(&p, DKIM_RSA_SHA256, buf_str(&keys.rsa));
    assert_true(unpack_end(&p.in));
    assert_int_equal(play_status(&p, "dkim_keys"), 2);
    assert_int_equal(play_status(&p, "dkim_signed"), 1);
    end(&p, &keys);
}

static size_t said(struct role_play *p, str what)
{
    char text[65536];
    size_t n = 0;
    _cleanup_close_ int fd = openat(p->dir_fd, "stderr", O_RDONLY | O_CLOEXEC);
    ssize_t got = pread(fd, text, sizeof(text), 0);
    str rest = str_of(text, (size_t)MAX(got, (ssize_t)0));
    for (ptrdiff_t at; (at = str_find(rest, what)) >= 0; n++)
        rest = str_from(rest, (size_t)at + what.n);
    return n;
}

static void refuses(void **state)
{
    static const char *const bad[] = { "r", "bad" }, *const unknown[] = { "none" };
    _cleanup_play_ struct role_play p;
    struct pair keys;
    (void)state;
    begin(&p, &keys);
    for (uint64_t i = 1; i < 4; i++) {
        ask(&p, i * 2, "example.org", bad, 2);
        expect(&p, i * 2, 0);
        ask(&p, i * 2 + 1, "other.example", unknown, 1);
        expect(&p, i * 2 + 1, 0);
    }
    assert_int_equal(play_status(&p, "dkim_refused"), 6);
    assert_int_equal(said(&p, S("name=\"example.org bad\"")), 1);
    assert_int_equal(said(&p, S("name=\"other.example none\"")), 1);
    assert_int_equal(said(&p, S("PRIVATE KEY")), 0);
    end(&p, &keys);
}

/* Another generation: a key that was mended signs, one that is not in it any more does not. */
static void new_keys(void **state)
{
    static const char *const bad[] = { "bad" }, *const e[] = { "e" };
    _cleanup_play_ struct role_play p;
    struct pair keys;
    (void)state;
    begin(&p, &keys);
    play_file(&p, "dkim_key example.org bad", buf_str(&keys.rsa));
    ask(&p, 1, "example.org", bad, 1); /* not in force before its generation is */
    expect(&p, 1, 0);
    play_configure(&p);
    play_expect(&p, p.master, IPC_APPLIED);
    ask(&p, 2, "example.org", bad, 1);
    expect(&p, 2, 1);
    expect_signature(&p, DKIM_RSA_SHA256, buf_str(&keys.rsa));
    ask(&p, 3, "example.org", e, 1);
    expect(&p, 3, 0);
    end(&p, &keys);
}

static void bad_frames(void **state)
{
    static const char *const e[] = { "e", "e", "e", "e", "e" };
    _cleanup_play_ struct role_play p;
    struct pair keys;
    (void)state;
    begin(&p, &keys);
    ask(&p, 1, "example.org", e, 5);
    play_closed(&p, p.peer[ROLE_SMTP_OUT]);
    play_peer(&p, ROLE_SMTP_OUT);
    ask(&p, 1, "example.org", e, 0);
    play_closed(&p, p.peer[ROLE_SMTP_OUT]);
    play_peer(&p, ROLE_SMTP_OUT);
    struct buf b = BUF(64); /* a digest that is none */
    pack_u64(&b, 1);
    pack_str(&b, S("example.org"));
    pack_u32(&b, 1);
    pack_str(&b, S("e"));
    pack_str(&b, S("short"));
    pack_str(&b, S("short"));
    play_send(p.peer[ROLE_SMTP_OUT], IPC_SIGN, &b, -1);
    play_closed(&p, p.peer[ROLE_SMTP_OUT]);
    play_peer(&p, ROLE_SMTP_OUT);
    ask(&p, 9, "example.org", e, 1);
    expect(&p, 9, 1);
    end(&p, &keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signs), cmocka_unit_test(refuses), cmocka_unit_test(new_keys), cmocka_unit_test(bad_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
