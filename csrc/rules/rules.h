/* rules: one file for each family; registry.c lists them. These functions are shared by several. */
#ifndef FA_RULES_H
#define FA_RULES_H

#include "engine/engine.h"

#include <math.h>

/* S_l = d_{l+1} B_l with the stored or per-step matrix */
void fa_chain_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                     int worker);
/* S_l = e B_l */
void fa_broadcast_signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                         int worker);
/* The rule's option lr_scale, where 0 means 1 */
static inline double fa_lr_scale_of(const fa_rule *rule)
{ return rule->desc.lr_scale == 0 ? 1 : rule->desc.lr_scale; }
static inline fa_status fa_check_lr_scale(const fa_block *b)
{
    if (b->rule.desc.lr_scale >= 0 && isfinite(b->rule.desc.lr_scale)) return FA_OK;
    return fa_fail(FA_E_VALUE, "layer %d: rule '%s': lr_scale: expected a number >= 0, got %g",
                   b->first, b->rule.ops->name, b->rule.desc.lr_scale);
}

#endif
