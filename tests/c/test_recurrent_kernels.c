/* The kernels of recurrent layers against loops, in every width. */
#include "isas.h"

enum { ROWS = 5, COLS = 37, LD = 41 };
typedef double matrix[ROWS][LD];

static double worst(matrix a, matrix b, int cols)
{
    double most = 0;
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < LD; j++)
            most = fmax(most, j < cols ? fabs(a[i][j] - b[i][j]) : a[i][j] != b[i][j]);
    return most;
}

static double errors_of(const fa_kernels *k, int cols)
{
    matrix a, b, c, e, out, expected;
    double most = 0;
    double *const all[] = {a[0], b[0], c[0], e[0], out[0]};
    for (int i = 0; i < 5; i++) fill(DOUBLE, all[i], ROWS * LD, -1, 1);
    memcpy(expected, out, sizeof out);
    k->leak(out, LD, a, LD, b, LD, ROWS, cols, 0.3);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < cols; j++) expected[i][j] = 0.3 * a[i][j] + 0.7 * b[i][j];
    most = larger(most, worst(out, expected, cols));
    k->leak(out, LD, a, LD, NULL, 0, ROWS, cols, 0.3);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < cols; j++) expected[i][j] = 0.3 * a[i][j];
    most = larger(most, worst(out, expected, cols));
    k->carry(out, LD, a, LD, b, LD, c[0], ROWS, cols, 0.4);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < cols; j++)
            expected[i][j] = a[i][j] + 0.4 * expected[i][j] + b[i][j] * c[0][j];
    most = larger(most, worst(out, expected, cols));
    k->carry(out, LD, a, LD, NULL, 0, NULL, ROWS, cols, 0.4);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < cols; j++) expected[i][j] = a[i][j] + 0.4 * expected[i][j];
    most = larger(most, worst(out, expected, cols));

    matrix before;
    memcpy(before, e, sizeof e);
    k->trace(out, LD, e, LD, a[0], b[0], c[0], c[1], ROWS, cols, -0.2, 0.9);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < cols; j++) {
            before[i][j] = c[0][j] * before[i][j] + a[0][i] * b[0][j];
            expected[i][j] = 0.9 * expected[i][j] - 0.2 * c[1][j] * before[i][j];
        }
    most = larger(most, worst(e, before, cols));
    most = larger(most, worst(out, expected, cols));
    k->trace(NULL, 0, e, LD, NULL, b[0], c[0], NULL, ROWS, cols, 0, 0);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < cols; j++) before[i][j] = c[0][j] * before[i][j] + b[0][j];
    most = larger(most, worst(e, before, cols));
    for (int j = 0; j < COLS; j++) out[0][j] = NAN;
    k->trace(out, LD, e, LD, a[0], b[0], c[0], c[1], ROWS, cols, 1, 0);
    return isfinite(out[0][0]) && isfinite(out[0][cols - 1]) ? most : INFINITY;
}

int main(void)
{
    find_isas();
    for (int s = 0; s < n_isas; s++) {
        double most = 0;
        for (int cols = 1; cols <= COLS; cols++)
            most = larger(most, errors_of(&isas[s].rows[DOUBLE], cols));
        check(most < 1e-14, isas[s].name, DOUBLE, "leak, carry and trace in every width", most);
    }
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed > 0;
}
