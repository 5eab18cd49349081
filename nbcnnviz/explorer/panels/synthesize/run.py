"""A run: what was asked for, the frames kept so far, and their numbers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

from nbcnnviz.core.durations import whole_seconds
from nbcnnviz.session import Task
from nbcnnviz.session.code import network_code, picture_code
from nbcnnviz.synthesis import Fooled, Frame, FrameBuffer
from nbcnnviz.synthesis.record import RunRecord
from nbcnnviz.synthesis.specification import Specification


@dataclass(frozen=True)
class RunFrame:
    """A frame, with its place in a run that may have gone on from an earlier one."""

    step: int
    steps: int
    frame: Frame


class Run:
    """A run of a recipe, which a kept task makes the frames of.

    Parameters
    ----------
    specification
        What was asked for.
    last
        The run before this one, which ends with it. If this one starts from a frame, it is one of that run's, and that
        run's frames up to there become this one's.

    Attributes
    ----------
    task : Task
        What runs it, once it was started.
    buffer, record
        The frames kept, and their numbers.
    newest : RunFrame or None
        The last frame that was made, in full precision.
    """

    task: Task

    def __init__(self, specification: Specification, last: Run | None = None) -> None:
        self.specification = specification
        self.newest: RunFrame | None = None
        self._last = last
        self._first = -1
        self.buffer, self.record, self._specifications = FrameBuffer(), RunRecord(), [(-1, specification)]
        if specification.start is not None and last is not None:
            self._first = specification.start[0]
            self.buffer, self.record = last.buffer, last.record
            earlier = (known for known in last._specifications if known[0] < self._first)
            self._specifications = [*earlier, (self._first, specification)]

    @property
    def live(self) -> bool:
        """Whether it can still go on."""
        return self.task.live

    @property
    def going(self) -> bool:
        """Whether it goes on, or is about to."""
        return self.task.going

    def specification_of(self, step: int) -> Specification:
        """What was asked for when a step was taken: by this run, or by one that it went on from."""
        return next(one for first, one in reversed(self._specifications) if first < step or first == -1)

    def code(self, at: int) -> str:
        """The lines of Python that make a kept frame again, its imports and its network among them."""
        specification = self.specification_of(self.buffer.steps[at])
        names, *lines = specification.code(self.buffer[at], picture_code(specification.source))
        return "\n".join(["import nbcnnviz as nv", names, "", network_code(specification.network), *lines])

    def progress(self, frame: RunFrame) -> str:
        """How far it is at a frame, and how long it will take, in words."""
        words, left = f"Step {frame.step} of {frame.steps}", self.task.seconds_left
        return words if left is None else f"{words}: {self.task.rate:.3g} steps/s, {whole_seconds(left)} left"

    def standing(self, at: int) -> str:
        """Where it stands, in words, when it does not go on and the frame kept at that place is looked at."""
        if self.newest is None:
            return ""
        step, steps, frame = self.newest.step, self.newest.steps, self.newest.frame
        if self.task.state == "paused":
            words = f"Paused at step {step} of {steps}"
        elif self.task.state == "done":
            words = f"Done: {self.task.made - 1} steps in {self.task.seconds:.3g} s"
            if isinstance(frame, Fooled):
                words += f"; taken for {frame.top(1)[0][1]}" if frame.done else "; not fooled yet"
        else:
            words = f"Ended at step {step} of {steps}"
        shown = self.buffer.steps[at]
        return words if shown == step else f"{words}; this is step {shown}"

    def frames(self, task: Task) -> Generator[RunFrame, None, None]:
        """The frames, for the task."""
        self.task = task
        last, self._last = self._last, None
        if last is not None:  # whose frames may become this one's
            last.task.stop()
            while not last.task.wait(0.05):
                task.check()
        named = self.specification.named()
        self._specifications = [
            (first, named if known is self.specification else known) for first, known in self._specifications
        ]
        self.specification = named
        with closing(named.frames()) as frames:
            for frame in frames:
                if frame.step >= frame.steps or (isinstance(frame, Fooled) and frame.done):
                    task.finish()
                yield self._take(frame)

    def _take(self, frame: Frame) -> RunFrame:
        first = max(0, self._first)
        self.newest = taken = RunFrame(first + frame.step, first + frame.steps, frame)
        if self._first >= 0 and frame.step == 0:  # the frame that it started from is there already
            self.buffer.cut(self.buffer.steps.index(taken.step))
            self.record.cut_after(taken.step)
        else:
            self.buffer.add(taken.step, frame)
            self.record.add(taken.step, frame)
        return taken
