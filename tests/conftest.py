"""Settings and fixtures that every test may use."""

import numpy as np
import pytest
from hypothesis import settings

# The same examples in every run: a test that fails here fails everywhere, and passes again.
settings.register_profile("fastfa", derandomize=True, deadline=None, database=None)
settings.load_profile("fastfa")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(params=("float32", "float64"))
def dtype(request):
    return request.param
