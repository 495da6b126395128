/* Sequences against plain loops and finite differences: predictions, errors, gradients under every
 * time= and rule; the same bits with any number of threads and in any order; what is refused. */
#include "check.h"

#include "sequences.h"

#define OK(call) REQUIRE((call) == FA_OK, "%s", fa_last_error())

static const char *const space[] = {"backprop", "fa", "dfa", "sdfa", "usf",    "frsf",
                                    "brsf",     "kp", "dkp", "ldfa", "ternary"};
enum { N_SPACE = sizeof space / sizeof *space };

/* Gradients or deltas of a network: a buffer for each, NaN until the library writes it. */
typedef struct {
    int64_t n, size[MOST_TENSORS];
    void *at[MOST_TENSORS];
} buffers;

static buffers buffers_new(const fa_net *net, int64_t rows)
{
    buffers r = {rows ? fa_net_n_blocks(net) : fa_net_n_tensors(net), {0}, {0}};
    const fa_dtype dtype = fa_net_description(net)->dtype;
    REQUIRE(r.n <= MOST_TENSORS, "buffers for %d", (int)r.n);
    for (int64_t i = 0; i < r.n; i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        r.size[i] = rows ? rows * block_of(net, i).n_out : t.rows * t.cols;
        r.at[i] = malloc((size_t)r.size[i] * size_of(dtype) + 1);
        for (int64_t j = 0; j < r.size[i]; j++) put(r.at[i], dtype, j, NAN);
    }
    return r;
}

static void buffers_free(buffers *r)
{
    for (int64_t i = 0; i < r->n; i++) free(r->at[i]);
}

/* rows x cols numbers against a table: of the size of the largest one, or all untouched. */
static void compare(const void *got, fa_dtype dtype, const double *expected, int64_t rows,
                    int64_t cols, bool written, const char *what)
{
    double worst = 0, largest = 1e-3;
    int64_t untouched = 0;
    for (int64_t i = 0; i < rows * cols; i++) {
        const double x = number_at(got, dtype, i), y = expected[i / cols * MOST_UNITS + i % cols];
        untouched += isnan(x);
        worst = fmax(worst, fabs(x - y)), largest = fmax(largest, fabs(y));
    }
    CHECK(untouched == (written ? 0 : rows * cols), "%s: %d numbers untouched", what,
          (int)untouched);
    CHECK(!written || worst <= (dtype == FA_F64 ? 1e-12 : 1e-5) * largest, "%s: %g of %g", what,
          worst, largest);
}

static void compare_gradient(const fa_net *net, const buffers *grads, const ref_block *b,
                             const char *name, const double *expected, const char *what)
{
    char key[40], text[200];
    snprintf(key, sizeof key, "%lld.%s", (long long)b->info.layer, name);
    snprintf(text, sizeof text, "%s: gradient of %s", what, key);
    const int64_t i = fa_net_find(net, key);
    const bool learns = !(b->recurrent && equal(b->time, "frozen"));
    if (i < 0) return;
    const fa_tensor t = fa_net_tensor(net, i);
    compare(grads->at[i], fa_net_description(net)->dtype, expected, t.rows, t.cols, learns, text);
}

/* Loss, gradients and deltas of the reference, which has gone forward. */
static void compare_step(const fa_net *net, reference *ref, const sequences *d, kind k,
                         const char *what)
{
    const fa_samples s = taught(d, k, 0, d->n);
    buffers grads = buffers_new(net, 0), deltas = buffers_new(net, d->n * d->steps);
    double loss = NAN;
    char text[200];
    ref_errors(ref, d, k), ref_deltas(ref, false), ref_gradients(ref, d);
    OK(fa_gradients(&loss, grads.at, net, &s));
    OK(fa_deltas(deltas.at, net, &s));
    CHECK(fabs(loss - ref->loss) < (ref->dtype == FA_F64 ? 1e-13 : 1e-6) * (1 + ref->loss),
          "%s: loss %g, expected %g", what, loss, ref->loss);
    for (int b = 0; b < ref->n_blocks; b++) {
        ref_block *block = &ref->block[b];
        compare_gradient(net, &grads, block, "weight", block->gw[0], what);
        compare_gradient(net, &grads, block, "recurrent", block->gu[0], what);
        compare_gradient(net, &grads, block, "bias", block->gb, what);
        snprintf(text, sizeof text, "%s: delta of block %d", what, b);
        compare(deltas.at[b], ref->dtype, block->d[0], d->n * d->steps, block->info.n_out,
                block->info.needs_delta, text);
    }
    buffers_free(&grads), buffers_free(&deltas);
}

static void compare_outputs(const fa_net *net, reference *ref, const sequences *d, kind k,
                            const char *what)
{
    fa_samples s = steps_of(d, 0, d->n);
    const ref_block *top = &ref->block[ref->n_blocks - 1];
    static double out[MOST_ROWS * Z_COLS];
    static table last;
    char text[200];
    fa_metrics m;
    for (int64_t i = 0; i < d->n; i++)
        memcpy(last[i], top->h[(i + 1) * d->steps - 1], sizeof last[i]);
    s.every_step = k >= STEP_LABELS;
    snprintf(text, sizeof text, "%s: outputs", what);
    OK(fa_predict(out, Z_COLS, net, &s, 1));
    compare(out, ref->dtype, s.every_step ? top->h[0] : last[0],
            s.every_step ? d->n * d->steps : d->n, Z_COLS, true, text);
    s = taught(d, k, 0, d->n);
    OK(fa_evaluate(&m, net, &s));
    CHECK(m.rows == ref->n_targets && m.steps == 0, "%s: %d rows", what, (int)m.rows);
    CHECK(fabs(m.loss / (double)m.rows - ref->loss) < 1e-5 * (1 + ref->loss), "%s: loss", what);
    if (s.labels) CHECK(m.hits == ref->hits, "%s: %g hits, not %g", what, m.hits, ref->hits);
}

static reference ref;

/* One network and its reference, on sequences of one kind. */
static void compare_all(const char *shape, const char *time, double leak, const char *rule,
                        const sequences *d, kind k)
{
    char what[120];
    fa_net *net = stack_net(shape, time, leak, rule, d->dtype);
    snprintf(what, sizeof what, "%s %s %s %g f%d n=%d T=%d kind %d", shape, time, rule, leak,
             8 * (int)size_of(d->dtype), (int)d->n, (int)d->steps, (int)k);
    ref_init(&ref, net, time, leak, rule);
    ref_forward(&ref, d);
    compare_step(net, &ref, d, k, what);
    compare_outputs(net, &ref, d, k, what);
    fa_net_free(net);
}

static void every_time_against_loops(void)
{
    static const int64_t steps[] = {1, 2, 7};
    for (int f = 0; f < 2; f++)
        for (int l = 0; l < 3; l++) {
            sequences d = sequences_new(dtypes[f], 5, steps[l]);
            for (int t = 0; t < N_TIMES; t++)
                for (kind k = 0; k < N_KINDS; k++)
                    compare_all(k % 2 ? "r" : "drr", times[t], k < 2 ? 1 : 0.4, "backprop", &d, k);
            sequences_free(&d);
        }
}

/* 40 x 7 rows are more than a chunk of rows; 70 sequences more than one of sequences. */
static void every_rule_against_loops(void)
{
    static const int64_t n[] = {3, 40, 70}, steps[] = {4, 7, 5};
    for (int i = 0; i < 3; i++) {
        sequences d = sequences_new(i ? FA_F64 : FA_F32, n[i], steps[i]);
        for (int r = 0; r < N_SPACE; r++)
            compare_all("drr", times[(i + r) % (N_TIMES - 1)], 0.4, space[r], &d,
                        (kind)((i + r) % N_KINDS));
        sequences_free(&d);
    }
}

/* Each entry of each weight and bias; with dropout, whose masks are those of the step. In double. */
static void differ(fa_net *net, const fa_samples *s, const char *what)
{
    const double h = 1e-5;
    buffers grads = buffers_new(net, 0);
    void *none[MOST_TENSORS] = {0};
    double loss, low, high;
    OK(fa_gradients(&loss, grads.at, net, s));
    for (int64_t i = 0; i < fa_net_n_tensors(net); i++) {
        const fa_tensor t = fa_net_tensor(net, i);
        if (t.kind != FA_WEIGHT && t.kind != FA_BIAS) continue;
        for (int64_t j = 0; j < t.rows * t.cols; j++) {
            double *const at = (double *)t.data + j, w = *at, g = ((double *)grads.at[i])[j];
            *at = w - h;
            OK(fa_gradients(&low, none, net, s));
            *at = w + h;
            OK(fa_gradients(&high, none, net, s));
            *at = w;
            CHECK(fabs((high - low) / (2 * h) - g) < 1e-8, "%s, %s %d: %g, not %g", what, t.key,
                  (int)j, g, (high - low) / (2 * h));
        }
    }
    buffers_free(&grads);
}

static void finite_differences(void)
{
    static const char *const f[] = {"tanh", "linear", "gelu", "softplus", "silu", "sigmoid"};
    sequences d = sequences_new(FA_F64, 4, 5);
    for (int i = 0; i < 12; i++) {
        const fa_samples s = taught(&d, (kind)(i % N_KINDS), 0, 4);
        stack st;
        stack_init(&st, "-r-r", "bptt", i < 6 ? 0.6 : 1, "backprop", FA_F64);
        st.layers[1].activation = st.layers[3].activation = f[i % 6];
        st.layers[1].use_bias = i % 2;
        fa_net *net = make(&st.desc);
        differ(net, &s, f[i % 6]);
        fa_net_free(net);
    }
    sequences_free(&d);
}

/* Steps that are images of 2 x 2; the outputs of many sequences are those of each. */
static void steps_are_images(void)
{
    enum { N = 30, T = 3 };
    sequences d = sequences_new(FA_F64, N, T);
    double whole[N * T * Z_COLS], one[T * Z_COLS];
    stack st;
    stack_init(&st, "ddr", "bptt", 0.4, "backprop", FA_F64);
    st.layers[0] = fa_conv2d(2, 2, "elu"), st.layers[0].padding = "same";
    st.layers[1] = fa_flatten();
    st.desc.input_h = st.desc.input_w = 2, st.desc.input_c = 1;
    fa_net *net = make(&st.desc);
    const fa_samples some = taught(&d, STEP_ROWS, 0, 4);
    differ(net, &some, "images");
    fa_samples s = steps_of(&d, 0, N);
    s.every_step = 1;
    OK(fa_predict(whole, Z_COLS, net, &s, 0));
    for (int64_t i = 0; i < N; i++) {
        s = steps_of(&d, i, 1), s.every_step = 1;
        OK(fa_predict(one, Z_COLS, net, &s, 0));
        CHECK(!memcmp(one, whole + i * T * Z_COLS, sizeof one), "sequence %d", (int)i);
    }
    fa_net_free(net);
    sequences_free(&d);
}

static void other_names_of_times(void)
{
    static const char *const pairs[][2] = {
        {"snap1", "diagonal"}, {"rflo", "leak"}, {"eprop", "leak"}};
    sequences d = sequences_new(FA_F32, 5, 4);
    const fa_samples s = taught(&d, LABELS, 0, 5);
    for (int i = 0; i < 3; i++) {
        fa_net *nets[2], *other = stack_net("r", "none", 0.4, "dfa", FA_F32);
        double loss;
        for (int k = 0; k < 2; k++) {
            nets[k] = stack_net("r", pairs[i][k], 0.4, "dfa", FA_F32);
            OK(fa_train_batch(&loss, nets[k], &s));
        }
        OK(fa_train_batch(&loss, other, &s));
        CHECK(same_state(nets[0], nets[1]), "%s is %s", pairs[i][0], pairs[i][1]);
        CHECK(!same_state(nets[0], other), "%s is not none", pairs[i][0]);
        fa_net_free(nets[0]), fa_net_free(nets[1]), fa_net_free(other);
    }
    sequences_free(&d);
}

/* The cosine of two tables, in degrees, and the ratio of their lengths. */
static double degrees(double *ratio, const double *a, const double *b, int64_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
    *ratio = sqrt(aa / bb);
    return acos(fmax(-1, fmin(1, ab / sqrt(aa * bb)))) * 180 / acos(-1);
}

static void alignment_to_backprop_through_time(void)
{
    static reference exact;
    sequences d = sequences_new(FA_F64, 40, 7);
    const fa_samples s = taught(&d, STEP_ROWS, 0, 40);
    for (int t = 0; t < N_TIMES - 1; t++) {
        fa_net *net = stack_net("rdr", times[t], 0.4, "dfa", FA_F64);
        fa_angles angles[3];
        ref_init(&ref, net, times[t], 0.4, "dfa");
        ref_forward(&ref, &d), ref_errors(&ref, &d, STEP_ROWS);
        exact = ref;
        ref_deltas(&ref, false), ref_gradients(&ref, &d);
        ref_deltas(&exact, true), ref_gradients(&exact, &d);
        OK(fa_alignment(angles, net, &s));
        for (int b = 0; b < 3; b++) {
            double ratio, ignored;
            const ref_block *mine = &ref.block[b], *other = &exact.block[b];
            const double angle = degrees(&ratio, mine->d[0], other->d[0], MOST_ROWS * MOST_UNITS);
            CHECK(fabs(angles[b].delta_angle - angle) < 1e-4, "%s block %d: delta at %g, not %g",
                  times[t], b, angles[b].delta_angle, angle);
            CHECK(fabs(angles[b].norm_ratio - ratio) < 1e-9, "%s block %d: ratio", times[t], b);
            const double of_gradient =
                degrees(&ignored, mine->gw[0], other->gw[0], MOST_UNITS * MOST_UNITS);
            CHECK(fabs(angles[b].gradient_angle - of_gradient) < 1e-4, "%s block %d: gradient",
                  times[t], b);
        }
        fa_net_free(net);
    }
    sequences_free(&d);
}

static void write_tensor(fa_net *net, const char *key, const fa_net *from, const char *other)
{
    const int64_t i = fa_net_find(net, key), j = fa_net_find(from, other);
    REQUIRE(i >= 0 && j >= 0 && fa_net_write(net, i, fa_net_tensor(from, j).data) == FA_OK, "%s",
            key);
}

/* With R = U^T the stored way back is that of bptt; it learns under kp, and under fa it stays. */
static void stored_ways_back(void)
{
    enum { N = 6 };
    sequences d = sequences_new(FA_F64, 4, 5);
    const fa_samples s = taught(&d, STEP_LABELS, 0, 4);
    for (int learns = 0; learns < 2; learns++) {
        fa_net *net = stack_net("r", learns ? "kp" : "fa", 0.4, "backprop", FA_F64);
        fa_net *exact = stack_net("r", "bptt", 0.4, "backprop", FA_F64);
        const double *u = fa_net_tensor(net, fa_net_find(net, "0.recurrent")).data;
        double *r = fa_net_tensor(net, fa_net_find(net, "0.recurrent_feedback")).data;
        const double before = r[1];
        for (int i = 0; i < N * N; i++) r[i] = u[i % N * N + i / N];
        const double turned = r[1];
        write_tensor(exact, "0.recurrent", net, "0.recurrent");
        double losses[2];
        for (int step = 0; step < 3; step++) {
            OK(fa_train_batch(&losses[0], net, &s));
            OK(fa_train_batch(&losses[1], exact, &s));
            /* under fa the two part after the first step */
            CHECK((learns || step < 2) == (fabs(losses[0] - losses[1]) < 1e-14), "%d: loss", step);
        }
        double worst = 0;
        for (int i = 0; i < N * N; i++) worst = fmax(worst, fabs(r[i] - u[i % N * N + i / N]));
        CHECK(learns ? worst < 1e-14 : worst > 1e-3, "R is U^T: %g", worst);
        CHECK(before != turned && (learns ? r[1] != turned : r[1] == turned), "R learns or stays");
        fa_net_free(net), fa_net_free(exact);
    }
    sequences_free(&d);
}

/* Without a step before it U matters not, and neither does the choice of a way back. */
static void one_step_is_a_dense_layer(void)
{
    sequences d = sequences_new(FA_F64, 300, 1);
    for (int t = 0; t < N_TIMES - 1; t++) {
        fa_net *net = stack_net("rd", times[t], 1, "dfa", FA_F64);
        stack s;
        stack_init(&s, "dd", "", 1, "dfa", FA_F64);
        s.layers[0].units = 6;
        fa_net *dense = make(&s.desc);
        write_tensor(dense, "0.weight", net, "0.weight");
        fa_samples of_net = taught(&d, LABELS, 0, 300), of_dense = of_net;
        of_dense.time_steps = 0;
        buffers a = buffers_new(net, 0), b = buffers_new(dense, 0);
        double losses[2];
        OK(fa_gradients(&losses[0], a.at, net, &of_net));
        OK(fa_gradients(&losses[1], b.at, dense, &of_dense));
        CHECK(losses[0] == losses[1], "%s: loss", times[t]);
        for (int64_t i = 0; i < b.n; i++) {
            const fa_tensor g = fa_net_tensor(dense, i);
            if (g.kind > FA_BIAS) continue;
            const int64_t j = fa_net_find(net, g.key);
            CHECK(!memcmp(a.at[j], b.at[i], (size_t)b.size[i] * sizeof(double)), "%s: %s", times[t],
                  g.key);
        }
        const int64_t u = fa_net_find(net, "0.recurrent");
        for (int64_t j = 0; j < a.size[u]; j++)
            CHECK(((double *)a.at[u])[j] == 0, "%s: gradient of U", times[t]);
        buffers_free(&a), buffers_free(&b);
        fa_net_free(net), fa_net_free(dense);
    }
    sequences_free(&d);
}

static void frozen_layers_stay(void)
{
    sequences d = sequences_new(FA_F32, 9, 4);
    fa_net *net = stack_net("rd", "frozen", 0.4, "dfa", FA_F32), *before = NULL;
    OK(fa_net_clone(&before, net));
    fa_metrics m;
    const fa_samples s = taught(&d, STEP_ROWS, 0, 9);
    for (int i = 0; i < 3; i++) OK(fa_train_epoch(&m, net, &s, 4));
    static const char *const keys[] = {"0.weight", "0.recurrent", "0.bias", "1.weight", "2.weight"};
    for (int i = 0; i < 5; i++) {
        const fa_tensor t = fa_net_tensor(net, fa_net_find(net, keys[i]));
        const void *was = fa_net_tensor(before, fa_net_find(before, keys[i])).data;
        CHECK((i < 3) == !memcmp(t.data, was, (size_t)(t.rows * t.cols) * 4), "%s", keys[i]);
    }
    fa_net_free(net), fa_net_free(before);
    sequences_free(&d);
}

/* Lengths differ between the calls. */
static void threads_change_no_bit(void)
{
    static const char *const shapes[] = {"r", "-r-dr"};
    for (int t = 0; t < N_TIMES + N_SPACE; t++) {
        const char *time = t < N_TIMES ? times[t] : "bptt";
        const char *rule = t < N_TIMES ? "dfa" : space[t - N_TIMES];
        fa_net *nets[3];
        static double outs[3][MOST_ROWS * Z_COLS];
        for (int i = 0; i < 3; i++) {
            nets[i] = stack_net(shapes[t % 2], time, 0.4, rule, dtypes[t / 2 % 2]);
            OK(fa_net_set_threads(nets[i], i + 1));
        }
        for (int64_t steps = 1; steps <= 5; steps += 2) {
            sequences d = sequences_new(dtypes[t / 2 % 2], 150, steps);
            fa_samples s = taught(&d, (kind)((t + steps / 2) % N_KINDS), 0, 150);
            fa_metrics m[3];
            for (int i = 0; i < 3; i++) {
                memset(outs[i], 0, sizeof outs[i]);
                OK(fa_train_epoch(&m[i], nets[i], &s, 131));
                OK(fa_predict(outs[i], Z_COLS, nets[i], &s, 0));
                CHECK(!memcmp(&m[i], &m[0], sizeof m[i] - 2 * sizeof(int64_t)) &&
                          same_state(nets[i], nets[0]) && !memcmp(outs[i], outs[0], sizeof outs[i]),
                      "%s %s T=%d: %d threads", time, rule, (int)steps, i + 1);
            }
            sequences_free(&d);
        }
        for (int i = 0; i < 3; i++) fa_net_free(nets[i]);
    }
}

int main(void)
{
    RUN(every_time_against_loops);
    RUN(every_rule_against_loops);
    RUN(finite_differences);
    RUN(steps_are_images);
    RUN(other_names_of_times);
    RUN(alignment_to_backprop_through_time);
    RUN(stored_ways_back);
    RUN(one_step_is_a_dense_layer);
    RUN(frozen_layers_stay);
    RUN(threads_change_no_bit);
    CHECK(live_bytes() == 0, "all memory returned");
    return finish();
}
