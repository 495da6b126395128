/* Images: convolutions against sums written out, against finite differences and against Dense; every
 * rule that takes images; threads, files, memory. What is refused: test_image_refusals.c. */
#include "images.h"

static images data;

static double value_at(const void *p, fa_dtype dtype, int64_t i)
{ return dtype == FA_F64 ? ((const double *)p)[i] : ((const float *)p)[i]; }

/* Whether n numbers are those expected: differences are small beside the largest. */
static bool close_to(const void *p, fa_dtype dtype, const double *expected, int64_t n)
{
    double largest = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(expected[i]));
        const double d = fabs(value_at(p, dtype, i) - expected[i]);
        worst = d <= worst ? worst : d; /* NaN too */
    }
    return worst <= (dtype == FA_F64 ? 1e-12 : 2e-5) * (largest + 1e-3);
}

static void *tensor(const fa_net *net, int layer, const char *name)
{
    char key[40];
    snprintf(key, sizeof key, "%d.%s", layer, name);
    const int64_t i = fa_net_find(net, key);
    REQUIRE(i >= 0, "there is a tensor %s", key);
    return fa_net_tensor(net, i).data;
}

static void train(fa_net *net, int64_t first, int64_t n)
{
    const fa_samples s = images_of(&data, fa_net_description(net)->dtype, first, n);
    double loss;
    CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "train_batch");
}

/* ---- one convolution of many shapes ---- */

/* A Dense layer is a window over one position. */
typedef struct {
    int64_t h, w, c, filters, kernel_h, kernel_w, stride_h, stride_w, top, left, out_h, out_w;
} window;

static int64_t n_in(const window *g) { return g->h * g->w * g->c; }
static int64_t n_out(const window *g) { return g->out_h * g->out_w * g->filters; }
static int64_t n_patch(const window *g) { return g->kernel_h * g->kernel_w * g->c; }

/* Adds x W to out, d W^T to dx and x^T d to dw, those that are given. */
static void sweep(const window *g, const double *x, const double *w, const double *d, double *out,
                  double *dx, double *dw)
{
    const int64_t taps = g->kernel_h * g->kernel_w;
    for (int64_t at = 0; at < g->out_h * g->out_w * taps; at++) {
        const int64_t to = at / taps, tap = at % taps;
        const int64_t i = to / g->out_w * g->stride_h + tap / g->kernel_w - g->top;
        const int64_t j = to % g->out_w * g->stride_w + tap % g->kernel_w - g->left;
        if (i < 0 || i >= g->h || j < 0 || j >= g->w) continue;
        for (int64_t c = 0; c < g->c; c++)
            for (int64_t f = 0; f < g->filters; f++) {
                const int64_t from = (i * g->w + j) * g->c + c, above = to * g->filters + f;
                const int64_t k = (tap * g->c + c) * g->filters + f;
                if (out) out[above] += x[from] * w[k];
                if (dx) dx[from] += d[above] * w[k];
                if (dw) dw[k] += x[from] * d[above];
            }
    }
}

static const struct {
    window g;
    const char *padding; /* NULL: top rows and left columns of zeros on both sides */
} shapes[] = {
    {{1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1}, "valid"},
    {{5, 4, 3, 5, 5, 4, 1, 1, 0, 0, 1, 1}, "valid"}, /* as large as the image */
    {{6, 5, 2, 3, 3, 3, 1, 1, 0, 0, 4, 3}, NULL},
    {{6, 5, 2, 3, 3, 3, 1, 1, 1, 1, 6, 5}, "same"},
    {{6, 5, 2, 4, 2, 4, 1, 1, 0, 1, 6, 5}, "same"}, /* odd zeros: one more at the end */
    {{7, 6, 2, 3, 3, 2, 2, 3, 1, 0, 4, 2}, "same"},
    {{7, 7, 1, 9, 2, 2, 3, 2, 0, 0, 3, 4}, "same"},  /* strides that need no zeros in rows */
    {{5, 8, 1, 17, 1, 3, 4, 1, 0, 1, 2, 8}, "same"}, /* strides beyond the kernel */
    {{5, 7, 2, 4, 3, 2, 2, 3, 0, 0, 2, 2}, "valid"},
    {{3, 3, 2, 3, 4, 5, 1, 2, 2, 3, 4, 3}, NULL}, /* larger than the image without its zeros */
    {{1, 9, 4, 8, 1, 2, 1, 1, 0, 0, 1, 8}, "valid"},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, MOST_OUT = 400 };
static const char *const activations[] = {"linear", "relu", "tanh", "leaky_relu"};

static double activation_of(const char *name, double a)
{
    if (!strcmp(name, "tanh")) return tanh(a);
    if (!strcmp(name, "softplus")) return log1p(exp(a));
    return a > 0 || !strcmp(name, "linear") ? a : !strcmp(name, "relu") ? 0 : 0.01 * a;
}

static fa_net *one_convolution(int i, const char *f, fa_dtype dtype, bool use_bias)
{
    image_recipe r;
    const window *g = &shapes[i].g;
    recipe_images(&r, "backprop", dtype);
    fa_layer_desc layers[3] = {fa_conv2d(g->filters, 0, f), fa_flatten(), fa_dense(2, "linear")};
    fa_layer_desc *conv = &layers[0];
    conv->kernel_h = g->kernel_h, conv->kernel_w = g->kernel_w;
    conv->stride_h = g->stride_h, conv->stride_w = g->stride_w;
    conv->padding = shapes[i].padding, conv->use_bias = use_bias;
    if (!conv->padding) conv->pad_h = g->top, conv->pad_w = g->left;
    if (g->stride_h == 1) conv->stride_h = 0; /* the default */
    conv->bias_init.name = "normal";
    r.desc.n_in = n_in(g), r.desc.input_h = g->h, r.desc.input_w = g->w, r.desc.input_c = g->c;
    r.desc.layers = layers, r.desc.n_layers = 3, r.desc.loss = "mse";
    return make(&r.desc);
}

static void check_sizes(const fa_net *net, const window *g)
{
    fa_layer_info of[3];
    for (int i = 0; i < 3; i++) {
        of[i].struct_size = sizeof of[i];
        CHECK(fa_net_layer(&of[i], net, i) == FA_OK, "layer %d", i);
    }
    CHECK(of[0].n_in == n_in(g) && of[0].n_out == n_out(g) && of[0].h == g->out_h &&
              of[0].w == g->out_w && of[0].c == g->filters,
          "the map is %lld x %lld x %lld", (long long)of[0].h, (long long)of[0].w,
          (long long)of[0].c);
    CHECK(of[0].multiply_adds == (double)(n_out(g) * n_patch(g)), "work of the convolution");
    CHECK(of[1].h == 0 && of[1].w == 0 && of[1].c == n_out(g) && of[1].n_out == n_out(g),
          "Flatten");
    CHECK(of[1].multiply_adds == 0, "Flatten has no work");
    CHECK(of[2].n_in == n_out(g) && of[2].n_out == 2 && of[2].c == 2, "Dense");
    CHECK(block_of(net, 0).n_signal == n_out(g), "the signal of a map");
}

/* z = f(conv(x) + b) W + c, written out. */
static void expect_outputs(double *z, const fa_net *net, const window *g, const char *f,
                           fa_dtype dtype, const double *x)
{
    double w[4 * 20 * 32], h[MOST_OUT] = {0};
    const void *kernel = tensor(net, 0, "weight"), *top = tensor(net, 2, "weight");
    const void *bias = fa_net_find(net, "0.bias") < 0 ? NULL : tensor(net, 0, "bias");
    for (int64_t i = 0; i < n_patch(g) * g->filters; i++) w[i] = value_at(kernel, dtype, i);
    sweep(g, x, w, NULL, h, NULL, NULL);
    for (int64_t i = 0; i < n_out(g); i++) {
        const double b = bias ? value_at(bias, dtype, i % g->filters) : 0;
        const double a = activation_of(f, h[i] + b);
        for (int k = 0; k < 2; k++) z[k] += a * value_at(top, dtype, 2 * i + k);
    }
}

static void outputs_are_sums_over_windows(void)
{
    static const int64_t sizes[] = {1, 2, 17};
    for (int i = 0; i < N_SHAPES * 8; i++) {
        const window *g = &shapes[i / 8].g;
        const fa_dtype dtype = dtypes[i % 2];
        const char *f = activations[i / 2 % 4];
        fa_net *net = one_convolution(i / 8, f, dtype, i % 3 > 0);
        images_fill(&data, n_in(g));
        check_sizes(net, g);
        double expected[MOST_IMAGES * 2] = {0}, out[MOST_IMAGES * 2];
        for (int64_t m = 0; m < 17; m++)
            expect_outputs(expected + 2 * m, net, g, f, dtype, data.x + m * n_in(g));
        for (int s = 0; s < 3; s++) {
            const fa_samples x = images_of(&data, dtype, 0, sizes[s]);
            CHECK(fa_predict(out, 2, net, &x, 0) == FA_OK, "predict");
            CHECK(close_to(out, dtype, expected, 2 * sizes[s]), "shape %d, %s, %d images", i / 8, f,
                  (int)sizes[s]);
        }
        fa_net_free(net);
    }
    images_fill(&data, N_PIXELS);
}

/* ---- every rule, written out ---- */

enum { BLOCKS = 4, WIDEST = 6 * 5 * 4, ENTRIES = 27 * 7, MATRIX = 7 * WIDEST };
static const int layer_of[BLOCKS] = {CONV_1, CONV_2, HIDDEN, TOP};
static const window windows[BLOCKS] = {{6, 5, 2, 4, 3, 3, 1, 1, 1, 1, 6, 5},
                                       {6, 5, 4, 3, 2, 3, 2, 1, 0, 0, 3, 3},
                                       {1, 1, 27, 7, 1, 1, 1, 1, 0, 0, 1, 1},
                                       {1, 1, 7, 3, 1, 1, 1, 1, 0, 0, 1, 1}};

/* Parameters and gradients in double, and what one sample has. */
typedef struct {
    double w[BLOCKS][ENTRIES], bias[BLOCKS][8], dw[BLOCKS][ENTRIES], dbias[BLOCKS][8];
    double h[BLOCKS + 1][WIDEST], d[BLOCKS][WIDEST];
} oracle;

static oracle oracle_of(const fa_net *net, fa_dtype dtype)
{
    oracle o = {0};
    for (int b = 0; b < BLOCKS; b++) {
        const window *g = &windows[b];
        const void *w = tensor(net, layer_of[b], "weight"), *c = tensor(net, layer_of[b], "bias");
        for (int64_t i = 0; i < n_patch(g) * g->filters; i++) o.w[b][i] = value_at(w, dtype, i);
        for (int64_t i = 0; i < g->filters; i++) o.bias[b][i] = value_at(c, dtype, i);
    }
    return o;
}

static void softmax_minus(double *e, const double *z, int64_t label)
{
    double sum = 0;
    for (int k = 0; k < N_CLASSES; k++) sum += exp(z[k]);
    for (int k = 0; k < N_CLASSES; k++) e[k] = exp(z[k]) / sum - (k == label);
}

static void go_forward(oracle *o, const fa_net *net, const double *x, int64_t label)
{
    memset(o->h, 0, sizeof o->h);
    memcpy(o->h[0], x, N_PIXELS * sizeof *x);
    for (int b = 0; b < BLOCKS; b++) {
        const window *g = &windows[b];
        const char *f = block_of(net, b).activation;
        sweep(g, o->h[b], o->w[b], NULL, o->h[b + 1], NULL, NULL);
        for (int64_t i = 0; i < n_out(g); i++)
            o->h[b + 1][i] = activation_of(f, o->h[b + 1][i] + o->bias[b][i % g->filters]);
    }
    softmax_minus(o->d[TOP - 1], o->h[BLOCKS], label);
}

/* The row that feedback of n_L rows multiplies. */
static void source_of(double *v, const oracle *o, const fa_net *net, int b, int64_t label,
                      const double *m)
{
    const fa_block_info info = block_of(net, b);
    const double *e = o->d[BLOCKS - 1];
    double z[N_CLASSES] = {0};
    for (int k = 0; k < N_CLASSES && !strcmp(info.rule, "local"); k++) {
        z[k] = value_at(tensor(net, layer_of[b], "head.bias"), fa_net_description(net)->dtype, k);
        for (int64_t i = 0; i < n_out(&windows[b]); i++)
            z[k] += o->h[b + 1][i] * m[k * n_out(&windows[b]) + i];
    }
    if (!strcmp(info.rule, "local")) softmax_minus(v, z, label);
    for (int k = 0; k < N_CLASSES && strcmp(info.rule, "local"); k++) {
        const double sign = (e[k] > 0) - (e[k] < 0);
        v[k] = !strcmp(info.rule, "sdfa")      ? sign
               : !strcmp(info.rule, "ternary") ? (fabs(e[k]) > 0.25 ? sign : 0)
               : !strcmp(info.rule, "drtp")    ? k == label
                                               : e[k];
    }
}

static void delta_of_block(oracle *o, const fa_net *net, int b, int64_t label)
{
    const fa_block_info info = block_of(net, b);
    const fa_dtype dtype = fa_net_description(net)->dtype;
    double given[MATRIX], m[MATRIX], v[N_CLASSES], *s = o->d[b];
    const int64_t rows = info.feedback_rows, cols = info.feedback_cols;
    REQUIRE(rows * cols > 0 && rows * cols <= MATRIX, "%s has a matrix", info.rule);
    CHECK(fa_feedback_matrix(given, net, b) == FA_OK, "feedback");
    memset(s, 0, sizeof o->d[b]);
    const bool above = !strcmp(info.source, "above");
    for (int64_t i = 0; i < rows * cols; i++) /* B is W^T where it stands for weights */
        m[above ? i % cols * rows + i / cols : i] = value_at(given, dtype, i);
    if (above)
        sweep(&windows[b + 1], NULL, m, o->d[b + 1], NULL, s, NULL);
    else
        source_of(v, o, net, b, label, m);
    for (int64_t i = 0; i < cols && !above; i++)
        for (int k = 0; k < N_CLASSES; k++) s[i] += v[k] * m[k * cols + i];
    for (int64_t i = 0; i < n_out(&windows[b]) && !strcmp(info.inject, "post"); i++) {
        const double h = o->h[b + 1][i]; /* f' from f */
        s[i] *= !strcmp(info.activation, "relu")   ? h > 0
                : !strcmp(info.activation, "tanh") ? 1 - h * h
                                                   : 1 - exp(-h);
    }
}

/* Deltas and mean gradients of n samples. */
static void expect_step(oracle *o, double (*deltas)[MOST_IMAGES * WIDEST], const fa_net *net,
                        int64_t n)
{
    for (int64_t m = 0; m < n; m++) {
        go_forward(o, net, data.x + m * N_PIXELS, data.labels[m]);
        for (int b = BLOCKS - 2; b >= 0; b--)
            if (*block_of(net, b).source) delta_of_block(o, net, b, data.labels[m]);
        for (int b = 0; b < BLOCKS; b++) {
            const int64_t wide = n_out(&windows[b]);
            for (int64_t i = 0; i < wide; i++) {
                deltas[b][m * wide + i] = data.weights[m] * o->d[b][i];
                o->d[b][i] *= data.weights[m] / (double)n;
                o->dbias[b][i % windows[b].filters] += o->d[b][i];
            }
            sweep(&windows[b], o->h[b], NULL, o->d[b], NULL, NULL, o->dw[b]);
        }
    }
}

static void compare_step(const fa_net *net, int64_t n, const char *what)
{
    static double deltas[BLOCKS][MOST_IMAGES * WIDEST], found[BLOCKS][MOST_IMAGES * WIDEST];
    static double gradients[MOST_TENSORS][ENTRIES];
    const fa_dtype dtype = fa_net_description(net)->dtype;
    const fa_samples s = images_of(&data, dtype, 0, n);
    void *to[BLOCKS], *grads[MOST_TENSORS] = {NULL};
    double loss;
    oracle o = oracle_of(net, dtype);
    expect_step(&o, deltas, net, n);
    memset(found, 0x7f, sizeof found), memset(gradients, 0x7f, sizeof gradients);
    for (int b = 0; b < BLOCKS; b++) to[b] = found[b];
    for (int64_t i = 0; i < fa_net_n_tensors(net); i++)
        if (strstr(fa_net_tensor(net, i).key, "feedback") == NULL &&
            strstr(fa_net_tensor(net, i).key, "head") == NULL)
            grads[i] = gradients[i];
    CHECK(fa_deltas(to, net, &s) == FA_OK, "%s: deltas", what);
    CHECK(fa_gradients(&loss, grads, net, &s) == FA_OK, "%s: gradients", what);
    for (int b = 0; b < BLOCKS; b++) {
        const window *g = &windows[b];
        const fa_block_info info = block_of(net, b);
        char key[20];
        snprintf(key, sizeof key, "%d.weight", layer_of[b]);
        const void *dw = grads[fa_net_find(net, key)];
        snprintf(key, sizeof key, "%d.bias", layer_of[b]);
        const void *dbias = grads[fa_net_find(net, key)];
        if (!*info.source) { /* frozen: nothing is written */
            CHECK(*(char *)to[b] == 0x7f && *(char *)dw == 0x7f, "%s: block %d", what, b);
            continue;
        }
        CHECK(close_to(found[b], dtype, deltas[b], n * n_out(g)), "%s: delta %d", what, b);
        CHECK(close_to(dw, dtype, o.dw[b], n_patch(g) * g->filters), "%s: dW %d", what, b);
        CHECK(close_to(dbias, dtype, o.dbias[b], g->filters), "%s: db %d", what, b);
    }
}

static void every_rule_is_its_formula(void)
{
    int n_tried = 0;
    for (int i = 0; i < n_rules; i++)
        for (int t = 0; t < 4 && takes_images(rules[i]); t++) {
            char what[60];
            image_recipe r;
            const bool pre = t > 1;
            recipe_images(&r, rules[i], dtypes[t % 2]);
            if (pre) r.rule.inject = "pre";
            fa_net *net = NULL;
            const fa_status status = fa_net_create(&net, &r.desc);
            if (pre && status == FA_E_VALUE) continue; /* chain rules */
            REQUIRE(status == FA_OK, "%s", rules[i]);
            snprintf(what, sizeof what, "%s, %s, float%d", rules[i], pre ? "pre" : "post",
                     t % 2 ? 64 : 32);
            compare_step(net, 17, what);
            train(net, 17, 9); /* feedback that learns or is made anew moves */
            compare_step(net, 1, what);
            compare_step(net, 2, what);
            n_tried += pre;
            fa_net_free(net);
        }
    CHECK(n_tried >= 2 * 4, "dfa, sdfa, drtp and local inject before f: %d", n_tried);
}

/* Matrices with zeros, of two factors, drawn as weights, shared; and relu, whose f' some products
 * multiply by themselves. */
static void every_kind_of_feedback(void)
{
    static const char *const of[] = {"fa", "dfa", "sdfa", "drtp"};
    for (int i = 0; i < 4; i++)
        for (int kind = 0; kind < 10; kind++) {
            char what[60];
            image_recipe r;
            recipe_images(&r, of[i], dtypes[(i + kind) % 2]);
            if (kind / 2 == 0) r.rule.sparsity = 0.67; /* one entry in each column of three */
            if (kind / 2 == 1) r.rule.feedback_rank = 2;
            if (kind / 2 == 2) r.rule.feedback.name = "forward";
            if (kind / 2 == 3) r.rule.shared = i > 0;
            for (int l = 0; l < TOP && kind % 2; l++)
                if (l != FLATTEN) r.layers[l].activation = "relu";
            snprintf(what, sizeof what, "%s, feedback %d", of[i], kind);
            fa_net *net = make(&r.desc);
            compare_step(net, 17, what);
            fa_net_free(net);
        }
}

/* Fans: the numbers of a patch; the positions of a kernel times its filters. */
static void drawn_numbers_fit_the_fans(void)
{
    static const char *const names[] = {"glorot_uniform", "he_uniform", "lecun_uniform"};
    const double bounds[] = {sqrt(6.0 / (18 + 36)), sqrt(6.0 / 18), sqrt(3.0 / 18)};
    image_recipe r;
    recipe_images(&r, "usf", FA_F64);
    for (int i = 0; i < 3; i++) {
        double largest = 0;
        r.layers[CONV_1].weight_init.name = names[i];
        fa_net *net = make(&r.desc);
        const double *w = tensor(net, CONV_1, "weight");
        for (int j = 0; j < 18 * 4; j++) largest = fmax(largest, fabs(w[j]));
        CHECK(largest <= bounds[i] && largest > 0.9 * bounds[i], "%s: %g", names[i], largest);
        fa_net_free(net);
    }
    fa_net *net = make(&r.desc);
    const double *w = tensor(net, CONV_2, "weight");
    double b[3 * 24];
    CHECK(fa_feedback_matrix(b, net, 0) == FA_OK, "feedback");
    for (int j = 0; j < 72; j++) {
        const double s = copysign(sqrt(2.0 / (24 + 18)), w[j % 24 * 3 + j / 24]);
        CHECK(fabs(b[j] - s) < 1e-15, "sign %d: %g", j, b[j]);
    }
    fa_net_free(net);
    r.rule = fa_rule_of("fa"), r.rule.feedback.name = "glorot_uniform";
    net = make(&r.desc);
    double largest = 0;
    CHECK(fa_feedback_matrix(b, net, 0) == FA_OK, "feedback");
    for (int j = 0; j < 72; j++) largest = fmax(largest, fabs(b[j]) / sqrt(6.0 / (24 + 18)));
    CHECK(largest <= 1 && largest > 0.9, "feedback for these weights: %g", largest);
    fa_net_free(net);
}

/* With plain SGD, w falls by lr times the gradient, scaled where its norm is above clip_norm. */
static void a_step_follows_the_gradient(void)
{
    static double deltas[BLOCKS][MOST_IMAGES * WIDEST];
    for (int i = 0; i < 8; i++) {
        image_recipe r;
        recipe_images(&r, i & 1 ? "dfa" : "backprop", dtypes[i / 2 % 2]);
        r.optimizer.clip_norm = i & 4 ? 0.02 : 0;
        r.layers[CONV_1].lr_scale = 2, r.layers[CONV_2].bias_lr_scale = 0.5;
        fa_net *net = make(&r.desc);
        oracle o = oracle_of(net, r.desc.dtype);
        expect_step(&o, deltas, net, 17);
        double sum = 0;
        for (int b = 0; b < BLOCKS; b++) {
            for (int j = 0; j < ENTRIES; j++) sum += o.dw[b][j] * o.dw[b][j];
            for (int j = 0; j < 8; j++) sum += o.dbias[b][j] * o.dbias[b][j];
        }
        REQUIRE(sqrt(sum) > 0.04, "the norm %g is clipped", sqrt(sum));
        const double by = 0.1 * (i & 4 ? 0.02 / (sqrt(sum) + 1e-6) : 1);
        train(net, 0, 17);
        for (int b = 0; b < BLOCKS; b++) {
            const int64_t n = n_patch(&windows[b]) * windows[b].filters;
            const double lr = b == CONV_1 ? 2 * by : by, of_bias = b == CONV_2 ? by / 2 : lr;
            for (int64_t j = 0; j < n; j++) o.w[b][j] -= lr * o.dw[b][j];
            for (int64_t j = 0; j < 8; j++) o.bias[b][j] -= of_bias * o.dbias[b][j];
            CHECK(close_to(tensor(net, layer_of[b], "weight"), r.desc.dtype, o.w[b], n), "W %d", b);
            CHECK(close_to(tensor(net, layer_of[b], "bias"), r.desc.dtype, o.bias[b],
                           windows[b].filters),
                  "b %d, case %d", b, i);
        }
        fa_net_free(net);
    }
}

int main(void)
{
    RUN(outputs_are_sums_over_windows);
    RUN(every_rule_is_its_formula);
    RUN(every_kind_of_feedback);
    RUN(drawn_numbers_fit_the_fans);
    RUN(a_step_follows_the_gradient);
    return finish();
}
