"""What a method is: a generator of frames, with what a menu and a caller need to know of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import replace as changed
from typing import TYPE_CHECKING, Any

import torch

from nbcnnviz.attribution.result import Attribution
from nbcnnviz.core.errors import NameTakenError, NoMapsError, UnknownMethodError
from nbcnnviz.core.options import Option, checked, declared, plain_signature, same_function
from nbcnnviz.core.precision import full_float32

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.trace import Trace

Frames = Iterator[Attribution]
Passes = Callable[[Mapping[str, Any], "Trace"], float]
LooksAt = Callable[["Network", str, Mapping[str, Any]], Collection[str]]


@dataclass(frozen=True)
class About:
    """What a reader should know of a method before trusting its maps, for the page of methods.

    Attributes
    ----------
    formula
        What it computes, in LaTeX without dollars: S the target's score, A a layer's maps, g its gradient there, I the input.
    source
        The paper, with the equation and where to read it.
    promises
        What holds for its maps.
    weaknesses
        What is known against them.
    oracle
        What its numbers are tested against.
    """

    formula: str = ""
    source: str = ""
    promises: str = ""
    weaknesses: str = ""
    oracle: str = ""


@dataclass(frozen=True)
class Method:
    """A method of attribution.

    Attributes
    ----------
    name
        What it is called in `nbcnnviz.attribute`.
    title
        What it is called in a menu.
    family
        ``"gradients"``, ``"cams"``, ``"paths"``, ``"perturbation"`` or ``"propagation"``.
    needs_layer
        Whether it looks at a layer's maps; other methods look at the input unless told otherwise.
    needs_input
        Whether it goes down to the input even where it looks at a layer.
    cost
        What it takes, in forward (F) and backward (B) passes; the forward pass is shared by all methods of a trace.
    doc
        What it computes, with the source.
    run
        The generator itself, ``run(trace, target, layer, **options)``.
    options
        Its own options by name: default, range, help.
    passes
        ``passes(options, trace)``: how many forward passes its run is worth, given the values of all options and, as
        ``"layer"``, where it looks; None where the method does not say. See `forward_passes`.
    looks_at
        ``looks_at(network, layer, options)``: the layers whose maps it looks at, for a method that looks at several.
    about
        Its formula, source, promises, weaknesses and oracle; empty where nothing was said.
    """

    name: str
    title: str
    family: str
    needs_layer: bool
    needs_input: bool
    cost: str
    doc: str
    run: Callable[..., Frames]
    options: dict[str, Option]
    passes: Passes | None = None
    looks_at: LooksAt | None = None
    about: About = About()

    def forward_passes(self, options: Mapping[str, Any], trace: Trace, layer: str | None = None) -> float | None:
        """How many forward passes a run with these options is worth, at a layer or the default one; None if it is not said."""
        if self.passes is None:
            return None
        where = layer or (trace.network.last_maps if self.needs_layer else "input")
        return float(self.passes({**self.defaults, **options, "layer": where}, trace))

    def check_layer(self, network: Network, layer: str) -> None:
        """Refuse the input where the method looks at a layer's maps, by MethodNotApplicableError."""
        if layer == "input" and self.needs_layer:
            last = network.last_maps
            such = f"choose a layer, such as {last!r}. " if last else f"and {network.name} has none. "
            raise NoMapsError(
                f"{self.title} weighs the maps of a layer, which the input is not: {such}{at_the_input()}"
            )

    @property
    def defaults(self) -> dict[str, Any]:
        """The value of each option unless given."""
        return {name: option.default for name, option in self.options.items()}

    def _repr_markdown_(self) -> str:
        from nbcnnviz.attribution.page import section  # it looks at the register

        return section(self)


_METHODS: dict[str, Method] = {}
_AT_THE_INPUT = ("saliency", "integrated_gradients", "occlusion", "rise")
_FAMILIES = ("gradients", "cams", "paths", "perturbation", "propagation")


def method(
    title: str,
    *,
    family: str,
    needs_layer: bool = False,
    needs_input: bool = False,
    cost: str,
    passes: Passes | None = None,
    looks_at: LooksAt | None = None,
    about: About | None = None,
    replace: bool = False,
) -> Callable[[Callable[..., Frames]], Any]:
    """Enter a generator of frames among the methods, under its own name.

    The frames it yields get the method's name, whatever they were called, and its options, the keyword-only parameters,
    their defaults. The function of one module may be defined again, as a notebook's cell does that is run again.

    Parameters
    ----------
    title, family, needs_layer, needs_input, cost, passes, looks_at, about
        See `Method`.
    replace
        Whether it may take the place of another function's method of the same name.

    Raises
    ------
    NameTakenError
        If another function's method has the name, and ``replace`` is not set.
    """

    def enter(made: Callable[..., Frames]) -> Callable[..., Frames]:
        name, options = made.__name__, declared(made)
        before = _METHODS.get(name)
        if before is not None and not replace and not same_function(before.run, made):
            raise NameTakenError(
                f"There is a method {name!r} already, {before.title} of {before.run.__module__}: give yours another name, "
                "or say @method(..., replace=True)."
            )
        defaults = {option.name: option.default for option in options.values()}

        @functools.wraps(made)
        def run(trace: Any, target: Any, layer: str, **given: Any) -> Generator[Attribution, None, None]:
            entered.check_layer(trace.network, layer)
            if target.pictures not in (None, len(trace)):
                target(trace)  # it says what is amiss, before some of its parts answer for the pictures there are
            frames = iter(made(trace, target, layer, **(defaults | given)))
            try:
                while (frame := _next(frames, trace.network.device)) is not _END:
                    yield _stamped(frame, name)
            except NoMapsError as error:
                raise NoMapsError(f"{error} {at_the_input()}") from error
            finally:
                if isinstance(frames, Generator):
                    frames.close()

        run.__signature__ = plain_signature(made)  # type: ignore[attr-defined]
        entered = _METHODS[name] = Method(
            name,
            title,
            family,
            needs_layer,
            needs_input,
            cost,
            inspect.getdoc(made) or "",
            run,
            options,
            passes,
            looks_at,
            about or About(),
        )
        return run

    return enter


_END: Any = object()


def _next(frames: Frames, device: torch.device) -> Attribution:
    """The next frame, whichever mode the caller is in: one may begin a stream in inference mode, and go on outside.

    Convolutions are computed in float32, those too that another library runs.
    """
    with torch.inference_mode(False), full_float32(device):
        return next(frames, _END)


def at_the_input() -> str:
    """Which methods would do where there are no maps, in words."""
    names = ", ".join(repr(name) for name in _AT_THE_INPUT if name in _METHODS)
    return f"Methods that explain the input need no maps: {names}."


def _stamped(frame: Attribution, name: str) -> Attribution:
    """The frame with the method's name; another frame, if it is another method's."""
    if not frame.method:
        object.__setattr__(frame, "method", name)  # as yet nobody else has it
    return frame if frame.method == name else changed(frame, method=name)


def methods() -> dict[str, Method]:
    """Every method by name, family by family, in the order in which a menu shows them."""
    rank = {family: i for i, family in enumerate(_FAMILIES)}
    return dict(sorted(_METHODS.items(), key=lambda entry: rank.get(entry[1].family, len(rank))))


def find(name: str) -> Method:
    """The method of this name; UnknownMethodError, with the nearest names, if there is none."""
    try:
        return _METHODS[name]
    except (KeyError, TypeError):
        raise UnknownMethodError(name, _METHODS) from None


def checked_options(method: str | Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """The values given for a method's options, as it takes them.

    Raises
    ------
    UnknownMethodError, UnknownOptionError
        If there is no such method, or the method has no such option.
    OptionValueError
        If an option cannot have the value.
    """
    chosen = method if isinstance(method, Method) else find(method)
    return checked(chosen.options, options, chosen.name)
