"""pytest bench: every case records the build that it ran on.

    pytest bench --benchmark-save=before
    pytest bench --benchmark-compare            the group and name of a case stay the same over time
    pytest-benchmark compare --group-by=group --columns=min,median

FASTFA_CPU chooses the instruction set. CI runs each body once with --benchmark-disable.
"""

import pytest

import fastfa as fa


@pytest.fixture(autouse=True)
def conditions(benchmark, request):
    """Threads, instruction set and BLAS of the case, stored with its times."""
    values = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    benchmark.extra_info |= fa.build_info() | {"threads": values.get("threads", 1)}


@pytest.fixture
def isa():
    """The instruction set in use."""
    return fa.build_info()["isa"]
