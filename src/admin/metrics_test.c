/* Counters of roles as OpenMetrics; that a running server has no counter without a row is in metrics_test.py. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "admin/metrics.h"

static void check(const char *status, const char *expected)
{
    _cleanup_buf_ struct buf out = BUF(65536);
    metrics_of_status(str_z(status), &out);
    if (!str_eq(buf_str(&out), str_z(expected)))
        fail_msg("%.*s instead of %s", STR_ARG(buf_str(&out)), expected);
}

static void test_one_family_for_all_roles(void **state)
{
    (void)state;
    check("", "# EOF\n");
    check("role=smtp-in sessions=3 messages=7\nrole=access sessions=4 bytes=12\n",
          "# TYPE posthouse_sessions gauge\nposthouse_sessions{role=\"smtp-in\"} "
          "3\nposthouse_sessions{role=\"access\"} 4\n"
          "# TYPE posthouse_messages counter\nposthouse_messages_total{role=\"smtp-in\"} 7\n"
          "# TYPE posthouse_bytes counter\nposthouse_bytes_total{role=\"access\"} 12\n# EOF\n");
}

static void test_kinds(void **state)
{
    (void)state;
    check("role=master restarts_smtp-out=2 bugs_smtp-in=0\n",
          "# TYPE posthouse_restarts_smtp_out counter\nposthouse_restarts_smtp_out_total{role=\"master\"} 2\n"
          "# TYPE posthouse_bugs_smtp_in counter\nposthouse_bugs_smtp_in_total{role=\"master\"} 0\n# EOF\n");
    check(
        "role=store compaction_waiting_segments=1 queue_recipients=9\n",
        "# TYPE posthouse_compaction_waiting_segments gauge\nposthouse_compaction_waiting_segments{role=\"store\"} 1\n"
        "# TYPE posthouse_queue_recipients gauge\nposthouse_queue_recipients{role=\"store\"} 9\n# EOF\n");
    check("role=store nobody_knows=1\n",
          "# TYPE posthouse_nobody_knows unknown\nposthouse_nobody_knows{role=\"store\"} 1\n# EOF\n");
}

static void test_what_is_no_number(void **state)
{
    (void)state;
    check("role=master user=\"x y\" configuration=/etc/7 pid=1 listener=\"smtp 127.0.0.1:25\" listener=5x\n",
          "# TYPE posthouse_pid gauge\nposthouse_pid{role=\"master\"} 1\n# EOF\n");
    check("sessions=1\n", "# EOF\n"); /* of no role */
    check("role=store lsn=-1 placed=18446744073709551616\n", "# EOF\n");
    check("role=store lsn=18446744073709551615\n",
          "# TYPE posthouse_lsn gauge\nposthouse_lsn{role=\"store\"} 18446744073709551615\n# EOF\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_family_for_all_roles),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_what_is_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
