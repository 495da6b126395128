"""Arrays of others as input, without a copy where their layout allows; weights handed to others."""

import array
import gc

import numpy as np
import pandas
import pytest
from processes import run_python

import fastfa as fa
from fastfa._internal.arrays import as_array
from fastfa._internal.validation import InputValidator

ROWS, N_IN, CLASSES = 6, 4, 3


class Dlpack:
    """Speaks DLPack and nothing else."""

    def __init__(self, of, device=1):
        self.of, self.device = of, device

    def __dlpack__(self, **how):
        assert self.device == 1, "an array on another device must not be asked for its memory"
        return self.of.__dlpack__(**how)

    def __dlpack_device__(self):
        return self.device, 0


class Interface:
    """Speaks __array_interface__ and nothing else."""

    def __init__(self, of):
        self.of = of  # it owns the memory
        self.__array_interface__ = of.__array_interface__


class OnCuda:
    """A CUDA array as Numba or CuPy offer it; reading it in any way would be a silent copy."""

    def __init__(self):
        shape = (ROWS, N_IN)
        self.__cuda_array_interface__ = {"shape": shape, "typestr": "<f4", "data": (0, False)}

    def __array__(self, *_, **__):
        raise AssertionError("copied from the GPU")


class Refusing(Dlpack):
    """An array that will not show its memory, as a tensor that records gradients."""

    def __dlpack__(self, **how):
        raise BufferError("call .detach() first")


@pytest.fixture
def validator():
    return InputValidator(N_IN, CLASSES, "softmax_cross_entropy", "float32")


def inputs_of(validator, x):
    """The array that the engine gets."""
    return validator.read_inputs(validator.unread_inputs(x))


@pytest.fixture
def x(rng):
    return rng.normal(size=(ROWS, N_IN)).astype(np.float32)


@pytest.fixture
def net():
    return fa.Sequential([fa.Dense(5), fa.Dense(CLASSES)], input_shape=N_IN, rule="dfa", rng=0)


@pytest.mark.parametrize("wrap", [Dlpack, Interface, memoryview])
def test_memory_of_others_is_used_in_place(wrap, x, validator):
    taken = inputs_of(validator, wrap(x))
    assert np.shares_memory(taken, x)
    assert np.array_equal(taken, x)


def test_memmap_is_used_in_place(x, validator, tmp_path):
    path = tmp_path / "x"
    x.tofile(path)
    mapped = np.memmap(path, np.float32, "r", shape=x.shape)
    assert np.shares_memory(inputs_of(validator, mapped), mapped)


def test_array_of_the_standard_library_is_used_in_place():
    labels = array.array("q", [0, 1, 2])
    taken = as_array("y", labels)
    assert np.shares_memory(taken, np.frombuffer(labels, np.int64))


@pytest.mark.parametrize("wrap", [Dlpack, Interface, memoryview, np.ndarray.tolist])
def test_results_do_not_depend_on_the_kind_of_array(wrap, x, net):
    assert np.array_equal(net.predict(wrap(x)), net.predict(x))
    y = np.arange(ROWS) % CLASSES
    losses = [net.evaluate(wrap(x), labels)["loss"] for labels in (y, wrap(y))]
    assert losses == [net.evaluate(x, y)["loss"]] * 2


def test_other_layouts_are_copied(x, validator):
    wide = np.asfortranarray(x)
    taken = inputs_of(validator, Dlpack(wide))
    assert taken.flags.c_contiguous
    assert np.array_equal(taken, x)


@pytest.mark.parametrize("device", [2, 8, 10, 13, 14])
def test_other_devices_are_refused(device, x, net):
    there = Dlpack(x, device)
    with pytest.raises(
        TypeError, match=r"X: expected an array in the memory of the CPU.*\.cpu\(\)"
    ):
        net.predict(there)
    with pytest.raises(TypeError, match="y: expected an array in the memory of the CPU"):
        net.fit(x, Dlpack(np.zeros(ROWS, np.int64), device), epochs=1, verbose=False)
    with pytest.raises(TypeError, match="memory of the CPU"):
        net.parameters["0.weight"] = there


def test_cuda_array_interface_is_refused(net):
    with pytest.raises(TypeError, match=r"X: expected an array in the memory of the CPU"):
        net.predict(OnCuda())
    with pytest.raises(TypeError, match=r"memory of the CPU"):
        fa.Feedback(OnCuda())


def test_pinned_memory_is_of_the_cpu(x):
    class Pinned(Interface):
        def __dlpack_device__(self):
            return 3, 0

    assert np.shares_memory(as_array("X", Pinned(x)), x)


def test_refusal_of_the_owner_is_passed_on(x, net):
    with pytest.raises(
        TypeError, match=r"X: expected an array, got Refusing; call \.detach\(\) first"
    ):
        net.predict(Refusing(x))


def test_place_without_memory_is_refused(net):
    class Nowhere:
        def __dlpack_device__(self):
            raise ValueError("no memory here")

    with pytest.raises(TypeError, match="X: expected an array, got Nowhere; no memory here"):
        net.predict(Nowhere())


def test_views_keep_the_network_alive(net, x):
    expected = {key: view.copy() for key, view in net.parameters.items()}
    views = dict(net.parameters)
    del net
    gc.collect()
    churn = [fa.Sequential([fa.Dense(5), fa.Dense(CLASSES)], input_shape=N_IN) for _ in range(20)]
    for key, view in views.items():
        assert np.array_equal(view, expected[key])
        view += 1  # still memory of ours
    del churn


def test_views_are_handed_on_by_dlpack(net, x):
    before = net.predict(x)
    foreign = np.from_dlpack(net.parameters["0.weight"])
    foreign *= 2
    assert not np.array_equal(net.predict(x), before)


def test_no_other_library_is_imported():
    code = (
        "import sys, fastfa; from fastfa._internal.arrays import as_array; as_array('X', [[1.0]]);"
        "print([m for m in ('torch', 'jax', 'cupy', 'pandas') if m in sys.modules])"
    )
    assert run_python(code) == "[]"


# ---- the real ones, where they are installed ----


def test_torch(x, net, validator):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(x)
    assert np.shares_memory(inputs_of(validator, tensor), x)
    assert np.array_equal(net.predict(tensor), net.predict(x))
    with pytest.raises(TypeError, match="detach"):
        net.predict(tensor.clone().requires_grad_())
    with pytest.raises(TypeError, match="X "):
        net.predict(tensor.to(torch.bfloat16))
    with pytest.raises(TypeError, match="X "):
        net.predict(tensor.to("meta"))
    labels = torch.arange(ROWS) % CLASSES
    net.fit(tensor, labels, epochs=1, verbose=False)
    weight = torch.from_dlpack(net.parameters["0.weight"])
    weight.zero_()
    assert not net.parameters["0.weight"].any()
    net.parameters["0.weight"] = torch.ones(N_IN, 5, dtype=torch.float64)
    assert bool((weight == 1).all())


def test_jax(x, net, validator):
    jax = pytest.importorskip("jax")
    there = jax.numpy.asarray(x)
    taken = inputs_of(validator, there)
    assert np.shares_memory(taken, np.asarray(there))
    assert np.array_equal(net.predict(there), net.predict(x))
    net.fit(there, jax.numpy.arange(ROWS) % CLASSES, epochs=1, verbose=False)
    assert np.array_equal(jax.numpy.from_dlpack(net.parameters["0.bias"]), net.parameters["0.bias"])


def test_pandas(x, net, validator):
    frame = pandas.DataFrame(x, columns=list("abcd"))
    assert np.array_equal(net.predict(frame), net.predict(x))
    column = pandas.Series(np.arange(ROWS) % CLASSES)
    assert np.shares_memory(as_array("y", column), column.to_numpy())
    net.fit(frame, column, epochs=1, verbose=False)
    with pytest.raises(TypeError, match="y: expected real numbers, got '0' at row 0; number"):
        net.fit(frame, column.astype("string"), epochs=1, verbose=False)
