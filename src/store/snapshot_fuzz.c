/* Reading a snapshot of arbitrary bytes: never outside the map. Oracle: all text of all entries can be touched. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "base/pack.h"
#include "store/snapshot.h"
#include "store/snapshot_format.h"

#define CHECK(c) do { if (!(c)) abort(); } while (0)

static unsigned touch(str s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < s.n; i++)
        sum += (unsigned char)s.p[i];
    return sum;
}

static void read_all(const uint8_t *data, size_t n, bool fix)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0 && segment_pwrite(fd, str_of(data, n), 0) == 0);
    if (fix && n >= SNAPSHOT_HEADER) {
        char head[8];
        put_u64(head, n);
        CHECK(segment_pwrite(fd, SNAPSHOT_MAGIC, 0) == 0 && segment_pwrite(fd, str_of(head, 8), 40) == 0);
    }
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    struct snapshot s;
    if (snapshot_open(fd, &s) < 0)
        return;
    struct mailbox_entry e;
    volatile unsigned sum = 0;
    CHECK(s.n_keywords <= SNAPSHOT_KEYWORDS_MAX);
    for (size_t i = 0; i < s.n_keywords; i++)
        sum += touch(s.keywords[i]);
    CHECK(s.n <= n / SNAPSHOT_ENTRY);
    for (size_t i = 0; i < s.n; i++)
        if (snapshot_entry(&s, i, &e) == 0)
            sum += touch(e.prefix) + touch(e.log);
    CHECK(snapshot_entry(&s, s.n, &e) < 0);
    snapshot_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    read_all(data, n, false);
    read_all(data, n, true);
    return 0;
}
