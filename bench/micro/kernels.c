/* Speed of the matrix product on one thread: own kernels, without packing and with the packing for
 * a slow L2 (fa_l2_is_slow; the star marks the choice for this processor), and BLAS, in GF/s and as
 * a share of FMA peak.
 *
 *   kernels [seconds per point] [isa ...]       default 0.1 s; v4 v3 v2 if the CPU has them
 *
 * Own kernels and BLAS take turns and each reports its best turn, the figure that repeats on a
 * shared machine. BLAS runs if src/fastfa/_vendor/ is there and tests/c/run.sh built
 * this program; it chooses its own instruction set, not that of the row. Peak is a loop of
 * independent multiply-adds in registers (v2: multiplies and adds). */
#include "api/api.h"
#include "../peak.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { NN, TN, NT } product_kind;

/* C (m x n) from a product over k: forward X W, update W += alpha H^T D, transport D W^T. C may
 * be a tile of a wider matrix: `width` is the columns of W, `depth` those of H in an update. */
typedef struct {
    product_kind kind;
    int64_t m, n, k, width, depth;
} shape;

static const shape shapes[] = {
    {NN, 64, 512, 784, 512, 0},     {NN, 64, 800, 784, 800, 0},
    {NN, 64, 512, 512, 512, 0},     {NN, 64, 1000, 1000, 1000, 0},
    {NN, 64, 1024, 1024, 1024, 0},  {NN, 256, 1024, 1024, 1024, 0},
    {NN, 64, 256, 256, 256, 0},     {NN, 16, 128, 128, 128, 0},
    {NN, 32, 100, 100, 100, 0},     {NN, 16, 16, 16, 16, 0},
    {NN, 64, 10, 512, 10, 0},       {NN, 64, 512, 10, 512, 0},
    {NN, 64, 1, 512, 1, 0},         {NN, 4, 512, 784, 512, 0},
    {NN, 1, 512, 784, 512, 0},      {TN, 32, 384, 128, 512, 784},
    {TN, 32, 384, 128, 512, 512},   {TN, 32, 384, 128, 800, 784},
    {TN, 32, 384, 128, 1024, 1024}, {TN, 32, 384, 256, 1024, 1024},
    {TN, 784, 512, 128, 512, 784},  {TN, 1024, 1024, 256, 1024, 1024},
    {TN, 128, 128, 32, 128, 128},   {TN, 64, 10, 128, 10, 512},
    {TN, 512, 512, 1, 512, 512},    {NT, 64, 512, 512, 512, 0},
    {NT, 64, 1024, 1024, 1024, 0},  {NT, 16, 128, 128, 128, 0},
    {NT, 64, 512, 10, 512, 0},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

typedef struct {
    const char *name;
    const fa_kernels *rows;
    double (*peak[2])(double seconds);
} flavour;

/* ---- the peak ---- */

#ifdef __x86_64__
#define MUL_ADD_PS(x, a, b) _mm_add_ps(_mm_mul_ps(x, a), b)
#define MUL_ADD_PD(x, a, b) _mm_add_pd(_mm_mul_pd(x, a), b)
PEAK(peak_v4_f64, "avx512f", __m512d, _mm512_set1_pd, _mm512_fmadd_pd, 8)
PEAK(peak_v3_f64, "avx2,fma", __m256d, _mm256_set1_pd, _mm256_fmadd_pd, 4)
PEAK(peak_v2_f32, "sse4.2", __m128, _mm_set1_ps, MUL_ADD_PS, 4)
PEAK(peak_v2_f64, "sse4.2", __m128d, _mm_set1_pd, MUL_ADD_PD, 2)
#endif

/* ---- the products ---- */

typedef struct {
    shape s;
    int type; /* 0 float, 1 double */
    char *a, *b, *c, *panel;
} operands;

static _Alignas(64) char packing_buffer[FA_PACKED_B_BYTES];

/* Own product, as in the engine on one thread: an update in tiles, the right operand of D W^T by
 * panels. */
static void own(const fa_kernels *rows, const operands *o)
{
    enum { ROWS = 512, COLS = 512, PANEL = 48 };
    const fa_kernels *f = &rows[o->type];
    const shape s = o->s;
    const ptrdiff_t size = o->type ? 8 : 4;
    fa_packed_b once = {.buffer = packing_buffer, .bytes = sizeof packing_buffer};
    if (s.kind == NN)
        f->gemm(o->c, s.width, o->a, s.k, 1, o->b, s.width, s.m, s.n, s.k, 1, 0, NULL, &once);
    if (s.kind == TN)
        for (int64_t j = 0; j < s.n; j += COLS) {
            fa_packed_b right = {.buffer = packing_buffer, .bytes = sizeof packing_buffer};
            for (int64_t i = 0; i < s.m; i += ROWS) {
                const int64_t m = s.m - i < ROWS ? s.m - i : ROWS,
                              n = s.n - j < COLS ? s.n - j : COLS;
                f->gemm(o->c + size * (i * s.width + j), s.width, o->a + size * i, 1, s.depth,
                        o->b + size * j, s.width, m, n, s.k, -1e-9, 1, NULL, &right);
            }
        }
    if (s.kind == NT)
        for (int64_t j = 0; j < s.n; j += PANEL) {
            const int64_t n = s.n - j < PANEL ? s.n - j : PANEL;
            f->transpose(o->panel, PANEL, o->b + size * j * s.k, s.k, n, s.k);
            f->gemm(o->c + size * j, s.width, o->a, s.k, 1, o->panel, PANEL, s.m, n, s.k, 1, 0,
                    NULL, &once);
        }
}

static void blas(const operands *o)
{
    const fa_blas *f = fa_blas_get();
    const shape s = o->s;
    const bool ta = s.kind == TN, tb = s.kind == NT;
    const double alpha = ta ? -1e-9 : 1, beta = ta;
    const ptrdiff_t lda = ta ? s.depth : s.k, ldb = tb ? s.k : s.width;
    if (o->type)
        f->dgemm(ta, tb, s.m, s.n, s.k, alpha, (double *)o->a, lda, (double *)o->b, ldb, beta,
                 (double *)o->c, s.width);
    else
        f->sgemm(ta, tb, s.m, s.n, s.k, (float)alpha, (float *)o->a, lda, (float *)o->b, ldb,
                 (float)beta, (float *)o->c, s.width);
}

static void *matrix(int type, int64_t rows, int64_t cols)
{
    const size_t n = (size_t)(rows * cols), bytes = (n * (type ? 8 : 4) + 4095) / 4096 * 4096;
    void *p = aligned_alloc(4096, bytes);
    if (!p) exit(1);
    for (size_t i = 0; i < n; i++) {
        const double x = (double)rand() / RAND_MAX - 0.5;
        if (type)
            ((double *)p)[i] = x;
        else
            ((float *)p)[i] = (float)x;
    }
    return p;
}

enum { OWN, SLOW_L2, BLAS, N_WAYS };

/* Best GF/s of each way in turns of about a millisecond */
static void measure(const fa_kernels *rows, const operands *o, double seconds,
                    double gflops[N_WAYS])
{
    const double work = 2e-9 * (double)(o->s.m * o->s.n * o->s.k);
    const int repeats = 1 + (int)(0.05 / work / 1000);
    const double end = now() + seconds;
    for (int way = 0; way < N_WAYS; way++) gflops[way] = 0;
    do
        for (int way = 0; way < (fa_blas_get() ? N_WAYS : BLAS); way++) {
            fa_l2_is_slow = way == SLOW_L2;
            const double start = now();
            for (int i = 0; i < repeats; i++)
                if (way == BLAS)
                    blas(o);
                else
                    own(rows, o);
            const double rate = work * repeats / (now() - start);
            if (rate > gflops[way]) gflops[way] = rate;
        }
    while (now() < end);
}

static void report(const flavour *f, int type, double seconds, bool slow)
{
    static const char *const kinds[] = {"X W", "H^T D", "D W^T"};
    const double peak = f->peak[type](seconds);
    printf("\n%s %s: peak %.1f GF/s\n%-6s %5s %5s %5s  %7s%c %6s  %7s%c %6s  %7s %8s\n", f->name,
           type ? "double" : "float", peak, "", "m", "n", "k", "own", slow ? ' ' : '*', "%peak",
           "slow L2", slow ? '*' : ' ', "%peak", "BLAS", "own/BLAS");
    for (int i = 0; i < N_SHAPES; i++) {
        const shape s = shapes[i];
        operands o = {s,
                      type,
                      s.kind == TN ? matrix(type, s.k, s.depth) : matrix(type, s.m, s.k),
                      matrix(type, s.k, s.width),
                      matrix(type, s.m, s.width),
                      matrix(type, s.k, 48)};
        double gflops[N_WAYS];
        measure(f->rows, &o, seconds, gflops);
        printf("%-6s %5d %5d %5d  %7.1f  %5.0f%%  %7.1f  %5.0f%%", kinds[s.kind], (int)s.m,
               (int)s.n, (int)s.k, gflops[OWN], 100 * gflops[OWN] / peak, gflops[SLOW_L2],
               100 * gflops[SLOW_L2] / peak);
        if (gflops[BLAS] > 0)
            printf("  %7.1f %8.2f", gflops[BLAS], gflops[slow ? SLOW_L2 : OWN] / gflops[BLAS]);
        printf("\n");
        free(o.a), free(o.b), free(o.c), free(o.panel);
    }
    fflush(stdout);
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (!strcmp(argv[i], name)) return true;
    return argc <= 2;
}

int main(int argc, char **argv)
{
    const double seconds = argc > 1 ? atof(argv[1]) : 0.1;
    const fa_blas *b = fa_blas_get();
    printf("BLAS: %s%s%s\n", b ? b->config : fa_blas_reason(), b ? ", kernels of " : "",
           b ? b->corename : "");
    (void)fa_kernels_for(FA_F32); /* looks at the processor */
    const bool slow = fa_l2_is_slow;
#ifdef __x86_64__
    const bool has[] = {__builtin_cpu_supports("avx512bw"), __builtin_cpu_supports("fma"), true};
    const flavour flavours[] = {
        {"v4", fa_kernels_v4_rows, {peak_v4_f32, peak_v4_f64}},
        {"v3", fa_kernels_v3_rows, {peak_v3_f32, peak_v3_f64}},
        {"v2", fa_kernels_v2_rows, {peak_v2_f32, peak_v2_f64}},
    };
    for (int i = 0; i < 3; i++)
        for (int type = 0; type < 2; type++)
            if (has[i] && wanted(flavours[i].name, argc, argv))
                report(&flavours[i], type, seconds, slow && i == 0);
#else
    puts("kernels: nothing to compare on this machine");
#endif
    return 0;
}
