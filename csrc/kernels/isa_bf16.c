/* Products in bfloat16 for processors with AVX512_BF16 (vdpbf16ps), and with AMX. The build gives
 * this file its instruction-set flags.
 *
 * Both kinds read packed operands: dwords that hold the elements 2q and 2q + 1 of the sums, the
 * first in the upper half, because vdpbf16ps adds the product of the upper halves first. So with it
 * every output is one chain of multiply-adds in order.
 *
 *   left    tiles of 16 rows x 16 dwords, those of 16 rows side by side
 *   right   panels of `width` columns, row by row; 16 rows at a time
 *
 * A tile, or a panel's 16 rows, are one step of 32 elements; the last is filled with zeros. */
#include "kernels/bf16.h"

#include <assert.h>
#include <immintrin.h>
#include <math.h>

#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL
#else
#define UNROLL _Pragma("GCC unroll 24")
#endif

#include "bf16_pack.inc"

enum {
    WIDE_ROWS = 16, /* of a block, for vdpbf16ps */
    WIDE_STEPS = 8, /* of a k-block: its panel stays in L1 */
    FLAT_ROWS = 32, /* for AMX */
    FLAT_STEPS = 16,
    LEFT_BYTES = 1 << 20, /* limits of packed operands: they stay in L2 */
    RIGHT_BYTES = 1 << 20,
    AMX_MIN_K = 32, /* shorter sums do not fill a tile */
};

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t up_to(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* ---- register tiles: sums (rows x width floats) = or += left right ---- */

/* 8 rows x nv vectors; the lower half of a tile begins 8 rows further. */
INLINE void eight_rows(float *sums, const uint32_t *left, const uint32_t *right, int64_t steps,
                       bool first, const int nv)
{
    __m512 acc[24];
    UNROLL
    for (int i = 0; i < 8; i++) {
        UNROLL
        for (int j = 0; j < nv; j++)
            acc[i * nv + j] =
                first ? _mm512_setzero_ps() : _mm512_loadu_ps(sums + i * WIDE + 16 * j);
    }
    for (; steps > 0; steps--, left += TILE)
        for (int q = 0; q < 16; q++, right += WIDE) {
            __m512bh b[3];
            UNROLL
            for (int j = 0; j < nv; j++) b[j] = (__m512bh)_mm512_loadu_si512(right + 16 * j);
            UNROLL
            for (int i = 0; i < 8; i++) {
                const __m512bh a = (__m512bh)_mm512_set1_epi32((int)left[16 * i + q]);
                UNROLL
                for (int j = 0; j < nv; j++)
                    acc[i * nv + j] = _mm512_dpbf16_ps(acc[i * nv + j], a, b[j]);
            }
        }
    UNROLL
    for (int i = 0; i < 8; i++) {
        UNROLL
        for (int j = 0; j < nv; j++) _mm512_storeu_ps(sums + i * WIDE + 16 * j, acc[i * nv + j]);
    }
}

static void eight_rows_1(float *c, const uint32_t *a, const uint32_t *b, int64_t steps, bool first)
{ eight_rows(c, a, b, steps, first, 1); }
static void eight_rows_2(float *c, const uint32_t *a, const uint32_t *b, int64_t steps, bool first)
{ eight_rows(c, a, b, steps, first, 2); }
static void eight_rows_3(float *c, const uint32_t *a, const uint32_t *b, int64_t steps, bool first)
{ eight_rows(c, a, b, steps, first, 3); }

/* `below`: dwords from the tiles of 16 rows to those of the next 16 */
typedef void block_fn(float *sums, const uint32_t *left, ptrdiff_t below, int64_t rows,
                      const uint32_t *right, int64_t cols, int64_t steps, bool first);

static void wide_block(float *sums, const uint32_t *left, ptrdiff_t below, int64_t rows,
                       const uint32_t *right, int64_t cols, int64_t steps, bool first)
{
    (void)below;
    for (int64_t i = 0; i < rows; i += 8, sums += 8 * WIDE, left += 8 * 16) {
        if (cols > 32)
            eight_rows_3(sums, left, right, steps, first);
        else if (cols > 16)
            eight_rows_2(sums, left, right, steps, first);
        else
            eight_rows_1(sums, left, right, steps, first);
    }
}

/* mt x nt tiles of 16 x 16 sums. Registers: 0 to 3 the sums, 4 and 5 of the left operand, 6 and 7
 * of the right one */
INLINE void amx_tiles(float *sums, const uint32_t *left, ptrdiff_t below, const uint32_t *right,
                      int64_t steps, bool first, const int mt, const int nt)
{
    enum { ROW = FLAT * sizeof(float) };
    float *const lower = sums + 16 * FLAT;
    if (first) {
        _tile_zero(0);
        if (nt > 1) _tile_zero(1);
        if (mt > 1) _tile_zero(2);
        if (mt > 1 && nt > 1) _tile_zero(3);
    } else {
        _tile_loadd(0, sums, ROW);
        if (nt > 1) _tile_loadd(1, sums + 16, ROW);
        if (mt > 1) _tile_loadd(2, lower, ROW);
        if (mt > 1 && nt > 1) _tile_loadd(3, lower + 16, ROW);
    }
    for (; steps > 0; steps--, left += TILE, right += 16 * FLAT) {
        UNROLL
        for (int i = 0; i < 16 && mt > 1; i++) { /* right is in L1 */
            _mm_prefetch((const char *)(left + 2 * TILE + 16 * i), _MM_HINT_T0);
            _mm_prefetch((const char *)(left + below + 2 * TILE + 16 * i), _MM_HINT_T0);
        }
        _tile_loadd(6, right, ROW);
        _tile_loadd(4, left, 64);
        _tile_dpbf16ps(0, 4, 6);
        if (nt > 1) _tile_loadd(7, right + 16, ROW);
        if (nt > 1) _tile_dpbf16ps(1, 4, 7);
        if (mt > 1) _tile_loadd(5, left + below, 64);
        if (mt > 1) _tile_dpbf16ps(2, 5, 6);
        if (mt > 1 && nt > 1) _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, sums, ROW);
    if (nt > 1) _tile_stored(1, sums + 16, ROW);
    if (mt > 1) _tile_stored(2, lower, ROW);
    if (mt > 1 && nt > 1) _tile_stored(3, lower + 16, ROW);
}

static void flat_block(float *sums, const uint32_t *left, ptrdiff_t below, int64_t rows,
                       const uint32_t *right, int64_t cols, int64_t steps, bool first)
{
    if (rows > 16 && cols > 16)
        amx_tiles(sums, left, below, right, steps, first, 2, 2);
    else if (rows > 16)
        amx_tiles(sums, left, below, right, steps, first, 2, 1);
    else if (cols > 16)
        amx_tiles(sums, left, below, right, steps, first, 1, 2);
    else
        amx_tiles(sums, left, below, right, steps, first, 1, 1);
}

/* ---- from sums to C ---- */

/* `rows` x up to 16 sums from row i and column j on: the same operations as write_block in
 * microkernel.inc */
INLINE void finish_column(const fa_bf16_product *t, const float *sums, int64_t width, int64_t i,
                          int64_t rows, int64_t j, __mmask16 lanes, const int adds)
{
    const fa_epilogue *e = t->epilogue;
    const __m512 zero = _mm512_setzero_ps(), alpha = _mm512_set1_ps(t->alpha),
                 beta = _mm512_set1_ps(t->beta), least = e->relu ? zero : _mm512_set1_ps(-INFINITY),
                 bias = e->bias ? _mm512_maskz_loadu_ps(lanes, (const float *)e->bias + j)
                                : _mm512_set1_ps(-0.0f); /* changes no sum */
    float *c = t->c + i * t->ldc + j;
    const float *h = e->h ? (const float *)e->h + i * t->ldc + j : NULL;
    for (int64_t r = 0; r < rows; r++, sums += width, c += t->ldc) {
        __m512 x = _mm512_loadu_ps(sums);
        if (adds) {
            const __m512 before = _mm512_maskz_loadu_ps(lanes, c);
            x = _mm512_fmadd_ps(alpha, x, _mm512_mul_ps(beta, before));
        } else {
            x = _mm512_max_ps(least, _mm512_add_ps(_mm512_mul_ps(alpha, x), bias));
        }
        if (h) {
            const __m512 above = _mm512_maskz_loadu_ps(lanes, h + r * t->ldc);
            x = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(above, zero, _CMP_GT_OQ), x);
        }
        _mm512_mask_storeu_ps(c, lanes, x);
    }
}

/* Before ReLU, which makes negative infinity zero. */
static void report_nonfinite(const fa_bf16_product *t, const float *sums, int64_t j, int64_t cols)
{
    const __m512 zero = _mm512_setzero_ps();
    for (int64_t v = 0; v < cols; v += 16) {
        const __mmask16 lanes = first_lanes(cols - v);
        const float *bias = t->epilogue->bias;
        __m512 x = _mm512_loadu_ps(sums + v);
        if (bias) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(lanes, bias + j + v));
        const __m512 none = _mm512_mul_ps(x, zero);
        if (_mm512_mask_cmp_ps_mask(lanes, none, zero, _CMP_NEQ_UQ))
            atomic_store_explicit(t->epilogue->nonfinite, 1, memory_order_relaxed);
    }
}

static void finish(const fa_bf16_product *t, const float *sums, int64_t width, int64_t i,
                   int64_t rows, int64_t j, int64_t cols)
{
    if (t->epilogue->nonfinite && i == 0) report_nonfinite(t, sums, j, cols);
    for (int64_t v = 0; v < cols; v += 16) {
        const __mmask16 lanes = first_lanes(cols - v);
        if (t->beta != 0)
            finish_column(t, sums + v, width, i, rows, j + v, lanes, 1);
        else
            finish_column(t, sums + v, width, i, rows, j + v, lanes, 0);
    }
}

/* ---- the loops ---- */

typedef struct blocking {
    int64_t width, rows, steps; /* of a panel, of a block, of a k-block */
    block_fn *block;
} blocking;

/* The columns of B kept at a time, and the rows of A packed at a time */
static int64_t most_columns(const blocking *by, int64_t n, int64_t steps)
{
    const int64_t fit = RIGHT_BYTES / (STEP_BYTES * (steps ? steps : 1)) / by->width * by->width;
    return smaller(larger(fit, by->width), up_to(n, by->width));
}
static int64_t most_rows(const blocking *by, int64_t m, int64_t steps)
{
    const int64_t fit = LEFT_BYTES / (STEP_BYTES * (steps ? steps : 1)) / by->rows * by->rows;
    return smaller(larger(fit, by->rows), up_to(m, by->rows));
}

/* The bytes of both packed operands and the sums: not less for a larger product. */
static size_t packing_bytes(const blocking *by, int64_t m, int64_t n, int64_t k, bool update)
{
    const int64_t column = STEP_BYTES * steps_of(k), panel = by->width * column;
    const int64_t rows = update ? by->rows : up_to(m, by->rows);
    const int64_t all_right = up_to(n, by->width) * column, all_left = rows * column;
    const int64_t part = by->width * smaller(STEP_BYTES * by->steps, column);
    const int64_t right = update ? larger(panel, smaller(all_right, RIGHT_BYTES)) : part;
    const int64_t left = larger(by->rows * column, smaller(all_left, LEFT_BYTES));
    return (size_t)(right + left + 4 * by->width * rows);
}

typedef struct buffers {
    uint32_t *right, *left;
    float *sums;
} buffers;

/* `kept`, `packed`: dwords of B, rows of A */
static buffers divide(const fa_bf16_product *t, const blocking *by, int64_t kept, int64_t packed)
{
    uint32_t *const at = t->cache->buffer;
    assert(t->cache->bytes >= packing_bytes(by, t->m, t->n, t->k, t->update));
    return (buffers){
        .right = at, .sums = (float *)(at + kept), .left = at + kept + packed * by->width};
}

/* C row by row: it is the largest operand, and B stays in cache. */
static void by_rows(const fa_bf16_product *t, const blocking *by)
{
    const int64_t steps = steps_of(t->k), most = most_columns(by, t->n, steps);
    const buffers at = divide(t, by, most * 16 * steps, by->rows);
    for (int64_t first = 0, end; first < t->n; first = end) {
        end = smaller(first + most, t->n);
        if (!t->cache->packed)
            for (int64_t j = first; j < end; j += by->width)
                pack_right(at.right + (j - first) * 16 * steps, t, j, by->width, 0, steps);
        t->cache->packed = first == 0 && end == t->n;
        for (int64_t i = 0, rows; i < t->m; i += rows) {
            rows = smaller(by->rows, t->m - i);
            pack_left(at.left, t, i, rows);
            for (int64_t j = first; j < end; j += by->width) {
                const int64_t cols = smaller(by->width, t->n - j);
                by->block(at.sums, at.left, TILE * steps, rows, at.right + (j - first) * 16 * steps,
                          cols, steps, true);
                finish(t, at.sums, by->width, i, rows, j, cols);
            }
        }
    }
}

/* C panel by panel: each part of B is packed once for all rows, and stays in L1 while they read
 * it. */
static void by_panels(const fa_bf16_product *t, const blocking *by)
{
    const int64_t steps = steps_of(t->k), most = most_rows(by, t->m, steps);
    const int64_t parts = steps > by->steps ? (steps + by->steps - 1) / by->steps : 1;
    const buffers at = divide(t, by, by->width * 16 * smaller(steps, by->steps), most);
    t->cache->packed = false;
    for (int64_t top = 0; top < t->m; top += most) {
        const int64_t m = smaller(most, t->m - top);
        pack_left(at.left, t, top, m);
        for (int64_t j = 0; j < t->n; j += by->width) {
            const int64_t cols = smaller(by->width, t->n - j);
            for (int64_t part = 0; part < parts; part++) {
                const int64_t s = steps * part / parts, end = steps * (part + 1) / parts;
                pack_right(at.right, t, j, by->width, s, end);
                for (int64_t i = 0; i < m; i += by->rows) {
                    const int64_t rows = smaller(by->rows, m - i);
                    float *const sums = at.sums + i * by->width;
                    by->block(sums, at.left + i * 16 * steps + s * TILE, TILE * steps, rows,
                              at.right, cols, end - s, part == 0);
                    if (part + 1 == parts) finish(t, sums, by->width, top + i, rows, j, cols);
                }
            }
        }
    }
}

static void multiply(const fa_bf16_product *t, const blocking *by)
{ (t->update ? by_rows : by_panels)(t, by); }

/* ---- the two kinds ---- */

static const blocking wide = {WIDE, WIDE_ROWS, WIDE_STEPS, wide_block},
                      flat = {FLAT, FLAT_ROWS, FLAT_STEPS, flat_block};

static size_t wide_bytes(int64_t m, int64_t n, int64_t k, bool update)
{ return packing_bytes(&wide, m, n, k, update); }

static size_t amx_bytes(int64_t m, int64_t n, int64_t k, bool update)
{
    const size_t few = packing_bytes(&wide, m, n, smaller(k, AMX_MIN_K - 1), update),
                 many = packing_bytes(&flat, m, n, k, update);
    return few > many ? few : many;
}

static void wide_product(const fa_bf16_product *t) { multiply(t, &wide); }

static void amx_product(const fa_bf16_product *t)
{
    static const _Alignas(64) struct {
        uint8_t palette, start, zero[14];
        uint16_t bytes[16]; /* of a row */
        uint8_t rows[16];
    } tiles = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    if (t->k < AMX_MIN_K) {
        multiply(t, &wide);
        return;
    }
    _tile_loadconfig(&tiles);
    multiply(t, &flat);
    _tile_release();
}

const fa_bf16_kernels fa_bf16_vdpbf16ps = {"vdpbf16ps", wide_bytes, wide_product},
                      fa_bf16_amx = {"amx", amx_bytes, amx_product};
