"""From what a caller says to a target, and from a target to what autograd takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from torch import Tensor

from nbcnnviz.core.errors import GradientError, NoGradientError, UnknownClassError
from nbcnnviz.core.targets.base import Target
from nbcnnviz.core.targets.batches import Each
from nbcnnviz.core.targets.kinds import WHAT_A_TARGET_IS, ClassScore, index_of

if TYPE_CHECKING:
    from nbcnnviz.core.network import Network
    from nbcnnviz.core.trace import Trace

TargetLike = Union[int, str, Target, Callable[[Any], Tensor], Sequence[Any], Tensor, np.ndarray, None]


@dataclass(frozen=True, repr=False)
class Function(Target):
    """A function from a trace to one number a picture, (N,), or to a scalar, which is shared out among the pictures.

    Parameters
    ----------
    function
        Takes a `Trace`.
    name
        What to call it. Default: the function's own name.
    layers
        The layers it looks at; by default it may look at any.
    classes
        The classes it asks about.
    """

    function: Callable[[Any], Tensor]
    name: str = ""
    layers: frozenset[str] | None = None
    classes: tuple[int | str, ...] = ()

    def __call__(self, trace: Trace) -> Tensor:
        """The score of each picture, (N,).

        Raises
        ------
        GradientError
            If the function gives something else.
        """
        value, count = self._asked(trace), len(trace)
        return value if len(value) == count else value.expand(count) / count

    def _asked(self, trace: Trace) -> Tensor:
        """What the function gives, (N,) or (1,)."""
        value, count = self.function(trace), len(trace)
        if not isinstance(value, Tensor) or value.numel() not in (1, count):
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise GradientError(
                f"A target is a scalar, or one number a picture, ({count},): {self._called} gave {what}. Sum it, or take "
                "its mean."
            )
        return value.flatten()

    def mixes(self, trace: Trace) -> bool:
        """Where the function gives one number for several pictures."""
        return self.unmixed(trace) is None

    def unmixed(self, trace: Trace) -> Tensor | None:
        """As of every target; the function is asked once."""
        value = self._asked(trace)
        return value if len(value) == len(trace) else None

    def __repr__(self) -> str:
        name = self.name or getattr(self.function, "__name__", "")
        return name if name.isidentifier() else "target"

    def describe(self, network: Network) -> str:
        """The function's name."""
        return self._called

    @property
    def placeholders(self) -> Mapping[str, str]:
        """The function."""
        return {repr(self): "your function of the trace"}

    @property
    def _called(self) -> str:
        return self.name or getattr(self.function, "__name__", type(self.function).__name__)


def as_target(target: TargetLike, trace: Trace | None = None) -> Target:
    """The target meant.

    Parameters
    ----------
    target
        A class by index or name, a `Target`, a function of a trace, a list of such, one a picture; or a tuple or tensor
        of class indices, one a picture. None for each picture's own top class, which needs the trace.
    trace
        What it is to be asked of, where that is known.

    Raises
    ------
    UnknownClassError
        If it is none of these.
    """
    if isinstance(target, Target):
        return target if trace is None else target.pinned(trace)
    if target is None and trace is not None:
        return ClassScore(tuple(trace.best))
    if isinstance(target, (list, tuple)) and target and any(callable(entry) for entry in target):
        return as_target(Each(target), trace)
    if target is not None and not isinstance(target, (str, Tensor, np.ndarray)) and callable(target):
        return Function(target)
    if target is None:
        raise UnknownClassError(target, (), WHAT_A_TARGET_IS)
    return ClassScore(index_of(target))


def scores_of_target(target: Target, trace: Trace) -> Tensor:
    """One score a picture, (N,), part of the graph; GradientError if autograd cannot start there."""
    scores = target(trace)
    if not isinstance(scores, Tensor) or scores.shape != (len(trace.input),):
        what = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
        raise GradientError(f"A target gives one number a picture, ({len(trace.input)},): {target!r} gave {what}.")
    if not scores.is_floating_point() or not scores.requires_grad:
        raise NoGradientError(
            "The target does not depend on the trace: make it one number a picture of trace.scores, trace.input or "
            "trace['layer'], without detach, argmax or a change to integers."
        )
    return scores


def in_python(target: Any) -> tuple[list[str], str]:
    """A target in Python: the lines that say what is the caller's own in it, and the expression that makes it."""
    if target is None or isinstance(target, (int, str)):
        return [], repr(target)
    made = as_target(target)
    expression = repr(made.index) if isinstance(made, ClassScore) and made.pictures is None else repr(made)
    return [f"{name} = ...  # {what}" for name, what in made.placeholders.items()], expression


def one_class(asked: TargetLike, trace: Trace) -> Target:
    """What is asked of a trace, with its class's index where it is one class of all pictures."""
    target = as_target(asked, trace)
    if isinstance(target, ClassScore) and isinstance(target.index, tuple) and len(set(target.index)) == 1:
        return ClassScore(target.index[0])
    return target


def same_target(one: Any, other: Any) -> bool:
    """Whether two targets ask the same: equal ones of ours, the very same of the user's."""
    return one is other or (type(one) is type(other) and type(one).__module__.startswith("nbcnnviz.") and one == other)
