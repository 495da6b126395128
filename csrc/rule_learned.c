/* Rules whose feedback learns beside the weights.
 *   kp    fa, B_l receives each step of W_{l+1} transposed, both forget   (Kolen and Pollack 1994; Akrout et al. 2019)
 *   dkp   dfa, B_l learns from its own outer product e^T H_l              (Webster, Choi and Ahn 2021) */
#include "internal.h"

#include <math.h>

/* decay: the share that feedback (and with kp the weights it follows) loses in a step */
static fa_status check(const fa_block *b)
{
    const fa_rule_desc *d = &b->rule.desc;
    if (!(d->decay >= 0 && d->decay < 1))
        return fa_fail(FA_E_VALUE, "layer %d: rule '%s': decay: expected 0 <= decay < 1, got %g", b->first, b->rule.ops->name, d->decay);
    if (!(d->lr_scale >= 0) || !isfinite(d->lr_scale))
        return fa_fail(FA_E_VALUE, "layer %d: rule '%s': lr_scale: expected a number >= 0, got %g", b->first, b->rule.ops->name, d->lr_scale);
    return FA_OK;
}

static fa_status plan_kp(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    fa_layer *above = net->blocks[block + 1].layer;
    FA_TRY(check(b));
    FA_TRY(fa_plan_feedback(net, block, above->n_out));
    b->rule.feedback->forget = b->rule.desc.decay;
    above->weight->follower = b->rule.feedback;
    return FA_OK;
}

/* Left: the error of each sample, weighted like every delta by the time tiles are formed. Right: what
 * the layers above see of this block. With one hidden layer this is the transposed gradient of W_L. */
static fa_status plan_dkp(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    FA_TRY(check(b));
    FA_TRY(fa_plan_feedback(net, block, net->n_out));
    fa_param *p = b->rule.feedback;
    p->trainable = b->layer->desc.trainable;
    p->forget = b->rule.desc.decay;
    p->lr_scale = b->rule.desc.lr_scale == 0 ? 1 : b->rule.desc.lr_scale;
    p->grad[p->n_grad++] = (fa_pair){net->blocks[net->n_blocks - 1].delta, net->layers[b->last].out};
    return FA_OK;
}

const fa_rule_ops fa_rule_kp = {.name = "kp", .sources = FA_FROM_ABOVE, .plan = plan_kp, .signal = fa_chain_signal};
const fa_rule_ops fa_rule_dkp = {.name = "dkp", .sources = FA_FROM_ERROR, .plan = plan_dkp, .signal = fa_broadcast_signal};
