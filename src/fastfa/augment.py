"""Random changes of images during training."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from ._internal.attributes import fix
from ._internal.checks import Described, flag, integer, mismatch

__all__ = ["Augment"]

MOST = 2**31 - 1


@dataclass(frozen=True, eq=False, repr=False)
class Augment(Described):
    """Shift and flip the images of each batch at random: ``net.fit(..., augment=Augment(...))``.

    An image is shifted first, then flipped. What happens to it is drawn from the network's seed
    for each step and row of the batch, so results are the same for any number of threads and go on
    the same after `load`. Samples that validate stay as they are.

    Parameters
    ----------
    flip : bool, default False
        Exchange left and right in half of the cases.
    crop : int, default 0
        The most rows and columns that an image is shifted by, each number from -crop to crop with
        equal chance; zeros come in. That is a crop at random of an image with as many zeros around
        it, the value that black has if X was not standardised, and the mean if it was.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong type or value, or neither of them is given. `Sequential.fit`
        refuses a crop that is not smaller than the images, and samples that are no images.

    Examples
    --------
    >>> import fastfa as fa
    >>> fa.Augment(flip=True, crop=4)
    Augment(flip=True, crop=4)
    """

    _: KW_ONLY
    flip: bool = False
    crop: int = 0

    def __post_init__(self) -> None:
        self._set(flip=flag("flip", self.flip), crop=integer("crop", self.crop, 0, MOST))
        if not self.flip and not self.crop:
            got = "Augment(), which changes nothing"
            raise ValueError(mismatch("flip, crop", "flip=True or a crop above 0", got))


fix(Augment)
