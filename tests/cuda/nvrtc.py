"""Compiles CUDA text by the NVRTC of the package index: needs no driver, no GPU and no CuPy."""

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import metadata

from fastfa.backends.cuda.kernels import OPTIONS

# What CuPy adds to the options of every module
CUPY = ("-ftz=true", "--device-as-default-execution-space")
TEST = ("--ptxas-options=-v", "--diag-suppress=177")  # 177: a function that no kernel uses


@cache
def library():
    """NVRTC, with the library that it opens by name."""
    files = metadata.distribution("nvidia-cuda-nvrtc").files
    paths = [file.locate() for file in files if re.search(r"libnvrtc\S*\.so", file.name)]
    for path in sorted(paths, key=lambda path: "builtins" not in path.name):
        if "alt" not in path.name:
            found = ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
    return found


@dataclass(frozen=True)
class Usage:
    """What a kernel needs on one architecture, from the report of ptxas."""

    registers: int
    stack: int
    spills: int
    shared: int


@dataclass(frozen=True)
class Compiled:
    """The result for one text: PTX, and what each kernel needs."""

    ptx: str
    usage: dict[str, Usage]
    warnings: str


def _text(program, size, get):
    length = ctypes.c_size_t()
    getattr(library(), size)(program, ctypes.byref(length))
    buffer = ctypes.create_string_buffer(length.value)
    getattr(library(), get)(program, buffer)
    return buffer.value.decode()


REPORT = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads\n.*?Used (\d+) registers(?:[^\n]*?, (\d+) bytes smem)?",
    re.S,
)


def compile_text(text, architecture, options=()):
    """Compile for an architecture, "sm_90"; a text that is wrong is a RuntimeError."""
    program = ctypes.c_void_p()
    nvrtc = library()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    words = [*OPTIONS, *CUPY, *TEST, f"-arch={architecture}", *options]
    array = (ctypes.c_char_p * len(words))(*[word.encode() for word in words])
    failed = nvrtc.nvrtcCompileProgram(program, len(words), array)
    log = _text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
    ptx = "" if failed else _text(program, "nvrtcGetPTXSize", "nvrtcGetPTX")
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(log)
    usage = {
        name: Usage(int(registers), int(stack), int(stores) + int(loads), int(shared or 0))
        for name, stack, stores, loads, registers, shared in REPORT.findall(log)
    }
    warnings = [line for line in log.splitlines() if line.strip() and "ptxas" not in line[:6]]
    return Compiled(ptx, usage, "\n".join(warnings))


def compile_each(jobs):
    """The results of several (text, architecture), two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda job: compile_text(*job), jobs))
