"""Dropout and random feedback compared.

Dropout takes random units out of the forward pass, random feedback puts random weights into the
backward pass: both are noise that the network must be robust against. They get along: here dropout
changes no rule's result by more than about a point, and a lot of it (0.5) slows FA and DFA down
more than backprop. Few digits and a wide network, so that there is something to overfit; five
seeds.
"""

from statistics import median

from _shared import arguments, row

import fastfa as fa

RULES = ("backprop", "fa", "dfa")
RATES = (0.0, 0.2, 0.5)
N_TRAIN, SEEDS = 300, 5


def history(rule, rate, seed, epochs):
    X, y, X_test, y_test = fa.datasets.load("digits")
    layers = [fa.Dense(256, "tanh"), fa.Dropout(rate), fa.Dense(128, "tanh"), fa.Dropout(rate)]
    net = fa.Sequential(
        [*layers, fa.Dense(10)],
        input_shape=64,
        rule=rule,
        optimizer=fa.SGD(0.02, momentum=0.9),
        rng=seed,
    )
    test = (X_test, y_test)
    return net.fit(X[:N_TRAIN], y[:N_TRAIN], epochs, validation_data=test, verbose=False)


def main():
    options = arguments(__doc__, epochs=60)
    runs = {
        (rule, rate): [history(rule, rate, seed, options.epochs) for seed in range(SEEDS)]
        for rule in RULES
        for rate in RATES
    }
    row("rule", *(f"dropout {rate:g}" for rate in RATES))
    for rule in RULES:
        row(rule, *(100 * median(last(h) for h in runs[rule, rate]) for rate in RATES))
    print("\ntest accuracy, %, median of", SEEDS, "seeds")
    if options.plot:
        draw(options.plot, runs)


def last(of):
    return of.history["val_accuracy"][-1]


def draw(path, runs):
    figure, panels = fa.plot.row_of_panels(len(RULES))
    for axes, rule in zip(panels, RULES, strict=True):
        curves = {
            f"dropout {rate:g}": [
                [100 * a for a in of.history["val_accuracy"]] for of in runs[rule, rate]
            ]
            for rate in RATES
        }
        fa.plot.bands(axes, curves)
        axes.set(title=rule, xlabel="epoch", ylim=(80, 94))
    panels[0].set_ylabel("test accuracy (%)")
    fa.plot.share_y(panels)
    fa.plot.finish(figure, path)


if __name__ == "__main__":
    main()
