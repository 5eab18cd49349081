"""What a student hands in: one HTML file with answers, code, verdicts and pictures; and a folder of them, read."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from nbcnnviz.core.errors import ArgumentTypeError, NbcnnvizError
from nbcnnviz.dataset.patches import written
from nbcnnviz.teaching.checking import UnknownExerciseError, Verdict
from nbcnnviz.teaching.checking import exercises as every_exercise
from nbcnnviz.teaching.hand_in_page import page

MOST_PICTURES = 24
_WIDTH = 900
_FACTS = re.compile(r'<script type="application/json" id="nbcnnviz-hand-in">(.*?)</script>', re.S)


@dataclass(frozen=True)
class Attempt:
    """One exercise: what was checked last, and what the check said of it.

    Attributes
    ----------
    exercise : str
        Which.
    right : bool
        Whether it is right.
    says : str
        What the check said.
    code : str
        The cell. Empty if it was never run.
    tries : int
        How often it was checked.
    """

    exercise: str
    right: bool
    says: str
    code: str = ""
    tries: int = 0


@dataclass(frozen=True)
class HandIn:
    """What one student hands in of one notebook.

    Attributes
    ----------
    student, lesson : str
        Whose it is, and the notebook's title.
    time : str
        When it was made, as ISO 8601 has it, to the minute.
    attempts : tuple of Attempt
        The exercises, in the notebook's order.
    answers : tuple of str
        To the notebook's questions, in their order; empty where there is none.
    pictures : tuple of (str, bytes)
        The code of a cell, and the JPEG file of the picture that it showed. Left out when a file is read.
    """

    student: str
    lesson: str
    time: str
    attempts: tuple[Attempt, ...] = ()
    answers: tuple[str, ...] = ()
    pictures: tuple[tuple[str, bytes], ...] = ()

    @property
    def right(self) -> int:
        """How many exercises are right."""
        return sum(attempt.right for attempt in self.attempts)

    def __repr__(self) -> str:
        answered = sum(bool(answer.strip()) for answer in self.answers)
        return (
            f"{self.student}, {self.lesson}, {self.time}: {self.right} of {len(self.attempts)} exercises right, "
            f"{answered} of {len(self.answers)} questions answered"
        )

    @property
    def filename(self) -> str:
        """The student's name and the lesson's, as the name of a file."""
        parts = (re.sub(r"[^\w]+", " ", text).strip() for text in (self.student, self.lesson))
        return " - ".join(parts)[:100] + ".html"

    def html(self) -> str:
        """The page; `handed_in` reads it back."""
        facts = {
            "student": self.student,
            "lesson": self.lesson,
            "time": self.time,
            "attempts": [vars(attempt) for attempt in self.attempts],
            "answers": self.answers,
        }
        # Nothing in it may end the element that it is in.
        return page(self, json.dumps(facts, ensure_ascii=True).replace("<", "\\u003c"))

    def save(self, path: str | PathLike[str]) -> None:
        """Write one HTML file with everything in it.

        Raises
        ------
        ExportError
            If it cannot be written.
        """
        written(Path(path).expanduser(), self.html().encode())


class Work:
    """What a notebook asks for, as `hand_in` says it. In a notebook it is shown as a form with a button."""

    screen: ClassVar[Callable[[Work], Any] | None] = None
    """Makes the widget that shows one; the package's front door sets it, as only `explorer` knows widgets."""

    def __init__(self, lesson: str, exercises: Sequence[str], answers: Sequence[str], student: str) -> None:
        self.lesson, self.exercises, self.answers, self.student = lesson, tuple(exercises), tuple(answers), student

    def __repr__(self) -> str:
        return f"<Work: {self.lesson}, {len(self.exercises)} exercises, {len(self.answers)} questions>"

    def gathered(self, student: str, answers: Sequence[str], cells: Iterable[tuple[str, Any]]) -> HandIn:
        """What is handed in.

        Parameters
        ----------
        student
            Their name.
        answers
            To the questions.
        cells
            The code of each cell that was run and what it returned, the oldest first: verdicts and pictures are taken
            from these. Of each exercise the last verdict counts, of a cell run twice the last picture.
        """
        cells = [*cells]
        attempts = tuple(_attempt(name, cells) for name in self.exercises)
        shown: dict[str, Image.Image] = {}
        for code, value in cells:
            if (picture := _picture(value)) is not None:
                shown.pop(code, None)  # it goes to the end
                shown[code] = picture
        pictures = tuple((code, _jpeg(picture)) for code, picture in [*shown.items()][-MOST_PICTURES:])
        now = datetime.now().astimezone().isoformat(timespec="minutes")
        return HandIn(student.strip(), self.lesson, now, attempts, tuple(answers), pictures)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        if Work.screen is None:
            return {"text/plain": f"{self!r}: write `from nbcnnviz import teaching` to see the form."}
        return Work.screen(self)._repr_mimebundle_(include=include, exclude=exclude)


def hand_in(lesson: str, *, exercises: Sequence[str] = (), answers: Sequence[str] = (), student: str = "") -> Work:
    """The form at the end of a notebook, whose button makes one HTML file: answers, code, verdicts and pictures.

    The file goes to the reader's browser, which saves it as any download. What cells have shown is taken from the kernel:
    after a restart, run all cells first.

    Parameters
    ----------
    lesson
        The notebook's title.
    exercises
        Their names, in the notebook's order; see `exercises`.
    answers
        To the notebook's questions, one string each: what is written here is saved with the notebook; the form has a field
        for each, with this text to begin with.
    student
        The name that the form has to begin with.

    Raises
    ------
    UnknownExerciseError
        If there is no exercise of a name.
    ArgumentTypeError
        If exercises or answers are not sequences of strings.
    """
    for what, given in (("exercises", exercises), ("answers", answers)):
        if isinstance(given, str) or not all(isinstance(each, str) for each in given):
            raise ArgumentTypeError(f"{what} is a list of strings, one each, not {given!r}.")
    known = every_exercise()
    for name in exercises:
        if name not in known:
            raise UnknownExerciseError(name, known)
    return Work(lesson, exercises, answers, student)


def handed_in(folder: str | PathLike[str]) -> list[HandIn]:
    """What students have handed in: every file of `HandIn` in a folder and the folders in it, by lesson and student.

    Other files are passed over. What a file says is the student's word: an HTML file can be written by hand, so run the code
    of a file again before a mark depends on it. Nothing of a file is executed here.

    Raises
    ------
    NbcnnvizError
        If there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise NbcnnvizError(f"{str(folder)!r} is no folder.")
    found = [read for path in sorted(folder.rglob("*.html")) if (read := _read(path)) is not None]
    return sorted(found, key=lambda each: (each.lesson, each.student.casefold(), each.time))


def _read(path: Path) -> HandIn | None:
    """What a file says; None if it is none of these."""
    match = _FACTS.search(path.read_text(encoding="utf-8", errors="replace"))
    if match is None:
        return None
    try:
        facts = json.loads(match[1])
        attempts = tuple(Attempt(**attempt) for attempt in facts.pop("attempts"))
        return HandIn(attempts=attempts, answers=tuple(facts.pop("answers")), **facts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise NbcnnvizError(f"{str(path)!r} was changed by hand and cannot be read ({error}).") from error


def _attempt(name: str, cells: Sequence[tuple[str, Any]]) -> Attempt:
    checked = [(code, value) for code, value in cells if isinstance(value, Verdict) and value.exercise == name]
    if not checked:
        return Attempt(name, False, "not run since the notebook was started.")
    code, verdict = checked[-1]
    return Attempt(name, verdict.right, verdict.says, code, len(checked))


def _picture(value: Any) -> Image.Image | None:
    """What a value looks like in a notebook, if that is a picture."""
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, type):
        return None
    if hasattr(value, "_repr_png_"):
        png = value._repr_png_()
    elif hasattr(value, "_repr_mimebundle_") and not isinstance(value, Work):
        bundle = value._repr_mimebundle_()
        png = base64.b64decode(bundle.get("image/png", "")) if isinstance(bundle, dict) else b""
    else:
        return None
    return Image.open(io.BytesIO(png)) if png else None


def _jpeg(picture: Image.Image) -> bytes:
    picture = picture.convert("RGB")
    picture.thumbnail((_WIDTH, 2 * _WIDTH))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()
