"""Layer outputs that a pass overwrites, to be had all the same: computed again when they are asked for, or copied.

What a batch normalisation returns is most often overwritten in place, by a rectifier or by the sum of a residual block.
Its input is not: autograd has it saved. To normalise that again costs less than to keep every such output in memory of
its own, which few questions are about; and the pass runs just as the network's own does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from nbcnnviz.core.errors import StaleTraceError

RECOMPUTED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


Restored = Callable[[], Tensor]
"""What gives a layer's output as it was."""


def restored(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Restored:
    """What will give the output of ``module`` for ``args`` though it be overwritten."""
    if recomputable(module, args):
        return Recomputed(module, args[0], output)
    copy = output.clone()
    return lambda: copy


class Recomputed:
    """A normalisation's output, to be computed again.

    Parameters
    ----------
    module
        A batch normalisation of `recomputable`.
    x
        What it was given.
    output
        What it returned; not kept.
    """

    def __init__(self, module: Any, x: Tensor, output: Tensor) -> None:
        self._x, self._version, self._eps = x, x._version, module.eps
        state = _state(module)
        self._given = [tensor is not None for tensor in state]
        with torch.no_grad():  # as they are now, since the network may be trained on; in one copy
            self._kept = torch.stack([tensor for tensor in state if tensor is not None])
        self._place = Clone.apply(output, None) if output.requires_grad else None

    @property
    def lost(self) -> bool:
        """Whether what the module was given has been overwritten too."""
        return self._x._version != self._version

    def __call__(self) -> Tensor:
        """The output, in its place in the graph.

        Raises
        ------
        StaleTraceError
            If what the module was given has been overwritten.
        """
        if self.lost:
            raise StaleTraceError("An output of the network changed since this trace was made: make a new trace.")
        with torch.inference_mode(False), torch.enable_grad():
            if self._place is None:
                return self._normalised()
            place: Tensor = Clone.apply(self._place, self._normalised)
            return place

    def _normalised(self) -> Tensor:
        with torch.no_grad():
            state = iter(self._kept)
            mean, variance, weight, bias = (next(state) if given else None for given in self._given)
            return F.batch_norm(self._x.detach(), mean, variance, weight, bias, False, 0.0, self._eps)


def recomputable(module: nn.Module, args: tuple[Any, ...]) -> bool:
    """Whether what ``module`` has returned for ``args`` depends on nothing else, and costs little."""
    return (
        type(module) in RECOMPUTED
        and not module.training
        and module._buffers["running_mean"] is not None
        and len({tensor.dtype for tensor in _state(module) if tensor is not None}) == 1
        and len(module._forward_hooks) == 1  # the one that asks
        and not module._forward_pre_hooks
        and len(args) == 1
        and isinstance(args[0], Tensor)
        and not args[0].is_inference()
    )


def _state(module: Any) -> list[Tensor | None]:
    buffers, parameters = module._buffers, module._parameters
    return [buffers["running_mean"], buffers["running_var"], parameters["weight"], parameters["bias"]]


class Clone(Function):
    """A copy of a tensor, as far as gradients go: first its place alone, one number in its shape; then, there, its values.

    It has the name by which those who read the graph know a copy.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, values: Restored | None) -> Tensor:  # noqa: D102
        return tensor.new_zeros(()).expand(tensor.shape) if values is None else values()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        return gradient, None
