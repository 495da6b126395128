"""Sign units have no derivative, so backprop cannot train them. Random feedback can.

With inject="pre", DFA's signal e B lands before the activation and asks for no derivative at all.
The hidden units put out -1 or +1 and nothing between; the frozen network, with the same units, is
what the output layer alone can do.
"""

from _shared import arguments, row

import fastfa as fa

RULES = {"dfa, pre": fa.DFA(inject="pre"), "frozen": "frozen"}
SEEDS = 5


def network(rule, seed):
    return fa.Sequential(
        [fa.Dense(64, "sign"), fa.Dense(32, "sign"), fa.Dense(10)],
        input_shape=64,
        rule=rule,
        optimizer=fa.SGD(0.02),
        rng=seed,
    )


def main():
    options = arguments(__doc__, epochs=40)
    X, y, X_test, y_test = fa.datasets.load("digits")
    try:
        network("backprop", 0)
    except ValueError as error:
        print(f"backprop: {error}\n")
    test = (X_test, y_test)
    runs = {
        name: [
            network(rule, seed).fit(X, y, options.epochs, validation_data=test, verbose=False)
            for seed in range(SEEDS)
        ]
        for name, rule in RULES.items()
    }
    row("rule", "median (%)", "min", "max")
    for name, of in runs.items():
        last = sorted(100 * one.history["val_accuracy"][-1] for one in of)
        row(name, last[SEEDS // 2], last[0], last[-1])
    if options.plot:
        fa.plot.curves(runs, path=options.plot)


if __name__ == "__main__":
    main()
