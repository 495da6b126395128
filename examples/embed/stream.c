/* Learns a sequence online: one step for each sample, no history, no allocation while it runs.
 *     stream < DATA > OUT
 * DATA: pairs of floats, a reading and its target, NaN where there is none. OUT: a float for each
 * pair, the answer as it was before its target was learnt. */
#include <fastfa.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void need(int good, const char *what)
{
    if (good) return;
    fprintf(stderr, "stream: %s\n", what ? what : fa_last_error()); /* NULL: fastfa knows */
    exit(1);
}

static fa_net *network(void)
{
    const fa_option memory[] = {{"leak", 0.5, NULL}, {"time", 0, "leak"}};
    fa_layer_desc layers[] = {fa_recurrent(24, "tanh"), fa_dense(1, "linear")};
    layers[0].options = memory, layers[0].n_options = 2;
    const fa_rule_desc rule = fa_rule_of("dfa");
    const fa_optimizer_desc sgd = fa_optimizer_of("sgd", 0.05);
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = 1, desc.layers = layers, desc.n_layers = 2, desc.rule = &rule;
    desc.loss = "mse", desc.optimizer = &sgd;
    fa_net *net;
    need(!fa_net_create(&net, &desc), NULL);
    return net;
}

int main(void)
{
    fa_net *net = network();
    float pair[2], answer;
    while (fread(pair, sizeof pair, 1, stdin) == 1) {
        const float *target = isnan(pair[1]) ? NULL : &pair[1];
        need(!fa_stream_step(&answer, NULL, net, &pair[0], -1, target), NULL);
        need(fwrite(&answer, sizeof answer, 1, stdout) == 1, "cannot write");
    }
    need(!ferror(stdin) && !fflush(stdout), "cannot read or write");
    fa_net_free(net);
    return 0;
}
