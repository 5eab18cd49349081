"""How the network looks at the picture: a little off, larger or smaller, turned, otherwise at each step.

What pleases a network from one view alone is noise to a person; what pleases it from all of them is a shape.

The picture lies on grey that goes on beyond its border, so that a view never shows black or wrapped edges. A view is
cut off centre, magnified, turned, cut off centre again, all about the middle of the picture, and is as large as the
picture, so that the network sees the size it is made for. The four are one affine map, sampled once, bilinearly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.synthesis.controls import Controls


@dataclass(frozen=True)
class View:
    """One way to look: shifts (down, right) in pixels, a magnification, an angle in degrees anticlockwise."""

    shift: tuple[int, int] = (0, 0)
    scale: float = 1.0
    angle: float = 0.0
    shift_after: tuple[int, int] = (0, 0)

    @classmethod
    def draw(cls, controls: Controls, generator: torch.Generator) -> View:
        """A view at random, within the bounds that the controls set.

        Six numbers are drawn whatever the controls, so that moving one of them leaves the others' draws as they were.
        """
        r = torch.rand(6, generator=generator).tolist()

        def shift(jitter: int, *draws: float) -> tuple[int, int]:
            down, right = (int(d * (jitter + 1)) - jitter // 2 for d in draws)
            return down, right

        return cls(
            shift(controls.jitter, r[0], r[1]),
            1 + controls.scale * (2 * r[2] - 1),
            controls.rotate * (2 * r[3] - 1),
            shift(controls.jitter_after, r[4], r[5]),
        )

    def of(self, picture: Tensor, grey: Tensor) -> Tensor:
        """The view of a picture (N, C, H, W) that lies on ``grey`` (C, 1, 1); of the same shape."""
        if self == View():
            return picture
        height, width = picture.shape[2:]
        if self.scale == 1 and self.angle == 0:
            (a, b), (c, d) = self.shift, self.shift_after
            return _shifted(picture - grey, a + c, b + d) + grey
        # What lies beyond the border counts as zero, and so as grey.
        grid = self._places(height, width).to(picture).expand(len(picture), -1, -1, -1)
        return F.grid_sample(picture - grey, grid, "bilinear", "zeros", align_corners=False) + grey

    def _places(self, height: int, width: int) -> Tensor:
        """Where in the picture each pixel of the view comes from, (1, H, W, 2): (x, y) in half sides from the middle.

        In pixels from the middle: ``R (q + shift_after) / scale + shift``, with ``R`` a turn by the angle.
        """
        turn = math.radians(self.angle)
        cos, sin = math.cos(turn) / self.scale, math.sin(turn) / self.scale
        down = torch.arange(height)[:, None] - (height - 1) / 2 + self.shift_after[0]
        right = torch.arange(width) - (width - 1) / 2 + self.shift_after[1]
        x = cos * right - sin * down + self.shift[1]
        y = sin * right + cos * down + self.shift[0]
        return torch.stack([x * (2 / width), y * (2 / height)], -1)[None]


def _shifted(x: Tensor, down: int, right: int) -> Tensor:
    """The window ``down`` and ``right`` of the middle; zero beyond the border."""
    height, width = x.shape[2:]
    top, left = max(0, down), max(0, right)
    bottom, end = min(height, height + down), min(width, width + right)
    inside = x[:, :, top:bottom, left:end]
    return F.pad(inside, (max(0, -right), max(0, right), max(0, -down), max(0, down)))
