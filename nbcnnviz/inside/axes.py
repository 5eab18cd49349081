"""What is needed of a tensor, axis by axis, and how that goes through windows, look-ups and views.

Everything works on ``Q`` questions at once. Of each axis it is known which indices are needed, and beside them the
interval that would be needed if there were no borders, which runs on over padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.autograd.graph import Node

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_LARGEST = 1 << 26  # elements of a mask over merged axes; beyond, all of them count as needed


@dataclass(frozen=True, eq=False)
class Axis:
    """What is needed of one axis.

    Attributes
    ----------
    size
        How many indices it has.
    needed
        (Q, size) bool; None if all are needed, whatever the question.
    low, high
        (Q,) the first and the last index needed, were there no borders.
    """

    size: int
    needed: Bools | None
    low: Ints
    high: Ints

    def __or__(self, other: Axis) -> Axis:
        needed = None if self.needed is None or other.needed is None else self.needed | other.needed
        return Axis(self.size, needed, np.minimum(self.low, other.low), np.maximum(self.high, other.high))


Dim = tuple[Axis, ...]
"""One dimension of a tensor: an axis, or several that a view has merged, the slowest first."""
Dims = list[Dim]
Shape = Sequence[int]
Edge = tuple[Node, int]
"""A node of the autograd graph with the number of its output, as in ``node.next_functions``."""


def shape_of(edge: Edge) -> tuple[int, ...]:
    """The shape of the tensor at an edge of the graph."""
    node: Any = edge[0]
    return tuple(node.variable.shape if hasattr(node, "variable") else node._input_metadata[edge[1]].shape)


def whole(size: int, questions: int) -> Axis:
    """An axis of which every question needs all."""
    return Axis(size, None, np.zeros(questions, np.int64), np.full(questions, size - 1))


def only(axis: Axis, needed: Bools) -> Axis:
    """An axis of which just this is needed, (Q, size), and nothing outside its borders."""
    some = np.asarray(needed.any(1))
    low = np.where(some, needed.argmax(1), 0)
    high = np.where(some, axis.size - 1 - needed[:, ::-1].argmax(1), axis.size - 1)
    return whole(axis.size, len(needed)) if needed.all() else Axis(axis.size, needed, low, high)


def union(some: Dims, others: Dims) -> Dims:
    """What two uses of the same tensor need together."""
    return [_union(a, b) for a, b in zip(some, others, strict=True)]


def _union(a: Dim, b: Dim) -> Dim:
    if a is b:
        return a
    if [axis.size for axis in a] == [axis.size for axis in b]:
        return tuple(x | y for x, y in zip(a, b, strict=True))
    return (solid(a) | solid(b),)


def size_of(dim: Dim) -> int:
    """How many indices a dimension has."""
    return math.prod(axis.size for axis in dim)


def solid(dim: Dim) -> Axis:
    """A dimension as one axis. Merged axes lose what lay outside their borders."""
    if len(dim) == 1:
        return dim[0]
    size, questions = size_of(dim), len(dim[0].low)
    if all(axis.needed is None for axis in dim) or questions * size > _LARGEST:
        return whole(size, questions)
    needed = np.ones((questions, 1), bool)
    for axis in dim:
        own = np.ones((questions, axis.size), bool) if axis.needed is None else axis.needed
        needed = (needed[:, :, None] & own[:, None, :]).reshape(questions, -1)
    return only(whole(size, questions), needed)


def windowed(dim: Dim, size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Dim:
    """The axis of ``size`` behind one whose index ``o`` sees ``o * stride - padding + dilation * (0 ... kernel - 1)``."""
    axis = solid(dim)
    low, high = axis.low * stride - padding, axis.high * stride - padding + (kernel - 1) * dilation
    return (_behind(axis, _windows(axis.size, size, kernel, stride, padding, dilation), low, high),)


def transposed(dim: Dim, size: int, kernel: int, stride: int, padding: int, dilation: int) -> Dim:
    """As `windowed`, with the parts of the two axes exchanged: a transposed convolution."""
    axis = solid(dim)
    low = -((-(axis.low + padding - (kernel - 1) * dilation)) // stride)
    high = np.maximum(low, (axis.high + padding) // stride)
    return (_behind(axis, _windows(size, axis.size, kernel, stride, padding, dilation).T, low, high),)


def looked_up(dim: Dim, size: int, indices: Iterable[Iterable[int]]) -> Dim:
    """The axis of ``size`` behind one whose indices need the indices listed for each. It has no outside."""
    axis = solid(dim)
    links = np.zeros((axis.size, size), bool)
    for row, needed in enumerate(indices):
        links[row, list(needed)] = True
    behind = _behind(axis, links, axis.low, axis.high)
    every = whole(size, len(axis.low))
    return (every if behind.needed is None else only(every, behind.needed),)


def _windows(out: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> Bools:
    """(out, size) which indices lie within the window of each output index."""
    at = (np.arange(out)[:, None] * stride - padding) + np.arange(kernel) * dilation
    links = np.zeros((out, size), bool)
    row, tap = np.nonzero((at >= 0) & (at < size))
    links[row, at[row, tap]] = True
    return links


def _behind(axis: Axis, links: Bools, low: Ints, high: Ints) -> Axis:
    """The axis behind, where ``links`` (out, in) says which of its indices each index of ``axis`` needs."""
    size = links.shape[1]
    if axis.needed is None:
        needed = np.broadcast_to(np.asarray(links.any(0)), (len(low), size))
    else:
        needed = np.asarray(axis.needed.astype(np.float32) @ links.astype(np.float32) > 0)
    return Axis(size, None if needed.all() else needed, low, high)


def reshaped(dims: Dims, shape: Sequence[int], questions: int) -> Dims:
    """The dimensions of a tensor of ``shape`` of which ``dims`` are those of a view.

    Axes are taken apart as they were put together; what was cut elsewhere is needed wherever any of it is.
    """
    axes = [axis for dim in dims for axis in dim if axis.size != 1]
    behind: Dims = []
    while len(behind) < len(shape):
        size = shape[len(behind)]
        if size == 1:
            behind.append((whole(1, questions),))
            continue
        # The fewest axes and dimensions from here on that are the same elements.
        taken: Dim = (axes.pop(0),)
        sizes = [size]
        while (have := size_of(taken)) != (want := math.prod(sizes)):
            if have < want:
                taken += (axes.pop(0),)
            else:
                sizes.append(shape[len(behind) + len(sizes)])
        behind += [taken] if len(sizes) == 1 else _cut(solid(taken), sizes)
    return behind


def _cut(axis: Axis, sizes: Sequence[int]) -> Dims:
    every = [whole(size, len(axis.low)) for size in sizes]
    if axis.needed is None:
        return [(part,) for part in every]
    needed = axis.needed.reshape(-1, *sizes)
    places = range(1, needed.ndim)
    return [
        (only(part, np.asarray(needed.any(tuple(p for p in places if p != place)))),)
        for place, part in zip(places, every, strict=True)
    ]
