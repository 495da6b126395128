"""Random feedback learns, because the weights come to agree with it.

The error e goes down to the hidden layer through a fixed random matrix B that nobody ever adjusts.
At first that is no better than chance: the signal is about 90 degrees from backprop's. While the
output weights W learn, they turn towards B^T, so that e^T W B e becomes positive, the angle falls,
and accuracy climbs.
"""

from _shared import arguments, row

import fastfa as fa


def main():
    options = arguments(__doc__, epochs=10)
    X, y, X_test, y_test = fa.datasets.load("digits")
    net = fa.Sequential(
        [fa.Dense(64, "tanh"), fa.Dense(10)],
        input_shape=64,
        rule="dfa",
        optimizer=fa.SGD(0.05),
        rng=0,
    )
    record = fa.callbacks.Alignment(batch=(X[:500], y[:500]))
    start = net.evaluate(X_test, y_test)["accuracy"]
    history = net.fit(
        X,
        y,
        options.epochs,
        validation_data=(X_test, y_test),
        callbacks=[record],
        verbose=False,
    )
    accuracy = [100 * a for a in [start, *history.history["val_accuracy"]]]
    layer = record.history[0]
    row("epoch", "angle (°)", "descent", "accuracy (%)")
    for cells in zip(record.epoch, layer["delta_angle"], layer["descent"], accuracy, strict=True):
        row(*map(float, cells))
    if options.plot:
        draw(options.plot, record.epoch, accuracy, layer)


def draw(path, epochs, accuracy, layer):
    figure, panels = fa.plot.row_of_panels(3)
    lines = {
        "test accuracy (%)": (accuracy, 10),
        "angle to backprop (°)": (layer["delta_angle"], 90),
        "cosine of eB and eWᵀ": (layer["descent"], 0),
    }
    for axes, (label, (values, chance)) in zip(panels, lines.items(), strict=True):
        axes.plot(epochs, values, color="#0072b2", marker="o", markersize=3)
        fa.plot.chance(axes, chance)
        axes.set(xlabel="epoch", ylabel=label)
    panels[0].set_ylim(0, 100)
    fa.plot.finish(figure, path)


if __name__ == "__main__":
    main()
