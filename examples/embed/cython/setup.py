"""An extension on top of fastfa's C library; Cython finds the declarations by itself."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

import fastfa

learner = Extension(
    "digit_learner",
    ["digit_learner.pyx"],
    include_dirs=[fastfa.get_include()],
    # The static library: the extension needs nothing at run time but itself.
    extra_objects=[str(Path(fastfa.get_library_dir(), "libfastfa.a"))],
    libraries=["m", "pthread", "dl"],
)

setup(ext_modules=cythonize([learner], language_level=3))
