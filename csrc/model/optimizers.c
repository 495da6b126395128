/* Optimizers: PyTorch's formulas and defaults (torch.optim, docs/MATH.md "Optimizers"). */
#include "model/ops.h"

#include <math.h>

static fa_status check_unit(const char *optimizer, const char *name, double value)
{
    if (value >= 0 && value < 1) return FA_OK;
    return fa_fail(FA_E_VALUE, "optimizer %s: %s: expected 0 <= %s < 1, got %g", optimizer, name,
                   name, value);
}

static fa_status check_eps(const fa_optimizer_desc *d)
{
    if (d->eps > 0 && isfinite(d->eps)) return FA_OK;
    return fa_fail(FA_E_VALUE, "optimizer %s: eps: expected a number > 0, got %g", d->name, d->eps);
}

static fa_status sgd_check(const fa_optimizer_desc *d)
{
    FA_TRY(check_unit(d->name, "momentum", d->momentum));
    if (d->nesterov && d->momentum == 0)
        return fa_fail(FA_E_VALUE, "optimizer sgd: nesterov: expected momentum > 0 with it, got 0");
    return FA_OK;
}
static int sgd_slots(const fa_optimizer_desc *d) { return d->momentum > 0; }
static void sgd_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    (void)t;
    h->momentum = d->momentum;
    h->nesterov = d->nesterov != 0;
}
static fa_optim_kernel *sgd_kernel(const fa_kernels *k) { return k->sgd; }

static fa_status rmsprop_check(const fa_optimizer_desc *d)
{
    FA_TRY(check_unit(d->name, "alpha", d->alpha));
    FA_TRY(check_unit(d->name, "momentum", d->momentum));
    return check_eps(d);
}
static int rmsprop_slots(const fa_optimizer_desc *d) { return 1 + (d->momentum > 0); }
static void rmsprop_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    (void)t;
    h->momentum = d->momentum;
    h->alpha = d->alpha;
    h->eps = d->eps;
}
static fa_optim_kernel *rmsprop_kernel(const fa_kernels *k) { return k->rmsprop; }

static fa_status adam_check(const fa_optimizer_desc *d)
{
    FA_TRY(check_unit(d->name, "beta1", d->beta1));
    FA_TRY(check_unit(d->name, "beta2", d->beta2));
    return check_eps(d);
}
static int adam_slots(const fa_optimizer_desc *d)
{
    (void)d;
    return 2;
}
static void adam_begin(const fa_optimizer_desc *d, uint64_t t, fa_hyper *h)
{
    h->beta1 = d->beta1;
    h->beta2 = d->beta2;
    h->eps = d->eps;
    h->bias1 = 1 - pow(d->beta1, (double)t);
    h->bias2 = 1 - pow(d->beta2, (double)t);
}
static fa_optim_kernel *adam_kernel(const fa_kernels *k) { return k->adam; }

const fa_optim_ops fa_optim_sgd = {"sgd", false, sgd_check, sgd_slots, sgd_begin, sgd_kernel, true};
const fa_optim_ops fa_optim_rmsprop = {"rmsprop",     false,          rmsprop_check, rmsprop_slots,
                                       rmsprop_begin, rmsprop_kernel, false};
const fa_optim_ops fa_optim_adam = {"adam",     false,       adam_check, adam_slots,
                                    adam_begin, adam_kernel, false};
const fa_optim_ops fa_optim_adamw = {"adamw",    true,        adam_check, adam_slots,
                                     adam_begin, adam_kernel, false};
