"""The numbers of a run, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nbcnnviz.synthesis.frame import Frame

POINTS = 1000
"""The most steps that are kept; beyond, every second one is let go."""


class RunRecord:
    """The numbers of a run, step by step, for curves."""

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

    def best(
        self, titles: Sequence[str], classes: Sequence[str], asked: Sequence[int], most: int = 5
    ) -> tuple[np.ndarray, list[str]]:
        """The probabilities of the best classes, (classes, steps), and their names; of several pictures each one's best.

        Parameters
        ----------
        titles
            Of the pictures.
        classes
            The names of all classes.
        asked
            The classes that are among them in any case.
        most
            How many classes there are, at most.
        """
        last = self.probabilities[-1] if self.probabilities else None
        if last is None:
            return np.zeros((0, 0)), []
        if self.scores and len(self.scores[-1]) > 1:
            shown, names = list(range(len(last))), [f"{title}, its best class" for title in titles]
        else:
            best = np.argsort(last)[::-1][:most].tolist()
            shown = list(dict.fromkeys([*asked, *best]))[:most]
            names = [classes[index] for index in shown]
        blank = np.full(len(last), np.nan, np.float16)
        rows = [blank if found is None or len(found) != len(last) else found for found in self.probabilities]
        return np.stack([row[shown] for row in rows], axis=1), names

    def cut_after(self, step: int) -> None:
        """Forget what came after a step."""
        self.cut(sum(s <= step for s in self.steps) - 1)

    def cut(self, at: int) -> None:
        """Forget what came after that entry."""
        for column in self._columns():
            del column[at + 1 :]

    def _columns(self) -> tuple[list[Any], ...]:
        return self.steps, self.scores, self.gradients, self.penalties, self.probabilities
