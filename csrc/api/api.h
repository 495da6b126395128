/* api: the functions of fastfa.h, and their checks of samples. */
#ifndef FA_API_H
#define FA_API_H

#include "engine/step.h"
#include "io/io.h"

/* ---- validate.c ---- */

/* Copies samples, and checks sizes and pointers; with `values` every value too, unless the caller
 * says that they are checked. */
fa_status fa_validate_samples(fa_samples *to, const fa_net *net, const fa_samples *from,
                              bool targets, bool values);
/* indptr and columns of one sample of a sparse X */
fa_status fa_check_csr_row(const fa_net *net, const fa_samples *s, int64_t i);
fa_status fa_bad_label(const fa_net *net, const fa_samples *s, int64_t i);
/* Rows of x in each sample, and in all: T for sequences, else 1. */
static inline int64_t fa_times(const fa_samples *s) { return s->time_steps ? s->time_steps : 1; }
static inline int64_t fa_rows_in(const fa_samples *s) { return s->n * fa_times(s); }
/* Labels or rows of targets. */
static inline int64_t fa_targets_in(const fa_samples *s)
{ return s->every_step ? fa_rows_in(s) : s->n; }
bool fa_has_accuracy(const fa_net *net, const fa_samples *s);

/* ---- train.c ---- */

/* FA_E_NONFINITE if an update has left a number that is not finite. Only the next update uses an
 * optimizer's slots, and it can hide that they are not finite: a weight whose mean squared gradient
 * is infinite never changes again. The caller holds the write lock. */
fa_status fa_check_suspect(fa_net *net);

/* ---- inspect.c ---- */

/* FA_E_STATE if this many more steps or epochs would pass FA_MAX_COUNT; call it under the lock. */
fa_status fa_check_counts(const fa_net *net, int64_t steps, int64_t epochs);
/* Begins the next epoch and computes its order. The caller holds the write lock. */
void fa_next_order(int64_t *order, fa_net *net, int64_t n);

#endif
