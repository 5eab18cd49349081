"""What a method found, with all that is needed to read it, show it and make it again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from nbcnnviz.render import heatmap, overlay, upscaled

if TYPE_CHECKING:
    from PIL import Image

    from nbcnnviz.core.targets import Target
    from nbcnnviz.core.trace import Trace


@dataclass(frozen=True, eq=False)
class Attribution:
    """One frame of a method: the map as it stands after ``step`` of ``steps``.

    Attributes
    ----------
    values : Tensor
        The map as its method defines it: unnormalised, on the network's device, at the resolution it was computed at.
        (N, 1, h, w) for saliency and the class activation maps; (N, C, H, W) and signed for the others.
    step, steps : int
        How far a method of many passes has come. Exact methods give one frame, 1 of 1.
    method : str
        The method's name.
    target : Target
        What was asked about.
    layer : str
        Where the map was taken: a layer's name, or ``"input"``.
    rectifiers : int or None
        How many activations the method's backward rule governed; None for a method that has no such rule.
    trace : Trace
        What it was computed from.
    """

    values: Tensor
    method: str
    target: Target
    layer: str
    trace: Trace
    rectifiers: int | None = None
    step: int = 1
    steps: int = 1

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.values.shape))
        return f"<Attribution {self.method} of {self.caption}: {shape}, step {self.step} of {self.steps}>"

    @cached_property
    def caption(self) -> str:
        """What the map explains, in words."""
        from nbcnnviz.core.targets import describe

        return describe(self.target, self.trace)

    @cached_property
    def signed(self) -> bool:
        """Whether the map has negative values, and so a colour scale with zero in the middle."""
        return bool((self.values < 0).any())

    @cached_property
    def heatmap(self) -> np.ndarray:
        """The map for display: float32 (H, W) at the input's size, (N, H, W) for a batch of more than one.

        Summed over channels, scaled up bilinearly, divided by its largest magnitude: in [0, 1], or in [-1, 1] where it
        is signed. An all-zero map stays zero.
        """
        maps = heatmap(self.values, self.trace.size).cpu().numpy()
        return maps[0] if len(maps) == 1 else maps

    def upscaled(self) -> Tensor:
        """The values at the input's size, unscaled: (N, C, H, W), bilinear."""
        return upscaled(self.values, self.trace.size)

    def overlay(
        self,
        picture: int = 0,
        *,
        opacity: float = 0.6,
        threshold: float = 0.0,
        colours: str | None = None,
        contours: bool = False,
        split: float = 0.0,
    ) -> Image.Image:
        """The heat map over the picture as the network saw it.

        Parameters
        ----------
        picture
            Which of the batch.
        opacity
            Of the map at its strongest, in [0, 1]; where the map is zero the picture shows unchanged.
        threshold
            Places weaker than this share of the strongest are left out.
        colours
            A colour map's name. Default: ``"inferno"``, or a diverging one for a signed map.
        contours
            Whether there are lines where the map is a quarter, half and three quarters of its scale's end.
        split
            The share of the width, from the left, where the picture shows alone.
        """
        look = {"opacity": opacity, "threshold": threshold, "colours": colours, "contours": contours, "split": split}
        return overlay(self.trace.pictures[picture], self.values[picture], **look)  # type: ignore[arg-type]

    def save(self, path: str | PathLike[str], picture: int = 0) -> None:
        """Write the overlay as a picture, or the raw values as an array, by the ending: ``.png`` ..., or ``.npy``."""
        if str(path).endswith(".npy"):
            np.save(path, self.values[picture].float().cpu().numpy())
        else:
            self.overlay(picture).save(path)

    def _repr_png_(self) -> bytes:
        import io

        file = io.BytesIO()
        self.overlay().save(file, "PNG")
        return file.getvalue()

    def __getitem__(self, picture: int) -> Tensor:
        """The values for one picture of the batch."""
        return self.values[picture]
