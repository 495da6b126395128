/* A fuzzer without libFuzzer: tries a corpus, then, for some seconds, inputs that a generator makes
 * from it.
 *
 *     fuzz_X                      the corpus, then FASTFA_FUZZ_SECONDS (default 2) of made inputs,
 *                                 from the seed FASTFA_FUZZ_SEED (default 1) on
 *     fuzz_X --seed N             the one input that is made from seed N
 *     fuzz_X FILE-OR-FOLDER ...   these
 *
 * The first form works in a child, so that the parent knows the last input if the child dies. */
#ifndef ALONE_H
#define ALONE_H

#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

/* Makes a new input of one of the corpus, in place; returns its size. */
typedef size_t changing(unsigned char *data, size_t size, size_t capacity, unsigned seed);

enum { MOST_FILES = 4096, MOST_BYTES = 1 << 16 };

static struct {
    int n;
    char *names[MOST_FILES];
    bytes data[MOST_FILES];
} corpus;

static char *last_tried; /* shared with the parent */
enum { NAME_ROOM = 512 };

/* ---- one input ---- */

/* In a block of its own, which ends where the bytes end. */
static void try_bytes(const char *data, size_t size)
{
    unsigned char *exact = malloc(size ? size : 1);
    if (size) memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void try_seed(unsigned seed, changing *change)
{
    static unsigned char capacity[MOST_BYTES];
    if (last_tried) snprintf(last_tried, NAME_ROOM, "--seed %u", seed);
    generator = seed * 2654435761u;
    const bytes *from = corpus.n ? &corpus.data[random_below((uint32_t)corpus.n)] : NULL;
    size_t size = from && from->size <= MOST_BYTES / 2 ? from->size : 0;
    if (size) memcpy(capacity, from->data, size);
    size = change(capacity, size, MOST_BYTES, seed);
    try_bytes((const char *)capacity, size);
}

/* ---- files ---- */

static void read_file(const char *path)
{
    char piece[4096];
    FILE *file = fopen(path, "rb");
    if (!file || corpus.n == MOST_FILES) return perror(path), exit(1);
    bytes *b = &corpus.data[corpus.n];
    for (size_t n; (n = fread(piece, 1, sizeof piece, file)) > 0;) append(b, piece, n);
    fclose(file);
    corpus.names[corpus.n++] = strdup(path);
}

/* A file, or the files of a folder in the order of their names. */
static void read_path(const char *path)
{
    struct dirent **entries;
    const int n = scandir(path, &entries, NULL, alphasort);
    if (n < 0 && access(path, F_OK)) return;
    if (n < 0) return read_file(path);
    for (int i = 0; i < n; i++) {
        char name[NAME_ROOM];
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') read_file(name);
        free(entries[i]);
    }
    free(entries);
}

static void try_corpus(void)
{
    for (int i = 0; i < corpus.n; i++) {
        if (last_tried) snprintf(last_tried, NAME_ROOM, "%s", corpus.names[i]);
        try_bytes(corpus.data[i].data, corpus.data[i].size);
    }
    printf("%d files tried\n", corpus.n);
}

static void drop_corpus(void)
{
    for (int i = 0; i < corpus.n; i++) free(corpus.names[i]), free(corpus.data[i].data);
    corpus.n = 0;
}

/* ---- runs ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static unsigned variable(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);
    return text && *text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void try_seeds(changing *change)
{
    const unsigned seed = variable("FASTFA_FUZZ_SEED", 1);
    const double end = now() + variable("FASTFA_FUZZ_SECONDS", 2);
    unsigned n = 0;
    while (now() < end) try_seed(seed + n++, change);
    printf("%u inputs tried, from seed %u on\n", n, seed);
}

static int in_child(const char *program, changing *change)
{
    last_tried = mmap(NULL, NAME_ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (last_tried == MAP_FAILED) return perror("mmap"), 1;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        try_corpus();
        try_seeds(change);
        drop_corpus();
        exit(0);
    }
    int status = -1;
    if (child > 0 && waitpid(child, &status, 0) == child && status == 0) return 0;
    printf("FAILED (status %#x): %s %s\n", (unsigned)status, program, last_tried);
    return 1;
}

static int run_alone(int argc, char **argv, const char *const *folders, changing *change)
{
    const bool seed = argc == 3 && !strcmp(argv[1], "--seed"), files = argc > 1 && !seed;
    int status = 0;
    for (int i = 1; files && i < argc; i++) read_path(argv[i]);
    for (; !files && *folders; folders++) read_path(*folders);
    if (seed)
        try_seed((unsigned)strtoul(argv[2], NULL, 10), change);
    else if (files)
        try_corpus();
    else
        status = in_child(argv[0], change);
    drop_corpus();
    return status;
}

/* ---- changes of inputs that have no structure ---- */

/* A few bytes of what is there, in place; returns the new size. */
static UNUSED size_t edit_bytes(unsigned char *data, size_t size, size_t capacity)
{
    for (uint32_t n = 1 + random_below(8); n > 0 && size > 1; n--) {
        const size_t at = random_below((uint32_t)size), rest = size - at;
        const size_t run = 1 + random_below(rest < 32 ? (uint32_t)rest : 32);
        switch (random_below(4)) {
        case 0: data[at] = (unsigned char)random_bits(); break;
        case 1: data[at] = (unsigned char)random_below(8); break;
        case 2: /* a run less */
            memmove(data + at, data + at + run, rest - run);
            size -= run;
            break;
        case 3: /* a run twice */
            if (size + run > capacity) break;
            memmove(data + at + run, data + at, rest);
            size += run;
            break;
        }
    }
    return size;
}

/* Mostly a few bytes of what is there, else new bytes. */
static UNUSED size_t change_bytes(unsigned char *data, size_t size, size_t capacity, unsigned seed)
{
    enum { LONGEST = 600 };
    generator = seed * 2246822519u + 1;
    if (size && random_below(3)) return edit_bytes(data, size < LONGEST ? size : LONGEST, capacity);
    size = 40 + random_below(LONGEST - 40);
    for (size_t i = 0; i < size; i++) data[i] = (unsigned char)random_bits();
    return size;
}

#endif
