/* Optimizers: PyTorch's formulas and defaults (torch.optim, docs/MATH.md "Optimizers"). */
#include "model/ops.h"

#include <math.h>

#define MOMENTUM(meaning_) {.name = "momentum", FA_HALF_OPEN(0, 1), .meaning = meaning_}
#define EPS                                                                                        \
    {.name = "eps",                                                                                \
     .number = 1e-8,                                                                               \
     FA_MORE_THAN(0),                                                                              \
     .meaning = "added to the root of the mean square"}
/* A rate at which a running mean forgets. Files without it mean 0. */
#define RATE(name_, default_, meaning_)                                                            \
    {.name = name_,                                                                                \
     .number = default_,                                                                           \
     FA_HALF_OPEN(0, 1),                                                                           \
     .zero_if_absent = true,                                                                       \
     .meaning = meaning_}

/* ---- sgd ---- */

enum { SGD_MOMENTUM, SGD_NESTEROV };
static const fa_option_row sgd_options[] = {
    [SGD_MOMENTUM] = MOMENTUM("factor on the sum of earlier gradients; 0: plain SGD"),
    [SGD_NESTEROV] = {.name = "nesterov",
                      .kind = FA_OPTION_FLAG,
                      FA_CLOSED(0, 1),
                      .meaning = "1: the gradient is added once more; needs momentum > 0"},
    {0}};

static fa_status sgd_check(const fa_optimizer_desc *d)
{
    if (d->options[SGD_NESTEROV].number == 0 || d->options[SGD_MOMENTUM].number > 0) return FA_OK;
    return fa_fail(FA_E_VALUE, "optimizer 'sgd': nesterov: expected momentum > 0 with it, got 0");
}
static int sgd_slots(const fa_optimizer_desc *d) { return d->options[SGD_MOMENTUM].number > 0; }
static void sgd_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    (void)t;
    h->momentum = d->options[SGD_MOMENTUM].number;
    h->nesterov = d->options[SGD_NESTEROV].number != 0;
}
static fa_optim_kernel *sgd_kernel(const fa_kernels *k) { return k->sgd; }

/* ---- rmsprop ---- */

enum { RMSPROP_ALPHA, RMSPROP_EPS, RMSPROP_MOMENTUM };
static const fa_option_row rmsprop_options[] = {
    [RMSPROP_ALPHA] = RATE("alpha", 0.99, "share of the mean square that stays in a step"),
    [RMSPROP_EPS] = EPS,
    [RMSPROP_MOMENTUM] = MOMENTUM("factor on the sum of earlier steps; 0: none"),
    {0}};

static int rmsprop_slots(const fa_optimizer_desc *d)
{ return 1 + (d->options[RMSPROP_MOMENTUM].number > 0); }
static void rmsprop_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    (void)t;
    h->momentum = d->options[RMSPROP_MOMENTUM].number;
    h->alpha = d->options[RMSPROP_ALPHA].number;
    h->eps = d->options[RMSPROP_EPS].number;
}
static fa_optim_kernel *rmsprop_kernel(const fa_kernels *k) { return k->rmsprop; }

/* ---- adam, adamw ---- */

enum { ADAM_BETA1, ADAM_BETA2, ADAM_EPS };
static const fa_option_row adam_options[] = {
    [ADAM_BETA1] = RATE("beta1", 0.9, "share of the mean of gradients that stays in a step"),
    [ADAM_BETA2] = RATE("beta2", 0.999, "share of the mean square that stays in a step"),
    [ADAM_EPS] = EPS,
    {0}};

static int adam_slots(const fa_optimizer_desc *d)
{
    (void)d;
    return 2;
}
static void adam_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    h->beta1 = d->options[ADAM_BETA1].number;
    h->beta2 = d->options[ADAM_BETA2].number;
    h->eps = d->options[ADAM_EPS].number;
    h->bias1 = 1 - pow(h->beta1, (double)t);
    h->bias2 = 1 - pow(h->beta2, (double)t);
}
static fa_optim_kernel *adam_kernel(const fa_kernels *k) { return k->adam; }

const fa_optim_ops fa_optim_sgd = {.name = "sgd",
                                   .options = sgd_options,
                                   .check = sgd_check,
                                   .slots = sgd_slots,
                                   .begin = sgd_begin,
                                   .kernel = sgd_kernel,
                                   .in_place = true};
const fa_optim_ops fa_optim_rmsprop = {.name = "rmsprop",
                                       .options = rmsprop_options,
                                       .slots = rmsprop_slots,
                                       .begin = rmsprop_begin,
                                       .kernel = rmsprop_kernel};
const fa_optim_ops fa_optim_adam = {.name = "adam",
                                    .options = adam_options,
                                    .slots = adam_slots,
                                    .begin = adam_begin,
                                    .kernel = adam_kernel};
const fa_optim_ops fa_optim_adamw = {.name = "adamw",
                                     .options = adam_options,
                                     .decoupled_decay = true,
                                     .slots = adam_slots,
                                     .begin = adam_begin,
                                     .kernel = adam_kernel};
