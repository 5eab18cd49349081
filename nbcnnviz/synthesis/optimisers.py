"""How a gradient becomes a step uphill. Parameters come and go as new tensors: nothing that was handed out changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor


class Optimiser(Protocol):
    """From parameters and the gradient of the score to better parameters."""

    def __call__(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> list[Tensor]:
        """The parameters after one step."""
        ...


class Ascent:
    """``x + rate g``, as in Caffe's recipe."""

    def __call__(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> list[Tensor]:
        """The parameters after one step."""
        return [p + rate * g for p, g in zip(parameters, gradients, strict=True)]


class NormalisedAscent:
    """``x + rate g / |g|``, each picture's gradient over its own norm: every step is equally long."""

    def __call__(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> list[Tensor]:
        """The parameters after one step; where the gradient is zero they stay."""
        return [p + rate * normalised(g) for p, g in zip(parameters, gradients, strict=True)]


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1): beta 0.9 and 0.999, epsilon 1e-8."""

    def __init__(self) -> None:
        self._steps = 0
        self._moments: list[tuple[Tensor | float, Tensor | float]] = []

    def __call__(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> list[Tensor]:
        """The parameters after one step."""
        self._steps += 1
        before = self._moments or [(0.0, 0.0)] * len(parameters)
        self._moments = [
            (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g) for (m, v), g in zip(before, gradients, strict=True)
        ]
        m_share, v_share = 1 - 0.9**self._steps, 1 - 0.999**self._steps
        return [
            p + (rate / m_share) * m / ((v / v_share) ** 0.5 + 1e-8)
            for p, (m, v) in zip(parameters, self._moments, strict=True)
        ]


OPTIMISERS: dict[str, Callable[[], Optimiser]] = {"ascent": Ascent, "normalised": NormalisedAscent, "adam": Adam}


def normalised(gradient: Tensor) -> Tensor:
    """Each picture's gradient over its Euclidean norm; zero where it is zero."""
    norm: Tensor = gradient.flatten(1).norm(dim=1).view(-1, *[1] * (gradient.ndim - 1))
    return gradient.div(norm.clamp_min(1e-30))
