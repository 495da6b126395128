/* A batch of a sparse X. Its memory is part of the workspace, for as many entries as a batch of the
 * call can have; nothing has the size rows x n_in. */
#include "engine/sparse.h"
#include "engine/step.h"

#include <string.h>

typedef struct fa_csr_key {
    uint32_t column, entry;
} fa_csr_key;
enum { DIGIT = 11, PLACES = 1 << DIGIT }; /* of the radix sort */

/* ---- memory ---- */

/* The entries of a sample; none where indptr makes no sense. */
static int64_t row_entries(const fa_samples *s, int64_t sample, int64_t *from)
{
    const int64_t begin = fa_index_at(s, s->indptr, sample),
                  end = fa_index_at(s, s->indptr, sample + 1);
    *from = begin;
    return begin >= 0 && begin <= end && end <= s->n_entries ? end - begin : 0;
}

/* Counts rows by the bit length of their number of entries, and adds up the largest of them. A
 * shuffled epoch needs the same memory whatever its order. */
int64_t fa_csr_most_entries(const fa_samples *s, const int64_t *order, int64_t first, int64_t end,
                            int64_t rows)
{
    struct {
        int64_t rows, most;
    } of_length[65] = {{0, 0}};
    if (!fa_is_sparse(s)) return 0;
    for (int64_t i = first; i < end; i++) {
        int64_t from;
        const int64_t n = row_entries(s, order ? order[i] : i, &from);
        const int length = n ? 64 - __builtin_clzll((unsigned long long)n) : 0;
        of_length[length].rows++;
        if (n > of_length[length].most) of_length[length].most = n;
    }
    int64_t sum = 1;
    for (int length = 64; length > 0 && rows > 0; length--) {
        const int64_t n = fa_smaller(rows, of_length[length].rows);
        sum += n * of_length[length].most;
        rows -= n;
    }
    return sum;
}

static void *take(char *memory, size_t *used, int64_t n, size_t size)
{
    void *at = memory ? memory + *used : NULL;
    *used += ((size_t)n * size + 63) & ~(size_t)63;
    return at;
}

fa_csr *fa_csr_place(char *memory, size_t *bytes, const fa_net *net, bool training, int64_t rows,
                     int64_t entries)
{
    fa_csr csr = {0};
    size_t used = 0;
    fa_csr *placed = take(memory, &used, 1, sizeof csr);
    csr.source = take(memory, &used, rows, sizeof *csr.source);
    csr.start = take(memory, &used, rows + 1, sizeof *csr.start);
    csr.column = take(memory, &used, entries, sizeof *csr.column);
    csr.value = take(memory, &used, entries, net->esize);
    if (training) {
        if (net->blocks[0].first > 0) csr.kept = take(memory, &used, entries, net->esize);
        csr.row = take(memory, &used, entries, sizeof *csr.row);
        csr.listed = take(memory, &used, entries, sizeof *csr.listed);
        csr.listed_start = take(memory, &used, entries + 1, sizeof *csr.listed_start);
        csr.listed_row = take(memory, &used, entries, sizeof *csr.listed_row);
        csr.listed_value = take(memory, &used, entries, net->esize);
        for (int i = 0; i < 2; i++) csr.keys[i] = take(memory, &used, entries, sizeof **csr.keys);
        csr.places = take(memory, &used, PLACES, sizeof *csr.places);
    }
    if (bytes) *bytes = used;
    if (placed) *placed = csr;
    return placed;
}

/* ---- a batch ---- */

void fa_csr_begin(const fa_run *run)
{
    fa_csr *csr = run->csr;
    csr->start[0] = 0;
    for (int64_t r = 0; r < run->m; r++) {
        int64_t n = row_entries(&run->data, run->index ? run->index[r] : r, &csr->source[r]);
        if (n > run->work->entries - csr->start[r]) { /* fewer when memory was reserved */
            atomic_store(&run->work->bad_entry, true);
            n = 0;
        }
        csr->start[r + 1] = csr->start[r] + n;
    }
}

static void load_row(const fa_run *run, int64_t r)
{
    const fa_csr *csr = run->csr;
    const fa_samples *s = &run->data;
    const fa_net *net = run->net;
    const int64_t from = csr->source[r], to = csr->start[r], n = csr->start[r + 1] - to;
    int64_t before = -1;
    bool bad = false;
    for (int64_t t = 0; t < n; t++) {
        const int64_t column = fa_index_at(s, s->indices, from + t);
        const bool fits = column >= 0 && column < net->n_in;
        bad |= !fits || column <= before;
        csr->column[to + t] = fits ? (int32_t)column : 0;
        before = column;
    }
    if (bad) atomic_store(&run->work->bad_entry, true);
    for (int64_t t = 0; csr->row && t < n; t++) csr->row[to + t] = (int32_t)r;
    char *const value = (char *)csr->value + (size_t)to * net->esize;
    if (n == 0) return;
    if (s->x_dtype == FA_U8)
        net->k->gather_u8(value, n, (const uint8_t *)s->x + from, n, NULL, 1, n,
                          fa_byte_divisor(net));
    else
        net->k->gather(value, n, (const char *)s->x + (size_t)from * net->esize, n, NULL, 1, n,
                       fa_input_factor(run));
}

void fa_csr_load(const fa_run *run, fa_rows rows)
{
    const fa_net *net = run->net;
    for (int64_t r = rows.r0; r < rows.r1; r++) load_row(run, r);
    const bool shows_input = net->barrier_rule && run->mode < FA_PREDICT; /* to the user's rule */
    if (!shows_input && fa_reads_entries(net)) return;
    const fa_mat x = fa_get(run, FA_INPUT, rows);
    for (int64_t i = 0; i < x.rows; i++)
        memset(x.p + (size_t)(i * x.ld) * net->esize, 0, (size_t)x.cols * net->esize);
    fa_csr_add(run, rows, x);
}

void fa_csr_add(const fa_run *run, fa_rows rows, fa_mat x)
{
    const fa_csr *csr = run->csr;
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t t = csr->start[rows.r0 + i]; t < csr->start[rows.r0 + i + 1]; t++) {
            const int64_t at = i * x.ld + csr->column[t];
            if (run->net->dtype == FA_F64)
                ((double *)x.p)[at] += ((const double *)csr->value)[t];
            else
                ((float *)x.p)[at] += ((const float *)csr->value)[t];
        }
}

bool fa_csr_finite(const fa_run *run, fa_rows rows)
{
    const int64_t from = run->csr->start[rows.r0], n = run->csr->start[rows.r1] - from;
    const char *value = (const char *)run->csr->value + (size_t)from * run->net->esize;
    return run->net->k->all_finite(value, n, 1, n);
}

bool fa_reads_entries(const fa_net *net)
{
    for (int i = 0; i <= net->blocks[0].first; i++)
        if (!net->layers[i].ops->sparse) return false;
    return true;
}

const void *fa_csr_values(const fa_run *run, fa_buf b)
{
    const fa_csr *csr = run->csr;
    if (!csr || !fa_reads_entries(run->net)) return NULL;
    if (b == FA_INPUT) return csr->value;
    for (int i = 0; i < run->net->blocks[0].first; i++)
        if (run->net->layers[i].out == b) return run->mode < FA_PREDICT ? csr->kept : csr->value;
    return NULL;
}

/* ---- products ---- */

void fa_csr_matmul(const fa_run *run, const void *values, fa_rows rows, fa_mat c, fa_mat w,
                   const fa_epilogue *epilogue)
{
    const fa_csr *csr = run->csr;
    run->net->k->csr_product(c.p, c.ld, csr->start + rows.r0, csr->column, values, w.p, w.ld,
                             c.rows, c.cols, epilogue);
}

/* Sorts the entries by column, in a stable way, so that rows ascend in each column. */
static const fa_csr_key *sort_by_column(const fa_csr *csr, int64_t n, int64_t n_in)
{
    fa_csr_key *from = csr->keys[0], *to = csr->keys[1];
    for (int64_t t = 0; t < n; t++) from[t] = (fa_csr_key){(uint32_t)csr->column[t], (uint32_t)t};
    for (int shift = 0; shift < 32 && (n_in - 1) >> shift > 0; shift += DIGIT) {
        uint32_t *place = csr->places, sum = 0;
        memset(place, 0, PLACES * sizeof *place);
        for (int64_t t = 0; t < n; t++) place[from[t].column >> shift & (PLACES - 1)]++;
        for (int i = 0; i < PLACES; i++) {
            const uint32_t count = place[i];
            place[i] = sum;
            sum += count;
        }
        for (int64_t t = 0; t < n; t++)
            to[place[from[t].column >> shift & (PLACES - 1)]++] = from[t];
        fa_csr_key *const sorted = to;
        to = from, from = sorted;
    }
    return from;
}

void fa_csr_by_columns(const fa_run *run)
{
    const fa_net *net = run->net;
    fa_csr *csr = run->csr;
    const void *values = fa_csr_values(run, net->blocks[0].layer->in);
    const int64_t n = csr->start[run->m];
    const fa_csr_key *sorted = sort_by_column(csr, n, net->n_in);
    csr->n_listed = 0;
    for (int64_t t = 0; t < n; t++) {
        const uint32_t entry = sorted[t].entry;
        if (t == 0 || sorted[t].column != sorted[t - 1].column) {
            csr->listed[csr->n_listed] = (int32_t)sorted[t].column;
            csr->listed_start[csr->n_listed++] = t;
        }
        csr->listed_row[t] = csr->row[entry];
        if (net->dtype == FA_F64)
            ((double *)csr->listed_value)[t] = ((const double *)values)[entry];
        else
            ((float *)csr->listed_value)[t] = ((const float *)values)[entry];
    }
    csr->listed_start[csr->n_listed] = n;
}

/* The first of the listed columns that is not below `column`. */
static int64_t first_listed(const fa_csr *csr, int64_t column)
{
    int64_t low = 0, high = csr->n_listed;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (csr->listed[middle] < column)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void fa_csr_gradient(const fa_run *run, fa_rows i, fa_mat g, fa_mat d, double alpha, double beta)
{
    const fa_csr *csr = run->csr;
    const int64_t a = first_listed(csr, i.r0), n = first_listed(csr, i.r1) - a;
    run->net->k->csr_gradient(g.p, g.ld, csr->listed + a, csr->listed_start + a, n, csr->listed_row,
                              csr->listed_value, d.p, d.ld, i.r0, i.r1, g.cols, alpha, beta);
}
