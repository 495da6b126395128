/* A step of every rule and optimizer, for callgrind to count: run by instructions.py.
 *
 *   instructions          runs all cases, naming each on a line of its own before it
 *
 * measured() is called once a case, after a first step that plans and allocates. */
#include "fastfa.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCH = 100 }; /* samples */

typedef struct {
    const char *what; /* "step", "epoch", "online", "predict" */
    const char *rule, *activation, *optimizer;
    int64_t widths[5]; /* input, layers, 0 */
    int64_t batch;
    fa_dtype dtype;
} scene;

/* clang-format off */
static const scene others[] = {
    {"step", "backprop", "relu", "sgd", {784, 256, 256, 10}, 128, FA_F32},
    {"step", "dfa", "relu", "sgd", {784, 256, 256, 10}, 128, FA_F32},
    {"step", "backprop", "relu", "sgd", {61, 67, 53, 7}, 31, FA_F32},
    {"step", "backprop", "tanh", "momentum", {64, 128, 128, 10}, 32, FA_F32},
    {"step", "backprop", "tanh", "rmsprop", {64, 128, 128, 10}, 32, FA_F32},
    {"step", "backprop", "tanh", "adam", {64, 128, 128, 10}, 32, FA_F32},
    {"step", "backprop", "sigmoid", "sgd", {64, 128, 128, 10}, 32, FA_F32},
    {"step", "backprop", "gelu", "sgd", {64, 128, 128, 10}, 32, FA_F32},
    {"step", "backprop", "relu", "sgd", {64, 128, 128, 10}, 32, FA_F64},
    {"step", "backprop", "relu", "sgd", {64, 128, 10}, 1, FA_F32},
    {"epoch", "backprop", "relu", "sgd", {64, 128, 128, 10}, 32, FA_F32},
    {"epoch", "backprop", "relu", "sgd", {64, 128, 128, 10}, 32, FA_U8},
    {"online", "backprop", "relu", "sgd", {64, 128, 10}, 1, FA_F32},
    {"online", "dfa", "relu", "sgd", {64, 128, 10}, 1, FA_F32},
    {"predict", "backprop", "relu", "sgd", {64, 128, 128, 10}, 32, FA_F32},
};
/* clang-format on */
enum { N_OTHERS = sizeof others / sizeof *others };

static void must(fa_status status)
{
    if (status == FA_OK) return;
    fprintf(stderr, "%s\n", fa_last_error());
    exit(1);
}

static fa_net *network(const scene *s)
{
    fa_layer_desc layers[4];
    fa_net_desc desc = fa_net_defaults();
    desc.dtype = s->dtype == FA_F64 ? FA_F64 : FA_F32;
    desc.n_in = s->widths[0];
    while (s->widths[desc.n_layers + 1]) {
        const int64_t i = desc.n_layers++;
        layers[i] = fa_dense(s->widths[i + 1], s->widths[i + 2] ? s->activation : "linear");
    }
    desc.layers = layers;
    desc.loss = "softmax_cross_entropy";
    static const fa_option momentum_09 = {"momentum", 0.9, NULL}, fixed_p = {"oja", 0, NULL};
    fa_rule_desc rule = fa_rule_of(s->rule);
    if (!strcmp(s->rule, "ldfa")) rule.options = &fixed_p, rule.n_options = 1;
    const bool momentum = !strcmp(s->optimizer, "momentum");
    fa_optimizer_desc optimizer = fa_optimizer_of(momentum ? "sgd" : s->optimizer, 1e-3);
    optimizer.options = &momentum_09, optimizer.n_options = momentum;
    desc.rule = &rule;
    desc.optimizer = &optimizer;
    desc.n_threads = 1;
    fa_net *net;
    must(fa_net_create(&net, &desc));
    return net;
}

/* Inputs in 0..1 and labels that depend on nothing but their place */
static fa_samples data(const scene *s, int64_t n)
{
    const int64_t n_in = s->widths[0], size = s->dtype == FA_F64 ? 8 : s->dtype == FA_U8 ? 1 : 4;
    int64_t n_out = 0, *labels = malloc(sizeof *labels * (size_t)n);
    char *x = malloc((size_t)(n * n_in * size));
    if (!labels || !x) exit(1);
    for (int i = 0; s->widths[i]; i++) n_out = s->widths[i];
    for (int64_t i = 0; i < n * n_in; i++) {
        const unsigned char byte = (unsigned char)(i * 7919 % 251);
        if (size == 1) x[i] = (char)byte;
        if (size == 4) ((float *)(void *)x)[i] = byte / 256.0f;
        if (size == 8) ((double *)(void *)x)[i] = byte / 256.0;
    }
    for (int64_t i = 0; i < n; i++) labels[i] = i % n_out;
    fa_samples samples = fa_samples_of(x, n_in, s->dtype, n);
    samples.labels = labels;
    return samples;
}

static void call(fa_net *net, const scene *s, const fa_samples *samples, double *out)
{
    double loss;
    fa_metrics metrics;
    const fa_epoch epoch = fa_epoch_of(NULL, s->batch, (EPOCH + s->batch - 1) / s->batch);
    if (!strcmp(s->what, "predict"))
        must(fa_predict(out, s->widths[3], net, samples, 0));
    else if (!strcmp(s->what, "step"))
        must(fa_train_batch(&loss, net, samples));
    else
        must(fa_train_steps(&metrics, net, samples, &epoch));
}

/* What is counted. Never inlined: callgrind goes by its name. */
__attribute__((noinline)) void measured(fa_net *net, const scene *s, const fa_samples *samples,
                                        double *out);
void measured(fa_net *net, const scene *s, const fa_samples *samples, double *out)
{ call(net, s, samples, out); }

static void run(const scene *s)
{
    static const char *const types[] = {"f32", "f64", "u8"};
    const bool whole = !strcmp(s->what, "epoch") || !strcmp(s->what, "online");
    fa_samples samples = data(s, whole ? EPOCH : s->batch);
    double *out = malloc(sizeof *out * (size_t)(samples.n * 16));
    fa_net *net = network(s);
    if (!out) exit(1);
    printf("%s %s ", s->what, s->rule);
    for (int i = 0; s->widths[i]; i++) printf("%s%d", i ? "-" : "", (int)s->widths[i]);
    printf(" b%d %s %s %s\n", (int)s->batch, s->activation, s->optimizer, types[s->dtype]);
    fflush(stdout);
    call(net, s, &samples, out);
    measured(net, s, &samples, out);
    fa_net_free(net);
    free((void *)samples.x), free((void *)samples.labels), free(out);
}

int main(void)
{
    for (int i = 0; fa_name(FA_NAMES_RULE, i); i++) {
        const char *rule = fa_name(FA_NAMES_RULE, i);
        const scene s = {"step", rule, "tanh", "sgd", {64, 128, 128, 10}, 32, FA_F32};
        if (strcmp(rule, "custom")) run(&s);
    }
    for (int i = 0; i < N_OTHERS; i++) run(&others[i]);
    return 0;
}
