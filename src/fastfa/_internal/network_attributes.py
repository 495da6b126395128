"""The attributes of `Sequential`: its own, and which of them may be set."""

from __future__ import annotations

OWN = frozenset(  # attributes of this class; pickle also keeps those that others add
    [
        "layers",
        "loss",
        "rule",
        "optimizer",
        "dtype",
        "compute",
        "seed",
        "input_scale",
        "data_format",
        "_threads",
        "_weighted",
        "_backend",
        "_engine",
        "_train_batch_direct",
        "_learn_one_direct",
        "_predict_one_direct",
        "_schedule",
        "_plateau",
        "_validator",
        "_parameters",
        "_feedback",
        "_stopping",
        "_history",
        "_recurrent",
    ]
)

_ANOTHER = "make another network, fa.Sequential(..., {}=...)"
FIXED = {  # attributes that cannot be set, and what to do instead
    "layers": "make another network, fa.Sequential([...], ...)",
    **{
        name: _ANOTHER.format(name)
        for name in ("loss", "dtype", "compute", "input_scale", "data_format")
    },
    "rule": _ANOTHER.format("rule") + "; a rule of its own for a layer is Dense(..., rule=...)",
    "optimizer": "net.set_optimizer(...) replaces it; the learning rate alone is net.lr",
    "seed": _ANOTHER.format("rng"),
    "parameters": "net.parameters[key] = a copies new values into it",
    "feedback": "net.feedback[key] = a copies new values into it",
    "history": "fit records it",
    "device": "net.to(device) moves the network",
    "steps": "reset() starts over",
    "epochs": "reset() starts over",
}
SETTABLE = ("lr", "n_threads", "state")
