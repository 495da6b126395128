/* Losses: sums over outputs, averages over samples. Equations: docs/MATH.md "Losses". */
#include "model/ops.h"

#include <math.h>

/* ---- options ---- */

enum { SMOOTHING };
static const fa_option_row softmax_options[] = {
    [SMOOTHING] = {.name = "smoothing",
                   FA_HALF_OPEN(0, 1),
                   .meaning = "share of each target that is spread evenly over all classes"},
    {0}};
enum { DELTA };
static const fa_option_row huber_options[] = {
    [DELTA] = {.name = "delta",
               .number = 1,
               FA_MORE_THAN(0),
               .meaning = "residual from which on the loss is linear"},
    {0}};
enum { QUANTILE };
static const fa_option_row pinball_options[] = {
    [QUANTILE] = {.name = "quantile",
                  .number = 0.5,
                  .low = 0,
                  .high = 1,
                  .low_excluded = true,
                  .high_excluded = true,
                  .meaning = "share of the targets that is to lie below the outputs"},
    {0}};
enum { GAMMA, ALPHA };
static const fa_option_row focal_options[] = {
    [GAMMA] = {.name = "gamma",
               .number = 2,
               FA_AT_LEAST(0),
               .meaning = "power by which outputs that are right count less"},
    [ALPHA] = {.name = "alpha",
               .number = 0.25,
               .low = 0,
               .high = 1,
               .low_excluded = true,
               .high_excluded = true,
               .meaning = "weight of targets 1; those of 0 have 1 - alpha"},
    {0}};

/* ---- errors ---- */

static void softmax_ce_error(const fa_kernels *k, const fa_option *options, fa_mat e,
                             double *row_loss, double *hit, fa_mat z, const int64_t *labels,
                             fa_mat y)
{
    const double smoothing = options[SMOOTHING].number;
    if (smoothing == 0)
        k->softmax_ce(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols);
    else
        k->softmax_ce_smooth(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols,
                             smoothing);
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

static void huber_error(const fa_kernels *k, const fa_option *options, fa_mat e, double *row_loss,
                        double *hit, fa_mat z, const int64_t *labels, fa_mat y)
{
    k->huber(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols,
             options[DELTA].number, 0);
}

static void mae_error(const fa_kernels *k, const fa_option *options, fa_mat e, double *row_loss,
                      double *hit, fa_mat z, const int64_t *labels, fa_mat y)
{
    (void)options;
    k->pinball(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols, 1, 1);
}

static void pinball_error(const fa_kernels *k, const fa_option *options, fa_mat e, double *row_loss,
                          double *hit, fa_mat z, const int64_t *labels, fa_mat y)
{
    k->pinball(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols,
               options[QUANTILE].number, 1 - options[QUANTILE].number);
}

static void poisson_error(const fa_kernels *k, const fa_option *options, fa_mat e, double *row_loss,
                          double *hit, fa_mat z, const int64_t *labels, fa_mat y)
{
    (void)options;
    k->poisson(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols, 0, 0);
}

static void focal_error(const fa_kernels *k, const fa_option *options, fa_mat e, double *row_loss,
                        double *hit, fa_mat z, const int64_t *labels, fa_mat y)
{
    k->focal(e.p, e.ld, row_loss, hit, z.p, z.ld, labels, y.p, y.ld, z.rows, z.cols,
             options[GAMMA].number, options[ALPHA].number);
}

static void softmax_link(const fa_kernels *k, fa_mat z)
{ k->softmax(z.p, z.ld, z.p, z.ld, z.rows, z.cols); }
static void sigmoid_link(const fa_kernels *k, fa_mat z)
{ k->act[FA_ACT_sigmoid](z.p, z.ld, z.p, z.ld, z.rows, z.cols, 0); }

static void exponential_link(const fa_kernels *k, fa_mat z)
{ k->exponential(z.p, z.ld, z.p, z.ld, z.rows, z.cols); }

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

static const char *check_counts(double low, double high, double sum)
{
    (void)high, (void)sum;
    return low >= 0 ? NULL : "values >= 0";
}

static const char *check_nothing(double low, double high, double sum)
{
    (void)low, (void)high, (void)sum;
    return NULL;
}

const fa_loss_ops fa_loss_softmax_ce = {.name = "softmax_cross_entropy",
                                        .options = softmax_options,
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
const fa_loss_ops fa_loss_huber = {.name = "huber",
                                   .options = huber_options,
                                   .min_outputs = 1,
                                   .error = huber_error,
                                   .check_row = check_nothing};
const fa_loss_ops fa_loss_mae = {
    .name = "mae", .min_outputs = 1, .error = mae_error, .check_row = check_nothing};
const fa_loss_ops fa_loss_pinball = {.name = "pinball",
                                     .options = pinball_options,
                                     .min_outputs = 1,
                                     .error = pinball_error,
                                     .check_row = check_nothing};
const fa_loss_ops fa_loss_poisson = {.name = "poisson",
                                     .min_outputs = 1,
                                     .logits = true,
                                     .error = poisson_error,
                                     .link = exponential_link,
                                     .check_row = check_counts};
const fa_loss_ops fa_loss_focal = {.name = "focal",
                                   .options = focal_options,
                                   .min_outputs = 1,
                                   .logits = true,
                                   .accuracy_rows = true,
                                   .error = focal_error,
                                   .link = sigmoid_link,
                                   .check_row = check_unit_interval};
const fa_loss_ops fa_loss_custom = {.name = "custom", .min_outputs = 1, .check_row = check_nothing};
