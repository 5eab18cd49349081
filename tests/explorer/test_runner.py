from __future__ import annotations

import contextvars
import gc
import threading
import weakref

import pytest

from nbcnnviz.explorer.runner import Runner
from tests.explorer.conftest import PATIENCE


class Stage:
    """A runner, with what it told."""

    def __init__(self) -> None:
        self.shown: list = []
        self.ended: list = []
        self.runner = Runner(lambda: None, self.shown.append, lambda error, end: self.ended.append((error, end)))

    def run(self, job) -> None:
        self.runner.submit(job)
        self.wait()

    def wait(self) -> None:
        assert self.runner.wait(PATIENCE)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.runner.close()


class Held:
    """A job that stops between two frames until it is let go on."""

    def __init__(self, frames=("first", "second")) -> None:
        self.frames = frames
        self.begun, self.go_on, self.closed = threading.Event(), threading.Event(), threading.Event()

    def __call__(self):
        try:
            yield self.frames[0]
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
            yield from self.frames[1:]
        finally:
            self.closed.set()


def test_of_a_hundred_requests_at_once_the_first_and_the_newest_run_and_no_other(stage: Stage) -> None:
    ran = []

    def job(number: int):
        def frames():
            ran.append(number)
            yield number

        return frames

    first = Held()
    stage.runner.submit(first)
    assert first.begun.wait(PATIENCE)
    for number in range(100):
        stage.runner.submit(job(number))
    first.go_on.set()
    stage.wait()
    assert ran == [99]
    assert stage.shown == ["first", 99]
    assert stage.ended == [(None, "replaced"), (None, "done")]


def test_a_newer_job_stops_the_one_that_runs_between_two_frames_and_closes_it(stage: Stage) -> None:
    held = Held(("first", "second", "third"))
    stage.runner.submit(held)
    assert held.begun.wait(PATIENCE)
    closed_before_the_next = []

    def newer():
        closed_before_the_next.append(held.closed.is_set())
        yield "newer"

    stage.runner.submit(newer)
    assert stage.runner.given_up()
    held.go_on.set()
    stage.wait()
    assert closed_before_the_next == [True]
    assert stage.shown == ["first", "newer"]


def test_stop_ends_the_job_that_runs_and_forgets_the_one_that_waits(stage: Stage) -> None:
    held, never = Held(), Held()
    stage.runner.submit(held)
    assert held.begun.wait(PATIENCE)
    stage.runner.submit(never)
    stage.runner.stop()
    held.go_on.set()
    stage.wait()
    assert held.closed.is_set()
    assert not never.closed.is_set()
    assert stage.shown == ["first"]
    assert stage.ended == [(None, "stopped")]
    stage.run(lambda: iter_of("after"))
    assert stage.shown[-1] == "after"
    assert stage.ended[-1] == (None, "done")


def test_stop_wakes_who_waits_for_a_job_that_will_not_run() -> None:
    """The worker never comes: the job is forgotten while it waits."""
    stage = Stage()
    stage.runner._thread = threading.current_thread()  # so that none is started
    stage.runner.submit(lambda: iter_of(1))
    assert stage.runner.busy
    waited = threading.Thread(target=stage.wait)
    waited.start()
    stage.runner.stop()
    waited.join(PATIENCE)
    assert not waited.is_alive()
    assert not stage.runner.busy


def iter_of(*frames):
    yield from frames


def test_no_more_than_thirty_frames_a_second_are_shown_and_always_the_last(stage: Stage, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("nbcnnviz.explorer.runner.time.monotonic", lambda: now[0])

    def frames():
        for step in range(1001):
            now[0] = 100 + step / 1000  # a thousand frames in a second
            yield step

    stage.run(frames)
    assert stage.shown[0] == 0
    assert stage.shown[-1] == 1000
    assert 25 <= len(stage.shown) <= 31
    assert stage.shown == sorted(set(stage.shown))


def test_slow_frames_are_all_shown(stage: Stage, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("nbcnnviz.explorer.runner.time.monotonic", lambda: now[0])

    def frames():
        for step in range(10):
            now[0] += 1
            yield step

    stage.run(frames)
    assert stage.shown == list(range(10))


@pytest.mark.parametrize("failure", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_is_told_and_the_thread_lives_on(stage: Stage, failure: BaseException) -> None:
    def failing():
        yield 1
        raise failure

    stage.run(failing)
    assert stage.ended == [(failure, "done")]
    thread = stage.runner._thread
    stage.run(lambda: iter_of("next"))
    assert stage.shown == [1, "next"]
    assert stage.runner._thread is thread


def test_a_job_that_cannot_even_be_made_is_an_error_too(stage: Stage) -> None:
    stage.run(lambda: 1 / 0)
    assert isinstance(stage.ended[0][0], ZeroDivisionError)


def test_a_frame_that_cannot_be_shown_ends_its_job_and_closes_it() -> None:
    def show(frame: object) -> None:
        raise RuntimeError("the page is gone")

    stage, held = Stage(), Held()
    stage.runner._shown = show
    stage.run(held)
    assert str(stage.ended[0][0]) == "the page is gone"
    assert held.closed.is_set()
    stage.runner.close()


@pytest.mark.parametrize("name", ["_started", "_ended"])
def test_the_thread_outlives_listeners_that_fail(stage: Stage, name: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the page is gone")

    listener = getattr(stage.runner, name)
    setattr(stage.runner, name, fail)
    stage.run(lambda: iter_of(1))
    setattr(stage.runner, name, listener)
    stage.run(lambda: iter_of(2))
    assert stage.shown[-1] == 2


def test_wait_tells_whether_the_runner_became_idle(stage: Stage) -> None:
    assert stage.runner.wait(0)
    held = Held()
    stage.runner.submit(held)
    assert held.begun.wait(PATIENCE)
    assert stage.runner.busy
    assert not stage.runner.wait(0.01)
    held.go_on.set()
    assert stage.runner.wait(PATIENCE)
    assert not stage.runner.busy
    assert stage.shown == ["first", "second"]


def test_close_ends_the_thread_and_later_jobs_are_ignored(stage: Stage) -> None:
    held = Held()
    stage.runner.submit(held)
    assert held.begun.wait(PATIENCE)
    threading.Timer(0.01, held.go_on.set).start()
    stage.runner.close()
    assert held.closed.is_set()
    assert not stage.runner._thread.is_alive()
    stage.runner.submit(lambda: iter_of("late"))
    assert stage.runner.wait(PATIENCE)
    assert stage.shown == ["first"]
    stage.runner.close()


def test_close_may_be_called_by_a_job(stage: Stage) -> None:
    def closing():
        stage.runner.close()
        yield 1

    stage.runner.submit(closing)
    stage.runner._thread.join(PATIENCE)
    assert not stage.runner._thread.is_alive()


def test_a_runner_without_jobs_has_no_thread(stage: Stage) -> None:
    assert stage.runner._thread is None
    stage.runner.close()


def test_the_worker_has_the_context_variables_of_the_caller(stage: Stage) -> None:
    cell = contextvars.ContextVar("cell", default="none")
    cell.set("mine")

    def job():
        yield cell.get()

    stage.run(job)
    assert stage.shown == ["mine"]


class Picture:
    """What must not be kept."""


@pytest.mark.parametrize("fails", [False, True])
def test_an_idle_runner_keeps_neither_job_nor_frames(fails: bool) -> None:
    runner = Runner(lambda: None, lambda frame: None, lambda error, end: None)
    frame, asked = Picture(), Picture()
    gone = [weakref.ref(frame), weakref.ref(asked)]

    def job(frame=frame, asked=asked):
        local = frame
        yield local
        if fails:
            raise ValueError("with a traceback that knows every local")

    gc.disable()  # a cycle would keep them until some later collection
    try:
        runner.submit(job)
        del job, frame, asked
        assert runner.wait(PATIENCE)
        with runner._change:  # what the worker lets go, it lets go holding this
            pass
        runner.submit(lambda: iter_of())
        assert runner.wait(PATIENCE)
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()
        runner.close()
