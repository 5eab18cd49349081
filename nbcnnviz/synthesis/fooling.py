"""Change a picture as little as makes the network call it something else."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import UnknownOptionError
from nbcnnviz.core.network import Network
from nbcnnviz.synthesis.ascent import Ascent, Schedule
from nbcnnviz.synthesis.canvas import Colours
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.frame import Frame
from nbcnnviz.synthesis.objectives import Objective, class_score
from nbcnnviz.synthesis.optimisers import Optimiser, normalised
from nbcnnviz.synthesis.recipe import begin, named, one_picture, picture_of, recipe, recipes


@dataclass(frozen=True, eq=False, repr=False)
class Fooled(Frame):
    """A picture on its way to another class, beside the picture that it was.

    Attributes
    ----------
    original : Frame
        The picture unchanged, with the prediction for it.
    to : int
        The class wanted.
    done : bool
        Whether the network predicts that class, also for the picture rounded to 8 bits.
    """

    original: Frame = field()
    to: int = field()
    done: bool = field()

    def __repr__(self) -> str:
        before, now = self.original.top(1)[0], self.top(1)[0]
        return (
            f"<Fooled {self.step} of {self.steps}: {before[1]} ({before[2]:.0%}) to {now[1]} ({now[2]:.0%}), "
            f"changed by {self.change_l2:.2%} (L2), {self.change_linf} of 255 at most>"
        )

    @cached_property
    def _change(self) -> np.ndarray:
        return np.asarray(self.image, np.int16) - np.asarray(self.original.image, np.int16)

    @property
    def change_l2(self) -> float:
        """The Euclidean norm of the change over that of the original, both in 8 bits."""
        return float(
            np.linalg.norm(self._change.astype(float)) / np.linalg.norm(np.asarray(self.original.image, float))
        )

    @property
    def change_linf(self) -> int:
        """The largest change of a pixel, in levels of 255."""
        return int(np.abs(self._change).max())

    def difference(self, magnify: float | None = None) -> Image.Image:
        """The change on grey, magnified so many times; by default so that the largest just fits."""
        factor = 127 / max(1, self.change_linf) if magnify is None else magnify
        return Image.fromarray((128 + factor * self._change).clip(0, 255).round().astype(np.uint8))


@recipe(
    "Fooling image", takes="picture", learning_rate=0.1, jitter=0, scale=0, rotate=0, jitter_after=0, wake=0
)  # fmt: skip
def fool(
    net: Network,
    image: Any = "chelsea",
    to: int | str | None = None,
    *,
    how: str = "ascent",
    bound: float = 4,
    start: Any = None,
    steps: int = 40,
    seed: int = 0,
    controls: Controls | None = None,
    schedule: Schedule | None = None,
    **settings: Any,
) -> Generator[Fooled, None, None]:
    """Change a picture until the network predicts another class.

    Parameters
    ----------
    image
        As `load_image` takes it, or a preprocessed (1, C, H, W) tensor. What is changed is the picture as the network
        sees it, scaled and cropped by its preprocess.
    to
        The class wanted. Default: the one that the network finds least likely.
    how
        ``"ascent"``: normalised ascent on the class's score (Stanford CS231n, "fooling images"); the learning rate is
        the length of a step in per cent of the picture's norm, 0.1 by default. ``"fgsm"``: one step of ``bound`` levels
        of 255 along the sign of the gradient of the class's log-probability (Goodfellow et al. 2015). ``"pgd"``: many
        such steps, of as many levels as the learning rate says, 0.5 by default, kept within ``bound`` of the original
        (Madry et al. 2018).
    bound
        The most that a pixel may change, in levels of 255, under the last two. Default: 4.
    start
        How far the picture has come already, a `Frame` of an earlier run say: the change is counted from ``image`` all
        the same. Default: ``image``.
    steps
        The most that are taken, one for ``"fgsm"``; the run ends as soon as the class is predicted, also for the picture
        rounded to 8 bits.

    Returns
    -------
    Generator[Fooled]
        The last has ``done``, ``change_l2``, ``change_linf``, ``difference()``, ``original`` and both predictions.

    Raises
    ------
    UnknownClassError, UnknownOptionError, ImageError
        At once, if something asked for does not exist.
    """
    if how not in _STEPS:
        raise UnknownOptionError(how, _STEPS, f"how is one of {', '.join(_STEPS)}.")
    colours = Colours(net)
    picture = one_picture(picture_of(net, colours, image))
    wanted = _least_likely(net, picture) if to is None else net.class_index(to)
    if how == "fgsm":
        steps, settings = min(steps, 1), {"learning_rate": bound} | settings
    elif how == "pgd" and controls is None:
        settings = {"learning_rate": 0.5} | settings
    level = (colours.high - colours.low).abs() / 255
    within = (colours.low.expand_as(picture), colours.high.expand_as(picture))
    if how != "ascent":
        within = (torch.maximum(within[0], picture - bound * level), torch.minimum(within[1], picture + bound * level))
    controls = recipes()["fool"].settle(controls, settings)
    name = net.classes[wanted]
    told: dict[str, Any] = {
        "to": name if net.classes.count(name) == 1 else wanted,
        "how": how,
        "bound": bound if how != "ascent" else None,
    }
    if start is not None:
        told["start"] = named(start)

    def begun(at: Any, steps: int) -> Ascent:
        return begin(
            "fool",
            net,
            _log_probability(wanted) if how != "ascent" else class_score(wanted),
            steps=steps,
            seed=seed,
            start=at,
            canvas="pixels",
            optimiser=_STEPS[how](level, colours.to_pixels(picture).norm()),
            within=within,
            controls=controls,
            schedule=schedule,
            subject=named(image),
            told=told,
            origin=image if start is None else start,
        )

    original = None if start is None else next(begun(picture, 0).frames())
    return _until_done(net, begun(picture if start is None else start, steps).frames(), wanted, original)


def _until_done(
    net: Network, frames: Generator[Frame, None, None], wanted: int, original: Frame | None
) -> Generator[Fooled, None, None]:
    look = net.again()
    for frame in frames:
        original = original or frame
        done = frame.logits is not None and int(frame.logits.argmax()) == wanted
        if done:  # as the network has it; and as a file would
            done = int(look(frame.rounded.input.to(net.dtype)).scores.argmax()) == wanted
        own = {f.name: getattr(frame, f.name) for f in fields(Frame)}
        yield Fooled(**own, original=original, to=wanted, done=done)
        if done:
            return


def _least_likely(net: Network, x: Tensor) -> int:
    return int(net.again()(x.to(net.dtype)).scores.argmin())


def _log_probability(index: int) -> Objective:
    return Objective(lambda t: t.scores.log_softmax(1)[:, index], f"log_probability({index})", classes={index})


class _Share:
    """Steps along the gradient whose length is a share of the picture's norm, in per cent."""

    def __init__(self, level: Tensor, norm: Tensor) -> None:
        # In pixels, a step that is longer in channels of a wider range than in others.
        self._unit = level * 255 * norm / 100

    def __call__(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> list[Tensor]:
        return [p + rate * self._unit * normalised(g) for p, g in zip(parameters, gradients, strict=True)]


class _Sign:
    """Steps along the sign of the gradient, so many levels of 255."""

    def __init__(self, level: Tensor, norm: Tensor) -> None:
        self._level = level

    def __call__(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> list[Tensor]:
        return [p + rate * self._level * g.sign() for p, g in zip(parameters, gradients, strict=True)]


_STEPS: dict[str, Callable[[Tensor, Tensor], Optimiser]] = {"ascent": _Share, "fgsm": _Sign, "pgd": _Sign}
