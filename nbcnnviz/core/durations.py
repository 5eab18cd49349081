"""Times in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A time in words, in the unit that suits it: "38 ms", "3.9 s", "12 s", "4 min", "1.5 h"."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def whole_seconds(seconds: float) -> str:
    """A time that is only estimated, in words: of less than ten seconds the whole ones, at least one."""
    return duration(max(1, round(seconds)))
