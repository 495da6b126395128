/* Files on a disk: whatever happens while one is written, the path holds the old one or the new
 * one, whole. */
#include "check.h"
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static fa_net *net_of_seed(uint64_t seed, int64_t hidden)
{
    fa_layer_desc layers[] = {fa_dense(hidden, "tanh"), fa_dense(N_OUT, "linear")};
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = N_IN, desc.layers = layers, desc.n_layers = 2, desc.seed = seed;
    const fa_optimizer_desc adam = fa_optimizer_of("adam", 0.1);
    desc.optimizer = &adam;
    return make(&desc);
}

static fa_net *load(const char *from)
{
    fa_net *net = NULL;
    CHECK(fa_load(&net, from) == FA_OK, "load %s", from);
    return net;
}

static bool holds(const char *from, const fa_net *net)
{
    fa_net *there = load(from);
    const bool same = there && same_state(there, net);
    fa_net_free(there);
    return same;
}

static void test_save_and_load(void)
{
    fa_net *net = net_of_seed(1, 30), *other = net_of_seed(2, 30);
    CHECK(fa_save(net, path) == FA_OK && holds(path, net), "a new file");
    CHECK(fa_save(other, path) == FA_OK && holds(path, other), "in place of an old one");
    CHECK(files_in_folder() == 1, "nothing else is left");

    struct stat s;
    chmod(path, 0640);
    CHECK(fa_save(net, path) == FA_OK && !stat(path, &s) && (s.st_mode & 0777) == 0640, "mode");
    unlink(path);
    const mode_t mask = umask(027);
    CHECK(fa_save(net, path) == FA_OK && !stat(path, &s) && (s.st_mode & 0777) == 0640, "umask");
    umask(mask);

    char link_path[80];
    snprintf(link_path, sizeof link_path, "%s/link", folder);
    REQUIRE(symlink(path, link_path) == 0, "symlink");
    CHECK(fa_save(other, link_path) == FA_OK && holds(path, other), "through a link");
    CHECK(!lstat(link_path, &s) && S_ISLNK(s.st_mode), "which stays");
    remove_files();

    /* second -> link -> the path, where nothing is yet: made there, like `> link` in a shell */
    char second[80];
    snprintf(second, sizeof second, "%s/second", folder);
    REQUIRE(symlink(path, link_path) == 0 && symlink("link", second) == 0, "symlinks");
    CHECK(fa_save(net, second) == FA_OK && holds(path, net), "through links to nothing");
    CHECK(!lstat(link_path, &s) && S_ISLNK(s.st_mode), "which stay");
    CHECK(!lstat(second, &s) && S_ISLNK(s.st_mode) && files_in_folder() == 3, "nothing is left");
    remove_files();
    REQUIRE(symlink("no/folder", link_path) == 0, "symlink");
    CHECK(fa_save(net, link_path) == FA_E_IO && errno == ENOENT, "into no folder");
    CHECK(!lstat(link_path, &s) && S_ISLNK(s.st_mode), "the link stays");
    remove_files();

    REQUIRE(chdir(folder) == 0, "chdir");
    CHECK(fa_save(net, "here.safetensors") == FA_OK && holds("here.safetensors", net), "no folder");
    remove_files();
    fa_net_free(net), fa_net_free(other);
}

static void check_io(fa_status status, int reason, const char *named)
{
    CHECK(status == FA_E_IO && errno == reason, "%s: %s, errno %d, expected %d", named,
          fa_status_name(status), errno, reason);
    CHECK(strstr(fa_last_error(), named) && strstr(fa_last_error(), strerror(reason)), "message");
}

static void test_paths_that_cannot_be(void)
{
    fa_net *net = net_of_seed(1, 30), *none = NULL;
    char long_path[5000], fifo[80];
    check_io(fa_save(net, "/nowhere/at/all"), ENOENT, "/nowhere/at/all");
    check_io(fa_save(net, folder), EISDIR, folder);
    check_io(fa_save(net, "/dev/null"), EINVAL, "/dev/null");
    check_io(fa_save(net, ""), ENOENT, "");
    check_io(fa_load(&none, "/nowhere/at/all"), ENOENT, "/nowhere/at/all");
    check_io(fa_load(&none, folder), EISDIR, folder);
    check_io(fa_load(&none, "/dev/zero"), EINVAL, "/dev/zero");
    memset(long_path, 'a', sizeof long_path - 1), long_path[sizeof long_path - 1] = '\0';
    CHECK(fa_save(net, long_path) == FA_E_IO && errno == ENAMETOOLONG, "a long path");
    snprintf(fifo, sizeof fifo, "%s/fifo", folder);
    REQUIRE(mkfifo(fifo, 0600) == 0, "fifo");
    check_io(fa_load(&none, fifo), EINVAL, fifo); /* and does not wait for a writer */
    check_io(fa_save(net, fifo), EINVAL, fifo);
    CHECK(strstr(fa_last_error(), "a pipe"), "what it is");
    check_io(fa_save(net, "/dev/null/net"), ENOTDIR, "/dev/null/net");
    snprintf(fifo, sizeof fifo, "%s/loop\x1b[31m", folder);
    REQUIRE(symlink(fifo, fifo) == 0, "a link to itself");
    CHECK(fa_save(net, fifo) == FA_E_IO && errno == ELOOP, "a loop of links");
    CHECK(!strchr(fa_last_error(), '\x1b'), "a message that no terminal obeys");
    CHECK(fa_save(NULL, path) == FA_E_VALUE && fa_save(net, NULL) == FA_E_VALUE, "NULL");
    CHECK(fa_load(NULL, path) == FA_E_VALUE && fa_load(&none, NULL) == FA_E_VALUE, "NULL");
    CHECK(!none, "no network came");
    remove_files();
    fa_net_free(net);
}

/* ---- names and paths of any length that the system takes ---- */

static void test_long_names(void)
{
    fa_net *nets[2] = {net_of_seed(1, 30), net_of_seed(2, 30)};
    char long_path[400];
    const int at = snprintf(long_path, sizeof long_path, "%s/", folder);
    for (int length = 200; length <= NAME_MAX; length++) {
        memset(long_path + at, 'x', (size_t)length);
        long_path[at + length] = '\0';
        for (int i = 0; length % 2 && i < 127; i++) memcpy(long_path + at + 2 * i, "é", 2);
        CHECK(fa_save(nets[length % 2], long_path) == FA_OK && files_in_folder() == 1, "%d bytes",
              length);
        if (length == NAME_MAX) {
            CHECK(holds(long_path, nets[1]), "a new file");
            CHECK(fa_save(nets[0], long_path) == FA_OK && holds(long_path, nets[0]), "replaced");
        }
        unlink(long_path);
    }
    memset(long_path + at, 'x', NAME_MAX + 1);
    long_path[at + NAME_MAX + 1] = '\0';
    CHECK(fa_save(nets[0], long_path) == FA_E_IO && errno == ENAMETOOLONG, "one byte too many");
    fa_net_free(nets[0]), fa_net_free(nets[1]);
}

static void test_long_paths(void)
{
    fa_net *net = net_of_seed(1, 30), *other = net_of_seed(2, 30);
    char part[201], *whole = malloc(2 * PATH_MAX);
    memset(part, 'p', 200), part[200] = '\0';
    size_t size = (size_t)snprintf(whole, PATH_MAX, "%s", folder);
    REQUIRE(chdir(folder) == 0, "chdir");
    int depth = 0;
    for (; depth < 25; depth++) { /* deeper than a path may be long */
        REQUIRE(mkdir(part, 0700) == 0 && chdir(part) == 0, "a folder");
        if (size + 201 + 2 < PATH_MAX)
            size += (size_t)snprintf(whole + size, PATH_MAX - size, "/%s", part);
    }
    CHECK(fa_save(net, "net") == FA_OK && holds("net", net), "in a folder without a path");
    REQUIRE(symlink("net", "link") == 0, "symlink");
    CHECK(fa_save(other, "link") == FA_OK && holds("net", other), "through a link there");
    unlink("net"), unlink("link");

    const size_t left = PATH_MAX - 1 - size; /* the longest path of all */
    whole[size] = '/', memset(whole + size + 1, 'n', left - 1), whole[size + left] = '\0';
    CHECK(strlen(whole) == PATH_MAX - 1 && fa_save(net, whole) == FA_OK, "%zu bytes", size + left);
    CHECK(fa_save(other, whole) == FA_OK && holds(whole, other), "replaced");
    CHECK(unlink(whole) == 0, "it was there");
    CHECK(fa_save(net, strcat(whole, "n")) == FA_E_IO && errno == ENAMETOOLONG,
          "one byte too many");
    CHECK(strstr(fa_last_error(), strerror(ENAMETOOLONG)), "the message has the reason");
    for (; depth > 0; depth--) REQUIRE(chdir("..") == 0 && rmdir(part) == 0, "cleaned up");
    free(whole);
    fa_net_free(net), fa_net_free(other);
}

static void test_permissions(void)
{
    static const mode_t modes[] = {0644, 0600, 0440, 0666, 0207, 0755};
    fa_net *net = net_of_seed(1, 30);
    struct stat s;
    const mode_t mask = umask(022);
    for (int i = 0; i < 6; i++) {
        CHECK(fa_save(net, path) == FA_OK && !stat(path, &s) && (s.st_mode & 07777) == 0644, "new");
        chmod(path, modes[i]);
        CHECK(fa_save(net, path) == FA_OK && !stat(path, &s) && (s.st_mode & 07777) == modes[i],
              "%o kept", (unsigned)modes[i]);
        remove_files();
    }
    umask(mask);
    fa_net_free(net);
}

static void test_files_that_are_something_else(void)
{
    static const char *const texts[] = {"", "fastfa", "not a network, but longer than ten bytes",
                                        "\x02\0\0\0\0\0\0\0{}",
                                        "\xff\xff\xff\xff\xff\xff\xff\x7f{}"};
    static const size_t sizes[] = {0, 6, 40, 10, 10};
    fa_net *net = NULL;
    for (int i = 0; i < 5; i++) {
        const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        REQUIRE(write(fd, texts[i], sizes[i]) == (ssize_t)sizes[i] && !close(fd), "write");
        CHECK(fa_load(&net, path) == FA_E_FORMAT && !net, "bytes of kind %d", i);
        CHECK(strstr(fa_last_error(), path) && strstr(fa_last_error(), "not a fastfa network"),
              "the message names the file");
    }
    REQUIRE(truncate(path, (off_t)1 << 40) == 0,
            "a terabyte of nothing"); /* a hole, it takes no room */
    CHECK(fa_load(&net, path) == FA_E_FORMAT && !net, "refused by its first bytes");
    remove_files();
}

/* ---- a full disk: the system refuses bytes beyond a limit, or the folder lies in a small file
 * system ---- */

static void test_disk_fills_up(void)
{
    fa_net *old = net_of_seed(1, 30), *new = net_of_seed(2, 40);
    struct rlimit before, now;
    struct stat file;
    REQUIRE(fa_save(new, path) == FA_OK && !stat(path, &file), "save");
    REQUIRE(fa_save(old, path) == FA_OK, "save");
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0, "limit");
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 0; room < (rlim_t)file.st_size; room += room < 4000 ? 501 : 3001) {
        now = (struct rlimit){room, before.rlim_max};
        REQUIRE(setrlimit(RLIMIT_FSIZE, &now) == 0, "limit");
        const fa_status status = fa_save(new, path);
        const int reason = errno;
        setrlimit(RLIMIT_FSIZE, &before); /* the message goes to a file too */
        errno = reason;
        check_io(status, EFBIG, path);
        CHECK(holds(path, old), "the old file is whole with room for %d bytes", (int)room);
        CHECK(files_in_folder() == 1, "and nothing else is left");
    }
    CHECK(fa_save(new, path) == FA_OK && holds(path, new), "with room again");
    signal(SIGXFSZ, SIG_DFL);
    remove_files();
    fa_net_free(old), fa_net_free(new);
}

static bool put_text(const char *file, const char *text)
{
    const int fd = open(file, O_WRONLY);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0;
}

static bool become_root_of_my_own(void)
{
    char users[32], groups[32];
    snprintf(users, sizeof users, "0 %d 1", (int)getuid());
    snprintf(groups, sizeof groups, "0 %d 1", (int)getgid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && put_text("/proc/self/uid_map", users) &&
           put_text("/proc/self/setgroups", "deny") && put_text("/proc/self/gid_map", groups);
}

/* The same on a file system of 256 KiB, in a child with its own mounts. Exit status 0: passed, 77:
 * the system does not allow such a child. */
static int fill_small_disk(fa_net *old, fa_net *large)
{
    if (unshare(CLONE_NEWNS) && !become_root_of_my_own()) return 77;
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (mount("none", folder, "tmpfs", 0, "size=256k")) return 77;
    if (fa_save(old, path)) return 1;
    if (fa_save(large, path) != FA_E_IO || errno != ENOSPC) return 2;
    if (!strstr(fa_last_error(), "No space left")) return 3;
    if (!holds(path, old)) return 4;
    return files_in_folder() == 1 ? 0 : 5;
}

static void test_small_disk(void)
{
    fa_net *old = net_of_seed(1, 30), *large = net_of_seed(2, 2000);
    int status;
    fflush(stdout);
    const pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) _exit(fill_small_disk(old, large));
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status), "wait");
    if (WEXITSTATUS(status) == 77)
        printf(
            "      no small file system may be mounted here: only the limit on sizes is tested\n");
    else
        CHECK(WEXITSTATUS(status) == 0, "check %d of fill_small_disk", WEXITSTATUS(status));
    fa_net_free(old), fa_net_free(large);
}

/* ---- where no file can take another's place ---- */

static bool has_become_nobody(void) { return geteuid() || (!setgid(65534) && !setuid(65534)); }

static int save_into_unwritable(fa_net *old, fa_net *new)
{
    char other[80];
    if (fa_save(old, path) || chmod(path, 0666) || chmod(folder, 0555)) return 1;
    if (!has_become_nobody()) return 2;
    if (fa_save(new, path) || !holds(path, new)) return 3;
    snprintf(other, sizeof other, "%s/other", folder);
    if (fa_save(new, other) != FA_E_IO || errno != EACCES) return 4; /* a new file cannot be */
    if (!strstr(fa_last_error(), "no file was made")) return 5;
    return 0;
}

static int save_onto_unwritable(fa_net *old, fa_net *new)
{
    if (fa_save(old, path) || chmod(path, 0444) || chmod(folder, 0555)) return 1;
    if (!has_become_nobody()) return 2;
    if (fa_save(new, path) != FA_E_IO || errno != EACCES) return 3;
    if (!strstr(fa_last_error(), "the file is as it was")) return 4;
    return holds(path, old) ? 0 : 5;
}

static int save_into_unlisted(fa_net *old, fa_net *new)
{
    if (fa_save(old, path) || chmod(path, 0666)) return 1;
    if (geteuid() == 0 && chown(folder, 65534, 65534)) return 2;
    if (chmod(folder, 0300)) return 3;
    if (!has_become_nobody()) return 4;
    return fa_save(new, path) || !holds(path, new) ? 5 : 0;
}

/* A file of another user in a folder like /tmp. */
static int save_into_sticky(fa_net *old, fa_net *new)
{
    struct stat before, after;
    if (geteuid()) return 77;
    if (fa_save(old, path) || chmod(path, 0666) || chmod(folder, 01777)) return 1;
    if (!has_become_nobody() || stat(path, &before)) return 2;
    if (fa_save(new, path) || !holds(path, new)) return 3;
    return stat(path, &after) || after.st_ino != before.st_ino || files_in_folder() != 1 ? 4 : 0;
}

static int save_onto_mounted(fa_net *old, fa_net *new)
{
    char source[80];
    snprintf(source, sizeof source, "%s/source", folder);
    if (fa_save(old, source) || fa_save(old, path)) return 1;
    if (unshare(CLONE_NEWNS) && !become_root_of_my_own()) return 77;
    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    if (mount(source, path, NULL, MS_BIND, NULL)) return 77;
    if (fa_save(new, path)) return 2;
    if (!holds(path, new) || !holds(source, new)) return 3;
    return files_in_folder() == 2 ? 0 : 4;
}

/* A file that is open and has no name any more. */
static int save_onto_nameless(fa_net *old, fa_net *new)
{
    char name[40];
    if (fa_save(old, path)) return 1;
    const int fd = open(path, O_RDWR);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    if (access(name, F_OK)) return 77;
    unlink(path);
    if (fa_save(new, name)) return 2;
    if (!holds(name, new)) return 3;
    return files_in_folder() == 0 ? 0 : 4;
}

static void test_places(void)
{
    static const struct {
        const char *name;
        int (*save)(fa_net *old, fa_net *new);
    } places[] = {{"a folder without write permission", save_into_unwritable},
                  {"nor the file", save_onto_unwritable},
                  {"a folder that may not be listed", save_into_unlisted},
                  {"a sticky folder", save_into_sticky},
                  {"a mounted file", save_onto_mounted},
                  {"a file without a name", save_onto_nameless}};
    fa_net *old = net_of_seed(1, 30), *new = net_of_seed(2, 40);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int status;
        fflush(stdout);
        const pid_t child = fork();
        REQUIRE(child >= 0, "fork");
        if (child == 0) _exit(places[i].save(old, new));
        REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status), "wait");
        if (WEXITSTATUS(status) == 77)
            printf("      %s cannot be made here: test_disk_errors.c has one\n", places[i].name);
        else
            CHECK(WEXITSTATUS(status) == 0, "%s: check %d", places[i].name, WEXITSTATUS(status));
        REQUIRE(chmod(folder, 0700) == 0 && (geteuid() || !chown(folder, 0, 0)), "as before");
        remove_files();
    }
    fa_net_free(old), fa_net_free(new);
}

/* ---- kill -9 at any moment ---- */

static void nap(double seconds)
{
    const struct timespec t = {0, (long)(seconds * 1e9)};
    nanosleep(&t, NULL);
}

static void save_for_ever(fa_net *const nets[2], int ready)
{
    for (int i = 0;; i++) {
        if (fa_save(nets[i % 2], path)) _exit(1);
        if (i == 1 && write(ready, "", 1) != 1) _exit(2);
    }
}

static void test_killed_while_saving(void)
{
    fa_net *const nets[2] = {net_of_seed(1, 300), net_of_seed(2, 700)};
    int held[2] = {0, 0}, left_behind = 0;
    for (int round = 0; round < 60; round++) {
        int ready[2], status;
        char c;
        REQUIRE(pipe(ready) == 0, "pipe");
        const pid_t child = fork();
        REQUIRE(child >= 0, "fork");
        if (child == 0) save_for_ever(nets, ready[1]);
        REQUIRE(read(ready[0], &c, 1) == 1, "it saves");
        nap(0.02 * random_unit());
        kill(child, SIGKILL);
        REQUIRE(waitpid(child, &status, 0) == child, "wait");
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "killed, not failed");
        close(ready[0]), close(ready[1]);
        fa_net *there = load(path);
        const bool first = there && same_state(there, nets[0]);
        CHECK(first || (there && same_state(there, nets[1])), "round %d: one of the two, whole",
              round);
        held[!first]++;
        left_behind += files_in_folder() > 1;
        CHECK(files_in_folder() <= 2, "what earlier saves left is gone");
        fa_net_free(there);
    }
    CHECK(held[0] && held[1], "killed at different moments: %d, %d", held[0], held[1]);
    CHECK(fa_save(nets[0], path) == FA_OK && files_in_folder() == 1, "and in the end all is");
    printf("      %d of 60 kills left a file for the next save to remove\n", left_behind);
    remove_files();
    for (int i = 0; i < 2; i++) fa_net_free(nets[i]);
}

/* The first process of a new container, each round: whatever the round before left, it saves. 77:
 * not allowed here. */
static int in_a_container(fa_net *const nets[2])
{
    int ready[2], status;
    char c;
    if (unshare(CLONE_NEWPID) && unshare(CLONE_NEWUSER | CLONE_NEWPID)) return 77;
    if (pipe(ready)) return 1;
    const pid_t first = fork();
    if (first < 0) return 2;
    if (first == 0) {
        if (getpid() != 1) _exit(3);
        save_for_ever(nets, ready[1]);
    }
    close(ready[1]);
    if (read(ready[0], &c, 1) != 1) return 4; /* it could not save */
    nap(0.02 * random_unit());
    kill(first, SIGKILL);
    return waitpid(first, &status, 0) == first && WIFSIGNALED(status) ? 0 : 5;
}

static void test_killed_in_a_container(void)
{
    fa_net *const nets[2] = {net_of_seed(1, 300), net_of_seed(2, 700)};
    const char *quick = getenv("FASTFA_TEST_KILLS");
    const int rounds = quick ? atoi(quick) : 20;
    for (int round = 0; round < rounds; round++) {
        int status;
        const uint64_t bits = random_bits();
        fflush(stdout);
        const pid_t child = fork();
        REQUIRE(child >= 0, "fork");
        if (child == 0) {
            random_state = bits | 1;
            _exit(in_a_container(nets));
        }
        REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status), "wait");
        if (WEXITSTATUS(status) == 77) {
            printf("      no process may have a number space of its own here: test_disk_errors.c "
                   "kills processes that believe they are number 1\n");
            break;
        }
        CHECK(WEXITSTATUS(status) == 0, "round %d: %d", round, WEXITSTATUS(status));
        CHECK(holds(path, nets[0]) || holds(path, nets[1]), "round %d: whole", round);
        CHECK(files_in_folder() <= 2, "round %d: leftovers do not pile up", round);
    }
    CHECK(fa_save(nets[0], path) == FA_OK && files_in_folder() == 1, "nothing is left");
    remove_files();
    for (int i = 0; i < 2; i++) fa_net_free(nets[i]);
}

int main(void)
{
    make_folder();
    RUN(test_save_and_load);
    RUN(test_paths_that_cannot_be);
    RUN(test_long_names);
    RUN(test_long_paths);
    RUN(test_permissions);
    RUN(test_files_that_are_something_else);
    RUN(test_disk_fills_up);
    RUN(test_small_disk);
    RUN(test_places);
    RUN(test_killed_while_saving);
    RUN(test_killed_in_a_container);
    remove_folder();
    return finish();
}
