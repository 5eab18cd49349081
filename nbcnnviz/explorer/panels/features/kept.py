"""What the Features panel keeps from one answer to the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from nbcnnviz.explorer.front import MapFrame, TileFrame
from nbcnnviz.inside import Ranking, ReceptiveFields
from nbcnnviz.inside.features import By
from nbcnnviz.inside.figures.features import ORDERS, Large, Page, Stack, UnitMap, UnitView
from nbcnnviz.render import default_for

_Value = TypeVar("_Value")


class Last(Generic[_Value]):
    """The last value made, while it is asked for by the same key."""

    def __init__(self) -> None:
        self._kept: tuple[Hashable, _Value] | None = None

    def __call__(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value by this key, made anew if the last was by another."""
        if self._kept is None or self._kept[0] != key:
            self._kept = None
            self._kept = key, make()
        return self._kept[1]

    def has(self, key: Hashable) -> bool:
        """Whether it was made by this key."""
        return self._kept is not None and self._kept[0] == key


class Kept:
    """What need not be computed again: a change of filter or unit is no business of the grid."""

    def __init__(self) -> None:
        self.stack = Last[Stack]()
        self.orders: dict[By, Last[Ranking]] = {by: Last() for by in ORDERS}
        self.page = Last[Page]()
        self.large = Last[Large]()
        self.fields = Last[ReceptiveFields]()
        self.unit_map = Last[UnitMap]()
        self.unit_view = Last[UnitView]()


class Palette:
    """The colour map of a widget: the default for the sign, or what the reader chose for maps of that sign."""

    def __init__(self, widget: TileFrame | MapFrame) -> None:
        self._widget = widget
        self._signed: bool | None = None
        self._chosen: dict[bool | None, str] = {}

    def __call__(self, signed: bool) -> str:
        """The colour map for maps of this sign."""
        self._chosen[self._signed] = self._widget.colours
        self._signed = signed
        return self._chosen.get(signed, default_for(signed))
