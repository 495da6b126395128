/* The forward pass of rows: from the samples through all layers. */
#include "engine/sparse.h"
#include "engine/step.h"

double fa_input_factor(const fa_run *run)
{
    if (run->net->input_scale != 0) return run->net->input_scale;
    return run->data.x_dtype == FA_U8 ? 1.0 / 255 : 1;
}

double fa_byte_divisor(const fa_net *net)
{ return net->input_scale != 0 ? 1 / net->input_scale : 255; }

bool fa_gathers_input(const fa_run *run)
{ return run->index || run->data.x_dtype == FA_U8 || fa_input_factor(run) != 1 || run->augments; }

/* Copies the batch's rows, scaled and converted, if they cannot be used in place. */
static void gather(const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    const fa_samples *d = &run->data;
    const int64_t *index = run->index ? run->index + rows.r0 : NULL;
    const int64_t first = index ? 0 : rows.r0; /* the user's row for the first row of this gather */
    if (run->csr) {
        fa_csr_load(run, rows);
    } else if (fa_gathers_input(run)) {
        const fa_mat x = fa_get(run, FA_INPUT, rows);
        if (d->x_dtype == FA_U8)
            net->k->gather_u8(x.p, x.ld, (const uint8_t *)d->x + first * d->ldx, d->ldx, index,
                              x.rows, x.cols, fa_byte_divisor(net));
        else
            net->k->gather(x.p, x.ld, (const char *)d->x + (size_t)(first * d->ldx) * net->esize,
                           d->ldx, index, x.rows, x.cols, fa_input_factor(run));
        if (run->augments) fa_augment_rows(run, rows);
    }
    if (d->y && index) {
        const fa_mat y = fa_get(run, FA_TARGET, rows);
        net->k->gather(y.p, y.ld, d->y, d->ldy, index, y.rows, y.cols, 1);
    }
    for (int64_t r = rows.r0; d->weights && index && r < rows.r1; r++)
        run->work->weights[r] = d->weights[run->index[r]];
}

/* Labels index memory, and another thread may write to the user's array: the engine uses the copy
 * that it has checked. */
static void read_labels(const fa_run *run, fa_rows rows)
{
    for (int64_t r = rows.r0; r < rows.r1; r++) {
        const int64_t label = run->data.labels[run->index ? run->index[r] : r];
        const bool fits = fa_label_fits(run->net, label);
        run->labels[r] = fits ? label : 0;
        if (!fits) atomic_store(&run->work->bad_label, true);
    }
}

/* With one output column, rules that project the target read it as a number. */
static void label_column(const fa_run *run, fa_rows rows)
{
    const fa_mat y = run->buf[FA_TARGET];
    for (int64_t r = rows.r0; r < rows.r1; r++) {
        if (run->net->dtype == FA_F64)
            ((double *)y.p)[r * y.ld] = (double)run->labels[r];
        else
            ((float *)y.p)[r * y.ld] = (float)run->labels[r];
    }
}

void fa_load_batch(const fa_run *run, fa_rows rows)
{
    if (run->net->recurrent) {
        fa_load_sequences(run, rows);
        return;
    }
    gather(run, rows);
    if (run->labels) read_labels(run, rows);
    if (run->labels && run->net->n_out == 1) label_column(run, rows);
}

void fa_forward(const fa_run *run, fa_rows rows, int worker)
{
    fa_load_batch(run, rows);
    fa_forward_layers(run, rows, worker);
}

static void forward_by_chunks(const fa_layer *layer, const fa_run *run, fa_rows rows, int worker)
{
    for (int64_t r = rows.r0; r < rows.r1; r += FA_CHUNK) {
        const fa_rows part = {r, fa_smaller(r + FA_CHUNK, rows.r1)};
        layer->ops->forward(layer, run, fa_all_columns(part, layer->n_out), worker);
    }
}

void fa_forward_layers(const fa_run *run, fa_rows rows, int worker)
{
    const fa_net *net = run->net;
    const bool few = rows.r1 - rows.r0 <= FA_CHUNK;
    for (int i = 0; i < net->n_layers; i++) {
        const fa_layer *layer = &net->layers[i];
        if (run->mode >= FA_PREDICT && layer->ops->flags & FA_TRAIN_ONLY) continue;
        if (few || layer->ops->flags & FA_OVER_TIME)
            layer->ops->forward(layer, run, fa_all_columns(rows, layer->n_out), worker);
        else
            forward_by_chunks(layer, run, rows, worker);
    }
}
