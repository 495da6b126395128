/* The door to matrix products: our own kernels, or BLAS where the network was given one.
 *
 * Own kernels make each output one chain of multiply-adds over k, so results do not depend on how rows
 * and columns are split. BLAS promises nothing of the kind: with it the engine keeps chunks and tiles
 * the same for every number of threads. Which one runs: docs/decisions/001-own-products-and-blas.md. */
#include "internal.h"

#include <string.h>

enum {
    BLAS_MIN_WORK = 32 * 32 * 32,
    NT_ROWS = FA_SHORT_STRIDE, /* of A in a panel of D W^T, and */
    NT_COLS = 64,              /* of C, a block at a time */
    FEW_ROWS = 8,
};

/* FASTFA_GEMM = auto (default), own, blas. */
fa_status fa_choose_matmul(fa_net *net)
{
    const char *wish = fa_environment("FASTFA_GEMM");
    if (!wish || !*wish || !strcmp(wish, "auto")) {
        if (!fa_isa_prefers_blas()) return FA_OK;
        net->blas = fa_blas_get();
        if (!net->blas)
            fa_log("BLAS would be faster on this processor and is not there: %s", fa_blas_reason());
        return FA_OK;
    }
    if (!strcmp(wish, "own")) return FA_OK;
    if (strcmp(wish, "blas"))
        return fa_fail(FA_E_VALUE, "FASTFA_GEMM: expected auto, own or blas, got '%s'", wish);
    net->blas = fa_blas_get();
    if (!net->blas)
        return fa_fail(FA_E_STATE, "FASTFA_GEMM=blas: no BLAS in this build: %s", fa_blas_reason());
    return FA_OK;
}

static bool for_blas(const fa_net *net, fa_mat c, int64_t k)
{ return net->blas && (double)c.rows * (double)c.cols * (double)k >= BLAS_MIN_WORK; }

/* True if BLAS took it; false, with nothing done, where ours should run. */
static bool blas_product(const fa_net *net, bool ta, bool tb, fa_mat c, int64_t k, fa_mat a,
                         fa_mat b, double alpha, double beta)
{
    if (!for_blas(net, c, k)) return false;
    if (net->dtype == FA_F32)
        return net->blas->sgemm(ta, tb, c.rows, c.cols, k, (float)alpha, (const float *)a.p, a.ld,
                                (const float *)b.p, b.ld, (float)beta, (float *)c.p, c.ld);
    return net->blas->dgemm(ta, tb, c.rows, c.cols, k, alpha, (const double *)a.p, a.ld,
                            (const double *)b.p, b.ld, beta, (double *)c.p, c.ld);
}

void fa_matmul(const fa_net *net, fa_mat c, fa_mat a, fa_mat b, const fa_epilogue *epilogue,
               fa_packed_b *right)
{
    static const fa_epilogue none = {0};
    const fa_epilogue *e = epilogue ? epilogue : &none;
    if (e->bias && for_blas(net, c, a.cols)) /* which adds to what is there */
        for (int64_t i = 0; i < c.rows; i++)
            memcpy(c.p + (size_t)(i * c.ld) * net->esize, e->bias, (size_t)c.cols * net->esize);
    if (!blas_product(net, false, false, c, a.cols, a, b, 1, e->bias ? 1 : 0)) {
        net->k->gemm(c.p, c.ld, a.p, a.ld, 1, b.p, b.ld, c.rows, c.cols, a.cols, 1, 0, e, right);
        return;
    }
    if (e->nonfinite && !net->k->all_finite(c.p, c.ld, c.rows > 0, c.cols))
        atomic_store(e->nonfinite, true);
    if (e->relu) net->k->act[FA_ACT_relu](c.p, c.ld, c.p, c.ld, c.rows, c.cols);
    if (e->h) net->k->dact[FA_ACT_relu](c.p, c.ld, e->h, c.ld, c.rows, c.cols);
}

void fa_matmul_tn(const fa_net *net, fa_mat c, fa_mat a, fa_mat b, double alpha, double beta,
                  fa_packed_b *right)
{
    if (blas_product(net, true, false, c, a.rows, a, b, alpha, beta)) return;
    /* A column without gaps is a row: C^T = B^T A, in whole vectors. */
    if (c.cols == 1 && c.ld == 1)
        net->k->gemm(c.p, c.rows, b.p, 1, b.ld, a.p, a.ld, 1, c.rows, a.rows, alpha, beta, NULL,
                     NULL);
    else
        net->k->gemm(c.p, c.ld, a.p, 1, a.ld, b.p, b.ld, c.rows, c.cols, a.rows, alpha, beta, NULL,
                     right);
}

size_t fa_matmul_nt_scratch(const fa_net *net, int64_t k)
{ return (size_t)(k + NT_COLS) * NT_ROWS * net->esize; }

static fa_mat part(const fa_net *net, fa_mat a, int64_t i0, int64_t rows, int64_t j0, int64_t cols)
{
    return (fa_mat){a.p + (size_t)(i0 * a.ld + j0) * net->esize, a.ld,
                    rows < a.rows - i0 ? rows : a.rows - i0,
                    cols < a.cols - j0 ? cols : a.cols - j0};
}

/* C = A B^T with few rows: panels of B, transposed. */
static void turn_right(const fa_net *net, fa_mat c, fa_mat a, fa_mat b, char *scratch,
                       fa_packed_b *right)
{
    for (int64_t j = 0; j < c.cols; j += NT_ROWS) {
        const fa_mat to = part(net, c, 0, c.rows, j, NT_ROWS),
                     from = part(net, b, j, NT_ROWS, 0, b.cols);
        const fa_mat transposed = {scratch, from.rows, from.cols, from.rows};
        net->k->transpose(transposed.p, transposed.ld, from.p, from.ld, from.rows, from.cols);
        fa_matmul(net, to, a, transposed, NULL, right);
    }
}

/* C^T = B A^T: turning A and C costs less than turning B, which is a matrix of weights. The factors of
 * each multiply-add change places, which changes no bit. */
static void turn_left(const fa_net *net, fa_mat c, fa_mat a, fa_mat b, char *scratch,
                      fa_packed_b *right)
{
    for (int64_t i = 0; i < c.rows; i += NT_ROWS) {
        const fa_mat rows = part(net, a, i, NT_ROWS, 0, a.cols);
        const fa_mat transposed = {scratch, rows.rows, rows.cols, rows.rows};
        net->k->transpose(transposed.p, transposed.ld, rows.p, rows.ld, rows.rows, rows.cols);
        char *const product = scratch + (size_t)(transposed.rows * transposed.ld) * net->esize;
        for (int64_t j = 0; j < c.cols; j += NT_COLS) {
            const fa_mat to = part(net, c, i, NT_ROWS, j, NT_COLS);
            const fa_mat ct = {product, to.rows, to.cols, to.rows};
            fa_matmul(net, ct, part(net, b, j, NT_COLS, 0, b.cols), transposed, NULL, right);
            net->k->transpose(to.p, to.ld, ct.p, ct.ld, ct.rows, ct.cols);
        }
    }
}

void fa_matmul_nt(const fa_run *run, fa_mat c, fa_mat a, fa_mat b, int worker)
{
    const fa_net *net = run->net;
    if (blas_product(net, false, true, c, a.cols, a, b, 1, 0)) return;
    fa_packed_b right = fa_packing_buffer(run, worker);
    (c.rows < FEW_ROWS ? turn_right : turn_left)(net, c, a, b, fa_scratch(run, worker), &right);
}

/* ---- the packing buffer of a worker ---- */

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* The size for a product with B, for up to m rows of A */
static size_t packing(const fa_net *net, int64_t m, fa_mat b, bool transposed)
{ return net->k->gemm_packing_bytes(m, b.cols, b.rows, b.ld, transposed); }

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* C = A B^T for up to m rows of A: as turn_left multiplies, and turn_right. */
static size_t packing_nt(const fa_net *net, int64_t m, fa_mat b)
{
    const int64_t k = b.cols, wide = smaller(m, NT_ROWS), few = smaller(m, FEW_ROWS - 1);
    const fa_mat left = {NULL, NT_COLS, k, wide},
                 right = {NULL, NT_COLS, k, smaller(b.rows, NT_ROWS)};
    return larger(packing(net, smaller(b.rows, NT_COLS), left, false),
                  packing(net, few, right, false));
}

/* The size for the gradients of a parameter, in batches of up to `rows` rows */
static size_t packing_tn(const fa_net *net, const fa_param *p, int64_t rows)
{
    size_t most = 0;
    for (int i = 0; i < p->n_grad; i++) {
        const fa_mat right = {NULL, net->buffers[p->grad[i].right].ld, rows,
                              smaller(p->cols, net->tile_cols)};
        if (p->grad[i].left != FA_ONES) most = larger(most, packing(net, p->rows, right, true));
    }
    return most;
}

/* The size for each matrix: A B, A B^T and its gradient, as far as the rules need them; alignment needs all of them
 * for weights. */
size_t fa_packing_bytes(const fa_net *net, int64_t rows, bool training)
{
    const int64_t m = smaller(rows, FA_CHUNK);
    size_t most = 0;
    for (int i = 0; i < net->n_params && !net->blas; i++) {
        const fa_param *p = &net->params[i];
        const fa_mat b = {NULL, p->cols, p->rows, p->cols};
        if (p->kind == FA_BIAS || (!training && p->kind == FA_FEEDBACK)) continue;
        most = larger(most, packing(net, m, b, false));
        if (training) most = larger(most, larger(packing_nt(net, m, b), packing_tn(net, p, rows)));
    }
    for (int b = 0; b < net->n_blocks && training && !net->blas; b++) {
        const int64_t cols = net->blocks[b].layer->n_out;
        const fa_mat derived = {NULL, cols, net->blocks[b].rule.step_feedback_rows, cols};
        most = larger(most, packing(net, m, derived, false));
    }
    return (most + 63) & ~(size_t)63;
}
