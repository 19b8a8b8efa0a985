/* A configuration compiled: what is found wrong, and the blob that roles get. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/admin_play.h"
#include "admin/compile.h"

static int compile(struct admin_play *p, struct buf *error)
{
    _cleanup_buf_ struct buf blob = BUF(2UL * CONF_BUNDLE_MAX);
    buf_clear(error);
    int r = compile_configuration(p->conf, 3, &blob, error);
    buf_addc(error, '\0');
    return r;
}

static void test_what_is_wrong_is_said_with_its_place(void **state)
{
    (void)state;
    static const struct { const char *more, *want; } cases[] = {
        { "no_such_setting 1\n", "posthouse.conf:" },
        { "tls_certificate cert.pem\n", "tls_certificate is set but tls_key is not" },
        { "smtpd_relay_restrictions permit\n", "posthouse.conf:" },
        { "smtpd_client_restrictions no_such_rule\n", "no_such_rule" },
        { "mynetworks 10.0.0.1/8\n", "10.0.0.1/8" },
        { "smtpd_client_restrictions check_client_access file:missing\n", "missing" },
    };
    _cleanup_admin_ struct admin_play p;
    _cleanup_buf_ struct buf error = BUF(8192);
    admin_play_init(&p);
    assert_int_equal(compile(&p, &error), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        play_conf(&p, cases[i].more);
        assert_true(compile(&p, &error) < 0);
        play_says(error.p, cases[i].want);
        play_says(error.p, p.conf);
    }
    play_write(&p, "posthouse.conf", "hostname x\n");
    assert_true(compile(&p, &error) < 0);
    play_says(error.p, "no `listen` statement");
    play_write(&p, "posthouse.conf", "listen smtp 127.0.0.1:25\n");
    assert_true(compile(&p, &error) < 0);
    play_says(error.p, "no `domain` statement");
    play_conf(&p, "");
    play_write(&p, "aliases", "a@example.org: b@example.org\nb@example.org: a@example.org\n");
    assert_true(compile(&p, &error) < 0);
    play_says(error.p, "aliases");
    unlinkat(p.dir_fd, "posthouse.conf", 0);
    assert_true(compile(&p, &error) < 0);
    play_says(error.p, "posthouse.conf: ");
}

static void test_a_child_gives_a_sealed_blob(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    _cleanup_buf_ struct buf error = BUF(8192);
    _cleanup_close_ int fd = -1;
    struct compiled c;
    admin_play_init(&p);
    assert_int_equal(compile_in_child(p.conf, 42, &fd, &error), 0);
    assert_int_equal(error.n, 0);
    assert_int_equal(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(compiled_open(fd, &c), 0);
    assert_int_equal(c.conf->n_listeners, 2);
    assert_int_equal(c.directory.generation, 42);
    assert_true(directory_has_account(&c.directory, S("anna@example.org")));
    compiled_close(&c);
    compiled_close(&c); /* twice does nothing */
    play_conf(&p, "nonsense\n");
    int other = -1;
    assert_true(compile_in_child(p.conf, 43, &other, &error) < 0);
    assert_int_equal(other, -1);
    buf_addc(&error, '\0');
    play_says(error.p, "nonsense");
}

static void test_a_damaged_blob_is_not_opened(void **state)
{
    (void)state;
    _cleanup_admin_ struct admin_play p;
    _cleanup_buf_ struct buf blob = BUF(1 << 20), error = BUF(8192);
    struct compiled c;
    admin_play_init(&p);
    assert_int_equal(compile_configuration(p.conf, 1, &blob, &error), 0);
    for (size_t n = 0; n < blob.n; n += 97) {
        _cleanup_close_ int fd = memfd_create("cut", MFD_CLOEXEC);
        assert_int_equal(write(fd, blob.p, n), (ssize_t)n);
        assert_true(compiled_open(fd, &c) < 0);
    }
    assert_true(compiled_open(-1, &c) < 0);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_wrong_is_said_with_its_place),
        cmocka_unit_test(test_a_child_gives_a_sealed_blob),
        cmocka_unit_test(test_a_damaged_blob_is_not_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
