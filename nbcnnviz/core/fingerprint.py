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
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        if tensor.numel() and tensor.layout is torch.strided and not tensor.is_quantized:
            groups.setdefault((tensor.device, tensor.dtype), []).append(tensor)
    with torch.no_grad():
        numbers = tuple(_bytes(torch.cat([_samples(t) for t in group])) for group in groups.values())
    return counts, numbers


def _samples(tensor: Tensor) -> Tensor:
    size = tensor.numel()
    step = max(1, size // _SAMPLES)
    dense = tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    if dense and not tensor.is_conj() and not tensor.is_neg():  # evenly spaced in memory, in one operation
        return torch.as_strided(tensor, (-(-size // step),), (step,), tensor.storage_offset())
    return tensor.reshape(-1)[::step]


def _bytes(numbers: Tensor) -> bytes:
    return numbers.resolve_conj().resolve_neg().cpu().contiguous().view(torch.uint8).numpy().tobytes()
