"""Write the golden files: networks saved by this version, which every later one must load.

python tests/golden/make.py VERSION

Writes tests/golden/VERSION: the files, and `expected.json` with what a loaded network predicts and
what training makes of it. Run once for each release; what is written is never written again.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import fastfa as fa

ROWS = 24


def data(dtype):
    """Inputs and labels by arithmetic that is exact everywhere."""
    i, j = np.arange(ROWS)[:, None], np.arange(6)[None]
    return ((i * 7 + j * 5) % 11 / 8 - 0.5).astype(dtype), (np.arange(ROWS) * 3 % 4)


def stack(activation="tanh", **first):
    """A small network with dropout in it."""
    return [fa.Dense(9, activation, **first), fa.Dropout(0.25), fa.Dense(7, "relu"), fa.Dense(4)]


NETWORKS = {
    "backprop-sgd": lambda: (stack(), {"rule": "backprop", "optimizer": fa.SGD(0.1)}),
    "dfa-momentum": lambda: (
        stack(),
        {
            "rule": fa.DFA(fa.Feedback("orthogonal", scale=0.5), inject="pre"),
            "optimizer": fa.SGD(0.1, momentum=0.9, nesterov=True, clip_norm=1.0),
        },
    ),
    "kp-adamw-float64": lambda: (
        stack("relu"),
        {"rule": fa.KP(decay=0.01), "optimizer": fa.AdamW(0.01), "dtype": "float64"},
    ),
    "layers-rmsprop": lambda: (
        stack("relu", rule=fa.DKP(lr_scale=0.5), lr_scale=0.5),
        {"rule": fa.LDFA(rank=2), "optimizer": fa.RMSprop(0.01, momentum=0.5), "input_scale": 0.5},
    ),
    "values-adam-float64": lambda: (
        stack("relu", weight_init=np.arange(54).reshape(6, 9) / 64, bias_init=np.arange(9) / 32),
        {
            "rule": fa.DRTP(fa.Feedback("ternary", sparsity=0.25, shared=True)),
            "optimizer": fa.Adam(0.01, decay_bias=False),
            "dtype": "float64",
        },
    ),
    # options whose value is not their default, or is zero: a file of before options lacks zeros
    "local-fixed-heads": lambda: (
        stack(rule=fa.Local(lr_scale=0.5)),
        {"rule": fa.Local(train_head=False), "optimizer": fa.Adam(0.01, beta1=0.0)},
    ),
    "ldfa-fixed-factor": lambda: (
        stack("relu", rule=fa.Ternary(threshold=0.0)),
        {"rule": fa.LDFA(oja=0.0, lr_scale=2.0), "optimizer": fa.RMSprop(0.01, alpha=0.0)},
    ),
    "ternary-zero": lambda: (
        stack(rule=fa.Ternary(threshold=0.125)),
        {"rule": fa.Ternary(threshold=0.0), "optimizer": fa.SGD(0.1)},
    ),
}


def train(net):
    """An epoch, the same for whoever makes the files and whoever checks them."""
    net.fit(*data(net.dtype), batch_size=8, verbose=False)


def facts(net):
    """What must come out again: logits as they print, and a hash of all bytes after an epoch."""
    logits = net.predict(data(net.dtype)[0], output="logits")
    train(net)
    digest = hashlib.sha256()
    for tensors in (net.parameters, net.feedback, net._engine.slots):
        for key in sorted(tensors):
            digest.update(key.encode() + np.asarray(tensors[key]).tobytes())
    return {"logits": [x.hex() for x in logits[0].astype(float)], "trained": digest.hexdigest()}


if __name__ == "__main__":
    folder = Path(__file__).parent / sys.argv[1]
    folder.mkdir()
    expected = {}
    for name, make in NETWORKS.items():
        layers, settings = make()
        net = fa.Sequential(layers, input_shape=6, rng=42, **settings)
        train(net)
        net.save(folder / f"{name}.safetensors")
        expected[name] = {"summary": str(net.summary()), **facts(net)}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
