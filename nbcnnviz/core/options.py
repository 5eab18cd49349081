"""Options as data: one declaration, from which calls are checked, menus drawn and tables written.

An option is declared as the default of a keyword-only parameter::

    def rise(trace, target, layer, *, masks: int = option(4000, low=1, high=100_000, help="How many random masks.")):
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from nbcnnviz.core.errors import OptionValueError, UnknownOptionError

Kind = Literal[
    "int", "float", "bool", "choice", "text", "class", "picture", "baseline", "size", "numbers", "frame", "any"
]


@dataclass(frozen=True)
class Above:
    """The numbers above a bound, for `Option.when`."""

    bound: float

    def __contains__(self, value: Any) -> bool:
        number = _number(value)
        return number is not None and number > self.bound


Condition = Mapping[str, Container[Any]]
"""Names of options, each with the values of which it is to be one."""


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
        ``"int"``, ``"float"``, ``"bool"``, ``"choice"``, ``"text"``; what is checked by who takes it: a ``"class"`` (index or
        name), a ``"picture"``, a ``"baseline"`` (``"black"``, ``"mean"``, ``"blur"``, ``"noise"``, a picture or a preprocessed
        tensor), a ``"size"`` (height and width, or one number for both), ``"numbers"`` (one or several, each within the
        bounds), a ``"frame"`` of an earlier run; or ``"any"``.
    unit
        Of the value, such as ``"pixels"``; empty where it has none.
    below
        Whether ``high`` itself is excluded.
    label
        What it is called on the screen; the name, with spaces, unless told.
    typical
        The ends of a slider, for a number that is worth one; other values can be given all the same. Of three, the first is
        zero, for a logarithmic slider that can be switched off.
    log
        Whether that slider is logarithmic.
    main
        Whether it is always in sight, and not among further settings.
    when
        What other options must be for this one to count: their names, each with the values of which it is one. Of several
        such conditions one suffices. Where it does not count, it is not shown.
    screen
        Whether it has a control; what changes no result, such as how many pictures a pass takes, is set in Python alone.
    implies
        For some of the choices, defaults of other options that are different then.
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
    label: str = ""
    typical: tuple[float, ...] | None = None
    log: bool = False
    main: bool = False
    when: Condition | tuple[Condition, ...] = field(default_factory=dict, hash=False)
    implies: Mapping[Any, Mapping[str, Any]] = field(default_factory=dict, hash=False)
    screen: bool = True

    def counts(self, values: Mapping[str, Any]) -> bool:
        """Whether it makes a difference, where the options have these values."""
        conditions = self.when if isinstance(self.when, tuple) else (self.when,)
        return any(all(_plain(values.get(name)) in wanted for name, wanted in one.items()) for one in conditions)

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
        if self.kind == "numbers":
            return all(map(self._within, value))
        return self.kind not in ("int", "float") or self._within(value)

    def _within(self, value: float) -> bool:
        above = self.low is None or value >= self.low
        return above and (self.high is None or (value < self.high if self.below else value <= self.high))

    @property
    def range(self) -> str:
        """What it can be, in words."""
        if self.choices is not None:
            return f"one of {', '.join(map(str, self.choices))}"
        words = _WORDS[self.kind]
        if self.kind not in ("int", "float", "numbers"):
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
    **more: Any,
) -> Any:
    """Declare an option as the default of a keyword-only parameter; see `Option`. The kind follows from the default.

    Raises
    ------
    OptionValueError
        If there are bounds, and neither ``kind`` nor the default says of what numbers.
    """
    if kind is None:
        kind = "choice" if choices is not None else _kind_of(default)
    if kind == "any" and (low is not None or high is not None):
        raise OptionValueError("Bounds are of a number: say the kind of the option, int or float.")
    found = None if choices is None else tuple(choices)
    return Option("", default, low, high, found, help, kind, **more)


def in_force(options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every option: the one given, else its default, as what is given implies it."""
    values = {name: option.default for name, option in options.items()} | dict(given)
    implied: dict[str, Any] = {}
    for name, option in options.items():
        implied |= option.implies.get(values[name], {}) if option.implies else {}
    return values | {name: value for name, value in implied.items() if name not in given}


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


def _is_size(value: Any) -> bool:
    parts = [value] if _whole(value) is not None else value
    return isinstance(parts, Sequence) and len(parts) in (1, 2) and all((_whole(part) or 0) >= 1 for part in parts)


def _numbers(value: Any) -> tuple[float, ...] | None:
    """One number or several, but not none."""
    with suppress(TypeError):  # a tensor of one value is iterable, and cannot be iterated over
        parts = list(value) if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else [value]
        found = tuple(number for part in parts if (number := _number(part)) is not None)
        return found if found and len(found) == len(parts) else None
    return None


def _plain(value: Any) -> Any:
    """A value that can be looked for among others: what compares place by place, as a tensor does, is none of them."""
    return value if value is None or isinstance(value, (str, int, float)) else _OTHER


_OTHER = object()


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
    "class": lambda value: value if isinstance(value, str) else _whole(value),
    "size": lambda value: value if _is_size(value) else None,
    "numbers": _numbers,
    **dict.fromkeys(("picture", "baseline", "frame", "any"), lambda value: value),
}
_WORDS = {
    "int": "a whole number",
    "float": "a finite number",
    "bool": "True or False",
    "choice": "a choice",
    "text": "a string",
    "class": "a class, by its index or name",
    "picture": "a picture",
    "baseline": "black, mean, blur, noise, a picture or a preprocessed tensor",
    "size": "a height and width, or one number for both",
    "numbers": "one number or several",
    "frame": "a frame of an earlier run, or a picture",
    "any": "a value",
}
