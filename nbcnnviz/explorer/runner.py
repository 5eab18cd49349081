"""One worker thread, one waiting place: the newest request wins.

A request is a job: a generator of frames. It takes the place of the one that waits and stops the one that runs, between
two frames. Callbacks of the notebook only put requests here and return, so that the kernel answers at once, whatever
thread they are called on, while torch works in the worker.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any, Literal

FRAMES_A_SECOND = 30

End = Literal["done", "stopped", "replaced"]
"""How a job came to its end: by itself, by `Runner.stop` or `Runner.close`, or by a newer job."""

Job = Callable[[], Generator[Any, None, None]]
"""Makes the generator that is to be run; frames are whatever ``shown`` understands."""


class Runner:
    """Runs the newest job asked for. The thread starts with the first job and ends with `close`.

    Parameters
    ----------
    started, shown, ended
        Called on the worker's thread when a job begins, for the frames of it that are to be shown (no more than
        `FRAMES_A_SECOND`, and always the last), and when it is over: with the error it failed with, or None, and how
        it ended.
    """

    def __init__(
        self,
        started: Callable[[], None],
        shown: Callable[[Any], None],
        ended: Callable[[BaseException | None, End], None],
    ) -> None:
        self._started, self._shown, self._ended = started, shown, ended
        self._change = threading.Condition()
        self._waiting: Job | None = None
        self._running: Job | None = None
        self._stop = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Run ``job`` instead of whatever waits or runs."""
        with self._change:
            if self._closed:
                return
            self._waiting = job
            if self._thread is None:
                # In the caller's context, or prints and messages of the worker are lost to other cells.
                context = contextvars.copy_context()
                self._thread = threading.Thread(target=context.run, args=(self._work,), name="nbcnnviz", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def stop(self) -> None:
        """Stop the job that runs, between two frames, and forget the one that waits."""
        with self._change:
            self._waiting = None
            self._stop = True
            self._change.notify_all()  # who waits for the one that waited

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        with self._change:
            return self._running is not None or self._waiting is not None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing runs or waits; False if that took longer than ``timeout`` seconds."""
        with self._change:
            return self._change.wait_for(lambda: self._running is None and self._waiting is None, timeout)

    def close(self) -> None:
        """Stop everything and end the thread. Jobs submitted later are ignored."""
        with self._change:
            self._closed = True
            self._waiting = None
            self._stop = True
            self._change.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting is not None or self._closed)
                if self._closed:
                    return
                job = self._running = self._waiting
                self._waiting, self._stop = None, False
            assert job is not None
            self._run(job)
            with self._change:
                self._running = None
                self._change.notify_all()
            del job  # an idle thread holds no pictures

    def _run(self, job: Job) -> None:
        error: BaseException | None = None
        late, due = None, time.monotonic()
        try:
            self._started()
            with closing(job()) as frames:
                for frame in frames:
                    if self.given_up():
                        break
                    late, now = frame, time.monotonic()
                    if now >= due:
                        self._shown(frame)
                        due, late = max(due, now - 1 / FRAMES_A_SECOND) + 1 / FRAMES_A_SECOND, None
                    del frame  # the job may be about to let it go
            if late is not None and self._waiting is None:
                self._shown(late)  # whatever was left out on the way, the last frame is shown
        except BaseException as failure:  # a user's network may raise anything, SystemExit too: the thread lives on
            error = failure
        with suppress(Exception):  # nobody is there to be told
            self._ended(error, "replaced" if self._waiting is not None else "stopped" if self._stop else "done")
        del error  # it holds this call's frame, which held it, and every tensor that the job knew

    def given_up(self) -> bool:
        """Whether the job that runs should end: a stop was asked for, or a newer job waits."""
        return self._stop or self._waiting is not None
