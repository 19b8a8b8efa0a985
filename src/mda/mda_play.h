/* For tests of deliveries into files: a home of its own in /tmp, messages out of text. Included after cmocka.h. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "mda/batch.h"

struct mda_play {
    char home[64];
    struct mda_user user;
    struct mda_batch_config config;
};

static inline int mda_play_remove(const char *path, const struct stat *st, int flag, struct FTW *f)
{
    (void)st;
    (void)flag;
    (void)f;
    return remove(path);
}

static inline void mda_play_begin(struct mda_play *p)
{
    *p = (struct mda_play){ .home = "/tmp/posthouse-mda-XXXXXX" };
    assert_non_null(mkdtemp(p->home));
    p->user = (struct mda_user){ .name = S("tester"), .home = str_z(p->home), .shell = S("/bin/sh"), .uid = geteuid(),
                                 .gid = getegid() };
    p->config = (struct mda_batch_config){ .user = &p->user, .lock_wait_ms = 300, .stdout_fd = -1 };
}

static inline void mda_play_end(struct mda_play *p)
{
    nftw(p->home, mda_play_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* "home/name" in one of four buffers that take turns. */
static inline const char *mda_play_path(const struct mda_play *p, const char *name)
{
    static char paths[4][1024];
    static unsigned turn;
    char *out = paths[turn++ % 4];
    snprintf(out, sizeof(paths[0]), "%s/%s", p->home, name);
    return out;
}

static inline void mda_play_write(const struct mda_play *p, const char *name, str text)
{
    int fd = open(mda_play_path(p, name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text.p, text.n), text.n);
    close(fd);
}

/* What the file holds, valid until the next call. */
static inline str mda_play_read(const struct mda_play *p, const char *name)
{
    static char text[1 << 20];
    int fd = open(mda_play_path(p, name), O_RDONLY | O_NOFOLLOW);
    if (fd < 0)
        return STR_NONE;
    ssize_t n = read(fd, text, sizeof(text));
    close(fd);
    assert_true(n >= 0);
    return str_of(text, (size_t)n);
}

/* The caller closes fd. */
static inline struct mda_message mda_play_message(str content)
{
    int fd = memfd_create("message", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (str rest = content; rest.n;) {
        ssize_t n = write(fd, rest.p, rest.n);
        assert_true(n > 0);
        rest = str_from(rest, (size_t)n);
    }
    return (struct mda_message){ .fd = fd, .length = content.n, .sender = S("ann@a.example"),
                                 .recipient = S("bob@b.example"), .received_us = 1795507200000000u };
}

static inline void mda_play_deliver(struct mda_play *p, str content, const char *mechanism, struct mda_result *r)
{
    struct mda_message m = mda_play_message(content);
    struct mechanism parsed;
    const char *why;
    assert_true(mechanism_parse(str_z(mechanism), &parsed, &why));
    mda_batch_deliver(&p->config, &m, &parsed, r);
    close(m.fd);
}

static inline void mda_play_is(str got, const char *wanted)
{
    if (!str_eq(got, str_z(wanted)))
        fail_msg("got \"%.*s\", wanted \"%s\"", STR_ARG(got), wanted);
}

static inline bool mda_play_says(const struct mda_result *r, const char *part)
{
    return str_find(str_z(r->text), str_z(part)) >= 0;
}
