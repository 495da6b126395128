/* dfa with options that need more than the product e B_l:
 *   normalize    each row of S_l is scaled to the length sqrt(mean of the squares of its e)
 *   derivative   d_l = S_l * g'(A_l), g another activation, in place of f' (augmented DFA: Nakajima
 *                et al. 2022 take any function of A_l)
 * The plan of dfa gives such a block the functions of this file. */
#include "rules/rules.h"

#include <math.h>
#include <string.h>

static const char dfa[] = "dfa", own_derivative[] = "own";
typedef struct state {
    int derivative; /* the activation, or -1: f itself */
    double option;  /* of that activation: its default */
} state;

static void normalize(const fa_run *run, fa_rows rows, fa_mat s)
{
    const fa_net *net = run->net;
    const fa_mat e = fa_get(run, net->blocks[net->n_blocks - 1].delta, rows);
    for (int64_t i = 0; i < s.rows; i++) {
        const char *const x = s.p + (size_t)(i * s.ld) * net->esize, *const y =
                                                                         e.p + (size_t)(i * e.ld) *
                                                                                   net->esize;
        const double length = net->k->dot(x, s.ld, x, s.ld, 1, s.cols),
                     mean = net->k->dot(y, e.ld, y, e.ld, 1, e.cols) / (double)e.cols;
        const double factor = length > 0 ? sqrt(mean / length) : 0;
        net->k->scale_rows((char *)x, s.ld, &factor, 1, s.cols);
    }
}

static void signal(const fa_rule *rule, const fa_run *run, int block, fa_part part, fa_mat s,
                   int worker)
{
    fa_broadcast_signal(rule, run, block, part, s, worker);
    if (fa_option_number(rule, FA_DFA_NORMALIZE) != 0) normalize(run, part.rows, s);
}

/* d *= g'(A) */
static void apply_derivative(const state *own, const fa_run *run, const fa_layer *layer,
                             fa_rows rows, fa_mat d, int worker)
{
    const fa_kernels *k = run->net->k;
    fa_mat x = fa_get(run, layer->preact, rows);
    if (!(fa_activation_flags(own->derivative) & FA_NEEDS_PREACT)) {
        const fa_mat h = {fa_scratch(run, worker), x.cols, x.rows, x.cols};
        k->act[own->derivative](h.p, h.ld, x.p, x.ld, h.rows, h.cols, own->option);
        x = h;
    }
    k->dact[own->derivative](d.p, d.ld, x.p, x.ld, d.rows, d.cols, own->option);
}

static void delta(const fa_run *run, int block, fa_rows rows, fa_mat d, int worker)
{
    const fa_block *b = &run->net->blocks[block];
    const fa_part part = fa_all_columns(rows, d.cols);
    signal(&b->rule, run, block, part, d, worker);
    for (int i = b->signal_at; i > b->first; i--) {
        const fa_layer *layer = &run->net->layers[i];
        layer->ops->backward(layer, run, part, d, true, worker);
    }
    apply_derivative(b->rule.state, run, b->layer, rows, d, worker);
}

static const fa_rule_ops normalized = {.name = dfa, .sources = FA_FROM_ERROR, .signal = signal};
static const fa_rule_ops shaped = {
    .name = dfa, .sources = FA_FROM_ERROR, .signal = signal, .delta = delta};

static fa_status plan_derivative(fa_net *net, fa_block *b, const char *name)
{
    fa_layer *layer = b->layer;
    const int activation = fa_find_activation(name);
    if (activation < 0 || fa_activation_flags(activation) & FA_ZERO_DERIVATIVE)
        return fa_fail(FA_E_VALUE,
                       "layer %d: rule 'dfa': derivative: expected 'own' or an activation that has "
                       "one, got '%s'",
                       b->first, name);
    if (net->has_windows || net->recurrent || b->rule.inject == FA_INJECT_PRE)
        return fa_fail(FA_E_VALUE, "layer %d: rule 'dfa': derivative: expected 'own' %s, got '%s'",
                       b->first,
                       b->rule.inject == FA_INJECT_PRE ? "with inject='pre', which has no f'"
                                                       : "in a network of images or sequences",
                       name);
    FA_TRY(fa_plan_private(net, &b->rule.state, sizeof(state)));
    state *own = b->rule.state;
    own->derivative = activation;
    const char *option = fa_activation_option(activation);
    own->option = !strcmp(option, "slope") ? 0.01 : 1;
    if (layer->preact == FA_NO_BUF) layer->preact = fa_plan_buffer(net, layer->n_out, net->esize);
    fa_plan_scratch(net, FA_CHUNK * (size_t)layer->n_out * net->esize);
    b->rule.ops = &shaped;
    return FA_OK;
}

fa_status fa_plan_shaped(fa_net *net, int block)
{
    fa_block *b = &net->blocks[block];
    const char *derivative = b->rule.desc.options[FA_DFA_DERIVATIVE].text;
    if (fa_option_number(&b->rule, FA_DFA_NORMALIZE) != 0) b->rule.ops = &normalized;
    return strcmp(derivative, own_derivative) != 0 ? plan_derivative(net, b, derivative) : FA_OK;
}
