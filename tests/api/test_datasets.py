"""fastfa.datasets: the shipped digits, MNIST in all its files, every way a file can be wrong."""

import gzip
import os
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

import fastfa as fa
from fastfa import datasets

KEYS = ("x_train", "y_train", "x_test", "y_test")
IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.fixture
def arrays():
    """A tiny set in MNIST's layout: 7 train and 3 test images of 5 x 4."""
    rng = np.random.default_rng(0)
    return (
        rng.integers(0, 256, (7, 5, 4), dtype=np.uint8),
        rng.integers(0, 10, 7, dtype=np.uint8),
        rng.integers(0, 256, (3, 5, 4), dtype=np.uint8),
        rng.integers(0, 10, 3, dtype=np.uint8),
    )


def idx_bytes(array):
    magic = bytes((0, 0, 8, array.ndim))
    return magic + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(directory, arrays, *, gz=False, dotted=False):
    directory.mkdir(exist_ok=True)
    for name, array in zip(IDX_NAMES, arrays, strict=True):
        name = name.replace("-idx", ".idx") if dotted else name
        data = idx_bytes(array)
        (directory / (name + ".gz" * gz)).write_bytes(gzip.compress(data) if gz else data)
    return directory


def write_npz(path, arrays):
    np.savez_compressed(path, **dict(zip(KEYS, arrays, strict=True)))
    return path


def assert_loaded(got, arrays):
    x_train, y_train, x_test, y_test = got
    for x, expected in ((x_train, arrays[0]), (x_test, arrays[2])):
        assert x.dtype == np.uint8
        assert x.flags.c_contiguous
        np.testing.assert_array_equal(x, expected.reshape(len(expected), -1))
    for y, expected in ((y_train, arrays[1]), (y_test, arrays[3])):
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y, expected)


# ---- digits ----


def test_digits_shapes_types_and_range():
    x_train, y_train, x_test, y_test = datasets.load("digits")
    assert (x_train.shape, x_test.shape) == ((1437, 64), (360, 64))
    assert (y_train.shape, y_test.shape) == ((1437,), (360,))
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    assert x_train.min() == 0.0
    assert x_train.max() == 1.0
    assert set(np.unique(y_train)) == set(np.unique(y_test)) == set(range(10))


def test_digits_parts_share_no_image_and_hold_all_of_them():
    x_train, _, x_test, _ = datasets.load("digits")
    train, test = ({row.tobytes() for row in x} for x in (x_train, x_test))
    assert not train & test
    assert len(x_train) + len(x_test) == 1797


def test_digits_are_the_same_every_time_and_not_shared():
    first, second = datasets.load("digits"), datasets.load("digits")
    first[0][:] = -1.0  # a caller's change must not reach the next caller
    assert second[0].min() == 0.0
    np.testing.assert_array_equal(second[0], datasets.load("digits")[0])


def test_digits_agree_with_scikit_learn():
    bundled = pytest.importorskip("sklearn.datasets").load_digits()
    order = np.random.default_rng(0).permutation(1797)
    x_train, y_train, x_test, y_test = datasets.load("digits")
    for x, y, rows in ((x_train, y_train, order[:1437]), (x_test, y_test, order[1437:])):
        np.testing.assert_array_equal(x * 16, bundled.data[np.sort(rows)])
        np.testing.assert_array_equal(y, bundled.target[np.sort(rows)])


def test_digits_take_no_path(tmp_path):
    with pytest.raises(
        ValueError, match=r'path: expected none, .*"digits" is shipped with the package'
    ):
        datasets.load("digits", path=tmp_path)


def test_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match=r"name: expected one of .* got 'minst'.*'mnist'"):
        datasets.load("minst")


# ---- MNIST ----


def test_npz(tmp_path, arrays):
    assert_loaded(datasets.load("mnist", path=write_npz(tmp_path / "m.npz", arrays)), arrays)


def test_npz_as_flat_uncompressed_fortran_and_wide_labels(tmp_path, arrays):
    x_train, y_train, x_test, y_test = arrays
    np.savez(
        tmp_path / "m.npz",
        x_train=np.asfortranarray(x_train),
        y_train=y_train.astype(">i4"),
        x_test=x_test,
        y_test=y_test.astype(np.int64),
    )
    assert_loaded(datasets.load("mnist", path=str(tmp_path / "m.npz")), arrays)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx(tmp_path, arrays, gz, dotted):
    directory = write_idx(tmp_path / "mnist", arrays, gz=gz, dotted=dotted)
    assert_loaded(datasets.load("mnist", path=directory), arrays)


def test_path_from_the_environment(tmp_path, arrays, monkeypatch):
    monkeypatch.setenv("FASTFA_MNIST", str(write_npz(tmp_path / "m.npz", arrays)))
    assert_loaded(datasets.load("mnist"), arrays)


def test_no_path_says_how_to_give_one(monkeypatch):
    monkeypatch.delenv("FASTFA_MNIST", raising=False)
    with pytest.raises(
        FileNotFoundError, match=r"path= .*or set FASTFA_MNIST.*x_train.*idx3-ubyte"
    ):
        datasets.load("mnist")


def test_missing_file_says_what_to_put_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz.*put an \.npz file or the directory"):
        datasets.load("mnist", path=tmp_path / "absent.npz")


def test_missing_idx_file_is_named(tmp_path, arrays):
    (write_idx(tmp_path / "d", arrays) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected a file t10k-labels-idx1-ubyte or"):
        datasets.load("mnist", path=tmp_path / "d")


@pytest.mark.mnist
def test_real_mnist():
    try:
        x_train, y_train, x_test, y_test = datasets.load("mnist")
    except FileNotFoundError:
        pytest.skip("FASTFA_MNIST names no MNIST files")
    assert (x_train.shape, x_test.shape) == ((60000, 784), (10000, 784))
    assert (x_train.dtype, y_train.dtype) == (np.uint8, np.int64)
    assert list(y_train[:5]) == [5, 0, 4, 1, 9]
    assert list(y_test[:5]) == [7, 2, 1, 0, 4]


# ---- files that are not what they say ----


def test_every_truncation_of_an_npz_is_an_error(tmp_path, arrays):
    whole = write_npz(tmp_path / "m.npz", arrays).read_bytes()
    for n in range(0, len(whole), 7):
        (tmp_path / "cut.npz").write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"cut\.npz"):
            datasets.load("mnist", path=tmp_path / "cut.npz")


def test_every_flipped_byte_of_an_npz_is_an_error_or_harmless(tmp_path, arrays):
    whole = write_npz(tmp_path / "m.npz", arrays).read_bytes()
    n_errors = 0
    for n in range(len(whole)):
        bad = bytearray(whole)
        bad[n] ^= 0xFF
        (tmp_path / "bad.npz").write_bytes(bad)
        try:
            got = datasets.load("mnist", path=tmp_path / "bad.npz")
        except ValueError:
            n_errors += 1
        else:  # a time stamp or an attribute: the checksums cover the content
            assert_loaded(got, arrays)
    assert n_errors > len(whole) / 2


@pytest.mark.parametrize("gz", [False, True])
def test_every_truncation_of_an_idx_file_is_an_error(tmp_path, arrays, gz):
    directory = write_idx(tmp_path / "d", arrays, gz=gz)
    file = directory / (IDX_NAMES[0] + ".gz" * gz)
    whole = file.read_bytes()
    for n in range(len(whole)):
        file.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"train-images-idx3-ubyte"):
            datasets.load("mnist", path=directory)


def test_idx_magic_is_checked(tmp_path, arrays):
    directory = write_idx(tmp_path / "d", arrays)
    (directory / IDX_NAMES[0]).write_bytes(idx_bytes(arrays[1]))  # labels where images belong
    with pytest.raises(ValueError, match=r"magic number: expected 00000803, got 00000801"):
        datasets.load("mnist", path=directory)


def test_idx_with_bytes_left_over(tmp_path, arrays):
    directory = write_idx(tmp_path / "d", arrays)
    with (directory / IDX_NAMES[1]).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"expected 7 bytes, got more"):
        datasets.load("mnist", path=directory)


def npy_with_shape(shape, descr="'|u1'"):
    """An .npy file that promises `shape` and holds sixteen bytes."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(16)


@pytest.mark.parametrize(
    "shape", [(1 << 40, 28, 28), (1 << 62, 1 << 62), (-1, 4), (17,), (15,), ()]
)
def test_npz_that_promises_what_it_does_not_hold(tmp_path, arrays, shape):
    path = write_npz(tmp_path / "m.npz", arrays)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["x_train.npy"] = npy_with_shape(shape)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=r"m\.npz"):
        datasets.load("mnist", path=path)


def test_idx_that_promises_terabytes(tmp_path, arrays):
    directory = write_idx(tmp_path / "d", arrays)
    huge = b"\0\0\x08\x03" + struct.pack(">3I", 0xFFFFFFFF, 5, 4)
    (directory / IDX_NAMES[0]).write_bytes(huge + bytes(100))
    with pytest.raises(ValueError, match=r"train labels: expected 4294967295 integers"):
        datasets.load("mnist", path=directory)
    (directory / IDX_NAMES[1]).write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 0xFFFFFFFF))
    with pytest.raises(ValueError, match=r"expected 85899345900 bytes, got 100$"):
        datasets.load("mnist", path=directory)


def test_pickles_are_refused(tmp_path, arrays):
    bad = (arrays[0], np.array([{}] * 7, dtype=object), *arrays[2:])
    with pytest.raises(ValueError, match=r"y_train: expected integers, got object"):
        datasets.load("mnist", path=write_npz(tmp_path / "m.npz", bad))


def test_npz_lacking_an_array(tmp_path, arrays):
    np.savez(tmp_path / "m.npz", x_train=arrays[0])
    with pytest.raises(ValueError, match=r"expected the arrays x_train, y_train.*'y_train\.npy'"):
        datasets.load("mnist", path=tmp_path / "m.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": lambda y: y[:-1]}, r"train labels: expected 7 integers from 0.*\(6,\)"),
        ({"y_train": lambda y: y.astype(np.int8) - 99}, r"train labels: expected 7 integers"),
        (
            {"x_test": lambda x: x[:, 1:]},
            r"test images: expected shape \(5, 4\) .*, got \(4, 4\)",
        ),
        (
            {"x_test": lambda x: x[:0], "y_test": lambda y: y[:0]},
            r"test images: expected uint8 of shape",
        ),
        ({"x_train": lambda x: x.astype(np.int16)}, r"train images: expected uint8.*got int16"),
        ({"x_train": lambda x: x.astype(float)}, r"x_train: expected integers, got float64"),
    ],
)
def test_arrays_that_do_not_belong_together(tmp_path, arrays, changes, message):
    changed = [changes.get(key, np.array)(array) for key, array in zip(KEYS, arrays, strict=True)]
    path = write_npz(tmp_path / "m.npz", changed)
    with pytest.raises(ValueError, match=message):
        datasets.load("mnist", path=path)


def test_something_else_under_that_name(tmp_path):
    (tmp_path / "m.npz").write_text("not a zip file")
    with pytest.raises(ValueError, match=r"m\.npz: not a readable \.npz file"):
        datasets.load("mnist", path=tmp_path / "m.npz")


def test_unused_members_are_not_read(tmp_path, arrays):
    path = write_npz(tmp_path / "m.npz", arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("extra.npy", b"junk")
    assert_loaded(datasets.load("mnist", path=path), arrays)


# ---- memory ----


def _peak_of_refusing(path, message):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            datasets.load("mnist", path=path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


BOMB = 200 << 20  # bytes of zeros, which compress to a thousandth


@pytest.mark.parametrize("whole", [True, False], ids=["of another size", "cut"])
def test_what_is_refused_takes_no_memory_for_what_it_unpacks_to(tmp_path, arrays, whole):
    """Files of which each is what its header says and that do not fit together, or end early."""
    directory = write_idx(tmp_path / "d", arrays)
    n = BOMB // (28 * 28)
    header = b"\0\0\x08\x03" + struct.pack(">3I", n, 28, 28)
    data = gzip.compress(header + bytes(n * 28 * 28 - (not whole)), 1)
    (directory / IDX_NAMES[0]).unlink()
    (directory / (IDX_NAMES[0] + ".gz")).write_bytes(data)
    if not whole:
        (directory / IDX_NAMES[1]).write_bytes(b"\0\0\x08\x01" + struct.pack(">I", n) + bytes(n))
        test = np.zeros((len(arrays[2]), 28, 28), np.uint8)
        (directory / IDX_NAMES[2]).write_bytes(idx_bytes(test))
    peak = _peak_of_refusing(directory, "labels: expected" if whole else "bytes, got")
    assert peak < BOMB / 10


def test_npz_that_is_refused_takes_no_memory_for_what_it_unpacks_to(tmp_path, arrays):
    bomb = np.zeros((BOMB // 64, 8, 8), np.uint8)
    path = write_npz(tmp_path / "m.npz", (bomb, *arrays[1:]))
    del bomb
    assert _peak_of_refusing(path, "labels: expected") < BOMB / 10


@pytest.mark.parametrize("place", ["/dev/zero", "fifo"])
def test_devices_and_pipes_are_refused(tmp_path, monkeypatch, place):
    if place == "fifo":
        place = tmp_path / "fifo"
        os.mkfifo(place)
    monkeypatch.setenv("FASTFA_MNIST", str(place))
    with pytest.raises(ValueError, match="path: expected a directory or a plain file, got"):
        datasets.load("mnist")


def test_paths_are_shown_plain(tmp_path):
    folder = tmp_path / "\x1b[31mred"
    folder.mkdir()
    (folder / "m.npz").write_bytes(b"no")
    for path, error in ((folder / "m.npz", ValueError), (folder, FileNotFoundError)):
        with pytest.raises(error) as caught:
            datasets.load("mnist", path=path)
        assert "\x1b" not in str(caught.value)


def test_images_keep_their_shape(tmp_path, arrays):
    x_train, _, x_test, _ = datasets.load("digits", flat=False)
    assert (x_train.shape, x_test.shape) == ((1437, 8, 8, 1), (360, 8, 8, 1))
    assert np.array_equal(x_train.reshape(1437, 64), datasets.load("digits")[0])
    path = write_npz(tmp_path / "m.npz", arrays)
    for name in ("mnist", "images"):
        x_train, y_train, x_test, _ = datasets.load(name, path, flat=False)
        assert np.array_equal(x_train, arrays[0][..., None])
        assert np.array_equal(x_test, arrays[2][..., None])
        assert np.array_equal(y_train, arrays[1])


def test_images_may_have_channels(tmp_path, arrays):
    colour = [np.stack([x, x // 2, 255 - x], axis=-1) if x.ndim == 3 else x for x in arrays]
    path = write_npz(tmp_path / "c.npz", colour)
    x_train, y_train, x_test, _ = datasets.load("images", path, flat=False)
    assert np.array_equal(x_train, colour[0])
    assert np.array_equal(x_test, colour[2])
    assert np.array_equal(datasets.load("images", path)[0], colour[0].reshape(7, -1))
    layers = [fa.Conv2D(2, 3, "relu"), fa.Flatten(), fa.Dense(10)]
    net = fa.Sequential(layers, input_shape=(5, 4, 3), rng=0)
    assert net.train_batch(x_train, y_train) > 0


def test_what_has_no_images_is_refused(tmp_path, arrays):
    rows = [x.reshape(len(x), -1) if x.ndim == 3 else x for x in arrays]
    path = write_npz(tmp_path / "m.npz", rows)
    with pytest.raises(ValueError, match=r"flat: expected images .* got \(7, 20\); take flat=True"):
        datasets.load("mnist", path, flat=False)
    with pytest.raises(ValueError, match=r"path: expected that of an \.npz file"):
        datasets.load("images")
    with pytest.raises(TypeError, match="flat: expected True or False"):
        datasets.load("digits", flat=0)
    deep = [x[..., None, None] if x.ndim == 3 else x for x in arrays]
    with pytest.raises(ValueError, match="with or without channels"):
        datasets.load("images", write_npz(tmp_path / "d.npz", deep))
