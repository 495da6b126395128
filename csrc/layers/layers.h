/* layers: one file for each layer; registry.c lists them. */
#ifndef FA_LAYERS_H
#define FA_LAYERS_H

#include "engine/engine.h"

/* Rows of options for layers that have an activation: those of FA_WITH_OPTION in
 * kernels/activations.def. Other activations ignore them. */
#define FA_OPTIONS_OF_ACTIVATIONS                                                                  \
    {.name = "slope",                                                                              \
     .number = 0.01,                                                                               \
     FA_AT_LEAST(0),                                                                               \
     .meaning = "of leaky_relu: the factor on numbers below 0"},                                   \
        {.name = "alpha",                                                                          \
         .number = 1,                                                                              \
         FA_AT_LEAST(0),                                                                           \
         .meaning = "of elu: the limit below 0 is -alpha"}

/* ---- weighted.c ---- */

/* Checks the number of columns of W, which messages call `columns`, and the factors of the rate. */
fa_status fa_check_weighted(const fa_layer *layer, const char *columns);
/* Declares W with this number of rows, b, the outputs and, if the activation needs them, the
 * pre-activations; buffers by `plan_buffer`. */
typedef fa_buf fa_plan_buffer_fn(fa_net *net, int64_t cols, size_t size);
fa_status fa_plan_weighted(fa_net *net, fa_layer *layer, int64_t rows,
                           fa_plan_buffer_fn *plan_buffer);

/* D = f'(A) times the signal, where the rule's signal is not D itself */
void fa_weighted_backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d,
                          bool exact, int worker);

/* ---- dense.c: what a recurrent layer is, too ---- */

fa_status fa_plan_dense(fa_net *net, fa_layer *layer);
/* a = x W + b, some columns of it */
void fa_dense_product(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat a, bool relu,
                      int worker);
void fa_dense_transport(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d,
                        fa_mat out, int worker);

#endif
