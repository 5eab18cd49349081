from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from nbcnnviz.render.encoding import data_url, encoded, lossless, photograph, png

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
PICTURE = Image.fromarray(PIXELS)


@pytest.mark.parametrize(("encode", "kind"), [(encoded, "JPEG"), (photograph, "WEBP"), (lossless, "PNG"), (png, "PNG")])
def test_each_is_a_file_of_its_kind(encode: Callable[[Image.Image], bytes], kind: str) -> None:
    opened = Image.open(io.BytesIO(encode(PICTURE)))
    assert (opened.format, opened.size) == (kind, PICTURE.size)


@pytest.mark.parametrize("encode", [lossless, png])
def test_what_may_not_lose_a_bit_loses_none(encode: Callable[[Image.Image], bytes]) -> None:
    assert np.array_equal(Image.open(io.BytesIO(encode(PICTURE))), PIXELS)


def test_a_page_has_the_picture_within() -> None:
    head, _, content = data_url(PICTURE).partition(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(Image.open(io.BytesIO(base64.b64decode(content))), PIXELS)
