/* fastfa: training neural networks with and without backpropagation's symmetric backward pass.
 *
 * This is the one header of the C library; Python uses nothing else. In short:
 *
 *     fa_layer_desc layers[2] = { fa_dense(128, "tanh"), fa_dense(10, "linear") };
 *     fa_net_desc desc = fa_net_defaults();
 *     desc.n_in = 64;  desc.layers = layers;  desc.n_layers = 2;
 *     desc.loss = "softmax_cross_entropy";  desc.rule.name = "dfa";
 *
 *     fa_net *net;
 *     if (fa_net_create(&net, &desc)) { puts(fa_last_error()); return 1; }
 *     fa_samples batch = { .x = x, .ldx = 64, .x_dtype = FA_F32, .labels = labels, .n = 32 };
 *     double loss;
 *     fa_train_batch(&loss, net, &batch);
 *     fa_net_free(net);
 *
 * Conventions. Outputs come first. Matrices are row-major, one sample a row, each pointer followed by its
 * row stride in elements. A function that can fail returns fa_status and, on failure, leaves the network
 * and every output as they were and a sentence in fa_last_error(). Nothing prints, exits or aborts.
 *
 * Threads. Different networks may be used from different threads. On one network any number of threads
 * may predict, evaluate and take gradients at a time; training waits for them and they for it. A call
 * made from inside the network's own training (a poll function) fails with FA_E_STATE. After fork() the
 * child may use every network, except one that another thread was training at that moment: FA_E_STATE.
 *
 * Results. The same description, seed and data give the same bits with any number of threads. */
#ifndef FASTFA_H
#define FASTFA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FA_API __attribute__((visibility("default")))
#else
#define FA_API
#endif

#define FASTFA_VERSION "0.1.0"

/* ---- status -------------------------------------------------------------------------------------- */

typedef enum fa_status {
    FA_OK = 0,
    FA_E_VALUE = -1,     /* an argument or a description is wrong */
    FA_E_MEMORY = -2,    /* out of memory; the network is still usable */
    FA_E_NONFINITE = -3, /* the loss or the gradient norm is not finite; nothing was updated */
    FA_E_STOPPED = -4,   /* the poll function asked to stop; the last complete step is kept */
    FA_E_STATE = -5      /* the network cannot be used here and now; see the Threads paragraph */
} fa_status;

/* The message of the last failure on this thread; valid until the next failure on this thread. */
FA_API const char *fa_last_error(void);
FA_API const char *fa_status_name(fa_status status);

/* ---- describing a network: plain data ------------------------------------------------------------ */

typedef enum fa_dtype { FA_F32 = 0, FA_F64 = 1, FA_U8 = 2 } fa_dtype;

/* Initial values: drawn by name ("zeros", "normal", "uniform", "glorot_uniform", "glorot_normal",
 * "he_uniform", ...) times scale, or copied from `values` (rows x cols, contiguous, the network's dtype).
 * name NULL and values NULL: the default of the activation (weights), zeros (bias). */
typedef struct fa_init {
    const char *name;
    double scale;
    const void *values;
    int64_t rows, cols;
} fa_init;

typedef struct fa_view { /* rows x cols elements of the network's dtype */
    void *data;
    ptrdiff_t ld;
    int64_t rows, cols;
} fa_view;

/* What a rule of the caller's own sees of a step; valid during the call. Everything but `signal` is to be
 * read only. */
typedef struct fa_teaching {
    const struct fa_net *net;
    const struct fa_run *run; /* for fa_teaching_output */
    int64_t block, step;      /* the hidden block that asks; steps taken so far */
    fa_view error;            /* dloss_i/dA_L, without 1/m and sample weights */
    const int64_t *labels;    /* or NULL: the targets are rows */
    fa_view target;           /* or data NULL: they are labels */
    fa_view signal;           /* to be filled: S_l */
} fa_teaching;

/* A learning rule: "backprop", "fa", "dfa", "sdfa", "drtp", "frozen", ... The feedback matrix is drawn from
 * `feedback.name` (FA_NAMES_DISTRIBUTION) or given as values (n_source x n_l), times feedback.scale. */
typedef struct fa_rule_desc {
    const char *name;
    const char *inject; /* "post" (default, NULL) or "pre" */
    fa_init feedback;
    double sparsity;       /* share of zeros in each column of a drawn matrix */
    int64_t feedback_rank; /* of a drawn matrix; 0: full */
    int shared;            /* layers take the first columns of one matrix */
    double
        decay; /* kp, dkp: the share of learned feedback (kp: and of its weights) lost in a step */
    double lr_scale;  /* dkp, ldfa: factor on the learning rate of feedback; 0: 1 */
    double threshold; /* ternary: errors up to this size count as 0 */
    /* custom: fills t->signal, on the calling thread, between the forward pass and the teaching of a step;
     * non-zero: stop, nothing is updated. With a feedback name or values "l.feedback" (n_L x n_l) is stored. */
    int (*signal)(void *user, const fa_teaching *t);
    void *user;
    int64_t rank; /* ldfa: width between the factors; 0: that of the output, where it fits */
} fa_rule_desc;

typedef struct fa_layer_desc {
    const char *type; /* "dense" or "dropout" */
    /* dense */
    int64_t units;
    const char *
        activation; /* "linear", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "gelu", "sign", "threshold" */
    int use_bias, trainable;
    double lr_scale, bias_lr_scale;
    fa_init weight_init, bias_init;
    const fa_rule_desc *rule; /* NULL: the network's */
    /* dropout */
    double rate;
} fa_layer_desc;

typedef struct fa_optimizer_desc {
    const char *name; /* "sgd", "rmsprop", "adam", "adamw" */
    double lr;
    double momentum; /* sgd, rmsprop */
    int nesterov;    /* sgd */
    double alpha;    /* rmsprop */
    double beta1, beta2;
    double eps;
    double weight_decay;
    int decay_bias;
    double clip_norm; /* 0: off */
} fa_optimizer_desc;

typedef struct fa_net_desc {
    size_t struct_size; /* sizeof(fa_net_desc) */
    fa_dtype dtype;     /* FA_F32 or FA_F64 */
    int64_t n_in;
    const fa_layer_desc *layers;
    int64_t n_layers;
    const char *loss; /* "softmax_cross_entropy", "sigmoid_cross_entropy", "mse" */
    fa_rule_desc rule;
    fa_optimizer_desc optimizer;
    uint64_t seed;
    int n_threads;      /* 0: fa_get_num_threads(), one where the network is too small to gain */
    double input_scale; /* every input is multiplied by this; 0: 1 for floats, 1/255 for bytes */
} fa_net_desc;

FA_API fa_net_desc fa_net_defaults(void);
FA_API fa_layer_desc fa_dense(int64_t units, const char *activation);
FA_API fa_layer_desc fa_dropout(double rate);

/* The names that a field of a description accepts: fa_name(FA_NAMES_RULE, i) for i = 0, 1, ... until NULL. */
typedef enum fa_names {
    FA_NAMES_LAYER,
    FA_NAMES_ACTIVATION,
    FA_NAMES_LOSS,
    FA_NAMES_RULE,
    FA_NAMES_OPTIMIZER,
    FA_NAMES_INITIALIZER,
    FA_NAMES_DISTRIBUTION
} fa_names;
FA_API const char *fa_name(fa_names kind, int i);
/* The initialiser that fits an activation ("he_uniform" for "relu"); NULL if there is no such activation. */
FA_API const char *fa_default_init(const char *activation);

/* ---- a network ----------------------------------------------------------------------------------- */

typedef struct fa_net fa_net;

FA_API fa_status fa_net_create(fa_net **net, const fa_net_desc *desc);
FA_API void fa_net_free(fa_net *net); /* NULL is fine */
/* Draws parameters and feedback again from the seed; zeroes optimizer state and counters. */
FA_API fa_status fa_net_reset(fa_net *net);

/* n samples. Exactly one of labels and y is set, except for predicting. The network's dtype, or bytes. */
typedef struct fa_samples {
    const void *x; /* n x n_in */
    ptrdiff_t ldx;
    fa_dtype x_dtype;
    const int64_t *labels; /* n class numbers; with one output column 0 or 1 */
    const void *y;         /* n x n_out, the network's dtype */
    ptrdiff_t ldy;
    const double *weights; /* n sample weights, or NULL for ones */
    int64_t n;
} fa_samples;

/* Looks at every value: finite inputs and targets, labels in range, probabilities that are. The training
 * calls check shapes and labels themselves; fa_train_batch checks everything. */
FA_API fa_status fa_check(const fa_net *net, const fa_samples *samples);

/* One step on the samples as one batch. *loss is the mean loss before the update. */
FA_API fa_status fa_train_batch(double *loss, fa_net *net, const fa_samples *batch);

typedef struct fa_metrics {
    double loss; /* sum over batches of mean loss times rows: divide by rows */
    double hits; /* right answers: divide by rows; NaN where the loss and targets define none */
    int64_t rows, steps;
} fa_metrics;

/* Steps first .. first + count - 1 of an epoch over the samples. */
typedef struct fa_epoch {
    const int64_t *order; /* n indices into the samples, or NULL: as they come */
    int64_t batch_size, first, count;
    const double *lrs; /* count learning rates, or NULL: the network's */
    /* Called on the caller's thread between steps, at most every poll_seconds; non-zero stops. Or NULL. */
    int (*poll)(void *user, int64_t step);
    void *user;
    double poll_seconds;
} fa_epoch;

/* On FA_E_NONFINITE and FA_E_STOPPED, *metrics counts the steps done before it. */
FA_API fa_status fa_train_steps(fa_metrics *metrics, fa_net *net, const fa_samples *samples,
                                const fa_epoch *epoch);
/* The random order of the network's next epoch: a permutation of 0..n-1. Advances the epoch number. */
FA_API fa_status fa_shuffle(int64_t *order, fa_net *net, int64_t n);

/* out (n x n_out): probabilities for the cross-entropies, values for mse; logits != 0: before that. */
FA_API fa_status fa_predict(void *out, ptrdiff_t ldo, const fa_net *net, const fa_samples *samples,
                            int logits);
FA_API fa_status fa_evaluate(fa_metrics *metrics, const fa_net *net, const fa_samples *samples);

/* What the next fa_train_batch on these samples would hand to the optimizer, before clipping and decay.
 * grads[i] receives the gradient of tensor i (contiguous); NULL entries are skipped. */
FA_API fa_status fa_gradients(double *loss, void *const *grads, const fa_net *net,
                              const fa_samples *samples);

/* The deltas D_l of the same step, sample weights included, 1 / n not: deltas[b] receives those of dense layer
 * b (n x units, contiguous). NULL entries are skipped; a layer that is not taught leaves its own as it was. */
FA_API fa_status fa_deltas(void *const *deltas, const fa_net *net, const fa_samples *samples);

/* How close a hidden layer's teaching comes to full backprop through the exact weights (same masks).
 * Angles in degrees over all entries; NaN where undefined. */
typedef struct fa_angles {
    int64_t layer; /* index in the layer list */
    double delta_angle, gradient_angle;
    double weight_angle; /* feedback against the forward weights it stands for */
    int has_weight_angle;
    double norm_ratio; /* |D| / |D of backprop| */
} fa_angles;

/* angles: one per hidden dense layer, fa_net_n_blocks() - 1 in all. */
FA_API fa_status fa_alignment(fa_angles *angles, const fa_net *net, const fa_samples *samples);

/* The output of a block as the next one sees it, or of the input where block is -1. */
FA_API fa_view fa_teaching_output(const fa_teaching *t, int64_t block);
/* C (rows x cols, contiguous) = A B, in the network's dtype and by the products of its own rules. */
FA_API fa_status fa_multiply(void *c, const fa_net *net, const void *a, ptrdiff_t lda,
                             const void *b, ptrdiff_t ldb, int64_t rows, int64_t k, int64_t cols);

/* ---- looking inside ------------------------------------------------------------------------------ */

typedef enum fa_tensor_kind { FA_WEIGHT, FA_BIAS, FA_FEEDBACK, FA_SLOT } fa_tensor_kind;

/* data points into the network and stays valid, and at the same place, until fa_net_free. */
typedef struct fa_tensor {
    const char *key; /* "0.weight", "0.bias", "0.feedback"; slots carry their parameter's key */
    fa_tensor_kind kind;
    void *data; /* rows x cols, contiguous; a bias is 1 x n */
    int64_t rows, cols;
    int trainable;
} fa_tensor;

FA_API int64_t fa_net_n_tensors(const fa_net *net);
FA_API fa_tensor fa_net_tensor(const fa_net *net, int64_t i);
/* Copies contiguous values into tensor i, between training steps of other threads. */
FA_API fa_status fa_net_write(fa_net *net, int64_t i, const void *values);

/* A dense layer as the planner resolved it. */
typedef struct fa_block_info {
    int64_t layer; /* index in the layer list */
    int64_t n_in, n_out;
    const char *activation;
    const char *rule;   /* "output" for the last */
    const char *inject; /* "post", "pre" */
    const char
        *source; /* what teaches it: "error", "target", "above", "below", "input" (pepita) or "" */
    const char *
        feedback; /* "uniform", "normal", "values"; "signs" of the weights; "" without a matrix of its own */
    double feedback_scale;
    int64_t feedback_rank; /* of a matrix that is held as two factors; else 0 */
    int64_t feedback_rows; /* n_source of fa_feedback_matrix, 0 where it has no meaning */
    int trainable, needed; /* needed: a teaching signal is computed for it */
} fa_block_info;

FA_API int64_t fa_net_n_blocks(const fa_net *net);
FA_API fa_block_info fa_net_block(const fa_net *net, int64_t block);
/* A dense copy (n_source x n_l, contiguous) of what carries the source to hidden block `block`. */
FA_API fa_status fa_feedback_matrix(void *out, const fa_net *net, int64_t block);

/* Matrix products done by training since creation: the proof of what a rule computes. */
typedef struct fa_counts {
    int64_t forward;   /* H W */
    int64_t transport; /* d W^T */
    int64_t feedback;  /* with a stored B */
    int64_t outer;     /* H^T D */
} fa_counts;
FA_API fa_counts fa_net_counts(const fa_net *net);

FA_API int64_t fa_net_steps(const fa_net *net);
FA_API int64_t fa_net_epochs(const fa_net *net);
FA_API double fa_net_lr(const fa_net *net);
FA_API fa_status fa_net_set_lr(fa_net *net, double lr);
/* The number of threads of the description; setting it changes no result. */
FA_API int fa_net_threads(const fa_net *net);
FA_API fa_status fa_net_set_threads(fa_net *net, int n);

/* Everything that training changes, as one block of fa_net_state_size() bytes: same description only. */
FA_API size_t fa_net_state_size(const fa_net *net);
FA_API fa_status fa_net_get_state(void *state, const fa_net *net);
FA_API fa_status fa_net_set_state(fa_net *net, const void *state, size_t size);

/* ---- the library --------------------------------------------------------------------------------- */

FA_API const char *fa_version(void);
/* One JSON object: version, isa, blas, gemm, threads. Valid until the next call on this thread. */
FA_API const char *fa_build_info(void);

/* Threads used by networks that name no number: FASTFA_NUM_THREADS, OMP_NUM_THREADS, else the processors
 * this process may run on. n = 0 goes back to that. */
FA_API fa_status fa_set_num_threads(int n);
FA_API int fa_get_num_threads(void);

/* Memory comes from here; set it before the first network. NULL: the C library's. alloc returns memory
 * aligned to `align` (a power of two) or NULL. */
typedef struct fa_allocator {
    void *(*alloc)(void *user, size_t size, size_t align);
    void (*release)(void *user, void *memory, size_t size);
    void *user;
} fa_allocator;
FA_API fa_status fa_set_allocator(const fa_allocator *allocator);

/* What the library holds now, and how often it has allocated: a step must leave the second as it is. */
FA_API void fa_memory(int64_t *live_bytes, int64_t *allocations);

#ifdef __cplusplus
}
#endif
#endif
