/* The workspace of a call in flight: its memory, and who gets a block of it. Layout: workspace.c. */
#ifndef FA_WORKSPACE_H
#define FA_WORKSPACE_H

#include "model/declare.h"

typedef struct fa_work { /* one block: this header, then the memory that it points to */
    size_t size;
    bool idle;    /* was kept between two calls, and so is kept again */
    int64_t rows; /* capacity of each row buffer */
    int copies, threads;
    int64_t entries;            /* capacity of each batch of a sparse X; 0: X is dense */
    size_t *offset;             /* of each row buffer in a copy */
    char *buffers, *csr;        /* copies of the row buffers; copies of a batch of a sparse X */
    size_t copy_size, csr_size; /* of one copy */
    fa_mat *buf;                /* copies x n_buffers: the row buffers of each copy */
    /* copies x rows: a copy of the labels, each checked as it is read, so that no other thread can
     * change it later. */
    int64_t *labels;
    atomic_bool bad_label, loss_failed; /* loss_failed: the function of a loss "custom" */
    atomic_bool bad_entry; /* a column of a sparse X was out of range or order when it was used */
    atomic_bool nonfinite; /* a product with weights, biases or learned feedback was not finite */
    uint8_t *has_target;   /* recurrent layers: copies x rows; else NULL */
    double *weights, *row_loss, *row_hit;
    fa_hyper *hyper; /* one per parameter */
    char *scratch, *window_scratch,
        *pack_caches;                      /* of each worker; the last: fa_pack_cache, or NULL */
    size_t pack_cache_size, packing_bytes; /* of a pack cache, and of the packing buffer in it */
    uint64_t steps;                        /* steps begun with this workspace */
    /* Of each block: the matrix that its rule made from the weights for this step; or the non-zero
     * entries of its feedback, with their rows. overflow: a column has more than nnz entries, so
     * the matrix is used as it is stored. */
    struct fa_step_feedback {
        fa_mat matrix;
        void *row_index;
        bool overflow;
    } *step_feedback;
    char *rule;        /* the memory of net->chunk_rule */
    double *tile_norm; /* clipping: sum of squares of each tile, and the gradients themselves */
    void **grads;
} fa_work;

/* Each slot keeps one idle block: 0 for calls that need deltas, 1 for predicting, 2 for the second
 * of two samples in flight. NULL: out of memory. A call that trains keeps its block. Any other call
 * frees a block that it had to allocate, if that is larger than the workspace of fa_train_batch and
 * than the network's state. */
fa_work *fa_work_acquire(const fa_net *net, int slot, int64_t rows, int64_t entries, int copies,
                         int threads, bool trains);
void fa_work_release(const fa_net *net, int slot, fa_work *work, bool trains);
/* A block that belongs to the caller, who calls fa_free. training: with the memory that only a step
 * needs. */
fa_work *fa_work_create(const fa_net *net, bool training, int64_t rows, int64_t entries, int copies,
                        int threads);

#endif
