"""What a network says of a picture once it is a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import ImageError, NbcnnvizError
from nbcnnviz.core.network import Network
from nbcnnviz.core.targets import Target


@dataclass(frozen=True, eq=False)
class Saved:
    """What the network says of pictures that were saved and loaded again.

    Attributes
    ----------
    logits : Tensor
        The class scores (N, K).
    scores : tuple[float, ...] or None
        The objective of each picture; None where it has no meaning at the size that the preprocess gives a file.
    """

    logits: Tensor
    scores: tuple[float, ...] | None
    classes: Sequence[str] = field(repr=False)

    @property
    def score(self) -> float | None:
        """The objective; the mean over the pictures if there are several."""
        return None if self.scores is None else sum(self.scores) / len(self.scores)

    @cached_property
    def probabilities(self) -> Tensor:
        """The softmax of the class scores, (N, K)."""
        return self.logits.float().softmax(1)

    def top(self, k: int = 5, picture: int = 0) -> list[tuple[int, str, float]]:
        """The most probable classes: (index, name, probability), best first."""
        values, indices = self.probabilities[picture].topk(min(k, self.probabilities.shape[1]))
        return [(i, self.classes[i], p) for i, p in zip(indices.tolist(), values.tolist(), strict=True)]

    @property
    def words(self) -> str:
        """The objective, and of one picture alone the most probable class."""
        parts = [] if self.score is None else [f"{self.score:.4g}"]
        if len(self.logits) == 1:
            _, name, probability = self.top(1)[0]
            parts.append(f"{name} {probability:.0%}")
        return ", ".join(parts) or "no score"


def saved_as(pictures: Sequence[Image.Image], net: Network, objective: Target) -> Saved | None:
    """What the network says of pictures as `Network.trace` loads them; None if it takes no pictures."""
    try:
        x = net.batch(list(pictures))
    except ImageError:
        return None
    scores = None
    with torch.inference_mode(False), torch.enable_grad():
        trace = net.tracer(objective.layers)(x)
        with suppress(NbcnnvizError):
            scores = tuple(objective(trace).detach().tolist())
    return Saved(trace.scores.detach(), scores, net.classes)
