"""A class on top of fastfa's C library, for code that has no time for Python between samples."""

cimport fastfa as fa
from libc.stdint cimport int64_t


cdef int check(fa.fa_status status) except -1:
    if status != fa.FA_OK:
        raise RuntimeError(fa.fa_last_error().decode())
    return 0


cdef class Learner:
    """A 64-64-32-10 network that learns by direct feedback alignment; or the network of a file."""

    cdef fa.fa_net *net

    def __cinit__(self, str path=None):
        cdef fa.fa_layer_desc[3] layers
        cdef fa.fa_rule_desc rule = fa.fa_rule_of("dfa")
        cdef fa.fa_optimizer_desc optimizer = fa.fa_optimizer_of("sgd", 0.1)
        cdef fa.fa_net_desc desc = fa.fa_net_defaults()
        if path is not None:
            check(fa.fa_load(&self.net, path.encode()))
            return
        layers[0] = fa.fa_dense(64, "tanh")
        layers[1] = fa.fa_dense(32, "tanh")
        layers[2] = fa.fa_dense(10, "linear")
        desc.n_in, desc.n_layers = 64, 3
        desc.layers, desc.rule, desc.optimizer = layers, &rule, &optimizer
        check(fa.fa_net_create(&self.net, &desc))

    def __dealloc__(self):
        fa.fa_net_free(self.net)

    def train(self, const float[:, ::1] x, const int64_t[::1] labels, int epochs):
        """Some epochs in random order, in batches of 32."""
        cdef fa.fa_samples data = samples(x)
        cdef fa.fa_metrics metrics
        cdef fa.fa_status status = fa.FA_OK
        if len(labels) != len(x):
            raise ValueError(f"labels: expected {len(x)} entries, got {len(labels)}")
        data.labels = &labels[0]
        with nogil:
            for _ in range(epochs):
                if status == fa.FA_OK:
                    status = fa.fa_train_epoch(&metrics, self.net, &data, 32)
        check(status)

    def predict(self, const float[:, ::1] x, float[:, ::1] out):
        """Probabilities of the ten digits, into out."""
        cdef fa.fa_samples data = samples(x)
        if out.shape[0] != x.shape[0] or out.shape[1] != 10:
            raise ValueError(f"out: expected shape ({x.shape[0]}, 10), got ({out.shape[0]}, {out.shape[1]})")
        check(fa.fa_predict(&out[0, 0], 10, self.net, &data, False))

    def save(self, str path):
        """The whole network into a file that fastfa.load reads too."""
        check(fa.fa_save(self.net, path.encode()))


cdef fa.fa_samples samples(const float[:, ::1] x) except *:
    if x.shape[0] == 0 or x.shape[1] != 64:
        raise ValueError(f"x: expected shape (n, 64), got ({x.shape[0]}, {x.shape[1]})")
    return fa.fa_samples_of(&x[0, 0], 64, fa.FA_F32, x.shape[0])
