/* The CPU quota that the control groups set for this process: a container may see more processors
 * than it may use. Every group from the process's own up to the root may have a quota, in version 2
 * (cpu.max) and in version 1. */
#include "core/core.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LONGEST_NAME = 32 }; /* of a file of a group */

static bool read_text(char *text, size_t size, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(fd, text + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    close(fd);
    text[n] = '\0';
    return n > 0;
}

/* Reads a number and returns what follows it; NULL for anything else, such as "max". */
static const char *read_number(long long *number, const char *text)
{
    char *end;
    *number = strtoll(text, &end, 10);
    return end != text && (*end == ' ' || *end == '\n' || !*end) ? end : NULL;
}

static const char *read_file(char text[64], char *folder, const char *name)
{
    char *end = folder + strlen(folder);
    snprintf(end, LONGEST_NAME, "/%s", name);
    const bool there = read_text(text, 64, folder);
    *end = '\0';
    return there ? text : "";
}

/* The quota of one group in processors, rounded up; 0: none. */
static long long quota_of(char *folder, bool version_2)
{
    char text[64];
    long long time, period;
    const char *rest =
        read_number(&time, read_file(text, folder, version_2 ? "cpu.max" : "cpu.cfs_quota_us"));
    if (!rest) return 0;
    if (!version_2) rest = read_file(text, folder, "cpu.cfs_period_us");
    if (!read_number(&period, rest) || time <= 0 || period <= 0) return 0;
    return (time - 1) / period + 1;
}

static void lower(long long *least, long long quota)
{
    if (quota && (!*least || quota < *least)) *least = quota;
}

/* The smallest quota of a group and of those above it. In a container the path may exist only on
 * the host; then the container's group is the root of the tree that it sees. */
static long long least_quota(const char *root, const char *group, bool version_2)
{
    char folder[PATH_MAX];
    const size_t top = strlen(root);
    const int n = snprintf(folder, sizeof folder, "%s%s", root, group);
    size_t length = n < PATH_MAX - LONGEST_NAME && !strstr(group, "..") ? (size_t)n : top;
    long long least = 0;
    for (;; length--) {
        if (length > top && folder[length] != '/' && folder[length]) continue;
        folder[length] = '\0';
        lower(&least, quota_of(folder, version_2));
        if (length <= top) return least;
    }
}

static bool has_word(const char *list, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ',') && (!at[length] || at[length] == ',')) return true;
    return false;
}

/* One line of /proc/self/cgroup: number:controllers:path, version 2 without controllers. */
static long long quota_of_line(const char *mounts, char *line)
{
    char *controllers = strchr(line, ':'),
         *group = controllers ? strchr(controllers + 1, ':') : NULL;
    char root[256];
    long long least = 0;
    if (!group) return 0;
    *group++ = '\0';
    controllers++;
    if (*controllers && !has_word(controllers, "cpu")) return 0;
    const char *const folders[2] = {*controllers ? "/cpu" : "",
                                    *controllers ? controllers : "unified"};
    for (int i = 0; i < 2; i++) {
        const int n = snprintf(root, sizeof root, i ? "%s/%s" : "%s%s", mounts, folders[i]);
        if (n < (int)sizeof root) lower(&least, least_quota(root, group, !*controllers));
    }
    return least;
}

int fa_quota(const char *groups, const char *mounts)
{
    char text[4096];
    long long least = 0;
    const int cancel = fa_cancel_off();
    if (!read_text(text, sizeof text, groups)) strcpy(text, "0::/\n1:cpu:/\n");
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) lower(&least, quota_of_line(mounts, line));
    fa_cancel_back(cancel);
    return least < INT_MAX ? (int)least : INT_MAX;
}
