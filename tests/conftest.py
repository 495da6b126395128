"""Settings and fixtures that every test may use."""

import signal

import numpy as np
import pytest
from hypothesis import settings

from fastfa._internal import fit_call

fit_call._hinted[0] = True  # tests that count warnings are not the first to train for one epoch

# The same examples in every run: a test that fails here fails everywhere, and passes again.
settings.register_profile("fastfa", derandomize=True, deadline=None, database=None)
settings.load_profile("fastfa")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def keyboard():
    """SIGINT as at a terminal; a job in the background starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(params=("float32", "float64"))
def dtype(request):
    return request.param


@pytest.fixture
def torch():
    """PyTorch, which keeps scalars of its optimizers in the default type, here float64."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)
