/* Philox4x32-10 (Salmon et al., SC 2011), and uniform numbers, normal numbers and permutations
 * drawn from it. Counter words: c0, c1 the block within a stream, c2 the low half of `step`, c3 =
 * purpose << 28 | ordinal << 16 | high half of `step`. Draws are made in double and rounded, so
 * both element types see the same numbers. */
#include "core/core.h"

#include <math.h>

fa_stream fa_rng_stream(uint64_t seed, int purpose, int ordinal, uint64_t step)
{
    return (fa_stream){{(uint32_t)seed, (uint32_t)(seed >> 32)},
                       (uint32_t)step,
                       (uint32_t)purpose << 28 | ((uint32_t)ordinal & 0xfff) << 16 |
                           (uint32_t)(step >> 32 & 0xffff)};
}

void fa_rng_uniform(void *out, fa_dtype dtype, int64_t first, int64_t n, double limit, fa_stream s)
{ fa_kernels_for(dtype)->uniform(out, first, n, limit, s.key[0], s.key[1], s.c2, s.c3); }

/* Philox blocks drawn at a time, for loops that then use one number after another */
enum { BLOCKS = 64 };

static void words_from(uint32_t words[4 * BLOCKS], uint64_t block, int64_t blocks, fa_stream s)
{
    fa_kernels_for(FA_F64)->random(words, block, blocks < BLOCKS ? blocks : BLOCKS, s.key[0],
                                   s.key[1], s.c2, s.c3);
}

/* In [0, 1), with 53 bits */
static double fraction(const uint32_t w[2])
{ return ((w[0] >> 5) * 67108864.0 + (w[1] >> 6)) / 9007199254740992.0; }

/* Box and Muller 1958 */
static void normal_pair(double pair[2], const uint32_t w[4], double std)
{
    const double r = sqrt(-2 * log(1 - fraction(w))) * std,
                 angle = 6.283185307179586 * fraction(w + 2);
    pair[0] = r * cos(angle);
    pair[1] = r * sin(angle);
}

void fa_rng_normal(void *out, fa_dtype dtype, int64_t first, int64_t n, double std,
                   fa_stream stream)
{
    uint32_t words[4 * BLOCKS];
    const int64_t odd = first % 2, blocks = (odd + n + 1) / 2;
    for (int64_t block = 0, i = -odd; block < blocks; block++, i += 2) {
        double pair[2];
        if (block % BLOCKS == 0)
            words_from(words, (uint64_t)(first / 2 + block), blocks - block, stream);
        normal_pair(pair, words + block % BLOCKS * 4, std);
        for (int64_t j = i < 0; j < 2 && i + j < n; j++) {
            if (dtype == FA_F64)
                ((double *)out)[i + j] = pair[j];
            else
                ((float *)out)[i + j] = (float)pair[j];
        }
    }
}

__extension__ typedef unsigned __int128 fa_u128;

/* Fisher and Yates, from the top; j is uniform in 0..i up to 2^-64 (Lemire's multiplication). */
void fa_rng_permutation(int64_t *order, int64_t n, fa_stream stream)
{
    for (int64_t i = 0; i < n; i++) order[i] = i;
    uint32_t words[4 * BLOCKS];
    for (int64_t i = n - 1, t = 0; i >= 1; i--, t = (t + 2) % (4 * BLOCKS)) {
        if (t == 0) words_from(words, (uint64_t)(n - 1 - i) / 2, (i + 1) / 2, stream);
        const uint64_t x = (uint64_t)words[t + 1] << 32 | words[t];
        const int64_t j = (int64_t)((fa_u128)x * (uint64_t)(i + 1) >> 64);
        const int64_t swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
}
