"""What one node of the autograd graph needs of its inputs, by what the node does.

Exact for whatever works on axes one by one (convolution, pooling, padding, slicing, permuting, attention within windows),
however it was called: as a module or a function, in place or not. A node not known here needs all of its inputs, so
that a footprint is never too small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch.autograd.graph import Node

from nbcnnviz.inside.axes import (
    Axis,
    Dim,
    Dims,
    Shape,
    looked_up,
    only,
    reshaped,
    shape_of,
    size_of,
    transposed,
    whole,
    windowed,
)


@dataclass(frozen=True, eq=False)
class Use:
    """What is needed of one output of a node, for a number of questions at once."""

    output: int
    dims: Dims
    questions: int

    def all_of(self, shape: Shape) -> Dims:
        """All of a tensor."""
        return [(whole(size, self.questions),) for size in shape]

    def but_all_along(self, places: Sequence[int], shape: Shape) -> Dims:
        """The same of a tensor that differs only in the dimensions at ``places``, of which all is needed."""
        every = self.all_of(shape)
        return [every[i] if i in places else dim for i, dim in enumerate(self.dims)]


def needs(node: Node, use: Use, shapes: Sequence[Shape | None]) -> list[Dims | None]:
    """What a node needs of each of its inputs, which have these ``shapes``; None for one that has no gradient."""
    name = node.name().rstrip("0123456789").removesuffix("Backward")
    return _KNOWN.get(name, _everything)(node, use, shapes)


# ----- nodes, by what they do. Each takes the node, what is needed of it and the shapes of its inputs.

Needs = list[Dims | None]
Shapes = Sequence[Shape | None]


def _everything(node: Any, use: Use, shapes: Shapes) -> Needs:
    return [_if(shape, use.all_of) for shape in shapes]


def _if(shape: Shape | None, needs: Callable[[Shape], Dims]) -> Dims | None:
    return None if shape is None else needs(shape)


def _elementwise(node: Any, use: Use, shapes: Shapes) -> Needs:
    """Each element of the inputs, which are broadcast, makes one of the output."""
    return [_if(shape, partial(_broadcast, use)) for shape in shapes]


def _broadcast(use: Use, shape: Shape) -> Dims:
    every, dims = use.all_of(shape), use.dims[len(use.dims) - len(shape) :]
    if len(dims) < len(shape) or any(1 != n != size_of(dim) for n, dim in zip(shape, dims, strict=True)):
        return every
    return [dim if n == size_of(dim) else one for n, dim, one in zip(shape, dims, every, strict=True)]


def _of_the_first(needs: Callable[[Any, Use, Shape], Dims]) -> Callable[[Any, Use, Shapes], Needs]:
    """For nodes that work on their first input, and need all of the others: weights, as a rule."""

    def of_the_first(node: Any, use: Use, shapes: Shapes) -> Needs:
        return [_if(shapes[0], partial(needs, node, use)), *_everything(node, use, shapes[1:])]

    return of_the_first


@_of_the_first
def _convolution(node: Any, use: Use, shape: Shape) -> Dims:
    every, places = use.all_of(shape), len(node._saved_stride)
    kernel = _kernel(node)[-places:]
    goes = transposed if node._saved_transposed else windowed
    settings = zip(kernel, node._saved_stride, node._saved_padding, node._saved_dilation, strict=True)
    spatial = [
        goes(dim, size, *setting)
        for dim, size, setting in zip(use.dims[-places:], shape[-places:], settings, strict=True)
    ]
    return [*use.dims[: -places - 1], every[-places - 1], *spatial]


def _kernel(node: Any) -> Shape:
    weight, number = node.next_functions[1]  # what was saved of it cannot be read any more once it has changed
    return node._saved_weight.shape if weight is None else shape_of((weight, number))


@_of_the_first
def _pool(node: Any, use: Use, shape: Shape) -> Dims:
    kernel = node._saved_kernel_size
    places = len(kernel)
    strides = node._saved_stride or kernel
    dilations = getattr(node, "_saved_dilation", (1,) * places)
    settings = zip(kernel, strides, node._saved_padding, dilations, strict=True)
    return [
        *use.dims[:-places],
        *(
            windowed(d, n, *setting)
            for d, n, setting in zip(use.dims[-places:], shape[-places:], settings, strict=True)
        ),
    ]


@_of_the_first
def _adaptive_pool(node: Any, use: Use, shape: Shape) -> Dims:
    """Output o of n averages the inputs floor(o m / n) to ceil((o + 1) m / n) - 1 of m."""

    def behind(dim: Dim, m: int) -> Dim:
        n = size_of(dim)
        return looked_up(dim, m, [range(o * m // n, -(-(o + 1) * m // n)) for o in range(n)])

    return [*use.dims[:-2], *map(behind, use.dims[-2:], shape[-2:])]


def _upsampled(indices: Callable[[Any, int, int, float], list[Sequence[int]]]) -> Callable[[Any, Use, Shapes], Needs]:
    @_of_the_first
    def upsampled(node: Any, use: Use, shape: Shape) -> Dims:
        scales = (node._saved_scales_h, node._saved_scales_w)
        behind = [
            looked_up(dim, m, indices(node, size_of(dim), m, 1 / scale if scale else m / size_of(dim)))
            for dim, m, scale in zip(use.dims[-2:], shape[-2:], scales, strict=True)
        ]
        return [*use.dims[:-2], *behind]

    return upsampled


def _nearest(node: Any, n: int, m: int, step: float) -> list[Sequence[int]]:
    half = 0.5 if "Exact" in node.name() else 0.0
    exact = (np.arange(n) + half) * step
    rounded = (np.arange(n) + half).astype(np.float32) * np.float32(step)  # as the kernel reckons it, on most devices
    return [sorted({_within(a, m), _within(b, m)}) for a, b in zip(exact.tolist(), rounded.tolist(), strict=True)]


def _bilinear(node: Any, n: int, m: int, step: float) -> list[Sequence[int]]:
    places = np.arange(n) * (m - 1) / max(n - 1, 1) if node._saved_align_corners else (np.arange(n) + 0.5) * step - 0.5
    return [range(_within(place - 1e-4, m), _within(place + 1 + 1e-4, m) + 1) for place in places.tolist()]


def _within(place: float, size: int) -> int:
    return min(max(math.floor(place), 0), size - 1)


@_of_the_first
def _constant_pad(node: Any, use: Use, shape: Shape) -> Dims:
    before = node._saved_pad[::2]  # of the last dimension first
    first = len(shape) - len(before)
    padded = zip(use.dims[first:], shape[first:], map(_signed, reversed(before)), strict=True)
    return [
        *use.dims[:first],
        *(windowed(dim, size, 1, padding=pad) if pad or size != size_of(dim) else dim for dim, size, pad in padded),
    ]


@_of_the_first
def _mirror_pad(node: Any, use: Use, shape: Shape) -> Dims:
    before = [_signed(pad) for pad in node._saved_padding[::2]]
    first, mode = len(shape) - len(before), "reflect" if "Reflection" in node.name() else "edge"

    def behind(dim: Dim, size: int, pad: int) -> Dim:
        after = size_of(dim) - size - pad
        sources = np.pad(np.arange(size), (max(pad, 0), max(after, 0)), mode)  # type: ignore[call-overload]
        sources = sources[max(-pad, 0) : len(sources) - max(-after, 0)]
        return looked_up(dim, size, [[source] for source in sources.tolist()])

    return [*use.dims[:first], *map(behind, use.dims[first:], shape[first:], reversed(before))]


@_of_the_first
def _batch_norm(node: Any, use: Use, shape: Shape) -> Dims:
    # By the statistics of the batch it needs all of each channel, of every picture.
    return use.but_all_along([i for i in range(len(shape)) if i != 1], shape) if node._saved_training else use.dims


@_of_the_first
def _layer_norm(node: Any, use: Use, shape: Shape) -> Dims:
    return use.but_all_along(range(len(shape))[-len(node._saved_normalized_shape) :], shape)


@_of_the_first
def _reduced(node: Any, use: Use, shape: Shape) -> Dims:
    saved = getattr(node, "_saved_dim", None)
    saved = (saved,) if isinstance(saved, int) else saved or range(len(shape))
    reduced = {_place(dim, len(shape)) for dim in saved}
    dims = iter(use.dims)
    if len(use.dims) == len(shape):  # dimensions kept, with one element
        return use.but_all_along([*reduced], shape)
    return [every if i in reduced else next(dims) for i, every in enumerate(use.all_of(shape))]


@_of_the_first
def _mixed_along(node: Any, use: Use, shape: Shape) -> Dims:
    return use.but_all_along([_place(node._saved_dim, len(shape))], shape)


@_of_the_first
def _channel_shuffle(node: Any, use: Use, shape: Shape) -> Dims:
    return use.but_all_along([1], shape)


@_of_the_first
def _view(node: Any, use: Use, shape: Shape) -> Dims:
    return reshaped(use.dims, shape, use.questions)


@_of_the_first
def _permute(node: Any, use: Use, shape: Shape) -> Dims:
    order = [_place(dim, len(shape)) for dim in node._saved_dims]
    return [use.dims[order.index(i)] for i in range(len(shape))]


@_of_the_first
def _transpose(node: Any, use: Use, shape: Shape) -> Dims:
    dims = list(use.dims)
    a, b = (_place(getattr(node, f"_saved_dim{i}", i), len(shape)) for i in (0, 1))
    dims[a], dims[b] = dims[b], dims[a]
    return dims


@_of_the_first
def _slice(node: Any, use: Use, shape: Shape) -> Dims:
    place = _place(node._saved_dim, len(shape))
    start = range(shape[place])[slice(_signed(node._saved_start), None)].start
    return _with(use.dims, place, windowed(use.dims[place], shape[place], 1, node._saved_step, -start))


@_of_the_first
def _select(node: Any, use: Use, shape: Shape) -> Dims:
    place = _place(node._saved_dim, len(shape))
    chosen = _one(shape[place], _place(node._saved_index, shape[place]), use.questions)
    return [*use.dims[:place], (chosen,), *use.dims[place:]]


@_of_the_first
def _unbind(node: Any, use: Use, shape: Shape) -> Dims:
    place = _place(node._saved_dim, len(shape))
    return [*use.dims[:place], (_one(shape[place], use.output, use.questions),), *use.dims[place:]]


@_of_the_first
def _split(node: Any, use: Use, shape: Shape) -> Dims:
    place = _place(node._saved_dim, len(shape))
    sizes = getattr(node, "_saved_split_sizes", None)
    start = use.output * node._saved_split_size if sizes is None else sum(sizes[: use.output])
    return _with(use.dims, place, windowed(use.dims[place], shape[place], 1, padding=-start))


@_of_the_first
def _roll(node: Any, use: Use, shape: Shape) -> Dims:
    dims = use.dims
    if not node._saved_dims:  # rolled as if it were flat
        return use.all_of(shape)
    for dim, shift in zip(node._saved_dims, node._saved_shifts, strict=True):
        place = _place(dim, len(shape))
        size = shape[place]
        dims = _with(dims, place, looked_up(dims[place], size, [[(i - _signed(shift)) % size] for i in range(size)]))
    return dims


@_of_the_first
def _flip(node: Any, use: Use, shape: Shape) -> Dims:
    dims = use.dims
    for place in (_place(dim, len(shape)) for dim in node._saved_dims):
        dims = _with(dims, place, looked_up(dims[place], shape[place], [[i] for i in reversed(range(shape[place]))]))
    return dims


def _cat(node: Any, use: Use, shapes: Shapes) -> Needs:
    place = _place(node._saved_dim, len(use.dims))
    if any(shape is None for shape in shapes):  # what it is long is not told of an input without gradient
        return [_if(shape, partial(use.but_all_along, [place])) for shape in shapes]
    needs, start = [], 0
    for shape in filter(None, shapes):
        needs.append(_with(use.dims, place, windowed(use.dims[place], shape[place], 1, padding=start)))
        start += shape[place]
    return [*needs]


def _stack(node: Any, use: Use, shapes: Shapes) -> Needs:
    place = _place(node._saved_dim, len(use.dims))
    return [_if(shape, lambda _: [*use.dims[:place], *use.dims[place + 1 :]]) for shape in shapes]


def _matrix_product(node: Any, use: Use, shapes: Shapes) -> Needs:
    """Rows of the first matrix by columns of the second; what is added to them, if anything, comes before both."""
    *batch, rows, columns = use.dims
    left = _if(shapes[-2], lambda shape: [*batch, rows, *use.all_of(shape[-1:])])
    right = _if(shapes[-1], lambda shape: [*batch, *use.all_of(shape[-2:-1]), columns])
    return [*_elementwise(node, use, shapes[:-2]), left, right]


@_of_the_first
def _linear(node: Any, use: Use, shape: Shape) -> Dims:
    return [*use.dims[:-1], *use.all_of(shape[-1:])]


def _attention(node: Any, use: Use, shapes: Shapes) -> Needs:
    """Queries, keys and values, (..., length, features): a query needs the keys and values of all the length."""
    if use.output:
        return _everything(node, use, shapes)
    return [
        _if(shapes[0], lambda shape: [*use.dims[:-1], *use.all_of(shape[-1:])]),
        *(_if(shape, lambda shape: [*use.dims[:-2], *use.all_of(shape[-2:])]) for shape in shapes[1:3]),
        *_everything(node, use, shapes[3:]),
    ]


def _signed(number: int) -> int:
    """A number that autograd shows without its sign."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _place(index: int, size: int) -> int:
    return _signed(index) % size


def _with(dims: Dims, place: int, dim: Dim) -> Dims:
    return [*dims[:place], dim, *dims[place + 1 :]]


def _one(size: int, index: int, questions: int) -> Axis:
    needed = np.zeros((questions, size), bool)
    needed[:, index] = True
    return only(whole(size, questions), needed)


# fmt: off
_KNOWN: dict[str, Callable[[Any, Use, Shapes], Needs]] = {
    "Convolution": _convolution,
    **dict.fromkeys(("MaxPool2DWithIndices", "MaxPool3DWithIndices", "AvgPool2D", "AvgPool3D"), _pool),
    **dict.fromkeys(("AdaptiveAvgPool2D", "AdaptiveMaxPool2D"), _adaptive_pool),
    **dict.fromkeys(("UpsampleNearest2D", "UpsampleNearestExact2D"), _upsampled(_nearest)),
    "UpsampleBilinear2D": _upsampled(_bilinear),
    "ConstantPadNd": _constant_pad,
    **dict.fromkeys(("ReflectionPad2D", "ReplicationPad2D"), _mirror_pad),
    **dict.fromkeys(("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"), _batch_norm),
    **dict.fromkeys(("NativeLayerNorm", "FusedRmsNorm"), _layer_norm),
    **dict.fromkeys(
        ("Mean", "Sum", "Var", "Std", "VarMean", "StdMean", "Amax", "Amin", "Max", "Min", "Logsumexp", "LinalgVectorNorm"),
        _reduced,
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Cumsum", "IndexSelect", "Glu"), _mixed_along),
    **dict.fromkeys(
        ("View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Unflatten"), _view
    ),
    **dict.fromkeys(("ChannelShuffle", "NativeChannelShuffle"), _channel_shuffle),
    "Permute": _permute,
    **dict.fromkeys(("Transpose", "T"), _transpose),
    "Slice": _slice,
    "Select": _select,
    "Unbind": _unbind,
    **dict.fromkeys(("Split", "SplitWithSizes"), _split),
    "Roll": _roll,
    "Flip": _flip,
    "Cat": _cat,
    "Stack": _stack,
    **dict.fromkeys(("Mm", "Addmm", "Bmm", "Baddbmm"), _matrix_product),
    "Linear": _linear,
    **dict.fromkeys(
        (f"ScaledDotProduct{kind}Attention{where}" for kind in ("Flash", "Efficient", "Cudnn") for where in ("", "ForCpu")),
        _attention,
    ),
    **dict.fromkeys((
        "Add", "Sub", "Rsub", "Mul", "Div", "Neg", "Abs", "Pow", "Sqrt", "Rsqrt", "Reciprocal", "Exp", "Log", "Log1P",
        "Sin", "Cos", "Tanh", "Erf", "Sigmoid", "LogSigmoid", "Relu", "LeakyRelu", "PreluKernel", "RreluWithNoise",
        "Hardtanh", "Elu", "Celu", "Silu", "Gelu", "Mish", "Hardswish", "Hardsigmoid", "Softplus", "Threshold", "Clamp",
        "ClampMin", "ClampMax", "Maximum", "Minimum", "Where", "MaskedFill", "Lerp", "Addcmul", "Addcdiv", "NanToNum",
        "NativeDropout", "Expand", "Clone", "Alias", "ToCopy", "CopyBackwards",
    ), _elementwise),
}
# fmt: on
