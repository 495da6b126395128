/* The products with compressed rows, of every instruction set here, against the products with the
 * same matrix stored with its zeros: the same bits. */
#include "matrices.h"

static const int64_t widths[] = {0,  1,  3,  4,  5,  8,  9,   15,  16,  17,  31,  33,
                                 47, 64, 65, 79, 96, 97, 127, 128, 129, 145, 200, 300};
enum { N_WIDTHS = sizeof widths / sizeof *widths, MOST_ROWS = 40, MOST_ENTRIES = 40 * 40 };

/* A matrix with zeros; its entries row after row, and column after column. */
typedef struct {
    matrix dense;
    int64_t start[MOST_ROWS + 1], listed_start[MOST_ROWS + 1], n_listed;
    int32_t column[MOST_ENTRIES], listed[MOST_ROWS], row[MOST_ENTRIES];
    matrix value, by_column;
} compressed;

/* Every third row and every fourth column has no entries; some entries are zeros. */
static void compress(compressed *x, int64_t rows, int64_t cols)
{
    x->dense = drawn(rows, cols, 1);
    x->value = empty(1, MOST_ENTRIES, 0), x->by_column = empty(1, MOST_ENTRIES, 0);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            if (i % 3 == 1 || j % 4 == 2 || (i * 7 + j * 5) % 3) put(&x->dense, i, j, 0);
    x->start[0] = x->listed_start[0] = x->n_listed = 0;
    for (int64_t i = 0, n = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            if (at(&x->dense, i, j) == 0 && (i + j) % 11) continue;
            x->column[n] = (int32_t)j;
            put(&x->value, 0, n++, at(&x->dense, i, j));
        }
        x->start[i + 1] = n;
    }
    for (int64_t j = 0, n = 0; j < cols; j++) {
        const int64_t before = n;
        for (int64_t i = 0; i < rows; i++) {
            if (at(&x->dense, i, j) == 0) continue;
            x->row[n] = (int32_t)i;
            put(&x->by_column, 0, n++, at(&x->dense, i, j));
        }
        if (n == before) continue;
        x->listed[x->n_listed++] = (int32_t)j;
        x->listed_start[x->n_listed] = n;
    }
}

static void drop(compressed *x)
{ free(x->dense.memory), free(x->value.memory), free(x->by_column.memory); }

/* Zeros of both signs are the same. */
static void compare(const char *what, const matrix *a, const matrix *b)
{
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = 0; j < a->cols; j++) equal(what, i, j, at(a, i, j), at(b, i, j));
}

static void check_product(const compressed *x, int64_t n)
{
    const int64_t m = x->dense.rows, k = x->dense.cols;
    matrix b = bare(drawn(k, n, 2)), bias = bare(drawn(1, n, 0)), c = empty(m, n, 3), c2 = copy(&c);
    for (int kind = 0; kind < 4; kind++) {
        atomic_bool nonfinite = false;
        const fa_epilogue e = {
            .bias = kind & 1 ? bias.p : NULL, .relu = kind & 2, .nonfinite = &nonfinite};
        kernels->csr_product(c.p, c.ld, x->start, x->column, x->value.p, b.p, b.ld, m, n, &e);
        kernels->gemm(c2.p, c2.ld, x->dense.p, x->dense.ld, 1, b.p, b.ld, m, n, k, 1, 0, &e, NULL);
        compare("csr_product", &c, &c2);
        equal("csr_product: finite", m, n, nonfinite, 0);
        if (x->start[m] == 0 || n == 0) continue;
        const int64_t last =
            x->column[x->start[m] - 1]; /* an entry of the last rows alone reads it */
        const double before = at(&b, last, n - 1);
        put(&b, last, n - 1, kind & 1 ? NAN : INFINITY);
        kernels->csr_product(c.p, c.ld, x->start, x->column, x->value.p, b.p, b.ld, m, n, &e);
        equal("csr_product: not finite", m, n, nonfinite, 1);
        put(&b, last, n - 1, before);
    }
    finish_output(&c), finish_output(&c2);
    free(b.memory), free(bias.memory);
}

/* Rows i0 .. i1 - 1 of g = alpha X^T D + beta g */
static void check_gradient(const compressed *x, int64_t n, int64_t i0, int64_t i1)
{
    static const struct {
        double alpha, beta;
    } scales[] = {{-0.1, 1}, {0.5, 0}, {1, 0}, {-0.25, 0.75}};
    const int64_t m = x->dense.rows;
    int64_t from = 0, to;
    while (from < x->n_listed && x->listed[from] < i0) from++;
    for (to = from; to < x->n_listed && x->listed[to] < i1;) to++;
    matrix d = bare(drawn(m, n, 1));
    for (int s = 0; s < 4; s++) {
        matrix g = drawn(i1 - i0, n, 2), g2 = copy(&g);
        kernels->csr_gradient(g.p, g.ld, x->listed + from, x->listed_start + from, to - from,
                              x->row, x->by_column.p, d.p, d.ld, i0, i1, n, scales[s].alpha,
                              scales[s].beta);
        kernels->gemm(g2.p, g2.ld, (char *)x->dense.p + (size_t)i0 * size(), 1, x->dense.ld, d.p,
                      d.ld, i1 - i0, n, m, scales[s].alpha, scales[s].beta, NULL, NULL);
        compare("csr_gradient", &g, &g2);
        finish_output(&g), finish_output(&g2);
    }
    free(d.memory);
}

static void test_all(void)
{
    static const int64_t sizes[] = {0, 1, 2, 9, 33, MOST_ROWS};
    for (int i = 0; i < 6; i++)
        for (int w = 0; w < N_WIDTHS; w++) {
            static compressed x;
            const int64_t cols = sizes[(i + w) % 6];
            compress(&x, sizes[i], cols);
            check_product(&x, widths[w]);
            check_gradient(&x, widths[w], 0, cols);
            check_gradient(&x, widths[w], cols / 3, cols - cols / 4);
            drop(&x);
        }
    verdict("csr_product, csr_gradient: the bits of products with the zeros");
}

int main(void) { return on_every_flavour(test_all); }
