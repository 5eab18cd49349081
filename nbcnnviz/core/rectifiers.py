"""Find the rectifiers that a network writes out by hand, ``x * sigmoid(x)`` say, in the autograd graph.

Such a rectifier is not one node of the graph but a region of it: elementwise operations between one tensor that goes in and
one that comes out. Which regions there are follows from the graph; whether one is a rectifier is a matter of numbers, read
off the values that went in and came out and the slope between them (`nbcnnviz.core.gates`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import GradientEdge, Node
from torch.overrides import TorchFunctionMode

from nbcnnviz.core.gates import Kind, kind_of, opening

Edge = tuple[Node, int]
IsRectifier = Callable[[Node], bool]

# What acts on each number alone, by the names of the nodes less "Backward" and the number that tells variants apart. The
# node of a custom autograd Function may too, which a probe of its Jacobian tells.
_PRODUCTS = frozenset({"Mul", "Div"})
_SUMS = frozenset({"Add", "Sub", "Rsub"})
_CHOICES = frozenset(
    {
        "Maximum",
        "Minimum",
        "Fmax",
        "Fmin",
        "Where",
        "MaskedFill",
        "IndexPut",
        "Logaddexp",
        "Clamp",
        "ClampMin",
        "Log1P",
        "Log",
    }
)
_SQUASHES = frozenset(
    {"Sigmoid", "Tanh", "Hardsigmoid", "Erf", "Sin", "Cos", "Atan", "Softshrink", "Hardshrink", "Threshold"}
)
_SMOOTH = frozenset(
    {"Neg", "Exp", "Exp2", "Expm1", "Pow", "Sqrt", "Rsqrt", "Reciprocal", "LogSigmoid", "Clone", "ToCopy", "Alias"}
)
_FOLDED = frozenset({"Abs", "Sign", "Sgn"})
_VIEWS = frozenset({"View", "UnsafeView", "Expand", "Unsqueeze", "Squeeze", "Clone", "Alias", "Permute", "Transpose"})
_LARGEST = 24  # nodes of a region


@dataclass(eq=False)
class Region:
    """A rectifier written out by hand: the nodes from what comes out of it down to what goes in.

    Attributes
    ----------
    exit
        The node whose output is the rectifier's.
    entry
        The node and the number of its output that go in.
    inner
        The nodes of the region, its exit among them.
    carriers
        The edges on which gradient leaves the region towards its entry: a node, and the place among its inputs.
    parameters
        The shapes of the learned numbers that the region uses.
    scaled
        The operations after the exit that multiply its output with a number, in order, and the numbers.
    """

    exit: Node
    entry: Edge
    inner: frozenset[Node]
    carriers: tuple[tuple[Node, int], ...] = ()
    parameters: tuple[tuple[int, ...], ...] = ()
    scaled: tuple[tuple[Node, float], ...] = ()


@dataclass(eq=False)
class Found:
    """The regions that are rectifiers, and the activations that no rule governs, each with its name."""

    regions: list[Region] = field(default_factory=list)
    others: dict[Node, str] = field(default_factory=dict)


class Values(TorchFunctionMode):
    """Keeps the value of every tensor that a forward pass under it computes, by the edge of the graph that it is."""

    def __init__(self) -> None:
        super().__init__()
        self._values: dict[Edge, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):  # a custom Function returns its output past every mode
            self._keep(tensor)
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._keep(tensor)
        return result

    def _keep(self, tensor: Tensor) -> None:
        node = tensor.grad_fn
        if node is not None and (node, tensor.output_nr) not in self._values:
            self._values[node, tensor.output_nr] = tensor.detach().clone()  # it may be written over

    def get(self, edge: Edge) -> Tensor | None:
        """The value at an edge, None if no operation of the pass showed it."""
        return self._values.get(edge)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def kind(node: Node) -> str:
    """What a node is the backward of, less the number that tells variants apart: ``"Mul"``."""
    return node.name().rstrip("0123456789").removesuffix("Backward")


def candidates(
    roots: Iterable[Node], is_rectifier: IsRectifier, parameters: Iterable[Tensor] = ()
) -> tuple[list[Region], dict[Node, str]]:
    """The regions behind ``roots`` that may be rectifiers, and the activations that are none.

    What depends on ``parameters`` alone counts as a constant.
    """
    graph = _Graph(roots, is_rectifier, parameters)
    regions = [region for node in graph.nodes if (region := graph.region(node)) is not None]
    others = {
        node: kind(node)
        for node in graph.nodes
        if kind(node) in _SQUASHES and node in graph.moving and not is_rectifier(node) and not graph.is_factor(node)
    }
    return regions, others


def walk(roots: Iterable[Node]) -> Iterator[Node]:
    """Every node of the graph behind ``roots``, each once."""
    stack = list(dict.fromkeys(roots))
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)


class _Graph:
    """The graph behind some roots: its nodes, who uses them, and which of them depend on the input."""

    def __init__(self, roots: Iterable[Node], is_rectifier: IsRectifier, parameters: Iterable[Tensor]) -> None:
        self.is_rectifier = is_rectifier
        self.nodes = list(walk(roots))
        self.consumers: dict[Node, list[Node]] = {}
        for node in self.nodes:
            for following, _ in node.next_functions:
                if following is not None:
                    self.consumers.setdefault(following, []).append(node)
        constants = {id(parameter) for parameter in parameters}
        self.moving: set[Node] = set()
        stack = [n for n in self.nodes if hasattr(n, "variable") and id(n.variable) not in constants]
        while stack:
            node = stack.pop()
            if node not in self.moving:
                self.moving.add(node)
                stack += self.consumers.get(node, ())

    def is_factor(self, node: Node) -> bool:
        """Whether all that uses a node's output multiplies something with it: a gate, and no activation."""
        users = self.consumers.get(node, [])
        return bool(users) and all(
            kind(user) in _PRODUCTS or (kind(user) in _VIEWS | _SUMS and self.is_factor(user)) for user in users
        )

    def region(self, node: Node) -> Region | None:
        """The smallest region with this exit, None where it is no candidate."""
        if node not in self.moving or not _may_be_exit(node) or self.is_rectifier(node):
            return None
        inner: set[Node] = {node}
        entries, parameters = self._inputs(node)
        while len(entries) > 1 or (entries and self._is_logarithm(node, inner)):
            latest = max((n for n, _ in entries), key=_age)
            if len(inner) == _LARGEST or not _is_elementwise(latest, self.is_rectifier):
                return None
            inner.add(latest)
            more, its_parameters = self._inputs(latest)
            entries = {edge for edge in entries if edge[0] is not latest} | more
            parameters += its_parameters
        if len(entries) != 1:
            return None
        (entry,) = entries
        if not self._is_candidate(node, inner) or _shape(node, 0) != _shape(*entry):
            return None
        carriers = tuple((n, i) for n in inner for i, edge in enumerate(n.next_functions) if edge == entry)
        return Region(node, entry, frozenset(inner), carriers, tuple(parameters), tuple(self._scaled(node)))

    def _is_logarithm(self, node: Node, inner: set[Node]) -> bool:
        """Whether a region is that of log(1 + exp(x)), as long as it lacks the exponential."""
        return kind(node) in ("Log", "Log1P") and not any(kind(n) == "Exp" for n in inner)

    def _is_candidate(self, node: Node, inner: set[Node]) -> bool:
        if kind(node) in _SUMS:  # else a sum of what goes round a rectifier and of what goes through
            return any(kind(n) in _FOLDED for n in inner) and not any(map(self.is_rectifier, inner))
        return kind(node) not in _PRODUCTS or len(inner) > 1 or _has_mask(node)

    def _inputs(self, node: Node) -> tuple[set[Edge], list[tuple[int, ...]]]:
        """The edges that lead on from a node to what depends on the input, and the shapes of the others."""
        edges, parameters = set(), []
        for following, number in node.next_functions:
            if following in self.moving:
                edges.add((following, number))
            elif following is not None:
                parameters.append(_shape(following, number))
        return edges, parameters

    def _scaled(self, node: Node) -> Iterator[tuple[Node, float]]:
        """The operations that multiply a node's output with a number, one after the other, where nothing else uses it."""
        while len(users := self.consumers.get(node, [])) == 1 and kind(users[0]) in _PRODUCTS:
            (node,) = users
            other = _saved(node, "other")
            edges = [n for n, _ in node.next_functions if n is not None]
            if len(edges) > 1 or not isinstance(other, Tensor) or other.numel() != 1 or not float(other) > 0:
                return
            yield node, float(other) if kind(node) == "Mul" else 1 / float(other)


def _may_be_exit(node: Node) -> bool:
    if isinstance(node, BackwardCFunction):
        return len(node._input_metadata) == 1
    return kind(node) in _PRODUCTS | _SUMS | _CHOICES


def _is_elementwise(node: Node, is_rectifier: IsRectifier) -> bool:
    known = _PRODUCTS | _SUMS | _CHOICES | _SQUASHES | _SMOOTH | _FOLDED
    return isinstance(node, BackwardCFunction) or kind(node) in known or is_rectifier(node)


def _has_mask(node: Node) -> bool:
    """Whether a product has a factor that autograd takes for a constant, as many numbers as it has."""
    constants = (_saved(node, name) for name in ("other", "self"))
    edges = [n for n, _ in node.next_functions if n is not None]
    return len(edges) == 1 and any(isinstance(c, Tensor) and c.shape == _shape(node, 0) for c in constants)


def _saved(node: Node, name: str) -> Any:
    """What a node keeps under a name, None where it keeps nothing or the network wrote over it."""
    try:
        return getattr(node, f"_saved_{name}", None)
    except RuntimeError:
        return None


def _age(node: Node) -> int:
    """How late in the forward pass a node was made; a leaf was there before."""
    return -1 if hasattr(node, "variable") else node._sequence_nr()


def _shape(node: Node, number: int) -> tuple[int, ...]:
    variable = getattr(node, "variable", None)
    return tuple(variable.shape if isinstance(variable, Tensor) else node._input_metadata[number].shape)


def counterparts(pairs: Iterable[tuple[Node, Node]]) -> dict[Node, Node]:
    """The nodes of one graph by those of another of the same network, from pairs of roots on, while the two agree."""
    stack = list(pairs)
    found: dict[Node, Node] = {}
    while stack:
        own, other = stack.pop()
        if own in found or own.name() != other.name() or len(own.next_functions) != len(other.next_functions):
            continue
        found[own] = other
        for (own_next, number), (other_next, other_number) in zip(
            own.next_functions, other.next_functions, strict=True
        ):
            if own_next is not None and other_next is not None and number == other_number:
                stack.append((own_next, other_next))
    return found


def decide(regions: Iterable[Region], others: dict[Node, str], same: Mapping[Node, Node], values: Values) -> Found:
    """Which candidates are rectifiers, by the numbers of a pass whose nodes are the ``same`` as the candidates' are."""
    found = Found(others=dict(others))
    taken: set[Node] = set()
    for region in sorted(regions, key=lambda r: -len(r.inner)):
        if taken & region.inner:
            continue
        verdict, opening = _judged(region, same, values)
        if verdict is Kind.RECTIFIER:
            found.regions.append(_to_scale(region, opening))
            taken |= found.regions[-1].inner
        elif verdict in (Kind.OTHER, Kind.UNSETTLED):
            found.others[region.exit] = _name(region)
    for node in taken:
        found.others.pop(node, None)
    return found


def _name(region: Region) -> str:
    custom = isinstance(region.exit, BackwardCFunction)
    return f"{kind(region.exit)} (custom function)" if custom else kind(region.exit)


def _to_scale(region: Region, opening: float) -> Region:
    """The region with the numbers that its output is multiplied with, where those make a gate that opens to 1.

    ``(x + |x|) / 2`` is the rectifier, not twice it.
    """
    best, scale = region, opening
    inner = set(region.inner)
    for node, number in region.scaled:
        scale *= number
        inner.add(node)
        if abs(math.log(scale)) < abs(math.log(opening)) - 0.05:
            best, opening = replace(region, exit=node, inner=frozenset(inner), scaled=()), scale
    return best


def _judged(region: Region, same: Mapping[Node, Node], values: Values) -> tuple[Kind, float]:
    """What a region computes, and how far its gate opens."""
    carrier, place = region.carriers[0]
    if not {region.exit, carrier} <= same.keys():
        return Kind.UNSETTLED, 1
    exit_, (source, number) = same[region.exit], same[carrier].next_functions[place]  # it may have another node there
    if source is None:
        return Kind.UNSETTLED, 1
    entry = (source, number)
    x, y = values.get(entry), values.get((exit_, 0))
    if x is None or y is None or x.shape != y.shape or not y.is_floating_point():
        return Kind.UNSETTLED, 1
    slope = _slope(exit_, entry, y)
    if slope is None:
        return Kind.NONE, 1
    axes = {x.ndim - len(shape) + i for shape in region.parameters for i, size in enumerate(shape) if size > 1}
    return kind_of(x, y, slope, tuple(sorted(a for a in axes if a > 0))), opening(x, slope)


def _slope(exit_: Node, entry: Edge, y: Tensor) -> Tensor | None:
    """dy/dx where each y depends on the x in its own place alone; None where it does not, or cannot be computed."""
    probe = (torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) + 0.5).to(y)
    try:
        slope, probed = (
            torch.autograd.grad(
                [GradientEdge(exit_, 0)], [GradientEdge(*entry)], [seed], retain_graph=True, allow_unused=True
            )[0]
            for seed in (torch.ones_like(y), probe)
        )
    except Exception:  # a custom Function may raise anything
        return None
    if slope is None or probed is None or slope.shape != y.shape:
        return None
    tolerance = 64 * torch.finfo(y.dtype).eps * float(slope.abs().max())
    return slope if bool(((probed - probe * slope).abs() <= tolerance).all()) else None
