/* Random shifts and flips of the images of a batch, in its row buffer. What happens to a row is a
 * function of (seed, step, row) and nothing else, so it does not depend on chunks or threads. */
#include "engine/step.h"

#include <string.h>

/* Moves the bytes of p by `by` towards its beginning, or by -by towards its end; zeros follow. */
static void shift(char *p, size_t size, ptrdiff_t by)
{
    const size_t n = (size_t)(by < 0 ? -by : by);
    memmove(by < 0 ? p + n : p, by < 0 ? p : p + n, size - n);
    memset(by < 0 ? p : p + size - n, 0, n);
}

/* Reverses the order of w pixels, whose size is a multiple of 4 bytes. */
static void flip(char *row, int64_t w, size_t pixel)
{
    char *left = row, *right = row + (size_t)(w - 1) * pixel;
    for (; left < right; left += pixel, right -= pixel)
        for (size_t i = 0; i < pixel; i += sizeof(uint32_t)) {
            uint32_t a, b;
            memcpy(&a, left + i, sizeof a);
            memcpy(&b, right + i, sizeof b);
            memcpy(left + i, &b, sizeof b);
            memcpy(right + i, &a, sizeof a);
        }
}

/* Uniform in -most .. most, up to 2^-32 */
static int64_t shift_of(uint32_t word, int64_t most)
{ return (int64_t)((uint64_t)word * (uint64_t)(2 * most + 1) >> 32) - most; }

void fa_augment_rows(const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    const int64_t h = net->desc.input_h, w = net->desc.input_w;
    const size_t pixel = (size_t)net->desc.input_c * net->esize, line = (size_t)w * pixel;
    const fa_mat x = fa_get(run, FA_INPUT, rows);
    const fa_stream s = fa_rng_stream(net->seed, FA_RNG_AUGMENT, 0, run->step);
    for (int64_t r = rows.r0; r < rows.r1; r++) {
        uint32_t word[4];
        net->k->random(word, (uint64_t)r, 1, s.key[0], s.key[1], s.c2, s.c3);
        char *image = x.p + (size_t)((r - rows.r0) * x.ld) * net->esize;
        const int64_t down = shift_of(word[1], run->crop), right = shift_of(word[2], run->crop);
        if (down) shift(image, (size_t)h * line, down * (ptrdiff_t)line);
        for (int64_t i = 0; i < h; i++, image += line) {
            if (right) shift(image, line, right * (ptrdiff_t)pixel);
            if (run->flip && word[0] >> 31) flip(image, w, pixel);
        }
    }
}
