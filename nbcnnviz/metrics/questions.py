"""Which maps are compared: one axis of what can be asked, with all else fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeGuard

import torch
from torch import Tensor

from nbcnnviz.attribution import Attribution, Method, attribute, methods
from nbcnnviz.attribution.method import find
from nbcnnviz.core.errors import MethodNotApplicableError, NbcnnvizError, UnknownOptionError
from nbcnnviz.core.network import Network
from nbcnnviz.core.rules import RectifierCount, Rule
from nbcnnviz.core.samples import samples
from nbcnnviz.core.targets import ClassScore, Target, TargetLike, as_target
from nbcnnviz.core.trace import Every, Trace
from nbcnnviz.metrics.sanity import randomised, stages_of

AXES = ("methods", "classes", "layers", "pictures", "networks", "cascade")
_CLASSES, _LAYERS, _STAGES = 9, 12, 8
_FEWEST_LAYERS = 6


@dataclass(frozen=True, eq=False)
class Question:
    """What a map answers, as `nbcnnviz.attribute` takes it.

    Attributes
    ----------
    trace : Trace or None
        The trace that is asked; None where the network has to look at the picture first.
    network, image
        What is asked otherwise.
    method, target, layer, options
        As `nbcnnviz.attribute` takes them.
    modules : tuple[str, ...] or None
        The modules whose weights are drawn anew, in a copy of the network; None for the network as it is.
    seed : int
        Of these weights.
    ahead : Trace or None
        The trace with gradients that are known before they are asked for.
    """

    trace: Trace | None
    network: Network
    image: Any
    method: str
    target: Any
    layer: str | None
    options: Mapping[str, Any] = field(default_factory=dict)
    modules: tuple[str, ...] | None = None
    seed: int = 0
    ahead: Trace | None = None

    def frames(self) -> Iterator[Attribution]:
        """The method's frames; the last of a trace of its own holds no graph, so that many of them fit in memory."""
        asked = {"method": self.method, "target": self.target, "layer": self.layer, **self.options}
        if self.trace is not None:
            for frame in attribute.stream(self.ahead or self.trace, **asked):
                yield frame if self.ahead is None else replace(frame, trace=self.trace)
            return
        network = self.network if self.modules is None else randomised(self.network, self.modules, self.seed)
        last = None
        for last in attribute.stream(network, self.image, **asked):
            if last.step < last.steps:
                yield last
        if last is not None:
            bare = network.scorer().trace(last.trace.input.detach())
            yield replace(last, values=last.values.detach(), trace=bare)

    def asks_the_same(self, other: Question) -> bool:
        """Whether another is answered by the same map."""
        alike = (
            self.trace is other.trace
            and self.network is other.network
            and (self.image is other.image or (isinstance(self.image, str) and self.image == other.image))
        )
        same = ("method", "layer", "options", "modules", "seed")
        return alike and all(getattr(self, n) == getattr(other, n) for n in same) and _same(self.target, other.target)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other) or (callable(one) and not isinstance(one, Target)):
        return False
    return bool(one == other) if isinstance(one, (Target, int, str)) else False


@dataclass(frozen=True, eq=False)
class Entry:
    """One of the maps compared.

    Attributes
    ----------
    value
        Where on the axis it is: a method's name, a class's index, a layer's name, a picture, a network, or the names of
        the modules that were re-initialised.
    name : str
        The same in words.
    question : Question
        What the map answers.
    cost : float
        What it takes, in forward passes, about; the cheapest is made first.
    chosen : bool
        Whether it is the one that was asked for to begin with, with which the others are compared.
    result : Attribution or None
        The map, as far as it has come; None until there is one.
    done : bool
        Whether the map is finished, or there is none.
    error : str
        Why there is no map, in a sentence; "" if there is one, or none yet.
    applies : bool
        Whether the question has a meaning: False where a method has none for this network, layer or target.
    """

    value: Any
    name: str
    question: Question
    cost: float
    chosen: bool = False
    result: Attribution | None = None
    done: bool = False
    error: str = ""
    applies: bool = True

    def __repr__(self) -> str:
        state = self.error or ("waiting" if self.result is None else "done" if self.done else "under way")
        return f"<{self.name}: {state}>"


@dataclass(frozen=True, eq=False)
class Asked:
    """What is fixed, for the entries of an axis to depart from."""

    trace: Trace
    image: Any
    method: str
    target: Target
    own_target: TargetLike
    layer: str | None
    options: Mapping[str, Any]
    seed: int

    def question(self, **changes: Any) -> Question:
        """A question that differs from what is fixed in what is named."""
        asked: dict[str, Any] = {
            "trace": self.trace, "network": self.trace.network, "image": self.image, "method": self.method,
            "target": self.target, "layer": self.layer, "options": self.options, "seed": self.seed,
        }  # fmt: skip
        asked |= changes
        if not methods()[asked["method"]].needs_layer and "layer" not in changes:
            asked["layer"] = None
        return Question(**asked)


def plan(axis: str, asked: Asked, values: Sequence[Any] | None, most: int | None, passes: float) -> list[Entry]:
    """The entries of an axis, in the order in which they are shown."""
    if axis not in AXES:
        raise UnknownOptionError(axis, AXES, f"The axes are {', '.join(AXES)}.")
    entries = _PLANS[axis](asked, values, most)
    if axis == "methods" and values is None:
        entries = [entry for entry in entries if entry.cost <= passes or entry.chosen]
    if not entries:
        raise MethodNotApplicableError(f"There is nothing to compare along {axis}: give values, one or more.")
    return entries


def passes_of(method: Method, options: Mapping[str, Any], trace: Trace, layer: str | None = None) -> float:
    """What a method takes on a trace, in forward passes, about: a backward pass to the input counts as two."""
    with suppress(NbcnnvizError):
        passes = method.forward_passes(options, trace, layer)
        if passes is not None:
            return passes
    to_the_input = not method.needs_layer or method.needs_input
    return 0.0 if method.cost == "none" else 2.0 if to_the_input else 0.5


def _methods(asked: Asked, values: Sequence[Any] | None, most: int | None) -> list[Entry]:
    entries = []
    for name in methods() if values is None else values:
        method, own = find(name), name == asked.method
        question = asked.question(method=name, options=asked.options if own else {})
        entries.append(
            Entry(name, method.title, question, passes_of(method, question.options, asked.trace, question.layer), own)
        )
    if values is not None:
        return entries
    entries.sort(key=lambda entry: entry.cost)  # and as the menu has them, where they cost the same
    return entries[:most]


def _classes(asked: Asked, values: Sequence[Any] | None, most: int | None) -> list[Entry]:
    network, own = asked.trace.network, _class_index(asked.target, asked.trace)
    if values is None:
        values = [index for index, *_ in asked.trace.top(most or _CLASSES)]
        if not values:
            raise MethodNotApplicableError(f"{network.name} has no classes to compare: {network.head.note}.")
        if own is not None and own not in values:
            values = [own, *values[:-1]] if len(values) > 1 else [own]
    indices = [network.class_index(value) for value in values]
    ahead = _WithGradients(asked.trace, [ClassScore(index) for index in indices])
    cost = passes_of(methods()[asked.method], asked.options, asked.trace, asked.layer)
    names = [network.classes[index] for index in indices]
    names = [n if names.count(n) == 1 else f"{n} ({i})" for n, i in zip(names, indices, strict=True)]
    first = []
    if own is None:  # what is asked about is no class alone: one less another, say, which stands beside them
        first = [Entry(asked.own_target, asked.target.describe(network), asked.question(), cost, True)]
    return first + [
        Entry(index, name, asked.question(ahead=ahead, target=ClassScore(index)), cost, index == own)
        for index, name in zip(indices, names, strict=True)
    ]


def _class_index(target: Any, trace: Trace) -> int | None:
    """The class that a target is the score of, for the first picture; None for another target."""
    return target.indices(trace)[0] if isinstance(target, ClassScore) else None


def _layers(asked: Asked, values: Sequence[Any] | None, most: int | None) -> list[Entry]:
    layers = list(asked.trace.network.layers)
    own = asked.layer or asked.trace.network.last_maps
    names = list(values) if values is not None else layers_over_depth(asked.trace.network, most or _LAYERS, own)
    entries = []
    for name in names:
        if name not in asked.trace.network.layers:
            raise asked.trace.network.unknown_layer(name)
        below = 1 - (layers.index(name) + 1) / len(layers)  # how much of the network lies after it, and is gone back
        cost = passes_of(methods()[asked.method], asked.options, asked.trace, name) + below
        entries.append(Entry(name, name, asked.question(layer=name), cost, name == own))
    return entries


def layers_over_depth(network: Network, most: int, own: str | None = None) -> list[str]:
    """Layers with maps from the first to the last, ``most`` at most, of modules as far out as there are some.

    Among them the last that has maps, and ``own``.
    """
    names = [name for name, layer in network.layers.items() if layer.spatial and layer.kind != "Identity"]
    outer = names
    for dots in range(max((name.count(".") for name in names), default=0) + 1):
        outer = [name for name in names if name.count(".") <= dots]
        if len(outer) >= min(_FEWEST_LAYERS, most):
            break
    kept = {name for name in (own, network.last_maps) if name in names}
    spare = max(0, most - len(kept))
    others = [name for name in outer if name not in kept and name not in _within(network, names)]
    if spare and others:
        places = torch.linspace(0, len(others) - 1, min(spare, len(others))).round().int().tolist()
        kept |= {others[at] for at in places}
    return [name for name in names if name in kept]


def _within(network: Network, names: list[str]) -> set[str]:
    """Layers that are the last of a module with maps of the same shape, which says the same."""
    layers = network.layers
    return {n for n, after in pairwise(names) if n.startswith(f"{after}.") and layers[n].shape == layers[after].shape}


def _pictures(asked: Asked, values: Sequence[Any] | None, most: int | None) -> list[Entry]:
    own = asked.image
    if values is None:
        values = list(samples())[:most]
        if not (isinstance(own, str) and own in values):
            values = [own, *(name for name in values if name != own)][:most]
    cost = 1 + passes_of(methods()[asked.method], asked.options, asked.trace, asked.layer)
    entries = []
    for at, value in enumerate(values):
        chosen = value is None or value is own or (isinstance(value, str) and value == own)
        question = asked.question() if chosen else asked.question(trace=None, image=value, target=asked.own_target)
        name = value if isinstance(value, str) else "this picture" if chosen else f"picture {at + 1}"
        entries.append(Entry(own if chosen else value, name, question, cost if not chosen else cost - 1, chosen))
    return entries


def _networks(asked: Asked, values: Sequence[Any] | None, most: int | None) -> list[Entry]:
    own = asked.trace.network
    if values is None:
        values = [own, randomised(own, seed=asked.seed)]
    cost = 1 + passes_of(methods()[asked.method], asked.options, asked.trace, asked.layer)
    entries = []
    for network in values[:most]:
        if network is own:
            question = asked.question()
        else:
            layer = asked.layer if asked.layer in network.layers else None
            image = asked.trace.input.detach()[:1] if asked.image is None else asked.image
            target = _translated(asked.target, asked.trace, network)
            question = asked.question(trace=None, network=network, image=image, target=target, layer=layer)
        entries.append(Entry(network, network.name, question, cost, network is own))
    return entries


def _translated(target: Target, trace: Trace, network: Network) -> Any:
    """A class as another network has it, by its name."""
    index = _class_index(target, trace)
    if index is None or network.classes == trace.network.classes:
        return target if index is None else index
    return trace.network.classes[index]


def _cascade(asked: Asked, values: Sequence[Any] | None, most: int | None) -> list[Entry]:
    groups = stages_of(asked.trace.network, None if values is not None else most or _STAGES)
    entries = [Entry((), "as trained", asked.question(), 0.0, True)]
    done: tuple[str, ...] = ()
    for at, group in enumerate(groups, 1):
        done += tuple(group)
        question = asked.question(trace=None, image=asked.trace.input.detach(), modules=done)
        entries.append(Entry(done, f"from {group[-1]} up", question, float(at)))
    return entries


class _WithGradients(Trace):
    """A trace that takes the gradients of K targets in one batched pass, when that of one is first asked for.

    From the scores down to the last maps, that is: further down it costs more than as many passes (measured with
    EfficientNet-Lite0 on a CPU and 9 classes: 0.6 times as long at the last maps, 3 times at the input).
    """

    def __init__(self, trace: Trace, targets: Sequence[Target]) -> None:
        self.__dict__.update(trace.__dict__)
        self._targets = list(targets)
        self._known: dict[str, Tensor] = {}

    def gradient_and_rectifiers(
        self, of: TargetLike = None, wrt: str | Sequence[str] | Every = "input", rule: Rule = "gradient"
    ) -> tuple[Any, int]:
        """See `Trace.gradient_and_rectifiers`."""
        target = as_target(of, self)
        if rule != "gradient" or not self._worth_it(wrt) or target not in self._targets:
            return super().gradient_and_rectifiers(of, wrt, rule)
        if wrt not in self._known:
            self._known[wrt] = self.gradients(self._targets, wrt)
        return self._known[wrt][self._targets.index(target)], RectifierCount()

    def _worth_it(self, wrt: object) -> TypeGuard[str]:
        """Whether little lies between the scores and what is asked for."""
        order, last = list(self.network.layers), self.network.last_maps
        return wrt in order and last is not None and order.index(str(wrt)) >= order.index(last)


_PLANS: dict[str, Callable[[Asked, Sequence[Any] | None, int | None], list[Entry]]] = {
    "methods": _methods,
    "classes": _classes,
    "layers": _layers,
    "pictures": _pictures,
    "networks": _networks,
    "cascade": _cascade,
}
