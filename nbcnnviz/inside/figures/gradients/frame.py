"""What the Gradients panel shows: the norms of every layer, the histograms of one, and the dead filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Target, in_python
from nbcnnviz.inside.dead import Dead
from nbcnnviz.inside.statistics import Depth, Histogram

Size = Literal["RMS", "L2 norm"]


@dataclass(frozen=True, eq=False)
class GradientsFrame:
    """What the panel shows.

    Attributes
    ----------
    network : Network
        Whose layers they are.
    depth : Depth
        The norms of every layer, with the learning rate asked for.
    target, words : Target, str
        Whose gradients they are, and what it is called.
    layer : str or None
        The layer selected; ``at``: its column in the charts, where it has one.
    histograms : dict[str, Histogram]
        Of that layer; see `nbcnnviz.inside.histograms`.
    size : str
        Norms ``"RMS"``, over the root of the number of values, or as they are.
    log_counts : bool
        Whether histograms count on a logarithmic axis.
    dead : Dead
        The dead filters over the pictures seen so far.
    of_filter : bool or None
        Whether the gradient is the selected filter's; None if no filter is selected.
    step, steps : int
        How far the count over all samples is.
    """

    network: Network
    depth: Depth
    target: Target
    words: str
    layer: str | None
    at: int | None
    histograms: Mapping[str, Histogram]
    size: Size
    log_counts: bool
    dead: Dead
    of_filter: bool | None
    step: int = 1
    steps: int = 1

    def same_charts(self, other: GradientsFrame | None) -> bool:
        """Whether two frames differ in the dead filters alone."""
        names = ("depth", "words", "layer", "at", "histograms", "size", "log_counts", "of_filter")
        return other is not None and all(getattr(self, name) == getattr(other, name) for name in names)

    @property
    def roots(self) -> np.ndarray:
        """What norms are divided by: one a layer."""
        sizes = self.depth.sizes
        return np.sqrt(sizes) if self.size == "RMS" else np.ones(len(sizes))

    def broken(self, layer: str) -> tuple[bool, bool, bool]:
        """Whether a layer's gradient, activation and ratio have NaN or infinite values in them."""
        bad, known = self.depth.not_finite, self.network.layers.get(layer)
        names = [] if known is None else [n for p in known.parameters for n in (p, f"gradient of {p}")]
        return f"gradient of {layer}" in bad, layer in bad, any(name in bad for name in names)

    def code(self, image: str) -> list[str]:
        """The lines that make the numbers again, where ``net`` is given and ``image`` is an expression."""
        more, target = in_python(self.target)
        lines = [
            "from nbcnnviz.inside import DeadFilters, depth, histograms",
            f"trace = net.trace({image})",
            *more,
            f"norms = depth(trace, {target}, learning_rate={self.depth.learning_rate!r})",
        ]
        if "gradients" in self.histograms:
            lines.append(f"spread = histograms(trace, {self.layer!r}, {target})")
        elif self.histograms:
            lines.append(f"spread = histograms(trace, {self.layer!r}, gradients={{}})  # there are none")
        return [*lines, "dead = DeadFilters()", "dead.add(trace)  # and the other pictures' traces"]

    def arrays(self) -> dict[str, np.ndarray]:
        """All that the charts are made of, by name."""
        found = self.depth
        arrays: dict[str, np.ndarray] = {
            "layers": np.array(found.layers, dtype=str),
            "activation": found.activation,
            "gradient": found.gradient,
            "sizes": found.sizes,
            "weight": found.weight,
            "weight_gradient": found.weight_gradient,
            "ratio": found.ratio,
            "learning_rate": np.array(found.learning_rate),
        }
        for what, spread in self.histograms.items():
            name = what.replace(" ", "_")
            arrays |= {f"{name}_counts": spread.counts, f"{name}_edges": spread.edges}
        listed = [(layer, i) for layer, filters in self.dead.filters.items() for i in filters]
        arrays["dead_layers"] = np.array([layer for layer, _ in listed], dtype=str)
        arrays["dead_filters"] = np.array([i for _, i in listed], dtype=np.int64)
        arrays["dead_pictures"] = np.array(self.dead.pictures)
        return arrays
