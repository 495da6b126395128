"""A stream that never ends, learnt without history: a slow sensor whose gain drifts.

Run it: ``python examples/drifting_sensor.py``. The sensor lags behind the true value, and its gain
falls to a third over the stream. In one step of four a reference instrument gives the true value.
One network learns from it as long as the stream lasts; a copy stops after a fifth of it. Nothing
but the state of the network is kept: no window, no replay.
"""

import copy

import numpy as np
from _shared import arguments, row

import fastfa as fa

STRETCHES = 10


def stream(n, seed=0):
    """The readings of the sensor and the true values."""
    t = np.arange(n)
    true = 0.6 * np.sin(t / 7.0) + 0.4 * np.sin(t / 17.0 + 1.0)
    gain = np.linspace(1.5, 0.5, n)
    rng = np.random.default_rng(seed)
    reading, lagged = np.empty(n), 0.0
    for i in range(n):
        lagged += 0.3 * (true[i] - lagged)
        reading[i] = gain[i] * lagged + 0.01 * rng.standard_normal()
    return reading.astype(np.float32), true.astype(np.float32)


def network():
    """One recurrent layer; "leak" learns from a stream, since it needs no later step."""
    layers = [fa.Recurrent(24, leak=0.5, time="leak"), fa.Dense(1)]
    return fa.Sequential(
        layers, input_shape=1, loss="mse", rule="dfa", optimizer=fa.SGD(0.05), rng=0
    )


def run(n):
    """Mean absolute errors in each tenth of the stream: of who learns on, and of who stopped."""
    readings, true = stream(n)
    learner, stopped = network(), None
    errors = np.zeros((2, n))
    for t, (x, v) in enumerate(zip(readings, true, strict=True)):
        if t == n // 5:
            stopped = copy.deepcopy(learner)  # with its state in the stream
        target = v if t % 4 == 0 else None
        errors[0, t] = abs(learner.step_one([x], target)[0] - v)  # answers before it learns
        errors[1, t] = abs(stopped.step_one([x])[0] - v) if stopped else errors[0, t]
    return errors.reshape(2, STRETCHES, -1).mean(2)


def main():
    """Print the table, and draw it."""
    options = arguments(__doc__, epochs=4)
    n = 5000 * options.epochs
    learns, stops = run(n)
    row("steps", "learns on", "stopped")
    for i, (a, b) in enumerate(zip(learns, stops, strict=True)):
        row(f"to {(i + 1) * n // STRETCHES}", a, b)
    if options.plot:
        draw(options.plot, {"learns on": [learns], "stopped": [stops]})


def draw(path, lines):
    """The errors over the stream."""
    figure, (axes,) = fa.plot.row_of_panels(1)
    fa.plot.bands(axes, lines)
    axes.set(xlabel="tenth of the stream", ylabel="mean absolute error")
    fa.plot.finish(figure, path)


if __name__ == "__main__":
    main()
