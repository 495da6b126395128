/* Sequences for tests, and what a stack of recurrent and dense layers makes of them: plain loops in
 * double, from the equations of docs/MATH.md. Needs check.h. */
#ifndef SEQUENCES_H
#define SEQUENCES_H

enum { X_COLS = 4, Z_COLS = 3, MOST_ROWS = 800, MOST_UNITS = 8, MOST_BLOCKS = 4 };
typedef double table[MOST_ROWS][MOST_UNITS]; /* row i T + t: step t of sequence i */
typedef double square[MOST_UNITS][MOST_UNITS];

static const char *const times[] = {"bptt", "kp",   "fa",        "sign",  "diagonal",
                                    "leak", "none", "broadcast", "frozen"};
enum { N_TIMES = sizeof times / sizeof *times };

static UNUSED bool equal(const char *a, const char *b) { return !strcmp(a, b); }

/* ---- data ---- */

typedef enum { LABELS, ROWS, STEP_LABELS, STEP_ROWS, N_KINDS } kind;

/* Targets of the last step, and of every step with gaps; the first step of all has one. */
typedef struct {
    fa_dtype dtype;
    int64_t n, steps;
    void *x, *y, *y_steps;
    int64_t *labels, *labels_steps;
    double *weights;
} sequences;

static UNUSED sequences sequences_new(fa_dtype dtype, int64_t n, int64_t steps)
{
    const size_t rows = (size_t)(n * steps), size = size_of(dtype);
    sequences d = {dtype, n, steps, .x = malloc(rows * X_COLS * size)};
    d.y = malloc((size_t)n * Z_COLS * size), d.y_steps = malloc(rows * Z_COLS * size);
    d.labels = malloc((size_t)n * sizeof(int64_t)), d.weights = malloc((size_t)n * sizeof(double));
    d.labels_steps = malloc(rows * sizeof(int64_t));
    random_state = 4321 + rows;
    for (int64_t i = 0; i < n * steps * X_COLS; i++) put(d.x, dtype, i, 2 * random_unit() - 1);
    for (int64_t r = 0; r < n * steps + n; r++) {
        const bool last = r >= n * steps, gap = !last && r > 0 && random_unit() < 0.4;
        const int64_t i = last ? r - n * steps : r;
        const double share = random_unit(),
                     y[Z_COLS] = {share, (1 - share) / 4, (1 - share) * 3 / 4};
        (last ? d.labels : d.labels_steps)[i] = gap ? -1 : random_below(Z_COLS);
        for (int j = 0; j < Z_COLS; j++)
            put(last ? d.y : d.y_steps, dtype, i * Z_COLS + j, gap ? NAN : y[j]);
        if (last) d.weights[i] = 0.2 + 2 * random_unit();
    }
    return d;
}

static UNUSED void sequences_free(sequences *d)
{
    free(d->x), free(d->y), free(d->y_steps), free(d->labels), free(d->labels_steps),
        free(d->weights);
}

/* Sequences first .. first + n - 1, without targets. */
static UNUSED fa_samples steps_of(const sequences *d, int64_t first, int64_t n)
{
    fa_samples s =
        fa_samples_of(rows_at(d->x, d->dtype, first * d->steps, X_COLS), X_COLS, d->dtype, n);
    s.time_steps = d->steps;
    return s;
}

static UNUSED fa_samples taught(const sequences *d, kind k, int64_t first, int64_t n)
{
    fa_samples s = steps_of(d, first, n);
    s.every_step = k >= STEP_LABELS;
    s.weights = d->weights + first;
    if (k == LABELS) s.labels = d->labels + first;
    if (k == STEP_LABELS) s.labels = d->labels_steps + first * d->steps;
    if (k == ROWS) s.y = rows_at(d->y, d->dtype, first, Z_COLS);
    if (k == STEP_ROWS) s.y = rows_at(d->y_steps, d->dtype, first * d->steps, Z_COLS);
    s.ldy = Z_COLS;
    return s;
}

/* ---- networks ---- */

/* Layers of a network, with the options of its recurrent ones. Stays where it was made. */
typedef struct {
    fa_layer_desc layers[6];
    fa_option options[2];
    fa_rule_desc rule;
    fa_optimizer_desc optimizer;
    fa_net_desc desc;
} stack;

/* shape: r and d are recurrent and dense layers of tanh, - dropout; a linear dense layer ends it. */
static UNUSED void stack_init(stack *s, const char *shape, const char *time, double leak,
                              const char *rule, fa_dtype dtype)
{
    *s = (stack){.options = {{"leak", leak, NULL}, {"time", 0, time}}};
    const int n = (int)strlen(shape);
    for (int i = 0; i < n; i++) {
        s->layers[i] = shape[i] == '-'   ? fa_dropout(0.25)
                       : shape[i] == 'r' ? fa_recurrent(6 - i, "tanh")
                                         : fa_dense(7 - i, "tanh");
        if (shape[i] == 'r') s->layers[i].options = s->options, s->layers[i].n_options = 2;
    }
    s->layers[n] = fa_dense(Z_COLS, "linear");
    s->rule = fa_rule_of(rule);
    s->optimizer = fa_optimizer_of("adam", 0.01);
    s->desc = fa_net_defaults();
    s->desc.rule = &s->rule, s->desc.optimizer = &s->optimizer;
    s->desc.dtype = dtype, s->desc.n_in = X_COLS, s->desc.seed = 5, s->desc.n_threads = 1;
    s->desc.layers = s->layers, s->desc.n_layers = n + 1;
}

static UNUSED fa_net *stack_net(const char *shape, const char *time, double leak, const char *rule,
                                fa_dtype dtype)
{
    stack s;
    stack_init(&s, shape, time, leak, rule, dtype);
    return make(&s.desc);
}

static UNUSED double number_at(const void *p, fa_dtype dtype, int64_t i)
{ return dtype == FA_F64 ? ((const double *)p)[i] : ((const float *)p)[i]; }

/* ---- the same in double ---- */

typedef struct {
    fa_block_info info;
    bool recurrent, linear;
    const char *time;
    double leak, b[MOST_UNITS], gb[MOST_UNITS];
    square w, u, r, m; /* m: of the rule; r: of the way back in time */
    table a, h, d;
    square gw, gu;
} ref_block;

typedef struct {
    fa_dtype dtype;
    int n_blocks;
    int64_t n, steps, n_targets;
    const char *rule;
    double loss, hits;
    table x, e;
    ref_block block[MOST_BLOCKS];
} reference;

static UNUSED bool ref_read(double *out, const fa_net *net, int64_t layer, const char *name)
{
    char key[40];
    snprintf(key, sizeof key, "%lld.%s", (long long)layer, name);
    const int64_t i = fa_net_find(net, key);
    if (i < 0) return false;
    const fa_tensor t = fa_net_tensor(net, i);
    for (int64_t j = 0; j < t.rows * t.cols; j++)
        out[j / t.cols * MOST_UNITS + j % t.cols] =
            number_at(t.data, fa_net_description(net)->dtype, j);
    return true;
}

static UNUSED void ref_init(reference *ref, const fa_net *net, const char *time, double leak,
                            const char *rule)
{
    *ref = (reference){.dtype = fa_net_description(net)->dtype, .rule = rule};
    ref->n_blocks = (int)fa_net_n_blocks(net);
    for (int b = 0; b < ref->n_blocks; b++) {
        ref_block *block = &ref->block[b];
        double m[MOST_UNITS * MOST_UNITS];
        block->info = block_of(net, b), block->time = time, block->leak = leak;
        const fa_block_info *info = &block->info;
        ref_read(block->w[0], net, info->layer, "weight"),
            ref_read(block->b, net, info->layer, "bias");
        block->recurrent = ref_read(block->u[0], net, info->layer, "recurrent");
        ref_read(block->r[0], net, info->layer, "recurrent_feedback");
        block->linear = b + 1 == ref->n_blocks;
        if (info->feedback_rows == 0) continue;
        REQUIRE(fa_feedback_matrix(m, net, b) == FA_OK, "feedback");
        for (int64_t j = 0; j < info->feedback_rows * info->feedback_cols; j++)
            block->m[j / info->feedback_cols][j % info->feedback_cols] =
                number_at(m, ref->dtype, j);
    }
}

static UNUSED void ref_forward(reference *ref, const sequences *d)
{
    ref->n = d->n, ref->steps = d->steps;
    for (int64_t r = 0; r < d->n * d->steps; r++)
        for (int j = 0; j < X_COLS; j++) ref->x[r][j] = number_at(d->x, d->dtype, r * X_COLS + j);
    for (int b = 0; b < ref->n_blocks; b++) {
        ref_block *block = &ref->block[b];
        double (*in)[MOST_UNITS] = b ? ref->block[b - 1].h : ref->x;
        for (int64_t r = 0; r < d->n * d->steps; r++)
            for (int64_t j = 0; j < block->info.n_out; j++) {
                const double *before = r % d->steps && block->recurrent ? block->h[r - 1] : NULL;
                double a = block->b[j];
                for (int64_t i = 0; i < block->info.n_in; i++) a += in[r][i] * block->w[i][j];
                for (int64_t i = 0; before && i < block->info.n_out; i++)
                    a += before[i] * block->u[i][j];
                const double f = block->linear ? a : tanh(a);
                block->a[r][j] = a;
                block->h[r][j] = block->recurrent ? block->leak * f : f;
                if (before) block->h[r][j] += (1 - block->leak) * before[j];
            }
    }
}

static UNUSED bool ref_target(double y[Z_COLS], const sequences *d, kind k, int64_t r)
{
    const bool last = k < STEP_LABELS;
    if (last && (r + 1) % d->steps) return false;
    const int64_t i = last ? r / d->steps : r;
    for (int j = 0; j < Z_COLS; j++) {
        if (k == ROWS || k == STEP_ROWS)
            y[j] = number_at(last ? d->y : d->y_steps, d->dtype, i * Z_COLS + j);
        else
            y[j] = (last ? d->labels : d->labels_steps)[i] == j;
    }
    return k == STEP_LABELS ? d->labels_steps[i] >= 0 : !isnan(y[0]);
}

/* softmax_cross_entropy: the mean over steps with a target, and e */
static UNUSED void ref_errors(reference *ref, const sequences *d, kind k)
{
    const ref_block *top = &ref->block[ref->n_blocks - 1];
    ref->n_targets = 0, ref->loss = ref->hits = 0;
    for (int64_t r = 0; r < d->n * d->steps; r++) {
        double y[Z_COLS], sum = 0, loss = 0;
        const double *z = top->h[r];
        memset(ref->e[r], 0, sizeof ref->e[r]);
        if (!ref_target(y, d, k, r)) continue;
        int best = 0, right = 0;
        for (int j = 0; j < Z_COLS; j++) {
            sum += exp(z[j]);
            if (z[j] > z[best]) best = j;
            if (y[j] > y[right]) right = j;
        }
        for (int j = 0; j < Z_COLS; j++) {
            loss += y[j] * (log(sum) - z[j]);
            ref->e[r][j] = exp(z[j]) / sum - y[j];
        }
        ref->loss += d->weights[r / d->steps] * loss;
        ref->hits += best == right, ref->n_targets++;
    }
    ref->loss /= (double)ref->n_targets;
}

static UNUSED double ref_sign(double x) { return (x > 0) - (x < 0); }

/* Component j of K(v) */
static UNUSED double ref_carry(const ref_block *b, const char *time, const double *v, int64_t j)
{
    double sum = 0;
    if (equal(time, "diagonal")) return v[j] * b->u[j][j];
    for (int64_t p = 0; p < b->info.n_out; p++) {
        if (equal(time, "bptt")) sum += v[p] * b->u[j][p];
        if (equal(time, "kp") || equal(time, "fa")) sum += v[p] * b->r[p][j];
        if (equal(time, "sign")) sum += v[p] * ref_sign(b->u[j][p]) / sqrt((double)b->info.n_out);
    }
    return sum;
}

/* Row r of D from S, with the steps after it done. */
static UNUSED void ref_delta(ref_block *b, table g, const double *s, const char *time, int64_t r,
                             bool last)
{
    const double k = b->recurrent ? b->leak : 1;
    const double c = equal(time, "broadcast")                       ? 1
                     : equal(time, "none") || equal(time, "frozen") ? 0
                                                                    : 1 - k;
    for (int64_t j = 0; j < b->info.n_out; j++) {
        g[r][j] = s[j];
        if (b->recurrent && !last) g[r][j] += c * g[r + 1][j] + ref_carry(b, time, b->d[r + 1], j);
        b->d[r][j] = g[r][j] * k * (b->linear ? 1 : 1 - tanh(b->a[r][j]) * tanh(b->a[r][j]));
    }
}

/* exact: of backprop through the weights and all steps */
static UNUSED void ref_deltas(reference *ref, bool exact)
{
    static table g;
    memcpy(ref->block[ref->n_blocks - 1].d, ref->e, sizeof ref->e);
    for (int b = ref->n_blocks - 2; b >= 0; b--) {
        ref_block *block = &ref->block[b], *above = block + 1;
        const bool chain = exact || equal(block->info.source, "above");
        const int64_t width = chain ? above->info.n_out : Z_COLS;
        for (int64_t r = ref->n * ref->steps; r-- > 0;) {
            double s[MOST_UNITS] = {0};
            for (int64_t i = 0; i < width; i++) {
                double v = chain ? above->d[r][i] : ref->e[r][i];
                if (!exact && equal(ref->rule, "sdfa")) v = ref_sign(v);
                if (!exact && equal(ref->rule, "ternary")) v = fabs(v) > 0.25 ? ref_sign(v) : 0;
                for (int64_t j = 0; j < block->info.n_out; j++)
                    s[j] += v * (exact ? above->w[j][i] : block->m[i][j]);
            }
            ref_delta(block, g, s, exact ? "bptt" : block->time, r, (r + 1) % ref->steps == 0);
        }
    }
}

/* With the sample weights, which D has from here on. */
static UNUSED void ref_gradients(reference *ref, const sequences *d)
{
    for (int b = 0; b < ref->n_blocks; b++) {
        ref_block *block = &ref->block[b];
        double (*in)[MOST_UNITS] = b ? ref->block[b - 1].h : ref->x;
        memset(block->gw, 0, sizeof(square)), memset(block->gu, 0, sizeof(square));
        memset(block->gb, 0, sizeof block->gb);
        for (int64_t r = 0; r < ref->n * ref->steps; r++)
            for (int64_t j = 0; j < block->info.n_out; j++) {
                block->d[r][j] *= d->weights[r / ref->steps];
                const double v = block->d[r][j] / (double)ref->n_targets;
                block->gb[j] += v;
                for (int64_t i = 0; i < block->info.n_in; i++) block->gw[i][j] += in[r][i] * v;
                for (int64_t i = 0; r % ref->steps && i < block->info.n_out; i++)
                    block->gu[i][j] += block->h[r - 1][i] * v;
            }
    }
}

#endif
