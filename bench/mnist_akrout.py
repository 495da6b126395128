"""MNIST accuracy curves of Akrout et al., 2019, backprop and feedback alignment.

784-500-10, sigmoid hidden units, sigmoid cross-entropy, W and B normal with variance
1 / (n_in + n_out), SGD with learning rate 0.2 (biases 0.2 / 128), batches of 128, pixels / 255, no
weight decay. Expected: single-run logs of the code of "Deep learning without weight transport"
(arXiv:1904.05391).

    python bench/mnist_akrout.py --data mnist.npz
"""

import argparse
import math
from statistics import median

import fastfa as fa

EXPECTED = {  # test accuracy, %, after epochs 1, 5, 10, 20
    "backprop": {1: 88.0, 5: 91.8, 10: 94.1, 20: 96.2},
    "fa": {1: 85.5, 5: 89.9, 10: 90.9, 20: 92.3},
}
BAND = {"backprop": 0.4, "fa": 0.8}  # points, after epoch 10
N_IN, N_HIDDEN, N_OUT = 784, 500, 10


def network(rule, seed):
    """The network of the paper's code; glorot_normal has variance scale^2 2 / (n_in + n_out)."""
    init = fa.Init("glorot_normal", math.sqrt(0.5))
    if rule == "fa":  # standard deviation scale / sqrt(3 n_hidden)
        scale = math.sqrt(3 * N_HIDDEN / (N_HIDDEN + N_OUT))
        rule = fa.FA(feedback=fa.Feedback("normal", scale))
    return fa.Sequential(
        [
            fa.Dense(N_HIDDEN, "sigmoid", weight_init=init, bias_lr_scale=1 / 128),
            fa.Dense(N_OUT, weight_init=init, bias_lr_scale=1 / 128),
        ],
        input_shape=N_IN,
        loss="sigmoid_cross_entropy",
        rule=rule,
        optimizer=fa.SGD(0.2),
        rng=seed,
    )


def curve(rule, seed, epochs, data):
    """Test accuracy, %, after each epoch."""
    x_train, y_train, x_test, y_test = data
    history = network(rule, seed).fit(
        x_train, y_train, epochs, 128, validation_data=(x_test, y_test), verbose=False
    )
    return [100 * accuracy for accuracy in history.history["val_accuracy"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="mnist.npz or a directory of IDX files [FASTFA_MNIST]")
    parser.add_argument("--epochs", type=int, default=20, help="[20]")
    parser.add_argument("--seeds", type=int, default=3, help="[3]")
    options = parser.parse_args()
    data = fa.datasets.load("mnist", path=options.data)
    print(f"test accuracy, %, {options.seeds} seeds\n")
    print("rule      epoch  expected  median    min    max  in band")
    for rule, expected in EXPECTED.items():
        curves = [curve(rule, seed, options.epochs, data) for seed in range(options.seeds)]
        for epoch, value in expected.items():
            if epoch > options.epochs:
                continue
            got = [c[epoch - 1] for c in curves]
            verdict = (
                "" if epoch < 10 else "yes" if abs(median(got) - value) <= BAND[rule] else "NO"
            )
            print(
                f"{rule:8}  {epoch:5}  {value:8.1f}  {median(got):6.2f}  {min(got):5.2f}  "
                f"{max(got):5.2f}  {verdict}",
                flush=True,
            )


if __name__ == "__main__":
    main()
