"""The tables of the studies: split by a seed, and standardised.

scikit-learn's own data, generated ones, and the first 6,000 images of MNIST and of Fashion-MNIST
where a file of them is given.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fastfa as fa

IMAGES = ("mnist", "fashion_mnist")
IMAGE_ROWS = 6000
TEST_SHARE = 0.25


def make_classes():
    """5,000 samples of four classes, of which 12 of 20 inputs tell something."""
    return datasets.make_classification(
        5000, 20, n_informative=12, n_classes=4, n_clusters_per_class=3, random_state=0
    )


def make_housing():
    """8,000 samples like the California housing data: eight inputs, a skewed positive target."""
    rng = np.random.default_rng(0)
    income, age, rooms, density = rng.gamma(3, 1.3, 8000), *rng.uniform(0, 1, (3, 8000))
    place = rng.uniform(-1, 1, (8000, 2))
    noise = rng.standard_normal((8000, 2))
    near = np.exp(-8 * ((place - 0.4) ** 2).sum(1)) + np.exp(-8 * ((place + 0.5) ** 2).sum(1))
    price = 0.45 * income + 1.8 * near + 0.4 * rooms * income / (1 + density) - 0.3 * age**2
    y = np.clip(price * np.exp(0.15 * noise[:, 0]), 0.15, 5.0)
    return np.column_stack([income, age, rooms, density, place, noise]), y


CLASSES = {
    "breast_cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "four classes": make_classes,
    "moons": lambda: datasets.make_moons(2000, noise=0.25, random_state=0),
}
VALUES = {
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "friedman": lambda: datasets.make_friedman1(2000, noise=1.0, random_state=0),
    "friedman2": lambda: datasets.make_friedman2(2000, noise=50.0, random_state=0),
    "housing": make_housing,
}
NAMES = (*CLASSES, *VALUES, *IMAGES)


class Split(NamedTuple):
    """Samples to train on, and to test."""

    X: np.ndarray
    X_test: np.ndarray
    y: np.ndarray
    y_test: np.ndarray


def split(name: str, seed: int, dtype: str, files: Mapping[str, str | None]) -> Split:
    """One table; tables are standardised and split by the seed, images lie within 0..1."""
    if name in IMAGES:
        X, y, X_test, y_test = fa.datasets.load("mnist", path=files[name])
        X, X_test = (each.reshape(len(each), -1) / 255 for each in (X[:IMAGE_ROWS], X_test))
        return Split(X.astype(dtype), X_test.astype(dtype), y[:IMAGE_ROWS], y_test)
    X, y = {**CLASSES, **VALUES}[name]()
    parts = train_test_split(
        X, y, test_size=TEST_SHARE, random_state=seed, stratify=y if name in CLASSES else None
    )
    scaler = StandardScaler().fit(parts[0])
    X, X_test = (scaler.transform(each).astype(dtype) for each in parts[:2])
    return Split(X, X_test, *parts[2:])
