"""Properties over generated cases: how an array lies in memory, in which batch a row comes, and how
many threads there are do not matter; what is no data is refused with a clear error."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from networks import (
    ADAM,
    LOSSES,
    RULES,
    SMOOTH,
    dense,
    description,
    digest,
    dropout,
    pair,
    rule,
    samples,
)

import fastfa as fa
from fastfa import _core

N_IN, N_OUT = 6, 3

BUILD = _core.build_info()
OWN_PRODUCTS = BUILD["gemm"] == "own" or (BUILD["gemm"] == "auto" and BUILD["isa"] != "v2")


def network_of(dtype="float32", name="dfa", **changes):
    layers = [fa.Dense(9, "tanh"), fa.Dropout(0.2), fa.Dense(N_OUT)]
    arguments = {"rule": name, "optimizer": "adam", "dtype": dtype, "rng": 5, **changes}
    return fa.Sequential(layers, input_shape=N_IN, **arguments)


# ------------------------------------------------------------------- how an array lies in memory
# Each takes a clean array and gives one of equal values that lies differently.


def strided(a):
    wide = np.zeros((2 * len(a), *(3 * n for n in a.shape[1:])), a.dtype)
    view = wide[(slice(None, None, 2), *(slice(1, None, 3) for _ in a.shape[1:]))]
    view[...] = a
    return view


def reversed_rows(a):
    return a[::-1].copy()[::-1]


def reversed_all(a):
    flipped = np.flip(a).copy()
    return np.flip(flipped)


def read_only(a):
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def byte_swapped(a):
    return a.astype(a.dtype.newbyteorder())


def misaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def subclassed(a):
    class Mine(np.ndarray):
        pass

    return a.view(Mine)


def window(a):
    """Rows longer than the data: C order, but not contiguous."""
    wide = np.zeros((*a.shape[:-1], a.shape[-1] + 3), a.dtype)
    view = wide[..., :-3]
    view[...] = a
    return view


LAYOUTS = {
    "as it is": lambda array: array,
    "fortran": np.asfortranarray,
    "strided": strided,
    "rows reversed": reversed_rows,
    "all reversed": reversed_all,
    "read-only": read_only,
    "byte-swapped": byte_swapped,
    "misaligned": misaligned,
    "subclass": subclassed,
    "window": window,
    "list": lambda array: array.tolist(),
    "memoryview": lambda array: memoryview(np.ascontiguousarray(array)),
}
layouts = st.sampled_from(sorted(LAYOUTS))
dtypes = st.sampled_from(("float32", "float64"))


def everything(net, X, y, w):
    """The bits of all methods that take data."""
    looks = [net.predict(X), net.gradients(X, y, w), list(net.evaluate(X, y, w).values())]
    angles = [row.gradient_angle for row in net.alignment(X, y, w)]
    history = net.fit(X, y, 2, 8, sample_weight=w, validation_data=(X, y), verbose=False)
    losses = [net.train_batch(X, y), net.train_batch(X, y, w), *history.history["val_loss"]]
    return digest(*looks, angles, losses, net.parameters)


@settings(max_examples=60)
@given(dtypes, layouts, layouts, layouts, st.integers(1, 40), st.booleans())
def test_memory_layout_does_not_matter(dtype, of_x, of_y, of_w, m, rows):
    rng = np.random.default_rng(m)
    X, w = rng.standard_normal((m, N_IN)).astype(dtype), rng.uniform(0.5, 2, m)
    y = rng.dirichlet(np.ones(N_OUT), m).astype(dtype) if rows else rng.integers(0, N_OUT, m)
    clean = everything(network_of(dtype), X, y, w)
    given_as = LAYOUTS[of_x](X), LAYOUTS[of_y](y), LAYOUTS[of_w](w)
    assert everything(network_of(dtype), *given_as) == clean


@settings(max_examples=40)
@given(
    st.sampled_from("?bBhHiIlLqQefdg"),
    st.sampled_from("bBhHiIlLqQfd"),
    dtypes,
    layouts,
)
def test_number_dtypes_are_converted(kind_x, kind_y, dtype, layout):
    """Integers, booleans and floats of any size mean their values; bytes alone are scaled."""
    assume(layout != "list")  # which forgets the dtype
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (12, N_IN)).astype(kind_x)
    y = rng.integers(0, N_OUT, 12).astype(kind_y)
    expected = network_of(dtype).predict(X.astype(dtype))
    if kind_x == "B":
        X *= 255
    np.testing.assert_allclose(network_of(dtype).predict(LAYOUTS[layout](X)), expected, rtol=1e-5)
    one, two = network_of(dtype), network_of(dtype)
    x = rng.standard_normal((12, N_IN)).astype(dtype)
    assert one.train_batch(x, LAYOUTS[layout](y)) == two.train_batch(x, y.astype(np.int64))


# ----------------------------------------------------------------------------- what is no data


NO_NUMBERS = {
    "complex": np.ones((4, N_IN), complex),
    "text": np.full((4, N_IN), "1"),
    "bytes": np.full((4, N_IN), b"1"),
    "objects": np.full((4, N_IN), object()),
    "dates": np.zeros((4, N_IN), "datetime64[s]"),
    "spans": np.zeros((4, N_IN), "timedelta64[s]"),
    "records": np.zeros((4, N_IN), [("a", "f4")]),
    "nothing": np.zeros((4, 0)),
    "no rows": np.zeros((0, N_IN)),
    "a number": np.float64(1.0),
    "0-d": np.array(1.0),
    "None": None,
    "a dict": {},
    "ragged": [[1.0] * N_IN, [1.0]],
    "a row": np.ones(N_IN),
    "too wide": np.ones((4, N_IN + 1)),
    "3-d": np.ones((4, N_IN, 2)),
    "a set": {1, 2},
    "nan": np.full((4, N_IN), np.nan),
    "infinity": np.full((4, N_IN), np.inf),
    "too large for float32": np.full((4, N_IN), 1e39),
}


@pytest.mark.parametrize("what", NO_NUMBERS)
def test_what_is_no_data_is_refused_by_every_method(what):
    """With the argument's name, and nothing changed."""
    net, bad, y = network_of(), NO_NUMBERS[what], np.zeros(4, int)
    before = digest(net.parameters)
    good = np.ones((4, N_IN))
    for call in (
        lambda: net.predict(bad),
        lambda: net.train_batch(bad, y),
        lambda: net.evaluate(bad, y),
        lambda: net.gradients(bad, y),
        lambda: net.alignment(bad, y),
        lambda: net.fit(bad, y, verbose=False),
        lambda: net.fit(good, y, validation_data=(bad, y), verbose=False),
    ):
        with pytest.raises(
            (TypeError, ValueError), match=r"^(x|X|validation_data\[0\]): expected "
        ):
            call()
    assert digest(net.parameters) == before
    assert (net.steps, net.epochs) == (0, 0)


KINDS = st.sampled_from([np.float32, np.float64, np.int64, np.uint8, np.bool_])
X_SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=N_IN)
Y_SHAPES = st.sampled_from([(), (4,), (4, 1), (4, N_OUT), (3,), (4, N_OUT, 1), (0,)])


def error_of(call):
    """The message of a refusal, or None; anything else that is raised goes through."""
    try:
        call()
    except (TypeError, ValueError) as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore:X is of dtype uint8")  # bytes that may be no pixels
@settings(max_examples=150)
@given(arrays.arrays(KINDS, X_SHAPES))
@example(np.ones((3, N_IN), np.float32))
@example(np.full((3, N_IN), 3e38))
@example(np.ones((3, N_IN), np.uint8))
def test_any_array_gives_predictions_or_a_clear_error(X):
    net = network_of()
    refusal = error_of(lambda: net.predict(X))
    fits = X.ndim > 1 and len(X) > 0 and X[0].size == N_IN
    if not fits or refusal:
        assert refusal.startswith("X: expected ")
        assert not fits or "finite" in refusal
    else:
        assert net.predict(X).shape == (len(X), N_OUT)


@settings(max_examples=100)
@given(arrays.arrays(KINDS, Y_SHAPES, elements={"min_value": 0, "max_value": 3}))
def test_any_targets_train_or_give_a_clear_error(y):
    net = network_of()
    before = digest(net.parameters)
    refusal = error_of(lambda: net.train_batch(np.ones((4, N_IN), np.float32), y))
    assert refusal is None or refusal.startswith("y: expected ")
    assert (digest(net.parameters) == before) == (net.steps == 0) == (refusal is not None)


# -------------------------------------------------------------------- batches, orders and threads


@st.composite
def descriptions(draw):
    """Small networks of any rule, with and without dropout."""
    widths = draw(st.lists(st.integers(1, 70), min_size=0, max_size=3))
    layers = []
    for units in widths:
        layers.append(dense(units, draw(st.sampled_from(SMOOTH)), use_bias=draw(st.booleans())))
        if draw(st.booleans()):
            layers.append(dropout(draw(st.sampled_from((0.1, 0.5)))))
    name = draw(st.sampled_from(RULES))
    loss = draw(st.sampled_from(LOSSES))
    layers.append(dense(draw(st.integers(2, 12))))
    return description(
        layers,
        draw(st.integers(1, 60)),
        rule(name, distribution=draw(st.sampled_from(("uniform", "normal")))),
        loss=loss,
        dtype=draw(dtypes),
        seed=draw(st.integers(0, 2**64 - 1)),
        optimizer=ADAM | {"clip_norm": draw(st.sampled_from((0.0, 0.1)))},
    )


@settings(max_examples=60)
@given(descriptions(), st.integers(1, 150), st.integers(2, 7))
def test_threads_do_not_matter(desc, m, n_threads):
    data = samples(desc, m, weights=True)

    def train(threads):
        net = _core.Network(desc | {"n_threads": threads})
        sums = net.train_steps(*data, net.shuffle(m), 40, 0, -(-m // 40))
        return digest(net.state(), sums, net.predict(data[0]), net.evaluate(*data))

    assert train(n_threads) == train(1)


@pytest.mark.skipif(not OWN_PRODUCTS, reason="BLAS products depend on the batch")
@settings(max_examples=60)
@given(descriptions(), st.integers(1, 150), st.data())
def test_rows_are_predicted_each_on_its_own(desc, m, data):
    """Permuting rows permutes predictions, any part of the rows gives that part: bit for bit."""
    net = _core.Network(desc)
    x = samples(desc, m)[0]
    whole = net.predict(x)
    order = np.array(data.draw(st.permutations(range(m))))
    np.testing.assert_array_equal(net.predict(x[order]), whole[order])
    first = data.draw(st.integers(0, m - 1))
    last = data.draw(st.integers(first + 1, m))
    np.testing.assert_array_equal(net.predict(x[first:last]), whole[first:last])


@settings(max_examples=60)
@given(descriptions(), st.integers(1, 100))
def test_gradients_agree_with_the_oracle(desc, m):
    data = samples(desc, m, weights=True)
    if desc["rule"]["name"] == "sdfa" and desc["loss"] == "mse":
        desc["loss"] = "sigmoid_cross_entropy"  # errors next to zero have no stable sign
    mine, ref = pair(desc)
    got, want = mine.gradients(*data)[1], ref.gradients(*data)[1]
    tolerance = 2e-3 if desc["dtype"] == "float32" else 1e-9
    for key in got:
        scale = np.abs(want[key]).max() + 1e-30
        np.testing.assert_allclose(got[key] / scale, want[key] / scale, atol=tolerance, err_msg=key)


@settings(max_examples=30)
@given(st.integers(1, 80), st.integers(1, 100), st.booleans(), st.sampled_from(RULES))
def test_fit_is_train_batch_in_a_loop(m, batch_size, bytes_in, name):
    rng = np.random.default_rng(m)
    X = rng.integers(0, 256, (m, N_IN), np.uint8) if bytes_in else rng.standard_normal((m, N_IN))
    y = rng.integers(0, N_OUT, m)
    fitted, looped = network_of(name=name), network_of(name=name)
    fitted.fit(X, y, 2, batch_size, shuffle=False, verbose=False)
    for _ in range(2):
        for i in range(0, m, batch_size):
            looped.train_batch(X[i : i + batch_size], y[i : i + batch_size])
    assert digest(fitted.parameters) == digest(looped.parameters)
    assert fitted.steps == looped.steps
