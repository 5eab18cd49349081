"""What is known of an optimiser, and what is read from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nbcnnviz.core.errors import GradientError


class OptimiserState:
    """An optimiser's parameters among the network's, when it last stepped, and the period it last recorded."""

    def __init__(self, columns: Sequence[int] = ()) -> None:
        self.columns = list(columns)
        self.groups: tuple[int, ...] = ()
        self.last_step = -1
        self.period = -1
        self.before: dict[int, Tensor] | None = None
        """Its weights before the step, by column, where the step is recorded."""


class WeightCopies:
    """Copies of weights, on the CPU in memory that is used again: what was touched before is many times faster."""

    def __init__(self) -> None:
        self._buffers: dict[int, Tensor] = {}

    def take(self, parameters: Sequence[nn.Parameter], columns: Sequence[int]) -> dict[int, Tensor] | None:
        """The weights that learn, by column; None while a CUDA graph is captured, which would repeat the copying."""
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            return None
        return {c: self._copy(c, parameters[c].detach()) for c in columns if parameters[c].requires_grad}

    def clear(self) -> None:
        """Let the memory go."""
        self._buffers.clear()

    def _copy(self, column: int, now: Tensor) -> Tensor:
        if now.device.type != "cpu":
            return now.clone()  # on an accelerator torch keeps memory by itself
        kept = self._buffers.get(column)
        if kept is None or kept.shape != now.shape or kept.dtype != now.dtype:
            kept = self._buffers[column] = torch.empty_like(now)
        return kept.copy_(now)


def group_sizes(optimizer: Optimizer) -> tuple[int, ...]:
    """How many parameters each of an optimiser's groups has."""
    return tuple([len(group["params"]) for group in optimizer.param_groups])


def learning_rate(optimizer: Optimizer | None, parameters: dict[int, nn.Parameter]) -> float:
    """The learning rate of the first group that has parameters of the network's."""
    ours = {id(p) for p in parameters.values()}
    for group in optimizer.param_groups if optimizer is not None else ():
        if "lr" in group and any(id(p) in ours for p in group["params"]):
            return float(group["lr"])
    return float("nan")


def loss_value(value: Any) -> Tensor | float:
    """A loss that the user gave, as a number or a detached tensor of one; GradientError if it is neither."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return value.detach().reshape(()).clone()
    if not isinstance(value, Tensor):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise GradientError(f"A loss is one number, or a tensor of one: this is {what}. Take its mean, or its sum.")
