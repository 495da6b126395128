"""Progress bars and warnings that never end a training, whatever stderr is."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm

from .checks import flag

__all__ = ["Progress", "set_verbose", "shows_bar", "warn"]

SECONDS_BETWEEN_LINES = 5.0  # of a bar that goes to a file and not to a terminal
BAR_COLUMNS = 76  # of a complete bar without its numbers
HOURS = len("  1:00:00")

_VERBOSE = [True]


def set_verbose(on: bool) -> None:
    """Set whether training shows a progress bar where ``verbose=`` is not given.

    It holds for this process, and for all threads. tqdm draws the bars, so its environment variable
    ``TQDM_DISABLE=1`` also switches them off, even those that ``verbose=True`` asks for.

    Parameters
    ----------
    on : bool
    """
    _VERBOSE[0] = flag("on", on)


def shows_bar(verbose: object) -> bool:
    """Whether to show a bar for the argument ``verbose``."""
    return _VERBOSE[0] if verbose is None else flag("verbose", verbose)


def warn(message: str, kind: type[Warning] = RuntimeWarning, *, raises: bool = False) -> None:
    """Warn of a failure that does not end training, even if stderr itself is broken.

    Parameters
    ----------
    message : str
    kind : type
    raises : bool
        Whether a warning filter may turn it into an exception.
    """
    try:
        warnings.warn(message, kind, stacklevel=3)
    except Exception as error:
        if raises and isinstance(error, kind):
            raise


class Progress:
    """A bar on stderr. `start` draws it with the progress that was made before.

    Without a stderr there is no bar; if stderr cannot be written, the bar stops with a warning.

    Parameters
    ----------
    total : int or None
        None: not known yet.
    unit : str
    shown : bool
        False: all calls do nothing.
    """

    def __init__(self, total: int | None, unit: str, shown: bool) -> None:
        self._settings: dict[str, Any] = {"total": total, "unit": unit, "initial": 0}
        self._shown = shown and sys.stderr is not None
        self._text = ""
        self._bar: tqdm[NoReturn] | None = None

    def start(self) -> None:
        """Draw the bar for the first time."""
        if not self._shown:
            return
        self._shown = False
        stream = _Stream(sys.stderr)
        interval = 0.1 if stream.isatty() or in_notebook() else SECONDS_BETWEEN_LINES
        try:
            self._bar = _bar_class()(
                **self._settings, file=stream, miniters=1, mininterval=interval, dynamic_ncols=True,
                desc=self._text or None,
            )  # fmt: skip
        except Exception as error:  # for example a wrong environment variable of tqdm
            stream.stop(error)

    def describe(self, text: str) -> None:
        """Set the text before the bar."""
        self._text = text
        if self._bar is not None:
            self._bar.set_description_str(text, refresh=False)

    def show(self, numbers: Mapping[str, float]) -> None:
        """Set the numbers after the bar; on a narrow line they replace it."""
        if self._bar is None:
            return
        bar, columns = self._bar, self._bar.format_dict["ncols"]
        text = ", ".join(f"{key}={value:.4f}" for key, value in numbers.items())
        bar.bar_format = None
        if isinstance(columns, int) and BAR_COLUMNS + len(text) > columns:
            short = _short(numbers, columns - len(self._text) - HOURS)
            short = short.replace("{", "{{").replace("}", "}}")
            bar.bar_format, text = f"{{desc}} {short} {{remaining}}", ""
        bar.set_postfix_str(text, refresh=False)

    def expect(self, total: int) -> None:
        """Set the total, where it was not known before."""
        if self._bar is not None:
            self._bar.total = total

    def update(self, n: int = 1) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(n)
        else:
            self._settings["initial"] += n

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(Exception):  # of tqdm, if another thread opens or closes a bar
            if self._bar is not None:
                self._bar.close()


def _short(numbers: Mapping[str, float], width: int) -> str:
    """The numbers in `width` characters: "loss=0.123 accuracy=0.976 val 0.234 0.955" at worst."""
    words = {key: _digits(value) for key, value in numbers.items()}
    text = " ".join(f"{key}={word}" for key, word in words.items())
    own = [key for key in words if not key.startswith("val_")]
    if len(text) <= width or [f"val_{key}" for key in own] != list(words)[len(own) :]:
        return text[: max(width, 0)]
    text = " ".join(f"{key}={words[key]}" for key in own)
    return f"{text} val {' '.join(words[f'val_{key}'] for key in own)}"[: max(width, 0)]


def _digits(value: float) -> str:
    return f"{value:.3f}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.2e}"


class _Stream:
    """A stream for tqdm whose writes never fail: after the first failure it drops its output."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._works = True

    def __getattr__(self, name: str) -> Any:  # encoding, fileno
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        with suppress(Exception):  # closed, or an object without such a method
            return bool(self._stream.isatty())
        return False

    def write(self, text: str) -> None:
        self._try(self._stream.write, text)

    def flush(self) -> None:
        if hasattr(self._stream, "flush"):
            self._try(self._stream.flush)

    def stop(self, error: Exception) -> None:
        """Warn once that no more output follows, and why."""
        if self._works:
            self._works = False
            warn(f"the progress bar stops, as stderr cannot be written: {error!r}")

    def _try(self, do: Callable[..., object], *arguments: str) -> None:
        if self._works:
            try:
                do(*arguments)
            except Exception as error:
                self.stop(error)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, which IPython says."""
    if "IPython" not in sys.modules:
        return False
    with suppress(Exception):  # any module may have that name
        return "IPKernelApp" in sys.modules["IPython"].get_ipython().config
    return False


def _bar_class() -> type[tqdm[NoReturn]]:
    from importlib import import_module  # here, so that importing fastfa imports NumPy only

    # tqdm.auto draws the same bar in a terminal, and takes longer to import
    base: Any = import_module("tqdm.auto" if in_notebook() else "tqdm").tqdm

    class Bar(base):  # type: ignore[misc]
        _lock = RLock()  # another thread could hold tqdm's own lock while the process forks
        monitor_interval = 0  # no monitor thread: each update reads the clock

    return Bar
