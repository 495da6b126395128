/* The losses of `rows` rows by all threads of a block: LOSS is one of the names below. A row's sums
 * run in column order, in one thread; its elements are divided among all threads. */

enum { LOSS_softmax_cross_entropy, LOSS_sigmoid_cross_entropy, LOSS_mse, LOSS_softmax };

struct loss_arguments {
    control_block *control;
    T *error;         /* e (m x n); of LOSS_softmax the probabilities */
    T *target;        /* Y (m x n), for rules that project it; or NULL */
    int *label;       /* of each row, for such rules; or NULL */
    T *row_weight;    /* of each row, for the update; or NULL */
    double *row_loss; /* of each row, times its weight */
    double *row_hit;
    int m;
    int n;
    int ahead;
    T option; /* of the output's activation */
};

/* What the threads of a row share */
struct loss_row {
    FN(target) target;
    double shortfall;
    int64_t sample;
    T most;
    T scale;
};

FA_INLINE T wanted_at(const FN(target) & target, int j)
{ return target.y ? target.y[j] : (T)(j == target.hot); }

/* One thread: the target, and whether z is right. */
FA_INLINE void begin_row(const int loss, loss_row *row, const loss_arguments &a, int i, const T *z)
{
    const int64_t top = fa_argmax(z, a.n);
    row->most = z[top];
    if (loss == LOSS_softmax) return; /* without targets */
    const control_block *c = a.control;
    const int64_t s = sample_of(c, i, a.m, a.ahead);
    const bool by_label = c->labels != NULL;
    const FN(target) target = fa_target_of_row(c->labels, c->y, a.n, s, a.n);
    double hit = 0;
    row->target = target;
    row->sample = s;
    if (loss == LOSS_softmax_cross_entropy) {
        row->shortfall = fa_shortfall(target, z, a.n, (double)z[top]);
        hit = top == (target.y ? fa_argmax(target.y, a.n) : target.hot);
    } else if (loss == LOSS_sigmoid_cross_entropy) {
        hit = target.y || a.n == 1 ? fa_sides_right(target, z, a.n) : (double)(top == target.hot);
    } else {
        hit = by_label && top == c->labels[s];
    }
    a.row_hit[i] = hit;
    if (a.label && by_label) a.label[i] = (int)c->labels[s];
    if (a.row_weight && c->weights) a.row_weight[i] = (T)c->weights[s];
}

/* One element: e, or e^z for a softmax. sigmoid_cross_entropy leaves the element's loss in z. */
FA_INLINE T error_at(const int loss, const loss_row &row, T *z, int j)
{
    if (loss == LOSS_softmax_cross_entropy || loss == LOSS_softmax)
        return fa_exp(V(z[j]) - row.most).x;
    const T wanted = wanted_at(row.target, j);
    if (loss == LOSS_mse) return z[j] - wanted;
    V element;
    const V error = fa_sigmoid_ce_error(z[j], wanted, &element);
    z[j] = element.x;
    return error.x;
}

/* One thread: the loss. e and z as error_at left them. */
FA_INLINE void end_row(const int loss, loss_row *row, const loss_arguments &a, int i, const T *e,
                       const T *z)
{
    double sum = 0;
    if (loss == LOSS_mse)
        for (int j = 0; j < a.n; j++) sum += (double)e[j] * (double)e[j];
    else if (loss == LOSS_sigmoid_cross_entropy)
        for (int j = 0; j < a.n; j++) sum += (double)z[j];
    else
        for (int j = 0; j < a.n; j++) sum += (double)e[j];
    if (loss == LOSS_softmax_cross_entropy || loss == LOSS_softmax) row->scale = (T)(1 / sum);
    if (loss == LOSS_softmax) return;
    if (loss == LOSS_softmax_cross_entropy) sum = log(sum) + row->shortfall;
    if (loss == LOSS_mse) sum = sum / 2;
    control_block *c = a.control;
    if (c->weights) sum = c->weights[row->sample] * sum;
    a.row_loss[i] = sum;
    /* So far from the largest double that no sum of m of them is infinite */
    if (!(sum <= 1.7e308 / a.m)) c->halt = 1;
}

/* One element of e, at column j. x: what f' of the output is computed from */
FA_INLINE T final_error(const int loss, const int among, const loss_row &row, T e, T x, int j,
                        T option)
{
    if (loss == LOSS_softmax) return e * row.scale;
    if (loss == LOSS_softmax_cross_entropy) return e * row.scale - wanted_at(row.target, j);
    return loss == LOSS_mse ? activate_back(among, 0, e, x, option) : e;
}

/* All threads: the losses of rows i0 .. of the batch, whose z, e and x (what f' of the output is
 * computed from) lie in `stride` columns. begin_row must see all of z. */
template <int rows, int threads>
FA_INLINE void lose_rows(const int loss, const int among, const loss_arguments &a, loss_row *row,
                         int i0, T *z, T *e, const T *x, int stride)
{
    const int mine = (int)threadIdx.x, n_rows = a.m - i0 < rows ? a.m - i0 : rows;
    const int n = a.n, elements = n_rows * n;
    if (mine < n_rows) begin_row(loss, row + mine, a, i0 + mine, z + (size_t)mine * stride);
    __syncthreads();
    for (int t = mine; t < elements; t += threads) {
        const int i = t / n, j = t % n;
        e[(size_t)i * stride + j] = error_at(loss, row[i], z + (size_t)i * stride, j);
    }
    __syncthreads();
    if (mine < n_rows)
        end_row(loss, row + mine, a, i0 + mine, e + (size_t)mine * stride,
                z + (size_t)mine * stride);
    __syncthreads();
    for (int t = mine; t < elements; t += threads) {
        const int i = t / n, j = t % n;
        const unsigned from = at(i, stride, j), to = at(i0 + i, n, j);
        a.error[to] = final_error(loss, among, row[i], e[from], x[from], j, a.option);
        if (a.target) a.target[to] = wanted_at(row[i].target, j);
    }
}
