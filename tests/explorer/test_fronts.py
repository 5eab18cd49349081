"""What the grids of tiles and the rows of pictures send to the browser."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import traitlets as t
from ipywidgets import Widget
from PIL import Image

from nbcnnviz.explorer.front import PictureFrame, StatusLine, TileFrame
from nbcnnviz.render import Scale, to_bytes
from nbcnnviz.render.tiles import Tile

MAPS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
TILES = [Tile(7, "7", "filter 7"), Tile(9, "9", "filter 9", broken=2), Tile(4)]


@pytest.fixture
def sent(monkeypatch) -> list[tuple[Widget, set[str]]]:
    """The traits that widgets send, a set a message."""
    messages: list[tuple[Widget, set[str]]] = []
    send = Widget._send

    def record(self: Widget, message: dict, buffers: object = None) -> None:
        messages.append((self, {*message["state"], *(path[0] for path in message["buffer_paths"])}))
        send(self, message, buffers)

    monkeypatch.setattr(Widget, "_send", record)
    return messages


def test_tiles_on_one_scale_are_the_bytes_of_render_one_after_another() -> None:
    frame, scale = TileFrame(), Scale.of(MAPS)
    frame.show(MAPS, [scale], TILES, "RdBu_r", "three")
    assert frame.values == b"".join(to_bytes(m, scale).tobytes() for m in MAPS)
    assert frame.shape == [3, 4, 5, 1]
    assert (frame.lows, frame.highs) == ([scale.low], [scale.high])
    assert (frame.indices, frame.labels, frame.hints) == ([7, 9, 4], ["7", "9", ""], ["filter 7", "filter 9", ""])
    assert (frame.broken, frame.colours, frame.caption) == ([0, 2, 0], "RdBu_r", "three")


def test_tiles_on_scales_of_their_own_reach_the_ends_of_them() -> None:
    frame, scales = TileFrame(), [Scale.of(m) for m in MAPS]
    frame.show(MAPS, scales, TILES, "RdBu_r")
    assert frame.highs == [scale.high for scale in scales]
    places = np.frombuffer(frame.values, np.uint8).reshape(3, 20)
    assert all(255 in place or 0 in place for place in places)


@pytest.mark.parametrize("cut", [False, True])
def test_a_scale_that_is_cut_is_said_to_be(cut: bool) -> None:
    frame = TileFrame()
    frame.show(MAPS, [Scale(-1, 1, cut=cut)], TILES, "RdBu_r")
    assert frame.cut is cut


def test_colour_tiles_are_their_own_bytes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), np.uint8)
    frame = TileFrame()
    frame.show_colour(np.asfortranarray(pixels), Scale(-0.5, 0.5), TILES[:2], "kernels")
    assert frame.values == pixels.tobytes()
    assert (frame.shape, frame.lows, frame.highs) == ([2, 3, 3, 3], [-0.5], [0.5])


def test_tiles_are_one_message(sent: list) -> None:
    frame = TileFrame()
    del sent[:]
    frame.show(MAPS, [Scale.of(MAPS)], TILES, "RdBu_r", "three")
    assert [widget for widget, _ in sent] == [frame]
    assert {"values", "shape", "lows", "highs", "indices", "labels", "broken"} <= sent[0][1]
    assert "colour_tables" not in sent[0][1]


def test_pictures_come_and_go_each_with_a_canvas_that_is_used_again() -> None:
    frame, picture = PictureFrame(), Image.new("RGB", (20, 10), "red")
    seen = {}
    for count in (2, 1, 3, 0):
        frame.show([picture] * count, [f"{i}" for i in range(count)], "some")
        assert len(frame.canvases) == len(frame.pictures) == len(frame.titles) == count
        for at, canvas in enumerate(frame.canvases):
            assert seen.setdefault(at, canvas) is canvas


def test_live_pictures_are_one_message_each_of_a_photographs_size(sent: list) -> None:
    frame = PictureFrame()
    picture = Image.effect_noise((224, 224), 40).convert("RGB")
    frame.show([picture], ["first"])
    del sent[:]
    frame.show([picture.rotate(90)], ["next"])
    assert [(widget, names) for widget, names in sent] == [(frame, {"pictures", "titles"})]
    shown = Image.open(io.BytesIO(frame.pictures[0]))
    assert (shown.format, shown.size) == ("JPEG", (224, 224))


def test_only_the_event_that_was_asked_for_is_heard() -> None:
    status, heard = StatusLine(), []
    status.on("stop", heard.append)
    for content in ({"type": "stop"}, {"type": "here"}, {}, "stop", None):
        status._handle_custom_msg(content, [])
    assert heard == [{"type": "stop"}]


class Line:
    """The connection of a widget's comm, which may be cut; what got through."""

    def __init__(self, widget: Widget, monkeypatch) -> None:
        self.cut, self.delivered = False, []
        monkeypatch.setattr(widget.comm, "publish_msg", self.publish)

    def publish(self, msg_type: str, data: dict | None = None, **_: object) -> None:
        if self.cut:
            raise ConnectionError("the page is gone")
        self.delivered.append(data["state"])


def test_traits_that_could_not_be_delivered_go_with_what_comes_next(monkeypatch, caplog) -> None:
    status = StatusLine()
    line = Line(status, monkeypatch)
    line.cut = True
    with caplog.at_level("WARNING"):
        status.status, status.step = "Step 3", 3  # and raises nothing: a task outlives its page
    assert [record.levelname for record in caplog.records] == ["WARNING"]  # once for each time that a page is gone
    assert "Not delivered to the page: status" in caplog.text
    assert line.delivered == []
    line.cut = False
    status.error = "wrong"
    assert line.delivered == [{"status": "Step 3", "step": 3, "error": "wrong"}]
    status.error = ""
    assert line.delivered[1:] == [{"error": ""}]


def test_a_trait_that_comes_to_nothing_on_the_way_is_sent_again_at_once(monkeypatch) -> None:
    status = StatusLine()
    line = Line(status, monkeypatch)
    publish, tries = line.publish, []

    def fail_once(*args: object, **kwargs: object) -> None:
        tries.append(args)
        line.cut = len(tries) == 1
        publish(*args, **kwargs)

    monkeypatch.setattr(status.comm, "publish_msg", fail_once)
    status.status = "Step 1"
    assert line.delivered == [{"status": "Step 1"}]


class Broken(StatusLine):
    """A front end with a trait that cannot be written."""

    bad = t.Int(0).tag(sync=True, to_json=lambda value, widget: 1 // value)


def test_what_is_wrong_with_a_trait_itself_is_raised() -> None:
    widget = Broken(bad=1)
    with pytest.raises(ZeroDivisionError):
        widget.bad = 0
