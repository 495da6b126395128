"""What contributors read is true: the worked examples train, the table of tests is whole."""

import re
import shutil
import sys
import textwrap
from pathlib import Path

import pytest
from compiling import CC, ROOT, STRICT, run
from processes import run_python

FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-fsyntax-only", *STRICT[:3])
BUILT_FROM = ("csrc", "src", "setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE")
ORACLE, RULES = "src/fastfa/backends/reference", "src/fastfa/rules"


def blocks(name, language="c"):
    """The blocks of code of the text that mention a name, in order."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.findall(rf"(?ms)^ *```{language}\n(.*?)^ *```", text)
    return [textwrap.dedent(block) for block in found if name in block]


def insert(file, at, text):
    whole = file.read_text()
    file.write_text(f"{whole[:at]}\n{text}\n{whole[at:]}")


def append(file, text):
    insert(file, len(file.read_text()), text)


def sources(folder):
    return [file for file in folder.rglob("*") if file.suffix in (".c", ".py")]


def file_with(folder, text):
    """The one file of source code below a folder in which a text stands."""
    (found,) = (file for file in sources(folder) if text in file.read_text())
    return found


def table(folder, name):
    """The file that defines a table, where the definition begins and where the first row."""
    definition = re.compile(rf"(?m)^(const \S+ \*const )?{name}\b.* = [{{(]")
    found = ((file, definition.search(file.read_text())) for file in sources(folder))
    ((file, match),) = ((file, match) for file, match in found if match)
    return file, *match.span()


def add_row(folder, name, row):
    file, _, rows = table(folder, name)
    insert(file, rows, row)


# ------------------------------------------------------------------------ the steps of the text


def add_activation(root):
    kernels, (row, functions) = root / "csrc/kernels", blocks("relu6")
    append(kernels / "activations.def", row)
    append(kernels / "activation.inc", functions)
    (row,) = blocks("relu6", "python")
    add_row(root / ORACLE, "ACTIVATIONS", row)


def add_rule(root):
    csrc, (contract, body, rule) = root / "csrc", blocks("deadzone")
    append(csrc / "kernels/kernels.def", contract)
    append(csrc / "kernels/rows.inc", body)
    (file_with(csrc, '.name = "dfa"').parent / "deadzone.c").write_text(rule)
    add_row(csrc, "fa_rule_table", "&fa_rule_deadzone,")
    file, start, _ = table(csrc, "fa_rule_table")
    insert(file, start, "extern const fa_rule_ops fa_rule_deadzone;")

    function, rule = blocks("eadzone", "python")
    append(file_with(root / ORACLE, "S_l = sign(e) B_l"), function)
    append(file_with(root / RULES, 'name: ClassVar[str] = "sdfa"'), rule)


# ------------------------------------------------------------------------------ tests/README.md


def test_every_file_of_tests_is_in_the_table():
    tests = ROOT / "tests"
    files = [*tests.glob("*/test_*.py"), *tests.glob("c/test_*.c")]
    named = re.findall(r"test_\w+\.(?:py|c)\b", (tests / "README.md").read_text())
    assert {file.name for file in files} == set(named)


# -------------------------------------------------------------------------------------- strict C


@pytest.fixture
def root(tmp_path):
    """A copy of everything that the package is built from."""
    built = shutil.ignore_patterns("*.so*", "*.a", "__pycache__")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=built)
        else:
            shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def compile_all(csrc, *names):
    for name in names:
        (file,) = csrc.rglob(name)
        run(*CC, *FLAGS, f"-I{csrc}", f"-I{csrc / 'kernels'}", file)


def test_an_activation(root):
    add_activation(root)
    compile_all(root / "csrc", "isa_c.c")


def test_a_rule(root):
    add_rule(root)
    compile_all(root / "csrc", "isa_c.c", "deadzone.c")


def new_lines(root):
    """The lines that are in the copy and not in the original, by file."""
    found = {}
    for name in ("csrc", "src"):
        for file in filter(Path.is_file, (root / name).rglob("*")):
            original = ROOT / file.relative_to(root)
            before = original.read_bytes().splitlines() if original.exists() else []
            if added := set(file.read_bytes().splitlines()) - set(before):
                found[file.relative_to(root).as_posix()] = added
    return found


def test_a_rule_takes_four_files_and_an_option_three(root):
    add_rule(root)
    added = new_lines(root)
    kernels = {name for name in added if name.startswith("csrc/kernels/")}
    assert (len(added.keys() - kernels), len(kernels)) == (4, 2)
    assert {name for name, lines in added.items() if b"limit" in b" ".join(lines)} == {
        "csrc/rules/deadzone.c", f"{RULES}/broadcast.py", f"{ORACLE}/rules_broadcast.py"
    }  # fmt: skip


# ------------------------------------------------------------------------------------- both at work

TRAIN = """
from networks import assert_all_close, dense, description, pair, samples
import fastfa as fa
from fastfa.rules import RULES

for dtype in ("float32", "float64"):
    how = RULES["deadzone"](limit=0.3).describe()
    layers = [dense(19, "hardtanh"), dense(7, "tanh"), dense(3)]
    desc = description(layers, 6, how, dtype=dtype, n_threads=2)
    engine, oracle = pair(desc)
    data, start = samples(desc, 70, weights=True), engine.parameters["0.weight"].copy()
    for _ in range(5):
        engine.train_batch(*data), oracle.train_batch(*data)
    assert (engine.parameters["0.weight"] != start).any()
    assert_all_close(engine.parameters, oracle.parameters, dtype, 5)

X, y, *_ = fa.datasets.load("digits")
layers = [fa.Dense(32, "hardtanh"), fa.Dense(10)]
settings = {"input_shape": 64, "optimizer": "adam", "rng": 0}
net = fa.Sequential(layers, rule=RULES["deadzone"](limit=0.2), **settings)
first, *_, last = net.fit(X, y, 10, verbose=False).history["loss"]
try:
    RULES["deadzone"](limit=-0.5)
except ValueError as error:
    print(error)
assert fa.Sequential(layers, rule="deadzone", **settings).rule.limit == 0.1
print(fa.__file__, fa.load(net.to_bytes()).rule, last < first)
"""


@pytest.mark.slow
def test_both_train_as_their_equations(root):
    """The package, built with both: the engine and the oracle agree, and the rule is a class."""
    add_activation(root)
    add_rule(root)
    setup = (root / "setup.py").read_text()
    assert '"-O3"' in setup
    (root / "setup.py").write_text(setup.replace('"-O3"', '"-O0"'))  # a third of the time
    build = (sys.executable, "setup.py", "-q", "build_ext", "--inplace")
    run("sh", "-c", 'cd "$0" && exec "$@"', root, *build, FASTFA_NO_BLAS="1", FASTFA_DEBUG="0")
    said = run_python(f"import sys; sys.path.insert(0, {str(root / 'src')!r})\n{TRAIN}")
    refused = "limit: expected a finite number >= 0, got -0.5"
    assert said == f"{refused}\n{root}/src/fastfa/__init__.py Deadzone(limit=0.2) True"
