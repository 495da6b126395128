/* Any bytes into fa_load_memory: an error, or a network that works and saves as bytes that load again.
 *
 * One file, two programs. Under libFuzzer (tests/fuzz/run.sh) it looks for new bytes; otherwise main reads the
 * files and folders that it is given and tries each of them. */
#include "fastfa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

typedef struct {
    char *data;
    size_t size, room;
} bytes;

static int append(void *user, const void *data, size_t size)
{
    bytes *b = user;
    if (b->size + size > b->room) b->data = realloc(b->data, b->room = 2 * (b->size + size));
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return 0;
}

static int silent(void *user, const fa_teaching *t)
{
    (void)user;
    const size_t size = fa_net_description(t->net)->dtype == FA_F64 ? 8 : 4;
    for (int64_t i = 0; i < t->signal.rows; i++)
        memset((char *)t->signal.data + (size_t)(i * t->signal.ld) * size, 0,
               (size_t)t->signal.cols * size);
    return 0;
}

static int give(void *user, fa_rule_desc *rule, int64_t layer, const char *note)
{
    (void)user, (void)layer, (void)note;
    rule->signal = silent;
    return 0;
}

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s: %s\n", #condition, fa_last_error());                              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* What was saved loads, with the same state, and saves as the same bytes. */
static void check_saving(const fa_net *net)
{
    bytes first = {0}, second = {0};
    fa_net *again = NULL;
    const fa_status saved = fa_save_to(net, append, &first);
    MUST(saved == FA_OK);
    MUST(fa_load_memory(&again, first.data, first.size, give, NULL) == FA_OK);
    MUST(fa_save_to(again, append, &second) == FA_OK);
    MUST(first.size == second.size && !memcmp(first.data, second.data, first.size));
    fa_net_free(again);
    free(first.data), free(second.data);
}

/* A prediction and a step, where they are small enough to be worth it. */
static void check_running(fa_net *net)
{
    const fa_net_desc *d = fa_net_description(net);
    int64_t n_out = 0, work = d->n_in;
    for (int64_t i = 0; i < d->n_layers; i++) work += d->layers[i].units;
    for (int64_t i = 0; i < d->n_layers; i++)
        if (d->layers[i].units) n_out = d->layers[i].units;
    if (work > 10000 || !strcmp(d->layers[d->n_layers - 1].type, "dropout")) return;
    unsigned char *x = calloc((size_t)d->n_in, 1);
    double *out = calloc((size_t)n_out, sizeof *out), loss;
    const int64_t label = 0;
    fa_samples s = fa_samples_of(x, d->n_in, FA_U8, 1);
    s.labels = &label;
    MUST(fa_predict(out, n_out, net, &s, 0) == FA_OK);
    fa_train_batch(&loss, net, &s); /* what stands in the tensors may make it not finite */
    free(x), free(out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    fa_net *net = NULL;
    const fa_status status = fa_load_memory(&net, data, size, give, NULL);
    MUST(status == FA_OK || status == FA_E_FORMAT);
    MUST((status == FA_OK) == (net != NULL));
    if (!net) return 0;
    check_saving(net);
    check_running(net);
    check_saving(net);
    fa_net_free(net);
    int64_t live, count;
    fa_memory(&live, &count);
    MUST(live == 0);
    return 0;
}

#ifdef FUZZING
size_t LLVMFuzzerMutate(unsigned char *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(unsigned char *data, size_t size, size_t room, unsigned seed);

/* Mostly changes the header alone and says its new length, so that the change is read and not the length. */
size_t LLVMFuzzerCustomMutator(unsigned char *data, size_t size, size_t room, unsigned seed)
{
    uint64_t n;
    if (size < 8 || seed % 8 == 0) return LLVMFuzzerMutate(data, size, room);
    memcpy(&n, data, 8);
    if (n > size - 8) return LLVMFuzzerMutate(data, size, room);
    const size_t rest = size - 8 - n;
    unsigned char *tensors = malloc(rest + 1);
    memcpy(tensors, data + 8 + n, rest);
    n = LLVMFuzzerMutate(data + 8, n, room - 8 - rest);
    memcpy(data, &n, 8);
    memcpy(data + 8 + n, tensors, rest);
    free(tensors);
    return 8 + n + rest;
}

#else
#include <dirent.h>

static int n_tried;

static void try_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) return perror(path), exit(1);
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    unsigned char *data = malloc(size ? (size_t)size : 1); /* ends where the bytes end */
    if (fread(data, 1, (size_t)size, file) != (size_t)size) return perror(path), exit(1);
    fclose(file);
    LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    n_tried++;
}

int main(int argc, char **argv)
{
    static char *folders[] = {"", "tests/fuzz/corpus", "tests/fuzz/crashes"};
    if (argc < 2) argv = folders, argc = 3;
    for (int i = 1; i < argc; i++) {
        DIR *dir = opendir(argv[i]);
        if (!dir) {
            try_file(argv[i]);
            continue;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            char path[1024];
            snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            if (e->d_name[0] != '.') try_file(path);
        }
        closedir(dir);
    }
    printf("%d files tried\n", n_tried);
    return n_tried == 0;
}
#endif
