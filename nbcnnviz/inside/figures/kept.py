"""What is kept from one figure of features to the next."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from nbcnnviz.core.targets import TargetLike, Unit
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside.features import By, Ranking
from nbcnnviz.inside.figures.features import (
    ORDERS,
    Large,
    Page,
    Stack,
    UnitMap,
    UnitView,
    large_of,
    order_of,
    page_of,
    stack_of,
    unit_map_of,
    unit_view_of,
)  # fmt: skip
from nbcnnviz.inside.receptive import ReceptiveFields, receptive_fields

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


class FeatureFigures:
    """Makes what is shown of features, and nothing twice: a change of filter or unit is no business of the grid."""

    def __init__(self) -> None:
        self._stack = Last[Stack]()
        self._orders: dict[By, Last[Ranking]] = {by: Last() for by in ORDERS}
        self._page = Last[Page]()
        self._large = Last[Large]()
        self._fields = Last[ReceptiveFields]()
        self._unit_map = Last[UnitMap]()
        self._unit_view = Last[UnitView]()

    def stack(self, trace: Trace, layer: str) -> Stack:
        """See `stack_of`."""
        return self._stack((trace, layer), lambda: stack_of(trace, layer))

    def order(self, trace: Trace, layer: str, by: By, target: TargetLike) -> Ranking:
        """See `order_of`; the target is that of ``"contribution"``."""
        return self._orders[by]((trace, layer, target), lambda: order_of(trace, layer, by, target))

    def page(self, trace: Trace, stack: Stack, order: Ranking, target: TargetLike, number: int, shared: bool) -> Page:
        """See `page_of`."""
        make = lambda: page_of(trace, stack, order, target, number, shared)  # noqa: E731
        return self._page((stack, order, number, shared), make)

    def large(self, trace: Trace, stack: Stack, filter_: int) -> Large:
        """See `large_of`."""
        return self._large((stack, filter_), lambda: large_of(trace, stack, filter_))

    def has_unit_view(self, trace: Trace, unit: Unit, how: str, signed: bool) -> bool:
        """Whether `unit_view` of these is made already."""
        return self._unit_view.has((trace, unit, how, signed))

    def unit_view(self, trace: Trace, unit: Unit, how: str, signed: bool) -> UnitView:
        """See `unit_view_of`."""

        def make() -> UnitView:
            stack, layer = self.stack(trace, unit.layer), unit.layer
            fields = self._fields((trace, layer), lambda: receptive_fields(trace, layer))
            found = self._unit_map((trace, unit, how), lambda: unit_map_of(trace, unit, how))
            return unit_view_of(trace, stack, unit, how, fields.box(*unit.place), found, signed)

        return self._unit_view((trace, unit, how, signed), make)
