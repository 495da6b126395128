/* Temporary files, of which a killed process leaves none, or none for long.
 *
 * While it is written, a file has no name (O_TMPFILE), and the system removes it with its process.
 * It gets a name just before the renaming. Systems without nameless files, or that cannot name
 * them, need a name from the start.
 *
 * A folder has few such names, `.fastfa.tmp-<machine>-<number>`, for all files saved there. The
 * process that uses one holds a lock (flock) on the file, which ends with the process. A file with
 * such a name that is not locked was left by a dead process, even if that process ran in another
 * container or had the number of this one; the next save removes it. <machine> is made of digits of
 * the kernel's boot id: files of another machine on a shared disk, whose locks this one may not
 * see, have other names and are not touched. Without /proc, without locks, or when all these names
 * are in use, a name is made from the time, and no later save removes it. */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SHARED_NAMES = 8, MOST_NAMES = 40 };

static void read_machine(char machine[14])
{
    ssize_t n = 0;
    int fd;
    FA_AGAIN(fd, open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
    if (fd >= 0) {
        FA_AGAIN(n, read(fd, machine, 13)); /* 8 digits, a hyphen, 4 digits */
        close(fd);
    }
    machine[n == 13 ? 13 : 0] = '\0';
}

static bool is_shared(const fa_temporary *t, int i) { return t->machine[0] && i < SHARED_NAMES; }

static void choose_name(fa_temporary *t, int i)
{
    if (is_shared(t, i)) {
        snprintf(t->name, sizeof t->name, ".fastfa.tmp-%s-%d", t->machine, i);
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t bits = (uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec;
    snprintf(t->name, sizeof t->name, ".fastfa.tmp-%016llx",
             (unsigned long long)(bits ^ (uint64_t)getpid() << 40));
}

/* 1: the name is that of the open file; -1: of another file; 0: unknown. */
static int compare(int folder, const char *name, int fd)
{
    struct stat file, there;
    if (fstat(fd, &file) || fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW)) return 0;
    return file.st_dev == there.st_dev && file.st_ino == there.st_ino ? 1 : -1;
}

/* ---- files of dead processes ---- */

static void remove_if_dead(int folder, const char *name)
{
    const int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat file;
    int fd =
        openat(folder, name, O_RDWR | flags); /* NFS locks only files that are open for writing */
    if (fd < 0 && errno == EACCES) fd = openat(folder, name, O_RDONLY | flags);
    if (fd < 0) return;
    if (!fstat(fd, &file) && S_ISREG(file.st_mode) && !flock(fd, LOCK_EX | LOCK_NB) &&
        compare(folder, name, fd) == 1)
        unlinkat(folder, name, 0);
    close(fd);
}

static void remove_dead(fa_temporary *t)
{
    for (int i = 0; is_shared(t, i); i++) {
        choose_name(t, i);
        remove_if_dead(t->folder, t->name);
    }
    t->name[0] = '\0';
}

/* ---- making one ---- */

/* The lock shows that this process is alive. Without a lock, names that other saves clean up must
 * not be used. */
static bool lock(fa_temporary *t)
{
    if (!flock(t->fd, LOCK_EX | LOCK_NB)) return true;
    if (errno != EWOULDBLOCK) t->machine[0] = '\0';
    return false;
}

static bool open_nameless(fa_temporary *t, mode_t mode)
{
#ifdef O_TMPFILE
    FA_AGAIN(t->fd, openat(t->folder, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, mode));
    if (t->fd >= 0 && t->machine[0]) lock(t);
#endif
    return t->fd >= 0;
}

static bool open_named(fa_temporary *t, mode_t mode)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    for (int i = 0; i < MOST_NAMES; i++) {
        choose_name(t, i);
        FA_AGAIN(t->fd, openat(t->folder, t->name, flags, mode));
        if (t->fd >= 0) {
            if (!is_shared(t, i) || (lock(t) && compare(t->folder, t->name, t->fd) == 1))
                return true;
            /* There is no lock, or another save removed the file before we had it. */
            fa_temporary_close(t);
        } else if (errno != EEXIST) {
            break;
        }
    }
    t->name[0] = '\0';
    return false;
}

bool fa_temporary_open(fa_temporary *t, int folder, mode_t mode, bool named)
{
    *t = (fa_temporary){.folder = folder, .fd = -1};
    read_machine(t->machine);
    remove_dead(t);
    /* Whatever the reason: if it prevents a file with a name too, the next attempt reports it. */
    return (!named && open_nameless(t, mode)) || open_named(t, mode);
}

/* ---- naming and renaming it ---- */

static int link_file(const fa_temporary *t)
{
    int failed;
    char self[32];
    snprintf(self, sizeof self, "/proc/self/fd/%d", t->fd);
    FA_AGAIN(failed, linkat(AT_FDCWD, self, t->folder, t->name, AT_SYMLINK_FOLLOW));
#ifdef AT_EMPTY_PATH
    if (failed && errno != EEXIST) /* no /proc; newer systems do not need it */
        FA_AGAIN(failed, linkat(t->fd, "", t->folder, t->name, AT_EMPTY_PATH));
#endif
    return failed;
}

bool fa_temporary_link(fa_temporary *t)
{
    if (t->name[0]) return true;
    for (int i = 0; i < MOST_NAMES; i++) {
        choose_name(t, i);
        if (!link_file(t)) return true;
        if (errno != EEXIST) break;
        if (compare(t->folder, t->name, t->fd) == 1) return true; /* the first call did it */
        errno = EEXIST;
    }
    t->name[0] = '\0';
    return false;
}

bool fa_temporary_rename(fa_temporary *t, const char *name)
{
    int failed;
    if (compare(t->folder, t->name, t->fd) < 0) {
        errno = ENOENT;
        return false;
    }
    FA_AGAIN(failed, renameat(t->folder, t->name, t->folder, name));
    /* An interrupted call, or one that a network file system repeated, may have renamed the file
     * the first time. */
    if (failed && !(errno == ENOENT && compare(t->folder, name, t->fd) == 1)) return false;
    t->name[0] = '\0';
    return true;
}

void fa_temporary_close(fa_temporary *t)
{
    const int reason = errno;
    int failed = 0;
    if (t->name[0] && compare(t->folder, t->name, t->fd) >= 0)
        FA_AGAIN(failed, unlinkat(t->folder, t->name, 0));
    (void)failed; /* the next save tries again */
    t->name[0] = '\0';
    close(t->fd);
    errno = reason;
}
