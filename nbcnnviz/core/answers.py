"""What a network says of the pictures of a trace: scores, probabilities, the best classes, maps of classes, boxes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nbcnnviz.core.dense import Box, Detection, Segmentation
from nbcnnviz.core.errors import FilterRangeError, GradientError, MethodNotApplicableError
from nbcnnviz.core.targets import whole_number

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network


class Answers:
    """The part of a trace that is about the network's output."""

    network: Network
    input: Tensor
    output: Any
    layers: tuple[str, ...]
    _scores: Tensor | None

    def __len__(self) -> int:
        """How many pictures the batch has."""
        return len(self.input)

    @property
    def whole(self) -> bool:
        """Whether the pass ran to its end, so that there are scores."""
        return self._scores is not None

    @property
    def scores(self) -> Tensor:
        """The scores (N, K), part of the graph: logits, before any softmax or sigmoid; see `Network.head`.

        Raises
        ------
        GradientError
            If the pass was made to stop at a layer before them.
        """
        if self._scores is None:
            raise GradientError(
                f"This forward pass stopped at layer {self.layers[-1]!r}, before the class scores: let it run to its end."
            )
        return self._scores

    @cached_property
    def class_scores(self) -> Tensor:
        """The score of each class, (N, C), part of the graph: `scores`, but for one logit, which speaks for two classes."""
        return self.network.head.class_scores(self.scores)

    @cached_property
    def probabilities(self) -> Tensor:
        """The probability of each class, (N, C), as the network has it: by the softmax or the sigmoid of its logits.

        Raises
        ------
        MethodNotApplicableError
            If the network returns values or an embedding.
        """
        return self.network.head.probabilities(self.scores)

    @cached_property
    def log_probabilities(self) -> Tensor:
        """The natural logarithm of `probabilities`, (N, C), exact where they are small."""
        return self.network.head.log_probabilities(self.scores)

    @property
    def best(self) -> list[int]:
        """The index of each picture's best class; of a segmentation, the class with the largest share of the picture.

        Raises
        ------
        MethodNotApplicableError
            If no class is better than another, since the network returns values or an embedding.
        """
        return self.network.head.best(self.scores.detach(), self.output).tolist()

    def top(self, k: int = 5, picture: int = 0) -> list[tuple[int, str, float]]:
        """The ``k`` most probable classes of one picture of the batch: (index, name, probability), best first.

        Of a binary network of which one class has a name, or none, that class comes first. Of a regression network: the
        values in their order. Of an embedding: none. Of a segmentation: the classes with the largest share of the picture,
        and that share. Of a detection network: the classes with the best boxes, and the best's score.
        """
        k = whole_number("The number of classes", k, at_least=1)
        picture = whole_number("A picture of the batch", picture)
        if not -len(self) <= picture < len(self):
            raise FilterRangeError(f"The trace has {len(self)} pictures, 0 to {len(self) - 1}: there is no {picture}.")
        head, names = self.network.head, self.network.classes
        return [(i, names[i], p) for i, p in head.top(self.scores.detach(), k, picture, self.output)]

    @property
    def score_maps(self) -> Tensor:
        """A segmentation network's class scores at each place, (N, K, h, w), part of the graph.

        Raises
        ------
        MethodNotApplicableError
            If the network is none.
        """
        return self._segmentation.maps(self.output)

    @property
    def labels(self) -> Tensor:
        """The class that a segmentation network predicts for each place, (N, h, w); -1 where none is likelier than not.

        Raises
        ------
        MethodNotApplicableError
            If the network is none.
        """
        return self._segmentation.labels(self.output)

    @property
    def _segmentation(self) -> Segmentation:
        head = self.network.head
        if not isinstance(head, Segmentation) or not self.whole:
            raise MethodNotApplicableError(
                f"{self.network.name} returns no maps of class scores: it is no segmentation."
            )
        return head

    @property
    def detections(self) -> list[Mapping[str, Tensor]]:
        """What a detection network found, part of the graph: for each picture its boxes, labels and scores.

        Raises
        ------
        MethodNotApplicableError
            If the network is none.
        """
        return self._detection.detections(self.output, len(self))

    def boxes(self, picture: int = 0) -> list[Box]:
        """The boxes that a detection network found in a picture of the batch, in its order.

        Raises
        ------
        MethodNotApplicableError
            If the network is none.
        """
        return self._detection.boxes(self.output, len(self), self.network.classes)[picture]

    @property
    def _detection(self) -> Detection:
        head = self.network.head
        if not isinstance(head, Detection) or not self.whole:
            raise MethodNotApplicableError(f"{self.network.name} returns no boxes: it is no detection network.")
        return head
