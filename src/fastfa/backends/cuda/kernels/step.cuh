/* The optimizer's step on an entry of a parameter, and on feedback that is coupled to it. */

enum {
    OPTIMIZER_gradient, /* no step: the gradients are what is written */
    OPTIMIZER_plain,    /* sgd without slots */
    OPTIMIZER_sgd,
    OPTIMIZER_rmsprop,
    OPTIMIZER_adam,
    OPTIMIZER_rmsprop_centered,
    OPTIMIZER_adagrad,
    OPTIMIZER_nadam,
    OPTIMIZER_lion
};

struct parameter {
    T *value;       /* (rows x cols) */
    T *slot0;       /* or NULL */
    T *slot1;       /* or NULL */
    T *slot2;       /* or NULL */
    const T *left;  /* H (m x rows); NULL: ones, for a bias */
    const T *right; /* D (m x cols), without sample weights */
    T *coupled;     /* feedback (cols x rows) that gets each step too, transposed: kp; or NULL */
    int rows;
    int cols;
    int group;       /* of the factors */
    int weighs_left; /* 1: sample weights multiply the left factor, of feedback that learns */
    int decays;      /* 1: value and coupled are multiplied by coupled_keep */
    T coupled_keep;
};

/* The factors of csrc/kernels/optimizer.inc */
FA_INLINE fa_factors factors_of(const step_factors &f)
{
    fa_factors all;
    all.lr = f.lr;
    all.momentum = f.momentum;
    all.alpha = f.alpha;
    all.beta2 = f.beta2;
    all.eps = f.eps;
    all.decay = f.decay;
    all.keep = f.keep;
    all.g_scale = f.g_scale;
    all.one_alpha = f.one_alpha;
    all.one_beta1 = f.one_beta1;
    all.one_beta2 = f.one_beta2;
    all.bias2 = f.bias2;
    all.lr_g = f.lr_g;
    all.nesterov = f.nesterov != 0;
    return all;
}

/* Adds what entry (i, j) has changed to the coupled feedback; both lose the share of their decay.
 * Returns the entry. */
FA_INLINE T step_coupled(const parameter &p, int i, int j, T before, T after)
{
    const T taken = after - before;
    T *b = p.coupled + at(j, p.rows, i);
    *b = p.coupled_keep * *b + taken;
    return p.decays ? p.coupled_keep * before + taken : after;
}

/* Entry (i, j), whose gradient is g. couples: 0 if no parameter is coupled */
FA_INLINE void step_entry(const int optimizer, const int couples, control_block *c, int ahead,
                          const parameter &p, const fa_factors &factors, int i, int j, V g)
{
    const unsigned to = at(i, p.cols, j);
    const bool third = optimizer == OPTIMIZER_rmsprop_centered && p.slot2; /* no other has one */
    fa_entries x = {p.value[to], 0, 0, 0};
    const T before = x.w.x;
    if (p.slot0) x.s0 = p.slot0[to];
    if (p.slot1) x.s1 = p.slot1[to];
    if (third) x.s2 = p.slot2[to];
    if (optimizer == OPTIMIZER_plain) fa_plain_step(&x, g, &factors);
    if (optimizer == OPTIMIZER_sgd) fa_sgd_step(&x, g, &factors);
    if (optimizer == OPTIMIZER_rmsprop) fa_rmsprop_step(&x, g, &factors);
    if (optimizer == OPTIMIZER_adam) fa_adam_step(&x, g, &factors);
    if (optimizer == OPTIMIZER_rmsprop_centered) fa_rmsprop_centered_step(&x, g, &factors);
    if (optimizer == OPTIMIZER_adagrad) fa_adagrad_step(&x, g, &factors);
    if (optimizer == OPTIMIZER_nadam) fa_nadam_step(&x, g, &factors);
    if (optimizer == OPTIMIZER_lion) fa_lion_step(&x, g, &factors);
    if (couples && p.coupled) x.w.x = step_coupled(p, i, j, before, x.w.x);
    p.value[to] = x.w.x;
    if (p.slot0) p.slot0[to] = x.s0.x;
    if (p.slot1) p.slot1[to] = x.s1.x;
    if (third) p.slot2[to] = x.s2.x;
    if (!is_finite(x.w.x) || !is_finite(x.s0.x) || !is_finite(x.s1.x))
        c->ruined = (int)(c->done + ahead + 1);
}
