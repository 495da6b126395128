"""The figure that plots return: a notebook shows it without pyplot and without a magic line."""

from __future__ import annotations

import io

from matplotlib import figure

__all__ = ["Figure"]

DOTS = 120  # for each inch, of a picture in a notebook


class Figure(figure.Figure):
    """A figure of matplotlib that IPython can show without one of matplotlib's back ends.

    Attributes
    ----------
    grows : bool
        Whether a legend next to the panels may make it wider.
    """

    grows = False

    def _repr_png_(self) -> bytes:
        return self._drawn("png")

    def _repr_svg_(self) -> str:
        return self._drawn("svg").decode()

    def _drawn(self, kind: str) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, dpi=DOTS, format=kind)
        return drawn.getvalue()
