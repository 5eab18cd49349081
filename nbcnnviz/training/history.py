"""What was recorded, as arrays that grow by rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nbcnnviz.training.measuring import LearningLayer, Measurement

_SNAPSHOTS = 64


class History:
    """One row a recorded step; a number that is not known is NaN.

    Parameters
    ----------
    layers
        The layers that learn, in order.
    parameters
        How many parameters they have together.
    """

    def __init__(self, layers: Sequence[LearningLayer], parameters: int) -> None:
        self.layers = layers
        self._starts = np.array([layer.columns.start for layer in layers], np.intp)
        self._rows = 0
        self._columns = {
            **{name: _grown((), kind) for name, kind in _NUMBERS.items()},
            **{name: _grown((parameters,), np.float64) for name in ("gradient", "weight", "update")},
            "learned": _grown((parameters,), np.bool_),
            "dead": _grown((len(layers),), np.float64),
        }
        self.filters = Snapshots()

    def __len__(self) -> int:
        return self._rows

    def add(self, step: int, time: float, rate: float) -> int:
        """Another row; its number."""
        if self._rows == len(self._columns["step"]):
            self._columns = {
                name: np.concatenate([c, np.full_like(c, _EMPTY[c.dtype.kind])]) for name, c in self._columns.items()
            }
        row, self._rows = self._rows, self._rows + 1
        for name, value in (("step", step), ("time", time), ("learning_rate", rate)):
            self._columns[name][row] = value
        return row

    def tell(self, row: int, loss: float) -> None:
        """Write a row's loss."""
        self._columns["loss"][row] = loss

    def fill(self, row: int, measured: Measurement) -> None:
        """Write what was measured, beside what other optimisers' steps put into the row."""
        numbers = measured.numbers()
        if numbers.loss is not None:
            self.tell(row, numbers.loss)
        at = measured.columns
        for name, values in (("gradient", numbers.gradient), ("weight", numbers.weight), ("update", numbers.update)):
            self._columns[name][row, at] = values
        self._columns["learned"][row, at] = True
        self._columns["dead"][row, measured.layers] = numbers.dead

    def column(self, name: str) -> np.ndarray:
        """One of the numbers that a row has once: ``step``, ``time``, ``loss``, ``learning_rate``."""
        return self._columns[name][: self._rows]

    def by_layer(self, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        """The norms of layers in some rows, each over the parameters that had a gradient in that step: (rows, layers)."""
        learned = self._columns["learned"][: self._rows][rows]
        has = np.logical_or.reduceat(learned, self._starts, axis=1)
        norms = {}
        for name in ("gradient", "weight", "update"):
            squares = np.where(learned, np.square(self._columns[name][: self._rows][rows]), 0)
            norms[name] = np.where(has, np.sqrt(np.add.reduceat(squares, self._starts, axis=1)), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = norms["update"] / norms["weight"]
        return {
            "gradient_norm": norms["gradient"],
            "weight_norm": norms["weight"],
            "update_norm": norms["update"],
            "update_ratio": ratio,
            "dead_share": self._columns["dead"][: self._rows][rows].copy(),
            "has_gradient": has,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies of everything, by name."""
        found = {name: self.column(name).copy() for name in _NUMBERS}
        found["layers"] = np.array([layer.name for layer in self.layers])
        found |= self.by_layer(slice(None))
        found["filters_step"], found["filters"] = self.filters.arrays()
        return found


class Snapshots:
    """Pictures of a run, evenly over all of it, however long it becomes: when there are too many, every other one goes."""

    def __init__(self) -> None:
        self._taken: list[tuple[int, np.ndarray]] = []
        self._every = 1
        self._offered = 0

    def offer(self, step: int, picture: np.ndarray) -> None:
        """Keep a picture, if it is its turn."""
        if self._offered % self._every == 0:
            self._taken.append((step, picture))
        self._offered += 1
        if len(self._taken) > _SNAPSHOTS:
            self._taken, self._every = self._taken[::2], self._every * 2

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The steps, and the pictures in one array."""
        steps = np.array([step for step, _ in self._taken], np.int64)
        return steps, np.stack([picture for _, picture in self._taken]) if self._taken else np.zeros((0, 0))


_NUMBERS = {"step": np.int64, "time": np.float64, "loss": np.float64, "learning_rate": np.float64}
_EMPTY = {"i": 0, "f": np.nan, "b": False}


def _grown(shape: tuple[int, ...], kind: type) -> np.ndarray:
    return np.full((64, *shape), _EMPTY[np.dtype(kind).kind], kind)
