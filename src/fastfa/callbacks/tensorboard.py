"""Writing the logs of each epoch for TensorBoard."""

from __future__ import annotations

import os
from time import time_ns
from typing import TYPE_CHECKING, Any

from .._internal.paths import file_name
from .base import RecordingCallback, file_key

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from .._internal.model import Model


class TensorBoard(RecordingCallback):
    """Write the logs of each epoch as scalars that TensorBoard shows: ``tensorboard --logdir``.

    Needs tensorboardX, which fastfa does not install: ``pip install tensorboardX``. Training and
    validation are two runs, ``train`` and ``validation``, so that TensorBoard draws loss and
    val_loss into one chart. Every ``fit`` adds to what is in the folder.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist.

    Raises
    ------
    ImportError
        tensorboardX is missing.
    OSError
        From ``fit``, before its first step: the folder cannot be written.
    """

    _SETTINGS = ("folder",)

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fsdecode(file_name(folder, "folder"))
        self._writers: dict[str, Any] = {}
        _writer_class()

    def __repr__(self) -> str:
        return f"TensorBoard({self.folder!r})"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_writers": {}}  # of a training that runs in another object

    def _resources(self) -> dict[Hashable, str]:
        return super()._resources() | file_key(self.folder)

    def on_train_begin(self, net: Model) -> None:
        """Make the folder; an error comes now, not after the first epoch."""
        os.makedirs(self.folder, exist_ok=True)
        self._writers = {}

    def on_epoch_end(self, net: Model, epoch: int, logs: Mapping[str, float]) -> None:
        """Write the epoch's scalars."""
        for name, value in logs.items():
            held_out = name.startswith("val_")
            part = "validation" if held_out else "train"
            self._writer(part).add_scalar(name.removeprefix("val_"), value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            folder = os.path.join(self.folder, part)
            # without it, files that are begun in the same second would have one name
            suffix = f".{time_ns()}"
            self._writers[part] = _writer_class()(folder, filename_suffix=suffix)
        return self._writers[part]

    def on_train_end(self, net: Model) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _on_exception(self, net: Model) -> None:
        self.on_train_end(net)


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard needs tensorboardX, which is not installed: pip install tensorboardX"
        ) from error
    return SummaryWriter
