"""What a network found in a picture place by place, for a click there to choose it: a class, a box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from nbcnnviz.core.dense import Box
from nbcnnviz.core.errors import MethodNotApplicableError
from nbcnnviz.core.targets import BoxScore, RegionScore, Target
from nbcnnviz.core.trace import Trace

_SURE = 0.5
_MOST, _FEWEST = 24, 5


@dataclass(frozen=True, eq=False)
class Places:
    """What a segmentation or detection network found in a picture, and nothing of the trace that it came from.

    Attributes
    ----------
    size : tuple[int, int]
        Height and width of the picture, in pixels.
    labels : Tensor or None
        The class predicted for each place, (h, w), -1 for none.
    boxes : tuple[Box, ...]
        The boxes to be drawn, the surest first: those with a score of 0.5 or more, 24 at most; where there are fewer than
        5 of these, the 5 surest.
    """

    size: tuple[int, int] = (0, 0)
    labels: Tensor | None = None
    boxes: tuple[Box, ...] = ()

    @classmethod
    def of(cls, trace: Trace) -> Places:
        """What was found in the first picture of a trace; nothing where the network finds a class of all of it."""
        if trace.network.kind == "segmentation":
            return cls(trace.size, labels=trace.labels[0].to(torch.int32).cpu())
        if trace.network.kind == "detection":
            found = [box for box in trace.boxes() if all(map(math.isfinite, (*box.corners, box.score)))]
            found.sort(key=lambda box: -box.score)
            sure = sum(box.score >= _SURE for box in found)
            return cls(trace.size, boxes=tuple(found[: min(_MOST, max(_FEWEST, sure))]))
        return cls()

    def regions(self, classes: Sequence[str]) -> tuple[Image.Image, list[str]]:
        """The classes predicted, as the grey levels of a picture, and the name of each level.

        Of more than 255 classes the last share a level.
        """
        assert self.labels is not None
        present, levels = self.labels.unique(return_inverse=True)
        levels = levels.clamp(max=254).to(torch.uint8)[None, None]
        grey = F.interpolate(levels, self.size, mode="nearest-exact")[0, 0].numpy()
        return Image.fromarray(grey), [classes[i] if i >= 0 else "no class" for i in present[:254].tolist()]

    @property
    def names(self) -> list[str]:
        """What each box is called: its class, and how sure the network is of it."""
        return [f"{box.name} {box.score:.0%}".replace("%", " %") for box in self.boxes]

    def at(self, x: Any, y: Any) -> Target | None:
        """The class where it is predicted, or the smallest box drawn, at a pixel of the picture; None where there is none.

        Raises
        ------
        MethodNotApplicableError
            If a segmentation network predicts no class there.
        """
        height, width = self.size
        if not (_number(x, width) and _number(y, height)):
            return None
        if self.labels is not None:
            rows, columns = self.labels.shape
            label = int(self.labels[int((int(y) + 0.5) * rows / height), int((int(x) + 0.5) * columns / width)])
            if label < 0:
                raise MethodNotApplicableError(f"The network predicts no class at row {int(y)}, column {int(x)}.")
            return RegionScore(label, mask="predicted")
        # The middle of the pixel.
        around = [box for box in self.boxes if _within(box, int(x) + 0.5, int(y) + 0.5)]
        return BoxScore(min(around, key=_area).index) if around else None

    def box(self, at: Any) -> Target | None:
        """A box, by its place in the list of those drawn."""
        return BoxScore(self.boxes[at].index) if isinstance(at, int) and 0 <= at < len(self.boxes) else None

    def chosen(self, target: Any) -> int:
        """The place in the list of the box that a target asks about; -1 for none."""
        index = target.box if isinstance(target, BoxScore) else None
        return next((at for at, box in enumerate(self.boxes) if box.index == index), -1)


def _number(what: Any, end: int) -> bool:
    return isinstance(what, (int, float)) and 0 <= what < end


def _within(box: Box, x: float, y: float) -> bool:
    left, top, right, bottom = box.corners
    return left <= x <= right and top <= y <= bottom


def _area(box: Box) -> float:
    left, top, right, bottom = box.corners
    return (right - left) * (bottom - top)
