/* The processors that control groups allow, in folders that look like /proc/self/cgroup and
 * /sys/fs/cgroup. */
#include "check.h"
#include "api/api.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[] = "/tmp/fastfa-test-XXXXXX";

/* A file below the folder, and the folders that lead to it. */
static void put_file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", top, name);
    for (char *at = path + sizeof top; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *f = fopen(path, "w");
    REQUIRE(f && fputs(text, f) >= 0 && fclose(f) == 0, "write %s", path);
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at)
{
    (void)s, (void)type, (void)at;
    return remove(path);
}

typedef struct {
    const char *what, *groups; /* of the process; NULL: there is no such file */
    const char *files[5][2];
    int expected;
} quota_case;

static const quota_case cases[] = {
    {"nothing", NULL, {{0}}, 0},
    {"the root of version 2", "0::/\n", {{"m/cpu.max", "200000 100000\n"}}, 2},
    {"no list of groups", NULL, {{"m/cpu.max", "200000 100000\n"}}, 2},
    {"no list of groups, version 1",
     NULL,
     {{"m/cpu/cpu.cfs_quota_us", "300000\n"}, {"m/cpu/cpu.cfs_period_us", "100000\n"}},
     3},
    {"no limit", "0::/\n", {{"m/cpu.max", "max 100000\n"}}, 0},
    {"half a processor", "0::/\n", {{"m/cpu.max", "50000 100000\n"}}, 1},
    {"one and a half", "0::/\n", {{"m/cpu.max", "150000 100000\n"}}, 2},
    {"a little more than two", "0::/\n", {{"m/cpu.max", "200001 100000\n"}}, 3},
    {"another period", "0::/\n", {{"m/cpu.max", "40000 10000\n"}}, 4},
    {"its own group",
     "0::/a/b\n",
     {{"m/a/b/cpu.max", "300000 100000\n"}, {"m/a/cpu.max", "max 100000\n"}},
     3},
    {"the group above",
     "0::/a/b\n",
     {{"m/a/b/cpu.max", "max 100000\n"}, {"m/a/cpu.max", "200000 100000\n"}},
     2},
    {"the least of all",
     "0::/a/b\n",
     {{"m/a/b/cpu.max", "800000 100000\n"},
      {"m/a/cpu.max", "100000 100000\n"},
      {"m/cpu.max", "400000 100000\n"}},
     1},
    {"not that of a neighbour", "0::/a/b\n", {{"m/a/c/cpu.max", "100000 100000\n"}}, 0},
    {"a group that only the host has",
     "0::/system.slice/docker-1234.scope\n",
     {{"m/cpu.max", "200000 100000\n"}},
     2},
    {"a group outside of what is seen", "0::/../other\n", {{"m/cpu.max", "200000 100000\n"}}, 2},
    {"version 1",
     "4:memory:/x\n3:cpu,cpuacct:/a\n1:name=systemd:/a\n",
     {{"m/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n"},
      {"m/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n"}},
     3},
    {"version 1, of the host's path",
     "3:cpuacct,cpu:/docker/1234\n",
     {{"m/cpu/cpu.cfs_quota_us", "100000\n"}, {"m/cpu/cpu.cfs_period_us", "50000\n"}},
     2},
    {"version 1, no limit",
     "3:cpu:/\n",
     {{"m/cpu/cpu.cfs_quota_us", "-1\n"}, {"m/cpu/cpu.cfs_period_us", "100000\n"}},
     0},
    {"version 1, the group above",
     "3:cpu:/a/b\n",
     {{"m/cpu/a/b/cpu.cfs_quota_us", "-1\n"},
      {"m/cpu/a/b/cpu.cfs_period_us", "100000\n"},
      {"m/cpu/a/cpu.cfs_quota_us", "200000\n"},
      {"m/cpu/a/cpu.cfs_period_us", "100000\n"}},
     2},
    {"version 1 without a period", "3:cpu:/\n", {{"m/cpu/cpu.cfs_quota_us", "100000\n"}}, 0},
    {"cpuset is not cpu",
     "3:cpuset:/\n",
     {{"m/cpuset/cpu.cfs_quota_us", "100000\n"}, {"m/cpuset/cpu.cfs_period_us", "100000\n"}},
     0},
    {"both versions",
     "2:cpu:/\n0::/a\n",
     {{"m/unified/a/cpu.max", "300000 100000\n"},
      {"m/cpu/cpu.cfs_quota_us", "200000\n"},
      {"m/cpu/cpu.cfs_period_us", "100000\n"}},
     2},
    {"empty files", "", {{"m/cpu.max", ""}}, 0},
    {"words", "a\nb:c\n0::/\n", {{"m/cpu.max", "two of them\n"}}, 0},
    {"a word after a number", "0::/\n", {{"m/cpu.max", "1x 1\n"}}, 0},
    {"negative", "0::/\n", {{"m/cpu.max", "-100000 100000\n"}}, 0},
    {"a period of nothing", "0::/\n", {{"m/cpu.max", "100000 0\n"}}, 0},
    {"one number", "0::/\n", {{"m/cpu.max", "100000\n"}}, 0},
    {"the largest numbers", "0::/\n", {{"m/cpu.max", "9223372036854775807 1\n"}}, 2147483647},
    {"larger ones", "0::/\n", {{"m/cpu.max", "99999999999999999999 99999999999999999999\n"}}, 1},
};

static void test_case(const quota_case *c)
{
    char groups[64], mounts[64];
    strcpy(top + sizeof top - 7, "XXXXXX");
    REQUIRE(mkdtemp(top), "a folder");
    snprintf(groups, sizeof groups, "%s/groups", top);
    snprintf(mounts, sizeof mounts, "%s/m", top);
    if (c->groups) put_file("groups", c->groups);
    for (int i = 0; i < 5 && c->files[i][0]; i++) put_file(c->files[i][0], c->files[i][1]);
    const int got = fa_quota(groups, mounts);
    CHECK(got == c->expected, "%s: expected %d, got %d", c->what, c->expected, got);
    nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_case(&cases[i]);
}

/* Paths as long as they come: nothing is written beyond, and the root still counts. */
static void test_long_paths(void)
{
    for (int length = 4000; length < 4200; length++) {
        static char text[8192];
        memset(text, 'g', sizeof text);
        memcpy(text, "0::/", 4);
        strcpy(text + length, "\n");
        test_case(&(quota_case){"a long path", text, {{"m/cpu.max", "200000 100000\n"}}, 2});
    }
}

static void test_this_process(void)
{
    const int quota = fa_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    CHECK(quota >= 0 && fa_get_num_threads() >= 1, "%d", quota);
    CHECK(getenv("FASTFA_NUM_THREADS") || getenv("OMP_NUM_THREADS") || !quota ||
              fa_get_num_threads() <= quota,
          "not more threads than the quota has processors");
}

int main(void)
{
    RUN(test_cases);
    RUN(test_long_paths);
    RUN(test_this_process);
    return finish();
}
