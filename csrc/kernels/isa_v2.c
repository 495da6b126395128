/* Kernels for x86-64-v2. The build gives this file its instruction-set flags. */
#define FA_ISA 2
#define FA_FLAVOUR v2
#include "flavour.h"
