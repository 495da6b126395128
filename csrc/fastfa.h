/* fastfa: training neural networks with and without backpropagation's symmetric backward pass.
 *
 * This is the one header of the C library; Python uses nothing else. C99 and C++. In short:
 *
 *     fa_layer_desc layers[2] = {fa_dense(32, "tanh"), fa_dense(10, "linear")};
 *     fa_rule_desc rule = fa_rule_of("dfa");
 *     fa_net_desc desc = fa_net_defaults();
 *     desc.n_in = 64, desc.layers = layers, desc.n_layers = 2, desc.rule = &rule;
 *
 *     fa_net *net;
 *     if (fa_net_create(&net, &desc)) { puts(fa_last_error()); return 1; }
 *
 *     fa_samples data = fa_samples_of(x, 64, FA_F32, n);       // x: n x 64 floats, row after row
 *     data.labels = labels;                                    // n of them, 0 to 9
 *     fa_metrics m;
 *     for (int epoch = 0; epoch < 10; epoch++)                 // shuffled, in batches of 32
 *         if (fa_train_epoch(&m, net, &data, 32)) { puts(fa_last_error()); return 1; }
 *
 *     float out[10];                                           // of one sample: probabilities
 *     fa_samples one = fa_samples_of(x, 64, FA_F32, 1);
 *     fa_predict(out, 10, net, &one, 0);
 *     fa_net_free(net);
 *
 * The first sections are for every program, the last for few; stop reading at any of them. A guide
 * with the compile line, and the test behind each promise below: docs/EMBEDDING.md.
 *
 * Conventions. Outputs come first. Matrices are row-major, one sample a row, each pointer followed
 * by its row stride in elements; shapes are in the comments as rows x columns. The library reads
 * your arguments during the call and keeps no pointer to them, descriptions and names included.
 * fa_X_free frees what fa_X_create makes.
 *
 * Errors. A function that can fail returns fa_status. On failure it leaves the network and every
 * output as they were, unless its comment says otherwise, and fa_last_error() has a sentence.
 * Nothing prints, exits or aborts. One failure is noticed after it has changed the network: an
 * update that leaves the range of its type (FA_E_NONFINITE).
 *
 * Sizes. Structs that may grow begin with struct_size, the sizeof at which your program was
 * compiled; the initialisers below set it. A smaller one, of an older header, is accepted, and the
 * fields that it lacks count as zero; a larger one is refused. Before version 1.0 names and layouts
 * may still change between releases: compile against the header of the library that you link, and
 * compare fa_version_number() in case of doubt.
 *
 * Threads. (1) Different networks may be used from different threads at the same time. (2) On one
 * network any number of threads may predict, evaluate and take gradients at a time. (3) A step is
 * exclusive: it waits for them and they for it, so nobody sees half a step. A call of many steps
 * lets waiting readers in between two steps, and has half of the time under any number of readers.
 * Calls that change a network run one after another, in the order in which they arrive, never
 * between the steps of another call. (4) After fork() the child may use every network, except one
 * that another thread was training at that moment: FA_E_STATE. (5) Callbacks run on the thread that
 * made the call and, except for the allocator, in that thread's floating-point mode. They may use
 * other networks, and get FA_E_STATE from the network whose call runs them. Two threads, each of
 * whose callbacks uses the network that the other trains, deadlock. (6) The same description, seed
 * and data give the same bits with any number of threads, in any rounding mode of the caller and of
 * the pool's threads: calls round to nearest, trap nothing, and leave the caller's mode and flags
 * as they were. (7) The pool's threads block all signals except SIGSEGV, SIGBUS, SIGFPE and SIGILL.
 * (8) A call needs at most 32 KiB of its thread's stack where fastfa's own products run (measured:
 * 11 KiB for training, 13 KiB at most), and so does a thread of the pool. OpenBLAS, your callbacks
 * and your signal handlers need stack of their own on top. (9) A thread that is cancelled during a
 * call (pthread_cancel, deferred, the default) finishes the call first, callbacks included, and
 * ends when it holds nothing. (10) Callbacks must return: if one leaves by longjmp, by a C++
 * exception or by pthread_exit, the network stays locked.
 *
 * Memory. (11) A step allocates nothing once a batch of its size has been seen; a prepared
 * prediction never does. (12) Training keeps its workspace until fa_net_trim. Any other call that
 * allocates a workspace keeps it for the next call if it is no larger than that of the last
 * fa_train_batch or fa_learn_one, or than the network's state; otherwise it frees the workspace
 * when it ends. (13) The process holds only the settings of section 9, the threads of the pool, and
 * the last message of each thread. */
#ifndef FASTFA_H
#define FASTFA_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FA_API __attribute__((visibility("default")))
#else
#define FA_API
#endif

#define FASTFA_VERSION "0.1.0"
#define FASTFA_VERSION_NUMBER 100 /* major * 10000 + minor * 100 + patch */

/* ---- 1. status ------------------------------------------------------------------------------- */

typedef enum fa_status {
    FA_OK = 0,
    FA_E_VALUE = -1,  /* an argument or a description is wrong */
    FA_E_MEMORY = -2, /* out of memory; the network is still usable */
    /* Either the loss, the gradient norm or the state of a stream is not finite: nothing was
     * updated. Or a parameter, a feedback matrix or a slot is not finite, since an update left the
     * range of its type: the message names it and says how to recover. The call that made that
     * update returns this, or the next call does; so do all later calls that train, save or predict
     * with such weights (except fa_predict_one), until you recover. */
    FA_E_NONFINITE = -3,
    FA_E_STOPPED = -4, /* the poll function asked to stop; the last complete step is kept */
    FA_E_STATE = -5,   /* not allowed now: Threads, (4) and (5); or a custom rule or loss failed */
    FA_E_IO = -6,      /* a file cannot be read or written; errno says why */
    FA_E_FORMAT = -7,  /* not the bytes of a network, or one that this version cannot read */
    FA_E_END = -8      /* a list has no entry of this number: fa_option_info */
} fa_status;

/* The message of the last failure on this thread; valid until the next failure on this thread. */
FA_API const char *fa_last_error(void);
FA_API const char *fa_status_name(fa_status status);

/* ---- 2. describing a network: plain data ----------------------------------------------------- */

typedef enum fa_dtype { FA_F32 = 0, FA_F64 = 1, FA_U8 = 2 } fa_dtype;

/* Initial values: drawn by name ("zeros", "normal", "uniform", "glorot_uniform", "glorot_normal",
 * "he_uniform", ...) times scale, or copied from `values` (rows x cols, contiguous, the network's
 * dtype). name NULL and values NULL: the default of the activation (weights), zeros (bias). This
 * struct is final. */
typedef struct fa_init {
    const char *name;
    double scale;
    const void *values;
    int64_t rows, cols;
} fa_init;

/* One option of a rule, layer, loss or optimizer: {"decay", 0.01, NULL}. text is NULL for numbers,
 * integers and flags (0 or 1). An option that is not given has its default. fa_option_info lists
 * the options of each name; options of another name are refused. This struct is final. */
typedef struct fa_option {
    const char *name;
    double number;
    const char *text;
} fa_option;

typedef struct fa_rule_context fa_rule_context; /* section 11 */

/* A learning rule: "backprop", "fa", "dfa", "sdfa", "drtp", "frozen", ... The feedback matrix is
 * drawn from `feedback.name` (FA_NAMES_DISTRIBUTION) or given as values (n_source x n_l), times
 * feedback.scale. */
typedef struct fa_rule_desc {
    size_t struct_size; /* fa_rule_of sets it */
    const char *name;
    const char *inject; /* "post" (default, NULL), "before_pool" or "pre" */
    fa_init feedback;
    double sparsity;       /* share of zeros in each column of a drawn matrix */
    int64_t feedback_rank; /* of a drawn matrix; 0: full */
    int shared;            /* layers take the first columns of one matrix */
    /* custom: fills t->signal, on the calling thread, between the forward pass and the deltas of a
     * step; non-zero: stop, FA_E_STATE, nothing is updated. With a feedback name or values
     * "l.feedback" (n_L x n_l) is stored. */
    int (*signal)(void *user, const fa_rule_context *t);
    void *user;
    const fa_option *options; /* n_options of them */
    int n_options;
} fa_rule_desc;

typedef struct fa_layer_desc {
    size_t struct_size; /* fa_dense, ... set it; one value in all layers of a network */
    /* FA_NAMES_LAYER: "dense", "conv2d", "flatten", "dropout", "recurrent", "max_pool2d",
     * "avg_pool2d", "global_avg_pool2d", "activation", "dropout2d", "layer_norm", "rms_norm",
     * "group_norm" */
    const char *type;
    /* dense, conv2d, recurrent; `activation` too */
    int64_t units;
    /* "linear", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "gelu", "sign", "threshold",
     * "elu", "selu", "silu", "mish", "hardtanh", "hard_sigmoid", "softsign" */
    const char *activation;
    int use_bias, trainable; /* trainable and lr_scale: of normalisations too */
    double lr_scale, bias_lr_scale;
    fa_init weight_init, bias_init;
    const fa_rule_desc *rule; /* NULL: the network's */
    /* dropout, dropout2d */
    double rate;
    const fa_option *options; /* n_options of them */
    int n_options;
    /* conv2d, of `units` filters, and pools: their windows over an image */
    int64_t kernel_h, kernel_w;
    int64_t stride_h, stride_w; /* 0: 1; of pools: the size of the window */
    const char *padding;        /* "valid" (NULL) or "same"; or NULL, and zeros on all sides: */
    int64_t pad_h, pad_w;
    fa_init recurrent_init; /* recurrent: of U; name NULL: "glorot_uniform" */
} fa_layer_desc;

typedef struct fa_optimizer_desc {
    size_t struct_size; /* fa_optimizer_of sets it */
    /* "sgd", "rmsprop", "adam", "adamw", "adagrad", "nadam", "radam", "lion" */
    const char *name;
    double lr;
    double weight_decay;
    int decay_bias;
    double clip_norm;         /* 0: off */
    const fa_option *options; /* n_options of them: momentum, beta1, ... */
    int n_options;
    /* l1 sign(w) is added to the gradient, after clipping; to biases as weight_decay is */
    double l1;
} fa_optimizer_desc;

typedef struct fa_net_desc {
    size_t struct_size; /* fa_net_defaults sets it */
    fa_dtype dtype;     /* FA_F32 or FA_F64 */
    int64_t n_in;
    const fa_layer_desc *layers; /* n_layers of them, the last one dense */
    int64_t n_layers;
    /* "softmax_cross_entropy", "sigmoid_cross_entropy", "mse", "huber", "mae", "pinball",
     * "poisson", "focal"; "custom": fa_net_set_loss gives its function */
    const char *loss;
    const fa_rule_desc *rule;           /* NULL: fa_rule_of("backprop") */
    const fa_optimizer_desc *optimizer; /* NULL: fa_optimizer_of("sgd", 0.1) */
    uint64_t seed;
    int n_threads;      /* 0: fa_get_num_threads(), or one where that is no slower */
    double input_scale; /* every input is multiplied by this; 0: 1 for floats, 1/255 for bytes */
    const fa_option *loss_options; /* n_loss_options of them */
    int n_loss_options;
    /* Images: height, width and channels, n_in numbers in all, channels side by side. 0: rows */
    int64_t input_h, input_w, input_c;
    /* NULL or "float32"; "bfloat16": products of FA_F32 round their operands, not their sums, which
     * is faster on processors that have instructions for it (docs/MATH.md) */
    const char *compute;
} fa_net_desc;

/* Initialisers. They are inline, so that they use the structs your program was compiled with. The
 * shared library has them as functions too, with the structs of its own version, for callers that
 * cannot compile this header. Such a caller may also set struct_size and names and leave the rest
 * zero. fa_net_create then uses the initialiser's values for a dense layer whose flags and scales
 * are all zero, and the scale 1 for the feedback of a rule without a scale and `inject`. */
static inline fa_layer_desc fa_dense(int64_t units, const char *activation)
{
    fa_layer_desc d;
    memset(&d, 0, sizeof d);
    d.struct_size = sizeof d, d.type = "dense", d.units = units, d.activation = activation;
    d.use_bias = d.trainable = 1;
    d.lr_scale = d.bias_lr_scale = d.weight_init.scale = d.bias_init.scale = 1;
    return d;
}

/* Images of `filters` channels: the sums over windows of size x size positions, at every position
 * where the window is inside of the image */
static inline fa_layer_desc fa_conv2d(int64_t filters, int64_t size, const char *activation)
{
    fa_layer_desc d = fa_dense(filters, activation);
    d.type = "conv2d", d.kernel_h = d.kernel_w = size;
    return d;
}

/* An image as a row of numbers, for a dense layer: position after position */
static inline fa_layer_desc fa_flatten(void)
{
    fa_layer_desc d;
    memset(&d, 0, sizeof d);
    d.struct_size = sizeof d, d.type = "flatten";
    return d;
}

/* Each sample minus its mean, divided by its standard deviation, then times a scale and plus a shift
 * for each feature or channel. layer_norm and rms_norm (without the mean) normalise the features of a
 * row or the channels of each position of an image, group_norm each of `groups` parts of the features,
 * or of the channels with all positions. Their options: "eps" (1e-5), "scale" (1) and "shift" (1),
 * "groups" (1). */
static inline fa_layer_desc fa_layer_norm(void)
{
    fa_layer_desc d = fa_flatten();
    d.type = "layer_norm", d.trainable = 1, d.lr_scale = 1;
    return d;
}

static inline fa_layer_desc fa_rms_norm(void)
{
    fa_layer_desc d = fa_layer_norm();
    d.type = "rms_norm";
    return d;
}

static inline fa_layer_desc fa_group_norm(void)
{
    fa_layer_desc d = fa_layer_norm();
    d.type = "group_norm";
    return d;
}

/* Dropout of whole channels of an image */
static inline fa_layer_desc fa_dropout2d(double rate)
{
    fa_layer_desc d = fa_flatten();
    d.type = "dropout2d", d.rate = rate;
    return d;
}

/* f of every number, apart from the layer with the weights */
static inline fa_layer_desc fa_activation(const char *activation)
{
    fa_layer_desc d = fa_flatten();
    d.type = "activation", d.activation = activation;
    return d;
}

/* Pools of an image, each channel by itself: the largest number, or the average, of windows of size x
 * size positions, which follow each other without gaps where stride_h and stride_w are 0; and the
 * average of the whole image, a row of numbers */
static inline fa_layer_desc fa_max_pool2d(int64_t size)
{
    fa_layer_desc d = fa_flatten();
    d.type = "max_pool2d", d.kernel_h = d.kernel_w = size;
    return d;
}

static inline fa_layer_desc fa_avg_pool2d(int64_t size)
{
    fa_layer_desc d = fa_max_pool2d(size);
    d.type = "avg_pool2d";
    return d;
}

static inline fa_layer_desc fa_global_avg_pool2d(void)
{
    fa_layer_desc d = fa_flatten();
    d.type = "global_avg_pool2d";
    return d;
}

static inline fa_layer_desc fa_dropout(double rate)
{
    fa_layer_desc d;
    memset(&d, 0, sizeof d);
    d.struct_size = sizeof d, d.type = "dropout", d.rate = rate;
    return d;
}

/* h_t = (1 - leak) h_{t-1} + leak f(x_t W + h_{t-1} U + b). Its options: "leak" (1), "time", how
 * errors go back in time ("bptt"), "time_decay" (0). Networks with such a layer take sequences. */
static inline fa_layer_desc fa_recurrent(int64_t units, const char *activation)
{
    fa_layer_desc d = fa_dense(units, activation);
    d.type = "recurrent", d.recurrent_init.scale = 1;
    return d;
}

static inline fa_rule_desc fa_rule_of(const char *name)
{
    fa_rule_desc d;
    memset(&d, 0, sizeof d);
    d.struct_size = sizeof d, d.name = name, d.inject = "post";
    d.feedback.name = "uniform", d.feedback.scale = 1;
    return d;
}

static inline fa_optimizer_desc fa_optimizer_of(const char *name, double lr)
{
    fa_optimizer_desc d;
    memset(&d, 0, sizeof d);
    d.struct_size = sizeof d, d.name = name, d.lr = lr, d.decay_bias = 1;
    return d;
}

static inline fa_net_desc fa_net_defaults(void)
{
    fa_net_desc d;
    memset(&d, 0, sizeof d);
    d.struct_size = sizeof d, d.loss = "softmax_cross_entropy";
    return d;
}

/* The names that a field of a description accepts: fa_name(FA_NAMES_RULE, i) for i = 0, 1, ...
 * until NULL. */
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

/* An option as its owner declares it: a rule, layer, loss or optimizer of that name. */
typedef enum fa_option_kind {
    FA_OPTION_NUMBER,
    FA_OPTION_INTEGER,
    FA_OPTION_FLAG, /* 0 or 1 */
    FA_OPTION_TEXT
} fa_option_kind;
typedef struct fa_option_desc {
    size_t struct_size; /* your sizeof; the fields that fit are filled */
    const char *name;
    fa_option_kind kind;
    double number;    /* the default */
    const char *text; /* the default of a text; else NULL */
    double low, high; /* values are from low to high; infinite where there is no bound */
    int low_excluded, high_excluded;
    int is_field;        /* a field of the description with this name, not an entry of `options` */
    const char *meaning; /* a sentence */
} fa_option_desc;
/* Option i = 0, 1, ... of a FA_NAMES_LAYER, _LOSS, _RULE or _OPTIMIZER; the names and texts are the
 * library's. FA_E_END: there are i options, or fewer. FA_E_VALUE: there is no such owner. */
FA_API fa_status fa_option_info(fa_option_desc *info, fa_names kind, const char *owner, int i);
/* The initialiser that fits an activation ("glorot_uniform" for "relu"); NULL if there is no such
 * activation. */
FA_API const char *fa_default_init(const char *activation);

/* ---- 3. a network's life --------------------------------------------------------------------- */

typedef struct fa_net fa_net;

/* Copies names and values, and keeps no pointer into the description. */
FA_API fa_status fa_net_create(fa_net **net, const fa_net_desc *desc);
FA_API void fa_net_free(fa_net *net); /* NULL is fine; no call on it may be in flight */
/* Draws parameters and feedback again from the seed; zeroes optimizer state and counters. */
FA_API fa_status fa_net_reset(fa_net *net);
/* Call it after training: frees workspaces larger than the last fa_train_batch or fa_learn_one
 * needed, and the shuffled order of fa_train_epoch. A later call allocates what it needs again. */
FA_API fa_status fa_net_trim(fa_net *net);

/* ---- 4. training ----------------------------------------------------------------------------- */

/* n samples. Exactly one of labels and y is set, except for predicting. Calls that train on many
 * batches (fa_train_epoch, fa_train_steps, fa_learn_many) do not check the values of y;
 * fa_train_batch and fa_check do, and refuse negative probabilities, for example. */
typedef struct fa_samples {
    size_t struct_size; /* fa_samples_of sets it */
    const void *x;      /* n x n_in, of x_dtype */
    ptrdiff_t ldx;
    fa_dtype x_dtype;      /* the network's dtype, or bytes */
    const int64_t *labels; /* n class numbers; with one output column 0 or 1 */
    const void *y;         /* n x n_out, the network's dtype */
    ptrdiff_t ldy;
    const double *weights; /* n sample weights, or NULL for ones */
    int64_t n;
    int accumulate; /* not 0: adds to the sums in metrics; several calls give the bits of one over
                       all samples */
    int checked;    /* not 0: fa_check has passed these values and they are the same since, so calls
                       do not look at them once more */
    /* Sparse X, in compressed rows (CSR); fa_csr_of sets these. Row i has the entries indptr[i] ..
     * indptr[i + 1] - 1 of x, which holds numbers one after another, and of `indices`, their
     * columns, strictly ascending in each row. indptr NULL: x is dense. */
    const void *indices, *indptr;
    int index_bytes;   /* of each number in both: 4 (int32_t) or 8 (int64_t) */
    int64_t n_entries; /* of x and indices */
    /* For networks with a recurrent layer: each sample is a sequence of time_steps rows of x, which
     * follow each other. every_step 0: targets and predictions are of the last step, n of them;
     * else of every step, n x time_steps of them, and a label -1 or a row of NaN says that a step
     * has no target. n sample weights. 0 for other networks. */
    int64_t time_steps;
    int every_step;
} fa_samples;

static inline fa_samples fa_samples_of(const void *x, ptrdiff_t ldx, fa_dtype x_dtype, int64_t n)
{
    fa_samples s;
    memset(&s, 0, sizeof s);
    s.struct_size = sizeof s, s.x = x, s.ldx = ldx, s.x_dtype = x_dtype, s.n = n;
    return s;
}

/* n rows of a sparse X. Training gives the bits of the same X as a dense matrix, except for the signs
 * of zeros and where BLAS runs (docs/MATH.md). fa_learn_one and fa_predict_one take dense samples. */
static inline fa_samples fa_csr_of(const void *x, fa_dtype x_dtype, const void *indices,
                                   const void *indptr, int index_bytes, int64_t n_entries,
                                   int64_t n)
{
    fa_samples s;
    memset(&s, 0, sizeof s);
    s.struct_size = sizeof s, s.x = x, s.x_dtype = x_dtype, s.n = n;
    s.indices = indices, s.indptr = indptr, s.index_bytes = index_bytes, s.n_entries = n_entries;
    return s;
}

/* Sums over samples, so that those of several calls can be added. This struct is final. */
typedef struct fa_metrics {
    double loss; /* sum over batches of mean loss times rows: divide by rows */
    double hits; /* right answers: divide by rows; NaN where the loss and targets define none */
    int64_t rows, steps; /* rows with a target; training steps */
} fa_metrics;

/* One step on the samples as one batch. *loss is the mean loss before the update. */
FA_API fa_status fa_train_batch(double *loss, fa_net *net, const fa_samples *batch);

/* One pass over all samples in a new random order, in batches of batch_size; the last may be short.
 * Checks shapes and labels before the first step, and values as it uses them: a batch with an input
 * that is not finite stops it, like a loss that is not finite. fa_check, once before training,
 * names the value; after it, samples.checked = 1 spares every epoch the search. On FA_E_NONFINITE
 * *metrics counts the steps made before. The first epoch over n samples allocates n numbers for the
 * order, the later ones nothing. */
FA_API fa_status fa_train_epoch(fa_metrics *metrics, fa_net *net, const fa_samples *samples,
                                int64_t batch_size);

/* Checks every value: inputs and targets are finite, labels in range, probabilities valid. Without
 * targets it checks x and weights, without x (NULL) targets and weights. fa_train_batch, fa_predict,
 * fa_evaluate and section 8 do it by themselves, unless samples.checked is set. */
FA_API fa_status fa_check(const fa_net *net, const fa_samples *samples);

FA_API double fa_net_lr(const fa_net *net);
FA_API fa_status fa_net_set_lr(fa_net *net, double lr);

/* ---- 5. using it ----------------------------------------------------------------------------- */

/* out (n x n_out; with every_step n time_steps x n_out): probabilities for the cross-entropies and
 * focal, e^z for poisson, values for the others; logits != 0: the outputs before softmax, sigmoid or
 * exp. On FA_E_NONFINITE (weights that are not finite) out has been written. */
FA_API fa_status fa_predict(void *out, ptrdiff_t ldo, const fa_net *net, const fa_samples *samples,
                            int logits);
FA_API fa_status fa_evaluate(fa_metrics *metrics, const fa_net *net, const fa_samples *samples);

/* FA_STATE: what a recurrent layer remembers of a stream: "0.state", "0.trace.weight", ... */
typedef enum fa_tensor_kind { FA_WEIGHT, FA_BIAS, FA_FEEDBACK, FA_SLOT, FA_STATE } fa_tensor_kind;
/* Parameters, feedback and optimizer slots. data points into the network and stays valid, and at
 * the same place, until fa_net_free; reading it while another thread trains is a data race. This
 * struct is final. */
typedef struct fa_tensor {
    const char *key; /* "0.weight", "0.bias", "0.feedback"; slots carry their parameter's key */
    fa_tensor_kind kind;
    /* rows x cols, contiguous, the network's dtype; a bias is 1 x n; NULL: a slot of a parameter
     * that does not train */
    void *data;
    int64_t rows, cols;
    int trainable;
} fa_tensor;

FA_API int64_t fa_net_n_tensors(const fa_net *net);
/* The number in a key is the layer's index in the list, dropout layers included. -1: there is no
 * such parameter or feedback. */
FA_API int64_t fa_net_find(const fa_net *net, const char *key);
FA_API fa_tensor fa_net_tensor(const fa_net *net, int64_t i); /* zeros where i is out of range */
/* Copy tensor i into or from rows x cols contiguous values, between the steps of other threads. */
FA_API fa_status fa_net_read(void *values, const fa_net *net, int64_t i);
FA_API fa_status fa_net_write(fa_net *net, int64_t i, const void *values);

/* ---- 6. files -------------------------------------------------------------------------------- */

/* A file holds the whole network: description, parameters, feedback, optimizer state, counters,
 * learning rate and note, in the safetensors format (docs/FILES.md). A loaded network goes on bit
 * for bit as the saved one would have; fa_net_reset starts it over from its seed. A file is read by
 * every later version. */

/* Replaces the file in one step: after any failure (an error, a full disk, a kill, a loss of
 * power), the path holds the old file or the new one, whole. One exception: where the folder allows
 * no new file and no renaming, the old file is overwritten, without that promise (docs/FILES.md).
 * FA_E_IO on failure; the message says what the path holds now. FA_E_NONFINITE for a network with
 * values that are not finite: nothing is written. */
FA_API fa_status fa_save(const fa_net *net, const char *path);
/* Passes the bytes of fa_save to your function, one part after another; if it returns non-zero,
 * saving stops: FA_E_IO. Training of this network waits meanwhile. */
FA_API fa_status fa_save_to(const fa_net *net,
                            int (*write)(void *user, const void *data, size_t size), void *user);

/* FA_E_IO; FA_E_FORMAT for any bytes that fa_save did not write. A rule "custom" needs its
 * function: see fa_load_memory. */
FA_API fa_status fa_load(fa_net **net, const char *path);
/* Loads the bytes of a file. A file cannot hold the functions of custom rules. So `custom`, which
 * may be NULL, is called for each of them, that of the network (layer -1) and those of layers, and
 * sets rule->signal and rule->user; non-zero stops: FA_E_STOPPED. `note` is the file's note or
 * NULL, which may name the rule. */
FA_API fa_status fa_load_memory(fa_net **net, const void *data, size_t size,
                                int (*custom)(void *user, fa_rule_desc *rule, int64_t layer,
                                              const char *note),
                                void *user);
/* As fa_load_memory, from a path. */
FA_API fa_status fa_load_with(fa_net **net, const char *path,
                              int (*custom)(void *user, fa_rule_desc *rule, int64_t layer,
                                            const char *note),
                              void *user);
/* As fa_load_memory, from your function `read`, which fills data with the next size bytes; if it
 * returns non-zero, loading stops: FA_E_IO. It is called for the bytes of one network, and for no
 * byte after them. */
FA_API fa_status fa_load_from(
    fa_net **net, int (*read)(void *user, void *data, size_t size), void *read_user,
    int (*custom)(void *user, fa_rule_desc *rule, int64_t layer, const char *note), void *user);
/* Checks a file without loading it: FA_E_FORMAT if it is cut, or damaged in any bit. *has_checksum
 * (which may be NULL) says whether the file has a checksum. Files of the first versions have none:
 * damaged values pass there. */
FA_API fa_status fa_check_file(int *has_checksum, const char *path);

/* A second, independent network with the same bits; custom rules keep their function. */
FA_API fa_status fa_net_clone(fa_net **net, const fa_net *from);
/* The description of fa_net_create. It and everything that it points to belong to the network and
 * are valid until fa_net_free. Layers lie layers->struct_size bytes apart. */
FA_API const fa_net_desc *fa_net_description(const fa_net *net);
/* Your own text (UTF-8, up to 1 MiB), which goes with the network into files and clones; NULL:
 * none. The result of fa_net_note is valid until the next fa_net_set_note by any thread; if several
 * threads use the note, take a copy. fa_net_copy_note copies the note with its final zero if *size
 * bytes are enough for it, and sets *size to the bytes that it needs, 0 without a note. */
FA_API fa_status fa_net_set_note(fa_net *net, const char *note);
FA_API const char *fa_net_note(const fa_net *net);
FA_API fa_status fa_net_copy_note(char *note, size_t *size, const fa_net *net);

/* ---- 7. sample by sample --------------------------------------------------------------------- */

/* One step on one sample, as soon as it comes: fa_train_batch on a batch of one, in less time. x is
 * n_in values of the network's dtype; the target is y, n_out values of it, or, if y is NULL, the
 * label. With recurrent layers: fa_stream_step. */
FA_API fa_status fa_learn_one(double *loss, fa_net *net, const void *x, int64_t label,
                              const void *y);

/* One step on each sample of a stream, in order: the bits of fa_learn_one for each, in less time if
 * the optimizer is plain SGD. On FA_E_NONFINITE *metrics counts the samples learnt before. */
FA_API fa_status fa_learn_many(fa_metrics *metrics, fa_net *net, const fa_samples *samples);

/* A stream, for networks with recurrent layers: one step of it. x is one row; y or, if it is NULL,
 * label is its target; y NULL and label -1: none. out (n_out; may be NULL) is the prediction, made
 * before learning. The step moves the state; where there is a target, it learns, and *loss (may be
 * NULL) is the loss before the update. Layers whose "time" needs later steps (bptt, kp, fa, sign,
 * broadcast) learn from whole sequences only: with a target FA_E_VALUE. Allocates nothing. */
FA_API fa_status fa_stream_step(void *out, double *loss, fa_net *net, const void *x, int64_t label,
                                const void *y);
/* Forgets the stream: state and traces are zero, as in a new network. */
FA_API fa_status fa_stream_reset(fa_net *net);

/* A prepared prediction: the work that fa_predict repeats for each call is done once. One thread at
 * a time uses a predictor; any number of predictors use a network, which must outlive them. */
typedef struct fa_predictor fa_predictor;
FA_API fa_status fa_predictor_create(fa_predictor **predictor, const fa_net *net, fa_dtype x_dtype,
                                     int logits);
FA_API void fa_predictor_free(fa_predictor *predictor); /* NULL is fine */
/* out (n_out) of x (n_in), with the bits of fa_predict; with recurrent layers that of the next step
 * of the stream, which does not move. Checks neither pointers nor inputs nor
 * weights: NaN in, NaN out. */
FA_API fa_status fa_predict_one(void *out, fa_predictor *predictor, const void *x);

/* ---- 8. training under control --------------------------------------------------------------- */

/* Steps first .. first + count - 1 of an epoch over the samples. */
typedef struct fa_epoch {
    size_t struct_size;   /* fa_epoch_of sets it */
    const int64_t *order; /* n indices, not changed during the call; or NULL: as they come */
    int64_t batch_size, first, count;
    const double *lrs; /* count learning rates, or NULL: the network's */
    /* Called on the caller's thread between steps, at most every poll_seconds; non-zero stops. Or
     * NULL. */
    int (*poll)(void *user, int64_t step);
    void *user;
    double poll_seconds;
    /* Images (input_h, input_w, input_c) change at random in each step: shifted by up to `crop` rows
     * and columns, with zeros where nothing was, then flipped left to right if `flip` is not 0, in
     * half of the cases. Drawn from the seed, for each step and row of a batch. */
    int64_t crop;
    int flip;
} fa_epoch;

static inline fa_epoch fa_epoch_of(const int64_t *order, int64_t batch_size, int64_t count)
{
    fa_epoch e;
    memset(&e, 0, sizeof e);
    e.struct_size = sizeof e, e.order = order, e.batch_size = batch_size, e.count = count;
    return e;
}

/* fa_train_epoch is fa_shuffle, then fa_train_steps. On FA_E_NONFINITE and FA_E_STOPPED, *metrics
 * counts the steps done before it. */
FA_API fa_status fa_train_steps(fa_metrics *metrics, fa_net *net, const fa_samples *samples,
                                const fa_epoch *epoch);
/* The random order of the network's next epoch: a permutation of 0..n-1. Advances the epoch
 * number. */
FA_API fa_status fa_shuffle(int64_t *order, fa_net *net, int64_t n);

FA_API int64_t fa_net_steps(const fa_net *net);
FA_API int64_t fa_net_epochs(const fa_net *net);
/* The number of threads of the description; setting it changes no result. */
FA_API int fa_net_threads(const fa_net *net);
FA_API fa_status fa_net_set_threads(fa_net *net, int n);

/* All that training changes, as one block of fa_net_state_size() bytes, for networks of the same
 * description. Like fa_load, fa_net_set_state checks counters and learning rate, and not the values
 * of tensors. Steps and epochs count to 2^62; a step beyond that is FA_E_STATE. */
FA_API size_t fa_net_state_size(const fa_net *net);
FA_API fa_status fa_net_get_state(void *state, const fa_net *net);
FA_API fa_status fa_net_set_state(fa_net *net, const void *state, size_t size);

/* ---- 9. the library: hooks, threads, version ------------------------------------------------- */

/* A program with more rights than the user who started it (set-uid, capabilities) reads no
 * environment variable. The only library that fastfa opens is OpenBLAS, in the folder of the shared
 * object that contains fastfa. */

/* Hooks belong to the process: set them before other threads use the library. They must return, as
 * all callbacks must (Threads, (10)): catch exceptions inside. */

/* Memory comes from here; set it before the first network. NULL: the C library's. alloc returns
 * memory aligned to `align` (a power of two) or NULL; it need not be zeroed. This struct is
 * final. */
typedef struct fa_allocator {
    void *(*alloc)(void *user, size_t size, size_t align);
    void (*release)(void *user, void *memory, size_t size);
    void *user;
} fa_allocator;
FA_API fa_status fa_set_allocator(const fa_allocator *allocator);
/* The bytes that the library holds now, and its allocations so far, whose number a step does not
 * change. */
FA_API void fa_memory(int64_t *live_bytes, int64_t *allocations);

/* Receives messages that are not failures, one sentence a call: a missing BLAS that would help, an
 * environment variable with a value that is ignored, a thread that the system refused. NULL
 * (default): none. */
FA_API void fa_set_log(void (*log)(void *user, const char *message), void *user);

/* Threads of networks that do not set a number: FASTFA_NUM_THREADS, OMP_NUM_THREADS, else the
 * processors that this process (its main thread) may run on, and no more than the CPU quota of its
 * control groups allows. n = 0 restores that default. */
FA_API fa_status fa_set_num_threads(int n);
FA_API int fa_get_num_threads(void);

FA_API const char *fa_version(void);
FA_API int fa_version_number(void); /* FASTFA_VERSION_NUMBER of the library that runs */
/* One JSON object: version, isa, bfloat16, blas, gemm, threads, compiler. Valid until the next call on this
 * thread. */
FA_API const char *fa_build_info(void);

/* ---- 10. looking inside ---------------------------------------------------------------------- */

/* The gradients that the next fa_train_batch on these samples would pass to the optimizer, before
 * clipping and decay. grads[i] receives that of tensor i (contiguous), for all tensors except
 * slots. NULL entries are skipped, and those of tensors that do not train are not written. */
FA_API fa_status fa_gradients(double *loss, void *const *grads, const fa_net *net,
                              const fa_samples *samples);

/* The optimizer's step on gradients of your own: grads[i] is that of tensor i (contiguous), as
 * fa_gradients fills it, or NULL. It counts as a step and clips; a coupled matrix (rule "kp")
 * receives the step of its weight. fa_gradients and then this have the bits of fa_train_batch, but
 * for plain SGD, where they differ by rounding: fa_train_batch adds the product to the parameter
 * itself. FA_E_VALUE, and nothing has changed, for NULL or a number that is not finite where a
 * weight or bias trains, and for a gradient where nothing trains. Feedback that learns by its own
 * gradient ("dkp", "ldfa", "pfa", "fdfa", "wm", "cdni", "dtp") stays as it is where its entry
 * is NULL. */
FA_API fa_status fa_apply_gradients(fa_net *net, const void *const *grads);

/* The deltas D_l of the same step, with sample weights and without 1 / n: deltas[b] receives those
 * of dense layer b (n x units, contiguous). NULL entries are skipped, and those of layers without a
 * delta are not written. */
FA_API fa_status fa_deltas(void *const *deltas, const fa_net *net, const fa_samples *samples);

/* How close the deltas and gradients of a hidden layer are to those of full backprop through the
 * exact weights (same masks). Angles in degrees over all entries; NaN where undefined. This struct
 * is final. */
typedef struct fa_angles {
    int64_t layer; /* index in the layer list */
    double delta_angle, gradient_angle;
    double weight_angle; /* feedback against the forward weights it stands for */
    int has_weight_angle;
    double norm_ratio; /* |D| / |D of backprop| */
} fa_angles;

/* angles: one per hidden dense layer, fa_net_n_blocks() - 1 in all. */
FA_API fa_status fa_alignment(fa_angles *angles, const fa_net *net, const fa_samples *samples);

/* A block: a dense layer, as the planner resolved it, and the layers up to the next one. */
typedef struct fa_block_info {
    size_t struct_size; /* your sizeof; the fields that fit are filled */
    int64_t layer;      /* index in the layer list */
    int64_t n_in, n_out;
    const char *activation;
    const char *rule;   /* "output" for the last */
    const char *inject; /* "post", "before_pool", "pre" */
    /* the source of its signal: "error", "target", "above", "below", "input" (pepita), "head"
     * (local) or "" */
    const char *source;
    /* "uniform", "normal", "values"; "signs" of the weights; "" without a matrix of its own */
    const char *feedback;
    double feedback_scale;
    int64_t feedback_rank;      /* of a matrix that is stored as two factors; else 0 */
    int64_t feedback_rows;      /* n_source of fa_feedback_matrix, 0 if there is none */
    int trainable, needs_delta; /* needs_delta: a teaching signal is computed for it */
    int64_t feedback_cols;      /* n_l of fa_feedback_matrix */
    int64_t n_signal;           /* numbers of its signal S_l */
} fa_block_info;

/* A layer, as the planner resolved it. */
typedef struct fa_layer_info {
    size_t struct_size; /* your sizeof; the fields that fit are filled */
    int64_t n_in, n_out;
    int64_t h, w, c;      /* of its output; h = w = 0: a row of c numbers */
    double multiply_adds; /* of a sample, forward */
    int bf16;             /* 1: products with its weights round their operands to bfloat16 */
} fa_layer_info;
FA_API fa_status fa_net_layer(fa_layer_info *info, const fa_net *net, int64_t layer);

FA_API int64_t fa_net_n_blocks(const fa_net *net);
FA_API fa_status fa_net_block(fa_block_info *info, const fa_net *net, int64_t block);
/* A dense copy (n_source x n_l, contiguous) of the matrix that carries the source to hidden block
 * `block`. */
FA_API fa_status fa_feedback_matrix(void *out, const fa_net *net, int64_t block);

/* The number of matrix products of training since creation, by kind: it shows the work of a rule.
 * This struct is final. */
typedef struct fa_counts {
    int64_t forward;   /* H W */
    int64_t transport; /* d W^T */
    int64_t feedback;  /* with a stored B */
    int64_t outer;     /* H^T D */
} fa_counts;
FA_API fa_counts fa_net_counts(const fa_net *net);

/* ---- 11. rules of your own ------------------------------------------------------------------- */

typedef struct fa_view { /* rows x cols elements of the network's dtype; final */
    void *data;
    ptrdiff_t ld;
    int64_t rows, cols;
} fa_view;

/* A step as the signal function of a rule "custom" sees it; valid during the call. Write only to
 * `signal`. Later versions may add fields at the end. */
struct fa_rule_context {
    const fa_net *net;
    const struct fa_run *run; /* for fa_rule_context_output */
    int64_t block, step;      /* the hidden block that asks; steps taken so far */
    fa_view error;            /* dloss_i/dA_L, without 1/m and sample weights */
    const int64_t *labels;    /* or NULL: the targets are rows */
    fa_view target;           /* or data NULL: the targets are labels */
    fa_view signal;           /* to be filled: S_l */
};

/* The output of a block as the next one sees it, or of the input where block is -1. */
FA_API fa_view fa_rule_context_output(const fa_rule_context *t, int64_t block);
/* C (rows x cols, contiguous) = A B, in the network's dtype and by the products of its own
 * rules. */
FA_API fa_status fa_multiply(void *c, const fa_net *net, const void *a, ptrdiff_t lda,
                             const void *b, ptrdiff_t ldb, int64_t rows, int64_t k, int64_t cols);

/* ---- 12. a loss of your own ------------------------------------------------------------------ */

/* Rows as the function of a loss "custom" sees them; valid during the call. It fills `losses` and
 * `error`. Later versions may add fields at the end. */
typedef struct fa_loss_context {
    const fa_net *net;
    fa_view output;        /* of the last layer */
    const int64_t *labels; /* or NULL: the targets are rows */
    fa_view target;        /* or data NULL: the targets are labels */
    double *losses;        /* to be filled: the loss of each row */
    fa_view error;         /* to be filled: dloss_i/doutput; may be the memory of `output` */
} fa_loss_context;

/* The function of a network whose loss is "custom". It is called on the thread that made the call,
 * for all rows of a step, or for some of them at a time: by fa_evaluate, under rules that compute a
 * loss of their own (local, pepita), and for sequences, whose steps with a target it gets. Non-zero
 * stops: FA_E_STATE, nothing is updated. Until it is set, such a network predicts and does not
 * train: a file holds no function. Clones keep it. */
FA_API fa_status fa_net_set_loss(fa_net *net, int (*loss)(void *user, const fa_loss_context *t),
                                 void *user);

#ifdef __cplusplus
}
#endif
#endif
