/* Every call on networks of images: derivatives, the bits of Dense, of any number of threads and of
 * files, angles, and memory that is refused. The formulas themselves: test_images.c. */
#include "bytes.h"
#include "failing_heap.h"
#include "images.h"

static images data;

static fa_samples part_of(const fa_net *net, int64_t first, int64_t n)
{ return images_of(&data, fa_net_description(net)->dtype, first, n); }

static double train(fa_net *net, int64_t first, int64_t n)
{
    const fa_samples s = part_of(net, first, n);
    double loss = NAN;
    CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "train_batch");
    return loss;
}

/* ---- derivatives ---- */

static double loss_of(const fa_net *net, int64_t n)
{
    void *none[MOST_TENSORS] = {NULL};
    const fa_samples s = part_of(net, 0, n);
    double loss = NAN;
    CHECK(fa_gradients(&loss, none, net, &s) == FA_OK, "loss");
    return loss;
}

static void backprop_is_the_derivative(void)
{
    static const int64_t sizes[] = {1, 2, 17, 3};
    static double gradients[MOST_TENSORS][27 * 7];
    const double step = 1e-5;
    image_recipe r;
    recipe_images(&r, "backprop", FA_F64);
    for (int s = 0; s < 4; s++) {
        if (s == 3) r.desc.loss = "mse", r.layers[TOP].activation = "tanh"; /* f' at the top too */
        fa_net *net = make(&r.desc);
        const fa_samples x = part_of(net, 0, sizes[s]);
        void *grads[MOST_TENSORS];
        double loss;
        for (int i = 0; i < MOST_TENSORS; i++) grads[i] = gradients[i];
        CHECK(fa_gradients(&loss, grads, net, &x) == FA_OK, "gradients");
        for (int64_t t = 0; t < fa_net_n_tensors(net); t++) {
            const fa_tensor p = fa_net_tensor(net, t);
            double *v = p.data;
            for (int64_t i = 0; i < p.rows * p.cols; i += sizes[s] > 2 ? 5 : 1) {
                const double before = v[i];
                v[i] = before + step;
                const double up = loss_of(net, sizes[s]);
                v[i] = before - step;
                const double slope = (up - loss_of(net, sizes[s])) / (2 * step);
                v[i] = before;
                CHECK(fabs(gradients[t][i] - slope) < 1e-8 + 1e-6 * fabs(slope),
                      "%s[%d]: %.12g, slope %.12g", p.key, (int)i, gradients[t][i], slope);
            }
        }
        fa_net_free(net);
    }
}

/* ---- the bits of Dense ---- */

/* h x w x c under a kernel of h x w, of `units` filters, and a Dense layer of the same numbers. */
static void compare_with_dense(int64_t h, int64_t w, int64_t c, int64_t units, const char *rule,
                               fa_dtype dtype, const char *f)
{
    image_recipe r;
    recipe_images(&r, rule, dtype);
    fa_layer_desc map[4] = {fa_conv2d(units, h, f), fa_flatten(), fa_dense(9, "tanh"),
                            fa_dense(N_CLASSES, "linear")};
    const fa_layer_desc rows[3] = {fa_dense(units, f), map[2], map[3]};
    map[0].kernel_w = w;
    r.optimizer = fa_optimizer_of("adam", 0.02); /* plain SGD adds products to weights */
    r.desc.layers = map, r.desc.n_layers = 4, r.desc.n_in = h * w * c;
    r.desc.input_h = h, r.desc.input_w = w, r.desc.input_c = c;
    fa_net *image = make(&r.desc);
    r.desc.layers = rows, r.desc.n_layers = 3, r.desc.seed++;
    r.desc.input_h = r.desc.input_w = r.desc.input_c = 0;
    fa_net *dense = make(&r.desc);
    images_fill(&data, h * w * c);
    CHECK(fa_net_state_size(image) == fa_net_state_size(dense), "the same numbers");
    CHECK(!same_state(image, dense), "drawn from another seed");
    void *state = state_of(image);
    CHECK(fa_net_set_state(dense, state, fa_net_state_size(image)) == FA_OK, "weights copied");
    free(state);
    for (int i = 0; i < 3; i++) {
        static const int64_t sizes[] = {17, 1, 22};
        CHECK(train(image, i, sizes[i]) == train(dense, i, sizes[i]), "loss");
        CHECK(same_state(image, dense), "%s, %s, %d x %d x %d to %d: step %d", rule, f, (int)h,
              (int)w, (int)c, (int)units, i);
    }
    fa_net_free(image), fa_net_free(dense);
}

static void one_position_has_the_bits_of_dense(void)
{
    static const char *const of[] = {"backprop", "fa", "usf", "kp", "dfa", "dkp", "local", "drtp"};
    char *before = set_variable("FASTFA_GEMM", "own"); /* BLAS divides sums in its own way */
    for (int i = 0; i < 16; i++) {
        const char *f = i & 1 ? "relu" : "tanh";
        compare_with_dense(1, 1, 19, 18, of[i / 2], dtypes[i & 1], f);
        compare_with_dense(3, 2, 5, 18, of[i / 2], dtypes[i & 1], f);
    }
    compare_with_dense(1, 1, 3, 600, "backprop", FA_F32, "tanh"); /* tiles of some columns */
    restore_variable("FASTFA_GEMM", before);
    images_fill(&data, N_PIXELS);
}

/* ---- the bits of any number of threads ---- */

static fa_net *trained(const image_recipe *r, int threads)
{
    fa_net_desc desc = r->desc;
    desc.n_threads = threads;
    fa_net *net = make(&desc);
    fa_metrics m;
    const fa_samples all = part_of(net, 0, MOST_IMAGES), some = part_of(net, 3, 5);
    train(net, 0, MOST_IMAGES), train(net, 5, 1), train(net, 0, 2), train(net, 9, 17);
    CHECK(fa_train_epoch(&m, net, &all, 16) == FA_OK && m.steps == 3, "epoch");
    CHECK(fa_learn_many(&m, net, &some) == FA_OK && m.steps == 5, "learn_many");
    return net;
}

static void threads_change_no_bit(void)
{
    const char *optimizer;
    int n = 0;
    for (int o = 0; (optimizer = fa_name(FA_NAMES_OPTIMIZER, o)); o++)
        for (int i = 0; i < n_rules; i++) {
            if (!takes_images(rules[i]) || (o + i) % 3) continue;
            image_recipe r;
            recipe_images(&r, rules[i], dtypes[n++ % 2]);
            add_dropout(&r);
            r.optimizer = fa_optimizer_of(optimizer, 0.01);
            r.optimizer.clip_norm = n % 3 ? 0 : 0.05;
            r.optimizer.weight_decay = n % 4 ? 0 : 0.01, r.optimizer.l1 = n % 5 ? 0 : 0.001;
            fa_net *one = trained(&r, 1), *fresh = make(&r.desc);
            CHECK(!same_state(one, fresh), "%s, %s: it learns", rules[i], optimizer);
            for (int threads = 2; threads < 4; threads++) {
                fa_net *many = trained(&r, threads);
                CHECK(same_state(one, many), "%s, %s: %d threads", rules[i], optimizer, threads);
                fa_net_free(many);
            }
            fa_net_free(one), fa_net_free(fresh);
        }
    CHECK(n >= 30, "%d pairs of rule and optimizer", n);
}

/* A kernel that is larger than all else that a thread has memory for. */
static void wide_kernels_have_room(void)
{
    image_recipe r;
    recipe_images(&r, "backprop", FA_F64);
    r.layers[CONV_1] = fa_conv2d(260, 1, "tanh"), r.layers[CONV_2] = fa_conv2d(310, 1, "relu");
    r.desc.input_h = r.desc.input_w = 1, r.desc.input_c = N_PIXELS;
    fa_net *nets[3];
    for (int i = 0; i < 3; i++) {
        r.desc.n_threads = i + 1;
        nets[i] = make(&r.desc);
        const double before = train(nets[i], 0, MOST_IMAGES);
        CHECK(train(nets[i], 0, MOST_IMAGES) < before, "it learns");
        CHECK(same_state(nets[0], nets[i]), "%d threads", i + 1);
    }
    for (int i = 0; i < 3; i++) fa_net_free(nets[i]);
}

static void learning_one_by_one_is_a_batch_of_one(void)
{
    for (int i = 0; i < 2 * n_rules; i++) {
        const char *rule = rules[i / 2];
        if (!takes_images(rule)) continue;
        image_recipe r;
        recipe_images(&r, rule, FA_F64);
        if (i % 2) r.layers[CONV_1].trainable = r.layers[CONV_2].trainable = 0;
        fa_net *one = make(&r.desc), *many = make(&r.desc), *batch = make(&r.desc);
        fa_samples s = part_of(one, 0, 5);
        fa_metrics m;
        s.weights = NULL;
        CHECK(fa_learn_many(&m, many, &s) == FA_OK, "learn_many");
        double sum = 0;
        for (int j = 0; j < 5; j++) {
            double loss[2];
            fa_samples single = part_of(one, j, 1);
            single.weights = NULL;
            CHECK(fa_learn_one(&loss[0], one, single.x, data.labels[j], NULL) == FA_OK, "learn");
            CHECK(fa_train_batch(&loss[1], batch, &single) == FA_OK, "batch");
            CHECK(loss[0] == loss[1], "%s: loss %d", rule, j);
            sum += loss[0];
        }
        CHECK(same_state(one, batch) && same_state(many, batch), "%s: states", rule);
        CHECK(m.loss == sum && m.rows == 5, "%s: sums", rule);
        fa_net_free(one), fa_net_free(many), fa_net_free(batch);
    }
}

/* ---- predictions and angles ---- */

static void predictions_have_the_same_bits(void)
{
    for (int i = 0; i < 2; i++) {
        image_recipe r;
        recipe_images(&r, "fa", dtypes[i]);
        add_dropout(&r);
        fa_net *net = trained(&r, 3);
        const size_t size = size_of(dtypes[i]), row = N_CLASSES * size;
        char whole[MOST_IMAGES * N_CLASSES * 8], part[sizeof whole], one[N_CLASSES * 8];
        const fa_samples all = part_of(net, 0, MOST_IMAGES);
        CHECK(fa_predict(whole, N_CLASSES, net, &all, 0) == FA_OK, "predict");
        fa_predictor *p;
        REQUIRE(fa_predictor_create(&p, net, dtypes[i], 0) == FA_OK, "predictor");
        double loss = 0, hits = 0, weights = 0;
        for (int64_t m = 0; m < MOST_IMAGES; m++) {
            const fa_samples s = part_of(net, m, m % 9 ? 1 : 3);
            CHECK(fa_predict(part, N_CLASSES, net, &s, 0) == FA_OK, "predict");
            CHECK(fa_predict_one(one, p, s.x) == FA_OK, "predict_one");
            CHECK(!memcmp(part, whole + (size_t)m * row, row), "image %d alone", (int)m);
            CHECK(!memcmp(one, whole + (size_t)m * row, row), "image %d, predictor", (int)m);
            double v[N_CLASSES], *best = v;
            for (int k = 0; k < N_CLASSES; k++) {
                v[k] = i ? ((double *)one)[k] : ((float *)one)[k];
                if (v[k] > *best) best = v + k;
            }
            loss -= data.weights[m] * log(v[data.labels[m]]), weights += data.weights[m];
            hits += best - v == data.labels[m];
        }
        fa_metrics found;
        CHECK(fa_evaluate(&found, net, &all) == FA_OK && found.rows == MOST_IMAGES, "evaluate");
        CHECK(fabs(found.loss - loss) < (i ? 1e-12 : 1e-5) * loss, "loss %.12g, expected %.12g",
              found.loss, loss);
        CHECK(found.hits == hits && hits > 0 && hits < MOST_IMAGES, "%g hits", found.hits);
        fa_predictor_free(p), fa_net_free(net);
    }
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double degrees(const double *a, const double *b, int64_t n)
{ return acos(fmin(1, dot(a, b, n) / sqrt(dot(a, a, n) * dot(b, b, n)))) * 57.29577951308232; }

/* The deltas and gradients of a copy under backprop are those that angles refer to. */
static void check_angles(const char *rule)
{
    static double d[2][3][17 * 120], g[2][MOST_TENSORS][27 * 7];
    static const int64_t widths[] = {120, 27, 7};
    double loss;
    image_recipe r, exact;
    recipe_images(&r, rule, FA_F64), recipe_images(&exact, "backprop", FA_F64);
    fa_net *nets[] = {make(&r.desc), make(&exact.desc)};
    fa_angles a[3], same[3];
    const fa_samples s = part_of(nets[0], 0, 17);
    for (int n = 0; n < 2; n++) {
        void *deltas[4] = {d[n][0], d[n][1], d[n][2], NULL}, *grads[MOST_TENSORS];
        for (int i = 0; i < MOST_TENSORS; i++) grads[i] = g[n][i];
        CHECK(fa_deltas(deltas, nets[n], &s) == FA_OK, "deltas");
        CHECK(fa_gradients(&loss, grads, nets[n], &s) == FA_OK, "gradients");
        CHECK(fa_alignment(n ? same : a, nets[n], &s) == FA_OK, "alignment");
    }
    for (int b = 0; b < 3; b++) {
        const int64_t n = 17 * widths[b];
        char key[20];
        snprintf(key, sizeof key, "%d.weight", (int)a[b].layer);
        const int64_t t = fa_net_find(nets[0], key), u = fa_net_find(nets[1], key);
        const fa_tensor w = fa_net_tensor(nets[0], t);
        CHECK(fabs(a[b].delta_angle - degrees(d[0][b], d[1][b], n)) < 1e-5, "%s: delta", rule);
        CHECK(fabs(a[b].gradient_angle - degrees(g[0][t], g[1][u], w.rows * w.cols)) < 1e-5,
              "%s: gradient of block %d", rule, b);
        const double ratio = sqrt(dot(d[0][b], d[0][b], n) / dot(d[1][b], d[1][b], n));
        CHECK(fabs(a[b].norm_ratio - ratio) < 1e-10, "%s: ratio", rule);
        CHECK(same[b].delta_angle < 1e-5 && same[b].gradient_angle < 1e-5, "backprop's own");
        CHECK(a[b].delta_angle > 1, "%s: block %d has other deltas", rule, b);
    }
    fa_net_free(nets[0]), fa_net_free(nets[1]);
}

static void angles_are_those_of_the_deltas(void)
{
    static const char *const of[] = {"fa", "usf", "kp", "dfa", "dkp"};
    for (int i = 0; i < 5; i++) check_angles(of[i]);
}

/* The angle between fixed feedback and the kernel that it stands for. */
static void weight_angles_through_windows(void)
{
    image_recipe r;
    recipe_images(&r, "fa", FA_F64);
    fa_net *net = make(&r.desc), *direct;
    double b[3 * 24], t[24 * 3];
    CHECK(fa_feedback_matrix(b, net, 0) == FA_OK, "feedback");
    for (int i = 0; i < 72; i++) t[i % 24 * 3 + i / 24] = b[i];
    const double *w = fa_net_tensor(net, fa_net_find(net, "1.weight")).data;
    const fa_samples s = part_of(net, 0, 4);
    fa_angles a[3];
    CHECK(fa_alignment(a, net, &s) == FA_OK && a[0].has_weight_angle, "alignment");
    CHECK(fabs(a[0].weight_angle - degrees(t, w, 72)) < 1e-6, "%g degrees", a[0].weight_angle);
    recipe_images(&r, "dfa", FA_F64);
    direct = make(&r.desc);
    CHECK(fa_alignment(a, direct, &s) == FA_OK, "alignment");
    CHECK(!a[0].has_weight_angle && a[1].has_weight_angle && a[2].has_weight_angle,
          "a path through windows is no matrix");
    fa_net_free(net), fa_net_free(direct);
}

/* ---- files, clones ---- */

static void files_and_clones_go_on_with_the_same_bits(void)
{
    for (int i = 0; i < n_rules; i++) {
        if (!takes_images(rules[i])) continue;
        image_recipe r;
        recipe_images(&r, rules[i], dtypes[i % 2]);
        add_dropout(&r);
        r.layers[CONV_2].pad_h = 1, r.layers[CONV_2].pad_w = 2;
        r.optimizer = fa_optimizer_of("adam", 0.01);
        fa_net *net = trained(&r, 2), *copy, *loaded;
        bytes b = {0};
        CHECK(fa_save_to(net, append, &b) == FA_OK, "save");
        REQUIRE(fa_load_memory(&loaded, b.data, b.size, NULL, NULL) == FA_OK, "load");
        REQUIRE(fa_net_clone(&copy, net) == FA_OK, "clone");
        const fa_layer_desc *l = fa_net_description(loaded)->layers;
        CHECK(!strcmp(l[CONV_1].padding, "same") && l[CONV_2].stride_h == 2 && !l[CONV_2].padding &&
                  l[CONV_2].pad_w == 2 && fa_net_description(loaded)->input_w == IMAGE_W,
              "the description is kept");
        train(net, 0, 17), train(copy, 0, 17), train(loaded, 0, 17);
        CHECK(same_state(net, loaded) && same_state(net, copy), "%s goes on", rules[i]);
        CHECK(fa_net_reset(loaded) == FA_OK, "reset");
        fa_net *fresh = make(&r.desc);
        CHECK(same_state(fresh, loaded) && !same_state(fresh, net), "%s starts over", rules[i]);
        fa_net_free(net), fa_net_free(copy), fa_net_free(loaded), fa_net_free(fresh);
        free(b.data);
    }
}

/* ---- memory ---- */

enum { CREATE, TRAIN, EPOCH_OF, PREDICT, EVALUATE, GRADIENTS, DELTAS, ALIGNMENT, CLONE, N_CALLS };

static fa_status call(int which, fa_net *net, const fa_net_desc *desc)
{
    static float out[MOST_IMAGES * 120];
    void *grads[MOST_TENSORS] = {NULL}, *deltas[4] = {out};
    const fa_samples s = images_of(&data, FA_F32, 0, MOST_IMAGES);
    double loss;
    fa_metrics m;
    fa_angles angles[3];
    fa_net *other = NULL;
    fa_status status = FA_OK;
    switch (which) {
    case CREATE: status = fa_net_create(&other, desc); break;
    case TRAIN: return fa_train_batch(&loss, net, &s);
    case EPOCH_OF: return fa_train_epoch(&m, net, &s, 17);
    case PREDICT: return fa_predict(out, N_CLASSES, net, &s, 0);
    case EVALUATE: return fa_evaluate(&m, net, &s);
    case GRADIENTS: return fa_gradients(&loss, grads, net, &s);
    case DELTAS: return fa_deltas(deltas, net, &s);
    case ALIGNMENT: return fa_alignment(angles, net, &s);
    default: status = fa_net_clone(&other, net);
    }
    CHECK(!other == (status != FA_OK), "written only on success");
    fa_net_free(other);
    return status;
}

static void allocations_that_fail_change_nothing(void)
{
    REQUIRE(fa_set_allocator(&failing) == FA_OK, "set_allocator");
    for (int which = 0; which < N_CALLS; which++) {
        image_recipe r;
        recipe_images(&r, which % 2 ? "fa" : "dfa", FA_F32);
        r.desc.n_threads = 2, r.optimizer.clip_norm = 0.1;
        fa_status status = FA_E_MEMORY;
        int64_t n = 1;
        for (; n < 200 && status != FA_OK; n++) {
            fa_net *net = make(&r.desc);
            void *before = state_of(net);
            fail_at(n);
            status = call(which, net, &r.desc);
            fail_at(0);
            CHECK(status == FA_OK || status == FA_E_MEMORY, "call %d: %d", which, status);
            if (status != FA_OK) {
                CHECK(in_state(net, before), "call %d changed the network", which);
                CHECK(call(which, net, &r.desc) == FA_OK, "call %d works afterwards", which);
            }
            free(before), fa_net_free(net);
            CHECK(heap.live_blocks == 0 && heap.live_bytes == 0, "call %d, %d: leak", which,
                  (int)n);
        }
        CHECK(n > 2 && n < 200, "call %d: %d allocations", which, (int)n - 2);
    }
    CHECK(fa_set_allocator(NULL) == FA_OK, "the C library's");
}

int main(void)
{
    images_fill(&data, N_PIXELS);
    RUN(backprop_is_the_derivative);
    RUN(one_position_has_the_bits_of_dense);
    RUN(threads_change_no_bit);
    RUN(wide_kernels_have_room);
    RUN(learning_one_by_one_is_a_batch_of_one);
    RUN(predictions_have_the_same_bits);
    RUN(angles_are_those_of_the_deltas);
    RUN(weight_angles_through_windows);
    RUN(files_and_clones_go_on_with_the_same_bits);
    RUN(allocations_that_fail_change_nothing);
    return finish();
}
