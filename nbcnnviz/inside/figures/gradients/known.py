"""What need not be computed again as long as trace and target, or the network, are the same."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from nbcnnviz.core.errors import GradientError, StaleTraceError
from nbcnnviz.core.fingerprint import weights_state
from nbcnnviz.core.targets import Target, same_target
from nbcnnviz.core.trace import EVERYTHING, Trace
from nbcnnviz.inside.dead import Dead, DeadFilters
from nbcnnviz.inside.statistics import Depth, Histogram, depth, histograms


class Known:
    """The norms of every layer for one trace and target, and the histograms of the layers that were asked for."""

    def __init__(self) -> None:
        self._of: tuple[Trace, Target] | None = None
        self._depth: Depth | None = None
        self._histograms: dict[str, Mapping[str, Histogram]] = {}

    def of(self, trace: Trace, target: Target, layer: str | None) -> tuple[Depth, Mapping[str, Histogram]]:
        """The norms, and a layer's histograms; by one backward pass, if any."""
        if self._of is None or self._depth is None or self._of[0] is not trace or not same_target(self._of[1], target):
            self._of, self._histograms = None, {}
            gradients = trace.gradient(target, EVERYTHING)
            self._depth = depth(trace, target, gradients=gradients)
            if layer is not None:
                self._histograms[layer] = histograms(trace, layer, target, gradients=gradients)
            self._of = trace, target
        elif layer is not None and layer not in self._histograms:
            try:
                self._histograms[layer] = histograms(trace, layer, target)
            except StaleTraceError:
                raise
            except GradientError:  # the target does not depend on the layer
                self._histograms[layer] = histograms(trace, layer, target, gradients={})
        return self._depth, self._histograms.get(layer or "", {})


class DeadOverPictures:
    """Which filters are dead, over every different picture that is added; another network, or other weights, begin anew."""

    def __init__(self) -> None:
        self._dead = DeadFilters()
        self._state: Hashable = None
        self._pictures: set[int] = set()

    @property
    def counted(self) -> Dead:
        """The count as it is now."""
        return self._dead.counted

    def add(self, trace: Trace) -> None:
        """Look at one more picture, unless it was looked at before."""
        state = trace.network, weights_state(trace.network.module)
        if state != self._state:
            self._dead, self._state, self._pictures = DeadFilters(), state, set()
        key = hash(trace.input.detach().float().cpu().numpy().tobytes())
        if key not in self._pictures:
            self._dead.add(trace)
            self._pictures.add(key)
