"""Which part of the picture a unit sees.

The graph that the forward pass left is walked from the layer down to the input, once for all units of the layer. The
fields are exact for chains of convolutions, poolings and paddings, the union over branches, and never too small: see
`nbcnnviz.inside.footprint` for what is known. Where a network gates its maps by a global average (squeeze and excite),
every unit behind the gate sees the whole picture, and that is what is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch.autograd.graph import Node

from nbcnnviz.core.errors import FilterRangeError, GradientError
from nbcnnviz.core.grids import Layout, no_maps
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside.axes import Axis, Dim, Dims, Edge, Ints, only, solid, whole
from nbcnnviz.inside.footprint import footprints


class Box(NamedTuple):
    """A rectangle in pixels of the input: rows ``top`` to ``bottom - 1``, columns ``left`` to ``right - 1``."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """What cuts it out of (..., H, W): ``trace.input[..., *box.slices]``. Of a clipped box only."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


class Grid(NamedTuple):
    """Fields that lie regularly along one axis: unit i sees ``offset + i * stride`` and ``size - 1`` pixels more."""

    size: int
    stride: int
    offset: int


@dataclass(frozen=True, eq=False)
class ReceptiveFields:
    """The fields of all units of a layer: a unit sees what its row of units and its column of units both see.

    Attributes
    ----------
    rows, columns
        (h, 4) and (w, 4): top, left, bottom and right, as in `Box`, of what each row and each column of units sees.
    unclipped_rows, unclipped_columns
        The same as if the picture, and the maps on the way, had no borders: padding is counted, and may lie outside.
        For what has no windows (an adaptive pooling, say) there is no outside.
    grid
        Along rows and columns, the size, stride and offset of the unclipped fields; None where they have none in
        common, as behind a global average or an upsampling.
    """

    rows: Ints
    columns: Ints
    unclipped_rows: Ints
    unclipped_columns: Ints
    grid: tuple[Grid, Grid] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the layer's maps."""
        return len(self.rows), len(self.columns)

    def box(self, row: int, column: int, *, clip: bool = True) -> Box:
        """The field of a unit.

        Parameters
        ----------
        row, column
            Its place in the layer's maps; negative ones count from the end.
        clip
            Whether to leave out what lies outside the picture. The field is then the smallest box with all that the
            unit depends on: empty if that is nothing but padding.

        Raises
        ------
        FilterRangeError
            If there is no such unit.
        """
        height, width = self.shape
        if not (-height <= row < height and -width <= column < width):
            raise FilterRangeError(f"The maps are {height} x {width}: there is no unit at ({row}, {column}).")
        rows, columns = (self.rows, self.columns) if clip else (self.unclipped_rows, self.unclipped_columns)
        top, left = np.maximum(rows[row], columns[column])[:2].tolist()
        bottom, right = np.minimum(rows[row], columns[column])[2:].tolist()
        return Box(top, left, bottom, right) if top < bottom and left < right else Box(0, 0, 0, 0)


def receptive_field(trace: Trace, layer: str, row: int, column: int, *, clip: bool = True) -> Box:
    """The part of the input that one unit of a layer sees; see `receptive_fields` and `ReceptiveFields.box`."""
    return receptive_fields(trace, layer).box(row, column, clip=clip)


def receptive_fields(trace: Trace, layer: str) -> ReceptiveFields:
    """The part of the input that each unit of a layer sees: of all its channels together.

    Of a layer without places, (N, C), the one unit is at (0, 0).

    Raises
    ------
    MethodNotApplicableError
        If the layer returns neither maps nor a vector, or its maps are laid out by a function of the user's.
    GradientError
        If the layer does not depend on the input, or the trace was made for gradients from a layer on.
    UnknownLayerError
        If no such layer was kept.
    """
    activation = trace._activation(layer)
    shape = tuple(activation.shape)
    layout = trace.network.layout(layer, trace.size) if len(shape) > 2 else None
    if layout is None and len(shape) == 4:  # the graph tells what each unit sees, whatever the numbers of a picture do
        layout = Layout("first")
    if len(shape) > 2 and (layout is None or layout.reshape is not None or not layout.fits(shape[1:])):
        raise no_maps(trace.network, layer, shape)
    trace.source("input")
    if activation.edge is None:
        raise GradientError(f"Layer {layer!r} does not depend on the input.")
    return fields_at(trace, (activation.edge.node, activation.edge.output_nr), shape, layout)


def fields_at(trace: Trace, edge: Edge, shape: tuple[int, ...], layout: Layout | None) -> ReceptiveFields:
    """As `receptive_fields`, of a tensor of this shape and layout at any edge of the graph; None for one without places."""
    questions = _Questions(*((1, 1) if layout is None else layout.places(shape[1:])))
    dims: Dims = [(whole(size, questions.count),) for size in shape]
    if layout is not None and layout.of_tokens:
        at = 1 if layout.kind == "tokens" else 2
        dims[at] = _sequence(questions, shape[at], layout.apart[0])
    elif layout is not None:
        first = 1 if layout.kind == "last" else 2
        dims[first : first + 2] = [(questions.rows,), (questions.columns,)]
    found = next((d for (n, _), d in footprints(edge, dims, questions.count).items() if _is_input(n, trace)), None)
    if found is None:
        raise GradientError("What is asked about does not depend on the input: only on the parameters.")
    rows, columns = solid(found[2]), solid(found[3])
    clipped = np.stack([*_ends(rows), *_ends(columns)], 1)[:, [0, 2, 1, 3]]
    unclipped = np.stack([rows.low, columns.low, rows.high + 1, columns.high + 1], 1)
    grids = [_grid(unclipped[questions.of_rows, ::2]), _grid(unclipped[questions.of_columns, 1::2])]
    return ReceptiveFields(
        clipped[questions.of_rows][:-1],
        clipped[questions.of_columns][:-1],
        unclipped[questions.of_rows][:-1],
        unclipped[questions.of_columns][:-1],
        None if grids[0] is None or grids[1] is None else (grids[0], grids[1]),
    )


class _Questions:
    """One for each row of units and one for each column, with all that cross it.

    And one for the row, and the column, behind the last: no unit is there, but its unclipped field tells the stride
    where there is but one.
    """

    def __init__(self, height: int, width: int) -> None:
        self.count = height + width + 2
        self.of_rows, self.of_columns = slice(0, height + 1), slice(height + 1, self.count)
        self.rows, self.columns = self._axis(height, self.of_rows), self._axis(width, self.of_columns)

    def _axis(self, size: int, own: slice) -> Axis:
        axis = whole(size, self.count)
        needed = np.ones((self.count, size), bool)
        needed[own] = np.eye(size + 1, size, dtype=bool)
        axis.low[own] = axis.high[own] = np.arange(size + 1)
        return Axis(size, needed, axis.low, axis.high)


def _sequence(questions: _Questions, length: int, before: int) -> Dim:
    """What is needed of a sequence of tokens, of which so many come before those on the grid."""
    grid = questions.rows, questions.columns
    if questions.rows.size * questions.columns.size == length:
        return grid
    needed = np.zeros((questions.count, length), bool)
    on_grid = solid(grid)
    needed[:, before : before + on_grid.size] = True if on_grid.needed is None else on_grid.needed
    return (only(whole(length, questions.count), needed),)


def _is_input(node: Node, trace: Trace) -> bool:
    return getattr(node, "variable", None) is trace.input


def _ends(axis: Axis) -> tuple[Ints, Ints]:
    """The first index needed, and the one after the last; none at all is 0 and 0."""
    if axis.needed is None:
        return np.zeros_like(axis.low), np.full_like(axis.low, axis.size)
    some = axis.needed.any(1)
    last = axis.size - axis.needed[:, ::-1].argmax(1)
    return np.where(some, axis.needed.argmax(1), 0), np.where(some, last, 0)


def _grid(ends: Ints) -> Grid | None:
    """What fields along an axis, (n, 2) first and one after last, have in common."""
    offset, size, steps = int(ends[0, 0]), ends[:, 1] - ends[:, 0], np.diff(ends[:, 0])
    regular = steps[0] > 0 and bool((steps == steps[0]).all() and (size == size[0]).all())
    return Grid(int(size[0]), int(steps[0]), offset) if regular else None
