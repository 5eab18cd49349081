"""The language of the explorer: a gettext catalogue of the texts that are on the screen, a file a language in ``languages/``.

The kernel knows English alone, as do names, values and ``ex.code()``. The catalogue goes to the page once, where
``js/src/language.ts`` replaces each text as it is drawn, whether Python or the front end wrote it.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from nbcnnviz.core.errors import NbcnnvizError, UnknownNameError

ENGLISH = "en"
VARIABLE = "NBCNNVIZ_LANGUAGE"
_FOLDER = Path(__file__).parent / "languages"


class UnknownLanguageError(UnknownNameError):
    """The explorer has no catalogue of this language."""

    kind = "language"


def languages() -> dict[str, Path | None]:
    """The languages that there are, by their codes: English, which needs no catalogue, and one for each file."""
    return {ENGLISH: None, **{path.stem: path for path in sorted(_FOLDER.glob("*.po"))}}


def chosen(language: str | None = None) -> str:
    """The code of a language: of the one given, else of ``NBCNNVIZ_LANGUAGE``, else English.

    ``"zh"``, ``"zh-CN"`` and ``"zh_CN.UTF-8"`` all find ``zh_CN``. A language that the environment asks for and that is
    not there leaves English, with a warning.

    Raises
    ------
    UnknownLanguageError
        If there is none such as is given.
    """
    wanted = language if language is not None else os.environ.get(VARIABLE, "")
    if not wanted:
        return ENGLISH
    code = wanted.partition(".")[0].replace("-", "_").casefold()
    for known in languages():
        if code in (known.casefold(), known.casefold().partition("_")[0]):
            return known
    error = UnknownLanguageError(wanted, languages(), f"The languages are {', '.join(languages())}.")
    if language is not None:
        raise error
    warnings.warn(f"{VARIABLE}: {error}", stacklevel=2)
    return ENGLISH


def catalogue(language: str) -> dict[str, str]:
    """What the texts of a language are, by the English; empty for English. Fields such as ``{name}`` stand for any text."""
    path = languages()[language]
    return {} if path is None else {said: text for said, text in entries(path) if said and text}


def entries(path: Path) -> Iterator[tuple[str, str]]:
    """Each message of a gettext file ``.po`` with its translation, as it is in a file without contexts and plurals."""
    fields: dict[str, str] = {}
    key = ""
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), 'msgid ""'], 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if not line.startswith('"'):
            key, _, line = line.partition(" ")
            if key not in ("msgid", "msgstr"):
                raise NbcnnvizError(f"{path.name}, line {number}: no msgid, msgstr, comment or text.")
            if key == "msgid" and fields:
                yield fields["msgid"], fields.get("msgstr", "")
                fields = {}
            fields[key] = ""
        fields[key] += ast.literal_eval(line)
