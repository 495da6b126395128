"""The structure of csrc: who may include whom, and how long a file may be."""

import re
from pathlib import Path

import pytest

CSRC = next(p for p in Path(__file__).resolve().parents if (p / "csrc").is_dir()) / "csrc"
ORDER = ["kernels", "core", "linalg", "model", "engine", "layers", "rules", "io", "api"]
LONGEST_HEADER, LONGEST_FILE = 150, 450
EXEMPT = {"fastfa.h", "simd.h"}  # the public header; the words of every instruction set


def sources():
    """Every C file and header."""
    return sorted(p for p in CSRC.rglob("*") if p.suffix in {".c", ".h", ".inc", ".def"})


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_includes_only_itself_and_those_above(folder):
    allowed = ORDER[: ORDER.index(folder) + 1]
    if folder == "rules":
        allowed.remove("layers")  # they meet in the engine, through their ops
    files = [path for path in sources() if path.parent.name == folder]
    assert files
    for path in files:
        for name in re.findall(r'#include "(.*)"', path.read_text()):
            above = name.rpartition("/")[0] or folder
            assert name == "fastfa.h" or above in allowed, f"{path.name} includes {name}"


def test_only_the_registry_names_every_layer_rule_loss_and_optimizer():
    named = r"\bextern const fa_(?:layer|rule|loss|optim)_ops (.*?);"
    for path in sources():
        names = re.findall(r"\bfa_\w+", " ".join(re.findall(named, path.read_text(), re.S)))
        # a rule may declare itself; everybody may name the reference
        own = re.findall(r"^const fa_\w+_ops (\w+)", path.read_text(), re.M)
        others = set(names) - set(own) - {"fa_rule_backprop"}
        assert path.name == "registry.c" or not others, f"{path.name} names {others}"


def test_files_fit_on_few_screens():
    for path in sources():
        if path.name not in EXEMPT:
            most = LONGEST_HEADER if path.suffix == ".h" else LONGEST_FILE
            lines = path.read_text().count("\n")
            assert lines <= most, f"{path.name}: {lines} lines, at most {most}"
