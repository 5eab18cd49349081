"""A run as the panel has it: what was asked for, the frames so far, and how far it may go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from PIL import Image

from nbcnnviz.core.network import Network
from nbcnnviz.synthesis import Controls, Fooled, Frame, Recipe, Reel

State = Literal["playing", "paused", "done", "stopped", "failed"]

POINTS = 1000
"""The most steps of a run that its curves show; beyond, every second one is let go."""


@dataclass(frozen=True)
class Order:
    """A run as it was asked for.

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

    def settled(self) -> Order:
        """The order with the class that the network sees in the picture named, where it asks for that one."""
        if self.objective is not None or self.recipe.name == "fool":
            return self
        net = self.network
        index = int(net.head.best(net.scores(self.image)))
        words = f"class {net.classes[index]} ({index})"
        return replace(self, objective=index, words=words, titles=(words,))

    def frames(self) -> Generator[Frame, None, None]:
        """Begin."""
        name, net, options = self.recipe.name, self.network, {"controls": self.controls, **self.options}
        picture: Any = self.image
        if self.start is not None:
            frame = self.start[1]
            if name == "dream" or (name == "fool" and not isinstance(frame, Fooled)):
                picture = frame
                options.pop("size", None)
            else:
                options["start"] = frame
                if name != "fool":
                    size = tuple(frame.input.shape[2:])
                    options["size"] = None if size == net.input_shape[1:] else size
        elif options.get("start") == "picture":
            options["start"] = picture
        if name == "fool":
            return self.recipe.run(net, picture, **options)
        given = (picture, self.objective) if self.recipe.takes == "picture" else (self.objective,)
        return self.recipe.run(net, *given, **options)


@dataclass(frozen=True)
class Shot:
    """A frame, with its place in a run that may have gone on from an earlier one."""

    step: int
    steps: int
    frame: Frame


class History:
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
    """A run that can be played, paused and taken step by step.

    Its generator lives on between the jobs that play it, and computes only in them. ``limit`` may be set from any
    thread: it is read before every step.

    Parameters
    ----------
    order
        What was asked for.
    between
        Called before every step; it may wait a while, for something more urgent.
    last
        The run before this one, which ends with it. If the order starts from a frame, it is one of that run's, and that
        run's frames up to there become this one's.

    Attributes
    ----------
    limit : float
        How many frames may be made in all before the run pauses.
    made : int
        How many were made.
    reel, history
        The frames kept, and their numbers.
    newest : Shot or None
        The last frame that was made, in full precision.
    seconds, steps_a_second : float
        How long its steps took in all, and how fast they have been lately; 0 as long as nothing is known.
    """

    def __init__(self, order: Order, between: Callable[[], Any], last: Run | None = None, limit: float = 0) -> None:
        self.order, self.limit = order, limit
        self.state: State = "paused"
        self.made, self.seconds, self.steps_a_second = 0, 0.0, 0.0
        self.newest: Shot | None = None
        self._between, self._last = between, last
        self._frames: Generator[Frame, None, None] | None = None
        self._first = -1
        self.reel, self.history, self._orders = Reel(), History(), [(-1, order)]
        if order.start is not None and last is not None:
            self._first = order.start[0]
            self.reel, self.history = last.reel, last.history
            self._orders = [*(known for known in last._orders if known[0] < self._first), (self._first, order)]

    @property
    def live(self) -> bool:
        """Whether it can still go on."""
        return self.state in ("playing", "paused")

    @property
    def going(self) -> bool:
        """Whether it goes on, or is about to."""
        return self.live and self.made < self.limit

    def order_of(self, step: int) -> Order:
        """What was asked for when a step was taken: this run's order, or that of one that it went on from."""
        return next(order for first, order in reversed(self._orders) if first < step or first == -1)

    def play(self) -> Generator[Shot, None, None]:
        """The frames from here on, until the limit; a job for the runner, which may be closed and begun anew."""
        self._relieve()
        try:
            if self._frames is None and self.going:
                self.state = "playing"
                self._settle()
                self._frames = self.order.frames()
            while self.going:
                self.state = "playing"
                self._between()
                began = time.perf_counter()
                frame = next(self._frames, None)  # type: ignore[arg-type]
                if frame is None:
                    self._end("done")
                    break
                shot = self._take(frame, time.perf_counter() - began)
                if frame.step >= frame.steps or (isinstance(frame, Fooled) and frame.done):
                    self._end("done")
                yield shot
        except GeneratorExit:  # for something else that is to be done; it may be taken up again
            raise
        except BaseException:
            self._end("failed")
            raise
        finally:
            if self.live and not self.going:
                self.state = "paused"

    def stop(self) -> None:
        """End it. Not while it is played: a generator that runs cannot be closed."""
        if self.live:
            self._end("stopped")

    def _end(self, state: State) -> None:
        self._relieve()
        self.state = state
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()

    def _relieve(self) -> None:
        """End the run before."""
        last, self._last = self._last, None
        if last is not None:
            last.stop()

    def _settle(self) -> None:
        order = self.order.settled()
        self._orders = [(first, order if known is self.order else known) for first, known in self._orders]
        self.order = order

    def _take(self, frame: Frame, seconds: float) -> Shot:
        self.made += 1
        if self.made > 1:
            self.seconds += seconds
        if self.made > 3:  # the first few make ready what the others have
            rate = 1 / max(seconds, 1e-9)
            self.steps_a_second = 0.9 * self.steps_a_second + 0.1 * rate if self.steps_a_second else rate
        first = max(0, self._first)
        self.newest = shot = Shot(first + frame.step, first + frame.steps, frame)
        if self._first >= 0 and frame.step == 0:  # the frame that it started from is there already
            self.reel.cut(self.reel.steps.index(shot.step))
            self.history.cut_after(shot.step)
        else:
            self.reel.add(shot.step, frame)
            self.history.add(shot.step, frame)
        return shot
