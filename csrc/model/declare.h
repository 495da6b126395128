/* What layers and rules call while a network is planned and its feedback is drawn, and the sizes that
 * follow from a plan. */
#ifndef FA_DECLARE_H
#define FA_DECLARE_H

#include "model/ops.h"

enum { /* purposes of random streams */
       FA_RNG_WEIGHT = 1,
       FA_RNG_BIAS,
       FA_RNG_FEEDBACK,
       FA_RNG_DROPOUT,
       FA_RNG_SHUFFLE,
       FA_RNG_PROJECTION,
       FA_RNG_SPARSITY,
       FA_RNG_RECURRENT,
       FA_RNG_RECURRENT_FEEDBACK,
       FA_RNG_AUGMENT,
       FA_RNG_NOISE /* of rules that learn feedback from it, new in each step */
};

/* ---- declare.c: called by plan functions ---- */

/* A row buffer of cols elements of `size` bytes. */
fa_buf fa_plan_buffer(fa_net *net, int64_t cols, size_t size);
void fa_plan_buffer_width(fa_net *net, fa_buf b, int64_t cols); /* changes its width */
/* The same without padding between rows: all rows are one matrix of narrower rows. */
fa_buf fa_plan_tight_buffer(fa_net *net, int64_t cols, size_t size);
fa_param *fa_plan_param(fa_net *net, const char *name, int layer, fa_tensor_kind kind, int64_t rows,
                        int64_t cols);
/* What products with a matrix of a layer, or of its feedback, are computed by. */
const fa_linalg *fa_plan_linalg(const fa_net *net, const fa_layer *layer, int64_t rows,
                                int64_t cols);
/* Makes the optimizer train a parameter, like a weight, on the gradient left^T right. */
void fa_plan_trained(fa_net *net, fa_param *p, fa_buf left, fa_buf right);
/* Makes a step train feedback on the gradient left^T right, where the block trains: by the network's
 * optimizer, unless the caller sets `share` of the parameter. */
void fa_plan_learned(const fa_block *block, fa_param *p, fa_buf left, fa_buf right);
void fa_plan_scratch(fa_net *net, size_t bytes);        /* each worker has at least this much */
void fa_plan_window_scratch(fa_net *net, size_t bytes); /* the same, when predicting too */
/* The stored feedback of a hidden block, checked: "l.feedback", source x fa_feedback_cols. */
fa_status fa_plan_feedback(fa_net *net, int block, int64_t source);
/* The same for a matrix that nothing changes, and that only fa_feedback_product reads. */
fa_status fa_plan_fixed_feedback(fa_net *net, int block, int64_t source);
/* Allocates the private struct of a layer or rule, zeroed, and sets *state to it. */
fa_status fa_plan_private(fa_net *net, void **state, size_t size);
static inline bool fa_trains(const fa_block *block)
{
    return block->layer->desc.trainable && !block->layer->fixed &&
           !(block->rule.ops && block->rule.sources & FA_NO_UPDATE);
}
/* Whether the parameters of a layer without weights learn, if it has some. */
static inline bool fa_follower_trains(const fa_block *block, const fa_layer *layer)
{
    return layer->desc.trainable && (layer->row_param[0] || layer->row_param[1]) &&
           !(block->rule.ops && block->rule.sources & FA_NO_UPDATE);
}
/* The width of S_l. It is that of the weighted layer unless a follower changes the width. */
static inline int64_t fa_block_width(const fa_net *net, int block)
{ return net->layers[net->blocks[block].signal_at].n_out; }
/* The matrix of a chain rule has the shape of the transposed weights above; other matrices have a
 * column for each value of S_l. */
static inline const fa_param *fa_weight_above(const fa_net *net, int block)
{ return net->blocks[block + 1].layer->weight; }
static inline int64_t fa_feedback_cols(const fa_net *net, int block)
{
    return net->blocks[block].rule.sources & FA_FROM_ABOVE ? fa_weight_above(net, block)->rows
                                                           : fa_block_width(net, block);
}
/* Of the matrix that a rule makes for each step */
static inline const fa_linalg *fa_linalg_of_made(const fa_net *net, int block)
{
    const fa_block *b = &net->blocks[block];
    return fa_plan_linalg(net, b->layer, b->rule.step_rows, fa_feedback_cols(net, block));
}
static inline bool fa_makes_matrix(const fa_net *net, int block) /* by ops->matrix */
{
    const fa_rule_ops *ops = net->blocks[block].rule.ops;
    return ops && ops->rows && ops->rows(net, block) > 0;
}

/* ---- window.c ---- */

static inline int64_t fa_shape_size(fa_shape s) { return s.h ? s.h * s.w * s.c : s.c; }
/* The map of a description's input, or n_in numbers. */
fa_status fa_plan_input(fa_shape *shape, const fa_net_desc *desc);
fa_status fa_expect_map(const fa_layer *layer);  /* the layer's input: a map */
fa_status fa_expect_flat(const fa_layer *layer); /* or plain numbers */
/* The windows of a layer over its input, as its description says, checked. `what` names their size
 * in messages. */
fa_status fa_plan_window(fa_window *window, fa_net *net, const fa_layer *layer, const char *what);
/* Sets the shape of a layer's output. */
fa_status fa_plan_map(fa_layer *layer, int64_t h, int64_t w, int64_t c);

/* ---- plan_rules.c, plan_tiles.c ---- */

const char *fa_inject_name(int i); /* of fa_inject; NULL: there are no more */
fa_status fa_plan_rules(fa_net *net);
fa_status fa_plan_tiles(fa_net *net);

/* ---- feedback_init.c ---- */

fa_status fa_plan_sampling(fa_net *net); /* allocates the sampling workspace */
const char *fa_distribution_intern(const char *name);
fa_status fa_feedback_check(const fa_net *net, int block, int64_t rows, int64_t cols);
bool fa_feedback_is_plain(const fa_rule *rule);                      /* drawn element by element */
int64_t fa_feedback_nnz(const fa_net *net, int block, int64_t rows); /* see fa_rule */
void fa_draw_feedback(const fa_net *net, int block);
/* Rows of a plain matrix with this many rows in all, as drawn at a step. */
void fa_draw_feedback_rows(const fa_net *net, int block, uint64_t step, int64_t sources,
                           fa_rows rows, fa_mat out);
/* Draws all of p as a plain feedback matrix of the block with this many rows and columns. */
void fa_draw_plain(const fa_net *net, int block, const fa_param *p, int64_t rows, int64_t cols,
                   fa_stream stream);
/* draws p with orthonormal columns, or orthonormal rows where they are fewer */
void fa_draw_orthonormal(const fa_net *net, const fa_param *p, fa_stream stream);

#endif
