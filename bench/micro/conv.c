/* Shares of the FMA peak that convolutions reach: forward product, gradient of the weights, product
 * back to the image. One thread, float, two samples a call as in a step.
 *
 *   conv [seconds]            default 0.2 for each figure
 *
 * Rounds of kernels and of the peak loop take turns, so that both see the same machine. Prints the
 * best and the median round, in per cent of the best peak of the run; for whole nets the operations
 * of all layers (without backward of the first) over the sum of their best times; times of pooling.
 * FASTFA_CPU=v3 chooses the instruction set. */
#include "kernels.h"
#include "../peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 2, MOST_ROUNDS = 4000 };

typedef struct {
    const char *net, *name;
    int64_t size, channels, kernel, pad, filters;
} layer;

/* Of four nets: LeNet-5, 32-64 filters on MNIST, a LeNet of 3 x 3 kernels on CIFAR,
 * and the net of the DKP paper. */
static const layer layers[] = {
    {"lenet", "28x28x1, 6 of 5x5", 28, 1, 5, 0, 6},
    {"lenet", "12x12x6, 16 of 5x5", 12, 6, 5, 0, 16},
    {"mnist", "28x28x1, 32 of 3x3", 28, 1, 3, 0, 32},
    {"mnist", "13x13x32, 64 of 3x3", 13, 32, 3, 0, 64},
    {"cifar", "32x32x3, 32 of 3x3", 32, 3, 3, 0, 32},
    {"cifar", "15x15x32, 64 of 3x3", 15, 32, 3, 0, 64},
    {"cifar", "6x6x64, 128 of 3x3", 6, 64, 3, 0, 128},
    {"dkp", "32x32x3, 32 of 3x3", 32, 3, 3, 0, 32},
    {"dkp", "30x30x32, 32 of 3x3", 30, 32, 3, 0, 32},
    {"others", "32x32x16, 16 of 3x3, pad 1", 32, 16, 3, 1, 16},
    {"others", "8x8x64, 64 of 3x3, pad 1", 8, 64, 3, 1, 64},
    {"others", "28x28x1, 8 of 3x3", 28, 1, 3, 0, 8},
    {"others", "28x28x1, 1 of 3x3", 28, 1, 3, 0, 1},
    {"others", "16x16x64, 64 of 1x1", 16, 64, 1, 0, 64},
};
enum { N_LAYERS = sizeof layers / sizeof *layers, FORWARD = 0, GRADIENT, BACK, N_KINDS };

static const fa_kernels *kernels;
static double (*peak)(double seconds);

static float *numbers(int64_t n)
{
    float *p = aligned_alloc(64, ((size_t)n * sizeof *p + 63) / 64 * 64);
    if (!p) exit(1);
    for (int64_t i = 0; i < n; i++) p[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    return p;
}

static fa_window window_of(const layer *l)
{
    const int64_t out = l->size + 2 * l->pad - l->kernel + 1;
    return (fa_window){.in_h = l->size,
                       .in_w = l->size,
                       .channels = l->channels,
                       .kernel_h = l->kernel,
                       .kernel_w = l->kernel,
                       .stride_h = 1,
                       .stride_w = 1,
                       .pad_top = l->pad,
                       .pad_bottom = l->pad,
                       .pad_left = l->pad,
                       .pad_right = l->pad,
                       .out_h = out,
                       .out_w = out};
}

typedef struct {
    fa_window g;
    int64_t filters, image, map, patch;
    float *x, *y, *w, *wt, *gw, *bias;
    void *scratch;
} operands;

static operands operands_of(const layer *l)
{
    operands o = {.g = window_of(l), .filters = l->filters};
    o.image = l->size * l->size * l->channels;
    o.map = o.g.out_h * o.g.out_w * l->filters;
    o.patch = l->kernel * l->kernel * l->channels;
    o.x = numbers(SAMPLES * o.image);
    o.y = numbers(SAMPLES * o.map);
    o.w = numbers(o.patch * l->filters);
    o.wt = numbers(o.patch * l->filters);
    o.gw = numbers(o.patch * l->filters);
    o.bias = numbers(l->filters);
    o.scratch = numbers((int64_t)kernels->conv_scratch_bytes(&o.g, l->filters, SAMPLES) / 4 + 1);
    return o;
}

static void free_operands(operands *o)
{ free(o->x), free(o->y), free(o->w), free(o->wt), free(o->gw), free(o->bias), free(o->scratch); }

static void call(const operands *o, int kind)
{
    const fa_epilogue relu = {.bias = o->bias, .relu = true};
    if (kind == FORWARD)
        kernels->conv(o->y, o->map, o->x, o->image, o->w, o->filters, &o->g, o->filters, SAMPLES,
                      &relu, o->scratch);
    else if (kind == GRADIENT)
        kernels->conv_gradient(o->gw, o->filters, o->bias, o->x, o->image, o->y, o->map, &o->g,
                               o->filters, SAMPLES, 0, o->patch, o->filters, false, o->scratch);
    else
        kernels->conv_back(o->x, o->image, o->y, o->map, o->wt, o->patch, &o->g, o->filters,
                           SAMPLES, o->scratch);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The rates of a kernel, in GF/s: the best round, and the median */
static void measure(const operands *o, int kind, double seconds, double *best, double *median)
{
    static double rate[MOST_ROUNDS];
    const double flops = 2.0 * SAMPLES * (double)(o->map * o->patch);
    const int calls = 1 + (int)(2e6 / flops);
    const double end = now() + seconds;
    int n = 0;
    for (int i = 0; i < 3; i++) call(o, kind);
    do {
        const double start = now();
        for (int i = 0; i < calls; i++) call(o, kind);
        rate[n++] = 1e-9 * flops * calls / (now() - start);
    } while (now() < end && n < MOST_ROUNDS);
    qsort(rate, (size_t)n, sizeof *rate, ascending);
    *best = rate[n - 1], *median = rate[n / 2];
}

/* Microseconds a sample for pooling of 2 x 2 and back, the best round */
static void print_pooling(int64_t size, int64_t channels)
{
    enum { ROUNDS = 300, CALLS = 10 };
    const fa_window g = {.in_h = size,
                         .in_w = size,
                         .channels = channels,
                         .kernel_h = 2,
                         .kernel_w = 2,
                         .stride_h = 2,
                         .stride_w = 2,
                         .out_h = size / 2,
                         .out_w = size / 2};
    const int64_t image = size * size * channels, map = image / 4;
    float *x = numbers(image), *y = numbers(map);
    uint8_t *which = (uint8_t *)numbers(map);
    double best[2] = {1, 1};
    for (int i = 0; i < 2 * ROUNDS; i++) {
        const double start = now();
        for (int j = 0; j < CALLS; j++)
            if (i % 2)
                kernels->max_pool_back(x, image, y, map, which, map, &g, 1);
            else
                kernels->max_pool(y, map, which, map, x, image, &g, 1);
        const double time = (now() - start) / CALLS;
        if (time < best[i % 2]) best[i % 2] = time;
    }
    printf("max pooling of %ldx%ldx%ld: %.2f us, back %.2f us\n", (long)size, (long)size,
           (long)channels, 1e6 * best[0], 1e6 * best[1]);
    free(x), free(y), free(which);
}

static void choose(void)
{
    const char *cpu = getenv("FASTFA_CPU");
    kernels = &fa_kernels_v4_rows[0], peak = peak_v4_f32;
    if (cpu && !strcmp(cpu, "v3")) kernels = &fa_kernels_v3_rows[0], peak = peak_v3_f32;
}

int main(int argc, char **argv)
{
    enum { TURNS = 4 };
    const double seconds = argc > 1 ? atof(argv[1]) : 0.2;
    static double best[N_LAYERS][N_KINDS], median[N_LAYERS][N_KINDS];
    double top = 0;
    choose();
    for (int turn = 0; turn < TURNS; turn++)
        for (int i = 0; i < N_LAYERS; i++) {
            operands o = operands_of(&layers[i]);
            for (int kind = 0; kind < N_KINDS; kind++) {
                double b, m;
                measure(&o, kind, seconds / TURNS, &b, &m);
                if (b > best[i][kind]) best[i][kind] = b;
                if (m > median[i][kind]) median[i][kind] = m;
            }
            const double p = peak(0.005);
            if (p > top) top = p;
            free_operands(&o);
        }
    printf("FMA peak %.0f GF/s; per cent of it: best round (median of the best turn)\n", top);
    printf("%-8s%-30s%14s%14s%14s\n", "net", "layer", "forward", "gradient", "back");
    for (int i = 0; i < N_LAYERS; i++) {
        printf("%-8s%-30s", layers[i].net, layers[i].name);
        for (int kind = 0; kind < N_KINDS; kind++)
            printf("%8.0f (%3.0f)", 100 * best[i][kind] / top, 100 * median[i][kind] / top);
        printf("\n");
    }
    for (int i = 0, next; i < N_LAYERS && strcmp(layers[i].net, "others"); i = next) {
        double flops = 0, time = 0;
        for (next = i; next < N_LAYERS && layers[next].net == layers[i].net; next++) {
            const fa_window g = window_of(&layers[next]);
            const double one = 2e-9 * (double)(g.out_h * g.out_w * g.kernel_h * g.kernel_w *
                                               g.channels * layers[next].filters);
            for (int kind = 0; kind < (next == i ? BACK : N_KINDS); kind++)
                flops += one, time += one / best[next][kind];
        }
        printf("%-8s%.0f %% of peak, %.1f us a sample\n", layers[i].net, 100 * flops / time / top,
               1e6 * time);
    }
    print_pooling(24, 6);
    print_pooling(26, 32);
    print_pooling(28, 32);
    return 0;
}
