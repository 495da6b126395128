/* Images that are shifted and flipped at random: the bits of a step on images that a plain loop has
 * changed by draws of its own. */
#include "images.h"

static images data;

/* Philox4x32-10 by its definition: the words of block c0 of stream (purpose 10, step) */
static void draw(uint32_t word[4], uint64_t seed, uint32_t c0, uint64_t step)
{
    uint32_t c[4] = {c0, 0, (uint32_t)step, 10u << 28 | (uint32_t)(step >> 32 & 0xffff)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int round = 0; round < 10; round++, key[0] += 0x9E3779B9, key[1] += 0xBB67AE85) {
        const uint64_t a = (uint64_t)c[0] * 0xD2511F53, b = (uint64_t)c[2] * 0xCD9E8D57;
        const uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ key[0], (uint32_t)b,
                                  (uint32_t)(a >> 32) ^ c[3] ^ key[1], (uint32_t)a};
        memcpy(c, next, sizeof c);
    }
    memcpy(word, c, sizeof c);
}

static int64_t shift(uint32_t word, int64_t crop)
{ return (int64_t)((uint64_t)word * (uint64_t)(2 * crop + 1) >> 32) - crop; }

/* Rows 0 .. n - 1 of a batch from the image `first` on, as step `step` sees them. */
static void change(images *to, int64_t first, int64_t n, uint64_t seed, uint64_t step, bool flip,
                   int64_t crop)
{
    for (int64_t r = 0; r < n; r++) {
        const double *from = data.x + (first + r) * N_PIXELS;
        uint32_t word[4];
        draw(word, seed, (uint32_t)r, step);
        const int64_t down = shift(word[1], crop), right = shift(word[2], crop);
        for (int64_t i = 0; i < N_PIXELS; i++) {
            const int64_t c = i % IMAGE_C, column = i / IMAGE_C % IMAGE_W;
            const int64_t y = i / (IMAGE_W * IMAGE_C) + down;
            const int64_t x = (flip && word[0] >> 31 ? IMAGE_W - 1 - column : column) + right;
            const bool inside = y >= 0 && y < IMAGE_H && x >= 0 && x < IMAGE_W;
            const double value = inside ? from[(y * IMAGE_W + x) * IMAGE_C + c] : 0;
            to->x[r * N_PIXELS + i] = value;
            to->narrow[r * N_PIXELS + i] = (float)value;
        }
        to->labels[r] = data.labels[first + r], to->weights[r] = data.weights[first + r];
    }
}

static void check_equal(const fa_net *a, const fa_net *b, const char *what)
{
    for (int64_t t = 0; t < fa_net_n_tensors(a); t++) {
        const fa_tensor x = fa_net_tensor(a, t), y = fa_net_tensor(b, t);
        const size_t size = fa_net_description(a)->dtype == FA_F64 ? 8 : 4;
        CHECK(!memcmp(x.data, y.data, (size_t)(x.rows * x.cols) * size), "%s: %s", what, x.key);
    }
}

static void steps_see_changed_images(void)
{
    static const struct {
        int flip;
        int64_t crop;
    } cases[] = {{1, 0}, {0, 1}, {1, 2}, {1, 4}};
    enum { SIZE = 9, STEPS = 4, N = 30 }; /* the last batch is short */
    static images changed;
    for (int k = 0; k < 8; k++) {
        image_recipe r;
        recipe_images(&r, k % 2 ? "dfa" : "backprop", dtypes[k / 4]);
        r.desc.n_threads = 1 + k % 2;
        fa_net *net = make(&r.desc), *plain = make(&r.desc);
        fa_epoch e = fa_epoch_of(NULL, SIZE, STEPS);
        e.flip = cases[k % 4].flip, e.crop = cases[k % 4].crop;
        const fa_samples s = images_of(&data, r.desc.dtype, 0, N);
        fa_metrics m;
        CHECK(fa_train_steps(&m, net, &s, &e) == FA_OK, "steps");
        changed.n_in = N_PIXELS;
        for (int step = 0; step < STEPS; step++) {
            const int64_t first = step * SIZE, n = first + SIZE < N ? SIZE : N - first;
            double loss;
            change(&changed, first, n, r.desc.seed, (uint64_t)step, cases[k % 4].flip,
                   cases[k % 4].crop);
            const fa_samples one = images_of(&changed, r.desc.dtype, 0, n);
            CHECK(fa_train_batch(&loss, plain, &one) == FA_OK, "step");
        }
        check_equal(net, plain, "changed images");
        fa_net_free(net);
        fa_net_free(plain);
    }
}

/* Bytes, in an order of their own: those of a network whose samples are numbers. */
static void bytes_are_changed_too(void)
{
    static uint8_t bytes[MOST_IMAGES * N_PIXELS];
    static float numbers[MOST_IMAGES * N_PIXELS];
    int64_t order[MOST_IMAGES];
    for (int i = 0; i < MOST_IMAGES * N_PIXELS; i++)
        bytes[i] = (uint8_t)random_below(256), numbers[i] = (float)bytes[i] / 255;
    for (int i = 0; i < MOST_IMAGES; i++) order[i] = MOST_IMAGES - 1 - i;
    image_recipe r;
    recipe_images(&r, "backprop", FA_F32);
    fa_net *a = make(&r.desc), *b = make(&r.desc);
    fa_epoch e = fa_epoch_of(order, 16, 3);
    e.flip = 1, e.crop = 1;
    fa_samples s = fa_samples_of(bytes, N_PIXELS, FA_U8, MOST_IMAGES);
    fa_metrics m;
    s.labels = data.labels;
    CHECK(fa_train_steps(&m, a, &s, &e) == FA_OK, "bytes");
    s.x = numbers, s.x_dtype = FA_F32;
    CHECK(fa_train_steps(&m, b, &s, &e) == FA_OK, "numbers");
    check_equal(a, b, "bytes");
    fa_net_free(a);
    fa_net_free(b);
}

static void refuses(fa_net *net, const fa_samples *s, int flip, int64_t crop, const char *words)
{
    fa_epoch e = fa_epoch_of(NULL, 8, 1);
    fa_metrics m;
    e.flip = flip, e.crop = crop;
    CHECK(fa_train_steps(&m, net, s, &e) == FA_E_VALUE && !strcmp(fa_last_error(), words), "%s",
          words);
    CHECK(fa_net_steps(net) == 0, "nothing was done");
}

static void what_cannot_be_shifted_is_refused(void)
{
    image_recipe r;
    recipe_images(&r, "backprop", FA_F64);
    fa_net *net = make(&r.desc);
    fa_samples s = images_of(&data, FA_F64, 0, 16);
    refuses(net, &s, 0, 5, "crop: expected 0 to 4 for images of 6 x 5, got 5");
    refuses(net, &s, 1, -1, "crop: expected 0 to 4 for images of 6 x 5, got -1");
    static const int64_t start[17] = {0};
    static const int64_t columns[1] = {0};
    fa_samples sparse = fa_csr_of(data.x, FA_F64, columns, start, 8, 0, 16);
    sparse.labels = data.labels;
    refuses(net, &sparse, 1, 0,
            "crop, flip: expected samples that are images (input_h, input_w, input_c), got a "
            "sparse X");
    fa_net_free(net);

    const fa_layer_desc rows[] = {fa_dense(N_CLASSES, "linear")};
    r.desc.layers = rows, r.desc.n_layers = 1;
    r.desc.input_h = r.desc.input_w = r.desc.input_c = 0;
    net = make(&r.desc);
    refuses(net, &s, 1, 0,
            "crop, flip: expected samples that are images (input_h, input_w, input_c), got rows of "
            "numbers");
    fa_net_free(net);

    const fa_layer_desc over_time[] = {fa_flatten(), fa_recurrent(4, "tanh"),
                                       fa_dense(N_CLASSES, "linear")};
    r.desc.layers = over_time, r.desc.n_layers = 3;
    r.desc.input_h = IMAGE_H, r.desc.input_w = IMAGE_W, r.desc.input_c = IMAGE_C;
    net = make(&r.desc);
    s.n = 8, s.time_steps = 2;
    refuses(net, &s, 1, 0,
            "crop, flip: expected samples that are images (input_h, input_w, input_c), got "
            "sequences");
    fa_net_free(net);
}

int main(void)
{
    images_fill(&data, N_PIXELS);
    RUN(steps_see_changed_images);
    RUN(bytes_are_changed_too);
    RUN(what_cannot_be_shifted_is_refused);
    return finish();
}
