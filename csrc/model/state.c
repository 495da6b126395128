/* Checks of a network's numbers: of counters and learning rate, and for values that are not
 * finite. */
#include "model/network.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

double fa_largest(const fa_net *net) { return net->dtype == FA_F64 ? DBL_MAX : FLT_MAX; }

double fa_value_at(const fa_net *net, const void *p, int64_t i)
{ return net->dtype == FA_F64 ? ((const double *)p)[i] : (double)((const float *)p)[i]; }

/* For messages, NaN without its sign, which differs between machines. */
double fa_value_shown(double value) { return isnan(value) ? fabs(value) : value; }

/* Whether a matrix has a value that is not finite, and where the first is. */
bool fa_find_nonfinite(const fa_net *net, const void *p, ptrdiff_t ld, int64_t rows, int64_t cols,
                       int64_t *row, int64_t *col)
{
    if (net->k->all_finite(p, ld, rows, cols)) return false;
    for (*row = 0; *row < rows; ++*row)
        for (*col = 0; *col < cols; ++*col)
            if (!isfinite(fa_value_at(net, p, *row * ld + *col))) return true;
    return false;
}

/* slot: -1 for the parameter itself */
static fa_status check_tensor(const fa_net *net, const fa_param *p, int slot)
{
    const void *values = slot < 0 ? p->value : p->slot[slot];
    const char *range = net->dtype == FA_F64 ? "float64" : "float32";
    const unsigned long long steps = fa_state_of(net)->steps;
    int64_t i, j;
    if (!fa_find_nonfinite(net, values, p->cols, p->rows, p->cols, &i, &j)) return FA_OK;
    char key[sizeof p->key + 16], what[sizeof key + 128]; /* the key as in a file */
    snprintf(key, sizeof key, "%s.slot%d", p->key, slot);
    snprintf(what, sizeof what, "%s: not finite (%g at row %lld, column %lld)",
             slot < 0 ? p->key : key, fa_value_shown(fa_value_at(net, values, i * p->cols + j)),
             (long long)i, (long long)j);
    if (steps == 0)
        return fa_fail(FA_E_NONFINITE,
                       "%s: a given or written value was not finite, or a scale draws numbers "
                       "beyond %s; reset the network or write finite numbers",
                       what, range);
    return fa_fail(
        FA_E_NONFINITE,
        "%s after %llu steps: an update left the range of %s, or a number that is "
        "not finite was written; to go on, reset the network, restore a saved state or "
        "write finite numbers; a smaller lr, scaled inputs or clip_norm keep updates in range",
        what, steps, range);
}

fa_status fa_check_tensors(const fa_net *net)
{
    for (int i = 0; i < net->n_params; i++)
        for (int s = -1; s < net->params[i].n_slots; s++)
            FA_TRY(check_tensor(net, &net->params[i], s));
    return FA_OK;
}

fa_status fa_check_state(const fa_state *s)
{
    if (s->steps > FA_MAX_COUNT || s->epochs > FA_MAX_COUNT)
        return fa_fail(FA_E_VALUE, "state: expected steps and epochs up to 2^62, got %llu and %llu",
                       (unsigned long long)s->steps, (unsigned long long)s->epochs);
    if (!(s->lr >= 0) || !isfinite(s->lr))
        return fa_fail(FA_E_VALUE, "state: lr: expected a number >= 0, got %g", s->lr);
    return FA_OK;
}
