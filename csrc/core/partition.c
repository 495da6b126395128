/* The division of columns among threads, at cache lines. */
#include "core/core.h"

enum { LINE = 16 }; /* floats in a cache line */

int64_t fa_partition(int64_t cols, int64_t i, int64_t parts)
{
    const int64_t column = (cols * i / parts + LINE / 2) / LINE * LINE;
    return i == parts || column > cols ? cols : column;
}

int64_t fa_partition_width(int64_t cols, int64_t parts)
{
    const int64_t width = fa_ceil_div(cols, parts) + LINE;
    return width < cols ? width : cols;
}
