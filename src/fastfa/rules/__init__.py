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
``usf``        chain    d_{l+1} s sign(W_{l+1}^T)    Liao, Leibo and Poggio (2016)
``frsf``       chain    d_{l+1} |R| sign(W_{l+1}^T)  the same, R drawn once
``brsf``       chain    the same, R drawn each step  the same
``kp``         chain    d_{l+1} B_l, B_l learns      Kolen and Pollack (1994), Akrout et al. (2019)
``dkp``        error    e B_l, B_l learns            Webster, Choi and Ahn (2021)
``ternary``    error    T(e) B_l, T in -1, 0, 1      Launay et al. (2020)
``ifa``        error    S_1 = e B_1, d_{l-1} W_l     Nokland (2016)
``ldfa``       chain    d_{l+1} P Q, both learn      Hanut and Kadmon (2025)
``local``      head     e_l M_l^T, a head per layer  Nokland and Eidnes (2019)
``pepita``     input    D_l = H_l - H'_l, two passes  Dellaferrera and Kreiman (2022)
``frozen``     none     the layer does not learn     the baseline every rule is held against
=============  =======  ===========================  =======================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from .._internal.attributes import fix
from .._internal.checks import Described, choice, flag, integer, kind, number, show
from ..feedback import Feedback

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .._internal.rule_context import Teaching

__all__ = [
    "BRSF", "DFA", "DKP", "DRTP", "FA", "FRSF", "IFA", "KP", "LDFA", "PEPITA", "SDFA", "USF",
    "Backprop", "Frozen", "Local", "Rule", "Ternary",
]  # fmt: skip

_DEFAULT_FEEDBACK = Feedback()
_PEPITA_FEEDBACK = Feedback("he_uniform", scale=0.05)


@dataclass(frozen=True, eq=False, repr=False)
class Rule(Described):
    """Base of all rules; use one of its subclasses, or a name.

    Attributes
    ----------
    name : str
        The name that `Sequential` and `Dense` accept for this rule with its defaults.
    source : str
        Where the signal comes from: "above" (the next weighted layer's delta), "error", "target",
        "head" (one of its own), "input" (a second pass), or "" (no signal of its own).
    """

    name: ClassVar[str] = "custom"
    source: ClassVar[str] = "error"

    def signal(self, ctx: Teaching) -> ArrayLike:
        """S_l (m, n_l) of one hidden layer, for each sample: what a rule of your own must say.

        Derive from `Rule`, implement this, and pass an object of the class as ``rule=``. It is
        called in each step for every hidden layer under the rule, from the top down, once all rows
        have gone forward; f', dropout masks, gradients and optimizer are the engine's business. An
        attribute ``feedback = Feedback(...)`` asks for a stored matrix (n_L, n_l), and ``inject``
        may be "pre" or "post".

        Parameters
        ----------
        ctx : Teaching
            The step, as read-only arrays that you may keep.
        """
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes: name, inject, feedback for every rule."""
        if is_custom(self):
            own = getattr(self, "feedback", None)
            row = {"name": "custom", "inject": getattr(self, "inject", "post"), "host": self}
            return row if own is None else row | {"feedback": own.describe()}
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
class _Chain(Rule):
    source: ClassVar[str] = "above"

    feedback: Feedback = _DEFAULT_FEEDBACK
    inject: str = "post"

    def __post_init__(self) -> None:
        _check_feedback(self.feedback)
        _check_chain_inject(self.name, self.inject)


@dataclass(frozen=True, eq=False, repr=False)
class FA(_Chain):
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
class USF(Rule):
    """Uniform sign symmetry: S_l = d_{l+1} B_l, B_l = s sign(W_{l+1}^T) of shape (n_{l+1}, n_l).

    B_l is made from the weights before each step; s = scale sqrt(2 / (n_l + n_{l+1})) is the
    standard deviation of Glorot's initial weights, and sign(0) = 0.

    Parameters
    ----------
    scale : float, default 1.0
        Factor on s; finite.
    inject : {"post"}
        The signal lands at the layer's output and f' applies; a chain rule has no other way.

    References
    ----------
    Liao, Leibo and Poggio, How important is weight symmetry in backpropagation?, AAAI (2016).
    The form and s: Sanfiz and Akrout, Benchmarking the accuracy and robustness of feedback
    alignment algorithms (2021).
    """

    name: ClassVar[str] = "usf"
    source: ClassVar[str] = "above"

    scale: float = 1.0
    inject: str = "post"

    def __post_init__(self) -> None:
        self._set(scale=number("scale", self.scale))
        _check_chain_inject(self.name, self.inject)

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes: the scale travels as that of the feedback."""
        feedback = Feedback(scale=self.scale).describe()
        return {"name": self.name, "inject": self.inject, "feedback": feedback}


@dataclass(frozen=True, eq=False, repr=False)
class FRSF(_Chain):
    """Sign symmetry with fixed random magnitudes: S_l = d_{l+1} B_l, B_l = |R| sign(W_{l+1}^T).

    R (n_{l+1}, n_l) is drawn once and is what `net.feedback` holds; the signs are those of the
    weights before each step.

    Parameters
    ----------
    feedback : Feedback, optional
        How R is drawn, or its values.
    inject : {"post"}
        The signal lands at the layer's output and f' applies; a chain rule has no other way.

    References
    ----------
    As for `USF`.
    """

    name: ClassVar[str] = "frsf"


@dataclass(frozen=True, eq=False, repr=False)
class BRSF(_Chain):
    """Sign symmetry with batchwise random magnitudes: B_l = |R_t| sign(W_{l+1}^T).

    R_t (n_{l+1}, n_l) is drawn anew for each step t, from the seed and t alone; nothing is stored.

    Parameters
    ----------
    feedback : Feedback, optional
        How R_t is drawn; no values.
    inject : {"post"}
        The signal lands at the layer's output and f' applies; a chain rule has no other way.

    References
    ----------
    As for `USF`.
    """

    name: ClassVar[str] = "brsf"


@dataclass(frozen=True, eq=False, repr=False)
class KP(_Chain):
    """Kolen-Pollack: feedback alignment whose B_l (n_{l+1}, n_l) learns with the weights above.

    Whatever step the optimizer takes on W_{l+1}, B_l takes its transpose; then both lose the share
    `decay` of what they were, so that W_{l+1} - B_l^T = (1 - decay)^t of its first value, if
    layer l+1 trains. The optimizer's own weight decay is part of its step and leaves that
    difference as it is.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn at first, or its values.
    decay : float in [0, 1), default 0.0
        Share of W_{l+1} and B_l that is lost in every step. 0, as in the published code, aligns
        through what W and B have in common, which grows; more makes them equal.
    inject : {"post"}
        The signal lands at the layer's output and f' applies; a chain rule has no other way.

    References
    ----------
    Kolen and Pollack, Backpropagation without weight transport, ICNN (1994). Akrout, Wilson,
    Humphreys, Lillicrap and Tweed, Deep learning without weight transport, NeurIPS (2019).
    """

    name: ClassVar[str] = "kp"

    decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(decay=number("decay", self.decay, low=0.0, below=1.0))

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes."""
        return super().describe() | {"decay": self.decay}


@dataclass(frozen=True, eq=False, repr=False)
class DKP(_Broadcast):
    """Direct Kolen-Pollack: S_l = e B_l, and B_l (n_L, n_l) learns from (1/m) e^T H_l.

    H_l is the layer's output as the layers above see it. B_l is trained by the network's own
    optimizer, like a weight: so with one hidden layer and lr_scale 1 every step of B is that of
    W_L transposed, and the rule is `KP`. `clip_norm` counts it; the optimizer's weight decay does
    not touch it, `decay` does.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn at first, or its values.
    decay : float in [0, 1), default 0.0
        Share of B_l that is lost in every step.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of B_l.
    inject : {"post", "pre"}
        As for `DFA`.

    References
    ----------
    Webster, Choi and Ahn, Learning the connections in direct feedback alignment (2021).
    """

    name: ClassVar[str] = "dkp"
    source: ClassVar[str] = "error"

    decay: float = 0.0
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            decay=number("decay", self.decay, low=0.0, below=1.0),
            lr_scale=number("lr_scale", self.lr_scale, low=0.0),
        )
        if self.lr_scale == 0:
            raise ValueError("lr_scale must be > 0, got 0: feedback that does not learn is DFA")

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes."""
        return super().describe() | {"decay": self.decay, "lr_scale": self.lr_scale}


@dataclass(frozen=True, eq=False, repr=False)
class Ternary(_Broadcast):
    """Direct feedback of a ternary error: S_l = T(e) B_l, B_l of shape (n_L, n_l).

    T(x) = sign(x) where abs(x) > threshold, else 0: what an optical or digital device can send with
    three levels. Unlike `SDFA` it falls silent where the outputs are right.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_l is drawn, or its values.
    inject : {"post", "pre"}
        As for `DFA`.
    threshold : float >= 0, default 0.25
        Errors up to this size count as 0. A setting to tune: the signal does not shrink with the
        error, so with too little of it units saturate as under `SDFA`.

    References
    ----------
    Launay, Poli, Boniface and Krzakala, Direct feedback alignment scales to modern deep learning
    tasks and architectures, NeurIPS (2020), and its optical implementations.
    """

    name: ClassVar[str] = "ternary"
    source: ClassVar[str] = "error"

    threshold: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(threshold=number("threshold", self.threshold, low=0.0))

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes."""
        return super().describe() | {"threshold": self.threshold}


@dataclass(frozen=True, eq=False, repr=False)
class IFA(Rule):
    """Indirect feedback alignment: S_1 = e B_1 at the lowest hidden layer, S_l = d_{l-1} W_l above.

    What teaches a layer rises through the forward weights. On a single layer other than the lowest
    it reads the delta of the layer below, whose rule must then not read from above.

    Parameters
    ----------
    feedback : Feedback, optional
        How B_1 (n_L, n_1) is drawn, or its values.
    inject : {"post"}
        The signal lands at the layer's output and f' applies.

    References
    ----------
    Nokland, Direct feedback alignment provides learning in deep neural networks, NeurIPS (2016).
    """

    name: ClassVar[str] = "ifa"
    source: ClassVar[str] = "error"

    feedback: Feedback = _DEFAULT_FEEDBACK
    inject: str = "post"

    def __post_init__(self) -> None:
        _check_feedback(self.feedback)
        _check_chain_inject(self.name, self.inject)


@dataclass(frozen=True, eq=False, repr=False)
class LDFA(_Chain):
    """Low-dimensional feedback: S_l = d_{l+1} P Q of rank r whose P and Q learn.

    Q is trained like a weight, by the network's optimizer on (1/m) (d_{l+1} P)^T H_l, so that the
    feedback costs r (n_l + n_{l+1}) products a sample instead of n_l n_{l+1}.

    Parameters
    ----------
    feedback : Feedback, optional
        How Q is drawn at first, as a B of r rows; no values. P starts with orthonormal columns:
        d P P^T is a projection, never larger than d.
    rank : int, optional
        r, at most the width of the layer and of the one above. None: the number of outputs, or
        what fits.
    decay : float in [0, 1), default 0.0
        Share of Q that is lost in every step.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of Q.
    oja : float >= 0, default 0.1
        P learns the r principal directions of the delta above it by Oja's subspace rule, at this
        factor on the learning rate; 0 keeps P as drawn. Too much diverges: on the demo 1 does.
    inject : {"post"}
        The signal lands at the layer's output and f' applies; a chain rule has no other way.

    References
    ----------
    Hanut and Kadmon, Efficiently training large neural networks with low-dimensional error
    feedback (2025). Oja, Neural networks, principal components, and subspaces (1989).
    """

    name: ClassVar[str] = "ldfa"

    rank: int | None = None
    decay: float = 0.0
    lr_scale: float = 1.0
    oja: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(oja=number("oja", self.oja, low=0.0))
        if self.rank is not None:
            self._set(rank=integer("rank", self.rank, 1, 2**31 - 1))
        self._set(
            decay=number("decay", self.decay, low=0.0, below=1.0),
            lr_scale=number("lr_scale", self.lr_scale, low=0.0),
        )
        if self.lr_scale == 0:
            raise ValueError("lr_scale must be > 0, got 0")

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes."""
        own = {"rank": self.rank, "decay": self.decay, "lr_scale": self.lr_scale}
        return super().describe() | own | {"oja": self.oja}


@dataclass(frozen=True, eq=False, repr=False)
class Local(_Broadcast):
    """A loss of its own for each hidden layer: S_l = e_l M_l^T, with a head M_l (n_l, n_L).

    The head predicts the targets from the layer's output, z_l = H_l M_l + c_l; e_l is the error of
    the network's loss on z_l, and nothing of it leaves the layer. ``net.parameters`` holds
    the heads as "l.head.weight" and "l.head.bias"; they learn as the output layer does.

    Parameters
    ----------
    feedback : Feedback, optional
        How M_l^T (n_L, n_l) is drawn at first ("uniform", "normal" or an initialiser, whole), or
        its values.
    inject : {"post", "pre"}
        As for `DFA`.
    train_head : bool, default True
        False keeps the heads as drawn: each layer learns to be read by a fixed random classifier.
    lr_scale : float > 0, default 1.0
        Factor on the learning rate of the heads.

    References
    ----------
    Nokland and Eidnes, Training neural networks with local error signals, ICML (2019), prediction
    loss. Mostafa, Ramesh and Cauwenberghs, Deep supervised learning using local errors, Frontiers
    in Neuroscience 12 (2018), with fixed heads.
    """

    name: ClassVar[str] = "local"
    source: ClassVar[str] = "head"

    train_head: bool = True
    lr_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            train_head=flag("train_head", self.train_head),
            lr_scale=number("lr_scale", self.lr_scale, low=0.0),
        )
        if self.lr_scale == 0:
            raise ValueError("lr_scale must be > 0, got 0: train_head=False keeps the heads")

    def describe(self) -> dict[str, Any]:
        """The plain-data form a backend takes."""
        return super().describe() | {"train_head": self.train_head, "lr_scale": self.lr_scale}


@dataclass(frozen=True, eq=False, repr=False)
class PEPITA(Rule):
    """Two forward passes, the error modulating the input of the second; nothing goes backward.

    X' = X + e F^T goes through the network with the same dropout masks and gives H'_l and e'. Each
    hidden layer learns from D_l = H_l - H'_l and the output layer from e', both with H'_{l-1} as
    what came in: gW_l = H'_{l-1}^T D_l / m. No f' appears, so units without a derivative train.
    The whole network follows it: a layer may only say ``rule="frozen"``.

    Parameters
    ----------
    feedback : Feedback, default Feedback("he_uniform", scale=0.05)
        How F (n_0, n_L), ``net.feedback["input.feedback"]``, is drawn: within +-0.05 sqrt(6 / n_0)
        as published; "uniform", "normal" or an initialiser, with n_0 as n_l, whole; or its values,
        or a function ``f(n_0, n_L)`` that returns them.

    References
    ----------
    Dellaferrera and Kreiman, Error-driven input modulation: solving the credit assignment problem
    without a backward pass, ICML (2022); e' at the output layer as in their code.
    """

    name: ClassVar[str] = "pepita"
    source: ClassVar[str] = "input"

    feedback: Feedback = _PEPITA_FEEDBACK

    def __post_init__(self) -> None:
        _check_feedback(self.feedback)


@dataclass(frozen=True, eq=False, repr=False)
class Frozen(Rule):
    """The hidden layers keep their first random weights; the output layer learns on them.

    The baseline for every other rule. Where a layer below has a rule of its own that needs a
    signal, it passes through as under backpropagation.
    """

    name: ClassVar[str] = "frozen"
    source: ClassVar[str] = ""


_ALL = (
    Backprop, FA, DFA, SDFA, DRTP, USF, FRSF, BRSF, KP, DKP, Ternary, IFA, LDFA, Local, PEPITA,
    Frozen,
)  # fmt: skip
RULES: dict[str, type[Rule]] = {rule.name: rule for rule in _ALL}
fix(Rule, *_ALL)


def is_custom(rule: Rule) -> bool:
    """Whether a rule's signal is written in Python."""
    return type(rule).signal is not Rule.signal


def can_inject_before(rule: Rule) -> bool:
    """Whether it may have ``inject="pre"``, as an option."""
    return isinstance(rule, _Broadcast)


def as_rule(name: str, value: object) -> Rule:
    """What `value`, a rule or its name, means as the argument `name`."""
    if isinstance(value, Rule) and (type(value) in RULES.values() or is_custom(value)):
        return value
    if isinstance(value, str):
        return RULES[choice(name, value, RULES)]()
    hint = ""
    if isinstance(value, type) and issubclass(value, Rule):
        hint = f"; did you mean {show(value)}()?"
    elif isinstance(value, Rule):
        hint = f"; a rule of your own needs a method signal(ctx), and {kind(value)} has none"
    raise TypeError(
        f'{name} must be a name or a rule such as "dfa" or DFA(), got {show(value)}{hint}'
    )


def rule_from(how: Mapping[str, Any]) -> Rule:
    """The rule that a plain-data form describes."""
    if how["name"] == "custom":
        rule: Rule = how["host"]
        return rule
    kind: Any = RULES[how["name"]]
    values = {}
    for each in fields(kind):
        if each.name == "feedback":
            values["feedback"] = _feedback_from(how["feedback"], kind().feedback)
        elif each.name == "scale":
            values["scale"] = how["feedback"]["scale"]
        else:
            values[each.name] = how[each.name]
    result: Rule = kind(**values)
    return result


def _feedback_from(how: Mapping[str, Any], default: Feedback) -> Feedback:
    """The default itself where it says the same, so that it prints as nothing."""
    feedback = Feedback(
        how.get("values", how.get("distribution")),
        scale=how["scale"],
        sparsity=how["sparsity"],
        rank=how["rank"],
        shared=how["shared"],
    )
    same = "values" not in how and feedback.describe() == default.describe()
    return default if same else feedback


def _check_feedback(value: object) -> None:
    if not isinstance(value, Feedback):
        hint = "" if value is None else f"; did you mean Feedback({show(value)})?"
        raise TypeError(f"feedback must be a Feedback, got {show(value)}{hint}")


def _check_chain_inject(rule: str, inject: object) -> None:
    if choice("inject", inject, ("post", "pre")) == "pre":
        raise ValueError(
            f'inject must be "post" for the chain rule "{rule}", got "pre": '
            "only rules that broadcast (such as dfa, drtp) can inject before the activation"
        )
