"""examples/embed, done: from C, from two files and from Cython, the same bits as from Python."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from compiling import CC, ROOT, run, words

import fastfa as fa

pytestmark = pytest.mark.slow

EXAMPLE = ROOT / "examples/embed"
EPOCHS, BATCH = 20, 32


@pytest.fixture(scope="module")
def digits():
    x, y, *_ = fa.datasets.load("digits")
    return x.astype(np.float32), y.astype(np.int64)


@pytest.fixture(scope="module")
def data(digits, tmp_path_factory):
    x, y = digits
    file = tmp_path_factory.mktemp("digits") / "digits.bin"
    file.write_bytes(len(x).to_bytes(8, "little") + x.tobytes() + y.tobytes())
    return file


@pytest.fixture(scope="module")
def net(digits):
    """What digits.c describes, trained as it does."""
    trained = fa.Sequential(
        [fa.Dense(64, "tanh"), fa.Dense(32, "tanh"), fa.Dense(10)],
        input_shape=64,
        rule="dfa",
        optimizer=fa.SGD(0.1),
        input_scale=1.0,
        rng=0,
    )
    trained.fit(*digits, epochs=EPOCHS, batch_size=BATCH, verbose=False)
    return trained


def compile_installed(folder, _):
    run(*CC, "-O1", EXAMPLE / "digits.c", *words("--cflags", "--libs"), "-o", folder / "digits")


def compile_pkg_config(folder, _):
    command = [sys.executable, "-m", "pkgconf", "--cflags", "--libs", "fastfa"]
    flags = run(*command).split()
    run(*CC, "-O1", EXAMPLE / "digits.c", *flags, "-o", folder / "digits")


def compile_amalgamation(folder, two_files):
    include, engine = two_files
    sources = (EXAMPLE / "digits.c", engine.object)
    run(*CC, f"-I{include}", *sources, "-lm", "-lpthread", "-o", folder / "digits")


@pytest.fixture(
    scope="module", params=[compile_pkg_config, compile_installed, compile_amalgamation]
)
def program(request, tmp_path_factory, folder, engines):
    """The program, far from the source tree."""
    made = tmp_path_factory.mktemp("program")
    request.param(made, (folder, engines(CC, ("-O0",))))
    return made / "digits"


def outputs(file):
    return np.fromfile(file, np.float32).reshape(-1, 10)


def test_program_is_short():
    assert len((EXAMPLE / "digits.c").read_text().splitlines()) < 60


def test_c_trains_as_python_and_python_reads_what_it_saved(program, data, digits, net, tmp_path):
    saved, out = tmp_path / "net.safetensors", tmp_path / "out.bin"
    printed = run(program, "train", data, saved, out)
    assert float(printed.split()[1]) > 0.9
    loaded = fa.load(saved)
    assert np.array_equal(loaded.predict(digits[0]), outputs(out))
    for key, value in net.parameters.items():
        assert np.array_equal(loaded.parameters[key], value), key
    assert loaded.evaluate(*digits) == net.evaluate(*digits)


def test_c_reads_what_python_saved(program, data, digits, net, tmp_path):
    saved, out = tmp_path / "net.safetensors", tmp_path / "out.bin"
    net.save(saved)
    run(program, "load", data, saved, out)
    assert np.array_equal(outputs(out), net.predict(digits[0]))


def test_errors_end_the_program(program, data, tmp_path):
    (tmp_path / "junk").write_text("junk")
    for arguments, message in (
        (["train"], "expected train"),
        (["load", tmp_path / "none", "a", "b"], "cannot read DATA"),
        (["load", tmp_path / "junk", "a", "b"], "DATA"),
        (["load", data, tmp_path / "junk", "b"], ""),
    ):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("digits: ")
        assert message in done.stderr


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    """Folder of the Cython package, built against the installed package outside of the tree."""
    folder = tmp_path_factory.mktemp("cython")
    shutil.copytree(EXAMPLE / "cython", folder / "source")
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    installed = folder / "installed"
    run(sys.executable, *install, "--target", installed, folder / "source")
    return installed


def test_cython_trains_saves_and_loads_the_same_bits(learner, digits, net, tmp_path):
    x, y = digits
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    net.save(tmp_path / "python.safetensors")
    code = f"""
import numpy as np
from digit_learner import Learner
x, y = np.load("x.npy"), np.load("y.npy")
a = Learner()
a.train(x, y, {EPOCHS})
a.save("cython.safetensors")
for name in ("cython", "python"):
    out = np.empty((len(x), 10), np.float32)
    Learner(name + ".safetensors").predict(x, out)
    np.save(name + ".npy", out)
"""
    environment = {**os.environ, "PYTHONPATH": str(learner)}
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    expected = net.predict(x)
    for name in ("cython", "python"):
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), expected)
    loaded = fa.load(tmp_path / "cython.safetensors")
    for key, value in net.parameters.items():
        assert np.array_equal(loaded.parameters[key], value), key
