/* Batches of sequences: each row of the batch is a step of one, T rows after one another. Here they
 * are loaded, and rows without a target are kept out of losses and errors. */
#include "engine/step.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ROWS = 8192, /* of activations that a task of many sequences has, about */ LEAST = 8 };

int64_t fa_sequence_chunk(const fa_net *net, int64_t rows, int64_t times, int threads)
{
    const int64_t share = fa_round_up(fa_ceil_div(rows / times, threads), LEAST);
    int64_t most = fa_round_up(fa_ceil_div(CHUNK_ROWS, times), LEAST);
    if (most > FA_SEQUENCE_CHUNK) most = FA_SEQUENCE_CHUNK;
    if (net->has_windows) most = LEAST; /* a prediction has memory for the maps of a chunk */
    return times * (net->blas ? FA_BLAS_CHUNK : fa_smaller(share, most));
}

/* Where the data of row r are: step t of sample `sample`. */
typedef struct place {
    int64_t sample, t;
    int64_t target; /* of its labels or rows; -1: none */
} place;

static place place_of(const fa_run *run, int64_t r)
{
    const int64_t i = r / run->times, t = r % run->times;
    const int64_t sample = run->index ? run->index[i] : i;
    if (run->data.every_step) return (place){sample, t, sample * run->times + t};
    return (place){sample, t, t + 1 == run->times ? sample : -1};
}

bool fa_is_blank(const fa_net *net, const void *row)
{
    int64_t j = 0;
    while (j < net->n_out && isnan(fa_value_at(net, row, j))) j++;
    return j == net->n_out;
}

/* Targets of the last steps have no gaps: NaN there is a wrong target, which the loss shows. */
static bool has_target(const fa_run *run, int64_t target)
{
    const fa_samples *d = &run->data;
    if (target < 0) return false;
    if (!d->every_step) return true;
    if (d->labels) return d->labels[target] != -1;
    return !fa_is_blank(run->net, (const char *)d->y + (size_t)(target * d->ldy) * run->net->esize);
}

double fa_count_targets(const fa_run *run)
{
    int64_t n = 0;
    if (run->stream) return 1;
    if (!run->data.every_step) return (double)(run->m / run->times);
    for (int64_t r = 0; r < run->m; r++) n += has_target(run, place_of(run, r).target);
    return n ? (double)n : 1; /* without any there is nothing to divide */
}

static void load_inputs(const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    const fa_samples *d = &run->data;
    for (int64_t r = rows.r0; r < rows.r1; r += run->times) {
        const int64_t first = place_of(run, r).sample * run->times * d->ldx;
        const fa_mat x = fa_get(run, FA_INPUT, (fa_rows){r, r + run->times});
        if (d->x_dtype == FA_U8)
            net->k->gather_u8(x.p, x.ld, (const uint8_t *)d->x + first, d->ldx, NULL, x.rows,
                              x.cols, fa_byte_divisor(net));
        else
            net->k->gather(x.p, x.ld, (const char *)d->x + (size_t)first * net->esize, d->ldx, NULL,
                           x.rows, x.cols, fa_input_factor(run));
    }
}

/* The label of a row, checked and copied: 0 where it has none. */
static void load_label(const fa_run *run, int64_t r, int64_t target)
{
    const int64_t label = target < 0 ? -1 : run->data.labels[target];
    const bool fits = fa_label_fits(run->net, label);
    const bool none = target < 0 || (run->data.every_step && label == -1);
    run->has_target[r] = fits;
    run->labels[r] = fits ? label : 0;
    if (!fits && !none) atomic_store(&run->work->bad_label, true);
}

static void load_target(const fa_run *run, int64_t r, int64_t target)
{
    const fa_net *net = run->net;
    const fa_mat y = fa_get(run, FA_TARGET, (fa_rows){r, r + 1});
    run->has_target[r] = has_target(run, target);
    if (run->has_target[r])
        memcpy(y.p, (const char *)run->data.y + (size_t)(target * run->data.ldy) * net->esize,
               (size_t)net->n_out * net->esize);
    else
        memset(y.p, 0, (size_t)net->n_out * net->esize);
}

void fa_load_sequences(const fa_run *run, fa_rows rows)
{
    if (fa_gathers_input(run)) load_inputs(run, rows);
    for (int64_t r = rows.r0; r < rows.r1; r++) {
        const place at = place_of(run, r);
        if (run->labels) load_label(run, r, at.target);
        if (run->data.y) load_target(run, r, at.target);
        if (run->data.weights) run->work->weights[r] = run->data.weights[at.sample];
    }
}

/* The first row from r on, up to `end`, of which `wanted` says whether it has a target. */
static int64_t next_row(const fa_run *run, int64_t r, int64_t end, bool wanted)
{
    while (r < end && run->has_target[r] != wanted) r++;
    return r;
}

void fa_sequence_error(const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    const fa_block *top = &net->blocks[net->n_blocks - 1];
    for (int64_t r = rows.r0; r < rows.r1;) {
        const int64_t first = next_row(run, r, rows.r1, true),
                      end = next_row(run, first, rows.r1, false);
        for (; r < first; r++) {
            memset(fa_get(run, top->delta, (fa_rows){r, r + 1}).p, 0,
                   (size_t)net->n_out * net->esize);
            run->row_loss[r] = run->row_hit[r] = 0;
        }
        const fa_rows part = {first, end};
        if (first < end)
            fa_loss_of_rows(run, fa_get(run, top->delta, part), run->row_loss + first,
                            run->row_hit + first, fa_get(run, top->layer->out, part), part);
        r = end;
    }
}
