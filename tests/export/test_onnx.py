"""`to_onnx`: onnxruntime computes what the engine computes."""

import sys

import numpy as np
import pytest

import fastfa as fa

onnxruntime = pytest.importorskip("onnxruntime", reason="the test extra installs it")
ALL = (
    "linear", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "gelu", "sign", "threshold",
    "elu", "selu", "silu", "mish", "hardtanh", "hard_sigmoid", "softsign",
)  # fmt: skip
IN_DOUBLE = (
    "linear", "relu", "tanh", "sigmoid", "sign", "threshold", "silu", "hardtanh",
)  # fmt: skip
LOSSES = ("softmax_cross_entropy", "sigmoid_cross_entropy", "mse", "focal", "poisson", "huber")


def network(names, loss="softmax_cross_entropy", **options):
    hidden = [fa.Dense(4 + i, name, use_bias=i % 2 == 0) for i, name in enumerate(names)]
    rule = fa.DFA(inject="pre")
    layers = [fa.Dropout(0.2), *hidden, fa.Dropout(0.3), fa.Dense(3)]
    return fa.Sequential(layers, input_shape=6, loss=loss, rule=rule, rng=0, **options)


def inputs(dtype, m=30):
    return np.random.default_rng(1).normal(size=(m, 6)).astype(dtype)


def run(path, x):
    (out,) = onnxruntime.InferenceSession(str(path)).run(["y"], {"x": x})
    return out


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float32", name) for name in ALL] + [("float64", name) for name in IN_DOUBLE],
)
def test_every_activation_and_loss(tmp_path, loss, dtype, name):
    net, x = network([name, name], loss, dtype=dtype, input_scale=0.5), inputs(dtype)
    for output in ("probabilities", "logits"):
        net.to_onnx(tmp_path / "net.onnx", output)
        got, want = run(tmp_path / "net.onnx", x), net.predict(x, output)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, want, rtol=2e-6 if dtype == "float32" else 1e-13, atol=1e-7)


def test_a_model_of_another_type(tmp_path):
    net = network(["gelu", "softplus", "leaky_relu"], dtype="float64")
    net.to_onnx(tmp_path / "net.onnx", dtype="float32")
    got = run(tmp_path / "net.onnx", inputs("float32"))
    np.testing.assert_allclose(got, net.predict(inputs("float32")), atol=1e-6)


def test_any_number_of_rows_and_the_names_that_are_promised(tmp_path):
    import onnx

    net = network(["relu"])
    net.to_onnx(tmp_path / "net.onnx")
    for m in (1, 2, 33):
        assert run(tmp_path / "net.onnx", inputs("float32", m)).shape == (m, 3)
    model = onnx.load(tmp_path / "net.onnx")
    assert (model.producer_name, model.producer_version) == ("fastfa", fa.__version__)
    assert [i.version for i in model.opset_import] == [13]
    assert {t.name for t in model.graph.initializer} == {"1.weight", "1.bias", "3.weight", "3.bias"}


def test_classes_of_digits(tmp_path):
    x, y, x_test, _ = fa.datasets.load("digits")
    net = fa.Sequential([fa.Dense(32, "tanh"), fa.Dense(10)], input_shape=64, rule="dfa", rng=0)
    net.fit(x, y, epochs=5, verbose=False)
    net.to_onnx(tmp_path / "net.onnx")
    got, want = run(tmp_path / "net.onnx", x_test), net.predict(x_test)
    assert (got.argmax(1) == want.argmax(1)).all()
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_without_the_package_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="pip install onnx"):
        network(["relu"]).to_onnx(tmp_path / "net.onnx")


def test_wrong_arguments_write_nothing(tmp_path):
    net = network(["relu"])
    for options, words in (
        ({"output": "classes"}, "output: expected one of"),
        ({"dtype": "float16"}, "dtype: expected one of"),
    ):
        with pytest.raises(ValueError, match=words):
            net.to_onnx(tmp_path / "net.onnx", **options)
    net.parameters["1.weight"][0, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"1\.weight"):
        net.to_onnx(tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
