/* How much stack calls need: each runs on a thread whose stack is painted first, then everything on
 * threads that have no more than is promised, before a page that nobody may touch. On every
 * instruction set that is here, and as on processors whose L2 is slow, by own products.
 *
 * Sanitizers and compilers that do not optimise make frames larger: there the calls only have to
 * work. */
#include "check.h"
#include "api/api.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PROMISED = 32 << 10, /* fastfa.h, Threads, 8 */
    STACK = 1 << 20,     /* of the threads that are measured */
    PAINT = 0xa5,
    PAGE = 4096,
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
static const bool held = false;
#else
static const bool held = true;
#endif

/* ---- a thread with a stack of our own ---- */

typedef void job_fn(void *context);
typedef struct {
    job_fn *job;
    void *context;
    char *base; /* of the job's frames */
} start;

static void *run_job(void *arg)
{
    start *s = arg;
    s->base = __builtin_frame_address(0);
    s->job(s->context);
    return NULL;
}

/* Runs a job on a stack of this many bytes, including what the C library takes; returns how deep it
 * went. */
static size_t on_stack(size_t bytes, job_fn *job, void *context)
{
    char *const memory =
        mmap(NULL, PAGE + bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED && !mprotect(memory, PAGE, PROT_NONE), "memory for a stack");
    char *const stack = memory + PAGE;
    memset(stack, PAINT, bytes);
    pthread_attr_t attributes;
    pthread_t thread;
    start s = {job, context, NULL};
    pthread_attr_init(&attributes);
    REQUIRE(!pthread_attr_setstack(&attributes, stack, bytes), "a stack of %zu bytes", bytes);
    REQUIRE(!pthread_create(&thread, &attributes, run_job, &s), "a thread");
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    const char *deepest = stack;
    while (deepest < s.base && *(const unsigned char *)deepest == PAINT) deepest++;
    const size_t depth = (size_t)(s.base - deepest);
    munmap(memory, PAGE + bytes);
    return depth;
}

/* ---- networks ---- */

enum { MOST_ROWS = 256, WIDEST = 1024, MOST_OUT = 10 };
typedef struct {
    int64_t width[4];
    int64_t batch;
} shape;
static const shape shapes[] = {
    {{200, 512, 64, 10}, 256}, {{300, 1024, 1024, 10}, 64}, {{20, 30, 30, 3}, 17}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static struct {
    fa_net *net;
    fa_net_desc desc;
    fa_layer_desc layers[4];
    fa_rule_desc rule;
    fa_optimizer_desc optimizer;
    int64_t batch;
} now;

static double inputs_of[MOST_ROWS * WIDEST], targets_of[MOST_ROWS * MOST_OUT];
static uint8_t bytes_of[MOST_ROWS * WIDEST];
static int64_t labels_of[MOST_ROWS], order_of[MOST_ROWS];
static double weights_of[MOST_ROWS], outputs[MOST_ROWS * MOST_OUT], many[2 * WIDEST * WIDEST];

static int own_signal(void *user, const fa_rule_context *t)
{
    (void)user;
    const int64_t cols = t->signal.cols;
    return fa_multiply(t->signal.data, t->net, t->error.data, t->error.ld, many, cols,
                       t->signal.rows, t->error.cols, cols) != FA_OK;
}

static void fill(fa_dtype dtype)
{
    random_state = 1;
    for (int64_t i = 0; i < MOST_ROWS * WIDEST; i++) {
        put(inputs_of, dtype, i, random_unit() - 0.5);
        bytes_of[i] = (uint8_t)i;
    }
    for (int64_t i = 0; i < 2 * WIDEST * WIDEST; i++) put(many, dtype, i, 1e-3);
    for (int64_t i = 0; i < MOST_ROWS; i++) {
        labels_of[i] = i % 3, order_of[i] = i, weights_of[i] = 1;
        for (int64_t j = 0; j < MOST_OUT; j++) put(targets_of, dtype, i * MOST_OUT + j, j == 0);
    }
}

static void describe(const shape *s, fa_dtype dtype, const char *rule)
{
    static const char *const activations[] = {"relu", "gelu", "tanh"};
    memset(&now, 0, sizeof now);
    now.layers[0] = fa_dense(s->width[1], activations[s - shapes]);
    now.layers[1] = fa_dropout(0.1);
    now.layers[2] = fa_dense(s->width[2], activations[s - shapes]);
    now.layers[3] = fa_dense(s->width[3], "linear");
    now.rule = fa_rule_of(rule);
    if (!strcmp(rule, "custom")) now.rule.signal = own_signal;
    now.optimizer = fa_optimizer_of("sgd", 1e-4);
    now.desc = fa_net_defaults();
    now.desc.n_in = s->width[0], now.desc.layers = now.layers, now.desc.n_layers = 4;
    now.desc.rule = &now.rule, now.desc.optimizer = &now.optimizer;
    now.desc.dtype = dtype, now.desc.n_threads = 1;
    now.batch = s->batch;
}

static fa_samples samples(int64_t n)
{
    fa_samples s = fa_samples_of(inputs_of, now.desc.n_in, now.desc.dtype, n);
    s.labels = labels_of;
    return s;
}

/* ---- calls ---- */

static void call_create(void) { CHECK(!fa_net_create(&now.net, &now.desc), "create"); }

static void call_train_batch(void)
{
    double loss;
    fa_samples s = samples(now.batch);
    s.weights = weights_of;
    CHECK(!fa_train_batch(&loss, now.net, &s), "train_batch");
    s = samples(now.batch / 2 + 1);
    s.labels = NULL, s.y = targets_of, s.ldy = MOST_OUT;
    CHECK(!fa_train_batch(&loss, now.net, &s), "train_batch with rows");
    s = samples(5);
    CHECK(!fa_train_batch(&loss, now.net, &s), "train_batch of few");
}

static void call_train_bytes(void)
{
    double loss;
    fa_samples s = fa_samples_of(bytes_of, now.desc.n_in, FA_U8, now.batch);
    s.labels = labels_of;
    CHECK(!fa_train_batch(&loss, now.net, &s), "train_batch of bytes");
}

static int stop_never(void *user, int64_t step) { return user != NULL || step < 0; }

static void call_train_steps(void)
{
    fa_metrics m;
    const fa_samples s = samples(now.batch);
    const fa_epoch e = EPOCH(.order = order_of, .batch_size = 40, .count = 1, .poll = stop_never);
    CHECK(!fa_train_steps(&m, now.net, &s, &e), "train_steps");
}

static void call_train_epoch(void)
{
    fa_metrics m;
    const fa_samples s = samples(now.batch);
    CHECK(!fa_train_epoch(&m, now.net, &s, now.batch / 2), "train_epoch");
}

static void call_learn_one(void)
{
    double loss;
    CHECK(!fa_learn_one(&loss, now.net, inputs_of, 1, NULL), "learn_one");
}

static void call_learn_many(void)
{
    fa_metrics m;
    const fa_samples s = samples(3);
    CHECK(!fa_learn_many(&m, now.net, &s), "learn_many");
}

static void call_predict(void)
{
    fa_samples s = samples(now.batch);
    CHECK(!fa_predict(outputs, MOST_OUT, now.net, &s, 0), "predict");
    s.n = 1;
    CHECK(!fa_predict(outputs, MOST_OUT, now.net, &s, 1), "predict one row");
}

static void call_predict_one(void)
{
    fa_predictor *p = NULL;
    CHECK(!fa_predictor_create(&p, now.net, now.desc.dtype, 0), "predictor");
    CHECK(!fa_predict_one(outputs, p, inputs_of), "predict_one");
    fa_predictor_free(p);
}

static void call_evaluate(void)
{
    fa_metrics m;
    const fa_samples s = samples(now.batch);
    CHECK(!fa_evaluate(&m, now.net, &s) && !fa_check(now.net, &s), "evaluate");
}

static void call_gradients(void)
{
    double loss;
    const fa_samples s = samples(now.batch);
    void *grads[64] = {NULL};
    grads[0] = many;
    REQUIRE(fa_net_n_tensors(now.net) < 64, "tensors");
    CHECK(!fa_gradients(&loss, grads, now.net, &s), "gradients");
}

static void call_deltas(void)
{
    const fa_samples s = samples(now.batch);
    void *deltas[3] = {many, NULL, NULL};
    CHECK(!fa_deltas(deltas, now.net, &s), "deltas");
}

static void call_alignment(void)
{
    fa_angles angles[2];
    const fa_samples s = samples(now.batch);
    CHECK(!fa_alignment(angles, now.net, &s), "alignment");
}

static void call_looking(void)
{
    fa_block_info info = {.struct_size = sizeof info};
    CHECK(!fa_net_block(&info, now.net, 0), "block");
    if (info.feedback_rows) CHECK(!fa_feedback_matrix(many, now.net, 0), "feedback_matrix");
    CHECK(!fa_multiply(outputs, now.net, inputs_of, now.desc.n_in, many, MOST_OUT, 64,
                       now.desc.n_in, MOST_OUT),
          "multiply");
    CHECK(!fa_net_read(many, now.net, 0) && !fa_net_write(now.net, 0, many), "read, write");
    CHECK(fa_build_info() && fa_net_counts(now.net).forward >= 0, "what the library says");
}

static char path[] = "/tmp/fastfa_stack_XXXXXX";

static void call_save(void)
{
    CHECK(!fa_net_set_note(now.net, "a note"), "note");
    CHECK(!fa_save(now.net, path), "save");
}

static int drop(void *user, const void *data, size_t size)
{ return user != NULL || (data == NULL && size > 0); }

static int give_signal(void *user, fa_rule_desc *rule, int64_t layer, const char *note)
{
    rule->signal = own_signal;
    return user != NULL || layer < -1 || !note;
}

static void call_save_to(void) { CHECK(!fa_save_to(now.net, drop, NULL), "save_to"); }

static void call_load(void)
{
    fa_net *net = NULL;
    if (strcmp(now.rule.name, "custom")) CHECK(!fa_load(&net, path), "load");
    fa_net_free(net);
}

static struct {
    char *data;
    size_t size;
} file;

static void call_load_memory(void)
{
    fa_net *net = NULL;
    CHECK(!fa_load_memory(&net, file.data, file.size, give_signal, NULL), "load_memory");
    fa_net_free(net);
    CHECK(fa_load_memory(&net, file.data, file.size / 2, give_signal, NULL) == FA_E_FORMAT, "half");
    file.data[40] ^= 1;
    (void)fa_load_memory(&net, file.data, file.size, give_signal, NULL);
    file.data[40] ^= 1;
}

static void call_clone(void)
{
    fa_net *copy = NULL;
    CHECK(!fa_net_clone(&copy, now.net), "clone");
    fa_net_free(copy);
}

static void call_state(void)
{
    static char state[32 << 20];
    const size_t size = fa_net_state_size(now.net);
    if (size > sizeof state) return;
    CHECK(!fa_net_get_state(state, now.net) && !fa_net_set_state(now.net, state, size), "state");
}

static void call_reset(void)
{
    CHECK(!fa_net_reset(now.net) && !fa_shuffle(order_of, now.net, MOST_ROWS), "reset, shuffle");
    for (int64_t i = 0; i < MOST_ROWS; i++) order_of[i] = i;
}

static void call_refused(void) /* messages with every kind of value */
{
    fa_net *net = NULL;
    fa_net_desc d = now.desc;
    fa_rule_desc rule = now.rule;
    d.rule = &rule;
    rule.feedback.scale = -1e308 * 10;
    CHECK(fa_net_create(&net, &d) || !strcmp(rule.name, "backprop") || net, "a scale");
    fa_net_free(net);
    d.n_in = -1;
    CHECK(fa_net_create(&net, &d) == FA_E_VALUE, "a width");
    CHECK(fa_load(&net, "/no/such/file") == FA_E_IO, "no file");
    CHECK(fa_net_set_lr(now.net, NAN) == FA_E_VALUE && fa_net_set_lr(now.net, -1e300) == FA_E_VALUE,
          "a rate");
}

static void call_free(void)
{
    CHECK(!fa_net_trim(now.net), "trim");
    fa_net_free(now.net);
    now.net = NULL;
}

static struct {
    const char *name;
    void (*call)(void);
    size_t depth; /* the deepest so far */
} calls[] = {
    {"create", call_create, 0},
    {"train_batch", call_train_batch, 0},
    {"train_bytes", call_train_bytes, 0},
    {"train_steps", call_train_steps, 0},
    {"train_epoch", call_train_epoch, 0},
    {"learn_one", call_learn_one, 0},
    {"learn_many", call_learn_many, 0},
    {"predict", call_predict, 0},
    {"predict_one", call_predict_one, 0},
    {"evaluate", call_evaluate, 0},
    {"gradients", call_gradients, 0},
    {"deltas", call_deltas, 0},
    {"alignment", call_alignment, 0},
    {"looking", call_looking, 0},
    {"save", call_save, 0},
    {"save_to", call_save_to, 0},
    {"load", call_load, 0},
    {"load_memory", call_load_memory, 0},
    {"clone", call_clone, 0},
    {"state", call_state, 0},
    {"reset", call_reset, 0},
    {"refused", call_refused, 0},
    {"free", call_free, 0},
};
enum { N_CALLS = sizeof calls / sizeof *calls };

static void read_file(void)
{
    FILE *f = fopen(path, "rb");
    REQUIRE(f && !fseek(f, 0, SEEK_END), "the file");
    file.size = (size_t)ftell(f);
    rewind(f);
    free(file.data);
    file.data = malloc(file.size);
    REQUIRE(file.data && fread(file.data, 1, file.size, f) == file.size, "its bytes");
    fclose(f);
}

static void one_call(void *context) { ((void (*)(void))(uintptr_t)context)(); }

static void every_call(void *context)
{
    (void)context;
    for (int i = 0; i < N_CALLS; i++) {
        if (calls[i].call == call_load_memory) read_file();
        calls[i].call();
    }
}

/* ---- what is measured ---- */

static void measure_each(void)
{
    for (int i = 0; i < N_CALLS; i++) {
        if (calls[i].call == call_load_memory) read_file();
        const size_t depth = on_stack(STACK, one_call, (void *)(uintptr_t)calls[i].call);
        if (depth > calls[i].depth) calls[i].depth = depth;
    }
}

static bool small_ones(void) { return quick() || !held; }

static void each_network(void (*what)(void))
{
    static const char *const rates[] = {"sgd", "adam"};
    for (int type = 0; type < 2; type++) {
        fill(dtypes[type]);
        const char *rule;
        for (int i = 0; (rule = fa_name(FA_NAMES_RULE, i)); i++)
            for (int s = small_ones() ? N_SHAPES - 1 : 0; s < N_SHAPES; s++) {
                if ((s == 0 && i % 2 != type) || (s == 1 && i % 6 != type)) continue; /* time */
                describe(&shapes[s], dtypes[type], rule);
                now.optimizer.name = rates[(i + s) % 2];
                now.optimizer.clip_norm = i % 3 == 1;
                now.desc.loss =
                    (i + type) % 4 == 3 ? "sigmoid_cross_entropy" : "softmax_cross_entropy";
                what();
            }
    }
}

/* Feedback that is not drawn element by element */
static void each_drawing(void (*what)(void))
{
    for (int kind = 0; kind < 5; kind++) {
        describe(&shapes[0], FA_F32, "dfa");
        if (kind == 0) now.rule.feedback_rank = 3;
        if (kind == 1) now.rule.sparsity = 0.5;
        if (kind == 2) now.rule.feedback.name = "orthogonal";
        if (kind == 3) now.rule.feedback.name = "ternary", now.rule.shared = 1;
        if (kind == 4) now.rule.sparsity = 0.9;
        what();
    }
}

static void test_depth_of_calls(void)
{
    each_network(measure_each);
    fill(FA_F32);
    each_drawing(measure_each);
    size_t deepest = 0;
    for (int i = 0; i < N_CALLS; i++) {
        CHECK(!held || calls[i].depth <= PROMISED, "%s: %zu bytes of stack", calls[i].name,
              calls[i].depth);
        if (calls[i].depth > deepest) deepest = calls[i].depth;
    }
    printf("    deepest: %zu bytes;", deepest);
    for (int i = 0; i < N_CALLS; i++) printf(" %s %zu", calls[i].name, calls[i].depth);
    printf("\n");
}

static void on_little(void) { on_stack(held ? PROMISED : STACK, every_call, NULL); }

static void test_threads_of_32_kib(void)
{
    fill(FA_F32);
    for (int s = 0; s < N_SHAPES; s++) {
        describe(&shapes[s], FA_F32, "backprop");
        on_little();
    }
}

/* ---- the pool's threads ---- */

static void test_pool(void)
{
#ifdef __GLIBC__
    pthread_attr_t little;
    pthread_attr_init(&little);
    pthread_attr_setstacksize(&little, held ? PROMISED : STACK);
    pthread_attr_setguardsize(&little, 1 << 20);
    REQUIRE(!pthread_setattr_default_np(&little), "little stacks for all threads");
    pthread_attr_destroy(&little);
#endif
    fill(FA_F32);
    for (int s = 0; s < N_SHAPES; s++) {
        describe(&shapes[s], FA_F32, "backprop");
        now.desc.n_threads = 3;
        every_call(NULL);
    }
    describe(&shapes[1], FA_F32, "fa");
    now.desc.n_threads = 2, now.batch = 16; /* by columns */
    every_call(NULL);
}

/* ---- every product has the packing buffer that it wants ---- */

static const fa_kernels *real;
static int64_t wanted, missed;

static void counting_gemm(void *c, ptrdiff_t ldc, const void *a, ptrdiff_t rsa, ptrdiff_t csa,
                          const void *b, ptrdiff_t ldb, int64_t m, int64_t n, int64_t k,
                          double alpha, double beta, const fa_epilogue *epilogue,
                          fa_packed_b *right)
{
    const size_t bytes = real->gemm_packing_bytes(m, n, k, ldb, rsa == 1 && csa != 1);
    wanted += bytes > 0;
    missed += bytes > (right ? right->bytes : 0);
    real->gemm(c, ldc, a, rsa, csa, b, ldb, m, n, k, alpha, beta, epilogue, right);
}

static void count_products(void)
{
    static fa_kernels counting;
    call_create();
    real = now.net->k;
    counting = *real;
    counting.gemm = counting_gemm;
    now.net->k = &counting;
    call_train_batch();
    call_train_epoch();
    call_learn_many();
    call_predict();
    call_evaluate();
    call_gradients();
    call_free();
}

static void test_packing_buffers(void)
{
    wanted = missed = 0;
    each_network(count_products);
    CHECK(missed == 0, "%lld of %lld products that pack have no buffer", (long long)missed,
          (long long)wanted);
    CHECK(small_ones() || wanted > 0, "%lld products pack", (long long)wanted);
}

/* A network whose products never pack has no buffers. */
static void test_none_where_none_packs(void)
{
    describe(&shapes[N_SHAPES - 1], FA_F64, "ldfa");
    call_create();
    for (int training = 0; training < 2; training++) {
        fa_work *work = fa_work_create(now.net, training, training ? 32 : 1, 0, 1, 1);
        REQUIRE(work, "memory");
        CHECK(work->packing_bytes == 0 && !work->pack_caches, "nothing is packed");
        fa_free(work);
    }
    call_free();
}

/* ---- instruction sets, each in a process of its own ---- */

static int test_all(bool slow)
{
    (void)fa_kernels_for(FA_F32);
    fa_l2_is_slow = slow;
    printf("%s%s\n", fa_isa_name(), slow ? ", L2 is slow" : "");
    RUN(test_depth_of_calls);
    RUN(test_threads_of_32_kib);
    RUN(test_packing_buffers);
    RUN(test_none_where_none_packs);
    RUN(test_pool); /* last: it makes all threads small */
    return finish();
}

static void on(const char *isa, bool slow)
{
    fflush(stdout);
    const pid_t child = fork();
    REQUIRE(child >= 0, "fork");
    if (child == 0) {
        setenv("FASTFA_CPU", isa, 1);
        setenv("FASTFA_GEMM", "own", 1);
        exit(test_all(slow));
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child, "wait");
    CHECK(status == 0, "%s: status %d", isa, status);
}

int main(void)
{
    const int made = mkstemp(path);
    REQUIRE(made >= 0, "a file");
    close(made);
#ifdef FA_X86
    __builtin_cpu_init();
    on("v2", false);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) on("v3", false);
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
        on("v4", false);
        on("v4", true);
    }
#else
    on("c", false);
#endif
    unlink(path);
    return finish();
}
