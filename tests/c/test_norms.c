/* Networks with normalisations: derivatives, threads, files, memory, refusals. The kernels:
 * test_norm_kernels.c. */
#include "bytes.h"
#include "failing_heap.h"
#include "images.h"

static images data;

enum { DOWN, NORM_1, TANH, FLAT, MIDDLE, NORM_2, OUTPUT, N_LAYERS };

typedef struct {
    image_recipe r;
    fa_layer_desc layers[N_LAYERS];
    fa_option groups;
} normed;

static fa_layer_desc norm_of(int kind)
{ return kind == 0 ? fa_layer_norm() : kind == 1 ? fa_rms_norm() : fa_group_norm(); }

/* 6 x 5 x 2 -> 5 x 4 x 4 -> 80 -> 8 -> 3, normalised twice */
static void make_normed(normed *p, int kind, const char *rule, fa_dtype dtype)
{
    recipe_images(&p->r, rule, dtype);
    const fa_layer_desc layers[] = {fa_conv2d(4, 2, "linear"),    norm_of(kind),
                                    fa_activation("tanh"),        fa_flatten(),
                                    fa_dense(8, "softplus"),      norm_of((kind + 1) % 3),
                                    fa_dense(N_CLASSES, "linear")};
    memcpy(p->layers, layers, sizeof layers);
    p->groups = (fa_option){"groups", 2, NULL};
    for (int i = 0; i < N_LAYERS; i++)
        if (!strcmp(p->layers[i].type, "group_norm"))
            p->layers[i].options = &p->groups, p->layers[i].n_options = 1;
    p->r.desc.rule = &p->r.rule, p->r.desc.optimizer = &p->r.optimizer;
    p->r.desc.layers = p->layers, p->r.desc.n_layers = N_LAYERS;
}

static void train(fa_net *net)
{
    static const int64_t sizes[] = {40, 1, 17};
    for (int i = 0; i < 3; i++) {
        const fa_samples s = images_of(&data, fa_net_description(net)->dtype, 0, sizes[i]);
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK && isfinite(loss), "train_batch");
    }
}

/* ---- derivatives ---- */

static double loss_of(const fa_net *net, void *const *grads)
{
    const fa_samples s = images_of(&data, FA_F64, 0, 5);
    double loss = NAN;
    CHECK(fa_gradients(&loss, grads, net, &s) == FA_OK, "gradients");
    return loss;
}

static void backprop_is_the_derivative(void)
{
    static double gradients[MOST_TENSORS][80 * 8];
    for (int kind = 0; kind < 3; kind++) {
        normed p;
        make_normed(&p, kind, "backprop", FA_F64);
        fa_net *net = make(&p.r.desc);
        void *grads[MOST_TENSORS], *none[MOST_TENSORS] = {NULL};
        for (int i = 0; i < MOST_TENSORS; i++) grads[i] = gradients[i];
        loss_of(net, grads);
        int of_norms = 0;
        for (int64_t t = 0; t < fa_net_n_tensors(net); t++) {
            const fa_tensor w = fa_net_tensor(net, t);
            const int64_t n = w.rows * w.cols;
            of_norms += strstr(w.key, "scale") || strstr(w.key, "shift");
            for (int64_t i = 0; i < n; i += n > 30 ? n / 15 : 1) {
                double *const v = (double *)w.data + i;
                const double before = *v, step = 1e-5;
                *v = before + step;
                const double up = loss_of(net, none);
                *v = before - step;
                const double slope = (up - loss_of(net, none)) / (2 * step);
                *v = before;
                CHECK(fabs(gradients[t][i] - slope) < 1e-8 + 1e-5 * fabs(slope),
                      "%s[%d]: %.12g, slope %.12g", w.key, (int)i, gradients[t][i], slope);
            }
        }
        CHECK(of_norms == 4, "scale and shift of both: %d", of_norms);
        fa_net_free(net);
    }
}

/* ---- threads, files, options ---- */

static void threads_and_files_change_no_bit(void)
{
    static const char *const of[] = {"backprop", "fa", "dfa", "local", "kp", "usf"};
    for (int i = 0; i < 6; i++) {
        normed p;
        make_normed(&p, i % 3, of[i], dtypes[i % 2]);
        p.r.optimizer = fa_optimizer_of(i % 2 ? "adam" : "sgd", 0.05);
        p.r.optimizer.weight_decay = 0.01, p.r.optimizer.decay_bias = i > 2;
        p.r.optimizer.clip_norm = i > 3 ? 0.1 : 0;
        fa_net *net = make(&p.r.desc), *fresh = make(&p.r.desc), *loaded;
        p.r.desc.n_threads = 3;
        fa_net *many = make(&p.r.desc);
        bytes b = {0};
        train(net), train(many);
        CHECK(same_state(net, many), "%s: threads", of[i]);
        CHECK(fa_save_to(net, append, &b) == FA_OK, "save");
        REQUIRE(fa_load_memory(&loaded, b.data, b.size, NULL, NULL) == FA_OK, "load");
        train(net), train(loaded);
        CHECK(same_state(net, loaded), "%s goes on", of[i]);
        CHECK(fa_net_reset(loaded) == FA_OK && same_state(loaded, fresh), "ones and zeros again");
        fa_net_free(net), fa_net_free(many), fa_net_free(loaded), fa_net_free(fresh);
        free(b.data);
    }
}

static void learning_one_by_one_is_a_batch_of_one(void)
{
    for (int i = 0; i < 2; i++) {
        normed p;
        make_normed(&p, i, "dfa", FA_F32);
        fa_net *one = make(&p.r.desc), *many = make(&p.r.desc), *batch = make(&p.r.desc);
        fa_samples s = images_of(&data, FA_F32, 0, 5);
        fa_metrics m;
        s.weights = NULL;
        CHECK(fa_learn_many(&m, many, &s) == FA_OK, "learn_many");
        for (int j = 0; j < 5; j++) {
            double loss;
            fa_samples single = images_of(&data, FA_F32, j, 1);
            single.weights = NULL;
            CHECK(fa_learn_one(&loss, one, single.x, data.labels[j], NULL) == FA_OK, "learn");
            CHECK(fa_train_batch(&loss, batch, &single) == FA_OK, "batch");
        }
        CHECK(same_state(one, batch) && same_state(many, batch), "the same bits");
        fa_net_free(one), fa_net_free(many), fa_net_free(batch);
    }
}

/* A caller that leaves all but the type zero gets what the initialiser sets. */
static void zeros_are_the_initialiser(void)
{
    normed p;
    make_normed(&p, 0, "dfa", FA_F32);
    fa_net *net = make(&p.r.desc);
    p.layers[NORM_1].trainable = 0, p.layers[NORM_1].lr_scale = 0;
    fa_net *zeros = make(&p.r.desc);
    train(net), train(zeros);
    CHECK(same_state(net, zeros), "the same");
    CHECK(fa_net_description(zeros)->layers[NORM_1].lr_scale == 1, "lr_scale");
    fa_net_free(net), fa_net_free(zeros);
}

static void without_scale_or_shift(void)
{
    fa_option off[] = {{"scale", 0, NULL}, {"shift", 0, NULL}};
    for (int i = 0; i < 3; i++) {
        normed p;
        make_normed(&p, 0, "dfa", FA_F64);
        p.layers[NORM_1].options = i < 2 ? &off[i] : off;
        p.layers[NORM_1].n_options = i < 2 ? 1 : 2;
        fa_net *net = make(&p.r.desc);
        CHECK((fa_net_find(net, "1.scale") >= 0) == (i == 1), "scale");
        CHECK((fa_net_find(net, "1.shift") >= 0) == (i == 0), "shift");
        train(net);
        fa_net_free(net);
    }
}

/* The layers with weights stay, and the normalisations learn. */
static void normalisations_learn_alone(void)
{
    normed p;
    make_normed(&p, 2, "dfa", FA_F64);
    p.layers[DOWN].trainable = p.layers[MIDDLE].trainable = 0;
    fa_net *net = make(&p.r.desc), *fresh = make(&p.r.desc);
    train(net);
    static const char *const keys[] = {"0.weight", "1.scale", "1.shift", "4.bias", "5.scale"};
    for (int i = 0; i < 5; i++) {
        const fa_tensor a = fa_net_tensor(net, fa_net_find(net, keys[i])),
                        b = fa_net_tensor(fresh, fa_net_find(fresh, keys[i]));
        const bool same = !memcmp(a.data, b.data, (size_t)(a.rows * a.cols) * 8);
        CHECK(same == (i == 0 || i == 3), "%s", keys[i]);
    }
    fa_net_free(net), fa_net_free(fresh);
}

/* ---- memory and refusals ---- */

static void allocations_that_fail_change_nothing(void)
{
    REQUIRE(fa_set_allocator(&failing) == FA_OK, "set_allocator");
    normed p;
    make_normed(&p, 0, "dfa", FA_F32);
    fa_status status = FA_E_MEMORY;
    int64_t n = 1;
    for (; n < 100 && status != FA_OK; n++) {
        fa_net *net = NULL;
        fail_at(n);
        status = fa_net_create(&net, &p.r.desc);
        fail_at(0);
        CHECK(!net == (status != FA_OK), "written only on success");
        fa_net_free(net);
        CHECK(heap.live_blocks == 0, "a leak");
    }
    CHECK(n > 10 && n < 100, "%d allocations", (int)n - 2);
    CHECK(fa_set_allocator(NULL) == FA_OK, "the C library's");
}

static void refuses(const normed *p, const char *words)
{
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &p->r.desc) == FA_E_VALUE && !net, "%s", words);
    CHECK(!strncmp(fa_last_error(), words, strlen(words)), "%s, expected %s", fa_last_error(),
          words);
}

static void wrong_norms(void)
{
    normed p;
    make_normed(&p, 2, "dfa", FA_F32);
    p.groups.number = 3;
    refuses(&p, "layer 1: type 'group_norm': groups: expected a divisor of 4, the number of "
                "features or channels, got "
                "3");
    make_normed(&p, 0, "dfa", FA_F32);
    p.layers[NORM_2].lr_scale = -1;
    refuses(&p, "layer 5: lr_scale: expected a finite number >= 0, got -1");
    make_normed(&p, 0, "dfa", FA_F32);
    p.r.rule.inject = "pre";
    refuses(&p, "layer 1: layer_norm: expected one without a scale and shift that train under rule "
                "'dfa' with inject='pre', got one with them; the signal does not pass it: set "
                "trainable to false");
    make_normed(&p, 0, "dfa", FA_F32);
    p.layers[TANH] = p.layers[NORM_1], p.layers[NORM_1] = fa_max_pool2d(2);
    p.r.rule.inject = "before_pool";
    refuses(&p, "layer 2: layer_norm: expected one without a scale and shift that train under rule "
                "'dfa' with inject='before_pool'");
    make_normed(&p, 1, "dfa", FA_F32);
    p.layers[DOWN] = fa_rms_norm();
    refuses(&p, "layer 0: rms_norm: expected one without a scale and shift that train before the "
                "first layer with weights");
    p.layers[DOWN].trainable = p.layers[NORM_1].trainable = 0;
    p.layers[DOWN].lr_scale = p.layers[NORM_1].lr_scale =
        0.5; /* else they are zeros to be filled */
    fa_net *net = make(&p.r.desc);
    train(net);
    fa_net_free(net);
}

int main(void)
{
    images_fill(&data, N_PIXELS);
    RUN(backprop_is_the_derivative);
    RUN(threads_and_files_change_no_bit);
    RUN(learning_one_by_one_is_a_batch_of_one);
    RUN(zeros_are_the_initialiser);
    RUN(without_scale_or_shift);
    RUN(normalisations_learn_alone);
    RUN(allocations_that_fail_change_nothing);
    RUN(wrong_norms);
    return finish();
}
