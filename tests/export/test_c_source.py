"""`to_c`: the C file compiles without warnings and computes what the engine computes."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from compiling import CC, ROOT, run

import fastfa as fa

STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-Wconversion",
          "-Wmissing-prototypes", "-Wdouble-promotion")  # fmt: skip
SAMPLES = ROOT / "tests/export/samples.c"
ACTIVATIONS = (
    "linear", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "gelu",
    "elu", "selu", "silu", "mish", "hardtanh", "hard_sigmoid", "softsign",
)  # fmt: skip
RULES = ("backprop", "fa", "dfa", "sdfa", "drtp", fa.Ternary(threshold=0.05), "frozen")
HERE = SAMPLES.parent
CROSS = {  # compilers and emulators of other processors
    "aarch64": ("aarch64-linux-gnu-gcc -static", "qemu-aarch64"),
    "Cortex-M4": (
        "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 "
        f"--specs=rdimon.specs -T {HERE}/cortex_m.ld {HERE}/cortex_m.c",
        "qemu-system-arm -M mps2-an386 -nographic -semihosting-config enable=on,target=native",
    ),
}


def compiled(folder, net, *, cc=CC, learn=False, labels=True, flags=STRICT, **options):
    """The program samples.c with the network, in a folder."""
    net.to_c(folder / "net.c", learn, **options)
    n_in = net.parameters[next(iter(net.parameters))].shape[0]
    n_out = net.predict(np.zeros((1, n_in))).shape[1]
    names = ['-DNET="net.c"', "-DPREDICT=net_predict", f"-DINPUTS={n_in}", f"-DOUTPUTS={n_out}"]
    names += ["-DREAL=double"] * (net.dtype == "float64")
    names += ["-DLEARN_ONE=net_learn_one"] * learn + ["-DLEARN_LABEL=net_learn_label"] * labels
    run(*cc, *flags, *names, f"-I{folder}", SAMPLES, "-o", folder / "samples", "-lm")
    return folder / "samples"


def answers(folder, program, what, *columns, emulator=""):
    """What the program prints for samples, as an array."""
    np.hstack(columns).tofile(folder / "in")
    command = [*emulator.split(), program, what, folder / "in"]
    if "semihosting" in emulator:  # a machine without an operating system
        command[-3:] = ["-kernel", program]
        command[-3] += "".join(f",arg={word}" for word in (program, what, folder / "in"))
    return np.loadtxt(run(*command).splitlines(), ndmin=2)


def data(m, n_in, n_out, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(m, n_in)).astype(dtype), rng.integers(0, n_out, m)


def one_hot(y, n, dtype="float32"):
    return np.eye(n, dtype=dtype)[y]


def network(hidden, loss="softmax_cross_entropy", n_in=7, n_out=3, rate=0.05, **options):
    options = {"rng": 1, "optimizer": fa.SGD(rate)} | options
    return fa.Sequential([*hidden, fa.Dense(n_out)], input_shape=n_in, loss=loss, **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "mse"])
def test_every_activation_and_loss_predicts_the_same(tmp_path, loss, dtype):
    x, _ = data(20, 7, 3, dtype)
    hidden = [
        fa.Dense(n, name) for n, name in zip((5, 1, 9, 4, 8, 6, 3) * 2, ACTIVATIONS, strict=True)
    ]
    net = network(hidden, loss, dtype=dtype)
    got = answers(tmp_path, compiled(tmp_path, net, labels=False), "predict", x)
    np.testing.assert_allclose(got, net.predict(x), rtol=1e-6, atol=1e-6)


LOSSES = [
    "huber", "mae", "pinball", "poisson", "focal", fa.SoftmaxCrossEntropy(smoothing=0.3),
    fa.Huber(0.2), fa.Pinball(0.9), fa.Focal(1.5, 0.6),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_other_losses(tmp_path, loss):
    x, y = data(60, 7, 3, "float64")
    net = network([fa.Dense(6, "tanh")], loss, dtype="float64", rule="dfa")
    program = compiled(tmp_path, net, learn=True)
    losses = [net.learn_one(a, b) for a, b in zip(x, y, strict=True)]
    got = answers(tmp_path, program, "label", x, y[:, None].astype("float64"))
    np.testing.assert_allclose(got[:, 0], losses, rtol=1e-8)  # printed with nine digits
    got = answers(tmp_path, compiled(tmp_path, net, labels=False), "predict", x)
    np.testing.assert_allclose(got, net.predict(x), rtol=1e-8)


@pytest.mark.parametrize("name", ["sign", "threshold"])
def test_units_without_a_derivative(tmp_path, name):
    x, y = data(60, 7, 3)
    rule = fa.DFA(inject="pre")
    net = network([fa.Dense(6, name), fa.Dropout(0.0)], rule=rule)
    program = compiled(tmp_path, net, learn=True)
    losses = [net.learn_one(a, b) for a, b in zip(x, y, strict=True)]
    got = answers(tmp_path, program, "label", x, y[:, None].astype("float32"))
    np.testing.assert_allclose(got[:, 0], losses, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", [ACTIVATIONS[2:8], ACTIVATIONS[8:]], ids=str)
def test_the_derivative_of_every_activation(tmp_path, names):
    x, y = data(60, 7, 3, "float64")
    hidden = [fa.Dense(6, name) for name in names]
    net = network(hidden, dtype="float64", rate=0.2)
    program = compiled(tmp_path, net, learn=True)
    losses = [net.learn_one(a, b) for a, b in zip(x, y, strict=True)]
    got = answers(tmp_path, program, "label", x, y[:, None].astype("float64"))
    np.testing.assert_allclose(got[:, 0], losses, rtol=1e-8)  # printed with nine digits


def test_options_of_activations(tmp_path):
    x, _ = data(20, 7, 3)
    hidden = [fa.Dense(6, "leaky_relu", slope=s) for s in (0.3, 0.7)]
    net = network([*hidden, fa.Dense(5, "elu", alpha=0.4)], dtype="float32")
    got = answers(tmp_path, compiled(tmp_path, net, labels=False), "predict", x)
    np.testing.assert_allclose(got, net.predict(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "mse"])
def test_learning_has_the_losses_of_the_engine(tmp_path, rule, loss):
    x, y = data(150, 7, 3)
    hidden = [fa.Dense(6, "tanh"), fa.Dense(5, "gelu", use_bias=False), fa.Dense(4, "relu")]
    optimizer = fa.SGD(0.02, weight_decay=0.01, decay_bias=False)
    net = network(hidden, loss, rule=rule, optimizer=optimizer)
    program = compiled(tmp_path, net, learn=True)
    losses = [net.learn_one(a, b) for a, b in zip(x, y, strict=True)]
    got = answers(tmp_path, program, "label", x, y[:, None].astype("float32"))
    np.testing.assert_allclose(got[:, 0], losses, rtol=1e-4, atol=1e-5)
    rows = answers(tmp_path, program, "row", x, one_hot(y, 3))
    np.testing.assert_allclose(rows, got, rtol=1e-6)


def test_rules_scales_and_switches_of_single_layers(tmp_path):
    x, y = data(200, 7, 3, "float64")
    hidden = [
        fa.Dense(6, "softplus", rule="fa", lr_scale=0.5),
        fa.Dense(5, "tanh", rule="frozen"),
        fa.Dense(4, "sigmoid", rule=fa.DFA(feedback=fa.Feedback(sparsity=0.5), inject="pre")),
        fa.Dense(5, "leaky_relu", bias_lr_scale=3.0),
        fa.Dense(4, "tanh", trainable=False, rule="backprop"),
    ]
    net = network(hidden, "softmax_cross_entropy", dtype="float64", input_scale=0.5)
    program = compiled(tmp_path, net, learn=True)
    losses = [net.learn_one(a, b) for a, b in zip(x, y, strict=True)]
    got = answers(tmp_path, program, "label", x, y[:, None].astype(float))
    np.testing.assert_allclose(got[:, 0], losses, rtol=1e-8)  # printed with nine digits
    assert abs(losses[-1] - losses[0]) > 1e-3


def test_an_output_with_an_activation_learns(tmp_path):
    x, _ = data(100, 7, 1)
    y = np.tanh(x @ np.ones((7, 1), "float32") / 4)
    net = fa.Sequential([fa.Dense(6, "tanh"), fa.Dense(1, "tanh")], input_shape=7, loss="mse",
                        rule="dfa", rng=0, optimizer=fa.SGD(0.1))  # fmt: skip
    program = compiled(tmp_path, net, learn=True, labels=False)
    losses = [net.learn_one(a, b) for a, b in zip(x, y, strict=True)]
    got = answers(tmp_path, program, "row", x, y)
    np.testing.assert_allclose(got[:, 0], losses, rtol=1e-4, atol=1e-7)


def digits_network(rule="dfa", epochs=20):
    x, y, *test = fa.datasets.load("digits")
    net = fa.Sequential([fa.Dense(32, "tanh"), fa.Dense(16, "tanh"), fa.Dense(10)], input_shape=64,
                        rule=rule, rng=0, optimizer=fa.SGD(0.1))  # fmt: skip
    net.fit(x, y, epochs=epochs, verbose=False)
    return net, (x, y), test


def test_the_classes_of_the_whole_test_set(tmp_path):
    net, _, (x, _) = digits_network()
    want = net.predict(x)
    got = answers(tmp_path, compiled(tmp_path, net, labels=False), "predict", x)
    assert (got.argmax(1) == want.argmax(1)).all()
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_int8_weights_keep_nearly_all_classes(tmp_path):
    net, _, (x, y) = digits_network()
    program = compiled(tmp_path, net, labels=False, weights="int8")
    got = answers(tmp_path, program, "predict", x)
    for key in ("0.weight", "1.weight", "2.weight"):  # the same rounding by NumPy
        w = net.parameters[key]
        scale = np.abs(w).max(0) / np.float32(127)
        net.parameters[key] = np.rint(w / scale) * scale
    np.testing.assert_allclose(got, net.predict(x), atol=1e-5)
    assert (got.argmax(1) == y).mean() > 0.9


@pytest.mark.parametrize("rule", ["backprop", "fa", "dfa", "drtp"])
def test_an_epoch_of_digits(tmp_path, rule):
    net, (x, y), _ = digits_network(rule, epochs=1)
    net.lr = 0.01  # one sample a step: with 0.1 the loss jumps, and so do differences of rounding
    program = compiled(tmp_path, net, learn=True)
    losses = [net.learn_one(a, int(b)) for a, b in zip(x, y, strict=True)]
    got = answers(tmp_path, program, "label", x, y[:, None].astype("float32"))
    np.testing.assert_allclose(got[:, 0], losses, atol=1e-4)


@pytest.mark.parametrize("processor", CROSS)
def test_other_processors_compute_the_same(tmp_path, processor):
    cc, emulator = CROSS[processor]
    missing = [name for name in (cc.split()[0], emulator.split()[0]) if not shutil.which(name)]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    x, y = data(50, 7, 3)
    net = network([fa.Dense(6, "tanh"), fa.Dense(5, "gelu")], rule="dfa")
    want = net.predict(x)
    program = compiled(tmp_path, net, cc=cc.split(), learn=True)
    got = answers(tmp_path, program, "predict", x, emulator=emulator)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    losses = [net.learn_one(a, b) for a, b in zip(x, y, strict=True)]
    label = y[:, None].astype("float32")
    got = answers(tmp_path, program, "label", x, label, emulator=emulator)
    np.testing.assert_allclose(got[:, 0], losses, rtol=1e-4, atol=1e-5)


def library(folder, net, *options, **more):
    """The compiled file as a library of ctypes."""
    net.to_c(folder / "net.c", *options, **more)
    run(*CC, *STRICT, "-shared", "-fPIC", folder / "net.c", "-o", folder / "net.so", "-lm")
    return ctypes.CDLL(str(folder / "net.so"))


def test_a_label_out_of_range_and_a_loss_that_is_not_finite_change_nothing(tmp_path):
    net = network([fa.Dense(6, "tanh")], rule="dfa")
    c = library(tmp_path, net, True)
    c.net_learn_label.restype = c.net_learn_one.restype = ctypes.c_float
    numbers = ctypes.c_float * 7
    x, out = numbers(*range(7)), (ctypes.c_float * 3)()
    c.net_predict(x, out)
    before = list(out)
    assert [c.net_learn_label(x, label) for label in (-1, 3)] == [-1, -1]
    assert np.isnan(c.net_learn_label(numbers(*[float("nan")] * 7), 0))
    c.net_predict(x, out)
    assert list(out) == before
    assert c.net_learn_label(x, 2) > 0
    c.net_predict(x, out)
    assert list(out) != before


def test_the_learning_rate_is_a_variable(tmp_path):
    net = network([fa.Dense(6, "tanh")], rule="dfa", rate=0.25)
    c = library(tmp_path, net, True)
    rate = ctypes.c_float.in_dll(c, "net_lr")
    assert rate.value == 0.25
    rate.value = 0.0
    x, out = (ctypes.c_float * 7)(*range(7)), (ctypes.c_float * 3)()
    c.net_predict(x, out)
    before = list(out)
    c.net_learn_label(x, 1)
    c.net_predict(x, out)
    assert list(out) == before


def test_declarations_alone_and_no_other_public_name(tmp_path):
    net = network([fa.Dense(6, "tanh")], rule="dfa")
    net.to_c(tmp_path / "two nets.c", True)
    text = '#define TWO_NETS_DECLARATIONS\n#include "two nets.c"\n#include "two nets.c"\n'
    text += "int main(void) { return TWO_NETS_INPUTS == 7 && two_nets_lr > 0 ? 0 : 1; }\n"
    (tmp_path / "main.c").write_text(text)
    flags = (*CC, *STRICT)
    run(*flags, tmp_path / "main.c", tmp_path / "two nets.c", "-o", tmp_path / "main", "-lm")
    run(tmp_path / "main")
    run(*flags, "-c", tmp_path / "two nets.c", "-o", tmp_path / "net.o")
    symbols = run("nm", tmp_path / "net.o").splitlines()
    public = {line.split()[-1] for line in symbols if line.split()[-2] in "BCDRTV"}
    assert public == {f"two_nets_{n}" for n in ("predict", "lr", "learn_one", "learn_label")}
    called = {line.split()[-1] for line in symbols if line.split()[-2] == "U"}
    assert called <= {"tanhf", "expf", "logf", "memset", "_GLOBAL_OFFSET_TABLE_"}  # no heap


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": fa.SGD(0.1, momentum=0.9)}, "plain SGD, got 'sgd with momentum=0.9'"),
        ({"optimizer": fa.SGD(0.1, clip_norm=1.0)}, "plain SGD, got 'sgd with clip_norm=1'"),
        ({"optimizer": "adam"}, "plain SGD, got 'adam'"),
        ({"rule": "kp"}, 'layer 0: rule: expected one of backprop, .*, got "kp"'),
        ({"hidden": [fa.Dense(4, "relu"), fa.Dropout(0.5)]}, "without Dropout"),
    ],
)
def test_what_the_file_cannot_learn_is_refused(tmp_path, change, words):
    options = {"hidden": [fa.Dense(4, "relu")]} | change
    net = network(**options)
    with pytest.raises(ValueError, match=words):
        net.to_c(tmp_path / "net.c", learn=True)
    assert not (tmp_path / "net.c").exists()
    net.to_c(tmp_path / "net.c")  # but it can predict


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"name": "a b"}, ValueError, "name: expected a name that C allows"),
        ({"name": "while"}, ValueError, "name: expected a name that C allows"),
        ({"weights": "int4"}, ValueError, 'weights: expected one of "float32", "int8"'),
        ({"weights": "int8", "learn": True}, ValueError, 'weights: expected "float32" with learn'),
        ({"learn": 1}, TypeError, "learn: expected True or False"),
    ],
)
def test_wrong_arguments(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        network([]).to_c(tmp_path / "net.c", **options)
    assert not (tmp_path / "net.c").exists()


def test_values_that_are_not_finite_and_folders_that_do_not_exist(tmp_path):
    net = network([])
    with pytest.raises(FileNotFoundError, match="make it first"):
        net.to_c(tmp_path / "no/net.c")
    net.parameters["0.weight"][0, 0] = np.inf
    with pytest.raises(FloatingPointError, match=r"0\.weight: expected finite values"):
        net.to_c(tmp_path / "net.c")
    assert subprocess.run(["ls", tmp_path], capture_output=True, check=True).stdout == b""
