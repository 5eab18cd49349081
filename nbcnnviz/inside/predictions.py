"""What a network says of a picture, as a list of classes: their values in words and as bars, and a search among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nbcnnviz.core.targets import BoxScore, ClassScore, Combination, RegionScore, Target
from nbcnnviz.core.trace import Trace

SHOWN = 8
"""The most rows of the best classes."""


@dataclass(frozen=True)
class Row:
    """A class in the list: its index and name, its value in words, where its bar starts and ends on a scale of 0 to 1."""

    index: int
    name: str
    text: str
    start: float
    end: float


class ClassTable:
    """The classes of a network with what it says of a trace's first picture.

    Attributes
    ----------
    names : Sequence[str]
        Of all classes.
    top : list[tuple[int, str, float]]
        The best, at most `SHOWN`: index, name, value; of a segmentation those present, of a regression the values.
    heading : str
        What the rows are.
    has_best : bool
        Whether one class is on top of the others.
    note : str
        Why there are no rows, if there are none.
    """

    def __init__(self, trace: Trace) -> None:
        network = trace.network
        self.names, self._kind = network.classes, network.kind
        regression = self._kind == "regression"
        self._text: Callable[[float], str] = network.head.text if regression else percent
        known = trace.top(max(1, len(self.names)))
        self._values = {index: value for index, _, value in known}
        self.top = [entry for entry in known[:SHOWN] if entry[2] > 0 or self._kind != "segmentation"]
        self.heading = "Values" if regression else "Classes"
        self.has_best = self._kind != "embedding" and (not regression or len(self.names) == 1)
        self.note = "" if self.top else _why_nothing(trace)

    def rows(self, indices: Iterable[int]) -> list[Row]:
        """The rows of some classes, on one scale; without indices that this network has no class for."""
        known = [index for index in indices if index < len(self.names)]
        values = [self.value(index) for index in known]
        low, high = _bar_range(values) if self._kind == "regression" else (0.0, 1.0)
        return [
            Row(index, self.names[index], self._text(value), *_bar(value, low, high))
            for index, value in zip(known, values, strict=True)
        ]

    def value(self, index: int) -> float:
        """What the network says of a class."""
        return self._values.get(index, 0.0) if self._values else math.nan

    def search(self, text: str) -> list[int]:
        """The classes that a text finds; see `matching`."""
        return matching(text, self.names, self.value)


def matching(text: str, names: Sequence[str], value: Callable[[int], float]) -> list[int]:
    """The classes that a text finds by number or part of the name.

    The number first, then the whole name, names of which it is a word, names with a word that begins so, and the others;
    among equals the one of larger value first.
    """
    wanted = " ".join(text.lower().split())
    if not wanted:
        return []

    def rank(index: int) -> tuple[int, float, int] | None:
        name = names[index].lower()
        spaced = f" {name.replace('-', ' ').replace(',', ' ')} "
        if wanted == str(index):
            place = 0
        elif wanted in (name, f"{name} ({index})"):
            place = 1
        elif f" {wanted} " in spaced:
            place = 2
        elif f" {wanted}" in spaced:
            place = 3
        elif wanted in name:
            place = 4
        else:
            return None
        worth = value(index)
        return place, -worth if math.isfinite(worth) else math.inf, index

    ranked = [(found, index) for index in range(len(names)) if (found := rank(index)) is not None]
    return [index for _, index in sorted(ranked)]


def explained(target: Any, trace: Trace) -> tuple[int | None, int | None]:
    """The class that a target is of, where it is of one, and the class that it is held against."""
    if target is None:
        return None, None
    if isinstance(target, Combination):
        weights, parts = [weight for weight, _ in target.terms], target.parts
        if weights == [1, -1] and target.constant == 0 and all(_of_one_class(part) for part in parts):
            one, other = (trace.network.class_index(part.index) for part in parts)  # type: ignore[attr-defined]
            return one, other
        return None, None
    if isinstance(target, RegionScore):
        return trace.network.class_index(target.index), None
    if isinstance(target, BoxScore) and isinstance(target.box, int):
        boxes = trace.boxes() if trace.network.kind == "detection" else []
        return (boxes[target.box].label if -len(boxes) <= target.box < len(boxes) else None), None
    return (target if isinstance(target, int) else None), None


def _of_one_class(target: Target) -> bool:
    return type(target) is ClassScore and not isinstance(target.index, tuple)


def percent(probability: float) -> str:
    """A probability as it is shown, a small one to a tenth of a percent."""
    if math.isnan(probability):
        return "NaN"
    if 0 < probability < 0.001:
        return "< 0.1 %"
    return f"{100 * probability:.{1 if 0 < probability < 0.01 else 0}f} %"


def _bar(value: float, low: float, high: float) -> tuple[float, float]:
    """Where a bar from zero to a value starts and ends, on a scale of 0 to 1."""
    if not math.isfinite(value):
        return 0.0, 0.0
    places = sorted((end - low) / (high - low) for end in (0.0, value))
    return max(0.0, places[0]), min(1.0, places[1])


def _bar_range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of a scale that shows values as bars from zero."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    return low, high if high > low else low + 1.0


def _why_nothing(trace: Trace) -> str:
    """Why there are no rows."""
    said = trace.network.head.note if trace.network.kind == "embedding" else "nothing was found in this picture"
    return f"{said[:1].upper()}{said[1:]}."
