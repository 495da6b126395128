"""Images: handwritten digits in the package, MNIST and others from files of the user.

Nothing is downloaded and nothing is unpickled. Files are not trusted: the header is compared with
the content of the file before an array of that size is made.
"""

from __future__ import annotations

import difflib
import gzip
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ._internal.checks import flag, mismatch, plain, show

__all__ = ["load"]

Split = tuple[NDArray[Any], NDArray[np.int64], NDArray[Any], NDArray[np.int64]]


class _Readable(Protocol):
    """An open file, compressed or not."""

    def read(self, n: int = ..., /) -> bytes: ...


_KEYS = ("x_train", "y_train", "x_test", "y_test")
_IDX_STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")
# Exceptions of the standard library and NumPy for malformed files.
_UNREADABLE = (
    ValueError,
    EOFError,
    RuntimeError,  # encrypted, or an unknown compression
    OSError,  # an offset before the file's beginning, a bad gzip header
    zipfile.BadZipFile,
    zlib.error,
)


def load(name: str, path: str | os.PathLike[str] | None = None, *, flat: bool = True) -> Split:
    """Load a data set as ``(X_train, y_train, X_test, y_test)``.

    Parameters
    ----------
    name : {"digits", "mnist", "images"}
        "digits": 1,797 images of 8 x 8 pixels from the package, always with the same split
        (1,437 / 360). "mnist": read from `path`; any data set in the same format works
        (Fashion-MNIST, KMNIST). "images": the same for images of any size and number of channels
        (CIFAR-10), whose `path` must be given.
    path : path-like, optional
        For "mnist" and "images": an ``.npz`` file with the arrays x_train, y_train, x_test, y_test,
        of uint8 and integers, or a directory with the four IDX files (``train-images-idx3-ubyte``
        and so on, plain or ``.gz``). Images are (n, height, width), or (n, height, width,
        channels) in an ``.npz`` file. Default of "mnist": the environment variable
        ``FASTFA_MNIST``.
    flat : bool, default True
        False: images (n, height, width, channels) in place of rows. Networks of images,
        ``input_shape=(height, width, channels)``, take both.

    Returns
    -------
    X_train, X_test : ndarray, (n, n_in)
        One image a row. "digits": float32 in 0..1, n_in = 64. Others: uint8 as stored, for MNIST
        n_in = 784; a network with ``input_scale="auto"`` divides it by 255.
    y_train, y_test : ndarray of int64, (n,)
        Class labels from 0.

    Raises
    ------
    ValueError
        Unknown name, or a file that is corrupt or truncated or contradicts its header.
    FileNotFoundError
        There are no MNIST files; the message says where to put them.

    Notes
    -----
    "digits" is "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine
    Learning Repository, 1998, doi:10.24432/C50P49, CC BY 4.0.

    Many experiments on colour images standardise each channel, by the training images alone:

    >>> X, y, X_test, y_test = load("digits", flat=False)  # (1437, 8, 8, 1)
    >>> mean, std = X.mean((0, 1, 2)), X.std((0, 1, 2))  # a number for each channel
    >>> X, X_test = (X - mean) / std, (X_test - mean) / std
    """
    loaders: dict[str, Callable[[str | os.PathLike[str] | None], Split]] = {
        "digits": _digits,
        "mnist": _mnist,
        "images": _images,
    }
    if not isinstance(name, str) or name not in loaders:
        near = difflib.get_close_matches(show(name), loaders, n=1, cutoff=0.0)
        raise ValueError(
            f"name: expected one of {', '.join(loaders)}, got {show(name)}; nearest: {near[0]!r}"
        )
    split = loaders[name](path)
    return _flat(split) if flag("flat", flat) else _maps(split)


def _flat(split: Split) -> Split:
    """Images as rows."""
    x_train, y_train, x_test, y_test = split
    return x_train.reshape(len(x_train), -1), y_train, x_test.reshape(len(x_test), -1), y_test


def _maps(split: Split) -> Split:
    """Images with an axis of channels."""
    x_train, y_train, x_test, y_test = split
    if x_train.ndim == 2:
        got = f"{x_train.shape}; take flat=True"
        raise ValueError(f"flat: expected images (n, height, width) for flat=False, got {got}")
    if x_train.ndim == 3:
        x_train, x_test = x_train[..., None], x_test[..., None]
    return x_train, y_train, x_test, y_test


def _digits(path: str | os.PathLike[str] | None) -> Split:
    if path is not None:
        raise ValueError(
            f'path: expected none, got {show(path)}; "digits" is shipped with the package'
        )
    with resources.as_file(resources.files("fastfa") / "data" / "digits.npz") as file:
        x_train, y_train, x_test, y_test = _read_npz(Path(file))
    sixteenth = np.float32(1 / 16)  # pixels are counts from 0 to 16
    x_train, x_test = (x.reshape(-1, 8, 8) * sixteenth for x in (x_train, x_test))
    return x_train, y_train, x_test, y_test


def _images(path: str | os.PathLike[str] | None) -> Split:
    if path is None:
        expected = 'that of an .npz file or a directory for "images"'
        raise ValueError(mismatch("path", expected, "None"))
    return _mnist(path)


def _mnist(path: str | os.PathLike[str] | None) -> Split:
    given = path if path is not None else os.environ.get("FASTFA_MNIST")
    if not given:
        raise FileNotFoundError(
            "MNIST is not part of fastfa; give path= (--data on the command line), or set "
            f"FASTFA_MNIST, to an .npz file with {', '.join(_KEYS)}, or to a directory with the "
            f"four files {_idx_name('train-images')}, ... (plain or .gz)"
        )
    place = Path(given)
    if not place.exists():
        raise FileNotFoundError(
            f"no MNIST at {str(place)!r}: put an .npz file or the directory of the four IDX files "
            "there, or name another place by path= (--data on the command line) or by the "
            "environment variable FASTFA_MNIST"
        )
    if place.is_dir():
        return _read_idx_directory(place)
    if not place.is_file():
        raise ValueError(f"path: expected a directory or a plain file, got {str(place)!r}")
    return _read_npz(place)


class _Array:
    """An array in a file; at first only its header is read.

    Parameters
    ----------
    name : str
        For messages, like the next two.
    source, what : str
        The path, and the format that it should have.
    open_file : callable
        Opens the file at its beginning.
    read_header : callable
        Reads the part before the numbers: shape, dtype, and whether the order is Fortran's.
    """

    def __init__(
        self,
        name: str,
        source: str,
        what: str,
        open_file: Callable[[], AbstractContextManager[_Readable]],
        read_header: Callable[[_Readable], tuple[tuple[int, ...], np.dtype[Any], bool]],
    ) -> None:
        self.name, self._source, self._what = name, source, what
        self._open, self._read_header = open_file, read_header
        with self._opened() as file:
            self.shape, self.dtype, self._fortran = read_header(file)
            if any(n < 0 for n in self.shape):
                raise ValueError(f"{name}: expected sizes from 0, got the shape {self.shape}")
        self.n_bytes = math.prod(self.shape) * self.dtype.itemsize

    @contextmanager
    def _opened(self) -> Iterator[_Readable]:
        try:
            with self._open() as file:
                yield file
        except _UNREADABLE as error:
            raise _unreadable(error, self._source, self._what) from error

    def measure(self) -> None:
        """Raise an error if the file is not as long as its header says; nothing is kept."""
        with self._opened() as file:
            self._read_header(file)
            for _ in _pieces(file, self.n_bytes, f"{self.name}: an array of shape {self.shape}"):
                pass

    def read(self) -> NDArray[Any]:
        """The numbers."""
        data, done = np.empty(self.n_bytes, np.uint8), 0
        with self._opened() as file:
            self._read_header(file)
            for piece in _pieces(file, self.n_bytes, self.name):
                data[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done += len(piece)
        return data.view(self.dtype).reshape(self.shape, order="F" if self._fortran else "C")


def _unreadable(error: Exception, source: str, what: str) -> ValueError:
    return ValueError(f"{source}: not a readable {what}: {plain(str(error))}")


def _read_all(images: list[_Array], labels: list[_Array], source: str) -> Split:
    """The four arrays; they get memory only after headers and lengths are checked."""
    _check_headers(images, labels, source)
    for array in (*images, *labels):
        array.measure()
    return _checked([x.read() for x in images], [y.read() for y in labels], source)


def _check_headers(images: list[_Array], labels: list[_Array], source: str) -> None:
    """Check that the four arrays belong together."""
    for part, x, y in zip(("train", "test"), images, labels, strict=True):
        if x.dtype != np.uint8 or len(x.shape) not in (2, 3, 4) or not x.n_bytes:
            raise ValueError(
                f"{source}: {part} images: expected uint8 of shape (n, height, width), with or "
                f"without channels, or (n, pixels), got {x.dtype} of shape {x.shape}"
            )
        if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
            raise _bad_labels(part, x.shape[0], y, source)
    if images[0].shape[1:] != images[1].shape[1:]:
        raise ValueError(
            f"{source}: test images: expected shape {images[0].shape[1:]} as in training, "
            f"got {images[1].shape[1:]}"
        )


def _bad_labels(part: str, n: int, y: _Array | NDArray[Any], source: str) -> ValueError:
    return ValueError(
        f"{source}: {part} labels: expected {n} integers from 0, one for each image, "
        f"got {y.dtype} of shape {y.shape}"
    )


def _checked(images: list[NDArray[Any]], labels: list[NDArray[Any]], source: str) -> Split:
    """Images as they are stored, labels as int64 from 0."""
    for part, y in zip(("train", "test"), labels, strict=True):
        if y.astype(np.int64).min() < 0:
            raise _bad_labels(part, len(y), y, source)
    x_train, x_test = (np.ascontiguousarray(x) for x in images)
    y_train, y_test = (y.astype(np.int64) for y in labels)
    return x_train, y_train, x_test, y_test


# ---- .npz ----


def _read_npz(path: Path) -> Split:
    source = plain(str(path))
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except _UNREADABLE as error:
            raise _unreadable(error, source, ".npz file") from error
        with archive:
            x_train, y_train, x_test, y_test = (_npy(archive, key, source) for key in _KEYS)
            return _read_all([x_train, x_test], [y_train, y_test], source)


def _npy(archive: zipfile.ZipFile, key: str, source: str) -> _Array:
    """One array. np.load would allocate it before it checks how many bytes there are."""
    try:
        info = archive.getinfo(f"{key}.npy")
    except KeyError as error:
        raise ValueError(
            f"{source}: expected the arrays {', '.join(_KEYS)}, got no {key}; {error.args[0]}"
        ) from None

    def read_header(file: _Readable) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"{key}: expected .npy version (1, 0) or (2, 0), got {version}")
        shape, fortran_order, dtype = read(file)
        if dtype.kind not in "iu":
            raise ValueError(f"{key}: expected integers, got {dtype}")
        return shape, dtype, fortran_order

    return _Array(key, source, ".npz file", lambda: archive.open(info), read_header)


# ---- IDX: two zero bytes, type 8 (uint8), rank, one big-endian uint32 an axis, then the bytes ----


def _idx_name(stem: str) -> str:
    return f"{stem}-idx{3 if stem.endswith('images') else 1}-ubyte"


def _read_idx_directory(directory: Path) -> Split:
    x_train, y_train, x_test, y_test = (_idx(_find_idx(directory, s)) for s in _IDX_STEMS)
    return _read_all([x_train, x_test], [y_train, y_test], plain(str(directory)))


def _find_idx(directory: Path, stem: str) -> Path:
    name = _idx_name(stem)
    for spelling in (name, name.replace("-idx", ".idx")):  # both are in use
        for file in (directory / spelling, directory / f"{spelling}.gz"):
            if file.is_file():
                return file
    raise FileNotFoundError(f"{plain(str(directory))}: expected a file {name} or {name}.gz")


def _idx(path: Path) -> _Array:
    rank = 3 if "idx3" in path.name else 1

    def read_header(file: _Readable) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
        magic = _exactly(file, 4, "the magic number")
        if magic != bytes((0, 0, 8, rank)):
            raise ValueError(f"magic number: expected 0000080{rank}, got {magic.hex()}")
        shape = struct.unpack(f">{rank}I", _exactly(file, 4 * rank, "the sizes"))
        return shape, np.dtype(np.uint8), False

    def open_file() -> AbstractContextManager[_Readable]:
        return gzip.open(path) if path.suffix == ".gz" else path.open("rb")

    return _Array("the array", plain(str(path)), "IDX file", open_file, read_header)


def _exactly(file: _Readable, n_bytes: int, what: str) -> bytes:
    data = file.read(n_bytes)
    if len(data) < n_bytes:
        raise ValueError(f"{what}: expected {n_bytes} bytes, got {len(data)}")
    return data


def _pieces(file: _Readable, n_bytes: int, what: str) -> Iterator[bytes]:
    """The rest of a file in pieces; it must be `n_bytes` long."""
    left = n_bytes
    while left and (piece := file.read(min(left, 1 << 20))):
        left -= len(piece)
        yield piece
    if left:
        raise ValueError(f"{what}: expected {n_bytes} bytes, got {n_bytes - left}")
    if file.read(1):
        raise ValueError(f"{what}: expected {n_bytes} bytes, got more")
