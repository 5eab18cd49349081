"""A session without a widget: what is selected is answered, loaded, stopped, paused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

import nbcnnviz as nv
from nbcnnviz.attribution.method import _METHODS, method
from nbcnnviz.session import Selection, Session, WaitError
from nbcnnviz.session import loading as session_loading
from tests import toys
from tests.session.conftest import PATIENCE


@pytest.fixture
def open_session(toy: nv.Network) -> Iterator[Callable[..., Session]]:
    opened: list[Session] = []

    def open_(network: nv.Network = toy, **traits: object) -> Session:
        opened.append(Session(Selection(network, "chelsea", **traits)))
        return opened[-1]

    yield open_
    for session in opened:
        session.close()


@pytest.fixture
def session(open_session: Callable[..., Session]) -> Session:
    return open_session()


class Gated:
    """A method, "gated", of so many frames, each of which waits until it is let go."""

    def __init__(self, frames: int) -> None:
        self.frames, self.go, self.made = frames, threading.Semaphore(0), 0
        self.begun = threading.Event()

    def enter(self) -> None:
        @method("Gated", family="gradients", cost="frames")
        def gated(trace, target, layer):
            """As it is let go."""
            for step in range(1, self.frames + 1):
                self.begun.set()
                assert self.go.acquire(timeout=PATIENCE)
                self.made = step
                yield nv.Attribution(
                    torch.full((1, 1, 2, 2), float(step)), "gated", target, layer, trace, None, step, self.frames
                )


@pytest.fixture
def gated() -> Iterator[Gated]:
    gated = Gated(10)
    gated.enter()
    yield gated
    gated.go.release(1000)
    del _METHODS["gated"]


class Loader:
    """A `load_network` that gives what it is told to, when it is let go on."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.outcome: nv.Network | Exception = nv.Network(toys.Tiny(), size=24, name="loaded")

    def __call__(self, name: str, progress: Callable[[int, int], None]) -> nv.Network:
        self.begun.release()
        assert self.go_on.acquire(timeout=PATIENCE)
        progress(1, 2)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loader]:
    loader = Loader()
    monkeypatch.setattr(session_loading, "load_network", loader)
    yield loader
    loader.go_on.release(1000)


def answered(session: Session) -> nv.Attribution:
    session.wait(PATIENCE)
    if session.error is not None:
        raise session.error
    assert session.result is not None
    return session.result


def test_a_script_explains_what_it_selects(session: Session, toy: nv.Network) -> None:
    frames: list = []
    session.observe(frames.append)
    session.explain()
    assert answered(session).values.equal(nv.attribute(toy, "chelsea").values)
    session.selection.method, session.selection.target = "saliency", 2
    result = answered(session)
    assert result.values.equal(nv.attribute(toy, "chelsea", method="saliency", target=2).values)
    assert frames[-1] is result
    names: dict = {"net": toy}
    exec(session.code().replace("net = ...  # your nv.Network", ""), names)
    assert names["result"].values.equal(result.values)


def test_an_answer_is_paused_stepped_resumed_and_stopped(session: Session, gated: Gated) -> None:
    session.selection.method = "gated"
    task = session.task
    assert task is not None
    assert gated.begun.wait(PATIENCE)
    task.pause()
    gated.go.release(1)
    assert task.wait(PATIENCE)
    assert (task.state, task.completed, task.total, session.result.step) == ("paused", 1, 10, 1)
    gated.go.release(3)
    for step in (2, 3, 4):
        task.step()
        assert task.wait(PATIENCE)
        assert (task.state, session.result.step) == ("paused", step)
    session.wait(PATIENCE)  # what is paused is not waited for
    task.resume()
    gated.go.release(1)
    session.stop()
    gated.go.release(1)
    assert task.wait(PATIENCE)
    assert task.state == "stopped"
    session.selection.method = "saliency"
    assert answered(session).method == "saliency"


# Loading.


def test_a_load_that_was_stopped_before_it_began_holds_up_no_question(
    session: Session, gated: Gated, loader: Loader
) -> None:
    """A network is chosen while a slow pass runs, and Stop is pressed: the next question is answered."""
    session.selection.method = "gated"
    assert gated.begun.wait(PATIENCE)
    session.load("resnet18")
    assert session.loading == "resnet18"
    session.stop()
    assert session.loading is None
    gated.go.release(1)
    session.wait(PATIENCE)
    session.selection.method = "saliency"
    assert answered(session).method == "saliency"


def test_a_question_asked_while_a_load_waits_is_answered_when_that_is_stopped(
    session: Session, gated: Gated, loader: Loader
) -> None:
    session.selection.method = "gated"
    assert gated.begun.wait(PATIENCE)
    session.load("resnet18")
    session.selection.method = "saliency"
    session.stop()
    gated.go.release(10)
    assert answered(session).method == "saliency"


def test_a_network_is_loaded_selected_and_explained(session: Session, loader: Loader) -> None:
    task = session.load("resnet18")
    assert loader.begun.acquire(timeout=PATIENCE)
    session.selection.image = "coffee"
    assert session.task is task, "what is loaded answers"
    loader.go_on.release()
    assert answered(session).trace.network is loader.outcome
    assert (task.state, session.loading) == ("done", None)


def test_a_load_that_fails_says_so_also_when_a_question_was_asked_meanwhile(
    session: Session, toy: nv.Network, loader: Loader
) -> None:
    loader.outcome = nv.WeightsUnavailableError("no weights today")
    session.load("resnet18")
    assert loader.begun.acquire(timeout=PATIENCE)
    session.selection.target = 2
    loader.go_on.release()
    session.wait(PATIENCE)
    assert session.error is loader.outcome
    assert session.result.target == nv.ClassScore(2)
    session.selection.target = 1
    assert answered(session).target == nv.ClassScore(1)


def test_of_two_networks_chosen_the_last_is_loaded(session: Session, loader: Loader) -> None:
    first = session.load("resnet18")
    assert loader.begun.acquire(timeout=PATIENCE)
    session.load("resnet34")
    loader.go_on.release(2)
    assert loader.begun.acquire(timeout=PATIENCE)
    answered(session)
    assert first.state == "replaced"
    assert session.selection.network is loader.outcome


def test_choosing_the_network_selected_gives_up_a_load(session: Session, toy: nv.Network, loader: Loader) -> None:
    session.load("resnet18")
    assert loader.begun.acquire(timeout=PATIENCE)
    session.load("toy")
    loader.go_on.release()
    assert answered(session).trace.network is toy


# Errors.


def test_an_error_ends_with_the_next_thing_asked_for(session: Session) -> None:
    session.selection.target = lambda trace: trace.nothing
    session.wait(PATIENCE)
    assert isinstance(session.error, AttributeError)
    assert session.task.state == "failed"
    session.selection.target = 1
    assert session.error is None, "as soon as it is asked"
    answered(session)


def test_a_change_that_is_refused_is_an_error_until_the_next_that_is_not(session: Session) -> None:
    session.explain()
    answered(session)
    session.attempt(lambda: setattr(session.selection, "target", "wolf"))
    assert isinstance(session.error, nv.UnknownClassError)
    session.attempt(lambda: None)
    assert session.error is None
    session.attempt(lambda: setattr(session.selection, "target", "wolf"))
    session.attempt(lambda: setattr(session.selection, "target", "bee"))
    assert answered(session).target == nv.ClassScore(1)


# Waiting.


def test_waiting_in_an_observer_of_what_a_task_selects_is_an_error(session: Session, loader: Loader) -> None:
    """It would wait for the very task that waits for it."""
    found: list = []

    def observer(change: object) -> None:
        try:
            session.wait(PATIENCE)
        except WaitError as error:
            found.append(error)

    session.selection.observe(observer, "network")
    session.load("resnet18")
    loader.go_on.release()
    answered(session)
    assert len(found) == 1
    assert "observer" in str(found[0])


def test_waiting_in_an_observer_for_a_load_that_waits_for_it_is_an_error(session: Session, loader: Loader) -> None:
    session.load("resnet18")
    assert loader.begun.acquire(timeout=PATIENCE)
    session.selection.observe(lambda change: session.wait(PATIENCE), "target")
    with pytest.raises(WaitError, match="while a network is loading"):
        session.selection.target = 1
    loader.go_on.release()
    assert answered(session).trace.network is loader.outcome


def test_waiting_in_an_observer_of_ones_own_change_is_answered(session: Session) -> None:
    found: list = []
    session.selection.observe(lambda change: found.append(session.wait(PATIENCE).result.target), "target")
    session.selection.target = 3
    assert found == [nv.ClassScore(3)]


# What is kept.


def test_a_change_of_the_selection_stops_no_kept_task(session: Session) -> None:
    def count(task):
        yield from range(10**9)

    kept = session.tasks.start(count, "counting", policy="keep")
    for target in (0, 1, 2):
        session.selection.target = target
        answered(session)
    session.stop()
    assert kept.live
    session.close()
    assert kept.state == "stopped"


def test_a_closed_session_leaves_no_thread(toy: nv.Network) -> None:
    before = set(threading.enumerate())
    session = Session(Selection(toy, "chelsea"))
    session.explain()
    kept = session.tasks.start(lambda task: iter_forever(), policy="keep", frames=1)
    kept.wait(PATIENCE)
    session.close()
    session.close()
    assert set(threading.enumerate()) <= before


def iter_forever():
    while True:
        yield 1
