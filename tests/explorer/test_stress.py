"""Many changes, on many threads at once; front ends that go away; messages that get lost."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
import torch
from comm import create_comm, get_comm_manager
from PIL import Image

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, Method
from nbcnnviz.explorer import Explorer
from nbcnnviz.explorer.front import parts_of
from nbcnnviz.explorer.front.base import Front
from tests.explorer.conftest import PATIENCE
from tests.explorer.test_explorer import answers, wait_until

CHANGES = 10_000


@pytest.fixture
def jumpy() -> Iterator[None]:
    """Threads that take turns a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 1000)
    yield
    sys.setswitchinterval(usual)


def turn(ex: Explorer, number: int) -> None:
    """One change of many: a layer, a filter, a class or a method, in turn."""
    s = ex.selection
    match number % 4:
        case 0:
            s.layer = ("0", "3", "4")[number // 4 % 3]
        case 1:
            s.filter = number % 6
        case 2:
            s.target = number // 4 % 5
        case _:
            s.method = ("saliency", "grad_cam", "gradient", "cam")[number // 4 % 4]


def shows_its_selection(ex: Explorer) -> None:
    s, result = ex.selection, answers(ex)
    explained = s.explains()
    assert result.method == s.method
    assert result.target == (nv.ClassScore(explained) if isinstance(explained, int) else explained)
    assert ex._controls.method.value == s.method
    assert ex._sides.map.current == s.layer


def test_ten_thousand_changes_on_two_threads(explore, toy: nv.Network, jumpy) -> None:
    ex = explore(toy, target=1)
    before = set(threading.enumerate())
    wrong: list[Exception] = []

    def change(first: int) -> None:
        for number in range(first, first + CHANGES // 2):
            try:
                turn(ex, number)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=change, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert not wrong
    assert not ex.selection.changing
    shows_its_selection(ex)
    wait_until(lambda: set(threading.enumerate()) <= before)  # its timers end by themselves
    ex.selection.method, ex.selection.target = "guided_backprop", 3
    shows_its_selection(ex)


class Page:
    """What a page knows of widgets: the state of each, by the messages that reached it."""

    def __init__(self, monkeypatch) -> None:
        self.states: dict[str, dict] = {}
        self.sent = 0
        self.lost: set[int] = set()  # the numbers of messages that cannot be delivered
        self.gone = False
        self._lock = threading.Lock()
        page = self

        def publish(comm, msg_type, data=None, metadata=None, buffers=None, **keys) -> None:
            with page._lock:
                page.sent += 1
                if page.gone or page.sent in page.lost:
                    raise RuntimeError("the message could not be delivered")
                if msg_type == "comm_open":
                    page.states[comm.comm_id] = {}
                if data and "state" in data:
                    state = page.states.setdefault(comm.comm_id, {})
                    state |= data["state"]
                    for path, buffer in zip(data["buffer_paths"], buffers or (), strict=True):
                        if len(path) == 1:
                            state[path[0]] = bytes(buffer)

        monkeypatch.setattr(type(create_comm()), "publish_msg", publish)

    def shows(self, widget: Front, *names: str) -> None:
        """What the page has of these traits is what they are."""
        page = self.states[widget.comm.comm_id]
        assert {name: page[name] for name in names} == {name: widget.get_state(name)[name] for name in names}


@pytest.fixture
def page(monkeypatch) -> Page:
    return Page(monkeypatch)


@pytest.fixture
def long(monkeypatch) -> None:
    """A method, "long", of a thousand frames of a millisecond."""

    def run(trace, target, layer):
        for step in range(1, 1001):
            time.sleep(0.001)
            yield nv.Attribution(torch.rand(1, 1, 2, 2), "long", target, layer, trace, None, step, 1000)

    known = vars(nv.methods()["saliency"])
    monkeypatch.setitem(_METHODS, "long", Method(**{**known, "name": "long", "title": "Long", "run": run}))


def shows_picture(ex: Explorer) -> bool:
    """Whether the picture on screen is the one selected, but for what is lost on its way."""
    seen = Image.open(io.BytesIO(ex.panels["explain"].widget.picture)).convert("RGB")
    meant = ex.selection.network.trace(ex.selection.image).pictures[0]
    return np.abs(np.array(seen, float) - np.array(meant, float)).mean() < 10


def shown(page: Page, ex: Explorer) -> None:
    """The page shows what is selected, and that nothing runs."""
    shows_its_selection(ex)
    frame = ex.panels["explain"].widget
    assert shows_picture(ex)
    page.shows(frame, "caption", "values", "shape", "picture", "size", "low", "high", "colours")
    page.shows(ex._status, "status", "running", "error", "step", "steps")
    page.shows(ex._sides.map, "current", "names")
    page.shows(ex._tools, "can_undo", "formats")
    assert not ex._status.running


@pytest.mark.parametrize("which", range(1, 14))
def test_after_a_message_that_was_lost_the_page_shows_the_last_state(explore, toy: nv.Network, page, which) -> None:
    ex = explore(toy, target=1, layer="0")
    shown(page, ex)
    page.lost = {page.sent + which}
    with suppress(RuntimeError):  # a control's message is lost where the change was made
        ex.selection.image = "coffee"
    ex.wait(PATIENCE)
    assert ex.error or shows_picture(ex)
    with suppress(RuntimeError):
        ex.selection.layer = "3"
    shown(page, ex)
    assert page.sent >= min(page.lost)


def test_what_nobody_can_be_shown_ends_no_job(explore, toy: nv.Network, page: Page, long) -> None:
    """The page goes while a job streams: it goes on, stops when it is asked to, and the next page gets all."""
    ex = explore(toy, target=1)
    thread = ex.session.tasks._worker
    ex.selection.method = "long"
    wait_until(lambda: ex.result.step > 5)
    page.gone = True
    seen = ex.result.step
    wait_until(lambda: ex.result.step > seen + 20)
    ex.stop()
    ex.wait(PATIENCE)
    assert ex.error is None
    page.gone = False
    ex.selection.method = "gradient"
    shown(page, ex)
    assert ex.session.tasks._worker is thread
    assert thread.is_alive()


def test_a_page_that_closes_its_widgets_in_the_middle_of_a_run_ends_nothing(explore, toy: nv.Network, long) -> None:
    ex = explore(toy, target=1)
    thread, manager = ex.session.tasks._worker, get_comm_manager()
    ex.selection.method = "long"
    wait_until(lambda: ex.result.step > 5)
    for part in parts_of(ex):
        manager.comm_close(None, None, {"content": {"comm_id": part.comm.comm_id, "data": {}}})
    seen = ex.result.step
    wait_until(lambda: ex.result.step > seen + 20)
    ex.selection.method = "gradient"
    shows_its_selection(ex)
    assert ex.session.tasks._worker is thread
    assert thread.is_alive()
