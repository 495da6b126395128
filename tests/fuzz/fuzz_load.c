/* Any bytes into fa_load_memory. This must hold:
 *
 *   - the result is an error of the documented kinds and nothing stays allocated, or it is a
 *     network; until the bytes are known to be a network, memory is a small multiple of it;
 *   - a loaded network saves as bytes that load as the same network, which goes on with the same
 *     bits; so does a clone;
 *   - predicting, looking inside, training in each way, and fa_net_reset work on it.
 *
 * One file, two programs: see tests/fuzz/README.md. */
#include "fuzz.h"

#ifndef FUZZING
#include "alone.h"
#endif
#include "change_file.h"

enum { MOST_WORK = 2000, ROWS = 3 };

static struct {
    long inputs, loaded;
    double most_memory; /* of refused bytes, by their number */
} count;

/* ---- loading ---- */

static fa_net *load(bytes b)
{
    fa_net *net = NULL;
    MUST(fa_load_memory(&net, b.data, b.size, give_silent, NULL) == FA_OK);
    return net;
}

/* ---- using it ---- */

/* Of the layers, which a file may make so wide that one step takes seconds. */
static bool is_small(const fa_net *net)
{
    int64_t work = fa_net_description(net)->n_in;
    for (int64_t b = 0; b < fa_net_n_blocks(net); b++) work += block_of(net, b).n_out;
    return work <= MOST_WORK;
}

static void look_inside(const fa_net *net, const fa_samples *s)
{
    const int64_t n = fa_net_n_blocks(net);
    fa_angles *angles = calloc((size_t)n, sizeof *angles);
    fa_alignment(angles, net, s); /* what stands in the tensors may not be finite */
    free(angles);
    for (int64_t b = 0; b < n; b++) {
        const fa_block_info info = block_of(net, b);
        if (b == n - 1 || !info.feedback_rows) continue;
        double *matrix = calloc((size_t)(info.feedback_rows * info.n_out), sizeof *matrix);
        MUST(fa_feedback_matrix(matrix, net, b) == FA_OK);
        free(matrix);
    }
}

static void use(fa_net *net)
{
    if (!is_small(net)) return;
    const int64_t n_in = fa_net_description(net)->n_in;
    const int64_t n_out = block_of(net, fa_net_n_blocks(net) - 1).n_out;
    unsigned char *x = malloc((size_t)(n_in * ROWS));
    for (int64_t i = 0; i < n_in * ROWS; i++) x[i] = (unsigned char)(i * 37);
    double *out = calloc((size_t)(n_out * ROWS), sizeof *out), loss;
    const int64_t labels[ROWS] = {0};
    fa_samples s = fa_samples_of(x, n_in, FA_U8, ROWS);
    fa_metrics m;
    const fa_status predicted = fa_predict(out, n_out, net, &s, 0);
    MUST(predicted == FA_OK || predicted == FA_E_NONFINITE);
    s.labels = labels;
    look_inside(net, &s);
    fa_evaluate(&m, net, &s);
    fa_train_batch(&loss, net, &s);
    fa_train_epoch(&m, net, &s, 2);
    fa_learn_many(&m, net, &s);
    free(x), free(out);
}

/* The network, one loaded from what it is saved as, and a clone go the same way. */
static void check_network(fa_net *net)
{
    bytes saved = saved_bytes(net);
    fa_net *again = NULL, *twin = NULL;
    MUST(fa_net_clone(&twin, net) == FA_OK);
    MUST(saved.size ? !!(again = load(saved)) : fa_net_clone(&again, net) == FA_OK);
    free(saved.data);
    for (int round = 0; round < 2; round++) {
        bytes a = saved_bytes(net), b = saved_bytes(again), c = saved_bytes(twin);
        MUST(same_bytes(a, b) && same_bytes(a, c));
        free(a.data), free(b.data), free(c.data);
        use(net), use(again), use(twin);
    }
    MUST(fa_net_reset(net) == FA_OK);
    use(net);
    fa_net_free(again), fa_net_free(twin);
}

/* ---- the target ---- */

static void report(void)
{
    fprintf(stderr,
            "%ld inputs, %ld loaded; most memory for what was refused: %.1f times the bytes\n",
            count.inputs, count.loaded, count.most_memory);
}

/* Bytes that are refused: what they may cost. */
static void check_memory(size_t size)
{
    enum { FREE_OF_CHARGE = 1 << 16, TIMES = 64 };
    if (heap.most <= FREE_OF_CHARGE) return;
    const double times = (double)(heap.most - FREE_OF_CHARGE) / (double)(size + 1);
    if (times > count.most_memory) count.most_memory = times;
    MUST(times <= TIMES);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    fa_net *net = NULL;
    start(report);
    count.inputs++;
    doing = "load";
    heap.most = 0;
    const fa_status status = fa_load_memory(&net, data, size, give_silent, NULL);
    MUST(status == FA_OK || status == FA_E_FORMAT);
    MUST((status == FA_OK) == (net != NULL));
    doing = "use";
    if (net) {
        count.loaded++;
        check_network(net);
        fa_net_free(net);
    } else {
        check_memory(size);
    }
    nothing_is_left();
    return 0;
}

#ifndef FUZZING
int main(int argc, char **argv)
{
    static const char *const folders[] = {"tests/fuzz/corpus", "tests/fuzz/crashes", NULL};
    return run_alone(argc, argv, folders, change_file);
}
#endif
