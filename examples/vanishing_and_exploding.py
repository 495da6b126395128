"""Vanishing and exploding gradients under backprop, and what DFA sees.

In a deep network backprop multiplies the error by one weight matrix and one f' after the other:
with weights a little too small it vanishes on its way down, a little too large and it explodes. DFA
sends it to every layer in one step, so its size is the same everywhere, up to each layer's own f'.
Printed and drawn: root mean square of each layer's delta over that of the error, before training.
"""

from _shared import arguments, row

import fastfa as fa

DEPTH, WIDTH = 40, 64
SCALES = {"small": 0.7, "fitting": 1.0, "large": 1.4}


def sizes(rule, scale):
    """Size of each hidden layer's delta over the error's, lowest layer first."""
    X, y, _, _ = fa.datasets.load("digits")
    init = fa.Init("he_normal", scale)
    hidden = [fa.Dense(WIDTH, "relu", weight_init=init) for _ in range(DEPTH)]
    net = fa.Sequential([*hidden, fa.Dense(10)], input_shape=64, rule=rule, rng=0)
    return [layer.error_ratio for layer in net.alignment(X[:500], y[:500])]


def main():
    options = arguments(__doc__, epochs=0)
    cases = {
        f"{name} weights ({scale:g} of He's)": {
            rule: sizes(rule, scale) for rule in ("backprop", "dfa")
        }
        for name, scale in SCALES.items()
    }
    row("weights", "rule", "layer 40", "layer 20", "layer 1")
    for case, by_rule in cases.items():
        for rule, size in by_rule.items():
            row(case.split()[0], rule, size[-1], size[DEPTH // 2 - 1], size[0])
    if options.plot:
        draw(options.plot, cases)


def draw(path, cases):
    figure, panels = fa.plot.row_of_panels(len(cases))
    for axes, (case, by_rule) in zip(panels, cases.items(), strict=True):
        fa.plot.bands(axes, {rule: [size] for rule, size in by_rule.items()})
        axes.set(title=case, xlabel="hidden layer", yscale="log")
    panels[0].set_ylabel("size of delta over the error's")
    fa.plot.share_y(panels)
    fa.plot.finish(figure, path)


if __name__ == "__main__":
    main()
