"""Compilers and the programs of tests/embed, for the tests that use fastfa from C."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import fastfa

ROOT = Path(__file__).parents[1]
PROGRAMS = ROOT / "tests/embed"
CC = shlex.split(os.environ.get("CC", "cc"))
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
ISAS = ("v2", "v3", "v4")
USABLE = ISAS[: ISAS.index(fastfa.build_info()["isa"]) + 1]


class Engine(NamedTuple):
    """A compiler and what it made of the engine as one file."""

    compiler: list[str]
    object: Path


def run(*words, **environment):
    """Run a command; return what it prints, fail with what it says."""
    env = {**os.environ, **environment}
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, f"{shlex.join(map(str, words))}\n{done.stdout}{done.stderr}"
    return done.stdout


def need(program):
    """The path of a program, or skip the test."""
    found = shutil.which(program)
    if not found:
        pytest.skip(f"needs {program}")
    return found


def words(*options):
    """What `python -m fastfa` prints with these options, as a list of words."""
    return shlex.split(run(sys.executable, "-m", "fastfa", *options))
