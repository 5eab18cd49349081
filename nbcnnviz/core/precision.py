"""Float32 that is float32: on a GPU torch computes convolutions in TF32 unless told otherwise.

TF32 keeps ten bits of a number's fraction (NVIDIA A100 and later). Scores then differ in the third digit, but a gradient
at the input by a quarter of its largest value, and integrated gradients by more: a rectifier whose input is near zero
answers otherwise. So passes whose maps are read as numbers are run without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

_WITH_TF32 = ("cuda",)


def full_float32(device: torch.device, wanted: bool = True) -> AbstractContextManager[None]:
    """Within it, convolutions on a GPU are computed in float32; torch's setting is as before when the last one leaves.

    That of matrix products is the user's: torch's default for them is float32. On other devices it does nothing.

    Parameters
    ----------
    device
        Where the pass runs.
    wanted
        Whether to do so at all.
    """
    return _WITHOUT_TF32 if wanted and device.type in _WITH_TF32 else nullcontext()


class _WithoutTF32:
    """A context for all threads: torch's setting is the whole process's, and so is the count of those within."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._set_back: Callable[[], None] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._set_back = _switched_off()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._set_back is not None:
                self._set_back()
                self._set_back = None


_WITHOUT_TF32 = _WithoutTF32()


def _switched_off() -> Callable[[], None] | None:
    """Switches TF32 off for convolutions; what sets it back, None where it was off."""
    cudnn: Any = torch.backends.cudnn
    if not _on():
        return None
    try:
        legacy = bool(cudnn.allow_tf32)
    except RuntimeError:  # it was set by operation, and torch refuses to tell it in one word
        legacy = False
    if legacy:
        cudnn.allow_tf32 = False
        if not _on():
            return lambda: setattr(cudnn, "allow_tf32", True)
        cudnn.allow_tf32 = True  # it follows a setting for all operations
    before = cudnn.conv.fp32_precision
    cudnn.conv.fp32_precision = "ieee"
    return lambda: setattr(cudnn.conv, "fp32_precision", before)


def _on() -> bool:
    """Whether convolutions are computed in TF32."""
    conv = getattr(torch.backends.cudnn, "conv", None)  # from torch 2.9 on
    return bool(torch.backends.cudnn.allow_tf32) if conv is None else conv.fp32_precision == "tf32"
