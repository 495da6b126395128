"""README.md: its code runs and prints what the page shows, its table of rules is complete."""

import contextlib
import io
import re

import pytest
from compiling import CC, ROOT, run

import fastfa
from fastfa import demo
from fastfa._core import NAMES

PAGE = (ROOT / "README.md").read_text()

same_results = pytest.mark.skipif(
    fastfa.build_info()["isa"] not in ("v3", "v4"), reason="the figures are those with AVX2"
)


def blocks(language):
    """The code blocks in a language, each with the block of output that follows it, if any."""
    pattern = rf"^```{language}\n(.*?)^```\n(?:\n```\n(.*?)^```\n)?"
    return re.findall(pattern, PAGE, re.M | re.S)


@same_results
def test_python_prints_what_the_page_shows(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    names, pairs = {}, blocks("python")
    assert [bool(shown) for _, shown in pairs] == [True, True]
    for code, shown in pairs:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == shown
    assert {path.name for path in tmp_path.iterdir()} == {
        "curves.png", "angles.png", "feedback.png"
    }  # fmt: skip


@same_results
def test_the_demo_prints_the_table_of_the_page():
    ((shown,),) = [(out,) for code, out in blocks("sh") if "fastfa demo" in code]
    found = demo.run(demo.Settings(), progress=False)

    def but_times(table):
        """The cells but seconds and samples a second, which are another machine's."""
        return [cells[:4] + cells[6:] for cells in map(str.split, table.splitlines()[1:6])]

    assert but_times(shown) == but_times(demo.table(found))
    assert shown.splitlines()[-1] == demo.verdict(found)


def test_c_compiles(tmp_path):
    ((code, _),) = blocks("c")
    (tmp_path / "page.c").write_text(
        '#include "fastfa.h"\nfa_status page(fa_net **net);\nfa_status page(fa_net **net)\n{\n'
        f"{code}return fa_net_create(net, &desc);\n}}\n"
    )
    run(*CC, "-std=c99", "-fsyntax-only", "-Wall", "-Wextra", f"-I{ROOT / 'csrc'}",
        tmp_path / "page.c")  # fmt: skip


def test_every_rule_has_a_row():
    rows = re.findall(r"^\| `(\w+)`.* \|$", PAGE, re.M)
    assert sorted(rows) == sorted(set(NAMES["rule"]) - {"custom"})
    relatives = {"eighteen": 18}[re.search(r"with (\w+) of its\s+relatives", PAGE)[1]]
    assert relatives == len(rows) - len(["backprop", "fa", "frozen"])


def test_it_is_short():
    assert len(PAGE.splitlines()) < 200
