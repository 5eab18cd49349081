"""What js/src/language.ts does, in Python: by it a test says which texts of the explorer have no translation.

``language_cases.json`` holds both to the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{(\w+)\}")
_SEPARATORS = {" · ": " · ", r"(?<=[.?!])\s+(?=[^a-z0-9])": " ", r"(?<=;)\s+": " ", ", ": "，"}
_FIELDS = {
    r"n\d*$": r"([-−+]?[\d.,]*\d(?:e[-+]?\d+)?)",
    r"text\d*$": r"(.+?)",
    r"in\d*$": r"([^()]+?)",
    r".": r"((?:(?![.?!;]\s).)+?)",
}


class Language:
    """The texts of a language, by the English."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        templates = sorted((text for text in texts if _FIELD.search(text)), key=lambda s: -len(_FIELD.sub("", s)))
        self.patterns = [(_pattern(text), _FIELD.findall(text), texts[text]) for text in templates]

    def translate(self, text: str) -> str:
        said = " ".join(text.split())
        found = self._find(said) if re.search("[A-Za-z]", said) else said
        return text if found == said else found

    def _find(self, text: str) -> str:
        if text in self.texts:
            return self.texts[text]
        for shape, fields, template in self.patterns:
            match = shape.fullmatch(text)
            if match:
                filled = {field: self.translate(part) for field, part in zip(fields, match.groups(), strict=True)}
                return _closed(_FIELD.sub(lambda found, filled=filled: filled.get(found[1], found[0]), template))
        for between, joined in _SEPARATORS.items():
            parts = re.split(between, text)
            if len(parts) < 2:
                continue
            translated = [self.translate(part) for part in parts]
            if translated != parts:
                return _closed(joined.join(translated))
        return text


def _closed(text: str) -> str:
    """Without spaces beside full-width marks."""
    return re.sub(r"([。；：？！，）]) | (?=（)", r"\1", text)


def _pattern(text: str) -> re.Pattern[str]:
    parts = _FIELD.split(text)
    shape = [re.escape(part) if at % 2 == 0 else _group(part) for at, part in enumerate(parts)]
    return re.compile("".join(shape))


def _group(field: str) -> str:
    return next(shape for name, shape in _FIELDS.items() if re.match(name, field))
