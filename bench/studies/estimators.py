"""Fit time and score of the estimators beside scikit-learn's MLP, in rounds.

    python bench/studies/estimators.py --data mnist.npz
    python bench/studies/estimators.py --threads 2 --dtype float32 --only digits wine

`MLPClassifier` and `MLPRegressor` have scikit-learn's settings, so both train the same network on
the same batches for as many epochs. `FAClassifier` and `FARegressor` have defaults of their own. In
each round, which has a seed and a split of its own, all three are fitted one after the other; the
ratio is taken within a round, and medians over the rounds are printed. BLAS has as many threads as
fastfa. Scores are those of the test data: accuracy, or R2.
"""

import argparse
import time
import warnings
from statistics import median

import sklearn.neural_network
import tables
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

import fastfa.sklearn

SHOWN = ("breast_cancer", "wine", "digits", "mnist", "diabetes", "friedman")


def models(name: str, seed: int, threads: int):
    """scikit-learn's estimator, ours with its settings, ours with our defaults."""
    kind = "Regressor" if name in tables.VALUES else "Classifier"
    ours = fastfa.sklearn
    return (
        getattr(sklearn.neural_network, "MLP" + kind)(random_state=seed),
        getattr(ours, "MLP" + kind)(random_state=seed, n_threads=threads),
        getattr(ours, "FA" + kind)(random_state=seed, n_threads=threads),
    )


def one_round(name: str, seed: int, options: argparse.Namespace):
    """Seconds, epochs and score of each of the three."""
    X, X_test, y, y_test = tables.split(name, seed, options.dtype, {"mnist": options.data})
    results = []
    for model in models(name, seed, options.threads):
        clock = time.process_time if options.cpu else time.perf_counter
        start = clock()
        model.fit(X, y)
        seconds = clock() - start
        results.append((seconds, model.n_iter_, model.score(X_test, y_test)))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SHOWN, default=SHOWN, metavar="TABLE")
    parser.add_argument("--data", help="file of MNIST, see fastfa.datasets; without it, no mnist")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="processor time: for busy machines")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    shown = [name for name in options.only if name != "mnist" or options.data]
    print(f"{options.dtype}, {options.threads} thread(s), {options.rounds} rounds")
    print(f"{'':14} {'scikit-learn':^22} {'MLP of fastfa':^26} {'FA of fastfa':^26}")
    one = f"{'ms':>8} {'epochs':>6} {'score':>6}"
    print(f"{'':14} {one} {'ratio':>6} {one} {'ratio':>6} {one}")
    ratios = []
    with threadpool_limits(options.threads):
        for name in shown:
            one_round(name, 0, options)  # imports, allocations, autotuning
            rounds = [one_round(name, seed, options) for seed in range(options.rounds)]
            columns = [[median(each[i][j] for each in rounds) for j in range(3)] for i in range(3)]
            texts = [f"{1e3 * s:8.1f} {n:6.0f} {score:6.3f}" for s, n, score in columns]
            ratio = [median(each[0][0] / each[i][0] for each in rounds) for i in (1, 2)]
            ratios.append(ratio)
            print(f"{name:14} {texts[0]} {ratio[0]:6.1f} {texts[1]} {ratio[1]:6.1f} {texts[2]}")
    both = [median(column) for column in zip(*ratios, strict=True)]
    print(f"{'median ratio':14} {'':22} {both[0]:6.1f} {'':22} {both[1]:6.1f}")


if __name__ == "__main__":
    main()
