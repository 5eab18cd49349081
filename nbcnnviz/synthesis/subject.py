"""What a run is asked to raise, from what is selected, in words and as an objective."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nbcnnviz.core.errors import FilterRangeError, MethodNotApplicableError
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Channel, ClassScore, LayerEnergy, Unit, as_target

Kind = Literal["class", "filter", "unit", "layer"]

KINDS: dict[Kind, str] = {
    "class": "The score of the class that is selected, or of the target set in Python",
    "filter": "The mean activation of the filter that is selected, or of each one named under Gallery",
    "unit": "One place of the filter's map: the one that is selected, or its middle",
    "layer": "All of the layer that is selected: the mean of its squares (DeepDream)",
}

MOST = 64
"""The most pictures of a gallery."""


@dataclass(frozen=True)
class Question:
    """An objective, or one for each picture of a gallery; see `Specification`."""

    objective: Any
    words: str
    titles: tuple[str, ...]
    filters: tuple[str, tuple[int, ...]] | None = None


@dataclass(frozen=True)
class Subject:
    """What a run could be about: a network, and the target, layer, filter and unit of it that are selected."""

    network: Network
    target: Any = None
    layer: str | None = None
    filter: int | None = None
    unit: tuple[int, int] | None = None

    @property
    def natural(self) -> Kind:
        """What the selection is about."""
        if self.filter is None or self.layer is None:
            return "class"
        return "filter" if self.unit is None else "unit"

    def lacks(self, kind: Kind, several: str) -> str:
        """Why there is no such objective, in words; empty where there is one."""
        if kind == "class":
            return ""
        if self.layer is None:
            return "This network has no layer with maps."
        if kind != "layer" and self.filter is None and not several.strip():
            return "Choose a filter first, or name some under Settings, Gallery."
        return ""

    def question(self, kind: Kind, several: str = "") -> Question:
        """The objective of this kind; ``several`` lists classes or filters, such as ``"3, 17, 20-25"``, for a gallery.

        Raises
        ------
        MethodNotApplicableError, FilterRangeError, UnknownClassError
            If there is none; the message says why.
        """
        if lack := self.lacks(kind, several):
            raise MethodNotApplicableError(lack)
        if kind == "class":
            return self._classes(several) if several.strip() else self._target()
        layer = self.layer
        assert layer is not None
        if kind == "layer":
            if several.strip():
                raise MethodNotApplicableError("A gallery is of classes, filters or units, not of whole layers.")
            return Question(LayerEnergy(layer), f"all of {layer}", (layer,))
        filters = self._filters(layer, several) if several.strip() else (self.filter or 0,)
        place: tuple[int, ...] = ()
        where = ""
        if kind == "unit":
            place = self.unit or ()
            where = f"the unit at row {place[0]}, column {place[1]}" if place else "the middle unit"
            where += " of "
        made = Unit if kind == "unit" else Channel
        objectives = [made(layer, index, *place) for index in filters]
        titles = tuple(f"filter {index}" for index in filters)
        if not several.strip():
            return Question(objectives[0], f"{where}filter {filters[0]} of {layer}", titles)
        return Question(objectives, f"{where}filters {_listed(filters)} of {layer}", titles, (layer, filters))

    def _target(self) -> Question:
        target = self.target
        if target is None:
            return Question(None, "the picture's top class", ("top class",))
        words = f"class {self._class(target)}" if isinstance(target, int) else as_target(target).describe(self.network)
        return Question(target, words, (words,))

    def _classes(self, several: str) -> Question:
        indices = tuple(
            self.network.class_index(entry) for part in _parts(several) for entry in (numbers(part) or (part,))
        )
        _check(indices)
        titles = tuple(self._class(index) for index in indices)
        shown = titles if len(titles) <= 4 else (*titles[:3], f"{len(titles) - 3} more")
        return Question(list(indices), f"classes {', '.join(shown)}", titles)

    def _filters(self, layer: str, several: str) -> tuple[int, ...]:
        count = self.network.layers[layer].filters
        found: list[int] = []
        for part in _parts(several):
            these = numbers(part)
            if these is None:
                raise FilterRangeError(f"{part!r} is no filter: filters go by number, such as 3, 17, 20-25.")
            if these[-1] >= count:
                raise FilterRangeError(f"Layer {layer!r} has filters 0 to {count - 1}: there is no {these[-1]}.")
            found.extend(these)
        _check(found)
        return tuple(found)

    def _class(self, index: int) -> str:
        return ClassScore(index).describe(self.network)


def numbers(part: str) -> tuple[int, ...] | None:
    """The numbers that a part of a list stands for, ``"17"`` or ``"20-25"``; None where it is no number."""
    match = re.fullmatch(r"\s*(\d+)\s*(?:[-\u2013]\s*(\d+))?\s*", part)
    if match is None:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        first, last = last, first
    if last - first >= MOST:
        _check(range(first, last + 1))
    return tuple(range(first, last + 1))


def _parts(several: str) -> list[str]:
    return [part.strip() for part in several.replace(";", ",").split(",") if part.strip()]


def _check(found: Sequence[int]) -> None:
    if len(found) > MOST:
        raise MethodNotApplicableError(f"A gallery has room for {MOST} pictures, and these are {len(found)}.")


def _listed(found: Sequence[int]) -> str:
    """Numbers in words, those that follow one another as a range."""
    ranges: list[list[int]] = []
    for number in found:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    words = [" to ".join(map(str, ends)) for ends in ranges]
    return ", ".join(words) if len(words) <= 8 else f"{', '.join(words[:6])} ..."
