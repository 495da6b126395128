/* Kernels for x86-64-v4. The build gives this file its instruction-set flags. */
#define FA_ISA 4
#define FA_FLAVOUR v4
#include "flavour.h"
