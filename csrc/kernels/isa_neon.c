/* Kernels for 64-bit ARM. The build gives this file its instruction-set flags. */
#define FA_ISA 1
#define FA_FLAVOUR neon
#include "flavour.h"
