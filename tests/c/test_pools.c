/* Pools: outputs and deltas against sums written out, where a rule's signal lands, what is refused,
 * threads and files. The kernels themselves: test_pool_kernels.c. */
#include "bytes.h"
#include "images.h"

static images data;

enum { BOTTOM, POOL, FLAT, HEAD, N_LAYERS };

/* 6 x 5 x 2 -> 6 x 5 x 3 -> a pool -> a row -> 3 */
typedef struct {
    image_recipe r;
    fa_layer_desc layers[N_LAYERS];
} pooled;

static void make_pooled(pooled *p, fa_layer_desc pool, const char *rule, const char *inject,
                        fa_dtype dtype)
{
    recipe_images(&p->r, rule, dtype);
    p->layers[BOTTOM] = fa_conv2d(3, 1, "tanh");
    p->layers[POOL] = pool;
    p->layers[FLAT] = fa_flatten();
    p->layers[HEAD] = fa_dense(N_CLASSES, "linear");
    p->r.rule.inject = inject;
    p->r.desc.layers = p->layers, p->r.desc.n_layers = N_LAYERS, p->r.desc.rule = &p->r.rule;
    p->r.desc.optimizer = &p->r.optimizer;
}

static fa_layer_desc window_of(fa_layer_desc pool, int64_t h, int64_t w, int64_t down,
                               int64_t right, int64_t pad)
{
    pool.kernel_h = h, pool.kernel_w = w, pool.stride_h = down, pool.stride_w = right;
    pool.pad_h = pool.pad_w = pad;
    return pool;
}

static const double *tensor(const fa_net *net, const char *key)
{ return fa_net_tensor(net, fa_net_find(net, key)).data; }

/* ---- what a pool computes, and the way back ---- */

typedef struct {
    int64_t h, w, down, right, pad, out_h, out_w; /* windows over 6 x 5 x 3 */
} windows;

/* The map `h` pooled into `out`; or, with d, each number of the signal d given back to `below`. */
static void pool_by_hand(const windows *g, bool largest, const double *h, double *out,
                         const double *d, double *below)
{
    for (int64_t at = 0; at < g->out_h * g->out_w * 3; at++) {
        const int64_t y = at / 3 / g->out_w * g->down - g->pad,
                      x = at / 3 % g->out_w * g->right - g->pad;
        int64_t best = -1, count = 0;
        double sum = 0;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t k = 0; k < g->h * g->w; k++) {
                const int64_t i = y + k / g->w, j = x + k % g->w, from = (i * 5 + j) * 3 + at % 3;
                if (i < 0 || i >= 6 || j < 0 || j >= 5) continue;
                if (pass && d)
                    below[from] += largest ? (from == best) * d[at] : d[at] / (double)count;
                if (pass) continue;
                if (best < 0 || h[from] > h[best]) best = from;
                sum += h[from], count++;
            }
        out[at] = largest ? h[best] : sum / (double)count;
    }
}

/* Predictions and deltas of one image under dfa, at each place where its signal may land. */
static void compare_with_hand(const windows *g, bool largest, const char *inject)
{
    pooled p;
    const fa_layer_desc of = largest ? fa_max_pool2d(1) : fa_avg_pool2d(1);
    make_pooled(&p, window_of(of, g->h, g->w, g->down, g->right, g->pad), "dfa", inject, FA_F64);
    fa_net *net = make(&p.r.desc);
    const int64_t n = g->out_h * g->out_w * 3;
    const fa_samples one = images_of(&data, FA_F64, 2, 1);
    double h[90], out[512], b[3 * 512], e[3], s[512] = {0}, below[90] = {0}, found[90], z[3];
    const double *w = tensor(net, "0.weight"), *top = tensor(net, "3.weight");
    for (int64_t i = 0; i < 90; i++)
        h[i] = tanh(data.x[2 * N_PIXELS + i / 3 * 2] * w[i % 3] +
                    data.x[2 * N_PIXELS + i / 3 * 2 + 1] * w[3 + i % 3]);
    pool_by_hand(g, largest, h, out, NULL, NULL);
    CHECK(fa_predict(z, 3, net, &one, 1) == FA_OK, "predict");
    for (int k = 0; k < 3; k++) {
        double expected = 0;
        for (int64_t i = 0; i < n; i++) expected += out[i] * top[3 * i + k];
        CHECK(fabs(z[k] - expected) < 1e-12, "output %d: %g, expected %g", k, z[k], expected);
    }
    void *deltas[2] = {found, e};
    CHECK(fa_deltas(deltas, net, &one) == FA_OK, "deltas");
    CHECK(fa_feedback_matrix(b, net, 0) == FA_OK, "feedback");
    const bool behind = !strcmp(inject, "post");
    const int64_t width = behind ? n : 90;
    fa_block_info info = {.struct_size = sizeof info};
    CHECK(fa_net_block(&info, net, 0) == FA_OK && !strcmp(info.inject, inject) &&
              info.n_signal == width && info.feedback_cols == width,
          "%s: %d numbers", inject, (int)info.n_signal);
    for (int64_t i = 0; i < width; i++)
        for (int k = 0; k < 3; k++) s[i] += e[k] * b[k * width + i];
    if (behind) pool_by_hand(g, largest, h, out, s, below);
    for (int64_t i = 0; i < 90; i++) {
        const double signal = behind ? below[i] : s[i];
        const double d = strcmp(inject, "pre") ? signal * (1 - h[i] * h[i]) : signal;
        CHECK(fabs(found[i] - d) < 1e-12, "%s, delta %d: %g, expected %g", inject, (int)i, found[i],
              d);
    }
    fa_net_free(net);
}

static void pools_are_what_loops_say(void)
{
    static const windows of[] = {{2, 2, 2, 2, 0, 3, 2},
                                 {3, 3, 2, 1, 1, 3, 5}, /* overlapping, padded */
                                 {2, 1, 3, 2, 0, 2, 3}, /* places between windows */
                                 {6, 5, 1, 1, 0, 1, 1}};
    static const char *const places[] = {"post", "before_pool", "pre"};
    for (int i = 0; i < 4 * 2 * 3; i++) compare_with_hand(&of[i / 6], i / 3 % 2, places[i % 3]);
}

static void strides_are_the_size_at_first(void)
{
    pooled p;
    make_pooled(&p, fa_max_pool2d(2), "backprop", NULL, FA_F32);
    fa_net *net = make(&p.r.desc);
    fa_layer_info info = {.struct_size = sizeof info};
    CHECK(fa_net_layer(&info, net, POOL) == FA_OK && info.h == 3 && info.w == 2 && info.c == 3 &&
              info.multiply_adds == 0,
          "3 x 2 x 3");
    fa_net_free(net);
    make_pooled(&p, fa_global_avg_pool2d(), "backprop", NULL, FA_F32);
    net = make(&p.r.desc);
    CHECK(fa_net_layer(&info, net, POOL) == FA_OK && info.h == 0 && info.w == 0 && info.c == 3 &&
              info.n_out == 3,
          "a row of 3");
    fa_net_free(net);
}

/* ---- threads, files ---- */

static void train(fa_net *net)
{
    static const int64_t sizes[] = {40, 1, 17};
    for (int i = 0; i < 3; i++) {
        const fa_samples s = images_of(&data, fa_net_description(net)->dtype, 0, sizes[i]);
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK && isfinite(loss), "train_batch");
    }
}

static void threads_and_files_change_no_bit(void)
{
    static const char *const of[] = {"backprop", "fa", "dfa", "local", "dkp", "drtp"};
    for (int i = 0; i < 6 * 3; i++) {
        pooled p;
        const fa_layer_desc pool = i % 3 == 0   ? window_of(fa_max_pool2d(3), 3, 3, 2, 2, 1)
                                   : i % 3 == 1 ? fa_avg_pool2d(2)
                                                : fa_global_avg_pool2d();
        make_pooled(&p, pool, of[i / 3], i / 3 > 1 && i % 2 ? "before_pool" : "post",
                    dtypes[i % 2]);
        fa_net *net = make(&p.r.desc), *loaded;
        p.r.desc.n_threads = 3;
        fa_net *many = make(&p.r.desc);
        bytes b = {0};
        train(net), train(many);
        CHECK(same_state(net, many), "%s: threads", of[i / 3]);
        CHECK(fa_save_to(net, append, &b) == FA_OK, "save");
        REQUIRE(fa_load_memory(&loaded, b.data, b.size, NULL, NULL) == FA_OK, "load");
        train(net), train(loaded);
        CHECK(same_state(net, loaded), "%s goes on", of[i / 3]);
        fa_net_free(net), fa_net_free(many), fa_net_free(loaded);
        free(b.data);
    }
}

/* In front of the first layer with weights a pool has no signal. */
static void a_pool_may_come_first(void)
{
    image_recipe r;
    recipe_images(&r, "dfa", FA_F32);
    fa_layer_desc layers[] = {fa_max_pool2d(2), fa_dropout(0.25),    fa_avg_pool2d(1),
                              fa_flatten(),     fa_dense(5, "tanh"), fa_dense(N_CLASSES, "linear")};
    r.desc.layers = layers, r.desc.n_layers = 6;
    fa_net *net = make(&r.desc);
    float out[2][N_CLASSES];
    const fa_samples one = images_of(&data, FA_F32, 3, 1);
    fa_predictor *p;
    train(net);
    REQUIRE(fa_predictor_create(&p, net, FA_F32, 0) == FA_OK, "predictor");
    CHECK(fa_predict(out[0], N_CLASSES, net, &one, 0) == FA_OK, "predict");
    CHECK(fa_predict_one(out[1], p, one.x) == FA_OK, "predict_one");
    CHECK(!memcmp(out[0], out[1], sizeof out[0]), "the same bits");
    fa_predictor_free(p), fa_net_free(net);
}

/* ---- refusals ---- */

static void refuses(fa_layer_desc pool, const char *rule, const char *inject, const char *words)
{
    pooled p;
    fa_net *net = NULL;
    make_pooled(&p, pool, rule, inject, FA_F32);
    const int64_t before = live_bytes();
    CHECK(fa_net_create(&net, &p.r.desc) == FA_E_VALUE && !net, "%s", words);
    CHECK(!strncmp(fa_last_error(), words, strlen(words)), "%s, expected %s", fa_last_error(),
          words);
    CHECK(live_bytes() == before, "nothing is kept");
}

static void wrong_pools(void)
{
    refuses(fa_max_pool2d(6), "dfa", NULL,
            "layer 1: pool_size: expected at most (6, 5), the size of the image with its padding, "
            "got (6, 6)");
    refuses(fa_avg_pool2d(0), "dfa", NULL, "layer 1: pool_size: expected 1 to");
    refuses(window_of(fa_avg_pool2d(2), 2, 2, 0, 0, 2), "dfa", NULL,
            "layer 1: padding: expected less than pool_size (2, 2), got (2, 2)");
    refuses(window_of(fa_max_pool2d(2), 17, 16, 0, 0, 8), "dfa", NULL,
            "layer 1: pool_size: expected at most 256 positions in a window, got 17 x 16");
    refuses(fa_max_pool2d(2), "fa", "before_pool",
            "layer 0: inject='before_pool': expected one of the rules ");
    refuses(fa_max_pool2d(2), "dfa", "behind",
            "layer 0: inject: expected 'post', 'before_pool' or 'pre', got 'behind'");
    refuses(fa_max_pool2d(2), "pepita", NULL,
            "layer 0: rule: expected one that takes images, got 'pepita'");
    pooled p;
    fa_net *net;
    make_pooled(&p, fa_flatten(), "dfa", NULL, FA_F32);
    for (int i = 0; i < 3; i++) {
        p.layers[FLAT] = i ? i > 1 ? fa_avg_pool2d(1) : fa_max_pool2d(1) : fa_global_avg_pool2d();
        CHECK(fa_net_create(&net, &p.r.desc) == FA_E_VALUE &&
                  strstr(fa_last_error(), "pool2d: expected images of shape"),
              "of a row: %s", fa_last_error());
    }
}

int main(void)
{
    images_fill(&data, N_PIXELS);
    RUN(pools_are_what_loops_say);
    RUN(strides_are_the_size_at_first);
    RUN(threads_and_files_change_no_bit);
    RUN(a_pool_may_come_first);
    RUN(wrong_pools);
    return finish();
}
