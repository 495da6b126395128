/* Calls compute in one floating-point mode, whatever the caller's is: the same bits under every
 * rounding mode, with traps, with denormals flushed or not, on any number of threads, whoever
 * started them; and the caller's mode, traps and flags are back after every call and in every
 * callback. By instruction set. */
#include "bytes.h"
#include "check.h"
#include "api/api.h"

#include <fenv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { ROWS = 67, N_MODES = 8, N_ISAS = 3, N_THREADS = 2 };

typedef struct {
    const char *name;
    int rounding;
    bool traps, flush, flags;
} float_mode;

static const float_mode modes[N_MODES] = {
    {"to nearest", FE_TONEAREST, false, false, false},
    {"upward", FE_UPWARD, false, false, false},
    {"downward, with flags", FE_DOWNWARD, false, false, true},
    {"towards zero", FE_TOWARDZERO, false, false, false},
    {"to nearest, with traps", FE_TONEAREST, true, false, false},
    {"upward, with traps", FE_UPWARD, true, false, false},
    {"flushing, with flags", FE_TONEAREST, false, true, true},
    {"downward, flushing, with traps", FE_DOWNWARD, true, true, false},
};

/* Nothing but calls may stand between these two: under traps the least arithmetic ends the
 * program. */
static void enter(const float_mode *m)
{
    fesetenv(FE_DFL_ENV);
    fesetround(m->rounding);
    if (m->flags) feraiseexcept(FE_DIVBYZERO | FE_UNDERFLOW);
#ifdef __x86_64__
    if (m->flush) _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
    if (m->traps) feenableexcept(FE_ALL_EXCEPT);
}
static void leave(void) { fesetenv(FE_DFL_ENV); }

/* Everything that a mode is: control and flags of both units. */
typedef struct {
    unsigned sse, control, flags;
} environment;

static environment now(void)
{
    environment e = {0};
#ifdef __x86_64__
    uint16_t control, flags;
    __asm__ volatile("fnstcw %0" : "=m"(control));
    __asm__ volatile("fnstsw %0" : "=a"(flags));
    e = (environment){_mm_getcsr(), control, flags & 0x3fu};
#else
    e.control = (unsigned)fegetround();
    e.flags = (unsigned)fetestexcept(FE_ALL_EXCEPT);
#endif
    return e;
}

static environment outside; /* what callbacks must see */
static int64_t other_modes, n_callbacks;
static const char *at; /* the mode, for messages */

static void look(void)
{
    const environment e = now();
    n_callbacks++;
    other_modes += memcmp(&e, &outside, sizeof e) != 0;
}

#define CALL(status, expression)                                                                   \
    do {                                                                                           \
        outside = now();                                                                           \
        const fa_status got_ = (expression);                                                       \
        const environment after_ = now();                                                          \
        CHECK(got_ == (status), "%s: " #expression, at);                                           \
        CHECK(!memcmp(&after_, &outside, sizeof after_), "%s: the mode after " #expression, at);   \
    } while (0)

/* ---- what is done in every mode ---- */

static dataset data[2];
static uint64_t digest;

static void add(const void *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        digest = (digest ^ ((const unsigned char *)p)[i]) * 0x100000001b3;
}

static void add_state(const fa_net *net)
{
    void *state = state_of(net);
    add(state, fa_net_state_size(net));
    free(state);
}

static int poll(void *user, int64_t step)
{
    (void)user, (void)step;
    look();
    return 0;
}

static void log_to_nobody(void *user, const char *message)
{
    (void)user, (void)message;
    look();
}

/* S_l = the output of the block: no arithmetic */
static int signal_of(void *user, const fa_rule_context *t)
{
    (void)user;
    look();
    const fa_view out = fa_rule_context_output(t, t->block);
    const size_t size = t->net->dtype == FA_F64 ? 8 : 4;
    for (int64_t i = 0; i < out.rows; i++)
        memcpy((char *)t->signal.data + (size_t)(i * t->signal.ld) * size,
               (char *)out.data + (size_t)(i * out.ld) * size, (size_t)out.cols * size);
    return 0;
}

static int write_file(void *user, const void *piece, size_t size)
{
    look();
    return append(user, piece, size);
}

static int custom(void *user, fa_rule_desc *rule, int64_t layer, const char *note)
{
    (void)user, (void)layer, (void)note;
    look();
    rule->signal = signal_of;
    return 0;
}

/* Saved, loaded, and cloned from there: the loaded network goes on in place of the first. */
static fa_net *by_file(fa_net *net)
{
    bytes f = {0};
    fa_net *loaded = NULL, *twin = NULL;
    const int threads = fa_net_threads(net);
    CALL(FA_OK, fa_net_set_threads(net, 1)); /* it stands in the file */
    CALL(FA_OK, fa_save_to(net, write_file, &f));
    add(f.data, f.size);
    CALL(FA_OK, fa_load_memory(&loaded, f.data, f.size, custom, NULL));
    CALL(FA_OK, fa_net_clone(&twin, loaded));
    CALL(FA_OK, fa_net_set_threads(twin, threads));
    free(f.data);
    fa_net_free(net);
    fa_net_free(loaded);
    return twin;
}

static void train(fa_net *net, const dataset *d)
{
    static const double lrs[3] = {0.1, 0.03, 1e-310};
    const fa_samples all = labelled(d, 0, ROWS);
    fa_samples some = targeted(d, 3, 21);
    some.weights = d->weights;
    double loss;
    fa_metrics m;
    CALL(FA_OK, fa_train_batch(&loss, net, &some));
    add(&loss, sizeof loss);
    CALL(FA_OK, fa_train_epoch(&m, net, &all, 16));
    add(&m, sizeof m);
    const fa_epoch e = EPOCH(.batch_size = 22, .first = 1, .count = 3, .lrs = lrs, .poll = poll);
    CALL(FA_OK, fa_train_steps(&m, net, &all, &e));
    add(&m, sizeof m);
    CALL(FA_OK, fa_learn_one(&loss, net, d->x, d->labels[0], NULL));
    add(&loss, sizeof loss);
    CALL(FA_OK, fa_learn_many(&m, net, &some));
    add(&m, sizeof m);
    const void *as_gradients[MOST_TENSORS] = {NULL};
    for (int i = 0; i < net->n_params; i++)
        if (net->params[i].trainable) as_gradients[i] = net->params[i].value;
    CALL(FA_OK, fa_apply_gradients(net, as_gradients));
    CALL(FA_OK, fa_net_set_lr(net, 0.07));
}

static void use(const fa_net *net, const dataset *d)
{
    static double out[ROWS * N_OUT], grads[6][N_IN * N_HIDDEN_1], deltas[3][ROWS * N_HIDDEN_1],
        matrix[N_HIDDEN_1 * N_HIDDEN_1], one[N_OUT];
    void *const to[12] = {grads[0], grads[1], grads[2],
                          grads[3], grads[4], grads[5]}; /* not of feedback */
    void *const deltas_to[3] = {deltas[0], deltas[1], deltas[2]};
    const fa_samples all = labelled(d, 0, ROWS);
    fa_samples weighted = all;
    weighted.weights = d->weights;
    fa_metrics m;
    fa_angles angles[2];
    double loss;
    fa_predictor *predictor;
    memset(out, 0, sizeof out), memset(grads, 0, sizeof grads), memset(one, 0, sizeof one);
    memset(deltas, 0, sizeof deltas), memset(matrix, 0, sizeof matrix);
    CALL(FA_OK, fa_predict(out, N_OUT, net, &all, 0));
    CALL(FA_OK, fa_evaluate(&m, net, &weighted));
    CALL(FA_OK, fa_gradients(&loss, to, net, &weighted));
    CALL(FA_OK, fa_deltas(deltas_to, net, &weighted));
    CALL(FA_OK, fa_alignment(angles, net, &all));
    CALL(FA_OK, fa_check(net, &all));
    CALL(FA_OK, fa_predictor_create(&predictor, net, net->dtype, 0));
    CALL(FA_OK, fa_predict_one(one, predictor, d->x));
    fa_predictor_free(predictor);
    for (int64_t b = 0; b < 2; b++)
        if (net->blocks[b].rule.ops->matrix || net->blocks[b].rule.feedback)
            CALL(FA_OK, fa_feedback_matrix(matrix, net, b));
    CALL(FA_OK, fa_multiply(deltas[2], net, d->x, N_IN, net->params[0].value, N_HIDDEN_1, ROWS,
                            N_IN, N_HIDDEN_1));
    add(out, sizeof out), add(grads, sizeof grads), add(deltas, sizeof deltas);
    add(matrix, sizeof matrix), add(one, sizeof one), add(&m, sizeof m), add(&loss, sizeof loss);
    for (int b = 0; b < 2; b++) {
        add(&angles[b].delta_angle, 3 * sizeof(double));
        add(&angles[b].norm_ratio, sizeof(double));
    }
}

/* What is refused is refused by a status in every mode: comparisons with NaN trap, too. */
static void be_refused(fa_net *net, const dataset *d, double nan)
{
    const fa_samples all = labelled(d, 0, ROWS);
    const fa_epoch e = EPOCH(.batch_size = ROWS, .count = 1, .lrs = &nan);
    fa_samples bad = all;
    static double x[ROWS * N_IN];
    memset(x, 0xff, sizeof x);
    bad.x = x;
    double loss;
    fa_metrics m;
    recipe r;
    fa_net *none;
    CALL(FA_E_VALUE, fa_net_set_lr(net, nan));
    CALL(FA_E_VALUE, fa_train_steps(&m, net, &all, &e));
    CALL(FA_E_VALUE, fa_train_batch(&loss, net, &bad));
    CALL(FA_E_VALUE, fa_check(net, &bad));
    CALL(FA_E_NONFINITE, fa_train_epoch(&m, net, &bad, 16));
    recipe_init(&r, "dfa", FA_F32);
    r.rule.feedback.scale = nan;
    CALL(FA_E_VALUE, fa_net_create(&none, &r.desc));
}

typedef struct {
    const char *rule, *optimizer, *feedback, *activation;
    double sparsity, clip;
    int64_t rank;
} kind;

static const kind kinds[] = {
    {"backprop", "sgd", "uniform", "relu", 0, 0, 0},
    {"dfa", "adam", "normal", "gelu", 0, 0, 2},
    {"dfa", "sgd", "ternary", "tanh", 0.9, 0.5, 0},
    {"fa", "rmsprop", "orthogonal", "sigmoid", 0, 0, 0},
    {"brsf", "sgd", "he_normal", "softplus", 0, 0, 0},
    {"kp", "adamw", "uniform", "leaky_relu", 0, 0, 0},
    {"ldfa", "sgd", "normal", "tanh", 0, 0, 0},
    {"pepita", "sgd", "normal", "relu", 0, 0, 0},
    {"local", "adam", "uniform", "relu", 0, 0, 0},
    {"custom", "sgd", NULL, "tanh", 0, 0, 0},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* Numbers that a file must keep: long ones, and denormals. */
static void describe(recipe *r, const kind *k, fa_dtype dtype, int threads)
{
    recipe_init(r, k->rule, dtype);
    r->rule.feedback.name = k->feedback;
    r->rule.sparsity = k->sparsity, r->rule.feedback_rank = k->rank;
    r->rule.signal = !strcmp(k->rule, "custom") ? signal_of : NULL;
    rule_option(r, "decay", 1e-310);
    r->optimizer = fa_optimizer_of(k->optimizer, 0.1234567890123456789);
    r->optimizer.weight_decay = 1.2345678901234567e-310;
    r->optimizer.clip_norm = k->clip;
    r->layers[FIRST].weight_init.name = "glorot_normal";
    r->layers[FIRST].activation = r->layers[SECOND].activation = k->activation;
    r->desc.n_threads = threads;
}

static uint64_t everything(const float_mode *mode, int threads, const double *nan)
{
    digest = 0xcbf29ce484222325;
    at = mode->name;
    for (int i = 0; i < N_KINDS; i++) {
        const dataset *d = &data[i % 2];
        recipe r;
        fa_net *net = NULL;
        describe(&r, &kinds[i], d->dtype, threads);
        enter(mode);
        CALL(FA_OK, fa_net_create(&net, &r.desc));
        add_state(net);
        train(net, d);
        net = by_file(net);
        use(net, d);
        train(net, d);
        be_refused(net, d, *nan);
        add_state(net);
        CALL(FA_OK, fa_net_reset(net));
        add_state(net);
        leave();
        fa_net_free(net);
    }
    return digest;
}

/* ---- by instruction set, and by the mode that the pool was started in ---- */

/* In a process of its own, in which the pool starts in one of the modes; results are for its
 * parent. */
static void child(const char *isa, int start, uint64_t results[N_MODES][N_THREADS])
{
    static const int threads[N_THREADS] = {1, 3};
    const double nan = NAN;
#ifdef FA_X86
    setenv("FASTFA_CPU", isa, 1);
#else
    (void)isa;
#endif
    setenv("FASTFA_GEMM", "own", 1);
    fa_set_log(log_to_nobody, NULL);
    recipe r;
    describe(&r, &kinds[0], FA_F32, 3);
    const fa_samples all = labelled(&data[0], 0, ROWS);
    double loss;
    fa_net *net;
    enter(&modes[start]);
    at = "the pool's start";
    CALL(FA_OK, fa_net_create(&net, &r.desc));
    CALL(FA_OK, fa_train_batch(&loss, net, &all));
    leave();
    fa_net_free(net);
    for (int m = 0; m < N_MODES; m++)
        for (int t = 0; t < N_THREADS; t++)
            if (start == 0 || (m < 2 && t > 0))
                results[m][t] = everything(&modes[m], threads[t], &nan);
    CHECK(other_modes == 0, "%lld of %lld callbacks saw another mode", (long long)other_modes,
          (long long)n_callbacks);
    CHECK(n_callbacks > 0, "callbacks");
}

static bool usable(const char *isa)
{
#ifdef FA_X86
    __builtin_cpu_init();
    if (!strcmp(isa, "v3")) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return !strcmp(isa, "v2") || __builtin_cpu_supports("avx512dq");
#else
    return !strcmp(isa, "v2"); /* once, with what there is */
#endif
}

static void test_modes(void)
{
    static const char *const isas[N_ISAS] = {"v2", "v3", "v4"};
    const int step = quick() ? 5 : 1;
    const size_t size = sizeof(uint64_t) * N_MODES * N_THREADS;
    uint64_t (*results)[N_THREADS] =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < N_ISAS; i++) {
        uint64_t first = 0;
        for (int start = 0; start < N_MODES && usable(isas[i]); start += step) {
            fflush(stdout);
            const pid_t pid = fork();
            if (pid == 0) {
                child(isas[i], start, results);
                fflush(stdout);
                _exit(n_failed != 0);
            }
            int status;
            waitpid(pid, &status, 0);
            CHECK(status == 0, "%s, pool started %s: status %x", isas[i], modes[start].name,
                  (unsigned)status);
            if (start == 0) first = results[0][0];
            for (int m = 0; m < N_MODES; m++)
                for (int t = 0; t < N_THREADS; t++)
                    CHECK(results[m][t] == first, "%s, pool started %s: %s, %d threads: other bits",
                          isas[i], modes[start].name, modes[m].name, t ? 3 : 1);
        }
    }
    munmap(results, size);
}

/* ---- callbacks that change the mode ---- */

static int change(void *user, int64_t step)
{
    (void)user;
    fesetround(step % 2 ? FE_DOWNWARD : FE_UPWARD);
    feraiseexcept(FE_OVERFLOW);
    return 0;
}

/* Changes that a callback makes to the mode are kept, and change no result. */
static void test_changed_inside(void)
{
    recipe r;
    recipe_init(&r, "dfa", FA_F32);
    fa_net *net = make(&r.desc), *twin = make(&r.desc);
    const fa_samples all = labelled(&data[0], 0, ROWS);
    fa_epoch e = EPOCH(.batch_size = 16, .count = 3, .poll = change);
    fa_metrics m;
    fesetenv(FE_DFL_ENV);
    CHECK(fa_train_steps(&m, net, &all, &e) == FA_OK, "steps");
    CHECK(fegetround() == FE_DOWNWARD, "rounding as the last poll has left it");
    CHECK(fetestexcept(FE_ALL_EXCEPT) == FE_OVERFLOW, "flags that the poll has raised, no others");
    fesetenv(FE_DFL_ENV);
    e.poll = NULL;
    CHECK(fa_train_steps(&m, twin, &all, &e) == FA_OK && same_state(net, twin), "the same bits");
    fa_net_free(net);
    fa_net_free(twin);
}

int main(void)
{
    for (int type = 0; type < 2; type++) data[type] = dataset_new(dtypes[type], ROWS);
    leave();
    RUN(test_modes); /* first: forked children start the pool */
    RUN(test_changed_inside);
    for (int type = 0; type < 2; type++) dataset_free(&data[type]);
    return finish();
}
