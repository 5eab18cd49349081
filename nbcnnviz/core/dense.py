"""Networks that say more of a picture than one row of scores: a class for each place, or boxes with a class each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbcnnviz.core.errors import MethodNotApplicableError, NetworkError
from nbcnnviz.core.heads import Classes, Head, main_output


@dataclass(frozen=True)
class Segmentation(Head):
    """Maps of class scores, (N, K, h, w): at each place one score for each class.

    The scores (N, K) of a picture are the means of its maps, over all places.
    """

    kind: ClassVar[str] = "segmentation"

    @property
    def note(self) -> str:
        """See `Head.note`."""
        behind = super().note
        return "scores for each place" + (f"; {behind}" if behind else "")

    @property
    def independent(self) -> bool:
        """Whether a place may be of several classes, or of none: one map alone, or each with a sigmoid of its own."""
        return self.count == 1 or self.behind == "sigmoid"

    def maps(self, output: Any) -> Tensor:
        """The maps of class scores, (N, K, h, w), in what the network returned."""
        maps = maps_in(output)
        if maps is None:
            raise NetworkError("This segmentation network returned no maps (N, K, h, w) for this input.")
        return maps

    def scores(self, output: Any, pictures: int) -> Tensor:
        """The mean of each class's map, (N, K)."""
        maps = self.maps(output)
        if len(maps) != pictures:
            raise NetworkError(f"This module returns maps for {len(maps)} pictures of {pictures}.")
        return maps.flatten(2).mean(2)

    def labels(self, output: Any) -> Tensor:
        """The class of each place, (N, h, w); -1 where none is likelier than not."""
        maps = self.maps(output).detach()
        best, labels = maps.max(1)
        return labels.masked_fill(best <= 0, -1) if self.independent else labels

    def probabilities(self, scores: Tensor) -> Tensor:
        """The softmax of the mean scores, (N, K), or their sigmoid where classes are independent."""
        return scores.sigmoid() if self.independent else scores.softmax(1)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.log_probabilities`."""
        return F.logsigmoid(scores) if self.independent else scores.log_softmax(1)

    def top(self, scores: Tensor, k: int, picture: int = 0, output: Any = None) -> list[tuple[int, float]]:
        """The ``k`` classes with the largest share of the picture, (index, share of its places), largest first."""
        if output is None:
            return super().top(scores, k, picture)
        largest, indices = self._shares(output)[picture].topk(min(k, self.count))
        return list(zip(indices.tolist(), largest.tolist(), strict=True))

    def best(self, scores: Tensor, output: Any = None) -> Tensor:
        """The class with the largest share of each picture, (N,)."""
        return super().best(scores) if output is None else self._shares(output).argmax(1)

    def _shares(self, output: Any) -> Tensor:
        maps = self.maps(output).detach()
        if self.independent:
            return (maps > 0).float().mean((2, 3))
        labels = maps.argmax(1).flatten(1)
        counts = torch.zeros(maps.shape[:2], device=maps.device)
        return counts.scatter_add_(1, labels, torch.ones_like(labels, dtype=counts.dtype)) / labels.shape[1]


@dataclass(frozen=True)
class Box:
    """A box that a detection network found.

    Attributes
    ----------
    index
        Its place in the network's list.
    label, name
        The class, by index and name.
    score
        How sure the network is, in [0, 1].
    corners
        Left, top, right and bottom, in pixels of the network's input.
    """

    index: int
    label: int
    name: str
    score: float
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection(Head):
    """Boxes with a class and a score each, as torchvision's detection networks return them.

    That is a list with a dictionary for each picture: ``"boxes"`` (B, 4), left, top, right and bottom in pixels of the
    input; ``"labels"`` (B,), indices of classes; ``"scores"`` (B,) in [0, 1]. A network that returns something else
    becomes one by a module around it that returns this. A picture's scores (N, K) are, for each class, that of its
    best box, and 0 where it has none.
    """

    kind: ClassVar[str] = "detection"

    @property
    def note(self) -> str:
        """See `Head.note`."""
        return "returns boxes: of each class the best one's score is explained"

    def detections(self, output: Any, pictures: int) -> list[Mapping[str, Tensor]]:
        """A dictionary of boxes, labels and scores for each picture, in what the network returned."""
        if not are_detections(output) or len(output) != pictures:
            raise NetworkError(
                "This detection network did not return a list with a dictionary of boxes, labels and scores for each "
                f"of {pictures} pictures."
            )
        return list(output)

    def scores(self, output: Any, pictures: int) -> Tensor:
        """Of each class the best box's score, (N, K); 0 where there is none."""
        rows = []
        for found in self.detections(output, pictures):
            labels, scores = found["labels"].long(), found["scores"]
            if labels.numel() and int(labels.max()) >= self.count:
                raise NetworkError(
                    f"This network found a box of class {int(labels.max())}, and has {self.count} classes: give all their "
                    "names, nbcnnviz.Network(..., classes=...)."
                )
            rows.append(self._best_of_each(labels, scores))
        return torch.stack(rows)

    def _best_of_each(self, labels: Tensor, scores: Tensor) -> Tensor:
        if not labels.numel():
            return scores.new_zeros(self.count)
        of_class = labels == torch.arange(self.count, device=labels.device)[:, None]
        best = scores.detach().expand(self.count, -1).masked_fill(~of_class, -1).argmax(1)
        return scores[best] * of_class.any(1)

    def boxes(self, output: Any, pictures: int, names: Sequence[str]) -> list[list[Box]]:
        """The boxes of each picture, in the network's order."""
        found = []
        for one in self.detections(output, pictures):
            parts = (one[part].detach().tolist() for part in ("labels", "scores", "boxes"))
            found.append(
                [Box(i, la, names[la], sc, tuple(co)) for i, (la, sc, co) in enumerate(zip(*parts, strict=True))]
            )
        return found

    def probabilities(self, scores: Tensor) -> Tensor:
        """The scores, (N, K): they are probabilities."""
        return scores

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.log_probabilities`."""
        return scores.log()

    def top(self, scores: Tensor, k: int, picture: int = 0, output: Any = None) -> list[tuple[int, float]]:
        """The ``k`` classes of which there are the best boxes, (index, score of the best), best first."""
        return [(index, score) for index, score in super().top(scores, k, picture) if score > 0]

    def best(self, scores: Tensor, output: Any = None) -> Tensor:
        """The class of each picture's best box, (N,)."""
        if not bool((scores > 0).any(1).all()):
            raise MethodNotApplicableError("The network found no box in a picture: there is nothing to explain there.")
        return super().best(scores)


def maps_in(output: Any) -> Tensor | None:
    """The maps (N, K, h, w) of more than one place in what a module returned; None if there are none."""
    maps = main_output(output)
    found = isinstance(maps, Tensor) and maps.ndim == 4 and maps.is_floating_point() and maps.shape[2:].numel() > 1
    return maps if found else None


def are_detections(output: Any) -> bool:
    """Whether a module returned a list of dictionaries with boxes, labels and scores."""
    return (
        isinstance(output, (list, tuple))
        and len(output) > 0
        and all(isinstance(found, Mapping) and {"boxes", "labels", "scores"} <= found.keys() for found in output)
    )


def class_count(module: nn.Module, classes: Classes | None) -> int:
    """How many classes a detection network has: as many as names are given, or as its last layers say."""
    if classes is not None:
        return max(map(int, classes)) + 1 if isinstance(classes, Mapping) else len(classes)
    for part in reversed(list(module.modules())):
        scores = getattr(part, "cls_score", None)
        for count in (
            scores.out_features if isinstance(scores, nn.Linear) else None,
            getattr(part, "num_classes", None),
        ):
            if isinstance(count, int):
                return count
        if part.__class__.__name__.endswith("ClassificationHead") and isinstance(
            getattr(part, "num_columns", None), int
        ):
            return int(part.num_columns)  # type: ignore[arg-type]  # torchvision's SSD
    raise NetworkError(
        "How many classes this detection network has is not to be seen: give their names, nbcnnviz.Network(..., "
        "classes=[...]), label 0 first."
    )
