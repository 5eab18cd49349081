"""What is recorded of a run: rows of numbers, which arrive from the device some time later, and the newest pictures."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nbcnnviz.training.history import History
from nbcnnviz.training.measuring import LearningLayer, Measurement


@dataclass(frozen=True, eq=False)
class Curves:
    """A run as it is drawn.

    Attributes
    ----------
    steps, loss : ndarray
        Of every record.
    learning_rate : float
        Of the last, NaN if not known.
    rows : ndarray
        The records that ``layers`` are of: as many as can be drawn, the last among them.
    layers : dict[str, ndarray] or None
        Arrays (rows, layers) as in `Watch.history`; None before there is a record.
    filters, maps : tuple[int, ndarray] or None
        The first convolution's kernels, and one layer's maps (C, h, w), each after its step.
    """

    steps: np.ndarray
    loss: np.ndarray
    learning_rate: float
    rows: np.ndarray
    layers: dict[str, np.ndarray] | None
    filters: tuple[int, np.ndarray] | None
    maps: tuple[int, np.ndarray] | None

    @property
    def lost(self) -> np.ndarray:
        """(records,) whether the loss is NaN or infinite, where it is known at all."""
        lost: np.ndarray = np.isinf(self.loss) | (np.isnan(self.loss) & np.isfinite(self.loss).any())
        return lost

    @property
    def broken(self) -> np.ndarray:
        """(rows, layers) whether a gradient is NaN or infinite."""
        assert self.layers is not None
        broken: np.ndarray = self.layers["has_gradient"] & ~np.isfinite(self.layers["gradient_norm"])
        return broken

    def problems(self, names: Sequence[str]) -> list[str]:
        """What is wrong with the run, a sentence each; ``names`` are the layers'."""
        if self.layers is None:
            return []
        found = []
        if len(self.steps) > 2 and np.isnan(self.loss).all():
            found.append("No loss was found: give it with w.loss(loss).")
        if self.lost.any():
            count, first = self.lost.sum(), self.steps[self.lost][0]
            found.append(f"The loss is NaN or infinite in {count} of {len(self.loss)} records, first in step {first}.")
        broken = self.broken
        if broken.any():
            first, where = (
                self.steps[self.rows][broken.any(1)][0],
                [names[int(i)] for i in np.flatnonzero(broken.any(0))],
            )
            more = f" and {len(where) - 3} more" if len(where) > 3 else ""
            found.append(f"Gradients are NaN or infinite in {', '.join(where[:3])}{more}, first in step {first}.")
        if not self.layers["has_gradient"].any():
            found.append("No parameter has a gradient: is everything frozen, or cleared before the optimiser's step?")
        return found


class Record:
    """The rows of a run, one a period of steps, and what has not arrived from the device yet.

    Attributes
    ----------
    period, step, columns
        Of the last row: the period it stands for, its step, and the parameters that it has numbers of.
    layer
        Whose feature maps are kept.
    filters, maps
        The newest; see `Curves`.
    """

    def __init__(self, layers: Sequence[LearningLayer], parameters: int) -> None:
        self.lock = threading.RLock()
        self.period = self.step = -1
        self.columns: set[int] = set()
        self.layer = ""
        self.filters: tuple[int, np.ndarray] | None = None
        self.maps: tuple[int, np.ndarray] | None = None
        self._history = History(layers, parameters)
        self._arriving: deque[tuple[int, int, Measurement]] = deque()

    def __len__(self) -> int:
        return len(self._history)

    def add(
        self, step: int, period: int, time: float, rate: float, columns: Iterable[int], measured: Measurement
    ) -> None:
        """Record what was measured in a step, beside what other optimisers' steps of the same period put into the row."""
        with self.lock:
            if period > self.period:
                self.period, self.step, self.columns = period, step, set()
                self._history.add(step, time, rate)
            self.columns.update(columns)
            self._arriving.append((len(self) - 1, step, measured))
            self.collect()

    def collect(self, wait: bool = False) -> None:
        """Take in what has arrived from the device; ``wait`` for all of it."""
        with self.lock:
            while self._arriving and self._arriving[0][2].arrived(wait):
                row, step, measured = self._arriving.popleft()
                self._history.fill(row, measured)
                pictures = {name: picture.numpy() for name, picture in measured.pictures.items()}
                if "filters" in pictures:
                    self.filters = step, pictures["filters"]
                    self._history.filters.offer(step, pictures["filters"])
                if pictures.get("of " + self.layer) is not None:
                    self.maps = step, pictures["of " + self.layer]

    def give_loss(self, step: int, loss: Tensor | float) -> bool:
        """Write the loss of a step, if it is the one that was recorded last; whether it was."""
        if self.step != step or not len(self):
            return False
        with self.lock:
            self.collect(wait=True)
            self._history.tell(len(self) - 1, float(loss))
        return True

    def curves(self, most: int) -> Curves:
        """The run with what has arrived so far, of ``most`` rows for every layer."""
        with self.lock:
            self.collect()
            history = self._history
            steps, rate = history.column("step").copy(), history.column("learning_rate")
            rows = evenly(len(steps), most)
            layers = history.by_layer(rows) if len(rows) else None
            last = float(rate[-1]) if len(rate) else np.nan
            return Curves(steps, history.column("loss").copy(), last, rows, layers, self.filters, self.maps)

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of everything, by name, once all of it has arrived."""
        with self.lock:
            self.collect(wait=True)
            return self._history.arrays()


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many of a number of rows, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
