/* Messages about a path. */
#include "io/io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { SHOWN_BYTES = 256 };

/* The path for a message; of a long path only the end. */
static const char *show(char shown[SHOWN_BYTES], const char *path)
{
    const size_t size = strlen(path);
    const char *from = size < SHOWN_BYTES ? path : path + size - (SHOWN_BYTES - 4);
    while (from > path && (*from & 0xc0) == 0x80) from++; /* not in the middle of a character */
    snprintf(shown, SHOWN_BYTES, "%s%s", from > path ? "..." : "", from);
    return shown;
}

/* The message names the file, the failed action, the reason, and the present contents of the path.
 * Does not change errno. */
fa_status fa_path_fail(const char *path, const char *what, const char *now)
{
    char shown[SHOWN_BYTES];
    const int reason = errno;
    fa_fail(FA_E_IO, "%s: cannot %s: %s%s", show(shown, path), what, strerror(reason), now);
    errno = reason;
    return FA_E_IO;
}

fa_status fa_path_fail_in(fa_status status, const char *path)
{
    char shown[SHOWN_BYTES];
    return fa_fail_in(status, show(shown, path));
}

/* Only plain files are written and read. */
fa_status fa_check_plain(mode_t mode, const char *path, const char *what)
{
    if (S_ISREG(mode)) return FA_OK;
    char kind[32];
    snprintf(kind, sizeof kind, "%s a %s", what,
             S_ISDIR(mode)    ? "folder"
             : S_ISFIFO(mode) ? "pipe"
             : S_ISSOCK(mode) ? "socket"
                              : "device");
    errno = S_ISDIR(mode) ? EISDIR : EINVAL;
    return fa_path_fail(path, kind, "; expected a plain file");
}
