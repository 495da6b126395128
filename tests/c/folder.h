/* A folder for the files of one test program, and a path in it. */
#ifndef FOLDER_H
#define FOLDER_H

#include <dirent.h>
#include <unistd.h>

#include "check.h"

static char folder[] = "/tmp/fastfa-test-XXXXXX", path[64];

static void make_folder(void)
{
    REQUIRE(mkdtemp(folder), "a folder");
    snprintf(path, sizeof path, "%s/net.safetensors", folder);
}

static inline bool is_self(const char *name) { return !strcmp(name, ".") || !strcmp(name, ".."); }

/* Hidden ones too. */
static inline int files_in_folder(void)
{
    int n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir));) n += !is_self(e->d_name);
    closedir(dir);
    return n;
}

static void remove_files(void)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; (e = readdir(dir));)
        if (!is_self(e->d_name)) unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
}

static void remove_folder(void)
{
    remove_files();
    REQUIRE(chdir("/") == 0 && rmdir(folder) == 0, "cleaned up");
}

#endif
