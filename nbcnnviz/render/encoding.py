"""Pictures as the bytes of a file."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image


def _file(picture: Image.Image, format_: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_, **options)
    return file.getvalue()


def encoded(picture: Image.Image, quality: int = 92) -> bytes:
    """A picture as it travels when there is no time to lose: it may lose a little, which a map never does."""
    return _file(picture, "JPEG", quality=quality)


def photograph(picture: Image.Image) -> bytes:
    """A picture as it travels when there is more time: no worse, and half as large, for some milliseconds."""
    return _file(picture.convert("RGB"), "WEBP", quality=81)


def lossless(picture: Image.Image) -> bytes:
    """A picture as it travels when each of its pixels is a value: quickly made, and not a bit is lost."""
    return _file(picture, "PNG", compress_level=1)


def png(picture: Image.Image) -> bytes:
    """A picture as a file that is kept."""
    return _file(picture, "PNG")


def data_url(picture: Image.Image) -> str:
    """A picture within a page, as a PNG."""
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"
