/* A rule's deltas, and their angles to those of full backprop: two sweeps over the same batch with
 * the same masks, one by the rule and one through the exact weights. It changes nothing. */
#include "api/api.h"
#include "engine/sparse.h"

#include <math.h>
#include <string.h>

typedef struct fa_sums {
    double ab, aa, bb;
} fa_sums;

static fa_sums sums_of(const fa_net *net, fa_mat a, fa_mat b)
{
    return (fa_sums){net->k->dot(a.p, a.ld, b.p, b.ld, a.rows, a.cols),
                     net->k->dot(a.p, a.ld, a.p, a.ld, a.rows, a.cols),
                     net->k->dot(b.p, b.ld, b.p, b.ld, b.rows, b.cols)};
}

/* Degrees; NaN if one of the two is zero. */
static double angle(fa_sums s)
{
    if (!(s.aa > 0) || !(s.bb > 0)) return NAN;
    const double cosine = s.ab / (sqrt(s.aa) * sqrt(s.bb));
    return acos(fmax(-1, fmin(1, cosine))) * (180 / 3.141592653589793);
}

/* ---- the weights that a feedback matrix stands for ---- */

/* below (n_in x c) = W (n_in x n_out) above (n_out x c), in double */
static void multiply_up(const fa_net *net, double *below, const fa_layer *layer,
                        const double *above, int64_t c)
{
    memset(below, 0, (size_t)(layer->n_in * c) * sizeof *below);
    for (int64_t i = 0; i < layer->n_in; i++)
        for (int64_t p = 0; p < layer->n_out; p++) {
            const double w = fa_value_at(net, layer->weight->value, i * layer->n_out + p);
            for (int64_t j = 0; j < c; j++) below[i * c + j] += w * above[p * c + j];
        }
}

/* The angle between B_l (rows x n_l) and the transpose of path (n_l x rows). */
static double feedback_angle(const fa_net *net, const void *b, int64_t rows, int64_t cols,
                             const double *path)
{
    fa_sums s = {0};
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            const double x = fa_value_at(net, b, i * cols + j), y = path[j * rows + i];
            s.ab += x * y, s.aa += x * x, s.bb += y * y;
        }
    return angle(s);
}

/* Memory for the weights that matrices stand for, in double. */
typedef struct weight_buffers {
    double *path;    /* W_{l+1} ... W_L (n_l x n_L) of the block in turn */
    double *next;    /* the path of the block below, while it is computed */
    double *weights; /* W_{l+1} alone */
    double *made;    /* a matrix that the rule makes for a report, in the network's dtype */
} weight_buffers;

/* Adds the layer above to the path: W_{l+1} times the path of block l + 1. */
static void extend_path(weight_buffers *buffers, const fa_net *net, const fa_layer *above)
{
    double *const path = buffers->path;
    multiply_up(net, buffers->next, above, path, net->n_out);
    buffers->path = buffers->next;
    buffers->next = path;
}

/* An error rule's matrix (n_L x n_l) stands for the whole path. */
static double error_rule_angle(const fa_net *net, const fa_param *feedback,
                               const weight_buffers *buffers)
{ return feedback_angle(net, feedback->value, feedback->rows, feedback->cols, buffers->path); }

/* A chain rule's matrix (n_{l+1} x n_l) stands for W_{l+1}; the rule may make it for each step. */
static double chain_rule_angle(const fa_net *net, int b, const weight_buffers *buffers)
{
    const fa_rule *rule = &net->blocks[b].rule;
    const fa_param *above = fa_weight_above(net, b);
    for (int64_t i = 0; i < above->rows * above->cols; i++)
        buffers->weights[i] = fa_value_at(net, above->value, i);
    const bool makes = fa_makes_matrix(net, b);
    if (makes) rule->ops->matrix(net, b, buffers->made);
    return feedback_angle(net, makes ? buffers->made : rule->feedback->value, above->cols,
                          above->rows, buffers->weights);
}

/* Whether a rule has a weight angle, and the angle. */
static bool weight_angle(double *angle_of, const fa_net *net, int b, const weight_buffers *buffers,
                         bool dense_above)
{
    const fa_rule *rule = &net->blocks[b].rule;
    const bool stored = rule->feedback, made_from_weights = rule->step_rows > 0;
    *angle_of = NAN;
    if (rule->ops == &fa_rule_backprop)
        *angle_of = 0; /* it uses the weights themselves */
    else if (stored && rule->sources & FA_FROM_ERROR && dense_above &&
             rule->feedback->cols == net->blocks[b + 1].layer->n_in)
        *angle_of = error_rule_angle(net, rule->feedback, buffers);
    else if ((stored || made_from_weights) && rule->sources & FA_FROM_ABOVE)
        *angle_of = chain_rule_angle(net, b, buffers);
    else
        return false;
    return true;
}

static void weight_angles(fa_angles *angles, const fa_net *net, weight_buffers *buffers)
{
    const int64_t outputs = net->n_out;
    for (int64_t i = 0; i < outputs; i++) buffers->path[i * outputs + i] = 1; /* of the output */
    bool dense_above = true; /* the path of a matrix through windows is no matrix */
    for (int b = net->n_blocks - 2; b >= 0; b--) {
        dense_above = dense_above && !net->blocks[b + 1].layer->ops->gradient;
        if (dense_above) extend_path(buffers, net, net->blocks[b + 1].layer);
        angles[b].has_weight_angle =
            weight_angle(&angles[b].weight_angle, net, b, buffers, dense_above);
    }
}

static fa_status measure_weights(fa_angles *angles, const fa_net *net)
{
    int64_t widest = net->n_out, largest = 0;
    for (int b = 1; b < net->n_blocks; b++) {
        const fa_layer *layer = net->blocks[b].layer;
        if (layer->n_in > widest && !layer->ops->gradient) widest = layer->n_in;
        const int64_t entries = layer->weight->rows * layer->weight->cols;
        if (entries > largest) largest = entries;
    }
    size_t size = 0;
    if (!fa_add_bytes(&size, widest, 2 * net->n_out, sizeof(double)) ||
        !fa_add_bytes(&size, largest, 2, sizeof(double)))
        return fa_fail(FA_E_MEMORY, "out of memory for alignment");
    double *memory = fa_alloc(size);
    if (!memory) return fa_fail(FA_E_MEMORY, "out of memory for alignment");
    const int64_t path_size = widest * net->n_out;
    weight_buffers buffers = {.path = memory,
                              .next = memory + path_size,
                              .weights = memory + 2 * path_size,
                              .made = memory + 2 * path_size + largest};
    weight_angles(angles, net, &buffers);
    fa_free(memory);
    return FA_OK;
}

/* ---- deltas and gradients ---- */

static fa_run probe(const fa_net *net, const fa_samples *samples, fa_work *work)
{
    return (fa_run){.net = net,
                    .work = work,
                    .mode = FA_PROBE,
                    .data = *samples,
                    .m = fa_rows_in(samples),
                    .times = fa_times(samples),
                    .step = fa_state_of(net)->steps};
}

static void copy_delta(const fa_net *net, char *out, fa_mat delta)
{
    const size_t row = (size_t)delta.cols * net->esize;
    for (int64_t i = 0; i < delta.rows; i++)
        memcpy(out + (size_t)i * row, (const char *)delta.p + (size_t)(i * delta.ld) * net->esize,
               row);
}

fa_status fa_deltas(void *const *deltas, const fa_net *net, const fa_samples *samples)
{
    FA_FIXED_FP(true);
    FA_REQUIRE(deltas);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, samples, true, true));
    fa_call call = {.n_work = 1};
    call.entries = fa_csr_most_entries(&s, NULL, 0, s.n, s.n);
    FA_TRY(fa_call_begin(&call, net, fa_rows_in(&s)));
    fa_run run = probe(net, &s, call.work[0]);
    const fa_status status = fa_run_step(&run);
    for (int b = 0; b < net->n_blocks && status == FA_OK; b++)
        if (deltas[b] && net->blocks[b].needs_delta)
            copy_delta(net, deltas[b], run.buf[net->blocks[b].delta]);
    fa_call_end(&call);
    return status;
}

static void whole_gradient(const fa_run *run, const fa_layer *layer, fa_pair pair, fa_mat g)
{
    const fa_tile all = {0, g.rows, 0, g.cols};
    fa_packed_b packed_b = fa_packing_buffer(run, 0);
    if (pair.windows)
        layer->ops->gradient(layer, run, pair, all, g, 1, 0 /* of this thread */);
    else
        fa_gradient_product(run, &run->net->linalg, pair.left, (fa_rows){0, g.rows}, g,
                            run->buf[pair.right], 1, 0, &packed_b);
}

static void gradient_sums(fa_angles *angle_of, const fa_run *rule, const fa_run *exact, int b,
                          char *g)
{
    const fa_net *net = rule->net;
    const fa_block *block = &net->blocks[b];
    const fa_param *w = block->layer->weight;
    const fa_mat mine = {g, w->cols, w->rows, w->cols};
    const fa_mat true_one = {g + (size_t)(w->rows * w->cols) * net->esize, w->cols, w->rows,
                             w->cols};
    fa_pair pair = w->grad[0];
    whole_gradient(rule, block->layer, pair, mine);
    pair.left = block->layer->in;
    whole_gradient(exact, block->layer, pair, true_one);
    angle_of->gradient_angle = angle(sums_of(net, mine, true_one));
}

static void compare(fa_angles *angles, const fa_run *rule, const fa_run *exact, char *g)
{
    const fa_net *net = rule->net;
    for (int b = 0; b < net->n_blocks - 1; b++) {
        angles[b].layer = net->blocks[b].first;
        angles[b].delta_angle = angles[b].gradient_angle = angles[b].norm_ratio = NAN;
        const fa_block *block = &net->blocks[b];
        if (!block->needs_delta || block->rule.sources & FA_NO_UPDATE) continue;
        const fa_sums s = sums_of(net, rule->buf[block->delta], exact->buf[block->delta]);
        angles[b].delta_angle = angle(s);
        if (s.bb > 0) angles[b].norm_ratio = sqrt(s.aa / s.bb);
        gradient_sums(&angles[b], rule, exact, b, g);
    }
}

static fa_status two_sweeps(fa_angles *angles, const fa_net *net, const fa_samples *samples,
                            fa_work *work[2], char *g)
{
    fa_run run[2];
    for (int i = 0; i < 2; i++) {
        run[i] = probe(net, samples, work[i]);
        run[i].exact = i == 1;
        FA_TRY(fa_run_step(&run[i]));
        if (fa_csr_values(&run[i], net->blocks[0].layer->in)) fa_csr_by_columns(&run[i]);
    }
    /* First, because it can fail, and then the angles must be unchanged. */
    FA_TRY(measure_weights(angles, net));
    compare(angles, &run[0], &run[1], g);
    return FA_OK;
}

/* Memory for two gradients of the largest parameter. */
static char *gradient_workspace(const fa_net *net)
{
    int64_t largest = 1;
    for (int i = 0; i < net->n_params; i++) {
        const int64_t n = net->params[i].rows * net->params[i].cols;
        if (n > largest) largest = n;
    }
    size_t size = 0;
    return fa_add_bytes(&size, largest, 2, net->esize) ? fa_alloc(size) : NULL;
}

fa_status fa_alignment(fa_angles *angles, const fa_net *net, const fa_samples *samples)
{
    FA_FIXED_FP(true);
    fa_samples s;
    FA_TRY(fa_validate_samples(&s, net, samples, true, true));
    if (net->n_blocks > 1) FA_REQUIRE(angles);
    fa_call call = {.n_work = 2};
    call.entries = fa_csr_most_entries(&s, NULL, 0, s.n, s.n);
    FA_TRY(fa_call_begin(&call, net, fa_rows_in(&s)));
    char *g = gradient_workspace(net);
    const fa_status status =
        g ? two_sweeps(angles, net, &s, call.work, g)
          : fa_fail(FA_E_MEMORY, "out of memory for alignment; the network is unchanged");
    fa_free(g);
    fa_call_end(&call);
    return status;
}
