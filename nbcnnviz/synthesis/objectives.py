"""What a picture is made to please: a score for each picture of a batch, read off one forward pass.

Objectives add, subtract and multiply, with one another and with numbers. Each knows which layers it looks at, so that
the forward pass can end at the deepest of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import reduce
from typing import Any, Union

import torch
from torch import Tensor

from nbcnnviz.core.errors import FilterRangeError, GradientError, MethodNotApplicableError, UnknownClassError
from nbcnnviz.core.grids import maps_of
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Channel, ClassScore, Combination, LayerEnergy, Target, Unit, channel_of
from nbcnnviz.core.trace import Trace

ObjectiveLike = Union["Objective", int, str, Target]


class Objective:
    """A function from a trace to a score for each of its pictures, (N,).

    Parameters
    ----------
    score
        The function. A scalar it returns is shared out among the pictures.
    text
        The expression that makes it again.
    layers
        The layers it looks at; None if it may look at any.
    classes
        The classes it asks about, by index or name.
    whole
        Whether the forward pass must run to its end.
    """

    def __init__(
        self,
        score: Callable[[Any], Tensor],
        text: str,
        *,
        layers: Collection[str] | None = (),
        classes: Collection[int | str] = (),
        whole: bool = False,
    ) -> None:
        self._score, self._text = score, text
        self.layers = None if layers is None else frozenset(layers)
        self.classes = frozenset(classes)
        self.whole = whole or layers is None or bool(classes)

    def __repr__(self) -> str:
        return self._text

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,).

        Raises
        ------
        GradientError
            If it is no floating-point number a picture that depends on the picture.
        """
        score, count = self._score(trace), len(trace.input)
        if not isinstance(score, Tensor) or score.numel() not in (1, count) or not score.requires_grad:
            what = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise GradientError(
                f"The objective {self!r} gave {what}: it must give one number a picture, made of trace.scores, "
                "trace.input or trace['layer'], without detach or argmax."
            )
        score = score.float().flatten()
        return score if len(score) == count else score.expand(count) / count

    def check(self, net: Network) -> None:
        """Raise UnknownLayerError or UnknownClassError if the network lacks what the objective asks about."""
        for layer in self.layers or ():
            if layer not in net.layers:
                raise net.unknown_layer(layer)
        for index in self.classes:
            net.class_index(index)

    def __add__(self, other: Any) -> Objective:
        return _combined(operator.add, "+", self, other)

    def __radd__(self, other: Any) -> Objective:
        return _combined(operator.add, "+", other, self)

    def __sub__(self, other: Any) -> Objective:
        return _combined(operator.sub, "-", self, other)

    def __rsub__(self, other: Any) -> Objective:
        return _combined(operator.sub, "-", other, self)

    def __mul__(self, other: Any) -> Objective:
        return _combined(operator.mul, "*", self, other)

    def __rmul__(self, other: Any) -> Objective:
        return _combined(operator.mul, "*", other, self)

    def __truediv__(self, number: float) -> Objective:
        return self * (1 / number)

    def __neg__(self) -> Objective:
        return -1 * self


def _combined(how: Callable[[Any, Any], Any], sign: str, left: Any, right: Any) -> Objective:
    """Two objectives, or a number and one, as one. A bare number is a number here, never a class."""
    parts = [p if isinstance(p, (int, float)) else as_objective(p) for p in (left, right)]
    objectives = [p for p in parts if isinstance(p, Objective)]

    def score(trace: Trace) -> Tensor:
        value: Tensor = how(*(p(trace) if isinstance(p, Objective) else p for p in parts))
        return value

    return _made_of(objectives, score, f"({parts[0]!r} {sign} {parts[1]!r})")


def _made_of(parts: Sequence[Objective], score: Callable[[Any], Tensor], text: str) -> Objective:
    """An objective that looks at all that its parts look at."""
    layers = [p.layers for p in parts if p.layers is not None]
    return Objective(
        score,
        text,
        layers=frozenset[str]().union(*layers) if len(layers) == len(parts) else None,
        classes=frozenset[Union[int, str]]().union(*(p.classes for p in parts)),
        whole=any(p.whole for p in parts),
    )


def class_score(index: int | str) -> Objective:
    """The unnormalised score (logit) of a class, by index or name."""
    return Objective(lambda t: t.scores[:, t.network.class_index(index)], f"class_score({index!r})", classes={index})


def channel(layer: str, index: int) -> Objective:
    """The mean over space of one channel of a layer's output."""

    def score(trace: Trace) -> Tensor:
        maps = channel_of(trace, layer, index)
        return maps.reshape(len(maps), -1).mean(1)

    return Objective(score, f"channel({layer!r}, {index})", layers={layer})


def unit(layer: str, index: int, y: int | None = None, x: int | None = None) -> Objective:
    """One unit of a channel, at row ``y`` and column ``x``; by default the middle, ``h // 2`` and ``w // 2``."""

    def score(trace: Trace) -> Tensor:
        maps = channel_of(trace, layer, index)
        maps = maps[:, None, None] if maps.ndim == 1 else maps
        height, width = maps.shape[1:]
        row, column = height // 2 if y is None else y, width // 2 if x is None else x
        if not (-height <= row < height and -width <= column < width):
            raise FilterRangeError(
                f"Layer {layer!r} has maps of {height} x {width} here: there is no unit at ({row}, {column})."
            )
        return maps[:, row, column]

    place = "" if y is None and x is None else f", {y}, {x}"
    return Objective(score, f"unit({layer!r}, {index}{place})", layers={layer})


def direction(layer: str, vector: Tensor | Sequence[float]) -> Objective:
    """The mean over space of a layer's output along a direction in the space of its channels, (C,), made unit length."""
    along = torch.as_tensor(vector, dtype=torch.float32).detach()

    def score(trace: Trace) -> Tensor:
        output = maps_of(trace, layer)
        if along.shape != output.shape[1:2]:
            raise FilterRangeError(
                f"Layer {layer!r} has {output.shape[1]} channels, and the direction has shape {tuple(along.shape)}: "
                "give one number a channel."
            )
        if not bool(along.isfinite().all()) or not bool(along.any()):
            raise FilterRangeError("A direction is made of finite numbers that are not all zero.")
        means = output.flatten(2).mean(2) if output.ndim == 4 else output
        score: Tensor = means.float() @ (along / along.norm()).to(means.device)
        return score

    return Objective(score, f"direction({layer!r}, {along.tolist()})", layers={layer})


def layer_energy(layer: str) -> Objective:
    """The mean of the squares of a layer's output: DeepDream's objective."""
    return Objective(lambda t: t[layer].square().flatten(1).mean(1), f"layer_energy({layer!r})", layers={layer})


def diversity(layer: str) -> Objective:
    """How unlike one another the pictures of a batch are: minus the mean cosine similarity of their Gram matrices.

    A picture's Gram matrix holds the inner products of a layer's channels over space: its textures, wherever they are
    (Olah et al. 2017). Zero for one picture alone.
    """

    def score(trace: Trace) -> Tensor:
        maps = maps_of(trace, layer).flatten(2)
        if maps.ndim != 3:
            raise MethodNotApplicableError(
                f"Diversity needs a layer that returns maps, and {layer!r} returns shape {tuple(trace[layer].shape)}."
            )
        grams = torch.nn.functional.normalize((maps @ maps.transpose(1, 2)).flatten(1), dim=1)
        alike = grams @ grams.T
        return -(alike.sum(1) - alike.diagonal()) / max(1, len(alike) - 1)

    return Objective(score, f"diversity({layer!r})", layers={layer})


def likeness(layer: str, activation: Tensor) -> Objective:
    """Minus the squared distance of a layer's output from an ``activation`` (1, ...), over that one's squared norm."""
    wanted = activation.detach()
    size = wanted.float().square().sum().clamp_min(1e-12)

    def score(trace: Trace) -> Tensor:
        output = trace[layer]
        if output.shape[1:] != wanted.shape[1:]:
            raise MethodNotApplicableError(
                f"Layer {layer!r} returns shape {tuple(output.shape[1:])} here, and the activation to be matched has "
                f"{tuple(wanted.shape[1:])}: make the picture of the size that the activation came from."
            )
        return -(output - wanted).float().square().flatten(1).sum(1) / size

    return Objective(score, f"likeness({layer!r}, activation)", layers={layer})


def each(objectives: Sequence[ObjectiveLike]) -> Objective:
    """The first objective for the first picture of the batch, the second for the second, and so on: a gallery."""
    parts = [as_objective(o) for o in objectives]

    def score(trace: Trace) -> Tensor:
        if len(trace.input) != len(parts):
            raise MethodNotApplicableError(f"{len(parts)} objectives, one a picture, and {len(trace.input)} pictures.")
        return torch.cat([part(_Picture(trace, i)) for i, part in enumerate(parts)])  # type: ignore[arg-type]

    return _made_of(parts, score, f"each([{', '.join(map(repr, parts))}])")


class _Picture:
    """One picture of a trace, as an objective looks at it."""

    def __init__(self, trace: Trace, index: int) -> None:
        self._trace, self._at = trace, slice(index, index + 1)
        self.network = trace.network

    def __getitem__(self, layer: str) -> Tensor:
        return self._trace[layer][self._at]

    @property
    def input(self) -> Tensor:
        return self._trace.input[self._at]

    @property
    def scores(self) -> Tensor:
        return self._trace.scores[self._at]

    @property
    def probabilities(self) -> Tensor:
        return self.scores.softmax(1)


def as_objective(what: ObjectiveLike) -> Objective:
    """The objective meant: a class by index or name, a core target, a function of the trace, or a list, one a picture.

    Raises
    ------
    UnknownClassError
        If it is none of these.
    """
    if isinstance(what, Objective):
        return what
    if isinstance(what, (list, tuple)):
        return each(what)
    if isinstance(what, ClassScore):
        return class_score(what.index) if not isinstance(what.index, tuple) else each(what.index)
    if isinstance(what, Channel):
        return channel(what.layer, what.channel)
    if isinstance(what, Unit):
        return unit(what.layer, what.channel, what.y, what.x)
    if isinstance(what, LayerEnergy):
        return layer_energy(what.layer)
    if isinstance(what, Combination):
        return reduce(operator.add, (weight * as_objective(target) for weight, target in what.terms))
    if isinstance(what, str):
        return class_score(what)
    if callable(what):
        return Objective(what, getattr(what, "__name__", type(what).__name__), layers=None)
    with suppress(TypeError):  # numpy's integers and tensors of one are indices too
        return class_score(operator.index(what))
    raise UnknownClassError(
        what,
        (),
        "An objective is a class index or name, a Channel, a Unit, a LayerEnergy, an expression of nbcnnviz.synthesis, "
        "or a function of the trace.",
    )
