"""Whether a run's network computes in bfloat16: where that is faster here and leaves the picture as it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nbcnnviz.core.durations import duration
from nbcnnviz.core.errors import UnknownOptionError

PRECISIONS = ("float32", "bfloat16", "auto")
FULL = 16
"""So many first steps are float32 always: they decide what is where, and at the start a picture's contrast is lost in
bfloat16. On the bundled network two pictures of a channel correlate by 0.5 without them, by 0.998 with."""
ALIKE = 0.98
"""The least cosine between the gradients in both precisions. 0.999 is usual; the views of a step change it more."""
FASTER = 0.9
"""The share of a float32 step's time below which bfloat16 is worth it."""
_ROUNDS = 3


@dataclass(frozen=True)
class Chosen:
    """What a run computes in, with the reason in words."""

    bfloat16: bool
    words: str


def checked_precision(precision: str, mixed: bool) -> str:
    """The precision asked for; ``mixed`` is an older way to ask for bfloat16."""
    if precision not in PRECISIONS:
        raise UnknownOptionError(precision, PRECISIONS, f"precision is one of {', '.join(PRECISIONS)}.")
    return "bfloat16" if mixed and precision == "float32" else precision


def choose(precision: str, device: torch.device, gradient: Callable[[bool], Tensor]) -> Chosen:
    """What to compute in.

    Parameters
    ----------
    precision
        What was asked for; ``"auto"`` measures.
    gradient
        The gradient at a picture, in bfloat16 or not: one forward and one backward pass.
    """
    if precision != "auto":
        return Chosen(precision == "bfloat16", precision)
    if not computes_bfloat16(device):
        return Chosen(False, "float32 (auto: this processor does not compute in bfloat16)")
    (full, slow), (half, fast) = (_timed(lambda b=b: gradient(b), device) for b in (False, True))  # type: ignore[misc]
    alike = float(torch.nn.functional.cosine_similarity(full.flatten().double(), half.flatten().double(), dim=0))
    measured = f"{duration(fast)} a step in bfloat16, {duration(slow)} in float32, gradients alike to {alike:.4f}"
    worth = fast < FASTER * slow and alike >= ALIKE
    return Chosen(worth, f"{'bfloat16' if worth else 'float32'} (auto: {measured})")


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for it, so that it can be faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    known: Any = getattr(torch.cpu, "get_capabilities", dict)()
    older = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) or bool(older and older())


def _timed(run: Callable[[], Tensor], device: torch.device) -> tuple[Tensor, float]:
    """What a function returns and the least time it takes, in seconds."""
    found, least = run(), float("inf")  # the first time makes kernels ready
    for _ in range(_ROUNDS):
        _wait(device)
        begun = time.perf_counter()
        found = run()
        _wait(device)
        least = min(least, time.perf_counter() - begun)
    return found, least


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
