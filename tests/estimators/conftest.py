"""Let scikit-learn's checks for the array API run; SciPy reads this when it is imported."""

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")
