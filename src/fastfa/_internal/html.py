"""Tables that a notebook shows instead of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

RIGHT = ' style="text-align: right"'
LEFT = ' style="text-align: left"'


def html_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = ()
) -> str:
    """A table of texts, which are escaped; the columns in `numbers` are on the right."""
    right = set(numbers)
    lines = ["<table>"]
    if header:
        lines += ["<thead>", _row("th", header, right), "</thead>"]
    lines += ["<tbody>", *(_row("td", row, right) for row in rows), "</tbody>", "</table>"]
    return "\n".join(lines)


def _row(tag: str, cells: Sequence[str], right: set[int]) -> str:
    from html import escape  # here, so that importing fastfa imports NumPy only

    return "<tr>{}</tr>".format(
        "".join(
            f"<{tag}{RIGHT if i in right else LEFT}>{escape(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
    )
