"""Scale and distribution of the feedback matrix B are hyper-parameters.

With SGD the scale of a DFA layer's B is nothing but a learning rate for that layer: too small and
the hidden layer is as good as frozen, too large and its units saturate in the first few steps.
Between the two lies a wide plateau, and there it hardly matters which distribution B is drawn from.
The angle does not tell you: it is smallest where the units are saturated. `fit_replicas` trains all
the networks, one a core.
"""

from _shared import arguments, row

import fastfa as fa

SCALES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0, 1000.0, 10000.0)
DISTRIBUTIONS = ("uniform", "normal")
SEEDS = 5


def network(distribution, scale, seed):
    return fa.Sequential(
        [fa.Dense(32, "tanh"), fa.Dense(10)],
        input_shape=64,
        rule=fa.DFA(fa.Feedback(distribution, scale)),
        optimizer=fa.SGD(0.1),
        rng=seed,
    )


def main():
    options = arguments(__doc__, epochs=20)
    X, y, X_test, y_test = fa.datasets.load("digits")
    settings = [
        {"distribution": name, "scale": scale, "seed": seed}
        for name in DISTRIBUTIONS
        for seed in range(SEEDS)
        for scale in SCALES
    ]
    replicas = fa.fit_replicas(network, settings, X, y, epochs=options.epochs, verbose=False)
    outcomes = iter(
        (100 * r.net.evaluate(X_test, y_test)["accuracy"], r.net.alignment(X, y)[0].delta_angle)
        for r in replicas
    )
    found = {
        name: [[next(outcomes) for _ in SCALES] for _ in range(SEEDS)] for name in DISTRIBUTIONS
    }
    row("scale of B", *(f"{name}" for name in DISTRIBUTIONS for _ in ("accuracy", "angle")))
    for i, scale in enumerate(SCALES):
        row(
            f"{scale:g}",
            *(sum(r[i][k] for r in found[n]) / SEEDS for n in DISTRIBUTIONS for k in (0, 1)),
        )
    print(f"\nof each: test accuracy, %, and degrees from backprop; mean of {SEEDS} seeds")
    if options.plot:
        draw(options.plot, found)


def draw(path, found):
    figure, panels = fa.plot.row_of_panels(2)
    for k, (axes, label) in enumerate(
        zip(panels, ("test accuracy (%)", "angle to backprop (°)"), strict=True)
    ):
        lines = {name: [[pair[k] for pair in run] for run in runs] for name, runs in found.items()}
        fa.plot.bands(axes, lines, x=SCALES)
        axes.set(xlabel="scale of B", ylabel=label, xscale="log")
    fa.plot.chance(panels[1], 90)
    fa.plot.finish(figure, path)


if __name__ == "__main__":
    main()
