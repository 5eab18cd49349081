from __future__ import annotations

import contextvars
import gc
import threading
import weakref

import pytest

from nbcnnviz.session.task import Task, WaitError
from nbcnnviz.session.tasks import Tasks
from tests.session.conftest import PATIENCE


class Stage:
    """Tasks, with what they told."""

    def __init__(self) -> None:
        self.shown: list = []
        self.ended: list = []
        self.tasks = Tasks()
        self.show = self.shown.append

    def start(self, make, **options) -> Task:
        return self.tasks.start(
            lambda task: make(), on_frame=lambda frame: self.show(frame), on_change=self.changed, **options
        )

    def changed(self, task: Task) -> None:
        if not task.live:
            self.ended.append((task.error, task.state))

    def run(self, make) -> None:
        self.start(make)
        self.wait()

    def wait(self) -> None:
        assert self.tasks.wait(PATIENCE)


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.tasks.close()


class Held:
    """A generator that stops between two frames until it is let go on."""

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

    def counting(number: int):
        def frames():
            ran.append(number)
            yield number

        return frames

    first = Held()
    stage.start(first)
    assert first.begun.wait(PATIENCE)
    for number in range(100):
        stage.start(counting(number))
    first.go_on.set()
    stage.wait()
    assert ran == [99]
    assert stage.shown == ["first", 99]
    assert [end for end in stage.ended if end != (None, "replaced")] == [(None, "done")]
    assert len(stage.ended) == 101, "each is told of once"


def test_a_newer_job_stops_the_one_that_runs_between_two_frames_and_closes_it(stage: Stage) -> None:
    held = Held(("first", "second", "third"))
    first = stage.start(held)
    assert held.begun.wait(PATIENCE)
    closed_before_the_next = []

    def newer():
        closed_before_the_next.append(held.closed.is_set())
        yield "newer"

    stage.start(newer)
    assert first.given_up
    held.go_on.set()
    stage.wait()
    assert closed_before_the_next == [True]
    assert stage.shown == ["first", "newer"]


def test_stop_ends_the_job_that_runs_and_forgets_the_one_that_waits(stage: Stage) -> None:
    held, never = Held(), Held()
    stage.start(held)
    assert held.begun.wait(PATIENCE)
    stage.start(never)
    stage.tasks.stop()
    held.go_on.set()
    stage.wait()
    assert held.closed.is_set()
    assert not never.closed.is_set()
    assert stage.shown == ["first"]
    assert stage.ended == [(None, "stopped"), (None, "replaced")]
    stage.run(lambda: iter_of("after"))
    assert stage.shown[-1] == "after"
    assert stage.ended[-1] == (None, "done")


def test_stop_wakes_who_waits_for_a_job_that_will_not_run() -> None:
    """The worker never comes: the task is forgotten while it waits."""
    stage = Stage()
    stage.tasks._worker = threading.current_thread()  # so that none is started
    stage.start(lambda: iter_of(1))
    assert stage.tasks.busy
    waited = threading.Thread(target=stage.wait)
    waited.start()
    stage.tasks.stop()
    waited.join(PATIENCE)
    assert not waited.is_alive()
    assert not stage.tasks.busy


def iter_of(*frames):
    yield from frames


def test_no_more_than_thirty_frames_a_second_are_shown_and_always_the_last(stage: Stage, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("nbcnnviz.session.pace.time.perf_counter", lambda: now[0])

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
    monkeypatch.setattr("nbcnnviz.session.pace.time.perf_counter", lambda: now[0])

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
    assert stage.ended == [(failure, "failed")]
    thread = stage.tasks._worker
    stage.run(lambda: iter_of("next"))
    assert stage.shown == [1, "next"]
    assert stage.tasks._worker is thread


def test_a_job_that_cannot_even_be_made_is_an_error_too(stage: Stage) -> None:
    stage.run(lambda: 1 / 0)
    assert isinstance(stage.ended[0][0], ZeroDivisionError)


def test_a_frame_that_cannot_be_shown_ends_its_job_and_closes_it() -> None:
    def show(frame: object) -> None:
        raise RuntimeError("the page is gone")

    stage, held = Stage(), Held()
    stage.show = show
    stage.run(held)
    assert str(stage.ended[0][0]) == "the page is gone"
    assert held.closed.is_set()
    stage.tasks.close()


@pytest.mark.parametrize("state", ["running", "done"])
def test_the_thread_outlives_listeners_that_fail(stage: Stage, state: str) -> None:
    def fail(task: Task) -> None:
        if task.state == state:
            raise RuntimeError("the page is gone")

    stage.tasks.start(lambda task: iter_of(1), on_change=fail)
    stage.wait()
    stage.run(lambda: iter_of(2))
    assert stage.shown[-1] == 2


def test_wait_tells_whether_all_came_to_rest(stage: Stage) -> None:
    assert stage.tasks.wait(0)
    held = Held()
    stage.start(held)
    assert held.begun.wait(PATIENCE)
    assert stage.tasks.busy
    assert not stage.tasks.wait(0.01)
    held.go_on.set()
    assert stage.tasks.wait(PATIENCE)
    assert not stage.tasks.busy
    assert stage.shown == ["first", "second"]


def test_close_ends_the_thread_and_later_jobs_are_ignored(stage: Stage) -> None:
    held = Held()
    stage.start(held)
    assert held.begun.wait(PATIENCE)
    threading.Timer(0.01, held.go_on.set).start()
    stage.tasks.close()
    assert held.closed.is_set()
    assert not stage.tasks._worker.is_alive()
    stage.start(lambda: iter_of("late"))
    assert stage.tasks.wait(PATIENCE)
    assert stage.shown == ["first"]
    stage.tasks.close()


def test_close_may_be_called_by_a_job(stage: Stage) -> None:
    def closing():
        stage.tasks.close()
        yield 1

    stage.start(closing)
    stage.tasks._worker.join(PATIENCE)
    assert not stage.tasks._worker.is_alive()


def test_without_tasks_there_is_no_thread(stage: Stage) -> None:
    assert stage.tasks._worker is None
    stage.tasks.close()


def test_the_worker_has_the_context_variables_of_the_caller(stage: Stage) -> None:
    cell = contextvars.ContextVar("cell", default="none")
    cell.set("mine")

    def frames():
        yield cell.get()

    stage.run(frames)
    assert stage.shown == ["mine"]


class Picture:
    """What must not be kept."""


@pytest.mark.parametrize("fails", [False, True])
def test_idle_tasks_keep_neither_generator_nor_frames(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbcnnviz.session.tasks.SLOW", PATIENCE)  # the clock waits all the while
    gc.disable()  # a cycle would keep them until some later collection
    try:
        for _ in range(100):  # whether the clock kept a task was a race
            assert _kept(fails) == [None, None]
    finally:
        gc.enable()


def _kept(fails: bool) -> list[Picture | None]:
    """What is kept of a task's frames and closure when the next task is over."""
    tasks = Tasks()
    frame, asked = Picture(), Picture()
    gone = [weakref.ref(frame), weakref.ref(asked)]

    def frames(frame=frame, asked=asked):
        local = frame
        yield local
        if fails:
            raise ValueError("with a traceback that knows every local")

    try:
        tasks.start(lambda task, frames=frames: frames())
        del frames, frame, asked
        assert tasks.wait(PATIENCE)
        tasks.start(lambda task: iter_of())
        assert tasks.wait(PATIENCE)
        return [ref() for ref in gone]
    finally:
        tasks.close()


# Pausing, steps, progress.


class Step:
    def __init__(self, step: int, steps: int) -> None:
        self.step, self.steps = step, steps


def steps(count: int = 10):
    for step in range(1, count + 1):
        yield Step(step, count)


@pytest.mark.parametrize("policy", ["replace", "keep"])
def test_a_task_pauses_takes_steps_and_goes_on(stage: Stage, policy: str) -> None:
    task = stage.start(steps, policy=policy, frames=1)
    assert task.wait(PATIENCE)
    assert (task.state, task.made, task.completed, task.total) == ("paused", 1, 1, 10)
    assert not stage.tasks.busy, "what is paused answers nothing"
    for _ in range(2):
        task.step()
    assert task.wait(PATIENCE)
    assert (task.state, task.made) == ("paused", 3)
    assert stage.shown[-1].step == 3, "the last frame before a pause is shown"
    task.resume()
    assert task.wait(PATIENCE)
    assert (task.state, task.made) == ("done", 10)
    assert stage.ended == [(None, "done")]


def test_a_task_that_is_paused_is_stopped_or_replaced(stage: Stage) -> None:
    for end in (lambda task: task.stop(), lambda task: stage.run(lambda: iter_of())):
        task = stage.start(steps, frames=2)
        assert task.wait(PATIENCE)
        end(task)
        assert task.wait(PATIENCE)
        assert task.state in ("stopped", "replaced")
        assert task.made == 2


def test_a_task_says_how_far_it_is_and_how_long_it_will_take(stage: Stage, monkeypatch) -> None:
    now = [100.0]
    monkeypatch.setattr("nbcnnviz.session.tasks.time.perf_counter", lambda: now[0])

    def slow():
        for frame in steps(10):
            now[0] += 2
            yield frame

    task = stage.start(slow, frames=6)
    assert task.wait(PATIENCE)
    assert task.rate == pytest.approx(0.5)
    assert task.seconds_left == pytest.approx(8)
    assert task.seconds == pytest.approx(10)


def test_within_a_step_a_task_tells_how_far_it_is_and_may_be_stopped(stage: Stage) -> None:
    told, begun, go_on = [], threading.Event(), threading.Event()

    def make(task: Task):
        task.tell("downloading", 3, 10)
        begun.set()
        assert go_on.wait(PATIENCE)
        task.check()
        yield from ()

    task = stage.tasks.start(make, on_change=lambda t: told.append((t.status, t.completed, t.total, t.state)))
    assert begun.wait(PATIENCE)
    task.stop()
    go_on.set()
    assert task.wait(PATIENCE)
    assert ("downloading", 3, 10, "running") in told
    assert (task.state, task.error) == ("stopped", None)


def test_a_step_that_is_the_last_ends_a_task_that_would_pause(stage: Stage) -> None:
    def make(task: Task):
        yield 1
        task.finish()
        yield 2
        raise AssertionError("it was over")

    task = stage.tasks.start(make, frames=2)
    assert task.wait(PATIENCE)
    assert task.state == "done"


def test_who_takes_long_is_told_of_once(stage: Stage) -> None:
    slow, held = threading.Event(), Held()
    told: list = []

    def changed(task: Task) -> None:
        if task.live and task.slow:
            told.append(task.state)
            slow.set()

    stage.tasks.start(lambda task: held(), on_change=changed)
    assert slow.wait(PATIENCE)
    held.go_on.set()
    stage.wait()
    assert told == ["running"]


# What is kept.


def test_a_kept_task_goes_on_whatever_is_asked_meanwhile(stage: Stage) -> None:
    held = Held()
    kept = stage.start(held, policy="keep")
    assert held.begun.wait(PATIENCE)
    for number in range(3):
        stage.run(lambda number=number: iter_of(number))
    stage.tasks.stop()
    assert (kept.live, stage.tasks.kept) == (True, [kept])
    held.go_on.set()
    assert kept.wait(PATIENCE)
    assert (kept.state, stage.tasks.kept) == ("done", [])
    assert stage.shown == ["first", 0, 1, 2, "second"]


def test_an_answer_goes_first(stage: Stage, monkeypatch) -> None:
    """While a question is being answered a kept task makes no frame, unless the answer takes too long."""
    monkeypatch.setattr("nbcnnviz.session.tasks.PATIENCE", PATIENCE)
    made, answer = [], Held()

    def endless():
        for number in range(10**9):
            made.append(number)
            yield number

    kept = stage.start(endless, policy="keep")
    stage.start(answer)
    assert answer.begun.wait(PATIENCE)
    stage.tasks._change.acquire()  # the step that is being made may end
    stage.tasks._change.release()
    threading.Event().wait(0.05)
    before = len(made)
    threading.Event().wait(0.1)
    assert len(made) <= before
    answer.go_on.set()
    stage.wait()
    while len(made) == before:
        threading.Event().wait(0.001)
    kept.stop()
    assert kept.wait(PATIENCE)


def test_the_thread_of_a_kept_task_ends_with_it(stage: Stage) -> None:
    before = threading.active_count()
    for _ in range(5):
        task = stage.start(steps, policy="keep", frames=3)
        assert task.wait(PATIENCE)
        task.stop()
        assert task.wait(PATIENCE)
    assert threading.active_count() == before


@pytest.mark.parametrize("policy", ["replace", "keep"])
def test_closing_within_a_long_step_ends_the_task_after_it(policy: str) -> None:
    """What runs cannot be closed by another thread: it ends by itself, and nothing is raised."""
    stage, held = Stage(), Held(("first", "second", "third"))
    task = stage.start(held, policy=policy)
    assert held.begun.wait(PATIENCE)
    stage.tasks.close(timeout=0.01)
    assert not held.closed.is_set()
    held.go_on.set()
    assert task.wait(PATIENCE)
    assert held.closed.is_set()
    assert task.state == "stopped"


def test_what_is_started_when_all_is_closed_is_stopped(stage: Stage) -> None:
    stage.tasks.close()
    for policy in ("replace", "keep"):
        task = stage.start(steps, policy=policy)
        assert (task.state, task.made, task.live) == ("stopped", 0, False)


# Waiting for oneself.


@pytest.mark.parametrize("policy", ["replace", "keep"])
def test_a_task_that_waits_for_itself_gets_a_sentence(stage: Stage, policy: str) -> None:
    def make(task: Task):
        yield 1
        task.wait()

    task = stage.tasks.start(make, policy=policy)
    assert task.wait(PATIENCE)
    assert isinstance(task.error, WaitError)


def test_an_answer_that_waits_for_all_answers_gets_a_sentence(stage: Stage) -> None:
    def waiting():
        yield stage.tasks.wait()

    stage.run(waiting)
    assert isinstance(stage.ended[0][0], WaitError)
