/* Copies structs of a program that was compiled against this or an older fastfa.h. */
#include "core/core.h"

#include <string.h>

fa_status fa_copy_struct(void *to, size_t size, size_t least, const void *from, const char *what)
{
    if (!from) return fa_fail(FA_E_VALUE, "%s: expected a pointer, got NULL", what);
    size_t stated;
    memcpy(&stated, from, sizeof stated);
    if (stated > size)
        return fa_fail(
            FA_E_VALUE,
            "%s: struct_size: expected at most %zu (fastfa %s), got %zu; compiled against "
            "a newer fastfa.h",
            what, size, FASTFA_VERSION, stated);
    if (stated < least)
        return fa_fail(FA_E_VALUE,
                       "%s: struct_size: expected its sizeof (an initialiser of fastfa.h sets it), "
                       "got %zu",
                       what, stated);
    memcpy(to, from, stated);
    memset((char *)to + stated, 0, size - stated);
    return FA_OK;
}
