"""A picture in the making, as it stands after a step, with all that is needed to read it and to make it again."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.core.images import load_image
from nbcnnviz.core.network import Network
from nbcnnviz.core.preprocess import to_pictures
from nbcnnviz.core.targets import Target
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.loading import coloured, loaded
from nbcnnviz.synthesis.parameterization import Colours
from nbcnnviz.synthesis.saved import Saved, best_of, probabilities_of, saved_as, top_of


@dataclass(frozen=True)
class Provenance:
    """What made a frame.

    Attributes
    ----------
    recipe, network, subject : str
        The names of recipe and network; the objective or the picture, as an expression.
    seed : int
        Of every random number of the run.
    arguments : dict
        What else the recipe was called with.
    defaults : dict
        The recipe's own for all that it takes: what is the same is not written in the code.
    settings : dict
        The controls as they were at the start.
    changes : tuple
        ``(step, {name: value})`` for each time the controls were moved since. Given as ``schedule=dict(changes)`` they
        are moved again.
    origin : tuple[Provenance, int] or None
        What made the frame that the run starts from, and that one's step, if it starts from a frame.
    rounded : bool
        Whether the frame is a `Frame.rounded`.
    precision : str
        What the network computed in, and where that was chosen by measurement, what was measured.
    """

    recipe: str
    network: str
    subject: str
    seed: int
    arguments: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    changes: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    origin: tuple[Provenance, int] | None = None
    rounded: bool = False
    precision: str = "float32"

    @property
    def code(self) -> str:
        """Python that makes the run again, where ``net`` is the network and ``image`` the picture it started from."""
        return "\n".join(["import nbcnnviz as nv", "", *self._lines()])

    def _lines(self) -> list[str]:
        lines = []
        if self.origin is not None:
            earlier, step = self.origin
            lines = [*earlier._lines(), f"frame = {earlier.found(step)}"]
        usual = {"seed": 0} | asdict(Controls()) | dict(self.defaults)
        given = {n: v for n, v in (self.arguments | {"seed": self.seed} | self.settings).items() if v != usual.get(n)}
        if self.changes:
            given["schedule"] = dict(self.changes)
        options = "".join(f", {name}={value!r}" for name, value in given.items())
        return [*lines, f"frames = nv.{self.recipe}(net, {self.subject}{options})"]

    def found(self, step: int) -> str:
        """The expression for a frame of ``frames``."""
        return f"next(f for f in frames if f.step == {step}){'.rounded' if self.rounded else ''}"


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture after ``step`` of ``steps`` steps; the first, step 0, is the picture that the run starts from.

    Attributes
    ----------
    step, steps : int
        How far the run has come.
    input : Tensor
        The pictures as the network takes them (N, C, H, W); one unless several were asked for.
    scores : tuple[float, ...]
        The objective of each, in the view that the network had of it.
    gradient_norm : float
        The norm of the objective's gradient with respect to that view.
    penalties : dict[str, float]
        The regularizers that are switched on, weighted.
    logits : Tensor or None
        The class scores (N, K), where the network ran to its end.
    file : Tensor or None
        What `save` writes, (N, C, H, W) uint8, where that is not ``input``: the input is then what the network's
        preprocess makes of it, and ``scores`` and ``logits`` are those of the file.
    provenance : Provenance
        What made it.
    """

    step: int
    steps: int
    input: Tensor
    scores: tuple[float, ...]
    gradient_norm: float
    penalties: Mapping[str, float]
    logits: Tensor | None
    classes: Sequence[str] = field(repr=False)
    colours: Colours = field(repr=False)
    network: Network = field(repr=False)
    objective: Target = field(repr=False)
    provenance: Provenance
    file: Tensor | None = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"<Frame {self.step} of {self.steps}: {self.provenance.subject}, score {self.score:.4g}{self._as_a_file}>"
        )

    @property
    def _as_a_file(self) -> str:
        """What is known of the picture as a file, in words."""
        known = self.__dict__.get("saved")
        return "" if known is None else f"; as a file {known.words}"

    @property
    def score(self) -> float:
        """The objective; the mean over the pictures if there are several."""
        return sum(self.scores) / len(self.scores)

    @property
    def pixels(self) -> Tensor:
        """The pictures in [0, 1], (N, 3, H, W) float32; channels that are no colours are shown as their mean."""
        return coloured(
            self.colours.to_pixels(self.input.float()).clamp(0, 1) if self.file is None else self.file / 255
        )

    @cached_property
    def images(self) -> list[Image.Image]:
        """The pictures, RGB, 8 bits."""
        return to_pictures(self.pixels)

    @property
    def image(self) -> Image.Image:
        """The picture, RGB, 8 bits; the first if there are several."""
        return self.images[0]

    @property
    def array(self) -> np.ndarray:
        """The picture, (H, W, 3) uint8; several side by side, in rows if there are more than four."""
        pictures = np.stack([np.asarray(image) for image in self.images])
        count, height, width, _ = pictures.shape
        columns = count if count <= 4 else math.ceil(math.sqrt(count))
        rows = math.ceil(count / columns)
        sheet = np.full((rows * columns, height, width, 3), 128, np.uint8)
        sheet[:count] = pictures
        tiled = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
        return np.ascontiguousarray(tiled).reshape(rows * height, columns * width, 3)

    @property
    def eight_bits(self) -> Tensor:
        """The pictures as a file keeps them: the channels of the input, 8 bits each, (N, C, H, W) uint8."""
        return self.colours.eight_bits(self.input) if self.file is None else self.file

    @property
    def rounded(self) -> Frame:
        """The frame with its pictures rounded to 8 bits, as a file keeps them. A run can start from it."""
        return self.of_eight_bits(self.eight_bits)

    def of_eight_bits(self, pictures: Tensor) -> Frame:
        """The frame with its pictures made of such `eight_bits`."""
        provenance, pictures = replace(self.provenance, rounded=True), pictures.to(self.colours.low.device)
        if self.file is not None:
            return replace(self, input=loaded(self.network, pictures), file=pictures, provenance=provenance)
        return replace(self, input=self.colours.to_input(pictures / 255), provenance=provenance)

    @cached_property
    def saved(self) -> Saved | None:
        """What the network says of the pictures once each is saved without loss (PNG, TIFF, BMP) and loaded again.

        A picture of the network's own size may not go through its preprocess unchanged: many enlarge a picture and crop
        it. Worked out when it is first asked for, of a run's last frame before it is out. None for a network that takes
        no pictures.
        """
        return saved_as(self.images, self.network, self.objective)

    @cached_property
    def probabilities(self) -> Tensor | None:
        """The probability of each class, (N, C); None where the network stopped early, or its scores have none."""
        return None if self.logits is None else probabilities_of(self.network, self.logits)

    def top(self, k: int = 5, picture: int = 0) -> list[tuple[int, str, float]]:
        """The most probable classes, as `Trace.top` has them; none where the network stopped early."""
        return [] if self.logits is None else top_of(self.network, self.logits, k, picture)

    def best(self, picture: int = 0) -> tuple[int, str, float] | None:
        """The class predicted: (index, name, probability); None where the network stopped early or predicts none."""
        return None if self.logits is None else best_of(self.network, self.logits, picture)

    def judge(self) -> None:
        """Work out `saved`, which the frame then says of itself, unless the network fails on it."""
        with suppress(NbcnnvizError):
            _ = self.saved

    def save(self, path: str | PathLike[str]) -> None:
        """Write the picture, in the format that the ending of the name says; several side by side, as in `array`.

        PNG, BMP, TIFF and WebP keep every pixel. JPEG and GIF do not: what the network says of such a file may not be what
        the frame says, and a `UserWarning` tells what it is.
        """
        options: dict[str, Any] = {"lossless": True} if str(path).lower().endswith(".webp") else {}
        Image.fromarray(self.array).save(path, **options)
        written = load_image(path)
        if np.array_equal(np.asarray(written), self.array):
            return
        words = "."
        if len(self.input) == 1 and self.saved is not None:
            found = saved_as([written], self.network, self.objective)
            words = f": loaded again, it gives {found.words}, a PNG {self.saved.words}." if found else "."
        warnings.warn(f"{Path(path).name} does not keep the frame's pixels{words} PNG keeps them.", stacklevel=2)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        Image.fromarray(self.array).save(file, "PNG")
        return file.getvalue()
