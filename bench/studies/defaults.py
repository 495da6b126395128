"""How good are the defaults? Test scores beside scikit-learn's, with nothing tuned.

    python bench/studies/defaults.py --mnist mnist.npz
    python bench/studies/defaults.py --mnist mnist.npz --markdown docs/DEFAULTS.md
    python bench/studies/defaults.py --only wine diabetes --seeds 1

Every model has one hidden layer of 100 relu units and its defaults otherwise, the same split and
the same seed. Scores are accuracies, or R2 in the last rows; medians over the seeds, with the
median number of epochs in brackets where the model chose it. `net` is a `Sequential` as it is made
without options, with Adam, trained for as many epochs as its column says on targets as they are.
"""

import argparse
import warnings
from pathlib import Path
from statistics import mean, median

import sklearn.neural_network
import tables
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from threadpoolctl import threadpool_limits

import fastfa as fa
import fastfa.sklearn

SHOWN = (
    "breast_cancer", "wine", "digits", "mnist", "four classes", "diabetes", "housing", "friedman",
)  # fmt: skip
COLUMNS = {
    "scikit-learn MLP": lambda kind, seed: model(sklearn.neural_network, "MLP" + kind, seed),
    "FA": lambda kind, seed: model(fastfa.sklearn, "FA" + kind, seed),
    "FA, dfa": lambda kind, seed: model(fastfa.sklearn, "FA" + kind, seed, rule="dfa"),
    "net, 10": lambda kind, seed: Net(10, seed),
    "net, 50": lambda kind, seed: Net(50, seed),
    "net, 200": lambda kind, seed: Net(200, seed),
    "linear": lambda kind, seed: (
        LinearRegression() if kind == "Regressor" else LogisticRegression(max_iter=1000)
    ),
}
BEGIN, END = "<!-- scores: made by bench/studies/defaults.py -->", "<!-- end of the scores -->"


def model(module, name: str, seed: int, **options):
    """An estimator with its defaults."""
    return getattr(module, name)(random_state=seed, **options)


class Net:
    """A `Sequential` with its defaults, as an estimator."""

    def __init__(self, epochs: int, seed: int) -> None:
        self.epochs, self.seed = epochs, seed

    def fit(self, X, y):
        """Train on samples."""
        self.labels = y.dtype.kind == "i"
        loss = {} if self.labels else {"loss": "mse"}
        layers = [fa.Dense(100, "relu"), fa.Dense(int(y.max()) + 1 if self.labels else 1)]
        self.net = fa.Sequential(layers, input_shape=X.shape[1], rng=self.seed, **loss)
        self.net.fit(X, y, epochs=self.epochs, verbose=False)
        return self

    def score(self, X, y) -> float:
        """Accuracy, or R2."""
        metric = "accuracy" if self.labels else "r2"
        return self.net.evaluate(X, y, metrics=None if self.labels else ["r2"])[metric]


def scores(name: str, options) -> list[tuple[float, float]]:
    """The median score and number of epochs of each column."""
    kind = "Regressor" if name in tables.VALUES else "Classifier"
    found = []
    for make in COLUMNS.values():
        rows = []
        for seed in range(options.seeds):
            data = tables.split(name, seed, "float64", {"mnist": options.mnist})
            fitted = make(kind, seed).fit(data.X, data.y)
            epochs = fitted.n_iter_ if hasattr(fitted, "loss_curve_") else 0
            rows.append((fitted.score(data.X_test, data.y_test), epochs))
        found.append(tuple(median(column) for column in zip(*rows, strict=True)))
    return found


def cells(found) -> list[str]:
    """Scores as text."""
    return [f"{score:.3f}" + (f" ({epochs:.0f})" if epochs else "") for score, epochs in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SHOWN, default=SHOWN, metavar="TABLE")
    parser.add_argument("--mnist", help="file of MNIST, see fastfa.datasets; without it, no mnist")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--markdown", metavar="FILE", help="put the table into this document")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    names = [name for name in options.only if name != "mnist" or options.mnist]
    lines = ["| data | " + " | ".join(COLUMNS) + " |", "|---|" + "--:|" * len(COLUMNS)]
    print("\n".join(lines))
    rows = []
    with threadpool_limits(1):
        for name in names:
            found = scores(name, options)
            rows.append([score for score, _ in found])
            lines.append(f"| {name} | " + " | ".join(cells(found)) + " |")
            print(lines[-1], flush=True)
    means = [mean(column) for column in zip(*rows, strict=True)]
    lines.append("| mean | " + " | ".join(f"{each:.3f}" for each in means) + " |")
    print(lines[-1])
    if options.markdown:
        page = Path(options.markdown)
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        table = "\n".join(lines)
        page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


if __name__ == "__main__":
    main()
