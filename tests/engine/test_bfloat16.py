"""compute="bfloat16": the oracle with the same rounding, threads, files, refusals and words."""

import json
import subprocess
import sys
import warnings

import numpy as np
import processes
import pytest
from networks import (
    FLATTEN,
    RULES,
    SGD,
    conv,
    copies,
    dense,
    description,
    digest,
    dropout,
    pair,
    samples,
)

import fastfa as fa
from fastfa import _core
from fastfa.backends.cuda.support import check_supported
from fastfa.backends.reference.bfloat16 import round_operand

# 161 and 131 are odd; the last layer, 12 wide, stays in float32.
LAYERS = [dense(161, "tanh"), dropout(0.1), dense(131, "tanh"), dense(12)]
FEW = {"optimizer": SGD, "compute": "bfloat16", "dtype": "float32"}


def network(rule="dfa", **changes):
    return description(LAYERS, 129, rule, **FEW | changes)


def difference(a, b):
    """Of the numbers of two mappings, on average, over their size; the largest of all keys."""
    return max(
        float(np.abs(a[key] - b[key]).mean() / max(np.abs(b[key]).mean(), 1e-30)) for key in b
    )


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("outputs", [12, 140])
def test_a_step_is_that_of_the_oracle(rule, outputs):
    """Up to sums: few of their numbers round to the other neighbour. float32 is further away."""
    how = description([*LAYERS[:-1], dense(outputs)], 129, rule, **FEW)
    data = samples(how, 37, rows=outputs == 12, weights=outputs == 12)
    net, oracle = pair(how)
    plain = _core.Network({key: value for key, value in how.items() if key != "compute"})
    ours, expected, others = (one.gradients(*data)[1] for one in (net, oracle, plain))
    assert difference(ours, expected) < 3e-4
    assert difference(others, expected) > 3e-3
    for one in (net, oracle):
        one.train_batch(*data)
    assert difference(copies(net.parameters), oracle.parameters) < 3e-5
    np.testing.assert_allclose(net.predict(data[0]), oracle.predict(data[0]), rtol=0, atol=2e-3)


def test_exact_numbers_give_exact_sums():
    """Small integers are their own rounding, and so are their products and sums."""
    layers = [dense(161), dense(12)]
    net = _core.Network(description(layers, 129, **FEW))
    rng = np.random.default_rng(0)
    for key, value in net.parameters.items():
        net.write(key, rng.integers(-3, 4, value.shape).astype("float32"))
    x = rng.integers(-3, 4, (9, 129)).astype("float32")
    h = x @ net.parameters["0.weight"] + net.parameters["0.bias"]
    z = h @ net.parameters["1.weight"] + net.parameters["1.bias"]
    assert (net.predict(x, True) == z).all()


def test_a_row_alone_is_predicted_as_among_others():
    net = _core.Network(network())
    x = samples(network(), 150)[0]
    some = (0, 17, 149)
    assert (net.predict(x)[[*some]] == np.vstack([net.predict(x[[i]]) for i in some])).all()


def bits(n_threads, rule):
    wide = [dense(300, "relu"), dense(257, "relu"), dense(12)]
    parts = []
    for layers, m in ((LAYERS, 70), (wide, 33)):
        how = description(layers, 129, rule, **FEW | {"n_threads": n_threads})
        net = _core.Network(how)
        for seed in range(3):
            net.train_batch(*samples(how, m, seed=seed))
        parts.append(net.state())
    return digest(*parts)


@pytest.mark.parametrize("rule", ["backprop", "dfa", "kp", "pepita"])
def test_any_number_of_threads_gives_the_same_bits(rule):
    assert len({bits(n, rule) for n in (1, 2, 3, 5)}) == 1


@pytest.mark.parametrize("cpu", ["v2", "v3", "v4", "bf16", "amx", "neon"])
def test_every_kind_of_kernel_is_near_the_oracle(cpu):
    """Kinds that multiply and add one by one have the same bits; the sums of AMX differ."""
    done = subprocess.run(
        [sys.executable, __file__],
        env=processes.environment(FASTFA_CPU=cpu),
        capture_output=True,
        text=True,
        check=False,
    )
    if "FASTFA_CPU: expected an instruction set" in done.stderr:
        pytest.skip(f"this processor has no {cpu}")
    found = json.loads(done.stdout)
    kinds = {"bf16": "vdpbf16ps", "amx": "amx"}
    assert found["kind"] == kinds.get(cpu, "portable")
    assert found["difference"] < 3e-5
    assert found["warnings"] == (found["kind"] == "portable")  # once for two networks


def from_here():
    """What the test above compares, of this process."""
    data = samples(network("backprop"), 37)
    net, oracle = pair(network("backprop"))
    for one in (net, oracle):
        one.train_batch(*data)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        make(), make()
    return {
        "warnings": sum("no instructions for it" in str(each.message) for each in seen),
        "kind": _core.build_info()["bfloat16"],
        "difference": difference(copies(net.parameters), oracle.parameters),
    }


def test_rounding_of_the_oracle():
    x = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, -1e-39, 1e-38 * 2, np.inf, -0.0], np.float32)
    with np.errstate(over="ignore"):
        rounded = round_operand(x)
    assert rounded.tolist()[:5] == [1, 1, 1 + 2**-6, np.inf, 0]
    assert (rounded.view(np.uint32) & 0xFFFF == 0).all()
    assert np.signbit(rounded[[4, 7]]).all()


# ------------------------------------------------------------------------------------ the network


def make(compute="bfloat16", **changes):
    layers = [fa.Dense(160, "relu"), fa.Dense(140, "relu"), fa.Dense(10)]
    changes |= {"rule": "dfa", "optimizer": fa.SGD(0.1), "rng": 0, "compute": compute}
    return fa.Sequential(layers, input_shape=130, **changes)


def trained(net):
    rng = np.random.default_rng(0)
    net.fit(rng.random((64, 130), dtype="float32"), rng.integers(0, 10, 64), epochs=2)
    return net


def test_files_and_copies_keep_it(tmp_path):
    net = trained(make())
    net.save(tmp_path / "net.fa")
    loaded = fa.load(tmp_path / "net.fa")
    assert loaded.compute == net.compute == "bfloat16"
    assert digest(trained(loaded).parameters) == digest(trained(net).parameters)
    assert make("float32").compute == "float32"


def test_float32_says_nothing_in_files():
    assert "compute" not in make("float32")._engine.description
    assert digest(trained(make("float32")).parameters) != digest(trained(make()).parameters)


def test_it_learns_as_float32_does():
    def loss(compute):
        net = make(compute)
        rng = np.random.default_rng(0)
        x, y = rng.random((200, 130), dtype="float32"), rng.integers(0, 10, 200)
        return net.fit(x, y, epochs=20, verbose=False).history["loss"][-1]

    assert abs(loss("bfloat16") - loss("float32")) < 0.05


def test_summary_and_repr_name_it():
    assert "bfloat16 in layers 0, 1; float32 in layers 2" in make().summary()
    assert "float32, bfloat16 products" in repr(make())
    assert "bfloat16" not in make("float32").summary() + repr(make("float32"))


def test_convolutions_and_recurrent_layers_stay_in_float32():
    layers = [conv(40, (3, 3)), FLATTEN, dense(130, "relu"), dense(3)]
    image = _core.Network(description(layers, (8, 8, 2), **FEW))
    assert [row["bfloat16"] for row in image.layers] == [False, True, False]
    layers = [fa.Recurrent(140), fa.Dense(2)]
    net = fa.Sequential(layers, input_shape=130, rng=0, compute="bfloat16")
    assert "bfloat16 in layers none; float32 in layers 0, 1" in net.summary()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compute": "bf16"}, "compute: expected one of float32, bfloat16, got 'bf16'"),
        ({"dtype": "float64"}, "compute: expected NULL or 'float32' for FA_F64, got 'bfloat16'"),
    ],
)
def test_the_library_refuses_what_it_cannot_do(changes, words):
    with pytest.raises(ValueError, match=words):
        _core.Network(network(**changes))


def test_python_refuses_it_by_name():
    with pytest.raises(ValueError, match=r"compute: expected one of .*bf16"):
        make("bf16")
    with pytest.raises(ValueError, match=r"compute: expected 'float32' with dtype='float64'"):
        make(dtype="float64")
    with pytest.raises(AttributeError, match="compute"):
        make().compute = "float32"
    with pytest.raises(ValueError, match="compute: expected one of float32 on a GPU, got bfloat16"):
        check_supported(network())


if __name__ == "__main__":
    print(json.dumps(from_here()))
