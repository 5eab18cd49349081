"""Which filters a filter reads from, and which it writes to: by the weights between them, and on one picture.

The layer whose weights make a filter is found in the autograd graph: behind the filter's layer, through operations that
keep each channel to itself (rectifiers, normalisation, pooling, sums of maps). Where there is a concatenation or an
operation that is not known on the way, it is not found, and that is said.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from nbcnnviz.core.errors import MethodNotApplicableError, UnknownOptionError
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside.axes import Edge, shape_of
from nbcnnviz.inside.features import filters_first, strongest
from nbcnnviz.inside.footprint import in_order

_ELEMENTWISE = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Relu",
        "LeakyRelu",
        "PreluKernel",
        "Hardtanh",
        "Elu",
        "Celu",
        "Silu",
        "Gelu",
        "Mish",
        "Hardswish",
        "Softplus",
        "Threshold",
        "Clamp",
        "ClampMin",
        "ClampMax",
        "Sigmoid",
        "Tanh",
        "NativeDropout",
        "Clone",
        "Alias",
    ]
)
_BY_CHANNEL = frozenset(
    [
        "NativeBatchNorm",
        "CudnnBatchNorm",
        "MiopenBatchNorm",
        "MaxPool2DWithIndices",
        "AvgPool2D",
        "AdaptiveAvgPool2D",
        "AdaptiveMaxPool2D",
        "UpsampleNearest2D",
        "UpsampleBilinear2D",
        "ConstantPadNd",
        "ReflectionPad2D",
        "ReplicationPad2D",
        "Mean",
        "Sum",
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Squeeze",
    ]
)
_WEIGHTED = frozenset(("Convolution", "Addmm", "Mm"))


@dataclass(frozen=True)
class Link:
    """A filter at the other end: its layer and channel, the L2 norm of the weights between, what goes through on a picture."""

    layer: str
    channel: int
    norm: float
    contribution: float


@dataclass(frozen=True, eq=False)
class Links:
    """The filters that one filter reads from, or writes to.

    Attributes
    ----------
    layer : str
        Theirs: of what is read, the layer that returned it, ``"input"`` for the picture's channels, or ``"the input of"``
        the one below where no layer did; of what is written, the one below.
    through : str
        The layer whose weights are between; ``"a function"`` where no layer has them.
    channels : Tensor
        (n,) int64.
    norms : Tensor
        (n,) the L2 norm of the weights between the filter and each.
    contributions : Tensor
        (n,) for one picture. Of what is read: how much of the filter's strongest activation comes from each, to first
        order (gradient x what each brings; exact where what follows the weights is piecewise linear, as batch-norm and
        ReLU are). Of what is written: how much of each one's strongest value, as the weights make it, comes from the
        filter; exact.
    """

    layer: str
    through: str
    channels: Tensor
    norms: Tensor
    contributions: Tensor

    def strongest(self, by: Literal["norm", "contribution"] = "norm", count: int = 8) -> list[Link]:
        """The strongest, the largest magnitude first."""
        if by not in ("norm", "contribution"):
            raise UnknownOptionError(by, ("norm", "contribution"), "They are ordered by norm or contribution.")
        judged = self.norms if by == "norm" else self.contributions.abs()
        order = judged.argsort(descending=True, stable=True)[:count]
        rows = zip(
            self.channels[order].tolist(), self.norms[order].tolist(), self.contributions[order].tolist(), strict=True
        )
        return [Link(self.layer, *row) for row in rows]


def reads(trace: Trace, layer: str, channel: int, picture: int = 0) -> Links:
    """The filters that a filter reads from.

    Raises
    ------
    MethodNotApplicableError
        If no one convolution or linear layer makes the filter of others, or it is a transposed one.
    UnknownLayerError, FilterRangeError
        If there is no such layer or filter.
    """
    edge = _edge(trace, layer)
    place = strongest(trace, layer, channel, picture)
    makers = [e for e in _same_channels(edge) if _kind(e[0]) in _WEIGHTED]
    if not makers:
        raise MethodNotApplicableError(f"No one convolution or linear layer makes the filters of {layer!r} of others.")
    depths = _depths(edge[0])
    made = max(makers, key=lambda e: depths[e[0]])  # of a sum of maps, what the longer way made

    def unit(trace: Trace) -> Tensor:
        return filters_first(trace, layer, trace[layer], picture)[channel, place.row, place.column]

    (gradient,), _ = trace.backward(unit, [GradientEdge(*made)])
    x, weight = _saved(made[0], layer)
    x, channel = x[picture].detach(), channel % len(weight)
    g = torch.zeros(shape_of(made)[1:], device=x.device) if gradient is None else gradient[picture]
    groups = getattr(made[0], "_saved_groups", 1)
    per = weight.shape[1]
    first = channel // (len(weight) // groups) * per
    x, own = x[first : first + per], weight[channel]
    if x.ndim == 3:
        brought = F.conv2d(x[None], own[:, None], None, *_window(made[0]), per)[0]
        contributions = (brought * g[channel]).sum((1, 2))
    else:
        contributions = own * x * g[channel]
    given = _given(made[0])
    through = _name(trace, made) or "a function"
    name = "input" if _is_input(given[0], trace) else _name(trace, given) or f"the input of {through}"
    channels = torch.arange(first, first + per, device=x.device)
    return Links(name, through, channels, own.flatten(1).norm(dim=1) if own.ndim > 1 else own.abs(), contributions)


def writes(trace: Trace, layer: str, channel: int, picture: int = 0) -> Links:
    """The filters that a filter writes to: of the nearest convolution or linear layer behind it.

    Raises
    ------
    MethodNotApplicableError
        If no convolution or linear layer reads the filter, or the nearest is a transposed one.
    UnknownLayerError, FilterRangeError
        If there is no such layer or filter.
    """
    edge = _edge(trace, layer)
    strongest(trace, layer, channel, picture)  # which checks the names
    count = shape_of(edge)[1]
    channel %= count
    found: list[tuple[int, int, Any]] = []
    for node in in_order(trace.scores.grad_fn) if trace.whole and trace.scores.grad_fn is not None else ():
        if _kind(node) in _WEIGHTED:
            distance = _same_channels(_given(node)).get(edge)
            if distance is not None:
                found.append((distance, -math.prod(_weight_shape(node)), node))
    if not found:
        raise MethodNotApplicableError(f"No convolution or linear layer reads the filters of {layer!r} by themselves.")
    *_, reader = min(found, key=lambda way: way[:2])  # of two that are as near, the one with more weights
    x, weight = _saved(reader, layer)
    x = x[picture].detach()
    if x.ndim == 3:
        groups, per = reader._saved_groups, weight.shape[1]
        each = len(weight) // groups
        group, within = divmod(channel, per)
        channels = torch.arange(group * each, (group + 1) * each, device=x.device)
        seen, own = x[None, group * per : (group + 1) * per], weight[channels]
        window = _window(reader)
        at = F.conv2d(seen, own, None, *window)[0].flatten(1).argmax(1)
        brought = F.conv2d(x[None, channel : channel + 1], own[:, within : within + 1], None, *window)[0].flatten(1)
        contributions, norms = brought.gather(1, at[:, None])[:, 0], own[:, within].flatten(1).norm(dim=1)
    else:
        block = weight.shape[1] // count  # of a flattened map, a value for each place
        part = slice(channel * block, (channel + 1) * block)
        contributions, norms = weight[:, part] @ x[part], weight[:, part].norm(dim=1)
        channels = torch.arange(len(weight), device=x.device)
    through = _name(trace, (reader, 0)) or "a function"
    return Links(through, through, channels, norms, contributions)


def _edge(trace: Trace, layer: str) -> Edge:
    edge, output = trace._activation(layer).edge, trace[layer]
    layout = trace.network.layout(layer, trace.size) if output.ndim > 2 else None
    if edge is None or output.ndim not in (2, 4) or (layout is not None and layout.channel_axis != 1):
        raise MethodNotApplicableError(f"The filters of {layer!r} are not told apart along its second axis.")
    return edge.node, edge.output_nr


def _kind(node: Any) -> str:
    return str(node.name()).rstrip("0123456789").removesuffix("Backward")


def _same_channels(start: Edge) -> dict[Edge, int]:
    """The tensors behind one that have its channels, each to itself, with how many operations are between."""
    queue, known = deque([start]), {start: 0}
    while queue:
        edge = queue.popleft()
        for after in _behind(edge):
            if after not in known:
                known[after] = known[edge] + 1
                queue.append(after)
    return known


def _depths(root: Node) -> dict[Node, int]:
    """How long the longest way from each node to where the graph begins is."""
    depths: dict[Node, int] = {}
    for node in reversed([*in_order(root)]):
        depths[node] = 1 + max((depths[after] for after, _ in node.next_functions if after is not None), default=0)
    return depths


def _weight_shape(node: Any) -> tuple[int, ...]:
    weight, number = node.next_functions[1 if _kind(node) == "Convolution" else -1]
    return () if weight is None else shape_of((weight, number))


def _behind(edge: Edge) -> Iterator[Edge]:
    """The inputs of an operation that have the channels of its output, each to itself."""
    kind, out = _kind(edge[0]), shape_of(edge)
    elementwise = kind in _ELEMENTWISE
    if not elementwise and (kind not in _BY_CHANNEL or getattr(edge[0], "_saved_training", False)):
        return
    for after, number in edge[0].next_functions if elementwise else edge[0].next_functions[:1]:
        if after is None or hasattr(after, "variable"):
            continue
        shape = shape_of((after, number))
        flattened = len(out) == 2 and len(shape) == 4 and math.prod(shape[1:]) == out[1]
        if shape == out if elementwise else (shape[:2] == out[:2] or flattened):
            yield after, number


def _given(node: Any) -> Edge:
    """Where the tensor came from that a layer with weights was given."""
    edge: Edge = node.next_functions[0 if _kind(node) == "Convolution" else -2]
    return edge


def _saved(node: Any, layer: str) -> tuple[Tensor, Tensor]:
    """What a layer with weights was given, (N, I, h, w) or (N, I), and its weights, (O, I / groups, h, w) or (O, I)."""
    try:
        if _kind(node) == "Convolution":
            x, weight = node._saved_input, node._saved_weight
            if x is not None and x.ndim == 4 and not node._saved_transposed:
                return x.detach(), weight.detach()
        else:
            x, weight = getattr(node, "_saved_mat1", None), node._saved_mat2
            x = node._saved_self if x is None else x
            return x.detach(), weight.detach().T
    except (RuntimeError, AttributeError) as error:
        raise MethodNotApplicableError(f"What the weights at {layer!r} were given is not known any more.") from error
    raise MethodNotApplicableError(
        f"The weights at {layer!r} are of a convolution that is transposed, or not over a picture."
    )


def _window(node: Any) -> tuple[Any, Any, Any]:
    return node._saved_stride, node._saved_padding, node._saved_dilation


def _is_input(node: Any, trace: Trace) -> bool:
    """Whether this is the picture: the leaf, or the copy of it that the network was given."""
    if _kind(node) == "Clone":
        node = node.next_functions[0][0]
    return getattr(node, "variable", None) is trace.input


def _name(trace: Trace, edge: Edge) -> str | None:
    """The first layer that returned a tensor: the innermost."""
    for name in trace.layers:
        own = trace._activation(name).edge
        if own is not None and (own.node, own.output_nr) == edge:
            return name
    return None
