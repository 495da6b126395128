/* The process: its environment, its threads, its clock. */
#include "core/core.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

static atomic_int chosen_threads; /* 0: by environment and machine */

bool fa_privileged(void)
{
#ifdef __linux__
    return getauxval(AT_SECURE) != 0;
#else
    return getuid() != geteuid() || getgid() != getegid();
#endif
}

const char *fa_environment(const char *name) { return fa_privileged() ? NULL : getenv(name); }

/* OpenMP's own variable may list a number for each level of nesting, and a number larger than we
 * can use. */
static int from_environment(const char *name, bool openmp)
{
    const char *text = fa_environment(name);
    if (!text || !*text) return 0;
    char *end, got[33];
    const long n = strtol(text, &end, 10);
    const bool is_number = end != text;
    while (isspace((unsigned char)*end)) end++;
    if (is_number && n >= 1 && (!*end || (openmp && *end == ','))) {
        if (n <= FA_MAX_THREADS) return (int)n;
        if (openmp) return FA_MAX_THREADS;
    }
    snprintf(got, sizeof got, "%s", text);
    fa_log("%s: expected 1 to %d, got '%s'; ignored", name, FA_MAX_THREADS, got);
    return 0;
}

#ifdef __linux__
/* The affinity of the main thread stands for the process: the calling thread may have been bound to
 * a core. */
static bool processors(cpu_set_t *set)
{
    return sched_getaffinity(getpid(), sizeof *set, set) == 0 ||
           sched_getaffinity(0, sizeof *set, set) == 0;
}

void fa_use_process_affinity(void)
{
    cpu_set_t set;
    if (processors(&set)) sched_setaffinity(0, sizeof set, &set);
}
#else
void fa_use_process_affinity(void) {}
#endif

static int affinity(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (processors(&set)) return CPU_COUNT(&set);
#endif
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

static int machine_threads(void)
{
    int n = from_environment("FASTFA_NUM_THREADS", false);
    if (!n) n = from_environment("OMP_NUM_THREADS", true);
    if (n) return n;
    n = affinity();
    const int limit = fa_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    if (limit && limit < n) n = limit;
    return n < FA_MAX_THREADS ? n : FA_MAX_THREADS;
}

int fa_get_num_threads(void)
{
    static atomic_int machine;
    const int chosen = atomic_load(&chosen_threads);
    if (chosen) return chosen;
    int n = atomic_load(&machine);
    if (!n) atomic_store(&machine, n = machine_threads());
    return n;
}

fa_status fa_set_num_threads(int n)
{
    if (n < 0 || n > FA_MAX_THREADS)
        return fa_fail(FA_E_VALUE, "threads: expected 0 (default) to %d, got %d", FA_MAX_THREADS,
                       n);
    atomic_store(&chosen_threads, n);
    return FA_OK;
}

double fa_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
