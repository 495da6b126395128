/* Trains small networks of every rule, optimizer and dtype and prints a hash of all that training
 * changed: two builds of the engine that print the same are the same. */
#include "fastfa.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 150, N_IN = 37, N_OUT = 10 };

static uint64_t hash_of(const unsigned char *bytes, size_t n)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash;
}

static void train(const char *rule, const char *optimizer, fa_dtype dtype)
{
    static float x32[N * N_IN];
    static double x64[N * N_IN];
    static int64_t labels[N];
    for (int i = 0; i < N * N_IN; i++) x64[i] = x32[i] = (float)(i * 31 % 97) / 97;
    for (int i = 0; i < N; i++) labels[i] = i * 7 % N_OUT;

    const fa_layer_desc layers[] = {fa_dense(53, "tanh"), fa_dropout(0.2), fa_dense(29, "gelu"),
                                    fa_dense(N_OUT, "linear")};
    fa_net_desc desc = fa_net_defaults();
    desc.dtype = dtype;
    desc.n_in = N_IN;
    desc.layers = layers;
    desc.n_layers = 4;
    const fa_rule_desc rule_desc = fa_rule_of(rule);
    const fa_optimizer_desc optimizer_desc = fa_optimizer_of(optimizer, 0.1);
    desc.rule = &rule_desc;
    desc.optimizer = &optimizer_desc;
    desc.seed = 7;
    printf("%s %s %d: ", rule, optimizer, dtype);

    fa_net *net;
    if (fa_net_create(&net, &desc)) {
        printf("%s\n", fa_last_error());
        return;
    }
    fa_samples s = fa_samples_of(dtype == FA_F64 ? (void *)x64 : (void *)x32, N_IN, dtype, N);
    s.labels = labels;
    double loss = 0;
    fa_status status = FA_OK;
    for (int step = 0; step < 5 && !status; step++) status = fa_train_batch(&loss, net, &s);
    s.n = 1;
    for (int step = 0; step < 3 && !status; step++) status = fa_train_batch(&loss, net, &s);
    const size_t size = fa_net_state_size(net);
    void *state = malloc(size);
    if (status || !state || fa_net_get_state(state, net))
        printf("%s\n", fa_last_error());
    else
        printf("hash %016" PRIx64 "\n", hash_of(state, size));
    free(state);
    fa_net_free(net);
}

int main(void)
{
    const char *rule, *optimizer;
    for (int i = 0; (rule = fa_name(FA_NAMES_RULE, i)); i++)
        for (int dtype = FA_F32; dtype <= FA_F64; dtype++) train(rule, "sgd", (fa_dtype)dtype);
    for (int i = 0; (optimizer = fa_name(FA_NAMES_OPTIMIZER, i)); i++)
        train("dfa", optimizer, FA_F32);
    puts(fa_build_info());
    return 0;
}
