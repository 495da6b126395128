"""Kernels by themselves, one thread, operands in the second-level cache."""

import numpy as np
import pytest
from kernel_calls import DTYPES, Hyper, activations, kernel

ROWS, COLS, CLASSES = 128, 512, 10

both_types = pytest.mark.parametrize("dtype", DTYPES)


def normal(dtype, *shape):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


@both_types
@pytest.mark.parametrize("f", activations())
@pytest.mark.benchmark(group="activation, 128 x 512")
def test_activation(benchmark, isa, f, dtype):
    a = normal(dtype, ROWS, COLS)
    h = np.full_like(a, np.nan)
    benchmark(kernel(isa, dtype, f"act_{f}", h, COLS, a, COLS, ROWS, COLS, 0.5))
    assert np.isfinite(h).all()


@both_types
@pytest.mark.parametrize("f", activations())
@pytest.mark.benchmark(group="activation's derivative, 128 x 512")
def test_derivative(benchmark, isa, f, dtype):
    at = -1.5 if f == "selu" else 0.5  # where f' is not above 1
    h, d = np.full((ROWS, COLS), at, dtype), np.ones((ROWS, COLS), dtype)
    benchmark(kernel(isa, dtype, f"dact_{f}", d, COLS, h, COLS, ROWS, COLS, 0.5))
    assert (d <= 1).all()


@both_types
@pytest.mark.parametrize("loss", ["softmax_ce", "sigmoid_ce", "mse"])
@pytest.mark.benchmark(group="loss and error, 128 x 10")
def test_loss(benchmark, isa, loss, dtype):
    z, e = normal(dtype, ROWS, CLASSES), np.full((ROWS, CLASSES), np.nan, dtype)
    row_loss, hit = np.empty(ROWS), np.empty(ROWS)
    labels = np.arange(ROWS) % CLASSES
    targets = labels, None, 0, ROWS, CLASSES
    benchmark(kernel(isa, dtype, loss, e, CLASSES, row_loss, hit, z, CLASSES, *targets))
    assert np.isfinite(e).all()
    assert (row_loss >= 0).all()


@both_types
@pytest.mark.parametrize("coupled", [None, "kp's B"])
@pytest.mark.parametrize(
    ("optimizer", "momentum"), [("sgd", 0), ("sgd", 0.9), ("rmsprop", 0), ("adam", 0)]
)
@pytest.mark.benchmark(group="optimizer on a tile, 128 x 512")
def test_optimizer(benchmark, isa, optimizer, momentum, coupled, dtype):
    w, g = normal(dtype, ROWS, COLS), normal(dtype, ROWS, COLS)
    b = normal(dtype, COLS, ROWS) if coupled else None
    before, slots = w.copy(), np.zeros((2, ROWS, COLS), dtype)
    hyper = Hyper(
        lr=1e-6, momentum=momentum, alpha=0.99, beta1=0.9, beta2=0.999, eps=1e-8,
        bias1=1, bias2=1, keep=1, g_scale=1,
    )  # fmt: skip
    tile = (w, COLS, slots[0], slots[1], None, b, ROWS, g, COLS, ROWS, COLS, hyper)
    benchmark(kernel(isa, dtype, optimizer, *tile))
    assert (w != before).any()
    assert b is None or np.isfinite(b).all()
    assert np.isfinite(w).all()


PRODUCTS = {  # m, n, k, whether the left operand is transposed
    "forward X W": (64, 512, 784, False),
    "update H^T D": (32, 384, 128, True),
    "output H W, ten columns": (64, CLASSES, 512, False),
    "projection E B, ten rows": (64, 512, CLASSES, False),
    "forward of one sample": (1, 512, 784, False),
}


@both_types
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.benchmark(group="product")
def test_product(benchmark, isa, product, dtype):
    m, n, k, transposed = PRODUCTS[product]
    a, b = normal(dtype, m, k), normal(dtype, k, n)
    c = np.full((m, n), np.nan, dtype)
    left = (np.ascontiguousarray(a.T), 1, m) if transposed else (a, k, 1)
    benchmark(kernel(isa, dtype, "gemm", c, n, *left, b, n, m, n, k, 1, 0, None, None))
    np.testing.assert_allclose(c, a @ b, rtol=1e-3, atol=1e-3)


@both_types
@pytest.mark.benchmark(group="batch 1")
def test_update_forward(benchmark, isa, dtype):
    n_in, n_out = 784, 256
    w, a = normal(dtype, n_in, n_out), np.full(n_out, np.nan, dtype)
    x, d = normal(dtype, n_in), np.zeros(n_out, dtype)
    sizes = n_in, n_out, -1e-3, 1
    benchmark(kernel(isa, dtype, "update_forward", a, w, n_out, x, None, x, d, *sizes))
    np.testing.assert_allclose(a, x @ w, rtol=1e-3, atol=1e-3)


@both_types
@pytest.mark.benchmark(group="gather, 128 of 1000 rows of 784")
def test_gather(benchmark, isa, dtype):
    x, index = normal(dtype, 1000, 784), np.random.default_rng(0).permutation(1000)[:ROWS]
    out = np.full((ROWS, 784), np.nan, dtype)
    benchmark(kernel(isa, dtype, "gather", out, 784, x, 784, index, ROWS, 784, 1))
    np.testing.assert_array_equal(out, x[index])


@both_types
@pytest.mark.benchmark(group="gather, 128 of 1000 rows of 784")
def test_gather_bytes(benchmark, isa, dtype):
    rng = np.random.default_rng(0)
    x, index = rng.integers(0, 256, (1000, 784), np.uint8), rng.permutation(1000)[:ROWS]
    out = np.full((ROWS, 784), np.nan, dtype)
    benchmark(kernel(isa, dtype, "gather_u8", out, 784, x, 784, index, ROWS, 784, 255))
    np.testing.assert_allclose(out, x[index] / 255, rtol=1e-6)


@both_types
@pytest.mark.benchmark(group="uniform numbers, 128 x 512")
def test_uniform(benchmark, isa, dtype):
    out = np.full((ROWS, COLS), np.nan, dtype)
    benchmark(kernel(isa, dtype, "uniform", out, 0, out.size, 0.1, 1, 2, 3, 4))
    assert abs(out.std() - 0.1 / np.sqrt(3)) < 1e-3  # 65,536 of them: ten standard errors
    assert abs(out).max() <= 0.1


@both_types
@pytest.mark.benchmark(group="dropout, 128 x 512")
def test_dropout(benchmark, isa, dtype):
    x, keep = np.ones((ROWS, COLS), dtype), np.empty((ROWS, COLS), np.uint8)
    y = np.full_like(x, np.nan)
    random = (2**31, 2, 0, 1, 2, 3, 4)
    benchmark(kernel(isa, dtype, "dropout", y, COLS, keep, COLS, x, COLS, ROWS, COLS, *random))
    np.testing.assert_array_equal(y, 2 * keep)
