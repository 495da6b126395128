/* The products of one dfa step, in the order of a step, by own kernels and by BLAS in turns.
 *
 *   products [batch n_in n_1 ... n_out]       default 32 64 128 128 10; one thread, float
 *
 * Prints for each product the 10 % quantile of its times: on a busy machine the median contains the
 * load of other programs. Bias and ReLU are in own times, BLAS has none. BLAS runs if
 * src/fastfa/_vendor/ is there (built in place) and tests/c/run.sh built this program. */
#include "api/api.h"
#include "../peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 8, MOST_PRODUCTS = 3 * MOST_LAYERS, TURNS = 1000, SECONDS = 20 };

static _Alignas(64) char packing_buffer[FA_PACKED_B_BYTES];
static float *bias;

/* C = op(A) B + beta C; op turns A for an update, which is added to the weights */
typedef struct {
    const char *what;
    bool transposed, forward;
    int64_t m, n, k;
    float *c;
    const float *a, *b;
    double *times[2];
} product;

static void own(const fa_kernels *f, const product *p)
{
    const fa_epilogue epilogue = {.bias = bias, .relu = true};
    fa_packed_b right = {.buffer = packing_buffer, .bytes = sizeof packing_buffer};
    f->gemm(p->c, p->n, p->a, p->transposed ? 1 : p->k, p->transposed ? p->m : 1, p->b, p->n, p->m,
            p->n, p->k, p->transposed ? -1e-9 : 1, p->transposed, p->forward ? &epilogue : NULL,
            &right);
}

static void blas(const product *p)
{
    fa_blas_get()->sgemm(p->transposed, false, p->m, p->n, p->k, p->transposed ? -1e-9f : 1, p->a,
                         p->transposed ? p->m : p->k, p->b, p->n, p->transposed, p->c, p->n);
}

static float *matrix(int64_t rows, int64_t cols)
{
    const size_t n = (size_t)(rows * cols);
    float *p = aligned_alloc(4096, (n * sizeof *p + 4095) / 4096 * 4096);
    if (!p) exit(1);
    for (size_t i = 0; i < n; i++) p[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    return p;
}

/* X W of each layer, e B of each hidden one, H^T D of each; returns how many. */
static int list(product *all, int64_t batch, int layers, const int64_t *width)
{
    float *h[MOST_LAYERS + 1], *d[MOST_LAYERS + 1], *w[MOST_LAYERS];
    product *p = all;
    for (int l = 0; l <= layers; l++) h[l] = matrix(batch, width[l]);
    for (int l = 0; l <= layers; l++) d[l] = matrix(batch, width[l]);
    for (int l = 0; l < layers; l++) w[l] = matrix(width[l], width[l + 1]);
    for (int l = 0; l < layers; l++)
        *p++ = (product){.what = "X W",
                         .forward = true,
                         .m = batch,
                         .n = width[l + 1],
                         .k = width[l],
                         .c = h[l + 1],
                         .a = h[l],
                         .b = w[l]};
    for (int l = layers - 1; l > 0; l--)
        *p++ = (product){.what = "e B",
                         .m = batch,
                         .n = width[l],
                         .k = width[layers],
                         .c = d[l],
                         .a = d[layers],
                         .b = matrix(width[layers], width[l])};
    for (int l = 0; l < layers; l++)
        *p++ = (product){.what = "H^T D",
                         .transposed = true,
                         .m = width[l],
                         .n = width[l + 1],
                         .k = batch,
                         .c = w[l],
                         .a = h[l],
                         .b = d[l + 1]};
    return (int)(p - all);
}

/* GF/s of the kernels' instruction set, or 0 where there is no loop for it */
static double peak_rate(void)
{
#ifdef __x86_64__
    if (!strcmp(fa_isa_name(), "v4")) return peak_v4_f32(0.2);
    if (!strcmp(fa_isa_name(), "v3")) return peak_v3_f32(0.2);
#endif
    return 0;
}

/* Runs both ways in turns, for a number of turns or of seconds; returns the number of turns. */
static int measure(const fa_kernels *f, const product *all, int n)
{
    const double end = now() + SECONDS;
    int turn = 0;
    for (; turn < TURNS && now() < end; turn++)
        for (int way = 0; way < 1 + !!fa_blas_get(); way++)
            for (int i = 0; i < n; i++) {
                const double start = now();
                if (way)
                    blas(&all[i]);
                else
                    own(f, &all[i]);
                all[i].times[way][turn] = now() - start;
            }
    return turn;
}

static void report(const char *what, double work, const double t[2], double peak)
{
    printf("%-24s %10.2f  %5.1f%%", what, 1e6 * t[0], peak > 0 ? 100 * work / t[0] / peak : 0);
    if (t[1] > 0)
        printf("  %10.2f  %5.1f%%  %8.3f", 1e6 * t[1], peak > 0 ? 100 * work / t[1] / peak : 0,
               t[0] / t[1]);
    printf("\n");
}

int main(int argc, char **argv)
{
    int64_t width[MOST_LAYERS + 1] = {64, 128, 128, 10}, batch = 32, widest = 0;
    int layers = 3;
    if (argc > 3 && argc <= MOST_LAYERS + 3) {
        layers = argc - 3;
        batch = atoll(argv[1]);
        for (int l = 0; l <= layers; l++) width[l] = atoll(argv[l + 2]);
    }
    const fa_kernels *f = fa_kernels_for(FA_F32);
    const double peak = peak_rate();
    static product all[MOST_PRODUCTS];
    const int n = list(all, batch, layers, width);
    for (int l = 0; l <= layers; l++) widest = width[l] > widest ? width[l] : widest;
    bias = matrix(1, widest);
    for (int i = 0; i < n; i++)
        for (int way = 0; way < 2; way++)
            if (!(all[i].times[way] = calloc(TURNS, sizeof(double)))) return 1;

    const int turns = measure(f, all, n);
    double sum[2] = {0}, sum_work = 0;
    printf("batch %d, kernels %s, peak %.0f GF/s, %d turns\n%-24s %10s  %6s  %10s  %6s  %8s\n",
           (int)batch, fa_isa_name(), peak, turns, "", "own, us", "peak", "BLAS, us", "peak",
           "own/BLAS");
    for (int i = 0; i < n; i++) {
        char name[64];
        const product *p = &all[i];
        const double work = 2e-9 * (double)(p->m * p->n * p->k),
                     t[2] = {quantile(p->times[0], turns, 0.1), quantile(p->times[1], turns, 0.1)};
        snprintf(name, sizeof name, "%-6s %dx%dx%d", p->what, (int)p->m, (int)p->k, (int)p->n);
        report(name, work, t, peak);
        for (int way = 0; way < 2; way++) sum[way] += t[way];
        sum_work += work;
    }
    report("sum", sum_work, sum, peak);
    return 0;
}
