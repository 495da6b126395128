"""Tests of networks on a GPU run over the fake `cupy`, and again over the real one and a GPU."""

import importlib.util

import fake_cupy
import pytest


def has_gpu():
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    return cupy.cuda.is_available()


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU where there is none: such tests are not skipped but not there."""
    needy = [item for item in items if item.get_closest_marker("gpu")]
    if needy and not has_gpu():
        config.hook.pytest_deselected(items=needy)
        items[:] = [item for item in items if item not in needy]


@pytest.fixture(autouse=True)
def own_products(monkeypatch):
    """The bits of a GPU are those of the engine's own products, not of a BLAS library."""
    monkeypatch.setenv("FASTFA_GEMM", "own")


@pytest.fixture(params=["fake", pytest.param("gpu", marks=pytest.mark.gpu)])
def cupy(request):
    """CuPy, real or not."""
    if request.param == "gpu":
        import cupy

        yield cupy
        return
    with fake_cupy.install():
        yield fake_cupy


@pytest.fixture
def machine():
    """The machine of the fake `cupy`, for what only that can show."""
    with fake_cupy.install() as machine:
        yield machine
