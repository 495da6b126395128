"""The house of the Python package: who may import whom, and how long a module may be."""

import ast
import graphlib
import re
import tomllib
from pathlib import Path

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PACKAGE = ROOT / "src/fastfa"

# The allowed direction: a module imports modules of its own level and of the levels above it here.
# A folder stands for its modules that are not named; helpers of Sequential are in _internal too.
LEVELS = (
    {"_internal"},
    {"_core"},
    {
        "_internal.compute",
        "_internal.engines",
        "_internal.given_gradients",
        "_internal.metrics",
        "_internal.options",
        "_internal.threads",
        "backends",
    },
    {"augment", "feedback", "initializers", "losses", "optimizers", "schedules"},
    {"rules"},
    {"layers"},
    {
        "alignment",
        "export",
        "_internal.arguments",
        "_internal.model",
        "_internal.network_checks",
        "_internal.torch_layers",
        "_internal.trainable",
    },
    {"_internal.notes", "_internal.restoring", "_internal.summary"},
    {"callbacks"},
    {"_internal.fit_options", "_internal.training"},
    {"_internal.batches", "_internal.fit_task"},
    {"_internal.fit_call", "_internal.streaming"},
    {"sequential"},
    {"_internal.from_torch", "_internal.loading", "datasets", "plot", "replicas", "sklearn"},
    {"experiments"},
    {"fastfa"},
    {"__main__"},
)
MAX_LINES, MAX_FUNCTION = 450, 50  # of code: no blank lines, comments and docstrings


def modules():
    """Path of each module by its dotted name within the package; the package itself is "fastfa"."""
    found = {}
    for path in (*PACKAGE.rglob("*.py"), PACKAGE / "_core.pyi"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found["fastfa" if name == "__init__" else name.removesuffix(".__init__")] = path
    return found


def imported(node, folder):
    """Dotted names that a relative import may mean: the modules or names in it, and its module."""
    base = [*folder[: len(folder) - node.level + 1], *(node.module or "").split(".")]
    base = ".".join(filter(None, base))
    return [(f"{base}.{alias.name}".lstrip("."), base or "fastfa") for alias in node.names]


def imports(path, known):
    """Modules that a file imports anywhere in it, also for types; and the packages around them."""
    folder = path.relative_to(PACKAGE).parts[:-1]
    text = path.read_text()
    if path.suffix == ".pyi":  # what the extension itself imports
        sources = "".join(each.read_text() for each in sorted(PACKAGE.glob("_core*.p[yx][xi]")))
        text += "\n" + "\n".join(re.findall(r"(?m)^ *(from \.\S* import .*)", sources))
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ImportFrom) and n.level]
    pairs = [pair for node in nodes for pair in imported(node, folder)]
    names = {name if name in known else module for name, module in pairs}
    around = {
        ".".join(name.split(".")[:i]) for name in names for i in range(1, name.count(".") + 1)
    }
    return names | {name for name in around if name.split(".") != [*folder][: name.count(".") + 1]}


def graph():
    """For each module the modules that it imports."""
    known = modules()
    return {name: imports(path, known) - {name} for name, path in known.items()}


def level(name):
    """The level of a module: that of its own name, or else of the nearest folder around it."""
    while name:
        for number, names in enumerate(LEVELS):
            if name in names:
                return number
        name = name.rpartition(".")[0]
    raise AssertionError("a module without a level")


def code_lines(path):
    """Numbers of the lines that hold code, and the syntax tree."""
    text = path.read_text()
    tree = ast.parse(text)
    docs = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            docs.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return {i for i, line in lines if line and line[0] != "#" and i not in docs}, tree


def test_the_graph_sees_what_is_there():
    found = graph()
    assert "_internal.checks" in found["_core"]  # from _core.pyx
    assert "_internal.samples" in found["_core"]  # from its stub
    assert "callbacks" in found["_internal.training"]
    assert {"rules", "rules.registry"} <= found["layers.registry"]  # a package runs first
    assert "callbacks" not in found["callbacks.alignment"]  # in that package itself
    assert "alignment" in found["callbacks.faults"]  # for types alone
    assert "fastfa" in found["__main__"]


def test_no_module_imports_one_that_imports_it():
    """At run time, inside functions, or for types."""
    graphlib.TopologicalSorter(graph()).prepare()  # raises CycleError, which names the cycle


def test_imports_go_one_way():
    wrong = [
        f"{name} imports {target}"
        for name, targets in graph().items()
        for target in targets
        if level(target) > level(name)
    ]
    assert wrong == []


def test_every_package_is_installed():
    """Packages are listed by hand: one that is missing there is missing in wheels alone."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {path.parent.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py")}
    assert sorted(listed) == sorted(".".join(folder.parts) for folder in found)


def test_modules_and_functions_are_short():
    long = []
    for path in PACKAGE.rglob("*.py"):
        lines, tree = code_lines(path)
        parts = [(path.name, len(lines), MAX_LINES)]
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                count = len(lines & set(range(node.lineno, node.end_lineno + 1)))
                parts.append((f"{path.name}: {node.name}", count, MAX_FUNCTION))
        long += [f"{name} has {count} lines" for name, count, most in parts if count > most]
    assert long == []
