from __future__ import annotations

import threading

import pytest
from ipycanvas import Canvas, hold_canvas
from PIL import Image

from nbcnnviz.explorer.front import MapFrame
from nbcnnviz.explorer.front.canvas import MANAGER, CanvasHost
from nbcnnviz.explorer.front.marks import ring
from tests.explorer.conftest import PATIENCE


@pytest.fixture
def sent(monkeypatch) -> list:
    """The messages of drawing commands, each a list of [name or number, arguments] as ipycanvas was given them."""
    messages: list = []
    monkeypatch.setattr(MANAGER, "_send_custom", lambda commands, buffers=(): messages.append(commands))
    return messages


def names(message: list) -> list[str]:
    from ipycanvas.canvas import _CMD_LIST

    return [_CMD_LIST[command[0]] for command in message]


def canvases(message: list) -> set[str]:
    """The canvases that a message names."""
    return {command[1][0] for command in message if names([command]) == ["switchCanvas"]}


def id_of(host: CanvasHost) -> str:
    return f"IPY_MODEL_{host.canvas.model_id}"


def dot(canvas: Canvas) -> None:
    canvas.fill_circle(1, 2, 3)


def test_a_drawing_is_one_message_that_names_its_canvas_and_clears_it(sent) -> None:
    host = CanvasHost()
    host.draw(dot)
    host.draw(dot)
    assert [names(message) for message in sent] == [["switchCanvas", "clear", "fillCircle"]] * 2
    assert all(canvases(message) == {id_of(host)} for message in sent)


def test_drawing_that_raises_sends_nothing_and_leaves_the_manager_usable(sent) -> None:
    host, other = CanvasHost(), CanvasHost()
    host.draw(dot)

    def fail(canvas: Canvas) -> None:
        canvas.fill_circle(9, 9, 9)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        host.draw(fail)
    other.draw(dot)
    other.canvas.stroke_circle(1, 2, 3)
    assert [names(m) if isinstance(m[0], list) else names([m]) for m in sent[1:]] == [
        ["switchCanvas", "clear", "fillCircle"],
        ["switchCanvas"],
        ["strokeCircle"],
    ]
    del sent[:]
    host._draw_again()
    assert names(sent[0]) == ["switchCanvas", "clear", "fillCircle"], "what was drawn before it failed"


def test_what_a_user_holds_back_for_a_canvas_of_their_own_is_kept(sent) -> None:
    host, own = CanvasHost(), Canvas()
    with hold_canvas(own):
        own.fill_rect(0, 0, 1, 1)
        host.draw(dot)
        own.stroke_rect(0, 0, 1, 1)
    assert [names(message) for message in sent] == [
        ["switchCanvas", "clear", "fillCircle"],
        ["switchCanvas", "fillRect", "switchCanvas", "strokeRect"],
    ]
    assert canvases(sent[1]) == {f"IPY_MODEL_{own.model_id}"}


def test_two_threads_that_draw_do_not_mix_their_commands(sent) -> None:
    hosts = [CanvasHost(), CanvasHost()]
    within = threading.Barrier(2, timeout=PATIENCE)

    def draw_many(host: CanvasHost) -> None:
        def dots(canvas: Canvas) -> None:
            for _ in range(20):
                canvas.fill_circle(1, 2, 3)

        within.wait()
        for _ in range(30):
            host.draw(dots)

    threads = [threading.Thread(target=draw_many, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(sent) == 60
    assert all(names(message) == ["switchCanvas", "clear", *["fillCircle"] * 20] for message in sent)
    named = [canvases(message) for message in sent]
    assert named.count({id_of(hosts[0])}) == named.count({id_of(hosts[1])}) == 30


def test_a_page_that_connects_later_gets_the_last_drawing_with_its_canvas_named(sent) -> None:
    host, other = CanvasHost(), CanvasHost()
    other.draw(dot)
    host.draw(dot)
    host.draw(lambda canvas: canvas.stroke_circle(1, 2, 3))
    del sent[:]
    host.canvas._client_ready_callbacks()
    assert [names(message) for message in sent] == [["switchCanvas", "clear", "strokeCircle"]]
    assert canvases(sent[0]) == {id_of(host)}


def test_a_page_that_connects_before_anything_was_drawn_gets_nothing(sent) -> None:
    CanvasHost().canvas._client_ready_callbacks()
    assert sent == []


def test_clearing_is_said_once_and_nothing_is_drawn_again_after_it(sent) -> None:
    host = CanvasHost()
    host.clear()
    assert sent == []
    host.draw(dot)
    host.clear()
    host.clear()
    assert [names(message) for message in sent[1:]] == [["switchCanvas", "clear"]]
    host.canvas._client_ready_callbacks()
    assert len(sent) == 2


def test_a_ring_is_black_and_on_it_white(sent) -> None:
    host = CanvasHost()
    host.draw(ring(10, 20, 225))
    circles = [command[1] for command in sent[0] if names([command]) == ["strokeCircle"]]
    assert circles == [[10, 20, 5]] * 2
    styles = [command[1][1] for command in sent[0] if names([command]) == ["set"]]
    assert styles == ["black", 4, "white", 2]


@pytest.mark.parametrize("side", [7, 28, 112, 224, 640])
def test_a_ring_is_as_large_on_the_screen_however_few_pixels_the_picture_has(sent, side: int) -> None:
    """On a picture of 28 pixels it hid a third."""
    frame = MapFrame()
    frame.show_picture(Image.new("RGB", (side, side)))
    sent.clear()
    frame.mark(ring(side / 2, side / 2, side))
    width = frame.marks.width
    assert width >= min(side, 196)
    radius = next(command[1][2] for command in sent[-1] if names([command]) == ["strokeCircle"])
    line = next(
        command[1][1] for command in sent[-1] if names([command]) == ["set"] and command[1][1] not in ("black", "white")
    )
    times = width / side  # the drawing is scaled by this
    assert radius * times / width == pytest.approx(1 / 45)
    assert line * times / width <= 4 / 195


def test_resizing_to_the_same_size_is_no_message() -> None:
    host = CanvasHost(30, 20)
    changes: list = []
    host.canvas.observe(changes.append, ["width", "height"])
    host.resize(30, 20)
    assert changes == []
    host.resize(40, 20)
    assert (host.canvas.width, host.canvas.height, len(changes)) == (40, 20, 1)
