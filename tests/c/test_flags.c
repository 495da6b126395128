/* No correct computation raises a floating-point exception flag, except those of rounding and
 * flushing: not a division by zero, an invalid operation or an overflow in lanes of a vector that
 * are thrown away. By instruction set, plain C among them: whole trainings (kernels are swapped in
 * the network), and kernels at edge sizes and extreme values. */
#include "check.h"
#include "api/api.h"

#include <fenv.h>

enum { ROWS = 67, BAD = FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW };

static const struct {
    const char *name;
    const fa_kernels *rows;
} isas[] = {
#ifdef FA_X86
    {"v4", fa_kernels_v4_rows},
    {"v3", fa_kernels_v3_rows},
    {"v2", fa_kernels_v2_rows},
#elif defined(__aarch64__)
    {"neon", fa_kernels_neon_rows},
#endif
    {"c", fa_kernels_c_rows},
};
enum { N_ISAS = sizeof isas / sizeof *isas };

static bool usable(int isa)
{
#ifdef FA_X86
    __builtin_cpu_init();
    if (isa == 0) return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return isa < N_ISAS;
}

static char where[256]; /* for messages */

static void no_flags(const char *what)
{
    const int flags = fetestexcept(BAD);
    CHECK(flags == 0, "%s: %s:%s%s%s", where, what, flags & FE_INVALID ? " invalid" : "",
          flags & FE_DIVBYZERO ? " division by zero" : "", flags & FE_OVERFLOW ? " overflow" : "");
    feclearexcept(FE_ALL_EXCEPT);
}

/* ---- whole trainings ---- */

static dataset data[2];

static fa_run run_of(const fa_net *net, const fa_call *call, const fa_samples *s, fa_mode mode)
{
    return (fa_run){.net = net,
                    .work = call->work[0],
                    .mode = mode,
                    .data = *s,
                    .m = s->n,
                    .step = ((fa_state *)net->state)->steps,
                    .lr = ((fa_state *)net->state)->lr};
}

/* What fa_train_batch does, looking at the flags before they are the caller's again. */
static void step(fa_net *net, const fa_samples *s)
{
    FA_FIXED_FP(true);
    fa_call call = {.writes = true, .n_work = 1};
    REQUIRE(fa_call_begin(&call, net, s->n) == FA_OK, "begin");
    fa_run run = run_of(net, &call, s, FA_TRAIN);
    CHECK(fa_run_step(&run) == FA_OK, "%s: step", where);
    ((fa_state *)net->state)->steps++;
    no_flags("a step");
    fa_call_end(&call);
}

/* Steps on one sample each, the update of one in the forward pass of the next. */
static void deferred(fa_net *net, const fa_samples *s)
{
    FA_FIXED_FP(true);
    fa_call call = {.writes = true, .n_work = 2, .slot = {0, 2}};
    fa_run run[2];
    REQUIRE(fa_call_begin(&call, net, 1) == FA_OK, "begin");
    for (int i = 0; i < 4; i++) {
        fa_samples one = *s;
        one.n = 1, one.labels += i, one.x = rows_at(s->x, s->x_dtype, i, s->ldx);
        run[i % 2] = run_of(net, &call, &one, FA_TRAIN);
        run[i % 2].work = call.work[i % 2];
        run[i % 2].pending = i ? &run[(i + 1) % 2] : NULL;
        CHECK(fa_run_deferred(&run[i % 2]) == FA_OK, "%s: deferred", where);
        no_flags("a deferred step");
    }
    fa_run_flush(&run[1]);
    no_flags("the last update");
    fa_call_end(&call);
}

static void draw(fa_net *net)
{
    const fa_fp fp = fa_fp_begin(false);
    feclearexcept(FE_ALL_EXCEPT);
    fa_draw_state(net);
    no_flags("initial values");
    fa_fp_end(&fp);
}

static void predict(fa_net *net, const fa_samples *s)
{
    FA_FIXED_FP(true);
    fa_call call = {.n_work = 1, .slot = {1}};
    REQUIRE(fa_call_begin(&call, net, s->n) == FA_OK, "begin");
    fa_run run = run_of(net, &call, s, FA_PREDICT);
    fa_run_bind(&run, 0);
    fa_forward(&run, (fa_rows){0, s->n}, 0);
    if (net->loss->link) net->loss->link(net->k, run.buf[net->layers[net->n_layers - 1].out]);
    no_flags("a prediction");
    fa_call_end(&call);
}

static void train(recipe *r, int isa)
{
    const dataset *d = &data[r->desc.dtype == FA_F64];
    static const int64_t sizes[] = {1, 7, 33, ROWS};
    fa_net *net = make(&r->desc);
    net->k = &isas[isa].rows[net->dtype];
    draw(net);
    for (int i = 0; i < 4; i++) {
        fa_samples s = i == 2 ? targeted(d, 0, sizes[i]) : labelled(d, 0, sizes[i]);
        if (i == 3) s.weights = d->weights;
        step(net, &s);
    }
    const fa_samples s = labelled(d, 0, ROWS);
    predict(net, &s);
    if (net->defers) deferred(net, &s);
    fa_net_free(net);
}

static void describe(recipe *r, int isa, const char *rule, int type, const char *activation,
                     const char *optimizer, const char *loss)
{
    recipe_init(r, rule, dtypes[type]);
    r->optimizer = fa_optimizer_of(optimizer, 0.05);
    r->layers[FIRST].activation = r->layers[SECOND].activation = activation;
    r->desc.loss = loss;
    snprintf(where, sizeof where, "%s %s %s %s %s %s", isas[isa].name, type ? "f64" : "f32", rule,
             activation, optimizer, loss);
}

static const char *const losses[] = {"softmax_cross_entropy", "sigmoid_cross_entropy", "mse"};
static const char *const optimizers[] = {"sgd",     "rmsprop", "adam",  "adamw",
                                         "adagrad", "nadam",   "radam", "lion"};

/* Every rule with every other optimizer; the rest takes turns. */
static void test_rules(void)
{
    const char *rule, *activation;
    int n = 0, n_activations = 0;
    while (fa_name(FA_NAMES_ACTIVATION, n_activations)) n_activations++;
    for (int isa = 0; isa < N_ISAS; isa++)
        for (int i = 0; usable(isa) && (rule = fa_name(FA_NAMES_RULE, i)); i++)
            for (int o = 0; o < 8; o++, n++) {
                if (!strcmp(rule, "custom")) continue;
                do activation = fa_name(FA_NAMES_ACTIVATION, n % n_activations);
                while (fa_activation_flags(n % n_activations) & FA_ZERO_DERIVATIVE && ++n);
                recipe r;
                describe(&r, isa, rule, o % 2, activation, optimizers[o / 2 + i % 2 * 4],
                         losses[n % 3]);
                optimizer_option(&r, "momentum", o < 4 && n % 2 ? 0.9 : 0);
                optimizer_option(&r, "nesterov", o < 2 && n % 2);
                r.optimizer.clip_norm = n % 3 ? 0 : 0.5;
                r.optimizer.weight_decay = n % 5 ? 0 : 0.01;
                if (!strcmp(rule, "dfa") && o > 3) r.rule.sparsity = 0.9;
                train(&r, isa);
            }
}

/* Every way to draw. */
static void test_draws(void)
{
    const char *name;
    for (int isa = 0; isa < N_ISAS; isa++)
        for (int i = 0; usable(isa) && (name = fa_name(FA_NAMES_DISTRIBUTION, i)); i++)
            for (int type = 0; type < 2; type++) {
                recipe r;
                describe(&r, isa, "fa", type, "relu", "sgd", losses[0]);
                r.rule.feedback.name = name;
                train(&r, isa);
            }
}

/* Outputs that saturate, inputs and weights of any size that leaves everything in range. */
static void test_extremes(void)
{
    static const double sizes[] = {0, 1e-45, 1e-30, 1e-10, 1e3};
    for (int isa = 0; isa < N_ISAS; isa++)
        for (int i = 0; usable(isa) && i < 5 * 2 * 3 * 2; i++) {
            recipe r;
            const int type = i % 2;
            const double size = sizes[i / 12];
            describe(&r, isa, i / 6 % 2 ? "backprop" : "dfa", type, i / 6 % 2 ? "gelu" : "tanh",
                     i / 12 % 2 ? "adam" : "sgd", losses[i / 2 % 3]);
            dataset *d = &data[type];
            const dataset before = dataset_new(dtypes[type], ROWS), tiny = *d;
            *d = before;
            for (int64_t j = 0; j < ROWS * N_IN; j++)
                put(d->x, dtypes[type], j,
                    size * (type ? ((double *)tiny.x)[j] : (double)((float *)tiny.x)[j]));
            r.layers[LAST].weight_init.name = "normal";
            const bool bounded = strcmp(r.desc.loss, "mse"); /* its error */
            r.layers[LAST].weight_init.scale = size > 1 && bounded ? 1e4 : 1;
            r.optimizer.lr = 1e-12;
            train(&r, isa);
            dataset_free(d);
            *d = tiny;
        }
}

/* ---- kernels alone ---- */

enum { MOST = 70 };

typedef struct {
    double a[MOST], b[MOST], c[MOST]; /* of either type */
} vectors;

static void fill(void *p, fa_dtype dtype, int64_t n, const double *values, int n_values)
{
    for (int64_t i = 0; i < n; i++) put(p, dtype, i, values[i % n_values]);
}

/* Activations of finite numbers of any size, at every length. */
static void test_activations(void)
{
    static const double floats[] = {0,    -0.0, 1e-45, -1e-45, 1e-30, 1,    -1,     20,
                                    -20,  87,   -87,   88.5,   -88.5, 89,   -89,    1e4,
                                    -1e4, 1e18, -1e18, 1e38,   -1e38, 3e38, -3.4e38};
    static const double doubles[] = {0,     -0.0,   5e-324, 1e-300, 1,       -1,      40,  -40,
                                     708,   -708,   709.5,  -709.5, 710,     -710,    1e4, -1e4,
                                     1e150, -1e150, 1e308,  -1e308, 1.7e308, -1.7e308};
    for (int isa = 0; isa < N_ISAS; isa++)
        for (int i = 0; usable(isa) && i < 2 * FA_N_ACTIVATIONS; i++) {
            const fa_dtype dtype = dtypes[i % 2];
            const fa_kernels *k = &isas[isa].rows[dtype];
            static vectors r;
            snprintf(where, sizeof where, "%s f%d %s", isas[isa].name, dtype == FA_F64 ? 64 : 32,
                     fa_activation_name(i / 2));
            for (int64_t n = 1; n <= MOST; n++) {
                fill(r.a, dtype, n, dtype == FA_F64 ? doubles : floats, dtype == FA_F64 ? 22 : 23);
                fill(r.b, dtype, n, (double[]){1, -0.5, 0}, 3);
                const fa_fp fp = fa_fp_begin(true);
                k->act[i / 2](r.c, n, r.a, n, 1, n, 0.5);
                no_flags("values");
                const bool by_a = fa_activation_flags(i / 2) & FA_NEEDS_PREACT;
                k->dact[i / 2](r.b, n, by_a ? r.a : r.c, n, 1, n, 0.5);
                no_flags("derivatives");
                fa_fp_end(&fp);
            }
        }
}

/* Losses of outputs that lie far apart, at every width. */
/* The options of a loss at their defaults */
static const fa_option *defaults_of(const fa_loss_ops *loss)
{
    static fa_option options[4];
    for (int i = 0; loss->options && loss->options[i].name; i++)
        options[i].number = loss->options[i].number;
    return options;
}

static void test_losses(void)
{
    static const double apart[] = {0, 1e4, -1e4, 1e-30, 1e37, -1e37, 89, -89, 3, 1e18};
    for (int isa = 0; isa < N_ISAS; isa++)
        for (int i = 0; usable(isa) && i < 2 * 3 * 2; i++) {
            const fa_dtype dtype = dtypes[i % 2];
            const fa_kernels *k = &isas[isa].rows[dtype];
            const fa_loss_ops *loss = fa_find_loss(fa_name(FA_NAMES_LOSS, i / 2 % 3));
            static double z[20 * MOST], y[20 * MOST];
            double row_loss[20], hit[20];
            int64_t labels[20] = {0};
            const bool rows = i / 6;
            for (int64_t n = loss->min_outputs; n <= 40; n++) {
                snprintf(where, sizeof where, "%s f%d %s %d wide", isas[isa].name,
                         dtype == FA_F64 ? 64 : 32, loss->name, (int)n);
                fill(z, dtype, 19 * n, apart, !strcmp(loss->name, "mse") ? 4 : 10);
                fill(y, dtype, 19 * n, (double[]){0, 1}, 2);
                const fa_mat out = {(char *)z, n, 19, n};
                const fa_fp fp = fa_fp_begin(true);
                loss->error(k, defaults_of(loss), out, row_loss, hit, out, rows ? NULL : labels,
                            (fa_mat){(char *)y, n, 19, n});
                no_flags("error");
                fa_fp_end(&fp);
            }
        }
}

/* Optimizers on tiles of every width, from slots of zeros. */
static void test_optimizers(void)
{
    static double w[MOST * 20], s0[MOST * 20], s1[MOST * 20], s2[MOST * 20], b[MOST * 20],
        g[MOST * 20];
    const fa_hyper h = {.lr = 0.1,
                        .keep = 1,
                        .g_scale = 1,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .alpha = 0.99,
                        .momentum = 0.9,
                        .eps = 1e-8,
                        .bias1 = 0.1,
                        .bias2 = 0.001,
                        .of_g = 0.5,
                        .of_mean = 0.5};
    for (int isa = 0; isa < N_ISAS; isa++)
        for (int i = 0; usable(isa) && i < 2 * 9; i++) {
            const fa_dtype dtype = dtypes[i % 2];
            const fa_kernels *k = &isas[isa].rows[dtype];
            fa_optim_kernel *const kernels[] = {k->sgd,     k->rmsprop, k->adam,
                                                k->plain,   k->sgd,     k->rmsprop_centered,
                                                k->adagrad, k->lion,    k->nadam};
            for (int64_t n = 1; n <= MOST; n++) {
                snprintf(where, sizeof where, "%s f%d optimizer %d, %d wide", isas[isa].name,
                         dtype == FA_F64 ? 64 : 32, i / 2, (int)n);
                memset(s0, 0, sizeof s0), memset(s1, 0, sizeof s1);
                memset(s2, 0, sizeof s2);
                fill(w, dtype, 20 * n, (double[]){0, 1, -1e-30}, 3);
                fill(g, dtype, 20 * n, (double[]){0, 1e-30, -1, 1e-45, 1e4}, 5);
                fill(b, dtype, 20 * n, (double[]){0, 1}, 2);
                const fa_fp fp = fa_fp_begin(true);
                kernels[i / 2](w, n, s0, s1, s2, i / 2 == 4 ? NULL : b, 20, g, n, 20, n, &h);
                no_flags("step");
                fa_fp_end(&fp);
            }
        }
}

/* Dropout does not multiply what it drops; rows of bytes. */
static void test_dropout_and_bytes(void)
{
    static const double large[2] = {3e38, 1.7e308};
    for (int isa = 0; isa < N_ISAS; isa++)
        for (int i = 0; usable(isa) && i < 2; i++) {
            const fa_kernels *k = &isas[isa].rows[dtypes[i]];
            static vectors x, y;
            static uint8_t keep[MOST], bytes[MOST] = {0, 255, 1};
            snprintf(where, sizeof where, "%s f%d", isas[isa].name, i ? 64 : 32);
            for (int64_t n = 1; n <= MOST; n++) {
                const fa_fp fp = fa_fp_begin(true);
                fill(x.a, dtypes[i], n, (double[]){1}, 1);
                k->dropout(y.a, n, keep, n, x.a, n, 1, n, 0x80000000u, 2, 0, 1, 2, 3, 4);
                for (int64_t j = 0; j < n; j++)
                    if (!keep[j]) put(x.a, dtypes[i], j, large[i]);
                feclearexcept(FE_ALL_EXCEPT);
                k->dropout(y.a, n, keep, n, x.a, n, 1, n, 0x80000000u, 2, 0, 1, 2, 3, 4);
                no_flags("dropout");
                k->ddropout(x.a, n, keep, n, 1, n, 2);
                no_flags("ddropout");
                k->gather_u8(y.a, n, bytes, n, NULL, 1, n, 255);
                no_flags("bytes");
                fa_fp_end(&fp);
            }
        }
}

int main(void)
{
    setenv("FASTFA_GEMM", "own", 1);
    for (int type = 0; type < 2; type++) data[type] = dataset_new(dtypes[type], ROWS);
    RUN(test_rules);
    RUN(test_draws);
    RUN(test_extremes);
    RUN(test_activations);
    RUN(test_losses);
    RUN(test_optimizers);
    RUN(test_dropout_and_bytes);
    for (int type = 0; type < 2; type++) dataset_free(&data[type]);
    return finish();
}
