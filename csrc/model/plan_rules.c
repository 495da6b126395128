/* Rules of the hidden blocks: checks them, and decides which deltas are needed and in which
 * order. */
#include "model/description.h"
#include "model/ops.h"

#include <string.h>

static fa_status resolve_rule(fa_net *net, int b, fa_rule_desc *desc)
{
    fa_block *block = &net->blocks[b];
    const int i = block->first;
    fa_rule *rule = &block->rule;
    *rule = (fa_rule){.ops = fa_find_rule(desc->name), .desc = *desc, .weighted = FA_NO_BUF};
    if (!rule->ops)
        return fa_fail(FA_E_VALUE, "layer %d: rule: unknown name '%s'", i,
                       desc->name ? desc->name : "(null)");
    rule->desc.name = rule->ops->name;
    rule->sources = rule->ops->sources;
    rule->pre = desc->inject && !strcmp(desc->inject, "pre");
    if (desc->inject && !rule->pre && strcmp(desc->inject, "post"))
        return fa_fail(FA_E_VALUE, "layer %d: inject: expected 'post' or 'pre', got '%s'", i,
                       desc->inject);
    if (rule->pre &&
        (rule->ops->no_pre || !(rule->sources & (FA_FROM_ERROR | FA_FROM_TARGET | FA_FROM_SELF))))
        return fa_fail(
            FA_E_VALUE,
            "layer %d: inject='pre': expected a broadcast or target rule (dfa, sdfa, drtp), got %s",
            i, rule->ops->name);
    rule->desc.inject = rule->pre ? "pre" : "post";
    if (rule->ops->plan) FA_TRY(rule->ops->plan(net, b));
    rule->fuses_relu_backward = rule->ops->product && !rule->nnz && !rule->pre &&
                                block->first == block->last &&
                                block->layer->activation == FA_ACT_relu;
    if (!rule->desc.feedback.values)
        rule->desc.feedback.name = fa_distribution_intern(desc->feedback.name);
    if (rule->ops->before_deltas) net->chunk_rule = rule->ops;
    if (rule->ops->after_forward) net->barrier_rule = rule->ops;
    if (!rule->feedback && !rule->state) return FA_OK; /* no rule reads the given values */
    FA_TRY(fa_own_values(net, &desc->feedback));
    rule->desc.feedback.values = desc->feedback.values;
    return FA_OK;
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
        return fa_fail(FA_E_VALUE,
                       "layer %d: rule '%s' teaches the whole network by a second pass: expected "
                       "it as the network's rule, not a layer's",
                       i, chosen->name);
    if (chosen && all->delta && !(chosen->sources & FA_NO_UPDATE))
        return fa_fail(FA_E_VALUE,
                       "layer %d: rule: the network's rule '%s' teaches every layer by a second "
                       "pass: expected 'frozen' or none with it, got '%s'",
                       i, all->name, chosen->name);
    return FA_OK;
}

static fa_status check_derivative(const fa_net *net, const fa_block *block)
{
    (void)net;
    if (!block->needs_delta || block->rule.pre || block->rule.ops->delta ||
        !(fa_activation_flags(block->layer->activation) & FA_ZERO_DERIVATIVE))
        return FA_OK;
    return fa_fail(FA_E_VALUE,
                   "layer %d: activation '%s' has zero derivative: rule '%s' with inject='post' "
                   "cannot teach it; "
                   "expected a broadcast or target rule (dfa, sdfa, drtp) with inject='pre'",
                   block->first, block->layer->desc.activation, block->rule.ops->name);
}

/* Whether the delta of block b is needed and comes from `source`. */
static bool reads_delta(const fa_net *net, int b, unsigned source)
{
    return b >= 0 && b < net->n_blocks - 1 && net->blocks[b].needs_delta &&
           net->blocks[b].rule.sources & source;
}

/* A delta is needed if its layer trains, or if a neighbour whose delta is needed reads it. */
static void mark_deltas(fa_net *net)
{
    const int hidden = net->n_blocks - 1;
    for (int b = 0; b < hidden; b++)
        net->blocks[b].needs_delta =
            fa_trains(&net->blocks[b]) || reads_delta(net, b - 1, FA_FROM_ABOVE);
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
                           "layer %d: rule '%s' reads the delta of layer %d, whose rule '%s' reads "
                           "that of layer %d: a cycle",
                           net->blocks[b + 1].first, net->blocks[b + 1].rule.ops->name,
                           net->blocks[b].first, net->blocks[b].rule.ops->name,
                           net->blocks[b + 1].first);
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
            "layer %d: rule: the last layer always gets the exact error; expected none, got '%s'",
            net->blocks[hidden].first, refused->name ? refused->name : "(null)");
    fa_rule_desc *rule = (fa_rule_desc *)desc->rule; /* the network's */
    if (!fa_find_rule(rule->name))
        return fa_fail(FA_E_VALUE, "rule: unknown name '%s'", rule->name ? rule->name : "(null)");
    for (int b = 0; b < hidden; b++) {
        fa_rule_desc *own = (fa_rule_desc *)net->blocks[b].layer->desc.rule;
        if (own) FA_TRY(check_mixture(net, b, own, rule));
        FA_TRY(resolve_rule(net, b, own ? own : rule));
    }
    FA_TRY(fa_walk_values(desc, settle_values, net));
    mark_deltas(net);
    for (int b = 0; b < hidden; b++) FA_TRY(check_derivative(net, &net->blocks[b]));
    net->blocks[hidden].needs_delta = true;
    return order_blocks(net);
}
