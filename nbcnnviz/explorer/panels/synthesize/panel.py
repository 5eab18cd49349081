"""The Synthesize panel: a picture made by gradient ascent, watched as it grows, steered while it runs."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

import ipywidgets as w

from nbcnnviz.core.errors import ExportError, MethodNotApplicableError, NbcnnvizError
from nbcnnviz.core.trace import Trace
from nbcnnviz.explorer.front import PictureFrame, StatusLine
from nbcnnviz.explorer.panels.panel import Act, Panel, Request
from nbcnnviz.explorer.panels.synthesize import files
from nbcnnviz.explorer.panels.synthesize.curves import Curves
from nbcnnviz.explorer.panels.synthesize.dials import Dials
from nbcnnviz.explorer.panels.synthesize.pace import Pace
from nbcnnviz.explorer.panels.synthesize.question import Subject
from nbcnnviz.explorer.panels.synthesize.run import Order, Run, Shot
from nbcnnviz.explorer.panels.synthesize.setup import Setup
from nbcnnviz.explorer.runner import End, Runner
from nbcnnviz.session.messages import sentence
from nbcnnviz.session.selection import Selection
from nbcnnviz.synthesis import Controls, Fooled

CURVES_A_SECOND = 5
PATIENCE = 0.25
"""Seconds that a step waits at most for something more urgent."""

BREATH = 0.03
"""Seconds that the browser is left, after that, to show what came of it."""

PASSING, STAYING = 74, 92
"""The JPEG quality of a picture that the next one is about to replace, and of one that is there to be looked at."""

_ALONE = "460px"  # the room for one picture, which is shown no larger

_Job = Generator[Any, None, None]


class SynthesizePanel(Panel):
    """Runs the recipes of `nbcnnviz.synthesis`.

    A run has a thread of its own: it goes on whatever is selected meanwhile. Every frame is kept, its picture rounded to
    8 bits, until `nbcnnviz.synthesis.Reel`'s budget of memory is used up, and then every second, fourth ... one; the
    first and the last stay. A run can go on from any of those that the slider offers, the last and the one on screen
    always among them.

    Attributes
    ----------
    run : Run or None
        The last run asked for; ``run.last.frame`` is its newest frame, ``run.reel`` has those before.
    error : BaseException or None
        What went wrong with the last thing asked for.
    elsewhere : Runner or None
        Whose jobs go first: while it is busy, a run waits for up to `PATIENCE` seconds before each step.
    """

    name = "synthesize"
    title = "Synthesize"
    formats = files.AT_ONCE

    def __init__(self, selection: Selection, attempt: Callable[[Act], None], ask: Act) -> None:
        super().__init__(selection, attempt, ask)
        self.run: Run | None = None
        self.error: BaseException | None = None
        self.elsewhere: Runner | None = None
        self._publishing = threading.RLock()
        self._setting = threading.local()
        self._runner = Runner(lambda: None, self._shown, self._ended)
        # How often pictures are offered is up to the runner.
        self._pictures_pace, self._curves_pace = Pace(math.inf, 0.065), Pace(CURVES_A_SECOND, 0.025)
        self._looked_at: Shot | None = None  # the frame that the reader turned back to; None for the newest
        self._drawn: Shot | None = None
        self._in_passing = False
        self._charted: Shot | None = None

        self._dials = Dials(self._moved)
        self._setup = Setup(self._follow, self._retune)
        self._pictures = PictureFrame(label="Pictures in the making")
        self._pictures.on("choose", self._picture_chosen)
        self._curves = Curves()
        self._before_and_after = w.HTML(layout=w.Layout(min_width="0", margin="0"))
        self._status = StatusLine(label="Synthesis")
        self._status.on("stop", lambda _: self.stop())
        self._status.on_visible(self._seen_again)
        self._lay_out()
        self._retune()
        self._follow()

    def gives_way_to(self, runner: Runner) -> None:
        """Let the jobs of ``runner`` go first."""
        self.elsewhere = runner

    def _lay_out(self) -> None:
        self._play = _button("Start", "play", "Start a run", self._play_or_pause, "primary")
        self._step = _button("Step", "step-forward", "Take one step, then pause", self.step)
        self._stop = _button("Stop", "stop", "End the run; its frames stay", self.stop)
        self._from_here = _button(
            "Go on from here", "history", "Start a run from the frame on the slider, with the settings as they are now",
            lambda: self.restart(), width="148px",
        )  # fmt: skip
        self._frames = w.SelectionSlider(
            options=[("none", 0)], description="Frame", tooltip="The frames kept of the run", disabled=True,
            style={"description_width": "44px"}, layout=w.Layout(flex="1 1 220px", width="auto", min_width="0"),
        )  # fmt: skip
        self._frames.observe(self._frame_chosen, "value")
        self._saves = {
            ending: _button(title, "", tooltip, self._saver(ending), width="64px")
            for ending, title, tooltip in (
                ("png", "PNG", "The frame on the slider, as a picture"),
                ("gif", "GIF", "The run, as a film"),
                ("webp", "WebP", "The run, as a film, smaller and in better colours"),
                ("mp4", "MP4", "The run, as a film; needs an encoder: pip install imageio-ffmpeg"),
                ("npz", "Array", "The frames and their numbers, for numpy.load"),
                ("py", "Code", "The Python that makes the frame on the slider again"),
            )
        }
        self._links = w.HTML(layout=w.Layout(margin="0", min_width="0"))
        self._code = w.HTML(layout=w.Layout(margin="0", min_width="0"))
        self._left = w.VBox(
            [self._pictures, self._before_and_after],
            layout=w.Layout(flex="1.2 1 320px", min_width="0", max_width=_ALONE, grid_gap="8px"),
        )
        more = w.Accordion([w.VBox([self._dials.others, self._setup.others])], titles=["More settings"])
        transport = [self._play, self._step, self._stop, self._frames, self._from_here]
        self.widget = w.VBox(
            [
                self._setup.main,
                self._setup.aims,
                self._dials.first,
                _line(*transport),
                self._status,
                w.HBox(
                    [self._left, self._curves.widget],
                    layout=w.Layout(flex_flow="row wrap", grid_gap="8px 24px", min_width="0"),
                ),
                more,
                _line(w.Label("Save", layout=w.Layout(width="36px")), *self._saves.values(), self._links),
                self._code,
            ],
            layout=w.Layout(min_width="0", grid_gap="6px"),
        )
        self.widget.add_class("nbcnnviz")

    # The contract of a panel.

    def answer(self, request: Request, trace: Trace) -> Generator[None, None, None]:
        """Follow the selection: nothing is computed before a run is started."""
        yield None

    def show(self, frame: None) -> None:
        """Say what the selection offers now."""
        self._follow()

    def save(self, path: str | PathLike[str], code: str = "") -> None:
        """Write the frame that is shown (``.png``, ``.jpg`` ...), or the whole run (``.gif``, ``.webp``, ``.mp4``, ``.npz``).

        ``.py`` is the code that makes the frame again.
        """
        if self.run is None or not len(self.run.reel):
            raise ExportError("There is no frame to save yet: start a run.")
        files.write(Path(path), self.run.reel, self._at(self.run), code or "\n".join(self._whole_code(self.run)))

    def code(self, image: str) -> list[str]:
        """The run's own lines; what it was given is named anew where another picture or network is selected by now."""
        run = self.run
        if run is None or not len(run.reel):
            return []
        s, at = self.selection, self._at(run)
        order = run.order_of(run.reel.steps[at])
        given = image if order.image is s.image else None
        again = [] if order.network is s.network else [files.network(order)]
        return [*again, *files.code_of(order, run.reel[at], given)]

    def close(self) -> None:
        """End the run and its thread."""
        self._runner.close()
        if self.run is not None:
            self.run.stop()
        self.run = self._looked_at = self._drawn = self._charted = None
        self._curves.forget()

    # What a user of the API calls, and the buttons do. Nothing is computed here.

    def start(self) -> None:
        """Start a run of what is asked for."""
        self._begin(None, math.inf)

    def pause(self) -> None:
        """Pause the run after the step that it is at."""
        self._go(0)

    def resume(self) -> None:
        """Go on with a paused run."""
        self._go(math.inf)

    def step(self) -> None:
        """Take one step more and pause; start a run with its first frame if there is none."""
        run = self.run
        if run is None or not run.live:
            self._begin(None, 1)
        else:
            self._go((run.made if run.limit == math.inf else max(run.made, run.limit)) + 1)

    def stop(self) -> None:
        """End the run after the step that it is at."""
        run = self.run
        if run is not None and run.live:
            self._runner.submit(lambda: self._stopping(run))

    def restart(self, at: int | None = None) -> None:
        """Start a run from a frame of the last, ``at`` its place in ``run.reel``; by default the one on the slider.

        The settings are those of now, the objective too. The frames after it are forgotten as soon as the first new one
        is there.
        """
        run = self.run
        if run is not None and len(run.reel):
            self._begin(self._at(run) if at is None else range(len(run.reel))[at], math.inf)

    def look(self, at: int) -> None:
        """Show a kept frame, ``at`` its place in ``run.reel``; not while the run goes on."""
        run = self.run
        if run is not None and not run.going and len(run.reel):
            self._runner.submit(lambda: self._looking(run, range(len(run.reel))[at]))

    def wait(self, timeout: float | None = None) -> SynthesizePanel:
        """Block until nothing is computed: the run is over or paused. TimeoutError after ``timeout`` seconds."""
        if not self._runner.wait(timeout):
            raise TimeoutError(f"The run was still going on after {timeout} s.")
        return self

    def _play_or_pause(self) -> None:
        run = self.run
        if run is None or not run.live:
            self.start()
        elif run.going:
            self.pause()
        else:
            self.resume()

    def _begin(self, at: int | None, limit: float) -> None:
        with self._publishing:
            self._fail(None)
            try:
                order = self._order(at)
            except Exception as error:
                self._fail(error)
                return
            self.run = run = Run(order, self._make_way, self.run, limit)
            self._links.value = self._code.value = ""
            self._status.tell("Starting ...")
            self._follow()
            self._runner.submit(lambda: self._playing(run))

    def _order(self, at: int | None) -> Order:
        s, setup, run = self.selection, self._setup, self.run
        start, image, source = None, s.image, s.source
        question = setup.question(Subject.of(s))
        if at is not None and run is not None:
            step, frame = start = run.reel.steps[at], run.reel[at]
            made = run.order_of(step)
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
        return Order(
            setup.chosen, s.network, image, source, question.objective, question.words, question.titles,
            Controls().copy(**self._dials.values), setup.options(s.network, image), question.filters, start,
        )  # fmt: skip

    def _go(self, limit: float) -> None:
        run = self.run
        if run is not None and run.live:
            run.limit = limit
            self._runner.submit(lambda: self._playing(run))

    # Jobs. They run on the worker's thread, one at a time; a newer one takes over between two steps.

    def _playing(self, run: Run) -> _Job:
        with self._publishing:
            self._looked_at = None
            self._follow()
        yield from run.play()

    def _stopping(self, run: Run) -> _Job:
        self._looked_at = None
        run.stop()
        yield from ()

    def _looking(self, run: Run, at: int) -> _Job:
        frame = run.reel[at]
        self._looked_at = shot = Shot(run.reel.steps[at], self._length(run), frame)
        yield shot

    def _saving(self, run: Run, ending: str) -> _Job:
        """Write a file; a run that was going on goes on after it."""
        name = f"{run.order.recipe.name}.{ending}"
        self._status.tell(f"Writing {name} ...")
        code = "\n".join(self._whole_code(run))
        try:
            self._links.value = files.link(name, run.reel, self._at(run), code)
            if ending == "py":
                self._code.value = f"<pre style='overflow:auto; margin:0; line-height:1.4'>{escape(code)}</pre>"
        except Exception as error:  # the run is not at fault
            self._fail(error)
        yield from run.play()

    def _make_way(self) -> None:
        """Let the explorer answer first, and the browser show its answer."""
        runner, end = self.elsewhere, time.monotonic() + PATIENCE
        if runner is None or not runner.busy:
            return
        while not self._runner.given_up() and time.monotonic() < end:
            if runner.wait(0.02):
                time.sleep(BREATH)
                return

    # From frames to the screen. Runs on the worker's thread, and for messages also on the callers'.

    def _shown(self, shot: Shot) -> None:
        with self._publishing:
            if not self._status.visible:
                return
            if self._pictures_pace.due:
                self._draw(shot)
            if self._curves_pace.due and self._looked_at is None:
                self._chart(shot)

    def _seen_again(self) -> None:
        run = self.run
        if run is not None and not run.going:  # else the next frame is about to be shown
            with self._publishing:
                self._catch_up(run)

    def _ended(self, error: BaseException | None, end: End) -> None:
        run = self.run
        if end == "replaced" or run is None:
            return  # the newer job tells
        with self._publishing:
            try:
                self._catch_up(run)
            except Exception as failure:
                error = error or failure
            self._status.finish(self._standing(run))
            self._follow()
            if error is not None:
                self._fail(error)

    def _catch_up(self, run: Run) -> None:
        """Show what there was no time for while it went on."""
        if not self._status.visible:
            return
        shot = self._looked_at or run.newest
        if shot is not None and (shot is not self._drawn or self._in_passing):
            self._draw(shot)
        if run.newest is not None and run.newest is not self._charted:
            self._chart(run.newest)

    def _draw(self, shot: Shot) -> None:
        """Show a frame's pictures, under titles."""
        run, frame = self.run, shot.frame
        if run is None:
            return
        with self._pictures_pace.drawing():
            order = run.order_of(shot.step)
            pictures, titles, least = frame.images, [""], 320
            if isinstance(frame, Fooled):
                before, after = ((f.top(1) or [(0, "", 0.0)])[0] for f in (frame.original, frame))
                magnified = 127 / max(1, frame.change_linf)
                pictures = [frame.original.image, frame.image, frame.difference()]
                titles = [
                    f"Before: {before[1]}, {before[2]:.1%}",
                    f"After: {after[1]}, {after[2]:.1%}",
                    f"The change, {magnified:.3g} times as strong",
                ]
                least = 180
            elif len(pictures) > 1:
                titles = [f"{title}: {score:.4g}" for title, score in zip(order.titles, frame.scores, strict=True)]
                least = 150
            with self._pictures.hold_sync():
                self._pictures.width, self._pictures.choosable = least, order.filters is not None
                quality = PASSING if run.going and self._looked_at is None else STAYING
                self._pictures.show(pictures, titles, self._caption(shot, order), quality)
            width = _ALONE if len(pictures) == 1 else None
            if self._left.layout.max_width != width:
                self._left.layout.max_width = width
            self._drawn, self._in_passing = shot, quality == PASSING

    @staticmethod
    def _caption(shot: Shot, order: Order) -> str:
        frame = shot.frame
        if isinstance(frame, Fooled):
            change = f"the change is {frame.change_l2:.2%} of the picture (L2), {frame.change_linf} of 255 at most"
            return f"Step {shot.step}: {change}"
        what = {"invert": f"likeness of {order.words}"}.get(order.recipe.name, order.words)
        return f"Step {shot.step}: {what}, score {frame.score:.4g}"

    def _chart(self, shot: Shot) -> None:
        """Show the numbers up to the newest frame, and how far it is."""
        run, frame = self.run, shot.frame
        if run is None:
            return
        with self._curves_pace.drawing():
            asked = [frame.to, frame.original.top(1)[0][0]] if isinstance(frame, Fooled) else []
            if isinstance(run.order.objective, int):
                asked = [run.order.objective]
            self._curves.draw(run.history, run.order.titles, run.order.network.classes, asked)
            table = _before_and_after(frame) if isinstance(frame, Fooled) else ""
            if table != self._before_and_after.value:
                self._before_and_after.value = table
            if run.going:
                self._status.tell(_progress(run, shot), shot.step, shot.steps)
                if self._saves["png"].disabled:
                    self._follow()  # now there is something to be saved
            self._charted = shot

    def _standing(self, run: Run) -> str:
        """Where a run stands that does not go on."""
        if run.newest is None:
            return ""
        step, steps = run.newest.step, run.newest.steps
        frame = run.newest.frame
        if run.state == "paused":
            words = f"Paused at step {step} of {steps}"
        elif run.state == "done":
            words = f"Done: {run.made - 1} steps in {run.seconds:.3g} s"
            if isinstance(frame, Fooled):
                words += f"; taken for {frame.top(1)[0][1]}" if frame.done else "; not fooled yet"
        else:
            words = f"Ended at step {step} of {steps}"
        if self._looked_at is not None and self._looked_at.step != step:
            words += f"; this is step {self._looked_at.step}"
        return words

    def _fail(self, error: BaseException | None) -> None:
        self.error = error
        with self._publishing:
            self._status.error = "" if error is None else sentence(error)

    # From the selection, and from what goes on, to the controls.

    def _follow(self) -> None:
        with self._publishing:
            run, s = self.run, self.selection
            live = run is not None and run.live
            self._setup.follow(Subject.of(s), s.image, run.order.words if run is not None and live else None)
            going = run is not None and run.going
            self._play.description = "Pause" if going else "Resume" if live else "Start"
            self._play.icon = "pause" if going else "play"
            self._play.tooltip = {"Pause": "Pause after this step", "Resume": "Go on", "Start": "Start a run"}[
                self._play.description
            ]
            self._stop.disabled = not live
            kept = run is not None and len(run.reel) > 0
            self._from_here.disabled = going or not kept or (run is not None and run.order.network is not s.network)
            self._frames.disabled = going or not kept
            for button in self._saves.values():
                button.disabled = not kept
            if run is not None and kept and not going:
                self._offer_frames(run)

    def _offer_frames(self, run: Run) -> None:
        self._setting.here = True
        try:
            options = [(str(step), at) for at, step in enumerate(run.reel.steps)]
            if list(self._frames.options) != options:
                self._frames.options = options
            self._frames.value = self._at(run)
        finally:
            self._setting.here = False

    def _retune(self) -> None:
        rate = self._setup.learning_rate
        self._dials.set(self._setup.chosen.controls(**({} if rate is None else {"learning_rate": rate})))

    # From the controls.

    def _moved(self, name: str, value: float) -> None:
        run = self.run
        if run is not None and run.live:
            try:
                setattr(run.order.controls, name, value)
            except NbcnnvizError as error:
                self._fail(error)

    def _frame_chosen(self, change: Any) -> None:
        if not getattr(self._setting, "here", False):
            self.look(change.new)

    def _picture_chosen(self, message: dict[str, Any]) -> None:
        """A filter's picture selects the filter."""
        shot, run = self._drawn, self.run
        filters = run.order_of(shot.step).filters if run is not None and shot is not None else None
        at = message.get("at")
        if filters is not None and isinstance(at, int) and 0 <= at < len(filters[1]):
            self._pictures.chosen = at
            self.attempt(lambda: self._select(filters[0], filters[1][at]))

    def _select(self, layer: str, index: int) -> None:
        self.selection.layer = layer
        self.selection.filter = index

    def _saver(self, ending: str) -> Act:
        def save() -> None:
            run = self.run
            if run is not None and len(run.reel):
                self._fail(None)
                self._runner.submit(lambda: self._saving(run, ending))

        return save

    # What is on the slider.

    def _at(self, run: Run) -> int:
        """The place in the reel of the frame that is looked at."""
        shot = self._looked_at
        return run.reel.steps.index(shot.step) if shot is not None else len(run.reel) - 1

    @staticmethod
    def _length(run: Run) -> int:
        return run.newest.steps if run.newest else run.reel[-1].steps

    def _whole_code(self, run: Run) -> list[str]:
        at = self._at(run)
        order = run.order_of(run.reel.steps[at])
        names, *lines = files.code_of(order, run.reel[at])
        return ["import nbcnnviz as nv", names, "", files.network(order), *lines]


def _progress(run: Run, shot: Shot) -> str:
    words = f"Step {shot.step} of {shot.steps}"
    if run.steps_a_second:
        left = (shot.steps - shot.step) / run.steps_a_second
        words += f": {run.steps_a_second:.3g} steps/s, {_duration(left)} left"
    return words


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def _before_and_after(frame: Fooled) -> str:
    """The predictions for both pictures, as a table."""
    rows = []
    for before, after in zip(frame.original.top(4), frame.top(4), strict=True):
        cells = "".join(
            f"<td style='padding:0 8px 0 0'>{escape(name)}</td><td style='padding:0 24px 0 0;text-align:right'>{share:.1%}</td>"
            for _, name, share in (before, after)
        )
        rows.append(f"<tr>{cells}</tr>")
    head = "".join(
        f"<th colspan='2' style='text-align:left;padding:0 24px 0 0'>{name}</th>" for name in ("Before", "After")
    )
    return f"<table style='border-collapse:collapse;line-height:1.5'><tr>{head}</tr>{''.join(rows)}</table>"


def _button(name: str, icon: str, tooltip: str, act: Act, style: str = "", width: str = "84px") -> w.Button:
    button = w.Button(
        description=name, icon=icon, tooltip=tooltip, button_style=style,
        layout=w.Layout(width=width, flex="0 0 auto", margin="0"),
    )  # fmt: skip
    button.on_click(lambda _: act())
    return button


def _line(*widgets: w.Widget) -> w.HBox:
    return w.HBox(
        widgets, layout=w.Layout(flex_flow="row wrap", align_items="center", grid_gap="4px 6px", min_width="0")
    )
