"""The names that targets had here before there was one vocabulary of them in `nbcnnviz`; they go with version 0.2."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor

from nbcnnviz.core.targets import (
    Channel,
    ClassScore,
    Direction,
    Diversity,
    Each,
    Function,
    LayerEnergy,
    Likeness,
    Target,
    TargetLike,
    Unit,
)


def _warn(old: str, new: str) -> None:
    warnings.warn(
        f"nbcnnviz.synthesis.{old} is now nbcnnviz.{new}; the old name goes with version 0.2.", DeprecationWarning, 3
    )


class Objective(Function):
    """A function from a trace to a score for each of its pictures: any function is a target now."""

    def __init__(
        self,
        score: Callable[[Any], Tensor],
        text: str,
        *,
        layers: Collection[str] | None = (),
        classes: Collection[int | str] = (),
        whole: bool = False,
    ) -> None:
        _warn("Objective", "Target")
        looked_at = None if layers is None or whole else frozenset(layers)
        super().__init__(score, text, looked_at, tuple(classes))


def class_score(index: int | str) -> Target:
    """`nbcnnviz.ClassScore`."""
    _warn("class_score", "ClassScore")
    return ClassScore(index)


def channel(layer: str, index: int) -> Target:
    """`nbcnnviz.Channel`."""
    _warn("channel", "Channel")
    return Channel(layer, index)


def unit(layer: str, index: int, y: int | None = None, x: int | None = None) -> Target:
    """`nbcnnviz.Unit`."""
    _warn("unit", "Unit")
    return Unit(layer, index, y, x)


def direction(layer: str, vector: Tensor | Sequence[float]) -> Target:
    """`nbcnnviz.Direction`."""
    _warn("direction", "Direction")
    return Direction(layer, vector)


def layer_energy(layer: str) -> Target:
    """`nbcnnviz.LayerEnergy`."""
    _warn("layer_energy", "LayerEnergy")
    return LayerEnergy(layer)


def diversity(layer: str) -> Target:
    """`nbcnnviz.Diversity`."""
    _warn("diversity", "Diversity")
    return Diversity(layer)


def likeness(layer: str, activation: Tensor) -> Target:
    """`nbcnnviz.Likeness`."""
    _warn("likeness", "Likeness")
    return Likeness(layer, activation)


def each(objectives: Sequence[TargetLike]) -> Target:
    """`nbcnnviz.Each`."""
    _warn("each", "Each")
    return Each(objectives)
