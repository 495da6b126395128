/* Options of rules that change what a step computes: the same bits for any number of threads, with
 * f' at once or not, a step that learns what it should, and what is refused. */
#include "check.h"

enum { ROWS = 300 };
static dataset data[2];

typedef struct {
    const char *rule;
    fa_option options[3];
    int n;
    const char *learned; /* a tensor that a step changes, */
    const char *fixed;   /* or one that it leaves alone; "": none */
} variant;

static const variant variants[] = {
    {"fdfa", {{"normal", 1, NULL}}, 1, "0.feedback", ""},
    {"fdfa", {{"share", 0, NULL}, {"lr_scale", 2, NULL}}, 2, "2.feedback", ""},
    {"wm", {{"normalize", 0, NULL}, {"rate", 0.01, NULL}}, 2, "2.feedback", ""},
    {"pfa", {{"rank", 90, NULL}, {"decay", 0.1, NULL}}, 2, "0.feedback.R", "0.feedback.P"},
    {"pfa", {{"rank", 3, NULL}}, 1, "2.feedback.R", "2.feedback.P"},
    {"local", {{"bias", 0, NULL}}, 1, "0.head.weight", ""},
    {"local", {{"square", 1, NULL}}, 1, "0.head.bias", ""},
    {"local", {{"square", 1, NULL}, {"blocks", 1, NULL}}, 2, "0.weight", "0.head.weight"},
    {"dfa", {{"normalize", 1, NULL}}, 1, "0.weight", "0.feedback"},
    {"dfa", {{"derivative", 0, "softplus"}}, 1, "0.weight", "0.feedback"},
    {"dfa", {{"derivative", 0, "leaky_relu"}, {"normalize", 1, NULL}}, 2, "2.weight", ""},
    {"cdni", {{"lr_scale", 0.3, NULL}}, 1, "0.feedback.M", ""},
    {"dtp", {{"train_feedback", 0, NULL}}, 1, "0.weight", "0.feedback"},
    {"dtp", {{"noise", 0, NULL}, {"step", 0.1, NULL}}, 2, "0.feedback.q", ""},
};
enum { N_VARIANTS = sizeof variants / sizeof *variants };

static void variant_init(recipe *r, const variant *v, fa_dtype dtype)
{
    recipe_init(r, v->rule, dtype);
    r->rule.options = v->options, r->rule.n_options = v->n;
    r->layers[FIRST].activation = "relu", r->layers[SECOND].activation = "gelu";
    r->optimizer = fa_optimizer_of("adam", 0.01);
    r->optimizer.clip_norm = 0.1;
}

static void *copy_of(const fa_net *net, const char *key, size_t *size)
{
    const fa_tensor t = fa_net_tensor(net, fa_net_find(net, key));
    REQUIRE(t.data, "%s is there", key);
    *size = (size_t)(t.rows * t.cols) * sizeof(float);
    return memcpy(malloc(*size), t.data, *size);
}

/* Whether three steps change the tensor. */
static bool changes(const variant *v, const char *key)
{
    recipe r;
    variant_init(&r, v, FA_F32);
    fa_net *net = make(&r.desc);
    size_t size;
    void *before = copy_of(net, key, &size);
    for (int i = 0; i < 3; i++) {
        const fa_samples s = labelled(&data[FA_F32], 0, 50);
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "%s: step", v->rule);
    }
    const fa_tensor t = fa_net_tensor(net, fa_net_find(net, key));
    const bool changed = memcmp(before, t.data, size);
    free(before);
    fa_net_free(net);
    return changed;
}

static void test_what_learns(void)
{
    for (int i = 0; i < N_VARIANTS; i++) {
        const variant *v = &variants[i];
        CHECK(changes(v, v->learned), "variant %d of %s: %s learns", i, v->rule, v->learned);
        if (*v->fixed) CHECK(!changes(v, v->fixed), "%d, %s: %s stays", i, v->rule, v->fixed);
    }
}

static void train(fa_net *net, const dataset *d)
{
    for (int i = 0; i < 3; i++) {
        fa_samples s = i % 2 ? targeted(d, i, 7) : labelled(d, 0, ROWS);
        s.weights = i ? d->weights : NULL;
        double loss;
        CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "step %d", i);
    }
    fa_angles angles[2];
    const fa_samples s = labelled(d, 0, 20);
    CHECK(fa_alignment(angles, net, &s) == FA_OK, "alignment");
}

static void test_threads(void)
{
    for (int i = 0; i < N_VARIANTS; i++)
        for (int type = 0; type < 2; type++) {
            recipe r;
            variant_init(&r, &variants[i], dtypes[type]);
            fa_net *nets[2];
            for (int t = 0; t < 2; t++) {
                r.desc.n_threads = 1 + 2 * t;
                nets[t] = make(&r.desc);
                train(nets[t], &data[dtypes[type]]);
            }
            CHECK(same_state(nets[0], nets[1]), "variant %d of %s: 3 threads differ from 1", i,
                  variants[i].rule);
            for (int t = 0; t < 2; t++) fa_net_free(nets[t]);
        }
}

/* One sample at a time: f' by the derivative of another activation, where relu is not fused. */
static void test_one_sample(void)
{
    for (int i = 0; i < N_VARIANTS; i++) {
        recipe r;
        variant_init(&r, &variants[i], FA_F32);
        r.optimizer = fa_optimizer_of("sgd", 0.01);
        fa_net *net = make(&r.desc);
        const fa_samples s = labelled(&data[FA_F32], 0, 20);
        fa_metrics m;
        CHECK(fa_learn_many(&m, net, &s) == FA_OK && m.rows == 20, "%s", variants[i].rule);
        fa_net_free(net);
    }
}

/* With one output and labels the target is a number. */
static void test_one_output(void)
{
    recipe r;
    recipe_init(&r, "cdni", FA_F64);
    r.layers[LAST].units = 1;
    r.desc.loss = "sigmoid_cross_entropy";
    fa_net *net = make(&r.desc);
    int64_t labels[ROWS];
    for (int i = 0; i < ROWS; i++) labels[i] = data[FA_F64].labels[i] % 2;
    fa_samples s = labelled(&data[FA_F64], 0, ROWS);
    s.labels = labels;
    double loss;
    for (int i = 0; i < 3; i++) CHECK(fa_train_batch(&loss, net, &s) == FA_OK, "step");
    const fa_tensor n = fa_net_tensor(net, fa_net_find(net, "0.feedback.N"));
    CHECK(n.rows == 1 && ((const double *)n.data)[0] != 0, "the target teaches");
    fa_net_free(net);
}

static void refuse(recipe *r, const char *message)
{
    fa_net *net = NULL;
    CHECK(fa_net_create(&net, &r->desc) == FA_E_VALUE, "refused: %s", message);
    CHECK(strstr(fa_last_error(), message), "expected '%s'", message);
    fa_net_free(net);
}

static void test_refusals(void)
{
    recipe r;
    const fa_option blocks = {"blocks", 1, NULL}, tanh_ = {"derivative", 0, "tanh"},
                    large = {"rank", 70000, NULL};
    recipe_init(&r, "local", FA_F32);
    r.rule.options = &blocks, r.rule.n_options = 1;
    r.layers[SECOND].units = N_OUT - 1;
    refuse(&r, "layer 2: rule 'local': blocks: expected a unit for each output, got 9 units");
    static float values[N_OUT * N_HIDDEN_1];
    r.rule.feedback = (fa_init){.values = values, .rows = N_OUT, .cols = N_HIDDEN_1, .scale = 1};
    refuse(&r, "layer 0: rule 'local': blocks: expected no values of heads");
    recipe_init(&r, "dfa", FA_F32);
    r.rule.options = &tanh_, r.rule.n_options = 1;
    r.rule.inject = "pre";
    refuse(&r, "derivative: expected 'own' with inject='pre', which has no f', got 'tanh'");
    recipe_init(&r, "pfa", FA_F32);
    r.rule.options = &large, r.rule.n_options = 1;
    refuse(&r, "rule 'pfa': rank: expected ");
    recipe_init(&r, "pfa", FA_F32);
    r.rule.sparsity = 0.5;
    refuse(&r, "rule 'pfa' draws its factors");
    static const char *const no_sequences[] = {"fdfa", "wm", "cdni", "dtp", "dfa"};
    for (int i = 0; i < 5; i++) {
        recipe_init(&r, no_sequences[i], FA_F32);
        r.layers[FIRST] = fa_recurrent(5, "tanh");
        if (i == 4) r.rule.options = &tanh_, r.rule.n_options = 1;
        refuse(&r, i == 4 ? "'own' in a network of images or sequences" : "layer 0: rule: ");
    }
}

int main(void)
{
    for (int i = 0; i < 2; i++) data[dtypes[i]] = dataset_new(dtypes[i], ROWS);
    RUN(test_what_learns);
    RUN(test_threads);
    RUN(test_one_sample);
    RUN(test_one_output);
    RUN(test_refusals);
    for (int i = 0; i < 2; i++) dataset_free(&data[i]);
    return finish();
}
