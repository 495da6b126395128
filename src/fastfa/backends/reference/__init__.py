"""The equations of fastfa in NumPy: the oracle that the C engine is tested against.

Clarity beats speed. Descriptions and data are trusted: the library has checked them. A learning
rule is a class that carries all that is its own (`rule.py`); `network.py` only walks the layers.

Notation, rows are samples: ``H_0 = X`` (m, n_0); ``A_l = H_{l-1} W_l + b_l`` and ``H_l = f(A_l)``
(m, n_l), l = 1..L; ``e`` (m, n_L) is the error of each sample, dloss_i/dA_L; ``S_l`` the teaching
signal of hidden layer l; ``d_l`` its delta, ``d_L = e``. With sample weights w, ``D_l = w * d_l``,
and the gradient of W_l is ``H_{l-1}^T D_l / m``. In code, layers count from 0; "block l" is Dense l
with the dropouts that follow it.
"""

from .draws import DROPOUT, SHUFFLE, Stream, keep_mask, normals, philox, uniforms, words
from .functions import ACTIVATIONS, LOSSES
from .network import Network
from .rules import RULES

__all__ = [
    "ACTIVATIONS", "DROPOUT", "LOSSES", "RULES", "SHUFFLE", "Network", "Stream", "keep_mask",
    "normals", "philox", "uniforms", "words",
]  # fmt: skip
