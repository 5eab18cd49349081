"""What a network's output means: logits, one logit, independent ones, values, an embedding; found by numbers, or told.

Whatever the kind, a network has scores (N, K), as it returns them, and a score for each of its classes (N, C), which is
what a class as a target explains. The two differ where one logit speaks for two classes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.core.errors import MethodNotApplicableError, NetworkError

Classes = Sequence[str] | Mapping[int, str]
Read = Callable[[Any, int], Tensor]  # takes the scores (N, K) out of what a network returned for N pictures

_NO_SCORES = (
    "a classifier of pictures returns scores, a floating-point tensor of shape (N, classes). Wrap the module in one that "
    "returns the scores to be explained"
)


@dataclass(frozen=True)
class Head:
    """Unnormalised scores of classes that exclude one another: logits, whose softmax is the classes' probability.

    Attributes
    ----------
    kind : str
        ``"logits"``, ``"probabilities"``, ``"binary"``, ``"multilabel"``, ``"regression"``, ``"embedding"``,
        ``"segmentation"`` or ``"detection"``.
    count
        How many scores the network returns for a picture.
    behind
        The function that the network ends in and that is left out, so that the scores are what it is applied to:
        ``"softmax"``, ``"log_softmax"`` or ``"sigmoid"``; None where there is none.
    unit
        What a value is counted in; "" where there is no unit.
    """

    count: int
    behind: str | None = None
    unit: str = ""

    kind: ClassVar[str] = "logits"

    @property
    def note(self) -> str:
        """What is to be known of the scores, in words; "" for plain logits."""
        return f"ends in {self.behind}: the logits before it are explained" if self.behind else ""

    def names(self, given: Classes | None) -> list[str]:
        """The class names, in order: those ``given`` by position or by index, else ``"class 0"``, ``"class 1"`` ..."""
        return _named(given, self._default_names())

    def _default_names(self) -> list[str]:
        return [f"class {i}" for i in range(self.count)]

    def scores(self, output: Any, pictures: int) -> Tensor:
        """The scores (N, K) in what the network returned for N ``pictures``.

        Raises
        ------
        NetworkError
            If there are none.
        """
        return scores_of(output, pictures)

    def class_scores(self, scores: Tensor) -> Tensor:
        """The score of each class, (N, C), from the network's scores (N, K)."""
        return scores

    def probabilities(self, scores: Tensor) -> Tensor:
        """The probability of each class, (N, C), from the network's scores (N, K).

        Raises
        ------
        MethodNotApplicableError
            If the network returns no scores of classes.
        """
        return scores.softmax(1)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """The natural logarithm of `probabilities`, (N, C), exact where they are small."""
        return scores.log_softmax(1)

    def top(self, scores: Tensor, k: int, picture: int = 0, output: Any = None) -> list[tuple[int, float]]:
        """The ``k`` most probable classes of a picture, (index, probability), best first, from the scores (N, K).

        ``output`` is what the network returned, for kinds that have more there than the scores.
        """
        values = self.probabilities(scores.detach())[picture]
        best, indices = values.topk(min(k, len(values)))
        return list(zip(indices.tolist(), best.tolist(), strict=True))

    def best(self, scores: Tensor, output: Any = None) -> Tensor:
        """The index of each picture's best class, (N,).

        Raises
        ------
        MethodNotApplicableError
            If no class is better than another.
        """
        return self.class_scores(scores).argmax(1)

    def text(self, value: float) -> str:
        """A number of `top` as it is shown: ``"39 %"``, or a value with its unit."""
        return "< 1 %" if 0 < value < 0.01 else f"{value:.0%}".replace("%", " %")


@dataclass(frozen=True)
class Logits(Head):
    """Logits without anything behind them."""


@dataclass(frozen=True)
class Probabilities(Head):
    """Rows that sum to one: the scores are the logits whose softmax they are, where the graph has them.

    Where it has not, the probabilities themselves are the scores, or their logarithms, as the network returns them.

    Attributes
    ----------
    logarithms
        Whether the network returns logarithms of probabilities.
    """

    logarithms: bool = False

    kind: ClassVar[str] = "probabilities"

    @property
    def note(self) -> str:
        """See `Head.note`."""
        what = "log-probabilities" if self.logarithms else "probabilities"
        return super().note or f"returns {what} whose logits are not in the graph: they are explained themselves"

    def probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.probabilities`."""
        if self.behind:
            return scores.softmax(1)
        return scores.exp() if self.logarithms else scores

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.log_probabilities`."""
        if self.behind:
            return scores.log_softmax(1)
        return scores if self.logarithms else scores.log()


@dataclass(frozen=True)
class Binary(Head):
    """One logit, whose sigmoid is the probability of a class, and less than zero for the other one.

    Attributes
    ----------
    own
        The index of the class whose logit it is. Of two class names the second, as labels are 0 and 1; of one name, or
        none, the first, and the other side comes behind it.
    """

    own: int = 0

    kind: ClassVar[str] = "binary"

    @property
    def note(self) -> str:
        """See `Head.note`."""
        return super().note or "one logit: its sigmoid is a probability, and the other class has the rest"

    def _default_names(self) -> list[str]:
        return ["positive", "negative"]

    def names(self, given: Classes | None) -> list[str]:
        """See `Head.names`; the side that has no name is ``"not ..."``."""
        if given is not None and len(given) == 1:
            (only,) = given.values() if isinstance(given, Mapping) else given
            return [str(only), f"not {only}"]
        return super().names(given)

    def class_scores(self, scores: Tensor) -> Tensor:
        """The logit for the class it is of, and its negative for the other, (N, 2)."""
        sides = (scores, -scores) if self.own == 0 else (-scores, scores)
        return torch.cat(sides, 1)

    def probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.probabilities`."""
        return self.class_scores(scores).sigmoid()

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.log_probabilities`."""
        return F.logsigmoid(self.class_scores(scores))

    def top(self, scores: Tensor, k: int, picture: int = 0, output: Any = None) -> list[tuple[int, float]]:
        """Both classes, the likelier first; where only one was named, or none, that one first."""
        values = self.probabilities(scores.detach())[picture].tolist()
        order = [0, 1] if self.own == 0 else sorted([1, 0], key=lambda i: -values[i])
        return [(i, values[i]) for i in order[:k]]


@dataclass(frozen=True)
class Multilabel(Head):
    """Independent logits: the sigmoid of each is the probability of its class, whatever the others are."""

    kind: ClassVar[str] = "multilabel"

    @property
    def note(self) -> str:
        """See `Head.note`."""
        return super().note or "independent logits: the sigmoid of each is its class's probability"

    def probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.probabilities`."""
        return scores.sigmoid()

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.log_probabilities`."""
        return F.logsigmoid(scores)


@dataclass(frozen=True)
class Regression(Head):
    """Values, which are no scores of classes and have no probabilities."""

    kind: ClassVar[str] = "regression"

    @property
    def note(self) -> str:
        """See `Head.note`."""
        return "returns values" + (f" in {self.unit}" if self.unit else "")

    def _default_names(self) -> list[str]:
        return ["value"] if self.count == 1 else [f"value {i}" for i in range(self.count)]

    def probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.probabilities`."""
        raise MethodNotApplicableError("A regression network returns values: they have no probabilities.")

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.log_probabilities`."""
        return self.probabilities(scores)

    def top(self, scores: Tensor, k: int, picture: int = 0, output: Any = None) -> list[tuple[int, float]]:
        """The first ``k`` values, in their order."""
        return list(enumerate(scores[picture, :k].tolist()))

    def best(self, scores: Tensor, output: Any = None) -> Tensor:
        """See `Head.best`."""
        if self.count > 1:
            raise MethodNotApplicableError(
                f"This network returns {self.count} values, and none is better than another: name the one to explain."
            )
        return scores.new_zeros(len(scores), dtype=torch.long)

    def text(self, value: float) -> str:
        """See `Head.text`."""
        return f"{value:.4g}{' ' + self.unit if self.unit else ''}"


@dataclass(frozen=True)
class Embedding(Head):
    """A vector that means something only beside others: what is explained is its similarity to a reference's."""

    kind: ClassVar[str] = "embedding"

    @property
    def note(self) -> str:
        """See `Head.note`."""
        return "returns an embedding: its similarity to a reference is explained"

    def _default_names(self) -> list[str]:
        return [f"dimension {i}" for i in range(self.count)]

    def probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.probabilities`."""
        raise MethodNotApplicableError("An embedding has no classes, and so no probabilities.")

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """See `Head.log_probabilities`."""
        return self.probabilities(scores)

    def top(self, scores: Tensor, k: int, picture: int = 0, output: Any = None) -> list[tuple[int, float]]:
        """None: an embedding has no classes."""
        return []

    def best(self, scores: Tensor, output: Any = None) -> Tensor:
        """See `Head.best`."""
        raise MethodNotApplicableError(
            "An embedding has no best class: say what is to be explained, such as "
            "target=nbcnnviz.Similarity(reference picture), or a dimension's index."
        )

    def text(self, value: float) -> str:
        """See `Head.text`."""
        return f"{value:.4g}"


def scores_of(output: Any, pictures: int) -> Tensor:
    """The scores (N, K) in what a module returned for N ``pictures``; NetworkError if there are none."""
    scores = main_output(output)
    if isinstance(scores, Tensor) and scores.is_floating_point():
        if scores.ndim == 1 and len(scores) == pictures:  # a single score, flattened
            scores = scores[:, None]
        if scores.ndim > 2 and scores.shape[2:].numel() == 1:
            scores = scores.flatten(1)
        if scores.ndim == 2:
            if len(scores) == pictures:
                return scores
            raise NetworkError(
                f"This module returns {_count(len(scores), 'row')} of scores for {_count(pictures, 'picture')}: it must "
                "return one for each."
            )
    what = (
        f"a tensor of shape {tuple(scores.shape)} and type {scores.dtype}"
        if isinstance(scores, Tensor)
        else f"a {type(output).__name__}"
    )
    maps = isinstance(scores, Tensor) and scores.ndim == 4 and scores.is_floating_point()
    told = ", or say scores='segmentation' if it gives a score to each class at each place" if maps else ""
    raise NetworkError(f"This module returns {what}; {_NO_SCORES}{told}.")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def listed(classes: Any) -> Classes | None:
    """Class names as a list or a dictionary; NetworkError for what is neither, or has no order."""
    if classes is None or isinstance(classes, Mapping):
        return classes
    if isinstance(classes, (str, set, frozenset)) or not isinstance(classes, Iterable):
        raise NetworkError(f"Class names are a list, in order, or a dictionary from index to name: not {classes!r}.")
    return list(classes)


def main_output(output: Any) -> Any:
    """What holds the scores in what a module returned: its logits, the first of several tensors, or itself."""
    if isinstance(output, Tensor):
        return output
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, Mapping):
        return next((output[key] for key in ("logits", "scores", "out") if key in output), None)
    if isinstance(output, (tuple, list)) and output:
        return output[0]
    return output


def _named(given: Classes | None, default: list[str]) -> list[str]:
    if given is None:
        return default
    if isinstance(given, Mapping):
        by_index = {_index(i, len(default)): name for i, name in given.items()}
        return [str(by_index.get(i, name)) for i, name in enumerate(default)]
    if len(given) != len(default):
        raise NetworkError(f"{len(given)} class names for a network of {len(default)} scores: give one name a score.")
    return [str(name) for name in given]


def _index(key: Any, count: int) -> int:
    """A key of class names by index; JSON has them as text."""
    with suppress(TypeError, ValueError):
        index = int(key) if isinstance(key, str) else operator.index(key)
        if 0 <= index < count:
            return index
    raise NetworkError(
        f"Class names by index have the indices 0 to {count - 1}, one for each score of the network: not {key!r}."
    )
