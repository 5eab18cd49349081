"""The Synthesize panel: a picture made by gradient ascent, watched as it grows, steered while it runs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from nbcnnviz.core.errors import ExportError, MethodNotApplicableError, NbcnnvizError
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.panels.panel import Panel
from nbcnnviz.explorer.panels.synthesize.cost import Cost
from nbcnnviz.explorer.panels.synthesize.layout import Layout
from nbcnnviz.explorer.panels.synthesize.run import Run, RunFrame
from nbcnnviz.explorer.panels.synthesize.screen import Screen
from nbcnnviz.explorer.panels.synthesize.setup import Setup, subject_of
from nbcnnviz.explorer.widgets.layout import Updating
from nbcnnviz.session import Snapshot, Task, Tasks
from nbcnnviz.session.code import network_code, picture_code
from nbcnnviz.session.messages import sentence
from nbcnnviz.synthesis import Fooled
from nbcnnviz.synthesis.export import file_content, write_run
from nbcnnviz.synthesis.specification import Specification

DRAWING = 0.09
"""The share of a run's time that drawing it may take."""

_PROMISE = (
    "Press Start: {0} makes a picture here, step by step. Beside it its score and probabilities are drawn; it can be "
    "paused, steered by the settings below as it grows, turned back to any step, and saved as a picture or a film."
)


class SynthesizePanel(Panel):
    """Runs the recipes of `nbcnnviz.synthesis`.

    A run is a kept task: it goes on whatever is selected meanwhile. Every frame is kept, its picture rounded to 8 bits,
    until `nbcnnviz.synthesis.FrameBuffer`'s budget of memory is used up, and then every second, fourth ... one; the first and
    the last stay. A run can go on from any of those that the slider offers, the last and the one on screen always among
    them.

    Attributes
    ----------
    run : Run or None
        The last run asked for; ``run.newest.frame`` is its newest frame, ``run.buffer`` has those before.
    """

    name = "synthesize"
    title = "Synthesize"
    uses_class = False
    own_stop = True
    formats = ("png", "npz", "py")  # what takes no time to write; films are written as a task

    def __init__(self, *links: Any) -> None:
        super().__init__(*links)
        self.run: Run | None = None
        self._tasks = Tasks()
        self._writing: Task | None = None
        self._refused: BaseException | None = None
        self._lock = threading.RLock()
        self._updating = Updating()
        self._at_frame: int | None = None  # the place in the buffer that the reader turned back to; None for the newest
        self._cost = Cost()
        self._setup = Setup(self._asked_otherwise, self._moved)
        self._screen = Screen()
        self._screen.pictures.on("choose", self._picture_chosen)
        self._layout = Layout(self, self._setup, self._screen)
        self.widget, self._status = self._layout.widget, self._layout.status
        self._status.on("stop", lambda _: self.stop())
        self._status.on("pause", lambda _: self.resume() if self._status.paused else self.pause())
        self._status.on_visible(self._visible_again)
        self._layout.frames.observe(self._frame_chosen, "value")
        self._follow()

    def use(self, tasks: Tasks) -> None:
        """Run, and write files, among these."""
        self._tasks = tasks

    # The contract of a view.

    def settings(self) -> int | None:
        """The place in the buffer of the frame that is looked at; None for the newest."""
        return self._at_frame

    def answer(self, snapshot: Snapshot, trace: Trace) -> Iterator[RunFrame | None]:
        """The frame that is looked at; nothing is computed before a run is started."""
        run, at = self.run, snapshot.settings
        if run is None or run.going or at is None or at >= len(run.buffer):
            yield None
        else:
            yield RunFrame(run.buffer.steps[at], (run.newest or run.buffer[-1]).steps, run.buffer[at])

    def answered(self, trace: Trace) -> None:
        """Find out how long a step takes with this network, for the time to be told before a run starts."""
        if self._status.visible and (self.run is None or not self.run.going) and self._cost.measure(trace):
            self._follow()

    def show(self, frame: RunFrame | None) -> None:
        """Say what the selection offers now, and show a frame that was looked at."""
        with self._lock:
            run = self.run
            if frame is not None and run is not None and not run.going:
                self._screen.draw(frame, run)
                self._stand(run)
            self._follow()

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the frame that is shown (``.png``, ``.jpg`` ...), or the whole run (``.gif``, ``.webp``, ``.mp4``, ``.npz``).

        ``.py`` is the code that makes the frame again.
        """
        run = self.run
        if run is None or not len(run.buffer):
            raise ExportError("There is no frame to save yet: start a run.")
        at = self._at(run)
        write_run(Path(path), run.buffer.copy(), at, code or run.code(at))

    def code(self, image: str) -> list[str]:
        """The run's own lines; what it was given is named anew where another picture or network is selected by now."""
        run = self.run
        if run is None or not len(run.buffer):
            return []
        s, at = self.selection.snapshot, self._at(run)
        specification = run.specification_of(run.buffer.steps[at])
        given = image if specification.image is s.image else picture_code(specification.source)
        again = [] if specification.network is s.network else [network_code(specification.network)]
        return [*again, *specification.code(run.buffer[at], given)]

    def close(self) -> None:
        """End the run."""
        with self._lock:
            for task in (self.run.task if self.run is not None else None, self._writing):
                if task is not None:
                    task.stop()
            self.run = self._at_frame = None
            self._screen.forget()

    # What a user of the API calls, and the buttons do. Nothing is computed here.

    @property
    def error(self) -> BaseException | None:
        """What went wrong with the last thing asked for."""
        tasks = (self._writing, self.run.task if self.run is not None else None)
        return self._refused or next((task.error for task in tasks if task is not None and task.error), None)

    def start(self) -> None:
        """Start a run of what is asked for."""
        self._begin(None, math.inf)

    def pause(self) -> None:
        """Pause the run after the step that it is at."""
        if self.run is not None:
            self.run.task.pause()

    def resume(self) -> None:
        """Go on with a paused run."""
        self._go(Task.resume)

    def step(self) -> None:
        """Take one step more and pause; start a run with its first frame if there is none."""
        run = self.run
        if run is None or not run.live:
            self._begin(None, 1)
        else:
            self._go(Task.step)

    def stop(self) -> None:
        """End the run after the step that it is at."""
        if self.run is not None:
            self._at_frame = None
            self.run.task.stop()

    def restart(self, at: int | None = None) -> None:
        """Start a run from a frame of the last, ``at`` its place in ``run.buffer``; by default the one on the slider.

        The settings are those of now, the objective too. The frames after it are forgotten as soon as the first new one
        is there.
        """
        run = self.run
        if run is not None and len(run.buffer):
            self._begin(self._at(run) if at is None else range(len(run.buffer))[at], math.inf)

    def look(self, at: int) -> None:
        """Show a kept frame, ``at`` its place in ``run.buffer``; not while the run goes on."""
        run = self.run
        if run is not None and not run.going and len(run.buffer):
            self._at_frame = range(len(run.buffer))[at]
            self.ask()

    def wait(self, timeout: float | None = None) -> SynthesizePanel:
        """Block until nothing is computed: the run is over or paused. TimeoutError after ``timeout`` seconds."""
        tasks = (self.run.task if self.run is not None else None, self._writing, self._tasks)
        if not all(task.wait(timeout) for task in tasks if task is not None):
            raise TimeoutError(f"The run was still going on after {timeout} s.")
        return self

    def write(self, ending: str) -> None:
        """Write a file, as a task, and hand it to the reader's browser."""
        run = self.run
        if run is None or not len(run.buffer):
            return
        name, at, buffer = f"{run.specification.recipe.name}.{ending}", self._at(run), run.buffer.copy()
        code = run.code(at)

        def making(task: Task) -> Generator[None, None, None]:
            task.tell(f"Writing {name} ...")
            self._screen.pictures.download(name, file_content(name, buffer, min(at, len(buffer) - 1), code))
            yield

        with self._lock:
            self._refuse(None)
            self._layout.show_code(code if ending == "py" else "")
            self._writing = self._tasks.start(making, f"Writing {name}", policy="keep", on_change=self._task_changed)

    def _begin(self, at: int | None, frames: float) -> None:
        with self._lock:
            self._refuse(None)
            try:
                specification = self._specification(at)
            except Exception as error:
                self._refuse(error)
                return
            self._writing = self._at_frame = None
            run = Run(specification, self.run)
            self._layout.show_code("")
            self._status.tell("Starting ...")
            run.task = self._tasks.start(
                run.frames,
                "Step",
                policy="keep",
                frames=frames,
                share=DRAWING,
                on_frame=lambda frame: self._shown(run, frame),
                on_change=self._task_changed,
            )
            self.run = run  # once it has a task: others look at it without the lock
            self._follow()

    def _specification(self, at: int | None) -> Specification:
        s, setup, run = self.selection.snapshot, self._setup, self.run
        start, image, source = None, s.image, s.source
        question = setup.question(subject_of(s))
        if at is not None and run is not None:
            step, frame = start = run.buffer.steps[at], run.buffer[at]
            made = run.specification_of(step)
            if made.network is not s.network:
                raise MethodNotApplicableError(
                    f"These frames were made with {made.network.name}: choose that network again to go on from them."
                )
            shown, asked = len(frame.input), len(question.titles)
            if shown not in (1, asked):
                raise MethodNotApplicableError(
                    f"This frame shows {shown} pictures, and {asked} {'is' if asked == 1 else 'are'} asked for now: "
                    "ask for as many, or start anew."
                )
            if isinstance(frame, Fooled):
                image, source = made.image, made.source
        return Specification(
            setup.chosen, s.network, image, source, question.objective, question.words, question.titles,
            setup.settings(), setup.options(s.network, image), question.filters, start,
        )  # fmt: skip

    def _go(self, how: Callable[[Task], None]) -> None:
        run = self.run
        if run is not None and run.live:
            with self._lock:
                self._at_frame = None
                how(run.task)
                self._follow()

    # From frames to the screen. Runs on the task's thread.

    def _shown(self, run: Run, frame: RunFrame) -> None:
        with self._lock:
            if run is not self.run or not self._status.visible:
                return
            self._screen.draw(frame, run)
            if run.going and self._screen.chart(frame, run):
                self._status.tell(run.progress(frame), frame.step, frame.steps, pausable=True)
            if self._layout.save.disabled:
                self._follow()  # now there is something to be saved

    def _visible_again(self) -> None:
        run = self.run
        if run is not None and not run.going:  # else the next frame is about to be shown
            with self._lock:
                self._catch_up(run)

    def _task_changed(self, task: Task) -> None:
        with self._lock:
            run = self.run
            if run is None or task not in (run.task, self._writing):
                return  # of a run that was replaced, or a panel that is closed
            if not run.going:
                try:
                    self._catch_up(run)
                except Exception as error:
                    self._refuse(error)
                if self._writing is not None and self._writing.live:
                    self._status.tell(task.status)
                else:
                    self._stand(run)
                self._cost.learn(run)
                self._follow()
            self._show_error()

    def _catch_up(self, run: Run) -> None:
        """Show what there was no time for while it went on."""
        if self._status.visible and run.newest is not None and self._at_frame is None:
            self._screen.draw(run.newest, run)
            self._screen.chart(run.newest, run, at_once=True)

    def _stand(self, run: Run) -> None:
        """Say where a run stands that does not go on."""
        words, newest = run.standing(self._at(run)), run.newest
        if run.live and newest is not None:
            self._status.tell(words, newest.step, newest.steps, pausable=True, paused=True)
        else:
            self._status.finish(words)

    def _refuse(self, error: BaseException | None) -> None:
        self._refused = error
        self._show_error()

    def _show_error(self) -> None:
        with self._lock:
            self._status.error = "" if self.error is None else sentence(self.error)

    # From the selection, and from what goes on, to the controls.

    def _follow(self) -> None:
        with self._lock:
            run, s = self.run, self.selection.snapshot
            live, going = run is not None and run.live, run is not None and run.going
            said = run.specification.words if run is not None and live else None
            self._setup.follow(subject_of(s), said)
            if run is None:
                self._say_cost()
            self._screen.promise(_PROMISE.format(self._setup.chosen.title))
            kept = run.buffer.size if run is not None else 0
            same = run is not None and run.specification.network is s.network
            self._layout.follow(live=live, going=going, kept=kept, same=same)
            if run is not None and kept and not going:
                self._offer_frames(run)

    def _asked_otherwise(self) -> None:
        """The reader changed what the next run is to be."""
        self._follow()
        if self.run is None or not self.run.live:
            self._say_cost()

    def _say_cost(self) -> None:
        self._status.finish(self._cost.words(self._setup.steps, self.selection.network))

    def _offer_frames(self, run: Run) -> None:
        options = [(str(step), at) for at, step in enumerate(run.buffer.steps)]
        with self._updating:
            if list(self._layout.frames.options) != options:
                self._layout.frames.options = options
            self._layout.frames.value = self._at(run)

    # From the controls.

    def _moved(self, name: str, value: float) -> None:
        run = self.run
        if run is None or not run.live:
            return
        try:
            setattr(run.specification.controls, name, value)
        except NbcnnvizError as error:
            self._refuse(error)
        else:
            self._refuse(None)

    def _frame_chosen(self, change: Any) -> None:
        if not self._updating:
            self.look(change.new)

    def _picture_chosen(self, message: dict[str, Any]) -> None:
        """A filter's picture selects the filter."""
        shown, run = self._screen.shown, self.run
        filters = run.specification_of(shown.step).filters if run is not None and shown is not None else None
        at = message.get("at")
        if filters is not None and isinstance(at, int) and 0 <= at < len(filters[1]):
            self._screen.pictures.chosen = at
            self.attempt(lambda: self.go_to(filters[0], filters[1][at]))

    # What is on the slider.

    def _at(self, run: Run) -> int:
        """The place in the buffer of the frame that is looked at."""
        last = len(run.buffer) - 1
        return last if self._at_frame is None else min(self._at_frame, last)
