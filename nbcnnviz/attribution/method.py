"""What a method is: a generator of frames, with what a menu and a caller need to know of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nbcnnviz.attribution.result import Attribution
from nbcnnviz.core.errors import UnknownMethodError, UnknownOptionError

Frames = Iterator[Attribution]


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
        ``"gradients"`` or ``"cams"``.
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
        Names and defaults of its own options.
    """

    name: str
    title: str
    family: str
    needs_layer: bool
    needs_input: bool
    cost: str
    doc: str
    run: Callable[..., Frames]
    options: dict[str, Any]


_METHODS: dict[str, Method] = {}


def method(
    title: str, *, family: str, needs_layer: bool = False, needs_input: bool = False, cost: str
) -> Callable[[Callable[..., Frames]], Any]:
    """Enter a generator of frames among the methods, under its own name."""

    def enter(run: Callable[..., Frames]) -> Callable[..., Frames]:
        options = {p.name: p.default for p in inspect.signature(run).parameters.values() if p.kind is p.KEYWORD_ONLY}
        name = run.__name__
        _METHODS[name] = Method(
            name, title, family, needs_layer, needs_input, cost, inspect.getdoc(run) or "", run, options
        )
        return run

    return enter


def methods() -> dict[str, Method]:
    """Every method by name, in the order in which a menu shows them."""
    return dict(_METHODS)


def find(name: str) -> Method:
    """The method of this name; UnknownMethodError, with the nearest names, if there is none."""
    try:
        return _METHODS[name]
    except (KeyError, TypeError):
        raise UnknownMethodError(name, _METHODS) from None


def check_options(chosen: Method, options: dict[str, Any]) -> None:
    """Raise UnknownOptionError for an option that the method does not have."""
    for name in options:
        if name not in chosen.options:
            own = ", ".join(chosen.options) or "none"
            raise UnknownOptionError(name, chosen.options, f"Options of {chosen.name}: {own}.")
