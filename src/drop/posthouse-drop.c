/* posthouse-drop: writes a file of the drop (src/session/drop.h) for users who may not write there. Installed setgid
 * `posthouse-drop`; it shares no code with the rest, so that all that runs with that right is on this page.
 *
 * Standard input holds pieces: u32 length (little-endian), so many bytes; a length of 0 is the end. An input that ends
 * without it is thrown away, so a caller who is killed sends nothing. Standard output gets the file's name.
 *
 * What it trusts: nothing from its caller. The folder stands in a file that only root can write, or is compiled in;
 * only without any special right may it be an argument. The right is used for one call that creates the file, and given
 * up before the first byte is read. The file belongs to the caller's real user.
 *
 * Exit status: 0; 64 usage; 65 no file of the drop, or cut short; 69 too large; 73 there is no such folder; 74 it could
 * not be written; 77 not allowed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef DROP_FOLDER_PATH
#define DROP_FOLDER_PATH "/var/lib/posthouse/drop"
#endif
#ifndef DROP_FOLDER_FILE
#define DROP_FOLDER_FILE "/etc/posthouse/drop-folder"
#endif

enum { OK, USAGE = 64, NO_DROP_FILE = 65, TOO_LARGE = 69, NO_FOLDER = 73, NOT_WRITTEN = 74, NOT_ALLOWED = 77 };
enum { NAME_LEN = 26, PATH_LEN = 512, PIECE_MAX = 65536 };
#define SIZE_MAX_BYTES ((uint64_t)1 << 30)
#define MAGIC "PHDROP1\n"
#define MAGIC_LEN (sizeof(MAGIC) - 1)

static int say(int status, const char *what)
{
    fprintf(stderr, "posthouse-drop: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    return status;
}

static void ignore_signals(void)
{
    static const int all[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGALRM, SIGTSTP, SIGTTIN, SIGTTOU,
                               SIGUSR1, SIGUSR2, SIGXFSZ, SIGVTALRM, SIGPROF };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        signal(all[i], SIG_IGN);
}

/* The one line of the file, if there is one that root alone can have written. False: there is none. */
static bool folder_from_file(char path[PATH_LEN])
{
    struct stat st;
    int fd = open(DROP_FOLDER_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 && !(st.st_mode & 022);
    ssize_t n = ok ? read(fd, path, PATH_LEN - 1) : -1;
    close(fd);
    if (n <= 0)
        return false;
    path[n] = '\0';
    path[strcspn(path, "\r\n")] = '\0';
    return path[0] == '/';
}

static int open_folder(int argc, char **argv)
{
    char path[PATH_LEN] = DROP_FOLDER_PATH;
    bool special = getuid() != geteuid() || getgid() != getegid();
    if (argc == 2 && !special)
        return open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!folder_from_file(path))
        memcpy(path, DROP_FOLDER_PATH, sizeof(DROP_FOLDER_PATH));
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int create(int folder, char name[NAME_LEN + 1])
{
    static const char letters[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned char random[NAME_LEN];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -1;
    for (int i = 0; i < NAME_LEN; i++)
        name[i] = letters[random[i] & 31];
    name[NAME_LEN] = '\0';
    return openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* For good: the saved ids too. */
static bool give_up_rights(void)
{
    gid_t gid = getgid();
    uid_t uid = getuid();
    return setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 && getegid() == gid && geteuid() == uid;
}

/* False: it ends before. */
static bool read_whole(unsigned char *p, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t k = read(STDIN_FILENO, p + got, n - got);
        if (k <= 0 && !(k < 0 && errno == EINTR))
            return false;
        got += k > 0 ? (size_t)k : 0;
    }
    return true;
}

static bool write_whole(int fd, const unsigned char *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = write(fd, p + done, n - done);
        if (k < 0 && errno != EINTR)
            return false;
        done += k > 0 ? (size_t)k : 0;
    }
    return true;
}

static int copy(int fd)
{
    static unsigned char piece[PIECE_MAX];
    uint64_t size = 0;
    for (;;) {
        unsigned char length[4];
        errno = 0;
        if (!read_whole(length, 4))
            return say(NO_DROP_FILE, "the input ends too early");
        uint32_t n = length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16 | (uint32_t)length[3] << 24;
        if (n == 0)
            return size ? OK : say(NO_DROP_FILE, "the input is empty");
        if (n > PIECE_MAX)
            return say(NO_DROP_FILE, "a piece is too long");
        if (!read_whole(piece, n))
            return say(NO_DROP_FILE, "the input ends too early");
        if (size == 0 && (n < MAGIC_LEN || memcmp(piece, MAGIC, MAGIC_LEN) != 0))
            return say(NO_DROP_FILE, "the input is no message for the drop");
        size += n;
        if (size > SIZE_MAX_BYTES)
            return say(TOO_LARGE, "the message is too large");
        if (!write_whole(fd, piece, n))
            return say(NOT_WRITTEN, "the message cannot be written");
    }
}

/* The mode that says "complete", then all of it to the disk. With ext4, XFS and btrfs the sync of a new file takes its
 * name along; elsewhere all of that file system is synced, as the folder may not be opened for reading. */
static int complete(int fd)
{
    struct statfs fs;
    errno = 0;
    if (fchmod(fd, 0744) < 0 || fsync(fd) < 0 || fstatfs(fd, &fs) < 0)
        return say(NOT_WRITTEN, "the message cannot be made durable");
    bool known = fs.f_type == 0xef53 || fs.f_type == 0x58465342 || fs.f_type == 0x9123683e || fs.f_type == 0x01021994;
    return known || syncfs(fd) == 0 ? OK : say(NOT_WRITTEN, "the message cannot be made durable");
}

int main(int argc, char **argv)
{
    static const struct rlimit no_core = { 0, 0 };
    char name[NAME_LEN + 1];
    errno = 0;
    ignore_signals();
    setrlimit(RLIMIT_CORE, &no_core);
    umask(077);
    if (argc != 1 && (argc != 2 || getgid() != getegid() || getuid() != geteuid()))
        return say(USAGE, "it takes no argument; the sendmail command calls it");
    int folder = open_folder(argc, argv);
    if (folder < 0)
        return say(NO_FOLDER, "the drop cannot be opened");
    int fd = create(folder, name);
    if (fd < 0)
        return say(errno == EACCES || errno == EPERM ? NOT_ALLOWED : NOT_WRITTEN, "no file can be made in the drop");
    int status = give_up_rights() ? copy(fd) : say(NOT_ALLOWED, "the rights cannot be given up");
    if (status == OK)
        status = complete(fd);
    if (status != OK) {
        /* whoever may not remove it leaves it empty, and the server removes it */
        if (unlinkat(folder, name, 0) < 0 && ftruncate(fd, 0) < 0)
            say(status, "a part of the message is left in the drop");
        return status;
    }
    return printf("%s\n", name) < 0 || fflush(stdout) != 0 ? NOT_WRITTEN : OK;
}
