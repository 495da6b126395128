"""Handwritten digits to train on: a set shipped with the package, and MNIST from the user's files.

Nothing here downloads anything, and nothing here unpickles anything. Files are not trusted: what a
header promises is compared with what the file holds before an array of that size is made.
"""

from __future__ import annotations

import difflib
import gzip
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._checks import show

__all__ = ["load"]

Split = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.int64]]


class _Readable(Protocol):
    """What is asked of an open file, whatever it is compressed with."""

    def read(self, n: int, /) -> bytes: ...


_KEYS = ("x_train", "y_train", "x_test", "y_test")
_IDX_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
# What the standard library and NumPy raise for bytes that are not what they should be.
_UNREADABLE = (
    ValueError,
    EOFError,
    RuntimeError,  # encrypted, or an unknown compression
    OSError,  # an offset before the file's beginning, a bad gzip header
    zipfile.BadZipFile,
    zlib.error,
)


def load(name: str, path: str | os.PathLike[str] | None = None) -> Split:
    """Load a data set as ``(X_train, y_train, X_test, y_test)``.

    Parameters
    ----------
    name : {"digits", "mnist"}
        "digits": 1,797 images of 8 x 8 pixels, shipped inside the package, always split the same
        way (1,437 / 360). "mnist": read from `path`; any set in the same files will do
        (Fashion-MNIST, KMNIST).
    path : path-like, optional
        For "mnist" only: an ``.npz`` file with the arrays x_train, y_train, x_test, y_test, or a
        directory with the four IDX files (``train-images-idx3-ubyte`` and so on, plain or ``.gz``).
        Default: the environment variable ``FASTFA_MNIST``.

    Returns
    -------
    X_train, X_test : ndarray, (n, n_in)
        One image a row. "digits": float32 in 0..1, n_in = 64. "mnist": uint8 as stored, n_in = 784;
        a network with ``input_scale="auto"`` divides it by 255.
    y_train, y_test : ndarray of int64, (n,)
        Class labels from 0.

    Raises
    ------
    ValueError
        Unknown name, or a file that is corrupt, truncated or not what its header says.
    FileNotFoundError
        No MNIST files there; the message says where to put them.

    Notes
    -----
    "digits" is "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine
    Learning Repository, 1998, doi:10.24432/C50P49, CC BY 4.0.
    """
    loaders: dict[str, Callable[[str | os.PathLike[str] | None], Split]] = {
        "digits": _digits,
        "mnist": _mnist,
    }
    if not isinstance(name, str) or name not in loaders:
        near = difflib.get_close_matches(show(name), loaders, n=1, cutoff=0.0)
        raise ValueError(
            f"name: expected one of {', '.join(loaders)}, got {show(name)} (nearest: {near[0]!r})"
        )
    return loaders[name](path)


def _digits(path: str | os.PathLike[str] | None) -> Split:
    if path is not None:
        raise ValueError(
            f'path: "digits" is shipped with the package and takes none, got {show(path)}'
        )
    with resources.as_file(resources.files("fastfa") / "data" / "digits.npz") as file:
        x_train, y_train, x_test, y_test = _read_npz(Path(file))
    sixteenth = np.float32(1 / 16)  # pixels are counts from 0 to 16
    return x_train * sixteenth, y_train, x_test * sixteenth, y_test


def _mnist(path: str | os.PathLike[str] | None) -> Split:
    given = path if path is not None else os.environ.get("FASTFA_MNIST")
    if not given:
        raise FileNotFoundError(
            "MNIST is not part of fastfa. Pass path= (or set FASTFA_MNIST) to an .npz file with "
            f"{', '.join(_KEYS)}, or to a directory with the four files "
            f"{_idx_name('train-images')}, ... (plain or .gz)"
        )
    place = Path(given)
    if not place.exists():
        raise FileNotFoundError(
            f"no MNIST at {str(place)!r}: put an .npz file or the directory of the four IDX files "
            "there, or pass another path= (default: the environment variable FASTFA_MNIST)"
        )
    return _read_idx_directory(place) if place.is_dir() else _read_npz(place)


def _checked(images: list[NDArray[Any]], labels: list[NDArray[Any]], source: Path) -> Split:
    """Check that the four arrays belong together; images become rows, labels int64."""
    for part, x, y in zip(("train", "test"), images, labels, strict=True):
        if x.dtype != np.uint8 or x.ndim not in (2, 3) or x.size == 0:
            raise ValueError(
                f"{source}: {part} images: expected uint8 of shape (n, height, width) or "
                f"(n, pixels), got {x.dtype} of shape {x.shape}"
            )
        if y.dtype.kind not in "iu" or y.shape != x.shape[:1] or y.astype(np.int64).min() < 0:
            raise ValueError(
                f"{source}: {part} labels: expected {len(x)} integers from 0, one for each image, "
                f"got {y.dtype} of shape {y.shape}"
            )
    if images[0].shape[1:] != images[1].shape[1:]:
        raise ValueError(
            f"{source}: train images are {images[0].shape[1:]}, test images {images[1].shape[1:]}"
        )
    x_train, x_test = (np.ascontiguousarray(x.reshape(len(x), -1)) for x in images)
    y_train, y_test = (y.astype(np.int64) for y in labels)
    return x_train, y_train, x_test, y_test


# ---- .npz ----


def _read_npz(path: Path) -> Split:
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                x_train, y_train, x_test, y_test = (_read_npy(archive, key) for key in _KEYS)
        except KeyError as error:
            message = f"{path}: expected the arrays {', '.join(_KEYS)}; {error.args[0]}"
            raise ValueError(message) from None
        except _UNREADABLE as error:
            raise ValueError(f"{path}: not a readable .npz file: {error}") from error
    return _checked([x_train, x_test], [y_train, y_test], path)


def _read_npy(archive: zipfile.ZipFile, key: str) -> NDArray[Any]:
    """One array. np.load would make the array before it looks at how much is there."""
    info = archive.getinfo(f"{key}.npy")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{key} has .npy version {version}, expected (1, 0) or (2, 0)")
        shape, fortran_order, dtype = read_header(file)
        if dtype.kind not in "iu":
            raise ValueError(f"{key} holds {dtype}, expected integers")
        data = _read_exactly(file, math.prod(shape) * dtype.itemsize, key)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")


# ---- IDX: two zero bytes, type 8 (uint8), rank, one big-endian uint32 an axis, then the bytes ----


def _idx_name(stem: str) -> str:
    return f"{stem}-idx{3 if stem.endswith('images') else 1}-ubyte"


def _read_idx_directory(directory: Path) -> Split:
    x_train, y_train, x_test, y_test = (_read_idx(_find_idx(directory, s)) for s in _IDX_STEMS)
    return _checked([x_train, x_test], [y_train, y_test], directory)


def _find_idx(directory: Path, stem: str) -> Path:
    name = _idx_name(stem)
    for spelling in (name, name.replace("-idx", ".idx")):  # both are in circulation
        for file in (directory / spelling, directory / f"{spelling}.gz"):
            if file.is_file():
                return file
    raise FileNotFoundError(f"{directory}: expected a file {name} or {name}.gz")


def _read_idx(path: Path) -> NDArray[np.uint8]:
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        try:
            return _parse_idx(file, rank=3 if "idx3" in path.name else 1)
        except _UNREADABLE as error:
            raise ValueError(f"{path}: not a readable IDX file: {error}") from error


def _parse_idx(file: _Readable, rank: int) -> NDArray[np.uint8]:
    magic = _read_exactly(file, 4, "the magic number", more_follows=True)
    if magic != bytes((0, 0, 8, rank)):
        raise ValueError(f"magic number: expected 0000080{rank}, got {magic.hex()}")
    sizes = _read_exactly(file, 4 * rank, "the sizes", more_follows=True)
    shape = struct.unpack(f">{rank}I", sizes)
    data = _read_exactly(file, math.prod(shape), f"an array of shape {shape}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_exactly(
    file: _Readable, n_bytes: int, what: str, more_follows: bool = False
) -> bytearray:
    """Read `n_bytes`, and the end of the file unless `more_follows`.

    In pieces: a header that promises terabytes costs no more memory than the file has bytes.
    """
    data = bytearray()
    while len(data) < n_bytes and (piece := file.read(min(n_bytes - len(data), 1 << 20))):
        data += piece
    if len(data) < n_bytes:
        raise ValueError(f"{what}: expected {n_bytes} bytes, the file ends after {len(data)}")
    if not more_follows and file.read(1):
        raise ValueError(f"{what}: expected {n_bytes} bytes, the file goes on")
    return data
