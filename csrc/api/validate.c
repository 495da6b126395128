/* Validation: every call checks the shapes of its samples here before it does anything else, and
 * their values, unless they are checked already or it trains on many batches; train.c checks the
 * labels of those. */
#include "api/api.h"
#include "engine/sparse.h"

#include <math.h>

static fa_status check_sparse(const fa_samples *s)
{
    if (s->index_bytes != 4 && s->index_bytes != 8)
        return fa_fail(FA_E_VALUE, "X: index_bytes: expected 4 or 8, got %d", s->index_bytes);
    if (s->n_entries < 0)
        return fa_fail(FA_E_VALUE, "X: n_entries: expected 0 or more, got %lld",
                       (long long)s->n_entries);
    if (s->n_entries > 0 && !s->indices)
        return fa_fail(FA_E_VALUE, "X: indices: expected a pointer, got NULL");
    return FA_OK;
}

static fa_status check_inputs(const fa_net *net, const fa_samples *s)
{
    const bool sparse = fa_is_sparse(s);
    if (sparse) FA_TRY(check_sparse(s));
    if (!s->x && !(sparse && s->n_entries == 0))
        return fa_fail(FA_E_VALUE, "X: expected a pointer, got NULL");
    if (s->x_dtype != net->dtype && s->x_dtype != FA_U8)
        return fa_fail(FA_E_VALUE, "X: expected the network's dtype (%s) or bytes, got %d",
                       net->dtype == FA_F64 ? "float64" : "float32", (int)s->x_dtype);
    if (!sparse && s->ldx < net->n_in)
        return fa_fail(FA_E_VALUE, "X: expected a row stride of at least %lld, got %lld",
                       (long long)net->n_in, (long long)s->ldx);
    return FA_OK;
}

static fa_status check_targets(const fa_net *net, const fa_samples *s)
{
    if (!s->labels == !s->y)
        return fa_fail(FA_E_VALUE, "y: expected either labels or rows, got %s",
                       s->y ? "both" : "neither");
    if (s->y && s->ldy < net->n_out)
        return fa_fail(FA_E_VALUE, "y: expected a row stride of at least %lld, got %lld",
                       (long long)net->n_out, (long long)s->ldy);
    return FA_OK;
}

static fa_status check_times(const fa_net *net, const fa_samples *s)
{
    if (!net->recurrent && s->time_steps)
        return fa_fail(FA_E_VALUE,
                       "time_steps: expected 0 in a network without a recurrent layer, got %lld",
                       (long long)s->time_steps);
    if (net->recurrent && (s->time_steps < 1 || s->time_steps > INT32_MAX))
        return fa_fail(FA_E_VALUE,
                       "time_steps: expected 1 to %d, the steps of each sequence, got %lld",
                       INT32_MAX, (long long)s->time_steps);
    if (net->recurrent && fa_is_sparse(s))
        return fa_fail(FA_E_VALUE, "X: expected a dense array for a network with a recurrent "
                                   "layer, got a sparse one");
    if (net->recurrent && s->n > INT64_MAX / 64 / s->time_steps)
        return fa_fail(FA_E_VALUE, "X: expected fewer sequences, got %lld of %lld steps",
                       (long long)s->n, (long long)s->time_steps);
    return FA_OK;
}

static fa_status check_shapes(const fa_net *net, const fa_samples *s, bool inputs, bool targets)
{
    FA_TRY(check_times(net, s));
    if (s->n < 1)
        return fa_fail(FA_E_VALUE, "X: expected at least one sample, got %lld", (long long)s->n);
    if (inputs) FA_TRY(check_inputs(net, s));
    return targets ? check_targets(net, s) : FA_OK;
}

fa_status fa_bad_label(const fa_net *net, const fa_samples *s, int64_t i)
{
    return fa_fail(FA_E_VALUE, "y: expected labels in 0..%lld, got %lld at index %lld",
                   (long long)fa_n_classes(net) - 1, (long long)s->labels[i], (long long)i);
}

static fa_status check_labels(const fa_net *net, const fa_samples *s)
{
    for (int64_t i = 0; i < fa_targets_in(s); i++)
        if (!fa_label_fits(net, s->labels[i]) && !(s->every_step && s->labels[i] == -1))
            return fa_bad_label(net, s, i);
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

fa_status fa_check_csr_row(const fa_net *net, const fa_samples *s, int64_t i)
{
    const int64_t begin = fa_index_at(s, s->indptr, i), end = fa_index_at(s, s->indptr, i + 1);
    if (begin < 0 || end < begin || end > s->n_entries)
        return fa_fail(FA_E_VALUE,
                       "X: indptr: expected numbers that do not decrease, from 0 to the %lld "
                       "entries, got %lld and %lld for row %lld",
                       (long long)s->n_entries, (long long)begin, (long long)end, (long long)i);
    int64_t before = -1;
    for (int64_t t = begin; t < end; t++) {
        const int64_t column = fa_index_at(s, s->indices, t);
        if (column < 0 || column >= net->n_in)
            return fa_fail(FA_E_VALUE,
                           "X: indices: expected columns in 0..%lld, got %lld in row %lld",
                           (long long)net->n_in - 1, (long long)column, (long long)i);
        if (column <= before)
            return fa_fail(FA_E_VALUE,
                           "X: indices: expected columns that ascend in each row, got %lld after "
                           "%lld in row %lld; sort them, and add up what is in one place",
                           (long long)column, (long long)before, (long long)i);
        before = column;
    }
    return FA_OK;
}

static fa_status check_finite(const fa_net *net, const char *name, const void *p, ptrdiff_t ld,
                              int64_t rows, int64_t cols, int64_t first)
{
    int64_t i, j;
    if (!fa_find_nonfinite(net, p, ld, rows, cols, &i, &j)) return FA_OK;
    return fa_fail(FA_E_VALUE, "%s: expected finite numbers, got %g at row %lld, column %lld", name,
                   fa_value_shown(fa_value_at(net, p, i * ld + j)), (long long)(first + i),
                   (long long)j);
}

/* The values of all rows; their structure is checked. */
static fa_status check_finite_entries(const fa_net *net, const fa_samples *s)
{
    const int64_t first = fa_index_at(s, s->indptr, 0), n = fa_index_at(s, s->indptr, s->n) - first;
    int64_t i = 0, t, row = 0;
    if (n == 0) return FA_OK;
    const char *values = (const char *)s->x + (size_t)first * net->esize;
    if (!fa_find_nonfinite(net, values, n, 1, n, &i, &t)) return FA_OK;
    t += first;
    while (fa_index_at(s, s->indptr, row + 1) <= t) row++;
    return fa_fail(FA_E_VALUE, "X: expected finite numbers, got %g at row %lld, column %lld",
                   fa_value_shown(fa_value_at(net, s->x, t)), (long long)row,
                   (long long)fa_index_at(s, s->indices, t));
}

static fa_status check_rows(const fa_net *net, const fa_samples *s)
{
    for (int64_t i = 0; i < fa_targets_in(s); i++) {
        const char *const row = (const char *)s->y + (size_t)(i * s->ldy) * net->esize;
        if (s->every_step && fa_is_blank(net, row)) continue;
        if (i == 0 || s->every_step)
            FA_TRY(check_finite(net, "y", row, s->ldy, s->every_step ? 1 : s->n, net->n_out, i));
        double low = INFINITY, high = -INFINITY, sum = 0;
        for (int64_t j = 0; j < net->n_out; j++) {
            const double y = fa_value_at(net, s->y, i * s->ldy + j);
            low = fmin(low, y), high = fmax(high, y), sum += y;
        }
        const char *expected = net->loss->check_row(low, high, sum);
        if (expected)
            return fa_fail(FA_E_VALUE, "y: expected %s for %s, got others in row %lld", expected,
                           net->loss->name, (long long)i);
    }
    return FA_OK;
}

/* Targets first: there are fewer of them. */
static fa_status check_values(const fa_net *net, const fa_samples *s, bool inputs, bool targets)
{
    if (targets && s->labels) FA_TRY(check_labels(net, s));
    if (targets && s->y) FA_TRY(check_rows(net, s));
    if (s->weights) FA_TRY(check_weights(net, s));
    for (int64_t i = 0; inputs && fa_is_sparse(s) && i < s->n; i++)
        FA_TRY(fa_check_csr_row(net, s, i));
    if (!inputs || s->x_dtype == FA_U8) return FA_OK;
    return fa_is_sparse(s) ? check_finite_entries(net, s)
                           : check_finite(net, "X", s->x, s->ldx, fa_rows_in(s), net->n_in, 0);
}

fa_status fa_validate_samples(fa_samples *s, const fa_net *net, const fa_samples *from,
                              bool targets, bool values)
{
    FA_REQUIRE(net);
    FA_TRY(FA_COPY_STRUCT(s, from, n, "samples"));
    FA_TRY(check_shapes(net, s, true, targets));
    return values && !s->checked ? check_values(net, s, true, targets) : FA_OK;
}

fa_status fa_check(const fa_net *net, const fa_samples *samples)
{
    FA_FIXED_FP(true);
    fa_samples s;
    FA_REQUIRE(net);
    FA_TRY(FA_COPY_STRUCT(&s, samples, n, "samples"));
    const bool targets = s.labels || s.y, inputs = s.x || s.indptr || !targets;
    FA_TRY(check_shapes(net, &s, inputs, targets));
    return check_values(net, &s, inputs, targets);
}

bool fa_has_accuracy(const fa_net *net, const fa_samples *s)
{ return (s->labels && net->n_out > 1) || net->loss->accuracy_rows; }
