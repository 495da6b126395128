/* The life of a network in a C program: trained on handwritten digits, saved, loaded, used.
 *     digits train|load DATA NET OUT
 * DATA: n as int64, n x 64 floats, n labels as int64. OUT: n x 10 floats, probabilities. */
#include <fastfa.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(int good, const char *what)
{
    if (good) return;
    fprintf(stderr, "digits: %s\n", what ? what : fa_last_error()); /* NULL: fastfa knows */
    exit(1);
}

static void train(const fa_samples *data, const char *path)
{
    const fa_layer_desc layers[] = {fa_dense(64, "tanh"), fa_dense(32, "tanh"),
                                    fa_dense(10, "linear")};
    const fa_rule_desc rule = fa_rule_of("dfa");
    fa_net_desc desc = fa_net_defaults(); /* softmax cross-entropy, SGD */
    desc.n_in = 64, desc.layers = layers, desc.n_layers = 3, desc.rule = &rule;

    fa_net *net;
    fa_metrics m;
    need(!fa_net_create(&net, &desc), NULL);
    for (int epoch = 0; epoch < 20; epoch++) need(!fa_train_epoch(&m, net, data, 32), NULL);
    need(!fa_save(net, path), NULL);
    fa_net_free(net);
}

int main(int argc, char **argv)
{
    int64_t n = 0;
    need(argc == 5, "expected train|load DATA NET OUT");
    FILE *file = fopen(argv[2], "rb");
    need(file && fread(&n, sizeof n, 1, file) == 1 && n > 0, "cannot read DATA");
    float *x = calloc((size_t)n, 64 * sizeof *x), *out = calloc((size_t)n, 10 * sizeof *out);
    int64_t *labels = calloc((size_t)n, sizeof *labels);
    need(x && out && labels, "out of memory");
    need(fread(x, 64 * sizeof *x, (size_t)n, file) == (size_t)n, "DATA: too few samples");
    need(fread(labels, sizeof *labels, (size_t)n, file) == (size_t)n, "DATA: too few labels");

    fa_samples data = fa_samples_of(x, 64, FA_F32, n);
    data.labels = labels;
    if (!strcmp(argv[1], "train")) train(&data, argv[3]);
    fa_net *net;
    fa_metrics m;
    need(!fa_load(&net, argv[3]) && !fa_evaluate(&m, net, &data), NULL);
    need(!fa_predict(out, 10, net, &data, 0), NULL);
    printf("accuracy %.4f on %lld samples\n", m.hits / (double)m.rows, (long long)n);
    need(!fclose(file) && (file = fopen(argv[4], "wb")) != NULL, "cannot write OUT");
    need(fwrite(out, 10 * sizeof *out, (size_t)n, file) == (size_t)n, "cannot write OUT");
    need(!fclose(file), "cannot write OUT");
    fa_net_free(net), free(x), free(out), free(labels);
    return 0;
}
