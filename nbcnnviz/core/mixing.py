"""Whether a network looks at one picture of a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.core.precision import full_float32
from nbcnnviz.core.recording import Recording


def mixes_pictures(recording: Recording) -> bool | None:
    """Whether the scores of the first picture have a gradient at the others; None where that cannot be told."""
    first = first_tensor(recording.output)
    if first is None or not first.requires_grad or len(first) != len(recording.input):
        return None
    with torch.inference_mode(False), full_float32(first.device), suppress(RuntimeError):
        (gradient,) = torch.autograd.grad(first[0].sum(), recording.input, retain_graph=True, allow_unused=True)
        if gradient is not None:
            own, others = gradient[0].abs().max(), gradient[1:].abs().max()
            return bool(others > torch.finfo(gradient.dtype).eps ** 0.5 * own)
    return None


def first_tensor(output: Any) -> Tensor | None:
    """The first floating-point tensor in what a module returned: itself, or in a tuple, list or mapping; None if none."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((found for part in parts if (found := first_tensor(part)) is not None), None)
