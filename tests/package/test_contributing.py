"""The C of CONTRIBUTING.md's worked examples still fits the engine."""

import re
import shutil
import textwrap

import pytest
from compiling import CC, ROOT, STRICT, run

FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-fsyntax-only", *STRICT[:3])


@pytest.fixture
def csrc(tmp_path):
    return shutil.copytree(ROOT / "csrc", tmp_path / "csrc")


def blocks(name):
    """The C blocks of the text that mention a name, in order."""
    found = re.findall(r"(?ms)^ *```c\n(.*?)^ *```", (ROOT / "CONTRIBUTING.md").read_text())
    return [textwrap.dedent(block) for block in found if name in block]


def add(file, text, before=""):
    """Insert text before the first place of another, or at the end."""
    whole = file.read_text()
    assert before in whole
    at = whole.index(before) if before else len(whole)
    file.write_text(f"{whole[:at]}\n{text}\n{whole[at:]}")


def compile_all(csrc, *files):
    for file in files:
        run(*CC, *FLAGS, f"-I{csrc}", f"-I{csrc / 'kernels'}", csrc / file)


def test_an_activation(csrc):
    row, functions = blocks("hardtanh")
    kernels = csrc / "kernels"
    add(kernels / "activations.def", row)
    add(kernels / "activation.inc", functions, before="/* The identity in place")
    compile_all(csrc, "kernels/isa_c.c", "tables.c")


def test_a_rule(csrc):
    contract, body, rule = blocks("deadzone")
    add(csrc / "kernels/kernels.def", contract)
    add(csrc / "kernels/rows.inc", body)
    (csrc / "rule_deadzone.c").write_text(rule)
    compile_all(csrc, "kernels/isa_c.c", "rule_deadzone.c")
