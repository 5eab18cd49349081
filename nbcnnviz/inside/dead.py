"""Filters that never fire, whatever the picture: dead weight, or a learning rate that was too high."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.network import Network
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside.axes import Edge
from nbcnnviz.inside.footprint import in_order

# Rectifiers that return exactly zero for what is negative, with the saved argument that must be zero for that.
_CUTS = {
    "ReluBackward": None,
    "HardtanhBackward": "_saved_min_val",
    "ClampBackward": "_saved_min",
    "ClampMinBackward": "_saved_min",
    "ThresholdBackward": "_saved_threshold",
}


@dataclass(frozen=True)
class Dead:
    """Which filters were zero at every place of every picture; ``layers``: how many are dead and how many there are."""

    pictures: int
    filters: Mapping[str, tuple[int, ...]]
    layers: Mapping[str, tuple[int, int]]


class DeadFilters:
    """Counts, over as many traces as are added, the filters that are zero at every place of every picture.

    Looked at are the layers that end in a rectifier which cuts at zero (ReLU, ReLU6, ``clamp(min=0)`` ...), and those
    whose output such a function of no module rectifies. SiLU and GELU are never exactly zero: networks with nothing else
    have no dead filters. A filter with NaN is not dead.

    Adding a trace costs one reduction a layer, on the network's device; nothing is copied before the filters are asked for.
    """

    def __init__(self) -> None:
        self.pictures = 0
        """How many were added."""
        self._network: Network | None = None
        self._dead: dict[str, Tensor] = {}

    def add(self, trace: Trace) -> None:
        """Look at the pictures of one more trace.

        Raises
        ------
        MethodNotApplicableError
            If it is of another network than those before.
        """
        if self._network not in (None, trace.network):
            raise MethodNotApplicableError("Dead filters are counted for one network: begin anew for another.")
        self._network = trace.network
        for layer in rectified(trace):
            output, layout = trace[layer].detach(), trace.network.layers[layer].layout
            channels = 1 if output.ndim == 2 else None if layout is None else layout.channel_axis
            if channels is None:  # heads by tokens, say
                continue
            silent = output.amax([axis for axis in range(output.ndim) if axis != channels]) <= 0
            self._dead[layer] = self._dead[layer] & silent if layer in self._dead else silent
        self.pictures += len(trace)

    @property
    def filters(self) -> dict[str, tuple[int, ...]]:
        """The dead filters of each layer looked at, in the layers' order; an empty tuple where all fired."""
        if not self._dead:
            return {}
        sizes = [len(dead) for dead in self._dead.values()]
        parts = torch.cat(list(self._dead.values())).cpu().split(sizes)
        return {layer: tuple(part.nonzero().flatten().tolist()) for layer, part in zip(self._dead, parts, strict=True)}

    @property
    def counts(self) -> Mapping[str, tuple[int, int]]:
        """For each layer looked at, how many of its filters are dead, and how many it has."""
        return self.counted.layers

    @property
    def counted(self) -> Dead:
        """The count as it is now, copied from the device once."""
        filters = self.filters
        return Dead(self.pictures, filters, {n: (len(dead), len(self._dead[n])) for n, dead in filters.items()})


def rectified(trace: Trace) -> list[str]:
    """The layers, one for each rectifier that cuts at zero, whose filters are either positive somewhere or dead.

    The layer that returns what the rectifier did, the innermost; else the one that it was given the output of.
    """
    names: dict[Edge, str] = {}
    for name in trace.layers:
        activation = trace._activation(name)
        if activation.edge is not None and len(activation.shape) in (2, 4):
            names.setdefault((activation.edge.node, activation.edge.output_nr), name)
    if not names:
        return []
    end = trace.scores.grad_fn if trace.whole else [*names][-1][0]
    found = set()
    for node in in_order(end) if end is not None else ():
        if cuts_at_zero(node):
            ((given, output), *_) = node.next_functions
            found.add(names.get((node, 0)) or (given and names.get((given, output))))
    return [name for name in names.values() if name in found]


def cuts_at_zero(node: Node) -> bool:
    """Whether a node of the autograd graph is the backward of a rectifier that makes all that is negative zero."""
    name = node.name().rstrip("0123456789")
    if name not in _CUTS:
        return False
    saved: Any = getattr(node, _CUTS[name] or "", 0)
    return saved is not None and bool((torch.as_tensor(saved) == 0).all())
