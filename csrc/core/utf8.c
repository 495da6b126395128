/* UTF-8 (RFC 3629): texts that files and terminals can show. */
#include "core/core.h"

#include <string.h>

int fa_utf8_length(const char *at, const char *end)
{
    const unsigned char *p = (const unsigned char *)at;
    const int n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n == 0 || p[0] > 0xf4 || end - at < n) return 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xe0 && p[1] < 0xa0) return 0;
    if (p[0] == 0xed && p[1] > 0x9f) return 0;
    if (p[0] == 0xf0 && p[1] < 0x90) return 0;
    if (p[0] == 0xf4 && p[1] > 0x8f) return 0;
    return n;
}

fa_status fa_check_utf8(const char *s, const char *what)
{
    for (const char *end = s + strlen(s); s < end;) {
        const int n = fa_utf8_length(s, end);
        if (n == 0)
            return fa_fail(FA_E_VALUE, "%s: expected UTF-8, got the byte 0x%02x", what,
                           (unsigned)(unsigned char)*s);
        s += n;
    }
    return FA_OK;
}
