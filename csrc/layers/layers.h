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

/* ---- dense.c: what every weighted layer has ---- */

/* Checks the description and declares W, b, the outputs and, if the activation needs them, the
 * pre-activations. */
fa_status fa_plan_weights(fa_net *net, fa_layer *layer);
/* a = x W + b, some columns of it */
void fa_dense_product(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat a, bool relu,
                      int worker);
void fa_dense_transport(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d,
                        fa_mat out, int worker);

#endif
