/* A batch of a sparse X: compressed rows (CSR), copied from the caller's arrays into the workspace,
 * and the products that read them. */
#ifndef FA_SPARSE_H
#define FA_SPARSE_H

#include "engine/engine.h"

/* Columns ascend in each row, and rows in each column, so that a sum over entries has the order of
 * one over a dense matrix. */
typedef struct fa_csr {
    int64_t *source; /* of each row: where its entries begin in the caller's arrays */
    int64_t *start;  /* row r has the entries start[r] .. start[r + 1] - 1 of the next arrays */
    int32_t *column;
    void *value; /* scaled, in the network's dtype */
    void *kept;  /* the same after dropout on the input; NULL: there is none, or nothing trains */
    /* The same entries by columns, for gradients: made by fa_csr_by_columns. */
    int32_t *row;     /* of each entry above */
    int64_t n_listed; /* columns that have entries; listed: their numbers */
    int32_t *listed;
    int64_t *listed_start;
    int32_t *listed_row;
    void *listed_value;
    struct fa_csr_key *keys[2]; /* for sorting */
    uint32_t *places;
} fa_csr;

/* Whether all layers up to the first weighted one read entries; if not, they get dense rows. */
bool fa_reads_entries(const fa_net *net);
static inline bool fa_is_sparse(const fa_samples *s) { return s->indptr != NULL; }
static inline int64_t fa_index_at(const fa_samples *s, const void *indices, int64_t i)
{ return s->index_bytes == 8 ? ((const int64_t *)indices)[i] : ((const int32_t *)indices)[i]; }

/* The most entries that `rows` of the samples order[first .. end - 1] have (order NULL: of samples
 * first .. end - 1), at most twice too many; 0 if X is dense, and at least 1 if it is not. */
int64_t fa_csr_most_entries(const fa_samples *s, const int64_t *order, int64_t first, int64_t end,
                            int64_t rows);
/* Lays out a batch for this many rows and entries, and sets *bytes to its size; memory NULL: only
 * the size. */
fa_csr *fa_csr_place(char *memory, size_t *bytes, const fa_net *net, bool training, int64_t rows,
                     int64_t entries);

/* Begins a step or a chunk of predictions: finds where the entries of each row will be. */
void fa_csr_begin(const fa_run *run);
/* Copies the entries of rows. Indices are used as memory addresses, and another thread may write to
 * the caller's arrays: the copy is checked. */
void fa_csr_load(const fa_run *run, fa_rows rows);
void fa_csr_by_columns(const fa_run *run);
/* The entries of a row buffer that is sparse: the input's, or those that dropout has left of them.
 * NULL: the buffer is dense. */
const void *fa_csr_values(const fa_run *run, fa_buf b);

/* C = X W, then the epilogue */
void fa_csr_matmul(const fa_run *run, const void *values, fa_rows rows, fa_mat c, fa_mat w,
                   const fa_epilogue *epilogue);
/* Rows i of g = alpha X^T D + beta g, after fa_csr_by_columns */
void fa_csr_gradient(const fa_run *run, fa_rows i, fa_mat g, fa_mat d, double alpha, double beta);
void fa_csr_add(const fa_run *run, fa_rows rows, fa_mat x); /* x += X, without dropout */
bool fa_csr_finite(const fa_run *run, fa_rows rows);

#endif
