"""Writes the whole engine as two files, fastfa.c and fastfa.h, to drop into another program.

    python csrc/amalgamate.py FOLDER
    cc -std=c11 -O3 -c fastfa.c          (link with -lm -lpthread; see the head of fastfa.c)

One file does the work of several object files:

    #include "x"                   replaced by the text of x
    isa_v3.c with flags of its own a region with target attributes, its names ending in _v3
    static names of two files      renamed after their file: `plan` in x.c becomes x_plan
    macros of a .c file            undefined at its end
"""

import re
import sys
from collections import Counter
from pathlib import Path

CSRC = Path(__file__).parent
LEFT_OUT = {"exports"}  # functions that fastfa.h has inline, for callers without it

HEAD = """\
/* fastfa {version} in one file, to use with fastfa.h. Made by csrc/amalgamate.py: change that file.
 *
 *     cc -std=c11 -O3 -c fastfa.c && cc program.c fastfa.o -lm -lpthread
 *
 * The instruction set is chosen when the program starts: no -march is needed. Never -ffast-math.
 *
 *   -DFASTFA_CBLAS      may call the CBLAS (32-bit int) that the program is linked with; where its
 *                       names have a prefix: -Dcblas_sgemm=p_cblas_sgemm and dgemm alike
 *   -DFASTFA_PORTABLE   plain C kernels only, on every processor */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef FASTFA_CBLAS
#define FASTFA_NO_BLAS
#endif

/* A product and a sum are rounded twice, as written. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

{includes}
#if defined(__x86_64__) && !defined(FASTFA_PORTABLE)
#define FA_X86_KERNELS /* immintrin.h must come before every region with a target attribute */
#include <immintrin.h>
#elif defined(__aarch64__) && !defined(FASTFA_PORTABLE)
#define FA_ARM_KERNELS
#endif

#include "fastfa.h"

#pragma GCC visibility push(hidden) /* except functions marked FA_API */
"""

TARGET = """
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("{target}"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("{target}{wide}")
#endif
{body}
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
"""

COMMENT_OR_STRING = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.M)
UNDEF = re.compile(r"^[ \t]*#[ \t]*undef[ \t]+(\w+)", re.M)


class Sources:
    """Text of csrc with its own headers in place of their #include lines."""

    def __init__(self):
        self.seen = {"fastfa.h"}  # it stays a file
        self.system = set()

    def text(self, path):
        """The file without its include guard and system headers, those under an #if excepted."""
        text = path.read_text()
        guard = re.match(
            r"\A((?:/\*.*?\*/\s*)?)#ifndef (\w+)\n#define \2\n(.*)#endif\s*\Z", text, re.S
        )
        if guard:
            self.seen.add(path.name)
            text = guard[1] + guard[3]
        lines, depth = [], 0
        for line in text.splitlines():
            depth += line.startswith("#if")
            depth -= line.startswith("#endif")
            lines.append(self.line(line, depth))
        return "\n".join(line for line in lines if line is not None)

    def line(self, line, depth):
        """One line, or what takes its place; None for nothing."""
        if own := re.match(r'#include "(.*)"', line):
            if Path(own[1]).name in self.seen:
                return None
            path = CSRC / own[1]
            return self.text(path if path.exists() else CSRC / "kernels" / own[1])
        if system := re.match(r"#include <.*>", line):
            if depth:  # stays where it is, and its functions are not ours to hide
                shown = (
                    "#pragma GCC visibility push(default)",
                    system[0],
                    "#pragma GCC visibility pop",
                )
                return "\n".join(shown)
            self.system.add(system[0])
            return None
        return line

    def again(self, name):
        """Forget a header, so that it is put in once more."""
        self.seen.discard(name)


def code(text):
    """Without comments, strings, attributes, preprocessor lines and lines that are a macro."""
    text = re.sub(COMMENT_OR_STRING, " ", text, flags=re.S)
    text = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$|^[A-Z][A-Z_]+\(.*\)$", "", text, flags=re.M)
    return re.sub(r"__attribute__ ?\(\(.*\)\)", "", text)


def declarations(text):
    """Each declaration at file scope as (what is outside of braces, what is inside)."""
    depth, outside, inside = 0, "", ""
    for c in code(text):
        depth -= c == "}"
        if depth == 0 and c not in "{}":
            outside += c
        else:
            inside += c
        depth += c == "{"
        body_ends = c == "}" and outside.rstrip().endswith(")")
        if depth == 0 and (c == ";" or body_ends):
            yield outside.strip(" \n;"), inside.strip(" {}")
            outside, inside = "", ""


def private_names(text):
    """Names that a .c file declares at file scope for itself."""
    names = set()
    for outside, inside in declarations(text):
        if outside == "enum":
            names.update(
                re.match(r"\s*(\w+)", each)[1] for each in inside.split(",") if each.strip()
            )
        elif outside.startswith(("static", "FA_INLINE", "typedef")):
            pointer = re.match(r"[\w\s]+\(\*\s*(?:const )?(\w+)", outside)  # to functions
            names.add((pointer or re.search(r"(\w+)\s*(?:\(|\[|=|$)", outside))[1])
            names.update(re.findall(r"\bstruct (\w+)\s+\w+$", outside))
    return names


def rename(text, names, prefix):
    """Put the prefix before these names, wherever they are not fields or text."""
    word = rf"{COMMENT_OR_STRING}|(?<![.\w])(?<!->)\b(?:{'|'.join(sorted(names))})\b"

    def change(m):
        return prefix + m[0] if m[0] in names else m[0]

    return re.sub(word, change, text, flags=re.S) if names else text


def undefined(text):
    """Lines that undefine what the text defines and leaves defined."""
    left = dict.fromkeys(DEFINE.findall(text))
    for name in UNDEF.findall(text):
        left.pop(name, None)
    return "".join(f"#undef {name}\n" for name in left)


def flags():
    """The -m flags of each file in cflags.txt."""
    rows = [line.split() for line in (CSRC / "cflags.txt").read_text().splitlines()]
    return {row[0]: [f[2:] for f in row[1:] if f.startswith("-m")] for row in rows if row[0] != "#"}


def kernel_names(text):
    """Everything at file scope of the kernels that FN does not already name by instruction set."""
    names = private_names(text) - {"FN"}
    for name in re.findall(r"\b(v_\w+|v[iuf](?:32|64))\b", text):
        names.update([name + "f32", name + "f64"] if name.endswith("_") else [name])
    return names


def kernels(sources):
    """The kernels once for each instruction set: three on x86-64, one on ARM, plain C elsewhere."""
    parts, options = [], flags()
    for isa in ("v2", "v3", "v4", "neon", "c"):
        sources.again("simd.h")
        sources.again("window.h")
        body = sources.text(CSRC / f"kernels/isa_{isa}.c")
        names = sorted(kernel_names(body))
        body = "".join(f"#define {name} {name}_{isa}\n" for name in names) + body + "\n"
        body += undefined(body)
        if isa in ("v2", "v3", "v4"):
            known = [o for o in options[f"isa_{isa}"] if "=" not in o]
            wide = [o for o in options[f"isa_{isa}"] if "=" in o]
            body = TARGET.format(
                target=",".join(known), wide="".join("," + o for o in wide), body=body
            )
        parts.append(f"\n/* ==== kernels: {isa} {'=' * 60} */\n{body}")
    x86, (arm, plain) = "".join(parts[:3]), parts[3:]
    return (
        f"#if defined(FA_X86_KERNELS)\n{x86}\n#elif defined(FA_ARM_KERNELS)\n{arm}\n"
        f"#else\n{plain}\n#endif\n"
    )


def amalgamation():
    """The text of fastfa.c."""
    sources = Sources()
    headers = ("api/api.h", "rules/rules.h", "layers/layers.h")
    internal = "\n".join(sources.text(CSRC / header) for header in headers)
    body = kernels(sources)
    paths = sorted(path for path in CSRC.rglob("*.c") if path.parent.name != "kernels")
    files = {path.stem: sources.text(path) for path in paths if path.stem not in LEFT_OUT}
    private = {stem: private_names(text) for stem, text in files.items()}
    count = Counter(name for names in private.values() for name in names)
    for stem, text in files.items():
        shared = {name for name in private[stem] if count[name] > 1}
        body += f"\n/* ==== {stem}.c {'=' * 60} */\n"
        body += rename(text, shared, f"{stem}_") + "\n" + undefined(text)
    version = re.search(r'FASTFA_VERSION "(.*)"', (CSRC / "fastfa.h").read_text())[1]
    head = HEAD.replace("{version}", version)
    head = head.replace("{includes}", "\n".join(sorted(sources.system)) + "\n")
    return f"{head}\n{internal}\n{body}\n#pragma GCC visibility pop\n"


def main(folder):
    """Write both files into the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fastfa.c").write_text(amalgamation())
    (folder / "fastfa.h").write_text((CSRC / "fastfa.h").read_text())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
