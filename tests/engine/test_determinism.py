"""Same seed, same bits: any number of threads, another process, a forked child, another path.

Run as a program it prints the bits of every run as JSON, so that other processes can be compared.
"""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import processes
import pytest
from networks import (
    ADAM,
    DTYPES,
    RULES,
    SGD,
    assert_all_close,
    assert_close,
    dense,
    description,
    digest,
    dropout,
    pair,
    rule,
    samples,
)

from fastfa import _core

OPTIMIZERS = {
    "adam": ADAM | {"weight_decay": 0.01},
    "clipped": ADAM | {"clip_norm": 0.05},
    "plain": SGD | {"weight_decay": 0.01},
}
M, BATCH = 150, 64  # two full batches, one of 22; tasks of 64 rows, or fewer with more threads


def network_of(name, optimizer, dtype, n_threads=1, rate=0.2):
    """Wide enough for several tiles, and of widths that fit no vector."""
    layers = [dropout(rate / 2), dense(130, "tanh"), dropout(rate), dense(49, "gelu"), dense(10)]
    return description(
        layers, 65, name, dtype=dtype, optimizer=OPTIMIZERS[optimizer], n_threads=n_threads
    )


def bits(desc):
    """Train as much as an epoch, a batch and single samples; then look at everything."""
    net = _core.Network(desc)
    x, labels, y, _ = data = samples(desc, M, weights=True)
    sums = net.train_steps(*data, net.shuffle(M), BATCH, 0, 3)
    sums += net.train_steps(x, labels, y, None, None, BATCH, 0, 3)
    losses = [
        net.train_batch(x[i:j], labels[i:j], None, None) for i, j in ((0, 130), (5, 6), (7, 8))
    ]
    angles = [[np.nan if v is None else v for v in row.values()] for row in net.alignment(*data)]
    looks = (net.predict(x), net.evaluate(*data), *net.gradients(*data), angles)
    return digest(net.state(), sums, losses, *looks)


CASES = list(itertools.product(RULES, OPTIMIZERS, DTYPES))


def all_bits(n_threads):
    return {"-".join(case): bits(network_of(*case, n_threads)) for case in CASES}


@pytest.fixture(scope="module")
def expected():
    """The bits of one thread."""
    found = all_bits(1)
    assert len(set(found.values())) == len(CASES)
    return found


def elsewhere(n_threads=2, **variables):
    """all_bits in a fresh process; None where its processor or build cannot do that."""
    done = subprocess.run(
        [sys.executable, __file__, str(n_threads)],
        env=processes.environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode and "FASTFA_CPU: expected an instruction set" in done.stderr:
        pytest.skip(f"this processor has no {variables['FASTFA_CPU']}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ------------------------------------------------------------------------------- threads, processes


@pytest.mark.parametrize("n_threads", [2, 3, 5])
def test_any_number_of_threads(expected, n_threads):
    assert all_bits(n_threads) == expected


def test_a_second_process(expected):
    assert elsewhere(n_threads=3) == expected


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # the pool is made for it
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_forked_child(expected, n_threads):
    """The parent's pool is running when it forks; the child has to start one of its own."""
    case = ("dfa", "adam", "float32")
    bits(network_of(*case, 2))
    answer = processes.in_child(lambda: bits(network_of(*case, n_threads)), 60)
    assert answer == expected["-".join(case)]
    assert bits(network_of(*case, 2)) == expected["-".join(case)]


@pytest.mark.parametrize("threads", ["1", "3"])
def test_the_number_of_threads_by_environment(expected, threads):
    assert elsewhere(n_threads=0, FASTFA_NUM_THREADS=threads) == expected


# ------------------------------------------------------------------------ the same by any path


@pytest.mark.parametrize("m", [1, 31, 32, 33, 150])
@pytest.mark.parametrize("name", RULES)
def test_steps_in_one_call_are_train_batch_in_a_loop(name, m, dtype):
    desc = network_of(name, "adam", dtype, n_threads=2)
    data = samples(desc, m, weights=True)
    together, apart, direct = (_core.Network(desc) for _ in range(3))
    for shuffled in (True, False):
        order = together.shuffle(m) if shuffled else None
        count = -(-m // 32)
        loss_sum, *_ = together.train_steps(*data, order, 32, 0, count)
        total = 0.0
        for b in range(count):
            rows = (np.arange(m) if order is None else order)[32 * b : 32 * (b + 1)]
            batch = [None if a is None else a[rows] for a in data]
            total += apart.train_batch(*batch) * len(rows)
            if shuffled:
                direct.train_steps(*data, order, 32, b, 1)
        assert total == loss_sum
        if shuffled:
            apart.shuffle(m), direct.shuffle(m)
            assert together.state() == apart.state() == direct.state()
    assert together.state() == apart.state()


@pytest.mark.parametrize("kind", ["labels", "rows", "bytes"])
def test_gathered_rows_are_the_rows(kind, rng):
    """Shuffled, with row targets or bytes: copied or converted on the way, they stay the same."""
    desc = network_of("drtp", "plain", "float32")
    x, labels, y, _ = samples(desc, 100, rows=kind == "rows")
    if kind == "bytes":
        x = rng.integers(0, 256, x.shape, np.uint8)
    one, two = _core.Network(desc), _core.Network(desc)
    order = rng.permutation(100)
    one.train_steps(x, labels, y, None, order, 30, 0, 4)
    sorted_data = [None if a is None else np.ascontiguousarray(a[order]) for a in (x, labels, y)]
    two.train_steps(*sorted_data, None, None, 30, 0, 4)
    assert one.state() == two.state()


def test_train_batch_direct_is_train_batch(dtype):
    desc = network_of("fa", "adam", dtype)
    x, labels, _, _ = samples(desc, 32)
    one, two = _core.Network(desc), _core.Network(desc)
    for _ in range(3):
        assert one.train_batch_direct(x, labels) == two.train_batch(x, labels, None, None)
    assert one.state() == two.state()


def test_uncounted_looks_change_nothing():
    """Predicting, evaluating, gradients and alignment between steps leave no trace."""
    desc = network_of("fa", "adam", "float32")
    data = samples(desc, 64)
    looked, alone = _core.Network(desc), _core.Network(desc)
    for _ in range(3):
        looked.predict(data[0])
        looked.evaluate(*data)
        looked.gradients(*data)
        looked.alignment(*data)
        assert looked.train_batch(*data) == alone.train_batch(*data)
    assert (looked.state(), looked.counts) == (alone.state(), alone.counts)


# ------------------------------------------------------------------------ instruction sets and BLAS


def test_v3_and_v4_give_the_same_bits():
    assert elsewhere(FASTFA_CPU="v3", FASTFA_GEMM="own") == elsewhere(
        FASTFA_CPU="v4", FASTFA_GEMM="own"
    )


@pytest.mark.parametrize("gemm", ["own", "auto"])
def test_v2_is_the_same_for_any_number_of_threads(gemm):
    one = elsewhere(1, FASTFA_CPU="v2", FASTFA_GEMM=gemm)
    assert one == elsewhere(3, FASTFA_CPU="v2", FASTFA_GEMM=gemm)


TOUCH_EVERY_KERNEL = (
    "edge_sizes and fa-post-49 or hidden_activations or output_activations and drtp-post or "
    "optimizers and drtp or dropout_anywhere and sdfa-pre or large_logits or bytes_are_scaled"
)


@pytest.mark.parametrize("cpu", ["v2", "v3", "v4"])
def test_every_instruction_set_agrees_with_the_oracle(cpu):
    """Tests of test_engine.py that touch every kernel, run again on another instruction set."""
    if cpu == _core.build_info()["isa"]:
        pytest.skip(f"{cpu} is what all tests run on here")
    file = os.path.join(os.path.dirname(__file__), "test_engine.py")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore:BLAS would be faster:RuntimeWarning",  # of a build without it
            "-k",
            TOUCH_EVERY_KERNEL,
            file,
        ],
        env=os.environ | {"FASTFA_CPU": cpu},
        capture_output=True,
        text=True,
        check=False,
    )
    if "FASTFA_CPU: expected an instruction set" in done.stdout + done.stderr:
        pytest.skip(f"this processor has no {cpu}")
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(done.stdout.split(" passed")[0].split()[-1]) > 100


def test_an_instruction_set_that_does_not_exist_is_an_error():
    done = subprocess.run(
        [sys.executable, __file__, "1"],
        env=processes.environment(FASTFA_CPU="v9"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "FASTFA_CPU" in done.stderr
    assert "'v9'" in done.stderr


@pytest.fixture
def blas(monkeypatch):
    """Networks made in this test do their products by BLAS."""
    if not _core.build_info()["blas"].startswith("OpenBLAS"):
        pytest.skip(f"no BLAS in this build: {_core.build_info()['blas']}")
    monkeypatch.setenv("FASTFA_GEMM", "blas")


@pytest.mark.parametrize("name", RULES)
def test_blas_agrees_with_the_oracle(blas, name, dtype):
    for rate in (0.0, 0.3):
        desc = network_of(name, "clipped", dtype, n_threads=2, rate=rate)
        desc["optimizer"] = SGD
        mine, ref = pair(desc)
        data = samples(desc, 100, weights=True)
        assert_all_close(mine.gradients(*data)[1], ref.gradients(*data)[1], dtype)
        for _ in range(3):
            assert_close(mine.train_batch(*data), ref.train_batch(*data), dtype, loose=5.0)
        assert_all_close(mine.parameters, ref.parameters, dtype, loose=5.0)
        assert_close(mine.predict(data[0]), ref.predict(data[0]), dtype, loose=5.0)


def test_blas_is_the_same_for_any_number_of_threads(blas):
    one = all_bits(1)
    assert all_bits(2) == one
    assert all_bits(3) == one
    assert elsewhere(2, FASTFA_GEMM="blas") == one


def test_blas_really_runs(blas, monkeypatch):
    """Otherwise the tests above compare our products with themselves."""
    desc = network_of("backprop", "plain", "float32")
    by_blas = bits(desc)
    monkeypatch.setenv("FASTFA_GEMM", "own")
    assert bits(desc) != by_blas


def test_a_wrong_wish_for_products_is_an_error(monkeypatch):
    monkeypatch.setenv("FASTFA_GEMM", "mkl")
    with pytest.raises(ValueError, match=r"FASTFA_GEMM.*'mkl'"):
        _core.Network(description([dense(2)], 2))


# ------------------------------------------------------------------------------------- batches


def test_predictions_do_not_depend_on_the_batch(dtype, monkeypatch):
    monkeypatch.setenv("FASTFA_GEMM", "own")
    for n_threads in (1, 3):
        desc = network_of("dfa", "plain", dtype, n_threads)
        net = _core.Network(desc)
        x = samples(desc, 200)[0]
        for logits in (False, True):
            whole = net.predict(x, logits)
            for size in (1, 7, 64, 199):
                parts = [net.predict(x[i : i + size], logits) for i in range(0, 200, size)]
                np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_rules_share_the_forward_pass():
    """Same seed: the first loss is the same, bit for bit, whichever rule teaches."""
    losses = set()
    for name in RULES:
        desc = network_of(name, "plain", "float32")
        losses.add(_core.Network(desc).train_batch(*samples(desc, 64)))
    assert len(losses) == 1


def test_feedback_given_by_value_is_the_drawn_one():
    desc = network_of("dfa", "plain", "float64")
    drawn = _core.Network(desc)
    given = [
        layer
        | ({"rule": rule("dfa", values=drawn.feedback[f"{i}.feedback"])} if i in (1, 3) else {})
        for i, layer in enumerate(desc["layers"])
    ]
    assert bits(desc | {"layers": given}) == bits(desc)


if __name__ == "__main__":
    print(json.dumps(all_bits(int(sys.argv[1]))))
