/* Trains and uses a network on a thread of 32 KiB before a page that nobody may touch, and the same
 * on the main thread: prints both losses. The pool's threads have what the C library gives. */
#include "fastfa.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 256, N_IN = 200, N_OUT = 10, STACK = 32 << 10 };

static float x[N * N_IN], out[N * N_OUT];
static int64_t labels[N];

static int use(double *loss, fa_net *net, const fa_samples *s)
{
    fa_metrics m;
    for (int step = 0; step < 3; step++)
        if (fa_train_batch(loss, net, s)) return 1;
    return fa_train_epoch(&m, net, s, 100) || fa_predict(out, N_OUT, net, s, 0) ||
           fa_evaluate(&m, net, s) || fa_learn_one(loss, net, x, 1, NULL);
}

static void *train(void *loss)
{
    const fa_layer_desc layers[] = {fa_dense(512, "relu"), fa_dense(N_OUT, "linear")};
    const fa_rule_desc rule = fa_rule_of("dfa");
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = N_IN, desc.layers = layers, desc.n_layers = 2, desc.rule = &rule,
    desc.n_threads = 2;
    fa_net *net;
    fa_samples s = fa_samples_of(x, N_IN, FA_F32, N);
    s.labels = labels;
    if (fa_net_create(&net, &desc)) return "create";
    void *failed = use(loss, net, &s) ? "use" : NULL;
    fa_net_free(net);
    return failed;
}

int main(void)
{
    double little = -1, plenty = -2;
    void *failed = NULL;
    pthread_t thread;
    pthread_attr_t attributes;
    for (int i = 0; i < N * N_IN; i++) x[i] = (float)(i * 31 % 97) / 97;
    for (int i = 0; i < N; i++) labels[i] = i * 7 % N_OUT;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, STACK) ||
        pthread_create(&thread, &attributes, train, &little) || pthread_join(thread, &failed) ||
        failed || train(&plenty)) {
        printf("failed: %s: %s\n", failed ? (char *)failed : "thread", fa_last_error());
        return 1;
    }
    printf("%.17g %.17g\n", little, plenty);
    return 0;
}
