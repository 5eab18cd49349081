from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.explorer import Selection
from nbcnnviz.session.history import CAMERA


def say(ex, event: str, *buffers: bytes, **more: object) -> None:
    ex._pictures.widget._handle_custom_msg({"type": event, **more}, [memoryview(b) for b in buffers])
    ex.wait(30)


def png(value: int = 7, size: tuple[int, int] = (30, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (value, 2 * value, 3 * value)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def nexts(monkeypatch) -> list:
    """What is sent to the camera."""
    sent: list = []
    monkeypatch.setattr("nbcnnviz.explorer.front.Intake.send", lambda self, message: sent.append(message))
    return sent


def test_the_samples_are_offered_and_chosen(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    intake = ex._pictures.widget
    assert intake.names == list(nv.samples())
    assert [Image.open(io.BytesIO(b)).width > 20 for b in intake.thumbs] == [True] * len(intake.names)
    assert intake.current == "chelsea"
    say(ex, "sample", name="coffee")
    assert intake.current == ex.selection.source == "coffee"


def test_a_file_that_is_dropped_is_explained_and_shown_as_it_was_given(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    say(ex, "picture", png(9), name="holiday.png")
    assert ex.selection.source == ex._pictures.widget.current == "holiday.png"
    assert ex.selection.image.getpixel((0, 0)) == (9, 18, 27)
    assert Image.open(io.BytesIO(ex._pictures.widget.original)).size == (30, 20)


@pytest.mark.parametrize("content", [b"", b"no picture", png()[:40]])
def test_what_is_no_picture_is_a_sentence_and_the_last_one_stays(explore, toy: nv.Network, content: bytes) -> None:
    ex = explore(toy)
    say(ex, "picture", content, name="broken.png")
    assert isinstance(ex.error, nv.ImageError)
    assert ex._status.error == str(ex.error)
    assert ex.selection.source == "chelsea"


def test_a_box_crops_the_picture_and_the_whole_is_had_back(explore, toy: nv.Network) -> None:
    ex = explore(toy, method="saliency")
    whole = ex.result.values
    say(ex, "crop", box=[0.25, 0.5, 0.75, 1])
    width, height = ex.selection.image.size
    part = ex.selection.image.crop((width // 4, height // 2, -(-3 * width // 4), height))
    assert ex.result.values.equal(nv.attribute(toy, part, method="saliency").values)
    assert ex._pictures.widget.crop == [0.25, 0.5, 0.75, 1]
    say(ex, "crop", box=[0, 0, 1, 1])
    assert ex.selection.crop is None
    assert ex.result.values.equal(whole)


@pytest.mark.parametrize(
    "box", [[0.5, 0, 0.5, 1], [0.5, 0, 0.2, 1], [-0.1, 0, 1, 1], [0, 0, 1, 2], [0, 0], None, "all"]
)
def test_a_box_that_is_none_is_a_sentence(explore, toy: nv.Network, box: object) -> None:
    ex = explore(toy)
    say(ex, "crop", box=box)
    assert ex.selection.crop is None
    assert "\n" not in ex._status.error
    assert ex._status.error or box is None


def test_the_smallest_box_is_one_pixel(toy: nv.Network) -> None:
    selection = Selection(toy, np.zeros((3, 5, 3)))
    selection.crop = (0.1, 0.1, 0.11, 0.11)
    assert selection.picture.size == (1, 1)
    assert selection.picture is selection.picture


def test_another_picture_is_whole(explore, toy: nv.Network) -> None:
    ex = explore(toy)
    say(ex, "crop", box=[0, 0, 0.5, 0.5])
    say(ex, "sample", name="coffee")
    assert ex.selection.crop is None
    assert ex._pictures.widget.crop == [0, 0, 1, 1]
    ex.session.history.undo()
    assert ex.selection.crop == (0, 0, 0.5, 0.5)
    assert ex._pictures.widget.current == "chelsea"
    assert ex._pictures.widget.crop == [0, 0, 0.5, 0.5]


def test_the_code_crops_as_well(explore, bundled: nv.Network) -> None:
    ex = explore(bundled, method="saliency")
    say(ex, "crop", box=[0.1, 0.2, 0.7, 0.9])
    names: dict = {}
    exec(ex.code(), names)
    assert names["result"].values.equal(ex.result.values)


def test_a_camera_is_told_when_its_frame_was_answered(explore, toy: nv.Network, nexts: list) -> None:
    ex = explore(toy)
    for value in (1, 2, 3):
        say(ex, "frame", png(value))
    assert nexts == [{"type": "next"}] * 3
    assert ex.selection.source == CAMERA
    assert ex.selection.image.getpixel((0, 0)) == (3, 6, 9)
    ex.selection.target = 1
    ex.wait(30)
    assert len(nexts) == 3, "no frame, no answer"
    ex.session.history.undo()
    ex.session.history.undo()
    assert ex.selection.source == "chelsea", "the frames of a camera are one step"


def test_a_camera_goes_on_after_a_frame_that_failed(explore, toy: nv.Network, nexts: list) -> None:
    ex = explore(toy)
    say(ex, "frame", b"half a frame")
    assert nexts == [{"type": "next"}]
    say(ex, "frame", png())
    assert nexts == [{"type": "next"}] * 2


def test_a_closed_explorer_follows_no_picture(toy: nv.Network) -> None:
    selection = Selection(toy, "chelsea")
    ex = nv.explorer.Explorer(selection)
    ex.wait(30).close()
    selection.image = "coffee"
    assert ex._pictures.widget.current == "chelsea"
