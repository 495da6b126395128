/* Rules of the hidden blocks: checks them, and decides which deltas are needed and in which
 * order. */
#include "model/description.h"
#include "model/declare.h"

#include <string.h>

enum { LIST = 256 }; /* characters of a list of rules in a message */

/* Whether a rule takes inject='pre': its signal must not come from other hidden layers. */
static bool takes_pre(const fa_rule_ops *ops)
{ return !ops->no_pre && ops->sources & (FA_FROM_ERROR | FA_FROM_TARGET | FA_FROM_SELF); }

static void list_pre(char *list, size_t size)
{
    const char *name;
    *list = '\0';
    for (int i = 0; (name = fa_name(FA_NAMES_RULE, i)); i++)
        if (takes_pre(fa_find_rule(name))) fa_list_name(list, size, name);
}

const char *fa_inject_name(int i)
{
    static const char *const names[] = {[FA_INJECT_POST] = "post",
                                        [FA_INJECT_PRE] = "pre",
                                        [FA_INJECT_BEFORE_POOL] = "before_pool"};
    return i < (int)(sizeof names / sizeof *names) ? names[i] : NULL;
}

/* The last layer of a block in front of its first pool, which changes the width; or its last. */
static int in_front_of_pools(const fa_net *net, const fa_block *block)
{
    for (int i = block->first; i < block->last; i++)
        if (net->layers[i + 1].ops->backward_to) return i;
    return block->last;
}

/* Where the rule's signal lands. */
static fa_status resolve_inject(fa_rule *rule, int layer)
{
    const char *asked = rule->desc.inject ? rule->desc.inject : fa_inject_name(FA_INJECT_POST);
    char known[LIST];
    int i = 0;
    while (fa_inject_name(i) && strcmp(asked, fa_inject_name(i)) != 0) i++;
    if (!fa_inject_name(i))
        return fa_fail(FA_E_VALUE,
                       "layer %d: inject: expected 'post', 'before_pool' or 'pre', got '%s'", layer,
                       asked);
    rule->inject = (fa_inject)i;
    rule->desc.inject = fa_inject_name(i);
    if (rule->inject == FA_INJECT_POST || takes_pre(rule->ops)) return FA_OK;
    list_pre(known, sizeof known);
    return fa_fail(FA_E_VALUE, "layer %d: inject='%s': expected one of the rules %s, got '%s'",
                   layer, rule->desc.inject, known, rule->ops->name);
}

/* Whether the rule's product can multiply by f', so that S is D_l. */
static bool can_fuse_relu_backward(const fa_block *block)
{
    const bool carried = block->rule.sources & FA_FROM_ABOVE && (block + 1)->layer->ops->carry;
    return block->rule.ops->product && !carried && !(block->layer->ops->flags & FA_OVER_TIME) &&
           !block->rule.nnz && block->rule.inject != FA_INJECT_PRE && block->first == block->last &&
           block->layer->activation == FA_ACT_relu;
}

/* After its plan the rule keeps no name of the caller, and given values of its own only. */
static fa_status own_feedback(fa_net *net, fa_rule *rule, fa_rule_desc *desc)
{
    if (!rule->desc.feedback.values)
        rule->desc.feedback.name = fa_distribution_intern(desc->feedback.name);
    if (!rule->feedback && !rule->state) return FA_OK; /* no rule reads the given values */
    FA_TRY(fa_own_values(net, &desc->feedback));
    rule->desc.feedback.values = desc->feedback.values;
    return FA_OK;
}

static fa_status check_sequences(const fa_net *net, const fa_block *block, const fa_rule *rule)
{
    if (!net->recurrent) return FA_OK;
    if (rule->ops->no_sequences)
        return fa_fail(FA_E_VALUE,
                       "layer %d: rule: expected one that sends errors or deltas step by step in a "
                       "network with recurrent layers, such as dfa, fa or backprop, got '%s'",
                       block->first, rule->ops->name);
    if (block->layer->recurrent && rule->desc.inject && !strcmp(rule->desc.inject, "pre"))
        return fa_fail(FA_E_VALUE,
                       "layer %d: inject: expected 'post' in a recurrent layer, got 'pre'; its "
                       "signal goes back through time, where f' belongs",
                       block->first);
    return FA_OK;
}

/* Rules whose step has no form for patches, and the reason. */
static fa_status check_windows(const fa_net *net, const fa_rule *rule, int b)
{
    const fa_rule_ops *ops = rule->ops;
    const bool above = net->blocks[b + 1].layer->ops->gradient;
    if (!ops->dense_only || !net->has_windows || (ops->sources & FA_FROM_ABOVE && !above))
        return FA_OK;
    return fa_fail(FA_E_VALUE, "layer %d: rule: expected one that takes images, got '%s'; %s",
                   net->blocks[b].first, ops->name, ops->dense_only);
}

/* desc belongs to the network's own description. */
static fa_status resolve_rule(fa_net *net, int b, fa_rule_desc *desc)
{
    fa_block *block = &net->blocks[b];
    fa_rule *rule = &block->rule;
    *rule = (fa_rule){.ops = fa_find_rule(desc->name), .desc = *desc, .weighted = FA_NO_BUF};
    if (!rule->ops) return fa_unknown_name(block->first, "rule", FA_NAMES_RULE, desc->name);
    rule->desc.name = rule->ops->name;
    FA_TRY(check_sequences(net, block, rule));
    rule->sources = rule->ops->sources;
    FA_TRY(resolve_inject(rule, block->first));
    if (rule->inject != FA_INJECT_POST) block->signal_at = in_front_of_pools(net, block);
    FA_TRY(check_windows(net, rule, b));
    if (rule->ops->plan) FA_TRY(rule->ops->plan(net, b));
    rule->fuses_relu_backward = can_fuse_relu_backward(block);
    if (rule->ops->before_deltas) net->chunk_rule = rule->ops;
    if (rule->ops->after_forward) net->barrier_rule = rule->ops;
    return own_feedback(net, rule, desc);
}

/* Given values must be finite. Those that no layer uses are not copied, checked or saved. */
static fa_status settle_values(void *context, const char *key, fa_init *init)
{
    const fa_net *net = context;
    if (!fa_net_owns(net, init->values)) init->values = NULL;
    if (!init->values || net->k->all_finite(init->values, init->cols, init->rows, init->cols))
        return FA_OK;
    return fa_fail(FA_E_VALUE, "%s: expected finite values, got NaN or infinity", key);
}

/* A rule with a second pass trains the whole network; other layers may only be frozen. */
static fa_status check_mixture(const fa_net *net, int b, const fa_rule_desc *own,
                               const fa_rule_desc *common)
{
    const fa_rule_ops *chosen = fa_find_rule(own->name), *all = fa_find_rule(common->name);
    const int i = net->blocks[b].first;
    if (chosen && chosen->delta)
        return fa_fail(
            FA_E_VALUE,
            "layer %d: rule: expected one that teaches a layer, got '%s'; give it as the "
            "network's rule, because it teaches the whole network by a second pass",
            i, chosen->name);
    if (chosen && all->delta && !(chosen->sources & FA_NO_UPDATE))
        return fa_fail(FA_E_VALUE,
                       "layer %d: rule: expected 'frozen' or none, got '%s'; the network's rule "
                       "'%s' teaches every layer by a second pass",
                       i, chosen->name, all->name);
    return FA_OK;
}

/* The first layer on the way of a block's signal whose derivative is 0; NULL: there is none. */
static const fa_layer *without_derivative(const fa_net *net, const fa_block *block)
{
    for (int i = block->first; i <= block->signal_at; i++) {
        const fa_layer *layer = &net->layers[i];
        const bool activates = layer->ops->flags & (FA_WEIGHTED | FA_ACTIVATES);
        if (activates && fa_activation_flags(layer->activation) & FA_ZERO_DERIVATIVE) return layer;
    }
    return NULL;
}

static fa_status check_derivative(const fa_net *net, const fa_block *block)
{
    if (!block->needs_delta || block->rule.inject == FA_INJECT_PRE || block->rule.ops->delta)
        return FA_OK;
    const fa_layer *layer = without_derivative(net, block);
    if (!layer) return FA_OK;
    char known[LIST];
    list_pre(known, sizeof known);
    return fa_fail(
        FA_E_VALUE,
        "layer %d: activation: expected one without zero derivative under rule '%s' with "
        "inject='%s', got '%s'; take one of the rules %s with inject='pre'",
        layer->index, block->rule.ops->name, block->rule.desc.inject, layer->desc.activation,
        known);
}

/* Parameters that train must be on the way of the signal. */
static fa_status check_followers(const fa_net *net, const fa_block *block)
{
    const fa_rule *rule = &block->rule;
    const bool passes_by = rule->inject == FA_INJECT_PRE || rule->ops->delta;
    for (int i = block->first + 1; i <= block->last; i++) {
        const fa_layer *layer = &net->layers[i];
        if (!fa_follower_trains(block, layer) || (!passes_by && i <= block->signal_at)) continue;
        return fa_fail(FA_E_VALUE,
                       "layer %d: %s: expected one without a scale and shift that train under rule "
                       "'%s' with inject='%s', got one with them; the signal does not pass it: set "
                       "trainable to false",
                       i, layer->ops->name, rule->ops->name, rule->desc.inject);
    }
    return FA_OK;
}

/* Whether the delta of block b is needed and comes from `source`. */
static bool reads_delta(const fa_net *net, int b, unsigned source)
{
    return b >= 0 && b < net->n_blocks - 1 && net->blocks[b].needs_delta &&
           net->blocks[b].rule.sources & source;
}

/* Whether a layer of the block trains. */
static bool learns(const fa_net *net, const fa_block *block)
{
    bool any = fa_trains(block);
    for (int i = block->first + 1; i <= block->last; i++)
        any = any || fa_follower_trains(block, &net->layers[i]);
    return any;
}

/* A delta is needed if a layer of its block trains, or if a neighbour whose delta is needed reads it. */
static void mark_deltas(fa_net *net)
{
    const int hidden = net->n_blocks - 1;
    for (int b = 0; b < hidden; b++)
        net->blocks[b].needs_delta =
            learns(net, &net->blocks[b]) || reads_delta(net, b - 1, FA_FROM_ABOVE);
    for (int b = hidden - 1; b >= 0; b--)
        net->blocks[b].needs_delta |= reads_delta(net, b + 1, FA_FROM_BELOW);
}

/* Orders hidden blocks so that each comes after the block whose delta it reads: from the top down,
 * and upwards where blocks read from below. Two neighbours that read each other have no order. */
static fa_status order_blocks(fa_net *net)
{
    int n = 0;
    for (int b = net->n_blocks - 2; b >= 0; b--) {
        if (reads_delta(net, b, FA_FROM_BELOW)) continue;
        net->order[n++] = b;
        for (int up = b + 1; reads_delta(net, up, FA_FROM_BELOW); up++) net->order[n++] = up;
        if (reads_delta(net, b, FA_FROM_ABOVE) && reads_delta(net, b + 1, FA_FROM_BELOW))
            return fa_fail(FA_E_VALUE,
                           "layer %d: rule: expected one that does not read the delta of layer "
                           "%d, got '%s'; rule '%s' of that layer reads the delta of this one",
                           net->blocks[b + 1].first, net->blocks[b].first,
                           net->blocks[b + 1].rule.ops->name, net->blocks[b].rule.ops->name);
    }
    return FA_OK;
}

fa_status fa_plan_rules(fa_net *net)
{
    fa_net_desc *desc = &net->desc;
    const int hidden = net->n_blocks - 1;
    const fa_rule_desc *refused = net->blocks[hidden].layer->desc.rule;
    if (refused)
        return fa_fail(
            FA_E_VALUE,
            "layer %d: rule: expected none, got '%s'; the last layer always gets the exact error",
            net->blocks[hidden].first, refused->name ? refused->name : "(null)");
    fa_rule_desc *rule = (fa_rule_desc *)desc->rule; /* the network's */
    if (!fa_find_rule(rule->name)) return fa_unknown_name(-1, "rule", FA_NAMES_RULE, rule->name);
    for (int b = 0; b < hidden; b++) {
        fa_rule_desc *own = (fa_rule_desc *)net->blocks[b].layer->desc.rule;
        if (own) FA_TRY(check_mixture(net, b, own, rule));
        FA_TRY(resolve_rule(net, b, own ? own : rule));
    }
    FA_TRY(fa_walk_values(desc, settle_values, net));
    mark_deltas(net);
    for (int b = 0; b < hidden; b++) {
        FA_TRY(check_followers(net, &net->blocks[b]));
        FA_TRY(check_derivative(net, &net->blocks[b]));
    }
    net->blocks[hidden].needs_delta = true;
    return order_blocks(net);
}
