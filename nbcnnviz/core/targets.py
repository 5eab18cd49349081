"""What is asked about: a target is a callable from a trace to a scalar, and so is any function of the user's.

Every scalar is summed over the pictures of the batch; as a picture's scores depend on that picture alone, one backward
pass gives each its own gradient.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import torch
from torch import Tensor

from nbcnnviz.core.errors import FilterRangeError, GradientError, UnknownClassError
from nbcnnviz.core.grids import maps_of

if TYPE_CHECKING:
    from nbcnnviz.core.trace import Trace

Target = Callable[["Trace"], Tensor]
TargetLike = Union[int, str, Target, None]


class _Term:
    """What adds, subtracts, and multiplies with numbers: gradients are linear, and so are their targets."""

    def __add__(self, other: _Term) -> Combination:
        return Combination((*_terms(self), *_terms(other))) if isinstance(other, _Term) else NotImplemented

    def __sub__(self, other: _Term) -> Combination:
        return self + -1 * other if isinstance(other, _Term) else NotImplemented

    def __mul__(self, number: float) -> Combination:
        if not isinstance(number, (int, float)):
            return NotImplemented
        return Combination(tuple((number * weight, target) for weight, target in _terms(self)))

    __rmul__ = __mul__

    def __neg__(self) -> Combination:
        return -1 * self


def _terms(target: _Term) -> tuple[tuple[float, Any], ...]:
    return target.terms if isinstance(target, Combination) else ((1, target),)


@dataclass(frozen=True)
class Combination(_Term):
    """A sum of targets, each times a number: what ``a - 0.5 * b`` makes."""

    terms: tuple[tuple[float, Any], ...]

    def __call__(self, trace: Trace) -> Tensor:
        """The scalar, summed over the batch."""
        return torch.stack([weight * target(trace) for weight, target in self.terms]).sum()


@dataclass(frozen=True)
class ClassScore(_Term):
    """The unnormalised score (logit) of a class, by index or name; a tuple names one class a picture."""

    index: int | str | tuple[int | str, ...]

    def __call__(self, trace: Trace) -> Tensor:
        """The scalar, summed over the batch."""
        indices = self.indices(trace)
        if len(set(indices)) == 1:
            return trace.class_scores[:, indices[0]].sum()
        return trace.class_scores[range(len(indices)), list(indices)].sum()

    def indices(self, trace: Trace) -> tuple[int, ...]:
        """The class index for each picture of the trace."""
        if not isinstance(self.index, tuple):
            return (trace.network.class_index(self.index),) * len(trace.scores)
        if len(self.index) != len(trace.scores):
            raise UnknownClassError(
                self.index, (), f"A tuple of classes names one a picture: {len(trace.scores)}, not {len(self.index)}."
            )
        return tuple(trace.network.class_index(i) for i in self.index)


@dataclass(frozen=True)
class Channel(_Term):
    """The mean over space of one channel of a layer's output."""

    layer: str
    channel: int

    def __call__(self, trace: Trace) -> Tensor:
        """The scalar, summed over the batch."""
        maps = channel_of(trace, self.layer, self.channel)
        return maps.reshape(len(maps), -1).mean(1).sum()


@dataclass(frozen=True)
class Unit(_Term):
    """One unit: a place (y, x) of one channel of a layer's output; of a layer without places, a channel alone."""

    layer: str
    channel: int
    y: int = 0
    x: int = 0

    def __call__(self, trace: Trace) -> Tensor:
        """The scalar, summed over the batch."""
        maps = channel_of(trace, self.layer, self.channel)
        if maps.ndim == 1:
            maps = maps[:, None, None]
        height, width = maps.shape[1:]
        if not (-height <= self.y < height and -width <= self.x < width):
            raise FilterRangeError(
                f"Layer {self.layer!r} has maps of {height} x {width}: there is no unit at ({self.y}, {self.x})."
            )
        return maps[:, self.y, self.x].sum()


@dataclass(frozen=True)
class LayerEnergy(_Term):
    """The mean of the squares of a layer's output."""

    layer: str

    def __call__(self, trace: Trace) -> Tensor:
        """The scalar, summed over the batch."""
        return trace[self.layer].square().flatten(1).mean(1).sum()


def channel_of(trace: Trace, layer: str, channel: int) -> Tensor:
    """One channel of a layer's output: (N, h, w), or (N,) where the layer has no places."""
    maps = maps_of(trace, layer)
    if not -maps.shape[1] <= channel < maps.shape[1]:
        raise FilterRangeError(
            f"Layer {layer!r} has {maps.shape[1]} channels, 0 to {maps.shape[1] - 1}: there is no {channel}."
        )
    return maps[:, channel]


def as_target(target: TargetLike, trace: Trace) -> Target:
    """The target meant: a class by index or name, a callable as it is, None for each picture's own top class."""
    if target is None:
        return ClassScore(tuple(trace.best))
    if isinstance(target, str):
        return ClassScore(target)
    if callable(target):
        return target
    with suppress(TypeError):  # numpy's integers and tensors of one are indices too
        return ClassScore(operator.index(target))
    raise UnknownClassError(
        target, (), "A target is a class index or name, a Channel, a Unit, a LayerEnergy or a function of the trace."
    )


def scalar_of(target: Target, trace: Trace) -> Tensor:
    """The scalar of a target; GradientError if it is none that can be differentiated."""
    value = target(trace)
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise GradientError(f"A target is a scalar: this one gave {what}. Sum it, or take its mean.")
    if not value.is_floating_point() or not value.requires_grad:
        raise GradientError(
            "The target does not depend on the trace: make it of trace.scores, trace.input or trace['layer'], without "
            "detach, argmax or a change to integers."
        )
    return value


def describe(target: Target, trace: Trace) -> str:
    """A target in a few words, for captions."""
    if isinstance(target, ClassScore):
        names = trace.network.classes
        return ", ".join(f"{names[i]} ({i})" for i in dict.fromkeys(target.indices(trace)))
    if isinstance(target, Channel):
        return f"channel {target.channel} of {target.layer}"
    if isinstance(target, Unit):
        return f"unit ({target.channel}, {target.y}, {target.x}) of {target.layer}"
    if isinstance(target, LayerEnergy):
        return f"energy of {target.layer}"
    if isinstance(target, Combination):
        return " + ".join(f"{weight:g} x {describe(term, trace)}" for weight, term in target.terms)
    return getattr(target, "__name__", type(target).__name__)
