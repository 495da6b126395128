/* Philox4x32-10 (Salmon et al., SC 2011) and what is drawn from it. Counter words: c0, c1 the block
 * within a stream, c2 the low half of `step`, c3 = purpose << 28 | ordinal << 16 | high half of `step`.
 * Draws are made in double and rounded, so both element types see the same numbers. */
#include "internal.h"

#include <math.h>

fa_stream fa_rng_stream(uint64_t seed, int purpose, int ordinal, uint64_t step)
{
    return (fa_stream){{(uint32_t)seed, (uint32_t)(seed >> 32)},
                       (uint32_t)step,
                       (uint32_t)purpose << 28 | ((uint32_t)ordinal & 0xfff) << 16 |
                           (uint32_t)(step >> 32 & 0xffff)};
}

static void philox(uint32_t out[4], uint64_t block, fa_stream s)
{
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = s.c2, c3 = s.c3;
    uint32_t k0 = s.key[0], k1 = s.key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* Two doubles in [0, 1) with 53 bits each. */
static void uniform_pair(double u[2], uint64_t block, fa_stream s)
{
    uint32_t w[4];
    philox(w, block, s);
    for (int i = 0; i < 2; i++)
        u[i] = ((w[2 * i] >> 5) * 67108864.0 + (w[2 * i + 1] >> 6)) / 9007199254740992.0;
}

static void put(void *out, fa_dtype dtype, int64_t n, int64_t i, const double pair[2])
{
    for (int64_t j = i < 0; j < 2 && i + j < n; j++) {
        if (dtype == FA_F64)
            ((double *)out)[i + j] = pair[j];
        else
            ((float *)out)[i + j] = (float)pair[j];
    }
}

void fa_rng_uniform(void *out, fa_dtype dtype, int64_t first, int64_t n, double limit,
                    fa_stream stream)
{
    const int64_t odd = first % 2;
    for (int64_t i = -odd; i < n; i += 2) {
        double u[2];
        uniform_pair(u, (uint64_t)(first + i) / 2, stream);
        put(out, dtype, n, i, (double[2]){(2 * u[0] - 1) * limit, (2 * u[1] - 1) * limit});
    }
}

void fa_rng_normal(void *out, fa_dtype dtype, int64_t first, int64_t n, double std,
                   fa_stream stream)
{
    const int64_t odd = first % 2;
    for (int64_t i = -odd; i < n; i += 2) { /* Box and Muller 1958 */
        double u[2];
        uniform_pair(u, (uint64_t)(first + i) / 2, stream);
        const double r = sqrt(-2 * log(1 - u[0])) * std, angle = 6.283185307179586 * u[1];
        put(out, dtype, n, i, (double[2]){r * cos(angle), r * sin(angle)});
    }
}

__extension__ typedef unsigned __int128 fa_u128;

/* Fisher and Yates, from the top; j is uniform in 0..i up to 2^-64 (Lemire's multiplication). */
void fa_rng_permutation(int64_t *order, int64_t n, fa_stream stream)
{
    for (int64_t i = 0; i < n; i++) order[i] = i;
    uint32_t w[4] = {0};
    for (int64_t i = n - 1, t = 0; i >= 1; i--, t++) {
        if (t % 2 == 0) philox(w, (uint64_t)t / 2, stream);
        const uint64_t x = (uint64_t)w[t % 2 * 2 + 1] << 32 | w[t % 2 * 2];
        const int64_t j = (int64_t)((fa_u128)x * (uint64_t)(i + 1) >> 64);
        const int64_t swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
}
