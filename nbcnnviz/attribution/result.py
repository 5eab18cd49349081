"""What a method found, with all that is needed to read it, show it and make it again."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from nbcnnviz.core.errors import ArgumentTypeError, MethodNotApplicableError
from nbcnnviz.render import colour_picture, heatmap, overlay, upscaled

if TYPE_CHECKING:
    from PIL import Image

    from nbcnnviz.core.targets import Target
    from nbcnnviz.core.trace import Trace

# Methods whose maps are gradients of every pixel, with their sign.
SIGNED_GRADIENTS = frozenset({"gradient", "guided_backprop", "deconvnet", "guided_grad_cam"})

_FIELDS = ("target", "layer", "trace", "rectifiers", "step", "steps", "method", "error", "completeness", "notes")
_DEFAULTS = {
    "rectifiers": None, "step": 1, "steps": 1, "method": "", "error": None, "completeness": None, "notes": ()
}  # fmt: skip


@dataclass(frozen=True, eq=False, init=False)
class Attribution:
    """One frame of a method: the map as it stands after ``step`` of ``steps``.

    Attributes
    ----------
    values : Tensor
        The map as its method defines it: unnormalised, on the network's device, at the resolution it was computed at.
        (N, 1, h, w) for saliency and the class activation maps; (N, C, H, W) and signed for the others.
    step, steps : int
        How far a method of many passes has come. Exact methods give one frame, 1 of 1.
    target : Target
        What was asked about.
    layer : str
        Where the map was taken: a layer's name, or ``"input"``.
    rectifiers : int or None
        How many activations the method's backward rule governed; None for a method that has no such rule. `unruled`
        names those that it does not.
    trace : Trace
        What it was computed from.
    method : str
        The method's name, which the registry fills in.
    error : Tensor or None
        The standard error of the values, of their shape, where the method samples; NaN as long as nothing is known of it.
    completeness : Tensor or None
        Where the method promises that a map's sum is a difference of scores: by how much it is not, (N,).
    notes : tuple[str, ...]
        What the method itself says of this map beyond its numbers; part of `remarks`.
    """

    values: Tensor
    target: Target
    layer: str
    trace: Trace
    rectifiers: int | None
    step: int
    steps: int
    method: str
    error: Tensor | None
    completeness: Tensor | None
    notes: tuple[str, ...]

    def __init__(self, values: Tensor, *args: Any, **given: Any) -> None:
        # ``Attribution(values, target, layer, trace, rectifiers, step, steps, method)``; a method of yore puts its name
        # second.
        names = list(_FIELDS)
        if args and isinstance(args[0], str):
            names = ["method", *names[:-1]]
        given = _DEFAULTS | dict(zip(names, args, strict=False)) | {"values": values} | given
        if missing := {*_FIELDS} - {*given}:
            raise ArgumentTypeError(f"An Attribution needs {', '.join(n for n in _FIELDS if n in missing)} too.")
        for name, value in given.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.values.shape))
        told = "".join(f"; {remark}" for remark in self.remarks)
        return f"<Attribution {self.method} of {self.caption}: {shape}, step {self.step} of {self.steps}{told}>"

    @property
    def unruled(self) -> Mapping[str, int]:
        """The activations met that the method's backward rule does not govern, by name, and how many of each.

        Functions that are no rectifiers (tanh), and those written by hand of which the numbers that went through them do
        not tell whether they are. Empty for a method that has no such rule.
        """
        return Counter(getattr(self.rectifiers, "unruled", ()))

    @cached_property
    def not_finite(self) -> int:
        """How many of the values are NaN or infinite."""
        return self.values.numel() - int(self.values.isfinite().sum())

    @cached_property
    def flat(self) -> bool:
        """Whether every value is zero: the map then tells no place from another."""
        return not bool(self.values.any())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader must know of the map, in words: activations that were not ruled, values that are all zero or no
        numbers, and the method's own notes.
        """
        names = ", ".join(name if n == 1 else f"{n} x {name}" for name, n in self.unruled.items())
        told = [f"not ruled: {names}"] if names else []
        if self.flat:
            told.append("zero everywhere")
        if self.not_finite:
            told.append(f"{self.not_finite} of {self.values.numel()} values are NaN or infinite")
        return (*told, *self.notes)

    @property
    def view(self) -> Literal["picture", "overlay"]:
        """How the map is shown best: as a `picture` of its own in colour, or laid over the picture it explains.

        The first for gradients of every pixel with their sign, of which little can be seen over a photograph.
        """
        pixelwise = self.layer == "input" or tuple(self.values.shape[2:]) == self.trace.size
        own = self.method in SIGNED_GRADIENTS and pixelwise and self.values.shape[1] in (1, 3)
        return "picture" if own else "overlay"

    @cached_property
    def caption(self) -> str:
        """What the map explains, in words."""
        return self.target.describe(self.trace.network)

    @cached_property
    def signed(self) -> bool:
        """Whether the map has negative values, and so a colour scale with zero in the middle."""
        return bool((self.values < 0).any())

    @cached_property
    def heatmap(self) -> np.ndarray:
        """The map for display: float32 (H, W) at the input's size, (N, H, W) for a batch of more than one.

        Summed over channels, scaled up bilinearly, divided by its largest magnitude: in [0, 1], or in [-1, 1] where it
        is signed. An all-zero map stays zero. What is NaN or infinite is NaN, with a warning.
        """
        self._warn()
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

        Places where a value is NaN or infinite are hatched, and a warning says how many values are.
        """
        self._warn()
        look = {"opacity": opacity, "threshold": threshold, "colours": colours, "contours": contours, "split": split}
        return overlay(self.trace.pictures[picture], self.values[picture], **look)  # type: ignore[arg-type]

    def picture(self, picture: int = 0) -> Image.Image:
        """The map as a picture of its own, (H, W): each channel scaled symmetrically about grey, which is zero.

        In the colours of the picture explained, whichever channel the network takes first; grey for one channel. As
        gradients, guided backprop and deconvnet are shown in their papers.

        Parameters
        ----------
        picture
            Which of the batch.

        Raises
        ------
        MethodNotApplicableError
            If the map has neither one channel nor three.
        """
        values = self.values[picture]
        if len(values) not in (1, 3):
            raise MethodNotApplicableError(
                f"A map of {len(values)} channels is no picture in colour: use overlay(), which shows their sum."
            )
        self._warn()
        return in_colour(self, picture)

    def save(
        self, path: str | PathLike[str], picture: int = 0, *, view: Literal["overlay", "picture"] = "overlay"
    ) -> None:
        """Write the map as a picture, or the raw values as an array, by the ending: ``.png`` ..., or ``.npy``.

        Parameters
        ----------
        path
            Where to.
        picture
            Which of the batch.
        view
            ``"overlay"``, or ``"picture"`` for the map as a picture of its own.

        A warning says if values are NaN or infinite, and the comment in a PNG file, how many.
        """
        if str(path).endswith(".npy"):
            self._warn()
            np.save(path, self.values[picture].float().cpu().numpy())
            return
        drawn = self.picture(picture) if view == "picture" else self.overlay(picture)
        drawn.save(path, **self._comment(path))

    def _comment(self, path: Any) -> dict[str, Any]:
        if not self.remarks or not str(path).lower().endswith(".png"):
            return {}
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("Comment", f"{self.method} of {self.caption}: {'; '.join(self.remarks)}")
        return {"pnginfo": info}

    def _warn(self) -> None:
        if self.not_finite:
            warnings.warn(
                f"{self.not_finite} of {self.values.numel()} values of {self.method} are NaN or infinite: "
                "they are hatched where the map is drawn, and NaN in its heat map.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _repr_png_(self) -> bytes:
        import io

        file = io.BytesIO()
        (self.picture() if self.view == "picture" else self.overlay()).save(file, "PNG", **self._comment(".png"))
        return file.getvalue()

    def __getitem__(self, picture: int) -> Tensor:
        """The values for one picture of the batch."""
        return self.values[picture]


def in_colour(result: Attribution, picture: int = 0) -> Image.Image:
    """As `Attribution.picture`, for maps of one channel or three, without a warning of values that are not finite."""
    values = result.values[picture]
    order = result.trace.network.unprocess.order if result.layer == "input" else None
    return colour_picture(values if order is None or len(values) == 1 else values[order])
