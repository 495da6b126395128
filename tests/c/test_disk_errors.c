/* Saving and loading on a system whose calls fail: each call once and for good, a kill before each
 * call, and the order in which calls are made. The engine's two files that know the disk are
 * compiled once more, here, with calls that count, are written down, and fail when they should. */
#include "check.h"

#include "api/api.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- the system ---- */

/* clang-format off */
#define CALLS(X)                                                                                   \
    X(stat) X(fstat) X(fstatat) X(open) X(openat) X(readlinkat) X(read) X(write) X(pwrite)         \
    X(flock) X(fchown) X(fchmod) X(fsync) X(syncfs) X(fcntl) X(close) X(linkat) X(renameat)        \
    X(unlinkat) X(fallocate) X(ftruncate) X(getrlimit)
/* clang-format on */
#define AS_CONSTANT(name) CALL_##name,
#define AS_TEXT(name) #name,
enum { CALLS(AS_CONSTANT) N_CALLS };
static const char *const call_names[] = {CALLS(AS_TEXT)};

/* What this system cannot do. */
enum {
    NO_NAMELESS = 1,
    NO_LINK = 2,
    NO_LOCK = 4,
    NO_PROC = 8,
    NO_RENAME = 16,
    NO_FILES = 32,
    NO_LIST = 64,
    NO_STORE = 128 /* as files in /sys: of no file system that stores anything */
};

static struct {
    int lacks, failing, nth, reason, killing, n_all, n_calls[N_CALLS];
    bool for_good, done_first;
    char order[4096];
} sys;
static int open_files;

/* Counts a call; true: it fails, with errno. */
static bool trips(int call)
{
    if (sys.killing == sys.n_all++) raise(SIGKILL);
    const int n = sys.n_calls[call]++;
    if (call != sys.failing || n < sys.nth || (n > sys.nth && !sys.for_good)) return false;
    errno = sys.reason;
    return true;
}

static bool cannot(int what, int why)
{
    if (sys.lacks & what) errno = why;
    return sys.lacks & what;
}

static void note(const char *what)
{
    const size_t size = strlen(sys.order), last = strlen(what) + 1;
    if (size >= last && !strcmp(sys.order + size - last + 1, what) && sys.order[size - last] == ' ')
        return; /* the same once more */
    snprintf(sys.order + size, sizeof sys.order - size, " %s", what);
}

static void note_flush(int fd)
{
    struct stat s;
    note(!fstat(fd, &s) && S_ISDIR(s.st_mode) ? "fsync-folder" : "fsync");
}

/* A system that is interrupted, or repeats a call on its own, may have done what it says that it
 * has not. */
#define HOOK(name, done)                                                                           \
    do {                                                                                           \
        const bool fails = trips(CALL_##name);                                                     \
        const int why = errno;                                                                     \
        if (fails && !sys.done_first) return -1;                                                   \
        const int result = (int)(done);                                                            \
        if (!fails) return result;                                                                 \
        errno = why;                                                                               \
        return -1;                                                                                 \
    } while (0)

static int opened(int fd) { return fd >= 0 ? open_files++, fd : fd; }

static int sys_stat(const char *path, struct stat *s) { HOOK(stat, stat(path, s)); }
static int sys_fstat(int fd, struct stat *s) { HOOK(fstat, fstat(fd, s)); }
static int sys_fstatat(int at, const char *path, struct stat *s, int flags)
{ HOOK(fstatat, fstatat(at, path, s, flags)); }

static int sys_fstatvfs(int fd, struct statvfs *s)
{
    const int failed = fstatvfs(fd, s);
    if (sys.lacks & NO_STORE) s->f_blocks = 0;
    return failed;
}

static int sys_open(const char *path, int flags)
{
    if (trips(CALL_open) || (!strncmp(path, "/proc", 5) && cannot(NO_PROC, ENOENT))) return -1;
    return opened(open(path, flags));
}

static int sys_openat(int at, const char *path, int flags, ...)
{
    const bool nameless = (flags & O_TMPFILE) == O_TMPFILE, makes = nameless || flags & O_CREAT;
    va_list more;
    va_start(more, flags);
    const mode_t mode = makes ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (trips(CALL_openat) || (makes && cannot(NO_FILES, EROFS))) return -1;
    if (nameless && cannot(NO_NAMELESS, EOPNOTSUPP)) return -1;
    if (flags & O_DIRECTORY && !nameless && !(flags & O_PATH) && cannot(NO_LIST, EACCES)) return -1;
    const int fd = opened(openat(at, path, flags, mode));
    if (fd >= 0 && makes) note(nameless ? "nameless" : "named");
    return fd;
}

static ssize_t sys_write(int fd, const void *from, size_t size)
{
    if (trips(CALL_write)) return -1;
    note("write");
    return write(fd, from, size < 1200 ? size : 1200); /* a part of it */
}

static int sys_close(int fd)
{
    open_files--;
    const bool fails = trips(CALL_close);
    const int why = errno;
    close(fd); /* in any case, as Linux does */
    errno = why;
    return -fails;
}

static ssize_t sys_readlinkat(int at, const char *path, char *to, size_t size)
{ HOOK(readlinkat, readlinkat(at, path, to, size)); }
static ssize_t sys_read(int fd, void *to, size_t size) { HOOK(read, read(fd, to, size)); }
static ssize_t sys_pwrite(int fd, const void *from, size_t size, off_t at)
{ HOOK(pwrite, (note("pwrite"), pwrite(fd, from, size, at))); }
static int sys_flock(int fd, int how)
{ HOOK(flock, cannot(NO_LOCK, ENOLCK) ? -1 : flock(fd, how)); }
static int sys_fchown(int fd, uid_t user, gid_t group) { HOOK(fchown, fchown(fd, user, group)); }
static int sys_fchmod(int fd, mode_t mode) { HOOK(fchmod, (note("fchmod"), fchmod(fd, mode))); }
static int sys_fsync(int fd) { HOOK(fsync, (note_flush(fd), 0)); } /* no power is lost here */
static int sys_syncfs(int fd) { HOOK(syncfs, (note("syncfs"), -(fd < 0))); }
static int sys_fcntl(int fd, int what, int from) { HOOK(fcntl, opened(fcntl(fd, what, from))); }
static int sys_linkat(int from, const char *a, int to, const char *b, int flags)
{ HOOK(linkat, cannot(NO_LINK, ENOENT) ? -1 : (note("linkat"), linkat(from, a, to, b, flags))); }
static int sys_renameat(int from, const char *a, int to, const char *b)
{ HOOK(renameat, cannot(NO_RENAME, EBUSY) ? -1 : (note("renameat"), renameat(from, a, to, b))); }
static int sys_unlinkat(int at, const char *path, int flags)
{ HOOK(unlinkat, unlinkat(at, path, flags)); }
static int sys_fallocate(int fd, int how, off_t from, off_t size)
{ HOOK(fallocate, cannot(NO_STORE, EOPNOTSUPP) ? -1 : fallocate(fd, how, from, size)); }
static int sys_ftruncate(int fd, off_t size)
{ HOOK(ftruncate, (note("ftruncate"), ftruncate(fd, size))); }
static int sys_getrlimit(int what, struct rlimit *limit)
{ HOOK(getrlimit, getrlimit(what, limit)); }
static pid_t sys_getpid(void) { return 1; } /* as the first process of a container */

#define stat(...) sys_stat(__VA_ARGS__)
#define fstat(...) sys_fstat(__VA_ARGS__)
#define fstatat(...) sys_fstatat(__VA_ARGS__)
#define open(...) sys_open(__VA_ARGS__)
#define openat(...) sys_openat(__VA_ARGS__)
#define readlinkat(...) sys_readlinkat(__VA_ARGS__)
#define read(...) sys_read(__VA_ARGS__)
#define write(...) sys_write(__VA_ARGS__)
#define pwrite(...) sys_pwrite(__VA_ARGS__)
#define flock(...) sys_flock(__VA_ARGS__)
#define fchown(...) sys_fchown(__VA_ARGS__)
#define fchmod(...) sys_fchmod(__VA_ARGS__)
#define fsync(...) sys_fsync(__VA_ARGS__)
#define syncfs(...) sys_syncfs(__VA_ARGS__)
#define fcntl(...) sys_fcntl(__VA_ARGS__)
#define close(...) sys_close(__VA_ARGS__)
#define linkat(...) sys_linkat(__VA_ARGS__)
#define renameat(...) sys_renameat(__VA_ARGS__)
#define unlinkat(...) sys_unlinkat(__VA_ARGS__)
#define fallocate(...) sys_fallocate(__VA_ARGS__)
#define ftruncate(...) sys_ftruncate(__VA_ARGS__)
#define getrlimit(...) sys_getrlimit(__VA_ARGS__)
#define fstatvfs(...) sys_fstatvfs(__VA_ARGS__)
#define getpid() sys_getpid()
#define fa_temporary_open tested_temporary_open
#define fa_temporary_link tested_temporary_link
#define fa_temporary_rename tested_temporary_rename
#define fa_temporary_close tested_temporary_close
void tested_temporary_close(fa_temporary *t);
bool tested_temporary_open(fa_temporary *t, int folder, mode_t mode, bool named);
bool tested_temporary_link(fa_temporary *t);
bool tested_temporary_rename(fa_temporary *t, const char *name);
#define fa_save tested_save
#define fa_load tested_load
#define fa_load_with tested_load_with
#define fa_check_file tested_check_file
#include "../../csrc/io/temporary.c"
#include "../../csrc/io/save.c"
#include "../../csrc/io/load.c"
#undef fa_save
#undef fa_load
#undef stat
#undef fstat
#undef open
#undef openat
#undef read
#undef write
#undef flock
#undef close
#undef unlinkat
#undef fcntl

static void system_of(int lacking)
{
    sys.lacks = lacking, sys.failing = sys.killing = -1, sys.n_all = 0, sys.done_first = false;
    memset(sys.n_calls, 0, sizeof sys.n_calls);
    sys.order[0] = '\0';
}

/* ---- a folder with one file ---- */

static char base[] = "/tmp/fastfa-test-XXXXXX", path[64];
static fa_net *old, *new;

static fa_net *net_of_seed(uint64_t seed, int64_t hidden)
{
    fa_layer_desc layers[] = {fa_dense(hidden, "tanh"), fa_dense(N_OUT, "linear")};
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = N_IN, desc.layers = layers, desc.n_layers = 2, desc.seed = seed, desc.n_threads = 1;
    return make(&desc);
}

/* Files and folders, hidden ones too; `remove_them` also removes them. */
static int entries(bool remove_them)
{
    int n = 0;
    DIR *dir = opendir(base);
    for (struct dirent *e; (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        n++;
        if (remove_them && unlinkat(dirfd(dir), e->d_name, 0))
            unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR);
    }
    closedir(dir);
    return n;
}

static bool holds(const fa_net *net)
{
    fa_net *there = NULL;
    const bool same = fa_load(&there, path) == FA_OK && same_state(there, net);
    fa_net_free(there);
    return same;
}

static int put_into(void *user, const void *data, size_t size)
{ return fwrite(data, 1, size, user) != size; }

/* The folder has nothing but, perhaps, the old file, of other permissions than new files get, and
 * of another owner where that can be. */
static void start(bool with_file)
{
    entries(true);
    if (!with_file) return;
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fa_save_to(old, put_into, file) == FA_OK && !fclose(file), "a file");
    REQUIRE(!chmod(path, 0662) && (geteuid() || !chown(path, 12, 34)), "its permissions");
}

static bool has_rights(void)
{
    struct stat s;
    return !stat(path, &s) && (s.st_mode & 07777) == 0662 &&
           (geteuid() || (s.st_uid == 12 && s.st_gid == 34));
}

/* ---- every call fails ---- */

typedef struct {
    const char *name;
    int lacks;
    bool file; /* there is one already */
    const char *order;
} machine_kind;

#define BESIDE "write fchmod fsync linkat renameat fsync-folder"
#define IN_PLACE "write fsync write ftruncate fsync pwrite fsync"
static const machine_kind kinds[] = {
    {"everything", 0, true, " nameless " BESIDE},
    {"everything, a new file", 0, false, " nameless write fsync linkat renameat fsync-folder"},
    {"no nameless files", NO_NAMELESS, true, " named write fchmod fsync renameat fsync-folder"},
    {"no name for nameless ones", NO_LINK, true,
     " nameless write fchmod fsync named write fchmod fsync renameat fsync-folder"},
    {"no locks", NO_LOCK, true, " nameless " BESIDE},
    {"no locks, no nameless files", NO_LOCK | NO_NAMELESS, true,
     " named write fchmod fsync renameat fsync-folder"},
    {"no /proc, no nameless files", NO_PROC | NO_NAMELESS, true,
     " named write fchmod fsync renameat fsync-folder"},
    {"a folder that may not be listed", NO_LIST, true,
     " nameless write fchmod fsync linkat renameat syncfs"},
    {"a mounted file", NO_RENAME, true, " nameless write fchmod fsync linkat " IN_PLACE},
    {"a read-only folder", NO_FILES, true, " " IN_PLACE},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

static bool in_place(const machine_kind *k) { return k->lacks & (NO_RENAME | NO_FILES); }

static void test_order(void)
{
    for (int i = 0; i < N_KINDS; i++) {
        const machine_kind *k = &kinds[i];
        start(k->file);
        system_of(k->lacks);
        CHECK(tested_save(new, path) == FA_OK, "%s", k->name);
        CHECK(!strcmp(sys.order, k->order), "%s: %s", k->name, sys.order);
        CHECK(holds(new) && entries(false) == 1 && open_files == 0, "%s", k->name);
        CHECK(!k->file || has_rights(), "%s: permissions", k->name);
    }
}

static void check_failed(const machine_kind *k, fa_status status, const char *what)
{
    const int why = errno;
    const char *said = fa_last_error();
    CHECK(status == FA_E_IO, "%s: %s", what, fa_status_name(status));
    CHECK(strstr(said, path) && strstr(said, strerror(why)), "%s: message", what);
    if (strstr(said, "loss of power")) {
        CHECK(holds(new), "%s: the new file, as it says", what);
    } else if (strstr(said, "lost")) {
        fa_net *none = NULL;
        CHECK(in_place(k) && fa_load(&none, path) == FA_E_FORMAT, "%s: refused by readers", what);
    } else if (k->file) {
        const bool is_said =
            strstr(said, "file is as it was") || strstr(said, "nothing was changed");
        CHECK(is_said && holds(old), "%s: the old file", what);
    } else {
        struct stat s;
        const bool is_said =
            strstr(said, "no file was made") || strstr(said, "nothing was changed");
        CHECK(is_said && stat(path, &s), "%s: no file", what);
    }
}

/* One save in which the n-th call of a kind fails. False: there was no such call. */
static bool fail_in_save(const machine_kind *k, int call, int n, int why, bool always, bool done)
{
    char what[200], *said;
    start(k->file);
    void *state = state_of(new);
    system_of(k->lacks);
    sys.failing = call, sys.nth = n, sys.reason = why, sys.for_good = always, sys.done_first = done;
    const fa_status status = tested_save(new, path);
    const int left = errno;
    const bool met = sys.n_calls[call] > n;
    snprintf(what, sizeof what, "%s: %s %d fails%s%s: %s", k->name, call_names[call], n,
             always ? " for good" : "", done ? " though it is done" : "", strerror(why));
    said = strdup(fa_last_error());
    CHECK(open_files == 0, "%s: %d files are open", what, open_files);
    CHECK(in_state(new, state), "%s: the network is as it was", what);
    errno = left;
    if (status) {
        fa_fail(status, "%s", said);
        errno = left;
        check_failed(k, status, what);
    } else {
        CHECK(holds(new), "%s: saved", what);
    }
    if (call != CALL_unlinkat)
        CHECK(entries(false) == (k->file || !status || strstr(said, "loss of power")),
              "%s: nothing is left", what);
    system_of(k->lacks); /* and when nothing fails any more */
    CHECK(tested_save(new, path) == FA_OK && holds(new), "%s: saved afterwards", what);
    if (k->lacks == 0) CHECK(entries(false) == 1, "%s: nothing is left then", what);
    free(state), free(said);
    return met;
}

static void test_each_call_of_a_save_fails(void)
{
    static const int reasons[] = {EIO, EACCES, EINTR};
    for (int i = 0; i < N_KINDS; i++)
        for (int call = 0; call < N_CALLS; call++)
            for (int r = 0; r < 3; r++) {
                int n = 0;
                while (fail_in_save(&kinds[i], call, n, reasons[r], false, false)) n++;
                fail_in_save(&kinds[i], call, 0, reasons[r], true, false);
                fail_in_save(&kinds[i], call, n / 2, reasons[r], true, false);
            }
}

/* Interrupted once, or for good, a save ends; once, it succeeds. */
static void test_interrupted(void)
{
    static const int calls[] = {CALL_openat, CALL_write,  CALL_fsync,
                                CALL_fchmod, CALL_linkat, CALL_renameat};
    for (int i = 0; i < 6; i++) {
        start(true);
        system_of(0);
        sys.failing = calls[i], sys.nth = 0, sys.reason = EINTR, sys.for_good = false;
        CHECK(tested_save(new, path) == FA_OK && holds(new), "%s", call_names[calls[i]]);
    }
    CHECK(fail_in_save(&kinds[0], CALL_renameat, 0, EINTR, false, true) && holds(new),
          "renamed all the same");
    CHECK(fail_in_save(&kinds[0], CALL_linkat, 0, EINTR, false, true) && holds(new),
          "linked all the same");
}

static void test_each_call_of_a_load_fails(void)
{
    static const int reasons[] = {EIO, EINTR, EACCES};
    start(true);
    for (int call = 0; call < N_CALLS; call++)
        for (int r = 0; r < 6; r++)
            for (int n = 0; n < 40; n++) {
                fa_net *net = NULL;
                system_of(0);
                sys.failing = call, sys.nth = n, sys.reason = reasons[r / 2], sys.for_good = r % 2;
                const fa_status status = tested_load(&net, path);
                const int why = errno;
                if (sys.n_calls[call] <= n) {
                    fa_net_free(net);
                    break;
                }
                CHECK(open_files == 0, "%s %d", call_names[call], n);
                CHECK(status == FA_OK ? same_state(net, old)
                                      : status == FA_E_IO && !net && why == sys.reason,
                      "%s %d", call_names[call], n);
                if (status)
                    CHECK(strstr(fa_last_error(), path) && strstr(fa_last_error(), strerror(why)),
                          "message");
                CHECK(status == FA_OK || sys.reason != EINTR || sys.for_good || call == CALL_fstat,
                      "%s: interrupted once", call_names[call]);
                fa_net_free(net);
            }
}

static void test_files_of_the_kernel(void)
{
    start(true);
    system_of(NO_FILES | NO_STORE);
    CHECK(tested_save(new, path) == FA_E_IO && errno == EINVAL, "refused");
    CHECK(strstr(fa_last_error(), "the file is as it was") && holds(old), "nothing was written");
    system_of(NO_FILES);
    sys.failing = CALL_fallocate, sys.nth = 0, sys.reason = EOPNOTSUPP;
    CHECK(tested_save(new, path) == FA_OK && holds(new), "a disk where space cannot be reserved");
}

/* ---- a kill before every call ---- */

static void test_killed_before_each_call(void)
{
    for (int i = 0; i < N_KINDS; i++) {
        const machine_kind *k = &kinds[i];
        bool ended = false;
        int left = 0;
        start(k->file);
        for (int n = 0; n < 400 && !ended; n++) {
            int status;
            fflush(stdout);
            const pid_t child = fork();
            REQUIRE(child >= 0, "fork");
            if (child == 0) {
                system_of(k->lacks);
                sys.killing = n;
                _exit(tested_save(new, path) ? 1 : 0);
            }
            REQUIRE(waitpid(child, &status, 0) == child, "wait");
            ended = WIFEXITED(status);
            CHECK(!ended || WEXITSTATUS(status) == 0, "%s: saved beside what is left", k->name);
            struct stat s;
            const bool there = !stat(path, &s);
            if (in_place(k) && !ended) {
                fa_net *net = NULL;
                CHECK(holds(old) || holds(new) || fa_load(&net, path) == FA_E_FORMAT,
                      "%s: no mixture", k->name);
            } else {
                CHECK(there ? holds(old) || holds(new) : !k->file, "%s: whole, killed at call %d",
                      k->name, n);
            }
            left += entries(false) > there;
            const int most = k->lacks & (NO_LOCK | NO_PROC) ? INT_MAX : there + 1;
            CHECK(entries(false) <= most, "%s: leftovers do not pile up", k->name);
            if (k->lacks & (NO_LOCK | NO_PROC)) start(k->file);
        }
        CHECK(ended, "%s: every call was met", k->name);
        CHECK(k->lacks & (NO_LOCK | NO_PROC) || entries(false) == 1,
              "%s: the save that ends leaves nothing", k->name);
        CHECK(k->lacks ? 1 : left <= 3, "%s: %d kills left a file: the moment of renaming only",
              k->name, left);
    }
}

/* ---- names in use ---- */

static void hold_name(int held[], int i)
{
    char name[100];
    fa_temporary t = {.folder = -1};
    read_machine(t.machine);
    choose_name(&t, i);
    snprintf(name, sizeof name, "%s/%s", base, t.name);
    held[i] = open(name, O_WRONLY | O_CREAT, 0600);
    REQUIRE(held[i] >= 0 && !flock(held[i], LOCK_EX), "a file that another save writes");
}

static void test_names_in_use(void)
{
    int held[SHARED_NAMES];
    for (int i = 0; i < N_KINDS; i++) {
        if (in_place(&kinds[i]) || kinds[i].lacks & (NO_PROC | NO_LOCK)) continue;
        start(true);
        for (int h = 0; h < SHARED_NAMES; h++) hold_name(held, h);
        system_of(kinds[i].lacks);
        CHECK(tested_save(new, path) == FA_OK && holds(new), "%s: all names in use", kinds[i].name);
        CHECK(entries(false) == 1 + SHARED_NAMES, "%s: those who live keep theirs", kinds[i].name);
        for (int h = 0; h < SHARED_NAMES; h++) close(held[h]);
        CHECK(tested_save(old, path) == FA_OK && holds(old), "%s: all are dead", kinds[i].name);
        CHECK(entries(false) == 1, "%s: what they left is removed", kinds[i].name);
    }
}

/* What stands there and is no file of ours is passed over. */
static void test_names_of_others(void)
{
    int held[1];
    char name[100];
    start(true);
    hold_name(held, 0);
    close(held[0]);
    fa_temporary t = {.folder = -1};
    read_machine(t.machine);
    for (int i = 0; i < 3; i++) {
        choose_name(&t, i);
        snprintf(name, sizeof name, "%s/%s", base, t.name);
        unlink(name);
        REQUIRE(i == 0   ? !mkdir(name, 0700)
                : i == 1 ? !symlink(path, name)
                         : !mkfifo(name, 0600),
                "something of that name");
    }
    for (int i = 0; i < 3; i++) {
        system_of(kinds[2 * (i % 2)].lacks);
        CHECK(tested_save(i % 2 ? old : new, path) == FA_OK && holds(i % 2 ? old : new), "saved");
        CHECK(entries(false) == 4, "they stay");
    }
    entries(true);
    snprintf(name, sizeof name, "%s/net.tmp-1-0", base); /* of version 0.1.0 */
    REQUIRE(close(open(name, O_WRONLY | O_CREAT, 0600)) == 0, "a file");
    system_of(0);
    CHECK(tested_save(new, path) == FA_OK && entries(false) == 2, "somebody's file stays");
}

int main(void)
{
    REQUIRE(mkdtemp(base), "a folder");
    snprintf(path, sizeof path, "%s/net", base);
    old = net_of_seed(1, 5), new = net_of_seed(2, 7);
    RUN(test_order);
    RUN(test_each_call_of_a_save_fails);
    RUN(test_interrupted);
    RUN(test_each_call_of_a_load_fails);
    RUN(test_files_of_the_kernel);
    RUN(test_killed_before_each_call);
    RUN(test_names_in_use);
    RUN(test_names_of_others);
    entries(true);
    REQUIRE(rmdir(base) == 0, "cleaned up");
    fa_net_free(old), fa_net_free(new);
    return finish();
}
