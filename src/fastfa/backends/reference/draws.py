"""Every random draw: Philox streams, initial values of parameters and of feedback."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .base import Array, Doubles, Spec

# ---------------------------------------------------------------------------------- random numbers

WEIGHT, BIAS, FEEDBACK, DROPOUT, SHUFFLE = 1, 2, 3, 4, 5  # the purposes, one stream each
PROJECTION, SPARSITY = 6, 7
RECURRENT, RECURRENT_FEEDBACK, AUGMENT = 8, 9, 10
LOW32, SHIFT32 = np.uint64(0xFFFFFFFF), np.uint64(32)


class Stream(NamedTuple):
    """One stream of random numbers: draws of different streams never share a Philox counter."""

    seed: int
    purpose: int
    ordinal: int = 0
    step: int = 0


def philox(counter: Array, key: tuple[int, int]) -> Array:
    """Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    `counter` is (..., 4) words of 32 bits; so is the result, held in uint64.
    """
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, np.uint64), -1, 0)
    for i in range(10):
        k0 = np.uint64((key[0] + i * 0x9E3779B9) & 0xFFFFFFFF)
        k1 = np.uint64((key[1] + i * 0xBB67AE85) & 0xFFFFFFFF)
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1 = (p1 >> SHIFT32) ^ c1 ^ k0, p1 & LOW32
        c2, c3 = (p0 >> SHIFT32) ^ c3 ^ k1, p0 & LOW32
    return np.stack([c0, c1, c2, c3], axis=-1)


def words(stream: Stream, c0: Any, c1: Any) -> Array:
    """The four words of each block (c0, c1) of a stream: the shape of c0 and c1, plus (4,)."""
    c2 = stream.step & 0xFFFFFFFF
    c3 = stream.purpose << 28 | stream.ordinal << 16 | stream.step >> 32
    counter = np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1)
    return philox(counter, (stream.seed & 0xFFFFFFFF, stream.seed >> 32))


def uniforms(stream: Stream, n: int) -> Doubles:
    """The first n doubles in [0, 1) of a stream, two from a block, 53 bits each."""
    block = np.arange((n + 1) // 2, dtype=np.uint64)
    pairs = words(stream, block & LOW32, block >> SHIFT32).reshape(-1, 2)
    a, b = pairs[:n, 0] >> np.uint64(5), pairs[:n, 1] >> np.uint64(6)
    return np.asarray((a * 67108864.0 + b) / 9007199254740992.0, np.float64)


def normals(stream: Stream, n: int) -> Doubles:
    """The first n standard normals of a stream (Box & Muller 1958), two from a block."""
    u = uniforms(stream, n + n % 2)
    r, angle = np.sqrt(-2.0 * np.log(1.0 - u[0::2])), 2.0 * np.pi * u[1::2]
    return np.stack([r * np.cos(angle), r * np.sin(angle)], axis=-1).ravel()[:n]


def keep_mask(stream: Stream, rows: int, cols: int, rate: float) -> npt.NDArray[np.bool_]:
    """Dropout's mask (rows, cols): False with probability `rate`; row is the index in the batch."""
    word = words(stream, np.arange((cols + 3) // 4), np.arange(rows)[:, None])
    return np.asarray(word.reshape(rows, -1)[:, :cols] >= int(rate * 2**32), np.bool_)


def permutation(stream: Stream, n: int) -> npt.NDArray[np.int64]:
    """A shuffle of 0..n-1 (Fisher & Yates, from the end), 64 random bits a swap."""
    block = np.arange((n + 1) // 2, dtype=np.uint64)
    halves = words(stream, block & LOW32, block >> SHIFT32).reshape(-1, 2)
    numbers = (halves[:, 1] << SHIFT32 | halves[:, 0]).tolist()
    order = list(range(n))
    for number, i in zip(numbers, range(n - 1, 0, -1), strict=False):
        j = number * (i + 1) >> 64
        order[i], order[j] = order[j], order[i]
    return np.array(order, np.int64)


# ------------------------------------------------------------------------------------ initialisers


class DrawSpec(NamedTuple):
    """How entries are drawn: "uniform" in (-width, width), or "normal" with that deviation."""

    distribution: str
    width: float


# name -> (distribution, its width at scale 1 for fan-in a and fan-out b)
INITIALIZERS: dict[str, tuple[str, Callable[[int, int], float]]] = {
    "zeros": ("uniform", lambda a, b: 0.0),
    "uniform": ("uniform", lambda a, b: 1.0),
    "normal": ("normal", lambda a, b: 1.0),
    "glorot_uniform": ("uniform", lambda a, b: math.sqrt(6 / (a + b))),  # Glorot & Bengio 2010
    "glorot_normal": ("normal", lambda a, b: math.sqrt(2 / (a + b))),
    "he_uniform": ("uniform", lambda a, b: math.sqrt(6 / a)),  # He et al. 2015
    "he_normal": ("normal", lambda a, b: math.sqrt(2 / a)),
    "lecun_uniform": ("uniform", lambda a, b: math.sqrt(3 / a)),  # LeCun et al. 1998
    "lecun_normal": ("normal", lambda a, b: math.sqrt(1 / a)),
}


def draw(spec: DrawSpec, stream: Stream, shape: tuple[int, ...]) -> Doubles:
    """Doubles of a shape."""
    n = math.prod(shape)
    unit = normals(stream, n) if spec.distribution == "normal" else 2.0 * uniforms(stream, n) - 1.0
    return (unit * spec.width).reshape(shape)


def initializer(name: str, scale: float, fans: tuple[int, int]) -> DrawSpec:
    """The draw that an initialiser stands for (docs/MATH.md, "Initial values")."""
    distribution, width = INITIALIZERS[name]
    return DrawSpec(distribution, scale * width(*fans))


def initial(init: Spec, stream: Stream, shape: tuple[int, ...], fans: tuple[int, int]) -> Doubles:
    """The first value of a weight or bias, in double."""
    if "values" in init:
        return np.array(init["values"], np.float64)
    return draw(initializer(init["name"], init["scale"], fans), stream, shape)


# ---------------------------------------------------------------------------------------- feedback


def initial_feedback(
    spec: Spec,
    stream: Stream,
    shape: tuple[int, int],
    forward: Spec | None = None,
    fans: tuple[int, int] | None = None,
) -> Doubles:
    """B (n_source, n_l) in double; `forward` is the initialiser that "forward" stands for.

    `fans` are those of an initialiser, (n_l, n_source) where they are not given.

    Order: draw, rank, orthogonal, sparsity (docs/MATH.md, "Feedback matrices").
    """
    if "values" in spec:
        return float(spec["scale"]) * np.array(spec["values"], np.float64)
    if spec.get("rank"):
        matrix = low_rank(spec, stream, shape, forward, fans)
    else:
        matrix = draw_feedback(spec, stream, shape, forward, fans)
    if spec["distribution"] == "orthogonal":
        matrix = orthogonal(matrix) * (spec["scale"] * math.sqrt(max(shape) / (3 * shape[1])))
    if spec.get("sparsity"):
        matrix = sparse(spec["sparsity"], stream, matrix)
    return matrix


def low_rank(
    spec: Spec,
    stream: Stream,
    shape: tuple[int, int],
    forward: Spec | None,
    fans: tuple[int, int] | None,
) -> Doubles:
    """P Q: P (n_source, r) normal of variance 1 / r, Q (r, n_l) as a feedback matrix is drawn."""
    rank = spec["rank"]
    projection = stream._replace(purpose=PROJECTION)
    p = draw(DrawSpec("normal", 1 / math.sqrt(rank)), projection, (shape[0], rank))
    return np.asarray(p @ draw_feedback(spec, stream, (rank, shape[1]), forward, fans))


def sparse(sparsity: float, stream: Stream, matrix: Doubles) -> Doubles:
    """Keep floor((1 - sparsity) rows + 1/2) entries a column: those of the lowest uniform draws."""
    kept = math.floor((1 - sparsity) * len(matrix) + 0.5)
    drawn = uniforms(stream._replace(purpose=SPARSITY), matrix.size).reshape(matrix.shape)
    rank_in_column = drawn.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    return np.where(rank_in_column < kept, matrix, 0.0)


def draw_feedback(
    spec: Spec,
    stream: Stream,
    shape: tuple[int, int],
    forward: Spec | None,
    fans: tuple[int, int] | None = None,
) -> Doubles:
    """Entries before rank, orthogonality and sparsity.

    "sign" and "ternary" are made from the uniform draw and have its variance, scale^2 / (3 n_l).
    """
    name, scale, n = spec["distribution"], float(spec["scale"]), shape[1]
    if name not in ("sign", "ternary"):
        return draw(feedback_draw(name, scale, shape, forward, fans), stream, shape)
    u = draw(DrawSpec("uniform", 1.0), stream, shape)
    if name == "sign":
        return np.where(u >= 0, 1.0, -1.0) * scale / math.sqrt(3 * n)
    return (1.0 * (3 * u >= 1) - 1.0 * (3 * u < -1)) * scale / math.sqrt(2 * n)


def feedback_draw(
    name: str,
    scale: float,
    shape: tuple[int, int],
    forward: Spec | None,
    fans: tuple[int, int] | None = None,
) -> DrawSpec:
    """The draw that a distribution stands for: uniform in +-scale / sqrt(n_l), and that deviation.

    An initialiser draws B as it would draw the weight B^T (n_l, n_source).
    """
    if name == "uniform":
        return DrawSpec("uniform", scale / math.sqrt(shape[1]))
    if name == "normal":
        return DrawSpec("normal", scale / math.sqrt(3 * shape[1]))
    if name == "orthogonal":
        return DrawSpec("normal", 1.0)  # scaled once it is orthogonal
    if name == "forward":
        assert forward is not None
        name, scale = forward["name"], scale * forward["scale"]
    return initializer(name, scale, fans or shape[::-1])


def orthogonal(matrix: Doubles) -> Doubles:
    """Rows made orthonormal in order, or columns where they are fewer (modified Gram-Schmidt)."""
    vectors = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).copy()
    for i, x in enumerate(vectors):
        for y in vectors[:i]:
            x -= (x @ y) * y
        x /= math.sqrt(x @ x)
    return vectors if matrix.shape[0] <= matrix.shape[1] else vectors.T
