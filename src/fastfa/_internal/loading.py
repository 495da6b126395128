"""`load` and `check_file`: networks from files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from .. import _core
from ..backends import choose
from ..losses import Function, Loss, as_loss
from ..optimizers import Optimizer, as_optimizer
from ..rules import Rule
from ..sequential import Sequential
from .checks import plain, show
from .paths import file_name, is_path
from .restoring import restore
from .streams import Readable, reader

if TYPE_CHECKING:
    from ..backends.protocol import Backend, Engine, FindRule

__all__ = ["check_file", "load"]

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def load(
    file: Path | Readable | bytes | bytearray | memoryview,
    *,
    rule: Rule | Mapping[Any, Rule] | None = None,
    lr: Callable[[int], float] | None = None,
    optimizer: str | Optimizer | None = None,
    loss: str | Loss | Function | None = None,
    device: str = "cpu",
) -> Sequential:
    """A network from a file that ``net.save`` or the C library's ``fa_save`` wrote.

    It continues bit for bit where the saved network stopped: parameters, feedback, optimizer
    state, dropout and shuffling; with `optimizer` or `loss`, parameters and feedback only.
    ``reset()`` starts it over from its seed.

    Parameters
    ----------
    file : path-like, binary file or bytes
        The path of a plain file, taken literally ("~" too). Or an object with ``read``, such as
        ``io.BytesIO``, a gzip file or an open pipe: exactly the bytes of one network are read
        from its current position. Or the result of ``net.to_bytes()``.
    rule : Rule or mapping of str or int to Rule, optional
        Only for networks with rules written in Python, which a file cannot hold: the object; with
        several rules one object for each class name; with several objects of one class one for
        each layer index, where -1 is the rule of the network.
    lr : callable, optional
        Only for networks whose learning rate is a function of the step: that function. Not needed
        with another optimizer.
    optimizer : str or Optimizer, optional
        Another optimizer, for fine-tuning: it begins as `Sequential.set_optimizer` says.
    loss : str, Loss or callable, optional
        Another loss, for fine-tuning. Without `optimizer`, that of the file starts with
        empty state. For a network whose loss is a function, which a file cannot hold: that
        function, and nothing else changes.
    device : str, default "cpu"
        Where to load it, "cpu", "cuda" or "cuda:1"; files know no device.

    Returns
    -------
    Sequential

    Raises
    ------
    OSError
        The file cannot be read, or its path leads to a device, a pipe or a folder.
    ValueError
        The file does not hold a network, is damaged, or comes from a newer version; or an object
        that a file cannot hold was not given; or the network does not run on the device.
    ImportError, RuntimeError
        CuPy is not installed, or there is no GPU or no driver for it.

    Examples
    --------
    >>> import fastfa as fa
    >>> net = fa.Sequential([fa.Dense(10)], input_shape=64, rng=0)
    >>> net.save("net.safetensors")  # doctest: +SKIP
    >>> net = fa.load("net.safetensors")  # doctest: +SKIP
    """
    if lr is not None and not callable(lr):
        raise TypeError(f"lr: expected a function lr(step) -> float, got {show(lr)}")
    other_loss = None if loss is None else as_loss("loss", loss)
    wanted = choose(device)
    # the file may have what no GPU runs
    backend = wanted if optimizer is None and loss is None else choose()
    name, engine = _opened(file, backend)
    net = Sequential.__new__(Sequential)
    try:
        restore(
            net, backend, engine, rule, lr, other_loss,
            needs_lr=optimizer is None, needs_loss=other_loss is None,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if optimizer is not None or (other_loss is not None and other_loss is not net.loss):
        other = net.optimizer if optimizer is None else as_optimizer("optimizer", optimizer)
        net._remake(other, net.loss if other_loss is None else other_loss)
    return net.to(wanted.device)


def check_file(path: Path) -> bool:
    """Whether a saved file is whole, without making a network of it.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    bool
        True: the checksum says that every bit is as it was written. False: the file has no
        checksum, like files of the first versions and of other programs; its parts fit together.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        The file is damaged or truncated, or does not hold a network.
    """
    name = file_name(path)
    try:
        return _core.check_file(os.fsencode(name))
    except ValueError as error:
        raise ValueError(f"{plain(os.fsdecode(name))}: {error}") from None


def _bytes(file: bytes | bytearray | memoryview) -> bytes:
    try:
        return bytes(file)
    except (NotImplementedError, ValueError) as error:  # a memoryview that was released
        raise TypeError(f"file: expected readable bytes, got {show(file)}; {error}") from error


def _opened(file: Any, backend: Backend) -> tuple[str, Callable[[FindRule], Engine]]:
    """The name of the file for messages, and a function that makes the engine from it."""
    if isinstance(file, (bytearray, memoryview)) or (isinstance(file, bytes) and b"\0" in file):
        data = _bytes(file)  # every network has zero bytes, no path has one
        return "bytes", lambda rules: backend.load(data, rules)
    if not is_path(file) and hasattr(file, "read"):
        return show(file), lambda rules: backend.load_from(reader(file), rules)
    name = file_name(file)
    return plain(os.fsdecode(name)), lambda rules: backend.load_path(os.fsencode(name), rules)
