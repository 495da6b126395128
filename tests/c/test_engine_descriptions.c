/* Descriptions that mean nothing: FA_E_VALUE with the field's name in the message, no network,
 * nothing leaked. */
#include "check.h"

enum { ROWS = 30 };

static dataset data;

/* The description is refused, with `name` in the message; the output stays as it was. */
static void refuse(int line, const fa_net_desc *desc, const char *name)
{
    fa_net *const untouched = (fa_net *)&data;
    fa_net *net = untouched;
    const int64_t live = live_bytes();
    const fa_status status = fa_net_create(&net, desc);
    CHECK(status == FA_E_VALUE, "line %d: status %s", line, fa_status_name(status));
    CHECK(strstr(fa_last_error(), name) != NULL, "line %d: expected '%s' in the message", line,
          name);
    CHECK(net == untouched, "line %d: output written", line);
    CHECK(live_bytes() == live, "line %d: leak", line);
    if (status == FA_OK) fa_net_free(net);
}

/* A fine description with one assignment to it is refused. */
#define REFUSE(assignment, name)                                                                   \
    do {                                                                                           \
        recipe r;                                                                                  \
        recipe_init(&r, "dfa", FA_F32);                                                            \
        assignment;                                                                                \
        refuse(__LINE__, &r.desc, name);                                                           \
    } while (0)

static void test_head(void)
{
    REFUSE(r.desc.struct_size = 0, "desc: struct_size");
    REFUSE(r.desc.struct_size += 8, "newer");
    REFUSE(r.desc.dtype = FA_U8, "dtype");
    REFUSE(r.desc.dtype = (fa_dtype)77, "dtype");
    REFUSE(r.desc.n_in = 0, "n_in");
    REFUSE(r.desc.n_in = -1, "n_in");
    REFUSE(r.desc.n_in = (int64_t)1 << 40, "n_in");
    REFUSE(r.desc.layers = NULL, "layers");
    REFUSE(r.desc.n_layers = 0, "layers");
    REFUSE(r.desc.n_layers = -1, "layers");
    REFUSE(r.desc.n_layers = 5000, "layers");
    REFUSE(r.desc.loss = NULL, "loss");
    REFUSE(r.desc.loss = "hinge", "'hinge'");
    REFUSE(r.desc.n_threads = -1, "n_threads");
    REFUSE(r.desc.n_threads = 1000, "n_threads");
    REFUSE(r.desc.input_scale = NAN, "input_scale");
    REFUSE(r.desc.input_scale = -INFINITY, "input_scale");
}

static void test_layers(void)
{
    REFUSE(r.layers[FIRST].type = NULL, "layer 0: type");
    REFUSE(r.layers[SECOND].type = "conv", "layer 2: type");
    REFUSE(r.layers[FIRST].units = 0, "layer 0: units");
    REFUSE(r.layers[SECOND].units = -7, "layer 2: units");
    REFUSE(r.layers[SECOND].units = (int64_t)1 << 40, "layer 2: units");
    REFUSE(r.layers[FIRST].activation = NULL, "layer 0: activation");
    REFUSE(r.layers[FIRST].activation = "softmax", "layer 0: activation");
    REFUSE(r.layers[FIRST].activation = "", "layer 0: activation");
    REFUSE(r.layers[LAST].activation = "tanh", "layer 3: activation");
    REFUSE(r.layers[LAST].activation = "sign"; r.desc.loss = "mse", "layer 3: activation");
    REFUSE(r.layers[FIRST].activation = "threshold", "layer 0: activation");
    REFUSE(r.layers[SECOND].lr_scale = -1, "layer 2: lr_scale");
    REFUSE(r.layers[SECOND].lr_scale = NAN, "layer 2: lr_scale");
    REFUSE(r.layers[SECOND].lr_scale = INFINITY, "layer 2: lr_scale");
    REFUSE(r.layers[SECOND].bias_lr_scale = -1, "bias_lr_scale");
    REFUSE(r.layers[SECOND].bias_lr_scale = INFINITY, "bias_lr_scale");
    REFUSE(r.layers[DROPOUT].rate = 1, "layer 1: type 'dropout': rate");
    REFUSE(r.layers[DROPOUT].rate = -0.1, "layer 1: type 'dropout': rate");
    REFUSE(r.layers[DROPOUT].rate = NAN, "layer 1: type 'dropout': rate");
    REFUSE(r.desc.n_layers = 2, "layer 1: the last layer");
    REFUSE(r.layers[LAST].units = 1, "layer 3: units");
}

static void test_initial_values(void)
{
    static const float values[N_IN * N_HIDDEN_1];
    REFUSE(r.layers[FIRST].weight_init.name = "xavier", "layer 0: weight_init");
    REFUSE(r.layers[FIRST].weight_init = ((fa_init){.name = "normal", .scale = -1}),
           "layer 0: weight_init");
    REFUSE(r.layers[FIRST].weight_init = ((fa_init){.name = "normal", .scale = NAN}),
           "layer 0: weight_init");
    REFUSE(r.layers[FIRST].weight_init =
               ((fa_init){.values = values, .rows = N_HIDDEN_1, .cols = N_IN}),
           "layer 0: weight_init");
    REFUSE(r.layers[FIRST].weight_init =
               ((fa_init){.values = values, .rows = -N_IN, .cols = -N_HIDDEN_1}),
           "layer 0: weight_init");
    REFUSE(r.layers[LAST].bias_init.name = "", "layer 3: bias_init");
    REFUSE(r.layers[LAST].bias_init = ((fa_init){.name = "uniform", .scale = INFINITY}),
           "layer 3: bias_init");
    REFUSE(r.layers[LAST].bias_init = ((fa_init){.values = values, .rows = N_OUT, .cols = 1}),
           "layer 3: bias_init");
    REFUSE(r.rule.feedback.name = "glorot", "feedback");
    REFUSE(r.rule.feedback.scale = NAN, "feedback");
    REFUSE(r.rule.feedback =
               ((fa_init){.values = values, .scale = 1, .rows = N_OUT, .cols = N_OUT}),
           "layer 0: feedback");
    REFUSE(r.rule.name = "fa";
           r.rule.feedback =
               ((fa_init){.values = values, .scale = 1, .rows = N_OUT, .cols = N_HIDDEN_1}),
           "layer 0: feedback");
}

static void test_rules(void)
{
    static const fa_rule_desc unknown = RULE(.name = "hebb"), none = RULE(.name = NULL),
                              fine = RULE(.name = "fa", .feedback.scale = 1),
                              both = RULE(.name = "dfa", .inject = "both", .feedback.scale = 1);
    REFUSE(r.rule.name = NULL, "rule");
    REFUSE(r.rule.name = "bp", "'bp'");
    REFUSE(r.rule.inject = "mid", "layer 0: inject");
    REFUSE(r.rule.inject = "pre"; r.rule.name = "fa", "layer 0: inject");
    REFUSE(r.rule.inject = "pre"; r.rule.name = "backprop", "layer 0: inject");
    REFUSE(r.layers[SECOND].rule = &unknown, "layer 2: rule");
    REFUSE(r.layers[SECOND].rule = &none, "layer 2: rule");
    REFUSE(r.layers[SECOND].rule = &both, "layer 2: inject");
    REFUSE(r.layers[LAST].rule = &fine, "layer 3: rule");
    REFUSE(r.layers[LAST].rule = &none, "layer 3: rule");
    REFUSE(r.desc.n_layers = 1; r.layers[0] = r.layers[LAST];
           r.rule.name = "nothing", "rule"); /* no layer uses it */
}

/* Rules that do not go together. */
static void test_mixtures(void)
{
    const fa_rule_desc two_passes = fa_rule_of("pepita"), broadcast = fa_rule_of("dfa"),
                       frozen = fa_rule_of("frozen"), from_below = fa_rule_of("ifa");
    REFUSE(r.layers[FIRST].rule = &two_passes,
           "layer 0: rule: expected one that teaches a layer, got 'pepita'; ");
    REFUSE(r.rule.name = "pepita"; r.layers[SECOND].rule = &broadcast,
                                   "layer 2: rule: expected 'frozen' or none, got 'dfa'");
    REFUSE(r.rule.name = "fa"; r.layers[SECOND].rule = &from_below,
                               "expected one that does not read the delta of layer");
    recipe r;
    recipe_init(&r, "pepita", FA_F32);
    r.layers[FIRST].rule = &frozen;
    fa_net_free(make(&r.desc)); /* a layer may stay out */
    recipe_init(&r, "dfa", FA_F32);
    r.layers[SECOND].rule = &from_below;
    fa_net_free(make(&r.desc)); /* layer 0 does not read what layer 2 reads */
}

static void test_feedback(void)
{
    static const float values[N_OUT * N_HIDDEN_1];
#define F r.rule.feedback
    REFUSE(F.name = "glorot", "'glorot'");
    REFUSE(F.name = "forward"; r.layers[LAST].weight_init =
                                   ((fa_init){.values = values, .rows = N_HIDDEN_2, .cols = N_OUT}),
                               "'forward'");
    REFUSE(F.name = "copy", "'copy': expected a rule"); /* of layer 0, by dfa */
    REFUSE(r.rule.name = "fa"; F.name = "copy";
           r.rule.sparsity = 0.5, "'copy': expected no sparsity, got 0.5");
    REFUSE(r.rule.name = "fa"; F.name = "copy";
           r.rule.feedback_rank = 2, "expected no rank and not shared, got a rank");
    REFUSE(F.name = "orthogonal"; r.rule.shared = 1, "expected no rank and not shared, got shared");
    REFUSE(F.name = "orthogonal"; r.rule.feedback_rank = 2, "not shared, got a rank");
    REFUSE(r.rule.name = "fa"; r.rule.shared = 1, "one source");
    REFUSE(r.rule.sparsity = 1, "sparsity");
    REFUSE(r.rule.sparsity = 0.99, "without feedback");
    REFUSE(r.rule.feedback_rank = -1, "rank");
    REFUSE(r.rule.feedback_rank = N_OUT + 1, "rank");
    REFUSE(F.scale = INFINITY, "scale");
    const fa_init given = {.values = values, .scale = 1, .rows = N_OUT, .cols = N_HIDDEN_1};
    REFUSE(F = given; r.rule.sparsity = 0.5, "given values");
    REFUSE(F = given; r.rule.feedback_rank = 1, "given values");
    REFUSE(F = given; r.rule.shared = 1, "given values");
#undef F
}

static void test_feedback_that_a_rule_does_not_take(void)
{
#define R r.rule
    REFUSE(R.name = "ldfa"; R.sparsity = 0.5, "draws its factors");
    REFUSE(R.name = "local"; R.sparsity = 0.5, "draws its head");
    REFUSE(R.name = "pepita"; R.sparsity = 0.5, "rule 'pepita' draws");
    REFUSE(R.name = "usf"; R.sparsity = 0.5, "rule 'usf' draws");
    REFUSE(R.name = "brsf"; R.shared = 1, "rule 'brsf' draws");
#undef R
}

/* Matrices that are kept in another form than they are shown in, or drawn in another place. */
static void test_shown_matrices(void)
{
    static float values[N_IN * N_OUT], shown[N_OUT * N_HIDDEN_1];
    for (int i = 0; i < N_IN * N_OUT; i++) values[i] = (float)i;
    recipe r;
    recipe_init(&r, "pepita", FA_F32);
    r.rule.feedback = (fa_init){.values = values, .scale = 2, .rows = N_IN, .cols = N_OUT};
    fa_net *net = make(&r.desc);
    const float *f = fa_net_tensor(net, fa_net_find(net, "input.feedback")).data;
    REQUIRE(f != NULL, "input.feedback");
    for (int i = 0; i < N_IN * N_OUT; i++) CHECK(f[i] == 2 * values[i], "given F: entry %d", i);
    fa_net_free(net);
    recipe_init(&r, "local", FA_F32);
    net = make(&r.desc);
    const fa_tensor head = fa_net_tensor(net, fa_net_find(net, "0.head.weight"));
    REQUIRE(head.data && head.rows * head.cols == N_OUT * N_HIDDEN_1, "a head");
    CHECK(fa_feedback_matrix(shown, net, 0) == FA_OK, "shown");
    for (int64_t i = 0; i < N_OUT; i++)
        for (int64_t j = 0; j < N_HIDDEN_1; j++)
            CHECK(shown[i * N_HIDDEN_1 + j] == ((const float *)head.data)[j * N_OUT + i],
                  "transposed: %lld, %lld", (long long)i, (long long)j);
    fa_net_free(net);
}

/* FASTFA_GEMM is asked at each creation. */
static void test_products(void)
{
    const char *const names[] = {"", "auto", "own", "blas", "fast"};
    char *before = set_variable("FASTFA_GEMM", names[0]);
    for (int i = 0; i < 5; i++) {
        recipe r;
        fa_net *net = NULL;
        recipe_init(&r, "dfa", FA_F32);
        setenv("FASTFA_GEMM", names[i], 1);
        const fa_status status = fa_net_create(&net, &r.desc);
        const bool refused = status == FA_E_VALUE && strstr(fa_last_error(), "'fast'");
        const bool missing = status == FA_E_STATE && strstr(fa_last_error(), "no BLAS");
        CHECK(i == 4 ? refused : status == FA_OK || (i == 3 && missing), "'%s'", names[i]);
        CHECK(!status == (net != NULL), "a network or none");
        fa_net_free(net);
    }
    restore_variable("FASTFA_GEMM", before);
}

static void test_optimizers(void)
{
#define O r.optimizer
    REFUSE(O.name = NULL, "optimizer");
    REFUSE(O.name = "tiger", "'tiger'");
    REFUSE(O.lr = -1, "lr");
    REFUSE(O.lr = NAN, "lr");
    REFUSE(O.lr = INFINITY, "lr");
    REFUSE(O.weight_decay = -1, "weight_decay");
    REFUSE(O.weight_decay = NAN, "weight_decay");
    REFUSE(O.l1 = -1, "l1");
    REFUSE(O.l1 = NAN, "l1");
    REFUSE(O.clip_norm = -1, "clip_norm");
    REFUSE(O.clip_norm = INFINITY, "clip_norm");
#undef O
}

/* Sizes that no memory holds are refused without trying, and without overflow. */
static void test_too_large(void)
{
    fa_layer_desc layers[] = {fa_dense(INT32_MAX, "tanh"), fa_dense(INT32_MAX, "tanh"),
                              fa_dense(2, "linear")};
    fa_net_desc desc = fa_net_defaults();
    desc.n_in = INT32_MAX, desc.layers = layers, desc.n_layers = 3;
    const int64_t live = live_bytes();
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &desc) == FA_E_MEMORY && !net, "2^62 weights");
    desc.dtype = FA_F64;
    CHECK(fa_net_create(&net, &desc) == FA_E_MEMORY && !net, "2^62 weights of 8 bytes");
    CHECK(live_bytes() == live, "leak");
}

/* A description may change or go away after the network was made. */
static void test_description_is_copied(void)
{
    recipe *r = malloc(sizeof *r);
    recipe_init(r, "dfa", FA_F32);
    char *names[4] = {strdup("dfa"), strdup("tanh"), strdup("normal"), strdup("he_normal")};
    float *values = malloc(N_IN * N_HIDDEN_1 * sizeof *values);
    for (int i = 0; i < N_IN * N_HIDDEN_1; i++) values[i] = (float)i / 3000;
    fa_rule_desc *own = malloc(sizeof *own);
    *own = (fa_rule_desc)RULE(.name = names[0], .feedback = {.name = names[2], .scale = 2});
    r->layers[FIRST].activation = names[1];
    r->layers[FIRST].rule = own;
    r->layers[FIRST].weight_init = (fa_init){.values = values, .rows = N_IN, .cols = N_HIDDEN_1};
    r->layers[SECOND].weight_init = (fa_init){.name = names[3], .scale = 0.5};
    fa_net *net = make(&r->desc);
    void *first = state_of(net);
    for (int i = 0; i < 4; i++) free(names[i]);
    free(values);
    free(own);
    free(r);
    CHECK(fa_net_reset(net) == FA_OK && in_state(net, first),
          "reset draws the same without the description");
    const fa_block_info b = block_of(net, 0);
    CHECK(!strcmp(b.rule, "dfa") && !strcmp(b.activation, "tanh") && !strcmp(b.feedback, "normal"),
          "names are the library's");
    free(first);
    fa_net_free(net);
}

/* What a caller leaves zero, who knows the structs and not the initialisers, is what these give. */
static void test_structs_of_zeros(void)
{
    static const char *const named[] = {"sgd",     "rmsprop", "adam",  "adamw",
                                        "adagrad", "nadam",   "radam", "lion"};
    for (int i = 0; i < 8; i++) {
        fa_layer_desc usual[] = {fa_dense(7, "tanh"), fa_dense(N_OUT, "linear")};
        fa_layer_desc zero[2] = {{0}};
        fa_rule_desc rule = fa_rule_of("dfa"), zero_rule = {0};
        fa_optimizer_desc o = fa_optimizer_of(named[i], 0.1), zero_o = {0};
        fa_net_desc d = fa_net_defaults(), zero_d = {0};
        d.n_in = N_IN, d.layers = usual, d.n_layers = 2, d.rule = &rule, d.optimizer = &o;
        for (int l = 0; l < 2; l++) {
            zero[l].struct_size = sizeof zero[l], zero[l].type = "dense";
            zero[l].units = usual[l].units, zero[l].activation = usual[l].activation;
        }
        zero_rule.struct_size = sizeof zero_rule, zero_rule.name = "dfa";
        zero_o.struct_size = sizeof zero_o, zero_o.name = named[i], zero_o.lr = 0.1;
        zero_d.struct_size = sizeof zero_d, zero_d.loss = "softmax_cross_entropy";
        zero_d.n_in = N_IN, zero_d.layers = zero, zero_d.n_layers = 2;
        zero_d.rule = &zero_rule, zero_d.optimizer = &zero_o;
        fa_net *a = make(&d), *b = make(&zero_d), *copy = NULL;
        const fa_samples s = labelled(&data, 0, ROWS);
        double loss[2];
        REQUIRE(fa_net_clone(&copy, b) == FA_OK, "clone");
        for (int step = 0; step < 3; step++)
            CHECK(fa_train_batch(&loss[0], a, &s) == FA_OK &&
                      fa_train_batch(&loss[1], b, &s) == FA_OK &&
                      fa_train_batch(&loss[1], copy, &s) == FA_OK,
                  "train");
        CHECK(same_state(a, b) && same_state(a, copy), "%s: the same network", named[i]);
        fa_net_free(a), fa_net_free(b), fa_net_free(copy);
    }
    /* What is set to zero beside other settings stays zero. */
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    r.layers[FIRST].trainable = r.layers[FIRST].use_bias = 0;
    fa_net *net = make(&r.desc);
    CHECK(fa_net_find(net, "0.bias") == -1 && !block_of(net, 0).trainable, "frozen, no bias");
    fa_net_free(net);
    recipe_init(&r, "dfa", FA_F32);
    r.rule.feedback.scale = 0;
    net = make(&r.desc);
    CHECK(block_of(net, 0).feedback_scale == 0, "no feedback");
    fa_net_free(net);
}

/* Every name that the library lists is taken. */
static void test_names(void)
{
    const char *name;
    for (int i = 0; (name = fa_name(FA_NAMES_RULE, i)); i++) {
        recipe r;
        recipe_init(&r, name, FA_F32);
        if (strcmp(name, "custom"))
            fa_net_free(make(&r.desc));
        else
            refuse(__LINE__, &r.desc, "expected a function"); /* its signal is the caller's */
    }
    for (int i = 0; (name = fa_name(FA_NAMES_ACTIVATION, i)); i++) {
        recipe r;
        recipe_init(&r, "drtp", FA_F32);
        r.rule.inject = "pre";
        r.layers[FIRST].activation = name;
        CHECK(fa_default_init(name) != NULL, "%s: default initialiser", name);
        fa_net_free(make(&r.desc));
    }
    for (int i = 0; (name = fa_name(FA_NAMES_INITIALIZER, i)); i++) {
        recipe r;
        recipe_init(&r, "fa", FA_F32);
        r.layers[FIRST].weight_init = r.layers[FIRST].bias_init =
            (fa_init){.name = name, .scale = 1};
        fa_net_free(make(&r.desc));
    }
    for (int i = 0; (name = fa_name(FA_NAMES_OPTIMIZER, i)); i++) {
        recipe r;
        recipe_init(&r, "fa", FA_F32);
        r.optimizer.name = name;
        fa_net_free(make(&r.desc));
    }
    CHECK(!strcmp(fa_name(FA_NAMES_LAYER, 1), "dropout") &&
              !strcmp(fa_name(FA_NAMES_DISTRIBUTION, 0), "uniform") &&
              !strcmp(fa_name(FA_NAMES_LOSS, 2), "mse"),
          "names in order");
}

int main(void)
{
    data = dataset_new(FA_F32, ROWS);
    RUN(test_head);
    RUN(test_layers);
    RUN(test_initial_values);
    RUN(test_rules);
    RUN(test_mixtures);
    RUN(test_feedback);
    RUN(test_feedback_that_a_rule_does_not_take);
    RUN(test_shown_matrices);
    RUN(test_products);
    RUN(test_optimizers);
    RUN(test_too_large);
    RUN(test_names);
    RUN(test_structs_of_zeros);
    RUN(test_description_is_copied);
    dataset_free(&data);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}
