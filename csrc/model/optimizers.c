/* Optimizers: PyTorch's formulas and defaults, and Lion's (docs/MATH.md "Optimizers"). */
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
static fa_optim_kernel *sgd_kernel(const fa_kernels *k, const fa_optimizer_desc *d)
{
    (void)d;
    return k->sgd;
}

/* ---- rmsprop ---- */

enum { RMSPROP_ALPHA, RMSPROP_EPS, RMSPROP_MOMENTUM, RMSPROP_CENTERED };
static const fa_option_row rmsprop_options[] = {
    [RMSPROP_ALPHA] = RATE("alpha", 0.99, "share of the mean square that stays in a step"),
    [RMSPROP_EPS] = EPS,
    [RMSPROP_MOMENTUM] = MOMENTUM("factor on the sum of earlier steps; 0: none"),
    [RMSPROP_CENTERED] = {.name = "centered",
                          .kind = FA_OPTION_FLAG,
                          FA_CLOSED(0, 1),
                          .meaning = "1: the root of the variance takes the place of the root of "
                                     "the mean square"},
    {0}};

static bool is_centered(const fa_optimizer_desc *d)
{ return d->options[RMSPROP_CENTERED].number != 0; }
static int rmsprop_slots(const fa_optimizer_desc *d)
{ return 1 + is_centered(d) + (d->options[RMSPROP_MOMENTUM].number > 0); }
static void rmsprop_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    (void)t;
    h->momentum = d->options[RMSPROP_MOMENTUM].number;
    h->alpha = d->options[RMSPROP_ALPHA].number;
    h->eps = d->options[RMSPROP_EPS].number;
}
static fa_optim_kernel *rmsprop_kernel(const fa_kernels *k, const fa_optimizer_desc *d)
{ return is_centered(d) ? k->rmsprop_centered : k->rmsprop; }

/* ---- adagrad ---- */

enum { ADAGRAD_EPS };
static const fa_option_row adagrad_options[] = {[ADAGRAD_EPS] = {.name = "eps",
                                                                 .number = 1e-10,
                                                                 FA_MORE_THAN(0),
                                                                 .meaning = "added to the root of "
                                                                            "the sum of squares"},
                                                {0}};

static int one_slot(const fa_optimizer_desc *d)
{
    (void)d;
    return 1;
}
static void adagrad_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    (void)t;
    h->eps = d->options[ADAGRAD_EPS].number;
}
static fa_optim_kernel *adagrad_kernel(const fa_kernels *k, const fa_optimizer_desc *d)
{
    (void)d;
    return k->adagrad;
}

/* ---- adam, adamw ---- */

/* The first options of all relatives of Adam. */
enum { ADAM_BETA1, ADAM_BETA2, ADAM_EPS, ADAM_EPS_HAT };
#define MOMENTS                                                                                    \
    [ADAM_BETA1] = RATE("beta1", 0.9, "share of the mean of gradients that stays in a step"),      \
    [ADAM_BETA2] = RATE("beta2", 0.999, "share of the mean square that stays in a step"),          \
    [ADAM_EPS] = EPS
static const fa_option_row adam_options[] = {
    MOMENTS,
    [ADAM_EPS_HAT] = {.name = "eps_hat",
                      .kind = FA_OPTION_FLAG,
                      FA_CLOSED(0, 1),
                      .meaning = "1: eps is added before the bias of the mean square is corrected"},
    {0}};
static const fa_option_row radam_options[] = {MOMENTS, {0}};

static int two_slots(const fa_optimizer_desc *d)
{
    (void)d;
    return 2;
}
static void moments_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    h->beta1 = d->options[ADAM_BETA1].number;
    h->beta2 = d->options[ADAM_BETA2].number;
    h->eps = d->options[ADAM_EPS].number;
    h->bias1 = 1 - pow(h->beta1, (double)t);
    h->bias2 = 1 - pow(h->beta2, (double)t);
}
static void adam_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    moments_begin(d, t, h);
    if (d->options[ADAM_EPS_HAT].number == 0) return;
    h->bias1 /= sqrt(h->bias2);
    h->bias2 = 1;
}
static fa_optim_kernel *adam_kernel(const fa_kernels *k, const fa_optimizer_desc *d)
{
    (void)d;
    return k->adam;
}

/* ---- nadam ---- */

enum { NADAM_DECAY = ADAM_EPS + 1 };
static const fa_option_row nadam_options[] = {
    MOMENTS,
    [NADAM_DECAY] = {.name = "momentum_decay",
                     .number = 4e-3,
                     FA_AT_LEAST(0),
                     .meaning = "how fast the momentum rises from half of beta1 to beta1"},
    {0}};

/* mu_i = beta1 (1 - 0.96^(i psi) / 2); 1 - mu_1 ... mu_t. Later factors no longer change a product
 * of less than this, which is below the rounding of 1. */
static const double least_product = 1e-17;

static void nadam_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    moments_begin(d, t, h);
    const double psi = d->options[NADAM_DECAY].number;
    double product = 1;
    for (uint64_t i = 1; i <= t && product > least_product; i++)
        product *= h->beta1 * (1 - 0.5 * pow(0.96, (double)i * psi));
    const double now = h->beta1 * (1 - 0.5 * pow(0.96, (double)t * psi));
    const double next = h->beta1 * (1 - 0.5 * pow(0.96, ((double)t + 1) * psi));
    h->of_g = (1 - now) / (1 - product);
    h->of_mean = next / (1 - product * next);
}
static fa_optim_kernel *nadam_kernel(const fa_kernels *k, const fa_optimizer_desc *d)
{
    (void)d;
    return k->nadam;
}

/* ---- radam ---- */

/* Adam's kernel with other factors. While too few steps stand behind the mean square, the divisor
 * is 1: 0 times its root, plus 1. */
static void radam_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    moments_begin(d, t, h);
    const double most = 2 / (1 - h->beta2) - 1;
    const double n = most - 2 * (double)t * (1 - h->bias2) / h->bias2;
    if (n > 5) {
        const double rectified =
            sqrt((n - 4) * (n - 2) * most / ((most - 4) * (most - 2) * n)) * sqrt(h->bias2);
        h->bias1 /= rectified;
        h->bias2 = 1;
    } else {
        h->bias2 = INFINITY;
        h->eps = 1;
    }
}

/* ---- lion ---- */

enum { LION_BETA1, LION_BETA2 };
static const fa_option_row lion_options[] = {
    [LION_BETA1] = RATE("beta1", 0.9, "share of the mean in what gives the sign"),
    [LION_BETA2] = RATE("beta2", 0.99, "share of the mean of gradients that stays in a step"),
    {0}};

static void lion_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    (void)t;
    h->beta1 = d->options[LION_BETA1].number;
    h->beta2 = d->options[LION_BETA2].number;
}
static fa_optim_kernel *lion_kernel(const fa_kernels *k, const fa_optimizer_desc *d)
{
    (void)d;
    return k->lion;
}

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
                                    .slots = two_slots,
                                    .begin = adam_begin,
                                    .kernel = adam_kernel};
const fa_optim_ops fa_optim_adamw = {.name = "adamw",
                                     .options = adam_options,
                                     .decoupled_decay = true,
                                     .slots = two_slots,
                                     .begin = adam_begin,
                                     .kernel = adam_kernel};
const fa_optim_ops fa_optim_adagrad = {.name = "adagrad",
                                       .options = adagrad_options,
                                       .slots = one_slot,
                                       .begin = adagrad_begin,
                                       .kernel = adagrad_kernel};
const fa_optim_ops fa_optim_nadam = {.name = "nadam",
                                     .options = nadam_options,
                                     .slots = two_slots,
                                     .begin = nadam_begin,
                                     .kernel = nadam_kernel};
const fa_optim_ops fa_optim_radam = {.name = "radam",
                                     .options = radam_options,
                                     .slots = two_slots,
                                     .begin = radam_begin,
                                     .kernel = adam_kernel};
const fa_optim_ops fa_optim_lion = {.name = "lion",
                                    .options = lion_options,
                                    .decoupled_decay = true,
                                    .slots = one_slot,
                                    .begin = lion_begin,
                                    .kernel = lion_kernel};
