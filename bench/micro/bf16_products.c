/* Products in bfloat16 by every kind of kernel that is here, in turns with float32.
 *
 *   bf16_products [batch in out]     default: the layers of 784-1024-1024-10 at batch 256; one thread
 *
 * For X W, H^T D and D W^T of each layer: microseconds and the share of the rate that a loop of the
 * kind's instruction reaches. The 2 % quantile of the times: on a busy machine the median contains
 * the load of other programs. tests/c/run.sh --plain bench/micro/bf16_products.c builds and runs it. */
#include "../peak.h"
#include "linalg/linalg.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TURNS = 500, WAYS = 4, MOST_PACKED = 1 << 24 };

static char *buffer;
static double rate[WAYS]; /* GF/s */
static const char *name[WAYS] = {"float32", "portable", "vdpbf16ps", "amx"};
static const fa_bf16_kernels *kinds[WAYS];

#ifdef FA_BF16_KERNELS
/* vdpbf16ps on registers, and tdpbf16ps on tiles */
__attribute__((target("avx512f,avx512bf16"))) static double peak_vdpbf16ps(double seconds)
{
    enum { CHAINS = 12, ROUNDS = 20000 };
    __m512 x[CHAINS];
    __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f803f80), b = a;
    double best = 0;
    for (int i = 0; i < CHAINS; i++) x[i] = _mm512_setzero_ps();
    for (const double end = now() + seconds; now() < end;) {
        const double start = now();
        for (int r = 0; r < ROUNDS; r++) {
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) x[i] =
                _mm512_dpbf16_ps(x[i], a, b);
            __asm__ volatile("" : "+v"(a), "+v"(b));
        }
        const double now_rate = 2e-9 * CHAINS * ROUNDS * 32 / (now() - start);
        if (now_rate > best) best = now_rate;
        for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : "+v"(x[i]));
    }
    return best;
}

__attribute__((target("amx-tile,amx-bf16"))) static double peak_amx(double seconds)
{
    enum { ROUNDS = 4000 };
    static _Alignas(64) uint8_t tiles[64] = {1};
    for (int t = 0; t < 8; t++) tiles[16 + 2 * t] = 64, tiles[48 + t] = 16;
    double best = 0;
    _tile_loadconfig(tiles);
    for (const double end = now() + seconds; now() < end;) {
        const double start = now();
        for (int r = 0; r < ROUNDS; r++) {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        const double now_rate = 2e-9 * 4 * ROUNDS * 16 * 16 * 32 / (now() - start);
        if (now_rate > best) best = now_rate;
    }
    _tile_release();
    return best;
}
#endif

static float *matrix(int64_t n)
{
    float *p = aligned_alloc(4096, ((size_t)n * sizeof *p + 4095) / 4096 * 4096);
    if (!p) exit(1);
    for (int64_t i = 0; i < n; i++) p[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    return p;
}

/* ta, tb: as fa_bf16_matmul; the update adds to C */
static void report(const char *what, bool ta, bool tb, int64_t m, int64_t n, int64_t k)
{
    const fa_mat c = {(char *)matrix(m * n), n, m, n};
    const fa_mat a =
        ta ? (fa_mat){(char *)matrix(m * k), m, k, m} : (fa_mat){(char *)matrix(m * k), k, m, k};
    const fa_mat b =
        tb ? (fa_mat){(char *)matrix(n * k), k, n, k} : (fa_mat){(char *)matrix(n * k), n, k, n};
    static char scratch[1 << 22];
    static double times[WAYS][TURNS];
    for (int turn = 0; turn < TURNS; turn++)
        for (int way = 0; way < WAYS; way++) {
            if (!rate[way]) continue;
            fa_linalg la = {.k = fa_kernels_for(FA_F32), .esize = 4, .bf16 = kinds[way]};
            fa_packed_b cache = {.buffer = buffer, .bytes = MOST_PACKED};
            const double start = now();
            if (ta)
                fa_matmul_tn(&la, c, a, b, -1e-9, 1, &cache);
            else if (tb)
                fa_matmul_nt(&la, c, a, b, scratch, &cache);
            else
                fa_matmul(&la, c, a, b, NULL, &cache);
            times[way][turn] = now() - start;
        }
    printf("%-6s %5dx%4dx%4d", what, (int)m, (int)k, (int)n);
    for (int way = 0; way < WAYS; way++) {
        if (!rate[way]) continue;
        const double t = quantile(times[way], TURNS, 0.02);
        printf("  %9.1f %4.0f%%", 1e6 * t, 2e-7 * (double)(m * n * k) / t / rate[way]);
    }
    printf("\n");
    free(c.p), free(a.p), free(b.p);
}

static void layer(int64_t batch, int64_t in, int64_t out)
{
    report("X W", false, false, batch, out, in);
    report("H^T D", true, false, in, out, batch);
    report("D W^T", false, true, batch, in, out);
}

int main(int argc, char **argv)
{
    buffer = fa_alloc(MOST_PACKED);
    FA_FIXED_FP(true);
#ifdef FA_BF16_KERNELS
    const fa_bf16_kernels *best = fa_cpu_bf16();
    rate[0] = peak_v4_f32(0.3);
    if (best) kinds[2] = &fa_bf16_vdpbf16ps, rate[2] = peak_vdpbf16ps(0.3);
    if (best == &fa_bf16_amx) kinds[3] = best, rate[3] = peak_amx(0.3);
#endif
    kinds[1] = &fa_bf16_portable, rate[1] = rate[0];
    printf("%23s", "");
    for (int way = 0; way < WAYS; way++)
        if (rate[way]) printf("  %9s %4.0f ", name[way], rate[way]);
    printf("GF/s\n");
    if (argc == 4) {
        layer(atoll(argv[1]), atoll(argv[2]), atoll(argv[3]));
        return 0;
    }
    layer(256, 784, 1024);
    layer(256, 1024, 1024);
    return 0;
}
