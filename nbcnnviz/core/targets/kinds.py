"""What can be asked of one picture: a class, a channel, a unit, a layer, a direction, likeness to another picture."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import torch
from torch import Tensor

from nbcnnviz.core.errors import FilterRangeError, MethodNotApplicableError, UnknownClassError
from nbcnnviz.core.grids import maps_of
from nbcnnviz.core.targets.base import Target, layer_named, whole_number

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.trace import Trace

Index = Union[int, str]
Indices = Union[int, str, tuple[Index, ...]]

WHAT_A_TARGET_IS = (
    "A target is a class index or name, a Channel, a Unit, a LayerEnergy, a sum of such, a function of the trace, or a "
    "list of these, one a picture."
)


def index_of(what: Any) -> Indices:
    """A class by index or name, or a tuple of classes, one a picture; UnknownClassError for what is none."""
    if isinstance(what, str):
        return what
    if isinstance(what, (bool, np.bool_)):
        raise UnknownClassError(what, (), WHAT_A_TARGET_IS)
    with suppress(TypeError, ValueError, RuntimeError):  # numpy's integers and tensors of one are indices too
        return operator.index(what)
    if isinstance(what, (Tensor, np.ndarray)) and what.ndim == 1:
        what = what.tolist()
    if isinstance(what, (list, tuple)) and what:
        indices = [index_of(entry) for entry in what]
        if not any(isinstance(index, tuple) for index in indices):
            return tuple(indices)  # type: ignore[arg-type]
    raise UnknownClassError(what, (), WHAT_A_TARGET_IS)


@dataclass(frozen=True, repr=False)
class _OfClasses(Target):
    """What asks about one class, or about one a picture."""

    index: Indices

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", index_of(self.index))

    @property
    def classes(self) -> tuple[Index, ...]:
        """The classes it asks about, by index or name."""
        return self.index if isinstance(self.index, tuple) else (self.index,)

    @property
    def layers(self) -> frozenset[str] | None:
        """None of the layers."""
        return frozenset()

    @property
    def pictures(self) -> int | None:
        """How many pictures it names classes for."""
        return len(self.index) if isinstance(self.index, tuple) else None

    def of_picture(self, picture: int) -> Target:
        """The same of that picture's class."""
        return replace(self, index=self.index[picture]) if isinstance(self.index, tuple) else self

    def __repr__(self) -> str:
        return f"nv.{type(self).__name__}({self.index!r})"

    def describe(self, network: Network) -> str:
        """The names of the classes, with their indices."""
        indices = dict.fromkeys(network.class_index(index) for index in self.classes)
        return ", ".join(f"{network.classes[index]} ({index})" for index in indices)

    def indices(self, trace: Trace) -> tuple[int, ...]:
        """The class index for each picture of the trace."""
        if not isinstance(self.index, tuple):
            return (trace.network.class_index(self.index),) * len(trace.input)
        if len(self.index) != len(trace.input):
            raise UnknownClassError(
                self.index, (), f"A tuple of classes names one a picture: {len(trace.input)}, not {len(self.index)}."
            )
        return tuple(trace.network.class_index(i) for i in self.index)

    def _chosen(self, scores: Tensor, trace: Trace) -> Tensor:
        """Of a row of numbers a picture, (N, K), the one of its class."""
        indices = self.indices(trace)
        if len(set(indices)) == 1:
            return scores[:, indices[0]]
        return scores[range(len(indices)), list(indices)]


@dataclass(frozen=True, repr=False)
class ClassScore(_OfClasses):
    """The unnormalised score (logit) of a class, by index or name; a tuple, list or tensor names one class a picture."""

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        return self._chosen(trace.class_scores, trace)


@dataclass(frozen=True, repr=False)
class Probability(_OfClasses):
    """The probability of a class, as the network has it by softmax or sigmoid, or its natural logarithm.

    Its gradient shrinks as the network grows sure; to explain a class take `ClassScore`.
    """

    log: bool = False

    def __call__(self, trace: Trace) -> Tensor:
        """The probability for each picture, (N,)."""
        return self._chosen(trace.log_probabilities if self.log else trace.probabilities, trace)

    def __repr__(self) -> str:
        return f"nv.Probability({self.index!r}{', log=True' if self.log else ''})"

    def describe(self, network: Network) -> str:
        """The names of the classes."""
        return f"{'log-' if self.log else ''}probability of {super().describe(network)}"


@dataclass(frozen=True, repr=False)
class Finer(_OfClasses):
    """A class less what it shares with those that are nearly taken for it: Finer-CAM's target (arXiv 2501.11309).

    Its score minus ``weight`` times the mean score of the ``nearest`` other classes whose scores are nearest to its own;
    which these are is found anew for each picture. Any class activation map takes it.
    """

    weight: float = 0.6
    nearest: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "nearest", whole_number("The number of nearest classes", self.nearest, at_least=1))

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        scores = trace.class_scores
        others = scores.gather(1, self._others(trace))
        return self._chosen(scores, trace) - self.weight * others.mean(1)

    def _others(self, trace: Trace) -> Tensor:
        """The indices of the nearest classes of each picture, (N, nearest), the nearest first."""
        scores = trace.class_scores.detach()
        if scores.shape[1] <= self.nearest:
            raise MethodNotApplicableError(
                f"{self!r} compares with {self.nearest} other classes, and {trace.network.name} has {scores.shape[1]} in all."
            )
        own = torch.tensor(self.indices(trace), device=scores.device)[:, None]
        apart = (scores - scores.gather(1, own)).abs().scatter(1, own, torch.inf)
        return apart.topk(self.nearest, dim=1, largest=False).indices

    def pinned(self, trace: Trace) -> Target:
        """With the classes that are nearest at this trace, for every other pass."""
        others = [
            ClassScore(column[0] if len(column) == 1 else tuple(column)) for column in self._others(trace).T.tolist()
        ]
        total: Target = ClassScore(self.index)
        for other in others:
            total = total - self.weight / self.nearest * other
        return total

    def __repr__(self) -> str:
        given = (self.weight, self.nearest) if self.nearest != 3 else (self.weight,) if self.weight != 0.6 else ()
        return f"nv.Finer({', '.join(map(repr, (self.index, *given)))})"

    def describe(self, network: Network) -> str:
        """The names of the classes."""
        return f"{super().describe(network)} against the {self.nearest} classes nearest in score"


@dataclass(frozen=True, repr=False)
class _OfChannel(Target):
    """What asks about one channel of a layer."""

    layer: str
    channel: int

    def __post_init__(self) -> None:
        layer_named(self.layer)
        object.__setattr__(self, "channel", whole_number("A channel", self.channel))

    @property
    def layers(self) -> frozenset[str] | None:
        """The layer."""
        return frozenset({self.layer})


@dataclass(frozen=True, repr=False)
class Channel(_OfChannel):
    """The mean over space of one channel of a layer's output."""

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        maps = channel_of(trace, self.layer, self.channel)
        return maps.reshape(len(maps), -1).mean(1)

    def __repr__(self) -> str:
        return f"nv.Channel({self.layer!r}, {self.channel})"

    def describe(self, network: Network) -> str:
        """Which channel of which layer."""
        return f"channel {self.channel} of {self.layer}"


@dataclass(frozen=True, repr=False)
class Unit(_OfChannel):
    """One unit: a place (y, x) of one channel of a layer's output; of a layer without places, a channel alone.

    By default the unit in the middle, at row ``h // 2`` and column ``w // 2``.
    """

    y: int | None = None
    x: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, what in (("y", "A unit's row"), ("x", "A unit's column")):
            if (number := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole_number(what, number))

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        maps = channel_of(trace, self.layer, self.channel)
        if maps.ndim == 1:
            maps = maps[:, None, None]
        height, width = maps.shape[1:]
        y, x = height // 2 if self.y is None else self.y, width // 2 if self.x is None else self.x
        if not (-height <= y < height and -width <= x < width):
            raise FilterRangeError(
                f"Layer {self.layer!r} has maps of {height} x {width}: there is no unit at ({y}, {x})."
            )
        return maps[:, y, x]

    @property
    def place(self) -> tuple[int, int]:
        """Row and column as given; FilterRangeError for the middle one of maps of any size."""
        if self.y is None or self.x is None:
            raise FilterRangeError(f"{self!r} is the unit in the middle of maps of any size: name its row and column.")
        return self.y, self.x

    def __repr__(self) -> str:
        place = "" if self.y is None and self.x is None else f", {self.y}, {self.x}"
        return f"nv.Unit({self.layer!r}, {self.channel}{place})"

    def describe(self, network: Network) -> str:
        """Which unit of which layer."""
        if self.y is None and self.x is None:
            return f"middle unit of channel {self.channel} of {self.layer}"
        y, x = ("middle" if place is None else place for place in (self.y, self.x))
        return f"unit ({self.channel}, {y}, {x}) of {self.layer}"


@dataclass(frozen=True, repr=False)
class LayerEnergy(Target):
    """The mean of the squares of a layer's output: DeepDream's objective."""

    layer: str

    def __post_init__(self) -> None:
        layer_named(self.layer)

    @property
    def layers(self) -> frozenset[str] | None:
        """The layer."""
        return frozenset({self.layer})

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        return trace[self.layer].square().flatten(1).mean(1)

    def __repr__(self) -> str:
        return f"nv.LayerEnergy({self.layer!r})"

    def describe(self, network: Network) -> str:
        """Of which layer."""
        return f"energy of {self.layer}"


@dataclass(frozen=True, repr=False)
class Direction(Target):
    """The mean over space of a layer's output along a direction in the space of its channels, (C,), made unit length."""

    layer: str
    vector: Any

    def __init__(self, layer: str, vector: Tensor | Sequence[float]) -> None:
        object.__setattr__(self, "layer", layer_named(layer))
        try:
            along = torch.as_tensor(vector, dtype=torch.float32).detach().cpu()
        except (TypeError, ValueError, RuntimeError):
            raise FilterRangeError(f"A direction is one number a channel, not {vector!r}.") from None
        # Numbers, so that equal directions are equal targets.
        object.__setattr__(self, "vector", tuple(along.tolist()) if along.ndim == 1 else along)

    @property
    def layers(self) -> frozenset[str] | None:
        """The layer."""
        return frozenset({self.layer})

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        output = maps_of(trace, self.layer)
        along = torch.as_tensor(self.vector, dtype=output.dtype)
        if along.shape != output.shape[1:2]:
            raise FilterRangeError(
                f"Layer {self.layer!r} has {output.shape[1]} channels, and the direction has shape "
                f"{tuple(along.shape)}: give one number a channel."
            )
        if not bool(along.isfinite().all()) or not bool(along.any()):
            raise FilterRangeError("A direction is made of finite numbers that are not all zero.")
        means = output.flatten(2).mean(2) if output.ndim == 4 else output
        score: Tensor = means @ (along / along.norm()).to(means.device)
        return score

    def __repr__(self) -> str:
        numbers = self.vector.tolist() if isinstance(self.vector, Tensor) else list(self.vector)
        return f"nv.Direction({self.layer!r}, {numbers})"

    def describe(self, network: Network) -> str:
        """Of which layer."""
        return f"a direction of {self.layer}"


@dataclass(frozen=True, repr=False, eq=False)
class Likeness(Target):
    """Minus the squared distance of a layer's output from an ``activation`` (1, ...), over that one's squared norm."""

    layer: str
    activation: Tensor

    def __post_init__(self) -> None:
        layer_named(self.layer)
        object.__setattr__(self, "activation", self.activation.detach())

    @property
    def layers(self) -> frozenset[str] | None:
        """The layer."""
        return frozenset({self.layer})

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The activation."""
        return {"activation": f"the output of {self.layer} to be matched, (1, ...)"}

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        output = trace[self.layer]
        if output.shape[1:] != self.activation.shape[1:]:
            raise MethodNotApplicableError(
                f"Layer {self.layer!r} returns shape {tuple(output.shape[1:])} here, and the activation to be matched has "
                f"{tuple(self.activation.shape[1:])}: make the picture of the size that the activation came from."
            )
        wanted = self.activation.to(output)
        # Squares outgrow 16 bits; a network in float64 keeps it.
        exact = torch.promote_types(output.dtype, torch.float32)
        size = wanted.to(exact).square().sum().clamp_min(1e-12)
        return -(output - wanted).to(exact).square().flatten(1).sum(1) / size

    def __repr__(self) -> str:
        return f"nv.Likeness({self.layer!r}, activation)"

    def describe(self, network: Network) -> str:
        """At which layer."""
        return f"likeness at {self.layer}"


def channel_of(trace: Trace, layer: str, channel: int) -> Tensor:
    """One channel of a layer's output: (N, h, w), or (N,) where the layer has no places."""
    output = maps_of(trace, layer)
    if not -output.shape[1] <= channel < output.shape[1]:
        raise FilterRangeError(
            f"Layer {layer!r} has {output.shape[1]} channels, 0 to {output.shape[1] - 1}: there is no {channel}."
        )
    return output[:, channel]
