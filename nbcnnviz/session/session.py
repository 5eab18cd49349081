"""A session: what is looked at, the trace kept of it, what is loading, and the tasks that answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nbcnnviz.attribution import Attribution
from nbcnnviz.core.durations import duration
from nbcnnviz.core.errors import StaleTraceError
from nbcnnviz.core.network import Network
from nbcnnviz.core.trace import Trace
from nbcnnviz.session.code import explanation_code, selection_code
from nbcnnviz.session.history import History
from nbcnnviz.session.loading import loading
from nbcnnviz.session.selection import Selection
from nbcnnviz.session.snapshot import Snapshot
from nbcnnviz.session.task import Frames, Task, TaskStoppedError, WaitError
from nbcnnviz.session.tasks import Tasks
from nbcnnviz.session.tracing import Tracer
from nbcnnviz.session.view import Explanation, View


class Session:
    """Answers the selection whenever it changes, by a task that replaces the one before.

    A script drives it as a widget does::

        session = Session(Selection(net, "chelsea"))
        session.observe(print)
        session.explain()
        session.selection.method = "saliency"
        session.wait().result

    Parameters
    ----------
    selection
        What is looked at.
    on_task
        Called when a task that answers, or loads a network, has changed: it began, told something, is over. On any thread.

    Attributes
    ----------
    selection, history
        What is looked at, and undo and redo of it.
    tasks : Tasks
        What is being computed: the answer, and what is kept.
    task : Task or None
        The newest task that answers or loads a network.
    view : View or None
        What the selection is answered for; by default its explanation.
    views : list[View]
        All that take notice of the selection, of traces and questions.
    lock : threading.RLock
        Held while something is shown; nothing is computed meanwhile.
    """

    def __init__(self, selection: Selection, on_task: Callable[[Task], None] | None = None) -> None:
        self.selection, self.history, self.tasks = selection, History(selection), Tasks()
        self.task: Task | None = None
        self.explanation = Explanation()
        self.view: View | None = self.explanation
        self.views: list[View] = [self.explanation]
        self.lock = threading.RLock()
        self.trace: Trace | None = None  # the one that the views show
        self.tracer = Tracer(self._let_go)
        self._on_task: Callable[[Task], None] = on_task or (lambda task: None)
        self._observers: list[Callable[[Any], None]] = []
        self._refused: BaseException | None = None
        self._asking = threading.RLock()
        self._load: Task | None = None
        self._selecting: Network | None = None  # the network that a task selects
        self._put_off = False
        self._unfollow = selection.call_first(self._selected)

    # What a script calls.

    @property
    def result(self) -> Attribution | None:
        """The map of what is selected; None until the first map of a picture is there."""
        return self.explanation.result

    @property
    def error(self) -> BaseException | None:
        """What went wrong with what was asked for last; it ends with the next thing asked for."""
        return self._refused or (self.task.error if self.task is not None else None)

    @property
    def loading(self) -> str | None:
        """The name of the network that is being loaded, to be selected then."""
        load = self._load
        return load.title if load is not None and load.going else None

    def explain(self) -> Task | None:
        """Explain the selection as it is now: the task, or None if a network is loading, which will be explained."""
        self.view = self.explanation
        return self.ask()

    def ask(self) -> Task | None:
        """Answer the selection for the view, in place of what was asked before; see `explain`."""
        return self._ask(None)

    def load(self, name: str) -> Task | None:
        """Load a network by name and select it; if it is the one selected, give up loading another."""
        with self._asking:
            if name == self.selection.network.name:
                self._load = None
                return self.ask()
            self._refused = None
            self._load = task = self.tasks.start(
                lambda task: loading(task, name, lambda network: self._select(task, network)),
                name,
                on_change=self._load_changed,
            )
            self.task = task
        self._on_task(task)
        return task

    def observe(self, act: Callable[[Any], None]) -> None:
        """Call ``act`` with every frame that is shown, on the task's thread."""
        self._observers.append(act)

    def attempt(self, act: Callable[[], Any]) -> None:
        """Make a change; what is wrong with it becomes `error`, and is not raised."""
        try:
            act()
        except Exception as error:
            self._refuse(error)
        else:
            if self._refused is not None:
                self._refuse(None)

    def stop(self) -> None:
        """Stop what answers the selection, or loads a network; what was shown stays."""
        self.tasks.stop()

    def wait(self, timeout: float | None = None) -> Session:
        """Block until the selection is answered; a task that is kept is not waited for.

        Raises
        ------
        TimeoutError
            After ``timeout`` seconds.
        WaitError
            If it would never end: it was called by what it waits for, such as an observer of a change that a task made.
        """
        if self.selection.held and self.loading:
            raise WaitError(
                "wait() was called in an observer of the selection while a network is loading, which can only be selected "
                "after this change: look at the result later."
            )
        if not self.tasks.wait(timeout):
            raise TimeoutError(f"It was still computing after {timeout} s.")
        return self

    def code(self) -> str:
        """The lines of Python that make the explanation again; ``...`` stands for what only you have."""
        snapshot = self.selection.snapshot
        lines, image = selection_code(snapshot)
        return "\n".join([*lines, *explanation_code(snapshot, image, self.result)])

    def close(self) -> None:
        """Stop everything, end the threads and follow the selection no longer."""
        self._unfollow()
        self.tasks.close()
        self.history.close()
        self.tracer.forget()
        self.trace = None

    def add(self, view: View) -> None:
        """Let a view take notice of traces, beginning with the one shown."""
        with self.lock:
            self.views.append(view)
            if self.trace is not None:
                view.show_trace(self.trace)

    # From a change of the selection to a task. Runs on whatever thread the change was made on, and computes nothing.

    def _selected(self, name: str) -> None:
        if name != "source":
            if name == "network" and self.selection.network is not self._selecting:
                self._load = None  # this one came later
            self.ask()
        for view in self.views:
            view.follow()

    def _ask(self, refused: BaseException | None) -> Task | None:
        with self._asking:  # or of two changes at once, the question of the first may be the last
            self._refused = refused
            self._put_off = self.loading is not None  # what is loaded answers, or the end of loading asks
            view = self.view
            if not self._put_off:
                snapshot = self.selection.snapshot
                if view is not None:
                    snapshot = replace(snapshot, settings=view.settings())
                self.task = self.tasks.start(
                    lambda task: self._answer(task, snapshot, view),
                    "Computing",
                    on_frame=lambda frame: self._show(view, frame),
                    on_change=self._on_task,
                )
            task = self.task
        if task is not None:
            self._on_task(task)
        return None if self._put_off else task

    def _refuse(self, error: BaseException | None) -> None:
        self._refused = error
        if self.task is not None:
            self._on_task(self.task)

    # Tasks. They run on the worker's thread.

    def _answer(self, task: Task, snapshot: Snapshot, view: View | None) -> Frames:
        for once_more in (True, False):
            trace = self.tracer(snapshot.network, snapshot.picture)
            self._show_trace(trace, snapshot)
            try:
                if view is not None:
                    yield from view.answer(snapshot, trace)
            except StaleTraceError:  # the network is being trained: look again
                if not once_more:
                    raise
                self.tracer.forget()
                del trace
                continue
            task.answer(f"{duration(task.elapsed)} on {trace.network.device}")
            for seen in [] if task.given_up else self.views:
                seen.answered(trace)
            self.tracer.warm_up(trace, lambda: task.given_up)
            return

    def _select(self, load: Task, network: Network) -> None:
        with self._asking:
            if self._load is not load or load.given_up:  # another came in between
                raise TaskStoppedError("Another network was asked for.")
            self._load, self._selecting = None, network
        self.selection.network = network
        self._selecting = None

    def _load_changed(self, task: Task) -> None:
        with self._asking:
            again = not task.live and self._put_off and self.loading is None
        if again:
            self._ask(task.error)
        self._on_task(task)

    # From frames to what is shown. Runs on the task's thread.

    def _show_trace(self, trace: Trace, snapshot: Snapshot) -> None:
        with self.lock:
            if trace is not self.trace:
                for view in self.views:
                    view.show_trace(trace)
                self.trace = trace  # and not if any of them failed
            for view in self.views:
                view.show_question(snapshot, trace)

    def _show(self, view: View | None, frame: Any) -> None:
        with self.lock:
            if view is not None:
                view.show(frame)
            if self.task is not None:
                self._on_task(self.task)
        for act in self._observers:
            act(frame)

    def _let_go(self) -> None:
        self.trace = None
        for view in self.views:
            view.forget()
