/* Many deliveries into files with one wait for the disk: see batch.h.
 *
 * 1. A result is set once: by failed() at once, or in flush() when its file, its folder and its mbox are on the disk.
 * 2. An mbox is locked from the first message for it until flush(); while we wait for one, none is locked. */
#include "mda/batch.h"
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/env.h"
#include "mda/maildir_file.h"
#include "mda/mbox_file.h"
#include "mda/safe_path.h"
#include "mda/stdout_file.h"

enum { LOCK_WAIT_MS = 30000, PAUSE_MIN_MS = 5, PAUSE_MAX_MS = 250, FILES_OF_MAILDIR = 3, FILES_OF_MBOX = 3 };
#define NAMES_MAX ((size_t)8 << 20)

/* A file or Maildir that is open. */
struct place {
    struct place *next;
    enum mechanism_kind kind;
    bool on_disk;            /* its file system was synced as a whole */
    bool moved;              /* the Maildir has new messages that are not yet on the disk */
    bool failed;             /* its sync has failed, and `result` says how */
    struct mda_result result;
    str path;
    struct mbox_file mbox;
    struct maildir_dir maildir;
};

struct item {
    struct item *next;
    struct place *place;     /* NULL: it waits for the lock of its mbox */
    struct maildir_pending file;
    bool dead;               /* its result is set */
    uint64_t bytes;
    str path;
    const struct mda_message *message;
    struct mda_result *result;
};

struct mda_batch {
    struct mda_user user;
    uint32_t lock_wait_ms;
    int stdout_fd;
    struct arena arena, names; /* of the user; of one batch */
    struct text text;
    struct place *places, *spare; /* spare: its mbox was locked by somebody */
    struct item *items, **items_end, *waiting, **waiting_end;
    unsigned files;
};

int mda_batch_new(const struct mda_batch_config *config, struct mda_batch **out)
{
    struct mda_batch *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->arena = ARENA(65536);
    b->names = ARENA(NAMES_MAX);
    b->user = *config->user;
    b->user.name = arena_dup(&b->arena, config->user->name);
    b->user.home = arena_dup(&b->arena, config->user->home);
    b->user.shell = arena_dup(&b->arena, config->user->shell);
    b->lock_wait_ms = config->lock_wait_ms ? config->lock_wait_ms : LOCK_WAIT_MS;
    b->stdout_fd = config->stdout_fd;
    b->items_end = &b->items;
    b->waiting_end = &b->waiting;
    text_init(&b->text);
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error of write(), not our end */
    if (!b->user.name.p || !b->user.home.p || !b->user.shell.p) {
        mda_batch_free(b);
        return -ENOMEM;
    }
    *out = b;
    return 0;
}

static void close_place(struct place *p)
{
    if (p->kind == MECHANISM_MBOX)
        mbox_close(&p->mbox);
    else
        maildir_close(&p->maildir);
}

/* All places are closed; the items that do not wait are over. */
static void close_all(struct mda_batch *b)
{
    for (struct place *p = b->places; p; p = p->next)
        close_place(p);
    b->places = NULL;
    b->items = NULL;
    b->items_end = &b->items;
    b->files = 0;
    if (!b->waiting) {
        arena_clear(&b->names);
        b->spare = NULL;
    }
}

void mda_batch_free(struct mda_batch *b)
{
    if (!b)
        return;
    for (struct item *i = b->items; i; i = i->next)
        if (!i->dead && i->place && i->place->kind == MECHANISM_MAILDIR)
            maildir_drop(&i->place->maildir, &i->file);
    for (struct place *p = b->places; p; p = p->next)
        if (p->kind == MECHANISM_MBOX)
            mbox_undo(&p->mbox);
    close_all(b);
    text_done(&b->text);
    arena_done(&b->names);
    arena_done(&b->arena);
    free(b);
}

/* Finishing */

static void fail(struct item *i, const struct mda_result *why)
{
    if (i->dead)
        return;
    *i->result = *why;
    i->result->bytes = 0;
    i->dead = true;
}

static void delivered(struct item *i)
{
    struct place *p = i->place;
    if (p->kind == MECHANISM_MAILDIR)
        mda_result_set(i->result, MDA_DELIVERED, 250, "2.0.0", "delivered to Maildir %.*s as %s", STR_ARG(p->path),
                       i->file.name);
    else
        mda_result_set(i->result, MDA_DELIVERED, 250, "2.0.0", "delivered to mbox %.*s%s", STR_ARG(p->path),
                       p->mbox.fcntl_alone ? " (locked by fcntl alone: no lock file can be made there)" : "");
    i->result->bytes = i->bytes;
    i->dead = true;
}

static bool is_in_maildir(const struct item *i)
{
    return !i->dead && i->place->kind == MECHANISM_MAILDIR;
}

/* Many files are brought to the disk by one call for their file system: fsync asks the disk for each of them, even when
 * there is nothing left to write. Marks the places of which that has been done; the others have fsync. */
static void sync_file_systems(struct mda_batch *b)
{
    enum { MANY = 8, DISKS = 4 };
    struct { dev_t device; bool fine; } disks[DISKS];
    size_t n_items = 0, n_disks = 0, d;
    for (const struct item *i = b->items; i; i = i->next)
        n_items += !i->dead;
    for (struct place *p = b->places; p; p = p->next) {
        struct stat st;
        int fd = p->kind == MECHANISM_MBOX ? p->mbox.fd : p->maildir.new;
        p->on_disk = false;
        if (n_items < MANY || fstat(fd, &st) < 0)
            continue;
        for (d = 0; d < n_disks && disks[d].device != st.st_dev;)
            d++;
        if (d == DISKS)
            continue;
        if (d == n_disks) {
            disks[n_disks].device = st.st_dev;
            disks[n_disks++].fine = syncfs(fd) == 0;
        }
        p->on_disk = disks[d].fine;
    }
}

static void sync_files(struct mda_batch *b)
{
    struct mda_result r = { 0 };
    sync_file_systems(b);
    for (struct item *i = b->items; i && i->next; i = i->next) /* one alone needs no push */
        if (is_in_maildir(i) && !i->place->on_disk)
            maildir_push(&i->file);
    for (struct item *i = b->items; i; i = i->next)
        if (is_in_maildir(i) && maildir_sync_file(&i->place->maildir, &i->file, i->place->on_disk, &r) < 0)
            fail(i, &r);
    for (struct item *i = b->items; i; i = i->next) {
        if (!is_in_maildir(i))
            continue;
        if (maildir_move(&i->place->maildir, &i->file, &r) < 0)
            fail(i, &r);
        else
            i->place->moved = true;
    }
    for (struct place *p = b->places; p; p = p->next)
        if (p->moved) {
            sync_file_systems(b); /* the new names */
            return;
        }
}

static void sync_place(struct place *p)
{
    p->result = (struct mda_result){ 0 };
    if (p->kind == MECHANISM_MBOX)
        p->failed = mbox_sync(&p->mbox, p->on_disk, &p->result) < 0;
    else
        p->failed = p->moved && !p->on_disk && maildir_sync(&p->maildir, &p->result) < 0;
}

static void flush(struct mda_batch *b)
{
    sync_files(b);
    for (struct place *p = b->places; p; p = p->next)
        sync_place(p);
    for (struct item *i = b->items; i; i = i->next) {
        if (i->dead)
            continue;
        if (i->place->failed && i->place->kind == MECHANISM_MAILDIR)
            maildir_drop(&i->place->maildir, &i->file);
        if (i->place->failed) {
            fail(i, &i->place->result);
            continue;
        }
        if (i->place->kind == MECHANISM_MAILDIR)
            maildir_count(&i->place->maildir, &i->file);
        delivered(i);
    }
    close_all(b);
}

/* Adding */

static struct place *find_place(struct mda_batch *b, enum mechanism_kind kind, str path)
{
    for (struct place *p = b->places; p; p = p->next)
        if (p->kind == kind && str_eq(p->path, path))
            return p;
    return NULL;
}

/* 0, 1: an mbox that is locked by somebody, -1: *r is set. */
static int open_place(struct mda_batch *b, enum mechanism_kind kind, str path, struct place **out, struct mda_result *r)
{
    struct place *p = b->spare ? TAKE(b->spare) : ARENA_NEW(&b->names, struct place);
    if (!p) {
        mda_result_errno(r, ENOMEM, "%.*s", STR_ARG(path));
        return -1;
    }
    *p = (struct place){ .kind = kind, .path = path };
    int e = kind == MECHANISM_MBOX ? mbox_open(&p->mbox, &b->user, path, r)
                                   : maildir_open(&p->maildir, &b->user, path, r);
    if (e != 0) {
        b->spare = p;
        return e;
    }
    b->files += kind == MECHANISM_MBOX ? FILES_OF_MBOX : FILES_OF_MAILDIR;
    p->next = b->places;
    b->places = p;
    *out = p;
    return 0;
}

/* 0 or -1 with *r set. */
static int write_item(struct mda_batch *b, struct item *i, struct place *p, struct mda_result *r)
{
    int e = p->kind == MECHANISM_MBOX ? mbox_append(&p->mbox, &b->text, i->message, r, &i->bytes)
                                      : maildir_write(&p->maildir, &b->text, i->message, &i->file, r);
    if (e < 0)
        return -1;
    if (p->kind == MECHANISM_MAILDIR) {
        i->bytes = i->file.size;
        b->files++;
    }
    i->place = p;
    i->next = NULL;
    *b->items_end = i;
    b->items_end = &i->next;
    return 0;
}

/* Another message waits for the lock of the same mbox: this one waits behind it, for the same reason. */
static bool waits_too(const struct mda_batch *b, struct item *i)
{
    for (const struct item *before = b->waiting; before; before = before->next)
        if (str_eq(before->path, i->path)) {
            *i->result = *before->result;
            return true;
        }
    return false;
}

static void wait_for_lock(struct mda_batch *b, struct item *i)
{
    i->next = NULL;
    *b->waiting_end = i;
    b->waiting_end = &i->next;
}

/* 0: written; 1: the lock is not to be had; -1: its result is set. */
static int try_item(struct mda_batch *b, enum mechanism_kind kind, struct item *i)
{
    struct mda_result r = { 0 };
    struct place *p = find_place(b, kind, i->path);
    int e = p ? 0 : open_place(b, kind, i->path, &p, &r);
    if (e == 0)
        e = write_item(b, i, p, &r);
    if (e != 0)
        *i->result = r; /* who holds the lock, too */
    i->dead = e < 0;
    return e;
}

static void add_file(struct mda_batch *b, const struct mda_message *m, const struct mechanism *mechanism,
                     struct mda_result *result)
{
    if (b->files + FILES_OF_MAILDIR >= MDA_BATCH_FILES || b->names.used > NAMES_MAX / 2)
        flush(b);
    struct item *i = ARENA_NEW(&b->names, struct item);
    if (!i) {
        mda_result_errno(result, ENOMEM, "%.*s", STR_ARG(mechanism->path));
        return;
    }
    *i = (struct item){ .message = m, .result = result, .file.fd = -1 };
    i->path = safe_path_expand(&b->names, &b->user, mechanism->path, result);
    if (!i->path.p)
        return;
    if (mechanism->kind == MECHANISM_MBOX && str_eq(i->path, S("/dev/null"))) {
        mda_result_set(result, MDA_DELIVERED, 250, "2.0.0", "thrown away (/dev/null)");
        return;
    }
    bool is_mbox = mechanism->kind == MECHANISM_MBOX;
    if ((is_mbox && waits_too(b, i)) || try_item(b, mechanism->kind, i) == 1)
        wait_for_lock(b, i);
}

void mda_batch_add(struct mda_batch *b, const struct mda_message *m, const struct mechanism *mechanism,
                   struct mda_result *result)
{
    mda_result_set(result, MDA_DEFERRED, 451, "4.3.0", "not yet delivered");
    result->bytes = 0;
    if (mechanism->kind == MECHANISM_STDOUT)
        stdout_deliver(b->stdout_fd, &b->text, m, result);
    else if (mechanism->kind == MECHANISM_MBOX || mechanism->kind == MECHANISM_MAILDIR)
        add_file(b, m, mechanism, result);
    else
        mda_result_set(result, MDA_FAILED, 550, "5.3.5", "%s is not delivered into a file",
                       mechanism_name[mechanism->kind]);
}

/* Tries all that wait, each mbox once. */
static void try_waiting(struct mda_batch *b)
{
    struct item *list = b->waiting;
    b->waiting = NULL;
    b->waiting_end = &b->waiting;
    for (struct item *i = list, *next; i; i = next) {
        next = i->next;
        if (waits_too(b, i) || try_item(b, MECHANISM_MBOX, i) == 1)
            wait_for_lock(b, i);
        if (b->files + FILES_OF_MBOX >= MDA_BATCH_FILES)
            flush(b);
    }
}

static void pause_ms(uint64_t ms)
{
    struct timespec t = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}

void mda_batch_finish(struct mda_batch *b)
{
    uint64_t begun = env_system.mono_ms(), pause = PAUSE_MIN_MS, passed = 0;
    flush(b);
    while (b->waiting && passed < b->lock_wait_ms) {
        uint16_t random; /* two that wait for each other's mbox must not go on in step */
        env_system.random(&random, sizeof(random));
        pause_ms(MIN(pause + random % pause, b->lock_wait_ms - passed));
        pause = MIN(pause * 2, (uint64_t)PAUSE_MAX_MS);
        try_waiting(b);
        flush(b);
        passed = env_system.mono_ms() - begun;
    }
    for (struct item *i = b->waiting; i; i = i->next) { /* the result says who holds it */
        size_t n = str_z(i->result->text).n;
        snprintf(i->result->text + n, sizeof(i->result->text) - n, ", still after %u s", b->lock_wait_ms / 1000);
    }
    b->waiting = NULL;
    b->waiting_end = &b->waiting;
    close_all(b);
}

void mda_batch_deliver(const struct mda_batch_config *config, const struct mda_message *m,
                       const struct mechanism *mechanism, struct mda_result *result)
{
    struct mda_batch *b;
    if (mda_batch_new(config, &b) < 0) {
        *result = (struct mda_result){ 0 };
        mda_result_errno(result, ENOMEM, "%s", mechanism_name[mechanism->kind]);
        return;
    }
    mda_batch_add(b, m, mechanism, result);
    mda_batch_finish(b);
    mda_batch_free(b);
}
