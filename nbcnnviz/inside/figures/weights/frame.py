"""What the Weights panel shows: a layer's weights, in an order, a page of them; and where there are none, the way to some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Target, in_python
from nbcnnviz.inside.kernels import By, Weights
from nbcnnviz.render import Scale
from nbcnnviz.render.tiles import mosaic_shape

COLUMNS: Final = 96
"""Bars, or inputs of a filter, on a page."""
MATRIX: Final = (240, 300)
"""Rows and columns that a matrix is reduced to, at most."""
_MOST_TILES, _FEWEST_TILES, _PAGE_BYTES = 64, 16, 300_000


@dataclass(frozen=True, eq=False)
class WeightsFrame:
    """What the panel shows.

    Attributes
    ----------
    network : Network
        Whose layer it is.
    weights : Weights
        Of all filters, in the module's order, with the target's gradient if there is one.
    target : Target
        Whose gradient that is; ``words``: what it is called.
    without : str
        Why there is no gradient; empty if there is one.
    by : str
        The order asked for; ``order``: all filters in it.
    filters : Tensor
        Those on the page; ``page`` of ``pages``, from 0.
    filter : int
        The one looked at closely.
    inputs : Tensor
        The places of its inputs that are shown, in the same order, a page of them too: ``input_page`` of ``input_pages``.
    broken : Tensor
        (F,) how many weights of each filter are NaN or infinite; ``broken_gradient`` the same of its gradient.
    """

    network: Network
    weights: Weights
    target: Target
    words: str
    without: str
    by: By
    order: Tensor
    filters: Tensor
    page: int
    pages: int
    filter: int
    inputs: Tensor
    input_page: int
    input_pages: int
    broken: Tensor
    broken_gradient: Tensor | None

    @property
    def layer(self) -> str:
        """Whose weights they are."""
        return self.weights.layer

    def code(self, image: str) -> list[str]:
        """The lines that make the numbers again, where ``net`` is given and ``image`` is an expression."""
        lines = ["from nbcnnviz.inside import weights", f"trace = net.trace({image})"]
        by, layer = f"by={self.by!r}", repr(self.layer)
        if self.without:
            shown = f"shown = weights(trace, {layer}, {by})  # no gradient"
            return [*lines, shown, f"chosen = shown.values[{self.filter}]"]
        more, target = in_python(self.target)
        shown = f"shown = weights(trace, {layer}, {by}, gradient=True, target={target})"
        chosen = f"chosen, its_gradient = shown.values[{self.filter}], shown.gradient[{self.filter}]"
        return [*lines, *more, shown, chosen]

    def arrays(self) -> dict[str, np.ndarray]:
        """The numbers of the whole layer, by name; those that there are."""
        found, names = self.weights, ("gradient", "shifts", "shift_gradient", "norms", "gradient_norms", "inputs")
        arrays = {"weights": found.values, "order": self.order} | {name: getattr(found, name) for name in names}
        return {name: as_numpy(tensor) for name, tensor in arrays.items() if tensor is not None}


@dataclass(frozen=True)
class Offer:
    """Layers that have weights, where the one chosen has none."""

    network: Network
    layers: tuple[str, ...]


# Which layers have weights.


def near(offered: Mapping[str, object], network: Network, layer: str | None) -> tuple[str, ...]:
    """Layers to go to instead: the first and last within a container; else the nearest before and behind."""
    within = [name for name in offered if layer is not None and name.startswith(f"{layer}.")]
    if not within:
        names = [*network.layers]
        at = names.index(layer) if layer in network.layers else 0
        before = [name for name in names[:at] if name in offered]
        behind = [name for name in names[at:] if name in offered]
        within = [*before[-1:], *behind[:1]]
    return tuple(dict.fromkeys([*within[:1], *within[-1:]]))


def nothing_said(network: Network, layer: str | None, near: Sequence[str]) -> str:
    """Why there are no weights to show, and where there are some."""
    if not near:
        return f"No layer of {network.name} has weights of its own."
    choose = f"choose one that has, such as {near[0]!r}."
    if layer is None:
        return f"No layer is chosen: {choose}"
    kind = network.layers[layer].kind if layer in network.layers else "layer"
    return f"Layer {layer!r}, a {kind}, has no weights of its own: {choose}"


# Orders and pages.


def paged(order: Tensor, size: int, asked: int | None, position: int) -> tuple[int, int, Tensor]:
    """A page, how many there are, and what is on it: the page asked for, else the one with a position."""
    pages = max(1, math.ceil(len(order) / size))
    page = position // size if asked is None else min(max(0, asked), pages - 1)
    return page, pages, order[page * size : (page + 1) * size]


def per_page(found: Weights) -> int:
    """How many filters are on a page: as many as travel and are looked through with ease."""
    if found.kind in ("scales", "matrix"):
        return COLUMNS
    if found.kind == "rgb":
        return 96
    rows, columns, gap = mosaic_shape(found.values.shape[1:])
    height, width = found.values.shape[2:]
    pixels = rows * (height + gap) * columns * (width + gap)
    return max(_FEWEST_TILES, min(_MOST_TILES, _PAGE_BYTES // pixels))


def symmetric(values: Tensor) -> Scale:
    """Zero in the middle; up to the largest finite magnitude."""
    high = Scale.of(values).high or 1.0
    return Scale(-high, high)


def matrix_strides(found: Weights) -> tuple[int, int]:
    """How many rows and columns of a matrix fall together in a square."""
    rows, columns = found.values.shape
    return math.ceil(rows / MATRIX[0]), math.ceil(columns / MATRIX[1])


def broken_in(values: Tensor) -> Tensor:
    """How many values of each row are NaN or infinite."""
    return (~values.isfinite()).reshape(len(values), -1).sum(1).cpu()


def as_numpy(tensor: Tensor) -> np.ndarray:
    """A tensor as an array, of single precision where NumPy knows no such type."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
