/* Losses: sums over outputs, averages over samples. Equations: docs/MATH.md "Losses". */
#include "model/ops.h"

#include <math.h>

static void softmax_ce_error(const fa_kernels *k, const fa_option *options, fa_mat e,
                             double *row_loss, double *hit, fa_mat z, const int64_t *labels,
                             fa_mat y)
{
    (void)options;
    k->softmax_ce(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols);
}

static void sigmoid_ce_error(const fa_kernels *k, const fa_option *options, fa_mat e,
                             double *row_loss, double *hit, fa_mat z, const int64_t *labels,
                             fa_mat y)
{
    (void)options;
    k->sigmoid_ce(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols);
}

static void mse_error(const fa_kernels *k, const fa_option *options, fa_mat e, double *row_loss,
                      double *hit, fa_mat z, const int64_t *labels, fa_mat y)
{
    (void)options;
    k->mse(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols);
}

static void softmax_link(const fa_kernels *k, fa_mat z)
{ k->softmax(z.p, z.ld, z.p, z.ld, z.rows, z.cols); }
static void sigmoid_link(const fa_kernels *k, fa_mat z)
{ k->act[FA_ACT_sigmoid](z.p, z.ld, z.p, z.ld, z.rows, z.cols, 0); }

static const char *check_unit_interval(double low, double high, double sum)
{
    (void)sum;
    return low >= 0 && high <= 1 ? NULL : "values in 0..1";
}

static const char *check_probabilities(double low, double high, double sum)
{
    (void)high; /* at most the sum */
    return low >= 0 && fabs(sum - 1) <= 1e-3 ? NULL : "probabilities that sum to 1";
}

static const char *check_nothing(double low, double high, double sum)
{
    (void)low, (void)high, (void)sum;
    return NULL;
}

const fa_loss_ops fa_loss_softmax_ce = {.name = "softmax_cross_entropy",
                                        .min_outputs = 2,
                                        .logits = true,
                                        .accuracy_rows = true,
                                        .error = softmax_ce_error,
                                        .link = softmax_link,
                                        .check_row = check_probabilities};
const fa_loss_ops fa_loss_sigmoid_ce = {.name = "sigmoid_cross_entropy",
                                        .min_outputs = 1,
                                        .logits = true,
                                        .accuracy_rows = true,
                                        .error = sigmoid_ce_error,
                                        .link = sigmoid_link,
                                        .check_row = check_unit_interval};
const fa_loss_ops fa_loss_mse = {
    .name = "mse", .min_outputs = 1, .error = mse_error, .check_row = check_nothing};
