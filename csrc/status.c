/* Status codes, the message of the last failure on each thread, and the log hook. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[512];

fa_status fa_fail(fa_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
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
    const int cancel = fa_cancel_off();
    const unsigned ours = fa_fp_pause();
    log_hook(log_user, text);
    fa_fp_resume(ours);
    fa_cancel_back(cancel);
}

fa_status fa_fail_in(fa_status status, const char *where)
{
    char inner[sizeof message];
    snprintf(inner, sizeof inner, "%s", message);
    return fa_fail(status, "%s: %s", where, inner);
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
    }
    return "unknown status";
}

const char *fa_version(void) { return FASTFA_VERSION; }
int fa_version_number(void) { return FASTFA_VERSION_NUMBER; }
