/* Files of cards: see cards_file.h. What is staged is written mailbox by mailbox: the cards with one write, their
 * places with one for each run of UIDs. Cards come before the places that name them. */
#include "store/cards_file.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/hash.h"
#include "base/pack.h"
#include "store/segment.h"

#define STAGED_BYTES ((size_t)4 << 20)
#define STAGED_OPS 65536
#define CARD_LEN_MAX ((size_t)1 << 20)
#define SPAN_MAX ((uint64_t)4 << 20)
enum { PLACE = 16, OPEN_MAX = 32, PLACES_A_STEP = 1024, PATH_LEN = 64 };

struct staged {
    uint64_t mailbox;
    uint32_t uid, length;
    size_t at; /* in `bytes` */
};

struct copying { /* a run */
    uint64_t from, to;
    uint32_t from_uid, to_uid, count;
};

struct file {
    uint64_t mailbox; /* 0: free */
    int map_fd, cards_fd;
    uint64_t end, used;
};

struct cards_files {
    int dir_fd;
    struct file files[OPEN_MAX];
    uint64_t uses;
    struct buf bytes, staged, copies;
    struct buf places, span; /* while writing */
    cards_live_fn *live;
    void *live_arg;
};

int cards_files_open(int data_fd, struct cards_files **out)
{
    struct cards_files *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->dir_fd = -1;
    int r = mkdirat(data_fd, "cards", 0700) < 0 && errno != EEXIST ? -errno : 0;
    if (r == 0 && (c->dir_fd = openat(data_fd, "cards", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
        r = -errno;
    c->bytes = c->staged = c->copies = c->places = c->span = BUF(SIZE_MAX >> 1);
    if (r < 0)
        cards_files_close(c);
    else
        *out = c;
    return r;
}

static void close_file(struct file *f)
{
    if (f->mailbox) {
        close(f->map_fd);
        close(f->cards_fd);
    }
    *f = (struct file){ 0 };
}

void cards_files_close(struct cards_files *c)
{
    if (!c)
        return;
    if (c->dir_fd >= 0)
        cards_files_flush(c);
    for (size_t i = 0; i < OPEN_MAX; i++)
        close_file(&c->files[i]);
    if (c->dir_fd >= 0)
        close(c->dir_fd);
    struct buf *bufs[] = { &c->bytes, &c->staged, &c->copies, &c->places, &c->span };
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        buf_done(bufs[i]);
    free(c);
}

void cards_files_set_live(struct cards_files *c, cards_live_fn *live, void *arg)
{
    c->live = live;
    c->live_arg = arg;
}

static void path_of(uint64_t mailbox, const char *end, char out[PATH_LEN])
{
    snprintf(out, PATH_LEN, "%02x/%llx.%s", (unsigned)(mailbox & 0xff), (unsigned long long)mailbox, end);
}

static int open_one(struct cards_files *c, uint64_t mailbox, const char *end, int flags)
{
    char path[PATH_LEN], folder[4];
    path_of(mailbox, end, path);
    int fd = openat(c->dir_fd, path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 || errno != ENOENT || !(flags & O_CREAT))
        return fd < 0 ? -errno : fd;
    snprintf(folder, sizeof(folder), "%02x", (unsigned)(mailbox & 0xff));
    if (mkdirat(c->dir_fd, folder, 0700) < 0 && errno != EEXIST)
        return -errno;
    fd = openat(c->dir_fd, path, flags | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

static int open_pair(struct cards_files *c, uint64_t mailbox, const char *map, const char *cards, int flags,
                     struct file *out)
{
    _cleanup_close_ int cards_fd = open_one(c, mailbox, cards, flags);
    _cleanup_close_ int map_fd = cards_fd < 0 ? -1 : open_one(c, mailbox, map, flags);
    struct stat st;
    if (cards_fd < 0 || map_fd < 0)
        return cards_fd < 0 ? cards_fd : map_fd;
    if (fstat(cards_fd, &st) < 0)
        return -errno;
    *out = (struct file){ .mailbox = mailbox, .map_fd = TAKE_FD(map_fd), .cards_fd = TAKE_FD(cards_fd),
                          .end = (uint64_t)st.st_size };
    return 0;
}

static struct file *find_file(struct cards_files *c, uint64_t mailbox)
{
    for (size_t i = 0; i < OPEN_MAX; i++)
        if (c->files[i].mailbox == mailbox)
            return &c->files[i];
    return NULL;
}

/* NULL: it cannot be opened; with flags 0, or is not there. */
static struct file *get_file(struct cards_files *c, uint64_t mailbox, int flags)
{
    struct file *f = find_file(c, mailbox);
    if (!f) {
        struct file *oldest = &c->files[0], fresh;
        if (open_pair(c, mailbox, "map", "cards", O_RDWR | flags, &fresh) < 0)
            return NULL;
        for (size_t i = 1; i < OPEN_MAX; i++)
            if (c->files[i].used < oldest->used)
                oldest = &c->files[i];
        close_file(oldest);
        *oldest = fresh;
        f = oldest;
    }
    f->used = ++c->uses;
    return f;
}

static void add_place(struct buf *b, uint64_t offset, uint32_t length, uint32_t crc)
{
    pack_u64(b, offset);
    pack_u32(b, length);
    pack_u32(b, crc);
}

static int write_places(const struct file *f, struct buf *places, uint32_t first_uid)
{
    int r = places->failed ? -ENOMEM : segment_pwrite(f->map_fd, buf_str(places), (uint64_t)first_uid * PLACE);
    buf_clear(places);
    return r;
}

/* Appends the bytes; 0 with f->end behind them. */
static int append(struct file *f, str bytes)
{
    int r = segment_pwrite(f->cards_fd, bytes, f->end);
    if (r == 0)
        f->end += bytes.n;
    return r;
}

int card_places_read(int map_fd, uint32_t uid, size_t n, struct card_place *out)
{
    char bytes[PLACE * 256];
    for (size_t i = 0; i < n;) {
        size_t step = MIN(n - i, (size_t)256);
        ssize_t got = segment_pread(map_fd, bytes, step * PLACE, ((uint64_t)uid + i) * PLACE);
        if (got < 0)
            return (int)got;
        memset(bytes + got, 0, step * PLACE - (size_t)got);
        for (size_t k = 0; k < step; k++, i++)
            out[i] = (struct card_place){ get_u64(bytes + k * PLACE), get_u32(bytes + k * PLACE + 8),
                                          get_u32(bytes + k * PLACE + 12) };
    }
    return 0;
}

/* How many of the n cards stand one behind the other, in a span that can be read at once. */
static size_t span_of(const struct card_place *p, size_t n)
{
    size_t k = 1;
    uint64_t length = p[0].length;
    while (k < n && p[k].length && p[k].length <= CARD_LEN_MAX && p[k].offset == p[0].offset + length &&
           length < SPAN_MAX)
        length += p[k++].length;
    return k;
}

/* Cards of n messages whose places these are, `length` bytes, as they stand there to the end of `to`. Their new places
 * are added to c->places. 1; 0: they are not there; negative errno. */
static int copy_span(struct cards_files *c, int cards_fd, struct file *to, const struct card_place *p, size_t n)
{
    uint64_t length = p[n - 1].offset + p[n - 1].length - p[0].offset;
    buf_clear(&c->span);
    char *bytes = buf_space(&c->span, length);
    if (!bytes)
        return -ENOMEM;
    ssize_t got = segment_pread(cards_fd, bytes, length, p[0].offset);
    if (got != (ssize_t)length)
        return got < 0 ? (int)got : 0; /* it ends too early: not here */
    uint64_t at = to->end;
    int r = append(to, buf_str(&c->span));
    buf_clear(&c->places);
    for (size_t i = 0; i < n; i++) {
        add_place(&c->places, at, p[i].length, p[i].crc);
        at += p[i].length;
    }
    return r < 0 ? r : 1;
}

static int copy_run(struct cards_files *c, const struct file *from, uint32_t from_uid, struct file *to, uint32_t to_uid,
                    uint32_t count)
{
    struct card_place p[PLACES_A_STEP];
    while (count) {
        size_t n = MIN(count, (uint32_t)PLACES_A_STEP);
        int r = card_places_read(from->map_fd, from_uid, n, p);
        for (size_t i = 0; i < n && r == 0;) {
            if (!p[i].length || p[i].length > CARD_LEN_MAX) {
                i++;
                continue;
            }
            size_t k = span_of(p + i, n - i);
            r = copy_span(c, from->cards_fd, to, p + i, k);
            if (r == 1)
                r = write_places(to, &c->places, to_uid + (uint32_t)i);
            i += k;
        }
        if (r < 0)
            return r;
        from_uid += (uint32_t)n;
        to_uid += (uint32_t)n;
        count -= (uint32_t)n;
    }
    return 0;
}

int cards_files_make(struct cards_files *c, uint64_t mailbox)
{
    return mailbox && get_file(c, mailbox, O_CREAT) ? 0 : -EIO;
}

uint32_t cards_files_filled(struct cards_files *c, uint64_t mailbox)
{
    struct card_place p = { 0 };
    const struct file *f = get_file(c, mailbox, 0);
    if (!f || card_places_read(f->map_fd, 0, 1, &p) < 0 || p.offset > UINT32_MAX)
        return 1;
    return MAX((uint32_t)p.offset, 1u);
}

void cards_files_set_filled(struct cards_files *c, uint64_t mailbox, uint32_t uid)
{
    const struct file *f = get_file(c, mailbox, 0);
    if (!f)
        return;
    buf_clear(&c->places);
    add_place(&c->places, uid, 0, 0);
    write_places(f, &c->places, 0);
}

void cards_files_places(struct cards_files *c, uint64_t mailbox, uint32_t uid, size_t n, struct card_place *out)
{
    const struct file *f = get_file(c, mailbox, 0);
    if (!f || card_places_read(f->map_fd, uid, n, out) < 0)
        memset(out, 0, n * sizeof(*out));
}

struct live_uids {
    struct cards_files *c;
    const struct file *from;
    struct file *to; /* NULL: only counted */
    uint32_t first, count;
    uint64_t bytes;
    int error;
};

static void end_run(struct live_uids *l)
{
    struct card_place p[PLACES_A_STEP];
    if (l->to && !l->error)
        l->error = copy_run(l->c, l->from, l->first, l->to, l->first, l->count);
    for (uint32_t i = 0; !l->to && i < l->count && !l->error;) {
        size_t n = MIN(l->count - i, (uint32_t)PLACES_A_STEP);
        l->error = card_places_read(l->from->map_fd, l->first + i, n, p);
        for (size_t k = 0; k < n && !l->error; k++)
            l->bytes += p[k].length;
        i += (uint32_t)n;
    }
    l->count = 0;
}

static void live_uid(void *arg, uint32_t uid)
{
    struct live_uids *l = arg;
    if (l->count && uid != l->first + l->count)
        end_run(l);
    if (!l->count)
        l->first = uid;
    l->count++;
}

static int walk_live(struct cards_files *c, struct live_uids *l)
{
    int r = c->live(c->live_arg, l->from->mailbox, live_uid, l);
    if (l->count)
        end_run(l);
    return r < 0 ? r : l->error;
}

static void rename_to(struct cards_files *c, uint64_t mailbox, const char *from, const char *to)
{
    char a[PATH_LEN], b[PATH_LEN];
    path_of(mailbox, from, a);
    path_of(mailbox, to, b);
    renameat(c->dir_fd, a, c->dir_fd, b);
}

/* Up to where they were filled goes along. */
static int copy_filled(struct cards_files *c, const struct file *from, const struct file *to)
{
    struct card_place p;
    int r = card_places_read(from->map_fd, 0, 1, &p);
    buf_clear(&c->places);
    add_place(&c->places, p.offset, 0, 0);
    return r < 0 ? r : write_places(to, &c->places, 0);
}

/* New files with what is live. A crash between the two renames leaves a pair whose CRCs do not fit. */
static void rewrite(struct cards_files *c, struct file *f)
{
    struct file to;
    if (open_pair(c, f->mailbox, "map.new", "cards.new", O_RDWR | O_CREAT | O_TRUNC, &to) < 0)
        return;
    struct live_uids l = { .c = c, .from = f, .to = &to };
    if (walk_live(c, &l) < 0 || copy_filled(c, f, &to) < 0) {
        close_file(&to);
        return;
    }
    rename_to(c, f->mailbox, "cards.new", "cards");
    rename_to(c, f->mailbox, "map.new", "map");
    to.used = f->used;
    close_file(f);
    *f = to;
}

/* It was `before` bytes long. */
static void trim(struct cards_files *c, struct file *f, uint64_t before)
{
    uint64_t limit = CARDS_FILE_TRIM;
    while (limit <= before)
        limit *= 2;
    if (!c->live || f->end < limit)
        return;
    struct live_uids l = { .c = c, .from = f };
    if (walk_live(c, &l) == 0 && l.bytes < f->end / 2)
        rewrite(c, f);
}

static int by_mailbox(const void *a, const void *b)
{
    const struct staged *x = a, *y = b;
    if (x->mailbox != y->mailbox)
        return x->mailbox < y->mailbox ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* The bytes of n cards, as they were staged if nothing stands between them. */
static str staged_bytes(struct cards_files *c, const struct staged *list, size_t n)
{
    size_t end = list[0].at, i = 0;
    while (i < n && list[i].at == end)
        end += list[i++].length;
    if (i == n)
        return str_of(c->bytes.p + list[0].at, end - list[0].at);
    buf_clear(&c->span);
    for (i = 0; i < n; i++)
        buf_add(&c->span, str_of(c->bytes.p + list[i].at, list[i].length));
    return c->span.failed ? STR_NONE : buf_str(&c->span);
}

/* n cards of one mailbox. */
static int write_mailbox(struct cards_files *c, struct file *f, const struct staged *list, size_t n)
{
    uint64_t at = f->end;
    str bytes = staged_bytes(c, list, n);
    int r = bytes.n ? append(f, bytes) : -ENOMEM;
    for (size_t i = 0, first = 0; i < n && r == 0; i++) {
        add_place(&c->places, at, list[i].length, crc32c(0, str_of(c->bytes.p + list[i].at, list[i].length)));
        at += list[i].length;
        if (i + 1 == n || list[i + 1].uid != list[i].uid + 1) {
            r = write_places(f, &c->places, list[first].uid);
            first = i + 1;
        }
    }
    return r;
}

static void flush_staged(struct cards_files *c, bool live)
{
    struct staged *list = (struct staged *)c->staged.p;
    size_t n = c->staged.n / sizeof(*list), sorted = 1;
    while (sorted < n && by_mailbox(&list[sorted - 1], &list[sorted]) < 0)
        sorted++;
    if (sorted < n)
        qsort(list, n, sizeof(*list), by_mailbox);
    for (size_t i = 0, k; i < n; i = k) {
        for (k = i + 1; k < n && list[k].mailbox == list[i].mailbox;)
            k++;
        struct file *f = get_file(c, list[i].mailbox, 0);
        uint64_t before = f ? f->end : 0;
        if (f && write_mailbox(c, f, list + i, k - i) == 0 && !live)
            trim(c, f, before);
    }
    buf_clear(&c->staged);
    buf_clear(&c->bytes);
}

static void flush_copies(struct cards_files *c)
{
    const struct copying *list = (const struct copying *)c->copies.p;
    size_t n = c->copies.n / sizeof(*list);
    for (size_t i = 0; i < n; i++) {
        struct file *from = get_file(c, list[i].from, 0);
        struct file *to = from ? get_file(c, list[i].to, 0) : NULL;
        uint64_t before = to ? to->end : 0;
        if (to && copy_run(c, from, list[i].from_uid, to, list[i].to_uid, list[i].count) == 0)
            trim(c, to, before);
    }
    buf_clear(&c->copies);
}

void cards_files_flush(struct cards_files *c)
{
    flush_staged(c, false);
    flush_copies(c);
}

void cards_files_flush_live(struct cards_files *c)
{
    flush_staged(c, true);
    flush_copies(c);
}

static void flush_if_full(struct cards_files *c)
{
    if (c->bytes.n >= STAGED_BYTES || c->staged.n + c->copies.n >= STAGED_OPS * sizeof(struct staged))
        cards_files_flush(c);
}

void cards_files_add(struct cards_files *c, uint64_t mailbox, uint32_t uid, str card)
{
    if (!card.n || card.n > CARD_LEN_MAX || !mailbox || !uid)
        return;
    if (c->copies.n) /* they are written in their order */
        cards_files_flush(c);
    struct staged one = { .mailbox = mailbox, .uid = uid, .length = (uint32_t)card.n, .at = c->bytes.n };
    if (buf_add(&c->bytes, card) < 0 || buf_add(&c->staged, str_of(&one, sizeof(one))) < 0) {
        c->bytes.failed = c->staged.failed = 0;
        return;
    }
    flush_if_full(c);
}

void cards_files_copy(struct cards_files *c, uint64_t from, uint32_t from_uid, uint64_t to, uint32_t to_uid)
{
    struct copying *last = c->copies.n ? (struct copying *)(c->copies.p + c->copies.n) - 1 : NULL;
    if (last && last->from == from && last->to == to && last->from_uid + last->count == from_uid &&
        last->to_uid + last->count == to_uid) {
        last->count++;
        return;
    }
    struct copying one = { .from = from, .to = to, .from_uid = from_uid, .to_uid = to_uid, .count = 1 };
    if (!from || !to || buf_add(&c->copies, str_of(&one, sizeof(one))) < 0)
        c->copies.failed = 0;
    flush_if_full(c);
}

void cards_files_drop(struct cards_files *c, uint64_t mailbox)
{
    static const char *const ends[] = { "map", "cards", "map.new", "cards.new" };
    char path[PATH_LEN];
    cards_files_flush(c);
    struct file *f = find_file(c, mailbox);
    if (f)
        close_file(f);
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        path_of(mailbox, ends[i], path);
        unlinkat(c->dir_fd, path, 0);
    }
}

int cards_files_get(struct cards_files *c, uint64_t mailbox, int *out_map_fd, int *out_cards_fd)
{
    struct file f;
    cards_files_flush(c);
    int r = open_pair(c, mailbox, "map", "cards", O_RDONLY, &f);
    if (r < 0)
        return r;
    *out_map_fd = f.map_fd;
    *out_cards_fd = f.cards_fd;
    return 0;
}

static int empty_folder(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return -ENOMEM;
    }
    for (const struct dirent *e; r == 0 && (e = readdir(dir));)
        if (e->d_name[0] != '.' && unlinkat(fd, e->d_name, 0) < 0)
            r = -errno;
    closedir(dir);
    return r;
}

int cards_files_discard(int data_fd)
{
    char path[16];
    for (unsigned i = 0; i < 256; i++) {
        snprintf(path, sizeof(path), "cards/%02x", i);
        int r = empty_folder(data_fd, path);
        if (r < 0)
            return r;
    }
    return 0;
}
