"""Options as data: one declaration, from which calls are checked, menus drawn and tables written.

An option is declared as the default of a keyword-only parameter::

    def rise(trace, target, layer, *, masks: int = option(4000, low=1, high=100_000, help="How many random masks.")):
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from nbcnnviz.core.errors import OptionValueError, UnknownOptionError

Kind = Literal["int", "float", "bool", "choice", "text", "any"]


@dataclass(frozen=True)
class Option:
    """One option of a method or a recipe.

    Attributes
    ----------
    name
        What it is called.
    default
        Its value unless given. Where it is None, None may be given too.
    low, high
        The least and the greatest value; None where there is no bound.
    choices
        The values there are, for an option that is one of a few.
    help
        One line that says what it does.
    kind
        ``"int"``, ``"float"``, ``"bool"``, ``"choice"``, ``"text"``, or ``"any"`` for what is not checked here.
    unit
        Of the value, such as ``"pixels"``; empty where it has none.
    below
        Whether ``high`` itself is excluded.
    """

    name: str = ""
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] | None = None
    help: str = ""
    kind: Kind = "any"
    unit: str = ""
    below: bool = False

    def check(self, value: Any) -> Any:
        """The value as the method takes it; OptionValueError, with a sentence, for one that it cannot take."""
        if value is None and self.default is None:
            return None
        found = _READ[self.kind](value)
        if found is None or not self._has(found):
            raise OptionValueError(f"{self.name} is {self.range}, not {value!r}.", self.name)
        return found

    def _has(self, value: Any) -> bool:
        if self.choices is not None:
            return any(value is choice or value == choice for choice in self.choices)
        if self.kind not in ("int", "float"):
            return True
        above = self.low is None or value >= self.low
        return above and (self.high is None or (value < self.high if self.below else value <= self.high))

    @property
    def range(self) -> str:
        """What it can be, in words."""
        if self.choices is not None:
            return f"one of {', '.join(map(str, self.choices))}"
        words = _WORDS[self.kind]
        if self.kind not in ("int", "float"):
            return words
        unit = f" of {self.unit}" if self.unit else ""
        if self.low is not None and self.high is not None:
            return f"{words}{unit} from {self.low:g} to {'less than ' if self.below else ''}{self.high:g}"
        if self.low is not None:
            least = "zero" if self.low == 0 and self.kind == "float" else f"{self.low:g}"
            return f"{words}{unit}, {least} or more"
        if self.high is not None:
            return f"{words}{unit}, {'less than ' if self.below else 'at most '}{self.high:g}"
        return words + unit


def option(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[Any] | None = None,
    help: str = "",
    kind: Kind | None = None,
    unit: str = "",
    below: bool = False,
) -> Any:
    """Declare an option as the default of a keyword-only parameter; see `Option`. The kind follows from the default."""
    if kind is None:
        kind = "choice" if choices is not None else _kind_of(default)
    found = None if choices is None else tuple(choices)
    return Option("", default, low, high, found, help, kind, unit, below)


def declared(function: Callable[..., Any]) -> dict[str, Option]:
    """The options of a function: its keyword-only parameters, with what is declared of each."""
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        default = parameter.default
        if default is parameter.empty:
            raise OptionValueError(f"The option {name!r} of {function.__name__} has no default: give it one.", name)
        is_declared = isinstance(default, Option)
        found[name] = replace(default, name=name) if is_declared else Option(name, default, kind=_kind_of(default))
    return found


def same_function(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two functions are one, defined twice: they have the same place in the same module."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def plain_signature(function: Callable[..., Any]) -> inspect.Signature:
    """A function's signature as a caller should see it: with the default of an option, and not its declaration."""
    signature = inspect.signature(function)
    return signature.replace(
        parameters=[
            p.replace(default=p.default.default) if isinstance(p.default, Option) else p
            for p in signature.parameters.values()
        ]
    )


def checked(options: Mapping[str, Option], given: Mapping[str, Any], of: str) -> dict[str, Any]:
    """The values given, as the method or recipe takes them.

    Raises
    ------
    UnknownOptionError
        For a name that is not among the options.
    OptionValueError
        For a value that the option cannot have.
    """
    for name in given:
        if name not in options:
            raise UnknownOptionError(name, options, f"Options of {of}: {', '.join(options) or 'none'}.")
    return {name: options[name].check(value) for name, value in given.items()}


def _kind_of(default: Any) -> Kind:
    kinds: tuple[tuple[type, Kind], ...] = ((bool, "bool"), (int, "int"), (float, "float"), (str, "text"))
    return next((kind for type_, kind in kinds if isinstance(default, type_)), "any")


def _whole(value: Any) -> int | None:
    if isinstance(value, (bool, np.bool_)):
        return None
    with suppress(TypeError):
        return operator.index(value)
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _number(value: Any) -> float | None:
    if isinstance(value, (bool, np.bool_)):
        return None
    with suppress(TypeError, ValueError):
        number = math.nan if isinstance(value, str) else float(value)
        return number if math.isfinite(number) else None
    return None


_READ: dict[str, Callable[[Any], Any]] = {
    "int": _whole,
    "float": _number,
    "bool": lambda value: bool(value) if isinstance(value, (bool, np.bool_)) else None,
    "choice": lambda value: value,
    "text": lambda value: value if isinstance(value, str) else None,
    "any": lambda value: value,
}
_WORDS = {
    "int": "a whole number",
    "float": "a finite number",
    "bool": "True or False",
    "choice": "a choice",
    "text": "a string",
    "any": "a value",
}
