/* Every layer, rule, loss, optimizer and activation by name. To add one, write its file and name it
 * here. */
#include "model/ops.h"

#include <string.h>

extern const fa_layer_ops fa_layer_dense, fa_layer_dropout, fa_layer_conv2d, fa_layer_flatten,
    fa_layer_recurrent, fa_layer_max_pool2d, fa_layer_avg_pool2d, fa_layer_global_avg_pool2d,
    fa_layer_activation, fa_layer_dropout2d, fa_layer_layer_norm, fa_layer_rms_norm,
    fa_layer_group_norm;
const fa_layer_ops *const fa_layer_table[] = {&fa_layer_dense,      &fa_layer_dropout,
                                              &fa_layer_conv2d,     &fa_layer_flatten,
                                              &fa_layer_recurrent,  &fa_layer_max_pool2d,
                                              &fa_layer_avg_pool2d, &fa_layer_global_avg_pool2d,
                                              &fa_layer_activation, &fa_layer_dropout2d,
                                              &fa_layer_layer_norm, &fa_layer_rms_norm,
                                              &fa_layer_group_norm, NULL};

extern const fa_rule_ops fa_rule_fa, fa_rule_dfa, fa_rule_sdfa, fa_rule_drtp, fa_rule_frozen;
extern const fa_rule_ops fa_rule_usf, fa_rule_frsf, fa_rule_brsf, fa_rule_kp, fa_rule_dkp,
    fa_rule_ternary, fa_rule_ifa, fa_rule_ldfa, fa_rule_pepita, fa_rule_local, fa_rule_custom;
const fa_rule_ops *const fa_rule_table[] = {
    &fa_rule_backprop, &fa_rule_fa,      &fa_rule_dfa,  &fa_rule_sdfa, &fa_rule_drtp,
    &fa_rule_frozen,   &fa_rule_usf,     &fa_rule_frsf, &fa_rule_brsf, &fa_rule_kp,
    &fa_rule_dkp,      &fa_rule_ternary, &fa_rule_ifa,  &fa_rule_ldfa, &fa_rule_pepita,
    &fa_rule_local,    &fa_rule_custom,  NULL};

extern const fa_loss_ops fa_loss_softmax_ce, fa_loss_sigmoid_ce, fa_loss_mse, fa_loss_huber,
    fa_loss_mae, fa_loss_pinball, fa_loss_poisson, fa_loss_focal, fa_loss_custom;
const fa_loss_ops *const fa_loss_table[] = {
    &fa_loss_softmax_ce, &fa_loss_sigmoid_ce, &fa_loss_mse,   &fa_loss_huber,  &fa_loss_mae,
    &fa_loss_pinball,    &fa_loss_poisson,    &fa_loss_focal, &fa_loss_custom, NULL};

extern const fa_optim_ops fa_optim_sgd, fa_optim_rmsprop, fa_optim_adam, fa_optim_adamw,
    fa_optim_adagrad, fa_optim_nadam, fa_optim_radam, fa_optim_lion;
const fa_optim_ops *const fa_optim_table[] = {&fa_optim_sgd,   &fa_optim_rmsprop, &fa_optim_adam,
                                              &fa_optim_adamw, &fa_optim_adagrad, &fa_optim_nadam,
                                              &fa_optim_radam, &fa_optim_lion,    NULL};

static const struct {
    const char *name;
    unsigned flags;
    const char *init, *option;
} activations[] = {
#define FA_ACTIVATION(name, flags, init) {#name, flags, init, ""},
#define FA_WITH_OPTION(name, flags, init, option) {#name, flags, init, option},
#include "kernels/activations.def"
#undef FA_ACTIVATION
    {NULL, 0, NULL, NULL}};

/* The row of a table of that name, or NULL. */
#define DEFINE_FIND(what, type, table)                                                             \
    const type *fa_find_##what(const char *name)                                                   \
    {                                                                                              \
        for (int i = 0; name && table[i]; i++)                                                     \
            if (!strcmp(table[i]->name, name)) return table[i];                                    \
        return NULL;                                                                               \
    }

DEFINE_FIND(layer, fa_layer_ops, fa_layer_table)
DEFINE_FIND(rule, fa_rule_ops, fa_rule_table)
DEFINE_FIND(loss, fa_loss_ops, fa_loss_table)
DEFINE_FIND(optim, fa_optim_ops, fa_optim_table)
#undef DEFINE_FIND

int fa_find_activation(const char *name)
{
    for (int i = 0; name && activations[i].name; i++)
        if (!strcmp(activations[i].name, name)) return i;
    return -1;
}

unsigned fa_activation_flags(int activation) { return activations[activation].flags; }
const char *fa_activation_name(int activation) { return activations[activation].name; }
const char *fa_activation_option(int activation) { return activations[activation].option; }

const char *fa_default_init(const char *activation)
{
    const int i = fa_find_activation(activation);
    return i < 0 ? NULL : activations[i].init;
}

/* The name in row i of a NULL-terminated table of ops, whose first member is the name. */
#define NAME_IN(table)                                                                             \
    for (int j = 0; table[j]; j++)                                                                 \
        if (j == i) return table[j]->name;                                                         \
    return NULL;

const char *fa_name(fa_names kind, int i)
{
    if (i < 0) return NULL;
    switch (kind) {
    case FA_NAMES_LAYER: NAME_IN(fa_layer_table)
    case FA_NAMES_RULE: NAME_IN(fa_rule_table)
    case FA_NAMES_LOSS: NAME_IN(fa_loss_table)
    case FA_NAMES_OPTIMIZER: NAME_IN(fa_optim_table)
    case FA_NAMES_ACTIVATION: return i < FA_N_ACTIVATIONS ? activations[i].name : NULL;
    case FA_NAMES_INITIALIZER: return fa_init_name(i);
    case FA_NAMES_DISTRIBUTION: return fa_distribution_name(i);
    }
    return NULL;
}
#undef NAME_IN
