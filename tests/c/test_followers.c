/* Layers without weights behind those that have them: activations of their own against those of the
 * layer, dropout of whole channels; threads, files, refusals. Pools: test_pools.c. */
#include "bytes.h"
#include "images.h"

static images data;

static void train(fa_net *net)
{
    static const int64_t sizes[] = {40, 1, 17};
    for (int i = 0; i < 3; i++) {
        const fa_samples s = images_of(&data, fa_net_description(net)->dtype, 0, sizes[i]);
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK && isfinite(loss), "train_batch");
    }
}

/* Trains `net`, a copy on three threads and one from a file; all have the same bits. Frees net. */
static void threads_and_files(fa_net *net, const fa_net_desc *desc, const char *what)
{
    fa_net_desc shared = *desc;
    shared.n_threads = 3;
    fa_net *many = make(&shared), *loaded;
    bytes b = {0};
    train(net), train(many);
    CHECK(same_state(net, many), "%s: threads", what);
    CHECK(fa_save_to(net, append, &b) == FA_OK, "save");
    REQUIRE(fa_load_memory(&loaded, b.data, b.size, NULL, NULL) == FA_OK, "load");
    train(net), train(loaded);
    CHECK(same_state(net, loaded), "%s goes on", what);
    fa_net_free(net), fa_net_free(many), fa_net_free(loaded);
    free(b.data);
}

/* ---- activations ---- */

/* The same network with each activation in its layer, and apart from it. */
static void an_activation_apart_is_that_of_the_layer(void)
{
    static const char *const of[] = {"backprop", "fa", "dfa", "drtp", "local", "pepita"};
    const char *f;
    int n = 0;
    for (int i = 0; (f = fa_name(FA_NAMES_ACTIVATION, i)); i++) {
        const bool flat = !strcmp(f, "sign") || !strcmp(f, "threshold");
        image_recipe r;
        recipe_images(&r, flat ? "dfa" : of[i % 6], dtypes[i % 2]);
        if (flat) r.rule.inject = "pre";
        fa_layer_desc own[] = {fa_dense(9, f), fa_dense(8, f), fa_dense(N_CLASSES, "linear")};
        fa_layer_desc apart[] = {fa_dense(9, "linear"), fa_activation(f), fa_dense(8, "linear"),
                                 fa_activation(f), own[2]};
        own[0].weight_init.name = own[1].weight_init.name = "glorot_uniform"; /* in both */
        apart[0].weight_init.name = apart[2].weight_init.name = "glorot_uniform";
        r.desc.input_h = r.desc.input_w = r.desc.input_c = 0;
        r.desc.layers = own, r.desc.n_layers = 3;
        fa_net *a = make(&r.desc);
        r.desc.layers = apart, r.desc.n_layers = 5;
        fa_net *b = make(&r.desc);
        CHECK(same_state(a, b), "%s: the same draws", f);
        train(a), train(b);
        CHECK(same_state(a, b), "%s under %s", f, r.rule.name);
        fa_net_free(a);
        fa_net_free(b);
        threads_and_files(make(&r.desc), &r.desc, f), n++;
    }
    CHECK(n > 10, "%d activations", n);
}

/* ---- dropout of channels ---- */

static void channels_are_dropped_whole(void)
{
    enum { ROWS = 20, CHANNELS = 6, PLACES = 10 };
    image_recipe r;
    double x[ROWS * PLACES * CHANNELS], y[ROWS] = {0}, loss, g[PLACES * CHANNELS];
    fa_layer_desc layers[] = {fa_dropout2d(0.5), fa_flatten(), fa_dense(1, "linear")};
    recipe_images(&r, "backprop", FA_F64);
    layers[2].weight_init.name = "zeros";
    r.desc.loss = "mse", r.desc.layers = layers, r.desc.n_layers = 3;
    r.desc.input_h = 2, r.desc.input_w = 5, r.desc.input_c = CHANNELS;
    r.desc.n_in = PLACES * CHANNELS;
    fa_net *net = make(&r.desc);
    for (int i = 0; i < ROWS * PLACES * CHANNELS; i++) x[i] = 1;
    int kept = 0;
    for (int row = 0; row < ROWS; row++) { /* the gradient is that of one row alone */
        void *grads[2] = {g, NULL};
        y[row] = -ROWS;
        fa_samples s = fa_samples_of(x, PLACES * CHANNELS, FA_F64, ROWS);
        s.y = y, s.ldy = 1;
        CHECK(fa_gradients(&loss, grads, net, &s) == FA_OK, "gradients");
        for (int j = 0; j < PLACES * CHANNELS; j++)
            CHECK((g[j] == 0 || g[j] == 2) && g[j] == g[j % CHANNELS], "%d: %g", j, g[j]);
        for (int j = 0; j < CHANNELS; j++) kept += g[j] > 0;
        y[row] = 0;
    }
    CHECK(kept > 40 && kept < 80, "%d of %d channels are kept", kept, ROWS * CHANNELS);
    fa_net_free(net);
}

static void dropped_channels_in_every_place(void)
{
    static const char *const of[] = {"backprop", "fa", "dfa", "local"};
    static const char *const places[] = {"post", "before_pool", "pre"};
    for (int i = 0; i < 8; i++) {
        image_recipe r;
        recipe_images(&r, of[i / 2], dtypes[i % 2]);
        fa_layer_desc layers[] = {fa_dropout2d(0.25),   fa_conv2d(4, 2, "tanh"), fa_dropout2d(0.5),
                                  fa_max_pool2d(2),     fa_dropout2d(0.25),      fa_flatten(),
                                  fa_dense(3, "linear")};
        if (i > 3) r.rule.inject = places[i % 3];
        r.desc.layers = layers, r.desc.n_layers = 7;
        threads_and_files(make(&r.desc), &r.desc, of[i / 2]);
    }
}

/* ---- refusals ---- */

static void refuses(fa_layer_desc second, const char *rule, const char *inject, const char *words)
{
    image_recipe r;
    fa_net *net = NULL;
    recipe_images(&r, rule, FA_F32);
    fa_layer_desc layers[] = {fa_dense(4, "tanh"), second, fa_dense(N_CLASSES, "linear")};
    r.rule.inject = inject;
    r.desc.input_h = r.desc.input_w = r.desc.input_c = 0;
    r.desc.layers = layers, r.desc.n_layers = 3;
    const int64_t before = live_bytes();
    CHECK(fa_net_create(&net, &r.desc) == FA_E_VALUE && !net, "%s", words);
    CHECK(!strncmp(fa_last_error(), words, strlen(words)), "%s, expected %s", fa_last_error(),
          words);
    CHECK(live_bytes() == before, "nothing is kept");
}

static void wrong_followers(void)
{
    refuses(fa_activation("step"), "dfa", NULL, "layer 1: activation: expected one of ");
    refuses(fa_activation(NULL), "dfa", NULL, "layer 1: activation: expected one of ");
    refuses(fa_activation("sign"), "dfa", NULL,
            "layer 1: activation: expected one without zero derivative under rule 'dfa' with "
            "inject='post', got 'sign'");
    refuses(fa_activation("threshold"), "dfa", "before_pool",
            "layer 1: activation: expected one without zero derivative under rule 'dfa' with "
            "inject='before_pool', got 'threshold'");
    refuses(fa_dropout2d(0.5), "dfa", NULL,
            "layer 1: dropout2d: expected images of shape (height, width, channels), got rows of 4 "
            "numbers");
    refuses(fa_dropout2d(1), "dfa", NULL, "layer 1: type 'dropout2d': rate: expected ");
}

int main(void)
{
    images_fill(&data, N_PIXELS);
    RUN(an_activation_apart_is_that_of_the_layer);
    RUN(channels_are_dropped_whole);
    RUN(dropped_channels_in_every_place);
    RUN(wrong_followers);
    return finish();
}
