"""Training on a sparse table like that of a text, beside scikit-learn's MLP and an array.

    python bench/studies/sparse.py
    python bench/studies/sparse.py --rows 5000 --threads 2 --rule dfa --rounds 3

Columns have frequencies by Zipf's law. In each round scikit-learn's `MLPClassifier` and that of
fastfa train the same network on the same CSR matrix for as many epochs, and predict its rows; then
fastfa trains on the first rows as CSR and as an array (`--dense-rows`, because an array of all of
them is large). Ratios are taken within a round, from processor time where there is one thread, and
medians over the rounds are printed.
"""

import argparse
import time
import warnings
from statistics import median

import numpy as np
import scipy.sparse
import sklearn.neural_network
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

import fastfa.sklearn

HIDDEN = (100,)


def table(rows: int, columns: int, density: float):
    """X in CSR, float32, and one of 20 classes for each row."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, columns + 1)
    each = round(density * columns)
    drawn = rng.choice(columns, (rows, 3 * each), p=share / share.sum())
    lists = [np.unique(row)[:each] for row in drawn]
    indptr = np.concatenate([[0], np.cumsum([len(each) for each in lists])])
    values = rng.random(indptr[-1], np.float32)
    X = scipy.sparse.csr_array((values, np.concatenate(lists), indptr), (rows, columns))
    return X, rng.integers(0, 20, rows)


def seconds(options: argparse.Namespace, call) -> float:
    clock = time.process_time if options.threads == 1 else time.perf_counter
    start = clock()
    call()
    return clock() - start


def one_round(X, y, solver: str, options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Seconds of fit and predict: theirs, ours, ours on some rows, ours on these as an array."""
    settings = {
        "hidden_layer_sizes": HIDDEN,
        "solver": solver,
        "momentum": 0.0,
        "max_iter": options.epochs,
        "random_state": 0,
        "alpha": 0.0,
    }
    more = {"n_threads": options.threads, "rule": options.rule}
    n = options.dense_rows
    results = {}
    for name, kind, own, x, of in (
        ("scikit-learn", sklearn.neural_network.MLPClassifier, {}, X, y),
        ("fastfa", fastfa.sklearn.MLPClassifier, more, X, y),
        ("fastfa, CSR", fastfa.sklearn.MLPClassifier, more, X[:n], y[:n]),
        ("fastfa, array", fastfa.sklearn.MLPClassifier, more, X[:n].toarray(), y[:n]),
    ):
        model = kind(**settings, **own)
        fit = seconds(options, lambda model=model, x=x, of=of: model.fit(x, of))
        results[name] = fit, seconds(options, lambda model=model, x=x: model.predict(x))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=20_000)
    parser.add_argument("--density", type=float, default=0.005)
    parser.add_argument("--dense-rows", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rule", default="backprop")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = table(options.rows, options.columns, options.density)
    print(f"{X.shape}, {X.nnz / len(y):.0f} entries a row, {options.threads} thread(s)")
    with threadpool_limits(options.threads):
        for solver in ("sgd", "adam"):
            rounds = [one_round(X, y, solver, options) for _ in range(options.rounds)]
            for what, i in (("fit", 0), ("predict", 1)):
                times = {name: median(each[name][i] for each in rounds) for name in rounds[0]}
                theirs, array = (
                    median(each[slow][i] / each[fast][i] for each in rounds)
                    for slow, fast in (("scikit-learn", "fastfa"), ("fastfa, array", "fastfa, CSR"))
                )
                text = ", ".join(f"{name} {value:.2f} s" for name, value in times.items())
                print(f"{solver} {what}: {text}; {theirs:.1f}x scikit-learn, {array:.1f}x array")


if __name__ == "__main__":
    main()
