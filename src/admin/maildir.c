/* Names and text of Maildirs: see maildir.h. */
#include "admin/maildir.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include "proto/imap_command.h"

#define PASSED S("$Forwarded")
#define INFO S(":2,")

static const struct { char letter; uint32_t flag; } letters[] = { /* in the order of ASCII, as the rule is */
    { 'D', IMAP_DRAFT }, { 'F', IMAP_FLAGGED }, { 'R', IMAP_ANSWERED }, { 'S', IMAP_SEEN }, { 'T', IMAP_DELETED },
};

void maildir_keywords_done(struct maildir_keywords *k)
{
    for (size_t i = 0; i < MAILDIR_LETTERS; i++)
        free(k->name[i]);
    *k = (struct maildir_keywords){ .n = 0 };
}

int maildir_keywords_read(struct maildir_keywords *k, str text)
{
    while (text.n) {
        str line = str_cut(&text, '\n'), number = str_word(&line), word = str_word(&line);
        uint64_t n;
        if (str_u64(number, MAILDIR_LETTERS - 1, &n) < 0 || !word.n || k->name[n])
            continue;
        k->name[n] = str_dupz(word);
        if (!k->name[n] && str_chr(word, '\0') < 0)
            return -ENOMEM;
        k->n = MAX(k->n, (size_t)n + 1);
    }
    return 0;
}

void maildir_keywords_write(const struct maildir_keywords *k, struct buf *out)
{
    for (size_t i = 0; i < k->n; i++)
        if (k->name[i])
            buf_addf(out, "%zu %s\n", i, k->name[i]);
}

/* The letter's number, MAILDIR_LETTERS: there is none left, or -ENOMEM. */
static int letter_of(struct maildir_keywords *k, str word)
{
    for (size_t i = 0; i < k->n; i++)
        if (str_ieq(str_z(k->name[i]), word))
            return (int)i;
    if (k->n == MAILDIR_LETTERS)
        return MAILDIR_LETTERS;
    k->name[k->n] = str_dupz(word);
    return k->name[k->n] ? (int)k->n++ : -ENOMEM;
}

int maildir_info(struct buf *name, uint32_t flags, str keywords, struct maildir_keywords *k)
{
    bool has[MAILDIR_LETTERS] = { false }, passed = false;
    int lost = 0;
    for (str w; (w = str_word(&keywords)).n;) {
        if (str_ieq(w, PASSED)) {
            passed = true;
            continue;
        }
        int at = letter_of(k, w);
        if (at < 0)
            return at;
        if (at == MAILDIR_LETTERS)
            lost++;
        else
            has[at] = true;
    }
    buf_add(name, INFO);
    for (size_t i = 0; i < ARRAY_LEN(letters); i++) {
        if (letters[i].letter == 'R' && passed)
            buf_addc(name, 'P');
        if (flags & letters[i].flag)
            buf_addc(name, letters[i].letter);
    }
    for (int i = 0; i < MAILDIR_LETTERS; i++)
        if (has[i])
            buf_addc(name, (char)('a' + i));
    return lost;
}

uint32_t maildir_flags(str name, const struct maildir_keywords *k, struct buf *keywords)
{
    uint32_t flags = 0;
    ptrdiff_t at = str_find(name, INFO);
    str info = at < 0 ? STR_NONE : str_from(name, (size_t)at + INFO.n);
    for (size_t i = 0; i < info.n; i++) {
        char c = info.p[i];
        const char *word = c >= 'a' && c <= 'z' ? k->name[c - 'a'] : c == 'P' ? PASSED.p : NULL;
        for (size_t j = 0; j < ARRAY_LEN(letters); j++)
            flags |= letters[j].letter == c ? letters[j].flag : 0;
        if (!word)
            continue;
        if (keywords->n)
            buf_addc(keywords, ' ');
        buf_add(keywords, str_z(word));
    }
    return flags;
}

/* What is there */

struct listing {
    struct arena *arena;
    struct maildir_file *files;
    size_t n, room;
};

static int add_file(struct listing *l, const char *name, bool is_new)
{
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 1024;
        struct maildir_file *files = realloc(l->files, room * sizeof(*files));
        if (!files)
            return -ENOMEM;
        l->files = files;
        l->room = room;
    }
    str copy = arena_dup(l->arena, str_z(name));
    if (!copy.p)
        return -ENOMEM;
    l->files[l->n++] = (struct maildir_file){ .name = copy.p, .is_new = is_new };
    return 0;
}

static int list_folder(struct listing *l, int dir_fd, const char *name, bool is_new)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int r = d ? 0 : -errno;
    if (!d && fd >= 0)
        close(fd);
    for (const struct dirent *e; r == 0 && (e = readdir(d));)
        if (e->d_name[0] != '.')
            r = add_file(l, e->d_name, is_new);
    if (d)
        closedir(d);
    return r;
}

static uint64_t time_of(const char *name)
{
    uint64_t n = 0;
    for (size_t i = 0; i < 18 && ascii_digit(name[i]); i++)
        n = n * 10 + (uint64_t)(name[i] - '0');
    return n;
}

static int by_arrival(const void *pa, const void *pb)
{
    const struct maildir_file *a = pa, *b = pb;
    uint64_t x = time_of(a->name), y = time_of(b->name);
    return x != y ? (x < y ? -1 : 1) : str_cmp(str_z(a->name), str_z(b->name));
}

int maildir_list(struct arena *a, int dir_fd, struct maildir_file **out, size_t *out_n)
{
    struct listing l = { .arena = a };
    int r = list_folder(&l, dir_fd, "cur", false);
    if (r == 0)
        r = list_folder(&l, dir_fd, "new", true);
    if (r == 0 && l.n)
        qsort(l.files, l.n, sizeof(*l.files), by_arrival);
    *out = r == 0 ? ARENA_ARRAY(a, struct maildir_file, l.n + 1) : NULL;
    if (*out && l.n)
        memcpy(*out, l.files, l.n * sizeof(**out));
    *out_n = l.n;
    free(l.files);
    return r < 0 ? r : *out ? 0 : -ENOMEM;
}

/* Text */

int maildir_to_crlf(struct buf *out, str text)
{
    while (text.n) {
        ptrdiff_t lf = str_chr(text, '\n');
        size_t n = lf < 0 ? text.n : (size_t)lf;
        str line = str_first(text, n);
        if (lf >= 0 && str_ends(line, S("\r")))
            line.n--;
        buf_add(out, line);
        if (lf >= 0)
            buf_add(out, S("\r\n"));
        text = str_from(text, n + 1);
    }
    return out->failed;
}

void maildir_to_lf(struct buf *out, str piece, bool *cr)
{
    while (piece.n) {
        if (*cr && piece.p[0] != '\n')
            buf_addc(out, '\r');
        ptrdiff_t at = str_chr(piece, '\r');
        str plain = at < 0 ? piece : str_first(piece, (size_t)at);
        *cr = at >= 0;
        buf_add(out, plain);
        piece = at < 0 ? STR_NONE : str_from(piece, (size_t)at + 1);
    }
}
