/* Tests of threads: the rules of RFC 5256 3 one by one, and that hostile mailboxes take no more than their share. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>
#include "access/threader.h"
#include "message/fold.h"

struct mail { const char *id, *references, *subject; int64_t date; };

static struct card_text text_of(const struct mail *m, struct buf *hold)
{
    struct card_text t = { .present = true, .has_date = true, .date_s = m->date };
    for (const char *p = m->references; *p; p++)
        buf_addc(hold, *p == ' ' ? '\n' : *p);
    if (hold->n)
        buf_addc(hold, '\n');
    size_t refs = hold->n;
    fold_header(hold, str_z(m->subject));
    t.references = str_of(hold->p, refs);
    t.subject = str_from(buf_str(hold), refs);
    t.message_id = str_z(m->id);
    base_subject(t.subject, &t.base_off, &t.base_len, &t.reply);
    return t;
}

static struct buf thread(enum imap_thread_kind kind, const struct mail *mails, size_t n)
{
    static const uint8_t key[16] = { 7 };
    struct thread_maker *t = thread_maker_new(kind, key);
    struct buf out = BUF(1 << 20);
    for (size_t i = 0; i < n; i++) {
        _cleanup_buf_ struct buf hold = BUF(4096);
        struct card_text x = text_of(&mails[i], &hold);
        assert_int_equal(thread_maker_add(t, (uint32_t)i + 1, mails[i].date, &x), 0);
    }
    assert_int_equal(thread_maker_end(t, &out), 0);
    thread_maker_free(t);
    return out;
}

static void check(enum imap_thread_kind kind, const struct mail *mails, size_t n, const char *want)
{
    struct buf out = thread(kind, mails, n);
    buf_addc(&out, 0);
    assert_string_equal(out.p, want);
    buf_done(&out);
}

#define REFERENCES(want, ...) \
    do { \
        const struct mail m_[] = { __VA_ARGS__ }; \
        check(IMAP_THREAD_REFERENCES, m_, ARRAY_LEN(m_), want); \
    } while (0)
#define SUBJECTS(want, ...) \
    do { \
        const struct mail m_[] = { __VA_ARGS__ }; \
        check(IMAP_THREAD_ORDEREDSUBJECT, m_, ARRAY_LEN(m_), want); \
    } while (0)

static void ordered_subject(void **state)
{
    (void)state;
    SUBJECTS("(1)", { "a", "", "x", 1 });
    SUBJECTS("(1 2)", { "a", "", "x", 1 }, { "b", "", "Re: X", 2 });
    SUBJECTS("(1 (3)(2))(4)", { "a", "", "x", 1 }, { "b", "", "Re: x", 5 }, { "c", "", "Fwd: x", 2 },
             { "d", "", "y", 4 });
    /* threads by the date of their first message, which is not the lowest subject */
    SUBJECTS("(2)(1)", { "a", "", "a", 9 }, { "b", "", "b", 1 });
}

static void chains_and_branches(void **state)
{
    (void)state;
    REFERENCES("(1 2 3)", { "a", "", "s", 1 }, { "b", "a", "re: s", 2 }, { "c", "a b", "re: s", 3 });
    REFERENCES("(1 (2)(3))", { "a", "", "s", 1 }, { "b", "a", "re: s", 2 }, { "c", "a", "re: s", 3 });
    REFERENCES("(1 (3)(2))", { "a", "", "s", 1 }, { "b", "a", "re: s", 3 }, { "c", "a", "re: s", 2 });
    /* RFC 5256 4: (2)(3 6 (4 23)(44 7 96)) in small: a branch below a chain */
    REFERENCES("(1)(2 3 (4 5)(6 7 8))", { "z", "", "z", 1 }, { "a", "", "s", 2 }, { "b", "a", "s2", 3 },
               { "c", "a b", "s3", 4 }, { "d", "a b c", "s4", 5 }, { "e", "a b", "s5", 6 }, { "f", "a b e", "s6", 7 },
               { "g", "a b e f", "s7", 8 });
    /* replies that came before what they answer */
    REFERENCES("(3 2 1)", { "c", "a b", "re: s", 3 }, { "b", "a", "re: s", 2 }, { "a", "", "s", 1 });
}

/* Step 3: a missing message does not keep its only reply down, but holds several together. */
static void dummies(void **state)
{
    (void)state;
    REFERENCES("(1)", { "b", "gone", "s", 1 });
    REFERENCES("((1)(2))", { "b", "gone", "s", 1 }, { "c", "gone", "t", 2 });
    REFERENCES("((2)(1))", { "b", "gone", "s", 2 }, { "c", "gone", "t", 1 });
    REFERENCES("(1 (2)(3))", { "a", "", "s", 1 }, { "b", "a gone", "t", 2 }, { "c", "a gone", "u", 3 });
    REFERENCES("((1)(2))", { "b", "g1 g2 g3", "s", 1 }, { "c", "g1 g2", "t", 2 });
    REFERENCES("(1)", { "b", "g1 g2 g3 g4", "s", 1 });
}

/* Step 1: who has a parent keeps it, but for the message's own last reference; no loops; ids given twice. */
static void links(void **state)
{
    (void)state;
    /* c is below a by what d says, and below b by what it says itself */
    REFERENCES("(1 2 4 3)", { "a", "", "s", 1 }, { "b", "a", "t", 2 }, { "d", "a c", "u", 3 }, { "c", "b", "v", 4 });
    REFERENCES("(2 1)", { "a", "b", "s", 1 }, { "b", "a", "t", 2 });
    REFERENCES("(1)", { "a", "a", "s", 1 });
    REFERENCES("(1 3)(2)", { "a", "", "s", 1 }, { "a", "", "t", 2 }, { "b", "a", "u", 3 });
    REFERENCES("(1)(2)", { "", "", "s", 1 }, { "", "", "t", 2 });
}

/* Step 5: threads of one subject. */
static void same_subject(void **state)
{
    (void)state;
    REFERENCES("(1 2)", { "a", "", "s", 1 }, { "b", "", "Re: s", 2 });
    REFERENCES("(2 1)", { "a", "", "Re: s", 1 }, { "b", "", "s", 2 });
    REFERENCES("((1)(2))", { "a", "", "s", 1 }, { "b", "", "s", 2 });
    REFERENCES("((1)(2)(3))", { "a", "", "s", 1 }, { "b", "", "s", 2 }, { "c", "", "Re: s", 3 });
    REFERENCES("((1)(2))", { "a", "", "Re: s", 1 }, { "b", "", "Re: s", 2 });
    REFERENCES("(1)(2)", { "a", "", "", 1 }, { "b", "", "Re:", 2 });
    /* a dummy takes the thread of its subject, and two dummies become one */
    REFERENCES("((1)(2)(3))", { "a", "gone", "s", 1 }, { "b", "gone", "t", 2 }, { "c", "", "s", 3 });
    REFERENCES("((1)(2)(3)(4))", { "a", "g", "s", 1 }, { "b", "g", "t", 2 }, { "c", "h", "Re: s", 3 },
               { "d", "h", "u", 4 });
}

/* Step 6, and ties: the order of the mailbox. */
static void dates(void **state)
{
    (void)state;
    REFERENCES("(1)(2)(3)", { "a", "", "s", 5 }, { "b", "", "t", 5 }, { "c", "", "u", 5 });
    REFERENCES("(3)(1 2)", { "a", "", "s", 5 }, { "b", "a", "t", 1 }, { "c", "", "u", 4 });
    REFERENCES("(3)((1)(2))", { "a", "g", "s", 5 }, { "b", "g", "t", 6 }, { "c", "", "u", 4 });
}

static void none(void **state)
{
    (void)state;
    check(IMAP_THREAD_REFERENCES, NULL, 0, "");
    check(IMAP_THREAD_ORDEREDSUBJECT, NULL, 0, "");
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One chain of n, forwards or backwards, each naming only its parent; and heads of branches that ever again move to
 * the far end of a long chain, with a child below them, so that the search for a loop has a long way. */
static double hostile(int shape, uint32_t n)
{
    static const uint8_t key[16] = { 9 };
    struct thread_maker *t = thread_maker_new(IMAP_THREAD_REFERENCES, key);
    _cleanup_buf_ struct buf out = BUF(64 << 20);
    double began = seconds();
    for (uint32_t i = 1; i <= n; i++) {
        _cleanup_buf_ struct buf b = BUF(256);
        struct card_text x = { .present = true };
        uint32_t self = shape == 1 ? n - i : i;
        buf_addf(&b, "m%u", self);
        size_t id = b.n;
        if (shape == 2 && i > n / 2)
            buf_addf(&b, "m%u\nm%u\nc%u\n", n / 2, i + 1, i + 1);
        else
            buf_addf(&b, "m%u\n", shape == 1 ? self + 1 : self - 1);
        x.message_id = str_first(buf_str(&b), id);
        x.references = str_from(buf_str(&b), id);
        assert_int_equal(thread_maker_add(t, i, i, &x), 0);
    }
    assert_int_equal(thread_maker_end(t, &out), 0);
    double took = seconds() - began;
    thread_maker_free(t);
    return took;
}

static void hostile_threads(void **state)
{
    (void)state;
    for (int shape = 0; shape < 3; shape++) {
        double a = hostile(shape, 30000) + 0.01, b = hostile(shape, 60000) + 0.01;
        assert_true(b / a < 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordered_subject), cmocka_unit_test(chains_and_branches), cmocka_unit_test(dummies),
        cmocka_unit_test(links),           cmocka_unit_test(same_subject),        cmocka_unit_test(dates),
        cmocka_unit_test(none),            cmocka_unit_test(hostile_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
