/* The door: what every call that takes samples checks before anything is touched. */
#include "internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

fa_status fa_copy_struct(void *mine, size_t size, size_t least, const void *from, const char *what)
{
    if (!from) return fa_fail(FA_E_VALUE, "%s: expected a pointer, got NULL", what);
    size_t given;
    memcpy(&given, from, sizeof given);
    if (given > size)
        return fa_fail(FA_E_VALUE,
                       "%s: struct_size: this library (%s) knows %zu bytes, got %zu: compiled "
                       "against a newer fastfa.h",
                       what, FASTFA_VERSION, size, given);
    if (given < least)
        return fa_fail(FA_E_VALUE,
                       "%s: struct_size: expected its sizeof (an initialiser of fastfa.h sets it), "
                       "got %zu",
                       what, given);
    memcpy(mine, from, given);
    memset((char *)mine + given, 0, size - given);
    return FA_OK;
}

double fa_largest(const fa_net *net) { return net->dtype == FA_F64 ? DBL_MAX : FLT_MAX; }

static double value_at(const fa_net *net, const void *p, int64_t i)
{ return net->dtype == FA_F64 ? ((const double *)p)[i] : (double)((const float *)p)[i]; }

static fa_status check_shapes(const fa_net *net, const fa_samples *s, bool targets)
{
    if (s->n < 1)
        return fa_fail(FA_E_VALUE, "X: expected at least one sample, got %lld", (long long)s->n);
    if (!s->x) return fa_fail(FA_E_VALUE, "X: expected a pointer, got NULL");
    if (s->x_dtype != net->dtype && s->x_dtype != FA_U8)
        return fa_fail(FA_E_VALUE, "X: expected the network's dtype (%s) or bytes",
                       net->dtype == FA_F64 ? "float64" : "float32");
    if (s->ldx < net->n_in)
        return fa_fail(FA_E_VALUE, "X: expected a row stride of at least %lld, got %lld",
                       (long long)net->n_in, (long long)s->ldx);
    if (!targets) return FA_OK;
    if (!s->labels == !s->y)
        return fa_fail(FA_E_VALUE, "y: expected either labels or rows, got %s",
                       s->y ? "both" : "neither");
    if (s->y && s->ldy < net->n_out)
        return fa_fail(FA_E_VALUE, "y: expected a row stride of at least %lld, got %lld",
                       (long long)net->n_out, (long long)s->ldy);
    return FA_OK;
}

static int64_t n_classes(const fa_net *net) { return net->n_out > 1 ? net->n_out : 2; }

bool fa_label_fits(const fa_net *net, int64_t label)
{ return label >= 0 && label < n_classes(net); }

fa_status fa_bad_label(const fa_net *net, const fa_samples *s, int64_t i)
{
    return fa_fail(FA_E_VALUE, "y: expected labels in 0..%lld, got %lld at index %lld",
                   (long long)n_classes(net) - 1, (long long)s->labels[i], (long long)i);
}

static fa_status check_labels(const fa_net *net, const fa_samples *s)
{
    for (int64_t i = 0; i < s->n; i++)
        if (!fa_label_fits(net, s->labels[i])) return fa_bad_label(net, s, i);
    return FA_OK;
}

static fa_status check_weights(const fa_net *net, const fa_samples *s)
{
    const double most = fa_largest(net);
    for (int64_t i = 0; i < s->n; i++)
        if (!(s->weights[i] >= 0 && s->weights[i] <= most))
            return fa_fail(
                FA_E_VALUE, "sample_weight: expected finite numbers >= 0%s, got %g at index %lld",
                isfinite(s->weights[i]) && s->weights[i] > 0 ? " that float32 holds" : "",
                s->weights[i], (long long)i);
    return FA_OK;
}

/* As messages have it: the sign of NaN differs from machine to machine. */
static double shown(double value) { return isnan(value) ? fabs(value) : value; }

/* Whether a matrix has a value that is not finite, and where the first stands. */
static bool find_not_finite(const fa_net *net, const void *p, ptrdiff_t ld, int64_t rows,
                            int64_t cols, int64_t *row, int64_t *col)
{
    if (net->k->all_finite(p, ld, rows, cols)) return false;
    for (*row = 0; *row < rows; ++*row)
        for (*col = 0; *col < cols; ++*col)
            if (!isfinite(value_at(net, p, *row * ld + *col))) return true;
    return false;
}

static fa_status check_finite(const fa_net *net, const char *name, const void *p, ptrdiff_t ld,
                              int64_t rows, int64_t cols)
{
    int64_t i, j;
    if (!find_not_finite(net, p, ld, rows, cols, &i, &j)) return FA_OK;
    return fa_fail(FA_E_VALUE, "%s: expected finite numbers, got %g at row %lld, column %lld", name,
                   shown(value_at(net, p, i * ld + j)), (long long)i, (long long)j);
}

/* slot: -1 for the parameter itself */
static fa_status check_tensor(const fa_net *net, const fa_param *p, int slot)
{
    const void *values = slot < 0 ? p->value : p->slot[slot];
    const char *range = net->dtype == FA_F64 ? "float64" : "float32";
    const unsigned long long steps = ((const fa_state *)net->state)->steps;
    int64_t i, j;
    if (!find_not_finite(net, values, p->cols, p->rows, p->cols, &i, &j)) return FA_OK;
    char key[sizeof p->key + 16], what[sizeof key + 128]; /* as in a file */
    snprintf(key, sizeof key, "%s.slot%d", p->key, slot);
    snprintf(what, sizeof what, "%s: not finite (%g at row %lld, column %lld)",
             slot < 0 ? p->key : key, shown(value_at(net, values, i * p->cols + j)), (long long)i,
             (long long)j);
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
    const int slots = net->optim.n_slots;
    for (int i = 0; i < net->n_params; i++)
        for (int s = -1; s < (net->params[i].trainable ? slots : 0); s++)
            FA_TRY(check_tensor(net, &net->params[i], s));
    return FA_OK;
}

static fa_status check_rows(const fa_net *net, const fa_samples *s)
{
    FA_TRY(check_finite(net, "y", s->y, s->ldy, s->n, net->n_out));
    for (int64_t i = 0; i < s->n; i++) {
        double low = INFINITY, high = -INFINITY, sum = 0;
        for (int64_t j = 0; j < net->n_out; j++) {
            const double y = value_at(net, s->y, i * s->ldy + j);
            low = fmin(low, y), high = fmax(high, y), sum += y;
        }
        const char *expected = net->loss->check_row(low, high, sum);
        if (expected)
            return fa_fail(FA_E_VALUE, "y: %s expected %s, got others in row %lld", net->loss->name,
                           expected, (long long)i);
    }
    return FA_OK;
}

fa_status fa_validate_samples(fa_samples *s, const fa_net *net, const fa_samples *from,
                              bool targets, bool values)
{
    FA_REQUIRE(net);
    FA_TRY(FA_COPY_STRUCT(s, from, n, "samples"));
    FA_TRY(check_shapes(net, s, targets));
    if (!values) return FA_OK;
    if (targets && s->labels) FA_TRY(check_labels(net, s));
    if (s->x_dtype != FA_U8) FA_TRY(check_finite(net, "X", s->x, s->ldx, s->n, net->n_in));
    if (targets && s->y) FA_TRY(check_rows(net, s));
    return s->weights ? check_weights(net, s) : FA_OK;
}

fa_status fa_check(const fa_net *net, const fa_samples *samples)
{
    FA_FIXED_FP(true);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, samples, false, false));
    return fa_validate_samples(&s, net, samples, s.labels || s.y, true);
}

bool fa_has_accuracy(const fa_net *net, const fa_samples *s)
{ return (s->labels && net->n_out > 1) || net->loss->accuracy_rows; }
