"""A run: what was asked for, the frames kept so far, and their numbers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from nbcnnviz.core.network import Network
from nbcnnviz.explorer.front.status import duration
from nbcnnviz.explorer.options import SELECTED
from nbcnnviz.session import Task
from nbcnnviz.synthesis import Controls, Fooled, Frame, FrameBuffer, Recipe

POINTS = 1000
"""The most steps of a run that its curves show; beyond, every second one is let go."""


@dataclass(frozen=True)
class Specification:
    """What a run was asked to be.

    Attributes
    ----------
    source
        Where the picture came from, as `Selection.source` has it.
    objective
        What a recipe is given to please, a list for a gallery; None for the class that the network sees in the picture.
    words, titles
        The objective in words, and that of each picture of a gallery.
    filters
        The layer, and for each picture of a gallery the filter it is of.
    start
        The frame that the run goes on from, and the step at which it was.
    """

    recipe: Recipe
    network: Network
    image: Image.Image
    source: str
    objective: Any
    words: str
    titles: tuple[str, ...]
    controls: Controls
    options: dict[str, Any] = field(default_factory=dict)
    filters: tuple[str, tuple[int, ...]] | None = None
    start: tuple[int, Frame] | None = None

    def named(self) -> Specification:
        """The same with the class that the network sees in the picture named, where it asks for that one."""
        if self.objective is not None or self.recipe.raises == "":
            return self
        net = self.network
        index = int(net.head.best(net.scores(self.image)))
        words = f"class {net.classes[index]} ({index})"
        return replace(self, objective=index, words=words, titles=(words,))

    def frames(self) -> Generator[Frame, None, None]:
        """Begin."""
        recipe, net, options = self.recipe, self.network, {"controls": self.controls, **self.options}
        picture: Any = self.image
        if self.start is not None:
            frame = self.start[1]
            # A picture that is changed goes on from a frame in its place, unless that was another of its steps.
            if "start" not in recipe.options or (recipe.raises == "" and not isinstance(frame, Fooled)):
                picture = frame
                options.pop("size", None)
            else:
                options["start"] = frame
                if "size" in recipe.options:
                    size = tuple(frame.input.shape[2:])
                    options["size"] = None if size == net.input_shape[1:] else size
        elif options.get("start") == SELECTED:
            options["start"] = picture
        given = [picture] if recipe.takes == "picture" else []
        return recipe.run(net, *given, *([self.objective] if recipe.raises else []), **options)

    def titles_of(self, count: int) -> list[str]:
        """What each of so many pictures is of."""
        if count == len(self.titles):
            return list(self.titles)
        return [f"{self.titles[0]}, {number}" for number in range(1, count + 1)]


@dataclass(frozen=True)
class RunFrame:
    """A frame, with its place in a run that may have gone on from an earlier one."""

    step: int
    steps: int
    frame: Frame


class RunRecord:
    """The numbers of a run, step by step, for its curves."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.scores: list[tuple[float, ...]] = []
        self.gradients: list[float] = []
        self.penalties: list[dict[str, float]] = []
        self.probabilities: list[np.ndarray | None] = []
        self._every = 1

    def add(self, step: int, frame: Frame) -> None:
        """Take down a frame: of one picture the probability of every class, of several that of each one's best."""
        if len(self.steps) > 1 and self.steps[-1] % self._every:
            self.cut(len(self.steps) - 2)
        found = frame.probabilities
        if found is not None:
            found = (found[0] if len(found) == 1 else found.amax(1)).half()
        self.steps.append(step)
        self.scores.append(frame.scores)
        self.gradients.append(frame.gradient_norm)
        self.penalties.append(dict(frame.penalties))
        self.probabilities.append(None if found is None else found.cpu().numpy())
        if len(self.steps) > POINTS:
            self._every *= 2
            kept = [at for at, s in enumerate(self.steps) if s % self._every == 0 or at in (0, len(self.steps) - 1)]
            for column in self._columns():
                column[:] = [column[at] for at in kept]

    def cut_after(self, step: int) -> None:
        """Forget what came after a step."""
        self.cut(sum(s <= step for s in self.steps) - 1)

    def cut(self, at: int) -> None:
        """Forget what came after that entry."""
        for column in self._columns():
            del column[at + 1 :]

    def _columns(self) -> tuple[list[Any], ...]:
        return self.steps, self.scores, self.gradients, self.penalties, self.probabilities


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
    reel, record
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
        self.reel, self.record, self._specifications = FrameBuffer(), RunRecord(), [(-1, specification)]
        if specification.start is not None and last is not None:
            self._first = specification.start[0]
            self.reel, self.record = last.reel, last.record
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

    def progress(self, frame: RunFrame) -> str:
        """How far it is at a frame, and how long it will take, in words."""
        words, left = f"Step {frame.step} of {frame.steps}", self.task.seconds_left
        return words if left is None else f"{words}: {self.task.rate:.3g} steps/s, {duration(left)} left"

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
        shown = self.reel.steps[at]
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
            self.reel.cut(self.reel.steps.index(taken.step))
            self.record.cut_after(taken.step)
        else:
            self.reel.add(taken.step, frame)
            self.record.add(taken.step, frame)
        return taken
