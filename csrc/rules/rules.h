/* rules: one file for each family; registry.c lists them. These functions are shared by several. */
#ifndef FA_RULES_H
#define FA_RULES_H

#include "engine/engine.h"

/* S_l = d_{l+1} B_l with the stored or per-step matrix */
void fa_chain_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                     int worker);
/* S_l = e B_l */
void fa_broadcast_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                         int worker);

/* dfa with options that need more than the product: takes the functions of shaped_signal.c. */
enum { FA_DFA_DERIVATIVE, FA_DFA_NORMALIZE };
fa_status fa_plan_shaped(fa_net *net, int block);

/* Numbers for rows of the batch, new in each step, the same for any chunks and threads: uniform in
 * +-limit; fa_draw_normal_noise: normal, of deviation 1. */
void fa_draw_noise(const fa_run *run, int block, fa_rows rows, fa_mat out, double limit);
void fa_draw_normal_noise(const fa_run *run, int block, fa_rows rows, fa_mat out);
/* FA_E_VALUE unless the layers without weights of the blocks from .. end - 1 multiply by a mask at
 * most: the rule of `block` sends noise through them. */
fa_status fa_check_masks(const fa_net *net, int block, int from, int end);
/* Whether this step learns the stored feedback of the block from noise. */
bool fa_learns_from_noise(const fa_run *run, int block);

#endif
