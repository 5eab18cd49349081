"""What every target is, and how targets add, subtract, multiply and divide."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from numbers import Real
from typing import TYPE_CHECKING, Any

from torch import Tensor

from nbcnnviz.core.errors import FilterRangeError, UnknownLayerError

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.trace import Trace


class Target(ABC):
    """What is asked about: a function from a trace to one score a picture, (N,).

    Whoever needs a scalar takes the sum: a picture's score depends on that picture alone, so that one backward pass
    gives each picture its own gradient. What can be explained can be raised by gradient ascent and measured too.

    Targets add, subtract, multiply and divide, with one another and with numbers. ``repr`` is the code that makes a
    target, where ``nv`` is nbcnnviz. A target of your own says at least what it computes, in ``__call__``.
    """

    # numpy's numbers leave arithmetic with a target to the target.
    __array_ufunc__ = None

    @abstractmethod
    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture of the trace, (N,)."""

    @property
    def layers(self) -> frozenset[str] | None:
        """The layers it looks at; None if it may look at any."""
        return None

    @property
    def classes(self) -> tuple[int | str, ...]:
        """The classes it asks about, by index or name."""
        return ()

    @property
    def whole(self) -> bool:
        """Whether it needs the class scores, so that the forward pass must run to its end."""
        return self.layers is None or bool(self.classes)

    @property
    def pictures(self) -> int | None:
        """How many pictures it is about, if it asks something else of each; None if of any number."""
        return None

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The names in its ``repr`` that stand for what is the caller's own, with what that is, in words."""
        return {}

    def check(self, network: Network) -> None:
        """Raise UnknownLayerError or UnknownClassError if a network lacks what the target asks about."""
        for layer in self.layers or ():
            if layer not in network.layers:
                raise network.unknown_layer(layer)
        for index in self.classes:
            network.class_index(index)

    def describe(self, network: Network) -> str:
        """The target in a few words, for captions."""
        return repr(self)

    def of_picture(self, picture: int) -> Target:
        """The target for one picture of the batch by itself, where it asks something else of each."""
        return self

    def mixes(self, trace: Trace) -> bool:
        """Whether the score of a picture of this pass is not what it would be by itself."""
        return False

    def unmixed(self, trace: Trace) -> Tensor | None:
        """The score of each picture, (N,); None where it is not what it would be by itself."""
        return None if self.mixes(trace) else self(trace)

    def pinned(self, trace: Trace) -> Target:
        """The target for every other pass, where what it is about is found at this trace: a box of its list, say."""
        return self

    def __add__(self, other: Any) -> Target:
        return _linear((1, self), (1, other))

    def __radd__(self, other: Any) -> Target:
        return _linear((1, other), (1, self))

    def __sub__(self, other: Any) -> Target:
        return _linear((1, self), (-1, other))

    def __rsub__(self, other: Any) -> Target:
        return _linear((1, other), (-1, self))

    def __mul__(self, other: Any) -> Target:
        return _linear((other, self)) if isinstance(other, Real) else _operation("*", self, other)

    def __rmul__(self, other: Any) -> Target:
        return _linear((other, self)) if isinstance(other, Real) else _operation("*", other, self)

    def __truediv__(self, other: Any) -> Target:
        return _linear((1 / float(other), self)) if isinstance(other, Real) else _operation("/", self, other)

    def __rtruediv__(self, other: Any) -> Target:
        return _operation("/", other, self)

    def __neg__(self) -> Target:
        return _linear((-1, self))


@dataclass(frozen=True, repr=False)
class _Composed(Target):
    """A target made of others."""

    @property
    @abstractmethod
    def parts(self) -> tuple[Target, ...]:
        """The others."""

    @property
    def layers(self) -> frozenset[str] | None:
        """All that the parts look at."""
        found = [part.layers for part in self.parts]
        return None if None in found else frozenset().union(*found)  # type: ignore[arg-type]

    @property
    def classes(self) -> tuple[int | str, ...]:
        """Those of the parts."""
        return tuple(dict.fromkeys(index for part in self.parts for index in part.classes))

    @property
    def whole(self) -> bool:
        """Whether one of the parts needs the class scores."""
        return any(part.whole for part in self.parts)

    @property
    def pictures(self) -> int | None:
        """How many pictures the parts are about."""
        return max((part.pictures for part in self.parts if part.pictures is not None), default=None)

    @property
    def placeholders(self) -> Mapping[str, str]:
        """Those of the parts."""
        return {name: what for part in self.parts for name, what in part.placeholders.items()}

    def mixes(self, trace: Trace) -> bool:
        """Whether one of the parts does."""
        return any(part.mixes(trace) for part in self.parts)

    def check(self, network: Network) -> None:
        """See `Target.check`."""
        for part in self.parts:
            part.check(network)


@dataclass(frozen=True, repr=False)
class Combination(_Composed):
    """A sum of targets, each times a number, and of a number: what ``a - 0.5 * b + 1`` makes."""

    terms: tuple[tuple[float, Target], ...]
    constant: float = 0

    @property
    def parts(self) -> tuple[Target, ...]:
        """The targets."""
        return tuple(target for _, target in self.terms)

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        scores = [target(trace) if weight == 1 else weight * target(trace) for weight, target in self.terms]
        total = reduce(operator.add, scores)
        return total + self.constant if self.constant else total

    def pinned(self, trace: Trace) -> Target:
        """See `Target.pinned`."""
        return Combination(tuple((weight, target.pinned(trace)) for weight, target in self.terms), self.constant)

    def of_picture(self, picture: int) -> Target:
        """See `Target.of_picture`."""
        return Combination(tuple((weight, part.of_picture(picture)) for weight, part in self.terms), self.constant)

    def __repr__(self) -> str:
        return self._joined(
            [(w, f"({t!r})" if isinstance(t, _Composed) else repr(t)) for w, t in self.terms], repr, "*"
        )

    def describe(self, network: Network) -> str:
        """The terms in words."""
        words = [(w, f"({said})" if isinstance(t, _Composed) else said) for w, t, said in self._described(network)]
        return self._joined(words, "{:g}".format, "x")

    def _described(self, network: Network) -> Iterable[tuple[float, Target, str]]:
        return ((weight, target, target.describe(network)) for weight, target in self.terms)

    def _joined(self, terms: list[tuple[float, str]], number: Any, times: str) -> str:
        text = ""
        for weight, said in terms:
            sign = ("-" if weight < 0 else "") if not text else (" - " if weight < 0 else " + ")
            factor = "" if abs(weight) == 1 else f"{number(abs(weight))} {times} "
            text += sign + factor + said
        if self.constant:
            text += f" {'-' if self.constant < 0 else '+'} {number(abs(self.constant))}"
        # A single target times one is still another object than the target.
        return f"1 {times} {text}" if len(terms) == 1 and text == terms[0][1] else text


@dataclass(frozen=True, repr=False)
class Operation(_Composed):
    """The product or the quotient of two targets, picture by picture: what ``a * b`` and ``a / b`` make."""

    sign: str
    left: Target | float
    right: Target | float

    @property
    def parts(self) -> tuple[Target, ...]:
        """The operands that are targets."""
        return tuple(part for part in (self.left, self.right) if isinstance(part, Target))

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,)."""
        left, right = (p(trace) if isinstance(p, Target) else p for p in (self.left, self.right))
        return left * right if self.sign == "*" else left / right  # type: ignore[return-value]

    def pinned(self, trace: Trace) -> Target:
        """See `Target.pinned`."""
        return Operation(self.sign, *(p.pinned(trace) if isinstance(p, Target) else p for p in (self.left, self.right)))

    def of_picture(self, picture: int) -> Target:
        """See `Target.of_picture`."""
        parts = (p.of_picture(picture) if isinstance(p, Target) else p for p in (self.left, self.right))
        return Operation(self.sign, *parts)

    def __repr__(self) -> str:
        left, right = (f"({p!r})" if isinstance(p, _Composed) else repr(p) for p in (self.left, self.right))
        return f"{left} {self.sign} {right}"

    def describe(self, network: Network) -> str:
        """The operands in words."""
        words = [p.describe(network) if isinstance(p, Target) else f"{p:g}" for p in (self.left, self.right)]
        left, right = (
            f"({w})" if isinstance(p, _Composed) else w for w, p in zip(words, (self.left, self.right), strict=True)
        )
        return f"{left} {'x' if self.sign == '*' else '/'} {right}"


def _operand(what: Any) -> Any:
    """A number, or the target meant; NotImplemented for what is neither."""
    if isinstance(what, (Target, Real)):
        return what
    if isinstance(what, str) or callable(what):
        from nbcnnviz.core.targets.asked import as_target

        return as_target(what)
    return NotImplemented


def _linear(*weighted: tuple[Any, Any]) -> Target:
    """The sum of numbers and targets, each times a number."""
    terms: list[tuple[float, Target]] = []
    constant: float = 0
    for weight, what in weighted:
        part = _operand(what)
        if part is NotImplemented:
            return NotImplemented  # type: ignore[no-any-return]
        if isinstance(part, Real):
            constant += weight * _plain(part)
        elif isinstance(part, Combination):
            terms += [(_plain(weight) * own, target) for own, target in part.terms]
            constant += _plain(weight) * part.constant
        else:
            terms.append((_plain(weight), part))
    return Combination(tuple(terms), constant)


def _operation(sign: str, left: Any, right: Any) -> Target:
    parts = [_operand(p) for p in (left, right)]
    if any(part is NotImplemented for part in parts):
        return NotImplemented  # type: ignore[no-any-return]
    return Operation(sign, *(_plain(p) if isinstance(p, Real) else p for p in parts))


def _plain(number: Any) -> float:
    """A number of Python's own, so that the code of a target reads well."""
    return number if isinstance(number, (int, float)) and type(number) in (int, float) else float(number)


def layer_named(layer: Any) -> str:
    """The name of a layer; UnknownLayerError for what can be none."""
    if not isinstance(layer, str):
        raise UnknownLayerError(layer, (), "A layer is named by one string, as in network.layers.")
    return layer


def whole_number(what: str, number: Any, at_least: int | None = None) -> int:
    """The integer meant; FilterRangeError for what is none, or less than it may be."""
    try:
        whole = operator.index(number)
    except TypeError:
        raise FilterRangeError(f"{what} is a whole number, not {number!r}.") from None
    if at_least is not None and whole < at_least:
        raise FilterRangeError(f"{what} is {at_least} or more, not {whole}.")
    return whole
