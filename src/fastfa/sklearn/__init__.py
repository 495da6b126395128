"""Estimators for scikit-learn: `MLPClassifier`, `MLPRegressor`, `FAClassifier`, `FARegressor`.

`MLPClassifier` and `MLPRegressor` take the place of scikit-learn's classes of these names: the same
parameters, attributes and meaning, so that only the import changes. They also have ``rule=``,
``dropout=``, ``class_weight=`` and others. `FAClassifier` and `FARegressor` are the same estimators
with other defaults: small batches, early stopping, standardised targets.

They need scikit-learn 1.6 or later: ``pip install scikit-learn``.
"""

from __future__ import annotations

from ._versions import require

require()

from ._classifier import FAClassifier, MLPClassifier  # noqa: E402  # after the check
from ._regressor import FARegressor, MLPRegressor  # noqa: E402

for _public in (FAClassifier, FARegressor, MLPClassifier, MLPRegressor):
    _public.__module__ = __name__  # what pickles name

__all__ = ["FAClassifier", "FARegressor", "MLPClassifier", "MLPRegressor"]
