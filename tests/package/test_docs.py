"""Every Markdown file: its lines fit, its links lead to files, the files that it names exist."""

import re

import pytest
from compiling import ROOT

WIDTH = 120


def documents():
    """Every Markdown file that people read."""
    paths = [*ROOT.glob("*.md")]
    for folder in ("docs", "bench", "tests", "examples", "src"):
        paths += (ROOT / folder).rglob("*.md")
    return [p for p in paths if not {"build", "corpus", ".pytest_cache"} & set(p.parts)]


def anchors(path):
    """The names by which links reach the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def leads_nowhere(path, link):
    """Whether a link of a page names no file, or no heading of a page."""
    file, _, anchor = link.partition("#")
    target = path.parent / file if file else path
    return not target.exists() or (bool(anchor) and anchor not in anchors(target))


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    local = [link for link in links if not re.match(r"\w+:", link)]
    assert [link for link in local if leads_nowhere(path, link)] == []


def too_wide(text):
    """Lines over 120 columns that can be wrapped: no table, no link by itself."""
    return [
        line
        for line in text.splitlines()
        if len(line) > WIDTH and not line.startswith("|") and " " in line.strip()
    ]


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_lines_fit(path):
    assert too_wide(path.read_text()) == []


# ------------------------------------------------------------------------- names in the documents


FOLDERS = ("", "csrc", "csrc/kernels", "csrc/engine", "csrc/io", "csrc/model", "src/fastfa", "docs")
FILE = re.compile(r"[\w.\-]*/[\w./\-]*|\w+\.(?:c|h|inc|def|py|pyx|pxi|pxd|json|md|sh|toml|txt)")


def is_there(name):
    """Whether a name in a document is a file or folder, relative to one of the usual folders."""
    return any((ROOT / folder / name).exists() for folder in FOLDERS)


def code():
    """All of the engine, the package and the benchmarks, as one text."""
    suffixes = {".c", ".h", ".inc", ".def", ".py", ".pyx", ".pxi", ".pyi"}
    files = [p for f in ("csrc", "src/fastfa", "bench") for p in (ROOT / f).rglob("*")]
    return "\n".join(p.read_text(errors="ignore") for p in files if p.suffix in suffixes)


def test_the_glossary_names_what_exists():
    """Every file in its last column is there, every name in it occurs in the code."""
    everything, text = code(), (ROOT / "docs/GLOSSARY.md").read_text()
    rows = re.findall(r"^\| (?!term)(.*) \| .* \| (.*) \|$", text, re.M)
    names = {name for _, where in rows for name in re.findall(r"`([^`]+)`", where)}
    files = {n for n in names if FILE.fullmatch(n)}
    words = {n.split("->")[-1] for n in names - files if re.fullmatch(r"\w+(->\w+)?", n)}
    assert len(files) > 30
    assert len(words) > 20
    assert [f for f in files if not is_there(f)] == []
    assert [w for w in words if not re.search(rf"\b{w}\b", everything)] == []


@pytest.mark.parametrize("name", ["docs/ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_paths_in_text_exist(name):
    """Every path between backticks, except the file of the worked rule."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", (ROOT / name).read_text())
    paths = {path for path in re.findall(r"`([^`]+)`", text) if FILE.fullmatch(path)}
    assert len(paths) > 10
    assert [p for p in paths if "deadzone" not in p and not is_there(p)] == []
