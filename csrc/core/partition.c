/* Cuts that several threads agree on. */
#include "core/core.h"

enum { LINE = 16 }; /* floats in a cache line */

int64_t fa_partition(int64_t cols, int64_t i, int64_t parts)
{
    const int64_t cut = (cols * i / parts + LINE / 2) / LINE * LINE;
    return i == parts || cut > cols ? cols : cut;
}

int64_t fa_partition_width(int64_t cols, int64_t parts)
{
    const int64_t width = (cols + parts - 1) / parts + LINE;
    return width < cols ? width : cols;
}
