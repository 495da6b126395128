"""Feedback matrices: how B of a rule is drawn, or its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ._core import NAMES
from ._internal.arrays import constant_array
from ._internal.attributes import fix
from ._internal.checks import Described, choice, flag, integer, number

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Feedback"]


@dataclass(frozen=True, eq=False, repr=False)
class Feedback(Described):
    """The feedback matrix B of a rule, n_source x n_l.

    n_source is the width of the source: the outputs, or for chain rules such as `FA` the layer
    above. n_l is the width of the layer that gets the signal.

    Parameters
    ----------
    distribution : str, array_like of shape (n_source, n_l) or callable, default "uniform"
        How B is drawn, its values, or a function ``f(n_source, n_l)`` that returns them and is
        called once for each layer when the network is made.

        ==============  ===========================================================================
        name            entries, at scale 1
        ==============  ===========================================================================
        "uniform"       within +-1 / sqrt(n_l)
        "normal"        standard deviation 1 / sqrt(3 n_l), that of "uniform"
        "sign"          +-1 / sqrt(3 n_l), equally likely
        "ternary"       0 and +-1 / sqrt(2 n_l), equally likely
        "orthogonal"    orthogonal rows (columns where they are fewer), spread as "uniform"
        "forward"       the initialiser of the weights that B replaces, for B^T as such weights
        "copy"          the initial W_{l+1}^T itself, without sparsity, rank or shared
        "he_uniform"    and all initialisers with fans (see `Init`), for B^T as weights with n_l
                        inputs and n_source outputs
        ==============  ===========================================================================

        The scalings of published code are among them: Nokland (2016) "uniform"; Frenkel et al.
        (2021) and Webster et al. (2021) "he_uniform"; BioTorch "glorot_uniform"; Akrout et al.
        (2019) "glorot_normal" with scale sqrt(1/2); Meulemans et al. (2020) "glorot_normal";
        Launay et al. (2020) "uniform" with ``shared=True``.
    scale : float, default 1.0
        Factor on the draw or on the given values; finite.
    sparsity : float in [0, 1), default 0.0
        Share of zeros in each column: every unit keeps round((1 - sparsity) n_source) entries of
        the draw, unscaled, at random positions. Less than one entry is an error. With one entry a
        unit (0.9 for ten outputs), as in sparse DFA (Crafton et al. 2019), a fixed matrix takes a
        look-up instead of a product.
    rank : int, optional
        Draw B = P Q: P (n_source, rank) normal with variance 1 / rank, Q (rank, n_l) by the
        distribution. The standard deviation is that of a full draw, except for initialisers that
        use both fans (Glorot's): Q has rank rows instead of n_source, so it is larger.
    shared : bool, default False
        All layers with this option use the first n_l columns of one matrix, whose width and scale
        are those for the widest of them. For rules that broadcast.

    Raises
    ------
    TypeError, ValueError
        Unknown distribution, or values that are not finite numbers with two axes. `Sequential`
        checks what depends on widths, and names the layer.
    """

    distribution: str | ArrayLike | Callable[[int, int], ArrayLike] = "uniform"
    scale: float = 1.0
    sparsity: float = 0.0
    rank: int | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.distribution, str):
            choice("distribution", self.distribution, NAMES["distribution"])
        elif not callable(self.distribution):
            self._set(distribution=constant_array("distribution", self.distribution, ndim=2))
        self._set(
            scale=number("scale", self.scale),
            sparsity=number("sparsity", self.sparsity, low=0.0, below=1.0),
            shared=flag("shared", self.shared),
        )
        if self.rank is not None:
            self._set(rank=integer("rank", self.rank, 1))
        if not isinstance(self.distribution, str) and (self.sparsity or self.rank or self.shared):
            raise ValueError(
                "distribution: expected a name for sparsity, rank or shared, got values"
            )

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        if callable(self.distribution):  # each layer has its own values, see `resolved`
            return {"distribution": "uniform", "scale": self.scale}
        kind = "distribution" if isinstance(self.distribution, str) else "values"
        options = {"sparsity": self.sparsity, "rank": self.rank, "shared": self.shared}
        drawn = options if kind == "distribution" else {}
        return {kind: self.distribution, "scale": self.scale, **drawn}

    def resolved(self, n_source: int, n_l: int) -> Feedback:
        """The same feedback, with the values that a callable returns for these widths."""
        if not callable(self.distribution):
            return self
        return replace(self, distribution=np.asarray(self.distribution(n_source, n_l)))


fix(Feedback)
