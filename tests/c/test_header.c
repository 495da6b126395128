/* fastfa.h as its users see it: this is C99 and C++11, and run.sh compiles it as both,
 * pedantically, with every compiler that it finds. The program is the header's own sketch, on a
 * problem that it must learn. */
#include "fastfa.h"

#include <stdio.h>

enum { N_IN = 64, N_CLASSES = 10, N = 500, EPOCHS = 10 };

static float x[N][N_IN];
static int64_t labels[N];

/* Class c lights the inputs c, c + 10, c + 20, ... above noise. */
static void make_data(void)
{
    unsigned state = 1;
    for (int i = 0; i < N; i++) {
        labels[i] = i % N_CLASSES;
        for (int j = 0; j < N_IN; j++) {
            state = state * 1664525u + 1013904223u;
            x[i][j] = (float)(state >> 8) / 16777216.0f + (j % N_CLASSES == labels[i] ? 0.7f : 0);
        }
    }
}

static int complain(const char *what)
{
    printf("FAIL %s [last error: %s]\n", what, fa_last_error());
    return 1;
}

int main(void)
{
    fa_layer_desc layers[2] = {fa_dense(32, "tanh"), fa_dense(N_CLASSES, "linear")};
    fa_rule_desc rule = fa_rule_of("dfa");
    fa_optimizer_desc adam = fa_optimizer_of("adam", 0.01);
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = N_IN, desc.layers = layers, desc.n_layers = 2;
    desc.rule = &rule, desc.optimizer = &adam;
    make_data();

    fa_net *net;
    if (fa_net_create(&net, &desc)) return complain("create");
    fa_samples data = fa_samples_of(x, N_IN, FA_F32, N);
    data.labels = labels;
    fa_metrics m;
    for (int epoch = 0; epoch < EPOCHS; epoch++)
        if (fa_train_epoch(&m, net, &data, 32)) return complain("train");
    if (fa_evaluate(&m, net, &data)) return complain("evaluate");
    if (m.hits < 0.95 * N) return complain("it did not learn");

    float out[N_CLASSES], same[N_CLASSES];
    fa_samples one = fa_samples_of(x, N_IN, FA_F32, 1);
    fa_predictor *predictor;
    if (fa_predict(out, N_CLASSES, net, &one, 0)) return complain("predict");
    if (fa_predictor_create(&predictor, net, FA_F32, 0)) return complain("prepare");
    if (fa_predict_one(same, predictor, x)) return complain("predict one");
    for (int c = 0; c < N_CLASSES; c++)
        if (out[c] != same[c]) return complain("prepared predictions differ");
    fa_predictor_free(predictor);
    fa_net_free(net);
    printf("ok: %d of %d right\n", (int)m.hits, N);
    return 0;
}
