"""A number about a map, with what it means."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from torch import Tensor

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.errors import ArgumentTypeError, MethodNotApplicableError
from nbcnnviz.core.network import Network
from nbcnnviz.core.trace import Trace
from nbcnnviz.render import flat, upscaled

_Measure = TypeVar("_Measure", bound=Callable[..., Any])


def typed(measure: _Measure) -> _Measure:
    """A measure that refuses, by ArgumentTypeError, what is no trace, result or network where it takes one."""
    signature = inspect.signature(measure)

    @functools.wraps(measure)
    def checked(*args: Any, **given: Any) -> Any:
        kinds = {"trace": Trace, "result": Attribution, "network": Network}
        for name, value in signature.bind(*args, **given).arguments.items():
            if name in kinds and not isinstance(value, kinds[name]):
                raise ArgumentTypeError(
                    f"{measure.__name__}({', '.join(signature.parameters)}) takes a {kinds[name].__name__} as {name}, "
                    f"not a {type(value).__name__}."
                )
        return measure(*args, **given)

    return cast(_Measure, checked)


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
