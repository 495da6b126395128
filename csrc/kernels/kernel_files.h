/* The kernel files, in the order they use each other. No include guard: flavour.h includes this per type. */
#include "math.inc"
#include "gemm.inc"
#include "online.inc"
#include "rows.inc"
#include "activation.inc"
#include "dropout.inc"
#include "loss.inc"
#include "optimizer.inc"
