"""What tells one state of a network's weights from another."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor, nn

_SAMPLES = 64  # numbers of each tensor


def weights_state(module: nn.Module) -> Hashable:
    """A value that differs once parameters or buffers were written to, or others put in their place.

    Torch counts the writes, but not those through ``.data``; for these, some numbers of each tensor, evenly spaced, are
    compared too: what changes none of them goes unnoticed. Costs some microseconds a tensor, and one copy from the device.
    """
    tensors = [*module.parameters(), *module.buffers()]
    counts = tuple((id(t), 0 if t.is_inference() else t._version) for t in tensors)
    with torch.no_grad():
        samples = [_samples(t) for t in tensors if t.numel() and t.layout is torch.strided and not t.is_quantized]
        groups: dict[torch.device, list[Tensor]] = {}
        for sample in samples:
            groups.setdefault(sample.device, []).append(sample)
        numbers = tuple(torch.cat(group).cpu().numpy().tobytes() for group in groups.values())
    return counts, numbers


def _samples(tensor: Tensor) -> Tensor:
    flat = tensor.detach().reshape(-1)[:: max(1, tensor.numel() // _SAMPLES)]
    flat = torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat
    return flat.float() if flat.device.type == "mps" else flat.double()  # which has no doubles
