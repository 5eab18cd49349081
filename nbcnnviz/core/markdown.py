"""Tables in Markdown, of options and of anything else, for the pages that are written from the registers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nbcnnviz.core.options import Option


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a pipe within a cell is escaped, but for one in a formula, which is written ``\\vert``."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def options_table(options: Mapping[str, Option]) -> str:
    """Each option with its default, what it can be, and what it does."""
    return table(
        ("option", "default", "can be", ""),
        (
            (f"`{o.name}`", f"`{shown(o.default)}`", "" if o.kind == "any" else o.range, o.help)
            for o in options.values()
        ),
    )


def shown(value: Any) -> str:
    """A default as it is written in Python."""
    return f"{value:g}" if isinstance(value, float) else repr(value)


def plain(doc: str) -> str:
    """The prose of a docstring, up to its first section, as Markdown: double backquotes are single ones, and what looks like mathematics stays as it is."""
    prose = re.split(r"\n[A-Z][a-z ]+\n-{4,}\n", f"\n{doc}\n")[0].strip()
    escaped = prose.replace("``", "`").replace("*", "\\*").replace("|", "\\|").replace("_", "\\_")
    pieces = escaped.split("`")
    return "`".join(p if i % 2 == 0 else p.replace("\\", "") for i, p in enumerate(pieces))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
