/* The initial values of feedback matrices: distributions, low rank, sparsity, sharing. docs/MATH.md
 * "Feedback".
 *
 * Most matrices are drawn element by element, into the parameter itself. The others are made in
 * double, in the sampling workspace that is allocated when the network is created, and then
 * rounded.
 *
 * A sparse matrix is stored with its zeros, so that net.feedback reads and writes it like that of
 * any other rule. Each step gathers its few entries once, and all rows of the batch use those. */
#include "model/declare.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- distributions by name ---- */

typedef enum fa_distribution {
    UNIFORM,
    NORMAL,
    SIGN,
    TERNARY,
    ORTHOGONAL,
    AS_WEIGHTS, /* "forward", or the name of an initialiser of weights */
    COPY,
    N_DISTRIBUTIONS,
    UNKNOWN
} fa_distribution;
static const char *const distributions[N_DISTRIBUTIONS] = {
    "uniform", "normal", "sign", "ternary", "orthogonal", "forward", "copy"};

/* The initialisers before it use no width: "zeros", "normal", "uniform". */
enum { FIRST_WITH_FANS = 3 };

const char *fa_distribution_name(int i)
{
    if (i < 0) return NULL;
    return i < N_DISTRIBUTIONS ? distributions[i]
                               : fa_init_name(i - N_DISTRIBUTIONS + FIRST_WITH_FANS);
}

const char *fa_distribution_intern(const char *name)
{
    for (int i = 0; name && fa_distribution_name(i); i++)
        if (!strcmp(fa_distribution_name(i), name)) return fa_distribution_name(i);
    return distributions[0];
}

static fa_distribution distribution_of(const char *name)
{
    for (int i = 0; fa_distribution_name(i); i++)
        if (name && !strcmp(fa_distribution_name(i), name))
            return i < N_DISTRIBUTIONS ? (fa_distribution)i : AS_WEIGHTS;
    return name ? UNKNOWN : UNIFORM;
}

/* ---- checks ---- */

/* The layer whose delta, error or target the matrix multiplies. */
static const fa_layer *source_layer(const fa_net *net, int block)
{
    return net
        ->blocks[net->blocks[block].rule.sources & FA_FROM_ABOVE ? block + 1 : net->n_blocks - 1]
        .layer;
}

static int64_t kept_of(double sparsity, int64_t rows)
{ return (int64_t)floor((1 - sparsity) * (double)rows + 0.5); }

static fa_status check_shape_options(const fa_net *net, int block, int64_t rows, int64_t cols)
{
    const fa_rule *rule = &net->blocks[block].rule;
    const fa_rule_desc *d = &rule->desc;
    const int i = net->blocks[block].first;
    const int64_t most = rows < cols ? rows : cols;
    if (!(d->sparsity >= 0 && d->sparsity < 1))
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: sparsity: expected 0 <= sparsity < 1, got %g", i,
                       d->sparsity);
    if (kept_of(d->sparsity, rows) < 1)
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: sparsity: expected at most %g for %lld rows, got %g; "
                       "more leaves a unit without feedback",
                       i, 1 - 1 / (double)rows, (long long)rows, d->sparsity);
    if (d->feedback_rank < 0 || d->feedback_rank > most)
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: rank: expected 1 to %lld, the narrower side of %lld x "
                       "%lld, got %lld",
                       i, (long long)most, (long long)rows, (long long)cols,
                       (long long)d->feedback_rank);
    if (d->shared && rule->sources & FA_FROM_ABOVE)
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: shared: expected a rule whose matrices have one source "
                       "(such as dfa), got '%s'",
                       i, rule->ops->name);
    return FA_OK;
}

static fa_status check_name(const fa_net *net, int block)
{
    const fa_rule *rule = &net->blocks[block].rule;
    const char *name = rule->desc.feedback.name;
    const int i = net->blocks[block].first;
    const fa_distribution distribution = distribution_of(name);
    const fa_layer *source = source_layer(net, block);
    if (distribution == UNKNOWN)
        return fa_fail(
            FA_E_VALUE,
            "layer %d: feedback: expected the name of a distribution or values, got '%s'", i, name);
    if (distribution == AS_WEIGHTS && !strcmp(name, "forward") && source->desc.weight_init.values)
        return fa_fail(
            FA_E_VALUE,
            "layer %d: feedback: 'forward': expected an initialiser on layer %d, got values", i,
            source->index);
    if (distribution == COPY &&
        (source != net->blocks[block + 1].layer || rule->sources & FA_FROM_TARGET))
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: 'copy': expected a rule with the shape of the "
                       "transposed weights of the layer above, got '%s'",
                       i, rule->ops->name);
    if (distribution >= ORTHOGONAL && distribution != AS_WEIGHTS &&
        (rule->desc.feedback_rank || rule->desc.shared))
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: '%s': expected no rank and not shared, got %s", i, name,
                       rule->desc.shared ? "shared" : "a rank");
    if (distribution == COPY && rule->desc.sparsity != 0)
        return fa_fail(FA_E_VALUE, "layer %d: feedback: 'copy': expected no sparsity, got %g", i,
                       rule->desc.sparsity);
    return FA_OK;
}

fa_status fa_feedback_check(const fa_net *net, int block, int64_t rows, int64_t cols)
{
    const fa_rule_desc *d = &net->blocks[block].rule.desc;
    const fa_init *init = &d->feedback;
    const int i = net->blocks[block].first;
    if (!(fabs(init->scale) <= FLT_MAX))
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: expected a scale that a float can hold, got %g", i,
                       init->scale);
    if (!init->values) {
        FA_TRY(check_name(net, block));
        return check_shape_options(net, block, rows, cols);
    }
    if (init->rows != rows || init->cols != cols)
        return fa_fail(
            FA_E_VALUE,
            "layer %d: feedback: expected values of shape (%lld, %lld), got (%lld, %lld)", i,
            (long long)rows, (long long)cols, (long long)init->rows, (long long)init->cols);
    if (d->sparsity != 0 || d->feedback_rank || d->shared)
        return fa_fail(FA_E_VALUE,
                       "layer %d: feedback: expected no sparsity, rank or shared, got them with "
                       "given values",
                       i);
    return FA_OK;
}

/* Drawn element by element, so that some rows can be drawn without the others. */
bool fa_feedback_is_plain(const fa_rule *rule)
{
    const fa_distribution distribution = distribution_of(rule->desc.feedback.name);
    return !rule->desc.feedback.values &&
           (distribution == UNIFORM || distribution == NORMAL || distribution == AS_WEIGHTS) &&
           rule->desc.sparsity == 0 && !rule->desc.feedback_rank && !rule->desc.shared;
}

/* ---- drawing ---- */

typedef struct fa_draw_spec {
    bool normal;
    double size;
} fa_draw_spec; /* uniform in +-size, or normal with standard deviation size */

/* As an initialiser draws weights: B^T has those of a layer from cols units to rows units. "forward"
 * is the initialiser of the source layer. */
static fa_draw_spec spec_of_weights(const fa_net *net, int block, int64_t rows, int64_t cols)
{
    const fa_init *init = &net->blocks[block].rule.desc.feedback;
    const fa_layer *source = source_layer(net, block);
    fa_draw_spec spec = {0};
    if (net->blocks[block].rule.sources & FA_FROM_ABOVE && source->ops->carry)
        cols = source->fan_in, rows = source->fan_out; /* it stands for these weights */
    if (strcmp(init->name, "forward")) {
        spec.size = fa_init_size(&spec.normal, init->name, init->scale, cols, rows);
        return spec;
    }
    const fa_init *w = &source->desc.weight_init;
    const char *name = w->name ? w->name : fa_default_init(source->desc.activation);
    const double scale = w->name ? w->scale : 1;
    spec.size = init->scale * fa_init_size(&spec.normal, name, scale, cols, rows);
    return spec;
}

/* Every distribution has the variance scale^2 / (3 n), n = cols, that of the first:
 *
 *   uniform in +-a             a^2 / 3      a = scale / sqrt(n)
 *   normal, deviation a        a^2          a = scale / sqrt(3 n)
 *   sign, +-a                  a^2          a = scale / sqrt(3 n)
 *   ternary, -a, 0 or a        2 a^2 / 3    a = scale / sqrt(2 n)
 *   orthogonal                 drawn from normal numbers, scaled when it is orthonormal */
static fa_draw_spec draw_spec(const fa_net *net, int block, int64_t rows, int64_t cols)
{
    const fa_init *init = &net->blocks[block].rule.desc.feedback;
    const double n = (double)cols;
    switch (distribution_of(init->name)) {
    case AS_WEIGHTS: return spec_of_weights(net, block, rows, cols);
    case NORMAL: return (fa_draw_spec){true, init->scale / sqrt(3 * n)};
    case ORTHOGONAL: return (fa_draw_spec){true, 1};
    case SIGN: return (fa_draw_spec){false, init->scale / sqrt(3 * n)};
    case TERNARY: return (fa_draw_spec){false, init->scale / sqrt(2 * n)};
    default: return (fa_draw_spec){false, init->scale / sqrt(n)};
    }
}

void fa_draw_plain(const fa_net *net, int block, const fa_param *p, int64_t rows, int64_t cols,
                   fa_stream stream)
{
    const fa_draw_spec spec = draw_spec(net, block, rows, cols);
    (spec.normal ? fa_rng_normal : fa_rng_uniform)(p->value, net->dtype, 0, p->rows * p->cols,
                                                   spec.size, stream);
}

static int ordinal_of(const fa_net *net, int block)
{ return net->blocks[block].rule.desc.shared ? 0 : net->blocks[block].layer->ordinal; }

void fa_draw_feedback_rows(const fa_net *net, int block, uint64_t step, int64_t sources,
                           fa_rows rows, fa_mat out)
{
    const fa_draw_spec spec = draw_spec(net, block, sources, out.cols);
    (spec.normal ? fa_rng_normal : fa_rng_uniform)(
        out.p, net->dtype, rows.r0 * out.cols, out.rows * out.cols, spec.size,
        fa_rng_stream(net->seed, FA_RNG_FEEDBACK, net->blocks[block].layer->ordinal, step));
}

/* Columns of the matrix that is drawn. Layers that share one use its first columns, so it is as
 * wide as the widest of them. */
static int64_t drawn_cols(const fa_net *net, int block)
{
    int64_t cols = fa_feedback_cols(net, block);
    for (int b = 0; net->blocks[block].rule.desc.shared && b < net->n_blocks - 1; b++)
        if (net->blocks[b].rule.desc.shared && fa_block_width(net, b) > cols)
            cols = fa_block_width(net, b);
    return cols;
}

/* Draws rows x cols numbers of the rule's distribution. */
static void fill(double *out, const fa_net *net, int block, int64_t rows, int64_t cols)
{
    const fa_draw_spec spec = draw_spec(net, block, rows, cols);
    const fa_distribution distribution =
        distribution_of(net->blocks[block].rule.desc.feedback.name);
    const bool levels = distribution == SIGN || distribution == TERNARY;
    const int64_t n = rows * cols;
    (spec.normal ? fa_rng_normal : fa_rng_uniform)(
        out, FA_F64, 0, n, levels ? 1 : spec.size,
        fa_rng_stream(net->seed, FA_RNG_FEEDBACK, ordinal_of(net, block), 0));
    if (!levels) return;
    for (int64_t i = 0; i < n; i++) { /* from -1..1 to two or three equally likely levels */
        if (distribution == SIGN)
            out[i] = out[i] >= 0 ? spec.size : -spec.size;
        else
            out[i] = 3 * out[i] < -1 ? -spec.size : 3 * out[i] < 1 ? 0 : spec.size;
    }
}

/* Makes the rows orthonormal, one after the other (modified Gram-Schmidt), or the columns if they
 * are fewer. */
static void orthonormalise(double *b, int64_t rows, int64_t cols)
{
    const int64_t n = rows < cols ? rows : cols, length = rows < cols ? cols : rows;
    const int64_t next = rows <= cols ? cols : 1, step = rows <= cols ? 1 : cols;
    for (int64_t i = 0; i < n; i++) {
        double *x = b + i * next, square = 0;
        for (int64_t j = 0; j < i; j++) {
            const double *y = b + j * next;
            double dot = 0;
            for (int64_t k = 0; k < length; k++) dot += x[k * step] * y[k * step];
            for (int64_t k = 0; k < length; k++) x[k * step] -= dot * y[k * step];
        }
        for (int64_t k = 0; k < length; k++) square += x[k * step] * x[k * step];
        for (int64_t k = 0; k < length; k++) x[k * step] /= sqrt(square);
    }
}

/* Orthonormal, then scaled to the standard deviation of "uniform". */
static void orthogonalise(double *b, int64_t rows, int64_t cols, double scale)
{
    orthonormalise(b, rows, cols);
    const double factor = scale * sqrt((double)(rows < cols ? cols : rows) / (3 * (double)cols));
    for (int64_t i = 0; i < rows * cols; i++) b[i] *= factor;
}

typedef struct fa_ranked_row {
    double draw;
    int64_t row;
} fa_ranked_row;

static int by_draw(const void *a, const void *b)
{
    const fa_ranked_row *x = a, *y = b;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return x->row < y->row ? -1 : 1;
}

/* Keeps in each column the `kept` entries with the lowest draws. */
static void sparsify(double *b, const fa_net *net, int block, int64_t rows, int64_t cols,
                     int64_t kept, double *workspace)
{
    fa_ranked_row *ranked = (fa_ranked_row *)workspace;
    double *draws = workspace + 2 * rows;
    fa_rng_uniform(draws, FA_F64, 0, rows * cols, 1,
                   fa_rng_stream(net->seed, FA_RNG_SPARSITY, ordinal_of(net, block), 0));
    for (int64_t j = 0; j < cols; j++) {
        for (int64_t i = 0; i < rows; i++) ranked[i] = (fa_ranked_row){draws[i * cols + j], i};
        qsort(ranked, (size_t)rows, sizeof *ranked, by_draw);
        for (int64_t i = kept; i < rows; i++) b[ranked[i].row * cols + j] = 0;
    }
}

/* b = P Q of rank r, Q a draw of r rows, P normal of variance 1/r. */
static void low_rank(double *b, const fa_net *net, int block, int64_t rows, int64_t cols, int64_t r,
                     double *workspace)
{
    double *p = workspace, *q = workspace + rows * r;
    fill(q, net, block, r, cols);
    fa_rng_normal(p, FA_F64, 0, rows * r, 1 / sqrt((double)r),
                  fa_rng_stream(net->seed, FA_RNG_PROJECTION, ordinal_of(net, block), 0));
    memset(b, 0, (size_t)(rows * cols) * sizeof *b);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < r; k++)
            for (int64_t j = 0; j < cols; j++) b[i * cols + j] += p[i * r + k] * q[k * cols + j];
}

/* The size of the sampling workspace that the feedback of a block needs, in doubles. */
static size_t workspace_size(const fa_net *net, int block)
{
    const fa_rule *rule = &net->blocks[block].rule;
    if (rule->ops->sampling) return rule->ops->sampling(rule);
    if (!rule->feedback || rule->desc.feedback.values || fa_feedback_is_plain(rule) ||
        distribution_of(rule->desc.feedback.name) == COPY)
        return 0;
    const size_t rows = (size_t)rule->feedback->rows, cols = (size_t)drawn_cols(net, block),
                 r = (size_t)rule->desc.feedback_rank;
    const size_t more = rule->desc.sparsity > 0 ? rows * (cols + 2) : 0;
    return rows * cols + (r * (rows + cols) > more ? r * (rows + cols) : more);
}

fa_status fa_plan_sampling(fa_net *net)
{
    size_t workspace = 0;
    for (int b = 0; b < net->n_blocks - 1; b++)
        if (workspace_size(net, b) > workspace) workspace = workspace_size(net, b);
    if (workspace == 0) return FA_OK;
    net->sampling_workspace = fa_net_alloc(net, (int64_t)workspace, sizeof(double));
    return net->sampling_workspace ? FA_OK
                                   : fa_fail(FA_E_MEMORY, "out of memory for drawing feedback");
}

/* Rounds the first columns of `drawn` (`cols` columns wide) into a parameter. */
static void round_into(const fa_net *net, const fa_param *p, const double *drawn, int64_t cols)
{
    for (int64_t i = 0; i < p->rows; i++)
        for (int64_t j = 0; j < p->cols; j++) {
            if (net->dtype == FA_F64)
                ((double *)p->value)[i * p->cols + j] = drawn[i * cols + j];
            else
                ((float *)p->value)[i * p->cols + j] = (float)drawn[i * cols + j];
        }
}

static void draw_in_workspace(const fa_net *net, int block, const fa_param *b)
{
    const fa_rule_desc *d = &net->blocks[block].rule.desc;
    const int64_t rows = b->rows, cols = drawn_cols(net, block);
    double *drawn = net->sampling_workspace, *more = drawn + rows * cols;
    if (d->feedback_rank)
        low_rank(drawn, net, block, rows, cols, d->feedback_rank, more);
    else
        fill(drawn, net, block, rows, cols);
    if (distribution_of(d->feedback.name) == ORTHOGONAL)
        orthogonalise(drawn, rows, cols, d->feedback.scale);
    if (d->sparsity > 0) sparsify(drawn, net, block, rows, cols, kept_of(d->sparsity, rows), more);
    round_into(net, b, drawn, cols);
}

static void copy_weights(const fa_net *net, int block, const fa_param *b, double scale)
{
    const fa_param *w = net->blocks[block + 1].layer->weight;
    for (int64_t i = 0; i < b->rows; i++)
        for (int64_t j = 0; j < b->cols; j++) {
            if (net->dtype == FA_F64)
                ((double *)b->value)[i * b->cols + j] =
                    scale * ((const double *)w->value)[j * w->cols + i];
            else
                ((float *)b->value)[i * b->cols + j] =
                    (float)scale * ((const float *)w->value)[j * w->cols + i];
        }
}

void fa_draw_orthonormal(const fa_net *net, const fa_param *p, fa_stream stream)
{
    fa_rng_normal(net->sampling_workspace, FA_F64, 0, p->rows * p->cols, 1, stream);
    orthonormalise(net->sampling_workspace, p->rows, p->cols);
    round_into(net, p, net->sampling_workspace, p->cols);
}

void fa_draw_feedback(const fa_net *net, int block)
{
    const fa_rule *rule = &net->blocks[block].rule;
    const fa_param *b = rule->feedback;
    const fa_init *init = &rule->desc.feedback;
    if (rule->ops->draw) rule->ops->draw(net, block);
    if (!b) return;
    if (init->values)
        net->k->gather(b->value, b->cols, init->values, b->cols, NULL, b->rows, b->cols,
                       init->scale);
    else if (distribution_of(init->name) == COPY)
        copy_weights(net, block, b, init->scale);
    else if (fa_feedback_is_plain(rule))
        fa_draw_feedback_rows(net, block, 0, b->rows, (fa_rows){0, b->rows}, fa_param_matrix(b));
    else
        draw_in_workspace(net, block, b);
}

int64_t fa_feedback_nnz(const fa_net *net, int block, int64_t rows)
{
    /* AVX-512 multiplies this many sources in the time of gathering one entry. */
    enum { SOURCES_PER_ENTRY = 48 };
    const fa_rule_desc *d = &net->blocks[block].rule.desc;
    if (d->feedback.values || d->sparsity == 0) return 0;
    const int64_t kept = kept_of(d->sparsity, rows);
    return kept == 1 || kept * SOURCES_PER_ENTRY <= rows ? kept : 0;
}
