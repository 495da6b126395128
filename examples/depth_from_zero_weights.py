"""A 100-layer tanh network of zeros: DFA trains it, backprop cannot.

With all weights zero every hidden unit is zero, and what backprop sends down through W^T is zero
too: it can only learn the output's bias, for ever. With the same settings and the usual random
weights it gets no further. DFA brings the error to each layer through a matrix that is not zero, so
all layers start to move at once, and after some epochs the digits come through.
"""

import warnings

from _shared import arguments, row

import fastfa as fa

DEPTH, WIDTH = 100, 64
ZEROS = fa.Init("zeros")
CASES = {
    "dfa, zero weights": ("dfa", ZEROS),
    "backprop, zero weights": ("backprop", ZEROS),
    "backprop, random weights": ("backprop", None),
}


def network(rule, init):
    hidden = [fa.Dense(WIDTH, "tanh", weight_init=init) for _ in range(DEPTH)]
    return fa.Sequential(
        [*hidden, fa.Dense(10, weight_init=init)],
        input_shape=64,
        rule=rule,
        optimizer=fa.RMSprop(1e-3),
        rng=0,
    )


def main():
    options = arguments(__doc__, epochs=50)
    X, y, X_test, y_test = fa.datasets.load("digits")
    test = (X_test, y_test)
    histories = {}
    row("", "accuracy (%)", "seconds", width=24)
    for name, (rule, init) in CASES.items():
        net, watch = network(rule, init), fa.callbacks.Alignment((X[:100], y[:100]), every=5)
        with warnings.catch_warnings(record=True) as caught:  # backprop from zero warns of it
            warnings.simplefilter("always", fa.callbacks.AlignmentWarning)
            histories[name] = history = net.fit(
                X,
                y,
                options.epochs,
                16,
                validation_data=test,
                callbacks=[watch],
                verbose=False,
            )
        log = history.history
        row(name, 100 * log["val_accuracy"][-1], sum(log["time"]), width=24)
        if caught:
            print(f"  warning: {caught[0].message}")
    if options.plot:
        fa.plot.curves(histories, path=options.plot)


if __name__ == "__main__":
    main()
