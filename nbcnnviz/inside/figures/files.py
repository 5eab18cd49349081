"""What a panel shows, as a file: a picture, the numbers behind it, or a page with both and the code."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from nbcnnviz.core.errors import ExportError
from nbcnnviz.render.encoding import data_url

PICTURES = ("png", "jpg", "jpeg", "webp", "svg")
FORMATS = ("png", "svg", "npz", "html")


@dataclass(frozen=True, eq=False)
class Figure:
    """What is shown, for a file.

    Attributes
    ----------
    picture : PIL.Image.Image
        As it is shown.
    arrays
        Makes the numbers behind it, by name.
    caption : str
        What it is, in words.
    """

    picture: Image.Image
    arrays: Callable[[], Mapping[str, np.ndarray]]
    caption: str

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write it, or its numbers, as the ending of ``path`` says; see `write`."""
        write(path, self.picture, self.arrays(), self.caption, code)


def write(
    path: str | PathLike[str], picture: Image.Image, arrays: Mapping[str, np.ndarray], caption: str, code: str
) -> None:
    """Write a picture, its arrays, or a page, as the ending of ``path`` says.

    Raises
    ------
    ExportError
        If the ending is none that is known, or the file cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    try:
        if ending == "npz":
            np.savez_compressed(path, **dict(arrays))  # type: ignore[arg-type]
        elif ending == "npy":
            np.save(path, next(iter(arrays.values())))
        elif ending == "svg":
            path.write_text(_svg(picture, caption), encoding="utf-8")
        elif ending in ("html", "htm"):
            path.write_text(_page(picture, caption, code), encoding="utf-8")
        elif ending in PICTURES:
            picture.save(path)
        else:
            raise ExportError(
                f"A file's name says what is in it, by its ending: {', '.join('.' + f for f in (*FORMATS, 'npy', 'jpg'))}; "
                f"{path.name!r} has none of them."
            )
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror or error}.") from error


def _svg(picture: Image.Image, caption: str) -> str:
    width, height = picture.size
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 24}" '
        f'viewBox="0 0 {width} {height + 24}"><title>{html.escape(caption)}</title>'
        f'<image width="{width}" height="{height}" href="{data_url(picture)}"/>'
        f'<text x="0" y="{height + 17}" font-family="sans-serif" font-size="12">{html.escape(caption)}</text></svg>\n'
    )


def _page(picture: Image.Image, caption: str, code: str) -> str:
    width = max(picture.width, 448)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(caption)}</title>\n'
        f'<body style="font-family: sans-serif; margin: 2em"><figure style="margin: 0">'
        f'<img width="{width}" alt="{html.escape(caption)}" src="{data_url(picture)}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n<pre>{html.escape(code)}</pre></body></html>\n"
    )
