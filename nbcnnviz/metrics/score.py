"""A number about a map, with what it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.render import flat, upscaled


@dataclass(frozen=True)
class Score:
    """One number about one map.

    Attributes
    ----------
    name : str
        Of the metric.
    value : float
        The number; NaN where it is not defined for this map.
    chance : float or None
        What a map that knows nothing of the picture gets on average; None where there is no such number.
    meaning : str
        What the number says, in a sentence.
    details : dict
        What else was found on the way.
    """

    name: str
    value: float
    chance: float | None
    meaning: str
    details: dict[str, Any] = field(default_factory=dict)

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        chance = "" if self.chance is None else f", by chance {self.chance:.3g}"
        return f"<{self.name} {self.value:.3g}{chance}: {self.meaning}>"


def map_of(result: Attribution, picture: int = 0) -> Tensor:
    """One picture's map at the input's size, (H, W) float32: summed over channels, scaled up bilinearly.

    Raises
    ------
    MethodNotApplicableError
        If it holds values that are not finite, or there is no such picture.
    """
    if not -len(result.values) <= picture < len(result.values):
        raise MethodNotApplicableError(f"The map is of {len(result.values)} pictures: there is no picture {picture}.")
    at = picture % len(result.values)
    values = upscaled(flat(result.values[at : at + 1])[None], result.trace.size)[0, 0]
    if not bool(values.isfinite().all()):
        raise MethodNotApplicableError("The map holds NaN or infinite values, which no metric can rank.")
    return values
