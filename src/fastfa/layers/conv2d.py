"""Convolutions over images."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from .._internal.attributes import fix
from .._internal.checks import integer
from ..initializers import Init
from ..rules import Rule
from .weighted import WeightedLayer
from .windows import Pair, describe_windows, map_size, padding_of, pair, shortest_pair

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Conv2D"]

MAX_FILTERS = 2**31 - 1


@dataclass(frozen=True, eq=False, repr=False)
class Conv2D(WeightedLayer):
    """A convolution: at each position of the image A = patch W + b, output f(A).

    For m images of height x width positions and C channels, H is (m, height, width, C), channels
    last. W is (kernel height, kernel width, C, filters), as in Keras and JAX; PyTorch's
    (filters, C, kernel height, kernel width) is ``W.transpose(3, 2, 0, 1)`` of it.
    Put `Flatten` between it and the next `Dense`.

    Under rules that send the error directly to a layer (such as "dfa"), B has a column for each
    number of the block's output, not for each filter. Under chain rules (such as "fa"), B has the
    shape of the transposed weights of the layer above, (filters, kernel height kernel width C), and
    its products are added where patches overlap, as those of the weights are.
    Networks with convolutions or pools do not take the rules "ifa" and "pepita", and "ldfa" not
    below a convolution.

    Parameters
    ----------
    filters : int
        Channels of the output, >= 1.
    kernel_size : int or pair of ints
        Height and width of a patch.
    activation : str, default "linear"
        As of `Dense`.
    strides : int or pair of ints, default 1
        Distance between positions.
    padding : {"valid", "same"}, int or pair of ints, default "valid"
        Zeros around the image. "valid": none. "same": so many that the map has ceil(size / stride)
        positions, an odd one at the end, as in Keras. Ints: rows above and below, columns left and
        right, as in PyTorch.
    use_bias : bool, default True
    weight_init : str, Init or array_like of the shape of W, optional
        As of `Dense`, with n_in = kernel height x kernel width x C inputs, and n_out the same with
        the filters.
    bias_init : str, Init or array_like of shape (filters,), default "zeros"
    rule, trainable, lr_scale, bias_lr_scale, slope, alpha
        As of `Dense`.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or value. `Sequential` checks what depends on other layers.

    Examples
    --------
    >>> import fastfa as fa
    >>> net = fa.Sequential(
    ...     [fa.Conv2D(8, 3, "relu", strides=2), fa.Flatten(), fa.Dense(10)],
    ...     input_shape=(28, 28, 1),
    ...     rule="dfa",
    ...     rng=0,
    ... )
    >>> net.parameters["0.weight"].shape, net.feedback["0.feedback"].shape
    ((3, 3, 1, 8), (10, 1352))
    """

    kind: ClassVar[str] = "conv2d"

    filters: int
    kernel_size: int | Pair
    activation: str = "linear"
    _: KW_ONLY
    strides: int | Pair = 1
    padding: str | int | Pair = "valid"
    use_bias: bool = True
    weight_init: str | Init | ArrayLike | None = None
    bias_init: str | Init | ArrayLike = "zeros"
    rule: str | Rule | None = None
    trainable: bool = True
    lr_scale: float = 1.0
    bias_lr_scale: float = 1.0
    slope: float = 0.01
    alpha: float = 1.0

    def __post_init__(self) -> None:
        padding = padding_of(self.padding)
        self._set(
            filters=integer("filters", self.filters, 1, MAX_FILTERS),
            kernel_size=shortest_pair(pair("kernel_size", self.kernel_size)),
            strides=shortest_pair(pair("strides", self.strides)),
            padding=padding if isinstance(padding, str) else shortest_pair(padding),
        )
        self._check_weighted(weight_axes=4)

    @property
    def columns(self) -> int:
        """Columns of the weights."""
        return self.filters

    @property
    def initial_weight(self) -> Init | NDArray[Any]:
        """The initialiser of W, or its values."""
        return self._initial_weight(4)

    def weight_shape(self, given: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of W for images of this shape."""
        return *pair("kernel_size", self.kernel_size), given[-1], self.filters

    def output_shape(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """The map of an image of this shape."""
        if len(given) != 3:
            return None
        size, strides = pair("kernel_size", self.kernel_size), pair("strides", self.strides)
        at = map_size((given[0], given[1]), size, strides, padding_of(self.padding))
        return None if at is None else (*at, self.filters)

    def describe(self) -> dict[str, Any]:
        """The description for a backend."""
        return {
            "type": self.kind,
            "filters": self.filters,
            "kernel_size": pair("kernel_size", self.kernel_size),
            **describe_windows(self.strides, self.padding),
            **self._describe_weighted(),
        }


fix(Conv2D)
