/* Saves a network: writes a new file next to the old one and replaces the old one when the new one
 * is complete. */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* ---- the place of a file ---- */

typedef int fa_take(void *user, const void *data, size_t size);

typedef struct fa_place {
    const fa_net *net;  /* the network that is saved there */
    const char *path;   /* as the caller passed it */
    char *text;         /* space for two paths: the present one, and the target of a link */
    const char *name;   /* of the file that all links lead to */
    int folder;         /* the folder with that name */
    bool listed;        /* the folder may be read, and so can be flushed */
    bool exists, named; /* named: the existing file has that name */
    struct stat old;    /* of the existing file */
    enum { CREATING, WRITING, NAMING, RENAMING } stage;
} fa_place;

static fa_status refuse(const fa_place *p, const char *what)
{
    return fa_path_fail(p->path, what,
                        p->exists ? "; the file is as it was" : "; no file was made");
}

/* Opens the folder of a path, relative to the folder `at`, and sets the name in it. Cuts the
 * path. */
static bool enter(fa_place *p, int at, char *path)
{
    char *slash = strrchr(path, '/');
    const char *folder = !slash ? "." : slash == path ? "/" : path;
    p->name = slash ? slash + 1 : path;
    if (slash) *slash = '\0';
    int fd;
    FA_AGAIN(fd, openat(at, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    p->listed = fd >= 0;
    if (fd < 0 && errno == EACCES)
        FA_AGAIN(fd, openat(at, folder, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) return false;
    if (p->folder >= 0) close(p->folder);
    p->folder = fd;
    if (*p->name) return true;
    errno = ENOENT;
    return false;
}

/* A link of /proc to an open file has a name that may no longer exist, or that may be the name of
 * another file now. */
static bool is_named(const fa_place *p)
{
    struct stat there;
    if (fstatat(p->folder, p->name, &there, AT_SYMLINK_NOFOLLOW)) return errno != ENOENT;
    return there.st_ino == p->old.st_ino && there.st_dev == p->old.st_dev;
}

/* Follows links, so that saving does not replace them. If the target of a link does not exist, the
 * file is made there, as by other programs. Each folder is opened relative to the one before:
 * together the paths may be longer than the system allows for one path. */
static bool follow(fa_place *p)
{
    snprintf(p->text, PATH_MAX, "%s", p->path); /* the system accepts no longer paths */
    p->named = true;
    if (!enter(p, AT_FDCWD, p->text)) return false;
    for (int links = 1; links <= 40; links++) { /* as many links as the system follows */
        char *to = p->text + (links % 2) * PATH_MAX;
        const ssize_t n = readlinkat(p->folder, p->name, to, PATH_MAX - 1);
        const int reason = errno;
        if (n < 0) {
            if (links > 1) p->named = !p->exists || is_named(p);
            errno = reason;
            return reason == EINVAL || reason == ENOENT; /* it is not a link, or does not exist */
        }
        to[n] = '\0';
        p->named = false;
        if (!enter(p, p->folder, to)) return false;
    }
    errno = ELOOP;
    return false;
}

static fa_status find_place(fa_place *p)
{
    int failed;
    FA_AGAIN(failed, stat(p->path, &p->old));
    if (failed && errno != ENOENT) return fa_path_fail(p->path, "write", "; nothing was changed");
    p->exists = !failed;
    if (p->exists) FA_TRY(fa_check_plain(p->old.st_mode, p->path, "write"));
    p->text = fa_alloc((size_t)2 * PATH_MAX);
    if (!p->text) return fa_path_fail_in(fa_fail(FA_E_MEMORY, "out of memory for a path"), p->path);
    if (follow(p) || (p->exists && !p->named && (errno == ENOENT || errno == ENOTDIR)))
        return FA_OK;
    return refuse(p, "write");
}

static void leave(fa_place *p)
{
    const int reason = errno;
    if (p->folder >= 0) close(p->folder);
    fa_free(p->text);
    errno = reason;
}

/* ---- writing ---- */

typedef struct fa_writing {
    int fd, reason;
    unsigned char first[8]; /* of a file that is overwritten: written last */
    size_t held, size;
} fa_writing;

static int write_bytes(void *user, const void *data, size_t size)
{
    fa_writing *w = user;
    const char *at = data;
    while (size) {
        ssize_t n;
        FA_AGAIN(n, write(w->fd, at, size < (1 << 30) ? size : 1 << 30));
        if (n <= 0) return w->reason = n == 0 ? EIO : errno;
        at += n;
        size -= (size_t)n;
        w->size += (size_t)n;
    }
    return 0;
}

/* Flushes a file to the disk; also succeeds if its file system cannot flush. */
static bool flush(int fd)
{
    int failed;
    FA_AGAIN(failed, fsync(fd));
    return !failed || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP;
}

/* Some network file systems report a write error only when the file is closed. This closes a copy
 * of the descriptor: closing the last one would end the lock. A close that a signal interrupts has
 * closed the file. */
static bool close_copy(int fd)
{
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 || !close(copy) || errno == EINTR;
}

static fa_status write_all(fa_writing *w, const fa_place *p, fa_take *take)
{
    const fa_status status = fa_save_to(p->net, take, w);
    if (status != FA_E_IO) return status ? fa_path_fail_in(status, p->path) : FA_OK;
    errno = w->reason;
    return FA_E_IO;
}

/* Gives the new file the permissions of the old one and, if this process may, its owner and group.
 * If the group cannot be kept, the new group gets no more rights than everyone has. */
static bool keep_rights(int fd, const struct stat *old)
{
    struct stat now;
    mode_t mode = old->st_mode & 0777;
    int failed;
    if (fstat(fd, &now)) return false;
    if ((now.st_uid != old->st_uid || now.st_gid != old->st_gid) &&
        fchown(fd, old->st_uid, old->st_gid) && now.st_gid != old->st_gid &&
        fchown(fd, (uid_t)-1, old->st_gid))
        mode &= 0707 | mode << 3;
    if (mode == (now.st_mode & 0777)) return true;
    FA_AGAIN(failed, fchmod(fd, mode));
    return !failed;
}

/* ---- a new file in place of the old one ---- */

static fa_status fill(const fa_temporary *t, const fa_place *p)
{
    fa_writing w = {.fd = t->fd};
    const fa_status status = write_all(&w, p, write_bytes);
    if (status) return status == FA_E_IO ? refuse(p, "write") : status;
    if (p->exists && !keep_rights(t->fd, &p->old)) return refuse(p, "keep its permissions");
    return flush(t->fd) && close_copy(t->fd) ? FA_OK : refuse(p, "write");
}

static fa_status write_beside(fa_place *p, bool named)
{
    fa_temporary t;
    p->stage = CREATING;
    if (!fa_temporary_open(&t, p->folder, p->exists ? p->old.st_mode & 0777 : 0666, named))
        return refuse(p, "write");
    p->stage = WRITING;
    fa_status status = fill(&t, p);
    if (status == FA_OK) p->stage = NAMING;
    if (status == FA_OK && !fa_temporary_link(&t)) status = refuse(p, "write");
    if (status == FA_OK) p->stage = RENAMING;
    if (status == FA_OK && !fa_temporary_rename(&t, p->name)) status = refuse(p, "replace");
    fa_temporary_close(&t);
    return status;
}

/* The names in a folder are data of the folder: without this a loss of power may undo the renaming.
 * A folder that may not be read cannot be flushed; then the whole file system is flushed, through
 * the file. */
static fa_status flush_folder(const fa_place *p)
{
    bool flushed = true;
    if (p->listed) {
        flushed = flush(p->folder);
    } else {
        const int fd = openat(p->folder, p->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) flushed = !syncfs(fd);
        const int reason = errno;
        if (fd >= 0) close(fd);
        errno = reason;
    }
    if (flushed) return FA_OK;
    return fa_path_fail(
        p->path, "flush its folder to the disk",
        p->exists ? "; the new file is there, but a loss of power may bring the old one back"
                  : "; the file is there, but a loss of power may undo that");
}

/* ---- overwriting the old file ---- */

/* Writes 0xff for the first 8 bytes, which no network begins with, and keeps the real ones in
 * w->first. */
static int write_behind(void *user, const void *data, size_t size)
{
    static const unsigned char none[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    fa_writing *w = user;
    const char *at = data;
    const size_t left = sizeof none - w->held, n = size < left ? size : left;
    memcpy(w->first + w->held, at, n);
    if (write_bytes(w, none, n)) return w->reason;
    w->held += n;
    if (n && w->held == sizeof none) flush(w->fd); /* a failure shows again at the next flush */
    return write_bytes(w, at + n, size - n);
}

static int count_bytes(void *user, const void *data, size_t size)
{
    (void)data;
    ((fa_writing *)user)->size += size;
    return 0;
}

/* Fails on a full disk before anything is overwritten, and on the kernel's settings under /sys,
 * which look like files. */
static bool reserve(int fd, size_t size)
{
    struct rlimit most;
    struct statvfs disk;
    if (!getrlimit(RLIMIT_FSIZE, &most) && most.rlim_cur != RLIM_INFINITY && size > most.rlim_cur) {
        errno = EFBIG;
        return false;
    }
    int failed;
    FA_AGAIN(failed, fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)size));
    if (!failed || errno == EINTR) return true;
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG || errno == EIO) return false;
    if (fstatvfs(fd, &disk) || disk.f_blocks) return true;
    errno = EINVAL;
    return false;
}

static fa_status spoil(const fa_place *p)
{
    return fa_path_fail(
        p->path, "overwrite",
        "; the old file could only be overwritten, and is lost: save to another folder");
}

/* The rest is on the disk; now the real first bytes complete the file. */
static fa_status finish_overwriting(const fa_writing *w, const fa_place *p)
{
    int failed;
    FA_AGAIN(failed, ftruncate(w->fd, (off_t)w->size));
    ssize_t n = -1;
    if (!failed && flush(w->fd)) FA_AGAIN(n, pwrite(w->fd, w->first, w->held, 0));
    if (n > 0 && n < (ssize_t)w->held) errno = EIO;
    if (n != (ssize_t)w->held) return spoil(p);
    if (flush(w->fd) && close_copy(w->fd)) return FA_OK;
    return fa_path_fail(p->path, "flush to the disk",
                        "; the file was overwritten, but a loss of power may lose it: save again");
}

static fa_status overwrite_open(fa_writing *w, const fa_place *p, size_t size)
{
    struct stat file;
    if (fstat(w->fd, &file)) return refuse(p, "write");
    FA_TRY(fa_check_plain(file.st_mode, p->path, "write"));
    if (flock(w->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
        return refuse(p, "write while another program does");
    if (!reserve(w->fd, size)) return refuse(p, "write");
    const fa_status status = write_all(w, p, write_behind);
    if (status == FA_OK) return finish_overwriting(w, p);
    if (w->size) {
        if (status != FA_E_IO) errno = status == FA_E_MEMORY ? ENOMEM : EIO;
        return spoil(p);
    }
    return status == FA_E_IO ? refuse(p, "write") : status;
}

/* Overwrites the old file, if no file may be made or renamed. There is no other way there, and this
 * one is not safe. Until the file is complete, its first bytes are wrong, so that every reader
 * refuses it. */
static fa_status overwrite(const fa_place *p)
{
    fa_writing counted = {0}, w = {0};
    FA_TRY(write_all(&counted, p, count_bytes));
    FA_AGAIN(w.fd, open(p->path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (w.fd < 0) return refuse(p, "write");
    const fa_status status = overwrite_open(&w, p, counted.size);
    const int reason = errno;
    close(w.fd);
    errno = reason;
    return status;
}

/* ---- saving ---- */

/* True for folders where no file may be made, sticky folders with another user's file, and files
 * that are mount points. */
static bool is_refused(int reason)
{
    return reason == EACCES || reason == EPERM || reason == EROFS || reason == EBUSY ||
           reason == EXDEV || reason == ENOSYS || reason == EOPNOTSUPP;
}

static fa_status replace(fa_place *p)
{
    fa_status status = write_beside(p, false);
    if (status == FA_E_IO && p->stage == NAMING) status = write_beside(p, true);
    if (status == FA_E_IO && p->exists && p->stage != WRITING && is_refused(errno))
        return overwrite(p);
    return status ? status : flush_folder(p);
}

fa_status fa_save(const fa_net *net, const char *path)
{
    FA_REQUIRE(net);
    FA_REQUIRE(path);
    const int cancel = fa_cancel_off(); /* a cancelled thread finishes it */
    fa_place p = {.net = net, .path = path, .folder = -1};
    fa_status status = find_place(&p);
    if (status == FA_OK) status = p.named ? replace(&p) : overwrite(&p);
    leave(&p);
    fa_cancel_back(cancel);
    pthread_testcancel();
    return status;
}
