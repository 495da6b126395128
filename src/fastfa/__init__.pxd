"""fastfa.h for Cython, in its order and whole: what the engine's own binding and `cimport fastfa` see."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint64_t


cdef extern from "fastfa.h" nogil:
    ctypedef enum fa_status:
        FA_OK
        FA_E_VALUE
        FA_E_MEMORY
        FA_E_NONFINITE
        FA_E_STOPPED
        FA_E_STATE
        FA_E_IO
        FA_E_FORMAT
        FA_E_END

    const char *fa_last_error()
    const char *fa_status_name(fa_status status)

    ctypedef enum fa_dtype:
        FA_F32
        FA_F64
        FA_U8

    ctypedef struct fa_init:
        const char *name
        double scale
        const void *values
        int64_t rows
        int64_t cols

    ctypedef struct fa_option:
        const char *name
        double number
        const char *text

    ctypedef struct fa_rule_context  # section 10

    ctypedef struct fa_rule_desc:
        size_t struct_size
        const char *name
        const char *inject
        fa_init feedback
        double sparsity
        int64_t feedback_rank
        int shared
        int (*signal)(void *user, const fa_rule_context *t) noexcept
        void *user
        const fa_option *options
        int n_options

    ctypedef struct fa_layer_desc:
        size_t struct_size
        const char *type
        int64_t units
        const char *activation
        int use_bias
        int trainable
        double lr_scale
        double bias_lr_scale
        fa_init weight_init
        fa_init bias_init
        const fa_rule_desc *rule
        double rate
        const fa_option *options
        int n_options
        int64_t kernel_h
        int64_t kernel_w
        int64_t stride_h
        int64_t stride_w
        const char *padding
        int64_t pad_h
        int64_t pad_w
        fa_init recurrent_init

    ctypedef struct fa_optimizer_desc:
        size_t struct_size
        const char *name
        double lr
        double weight_decay
        int decay_bias
        double clip_norm
        const fa_option *options
        int n_options
        double l1

    ctypedef struct fa_net_desc:
        size_t struct_size
        fa_dtype dtype
        int64_t n_in
        const fa_layer_desc *layers
        int64_t n_layers
        const char *loss
        const fa_rule_desc *rule
        const fa_optimizer_desc *optimizer
        uint64_t seed
        int n_threads
        double input_scale
        const fa_option *loss_options
        int n_loss_options
        int64_t input_h
        int64_t input_w
        int64_t input_c
        const char *compute

    fa_layer_desc fa_dense(int64_t units, const char *activation)
    fa_layer_desc fa_conv2d(int64_t filters, int64_t size, const char *activation)
    fa_layer_desc fa_flatten()
    fa_layer_desc fa_layer_norm()
    fa_layer_desc fa_rms_norm()
    fa_layer_desc fa_group_norm()
    fa_layer_desc fa_dropout2d(double rate)
    fa_layer_desc fa_activation(const char *activation)
    fa_layer_desc fa_max_pool2d(int64_t size)
    fa_layer_desc fa_avg_pool2d(int64_t size)
    fa_layer_desc fa_global_avg_pool2d()
    fa_layer_desc fa_dropout(double rate)
    fa_layer_desc fa_recurrent(int64_t units, const char *activation)
    fa_rule_desc fa_rule_of(const char *name)
    fa_optimizer_desc fa_optimizer_of(const char *name, double lr)
    fa_net_desc fa_net_defaults()

    ctypedef enum fa_names:
        FA_NAMES_LAYER
        FA_NAMES_ACTIVATION
        FA_NAMES_LOSS
        FA_NAMES_RULE
        FA_NAMES_OPTIMIZER
        FA_NAMES_INITIALIZER
        FA_NAMES_DISTRIBUTION

    const char *fa_name(fa_names kind, int i)

    ctypedef enum fa_option_kind:
        FA_OPTION_NUMBER
        FA_OPTION_INTEGER
        FA_OPTION_FLAG
        FA_OPTION_TEXT

    ctypedef struct fa_option_desc:
        size_t struct_size
        const char *name
        fa_option_kind kind
        double number
        const char *text
        double low
        double high
        int low_excluded
        int high_excluded
        int is_field
        const char *meaning

    fa_status fa_option_info(fa_option_desc *info, fa_names kind, const char *owner, int i)
    const char *fa_default_init(const char *activation)

    ctypedef struct fa_net:
        pass

    fa_status fa_net_create(fa_net **net, const fa_net_desc *desc)
    void fa_net_free(fa_net *net)
    fa_status fa_net_reset(fa_net *net)
    fa_status fa_net_trim(fa_net *net)

    ctypedef struct fa_samples:
        size_t struct_size
        const void *x
        ptrdiff_t ldx
        fa_dtype x_dtype
        const int64_t *labels
        const void *y
        ptrdiff_t ldy
        const double *weights
        int64_t n
        int accumulate
        int checked
        const void *indices
        const void *indptr
        int index_bytes
        int64_t n_entries
        int64_t time_steps
        int every_step

    fa_samples fa_samples_of(const void *x, ptrdiff_t ldx, fa_dtype x_dtype, int64_t n)
    fa_samples fa_csr_of(const void *x, fa_dtype x_dtype, const void *indices, const void *indptr,
                         int index_bytes, int64_t n_entries, int64_t n)

    ctypedef struct fa_metrics:
        double loss
        double hits
        int64_t rows
        int64_t steps

    fa_status fa_train_batch(double *loss, fa_net *net, const fa_samples *batch)
    fa_status fa_train_epoch(fa_metrics *metrics, fa_net *net, const fa_samples *samples, int64_t batch_size)
    fa_status fa_check(const fa_net *net, const fa_samples *samples)
    double fa_net_lr(const fa_net *net)
    fa_status fa_net_set_lr(fa_net *net, double lr)
    fa_status fa_predict(void *out, ptrdiff_t ldo, const fa_net *net, const fa_samples *samples, int logits)
    fa_status fa_evaluate(fa_metrics *metrics, const fa_net *net, const fa_samples *samples)

    ctypedef enum fa_tensor_kind:
        FA_WEIGHT
        FA_BIAS
        FA_FEEDBACK
        FA_SLOT
        FA_STATE

    ctypedef struct fa_tensor:
        const char *key
        fa_tensor_kind kind
        void *data
        int64_t rows
        int64_t cols
        int trainable

    int64_t fa_net_n_tensors(const fa_net *net)
    int64_t fa_net_find(const fa_net *net, const char *key)
    fa_tensor fa_net_tensor(const fa_net *net, int64_t i)
    fa_status fa_net_read(void *values, const fa_net *net, int64_t i)
    fa_status fa_net_write(fa_net *net, int64_t i, const void *values)
    fa_status fa_learn_one(double *loss, fa_net *net, const void *x, int64_t label, const void *y)
    fa_status fa_learn_many(fa_metrics *metrics, fa_net *net, const fa_samples *samples)

    fa_status fa_stream_step(void *out, double *loss, fa_net *net, const void *x, int64_t label, const void *y)
    fa_status fa_stream_reset(fa_net *net)

    ctypedef struct fa_predictor:
        pass

    fa_status fa_predictor_create(fa_predictor **predictor, const fa_net *net, fa_dtype x_dtype, int logits)
    void fa_predictor_free(fa_predictor *predictor)
    fa_status fa_predict_one(void *out, fa_predictor *predictor, const void *x)

    ctypedef struct fa_epoch:
        size_t struct_size
        const int64_t *order
        int64_t batch_size
        int64_t first
        int64_t count
        const double *lrs
        int (*poll)(void *user, int64_t step) noexcept
        void *user
        double poll_seconds
        int64_t crop
        int flip

    fa_epoch fa_epoch_of(const int64_t *order, int64_t batch_size, int64_t count)
    fa_status fa_train_steps(fa_metrics *metrics, fa_net *net, const fa_samples *samples, const fa_epoch *epoch)
    fa_status fa_shuffle(int64_t *order, fa_net *net, int64_t n)
    int64_t fa_net_steps(const fa_net *net)
    int64_t fa_net_epochs(const fa_net *net)
    int fa_net_threads(const fa_net *net)
    fa_status fa_net_set_threads(fa_net *net, int n)
    size_t fa_net_state_size(const fa_net *net)
    fa_status fa_net_get_state(void *state, const fa_net *net)
    fa_status fa_net_set_state(fa_net *net, const void *state, size_t size)

    ctypedef struct fa_allocator:
        void *(*alloc)(void *user, size_t size, size_t align) noexcept
        void (*release)(void *user, void *memory, size_t size) noexcept
        void *user

    fa_status fa_set_allocator(const fa_allocator *allocator)
    void fa_memory(int64_t *live_bytes, int64_t *allocations)
    void fa_set_log(void (*log)(void *user, const char *message) noexcept, void *user)
    fa_status fa_set_num_threads(int n)
    int fa_get_num_threads()
    const char *fa_version()
    int fa_version_number()
    const char *fa_build_info()
    fa_status fa_gradients(double *loss, void **grads, const fa_net *net, const fa_samples *samples)
    fa_status fa_apply_gradients(fa_net *net, const void **grads)
    fa_status fa_deltas(void **deltas, const fa_net *net, const fa_samples *samples)

    ctypedef struct fa_angles:
        int64_t layer
        double delta_angle
        double gradient_angle
        double weight_angle
        int has_weight_angle
        double norm_ratio

    fa_status fa_alignment(fa_angles *angles, const fa_net *net, const fa_samples *samples)

    ctypedef struct fa_block_info:
        size_t struct_size
        int64_t layer
        int64_t n_in
        int64_t n_out
        const char *activation
        const char *rule
        const char *inject
        const char *source
        const char *feedback
        double feedback_scale
        int64_t feedback_rank
        int64_t feedback_rows
        int trainable
        int needs_delta
        int64_t feedback_cols
        int64_t n_signal

    ctypedef struct fa_layer_info:
        size_t struct_size
        int64_t n_in
        int64_t n_out
        int64_t h
        int64_t w
        int64_t c
        double multiply_adds
        int bf16

    fa_status fa_net_layer(fa_layer_info *info, const fa_net *net, int64_t layer)

    int64_t fa_net_n_blocks(const fa_net *net)
    fa_status fa_net_block(fa_block_info *info, const fa_net *net, int64_t block)
    fa_status fa_feedback_matrix(void *out, const fa_net *net, int64_t block)

    ctypedef struct fa_counts:
        int64_t forward
        int64_t transport
        int64_t feedback
        int64_t outer

    fa_counts fa_net_counts(const fa_net *net)

    ctypedef struct fa_view:
        void *data
        ptrdiff_t ld
        int64_t rows
        int64_t cols

    struct fa_run:
        pass

    ctypedef struct fa_rule_context:
        const fa_net *net
        const fa_run *run
        int64_t block
        int64_t step
        fa_view error
        const int64_t *labels
        fa_view target
        fa_view signal

    fa_view fa_rule_context_output(const fa_rule_context *t, int64_t block)
    fa_status fa_multiply(void *c, const fa_net *net, const void *a, ptrdiff_t lda, const void *b, ptrdiff_t ldb,
                          int64_t rows, int64_t k, int64_t cols)

    ctypedef struct fa_loss_context:
        const fa_net *net
        fa_view output
        const int64_t *labels
        fa_view target
        double *losses
        fa_view error

    fa_status fa_net_set_loss(fa_net *net, int (*loss)(void *user, const fa_loss_context *t) noexcept, void *user)

    fa_status fa_save(const fa_net *net, const char *path)
    fa_status fa_save_to(const fa_net *net, int (*write)(void *user, const void *data, size_t size) noexcept,
                         void *user)
    fa_status fa_load(fa_net **net, const char *path)

    fa_status fa_load_memory(fa_net **net, const void *data, size_t size,
                             int (*custom)(void *user, fa_rule_desc *rule, int64_t layer, const char *note) noexcept,
                             void *user)
    fa_status fa_load_with(fa_net **net, const char *path,
                           int (*custom)(void *user, fa_rule_desc *rule, int64_t layer, const char *note) noexcept,
                           void *user)
    fa_status fa_load_from(fa_net **net, int (*read)(void *user, void *data, size_t size) noexcept, void *read_user,
                           int (*custom)(void *user, fa_rule_desc *rule, int64_t layer, const char *note) noexcept,
                           void *user)
    fa_status fa_check_file(int *has_checksum, const char *path)
    fa_status fa_net_clone(fa_net **net, const fa_net *source)
    const fa_net_desc *fa_net_description(const fa_net *net)
    fa_status fa_net_set_note(fa_net *net, const char *note)
    const char *fa_net_note(const fa_net *net)
    fa_status fa_net_copy_note(char *note, size_t *size, const fa_net *net)
