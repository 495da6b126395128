/* Dropout (Srivastava et al. 2014), inverted: kept values are divided by 1 - rate while training.
 * The mask is a function of (seed, step, layer, row, column) and nothing else, so it does not
 * depend on chunks or threads. */
#include "engine/sparse.h"
#include "layers/layers.h"

typedef struct state {
    fa_buf mask; /* bytes: 1 where a value is kept */
} state;

static const fa_option_row dropout_options[] = {{.name = "rate",
                                                 FA_HALF_OPEN(0, 1),
                                                 .field = offsetof(fa_layer_desc, rate),
                                                 .meaning = "probability that a value is dropped"},
                                                {0}};

static fa_status plan(fa_net *net, fa_layer *layer)
{
    layer->n_out = layer->n_in;
    layer->out = fa_plan_buffer(net, layer->n_out, net->esize);
    FA_TRY(fa_plan_private(net, &layer->state, sizeof(state)));
    ((state *)layer->state)->mask = fa_plan_buffer(net, layer->n_out, 1);
    return FA_OK;
}

static fa_buf mask_of(const fa_layer *layer) { return ((const state *)layer->state)->mask; }

/* A sparse input: the masks of its entries alone, with the bits of the dense one. */
static void drop_entries(const fa_layer *layer, const fa_run *run, const void *values, fa_rows rows)
{
    const fa_csr *csr = run->csr;
    const fa_stream s = fa_rng_stream(run->net->seed, FA_RNG_DROPOUT, layer->index, run->step);
    const uint32_t drop = (uint32_t)(layer->desc.rate * 4294967296.0);
    const double scale = 1 / (1 - layer->desc.rate);
    for (int64_t r = rows.r0; r < rows.r1; r++) {
        uint32_t word[4];
        int64_t drawn = -1; /* the number of the words */
        for (int64_t t = csr->start[r]; t < csr->start[r + 1]; t++) {
            const int64_t block = csr->column[t] / 4;
            if (block != drawn)
                run->net->k->random(word, (uint64_t)r << 32 | (uint64_t)block, 1, s.key[0],
                                    s.key[1], s.c2, s.c3);
            drawn = block;
            const bool keep = word[csr->column[t] % 4] >= drop;
            if (run->net->dtype == FA_F64)
                ((double *)csr->kept)[t] = keep ? ((const double *)values)[t] * scale : 0;
            else
                ((float *)csr->kept)[t] = keep ? ((const float *)values)[t] * (float)scale : 0;
        }
    }
}

static void forward(const fa_layer *layer, const fa_run *run, fa_part part, int worker)
{
    (void)worker;
    const fa_kernels *k = run->net->k;
    const fa_rows rows = part.rows;
    const void *sparse = run->csr ? fa_csr_values(run, layer->in) : NULL;
    if (sparse) {
        drop_entries(layer, run, sparse, rows);
        return;
    }
    const fa_mat x = fa_get(run, layer->in, rows), y = fa_get(run, layer->out, rows);
    const fa_mat mask = fa_get(run, mask_of(layer), rows);
    const fa_stream s = fa_rng_stream(run->net->seed, FA_RNG_DROPOUT, layer->index, run->step);
    k->dropout(y.p, y.ld, (uint8_t *)mask.p, mask.ld, x.p, x.ld, y.rows, y.cols,
               (uint32_t)(layer->desc.rate * 4294967296.0), 1 / (1 - layer->desc.rate), rows.r0,
               s.key[0], s.key[1], s.c2, s.c3);
}

static void backward(const fa_layer *layer, const fa_run *run, fa_part part, fa_mat d, bool exact,
                     int worker)
{
    (void)worker;
    const fa_mat mask = fa_get_part(run, mask_of(layer), part);
    run->net->k->ddropout(d.p, d.ld, (const uint8_t *)mask.p, mask.ld, d.rows, d.cols,
                          exact ? 1 / (1 - layer->desc.rate) : 1);
}

const fa_layer_ops fa_layer_dropout = {.name = "dropout",
                                       .options = dropout_options,
                                       .flags = FA_TRAIN_ONLY,
                                       .sparse = true,
                                       .plan = plan,
                                       .forward = forward,
                                       .backward = backward};
