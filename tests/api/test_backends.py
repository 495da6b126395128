"""The choice of an engine; that engines keep to the protocol is for mypy (static_engines.py)."""

import numpy as np
import pytest

import fastfa as fa
from fastfa import _core, backends


def test_the_cpu_has_the_engine_in_c():
    assert backends.choose() is backends.choose("cpu")
    assert backends.choose().device == "cpu"
    net = fa.Sequential([fa.Dense(3)], input_shape=2, rng=0)
    assert type(net._engine) is _core.Network


@pytest.mark.parametrize(
    "device", ["CPU", "gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:99999", "cuda ", "", None, 0]
)
def test_other_devices_are_refused(device):
    with pytest.raises((TypeError, ValueError), match='device: expected "cpu", "cuda" or'):
        backends.choose(device)


def test_direct_calls_leave_what_needs_conversion_to_the_caller():
    engine = fa.Sequential([fa.Dense(3)], input_shape=2, rng=0)._engine
    before = engine.state()
    x, y = np.ones((4, 2), np.float32), np.zeros(4, np.int64)
    assert engine.train_batch_direct(x.tolist(), y) is None
    assert engine.train_batch_direct(x, y + 3) is None  # no such class
    assert engine.learn_one_direct(x[0], 3) is None
    assert engine.predict_one_direct(x[0] * np.nan) is None
    assert engine.state() == before
    assert engine.train_batch_direct(x, y) is not None
    assert engine.state() != before
