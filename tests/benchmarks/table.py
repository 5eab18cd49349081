"""What was asked beside what was measured, as a table that a person reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line: ``met`` is None where nothing was asked."""

    what: str
    measured: str
    asked: str = ""
    met: bool | None = None
    note: str = ""


def at_least(what: str, ratio: float, asked: float, note: str = "") -> Row:
    """A ratio that should be as large as ``asked``."""
    return Row(what, f"{ratio:.3g} x", f">= {asked:g} x", ratio >= asked, note)


def at_most(what: str, ratio: float, asked: float, note: str = "") -> Row:
    """A ratio that should be no larger than ``asked``."""
    return Row(what, f"{ratio:.3f} x", f"<= {asked:g} x", ratio <= asked, note)


def ms(seconds: float) -> str:
    """A time in milliseconds, to three figures."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds * 1e3:.0f} ms"


def show(title: str, rows: Iterable[Row]) -> None:
    """Print the table."""
    cells = [("", "measured", "asked", "", "")]
    cells += [(r.what, r.measured, r.asked, {True: "met", False: "MISSED", None: ""}[r.met], r.note) for r in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    print(f"\n{title}")
    for what, measured, asked, met, note in cells:
        line = f"  {what:<{widths[0]}}  {measured:>{widths[1]}}  {asked:>{widths[2]}}  {met:<{widths[3]}}  {note}"
        print(line.rstrip())
