"""What can be asked of a batch: its diversity, and of each picture something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.grids import maps_of
from nbcnnviz.core.targets.base import Target, _Composed, layer_named

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.trace import Trace


@dataclass(frozen=True, repr=False)
class Diversity(Target):
    """How unlike one another the pictures of a batch are: minus the mean cosine similarity of their Gram matrices.

    A picture's Gram matrix holds the inner products of a layer's channels over space: its textures, wherever they are
    (Olah et al. 2017). Zero for one picture alone.
    """

    layer: str

    def __post_init__(self) -> None:
        layer_named(self.layer)

    @property
    def layers(self) -> frozenset[str] | None:
        """The layer."""
        return frozenset({self.layer})

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        maps = maps_of(trace, self.layer).flatten(2)
        if maps.ndim != 3:
            raise MethodNotApplicableError(
                f"Diversity needs a layer that returns maps, and {self.layer!r} returns shape "
                f"{tuple(trace[self.layer].shape)}."
            )
        grams = torch.nn.functional.normalize((maps @ maps.transpose(1, 2)).flatten(1), dim=1)
        alike = grams @ grams.T
        return -(alike.sum(1) - alike.diagonal()) / max(1, len(alike) - 1)

    def mixes(self, trace: Trace) -> bool:
        """Where there are others."""
        return len(trace) > 1

    def __repr__(self) -> str:
        return f"nv.Diversity({self.layer!r})"

    def describe(self, network: Network) -> str:
        """Of which layer."""
        return f"diversity of {self.layer}"


@dataclass(frozen=True, repr=False)
class Each(_Composed):
    """The first target for the first picture of the batch, the second for the second, and so on; in synthesis, a gallery.

    A list of targets does the same wherever a target is asked for.
    """

    targets: tuple[Target, ...]

    def __init__(self, targets: Sequence[Any]) -> None:
        from nbcnnviz.core.targets.asked import as_target

        object.__setattr__(self, "targets", tuple(as_target(target) for target in targets))

    @property
    def parts(self) -> tuple[Target, ...]:
        """The targets."""
        return self.targets

    @property
    def pictures(self) -> int | None:
        """One for each target."""
        return len(self.targets)

    def mixes(self, trace: Trace) -> bool:
        """Never: each target is asked of its picture alone."""
        return False

    def pinned(self, trace: Trace) -> Target:
        """See `Target.pinned`."""
        if len(trace.input) != len(self.targets):
            return self
        return Each([t.pinned(OnePicture(trace, i)) for i, t in enumerate(self.targets)])  # type: ignore[arg-type]

    def of_picture(self, picture: int) -> Target:
        """That picture's target."""
        return self.targets[picture]

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        if len(trace.input) != len(self.targets):
            raise MethodNotApplicableError(
                f"{len(self.targets)} targets, one a picture, and {len(trace.input)} pictures."
            )
        return torch.cat([target(OnePicture(trace, i)) for i, target in enumerate(self.targets)])  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"nv.Each([{', '.join(map(repr, self.targets))}])"

    def describe(self, network: Network) -> str:
        """The targets in words."""
        return ", ".join(target.describe(network) for target in self.targets)


def one_by_one(target: Target, trace: Trace) -> Tensor:
    """The scores, (N,), that the pictures of a pass have each by itself, whatever else is in the batch."""
    scores = target.unmixed(trace)
    if scores is not None:
        return scores
    return torch.cat([target(OnePicture(trace, i)) for i in range(len(trace))])  # type: ignore[arg-type]


class OnePicture:
    """One picture of a trace, or ``count`` that follow one another, as a target looks at them."""

    def __init__(self, trace: Trace, index: int, count: int = 1) -> None:
        self._trace, self._at = trace, slice(index, index + count)
        self.network = trace.network

    def __getitem__(self, layer: str) -> Tensor:
        return self._trace[layer][self._at]

    def __len__(self) -> int:
        return len(self.input)

    @property
    def input(self) -> Tensor:
        """The preprocessed picture (1, C, H, W)."""
        return self._trace.input[self._at]

    @property
    def scores(self) -> Tensor:
        """Its class scores (1, K)."""
        return self._trace.scores[self._at]

    @property
    def class_scores(self) -> Tensor:
        """The score of each class (1, C)."""
        return self._trace.class_scores[self._at]

    @property
    def probabilities(self) -> Tensor:
        """The probability of each class, (1, C)."""
        return self._trace.probabilities[self._at]

    @property
    def log_probabilities(self) -> Tensor:
        """The logarithm of each class's probability, (1, C)."""
        return self._trace.log_probabilities[self._at]

    @property
    def score_maps(self) -> Tensor:
        """Its class scores at each place, (1, K, h, w)."""
        return self._trace.score_maps[self._at]

    @property
    def labels(self) -> Tensor:
        """The class predicted for each place, (1, h, w)."""
        return self._trace.labels[self._at]

    @property
    def detections(self) -> list[Mapping[str, Tensor]]:
        """What a detection network found in it."""
        return self._trace.detections[self._at]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self._trace.size
