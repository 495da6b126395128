"""fastfa/__init__.pxd, what `cimport fastfa` sees, says the same as fastfa.h."""

import re
from pathlib import Path

import pytest

import fastfa

HEADER = Path(fastfa.get_include(), "fastfa.h").read_text()
DECLARATIONS = Path(fastfa.__file__).with_name("__init__.pxd").read_text()

CODE = re.sub(r"/\*.*?\*/|^#.*?$|//[^\n]*", "", HEADER, flags=re.S | re.M)
FUNCTION = r"^(?:FA_API|static inline) ([^;{]*?)\b(\w+)\(([^;{]*?)\)\s*[;{]"


def last_names(fields):
    """Names that C or Cython declarations introduce, in order; functions by pointer too."""
    names = []
    for field in fields:
        if pointer := re.search(r"\(\*(\w+)\)", field):
            names.append(pointer[1])
        else:
            names += [re.findall(r"\w+", part)[-1] for part in field.split(",") if part.strip()]
    return names


def block(kind, name):
    """Lines under `ctypedef kind name:` of the .pxd."""
    found = re.search(rf"^    ctypedef {kind} {name}:\n((?:        .*\n|\n)+)", DECLARATIONS, re.M)
    assert found, f"__init__.pxd does not declare {kind} {name}"
    lines = (re.sub(r"#.*", "", line).strip() for line in found[1].splitlines())
    return [line for line in lines if line and line != "pass"]


def argument_types(arguments):
    """How many arguments, and which of them are pointers to what: names do not matter."""
    if arguments.strip() in ("", "void"):
        return []
    types = []
    for argument in re.split(r",(?![^(]*\))", arguments):
        if "(*" in argument:
            types.append("function")
            continue
        words = re.findall(r"\w+|\*", argument.replace("[]", ""))
        types.append([w for w in words[:-1] if w not in ("const", "struct")])
    return types


def functions(text, pattern):
    return {
        name: (re.findall(r"\w+|\*", result.replace("const", "")), argument_types(arguments))
        for result, name, arguments in re.findall(pattern, text, re.M | re.S)
    }


def test_functions():
    header = functions(CODE, FUNCTION)
    declared = functions(DECLARATIONS, r"^    (\w[\w *]*?)\b(fa_\w+)\(([^:]*?)\)(?: noexcept)?$")
    assert len(header) > 30
    assert declared == header


STRUCTS = re.findall(r"^(?:typedef )?struct (\w+) \{(.*?)\n\}[ \w]*;", CODE, re.S | re.M)
ENUMS = re.findall(r"typedef enum (\w+) \{(.*?)\} \1;", CODE, re.S)


@pytest.mark.parametrize(("name", "body"), STRUCTS, ids=[name for name, _ in STRUCTS])
def test_struct(name, body):
    fields = [line.strip() for line in body.split(";") if line.strip()]
    assert last_names(block("struct", name)) == last_names(fields)


@pytest.mark.parametrize(("name", "body"), ENUMS, ids=[name for name, _ in ENUMS])
def test_enum(name, body):
    constants = [part.split("=")[0].strip() for part in body.split(",") if part.strip()]
    assert block("enum", name) == constants
