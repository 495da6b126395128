/* The SIMD primitives of csrc/kernels/simd.h for one number, so that the same text of csrc/kernels
 * (math.inc, activation.inc, optimizer.inc, loss_row.inc) compiles for the CPU's vectors and for a
 * thread of the GPU. T is float or double, by FA_SINGLE, which the first line of the text sets. */

#if FA_SINGLE
#define T float
#define FA_WORD unsigned
#else
#define T double
#define FA_WORD unsigned long long
#endif
#define int64_t long long
#define ptrdiff_t long long
#define VL 1
#define FN(name) fa_##name
#define v(word) v_##word
#define FA_INLINE static __device__ __forceinline__
#ifndef NULL
#define NULL 0
#endif

FA_INLINE FA_WORD bits_of(float x) { return (FA_WORD)__float_as_uint(x); }
FA_INLINE FA_WORD bits_of(double x) { return (FA_WORD)__double_as_longlong(x); }
#if FA_SINGLE
FA_INLINE T number_of(FA_WORD x) { return __uint_as_float(x); }
#else
FA_INLINE T number_of(FA_WORD x) { return __longlong_as_double((long long)x); }
#endif

struct V;

/* The bits of a number; a comparison sets all of them or none. */
struct VI {
    FA_WORD x;
    VI() = default;
    __device__ VI(FA_WORD bits) : x(bits) {}
    __device__ explicit VI(V value);
};
typedef VI vu32;
typedef VI vu64;

/* A number. Casts between V and VI reinterpret, as casts of vectors do. */
struct V {
    T x;
    V() = default;
    __device__ V(T value) : x(value) {}
    __device__ explicit V(VI bits) : x(number_of(bits.x)) {}
};
__device__ inline VI::VI(V value) : x(bits_of(value.x)) {}

FA_INLINE V operator+(V a, V b) { return a.x + b.x; }
FA_INLINE V operator-(V a, V b) { return a.x - b.x; }
FA_INLINE V operator*(V a, V b) { return a.x * b.x; }
FA_INLINE V operator/(V a, V b) { return a.x / b.x; }
FA_INLINE V operator-(V a) { return -a.x; }
FA_INLINE VI operator>(V a, V b) { return a.x > b.x ? ~(FA_WORD)0 : 0; }
FA_INLINE VI operator<(V a, V b) { return a.x < b.x ? ~(FA_WORD)0 : 0; }
FA_INLINE VI operator>=(V a, V b) { return a.x >= b.x ? ~(FA_WORD)0 : 0; }
FA_INLINE VI operator<=(V a, V b) { return a.x <= b.x ? ~(FA_WORD)0 : 0; }
FA_INLINE VI operator==(V a, V b) { return a.x == b.x ? ~(FA_WORD)0 : 0; }
FA_INLINE VI operator!=(V a, V b) { return a.x != b.x ? ~(FA_WORD)0 : 0; }
FA_INLINE VI operator&(VI a, VI b) { return a.x & b.x; }
FA_INLINE VI operator|(VI a, VI b) { return a.x | b.x; }
FA_INLINE VI operator^(VI a, VI b) { return a.x ^ b.x; }
FA_INLINE VI operator~(VI a) { return ~a.x; }
FA_INLINE VI operator+(VI a, int b) { return a.x + (FA_WORD)b; }
FA_INLINE VI operator<<(VI a, int b) { return a.x << b; }

FA_INLINE V v_set1(T x) { return x; }
FA_INLINE VI v_bits(V a) { return VI(a); }
FA_INLINE V v_unbits(VI a) { return V(a); }
FA_INLINE V v_select(VI m, V a, V b) { return m.x ? a : b; }
FA_INLINE V v_fma(V a, V b, V c) { return fma(a.x, b.x, c.x); }
FA_INLINE V v_sqrt(V a) { return sqrt(a.x); }
FA_INLINE V v_min(V a, V b) { return a.x < b.x ? a : b; }
FA_INLINE V v_max(V a, V b) { return a.x > b.x ? a : b; }
