/* Noise from which rules learn their feedback: a function of (seed, step, layer, row, column) and
 * nothing else. */
#include "rules/rules.h"

#include <string.h>

typedef void draw_fn(void *out, fa_dtype dtype, int64_t first, int64_t n, double size, fa_stream s);

static void draw(draw_fn *fn, const fa_run *run, int block, fa_rows rows, fa_mat out, double size)
{
    const fa_net *net = run->net;
    const fa_stream s =
        fa_rng_stream(net->seed, FA_RNG_NOISE, net->blocks[block].layer->ordinal, run->step);
    for (int64_t i = 0; i < out.rows; i++)
        fn(out.p + (size_t)(i * out.ld) * net->esize, net->dtype, (rows.r0 + i) * out.cols,
           out.cols, size, s);
}

void fa_draw_noise(const fa_run *run, int block, fa_rows rows, fa_mat out, double limit)
{ draw(fa_rng_uniform, run, block, rows, out, limit); }

void fa_draw_normal_noise(const fa_run *run, int block, fa_rows rows, fa_mat out)
{ draw(fa_rng_normal, run, block, rows, out, 1); }

bool fa_learns_from_noise(const fa_run *run, int block)
{
    const fa_param *b = run->net->blocks[block].rule.feedback;
    return b && b->trainable && (run->mode == FA_TRAIN || run->mode == FA_GRADIENTS);
}

fa_status fa_check_masks(const fa_net *net, int block, int from, int end)
{
    for (int b = from; b < end; b++)
        for (int i = net->blocks[b].first + 1; i <= net->blocks[b].last; i++) {
            const char *type = net->layers[i].ops->name;
            if (!strcmp(type, "dropout") || !strcmp(type, "flatten")) continue;
            return fa_fail(FA_E_VALUE,
                           "layer %d: rule '%s': expected no layers but dense, dropout and flatten "
                           "above it, got %s in layer %d",
                           net->blocks[block].first, net->blocks[block].rule.ops->name, type, i);
        }
    return FA_OK;
}
