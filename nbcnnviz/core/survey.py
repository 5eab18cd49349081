"""Which layers have maps, and how they are laid out, by numbers.

Four pictures tell it: two different ones, one with the left half of the first and the right half of the second, one with
the top half of the first and the bottom half of the second. Where a layer has maps, its values at the left are nearly
those of the first picture and at the right those of the second, and so from top to bottom. So the likeness of each place
to the one and to the other shows which axes are rows and columns, which tokens belong to no place, and what has no more
than the shape of maps: heads by tokens, the encoding of a position, regions of interest, frames in the place of pictures.

Where every place sees the whole picture, as on small maps far up, numbers are silent. Then a layer has the layout of
what it was given, if it keeps its places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from nbcnnviz.core.errors import NetworkError
from nbcnnviz.core.grids import Layout, Reshape, checked
from nbcnnviz.core.layers import has_channels_last
from nbcnnviz.core.likeness import COUNT, Grid, on_grid, on_maps, on_tokens

# Layers with maps reach 0.8 and more of 1 on all but the smallest maps, others 0.5 at most; on few places by chance more.
_AGREES, _AGREES_ON_FEW, _FEW = 0.6, 0.75, 16
_LEANS = 0.3

# They keep rows and columns as they are, or change their number evenly.
_ON_A_GRID = (
    *(
        nn.Conv2d,
        nn.ConvTranspose2d,
        nn.BatchNorm2d,
        nn.InstanceNorm2d,
        nn.LocalResponseNorm,
        nn.MaxPool2d,
        nn.AvgPool2d,
    ),
    *(nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.LPPool2d, nn.FractionalMaxPool2d, nn.Upsample, nn.PixelShuffle),
)
_SURELY = 0.9

_FIRST, _LAST = Layout("first"), Layout("last")
_SEQUENCES: tuple[tuple[Literal["tokens", "tokens last"], int, int], ...] = (("tokens", 2, 1), ("tokens last", 1, 2))

_SAME = "it returns the same for two different pictures"
_NOWHERE = "what changes in one part of the picture does not change one part of what it returns"


@dataclass(frozen=True)
class Found:
    """What is known of a layer; the attributes are those of `nbcnnviz.core.layers.Layer`."""

    layout: Layout | None
    spatial: bool = False
    reason: str = ""


@dataclass
class _Call:
    """A module's call: what it was given, and what it returned for the pictures so far."""

    name: str
    module: nn.Module
    source: int | None  # the call that made what it was given; -1 is the network's input
    given: tuple[int, ...]
    shape: tuple[int, ...]  # of what it returned, for one picture
    values: list[Tensor] = field(default_factory=list)


class Survey:
    """Looks at what modules return for the pictures of `nbcnnviz.core.likeness.pictures`.

    Parameters
    ----------
    x
        The pictures.
    batched
        Whether they come in one batch, and not in as many passes as there are pictures.
    reshape
        The user's functions by layer's name, or one for all layers that are not understood without.
    """

    def __init__(self, x: Tensor, batched: bool = True, reshape: Reshape | Mapping[str, Reshape] | None = None) -> None:
        self._x, self._batched, self._reshape = x, batched, reshape
        self._calls: list[_Call] = []
        self._judged: list[Found] = []
        self._at = 0
        self._tensors: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
        self._made: dict[int, tuple[int, int]] = {}  # the call that made a tensor, and the version that it made
        self._grids: dict[int, Grid] = {}  # of token sequences, by their length
        self._size = x.shape[2], x.shape[3]

    def next_pass(self) -> None:
        """Say that another pass begins, of the next picture."""
        self._at = 0
        self._tensors.clear()

    def watch(self, name: str, module: nn.Module, args: Any, output: Tensor) -> None:
        """Look at what a module returned at a call."""
        index, self._at = self._at, self._at + 1
        if index == len(self._calls):
            given = args[0] if args and isinstance(args[0], Tensor) else None
            shape = () if given is None else tuple(given.shape[1:])
            self._calls.append(
                _Call(name, module, None if given is None else self._source(given), shape, tuple(output.shape[1:]))
            )
        call = self._calls[index]
        made = -2 if output.is_inference() else output._version
        if self._batched:
            same, version = self._made[id(output)] if self._tensors.get(id(output)) is output else (0, -1)
            known = version == made and not self._reshaped_by_name(name)
            self._judged.append(self._judged[same] if known else self._judge(call, output.detach()))
        elif call.name == name:  # else the network takes another way for another picture
            call.values.append(output.detach().clone())
        self._tensors[id(output)], self._made[id(output)] = output, (index, made)

    def found(self) -> dict[str, Found]:
        """What is known of each layer, by its name as a recording has it."""
        for call in self._calls[len(self._judged) :]:
            together = len(call.values) == COUNT and all(v.ndim and len(v) == 1 for v in call.values)
            if together and len({v.shape for v in call.values}) == 1:
                self._judged.append(self._judge(call, torch.cat(call.values)))
            else:
                self._judged.append(Found(None, False, _of_no_picture(call.values[0], 1)))
            call.values.clear()
        total, seen = Counter(call.name for call in self._calls), Counter[str]()
        by_name: dict[str, Found] = {}
        for call, judged in zip(self._calls, self._judged, strict=True):
            by_name[f"{call.name}:{seen[call.name]}" if total[call.name] > 1 else call.name] = judged
            seen[call.name] += 1
        return by_name

    def _source(self, given: Tensor) -> int | None:
        if self._tensors.get(id(given)) is given:
            return self._made[id(given)][0]
        first = self._x if self._batched else self._x[:1]
        return -1 if given.shape == first.shape and torch.equal(given, first) else None

    def _reshaped_by_name(self, name: str) -> bool:
        return isinstance(self._reshape, Mapping) and name in self._reshape

    def _judge(self, call: _Call, out: Tensor) -> Found:
        if isinstance(self._reshape, Mapping):
            if call.name in self._reshape:
                return self._reshaped(self._reshape[call.name], call.name, out)
            return self._by_numbers(call, out)
        found = self._by_numbers(call, out)
        if found.layout is None and self._reshape is not None and out.ndim > 2:
            try:
                return self._reshaped(self._reshape, call.name, out, told=False)
            except NetworkError:  # it is made for other layers
                return found
        return found

    def _reshaped(self, reshape: Reshape, name: str, out: Tensor, told: bool = True) -> Found:
        maps = checked(reshape, name, out)
        if len(maps) != COUNT:
            raise NetworkError(f"reshape made {len(maps)} maps of layer {name!r} for {COUNT} pictures: one a picture.")
        grid = (maps.shape[2], maps.shape[3])
        layout = Layout("reshaped", grid, reshape=reshape)
        agrees = told or on_maps(maps, 1, 2, 3, self._size) >= _least(grid)
        return Found(layout, agrees and grid != (1, 1), "" if agrees else _NOWHERE)

    def _by_numbers(self, call: _Call, out: Tensor) -> Found:
        if not out.ndim or len(out) != COUNT:
            return Found(None, False, _of_no_picture(out, COUNT))
        shape = tuple(out.shape[1:])
        if len(shape) == 1:
            return Found(None, False, "it has no places")
        if len(shape) not in (2, 3) or not out.numel():
            return Found(None, False, f"it has {out.ndim} axes")
        if shape[1:] == (1, 1) or shape[:2] == (1, 1):
            return Found(_FIRST if shape[1:] == (1, 1) else _LAST, False, "its maps have one place")
        if _alike(out[0], out[1]):
            return Found(self._inherited(call, shape) or self._guessed(call, shape), False, _SAME)
        if _broken(out):  # numbers can tell nothing, and what is broken is to be seen
            broken = self._inherited(call, shape) or self._guessed(call, shape)
            return Found(broken, broken is not None, "" if broken else _NOWHERE)
        score, layout, grid = self._best(out)
        if score >= _least(grid):
            return Found(layout, True)
        inherited = self._inherited(call, shape) or self._beside(shape, score, layout)
        if inherited is None or self._contradicted(call, out, inherited):
            return Found(None, False, _NOWHERE)
        return Found(inherited, True)

    def _contradicted(self, call: _Call, out: Tensor, layout: Layout) -> bool:
        """Whether numbers speak against a layout, for a module that may do anything: turn the picture round, say."""
        if layout.of_tokens or isinstance(call.module, _ON_A_GRID):
            return False
        rows, columns = layout.places(tuple(out.shape[1:]))
        axes = (1, 2, 3) if layout.kind == "first" else (3, 1, 2)
        return rows * columns >= _FEW and on_maps(out, *axes, self._size) <= -_AGREES

    def _best(self, out: Tensor) -> tuple[float, Layout, tuple[int, int]]:
        """The layout on which the numbers agree best: how well, and the grid."""
        if out.ndim == 4:
            first = on_maps(out, 1, 2, 3, self._size)
            last = on_maps(out, 3, 1, 2, self._size) if first < _SURELY else 0.0
            layout = _FIRST if first >= last else _LAST
            return max(first, last), layout, layout.places(tuple(out.shape[1:]))
        best: tuple[float, Layout, tuple[int, int]] = (0.0, _FIRST, (0, 0))
        for kind, channels, tokens in _SEQUENCES:
            length = out.shape[tokens]
            if length in self._grids:
                grid = self._grids[length]
                score = on_grid(out, channels, tokens, grid)
            else:
                score, grid = on_tokens(out, channels, tokens, self._size)
                if score >= _SURELY:
                    self._grids[length] = grid
            if score > best[0]:
                best = score, Layout(kind, *grid), grid[0]
            if score >= _SURELY:
                break
        return best

    def _inherited(self, call: _Call, shape: tuple[int, ...]) -> Layout | None:
        """The layout of what the module was given, where it keeps the places."""
        if call.source is None:
            return None
        given, layout = call.given, _FIRST if call.source < 0 else self._judged[call.source].layout
        if layout is None or layout.reshape is not None or len(given) != len(shape):
            return None
        if layout.of_tokens:
            axis = 0 if layout.kind == "tokens" else 1
            mixes = axis == 1 and isinstance(call.module, nn.Linear)
            return layout if shape[axis] == given[axis] and not mixes else None
        if layout.kind == "first" and isinstance(call.module, _ON_A_GRID):
            return _FIRST
        if layout.kind == "first":
            mixes, height, width, channels = isinstance(call.module, nn.Linear), *given[1:], given[0]
        else:
            mixes, (height, width, channels) = False, given
        kept, other = (_FIRST, _LAST) if layout.kind == "first" else (_LAST, _FIRST)
        places = {_FIRST: shape[1:], _LAST: shape[:2]}
        if places[kept] == (height, width):
            return None if mixes else kept
        permuted = (height, width, channels) if other is _LAST else (channels, height, width)
        return other if shape == permuted else None

    def _beside(self, shape: tuple[int, ...], score: float, layout: Layout) -> Layout | None:
        """That of the last call which returned the same shape, where numbers are silent or lean that way.

        So a sum's rectifier has that of the sum's term, and a block that of its last module.
        """
        judged = zip(reversed(self._calls[: len(self._judged)]), reversed(self._judged), strict=True)
        last = next((found for call, found in judged if call.shape == shape), None)
        if last is None or not last.spatial or last.layout not in (_FIRST, _LAST):
            return None
        rows, columns = last.layout.places(shape)
        leans = score >= _LEANS and layout == last.layout
        return last.layout if rows * columns < _FEW or leans else None

    def _guessed(self, call: _Call, shape: tuple[int, ...]) -> Layout | None:
        """The layout by the module's class, where nothing else can tell it."""
        if len(shape) != 3:
            return None
        kind = type(call.module).__name__
        return _LAST if has_channels_last(kind, shape, self._size, None) else _FIRST


def _alike(one: Tensor, other: Tensor) -> bool:
    step = max(1, one.numel() // 4096)
    return torch.equal(one.flatten()[::step], other.flatten()[::step]) and torch.equal(one, other)


def _broken(values: Tensor) -> bool:
    """Whether no value is finite; a few tell it of what is not."""
    return not bool(values.flatten()[:64].isfinite().any()) and not bool(values.isfinite().any())


def _least(grid: tuple[int, int]) -> float:
    return _AGREES if grid[0] * grid[1] >= _FEW else _AGREES_ON_FEW


def _of_no_picture(values: Tensor, count: int) -> str:
    entries = len(values) if values.ndim else 0
    return f"its first axis is not the batch: {entries} for {count} picture{'s' * (count > 1)}"
