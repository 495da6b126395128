/* Runs an exported network on the samples of a file of floats: prints what it predicts for each and,
 * with labels or rows, the loss of one step on each.
 *
 *     samples predict FILE        FILE: inputs, one sample after another
 *     samples label FILE          FILE: inputs and a label for each sample
 *     samples row FILE            FILE: inputs and targets for each sample
 *
 * The macro NET is the network's file, PREDICT, LEARN_ONE, LEARN_LABEL its functions. */
#include NET

#include <stdio.h>
#include <string.h>

#ifndef REAL
#define REAL float
#endif

static int read_all(REAL *to, int n, FILE *file)
{ return fread(to, sizeof *to, (size_t)n, file) == (size_t)n; }

static void print_all(const REAL *values, int n)
{
    for (int i = 0; i < n; i++) printf("%.9g ", (double)values[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    static REAL x[INPUTS], y[OUTPUTS], out[OUTPUTS];
    FILE *file = argc == 3 ? fopen(argv[2], "rb") : NULL;
    if (!file) return 2;
    while (read_all(x, INPUTS, file)) {
        if (!strcmp(argv[1], "predict")) {
            PREDICT(x, out);
            print_all(out, OUTPUTS);
        }
#ifdef LEARN_ONE
        if (!strcmp(argv[1], "row") && read_all(y, OUTPUTS, file)) {
            out[0] = LEARN_ONE(x, y);
            print_all(out, 1);
        }
#endif
#ifdef LEARN_LABEL
        if (!strcmp(argv[1], "label") && read_all(y, 1, file)) {
            out[0] = LEARN_LABEL(x, (int)y[0]);
            print_all(out, 1);
        }
#endif
    }
    fclose(file);
    (void)y;
    return 0;
}
