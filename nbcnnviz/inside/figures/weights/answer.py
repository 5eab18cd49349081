"""What the Weights panel computes: the weights of a layer and their gradient, and from them a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.core.errors import GradientError, StaleTraceError
from nbcnnviz.core.targets import ClassScore, Target, same_target
from nbcnnviz.core.trace import Trace
from nbcnnviz.inside.figures.weights.frame import (
    COLUMNS,
    WeightsFrame,
    broken_in,
    paged,
    per_page,
)
from nbcnnviz.inside.kernels import By, Weights, norms_of, ordered, weights


@dataclass(frozen=True, eq=False)
class Known:
    """What need not be computed again for a trace, a layer and a target; see `WeightsFrame`."""

    trace: Trace
    target: Target
    weights: Weights
    without: str
    broken: Tensor
    broken_gradient: Tensor | None

    def answers(self, trace: Trace, layer: str, target: Target) -> bool:
        """Whether this is of that trace, layer and target."""
        return self.trace is trace and self.weights.layer == layer and same_target(self.target, target)

    def frame(
        self, by: By, chosen: int | None, page_asked: Callable[[str, tuple[Any, ...]], int | None]
    ) -> WeightsFrame:
        """A frame, with the filter that is looked at closely, if one is ``chosen``, and the pages that are asked for."""
        network, found, target = self.trace.network, self.weights, self.target
        order = ordered(by, found.norms, found.gradient_norms).cpu()
        if chosen is None and found.filters == tuple(network.classes) and isinstance(target, ClassScore):
            chosen = target.index if isinstance(target.index, int) else None  # the row that makes the score
        filter_ = int(order[0]) if chosen is None or chosen >= len(found) else chosen
        place = network, found.layer, by, filter_
        position = int((order == filter_).nonzero()[0])
        page, pages, filters = paged(order, per_page(found), page_asked("filters", place), position)
        inputs = torch.zeros(1, dtype=torch.int64)
        if found.kind != "scales":
            slope = None if found.gradient is None else norms_of(found.gradient[filter_])
            inputs = ordered("index" if found.kind == "rgb" else by, norms_of(found.values[filter_]), slope).cpu()
        input_page, input_pages, inputs = paged(inputs, COLUMNS, page_asked("inputs", place), 0)
        return WeightsFrame(
            network,
            found,
            target,
            target.describe(network),
            self.without,
            by,
            order,
            filters,
            page,
            pages,
            filter_,
            inputs,
            input_page,
            input_pages,
            self.broken,
            self.broken_gradient,
        )


def learn(trace: Trace, layer: str, target: Target) -> Known:
    """The weights of a layer and their gradient, by one backward pass."""
    without = ""
    try:
        found = weights(trace, layer, gradient=True, target=target)
    except StaleTraceError:
        raise
    except GradientError as error:
        found, without = weights(trace, layer), str(error)
    slope = None if found.gradient is None else broken_in(found.gradient)
    return Known(trace, target, found, without, broken_in(found.values), slope)
