"""MNIST, 784-500-10, backprop and feedback alignment next to the curves of Akrout et al. 2019.

    python bench/studies/mnist_akrout.py --data mnist.npz

Twenty epochs of three seeds, a few minutes: `python -m fastfa reproduce akrout`, so set.
"""

import sys

from fastfa.__main__ import main

if __name__ == "__main__":
    main(["reproduce", "akrout", "--epochs", "20", "--seeds", "3", *sys.argv[1:]])
