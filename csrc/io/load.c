/* Loads a network from a path; reads the whole file. */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fa_opened {
    int fd, reason;
} fa_opened;

static fa_status read_bytes(void *user, void *data, size_t size)
{
    fa_opened *o = user;
    for (size_t done = 0; done < size;) {
        const size_t left = size - done;
        ssize_t n;
        FA_AGAIN(n, read(o->fd, (char *)data + done, left < (1 << 30) ? left : 1 << 30));
        if (n < 0) return o->reason = errno, FA_E_IO;
        if (n == 0)
            return fa_fail(FA_E_FORMAT, "it became shorter while it was read: load it again");
        done += (size_t)n;
    }
    return FA_OK;
}

/* If net is NULL, only checks the file. */
static fa_status read_file(fa_net **net, int *has_checksum, fa_opened *o, const char *path,
                           fa_custom *custom, void *user)
{
    struct stat file;
    if (fstat(o->fd, &file)) return fa_path_fail(path, "read", "");
    FA_TRY(fa_check_plain(file.st_mode, path, "read"));
    const fa_source source = {read_bytes, o, (size_t)file.st_size, NULL};
    const fa_status status =
        net ? fa_load_source(net, &source, custom, user) : fa_check_source(has_checksum, &source);
    if (status == FA_E_IO) {
        errno = o->reason;
        return fa_path_fail(path, "read", "");
    }
    return status ? fa_path_fail_in(status, path) : FA_OK;
}

static fa_status open_and_read(fa_net **net, int *has_checksum, const char *path, fa_custom *custom,
                               void *user)
{
    FA_REQUIRE(path);
    const int cancel = fa_cancel_off();
    int fd; /* open must not wait on a pipe, nor get a controlling terminal */
    FA_AGAIN(fd, open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    const fa_status status =
        fd < 0 ? fa_path_fail(path, "read", "")
               : read_file(net, has_checksum, &(fa_opened){fd, 0}, path, custom, user);
    const int reason = errno;
    if (fd >= 0) close(fd);
    errno = reason;
    fa_cancel_back(cancel);
    return status;
}

fa_status fa_load_with(fa_net **net, const char *path, fa_custom *custom, void *user)
{
    FA_REQUIRE(net);
    return open_and_read(net, NULL, path, custom, user);
}

fa_status fa_load(fa_net **net, const char *path) { return fa_load_with(net, path, NULL, NULL); }

fa_status fa_check_file(int *has_checksum, const char *path)
{ return open_and_read(NULL, has_checksum, path, NULL, NULL); }
