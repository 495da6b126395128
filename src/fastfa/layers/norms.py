"""Normalisations of each sample by itself."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from .._internal.attributes import fix
from .._internal.checks import flag, integer, number
from .._internal.options import check_options
from .base import Layer

__all__ = ["GroupNorm", "LayerNorm", "RMSNorm"]


class Norm(Layer):
    """Base of the normalisations."""

    kind: ClassVar[str]  # the type in descriptions

    @property
    def is_linear(self) -> bool:
        """No: it divides by the spread of the input."""
        return False

    def _check(self) -> None:
        """Check and convert the common arguments."""
        own: Any = self
        self._set(
            trainable=flag("trainable", own.trainable),
            lr_scale=number("lr_scale", own.lr_scale, low=0.0),
        )
        check_options(self, "layer", self.kind)

    def parameter_shapes(self, given: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        """The shapes of its parameters, by name, for inputs of this shape."""
        own: Any = self
        return {name: given[-1:] for name in ("scale", "shift") if getattr(own, name)}

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        own: Any = self
        return {
            "type": self.kind,
            "trainable": own.trainable,
            "lr_scale": own.lr_scale,
            "eps": own.eps,
            "scale": own.scale,
            "shift": own.shift,
        }


@dataclass(frozen=True, eq=False, repr=False)
class LayerNorm(Norm):
    """Layer normalisation: u = (x - mean) / sqrt(variance + eps), output u scale + shift.

    Mean and variance (biased) are those of the features of a row; of an image those of the channels
    at each position; of a sequence those of each step. The scale, "l.scale", is one at first, and
    the shift, "l.shift", zero; both have an entry for each feature or channel. They belong to the
    block of the layer with weights below and learn from its signal, where that passes them: not
    under ``inject="pre"`` and "pepita", which need ``trainable=False``. Rules that send the error
    directly put it behind the normalisation.

    Parameters
    ----------
    eps : float > 0, default 1e-5
    scale, shift : bool, default True
        Whether there is a scale, and a shift.
    trainable : bool, default True
        False: scale and shift are not updated; the signal still passes. Before the first layer with
        weights no signal arrives, so that only False is possible there.
    lr_scale : float >= 0, default 1.0
        Factor on the learning rate of scale and shift. `weight_decay` applies to them as to biases.

    References
    ----------
    Ba, Kiros and Hinton, Layer normalization (2016).

    Examples
    --------
    >>> import fastfa as fa
    >>> layers = [fa.Dense(32), fa.LayerNorm(), fa.Activation("relu"), fa.Dense(10)]
    >>> net = fa.Sequential(layers, input_shape=64, rule="dfa", rng=0)
    >>> net.parameters["1.scale"].shape
    (32,)
    """

    kind: ClassVar[str] = "layer_norm"

    eps: float = 1e-5
    _: KW_ONLY
    scale: bool = True
    shift: bool = True
    trainable: bool = True
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        self._check()


@dataclass(frozen=True, eq=False, repr=False)
class RMSNorm(Norm):
    """Root mean square normalisation: u = x / sqrt(mean square + eps), output u scale + shift.

    As `LayerNorm`, without the mean. The paper and PyTorch have no shift: ``shift=False``.

    Parameters
    ----------
    eps, scale, shift, trainable, lr_scale
        As of `LayerNorm`.

    References
    ----------
    Zhang and Sennrich, Root mean square layer normalization, NeurIPS (2019).
    """

    kind: ClassVar[str] = "rms_norm"

    eps: float = 1e-5
    _: KW_ONLY
    scale: bool = True
    shift: bool = True
    trainable: bool = True
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        self._check()


@dataclass(frozen=True, eq=False, repr=False)
class GroupNorm(Norm):
    """Group normalisation: each of `groups` parts of the channels by itself, over all positions.

    As `LayerNorm` but for what is normalised together: of an image the channels of a group at all
    positions, of a row the features of a group.

    Parameters
    ----------
    groups : int >= 1
        Parts of the channels or features, whose number it must divide.
    eps, scale, shift, trainable, lr_scale
        As of `LayerNorm`.

    References
    ----------
    Wu and He, Group normalization, ECCV (2018).
    """

    kind: ClassVar[str] = "group_norm"

    groups: int
    eps: float = 1e-5
    _: KW_ONLY
    scale: bool = True
    shift: bool = True
    trainable: bool = True
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        self._set(groups=integer("groups", self.groups, 1))
        self._check()

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return super().describe() | {"groups": self.groups}


fix(LayerNorm, RMSNorm, GroupNorm)
