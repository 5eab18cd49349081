"""Give a picture more of what a layer sees in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nbcnnviz.core.errors import MethodNotApplicableError, UnknownOptionError
from nbcnnviz.core.images import load_image
from nbcnnviz.core.network import Network
from nbcnnviz.core.options import Above, option
from nbcnnviz.core.targets import LayerEnergy, TargetLike, as_target
from nbcnnviz.synthesis.ascent import Ascent, Frames, Schedule
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.frame import Frame, Provenance
from nbcnnviz.synthesis.parameterization import Colours
from nbcnnviz.synthesis.recipe import Size, Words, begin, named, picture_of, recipe, recipes

LARGEST = 448
"""The longer side of a dream, in pixels, unless told otherwise."""


@recipe(
    "Dream",
    takes="picture",
    total=lambda options: options["steps"] * options["octaves"],
    learning_rate=0.03,
    jitter=32,
    scale=0,
    rotate=0,
    jitter_after=0,
    redirected_relu=0,
)
def dream(
    net: Network,
    image: Any = "chelsea",
    layer: str | TargetLike = None,
    *,
    octaves: int = option(4, low=1, help="How many sizes, each the picture larger than the last."),
    octave_scale: float = option(1.4, low=1, help="The factor between two sizes.", when={"octaves": Above(1)}),
    steps: int = option(10, low=0, help="How many steps at each octave.", main=True),
    size: Size = option(
        None, help="Height and width, or one number for both. Default: the picture's own, at most 448.", kind="size"
    ),
    seed: int = 0,
    controls: Controls | None = None,
    schedule: Schedule | None = None,
    **settings: Any,
) -> Frames:
    """DeepDream (Mordvintsev et al. 2015): ascent on a layer's energy, from a small picture to a large one.

    At each octave the picture is taken at its size, with the change that the smaller octaves made, scaled up, added.

    Parameters
    ----------
    image
        As `load_image` takes it.
    layer
        Whose energy grows; or another objective. Default: a layer in the middle of the network.
    octaves, octave_scale
        How many sizes, and the factor between two. Default: 4, each 1.4 times the last.
    steps
        At each octave. Default: 10.
    size
        Of the finished picture, which is cropped to it. Default: the picture's own, scaled down to 448 pixels at most.
    controls, schedule, **settings
        As for `synthesize`. A step moves the picture by the learning rate, 0.03, times the gradient over its mean
        magnitude, in the units of the network's input; views are shifted by 32 pixels.

    Returns
    -------
    Generator[Frame]
        Frames of the finished size, the last of each octave the sharper.
    """
    goal = LayerEnergy(layer or middle(net)) if layer is None or isinstance(layer, str) else as_target(layer)
    goal.check(net)
    colours = Colours(net)
    picture = picture_of(net, colours, image, size or _own_size(image))
    _check(octaves, octave_scale)
    controls = recipes()["dream"].resolve(controls, settings)
    arguments = {"octaves": octaves, "octave_scale": octave_scale, "size": size}
    subject = Words(f"{named(image)}, {goal!r}")

    def octave(start: Tensor, number: int) -> Ascent:
        moved = {step - number * steps: values for step, values in (schedule or {}).items()}
        run = begin(
            "dream", net, goal, steps=steps, size=tuple(start.shape[2:]), seed=seed + number, start=start, parameterization="pixels",
            optimiser=_MeanAscent(), clip=True, controls=controls, schedule=moved, subject=subject, arguments=arguments, origin=image,
        )  # fmt: skip
        run.finished = False  # it is one octave of the dream
        return run

    return _octaves(picture, octave, octaves, octave_scale, steps)


def _octaves(
    picture: Tensor, octave: Callable[[Tensor, int], Ascent], octaves: int, scale: float, steps: int
) -> Frames:
    height, width = picture.shape[2:]
    change, made_by = torch.zeros_like(picture), None
    for number in range(octaves):
        shrink = scale ** (number + 1 - octaves)
        own = _resized(picture, (max(1, round(height * shrink)), max(1, round(width * shrink))))
        start = own + _resized(change, own.shape[2:])
        before = made_by
        for frame in octave(start, number).frames():
            if number == 0 or frame.step > 0:
                change = frame.input - own
                finished = picture + _resized(change, (height, width))
                made_by = _continued(before, frame.provenance, number * steps)
                step = number * steps + frame.step
                dreamt = replace(frame, step=step, steps=octaves * steps, input=finished, provenance=made_by)
                if step == dreamt.steps:
                    dreamt.judge()
                yield dreamt


def _continued(before: Provenance | None, now: Provenance, steps: int) -> Provenance:
    """The provenance of the whole run, from that of the octaves before and of this one, which begins after ``steps``."""
    if before is None:
        return now
    left = dict(before.settings)
    for _, moved in before.changes:
        left |= moved
    changes = [(0, {n: v for n, v in now.settings.items() if v != left[n]}), *now.changes]
    shifted = tuple((max(1, step) + steps, moved) for step, moved in changes if moved)
    return replace(before, changes=(*before.changes, *shifted))


def middle(net: Network) -> str:
    """A layer in the middle of the network: the outermost one whose maps are a tenth or so of the input's size."""
    height = net.input_shape[1]
    rows = {n: layer.places[0] for n, layer in net.layers.items() if layer.spatial and layer.places}
    names = [n for n in rows if "Pool" not in net.layers[n].kind]
    if not names:
        raise MethodNotApplicableError(f"{net.name} has no layer that returns maps: name a layer.")
    nearest = min(abs(math.log(rows[n] / height * 12)) for n in names)
    there = [n for n in names if abs(math.log(rows[n] / height * 12)) == nearest]
    least = min(n.count(".") for n in there)
    return [n for n in there if n.count(".") == least][-1]


def _own_size(image: Any) -> Size:
    """The picture's own size, scaled down to `LARGEST`; None for what has the network's size already."""
    if isinstance(image, Frame) or (isinstance(image, Tensor) and image.ndim == 4):
        return None
    picture = load_image(image)
    shrink = min(1, LARGEST / max(picture.size))
    return max(1, round(picture.height * shrink)), max(1, round(picture.width * shrink))


def _check(octaves: int, octave_scale: float) -> None:
    if octaves < 1 or not 1 < octave_scale < math.inf:
        raise UnknownOptionError((octaves, octave_scale), (), "There is one octave or more, each larger than the last.")


def _resized(picture: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(picture.shape[2:]) == tuple(size):
        return picture
    return F.interpolate(picture, (size[0], size[1]), mode="bilinear", align_corners=False, antialias=True)


class _MeanAscent:
    """``x + rate g / mean |g|``."""

    def __call__(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> list[Tensor]:
        return [p + rate * g / g.abs().mean().clamp_min(1e-30) for p, g in zip(parameters, gradients, strict=True)]
