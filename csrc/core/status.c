/* Status codes, the message of the last failure on each thread, and the log hook. */
#include "core/core.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[512];

/* Characters that a terminal interprets or does not show: control characters, marks of direction or
 * without width, line ends. */
static bool is_hidden(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c ||
           (c >= 0x200b && c < 0x2010) || (c >= 0x2028 && c < 0x202f) ||
           (c >= 0x2060 && c < 0x2070) || c == 0xfeff || (c >= 0xfff9 && c < 0xfffc) ||
           (c >= 0xe0000 && c < 0xe0080);
}

static uint32_t character(const char *at, int n)
{
    const unsigned char *p = (const unsigned char *)at;
    uint32_t c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; i++) c = c << 6 | (p[i] & 0x3f);
    return c;
}

/* Messages contain text from files and callers: replaces every character that is not plain text by
 * '?'. */
static void make_plain(char *text)
{
    char *to = text;
    for (const char *at = text, *end = text + strlen(text); at < end;) {
        const int n = fa_utf8_length(at, end);
        if (n && !is_hidden(character(at, n))) {
            for (int i = 0; i < n; i++) *to++ = *at++;
        } else {
            *to++ = '?';
            at += n ? n : 1; /* an invalid character, or one that was cut off */
        }
    }
    *to = '\0';
}

fa_status fa_fail(fa_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    make_plain(message);
    return status;
}

static void (*log_hook)(void *user, const char *message);
static void *log_user;

void fa_set_log(void (*log)(void *user, const char *message), void *user)
{
    log_hook = log;
    log_user = user;
}

void fa_log(const char *format, ...)
{
    if (!log_hook) return;
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    make_plain(text);
    const int cancel = fa_cancel_off();
    const unsigned ours = fa_fp_pause();
    log_hook(log_user, text);
    fa_fp_resume(ours);
    fa_cancel_back(cancel);
}

fa_status fa_fail_in(fa_status status, const char *where)
{
    enum { MOST = 200 }; /* only the end of a long path, so that the reason still fits */
    char inner[sizeof message];
    snprintf(inner, sizeof inner, "%s", message);
    const size_t size = strlen(where);
    if (size <= MOST) return fa_fail(status, "%s: %s", where, inner);
    return fa_fail(status, "...%s: %s", where + size - MOST, inner);
}

const char *fa_last_error(void) { return message; }

const char *fa_status_name(fa_status status)
{
    switch (status) {
    case FA_OK: return "ok";
    case FA_E_VALUE: return "bad value";
    case FA_E_MEMORY: return "out of memory";
    case FA_E_NONFINITE: return "not finite";
    case FA_E_STOPPED: return "stopped";
    case FA_E_STATE: return "wrong state";
    case FA_E_IO: return "cannot read or write";
    case FA_E_FORMAT: return "not a file of this format";
    case FA_E_END: return "past the end";
    }
    return "unknown status";
}

const char *fa_version(void) { return FASTFA_VERSION; }
int fa_version_number(void) { return FASTFA_VERSION_NUMBER; }
