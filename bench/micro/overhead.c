/* The cost of a call beyond its arithmetic: one sample learnt, one sample predicted, 64-32-10 tanh,
 * float32.
 *
 *   overhead [seconds per row]       default 0.5
 *
 * The arithmetic of a call is the list of kernels that it runs, with their arguments; this program
 * calls them one after another. Both take turns of a millisecond on their own weights, and each
 * reports its best turn. The sums at the end show that both have computed the same.
 *
 *   tests/c/run.sh --plain bench/micro/overhead.c */
#include "api/api.h"
#include "../times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_IN = 64, N_HIDDEN = 32, N_OUT = 10, N_SAMPLES = 64 };

static float x[N_SAMPLES][N_IN];
static int64_t labels[N_SAMPLES];

static void must(fa_status status)
{
    if (status == FA_OK) return;
    fprintf(stderr, "%s\n", fa_last_error());
    exit(1);
}

static fa_net *network(const char *rule_name)
{
    const fa_layer_desc layers[] = {fa_dense(N_HIDDEN, "tanh"), fa_dense(N_OUT, "linear")};
    const fa_rule_desc rule = fa_rule_of(rule_name);
    const fa_optimizer_desc sgd = fa_optimizer_of("sgd", 0.01);
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = N_IN, desc.layers = layers, desc.n_layers = 2;
    desc.rule = &rule, desc.optimizer = &sgd, desc.n_threads = 1;
    fa_net *net;
    must(fa_net_create(&net, &desc));
    return net;
}

/* ---- the same work, twice ---- */

typedef struct side {
    fa_net *net;
    fa_predictor *predictor;
    float *w1, *b1, *w2, *b2, *feedback;
    _Alignas(64) float h[N_HIDDEN], z[N_OUT], d[N_HIDDEN], out[N_OUT];
    _Alignas(64) float panel[N_OUT * 48];
    double loss, hit, sum;
} side;

static float *tensor(const fa_net *net, const char *key)
{ return fa_net_tensor(net, fa_net_find(net, key)).data; }

static void side_init(side *s, const char *rule)
{
    memset(s, 0, sizeof *s);
    s->net = network(rule);
    must(fa_predictor_create(&s->predictor, s->net, FA_F32, 0));
    s->w1 = tensor(s->net, "0.weight"), s->b1 = tensor(s->net, "0.bias");
    s->w2 = tensor(s->net, "1.weight"), s->b2 = tensor(s->net, "1.bias");
    if (!strcmp(rule, "dfa")) s->feedback = tensor(s->net, "0.feedback");
}

static void forward(side *s, int i)
{
    const fa_kernels *k = s->net->k;
    k->gemm(s->h, N_HIDDEN, x[i], N_IN, 1, s->w1, N_HIDDEN, 1, N_HIDDEN, N_IN, 1, 0,
            &(fa_epilogue){.bias = s->b1}, NULL);
    k->act[FA_ACT_tanh](s->h, N_HIDDEN, s->h, N_HIDDEN, 1, N_HIDDEN, 0);
    k->gemm(s->z, N_OUT, s->h, N_HIDDEN, 1, s->w2, N_OUT, 1, N_OUT, N_HIDDEN, 1, 0,
            &(fa_epilogue){.bias = s->b2}, NULL);
}

static void predict_kernels(side *s, int i)
{
    forward(s, i);
    s->net->k->softmax(s->z, N_OUT, s->z, N_OUT, 1, N_OUT);
    s->sum += s->z[0];
}

static void predict_call(side *s, int i)
{
    fa_predict_one(s->out, s->predictor, x[i]);
    s->sum += s->out[0];
}

static void learn_kernels(side *s, int i)
{
    const fa_kernels *k = s->net->k;
    const double lr = 0.01;
    forward(s, i);
    k->softmax_ce(s->z, N_OUT, &s->loss, &s->hit, s->z, N_OUT, &labels[i], NULL, 0, 1, N_OUT);
    const float *b = s->feedback;
    if (!b) k->transpose(s->panel, 48, s->w2, N_OUT, N_HIDDEN, N_OUT);
    k->gemm(s->d, N_HIDDEN, s->z, N_OUT, 1, b ? b : s->panel, b ? N_HIDDEN : 48, 1, N_HIDDEN, N_OUT,
            1, 0, NULL, NULL);
    k->dact[FA_ACT_tanh](s->d, N_HIDDEN, s->h, N_HIDDEN, 1, N_HIDDEN, 0);
    k->gemm(s->w1, N_HIDDEN, x[i], 1, N_IN, s->d, N_HIDDEN, N_IN, N_HIDDEN, 1, -lr, 1, NULL, NULL);
    k->colsum(s->b1, s->d, N_HIDDEN, 1, N_HIDDEN, -lr, 1);
    k->gemm(s->w2, N_OUT, s->h, 1, N_HIDDEN, s->z, N_OUT, N_HIDDEN, N_OUT, 1, -lr, 1, NULL, NULL);
    k->colsum(s->b2, s->z, N_OUT, 1, N_OUT, -lr, 1);
    s->sum += s->loss;
}

static void learn_call(side *s, int i)
{
    double loss = 0;
    fa_learn_one(&loss, s->net, x[i], labels[i], NULL);
    s->sum += loss;
}

/* ---- timing ---- */

typedef void work(side *s, int i);

/* Seconds of one call, over a turn of all samples some times. */
static double turn(work *f, side *s)
{
    enum { TIMES = 16 };
    const double start = now();
    for (int t = 0; t < TIMES; t++)
        for (int i = 0; i < N_SAMPLES; i++) f(s, i);
    return (now() - start) / (TIMES * N_SAMPLES);
}

static void compare(const char *name, const char *rule, work *kernels, work *call, double seconds)
{
    side a, b;
    side_init(&a, rule), side_init(&b, rule);
    double best[2] = {1, 1};
    for (const double end = now() + seconds; now() < end;) {
        const double t[2] = {turn(kernels, &a), turn(call, &b)};
        for (int i = 0; i < 2; i++)
            if (t[i] < best[i]) best[i] = t[i];
    }
    printf("%-28s %7.0f %7.0f %9.0f   %s\n", name, 1e9 * best[0], 1e9 * best[1],
           1e9 * (best[1] - best[0]), a.sum == b.sum ? "same results" : "DIFFERENT RESULTS");
    fa_predictor_free(a.predictor), fa_predictor_free(b.predictor);
    fa_net_free(a.net), fa_net_free(b.net);
}

int main(int argc, char **argv)
{
    const double seconds = argc > 1 ? atof(argv[1]) : 0.5;
    for (int i = 0; i < N_SAMPLES; i++) {
        labels[i] = i % N_OUT;
        for (int j = 0; j < N_IN; j++) x[i][j] = (float)((i * 31 + j * 17) % 64) / 64;
    }
    printf("%s\nns a call, 64-32-10         kernels    call  overhead\n", fa_build_info());
    compare("fa_predict_one", "dfa", predict_kernels, predict_call, seconds);
    compare("fa_learn_one, dfa", "dfa", learn_kernels, learn_call, seconds);
    compare("fa_learn_one, backprop", "backprop", learn_kernels, learn_call, seconds);
    return 0;
}
