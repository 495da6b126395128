/* Networks of images that are refused: the message names the layer, what is expected and what came;
 * nothing is made. And the largest and smallest that are not refused. */
#include "images.h"

enum { HUGE = INT32_MAX };

/* Refused with exactly these words; after a space at their end a list of names follows. Nothing is
 * written or kept. */
static void refuses(int line, const fa_net_desc *desc, const char *words)
{
    const int64_t before = live_bytes();
    fa_net *net = (fa_net *)&before;
    const fa_status status = fa_net_create(&net, desc);
    CHECK(status == FA_E_VALUE, "line %d: status %s", line, fa_status_name(status));
    const size_t n = strlen(words);
    CHECK(!strncmp(fa_last_error(), words, n) && (words[n - 1] == ' ' || !fa_last_error()[n]),
          "line %d: expected: %s", line, words);
    CHECK(net == (fa_net *)&before && live_bytes() == before, "line %d: nothing is kept", line);
    if (status == FA_OK) fa_net_free(net);
}

/* A recipe, one statement that changes it, and the words. */
#define REFUSED(change, words)                                                                     \
    do {                                                                                           \
        image_recipe r;                                                                            \
        recipe_images(&r, "backprop", FA_F64);                                                     \
        fa_layer_desc *const first = &r.layers[CONV_1], *const second = &r.layers[CONV_2];         \
        (void)first, (void)second;                                                                 \
        change;                                                                                    \
        refuses(__LINE__, &r.desc, words);                                                         \
    } while (0)

/* The input is an image of h x w x c. */
static void input(image_recipe *r, int64_t h, int64_t w, int64_t c)
{
    r->desc.input_h = h, r->desc.input_w = w, r->desc.input_c = c;
    r->desc.n_in = h * w * c;
}

static void wrong_inputs(void)
{
    REFUSED(r.desc.input_w = 0, "input_h, input_w, input_c: expected three numbers >= 1, or zeros, "
                                "got 6, 0, 2");
    REFUSED(r.desc.input_h = -6, "input_h, input_w, input_c: expected three numbers >= 1, or "
                                 "zeros, got -6, 5, 2");
    REFUSED(r.desc.input_c = 0, "input_h, input_w, input_c: expected three numbers >= 1, or zeros, "
                                "got 6, 5, 0");
    REFUSED(r.desc.input_h = 5, "n_in: expected the numbers of an image of 5 x 5 x 2, got 60");
    REFUSED(input(&r, 0, 0, 0);
            r.desc.n_in = 60,
            "layer 0: conv2d: expected images of shape (height, width, channels), got rows of 60 "
            "numbers");
    REFUSED(input(&r, 0, 0, 0);
            r.desc.n_in = 64,
            "layer 0: conv2d: expected images of shape (height, width, channels), got rows of 64 "
            "numbers; give the shape of the input, such as (8, 8, 1)");
    REFUSED(*second = fa_flatten();
            r.layers[FLATTEN] = fa_conv2d(2, 1, "tanh"),
            "layer 2: conv2d: expected images of shape (height, width, channels), got rows of 120 "
            "numbers");
    REFUSED(r.desc.input_h = (int64_t)1 << 40;
            r.desc.input_w = (int64_t)1 << 40,
            "n_in: expected the numbers of an image of 1099511627776 x 1099511627776 x 2, got 60");
}

static void wrong_orders(void)
{
    REFUSED(*first = fa_dense(4, "tanh"),
            "layer 0: dense: expected rows of numbers, got images of shape (6, 5, 2); put a "
            "Flatten layer before it");
    REFUSED(r.layers[FLATTEN] = fa_dense(4, "tanh"),
            "layer 2: dense: expected rows of numbers, got images of shape (3, 3, 3); put a "
            "Flatten layer before it");
    REFUSED(r.layers[FLATTEN] = fa_dropout(0.5),
            "layer 3: dense: expected rows of numbers, got images of shape (3, 3, 3); put a "
            "Flatten layer before it");
    REFUSED(r.layers[FLATTEN] = fa_recurrent(4, "tanh"),
            "layer 2: recurrent: expected rows of numbers, got images of shape (3, 3, 3); put a "
            "Flatten layer before it");
    REFUSED(r.desc.n_layers = 2, "layer 1: the last layer: expected dense, got conv2d");
    REFUSED(r.desc.n_layers = 3, "layer 2: the last layer: expected dense, got flatten");
}

static void wrong_kernels(void)
{
    REFUSED(second->kernel_h = 7,
            "layer 1: kernel_size: expected at most (6, 5), the size of the image with its "
            "padding, got (7, 3)");
    REFUSED(second->kernel_w = 6,
            "layer 1: kernel_size: expected at most (6, 5), the size of the image with its "
            "padding, got (2, 6)");
    REFUSED(second->kernel_w = 10; second->pad_h = 1;
            second->pad_w = 2,
            "layer 1: kernel_size: expected at most (8, 9), the size of the image with its "
            "padding, got (2, 10)");
    REFUSED(first->kernel_h = 0, "layer 0: kernel_size: expected 1 to 2147483647, got (0, 3)");
    REFUSED(first->kernel_w = -2, "layer 0: kernel_size: expected 1 to 2147483647, got (3, -2)");
    REFUSED(first->kernel_h = HUGE + 1LL,
            "layer 0: kernel_size: expected 1 to 2147483647, got (2147483648, 3)");
    REFUSED(first->kernel_w = INT64_MAX,
            "layer 0: kernel_size: expected 1 to 2147483647, got (3, 9223372036854775807)");
    REFUSED(second->stride_h = -1, "layer 1: strides: expected 0 to 2147483647, got (-1, 0)");
    REFUSED(second->stride_w = HUGE + 1LL,
            "layer 1: strides: expected 0 to 2147483647, got (2, 2147483648)");
}

static void wrong_paddings(void)
{
    REFUSED(first->padding = "Same", "layer 0: padding: expected 'valid' or 'same', got 'Same'");
    REFUSED(first->padding = "", "layer 0: padding: expected 'valid' or 'same', got ''");
    REFUSED(first->pad_h = 1,
            "layer 0: pad_h, pad_w: expected zeros where padding is given, got 1, 0");
    REFUSED(first->padding = "valid";
            first->pad_w = 2,
            "layer 0: pad_h, pad_w: expected zeros where padding is given, got 0, 2");
    REFUSED(second->pad_h = -1, "layer 1: padding: expected 0 to 2147483647, got (-1, 0)");
    REFUSED(second->pad_w = -3, "layer 1: padding: expected 0 to 2147483647, got (0, -3)");
    REFUSED(second->pad_w = HUGE + 1LL,
            "layer 1: padding: expected 0 to 2147483647, got (0, 2147483648)");
}

static void wrong_numbers_of_a_layer(void)
{
    REFUSED(first->units = 0, "layer 0: filters: expected 1 to 2147483647, got 0");
    REFUSED(first->units = -4, "layer 0: filters: expected 1 to 2147483647, got -4");
    REFUSED(second->units = HUGE + 1LL,
            "layer 1: filters: expected 1 to 2147483647, got 2147483648");
    REFUSED(first->lr_scale = -1,
            "layer 0: lr_scale, bias_lr_scale: expected finite numbers >= 0, got -1, 1");
    REFUSED(second->bias_lr_scale = -0.5,
            "layer 1: lr_scale, bias_lr_scale: expected finite numbers >= 0, got 1, -0.5");
    REFUSED(first->lr_scale = INFINITY,
            "layer 0: lr_scale, bias_lr_scale: expected finite numbers >= 0, got inf, 1");
    REFUSED(first->bias_lr_scale = INFINITY,
            "layer 0: lr_scale, bias_lr_scale: expected finite numbers >= 0, got 1, inf");
    REFUSED(first->weight_init.name = "he",
            "layer 0: weight_init: expected the name of an initialiser, got 'he'");
    REFUSED(second->bias_init.scale = -1,
            "layer 1: bias_init: expected a scale >= 0 that a float can hold, got -1");
    /* fields that only convolutions read are checked in other layers too, since files hold them */
    REFUSED(r.layers[FLATTEN].kernel_h = -1, "layers.2.kernel_h: expected a number >= 0, got -1");
}

static void wrong_values(void)
{
    static double values[4 * 18];
    REFUSED(first->weight_init = ((fa_init){.values = values, .rows = 4, .cols = 18}),
            "layer 0: weight_init: expected values of shape (18, 4), got (4, 18)");
    REFUSED(second->weight_init = ((fa_init){.values = values, .rows = 24, .cols = 2}),
            "layer 1: weight_init: expected values of shape (24, 3), got (24, 2)");
    REFUSED(second->bias_init = ((fa_init){.values = values, .rows = 3, .cols = 1}),
            "layer 1: bias_init: expected values of shape (1, 3), got (3, 1)");
    REFUSED(r.rule = fa_rule_of("fa");
            r.rule.feedback = ((fa_init){.values = values, .scale = 1, .rows = 3, .cols = 23}),
            "layer 0: feedback: expected values of shape (3, 24), got (3, 23)");
    values[70] = NAN;
    REFUSED(first->weight_init = ((fa_init){.values = values, .rows = 18, .cols = 4}),
            "layers.0.weight_init: expected finite values, got NaN or infinity");
}

/* Products that no 32 bits hold; no memory is asked for. */
static void too_large(void)
{
    REFUSED(*first = fa_conv2d(HUGE, 1, "tanh"),
            "layer 0: output: expected at most 2147483647 numbers a sample, got 6 x 5 x "
            "2147483647");
    REFUSED(second->stride_h = second->stride_w = HUGE;
            second->pad_h = second->pad_w = 1 << 30,
            "layer 1: padding: expected at most 2147483647 numbers in an image with its padding, "
            "got 2147483654 x 2147483653 x 4");
    REFUSED(first->kernel_h = HUGE, /* "same" */
            "layer 0: padding: expected at most 2147483647 numbers in an image with its padding, "
            "got 2147483652 x 7 x 2");
    REFUSED(input(&r, 1000, 1000, 1);
            first->kernel_h = first->kernel_w = 50,
            "layer 0: kernel_size: expected at most 2147483647 numbers in all patches of an image "
            "and in the weights, got 2500 x 1000000 and x 4");
    REFUSED(input(&r, 1, 1, 50000);
            *first = fa_conv2d(50000, 1, "tanh"),
            "layer 0: kernel_size: expected at most 2147483647 numbers in all patches of an image "
            "and in the weights, got 50000 x 1 and x 50000");
}

static void rules_without_a_form_for_windows(void)
{
    fa_rule_desc own;
    REFUSED(r.rule = fa_rule_of("ifa"),
            "layer 0: rule: expected one that takes images, got 'ifa'; it sends deltas upwards, "
            "and has no form for patches");
    REFUSED(r.rule = fa_rule_of("pepita"),
            "layer 0: rule: expected one that takes images, got 'pepita'; its second pass is not "
            "built for images");
    REFUSED(r.rule = fa_rule_of("ldfa"),
            "layer 0: rule: expected one that takes images, got 'ldfa'; its factors have no form "
            "for the patches of the layer above");
    REFUSED(own = fa_rule_of("ldfa");
            first->rule = &own,
            "layer 0: rule: expected one that takes images, got 'ldfa'; its factors have no form "
            "for the patches of the layer above");
    REFUSED(own = fa_rule_of("ifa");
            r.layers[HIDDEN].rule = &own,
            "layer 3: rule: expected one that takes images, got 'ifa'; it sends deltas upwards, "
            "and has no form for patches");
    REFUSED(own = fa_rule_of("pepita");
            second->rule = &own,
            "layer 1: rule: expected one that teaches a layer, got 'pepita'; give it as the "
            "network's rule, because it teaches the whole network by a second pass");
    REFUSED(own = fa_rule_of("dfa");
            r.layers[TOP].rule = &own,
            "layer 4: rule: expected none, got 'dfa'; the last layer always gets the exact error");
    REFUSED(second->activation = "sign";
            r.rule = fa_rule_of("fa"),
            "layer 1: activation: expected one without zero derivative under rule 'fa' with "
            "inject='post', got 'sign'; take one of the rules ");
}

/* ---- what is not refused ---- */

/* One step; the loss is finite. */
static void takes(int line, const image_recipe *r)
{
    static images data;
    images_fill(&data, r->desc.n_in);
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &r->desc) == FA_OK, "line %d", line);
    if (!net) return;
    const fa_samples s = images_of(&data, r->desc.dtype, 0, 5);
    double loss = NAN;
    CHECK(fa_train_batch(&loss, net, &s) == FA_OK && isfinite(loss), "line %d: step", line);
    fa_net_free(net);
}

static void taken_at_the_edge(void)
{
    image_recipe r;
    fa_rule_desc own[2];
    recipe_images(&r, "backprop", FA_F32);
    r.layers[CONV_2].kernel_h = 8, r.layers[CONV_2].kernel_w = 9; /* image and zeros */
    r.layers[CONV_2].pad_h = 1, r.layers[CONV_2].pad_w = 2;
    takes(__LINE__, &r);
    r.layers[CONV_2].stride_h = r.layers[CONV_2].stride_w = HUGE;
    takes(__LINE__, &r);
    r.layers[CONV_2].padding = "same", r.layers[CONV_2].pad_h = r.layers[CONV_2].pad_w = 0;
    takes(__LINE__, &r);
    recipe_images(&r, "dfa", FA_F64);
    r.rule.inject = "pre";
    r.layers[CONV_1].activation = "sign"; /* the signal lands before f */
    r.layers[CONV_2].lr_scale = r.layers[CONV_2].bias_lr_scale = 0;
    takes(__LINE__, &r);
    recipe_images(&r, "ldfa", FA_F64); /* below Dense it reads no patches */
    own[0] = own[1] = fa_rule_of("fa");
    r.layers[CONV_1].rule = &own[0], r.layers[HIDDEN].rule = &own[1];
    takes(__LINE__, &r);
}

/* Given kernels and feedback are the network's values; those that no layer reads need not be finite. */
static void given_values_are_taken(void)
{
    static double kernel[18 * 4], bias[4] = {1, -2, 3, 0.5}, feedback[3 * 24], bad[1] = {NAN};
    image_recipe r;
    recipe_images(&r, "fa", FA_F64);
    for (int i = 0; i < 72; i++) kernel[i] = i / 64.0, feedback[i] = (i % 7 - 3) / 8.0;
    r.layers[CONV_1].weight_init = (fa_init){.values = kernel, .rows = 18, .cols = 4};
    r.layers[CONV_1].bias_init = (fa_init){.values = bias, .rows = 1, .cols = 4};
    fa_rule_desc own = fa_rule_of("fa");
    own.feedback = (fa_init){.values = feedback, .scale = 2, .rows = 3, .cols = 24};
    r.layers[CONV_1].rule = &own;
    r.layers[FLATTEN].weight_init = (fa_init){.values = bad, .rows = 1, .cols = 1};
    fa_net *net = make(&r.desc);
    double found[3 * 24];
    CHECK(!memcmp(fa_net_tensor(net, fa_net_find(net, "0.weight")).data, kernel, sizeof kernel),
          "the kernel");
    CHECK(!memcmp(fa_net_tensor(net, fa_net_find(net, "0.bias")).data, bias, sizeof bias), "bias");
    CHECK(fa_feedback_matrix(found, net, 0) == FA_OK, "feedback");
    for (int i = 0; i < 72; i++) CHECK(found[i] == 2 * feedback[i], "feedback %d", i);
    fa_net_free(net);
}

/* ---- layers and blocks that there are not ---- */

static void refused_questions(void)
{
    image_recipe r;
    recipe_images(&r, "drtp", FA_F32);
    fa_net *net = make(&r.desc);
    fa_layer_info layer = {.struct_size = sizeof layer, .n_in = -7}, kept = layer;
    CHECK(fa_net_layer(&layer, net, -1) == FA_E_VALUE &&
              !strcmp(fa_last_error(), "layer: expected 0 to 4, got -1"),
          "layer -1");
    CHECK(fa_net_layer(&layer, net, 5) == FA_E_VALUE &&
              !strcmp(fa_last_error(), "layer: expected 0 to 4, got 5"),
          "layer 5");
    CHECK(fa_net_layer(&layer, NULL, 0) == FA_E_VALUE && fa_net_layer(NULL, net, 0) == FA_E_VALUE,
          "NULL");
    layer.struct_size = kept.struct_size = sizeof layer + 8;
    CHECK(fa_net_layer(&layer, net, 0) == FA_E_VALUE, "a larger struct");
    CHECK(!memcmp(&layer, &kept, sizeof layer), "nothing is written");
    layer.struct_size = offsetof(fa_layer_info, n_out), layer.n_out = -7;
    CHECK(fa_net_layer(&layer, net, 1) == FA_OK && layer.n_in == 120 && layer.n_out == -7,
          "of an older header: only what fits");
    fa_net_free(net);
}

int main(void)
{
    RUN(wrong_inputs);
    RUN(wrong_orders);
    RUN(wrong_kernels);
    RUN(wrong_paddings);
    RUN(wrong_numbers_of_a_layer);
    RUN(wrong_values);
    RUN(too_large);
    RUN(rules_without_a_form_for_windows);
    RUN(taken_at_the_edge);
    RUN(given_values_are_taken);
    RUN(refused_questions);
    return finish();
}
