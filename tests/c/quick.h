/* FASTFA_TEST_QUICK: where a program runs under something that makes it slow, it tries fewer of what
 * it tries many times. */
#ifndef QUICK_H
#define QUICK_H

#include <stdbool.h>
#include <stdlib.h>

__attribute__((unused)) static bool quick(void) { return getenv("FASTFA_TEST_QUICK") != NULL; }

#endif
