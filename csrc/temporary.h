/* Temporary files, which take the place of another when they are complete. */
#ifndef FA_TEMPORARY_H
#define FA_TEMPORARY_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct fa_temporary {
    int folder, fd;
    char machine[14]; /* part of the names that saves clean up; "": names are random */
    char name[40];    /* "" while it has none */
} fa_temporary;

/* These give false where the system refuses; errno says why. */

/* Makes a new file for writing: nameless where the system can make such files, unless `named`. */
bool fa_temporary_open(fa_temporary *t, int folder, mode_t mode, bool named);
/* Gives it a name, if it has none; fails on systems that make nameless files but cannot name them. */
bool fa_temporary_link(fa_temporary *t);
/* It takes the place of a file of its folder. */
bool fa_temporary_rename(fa_temporary *t, const char *name);
/* Closes it, and removes it where it was not renamed. errno stays. */
void fa_temporary_close(fa_temporary *t);

#endif
