"""What a recipe is: a generator of frames, with what a menu and a caller need to know of it; and how one begins."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from operator import itemgetter
from typing import Any, Literal, Union

import torch
from PIL import ImageOps
from torch import Tensor

from nbcnnviz.core.errors import ImageError, NameTakenError, UnknownOptionError
from nbcnnviz.core.images import load_image
from nbcnnviz.core.network import Network
from nbcnnviz.core.options import Above, Condition, Option, declared, in_force, option, plain_signature, same_function
from nbcnnviz.core.targets import as_target
from nbcnnviz.synthesis.ascent import Ascent, Frames, Schedule
from nbcnnviz.synthesis.controls import CONTROLS, Controls
from nbcnnviz.synthesis.frame import Frame, Provenance
from nbcnnviz.synthesis.loading import Loading
from nbcnnviz.synthesis.optimisers import OPTIMISERS, Optimiser
from nbcnnviz.synthesis.parameterization import PARAMETERIZATIONS, Colours
from nbcnnviz.synthesis.precision import PRECISIONS, checked_precision

Size = Union[int, Sequence[int], None]


@dataclass(frozen=True)
class Recipe:
    """A recipe for pictures.

    Attributes
    ----------
    name
        What it is called in `nbcnnviz.synthesis`.
    title
        What it is called in a menu.
    takes
        What it works on besides the network: an ``"objective"`` or a ``"picture"``.
    raises
        What it is asked to raise: a ``"target"``, of which there may be several side by side where it takes an objective;
        what the picture does at a ``"layer"``; or ``""``, where its options say it all.
    doc
        What it does, with the source.
    run
        The function, ``run(net, objective or picture, *, steps, seed, controls, ...)``.
    steps
        How many, unless told otherwise.
    defaults
        The numbers it starts from, as `Controls` has them.
    options
        All that ``run`` takes by name, with default, range and help: its own options, and the controls.
    total
        How many steps there are in all, by the values of the options.
    """

    name: str
    title: str
    takes: Literal["objective", "picture"]
    raises: Literal["target", "layer", ""]
    doc: str
    run: Callable[..., Frames]
    steps: int
    defaults: dict[str, Any]
    options: dict[str, Option] = field(default_factory=dict)
    total: Callable[[Mapping[str, Any]], int] = itemgetter("steps")

    def controls(self, **changes: Any) -> Controls:
        """Controls with the recipe's numbers, but for ``changes``: hand them to ``run`` and move them as it goes on."""
        return Controls().copy(**(self.defaults | changes))

    def resolve(self, controls: Controls | None, settings: dict[str, Any]) -> Controls:
        """The very controls given, which the caller goes on to move, or the recipe's, with the settings made on them."""
        if controls is None:
            return self.controls(**settings)
        for name, value in settings.items():
            setattr(controls, name, value)
        return controls

    def settle(self, controls: Controls | None, settings: dict[str, Any]) -> Controls:
        """The old name of `resolve`; it goes with version 0.2."""
        warnings.warn("Recipe.settle is now Recipe.resolve.", DeprecationWarning, stacklevel=2)
        return self.resolve(controls, settings)


_RECIPES: dict[str, Recipe] = {}


_MOVES = ("jitter", "scale", "rotate", "jitter_after")
"""The controls by which each step sees the picture in another way, at random."""

RUN: dict[str, Option] = {
    "steps": option(256, low=0, help="How many steps; there is one frame more.", main=True),
    "size": option(
        None, help="Height and width, or one number for both. Default: what the network is made for.", kind="size"
    ),
    "seed": option(
        0,
        low=0,
        help="Of every random number: the same seed makes the same picture.",
        when=(
            *({name: Above(0)} for name in _MOVES),
            {"start": ("noise",)},
            {"start": (None,), "parameterization": ("fourier",)},
        ),
    ),
    "start": option(None, help="A picture to start from, 'noise', or 'mean' for the mean colour.", kind="picture"),
    "pictures": option(1, low=1, help="How many, of one objective."),
    "parameterization": option("fourier", choices=tuple(PARAMETERIZATIONS), help="What the picture is made of."),
    "optimiser": option("adam", choices=tuple(OPTIMISERS), help="How a gradient becomes a step."),
    "clip": option(
        False,
        help="Whether pixels are kept between black and white.",
        label="Keep between black and white",
        when={"parameterization": ("pixels",)},
    ),
    "precision": option("float32", choices=PRECISIONS, help="What the network computes in; 'auto' measures."),
}
"""What most recipes take besides the controls; what a recipe's own signature says of a default goes before."""

_APART = ("controls", "schedule", "canvas", "mixed")
"""What is no option of a recipe: how it is driven, and older names."""


def recipe(
    title: str,
    *,
    takes: Literal["objective", "picture"] = "objective",
    raises: Literal["target", "layer", ""] = "target",
    own: Mapping[str, Any] | None = None,
    total: Callable[[Mapping[str, Any]], int] = itemgetter("steps"),
    when: Mapping[str, Condition] | None = None,
    replace: bool = False,
    **defaults: Any,
) -> Callable[[Callable[..., Frames]], Any]:
    """Enter a function among the recipes, under its own name, with its own defaults for the controls.

    Parameters
    ----------
    title, takes, raises, total, defaults
        See `Recipe`.
    own
        The recipe's defaults for what `begin` takes and its signature does not name.
    when
        Of controls that do not always count with this recipe, when they do; see `nbcnnviz.core.options.Option`.
    replace
        Whether it may take the place of another function's recipe of the same name.

    Raises
    ------
    NameTakenError
        If another function's recipe has the name, and ``replace`` is not set.
    """

    def enter(made: Callable[..., Frames]) -> Callable[..., Frames]:
        name, before = made.__name__, _RECIPES.get(made.__name__)
        if before is not None and not replace and not same_function(before.run, made):
            raise NameTakenError(
                f"There is a recipe {name!r} already, {before.title} of {before.run.__module__}: give yours another name, "
                "or say @recipe(..., replace=True)."
            )
        options = _options_of(made, own or {}, defaults)
        options |= {name: changed(options[name], when=condition) for name, condition in (when or {}).items()}
        parameters = inspect.signature(made).parameters
        filled = {n: options[n].default for n, p in parameters.items() if isinstance(p.default, Option)}
        # Tensors made in inference mode could have no gradient later.
        inner = torch.inference_mode(False)(made)

        @functools.wraps(made)
        def run(*args: Any, **given: Any) -> Frames:
            given |= {n: options[n].check(given[n]) for n in filled if n in given}
            by_place = [*parameters][: len(args)]
            usual = {n: value for n, value in filled.items() if n not in by_place}
            return inner(*args, **(usual | dict(own or {}) | given))

        run.__signature__ = plain_signature(made)  # type: ignore[attr-defined]
        steps = options["steps"].default
        _RECIPES[name] = Recipe(
            name, title, takes, raises, inspect.getdoc(made) or "", run, steps, defaults, options, total
        )
        return run

    return enter


def _options_of(made: Callable[..., Frames], own: Mapping[str, Any], defaults: dict[str, Any]) -> dict[str, Option]:
    """The options of a recipe: those of its signature, those it hands on, and the controls."""
    parameters = inspect.signature(made).parameters
    by_place = {n: changed(p.default, name=n) for n, p in parameters.items() if isinstance(p.default, Option)}
    found = {name: o for name, o in (by_place | declared(made)).items() if name not in _APART}
    for name, own_option in found.items():
        if name in RUN and not isinstance(parameters[name].default, Option):
            found[name] = changed(RUN[name], name=name, default=own_option.default)
    if "options" in parameters:  # those of `begin`
        found |= {name: changed(o, name=name) for name, o in RUN.items() if name not in found}
        found |= {name: changed(found[name], default=value) for name, value in own.items()}
    controls = {name: changed(o, default=o.check(defaults.get(name, o.default))) for name, o in CONTROLS.items()}
    return found | controls


def recipes() -> dict[str, Recipe]:
    """Every recipe by name, those that start from nothing first."""
    return dict(sorted(_RECIPES.items(), key=lambda item: item[1].takes))


@torch.inference_mode(False)
def begin(
    name: str,
    net: Network,
    objective: Any,
    *,
    steps: int,
    size: Size = None,
    seed: int = 0,
    start: Any = None,
    pictures: int = 1,
    parameterization: str = "fourier",
    canvas: str | None = None,
    optimiser: str | Optimiser = "adam",
    clip: bool = False,
    within: tuple[Tensor, Tensor] | None = None,
    precision: str = "float32",
    mixed: bool = False,
    controls: Controls | None = None,
    schedule: Schedule | None = None,
    subject: str | None = None,
    arguments: dict[str, Any] | None = None,
    origin: Any = None,
    loading: Loading | None = None,
    **settings: Any,
) -> Ascent:
    """A recipe's run, ready to go; see `nbcnnviz.synthesis.synthesize` for what the options mean.

    ``within`` are the darkest and the brightest picture allowed, ``subject`` and ``arguments`` how the recipe was
    called, in words, where they are not the objective and the options here, and ``origin`` what the run
    starts from, in the caller's eyes, where that is not ``start``. With ``loading`` the picture is one that is loaded from a
    file.
    """
    found = _RECIPES[name]
    precision = checked_precision(precision, mixed)
    if canvas is not None:
        warnings.warn("canvas= is now parameterization=; the old name goes with version 0.2.", DeprecationWarning, 5)
        parameterization = canvas
    if isinstance(objective, (list, tuple)) and not objective:
        raise UnknownOptionError("[]", (), "A gallery has one objective or more.")
    goal = as_target(objective)
    goal.check(net)
    alike = goal.pictures is not None
    count = _whole("pictures", pictures, 1) if goal.pictures is None else goal.pictures
    colours, generator = Colours(net), torch.Generator().manual_seed(seed)
    scattered = start == "noise" if isinstance(start, str) else start is None and parameterization == "fourier"
    if start is not None and not scattered and not (isinstance(start, str) and start == "mean"):
        picture = _as_many(picture_of(net, colours, start, size), None if not alike and pictures == 1 else count)
        count = len(picture)
        pictures = pictures if alike else count
    else:
        picture = torch.zeros(count, net.input_shape[0], *size_of(net, size), device=net.device)
    made_of = _chosen("parameterization", parameterization, PARAMETERIZATIONS)(picture, colours)
    if scattered:
        made_of.randomize(generator, alike)
    if arguments is None:
        arguments = {
            "parameterization": parameterization,
            "optimiser": optimiser,
            "clip": clip,
            "precision": precision,
            "pictures": pictures,
            "size": size,
        }
        arguments["start"] = start if start is None or isinstance(start, str) else named(start)
    origin = start if origin is None else origin
    return Ascent(
        net,
        goal,
        made_of,
        colours,
        _chosen("optimiser", optimiser, OPTIMISERS)() if isinstance(optimiser, str) else optimiser,
        found.resolve(controls, settings),
        generator,
        Provenance(
            name,
            net.name,
            subject or repr(goal),
            seed,
            {"steps": steps} | arguments,
            in_force(found.options, {n: arguments[n] for n, o in found.options.items() if o.implies}),
            origin=(origin.provenance, origin.step) if isinstance(origin, Frame) else None,
        ),
        _whole("steps", steps, 0),
        schedule or {},
        (colours.low, colours.high) if clip and parameterization == "pixels" else within,
        precision,
        loading,
    )


class Words(str):
    """A string that stands for itself in an expression."""

    def __repr__(self) -> str:
        return str(self)


def named(source: Any) -> Words:
    """A picture that a run was given, in its code: a frame, which the code makes too, or a picture of the caller's."""
    return Words("frame" if isinstance(source, Frame) else "image")


def size_of(net: Network, size: Size) -> tuple[int, int]:
    """Height and width of a picture to be made."""
    if size is None:
        return net.input_shape[1], net.input_shape[2]
    height, width = (size, size) if isinstance(size, int) else size
    return _whole("size", height, 1), _whole("size", width, 1)


def picture_of(net: Network, colours: Colours, source: Any, size: Size = None) -> Tensor:
    """A picture in the units of the network's input, (1, C, H, W): through its preprocess, or fitted to a size."""
    if isinstance(source, Frame):
        source = source.input
    if size is None or (isinstance(source, Tensor) and source.ndim == 4):
        picture = net.batch(source).float()
        if size is not None and tuple(picture.shape[2:]) != size_of(net, size):
            raise ImageError(
                f"The picture to start from is {tuple(picture.shape)}, and size is {size}: give one of them."
            )
        return picture
    from torchvision.transforms.v2 import functional as F  # loads all of torchvision, for seconds

    height, width = size_of(net, size)
    image = ImageOps.fit(load_image(source), (width, height))
    pixels = F.to_dtype(F.to_image(image), torch.float32, scale=True).to(net.device)[None]
    if net.input_shape[0] == 1:
        pixels = F.rgb_to_grayscale(pixels)
    return colours.to_input(pixels.as_subclass(Tensor))


def one_picture(picture: Tensor) -> Tensor:
    """The picture, if it is one; ImageError for a batch of several."""
    if len(picture) != 1:
        raise ImageError(f"This recipe takes one picture, and {len(picture)} were given: give them one by one.")
    return picture


def _as_many(picture: Tensor, count: int | None) -> Tensor:
    """One picture so many times, or so many pictures as they are; all that there are where no number is asked for."""
    if count is None or len(picture) == count:
        return picture
    if len(picture) != 1:
        raise ImageError(
            f"There are {len(picture)} pictures to start from, and {count} to be made: give one, or as many as are made."
        )
    return picture.expand(count, -1, -1, -1)


def _chosen(what: str, name: str, choices: dict[str, Any]) -> Any:
    if name not in choices:
        raise UnknownOptionError(name, choices, f"The {what} is one of {', '.join(choices)}.")
    return choices[name]


def _whole(what: str, number: int, least: int) -> int:
    if isinstance(number, bool) or not hasattr(number, "__index__") or number < least:
        raise UnknownOptionError(number, (), f"{what} is a whole number, {least} or more.")
    return number.__index__()
