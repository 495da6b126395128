"""Errors have one grammar: "X: expected ..., got ...", with a hint after ";"."""

import ast
import re

import pytest
from compiling import ROOT

SOURCE = ROOT / "src" / "fastfa"
GRAMMAR = re.compile(r"[^:]+(: [^:]+)*: expected .+, got .+", re.DOTALL)
PASSED_ON = re.compile(r"(\{\}|, line |: not a (run|readable \{\}))+: \{\}")  # "place: the error"
# What is refused where nothing was given, so that nothing can be named.
OTHERS = {"a network is made once: make another, or reset() this one"}


def text_of(node):
    """The text of a literal message, "{}" in place of values; None if it is not literal."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join("{}" if isinstance(x, ast.FormattedValue) else x.value for x in node.values)
    if isinstance(node, ast.BinOp):
        return f"{text_of(node.left) or '{}'}{text_of(node.right) or '{}'}"
    return None


def messages(source):
    """Line and text of each message of a ValueError or TypeError that is not made by `mismatch`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in ("ValueError", "TypeError", "ArgumentTypeError") and node.args:
            message = node.args[0]
            if not (isinstance(message, ast.Call) and message.func.id == "mismatch"):
                yield node.lineno, text_of(message)


def faults(source):
    return [
        (line, text)
        for line, text in messages(source)
        if text is not None
        and text not in OTHERS
        and not GRAMMAR.fullmatch(text)
        and not PASSED_ON.fullmatch(text)
    ]


@pytest.mark.parametrize("text", ["n must be 1, got 2", "n: expected 1", "expected 1, got {n}"])
def test_the_search_finds_other_grammars(text):
    assert faults(f'raise ValueError(f"{text}")')
    assert faults(f'raise TypeError("{text}" + (hint if hint else ""))')


def test_all_messages_have_the_grammar():
    found = {
        str(path.relative_to(SOURCE)): faults(path.read_text())
        for path in SOURCE.rglob("*.py")
        if "_vendor" not in path.parts
    }
    assert len(found) > 60
    assert {name: each for name, each in found.items() if each} == {}


def test_messages_of_the_extension_have_it_too():
    files = [*SOURCE.glob("*.pyx"), *SOURCE.glob("*.pxi")]
    source = "\n".join(path.read_text() for path in files)
    texts = re.findall(r'raise (?:ValueError|TypeError)\(f?"(.*)"\)', source)
    assert len(texts) > 5
    assert [text for text in texts if not re.search(r"\S: expected .+, got ", text)] == []


def test_messages_of_c_have_it_too():
    literal = r'"(?:[^"\\]|\\.)*"'
    texts = [
        "".join(text[1:-1] for text in re.findall(literal, call))
        for path in (ROOT / "csrc").rglob("*.c")
        for call in re.findall(rf"fa_fail\(\s*FA_E_VALUE,\s*((?:{literal}\s*)+)", path.read_text())
    ]
    assert len(texts) > 90
    # a message may begin with "expected": its caller adds the place, by `fa_fail_in`
    assert [text for text in texts if not re.search(r"(^|\S: )expected .+, got ", text)] == []
