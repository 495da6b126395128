"""Plots: learning curves, alignment of the learning signals, and feedback matrices.

Plots need matplotlib, which fastfa does not install: ``pip install matplotlib``. Figures are made
without pyplot, so they do not change the caller's figures, backend or windows. A notebook shows the
figure that a function returns; ``figure.savefig("curves.pdf")`` writes it. With ``ax=`` a function
draws into panels of your own instead.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart; for print, every
line also has its own dashes.
"""

from .matrices import feedback
from .metrics import curves
from .panels import bands, chance, check, finish, row_of_panels, share_y
from .signals import alignment, learning

__all__ = [
    "alignment",
    "bands",
    "chance",
    "check",
    "curves",
    "feedback",
    "finish",
    "learning",
    "row_of_panels",
    "share_y",
]
