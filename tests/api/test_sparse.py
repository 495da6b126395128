"""A sparse X: what comes of it is what comes of the same X as an array, and it is never dense."""

from types import SimpleNamespace

import numpy as np
import pytest
from processes import run_python
from small import AtStep, copies

import fastfa as fa
from fastfa import _core
from fastfa._internal.sparse import SparseRows, sparse_rows
from fastfa.backends import reference

sparse = pytest.importorskip("scipy.sparse")

M, N_IN, N_OUT = 90, 40, 3
RNG = np.random.default_rng(0)
X = sparse.random_array((M, N_IN), density=0.15, rng=RNG, format="csr")
X.data = RNG.normal(size=X.nnz)
X = X.astype(np.float32)
for empty in (0, 8, M - 1):  # rows of zeros, which are stored
    X.data[X.indptr[empty] : X.indptr[empty + 1]] = 0
X = sparse.csr_array(sparse.vstack([X[:40], sparse.csr_array((1, N_IN)), X[41:]]), dtype=X.dtype)
DENSE = X.toarray()
Y = RNG.integers(0, N_OUT, M)
WEIGHTS = RNG.random(M)


def network(**options):
    layers = [fa.Dense(17, "relu"), fa.Dropout(0.2), fa.Dense(9, "tanh"), fa.Dense(N_OUT)]
    options = {"layers": layers, "rule": "dfa", "rng": 3, "input_shape": N_IN} | options
    return fa.Sequential(options.pop("layers"), **options)


def same(first, second):
    """Compare what is nested in lists, tuples and dictionaries."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        first, second = first.values(), second.values()
    elif not isinstance(first, (list, tuple)):
        np.testing.assert_array_equal(first, second)
        return
    for a, b in zip(first, second, strict=True):
        same(a, b)


def without_time(history):
    return {key: values for key, values in history.history.items() if key != "time"}


def everything(x, y=Y, **options):
    """All that a network computes from the samples."""
    net = network(**options)
    metrics = ["rmse"] if options.get("loss") == "mse" else ["f1"]
    results = [
        without_time(
            net.fit(
                x, y, epochs=2, batch_size=20, sample_weight=WEIGHTS,
                validation_data=(x[:30], y[:30]), metrics=metrics, verbose=False,
            )
        ),
        without_time(net.fit(x, y, batch_size=64, shuffle=False, verbose=False)),
        without_time(net.fit(x, y, 2, 16, validation_split=0.3, metrics=metrics, verbose=False)),
        without_time(net.fit(x, y, callbacks=[AtStep(40, lambda net: None)], verbose=False)),
        net.evaluate(x, y, WEIGHTS, metrics=metrics),
        net.learn_many(x, y),
        net.predict(x),
        net.predict(x, "logits"),
        net.train_batch(x, y),
        net.train_batch(x[:4], y[:4], WEIGHTS[:4]),
        net.gradients(x, y),
        net.alignment(x, y),
    ]  # fmt: skip
    return copies(net), results


# ---- the bits of an array ----


@pytest.mark.parametrize("rule", [name for name in _core.NAMES["rule"] if name != "custom"])
def test_every_rule_has_the_bits_of_an_array(rule):
    options = {"rule": rule, "optimizer": fa.SGD(0.05)}
    same(everything(X, **options), everything(DENSE, **options))


@pytest.mark.parametrize(
    "optimizer",
    [
        fa.SGD(0.05, momentum=0.9, nesterov=True),
        fa.SGD(0.05, weight_decay=0.01),
        fa.SGD(0.05, clip_norm=0.1),
        fa.SGD(lambda step: 0.1 / (1 + step)),
        fa.RMSprop(0.01),
        fa.Adam(0.01),
        fa.AdamW(0.01, clip_norm=1.0),
    ],
    ids=repr,
)
def test_every_optimizer_has_the_bits_of_an_array(optimizer):
    options = {"optimizer": optimizer, "dtype": "float64", "n_threads": 2}
    same(everything(X, **options), everything(DENSE, **options))


def test_targets_in_rows_and_other_losses():
    rows = RNG.random((M, N_OUT))
    options = {"loss": "mse", "optimizer": fa.SGD(0.01)}
    same(everything(X, rows, **options), everything(DENSE, rows, **options))
    large = np.asfortranarray(rows)  # converted on the way
    same(everything(X, large, **options), everything(DENSE, large, **options))


@pytest.mark.parametrize("rule", ["backprop", "pepita"])
def test_dropout_on_the_input(rule):
    layers = [fa.Dropout(0.5), fa.Dropout(0.1), fa.Dense(8, "relu"), fa.Dense(N_OUT)]
    options = {"layers": layers, "rule": rule, "optimizer": fa.SGD(0.05)}
    same(everything(X, **options), everything(DENSE, **options))


def test_a_network_without_hidden_layers():
    options = {"layers": [fa.Dense(N_OUT)], "rule": "backprop"}
    same(everything(X, **options), everything(DENSE, **options))


def test_a_frozen_first_layer():
    layers = [fa.Dense(8, "relu", trainable=False), fa.Dense(5, "relu"), fa.Dense(N_OUT)]
    same(everything(X, layers=layers), everything(DENSE, layers=layers))


class Projected(fa.Rule):
    """Its signal is a part of the input."""

    def __init__(self, seen):
        self.seen = seen

    def signal(self, ctx):
        self.seen.append(ctx.inputs)
        return ctx.inputs[:, : ctx.units]


def test_a_rule_in_python_sees_a_dense_input():
    results, seen = [], ([], [])
    for x, of in zip((X, DENSE), seen, strict=True):
        net = network(rule=Projected(of), layers=[fa.Dense(8, "tanh"), fa.Dense(N_OUT)])
        net.fit(x, Y, batch_size=30, shuffle=False, verbose=False)
        results.append((copies(net), net.predict(x)))
    same(*results)
    same(*seen)
    same(seen[0][0], DENSE[:30])


@pytest.mark.parametrize("scale", ["auto", 1.0, -0.5])
def test_bytes_and_scales(scale):
    x = sparse.csr_array(np.where(DENSE > 0, 100 + 50 * DENSE, 0).astype(np.uint8))
    options = {"input_scale": scale, "optimizer": fa.SGD(0.01)}
    same(everything(x, **options), everything(x.toarray(), **options))


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint16", "float64"])
def test_other_dtypes_of_values(dtype):
    x = X.copy()
    x.data = np.abs(np.round(4 * x.data)).astype(dtype)
    same(everything(x), everything(x.toarray()))


@pytest.mark.parametrize("width", [1, 2, 300])
def test_few_and_many_columns(width):
    x = sparse.random_array((M, width), density=0.3, rng=RNG, format="csr")
    net, other = (network(input_shape=width, optimizer=fa.SGD(0.1)) for _ in range(2))
    for each, data in ((net, x), (other, x.toarray())):
        each.fit(data, Y, epochs=2, verbose=False)
    same(copies(net), copies(other))


def test_no_entries_at_all():
    empty = sparse.csr_matrix((M, N_IN), dtype=np.float32)
    same(everything(empty), everything(empty.toarray()))


@pytest.mark.parametrize("n_threads", [1, 2, 4])
def test_any_number_of_threads(n_threads):
    x = sparse.random_array((256, 700), density=0.02, rng=np.random.default_rng(1), format="csr")
    nets = [
        fa.Sequential(
            [fa.Dense(500, "relu"), fa.Dense(3)], input_shape=700, rule="kp", rng=1, n_threads=n
        )
        for n in (1, n_threads)
    ]
    for net in nets:
        net.fit(x, np.arange(256) % 3, epochs=2, batch_size=48, verbose=False)
    same(*map(copies, nets))


def test_replicas():
    build = lambda lr: network(optimizer=fa.SGD(lr))  # noqa: E731
    settings = [{"lr": 0.1}, {"lr": 0.01}, {"lr": 0.03}]
    many = fa.fit_replicas(build, settings, X, Y, epochs=2, n_workers=2)
    for each, setting in zip(many, settings, strict=True):
        net = build(**setting)
        net.fit(DENSE, Y, epochs=2, verbose=False)
        same(copies(each.net), copies(net))


def test_the_reference_engine_takes_it():
    net = network(optimizer=fa.SGD(0.1), dtype="float64")
    oracle = reference.Network(net._engine.description)
    rows = sparse_rows(X, "X").astype(np.float64)
    order = np.arange(M)[::-1].copy()
    for engine in (net._engine, oracle):
        engine.train_steps(rows, Y, None, None, order, 16, 0, 6)
    for key, value in net.parameters.items():
        np.testing.assert_allclose(value, oracle.parameters[key], atol=1e-12)
    np.testing.assert_allclose(net.predict(X), oracle.predict(rows), atol=1e-12)
    same(net.predict(X), net.predict(DENSE.astype(np.float64)))


# ---- formats ----


@pytest.mark.parametrize("name", ["csr", "csc", "coo", "lil", "dok", "bsr"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_every_format_of_scipy(name, kind):
    given = getattr(sparse, f"{name}_{kind}")(X)
    same(network().predict(given), network().predict(DENSE))


def test_wide_indices():
    x = sparse.csr_array((X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), X.shape)
    assert sparse_rows(x, "X").indptr.dtype == np.int64
    same(everything(x), everything(DENSE))
    mixed = SimpleNamespace(
        format="csr", data=X.data, indices=X.indices, indptr=X.indptr.astype(np.int64),
        shape=X.shape, nnz=X.nnz, tocsr=None,
    )  # fmt: skip
    same(network().predict(mixed), network().predict(DENSE))


def test_columns_in_any_order_and_several_entries_in_one_place():
    """SciPy's flags say that they are in order; the given arrays stay as they are."""
    data = np.array([1, 2, 4, 8, 16, 32], np.float32)
    indices, indptr = np.array([3, 1, 3, 0, 5, 5]), np.array([0, 3, 3, 6])
    x = sparse.csr_array((data, indices, indptr), (3, N_IN))
    x.has_sorted_indices = x.has_canonical_format = True
    rows = sparse_rows(x, "X")
    np.testing.assert_array_equal(rows.indices, [1, 3, 0, 5])
    np.testing.assert_array_equal(rows.data, [2, 5, 8, 48])
    np.testing.assert_array_equal(rows.indptr, [0, 2, 2, 4])
    dense = np.zeros((3, N_IN), np.float32)
    dense[0, [1, 3]], dense[2, [0, 5]] = [2, 5], [8, 48]
    np.testing.assert_array_equal(rows.toarray(), dense)
    same(network().predict(x), network().predict(dense))
    np.testing.assert_array_equal(x.indices, indices)


def test_arrays_of_the_right_kind_are_used_in_place():
    rows = sparse_rows(X, "X").astype(np.float32)
    for mine, given in ((rows.data, X.data), (rows.indices, X.indices), (rows.indptr, X.indptr)):
        assert np.shares_memory(mine, given)


def test_rows_by_slice_and_by_number():
    rows = sparse_rows(X, "X")
    for chosen in (slice(5, 20), slice(80, 200), slice(30, 10), slice(None)):
        assert np.shares_memory(rows[chosen].data, X.data)
        np.testing.assert_array_equal(rows[chosen].toarray(), DENSE[chosen])
    for chosen in (np.array([3, 3, 88, 7, 0]), np.array([], np.int64), np.array([60, 61])):
        np.testing.assert_array_equal(rows[chosen].toarray(), DENSE[chosen])
        np.testing.assert_array_equal(
            rows[5:].__getitem__(chosen % 50).toarray(), DENSE[5:][chosen % 50]
        )


# ---- what is refused ----


def refused(x, words, kind=ValueError):
    net = network()
    before = copies(net)
    for call in (
        lambda: net.fit(x, Y, verbose=False),
        lambda: net.predict(x),
        lambda: net.evaluate(x, Y),
    ):
        with pytest.raises(kind, match=rf"^X: {words}"):
            call()
    with pytest.raises(kind, match=rf"^x: {words}"):
        net.train_batch(x, Y)
    with pytest.raises(kind, match=rf"^validation_data\[0\]: {words}"):
        net.fit(DENSE, Y, validation_data=(x, Y), verbose=False)
    same(copies(net), before)
    assert net.steps == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite_are_named_by_row_and_column(value):
    x = X.astype(np.float64)
    at = 50
    row = int(np.searchsorted(x.indptr, at, "right")) - 1
    x.data[at] = value
    got = rf"got {value} at row {row}, column {x.indices[at]}"
    refused(x, rf"expected finite values in float32, {got}".replace("+", r"\+"))


def test_other_shapes():
    refused(X[:, :-1], rf"expected shape \(m, {N_IN}\), got shape \({M}, {N_IN - 1}\)")
    refused(X[:0], rf"expected shape \(m, {N_IN}\) with m >= 1")
    flat = sparse.coo_array(DENSE[0])
    refused(flat, "expected a sparse matrix of 2 axes")


def test_values_that_are_not_numbers():
    refused(X.astype(np.complex64), "expected real numbers, got dtype complex64", TypeError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.indices.__setitem__(9, N_IN), f"columns from 0 to {N_IN - 1}.* got {N_IN} in"),
        (lambda x: x.indices.__setitem__(9, -1), "got -1 in row"),
        (lambda x: x.indptr.__setitem__(3, 0), "an indptr from 0 to"),
        (lambda x: x.indptr.__setitem__(-1, 10**6), "an indptr from 0 to"),
        (lambda x: x.indptr.__setitem__(0, -2), "an indptr from 0 to"),
        (lambda x: setattr(x, "data", x.data[:-1]), "data and indices of one length"),
        (lambda x: setattr(x, "indptr", x.indptr[:-1]), "row starts in indptr"),
    ],
)
def test_arrays_that_do_not_fit_each_other(change, words):
    x = X.copy()
    change(x)
    refused(x, rf"csr_array: expected .*{words}")


def test_targets_weights_and_single_samples_are_dense():
    net = network()
    row = sparse.csr_array(DENSE[:1])
    for call in (
        lambda: net.fit(DENSE, row, verbose=False),
        lambda: net.learn_one(row, 0),
        lambda: net.predict_one(row),
        lambda: net.train_batch(DENSE, Y, row),
    ):
        with pytest.raises(TypeError, match=r"expected a dense array, got a sparse csr_array"):
            call()
    assert net.steps == 0


def test_arrays_that_change_during_training():
    """They lead to an error, and not to memory of others."""
    x = X.copy()
    net = network()

    def change(_):
        x.indices[:] = 10**8

    with pytest.raises(ValueError, match="X: expected columns of a sparse X that do not change"):
        net.fit(x, Y, 5, 10, callbacks=[AtStep(3, change)], verbose=False)
    assert net.steps == 3


# ---- memory ----


def test_nothing_is_as_large_as_a_dense_x():
    """A dense copy of this X has 20 GB; a row buffer of a dense batch 100 MB."""
    code = (
        "import resource\n"
        "import numpy as np, scipy.sparse\n"
        "import fastfa as fa\n"
        "rng = np.random.default_rng(0)\n"
        "m, n = 100_000, 50_000\n"
        "indices = np.sort(rng.integers(0, n, (m, 5), np.int32), axis=1).ravel()\n"
        "indptr = np.arange(m + 1, dtype=np.int32) * 5\n"
        "x = scipy.sparse.csr_array((np.ones(5 * m, np.float32), indices, indptr), (m, n))\n"
        "y = rng.integers(0, 2, m)\n"
        "layers = [fa.Dropout(0.1), fa.Dense(8, 'relu'), fa.Dense(2)]\n"
        "net = fa.Sequential(layers, input_shape=n, rule='dfa', optimizer=fa.SGD(0.1), rng=0)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "limit = used + 90 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "net.fit(x, y, batch_size=500, validation_data=(x, y), verbose=False)\n"
        "net.predict(x); net.train_batch(x[:500], y[:500]); net.learn_many(x[:9], y[:9])\n"
        "print(net.steps)\n"
    )
    assert run_python(code) == "210"


def test_an_sgd_step_leaves_the_rows_alone_that_no_entry_reads():
    """A weight there may even be NaN: nothing looks at it."""
    net = network(rule="backprop", optimizer=fa.SGD(0.1), layers=[fa.Dense(8), fa.Dense(N_OUT)])
    x = X.copy()
    x.data[x.indices == 5] = 0
    x.eliminate_zeros()
    before = net.parameters["0.weight"].copy()
    for _ in range(3):
        net.train_batch(x, Y)
    after = net.parameters["0.weight"]
    np.testing.assert_array_equal(after[5], before[5])
    assert (np.delete(after, 5, axis=0) != np.delete(before, 5, axis=0)).any(axis=1).all()


def test_rows_are_what_the_engine_takes():
    """`SparseRows` is the border between Python and the engine."""
    net = network()
    rows = SparseRows(X.data, X.indices, X.indptr, N_IN + 1)
    with pytest.raises(ValueError, match=rf"expected {N_IN} columns, got {N_IN + 1}"):
        net._engine.predict(rows)
    with pytest.raises(ValueError, match=r"x\.indices: expected a C-contiguous"):
        net._engine.predict(SparseRows(X.data, X.indices, X.indptr.astype(np.int64), N_IN))
