/* The initialisers of fastfa.h as functions of the library, for callers that do not compile the
 * header. They know the structs of this version: docs/decisions/011-structs-with-their-size.md. */
#define fa_dense inline_dense
#define fa_conv2d inline_conv2d
#define fa_flatten inline_flatten
#define fa_max_pool2d inline_max_pool2d
#define fa_avg_pool2d inline_avg_pool2d
#define fa_global_avg_pool2d inline_global_avg_pool2d
#define fa_layer_norm inline_layer_norm
#define fa_rms_norm inline_rms_norm
#define fa_group_norm inline_group_norm
#define fa_dropout2d inline_dropout2d
#define fa_activation inline_activation
#define fa_recurrent inline_recurrent
#define fa_dropout inline_dropout
#define fa_rule_of inline_rule_of
#define fa_optimizer_of inline_optimizer_of
#define fa_net_defaults inline_net_defaults
#define fa_samples_of inline_samples_of
#define fa_csr_of inline_csr_of
#define fa_epoch_of inline_epoch_of
#include "fastfa.h"
#undef fa_dense
#undef fa_conv2d
#undef fa_flatten
#undef fa_max_pool2d
#undef fa_avg_pool2d
#undef fa_global_avg_pool2d
#undef fa_layer_norm
#undef fa_rms_norm
#undef fa_group_norm
#undef fa_dropout2d
#undef fa_activation
#undef fa_recurrent
#undef fa_dropout
#undef fa_rule_of
#undef fa_optimizer_of
#undef fa_net_defaults
#undef fa_samples_of
#undef fa_csr_of
#undef fa_epoch_of

FA_API fa_layer_desc fa_dense(int64_t units, const char *activation)
{ return inline_dense(units, activation); }

FA_API fa_layer_desc fa_conv2d(int64_t filters, int64_t size, const char *activation)
{ return inline_conv2d(filters, size, activation); }
FA_API fa_layer_desc fa_flatten(void) { return inline_flatten(); }
FA_API fa_layer_desc fa_layer_norm(void) { return inline_layer_norm(); }
FA_API fa_layer_desc fa_rms_norm(void) { return inline_rms_norm(); }
FA_API fa_layer_desc fa_group_norm(void) { return inline_group_norm(); }
FA_API fa_layer_desc fa_dropout2d(double rate) { return inline_dropout2d(rate); }
FA_API fa_layer_desc fa_activation(const char *activation) { return inline_activation(activation); }
FA_API fa_layer_desc fa_max_pool2d(int64_t size) { return inline_max_pool2d(size); }
FA_API fa_layer_desc fa_avg_pool2d(int64_t size) { return inline_avg_pool2d(size); }
FA_API fa_layer_desc fa_global_avg_pool2d(void) { return inline_global_avg_pool2d(); }
FA_API fa_layer_desc fa_recurrent(int64_t units, const char *activation)
{ return inline_recurrent(units, activation); }
FA_API fa_layer_desc fa_dropout(double rate) { return inline_dropout(rate); }

FA_API fa_rule_desc fa_rule_of(const char *name) { return inline_rule_of(name); }

FA_API fa_optimizer_desc fa_optimizer_of(const char *name, double lr)
{ return inline_optimizer_of(name, lr); }

FA_API fa_net_desc fa_net_defaults(void) { return inline_net_defaults(); }

FA_API fa_samples fa_samples_of(const void *x, ptrdiff_t ldx, fa_dtype x_dtype, int64_t n)
{ return inline_samples_of(x, ldx, x_dtype, n); }

FA_API fa_samples fa_csr_of(const void *x, fa_dtype x_dtype, const void *indices,
                            const void *indptr, int index_bytes, int64_t n_entries, int64_t n)
{ return inline_csr_of(x, x_dtype, indices, indptr, index_bytes, n_entries, n); }

FA_API fa_epoch fa_epoch_of(const int64_t *order, int64_t batch_size, int64_t count)
{ return inline_epoch_of(order, batch_size, count); }
