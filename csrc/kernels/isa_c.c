/* Kernels for any machine, in plain C. The build gives this file its instruction-set flags. */
#define FA_ISA 0
#define FA_FLAVOUR c
#include "flavour.h"
