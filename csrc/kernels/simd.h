/* The SIMD primitives that kernels are written in, for the instruction set of this object file.
 *
 * A kernel file (*.inc) is ordinary C in terms of T (float or double), V (a vector of T), TI and VI
 * (integers of the same width), VL (lanes in V) and v_<primitive>(...). flavour.h sets these and
 * includes each kernel file twice. Arithmetic on V uses the compiler's vector extension (a + b,
 * a * b, a < b). What the extension cannot express, or must not decide (fused multiply-add, masks,
 * rounding), is a primitive.
 *
 * FA_ISA, set by the build: 0 plain C, 1 NEON (64-bit ARM), 2 x86-64-v2 (SSE4.2), 3 x86-64-v3 (AVX2,
 * FMA), 4 x86-64-v4 (AVX-512). Never switch on compiler macros: clang does not define them inside
 * target regions.
 *
 * NEON, v3 and v4 compute the same bits: every primitive is exact or correctly rounded in each, and
 * kernels never let the number of lanes decide the order of a sum. (One edge: ARM flushes a result
 * that would round up to the smallest normal number.) v2 and plain C have no fused
 * multiply-add. */
#ifndef FA_KERNELS_SIMD_H
#define FA_KERNELS_SIMD_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if FA_ISA == 1
#include <arm_neon.h>
#elif FA_ISA >= 2
#include <immintrin.h>
#endif

#define FA_HAS_FMA (FA_ISA == 1 || FA_ISA >= 3)
#define FA_REGISTERS (FA_ISA == 1 || FA_ISA == 4 ? 32 : 16)

#if FA_ISA == 4
#define FA_VBYTES 64
#elif FA_ISA == 3
#define FA_VBYTES 32
#else
#define FA_VBYTES 16
#endif

#define FA_INLINE static inline __attribute__((always_inline, unused))

/* For loops over registers: gcc unrolls them only with this pragma, clang only without it. */
#ifdef __clang__
#define FA_UNROLL
#else
#define FA_UNROLL _Pragma("GCC unroll 24")
#endif

typedef float vf32 __attribute__((vector_size(FA_VBYTES)));
typedef double vf64 __attribute__((vector_size(FA_VBYTES)));
typedef int32_t vi32 __attribute__((vector_size(FA_VBYTES)));
typedef int64_t vi64 __attribute__((vector_size(FA_VBYTES)));
typedef uint32_t vu32 __attribute__((vector_size(FA_VBYTES)));
typedef uint64_t vu64 __attribute__((vector_size(FA_VBYTES)));

/* Primitives with the same text for both element types and every instruction set.
 *   load, store     unaligned
 *   set1            all lanes equal
 *   select(m,a,b)   m is the result of a comparison: all bits set or none; a where set, else b
 *   bits, unbits    reinterpret as integers and back
 *   load_part, store_part   the first n lanes, 0 <= n <= VL; the others are 0, or not written */
#define FA_COMMON_WORDS(T, V, VI, S)                                                               \
    FA_INLINE V v_load_##S(const T *p)                                                             \
    {                                                                                              \
        V v;                                                                                       \
        memcpy(&v, p, sizeof v);                                                                   \
        return v;                                                                                  \
    }                                                                                              \
    FA_INLINE void v_store_##S(T *p, V v) { memcpy(p, &v, sizeof v); }                             \
    FA_INLINE V v_set1_##S(T x) { return x - (V){0}; }                                             \
    FA_INLINE VI v_bits_##S(V v) { return (VI)v; }                                                 \
    FA_INLINE V v_unbits_##S(VI v) { return (V)v; }                                                \
    FA_INLINE V v_select_##S(VI m, V a, V b) { return (V)((m & (VI)a) | (~m & (VI)b)); }

FA_COMMON_WORDS(float, vf32, vi32, f32)
FA_COMMON_WORDS(double, vf64, vi64, f64)
#undef FA_COMMON_WORDS

/* Primitives with instructions of their own.
 *   fma(a,b,c)      a * b + c, one rounding where FA_HAS_FMA
 *   sqrt            correctly rounded
 *   take(p,i)       lane by lane p[i]
 *   take2(a,b,i)    lane by lane element i of a followed by b, 0 <= i < 2 VL
 *   min(a,b)        a < b ? a : b, so b where either is NaN: data goes second
 *   max(a,b)        a > b ? a : b
 *   any(m)          whether a comparison holds in some lane
 *   load_bytes      VL bytes, each widened to an integer lane
 *   mul_lo32        the 64-bit products of the low halves of 64-bit lanes (no f32 or f64 suffix)
 *   swap_pairs      exchanges neighbouring 64-bit lanes
 *   slices          16 bytes from p, from p + step bytes, ..., until the vector is full (no suffix,
 *                   not for vectors of 16 bytes) */
#if FA_ISA >= 3
FA_INLINE __m128 v_slice(const void *p, ptrdiff_t at)
{ return _mm_loadu_ps((const float *)((const char *)p + at)); }
#endif
#if FA_ISA == 4

FA_INLINE vf32 v_fma_f32(vf32 a, vf32 b, vf32 c) { return _mm512_fmadd_ps(a, b, c); }
FA_INLINE vf64 v_fma_f64(vf64 a, vf64 b, vf64 c) { return _mm512_fmadd_pd(a, b, c); }
FA_INLINE vf32 v_sqrt_f32(vf32 a) { return _mm512_sqrt_ps(a); }
FA_INLINE vf64 v_sqrt_f64(vf64 a) { return _mm512_sqrt_pd(a); }
FA_INLINE vf32 v_min_f32(vf32 a, vf32 b) { return _mm512_min_ps(a, b); }
FA_INLINE vf64 v_min_f64(vf64 a, vf64 b) { return _mm512_min_pd(a, b); }
FA_INLINE vf32 v_max_f32(vf32 a, vf32 b) { return _mm512_max_ps(a, b); }
FA_INLINE vf64 v_max_f64(vf64 a, vf64 b) { return _mm512_max_pd(a, b); }
FA_INLINE int v_any_f32(vi32 m) { return _mm512_movepi32_mask((__m512i)m) != 0; }
FA_INLINE int v_any_f64(vi64 m) { return _mm512_movepi64_mask((__m512i)m) != 0; }
FA_INLINE vf32 v_take_f32(const float *p, vi32 i)
{ return _mm512_i32gather_ps((__m512i)i, p, sizeof *p); }
FA_INLINE vf64 v_take_f64(const double *p, vi64 i)
{ return _mm512_i64gather_pd((__m512i)i, p, sizeof *p); }
FA_INLINE vf32 v_take2_f32(vf32 a, vf32 b, vi32 i)
{ return _mm512_permutex2var_ps(a, (__m512i)i, b); }
FA_INLINE vf64 v_take2_f64(vf64 a, vf64 b, vi64 i)
{ return _mm512_permutex2var_pd(a, (__m512i)i, b); }
FA_INLINE vu64 v_mul_lo32(vu64 a, vu64 b) { return (vu64)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
FA_INLINE vu64 v_swap_pairs(vu64 a)
{ return (vu64)_mm512_shuffle_epi32((__m512i)a, _MM_PERM_BADC); }
FA_INLINE vf32 v_slices(const void *p, ptrdiff_t step)
{
    const __m512 one = _mm512_castps128_ps512(v_slice(p, 0));
    const __m512 two = _mm512_insertf32x4(one, v_slice(p, step), 1);
    const __m512 three = _mm512_insertf32x4(two, v_slice(p, 2 * step), 2);
    return _mm512_insertf32x4(three, v_slice(p, 3 * step), 3);
}
FA_INLINE vi32 v_load_bytes_f32(const uint8_t *p)
{ return (vi32)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)); }
FA_INLINE vi64 v_load_bytes_f64(const uint8_t *p)
{ return (vi64)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)p)); }
FA_INLINE vf32 v_load_part_f32(const float *p, int64_t n)
{ return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
FA_INLINE vf64 v_load_part_f64(const double *p, int64_t n)
{ return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p); }
FA_INLINE void v_store_part_f32(float *p, vf32 v, int64_t n)
{ _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v); }
FA_INLINE void v_store_part_f64(double *p, vf64 v, int64_t n)
{ _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), v); }

#elif FA_ISA == 3

FA_INLINE vf32 v_fma_f32(vf32 a, vf32 b, vf32 c) { return _mm256_fmadd_ps(a, b, c); }
FA_INLINE vf64 v_fma_f64(vf64 a, vf64 b, vf64 c) { return _mm256_fmadd_pd(a, b, c); }
FA_INLINE vf32 v_sqrt_f32(vf32 a) { return _mm256_sqrt_ps(a); }
FA_INLINE vf64 v_sqrt_f64(vf64 a) { return _mm256_sqrt_pd(a); }
FA_INLINE vf32 v_min_f32(vf32 a, vf32 b) { return _mm256_min_ps(a, b); }
FA_INLINE vf64 v_min_f64(vf64 a, vf64 b) { return _mm256_min_pd(a, b); }
FA_INLINE vf32 v_max_f32(vf32 a, vf32 b) { return _mm256_max_ps(a, b); }
FA_INLINE vf64 v_max_f64(vf64 a, vf64 b) { return _mm256_max_pd(a, b); }
FA_INLINE int v_any_f32(vi32 m) { return _mm256_movemask_ps((__m256)m) != 0; }
FA_INLINE int v_any_f64(vi64 m) { return _mm256_movemask_pd((__m256d)m) != 0; }
FA_INLINE vf32 v_take_f32(const float *p, vi32 i)
{ return _mm256_i32gather_ps(p, (__m256i)i, sizeof *p); }
FA_INLINE vf64 v_take_f64(const double *p, vi64 i)
{ return _mm256_i64gather_pd(p, (__m256i)i, sizeof *p); }
FA_INLINE vf32 v_take2_f32(vf32 a, vf32 b, vi32 i)
{
    const vf32 low = _mm256_permutevar8x32_ps(a, (__m256i)i),
               high = _mm256_permutevar8x32_ps(b, (__m256i)i);
    return v_select_f32(i < 8, low, high);
}
FA_INLINE vf64 v_take2_f64(vf64 a, vf64 b, vi64 i)
{
    return (vf64){i[0] < 4 ? a[i[0]] : b[i[0] - 4], i[1] < 4 ? a[i[1]] : b[i[1] - 4],
                  i[2] < 4 ? a[i[2]] : b[i[2] - 4], i[3] < 4 ? a[i[3]] : b[i[3] - 4]};
}
FA_INLINE vu64 v_mul_lo32(vu64 a, vu64 b) { return (vu64)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
FA_INLINE vu64 v_swap_pairs(vu64 a) { return (vu64)_mm256_shuffle_epi32((__m256i)a, 0x4E); }
FA_INLINE vf32 v_slices(const void *p, ptrdiff_t step)
{ return _mm256_insertf128_ps(_mm256_castps128_ps256(v_slice(p, 0)), v_slice(p, step), 1); }
FA_INLINE vi32 v_load_bytes_f32(const uint8_t *p)
{ return (vi32)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)); }
FA_INLINE vi64 v_load_bytes_f64(const uint8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return (vi64)_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four));
}
FA_INLINE __m256i v_mask_f32(int64_t n)
{ return (__m256i)((vi32){0, 1, 2, 3, 4, 5, 6, 7} < (int32_t)n); }
FA_INLINE __m256i v_mask_f64(int64_t n) { return (__m256i)((vi64){0, 1, 2, 3} < n); }
FA_INLINE vf32 v_load_part_f32(const float *p, int64_t n)
{ return _mm256_maskload_ps(p, v_mask_f32(n)); }
FA_INLINE vf64 v_load_part_f64(const double *p, int64_t n)
{ return _mm256_maskload_pd(p, v_mask_f64(n)); }
FA_INLINE void v_store_part_f32(float *p, vf32 v, int64_t n)
{ _mm256_maskstore_ps(p, v_mask_f32(n), v); }
FA_INLINE void v_store_part_f64(double *p, vf64 v, int64_t n)
{ _mm256_maskstore_pd(p, v_mask_f64(n), v); }

#else

#if FA_ISA == 1
FA_INLINE vf32 v_fma_f32(vf32 a, vf32 b, vf32 c)
{ return (vf32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
FA_INLINE vf64 v_fma_f64(vf64 a, vf64 b, vf64 c)
{ return (vf64)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
FA_INLINE vf32 v_sqrt_f32(vf32 a) { return (vf32)vsqrtq_f32((float32x4_t)a); }
FA_INLINE vf64 v_sqrt_f64(vf64 a) { return (vf64)vsqrtq_f64((float64x2_t)a); }
FA_INLINE int v_any_f32(vi32 m) { return vmaxvq_u32((uint32x4_t)m) != 0; }
FA_INLINE int v_any_f64(vi64 m) { return vmaxvq_u32((uint32x4_t)m) != 0; }
FA_INLINE vu64 v_mul_lo32(vu64 a, vu64 b)
{ return (vu64)vmull_u32(vmovn_u64((uint64x2_t)a), vmovn_u64((uint64x2_t)b)); }
FA_INLINE vu64 v_swap_pairs(vu64 a) { return (vu64)vextq_u64((uint64x2_t)a, (uint64x2_t)a, 1); }
#elif FA_ISA == 2
FA_INLINE vf32 v_sqrt_f32(vf32 a) { return _mm_sqrt_ps(a); }
FA_INLINE vf64 v_sqrt_f64(vf64 a) { return _mm_sqrt_pd(a); }
FA_INLINE vf32 v_min_f32(vf32 a, vf32 b) { return _mm_min_ps(a, b); }
FA_INLINE vf64 v_min_f64(vf64 a, vf64 b) { return _mm_min_pd(a, b); }
FA_INLINE vf32 v_max_f32(vf32 a, vf32 b) { return _mm_max_ps(a, b); }
FA_INLINE vf64 v_max_f64(vf64 a, vf64 b) { return _mm_max_pd(a, b); }
FA_INLINE int v_any_f32(vi32 m) { return _mm_movemask_ps((__m128)m) != 0; }
FA_INLINE int v_any_f64(vi64 m) { return _mm_movemask_pd((__m128d)m) != 0; }
FA_INLINE vu64 v_mul_lo32(vu64 a, vu64 b) { return (vu64)_mm_mul_epu32((__m128i)a, (__m128i)b); }
FA_INLINE vu64 v_swap_pairs(vu64 a) { return (vu64)_mm_shuffle_epi32((__m128i)a, 0x4E); }
#else
FA_INLINE vf32 v_sqrt_f32(vf32 a)
{
    for (int i = 0; i < 4; i++) a[i] = __builtin_sqrtf(a[i]);
    return a;
}
FA_INLINE vf64 v_sqrt_f64(vf64 a)
{
    for (int i = 0; i < 2; i++) a[i] = __builtin_sqrt(a[i]);
    return a;
}
FA_INLINE int v_any_f32(vi32 m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
FA_INLINE int v_any_f64(vi64 m) { return (m[0] | m[1]) != 0; }
FA_INLINE vu64 v_mul_lo32(vu64 a, vu64 b) { return (a & 0xffffffff) * (b & 0xffffffff); }
FA_INLINE vu64 v_swap_pairs(vu64 a) { return (vu64){a[1], a[0]}; }
#endif
#if FA_ISA < 2
FA_INLINE vf32 v_min_f32(vf32 a, vf32 b) { return v_select_f32(a < b, a, b); }
FA_INLINE vf64 v_min_f64(vf64 a, vf64 b) { return v_select_f64(a < b, a, b); }
FA_INLINE vf32 v_max_f32(vf32 a, vf32 b) { return v_select_f32(a > b, a, b); }
FA_INLINE vf64 v_max_f64(vf64 a, vf64 b) { return v_select_f64(a > b, a, b); }
#endif
FA_INLINE vf32 v_take_f32(const float *p, vi32 i)
{ return (vf32){p[i[0]], p[i[1]], p[i[2]], p[i[3]]}; }
FA_INLINE vf64 v_take_f64(const double *p, vi64 i) { return (vf64){p[i[0]], p[i[1]]}; }
FA_INLINE vf32 v_take2_f32(vf32 a, vf32 b, vi32 i)
{
    const float t[8] = {a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]};
    return v_take_f32(t, i);
}
FA_INLINE vf64 v_take2_f64(vf64 a, vf64 b, vi64 i)
{
    const double t[4] = {a[0], a[1], b[0], b[1]};
    return v_take_f64(t, i);
}
#if !FA_HAS_FMA
FA_INLINE vf32 v_fma_f32(vf32 a, vf32 b, vf32 c) { return a * b + c; }
FA_INLINE vf64 v_fma_f64(vf64 a, vf64 b, vf64 c) { return a * b + c; }
#endif
FA_INLINE vf32 v_load_part_f32(const float *p, int64_t n)
{
    vf32 v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
FA_INLINE vf64 v_load_part_f64(const double *p, int64_t n)
{
    vf64 v = {0};
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}
FA_INLINE void v_store_part_f32(float *p, vf32 v, int64_t n)
{ memcpy(p, &v, (size_t)n * sizeof *p); }
FA_INLINE void v_store_part_f64(double *p, vf64 v, int64_t n)
{ memcpy(p, &v, (size_t)n * sizeof *p); }
FA_INLINE vi32 v_load_bytes_f32(const uint8_t *p) { return (vi32){p[0], p[1], p[2], p[3]}; }
FA_INLINE vi64 v_load_bytes_f64(const uint8_t *p) { return (vi64){p[0], p[1]}; }

#endif

#endif
