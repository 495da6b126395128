/* Structs of the caller, of this or an older version of fastfa.h. */
#include "core/core.h"

#include <string.h>

fa_status fa_copy_struct(void *mine, size_t size, size_t least, const void *from, const char *what)
{
    if (!from) return fa_fail(FA_E_VALUE, "%s: expected a pointer, got NULL", what);
    size_t given;
    memcpy(&given, from, sizeof given);
    if (given > size)
        return fa_fail(FA_E_VALUE,
                       "%s: struct_size: this library (%s) knows %zu bytes, got %zu: compiled "
                       "against a newer fastfa.h",
                       what, FASTFA_VERSION, size, given);
    if (given < least)
        return fa_fail(FA_E_VALUE,
                       "%s: struct_size: expected its sizeof (an initialiser of fastfa.h sets it), "
                       "got %zu",
                       what, given);
    memcpy(mine, from, given);
    memset((char *)mine + given, 0, size - given);
    return FA_OK;
}
