"""What a network says of a picture once it is a file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import ImageError, MethodNotApplicableError, NbcnnvizError
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
    network: Network = field(repr=False)

    @property
    def score(self) -> float | None:
        """The objective; the mean over the pictures if there are several."""
        return None if self.scores is None else sum(self.scores) / len(self.scores)

    @cached_property
    def probabilities(self) -> Tensor | None:
        """The probability of each class, (N, C); None where the network's scores have none."""
        return probabilities_of(self.network, self.logits)

    def top(self, k: int = 5, picture: int = 0) -> list[tuple[int, str, float]]:
        """The most probable classes, as `Trace.top`: (index, name, probability), best first."""
        return top_of(self.network, self.logits, k, picture)

    @property
    def words(self) -> str:
        """The objective, and of one picture alone the most probable class."""
        parts = [] if self.score is None else [f"{self.score:.4g}"]
        if len(self.logits) == 1:
            parts += [f"{name} {_shown(self.network, value)}" for _, name, value in self.top(1)]
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
    return Saved(trace.scores.detach(), scores, net)


def probabilities_of(net: Network, scores: Tensor) -> Tensor | None:
    """The probabilities (N, C) that a network's scores (N, K) stand for; None for values and embeddings."""
    try:
        return net.head.probabilities(scores.float())
    except MethodNotApplicableError:
        return None


def top_of(net: Network, scores: Tensor, k: int, picture: int) -> list[tuple[int, str, float]]:
    """The most probable classes of one row of scores: (index, name, probability), best first."""
    return [(index, net.classes[index], value) for index, value in net.head.top(scores.float(), k, picture)]


def best_of(net: Network, scores: Tensor, picture: int) -> tuple[int, str, float] | None:
    """The class that one row of scores predicts: (index, name, probability); None where it predicts none."""
    row = scores[picture][None].float()
    with suppress(MethodNotApplicableError):  # values and embeddings; a detector may find no box
        index = int(net.head.best(row))
        return index, net.classes[index], float(net.head.probabilities(row)[0, index])
    return None


def _shown(net: Network, value: float) -> str:
    return f"{value:.0%}" if probabilities_of(net, torch.zeros(1, net.head.count)) is not None else net.head.text(value)
