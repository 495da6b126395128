"""Initial weights and biases: distributions with a scale, or given values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._core import NAMES
from ._internal.arrays import constant_array
from ._internal.attributes import fix
from ._internal.checks import Described, choice, number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Init"]


@dataclass(frozen=True, eq=False, repr=False)
class Init(Described):
    """An initialiser by name.

    With n_in inputs and n_out units of the layer, drawn in double and rounded to the network's
    dtype:

    ==================  ============================================  =============
    name                values                                        default scale
    ==================  ============================================  =============
    ``zeros``           0
    ``uniform``         within +-scale                                0.05
    ``normal``          standard deviation scale                      0.05
    ``glorot_uniform``  within +-scale sqrt(6 / (n_in + n_out))       1
    ``glorot_normal``   standard deviation scale sqrt(2/(n_in+n_out)) 1
    ``he_uniform``      within +-scale sqrt(6 / n_in)                 1
    ``he_normal``       standard deviation scale sqrt(2 / n_in)       1
    ``lecun_uniform``   within +-scale sqrt(3 / n_in)                 1
    ``lecun_normal``    standard deviation scale sqrt(1 / n_in)       1
    ==================  ============================================  =============

    Parameters
    ----------
    name : str
        One of the names above.
    scale : float, optional
        Factor >= 0; None: the default in the table.

    Raises
    ------
    ValueError
        Unknown name, or a negative or non-finite scale.

    References
    ----------
    Glorot and Bengio (2010); He et al. (2015); LeCun et al., Efficient BackProp (1998).
    """

    name: str
    scale: float | None = None

    def __post_init__(self) -> None:
        choice("initializer", self.name, NAMES["initializer"])
        if self.scale is not None:
            self._set(scale=number("scale", self.scale, low=0.0))

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        default = 0.05 if self.name in ("uniform", "normal") else 1.0
        return {"name": self.name, "scale": default if self.scale is None else self.scale}


fix(Init)


def as_init(name: str, value: str | Init | ArrayLike, ndim: int) -> Init | NDArray[Any]:
    """The `Init`, or a read-only array with `ndim` axes, for the value of the argument `name`."""
    if isinstance(value, Init):
        return value
    if isinstance(value, str):
        return Init(choice(name, value, NAMES["initializer"]))
    return constant_array(name, value, ndim)


def init_from(how: Mapping[str, Any]) -> Init | str | NDArray[Any]:
    """The shortest form of the initialiser that a description stands for."""
    if "values" in how:
        values: NDArray[Any] = how["values"]
        return values
    return shortest(Init(how["name"], how["scale"]))


def shortest(init: Init) -> Init | str:
    """The name alone if the scale is its default."""
    default = Init(init.name).describe()
    return init.name if init.describe() == default else init


def describe_init(value: Init | NDArray[Any]) -> dict[str, Any]:
    """The description of the result of `as_init`."""
    return value.describe() if isinstance(value, Init) else {"values": value}
