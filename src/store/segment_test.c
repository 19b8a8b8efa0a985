/* Segment files: headers, walking records, tails cut at every byte, damage, and content that imitates records. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/hash.h"
#include "store/segment.h"

static const uint8_t key[16] = "a segment's key";

/* A segment in memory, as a file. */
struct file {
    int fd;
    uint64_t end;
};

static struct file make(void)
{
    struct file f = { .fd = memfd_create("segment", MFD_CLOEXEC), .end = SEGMENT_HEADER_SIZE };
    struct segment_header h = { .number = 7, .kind = 1 };
    char head[SEGMENT_HEADER_SIZE];
    assert_true(f.fd >= 0);
    memcpy(h.key, key, sizeof(h.key));
    segment_header_encode(&h, head);
    assert_int_equal(segment_pwrite(f.fd, str_of(head, sizeof(head)), 0), 0);
    return f;
}

static struct record_header add(struct file *f, str content, str meta)
{
    struct record_header h = { .type = RECORD_MESSAGE, .offset = f->end, .content_len = content.n,
                               .content_crc = crc32c(0, content), .meta_len = (uint32_t)meta.n,
                               .meta_crc = crc32c(0, meta), .sequence = 9 };
    char head[RECORD_HEADER_SIZE];
    record_header_encode(&h, key, head);
    assert_int_equal(segment_pwrite(f->fd, str_of(head, sizeof(head)), f->end), 0);
    assert_int_equal(segment_pwrite(f->fd, content, f->end + RECORD_HEADER_SIZE), 0);
    assert_int_equal(segment_pwrite(f->fd, meta, f->end + RECORD_HEADER_SIZE + content.n), 0);
    f->end = record_end(&h);
    assert_int_equal(ftruncate(f->fd, (off_t)f->end), 0);
    return h;
}

/* How many records a reader sees; *out_tail and *out_damaged say the rest. */
static size_t walk(int fd, bool crc, int *out_tail, uint64_t *out_damaged)
{
    struct segment_reader r;
    struct record_header h;
    bool damage;
    size_t n = 0;
    int k;
    assert_int_equal(segment_reader_open(fd, &r), 0);
    while ((k = segment_reader_next(&r, crc, &h, &damage)) == 1)
        n++;
    assert_int_equal(k, 0);
    *out_tail = segment_reader_tail(&r);
    *out_damaged = r.damaged;
    return n;
}

static void test_names(void **state)
{
    (void)state;
    char name[32];
    uint64_t n;
    segment_name(0x42, name);
    assert_string_equal(name, "0000000000000042.log");
    assert_int_equal(segment_number(S("00000000000000ff.log"), &n), 0);
    assert_int_equal(n, 255);
    assert_int_equal(segment_number(S("00000000000000FF.log"), &n), -EINVAL);
    assert_int_equal(segment_number(S("ff.log"), &n), -EINVAL);
    assert_int_equal(segment_number(S("00000000000000ff.tmp"), &n), -EINVAL);
    assert_int_equal(segment_number(S("0000000000000 ff.log"), &n), -EINVAL);
}

static void test_list(void **state)
{
    (void)state;
    char dir[] = "/tmp/posthouse-segment-XXXXXX";
    static const char *const names[] = { "0000000000000010.log", "0000000000000002.log", "000000000000000a.log",
                                         "x.log", "lock" };
    uint64_t *list;
    size_t n;
    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < 5; i++)
        close(openat(fd, names[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(segment_list(fd, &list, &n), 0);
    assert_true(n == 3 && list[0] == 2 && list[1] == 10 && list[2] == 16);
    free(list);
    for (size_t i = 0; i < 5; i++)
        unlinkat(fd, names[i], 0);
    assert_int_equal(segment_list(fd, &list, &n), 0);
    assert_int_equal(n, 0);
    free(list);
    close(fd);
    assert_int_equal(rmdir(dir), 0);
}

static void test_segment_header(void **state)
{
    (void)state;
    struct segment_header h = { .number = 3, .kind = 2 }, back;
    char head[SEGMENT_HEADER_SIZE];
    memcpy(h.key, key, sizeof(h.key));
    segment_header_encode(&h, head);
    assert_int_equal(segment_header_decode(str_of(head, sizeof(head)), &back), 0);
    assert_int_equal(back.number, 3);
    assert_int_equal(back.kind, 2);
    assert_int_equal(back.version, 1);
    assert_memory_equal(back.key, key, 16);
    assert_int_equal(segment_header_decode(str_of(head, sizeof(head) - 1), &back), -EBADMSG);
    for (size_t i = 0; i < sizeof(head); i++) {
        head[i] ^= 1;
        assert_int_equal(segment_header_decode(str_of(head, sizeof(head)), &back), -EBADMSG);
        head[i] ^= 1;
    }
    h.version = 2;
    segment_header_encode(&h, head);
    assert_int_equal(segment_header_decode(str_of(head, sizeof(head)), &back), -EPROTO);
}

static void test_record_header(void **state)
{
    (void)state;
    struct record_header h = { .type = RECORD_JOURNAL, .offset = 64, .content_len = 1ull << 40, .content_crc = 1,
                               .meta_len = 3, .meta_crc = 4, .sequence = UINT64_MAX }, back;
    char head[RECORD_HEADER_SIZE];
    record_header_encode(&h, key, head);
    assert_int_equal(record_header_decode(str_of(head, sizeof(head)), key, 64, &back), 1);
    assert_int_equal(back.type, h.type);
    assert_int_equal(back.content_len, h.content_len);
    assert_int_equal(back.content_crc, 1);
    assert_int_equal(back.meta_len, 3);
    assert_int_equal(back.meta_crc, 4);
    assert_true(back.sequence == UINT64_MAX);
    assert_int_equal(record_end(&back), 64 + 64 + (1ull << 40) + 8);
    assert_int_equal(record_header_decode(str_of(head, sizeof(head)), key, 72, &back), -EBADMSG);
    assert_int_equal(record_header_decode(str_of(head, sizeof(head)), (const uint8_t *)"another key 1234", 64, &back),
                     -EBADMSG);
    for (size_t i = 0; i < sizeof(head) * 8; i++) {
        head[i / 8] ^= (char)(1 << i % 8);
        assert_int_equal(record_header_decode(str_of(head, sizeof(head)), key, 64, &back), -EBADMSG);
        head[i / 8] ^= (char)(1 << i % 8);
    }
    memset(head, 0, sizeof(head));
    assert_int_equal(record_header_decode(str_of(head, sizeof(head)), key, 64, &back), 0);
    /* lengths that would overflow are refused even with a good MAC */
    h.content_len = UINT64_MAX - 8;
    record_header_encode(&h, key, head);
    assert_int_equal(record_header_decode(str_of(head, sizeof(head)), key, 64, &back), -EBADMSG);
}

static void test_walks(void **state)
{
    (void)state;
    struct file f = make();
    struct record_header want[3], h;
    want[0] = add(&f, S("one"), S("meta one"));
    want[1] = add(&f, S(""), S("only meta"));
    want[2] = add(&f, S("three"), S(""));
    struct segment_reader r;
    bool damage = true;
    assert_int_equal(segment_reader_open(f.fd, &r), 0);
    assert_int_equal(r.header.number, 7);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(segment_reader_next(&r, true, &h, &damage), 1);
        assert_int_equal(h.offset, want[i].offset);
        assert_false(damage);
    }
    assert_int_equal(segment_reader_next(&r, true, &h, &damage), 0);
    assert_int_equal(segment_reader_tail(&r), SEGMENT_TAIL_CLEAN);
    assert_int_equal(r.damaged, 0);
    close(f.fd);
}

static void test_interrupted_making(void **state)
{
    (void)state;
    struct segment_reader r;
    int fd = memfd_create("segment", MFD_CLOEXEC);
    assert_int_equal(segment_reader_open(fd, &r), -ENODATA);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    assert_int_equal(segment_reader_open(fd, &r), -ENODATA);
    assert_int_equal(segment_pwrite(fd, S("x"), 5000), 0);
    assert_int_equal(segment_reader_open(fd, &r), -EBADMSG);
    close(fd);
}

/* The last of three records cut at each of its bytes: what follows is missing, zeros, or garbage before
 * preallocated zeros. */
static void test_tail_cut_everywhere(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        for (uint64_t cut = 0;; cut++) {
            struct file f = make();
            add(&f, S("one"), S("meta one"));
            uint64_t good = (add(&f, S("two"), S("meta two")), f.end);
            struct record_header last = add(&f, S("the last content"), S("the last meta"));
            uint64_t end = last.offset + RECORD_HEADER_SIZE + 16 + 13;
            if (last.offset + cut >= end) {
                close(f.fd);
                break;
            }
            char junk[512];
            memset(junk, 0xc7, sizeof(junk));
            assert_int_equal(ftruncate(f.fd, (off_t)(last.offset + cut)), 0);
            if (how)
                assert_int_equal(ftruncate(f.fd, 4096), 0);
            if (how == 2)
                assert_int_equal(segment_pwrite(f.fd, str_of(junk, end - last.offset - cut), last.offset + cut), 0);
            int tail;
            uint64_t damaged;
            assert_int_equal(walk(f.fd, true, &tail, &damaged), 2);
            assert_int_equal(damaged, 0);
            assert_int_equal(tail, cut == 0 && how < 2 ? SEGMENT_TAIL_CLEAN : SEGMENT_TAIL_UNFINISHED);
            assert_true(good == last.offset);
            close(f.fd);
        }
    }
}

static void test_sealed_tail_is_damage(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < RECORD_HEADER_SIZE + 16; at++) {
        struct file f = make();
        add(&f, S("one"), S("meta one"));
        struct record_header last = add(&f, S("the last content"), S("the last meta!!!"));
        char c;
        int tail;
        uint64_t damaged;
        assert_int_equal(segment_pread(f.fd, &c, 1, last.offset + at), 1);
        c ^= 4;
        assert_int_equal(segment_pwrite(f.fd, str_of(&c, 1), last.offset + at), 0);
        assert_int_equal(walk(f.fd, true, &tail, &damaged), 1);
        assert_int_equal(tail, SEGMENT_TAIL_DAMAGED);
        close(f.fd);
    }
}

static void test_every_flip_in_the_middle(void **state)
{
    (void)state;
    struct file f = make();
    add(&f, S("one"), S("meta one"));
    struct record_header middle = add(&f, S("middle content"), S("middle meta"));
    struct record_header last = add(&f, S("three"), S("meta three"));
    for (uint64_t at = middle.offset; at < middle.offset + RECORD_HEADER_SIZE + 14 + 11; at++) {
        char c;
        struct segment_reader r;
        struct record_header h;
        bool damage;
        assert_int_equal(segment_pread(f.fd, &c, 1, at), 1);
        c ^= 0x40;
        assert_int_equal(segment_pwrite(f.fd, str_of(&c, 1), at), 0);
        assert_int_equal(segment_reader_open(f.fd, &r), 0);
        assert_int_equal(segment_reader_next(&r, true, &h, &damage), 1);
        assert_false(damage);
        assert_int_equal(segment_reader_next(&r, true, &h, &damage), 1);
        assert_true(damage);
        assert_int_equal(h.offset, last.offset);
        assert_int_equal(r.damaged, last.offset - middle.offset);
        assert_int_equal(segment_reader_next(&r, true, &h, &damage), 0);
        c ^= 0x40;
        assert_int_equal(segment_pwrite(f.fd, str_of(&c, 1), at), 0);
    }
    close(f.fd);
}

/* A mail made of real headers of the same segment, at every alignment; its own header is then damaged. */
static void test_imitation(void **state)
{
    (void)state;
    struct file f = make();
    add(&f, S("one"), S("meta one"));
    char real[SEGMENT_HEADER_SIZE + 200], evil[16384];
    ssize_t n = segment_pread(f.fd, real, sizeof(real), 0);
    assert_true(n > 128);
    for (size_t i = 0; i < sizeof(evil); i++)
        evil[i] = real[i % (size_t)(n % 2 ? n : n - 1)]; /* an odd period meets every alignment */
    memcpy(evil, real + SEGMENT_HEADER_SIZE, 80);
    struct record_header imitation = add(&f, str_of(evil, sizeof(evil)), S("meta two"));
    struct record_header after = add(&f, S("three"), S("meta three"));
    int tail;
    uint64_t damaged;
    assert_int_equal(walk(f.fd, true, &tail, &damaged), 3);
    assert_int_equal(damaged, 0);
    assert_int_equal(segment_pwrite(f.fd, S("\xff\xff\xff\xff"), imitation.offset + 16), 0);
    assert_int_equal(walk(f.fd, true, &tail, &damaged), 2);
    assert_int_equal(damaged, after.offset - imitation.offset);
    assert_int_equal(walk(f.fd, false, &tail, &damaged), 2);
    close(f.fd);
}

static void test_growing_file(void **state)
{
    (void)state;
    struct file f = make();
    assert_int_equal(ftruncate(f.fd, 1 << 20), 0);
    struct segment_reader r;
    struct record_header h;
    bool damage;
    assert_int_equal(segment_reader_open(f.fd, &r), 0);
    assert_int_equal(segment_reader_next(&r, true, &h, &damage), 0);
    assert_int_equal(segment_reader_tail(&r), SEGMENT_TAIL_CLEAN);
    add(&f, S("late"), S("meta"));
    r.size = f.end;
    assert_int_equal(segment_reader_next(&r, true, &h, &damage), 1);
    assert_false(damage);
    close(f.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_segment_header),
        cmocka_unit_test(test_record_header),
        cmocka_unit_test(test_walks),
        cmocka_unit_test(test_interrupted_making),
        cmocka_unit_test(test_tail_cut_everywhere),
        cmocka_unit_test(test_sealed_tail_is_damage),
        cmocka_unit_test(test_every_flip_in_the_middle),
        cmocka_unit_test(test_imitation),
        cmocka_unit_test(test_growing_file),
    };
    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
