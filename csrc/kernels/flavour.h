/* Compiles every kernel file for float, then for double, and fills this object's two rows of the
 * table. Included once by each isa_*.c stub, which sets FA_ISA and FA_FLAVOUR (v4, v3, v2, neon, c). */
#include "kernels.h"
#include "simd.h"

#define FA_PASTE3_(a, b, c) a##b##c
#define FA_PASTE3(a, b, c) FA_PASTE3_(a, b, c)

/* ---- float ---- */
#define T float
#define V vf32
#define VI vi32
#define TI int32_t
#define VL (FA_VBYTES / 4)
#define FA_SLICE 4
#define FA_SINGLE 1
#define FN(name) FA_PASTE3(name, _f32_, FA_FLAVOUR)
#define v(word) FA_PASTE3(v_, word, _f32)
#include "kernel_files.h"
#undef T
#undef V
#undef VI
#undef TI
#undef VL
#undef FA_SLICE
#undef FA_SINGLE
#undef FN
#undef v

/* ---- double ---- */
#define T double
#define V vf64
#define VI vi64
#define TI int64_t
#define VL (FA_VBYTES / 8)
#define FA_SLICE 2
#define FA_SINGLE 0
#define FN(name) FA_PASTE3(name, _f64_, FA_FLAVOUR)
#define v(word) FA_PASTE3(v_, word, _f64)
#include "kernel_files.h"
#undef T
#undef V
#undef VI
#undef TI
#undef VL
#undef FA_SLICE
#undef FA_SINGLE
#undef FN
#undef v

const fa_kernels FA_PASTE3(fa_kernels_, FA_FLAVOUR, _rows)[2] = {
    {
#define FN(name) FA_PASTE3(name, _f32_, FA_FLAVOUR)
#define FA_KERNEL(ret, name, params) .name = FN(name),
#define FA_ACTIVATION(name, flags, init)                                                           \
    .act[FA_ACT_##name] = FN(act_##name), .dact[FA_ACT_##name] = FN(dact_##name),
#include "kernels.def"
#include "activations.def"
#undef FN
#undef FA_KERNEL
#undef FA_ACTIVATION
    },
    {
#define FN(name) FA_PASTE3(name, _f64_, FA_FLAVOUR)
#define FA_KERNEL(ret, name, params) .name = FN(name),
#define FA_ACTIVATION(name, flags, init)                                                           \
    .act[FA_ACT_##name] = FN(act_##name), .dact[FA_ACT_##name] = FN(dact_##name),
#include "kernels.def"
#include "activations.def"
#undef FN
#undef FA_KERNEL
#undef FA_ACTIVATION
    },
};

#if FA_ISA == 4
bool fa_l2_is_slow; /* no other kernels ask */
#endif
