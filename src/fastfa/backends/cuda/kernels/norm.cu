/* The sums of squares of gradients, in the tiles and the order of the CPU engine: `dot` in
 * csrc/kernels/rows.inc. A block has a tile. */

enum { NORM_threads = 128, NORM_lanes = 8 };

struct norm_tile {
    const T *gradient; /* its first entry in the tile */
    int stride;
    int rows;
    int cols;
    int unused;
};

struct norm_arguments {
    control_block *control;
    const norm_tile *tiles;
    double *squares; /* the sum of each tile */
    int ahead;
};

/* ==== once for each variant ==== */

extern "C" __global__ void __launch_bounds__(NORM_threads) KERNEL(norm_arguments a)
{
    __shared__ double square[NORM_threads];
    const norm_tile tile = a.tiles[blockIdx.x];
    if (stops(a.control, a.ahead)) return;
    /* Lane l adds the columns l, l + 8, ... of each row; zeros fill the rows up. */
    const int width = (tile.cols + NORM_lanes - 1) / NORM_lanes * NORM_lanes;
    const int mine = (int)threadIdx.x, n = tile.rows * width;
    double sum = 0;
    for (int begin = 0; begin < n; begin += NORM_threads) {
        const int i = (begin + mine) / width, j = (begin + mine) % width;
        const bool inside = begin + mine < n && j < tile.cols;
        const double g = inside ? (double)tile.gradient[(int64_t)i * tile.stride + j] : 0;
        square[mine] = g * g;
        __syncthreads();
        if (mine < NORM_lanes)
            for (int t = mine; t < NORM_threads; t += NORM_lanes) sum += square[t];
        __syncthreads();
    }
    if (mine < NORM_lanes) square[mine] = sum;
    __syncthreads();
    if (mine == 0)
        a.squares[blockIdx.x] = ((square[0] + square[1]) + (square[2] + square[3])) +
                                ((square[4] + square[5]) + (square[6] + square[7]));
}
