"""The kernels of csrc/kernels, one by one: compiled by themselves and opened with ctypes.

The library does not export them. Names and parameters come from kernels.def and activations.def, so
a wrong call is an error of ctypes and not a crash.
"""

import ctypes
import functools
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "csrc" / "kernels"
DTYPES = ("float32", "float64")  # the rows of a table
PARAMETER = {
    "*": ctypes.c_void_p,
    "ptrdiff_t": ctypes.c_ssize_t,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "double": ctypes.c_double,
    "bool": ctypes.c_bool,
    "int": ctypes.c_int,
}


class Hyper(ctypes.Structure):
    """fa_hyper of kernels.h."""

    _fields_ = [
        (name, ctypes.c_double)
        for line in re.findall(r"^    double (.*?);", (KERNELS / "kernels.h").read_text(), re.M)
        for name in line.split(", ")
    ]


def flags(name: str) -> list[str]:
    """One row of csrc/cflags.txt."""
    rows = map(str.split, (ROOT / "csrc" / "cflags.txt").read_text().splitlines())
    return next(row[1:] for row in rows if row[0] == name)


@functools.cache
def library(isa: str) -> ctypes.CDLL:
    """The kernels of one instruction set, compiled where they are older than their sources."""
    target = ROOT / "build" / "bench" / f"isa_{isa}.so"
    newest = max(path.stat().st_mtime for path in (ROOT / "csrc").rglob("*"))
    if not target.exists() or target.stat().st_mtime < newest:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        options = [*flags("common"), *flags(f"isa_{isa}"), "-O3", "-DNDEBUG", "-fPIC", "-shared"]
        options += ["-fvisibility=default", f"-I{ROOT / 'csrc'}", f"-I{KERNELS}"]
        compiler = os.environ.get("CC", sysconfig.get_config_var("CC") or "cc").split()[0]
        subprocess.run([compiler, *options, KERNELS / f"isa_{isa}.c", "-o", fresh], check=True)
        fresh.replace(target)
    return ctypes.CDLL(str(target))


def contracts() -> dict[str, list[type]]:
    """Name and parameter types of every member of fa_kernels, in its order."""
    found = {}
    header = (KERNELS / "kernels.h").read_text()
    step = re.search(r"^#define FA_STEP_PARAMETERS((?:.*\\\n)*.*)", header, re.M)
    assert step is not None
    text = (KERNELS / "kernels.def").read_text()
    text = text.replace("FA_STEP_PARAMETERS", step[1].replace("\\\n", " "))
    rows = re.findall(r"^FA_KERNEL\([^,]+, (\w+), \((.*?)\)\)$", text, re.M | re.S)
    for name, parameters in rows:
        words = parameters.replace("*", " * ").split(",") if parameters != "void" else []
        found[name] = [next(PARAMETER[w] for w in PARAMETER if w in p.split()) for p in words]
    whole = [ctypes.c_void_p, ctypes.c_ssize_t] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_double]
    for kind in ("act", "dact"):
        found |= {f"{kind}_{name}": whole for name in activations()}
    return found


def activations() -> list[str]:
    """Names of all activations."""
    rows = r"^FA_(?:ACTIVATION|WITH_OPTION)\((\w+)"
    return re.findall(rows, (KERNELS / "activations.def").read_text(), re.M)


def kernel(isa: str, dtype: str, name: str, *arguments: object):
    """The call of one kernel on these arguments: arrays go by address, and are kept alive."""
    types = contracts()
    table = (ctypes.c_void_p * (2 * len(types))).in_dll(library(isa), f"fa_kernels_{isa}_rows")
    row = DTYPES.index(dtype) * len(types)
    address = table[row + list(types).index(name)]
    function = ctypes.CFUNCTYPE(None, *types[name])(address)
    if len(arguments) != len(types[name]):
        raise TypeError(f"{name} takes {len(types[name])} arguments, got {len(arguments)}")
    plain = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments]
    plain = [ctypes.addressof(a) if isinstance(a, ctypes.Structure) else a for a in plain]
    values = [
        kind(value) if value is not None else None
        for kind, value in zip(types[name], plain, strict=True)
    ]

    def call(kept=arguments) -> None:
        function(*values)

    return call
