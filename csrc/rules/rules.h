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

#endif
