"""The GPU kernels, compiled for GPUs: architectures, registers, and which instructions there are.

Every value of every option occurs for sm_90, what a network usually needs for the other
architectures too.
"""

import itertools
import re

import pytest
from driver import NoMemory
from networks import ADAM, dense, description
from nvrtc import compile_each, compile_text

from fastfa import _core
from fastfa.backends.cuda import kernels, one_block
from fastfa.backends.cuda.kernels import TILES
from fastfa.backends.cuda.plan import Plan
from fastfa.backends.cuda.steps import Batch

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100", "sm_120")
MAIN = "sm_90"
MOST_REGISTERS = 128
MOST_SHARED = 48 * 1024  # bytes: what a kernel has without asking for more
CHUNK = 12  # kernels of a text


def tiles(dtype):
    """Of products, from the smallest."""
    return [tile for name, tile in TILES[dtype].items() if not name.startswith("head")]


def usual(dtype):
    """What networks usually need, and the largest tiles."""
    tile, largest = TILES[dtype]["32x32"], tiles(dtype)[-1]
    return [
        kernels.forward(dtype, "tanh", tile, samples="bytes"),
        kernels.forward(dtype, "gelu", largest, drops=True),
        kernels.head(dtype, "softmax_cross_entropy", "linear", TILES[dtype]["head16"]),
        kernels.signal(dtype, ["product"], ["tanh"], tile),
        kernels.signal(dtype, ["transposed"], ["gelu"], largest, drops=True),
        kernels.update(dtype, "plain", tile),
        kernels.update(dtype, "adam", largest, weighted=True),
        kernels.update(dtype, "plain", largest, weighted=True, learns=True),
        kernels.signal(dtype, ["signs"], ["relu"], largest, learns=True),
        kernels.apply(dtype, "adam", learns=True),
        *(make(dtype) for make in (kernels.norm, kernels.clip, kernels.tail)),
    ]


def variety(dtype):
    """Every value of every option."""
    tile, samples = itertools.cycle(tiles(dtype)), itertools.cycle(kernels.SAMPLES)
    heads = itertools.cycle(TILES[dtype][name] for name in ("head16", "head32", "head64"))
    losses = [name for name in kernels.LOSSES if name != "softmax"]
    found = []
    for name in kernels.ACTIVATIONS:
        found += [
            kernels.forward(dtype, name, next(tile), samples=next(samples)),
            kernels.signal(dtype, ["product"], [name], next(tile)),
        ]
    for name in losses:
        for activation in ("linear", "gelu") if name == "mse" else ("linear",):
            found += [
                kernels.head(dtype, name, activation, next(heads)),
                kernels.loss(dtype, name, activation),
            ]
    everything = (kernels.SIGNALS, kernels.ACTIVATIONS)
    found += [
        kernels.forward(dtype, "relu", next(tile), samples="numbers", drops_input=True, drops=True),
        kernels.head(dtype, losses[0], "linear", next(heads), samples="bytes", drops_input=True),
        kernels.loss(dtype, "softmax"),
        *(kernels.signal(dtype, [kind], ["relu"], next(tile)) for kind in kernels.SIGNALS),
        *(kernels.signal(dtype, *everything, tile, drops=True) for tile in tiles(dtype)),
        # all of them in float64 in the largest tile would spill 28 bytes
        kernels.signal(
            dtype,
            *everything,
            tiles(dtype)[-1 if dtype == "float32" else 0],
            drops=True,
            learns=True,
        ),
        *(kernels.update(dtype, name, next(tile)) for name in kernels.OPTIMIZERS),
        *(kernels.update(dtype, name, next(tile), learns=True) for name in kernels.OPTIMIZERS[1:]),
        *(kernels.apply(dtype, name) for name in kernels.OPTIMIZERS[2:]),
        *(kernels.update(dtype, "adam", tile, weighted=True) for tile in tiles(dtype)),
        kernels.update(dtype, "adam", tiles(dtype)[-1], weighted=True, learns=True),
        *(kernels.scan(dtype, name) for name in kernels.SCANS),
        *(
            make(dtype)
            for make in (
                kernels.advance,
                kernels.sum_rows,
                kernels.weigh,
                kernels.draw,
                kernels.subtract,
            )
        ),
    ]
    return list(dict.fromkeys(found + usual(dtype)))


def texts(architecture, dtype):
    """The texts of the kernels that are compiled for an architecture."""
    wanted = variety(dtype) if architecture == MAIN else usual(dtype)
    chunks = [wanted[i : i + CHUNK] for i in range(0, len(wanted), CHUNK)]
    return [(kernels.source(chunk), architecture) for chunk in chunks]


def programs(dtype):
    """The text of networks that train together: of few kernels, and of many."""
    found = []
    for rule, clip in ("dfa", 0), ("pepita", 0.1):
        layers = [dense(16, "tanh"), dense(3)]
        desc = description(layers, 8, rule, dtype=dtype, optimizer=ADAM | {"clip_norm": clip})
        batch = Batch(32)
        plan = Plan(desc, _core.Network(desc).layers)
        tile = one_block.tile_of(dtype)
        step = plan.step("train", batch, NoMemory(), tile=tile, heads=one_block.HEADS)
        found.append(one_block.source(step.kernels))
    return found


@pytest.fixture(scope="module", params=itertools.product(ARCHITECTURES, ("float32", "float64")),
                ids="-".join)  # fmt: skip
def compiled(request):
    """The results for one architecture and dtype."""
    return compile_each(texts(*request.param))


def count(ptx):
    """Each kind of instruction."""
    found = re.findall(r"^\s+(?:@!?%p\d+ )?([a-z][a-z0-9_.:]*)", ptx, re.M)
    return {name: found.count(name) for name in set(found)}


def test_kernels_compile_within_their_budgets(compiled):
    for result in compiled:
        assert result.warnings == ""
        assert set(result.usage) == set(re.findall(r"^\.visible \.entry (\w+)", result.ptx, re.M))
        for name, usage in result.usage.items():
            assert usage.registers <= MOST_REGISTERS, f"{name}: {usage}"
            assert usage.stack == usage.spills == 0, f"{name}: {usage}"
            assert usage.shared <= MOST_SHARED, f"{name}: {usage}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_that_train_together_need_no_more_than_a_multiprocessor_has(dtype):
    """Two blocks at a time: shared memory holds no more of them."""
    for result in compile_each([(text, MAIN) for text in programs(dtype)]):
        assert result.warnings == ""
        (usage,) = result.usage.values()
        assert usage.registers <= 65536 // (2 * one_block.THREADS)
        assert usage.stack == usage.spills == 0
        assert usage.shared + one_block.workspace(dtype) <= MOST_SHARED
        for name in count(result.ptx):
            assert name.split(".")[0] not in ("atom", "red", "shfl", "vote", "match", "activemask")


def test_every_operation_is_rounded_by_itself_and_denormals_are_zero(compiled):
    """An operation that names its rounding, .rn, is never contracted with another one."""
    for result in compiled:
        for name in count(result.ptx):
            kind, *rest = name.split(".")
            if rest[-1:] not in (["f32"], ["f64"]):
                continue
            if kind in ("add", "sub", "mul", "div", "sqrt", "fma", "rcp"):
                ours = "rn" in rest or name == "rcp.approx.ftz.f64"  # that is log's, in double
                assert ours, f"{name} is not rounded to nearest"
                assert rest[-1] == "f64" or "ftz" in rest, f"{name} keeps denormals"
            assert kind not in ("ex2", "lg2", "sin", "cos", "tanh"), f"{name} is an approximation"


def test_kernels_have_no_atomics_and_no_exchange_between_lanes(compiled):
    for result in compiled:
        for name in count(result.ptx):
            assert name.split(".")[0] not in ("atom", "red", "shfl", "vote", "match", "activemask")
            assert "local" not in name


def test_products_are_fused_multiply_adds_alone():
    """Of a linear layer without anything else, only bias and scale are not."""
    for dtype, bits in ("float32", "f32"), ("float64", "f64"):
        kernel = kernels.forward(dtype, "linear", TILES[dtype]["64x64"])
        found = count(compile_text(kernels.source([kernel]), MAIN).ptx)
        fused = sum(n for name, n in found.items() if name.startswith("fma") and bits in name)
        others = [n for name, n in found.items() if re.match(r"(mul|add|sub)\.\S*f\d\d", name)]
        assert fused >= 16 * 8  # 4 x 4 outputs of a thread, at least 8 steps of the chains
        assert sum(others) <= 2 * 16  # bias, and x - x of the check


def test_the_options_are_needed():
    """Without them, products and sums are contracted: what the tests above would find."""
    kernel = kernels.update("float32", "adam", TILES["float32"]["16x32"])
    result = compile_text(kernels.source([kernel]), MAIN, ["--fmad=true"])
    assert any(re.match(r"(mul|add)\.ftz\.f32", name) for name in count(result.ptx))


def test_wrong_text_is_refused():
    with pytest.raises(RuntimeError, match="error: expected"):
        compile_text("int wrong", MAIN)
