"""Learning rules: how the error reaches the hidden layers.

A rule is only a different way to get the teaching signal S_l of a hidden layer; forward pass,
loss, gradient (H_{l-1}^T D_l) and optimizer are the same for all of them. The output layer always
gets the exact error e. Shapes: m samples, n_l units of layer l, n_L outputs.

=============  =======  ===========================  =======================================
name           family   S_l (m, n_l)                 source
=============  =======  ===========================  =======================================
``backprop``   chain    d_{l+1} W_{l+1}^T            Rumelhart, Hinton and Williams (1986)
``fa``         chain    d_{l+1} B_l, (n_{l+1}, n_l)  Lillicrap et al. (2016)
``dfa``        error    e B_l, (n_L, n_l)            Nokland (2016)
``sdfa``       error    sign(e) B_l, (n_L, n_l)      Frenkel, Lefebvre and Bol (2021), baseline
``drtp``       target   Y B_l, (n_L, n_l)            Frenkel, Lefebvre and Bol (2021)
``frozen``     none     the layer does not learn     the baseline every rule is held against
=============  =======  ===========================  =======================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ._checks import Described, choice, constant_array, number, show
from ._core import NAMES

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["DFA", "DRTP", "FA", "SDFA", "Backprop", "Feedback", "Frozen", "Rule"]


@dataclass(frozen=True, eq=False, repr=False)
class Feedback(Described):
    """The fixed feedback matrix B of a rule.

    Parameters
    ----------
    distribution : str or array_like of shape (n_source, n_l), default "uniform"
        "uniform": within +-scale / sqrt(n_l); "normal": standard deviation
        scale / sqrt(3 n_l), the same as that of "uniform"; or the values themselves, where
        n_source is the width of what is fed back: the outputs, or for `FA` the layer above.
    scale : float, default 1.0
        Factor on the draw or on the given values; finite.

    Raises
    ------
    TypeError, ValueError
        Unknown distribution; values that are not finite numbers with two axes. Their shape is
        checked by `Sequential`, which knows the widths.
    """

    distribution: str | ArrayLike = "uniform"
    scale: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.distribution, str):
            choice("distribution", self.distribution, NAMES["distribution"])
        else:
            self._set(distribution=constant_array("distribution", self.distribution, ndim=2))
        self._set(scale=number("scale", self.scale))

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes."""
        kind = "distribution" if isinstance(self.distribution, str) else "values"
        return {kind: self.distribution, "scale": self.scale}


_DEFAULT_FEEDBACK = Feedback()


@dataclass(frozen=True, eq=False, repr=False)
class Rule(Described):
    """Base of all rules; use one of its subclasses, or a name.

    Attributes
    ----------
    name : str
        The name that `Sequential` and `Dense` accept for this rule with its defaults.
    source : str
        Where the signal comes from: "above" (the next weighted layer's delta), "error", "target",
        or "" (no signal of its own).
    """

    name: ClassVar[str]
    source: ClassVar[str]

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes: name, inject, feedback for every rule."""
        feedback: Feedback = getattr(self, "feedback", _DEFAULT_FEEDBACK)
        return {
            "name": self.name,
            "inject": getattr(self, "inject", "post"),
            "feedback": feedback.describe(),
        }


@dataclass(frozen=True, eq=False, repr=False)
class _Broadcast(Rule):
    feedback: Feedback = _DEFAULT_FEEDBACK
    inject: str = "post"

    def __post_init__(self) -> None:
        _check_feedback(self.feedback)
        choice("inject", self.inject, ("post", "pre"))


@dataclass(frozen=True, eq=False, repr=False)
class Backprop(Rule):
    """Backpropagation: S_l = d_{l+1} W_{l+1}^T, the exact gradient.

    Parameters
    ----------
    inject : {"post"}
        The signal lands at the layer's output and f' applies; a chain rule has no other way.
    """

    name: ClassVar[str] = "backprop"
    source: ClassVar[str] = "above"

    inject: str = "post"

    def __post_init__(self) -> None:
        _check_chain_inject(self.name, self.inject)


@dataclass(frozen=True, eq=False, repr=False)
class FA(Rule):
    """Feedback alignment: S_l = d_{l+1} B_l with a fixed random B_l of shape (n_{l+1}, n_l).

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post"}
        The signal lands at the layer's output and f' applies; a chain rule has no other way.

    References
    ----------
    Lillicrap, Cownden, Tweed and Akerman, Random synaptic feedback weights support error
    backpropagation for deep learning, Nature Communications 7 (2016).
    """

    name: ClassVar[str] = "fa"
    source: ClassVar[str] = "above"

    feedback: Feedback = _DEFAULT_FEEDBACK
    inject: str = "post"

    def __post_init__(self) -> None:
        _check_feedback(self.feedback)
        _check_chain_inject(self.name, self.inject)


@dataclass(frozen=True, eq=False, repr=False)
class DFA(_Broadcast):
    """Direct feedback alignment: S_l = e B_l with a fixed random B_l of shape (n_L, n_l).

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post", "pre"}
        "post": the signal lands at the layer's output, f' and dropout apply exactly. "pre": it
        lands before the activation, without f', under the 0/1 dropout mask alone.

    References
    ----------
    Nokland, Direct feedback alignment provides learning in deep neural networks, NeurIPS (2016).
    """

    name: ClassVar[str] = "dfa"
    source: ClassVar[str] = "error"


@dataclass(frozen=True, eq=False, repr=False)
class SDFA(_Broadcast):
    """Direct feedback alignment of the error's sign: S_l = sign(e) B_l, B_l of shape (n_L, n_l).

    The sign of a softmax error never shrinks, so hidden units drift into saturation as training
    goes on: use it for studies, with a small or falling learning rate.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post", "pre"}
        As for `DFA`.

    References
    ----------
    Frenkel, Lefebvre and Bol, Learning without feedback: fixed random learning signals allow for
    feedforward training of deep neural networks, Frontiers in Neuroscience 15 (2021).
    """

    name: ClassVar[str] = "sdfa"
    source: ClassVar[str] = "error"


@dataclass(frozen=True, eq=False, repr=False)
class DRTP(_Broadcast):
    """Direct random target projection: S_l = Y B_l, with Y the targets, B_l of shape (n_L, n_l).

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post", "pre"}
        As for `DFA`.

    References
    ----------
    Frenkel, Lefebvre and Bol, Learning without feedback: fixed random learning signals allow for
    feedforward training of deep neural networks, Frontiers in Neuroscience 15 (2021). The sign is
    the published one, S = +Y B.
    """

    name: ClassVar[str] = "drtp"
    source: ClassVar[str] = "target"


@dataclass(frozen=True, eq=False, repr=False)
class Frozen(Rule):
    """The hidden layers keep their first random weights; the output layer learns on them.

    The baseline for every other rule. Where a layer below has a rule of its own that needs a
    signal, it passes through as under backpropagation.
    """

    name: ClassVar[str] = "frozen"
    source: ClassVar[str] = ""


RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (Backprop, FA, DFA, SDFA, DRTP, Frozen)}


def as_rule(name: str, value: object) -> Rule:
    """What `value`, a rule or its name, means as the argument `name`."""
    if isinstance(value, Rule) and type(value) in RULES.values():
        return value
    if isinstance(value, str):
        return RULES[choice(name, value, RULES)]()
    hint = f"; did you mean {show(value)}()?" if value in RULES.values() else ""
    raise TypeError(
        f'{name} must be a name or a rule such as "dfa" or DFA(), got {show(value)}{hint}'
    )


def _check_feedback(value: object) -> None:
    if not isinstance(value, Feedback):
        raise TypeError(f"feedback must be a Feedback, got {show(value)}")


def _check_chain_inject(rule: str, inject: object) -> None:
    if choice("inject", inject, ("post", "pre")) == "pre":
        raise ValueError(
            f'inject must be "post" for the chain rule "{rule}", got "pre": '
            "only rules that broadcast (dfa, sdfa, drtp) can inject before the activation"
        )
