"""What a unit depends on, by asking autograd on a twin of the network in which nothing can cancel or be cut off.

All weights are positive, normalisations change nothing, maxima are averages, nothing saturates; in double precision: the gradient of a unit
is then positive exactly where the unit sees the input.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import nbcnnviz as nv


class Averages(TorchFunctionMode):
    """Averages for maxima, however they are called, and nothing for rectifiers with a ceiling."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func.__name__ == "boolean_dispatch" or "max_pool2d" in func.__name__:
            if "adaptive" in func.__name__:
                return F.adaptive_avg_pool2d(args[0], args[1])
            return _average(*args, **kwargs)
        if func.__name__.strip("_") in ("relu6", "hardtanh"):
            return args[0] * 1
        return func(*args, **kwargs)


def _average(
    x: Tensor, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
) -> Tensor:
    two = [(n, n) if isinstance(n, int) else tuple(n) for n in (kernel_size, stride or kernel_size, padding, dilation)]
    kernel, stride, padding, dilation = two
    if ceil_mode:  # room for the last window, as torch makes it
        size = F.max_pool2d(x.detach(), kernel, stride, padding, dilation, ceil_mode=True).shape[2:]
        reach = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(size, stride, kernel, dilation, strict=True)]
        more = [max(0, r - n - 2 * p) for r, n, p in zip(reach, x.shape[2:], padding, strict=True)]
        x = F.pad(x, (padding[1], padding[1] + more[1], padding[0], padding[0] + more[0]))
        padding = (0, 0)
    weight = x.new_ones(x.shape[1], 1, *kernel)
    return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])


def twin(module: nn.Module) -> nn.Module:
    """The network in which nothing cancels."""
    module = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            each = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.fill_(1 / each if parameter.ndim > 1 else 0.01)
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.running_mean.zero_()
                part.running_var.fill_(1)
                part.weight.fill_(1)
    return module


class Oracle:
    """Boxes of the units of a network, by the support of their gradients."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        x = torch.rand(1, *shape[1:], dtype=torch.double) + 0.5
        with Averages():
            self.trace = nv.Network(twin(module), size=shape[2:]).trace(x)

    def box(self, layer: str, row: int, column: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of what the unit sees."""
        last = self.trace.network.is_channels_last(layer)

        def unit(trace: nv.Trace) -> Tensor:
            output = trace[layer]
            output = output.movedim(-1, 1) if last else output
            return output[:, :, row, column].sum() if output.ndim == 4 else output.sum()

        seen = self.trace.gradient(unit).abs().sum((0, 1)) > 0
        rows, columns = (seen.any(axis).nonzero().flatten() for axis in (1, 0))
        if not len(rows):
            return 0, 0, 0, 0
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def places(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Corners, edges and the middle of a map, and places one from the border."""
    rows, columns = (sorted({0, min(1, n - 1), n // 2, n - 1}) for n in shape)
    return [(row, column) for row in rows for column in columns if row in (0, shape[0] // 2) or column == columns[-1]]
