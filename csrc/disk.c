/* Files: written beside the old one and put in its place when complete, read whole. */
#include "file.h"
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The message names what was to be done, to which file, and why not; errno stays for the caller. */
static fa_status fail(const char *what, const char *path)
{
    const int reason = errno;
    const fa_status status = fa_fail(FA_E_IO, "%s: cannot %s: %s", path, what, strerror(reason));
    errno = reason;
    return status;
}

/* ---- writing ---- */

typedef struct fa_place { /* where a file goes, and the one that is written meanwhile */
    char path[PATH_MAX], temporary[PATH_MAX];
    bool exists;
    mode_t mode; /* of the file that is there */
    int fd, reason;
} fa_place;

/* Where a link that points at nothing points: the file comes there, as it would for any other program. */
static bool follow(char path[PATH_MAX])
{
    char to[PATH_MAX], joined[PATH_MAX];
    const ssize_t n = readlink(path, to, sizeof to - 1);
    if (n <= 0) return false;
    to[n] = '\0';
    const char *slash = to[0] == '/' ? NULL : strrchr(path, '/');
    const int folder = slash ? (int)(slash + 1 - path) : 0;
    if (snprintf(joined, sizeof joined, "%.*s%s", folder, path, to) >= (int)sizeof joined)
        return false;
    memcpy(path, joined, strlen(joined) + 1);
    return true;
}

/* Follows links, so that they stay; what is there and is no plain file is left alone. */
static fa_status find_place(fa_place *p, const char *path)
{
    static atomic_uint serial;
    struct stat there;
    if (!realpath(path, p->path)) {
        if (errno != ENOENT) return fail("write", path);
        if (snprintf(p->path, sizeof p->path, "%s", path) >= (int)sizeof p->path) {
            errno = ENAMETOOLONG;
            return fail("write", path);
        }
        int links = 0;
        while (links++ < 40 && follow(p->path)) {} /* as many as the system takes */
    }
    p->exists = stat(p->path, &there) == 0;
    if (p->exists && !S_ISREG(there.st_mode)) {
        errno = S_ISDIR(there.st_mode) ? EISDIR : EINVAL;
        return fail("write what is no plain file", path);
    }
    p->mode = p->exists ? there.st_mode & 0777 : 0;
    const int n = snprintf(p->temporary, sizeof p->temporary, "%s.tmp-%ld-%u", p->path,
                           (long)getpid(), atomic_fetch_add(&serial, 1));
    if (n < (int)sizeof p->temporary) return FA_OK;
    errno = ENAMETOOLONG;
    return fail("write", path);
}

static int write_bytes(void *user, const void *data, size_t size)
{
    fa_place *p = user;
    const char *at = data;
    while (size) {
        const ssize_t n = write(p->fd, at, size < (1 << 30) ? size : 1 << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return p->reason = n == 0 ? EIO : errno;
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

/* The names in a folder are data of the folder: without this a loss of power may undo the renaming. */
static fa_status flush_folder(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    const int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail("flush the folder of, which is written,", path);
    const bool failed = fsync(fd) && errno != EINVAL; /* a file system that knows no such thing */
    const fa_status status = failed ? fail("flush the folder of, which is written,", path) : FA_OK;
    close(fd);
    return status;
}

/* Everything up to the renaming; the caller removes the temporary file where this fails. */
static fa_status write_temporary(fa_place *p, const fa_net *net, const char *path)
{
    const fa_status status = fa_save_to(net, write_bytes, p);
    if (status == FA_E_IO) {
        errno = p->reason;
        return fail("write", path);
    }
    if (status) return fa_fail_in(status, path);
    if (p->exists && fchmod(p->fd, p->mode)) return fail("set the mode of", path);
    if (fsync(p->fd)) return fail("flush", path);
    return FA_OK;
}

static fa_status save(const fa_net *net, const char *path)
{
    fa_place p;
    FA_TRY(find_place(&p, path));
    p.fd = open(p.temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (p.fd < 0) return fail("write", path);
    fa_status status = write_temporary(&p, net, path);
    int reason = errno;
    if (close(p.fd) && status == FA_OK) {
        status = fail("write", path);
        reason = errno;
    }
    if (status == FA_OK && rename(p.temporary, p.path)) {
        status = fail("replace", path);
        reason = errno;
    }
    if (status == FA_OK) return flush_folder(p.path);
    unlink(p.temporary);
    errno = reason;
    return status;
}

fa_status fa_save(const fa_net *net, const char *path)
{
    FA_GIVEN(net);
    FA_GIVEN(path);
    const int cancel = fa_cancel_off();
    const fa_status status = save(net, path);
    fa_cancel_back(cancel);
    pthread_testcancel();
    return status;
}

/* ---- reading ---- */

typedef struct fa_opened {
    int fd, reason;
} fa_opened;

static fa_status read_bytes(void *user, void *data, size_t size)
{
    fa_opened *o = user;
    for (size_t done = 0; done < size;) {
        const size_t left = size - done;
        const ssize_t n = read(o->fd, (char *)data + done, left < (1 << 30) ? left : 1 << 30);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return o->reason = errno, FA_E_IO;
        if (n == 0) return fa_fail(FA_E_FORMAT, "it was cut while it was read");
        done += (size_t)n;
    }
    return FA_OK;
}

/* With net NULL only looks at it. */
static fa_status read_file(fa_net **net, int *has_checksum, fa_opened *o, const char *path,
                           fa_custom *custom, void *user)
{
    struct stat file;
    if (fstat(o->fd, &file)) return fail("read", path);
    if (!S_ISREG(file.st_mode)) {
        errno = S_ISDIR(file.st_mode) ? EISDIR : EINVAL;
        return fail("read what is no plain file", path);
    }
    const fa_source source = {read_bytes, o, (size_t)file.st_size, NULL};
    const fa_status status =
        net ? fa_load_source(net, &source, custom, user) : fa_check_source(has_checksum, &source);
    if (status == FA_E_IO) {
        errno = o->reason;
        return fail("read", path);
    }
    return status ? fa_fail_in(status, path) : FA_OK;
}

static fa_status open_and_read(fa_net **net, int *has_checksum, const char *path, fa_custom *custom,
                               void *user)
{
    FA_GIVEN(path);
    const int cancel = fa_cancel_off();
    /* a pipe must not make it wait, a terminal not become ours */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const fa_status status =
        fd < 0 ? fail("read", path)
               : read_file(net, has_checksum, &(fa_opened){fd, 0}, path, custom, user);
    const int reason = errno;
    if (fd >= 0) close(fd);
    errno = reason;
    fa_cancel_back(cancel);
    return status;
}

fa_status fa_load_with(fa_net **net, const char *path, fa_custom *custom, void *user)
{
    FA_GIVEN(net);
    return open_and_read(net, NULL, path, custom, user);
}

fa_status fa_load(fa_net **net, const char *path) { return fa_load_with(net, path, NULL, NULL); }

fa_status fa_check_file(int *has_checksum, const char *path)
{ return open_and_read(NULL, has_checksum, path, NULL, NULL); }
