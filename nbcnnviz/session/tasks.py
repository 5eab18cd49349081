"""Tasks: generators of frames, run by threads of their own.

A task runs, pauses, takes one step, stops; it knows how far it is, how long it will take, and how it ended. What it is
asked is put down and read between two frames, so that callbacks of a notebook return at once, whatever thread they are
called on. Its policy says what becomes of it when something else is asked: ``"replace"``, for the answer to a question,
gives way to the next of its kind; ``"keep"`` goes on until it is stopped, and lets answers go first.
"""

from __future__ import annotations

import contextvars
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nbcnnviz.session.pace import Pace
from nbcnnviz.session.task import FRAMES_A_SECOND, Frames, Policy, State, Task, WaitError, ignore

PATIENCE = 0.25
"""Seconds that a kept task waits at most, before each frame, for an answer that is being computed."""

DISPLAY_TIME = 0.03
"""Seconds that the browser is left, after that, to show the answer."""

SLOW = 0.2
"""Seconds after which it is worth a message that a task is still running."""


class Tasks:
    """Runs tasks: of those that replace one another the newest, and each that is kept.

    Threads start with the first task, and end with `close`. They are daemons, and run in the context of whoever started
    the task.
    """

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting: Task | None = None
        self._running: Task | None = None
        self._turn = 0  # how often a task began or ended on the worker
        self._kept: list[Task] = []
        self._threads: list[threading.Thread] = []
        self._worker: threading.Thread | None = None
        self._closed = False

    def start(
        self,
        make: Callable[[Task], Frames],
        title: str = "",
        *,
        policy: Policy = "replace",
        frames: float = math.inf,
        share: float = 1.0,
        on_frame: Callable[[Any], None] | None = None,
        on_change: Callable[[Task], None] | None = None,
    ) -> Task:
        """Run a generator.

        Parameters
        ----------
        make
            Called with the task, on its thread; makes the generator.
        title
            What is being done, in words.
        policy
            ``"replace"``: it takes the place of the task of this policy that runs or waits, between two frames.
            ``"keep"``: it goes on beside others until it is stopped.
        frames
            How many frames are made before it pauses.
        share
            The share of the time, on average, that ``on_frame`` may take.
        on_frame
            Called on the task's thread for frames that are to be shown: no more than `FRAMES_A_SECOND`, and always the
            last before a pause and at the end.
        on_change
            Called when the state or the status has changed, on any thread.

        Returns
        -------
        Task
            It is ``"stopped"`` already if the tasks are closed.
        """
        pace = Pace(FRAMES_A_SECOND, share)
        task = Task(self, make, title, policy, frames, pace, on_frame or ignore, on_change or ignore)
        with self._change:
            before = self._waiting if policy == "replace" else None
            if self._closed:
                before, task._ended_by = task, "stopped"
            elif policy == "keep":
                self._kept = [*(kept for kept in self._kept if kept.live), task]
                task._thread = self._begin(task._run)
            else:
                for earlier in (self._running, before):
                    if earlier is not None and earlier._ended_by is None:
                        earlier._ended_by = "replaced"
                self._waiting = task
                if self._worker is None:
                    self._worker = self._begin(self._work)
                    self._begin(self._watch, "nbcnnviz clock")
            self._change.notify_all()
        if before is not None:
            before._end(before._ended_by or "replaced")
        return task

    @property
    def kept(self) -> list[Task]:
        """The kept tasks that are not over."""
        return [task for task in self._kept if task.live]

    @property
    def busy(self) -> bool:
        """Whether a task that answers a question runs or waits; one that is paused does not."""
        with self._change:
            return not self._at_rest()

    def stop(self) -> None:
        """Stop the task that answers a question, between two frames, or before it began."""
        for task in (self._running, self._waiting):
            if task is not None:
                self._stop(task, "stopped")

    def wait(self, timeout: float | None = None) -> bool:
        """Block until no question is being answered; False if that took longer than ``timeout`` seconds.

        Raises
        ------
        WaitError
            If it is called by a task that answers one.
        """
        self._check_waiting(self._worker, "the answer")
        with self._change:
            return self._change.wait_for(self._at_rest, timeout)

    def close(self, timeout: float = 10) -> None:
        """Stop everything and end the threads; what takes a step longer than ``timeout`` seconds ends after it."""
        with self._change:
            self._closed = True
            waiting, self._waiting = self._waiting, None
            for task in (self._running, waiting, *self._kept):
                if task is not None and task._ended_by is None:
                    task._ended_by = "stopped"
                    task._idle = False
            threads, self._threads, self._kept = self._threads, [], []
            self._change.notify_all()
        if waiting is not None:
            waiting._end("stopped")
        until = time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _at_rest(self) -> bool:
        return self._waiting is None and (self._running is None or self._running._idle)

    @staticmethod
    def _check_waiting(thread: threading.Thread | None, what: str) -> None:
        if thread is threading.current_thread():
            raise WaitError(
                f"wait() was called by what it would wait for ({what or 'a task'}): in its generator, or in an observer of "
                "what it changes. Call it on another thread, or look at the result later."
            )

    def _stop(self, task: Task, why: State) -> None:
        with self._change:
            waiting = task is self._waiting
            if task._ended_by is None and task.live:
                task._ended_by = why
                task._idle = False
            if waiting:
                self._waiting = None
            self._change.notify_all()
        if waiting:
            task._end(why)

    def _begin(self, act: Callable[[], None], name: str = "nbcnnviz") -> threading.Thread:
        # In the caller's context, or prints and messages of the thread are lost to other cells.
        thread = threading.Thread(target=contextvars.copy_context().run, args=(act,), name=name, daemon=True)
        self._threads = [*(known for known in self._threads if known.is_alive()), thread]
        thread.start()
        return thread

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting is not None or self._closed)
                if self._closed:
                    return
                task = self._running = self._waiting
                self._waiting = None
                self._turn += 1
                assert task is not None
                self._change.notify_all()
            task._run()
            with self._change:
                self._running = None
                self._turn += 1
                self._change.notify_all()
            del task  # an idle thread holds no pictures

    def _watch(self) -> None:
        """Say of a task that takes longer than one could read that it runs."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or (self._running is not None and not self._running.slow))
                if self._closed:
                    return
                # The turn, not the task: what waits holds no pictures.
                turn = self._turn
                if self._change.wait_for(lambda: self._closed or self._turn != turn, SLOW):  # noqa: B023
                    continue
                task = self._running
                assert task is not None
                task.slow = True
            with suppress(Exception):
                task._on_change(task)
            del task

    def _make_way(self, task: Task) -> None:
        """Let a question be answered first, and the browser show the answer."""
        until = time.monotonic() + PATIENCE
        if self.busy:
            with self._change:
                rested = self._change.wait_for(
                    lambda: self._at_rest() or task.given_up, max(0, until - time.monotonic())
                )
            if rested and not task.given_up:
                time.sleep(DISPLAY_TIME)
