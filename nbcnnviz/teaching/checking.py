"""Exercises that say at once whether an answer is right, and if not, what is wrong with it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nbcnnviz.core.errors import NbcnnvizError, UnknownNameError


class UnknownExerciseError(UnknownNameError):
    """There is no exercise of this name."""

    kind = "exercise"


class Wrong(NbcnnvizError):
    """Raised by a check: the answer is not right, for the reason given."""


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right; true if it is. Shown as a sentence.

    Attributes
    ----------
    exercise : str
        Which.
    right : bool
        Whether it is.
    says : str
        What was found, or what is wrong.
    """

    exercise: str
    right: bool
    says: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'} ({self.exercise}): {self.says}"


@dataclass(frozen=True)
class Exercise:
    """What is asked, how an answer is checked, and what is said when it is right."""

    name: str
    asks: str
    check: Callable[[Any], str]


_EXERCISES: dict[str, Exercise] = {}


def exercise(name: str, asks: str) -> Callable[[Callable[[Any], str]], Callable[[Any], str]]:
    """Enter a check: it is given the answer, returns what it confirmed, and raises `Wrong` for what is not right."""

    def enter(check: Callable[[Any], str]) -> Callable[[Any], str]:
        _EXERCISES[name] = Exercise(name, asks, check)
        return check

    return enter


def exercises() -> dict[str, str]:
    """Every exercise by name, with what it asks for."""
    _load()
    return {name: each.asks for name, each in _EXERCISES.items()}


def check(name: str, answer: Any) -> Verdict:
    """Check an answer to an exercise of the notebooks.

    Parameters
    ----------
    name
        Of the exercise; see `exercises`.
    answer
        A number, a tensor, or a function: the notebook says which. ``...`` and None stand for an answer not given yet.

    Returns
    -------
    Verdict
        It never raises for a wrong answer, so that a notebook runs on; an error raised by the answer's own code is told
        with its line.

    Raises
    ------
    UnknownExerciseError
        If there is no exercise of this name.
    """
    _load()
    if name not in _EXERCISES:
        raise UnknownExerciseError(name, _EXERCISES)
    asked = _EXERCISES[name]
    if answer is ... or answer is None:
        return Verdict(name, False, f"to be done. {asked.asks}")
    watched = _Watched(answer) if callable(answer) and not isinstance(answer, type) else None
    try:
        return Verdict(name, True, asked.check(answer if watched is None else watched))
    except Wrong as wrong:
        return Verdict(name, False, str(wrong))
    except _Unfinished:
        return Verdict(name, False, f"the function returns nothing yet. {asked.asks}")
    except Exception as error:  # the student's code may raise anything
        if watched is not None and watched.failed is not None:
            line = traceback.extract_tb(watched.failed.__traceback__)[-1].line or ""
            where = f", at `{line}`" if line else ""
            return Verdict(name, False, f"your code raised {type(error).__name__}: {error}{where}.")
        return Verdict(name, False, f"the answer cannot be read ({error}). {asked.asks}")


class _Unfinished(Exception):
    """The answer's function gave ``...`` or None."""


class _Watched:
    """A student's function: notes what it raises, and tells when it returns nothing."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.failed: BaseException | None = None

    def __call__(self, *args: Any) -> Any:
        try:
            found = self.function(*args)
        except Exception as error:
            self.failed = error
            raise
        if found is None or found is ...:
            raise _Unfinished
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)


def _load() -> None:
    # They need the rooms that they ask about, which a script that trains on digits does without.
    from nbcnnviz.teaching import asked  # noqa: F401
