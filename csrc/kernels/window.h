/* Windows over images: where each patch begins, and which patches cover a number of the image. */
#ifndef FA_WINDOW_H
#define FA_WINDOW_H

#include "kernels.h"

enum {
    FA_FRAME_ALIGNMENT = 64,
    FA_TALL_TILE = 8, /* rows of a tile of one vector: with fewer, sums would wait for each other */
};

static inline bool fa_is_padded(const fa_window *g)
{ return (g->pad_top | g->pad_bottom | g->pad_left | g->pad_right) != 0; }

/* The row of an image with its padding, in numbers */
static inline int64_t fa_framed_row(const fa_window *g)
{ return (g->pad_left + g->in_w + g->pad_right) * g->channels; }

static inline int64_t fa_framed_size(const fa_window *g)
{ return (g->pad_top + g->in_h + g->pad_bottom) * fa_framed_row(g); }

static inline int64_t fa_patch_size(const fa_window *g)
{ return g->kernel_h * g->kernel_w * g->channels; }

static inline size_t fa_rounded_up(size_t bytes)
{ return (bytes + FA_FRAME_ALIGNMENT - 1) / FA_FRAME_ALIGNMENT * FA_FRAME_ALIGNMENT; }

/* Where the patch of each place of the map begins, in an image with its padding */
static inline void fa_list_patches(int32_t *at, const fa_window *g)
{
    const int64_t down = g->stride_h * fa_framed_row(g), right = g->stride_w * g->channels;
    for (int64_t y = 0; y < g->out_h; y++)
        for (int64_t x = 0; x < g->out_w; x++) *at++ = (int32_t)(y * down + x * right);
}

/* Where each number of a patch lies, from the patch's first */
static inline void fa_list_patch(int32_t *at, const fa_window *g)
{
    const int64_t row = g->kernel_w * g->channels;
    for (int64_t y = 0; y < g->kernel_h; y++)
        for (int64_t x = 0; x < row; x++) *at++ = (int32_t)(y * fa_framed_row(g) + x);
}

enum {
    FA_BACK_BYTES = 32768,
    FA_BACK_PLACES = 16,
    FA_GRADIENT_BYTES = 24576,
    FA_GRADIENT_PLACES = 32, /* with fewer, loading and storing the sums takes too long */
};

/* The columns of a row of the map whose windows cover column x of the image: `n` of them, from the
 * product at `at` on, in numbers of the row's products */
typedef struct {
    int32_t at, n;
} fa_cover;

/* Lists the groups of `runs` runs; the last of a run may overlap the one before it. Returns how
 * many there are. */
static inline int64_t fa_list_groups(int32_t *group, int64_t runs, int64_t run, int64_t q)
{
    int64_t n = 0;
    for (int64_t r = 0; r < runs; r++)
        for (int64_t x = 0; x < run; x += q)
            group[n++] = (int32_t)(r * run + (x + q <= run ? x : run - q));
    return n;
}

/* How many rows of a map are multiplied at a time: what fits the first cache, but at least
 * FA_BACK_PLACES places, since each product reads all weights. */
static inline int64_t fa_back_rows(const fa_window *g, int64_t size)
{
    const int64_t row = g->out_w * fa_patch_size(g) * size;
    int64_t rows = FA_BACK_BYTES / row, least = (FA_BACK_PLACES + g->out_w - 1) / g->out_w;
    if (rows < least) rows = least;
    return rows < g->out_h ? rows : g->out_h;
}

static inline void fa_list_covers(fa_cover *cover, const fa_window *g)
{
    const int64_t patch = fa_patch_size(g);
    for (int64_t x = 0; x < g->in_w; x++) {
        const int64_t end = x + g->pad_left, beyond = end - g->kernel_w + g->stride_w;
        const int64_t first = beyond <= 0 ? 0 : beyond / g->stride_w, last = end / g->stride_w;
        const int64_t n = (last < g->out_w ? last : g->out_w - 1) - first + 1;
        const int64_t at = first * patch + (end - first * g->stride_w) * g->channels;
        cover[x] = n > 0 ? (fa_cover){(int32_t)at, (int32_t)n} : (fa_cover){0, 0};
    }
}

/* The part of a window that is inside the image: its first row and column there, how many of each;
 * `first` is the number of its first place in the window, in row order */
typedef struct {
    int64_t y0, x0, rows, columns, first;
} fa_inside;

/* Of the window at place (y, x) of the map */
static inline fa_inside fa_inside_of(const fa_window *g, int64_t y, int64_t x)
{
    const int64_t top = y * g->stride_h - g->pad_top, left = x * g->stride_w - g->pad_left;
    const int64_t y0 = top < 0 ? 0 : top, x0 = left < 0 ? 0 : left;
    int64_t y1 = top + g->kernel_h, x1 = left + g->kernel_w;
    if (y1 > g->in_h) y1 = g->in_h;
    if (x1 > g->in_w) x1 = g->in_w;
    return (fa_inside){y0, x0, y1 - y0, x1 - x0, (y0 - top) * g->kernel_w + x0 - left};
}

#endif
