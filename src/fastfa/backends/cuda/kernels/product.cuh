/* The matrix product of a block of threads: a tile of `rows` x `cols` outputs, of which each thread
 * has high x wide. Every output is one chain of fused multiply-adds over p = 0 .. k - 1 from zero,
 * as in csrc/kernels/kernels.def, gemm: so no size of a tile changes a bit.
 *
 * The operands of `depth` steps of p lie in shared memory, twice: while the threads multiply one
 * part, they have the next one on its way in registers. */

template <int rows_, int cols_, int depth_, int high_, int wide_> struct tile {
    enum {
        rows = rows_,
        cols = cols_,
        depth = depth_,
        high = high_,
        wide = wide_,
        across = cols / wide,
        threads = rows / high * across,
        resident = 512 / threads, /* blocks at a time, with 128 registers of each thread */
        padding = 16 / sizeof(T), /* else a column of a part would lie in one bank */
        left_stride = rows + padding,
        right_stride = cols + padding,
        part = depth * (left_stride + right_stride),
        outputs = high * wide * (int)sizeof(T),        /* bytes of a thread's */
        unrolled = outputs >= 128 ? 1 : 128 / outputs, /* steps: more would need more registers */
        shared = 2 * part,                             /* numbers of shared memory */
    };
};

/* `size` x depth elements of one operand, on their way to shared memory. Source: a function of
 * (i, p), and whether p is the index that runs through memory. */
template <int size, int stride, class Tile> struct transfer {
    enum { count = (size * Tile::depth + Tile::threads - 1) / Tile::threads };
    T kept[count];

    template <class Source>
    __device__ __forceinline__ void load(const Source &source, int i0, int end, int p0, int k)
    {
#pragma unroll
        for (int t = 0; t < count; t++) {
            const int e = (int)threadIdx.x + t * Tile::threads;
            const int i = Source::by_p ? e / Tile::depth : e % size;
            const int p = Source::by_p ? e % Tile::depth : e / size;
            const bool inside = i < size && p < Tile::depth && i0 + i < end && p0 + p < k;
            kept[t] = inside ? source(i0 + i, p0 + p) : (T)0;
        }
    }

    template <class Source> __device__ __forceinline__ void store(const Source &, T *to) const
    {
#pragma unroll
        for (int t = 0; t < count; t++) {
            const int e = (int)threadIdx.x + t * Tile::threads;
            const int i = Source::by_p ? e / Tile::depth : e % size;
            const int p = Source::by_p ? e % Tile::depth : e / size;
            if (i < size && p < Tile::depth) to[p * stride + i] = kept[t];
        }
    }
};

template <class Tile>
FA_INLINE void multiply_step(T (&sum)[Tile::high][Tile::wide], const T *left, const T *right)
{
    T a[Tile::high], b[Tile::wide];
#pragma unroll
    for (int i = 0; i < Tile::high; i++) a[i] = left[i];
#pragma unroll
    for (int j = 0; j < Tile::wide; j++) b[j] = right[j];
#pragma unroll
    for (int i = 0; i < Tile::high; i++)
#pragma unroll
        for (int j = 0; j < Tile::wide; j++) sum[i][j] = fma(a[i], b[j], sum[i][j]);
}

/* The part of a product that lies in shared memory; elements beyond k are not in the chain. */
template <class Tile>
FA_INLINE void multiply_part(T (&sum)[Tile::high][Tile::wide], const T *part, int left_of_k)
{
    const T *left = part + (int)threadIdx.x / Tile::across * Tile::high;
    const T *right =
        part + Tile::depth * Tile::left_stride + (int)threadIdx.x % Tile::across * Tile::wide;
    if (left_of_k >= Tile::depth) {
#pragma unroll(Tile::unrolled)
        for (int p = 0; p < Tile::depth; p++)
            multiply_step<Tile>(sum, left + p * Tile::left_stride, right + p * Tile::right_stride);
    } else {
        for (int p = 0; p < left_of_k; p++)
            multiply_step<Tile>(sum, left + p * Tile::left_stride, right + p * Tile::right_stride);
    }
}

/* sum = the outputs of this thread in the tile whose first one is (i0, j0), of an m x n product of
 * left(i, p) and right(j, p). All threads of the block call it; shared: Tile::shared numbers, which
 * some threads may still read when others return. */
template <class Tile, class Left, class Right>
FA_INLINE void multiply(T (&sum)[Tile::high][Tile::wide], T *shared, const Left &left,
                        const Right &right, int i0, int j0, int m, int n, int k)
{
    transfer<Tile::rows, Tile::left_stride, Tile> next_left;
    transfer<Tile::cols, Tile::right_stride, Tile> next_right;
#pragma unroll
    for (int i = 0; i < Tile::high; i++)
#pragma unroll
        for (int j = 0; j < Tile::wide; j++) sum[i][j] = 0;
    T *now = shared, *then = shared + Tile::part;
    for (int p0 = -Tile::depth; p0 < k; p0 += Tile::depth) {
        const bool more = p0 + Tile::depth < k;
        if (more) {
            next_left.load(left, i0, m, p0 + Tile::depth, k);
            next_right.load(right, j0, n, p0 + Tile::depth, k);
        }
        if (p0 >= 0) multiply_part<Tile>(sum, now, k - p0);
        if (more) {
            next_left.store(left, then);
            next_right.store(right, then + Tile::depth * Tile::left_stride);
            __syncthreads();
        }
        T *const read = now;
        now = then;
        then = read;
    }
}

/* done(i, j, x) for the outputs of this thread, each written out: for few of them. */
template <class Tile, class Done>
FA_INLINE void each_by_itself(const T (&sum)[Tile::high][Tile::wide], int i0, int j0, int m, int n,
                              const Done &done)
{
    i0 += (int)threadIdx.x / Tile::across * Tile::high;
    j0 += (int)threadIdx.x % Tile::across * Tile::wide;
#pragma unroll
    for (int i = 0; i < Tile::high; i++)
#pragma unroll
        for (int j = 0; j < Tile::wide; j++)
            if (i0 + i < m && j0 + j < n) done(i0 + i, j0 + j, sum[i][j]);
}

/* The same in a loop, of which there is one copy: outputs go through shared memory, one row of each
 * thread at a time, so that neighbouring threads also have neighbouring columns. */
template <class Tile, class Done>
FA_INLINE void each_in_a_loop(const T (&sum)[Tile::high][Tile::wide], T *shared, int i0, int j0,
                              int m, int n, const Done &done)
{
    const int mine = (int)threadIdx.x;
#pragma unroll 1
    for (int i = 0; i < Tile::high; i++) {
        __syncthreads();
#pragma unroll
        for (int q = 0; q < Tile::high; q++) /* registers have no variable index */
            if (q == i)
#pragma unroll
                for (int j = 0; j < Tile::wide; j++) shared[mine * Tile::wide + j] = sum[q][j];
        __syncthreads();
#pragma unroll 1
        for (int t = 0; t < Tile::wide; t++) {
            const int at = t * Tile::threads + mine;
            const int row = i0 + at / Tile::cols * Tile::high + i, col = j0 + at % Tile::cols;
            if (row < m && col < n) done(row, col, shared[at]);
        }
    }
}

/* Calls done(i, j, x) for each output x of the block that lies in the m x n matrix. All threads
 * call it, after multiply with the same `shared`. */
template <class Tile, class Done>
FA_INLINE void for_each_output(const T (&sum)[Tile::high][Tile::wide], T *shared, int i0, int j0,
                               int m, int n, const Done &done)
{
    if (Tile::outputs <= 16)
        each_by_itself<Tile>(sum, i0, j0, m, n, done);
    else
        each_in_a_loop<Tile>(sum, shared, i0, j0, m, n, done);
}

/* ---- operands ---- */

/* Element (i, p) is at [i][p]. */
struct by_row {
    const T *of;
    int stride;
    enum { by_p = 1 };
    __device__ __forceinline__ T operator()(int i, int p) const { return of[at(i, stride, p)]; }
};

/* Element (i, p) is at [p][i]. */
struct by_column {
    const T *of;
    int stride;
    enum { by_p = 0 };
    __device__ __forceinline__ T operator()(int i, int p) const { return of[at(p, stride, i)]; }
};
