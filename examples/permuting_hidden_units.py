"""Permuting hidden units leaves the function unchanged, and the learning too.

Nothing in a network says which hidden unit is the first one. If the columns of W_1 and b_1 and the
rows of W_2 are put into another order, every sum is the same. So no unit has a fixed partner that
the error must come back through: a network and its feedback have many equivalent arrangements.
Permute the columns of B as well, and both networks go on to learn the same function.
"""

import numpy as np
from _shared import arguments, row

import fastfa as fa


def main():
    options = arguments(__doc__, epochs=10)
    X, y, X_test, y_test = fa.datasets.load("digits")
    one, other = network(), network()
    one.fit(X, y, options.epochs, verbose=False)
    permute(one, other, np.random.default_rng(0).permutation(64))
    row("", "moved weights", "same output", width=14)
    gaps = []
    for when in ("permuted", "trained on"):
        moved = np.abs(one.parameters["0.weight"] - other.parameters["0.weight"]).max()
        outputs = [net.predict(X_test) for net in (one, other)]
        gaps.append(np.abs(outputs[0] - outputs[1]).max())
        row(when, f"by up to {moved:.2f}", f"to {gaps[-1]:.1e}", width=14)
        if when == "permuted":
            if options.plot:
                draw(options.plot, one, other, outputs)
            for net in (one, other):
                batches = np.random.default_rng(1).permutation(len(X)).reshape(-1, 3)
                for rows in batches:
                    net.train_batch(X[rows], y[rows])
    print(
        "accuracy of both:",
        [round(n.evaluate(X_test, y_test)["accuracy"], 4) for n in (one, other)],
    )
    assert gaps[0] < 1e-12, "the same function, up to the order of the sums"
    assert gaps[1] < 1e-9, "and it stays the same while both learn"


def network():
    return fa.Sequential(
        [fa.Dense(64, "tanh"), fa.Dense(10)],
        input_shape=64,
        rule="dfa",
        optimizer=fa.SGD(0.05),
        dtype="float64",
        rng=0,
    )


def permute(source, target, order):
    """Make target the source with its hidden units in another order."""
    for key in ("0.weight", "0.bias"):
        target.parameters[key] = source.parameters[key][..., order]
    target.parameters["1.weight"] = source.parameters["1.weight"][order]
    target.parameters["1.bias"] = source.parameters["1.bias"]
    target.feedback["0.feedback"] = source.feedback["0.feedback"][:, order]


def draw(path, one, other, outputs):
    figure, panels = fa.plot.row_of_panels(3)
    for axes, net, title in zip(panels, (one, other), ("W₁", "W₁, units permuted"), strict=False):
        picture = axes.imshow(net.parameters["0.weight"], cmap="RdBu_r", vmin=-0.4, vmax=0.4)
        axes.set(title=title, xlabel="hidden unit", ylabel="pixel")
        axes.grid(False)
    figure.colorbar(picture, ax=panels[:2], label="weight", extend="both")
    panels[2].plot(outputs[0].ravel(), outputs[1].ravel(), ".", ms=2, color="#0072b2")
    panels[2].set(xlabel="output", ylabel="output, units permuted", xlim=(0, 1), ylim=(0, 1))
    panels[2].set_box_aspect(1)
    fa.plot.finish(figure, path)


if __name__ == "__main__":
    main()
