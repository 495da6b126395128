/* Kernels for x86-64-v3. The build gives this file its instruction-set flags. */
#define FA_ISA 3
#define FA_FLAVOUR v3
#include "flavour.h"
