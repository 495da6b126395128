/* ns of a step of a stream, against a naive loop of the same run: n tanh units with a leak, time
 * "leak", rule dfa, plain SGD, squared error, one output. Arguments: units, inputs, steps. */
#define _GNU_SOURCE
#include "fastfa.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct naive { /* as one would write it */
    int n, p;          /* units; inputs, units and one */
    float *w, *e, *h, *z, *b, *v, c, *slope;
} naive;

static void step(naive *s, const float *x, int n_in, float y, float k, float lr)
{
    const int n = s->n, p = s->p;
    for (int i = 0; i < n_in; i++) s->z[i] = x[i];
    for (int i = 0; i < n; i++) s->z[n_in + i] = s->h[i];
    s->z[p - 1] = 1;
    float out = s->c;
    for (int j = 0; j < n; j++) s->slope[j] = 0;
    for (int i = 0; i < p; i++)
        for (int j = 0; j < n; j++) s->slope[j] += s->z[i] * s->w[i * n + j];
    for (int j = 0; j < n; j++) {
        const float f = tanhf(s->slope[j]);
        s->h[j] = (1 - k) * s->h[j] + k * f;
        s->slope[j] = k * (1 - f * f);
        out += s->h[j] * s->v[j];
    }
    const float error = out - y;
    for (int i = 0; i < p; i++)
        for (int j = 0; j < n; j++) {
            float *e = &s->e[i * n + j];
            *e = (1 - k) * *e + s->slope[j] * s->z[i];
            s->w[i * n + j] -= lr * error * s->b[j] * *e;
        }
    for (int j = 0; j < n; j++) s->v[j] -= lr * error * s->h[j];
    s->c -= lr * error;
}

static float *numbers(size_t n, float scale)
{
    float *p = malloc(n * sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = scale * ((float)(rand() % 2001) / 1000 - 1);
    return p;
}

static fa_net *network(int n, int n_in, float k)
{
    fa_option options[2] = {{"leak", k, NULL}, {"time", 0, "leak"}};
    fa_layer_desc layers[2] = {fa_recurrent(n, "tanh"), fa_dense(1, "linear")};
    layers[0].options = options, layers[0].n_options = 2;
    fa_rule_desc rule = fa_rule_of("dfa");
    fa_optimizer_desc sgd = fa_optimizer_of("sgd", 1e-4);
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = n_in, desc.layers = layers, desc.n_layers = 2, desc.rule = &rule;
    desc.loss = "mse", desc.optimizer = &sgd;
    fa_net *net = NULL;
    if (fa_net_create(&net, &desc)) puts(fa_last_error()), exit(1);
    return net;
}

int main(int argc, char **argv)
{
    const int n = argc > 1 ? atoi(argv[1]) : 50, n_in = argc > 2 ? atoi(argv[2]) : 1;
    const int steps = argc > 3 ? atoi(argv[3]) : 2000, rounds = 41, p = n_in + n + 1;
    const float k = 0.1f;
    fa_net *net = network(n, n_in, k);
    naive s = {.n = n, .p = p};
    s.w = numbers((size_t)(p * n), 0.1f), s.e = numbers((size_t)(p * n), 0);
    s.h = numbers((size_t)n, 0), s.z = numbers((size_t)p, 0), s.b = numbers((size_t)n, 0.1f);
    s.v = numbers((size_t)n, 0.1f), s.slope = numbers((size_t)n, 0);
    float *x = numbers((size_t)(steps * n_in), 1), sum = 0;
    double best[2] = {1, 1}, ratios[64];
    for (int r = 0; r < rounds; r++) {
        double took[2];
        for (int which = 0; which < 2; which++) {
            const double start = seconds();
            for (int t = 0; t < steps; t++) {
                const float *row = x + (size_t)(t * n_in), y = row[0] * 0.5f;
                double loss = 0;
                if (which)
                    step(&s, row, n_in, y, k, 1e-4f);
                else if (fa_stream_step(NULL, &loss, net, row, -1, &y))
                    puts(fa_last_error()), exit(1);
                sum += (float)loss;
            }
            took[which] = (seconds() - start) / steps;
            if (took[which] < best[which]) best[which] = took[which];
        }
        ratios[r] = took[0] / took[1];
        for (int i = r; i > 0 && ratios[i] < ratios[i - 1]; i--) {
            const double t = ratios[i];
            ratios[i] = ratios[i - 1], ratios[i - 1] = t;
        }
    }
    printf(
        "units %d, inputs %d: fastfa %.0f ns, naive loop %.0f ns, ratio %.2f (median), %.2f of the "
        "best times%s\n",
        n, n_in, 1e9 * best[0], 1e9 * best[1], ratios[rounds / 2], best[0] / best[1],
        isfinite(sum + s.c) ? "" : ": not finite");
    fa_net_free(net);
    return 0;
}
