"""A task: a generator of frames being run, and what may be asked of it meanwhile."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Literal

from nbcnnviz.core.errors import NbcnnvizError
from nbcnnviz.session.pace import Pace

if TYPE_CHECKING:
    from nbcnnviz.session.tasks import Tasks

FRAMES_A_SECOND = 30

Policy = Literal["replace", "keep"]
State = Literal["waiting", "running", "paused", "done", "stopped", "replaced", "failed"]
Frames = Generator[Any, None, None]

_END = object()


class WaitError(NbcnnvizError):
    """Waiting would never end: it was asked for by what is waited for."""


class TaskStoppedError(NbcnnvizError):
    """A task was asked to end within a step; see `Task.check`."""


class Task:
    """A generator of frames being run; made by `Tasks.start`.

    A frame with attributes ``step`` and ``steps`` says how far the task is.

    Attributes
    ----------
    title : str
        What is being done, in words.
    policy : str
        ``"replace"`` or ``"keep"``.
    state : str
        ``"waiting"``, ``"running"``, ``"paused"``; and at last ``"done"``, ``"stopped"``, ``"replaced"`` (by a newer
        one) or ``"failed"``.
    status : str
        What the task last said of itself.
    error : BaseException or None
        What it failed with.
    made : int
        How many frames were made.
    completed, total : int
        How far it is; ``total`` is 0 where nobody knows.
    seconds, rate : float
        How long its frames took in all, without the first; and how much of ``total`` it completes in a second, 0 as
        long as nothing is known.
    pace : Pace
        How often its frames were handed on, and how long that took.
    slow : bool
        Whether it has been running for longer than `nbcnnviz.session.tasks.SLOW` seconds.
    answered : bool
        Whether all that was asked for is there, though it may be busy still.
    """

    def __init__(
        self, tasks: Tasks, make: Callable[[Task], Frames], title: str, policy: Policy, frames: float, pace: Pace,
        on_frame: Callable[[Any], None], on_change: Callable[[Task], None],
    ) -> None:  # fmt: skip
        self._tasks, self._change = tasks, tasks._change
        self._make: Callable[[Task], Frames] | None = make
        self.pace, self._on_frame, self._on_change = pace, on_frame, on_change
        self.title, self.policy = title, policy
        self.state: State = "waiting"
        self.status = ""
        self.error: BaseException | None = None
        self.made = self.completed = self.total = 0
        self.seconds = self.rate = 0.0
        self.slow = self.answered = False
        self._limit = frames
        self._ended_by: State | None = None  # why it should end
        self._idle = False  # paused or over, and that has been told
        self._last = False
        self._late: Any = _END  # a frame that was not handed on yet
        self._began = self._told = 0.0
        self._thread: threading.Thread | None = None

    # What anyone may ask for.

    def pause(self) -> None:
        """Pause after the frame that is being made."""
        self._allow(0)

    def resume(self) -> None:
        """Go on."""
        self._allow(math.inf)

    def step(self) -> None:
        """Make one frame more, and pause."""
        with self._change:
            self._allow((self.made if self._limit == math.inf else max(self.made, self._limit)) + 1)

    def stop(self) -> None:
        """End after the frame that is being made."""
        self._tasks._stop(self, "stopped")

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is paused or over; False if that took longer than ``timeout`` seconds.

        Raises
        ------
        WaitError
            If it is called by the task itself: by its generator, or by what hears of its frames.
        """
        self._tasks._check_waiting(self._thread if self.policy == "keep" else self._tasks._worker, self.title)
        with self._change:
            idle = self._change.wait_for(lambda: self._idle, timeout)
        if idle and not self.live and self.policy == "keep" and self._thread is not None:
            self._thread.join(timeout)
        return idle

    @property
    def live(self) -> bool:
        """Whether it may still go on."""
        return self.state in ("waiting", "running", "paused")

    @property
    def going(self) -> bool:
        """Whether it goes on, or is about to."""
        return self.live and self._ended_by is None and self.made < self._limit

    @property
    def seconds_left(self) -> float | None:
        """How long it will take to its end; None as long as nobody knows."""
        return (self.total - self.completed) / self.rate if self.rate and self.total else None

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._began

    # What its generator may ask, and say.

    @property
    def given_up(self) -> bool:
        """Whether it should end: to be asked within long steps."""
        return self._ended_by is not None

    def check(self) -> None:
        """Raise `TaskStoppedError`, which ends the task, if it should end."""
        if self.given_up:
            raise TaskStoppedError(f"{self.title} was stopped.")

    def tell(self, status: str, completed: int = 0, total: int = 0) -> None:
        """Say what is going on within a step; no more than `FRAMES_A_SECOND` of it is handed on."""
        self.status, self.completed, self.total = status, completed, total
        if time.perf_counter() - self._told >= 1 / FRAMES_A_SECOND:
            self._told = time.perf_counter()
            self._on_change(self)

    def answer(self, status: str) -> None:
        """Say that all that was asked for is there, whatever else is done while nobody asks for anything."""
        self._hand_on()
        self.status, self.answered = status, True
        self._on_change(self)

    def finish(self) -> None:
        """Say that the next frame is the last."""
        self._last = True

    # Its run, on its thread.

    def _allow(self, frames: float) -> None:
        with self._change:
            self._limit = frames
            if self.going:
                self._idle = False
            self._change.notify_all()

    def _run(self) -> None:
        with self._change:
            if self._ended_by is None:
                self.state = "running"
        error = self._play() if self.state == "running" else None
        if error is not None:
            _let_go(error)
        if isinstance(error, TaskStoppedError):
            error = None
        self._end("failed" if error is not None else self._ended_by or "done", error)
        del self, error  # or there would be a cycle: the traceback knows this call's frame, which knows the task

    def _end(self, state: State, error: BaseException | None = None) -> None:
        self.state, self.error = state, error
        self._make, self._late = None, _END
        with suppress(Exception):  # nobody is there to be told
            self._on_change(self)
        # What waits for it holds nothing that it knew.
        self._on_frame = self._on_change = ignore
        with self._change:
            self._idle = True
            self._change.notify_all()

    def _play(self) -> BaseException | None:
        self._began = time.perf_counter()
        assert self._make is not None
        try:
            with suppress(Exception):  # that it could not be told is no reason not to begin
                self._on_change(self)
            with closing(self._make(self)) as frames:
                while self._may_go_on():
                    began = time.perf_counter()
                    frame = next(frames, _END)
                    if frame is _END:
                        self._ended_by = None  # too late to be stopped
                        break
                    if self.given_up:
                        break
                    self._count(frame, time.perf_counter() - began)
                    self._late = frame
                    del frame  # the generator may be about to let it go
                    if self.pace.due:
                        self._hand_on()
                    if self._last:
                        break
            if self._ended_by != "replaced":
                self._hand_on()  # whatever was left out on the way, the last frame is shown
        except BaseException as error:  # a user's network may raise anything, SystemExit too: the thread lives on
            return error
        return None

    def _hand_on(self) -> None:
        frame, self._late = self._late, _END
        if frame is not _END:
            with self.pace.drawing():
                self._on_frame(frame)

    def _may_go_on(self) -> bool:
        """Wait while it is paused; False if it should end."""
        while not self.given_up and self.made >= self._limit:
            self._hand_on()
            self.state = "paused"
            self._on_change(self)
            with self._change:
                if self.made >= self._limit and not self.given_up:
                    self._idle = True
                    self._change.notify_all()
                    self._change.wait_for(lambda: self.made < self._limit or self.given_up)
                    self._idle = False
                self.state = "running"
            if not self.given_up:
                self._on_change(self)
        if self.policy == "keep":
            self._tasks._make_way(self)
        return not self.given_up

    def _count(self, frame: Any, seconds: float) -> None:
        before, self.made = self.completed, self.made + 1
        if hasattr(frame, "steps"):
            self.completed, self.total = frame.step, frame.steps
        if self.made > 1:  # the first makes ready what the others have
            self.seconds += seconds
            rate = max(0, self.completed - before) / max(seconds, 1e-9)
            self.rate = 0.9 * self.rate + 0.1 * rate if self.rate else rate


def ignore(_: Any) -> None:
    """What is called where nobody listens."""


def _let_go(error: BaseException) -> None:
    """Clear what the frames of an error's traceback know: it may be kept, and with it every tensor of the task."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
