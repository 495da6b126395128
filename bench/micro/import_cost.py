"""What `import fastfa` costs over `import numpy`, in milliseconds of processor and wall time.

    python bench/micro/import_cost.py

Each run is a fresh interpreter that has already imported NumPy; the minimum is what the machine can
do, the median what it did.
"""

import subprocess
import sys
from statistics import median

CODE = (
    "import numpy, time; cpu, wall = time.process_time(), time.perf_counter(); import fastfa;"
    "print(1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall))"
)
RUNS = 21


def main() -> None:
    """Time the import and print one line a clock."""
    runs = [subprocess.check_output([sys.executable, "-c", CODE], text=True) for _ in range(RUNS)]
    figures = (map(float, run.split()) for run in runs)
    for name, *times in zip(("processor", "wall"), *figures, strict=True):
        print(f"{name:9}  min {min(times):5.1f} ms  median {median(times):5.1f} ms")


if __name__ == "__main__":
    main()
