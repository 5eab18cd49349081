"""The lines that make a picture again name it only where that brings the very picture back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.session import Selection
from nbcnnviz.session.code import selection_code


def said(toy: nv.Network, picture: object) -> str:
    return selection_code(Selection(toy, picture).snapshot)[1]


def file(name: str, value: int) -> io.BytesIO:
    """An upload: bytes with a name."""
    content = io.BytesIO()
    Image.new("RGB", (9, 8), (value, 0, 0)).save(content, "PNG")
    content.seek(0)
    content.name = name
    return content


def test_a_sample_and_a_file_are_named(toy: nv.Network, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(path)
    assert said(toy, "coffee") == "'coffee'"
    assert said(toy, path) == repr(str(path))


@pytest.mark.parametrize("name", ["coffee", "camera"])
def test_an_upload_called_like_a_sample_is_not_named(toy: nv.Network, name: str) -> None:
    assert said(toy, file(name, 3)) == "image"


def test_an_upload_called_like_a_file_that_is_here_is_not_named_unless_it_is_that(
    toy: nv.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.png").write_bytes(file("mine.png", 3).getvalue())
    assert said(toy, file("mine.png", 200)) == "image"
    assert said(toy, file("mine.png", 3)) == "'mine.png'"
    Path("mine.png").write_text("no picture any more")
    assert said(toy, file("mine.png", 3)) == "image"
