"""What can be asked of networks that say more than one row of scores: a class in a region, a box, likeness to a reference."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.core.dense import Segmentation
from nbcnnviz.core.errors import FilterRangeError, MethodNotApplicableError
from nbcnnviz.core.targets.base import Target, whole_number
from nbcnnviz.core.targets.batches import Each
from nbcnnviz.core.targets.kinds import Index, index_of

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.trace import Trace

PREDICTED = "predicted"
Corners = tuple[float, float, float, float]


@dataclass(frozen=True, repr=False, eq=False)
class RegionScore(Target):
    """The mean score of a class over a region of the picture: what a segmentation network says of it there.

    Parameters
    ----------
    index
        The class, by index or name.
    at
        One place, (y, x).
    box
        All within (left, top, right, bottom).
    mask
        (H, W) or (N, H, W), True or 1 where the region is; or ``"predicted"``: where the class is the one predicted, at
        the trace that is explained. Default, if nothing is given: the whole picture.

    Places are pixels of the network's input. Where the maps of scores are smaller than that, a place is the score that
    covers it, a box all that it touches, and a mask counts a score by the share of its pixels.

    Raises
    ------
    FilterRangeError
        If more than one region is given, or it is none.
    """

    index: Index
    at: tuple[int, int] | None = None
    box: Corners | None = None
    mask: Any = None

    def __post_init__(self) -> None:
        index = index_of(self.index)
        if isinstance(index, tuple):
            raise FilterRangeError(f"A region has the score of one class, not of {len(index)}.")
        object.__setattr__(self, "index", index)
        if sum(given is not None for given in (self.at, self.box, self.mask)) > 1:
            raise FilterRangeError("A region is a place, a box or a mask: give one of at=, box= and mask=.")
        if self.at is not None:
            object.__setattr__(
                self, "at", tuple(whole_number("A place's row or column", n) for n in _numbers(self.at, 2))
            )
        if self.box is not None:
            object.__setattr__(self, "box", _box(self.box))
        if self.mask is not None and not (isinstance(self.mask, str) and self.mask == PREDICTED):
            object.__setattr__(self, "mask", _mask(self.mask))

    def of_picture(self, picture: int) -> Target:
        """The same, of the mask of that picture."""
        if isinstance(self.mask, Tensor) and self.mask.ndim == 3 and len(self.mask) > 1:
            return RegionScore(self.index, mask=self.mask[picture])
        return self

    @property
    def classes(self) -> tuple[Index, ...]:
        """The class."""
        return (self.index,)

    @property
    def layers(self) -> frozenset[str] | None:
        """None of the layers."""
        return frozenset()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RegionScore) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[Any, ...]:
        mask = self.mask
        if isinstance(mask, Tensor):
            mask = (tuple(mask.shape), mask.numpy().tobytes())
        return self.index, self.at, self.box, mask

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The mask."""
        return {"mask": "your mask of the region, (H, W)"} if isinstance(self.mask, Tensor) else {}

    def __repr__(self) -> str:
        where = ""
        if self.at is not None:
            where = f", at={self.at}"
        elif self.box is not None:
            where = f", box={self.box}"
        elif self.mask is not None:
            where = f", mask={'mask' if isinstance(self.mask, Tensor) else repr(self.mask)}"
        return f"nv.RegionScore({self.index!r}{where})"

    def describe(self, network: Network) -> str:
        """The class's name, and where."""
        index = network.class_index(self.index)
        where = "over the whole picture"
        if self.at is not None:
            where = f"at row {self.at[0]}, column {self.at[1]}"
        elif self.box is not None:
            where = "in the box " + ", ".join(f"{corner:g}" for corner in self.box)
        elif self.mask is not None:
            where = "in a mask" if isinstance(self.mask, Tensor) else "where it is predicted"
        return f"{network.classes[index]} ({index}) {where}"

    def pinned(self, trace: Trace) -> RegionScore:
        """With the mask that is predicted at this trace, so that other pictures are asked about the same places."""
        if not isinstance(self.mask, str):
            return self
        return RegionScore(self.index, mask=self._predicted(trace))

    def __call__(self, trace: Trace) -> Tensor:
        """The mean of each picture's scores in the region, (N,)."""
        if not isinstance(trace.network.head, Segmentation):
            raise MethodNotApplicableError(
                f"{trace.network.name} gives no score to each place: explain a class of the whole picture, as "
                f"nv.ClassScore({self.index!r})."
            )
        maps = trace.score_maps[:, trace.network.class_index(self.index)]
        weights = self._weights(trace, maps)
        return (maps * weights).sum((1, 2)) / weights.sum((1, 2))

    def _weights(self, trace: Trace, maps: Tensor) -> Tensor:
        """How much each place counts, (N, h, w) or (1, h, w)."""
        (height, width), (rows, columns) = trace.size, maps.shape[1:]
        if self.mask is not None:
            mask = self._predicted(trace) if isinstance(self.mask, str) else self.mask
            mask = mask.to(maps)[:, None]
            weights = mask if mask.shape[2:] == maps.shape[1:] else F.adaptive_avg_pool2d(mask, (rows, columns))
            if len(weights) not in (1, len(maps)):
                raise FilterRangeError(f"There are {len(weights)} masks, one a picture, and {len(maps)} pictures.")
            if not bool(weights.flatten(1).any(1).all()):
                raise FilterRangeError("The mask of a region covers nothing: it must cover one place at least.")
            return weights[:, 0]
        weights = maps.new_zeros((1, rows, columns))
        if self.at is not None:
            y, x = self.at
            if not (-height <= y < height and -width <= x < width):
                raise FilterRangeError(f"The input has {height} x {width} pixels: there is no place {self.at}.")
            weights[:, y % height * rows // height, x % width * columns // width] = 1
        elif self.box is not None:
            left, top, right, bottom = self.box
            if right > width or bottom > height:
                raise FilterRangeError(
                    f"The input is {width} wide and {height} high: the box {self.box} reaches beyond it."
                )
            within = slice(*_cells(top, bottom, rows / height)), slice(*_cells(left, right, columns / width))
            weights[:, within[0], within[1]] = 1
        else:
            weights += 1
        return weights

    def _predicted(self, trace: Trace) -> Tensor:
        mask = trace.labels == trace.network.class_index(self.index)
        if not bool(mask.flatten(1).any(1).all()):
            raise MethodNotApplicableError(
                f"The network predicts {trace.network.classes[trace.network.class_index(self.index)]!r} nowhere in a picture: "
                "explain it over the whole picture, or in a box."
            )
        return F.interpolate(mask[:, None].float(), trace.size)[:, 0].bool().cpu()


def _cells(start: float, stop: float, scale: float) -> tuple[int, int]:
    """The cells that an interval touches."""
    return int(start * scale + 1e-6), max(int(start * scale + 1e-6) + 1, int(np.ceil(stop * scale - 1e-6)))


def _numbers(what: Any, count: int) -> list[Any]:
    numbers = list(what) if isinstance(what, (tuple, list, np.ndarray, Tensor)) else []
    if len(numbers) != count:
        raise FilterRangeError(
            f"A {'place is (row, column)' if count == 2 else 'box is (left, top, right, bottom)'}, not {what!r}."
        )
    return numbers


def _box(what: Any) -> Corners:
    try:
        left, top, right, bottom = (float(n) for n in _numbers(what, 4))
    except (TypeError, ValueError):
        raise FilterRangeError(f"A box is four numbers, left, top, right, bottom: not {what!r}.") from None
    if not (0 <= left < right and 0 <= top < bottom):
        raise FilterRangeError(f"A box is left of right and top above bottom, none of them negative: not {what!r}.")
    return tuple(int(n) if n == int(n) else n for n in (left, top, right, bottom))  # type: ignore[return-value]


def _mask(what: Any) -> Tensor:
    try:
        mask = torch.as_tensor(what).detach().cpu().float()
    except (TypeError, ValueError, RuntimeError):
        raise FilterRangeError(f"A mask is an array (H, W), or {PREDICTED!r}: not {what!r}.") from None
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.ndim != 3 or not bool((mask >= 0).all()) or not bool((mask > 0).any()):
        raise FilterRangeError(
            f"A mask is (H, W) or (N, H, W) and covers something: shape {tuple(mask.shape)} does not."
        )
    return mask


@dataclass(frozen=True, repr=False)
class BoxScore(Target):
    """How sure a detection network is of a box.

    Parameters
    ----------
    box
        The index of a box in the network's own list at the trace that is explained (0, for torchvision's networks the one
        that it is surest of); or (left, top, right, bottom) in pixels of the input.
    label
        The class, by index or name; None for any.

    Of a box given by its corners, and in every other pass (a masked picture's, say), the score is that of the box found
    there that is most like it: the largest product of its score and of the intersection over union of the two boxes, as
    in D-RISE (Petsiuk et al. 2021, equation 3, with the class's own score). It is 0 where none overlaps. Gradients are
    those of the score, not of where the box is.
    """

    box: int | Corners = 0
    label: Index | None = None

    def __post_init__(self) -> None:
        if isinstance(self.box, (tuple, list, np.ndarray, Tensor)):
            object.__setattr__(self, "box", _box(self.box))
        else:
            object.__setattr__(self, "box", whole_number("A box", self.box))
        if self.label is not None:
            label = index_of(self.label)
            if isinstance(label, tuple):
                raise FilterRangeError(f"A box is of one class, not of {len(label)}.")
            object.__setattr__(self, "label", label)

    @property
    def classes(self) -> tuple[Index, ...]:
        """The class, if it is given."""
        return () if self.label is None else (self.label,)

    @property
    def layers(self) -> frozenset[str] | None:
        """None of the layers."""
        return frozenset()

    @property
    def whole(self) -> bool:
        """The boxes come at the end of the pass."""
        return True

    def __repr__(self) -> str:
        return f"nv.BoxScore({self.box!r}{'' if self.label is None else f', {self.label!r}'})"

    def describe(self, network: Network) -> str:
        """The class's name, and the box."""
        corners = "" if isinstance(self.box, int) else f" {', '.join(f'{corner:.0f}' for corner in self.box)}"
        box = f"box {self.box}" if isinstance(self.box, int) else f"the box{corners}"
        if self.label is None:
            return box
        index = network.class_index(self.label)
        return f"{network.classes[index]} ({index}) in {box}"

    def pinned(self, trace: Trace) -> Target:
        """By its corners and class, so that other passes are asked about the same box."""
        if not isinstance(self.box, int):
            return self
        pinned = []
        for found in trace.detections:
            index = self._within(len(found["scores"]))
            pinned.append(BoxScore(tuple(found["boxes"][index].tolist()), int(found["labels"][index])))
        return pinned[0] if len(pinned) == 1 else Each(pinned)

    def __call__(self, trace: Trace) -> Tensor:
        """The score for each picture, (N,)."""
        label = None if self.label is None else trace.network.class_index(self.label)
        return torch.stack([self._score(found, label) for found in trace.detections])

    def _score(self, found: Mapping[str, Tensor], label: int | None) -> Tensor:
        scores = found["scores"]
        if isinstance(self.box, int):
            return scores[self._within(len(scores))]
        from torchvision.ops import box_iou

        # Of a pass without a box, nothing depends on the picture.
        likeness = box_iou(found["boxes"].detach(), found["boxes"].new_tensor([self.box]))[:, 0]
        if label is not None:
            likeness = likeness * (found["labels"] == label)
        if not bool((likeness > 0).any()):
            return scores.sum() * 0
        best = (likeness * scores.detach()).argmax()
        score: Tensor = likeness[best] * scores[best]
        return score

    def _within(self, count: int) -> int:
        assert isinstance(self.box, int)
        if not -count <= self.box < count:
            boxes = f"boxes 0 to {count - 1}" if count else "no box"
            raise FilterRangeError(f"The network found {boxes} in this picture: there is no {self.box}.")
        return self.box


@dataclass(frozen=True, repr=False, eq=False)
class Similarity(Target):
    """The cosine similarity of what a network returns, an embedding, to a reference.

    Parameters
    ----------
    reference
        A picture, as `nbcnnviz.load_image` takes it, or a preprocessed (1, C, H, W) tensor, which the network embeds
        once; or an embedding, (K,) or (1, K).
    """

    reference: Any
    _last: tuple[weakref.ref[Network], list[tuple[int, int]], Tensor] | None = field(default=None, init=False)

    @property
    def layers(self) -> frozenset[str] | None:
        """None of the layers."""
        return frozenset()

    @property
    def whole(self) -> bool:
        """The embedding comes at the end of the pass."""
        return True

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The reference, where it is no name."""
        return {} if isinstance(self.reference, str) else {"reference": "the reference picture, or its embedding"}

    def __repr__(self) -> str:
        return f"nv.Similarity({repr(self.reference) if isinstance(self.reference, str) else 'reference'})"

    def describe(self, network: Network) -> str:
        """To what."""
        return f"similarity to {self.reference!r}" if isinstance(self.reference, str) else "similarity to the reference"

    def __call__(self, trace: Trace) -> Tensor:
        """The similarity for each picture, (N,)."""
        scores, wanted = trace.scores, self._embedding(trace).to(trace.scores)
        if wanted.shape[1:] != scores.shape[1:] or len(wanted) not in (1, len(scores)):
            raise MethodNotApplicableError(
                f"The reference's embedding has shape {tuple(wanted.shape)}, and the network's {tuple(scores.shape)}."
            )
        similarity: Tensor = F.cosine_similarity(scores, wanted, dim=1)
        return similarity

    def _embedding(self, trace: Trace) -> Tensor:
        reference = self.reference
        if isinstance(reference, Tensor) and reference.ndim in (1, 2):
            return reference.detach().reshape(-1, reference.shape[-1])
        network = trace.network
        # While the weights are the same, so is the embedding: many passes ask for it.
        state = [(id(p), 0 if p.is_inference() else p._version) for p in network.module.parameters()]
        if self._last is None or self._last[0]() is not network or self._last[1] != state:
            embedding = network.trace(reference, layers=()).scores.detach()
            object.__setattr__(self, "_last", (weakref.ref(network), state, embedding))
        assert self._last is not None
        return self._last[2]
