/* The left operand of a layer's product: the activations below it, or the samples of the batch. */

struct layer_input {
    control_block *control;
    const T *left; /* X (m x k); with samples NULL */
    T *kept;       /* with samples: X (m x k) as the layer got it, for the update; or NULL */
    T *raw;        /* with dropouts: X before them, for a second pass; or NULL */
    const dropout *dropouts; /* in front of the first layer */
    int n_dropouts;
    int m;
    int k;
    int ahead;
    T scale; /* samples are multiplied by it, bytes divided */
};

/* samples: 0 a matrix; 1, 2 samples in the epoch's order, numbers or bytes. drops: 0 or 1 */
template <int samples, int drops> struct layer_left {
    const layer_input &in;
    bool keeps; /* this block writes `kept` */
    enum { by_p = 1 };

    __device__ __forceinline__ T operator()(int i, int p) const
    {
        if (!samples) return in.left[at(i, in.k, p)];
        const control_block *c = in.control;
        const int64_t from = sample_of(c, i, in.m, in.ahead) * in.k + p;
        T x = samples == 2 ? (T)((const unsigned char *)c->x)[from] / in.scale
                           : in.scale * ((const T *)c->x)[from];
        if (samples == 1 && keeps && !is_finite(x)) in.control->bad_input = 1;
        if (drops && keeps && in.raw) in.raw[at(i, in.k, p)] = x;
        if (drops) x = drop(x, in.dropouts, in.n_dropouts, c->step + in.ahead, i, p);
        if (keeps) in.kept[at(i, in.k, p)] = x;
        return x;
    }
};
