"""Every Markdown file: its lines fit, its links lead to files."""

import re

import pytest
from compiling import ROOT

WIDTH = 120
GENERATED = ("docs/reproduction.md",)  # by `python -m fastfa reproduce`


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


@pytest.mark.parametrize(
    "path",
    [p for p in documents() if str(p.relative_to(ROOT)) not in GENERATED],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_lines_fit(path):
    assert too_wide(path.read_text()) == []
