/* Certificate and key as the master passes them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "io/role_play.h"
#include "session/tls_files.h"

static struct role role;
static struct tls_files t;
static struct buf cert, key, other;

static int setup(void **state)
{
    (void)state;
    struct buf other_cert = { 0 };
    role = (struct role){ .env = &env_system };
    assert_int_equal(loop_new(&env_system, &role.loop), 0);
    events_init(&role.events, role.loop, "smtp-in");
    role.events.log_level = EVENT_ERROR + 1; /* not on the screen; counted in the trace buffer */
    t = (struct tls_files){ 0 };
    tls_play_pair("mx.example.org", NULL, &cert, &key);
    tls_play_pair("other.example", NULL, &other_cert, &other);
    buf_done(&other_cert);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    SSL_CTX_free(t.context);
    buf_done(&t.cert);
    buf_done(&cert);
    buf_done(&key);
    buf_done(&other);
    events_done(&role.events);
    loop_free(role.loop);
    return 0;
}

static void take(const char *name, str content)
{
    _cleanup_close_ int fd = memfd_create("x", MFD_CLOEXEC);
    assert_int_equal(write(fd, content.p, content.n), (ssize_t)content.n);
    assert_int_equal(tls_files_take(&t, &role, str_z(name), fd), 0);
}

static bool complained(const char *why)
{
    bool yes = str_find(buf_str(&role.events.trace), str_z(why)) >= 0;
    buf_clear(&role.events.trace);
    return yes;
}

static void test_a_pair_makes_a_context_and_a_bad_one_keeps_it(void **state)
{
    (void)state;
    take("tls_certificate", buf_str(&cert));
    assert_null(t.context);
    take("tls_key", buf_str(&key));
    assert_non_null(t.context);
    assert_false(complained("tls_refused"));
    SSL_CTX *first = t.context;
    take("tls_key", buf_str(&other));
    assert_true(complained("tls_refused"));
    assert_ptr_equal(t.context, first);
    take("tls_certificate", S("garbage"));
    take("tls_key", buf_str(&key));
    assert_true(complained("tls_certificate holds no readable PEM certificate"));
    assert_ptr_equal(t.context, first);
    take("tls_certificate", buf_str(&cert));
    take("tls_key", buf_str(&key));
    assert_non_null(t.context);
    assert_false(complained("tls_refused"));
}

static void test_a_key_alone_is_refused(void **state)
{
    (void)state;
    take("tls_key", buf_str(&key));
    assert_null(t.context);
    assert_true(complained("tls_refused"));
}

static void test_other_names_are_passed_over(void **state)
{
    (void)state;
    take("secrets", buf_str(&key));
    take("tls_certificate", buf_str(&cert));
    take("", S("x"));
    take("tls_key", buf_str(&key));
    assert_non_null(t.context);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_a_pair_makes_a_context_and_a_bad_one_keeps_it),
        T(test_a_key_alone_is_refused),
        T(test_other_names_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
