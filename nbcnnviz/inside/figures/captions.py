"""Words that captions of maps share."""

from __future__ import annotations

from torch import Tensor

from nbcnnviz.render import Scale


def amiss(map_: Tensor, scale: Scale, before: str, why_zero: str = "") -> str:
    """What a reader of a map would else take for a fault of the program, in words behind ``before``."""
    broken = map_.numel() - int(map_.isfinite().sum())
    if broken:
        return f"{before}{broken} of {map_.numel()} values are NaN or infinite"
    return "" if scale.high > 0 else f"{before}zero everywhere" + (f": {why_zero}" if why_zero else "")


def applied_at(rectifiers: int | None) -> str:
    """At how many rectifiers a rule was applied, as it goes on a caption; nothing where it was at none."""
    return f", applied at {rectifiers} rectifier{'' if rectifiers == 1 else 's'}" if rectifiers else ""
