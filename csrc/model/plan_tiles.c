/* Divides the update into work items: tiles of parameters, column work items, and rows of per-step
 * feedback. A parameter of rows x cols, in parts of columns and, in these, in tiles of rows:
 *
 *   tiles                                column work items, here for two threads
 *                                            thread 0        thread 1
 *      part 0     part 1     part 2        part 0  part 1  part 0  part 1
 *    +----------+----------+----------+   +-------+-------+-------+-------+
 *    | tile 0   | tile 2   | tile 4   |   | item0 | item2 | item0 | item2 |
 *    |----------|----------|----------|   |-------|-------|-------|-------|
 *    | tile 1   | tile 3   | tile 5   |   | item1 | item3 | item1 | item3 |
 *    +----------+----------+----------+   +-------+-------+-------+-------+
 *
 * A tile is a task of any thread. Of a column work item every thread does the part in its own
 * columns, the same in every step (engine/step_by_columns.c). */
#include "model/declare.h"

#include <math.h>

/* The size of tiles: their columns; their entries if the product writes the parameter itself
 * (direct); and their entries if the gradient waits in cache for the optimizer (waiting). Measured:
 * bench/RESULTS.md, "How large should blocks and tiles be?", by bench/studies/ab.c. */
typedef struct fa_tile_size {
    int64_t cols, direct, waiting;
} fa_tile_size;

enum { TILE_AREA_MIN = 2048 };
static const fa_tile_size shared_size = {256, 32768, FA_TILE_AREA},
                          serial_size = {512, 262144, FA_TILE_AREA};

static bool is_direct(const fa_param *p) { return p->in_place && !p->coupled; }

/* Divides a parameter into tiles; if tasks is NULL it only counts them. The number of threads plays
 * no part, so sums over tiles (clipping) have the same order for any number. */
static int64_t partition_param(const fa_net *net, int param, fa_tile_size size, fa_tile_task *tasks)
{
    const fa_param *p = &net->params[param];
    if (!p->trainable) return 0;
    const int64_t area = is_direct(p) ? size.direct : size.waiting;
    const int64_t parts = fa_ceil_div(p->cols, size.cols);
    const int64_t width = fa_ceil_div(p->cols, parts);
    /* Rows of W are columns of coupled feedback: 16 of them are a whole cache line of it. */
    const int64_t unit = p->coupled ? 16 : 8;
    const int64_t height = fa_round_up(area / width > unit ? area / width : unit, unit);
    int64_t n = 0;
    for (int64_t part = 0; part < parts; part++)
        for (int64_t i = 0; i < p->rows; i += height, n++) {
            if (!tasks) continue;
            const fa_tile t = {i, i + height < p->rows ? i + height : p->rows,
                               fa_partition(p->cols, part, parts),
                               fa_partition(p->cols, part + 1, parts)};
            tasks[n] = (fa_tile_task){param, t};
        }
    return n;
}

static fa_status partition_tiles(fa_net *net, fa_tile_size size, fa_tile_task **tiles,
                                 int64_t *n_tiles)
{
    int64_t n = 0;
    for (int i = 0; i < net->n_params; i++) n += partition_param(net, i, size, NULL);
    *tiles = fa_net_alloc(net, n, sizeof **tiles);
    if (!*tiles) return fa_fail(FA_E_MEMORY, "out of memory for the plan");
    for (int i = 0; i < net->n_params; i++)
        *n_tiles += partition_param(net, i, size, *tiles + *n_tiles);
    for (int64_t i = 0; i < n; i++) {
        const fa_tile t = (*tiles)[i].tile;
        if (t.j1 - t.j0 > net->tile_cols) net->tile_cols = t.j1 - t.j0;
        if (!is_direct(&net->params[(*tiles)[i].param])) /* its gradient */
            fa_plan_scratch(net, (size_t)((t.i1 - t.i0) * (t.j1 - t.j0)) * net->esize);
    }
    return FA_OK;
}

/* Divides a parameter into column work items, for two threads; with more, each has fewer columns.
 * If items is NULL it only counts them, and plans the scratch memory that they need. */
static int64_t partition_by_columns(fa_net *net, int param, fa_column_item *items)
{
    const fa_param *p = &net->params[param];
    if (!p->trainable) return 0;
    const int32_t parts = (int32_t)((p->cols + 2 * shared_size.cols - 1) / (2 * shared_size.cols));
    const int64_t width = fa_partition_width(p->cols, 2 * parts);
    const int64_t area = is_direct(p) ? shared_size.direct : shared_size.waiting;
    const int64_t blocks = fa_ceil_div(p->rows * width, area);
    const int64_t height = fa_round_up(fa_ceil_div(p->rows, blocks), p->coupled ? 16 : 8);
    if (!items && !is_direct(p)) fa_plan_scratch(net, (size_t)(height * width) * net->esize);
    int64_t n = 0;
    for (int32_t part = 0; part < parts; part++)
        for (int64_t r = 0; r < p->rows; r += height, n++) {
            if (!items) continue;
            const fa_rows rows = {r, r + height < p->rows ? r + height : p->rows};
            items[n] = (fa_column_item){param, part, parts, rows};
        }
    return n;
}

static fa_status plan_column_items(fa_net *net)
{
    int64_t n = 0;
    for (int i = 0; i < net->n_params; i++) n += partition_by_columns(net, i, NULL);
    net->column_items = fa_net_alloc(net, n, sizeof *net->column_items);
    if (!net->column_items) return fa_fail(FA_E_MEMORY, "out of memory for the plan");
    for (int i = 0; i < net->n_params; i++)
        net->n_column_items +=
            partition_by_columns(net, i, net->column_items + net->n_column_items);
    return FA_OK;
}

/* Divides the matrix that a rule makes for each step into rows of about the size of a tile; the
 * entries of a sparse one (nnz in each column) are gathered by one task. If tasks is NULL it only
 * counts them. */
static int64_t partition_feedback(const fa_net *net, int block, fa_feedback_task *tasks)
{
    const fa_block *b = &net->blocks[block];
    if (!b->needs_delta) return 0;
    const int64_t rows = b->rule.nnz ? b->rule.nnz : b->rule.step_rows;
    const int64_t height =
        b->rule.nnz ? rows : fa_round_up(FA_TILE_AREA / fa_feedback_cols(net, block) + 1, 16);
    int64_t n = 0;
    for (int64_t r = 0; r < rows; r += height, n++)
        if (tasks) tasks[n] = (fa_feedback_task){block, {r, r + height < rows ? r + height : rows}};
    return n;
}

static fa_status plan_feedback_tasks(fa_net *net)
{
    int64_t n = 0;
    for (int b = 0; b < net->n_blocks; b++) n += partition_feedback(net, b, NULL);
    if (n == 0) return FA_OK;
    net->feedback_tasks = fa_net_alloc(net, n, sizeof *net->feedback_tasks);
    if (!net->feedback_tasks) return fa_fail(FA_E_MEMORY, "out of memory for the plan");
    for (int b = 0; b < net->n_blocks; b++)
        net->n_feedback_tasks +=
            partition_feedback(net, b, net->feedback_tasks + net->n_feedback_tasks);
    return FA_OK;
}

fa_status fa_plan_tiles(fa_net *net)
{
    double entries = 0;
    for (int i = 0; i < net->n_params; i++)
        entries += (double)net->params[i].rows * (double)net->params[i].cols;
    const double share = fmax(TILE_AREA_MIN, entries / 16);
    const fa_tile_size shared = {shared_size.cols, (int64_t)fmin(share, (double)shared_size.direct),
                                 (int64_t)fmin(share, (double)shared_size.waiting)};
    FA_TRY(partition_tiles(net, shared, &net->tiles, &net->n_tiles));
    /* With BLAS only the same tiles give the same bits. */
    FA_TRY(partition_tiles(net, net->blas ? shared : serial_size, &net->serial_tiles,
                           &net->n_serial_tiles));
    FA_TRY(plan_column_items(net));
    if (net->optim.desc.l1 != 0) net->scratch_size *= 2; /* the second half: add_l1 in update.c */
    return plan_feedback_tasks(net);
}
