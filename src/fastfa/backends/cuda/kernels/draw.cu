/* Uniform numbers of one step, for rules that draw their feedback in every step: those of
 * `uniform` in csrc/kernels/random.inc. A thread draws two of them. */

enum { DRAW_threads = 128 };

struct draw_arguments {
    control_block *control;
    T *out;
    int64_t n;
    double limit;     /* the numbers are in -limit .. limit */
    unsigned ordinal; /* purpose and layer: upper part of the fourth counter word */
    unsigned key0;
    unsigned key1;
    int ahead;
};

/* In [0, 1), with 53 bits */
FA_INLINE double fraction(unsigned high, unsigned low)
{ return ((double)(high >> 5) * 67108864.0 + (double)(low >> 6)) / 9007199254740992.0; }

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(DRAW_threads) KERNEL(draw_arguments a)
{
    const unsigned long long step = a.control->step + a.ahead;
    const int64_t pair = (int64_t)blockIdx.x * DRAW_threads + threadIdx.x;
    unsigned c[4] = {(unsigned)pair, (unsigned)(pair >> 32), (unsigned)step,
                     a.ordinal | (unsigned)(step >> 32 & 0xffff)};
    philox(c, a.key0, a.key1);
    if (2 * pair < a.n) a.out[2 * pair] = (T)((2 * fraction(c[0], c[1]) - 1) * a.limit);
    if (2 * pair + 1 < a.n) a.out[2 * pair + 1] = (T)((2 * fraction(c[2], c[3]) - 1) * a.limit);
}
