"""Change a picture as little as makes the network call it something else."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nbcnnviz.core.errors import ImageError, MethodNotApplicableError, UnknownOptionError
from nbcnnviz.core.network import Network
from nbcnnviz.core.options import option
from nbcnnviz.core.targets import ClassScore, Probability
from nbcnnviz.synthesis.ascent import Ascent, Schedule
from nbcnnviz.synthesis.controls import Controls
from nbcnnviz.synthesis.frame import Frame
from nbcnnviz.synthesis.loading import Loading, medium_of
from nbcnnviz.synthesis.optimisers import Optimiser, normalised
from nbcnnviz.synthesis.parameterization import Colours
from nbcnnviz.synthesis.recipe import begin, named, one_picture, recipe, recipes


@dataclass(frozen=True, eq=False, repr=False)
class Fooled(Frame):
    """A picture on its way to another class, beside the picture that it was.

    ``image`` is the picture that is changed, ``input`` what the network's preprocess makes of it; scores and predictions
    are those of its file.

    Attributes
    ----------
    original : Frame
        The picture unchanged, with the prediction for it.
    to : int
        The class wanted.
    done : bool
        Whether the network predicts that class for the picture's file, when it is loaded.
    """

    original: Frame = field()
    to: int = field()
    done: bool = field()

    def __repr__(self) -> str:
        before, now = (f"{best[1]} ({best[2]:.0%})" if best else "?" for best in (self.original.best(), self.best()))
        return (
            f"<Fooled {self.step} of {self.steps}: {before} to {now}, "
            f"changed by {self.change_l2:.2%} (L2), {self.change_linf} of 255 at most{self._as_a_file}>"
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
    "Fooling image", takes="picture", raises="", when={"learning_rate": {"how": ("ascent", "pgd")}},
    learning_rate=0.1, jitter=0, scale=0, rotate=0, jitter_after=0, redirected_relu=0,
)  # fmt: skip
def fool(
    net: Network,
    image: Any = "chelsea",
    to: int | str | None = option(
        None, kind="class", label="Turn into", main=True, help="The class that the picture is to be taken for."
    ),
    *,
    how: str = option(
        "ascent", choices=("ascent", "fgsm", "pgd"), label="Method",
        help="How the picture is changed: by normalised ascent, one step of the bound (FGSM), or many within it (PGD).",
        implies={"fgsm": {"steps": 1}, "pgd": {"learning_rate": 0.5}},
    ),
    at: str = option(
        "network", choices=("network", "photograph"), label="Size of the", help="Whose size the changed picture has."
    ),
    bound: float = option(
        4.0, low=0, high=255, help="The most that a pixel may change, under fgsm and pgd.", unit="levels of 255",
        when={"how": ("fgsm", "pgd")},
    ),
    start: Any = option(None, kind="frame", help="How far the picture has come already: a frame of an earlier run."),
    steps: int = option(
        40, low=0, help="The most that are taken: it ends as soon as the class is predicted.", main=True,
        when={"how": ("ascent", "pgd")},
    ),
    seed: int = 0,
    controls: Controls | None = None,
    schedule: Schedule | None = None,
    **settings: Any,
) -> Generator[Fooled, None, None]:  # fmt: skip
    """Change a picture until the network predicts another class.

    Parameters
    ----------
    image
        As `load_image` takes it, a `Frame`, or a preprocessed (1, C, H, W) tensor. The picture changes in its own pixels,
        8 bits each, which go through the network's preprocess at every step: what the last frame says is what the network
        says of its file. A tensor is given the margin that the preprocess crops off; where no file gives the network that
        tensor (it has another size, or channels that are no colours), the tensor itself is changed.
    to
        The class wanted. Default: the one that the network finds least likely.
    how
        ``"ascent"``: normalised ascent on the class's score (Stanford CS231n, "fooling images"); the learning rate is
        the length of a step in per cent of the picture's norm, 0.1 by default. ``"fgsm"``: one step of ``bound`` levels
        of 255 along the sign of the gradient of the class's log-probability (Goodfellow et al. 2015). ``"pgd"``: many
        such steps, of as many levels as the learning rate says, 0.5 by default, kept within ``bound`` of the original
        (Madry et al. 2018).
    at
        The size of the picture that is changed and saved. ``"network"``: the picture scaled as the preprocess scales it, not
        cropped, so that its pixels are those of the network's input. ``"photograph"``: the picture's own.
    bound
        The most that a pixel may change, in levels of 255, under the last two; 1 at least. Default: 4.
    start
        How far the picture has come already, a `Frame` of an earlier run say: the change is counted from ``image`` all
        the same. Default: ``image``.
    steps
        The most that are taken, one for ``"fgsm"``; the run ends as soon as the class is predicted.

    Returns
    -------
    Generator[Fooled]
        The last has ``done``, ``change_l2``, ``change_linf``, ``difference()``, ``original`` and both predictions.

    Raises
    ------
    UnknownClassError, UnknownOptionError, ImageError
        At once, if something asked for does not exist.
    MethodNotApplicableError
        If the network's preprocess does something else than scaling, cropping and normalising, or it has no classes.
    """
    if net.kind in ("regression", "embedding"):
        raise MethodNotApplicableError(f"{net.name} has no classes to be fooled about: it {net.head.note}.")
    for name, value, choices in (("how", how, _STEPS), ("at", at, _SIZES)):
        if value not in choices:
            raise UnknownOptionError(value, choices, f"{name} is one of {', '.join(choices)}.")
    if how != "ascent" and not 1 <= bound < math.inf:
        raise UnknownOptionError(bound, (), "bound is a number of levels of 255, 1 or more: a file has no finer ones.")
    colours = Colours(net)
    picture, loading = _medium(net, colours, image, at)
    wanted = (
        _least_likely(net, picture if loading is None else loading.load(picture)) if to is None else net.class_index(to)
    )
    if how == "fgsm":
        steps, settings = min(steps, 1), settings | {"learning_rate": bound}
    elif how == "pgd" and controls is None:
        settings = dict(recipes()["fool"].options["how"].implies[how]) | settings
    level = (colours.high - colours.low).abs() / 255
    within = (colours.low.expand_as(picture), colours.high.expand_as(picture))
    if how != "ascent":
        most = math.floor(bound) * level if loading else bound * level  # a file's levels are whole
        within = (torch.maximum(within[0], picture - most), torch.minimum(within[1], picture + most))
    controls = recipes()["fool"].resolve(controls, settings)
    name = net.classes[wanted]
    arguments: dict[str, Any] = {
        "to": name if net.classes.count(name) == 1 else wanted,
        "how": how,
        "at": at,
        "bound": bound,
    }
    if start is not None:
        arguments["start"] = named(start)

    def begun(beginning: Tensor, steps: int) -> Ascent:
        run = begin(
            "fool",
            net,
            Probability(wanted, log=True) if how != "ascent" else ClassScore(wanted),
            steps=steps,
            seed=seed,
            start=beginning,
            parameterization="pixels",
            loading=loading,
            optimiser=_STEPS[how](level, colours.to_pixels(picture).norm()),
            within=within,
            controls=controls,
            schedule=schedule,
            subject=named(image),
            arguments=arguments,
            origin=image if start is None else start,
        )
        run.finished = False  # its frames are given as Fooled
        return run

    original, begins_at = None, picture
    if start is not None:
        original, begins_at = next(begun(picture, 0).frames()), _begun_from(net, colours, start, at, picture)
    return _until_done(net, begun(begins_at, steps).frames(), wanted, original)


def _until_done(
    net: Network, frames: Generator[Frame, None, None], wanted: int, original: Frame | None
) -> Generator[Fooled, None, None]:
    for frame in frames:
        original = original or frame
        done = frame.logits is not None and int(net.head.best(frame.logits)) == wanted
        own = {f.name: getattr(frame, f.name) for f in fields(Frame)}
        if done:  # as the network has it; and as it will have the file
            logits = net.trace(
                frame.input if frame.file is not None else frame.rounded.input, layers=()
            ).scores.detach()
            done = int(net.head.best(logits)) == wanted
            if frame.file is not None:
                own["logits"] = logits
        fooled = Fooled(**own, original=original, to=wanted, done=done)
        if frame.file is None and (done or frame.step == frame.steps):
            fooled.judge()
        yield fooled
        if done:
            return


def _medium(net: Network, colours: Colours, source: Any, at: str) -> tuple[Tensor, Loading | None]:
    """The picture that is changed, and how the network gets it."""
    source = source.image if isinstance(source, Frame) and colours.invertible else source
    source = source.input if isinstance(source, Frame) else source
    if isinstance(source, Tensor) and source.ndim == 4:
        one_picture(source)
    medium = medium_of(net, colours, source, at == "photograph")
    return medium.picture, medium.loading


def _begun_from(net: Network, colours: Colours, start: Any, at: str, picture: Tensor) -> Tensor:
    """The picture to begin with, of the size of the one that is changed."""
    if isinstance(start, Frame) and start.file is not None and start.file.shape == picture.shape:
        return colours.to_input(start.file.to(picture.device) / 255)
    begun, _ = _medium(net, colours, start, at)
    if begun.shape != picture.shape:
        raise ImageError(
            f"The picture to start from is {' x '.join(map(str, begun.shape[2:]))}, and the one to be changed "
            f"{' x '.join(map(str, picture.shape[2:]))}: give pictures of one size."
        )
    return begun


def _least_likely(net: Network, x: Tensor) -> int:
    return int(net.head.class_scores(net.scores(x)).argmin())


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


_SIZES = ("network", "photograph")
_STEPS: dict[str, Callable[[Tensor, Tensor], Optimiser]] = {"ascent": _Share, "fgsm": _Sign, "pgd": _Sign}
